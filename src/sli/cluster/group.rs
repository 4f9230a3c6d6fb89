//! One consumer group: whether it lives, how often it commits, how fast it works.
//!
//! Must not look at partitions' ends: that is `pair`.

use std::{collections::HashMap, time::Duration};

use super::{
    pair::{Pair, float},
    snapshot::GroupSeen,
    view::Replay,
};
use crate::event::Name;

/// Lag that is good where no objective says otherwise, and the group commits often enough.
const LAG_THRESHOLD: Duration = Duration::from_secs(30);
/// How many commit intervals a group may be behind.
const INTERVALS: u32 = 3;
/// A longer pause between commits is no habit but a fault, ms.
const INTERVAL_MS_MAX: f64 = 120_000.0;
/// Weight of the newest interval and rate.
const WEIGHT: f64 = 0.2;

/// Rates of one group in one topic while it had a backlog, offsets per second.
#[derive(Debug, Clone, Copy)]
struct Rates {
    worst: f64,
    usual: f64,
    best: f64,
}

/// How one group works in one topic.
#[derive(Debug, Default)]
struct Work {
    /// Since when it has been at it: it moved, had nothing to do, or nobody to do it. `None` = not seen yet.
    since: Option<u64>,
    rates: Option<Rates>,
}

/// What one look saw of a group's work in a topic, all partitions together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Offsets it moved on.
    pub(super) by: u64,
    /// Whether there was more to do.
    pub(super) behind: bool,
}

/// What is remembered of a group. Times are ms since the observer began.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) pairs: HashMap<(Name, i32), Pair>,
    work: HashMap<Name, Work>,
    /// When it last had members, or moved, or could not be asked.
    lively_at: u64,
    /// When it last moved while there was something to read.
    moved_at: Option<u64>,
    interval_ms: Option<f64>,
    /// It was seen to commit behind an open transaction.
    pub(super) reads_uncommitted: bool,
    pub(super) round: u64,
}

impl Group {
    pub(super) fn new(now: u64) -> Self {
        Self {
            lively_at: now,
            ..Self::default()
        }
    }

    /// Takes what is known of its members.
    pub(super) fn sign_of_life(&mut self, now: u64, seen: &GroupSeen, moved: bool) {
        if seen.members != Some(0) || moved {
            self.lively_at = now;
        }
    }

    /// Whether nobody has been there for so long that nobody will come.
    pub(super) fn is_abandoned(&self, now: u64, after: Duration) -> bool {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(self.lively_at) >= after
    }

    /// Takes whether any of its partitions moved, and whether there was something to move on to.
    pub(super) fn rhythm(&mut self, now: u64, moved: bool, behind: bool) {
        if moved {
            if let Some(before) = self.moved_at {
                let gap = float(now.saturating_sub(before)).min(INTERVAL_MS_MAX);
                let known = self.interval_ms.unwrap_or(gap);
                self.interval_ms = Some(known + WEIGHT * (gap - known));
            }
            self.moved_at = Some(now);
        }
        if !behind {
            // What follows is a pause for want of records.
            self.moved_at = None;
        }
    }

    pub(super) fn interval_seconds(&self) -> Option<f64> {
        self.interval_ms.map(|ms| ms / 1e3)
    }

    /// Lag from which on it is bad.
    pub(super) fn threshold(&self) -> Duration {
        let habit = self.interval_seconds().map(Duration::from_secs_f64);
        LAG_THRESHOLD.max(habit.unwrap_or_default().saturating_mul(INTERVALS))
    }

    /// Takes a look at its work in a topic. A rate is measured from step to step while there is a backlog: not over a time
    /// without members, nor over one in which it stood still for as long as makes a group stalled.
    pub(super) fn worked(&mut self, topic: &Name, now: u64, step: Step, members: Option<u32>) {
        let rest = u64::try_from(self.threshold().as_millis()).unwrap_or(u64::MAX);
        let work = self.work.entry(topic.clone()).or_default();
        let since = work.since.unwrap_or(now);
        let took = now.saturating_sub(since);
        if step.behind && step.by > 0 && (1..rest).contains(&took) {
            let rate = float(step.by) * 1e3 / float(took);
            let fresh = Rates {
                worst: rate,
                usual: rate,
                best: rate,
            };
            let known = work.rates.get_or_insert(fresh);
            known.worst = known.worst.min(rate);
            known.best = known.best.max(rate);
            known.usual += WEIGHT * (rate - known.usual);
        }
        let rests = step.by > 0 || !step.behind || members == Some(0);
        work.since = Some(if rests { now } else { since });
    }

    /// How long `retained` offsets of a topic would take it.
    pub(super) fn replay(&self, topic: &Name, retained: u64) -> Option<Replay> {
        let rates = self.work.get(topic)?.rates?;
        let all = float(retained);
        Some(Replay {
            low: all / rates.best,
            likely: all / rates.usual,
            high: all / rates.worst,
        })
    }

    /// Forgets what the last round did not name.
    pub(super) fn sweep(&mut self, round: u64) {
        self.pairs.retain(|_, pair| pair.round == round);
        let pairs = &self.pairs;
        self.work
            .retain(|topic, _| pairs.keys().any(|(name, _)| name == topic));
    }
}
