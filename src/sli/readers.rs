//! What is known right now of each group's way through each topic: this pod's partitions taken together.
//!
//! Owned copies, as in `status`. Must not be computed on the way of an event.

use std::collections::BTreeMap;

use super::engine::Engine;
use crate::event::{Name, Stamp};

/// One group's way through one topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReaderStatus {
    /// Estimated seconds until retention deletes what the group has not committed, least over the partitions; `None` where no
    /// partition is being overtaken or the speed is not known.
    pub time_to_loss_seconds: Option<f64>,
}

impl ReaderStatus {
    /// Takes another one in: what is shown is the worse of both.
    pub fn join(&mut self, other: &Self) {
        self.time_to_loss_seconds = least(self.time_to_loss_seconds, other.time_to_loss_seconds);
    }
}

impl Engine {
    /// Every (group, topic) with a position, sorted.
    #[must_use]
    pub fn readers(&self, now: Stamp) -> BTreeMap<(Name, Name), ReaderStatus> {
        let mut all: BTreeMap<(Name, Name), ReaderStatus> = BTreeMap::new();
        for ((group, topic, _), reading) in &self.readings {
            let on_connection = self.by_connection.get(&reading.connection).copied();
            let Some(lag) = reading.lag(now, on_connection) else {
                continue;
            };
            let status = all.entry((group.clone(), topic.clone())).or_default();
            let left = Some(lag.committed).filter(|_| lag.records > 0);
            let left = left.and_then(|at| reading.headroom.seconds(at, now.mono));
            status.time_to_loss_seconds = least(status.time_to_loss_seconds, left);
        }
        all
    }
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
