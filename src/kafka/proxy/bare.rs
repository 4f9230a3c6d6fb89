//! Records that are sent without a context and keep none: their context follows from their position, once the answer names it.
//!
//! What a record is and where it comes from is noted while the request passes, when only what was delivered before can be its
//! parent; which of them are sampled is known with their offsets. Must not change a byte.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    inject::{Injector, descend},
    recent::{LOOK_RECORDS, TRACED_MAX, carried, dead_letter, derived, report, seen},
    shared::Shared,
};
use crate::{
    event::{Candidates, Name, Origin, ProducedPart, PublishOutcome, Reservation, Stamp, Traced},
    kafka::wire::record::Records,
    lineage::Parent,
    propagation::{DeadLetter, Evidence, Sampling, Sent, Traceparent, is_dead_letter_topic},
};

/// Records noted per partition of one request; more pass and have no spans.
const BARE_MAX: usize = 1_024;

/// What is noted of one partition's records.
#[derive(Debug)]
pub(crate) struct Bare {
    /// Place of its part among those of the request.
    pub(crate) part: usize,
    threshold: u64,
    at_ms: i64,
    records: Vec<Noted>,
    _room: Reservation,
}

/// A record without a context.
#[derive(Debug)]
struct Noted {
    /// Behind the first of its batch.
    offset: i64,
    evidence: Evidence,
    correlation: Option<Arc<str>>,
    body_bytes: usize,
    tombstone: bool,
    origin: Option<Box<Origin>>,
    dead_letter: Option<Box<DeadLetter>>,
}

/// One batch on its way to the broker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentBatch<'b> {
    pub(crate) topic: &'b Name,
    pub(crate) at: Stamp,
    /// Its records are compressed.
    pub(crate) packed: bool,
    pub(crate) bytes: &'b [u8],
}

impl Bare {
    /// Notes the records of a batch that carry nothing; those that carry a context are reported with it. Reads as far as the
    /// time for it goes. `found` are the parents of the first records, where somebody has looked for them. `None` where there
    /// is nothing to name later.
    pub(crate) fn note(
        shared: &Shared,
        batch: SentBatch<'_>,
        part: (usize, &mut ProducedPart),
        found: Vec<Option<Parent>>,
    ) -> Option<Self> {
        let records = usize::try_from(part.1.records).map_or(BARE_MAX, |n| n.min(BARE_MAX));
        let room = shared
            .inject
            .hold(records.saturating_mul(size_of::<Noted>()))?;
        if batch.packed && !shared.inject.may_spend(batch.topic, batch.at.mono) {
            return None;
        }
        let began = Instant::now();
        let (number, part) = part;
        shared.recent.produces();
        let records = read(shared, batch, part, began, found);
        if batch.packed {
            shared.inject.spend(batch.topic, began.elapsed());
        }
        let records = records.filter(|records| !records.is_empty())?;
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        Some(Self {
            part: number,
            threshold: shared
                .inject
                .sent_threshold(batch.topic, batch.at.mono, count)?,
            at_ms: batch.at.wall_ms,
            records,
            _room: room,
        })
    }

    /// The records are where the broker says: reports those that are sampled, in their partition's part. Of a publish that
    /// failed for good it reports the first, under ids that stand for nothing but that.
    pub(crate) fn name(self, part: &mut ProducedPart, cluster: &str, inject: &Injector) {
        let base_offset = match part.outcome {
            PublishOutcome::Acknowledged { base_offset, .. } if base_offset >= 0 => base_offset,
            // What may be tried again may get a position yet.
            PublishOutcome::Failed(failure) if !failure.retriable => {
                let first = self.records.into_iter().next();
                let context = inject.fresh();
                if let (Some(first), Some(context)) = (first, context) {
                    let told = first.traced(context, self.at_ms, false);
                    report(told, &mut part.traced, &mut part.unrecorded);
                }
                return;
            }
            _ => return,
        };
        for (number, record) in self.records.into_iter().enumerate() {
            if part.traced.len() >= TRACED_MAX {
                return;
            }
            let offset = base_offset.saturating_add(record.offset);
            let Some(context) = derived(cluster, &part.topic, part.partition, offset) else {
                return;
            };
            let sampled = Sampling::default().keeps(&context, self.threshold);
            if sampled || record.dead_letter.is_some() || number == 0 {
                let context = Traceparent { sampled, ..context };
                let told = record.traced(context, self.at_ms, true);
                report(told, &mut part.traced, &mut part.unrecorded);
            }
        }
    }
}

impl Noted {
    /// With the context that stands for it, which it does not carry.
    fn traced(self, context: Traceparent, at_ms: i64, derived: bool) -> Traced {
        Traced {
            offset: self.offset,
            context,
            sent: Some(Sent {
                at_ms,
                // In a trace of its own: linked, not a child.
                parent: None,
                evidence: self.evidence,
            }),
            written: true,
            derived,
            published_ms: None,
            correlation: self.correlation,
            body_bytes: self.body_bytes,
            tombstone: self.tombstone,
            origin: self.origin,
            candidates: Candidates::default(),
            dead_letter: self.dead_letter,
        }
    }
}

/// The records without a context; `None` where the batch cannot be read.
fn read(
    shared: &Shared,
    batch: SentBatch<'_>,
    part: &mut ProducedPart,
    began: Instant,
    found: Vec<Option<Parent>>,
) -> Option<Vec<Noted>> {
    let recent = &shared.recent;
    let records = Records::open(batch.bytes, recent.body_bytes()).ok()?;
    let lineage = !recent.is_empty();
    let (target, dead_letters) = (
        recent.target(batch.topic),
        is_dead_letter_topic(batch.topic),
    );
    let mut found = found.into_iter();
    let mut bare = Vec::new();
    for (number, record) in records.iter().enumerate() {
        if number.is_multiple_of(LOOK_RECORDS) && recent.is_late(began) {
            break;
        }
        let record = record.ok()?;
        let known = found.next();
        let carried = carried(&record, recent.names());
        let delta = i64::from(record.offset_delta);
        if let Some(Ok(theirs)) = carried.traceparent {
            let letter = dead_letter(batch.topic, dead_letters, theirs.sampled, &record);
            if theirs.sampled || letter.is_some() || number == 0 {
                let told = Traced {
                    dead_letter: letter,
                    ..seen(delta, theirs, &record, &carried)
                };
                report(told, &mut part.traced, &mut part.unrecorded);
            }
            continue;
        }
        if carried.is_traced() {
            continue;
        }
        let parent = match known {
            Some(known) => known,
            None if lineage => recent.parent(target, &record, &carried, batch.at.mono),
            None => None,
        };
        descend(&mut part.descent, parent.as_ref(), batch.at.mono);
        if bare.len() < BARE_MAX {
            bare.push(Noted {
                offset: delta,
                evidence: parent.as_ref().map_or(Evidence::Root, |p| p.evidence),
                correlation: carried.correlation_id.map(Arc::from),
                body_bytes: record.value.map_or(0, <[u8]>::len),
                tombstone: record.value.is_none(),
                origin: parent.map(|p| Box::new(p.origin())),
                dead_letter: dead_letter(batch.topic, dead_letters, false, &record),
            });
        }
    }
    Some(bare)
}
