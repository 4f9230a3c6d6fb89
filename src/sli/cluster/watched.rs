//! The cluster as it is remembered from look to look.
//!
//! [`Watched::wanted`] first, then [`Watched::take`], both with the same snapshot. Bounded: what a look does not name is
//! forgotten. Must not judge: that is `judge`.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    first::{FIRST_RECORDS_MAX, Firsts, Found, Wanted},
    group::Group,
    history::Ends,
    judge::{self, Verdict},
    pair::{Behind, Pair, behind, float},
    snapshot::{BrokerSeen, ClusterSnapshot, GroupSeen, PartitionSeen, TopicSeen},
    view::{ClusterView, GroupState, GroupTopicView, GroupView, PartitionView, TopicView},
};
use crate::{
    event::{Name, Stamp},
    sli::{
        Objectives, Reason, Series, Sink, Sli, SliStatus,
        verdicts::{Out, Verdicts},
    },
};

/// Most (group, topic, partition) that are watched; past it positions are left out and counted.
pub const PAIRS_MAX: usize = 250_000;
/// Between two looks at retention.
const RETENTION_EVERY: u64 = 60_000;
/// Over which time partitions are compared, ms.
const SKEW_WINDOW: u64 = 300_000;
/// Records per partition under which a comparison says nothing.
const SKEW_RECORDS_MIN: u64 = 10;

/// What the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// By when an offset shall be committed.
    pub delivery_deadline: Duration,
    /// How long a group may be without a sign of life.
    pub abandoned_after: Duration,
}

#[derive(Debug, Default)]
struct Topic {
    id: [u8; 16],
    ends: HashMap<i32, Ends>,
    round: u64,
}

/// All that is remembered.
#[derive(Debug)]
pub struct Watched {
    settings: Settings,
    objectives: Objectives,
    began: Instant,
    topics: HashMap<Name, Topic>,
    groups: HashMap<Name, Group>,
    firsts: Firsts,
    verdicts: Verdicts,
    round: u64,
    retention_at: Option<u64>,
    left_out: u64,
}

/// Verdicts of one (group, topic) in one look.
#[derive(Debug, Default)]
struct Tallied {
    lag: Counted,
    delivery: (u64, u64),
}

#[derive(Debug, Default)]
struct Counted {
    good: u64,
    bad: u64,
    unknown: BTreeMap<Reason, u64>,
}

impl Counted {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Good => self.good = self.good.saturating_add(1),
            Verdict::Bad => self.bad = self.bad.saturating_add(1),
            Verdict::Unknown(reason) => {
                let count = self.unknown.entry(reason).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    fn speak(&self, series: &Series, out: &mut Out<'_>) {
        out.judge(series, self.good, self.bad);
        for (reason, count) in &self.unknown {
            out.unknown(series, *reason, *count);
        }
    }
}

/// What one look makes of a (group, topic), while its partitions are added.
#[derive(Debug)]
struct Row {
    view: GroupTopicView,
    tallied: Tallied,
    retained: u64,
    rate: f64,
}

impl Row {
    fn new(group: &Name, topic: &Name) -> Self {
        Self {
            view: GroupTopicView {
                group: group.clone(),
                topic: topic.clone(),
                lag_records: 0,
                lag_seconds_lower: 0.0,
                lag_seconds_upper: Some(0.0),
                drain_seconds: Some(0.0),
                loss_seconds: Some(f64::INFINITY),
                replay: None,
                newly_lost: 0,
                partitions: Vec::new(),
            },
            tallied: Tallied::default(),
            retained: 0,
            rate: 0.0,
        }
    }

