//! What the observer knows, once more under the names of kafka_exporter, where that is asked for.
//!
//! So that boards and scalers made for that exporter go on working. The figures are ours: markers at the tail are no lag.
//! Must not hold a figure of its own.

use crate::{
    metrics::{Id, Recorder},
    sli::cluster::{ClusterSnapshot, ClusterView, PartitionSeen},
};

type Labels<'a> = ([&'a str; 2], f64);

/// Sets all of its gauges.
pub(super) fn show(snapshot: &ClusterSnapshot, view: &ClusterView, recorder: &mut Recorder) {
    let up = snapshot.brokers.iter().filter(|broker| broker.up).count();
    recorder.replace(Id::ExporterBrokers, [([""; 0], float(up))]);
    let topics = snapshot.topics.iter();
    let counts = topics.map(|topic| ([&*topic.name], float(topic.partitions.len())));
    recorder.replace(Id::ExporterTopicPartitions, counts);
    let names = numbers(snapshot);
    let number = |partition: i32| names.get(usize::try_from(partition).ok()?);
    let each = |id: Id, figure: fn(&PartitionSeen) -> Option<f64>, recorder: &mut Recorder| {
        let all = snapshot.topics.iter().flat_map(|topic| {
            let partitions = topic.partitions.iter();
            partitions.filter_map(|partition| -> Option<Labels<'_>> {
                let name = number(partition.partition)?;
                Some(([&*topic.name, name], figure(partition)?))
            })
        });
        recorder.replace(id, all);
    };
    each(Id::ExporterCurrentOffset, |p| p.end.map(signed), recorder);
    each(Id::ExporterOldestOffset, |p| p.start.map(signed), recorder);
    each(Id::ExporterInSync, |p| Some(f64::from(p.in_sync)), recorder);
    each(
        Id::ExporterReplicas,
        |p| Some(f64::from(p.replicas)),
        recorder,
    );
    each(Id::ExporterLeader, |p| p.leader.map(f64::from), recorder);
    let short = |p: &PartitionSeen| Some(f64::from(u8::from(p.in_sync < p.replicas)));
    each(Id::ExporterUnderReplicated, short, recorder);
    groups(view, &names, recorder);
}

fn groups(view: &ClusterView, names: &[String], recorder: &mut Recorder) {
    let rows = |committed: bool| {
        view.group_topics.iter().flat_map(move |one| {
            one.partitions.iter().filter_map(move |partition| {
                let name = names.get(usize::try_from(partition.partition).ok()?)?;
                #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
                let lag = partition.lag_records as f64;
                let value = if committed {
                    signed(partition.committed)
                } else {
                    lag
                };
                Some(([&*one.group, &*one.topic, name.as_str()], value))
            })
        })
    };
    recorder.replace(Id::ExporterGroupOffset, rows(true));
    recorder.replace(Id::ExporterGroupLag, rows(false));
    let sums = view.group_topics.iter().map(|one| {
        #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
        let lag = one.lag_records as f64;
        ([&*one.group, &*one.topic], lag)
    });
    recorder.replace(Id::ExporterGroupLagSum, sums);
    let members = view.groups.iter();
    let members = members.filter_map(|g| Some(([&*g.group], f64::from(g.members?))));
    recorder.replace(Id::ExporterGroupMembers, members);
}

/// Partition numbers as text, each made once.
fn numbers(snapshot: &ClusterSnapshot) -> Vec<String> {
    let partitions = snapshot.topics.iter().flat_map(|topic| &topic.partitions);
    let most = partitions.map(|p| p.partition).max();
    most.map_or_else(Vec::new, |most| (0..=most).map(|n| n.to_string()).collect())
}

fn float(count: usize) -> f64 {
    signed(i64::try_from(count).unwrap_or(i64::MAX))
}

fn signed(value: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let value = value as f64;
    value
}
