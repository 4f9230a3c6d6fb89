//! Which records have spans though their trace is not recorded: those that something went wrong with, as far as this sidecar
//! saw it.
//!
//! Bounded by a rate, because a broker that is slow is slow for everything. Must not change what was decided for the trace.

use std::{collections::HashMap, fmt, time::Duration};

use tokio::time::Instant;

use crate::event::Name;

/// Topics whose rate is kept; of more nothing is recorded beyond their traces.
const TOPICS_MAX: usize = 10_000;
/// Over which a rate is counted.
const SECOND: Duration = Duration::from_secs(1);

/// Past which time something is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowAfter {
    /// A publish, from request to answer, and a record, from publish to delivery.
    pub delivered: Duration,
    /// A record from publish to commit; `None` where that may take as long as it likes.
    pub committed: Option<Duration>,
}

/// Says what is slow in a topic.
pub type SlowIn = Box<dyn FnMut(&Name) -> SlowAfter + Send>;

/// Why a record has spans though its trace is not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A publish failed.
    Error,
    /// Its group was given it before.
    Duplicate,
    /// It took longer than the latency objective of its topic allows.
    Slow,
}

impl Reason {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Duplicate => "duplicate",
            Self::Slow => "slow",
        }
    }
}

/// What is recorded beyond the traces that are.
pub struct Keep {
    /// What takes longer than this, by topic.
    pub slow_after: Option<SlowIn>,
    /// Publishes that fail.
    pub error: bool,
    /// Records that are dead letters.
    pub dead_letter: bool,
    /// Records that their group was given before.
    pub duplicate: bool,
    /// At most so many records of a topic per second; dead letters do not count.
    pub per_second: u32,
    /// What was recorded of each topic in its current second.
    pub(super) spent: HashMap<Name, (Instant, u32)>,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep")
            .field("slow", &self.slow_after.is_some())
            .field("error", &self.error)
            .field("dead_letter", &self.dead_letter)
            .field("duplicate", &self.duplicate)
            .field("per_second", &self.per_second)
            .finish_non_exhaustive()
    }
}

impl Keep {
    /// Dead letters and what [`Self::slow_after`] and [`Self::error`] add to them.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            slow_after: None,
            error: false,
            dead_letter: true,
            duplicate: false,
            per_second,
            spent: HashMap::new(),
        }
    }

    /// What is slow in a topic.
    fn slow(&mut self, topic: &Name) -> Option<SlowAfter> {
        self.slow_after.as_mut().map(|after| after(topic))
    }

    /// Whether it matters when a delivered record is committed.
    pub(super) fn awaits_commit(&mut self, topic: &Name) -> bool {
        self.slow(topic)
            .is_some_and(|after| after.committed.is_some())
    }

    /// What speaks for recording a publish, or a delivery, that took so long.
    pub(super) fn reason(
        &mut self,
        topic: &Name,
        took: Duration,
        failed: bool,
        now: Instant,
    ) -> Option<Reason> {
        let reason = if failed && self.error {
            Reason::Error
        } else if self.slow(topic).is_some_and(|after| took > after.delivered) {
            Reason::Slow
        } else {
            return None;
        };
        self.has_room(topic, now).then_some(reason)
    }

    /// What speaks for recording a record whose commit took so long.
    pub(super) fn reason_to_commit(
        &mut self,
        topic: &Name,
        took: Duration,
        now: Instant,
    ) -> Option<Reason> {
        let after = self.slow(topic)?.committed?;
        (took > after && self.has_room(topic, now)).then_some(Reason::Slow)
    }

    /// Takes one of what may be recorded in this second.
    pub(super) fn has_room(&mut self, topic: &Name, now: Instant) -> bool {
        if self.spent.len() >= TOPICS_MAX && !self.spent.contains_key(topic) {
            return false;
        }
        let (began, spent) = self
            .spent
            .entry(Name::clone(topic))
            .or_insert_with(|| (now, 0));
        if now.saturating_duration_since(*began) >= SECOND {
            (*began, *spent) = (now, 0);
        }
        *spent = spent.saturating_add(1);
        *spent <= self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_so_many_a_second_and_none_of_what_nobody_asked_for() {
        let (orders, start): (Name, _) = ("orders".into(), Instant::now());
        let took = Duration::from_millis(600);
        let mut keep = Keep::new(2);
        assert_eq!(keep.reason(&orders, took, true, start), None);
        keep.error = true;
        keep.slow_after = Some(Box::new(|topic| SlowAfter {
            delivered: Duration::from_millis(if topic.as_ref() == "orders" { 500 } else { 700 }),
            committed: None,
        }));
        let mut reasons = |topic: &str, failed, after_ms| {
            let now = start + Duration::from_millis(after_ms);
            keep.reason(&topic.into(), took, failed, now)
        };
        assert_eq!(reasons("payments", false, 0), None);
        assert_eq!(reasons("orders", false, 0), Some(Reason::Slow));
        assert_eq!(reasons("orders", true, 1), Some(Reason::Error));
        assert_eq!(reasons("orders", true, 999), None, "enough for this second");
        assert_eq!(reasons("payments", true, 999), Some(Reason::Error));
        assert_eq!(reasons("orders", false, 1_000), Some(Reason::Slow));
    }
}
