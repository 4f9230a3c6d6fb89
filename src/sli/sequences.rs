//! Holes in what idempotent producers sent: sequence numbers that were jumped over and that no retry brought.
//!
//! A producer numbers its records per partition, and a broker takes them in order, so a hole that stays means records that the
//! program believes sent and that are in no log. What a client does by itself is no hole: retries and answers out of order, parts of
//! a split batch, a new epoch (which renumbers, at every transaction of newer brokers). A batch whose answer was lost may have
//! arrived and is never counted. Must not know why an attempt failed beyond the error's name.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    loss::Loss,
    measure::{Measure, Sink},
    publish::{MAX_PRODUCERS, PRODUCER_IDLE, ProducerKey, RETRY_DEADLINE, reached},
};
use crate::event::{Produced, ProducedPart, ProducerSequence, PublishOutcome, Stamp, UNRESOLVED};

/// A hole that no retry closed by then is told.
pub const GAP_DEADLINE: Duration = RETRY_DEADLINE;
/// One of a producer whose connection ended, and which did not come back, is told this much later.
pub const GONE_AFTER: Duration = Duration::from_secs(10);
/// Most runs of sequence numbers, and most attempts without success, remembered per producer and partition; past it the producer
/// is begun anew and nothing is told of what was before.
pub const MAX_RUNS: usize = 16;

/// Sequence numbers count from 0 to 2^31 - 1 and begin again.
const MODULUS: i64 = 1 << 31;
/// What the broker answers to a batch that does not follow the one before.
const OUT_OF_ORDER: &str = "OUT_OF_ORDER_SEQUENCE_NUMBER";

/// First sequence number and the one after the last, counted on past [`MODULUS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    from: i64,
    to: i64,
}

impl Run {
    fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    fn holds(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}

/// A batch that was sent and is not known to be in the log.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    run: Run,
    /// Nobody knows how it ended.
    lost: bool,
}

/// One producer in one partition, under one epoch.
#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// End of the attempt seen last, to which the next one's number is near.
    near: i64,
    /// What the broker has: ascending, apart from each other.
    reached: Vec<Run>,
    unreached: Vec<Attempt>,
    /// Base of the farthest batch that the broker refused because something before it is missing.
    ahead: Option<i64>,
    /// Open holes and since when.
    holes: Vec<(Run, Instant)>,
    connection: u64,
    left: Option<Instant>,
    touched: Instant,
}

impl Producer {
    fn new(sequence: ProducerSequence, connection: u64, now: Instant) -> Self {
        Self {
            epoch: sequence.epoch,
            near: i64::from(sequence.base_sequence),
            reached: Vec::new(),
            unreached: Vec::new(),
            ahead: None,
            holes: Vec::new(),
            connection,
            left: None,
            touched: now,
        }
    }

    /// The numbers of a batch, counted on from those seen before.
    fn run(&mut self, base_sequence: i32, records: u64) -> Run {
        let half = MODULUS / 2;
        let distance = i64::from(base_sequence).saturating_sub(self.near);
        let distance = (distance.saturating_add(half)).rem_euclid(MODULUS) - half;
        let from = self.near.saturating_add(distance);
        let to = from.saturating_add(i64::try_from(records).unwrap_or(i64::MAX));
        self.near = to;
        Run { from, to }
    }

    fn attempt(&mut self, run: Run, outcome: &PublishOutcome, now: Instant) {
        if self
            .reached
            .first()
            .is_some_and(|first| run.to < first.from)
        {
            // From before this sidecar looked, or numbered anew under the same epoch, as old brokers make clients do.
            return;
        }
        match outcome {
            outcome if reached(outcome) => self.reach(run),
            PublishOutcome::Failed(failure) => {
                self.unreached.push(Attempt { run, lost: false });
                if failure.name == OUT_OF_ORDER {
                    self.ahead = self.ahead.max(Some(run.from));
                }
            }
            _ => self.unreached.push(Attempt { run, lost: true }),
        }
        if self.reached.len() > MAX_RUNS || self.unreached.len() > MAX_RUNS {
            self.reached.clear();
            self.unreached.clear();
            self.ahead = None;
        }
        self.look(now);
    }

    /// The broker has these, or they are as good as settled.
    fn reach(&mut self, mut run: Run) {
        self.reached.retain(|known| {
            let touches = known.from <= run.to && run.from <= known.to;
            if touches {
                run.from = run.from.min(known.from);
                run.to = run.to.max(known.to);
            }
            !touches
        });
        let at = self.reached.partition_point(|known| known.from < run.from);
        self.reached.insert(at, run);
        self.unreached.retain(|attempt| !run.holds(attempt.run));
        self.ahead = self.ahead.filter(|ahead| *ahead > run.to);
    }

