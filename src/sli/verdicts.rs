//! The running totals behind every pair, and the way a verdict leaves the engine.
//!
//! One place decides which series have an SLI at all (`_other`, `_unresolved` and `_ambiguous` have none) and keeps the
//! totals for whoever asks. Must not judge anything itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::measure::{Measure, Reason, Series, Sink, Sli, Stage};
use crate::event::{Name, Stamp, UNRESOLVED};

/// Consumer group of a fetch that belongs to none.
pub const NO_GROUP: &str = "_none";
/// Consumer group of a fetch that may belong to several.
pub const AMBIGUOUS: &str = "_ambiguous";
/// Most pairs whose totals are kept; past it verdicts still reach the sink.
pub const MAX_TALLIES: usize = 20_000;
/// A pair without events this long is forgotten.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);
/// Topics and groups that have no SLI.
const WITHOUT_SLI: [&str; 3] = ["_other", UNRESOLVED, AMBIGUOUS];

/// Totals of one pair since it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Judged events.
    pub events: u64,
    /// Those judged good.
    pub good: u64,
    /// Events that could not be judged.
    pub unknown: u64,
}

#[derive(Debug)]
struct Entry {
    tally: Tally,
    touched: Instant,
}

/// Totals by series.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    tallies: HashMap<Series, Entry>,
    pub(super) empty: Option<Name>,
}

impl Verdicts {
    pub(super) fn tallies(&self) -> impl Iterator<Item = (&Series, Tally)> {
        self.tallies
            .iter()
            .map(|(series, entry)| (series, entry.tally))
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.tallies
            .retain(|_, entry| now.saturating_duration_since(entry.touched) < IDLE_LIMIT);
    }

    fn add(&mut self, series: &Series, now: Instant, delta: Tally) {
        if let Some(entry) = self.tallies.get_mut(series) {
            entry.touched = now;
            let tally = &mut entry.tally;
            tally.events = tally.events.saturating_add(delta.events);
            tally.good = tally.good.saturating_add(delta.good);
            tally.unknown = tally.unknown.saturating_add(delta.unknown);
        } else if self.tallies.len() < MAX_TALLIES {
            let entry = Entry {
                tally: delta,
                touched: now,
            };
            self.tallies.insert(series.clone(), entry);
        }
    }
}

/// What a part of the engine needs to speak: the totals, the sink, and the time.
pub(super) struct Out<'a> {
    pub(super) verdicts: &'a mut Verdicts,
    pub(super) sink: &'a mut dyn Sink,
    pub(super) now: Stamp,
}

impl Out<'_> {
    pub(super) fn measure(&mut self, measure: Measure<'_>) {
        self.sink.record(measure);
    }

    /// A verdict over `good + bad` events; zero and zero makes the pair exist.
    pub(super) fn judge(&mut self, series: &Series, good: u64, bad: u64) {
        if !has_sli(series) {
            return;
        }
        let delta = Tally {
            events: good.saturating_add(bad),
            good,
            unknown: 0,
        };
        self.verdicts.add(series, self.now.mono, delta);
        self.sink.record(Measure::Judged { series, good, bad });
    }

    /// Events that go into neither counter.
    pub(super) fn unknown(&mut self, series: &Series, reason: Reason, count: u64) {
        if count == 0 || !has_sli(series) {
            return;
        }
        let delta = Tally {
            unknown: count,
            ..Tally::default()
        };
        self.verdicts.add(series, self.now.mono, delta);
        self.sink.record(Measure::Unknown {
            series,
            reason,
            count,
        });
    }

    /// The publish pair of a topic.
    pub(super) fn publish(&mut self, topic: &Name) -> Series {
        Series::of(Sli::Publish, topic, &self.empty())
    }

    /// The availability pair.
    pub(super) fn availability(&mut self) -> Series {
        let empty = self.empty();
        Series::of(Sli::Availability, &empty, &empty)
    }

    /// The label of what belongs to no topic or group.
    pub(super) fn empty(&mut self) -> Name {
        Arc::clone(self.verdicts.empty.get_or_insert_with(|| "".into()))
    }
}

/// The latency pair of a topic, group and stage.
pub(super) fn latency(topic: &Name, group: &Name, stage: Stage) -> Series {
    Series {
        sli: Sli::Latency,
        topic: Arc::clone(topic),
        group: Arc::clone(group),
        stage: Some(stage),
    }
}

fn has_sli(series: &Series) -> bool {
    !WITHOUT_SLI.contains(&&*series.topic) && !WITHOUT_SLI.contains(&&*series.group)
}
