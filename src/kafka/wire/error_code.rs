//! Kafka's error codes: constant, whether the client may try again, and who is to blame.
//!
//! Source: `org.apache.kafka.common.protocol.Errors` of kafka-clients 4.4.0 (retriable = its exception is a
//! `RetriableException`); `tests/wire_schemas.rs` compares. The blame is ours, for the availability indicator, which asks one
//! question: could the cluster do what it is there for? So:
//!
//! * **Broker**: it could not, then and there. That includes "not here" (`NOT_LEADER_OR_FOLLOWER`, `NOT_CONTROLLER`):
//!   harmless one at a time, but a cluster that moves leaders all day is not available, and nothing else on the wire says
//!   so. `UNKNOWN_LEADER_EPOCH` too: the broker lags behind what the client was told.
//! * **Settling**: what a fresh topic or group is told until its leader or coordinator is there (`LEADER_NOT_AVAILABLE`,
//!   `COORDINATOR_NOT_AVAILABLE`, `COORDINATOR_LOAD_IN_PROGRESS`, and `NOT_COORDINATOR` from one that does not know yet).
//!   Every first use of a cluster begins with it; the indicator blames the broker where it goes on.
//! * **Client**: the broker was there and answered correctly. Wrong, forbidden or too large requests; the normal turns of
//!   the group, transaction and session protocols (`REBALANCE_IN_PROGRESS`, `CONCURRENT_TRANSACTIONS`,
//!   `FETCH_SESSION_ID_NOT_FOUND`); a client behind the times (`FENCED_LEADER_EPOCH`, `UNKNOWN_TOPIC_ID`); quotas.
//! * **Unknown**: either side may be the cause (`CORRUPT_MESSAGE`: the wire, the client or the disk; `TRANSACTION_ABORTABLE`),
//!   another entry carries the blame (`OPERATION_NOT_ATTEMPTED`), or only brokers and controllers say it to each other.
//!
//! Must not act on an error; it only names it.

use crate::event::{
    Failure,
    FaultClass::{self, Broker, Client, Settling, Unknown},
};

const RETRIABLE: bool = true;
const FINAL: bool = false;

const fn row(code: i16, name: &'static str, retriable: bool, class: FaultClass) -> (i16, Failure) {
    (
        code,
        Failure {
            name,
            class,
            retriable,
        },
    )
}

