//! Figures of `/metrics` against what the clients counted themselves, or what stands in the broker's log.
//!
//! Why: an indicator that is nearly right pages the wrong people. Counts are compared exactly once everything has drained; seconds
//! are compared within what the design states. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::clients::{Client, Output, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::segments::{self, Batch};
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
/// Width that the design allows where publish times are exact.
const EXACT_WIDTH: f64 = 0.1;

/// One broker for all tests of this file that run at the same time, and a sidecar for each.
struct Stage {
    kafka: Arc<Kafka>,
    sidecar: Throughline,
    bootstrap: String,
}

impl Stage {
    fn start() -> Self {
        let kafka = Kafka::shared();
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode("observe");
        let sidecar = Throughline::start(spec);
        let bootstrap = sidecar.bootstrap();
        Self {
            kafka,
            sidecar,
            bootstrap,
        }
    }

    /// Creates a topic with these further arguments.
    fn topic(&self, topic: &str, partitions: u32, more: &str) {
        self.kafka.admin(&format!(
            "create-topic --topic {topic} --partitions {partitions} --replication 1 {more}"
        ));
    }

    fn begin(&self, command: &str, topic: &str, more: &str) -> Running {
        let line = format!(
            "{command} --bootstrap {} --topic {topic} {more}",
            self.bootstrap
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        Client::Java.start(&words)
    }

    /// Runs a command to its end, which must be without an error.
    #[track_caller]
    fn run(&self, command: &str, topic: &str, more: &str) -> Output {
        let output = self.begin(command, topic, more).finish(LIMIT);
        let errors: Vec<_> = output.of_type("error").collect();
        assert!(errors.is_empty(), "{command} {topic} {more}: {errors:?}");
        output
    }

    /// What the broker wrote, over all partitions.
    #[track_caller]
    fn log(&self, topic: &str, partitions: u32) -> Vec<Vec<Batch>> {
        let data = self.kafka.directory().join("node-1").join("data");
        let all = 0..partitions;
        all.map(|partition| segments::batches(&data, topic, partition))
            .collect()
    }

    /// Waits until a figure has this value, and makes sure that it does not move on from there.
    #[track_caller]
    fn settles_at(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        self.sidecar.settles_at(name, labels, wanted);
    }
}

fn sum<'a>(batches: impl IntoIterator<Item = &'a Batch>, of: fn(&Batch) -> u64) -> f64 {
    batches.into_iter().map(of).sum::<u64>() as f64
}

/// Records and bytes written and read; commits.
#[test]
fn records_bytes_and_commits() {
    let stage = Stage::start();
    let partitions = 3;
    stage.topic("counted", partitions, "");
    let produced = stage.run(
        "produce",
        "counted",
        "--count 3000 --compression zstd --partitions 3",
    );
    let consumed = stage.run("consume", "counted", "--group counted-group --until 3000");
    let log = stage.log("counted", partitions);
    let bytes = sum(log.iter().flatten(), |batch| batch.bytes);
    let batches = sum(log.iter().flatten(), |_| 1);
    let acked = produced.of_type("ack").count() as f64;
    assert_eq!(sum(log.iter().flatten(), |batch| batch.records), acked);
    let topic = [("topic", "counted")];
    let read = [("topic", "counted"), ("group", "counted-group")];
    stage.settles_at("throughline_produced_records_total", &topic, acked);
    stage.settles_at("throughline_produced_bytes_total", &topic, bytes);
    let zstd = [("topic", "counted"), ("codec", "zstd")];
    stage.settles_at("throughline_produced_batches_total", &zstd, batches);
    stage.settles_at("throughline_batch_records_count", &topic, batches);
    let records = consumed.records().len() as f64;
    stage.settles_at("throughline_delivered_records_total", &read, records);
    stage.settles_at("throughline_delivered_bytes_total", &read, bytes);
    let commits = consumed.of_type("committed").count() as f64;
    let group = [("group", "counted-group")];
    stage.settles_at("throughline_commits_total", &group, commits);
    stage.settles_at("throughline_commit_duration_seconds_count", &group, commits);
    let java = [("software", "apache-kafka-java"), ("version", "4.4.0")];
    stage.settles_at("throughline_client_info", &java, 1.0);
    no_sample_stands_twice(&stage.sidecar);
    no_bad_event(&stage.sidecar, &["publish"]);
    stage.sidecar.terminate();
}

