//! Share groups (KIP-932): records are given to members one by one, and each is accepted, released or rejected.
//!
//! The group says so on the wire, so that nothing has to be inferred: a record is settled by its own acknowledgement, and how often
//! it was given is told by the broker. Why it is given again is known where this sidecar saw what became of it. Must not follow
//! a position: a share group has none.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    again::Again,
    engine::{Engine, MAX_READINGS, ReadingKey},
    failures::{Failed, Tally, dead_letter, processing, unsettled},
    measure::{Measure, Reason, Sink},
    ranges::{Ranges, Run, count},
    verdicts::Out,
};
use crate::event::{
    Acknowledged, Acknowledgement, Acquired, DeliveredPart, Name, Stamp, UNRESOLVED,
};

/// Most runs of offsets remembered over all partitions, about 60 bytes each.
pub const MAX_HELD: usize = 65_536;
/// How long what was given out, or given back, is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// A run that a member has.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// The connection it was given on: the session ends with it, and the cluster takes the records back.
    connection: u64,
    at: Instant,
    deliveries: u32,
}

/// A run that a member gave back.
#[derive(Debug, Clone, Copy)]
struct GivenBack {
    why: Again,
    at: Instant,
}

#[derive(Debug, Default)]
struct Partition {
    held: Ranges<Held>,
    given_back: Ranges<GivenBack>,
    failed: Failed,
}

/// Offsets given to a member of a share group, and whether the group had them before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HandedOut {
    pub(super) first: i64,
    pub(super) last: i64,
    /// `None` = never.
    pub(super) again: Option<Again>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Shares {
    partitions: HashMap<ReadingKey, Partition>,
    runs: usize,
}

impl Shares {
    fn partition(&mut self, key: &ReadingKey) -> Option<&mut Partition> {
        if !self.partitions.contains_key(key) {
            if self.partitions.len() >= MAX_READINGS {
                return None;
            }
            self.partitions.insert(key.clone(), Partition::default());
        }
        self.partitions.get_mut(key)
    }

    /// A member is given records.
    fn hand_out(
        &mut self,
        key: &ReadingKey,
        acquired: &[Acquired],
        connection: u64,
        now: Instant,
    ) -> Vec<HandedOut> {
        let room = self.runs < MAX_HELD;
        let Some(partition) = self.partition(key) else {
            return acquired.iter().map(HandedOut::untold).collect();
        };
        let before = partition.held.len();
        let mut out = Vec::new();
        for run in acquired {
            partition.hand_out(run, &mut out);
            if room {
                let held = Held {
                    connection,
                    at: now,
                    deliveries: run.deliveries,
                };
                partition.held.put(run.first, run.last, held);
            }
        }
        let more = partition.held.len().saturating_sub(before);
        self.runs = self.runs.saturating_add(more);
        out
    }

    /// What is told of a partition that records are set aside of.
    pub(super) fn failed(&mut self, key: &ReadingKey, offset: i64, dead: bool) {
        if let Some(partition) = self.partitions.get_mut(key) {
            partition.failed.add(offset, dead);
        }
    }

    /// All (group, topic, partition).
    pub(super) fn keys(&self) -> impl Iterator<Item = &ReadingKey> {
        self.partitions.keys()
    }

    /// (group, topic, partition) and how many of its records a member was given for the `times`th time or more and has not
    /// settled.
    pub(super) fn poison(&self, times: u32) -> impl Iterator<Item = (&ReadingKey, u64)> {
        self.partitions.iter().map(move |(key, partition)| {
            let stuck = partition
                .held
                .iter()
                .filter(|(.., held)| held.deliveries >= times);
            (key, stuck.map(|(first, last, _)| count(first, last)).sum())
        })
    }

    /// A topic was deleted.
    pub(super) fn forget(&mut self, topic: &str) {
        self.partitions.retain(|(_, name, _), _| &**name != topic);
    }

    /// What members held who went away: (group, topic, partition) and how many.
    fn left(
        &mut self,
        gone: impl Fn(&ReadingKey, &Held) -> bool,
        now: Instant,
    ) -> Vec<(ReadingKey, u64)> {
        let mut all = Vec::new();
        for (key, partition) in &mut self.partitions {
            let runs = partition.held.take_unless(|held| !gone(key, held));
            for (first, last, _) in &runs {
                let back = GivenBack {
                    why: Again::Rebalanced,
                    at: now,
                };
                partition.given_back.put(*first, *last, back);
            }
            if !runs.is_empty() {
                all.push((key.clone(), sum(&runs)));
            }
        }
        all
    }
}

impl HandedOut {
    /// All that is known is how often.
    fn untold(run: &Acquired) -> Self {
        Self {
            first: run.first,
            last: run.last,
            again: (run.deliveries > 1).then_some(Again::Refetched),
        }
    }
}

impl Partition {
    fn hand_out(&mut self, run: &Acquired, out: &mut Vec<HandedOut>) {
        let held = self.held.take(run.first, run.last).into_iter();
        // Its lock ran out while a member had it.
        let held = held.map(|(first, last, _)| (first, last, Again::Redelivered));
        let back = self.given_back.take(run.first, run.last).into_iter();
        let mut known: Vec<Run<Again>> = held
            .chain(back.map(|(first, last, back)| (first, last, back.why)))
            .collect();
        known.sort_unstable_by_key(|(first, ..)| *first);
        let mut at = run.first;
        let mut told = |first: i64, last: i64, again: Option<Again>| {
            if first <= last {
                out.push(HandedOut { first, last, again });
            }
        };
        let otherwise = HandedOut::untold(run).again;
        for (first, last, why) in known {
            told(at, first.saturating_sub(1), otherwise);
            // The first time is the first time, whatever had these offsets before.
            told(first, last, otherwise.and(Some(why)));
            at = last.saturating_add(1);
        }
        told(at, run.last, otherwise);
    }

