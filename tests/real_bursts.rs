//! Bursts of traffic on a real broker, as the sidecar and the observer tell them: while records come faster than they are read,
//! while members come and go, and after the last one was read.
//!
//! Why: lag that is extrapolated goes on after the last record, or falls below nothing; a group that rebalances is called stuck. What is
//! true is taken from the records that the clients were given. This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::clients::Running;
use support::deadline::poll_until;
use support::kafka::{self, Kafka, Listener};
use support::metrics::Metrics;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
/// How old a figure may be: a look a second, and a busy machine.
const OLD_MS: i64 = 10_000;

const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const DUPLICATES: &str = "throughline_duplicate_records_total";

/// A broker, a sidecar that leaves records as they are, and an observer.
struct Stage {
    kafka: Arc<Kafka>,
    sidecar: Throughline,
    observer: Throughline,
}

impl Stage {
    fn start() -> Self {
        let kafka = Kafka::shared();
        let at = kafka.bootstrap(Listener::Plaintext);
        let spec = ThroughlineSpec::new(&at).mode("observe");
        let sidecar = Throughline::start(spec.set("duplicates.ids", "[{header: seq}]"));
        let observer = Throughline::start(ThroughlineSpec::observer(&at));
        Self {
            kafka,
            sidecar,
            observer,
        }
    }

    /// Starts a client behind the sidecar.
    fn begin(&self, command: &str, topic: &str, more: &str) -> Running {
        kafka::begin(&self.sidecar.bootstrap(), command, topic, more)
    }

    fn end(self) {
        self.sidecar.terminate();
        self.observer.terminate();
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("before the end of time")
}

/// What was said of a group at some time: positions by partition, and the lag.
#[derive(Clone, Debug)]
struct Said {
    asked_ms: i64,
    answered_ms: i64,
    positions: Vec<(i64, i64, i64)>,
    records: i64,
    lower_ms: i64,
    upper_ms: Option<i64>,
}

impl Said {
    /// `None` where nothing is said of the group.
    fn ask(of: &Throughline, group: &str) -> Option<Self> {
        let asked_ms = now_ms();
        let groups: Value = serde_json::from_str(&of.get("/api/v1/groups").body).expect("JSON");
        let answered_ms = now_ms();
        let group = groups
            .as_array()?
            .iter()
            .find(|one| one["group"] == group)?;
        let topic = group["topics"].get(0)?;
        let number = |value: &Value| value.as_i64().expect("a number");
        let ms = |value: &Value| value.as_f64().map(|seconds| (seconds * 1e3).round() as i64);
        let position = |one: &Value| {
            let of = ["partition", "committed", "end"].map(|name| number(&one[name]));
            (of[0], of[1], of[2])
        };
        let positions = topic["positions"].as_array().expect("positions");
        Some(Self {
            asked_ms,
            answered_ms,
            positions: positions.iter().map(position).collect(),
            records: number(&topic["lag_records"]),
            lower_ms: ms(&topic["lag_seconds_lower"]).expect("a lag"),
            upper_ms: ms(&topic["lag_seconds_upper"]),
        })
    }

    /// The publish time of the oldest record that is not committed.
    fn oldest(&self, published: &BTreeMap<(i64, i64), i64>) -> Option<i64> {
        let behind = self.positions.iter().filter(|(_, at, end)| at < end);
        behind
            .map(|(partition, at, _)| {
                let found = published.get(&(*partition, *at));
                *found.unwrap_or_else(|| panic!("nobody was given {partition}:{at}: {self:?}"))
            })
            .min()
    }