#[track_caller]
fn no_sample_stands_twice(sidecar: &Throughline) {
    let mut seen = BTreeMap::new();
    for sample in sidecar.metrics().samples {
        let count: &mut usize = seen.entry((sample.name, sample.labels)).or_default();
        *count += 1;
    }
    seen.retain(|_, count| *count > 1);
    assert!(seen.is_empty(), "stand more than once: {seen:?}");
}

/// Every pair of these indicators has events, and only good ones.
#[track_caller]
fn no_bad_event(sidecar: &Throughline, indicators: &[&str]) {
    let metrics = sidecar.metrics();
    for sli in indicators {
        let labels = [("sli", *sli)];
        let events = metrics.sum("throughline_sli_events_total", &labels);
        let good = metrics.sum("throughline_sli_good_events_total", &labels);
        assert!(events > 0.0, "{sli}: nothing was judged");
        let failures: Vec<_> = metrics
            .samples
            .iter()
            .filter(|sample| sample.name.ends_with("_failures_total") && sample.value > 0.0)
            .map(|sample| format!("{} {:?} {}", sample.name, sample.labels, sample.value))
            .collect();
        assert_eq!(good, events, "{sli}: good and all; failures: {failures:#?}");
    }
}

/// Aborted records and markers are not delivered, not lag, and not among the delivered bytes.
#[test]
fn transactions() {
    let stage = Stage::start();
    stage.topic("txn", 2, "");
    let writing = "--count 600 --partitions 2 --transactional-id figures --abort-every 3";
    let produced = stage.run("produce", "txn", writing);
    // Still fetching, so that its lag is shown.
    let reading = "--group txn-group --isolation read_committed";
    let consumer = stage.begin("consume", "txn", reading);
    consumer.wait_for("all committed records", LIMIT, |lines| {
        let records = lines.iter().filter(|line| line["type"] == "record").count();
        (records == 400).then_some(())
    });
    let log = stage.log("txn", 2);
    let visible: Vec<&Batch> = log.iter().flat_map(|one| segments::visible(one)).collect();
    assert_eq!(sum(visible.iter().copied(), |batch| batch.records), 400.0);
    let written = log.iter().flatten().filter(|batch| batch.marker.is_none());
    let acked = produced.of_type("ack").count() as f64;
    let topic = [("topic", "txn")];
    let read = [("topic", "txn"), ("group", "txn-group")];
    stage.settles_at("throughline_produced_records_total", &topic, acked);
    let bytes = sum(written, |batch| batch.bytes);
    stage.settles_at("throughline_produced_bytes_total", &topic, bytes);
    stage.settles_at("throughline_delivered_records_total", &read, 400.0);
    let bytes = sum(visible.iter().copied(), |batch| batch.bytes);
    stage.settles_at("throughline_delivered_bytes_total", &read, bytes);
    // The log ends with markers that nobody can commit past by reading.
    let offsets = stage.kafka.offsets("txn-group", "txn");
    let tail: i64 = offsets.iter().map(|(committed, end)| end - committed).sum();
    assert!(tail > 0, "no marker behind the last record: {offsets:?}");
    stage.settles_at("throughline_consumer_lag_records", &read, 0.0);
    stage.settles_at("throughline_consumer_lag_seconds", &read, 0.0);
    consumer.leave(LIMIT);
    stage.sidecar.terminate();
}

/// A consumer that begins in the middle of a batch is sent all of it, and is handed the rest.
#[test]
fn offsets_before_the_one_asked_are_not_delivered() {
    let stage = Stage::start();
    stage.topic("middle", 1, "");
    // Longer than the producer can be held up for; the flush at the end sends at once.
    let one_batch = "--property linger.ms=30000 --property batch.size=900000";
    let writing = format!("--count 300 --partitions 1 {one_batch}");
    stage.run("produce", "middle", &writing);
    let log = stage.log("middle", 1);
    assert_eq!(log[0].len(), 1, "one batch was wanted: {log:?}");
    let first = stage.run(
        "consume",
        "middle",
        "--group middle-group --until 300 --commit-records 130",
    );
    assert_eq!(stage.kafka.offsets("middle-group", "middle"), [(130, 300)]);
    let rest = stage.run("consume", "middle", "--group middle-group --until 170");
    let handed = (first.records().len() + rest.records().len()) as f64;
    assert_eq!(handed, 470.0);
    let read = [("topic", "middle"), ("group", "middle-group")];
    stage.settles_at("throughline_delivered_records_total", &read, handed);
    stage.sidecar.terminate();
}

