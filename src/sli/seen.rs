//! What was seen of one partition as one group reads it: the batches that are not committed yet, and what the fetches cover.
//!
//! Lag in seconds and the `committed` stage both need the publish time of records behind the committed offset, long after
//! their bytes have gone. The ring is bounded; when it is full neighbours are merged, so an interval may widen but is never
//! wrong. Must not know groups or clocks.

use std::collections::VecDeque;

use super::spread::Times;
use crate::event::{BatchFact, BatchKind, Example, Stamp};

/// Most batches remembered per (group, partition) before neighbours are merged.
pub const MAX_BATCHES: usize = 512;
/// The same where all partitions together hold more than the engine allows.
pub const FEW_BATCHES: usize = 16;
/// Most record times kept of one opened batch.
pub const MAX_TIMES: usize = 2_048;

/// One batch, or several merged ones.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    base: i64,
    last: i64,
    /// Publish time of the record at `base`, where `dense`.
    first_ms: i64,
    low_ms: i64,
    high_ms: i64,
    /// No offset between base and last is missing.
    dense: bool,
    /// First offset that the application saw.
    from: i64,
    delivered: u64,
    passed: u64,
    pub(super) fetched: Stamp,
    /// The latency SLI judges these records when they are committed.
    pub(super) judged_at_commit: bool,
    /// (offset, publish time) of each record, where the batch was opened.
    times: Option<Box<[(i64, i64)]>>,
    /// One of its records whose trace is recorded, until it is passed.
    example: Option<Box<Example>>,
    /// Batches in it, more than one where neighbours were merged.
    merged: usize,
}

/// Records that a commit has just passed.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) fetched: Stamp,
    pub(super) judged_at_commit: bool,
    pub(super) times: Vec<Times>,
    pub(super) count: u64,
    /// One of them whose trace is recorded.
    pub(super) example: Option<Box<Example>>,
}

/// Publish time of the first record at or after an offset, ms since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstAfter {
    /// Within these (equal where it is exact).
    Between(i64, i64),
    /// Everything up to here was looked at and there is no record.
    NoneBefore(i64),
    /// Not seen; the last record seen before it was published at this time or later.
    Unseen(Option<i64>),
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct Seen {
    batches: VecDeque<Batch>,
    /// Offsets that fetches have covered without a gap.
    covered: Option<(i64, i64)>,
    /// Low publish time of the last batch that a commit passed.
    before_ms: Option<i64>,
    kept: usize,
    /// Neighbours are merged up to 2^`grain` batches.
    grain: u32,
    /// Records forgotten for want of room whose verdict waited for a commit.
    forgotten: u64,
}

impl Seen {
    /// Record times kept.
    pub(super) fn kept(&self) -> usize {
        self.kept
    }

    /// A fetch asked for this offset, and these complete batches came.
    pub(super) fn fetched(&mut self, asked: Option<i64>, batches: &[BatchFact]) {
        let first = batches.first().map(|b| b.base_offset);
        let Some(start) = asked.or(first) else {
            return;
        };
        let end = batches
            .last()
            .map_or(start, |b| b.last_offset.saturating_add(1).max(start));
        self.covered = Some(match self.covered {
            Some((from, to)) if start <= to && end >= from => {
                // A fetch from further back ends what was known after it: the program rewound.
                (
                    from.min(start),
                    if start < to && batches.is_empty() {
                        to
                    } else {
                        end
                    },
                )
            }
            _ => (start, end),
        });
    }

    /// Batches held.
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    /// Adds one batch with records that the application will see; past `room` neighbours are merged.
    pub(super) fn push(
        &mut self,
        fact: &BatchFact,
        asked: Option<i64>,
        fetched: Stamp,
        judged_at_commit: bool,
        times: Option<&[(i64, i64)]>,
        room: usize,
    ) {
        let mut batch = Batch::new(fact, asked, fetched, judged_at_commit);
        while let Some(old) = self.batches.pop_back_if(|old| old.last >= batch.base) {
            self.kept = self.kept.saturating_sub(old.kept());
            batch.continue_from(&old, asked);
        }
        if let Some(times) = times.filter(|t| t.len() <= MAX_TIMES) {
            batch.times = Some(times.into());
        }
        if !self.merge_into_last(&batch) {
            self.kept = self.kept.saturating_add(batch.kept());
            self.batches.push_back(batch);
        }
        while self.batches.len() > room {
            self.coarsen(room);
        }
    }

