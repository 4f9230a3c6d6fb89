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

use std::sync::Arc;
use std::time::Duration;

use support::clients::Client;
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Mechanism, Shared, Version};
use support::metrics::Metrics;
use support::throughline::{self, Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
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

/// As [`spec`], where lateness is not the point: a machine that holds a broker for some seconds makes no record late.
fn patient(kafka: &Kafka, topic: &str) -> ThroughlineSpec {
    spec(kafka, topic).set("observe.canary.late_seconds", "20")
}

/// Records of which it says nothing because it stood still itself, as it does where the machine held it.
fn held(metrics: &Metrics) -> f64 {
    metrics.sum(UNKNOWN, &[("reason", "stood_still")])
}

/// Records that were sent and of which nothing is said yet.
fn out(metrics: &Metrics) -> f64 {
    let ended = sum(metrics, LOST) + sum(metrics, FAILED) + held(metrics);
    sum(metrics, SENT) - back(metrics) - ended
}

/// Where each partition of a canary's topic ends.
fn ends(kafka: &Kafka, topic: &str) -> Vec<i64> {
    let offsets = kafka.offsets(&format!("{topic}-group"), topic);
    offsets.into_iter().map(|(_, end)| end).collect()
}

/// Nothing is late, lost, failed or unknown, but for what was out while the machine held the observer.
#[track_caller]
fn nothing_is_amiss(metrics: &Metrics) {
    for name in [LATE, LOST, FAILED] {
        assert_eq!(sum(metrics, name), 0.0, "{name}");
    }
    let unknown = sum(metrics, UNKNOWN) - held(metrics);
    assert_eq!(unknown, 0.0, "{UNKNOWN}");
}

/// Everything that was sent came back, but for what is out now.
#[track_caller]
fn all_is_well(observer: &Throughline) -> Metrics {
    let metrics = until("everything comes back", LIMIT, observer, |metrics| {
        (0.0..10.0).contains(&out(metrics))
    });
    nothing_is_amiss(&metrics);
    metrics
}

/// What was sent is in the log, and nothing else, but for records that are being written.
#[track_caller]
fn sent_is_what_the_log_says(kafka: &Kafka, observer: &Throughline, topic: &str) {
    let mut seen = (0.0, 0.0, 0.0);
    let fits = try_poll_until(LIMIT, || {
        let before = sum(&observer.metrics(), SENT);
        let log: f64 = ends(kafka, topic).iter().map(|end| *end as f64).sum();
        let after = observer.metrics();
        // What a held broker does not answer within 3 s is sent again, up to thrice in 10 s, and may all be there.
        let produce = ("stage", "produce");
        let within = [produce, ("le", "2.5")];
        let quick = after.sum("throughline_canary_duration_seconds_bucket", &within);
        let slow = after.sum(BACK, &[produce]) - quick + held(&after);
        seen = (before, log, sum(&after, SENT) + 3.0 * slow);
        let (least, most) = (before - 3.0, seen.2);
        (quick > 0.0 && (least..=most).contains(&log)).then_some(())
    });
    let (before, log, after) = seen;
    assert!(
        fits.is_some(),
        "{log} records in the log, {before} to {after} sent"
    );
}

#[test]
fn records_come_back_in_time_and_every_counter_is_there_from_the_start() {
    let kafka = Kafka::shared();
    kafka.create_topic("quiet", 3);
    let observer = Throughline::start(patient(&kafka, "quiet"));
    until("a commit", LIMIT, &observer, |metrics| {
        back(metrics) > 20.0 && metrics.sum(BACK, &[("stage", "commit")]) > 0.0
    });
    let metrics = all_is_well(&observer);
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
        let what = format!("a mean under a second of {stage}");
        // One that was held makes it long: it falls as more come, in a wrong unit it would not.
        until(&what, LONG, &observer, |metrics| {
            let sum = metrics.sum("throughline_canary_duration_seconds_sum", &labels);
            let count = metrics.sum(BACK, &labels);
            count > 0.0 && sum > 0.0 && sum / count < 1.0
        });
    }
    assert_eq!(metrics.sum(COVERED, &[broker]), 1.0);
    sent_is_what_the_log_says(&kafka, &observer, "quiet");
    // How far it was read is committed to a group that is in no figure, nor is its topic.
    poll_until("a commit", LIMIT, || {
        let offsets = kafka.offsets("quiet-group", "quiet");
        offsets.iter().all(|(at, _)| *at > 0).then_some(())
    });
    more(&observer, 20.0);
    let page = observer.get("/metrics").body;
    let own = page.lines().filter(|line| line.contains("quiet"));
    assert_eq!(own.collect::<Vec<_>>(), [""; 0]);
    let metrics = all_is_well(&observer);
    let memory = sum(&metrics, "process_resident_memory_bytes");
    assert!((1e6..60e6).contains(&memory), "{memory} bytes");
    observer.terminate();
}