/// What the broker refuses is counted under its own name.
#[test]
fn refusals_by_name() {
    let stage = Stage::start();
    stage.topic("small", 1, "--config max.message.bytes=1000");
    // From number 1: number 0 has no value.
    let alone = "--property batch.size=0 --property max.in.flight.requests.per.connection=1";
    let large = format!("--first 1 --count 3 --partitions 1 --value-bytes 5000 {alone}");
    let output = stage.begin("produce", "small", &large).finish(LIMIT);
    let refused = output.of_type("error");
    let refused = refused
        .filter(|line| line["code"] == "MESSAGE_TOO_LARGE")
        .count() as f64;
    assert_eq!(refused, 3.0, "{:?}", output.lines);
    let failure = [("topic", "small"), ("error", "MESSAGE_TOO_LARGE")];
    stage.settles_at("throughline_produce_failures_total", &failure, refused);
    let publish = [("topic", "small"), ("sli", "publish")];
    stage.settles_at("throughline_sli_events_total", &publish, refused);
    stage.settles_at("throughline_sli_good_events_total", &publish, 0.0);
    stage.sidecar.terminate();
}

/// A user who may describe but not write.
#[test]
fn refusals_for_want_of_rights() {
    let spec = KafkaSpec::new(Version::V4_4_0).listener(Listener::SaslPlaintext);
    let kafka = Kafka::start(spec.user("mallory", "mallory-secret").acls());
    kafka.create_topic("guarded", 1);
    for (user, operation) in [("alice", "WRITE"), ("mallory", "DESCRIBE")] {
        kafka.admin(&format!(
            "add-acl --principal User:{user} --operation {operation} --resource topic --name guarded"
        ));
    }
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::SaslPlaintext)).mode("observe");
    let sidecar = Throughline::start(spec);
    let line = format!(
        "produce --bootstrap {} --topic guarded --first 1 --count 3 --partitions 1 --sasl-mechanism PLAIN \
         --username mallory --password mallory-secret --property batch.size=0 \
         --property max.in.flight.requests.per.connection=1",
        sidecar.bootstrap()
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Client::Java.start(&words).finish(LIMIT);
    let refused = output.of_type("error");
    let refused = refused.filter(|line| line["code"] == "TOPIC_AUTHORIZATION_FAILED");
    assert_eq!(refused.count(), 3, "{:?}", output.lines);
    let failure = [
        ("topic", "guarded"),
        ("error", "TOPIC_AUTHORIZATION_FAILED"),
    ];
    sidecar.settles_at("throughline_produce_failures_total", &failure, 3.0);
    let resource = [("api", "Produce"), ("resource", "topic")];
    sidecar.settles_at("throughline_authorization_failures_total", &resource, 3.0);
    sidecar.terminate();
}

/// One round for the first member, one when a second joins, one when it leaves.
#[test]
fn rebalances() {
    let stage = Stage::start();
    stage.topic("rounds", 2, "");
    let member = |name: &str| {
        stage.begin(
            "consume",
            "rounds",
            &format!("--group rounds-group --member {name}"),
        )
    };
    let assigned = |member: &Running| {
        let lines = member.lines();
        lines
            .iter()
            .filter(|line| line["type"] == "assigned")
            .count()
    };
    let first = member("first");
    poll_until("a first assignment", LIMIT, || {
        (assigned(&first) >= 1).then_some(())
    });
    let group = [("group", "rounds-group")];
    // What an alert would read exists before there is anything to read.
    from_zero(&stage.sidecar, "rounds", "rounds-group");
    let second = member("second");
    poll_until("both are assigned", LIMIT, || {
        (assigned(&first) >= 2 && assigned(&second) >= 1).then_some(())
    });
    second.leave(LIMIT);
    poll_until("the first has everything again", LIMIT, || {
        (assigned(&first) >= 3).then_some(())
    });
    let rounds = assigned(&first) as f64;
    stage.settles_at("throughline_rebalances_total", &group, rounds);
    // The first round was the first member's own, though the coordinator gave it an id before it let it in.
    let joins = [group[0], ("reason", "join")];
    let joins = stage
        .sidecar
        .metrics()
        .sum("throughline_rebalances_total", &joins);
    assert!(joins >= 1.0, "{joins} rounds by a new member");
    first.leave(LIMIT);
    stage.sidecar.terminate();
}

