//! Why bytes do not decode.

use std::fmt;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeErrorKind {
    /// The bytes end before the field does. While a frame is still arriving this means "wait for more".
    Incomplete,
    /// A length below zero where the field may not be null.
    NegativeLength,
    /// A variable-length integer longer than its type allows.
    Varint,
    /// A name that is not UTF-8.
    Utf8,
    /// A value outside what the schema allows.
    Value,
    /// A length, count or size beyond a limit of this build.
    Limit,
    /// A compressed body that does not decompress.
    Compression,
    /// A version this build does not read.
    Version,
}

/// A decode fault: what, in which field, at which byte of the buffer that was being read. Carries no text from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The schema's name of the field.
    pub field: &'static str,
    /// Offset in the buffer given to the reader.
    pub offset: usize,
}

impl DecodeError {
    /// True where more bytes might help.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.kind == DecodeErrorKind::Incomplete
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DecodeErrorKind::Incomplete => "bytes end before the field does",
            DecodeErrorKind::NegativeLength => "negative length where null is not allowed",
            DecodeErrorKind::Varint => "variable-length integer too long",
            DecodeErrorKind::Utf8 => "not valid UTF-8",
            DecodeErrorKind::Value => "value outside the schema",
            DecodeErrorKind::Limit => "beyond a limit of this build",
            DecodeErrorKind::Compression => "does not decompress",
            DecodeErrorKind::Version => "unknown version",
        };
        write!(f, "{what} in field {} at byte {}", self.field, self.offset)
    }
}

impl std::error::Error for DecodeError {}

/// Result of reading.
pub type Result<T> = std::result::Result<T, DecodeError>;
