//! Each failure mode that a sidecar can see, provoked on a real broker, and a healthy run that raises none of them.
//!
//! Why: a counter that an alert reads must move when the thing happens, by as much as happened, and must not move otherwise. What is
//! true is taken from the clients and from what the broker was told to do. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use serde_json::{Value, json};
use support::clients::{Client, Output, Running};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Shared, Version};
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);

/// One broker for all tests of this file that run at the same time, and a sidecar for each.
struct Stage {
    kafka: Arc<Kafka>,
    sidecar: Throughline,
    bootstrap: String,
}

impl Stage {
    fn start() -> Self {
        Self::at(Listener::Plaintext, |spec| spec)
    }

    fn at(listener: Listener, settings: impl FnOnce(ThroughlineSpec) -> ThroughlineSpec) -> Self {
        static BROKER: Shared = Shared::new();
        let kafka = BROKER.get(guarded);
        Self::on(kafka, listener, settings)
    }

    fn on(
        kafka: Arc<Kafka>,
        listener: Listener,
        settings: impl FnOnce(ThroughlineSpec) -> ThroughlineSpec,
    ) -> Self {
        let spec = ThroughlineSpec::new(&kafka.bootstrap(listener)).mode("observe");
        let sidecar = Throughline::start(settings(spec));
        let bootstrap = sidecar.bootstrap();
        Self {
            kafka,
            sidecar,
            bootstrap,
        }
    }

