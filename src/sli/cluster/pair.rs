//! One group in one partition: how far it is, how it moves, and what that means.
//!
//! Must not decide about the group: that is `group`.

use std::time::Duration;

use super::{first::First, view::GroupState};
use crate::sli::Reason;

/// Between two samples of the trend, ms.
const SAMPLE_EVERY: u64 = 15_000;
/// Samples kept; the trend is that of the last minute.
const SAMPLES: usize = 4;
/// A trend over less says nothing, ms.
const TREND_MIN: u64 = 10_000;

/// Age of the first uncommitted record, ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) lower: i64,
    /// `None` = not known.
    pub(super) upper: Option<i64>,
}

impl Age {
    pub(super) const NONE: Self = Self {
        lower: 0,
        upper: Some(0),
    };

    pub(super) fn exact(self) -> Option<i64> {
        self.upper.filter(|upper| *upper == self.lower)
    }
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    /// Offsets from the first uncommitted record to the end.
    pub(super) records: u64,
    pub(super) age: Age,
    /// Offset up to which nothing is left to read: the first uncommitted record, else where the group stands.
    pub(super) done: i64,
    /// Why the age is not exact.
    pub(super) inexact: Option<Reason>,
}

impl Behind {
    /// Where it is told how many records are left: those of a share group are settled in any order.
    pub(super) fn at_most(self, unsettled: Option<u64>) -> Self {
        match unsettled {
            Some(0) => Self {
                records: 0,
                age: Age::NONE,
                inexact: None,
                ..self
            },
            Some(left) => Self {
                records: self.records.min(left),
                ..self
            },
            None => self,
        }
    }
}

/// Distance from `position` to `end`, given what is known of the first record behind `position`, and how long the
/// record there has been seen at least.
pub(super) fn behind(
    position: i64,
    end: i64,
    first: Option<First>,
    seen_for_ms: u64,
    wall_ms: i64,
) -> Behind {
    let span = |from: i64| u64::try_from(end.saturating_sub(from)).unwrap_or(0);
    let none = |done| Behind {
        records: 0,
        age: Age::NONE,
        done,
        inexact: None,
    };
    let at_least = i64::try_from(seen_for_ms).unwrap_or(i64::MAX);
    if position >= end {
        return none(position);
    }
    let unknown = |reason| Behind {
        records: span(position),
        age: Age {
            lower: at_least,
            upper: None,
        },
        done: position,
        inexact: Some(reason),
    };
    match first {
        Some(First::Record {
            offset,
            published_ms,
        }) if offset >= position => {
            if offset >= end {
                return none(end);
            }
            let age = wall_ms.saturating_sub(published_ms);
            if age < 0 {
                return Behind {
                    records: span(offset),
                    done: offset,
                    ..unknown(Reason::NegativeSkew)
                };
            }
            Behind {
                records: span(offset),
                age: Age {
                    lower: age,
                    upper: Some(age),
                },
                done: offset,
                inexact: None,
            }
        }
        Some(First::NothingUntil(until)) if until >= end => none(end),
        Some(First::NothingUntil(until)) if until > position => Behind {
            records: span(until),
            done: until,
            ..unknown(Reason::NotExamined)
        },
        Some(First::Unknown { no_rights: true }) => unknown(Reason::NoRights),
        _ => unknown(Reason::NotExamined),
    }
}

/// Fifty thousand pairs hold four each, so what is absent is a value and not an `Option`.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// `NEVER` = no sample.
    at: u64,
    records: u64,
    /// `INEXACT` = not exact.
    age_ms: i64,
}

const NEVER: u64 = u64::MAX;
const INEXACT: i64 = i64::MIN;
const NO_SAMPLES: [Sample; SAMPLES] = [Sample {
    at: NEVER,
    records: 0,
    age_ms: INEXACT,
}; SAMPLES];

/// What is remembered of a group in one partition. Times are ms since the observer began.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) committed: i64,
    /// Offset up to which delivery was judged; `None` until the end was known once.
    pub(super) judged: Option<i64>,
    /// Offsets counted as lost so far lie before this.
    pub(super) lost_until: i64,
    /// When it last moved on, or was first seen.
    moved_at: u64,
    /// Since when it has been behind.
    behind_since: Option<u64>,
    /// Where it was before it went back.
    high: Option<i64>,
    samples: [Sample; SAMPLES],
    pub(super) round: u64,
}

/// What one look changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    /// Offsets it moved on.
    pub(super) by: u64,
    /// In which time, ms: since it moved last, or fell behind.
    pub(super) within: u64,
}

impl Pair {
    pub(super) fn new(now: u64, committed: i64, start: Option<i64>) -> Self {
        Self {
            committed,
            judged: None,
            // What was lost before this observer looked is not its to count.
            lost_until: start.map_or(committed, |start| start.max(committed)),
            moved_at: now,
            behind_since: None,
            high: None,
            samples: NO_SAMPLES,
            round: 0,
        }
    }

