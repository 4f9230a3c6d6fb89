//! Records that a program could not process: set aside into a retry or dead-letter topic, given again and again, or rolled back.
//!
//! A failure is noted when its signal is seen and judged when the record is settled, so that both counters of a pair move
//! together. A dead letter is an event of its own SLI at the acknowledged publish, and then none at the commit. Must not look
//! at records: what was set aside is told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    engine::{Engine, ReadingKey},
    measure::{Measure, Reason, Series, Sink, Sli},
    verdicts::{AMBIGUOUS, NO_GROUP, Out},
};
use crate::event::{Name, SetAside, Stamp, UNRESOLVED};

/// Most failed records of one partition that are known by offset until they are settled; more are only counted.
const MAX_FAILED: usize = 1_024;
/// Most (topic, group) with failures whose position nobody told.
const MAX_OWED: usize = 5_000;
/// Most records that were dead-lettered and may be so again.
const MAX_LETTERS: usize = 10_000;
/// How long a dead letter is remembered, and a failure without a position waits for a commit.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Failures among the records of one partition that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Failed {
    /// By offset; true = dead-lettered.
    by_offset: BTreeMap<i64, bool>,
    /// Without an offset.
    more: Tally,
    /// Those of a transaction that was rolled back.
    rolled_back: u64,
}

/// Failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Records whose processing failed, the dead letters among them.
    pub(super) failed: u64,
    /// Dead letters.
    pub(super) dead: u64,
}

impl Tally {
    fn add(&mut self, dead: bool) {
        self.failed = self.failed.saturating_add(1);
        self.dead = self.dead.saturating_add(u64::from(dead));
    }

    /// As much of it as `records` settled records can be.
    fn take(&mut self, records: u64) -> Self {
        let taken = Self {
            failed: self.failed.min(records),
            dead: self.dead.min(records),
        };
        self.failed = self.failed.saturating_sub(taken.failed);
        self.dead = self.dead.saturating_sub(taken.dead);
        taken
    }

    fn plus(self, other: Self) -> Self {
        Self {
            failed: self.failed.saturating_add(other.failed),
            dead: self.dead.saturating_add(other.dead),
        }
    }
}

impl Failed {
    pub(super) fn add(&mut self, offset: i64, dead: bool) {
        if let Some(was) = self.by_offset.get_mut(&offset) {
            *was |= dead;
        } else if self.by_offset.len() < MAX_FAILED {
            self.by_offset.insert(offset, dead);
        } else {
            self.more.add(dead);
        }
    }

    /// A transaction that would have settled so many records was rolled back.
    pub(super) fn roll_back(&mut self, records: u64) {
        self.rolled_back = self.rolled_back.max(records);
    }

    /// Those offsets are settled now, each by itself.
    pub(super) fn settle_within(&mut self, first: i64, last: i64) -> Tally {
        let within: Vec<i64> = if first <= last {
            self.by_offset
                .range(first..=last)
                .map(|(at, _)| *at)
                .collect()
        } else {
            Vec::new()
        };
        let mut tally = Tally::default();
        for dead in within.iter().filter_map(|at| self.by_offset.remove(at)) {
            tally.add(dead);
        }
        tally
    }

    /// `records` of the partition are settled now, all those under `committed`.
    pub(super) fn settle(&mut self, committed: i64, records: u64) -> Tally {
        let later = self.by_offset.split_off(&committed);
        let mut tally = Tally::default();
        for dead in std::mem::replace(&mut self.by_offset, later).into_values() {
            tally.add(dead);
        }
        let left = records.saturating_sub(tally.failed);
        tally = tally.plus(self.more.take(left));
        // What was rolled back may have failed for a reason that is known; it failed once.
        let back = self.rolled_back.min(records);
        self.rolled_back = self.rolled_back.saturating_sub(back);
        Tally {
            failed: tally.failed.max(back).min(records),
            dead: tally.dead.min(records),
        }
    }
}

/// Failures that belong to no partition.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// By topic and group.
    owed: HashMap<(Name, Name), (Tally, Instant)>,
    /// Dead letters by the position they had: the group, and how often.
    letters: HashMap<ReadingKeyAt, (u32, Instant)>,
}

type ReadingKeyAt = (ReadingKey, i64);

impl Failures {
    fn owe(&mut self, topic: &Name, group: &Name, dead: bool, now: Instant) {
        let key = (Arc::clone(topic), Arc::clone(group));
        if self.owed.len() < MAX_OWED || self.owed.contains_key(&key) {
            let (tally, at) = self.owed.entry(key).or_insert((Tally::default(), now));
            tally.add(dead);
            *at = now;
        }
    }

    fn pay(&mut self, (group, topic, _): &ReadingKey, records: u64) -> Tally {
        if self.owed.is_empty() {
            return Tally::default();
        }
        let key = (Arc::clone(topic), Arc::clone(group));
        let owed = self.owed.get_mut(&key);
        owed.map_or(Tally::default(), |(tally, _)| tally.take(records))
    }

