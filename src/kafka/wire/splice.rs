//! Replaces byte ranges of a frame and leaves every other byte as it was.
//!
//! Edits are recorded while a message is walked and applied at the end, so what a schema does not name (unknown tagged
//! fields, future fields) survives untouched.

use std::{borrow::Cow, ops::Range};

/// One replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice<'w> {
    /// The bytes to replace, in the original.
    pub at: Range<usize>,
    /// What stands there afterwards.
    pub with: Cow<'w, [u8]>,
}

/// The original with all replacements made, in pieces, or `None` where they overlap, are out of order or out of range.
#[must_use]
pub fn pieces<'a>(original: &'a [u8], splices: &'a [Splice<'_>]) -> Option<Vec<&'a [u8]>> {
    let mut out = Vec::with_capacity(splices.len().saturating_mul(2).saturating_add(1));
    let mut done = 0usize;
    for splice in splices {
        out.push(original.get(done..splice.at.start)?);
        original.get(splice.at.clone())?;
        out.push(&*splice.with);
        done = splice.at.end;
    }
    out.push(original.get(done..)?);
    Some(out)
}

/// As [`pieces`], in one.
#[must_use]
pub fn apply(original: &[u8], splices: &[Splice<'_>]) -> Option<Vec<u8>> {
    pieces(original, splices).map(|pieces| pieces.concat())
}

/// Appends an UNSIGNED_VARINT.
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a VARINT (zigzag).
pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_uvarint(out, zigzag(value));
}

/// Bytes of a VARINT.
#[must_use]
pub fn varint_bytes(value: i32) -> usize {
    match zigzag(value) {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0x0fff_ffff => 4,
        _ => 5,
    }
}

fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}

/// Appends a STRING or COMPACT_STRING. A string longer than the form can say is cut; host names never are.
pub fn put_string(out: &mut Vec<u8>, value: &str, flexible: bool) {
    let bytes = value.as_bytes();
    let length = i16::try_from(bytes.len()).unwrap_or(i16::MAX);
    let bytes = bytes
        .get(..usize::from(length.unsigned_abs()))
        .unwrap_or(bytes);
    if flexible {
        put_uvarint(out, u32::from(length.unsigned_abs()).saturating_add(1));
    } else {
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_ranges_change() {
        let splices = [
            Splice {
                at: 1..3,
                with: b"XYZ".into(),
            },
            Splice {
                at: 4..4,
                with: b"-".into(),
            },
        ];
        assert_eq!(apply(b"abcdef", &splices).unwrap(), b"aXYZd-ef");
    }

    #[test]
    fn a_varint_is_as_long_as_said_and_comes_back() {
        let edges = [0, 1, 7, 13, 20, 27, 30].map(|bits| 1i32 << bits);
        let around = edges.into_iter().flat_map(|e| [e - 1, e, -e, -e - 1]);
        for value in around.chain([i32::MIN, i32::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_bytes(value), "{value}");
            let read = crate::kafka::wire::reader::Reader::new(&out, false).varint("x");
            assert_eq!(read, Ok(value));
        }
    }

    #[test]
    fn overlapping_or_outlying_ranges_are_refused() {
        let overlap = [
            Splice {
                at: 0..3,
                with: [][..].into(),
            },
            Splice {
                at: 2..4,
                with: [][..].into(),
            },
        ];
        assert_eq!(apply(b"abcdef", &overlap), None);
        assert_eq!(
            apply(
                b"ab",
                &[Splice {
                    at: 1..9,
                    with: [][..].into()
                }]
            ),
            None
        );
    }
}