    fn begin(&self, command: &str, topic: &str, more: &str) -> Running {
        let at = &self.bootstrap;
        let line = format!("{command} --bootstrap {at} --topic {topic} {more}");
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

    /// What stands on the page; `None` where there is no such series.
    fn figure(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.sidecar.figure(name, labels)
    }

    /// Waits until a figure has this value, and makes sure that it does not move on from there.
    #[track_caller]
    fn settles_at(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        self.sidecar.settles_at(name, labels, wanted);
    }

    /// As [`Stage::begin`], with the name and password of a user.
    fn login(&self, command: &str, topic: &str, who: (&str, &str, &str), more: &str) -> Running {
        let (mechanism, user, password) = who;
        let login = format!("--sasl-mechanism {mechanism} --username {user} --password {password}");
        self.begin(command, topic, &format!("{login} {more}"))
    }
}

/// A broker with users, and rights where somebody gives them.
fn guarded() -> Kafka {
    let spec = KafkaSpec::new(Version::V4_4_0).listener(Listener::SaslPlaintext);
    Kafka::start(spec.user("mallory", "mallory-secret").acls())
}

const LOST: &str = "throughline_lost_records_total";

/// A group that was away while retention went past it, and begins anew at the earliest record, and at the latest.
#[test]
fn records_that_retention_deleted_before_the_group_came_back() {
    const COMMITTED: usize = 30;
    const START: usize = 60;
    let stage = Stage::start();
    stage.kafka.create_topic("overtaken", 1);
    stage.run("produce", "overtaken", "--count 100 --partitions 1");
    for reset in ["earliest", "latest"] {
        let group = format!("overtaken-{reset}");
        let part = format!("--group {group} --until {COMMITTED} --commit-records {COMMITTED}");
        stage.run("consume", "overtaken", &part);
        let read = [("topic", "overtaken"), ("group", group.as_str())];
        // What an alert reads exists before anything is lost.
        stage.settles_at(LOST, &read, 0.0);
    }
    stage.kafka.admin(&format!(
        "delete-records --topic overtaken --partition 0 --before {START}"
    ));
    let again = stage.run(
        "consume",
        "overtaken",
        "--group overtaken-earliest --until 40",
    );
    let first = again.records().first().map(|record| record.offset);
    assert_eq!(first, Some(START as i64));
    let late = stage.begin(
        "consume",
        "overtaken",
        "--group overtaken-latest --property auto.offset.reset=latest",
    );
    let losses = |group: &'static str, reason: &'static str| {
        [("topic", "overtaken"), ("group", group), ("reason", reason)]
    };
    let deleted = (START - COMMITTED) as f64;
    for (group, reason, count) in [
        ("overtaken-earliest", "retention", deleted),
        ("overtaken-earliest", "out_of_range", 0.0),
        ("overtaken-earliest", "truncated", 0.0),
        ("overtaken-latest", "retention", deleted),
        ("overtaken-latest", "out_of_range", 40.0),
        ("overtaken-latest", "truncated", 0.0),
    ] {
        stage.settles_at(LOST, &losses(group, reason), count);
    }
    late.leave(LIMIT);
    stage.sidecar.terminate();
}

/// Whatever library the program uses: each finds out in its own way that its position is gone.
#[test]
fn records_that_retention_deleted_whatever_the_client() {
    const GONE: i64 = 50;
    let stage = Stage::start();
    for client in [
        Client::Librdkafka,
        Client::FranzGo,
        Client::Sarama,
        Client::KafkaPython,
        Client::KafkaJs,
    ] {
        let topic = format!("overtaken-{}", client.name());
        stage.kafka.create_topic(&topic, 1);
        let at = ["--bootstrap", &stage.bootstrap, "--topic", &topic];
        let reading = |until: &str| {
            let more = ["consume", "--group", &topic, "--until", until];
            client.run(&[&more[..], &at].concat())
        };
        stage.run("produce", &topic, "--count 100 --partitions 1");
        reading("30");
        let committed = stage.kafka.offsets(&topic, &topic)[0].0;
        stage.run("produce", &topic, "--count 100 --partitions 1");
        let start = committed + GONE;
        stage.kafka.admin(&format!(
            "delete-records --topic {topic} --partition 0 --before {start}"
        ));
        let again = reading(&(200 - start).to_string());
        let first = again.records().first().map(|record| record.offset);
        assert_eq!(first, Some(start), "{topic}");
        let read = [("topic", topic.as_str()), ("group", topic.as_str())];
        stage.settles_at(LOST, &read, GONE as f64);
        let labels = [read[0], read[1], ("reason", "retention")];
        stage.settles_at(LOST, &labels, GONE as f64);
    }
    stage.sidecar.terminate();
}

/// Retention that comes nearer to a group that does not commit is announced.
#[test]
fn retention_that_is_about_to_overtake_a_group() {
    let stage = Stage::start();
    stage.kafka.create_topic("nearing", 1);
    stage.run("produce", "nearing", "--count 1000 --partitions 1");
    let consumer = stage.begin("consume", "nearing", "--group nearing --commit-records 900");
    consumer.wait_for("all records", LIMIT, |lines| {
        let records = lines.iter().filter(|line| line["type"] == "record").count();
        (records == 1000).then_some(())
    });
    let read = [("topic", "nearing"), ("group", "nearing")];
    stage.settles_at("throughline_consumer_lag_records", &read, 100.0);
    let age = stage.figure("throughline_consumer_lag_seconds", &read);
    assert!(age > Some(0.0), "{age:?}");
    let left = || stage.figure("throughline_time_to_loss_seconds", &read);
    assert_eq!(left(), None, "nothing was deleted yet");
    let mut before = 0;
    let seconds = poll_until("the sidecar knows the speed", LIMIT, || {
        before += 1;
        stage.kafka.admin(&format!(
            "delete-records --topic nearing --partition 0 --before {before}"
        ));
        left()
    });
    assert!(seconds > 0.0 && before < 900, "{seconds} s after {before}");
    stage.settles_at(LOST, &read, 0.0);
    consumer.leave(LIMIT);
    stage.sidecar.terminate();
}

/// A producer that jumps over ten numbers, which the broker refuses, and ends.
#[test]
fn a_hole_in_the_sequence_of_a_producer() {
    let stage = Stage::start();
    stage.kafka.create_topic("jumped", 1);
    let mut producer = TcpStream::connect(&stage.bootstrap).expect("the sidecar listens");
    let producer_id = 4_242;
    assert_eq!(publish(&mut producer, "jumped", producer_id, 0), 0);
    assert_eq!(publish(&mut producer, "jumped", producer_id, 10), 0);
    let topic = [("topic", "jumped")];
    let gaps = "throughline_sequence_gaps_total";
    stage.settles_at("throughline_produced_records_total", &topic, 20.0);
    stage.settles_at(gaps, &topic, 0.0);
    let refused = publish(&mut producer, "jumped", producer_id, 30);
    assert_eq!(refused, 45, "OUT_OF_ORDER_SEQUENCE_NUMBER");
    drop(producer);
    stage.settles_at(gaps, &topic, 1.0);
    // What another one sends in order adds nothing, nor do transactions.
    stage.run(
        "produce",
        "jumped",
        "--count 500 --partitions 1 --idempotent",
    );
    let transactions = "--count 300 --partitions 1 --transactional-id jumped --abort-every 2";
    stage.run("produce", "jumped", transactions);
    stage.settles_at(gaps, &topic, 1.0);
    stage.sidecar.terminate();
}

/// Sends ten records of an idempotent producer; the error code that the broker answers with.
fn publish(stream: &mut TcpStream, topic: &str, producer_id: i64, base_sequence: i32) -> i16 {
    let batch = batch(producer_id, base_sequence);
    let text = |text: &str| {
        let length = i16::try_from(text.len()).expect("a short name");
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    let length = i32::try_from(batch.len()).expect("a small batch");
    // Produce, version 8: no transactional id, all acknowledgements, 10 s, one topic, one partition.
    let request = [
        &0_i16.to_be_bytes()[..],
        &8_i16.to_be_bytes(),
        &7_i32.to_be_bytes(),
        &text("raw"),
        &(-1_i16).to_be_bytes(),
        &(-1_i16).to_be_bytes(),
        &10_000_i32.to_be_bytes(),
        &1_i32.to_be_bytes(),
        &text(topic),
        &1_i32.to_be_bytes(),
        &0_i32.to_be_bytes(),
        &length.to_be_bytes(),
        &batch,
    ]
    .concat();
    let length = i32::try_from(request.len()).expect("a small request");
    stream.set_read_timeout(Some(LIMIT)).expect("a socket");
    stream
        .write_all(&[&length.to_be_bytes()[..], &request].concat())
        .expect("the sidecar reads");
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    stream.read_exact(&mut answer).expect("a whole answer");
    // Correlation id, one topic and its name, one partition and its number.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    i16::from_be_bytes([answer[at], answer[at + 1]])
}

fn batch(producer_id: i64, base_sequence: i32) -> BytesMut {
    let record = |n: i32| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id,
        producer_epoch: 0,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(n),
        sequence: base_sequence + n,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::from_static(b"value")),
        headers: IndexMap::new(),
    };
    let records: Vec<Record> = (0..10).map(record).collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("records");
    bytes
}