    fn letter(&mut self, key: &ReadingKey, offset: i64, now: Instant) {
        let key = (key.clone(), offset);
        if self.letters.len() < MAX_LETTERS || self.letters.contains_key(&key) {
            let (times, at) = self.letters.entry(key).or_insert((0, now));
            *times = times.saturating_add(1);
            *at = now;
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let fresh = |at: Instant| now.saturating_duration_since(at) < REMEMBERED;
        self.owed
            .retain(|_, (tally, at)| *tally != Tally::default() && fresh(*at));
        self.letters.retain(|_, (_, at)| fresh(*at));
    }

    /// (group, topic, partition) of records that were dead-lettered, given back, and dead-lettered again.
    fn again(&self) -> impl Iterator<Item = &ReadingKey> {
        let twice = self.letters.iter().filter(|(_, (times, _))| *times >= 2);
        twice.map(|((key, _), _)| key)
    }
}

impl Engine {
    /// A program has set records aside into this topic, and the broker has them.
    pub(super) fn set_aside(
        &mut self,
        into: &Name,
        letters: &[SetAside],
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        for letter in letters {
            let topic = letter.topic.clone().unwrap_or_else(|| UNRESOLVED.into());
            let partition = letter.position.map(|(partition, _)| partition);
            let told = letter.group.clone();
            let group = told.unwrap_or_else(|| self.reader_of(&topic, partition));
            sink.record(Measure::SetAside {
                topic: &topic,
                group: &group,
                into,
                category: letter.category,
                retry: letter.retry,
            });
            let dead = !letter.retry;
            match letter.position {
                Some((partition, offset)) => {
                    let key = (Arc::clone(&group), Arc::clone(&topic), partition);
                    if let Some(reading) = self.readings.get_mut(&key)
                        && reading.committed.is_none_or(|at| at <= offset)
                    {
                        reading.failed.add(offset, dead);
                    }
                    self.shares.failed(&key, offset, dead);
                    if dead {
                        self.failures.letter(&key, offset, now.mono);
                    }
                }
                None => self.failures.owe(&topic, &group, dead, now.mono),
            }
            if dead {
                let series = dead_letter(&topic, &group);
                self.out(now, sink).judge(&series, 0, 1);
            }
        }
    }

    /// The one group behind this sidecar that reads a topic.
    fn reader_of(&self, topic: &Name, partition: Option<i32>) -> Name {
        let reads = |(_, name, number): &&ReadingKey| {
            name == topic && partition.is_none_or(|partition| partition == *number)
        };
        let readers = self.readings.keys().chain(self.shares.keys());
        let mut groups = readers.filter(reads).map(|(group, ..)| group);
        let Some(first) = groups.next() else {
            return NO_GROUP.into();
        };
        if groups.all(|other| other == first) {
            Arc::clone(first)
        } else {
            AMBIGUOUS.into()
        }
    }

    /// So many records of a partition are settled.
    pub(super) fn processed(
        &mut self,
        key: &ReadingKey,
        records: u64,
        failed: Tally,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        if records == 0 {
            return;
        }
        let left = records.saturating_sub(failed.failed);
        let failed = failed.plus(self.failures.pay(key, left));
        let (group, topic, _) = key;
        let mut out = self.out(now, sink);
        let good = records.saturating_sub(failed.failed);
        out.judge(&processing(topic, group), good, failed.failed.min(records));
        let settled = records.saturating_sub(failed.dead);
        out.judge(&dead_letter(topic, group), settled, 0);
    }

    /// Records that nobody gets past, by (topic, group).
    #[must_use]
    pub fn poison(&self) -> BTreeMap<(Name, Name), u64> {
        let stuck = self.given.stuck(self.settings.poison_deliveries);
        let mut out: BTreeMap<(Name, Name), u64> = BTreeMap::new();
        for (group, topic, _) in stuck.chain(self.failures.again()) {
            let key = (Arc::clone(topic), Arc::clone(group));
            let count = out.entry(key).or_default();
            *count = count.saturating_add(1);
        }
        for ((group, topic, _), records) in self.shares.poison(self.settings.poison_deliveries) {
            let key = (Arc::clone(topic), Arc::clone(group));
            let count = out.entry(key).or_default();
            *count = count.saturating_add(records);
        }
        for (group, topic, _) in self.given.keys() {
            out.entry((Arc::clone(topic), Arc::clone(group)))
                .or_default();
        }
        out
    }
}

/// What was delivered and not settled when the partition was taken away.
pub(super) fn unsettled(topic: &Name, group: &Name, records: u64, out: &mut Out<'_>) {
    out.unknown(&processing(topic, group), Reason::NotCommitted, records);
}

/// The processing pair of a topic and group.
pub(super) fn processing(topic: &Name, group: &Name) -> Series {
    Series::of(Sli::Processing, topic, group)
}

/// The dead-letter pair of a topic and group.
pub(super) fn dead_letter(topic: &Name, group: &Name) -> Series {
    Series::of(Sli::DeadLetter, topic, group)
}
