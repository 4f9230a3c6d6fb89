//! The decode policy: what is done with a frame of an API and version. The one place that says so.
//!
//! Opaque by default. Anything else has to earn it here: an answer that names brokers is edited, a request or answer that an
//! indicator needs is observed. A version above [`Api::newest`](super::api::Api) is always opaque.

use super::api::ApiKey;

/// What is done with the body of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decode {
    /// Passes unread, streamed.
    Opaque,
    /// Passes as it is, streamed; a copy is read once complete. Small messages only.
    Observed,
    /// Passes as it is, streamed; read on the way by the record scanner.
    Scanned,
    /// Read on the way by the record scanner; what follows the records is held and rewritten to the same length.
    ScannedTrailer,
    /// Held whole, addresses or versions replaced.
    Edited,
}

/// What is done with both halves of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// With the request.
    pub request: Decode,
    /// With the response.
    pub response: Decode,
    /// Oldest version this holds for; older ones are opaque.
    pub oldest: i16,
    /// The response names brokers: passing it unread sends clients past the sidecar.
    pub names_brokers: bool,
}

const OPAQUE: Policy = Policy {
    request: Decode::Opaque,
    response: Decode::Opaque,
    oldest: 0,
    names_brokers: false,
};

const fn observed(oldest: i16) -> Policy {
    Policy {
        request: Decode::Observed,
        response: Decode::Observed,
        oldest,
        names_brokers: false,
    }
}

const fn answer_only(response: Decode, names_brokers: bool) -> Policy {
    Policy {
        request: Decode::Opaque,
        response,
        oldest: 0,
        names_brokers,
    }
}

/// The policy of an API, whatever the version.
#[must_use]
pub const fn of(api: ApiKey) -> Policy {
    match api {
        ApiKey::PRODUCE => Policy {
            request: Decode::Scanned,
            response: Decode::Edited,
            oldest: 3,
            names_brokers: true,
        },
        ApiKey::FETCH => Policy {
            request: Decode::Observed,
            response: Decode::ScannedTrailer,
            oldest: 4,
            names_brokers: true,
        },
        ApiKey::SHARE_FETCH => Policy {
            request: Decode::Observed,
            response: Decode::ScannedTrailer,
            oldest: 0,
            names_brokers: true,
        },
        ApiKey::SHARE_ACKNOWLEDGE => Policy {
            request: Decode::Observed,
            response: Decode::Edited,
            oldest: 0,
            names_brokers: true,
        },
        ApiKey::METADATA | ApiKey::FIND_COORDINATOR | ApiKey::DESCRIBE_CLUSTER => {
            answer_only(Decode::Edited, true)
        }
        ApiKey::API_VERSIONS => Policy {
            request: Decode::Observed,
            response: Decode::Edited,
            oldest: 0,
            names_brokers: false,
        },
        ApiKey::DESCRIBE_TOPIC_PARTITIONS => answer_only(Decode::Observed, false),
        ApiKey::LIST_OFFSETS => Policy {
            oldest: 1,
            ..answer_only(Decode::Observed, false)
        },
        ApiKey::OFFSET_COMMIT => observed(2),
        ApiKey::OFFSET_FETCH => observed(1),
        ApiKey::TXN_OFFSET_COMMIT
        | ApiKey::JOIN_GROUP
        | ApiKey::SYNC_GROUP
        | ApiKey::HEARTBEAT
        | ApiKey::LEAVE_GROUP
        | ApiKey::CONSUMER_GROUP_HEARTBEAT
        | ApiKey::SHARE_GROUP_HEARTBEAT
        | ApiKey::END_TXN
        | ApiKey::SASL_HANDSHAKE
        | ApiKey::SASL_AUTHENTICATE => observed(0),
        ApiKey::INIT_PRODUCER_ID
        | ApiKey::OFFSET_FOR_LEADER_EPOCH
        | ApiKey::ADD_PARTITIONS_TO_TXN
        | ApiKey::ADD_OFFSETS_TO_TXN
        | ApiKey::CREATE_TOPICS
        | ApiKey::DELETE_TOPICS
        | ApiKey::DELETE_RECORDS
        | ApiKey::CREATE_PARTITIONS
        | ApiKey::DESCRIBE_CONFIGS
        | ApiKey::ALTER_CONFIGS
        | ApiKey::INCREMENTAL_ALTER_CONFIGS
        | ApiKey::DESCRIBE_ACLS
        | ApiKey::CREATE_ACLS
        | ApiKey::DELETE_ACLS
        | ApiKey::DESCRIBE_GROUPS
        | ApiKey::DELETE_GROUPS
        | ApiKey::OFFSET_DELETE => answer_only(Decode::Observed, false),
        _ => OPAQUE,
    }
}

