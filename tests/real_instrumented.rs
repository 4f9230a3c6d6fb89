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

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;
use support::{
    clients::{Client, Record, decoded},
    collector::Span,
    deadline::poll_until,
    instrumented::Instrumented,
    kafka::Listener,
    stage::{Stage, named},
    throughline::{Throughline, binary},
};

const COUNT: usize = 60;
const LIMIT: Duration = Duration::from_secs(120);
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

/// Starts where nothing is traced, goes on in a plain program and then in one under the Java agent, and is read by a plain one.
struct Mixed {
    stage: Stage,
    sidecars: [Throughline; 4],
}

const TOPICS: [&str; 3] = ["mixed-orders", "mixed-payments", "mixed-shipments"];

impl Mixed {
    fn run() -> Self {
        let stage = Stage::start();
        let (grpc, http) = (stage.collector.grpc(), stage.collector.http());
        for topic in TOPICS {
            stage.kafka.create_topic(topic, 3);
        }
        let services = ["orders", "payments", "shipments", "reader"];
        let sidecars = services.map(|service| stage.sidecar(service, &grpc, "grpc"));
        let [first, second, third, last] = sidecars.each_ref().map(Throughline::bootstrap);
        let count = COUNT.to_string();
        let source = [
            "pipe", "--shape", "source", "--count", &count, "--into", TOPICS[0],
        ];
        let source = [&source[..], &["--member", TOPICS[0], "--bootstrap", &first]].concat();
        Client::FranzGo.run(&source).done();
        let pipe = |bootstrap, from, into| {
            let at = ["pipe", "--shape", "one-to-one", "--bootstrap", bootstrap];
            let who = [
                "--topic", from, "--into", into, "--group", into, "--member", into,
            ];
            [&at[..], &who, &["--until", &count]].concat()
        };
        Client::Librdkafka
            .run(&pipe(&second, TOPICS[0], TOPICS[1]))
            .done();
        let traced = pipe(&third, TOPICS[1], TOPICS[2]);
        Instrumented::JavaAgent
            .run("shipments-app", &http, &traced)
            .done();
        let at = ["consume", "--bootstrap", &last, "--topic", TOPICS[2]];
        let how = ["--group", "mixed-readers", "--until", &count];
        let read = Client::FranzGo.run(&[&at[..], &how].concat());
        assert_eq!(read.records().len(), COUNT);
        Self { stage, sidecars }
    }

    /// The last record of the chain as `throughline trace` tells it.
    fn told(&self, record: &Record) -> Value {
        let direct = self.stage.kafka.bootstrap(Listener::Plaintext);
        let at = format!("{}:{}:{}", TOPICS[2], record.partition, record.offset);
        let how = ["trace", &at, "--bootstrap", &direct, "--format", "json"];
        let output = binary().args(how).output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = document["records"].as_array().unwrap();
        assert_eq!(records.len(), TOPICS.len(), "{document}");
        let of_last = |told: &&Value| told["topic"] == TOPICS[2];
        records.iter().find(of_last).unwrap().clone()
    }

    /// What the reader's sidecar says it saw of that record.
    fn seen(&self, record: &Record) -> Value {
        let (trace, span) = context_of(record);
        let path = format!("/api/v1/traces?trace_id={trace}");
        poll_until("the record is told of", LIMIT, || {
            let answer = self.sidecars[3].get(&path);
            let document: Value = serde_json::from_str(&answer.body).unwrap();
            let mut seen = document.as_array().unwrap().iter();
            seen.find(|seen| seen["span_id"] == span.as_str()).cloned()
        })
    }
}

/// From the span of a record up to the root: service and name.
fn line_of(spans: &[Span], context: &Context) -> Vec<(String, String)> {
    let mut line = Vec::new();
    let mut at = context.clone();
    while !at.1.is_empty() {
        let span = spans
            .iter()
            .find(|span| (&span.trace_id, &span.span_id) == (&at.0, &at.1));
        let span = span.unwrap_or_else(|| panic!("{at:?} is not there, above {line:?}"));
        line.push((span.service.clone(), span.name.clone()));
        at.1.clone_from(&span.parent);
    }
    line
}

#[test]
fn a_traced_program_between_plain_ones_goes_on_in_their_trace_and_is_not_taken_for_one_of_ours() {
    let mixed = Mixed::run();
    let records = lying(&mixed.stage, TOPICS[2]);
    for record in &records {
        let (trace, _) = context_of(record);
        assert_eq!(only(record, ADDED), trace, "{record:?}");
    }
    // The agent hands on the list of the record it read, with what our sidecar said of that one.
    let record = &records[0];
    assert!(only(record, "tracestate").starts_with("tl="), "{record:?}");
    let told = mixed.told(record);
    assert_eq!(told["evidence"], "trace", "{told}");
    assert_eq!(
        (&told["sent_ms"], &told["parent_span_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(told["at_ms"], record.timestamp, "its own time: {told}");
    let seen = mixed.seen(record);
    assert_eq!(seen["parent_span_id"], Value::Null, "{seen}");
    let Mixed { stage, sidecars } = mixed;
    sidecars.into_iter().for_each(Throughline::terminate);
    let commits = |spans: &[Span]| named(spans, "commit").len();
    let spans = stage.spans_where("the chain", |_| true, |spans| commits(spans) >= 3 * COUNT);
    for record in &records {
        let context = context_of(record);
        let line = line_of(&spans, &context);
        let line: Vec<(&str, &str)> = line.iter().map(|(s, n)| (s.as_str(), n.as_str())).collect();
        let wanted = [
            ("shipments-app", "mixed-shipments publish"),
            ("shipments-app", "mixed-payments process"),
            ("payments", "create mixed-payments"),
            ("orders", "create mixed-orders"),
        ];
        assert_eq!(line, wanted);
        let of_reader = named(&spans, "process").into_iter();
        let mut of_reader = of_reader.filter(|span| span.parent == context.1);
        assert_eq!(
            of_reader.next().map(|span| span.service.as_str()),
            Some("reader")
        );
        assert_eq!(of_reader.count(), 0);
    }
    assert_eq!(records.len(), COUNT);
}
