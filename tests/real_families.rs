//! Families that no other test moves, moved by real clients; and counters that an alert reads, at 0 before anything happened.
//!
//! Why: a figure that nobody ever saw move may not move. `tests/metric_families.rs` holds the list of who moves what. This file must not
//! look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::clients::Client;
use support::deadline::try_poll_until;
use support::kafka::{self, Kafka, Listener};
use support::ports;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);

fn sidecar(kafka: &Kafka) -> ThroughlineSpec {
    ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
}

fn now_seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64()
}

/// Waits until a figure is there and within bounds.
#[track_caller]
fn within(
    of: &Throughline,
    name: &str,
    labels: &[(&str, &str)],
    bounds: std::ops::RangeInclusive<f64>,
) {
    let fits = |value: &f64| bounds.contains(value);
    let reached = try_poll_until(LIMIT, || of.figure(name, labels).filter(fits));
    let seen = of.figure(name, labels);
    assert!(
        reached.is_some(),
        "{name}{labels:?} is {seen:?} and not within {bounds:?}\n{}",
        of.metrics().page(labels)
    );
}

/// A member that reads on and commits what it was given at first: what is known of it, and of what it has not committed.
#[test]
fn what_is_known_of_a_member_and_of_its_partitions() {
    let kafka = Kafka::shared();
    kafka.topic("member", 2, "");
    let seen = Throughline::start(sidecar(&kafka).set("metrics.partitions", "true"));
    let at = seen.bootstrap();
    let run = |command: &str, more: &str| kafka::run(&at, command, "member", more);
    let alone = "--property batch.size=0 --property max.in.flight.requests.per.connection=1";
    // Number i is in partition i % 2; with one partition asked for, all are in the first.
    run(
        "produce",
        &format!("--count 200 --partitions 2 --now {alone}"),
    );
    run(
        "produce",
        &format!("--first 200 --count 200 --partitions 1 --now {alone}"),
    );
    what_was_written(&seen);
    let topic = [("topic", "member")];
    let outside = ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext));
    let observer = Throughline::start(outside.set("metrics.partitions", "true"));
    // Some twenty polls: the observer must see it move on again and again.
    let more = "--group member --commit-records 350 --pause-ms 500 --property fetch.max.bytes=6000";
    let member = kafka::begin(&at, "consume", "member", more);
    member.wait_for("all records", LIMIT, |lines| {
        let records = lines.iter().filter(|line| line["type"] == "record").count();
        (records == 400).then_some(())
    });
    let read = [topic[0], ("group", "member")];
    seen.settles_at("throughline_consumer_assigned_partitions", &read, 2.0);
    seen.settles_at(
        "throughline_consumer_members",
        &[read[1], ("state", "stable")],
        1.0,
    );
    let ends = kafka.offsets("member", "member");
    assert_eq!(
        ends.iter().map(|(at, end)| end - at).sum::<i64>(),
        50,
        "{ends:?}"
    );
    for (partition, (committed, end)) in ["0", "1"].into_iter().zip(&ends) {
        let labels = [read[0], read[1], ("partition", partition)];
        let lag = (end - committed) as f64;
        seen.settles_at("throughline_consumer_partition_lag_records", &labels, lag);
        observer.settles_at("throughline_group_partition_lag_records", &labels, lag);
        let seconds = if lag > 0.0 { 0.001..=600.0 } else { 0.0..=0.0 };
        within(
            &seen,
            "throughline_consumer_partition_lag_seconds",
            &labels,
            seconds,
        );
    }
    how_it_works(&seen, &observer, &read);
    a_refused_commit(&seen, &at);
    member.leave(LIMIT);
    observer.terminate();
    seen.terminate();
}

