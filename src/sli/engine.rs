//! The engine: one event at a time in, verdicts and states out.
//!
//! Composes the parts that each know one thing (publishes, availability, members, groups, readings). Pure over events and the
//! stamps in them. Must not do IO, keep a clock, or know a metric's name.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    again::Given,
    availability::Availability,
    bounds::{Bounds, TooManyThresholds},
    delivery::Health,
    duplicates::{DuplicateSettings, Duplicates, duplicates},
    examined::Examined,
    failures::{Failures, dead_letter, processing, unsettled},
    groups::Groups,
    loss::{Losses, SOME_OTHER_TOPIC},
    measure::{Measure, Reason, Sink, Stage},
    members::{Members, Revoked},
    objective::{Objective, Objectives},
    publish::Publishes,
    reading::Reading,
    schema::{Schemas, TopicSchemas},
    sequences::Sequences,
    shares::{self, Shares},
    skew::Skew,
    transactions::Transactions,
    verdicts::{NO_GROUP, Out, Verdicts, latency},
};
use crate::event::{
    Answer, CapturedBatch, Codec, DeliveredRecord, Direction, Event, EventKind, Facts, Membership,
    MembershipChange, Name, Positions, ProducedPart, PublishOutcome, SchemaCount, SentRecords,
    Settled, SettledPart, Stamp, TopicSeen, UNRESOLVED,
};

/// Most (group, topic, partition) whose progress is kept.
pub const MAX_READINGS: usize = 50_000;
/// Most connections and clients whose last fetch is remembered.
pub const MAX_FETCHERS: usize = 20_000;
/// Most record times kept of opened batches, over all partitions (16 bytes each).
pub const MAX_KEPT_TIMES: usize = 65_536;
/// Batches remembered over all partitions before each keeps few (about 130 bytes each).
pub const MAX_SEEN_BATCHES: usize = 65_536;
/// A position told for a partition nobody fetches is kept this long.
const TOLD_FOR: Duration = Duration::from_secs(300);
/// A description of more topics than this is a listing, not a sign that they are used.
pub const MAX_TOPICS_NAMED: usize = 256;

/// Opens captured batches, within whatever budget it has.
pub trait Examiner {
    /// Every record of a batch on its way to a consumer, in offset order; `None` where it could not be opened.
    fn delivered(&mut self, batch: &CapturedBatch, codec: Codec) -> Option<Vec<DeliveredRecord>>;

    /// What is noteworthy about records sent to a topic; `None` where the batch could not be opened.
    fn sent(&mut self, topic: &Name, batch: &CapturedBatch, codec: Codec) -> Option<SentRecords>;

    /// What could be told only later of the values sent to topics.
    fn late(&mut self) -> Vec<(Name, Vec<SchemaCount>)>;
}

/// What the engine is told besides objectives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What is remembered of events.
    pub duplicates: DuplicateSettings,
    /// Deliveries of one offset without a commit from which on its record is poison.
    pub poison_deliveries: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            duplicates: DuplicateSettings::default(),
            poison_deliveries: 5,
        }
    }
}

/// Reasons a rebalance can have; each exists from zero.
pub const REBALANCE_REASONS: [&str; 5] = ["join", "rejoin", "expired", "unknown", "assigned"];

pub(super) type ReadingKey = (Name, Name, i32);

/// The engine.
#[derive(Debug)]
pub struct Engine {
    pub(super) objectives: Objectives,
    pub(super) bounds: Bounds,
    pub(super) verdicts: Verdicts,
    publishes: Publishes,
    sequences: Sequences,
    pub(super) skew: Skew,
    pub(super) losses: Losses,
    /// Something was missed, and what happened up to then says nothing of continuity.
    pub(super) doubt: Option<Instant>,
    availability: Availability,
    pub(super) members: Members,
    pub(super) groups: Groups,
    pub(super) readings: HashMap<ReadingKey, Reading>,
    pub(super) by_connection: HashMap<u64, Instant>,
    pub(super) by_client: HashMap<Name, Instant>,
    pub(super) health: HashMap<Name, Health>,
    pub(super) kept_times: usize,
    pub(super) seen_batches: usize,
    pub(super) settings: Settings,
    pub(super) duplicates: Duplicates,
    pub(super) given: Given,
    pub(super) shares: Shares,
    pub(super) failures: Failures,
    pub(super) examined: Examined,
    schemas: Schemas,
    transactions: Transactions,
    started: bool,
}

