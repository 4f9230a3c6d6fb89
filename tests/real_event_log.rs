//! The event log of a sidecar between a real client and a real broker, against what the client wrote.
//!
//! Why: whoever follows a line to a record must find that record, and no line may show what nobody asked for. This file must not look
//! into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::{Header, Headers as _, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use support::collector::{Collector, Log};
use support::deadline::poll_until;
use support::kafka::{Kafka, Listener};
use support::throughline::{Throughline, ThroughlineSpec};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(120);
/// Part of every secret.
const SECRET: &str = "s3cr3t";
const CARD: &str = "4111111111111111";
const TOPIC: &str = "messaging.destination.name";
const OFFSET: &str = "messaging.kafka.offset";
const CORRELATION: &str = "messaging.message.conversation_id";
const OPERATION: &str = "messaging.operation.name";
const DROPPED: &str = "throughline_telemetry_dropped_total";

/// A sidecar with an event log.
struct Stage {
    kafka: Arc<Kafka>,
    sidecar: Throughline,
    directory: TempDir,
}

impl Stage {
    fn start(set: impl FnOnce(ThroughlineSpec) -> ThroughlineSpec) -> Self {
        let kafka = Kafka::shared();
        let directory = tempfile::tempdir().expect("a directory");
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
            .set("event_log.file", &file(&directory).display().to_string())
            .set("event_log.lines_per_second_per_topic", "10000");
        let sidecar = Throughline::start(set(spec));
        Self {
            kafka,
            sidecar,
            directory,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(file(&self.directory)).unwrap_or_default()
    }

    /// The whole lines so far of this kind and topic.
    fn each(&self, kind: &str, topic: &str) -> Vec<Value> {
        let text = self.text();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let lines = whole.map(|line| {
            let line: Value = serde_json::from_str(line)
                .unwrap_or_else(|fault| panic!("no JSON ({fault}): {line}"));
            line
        });
        let wanted = lines.filter(|line| line["event"] == kind && line[TOPIC] == topic);
        wanted.collect()
    }

    /// As [`Self::each`], by offset.
    fn lines(&self, kind: &str, topic: &str) -> BTreeMap<i64, Value> {
        by_offset(self.each(kind, topic))
    }

    /// As [`Self::lines`], once there are so many.
    fn wait(&self, kind: &str, topic: &str, count: usize) -> BTreeMap<i64, Value> {
        let what = format!("{count} lines of {kind} in {topic}");
        poll_until(&what, LIMIT, || {
            let lines = self.lines(kind, topic);
            (lines.len() >= count).then_some(lines)
        })
    }
}

/// No two lines may be of the same offset.
fn by_offset(lines: Vec<Value>) -> BTreeMap<i64, Value> {
    let mut found = BTreeMap::new();
    for line in lines {
        let offset = line[OFFSET].as_i64();
        let offset = offset.unwrap_or_else(|| panic!("no offset: {line}"));
        let twice = found.insert(offset, line);
        assert!(twice.is_none(), "twice: {twice:?}");
    }
    found
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("events.jsonl")
}

/// One record as it is in Kafka.
#[derive(Debug)]
struct Stored {
    offset: i64,
    timestamp: i64,
    headers: BTreeMap<String, String>,
}

impl Stored {
    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// Trace and span of the context it carries.
    fn ids(&self) -> (&str, &str) {
        let mut parts = self.header("traceparent").split('-').skip(1);
        let mut next = || parts.next().expect("a traceparent");
        (next(), next())
    }
}

fn client(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("client.id", "tester")
        .set("group.id", group)
        .set("enable.idempotence", "true")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    config
}

type Sent<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Sends each value with its headers, one batch each, and waits for its acknowledgement.
fn produce(bootstrap: &str, topic: &str, records: &[Sent<'_>]) {
    let producer: BaseProducer = client(bootstrap, "none").create().expect("a producer");
    for (value, headers) in records {
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| {
                let value = Some(*value);
                all.insert(Header { key, value })
            });
        let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).payload(value);
        let sent = producer.send(record.headers(headers));
        sent.map_err(|(fault, _)| fault).expect("room in the queue");
        producer.flush(LIMIT).expect("it is acknowledged");
    }
}

/// Reads so many records of partition 0 from its beginning, as a member of a group, and commits.
fn consume(bootstrap: &str, topic: &str, group: &str, count: usize) -> Vec<Stored> {
    let consumer: BaseConsumer = client(bootstrap, group).create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    let read = read(&consumer, count);
    consumer
        .commit_consumer_state(CommitMode::Sync)
        .expect("a commit");
    read
}

