//! What the pages show: an immutable copy, published by the worker at most once a second.
//!
//! Readers take the newest copy and hold nothing of the worker. Must not hold a lock while it is read.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::gauges::LagTable;
use crate::{
    catalog::{ClientStatus, ConnectionStatus},
    event::Name,
    lineage::{Edge, Sighting},
    sli::{GroupStatus, Lag, ReaderStatus, SliStatus},
};

/// One group's progress in one topic, this pod's partitions only.
#[derive(Debug, Clone, Serialize)]
pub struct GroupTopic {
    /// Topic.
    pub topic: Name,
    /// Partitions that are fetched and whose position is known.
    pub partitions: u64,
    /// Sum over them.
    pub lag_records: u64,
    /// Worst of them: the first uncommitted record is at least this old.
    pub lag_seconds_lower: f64,
    /// And at most this; absent where it is not known.
    pub lag_seconds_upper: Option<f64>,
    /// Age of the oldest end offset in it.
    pub lag_age_seconds: f64,
    /// Partitions in each state of progress; those of which nothing can be said are left out.
    pub states: BTreeMap<&'static str, u64>,
    /// Estimated time until there is no lag; absent where it does not drain.
    pub drain_seconds: Option<f64>,
    /// Estimated time until retention reaches the group; absent where it does not come nearer.
    pub time_to_loss_seconds: Option<f64>,
    /// Each of the partitions.
    pub positions: Vec<Position>,
}

/// One group's progress in one partition.
#[derive(Debug, Clone, Serialize)]
pub struct Position {
    /// Partition.
    pub partition: i32,
    /// Offset the group committed.
    pub committed: i64,
    /// End as last seen.
    pub end: i64,
    /// Records after the committed offset.
    pub lag_records: u64,
    /// Records delivered since the partition was first seen.
    pub delivered: u64,
}

impl GroupTopic {
    pub(super) fn new(topic: &Name) -> Self {
        Self {
            topic: Arc::clone(topic),
            partitions: 0,
            lag_records: 0,
            lag_seconds_lower: 0.0,
            lag_seconds_upper: Some(0.0),
            lag_age_seconds: 0.0,
            states: BTreeMap::new(),
            drain_seconds: None,
            time_to_loss_seconds: None,
            positions: Vec::new(),
        }
    }

    pub(super) fn describe(&mut self, status: &ReaderStatus) {
        let states = status.states.iter();
        self.states = states.map(|(state, n)| (state.as_str(), *n)).collect();
        self.drain_seconds = status.drain_seconds;
        self.time_to_loss_seconds = status.time_to_loss_seconds;
    }

    pub(super) fn add(&mut self, partition: i32, lag: &Lag) {
        self.positions.push(Position {
            partition,
            committed: lag.committed,
            end: lag.end,
            lag_records: lag.records,
            delivered: lag.delivered,
        });
        self.partitions = self.partitions.saturating_add(1);
        self.lag_records = self.lag_records.saturating_add(lag.records);
        self.lag_seconds_lower = self.lag_seconds_lower.max(seconds(lag.lower_ms));
        self.lag_seconds_upper = self
            .lag_seconds_upper
            .zip(lag.upper_ms)
            .map(|(known, upper)| known.max(seconds(upper)));
        self.lag_age_seconds = self.lag_age_seconds.max(lag.age.as_secs_f64());
    }
}

/// One group as seen from this pod.
#[derive(Debug, Clone, Serialize)]
pub struct GroupView {
    /// Group.
    pub group: Name,
    /// This pod's members by state.
    pub members: BTreeMap<&'static str, u64>,
    /// Partitions assigned to this pod's members.
    pub assigned_partitions: u64,
    /// Smoothed commit interval; absent until measured.
    pub commit_interval_seconds: Option<f64>,
    /// Time since a member's client last had a fetch answered.
    pub poll_gap_seconds: Option<f64>,
    /// By topic.
    pub topics: Vec<GroupTopic>,
}

/// One topic as seen from this pod.
#[derive(Debug, Clone, Serialize)]
pub struct TopicView {
    /// Topic.
    pub topic: Name,
    /// Clients that produced to it.
    pub producers: u64,
    /// Clients that fetched from it.
    pub consumers: u64,
    /// Groups that read it here.
    pub groups: Vec<Name>,
    /// Share of delivered records whose latency is certain.
    pub coverage_ratio: Option<f64>,
    /// How far publish times lie in the future.
    pub clock_skew_seconds: Option<f64>,
}

/// Everything the pages show.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// When it was taken, ms since the Unix epoch; 0 before the first.
    pub at_ms: i64,
    /// SLI pairs.
    pub slis: Vec<SliStatus>,
    /// Groups.
    pub groups: Vec<GroupView>,
    /// Topics.
    pub topics: Vec<TopicView>,
    /// Which topic the program makes from which.
    pub lineage: Vec<Edge>,
    /// What was seen of recorded traces lately, newest first.
    pub traces: Vec<Arc<Sighting>>,
    /// Clients.
    pub clients: Vec<ClientStatus>,
    /// Open connections.
    pub connections: Vec<ConnectionStatus>,
}

/// The newest snapshot; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Snapshots(Arc<ArcSwap<Snapshot>>);

impl Snapshots {
    /// The newest.
    #[must_use]
    pub fn latest(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.0.store(Arc::new(snapshot));
    }
}

/// Groups with their lags.
pub(super) fn group_views(groups: Vec<GroupStatus>, table: &LagTable) -> Vec<GroupView> {
    let mut topics: BTreeMap<&Name, Vec<GroupTopic>> = BTreeMap::new();
    for ((_, group), row) in table {
        topics.entry(group).or_default().push(row.clone());
    }
    groups
        .into_iter()
        .map(|status| GroupView {
            members: status
                .states
                .iter()
                .map(|(state, count)| (state.as_str(), *count))
                .collect(),
            assigned_partitions: status.assigned.values().sum(),
            commit_interval_seconds: status.commit_interval.map(|d| d.as_secs_f64()),
            poll_gap_seconds: status.poll_gap.map(|d| d.as_secs_f64()),
            topics: topics.remove(&status.group).unwrap_or_default(),
            group: status.group,
        })
        .collect()
}

pub(super) fn seconds(ms: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 ms")]
    let seconds = ms as f64 / 1e3;
    seconds
}
