//! `throughline observe` on real brokers: what no pod can see, against what the clients and the broker's log say.
//!
//! Why: an observer that is nearly right pages the wrong people. Groups here are dead, idle, refused or overtaken; each
//! figure is compared with ground truth. This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::clients::{Client, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Mechanism, Shared, Version};
use support::metrics::Metrics;
use support::throughline::{self, Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);

const RECORDS: &str = "throughline_group_lag_records";
const SECONDS: &str = "throughline_group_lag_seconds";
const BOUND: &str = "throughline_group_lag_seconds_bound";
const STATE: &str = "throughline_group_state";
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";

fn observer(kafka: &Kafka) -> Throughline {
    Throughline::start(ThroughlineSpec::observer(
        &kafka.bootstrap(Listener::Plaintext),
    ))
}

/// Runs a Java client to its end, which must be without an error.
#[track_caller]
fn client(kafka: &Kafka, command: &str, topic: &str, more: &str) {
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let line = format!("{command} --bootstrap {bootstrap} --topic {topic} {more}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Client::Java.start(&words).finish(LIMIT);
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{command} {topic} {more}: {errors:?}");
}

#[track_caller]
fn topic(kafka: &Kafka, topic: &str, partitions: u32, more: &str) {
    kafka.admin(&format!(
        "create-topic --topic {topic} --partitions {partitions} --replication 1 {more}"
    ));
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// The value of the one series of `name` with these labels, if there is one.
fn value(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut found = metrics.select(name, labels).map(|sample| sample.value);
    let value = found.next();
    assert_eq!(found.next(), None, "{name}{labels:?} is not one series");
    value
}

/// Waits until a figure is this.
#[track_caller]
fn becomes(observer: &Throughline, name: &str, labels: &[(&str, &str)], wanted: f64) {
    let mut seen = None;
    let reached = try_poll_until(LIMIT, || {
        seen = value(&observer.metrics(), name, labels);
        (seen == Some(wanted)).then_some(())
    });
    assert!(
        reached.is_some(),
        "{name}{labels:?} is {seen:?} and not {wanted}\n{}",
        observer.tail()
    );
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

/// Looks, and compares the age of the first unread record with its publish time, in seconds since 1970.
#[track_caller]
fn age_is_exact(observer: &Throughline, labels: [(&str, &str); 2], published: f64) -> Metrics {
    // A look may be a second old, and the scrape takes its time: the age lies between its own looks.
    let before = now();
    // Figures follow the count of their look: those of the second at least, which began after `before`.
    let metrics = looks(observer, 3.0);
    let after = now();
    let bound = |side| {
        let labels = [labels[0], labels[1], ("bound", side)];
        value(&metrics, BOUND, &labels)
    };
    let (lower, upper) = (bound("lower"), bound("upper"));
    assert_eq!(lower, upper, "the age is exact");
    let ages = [
        ("lower", lower),
        ("upper", upper),
        ("age", value(&metrics, SECONDS, &labels)),
    ];
    for (name, age) in ages {
        let age = age.expect("an age");
        assert!(
            (before - published - 1.1..=after - published + 0.1).contains(&age),
            "{name} {age}, published {published}, looked between {before} and {after}"
        );
    }
    metrics
}

#[test]
fn a_dead_group_with_a_backlog_is_seen_and_its_age_is_exact() {
    let kafka = Kafka::shared();
    topic(&kafka, "dead", 2, "");
    client(&kafka, "produce", "dead", "--count 40 --partitions 2");
    // Record i is in partition i % 2, its time 1700000000000 + i; thirty are read.
    client(
        &kafka,
        "consume",
        "dead",
        "--group dead-group --member m --until 40 --commit-records 30",
    );
    let committed = kafka.offsets("dead-group", "dead");
    let lag: i64 = committed.iter().map(|(at, end)| end - at).sum();
    assert_eq!(lag, 10, "{committed:?}");
    let first_unread = committed
        .iter()
        .enumerate()
        .filter(|(_, (at, end))| at < end)
        .map(|(partition, (at, _))| 2 * at + i64::try_from(partition).unwrap_or(0))
        .min()
        .expect("a backlog");
    let seen = observer(&kafka);
    let labels = [("topic", "dead"), ("group", "dead-group")];
    becomes(&seen, RECORDS, &labels, lag as f64);
    let published = (1_700_000_000_000 + first_unread) as f64 / 1e3;
    let metrics = age_is_exact(&seen, labels, published);
    becomes(
        &seen,
        STATE,
        &[("group", "dead-group"), ("state", "stopped")],
        1.0,
    );
    becomes(
        &seen,
        STATE,
        &[("group", "dead-group"), ("state", "ok")],
        0.0,
    );
    becomes(
        &seen,
        "throughline_group_members",
        &[("group", "dead-group")],
        0.0,
    );
    let pair = [("sli", "lag"), labels[0], labels[1]];
    assert!(value(&metrics, EVENTS, &pair) > Some(0.0));
    // One of the two partitions is read to its end.
    let half = value(&metrics, EVENTS, &pair).map(|events| events / 2.0);
    assert_eq!(value(&metrics, GOOD, &pair), half);
    // Another observer that begins in the middle of the backlog says the same.
    seen.terminate();
    let again = observer(&kafka);
    becomes(&again, RECORDS, &labels, lag as f64);
    age_is_exact(&again, labels, published);
    again.terminate();
}

#[test]
fn markers_at_the_tail_and_idle_topics_are_no_lag() {
    let kafka = Kafka::shared();
    topic(&kafka, "tail", 1, "");
    topic(&kafka, "aborted", 1, "");
    topic(&kafka, "idle", 3, "");
    topic(&kafka, "empty", 1, "");
    let writing = "--count 200 --partitions 1 --transaction-records 50 --transactional-id";
    client(&kafka, "produce", "tail", &format!("{writing} tail"));
    client(
        &kafka,
        "produce",
        "aborted",
        &format!("{writing} aborted --abort-every 4"),
    );
    client(&kafka, "produce", "idle", "--count 30 --partitions 3");
    // Committed up to the last record: behind it stands the marker of the last transaction, and in the other topic one
    // aborted transaction more.
    let end = |topic: &str| kafka.offsets("nobody", topic)[0].1;
    assert_eq!((end("tail"), end("aborted")), (204, 204));
    kafka.admin("commit --group tail-group --topic tail --partition 0 --offset 203");
    kafka.admin("commit --group tail-group --topic aborted --partition 0 --offset 153");
    for partition in 0..3 {
        let commit = format!("commit --group tail-group --topic idle --partition {partition}");
        kafka.admin(&format!("{commit} --offset 10"));
    }
    kafka.admin("commit --group tail-group --topic empty --partition 0 --offset 0");
    // One record before the marker is not read yet.
    kafka.admin("commit --group late-group --topic tail --partition 0 --offset 202");
    let seen = observer(&kafka);
    for topic in ["tail", "aborted", "idle", "empty"] {
        let labels = [("topic", topic), ("group", "tail-group")];
        becomes(&seen, RECORDS, &labels, 0.0);
        becomes(&seen, SECONDS, &labels, 0.0);
        becomes(&seen, "throughline_group_lag_drain_seconds", &labels, 0.0);
        becomes(
            &seen,
            BOUND,
            &[labels[0], labels[1], ("bound", "upper")],
            0.0,
        );
    }
    let late = [("topic", "tail"), ("group", "late-group")];
    becomes(&seen, RECORDS, &late, 2.0);
    let metrics = looks(&seen, 3.0);
    for topic in ["tail", "aborted", "idle", "empty"] {
        let pair = [("sli", "lag"), ("topic", topic), ("group", "tail-group")];
        let events = value(&metrics, EVENTS, &pair);
        assert!(events > Some(0.0), "{topic}");
        assert_eq!(events, value(&metrics, GOOD, &pair), "{topic}");
        assert_eq!(metrics.sum(UNKNOWN, &pair), 0.0, "{topic}");
    }
    seen.terminate();
}

#[test]
fn figures_have_the_names_of_another_exporter_where_that_is_asked_for() {
    let kafka = Kafka::shared();
    topic(&kafka, "named", 3, "");
    client(&kafka, "produce", "named", "--count 30 --partitions 3");
    kafka.admin("commit --group named-group --topic named --partition 1 --offset 7");
    let spec = ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext));
    let seen = Throughline::start(spec.set("metrics.compatibility", "kafka_exporter"));
    let at = [("topic", "named"), ("partition", "1")];
    becomes(&seen, "kafka_topic_partition_current_offset", &at, 10.0);
    becomes(&seen, "kafka_topic_partition_oldest_offset", &at, 0.0);
    becomes(&seen, "kafka_topic_partition_leader", &at, 1.0);
    becomes(&seen, "kafka_topic_partition_replicas", &at, 1.0);
    becomes(&seen, "kafka_topic_partition_in_sync_replica", &at, 1.0);
    becomes(
        &seen,
        "kafka_topic_partition_under_replicated_partition",
        &at,
        0.0,
    );
    becomes(&seen, "kafka_topic_partitions", &at[..1], 3.0);
    becomes(&seen, "kafka_brokers", &[], 1.0);
    let group = ("consumergroup", "named-group");
    let of = [at[0], at[1], group];
    becomes(&seen, "kafka_consumergroup_lag", &of, 3.0);
    becomes(&seen, "kafka_consumergroup_current_offset", &of, 7.0);
    becomes(&seen, "kafka_consumergroup_lag_sum", &[at[0], group], 3.0);
    becomes(&seen, "kafka_consumergroup_members", &[group], 0.0);
    seen.terminate();
    let plain = observer(&kafka);
    looks(&plain, 1.0);
    assert!(!plain.metrics().has("kafka_brokers"));
    plain.terminate();
}

#[test]
fn a_topic_created_again_and_one_overtaken_by_retention() {
    let kafka = Kafka::shared();
    // Kept for longer than its records are old, but not for ever: what is never trimmed overtakes nobody.
    topic(
        &kafka,
        "overtaken",
        1,
        "--config retention.ms=9000000000000",
    );
    client(&kafka, "produce", "overtaken", "--count 100 --partitions 1");
    kafka.admin("commit --group slow --topic overtaken --partition 0 --offset 10");
    topic(&kafka, "again", 1, "");
    client(&kafka, "produce", "again", "--count 100 --partitions 1");
    kafka.admin("commit --group fresh --topic again --partition 0 --offset 20");
    let seen = observer(&kafka);
    let slow = [("topic", "overtaken"), ("group", "slow")];
    let fresh = [("topic", "again"), ("group", "fresh")];
    becomes(&seen, RECORDS, &slow, 90.0);
    becomes(&seen, RECORDS, &fresh, 80.0);
    let lost = "throughline_group_lost_records_total";
    becomes(&seen, lost, &slow, 0.0);
    let retention = [("sli", "retention"), ("topic", "overtaken")];
    // Once a minute, and the first may have come before the group was known.
    poll_until("a bad look at retention", 3 * LIMIT, || {
        let metrics = seen.metrics();
        let events = value(&metrics, EVENTS, &retention)?;
        (events > 0.0 && value(&metrics, GOOD, &retention)? < events).then_some(())
    });
    // Offsets that retention removed are loss, not lag.
    kafka.admin("delete-records --topic overtaken --partition 0 --before 60");
    becomes(&seen, RECORDS, &slow, 40.0);
    becomes(&seen, lost, &slow, 50.0);
    becomes(
        &seen,
        "throughline_retention_used_ratio",
        &[("topic", "overtaken")],
        1.0,
    );
    kafka.admin("delete-topic --topic again");
    poll_until("the deleted topic to vanish", LIMIT, || {
        let metrics = seen.metrics();
        value(&metrics, RECORDS, &fresh).is_none().then_some(())
    });
    topic(&kafka, "again", 1, "");
    client(&kafka, "produce", "again", "--count 5 --partitions 1");
    kafka.admin("commit --group fresh --topic again --partition 0 --offset 3");
    becomes(&seen, RECORDS, &fresh, 2.0);
    assert_eq!(value(&seen.metrics(), lost, &fresh), Some(0.0));
    seen.terminate();
}

#[test]
fn delivery_counts_what_was_committed_by_its_deadline() {
    let kafka = Kafka::shared();
    topic(&kafka, "delivered", 1, "");
    let spec = ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext));
    let spec = spec.set("observe.delivery_deadline_seconds", "3");
    kafka.admin("commit --group reader --topic delivered --partition 0 --offset 0");
    let seen = Throughline::start(spec);
    let pair = [
        ("sli", "delivery"),
        ("topic", "delivered"),
        ("group", "reader"),
    ];
    // Both exist at 0 before anything happens.
    becomes(&seen, EVENTS, &pair, 0.0);
    becomes(&seen, GOOD, &pair, 0.0);
    // It has judged the empty topic, and so will judge what comes; a look has just ended.
    becomes(&seen, RECORDS, &pair[1..], 0.0);
    looks(&seen, 1.0);
    // The next one is told of records and commit at once: no deadline runs while the clients take their time.
    seen.signal("STOP");
    client(
        &kafka,
        "produce",
        "delivered",
        "--count 50 --partitions 1 --now",
    );
    kafka.admin("commit --group reader --topic delivered --partition 0 --offset 30");
    seen.signal("CONT");
    becomes(&seen, EVENTS, &pair, 50.0);
    let metrics = looks(&seen, 2.0);
    assert_eq!(value(&metrics, EVENTS, &pair), Some(50.0));
    assert_eq!(value(&metrics, GOOD, &pair), Some(30.0));
    seen.terminate();
}