/// What a broker may refuse a client for want of rights, as far as it is seen: the API, and the resource (in lower case) that the
/// error names. By the authorization table of Kafka's documentation.
pub const REFUSABLE: [(ApiKey, &[&str]); 36] = [
    (ApiKey::PRODUCE, &["topic", "transactional_id", "cluster"]),
    (ApiKey::FETCH, &["topic"]),
    (ApiKey::METADATA, &["topic"]),
    (ApiKey::DESCRIBE_TOPIC_PARTITIONS, &["topic"]),
    (ApiKey::OFFSET_FOR_LEADER_EPOCH, &["topic"]),
    (ApiKey::OFFSET_COMMIT, &["group", "topic"]),
    (ApiKey::OFFSET_FETCH, &["group", "topic"]),
    (ApiKey::FIND_COORDINATOR, &["group", "transactional_id"]),
    (ApiKey::JOIN_GROUP, &["group"]),
    (ApiKey::SYNC_GROUP, &["group"]),
    (ApiKey::HEARTBEAT, &["group"]),
    (ApiKey::LEAVE_GROUP, &["group"]),
    (ApiKey::CONSUMER_GROUP_HEARTBEAT, &["group", "topic"]),
    (ApiKey::SHARE_GROUP_HEARTBEAT, &["group", "topic"]),
    (ApiKey::SHARE_FETCH, &["group", "topic"]),
    (ApiKey::SHARE_ACKNOWLEDGE, &["group", "topic"]),
    (ApiKey::INIT_PRODUCER_ID, &["cluster", "transactional_id"]),
    (
        ApiKey::ADD_PARTITIONS_TO_TXN,
        &["topic", "transactional_id"],
    ),
    (ApiKey::ADD_OFFSETS_TO_TXN, &["group", "transactional_id"]),
    (
        ApiKey::TXN_OFFSET_COMMIT,
        &["group", "topic", "transactional_id"],
    ),
    (ApiKey::END_TXN, &["transactional_id"]),
    (ApiKey::LIST_OFFSETS, &["topic"]),
    (ApiKey::DESCRIBE_CLUSTER, &["cluster"]),
    (ApiKey::CREATE_TOPICS, &["topic", "cluster"]),
    (ApiKey::DELETE_TOPICS, &["topic"]),
    (ApiKey::DELETE_RECORDS, &["topic"]),
    (ApiKey::CREATE_PARTITIONS, &["topic"]),
    (ApiKey::DESCRIBE_CONFIGS, &["topic", "cluster", "group"]),
    (ApiKey::ALTER_CONFIGS, &["topic", "cluster", "group"]),
    (
        ApiKey::INCREMENTAL_ALTER_CONFIGS,
        &["topic", "cluster", "group"],
    ),
    (ApiKey::DESCRIBE_ACLS, &["cluster"]),
    (ApiKey::CREATE_ACLS, &["cluster"]),
    (ApiKey::DELETE_ACLS, &["cluster"]),
    (ApiKey::DESCRIBE_GROUPS, &["group"]),
    (ApiKey::DELETE_GROUPS, &["group"]),
    (ApiKey::OFFSET_DELETE, &["group", "topic"]),
];

/// The newest version of an API that a client may be told of: that of the table for APIs whose messages are rewritten or
/// scanned, no cap for any other. Lowering more would take features from the client.
#[must_use]
pub fn version_cap(api: ApiKey) -> Option<i16> {
    let policy = of(api);
    let rewritten = policy.names_brokers || matches!(api, ApiKey::API_VERSIONS);
    if rewritten {
        api.api().map(|known| known.newest)
    } else {
        None
    }
}

/// Why a version is opaque although its API is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Newer than this build knows.
    Newer,
    /// Older than what is read.
    Older,
}

/// The policy of one version.
#[must_use]
pub fn decide(api: ApiKey, version: i16) -> (Policy, Option<Skipped>) {
    let policy = of(api);
    if policy == OPAQUE {
        return (OPAQUE, None);
    }
    match api.api() {
        Some(known) if version > known.newest => (OPAQUE, Some(Skipped::Newer)),
        _ if version < policy.oldest => (OPAQUE, Some(Skipped::Older)),
        _ => (policy, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_nobody_needs_is_opaque_and_uncapped() {
        assert_eq!(decide(ApiKey(27), 1), (OPAQUE, None));
        assert_eq!(version_cap(ApiKey(27)), None);
        assert_eq!(decide(ApiKey(10_001), 3), (OPAQUE, None));
    }

    #[test]
    fn a_version_from_the_future_is_opaque_and_says_so() {
        assert_eq!(decide(ApiKey::FETCH, 19), (OPAQUE, Some(Skipped::Newer)));
        assert_eq!(decide(ApiKey::FETCH, 3), (OPAQUE, Some(Skipped::Older)));
        assert_eq!(decide(ApiKey::FETCH, 18).1, None);
    }

    #[test]
    fn what_may_be_refused_is_of_apis_whose_answers_are_read() {
        for (api, resources) in REFUSABLE {
            assert_ne!(of(api).response, Decode::Opaque, "{}", api.name());
            assert!(!resources.is_empty());
        }
    }

    #[test]
    fn produce_is_never_capped_under_the_transaction_protocol() {
        assert!(version_cap(ApiKey::PRODUCE).is_some_and(|cap| cap >= 12));
        assert_eq!(version_cap(ApiKey::END_TXN), None);
        assert_eq!(version_cap(ApiKey::TXN_OFFSET_COMMIT), None);
    }
}
