//! What this program writes itself: records of its own, and how far it has read them.
//!
//! Requests are whole frames with their length prefix, in versions before compact lengths, as in `reading`. A batch is not
//! compressed and has no producer id: whoever sends it again may double it, and must be able to tell. Must not be used for
//! what passes through.
//!
//! Reference: `ProduceRequest.json`, `FindCoordinatorRequest.json`, `OffsetCommitRequest.json` and their responses; KIP-98 (record format).

use super::{
    super::{
        api::ApiKey,
        batch::{BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES},
        body::{PartitionError, Topic, throttle, topics},
        error::Result,
        record::CRC_COVERS_FROM,
        splice::{put_string, put_varint},
    },
    reading::within,
    requests::{frame, put_count},
};

/// Produce versions that are written and read; 3 is the first with this record format.
pub const PRODUCE_VERSIONS: (i16, i16) = (3, 7);
/// FindCoordinator versions that are written: those that ask for one group, which every broker has.
pub const FIND_COORDINATOR_VERSIONS: (i16, i16) = (1, 2);
/// OffsetCommit versions that are written and read.
pub const OFFSET_COMMIT_VERSIONS: (i16, i16) = (2, 6);

/// Written once every replica in sync has it.
const ACKS_ALL: i16 = -1;
/// Magic of the batch.
const MAGIC: u8 = 2;

/// A record without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// Value.
    pub value: &'a [u8],
    /// Headers in order.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// One uncompressed batch of records, all of this create time, ms since the Unix epoch.
#[must_use]
pub fn batch(records: &[NewRecord<'_>], created_ms: i64) -> Vec<u8> {
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let mut body = Vec::new();
    for (delta, record) in (0..count).zip(records) {
        let mut one = vec![0, 0];
        put_varint(&mut one, delta);
        // A null key.
        put_varint(&mut one, -1);
        put_bytes(&mut one, record.value);
        put_length(&mut one, record.headers.len());
        for (key, value) in record.headers {
            put_bytes(&mut one, key.as_bytes());
            put_bytes(&mut one, value);
        }
        put_bytes(&mut body, &one);
    }
    let mut covered = Vec::new();
    covered.extend_from_slice(&0i16.to_be_bytes());
    covered.extend_from_slice(&count.saturating_sub(1).to_be_bytes());
    covered.extend_from_slice(&created_ms.to_be_bytes());
    covered.extend_from_slice(&created_ms.to_be_bytes());
    // No producer id, epoch or sequence.
    covered.extend_from_slice(&(-1i64).to_be_bytes());
    covered.extend_from_slice(&(-1i16).to_be_bytes());
    covered.extend_from_slice(&(-1i32).to_be_bytes());
    covered.extend_from_slice(&count.to_be_bytes());
    covered.extend_from_slice(&body);
    let total = CRC_COVERS_FROM.saturating_add(covered.len());
    debug_assert_eq!(total, BATCH_HEADER_BYTES.saturating_add(body.len()));
    let length = total.saturating_sub(BATCH_LENGTH_PREFIX_BYTES);
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&0i64.to_be_bytes());
    out.extend_from_slice(&i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out.push(MAGIC);
    out.extend_from_slice(&crc32c::crc32c(&covered).to_be_bytes());
    out.append(&mut covered);
    out
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_varint(out, i32::try_from(length).unwrap_or(i32::MAX));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A ProduceRequest with `acks=all` that the broker answers within `timeout_ms`; `None` outside 3-7. One batch per partition.
#[must_use]
pub fn produce_request(
    correlation_id: i32,
    version: i16,
    timeout_ms: i32,
    topic: &str,
    batches: &[(i32, Vec<u8>)],
) -> Option<Vec<u8>> {
    if !(PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1).contains(&version) {
        return None;
    }
    // No transactional id.
    let mut body = Vec::from((-1i16).to_be_bytes());
    body.extend_from_slice(&ACKS_ALL.to_be_bytes());
    body.extend_from_slice(&timeout_ms.to_be_bytes());
    put_count(&mut body, Some(1), false);
    put_string(&mut body, topic, false);
    put_count(&mut body, Some(batches.len()), false);
    for (partition, batch) in batches {
        body.extend_from_slice(&partition.to_be_bytes());
        put_count(&mut body, Some(batch.len()), false);
        body.extend_from_slice(batch);
    }
    Some(frame(ApiKey::PRODUCE, version, correlation_id, &body))
}

/// One partition of a ProduceResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Partition number.
    pub partition: i32,
    /// 0 = written.
    pub error_code: i16,
    /// Offset of the first record.
    pub base_offset: i64,
}

/// Reads the body of a ProduceResponse, versions 3-7.
///
/// # Errors
/// `Version` outside those, else what the fields give.
pub fn produce_response(body: &[u8], version: i16) -> Result<Vec<Topic<'_, Appended>>> {
    let mut r = within(body, ApiKey::PRODUCE, version, PRODUCE_VERSIONS)?;
    topics(&mut r, false, |r| {
        let appended = Appended {
            partition: r.i32("partition")?,
            error_code: r.i16("error code")?,
            base_offset: r.i64("base offset")?,
        };
        r.i64("log append time")?;
        if version >= 5 {
            r.i64("log start offset")?;
        }
        Ok(appended)
    })
}

