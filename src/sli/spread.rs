//! From the publish times a batch header leaves possible to latencies, where that is certain enough.
//!
//! A header gives an interval, not times. What it proves is used; what it leaves open is said to be open. Pure. Must not touch
//! a histogram.

use super::{bounds::Bounds, measure::Reason};

/// Publish times of `count` records: all of them within `low_ms..=high_ms` since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) low_ms: i64,
    pub(super) high_ms: i64,
    pub(super) count: u64,
}

/// How records stand against a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Judgement {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) unknown: Option<(Reason, u64)>,
}

impl Times {
    fn latencies(self, now_ms: i64) -> (i64, i64) {
        (
            now_ms.saturating_sub(self.high_ms),
            now_ms.saturating_sub(self.low_ms),
        )
    }

    /// Good or bad, where the interval lies on one side of the threshold.
    pub(super) fn judge(self, now_ms: i64, threshold_ms: i64) -> Judgement {
        let (low, high) = self.latencies(now_ms);
        let unknown = |reason| Judgement {
            unknown: Some((reason, self.count)),
            ..Judgement::default()
        };
        if self.low_ms < 0 {
            unknown(Reason::NoTimestamp)
        } else if high < 0 {
            unknown(Reason::NegativeSkew)
        } else if low > threshold_ms {
            Judgement {
                bad: self.count,
                ..Judgement::default()
            }
        } else if low >= 0 && high <= threshold_ms {
            Judgement {
                good: self.count,
                ..Judgement::default()
            }
        } else {
            unknown(Reason::NotExamined)
        }
    }

    /// (latency in ms, records), where the interval is within one bucket or two adjacent ones; there the records are taken to
    /// be spread evenly. `None` where that would be a guess, or where publish times lie in the future.
    pub(super) fn spread(self, now_ms: i64, bounds: &Bounds) -> Option<[(i64, u64); 2]> {
        let (low, high) = self.latencies(now_ms);
        if low < 0 || self.low_ms < 0 {
            return None;
        }
        let bucket = bounds.bucket(low);
        let middle = midpoint(low, high);
        match bounds.bucket(high).saturating_sub(bucket) {
            0 => Some([(middle, self.count), (middle, 0)]),
            1 => {
                let edge = bounds.upper_ms(bucket)?;
                let width = i128::from(high.saturating_sub(low)).max(1);
                let share = i128::from(edge.saturating_sub(low)).clamp(0, width);
                let under = i128::from(self.count)
                    .saturating_mul(share)
                    .saturating_add(width / 2)
                    / width;
                let under = u64::try_from(under).unwrap_or(0).min(self.count);
                let over = self.count.saturating_sub(under);
                let above = edge.saturating_add(1);
                Some([
                    (midpoint(low, edge), under),
                    (midpoint(above, high.max(above)), over),
                ])
            }
            _ => None,
        }
    }

    /// How far the latest publish time lies in the future, ms; 0 where none does.
    pub(super) fn skew_ms(self, now_ms: i64) -> i64 {
        self.high_ms.saturating_sub(now_ms).max(0)
    }
}

fn midpoint(low: i64, high: i64) -> i64 {
    low.saturating_add(high.saturating_sub(low) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: i64 = 1_000_000;

    fn times(low_latency: i64, high_latency: i64, count: u64) -> Times {
        Times {
            low_ms: NOW - high_latency,
            high_ms: NOW - low_latency,
            count,
        }
    }

    #[test]
    fn a_batch_on_one_side_of_the_threshold_is_judged_whole_and_one_across_it_not_at_all() {
        let unknown = |reason| Judgement {
            unknown: Some((reason, 10)),
            ..Judgement::default()
        };
        let good = Judgement {
            good: 10,
            ..Judgement::default()
        };
        let bad = Judgement {
            bad: 10,
            ..Judgement::default()
        };
        for (low, high, expected) in [
            (0, 500, good),
            (501, 9000, bad),
            (500, 501, unknown(Reason::NotExamined)),
            (-20, -1, unknown(Reason::NegativeSkew)),
            (-1, 0, unknown(Reason::NotExamined)),
        ] {
            assert_eq!(
                times(low, high, 10).judge(NOW, 500),
                expected,
                "{low}..{high}"
            );
        }
        let untimed = Times {
            low_ms: -1,
            high_ms: -1,
            count: 10,
        };
        assert_eq!(untimed.judge(NOW, 500), unknown(Reason::NoTimestamp));
    }

    #[test]
    fn records_are_spread_over_one_or_two_buckets_and_never_over_three() {
        let bounds = Bounds::new([Duration::from_millis(500)]).unwrap();
        assert_eq!(
            times(120, 200, 10).spread(NOW, &bounds),
            Some([(160, 10), (160, 0)])
        );
        // 200..300 around the bound at 250: half under it.
        assert_eq!(
            times(200, 300, 10).spread(NOW, &bounds),
            Some([(225, 5), (275, 5)])
        );
        assert_eq!(times(90, 300, 10).spread(NOW, &bounds), None);
        assert_eq!(times(-1, 1, 10).spread(NOW, &bounds), None);
    }

    #[test]
    fn skew_is_how_far_the_latest_record_lies_in_the_future() {
        assert_eq!(times(-30, 5, 1).skew_ms(NOW), 30);
        assert_eq!(times(0, 5, 1).skew_ms(NOW), 0);
    }
}
