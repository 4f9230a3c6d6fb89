//! Six client libraries, each doing the same work directly and through the sidecar, must see the same.
//!
//! Why: a proxy is transparent when no client can tell. Each test compares acknowledgements, every
//! byte of every record, group behaviour, commits and the client's own errors, and proves by the
//! sidecar's counters that the traffic did not go round it. This file must not look into the sidecar
//! otherwise.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use support::clients::{Client, Output, Record, Running};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::ports;
use support::relay::{Direction, Relay};
use support::same::assert_same;
use support::throughline::{Throughline, ThroughlineSpec};

const PARTITIONS: u32 = 6;
/// Each of the three phases of a group's life.
const PHASE_RECORDS: usize = 3340;
const RECORDS: usize = 3 * PHASE_RECORDS;
const REBALANCE_LIMIT: Duration = Duration::from_secs(120);
const CONSUME_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(120);

/// How the clients reach the broker.
#[derive(Clone, Copy, Debug)]
enum Route {
    /// Through a relay that changes nothing: says whether a difference is the sidecar's at all.
    Relay,
    Throughline,
    /// The same with injection on, whose headers are taken off before the comparison.
    Injected,
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::Relay => "relayed",
            Self::Throughline => "proxied",
            Self::Injected => "injected",
        }
    }
}

/// One broker for all tests of this file that run at the same time.
struct Stage {
    kafka: Kafka,
    relay: Relay,
}

impl Stage {
    fn shared() -> Arc<Self> {
        static STAGE: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut held = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = held.upgrade() {
            return stage;
        }
        let stage = Arc::new(Self::start());
        *held = Arc::downgrade(&stage);
        stage
    }

    fn start() -> Self {
        let told = ports::free();
        let spec = KafkaSpec::new(Version::V4_4_0).advertise(Listener::Relayed, 1, told);
        let kafka = Kafka::start(spec);
        let target = kafka.address(Listener::Relayed, 1);
        let target = target.parse().expect("an address");
        let relay = Relay::start(told, target, false);
        Self { kafka, relay }
    }
}

/// Everything that clients saw of one run, in a form that two runs can be compared in.
#[derive(Default)]
struct Seen {
    acknowledged: BTreeMap<i64, (i64, i64)>,
    consumed: BTreeMap<(i64, i64), Record>,
    walked: BTreeMap<(i64, i64, i64), Record>,
    committed: BTreeMap<String, String>,
    /// Committed offset and log end of each partition, after the group has gone.
    positions: BTreeMap<usize, (i64, i64)>,
    errors: BTreeSet<String>,
    payload_bytes: u64,
}

impl Seen {
    /// What was added to the records is taken off.
    fn without_context(mut self) -> Self {
        self.consumed = self
            .consumed
            .into_iter()
            .map(|(at, r)| (at, r.without_context()))
            .collect();
        self.walked = self
            .walked
            .into_iter()
            .map(|(at, r)| (at, r.without_context()))
            .collect();
        self
    }

    fn take_errors(&mut self, who: &str, output: &Output) {
        for error in output.of_type("error") {
            self.errors.insert(format!(
                "{who}: {} {} {}",
                error["where"],
                error["code"],
                without_addresses(error["message"].as_str().unwrap_or_default())
            ));
        }
    }

    fn take_consumed(&mut self, who: &str, output: &Output) {
        self.take_errors(who, output);
        for record in output.records() {
            let at = (record.partition, record.offset);
            let again = self.consumed.insert(at, record.clone());
            // A rebalance may deliver a record twice, but never two different ones.
            if let Some(before) = again {
                assert_eq!(before, record, "{who} read {at:?} differently");
            }
        }
    }
}

/// Addresses are what two routes may differ in.
fn without_addresses(message: &str) -> String {
    let words = message.split_inclusive([' ', '/', ',', '(', ')', '[', ']']);
    words
        .map(|word| {
            if word.contains("127.0.0.1:") {
                "ADDRESS "
            } else {
                word
            }
        })
        .collect()
}

/// The whole scenario of one client over one route.
struct Run<'a> {
    client: Client,
    kafka: &'a Kafka,
    bootstrap: String,
    topic: String,
    group: String,
    seen: Seen,
}

impl<'a> Run<'a> {
    fn new(client: Client, kafka: &'a Kafka, bootstrap: String, label: &str) -> Self {
        let topic = format!("{}-{label}", client.name());
        kafka.create_topic(&topic, PARTITIONS);
        Self {
            client,
            kafka,
            bootstrap,
            group: format!("group-{topic}"),
            topic,
            seen: Seen::default(),
        }
    }

