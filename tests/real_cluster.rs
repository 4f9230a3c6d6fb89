//! Clusters that change under their clients, and requests at the edge of what is allowed, through the sidecar.
//!
//! Why: leaders move, brokers and sidecars die, and then a proxy loses or doubles records, leaves clients hanging or sends them
//! past itself. What was written is read by a consumer that goes round the sidecar; who dialled whom is read from the kernel.
//! This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use support::clients::{Client, Output, Record, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::same::assert_same;
use support::throughline::{Throughline, ThroughlineSpec};
use support::{ports, sockets};
use tokio::time::Instant;

/// What clients may need to get over a death.
const LIMIT: Duration = Duration::from_secs(120);
/// A broker that is dead is refused by its own host at once; a client must see that as quickly.
const DEAD_LIMIT: Duration = Duration::from_secs(3);
const ASK_LIMIT: Duration = Duration::from_secs(120);
/// Timestamp of record 0 of every run.
const BASE_TIMESTAMP_MS: i64 = 1_700_000_000_000;

fn sidecar(kafka: &Kafka) -> Throughline {
    Throughline::start(spec(kafka))
}

fn spec(kafka: &Kafka) -> ThroughlineSpec {
    ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode("inject")
}

#[track_caller]
fn assert_clean(what: &str, output: &Output) {
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{what}: {errors:?}");
}

fn by_position(output: &Output) -> BTreeMap<(i64, i64), Record> {
    let records = output.records().into_iter();
    records
        .map(|record| ((record.partition, record.offset), record))
        .collect()
}

/// Reads `count` records of a topic in a new group.
#[track_caller]
fn read(client: Client, bootstrap: &str, topic: &str, count: usize, more: &[&str]) -> Output {
    let group = format!("reads-{topic}-{}", ports::free());
    let count = count.to_string();
    let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    client.run(&[&at[..], &how, more].concat())
}

/// The log holds the numbers `0..count` once each, and each partition's in the order of sending.
#[track_caller]
fn assert_once_and_in_order(what: &str, log: &BTreeMap<(i64, i64), Record>, count: usize) {
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    let mut seen: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (at, record) in log {
        let number = record.timestamp - BASE_TIMESTAMP_MS;
        if let Some(before) = seen.insert(number, *at) {
            panic!("{what}: record {number} stands twice, at {before:?} and {at:?}");
        }
        if let Some(before) = last.insert(at.0, number) {
            assert!(
                before < number,
                "{what}: {number} stands behind {before} at {at:?}"
            );
        }
    }
    let wanted = 0..i64::try_from(count).expect("a small number");
    let lost: Vec<i64> = wanted.filter(|number| !seen.contains_key(number)).collect();
    assert!(
        lost.is_empty(),
        "{what}: {} records are lost: {lost:?}",
        lost.len()
    );
}

/// Numbers of the acknowledged records so far.
fn acknowledged(producer: &Running) -> usize {
    let lines = producer.lines();
    lines.iter().filter(|line| line["type"] == "ack").count()
}

/// Waits for `more` further acknowledgements of each producer, and notes what the producers dialled meanwhile.
#[track_caller]
fn progress(what: &str, producers: &[&Running], more: usize, dialled: &mut BTreeSet<u16>) {
    let before: Vec<usize> = producers.iter().map(|one| acknowledged(one)).collect();
    let done = try_poll_until(LIMIT, || {
        dialled.extend(producers.iter().flat_map(|one| sockets::dialled(one.id())));
        let mut all = producers.iter().zip(&before);
        // On a slow machine a producer may have written everything before the cluster was brought to this point.
        let enough = |before: usize| (before + more).min(WRITTEN);
        all.all(|(one, before)| acknowledged(one) >= enough(*before))
            .then_some(())
    });
    if done.is_none() {
        let tails: Vec<String> = producers.iter().map(|one| one.tail()).collect();
        panic!(
            "{what}: {before:?} records and not {more} more\n{}",
            tails.join("\n")
        );
    }
}

/// Records of each producer while leaders move and brokers die.
const WRITTEN: usize = 9000;

