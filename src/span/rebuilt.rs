//! Spans of records that were found in Kafka, long after they passed.
//!
//! Ids are those on the wire where the record was created under its own, else they follow from its position: sent twice, the
//! spans are the same ones. Must not decide which record comes from which.

use opentelemetry_sdk::trace::SpanData;
use tokio::time::Instant;

use super::{
    build::{Builder, CREATE, DEAD_LETTER, Operation, Place, SEND, link_to, put, sampled},
    semconv,
};
use crate::{
    event::{Name, Stamp},
    propagation::{DeadLetter, IdSource, Position, SpanId, Traceparent, derive},
};

/// A record, and how it hangs in the tree of its event.
#[derive(Debug, Clone, Copy)]
pub struct Rebuilt<'r> {
    /// Where it stands.
    pub position: &'r Position,
    /// The context it carries, or the one that its position stands for; `None` where it only has a correlation id.
    pub context: Option<Traceparent>,
    /// The context was given to this record and no other, and no other tracer has a span of it.
    pub created: bool,
    /// The span that the record itself names as its parent.
    pub sent_from: Option<SpanId>,
    /// Place of its parent among the records.
    pub parent: Option<usize>,
    /// How that was found.
    pub evidence: &'r str,
    /// When it was sent, ms since the Unix epoch.
    pub at_ms: i64,
    /// Its correlation id.
    pub correlation: Option<&'r str>,
    /// What it was before a program gave up on it.
    pub dead_letter: Option<&'r DeadLetter>,
    /// The earlier record that has the same parent, topic, key and value.
    pub duplicate_of: Option<&'r Position>,
    /// It was written in a transaction that was taken back.
    pub aborted: bool,
}

/// One span each, in their order; `None` where the operating system gives no randomness.
#[must_use]
pub fn rebuilt(records: &[Rebuilt<'_>], cluster: Option<&str>) -> Option<Vec<SpanData>> {
    let mut builder = Builder::new(IdSource::random()?);
    if let Some(cluster) = cluster {
        builder.set_cluster(cluster);
    }
    let contexts: Vec<Option<Traceparent>> = own_contexts(records, cluster);
    let span = |(record, own): (&Rebuilt<'_>, &Option<Traceparent>)| {
        Some(span(&builder, record, (*own)?, records, &contexts))
    };
    Some(records.iter().zip(&contexts).filter_map(span).collect())
}

/// The context of each record's own span. What has none stands in the trace of its parent.
fn own_contexts(records: &[Rebuilt<'_>], cluster: Option<&str>) -> Vec<Option<Traceparent>> {
    let mut all: Vec<Option<Traceparent>> = Vec::with_capacity(records.len());
    for record in records {
        if let (true, Some(context)) = (record.created, record.context) {
            all.push(Some(context));
            continue;
        }
        let Position {
            topic,
            partition,
            offset,
        } = record.position;
        let ids = derive(cluster.unwrap_or_default(), topic, *partition, *offset);
        let above = record.parent.and_then(|at| all.get(at).copied().flatten());
        let trace = record.context.or(above).map(|context| context.trace_id);
        all.push(ids.map(|(trace_id, span_id)| Traceparent {
            trace_id: trace.unwrap_or(trace_id),
            span_id,
            sampled: true,
            random: true,
        }));
    }
    all
}

fn span(
    builder: &Builder,
    record: &Rebuilt<'_>,
    own: Traceparent,
    records: &[Rebuilt<'_>],
    contexts: &[Option<Traceparent>],
) -> SpanData {
    let above = record
        .parent
        .and_then(|at| Some((records.get(at)?, contexts.get(at).copied().flatten()?)));
    let in_trace = above.filter(|(_, context)| context.trace_id == own.trace_id);
    let parent = match record.context {
        Some(_) if record.created => record.sent_from,
        // A copy hangs under what it was copied from, and what another tracer sent under its span.
        Some(context) => Some(context.span_id),
        None => None,
    };
    let parent = parent.or(in_trace.map(|(_, context)| context.span_id));
    let operation: &Operation = match record.dead_letter {
        Some(_) => &DEAD_LETTER,
        None if record.created => &CREATE,
        None => &SEND,
    };
    let topic = Name::from(record.position.topic.as_str());
    let place = Place {
        broker: "",
        client: "",
        topic: &topic,
        partition: record.position.partition,
        ended: Stamp {
            mono: Instant::now(),
            wall_ms: record.at_ms,
        },
        took: std::time::Duration::ZERO,
        error: None,
    };
    let mut span = builder.span(&place, operation, sampled(&own), parent);
    if let Some((above, context)) = above.filter(|(_, context)| Some(context.span_id) != parent) {
        let at = above.position;
        let at = (at.topic.as_str(), at.partition, at.offset);
        span.links.links.push(link_to(&context, at));
    }
    describe(&mut span, record);
    span
}

fn describe(span: &mut SpanData, record: &Rebuilt<'_>) {
    put(span, semconv::OFFSET, record.position.offset);
    put(span, semconv::EVIDENCE, record.evidence.to_owned());
    put(span, semconv::VANTAGE, semconv::LOG);
    if let Some(id) = record.correlation {
        put(span, semconv::CONVERSATION_ID, id.to_owned());
    }
    if let Some(letter) = record.dead_letter {
        put(span, semconv::DEAD_LETTER, true);
        if let Some(class) = &letter.exception_class {
            put(span, semconv::EXCEPTION_TYPE, class.clone());
        }
        if let Some(origin) = &letter.origin {
            put(span, semconv::ORIGIN, origin.to_string());
        }
    }
    if let Some(of) = record.duplicate_of {
        put(span, semconv::DUPLICATE_OF, of.to_string());
    }
    if record.aborted {
        put(span, semconv::TRANSACTION, "aborted");
    }
}