/// Settings of a producer that sends each record by itself, one after the other.
const ALONE: &str = "--property batch.size=0 --property max.in.flight.requests.per.connection=1";

/// Alice may write and mallory may not, and neither may root, whom nobody knows: counters, the list of clients and the trail say who.
#[test]
fn who_did_what_and_who_was_not_let_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("audit.jsonl");
    let path = file.to_str().expect("a path that is text").to_owned();
    let stage = Stage::at(Listener::SaslPlaintext, |spec| {
        spec.set("audit.file", &path)
    });
    // What an alert reads exists before anything is refused.
    for (name, labels) in [
        (REFUSED, [("api", "Produce"), ("resource", "topic")]),
        (REFUSED, [("api", "JoinGroup"), ("resource", "group")]),
    ] {
        stage.settles_at(name, &labels, 0.0);
    }
    for mechanism in [
        "PLAIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-512",
        "OAUTHBEARER",
        "GSSAPI",
        "OTHER",
    ] {
        stage.settles_at(NOT_LET_IN, &[("mechanism", mechanism)], 0.0);
    }
    stage.kafka.create_topic("payroll", 1);
    for (user, operation) in [("alice", "ALL"), ("mallory", "DESCRIBE")] {
        stage.kafka.admin(&format!(
            "add-acl --principal User:{user} --operation {operation} --resource topic --name payroll"
        ));
    }
    let alice = ("SCRAM-SHA-256", "alice", "alice-secret");
    let mallory = ("PLAIN", "mallory", "mallory-secret");
    let writing = format!("--first 1 --partitions 1 {ALONE}");
    let write = format!("{writing} --count 7 --client-id accounting");
    stage
        .login("produce", "payroll", alice, &write)
        .finish(LIMIT);
    let read = "--group payroll-group --until 7 --client-id reporting";
    stage.login("consume", "payroll", alice, read).finish(LIMIT);
    let write = format!("{writing} --count 3 --client-id intruder");
    let output = stage
        .login("produce", "payroll", mallory, &write)
        .finish(LIMIT);
    let refused = output.of_type("error").count() as f64;
    assert_eq!(refused, 3.0, "{:?}", output.lines);
    let wrong = ("PLAIN", "root", "guessed-password");
    let guessing = stage.login("produce", "payroll", wrong, "--count 1 --client-id guesser");
    let failures = || stage.figure(NOT_LET_IN, &[("mechanism", "PLAIN")]);
    poll_until("the refused password is counted", LIMIT, || {
        failures().filter(|count| *count >= 1.0)
    });
    guessing.kill();
    let produce = [("api", "Produce"), ("resource", "topic")];
    stage.settles_at(REFUSED, &produce, refused);
    stage.settles_at(NOT_LET_IN, &[("mechanism", "SCRAM-SHA-256")], 0.0);
    listed(&stage);
    stage.sidecar.terminate();
    let trail = std::fs::read_to_string(&file).expect("the audit trail");
    told(&trail);
    for secret in ["alice-secret", "mallory-secret", "guessed-password"] {
        assert!(!trail.contains(secret), "{secret} is in the trail");
    }
}

