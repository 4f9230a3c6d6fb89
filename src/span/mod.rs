//! Spans, from what passed: a record is created, sent, fetched, processed, committed.
//!
//! Only records whose trace is recorded have spans, and those that something went wrong with (see [`Keep`]). The create span's id is the one on the wire, so that what anyone makes of
//! the record finds its parent. A process span is inferred: from delivery to commit. Must not export anything, nor know a
//! protocol.

pub mod semconv;

mod build;
mod keep;
mod rebuilt;
mod shares;
#[cfg(test)]
mod tests;
mod transactions;

use std::{
    collections::{BTreeMap, VecDeque},
    slice,
    time::Duration,
};

use opentelemetry_sdk::trace::SpanData;
use tokio::time::Instant;

pub use self::{
    keep::{Keep, SlowAfter, SlowIn},
    rebuilt::{Rebuilt, rebuilt},
};

use self::{
    build::{Builder, Place, put},
    keep::Reason,
    shares::Held,
    transactions::Transactions,
};
use crate::{
    event::{
        Answer, Connection, Delivered, DeliveredPart, Event, EventKind, Facts, Name, Produced,
        PublishOutcome, Settled, Stamp, Traced,
    },
    propagation::IdSource,
};

/// Delivered records that wait for their commit.
const WAITING_MAX: usize = 10_000;
/// After so long a delivered record is given up.
const WAITING_AGE_MAX: Duration = Duration::from_secs(900);

/// Takes finished spans. Must not block.
pub trait Sink {
    /// Takes one, or drops and counts it.
    fn span(&mut self, span: SpanData);
}

/// A delivered record until it is settled.
#[derive(Debug)]
struct Waiting {
    record: Traced,
    at: Stamp,
    why: Why,
}

/// Why a delivered record waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Its trace is recorded.
    Recorded,
    /// Its trace is not, but it is.
    Kept(Reason),
    /// It may take long.
    MayBeSlow,
}

/// What is delivered and not settled, of one partition.
type Partition = VecDeque<Waiting>;

impl Why {
    /// Why it has spans though its trace is not recorded.
    fn reason(self) -> Option<Reason> {
        match self {
            Self::Kept(reason) => Some(reason),
            Self::Recorded | Self::MayBeSlow => None,
        }
    }
}

/// Makes spans of events.
#[derive(Debug)]
pub struct Spans {
    builder: Builder,
    keep: Keep,
    waiting: BTreeMap<(Name, i32), Partition>,
    waiting_records: usize,
    held: Held,
    given_up: u64,
    transactions: Transactions,
}

impl Spans {
    /// `None` where the operating system gives no randomness for ids.
    #[must_use]
    pub fn new(keep: Keep) -> Option<Self> {
        Some(Self {
            builder: Builder::new(IdSource::random()?),
            keep,
            waiting: BTreeMap::new(),
            waiting_records: 0,
            held: Held::default(),
            given_up: 0,
            transactions: Transactions::default(),
        })
    }

    /// The cluster id, once it is known.
    pub fn set_cluster(&mut self, id: &str) {
        self.builder.set_cluster(id);
    }

    /// Delivered records that were never seen to be settled, or were too many to wait for.
    #[must_use]
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    /// Makes the spans of one event.
    pub fn take(&mut self, event: &Event, sink: &mut dyn Sink) {
        let EventKind::Answered(answer) = &event.kind else {
            return;
        };
        match &answer.facts {
            Facts::Produced(produced) => self.produced(event, answer, produced, sink),
            Facts::Delivered(delivered) => {
                if let Some(said) = &delivered.acknowledged {
                    self.acknowledged(event, answer, said, sink);
                }
                self.delivered(event, answer, delivered, sink);
            }
            Facts::Acknowledged(said) => self.acknowledged(event, answer, said, sink),
            Facts::Settled(settled) => self.settled(event, answer, settled, sink),
            Facts::TransactionEnded {
                producer_id,
                committed,
            } => {
                for span in self.transactions.ended(*producer_id, *committed) {
                    sink.span(span);
                }
            }
            _ => {}
        }
    }

