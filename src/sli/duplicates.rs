//! The duplicates SLI: of the records delivered to a group and examined, how many were an event that it had been given before?
//!
//! An offset given again is a matter of [`super::again`]; at a new offset the id that a record carries decides. Records that
//! carry none are told apart by their content, for information only. Reference: signals of the product, "Duplicates". Must not
//! count what was given again on purpose, or because the members changed.

use std::{collections::hash_map::RandomState, hash::BuildHasher, time::Duration};

use tokio::time::Instant;

use super::{
    again::{Again, Pass},
    engine::ReadingKey,
    filter::Filter,
    measure::{DuplicateClass, Measure, Reason, Series, Sli},
    ranges::count,
    shares::HandedOut,
    verdicts::Out,
};
use crate::event::{BatchFact, DeliveredRecord, Identity, Name};

/// What is remembered of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateSettings {
    /// For how long.
    pub window: Duration,
    /// In how much memory, bytes.
    pub bytes: usize,
}

impl Default for DuplicateSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(3600),
            bytes: 8 << 20,
        }
    }
}

/// What is known of how events are remembered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DuplicateMemory {
    /// Every event examined within this time is remembered.
    pub window: Duration,
    /// Share of events that are taken for one of them and are not, about.
    pub false_positives: f64,
}

/// Which events were delivered to whom.
#[derive(Debug)]
pub(super) struct Duplicates {
    filter: Filter,
    hasher: RandomState,
    used: bool,
}

/// A batch that one group is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handed<'a> {
    pub(super) key: &'a ReadingKey,
    pub(super) fact: &'a BatchFact,
    pub(super) asked: Option<i64>,
    /// `None` where nothing is remembered of the partition.
    pub(super) pass: Option<Pass>,
    /// Share groups: the runs that this member is given, in offset order.
    pub(super) out: Option<&'a [HandedOut]>,
}

impl Handed<'_> {
    /// Those of its records that the member is given.
    pub(super) fn within(&self, mut records: Vec<DeliveredRecord>) -> Vec<DeliveredRecord> {
        if let Some(runs) = self.out {
            records.retain(|record| run_of(runs, record.offset).is_some());
        }
        records
    }

    /// Its records that the group was never given before, and how many there are; tells why it is given the others.
    fn fresh(
        &self,
        records: Option<&[DeliveredRecord]>,
        series: &Series,
        out: &mut Out<'_>,
    ) -> (u64, Fresh<'_>) {
        let Self {
            fact, asked, pass, ..
        } = *self;
        let all = u64::from(fact.delivered);
        let Some(runs) = self.out else {
            let from = asked.unwrap_or(fact.base_offset).max(fact.base_offset);
            let new_from = pass.map_or(from, |pass| pass.new_from).max(from);
            let again = again(fact, (from, new_from), records).min(all);
            if let Some(pass) = pass.filter(|_| again > 0) {
                given_again(series, pass.again, again, out);
            }
            return (all.saturating_sub(again), Fresh::From(new_from));
        };
        let mut left = all;
        for run in runs {
            let first = run.first.max(fact.base_offset);
            let records = count(first, run.last.min(fact.last_offset)).min(left);
            if let Some(why) = run.again.filter(|_| records > 0) {
                given_again(series, why, records, out);
                left = left.saturating_sub(records);
            }
        }
        (left, Fresh::Of(runs))
    }
}

/// Which offsets are new to a group.
#[derive(Debug, Clone, Copy)]
enum Fresh<'a> {
    /// This and those behind it.
    From(i64),
    /// Those of the runs that it never had.
    Of(&'a [HandedOut]),
}

impl Fresh<'_> {
    fn holds(self, offset: i64) -> bool {
        match self {
            Self::From(first) => offset >= first,
            Self::Of(runs) => run_of(runs, offset).is_some_and(|run| run.again.is_none()),
        }
    }
}

fn run_of(runs: &[HandedOut], offset: i64) -> Option<&HandedOut> {
    let behind = runs.partition_point(|run| run.first <= offset);
    let run = runs.get(behind.checked_sub(1)?)?;
    (offset <= run.last).then_some(run)
}

#[derive(Debug, Default)]
struct Counts {
    good: u64,
    twice: u64,
    content: u64,
    nameless: u64,
}

