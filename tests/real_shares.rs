//! Share groups (KIP-932) of real programs on a real broker, against what the programs did.
//!
//! Why: no position tells how far such a group is, so every figure rests on what its members say of each record. This file must
//! not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::clients::{Client, Output};
use support::deadline::try_poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";
const SAID: &str = "throughline_share_acknowledged_records_total";
const DUPLICATES: &str = "throughline_duplicate_records_total";
const COUNT: u64 = 300;
/// How long a member may keep records where nothing is set, ms: longer than it can be held up for.
const KAFKAS_LOCK: &str = "30000";

struct Stage {
    kafka: Kafka,
    sidecar: Throughline,
}

impl Stage {
    /// A broker that takes records back after so many ms, and a sidecar that knows an event by its number.
    fn start(lock_ms: &str) -> Self {
        let lock = "group.share.record.lock.duration.ms";
        // The lock may not be shorter than this, which is 15 s by itself.
        let least = "group.share.min.record.lock.duration.ms";
        let kafka = Kafka::start(
            KafkaSpec::new(Version::V4_4_0)
                .property(least, "3000")
                .property(lock, lock_ms),
        );
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext));
        let sidecar = Throughline::start(spec.set("duplicates.ids", "[{header: seq}]"));
        Self { kafka, sidecar }
    }

    fn run(&self, command: &str, topic: &str, more: &str) -> Output {
        let at = self.sidecar.bootstrap();
        let line = format!("{command} --bootstrap {at} --topic {topic} {more}");
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = Client::Java.start(&words).finish(LIMIT);
        let errors: Vec<_> = output.of_type("error").collect();
        assert!(errors.is_empty(), "{line}: {errors:?}");
        output
    }

    fn filled(&self, topic: &str) {
        self.kafka.create_topic(topic, 2);
        let settings = "share.auto.offset.reset=earliest";
        self.kafka.admin(&format!(
            "alter-configs --group {topic} --config {settings}"
        ));
        self.run("produce", topic, &format!("--partitions 2 --count {COUNT}"));
    }

    /// A member of the share group that is called like the topic.
    fn share(&self, topic: &str, more: &str) -> Output {
        let more = format!("--share --group {topic} {more}");
        self.run("consume", topic, &more)
    }
}

/// How many records the program said this of, given so often.
fn said(output: &Output, kind: &str, deliveries: impl Fn(u64) -> bool) -> u64 {
    let lines = output.of_type("said");
    let lines = lines.filter(|line| line["became"] == kind);
    let lines = lines.filter(|line| deliveries(line["deliveries"].as_u64().unwrap_or(0)));
    u64::try_from(lines.count()).expect("a count")
}

fn pair<'a>(sli: &'a str, topic: &'a str) -> [(&'a str, &'a str); 3] {
    [("sli", sli), ("topic", topic), ("group", topic)]
}

fn with<'a>(topic: &'a str, name: &'a str, value: &'a str) -> [(&'a str, &'a str); 3] {
    [("topic", topic), ("group", topic), (name, value)]
}

#[test]
fn every_record_counts_as_the_member_said() {
    let stage = Stage::start(KAFKAS_LOCK);
    let topic = "each";
    stage.filled(topic);
    let more = format!("--release-every 10 --reject-every 7 --until {COUNT}");
    let output = stage.share(topic, &more);
    let any = |_| true;
    let [accepted, released, rejected] =
        ["accept", "release", "reject"].map(|kind| said(&output, kind, any));
    let again = said(&output, "accept", |times| times > 1);
    assert!(released > 20 && rejected > 20, "{released} {rejected}");
    assert_eq!(again, released, "what is put back is given again");
    let settled = accepted + rejected;
    assert_eq!(settled, COUNT);
    let (worked, kept, once) = (
        pair("processing", topic),
        pair("dead_letter", topic),
        pair("duplicates", topic),
    );
    let turned_down = [&kept[..], &[("reason", "rejected")]].concat();
    let reads = [("topic", topic), ("group", topic)];
    stage.sidecar.shows(&[
        (SAID, &with(topic, "acknowledgement", "accept"), accepted),
        (SAID, &with(topic, "acknowledgement", "release"), released),
        (SAID, &with(topic, "acknowledgement", "reject"), rejected),
        (EVENTS, &worked, accepted + released + rejected),
        (GOOD, &worked, accepted),
        (EVENTS, &kept, accepted),
        (GOOD, &kept, accepted),
        (UNKNOWN, &turned_down, rejected),
        (EVENTS, &once, COUNT),
        (GOOD, &once, COUNT),
        (DUPLICATES, &with(topic, "class", "replayed"), released),
        (DUPLICATES, &with(topic, "class", "redelivered"), 0),
        (
            "throughline_delivered_records_total",
            &reads,
            COUNT + released,
        ),
        ("throughline_poison_records", &reads, 0),
        (
            "throughline_processing_duration_seconds_count",
            &reads,
            accepted,
        ),
    ]);
    stage.sidecar.terminate();
}