    /// What was given out of a run that is acknowledged now.
    fn settle(&mut self, first: i64, last: i64) -> (Vec<Run<Held>>, Tally) {
        let held = self.held.take(first, last);
        (held, self.failed.settle_within(first, last))
    }
}

/// Makes what alerts read of a share group exist.
pub(super) fn reader_known(topic: &Name, group: &Name, out: &mut Out<'_>) {
    out.measure(Measure::Acknowledged {
        topic,
        group,
        became: Acknowledgement::Accepted,
        records: 0,
    });
}

fn sum<T>(runs: &[Run<T>]) -> u64 {
    runs.iter()
        .map(|(first, last, _)| count(*first, *last))
        .sum()
}

impl Engine {
    /// What a part of an answer gives to a member of a share group.
    pub(super) fn handed_out(
        &mut self,
        key: &ReadingKey,
        part: &DeliveredPart,
        connection: u64,
        at: Stamp,
        sink: &mut dyn Sink,
    ) -> Vec<HandedOut> {
        let runs = self
            .shares
            .hand_out(key, &part.acquired, connection, at.mono);
        let late = runs
            .iter()
            .filter(|run| run.again == Some(Again::Redelivered));
        let late: u64 = late.map(|run| count(run.first, run.last)).sum();
        if late > 0 {
            // Given again although it was neither accepted nor given back: no progress was made.
            let series = processing(&key.1, &key.0);
            self.out(at, sink).judge(&series, 0, late);
        }
        runs
    }

    /// A member of a share group has said what became of records.
    pub(super) fn acknowledged(
        &mut self,
        said: &Acknowledged,
        connection: u64,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        self.group_known(&said.group, now, sink);
        let known = said.parts.iter().filter(|part| part.error.is_none());
        for part in known.filter(|part| &*part.topic != UNRESOLVED) {
            let key = (
                Arc::clone(&said.group),
                Arc::clone(&part.topic),
                part.partition,
            );
            for (first, last, became) in &part.runs {
                self.became(&key, (*first, *last), *became, now, sink);
            }
        }
        if said.leaves {
            let group = &said.group;
            self.taken_back(
                |(of, ..), held| of == group && held.connection == connection,
                now,
                sink,
            );
        }
    }

    /// The connection of a member has ended.
    pub(super) fn share_session_ended(&mut self, connection: u64, now: Stamp, sink: &mut dyn Sink) {
        self.taken_back(|_, held| held.connection == connection, now, sink);
    }

    fn taken_back(
        &mut self,
        gone: impl Fn(&ReadingKey, &Held) -> bool,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        for ((group, topic, _), records) in self.shares.left(gone, now.mono) {
            unsettled(&topic, &group, records, &mut self.out(now, sink));
        }
    }

    fn became(
        &mut self,
        key: &ReadingKey,
        (first, last): (i64, i64),
        became: Acknowledgement,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        let (group, topic, _) = key;
        let records = count(first, last);
        let partition = self.shares.partition(key);
        let (held, failed) = partition.map_or_else(Default::default, |p| p.settle(first, last));
        if became == Acknowledgement::Gap {
            return;
        }
        sink.record(Measure::Acknowledged {
            topic,
            group,
            became,
            records,
        });
        match became {
            Acknowledgement::Accepted => {
                for (first, last, held) in &held {
                    sink.record(Measure::Processed {
                        topic,
                        group,
                        took: now.mono.saturating_duration_since(held.at),
                        count: count(*first, *last),
                        example: None,
                        at_ms: now.wall_ms,
                    });
                }
                self.processed(key, records, failed, now, sink);
            }
            Acknowledgement::Released => {
                self.out(now, sink)
                    .judge(&processing(topic, group), 0, records);
                if let Some(partition) = self.shares.partition(key) {
                    let back = GivenBack {
                        why: Again::Replayed,
                        at: now.mono,
                    };
                    partition.given_back.put(first, last, back);
                }
            }
            Acknowledgement::Rejected => {
                let mut out = self.out(now, sink);
                out.judge(&processing(topic, group), 0, records);
                // Settled, and whether the cluster keeps it as a dead letter cannot be seen.
                let untold = records.saturating_sub(failed.dead);
                out.unknown(&dead_letter(topic, group), Reason::Rejected, untold);
            }
            Acknowledgement::Gap => {}
        }
    }

    /// Once a second.
    pub(super) fn tick_shares(&mut self, now: Stamp, sink: &mut dyn Sink) {
        let fresh = |at: Instant| now.mono.saturating_duration_since(at) < REMEMBERED;
        let mut expired: BTreeMap<(Name, Name), u64> = BTreeMap::new();
        let mut runs = 0_usize;
        let groups = &self.groups;
        self.shares
            .partitions
            .retain(|(group, topic, _), partition| {
                let gone = partition.held.take_unless(|held| fresh(held.at));
                if !gone.is_empty() {
                    let pair = (Arc::clone(topic), Arc::clone(group));
                    let records = expired.entry(pair).or_default();
                    *records = records.saturating_add(sum(&gone));
                }
                partition.given_back.take_unless(|back| fresh(back.at));
                let left = partition
                    .held
                    .len()
                    .saturating_add(partition.given_back.len());
                runs = runs.saturating_add(left);
                left > 0 || groups.get(group).is_some()
            });
        self.shares.runs = runs;
        for ((topic, group), records) in expired {
            unsettled(&topic, &group, records, &mut self.out(now, sink));
        }
    }
}