#[track_caller]
fn what_was_written(seen: &Throughline) {
    let topic = [("topic", "member")];
    within(seen, "throughline_produced_skew_ratio", &topic, 1.5..=1.5);
    seen.settles_at(
        "throughline_lineage_records_total",
        &[topic[0], ("evidence", "root")],
        400.0,
    );
    let requests = "throughline_broker_request_duration_seconds_count";
    within(
        seen,
        requests,
        &[("broker", "1"), ("api", "Produce")],
        200.0..=400.0,
    );
}

/// Rhythm and freshness of the member, and what both processes need.
#[track_caller]
fn how_it_works(seen: &Throughline, observer: &Throughline, read: &[(&str, &str); 2]) {
    within(
        seen,
        "throughline_commit_interval_seconds",
        &read[1..],
        1e-4..=30.0,
    );
    within(
        observer,
        "throughline_group_commit_interval_seconds",
        &read[1..],
        0.2..=30.0,
    );
    within(seen, "throughline_poll_gap_seconds", &read[1..], 0.0..=30.0);
    within(
        seen,
        "throughline_consumer_lag_age_seconds",
        read,
        0.0..=30.0,
    );
    within(seen, "throughline_coverage_ratio", &read[..1], 1.0..=1.0);
    for of in [seen, observer] {
        within(of, "process_resident_memory_bytes", &[], 1e6..=1e9);
    }
    within(
        observer,
        "throughline_observer_cycle_seconds",
        &[],
        1e-4..=30.0,
    );
}

#[track_caller]
fn a_refused_commit(seen: &Throughline, at: &str) {
    let group = ("group", "member");
    // A commit that the group's members know nothing of is refused, for each partition in it.
    let mut admin = Client::Java.start(&["admin", "--bootstrap", at]);
    let answer = admin.ask(
        "commit --group member --topic member --partition 0 --partitions 2 --offset 0",
        LIMIT,
    );
    assert!(
        answer.iter().any(|line| line["type"] == "error"),
        "{answer:?}"
    );
    let refused = |error: &str| {
        seen.figure(
            "throughline_commit_failures_total",
            &[group, ("error", error)],
        )
    };
    let error = "UNKNOWN_MEMBER_ID";
    assert_eq!(try_poll_until(LIMIT, || refused(error)), Some(2.0));
    let request = [("api", "OffsetCommit"), ("error", error)];
    seen.settles_at("throughline_request_failures_total", &request, 1.0);
}

/// Publish times that lie in the future are said, and are in no latency.
#[test]
fn publish_times_in_the_future() {
    const FIRST: i64 = 200_000_000_000;
    const COUNT: i64 = 10;
    let kafka = Kafka::shared();
    kafka.topic(
        "future",
        1,
        "--config message.timestamp.after.max.ms=9223372036854775807",
    );
    let ahead = (1_700_000_000_000 + FIRST + COUNT) as f64 / 1e3 - now_seconds();
    let seen = Throughline::start(sidecar(&kafka).mode("observe"));
    let at = seen.bootstrap();
    kafka::run(
        &at,
        "produce",
        "future",
        &format!("--first {FIRST} --count {COUNT} --partitions 1"),
    );
    let member = kafka::begin(&at, "consume", "future", "--group future");
    let labels = [("topic", "future"), ("group", "future")];
    seen.settles_at("throughline_delivered_records_total", &labels, COUNT as f64);
    within(
        &seen,
        "throughline_clock_skew_seconds",
        &[("peer", "future")],
        ahead - 600.0..=ahead,
    );
    let unknown = [
        labels[0],
        labels[1],
        ("sli", "latency"),
        ("reason", "negative_skew"),
    ];
    seen.settles_at(
        "throughline_sli_unknown_events_total",
        &unknown,
        COUNT as f64,
    );
    let latencies = "throughline_end_to_end_latency_seconds_count";
    assert_eq!(seen.metrics().sum(latencies, &labels), 0.0);
    member.leave(LIMIT);
    seen.terminate();
}

