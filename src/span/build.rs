//! One span each: ids, kind, name, times, attributes, links.
//!
//! Must not decide which spans there are.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId, Value,
    trace::{Link, SpanContext, SpanKind, Status, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::semconv;
use crate::{
    event::{Candidate, DeliveredPart, Name, Origin, Stamp, Traced},
    propagation::{self, DeadLetter, IdSource, Traceparent},
};

/// OpenTelemetry's default limit of links per span.
pub(super) const LINKS_MAX: usize = 128;

/// Where and when something happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'e> {
    /// `host:port` of the broker.
    pub(super) broker: &'e str,
    pub(super) client: &'e str,
    pub(super) topic: &'e Name,
    pub(super) partition: i32,
    pub(super) ended: Stamp,
    pub(super) took: Duration,
    pub(super) error: Option<&'static str>,
}

/// Makes spans; gives ids to those that have none on the wire.
#[derive(Debug)]
pub(super) struct Builder {
    ids: IdSource,
    next: AtomicU64,
    scope: InstrumentationScope,
    cluster: Option<String>,
}

/// The words of one operation.
pub(super) struct Operation {
    name: &'static str,
    kind_of: &'static str,
    span: SpanKind,
}

pub(super) const CREATE: Operation = Operation {
    name: semconv::CREATE,
    kind_of: "create",
    span: SpanKind::Producer,
};
pub(super) const SEND: Operation = Operation {
    name: semconv::SEND,
    kind_of: "send",
    span: SpanKind::Client,
};
/// A record on which a program gave up, sent on to where such go.
pub(super) const DEAD_LETTER: Operation = Operation {
    name: semconv::SEND,
    kind_of: "send",
    span: SpanKind::Producer,
};
const FETCH: Operation = Operation {
    name: semconv::FETCH,
    kind_of: "receive",
    span: SpanKind::Client,
};
const PROCESS: Operation = Operation {
    name: semconv::PROCESS,
    kind_of: "process",
    span: SpanKind::Consumer,
};
const COMMIT: Operation = Operation {
    name: semconv::COMMIT,
    kind_of: "settle",
    span: SpanKind::Client,
};

impl Builder {
    pub(super) fn new(ids: IdSource) -> Self {
        let scope = InstrumentationScope::builder("throughline")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(semconv::SCHEMA_URL)
            .build();
        Self {
            ids,
            next: AtomicU64::new(0),
            scope,
            cluster: None,
        }
    }

    pub(super) fn set_cluster(&mut self, id: &str) {
        if self.cluster.as_deref() != Some(id) {
            self.cluster = Some(id.to_owned());
        }
    }

    /// The record's own span, with the id it carries.
    pub(super) fn create(&self, place: &Place<'_>, record: &Traced, base: Option<i64>) -> SpanData {
        let sent_ms = record.sent.map_or(place.ended.wall_ms, |sent| sent.at_ms);
        let parent = record.sent.and_then(|sent| sent.parent);
        let mut span = self.span(place, &CREATE, context(&record.context, false), parent);
        (span.start_time, span.end_time) = (time(sent_ms), ended(place).max(time(sent_ms)));
        let offset = base.map(|base| base.saturating_add(record.offset));
        describe(&mut span, record, offset);
        if let Some(sent) = record.sent {
            put(&mut span, semconv::EVIDENCE, sent.evidence.as_str());
        }
        if let Some(origin) = &record.origin {
            put(&mut span, semconv::CONFIDENCE, origin.confidence);
            span.links.links.push(link_to_origin(origin));
        }
        for Candidate { evidence, origin } in &record.candidates.linked {
            let mut link = link_to_origin(origin);
            let evidence = KeyValue::new(semconv::EVIDENCE, evidence.as_str());
            let confidence = KeyValue::new(semconv::CONFIDENCE, origin.confidence);
            link.attributes.extend([evidence, confidence]);
            span.links.links.push(link);
        }
        span.links.dropped_count = record.candidates.more;
        span
    }

    /// One batch from request to acknowledgement, linked to what is in it.
    pub(super) fn send(
        &self,
        place: &Place<'_>,
        (records, count): (&[&Traced], u64),
        base: Option<i64>,
    ) -> SpanData {
        let mut span = self.of_batch(place, &SEND, records.iter().copied());
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        put(&mut span, semconv::BATCH_COUNT, count);
        if let Some(base) = base {
            put(&mut span, semconv::OFFSET, base);
        }
        span
    }

