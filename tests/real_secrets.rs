//! A secret in a header, a value, a key, a dead letter's stack trace, a password: it is in nothing that we say.
//!
//! Why: people run this beside programs that carry money, and ship what it says to places with other rights. This file must not look
//! into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use support::collector::Collector;
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::stage::traced;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
/// Part of every secret.
const SECRET: &str = "s3cr3t";
const RECORDS: usize = 30;

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", "carol")
        .set("sasl.password", format!("{SECRET}-password"))
        .set("group.id", "readers")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    config
}

fn headers() -> OwnedHeaders {
    let secrets = [
        ("authorization", format!("Bearer {SECRET}-token")),
        ("x-note", format!("{SECRET}-note")),
        ("event-id", format!("{SECRET}-id")),
        ("kafka_dlt-original-topic", "orders".to_owned()),
        (
            "kafka_dlt-exception-fqcn",
            "java.lang.IllegalStateException".to_owned(),
        ),
        ("kafka_dlt-exception-message", format!("{SECRET}-message")),
        (
            "kafka_dlt-exception-stacktrace",
            format!("at {SECRET}-trace(Card.java:1)"),
        ),
        (
            "__connect.errors.exception.message",
            format!("{SECRET}-message"),
        ),
        ("__streams.errors.stacktrace", format!("{SECRET}-trace")),
    ];
    let each = secrets.iter();
    each.fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header {
            key,
            value: Some(value),
        })
    })
}

fn produce(bootstrap: &str, topic: &str) {
    let producer: BaseProducer = client(bootstrap).create().expect("a producer");
    let value = format!("\0\0\0\0\u{7}{{\"card\": \"{SECRET}-value\"}}");
    let key = format!("{SECRET}-key");
    for _ in 0..RECORDS {
        let record = BaseRecord::to(topic).key(&key).payload(&value);
        producer
            .send(record.headers(headers()))
            .expect("room in the queue");
    }
    producer.flush(LIMIT).expect("all are acknowledged");
}

fn consume(bootstrap: &str, topic: &str) {
    let consumer: BaseConsumer = client(bootstrap).create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    let mut read = 0;
    poll_until("all records are read", LIMIT, || {
        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
            read += 1;
        }
        (read == RECORDS).then_some(())
    });
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("a commit");
}

/// Everything that the sidecar says over HTTP.
fn pages(sidecar: &Throughline) -> String {
    let api = [
        "slis",
        "lineage",
        "traces",
        "groups",
        "topics",
        "clients",
        "connections",
    ];
    let api = api.map(|name| format!("/api/v1/{name}"));
    let other = ["/", "/metrics", "/config", "/readyz?verbose"];
    let paths = other.iter().map(|path| (*path).to_owned()).chain(api);
    let pages = paths.map(|path| {
        let answer = sidecar.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        format!("{path}: {}\n", answer.body)
    });
    let mut all: String = pages.collect();
    all.push_str(&sidecar.openmetrics());
    all
}

/// Makes a sidecar tell of every record of every kind.
fn telling(spec: ThroughlineSpec, file: &Path) -> ThroughlineSpec {
    let all = "[slow, dead_letter, retry, duplicate, schema, error, sampled]";
    spec.set("event_log.file", &file.display().to_string())
        .set("event_log.records", all)
        .set("event_log.lines_per_second_per_topic", "10000")
        .set("otlp.logs", "true")
}

/// Waits until lines and log records tell of what is in the records.
fn told_everywhere(lines: &impl Fn() -> String, collector: &Collector) {
    let both = |text: &str| text.contains("dead_letter") && text.contains("duplicate");
    poll_until("the event log is written and exported", LIMIT, || {
        (both(&lines()) && both(&collector.log_text())).then_some(())
    });
}

#[test]
fn a_secret_of_a_record_or_a_login_is_in_nothing_that_is_said() {
    let spec = KafkaSpec::new(Version::V4_4_0).listener(Listener::SaslPlaintext);
    let kafka = Kafka::start(spec.user("carol", &format!("{SECRET}-password")));
    for topic in ["orders", "orders.dlq"] {
        kafka.create_topic(topic, 1);
    }
    let collector = Collector::start();
    let directory = tempfile::tempdir().expect("a directory");
    let audit = directory.path().join("audit.jsonl");
    let events = directory.path().join("events.jsonl");
    let registry = directory.path().join("registry-headers");
    std::fs::write(
        &registry,
        format!("authorization: Basic {SECRET}-registry\n"),
    )
    .expect("a file");
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::SaslPlaintext));
    let spec = telling(spec, &events)
        .set("log.level", "trace")
        .set("audit.file", &audit.display().to_string())
        // Nobody listens there.
        .set("schema.registry_url", "http://127.0.0.1:9/")
        .set("schema.headers_file", &registry.display().to_string())
        .set("duplicates.ids", "[{json: /card}]")
        .set("lineage.business_ids", "[{json: /card}]");
    let sidecar = Throughline::start(traced(spec, "secrets", &collector.grpc(), "grpc"));
    let at = sidecar.bootstrap();
    for topic in ["orders", "orders.dlq"] {
        produce(&at, topic);
        consume(&at, topic);
    }
    let letters = [("dlq_topic", "orders.dlq"), ("category", "persistent")];
    let judged = [("sli", "duplicates"), ("topic", "orders")];
    sidecar.shows(&[
        (
            "throughline_dead_letter_records_total",
            &letters,
            RECORDS as u64,
        ),
        ("throughline_sli_events_total", &judged, RECORDS as u64),
    ]);
    poll_until("spans of both topics arrived", LIMIT, || {
        let text = collector.text();
        let both = text.contains("process orders") && text.contains("send orders.dlq");
        both.then_some(())
    });
    let trail = || std::fs::read_to_string(&audit).unwrap_or_default();
    poll_until("the audit trail is written", LIMIT, || {
        trail().contains("consumed").then_some(())
    });
    let lines = || std::fs::read_to_string(&events).unwrap_or_default();
    told_everywhere(&lines, &collector);
    let said = [
        ("pages", pages(&sidecar)),
        ("log", sidecar.log()),
        ("spans", collector.text()),
        ("audit", trail()),
        ("event log", lines()),
        ("log records", collector.log_text()),
    ];
    for (what, text) in said {
        assert!(
            text.contains("orders") || what == "log",
            "{what} says nothing: {text}"
        );
        let leaks: Vec<&str> = text.lines().filter(|line| line.contains(SECRET)).collect();
        assert!(leaks.is_empty(), "{what}: {leaks:#?}");
    }
    sidecar.terminate();
}