/// What is in Kafka, past the sidecar.
fn stored(kafka: &Kafka, topic: &str, count: usize) -> Vec<Stored> {
    let config = client(&kafka.bootstrap(Listener::Plaintext), "past");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning)
        .expect("a position");
    consumer.assign(&all).expect("an assignment");
    read(&consumer, count)
}

fn read(consumer: &BaseConsumer, count: usize) -> Vec<Stored> {
    let mut found = Vec::new();
    poll_until("all records are read", LIMIT, || {
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) {
            let headers = record.headers().into_iter().flat_map(|all| all.iter());
            let text = |value: Option<&[u8]>| Some(String::from_utf8_lossy(value?).into_owned());
            found.push(Stored {
                offset: record.offset(),
                timestamp: record.timestamp().to_millis().unwrap_or(-1),
                headers: headers
                    .filter_map(|header| Some((header.key.to_owned(), text(header.value)?)))
                    .collect(),
            });
        }
        (found.len() >= count).then_some(())
    });
    found
}

/// Every line names the record that has its ids.
fn assert_found(lines: &BTreeMap<i64, Value>, stored: &[Stored]) {
    for (offset, line) in lines {
        let record = stored.iter().find(|record| record.offset == *offset);
        let record = record.unwrap_or_else(|| panic!("no such record: {line}"));
        let (trace_id, span_id) = record.ids();
        assert_eq!(line["trace_id"], trace_id, "{line}");
        assert_eq!(line["span_id"], span_id, "{line}");
        assert_eq!(line[CORRELATION], record.header("correlation-id"), "{line}");
    }
}

#[test]
fn every_line_leads_to_the_record_it_tells_of_and_shows_nothing_else_of_it() {
    let stage = Stage::start(|spec| spec.set("duplicates.ids", "[{header: seq}]"));
    for topic in ["el-orders", "el-orders.dlq", "el-orders-retry"] {
        stage.kafka.create_topic(topic, 1);
    }
    let at = stage.sidecar.bootstrap();
    let value = format!("{{\"card\":\"{SECRET}-value\"}}");
    let sequences = ["1", "2", "3", "2", "4", "1"];
    let records: Vec<[(&str, &str); 2]> = sequences
        .iter()
        .map(|seq| [("seq", *seq), ("authorization", "s3cr3t-token")])
        .collect();
    let sent: Vec<Sent<'_>> = records.iter().map(|r| (&*value, &r[..])).collect();
    produce(&at, "el-orders", &sent);
    let letter: &[(&str, &str)] = &[
        ("kafka_dlt-original-topic", "el-orders"),
        ("kafka_dlt-original-partition", "\0\0\0\0"),
        ("kafka_dlt-original-offset", "\0\0\0\0\0\0\0\u{2}"),
        ("kafka_dlt-original-consumer-group", "billing"),
        (
            "kafka_dlt-exception-fqcn",
            "java.net.SocketTimeoutException",
        ),
        ("kafka_dlt-exception-message", "s3cr3t-message"),
        (
            "kafka_dlt-exception-stacktrace",
            "at s3cr3t.trace(Card.java:1)",
        ),
        ("correlation-id", "order-3"),
    ];
    produce(&at, "el-orders.dlq", &[(&value, letter), (&value, &[])]);
    produce(&at, "el-orders-retry", &[(&value, &[])]);
    consume(&at, "el-orders", "billing", records.len());

    let duplicates = stage.wait("duplicate", "el-orders", 2);
    let orders = stored(&stage.kafka, "el-orders", records.len());
    assert_eq!(duplicates.keys().copied().collect::<Vec<_>>(), [3, 5]);
    assert_found(&duplicates, &orders);
    let twice = &duplicates[&3];
    assert_eq!(twice["throughline.duplicate.class"], "appended_twice");
    assert_eq!(twice["messaging.consumer.group.name"], "billing");
    assert_eq!(twice[OPERATION], "fetch");
    assert_eq!(twice["messaging.client.id"], "tester");
    assert_eq!(twice["messaging.message.body.size"], value.len());
    let seconds = twice["throughline.end_to_end_seconds"].as_f64();
    let seconds = seconds.expect("both clocks are this machine's");
    let at_ms = orders[3].timestamp as f64 / 1_000.0 + seconds;
    assert!((0.0..60.0).contains(&seconds), "{twice}");
    assert!(twice["time"].as_str() >= Some("2020"), "{twice} {at_ms}");

    let letters = stage.wait("dead_letter", "el-orders.dlq", 2);
    let dead = stored(&stage.kafka, "el-orders.dlq", 2);
    assert_found(&letters, &dead);
    let first = &letters[&0];
    assert_eq!(first["severity"], "WARN");
    assert_eq!(first["throughline.dead_letter.origin"], "el-orders:0:2");
    assert_eq!(first["messaging.consumer.group.name"], "billing");
    assert_eq!(first["throughline.failure.category"], "transient");
    assert_eq!(first["exception.type"], "java.net.SocketTimeoutException");
    assert_eq!(first[CORRELATION], "order-3");
    assert_eq!(first[OPERATION], "send");
    assert_eq!(letters[&1]["throughline.dead_letter.origin"], "el-orders");

    let retried = stage.wait("retry", "el-orders-retry", 1);
    assert_found(&retried, &stored(&stage.kafka, "el-orders-retry", 1));
    let text = stage.text();
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    let counted = [("signal", "event_log")];
    stage.sidecar.shows(&[(DROPPED, &counted, 0)]);
    stage.sidecar.terminate();
}

