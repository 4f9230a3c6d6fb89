//! How groups get on, as `throughline observe` tells it, on a real broker: each state, groups nobody wants any more, and what is
//! estimated from how they worked.
//!
//! Why: other tools call a group stopped that is slow, lose one that died, or show lag that never was. Each figure is compared with
//! what the clients did. This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::time::Duration;

use serde_json::Value;
use support::clients::{Output, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{self, Kafka, Listener};
use support::metrics::Metrics;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);

const RECORDS: &str = "throughline_group_lag_records";
const SECONDS: &str = "throughline_group_lag_seconds";
const STATE: &str = "throughline_group_state";
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";
const STATES: [&str; 6] = ["ok", "warn", "rewinding", "stalled", "stopped", "abandoned"];

fn spec(kafka: &Kafka) -> ThroughlineSpec {
    ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext))
}

/// Waits until at least this many more looks were judged.
#[track_caller]
fn looks(observer: &Throughline, count: f64) -> Metrics {
    let labels = [("sli", "broker")];
    let begun = observer.metrics().sum(EVENTS, &labels);
    poll_until("looks at the cluster", LIMIT, || {
        let metrics = observer.metrics();
        (metrics.sum(EVENTS, &labels) >= begun + count).then_some(metrics)
    })
}

/// The states a group is in: one, unless several groups share the name.
fn states(metrics: &Metrics, group: &str) -> Vec<&'static str> {
    let labels = |state: &'static str| [("group", group.to_owned()), ("state", state.to_owned())];
    let all = STATES.into_iter().filter(|state| {
        let labels = labels(state);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
        metrics.sum(STATE, &labels) > 0.0
    });
    all.collect()
}

/// Waits until a group is in exactly these states.
#[track_caller]
fn is(observer: &Throughline, group: &str, wanted: &[&str]) {
    let mut seen = Vec::new();
    let reached = try_poll_until(LIMIT, || {
        seen = states(&observer.metrics(), group);
        (seen == wanted).then_some(())
    });
    assert!(
        reached.is_some(),
        "{group} is {seen:?} and not {wanted:?}\n{}",
        observer.metrics().page(&[("group", group)])
    );
}

fn bad(metrics: &Metrics, labels: &[(&str, &str)]) -> f64 {
    metrics.sum(EVENTS, labels) - metrics.sum(GOOD, labels)
}

/// One group through every state: it works a backlog off, is held, dies, goes back to the earliest record, and comes to the end.
#[test]
fn a_group_is_warn_stalled_stopped_rewinding_and_ok_as_its_consumers_are() {
    const COUNT: usize = 3000;
    let kafka = Kafka::shared();
    // One partition: a consumer empties what it fetched of one before it turns to another, which stands still meanwhile.
    kafka.topic("ways", 1, "");
    // Their time is 2023: whoever has not read them is late.
    kafka.run(
        "produce",
        "ways",
        &format!("--count {COUNT} --partitions 1"),
    );
    kafka.admin("commit --group ways --topic ways --partition 0 --offset 0");
    // `stalled` is from the objective's 3 s to the end of the session: wide enough for a machine that is held meanwhile.
    let slow = "--property max.poll.records=5 --pause-ms 200 --session-timeout-ms 20000";
    let begin = |member: &str| {
        let more = format!("--group ways --member {member} {slow}");
        let member = kafka.begin("consume", "ways", &more);
        member.wait_for("a first record", LIMIT, |lines| {
            lines
                .iter()
                .any(|line| line["type"] == "record")
                .then_some(())
        });
        member
    };
    let objectives = "[{match: \"^ways$\", sli: lag, threshold_seconds: 3}]";
    let seen = Throughline::start(spec(&kafka).set("objectives", objectives));
    let labels = [("topic", "ways"), ("group", "ways")];
    let first = begin("first");
    is(&seen, "ways", &["warn"]);
    first.signal("STOP");
    // It is a member until its session ends, and then it is none.
    is(&seen, "ways", &["stalled"]);
    is(&seen, "ways", &["stopped"]);
    first.signal("CONT");
    is(&seen, "ways", &["warn"]);
    first.kill();
    is(&seen, "ways", &["stalled"]);
    is(&seen, "ways", &["stopped"]);
    seen.settles_at("throughline_group_members", &labels[1..], 0.0);
    let committed = kafka.offsets("ways", "ways");
    let lag: i64 = committed.iter().map(|(at, end)| end - at).sum();
    seen.settles_at(RECORDS, &labels, lag as f64);
    assert!(lag > 0, "{committed:?}");
    // It stands still: at this rate it never comes to the end.
    seen.settles_at(
        "throughline_group_lag_drain_seconds",
        &labels,
        f64::INFINITY,
    );
    // Somebody skips to the end and thinks better of it: back at the earliest record, behind where it was, and moving.
    kafka.admin(&format!(
        "commit --group ways --topic ways --partition 0 --offset {COUNT}"
    ));
    seen.settles_at(RECORDS, &labels, 0.0);
    is(&seen, "ways", &["ok"]);
    kafka.admin("commit --group ways --topic ways --partition 0 --offset 0");
    seen.settles_at(RECORDS, &labels, COUNT as f64);
    let again = begin("again");
    is(&seen, "ways", &["rewinding"]);
    again.leave(LIMIT);
    let pair = [("sli", "lag"), labels[0], labels[1]];
    let before = seen.metrics();
    assert!(bad(&before, &pair) > 0.0, "{}", before.page(&pair));
    let quick = kafka.begin("consume", "ways", "--group ways --member quick");
    is(&seen, "ways", &["ok"]);
    seen.settles_at(RECORDS, &labels, 0.0);
    seen.settles_at(SECONDS, &labels, 0.0);
    assert_eq!(seen.metrics().sum(UNKNOWN, &pair), 0.0);
    quick.leave(LIMIT);
    seen.terminate();
}