#[test]
fn a_live_group_that_moves_on_is_ok_and_a_simple_one_needs_no_members() {
    let kafka = Kafka::shared();
    topic(&kafka, "live", 2, "");
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let start = |protocol: &str| -> Running {
        let line = format!(
            "consume --bootstrap {bootstrap} --topic live --group live-{protocol} --member m --group-protocol {protocol}"
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        Client::Java.start(&words)
    };
    let members = [start("classic"), start("consumer")];
    client(
        &kafka,
        "produce",
        "live",
        "--count 100 --partitions 2 --now",
    );
    let seen = observer(&kafka);
    for protocol in ["classic", "consumer"] {
        let group = format!("live-{protocol}");
        let labels = [("topic", "live"), ("group", group.as_str())];
        becomes(&seen, RECORDS, &labels, 0.0);
        becomes(&seen, "throughline_group_members", &[labels[1]], 1.0);
        becomes(&seen, STATE, &[labels[1], ("state", "ok")], 1.0);
        let pair = [("sli", "lag"), labels[0], labels[1]];
        let metrics = looks(&seen, 2.0);
        assert_eq!(value(&metrics, EVENTS, &pair), value(&metrics, GOOD, &pair));
    }
    for member in members {
        member.leave(LIMIT);
    }
    becomes(
        &seen,
        "throughline_group_members",
        &[("group", "live-classic")],
        0.0,
    );
    seen.terminate();
}

#[test]
fn topics_that_are_made_while_it_looks_are_not_taken_for_hidden_ones() {
    let kafka = Kafka::single(Version::V4_4_0);
    topic(&kafka, "first", 1, "");
    let started = AtomicBool::new(false);
    let observers: Vec<Throughline> = thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1_000 {
                if started.load(Ordering::Relaxed) {
                    break;
                }
                topic(&kafka, &format!("made-{number}"), 1, "");
            }
        });
        // Several at once, so that each takes its time between one question and the next.
        let starts: Vec<_> = (0..10).map(|_| scope.spawn(|| observer(&kafka))).collect();
        let observers = starts.into_iter().map(|start| {
            let seen = start.join().expect("an observer that starts");
            looks(&seen, 1.0);
            seen
        });
        let observers = observers.collect();
        started.store(true, Ordering::Relaxed);
        observers
    });
    for seen in observers {
        let mut said = String::new();
        let known = try_poll_until(LIMIT, || {
            said = seen.get("/readyz?verbose").body;
            said.contains("nothing is unknown for want of rights")
                .then_some(())
        });
        assert!(known.is_some(), "{said}");
        seen.terminate();
    }
}