/// Writes a configuration that shows something, with these patterns.
fn write_rules(config: &Path, patterns: &str) {
    let text = format!(
        "event_log:\n  records: [dead_letter]\n  headers: [X-Note, authorization, kafka_dlt-exception-stacktrace]\n  \
         json_pointers: [/id, /payment]\n  exception_messages: true\n\
         redaction:\n  json_pointers: [/payment/card]\n  patterns: [{patterns}]\n"
    );
    std::fs::write(config, text).expect("a file");
}

#[test]
fn what_is_asked_for_is_shown_redacted_and_rules_change_while_running() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("throughline.yaml");
    write_rules(&config, "'[0-9]{13,19}', 's3cr3t[a-z.-]*'");
    let stage = Stage::start(|spec| spec.config(&config));
    stage.kafka.create_topic("el-shown.dlq", 1);
    let at = stage.sidecar.bootstrap();
    let value = format!(
        "{{\"id\":7,\"payment\":{{\"card\":\"{SECRET}\",\"by\":\"{CARD}\",\"to\":\"shop\"}},\"other\":\"{SECRET}\"}}"
    );
    let note = format!("paid with {CARD}");
    let message = format!("card {CARD} of {SECRET}-holder declined");
    let headers: &[(&str, &str)] = &[
        ("x-note", &note),
        ("authorization", "Bearer xyz"),
        ("x-other", "unseen"),
        ("kafka_dlt-exception-message", &message),
        (
            "kafka_dlt-exception-stacktrace",
            "at s3cr3t.trace(Card.java:1)",
        ),
    ];
    produce(
        &at,
        "el-shown.dlq",
        &[(&value, headers), ("no json s3cr3t", headers)],
    );
    let letters = stage.wait("dead_letter", "el-shown.dlq", 2);
    let first = &letters[&0];
    assert_eq!(first["throughline.header.X-Note"], "paid with [redacted]");
    assert_eq!(first["throughline.header.authorization"], "[redacted]");
    assert_eq!(
        first["throughline.header.kafka_dlt-exception-stacktrace"],
        "at [redacted](Card.java:1)"
    );
    assert_eq!(
        first["exception.message"],
        "card [redacted] of [redacted] declined"
    );
    assert_eq!(first["throughline.value./id"], "7");
    assert_eq!(
        first["throughline.value./payment"],
        "{\"by\":\"[redacted]\",\"card\":\"[redacted]\",\"to\":\"shop\"}"
    );
    let second = letters[&1].as_object().expect("an object");
    let values = second
        .keys()
        .filter(|key| key.starts_with("throughline.value."));
    assert_eq!(values.count(), 0, "no JSON, so nothing: {second:?}");

    write_rules(&config, "'[0-9]{13,19}', 's3cr3t[a-z.-]*', shop, '\"id'");
    stage.sidecar.signal("HUP");
    stage.sidecar.wait_for_log("configuration reloaded");
    produce(&at, "el-shown.dlq", &[(&value, headers)]);
    let third = &stage.wait("dead_letter", "el-shown.dlq", 3)[&2];
    let payment = third["throughline.value./payment"].as_str();
    assert!(
        payment.is_some_and(|text| !text.contains("shop")),
        "{third}"
    );
    let text = stage.text();
    for hidden in [SECRET, CARD, "xyz", "unseen"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    stage.sidecar.terminate();
}