#[test]
fn brokers_restart_die_and_hang_and_nothing_is_lost() {
    let mut kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
    let bare = "--partitions 1 --replication 1";
    kafka.admin(&format!("create-topic --topic narrow {bare}"));
    says_which_brokers_it_does_not_cover(&kafka);
    let copies = "--partitions 3 --replication 3 --config min.insync.replicas=2";
    kafka.admin(&format!("create-topic --topic three {copies}"));
    covers_every_broker(&kafka, "three");
    // Late after the two seconds of the default: a broker that hangs is replaced long before twenty have passed.
    let observer = Throughline::start(spec(&kafka, "three"));
    more(&observer, 15.0);
    // One after the other, as an upgrade does it.
    for id in kafka.node_ids() {
        kafka.stop(id);
        more(&observer, 15.0);
        kafka.restart(id);
        more(&observer, 15.0);
    }
    let metrics = settled(&observer);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    // Without a word.
    let leads = leader(&kafka, "three", 0);
    kafka.kill(leads);
    more(&observer, 15.0);
    kafka.restart(leads);
    let metrics = settled(&observer);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    // It hangs: what was sent to it is late, and those who led it are told from the others.
    let leads = leader(&kafka, "three", 1);
    let label = leads.to_string();
    let late = |metrics: &Metrics| metrics.sum(LATE, &[("broker", &label)]);
    let before = late(&observer.metrics());
    kafka.freeze(leads, true);
    until("late records", LONG, &observer, |metrics| {
        late(metrics) > before
    });
    kafka.freeze(leads, false);
    let metrics = settled(&observer);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    assert_eq!(sum(&metrics, "throughline_canary_recovered_total"), 0.0);
    observer.terminate();
}

fn covers_every_broker(kafka: &Kafka, topic: &str) {
    let observer = Throughline::start(patient(kafka, topic));
    more(&observer, 30.0);
    let metrics = all_is_well(&observer);
    for id in ["1", "2", "3"] {
        assert_eq!(metrics.sum(COVERED, &[("broker", id)]), 1.0, "{id}");
    }
    observer.terminate();
}

fn says_which_brokers_it_does_not_cover(kafka: &Kafka) {
    let observer = Throughline::start(spec(kafka, "narrow"));
    let metrics = more(&observer, 5.0);
    let covered = |id| metrics.sum(COVERED, &[("broker", id)]);
    let covered = [covered("1"), covered("2"), covered("3")];
    assert_eq!(covered.iter().sum::<f64>(), 1.0, "{covered:?}");
    let leads = leader(kafka, "narrow", 0);
    let others: Vec<String> = [1, 2, 3]
        .iter()
        .filter(|id| **id != leads)
        .map(u32::to_string)
        .collect();
    let said = observer.get("/readyz?verbose").body;
    let wanted = format!("are not covered: {}", others.join(", "));
    assert!(said.contains(&wanted), "{wanted}: {said}");
    observer.wait_for_log(&wanted);
    observer.terminate();
}

fn leader(kafka: &Kafka, topic: &str, partition: usize) -> u32 {
    let told = kafka.admin(&format!("describe-topic --topic {topic}"));
    let partitions: Vec<_> = told.iter().filter(|l| l["type"] == "partition").collect();
    let leader = partitions[partition]["leader"].as_u64();
    u32::try_from(leader.expect("a leader")).expect("a node id")
}

/// Waits until nothing is overdue any more.
#[track_caller]
fn settled(observer: &Throughline) -> Metrics {
    more(observer, 5.0);
    until("nothing is overdue", LONG, observer, |metrics| {
        sum(metrics, OVERDUE) == 0.0 && out(metrics) < 10.0
    })
}