/// A FindCoordinatorRequest for one group; `None` outside 1-2.
#[must_use]
pub fn find_coordinator_request(correlation_id: i32, version: i16, group: &str) -> Option<Vec<u8>> {
    if !(FIND_COORDINATOR_VERSIONS.0..=FIND_COORDINATOR_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::new();
    put_string(&mut body, group, false);
    // Key type 0 = group.
    body.push(0);
    Some(frame(
        ApiKey::FIND_COORDINATOR,
        version,
        correlation_id,
        &body,
    ))
}

/// An OffsetCommitRequest of somebody who is no member; `None` outside 2-6. `offsets` are (partition, next offset to read).
#[must_use]
pub fn offset_commit_request(
    correlation_id: i32,
    version: i16,
    group: &str,
    topic: &str,
    offsets: &[(i32, i64)],
) -> Option<Vec<u8>> {
    if !(OFFSET_COMMIT_VERSIONS.0..=OFFSET_COMMIT_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::new();
    put_string(&mut body, group, false);
    body.extend_from_slice(&(-1i32).to_be_bytes());
    put_string(&mut body, "", false);
    if version <= 4 {
        // As long as the broker keeps offsets.
        body.extend_from_slice(&(-1i64).to_be_bytes());
    }
    put_count(&mut body, Some(1), false);
    put_string(&mut body, topic, false);
    put_count(&mut body, Some(offsets.len()), false);
    for (partition, offset) in offsets {
        body.extend_from_slice(&partition.to_be_bytes());
        body.extend_from_slice(&offset.to_be_bytes());
        if version >= 6 {
            body.extend_from_slice(&(-1i32).to_be_bytes());
        }
        // No metadata.
        body.extend_from_slice(&(-1i16).to_be_bytes());
    }
    Some(frame(ApiKey::OFFSET_COMMIT, version, correlation_id, &body))
}

/// Reads the body of an OffsetCommitResponse, versions 2-6.
///
/// # Errors
/// `Version` outside those, else what the fields give.
pub fn offset_commit_response(body: &[u8], version: i16) -> Result<Vec<Topic<'_, PartitionError>>> {
    let mut r = within(body, ApiKey::OFFSET_COMMIT, version, OFFSET_COMMIT_VERSIONS)?;
    throttle(&mut r, version >= 3)?;
    topics(&mut r, false, |r| {
        Ok(PartitionError {
            partition: r.i32("partition")?,
            error_code: r.i16("error code")?,
        })
    })
}