#[test]
fn slow_failed_and_sampled_records_are_told_with_their_time_and_error() {
    let stage = Stage::start(|spec| {
        spec.set("event_log.records", "[slow, error, sampled]")
            .set("otlp.endpoint", "http://127.0.0.1:9")
            .set("sampling.traces_per_second_per_topic", "1000000")
            .set(
                "objectives",
                "[{match: ^el-slow$, sli: latency, threshold_seconds: 0.5}]",
            )
    });
    stage.kafka.create_topic("el-slow", 1);
    let admin = "--topic el-small --partitions 1 --replication 1 --config max.message.bytes=2000";
    stage.kafka.admin(&format!("create-topic {admin}"));
    let at = stage.sidecar.bootstrap();
    produce(&at, "el-slow", &[("a", &[]), ("b", &[])]);
    let sent = stored(&stage.kafka, "el-slow", 2);
    // By then both are older than the objective allows.
    poll_until("half a second is over", LIMIT, || {
        let now = std::time::SystemTime::now();
        let since = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        let age = since.as_millis() as i64 - sent[1].timestamp;
        (age > 600).then_some(())
    });
    consume(&at, "el-slow", "late", 2);
    let slow = poll_until("both slow deliveries", LIMIT, || {
        let mut lines = stage.each("slow", "el-slow");
        // A publish that took longer than the objective is slow itself, at the same offset.
        lines.retain(|line| line[OPERATION] != "send");
        let slow = by_offset(lines);
        (slow.len() >= 2).then_some(slow)
    });
    assert_found(&slow, &sent);
    for line in slow.values() {
        let seconds = line["throughline.end_to_end_seconds"].as_f64();
        assert!(seconds.is_some_and(|s| (0.6..60.0).contains(&s)), "{line}");
        assert_eq!(line["messaging.consumer.group.name"], "late");
    }
    let text = stage.text();
    let sampled: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("\"sampled\"") && line.contains("el-slow"))
        .collect();
    let sends = sampled.iter().filter(|line| line.contains("\"send\""));
    assert_eq!((sends.count(), sampled.len()), (2, 4), "{sampled:#?}");

    let producer: BaseProducer = client(&at, "none").create().expect("a producer");
    let large = "x".repeat(4_000);
    let record: BaseRecord<'_, str, str> = BaseRecord::to("el-small").payload(&large);
    producer
        .send(record)
        .map_err(|(fault, _)| fault)
        .expect("room");
    producer.flush(LIMIT).expect("it is refused");
    let failed = poll_until("the failure is told", LIMIT, || {
        let text = stage.text();
        let line = text.lines().find(|line| line.contains("\"error\""))?;
        serde_json::from_str::<Value>(line).ok()
    });
    assert_eq!(failed["error.type"], "MESSAGE_TOO_LARGE");
    assert_eq!(failed[TOPIC], "el-small");
    assert_eq!(failed["messaging.batch.message_count"], 1);
    assert_eq!(failed[OFFSET], Value::Null);
    stage.sidecar.terminate();
}

#[test]
fn in_mode_observe_lines_name_the_trace_that_follows_from_the_position() {
    let stage = Stage::start(|spec| {
        spec.mode("observe")
            .set("duplicates.ids", "[{header: seq}]")
    });
    stage.kafka.create_topic("el-derived", 1);
    let at = stage.sidecar.bootstrap();
    let once: &[(&str, &str)] = &[("seq", "1")];
    produce(
        &at,
        "el-derived",
        &[("a", once), ("b", &[("b3", "0")]), ("c", once)],
    );
    consume(&at, "el-derived", "readers", 3);
    let lines = stage.wait("duplicate", "el-derived", 1);
    let text = stage.sidecar.get("/api/v1/topics").body;
    let line = &lines[&2];
    let cluster = line["messaging.kafka.cluster.id"].as_str();
    let cluster = cluster.unwrap_or_else(|| panic!("no cluster id: {line} {text}"));
    let (trace_id, span_id) =
        throughline::propagation::derive(cluster, "el-derived", 0, 2).expect("a position has ids");
    assert_eq!(line["trace_id"], trace_id.to_string());
    assert_eq!(line["span_id"], span_id.to_string());
    assert_eq!(line[CORRELATION], Value::Null, "nothing is on the record");
    stage.sidecar.terminate();
}