#[test]
fn what_was_deleted_before_it_was_read_is_lost_exactly() {
    let kafka = Kafka::shared();
    kafka.create_topic("deleted", 1);
    let observer = Throughline::start(spec(&kafka, "deleted"));
    more(&observer, 5.0);
    // A transaction that stays open: readers of committed records get no further, writers do.
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let line = format!(
        "produce --bootstrap {bootstrap} --topic deleted --partitions 1 --count 2 --delay-ms 600000 \
         --transactional-id open --transaction-records 100 --property transaction.timeout.ms=20000"
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    let writer = Client::Java.start(&words);
    let first = writer.wait_for("an open transaction", LIMIT, |lines| {
        let ack = lines.iter().find(|line| line["type"] == "ack")?;
        ack["offset"].as_i64()
    });
    until("overdue records", LIMIT, &observer, |metrics| {
        sum(metrics, OVERDUE) >= 5.0
    });
    let end = ends(&kafka, "deleted")[0];
    assert_eq!(sum(&observer.metrics(), LOST), 0.0);
    kafka.admin(&format!(
        "delete-records --topic deleted --partition 0 --before {end}"
    ));
    let lost = (end - first - 1) as f64;
    // What was out while the machine held the observer it calls unknown instead; otherwise all of it is lost.
    let exact = |metrics: &Metrics| {
        let counted = sum(metrics, LOST);
        counted <= lost && counted + held(metrics) >= lost
    };
    until("the lost records", LIMIT, &observer, exact);
    drop(writer.kill());
    // The broker ends the transaction; what stands behind it is late.
    let metrics = settled(&observer);
    let counted = (sum(&metrics, LOST), held(&metrics));
    assert!(exact(&metrics), "{counted:?} of {lost}");
    assert!(sum(&metrics, LATE) + held(&metrics) > 0.0);
    assert_eq!(sum(&metrics, FAILED), 0.0);
    observer.terminate();
}

#[test]
fn a_topic_may_come_late_go_and_come_again_and_others_may_use_it() {
    let kafka = Kafka::shared();
    let observer = Throughline::start(patient(&kafka, "coming"));
    observer.wait_for_log("there is no such topic: create it");
    kafka.create_topic("coming", 1);
    more(&observer, 10.0);
    // Another observer of the same topic, one that is killed, and records that are nobody's.
    let other = Throughline::start(patient(&kafka, "coming"));
    more(&other, 5.0);
    other.kill9();
    let again = Throughline::start(patient(&kafka, "coming"));
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let line = format!("produce --bootstrap {bootstrap} --topic coming --partitions 1 --count 500");
    let words: Vec<&str> = line.split_whitespace().collect();
    Client::Java.start(&words).finish(LIMIT);
    more(&again, 10.0);
    all_is_well(&again);
    again.terminate();
    more(&observer, 5.0);
    all_is_well(&observer);
    // It said so at its start already.
    let told = || observer.log().matches("there is no such topic").count();
    let before = told();
    kafka.admin("delete-topic --topic coming");
    poll_until("the deletion to be noticed", LIMIT, || {
        (told() > before).then_some(())
    });
    kafka.create_topic("coming", 4);
    let metrics = more(&observer, 40.0);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    let log = ends(&kafka, "coming");
    assert!(log.len() == 4 && log.iter().all(|end| *end > 5), "{log:?}");
    kafka.admin("add-partitions --topic coming --partitions 6");
    poll_until("records in the added partitions", LIMIT, || {
        let log = ends(&kafka, "coming");
        (log.len() == 6 && log.iter().all(|end| *end > 5)).then_some(())
    });
    let metrics = more(&observer, 20.0);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    observer.terminate();
}

#[test]
fn a_cluster_that_is_not_there_yet_is_waited_for_and_one_that_goes_fails_records() {
    let mut kafka = Kafka::single(Version::V4_4_0);
    kafka.create_topic("waiting", 1);
    kafka.stop(1);
    let observer = Throughline::start_unready(spec(&kafka, "waiting"));
    observer.wait_for_log("no broker told of it");
    kafka.restart(1);
    let metrics = more(&observer, 10.0);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    observer.terminate();
    // Tried so shortly only from here on: a machine that holds the broker for as long makes records fail.
    let spec = spec(&kafka, "waiting")
        .set("observe.canary.late_seconds", "1")
        .set("observe.canary.lost_seconds", "4");
    let observer = Throughline::start(spec);
    more(&observer, 10.0);
    // Gone for longer than a record is tried: what was never acknowledged has failed, and nothing is lost.
    kafka.stop(1);
    until("failed records", LIMIT, &observer, |metrics| {
        sum(metrics, FAILED) >= 5.0 && sum(metrics, OVERDUE) > 0.0
    });
    kafka.restart(1);
    more(&observer, 10.0);
    // Everything that was due came back or failed, but for what is out now, or was while the machine held the observer.
    let metrics = until("the rest comes back", LIMIT, &observer, |metrics| {
        (0.0..25.0).contains(&out(metrics))
    });
    let failed = sum(&metrics, FAILED);
    // A broker that stops in good order may still say that its partition has no leader before it is gone.
    let why = |reason| metrics.sum(FAILED, &[("broker", "1"), ("reason", reason)]);
    let blamed = why("not_answered") + why("no_leader");
    assert_eq!((sum(&metrics, LOST), blamed), (0.0, failed));
    observer.terminate();
}

#[test]
fn an_observer_that_stood_still_blames_nobody() {
    let kafka = Kafka::shared();
    kafka.create_topic("still", 1);
    // Shorter than the pause, so that it would make records late; longer than a machine holds a broker.
    let spec = spec(&kafka, "still").set("observe.canary.late_seconds", "15");
    let observer = Throughline::start(spec);
    more(&observer, 10.0);
    observer.signal("STOP");
    let stopped = tokio::time::Instant::now();
    poll_until("twenty seconds", LIMIT, || {
        (stopped.elapsed() > Duration::from_secs(20)).then_some(())
    });
    observer.signal("CONT");
    let metrics = more(&observer, 10.0);
    for name in [LATE, LOST, FAILED] {
        assert_eq!(sum(&metrics, name), 0.0, "{name}");
    }
    observer.terminate();
}

/// A broker that wants to know who asks.
fn guarded() -> Arc<Kafka> {
    static BROKER: Shared = Shared::new();
    BROKER.get(|| {
        let spec = KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::SaslPlaintext)
            .listener(Listener::SaslTls)
            .acls();
        let kafka = Kafka::start(spec);
        kafka.admin(
            "add-acl --principal User:ANONYMOUS --operation ALL --resource cluster --name kafka-cluster",
        );
        kafka
    })
}

