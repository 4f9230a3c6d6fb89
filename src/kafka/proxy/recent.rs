//! Puts what is delivered into the index of recent deliveries, before its last byte leaves.
//!
//! Only then may the program send something that comes from it, so injection never asks too early. The time a batch may be kept
//! for it is bounded; what is over goes on unindexed and is counted. A program that sends nothing is soon left alone.
//! Must not change a byte.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{settings::LineageSettings, shared::Shared};
use crate::{
    event::{Acquired, Candidates, Name, Stamp, Traced},
    kafka::wire::record::{Record, Records},
    lineage::{BusinessIds, Delivered, Deliveries, Parent, Produced, Target},
    propagation::{
        Carried, CorrelationNames, DeadLetter, RANDOMNESS_MAX, SENT_MEMBER, Sampling, SpanId,
        Traceparent, derive,
    },
};

/// Records with a recorded trace that are reported per partition of one request or answer.
pub(crate) const TRACED_MAX: usize = 64;
/// Records between two looks at the clock.
pub(crate) const LOOK_RECORDS: usize = 32;
/// For so long a program that has sent nothing yet is watched.
const QUIET: Duration = Duration::from_secs(60);

/// The recent deliveries of the program, and how they are read.
#[derive(Debug)]
pub(crate) struct Recent {
    deliveries: Deliveries,
    business: BusinessIds,
    names: CorrelationNames,
    hold: Duration,
    /// Largest body of a batch once decompressed.
    body_bytes: usize,
    first_delivery: OnceLock<Instant>,
    /// Somebody wants to know of every delivered record whose trace is recorded.
    traces: bool,
    produces: AtomicBool,
}

/// One batch on its way to the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeliveredBatch<'b> {
    pub(crate) topic: &'b Name,
    pub(crate) partition: i32,
    /// Records before it are no delivery.
    pub(crate) asked: Option<i64>,
    /// Its records are compressed.
    pub(crate) packed: bool,
    pub(crate) records: u64,
    /// Share groups: what the member was given of it, by first offset. `None`: everything.
    pub(crate) acquired: Option<&'b [Acquired]>,
    pub(crate) bytes: &'b [u8],
}

impl DeliveredBatch<'_> {
    /// Whether the application is given the record at an offset.
    fn gives(&self, offset: i64) -> bool {
        self.asked.is_none_or(|asked| offset >= asked)
            && self
                .acquired
                .is_none_or(|runs| Acquired::cover(runs, offset))
    }
}

/// What is reported of delivered records.
#[derive(Debug)]
pub(crate) struct Found<'p> {
    /// Those whose trace is recorded.
    pub(crate) traced: &'p mut Vec<Traced>,
    /// The first of the others.
    pub(crate) unrecorded: &'p mut Option<Box<Traced>>,
}

impl Recent {
    pub(crate) fn new(
        settings: LineageSettings,
        names: CorrelationNames,
        body_bytes: usize,
    ) -> Self {
        Self {
            deliveries: Deliveries::new(settings.deliveries),
            business: settings.business,
            names,
            hold: settings.hold,
            body_bytes,
            first_delivery: OnceLock::new(),
            traces: settings.traces,
            produces: AtomicBool::new(false),
        }
    }

    /// Somebody wants to know of every record whose trace is recorded.
    pub(crate) fn traces(&self) -> bool {
        self.traces && !self.hold.is_zero()
    }

    pub(crate) fn names(&self) -> &CorrelationNames {
        &self.names
    }

    pub(crate) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The time for a batch that was begun then is over.
    pub(crate) fn is_late(&self, began: Instant) -> bool {
        began.elapsed() > self.hold
    }

    /// The program sends records too.
    pub(crate) fn produces(&self) {
        if !self.produces.load(Relaxed) {
            self.produces.store(true, Relaxed);
        }
    }

    /// Whether what is delivered now is looked at.
    pub(crate) fn wants(&self, now: Instant) -> bool {
        if self.hold.is_zero() {
            return false;
        }
        let first = *self.first_delivery.get_or_init(|| now);
        self.traces || self.produces.load(Relaxed) || now.saturating_duration_since(first) < QUIET
    }

