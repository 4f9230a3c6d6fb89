//! What is known right now of each group's way through each topic: this pod's partitions taken together.
//!
//! Owned copies, as in `status`. Must not be computed on the way of an event.

use std::{collections::BTreeMap, time::Duration};

use super::{
    engine::Engine,
    progress::{ProgressState, window},
};
use crate::event::{Name, Stamp};

/// One group's way through one topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReaderStatus {
    /// Estimated seconds until retention deletes what the group has not committed, least over the partitions; `None` where no
    /// partition is being overtaken or the speed is not known.
    pub time_to_loss_seconds: Option<f64>,
    /// Estimated seconds until no partition has lag, at the speed of the last minute; `None` where one does not drain or too
    /// little was seen.
    pub drain_seconds: Option<f64>,
    /// Partitions in each state; those of which nothing can be said are left out.
    pub states: BTreeMap<ProgressState, u64>,
}

impl ReaderStatus {
    /// Takes another one in: what is shown is the worse of both.
    pub fn join(&mut self, other: &Self) {
        self.time_to_loss_seconds = least(self.time_to_loss_seconds, other.time_to_loss_seconds);
        self.drain_seconds = longest(self.drain_seconds, other.drain_seconds);
        for (state, count) in &other.states {
            let sum = self.states.entry(*state).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

impl Engine {
    /// Every (group, topic) with a position, sorted.
    #[must_use]
    pub fn readers(&self, now: Stamp) -> BTreeMap<(Name, Name), ReaderStatus> {
        let mut all: BTreeMap<(Name, Name), ReaderStatus> = BTreeMap::new();
        for ((group, topic, _), reading) in &self.readings {
            let on_connection = self.by_connection.get(&reading.connection).copied();
            let Some(look) = reading.look(now.mono, on_connection) else {
                continue;
            };
            let state = reading.progress.state(look, self.window(group), now.mono);
            let mut one = ReaderStatus {
                states: state.map(|state| (state, 1)).into_iter().collect(),
                ..ReaderStatus::default()
            };
            if let Some(lag) = reading.lag(now, on_connection) {
                let behind = Some(lag.committed).filter(|_| lag.records > 0);
                one.time_to_loss_seconds =
                    behind.and_then(|at| reading.headroom.seconds(at, now.mono));
                one.drain_seconds = reading.progress.drain_seconds(lag.records);
            }
            let key = (group.clone(), topic.clone());
            match all.get_mut(&key) {
                Some(known) => known.join(&one),
                None => {
                    all.insert(key, one);
                }
            }
        }
        all
    }

    /// Records of the busiest partition over the mean of all, by topic, as far as this pod sends them.
    #[must_use]
    pub fn skews(&self) -> Vec<(Name, f64)> {
        self.skew.ratios()
    }

    /// Looks at every partition once.
    pub(super) fn look(&mut self, now: Stamp) {
        let groups = &self.groups;
        for ((group, _, _), reading) in &mut self.readings {
            let on_connection = self.by_connection.get(&reading.connection).copied();
            if let Some(look) = reading.look(now.mono, on_connection) {
                let interval = groups.get(group).and_then(|g| g.commit_interval());
                reading.progress.look(look, window(interval), now.mono);
            }
        }
    }

    fn window(&self, group: &Name) -> Duration {
        window(self.groups.get(group).and_then(|g| g.commit_interval()))
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Not known where one of both is not.
fn longest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one?.max(other?))
}