/// Leaders move, a broker is killed and comes back, while two idempotent producers write.
#[test]
fn nothing_is_lost_doubled_or_reordered_when_leaders_move_and_a_broker_dies() {
    let mut kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
    let sidecar = sidecar(&kafka);
    let listening = assert_addresses_are_ours(&sidecar, 3);
    let dead = listener_of(&sidecar, 2);
    let clients = [Client::Java, Client::FranzGo];
    let started = clients.map(|client| slow_producer(client, &kafka, &sidecar));
    let producers: Vec<&Running> = started.iter().collect();
    let mut dialled = BTreeSet::new();
    let mut on = |what, more| progress(what, &producers, more, &mut dialled);
    on("the first records are written", 300);
    for partition in 0..3 {
        // Topics begin on different brokers, so this moves most of these leaders.
        let to = partition % 3 + 1;
        for topic in clients.map(Client::name) {
            let moving = format!("move-leader --topic {topic} --partition {partition} --to {to}");
            let moved = kafka.admin(&moving);
            assert_eq!(moved[0]["leader"], to, "{moving}: {moved:?}");
        }
    }
    on("writing goes on under other leaders", 200);
    kafka.kill(2);
    assert_looks_dead(dead);
    on("writing goes on without a broker", 200);
    kafka.restart(2);
    on("writing goes on with the broker back", 1);
    let outputs = started.map(|one| one.finish(LIMIT));
    for (client, output) in clients.iter().zip(&outputs) {
        assert_clean(client.name(), output);
        assert_eq!(output.done()["acked"], WRITTEN, "{}", client.name());
        holds_everything_once(&kafka, &sidecar, *client);
        counts_each_record_once(&sidecar, client.name(), WRITTEN);
    }
    let strangers: Vec<_> = dialled.difference(&listening).collect();
    assert!(
        strangers.is_empty() && !dialled.is_empty(),
        "clients dialled {strangers:?}, which are not the sidecar's ports {listening:?}"
    );
    sidecar.terminate();
}

fn slow_producer(client: Client, kafka: &Kafka, sidecar: &Throughline) -> Running {
    let topic = client.name();
    kafka.create_topic(topic, 6);
    let (bootstrap, count) = (sidecar.bootstrap(), WRITTEN.to_string());
    let base = ["produce", "--bootstrap", &bootstrap, "--count", &count];
    let how = ["--topic", topic, "--delay-ms", "5", "--idempotent"];
    client.start(&[&base[..], &how].concat())
}

/// The log as a consumer reads it that goes round the sidecar, and the same through it.
#[track_caller]
fn holds_everything_once(kafka: &Kafka, sidecar: &Throughline, client: Client) {
    let topic = client.name();
    let direct = kafka.bootstrap(Listener::Plaintext);
    let log = by_position(&read(client, &direct, topic, WRITTEN, &[]));
    assert_once_and_in_order(topic, &log, WRITTEN);
    let ends = kafka.offsets("nobody", topic);
    let all: i64 = ends.iter().map(|(_, end)| end).sum();
    assert_eq!(
        all, WRITTEN as i64,
        "{topic}: more was written than read: {ends:?}"
    );
    let proxied = by_position(&read(client, &sidecar.bootstrap(), topic, WRITTEN, &[]));
    assert_same(topic, ("direct", &log), ("proxied", &proxied));
}

/// Retries and moved leaders do not change the count.
#[track_caller]
fn counts_each_record_once(sidecar: &Throughline, topic: &str, count: usize) {
    let labels = [("topic", topic)];
    let metrics = sidecar.metrics();
    let produced = metrics.sum("throughline_produced_records_total", &labels);
    assert_eq!(produced, count as f64, "{topic}: produced_records_total");
    let publish = [("topic", topic), ("sli", "publish")];
    let good = metrics.sum("throughline_sli_good_events_total", &publish);
    let events = metrics.sum("throughline_sli_events_total", &publish);
    assert_eq!(
        (good, events),
        (produced, produced),
        "{topic}: publish pair"
    );
}