    /// Indexes a batch. False where the time for it was over before its end, or it cannot be read.
    pub(crate) fn index(
        &self,
        shared: &Shared,
        batch: DeliveredBatch<'_>,
        at: Stamp,
        found: Found<'_>,
    ) -> bool {
        if !batch.packed {
            return self.read(shared, batch, at, found);
        }
        if !shared.inject.may_spend(batch.topic, at.mono) {
            return false;
        }
        let began = Instant::now();
        let whole = self.read(shared, batch, at, found);
        shared.inject.spend(batch.topic, began.elapsed());
        whole
    }

    /// A batch of this topic is delivered unindexed: counts it.
    pub(crate) fn missed(&self, shared: &Shared, topic: &Name, now: Instant) {
        shared.counters.add_unindexed(1);
        self.deliveries.missed(topic, now);
    }

    fn read(
        &self,
        shared: &Shared,
        batch: DeliveredBatch<'_>,
        at: Stamp,
        Found { traced, unrecorded }: Found<'_>,
    ) -> bool {
        let began = Instant::now();
        let Ok(records) = Records::open(batch.bytes, self.body_bytes) else {
            return false;
        };
        let header = *records.header();
        let base = header.base_offset;
        let cluster = shared.cluster_id.borrow().clone().unwrap_or_default();
        let mut index = self.deliveries.batch(batch.topic, batch.partition, at.mono);
        let mut threshold = None;
        for (number, record) in records.iter().enumerate() {
            let Ok(record) = record else { return false };
            if number.is_multiple_of(LOOK_RECORDS) && self.is_late(began) {
                return false;
            }
            let offset = base.saturating_add(i64::from(record.offset_delta));
            if !batch.gives(offset) {
                continue;
            }
            let carried = carried(&record, &self.names);
            let (context, sampling) = match carried.traceparent {
                Some(Ok(context)) => {
                    let sampling = carried.tracestate.member(Sampling::MEMBER);
                    (Some(context), sampling.map(Sampling::parse))
                }
                _ => {
                    let context = derived(&cluster, batch.topic, batch.partition, offset);
                    let sampled =
                        |context| self.samples(shared, batch, at, &mut threshold, context);
                    (context.map(sampled), None)
                }
            };
            let Some(context) = context else { continue };
            let decided = matches!(carried.traceparent, Some(Ok(_)));
            // What another tracer marked in its own way has no span at its producer's.
            let ours = decided || !carried.is_traced();
            let anyway = self.traces && unrecorded.is_none() && traced.is_empty();
            if ours && (context.sampled && traced.len() < TRACED_MAX || anyway) {
                let published_ms = Some(header.published_ms(record.timestamp_delta));
                let record = Traced {
                    derived: !decided,
                    published_ms,
                    ..seen(offset, context, &record, &carried)
                };
                report(record, traced, unrecorded);
            }
            let business = self.business_of(&record);
            let inherited = decided
                .then(|| carried.tracestate.without(&[SENT_MEMBER, Sampling::MEMBER]))
                .flatten();
            index.add(&Delivered {
                offset,
                key: record.key,
                context,
                threshold: sampling.and_then(|s| s.threshold),
                decided,
                correlation: carried.correlation_id,
                inherited: inherited.as_deref(),
                business: &business,
            });
        }
        true
    }

    /// Decides on a trace whose context follows from the position, as the sidecar of its producer does.
    fn samples(
        &self,
        shared: &Shared,
        batch: DeliveredBatch<'_>,
        at: Stamp,
        threshold: &mut Option<u64>,
        context: Traceparent,
    ) -> Traceparent {
        if !self.traces {
            return context;
        }
        let threshold = *threshold.get_or_insert_with(|| {
            let (inject, records) = (&shared.inject, batch.records);
            let threshold = inject.delivered_threshold(batch.topic, at.mono, records);
            threshold.unwrap_or(RANDOMNESS_MAX)
        });
        Traceparent {
            sampled: Sampling::default().keeps(&context, threshold),
            ..context
        }
    }

