//! What the engine knows right now, for gauges and pages.
//!
//! Owned copies, so that whoever shows them holds nothing of the engine. Must not be computed on the way of an event.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    duplicates::DuplicateMemory,
    engine::Engine,
    measure::{Series, Sli},
    members::MemberState,
    objective::Goal,
    reading::Lag,
    verdicts::Tally,
};
use crate::event::{Direction, Name, Stamp};

/// One SLI pair.
#[derive(Debug, Clone, Serialize)]
pub struct SliStatus {
    /// `publish`, `latency`, `availability`.
    pub sli: &'static str,
    /// Topic, or empty.
    pub topic: Name,
    /// Group, or empty.
    pub group: Name,
    /// Stage, or empty.
    pub stage: &'static str,
    /// Judged good since the start (or since an hour's silence).
    pub good: u64,
    /// Judged.
    pub events: u64,
    /// Not judged.
    pub unknown: u64,
    /// Good share of the judged; absent where nothing was judged.
    pub ratio: Option<f64>,
    /// Share asked for.
    pub objective: f64,
    /// Threshold, seconds.
    pub threshold_seconds: Option<f64>,
}

impl SliStatus {
    pub(super) fn new(series: Series, tally: Tally, goal: Goal) -> Self {
        Self {
            sli: series.sli.as_str(),
            stage: series.stage.map_or("", super::Stage::as_str),
            good: tally.good,
            events: tally.events,
            unknown: tally.unknown,
            ratio: ratio(tally.good, tally.events),
            objective: goal.target,
            threshold_seconds: matches!(series.sli, Sli::Latency | Sli::Lag)
                .then(|| goal.threshold.map(|t| t.as_secs_f64()))
                .flatten(),
            topic: series.topic,
            group: series.group,
        }
    }
}

/// Lag of one partition.
#[derive(Debug, Clone)]
pub struct PartitionLag {
    /// Group.
    pub group: Name,
    /// Topic.
    pub topic: Name,
    /// Partition.
    pub partition: i32,
    /// The figures.
    pub lag: Lag,
}

/// One group as seen from this pod.
#[derive(Debug, Clone)]
pub struct GroupStatus {
    /// Group.
    pub group: Name,
    /// This pod's members in each state, in the order of [`MemberState::ALL`].
    pub states: Vec<(MemberState, u64)>,
    /// Partitions assigned to this pod's members, by topic.
    pub assigned: BTreeMap<Name, u64>,
    /// Smoothed commit interval.
    pub commit_interval: Option<Duration>,
    /// Time since a member's client last had a fetch answered, the longest.
    pub poll_gap: Option<Duration>,
}

/// How well the latencies of a topic are known.
#[derive(Debug, Clone)]
pub struct TopicHealth {
    /// Topic.
    pub topic: Name,
    /// Share of delivered records whose latency is certain, 0 to 1.
    pub coverage: f64,
    /// How far publish times lie in the future, ms.
    pub skew_ms: Option<i64>,
}

impl Engine {
    /// Every pair with its totals and objective, sorted.
    pub fn slis(&mut self) -> Vec<SliStatus> {
        let mut pairs: Vec<_> = self
            .verdicts
            .tallies()
            .map(|(series, tally)| (series.clone(), tally))
            .collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs
            .into_iter()
            .map(|(series, tally)| {
                let goal = self
                    .objectives
                    .goal(series.sli, &series.topic, &series.group);
                SliStatus::new(series, tally, goal)
            })
            .collect()
    }

    /// Lag of every partition that is fetched, in no order.
    #[must_use]
    pub fn lags(&self, now: Stamp) -> Vec<PartitionLag> {
        self.readings
            .iter()
            .filter_map(|((group, topic, partition), reading)| {
                let on_connection = self.by_connection.get(&reading.connection).copied();
                let lag = reading.lag(now, on_connection)?;
                Some(PartitionLag {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition: *partition,
                    lag,
                })
            })
            .collect()
    }

    /// Every group known, sorted by name.
    #[must_use]
    pub fn groups(&self, now: Stamp) -> Vec<GroupStatus> {
        let mut out: BTreeMap<Name, GroupStatus> = self
            .groups
            .iter()
            .map(|(name, group)| {
                let status = GroupStatus {
                    group: name.clone(),
                    states: MemberState::ALL.map(|state| (state, 0)).to_vec(),
                    assigned: BTreeMap::new(),
                    commit_interval: group.commit_interval(),
                    poll_gap: None,
                };
                (name.clone(), status)
            })
            .collect();
        for (name, member) in self.members.iter() {
            let Some(status) = out.get_mut(name) else {
                continue;
            };
            let state = member.state(now.mono);
            for (_, count) in status.states.iter_mut().filter(|(s, _)| *s == state) {
                *count = count.saturating_add(1);
            }
            for (topic, partitions) in member.owned() {
                let count = status.assigned.entry(topic.clone()).or_default();
                let more = u64::try_from(partitions.len()).unwrap_or(u64::MAX);
                *count = count.saturating_add(more);
            }
            if let Some(last) = self.by_client.get(&member.client) {
                let gap = now.mono.saturating_duration_since(*last);
                status.poll_gap = Some(status.poll_gap.map_or(gap, |old| old.max(gap)));
            }
        }
        out.into_values().collect()
    }

    /// Share of the records that were examined one by one, of the last minutes.
    #[must_use]
    pub fn examined(&self) -> BTreeMap<(Name, Direction), f64> {
        self.examined.shares()
    }

    /// How events are remembered; `None` as long as no record was examined.
    #[must_use]
    pub fn duplicate_memory(&self, now: Stamp) -> Option<DuplicateMemory> {
        self.duplicates.memory(now.mono)
    }

    /// Coverage and skew by topic.
    #[must_use]
    pub fn health(&self) -> Vec<TopicHealth> {
        self.health
            .iter()
            .map(|(topic, health)| TopicHealth {
                topic: topic.clone(),
                coverage: health.coverage(),
                skew_ms: health.skew_ms(),
            })
            .collect()
    }
}

fn ratio(good: u64, events: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "a share of counts under 2^53")]
    let share = good as f64 / events as f64;
    (events > 0).then_some(share)
}