    /// Nothing more will come: what waits for the end of its transaction goes as it is.
    pub fn finish(&mut self, sink: &mut dyn Sink) {
        for span in self.transactions.forgotten(None) {
            sink.span(span);
        }
    }

    /// Gives up what has waited too long.
    pub fn tick(&mut self, now: Instant, sink: &mut dyn Sink) {
        for span in self.transactions.forgotten(Some(now)) {
            sink.span(span);
        }
        let (mut gone, mut given_up) = (0usize, 0u64);
        self.waiting.retain(|_, partition| {
            while let Some(first) = partition.front() {
                if now.saturating_duration_since(first.at.mono) < WAITING_AGE_MAX {
                    break;
                }
                given_up = given_up.saturating_add(u64::from(first.why != Why::MayBeSlow));
                partition.pop_front();
                gone = gone.saturating_add(1);
            }
            !partition.is_empty()
        });
        self.waiting_records = self.waiting_records.saturating_sub(gone);
        let given_up = given_up.saturating_add(self.held.expire(now));
        self.given_up = self.given_up.saturating_add(given_up);
    }

    fn produced(
        &mut self,
        event: &Event,
        answer: &Answer,
        produced: &Produced,
        sink: &mut dyn Sink,
    ) {
        for part in &produced.parts {
            let (base, error, again) = match part.outcome {
                PublishOutcome::Acknowledged { base_offset, .. } => {
                    (Some(base_offset).filter(|o| *o >= 0), None, false)
                }
                PublishOutcome::NotAsked => (None, None, false),
                // The client will try again, and that attempt creates the record.
                PublishOutcome::Failed(failure) => (None, Some(failure.name), failure.retriable),
                PublishOutcome::Lost => (None, Some(semconv::LOST), true),
            };
            let place = place(event, answer, &part.topic, part.partition, error);
            let mut kept = None;
            let records = match &part.unrecorded {
                Some(first) if part.traced.is_empty() => {
                    let (failed, now) = (error.is_some(), event.at.mono);
                    kept = self.keep.reason(&part.topic, answer.duration, failed, now);
                    kept.map_or(&[][..], |_| slice::from_ref(&**first))
                }
                _ => &part.traced,
            };
            let dead = |r: &&Traced| r.context.sampled || kept.is_some() || self.keep.dead_letter;
            let records: Vec<&Traced> = records.iter().filter(dead).collect();
            if records.is_empty() {
                continue;
            }
            let ends = (part.transaction.filter(|_| error.is_none()), event.at.mono);
            if !again {
                self.created(&place, &records, base, (ends, kept), sink);
            }
            let mut send = self.builder.send(&place, (&records, part.records), base);
            say_why(&mut send, kept);
            sink.span(send);
            if !again {
                let dead = records.iter().filter_map(|record| {
                    let letter = record.dead_letter.as_deref()?;
                    Some(self.builder.dead_letter(&place, record, letter, base))
                });
                dead.for_each(|span| sink.span(span));
            }
        }
    }

    /// The spans of records that this sidecar gave their context; those of a transaction wait for its end.
    fn created(
        &mut self,
        place: &Place<'_>,
        records: &[&Traced],
        base: Option<i64>,
        ((transaction, now), kept): ((Option<i64>, Instant), Option<Reason>),
        sink: &mut dyn Sink,
    ) {
        for record in records.iter().filter(|record| record.written) {
            let mut span = self.builder.create(place, record, base);
            say_why(&mut span, kept);
            let span = match transaction {
                Some(transaction) => self.transactions.created(transaction, span, now),
                None => Some(span),
            };
            if let Some(span) = span {
                sink.span(span);
            }
        }
    }

