//! What our own reader asks and is told: leaders, offsets by time, records.
//!
//! Requests are whole frames with their length prefix, in versions before compact lengths: every broker from 0.11 to 4.x
//! offers one of them, and names stay names (topic ids replace them in Fetch 13). Must not be used for what passes through.
//!
//! Reference: `ListOffsetsRequest.json`, `FetchRequest.json`, `MetadataResponse.json` and their counterparts; KIP-896 for
//! what Kafka 4 removed.

use super::{
    super::{
        api::ApiKey,
        body::{Topic, open, throttle, topics},
        error::{DecodeErrorKind, Result},
        reader::Reader,
        splice::put_string,
    },
    requests::{frame, put_count},
};

/// ListOffsets versions that are written and read.
pub const LIST_OFFSETS_VERSIONS: (i16, i16) = (1, 5);
/// Fetch versions that are written and read. 10 and later get zstd.
pub const FETCH_VERSIONS: (i16, i16) = (4, 11);

/// Instead of a time: the end of the partition, or its last stable offset for a reader of committed records.
pub const LATEST: i64 = -1;
/// Instead of a time: the first offset there is.
pub const EARLIEST: i64 = -2;
/// Isolation level: nothing behind the first open transaction.
const READ_COMMITTED: u8 = 1;

/// What the end of a partition means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The high watermark.
    Uncommitted,
    /// The last stable offset: the first open transaction, else the high watermark. Added in version 2.
    Committed,
}

/// From where a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Partition number.
    pub partition: i32,
    /// ListOffsets: a time in ms, [`LATEST`] or [`EARLIEST`]. Fetch: an offset.
    pub at: i64,
}

/// Topics of a request, by name.
pub type Asked<'a> = [(&'a str, Vec<Start>)];

fn put_topics(body: &mut Vec<u8>, asked: &Asked<'_>, mut each: impl FnMut(&mut Vec<u8>, Start)) {
    put_count(body, Some(asked.len()), false);
    for (name, partitions) in asked {
        put_string(body, name, false);
        put_count(body, Some(partitions.len()), false);
        for from in partitions {
            each(body, *from);
        }
    }
}

/// A ListOffsetsRequest, read committed where the version can say it; `None` outside 1-5.
#[must_use]
pub fn list_offsets_request(
    correlation_id: i32,
    version: i16,
    asked: &Asked<'_>,
) -> Option<Vec<u8>> {
    isolated_offsets_request(correlation_id, version, Isolation::Committed, asked)
}

/// A ListOffsetsRequest whose [`LATEST`] is the end that `isolation` says; `None` outside 1-5.
#[must_use]
pub fn isolated_offsets_request(
    correlation_id: i32,
    version: i16,
    isolation: Isolation,
    asked: &Asked<'_>,
) -> Option<Vec<u8>> {
    if !(LIST_OFFSETS_VERSIONS.0..=LIST_OFFSETS_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::from((-1i32).to_be_bytes());
    if version >= 2 {
        body.push(match isolation {
            Isolation::Uncommitted => 0,
            Isolation::Committed => READ_COMMITTED,
        });
    }
    put_topics(&mut body, asked, |body, from| {
        body.extend_from_slice(&from.partition.to_be_bytes());
        if version >= 4 {
            body.extend_from_slice(&(-1i32).to_be_bytes());
        }
        body.extend_from_slice(&from.at.to_be_bytes());
    });
    Some(frame(ApiKey::LIST_OFFSETS, version, correlation_id, &body))
}

/// An offset a broker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// Partition number.
    pub partition: i32,
    /// 0 = found, or there is none.
    pub error_code: i16,
    /// Of the first record of that time or later, ms; -1 where the question was no time, or nothing is that late.
    pub timestamp: i64,
    /// -1 where there is none.
    pub offset: i64,
}

/// Reads the body of a ListOffsetsResponse, versions 1-5.
///
/// # Errors
/// `Version` outside those, else what the fields give.
pub fn list_offsets_response(body: &[u8], version: i16) -> Result<Vec<Topic<'_, FoundOffset>>> {
    let mut r = within(body, ApiKey::LIST_OFFSETS, version, LIST_OFFSETS_VERSIONS)?;
    throttle(&mut r, version >= 2)?;
    topics(&mut r, false, |r| {
        let found = FoundOffset {
            partition: r.i32("partition")?,
            error_code: r.i16("error code")?,
            timestamp: r.i64("timestamp")?,
            offset: r.i64("offset")?,
        };
        if version >= 4 {
            r.i32("leader epoch")?;
        }
        Ok(found)
    })
}