#[test]
fn compaction_leaves_holes_that_are_no_records() {
    let kafka = Kafka::shared();
    let quick = "--config segment.ms=100 --config min.cleanable.dirty.ratio=0.01 \
                 --config max.compaction.lag.ms=100 --config delete.retention.ms=100";
    topic(&kafka, "compacted", 1, quick);
    // A key that comes again and again, and one record of each of two rounds that stays.
    for _ in 0..3 {
        client(
            &kafka,
            "produce",
            "compacted",
            "--count 60 --partitions 1 --now",
        );
    }
    let end = kafka.offsets("nobody", "compacted")[0].1;
    assert_eq!(end, 180);
    kafka.admin("commit --group compacted-group --topic compacted --partition 0 --offset 0");
    // Records without a key go, and of the others all but the last.
    kafka.admin("alter-configs --topic compacted --config cleanup.policy=compact");
    let seen = observer(&kafka);
    let labels = [("topic", "compacted"), ("group", "compacted-group")];
    poll_until("holes at the beginning", LIMIT * 2, || {
        let lag = value(&seen.metrics(), RECORDS, &labels)?;
        assert!((1.0..=180.0).contains(&lag), "{lag}");
        (lag < 180.0).then_some(())
    });
    kafka.admin("commit --group compacted-group --topic compacted --partition 0 --offset 180");
    becomes(&seen, RECORDS, &labels, 0.0);
    seen.terminate();
}