/// What a pod sees of its own members, judged over a minute: one that commits no more, one that is held, one that is too slow, and one
/// that keeps up.
#[test]
fn a_pods_view_of_its_members_is_theirs() {
    const POD: &str = "throughline_consumer_state";
    let kafka = Kafka::shared();
    let at = kafka.bootstrap(Listener::Plaintext);
    let seen = Throughline::start(ThroughlineSpec::new(&at).mode("observe"));
    let at = seen.bootstrap();
    let begin = |command: &str, of: &str, more: &str| {
        let more = more.replace("GROUP", &format!("--group pod-{of}"));
        kafka::begin(&at, command, &format!("pod-{of}"), &more)
    };
    let reads = |member: &Running, count: usize| {
        poll_until("records to be read", LIMIT, || {
            (member.read() >= count).then_some(())
        });
    };
    let all = ["stalled", "stopped", "ok", "warn"];
    for of in all {
        kafka.topic(&format!("pod-{of}"), 1, "");
        if of != "warn" {
            kafka.run(
                "produce",
                &format!("pod-{of}"),
                "--count 100 --partitions 1",
            );
        }
    }
    let behind = "GROUP --commit-records 40";
    let mut members: Vec<Running> = all[..2]
        .iter()
        .map(|of| begin("consume", of, behind))
        .collect();
    members.iter().for_each(|member| reads(member, 100));
    // The last record is printed before the commit is sent; of a group that never committed a pod knows no position.
    for member in &members {
        poll_until("the only commit", LIMIT, || {
            (member.count("committed") == 1).then_some(())
        });
    }
    members[1].signal("STOP");
    members.push(begin("consume", "ok", "GROUP"));
    // As fast as it is written five times over: 20 a second of 100.
    let flood = begin(
        "produce",
        "warn",
        "--count 30000 --partitions 1 --now --delay-ms 10",
    );
    let slow =
        "GROUP --pause-ms 500 --property max.poll.records=10 --property fetch.max.bytes=3000";
    members.push(begin("consume", "warn", slow));
    for of in ["ok", "warn", "stopped", "stalled"] {
        let group = format!("pod-{of}");
        let labels = |state| [("group", group.as_str()), ("state", state)];
        let reached = try_poll_until(LIMIT * 2, || {
            (seen.figure(POD, &labels(of)) == Some(1.0)).then_some(())
        });
        let metrics = seen.metrics();
        assert!(
            reached.is_some(),
            "{of}\n{}",
            metrics.page(&labels(of)[..1])
        );
        let others = all.into_iter().filter(|state| *state != of);
        let others: f64 = others.map(|state| metrics.sum(POD, &labels(state))).sum();
        assert_eq!(others, 0.0, "{}", metrics.page(&labels(of)[..1]));
    }
    flood.kill();
    for member in members {
        member.kill();
    }
    seen.terminate();
}

