//! Replaces byte ranges of a frame and leaves every other byte as it was.
//!
//! Edits are recorded while a message is walked and applied at the end, so what a schema does not name (unknown tagged
//! fields, future fields) survives untouched.

use std::ops::Range;

/// One replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// The bytes to replace, in the original.
    pub at: Range<usize>,
    /// What stands there afterwards.
    pub with: Vec<u8>,
}

/// The original with all replacements made, or `None` where they overlap, are out of order or out of range.
#[must_use]
pub fn apply(original: &[u8], splices: &[Splice]) -> Option<Vec<u8>> {
    let grown: usize = splices.iter().map(|s| s.with.len()).sum();
    let mut out = Vec::with_capacity(original.len().saturating_add(grown));
    let mut done = 0usize;
    for splice in splices {
        out.extend_from_slice(original.get(done..splice.at.start)?);
        original.get(splice.at.clone())?;
        out.extend_from_slice(&splice.with);
        done = splice.at.end;
    }
    out.extend_from_slice(original.get(done..)?);
    Some(out)
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
                with: b"XYZ".to_vec(),
            },
            Splice {
                at: 4..4,
                with: b"-".to_vec(),
            },
        ];
        assert_eq!(apply(b"abcdef", &splices).unwrap(), b"aXYZd-ef");
    }

    #[test]
    fn overlapping_or_outlying_ranges_are_refused() {
        let overlap = [
            Splice {
                at: 0..3,
                with: vec![],
            },
            Splice {
                at: 2..4,
                with: vec![],
            },
        ];
        assert_eq!(apply(b"abcdef", &overlap), None);
        assert_eq!(
            apply(
                b"ab",
                &[Splice {
                    at: 1..9,
                    with: vec![]
                }]
            ),
            None
        );
    }
}
