//! One look at the cluster after the other: what is asked, of whom, how often, in which order.
//!
//! Positions before ends, so that a group that keeps up never seems to be behind where the partition ends. What is not
//! answered stays unknown for this look. Must not judge: `sli::cluster` does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    super::sidecar::until_true,
    directory::{Directory, GROUPS_MAX, Own},
    refusals::{Needs, Refusals, is_refusal},
    scope::Scope,
};
use crate::{
    admin::Readiness,
    event::{Name, Stamp},
    kafka::control::{
        Answers, AskedGroup, ClusterClient, ClusterLayout, Disk, Edge, GroupKind, LOGIN_PAUSE,
        PartitionLayout, PartitionName, ProbeError, Retention, Sought, TopicLayout, Visible,
    },
    metrics::Metrics,
    pipeline::Observed,
    sli::cluster::{
        BrokerSeen, ClusterSnapshot, DiskSeen, Found, GroupSeen, PartitionSeen, RetentionSeen,
        Seen, TopicSeen, Wanted, Watched,
    },
};

/// Between two questions about our rights.
const RIGHTS_EVERY: Duration = Duration::from_secs(3_600);
/// Between two questions about members.
const MEMBERS_EVERY: Duration = Duration::from_secs(20);
/// Between two questions about disks.
const DISKS_EVERY: Duration = Duration::from_secs(60);
/// Between two questions about how a topic forgets.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// Name of the cluster as a resource.
const CLUSTER: &str = "kafka-cluster";
/// NOT_COORDINATOR.
const NOT_COORDINATOR: i16 = 16;

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct Known {
    refusals: Refusals,
    directory: Directory,
    may_describe_cluster: Option<bool>,
    rights_at: Option<Instant>,
    topic_rights_at: Option<Instant>,
    members_at: Option<Instant>,
    disks_at: Option<Instant>,
    scope: Scope,
    retention_at: Option<Instant>,
    disks: BTreeMap<i32, DiskSeen>,
    retentions: HashMap<Arc<str>, Retention>,
    brokers: BTreeSet<i32>,
    login_refused: bool,
    said: Option<String>,
}

/// Everything a look needs.
#[derive(Debug)]
pub(super) struct Cycle {
    pub(super) client: ClusterClient,
    pub(super) watched: Watched,
    pub(super) observed: Observed,
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) cluster_name: Option<String>,
    /// Between the beginnings of two looks.
    pub(super) every: Duration,
    /// Bytes that each broker may hold, where that is less than its disk, or it cannot tell the size of that.
    pub(super) quota_bytes: Option<u64>,
    pub(super) known: Known,
    /// What the canary uses, which is nobody's workload.
    pub(super) own: Option<Own>,
}

/// Positions of a group, and of a share group what is not settled behind each.
type Held = (Vec<(PartitionName, i64)>, Vec<u64>);
/// By group, where it was told.
type Positions = HashMap<Arc<str>, Held>;
/// Offsets by edge and partition.
type Edges = HashMap<PartitionName, [Option<i64>; 3]>;

fn due(at: &mut Option<Instant>, every: Duration, now: Instant) -> bool {
    let due = at.is_none_or(|at| now.saturating_duration_since(at) >= every);
    if due {
        *at = Some(now);
    }
    due
}