#[test]
fn a_killed_broker_is_down_and_its_partitions_are_short_of_replicas() {
    let mut kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
    kafka.create_topic("spread", 6);
    // Each broker holds one of these, and no other does.
    topic(&kafka, "lone", 3, "");
    client(&kafka, "produce", "spread", "--count 60 --partitions 6");
    for partition in 0..6 {
        kafka.admin(&format!(
            "commit --group spread-group --topic spread --partition {partition} --offset 4"
        ));
    }
    let seen = observer(&kafka);
    let labels = [("topic", "spread"), ("group", "spread-group")];
    becomes(&seen, RECORDS, &labels, 36.0);
    for id in ["1", "2", "3"] {
        becomes(&seen, "throughline_broker_up", &[("broker", id)], 1.0);
    }
    becomes(&seen, "throughline_under_replicated_partitions", &[], 0.0);
    kafka.kill(2);
    becomes(&seen, "throughline_broker_up", &[("broker", "2")], 0.0);
    poll_until("partitions short of replicas", LIMIT, || {
        let short = seen
            .metrics()
            .sum("throughline_under_replicated_partitions", &[]);
        (short >= 6.0).then_some(())
    });
    // What the others lead now is known again.
    becomes(&seen, RECORDS, &labels, 36.0);
    becomes(&seen, "throughline_offline_partitions", &[], 1.0);
    let pair = [("sli", "broker")];
    let metrics = looks(&seen, 3.0);
    let bad = metrics.sum(EVENTS, &pair) - metrics.sum(GOOD, &pair);
    assert!(bad >= 1.0, "{bad}");
    kafka.restart(2);
    becomes(&seen, "throughline_broker_up", &[("broker", "2")], 1.0);
    becomes(&seen, "throughline_under_replicated_partitions", &[], 0.0);
    becomes(&seen, "throughline_offline_partitions", &[], 0.0);
    seen.terminate();
}

