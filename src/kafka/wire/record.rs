//! The records inside a v2 batch.
//!
//! Borrowed: a record points into the batch, or into its decompressed body, which [`Records`] owns. Header keys are bytes,
//! in order, duplicates included. Reference: KIP-98 (record format), KIP-82 (headers), `DefaultRecord` and
//! `ControlRecordType` in Kafka's sources. Must not change a record; formats before v2 are not opened.

use std::{borrow::Cow, ops::Range};

use super::{
    batch::{BATCH_HEADER_BYTES, BatchHeader},
    compression,
    error::{DecodeErrorKind, Result},
    reader::Reader,
};

/// Where the part of a batch begins that its CRC covers: the attributes.
pub(super) const CRC_COVERS_FROM: usize = 21;

/// Whether the CRC-32C in the header is that of the batch.
///
/// # Errors
/// As [`BatchHeader::read`]; `Incomplete` where the batch is cut.
pub fn crc_matches(batch: &[u8]) -> Result<bool> {
    let header = BatchHeader::read(batch)?;
    let covered = batch
        .get(CRC_COVERS_FROM..header.total_bytes())
        .ok_or(Reader::new(batch, false).fault(DecodeErrorKind::Incomplete, "batch"))?;
    Ok(crc32c::crc32c(covered) == header.crc)
}

/// An open batch.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    header: BatchHeader,
    body: Cow<'a, [u8]>,
}

impl<'a> Records<'a> {
    /// Opens a whole batch; bytes behind it are ignored. A compressed body is decompressed into at most `cap` bytes. The CRC
    /// is not looked at, see [`crc_matches`].
    ///
    /// # Errors
    /// As [`BatchHeader::read`]; `Incomplete` where the batch is cut; as [`compression::decompress`].
    pub fn open(batch: &'a [u8], cap: usize) -> Result<Self> {
        let header = BatchHeader::read(batch)?;
        let packed = batch
            .get(BATCH_HEADER_BYTES..header.total_bytes())
            .ok_or(Reader::new(batch, false).fault(DecodeErrorKind::Incomplete, "batch"))?;
        let codec = compression::codec(header.codec());
        let body = compression::decompress(codec, packed, cap)?;
        Ok(Self { header, body })
    }

    /// The batch's header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records, uncompressed, one after the other.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The records in order; ends at the header's count, or behind the first fault.
    #[must_use]
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter {
            reader: Reader::new(&self.body, false),
            left: self.header.record_count,
        }
    }
}

impl<'r> IntoIterator for &'r Records<'_> {
    type Item = Result<Record<'r>>;
    type IntoIter = RecordIter<'r>;

    fn into_iter(self) -> RecordIter<'r> {
        self.iter()
    }
}

/// Iterates over the records of a batch.
#[derive(Debug, Clone)]
pub struct RecordIter<'r> {
    reader: Reader<'r>,
    left: i32,
}

impl<'r> Iterator for RecordIter<'r> {
    type Item = Result<Record<'r>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let record = Record::read(&mut self.reader);
        self.left = if record.is_ok() {
            self.left.saturating_sub(1)
        } else {
            0
        };
        Some(record)
    }
}

/// One record.
#[derive(Debug, Clone)]
pub struct Record<'r> {
    /// Time relative to the batch's base timestamp, ms; may be negative. Means nothing under LogAppendTime.
    pub timestamp_delta: i64,
    /// Offset relative to the batch's base.
    pub offset_delta: i32,
    /// Key.
    pub key: Option<&'r [u8]>,
    /// Value; `None` = tombstone.
    pub value: Option<&'r [u8]>,
    /// Where the record stands in [`Records::body`], its length prefix included.
    pub at: Range<usize>,
    /// Where the record begins in [`Records::body`], behind its length prefix.
    pub content_at: usize,
    /// Where the count of its headers stands in [`Records::body`].
    pub headers_at: usize,
    headers: Reader<'r>,
    header_count: i32,
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'r> {
    /// Key; Kafka's clients write UTF-8, nothing enforces it.
    pub key: &'r [u8],
    /// Value.
    pub value: Option<&'r [u8]>,
}

impl<'r> Record<'r> {
    fn read(r: &mut Reader<'r>) -> Result<Self> {
        let start = r.position();
        let length = r.varint("record length")?;
        let length = usize::try_from(length)
            .map_err(|_| r.fault(DecodeErrorKind::NegativeLength, "record length"))?;
        let body_at = r.position();
        let r_record = &mut Reader::new(r.take(length, "record")?, false);
        r_record.i8("record attributes")?;
        let timestamp_delta = r_record.varlong("timestamp delta")?;
        let offset_delta = r_record.varint("offset delta")?;
        let key = varint_bytes(r_record, "record key")?;
        let value = varint_bytes(r_record, "record value")?;
        let headers_at = body_at.saturating_add(r_record.position());
        let header_count = r_record.varint("header count")?;
        if header_count < 0 {
            return Err(r_record.fault(DecodeErrorKind::NegativeLength, "header count"));
        }
        Ok(Self {
            timestamp_delta,
            offset_delta,
            key,
            value,
            at: start..r.position(),
            content_at: body_at,
            headers_at,
            headers: r_record.clone(),
            header_count,
        })
    }

