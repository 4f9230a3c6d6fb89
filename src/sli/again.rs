//! How far each group was given each partition, and what it means when it is given the same offsets again.
//!
//! A broker does not say why a consumer asks for something twice. What is certain: after a change of the members it starts at
//! its commit; before its commit it asks on purpose. What else it asks again may be a record that failed, or only what a client
//! library had fetched ahead and thrown away (pause, seek): that stays unknown until the same offset comes a third time without
//! a commit. Outlives assignments. Must not look at what the records are.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::engine::{MAX_READINGS, ReadingKey};
use crate::event::{BatchFact, DeliveredPart};

/// Deliveries of one offset without a commit after which it is no accident.
const CERTAIN: u32 = 3;
/// A partition without deliveries this long is forgotten.
const IDLE: Duration = Duration::from_secs(3600);

/// Why a group is given offsets that it was given before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Its members changed, and it went on at its commit.
    Rebalanced,
    /// It went back behind its commit, which nothing but an intention does.
    Replayed,
    /// It asked again for what it had not committed; whether the program had seen it cannot be told.
    Refetched,
    /// The same offset for the third time or more, with the same members, without a commit.
    Redelivered,
}

/// What an answer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass {
    /// Offsets under this were given before.
    pub(super) new_from: i64,
    /// Why those are given again.
    pub(super) again: Again,
    /// The offset that the program does not get past, where it was given for the third time or more just now.
    pub(super) stuck_at: Option<i64>,
}

/// One group in one partition.
#[derive(Debug)]
struct Mark {
    /// Behind the last offset that was ever given.
    next: i64,
    /// Behind the last offset that was given.
    position: i64,
    /// Why what is under `next` is given again.
    again: Again,
    /// Changes of the group's members at the last delivery.
    changes: u64,
    /// First offset that is not committed.
    stuck_at: i64,
    /// How often it was given.
    times: u32,
    touched: Instant,
}

/// What the group has told of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// First offset it has not committed.
    pub(super) committed: Option<i64>,
    /// Changes of its members so far.
    pub(super) changes: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Given {
    marks: HashMap<ReadingKey, Mark>,
}

impl Given {
    /// Takes what an answer gives to a group; `None` where there is nothing in it, or no room to remember.
    pub(super) fn take(
        &mut self,
        key: &ReadingKey,
        part: &DeliveredPart,
        standing: Standing,
        now: Instant,
    ) -> Option<Pass> {
        let handed = |batch: &&BatchFact| super::seen::is_data(batch) && batch.delivered > 0;
        let last = part.batches.iter().rev().find(handed)?.last_offset;
        let base = part.batches.iter().find(handed)?.base_offset;
        let first = part.asked.unwrap_or(base);
        let end = last.saturating_add(1);
        if !self.marks.contains_key(key) {
            if self.marks.len() >= MAX_READINGS {
                return None;
            }
            self.marks
                .insert(key.clone(), Mark::new(first, standing, now));
        }
        let mark = self.marks.get_mut(key)?;
        mark.touched = now;
        if part.high_watermark >= 0 && part.high_watermark < mark.next {
            // Truncated, or created anew: other records have these offsets now.
            *mark = Mark::new(first, standing, now);
        }
        let stuck_at = mark.stuck(first, end, standing);
        if first < mark.position {
            mark.again = mark.reason(first, standing, stuck_at);
        }
        let pass = Pass {
            new_from: mark.next,
            again: mark.again,
            stuck_at: stuck_at.filter(|_| mark.again == Again::Redelivered),
        };
        mark.position = end;
        mark.next = mark.next.max(end);
        mark.changes = standing.changes;
        Some(pass)
    }

    /// The group has committed.
    pub(super) fn committed(&mut self, key: &ReadingKey, offset: i64) {
        if let Some(mark) = self.marks.get_mut(key)
            && offset > mark.stuck_at
        {
            (mark.stuck_at, mark.times) = (offset, 0);
        }
    }

    /// All (group, topic, partition).
    pub(super) fn keys(&self) -> impl Iterator<Item = &ReadingKey> {
        self.marks.keys()
    }

    /// (group, topic, partition) whose first uncommitted offset was given at least `times`.
    pub(super) fn stuck(&self, times: u32) -> impl Iterator<Item = &ReadingKey> {
        let all = self.marks.iter();
        all.filter(move |(_, mark)| mark.times >= times)
            .map(|(key, _)| key)
    }

    /// A topic was deleted.
    pub(super) fn forget(&mut self, topic: &str) {
        self.marks.retain(|(_, name, _), _| &**name != topic);
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.marks
            .retain(|_, mark| now.saturating_duration_since(mark.touched) < IDLE);
    }
}

impl Mark {
    fn new(first: i64, standing: Standing, now: Instant) -> Self {
        Self {
            next: first,
            position: first,
            again: Again::Refetched,
            changes: standing.changes,
            stuck_at: standing.committed.unwrap_or(first),
            times: 0,
            touched: now,
        }
    }

    /// Counts how often the first uncommitted offset was given; it, from the third time on.
    fn stuck(&mut self, first: i64, end: i64, standing: Standing) -> Option<i64> {
        let at = standing.committed.unwrap_or(self.stuck_at);
        if at != self.stuck_at {
            (self.stuck_at, self.times) = (at, 0);
        }
        if !(first..end).contains(&at) {
            return None;
        }
        self.times = self.times.saturating_add(1);
        (self.times >= CERTAIN).then_some(at)
    }

    fn reason(&self, first: i64, standing: Standing, stuck: Option<i64>) -> Again {
        if standing.changes != self.changes {
            Again::Rebalanced
        } else if standing.committed.is_some_and(|at| first < at) {
            Again::Replayed
        } else if stuck == Some(first) {
            Again::Redelivered
        } else {
            Again::Refetched
        }
    }
}
