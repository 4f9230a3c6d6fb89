//! Duplicates, dead letters, failed processing and poison of real programs on a real broker, against what the programs did.
//!
//! Why: these figures page somebody, so they must be exact where they can be, and unknown where not. This file must not look
//! into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::clients::{Client, Output};
use support::kafka::{Kafka, Listener};
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";

/// One broker for all tests of this file that run at the same time, and a sidecar for each.
struct Stage {
    kafka: Arc<Kafka>,
    sidecar: Throughline,
}

impl Stage {
    fn start(set: impl FnOnce(ThroughlineSpec) -> ThroughlineSpec) -> Self {
        let kafka = Kafka::shared();
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext));
        let sidecar = Throughline::start(set(spec));
        Self { kafka, sidecar }
    }

    /// Runs a command to its end, which must be without an error.
    #[track_caller]
    fn run(&self, client: Client, command: &str, topic: &str, more: &str) -> Output {
        let at = self.sidecar.bootstrap();
        let line = format!("{command} --bootstrap {at} --topic {topic} {more}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = client.start(&words).finish(LIMIT);
        let errors: Vec<_> = output.of_type("error").collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
        output
    }
}

fn pair<'a>(sli: &'a str, topic: &'a str, group: &'a str) -> [(&'a str, &'a str); 3] {
    [("sli", sli), ("topic", topic), ("group", group)]
}

fn class<'a>(topic: &'a str, group: &'a str, class: &'a str) -> [(&'a str, &'a str); 3] {
    [("topic", topic), ("group", group), ("class", class)]
}

#[test]
fn an_event_written_twice_is_a_duplicate_and_what_a_restart_brings_again_is_none() {
    let stage = Stage::start(|spec| {
        let spec = spec.mode("observe");
        spec.set("duplicates.ids", "[{header: seq}]")
    });
    stage.kafka.create_topic("twice", 3);
    let produce = |client, more: &str| {
        let more = format!("--partitions 3 {more}");
        stage.run(client, "produce", "twice", &more);
    };
    produce(Client::Java, "--count 300 --compression zstd");
    produce(
        Client::Librdkafka,
        "--first 120 --count 60 --compression lz4",
    );
    let consume = |more: &str| {
        let more = format!("--group reader --until {more}");
        stage.run(Client::Java, "consume", "twice", &more)
    };
    // All are read, 130 are committed; the next member of the group is given the rest again.
    let read = consume("360 --commit-records 130");
    assert_eq!(read.records().len(), 360);
    let judged = pair("duplicates", "twice", "reader");
    let again = |of| class("twice", "reader", of);
    stage.sidecar.shows(&[
        (EVENTS, &judged, 360),
        (GOOD, &judged, 300),
        (
            "throughline_duplicate_records_total",
            &again("appended_twice"),
            60,
        ),
        (
            "throughline_duplicate_records_total",
            &again("redelivered"),
            0,
        ),
    ]);
    consume("230");
    stage.sidecar.shows(&[
        (EVENTS, &judged, 360),
        (GOOD, &judged, 300),
        (
            "throughline_duplicate_records_total",
            &again("rebalance_redelivered"),
            230,
        ),
        ("throughline_duplicate_records_total", &again("replayed"), 0),
        (
            "throughline_examined_ratio",
            &[("topic", "twice"), ("direction", "broker_to_client")],
            1,
        ),
    ]);
    let metrics = stage.sidecar.metrics();
    let wrong = metrics.sum("throughline_duplicate_false_positive_ratio", &[]);
    assert!((0.0..0.0001).contains(&wrong), "{wrong}");
    let window = metrics.sum("throughline_duplicate_window_seconds", &[]);
    assert!(window > 0.0 && window <= 3600.0, "{window}");
    assert_eq!(metrics.sum(UNKNOWN, &[("sli", "duplicates")]), 0.0);
    stage.sidecar.terminate();
}