    fn arguments<'b>(&'b self, command: &'b str, more: &[&'b str]) -> Vec<&'b str> {
        let mut all = vec![
            command,
            "--bootstrap",
            &self.bootstrap,
            "--topic",
            &self.topic,
        ];
        all.extend_from_slice(more);
        all
    }

    fn everything(mut self) -> Seen {
        self.group_life();
        self.walk();
        let positions = self.kafka.offsets(&self.group, &self.topic);
        self.seen.positions = positions.into_iter().enumerate().collect();
        self.seen
    }

    /// Two members, a third that joins late, one that leaves, one that is killed.
    fn group_life(&mut self) {
        let first = self.member("first", "sync", "30000");
        // Of this one the broker learns by its session only that it is gone.
        let second = self.member("second", "async", "6000");
        self.produce(0);
        self.wait_for_records(&[&first, &second], 1);
        let third = self.member("third", "auto", "30000");
        self.produce(1);
        self.wait_for_records(&[&first, &second, &third], 2);
        let first = first.leave(END_LIMIT);
        self.seen.take_consumed("first", &first);
        let second = second.kill();
        self.seen.take_consumed("second", &second);
        self.produce(2);
        self.wait_for_records(&[&third], 3);
        let third = third.leave(END_LIMIT);
        self.seen.take_consumed("third", &third);
    }

    /// Starts a member and waits until it has partitions.
    fn member(&self, name: &str, commit: &str, session_ms: &str) -> Running {
        let arguments = self.arguments(
            "consume",
            &[
                "--group",
                &self.group,
                "--member",
                name,
                "--commit",
                commit,
                "--session-timeout-ms",
                session_ms,
            ],
        );
        let member = self.client.start(&arguments);
        member.wait_for("a first assignment", REBALANCE_LIMIT, |lines| {
            let held = |line: &Value| {
                let partitions = line["partitions"].as_array();
                line["type"] == "assigned" && partitions.is_some_and(|some| !some.is_empty())
            };
            lines.iter().any(held).then_some(())
        });
        member
    }

    fn produce(&mut self, phase: usize) {
        let first = (phase * PHASE_RECORDS).to_string();
        let count = PHASE_RECORDS.to_string();
        let arguments = self.arguments("produce", &["--first", &first, "--count", &count]);
        let output = self.client.run(&arguments);
        self.seen.take_errors("producer", &output);
        for ack in output.of_type("ack") {
            let number = |name: &str| ack[name].as_i64().unwrap_or(i64::MIN);
            let at = (number("partition"), number("offset"));
            self.seen.acknowledged.insert(number("i"), at);
        }
        let done = output.done();
        assert_eq!(done["acked"], PHASE_RECORDS, "{}: {done}", self.topic);
        self.seen.payload_bytes += done["bytes"].as_u64().unwrap_or_default();
    }

    /// Waits until all members together have seen every record of the first `phases` phases.
    fn wait_for_records(&self, members: &[&Running], phases: usize) {
        let mut seen: BTreeSet<(i64, i64)> = self.seen.consumed.keys().copied().collect();
        let mut read = vec![0; members.len()];
        let what = format!(
            "{}: members have the records of {phases} phases",
            self.topic
        );
        poll_until(&what, CONSUME_LIMIT, || {
            for (member, read) in members.iter().zip(&mut read) {
                let lines = member.lines_from(*read);
                *read += lines.len();
                let records = lines.iter().filter(|line| line["type"] == "record");
                seen.extend(records.map(position));
            }
            (seen.len() >= phases * PHASE_RECORDS).then_some(())
        });
    }

    fn walk(&mut self) {
        let group = format!("walk-{}", self.topic);
        let output = self
            .client
            .run(&self.arguments("walk", &["--group", &group]));
        self.seen.take_errors("walk", &output);
        for record in output.records() {
            let at = (record.phase, record.partition, record.offset);
            let again = self.seen.walked.insert(at, record);
            assert!(again.is_none(), "{}: read {at:?} twice", self.topic);
        }
        for committed in output.of_type("committed") {
            let how = committed["how"].to_string();
            let offsets = committed["offsets"].to_string();
            self.seen.committed.insert(how, offsets);
        }
    }
}

fn position(line: &Value) -> (i64, i64) {
    let number = |name: &str| line[name].as_i64().unwrap_or(i64::MIN);
    (number("partition"), number("offset"))
}

