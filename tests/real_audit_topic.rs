//! The audit trail in a Kafka topic: every entry once, past the sidecar's own listener, through outages, and never at traffic's cost.
//!
//! Why: a trail that loses entries proves nothing, and one that writes through what it watches writes for ever. What the topic
//! holds is compared with the file that the same sidecar wrote. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use support::clients::{Client, Output, Record, decoded};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Mechanism, Version};
use support::throughline::{self, Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);

const DROPPED: &str = "throughline_telemetry_dropped_total";
const FAILURES: &str = "throughline_export_failures_total";
const AUDIT: [(&str, &str); 1] = [("signal", "audit")];

#[track_caller]
fn run(line: &str) -> Output {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Client::Java.start(&words).finish(LIMIT);
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{line}: {errors:?}");
    output
}

/// What a topic holds, read past the sidecar, in the order of partition and offset.
#[track_caller]
fn held(kafka: &Kafka, topic: &str) -> Vec<Record> {
    let ends = kafka.offsets("nobody", topic);
    let count: i64 = ends.iter().map(|(_, end)| end).sum();
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let group = format!("reads-{topic}-{}", support::ports::free());
    let read = run(&format!(
        "consume --bootstrap {bootstrap} --topic {topic} --group {group} --until {count}"
    ));
    let mut records = read.records();
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

fn value(record: &Record) -> String {
    decoded(record.value.as_deref().unwrap_or_default())
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// A broker that wants to know who asks, over TLS too.
fn guarded() -> Kafka {
    Kafka::start(
        KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::SaslTls)
            .listener(Listener::SaslPlaintext)
            .user("trail", "trail-secret")
            .acls(),
    )
}

/// A sidecar that logs in as `trail` where it asks for itself.
fn as_trail(kafka: &Kafka, listener: Listener, directory: &Path) -> ThroughlineSpec {
    let file = directory.join("password");
    std::fs::write(&file, "trail-secret\n").expect("a password file");
    let spec = ThroughlineSpec::new(&kafka.bootstrap(listener))
        .set("kafka.sasl.mechanism", Mechanism::ScramSha256.name())
        .set("kafka.sasl.username", "trail")
        .set("kafka.sasl.password_file", text(&file));
    match &kafka.certificates {
        Some(certificates) if listener.has_tls() => {
            spec.set("kafka.tls.ca_file", text(&certificates.ca))
        }
        _ => spec,
    }
}

const ALICE: &str = "--sasl-mechanism SCRAM-SHA-256 --username alice --password alice-secret";

#[test]
fn every_entry_is_a_record_and_the_trail_is_not_in_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("audit.jsonl");
    let kafka = guarded();
    kafka.create_topic("payroll", 1);
    kafka.create_topic("trail", 3);
    let spec = as_trail(&kafka, Listener::SaslTls, directory.path())
        .set("audit.file", text(&file))
        .set("audit.topic", "trail");
    let checked = throughline::check(&spec.settings());
    assert_eq!(checked.status, Some(0), "{}", checked.said);
    let wanted = "audit topic trail: ok (3 partitions)";
    assert!(checked.said.contains(wanted), "{}", checked.said);
    let sidecar = Throughline::start(spec);
    let at = format!(
        "--bootstrap {} --topic payroll {ALICE}",
        sidecar.bootstrap()
    );
    run(&format!(
        "produce {at} --partitions 1 --count 7 --client-id accounting"
    ));
    run(&format!(
        "consume {at} --group payroll-group --until 7 --client-id reporting"
    ));
    let metrics = sidecar.metrics();
    assert_eq!(metrics.sum(DROPPED, &AUDIT), 0.0);
    assert_eq!(metrics.sum(FAILURES, &AUDIT), 0.0);
    assert_eq!(metrics.select(FAILURES, &AUDIT).count(), 1);
    // The sidecar's own records are no traffic of the application.
    let page = sidecar.get("/metrics").body;
    assert!(!page.contains("topic=\"trail\""), "{page}");
    sidecar.terminate();
    let written = lines(&file);
    let records = held(&kafka, "trail");
    let kept: Vec<String> = records.iter().map(value).collect();
    assert_eq!(kept, written, "the same entries in the same order");
    assert!(
        !kept.iter().any(|line| line.contains("\"trail\"")),
        "{kept:#?}"
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for record in &records {
        let [(name, value)] = &record.headers[..] else {
            panic!("{record:?}");
        };
        assert_eq!(name, "throughline-host");
        assert_eq!(decoded(value.as_deref().unwrap_or_default()), host.trim());
    }
    let entries: Vec<Value> = kept
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let count = |action: &str, client: &str| -> u64 {
        let of = entries
            .iter()
            .filter(|e| e["action"] == action && e["client"] == client);
        of.filter_map(|e| e["count"].as_u64()).sum()
    };
    assert_eq!(count("produced", "accounting"), 7, "{kept:#?}");
    assert_eq!(count("consumed", "reporting"), 7, "{kept:#?}");
    assert!(count("authenticated", "accounting") >= 1, "{kept:#?}");
}

#[test]
fn entries_wait_for_a_broker_that_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("audit.jsonl");
    let mut kafka = Kafka::single(Version::V4_4_0);
    kafka.create_topic("orders", 1);
    kafka.create_topic("trail", 1);
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
        .set("audit.file", text(&file))
        .set("audit.topic", "trail")
        .set("audit.interval_seconds", "1");
    let sidecar = Throughline::start(spec);
    let line = format!(
        "produce --bootstrap {} --topic orders --partitions 1 --count 400 --delay-ms 50 --idempotent",
        sidecar.bootstrap()
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let writer = Client::Java.start(&words);
    let acknowledged = |count: usize| {
        writer.wait_for("acknowledgements", LIMIT, |lines| {
            let acks = lines.iter().filter(|line| line["type"] == "ack");
            (acks.count() >= count).then_some(())
        });
    };
    acknowledged(50);
    kafka.stop(1);
    kafka.restart(1);
    acknowledged(200);
    writer.finish(LIMIT);
    sidecar.terminate();
    let mut written = lines(&file);
    // A batch whose answer was lost may stand there twice.
    let mut kept: Vec<String> = held(&kafka, "trail").iter().map(value).collect();
    for all in [&mut written, &mut kept] {
        all.sort();
        all.dedup();
    }
    assert!(written.len() > 10, "{written:#?}");
    assert_eq!(kept, written);
}

#[test]
fn what_cannot_be_written_is_counted_and_traffic_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = guarded();
    for name in ["orders", "forbidden"] {
        kafka.create_topic(name, 1);
    }
    kafka.admin(
        "add-acl --principal User:ANONYMOUS --operation ALL --resource topic --name forbidden",
    );
    let start = |topic: &str| {
        let spec = as_trail(&kafka, Listener::SaslPlaintext, directory.path());
        Throughline::start(
            spec.set("audit.topic", topic)
                .set("audit.interval_seconds", "1"),
        )
    };
    for (topic, said) in [
        ("forbidden", "it needs WRITE on the topic"),
        ("absent", "there is no such topic"),
    ] {
        let sidecar = start(topic);
        let at = format!("--bootstrap {} --topic orders {ALICE}", sidecar.bootstrap());
        for _ in 0..3 {
            let output = run(&format!("produce {at} --partitions 1 --count 20"));
            assert_eq!(output.done()["acked"], 20, "{topic}");
        }
        poll_until("the entries are counted", LIMIT, || {
            let metrics = sidecar.metrics();
            let counted =
                metrics.sum(DROPPED, &AUDIT) >= 2.0 && metrics.sum(FAILURES, &AUDIT) >= 1.0;
            counted.then_some(())
        });
        sidecar.wait_for_log(said);
        sidecar.terminate();
    }
    let denied = kafka.log_lines(1, "Denied");
    let trail = denied.iter().filter(|line| line.contains("User:trail "));
    assert!(trail.count() <= 1, "asked once: {denied:#?}");
}