const REFUSED: &str = "throughline_authorization_failures_total";

/// What somebody may not administer, each asked once.
#[test]
fn what_a_program_may_not_administer_is_counted_by_its_request() {
    // A broker of its own: its rights would be in the way of other tests.
    let stage = Stage::on(Arc::new(guarded()), Listener::SaslPlaintext, |spec| spec);
    stage.kafka.create_topic("payroll", 1);
    // As long as nobody is named, everybody may do anything to the cluster, and so to its topics. Brokers have no name here.
    for acl in [
        "--principal User:ANONYMOUS --operation ALL --resource cluster --name kafka-cluster",
        "--principal User:mallory --operation DESCRIBE --resource topic --name payroll",
    ] {
        stage.kafka.admin(&format!("add-acl {acl}"));
    }
    let who = ("PLAIN", "mallory", "mallory-secret");
    let mut admin = stage.login("admin", "payroll", who, "--client-id intruder");
    for (command, api) in [
        ("delete-topic --topic payroll", "DeleteTopics"),
        (
            "create-topic --topic payroll --partitions 1",
            "CreateTopics",
        ),
        ("delete-records --topic payroll --offset 1", "DeleteRecords"),
        (
            "alter-configs --topic payroll --config retention.ms=1",
            "IncrementalAlterConfigs",
        ),
        ("describe-configs --topic payroll", "DescribeConfigs"),
    ] {
        let of = [("api", api), ("resource", "topic")];
        stage.settles_at(REFUSED, &of, 0.0);
        let answer = admin.ask(command, LIMIT);
        let refused = answer.iter().any(|line| line["type"] == "error");
        assert!(refused, "{command}: {answer:?}");
        stage.settles_at(REFUSED, &of, 1.0);
    }
    admin.kill();
    stage.sidecar.terminate();
}
const NOT_LET_IN: &str = "throughline_authentication_failures_total";

