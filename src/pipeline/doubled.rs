//! Spans of records that their group was given before, though their trace is not recorded.
//!
//! Which records those are only the engine knows, behind the spans of the event; what they carry is in the captured batch. Must not decide
//! what a span says.

use super::{
    decode::Decoder,
    notes::{Found, Note, Notes, Which},
    worker::Tracing,
};
use crate::{
    event::{
        BatchFact, Candidates, Delivered, DeliveredPart, Event, EventKind, Facts, Name, RecordView,
        Traced,
    },
    propagation::{Traceparent, derive},
    sli::DuplicateClass,
};

impl Tracing {
    /// Whether somebody is to tell which records are duplicates.
    pub(super) fn wants_duplicates(&self) -> bool {
        self.spans.keeps_duplicates()
    }

    /// Makes the spans of what was noted of one event.
    pub(super) fn duplicates(&mut self, event: &Event, notes: &Notes, decoder: &mut Decoder) {
        let EventKind::Answered(answer) = &event.kind else {
            return;
        };
        let Facts::Delivered(delivered) = &answer.facts else {
            return;
        };
        if notes.all.is_empty() {
            return;
        }
        let Delivered { group, parts, .. } = delivered;
        for part in parts {
            let group = group.as_ref().or_else(|| notes.group_of(&part.topic));
            for fact in &part.batches {
                let records = self.records(event, (part, fact), notes, decoder);
                if !records.is_empty() {
                    let sink = self.sink.as_mut();
                    self.spans
                        .duplicated((event, answer), (part, group), &records, sink);
                }
            }
        }
    }

    fn records(
        &mut self,
        event: &Event,
        (part, fact): (&DeliveredPart, &BatchFact),
        notes: &Notes,
        decoder: &mut Decoder,
    ) -> Vec<Traced> {
        let within = fact.base_offset..=fact.last_offset;
        let doubled = notes.all.iter().filter_map(|note| offset(note, part));
        let has_spans = |at: &i64| part.traced.iter().any(|known| known.offset == *at);
        let mut offsets: Vec<i64> = doubled
            .filter(|at| within.contains(at) && !has_spans(at))
            .collect();
        offsets.retain(|_| self.spans.keeps_duplicate(&part.topic, event.at.mono));
        let mut records = Vec::new();
        if let Some(first) = part.unrecorded.as_deref()
            && let Some(at) = offsets.iter().position(|at| *at == first.offset)
        {
            offsets.swap_remove(at);
            records.push(first.clone());
        }
        let (Some(captured), false) = (&fact.captured, offsets.is_empty()) else {
            return records;
        };
        let offset_of = |record: i32| fact.base_offset.saturating_add(i64::from(record));
        let views = decoder.show(&captured.bytes, fact.codec, &mut |record, _| {
            offsets.contains(&offset_of(record))
        });
        let cluster = self.cluster.borrow().clone().unwrap_or_default();
        records.extend(views.into_iter().filter_map(|view| {
            let offset = offset_of(view.record);
            traced(view, &cluster, (&part.topic, part.partition, offset))
        }));
        records.sort_by_key(|record| record.offset);
        records
    }
}

/// Only what the SLI counts: what a rebalance or an intention brings again is no fault.
fn offset(note: &Note, part: &DeliveredPart) -> Option<i64> {
    let counted = matches!(
        note.found,
        Found::Duplicate(DuplicateClass::AppendedTwice | DuplicateClass::Redelivered)
    );
    match &note.which {
        Which::Delivered {
            topic,
            partition,
            offset,
        } if counted && *topic == part.topic && *partition == part.partition => Some(*offset),
        _ => None,
    }
}

/// As the dataplane would have told of it; `None` where another tracer was at work, or no cluster is known to derive ids from.
fn traced(
    view: RecordView,
    cluster: &str,
    (topic, partition, offset): (&Name, i32, i64),
) -> Option<Traced> {
    if view.traced_otherwise {
        return None;
    }
    let context = match view.context {
        Some(context) => context,
        None => {
            let (trace_id, span_id) = derive(cluster, topic, partition, offset)?;
            Traceparent {
                trace_id,
                span_id,
                sampled: false,
                random: true,
            }
        }
    };
    Some(Traced {
        offset,
        context,
        sent: view.sent,
        written: false,
        derived: view.context.is_none(),
        published_ms: Some(view.published_ms),
        correlation: view.correlation,
        body_bytes: view.body_bytes,
        tombstone: view.tombstone,
        origin: None,
        candidates: Candidates::default(),
        dead_letter: None,
    })
}