#[test]
fn what_a_member_keeps_too_long_is_given_again_and_counts_as_no_progress() {
    let stage = Stage::start("3000");
    let topic = "late";
    stage.filled(topic);
    let output = stage.share(topic, &format!("--keep-ms 8000 --until {COUNT}"));
    let again = said(&output, "accept", |times| times > 1);
    assert!(again > 0);
    let (worked, once) = (pair("processing", topic), pair("duplicates", topic));
    stage.sidecar.shows(&[
        (EVENTS, &worked, COUNT + again),
        (GOOD, &worked, COUNT),
        (EVENTS, &once, COUNT + again),
        (GOOD, &once, COUNT),
        (DUPLICATES, &with(topic, "class", "redelivered"), again),
        (DUPLICATES, &with(topic, "class", "replayed"), 0),
    ]);
    stage.sidecar.terminate();
}

#[test]
fn two_members_share_a_topic_and_each_record_is_good_once() {
    let stage = Stage::start(KAFKAS_LOCK);
    let topic = "both";
    stage.filled(topic);
    let at = stage.sidecar.bootstrap();
    let line = format!("consume --bootstrap {at} --topic {topic} --share --group {topic}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let members = [Client::Java.start(&words), Client::Java.start(&words)];
    let worked = pair("processing", topic);
    let once = pair("duplicates", topic);
    stage
        .sidecar
        .shows(&[(EVENTS, &worked, COUNT), (GOOD, &worked, COUNT)]);
    stage.run(
        "produce",
        topic,
        &format!("--partitions 2 --first {COUNT} --count {COUNT}"),
    );
    stage.sidecar.shows(&[
        (EVENTS, &worked, 2 * COUNT),
        (GOOD, &worked, 2 * COUNT),
        (GOOD, &once, 2 * COUNT),
        (EVENTS, &once, 2 * COUNT),
    ]);
    for member in members {
        let output = member.leave(LIMIT);
        assert!(output.of_type("error").next().is_none());
    }
    stage.sidecar.terminate();
}

/// The one value of a gauge of a topic and its group.
fn gauge(observer: &Throughline, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let mut seen = Vec::new();
    let reached = try_poll_until(LIMIT, || {
        let metrics = observer.metrics();
        seen = metrics.select(name, labels).map(|s| s.value).collect();
        (seen == [wanted]).then_some(())
    });
    assert!(
        reached.is_some(),
        "{name}{labels:?} is {seen:?} and not {wanted}\n{}",
        observer.tail()
    );
}

#[test]
fn from_outside_a_share_group_that_is_done_has_no_lag_and_one_that_is_gone_has_the_rest() {
    let stage = Stage::start(KAFKAS_LOCK);
    let topic = "seen";
    stage.filled(topic);
    let spec = ThroughlineSpec::observer(&stage.kafka.bootstrap(Listener::Plaintext));
    let observer = Throughline::start(spec);
    let at = stage.sidecar.bootstrap();
    let line = format!(
        "consume --bootstrap {at} --topic {topic} --share --group {topic} --release-every 10 --reject-every 7"
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let member = Client::Java.start(&words);
    let reads = [("topic", topic), ("group", topic)];
    let group = [("group", topic)];
    gauge(&observer, "throughline_group_lag_records", &reads, 0.0);
    gauge(&observer, "throughline_group_lag_seconds", &reads, 0.0);
    gauge(&observer, "throughline_group_members", &group, 1.0);
    member.leave(LIMIT);
    gauge(&observer, "throughline_group_members", &group, 0.0);
    stage.run(
        "produce",
        topic,
        &format!("--partitions 2 --first {COUNT} --count 40"),
    );
    gauge(&observer, "throughline_group_lag_records", &reads, 40.0);
    let lag = observer
        .metrics()
        .sum("throughline_group_lag_seconds", &reads);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Record i is of 1700000000000 + i ms.
    let oldest = 1_700_000_000.0 + COUNT as f64 / 1e3;
    let age = now.as_secs_f64() - oldest;
    assert!((age - lag).abs() < 30.0, "{lag} and not {age}");
    stage.share(topic, "--until 40");
    gauge(&observer, "throughline_group_lag_records", &reads, 0.0);
    observer.terminate();
    stage.sidecar.terminate();
}
