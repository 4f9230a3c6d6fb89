//! Spans as a real OpenTelemetry Collector receives them, from real clients on a real broker.
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

use support::{
    clients::Client,
    collector::Span,
    deadline::poll_until,
    kafka::Listener,
    stage::{Stage, named},
};

const LIMIT: Duration = Duration::from_secs(60);
const COUNT: usize = 60;
const CLIENT: i64 = 3;
const PRODUCER: i64 = 4;
const CONSUMER: i64 = 5;

fn produce(bootstrap: &str, client: Client, topic: &str) {
    let count = COUNT.to_string();
    let at = ["produce", "--bootstrap", bootstrap, "--topic", topic];
    let output = client.run(&[&at[..], &["--count", &count, "--now"]].concat());
    assert_eq!(output.of_type("error").count(), 0);
}

fn consume(bootstrap: &str, client: Client, topic: &str) {
    let group = format!("{topic}-readers");
    let count = COUNT.to_string();
    let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    let output = client.run(&[&at[..], &how].concat());
    assert_eq!(output.records().len(), COUNT);
}

/// Kind, name, times and attributes of one span.
fn assert_named(stage: &Stage, topic: &str, span: &Span) {
    assert!(
        span.start_ns <= span.end_ns && span.start_ns > 0,
        "{span:?}"
    );
    assert_eq!(span.scope, "throughline");
    assert_eq!(span.schema, "https://opentelemetry.io/schemas/1.44.0");
    let operation = span.text("messaging.operation.name");
    assert_eq!(span.name, format!("{operation} {topic}"));
    let (kind, service) = match operation.as_str() {
        "create" => (PRODUCER, "writer"),
        "send" => (CLIENT, "writer"),
        "process" => (CONSUMER, "reader"),
        _ => (CLIENT, "reader"),
    };
    assert_eq!(
        (span.kind, span.service.as_str()),
        (kind, service),
        "{span:?}"
    );
    assert_eq!(span.text("messaging.system"), "kafka");
    let broker = stage.kafka.address(Listener::Plaintext, 1);
    let server = format!(
        "{}:{}",
        span.text("server.address"),
        span.text("server.port")
    );
    assert_eq!(server, broker, "the real broker's");
}

/// One trace per record, whole, from the producer's sidecar and the consumer's.
fn assert_whole_traces(stage: &Stage, topic: &str, spans: &[Span]) {
    let created = named(spans, "create");
    let by_id: BTreeMap<&str, &Span> = created.iter().map(|s| (s.span_id.as_str(), *s)).collect();
    assert_eq!(by_id.len(), COUNT, "one create span per record");
    let traces: BTreeSet<&str> = created.iter().map(|s| s.trace_id.as_str()).collect();
    assert_eq!(traces.len(), COUNT, "each record begins a trace");
    let known: BTreeSet<&str> = spans.iter().map(|s| s.span_id.as_str()).collect();
    for span in spans {
        let orphan = !span.parent.is_empty() && !known.contains(span.parent.as_str());
        assert!(!orphan, "no parent in the collector: {span:?}");
        assert!(traces.contains(span.trace_id.as_str()), "{span:?}");
        assert_named(stage, topic, span);
    }
    let linked = |operation: &str| -> BTreeSet<String> {
        let spans = named(spans, operation);
        spans
            .iter()
            .flat_map(|s| s.links.iter().map(|(_, id)| id.clone()))
            .collect()
    };
    let all: BTreeSet<String> = by_id.keys().map(ToString::to_string).collect();
    for operation in ["send", "fetch"] {
        assert_eq!(linked(operation), all, "{operation} links to every record");
    }
    for (operation, parents) in [("process", "create"), ("commit", "process")] {
        let of: BTreeSet<&str> = named(spans, operation)
            .iter()
            .map(|s| s.parent.as_str())
            .collect();
        let wanted: BTreeSet<&str> = named(spans, parents)
            .iter()
            .map(|s| s.span_id.as_str())
            .collect();
        assert_eq!(of, wanted, "one {operation} under each {parents}");
    }
    for process in named(spans, "process") {
        let record = by_id[process.parent.as_str()];
        for key in [
            "messaging.kafka.offset",
            "messaging.destination.partition.id",
        ] {
            assert_eq!(process.text(key), record.text(key), "{key}");
        }
        assert_eq!(
            process.text("messaging.consumer.group.name"),
            format!("{topic}-readers")
        );
    }
}

#[test]
fn one_trace_leads_from_the_produce_to_the_commit() {
    let stage = Stage::start();
    let (grpc, http) = (stage.collector.grpc(), stage.collector.http());
    for (client, endpoint, protocol) in [
        (Client::Java, &grpc, "grpc"),
        (Client::Librdkafka, &http, "http/protobuf"),
    ] {
        let topic = format!("orders-of-{}", client.name());
        stage.kafka.create_topic(&topic, 6);
        let writer = stage.sidecar("writer", endpoint, protocol);
        let reader = stage.sidecar("reader", endpoint, protocol);
        produce(&writer.bootstrap(), client, &topic);
        consume(&reader.bootstrap(), client, &topic);
        let spans = stage.spans(&topic, |spans| {
            let count = |operation| named(spans, operation).len();
            count("create") >= COUNT && count("commit") >= COUNT && count("fetch") > 0
        });
        // What was queued last leaves at the end.
        writer.terminate();
        reader.terminate();
        drop(spans);
        let spans = stage.spans(&topic, |_| true);
        assert_whole_traces(&stage, &topic, &spans);
    }
}

#[test]
fn a_collector_that_is_away_costs_spans_and_nothing_else_and_may_come_back() {
    let mut stage = Stage::start();
    stage.collector.stop();
    let sidecar = stage.sidecar("writer", &stage.collector.grpc(), "grpc");
    stage.kafka.create_topic("unseen", 6);
    produce(&sidecar.bootstrap(), Client::Java, "unseen");
    let lost = [("signal", "traces"), ("reason", "export")];
    poll_until("the loss is counted", LIMIT, || {
        let metrics = sidecar.metrics();
        let lost = metrics.sum("throughline_telemetry_dropped_total", &lost);
        let failures = metrics.sum("throughline_export_failures_total", &[("signal", "traces")]);
        (lost >= COUNT as f64 && failures >= 1.0).then_some(())
    });
    stage.collector.restart();
    stage.kafka.create_topic("seen", 6);
    produce(&sidecar.bootstrap(), Client::Java, "seen");
    let spans = stage.spans("seen", |spans| named(spans, "create").len() == COUNT);
    assert!(spans.iter().all(|span| span.service == "writer"));
    sidecar.terminate();
}
