//! What the observer knows of a whole cluster, into families and the pages' snapshot.
//!
//! Here beside the sidecar's worker because both write through one recorder, one set of folded names and one snapshot. Must
//! not decide what a figure means.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    exporter,
    names::{Fold, Names},
    ownership::{Owned, Ownership},
    sink::Recording,
    snapshot::{GroupTopic, GroupView, Position, Snapshot, Snapshots, TopicView},
};
use crate::{
    event::{Name, Stamp},
    metrics::{Id, Metrics, Recorder},
    sli::{
        Measure, Sink, SliStatus,
        cluster::{ClusterSnapshot, ClusterView, GroupState, GroupTopicView, Replay},
    },
};

/// Looks between two searches for idle series.
const EXPIRE_LOOKS: u32 = 30;
/// Positions shown on the pages; past it topics are shown without them.
const POSITIONS_MAX: usize = 10_000;

/// Writes what the observer knows.
#[derive(Debug)]
pub struct Observed {
    recorder: Recorder,
    names: Names,
    owned: Owned,
    snapshots: Snapshots,
    shown: Shown,
    looks: u32,
}

/// What is shown beside the families that always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Lag by partition (`metrics.partitions`).
    pub partitions: bool,
    /// The names of kafka_exporter (`metrics.compatibility`).
    pub exporter: bool,
}

/// Groups of one label value in one topic.
#[derive(Debug)]
struct Row {
    records: u64,
    lower: f64,
    upper: Option<f64>,
    drain: Option<f64>,
    loss: Option<f64>,
    replay: Option<Replay>,
    lost: u64,
}

impl Row {
    fn of(view: &GroupTopicView) -> Self {
        Self {
            records: view.lag_records,
            lower: view.lag_seconds_lower,
            upper: view.lag_seconds_upper,
            drain: view.drain_seconds,
            loss: view.loss_seconds,
            replay: view.replay,
            lost: view.newly_lost,
        }
    }

    /// Two groups of one label value: sums, and the worse of both.
    fn join(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.lost = self.lost.saturating_add(other.lost);
        self.lower = self.lower.max(other.lower);
        self.upper = self.upper.zip(other.upper).map(|(a, b)| a.max(b));
        self.drain = self.drain.zip(other.drain).map(|(a, b)| a.max(b));
        self.loss = self.loss.zip(other.loss).map(|(a, b)| a.min(b));
        self.replay = match (self.replay, other.replay) {
            (Some(a), Some(b)) => Some(Replay {
                low: a.low.max(b.low),
                likely: a.likely.max(b.likely),
                high: a.high.max(b.high),
            }),
            (a, b) => a.or(b),
        };
    }
}

type Rows = BTreeMap<(Name, Name), Row>;

impl Sink for Observed {
    fn record(&mut self, measure: Measure<'_>) {
        let (recorder, names) = (&mut self.recorder, &mut self.names);
        Recording {
            recorder,
            names,
            notes: None,
        }
        .record(measure);
    }
}

impl Observed {
    /// Writes into `metrics`. `folds` as in [`super::Settings::names`].
    #[must_use]
    pub fn new(
        metrics: &Metrics,
        folds: Vec<Fold>,
        ownership: Ownership,
        shown: Shown,
        now: Instant,
    ) -> Self {
        Self {
            recorder: metrics.recorder(now),
            names: Names::new(folds),
            owned: Owned::new(ownership),
            snapshots: Snapshots::default(),
            shown,
            looks: 0,
        }
    }

    /// What the pages show.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// Says what time it is for everything written from now on.
    pub fn set_now(&mut self, now: Instant) {
        self.recorder.set_now(now);
    }