/// A group that is gone for good, and one that is there, of one folded name: the first is out of every SLI, the second is not.
#[test]
fn an_abandoned_console_group_is_folded_and_out_of_the_slis() {
    let kafka = Kafka::shared();
    kafka.topic("console", 1, "");
    kafka.run("produce", "console", "--count 50 --partitions 1");
    let console = |number: u32, more: &str| {
        let group = format!("--group console-consumer-{number} --commit auto {more}");
        kafka.begin("consume", "console", &group)
    };
    console(48_121, "--until 20 --property max.poll.records=20").finish(LIMIT);
    let spec = spec(&kafka)
        .set(
            "names",
            "[{match: '^console-consumer-\\d+$', as: console-consumer}]",
        )
        // `stopped` shows for as long, from the first look on: long enough to be seen on a machine that is held.
        .set("observe.abandoned_after_seconds", "15");
    let seen = Throughline::start(spec.clone());
    let labels = [("topic", "console"), ("group", "console-consumer")];
    // Its records are of 2023, and it has no members.
    is(&seen, "console-consumer", &["stopped"]);
    seen.settles_at(RECORDS, &labels, 30.0);
    is(&seen, "console-consumer", &["abandoned"]);
    let pair = [("sli", "lag"), labels[0], labels[1]];
    let judged = |metrics: &Metrics| {
        let all = ["lag", "delivery"].map(|sli| metrics.sum(EVENTS, &[("sli", sli), labels[0]]));
        (all, metrics.sum(UNKNOWN, &labels))
    };
    let before = judged(&looks(&seen, 1.0));
    assert_eq!(
        judged(&looks(&seen, 4.0)),
        before,
        "an event of an abandoned group"
    );
    seen.settles_at(RECORDS, &labels, 30.0);
    assert_eq!(
        seen.figure(RECORDS, &[("group", "console-consumer-48121")]),
        None
    );
    // Another one lives: it is judged, and neither hides the other.
    let living = console(7, "");
    is(&seen, "console-consumer", &["ok", "abandoned"]);
    let metrics = looks(&seen, 3.0);
    let since = metrics.sum(EVENTS, &pair) - before.0[0];
    assert!(since > 0.0, "the living group is not judged");
    seen.terminate();
    // What an observer that begins anew has not seen yet it does not claim: the time counts from its start.
    let again = Throughline::start(spec);
    is(&again, "console-consumer", &["ok", "stopped"]);
    is(&again, "console-consumer", &["ok", "abandoned"]);
    // Somebody comes back to it.
    let back = console(48_121, "");
    is(&again, "console-consumer", &["ok"]);
    again.settles_at(RECORDS, &labels, 0.0);
    back.leave(LIMIT);
    living.leave(LIMIT);
    again.terminate();
}

/// Between two looks a topic is created, written, read, committed and given more partitions.
#[test]
fn what_happens_between_two_looks_is_no_phantom_and_nothing_negative() {
    let kafka = Kafka::shared();
    let seen = Throughline::start(spec(&kafka).set("observe.cycle_seconds", "3"));
    for round in 0..3 {
        let topic = format!("quick-{round}");
        let labels = [("topic", topic.as_str()), ("group", topic.as_str())];
        // A look has just ended: the next one is told of everything at once.
        looks(&seen, 1.0);
        seen.signal("STOP");
        kafka.topic(&topic, 1, "");
        kafka.run("produce", &topic, "--count 100 --partitions 1 --now");
        let reading = format!("--group {topic} --until 100");
        let first = kafka.run("consume", &topic, &reading);
        assert_eq!(first.records().len(), 100);
        kafka.admin(&format!("add-partitions --topic {topic} --partitions 4"));
        kafka.run("produce", &topic, "--count 200 --partitions 4 --now");
        let reading = format!("--group {topic} --until 200");
        kafka.run("consume", &topic, &reading);
        let offsets = kafka.offsets(&topic, &topic);
        assert!(offsets.iter().all(|(at, end)| at == end), "{offsets:?}");
        seen.signal("CONT");
        let probes = [("sli", "broker")];
        let begun = seen.metrics().sum(EVENTS, &probes);
        poll_until("three looks", LIMIT, || {
            let metrics = seen.metrics();
            no_phantom(&metrics, &labels);
            (metrics.sum(EVENTS, &probes) >= begun + 3.0).then_some(())
        });
        seen.settles_at(RECORDS, &labels, 0.0);
        is(&seen, &topic, &["ok"]);
        let metrics = seen.metrics();
        let pair = [("sli", "lag"), labels[0], labels[1]];
        assert!(
            metrics.sum(EVENTS, &pair) >= 4.0,
            "{}",
            metrics.page(&labels)
        );
        assert_eq!(bad(&metrics, &pair), 0.0, "{}", metrics.page(&labels));
        assert_eq!(
            metrics.sum(UNKNOWN, &pair),
            0.0,
            "{}",
            metrics.page(&labels)
        );
    }
    seen.terminate();
}