/// Sizes of a Fetch, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchBytes {
    /// Of the whole answer. A first batch that is larger comes whole.
    pub answer: i32,
    /// Of one partition.
    pub partition: i32,
}

/// A FetchRequest outside any session, read committed, that waits up to `max_wait_ms` for the first byte; `None` outside 4-11.
#[must_use]
pub fn fetch_request(
    correlation_id: i32,
    version: i16,
    max_wait_ms: i32,
    bytes: FetchBytes,
    asked: &Asked<'_>,
) -> Option<Vec<u8>> {
    if !(FETCH_VERSIONS.0..=FETCH_VERSIONS.1).contains(&version) {
        return None;
    }
    let mut body = Vec::from((-1i32).to_be_bytes());
    for number in [max_wait_ms, 1, bytes.answer] {
        body.extend_from_slice(&number.to_be_bytes());
    }
    body.push(READ_COMMITTED);
    if version >= 7 {
        for session in [0i32, -1] {
            body.extend_from_slice(&session.to_be_bytes());
        }
    }
    put_topics(&mut body, asked, |body, from| {
        body.extend_from_slice(&from.partition.to_be_bytes());
        if version >= 9 {
            body.extend_from_slice(&(-1i32).to_be_bytes());
        }
        body.extend_from_slice(&from.at.to_be_bytes());
        if version >= 5 {
            body.extend_from_slice(&(-1i64).to_be_bytes());
        }
        body.extend_from_slice(&bytes.partition.to_be_bytes());
    });
    if version >= 7 {
        put_count(&mut body, Some(0), false);
    }
    if version >= 11 {
        put_string(&mut body, "", false);
    }
    Some(frame(ApiKey::FETCH, version, correlation_id, &body))
}

/// A FetchResponse, held whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse<'a> {
    /// Error for the whole request. Added in version 7.
    pub error_code: i16,
    /// What was fetched.
    pub topics: Vec<Topic<'a, FetchedPartition<'a>>>,
}

/// One partition of a FetchResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedPartition<'a> {
    /// Partition number.
    pub partition: i32,
    /// 0 = fetched.
    pub error_code: i16,
    /// Offset behind the last record that all replicas in sync have.
    pub high_watermark: i64,
    /// First offset there is; -1 where the version has none. Added in version 5.
    pub log_start_offset: i64,
    /// (producer id, first offset) of aborted transactions among the records.
    pub aborted: Vec<(i64, i64)>,
    /// Batches one after the other; the last one may be cut off.
    pub records: &'a [u8],
}

impl<'a> FetchResponse<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `Version` outside 4-11, else what the fields give.
    pub fn read(body: &'a [u8], version: i16) -> Result<Self> {
        let mut r = within(body, ApiKey::FETCH, version, FETCH_VERSIONS)?;
        throttle(&mut r, true)?;
        let mut error_code = 0;
        if version >= 7 {
            error_code = r.i16("error code")?;
            r.i32("session id")?;
        }
        let topics = topics(&mut r, false, |r| fetched(r, version))?;
        Ok(Self { error_code, topics })
    }
}

fn fetched<'a>(r: &mut Reader<'a>, version: i16) -> Result<FetchedPartition<'a>> {
    let partition = r.i32("partition")?;
    let error_code = r.i16("error code")?;
    let high_watermark = r.i64("high watermark")?;
    r.i64("last stable offset")?;
    let log_start_offset = if version >= 5 {
        r.i64("log start offset")?
    } else {
        -1
    };
    let mut aborted = Vec::new();
    r.array("aborted transactions", |r| {
        aborted.push((r.i64("producer id")?, r.i64("first offset")?));
        Ok(())
    })?;
    if version >= 11 {
        r.i32("preferred read replica")?;
    }
    Ok(FetchedPartition {
        partition,
        error_code,
        high_watermark,
        log_start_offset,
        aborted,
        records: r.nullable_bytes("records")?.unwrap_or_default(),
    })
}

pub(super) fn within(
    body: &[u8],
    key: ApiKey,
    version: i16,
    allowed: (i16, i16),
) -> Result<Reader<'_>> {
    let r = open(body, key, version, allowed.0)?;
    if version > allowed.1 {
        return Err(r.fault(DecodeErrorKind::Version, "version"));
    }
    Ok(r)
}