impl Duplicates {
    pub(super) fn new(settings: DuplicateSettings) -> Self {
        Self {
            filter: Filter::new(settings.window, settings.bytes),
            hasher: RandomState::new(),
            used: false,
        }
    }

    /// `None` as long as no record was examined.
    pub(super) fn memory(&self, now: Instant) -> Option<DuplicateMemory> {
        self.used.then(|| DuplicateMemory {
            window: self.filter.window(now),
            false_positives: self.filter.false_positives(),
        })
    }

    /// Judges a batch. `records`: those of the batch, where it was opened.
    pub(super) fn take(
        &mut self,
        handed: Handed<'_>,
        records: Option<&[DeliveredRecord]>,
        out: &mut Out<'_>,
    ) {
        let (group, topic, _) = handed.key;
        let series = duplicates(topic, group);
        let (fresh, new) = handed.fresh(records, &series, out);
        let records = records.into_iter().flatten();
        let records = records.filter(|record| new.holds(record.offset));
        let counts = self.count(handed.key, records, out.now.mono);
        let Counts {
            good,
            twice,
            content,
            nameless,
        } = counts;
        let known = good.saturating_add(twice).saturating_add(nameless);
        out.judge(&series, good, twice);
        out.unknown(&series, Reason::NoIdentity, nameless);
        out.unknown(&series, Reason::NotExamined, fresh.saturating_sub(known));
        for (class, count) in [
            (DuplicateClass::AppendedTwice, twice),
            (DuplicateClass::SameContent, content),
        ] {
            duplicate(topic, group, class, count, out);
        }
    }

    fn count<'r>(
        &mut self,
        (group, topic, _): &ReadingKey,
        records: impl Iterator<Item = &'r DeliveredRecord>,
        now: Instant,
    ) -> Counts {
        let mut counts = Counts::default();
        for record in records {
            let (id, named) = match record.identity {
                Identity::Unasked => continue,
                Identity::Named(id) => (id, true),
                Identity::Content(id) => (id, false),
            };
            self.used = true;
            let id = self.hasher.hash_one((&**group, &**topic, id, named));
            let was = self.filter.insert(id, now);
            let count = match (named, was) {
                (true, true) => &mut counts.twice,
                (true, false) => &mut counts.good,
                (false, _) => {
                    counts.content = counts.content.saturating_add(u64::from(was));
                    &mut counts.nameless
                }
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}

/// Records of a batch that were given before.
fn again(
    fact: &BatchFact,
    (from, new_from): (i64, i64),
    records: Option<&[DeliveredRecord]>,
) -> u64 {
    if new_from <= from {
        return 0;
    }
    if new_from > fact.last_offset {
        return u64::from(fact.delivered);
    }
    match records {
        Some(records) => {
            let before = records
                .iter()
                .filter(|r| (from..new_from).contains(&r.offset));
            u64::try_from(before.count()).unwrap_or(u64::MAX)
        }
        // Batches are given whole, so that a border within one is rare; offsets are then as good as records.
        None => u64::try_from(new_from.saturating_sub(from)).unwrap_or(0),
    }
}

fn given_again(series: &Series, why: Again, count: u64, out: &mut Out<'_>) {
    let class = match why {
        Again::Rebalanced => DuplicateClass::RebalanceRedelivered,
        Again::Replayed => DuplicateClass::Replayed,
        Again::Refetched => {
            out.unknown(series, Reason::Refetched, count);
            return;
        }
        Again::Redelivered => {
            out.judge(series, 0, count);
            DuplicateClass::Redelivered
        }
    };
    duplicate(&series.topic, &series.group, class, count, out);
}

/// Counts duplicates of a class.
pub(super) fn duplicate(
    topic: &Name,
    group: &Name,
    class: DuplicateClass,
    count: u64,
    out: &mut Out<'_>,
) {
    if count > 0 {
        out.measure(Measure::Duplicates {
            topic,
            group,
            class,
            count,
        });
    }
}

/// The duplicates pair of a topic and group.
pub(super) fn duplicates(topic: &Name, group: &Name) -> Series {
    Series::of(Sli::Duplicates, topic, group)
}