    /// Takes where the group stands now.
    pub(super) fn stand(&mut self, now: u64, committed: i64) -> Move {
        let was = std::mem::replace(&mut self.committed, committed);
        let since = self.moved_at.max(self.behind_since.unwrap_or(now));
        if committed > was {
            self.moved_at = now;
        } else if committed < was {
            self.moved_at = now;
            self.high = Some(self.high.map_or(was, |high| high.max(was)));
            self.samples = NO_SAMPLES;
        }
        if self.high.is_some_and(|high| committed >= high) {
            self.high = None;
        }
        Move {
            by: u64::try_from(committed.saturating_sub(was)).unwrap_or(0),
            within: now.saturating_sub(since),
        }
    }

    /// The highest offset it was ever seen to have committed.
    pub(super) fn reached(&self) -> i64 {
        self.high
            .map_or(self.committed, |high| high.max(self.committed))
    }

    /// Offsets that retention took unread since the last look; `start` is the first there is.
    pub(super) fn lose(&mut self, start: i64) -> u64 {
        let unread = self.lost_until.max(self.committed);
        self.lost_until = unread.max(start);
        u64::try_from(start.saturating_sub(unread)).unwrap_or(0)
    }

    /// Takes how far it is behind now.
    pub(super) fn trail(&mut self, now: u64, behind: &Behind) {
        if behind.records == 0 {
            self.behind_since = None;
        } else if self.behind_since.is_none() {
            self.behind_since = Some(now);
        }
        let newest = self.samples.last().filter(|sample| sample.at != NEVER);
        if newest.is_some_and(|sample| now.saturating_sub(sample.at) < SAMPLE_EVERY) {
            return;
        }
        self.samples.rotate_left(1);
        if let Some(last) = self.samples.last_mut() {
            *last = Sample {
                at: now,
                records: behind.records,
                age_ms: behind.age.exact().unwrap_or(INEXACT),
            };
        }
    }

    /// How it does. `members` is `None` where nothing can be said of them.
    pub(super) fn state(
        &self,
        now: u64,
        behind: &Behind,
        members: Option<u32>,
        threshold: Duration,
    ) -> GroupState {
        let threshold_ms = u64::try_from(threshold.as_millis()).unwrap_or(u64::MAX);
        let late = u64::try_from(behind.age.lower).unwrap_or(0) >= threshold_ms;
        let still = now.saturating_sub(self.moved_at.max(self.behind_since.unwrap_or(now)));
        if behind.records > 0 && late {
            // Nobody is left who could move on.
            if members == Some(0) {
                return GroupState::Stopped;
            }
            if still >= threshold_ms {
                return GroupState::Stalled;
            }
            if self.high.is_none() {
                return GroupState::Warn;
            }
        }
        if behind.records > 0 && self.high.is_some() {
            return GroupState::Rewinding;
        }
        GroupState::Ok
    }

    /// The oldest sample of the trend, where it is old enough to say something.
    fn then(&self, now: u64) -> Option<Sample> {
        let oldest = *self.samples.iter().find(|sample| sample.at != NEVER)?;
        (now.saturating_sub(oldest.at) >= TREND_MIN).then_some(oldest)
    }

    /// Seconds until it reaches the end; infinite where it falls behind or stands still.
    pub(super) fn drain_seconds(&self, now: u64, behind: &Behind) -> Option<f64> {
        if behind.records == 0 {
            return Some(0.0);
        }
        let then = self.then(now)?;
        let gained = float(then.records) - float(behind.records);
        let took = float(now.saturating_sub(then.at)) / 1e3;
        Some(if gained > 0.0 {
            float(behind.records) * took / gained
        } else {
            f64::INFINITY
        })
    }

    /// Seconds until the first uncommitted record reaches `retention_ms`, as its age grew lately; infinite where it does not grow.
    pub(super) fn loss_seconds(&self, now: u64, behind: &Behind, retention_ms: i64) -> Option<f64> {
        if behind.records == 0 {
            return Some(f64::INFINITY);
        }
        let age = behind.age.exact()?;
        let then = self.then(now)?;
        let took = float(now.saturating_sub(then.at));
        if then.age_ms == INEXACT {
            return None;
        }
        let grown = signed(age.saturating_sub(then.age_ms)) / took;
        let room = signed(retention_ms.saturating_sub(age)).max(0.0) / 1e3;
        Some(if grown > 0.0 {
            room / grown
        } else {
            f64::INFINITY
        })
    }
}

pub(super) fn float(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let value = value as f64;
    value
}

pub(super) fn signed(value: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let value = value as f64;
    value
}