/// Pairs and counters exist at 0 as soon as a consumer of an empty topic is known.
#[track_caller]
fn from_zero(sidecar: &Throughline, topic: &str, group: &str) {
    let labels = [("topic", topic), ("group", group), ("sli", "latency")];
    for name in [
        "throughline_sli_events_total",
        "throughline_sli_good_events_total",
    ] {
        sidecar.settles_at(name, &labels, 0.0);
    }
    let publish = [("topic", topic), ("sli", "publish")];
    for name in [
        "throughline_sli_events_total",
        "throughline_sli_good_events_total",
    ] {
        sidecar.settles_at(name, &publish, 0.0);
    }
    for name in [
        "throughline_produced_records_total",
        "throughline_delivered_records_total",
    ] {
        sidecar.settles_at(name, &[("topic", topic)], 0.0);
    }
    sidecar.settles_at("throughline_commits_total", &[("group", group)], 0.0);
    for name in [
        "throughline_lost_records_total",
        "throughline_dead_letter_records_total",
    ] {
        sidecar.settles_at(name, &labels[..2], 0.0);
    }
}

/// Lag in records and seconds of a consumer that reads on and stops committing.
fn paced_backlog(topic: &str, config: &str, batches: &str) {
    const WRITTEN: usize = 200;
    const COMMITTED: usize = 120;
    let stage = Stage::start();
    stage.topic(topic, 1, config);
    let group = format!("{topic}-group");
    let reading = format!("--group {group} --commit-records {COMMITTED}");
    let consumer = stage.begin("consume", topic, &reading);
    let pace = format!("--count {WRITTEN} --partitions 1 --now --delay-ms 20 {batches}");
    stage.run("produce", topic, &pace);
    consumer.wait_for("all records", LIMIT, |lines| {
        let records = lines.iter().filter(|line| line["type"] == "record").count();
        (records == WRITTEN).then_some(())
    });
    // It prints what a poll gave, and only then commits it.
    let mut offsets = Vec::new();
    try_poll_until(LIMIT, || {
        offsets = stage.kafka.offsets(&group, topic);
        (offsets[0].0 == COMMITTED as i64).then_some(())
    });
    let (committed, end) = offsets[0];
    assert_eq!(committed, COMMITTED as i64, "{offsets:?}");
    let labels = [("topic", topic), ("group", group.as_str())];
    let lag = (end - committed) as f64;
    stage.settles_at("throughline_consumer_lag_records", &labels, lag);
    let lines = consumer.lines();
    let first = lines.iter().find(|line| line["offset"] == committed);
    let published = first.and_then(|line| line["timestamp"].as_i64());
    let published = published.expect("the first record that was not committed");
    assert_interval_holds(&stage.sidecar, &labels, published);
    consumer.leave(LIMIT);
    stage.sidecar.terminate();
}

/// The gauge moves once a second; the moment it moves says for which time it holds.
#[track_caller]
fn assert_interval_holds(sidecar: &Throughline, labels: &[(&str, &str)], published_ms: i64) {
    let bounds = || {
        let metrics = sidecar.metrics();
        ["lower", "upper"].map(|bound| {
            let labels = [labels, &[("bound", bound)]].concat();
            metrics.sum("throughline_consumer_lag_seconds_bound", &labels)
        })
    };
    let age = || (now_ms() - published_ms) as f64 / 1e3;
    let before = bounds();
    let mut earliest = 0.0;
    let (latest, [lower, upper]) = poll_until("the lag moves on", LIMIT, || {
        let asked = age();
        let seen = bounds();
        if seen == before {
            // It moves after this. The look at the clock comes a little before the gauge is set.
            earliest = asked - 0.02;
            return None;
        }
        Some((age(), seen))
    });
    assert!(
        lower <= latest && earliest <= upper,
        "the lag was between {earliest} and {latest} s, the interval says {lower} to {upper}"
    );
    assert!(
        upper - lower < EXACT_WIDTH,
        "the interval {lower} to {upper} is wider than {EXACT_WIDTH} s"
    );
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("before the end of time")
}

#[test]
fn lag_of_one_record_batches() {
    paced_backlog("paced", "", "--property batch.size=0");
}

#[test]
fn lag_under_log_append_time() {
    paced_backlog(
        "appended",
        "--config message.timestamp.type=LogAppendTime",
        "--property linger.ms=100",
    );
}

/// Default settings of a client: nothing bad, and latencies as the client measured them.
#[test]
fn a_healthy_run_with_default_settings() {
    const COUNT: usize = 2500;
    // One broker for all runs.
    let _kafka = Kafka::shared();
    // Where the machine held somebody up, records are late whatever the sidecar does. It must be right in every run; healthy must
    // be one of them.
    let mut late = Vec::new();
    let healthy = (1..=3).any(|run| {
        let seen = default_settings(&format!("healthy-{run}"), COUNT);
        late.push(seen);
        seen <= COUNT / 100
    });
    assert!(healthy, "no healthy run: {late:?} late records");
}

