//! Upper bounds of the latency buckets, and which bucket a latency falls into.
//!
//! Here and not in `metrics`, because the hot side and the engine decide by buckets whether a batch must be opened. Pure
//! integer arithmetic. Must not know that there is a page.

use std::time::Duration;

/// Most bounds a text page may carry per histogram.
pub const MAX_BOUNDS: usize = 24;

/// Bounds used where no objective asks for others, microseconds: 100 µs to 6 h.
const DEFAULT_US: [u64; 22] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    21_600_000_000,
];

/// More distinct objective thresholds than fit beside the two outermost bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyThresholds {
    /// How many there are.
    pub given: usize,
}

impl std::fmt::Display for TooManyThresholds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} distinct latency thresholds, at most {} are allowed",
            self.given,
            MAX_BOUNDS.saturating_sub(2)
        )
    }
}

impl std::error::Error for TooManyThresholds {}

/// Bucket bounds with every objective threshold among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    us: Vec<u64>,
    /// The same in whole milliseconds, the grain of record timestamps: a latency of n ms is at or under a bound exactly where
    /// it is at or under the bound's whole milliseconds.
    ms: Vec<i64>,
    thresholds_ms: Vec<i64>,
}

impl Bounds {
    /// The default bounds with `thresholds` put in; where that makes more than [`MAX_BOUNDS`], the default bound nearest (by
    /// ratio) to a threshold gives way.
    ///
    /// # Errors
    /// Where the thresholds alone are too many.
    pub fn new(thresholds: impl IntoIterator<Item = Duration>) -> Result<Self, TooManyThresholds> {
        let mut thresholds_us: Vec<u64> = thresholds.into_iter().map(micros).collect();
        thresholds_us.sort_unstable();
        thresholds_us.dedup();
        let mut us: Vec<u64> = DEFAULT_US.to_vec();
        us.extend(&thresholds_us);
        us.sort_unstable();
        us.dedup();
        while us.len() > MAX_BOUNDS {
            let Some(victim) = weakest(&us, &thresholds_us) else {
                return Err(TooManyThresholds {
                    given: thresholds_us.len(),
                });
            };
            us.remove(victim);
        }
        let mut ms: Vec<i64> = us.iter().map(|us| whole_ms(*us)).collect();
        ms.dedup();
        let thresholds_ms = thresholds_us.iter().map(|us| whole_ms(*us)).collect();
        Ok(Self {
            us,
            ms,
            thresholds_ms,
        })
    }

    /// As seconds, ascending.
    #[must_use]
    pub fn seconds(&self) -> Vec<f64> {
        #[allow(clippy::cast_precision_loss, reason = "at most 6 h in microseconds")]
        self.us.iter().map(|us| *us as f64 / 1e6).collect()
    }

    /// Bucket of a latency: the number of bounds below it that whole milliseconds can tell apart; -1 for a negative one.
    #[must_use]
    pub fn bucket(&self, latency_ms: i64) -> i64 {
        if latency_ms < 0 {
            return -1;
        }
        let slot = self.ms.partition_point(|bound| *bound < latency_ms);
        i64::try_from(slot).unwrap_or(i64::MAX)
    }

    /// Upper bound of a bucket, whole milliseconds; `None` for the last.
    #[must_use]
    pub fn upper_ms(&self, bucket: i64) -> Option<i64> {
        self.ms.get(usize::try_from(bucket).ok()?).copied()
    }

    /// Whether one header is not enough: the latencies between `low_ms` and `high_ms` lie more than one bucket apart, or on
    /// two sides of an objective's threshold, or of zero.
    #[must_use]
    pub fn needs_records(&self, low_ms: i64, high_ms: i64) -> bool {
        if low_ms >= high_ms {
            return false;
        }
        let apart = self.bucket(high_ms).saturating_sub(self.bucket(low_ms));
        apart > 1 || (apart == 1 && (low_ms < 0 || self.threshold_between(low_ms, high_ms)))
    }

    fn threshold_between(&self, low_ms: i64, high_ms: i64) -> bool {
        self.thresholds_ms
            .iter()
            .any(|t| low_ms <= *t && *t < high_ms)
    }
}

fn whole_ms(us: u64) -> i64 {
    i64::try_from(us / 1000).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Index of the default bound that adds least: neither first nor last, nor a threshold, closest by ratio to its neighbour.
fn weakest(us: &[u64], thresholds_us: &[u64]) -> Option<usize> {
    let mut best: Option<(u64, usize)> = None;
    for (index, triple) in us.windows(3).enumerate() {
        let [below, bound, above] = triple else {
            continue;
        };
        if thresholds_us.contains(bound) {
            continue;
        }
        let ratio = |low: u64, high: u64| high.saturating_mul(1000) / low.max(1);
        let closeness = ratio(*below, *bound).min(ratio(*bound, *above));
        if best.is_none_or(|(least, _)| closeness < least) {
            best = Some((closeness, index.saturating_add(1)));
        }
    }
    best.map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(thresholds_ms: &[u64]) -> Bounds {
        Bounds::new(thresholds_ms.iter().map(|ms| Duration::from_millis(*ms))).unwrap()
    }

    #[test]
    fn thresholds_are_always_among_at_most_24_bounds_from_100_us_to_6_h() {
        for thresholds in [
            vec![],
            vec![500],
            vec![300, 700, 1500, 9000],
            (1..=22).map(|n| n * 7).collect(),
        ] {
            let seconds = bounds(&thresholds).seconds();
            assert!(seconds.len() <= MAX_BOUNDS);
            assert!(seconds.is_sorted_by(|a, b| a < b));
            for ms in thresholds {
                #[allow(clippy::cast_precision_loss, reason = "small")]
                let wanted = ms as f64 / 1e3;
                assert!(seconds.contains(&wanted), "{ms}");
            }
            assert!((seconds[0] - 1e-4).abs() < 1e-9);
            assert!((seconds[seconds.len() - 1] - 21_600.0).abs() < 1e-9);
        }
    }

    #[test]
    fn too_many_thresholds_are_refused() {
        let many = (1..=30).map(|n| Duration::from_millis(n * 7));
        assert_eq!(Bounds::new(many), Err(TooManyThresholds { given: 30 }));
    }

    #[test]
    fn a_batch_is_opened_only_where_its_header_cannot_tell() {
        let bounds = bounds(&[500]);
        // (low ms, high ms, needs records)
        for (low, high, needed) in [
            (3, 3, false),
            (0, 1, false), // timestamps have whole milliseconds
            (3, 4, false),
            (3, 7, false),     // adjacent buckets
            (3, 12, true),     // two apart
            (499, 500, false), // both at or under the threshold
            (500, 501, true),  // on both sides of it
            (501, 900, false), // one bucket
            (-5, 3, true),     // on both sides of zero
            (-5, -1, false),   // all in the future
        ] {
            assert_eq!(bounds.needs_records(low, high), needed, "{low}..{high}");
        }
    }
}
