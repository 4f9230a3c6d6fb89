//! States of now into gauges, once a second, replacing what was there: a partition that is gone vanishes at once.
//!
//! Also where lags of partitions become lags of (topic, group). Must not be run per event.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use super::{
    names::Names,
    sink,
    snapshot::{GroupTopic, seconds},
};
use crate::{
    event::{Name, Stamp},
    metrics::{Id, Recorder},
    sli::{
        Engine, GroupStatus, PartitionLag, ProgressState, ReaderStatus, TopicHealth, TopicSchemas,
    },
};

/// Lag of one (topic, group): records summed, seconds the worst.
pub(super) type LagTable = BTreeMap<(Name, Name), GroupTopic>;

/// Sums partitions up.
pub(super) fn lag_table(lags: &[PartitionLag], names: &mut Names) -> LagTable {
    let mut table = LagTable::new();
    for PartitionLag {
        group,
        topic,
        partition,
        lag,
    } in lags
    {
        let key = (names.label(topic), names.label(group));
        let entry = table.entry(key).or_insert_with(|| GroupTopic::new(topic));
        entry.add(*partition, lag);
    }
    table
}

/// Sets the lag gauges.
pub(super) fn lag(
    table: &LagTable,
    lags: &[PartitionLag],
    partitions: bool,
    recorder: &mut Recorder,
    names: &mut Names,
) {
    let rows = || table.iter().map(|((t, g), row)| ([&**t, &**g], row));
    recorder.replace(
        Id::ConsumerLagRecords,
        rows().map(|(labels, row)| (labels, count(row.lag_records))),
    );
    recorder.replace(
        Id::ConsumerLagSeconds,
        rows().map(|(labels, row)| (labels, row.lag_seconds_lower)),
    );
    recorder.replace(
        Id::ConsumerLagAge,
        rows().map(|(labels, row)| (labels, row.lag_age_seconds)),
    );
    let bounds = rows().flat_map(|([topic, group], row)| {
        let upper = row.lag_seconds_upper.unwrap_or(f64::INFINITY);
        [
            ([topic, group, "lower"], row.lag_seconds_lower),
            ([topic, group, "upper"], upper),
        ]
    });
    recorder.replace(Id::ConsumerLagSecondsBound, bounds);
    if partitions {
        by_partition(lags, recorder, names);
    }
}

fn by_partition(lags: &[PartitionLag], recorder: &mut Recorder, names: &mut Names) {
    let mut records: BTreeMap<(Name, Name, String), (u64, i64)> = BTreeMap::new();
    for l in lags {
        let key = (
            names.label(&l.topic),
            names.label(&l.group),
            l.partition.to_string(),
        );
        let (sum, worst) = records.entry(key).or_default();
        *sum = sum.saturating_add(l.lag.records);
        *worst = l.lag.lower_ms.max(*worst);
    }
    let rows = || {
        records
            .iter()
            .map(|((t, g, p), row)| ([&**t, &**g, p.as_str()], row))
    };
    recorder.replace(
        Id::ConsumerPartitionLagRecords,
        rows().map(|(labels, (sum, _))| (labels, count(*sum))),
    );
    recorder.replace(
        Id::ConsumerPartitionLagSeconds,
        rows().map(|(labels, (_, worst))| (labels, seconds(*worst))),
    );
}