    /// Makes the counter of refusals of these APIs exist.
    pub fn expect_refusals(&mut self, apis: &[&'static str]) {
        for api in apis {
            self.recorder.touch(Id::ObserverRefusals, &[api]);
        }
    }

    /// Counts a question that was refused.
    pub fn refused(&mut self, api: &'static str) {
        self.recorder.add(Id::ObserverRefusals, &[api], 1);
    }

    /// Takes a look at a cluster: sets every gauge, and publishes the snapshot. `disks` is the used share by broker.
    pub fn show(
        &mut self,
        snapshot: &ClusterSnapshot,
        view: &ClusterView,
        disks: &BTreeMap<Name, f64>,
        took_seconds: f64,
        slis: Vec<SliStatus>,
    ) {
        let at = snapshot.at;
        self.recorder.set_now(at.mono);
        let mut rows = Rows::new();
        for one in &view.group_topics {
            let key = (self.names.label(&one.topic), self.names.label(&one.group));
            let row = Row::of(one);
            rows.entry(key)
                .and_modify(|known| known.join(&row))
                .or_insert(row);
        }
        self.lag(&rows);
        self.outlook(&rows);
        if self.shown.partitions {
            self.by_partition(view);
        }
        if self.shown.exporter {
            exporter::show(snapshot, view, &mut self.recorder);
        }
        self.groups(view);
        self.topics(view);
        self.cluster(view, disks, took_seconds);
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(EXPIRE_LOOKS) {
            self.recorder.expire();
        }
        self.snapshots.publish(pages(at, view, slis));
    }

    fn lag(&mut self, rows: &Rows) {
        let rows = || rows.iter().map(|((t, g), row)| ([&**t, &**g], row));
        self.recorder.replace(
            Id::GroupLagRecords,
            rows().map(|(labels, row)| (labels, count(row.records))),
        );
        self.recorder.replace(
            Id::GroupLagSeconds,
            rows().map(|(labels, row)| (labels, row.lower)),
        );
        let bounds = rows().flat_map(|([topic, group], row)| {
            let upper = row.upper.unwrap_or(f64::INFINITY);
            [
                ([topic, group, "lower"], row.lower),
                ([topic, group, "upper"], upper),
            ]
        });
        self.recorder.replace(Id::GroupLagSecondsBound, bounds);
        for (labels, row) in rows() {
            self.recorder.add(Id::GroupLostRecords, &labels, row.lost);
        }
    }

    fn outlook(&mut self, rows: &Rows) {
        let rows = || rows.iter().map(|((t, g), row)| ([&**t, &**g], row));
        self.recorder.replace(
            Id::GroupLagDrain,
            rows().filter_map(|(labels, row)| Some((labels, row.drain?))),
        );
        self.recorder.replace(
            Id::GroupTimeToLoss,
            rows().filter_map(|(labels, row)| Some((labels, row.loss?))),
        );
        let estimates = rows().filter_map(|(labels, row)| Some((labels, row.replay?)));
        let estimates = estimates.flat_map(|([topic, group], replay)| {
            [
                ([topic, group, "low"], replay.low),
                ([topic, group, "likely"], replay.likely),
                ([topic, group, "high"], replay.high),
            ]
        });
        self.recorder.replace(Id::ReplayEstimate, estimates);
    }

    fn by_partition(&mut self, view: &ClusterView) {
        let mut sums: BTreeMap<(Name, Name, String), u64> = BTreeMap::new();
        for one in &view.group_topics {
            for partition in &one.partitions {
                let key = (
                    self.names.label(&one.topic),
                    self.names.label(&one.group),
                    partition.partition.to_string(),
                );
                let sum = sums.entry(key).or_default();
                *sum = sum.saturating_add(partition.lag_records);
            }
        }
        let rows = sums.iter();
        self.recorder.replace(
            Id::GroupPartitionLagRecords,
            rows.map(|((t, g, p), sum)| ([&**t, &**g, p.as_str()], count(*sum))),
        );
    }

    fn groups(&mut self, view: &ClusterView) {
        // A group that nobody wants any more must not hide another one of the same label that stands still.
        let mut states: BTreeMap<Name, BTreeSet<GroupState>> = BTreeMap::new();
        let mut members: BTreeMap<Name, u64> = BTreeMap::new();
        let mut intervals: BTreeMap<Name, f64> = BTreeMap::new();
        for group in &view.groups {
            let name = self.names.label(&group.group);
            if let Some(state) = group.state {
                states.entry(name.clone()).or_default().insert(state);
            }
            if let Some(count) = group.members {
                let sum = members.entry(name.clone()).or_default();
                *sum = sum.saturating_add(u64::from(count));
            }
            if let Some(interval) = group.commit_interval_seconds {
                let longest = intervals.entry(name).or_default();
                *longest = longest.max(interval);
            }
        }
        let all = states.iter().flat_map(|(group, held)| {
            let is = |state| f64::from(u8::from(held.contains(&state)));
            GroupState::ALL.map(|state| ([&**group, state.as_str()], is(state)))
        });
        self.recorder.replace(Id::GroupState, all);
        let members = members.iter().map(|(g, n)| ([&**g], count(*n)));
        self.recorder.replace(Id::GroupMembers, members);
        let intervals = intervals.iter().map(|(g, seconds)| ([&**g], *seconds));
        self.recorder.replace(Id::GroupCommitInterval, intervals);
    }

    fn topics(&mut self, view: &ClusterView) {
        let mut skews: BTreeMap<Name, f64> = BTreeMap::new();
        let mut used: BTreeMap<Name, f64> = BTreeMap::new();
        for topic in &view.topics {
            let name = self.names.label(&topic.topic);
            for (table, value) in [(&mut skews, topic.skew), (&mut used, topic.retention_used)] {
                if let Some(value) = value {
                    let worst = table.entry(name.clone()).or_default();
                    *worst = worst.max(value);
                }
            }
        }
        let all = view
            .topics
            .iter()
            .map(|topic| self.names.label(&topic.topic));
        self.owned.show(all, &mut self.recorder);
        for (id, table) in [(Id::PartitionSkew, &skews), (Id::RetentionUsed, &used)] {
            let rows = table.iter().map(|(topic, value)| ([&**topic], *value));
            self.recorder.replace(id, rows);
        }
    }

    fn cluster(&mut self, view: &ClusterView, disks: &BTreeMap<Name, f64>, took_seconds: f64) {
        let brokers = view.brokers.iter();
        self.recorder.replace(
            Id::BrokerUp,
            brokers.map(|(node, up)| ([&**node], f64::from(u8::from(*up)))),
        );
        let disks = disks.iter().map(|(node, used)| ([&**node], *used));
        self.recorder.replace(Id::LogDirUsed, disks);
        let series = u64::try_from(self.recorder.series()).unwrap_or(u64::MAX);
        for (id, value) in [
            (Id::UnderReplicated, count(view.under_replicated)),
            (Id::Offline, count(view.offline)),
            (Id::ObserverCycle, took_seconds),
            (Id::Series, count(series)),
        ] {
            self.recorder.replace(id, [([""; 0], value)]);
        }
    }

    /// Nothing is known of the cluster this time: no broker says how it is laid out. Only who is down is known.
    pub fn dark(&mut self, at: Stamp, brokers: &[Name]) {
        self.recorder.set_now(at.mono);
        for id in [
            Id::GroupLagRecords,
            Id::GroupLagSeconds,
            Id::GroupLagSecondsBound,
            Id::GroupLagDrain,
            Id::GroupTimeToLoss,
            Id::GroupPartitionLagRecords,
            Id::GroupState,
            Id::GroupMembers,
            Id::GroupCommitInterval,
            Id::ReplayEstimate,
            Id::PartitionSkew,
            Id::RetentionUsed,
            Id::LogDirUsed,
            Id::UnderReplicated,
            Id::Offline,
            Id::ExporterBrokers,
            Id::ExporterTopicPartitions,
            Id::ExporterCurrentOffset,
            Id::ExporterOldestOffset,
            Id::ExporterInSync,
            Id::ExporterReplicas,
            Id::ExporterLeader,
            Id::ExporterUnderReplicated,
            Id::ExporterGroupOffset,
            Id::ExporterGroupLag,
            Id::ExporterGroupLagSum,
            Id::ExporterGroupMembers,
        ] {
            self.recorder
                .replace(id, std::iter::empty::<([&str; 0], f64)>());
        }
        let down = brokers.iter().map(|node| ([&**node], 0.0));
        self.recorder.replace(Id::BrokerUp, down);
    }
}

/// The pages' copy.
fn pages(at: Stamp, view: &ClusterView, slis: Vec<SliStatus>) -> Snapshot {
    let mut of_group: BTreeMap<&Name, Vec<GroupTopic>> = BTreeMap::new();
    let mut readers: BTreeMap<&Name, Vec<Name>> = BTreeMap::new();
    let mut room = POSITIONS_MAX;
    for one in &view.group_topics {
        let shown = if one.partitions.len() <= room {
            one.partitions.as_slice()
        } else {
            &[]
        };
        room = room.saturating_sub(shown.len());
        let positions = shown.iter().map(|partition| Position {
            partition: partition.partition,
            committed: partition.committed,
            end: partition.end,
            lag_records: partition.lag_records,
            delivered: 0,
        });
        of_group.entry(&one.group).or_default().push(GroupTopic {
            topic: Arc::clone(&one.topic),
            partitions: u64::try_from(one.partitions.len()).unwrap_or(0),
            lag_records: one.lag_records,
            lag_seconds_lower: one.lag_seconds_lower,
            lag_seconds_upper: one.lag_seconds_upper,
            lag_age_seconds: 0.0,
            states: BTreeMap::new(),
            drain_seconds: one.drain_seconds.filter(|s| s.is_finite()),
            time_to_loss_seconds: one.loss_seconds.filter(|s| s.is_finite()),
            positions: positions.collect(),
        });
        let groups = readers.entry(&one.topic).or_default();
        groups.push(Arc::clone(&one.group));
    }
    let groups = view.groups.iter().map(|group| GroupView {
        group: Arc::clone(&group.group),
        members: group
            .state
            .zip(group.members)
            .map(|(state, members)| (state.as_str(), u64::from(members)))
            .into_iter()
            .collect(),
        assigned_partitions: 0,
        commit_interval_seconds: group.commit_interval_seconds,
        poll_gap_seconds: None,
        topics: of_group.remove(&group.group).unwrap_or_default(),
    });
    let groups = groups.collect();
    let topics = view.topics.iter().map(|topic| TopicView {
        topic: Arc::clone(&topic.topic),
        producers: 0,
        consumers: 0,
        groups: readers.remove(&topic.topic).unwrap_or_default(),
        coverage_ratio: None,
        clock_skew_seconds: None,
    });
    Snapshot {
        at_ms: at.wall_ms,
        slis,
        groups,
        topics: topics.collect(),
        ..Snapshot::default()
    }
}

fn count(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let value = value as f64;
    value
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::{
        metrics,
        sli::cluster::{self, GroupView as Group},
    };

    fn shown(view: &ClusterView) -> (Arc<Metrics>, Observed) {
        let metrics = Metrics::new(&metrics::Settings {
            max_series: 1_000,
            latency_bounds: vec![1.0],
            push: false,
        });
        let metrics = Arc::new(metrics.unwrap());
        let fold = Fold {
            pattern: Regex::new("^console-").unwrap(),
            label: "console".into(),
        };
        let beside = Shown {
            partitions: false,
            exporter: false,
        };
        let mut observed = Observed::new(
            &metrics,
            vec![fold],
            Ownership::default(),
            beside,
            Instant::now(),
        );
        let snapshot = ClusterSnapshot {
            at: Stamp::now(),
            brokers: Vec::new(),
            topics: Vec::new(),
            groups: Vec::new(),
        };
        observed.show(&snapshot, view, &BTreeMap::new(), 0.1, Vec::new());
        (metrics, observed)
    }

    fn group(name: &str, state: GroupState) -> Group {
        Group {
            group: name.into(),
            state: Some(state),
            members: Some(1),
            commit_interval_seconds: Some(5.0),
        }
    }

    /// Labels of every series of a family that is not 0.
    fn raised(metrics: &Metrics, name: &str) -> Vec<String> {
        let gathered = metrics.gather();
        let of = gathered.iter().filter(|(family, _)| family.name == name);
        let series = of.flat_map(|(_, series)| series.get_metric());
        let raised = series.filter(|one| one.get_gauge().get_value() > 0.0);
        let text = |one: &metrics::proto::Metric| {
            let labels = one.get_label().iter().filter(|l| l.name() != "cluster");
            labels.map(|l| l.value()).collect::<Vec<_>>().join(" ")
        };
        let mut raised: Vec<String> = raised.map(text).collect();
        raised.sort();
        raised
    }

    #[test]
    fn a_folded_name_shows_the_state_of_each_of_its_groups() {
        let view = ClusterView {
            groups: vec![
                group("console-1", GroupState::Abandoned),
                group("console-2", GroupState::Stalled),
                group("billing", GroupState::Ok),
            ],
            ..ClusterView::default()
        };
        let (metrics, _) = shown(&view);
        let name = "throughline_group_state";
        let wanted = ["billing ok", "console abandoned", "console stalled"];
        assert_eq!(raised(&metrics, name), wanted);
    }

    #[test]
    fn nothing_is_known_of_groups_while_no_broker_answers() {
        let topic = GroupTopicView {
            group: "billing".into(),
            topic: "orders".into(),
            lag_records: 3,
            lag_seconds_lower: 2.0,
            lag_seconds_upper: Some(2.0),
            drain_seconds: Some(1.0),
            loss_seconds: Some(9.0),
            replay: Some(Replay {
                low: 1.0,
                likely: 2.0,
                high: 3.0,
            }),
            newly_lost: 0,
            partitions: Vec::new(),
        };
        let view = ClusterView {
            groups: vec![group("billing", GroupState::Warn)],
            group_topics: vec![topic],
            topics: vec![cluster::TopicView {
                topic: "orders".into(),
                skew: Some(1.0),
                retention_used: Some(0.1),
            }],
            ..ClusterView::default()
        };
        let (metrics, mut observed) = shown(&view);
        let about = |name: &str| name.contains("_group_") || name.contains("_replay_");
        let gauges = |metrics: &Metrics| {
            let gathered = metrics.gather();
            let of = gathered.iter().filter(|(family, series)| {
                let gauge = family.kind == metrics::Kind::Gauge;
                gauge && about(family.name) && !series.get_metric().is_empty()
            });
            of.map(|(family, _)| family.name).collect::<Vec<_>>()
        };
        assert_eq!(gauges(&metrics).len(), 9, "{:?}", gauges(&metrics));
        observed.dark(Stamp::now(), &["1".into()]);
        assert_eq!(gauges(&metrics), [""; 0]);
    }
}