/// A position that is not there any more is an error of the fetch.
#[test]
fn fetches_that_the_broker_refuses() {
    let kafka = Kafka::shared();
    kafka.topic("shorter", 1, "");
    kafka.run("produce", "shorter", "--count 20 --partitions 1");
    kafka.admin("commit --group shorter --topic shorter --partition 0 --offset 5");
    kafka.admin("delete-records --topic shorter --partition 0 --before 15");
    let seen = Throughline::start(sidecar(&kafka).mode("observe"));
    let at = seen.bootstrap();
    kafka::run(&at, "consume", "shorter", "--group shorter --until 5");
    let error = [("topic", "shorter"), ("error", "OFFSET_OUT_OF_RANGE")];
    seen.settles_at("throughline_fetch_failures_total", &error, 1.0);
    seen.terminate();
}

/// More clients than are allowed, a broker that is not there, and what the process itself has open.
#[test]
fn connections_that_are_not_made() {
    let nobody = format!("127.0.0.1:{}", ports::free());
    let began = now_seconds();
    let spec = ThroughlineSpec::new(&nobody).set("limits.connections", "2");
    let seen = Throughline::start_unready(spec);
    seen.wait_for_log("no broker yet");
    let failures = || {
        seen.metrics()
            .sum("throughline_connect_failures_total", &[])
    };
    let before = failures();
    let connect = || TcpStream::connect(seen.bootstrap()).expect("the sidecar listens");
    drop(connect());
    let counted = try_poll_until(LIMIT, || (failures() > before).then_some(()));
    assert!(counted.is_some(), "{}", seen.metrics().page(&[]));
    seen.settles_at("throughline_proxy_connections_refused_total", &[], 0.0);
    within(
        &seen,
        "process_start_time_seconds",
        &[],
        began - 2.0..=now_seconds() + 2.0,
    );
    let descriptors = || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", seen.id()));
        open.expect("the process").count() as f64
    };
    // The scrape's own connection comes and goes.
    let open = descriptors();
    within(&seen, "process_open_fds", &[], open - 3.0..=open + 3.0);
    seen.terminate();
    let kafka = Kafka::shared();
    let seen = Throughline::start(sidecar(&kafka).set("limits.connections", "2"));
    let connect = || TcpStream::connect(seen.bootstrap()).expect("the sidecar listens");
    let held = [connect(), connect()];
    seen.settles_at("throughline_proxy_connections", &[], 2.0);
    let refused = connect();
    seen.settles_at("throughline_proxy_connections_refused_total", &[], 1.0);
    drop((held, refused));
    seen.terminate();
}

/// What passes unread, unedited or unindexed is counted by its reason, and so is every end of a connection.
#[test]
fn what_is_left_alone_is_counted() {
    const COUNT: f64 = 500.0;
    let kafka = Kafka::shared();
    kafka.topic("alone", 1, "");
    // No batch can be indexed within a microsecond.
    let seen = Throughline::start(sidecar(&kafka).set("lineage.hold_us_max", "1"));
    let at = seen.bootstrap();
    let ended = "throughline_connections_closed_total";
    let counts =
        || ["throughline_proxy_bypassed_total", ended].map(|name| seen.metrics().sum(name, &[]));
    let before = counts();
    let mut stranger = TcpStream::connect(&at).expect("the sidecar listens");
    stranger
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("it reads");
    let counted = try_poll_until(LIMIT, || {
        let now = counts();
        (now[0] > before[0]).then_some(())
    });
    assert!(counted.is_some(), "{}", seen.metrics().page(&[]));
    drop(stranger);
    let closed = try_poll_until(LIMIT, || (counts()[1] > before[1]).then_some(()));
    assert!(closed.is_some(), "{}", seen.metrics().page(&[]));
    // Without acknowledgement nobody would tell that an edited batch was refused.
    let more = format!("--count {COUNT} --partitions 1 --acks 0 --now");
    kafka::run(&at, "produce", "alone", &more);
    let topic = [("topic", "alone")];
    seen.settles_at("throughline_injection_skipped_total", &topic, COUNT);
    kafka::run(
        &at,
        "consume",
        "alone",
        &format!("--group alone --until {COUNT}"),
    );
    let unindexed = "throughline_lineage_unindexed_batches_total";
    within(&seen, unindexed, &[], 1.0..=COUNT);
    within(&seen, "throughline_series", &[], 10.0..=20_000.0);
    seen.terminate();
}