impl Cycle {
    /// Looks again and again until told to stop.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) {
        let apis = Needs::ALL.map(Needs::api);
        self.observed.expect_refusals(&apis);
        let mut ticks = interval(self.every);
        // A look that took too long is followed by the next, not by those it missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = until_true(stopped);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = ticks.tick() => {}
            }
            let look = async {
                self.look().await;
                if std::mem::take(&mut self.known.login_refused) {
                    tokio::time::sleep(LOGIN_PAUSE).await;
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = look => {}
            }
        }
    }

    async fn look(&mut self) {
        let began = Instant::now();
        self.known.refusals.expire(began);
        let rights = due(&mut self.known.topic_rights_at, RIGHTS_EVERY, began);
        let layout = match self.client.layout(rights).await {
            Ok(layout) => Own::hide_topic(self.own.as_ref(), layout),
            Err((broker, fault)) => {
                self.known.login_refused = fault.is_refused_login();
                self.known.topic_rights_at = None;
                self.dark(format!("{broker}: {fault}"));
                return;
            }
        };
        self.topic_rights(&layout, began);
        self.name_cluster(&layout);
        let all = brokers(&layout);
        let up = self.probe(&all).await;
        self.readiness.open(
            "broker",
            format!("{} of {} brokers answered", up.len(), all.len()),
        );
        self.rights(&up, began).await;
        self.groups(&up).await;
        self.members(&up, began).await;
        self.hidden(&layout, &up, began).await;
        let positions = self.positions(&layout, &up, began).await;
        let edges = self.edges(&layout, &up).await;
        let at = Stamp::now();
        self.disks(&up, began).await;
        self.retentions(&layout, &up, began).await;
        let snapshot = self.snapshot(at, &layout, &all, &up, positions, &edges);
        let wanted = self.watched.wanted(&snapshot);
        let found = self.first_records(&layout, &up, wanted).await;
        let view = self.watched.take(&snapshot, &found, &mut self.observed);
        let slis = self.watched.slis();
        let disks = self.known.disks.iter();
        let disks = disks.filter_map(|(node, disk)| match disk {
            DiskSeen::Used(used) => Some((Name::from(node.to_string()), *used)),
            _ => None,
        });
        let took = began.elapsed().as_secs_f64();
        self.observed
            .show(&snapshot, &view, &disks.collect(), took, slis);
        self.say(took);
    }

    /// Nobody says how the cluster is laid out.
    fn dark(&mut self, reason: String) {
        let nodes = self.known.brokers.iter();
        let nodes: Vec<Name> = nodes.map(|node| node.to_string().into()).collect();
        let at = Stamp::now();
        self.watched.dark(at, &nodes, &mut self.observed);
        self.observed.dark(at, &nodes);
        self.readiness.close("broker", reason.clone());
        self.readiness
            .close("look", "no broker answered the last one");
        // Said once per reason, not once per look.
        if self.known.said.as_deref() != Some(&reason) {
            tracing::warn!(%reason, "no broker; trying on");
            self.known.said = Some(reason);
        }
    }

    fn name_cluster(&mut self, layout: &ClusterLayout) {
        if let (None, Some(id)) = (&self.cluster_name, &layout.id)
            && self.metrics.cluster().as_str() != id
        {
            self.metrics.set_cluster(id);
        }
        if self.known.said.take().is_some() || self.known.brokers.is_empty() {
            tracing::info!(
                cluster = layout.id.as_deref().unwrap_or("unknown"),
                brokers = layout.brokers.len(),
                topics = layout.topics.len(),
                "cluster found"
            );
        }
    }

    /// What we know that we may not, we need not be refused.
    fn topic_rights(&mut self, layout: &ClusterLayout, now: Instant) {
        for topic in layout.topics.iter().filter(|topic| !topic.internal) {
            for (needs, may) in [
                (Needs::TopicRecords, topic.may_read),
                (Needs::TopicConfigs, topic.may_describe_configs),
            ] {
                if may == Some(false) {
                    self.known.refusals.note(now, needs, &topic.name);
                }
            }
        }
    }

    async fn probe(&mut self, all: &BTreeSet<i32>) -> Vec<i32> {
        let nodes: Vec<i32> = all.iter().copied().collect();
        let mut up = Vec::new();
        for (node, answer) in self.client.probe(&nodes).await {
            match answer {
                Ok(()) => up.push(node),
                Err(fault) if self.known.brokers.contains(&node) => {
                    tracing::debug!(node, %fault, "a broker did not answer");
                }
                Err(fault) => tracing::warn!(node, %fault, "a broker does not answer"),
            }
        }
        self.known.brokers.clone_from(all);
        up.sort_unstable();
        up
    }

    async fn rights(&mut self, up: &[i32], now: Instant) {
        let (Some(node), true) = (
            up.first(),
            due(&mut self.known.rights_at, RIGHTS_EVERY, now),
        ) else {
            return;
        };
        match self.client.rights(*node).await {
            Ok(rights) => {
                self.known.may_describe_cluster = rights.may_describe_cluster;
                self.client.take_addresses(&rights.brokers);
            }
            // Older brokers do not tell; what is refused will be seen.
            Err(ProbeError::Unspoken(_)) => {}
            Err(fault) => {
                tracing::debug!(%fault, "our rights were not told");
                self.known.rights_at = None;
            }
        }
    }

    async fn groups(&mut self, up: &[i32]) {
        let mut listed = Vec::new();
        for (node, answer) in self.client.groups(up).await {
            match answer {
                Ok(mut told) if told.error_code == 0 => {
                    Own::hide_group(self.own.as_ref(), &mut told.value);
                    listed.push((node, told.value));
                }
                Ok(told) => tracing::debug!(node, code = told.error_code, "groups not listed"),
                Err(fault) => tracing::debug!(node, %fault, "groups not listed"),
            }
        }
        self.known.directory.learn(listed);
        if self.known.directory.left_out > 0 {
            let left_out = self.known.directory.left_out;
            tracing::warn!(left_out, limit = GROUPS_MAX, "more groups than are watched");
        }
    }

    async fn members(&mut self, up: &[i32], now: Instant) {
        // As often as there are looks, where these are rare.
        if !due(
            &mut self.known.members_at,
            MEMBERS_EVERY.min(self.every * 3),
            now,
        ) {
            return;
        }
        let mut asked: BTreeMap<i32, Vec<(Arc<str>, GroupKind)>> = BTreeMap::new();
        for (name, entry) in &self.known.directory.groups {
            let countable = entry.kind != GroupKind::Streams;
            let allowed = self.known.refusals.allow(Needs::Group, name);
            if countable && allowed && up.contains(&entry.coordinator) {
                let of = asked.entry(entry.coordinator).or_default();
                of.push((Arc::clone(name), entry.kind));
            }
        }
        for (node, answer) in self.client.members(asked).await {
            let counts = match answer {
                Ok(counts) => counts,
                Err(fault) => {
                    tracing::debug!(node, %fault, "members not told");
                    continue;
                }
            };
            for (group, count) in counts {
                if let Err(code) = count {
                    self.refused(Needs::Group, code, &group);
                }
                self.known.directory.count(&group, count.ok());
            }
        }
    }

    /// Notes a refusal; whether it was one.
    fn refused(&mut self, needs: Needs, code: i16, resource: &Arc<str>) -> bool {
        if !is_refusal(code) {
            return false;
        }
        self.observed.refused(needs.api());
        self.known.refusals.note(Instant::now(), needs, resource);
        true
    }

    /// Which topics are there that we may not describe: then groups must not be asked for all their topics, because a broker
    /// logs each hidden one as denied.
    async fn hidden(&mut self, layout: &ClusterLayout, up: &[i32], now: Instant) {
        let cluster: Arc<str> = CLUSTER.into();
        let allowed = self.known.may_describe_cluster != Some(false)
            && self.known.refusals.allow(Needs::ClusterDisks, &cluster);
        if !allowed {
            self.known.scope.cannot_tell();
            return;
        }
        if !self.known.scope.is_due(now) {
            return;
        }
        let mut stored = BTreeSet::new();
        let mut whole = true;
        for (node, answer) in self.client.stored_topics(up).await {
            match answer {
                Ok(told) if told.error_code == 0 => stored.extend(told.value),
                Ok(told) => {
                    self.refused(Needs::ClusterDisks, told.error_code, &cluster);
                }
                // Too old to tell: all that is there may be asked for.
                Err(ProbeError::Unspoken(_)) => {}
                Err(fault) => {
                    tracing::debug!(node, %fault, "stored topics not told");
                    whole = false;
                }
            }
        }
        self.known.scope.learn(now, stored, layout, whole);
    }

    async fn positions(&mut self, layout: &ClusterLayout, up: &[i32], now: Instant) -> Positions {
        let topics = layout.topics.iter();
        let names: Arc<HashMap<Arc<str>, ()>> =
            Arc::new(topics.map(|t| (Arc::clone(&t.name), ())).collect());
        let mut asking = self.known.scope.asking(now, layout);
        let mut asked: BTreeMap<i32, Vec<AskedGroup>> = BTreeMap::new();
        for (name, entry) in &self.known.directory.groups {
            let allowed = self.known.refusals.allow(Needs::Group, name);
            if allowed && up.contains(&entry.coordinator) {
                let of = asked.entry(entry.coordinator).or_default();
                of.push(AskedGroup {
                    group: Arc::clone(name),
                    share: entry.kind == GroupKind::Share,
                    topics: self.known.scope.topics_of(name, &mut asking),
                });
            }
        }
        let mut positions = Positions::new();
        let mut strayed = Vec::new();
        for (node, answer) in self.client.positions(asked, &names).await {
            let told = match answer {
                Ok(told) => told,
                Err(fault) => {
                    tracing::debug!(node, %fault, "positions not told");
                    continue;
                }
            };
            for group in told {
                match group.positions {
                    Ok(held) => {
                        self.known.scope.has(&group.group, &held);
                        positions.insert(group.group, (held, group.unsettled));
                    }
                    Err(NOT_COORDINATOR) => strayed.push(group.group),
                    Err(code) => {
                        self.refused(Needs::Group, code, &group.group);
                    }
                }
            }
        }
        self.known.scope.keep(&self.known.directory.groups);
        if let (false, Some(node)) = (strayed.is_empty(), up.first()) {
            self.find(*node, strayed).await;
        }
        positions
    }

    /// Asks who coordinates these groups now; they are asked about again in the next look.
    async fn find(&mut self, node: i32, groups: Vec<Arc<str>>) {
        match self.client.coordinators(node, groups).await {
            Ok(found) => {
                for (group, at) in found {
                    match at {
                        Ok(node) => self.known.directory.moved(&group, node),
                        Err(code) => {
                            self.refused(Needs::Group, code, &group);
                        }
                    }
                }
            }
            Err(fault) => tracing::debug!(%fault, "coordinators not told"),
        }
    }

    async fn edges(&mut self, layout: &ClusterLayout, up: &[i32]) -> Edges {
        let mut led: BTreeMap<i32, Vec<PartitionName>> = BTreeMap::new();
        for topic in layout.topics.iter().filter(|topic| !topic.internal) {
            if !self.known.refusals.allow(Needs::TopicEnds, &topic.name) {
                continue;
            }
            for partition in &topic.partitions {
                if let Some(node) = partition.leader.filter(|node| up.contains(node)) {
                    let of = led.entry(node).or_default();
                    of.push((Arc::clone(&topic.name), partition.partition));
                }
            }
        }
        let led: BTreeMap<i32, Arc<Vec<PartitionName>>> = led
            .into_iter()
            .map(|(node, partitions)| (node, Arc::new(partitions)))
            .collect();
        let mut edges = Edges::new();
        for (place, edge) in [Edge::Start, Edge::Stable, Edge::End]
            .into_iter()
            .enumerate()
        {
            for (node, answer) in self.client.edges(edge, led.clone()).await {
                let told = match answer {
                    Ok(told) => told,
                    Err(fault) => {
                        tracing::debug!(node, %fault, "ends not told");
                        continue;
                    }
                };
                for (partition, offset) in told {
                    match offset {
                        Ok(offset) => {
                            let known = edges.entry(partition).or_default();
                            if let Some(slot) = known.get_mut(place) {
                                *slot = Some(offset);
                            }
                        }
                        Err(code) => {
                            self.refused(Needs::TopicEnds, code, &partition.0);
                        }
                    }
                }
            }
        }
        edges
    }

    async fn disks(&mut self, up: &[i32], now: Instant) {
        if !due(&mut self.known.disks_at, DISKS_EVERY, now) {
            return;
        }
        self.known.disks.clear();
        let cluster: Arc<str> = CLUSTER.into();
        let allowed = self.known.refusals.allow(Needs::ClusterDisks, &cluster);
        if self.known.may_describe_cluster == Some(false) || !allowed {
            let none = up.iter().map(|node| (*node, DiskSeen::NoRights));
            self.known.disks.extend(none);
            return;
        }
        let held = self.quota_bytes.is_some();
        for (node, answer) in self.client.log_dirs(up, held).await {
            let disk = match answer {
                Ok(told) if told.error_code == 0 => used(&told.value, self.quota_bytes),
                Ok(told) if self.refused(Needs::ClusterDisks, told.error_code, &cluster) => {
                    DiskSeen::NoRights
                }
                Err(ProbeError::Unspoken(_)) => DiskSeen::NotOffered,
                Ok(_) | Err(_) => DiskSeen::NotAnswered,
            };
            self.known.disks.insert(node, disk);
        }
    }

    async fn retentions(&mut self, layout: &ClusterLayout, up: &[i32], now: Instant) {
        let all = due(&mut self.known.retention_at, RETENTION_EVERY, now);
        let topics = layout.topics.iter().filter(|topic| !topic.internal);
        let names: BTreeSet<&Arc<str>> = topics.map(|topic| &topic.name).collect();
        self.known.retentions.retain(|name, _| names.contains(name));
        let asked: Vec<Arc<str>> = names
            .into_iter()
            .filter(|name| all || !self.known.retentions.contains_key(*name))
            .filter(|name| self.known.refusals.allow(Needs::TopicConfigs, name))
            .cloned()
            .collect();
        let (Some(node), false) = (up.first(), asked.is_empty()) else {
            return;
        };
        match self.client.retentions(*node, asked).await {
            Ok(told) => {
                for (topic, retention) in told {
                    match retention {
                        Ok(retention) => {
                            self.known.retentions.insert(topic, retention);
                        }
                        Err(code) => {
                            self.refused(Needs::TopicConfigs, code, &topic);
                        }
                    }
                }
            }
            Err(fault) => tracing::debug!(%fault, "retention not told"),
        }
    }

    fn snapshot(
        &self,
        at: Stamp,
        layout: &ClusterLayout,
        all: &BTreeSet<i32>,
        up: &[i32],
        mut positions: Positions,
        edges: &Edges,
    ) -> ClusterSnapshot {
        let groups = self.known.directory.groups.iter();
        let groups = groups
            .filter(|(name, _)| self.known.refusals.allow(Needs::Group, name))
            .map(|(name, entry)| {
                let (held, unsettled) = positions.remove(name).unzip();
                GroupSeen {
                    name: Arc::clone(name),
                    members: entry.members,
                    simple: entry.simple,
                    positions: held,
                    unsettled: unsettled.unwrap_or_default(),
                }
            });
        ClusterSnapshot {
            at,
            brokers: all
                .iter()
                .map(|node| BrokerSeen {
                    node: node.to_string().into(),
                    up: up.contains(node),
                })
                .collect(),
            topics: layout
                .topics
                .iter()
                .map(|topic| self.topic(topic, edges))
                .collect(),
            groups: groups.collect(),
        }
    }

    fn topic(&self, topic: &TopicLayout, edges: &Edges) -> TopicSeen {
        let retention = self.known.retentions.get(&topic.name);
        let partition = |seen: &PartitionLayout| {
            let known = edges.get(&(Arc::clone(&topic.name), seen.partition));
            let [start, stable, end] = known.copied().unwrap_or_default();
            PartitionSeen {
                partition: seen.partition,
                leader: seen.leader,
                replicas: u32::try_from(seen.replicas.len()).unwrap_or(u32::MAX),
                in_sync: seen.in_sync,
                start,
                stable,
                end,
                disk: self.disk(&seen.replicas),
            }
        };
        TopicSeen {
            name: Arc::clone(&topic.name),
            id: topic.id,
            internal: topic.internal,
            partitions: topic.partitions.iter().map(partition).collect(),
            retention: retention.map(|retention| RetentionSeen {
                trims: retention.trims(),
                age_ms: retention.age_ms,
            }),
        }
    }

    /// The fullest disk of the brokers that hold a partition.
    fn disk(&self, replicas: &[i32]) -> DiskSeen {
        let mut worst = None;
        for node in replicas {
            let disk = self.known.disks.get(node).copied();
            let disk = disk.unwrap_or(DiskSeen::NotAnswered);
            worst = match (worst, disk) {
                (Some(DiskSeen::Used(a)), DiskSeen::Used(b)) => Some(DiskSeen::Used(a.max(b))),
                // A dead broker's disk is not what fills up.
                (Some(known), DiskSeen::NotAnswered) => Some(known),
                (_, disk) => Some(disk),
            };
        }
        worst.unwrap_or(DiskSeen::NotAnswered)
    }

    async fn first_records(
        &mut self,
        layout: &ClusterLayout,
        up: &[i32],
        wanted: Vec<Wanted>,
    ) -> Vec<Found> {
        let leaders = leaders(layout, up);
        let mut found = Vec::new();
        let mut asked: BTreeMap<i32, Vec<Wanted>> = BTreeMap::new();
        for wanted in wanted {
            let leader = leaders.get(&(&*wanted.topic, wanted.partition));
            if !self
                .known
                .refusals
                .allow(Needs::TopicRecords, &wanted.topic)
            {
                let seen = Seen::NoRights;
                found.push(Found { wanted, seen });
            } else if let Some(node) = leader {
                asked.entry(*node).or_default().push(wanted);
            }
        }
        let sought = asked.iter().map(|(node, wanted)| {
            let sought = wanted.iter().map(|one| Sought {
                of: (Arc::clone(&one.topic), one.partition),
                from: one.from,
                until: one.until,
            });
            (*node, Arc::new(sought.collect()))
        });
        let answers: Answers<Vec<Visible>> = self.client.visible(sought.collect()).await;
        for (node, answer) in answers {
            let told = match answer {
                Ok(told) => told,
                Err(fault) => {
                    tracing::debug!(node, %fault, "records not told");
                    continue;
                }
            };
            let of = asked.remove(&node).unwrap_or_default();
            for (wanted, visible) in of.into_iter().zip(told) {
                let seen = match visible {
                    Visible::Record {
                        offset,
                        timestamp_ms,
                    } => Seen::Record {
                        offset,
                        published_ms: timestamp_ms,
                    },
                    Visible::Nothing => Seen::Nothing,
                    Visible::Unknown => Seen::Unknown,
                    Visible::Refused(code) => {
                        if self.refused(Needs::TopicRecords, code, &wanted.topic) {
                            Seen::NoRights
                        } else {
                            continue;
                        }
                    }
                };
                found.push(Found { wanted, seen });
            }
        }
        found
    }

    fn say(&mut self, took: f64) {
        let cluster = self.known.may_describe_cluster;
        let lacking = self.known.refusals.said(cluster, self.known.scope.hidden());
        let note = if lacking.is_empty() {
            "nothing is unknown for want of rights".to_owned()
        } else {
            format!("unknown for want of rights: {lacking}")
        };
        self.readiness.open("rights", note);
        let left_out = self.watched.left_out();
        let mut note = format!(
            "{} groups, the last look took {took:.3} s",
            self.known.directory.groups.len()
        );
        if left_out > 0 {
            note.push_str(&format!("; {left_out} positions over the limit left out"));
        }
        self.readiness.open("look", note);
    }
}