    /// A program gave up on a record, or set it aside: the one that it was is linked by its position, and so is why.
    pub(super) fn dead_letter(
        &self,
        place: &Place<'_>,
        record: &Traced,
        letter: &DeadLetter,
        base: Option<i64>,
    ) -> SpanData {
        let own = self.own(&record.context);
        let mut span = self.span(place, &DEAD_LETTER, own, Some(record.context.span_id));
        let offset = base.map(|base| base.saturating_add(record.offset));
        describe(&mut span, record, offset);
        let (what, origin_of) = match letter.retry {
            true => (semconv::RETRY, semconv::RETRY_ORIGIN),
            false => (semconv::DEAD_LETTER, semconv::ORIGIN),
        };
        put(&mut span, what, true);
        if let Some(class) = &letter.exception_class {
            put(&mut span, semconv::EXCEPTION_TYPE, class.clone());
        }
        let Some(origin) = &letter.origin else {
            return span;
        };
        let at = (origin.topic.as_str(), origin.partition, origin.offset);
        put(&mut span, origin_of, origin.to_string());
        let known = record.origin.as_deref();
        let known = known.filter(|o| (&*o.topic, o.partition, o.offset) == at);
        // What carries a context and was not given it here carries that of the record it was.
        let copied = (!record.written).then_some(&record.context);
        if let Some(of) = known.map(|o| &o.context).or(copied) {
            span.links.links.push(link_to(of, at));
        }
        span
    }

    /// One answer's records of one partition, linked to what is in it.
    pub(super) fn fetch(
        &self,
        place: &Place<'_>,
        (records, part): (&[Traced], &DeliveredPart),
        group: Option<&Name>,
    ) -> SpanData {
        let mut span = self.of_batch(place, &FETCH, records.iter());
        let records: i64 = part.batches.iter().map(|b| i64::from(b.delivered)).sum();
        put(&mut span, semconv::BATCH_COUNT, records);
        put(&mut span, semconv::VANTAGE, "proxy");
        if let Some(group) = group {
            put(&mut span, semconv::GROUP, group.to_string());
        }
        span
    }

    /// From delivery to commit; a child of the record.
    pub(super) fn process(
        &self,
        place: &Place<'_>,
        record: &Traced,
        delivered: Stamp,
        group: &Name,
    ) -> SpanData {
        let own = self.own(&record.context);
        let mut span = self.span(place, &PROCESS, own, Some(record.context.span_id));
        span.start_time = time(delivered.wall_ms);
        span.end_time = ended(place).max(span.start_time);
        describe(&mut span, record, Some(record.offset));
        put(&mut span, semconv::INFERRED, true);
        put(&mut span, semconv::GROUP, group.to_string());
        span
    }

    /// The commit behind a process span; its child.
    pub(super) fn commit(
        &self,
        place: &Place<'_>,
        process: &SpanData,
        group: &Name,
        offset: i64,
    ) -> SpanData {
        let of = &process.span_context;
        let (_, span_id) = self.fresh();
        let own = SpanContext::new(
            of.trace_id(),
            otel_span(span_id),
            of.trace_flags(),
            false,
            TraceState::NONE,
        );
        let mut span = self.span(place, &COMMIT, own, None);
        span.parent_span_id = of.span_id();
        put(&mut span, semconv::GROUP, group.to_string());
        put(&mut span, semconv::OFFSET, offset);
        span
    }

    /// A span of a batch stands in the trace of its first record and links to all.
    fn of_batch<'r>(
        &self,
        place: &Place<'_>,
        operation: &Operation,
        traced: impl ExactSizeIterator<Item = &'r Traced> + Clone,
    ) -> SpanData {
        let first = traced.clone().next().map(|record| record.context);
        let own = first.map_or(SpanContext::NONE, |first| self.own(&first));
        let parent = first.map(|first| first.span_id);
        let mut span = self.span(place, operation, own, parent);
        if first.is_some_and(|first| !first.sampled) {
            put(&mut span, semconv::TRACE, semconv::PARTIAL);
        }
        let dropped = traced.len().saturating_sub(LINKS_MAX);
        let links = traced.map(|record| link(&record.context));
        span.links.links = links.take(LINKS_MAX).collect();
        span.links.dropped_count = u32::try_from(dropped).unwrap_or(u32::MAX);
        span
    }

    pub(super) fn span(
        &self,
        place: &Place<'_>,
        operation: &Operation,
        own: SpanContext,
        parent: Option<propagation::SpanId>,
    ) -> SpanData {
        let ended = ended(place);
        let (host, port) = place.broker.rsplit_once(':').unwrap_or((place.broker, ""));
        let mut attributes = vec![
            KeyValue::new(semconv::SYSTEM, semconv::KAFKA),
            KeyValue::new(semconv::OPERATION_NAME, operation.name),
            KeyValue::new(semconv::OPERATION_TYPE, operation.kind_of),
            KeyValue::new(semconv::DESTINATION, place.topic.to_string()),
            KeyValue::new(semconv::PARTITION, place.partition.to_string()),
        ];
        if !host.is_empty() {
            attributes.push(KeyValue::new(semconv::SERVER_ADDRESS, host.to_owned()));
        }
        if let Ok(port) = port.parse::<u16>() {
            attributes.push(KeyValue::new(semconv::SERVER_PORT, i64::from(port)));
        }
        if !place.client.is_empty() {
            attributes.push(KeyValue::new(semconv::CLIENT_ID, place.client.to_owned()));
        }
        if let Some(cluster) = &self.cluster {
            attributes.push(KeyValue::new(semconv::CLUSTER, cluster.clone()));
        }
        let mut status = Status::Unset;
        if let Some(error) = place.error {
            attributes.push(KeyValue::new(semconv::ERROR_TYPE, error));
            status = Status::error(error);
        }
        SpanData {
            span_context: own,
            parent_span_id: parent.map_or(SpanId::INVALID, otel_span),
            parent_span_is_remote: parent.is_some(),
            span_kind: operation.span.clone(),
            name: Cow::Owned(format!("{} {}", operation.name, place.topic)),
            start_time: ended.checked_sub(place.took).unwrap_or(ended),
            end_time: ended,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }

    /// A new span in the trace of a record.
    fn own(&self, of: &Traceparent) -> SpanContext {
        let (_, span_id) = self.fresh();
        context(&Traceparent { span_id, ..*of }, false)
    }

    fn fresh(&self) -> (propagation::TraceId, propagation::SpanId) {
        self.ids.pair(self.next.fetch_add(1, Relaxed))
    }
}