/// Runs the scenario over `route`, and compares with what the client sees directly.
fn same_over(client: Client, route: Route) {
    let stage = Stage::shared();
    let kafka = &stage.kafka;
    let other = match route {
        Route::Relay => over_relay(client, &stage, route.name()),
        Route::Throughline => over_throughline(client, kafka, route.name(), "observe"),
        Route::Injected => {
            over_throughline(client, kafka, route.name(), "inject").without_context()
        }
    };
    let direct = directly(client);
    let direct = direct.get_or_init(|| {
        let bootstrap = kafka.bootstrap(Listener::Plaintext);
        Run::new(client, kafka, bootstrap, "direct").everything()
    });
    compare(client, direct, route.name(), &other);
}

/// What each client sees directly: run once, compared with each route.
fn directly(client: Client) -> Arc<OnceLock<Seen>> {
    static ALL: Mutex<BTreeMap<&str, Arc<OnceLock<Seen>>>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(client.name()).or_default())
}

fn over_relay(client: Client, stage: &Stage, label: &str) -> Seen {
    let bootstrap = stage.relay.address().to_string();
    let seen = Run::new(client, &stage.kafka, bootstrap, label).everything();
    // Other tests use the same relay; the exact comparison is the sidecar's.
    assert!(stage.relay.bytes(Direction::ClientToBroker) > seen.payload_bytes);
    assert!(stage.relay.bytes(Direction::BrokerToClient) > seen.payload_bytes);
    seen
}

fn over_throughline(client: Client, kafka: &Kafka, label: &str, mode: &str) -> Seen {
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode(mode);
    let sidecar = Throughline::start(spec);
    let seen = Run::new(client, kafka, sidecar.bootstrap(), label).everything();
    let metrics = sidecar.metrics();
    for direction in ["client_to_broker", "broker_to_client"] {
        let passed = metrics.sum("throughline_proxy_bytes_total", &[("direction", direction)]);
        assert!(
            passed > seen.payload_bytes as f64,
            "{}: only {passed} bytes {direction} for a payload of {}: traffic went round the sidecar",
            client.name(),
            seen.payload_bytes
        );
    }
    if mode == "inject" {
        let injected = metrics.sum("throughline_injected_records_total", &[]);
        let skipped = metrics.sum("throughline_injection_skipped_total", &[]);
        assert_eq!(
            (injected, skipped),
            (RECORDS as f64, 0.0),
            "{}",
            client.name()
        );
    }
    sidecar.terminate();
    seen
}

fn compare(client: Client, direct: &Seen, name: &str, other: &Seen) {
    let what = |part: &str| format!("{}: {part}", client.name());
    let none = BTreeSet::new();
    assert_eq!(direct.errors, none, "{}", what("errors (direct)"));
    assert_eq!(other.errors, none, "{}", what(&format!("errors ({name})")));
    assert_eq!(direct.consumed.len(), RECORDS, "{}", what("records"));
    assert_same(
        &what("acknowledgements"),
        ("direct", &direct.acknowledged),
        (name, &other.acknowledged),
    );
    assert_same(
        &what("group"),
        ("direct", &direct.consumed),
        (name, &other.consumed),
    );
    assert_same(
        &what("walk"),
        ("direct", &direct.walked),
        (name, &other.walked),
    );
    assert_same(
        &what("commits"),
        ("direct", &direct.committed),
        (name, &other.committed),
    );
    assert_same(
        &what("positions"),
        ("direct", &direct.positions),
        (name, &other.positions),
    );
    for (partition, (committed, end)) in &direct.positions {
        assert_eq!(
            committed,
            end,
            "{}",
            what(&format!("commit of {partition}"))
        );
    }
}

macro_rules! each_client {
    ($($name:ident: $client:expr,)*) => {
        mod proxied {
            use super::*;
            $(
                #[test]
                fn $name() {
                    same_over($client, Route::Throughline);
                }
            )*
        }

        mod injected {
            use super::*;
            $(
                #[test]
                fn $name() {
                    same_over($client, Route::Injected);
                }
            )*
        }

        /// Proves the client programs themselves: nothing but a relay stands between.
        mod relayed {
            use super::*;
            $(
                #[test]
                fn $name() {
                    same_over($client, Route::Relay);
                }
            )*
        }
    };
}

each_client! {
    java: Client::Java,
    librdkafka: Client::Librdkafka,
    franz_go: Client::FranzGo,
    sarama: Client::Sarama,
    kafka_python: Client::KafkaPython,
    kafkajs: Client::KafkaJs,
}