fn as_alice(
    kafka: &Kafka,
    listener: Listener,
    mechanism: Mechanism,
    topic: &str,
) -> ThroughlineSpec {
    let file = kafka.directory().join(format!("{topic}-password"));
    std::fs::write(&file, "alice-secret\n").expect("a password file");
    let file = file.to_str().expect("a path that is text");
    let mut spec = ThroughlineSpec::observer(&kafka.bootstrap(listener))
        .set("observe.canary.topic", topic)
        .set("observe.canary.group", &format!("{topic}-group"))
        .set("observe.canary.interval_seconds", "0.2")
        .set("observe.canary.late_seconds", "20")
        .set("kafka.sasl.mechanism", mechanism.name())
        .set("kafka.sasl.username", "alice")
        .set("kafka.sasl.password_file", file);
    if listener.has_tls() {
        let certificates = kafka.certificates.as_ref().expect("certificates");
        let ca = certificates.ca.to_str().expect("a path that is text");
        spec = spec.set("kafka.tls.ca_file", ca);
    }
    spec
}

fn acl(kafka: &Kafka, principal: &str, operation: &str, resource: &str, more: &str) {
    kafka.admin(&format!(
        "add-acl --principal User:{principal} --operation {operation} --resource {resource} --name {more}"
    ));
}

/// How often the broker denied alice something on this resource.
fn denials(kafka: &Kafka, resource: &str) -> usize {
    let lines = kafka.log_lines(1, "Denied");
    let alice = lines.iter().filter(|line| line.contains("User:alice "));
    alice.filter(|line| line.contains(resource)).count()
}

/// What `check` says of the canary's topic, and its exit status.
fn checked(spec: &ThroughlineSpec) -> (Option<i32>, String) {
    let checked = throughline::check(&spec.settings());
    (checked.status, checked.said)
}

