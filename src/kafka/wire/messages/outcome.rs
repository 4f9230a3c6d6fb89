//! How a request ended, for every observed API: throttle time and worst error code.
//!
//! Used where nothing else of a response matters. "Worst" is what weighs most in the availability indicator: a broker's
//! fault before an unknown one before the client's own. Fetch and ShareFetch are read only as far as their first array:
//! the errors of their partitions stand between records, which `scan` reads as they stream.

use super::{
    super::{
        api::ApiKey,
        body::{open, throttle},
        endpoints,
        error::{DecodeErrorKind, Result},
        error_code,
        reader::Reader,
    },
    administration,
    api_versions::ApiVersionsResponse,
    epochs::OffsetForLeaderEpochResponse,
    membership,
    offsets::{OffsetCommitResponse, OffsetFetchResponse},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Throttle time, ms, where this version carries it.
    pub throttle_ms: Option<i32>,
    /// The error that weighs most, 0 = none.
    pub error_code: i16,
}

/// Collects error codes.
#[derive(Debug, Default)]
struct Worst(i16);

impl Worst {
    fn add(&mut self, code: i16) {
        self.0 = error_code::worse(self.0, code);
    }
}

/// Reads the body of a response.
///
/// # Errors
/// `Version` for an API that is not observed or a version that is not read, else what the fields give.
pub fn top_level(key: ApiKey, version: i16, body: &[u8]) -> Result<Outcome> {
    let mut worst = Worst::default();
    let throttle_ms = match key {
        ApiKey::PRODUCE => {
            let seen = endpoints::produce_response(body, version)?;
            for partition in seen.topics.iter().flat_map(|t| &t.partitions) {
                worst.add(partition.error_code);
            }
            Some(seen.throttle_ms)
        }
        ApiKey::METADATA => {
            let seen = endpoints::metadata(body, version)?;
            worst.add(seen.error_code);
            for topic in &seen.topics {
                worst.add(topic.error_code);
            }
            seen.throttle_ms
        }
        ApiKey::FIND_COORDINATOR => {
            let seen = endpoints::find_coordinator(body, version)?;
            for coordinator in &seen.coordinators {
                worst.add(coordinator.error_code);
            }
            seen.throttle_ms
        }
        ApiKey::OFFSET_COMMIT => commit(OffsetCommitResponse::read(body, version)?, &mut worst),
        ApiKey::TXN_OFFSET_COMMIT => {
            commit(OffsetCommitResponse::read_txn(body, version)?, &mut worst)
        }
        ApiKey::OFFSET_FETCH => offset_fetch(body, version, &mut worst)?,
        ApiKey::API_VERSIONS => {
            let response = ApiVersionsResponse::read(body, version)?;
            worst.add(response.error_code);
            response.throttle_ms
        }
        ApiKey::SHARE_ACKNOWLEDGE => {
            let seen = endpoints::share_acknowledge(body, version)?;
            worst.add(seen.error_code);
            for partition in seen.topics.iter().flat_map(|t| &t.partitions) {
                worst.add(partition.error_code);
            }
            Some(seen.throttle_ms)
        }
        ApiKey::OFFSET_FOR_LEADER_EPOCH => {
            let response = OffsetForLeaderEpochResponse::read(body, version)?;
            for partition in response.topics.iter().flat_map(|t| &t.partitions) {
                worst.add(partition.error_code);
            }
            response.throttle_ms
        }
        ApiKey::LIST_OFFSETS => list_offsets(body, version, &mut worst)?,
        ApiKey::DESCRIBE_TOPIC_PARTITIONS => describe_topic_partitions(body, version, &mut worst)?,
        ApiKey::ADD_PARTITIONS_TO_TXN => add_partitions(body, version, &mut worst)?,
        ApiKey::LEAVE_GROUP => leave_group(body, version, &mut worst)?,
        ApiKey::DESCRIBE_GROUPS => {
            for group in membership::describe_groups_response(body, version)? {
                worst.add(group.error_code);
            }
            // In front of everything, from version 1 on.
            throttle(&mut open(body, key, version, 0)?, version >= 1)?
        }
        _ => match administration::errors(key, version, body, |code| worst.add(code))? {
            Some(throttle_ms) => throttle_ms,
            None => {
                let (throttle_ms, code) = leading(key, body, version)?;
                worst.add(code);
                throttle_ms
            }
        },
    };
    Ok(Outcome {
        throttle_ms,
        error_code: worst.0,
    })
}