/// A broker that wants to know who asks.
fn guarded() -> Arc<Kafka> {
    static BROKER: Shared = Shared::new();
    BROKER.get(|| {
        let spec = KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::SaslPlaintext)
            .listener(Listener::SaslTls)
            .user("bob", "bob-secret")
            .acls();
        Kafka::start(spec)
    })
}

fn login(kafka: &Kafka, listener: Listener, mechanism: Mechanism, user: &str) -> ThroughlineSpec {
    let file = kafka.directory().join(format!("{user}-password"));
    std::fs::write(&file, format!("{user}-secret\n")).expect("a password file");
    let file = file.to_str().expect("a path that is text");
    let mut spec = ThroughlineSpec::observer(&kafka.bootstrap(listener))
        .set("kafka.sasl.mechanism", mechanism.name())
        .set("kafka.sasl.username", user)
        .set("kafka.sasl.password_file", file);
    if listener.has_tls() {
        let certificates = kafka.certificates.as_ref().expect("certificates");
        let ca = certificates.ca.to_str().expect("a path that is text");
        spec = spec.set("kafka.tls.ca_file", ca);
    }
    spec
}

#[test]
fn every_mechanism_logs_in_and_no_secret_is_shown() {
    let kafka = guarded();
    topic(&kafka, "guarded", 1, "");
    client(&kafka, "produce", "guarded", "--count 10 --partitions 1");
    kafka.admin("commit --group guarded-group --topic guarded --partition 0 --offset 4");
    let labels = [("topic", "guarded"), ("group", "guarded-group")];
    for (listener, mechanism) in [
        (Listener::SaslTls, Mechanism::ScramSha512),
        (Listener::SaslTls, Mechanism::Plain),
        (Listener::SaslPlaintext, Mechanism::ScramSha256),
    ] {
        let seen = Throughline::start(login(&kafka, listener, mechanism, "alice"));
        becomes(&seen, RECORDS, &labels, 6.0);
        for path in ["/config", "/metrics", "/readyz?verbose", "/api/v1/groups"] {
            assert!(!seen.get(path).body.contains("alice-secret"), "{path}");
        }
        assert!(seen.get("/config").body.contains("password_file"));
        // `check` logs in with the same settings.
        let spec = login(&kafka, listener, mechanism, "alice");
        let checked = throughline::check(&spec.settings());
        let said = checked.said;
        assert_eq!(checked.status, Some(0), "{said}");
        assert!(said.contains("cluster VGhyb3VnaGxpbmVUZXN0MQ"), "{said}");
        assert!(!seen.tail().contains("alice-secret"));
        seen.terminate();
    }
    let wrong = login(&kafka, Listener::SaslTls, Mechanism::ScramSha512, "alice");
    let file = kafka.directory().join("wrong-password");
    std::fs::write(&file, "not-it").expect("a password file");
    let wrong = wrong.set("kafka.sasl.password_file", file.to_str().expect("text"));
    let refused = Throughline::start_unready(wrong);
    refused
        .wait_for_log("the broker refused the login; check kafka.sasl.username and password_file");
    let ready = poll_until("an answer", LIMIT, || refused.try_get("/readyz").ok());
    assert_eq!(ready.status, 503, "{}", ready.body);
    refused.terminate();
}