/// Sets what is known of groups.
pub(super) fn groups(groups: &[GroupStatus], recorder: &mut Recorder, names: &mut Names) {
    let mut states: BTreeMap<(Name, &'static str), u64> = BTreeMap::new();
    let mut assigned: BTreeMap<(Name, Name), u64> = BTreeMap::new();
    let mut intervals: BTreeMap<Name, Duration> = BTreeMap::new();
    let mut gaps: BTreeMap<Name, Duration> = BTreeMap::new();
    for group in groups {
        let name = names.label(&group.group);
        for (state, members) in &group.states {
            let sum = states.entry((name.clone(), state.as_str())).or_default();
            *sum = sum.saturating_add(*members);
        }
        for (topic, partitions) in &group.assigned {
            let sum = assigned
                .entry((names.label(topic), name.clone()))
                .or_default();
            *sum = sum.saturating_add(*partitions);
        }
        worst(&mut intervals, &name, group.commit_interval);
        worst(&mut gaps, &name, group.poll_gap);
    }
    recorder.replace(
        Id::ConsumerMembers,
        states
            .iter()
            .map(|((group, state), n)| ([&**group, *state], count(*n))),
    );
    recorder.replace(
        Id::ConsumerAssignedPartitions,
        assigned
            .iter()
            .map(|((topic, group), n)| ([&**topic, &**group], count(*n))),
    );
    for (id, values) in [(Id::CommitInterval, &intervals), (Id::PollGap, &gaps)] {
        recorder.replace(
            id,
            values
                .iter()
                .map(|(group, d)| ([&**group], d.as_secs_f64())),
        );
    }
}

/// What is known of groups by topic, under the names of the page: (topic, group).
pub(super) type ReaderTable = BTreeMap<(Name, Name), ReaderStatus>;

/// Joins readers whose names are folded into one.
pub(super) fn reader_table(readers: ReaderTable, names: &mut Names) -> ReaderTable {
    let mut table = ReaderTable::new();
    for ((group, topic), status) in readers {
        let key = (names.label(&topic), names.label(&group));
        match table.entry(key) {
            Entry::Vacant(new) => {
                new.insert(status);
            }
            Entry::Occupied(known) => known.into_mut().join(&status),
        }
    }
    table
}

/// Adds what is known of readers to their lags.
pub(super) fn describe(lags: &mut LagTable, readers: &ReaderTable) {
    for (key, row) in lags {
        if let Some(status) = readers.get(key) {
            row.describe(status);
        }
    }
}

/// Sets what is known of groups by topic.
pub(super) fn readers(table: &ReaderTable, recorder: &mut Recorder) {
    let rows = || table.iter().map(|((t, g), row)| ([&**t, &**g], row));
    recorder.replace(
        Id::TimeToLoss,
        rows().filter_map(|(labels, row)| Some((labels, row.time_to_loss_seconds?))),
    );
    recorder.replace(
        Id::ConsumerDrain,
        rows().filter_map(|(labels, row)| Some((labels, row.drain_seconds?))),
    );
    let mut states: BTreeMap<(&Name, ProgressState), u64> = BTreeMap::new();
    for ((_, group), row) in table {
        for state in ProgressState::ALL {
            let sum = states.entry((group, state)).or_default();
            *sum = sum.saturating_add(row.states.get(&state).copied().unwrap_or(0));
        }
    }
    recorder.replace(
        Id::ConsumerState,
        states
            .iter()
            .map(|((group, state), n)| ([&***group, state.as_str()], count(*n))),
    );
}

/// Sets how evenly topics are written to; of those under one name the worst.
pub(super) fn skews(skews: &[(Name, f64)], recorder: &mut Recorder, names: &mut Names) {
    let mut worst: BTreeMap<Name, f64> = BTreeMap::new();
    for (topic, ratio) in skews {
        let known = worst.entry(names.label(topic)).or_default();
        *known = ratio.max(*known);
    }
    recorder.replace(Id::ProducedSkew, worst.iter().map(|(t, v)| ([&**t], *v)));
}

/// Keeps what an alert reads as long as there is a reader, whether it ever moves or not.
pub(super) fn keep(table: &LagTable, recorder: &mut Recorder) {
    for (topic, group) in table.keys() {
        sink::stand_at_zero(topic, group, recorder);
    }
}

fn worst(table: &mut BTreeMap<Name, Duration>, name: &Name, value: Option<Duration>) {
    if let Some(value) = value {
        let known = table.entry(name.clone()).or_default();
        *known = value.max(*known);
    }
}

/// Sets coverage and clock skew.
pub(super) fn health(topics: &[TopicHealth], recorder: &mut Recorder, names: &mut Names) {
    let mut coverage: BTreeMap<Name, f64> = BTreeMap::new();
    let mut skew: BTreeMap<Name, i64> = BTreeMap::new();
    for topic in topics {
        let name = names.label(&topic.topic);
        let least = coverage.entry(name.clone()).or_insert(1.0);
        *least = least.min(topic.coverage);
        if let Some(ms) = topic.skew_ms {
            let most = skew.entry(name).or_default();
            *most = ms.max(*most);
        }
    }
    recorder.replace(Id::Coverage, coverage.iter().map(|(t, v)| ([&**t], *v)));
    recorder.replace(
        Id::ClockSkew,
        skew.iter().map(|(t, ms)| ([&**t], seconds(*ms))),
    );
}

/// Sets what is known of single records.
pub(super) fn examined(
    engine: &mut Engine,
    now: Stamp,
    recorder: &mut Recorder,
    names: &mut Names,
) {
    let mut shares: BTreeMap<(Name, &'static str), f64> = BTreeMap::new();
    for ((topic, direction), share) in engine.examined() {
        let key = (names.label(&topic), direction.as_str());
        let least = shares.entry(key).or_insert(1.0);
        *least = least.min(share);
    }
    let rows = shares.iter();
    let rows = rows.map(|((topic, direction), share)| ([&**topic, *direction], *share));
    recorder.replace(Id::ExaminedRatio, rows);
    let mut poison: BTreeMap<(Name, Name), u64> = BTreeMap::new();
    for ((topic, group), records) in engine.poison() {
        let key = (names.label(&topic), names.label(&group));
        let sum = poison.entry(key).or_default();
        *sum = sum.saturating_add(records);
    }
    let rows = poison.iter();
    let rows = rows.map(|((topic, group), sum)| ([&**topic, &**group], count(*sum)));
    recorder.replace(Id::PoisonRecords, rows);
    schemas(&engine.schemas(now), recorder, names);
    let memory = engine.duplicate_memory(now);
    let window = memory.map(|m| ([""; 0], m.window.as_secs_f64()));
    recorder.replace(Id::DuplicateWindow, window);
    let wrong = memory.map(|m| ([""; 0], m.false_positives));
    recorder.replace(Id::DuplicateFalsePositives, wrong);
}

fn schemas(topics: &[TopicSchemas], recorder: &mut Recorder, names: &mut Names) {
    let mut rows: BTreeSet<(Name, Name, String, &'static str)> = BTreeSet::new();
    let mut drift: BTreeMap<Name, usize> = BTreeMap::new();
    for topic in topics {
        let name = names.label(&topic.topic);
        for of in &topic.versions {
            let subject = names.label(&of.subject);
            let version = of.version.to_string();
            rows.insert((name.clone(), subject, version, of.language));
        }
        // Several kinds of records in one topic, or keys beside values, are no drift.
        let subjects: BTreeSet<&Name> = topic.versions.iter().map(|of| &of.subject).collect();
        let more = topic.versions.len().saturating_sub(subjects.len());
        let most = drift.entry(name).or_default();
        *most = more.max(*most);
    }
    let info = rows.iter().map(|(topic, subject, version, language)| {
        ([&**topic, &**subject, version.as_str(), *language], 1.0)
    });
    recorder.replace(Id::SchemaVersions, info);
    let drift = drift.iter().map(|(topic, more)| {
        let more = u64::try_from(*more).unwrap_or(u64::MAX);
        ([&**topic], count(more))
    });
    recorder.replace(Id::SchemaDrift, drift);
}

/// Sets the software that was seen, and the size of the page itself.
pub(super) fn own(software: &BTreeSet<(Name, Name)>, recorder: &mut Recorder) {
    recorder.replace(
        Id::Client,
        software.iter().map(|(s, v)| ([&**s, &**v], 1.0)),
    );
    let series = u64::try_from(recorder.series()).unwrap_or(u64::MAX);
    recorder.replace(Id::Series, [([""; 0], count(series))]);
}

fn count(value: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let value = value as f64;
    value
}