impl Engine {
    /// With these objectives.
    ///
    /// # Errors
    /// Where the objectives need more bucket bounds than a histogram may have.
    pub fn new(objectives: Vec<Objective>) -> Result<Self, TooManyThresholds> {
        let objectives = Objectives::new(objectives);
        Ok(Self {
            bounds: objectives.bounds()?,
            objectives,
            verdicts: Verdicts::default(),
            publishes: Publishes::default(),
            sequences: Sequences::default(),
            skew: Skew::default(),
            losses: Losses::default(),
            doubt: None,
            availability: Availability::default(),
            members: Members::default(),
            groups: Groups::default(),
            readings: HashMap::new(),
            by_connection: HashMap::new(),
            by_client: HashMap::new(),
            health: HashMap::new(),
            kept_times: 0,
            seen_batches: 0,
            settings: Settings::default(),
            duplicates: Duplicates::new(DuplicateSettings::default()),
            given: Given::default(),
            shares: Shares::default(),
            failures: Failures::default(),
            examined: Examined::default(),
            schemas: Schemas::default(),
            transactions: Transactions::default(),
            started: false,
        })
    }

    /// With these settings; before the first event.
    #[must_use]
    pub fn with(self, settings: Settings) -> Self {
        Self {
            duplicates: Duplicates::new(settings.duplicates),
            settings,
            ..self
        }
    }

    /// Which versions of schemas are in use.
    pub fn schemas(&mut self, now: Stamp) -> Vec<TopicSchemas> {
        self.schemas.in_use(now.mono)
    }

    /// The latency bucket bounds that these objectives need.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Events were dropped on their way here, the last of them before `now`: whatever needs to have seen everything begins anew
    /// behind that moment.
    pub fn missed(&mut self, now: Stamp) {
        self.doubt = Some(now.mono);
        self.sequences.forget();
        self.losses.forget();
    }

    /// Whether nothing was dropped between what was seen before and this moment.
    pub(super) fn is_continuous(&self, at: Stamp) -> bool {
        self.doubt.is_none_or(|missed| at.mono > missed)
    }

    /// Takes one event.
    pub fn take(&mut self, event: &Event, examiner: &mut dyn Examiner, sink: &mut dyn Sink) {
        let now = event.at;
        self.start(now, sink);
        match &event.kind {
            EventKind::Opened | EventKind::Identified { .. } => {}
            EventKind::ConnectFailed { .. } => {
                Availability::unreachable(&mut self.out(now, sink));
            }
            EventKind::Closed {
                side, unanswered, ..
            } => {
                self.by_connection.remove(&event.connection.id);
                let mut out = Out {
                    verdicts: &mut self.verdicts,
                    sink: &mut *sink,
                    now,
                };
                self.availability.closed(*side, unanswered, &mut out);
                for request in unanswered {
                    // Of what was asked without an answer only a publish may have happened.
                    if let Facts::Produced(_) = &request.facts {
                        self.facts(&request.facts, event, examiner, sink);
                    }
                }
                self.sequences.closed(event.connection.id, now.mono);
                self.share_session_ended(event.connection.id, now, sink);
            }
            EventKind::Answered(answer) => self.answered(answer, event, examiner, sink),
        }
    }

