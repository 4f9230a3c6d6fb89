//! The 61 uncompressed bytes that begin every v2 record batch.
//!
//! Most indicators need nothing else. Reference: `DefaultRecordBatch` in Kafka's sources, KIP-98, KIP-534 (delete horizon).

use super::{
    error::{DecodeErrorKind, Result},
    reader::Reader,
};

/// Bytes of a v2 batch header.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes before the part that `batch_length` counts.
pub const BATCH_LENGTH_PREFIX_BYTES: usize = 12;
/// Bytes needed to tell the format: the magic byte stands at offset 16 in every format.
pub const MAGIC_PEEK_BYTES: usize = 17;

/// Header of a v2 batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes after the length field.
    pub batch_length: i32,
    /// Leader epoch of the partition.
    pub partition_leader_epoch: i32,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Bit field, see the methods.
    pub attributes: i16,
    /// Offset of the last record, relative to the base; kept by compaction.
    pub last_offset_delta: i32,
    /// First record's timestamp, or the delete horizon (see [`Self::has_delete_horizon`]), ms.
    pub base_timestamp: i64,
    /// Largest timestamp, ms.
    pub max_timestamp: i64,
    /// Producer id, -1 without idempotence.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header from its first byte. The magic must be 2.
    ///
    /// # Errors
    /// `Incomplete` under 61 bytes; `Version` for another magic; `Value` where the lengths contradict each other.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut r = Reader::new(bytes, false);
        let base_offset = r.i64("base offset")?;
        let batch_length = r.i32("batch length")?;
        let partition_leader_epoch = r.i32("partition leader epoch")?;
        let magic = r.i8("magic")?;
        if magic != 2 {
            return Err(r.fault(DecodeErrorKind::Version, "magic"));
        }
        let header = Self {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: r.u32("crc")?,
            attributes: r.i16("attributes")?,
            last_offset_delta: r.i32("last offset delta")?,
            base_timestamp: r.i64("base timestamp")?,
            max_timestamp: r.i64("max timestamp")?,
            producer_id: r.i64("producer id")?,
            producer_epoch: r.i16("producer epoch")?,
            base_sequence: r.i32("base sequence")?,
            record_count: r.i32("record count")?,
        };
        if header.batch_length < 49 || header.last_offset_delta < 0 || header.record_count < 0 {
            return Err(r.fault(DecodeErrorKind::Value, "batch header"));
        }
        Ok(header)
    }

    /// Bytes of the whole batch, header included.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        usize::try_from(self.batch_length)
            .unwrap_or(0)
            .saturating_add(BATCH_LENGTH_PREFIX_BYTES)
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// Codec number, bits 0-2.
    #[must_use]
    pub fn codec(&self) -> i16 {
        self.attributes & 0x07
    }

    /// The broker stamps the records: each one's time is `max_timestamp`.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & 0x08 != 0
    }

    /// Publish time of a record with this timestamp delta, ms since the Unix epoch: under LogAppendTime the broker's stamp.
    #[must_use]
    pub fn published_ms(&self, timestamp_delta: i64) -> i64 {
        if self.is_log_append_time() {
            self.max_timestamp
        } else {
            self.base_timestamp.saturating_add(timestamp_delta)
        }
    }

    /// Part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Markers, invisible to applications.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// `base_timestamp` holds the delete horizon instead of the first record's time (KIP-534).
    #[must_use]
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 0x40 != 0
    }

    /// (earliest, latest) time of the records as far as the header tells, ms.
    #[must_use]
    pub fn timestamps(&self) -> (i64, i64) {
        if self.is_log_append_time()
            || self.has_delete_horizon()
            || self.base_timestamp > self.max_timestamp
        {
            (self.max_timestamp, self.max_timestamp)
        } else {
            (self.base_timestamp, self.max_timestamp)
        }
    }
}