/// Topics and groups that alice and bob may not see, or only in part; bob may not describe the cluster either.
fn restrict(kafka: &Kafka) {
    for name in ["open", "unread", "unseen"] {
        topic(kafka, name, 1, "");
        client(kafka, "produce", name, "--count 10 --partitions 1");
        kafka.admin(&format!(
            "commit --group free --topic {name} --partition 0 --offset 4"
        ));
    }
    kafka.admin("commit --group hidden --topic open --partition 0 --offset 4");
    let acl = |principal: &str, operation: &str, resource: &str, name: &str| {
        kafka.admin(&format!(
            "add-acl --principal User:{principal} --operation {operation} --resource {resource} --name {name}"
        ));
    };
    acl("ANONYMOUS", "ALL", "cluster", "kafka-cluster");
    acl("alice", "DESCRIBE", "cluster", "kafka-cluster");
    acl("ANONYMOUS", "ALL", "topic", "unread");
    for user in ["alice", "bob"] {
        acl(user, "DESCRIBE", "topic", "unread");
    }
    acl("ANONYMOUS", "ALL", "topic", "unseen");
    acl("ANONYMOUS", "ALL", "group", "hidden");
}

/// What the broker denied a user: operation and resource of each.
fn denied(kafka: &Kafka, user: &str) -> Vec<String> {
    let principal = format!("User:{user} ");
    let lines = kafka.log_lines(1, "Denied");
    let lines = lines.iter().filter(|line| line.contains(&principal));
    let what = lines.map(|line| {
        let from = line.find("operation = ").unwrap_or(0);
        let what = line[from..].split(" for request").next();
        what.unwrap_or_default().to_owned()
    });
    what.collect()
}