/// Every address that Java's admin client is told through the sidecar is one the sidecar listens on; gives those ports.
#[track_caller]
fn assert_addresses_are_ours(sidecar: &Throughline, brokers: usize) -> BTreeSet<u16> {
    // A broker is told of by another once that one has heard of it.
    let nodes = poll_until("every broker to be named", LIMIT, || {
        Some(nodes(sidecar)).filter(|nodes| nodes.len() == brokers)
    });
    let listening = sockets::listening(sidecar.id());
    for (id, (host, port)) in &nodes {
        assert_eq!(host, "127.0.0.1", "node {id}");
        assert!(
            listening.contains(port),
            "node {id} is told as port {port}; the sidecar listens on {listening:?}"
        );
    }
    let distinct: BTreeSet<u16> = nodes.values().map(|(_, port)| *port).collect();
    assert_eq!(distinct.len(), brokers, "one listener per node: {nodes:?}");
    listening
}

fn nodes(sidecar: &Throughline) -> BTreeMap<u64, (String, u16)> {
    let mut admin = Client::Java.start(&["admin", "--bootstrap", &sidecar.bootstrap()]);
    let answer = admin.ask("describe-cluster", ASK_LIMIT);
    admin.kill();
    let nodes = answer.iter().filter(|line| line["type"] == "node");
    nodes
        .map(|line| {
            let host = line["host"].as_str().unwrap_or_default().to_owned();
            let port = u16::try_from(line["port"].as_u64().unwrap_or(0)).expect("a port");
            (line["id"].as_u64().unwrap_or(0), (host, port))
        })
        .collect()
}

#[track_caller]
fn listener_of(sidecar: &Throughline, node: u64) -> u16 {
    let nodes = nodes(sidecar);
    nodes
        .get(&node)
        .unwrap_or_else(|| panic!("no node {node} in {nodes:?}"))
        .1
}

/// A connection to the listener of a dead broker is reset, and quickly where this machine holds neither of us up.
#[track_caller]
fn assert_looks_dead(port: u16) {
    let took: Vec<Duration> = (0..5).map(|_| until_reset(port)).collect();
    let quick = took.iter().any(|took| *took < DEAD_LIMIT);
    assert!(quick, "the resets came after {took:?}");
}

#[track_caller]
fn until_reset(port: u16) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the sidecar listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let seen = stream.read(&mut [0; 1]);
    let took = start.elapsed();
    match seen {
        Err(fault) if fault.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the listener of a dead broker gave {other:?} after {took:?}"),
    }
    took
}

