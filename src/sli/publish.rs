//! The publish SLI: of the records the application tried to produce, how many did the broker take?
//!
//! An idempotent batch keeps its identity over retries, so it counts once, when the last word is known. Without idempotence a
//! retry cannot be recognised and every attempt is an event. Must not look at time except through the stamp it is given.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    duplicates::duplicate,
    measure::{DuplicateClass, Measure, Reason},
    verdicts::Out,
};
use crate::event::{Failure, Name, ProducedPart, ProducerSequence, PublishOutcome};

/// How long a retry may take: Java's and librdkafka's delivery timeout are 120 s and 300 s; past it the client has given up
/// or its retry is counted as a batch of its own.
pub const RETRY_DEADLINE: Duration = Duration::from_secs(150);
/// Most batches that wait for their retry.
pub const MAX_PENDING: usize = 10_000;
/// Most (topic, partition, producer) whose last sequences are remembered.
pub const MAX_PRODUCERS: usize = 20_000;
/// Sequences remembered per producer and partition; the broker itself remembers 5 batches.
const MAX_REMEMBERED: usize = 8;
/// A producer silent this long is forgotten.
pub(super) const PRODUCER_IDLE: Duration = Duration::from_secs(600);

/// The broker already has the batch: a retry of one whose answer was lost.
const ALREADY_THERE: &str = "DUPLICATE_SEQUENCE_NUMBER";
/// Not retriable by the protocol's table, but an idempotent producer sends the batch again nevertheless: after the batch
/// before it went through, or renumbered under a new epoch.
const SENT_AGAIN: [&str; 3] = [
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "UNKNOWN_PRODUCER_ID",
    "INVALID_PRODUCER_EPOCH",
];
/// A producer splits the batch and sends the parts, the first under the same sequence.
const SPLIT: &str = "MESSAGE_TOO_LARGE";

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProducerKey {
    pub(super) topic: Name,
    partition: i32,
    producer_id: i64,
}

impl ProducerKey {
    pub(super) fn of(part: &ProducedPart, sequence: ProducerSequence) -> Self {
        Self {
            topic: Arc::clone(&part.topic),
            partition: part.partition,
            producer_id: sequence.producer_id,
        }
    }
}

#[derive(Debug)]
struct Remembered {
    epoch: i16,
    judged: VecDeque<Judged>,
    touched: Instant,
}

/// A batch that has counted.
#[derive(Debug)]
struct Judged {
    base_sequence: i32,
    /// The broker has it.
    is_there: bool,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    records: u64,
    since: Instant,
    /// The last attempt was refused; otherwise its answer was lost.
    refused: bool,
}

/// Batches waiting for their retry, and what was judged lately.
#[derive(Debug, Default)]
pub(super) struct Publishes {
    pending: HashMap<(ProducerKey, i16, i32), Pending>,
    producers: HashMap<ProducerKey, Remembered>,
}

impl Publishes {
    /// Takes one partition of a publish request with its outcome. Whether the records are with the broker (with acks=0: were
    /// sent) and have not been told so before.
    pub(super) fn take(&mut self, part: &ProducedPart, out: &mut Out<'_>) -> bool {
        let series = out.publish(&part.topic);
        let is_there = reached(&part.outcome);
        if part.records == 0 {
            out.unknown(&series, Reason::OldFormat, u64::from(part.batches));
            if is_there {
                published(part, out);
            }
            return is_there;
        }
        match (part.sequence, part.outcome) {
            (_, PublishOutcome::NotAsked) => {
                out.unknown(&series, Reason::Acks0, part.records);
                published(part, out);
            }
            (Some(sequence), outcome) => return self.identified(part, sequence, outcome, out),
            (None, PublishOutcome::Acknowledged { .. }) => {
                out.judge(&series, part.records, 0);
                published(part, out);
            }
            (None, PublishOutcome::Failed(_)) => out.judge(&series, 0, part.records),
            (None, PublishOutcome::Lost) => {
                out.unknown(&series, Reason::ConnectionLost, part.records);
            }
        }
        is_there
    }

    /// Gives up on retries that are overdue.
    pub(super) fn tick(&mut self, out: &mut Out<'_>) {
        let now = out.now.mono;
        let overdue = |p: &Pending| now.saturating_duration_since(p.since) >= RETRY_DEADLINE;
        for ((key, _, _), pending) in self.pending.extract_if(|_, p| overdue(p)) {
            let series = out.publish(&key.topic);
            if pending.refused {
                out.judge(&series, 0, pending.records);
            } else {
                out.unknown(&series, Reason::ConnectionLost, pending.records);
            }
        }
        self.producers
            .retain(|_, p| now.saturating_duration_since(p.touched) < PRODUCER_IDLE);
    }