/// Every code but 0 (`NONE`), ascending.
const ERRORS: [(i16, Failure); 137] = [
    row(-1, "UNKNOWN_SERVER_ERROR", FINAL, Broker),
    row(1, "OFFSET_OUT_OF_RANGE", FINAL, Client),
    row(2, "CORRUPT_MESSAGE", RETRIABLE, Unknown),
    row(3, "UNKNOWN_TOPIC_OR_PARTITION", RETRIABLE, Client),
    row(4, "INVALID_FETCH_SIZE", FINAL, Client),
    row(5, "LEADER_NOT_AVAILABLE", RETRIABLE, Settling),
    row(6, "NOT_LEADER_OR_FOLLOWER", RETRIABLE, Broker),
    row(7, "REQUEST_TIMED_OUT", RETRIABLE, Broker),
    row(8, "BROKER_NOT_AVAILABLE", FINAL, Broker),
    row(9, "REPLICA_NOT_AVAILABLE", RETRIABLE, Broker),
    row(10, "MESSAGE_TOO_LARGE", FINAL, Client),
    row(11, "STALE_CONTROLLER_EPOCH", FINAL, Unknown),
    row(12, "OFFSET_METADATA_TOO_LARGE", FINAL, Client),
    row(13, "NETWORK_EXCEPTION", RETRIABLE, Broker),
    row(14, "COORDINATOR_LOAD_IN_PROGRESS", RETRIABLE, Settling),
    row(15, "COORDINATOR_NOT_AVAILABLE", RETRIABLE, Settling),
    row(16, "NOT_COORDINATOR", RETRIABLE, Settling),
    row(17, "INVALID_TOPIC_EXCEPTION", FINAL, Client),
    row(18, "RECORD_LIST_TOO_LARGE", FINAL, Client),
    row(19, "NOT_ENOUGH_REPLICAS", RETRIABLE, Broker),
    row(20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", RETRIABLE, Broker),
    row(21, "INVALID_REQUIRED_ACKS", FINAL, Client),
    row(22, "ILLEGAL_GENERATION", FINAL, Client),
    row(23, "INCONSISTENT_GROUP_PROTOCOL", FINAL, Client),
    row(24, "INVALID_GROUP_ID", FINAL, Client),
    row(25, "UNKNOWN_MEMBER_ID", FINAL, Client),
    row(26, "INVALID_SESSION_TIMEOUT", FINAL, Client),
    row(27, "REBALANCE_IN_PROGRESS", FINAL, Client),
    row(28, "INVALID_COMMIT_OFFSET_SIZE", FINAL, Client),
    row(29, "TOPIC_AUTHORIZATION_FAILED", FINAL, Client),
    row(30, "GROUP_AUTHORIZATION_FAILED", FINAL, Client),
    row(31, "CLUSTER_AUTHORIZATION_FAILED", FINAL, Client),
    row(32, "INVALID_TIMESTAMP", FINAL, Client),
    row(33, "UNSUPPORTED_SASL_MECHANISM", FINAL, Client),
    row(34, "ILLEGAL_SASL_STATE", FINAL, Client),
    row(35, "UNSUPPORTED_VERSION", FINAL, Client),
    row(36, "TOPIC_ALREADY_EXISTS", FINAL, Client),
    row(37, "INVALID_PARTITIONS", FINAL, Client),
    row(38, "INVALID_REPLICATION_FACTOR", FINAL, Client),
    row(39, "INVALID_REPLICA_ASSIGNMENT", FINAL, Client),
    row(40, "INVALID_CONFIG", FINAL, Client),
    row(41, "NOT_CONTROLLER", RETRIABLE, Broker),
    row(42, "INVALID_REQUEST", FINAL, Client),
    row(43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", FINAL, Client),
    row(44, "POLICY_VIOLATION", FINAL, Client),
    row(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", FINAL, Client),
    row(46, "DUPLICATE_SEQUENCE_NUMBER", FINAL, Client),
    row(47, "INVALID_PRODUCER_EPOCH", FINAL, Client),
    row(48, "INVALID_TXN_STATE", FINAL, Client),
    row(49, "INVALID_PRODUCER_ID_MAPPING", FINAL, Client),
    row(50, "INVALID_TRANSACTION_TIMEOUT", FINAL, Client),
    row(51, "CONCURRENT_TRANSACTIONS", RETRIABLE, Client),
    row(52, "TRANSACTION_COORDINATOR_FENCED", FINAL, Broker),
    row(53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", FINAL, Client),
    row(54, "SECURITY_DISABLED", FINAL, Client),
    row(55, "OPERATION_NOT_ATTEMPTED", FINAL, Unknown),
    row(56, "KAFKA_STORAGE_ERROR", RETRIABLE, Broker),
    row(57, "LOG_DIR_NOT_FOUND", FINAL, Client),
    row(58, "SASL_AUTHENTICATION_FAILED", FINAL, Client),
    row(59, "UNKNOWN_PRODUCER_ID", FINAL, Client),
    row(60, "REASSIGNMENT_IN_PROGRESS", FINAL, Client),
    row(61, "DELEGATION_TOKEN_AUTH_DISABLED", FINAL, Client),
    row(62, "DELEGATION_TOKEN_NOT_FOUND", FINAL, Client),
    row(63, "DELEGATION_TOKEN_OWNER_MISMATCH", FINAL, Client),
    row(64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", FINAL, Client),
    row(65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", FINAL, Client),
    row(66, "DELEGATION_TOKEN_EXPIRED", FINAL, Client),
    row(67, "INVALID_PRINCIPAL_TYPE", FINAL, Client),
    row(68, "NON_EMPTY_GROUP", FINAL, Client),
    row(69, "GROUP_ID_NOT_FOUND", FINAL, Client),
    row(70, "FETCH_SESSION_ID_NOT_FOUND", RETRIABLE, Client),
    row(71, "INVALID_FETCH_SESSION_EPOCH", RETRIABLE, Client),
    row(72, "LISTENER_NOT_FOUND", RETRIABLE, Broker),
    row(73, "TOPIC_DELETION_DISABLED", FINAL, Client),
    row(74, "FENCED_LEADER_EPOCH", RETRIABLE, Client),
    row(75, "UNKNOWN_LEADER_EPOCH", RETRIABLE, Broker),
    row(76, "UNSUPPORTED_COMPRESSION_TYPE", FINAL, Client),
    row(77, "STALE_BROKER_EPOCH", FINAL, Unknown),
    row(78, "OFFSET_NOT_AVAILABLE", RETRIABLE, Broker),
    row(79, "MEMBER_ID_REQUIRED", FINAL, Client),
    row(80, "PREFERRED_LEADER_NOT_AVAILABLE", RETRIABLE, Broker),
    row(81, "GROUP_MAX_SIZE_REACHED", FINAL, Client),
    row(82, "FENCED_INSTANCE_ID", FINAL, Client),
    row(83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", RETRIABLE, Broker),
    row(84, "ELECTION_NOT_NEEDED", RETRIABLE, Client),
    row(85, "NO_REASSIGNMENT_IN_PROGRESS", FINAL, Client),
    row(86, "GROUP_SUBSCRIBED_TO_TOPIC", FINAL, Client),
    row(87, "INVALID_RECORD", FINAL, Client),
    row(88, "UNSTABLE_OFFSET_COMMIT", RETRIABLE, Client),
    row(89, "THROTTLING_QUOTA_EXCEEDED", RETRIABLE, Client),
    row(90, "PRODUCER_FENCED", FINAL, Client),
    row(91, "RESOURCE_NOT_FOUND", FINAL, Client),
    row(92, "DUPLICATE_RESOURCE", FINAL, Client),
    row(93, "UNACCEPTABLE_CREDENTIAL", FINAL, Client),
    row(94, "INCONSISTENT_VOTER_SET", FINAL, Unknown),
    row(95, "INVALID_UPDATE_VERSION", FINAL, Unknown),
    row(96, "FEATURE_UPDATE_FAILED", FINAL, Broker),
    row(97, "PRINCIPAL_DESERIALIZATION_FAILURE", FINAL, Unknown),
    row(98, "SNAPSHOT_NOT_FOUND", FINAL, Unknown),
    row(99, "POSITION_OUT_OF_RANGE", FINAL, Unknown),
    row(100, "UNKNOWN_TOPIC_ID", RETRIABLE, Client),
    row(101, "DUPLICATE_BROKER_REGISTRATION", FINAL, Unknown),
    row(102, "BROKER_ID_NOT_REGISTERED", FINAL, Unknown),
    row(103, "INCONSISTENT_TOPIC_ID", RETRIABLE, Client),
    row(104, "INCONSISTENT_CLUSTER_ID", FINAL, Unknown),
    row(105, "TRANSACTIONAL_ID_NOT_FOUND", FINAL, Client),
    row(106, "FETCH_SESSION_TOPIC_ID_ERROR", RETRIABLE, Client),
    row(107, "INELIGIBLE_REPLICA", FINAL, Unknown),
    row(108, "NEW_LEADER_ELECTED", FINAL, Unknown),
    row(109, "OFFSET_MOVED_TO_TIERED_STORAGE", FINAL, Unknown),
    row(110, "FENCED_MEMBER_EPOCH", FINAL, Client),
    row(111, "UNRELEASED_INSTANCE_ID", FINAL, Client),
    row(112, "UNSUPPORTED_ASSIGNOR", FINAL, Client),
    row(113, "STALE_MEMBER_EPOCH", FINAL, Client),
    row(114, "MISMATCHED_ENDPOINT_TYPE", FINAL, Client),
    row(115, "UNSUPPORTED_ENDPOINT_TYPE", FINAL, Client),
    row(116, "UNKNOWN_CONTROLLER_ID", FINAL, Unknown),
    row(117, "UNKNOWN_SUBSCRIPTION_ID", FINAL, Client),
    row(118, "TELEMETRY_TOO_LARGE", FINAL, Client),
    row(119, "INVALID_REGISTRATION", FINAL, Unknown),
    row(120, "TRANSACTION_ABORTABLE", FINAL, Unknown),
    row(121, "INVALID_RECORD_STATE", FINAL, Client),
    row(122, "SHARE_SESSION_NOT_FOUND", RETRIABLE, Client),
    row(123, "INVALID_SHARE_SESSION_EPOCH", RETRIABLE, Client),
    row(124, "FENCED_STATE_EPOCH", FINAL, Unknown),
    row(125, "INVALID_VOTER_KEY", FINAL, Client),
    row(126, "DUPLICATE_VOTER", FINAL, Client),
    row(127, "VOTER_NOT_FOUND", FINAL, Client),
    row(128, "INVALID_REGULAR_EXPRESSION", FINAL, Client),
    row(129, "REBOOTSTRAP_REQUIRED", FINAL, Unknown),
    row(130, "STREAMS_INVALID_TOPOLOGY", FINAL, Client),
    row(131, "STREAMS_INVALID_TOPOLOGY_EPOCH", FINAL, Client),
    row(132, "STREAMS_TOPOLOGY_FENCED", FINAL, Client),
    row(133, "SHARE_SESSION_LIMIT_REACHED", RETRIABLE, Broker),
    row(134, "GROUP_DELETION_FAILED", FINAL, Unknown),
    row(
        135,
        "STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
        FINAL,
        Unknown,
    ),
    row(136, "CONTROLLER_ID_NOT_REGISTERED", FINAL, Unknown),
];

/// What a code outside the table means: a broker newer than this build.
const OTHER: Failure = Failure {
    name: "OTHER",
    class: Unknown,
    retriable: false,
};

/// The failure an error code stands for; `None` for 0. A code outside the table is `OTHER`, blamed on nobody.
#[must_use]
pub fn failure(code: i16) -> Option<Failure> {
    if code == 0 {
        return None;
    }
    Some(
        ERRORS
            .binary_search_by_key(&code, |(known, _)| *known)
            .ok()
            .and_then(|i| ERRORS.get(i))
            .map_or(OTHER, |(_, failure)| *failure),
    )
}

/// Of two codes, the one that weighs more in the availability indicator: the broker's fault before one that may settle before
/// an unknown one before the client's before none. The first where they weigh the same; of the client's one for want of rights.
#[must_use]
pub fn worse(first: i16, second: i16) -> i16 {
    let weight = |code| match failure(code).map(|f| f.class) {
        None => 0,
        Some(Client) => 1,
        Some(Unknown) => 2,
        Some(Settling) => 3,
        Some(Broker) => 4,
    };
    let lacks_rights =
        |code| failure(code).is_some_and(|f| f.name.ends_with("AUTHORIZATION_FAILED"));
    let alike = weight(second) == weight(first);
    if weight(second) > weight(first) || (alike && lacks_rights(second) && !lacks_rights(first)) {
        second
    } else {
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_code_is_found() {
        assert!(ERRORS.is_sorted_by_key(|(code, _)| *code));
        for (code, expected) in ERRORS {
            assert_eq!(failure(code), Some(expected));
        }
        assert_eq!(failure(0), None);
        assert_eq!(failure(9_999), Some(OTHER));
    }

    #[test]
    fn a_brokers_fault_outweighs_the_others() {
        let (client, unknown, broker) = (29, 2, 7);
        assert_eq!(worse(0, client), client);
        assert_eq!(worse(client, unknown), unknown);
        assert_eq!(worse(broker, unknown), broker);
        assert_eq!(worse(6, 7), 6);
        // TOPIC_ALREADY_EXISTS, TOPIC_AUTHORIZATION_FAILED.
        assert_eq!((worse(36, 29), worse(29, 36)), (29, 29));
    }
}
