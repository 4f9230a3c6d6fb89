//! Spans, from what passed: a record is created, sent, fetched, processed, committed.
//!
//! Only records whose trace is recorded have spans. The create span's id is the one on the wire, so that what anyone makes of
//! the record finds its parent. A process span is inferred: from delivery to commit. Must not export anything, nor know a
//! protocol.

pub mod semconv;

mod build;
mod rebuilt;
#[cfg(test)]
mod tests;
mod transactions;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use opentelemetry_sdk::trace::SpanData;
use tokio::time::Instant;

pub use self::rebuilt::{Rebuilt, rebuilt};

use self::{
    build::{Builder, Place},
    transactions::Transactions,
};
use crate::{
    event::{
        Answer, Connection, Delivered, DeliveredPart, Event, EventKind, Facts, Name, Produced,
        ProducedPart, PublishOutcome, Settled, Stamp, Traced,
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

/// A delivered record whose trace is recorded, until it is settled.
#[derive(Debug)]
struct Waiting {
    record: Traced,
    at: Stamp,
}

/// What is delivered and not settled, of one partition.
type Partition = VecDeque<Waiting>;

/// Makes spans of events.
#[derive(Debug)]
pub struct Spans {
    builder: Builder,
    waiting: BTreeMap<(Name, i32), Partition>,
    waiting_records: usize,
    given_up: u64,
    transactions: Transactions,
}

impl Spans {
    /// `None` where the operating system gives no randomness for ids.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {
            builder: Builder::new(IdSource::random()?),
            waiting: BTreeMap::new(),
            waiting_records: 0,
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
            Facts::Delivered(delivered) => self.delivered(event, answer, delivered, sink),
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
        let mut gone = 0usize;
        self.waiting.retain(|_, partition| {
            while let Some(first) = partition.front() {
                if now.saturating_duration_since(first.at.mono) < WAITING_AGE_MAX {
                    break;
                }
                partition.pop_front();
                gone = gone.saturating_add(1);
            }
            !partition.is_empty()
        });
        self.forget(gone);
    }

    fn forget(&mut self, records: usize) {
        self.waiting_records = self.waiting_records.saturating_sub(records);
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.given_up = self.given_up.saturating_add(records);
    }

    fn produced(
        &mut self,
        event: &Event,
        answer: &Answer,
        produced: &Produced,
        sink: &mut dyn Sink,
    ) {
        for part in &produced.parts {
            if part.traced.is_empty() {
                continue;
            }
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
            if !again {
                let written = part.traced.iter().filter(|record| record.written);
                for record in written {
                    let mut span = Some(self.builder.create(&place, record, base));
                    if let (Some(transaction), None) = (part.transaction, error) {
                        let created = span.take();
                        span = created
                            .and_then(|s| self.transactions.created(transaction, s, event.at.mono));
                    }
                    if let Some(span) = span {
                        sink.span(span);
                    }
                }
            }
            sink.span(self.builder.send(&place, part, base));
            if !again {
                let dead = part.traced.iter().filter_map(|record| {
                    let letter = record.dead_letter.as_deref()?;
                    Some(self.builder.dead_letter(&place, record, letter, base))
                });
                dead.for_each(|span| sink.span(span));
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
            if part.traced.is_empty() {
                continue;
            }
            let place = place(event, answer, &part.topic, part.partition, None);
            sink.span(self.builder.fetch(&place, part, delivered.group.as_ref()));
            self.wait(part, event.at);
        }
    }

    fn wait(&mut self, part: &DeliveredPart, at: Stamp) {
        let key = (Name::clone(&part.topic), part.partition);
        let partition = self.waiting.entry(key).or_default();
        // Delivered again from an earlier position: what was waiting from there on is superseded.
        let first = part.traced.first().map_or(i64::MAX, |record| record.offset);
        let before = partition.len();
        while partition.back().is_some_and(|w| w.record.offset >= first) {
            partition.pop_back();
        }
        let superseded = before.saturating_sub(partition.len());
        let room = WAITING_MAX.saturating_sub(self.waiting_records.saturating_sub(superseded));
        let taken = part.traced.len().min(room);
        partition.extend(part.traced.iter().take(taken).map(|record| Waiting {
            record: record.clone(),
            at,
        }));
        self.waiting_records = self
            .waiting_records
            .saturating_sub(superseded)
            .saturating_add(taken);
        let missed = part.traced.len().saturating_sub(taken);
        self.given_up = self
            .given_up
            .saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
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
                if let Some(transaction) = settled.transaction {
                    let input = build::input(&part.topic, part.partition, &waiting.record);
                    self.transactions.read(transaction, input, event.at.mono);
                }
                let place = place(event, answer, &part.topic, part.partition, None);
                let process =
                    self.builder
                        .process(&place, &waiting.record, waiting.at, &settled.group);
                let commit = self
                    .builder
                    .commit(&place, &process, &settled.group, part.offset);
                sink.span(process);
                sink.span(commit);
            }
            self.waiting_records = self.waiting_records.saturating_sub(done);
            if partition.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }
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

/// Records of a publish, for the batch's count.
fn records_of(part: &ProducedPart) -> i64 {
    i64::try_from(part.records).unwrap_or(i64::MAX)
}