/// A counter that is born at 1 never alerts. After one record each of them is there, with every value of its closed labels.
#[test]
fn what_an_alert_reads_is_there_at_nothing_after_a_first_record() {
    let kafka = Kafka::shared();
    kafka.topic("first", 1, "");
    let seen = Throughline::start(sidecar(&kafka));
    let at = seen.bootstrap();
    kafka::run(
        &at,
        "produce",
        "first",
        "--first 1 --count 1 --partitions 1 --now",
    );
    kafka::run(&at, "consume", "first", "--group first --until 1");
    let topic = ("topic", "first");
    let read = [topic, ("group", "first")];
    seen.settles_at("throughline_delivered_records_total", &read, 1.0);
    let zero = |name: &str, labels: &[(&str, &str)]| {
        seen.settles_at(&format!("throughline_{name}"), labels, 0.0);
    };
    for reason in ["retention", "out_of_range", "truncated"] {
        zero(
            "lost_records_total",
            &[read[0], read[1], ("reason", reason)],
        );
    }
    for class in [
        "appended_twice",
        "redelivered",
        "rebalance_redelivered",
        "replayed",
        "same_content",
    ] {
        zero(
            "duplicate_records_total",
            &[read[0], read[1], ("class", class)],
        );
    }
    zero("sequence_gaps_total", &[topic]);
    for kind in ["io", "refused", "resolve", "timeout", "tls"] {
        let labels = [("broker", "1"), ("kind", kind)];
        zero("connect_failures_total", &labels);
    }
    for direction in ["client_to_broker", "broker_to_client"] {
        zero("throttled_seconds_total", &[("direction", direction)]);
    }
    for (api, resource) in [
        ("Produce", "topic"),
        ("Fetch", "topic"),
        ("JoinGroup", "group"),
    ] {
        zero(
            "authorization_failures_total",
            &[("api", api), ("resource", resource)],
        );
    }
    of_every_sidecar(&seen, &zero);
    seen.terminate();
}

/// Fails where a counter with these labels is not there at 0.
type IsNothing<'a> = &'a dyn Fn(&str, &[(&str, &str)]);

/// What needs neither topic nor group, and what is not at nothing after a first record.
#[track_caller]
fn of_every_sidecar(seen: &Throughline, zero: IsNothing<'_>) {
    for mechanism in [
        "PLAIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
        "OAUTHBEARER",
        "GSSAPI",
        "OTHER",
    ] {
        zero("authentication_failures_total", &[("mechanism", mechanism)]);
    }
    for (name, labels) in [
        ("telemetry_dropped_total", [("signal", "events")]),
        ("proxy_bypassed_total", [("reason", "address")]),
    ] {
        zero(name, &labels);
    }
    zero("proxy_connections_refused_total", &[]);
    zero("lineage_unindexed_batches_total", &[]);
    for reason in ["join", "rejoin", "expired", "unknown", "assigned"] {
        let labels = [("group", "first"), ("reason", reason)];
        let rounds = seen.figure("throughline_rebalances_total", &labels);
        assert!(rounds.is_some(), "no rebalances by {reason}");
    }
    for sli in [
        "publish",
        "latency",
        "processing",
        "dead_letter",
        "duplicates",
        "availability",
    ] {
        for name in ["events", "good_events"] {
            let labels = [("sli", sli)];
            let pair = seen.figure(&format!("throughline_sli_{name}_total"), &labels);
            assert!(pair.is_some(), "{sli} has no {name}");
        }
    }
}