#[test]
fn it_logs_in_over_tls_and_check_finds_it_well() {
    let kafka = guarded();
    kafka.create_topic("secured", 2);
    for mechanism in [Mechanism::ScramSha512, Mechanism::Plain] {
        let spec = as_alice(&kafka, Listener::SaslTls, mechanism, "secured");
        let (status, said) = checked(&spec);
        assert_eq!(status, Some(0), "{said}");
        let wanted = "canary topic secured: ok (2 partitions, every broker is to lead one)";
        assert!(said.contains(wanted), "{said}");
        let observer = Throughline::start(spec);
        more(&observer, 10.0);
        all_is_well(&observer);
        observer.terminate();
    }
    let absent = as_alice(&kafka, Listener::SaslTls, Mechanism::Plain, "absent");
    let (status, said) = checked(&absent);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("canary topic absent: there is no such topic"),
        "{said}"
    );
}

#[test]
fn rights_that_are_missing_are_said_and_hardly_ever_tried() {
    let kafka = guarded();
    let listener = Listener::SaslPlaintext;
    let alice = |topic: &str| as_alice(&kafka, listener, Mechanism::ScramSha256, topic);
    for name in ["unwritten", "unread", "revoked"] {
        kafka.create_topic(name, 1);
        acl(&kafka, "ANONYMOUS", "ALL", "topic", name);
        let right = if name == "unread" { "WRITE" } else { "READ" };
        acl(&kafka, "alice", right, "topic", name);
    }
    acl(&kafka, "alice", "WRITE", "topic", "revoked");
    // Known beforehand: not tried once.
    let wanted = "nothing is written (needs WRITE on topic unwritten)";
    let observer = Throughline::start(alice("unwritten"));
    observer.wait_for_log(wanted);
    let said = observer.get("/readyz?verbose").body;
    assert!(said.contains(wanted), "{said}");
    let (status, said) = checked(&alice("unwritten"));
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("needs WRITE on the topic"), "{said}");
    assert_eq!(sum(&observer.metrics(), SENT), 0.0);
    observer.terminate();
    assert_eq!(denials(&kafka, "Topic:LITERAL:unwritten"), 0);
    // Written and not read: acknowledgements are still worth something.
    let observer = Throughline::start(alice("unread"));
    observer.wait_for_log("nothing is read back (needs READ on topic unread)");
    let metrics = until("acknowledgements", LIMIT, &observer, |metrics| {
        metrics.sum(BACK, &[("stage", "produce")]) > 10.0
    });
    nothing_is_amiss(&metrics);
    observer.terminate();
    assert_eq!(denials(&kafka, "Topic:LITERAL:unread"), 0);
    // Taken away while it runs: noticed once, and what is out is unknown.
    acl(&kafka, "ANONYMOUS", "ALL", "group", "revoked-group");
    let observer = Throughline::start(alice("revoked"));
    observer.wait_for_log("nothing is committed (needs READ on group revoked-group)");
    more(&observer, 10.0);
    assert_eq!(denials(&kafka, "Group:LITERAL:revoked-group"), 1);
    acl(&kafka, "alice", "WRITE", "topic", "revoked --deny");
    observer.wait_for_log("nothing is written (needs WRITE on topic revoked)");
    let sent = sum(&observer.metrics(), SENT);
    let asked =
        |metrics: &Metrics| metrics.sum("throughline_sli_events_total", &[("sli", "broker")]);
    let before = asked(&observer.metrics());
    let metrics = until("ten looks", LIMIT, &observer, |metrics| {
        asked(metrics) >= before + 10.0
    });
    assert_eq!(sum(&metrics, SENT), sent);
    assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
    assert!(denials(&kafka, "Topic:LITERAL:revoked") <= 1);
    observer.terminate();
}

#[test]
fn older_brokers_take_and_give_records_too() {
    for version in [Version::V3_9_1, Version::V0_11_0_3] {
        let kafka = Kafka::single(version);
        kafka.create_topic("old", 2);
        let observer = Throughline::start(spec(&kafka, "old"));
        let metrics = until("records and commits", LIMIT, &observer, |metrics| {
            back(metrics) > 20.0 && metrics.sum(BACK, &[("stage", "commit")]) > 2.0
        });
        assert_eq!((sum(&metrics, LOST), sum(&metrics, FAILED)), (0.0, 0.0));
        observer.terminate();
    }
}