/// The list of clients says the same.
#[track_caller]
fn listed(stage: &Stage) {
    let clients = || {
        let body = stage.sidecar.get("/api/v1/clients").body;
        let all: Value = serde_json::from_str(&body).expect("JSON");
        assert!(!body.contains("-secret") && !body.contains("guessed"));
        all.as_array().cloned().unwrap_or_default()
    };
    let find = |client: &str, what: &str| {
        poll_until(&format!("{client} in the list"), LIMIT, || {
            let mut all = clients().into_iter();
            all.find(|one| one["client"] == client && one[what] != 0)
        })
    };
    let accounting = find("accounting", "first_seen_ms");
    assert_eq!(accounting["principals"], json!(["alice"]));
    assert_eq!(accounting["mechanism"], "SCRAM-SHA-256");
    assert_eq!(accounting["produces"], json!(["payroll"]), "{accounting}");
    assert_eq!(accounting["software"], "apache-kafka-java");
    assert_eq!(accounting["refusals"], json!([]));
    let reporting = find("reporting", "first_seen_ms");
    assert_eq!(reporting["consumes"], json!(["payroll"]), "{reporting}");
    assert_eq!(reporting["groups"], json!(["payroll-group"]));
    let intruder = find("intruder", "first_seen_ms");
    assert_eq!(intruder["principals"], json!(["mallory"]));
    assert_eq!(intruder["produces"], json!([]));
    let refusal = &intruder["refusals"][0];
    assert_eq!(refusal["api"], "Produce");
    assert_eq!(
        (&refusal["resource"], &refusal["name"]),
        (&json!("topic"), &json!("payroll"))
    );
    assert_eq!(refusal["count"], 3);
    let guesser = find("guesser", "failed_authentications");
    assert_eq!(guesser["principals"], json!([]));
}

/// So does the trail.
#[track_caller]
fn told(trail: &str) {
    let lines = trail
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let all = |action: &str, client: &str| -> Vec<Value> {
        let of = lines
            .iter()
            .filter(|l| l["action"] == action && l["client"] == client);
        of.cloned().collect()
    };
    let count = |lines: &[Value]| {
        lines
            .iter()
            .filter_map(|l| l["count"].as_u64())
            .sum::<u64>()
    };
    let produced = all("produced", "accounting");
    assert_eq!(count(&produced), 7, "{trail}");
    assert!(
        produced
            .iter()
            .all(|l| l["principal"] == "alice" && l["topic"] == "payroll")
    );
    assert_eq!(count(&all("consumed", "reporting")), 7, "{trail}");
    assert!(
        all("used_group", "reporting")
            .iter()
            .all(|l| l["group"] == "payroll-group")
    );
    let refused = all("refused", "intruder");
    assert_eq!(count(&refused), 3, "{trail}");
    assert!(
        refused
            .iter()
            .all(|l| l["principal"] == "mallory" && l["name"] == "payroll")
    );
    assert_eq!(all("produced", "intruder"), [] as [Value; 0]);
    let failed = all("authentication_failed", "guesser");
    assert!(
        count(&failed) >= 1 && failed.iter().all(|l| l["principal"] == "root"),
        "{trail}"
    );
}

/// Members that come and go all the time: each round is counted, and the counter's growth is the storm.
#[test]
fn a_group_that_rebalances_all_the_time() {
    const GUESTS: usize = 4;
    let stage = Stage::start();
    stage.kafka.create_topic("stormy", 2);
    let steady = stage.begin("consume", "stormy", "--group stormy --member steady");
    let assigned = |member: &Running| {
        let lines = member.lines().into_iter();
        lines.filter(|line| line["type"] == "assigned").count()
    };
    let rounds_of = |member: &Running, wanted: usize| {
        poll_until("an assignment", LIMIT, || {
            (assigned(member) >= wanted).then_some(())
        });
    };
    rounds_of(&steady, 1);
    for guest in 0..GUESTS {
        let before = assigned(&steady);
        let more = format!("--group stormy --member guest-{guest}");
        let guest = stage.begin("consume", "stormy", &more);
        rounds_of(&guest, 1);
        rounds_of(&steady, before + 1);
        guest.leave(LIMIT);
        rounds_of(&steady, before + 2);
    }
    let rounds = assigned(&steady);
    assert!(rounds > 2 * GUESTS, "{rounds} rounds");
    let group = [("group", "stormy")];
    stage.settles_at("throughline_rebalances_total", &group, rounds as f64);
    steady.leave(LIMIT);
    stage.sidecar.terminate();
}

