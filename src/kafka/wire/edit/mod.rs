//! Appends headers to the records of a v2 batch, and changes nothing else.
//!
//! The only edit of a batch there is. What the producer wrote stays: order and duplicates of headers, null keys and values,
//! attributes, timestamps, offsets, producer id, epoch and sequence. Length and CRC-32C are the edited batch's. An uncompressed
//! batch is spliced in one pass; a compressed one is opened under a cap and packed again with the same codec.
//!
//! The client's CRC is verified first, because a new one would launder corruption, and the result obeys
//! `ProduceRequest.validateRecords` where the original did. Must not decide which headers are added or where editing is wise.

pub mod produce;
mod recompress;

use std::{fmt, ops::Range};

use super::{
    batch::{BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES, BatchHeader},
    compression,
    error::{DecodeError, DecodeErrorKind, Result},
    reader::Reader,
    record::{CRC_COVERS_FROM, Record, Records, crc_matches},
    splice::{put_varint, varint_bytes},
};
use crate::event::Codec;

/// Where the length and the CRC stand in a batch.
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;

/// By so many bytes the length and the header count of a record may grow.
const LENGTHS_GROW: usize = 4;

/// An empty record takes so many.
const RECORD_BYTES_MIN: usize = 7;

/// How much an edit may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EditLimits {
    /// Bytes of all records, decompressed, before and after the edit.
    pub body_bytes: usize,
    /// Bytes of the edited batch on the wire, header included: what the topic's `max.message.bytes` is compared with.
    pub batch_bytes: usize,
}

/// Why a batch stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untouched {
    /// Format 0 or 1, which has no headers.
    OldFormat,
    /// A control batch.
    Control,
    /// A batch without records.
    Empty,
    /// The CRC is not that of the bytes.
    Crc,
    /// The records are not what the header, or their own lengths, say.
    Malformed(DecodeError),
    /// Compressed with a codec this build does not know.
    UnknownCodec,
    /// The edited batch, or its records, would be over a limit.
    TooLarge,
    /// No record was given a header.
    NothingToAdd,
}

impl Untouched {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OldFormat => "old_format",
            Self::Control => "control",
            Self::Empty => "empty",
            Self::Crc => "crc",
            Self::Malformed(_) => "malformed",
            Self::UnknownCodec => "unknown_codec",
            Self::TooLarge => "too_large",
            Self::NothingToAdd => "nothing_to_add",
        }
    }
}

impl fmt::Display for Untouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(fault) => write!(f, "records do not decode: {fault}"),
            other => f.write_str(other.as_str()),
        }
    }
}

impl std::error::Error for Untouched {}

/// Headers for one record.
#[derive(Debug, Default)]
pub struct NewHeaders {
    bytes: Vec<u8>,
    count: i32,
    fits: bool,
}

impl NewHeaders {
    /// Adds one behind those that are there.
    pub fn push(&mut self, key: &str, value: &[u8]) {
        if put_header(&mut self.bytes, key, value).is_none() {
            self.fits = false;
            return;
        }
        self.count = self.count.saturating_add(1);
    }

    /// Adds `count` that `write` appends, each as [`put_header`] does.
    pub fn push_encoded(&mut self, count: i32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.count = self.count.saturating_add(count);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        (self.count, self.fits) = (0, true);
    }
}

/// Appends a header as it stands in a record; `None` where a length does not fit.
pub fn put_header(out: &mut Vec<u8>, key: &str, value: &[u8]) -> Option<()> {
    let key_length = i32::try_from(key.len()).ok()?;
    let value_length = i32::try_from(value.len()).ok()?;
    put_varint(out, key_length);
    out.extend_from_slice(key.as_bytes());
    put_varint(out, value_length);
    out.extend_from_slice(value);
    Some(())
}