    fn delivered(
        &mut self,
        event: &Event,
        answer: &Answer,
        delivered: &Delivered,
        sink: &mut dyn Sink,
    ) {
        for part in &delivered.parts {
            let (records, why) = match &part.unrecorded {
                Some(first) if part.traced.is_empty() => {
                    let why = self.late(&part.topic, first, event.at);
                    (slice::from_ref(&**first), why)
                }
                _ => (&part.traced[..], Why::Recorded),
            };
            if records.is_empty() || why == Why::MayBeSlow && !self.may_look(part) {
                continue;
            }
            if why != Why::MayBeSlow {
                let place = place(event, answer, &part.topic, part.partition, None);
                let mut fetch =
                    self.builder
                        .fetch(&place, (records, part), delivered.group.as_ref());
                say_why(&mut fetch, why.reason());
                sink.span(fetch);
            }
            let missed = match &delivered.group {
                Some(group) => {
                    let of = (Name::clone(group), Name::clone(&part.topic), part.partition);
                    self.held.wait(of, records, (event.at, why))
                }
                None => self.wait((&part.topic, part.partition), records, (event.at, why)),
            };
            let missed = u64::try_from(missed).unwrap_or(u64::MAX);
            self.given_up = self.given_up.saturating_add(missed);
        }
    }

    /// Whether duplicates have spans though their trace is not recorded.
    #[must_use]
    pub fn keeps_duplicates(&self) -> bool {
        self.keep.duplicate
    }

    /// Whether one more may have, in this second; takes it.
    pub fn keeps_duplicate(&mut self, topic: &Name, now: Instant) -> bool {
        self.keep.duplicate && self.keep.has_room(topic, now)
    }

    /// Makes the spans of delivered records, in offset order, that their group was given before. To be called behind [`Self::take`] of the
    /// event.
    pub fn duplicated(
        &mut self,
        (event, answer): (&Event, &Answer),
        (part, group): (&DeliveredPart, Option<&Name>),
        records: &[Traced],
        sink: &mut dyn Sink,
    ) {
        let place = place(event, answer, &part.topic, part.partition, None);
        let mut fetch = self.builder.fetch(&place, (records, part), group);
        let kept = Some(Reason::Duplicate);
        say_why(&mut fetch, kept);
        sink.span(fetch);
        let why = Why::Kept(Reason::Duplicate);
        match group.filter(|_| !part.acquired.is_empty()) {
            // Of a share group: settled each by itself.
            Some(group) => {
                let of = (Name::clone(group), Name::clone(&part.topic), part.partition);
                let missed = self.held.wait(of, records, (event.at, why));
                let missed = u64::try_from(missed).unwrap_or(u64::MAX);
                self.given_up = self.given_up.saturating_add(missed);
            }
            None => {
                for record in records {
                    self.wait_among((&part.topic, part.partition), record, (event.at, why));
                }
            }
        }
    }

    /// A duplicate waits among those that do already, in offset order.
    fn wait_among(
        &mut self,
        (topic, partition): (&Name, i32),
        record: &Traced,
        (at, why): (Stamp, Why),
    ) {
        let waiting = Waiting {
            record: record.clone(),
            at,
            why,
        };
        let key = (Name::clone(topic), partition);
        let partition = self.waiting.entry(key).or_default();
        let behind = partition.partition_point(|w| w.record.offset < record.offset);
        match partition.get_mut(behind) {
            Some(known) if known.record.offset == record.offset => *known = waiting,
            _ if self.waiting_records < WAITING_MAX => {
                partition.insert(behind, waiting);
                self.waiting_records = self.waiting_records.saturating_add(1);
            }
            _ => self.given_up = self.given_up.saturating_add(1),
        }
    }

    /// Whether a record is delivered late, as far as is known.
    fn late(&mut self, topic: &Name, record: &Traced, at: Stamp) -> Why {
        let kept = self.keep.reason(topic, age(record, at), false, at.mono);
        kept.map_or(Why::MayBeSlow, Why::Kept)
    }

    /// Whether there is room for what may only turn out to be slow: a half is left to what is recorded.
    fn may_look(&mut self, part: &DeliveredPart) -> bool {
        self.waiting_records < WAITING_MAX / 2 && self.keep.awaits_commit(&part.topic)
    }