    /// One record of the batch that was added last has a recorded trace.
    pub(super) fn exemplify(&mut self, example: &Example) {
        if let Some(last) = self.batches.back_mut()
            && last.example.is_none()
            && (last.base..=last.last).contains(&example.offset)
        {
            last.example = Some(Box::new(*example));
        }
    }

    /// The group committed: what it passed leaves the ring.
    pub(super) fn settle(&mut self, committed: i64) -> Vec<Passed> {
        let mut out = Vec::new();
        while let Some(front) = self.batches.front_mut() {
            if front.base >= committed {
                break;
            }
            out.extend(front.pass(committed));
            if front.last >= committed {
                break;
            }
            self.before_ms = Some(front.low_ms);
            let kept = front.kept();
            self.kept = self.kept.saturating_sub(kept);
            self.batches.pop_front();
        }
        if self.batches.is_empty() {
            self.grain = 0;
        }
        out
    }

    /// Delivered records under an offset that are not settled.
    pub(super) fn unsettled(&self, upto: i64) -> u64 {
        let waiting = self.batches.iter().filter(|b| b.base < upto);
        let each = waiting.map(|b| b.reached(upto).saturating_sub(b.passed));
        each.fold(0, u64::saturating_add)
    }

    /// Records whose verdict waits for a commit.
    pub(super) fn unjudged(&self) -> u64 {
        let waiting = self.batches.iter().map(Batch::unjudged);
        waiting.fold(self.forgotten, u64::saturating_add)
    }

    /// Publish time of the first record at or after `offset`.
    pub(super) fn first_after(&self, offset: i64) -> FirstAfter {
        let covered = |at: i64| {
            self.covered
                .is_some_and(|(from, to)| from <= at && at <= to)
        };
        match self.batches.iter().find(|b| b.last >= offset) {
            Some(batch) if batch.base <= offset || covered(offset) => {
                let (low, high) = batch.first_after(offset);
                FirstAfter::Between(low, high)
            }
            None if covered(offset) => {
                FirstAfter::NoneBefore(self.covered.map_or(offset, |(_, to)| to))
            }
            _ => FirstAfter::Unseen(
                self.batches
                    .iter()
                    .rev()
                    .find(|b| b.last < offset)
                    .map(|b| b.low_ms)
                    .or(self.before_ms),
            ),
        }
    }

    /// Publish time at or before that of the last record seen, whether committed or not.
    pub(super) fn before(&self) -> Option<i64> {
        self.batches.back().map(|b| b.low_ms).or(self.before_ms)
    }

    /// Offset after the last record seen, and after the last offset covered.
    pub(super) fn ends(&self) -> (Option<i64>, Option<i64>) {
        (
            self.batches.back().map(|b| b.last.saturating_add(1)),
            self.covered.map(|(_, to)| to),
        )
    }

    fn limit(&self) -> usize {
        1_usize.checked_shl(self.grain).unwrap_or(usize::MAX)
    }

    fn merge_into_last(&mut self, batch: &Batch) -> bool {
        let limit = self.limit();
        match self.batches.back_mut() {
            Some(last) if last.takes(batch, limit) => {
                self.kept = self.kept.saturating_sub(last.kept());
                last.merge(batch);
                true
            }
            _ => false,
        }
    }

    /// Doubles the grain and merges neighbours up to it, so that all intervals widen alike.
    fn coarsen(&mut self, room: usize) {
        self.grain = self.grain.saturating_add(1);
        let limit = self.limit();
        let mut merged: VecDeque<Batch> = VecDeque::new();
        for batch in self.batches.drain(..) {
            match merged.back_mut() {
                Some(last) if last.takes(&batch, limit) => last.merge(&batch),
                _ => merged.push_back(batch),
            }
        }
        // Where the stage alternates batch by batch nothing merges; then the oldest are forgotten.
        while limit > MAX_BATCHES && merged.len() > room {
            if let Some(old) = merged.pop_front() {
                self.forgotten = self.forgotten.saturating_add(old.unjudged());
            }
        }
        self.kept = merged.iter().map(Batch::kept).sum();
        self.batches = merged;
    }
}