    fn add(&mut self, place: &Place<'_>, pair: &Pair, behind: &Behind, now: u64) {
        let view = &mut self.view;
        view.lag_records = view.lag_records.saturating_add(behind.records);
        let (lower, upper) = (seconds(behind.age.lower), behind.age.upper.map(seconds));
        view.lag_seconds_lower = view.lag_seconds_lower.max(lower);
        view.lag_seconds_upper = view.lag_seconds_upper.zip(upper).map(|(a, b)| a.max(b));
        let drain = pair.drain_seconds(now, behind);
        view.drain_seconds = view.drain_seconds.zip(drain).map(|(a, b)| a.max(b));
        let loss = match place.topic.retention {
            Some(retention) if !retention.trims => Some(f64::INFINITY),
            Some(retention) => {
                let age = retention.age_ms;
                age.and_then(|age| pair.loss_seconds(now, behind, age))
            }
            None => None,
        };
        view.loss_seconds = view.loss_seconds.zip(loss).map(|(a, b)| a.min(b));
        view.partitions.push(PartitionView {
            partition: place.seen.partition,
            committed: pair.committed,
            end: place.end,
            lag_records: behind.records,
        });
        let retained = place.end.saturating_sub(place.start);
        let retained = u64::try_from(retained).unwrap_or(0);
        self.retained = self.retained.saturating_add(retained);
    }
}

/// A partition whose edges were told.
#[derive(Debug, Clone, Copy)]
struct Place<'s> {
    topic: &'s TopicSeen,
    seen: &'s PartitionSeen,
    start: i64,
    /// Where readers of this group stop.
    end: i64,
}

/// Topics of a snapshot by name.
type Index<'s> = HashMap<&'s Name, &'s TopicSeen>;

fn index(snapshot: &ClusterSnapshot) -> Index<'_> {
    snapshot.topics.iter().map(|t| (&t.name, t)).collect()
}

fn place<'s>(
    index: &Index<'s>,
    (topic, partition): &(Name, i32),
    committed: i64,
    group: &mut Group,
) -> Result<Place<'s>, Option<Reason>> {
    // A topic that is gone has no lag.
    let topic = *index.get(topic).ok_or(None)?;
    let at = topic
        .partitions
        .binary_search_by_key(partition, |p| p.partition);
    let seen = at
        .ok()
        .and_then(|at| topic.partitions.get(at))
        .ok_or(None)?;
    let edges = seen.start.zip(seen.stable).zip(seen.end);
    let ((start, stable), end) = edges.ok_or(Some(Reason::NotAnswered))?;
    if committed > end {
        return Err(Some(Reason::BeyondEnd));
    }
    // Nobody who reads committed records gets there.
    group.reads_uncommitted |= committed > stable;
    Ok(Place {
        topic,
        seen,
        start,
        end: if group.reads_uncommitted { end } else { stable },
    })
}

impl Watched {
    /// Nothing known yet.
    #[must_use]
    pub fn new(settings: Settings, objectives: Objectives, began: Instant) -> Self {
        Self {
            settings,
            objectives,
            began,
            topics: HashMap::new(),
            groups: HashMap::new(),
            firsts: Firsts::default(),
            verdicts: Verdicts::default(),
            round: 0,
            retention_at: None,
            left_out: 0,
        }
    }