#[test]
fn without_rights_what_is_unknown_is_said_and_asked_once() {
    let kafka = guarded();
    restrict(&kafka);
    for user in ["alice", "bob"] {
        let spec = login(
            &kafka,
            Listener::SaslPlaintext,
            Mechanism::ScramSha256,
            user,
        );
        let seen = Throughline::start(spec);
        let lag = |topic| [("topic", topic), ("group", "free")];
        becomes(&seen, RECORDS, &lag("open"), 6.0);
        becomes(&seen, RECORDS, &lag("unread"), 6.0);
        let [topic, group] = lag("unread");
        becomes(
            &seen,
            BOUND,
            &[topic, group, ("bound", "upper")],
            f64::INFINITY,
        );
        let metrics = looks(&seen, 5.0);
        assert_eq!(value(&metrics, RECORDS, &lag("unseen")), None);
        let hidden = [("topic", "open"), ("group", "hidden")];
        assert_eq!(value(&metrics, RECORDS, &hidden), None);
        let unknown = [("sli", "lag"), topic, group, ("reason", "no_rights")];
        assert!(value(&metrics, UNKNOWN, &unknown) > Some(0.0));
        let said = seen.get("/readyz?verbose").body;
        assert!(
            said.contains("exact lag in seconds (READ on topic unread)"),
            "{said}"
        );
        assert!(
            said.contains("time to loss (DESCRIBE_CONFIGS on topic unread)"),
            "{said}"
        );
        if user == "alice" {
            assert!(
                said.contains("lag and members (DESCRIBE on group hidden)"),
                "{said}"
            );
            assert!(
                said.contains("everything (DESCRIBE on topic unseen)"),
                "{said}"
            );
        } else {
            assert!(said.contains("(DESCRIBE on cluster)"), "{said}");
            let disks = [
                ("sli", "retention"),
                ("topic", "open"),
                ("reason", "no_rights"),
            ];
            assert!(value(&metrics, UNKNOWN, &disks) > Some(0.0));
        }
        // Each right that is missing is asked for once, however many looks there are.
        let mut denials = denied(&kafka, user);
        let all = denials.len();
        denials.sort();
        denials.dedup();
        assert_eq!(denials.len(), all, "{denials:#?}");
        seen.terminate();
    }
}

#[test]
fn a_declared_quota_stands_for_the_disk_and_is_bad_at_four_fifths() {
    for version in [Version::V4_4_0, Version::V3_9_1] {
        let kafka = Kafka::single(version);
        topic(&kafka, "stored", 1, "");
        client(
            &kafka,
            "produce",
            "stored",
            "--count 1000 --partitions 1 --value-bytes 2000",
        );
        let watched = |quota: &str| {
            let spec = ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext));
            Throughline::start(spec.set("observe.quota_bytes", quota))
        };
        let retention = [("sli", "retention"), ("topic", "stored")];
        let judged = |seen: &Throughline| {
            poll_until("a look at retention", LIMIT, || {
                let metrics = seen.metrics();
                let events = value(&metrics, EVENTS, &retention)?;
                let good = value(&metrics, GOOD, &retention)?;
                let used = value(&metrics, "throughline_log_dir_used_ratio", &[])?;
                (events > 0.0).then_some((events - good, used))
            })
        };
        let tight = watched("2400000");
        let (bad, used) = judged(&tight);
        assert!(bad > 0.0 && (0.8..1.2).contains(&used), "{bad} {used}");
        tight.terminate();
        let wide = watched("240000000");
        let (bad, used) = judged(&wide);
        assert!(bad == 0.0 && (0.008..0.012).contains(&used), "{bad} {used}");
        wide.terminate();
    }
}