    /// How many there was no room for.
    fn wait(
        &mut self,
        (topic, partition): (&Name, i32),
        records: &[Traced],
        (at, why): (Stamp, Why),
    ) -> usize {
        let partition = self
            .waiting
            .entry((Name::clone(topic), partition))
            .or_default();
        // Delivered again from an earlier position: what was waiting from there on is superseded.
        let first = records.first().map_or(i64::MAX, |record| record.offset);
        let before = partition.len();
        while partition.back().is_some_and(|w| w.record.offset >= first) {
            partition.pop_back();
        }
        let superseded = before.saturating_sub(partition.len());
        let room = WAITING_MAX.saturating_sub(self.waiting_records.saturating_sub(superseded));
        let taken = records.len().min(room);
        partition.extend(records.iter().take(taken).map(|record| Waiting {
            record: record.clone(),
            at,
            why,
        }));
        self.waiting_records = self
            .waiting_records
            .saturating_sub(superseded)
            .saturating_add(taken);
        records.len().saturating_sub(taken)
    }

    fn settled(&mut self, event: &Event, answer: &Answer, settled: &Settled, sink: &mut dyn Sink) {
        for part in settled.parts.iter().filter(|part| part.error.is_none()) {
            let key = (Name::clone(&part.topic), part.partition);
            let Some(partition) = self.waiting.get_mut(&key) else {
                continue;
            };
            let mut done = 0usize;
            while let Some(first) = partition.front() {
                if first.record.offset >= part.offset {
                    break;
                }
                let Some(waiting) = partition.pop_front() else {
                    break;
                };
                done = done.saturating_add(1);
                if let Some(transaction) = settled.transaction
                    && waiting.why != Why::MayBeSlow
                {
                    let input = build::input(&part.topic, part.partition, &waiting.record);
                    self.transactions.read(transaction, input, event.at.mono);
                }
                let of = (&settled.group, &part.topic, part.partition);
                let (keep, builder) = (&mut self.keep, &self.builder);
                ended(
                    keep,
                    builder,
                    (event, answer),
                    of,
                    (&waiting, None, part.offset),
                    sink,
                );
            }
            self.waiting_records = self.waiting_records.saturating_sub(done);
            if partition.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }
}

/// Tells what became of a record that a member of (group, topic, partition) was given: (it, why it failed, the offset committed).
fn ended(
    keep: &mut Keep,
    builder: &Builder,
    (event, answer): (&Event, &Answer),
    (group, topic, partition): (&Name, &Name, i32),
    (waiting, error, offset): (&Waiting, Option<&'static str>, i64),
    sink: &mut dyn Sink,
) {
    let reason = match waiting.why {
        Why::MayBeSlow => {
            let took = age(&waiting.record, event.at);
            let slow = keep.reason_to_commit(topic, took, event.at.mono);
            if slow.is_none() {
                return;
            }
            slow
        }
        why => why.reason(),
    };
    let done = place(event, answer, topic, partition, error);
    let mut process = builder.process(&done, &waiting.record, waiting.at, group);
    say_why(&mut process, reason);
    let place = Place {
        error: None,
        ..done
    };
    let commit = builder.commit(&place, &process, group, offset);
    sink.span(process);
    sink.span(commit);
}

fn place<'e>(
    event: &'e Event,
    answer: &Answer,
    topic: &'e Name,
    partition: i32,
    error: Option<&'static str>,
) -> Place<'e> {
    let connection: &Connection = &event.connection;
    Place {
        broker: &connection.broker_address,
        client: &event.client,
        topic,
        partition,
        ended: event.at,
        took: answer.duration,
        error,
    }
}

/// Since a record was published; nothing where that is not known, or later by the clock of its producer.
fn age(record: &Traced, at: Stamp) -> Duration {
    let ms = record.published_ms.map(|ms| at.wall_ms.saturating_sub(ms));
    let ms = ms.and_then(|ms| u64::try_from(ms).ok());
    Duration::from_millis(ms.unwrap_or(0))
}

/// Marks a span of a record whose trace is not recorded.
fn say_why(span: &mut SpanData, kept: Option<Reason>) {
    if let Some(reason) = kept {
        put(span, semconv::KEPT, reason.as_str());
    }
}
