//! The `traceparent` header: which trace, which span, sampled or not.
//!
//! W3C Trace Context level 2, section 3.2: `version-traceid-parentid-flags`, all lower-case hexadecimal. A version after 00
//! is read by its first four fields. Must not guess: what breaks a rule of the specification is no context at all.

use std::fmt;

/// Bytes of version 00.
const VERSION_00_BYTES: usize = 55;
/// Where the trace id and the span id stand in version 00.
pub(super) const TRACE_ID_AT: usize = 3;
pub(super) const SPAN_ID_AT: usize = 36;
/// The trace is recorded.
const SAMPLED: u8 = 0x01;
/// The right-most 56 bits of the trace id are random (level 2).
const RANDOM: u8 = 0x02;

macro_rules! hex_id {
    ($name:ident, $bytes:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// From its bytes; `None` for all zero, which the specification forbids.
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// The smallest one, for where chance gave zero.
            pub(super) const FIRST: Self = {
                let mut bytes = [0; $bytes];
                if let Some(last) = bytes.last_mut() {
                    *last = 1;
                }
                Self(bytes)
            };

            /// Whether this is its text: lower-case hexadecimal, as it is displayed.
            #[must_use]
            pub fn is_written(self, text: &str) -> bool {
                let mut digits = [0; 2 * $bytes];
                put_hex(&mut digits, 0, &self.0);
                text.as_bytes() == digits
            }

            /// Its bytes, most significant first.
            #[must_use]
            pub const fn bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_id!(TraceId, 16, "A trace id: 16 bytes, not all zero.");
hex_id!(SpanId, 8, "A span id: 8 bytes, not all zero.");

/// A parsed `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent it.
    pub span_id: SpanId,
    /// Whether the sender recorded its span.
    pub sampled: bool,
    /// Whether the sender made the trace id's right-most 56 bits at random.
    pub random: bool,
}

/// Why a `traceparent` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TraceparentFault {
    /// Too short, too long, or with its dashes elsewhere.
    Shape,
    /// Something other than lower-case hexadecimal.
    Digit,
    /// Version ff.
    Version,
    /// A trace id of zeros.
    ZeroTraceId,
    /// A span id of zeros.
    ZeroSpanId,
}

impl TraceparentFault {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Digit => "digit",
            Self::Version => "version",
            Self::ZeroTraceId => "zero_trace_id",
            Self::ZeroSpanId => "zero_span_id",
        }
    }
}

impl fmt::Display for TraceparentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shape => "not version-traceid-parentid-flags",
            Self::Digit => "a digit is not lower-case hexadecimal",
            Self::Version => "version ff is forbidden",
            Self::ZeroTraceId => "the trace id is all zero",
            Self::ZeroSpanId => "the span id is all zero",
        })
    }
}

impl std::error::Error for TraceparentFault {}

impl Traceparent {
    /// The header value, version 00.
    #[must_use]
    pub fn encode(&self) -> [u8; VERSION_00_BYTES] {
        let mut out = [b'-'; VERSION_00_BYTES];
        let flags = if self.sampled { SAMPLED } else { 0 } | if self.random { RANDOM } else { 0 };
        put_hex(&mut out, 0, &[0]);
        put_hex(&mut out, TRACE_ID_AT, &self.trace_id.bytes());
        put_hex(&mut out, SPAN_ID_AT, &self.span_id.bytes());
        put_hex(&mut out, 53, &[flags]);
        out
    }

    /// Reads a header value. Spaces and tabs around it are allowed, as in HTTP.
    ///
    /// # Errors
    /// Where a rule of the specification is broken.
    pub fn parse(value: &[u8]) -> Result<Self, TraceparentFault> {
        use TraceparentFault::{Shape, Version, ZeroSpanId, ZeroTraceId};
        let value = value.trim_ascii();
        let (known, rest) = value.split_at_checked(VERSION_00_BYTES).ok_or(Shape)?;
        let [version, trace_id, span_id, flags] = fields(known).ok_or(Shape)?;
        let read = || Ok((hex(version)?, hex(trace_id)?, hex(span_id)?, hex(flags)?));
        let ([version], trace_id, span_id, [flags]) = read().map_err(|fault| {
            // A dash in a field is where a shorter field ends.
            let dashes = known.iter().filter(|byte| **byte == b'-').count();
            if dashes == 3 { fault } else { Shape }
        })?;
        match (version, rest.first()) {
            (0xff, _) => return Err(Version),
            (_, None) | (1.., Some(b'-')) => {}
            _ => return Err(Shape),
        }
        // Level 2 defines two flags; what a later version means by the others is not ours to pass on as ours.
        Ok(Self {
            trace_id: TraceId::new(trace_id).ok_or(ZeroTraceId)?,
            span_id: SpanId::new(span_id).ok_or(ZeroSpanId)?,
            sampled: flags & SAMPLED != 0,
            random: flags & RANDOM != 0,
        })
    }
}

/// The four fields; `None` where no dashes stand between them.
fn fields(known: &[u8]) -> Option<[&[u8]; 4]> {
    let at = |at: usize| known.get(at) == Some(&b'-');
    if !at(2) || !at(35) || !at(52) {
        return None;
    }
    Some([
        known.get(..2)?,
        known.get(3..35)?,
        known.get(36..52)?,
        known.get(53..)?,
    ])
}