/// The sidecar dies under old and new clients and comes back on the same ports.
#[test]
fn clients_recover_from_a_killed_sidecar() {
    const COUNT: usize = 3000;
    let kafka = Kafka::shared();
    // Node 1 is told as base + 1.
    let base = format!("127.0.0.1:{}", ports::free() - 1);
    let spec = spec(&kafka).set("kafka.broker_listen", &base);
    let sidecar = Throughline::start(spec.clone());
    let before = nodes(&sidecar);
    let bootstrap = sidecar.bootstrap();
    let count = COUNT.to_string();
    let clients = [Client::Java391, Client::Java];
    let mut producers = Vec::new();
    let mut consumers = Vec::new();
    for client in clients {
        let topic = format!("recovers-{}", client.name());
        kafka.create_topic(&topic, 6);
        let at = ["--bootstrap", &bootstrap, "--topic", &topic];
        let producing = [
            "produce",
            "--count",
            &count,
            "--delay-ms",
            "3",
            "--idempotent",
        ];
        producers.push(client.start(&[&producing[..], &at].concat()));
        let consuming = ["consume", "--group", &topic, "--session-timeout-ms", "6000"];
        consumers.push(client.start(&[&consuming[..], &at].concat()));
    }
    let seen = |consumer: &Running| {
        let records = consumer
            .lines()
            .into_iter()
            .filter(|line| line["type"] == "record");
        let at = |line: &Value| (line["partition"].as_i64(), line["offset"].as_i64());
        records.map(|line| at(&line)).collect::<BTreeSet<_>>().len()
    };
    poll_until("everyone works", LIMIT, || {
        let written = producers.iter().all(|one| acknowledged(one) > 200);
        let read = consumers.iter().all(|one| seen(one) > 100);
        (written && read).then_some(())
    });
    sidecar.kill9();
    let sidecar = Throughline::start(spec);
    assert_eq!(nodes(&sidecar), before, "the same ports after a restart");
    for (client, producer) in clients.iter().zip(producers) {
        let output = producer.finish(LIMIT);
        assert_clean(client.name(), &output);
        assert_eq!(output.done()["acked"], COUNT, "{}", client.name());
    }
    let direct = kafka.bootstrap(Listener::Plaintext);
    for (client, consumer) in clients.iter().zip(consumers) {
        let topic = format!("recovers-{}", client.name());
        poll_until(&format!("{topic}: the consumer has read on"), LIMIT, || {
            (seen(&consumer) >= COUNT).then_some(())
        });
        // It prints a record before it commits it, and where a session ended in between the record comes again.
        poll_until(&format!("{topic}: everything is committed"), LIMIT, || {
            let positions = kafka.offsets(&topic, &topic);
            let done = positions.iter().all(|(committed, end)| committed == end);
            done.then_some(())
        });
        let read_by_it = by_position(&consumer.leave(LIMIT));
        let log = by_position(&read(Client::Java, &direct, &topic, COUNT, &[]));
        assert_once_and_in_order(&topic, &log, COUNT);
        assert_same(&topic, ("direct", &log), ("proxied", &read_by_it));
        let positions = kafka.offsets(&topic, &topic);
        let behind = positions.iter().filter(|(committed, end)| committed != end);
        assert_eq!(behind.count(), 0, "{topic}: (committed, end) {positions:?}");
    }
    sidecar.terminate();
}

/// One reply that names 2,000 partitions, larger than the sidecar's chunks.
#[test]
fn two_thousand_partitions_in_one_reply() {
    let kafka = Kafka::shared();
    let sidecar = sidecar(&kafka);
    kafka.create_topic("wide", 2000);
    for client in [Client::FranzGo, Client::KafkaJs] {
        let at = ["--bootstrap", &sidecar.bootstrap(), "--topic", "wide"];
        let all = ["produce", "--count", "2000", "--partitions", "2000"];
        let output = client.run(&[&all[..], &at].concat());
        assert_clean(client.name(), &output);
        let acks = output.of_type("ack").map(|ack| ack["partition"].as_i64());
        let partitions: BTreeSet<_> = acks.collect();
        assert_eq!(partitions.len(), 2000, "{}", client.name());
    }
    let bypassed = sidecar
        .metrics()
        .sum("throughline_proxy_bypassed_total", &[]);
    assert_eq!(bypassed, 0.0, "bypassed");
    sidecar.terminate();
}

/// Every codec and every kind of acknowledgement, by the clients that have them all.
#[test]
fn every_codec_and_acknowledgement() {
    const EACH: usize = 200;
    let kafka = Kafka::shared();
    let sidecar = sidecar(&kafka);
    let bootstrap = sidecar.bootstrap();
    let direct = kafka.bootstrap(Listener::Plaintext);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let acks = ["0", "1"];
    let flags: Vec<[&str; 2]> = codecs
        .iter()
        .map(|codec| ["--compression", *codec])
        .chain(acks.iter().map(|acks| ["--acks", *acks]))
        .collect();
    for client in [Client::Java, Client::Librdkafka, Client::FranzGo] {
        let topic = format!("codecs-{}", client.name());
        kafka.create_topic(&topic, 6);
        let each = EACH.to_string();
        for (turn, how) in flags.iter().enumerate() {
            let first = (turn * EACH).to_string();
            let at = ["--bootstrap", &bootstrap, "--topic", &topic];
            let range = ["produce", "--first", &first, "--count", &each];
            let output = client.run(&[&range[..], &at, how].concat());
            let what = format!("{} {how:?}", client.name());
            assert_clean(&what, &output);
            assert_eq!(output.done()["acked"], EACH, "{what}");
        }
        let all = EACH * flags.len();
        let proxied = by_position(&read(client, &bootstrap, &topic, all, &[]));
        let log = by_position(&read(client, &direct, &topic, all, &[]));
        assert_same(&topic, ("direct", &log), ("proxied", &proxied));
        assert_once_and_in_order(&topic, &log, all);
        counts_codecs(&sidecar, &topic, &codecs, all);
    }
    sidecar.terminate();
}

