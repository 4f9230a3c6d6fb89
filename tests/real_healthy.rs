//! A healthy run with the settings that client libraries have by default, and a rolling restart in it, raises nothing.
//!
//! Why: an alert that fires while all is well is switched off, and then the next one is not read. `make acceptance` runs it for half an hour
//! (`THROUGHLINE_HEALTHY_SECONDS`). What is true is taken from the clients. This file must not look into the program.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::clients::{Client, Running};
use support::deadline::poll_until;
use support::kafka::{Kafka, Listener, Version};
use support::metrics::Metrics;
use support::throughline::{Throughline, ThroughlineSpec};

/// Over what the run itself takes.
const LIMIT: Duration = Duration::from_secs(120);
const MEMBERS: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: usize = 6;
/// Between two records of one producer.
const PACE_MS: u64 = 25;

const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";

/// For how long records flow.
fn duration() -> Duration {
    let wanted = std::env::var("THROUGHLINE_HEALTHY_SECONDS");
    let seconds = wanted.map_or(15, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// One library: a producer, and a group of three.
struct Program {
    client: Client,
    name: String,
    bootstrap: String,
    producer: Option<Running>,
    members: Vec<Running>,
    /// Records that members gave out who are gone.
    given: usize,
    count: usize,
}

impl Program {
    fn start(client: Client, kafka: &Kafka, sidecar: &Throughline) -> Self {
        let name = format!("healthy-{}", client.name());
        kafka.topic(&name, u32::try_from(PARTITIONS).expect("few"), "");
        let count = duration().as_millis() / u128::from(PACE_MS);
        let mut program = Self {
            client,
            name,
            bootstrap: sidecar.bootstrap(),
            producer: None,
            members: Vec::new(),
            given: 0,
            count: usize::try_from(count).expect("a count"),
        };
        for member in MEMBERS {
            program.join(member);
        }
        program
    }

    fn begin(&self, line: &str) -> Running {
        let line = format!(
            "{line} --bootstrap {} --topic {}",
            self.bootstrap, self.name
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        self.client.start(&words)
    }

    /// One more member, once it has something to read.
    fn join(&mut self, member: &str) {
        let member = self.begin(&format!(
            "consume --defaults --group {} --member {member}",
            self.name
        ));
        let given = |line: &Value| {
            let partitions = line["partitions"].as_array();
            line["type"] == "assigned" && partitions.is_some_and(|given| !given.is_empty())
        };
        member.wait_for("an assignment", LIMIT, |lines| {
            lines.iter().any(given).then_some(())
        });
        self.members.push(member);
    }

    fn produce(&mut self) {
        let idempotent = if self.client == Client::Java {
            "--idempotent"
        } else {
            ""
        };
        let (count, partitions) = (self.count, PARTITIONS);
        let line = format!(
            "produce --count {count} --partitions {partitions} --now --delay-ms {PACE_MS} {idempotent}"
        );
        self.producer = Some(self.begin(&line));
    }

    /// How many records the broker took so far.
    fn acknowledged(&self) -> usize {
        let of = |producer: &Running| producer.count("ack");
        self.producer.as_ref().map_or(0, of)
    }

    /// The member that is there for longest goes, and one of its name comes.
    fn restart(&mut self, member: &str) {
        self.given += self.members.remove(0).leave(LIMIT).records().len();
        self.join(member);
    }

    fn read(&self) -> usize {
        self.given + self.members.iter().map(Running::read).sum::<usize>()
    }

    fn labels(&self) -> [(&str, &str); 2] {
        [("topic", &self.name), ("group", &self.name)]
    }

    /// After the last record: all of them read, and every figure at rest.
    fn came_to_its_end(&mut self, sidecar: &Throughline, observer: &Throughline) {
        let producer = self.producer.take().expect("a producer");
        let produced = producer.finish(LIMIT);
        assert_eq!(produced.of_type("ack").count(), self.count, "{}", self.name);
        poll_until("all records", LIMIT, || {
            (self.read() >= self.count).then_some(())
        });
        let labels = self.labels();
        sidecar.settles_at(
            "throughline_produced_records_total",
            &labels[..1],
            self.count as f64,
        );
        sidecar.settles_at("throughline_consumer_lag_records", &labels, 0.0);
        sidecar.settles_at("throughline_consumer_lag_drain_seconds", &labels, 0.0);
        let ok = [labels[1], ("state", "ok")];
        sidecar.settles_at("throughline_consumer_state", &ok, PARTITIONS as f64);
        observer.settles_at("throughline_group_lag_records", &labels, 0.0);
        observer.settles_at("throughline_group_state", &ok, 1.0);
        let body = sidecar.get("/api/v1/groups").body;
        let groups: Value = serde_json::from_str(&body).expect("JSON");
        let groups = groups.as_array().cloned().unwrap_or_default();
        let group = groups.iter().find(|one| one["group"] == self.name.as_str());
        let states = group.map(|group| &group["topics"][0]["states"]);
        assert_eq!(states, Some(&json!({"ok": PARTITIONS})), "{body}");
    }
}

#[test]
fn a_healthy_run_with_a_rolling_restart_raises_nothing() {
    let kafka = Kafka::single(Version::V4_4_0);
    let at = kafka.bootstrap(Listener::Plaintext);
    let sidecar = Throughline::start(ThroughlineSpec::new(&at));
    let observer = Throughline::start(ThroughlineSpec::observer(&at));
    let libraries = [Client::Java, Client::Librdkafka, Client::KafkaPython];
    let mut programs: Vec<Program> = libraries
        .into_iter()
        .map(|client| Program::start(client, &kafka, &sidecar))
        .collect();
    programs.iter_mut().for_each(Program::produce);
    let limit = duration() * 4 + LIMIT;
    for (round, member) in MEMBERS.into_iter().enumerate() {
        // Each restart at its share of the way.
        let due = |program: &Program| program.acknowledged() * 4 >= program.count * (round + 1);
        poll_until("records to flow", limit, || {
            nothing_is_raised(&sidecar, &observer);
            programs.iter().all(due).then_some(())
        });
        for program in &mut programs {
            program.restart(member);
            nothing_is_raised(&sidecar, &observer);
        }
    }
    poll_until("the last records", limit, || {
        nothing_is_raised(&sidecar, &observer);
        let done = |program: &Program| program.acknowledged() >= program.count;
        programs.iter().all(done).then_some(())
    });
    for program in &mut programs {
        program.came_to_its_end(&sidecar, &observer);
    }
    let (inside, outside) = nothing_is_raised(&sidecar, &observer);
    for (metrics, indicators) in [
        (
            &inside,
            &["publish", "availability", "processing", "dead_letter"][..],
        ),
        (&outside, &["lag", "broker"]),
    ] {
        for sli in indicators {
            let events = metrics.sum(EVENTS, &[("sli", sli)]);
            assert!(events > 0.0, "{sli}: nothing was judged");
        }
    }
    for program in &programs {
        // Each of three joins, each of three restarts a leave and a join: no storm.
        let group = [("group", program.name.as_str())];
        let rounds = inside.sum("throughline_rebalances_total", &group);
        let most = if program.client == Client::Java {
            9.0
        } else {
            18.0
        };
        assert!(rounds <= most, "{rounds} rounds of {}", program.name);
    }
    for program in programs {
        for member in program.members {
            member.leave(LIMIT);
        }
    }
    sidecar.terminate();
    observer.terminate();
}

/// Every counter of a failure stands at 0, no gauge announces one, and no event is bad.
#[track_caller]
fn nothing_is_raised(sidecar: &Throughline, observer: &Throughline) -> (Metrics, Metrics) {
    let (inside, outside) = (sidecar.metrics(), observer.metrics());
    for name in [
        "throughline_lost_records_total",
        "throughline_sequence_gaps_total",
        "throughline_authorization_failures_total",
        "throughline_authentication_failures_total",
    ] {
        assert!(
            inside.has(name),
            "{name} does not exist before it is needed"
        );
        is_nothing(&inside, name, &[]);
    }
    for name in [
        "throughline_throttled_seconds_total",
        "throughline_produce_failures_total",
        "throughline_fetch_failures_total",
        "throughline_commit_failures_total",
        "throughline_connect_failures_total",
        "throughline_telemetry_dropped_total",
        "throughline_injection_refused_total",
        "throughline_dead_letter_records_total",
        "throughline_poison_records",
        "throughline_clock_skew_seconds",
        "throughline_time_to_loss_seconds",
    ] {
        is_nothing(&inside, name, &[]);
    }
    for class in [
        "redelivered",
        "appended_twice",
        "replayed",
        "producer_retry",
    ] {
        is_nothing(
            &inside,
            "throughline_duplicate_records_total",
            &[("class", class)],
        );
    }
    for state in ["warn", "stalled", "stopped", "rewinding"] {
        is_nothing(&inside, "throughline_consumer_state", &[("state", state)]);
        is_nothing(&outside, "throughline_group_state", &[("state", state)]);
    }
    for name in [
        "throughline_group_lost_records_total",
        "throughline_offline_partitions",
        "throughline_under_replicated_partitions",
        "throughline_observer_refusals_total",
    ] {
        is_nothing(&outside, name, &[]);
    }
    // Latency and lag are the machine's as much as the programs'; the rest is not.
    for sli in [
        "publish",
        "availability",
        "processing",
        "dead_letter",
        "duplicates",
    ] {
        all_good(&inside, sli);
    }
    for sli in ["broker", "lag", "delivery"] {
        all_good(&outside, sli);
    }
    (inside, outside)
}

#[track_caller]
fn is_nothing(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) {
    let moved: Vec<_> = metrics
        .select(name, labels)
        .filter(|s| s.value != 0.0)
        .collect();
    assert!(moved.is_empty(), "{moved:?}");
}

#[track_caller]
fn all_good(metrics: &Metrics, sli: &str) {
    let labels = [("sli", sli)];
    let (events, good) = (metrics.sum(EVENTS, &labels), metrics.sum(GOOD, &labels));
    assert_eq!(good, events, "{sli}: {}", metrics.page(&labels));
}