    fn business_of(&self, record: &Record<'_>) -> Vec<u64> {
        if self.business.is_empty() {
            return Vec::new();
        }
        self.business.of(headers(record), record.value)
    }

    /// Whether there is anything a record could come from.
    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// A topic that records are about to be sent to.
    pub(crate) fn target(&self, topic: &Name) -> Target {
        self.deliveries.target(topic)
    }

    /// The parent of a record about to be sent.
    pub(crate) fn parent(
        &self,
        target: Target,
        record: &Record<'_>,
        carried: &Carried<'_>,
        now: Instant,
    ) -> Option<Parent> {
        let business = self.business_of(record);
        let produced = produced(record, carried, &business);
        self.deliveries.parent(target, produced, now)
    }

    /// What a record about to be sent may come from besides its parent.
    pub(crate) fn candidates(
        &self,
        target: Target,
        record: &Record<'_>,
        carried: &Carried<'_>,
        (parent, now): (Option<SpanId>, Instant),
    ) -> Candidates {
        let business = self.business_of(record);
        let produced = produced(record, carried, &business);
        self.deliveries.candidates(target, produced, parent, now)
    }

    /// The program has settled everything before `offset`.
    pub(crate) fn settled(&self, topic: &Name, partition: i32, offset: i64) {
        self.deliveries.settled(topic, partition, offset);
    }
}

fn headers<'r>(record: &Record<'r>) -> impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)> + Clone {
    record.headers().map_while(|header| {
        let header = header.ok()?;
        Some((header.key, header.value))
    })
}

/// What the headers of a record say.
pub(crate) fn carried<'r>(record: &Record<'r>, names: &CorrelationNames) -> Carried<'r> {
    Carried::read(headers(record), names)
}

/// What a record about to be sent was before its program gave up on it, or set it aside. Where its trace is not recorded it is looked at only
/// in a topic that is `named` for it.
pub(crate) fn dead_letter(
    topic: &str,
    named: bool,
    sampled: bool,
    record: &Record<'_>,
) -> Option<Box<DeadLetter>> {
    if !named && !sampled {
        return None;
    }
    DeadLetter::set_aside(topic, headers(record)).map(Box::new)
}

/// By what a record about to be sent is recognised.
fn produced<'r>(record: &Record<'r>, carried: &Carried<'r>, business: &'r [u64]) -> Produced<'r> {
    Produced {
        key: record.key,
        correlation: carried.correlation_id,
        business,
    }
}

/// Where a record that is looked at belongs: among those whose trace is recorded, or kept in case that something goes wrong.
pub(crate) fn report(
    record: Traced,
    traced: &mut Vec<Traced>,
    unrecorded: &mut Option<Box<Traced>>,
) {
    if record.context.sampled || record.dead_letter.is_some() {
        if traced.len() < TRACED_MAX {
            traced.push(record);
        }
    } else if unrecorded.is_none() {
        *unrecorded = Some(Box::new(record));
    }
}

/// A record, as it is.
pub(crate) fn seen(
    offset: i64,
    context: Traceparent,
    record: &Record<'_>,
    carried: &Carried<'_>,
) -> Traced {
    Traced {
        offset,
        context,
        sent: carried.sent(),
        written: false,
        derived: false,
        published_ms: None,
        correlation: carried.correlation_id.map(Arc::from),
        body_bytes: record.value.map_or(0, <[u8]>::len),
        tombstone: record.value.is_none(),
        origin: None,
        candidates: Candidates::default(),
        dead_letter: None,
    }
}

/// The context of a record that carries none follows from its position, at both ends alike.
pub(crate) fn derived(
    cluster: &str,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Option<Traceparent> {
    let (trace_id, span_id) = derive(cluster, topic, partition, offset)?;
    Some(Traceparent {
        trace_id,
        span_id,
        sampled: false,
        random: true,
    })
}