    /// Finds the holes of now; one that only shrank keeps its age.
    fn look(&mut self, now: Instant) {
        let between = self.reached.windows(2).filter_map(|pair| match pair {
            [before, after] => Some(Run {
                from: before.to,
                to: after.from,
            }),
            _ => None,
        });
        let end = self.reached.last().map(|last| last.to);
        let before_refused = end.zip(self.ahead).filter(|(end, ahead)| end < ahead);
        let open = between.chain(before_refused.map(|(from, to)| Run { from, to }));
        let since = |hole: Run| {
            let known = self.holes.iter().find(|(known, _)| known.overlaps(hole));
            known.map_or(now, |(_, since)| *since)
        };
        self.holes = open.map(|hole| (hole, since(hole))).collect();
    }

    /// Takes the holes that nobody will close any more; how many of them are certain.
    fn settle(&mut self, now: Instant) -> u64 {
        let age = |since: Instant| now.saturating_duration_since(since);
        let gone = self.left.is_some_and(|left| age(left) >= GONE_AFTER);
        let due: Vec<Run> = self
            .holes
            .iter()
            .filter(|(_, since)| gone || age(*since) >= GAP_DEADLINE)
            .map(|(hole, _)| *hole)
            .collect();
        let certain = due.iter().filter(|hole| self.is_certain(**hole)).count();
        for hole in due {
            self.reach(hole);
        }
        self.look(now);
        u64::try_from(certain).unwrap_or(u64::MAX)
    }

    fn is_certain(&self, hole: Run) -> bool {
        let mut tried = self.unreached.iter().filter(|a| a.run.overlaps(hole));
        // Behind it the broker has something: then it is enough that nothing of it may have arrived. Else the broker only said
        // that something is missing, and what was tried and refused is a failed publish and no jump.
        if self.reached.iter().any(|run| run.from >= hole.to) {
            tried.all(|attempt| !attempt.lost)
        } else {
            tried.next().is_none()
        }
    }
}

/// Every idempotent producer behind this sidecar.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    producers: HashMap<ProducerKey, Producer>,
}

impl Sequences {
    /// Takes one publish request with its outcome.
    pub(super) fn take(&mut self, produced: &Produced, connection: u64, now: Instant) {
        for part in &produced.parts {
            if let Some(sequence) = part.sequence.filter(|_| counts(part)) {
                self.part(part, sequence, connection, now);
            }
        }
    }

    fn part(
        &mut self,
        part: &ProducedPart,
        sequence: ProducerSequence,
        connection: u64,
        now: Instant,
    ) {
        let key = ProducerKey::of(part, sequence);
        let full = self.producers.len() >= MAX_PRODUCERS && !self.producers.contains_key(&key);
        if full {
            return;
        }
        let fresh = || Producer::new(sequence, connection, now);
        let producer = self.producers.entry(key).or_insert_with(fresh);
        if sequence.epoch < producer.epoch {
            return;
        }
        if sequence.epoch > producer.epoch {
            *producer = fresh();
        }
        producer.touched = now;
        producer.connection = connection;
        producer.left = None;
        let run = producer.run(sequence.base_sequence, part.records);
        producer.attempt(run, &part.outcome, now);
    }

    /// A connection ended; what was open on it was told before.
    pub(super) fn closed(&mut self, connection: u64, now: Instant) {
        let on_it = |p: &&mut Producer| p.connection == connection;
        for producer in self.producers.values_mut().filter(on_it) {
            producer.left.get_or_insert(now);
        }
    }

    /// Something was missed: nothing seen before says anything of what comes.
    pub(super) fn forget(&mut self) {
        self.producers.clear();
    }

    /// Tells what stayed open too long.
    pub(super) fn tick(&mut self, now: Stamp, sink: &mut dyn Sink) {
        for (key, producer) in &mut self.producers {
            if producer.holes.is_empty() {
                continue;
            }
            let count = producer.settle(now.mono);
            if count > 0 {
                let topic = &key.topic;
                sink.record(Measure::Lost(Loss::Gaps { topic, count }));
            }
        }
        let idle = |p: &Producer| now.mono.saturating_duration_since(p.touched) >= PRODUCER_IDLE;
        self.producers.retain(|_, p| !idle(p));
    }
}

/// Whether the numbers of a publish can be told: of several batches only the first one's are known, and without acknowledgement
/// there is no order to keep.
fn counts(part: &ProducedPart) -> bool {
    part.batches == 1
        && part.records > 0
        && &*part.topic != UNRESOLVED
        && part.outcome != PublishOutcome::NotAsked
}
