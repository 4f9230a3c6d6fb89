//! Programs that are traced already, by OpenTelemetry's Java agent or its Python SDK: their context stays, ours joins it.
//!
//! The same program runs past the sidecar too: but for the correlation id that run decides what its records look like.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{
    clients::{Client, Record, decoded},
    collector::Span,
    instrumented::Instrumented,
    kafka::Listener,
    stage::{Stage, named},
};

const COUNT: usize = 60;
const PRODUCER: i64 = 4;
const CONSUMER: i64 = 5;
/// The scope of the sidecar's spans.
const OURS: &str = "throughline";
const ADDED: &str = "correlation-id";
/// As SDKs write it without any state.
const CONTEXT: &str = "traceparent";

/// Trace and span.
type Context = (String, String);

/// The values of a header, as text.
fn values(record: &Record, key: &str) -> Vec<String> {
    let of_key = record.headers.iter().filter(|(known, _)| known == key);
    of_key
        .map(|(_, value)| decoded(value.as_deref().expect("a value")))
        .collect()
}

fn only(record: &Record, key: &str) -> String {
    let values = values(record, key);
    assert_eq!(values.len(), 1, "{key} of {record:?}");
    values[0].clone()
}

/// What the one `traceparent` of a record says; sampled.
fn context_of(record: &Record) -> Context {
    let text = only(record, CONTEXT);
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        panic!("{text} in {record:?}");
    };
    let sampled = u8::from_str_radix(flags, 16).unwrap() & 1 == 1;
    assert!(version == "00" && sampled, "{text}");
    (trace.to_owned(), span.to_owned())
}

/// A record without what differs between any two runs: the value of its context.
fn comparable(mut record: Record) -> Record {
    for (key, value) in &mut record.headers {
        if key == CONTEXT {
            *value = None;
        }
    }
    record
}

/// Everything in a topic, read past every sidecar, in order of position.
fn lying(stage: &Stage, topic: &str) -> Vec<Record> {
    let direct = stage.kafka.bootstrap(Listener::Plaintext);
    let (group, count) = (format!("{topic}-witness"), COUNT.to_string());
    let at = ["consume", "--bootstrap", &direct, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    let mut records = Client::Java.run(&[&at[..], &how].concat()).records();
    records.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(records.len(), COUNT, "{topic}");
    records
}

/// One program that produces under instrumentation, and the records that came of it.
struct Run<'s> {
    stage: &'s Stage,
    topic: String,
}

impl Run<'_> {
    fn produce(&self, program: Instrumented, bootstrap: &str, topic: &str) {
        let (count, http) = (COUNT.to_string(), self.stage.collector.http());
        let at = ["produce", "--bootstrap", bootstrap, "--topic", topic];
        let how = ["--count", &count];
        let output = program.run("writer-app", &http, &[&at[..], &how].concat());
        assert_eq!(output.done()["acked"], COUNT, "{topic}");
    }

    fn consume(&self, program: Instrumented, bootstrap: &str) {
        let (count, http) = (COUNT.to_string(), self.stage.collector.http());
        let group = format!("{}-readers", self.topic);
        let at = ["consume", "--bootstrap", bootstrap, "--topic", &self.topic];
        let how = ["--group", &group, "--until", &count];
        let output = program.run("reader-app", &http, &[&at[..], &how].concat());
        assert_eq!(output.records().len(), COUNT, "{}", self.topic);
    }

    /// Writes past the sidecar and through it: only the correlation id is the difference.
    fn assert_records(&self, bare: &str) -> Vec<Record> {
        let records = lying(self.stage, &self.topic);
        let mut without = records.clone();
        for record in &mut without {
            let (trace, _) = context_of(record);
            let last = record.headers.pop().expect("a header");
            assert_eq!(last.0, ADDED, "behind everything else: {record:?}");
            assert_eq!(decoded(&last.1.expect("an id")), trace);
            let again = |key: &str| record.headers.iter().any(|(known, _)| known == key);
            assert!(!again(ADDED) && !again("tracestate"), "{record:?}");
        }
        let without: Vec<Record> = without.into_iter().map(comparable).collect();
        let wanted = lying(self.stage, bare).into_iter().map(comparable);
        assert_eq!(without, wanted.collect::<Vec<_>>(), "{}", self.topic);
        records
    }

    /// Of all spans, those in the traces of these records.
    fn spans(&self, records: &[Record]) -> Vec<Span> {
        let traces: BTreeSet<String> = records.iter().map(|record| context_of(record).0).collect();
        let keep = |span: &Span| traces.contains(&span.trace_id) || is_of_reader(span);
        let count = |spans: &[Span], operation: &str| {
            let of = |span: &&&Span| span.scope == OURS;
            named(spans, operation).iter().filter(of).count()
        };
        self.stage.spans_where(&self.topic, keep, |spans| {
            count(spans, "commit") >= COUNT && spans.iter().any(is_of_reader)
        })
    }
}

fn is_of_reader(span: &Span) -> bool {
    span.service == "reader-app" && span.kind == CONSUMER
}