/// The batch with the headers that `add` gives to each record, see [`append_headers_into`].
///
/// # Errors
/// As [`append_headers_into`].
pub fn append_headers(
    batch: &[u8],
    limits: EditLimits,
    add: impl FnMut(&BatchHeader, &Record<'_>, &mut NewHeaders),
) -> std::result::Result<Vec<u8>, Untouched> {
    let mut out = Vec::new();
    append_headers_into(&mut out, batch, limits, add).map(|_| out)
}

/// Writes the batch with the headers that `add` gives to each record, in record order, behind what is in `out`; where it stands
/// there. `batch` is exactly one batch. Where the edit is refused `out` is as it was.
///
/// `add` is called for every record before anything is known of the later ones; where the edit is refused, what it did for
/// nothing stays done.
///
/// # Errors
/// Where the batch must stay as it is, and why. Never because of what `add` says.
pub fn append_headers_into(
    out: &mut Vec<u8>,
    batch: &[u8],
    limits: EditLimits,
    add: impl FnMut(&BatchHeader, &Record<'_>, &mut NewHeaders),
) -> std::result::Result<Range<usize>, Untouched> {
    let from = out.len();
    let edited = edit(out, batch, limits, add).and_then(|()| sealed(out, from, limits.batch_bytes));
    if edited.is_err() {
        out.truncate(from);
    }
    edited.map(|()| from..out.len())
}

/// As [`append_headers_into`], but for length and CRC; a refusal leaves what was written.
fn edit(
    out: &mut Vec<u8>,
    batch: &[u8],
    limits: EditLimits,
    add: impl FnMut(&BatchHeader, &Record<'_>, &mut NewHeaders),
) -> std::result::Result<(), Untouched> {
    let header = editable(batch)?;
    let records = Records::open(batch, limits.body_bytes).map_err(refusal)?;
    let codec = compression::codec(header.codec());
    out.extend_from_slice(batch.get(..BATCH_HEADER_BYTES).unwrap_or_default());
    if codec == Codec::None {
        // Uncompressed records are written to where they stay.
        return put_records(out, &header, &records, limits, add);
    }
    let mut body = Vec::new();
    put_records(&mut body, &header, &records, limits, add)?;
    let packed = batch.get(BATCH_HEADER_BYTES..).unwrap_or_default();
    recompress::append(out, codec, packed, &body).ok_or(Untouched::UnknownCodec)
}

/// Writes all records with their new headers.
fn put_records(
    body: &mut Vec<u8>,
    header: &BatchHeader,
    records: &Records<'_>,
    limits: EditLimits,
    mut add: impl FnMut(&BatchHeader, &Record<'_>, &mut NewHeaders),
) -> std::result::Result<(), Untouched> {
    let prefix = body.len();
    let records_len = records.body().len();
    body.reserve(records_len);
    let mut added = false;
    let mut new = NewHeaders::default();
    let mut walked = 0usize;
    for record in records {
        let record = record.map_err(refusal)?;
        check_headers(&record).map_err(refusal)?;
        walked = record.at.end;
        new.clear();
        add(header, &record, &mut new);
        if !added && new.count > 0 {
            // The records of a batch are given about as much each; a count that lies is not believed.
            let count = usize::try_from(header.record_count).unwrap_or(0);
            let count = count.min(records_len / RECORD_BYTES_MIN);
            let grows = count.saturating_mul(new.bytes.len().saturating_add(LENGTHS_GROW));
            let whole = records_len.saturating_add(grows).min(limits.body_bytes);
            body.reserve(whole.saturating_sub(body.len().saturating_sub(prefix)));
        }
        added |= new.count > 0;
        put_record(body, records.body(), &record, &new).ok_or(Untouched::TooLarge)?;
        if body.len().saturating_sub(prefix) > limits.body_bytes {
            return Err(Untouched::TooLarge);
        }
    }
    if walked != records.body().len() {
        return Err(refusal(
            Reader::new(records.body(), false)
                .fault(DecodeErrorKind::Value, "bytes behind the records"),
        ));
    }
    if !added {
        return Err(Untouched::NothingToAdd);
    }
    Ok(())
}

/// The header of a batch whose records may be edited.
fn editable(batch: &[u8]) -> std::result::Result<BatchHeader, Untouched> {
    let header = BatchHeader::read(batch).map_err(|fault| match fault.kind {
        DecodeErrorKind::Version => Untouched::OldFormat,
        _ => Untouched::Malformed(fault),
    })?;
    if header.total_bytes() != batch.len() {
        let fault = Reader::new(batch, false).fault(DecodeErrorKind::Value, "batch length");
        return Err(Untouched::Malformed(fault));
    }
    if header.is_control() {
        return Err(Untouched::Control);
    }
    if header.record_count == 0 {
        return Err(Untouched::Empty);
    }
    if compression::codec(header.codec()) == Codec::Other {
        return Err(Untouched::UnknownCodec);
    }
    match crc_matches(batch) {
        Ok(true) => Ok(header),
        Ok(false) => Err(Untouched::Crc),
        Err(fault) => Err(Untouched::Malformed(fault)),
    }
}

fn refusal(fault: DecodeError) -> Untouched {
    if fault.kind == DecodeErrorKind::Limit {
        Untouched::TooLarge
    } else {
        Untouched::Malformed(fault)
    }
}

/// The headers fill the record to its end: what is appended behind them is then read as headers too.
fn check_headers(record: &Record<'_>) -> Result<()> {
    let mut headers = record.headers();
    for header in headers.by_ref() {
        header?;
    }
    headers.end()
}

/// Writes a record with more headers; `None` where a length or a count does not fit.
fn put_record(out: &mut Vec<u8>, body: &[u8], record: &Record<'_>, new: &NewHeaders) -> Option<()> {
    if !new.fits {
        return None;
    }
    let before = body.get(record.content_at..record.headers_at)?;
    let headers = record.header_bytes();
    let count = record.header_count().checked_add(new.count)?;
    let length = before
        .len()
        .checked_add(varint_bytes(count))?
        .checked_add(headers.len())?
        .checked_add(new.bytes.len())?;
    put_varint(out, i32::try_from(length).ok()?);
    out.extend_from_slice(before);
    put_varint(out, count);
    out.extend_from_slice(headers);
    out.extend_from_slice(&new.bytes);
    Some(())
}

/// Writes length and CRC into the edited batch, which stands in `out` from `from` on.
fn sealed(out: &mut [u8], from: usize, limit: usize) -> std::result::Result<(), Untouched> {
    let batch = out.get_mut(from..).unwrap_or_default();
    let counted = batch.len().saturating_sub(BATCH_LENGTH_PREFIX_BYTES);
    let length = i32::try_from(counted).map_err(|_| Untouched::TooLarge)?;
    if batch.len() > limit {
        return Err(Untouched::TooLarge);
    }
    put_at(batch, LENGTH_AT, length.to_be_bytes());
    let crc = crc32c::crc32c(batch.get(CRC_COVERS_FROM..).unwrap_or_default());
    put_at(batch, CRC_AT, crc.to_be_bytes());
    Ok(())
}

fn put_at(batch: &mut [u8], at: usize, bytes: [u8; 4]) {
    if let Some(room) = batch.get_mut(at..).and_then(|b| b.first_chunk_mut()) {
        *room = bytes;
    }
}