/// One run with a sidecar, a topic and a group of its own; how many records the client saw late.
#[track_caller]
fn default_settings(topic: &str, count: usize) -> usize {
    let stage = Stage::start();
    stage.topic(topic, 3, "");
    let group = format!("{topic}-group");
    let reading = format!("--group {group} --commit auto --property auto.commit.interval.ms=5000");
    let consumer = stage.begin("consume", topic, &reading);
    consumer.wait_for("a first assignment", LIMIT, |lines| {
        lines
            .iter()
            .any(|line| line["type"] == "assigned")
            .then_some(())
    });
    let pace = format!("--count {count} --partitions 3 --now --delay-ms 5 --idempotent");
    stage.run("produce", topic, &pace);
    consumer.wait_for("all records", LIMIT, |lines| {
        let records = lines.iter().filter(|line| line["type"] == "record").count();
        (records == count).then_some(())
    });
    let output = consumer.leave(LIMIT);
    let read = [("topic", topic), ("group", group.as_str())];
    stage.settles_at("throughline_delivered_records_total", &read, count as f64);
    assert_distribution(&stage.sidecar, &read, &output);
    let indicators = ["publish", "availability", "processing", "dead_letter"];
    no_bad_event(&stage.sidecar, &indicators);
    let metrics = stage.sidecar.metrics();
    let latency = [read[0], read[1], ("sli", "latency")];
    let judged = metrics.sum("throughline_sli_events_total", &latency);
    assert_eq!(
        judged,
        count as f64,
        "latency: {}",
        metrics.page(&latency[..1])
    );
    // The first record of a cold JVM is late before it is sent; the client knows of each such record.
    let bad = judged - metrics.sum("throughline_sli_good_events_total", &latency);
    let late = ages(&output).into_iter().filter(|age| *age > 0.5).count();
    assert!(
        bad <= late as f64,
        "{bad} bad latency events, but the client saw {late} late records"
    );
    // The first group of a cluster waits for its coordinator to be created.
    let family = "throughline_sli_unknown_events_total";
    let settling = metrics.sum(family, &[("reason", "settling")]);
    // These records carry no id.
    let nameless = [read[0], read[1], ("reason", "no_identity")];
    assert_eq!(metrics.sum(family, &nameless), count as f64);
    let unknown = metrics.sum(family, &[]) - settling - count as f64;
    assert_eq!(unknown, 0.0, "unknown: {}", metrics.page(&[]));
    stage.sidecar.terminate();
    late
}

/// Seconds from a record's timestamp to the return of the `poll` that brought it.
fn ages(output: &Output) -> Vec<f64> {
    let number = |line: &Value, name: &str| line[name].as_i64().expect("a number");
    let age = |line: &Value| (number(line, "received") - number(line, "timestamp")) as f64 / 1e3;
    output.of_type("record").map(age).collect()
}

/// The share of records that the client may have had so much later than the sidecar that they are more than a bucket apart: between the
/// answer on the wire and the return of `poll` lies whatever the machine did in the meantime, and only that.
const HELD_UP: f64 = 0.02;

/// Each bucket of the histogram is, give or take one bucket, what the client measured from the records' timestamps. The sidecar sees a
/// record before the client does: it never counts fewer within a bound, and only `HELD_UP` of all may be more.
#[track_caller]
fn assert_distribution(sidecar: &Throughline, labels: &[(&str, &str)], output: &Output) {
    let measured = ages(output);
    let metrics = sidecar.metrics();
    let fetched = [labels, &[("stage", "fetched")]].concat();
    let mut buckets: Vec<(f64, f64)> = metrics
        .select("throughline_end_to_end_latency_seconds_bucket", &fetched)
        .map(|sample| {
            let bound = sample.labels["le"].as_str();
            (bound.parse().unwrap_or(f64::INFINITY), sample.value)
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Kafka's timestamps are whole milliseconds: the client cannot tell buckets below that apart, so it says nothing of them.
    buckets.retain(|(bound, _)| *bound >= 0.001);
    assert!(buckets.len() > 5, "buckets: {buckets:?}");
    let upto = |bound: f64| measured.iter().filter(|age| **age <= bound).count() as f64;
    for (at, (bound, counted)) in buckets.iter().enumerate() {
        let below = at.checked_sub(1).map_or(0.0, |at| upto(buckets[at].0));
        let above = buckets
            .get(at + 1)
            .map_or(f64::INFINITY, |next| upto(next.0));
        let above = above + HELD_UP * measured.len() as f64;
        assert!(
            (below..=above).contains(counted),
            "{counted} records within {bound} s, the client measured {below} to {above}; buckets {buckets:?}"
        );
    }
}