/// Batches by codec, and acks=0 as sent: judged unknown, not good.
#[track_caller]
fn counts_codecs(sidecar: &Throughline, topic: &str, codecs: &[&str], all: usize) {
    let labels = [("topic", topic)];
    poll_until(
        &format!("{topic}: all records are counted"),
        ASK_LIMIT,
        || {
            let produced = sidecar
                .metrics()
                .sum("throughline_produced_records_total", &labels);
            (produced >= all as f64).then_some(())
        },
    );
    let metrics = sidecar.metrics();
    let produced = metrics.sum("throughline_produced_records_total", &labels);
    assert_eq!(produced, all as f64, "{topic}: produced_records_total");
    for codec in codecs {
        let labels = [("topic", topic), ("codec", *codec)];
        let batches = metrics.sum("throughline_produced_batches_total", &labels);
        assert!(batches > 0.0, "{topic}: no batch counted as {codec}");
    }
    let unknown = [("topic", topic), ("sli", "publish"), ("reason", "acks_0")];
    let unjudged = metrics.sum("throughline_sli_unknown_events_total", &unknown);
    assert_eq!(unjudged, 200.0, "{topic}: acks=0 cannot be judged");
}

/// Records of 10 MB in both directions.
#[test]
fn records_of_ten_megabytes() {
    const COUNT: usize = 3;
    let kafka = Kafka::shared();
    let sidecar = sidecar(&kafka);
    let bootstrap = sidecar.bootstrap();
    let direct = kafka.bootstrap(Listener::Plaintext);
    let java = ["--property", "max.request.size=12000000"];
    let librdkafka = ["--property", "message.max.bytes=12000000"];
    for (client, larger) in [(Client::Java, java), (Client::Librdkafka, librdkafka)] {
        let topic = format!("large-{}", client.name());
        kafka.admin(&format!(
            "create-topic --topic {topic} --partitions 2 --replication 1 --config max.message.bytes=12000000"
        ));
        let at = ["--bootstrap", &bootstrap, "--topic", &topic];
        let large = ["--value-bytes", "10485760", "--partitions", "2"];
        // From number 1: number 0 has no value.
        let producing = ["produce", "--first", "1", "--count", "3"];
        let output = client.run(&[&producing[..], &at, &large, &larger].concat());
        assert_clean(&topic, &output);
        assert_eq!(output.done()["acked"], COUNT, "{topic}");
        let digest = |bootstrap: &str| -> BTreeMap<(i64, i64), (usize, Record)> {
            let output = read(client, bootstrap, &topic, COUNT, &[]);
            let sized = |mut record: Record| {
                let value = record.value.take().unwrap_or_default();
                record.key = Some(format!("{:?} {:016x}", record.key, hash(&value)));
                (value.len(), record)
            };
            let all = by_position(&output).into_iter();
            all.map(|(at, record)| (at, sized(record))).collect()
        };
        let (direct, proxied) = (digest(&direct), digest(&bootstrap));
        assert_same(&topic, ("direct", &direct), ("proxied", &proxied));
        assert_eq!(direct.len(), COUNT, "{topic}");
        for (at, (length, _)) in &direct {
            assert!(*length > 10_485_760, "{topic} {at:?}: {length} characters");
        }
    }
    sidecar.terminate();
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// One Java admin client through the sidecar and one that goes round it.
struct Admins {
    proxied: Running,
    direct: Running,
}

impl Admins {
    /// Through the sidecar, and must be accepted.
    #[track_caller]
    fn change(&mut self, command: &str) {
        let answer = self.proxied.ask(command, ASK_LIMIT);
        let refused = answer.iter().find(|line| line["type"] == "error");
        assert!(refused.is_none(), "{command}: {refused:?}");
    }

    /// Both ways, and must be the same.
    #[track_caller]
    fn both(&mut self, question: &str) -> Vec<Value> {
        let told = sorted(self.proxied.ask(question, ASK_LIMIT));
        let wanted = sorted(self.direct.ask(question, ASK_LIMIT));
        assert_eq!(told, wanted, "{question}: proxied and direct");
        assert!(!told.is_empty(), "{question}: nothing was told");
        told
    }

    /// Asks directly until the broker, which changes itself in its own time, says it; then both ways.
    #[track_caller]
    fn both_once(&mut self, question: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        poll_until(question, ASK_LIMIT, || {
            let answer = self.direct.ask(question, ASK_LIMIT);
            answer.first().is_some_and(&holds).then_some(())
        });
        self.both(question)
    }
}

/// Administrative calls change and tell the same, whichever way they come.
#[test]
fn administrative_calls_answer_the_same() {
    let kafka = Kafka::shared();
    let sidecar = sidecar(&kafka);
    let start = |bootstrap: &str| Client::Java.start(&["admin", "--bootstrap", bootstrap]);
    let mut admins = Admins {
        proxied: start(&sidecar.bootstrap()),
        direct: start(&kafka.bootstrap(Listener::Plaintext)),
    };
    admins.change(
        "create-topic --topic administered --partitions 7 --replication 1 --config flush.messages=12345",
    );
    let partitions = admins.both("describe-topic --topic administered");
    assert_eq!(partitions.len(), 7, "{partitions:?}");
    admins.change("alter-configs --topic administered --config max.message.bytes=2000000");
    let configs = admins.both_once("describe-configs --topic administered", |line| {
        line["values"]["max.message.bytes"] == "2000000"
    });
    assert_eq!(configs[0]["values"]["flush.messages"], "12345");
    admins.both("describe-configs --broker 1");
    // Addresses differ; cluster, controller and nodes do not.
    let cluster = |admin: &mut Running| -> Vec<Value> {
        let mut lines = sorted(admin.ask("describe-cluster", ASK_LIMIT));
        lines.iter_mut().for_each(|line| line["port"] = Value::Null);
        lines
    };
    assert_eq!(
        cluster(&mut admins.proxied),
        cluster(&mut admins.direct),
        "describe-cluster"
    );
    groups_are_told_the_same(&mut admins, &sidecar.bootstrap());
    admins.change("delete-topic --topic administered");
    admins.both_once("describe-topic --topic administered", |line| {
        line["type"] == "error"
    });
    // What is refused is refused in the same words.
    admins.both("describe-configs --topic no-such-topic");
    admins.both("create-topic --topic bad/name --partitions 1");
    admins.proxied.kill();
    admins.direct.kill();
    sidecar.terminate();
}

#[track_caller]
fn groups_are_told_the_same(admins: &mut Admins, bootstrap: &str) {
    let at = ["--bootstrap", bootstrap, "--topic", "administered"];
    let keyed = ["--count", "70", "--partitions", "7"];
    Client::Java.run(&[&["produce"], &at[..], &keyed].concat());
    let group = ["--group", "administered-group", "--until", "70"];
    Client::Java.run(&[&["consume"], &at[..], &group].concat());
    let positions = admins.both("offsets --group administered-group --topic administered");
    assert!(
        positions.iter().all(|line| line["committed"] == 10),
        "{positions:?}"
    );
    // Other tests have groups on this broker too, which come and go.
    for admin in [&mut admins.proxied, &mut admins.direct] {
        let groups = admin.ask("list-groups", ASK_LIMIT);
        let mut groups = groups.iter();
        let ours = groups.find(|line| line["group"] == "administered-group");
        let state = ours.and_then(|line| line["state"].as_str());
        assert!(
            state.is_some_and(|state| state.eq_ignore_ascii_case("empty")),
            "list-groups says {ours:?}"
        );
    }
}

fn sorted(mut lines: Vec<Value>) -> Vec<Value> {
    lines.sort_by_key(Value::to_string);
    lines
}
