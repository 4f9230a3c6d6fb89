//! Consistent probability sampling, as OpenTelemetry writes it into `tracestate`: `ot=th:<threshold>;rv:<randomness>`.
//!
//! Both ends of a hop come to the same verdict because they compare the same two numbers: 56 bits of randomness against a
//! rejection threshold (OpenTelemetry specification, "TraceState: Probability Sampling"). Must not roll dice.

use super::traceparent::{TraceId, Traceparent};

/// Randomness and thresholds are below this.
pub const RANDOMNESS_MAX: u64 = 1 << 56;
/// Hexadecimal digits of 56 bits.
const DIGITS: usize = 14;

/// The `ot` member, as far as it is understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sampling {
    /// `th`: traces whose randomness is below it are not sampled.
    pub threshold: Option<u64>,
    /// `rv`: randomness that stands for the trace id's.
    pub randomness: Option<u64>,
}

impl Sampling {
    /// Key of the `tracestate` member.
    pub const MEMBER: &'static str = "ot";

    /// Reads the member's value; fields that are malformed or unknown are left out.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let mut read = Self::default();
        for (key, value) in value.split(';').filter_map(|field| field.split_once(':')) {
            match key {
                // Trailing zeros may be left out.
                "th" if (1..=DIGITS).contains(&value.len()) => {
                    let shift = DIGITS.saturating_sub(value.len()).saturating_mul(4);
                    read.threshold = lower_hex(value)
                        .and_then(|th| u32::try_from(shift).ok().and_then(|s| th.checked_shl(s)));
                }
                "rv" if value.len() == DIGITS => read.randomness = lower_hex(value),
                _ => {}
            }
        }
        read
    }

    /// The member's value; `None` where there is nothing to say.
    #[must_use]
    pub fn format(self) -> Option<String> {
        let threshold = self.threshold.map(|th| {
            let digits = format!("{th:014x}");
            let short = digits.trim_end_matches('0');
            format!("th:{}", if short.is_empty() { "0" } else { short })
        });
        let randomness = self.randomness.map(|rv| format!("rv:{rv:014x}"));
        match (threshold, randomness) {
            (Some(th), Some(rv)) => Some(format!("{th};{rv}")),
            (one, other) => one.or(other),
        }
    }

    /// The threshold for a share of traces between 0 (none: a threshold no randomness reaches) and 1 (all).
    #[must_use]
    pub fn threshold_of(share: f64) -> u64 {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 2^56"
        )]
        let rejected = ((1.0 - share.clamp(0.0, 1.0)) * RANDOMNESS_MAX as f64) as u64;
        rejected.min(RANDOMNESS_MAX)
    }

    /// Whether a trace with this context is sampled at `threshold`.
    #[must_use]
    pub fn keeps(self, context: &Traceparent, threshold: u64) -> bool {
        let randomness = self
            .randomness
            .unwrap_or_else(|| randomness(context.trace_id));
        randomness >= threshold
    }
}

/// The right-most 56 bits of a trace id.
fn randomness(trace_id: TraceId) -> u64 {
    let [_, _, _, _, _, _, _, _, _, rest @ ..] = trace_id.bytes();
    rest.into_iter()
        .fold(0, |bits, byte| bits << 8 | u64::from(byte))
}

fn lower_hex(digits: &str) -> Option<u64> {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digits
        .bytes()
        .all(is_digit)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_written_back_in_their_shortest_form() {
        for (text, th, rv) in [
            ("th:0", Some(0), None),
            ("th:8", Some(1 << 55), None),
            ("th:fd70a4", Some(0xfd_70a4_0000_0000), None),
            ("rv:00000000000001", None, Some(1)),
            (
                "th:c;rv:ffffffffffffff",
                Some(0xc0 << 48),
                Some(RANDOMNESS_MAX - 1),
            ),
        ] {
            let read = Sampling::parse(text);
            assert_eq!((read.threshold, read.randomness), (th, rv), "{text}");
            assert_eq!(read.format().as_deref(), Some(text));
        }
        assert_eq!(Sampling::default().format(), None);
    }

    #[test]
    fn malformed_and_unknown_fields_are_left_out() {
        for text in [
            "",
            "th:",
            "th:G",
            "th:123456789abcdef",
            "rv:1",
            "th:FF",
            "p:8;q:1",
            "rv",
            "th:+1",
        ] {
            assert_eq!(Sampling::parse(text), Sampling::default(), "{text:?}");
        }
        assert_eq!(Sampling::parse("x:1;th:8;y").threshold, Some(1 << 55));
    }

    #[test]
    fn both_ends_keep_the_same_share() {
        let threshold = Sampling::threshold_of(0.25);
        assert_eq!(threshold, 0xc0 << 48);
        assert_eq!(Sampling::threshold_of(1.0), 0);
        assert_eq!(Sampling::threshold_of(0.0), RANDOMNESS_MAX);
        let with = |low: u8| {
            let text = format!("00-000000000000000000{low:02x}000000000000-00000000000000ff-03");
            Traceparent::parse(text.as_bytes()).unwrap()
        };
        let kept = (1..=255).filter(|low| Sampling::default().keeps(&with(*low), threshold));
        assert_eq!(kept.count(), 64);
        let given = Sampling {
            randomness: Some(0),
            ..Sampling::default()
        };
        assert!(!given.keeps(&with(255), threshold), "rv stands for the id");
        assert!(given.keeps(&with(255), 0));
    }
}