    /// Holds it against the records that the group was given in the end.
    #[track_caller]
    fn is_true(&self, published: &BTreeMap<(i64, i64), i64>, exact: bool) {
        let span: i64 = self.positions.iter().map(|(_, at, end)| end - at).sum();
        assert_eq!(self.records, span, "{self:?}");
        let backwards = self.positions.iter().any(|(_, at, end)| at > end);
        assert!(self.records >= 0 && !backwards, "{self:?}");
        assert!(self.lower_ms >= 0, "{self:?}");
        let Some(oldest) = self.oldest(published) else {
            assert_eq!((self.lower_ms, self.upper_ms), (0, Some(0)), "{self:?}");
            return;
        };
        if exact {
            assert_eq!(Some(self.lower_ms), self.upper_ms, "{self:?}");
        }
        // The moment it was true lies a look before the question, and not behind the answer.
        let earliest = self.asked_ms - OLD_MS - oldest;
        let latest = self.answered_ms - oldest;
        assert!(self.lower_ms <= latest, "{self:?} since {oldest}");
        let upper = self.upper_ms.unwrap_or(i64::MAX);
        assert!(upper >= earliest, "{self:?} since {oldest}");
    }
}

/// Every gauge of lag on a page is at or over nothing.
#[track_caller]
fn nothing_is_negative(of: &Throughline) -> Metrics {
    let metrics = of.metrics();
    let below = metrics.samples.iter().filter(|sample| sample.value < 0.0);
    let below: Vec<_> = below.collect();
    assert!(below.is_empty(), "{below:?}");
    metrics
}

/// Fifty records a second, then ten times as many, faster than they are read; then nothing.
#[test]
fn lag_rises_and_falls_with_a_burst_and_is_nothing_in_the_silence_after() {
    const STEADY: usize = 150;
    const BURST: usize = 1500;
    let stage = Stage::start();
    stage.kafka.topic("burst", 2, "");
    let slow = "--group burst --member slow --property max.poll.records=10 --pause-ms 50";
    let consumer = stage.begin("consume", "burst", slow);
    let steady = format!("--count {STEADY} --partitions 2 --now --delay-ms 20");
    let mut said = [Vec::new(), Vec::new()];
    let both = [&stage.observer, &stage.sidecar];
    let mut watch = |until: &dyn Fn() -> bool| {
        poll_until("the traffic to pass", LIMIT, || {
            for (of, said) in both.iter().zip(&mut said) {
                said.extend(Said::ask(of, "burst"));
                nothing_is_negative(of);
            }
            until().then_some(())
        });
    };
    let producer = stage.begin("produce", "burst", &steady);
    watch(&|| consumer.read() >= STEADY);
    producer.finish(LIMIT);
    let burst = format!("--first {STEADY} --count {BURST} --partitions 2 --now --delay-ms 2");
    let producer = stage.begin("produce", "burst", &burst);
    watch(&|| consumer.read() >= STEADY + BURST);
    producer.finish(LIMIT);
    let labels = [("topic", "burst"), ("group", "burst")];
    let pair = [("sli", "lag"), labels[0], labels[1]];
    for (of, of_whom) in [(&stage.observer, "group"), (&stage.sidecar, "consumer")] {
        for figure in ["lag_records", "lag_seconds", "lag_drain_seconds"] {
            of.settles_at(&format!("throughline_{of_whom}_{figure}"), &labels, 0.0);
        }
    }
    // Silence: an idle group has no lag, and every look at it is good.
    let judged = stage.observer.metrics().sum(EVENTS, &pair);
    let quiet = || stage.observer.metrics().sum(EVENTS, &pair) >= judged + 10.0;
    watch(&quiet);
    let metrics = stage.observer.metrics();
    assert_eq!(metrics.sum(EVENTS, &pair), metrics.sum(GOOD, &pair));
    let output = consumer.leave(LIMIT);
    let records = output.records();
    let given = records
        .iter()
        .map(|r| ((r.partition, r.offset), r.timestamp));
    let published: BTreeMap<(i64, i64), i64> = given.collect();
    for (said, exact) in said.iter().zip([true, false]) {
        said.iter().for_each(|one| one.is_true(&published, exact));
        let most = said.iter().map(|one| one.records).max();
        assert!(most > Some(100), "no burst was seen: {most:?}");
        let last = said.last().expect("looks");
        assert_eq!((last.records, last.upper_ms), (0, Some(0)));
    }
    stage.end();
}

/// Members that come, go and die while a burst passes: nobody is called stuck, and what is given twice is what the rebalances gave.
#[test]
fn a_rebalance_in_a_burst_is_no_stall_and_no_failure() {
    const COUNT: usize = 6000;
    /// Written once a guest is there: the burst may be over before it is, and it shall have something to read.
    const PIECE: usize = 1200;
    let stage = Stage::start();
    stage.kafka.topic("moving", 6, "");
    let member = |name: &str| {
        let more = format!("--group moving --member {name} --session-timeout-ms 6000");
        let member = stage.begin("consume", "moving", &more);
        member.wait_for("an assignment", LIMIT, |lines| {
            let assigned = lines.iter().any(|line| line["type"] == "assigned");
            assigned.then_some(())
        });
        member
    };
    let steady: Vec<Running> = ["a", "b", "c"].map(member).into();
    let burst = |first: usize, count: usize| {
        let range = format!("--first {first} --count {count} --partitions 6");
        let more = format!("{range} --now --delay-ms 2 --idempotent");
        stage.begin("produce", "moving", &more)
    };
    let mut producers = vec![burst(0, COUNT)];
    let mut written = COUNT;
    let mut gone = Vec::new();
    for (round, kill) in [false, true].into_iter().enumerate() {
        let guest = member(&format!("guest-{round}"));
        producers.push(burst(written, PIECE));
        written += PIECE;
        poll_until("the guest to read", LIMIT, || {
            nobody_is_stuck(&stage);
            (guest.read() >= 20).then_some(())
        });
        gone.push(if kill {
            guest.kill()
        } else {
            guest.leave(LIMIT)
        });
    }
    for producer in producers {
        producer.finish(LIMIT);
    }
    let unique = || {
        let of = |member: &Running| member.lines();
        let lines = steady
            .iter()
            .flat_map(of)
            .chain(gone.iter().flat_map(|o| o.lines.clone()));
        let records = lines.filter(|line| line["type"] == "record");
        let place = |line: Value| (line["partition"].as_i64(), line["offset"].as_i64());
        records.map(place).collect::<BTreeSet<_>>().len()
    };
    poll_until("every record to be given", LIMIT, || {
        nobody_is_stuck(&stage);
        (unique() == written).then_some(())
    });
    let labels = [("topic", "moving"), ("group", "moving")];
    stage
        .sidecar
        .settles_at("throughline_consumer_lag_records", &labels, 0.0);
    stage
        .observer
        .settles_at("throughline_group_lag_records", &labels, 0.0);
    nobody_is_stuck(&stage);
    nothing_failed(&stage, &labels);
    for member in steady {
        member.leave(LIMIT);
    }
    stage.end();
}

/// What was given twice is what the rebalances gave, and no event is bad.
#[track_caller]
fn nothing_failed(stage: &Stage, labels: &[(&str, &str); 2]) {
    let metrics = stage.sidecar.metrics();
    for class in [
        "appended_twice",
        "redelivered",
        "replayed",
        "producer_retry",
    ] {
        let of = [labels[0], labels[1], ("class", class)];
        assert_eq!(
            metrics.sum(DUPLICATES, &of),
            0.0,
            "{class}: {}",
            metrics.page(labels)
        );
    }
    for sli in ["publish", "processing", "duplicates", "dead_letter"] {
        let pair = [("sli", sli), labels[0]];
        let events = metrics.sum(EVENTS, &pair);
        assert!(events > 0.0, "{sli}: nothing was judged");
        assert_eq!(
            metrics.sum(GOOD, &pair),
            events,
            "{sli}: {}",
            metrics.page(&pair)
        );
    }
}

/// Neither from the pod nor from outside the group seems to stand still.
#[track_caller]
fn nobody_is_stuck(stage: &Stage) {
    for (of, name) in [
        (&stage.sidecar, "throughline_consumer_state"),
        (&stage.observer, "throughline_group_state"),
    ] {
        let metrics = nothing_is_negative(of);
        for state in ["stalled", "stopped", "rewinding", "abandoned"] {
            let labels = [("group", "moving"), ("state", state)];
            let raised = metrics.sum(name, &labels);
            assert_eq!(
                raised,
                0.0,
                "{name} {state}\n{}",
                metrics.page(&labels[..1])
            );
        }
    }
}
