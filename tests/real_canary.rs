//! The canary of `throughline observe` on real brokers: nothing is lost that was not lost, and what was lost is counted exactly.
//!
//! Why: a canary that cries without cause is switched off, and one that is silent is worse than none. Brokers here restart one
//! after the other, are killed, hang, delete records and refuse; what the canary says is compared with what was done.
//! This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use support::clients::{Client, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::metrics::Metrics;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(60);
/// What a cluster may need to get over a death.
const LONG: Duration = Duration::from_secs(120);

const SENT: &str = "throughline_canary_sent_total";
const LATE: &str = "throughline_canary_late_total";
const LOST: &str = "throughline_canary_lost_total";
const FAILED: &str = "throughline_canary_failed_total";
const UNKNOWN: &str = "throughline_canary_unknown_total";
const OVERDUE: &str = "throughline_canary_overdue_records";
const COVERED: &str = "throughline_canary_broker_covered";
const BACK: &str = "throughline_canary_duration_seconds_count";

/// One broker for all tests of this file that run at the same time and leave it alone.
fn broker() -> Arc<Kafka> {
    static BROKER: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut held = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    held.upgrade().unwrap_or_else(|| {
        let kafka = Arc::new(Kafka::single(Version::V4_4_0));
        *held = Arc::downgrade(&kafka);
        kafka
    })
}

/// An observer with a canary in this topic; a record a fifth of a second, so that tests are short.
fn spec(kafka: &Kafka, topic: &str) -> ThroughlineSpec {
    ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext))
        .set("observe.canary.topic", topic)
        .set("observe.canary.group", &format!("{topic}-group"))
        .set("observe.canary.interval_seconds", "0.2")
}

fn sum(metrics: &Metrics, name: &str) -> f64 {
    metrics.sum(name, &[])
}

fn back(metrics: &Metrics) -> f64 {
    metrics.sum(BACK, &[("stage", "round_trip")])
}

/// Waits until the metrics are so.
#[track_caller]
fn until(
    what: &str,
    limit: Duration,
    observer: &Throughline,
    is: impl Fn(&Metrics) -> bool,
) -> Metrics {
    let mut last = None;
    let found = try_poll_until(limit, || {
        let metrics = observer.metrics();
        let so = is(&metrics);
        last = Some(metrics);
        so.then_some(())
    });
    let last = last.expect("a scrape");
    assert!(
        found.is_some(),
        "{what}: sent {} back {} late {} lost {} failed {} unknown {} overdue {}\n{}",
        sum(&last, SENT),
        back(&last),
        sum(&last, LATE),
        sum(&last, LOST),
        sum(&last, FAILED),
        sum(&last, UNKNOWN),
        sum(&last, OVERDUE),
        observer.tail()
    );
    last
}

/// Waits until this many more records came back.
#[track_caller]
fn more(observer: &Throughline, count: f64) -> Metrics {
    let begun = back(&observer.metrics());
    until("records come back", LIMIT, observer, |metrics| {
        back(metrics) >= begun + count
    })
}

/// Everything that was sent came back, but for what is out now.
#[track_caller]
fn all_is_well(metrics: &Metrics) {
    for name in [LATE, LOST, FAILED, UNKNOWN] {
        assert_eq!(sum(metrics, name), 0.0, "{name}");
    }
}

#[test]
fn records_come_back_in_time_and_every_counter_is_there_from_the_start() {
    let kafka = broker();
    kafka.create_topic("quiet", 3);
    let observer = Throughline::start(spec(&kafka, "quiet"));
    let metrics = more(&observer, 20.0);
    all_is_well(&metrics);
    let broker = ("broker", "1");
    for name in [LATE, LOST, "throughline_canary_recovered_total"] {
        assert_eq!(metrics.select(name, &[broker]).count(), 1, "{name}");
    }
    for reason in ["no_leader", "not_answered", "refused"] {
        let labels = [broker, ("reason", reason)];
        assert_eq!(metrics.select(FAILED, &labels).count(), 1, "{reason}");
    }
    for stage in ["produce", "round_trip", "commit"] {
        let labels = [broker, ("stage", stage)];
        let sum = metrics.sum("throughline_canary_duration_seconds_sum", &labels);
        let count = metrics.sum(BACK, &labels);
        assert!(count > 0.0 && sum > 0.0, "{stage}: {sum} {count}");
        assert!(sum / count < 1.0, "{stage} took {}", sum / count);
    }
    assert_eq!(metrics.sum(COVERED, &[broker]), 1.0);
    // What it says is what the log says.
    let written = |_: ()| -> f64 {
        let ends = kafka.offsets("quiet-group", "quiet");
        ends.iter().map(|(_, end)| *end as f64).sum()
    };
    let before = sum(&observer.metrics(), SENT);
    let log = written(());
    let after = sum(&observer.metrics(), SENT);
    assert!(
        (before - 3.0..=after).contains(&log),
        "{log} records in the log, {before} to {after} sent"
    );
    // How far it was read is committed to a group that is in no figure, nor is its topic.
    poll_until("a commit", LIMIT, || {
        let offsets = kafka.offsets("quiet-group", "quiet");
        offsets.iter().all(|(at, _)| *at > 0).then_some(())
    });
    let metrics = more(&observer, 20.0);
    let page = observer.get("/metrics").body;
    let own = page.lines().filter(|line| line.contains("quiet"));
    assert_eq!(own.collect::<Vec<_>>(), [""; 0]);
    all_is_well(&metrics);
    observer.terminate();
}