#[test]
fn more_than_the_rate_is_left_out_and_counted_and_so_is_what_cannot_be_written() {
    let stage = Stage::start(|spec| spec.set("event_log.lines_per_second_per_topic", "1"));
    stage.kafka.create_topic("el-many.dlq", 1);
    let letters: Vec<Sent<'_>> = vec![("x", &[]); 40];
    produce(&stage.sidecar.bootstrap(), "el-many.dlq", &letters);
    poll_until("each is a line or counted", LIMIT, || {
        let lines = stage.lines("dead_letter", "el-many.dlq").len();
        let metrics = stage.sidecar.metrics();
        let reason = [("signal", "event_log"), ("reason", "rate")];
        let left_out = metrics.sum(DROPPED, &reason) as usize;
        (lines > 0 && left_out > 0 && lines + left_out == 40).then_some(())
    });
    stage.sidecar.terminate();

    let full = Path::new("/dev/full");
    assert!(OpenOptions::new().append(true).open(full).is_ok());
    let stage = Stage::start(|spec| spec.set("event_log.file", "/dev/full"));
    produce(&stage.sidecar.bootstrap(), "el-many.dlq", &letters);
    let lost = [("signal", "event_log"), ("reason", "write")];
    stage.sidecar.shows(&[(DROPPED, &lost, 40)]);
    stage.sidecar.terminate();
}

/// Log records of dead letters, by offset.
fn letters(collector: &Collector, service: &str) -> BTreeMap<i64, Log> {
    let logs = collector.logs().into_iter();
    let logs = logs.filter(|log| log.service == service && log.event == "throughline.dead_letter");
    let offset = |log: &Log| -> i64 {
        let text = log.attributes[OFFSET].as_str();
        text.and_then(|text| text.parse().ok()).expect("an offset")
    };
    logs.map(|log| (offset(&log), log)).collect()
}

#[test]
fn a_collector_is_sent_the_same_as_log_records_over_both_protocols() {
    let collector = Collector::start();
    let services = [
        ("el-grpc", "grpc", collector.grpc()),
        ("el-http", "http/protobuf", collector.http()),
    ];
    for (service, protocol, endpoint) in services {
        let stage = Stage::start(|spec| {
            spec.set("otlp.endpoint", &endpoint)
                .set("otlp.protocol", protocol)
                .set("otlp.service_name", service)
                .set("otlp.traces", "false")
                .set("otlp.logs", "true")
        });
        for signal in ["queue_full", "export"] {
            let none = [("signal", "logs"), ("reason", signal)];
            stage.sidecar.shows(&[(DROPPED, &none, 0)]);
        }
        let failures = "throughline_export_failures_total";
        stage.sidecar.shows(&[(failures, &[("signal", "logs")], 0)]);
        let topic = format!("{service}.dlq");
        stage.kafka.create_topic(&topic, 1);
        let at = stage.sidecar.bootstrap();
        produce(&at, &topic, &[("a", &[]), ("b", &[]), ("c", &[])]);
        let found = poll_until("all log records arrived", LIMIT, || {
            let found = letters(&collector, service);
            (found.len() == 3).then_some(found)
        });
        let lines = stage.wait("dead_letter", &topic, 3);
        assert_found(&lines, &stored(&stage.kafka, &topic, 3));
        for (offset, log) in &found {
            let line = lines[offset].as_object().expect("an object");
            assert_eq!(line["trace_id"], *log.trace_id);
            assert_eq!(line["span_id"], *log.span_id);
            assert_eq!(log.severity, (13, "WARN".to_owned()));
            assert_eq!(log.body, "a program gave up on a record");
            assert_eq!(log.schema, "https://opentelemetry.io/schemas/1.44.0");
            assert!(log.time_ns > 0);
            let own = [
                "time", "severity", "event", "message", "trace_id", "span_id",
            ];
            let fields = line
                .iter()
                .filter(|(name, _)| !own.contains(&name.as_str()));
            let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
            let fields: BTreeMap<String, String> = fields
                .map(|(name, value)| (name.clone(), text(value)))
                .collect();
            let attributes = log.attributes.iter();
            let attributes: BTreeMap<String, String> = attributes
                .map(|(name, value)| (name.clone(), text(value)))
                .collect();
            assert_eq!(attributes, fields);
        }
        stage.sidecar.terminate();
    }
}