/// Writes `bytes` in lower-case hexadecimal from `at` on; what has no room is left out.
pub(super) fn put_hex(out: &mut [u8], at: usize, bytes: &[u8]) {
    // Arithmetic is done for many bytes at a time, a table is not.
    let digit = |nibble: u8| {
        let letter = if nibble > 9 { b'a' - b'0' - 10 } else { 0 };
        nibble.wrapping_add(b'0').wrapping_add(letter)
    };
    let room = out.get_mut(at..).unwrap_or_default();
    for ([high, low], byte) in room.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 0x0f));
    }
}

/// Exactly `N` bytes in lower-case hexadecimal. Ids are random, a branch per digit would be foretold wrongly every other time.
pub(super) fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceparentFault> {
    let digit = |byte: u8| {
        let (number, letter) = (byte.wrapping_sub(b'0'), byte.wrapping_sub(b'a'));
        let value = if number < 10 {
            number
        } else {
            letter.wrapping_add(10)
        };
        (value, (number >= 10) & (letter >= 6))
    };
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() != N {
        return Err(TraceparentFault::Shape);
    }
    let (mut out, mut wrong) = ([0; N], false);
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        let ((high, no_high), (low, no_low)) = (digit(*high), digit(*low));
        wrong |= no_high | no_low;
        *byte = high << 4 | low;
    }
    if wrong {
        return Err(TraceparentFault::Digit);
    }
    Ok(out)
}

impl fmt::Display for Traceparent {
    /// Version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.encode()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TraceparentFault::{Digit, Shape, Version, ZeroSpanId, ZeroTraceId};

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn an_id_knows_its_own_text() {
        let id = SpanId::new([0, 1, 0xa2, 0xff, 4, 5, 6, 7]).unwrap();
        assert!(id.is_written(&id.to_string()) && id.is_written("0001a2ff04050607"));
        for other in [
            "",
            "0001a2ff0405060",
            "0001a2ff040506070",
            "0001A2FF04050607",
        ] {
            assert!(!id.is_written(other), "{other}");
        }
    }

    #[test]
    fn what_the_specification_allows_is_read_and_written_back() {
        for (flags, sampled, random) in [
            ("00", false, false),
            ("01", true, false),
            ("02", false, true),
            ("03", true, true),
        ] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            let read = Traceparent::parse(text.as_bytes()).unwrap();
            assert_eq!((read.sampled, read.random), (sampled, random));
            assert_eq!(read.trace_id.to_string(), TRACE);
            assert_eq!(read.span_id.to_string(), SPAN);
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn later_versions_unknown_flags_and_spaces_around_are_tolerated() {
        for text in [
            format!("01-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
            format!("cc-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-fd"),
            format!(" \t00-{TRACE}-{SPAN}-01\t "),
        ] {
            let read = Traceparent::parse(text.as_bytes()).unwrap();
            assert_eq!(
                read.to_string(),
                format!("00-{TRACE}-{SPAN}-01"),
                "{text:?}"
            );
        }
    }

    /// The malformed values of the W3C conformance suite (`test/test.py` of trace-context), by what is wrong with them.
    #[test]
    fn every_malformed_value_of_the_w3c_suite_is_refused() {
        let zero_trace = "0".repeat(32);
        let zero_span = "0".repeat(16);
        for (text, fault) in [
            (String::new(), Shape),
            ("-".into(), Shape),
            (format!("00-{TRACE}-{SPAN}"), Shape),
            (format!("00-{TRACE}-{SPAN}-"), Shape),
            (format!("00-{TRACE}-{SPAN}-0"), Shape),
            (format!("00-{TRACE}-{SPAN}-010"), Shape),
            (format!("00-{TRACE}-{SPAN}-01-"), Shape),
            (format!("00-{TRACE}-{SPAN}-01-what"), Shape),
            (format!("00-{TRACE}-{SPAN}-01."), Shape),
            (format!("cc-{TRACE}-{SPAN}-01.what"), Shape),
            (format!("ff-{TRACE}-{SPAN}-01"), Version),
            (format!("FF-{TRACE}-{SPAN}-01"), Digit),
            (format!("0-{TRACE}-{SPAN}-010"), Shape),
            (format!("000-{TRACE}-{SPAN}-01"), Shape),
            (format!(".0-{TRACE}-{SPAN}-01"), Digit),
            (format!("0.-{TRACE}-{SPAN}-01"), Digit),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), Digit),
            (format!("00-{TRACE}-{}-01", SPAN.to_uppercase()), Digit),
            (format!("00-{TRACE}-{SPAN}-0X"), Digit),
            (format!("00-{TRACE}-{SPAN}-.0"), Digit),
            (format!("00-{TRACE}0-{SPAN}-01"), Shape),
            (format!("00-{}-{SPAN}0-01", TRACE.split_at(1).1), Shape),
            (format!("00-.{}-{SPAN}-01", TRACE.split_at(1).1), Digit),
            (format!("00-{TRACE}-.{}-01", SPAN.split_at(1).1), Digit),
            (format!("00-{zero_trace}-{SPAN}-01"), ZeroTraceId),
            (format!("00-{TRACE}-{zero_span}-01"), ZeroSpanId),
            (format!("00_{TRACE}-{SPAN}-01"), Shape),
            (format!("00-{TRACE}--{}-01", SPAN.split_at(1).1), Shape),
        ] {
            assert_eq!(Traceparent::parse(text.as_bytes()), Err(fault), "{text:?}");
        }
        let not_utf8 = [b"00-\xff\xfe".as_slice(), &[0x80; 51]].concat();
        assert!(Traceparent::parse(&not_utf8).is_err());
    }
}