    fn identified(
        &mut self,
        part: &ProducedPart,
        sequence: ProducerSequence,
        outcome: PublishOutcome,
        out: &mut Out<'_>,
    ) -> bool {
        let key = ProducerKey::of(part, sequence);
        if let Some(judged) = self.known(&key, sequence, out) {
            if !reached(&outcome) {
                return false;
            }
            if !judged.is_there {
                judged.is_there = true;
                published(part, out);
                return true;
            }
            // What the broker had, it absorbs.
            let nobody = (out.empty(), Arc::clone(&part.topic), part.partition);
            let first = part.sent_to().base_offset;
            let which = (part.records, first.as_slice());
            duplicate(&nobody, DuplicateClass::ProducerRetry, which, out);
            return false;
        }
        let series = out.publish(&part.topic);
        if reached(&outcome) {
            self.resolve(&key, sequence, part.records);
            self.remember(key, sequence, true, out.now.mono);
            out.judge(&series, part.records, 0);
            published(part, out);
            return true;
        }
        let refused = match outcome {
            PublishOutcome::Failed(failure) => {
                if !comes_again(&failure, part.records) {
                    self.pending
                        .remove(&(key.clone(), sequence.epoch, sequence.base_sequence));
                    self.remember(key, sequence, false, out.now.mono);
                    out.judge(&series, 0, part.records);
                    return false;
                }
                true
            }
            _ => false,
        };
        self.wait(key, sequence, part.records, refused, out);
        false
    }

    /// This batch, where it was judged before. Notices a new epoch: what waits under the old one cannot be recognised any more.
    fn known(
        &mut self,
        key: &ProducerKey,
        sequence: ProducerSequence,
        out: &mut Out<'_>,
    ) -> Option<&mut Judged> {
        let remembered = self.producers.get_mut(key)?;
        remembered.touched = out.now.mono;
        if sequence.epoch > remembered.epoch {
            remembered.epoch = sequence.epoch;
            remembered.judged.clear();
            let stale = self
                .pending
                .extract_if(|(k, epoch, _), _| k == key && *epoch < sequence.epoch);
            for (_, pending) in stale {
                let series = out.publish(&key.topic);
                out.unknown(&series, Reason::EpochBump, pending.records);
            }
            return None;
        }
        let mut judged = remembered.judged.iter_mut();
        judged.find(|batch| {
            sequence.epoch == remembered.epoch && batch.base_sequence == sequence.base_sequence
        })
    }

    fn resolve(&mut self, key: &ProducerKey, sequence: ProducerSequence, records: u64) {
        let slot = (key.clone(), sequence.epoch, sequence.base_sequence);
        let Some(pending) = self.pending.remove(&slot) else {
            return;
        };
        // A split batch: its first part went through, the rest follows under the next sequence number.
        let rest = pending.records.saturating_sub(records);
        let next = i32::try_from(records)
            .ok()
            .and_then(|n| sequence.base_sequence.checked_add(n));
        if let (Some(next), 1..) = (next, rest) {
            let pending = Pending {
                records: rest,
                ..pending
            };
            self.pending
                .entry((key.clone(), sequence.epoch, next))
                .or_insert(pending);
        }
    }

    fn remember(
        &mut self,
        key: ProducerKey,
        sequence: ProducerSequence,
        is_there: bool,
        now: Instant,
    ) {
        if let Some(remembered) = self.slot(key, sequence.epoch, now)
            && remembered.epoch == sequence.epoch
        {
            if remembered.judged.len() >= MAX_REMEMBERED {
                remembered.judged.pop_front();
            }
            remembered.judged.push_back(Judged {
                base_sequence: sequence.base_sequence,
                is_there,
            });
        }
    }

    fn slot(&mut self, key: ProducerKey, epoch: i16, now: Instant) -> Option<&mut Remembered> {
        if self.producers.len() >= MAX_PRODUCERS && !self.producers.contains_key(&key) {
            return None;
        }
        let fresh = || Remembered {
            epoch,
            judged: VecDeque::new(),
            touched: now,
        };
        Some(self.producers.entry(key).or_insert_with(fresh))
    }

    fn wait(
        &mut self,
        key: ProducerKey,
        sequence: ProducerSequence,
        records: u64,
        refused: bool,
        out: &mut Out<'_>,
    ) {
        let now = out.now.mono;
        // So that a new epoch is noticed although nothing was judged yet.
        self.slot(key.clone(), sequence.epoch, now);
        let topic = Arc::clone(&key.topic);
        let slot = (key, sequence.epoch, sequence.base_sequence);
        if let Some(pending) = self.pending.get_mut(&slot) {
            pending.refused = refused;
        } else if self.pending.len() < MAX_PENDING {
            let pending = Pending {
                records,
                since: now,
                refused,
            };
            self.pending.insert(slot, pending);
        } else {
            let series = out.publish(&topic);
            out.unknown(&series, Reason::PendingFull, records);
        }
    }
}

/// Whether the broker has the batch, or was sent it without being asked.
pub(super) fn reached(outcome: &PublishOutcome) -> bool {
    match outcome {
        PublishOutcome::Acknowledged { .. } | PublishOutcome::NotAsked => true,
        PublishOutcome::Failed(failure) => failure.name == ALREADY_THERE,
        PublishOutcome::Lost => false,
    }
}

fn comes_again(failure: &Failure, records: u64) -> bool {
    failure.retriable
        || SENT_AGAIN.contains(&failure.name)
        || (failure.name == SPLIT && records > 1)
}

fn published(part: &ProducedPart, out: &mut Out<'_>) {
    out.measure(Measure::Published {
        topic: &part.topic,
        records: part.records,
        bytes: part.bytes,
    });
}