/// All that belong to the cluster: those it counts now, and those that hold partitions.
fn brokers(layout: &ClusterLayout) -> BTreeSet<i32> {
    let partitions = layout.topics.iter().flat_map(|topic| &topic.partitions);
    let mut all: BTreeSet<i32> = partitions
        .flat_map(|p| p.replicas.iter().copied())
        .collect();
    all.extend(&layout.brokers);
    all
}

fn leaders<'l>(layout: &'l ClusterLayout, up: &[i32]) -> HashMap<(&'l str, i32), i32> {
    let mut all = HashMap::new();
    for topic in &layout.topics {
        for partition in &topic.partitions {
            if let Some(node) = partition.leader.filter(|node| up.contains(node)) {
                all.insert((&*topic.name, partition.partition), node);
            }
        }
    }
    all
}

/// How full a broker is: all that it holds against its quota, where one is declared, else its fullest volume.
#[allow(clippy::cast_precision_loss, reason = "shares, not counts of bytes")]
fn used(disks: &[Disk], quota_bytes: Option<u64>) -> DiskSeen {
    if let Some(quota) = quota_bytes {
        // A broker that may not tell (before Kafka 2.6) tells of no disk.
        if disks.is_empty() {
            return DiskSeen::NoRights;
        }
        let held: f64 = disks.iter().map(|disk| disk.held_bytes as f64).sum();
        return DiskSeen::Used(held / quota as f64);
    }
    let volumes = disks.iter().filter_map(|disk| disk.volume);
    let used = volumes.map(|(total, usable)| 1.0 - usable as f64 / total as f64);
    used.reduce(f64::max)
        .map_or(DiskSeen::NotOffered, DiskSeen::Used)
}