/// APIs whose body begins with throttle time (from some version on) and one error code.
fn leading(key: ApiKey, body: &[u8], version: i16) -> Result<(Option<i32>, i16)> {
    let (oldest, throttle_since) = match key {
        ApiKey::FETCH => (4, 0),
        ApiKey::JOIN_GROUP => (0, 2),
        ApiKey::HEARTBEAT | ApiKey::SYNC_GROUP => (0, 1),
        ApiKey::SASL_HANDSHAKE | ApiKey::SASL_AUTHENTICATE => (0, i16::MAX),
        ApiKey::INIT_PRODUCER_ID
        | ApiKey::ADD_OFFSETS_TO_TXN
        | ApiKey::END_TXN
        | ApiKey::DESCRIBE_CLUSTER
        | ApiKey::CONSUMER_GROUP_HEARTBEAT
        | ApiKey::SHARE_GROUP_HEARTBEAT
        | ApiKey::STREAMS_GROUP_HEARTBEAT
        | ApiKey::SHARE_FETCH => (0, 0),
        _ => return Err(Reader::new(body, false).fault(DecodeErrorKind::Version, "api")),
    };
    let r = &mut open(body, key, version, oldest)?;
    let throttle_ms = throttle(r, version >= throttle_since)?;
    // Fetch has an error of its own only with sessions.
    if key == ApiKey::FETCH && version < 7 {
        return Ok((throttle_ms, 0));
    }
    Ok((throttle_ms, r.i16("error code")?))
}

fn commit(response: OffsetCommitResponse<'_>, worst: &mut Worst) -> Option<i32> {
    for partition in response.topics.iter().flat_map(|t| &t.partitions) {
        worst.add(partition.error_code);
    }
    response.throttle_ms
}

fn offset_fetch(body: &[u8], version: i16, worst: &mut Worst) -> Result<Option<i32>> {
    let response = OffsetFetchResponse::read(body, version)?;
    for group in &response.groups {
        worst.add(group.error_code);
        for partition in group.topics.iter().flat_map(|t| &t.partitions) {
            worst.add(partition.error_code);
        }
    }
    Ok(response.throttle_ms)
}

fn leave_group(body: &[u8], version: i16, worst: &mut Worst) -> Result<Option<i32>> {
    let response = super::group::LeaveGroupResponse::read(body, version)?;
    worst.add(response.error_code);
    for (_, code) in &response.members {
        worst.add(*code);
    }
    Ok(response.throttle_ms)
}

fn list_offsets(body: &[u8], version: i16, worst: &mut Worst) -> Result<Option<i32>> {
    let r = &mut open(body, ApiKey::LIST_OFFSETS, version, 1)?;
    let throttle_ms = throttle(r, version >= 2)?;
    r.array("topics", |r| {
        r.nullable_string_bytes("topic")?;
        r.array("partitions", |r| {
            r.i32("partition")?;
            worst.add(r.i16("error code")?);
            r.i64("timestamp")?;
            r.i64("offset")?;
            if version >= 4 {
                r.i32("leader epoch")?;
            }
            r.skip_tagged()
        })?;
        r.skip_tagged()
    })?;
    Ok(throttle_ms)
}

fn describe_topic_partitions(body: &[u8], version: i16, worst: &mut Worst) -> Result<Option<i32>> {
    let seen = endpoints::describe_topic_partitions(body, version)?;
    for topic in &seen.topics {
        worst.add(topic.error_code);
    }
    Ok(seen.throttle_ms)
}

fn add_partitions(body: &[u8], version: i16, worst: &mut Worst) -> Result<Option<i32>> {
    let r = &mut open(body, ApiKey::ADD_PARTITIONS_TO_TXN, version, 0)?;
    let throttle_ms = throttle(r, true)?;
    if version <= 3 {
        add_partitions_topics(r, worst)?;
        return Ok(throttle_ms);
    }
    worst.add(r.i16("error code")?);
    r.array("results by transaction", |r| {
        r.nullable_string_bytes("transactional id")?;
        add_partitions_topics(r, worst)?;
        r.skip_tagged()
    })?;
    Ok(throttle_ms)
}

fn add_partitions_topics(r: &mut Reader<'_>, worst: &mut Worst) -> Result<()> {
    r.array("results by topic", |r| {
        r.nullable_string_bytes("topic")?;
        r.array("results by partition", |r| {
            r.i32("partition")?;
            worst.add(r.i16("error code")?);
            r.skip_tagged()
        })?;
        r.skip_tagged()
    })
}