/// Quotas of a producer and of a consumer.
#[test]
fn clients_that_a_quota_slows_down() {
    let stage = Stage::start();
    stage.kafka.create_topic("quota", 1);
    let throttled = |direction: &'static str| {
        let labels = [("direction", direction)];
        stage.figure("throughline_throttled_seconds_total", &labels)
    };
    let writing = "--count 400 --first 1 --partitions 1 --value-bytes 1000";
    let free = format!("{writing} --client-id modest");
    stage.run("produce", "quota", &free);
    assert_eq!(throttled("client_to_broker"), Some(0.0));
    assert_eq!(throttled("broker_to_client"), Some(0.0));
    for (client, quota) in [
        ("greedy-writer", "producer_byte_rate"),
        ("greedy-reader", "consumer_byte_rate"),
    ] {
        stage.kafka.admin(&format!(
            "alter-quota --client-id {client} --quota {quota} --value 20000"
        ));
    }
    // Small batches, so that answers come that can say it.
    let slowed = format!("{writing} --client-id greedy-writer {ALONE}");
    let started = tokio::time::Instant::now();
    stage.run("produce", "quota", &slowed);
    let took = started.elapsed().as_secs_f64();
    let seconds = poll_until("the producer's throttling", LIMIT, || {
        throttled("client_to_broker").filter(|seconds| *seconds > 0.0)
    });
    // One client, one connection: it cannot have been held back for longer than it ran.
    assert!(seconds <= took, "{seconds} s throttled in {took} s");
    let reading = "--group quota --until 800 --client-id greedy-reader \
                   --property max.partition.fetch.bytes=50000";
    let reader = stage.begin("consume", "quota", reading);
    poll_until("the consumer's throttling", LIMIT, || {
        throttled("broker_to_client").filter(|seconds| *seconds > 0.0)
    });
    reader.kill();
    stage.sidecar.terminate();
}

/// A replica that had fallen behind becomes leader: what the group had read beyond it is gone.
#[test]
fn records_that_an_unclean_election_cut_off() {
    const KEPT: usize = 100;
    const CUT: usize = 50;
    let mut kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
    kafka.admin(
        "create-topic --topic cut --partitions 1 --replication 2 --config min.insync.replicas=1 \
         --config unclean.leader.election.enable=true",
    );
    let described = kafka.admin("describe-topic --topic cut").remove(0);
    let node = |value: &Value| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.expect("a node")
    };
    let leader = node(&described["leader"]);
    let replicas = described["replicas"].as_array().expect("two replicas");
    let follower = replicas.iter().map(node).find(|id| *id != leader);
    let follower = follower.expect("two replicas");
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode("observe");
    let sidecar = Throughline::start(spec);
    let bootstrap = sidecar.bootstrap();
    let begin = |line: &str| {
        let line = format!("{line} --bootstrap {bootstrap} --topic cut");
        Client::Java.start(&line.split_whitespace().collect::<Vec<_>>())
    };
    let write = |first: usize, count: usize| {
        let more = format!("produce --partitions 1 --first {first} --count {count}");
        let output = begin(&more).finish(LIMIT);
        assert_eq!(output.of_type("ack").count(), count, "{:?}", output.lines);
    };
    let consumer = begin("consume --group cut");
    let has_read = |count: usize| {
        consumer.wait_for("the records so far", LIMIT, |lines| {
            let records = lines.iter().filter(|line| line["type"] == "record").count();
            (records >= count).then_some(())
        });
    };
    write(0, KEPT);
    has_read(KEPT);
    kafka.stop(follower);
    write(KEPT, CUT);
    has_read(KEPT + CUT);
    kafka.kill(leader);
    kafka.restart(follower);
    let labels = |reason: &'static str| [("topic", "cut"), ("group", "cut"), ("reason", reason)];
    let truncated = labels("truncated");
    let figure = || sidecar.metrics().sum(LOST, &truncated);
    poll_until("the truncation is counted", LIMIT, || {
        (figure() > 0.0).then_some(())
    });
    // What is written now takes the numbers of what is gone.
    write(KEPT, 10);
    has_read(KEPT + CUT + 10);
    let metrics = sidecar.metrics();
    assert_eq!(metrics.sum(LOST, &truncated), CUT as f64);
    assert_eq!(metrics.sum(LOST, &labels("retention")), 0.0);
    assert_eq!(metrics.sum(LOST, &labels("out_of_range")), 0.0);
    consumer.leave(LIMIT);
    sidecar.terminate();
}