    /// The headers in order, duplicates included; ends behind the first fault.
    #[must_use]
    pub fn headers(&self) -> HeaderIter<'r> {
        HeaderIter {
            reader: self.headers.clone(),
            left: self.header_count,
        }
    }

    /// What stands behind the count: the headers, as they are on the wire.
    #[must_use]
    pub fn header_bytes(&self) -> &'r [u8] {
        self.headers.rest()
    }

    /// Number of headers, as the record says; the bytes may hold fewer.
    #[must_use]
    pub fn header_count(&self) -> i32 {
        self.header_count
    }
}

/// Iterates over the headers of a record.
#[derive(Debug, Clone)]
pub struct HeaderIter<'r> {
    reader: Reader<'r>,
    left: i32,
}

impl HeaderIter<'_> {
    /// Whether all were read and nothing stands behind them.
    ///
    /// # Errors
    /// `Value` where there are bytes left.
    pub fn end(&self) -> Result<()> {
        if self.left == 0 && self.reader.remaining() == 0 {
            Ok(())
        } else {
            Err(self
                .reader
                .fault(DecodeErrorKind::Value, "bytes behind the headers"))
        }
    }
}

impl<'r> Iterator for HeaderIter<'r> {
    type Item = Result<Header<'r>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        let header = read_header(&mut self.reader);
        self.left = if header.is_ok() {
            self.left.saturating_sub(1)
        } else {
            0
        };
        Some(header)
    }
}

fn read_header<'r>(r: &mut Reader<'r>) -> Result<Header<'r>> {
    let key = varint_bytes(r, "header key")?
        .ok_or(r.fault(DecodeErrorKind::NegativeLength, "header key"))?;
    let value = varint_bytes(r, "header value")?;
    Ok(Header { key, value })
}

/// Bytes behind a VARINT length; a negative one is null, as in Kafka's own reader.
fn varint_bytes<'r>(r: &mut Reader<'r>, field: &'static str) -> Result<Option<&'r [u8]>> {
    match usize::try_from(r.varint(field)?) {
        Ok(n) => r.take(n, field).map(Some),
        Err(_) => Ok(None),
    }
}

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// The transaction was aborted.
    Abort,
    /// The transaction was committed.
    Commit,
    /// Something else: leader change, snapshot, voters.
    Other,
}

/// The type of a control batch, from the bytes behind its header (control batches are not compressed and hold one record;
/// about 12 bytes are enough). `None` where they are too few or make no sense.
#[must_use]
pub fn control_type(first_record: &[u8]) -> Option<ControlType> {
    let r = &mut Reader::new(first_record, false);
    let read = |r: &mut Reader<'_>| -> Result<i16> {
        r.varint("record length")?;
        r.i8("record attributes")?;
        r.varlong("timestamp delta")?;
        r.varint("offset delta")?;
        r.varint("record key")?;
        r.i16("control version")?;
        r.i16("control type")
    };
    match read(r).ok()? {
        0 => Some(ControlType::Abort),
        1 => Some(ControlType::Commit),
        _ => Some(ControlType::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A batch of one record, as Kafka's own producer writes it: key null, value `v`, headers `a=1`, `a=` (null).
    fn batch() -> Vec<u8> {
        let record = [
            // attributes, timestamp delta -1, offset delta 0, null key, value
            &[0u8, 1, 0, 1, 2, b'v'][..],
            // two headers of the same key
            &[4, 2, b'a', 2, b'1', 2, b'a', 1],
        ]
        .concat();
        let mut out = vec![0u8; 61];
        out.push(u8::try_from(record.len() * 2).unwrap());
        out.extend_from_slice(&record);
        let length = u32::try_from(out.len() - 12).unwrap();
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[16] = 2;
        out[57..61].copy_from_slice(&1u32.to_be_bytes());
        let crc = crc32c::crc32c(&out[21..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out
    }

    #[test]
    fn records_keep_duplicate_headers_and_nulls() {
        let batch = batch();
        assert_eq!(crc_matches(&batch), Ok(true));
        let records = Records::open(&batch, 0).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        assert_eq!((record.timestamp_delta, record.offset_delta), (-1, 0));
        assert_eq!((record.key, record.value), (None, Some(&b"v"[..])));
        let headers: Vec<_> = record.headers().map(Result::unwrap).collect();
        assert_eq!(
            headers,
            [
                Header {
                    key: b"a",
                    value: Some(b"1")
                },
                Header {
                    key: b"a",
                    value: None
                },
            ]
        );
        assert_eq!(record.at, 0..records.body().len());
        assert_eq!(records.body()[record.headers_at], 4);
        assert_eq!(records.iter().count(), 1);
    }

    #[test]
    fn a_changed_byte_shows_in_the_crc_and_a_cut_batch_is_incomplete() {
        let mut batch = batch();
        let cut = Records::open(&batch[..batch.len() - 1], 0).unwrap_err();
        assert!(cut.is_incomplete());
        *batch.last_mut().unwrap() ^= 1;
        assert_eq!(crc_matches(&batch), Ok(false));
    }

    #[test]
    fn a_count_beyond_the_bytes_ends_with_one_fault() {
        let mut batch = batch();
        batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        let records = Records::open(&batch, 0).unwrap();
        let all: Vec<_> = records.iter().collect();
        assert_eq!(all.len(), 2);
        assert!(all[1].is_err());
    }

    #[test]
    fn control_records_tell_abort_from_commit() {
        for (kind, expected) in [
            (0, ControlType::Abort),
            (1, ControlType::Commit),
            (2, ControlType::Other),
        ] {
            let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(control_type(&record), Some(expected));
            assert_eq!(control_type(&record[..8]), None);
        }
    }
}