    fn elapsed(&self, at: Stamp) -> u64 {
        let since = at.mono.saturating_duration_since(self.began);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Begins a look: takes the ends of partitions, and says which records must be looked at for exact ages; those furthest
    /// behind first, [`FIRST_RECORDS_MAX`] at most.
    pub fn wanted(&mut self, snapshot: &ClusterSnapshot) -> Vec<Wanted> {
        let now = self.elapsed(snapshot.at);
        self.round = self.round.saturating_add(1);
        self.firsts.begin();
        self.ends(now, snapshot);
        let index = index(snapshot);
        let mut wanted: HashMap<(Name, i32, i64), (u64, Wanted)> = HashMap::new();
        for seen in &snapshot.groups {
            let group = self.groups.entry(seen.name.clone());
            let group = group.or_insert_with(|| Group::new(now));
            for (key, committed) in seen.positions.iter().flatten() {
                let Ok(place) = place(&index, key, *committed, group) else {
                    continue;
                };
                let from = place.start.max(*committed);
                if from >= place.end {
                    continue;
                }
                let known = (key.0.clone(), key.1, *committed);
                let Some(from) = self.firsts.from(&known, from, place.end) else {
                    continue;
                };
                let ends = self.topics.get(&key.0).and_then(|t| t.ends.get(&key.1));
                let age = ends.map_or(0, |ends| ends.age(from, now));
                wanted.entry(known).or_insert_with(|| {
                    let wanted = Wanted {
                        topic: key.0.clone(),
                        partition: key.1,
                        committed: *committed,
                        from,
                        until: place.end,
                    };
                    (age, wanted)
                });
            }
        }
        let mut wanted: Vec<(u64, Wanted)> = wanted.into_values().collect();
        wanted.sort_unstable_by_key(|(age, _)| std::cmp::Reverse(*age));
        wanted.truncate(FIRST_RECORDS_MAX);
        wanted.into_iter().map(|(_, wanted)| wanted).collect()
    }

    fn ends(&mut self, now: u64, snapshot: &ClusterSnapshot) {
        let round = self.round;
        let deadline = self.settings.delivery_deadline.as_millis();
        let keep = u64::try_from(deadline).unwrap_or(u64::MAX).max(SKEW_WINDOW);
        for seen in &snapshot.topics {
            let topic = self.topics.entry(seen.name.clone()).or_default();
            let is_known = topic.round > 0;
            if is_known && topic.id != seen.id {
                *topic = Topic::default();
                self.firsts.forget(&seen.name);
                for group in self.groups.values_mut() {
                    group.pairs.retain(|(name, _), _| *name != seen.name);
                }
            }
            topic.id = seen.id;
            topic.round = round;
            for partition in &seen.partitions {
                if let Some(stable) = partition.stable {
                    let ends = topic.ends.entry(partition.partition).or_default();
                    ends.push(now, stable, keep);
                }
            }
        }
        self.topics.retain(|_, topic| topic.round == round);
    }

    /// Ends a look: judges, and says what is known now.
    pub fn take(
        &mut self,
        snapshot: &ClusterSnapshot,
        found: &[Found],
        sink: &mut dyn Sink,
    ) -> ClusterView {
        let now = self.elapsed(snapshot.at);
        for found in found {
            self.firsts.learn(found);
        }
        let index = index(snapshot);
        let mut view = ClusterView::default();
        let mut headroom: HashMap<(Name, i32), f64> = HashMap::new();
        let mut tallies: Vec<(Name, Name, Tallied)> = Vec::new();
        let mut pairs = 0usize;
        self.left_out = 0;
        for seen in &snapshot.groups {
            let (group, rows) =
                self.group(now, seen, &index, snapshot.at, &mut headroom, &mut pairs);
            view.groups.push(group);
            for row in rows {
                tallies.push((row.view.group.clone(), row.view.topic.clone(), row.tallied));
                if !row.view.partitions.is_empty() {
                    view.group_topics.push(row.view);
                }
            }
        }
        let round = self.round;
        self.groups.retain(|_, group| group.round == round);
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let mut out = Out {
            verdicts: &mut verdicts,
            sink,
            now: snapshot.at,
        };
        for (group, topic, tallied) in &tallies {
            let lag = Series::of(Sli::Lag, topic, group);
            tallied.lag.speak(&lag, &mut out);
            let delivery = Series::of(Sli::Delivery, topic, group);
            out.judge(&delivery, tallied.delivery.0, tallied.delivery.1);
        }
        self.partitions(now, snapshot, &headroom, &mut view, &mut out);
        brokers(snapshot, &mut view, &mut out);
        verdicts.expire(snapshot.at.mono);
        self.verdicts = verdicts;
        view
    }

    /// A look that no broker answered: every known broker failed its probe, and nothing else can be judged.
    pub fn dark(&mut self, at: Stamp, brokers: &[Name], sink: &mut dyn Sink) {
        let brokers = brokers.iter().map(|node| BrokerSeen {
            node: node.clone(),
            up: false,
        });
        let snapshot = ClusterSnapshot {
            at,
            brokers: brokers.collect(),
            topics: Vec::new(),
            groups: Vec::new(),
        };
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink,
            now: at,
        };
        self::brokers(&snapshot, &mut ClusterView::default(), &mut out);
    }