fn describe(span: &mut SpanData, record: &Traced, offset: Option<i64>) {
    if let Some(offset) = offset {
        put(span, semconv::OFFSET, offset);
    }
    if record.tombstone {
        put(span, semconv::TOMBSTONE, true);
    }
    let size = i64::try_from(record.body_bytes).unwrap_or(i64::MAX);
    put(span, semconv::BODY_SIZE, size);
    if record.derived {
        put(span, semconv::CONTEXT, "derived");
    }
    if !record.context.sampled {
        put(span, semconv::TRACE, semconv::PARTIAL);
    }
    let correlation = match &record.correlation {
        Some(id) => id.to_string(),
        // Nothing stands on the record that anyone could look for.
        None if record.derived => return,
        None => record.context.trace_id.to_string(),
    };
    put(span, semconv::CONVERSATION_ID, correlation);
}

pub(super) fn put(span: &mut SpanData, key: &'static str, value: impl Into<Value>) {
    span.attributes.push(KeyValue::new(key, value));
}

/// A link to a record that a transaction has read.
pub(super) fn input(topic: &Name, partition: i32, record: &Traced) -> Link {
    link_to(&record.context, (topic, partition, record.offset))
}

/// A link that says where the record stands.
pub(super) fn link_to(context: &Traceparent, (topic, partition, offset): (&str, i32, i64)) -> Link {
    let mut link = link(context);
    link.attributes = vec![
        KeyValue::new(semconv::DESTINATION, topic.to_string()),
        KeyValue::new(semconv::PARTITION, partition.to_string()),
        KeyValue::new(semconv::OFFSET, offset),
    ];
    link
}

fn link_to_origin(origin: &Origin) -> Link {
    let at = (&*origin.topic, origin.partition, origin.offset);
    link_to(&origin.context, at)
}

fn link(to: &Traceparent) -> Link {
    Link::new(context(to, true), Vec::new(), 0)
}

/// A span's own context, recorded.
pub(super) fn sampled(of: &Traceparent) -> SpanContext {
    let recorded = Traceparent {
        sampled: true,
        ..*of
    };
    context(&recorded, false)
}

fn context(of: &Traceparent, remote: bool) -> SpanContext {
    let flags = if of.sampled {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::default()
    };
    SpanContext::new(
        TraceId::from_bytes(of.trace_id.bytes()),
        otel_span(of.span_id),
        flags,
        remote,
        TraceState::NONE,
    )
}

fn otel_span(id: propagation::SpanId) -> SpanId {
    SpanId::from_bytes(id.bytes())
}

fn ended(place: &Place<'_>) -> SystemTime {
    time(place.ended.wall_ms)
}

fn time(wall_ms: i64) -> SystemTime {
    let ms = u64::try_from(wall_ms).unwrap_or(0);
    UNIX_EPOCH
        .checked_add(Duration::from_millis(ms))
        .unwrap_or(UNIX_EPOCH)
}

/// A span without anything in it.
#[cfg(test)]
pub(super) fn span_for_test() -> SpanData {
    SpanData {
        span_context: SpanContext::NONE,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Producer,
        name: Cow::Borrowed(""),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}