#[test]
fn records_without_an_id_are_unknown_and_the_same_content_is_told() {
    let stage = Stage::start(|spec| spec);
    stage.kafka.create_topic("nameless", 1);
    for _ in 0..2 {
        stage.run(
            Client::FranzGo,
            "produce",
            "nameless",
            "--partitions 1 --count 40",
        );
    }
    stage.run(
        Client::Sarama,
        "consume",
        "nameless",
        "--group reader --until 80",
    );
    let judged = pair("duplicates", "nameless", "reader");
    let unknown = [&judged[..], &[("reason", "no_identity")]].concat();
    stage.sidecar.shows(&[
        (EVENTS, &judged, 0),
        (UNKNOWN, &unknown, 80),
        (
            "throughline_duplicate_records_total",
            &class("nameless", "reader", "same_content"),
            40,
        ),
    ]);
    stage.sidecar.terminate();
}

#[test]
fn what_a_program_sets_aside_is_counted_once_by_origin_and_fails_its_processing() {
    const COUNT: u64 = 400;
    let stage = Stage::start(|spec| spec);
    for topic in ["given", "given-retry", "made", "given.dlq"] {
        stage.kafka.create_topic(topic, 3);
    }
    let source = format!("--shape source --member given --into given --count {COUNT}");
    stage.run(Client::FranzGo, "pipe", "given", &source);
    let fails = format!(
        "--shape dead-letter --member made --group billing --into made --until {COUNT} --commit sync \
         --retry given-retry --dead given.dlq"
    );
    stage.run(Client::Java, "pipe", "given", &fails);
    let (retried, dead) = (COUNT / 10, COUNT / 20);
    let given = |sli| pair(sli, "given", "billing");
    let again = |sli| pair(sli, "given-retry", "billing");
    let (worked, worked_again) = (given("processing"), again("processing"));
    let (kept, kept_again) = (given("dead_letter"), again("dead_letter"));
    let into = [
        ("topic", "given"),
        ("retry_topic", "given-retry"),
        ("group", "billing"),
    ];
    let letters = [
        ("topic", "given-retry"),
        ("dlq_topic", "given.dlq"),
        ("group", "billing"),
    ];
    stage.sidecar.shows(&[
        ("throughline_retried_records_total", &into, retried),
        ("throughline_dead_letter_records_total", &letters, dead),
        ("throughline_dead_letter_records_total", &[], dead),
        (EVENTS, &worked, COUNT),
        (GOOD, &worked, COUNT - retried),
        (EVENTS, &worked_again, retried),
        (GOOD, &worked_again, retried - dead),
        (EVENTS, &kept, COUNT),
        (GOOD, &kept, COUNT),
        (EVENTS, &kept_again, retried),
        (GOOD, &kept_again, retried - dead),
    ]);
    // Whoever reads the dead letters makes none.
    let until = format!("--group inspector --until {dead}");
    stage.run(Client::KafkaPython, "consume", "given.dlq", &until);
    let read = [("topic", "given.dlq"), ("group", "inspector")];
    stage.sidecar.shows(&[
        ("throughline_delivered_records_total", &read, dead),
        ("throughline_dead_letter_records_total", &[], dead),
    ]);
    stage.sidecar.terminate();
}

#[test]
fn a_record_nobody_gets_past_is_poison_until_it_is_committed() {
    let stage = Stage::start(|spec| {
        spec.set("dead_letter.poison_deliveries", "3")
            .set("context.mode", "observe")
    });
    stage.kafka.create_topic("stuck", 1);
    stage.run(
        Client::KafkaJs,
        "produce",
        "stuck",
        "--partitions 1 --count 20",
    );
    let of = [("topic", "stuck"), ("group", "crashing")];
    let read = |more: &str| {
        let more = format!("--group crashing --until 20 {more}");
        stage.run(Client::Java, "consume", "stuck", &more);
    };
    for _ in 0..2 {
        read("--commit-records 0");
    }
    stage
        .sidecar
        .shows(&[("throughline_poison_records", &of, 0)]);
    read("--commit-records 0");
    stage
        .sidecar
        .shows(&[("throughline_poison_records", &of, 1)]);
    read("");
    let judged = pair("duplicates", "stuck", "crashing");
    let again = class("stuck", "crashing", "rebalance_redelivered");
    stage.sidecar.shows(&[
        ("throughline_poison_records", &of, 0),
        ("throughline_duplicate_records_total", &again, 60),
        (EVENTS, &judged, 0),
    ]);
    stage.sidecar.terminate();
}