/// What spans of these name as their parent or link to.
fn pointed_at<'s>(spans: impl Iterator<Item = &'s Span>) -> BTreeSet<Context> {
    let mut all = BTreeSet::new();
    for span in spans {
        all.extend(span.links.iter().cloned());
        all.insert((span.trace_id.clone(), span.parent.clone()));
    }
    all
}

/// Each record's context is the span that the program's tracer made for it; ours point at it, and every parent is there.
fn assert_spans(topic: &str, records: &[Record], spans: &[Span]) {
    let contexts: BTreeSet<Context> = records.iter().map(context_of).collect();
    assert_eq!(contexts.len(), COUNT, "a span for each record");
    let of_program: BTreeSet<Context> = spans
        .iter()
        .filter(|span| span.service == "writer-app" && span.kind == PRODUCER)
        .map(|span| (span.trace_id.clone(), span.span_id.clone()))
        .collect();
    assert_eq!(contexts, of_program, "{topic}: of the tracer, not of ours");
    let (ours, theirs): (Vec<Span>, Vec<Span>) =
        spans.iter().cloned().partition(|span| span.scope == OURS);
    assert_eq!(named(&ours, "create").len(), 0, "{topic}: they made it");
    let known: BTreeSet<Context> = spans
        .iter()
        .map(|span| (span.trace_id.clone(), span.span_id.clone()))
        .collect();
    for span in &ours {
        let parent = (span.trace_id.clone(), span.parent.clone());
        assert!(known.contains(&parent), "no parent: {span:?}");
    }
    for operation in ["send", "fetch"] {
        let links = named(&ours, operation).into_iter();
        let links: BTreeSet<Context> = links.flat_map(|span| span.links.clone()).collect();
        assert_eq!(links, contexts, "{topic}: {operation} links to each record");
    }
    for (operation, parents) in [("process", &contexts), ("commit", &ids(&ours, "process"))] {
        let of = named(&ours, operation);
        assert_eq!(of.len(), COUNT, "{topic}: {operation}");
        let of: BTreeSet<Context> = of
            .iter()
            .map(|span| (span.trace_id.clone(), span.parent.clone()))
            .collect();
        assert_eq!(of, *parents, "{topic}: one {operation} under each");
    }
    let seen = pointed_at(theirs.iter().filter(|span| is_of_reader(span)));
    let missed: Vec<&Context> = contexts.difference(&seen).collect();
    assert!(
        missed.is_empty(),
        "{topic}: not seen by the reader: {missed:?}"
    );
    assert_positions(records, &ours);
}

fn ids(spans: &[Span], operation: &str) -> BTreeSet<Context> {
    let spans = named(spans, operation).into_iter();
    spans
        .map(|span| (span.trace_id.clone(), span.span_id.clone()))
        .collect()
}

/// A process span is of the record whose context it hangs under, and names its correlation id.
fn assert_positions(records: &[Record], ours: &[Span]) {
    let by_context: BTreeMap<Context, &Record> = records
        .iter()
        .map(|record| (context_of(record), record))
        .collect();
    for span in named(ours, "process") {
        let record = by_context[&(span.trace_id.clone(), span.parent.clone())];
        let position = (
            span.text("messaging.destination.partition.id"),
            span.text("messaging.kafka.offset"),
        );
        let wanted = (record.partition.to_string(), record.offset.to_string());
        assert_eq!(position, wanted);
        let id = span.text("messaging.message.conversation_id");
        assert_eq!(id, only(record, ADDED));
    }
}

/// `writer` produces and `reader` consumes, both instrumented, each behind a sidecar of its own.
fn a_traced_program_keeps_its_context(writer: Instrumented, reader: Instrumented) {
    let stage = Stage::start();
    let bare = format!("{}-bare", writer.name());
    let run = Run {
        stage: &stage,
        topic: writer.name().to_owned(),
    };
    for topic in [&bare, &run.topic] {
        stage.kafka.create_topic(topic, 6);
    }
    let direct = stage.kafka.bootstrap(Listener::Plaintext);
    run.produce(writer, &direct, &bare);
    let grpc = stage.collector.grpc();
    let before = stage.sidecar("writer", &grpc, "grpc");
    let behind = stage.sidecar("reader", &grpc, "grpc");
    run.produce(writer, &before.bootstrap(), &run.topic);
    run.consume(reader, &behind.bootstrap());
    let records = run.assert_records(&bare);
    drop(run.spans(&records));
    // What was queued last leaves at the end.
    before.terminate();
    behind.terminate();
    let spans = run.spans(&records);
    assert_spans(&run.topic, &records, &spans);
}

#[test]
fn the_java_agent_keeps_its_context_and_our_spans_join_its_trace() {
    a_traced_program_keeps_its_context(Instrumented::JavaAgent, Instrumented::JavaAgent);
}

#[test]
fn confluent_kafka_under_the_python_sdk_keeps_its_context_and_our_spans_join_its_trace() {
    a_traced_program_keeps_its_context(Instrumented::ConfluentKafka, Instrumented::ConfluentKafka);
}

#[test]
fn kafka_python_under_the_python_sdk_keeps_its_context_and_our_spans_join_its_trace() {
    a_traced_program_keeps_its_context(Instrumented::KafkaPython, Instrumented::ConfluentKafka);
}