    /// Once a second: deadlines, expiry.
    pub fn tick(&mut self, now: Stamp, examiner: &mut dyn Examiner, sink: &mut dyn Sink) {
        self.start(now, sink);
        for (topic, counts) in examiner.late() {
            self.schemas_of(&topic, &counts, now, sink);
        }
        let revoked = self.members.tick(now.mono);
        self.losses.left(&revoked);
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink,
            now,
        };
        self.publishes.tick(&mut out);
        self.sequences.tick(now, out.sink);
        self.availability.tick(now.mono);
        self.skew.tick(now.mono);
        drop_readings(&mut self.readings, revoked, &mut out);
        self.verdicts.expire(now.mono);
        self.groups.expire(now.mono);
        self.given.expire(now.mono);
        self.failures.expire(now.mono);
        self.transactions.expire(now.mono);
        self.examined.tick(now.mono);
        self.forget_idle(now);
        self.tick_shares(now, sink);
        self.look(now);
        self.kept_times = self.readings.values().map(|r| r.seen.kept()).sum();
        self.seen_batches = self.readings.values().map(|r| r.seen.len()).sum();
    }

    fn start(&mut self, now: Stamp, sink: &mut dyn Sink) {
        if !self.started {
            self.started = true;
            let mut out = self.out(now, sink);
            let series = out.availability();
            out.judge(&series, 0, 0);
        }
    }

    pub(super) fn out<'a>(&'a mut self, now: Stamp, sink: &'a mut dyn Sink) -> Out<'a> {
        Out {
            verdicts: &mut self.verdicts,
            sink,
            now,
        }
    }

    fn answered(
        &mut self,
        answer: &Answer,
        event: &Event,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink: &mut *sink,
            now: event.at,
        };
        self.availability.answered(answer, &event.client, &mut out);
        let error = answer.error.as_ref().map(|e| e.name);
        if error.is_some_and(|name| SOME_OTHER_TOPIC.contains(&name)) {
            self.losses.forget();
        }
        self.facts(&answer.facts, event, examiner, sink);
    }

    fn facts(
        &mut self,
        facts: &Facts,
        event: &Event,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        match facts {
            Facts::None | Facts::Authenticated { .. } => {}
            Facts::Produced(produced) => {
                if self.is_continuous(event.at) {
                    self.sequences
                        .take(produced, event.connection.id, event.at.mono);
                }
                self.skew.take(produced);
                for part in &produced.parts {
                    self.produced(part, event.at, examiner, sink);
                }
            }
            Facts::TransactionEnded {
                producer_id,
                committed,
            } => self.transaction_ended(*producer_id, *committed, event.at, sink),
            Facts::Delivered(delivered) => self.delivered(delivered, event, examiner, sink),
            Facts::Settled(settled) => self.settled(settled, event, sink),
            Facts::Acknowledged(said) => {
                self.acknowledged(said, event.connection.id, event.at, sink);
            }
            Facts::EpochEnds(ends) => self.epoch_ends(ends, event, sink),
            Facts::Positions(positions) => self.positions(positions, event),
            Facts::Membership(membership) => self.membership(membership, event, sink),
            Facts::Topics(topics) => self.topics(topics, event.at, sink),
        }
    }

    fn produced(
        &mut self,
        part: &ProducedPart,
        now: Stamp,
        examiner: &mut dyn Examiner,
        sink: &mut dyn Sink,
    ) {
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink: &mut *sink,
            now,
        };
        if !self.publishes.take(part, &mut out) || part.records == 0 {
            return;
        }
        let captured = part.captured.as_ref();
        let found = captured.and_then(|batch| examiner.sent(&part.topic, batch, part.codec));
        let topic = &part.topic;
        let way = Direction::ClientToBroker;
        self.examined
            .add(topic, way, part.records, found.is_some(), now.mono);
        let SentRecords { aside, schemas } = found.unwrap_or_default();
        self.schemas_of(topic, &schemas, now, sink);
        if part.outcome == PublishOutcome::NotAsked {
            let dead = aside.iter().filter(|letter| !letter.retry);
            for letter in dead {
                let origin = letter.topic.clone().unwrap_or_else(|| UNRESOLVED.into());
                let series = dead_letter(&origin, &NO_GROUP.into());
                self.out(now, sink).unknown(&series, Reason::Acks0, 1);
            }
        } else {
            self.set_aside(topic, &aside, now, sink);
        }
    }

    fn schemas_of(
        &mut self,
        topic: &Name,
        counts: &[SchemaCount],
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink,
            now,
        };
        self.schemas.take(topic, counts, &mut out);
    }

    fn transaction_ended(
        &mut self,
        producer_id: i64,
        committed: bool,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        for (key, offset) in self.transactions.end(producer_id) {
            if committed {
                self.commit(&key, offset, now, sink);
            } else if let Some(reading) = self.readings.get_mut(&key) {
                reading.failed.roll_back(reading.seen.unsettled(offset));
            }
        }
    }

    fn topics(&mut self, topics: &[TopicSeen], now: Stamp, sink: &mut dyn Sink) {
        for topic in topics {
            self.skew.described(topic);
            if topic.gone {
                self.readings.retain(|(_, name, _), _| *name != topic.name);
                self.given.forget(&topic.name);
                self.shares.forget(&topic.name);
                self.examined.forget(&topic.name);
                self.schemas.forget(&topic.name);
                self.health.remove(&topic.name);
                self.losses.forget_topic(&topic.name);
            } else if topics.len() <= MAX_TOPICS_NAMED {
                let mut out = self.out(now, sink);
                let series = out.publish(&topic.name);
                out.judge(&series, 0, 0);
                out.measure(Measure::TopicKnown { topic: &topic.name });
            }
        }
    }

    fn settled(&mut self, settled: &Settled, event: &Event, sink: &mut dyn Sink) {
        let (group, client, now) = (&settled.group, &event.client, event.at);
        self.group_known(group, now, sink);
        if !settled.member.is_empty() {
            self.members
                .beat(group, &settled.member, client, None, now.mono);
        }
        self.groups.committed(group, &settled.member, now.mono);
        let known = |p: &&SettledPart| p.error.is_none() && &*p.topic != UNRESOLVED;
        for part in settled.parts.iter().filter(known) {
            self.members
                .infer(client, group, &part.topic, part.partition, now.mono);
            let key = (Arc::clone(group), Arc::clone(&part.topic), part.partition);
            let applied = match settled.transaction {
                Some(id) => self.transactions.wait(id, key, part.offset, now.mono),
                None => Err((key, part.offset)),
            };
            if let Err((key, offset)) = applied {
                self.commit(&key, offset, now, sink);
            }
        }
    }

    fn positions(&mut self, positions: &Positions, event: &Event) {
        // Whoever asks is not necessarily a reader (an admin tool asks for all groups), so the group is not known by it.
        let group = &positions.group;
        for (topic, partition, offset) in &positions.parts {
            let Some(offset) = offset.filter(|_| &**topic != UNRESOLVED) else {
                continue;
            };
            self.members
                .infer(&event.client, group, topic, *partition, event.at.mono);
            let key = (Arc::clone(group), Arc::clone(topic), *partition);
            if let Some(reading) = self.reading(&key) {
                reading.position(offset, event.at.mono);
            }
        }
    }

    fn membership(&mut self, membership: &Membership, event: &Event, sink: &mut dyn Sink) {
        let Membership { group, member, .. } = membership;
        let (client, now) = (&event.client, event.at);
        self.group_known(group, now, sink);
        if !matches!(&membership.change, MembershipChange::Beat { .. }) {
            self.groups.changed(group);
        }
        match &membership.change {
            MembershipChange::Joined { generation, reason } => {
                self.members
                    .beat(group, member, client, Some(true), now.mono);
                self.rebalanced(group, *generation, reason, now, sink);
            }
            MembershipChange::Assigned {
                generation,
                partitions,
                share,
            } => {
                let revoked = self
                    .members
                    .assign(group, member, client, partitions, now.mono);
                self.rebalanced(group, *generation, "assigned", now, sink);
                let mut out = self.out(now, sink);
                for (topic, _) in partitions {
                    reader_known(topic, group, &mut out);
                    if *share {
                        shares::reader_known(topic, group, &mut out);
                    }
                }
                self.revoke(revoked, now, sink);
                if !*share {
                    self.own(group, partitions);
                }
            }
            MembershipChange::Beat { rebalancing, .. } => {
                self.members
                    .beat(group, member, client, Some(*rebalancing), now.mono);
            }
            MembershipChange::Left | MembershipChange::Lost { .. } => {
                let revoked = self.members.remove(group, member);
                self.groups.left(group, member);
                self.revoke(revoked, now, sink);
            }
        }
    }

    fn own(&mut self, group: &Name, partitions: &[(Name, Vec<i32>)]) {
        for (topic, numbers) in partitions {
            for number in numbers {
                self.reading(&(Arc::clone(group), Arc::clone(topic), *number));
            }
        }
    }

    fn rebalanced(
        &mut self,
        group: &Name,
        generation: i32,
        reason: &'static str,
        now: Stamp,
        sink: &mut dyn Sink,
    ) {
        if self.groups.reached(group, generation) {
            self.out(now, sink).measure(Measure::Rebalanced {
                group,
                reason,
                count: 1,
            });
        }
    }

    fn revoke(&mut self, revoked: Revoked, now: Stamp, sink: &mut dyn Sink) {
        self.losses.left(&revoked);
        let mut out = Out {
            verdicts: &mut self.verdicts,
            sink,
            now,
        };
        drop_readings(&mut self.readings, revoked, &mut out);
    }

    pub(super) fn group_known(&mut self, group: &Name, now: Stamp, sink: &mut dyn Sink) {
        if self.groups.touch(group, now.mono) {
            for reason in REBALANCE_REASONS {
                sink.record(Measure::Rebalanced {
                    group,
                    reason,
                    count: 0,
                });
            }
        }
    }

    /// The state of one reading, made where there is room.
    pub(super) fn reading(&mut self, key: &ReadingKey) -> Option<&mut Reading> {
        if !self.readings.contains_key(key) {
            if self.readings.len() >= MAX_READINGS {
                return None;
            }
            self.readings.insert(key.clone(), Reading::default());
        }
        self.readings.get_mut(key)
    }

    fn forget_idle(&mut self, now: Stamp) {
        let age = |at: Instant| now.mono.saturating_duration_since(at);
        let idle = super::groups::GROUP_IDLE;
        self.by_client.retain(|_, at| age(*at) < idle);
        self.by_connection.retain(|_, at| age(*at) < idle);
        self.health.retain(|_, h| h.tick(now.mono));
        let groups = &self.groups;
        self.losses.retain(|group| groups.get(group).is_some());
        self.readings.retain(|(group, _, _), reading| {
            groups.get(group).is_some() || reading.told().is_some_and(|at| age(at) < TOLD_FOR)
        });
    }
}

/// Makes what alerts read about a group and a topic exist.
pub(super) fn reader_known(topic: &Name, group: &Name, out: &mut Out<'_>) {
    out.judge(&latency(topic, group, Stage::Fetched), 0, 0);
    out.judge(&processing(topic, group), 0, 0);
    out.judge(&dead_letter(topic, group), 0, 0);
    out.judge(&duplicates(topic, group), 0, 0);
    out.measure(Measure::ReaderKnown { topic, group });
}

fn drop_readings(readings: &mut HashMap<ReadingKey, Reading>, revoked: Revoked, out: &mut Out<'_>) {
    for key in revoked {
        if let Some(reading) = readings.remove(&key) {
            let series = latency(&key.1, &key.0, Stage::Committed);
            out.unknown(&series, Reason::NotCommitted, reading.seen.unjudged());
            let waiting = reading.seen.unsettled(i64::MAX);
            unsettled(&key.1, &key.0, waiting, out);
        }
    }
}