#[test]
fn older_brokers_are_watched_as_far_as_they_tell() {
    for version in [Version::V3_9_1, Version::V0_11_0_3] {
        let kafka = Kafka::single(version);
        topic(&kafka, "old", 1, "");
        let bootstrap = kafka.bootstrap(Listener::Plaintext);
        let run = |line: &str| {
            let line = format!("{line} --bootstrap {bootstrap} --topic old");
            let words: Vec<&str> = line.split_whitespace().collect();
            let output = Client::Java391.start(&words).finish(LIMIT);
            let errors: Vec<_> = output.of_type("error").collect();
            assert!(errors.is_empty(), "{line}: {errors:?}");
        };
        run("produce --count 20 --partitions 1");
        run("consume --group old-group --member m --until 20 --commit-records 5");
        let committed = kafka.offsets("old-group", "old")[0].0;
        assert!(committed > 0, "{committed}");
        let seen = observer(&kafka);
        let labels = [("topic", "old"), ("group", "old-group")];
        becomes(&seen, RECORDS, &labels, (20 - committed) as f64);
        let before = now();
        let metrics = looks(&seen, 2.0);
        let published = (1_700_000_000_000 + committed) as f64 / 1e3;
        let [topic, group] = labels;
        let upper = value(&metrics, BOUND, &[topic, group, ("bound", "upper")]);
        let upper = upper.expect("a bound");
        assert!((before - published - 1.1..=now() - published).contains(&upper));
        becomes(&seen, STATE, &[group, ("state", "stopped")], 1.0);
        becomes(&seen, "throughline_group_members", &[group], 0.0);
        seen.terminate();
    }
}

/// Many groups over many partitions: how long a look takes, and how much memory it needs. `make acceptance` runs it.
#[test]
#[ignore = "minutes, and a broker with ten thousand partitions"]
fn fifty_thousand_positions_are_looked_at_in_time() {
    const TOPICS: usize = 100;
    const GROUPS: usize = 5;
    let spec = KafkaSpec::new(Version::V4_4_0).property("num.io.threads", "4");
    let kafka = Kafka::start(spec);
    for at in 0..TOPICS {
        topic(&kafka, &format!("many-{at}"), 100, "");
    }
    for group in 0..GROUPS {
        for at in 0..TOPICS {
            kafka.admin(&format!(
                "commit --group group-{group} --topic many-{at} --partition 0 --partitions 100 --offset 0"
            ));
        }
    }
    // One record in each partition of ten topics, so that some are behind.
    for at in 0..10 {
        let topic = format!("many-{at}");
        client(
            &kafka,
            "produce",
            &topic,
            "--count 100 --partitions 100 --now",
        );
    }
    let spec = ThroughlineSpec::observer(&kafka.bootstrap(Listener::Plaintext));
    let seen = Throughline::start(spec.set("observe.cycle_seconds", "10"));
    for group in 0..GROUPS {
        let group = format!("group-{group}");
        becomes(
            &seen,
            RECORDS,
            &[("topic", "many-3"), ("group", &group)],
            100.0,
        );
    }
    let mut times = Vec::new();
    let (began, before) = (tokio::time::Instant::now(), kafka.cpu_seconds());
    for _ in 0..4 {
        let metrics = looks(&seen, 1.0);
        times.push(value(&metrics, "throughline_observer_cycle_seconds", &[]).expect("a time"));
    }
    let looking = (kafka.cpu_seconds() - before) / began.elapsed().as_secs_f64();
    let metrics = seen.metrics();
    let memory = value(&metrics, "process_resident_memory_bytes", &[]).expect("memory");
    let bound = [
        ("topic", "many-3"),
        ("group", "group-1"),
        ("bound", "upper"),
    ];
    let exact = value(&metrics, BOUND, &bound).expect("a bound");
    let said = seen.get("/readyz?verbose").body;
    seen.terminate();
    // The same broker with nobody who asks, for as long as a look may take.
    let (alone, before) = (tokio::time::Instant::now(), kafka.cpu_seconds());
    poll_until("a quiet cycle", Duration::from_secs(60), || {
        (alone.elapsed() > Duration::from_secs(20)).then_some(())
    });
    let quiet = (kafka.cpu_seconds() - before) / alone.elapsed().as_secs_f64();
    eprintln!(
        "looks {times:?} s, resident {:.1} MB, age {exact}, broker {looking:.3} cores, alone {quiet:.3}\n{said}",
        memory / 1e6
    );
    assert!(times.iter().all(|took| *took < 15.0), "{times:?}");
}