#[test]
fn a_collector_that_is_away_costs_log_records_which_are_counted_and_nothing_waits() {
    let mut collector = Collector::start();
    let endpoint = collector.http();
    collector.stop();
    let stage = Stage::start(|spec| {
        spec.set("otlp.endpoint", &endpoint)
            .set("otlp.protocol", "http/protobuf")
            .set("otlp.traces", "false")
            .set("otlp.logs", "true")
            .set("otlp.service_name", "el-away")
    });
    stage.kafka.create_topic("el-away.dlq", 1);
    let at = stage.sidecar.bootstrap();
    produce(&at, "el-away.dlq", &[("a", &[]), ("b", &[])]);
    // The file has them, the collector has not, and the program noticed neither.
    stage.wait("dead_letter", "el-away.dlq", 2);
    let lost = [("signal", "logs"), ("reason", "export")];
    stage.sidecar.shows(&[(DROPPED, &lost, 2)]);
    let failures = stage.sidecar.metrics();
    let failures = failures.sum("throughline_export_failures_total", &[("signal", "logs")]);
    assert!(failures >= 1.0, "{failures}");
    collector.restart();
    produce(&at, "el-away.dlq", &[("c", &[])]);
    poll_until("what comes later arrives", LIMIT, || {
        letters(&collector, "el-away")
            .contains_key(&2)
            .then_some(())
    });
    stage.sidecar.terminate();
}

#[test]
fn a_duplicate_has_spans_though_its_trace_is_not_recorded() {
    let collector = Collector::start();
    let stage = Stage::start(|spec| {
        spec.set("otlp.endpoint", &collector.grpc())
            .set("otlp.service_name", "el-doubled")
            .set("sampling.traces_per_second_per_topic", "1")
            .set("sampling.always", "duplicate")
            .set("duplicates.ids", "[{header: seq}]")
    });
    stage.kafka.create_topic("el-doubled", 1);
    let at = stage.sidecar.bootstrap();
    let numbers: Vec<String> = (0..40).map(|n| (n % 30).to_string()).collect();
    let headers: Vec<[(&str, &str); 1]> = numbers.iter().map(|n| [("seq", n.as_str())]).collect();
    let records: Vec<Sent<'_>> = headers.iter().map(|h| ("x", &h[..])).collect();
    produce(&at, "el-doubled", &records);
    let read = consume(&at, "el-doubled", "readers", 40);
    let kept = poll_until("a duplicate has a process span", LIMIT, || {
        let mut spans = collector.spans();
        spans.retain(|span| {
            span.text("throughline.kept") == "duplicate" && span.name == "process el-doubled"
        });
        (!spans.is_empty()).then_some(spans)
    });
    for span in &kept {
        let offset: i64 = span.text(OFFSET).parse().expect("an offset");
        assert!(offset >= 30, "a duplicate: {span:?}");
        let record = read.iter().find(|record| record.offset == offset);
        let record = record.expect("it was read");
        let (trace_id, span_id) = record.ids();
        assert_eq!((&*span.trace_id, &*span.parent), (trace_id, span_id));
        let traceparent = record.header("traceparent");
        let recorded = ["-00", "-02"]
            .iter()
            .all(|flags| !traceparent.ends_with(flags));
        assert!(!recorded, "{traceparent}");
        assert_eq!(span.text("throughline.trace"), "partial");
    }
    stage.sidecar.terminate();
}

#[test]
fn a_value_without_the_framing_of_its_topic_is_told_with_its_place() {
    let stage = Stage::start(|spec| spec.set("event_log.records", "schema"));
    stage.kafka.create_topic("el-framed", 1);
    let at = stage.sidecar.bootstrap();
    let framed: Vec<Sent<'_>> = vec![("\0\0\0\0\u{7}x", &[]); 30];
    produce(&at, "el-framed", &framed);
    produce(&at, "el-framed", &[("bare", &[])]);
    let lines = stage.wait("schema", "el-framed", 1);
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), [30]);
    assert_eq!(lines[&30]["throughline.schema.failure"], "missing_framing");
    assert_eq!(lines[&30]["severity"], "WARN");
    assert_found(&lines, &stored(&stage.kafka, "el-framed", 31));
    stage.sidecar.terminate();
}