    /// Positions left out of the last look because there are more than [`PAIRS_MAX`].
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn group(
        &mut self,
        now: u64,
        seen: &GroupSeen,
        index: &Index<'_>,
        at: Stamp,
        headroom: &mut HashMap<(Name, i32), f64>,
        pairs: &mut usize,
    ) -> (GroupView, Vec<Row>) {
        let mut group = self
            .groups
            .remove(&seen.name)
            .unwrap_or_else(|| Group::new(now));
        group.round = self.round;
        let mut rows: BTreeMap<Name, Row> = BTreeMap::new();
        let mut state = None;
        if let Some(positions) = &seen.positions {
            let room = PAIRS_MAX.saturating_sub(*pairs).min(positions.len());
            let over = u64::try_from(positions.len().saturating_sub(room)).unwrap_or(0);
            self.left_out = self.left_out.saturating_add(over);
            *pairs = pairs.saturating_add(room);
            let held = positions.get(..room).unwrap_or_default();
            state = Some(self.pairs(now, seen, &mut group, held, index, at, &mut rows, headroom));
            group.sweep(self.round);
        } else {
            // Nobody told: each of its partitions is an event that could not be judged.
            for (topic, _) in group.pairs.keys() {
                let row = rows.entry(topic.clone());
                let row = row.or_insert_with(|| Row::new(&seen.name, topic));
                row.tallied.lag.add(Verdict::Unknown(Reason::NotAnswered));
            }
        }
        let abandoned = group.is_abandoned(now, self.settings.abandoned_after);
        let view = GroupView {
            group: seen.name.clone(),
            state: if abandoned {
                Some(GroupState::Abandoned)
            } else {
                state
            },
            members: seen.members,
            commit_interval_seconds: group.interval_seconds(),
        };
        let mut rows: Vec<Row> = rows.into_values().collect();
        for row in &mut rows {
            if abandoned {
                row.tallied = Tallied::default();
                row.view.newly_lost = 0;
            }
            if row.rate > 0.0 {
                group.worked(&row.view.topic, row.rate);
            }
            row.view.replay = group.replay(&row.view.topic, row.retained);
        }
        self.groups.insert(seen.name.clone(), group);
        (view, rows)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one look at one group, split for length"
    )]
    fn pairs(
        &mut self,
        now: u64,
        seen: &GroupSeen,
        group: &mut Group,
        positions: &[((Name, i32), i64)],
        index: &Index<'_>,
        at: Stamp,
        rows: &mut BTreeMap<Name, Row>,
        headroom: &mut HashMap<(Name, i32), f64>,
    ) -> GroupState {
        let mut worst = GroupState::Ok;
        let (mut moved, mut lags) = (false, false);
        let members = seen.members.filter(|_| !seen.simple);
        let live = !group.is_abandoned(now, self.settings.abandoned_after);
        for (at_position, (key, committed)) in positions.iter().enumerate() {
            let place = match place(index, key, *committed, group) {
                Ok(place) => place,
                Err(None) => continue,
                Err(Some(reason)) => {
                    let row = rows.entry(key.0.clone());
                    let row = row.or_insert_with(|| Row::new(&seen.name, &key.0));
                    row.tallied.lag.add(Verdict::Unknown(reason));
                    if let Some(pair) = group.pairs.get_mut(key) {
                        pair.round = self.round;
                    }
                    continue;
                }
            };
            let goal = self.objectives.goal(Sli::Lag, &key.0, &seen.name);
            let threshold = goal.threshold.unwrap_or_else(|| group.threshold());
            let row = rows.entry(key.0.clone());
            let row = row.or_insert_with(|| Row::new(&seen.name, &key.0));
            let pair = group
                .pairs
                .entry(key.clone())
                .or_insert_with(|| Pair::new(now, *committed, Some(place.start)));
            pair.round = self.round;
            let step = pair.stand(now, *committed);
            let position = place.start.max(*committed);
            let ends = self.topics.get(&key.0).and_then(|t| t.ends.get(&key.1));
            let seen_for = ends.map_or(0, |ends| ends.age(position, now));
            let first = self.firsts.get(&(key.0.clone(), key.1, *committed));
            let behind = behind(position, place.end, first, seen_for, at.wall_ms);
            let behind = behind.at_most(seen.unsettled.get(at_position).copied());
            pair.trail(now, &behind);
            if step.by > 0 && behind.records > 0 && step.within > 0 {
                row.rate += float(step.by) * 1e3 / float(step.within);
            }
            moved |= step.by > 0;
            lags |= behind.records > 0;
            worst = worst.max(pair.state(now, &behind, members, threshold));
            row.tallied.lag.add(judge::lag(&behind, threshold));
            let deadline = self.settings.delivery_deadline.as_millis();
            let deadline = u64::try_from(deadline).unwrap_or(u64::MAX);
            let due = now.checked_sub(deadline).and_then(|then| ends?.at(then));
            let (good, bad) = judge::delivery(pair, &behind, due, place.start, place.end);
            row.tallied.delivery.0 = row.tallied.delivery.0.saturating_add(good);
            row.tallied.delivery.1 = row.tallied.delivery.1.saturating_add(bad);
            row.view.newly_lost = row.view.newly_lost.saturating_add(pair.lose(place.start));
            row.add(&place, pair, &behind, now);
            if live && behind.records > 0 {
                let share = judge::headroom(*committed, place.start, place.end);
                let least = headroom.entry(key.clone()).or_insert(1.0);
                *least = least.min(share.unwrap_or(1.0));
            } else if live {
                headroom.entry(key.clone()).or_insert(1.0);
            }
        }
        group.rhythm(now, moved, lags);
        group.sign_of_life(now, seen, moved);
        worst
    }

    fn partitions(
        &mut self,
        now: u64,
        snapshot: &ClusterSnapshot,
        headroom: &HashMap<(Name, i32), f64>,
        view: &mut ClusterView,
        out: &mut Out<'_>,
    ) {
        let due = self
            .retention_at
            .is_none_or(|at| now.saturating_sub(at) >= RETENTION_EVERY);
        if due {
            self.retention_at = Some(now);
        }
        for topic in &snapshot.topics {
            let mut counted = Counted::default();
            let mut least: Option<f64> = None;
            for partition in &topic.partitions {
                let short = partition.in_sync < partition.replicas;
                view.under_replicated = view.under_replicated.saturating_add(u64::from(short));
                view.offline = view
                    .offline
                    .saturating_add(u64::from(partition.leader.is_none()));
                let key = (topic.name.clone(), partition.partition);
                let room = headroom.get(&key).copied();
                least = match (least, room) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                let trims = topic.retention.is_none_or(|retention| retention.trims);
                let known = partition.start.is_some() && partition.end.is_some();
                counted.add(if known {
                    judge::retention(room, trims, partition.disk)
                } else {
                    Verdict::Unknown(Reason::NotAnswered)
                });
            }
            if topic.internal {
                continue;
            }
            if due {
                let series = Series::of(Sli::Retention, &topic.name, &out.empty());
                counted.speak(&series, out);
            }
            view.topics.push(TopicView {
                topic: topic.name.clone(),
                skew: self.skew(now, topic),
                retention_used: least.map(|share| 1.0 - share),
            });
        }
    }

    /// The busiest partition against the mean.
    fn skew(&self, now: u64, topic: &TopicSeen) -> Option<f64> {
        let known = self.topics.get(&topic.name)?;
        let then = now.checked_sub(SKEW_WINDOW)?;
        let (mut sum, mut most, mut count) = (0u64, 0u64, 0u64);
        for partition in &topic.partitions {
            let before = known.ends.get(&partition.partition)?.at(then)?;
            let grown = partition.stable?.saturating_sub(before);
            let grown = u64::try_from(grown).unwrap_or(0);
            sum = sum.saturating_add(grown);
            most = most.max(grown);
            count = count.saturating_add(1);
        }
        let enough = count > 0 && sum >= count.saturating_mul(SKEW_RECORDS_MIN);
        enough.then(|| float(most) * float(count) / float(sum))
    }

    /// Every pair with its totals and objective, sorted.
    pub fn slis(&mut self) -> Vec<SliStatus> {
        let tallies = self.verdicts.tallies();
        let mut all: Vec<_> = tallies.map(|(s, tally)| (s.clone(), tally)).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let status = |(series, tally): (Series, _)| {
            let goal = self
                .objectives
                .goal(series.sli, &series.topic, &series.group);
            SliStatus::new(series, tally, goal)
        };
        all.into_iter().map(status).collect()
    }
}

/// Probes of brokers (M7).
fn brokers(snapshot: &ClusterSnapshot, view: &mut ClusterView, out: &mut Out<'_>) {
    let mut counted = Counted::default();
    for broker in &snapshot.brokers {
        counted.add(if broker.up {
            Verdict::Good
        } else {
            Verdict::Bad
        });
        view.brokers.push((broker.node.clone(), broker.up));
    }
    let empty = out.empty();
    let series = Series::of(Sli::Broker, &empty, &empty);
    counted.speak(&series, out);
}

fn seconds(ms: i64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53 ms")]
    let seconds = ms as f64 / 1e3;
    seconds
}