/// A group that has committed everything has no lag in any figure.
#[track_caller]
fn no_phantom(metrics: &Metrics, labels: &[(&str, &str)]) {
    for name in [RECORDS, SECONDS, "throughline_group_lag_seconds_bound"] {
        let wrong: Vec<_> = metrics
            .select(name, labels)
            .filter(|s| s.value != 0.0)
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }
    let lost = metrics.sum("throughline_group_lost_records_total", labels);
    assert_eq!(lost, 0.0);
}

/// Every key but one now and then, and one all the time: the busiest partition against the mean, exactly.
#[test]
fn a_hot_key_makes_a_hot_partition_and_its_share_is_exact() {
    const PARTITIONS: u32 = 4;
    const NAME: &str = "throughline_partition_skew_ratio";
    let kafka = Kafka::shared();
    kafka.topic("hot", PARTITIONS, "");
    let seen = Throughline::start(spec(&kafka));
    looks(&seen, 2.0);
    let labels = [("topic", "hot")];
    let ratio = || {
        let offsets = kafka.offsets("nobody", "hot");
        let ends: Vec<f64> = offsets.iter().map(|(_, end)| *end as f64).collect();
        let most = ends.iter().copied().fold(0.0, f64::max);
        most * f64::from(PARTITIONS) / ends.iter().sum::<f64>()
    };
    let write = |more: &str| kafka.run("pipe", "hot", &format!("--into hot --shape source {more}"));
    write("--member spread --count 400");
    let even = ratio();
    assert!((1.0..1.5).contains(&even), "{even}");
    settles_near(&seen, NAME, &labels, even);
    write("--member hot --count 600 --keys 1");
    let hot = ratio();
    assert!((2.0..3.5).contains(&hot), "{hot}");
    settles_near(&seen, NAME, &labels, hot);
    seen.terminate();
}

/// Waits until a figure is this, but for the last bits of a division.
#[track_caller]
fn settles_near(seen: &Throughline, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let near = |value: &f64| (value - wanted).abs() < 1e-9;
    let reached = try_poll_until(LIMIT, || seen.figure(name, labels).filter(near));
    let last = seen.figure(name, labels);
    assert!(
        reached.is_some(),
        "{name}{labels:?} is {last:?} and not {wanted}"
    );
}

/// A group is measured while it catches up, then goes through everything once more: that takes as long as was said.
#[test]
fn a_replay_takes_as_long_as_was_estimated() {
    const COUNT: usize = 6000;
    const NAME: &str = "throughline_replay_estimate_seconds";
    let kafka = Kafka::shared();
    kafka.topic("replay", 3, "");
    kafka.run(
        "produce",
        "replay",
        &format!("--count {COUNT} --partitions 3"),
    );
    kafka.admin("commit --group replay --topic replay --partition 0 --partitions 3 --offset 0");
    let seen = Throughline::start(spec(&kafka));
    let labels = [("topic", "replay"), ("group", "replay")];
    seen.settles_at(RECORDS, &labels, COUNT as f64);
    // As fast as its processing allows, which is slow enough for a busy machine to make no difference.
    let paced = "--property max.poll.records=160 --pause-ms 400";
    let replay = |member: &str| -> f64 {
        let more = format!("--group replay --member {member} --until {COUNT} {paced}");
        took(&kafka.run("consume", "replay", &more))
    };
    let first = replay("first");
    seen.settles_at(RECORDS, &labels, 0.0);
    let bound = |bound: &str| seen.figure(NAME, &[labels[0], labels[1], ("bound", bound)]);
    let estimate = ["low", "likely", "high"].map(|of| bound(of).expect("an estimate"));
    kafka.admin("commit --group replay --topic replay --partition 0 --partitions 3 --offset 0");
    let second = replay("second");
    let [low, likely, high] = estimate;
    eprintln!("estimated {estimate:?}, it took {first} s and then {second} s");
    assert!(low <= likely && likely <= high, "{estimate:?}");
    assert!(
        (low..=high).contains(&second),
        "estimated {estimate:?}, it took {first} s and then {second} s"
    );
    assert!(
        (0.5..=2.0).contains(&(likely / second)),
        "estimated {estimate:?}, it took {first} s and then {second} s"
    );
    seen.terminate();
}

/// Seconds from the first record a program was given to the last.
fn took(output: &Output) -> f64 {
    let received = |line: &Value| line["received"].as_f64().expect("a time");
    let times: Vec<f64> = output.of_type("record").map(received).collect();
    let (first, last) = (times.first(), times.last());
    (last.expect("records") - first.expect("records")) / 1e3
}