impl Batch {
    fn new(fact: &BatchFact, asked: Option<i64>, fetched: Stamp, judged_at_commit: bool) -> Self {
        let high_ms = fact.max_timestamp_ms;
        // A compacted batch may keep the first timestamp of a record that is gone; of a single record the latest is its own.
        let base_ms = if fact.log_append_time || fact.records == 1 {
            high_ms
        } else {
            fact.base_timestamp_ms
        };
        let span = fact
            .last_offset
            .saturating_sub(fact.base_offset)
            .saturating_add(1);
        Self {
            base: fact.base_offset,
            last: fact.last_offset,
            first_ms: base_ms,
            low_ms: base_ms.min(high_ms),
            high_ms,
            dense: i64::from(fact.records) == span,
            from: asked.map_or(fact.base_offset, |a| a.max(fact.base_offset)),
            delivered: u64::from(fact.delivered),
            passed: 0,
            fetched,
            judged_at_commit,
            times: None,
            example: None,
            merged: 1,
        }
    }

    /// Whether `next` may be merged into this one.
    fn takes(&self, next: &Self, limit: usize) -> bool {
        self.judged_at_commit == next.judged_at_commit
            && self.merged.saturating_add(next.merged) <= limit
    }

    fn kept(&self) -> usize {
        self.times.as_ref().map_or(0, |t| t.len())
    }

    /// Records whose verdict waits for a commit.
    fn unjudged(&self) -> u64 {
        if self.judged_at_commit {
            self.delivered.saturating_sub(self.passed)
        } else {
            0
        }
    }

    /// The same batch came again because the fetch began inside it: what was delivered before stays delivered.
    fn continue_from(&mut self, old: &Self, asked: Option<i64>) {
        let again_from = asked.unwrap_or(self.base);
        if old.base != self.base || again_from <= old.from {
            return;
        }
        let earlier = u64::try_from(again_from.saturating_sub(old.from))
            .unwrap_or(0)
            .min(old.delivered);
        self.delivered = self.delivered.saturating_add(earlier);
        self.from = old.from;
        self.passed = old.passed.min(self.delivered);
        self.fetched = old.fetched;
    }

    fn merge(&mut self, next: &Self) {
        self.dense = self.dense && next.dense && self.last.saturating_add(1) == next.base;
        self.last = next.last;
        self.low_ms = self.low_ms.min(next.low_ms);
        self.high_ms = self.high_ms.max(next.high_ms);
        self.delivered = self.delivered.saturating_add(next.delivered);
        self.passed = self.passed.saturating_add(next.passed);
        self.times = None;
        self.merged = self.merged.saturating_add(next.merged);
    }

    fn first_after(&self, offset: i64) -> (i64, i64) {
        let known = self
            .times
            .iter()
            .flatten()
            .find(|(at, _)| *at >= offset)
            .map(|(_, ms)| *ms);
        match known {
            Some(ms) => (ms, ms),
            None if offset <= self.base && self.dense => (self.first_ms, self.first_ms),
            None => (self.low_ms, self.high_ms),
        }
    }

    /// Takes the records under `committed` that were not passed before.
    fn pass(&mut self, committed: i64) -> Option<Passed> {
        let reached = self.reached(committed);
        let count = reached.checked_sub(self.passed).filter(|n| *n > 0)?;
        let times = self.times_of(self.passed, reached);
        self.passed = reached;
        let example = self.example.take_if(|example| example.offset < committed);
        Some(Passed {
            fetched: self.fetched,
            judged_at_commit: self.judged_at_commit,
            times,
            count,
            example,
        })
    }

    /// Delivered records under an offset.
    fn reached(&self, committed: i64) -> u64 {
        let whole = self.last < committed;
        let reached = if whole {
            self.delivered
        } else if let Some(times) = &self.times {
            let (from, upto) = (self.from, committed);
            let under = times.iter().filter(|(at, _)| (from..upto).contains(at));
            u64::try_from(under.count()).unwrap_or(0)
        } else {
            u64::try_from(committed.saturating_sub(self.from)).unwrap_or(0)
        };
        reached.min(self.delivered)
    }

    /// Publish times of the delivered records number `start..end`.
    fn times_of(&self, start: u64, end: u64) -> Vec<Times> {
        let count = end.saturating_sub(start);
        let (Some(times), Ok(skip), Ok(take)) =
            (&self.times, usize::try_from(start), usize::try_from(count))
        else {
            return vec![Times {
                low_ms: self.low_ms,
                high_ms: self.high_ms,
                count,
            }];
        };
        let single = times.iter().filter(|(at, _)| *at >= self.from);
        single
            .skip(skip)
            .take(take)
            .map(|(_, ms)| Times {
                low_ms: *ms,
                high_ms: *ms,
                count: 1,
            })
            .collect()
    }
}

/// Whether a batch holds records that an application can see.
pub(super) fn is_data(fact: &BatchFact) -> bool {
    fact.kind == BatchKind::Data && fact.records > 0
}
