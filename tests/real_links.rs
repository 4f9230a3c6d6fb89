//! Traces that are linked, not one: in observe mode, where not a byte is written and yet the sidecars of a record's producer
//! and of its consumer derive the same ids; and by transactions, whose inputs are known when their records have gone.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    time::Duration,
};

use support::{
    clients::{self, Client, Record},
    collector::Span,
    deadline::poll_until,
    kafka::Listener,
    stage,
    throughline::{Throughline, ThroughlineSpec},
};
use throughline::propagation::derive;

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: usize = 60;

/// Topic, partition, offset.
type Position = (String, i32, i64);

struct Stage(stage::Stage);

impl Deref for Stage {
    type Target = stage::Stage;

    fn deref(&self) -> &stage::Stage {
        &self.0
    }
}

impl Stage {
    fn start() -> Self {
        Self(stage::Stage::start())
    }

    fn sidecar(&self, mode: &str, service: &str) -> Throughline {
        let spec = ThroughlineSpec::new(&self.kafka.bootstrap(Listener::Plaintext)).mode(mode);
        let collector = self.collector.grpc();
        Throughline::start(stage::traced(spec, service, &collector, "grpc"))
    }

    /// One run of a client from the start of a topic to its end; its records.
    fn read(&self, bootstrap: &str, client: Client, topic: &str, group: &str) -> Vec<Record> {
        let count = COUNT.to_string();
        let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
        let how = ["--group", group, "--until", &count];
        let records = client.run(&[&at[..], &how].concat()).records();
        assert_eq!(records.len(), COUNT);
        records
    }

    /// What stands in the log, read past every sidecar.
    fn log(&self, topic: &str) -> BTreeMap<Position, Record> {
        let direct = self.kafka.bootstrap(Listener::Plaintext);
        let records = self.read(&direct, Client::Librdkafka, topic, &format!("{topic}-log"));
        let at = |r: &Record| (topic.to_owned(), r.partition as i32, r.offset);
        records.into_iter().map(|r| (at(&r), r)).collect()
    }

    /// The spans of one operation on a topic, once there is one for each record.
    fn spans(&self, topic: &str, operation: &str) -> Vec<Span> {
        let what = format!("{COUNT} spans `{operation} {topic}`");
        poll_until(&what, LIMIT, || {
            let mut spans = self.named(topic, operation);
            (spans.len() >= COUNT).then(|| {
                spans.sort_by_key(position);
                spans
            })
        })
    }

    fn named(&self, topic: &str, operation: &str) -> Vec<Span> {
        let name = format!("{operation} {topic}");
        let mut spans = self.collector.spans();
        spans.retain(|span| span.name == name);
        spans
    }

    /// All records that the spans of one operation link to, as (trace id, span id).
    fn linked(&self, topic: &str, operation: &str) -> BTreeSet<(String, String)> {
        let spans = self.named(topic, operation);
        spans.into_iter().flat_map(|span| span.links).collect()
    }
}

fn pipe(sidecar: &Throughline, shape: &str, rest: &[&str], client: Client) {
    let bootstrap = sidecar.bootstrap();
    let at = ["pipe", "--bootstrap", &bootstrap, "--shape", shape];
    client.run(&[&at[..], rest].concat());
}

fn position(span: &Span) -> Position {
    (
        span.text("messaging.destination.name"),
        span.text("messaging.destination.partition.id")
            .parse()
            .expect("a partition"),
        span.text("messaging.kafka.offset")
            .parse()
            .expect("an offset"),
    )
}

/// The ids that follow from where a record stands.
fn ids(span: &Span) -> (String, String) {
    let (topic, partition, offset) = position(span);
    let cluster = span.text("messaging.kafka.cluster.id");
    let (trace, span) = derive(&cluster, &topic, partition, offset).expect("a position");
    (trace.to_string(), span.to_string())
}

fn own(span: &Span) -> (String, String) {
    (span.trace_id.clone(), span.span_id.clone())
}

/// Every record has a create span of the id that follows from its position, and one process span under it. Gives the log.
fn assert_both_ends_agree(stage: &Stage, topic: &str) -> BTreeMap<Position, Record> {
    let log = stage.log(topic);
    assert!(
        log.values()
            .all(|r| r.headers.iter().all(|(name, _)| name != "traceparent")),
        "observe mode wrote something"
    );
    let created = stage.spans(topic, "create");
    let at: BTreeSet<Position> = created.iter().map(position).collect();
    assert_eq!(at, log.keys().cloned().collect(), "one for each record");
    assert_eq!(created.len(), COUNT);
    let processed = stage.spans(topic, "process");
    assert_eq!(processed.len(), COUNT);
    for (create, process) in created.iter().zip(&processed) {
        assert_eq!(own(create), ids(create), "{create:?}");
        assert_eq!(create.parent, "", "{create:?}");
        assert_eq!(position(process), position(create));
        assert_eq!(process.trace_id, create.trace_id, "{process:?}");
        assert_eq!(process.parent, create.span_id, "{process:?}");
        assert_eq!(process.text("throughline.context"), "derived");
        assert_eq!(create.text("throughline.context"), "derived");
    }
    let all: BTreeSet<_> = created.iter().map(own).collect();
    for operation in ["send", "fetch"] {
        poll_until("every record is linked", LIMIT, || {
            (stage.linked(topic, operation) == all).then_some(())
        });
    }
    log
}

/// sarama sends Produce 7, with topic names and no flexible fields; Java 4.4 fetches by topic id.
#[test]
fn both_ends_derive_the_same_ids_whatever_versions_they_speak() {
    let stage = Stage::start();
    let topic = "observed";
    let (writer, reader) = (
        stage.sidecar("observe", "writer"),
        stage.sidecar("observe", "reader"),
    );
    let count = COUNT.to_string();
    for compression in ["none", "lz4"] {
        let topic = format!("{topic}-{compression}");
        stage.kafka.create_topic(&topic, 6);
        let at = ["produce", "--bootstrap", &writer.bootstrap()];
        let what = ["--topic", &topic, "--count", &count, "--now"];
        let how = ["--compression", compression];
        Client::Sarama.run(&[&at[..], &what, &how].concat());
        stage.read(&reader.bootstrap(), Client::Java, &topic, "readers");
        assert_both_ends_agree(&stage, &topic);
    }
    writer.terminate();
    reader.terminate();
}

#[test]
fn the_hops_of_an_event_are_traces_linked_to_each_other() {
    let stage = Stage::start();
    stage.kafka.create_topic("raw", 6);
    stage.kafka.create_topic("made", 6);
    let sidecars = ["source", "middle", "reader"].map(|service| stage.sidecar("observe", service));
    let [source, middle, reader] = &sidecars;
    let count = COUNT.to_string();
    let first = ["--member", "raw", "--into", "raw", "--count", &count];
    pipe(source, "source", &first, Client::FranzGo);
    let next = ["--topic", "raw", "--group", "made", "--member", "made"];
    let until = ["--into", "made", "--until", &count];
    pipe(
        middle,
        "one-to-one",
        &[&next[..], &until].concat(),
        Client::Java,
    );
    stage.read(&reader.bootstrap(), Client::Java, "made", "readers");
    let raw = assert_both_ends_agree(&stage, "raw");
    let made = assert_both_ends_agree(&stage, "made");
    let parents: BTreeMap<(String, String), Position> = stage
        .spans("raw", "create")
        .iter()
        .map(|span| (own(span), position(span)))
        .collect();
    for create in stage.spans("made", "create") {
        assert_eq!(create.links.len(), 1, "{create:?}");
        let parent = &raw[&parents[&create.links[0]]];
        let record = &made[&position(&create)];
        assert_eq!(record.key, parent.key, "each key is unique");
        assert_eq!(create.text("throughline.lineage.evidence"), "key");
    }
    for sidecar in sidecars {
        sidecar.terminate();
    }
}

/// What the value of a record says about it.
#[derive(serde::Deserialize)]
struct Truth {
    id: String,
    parents: Vec<String>,
    transaction: Option<String>,
}

fn truth(record: &Record) -> Truth {
    let json = clients::bytes(record.value.as_ref().expect("a value"));
    serde_json::from_slice(&json).expect("what a pipeline writes")
}

#[test]
fn what_is_joined_is_linked_to_all_that_it_may_come_from() {
    let stage = Stage::start();
    let count = COUNT.to_string();
    for topic in ["raw", "kept", "keyed", "joined"] {
        stage.kafka.create_topic(topic, 6);
    }
    let run = |service: &str, shape: &str, rest: &[&str], client: Client| {
        let spec = ThroughlineSpec::new(&stage.kafka.bootstrap(Listener::Plaintext))
            .mode("inject")
            .set("lineage.business_ids", "[{json: /order}]");
        let collector = stage.collector.grpc();
        let sidecar = Throughline::start(stage::traced(spec, service, &collector, "grpc"));
        pipe(&sidecar, shape, rest, client);
        sidecar.terminate();
    };
    let first = ["--member", "raw", "--into", "raw", "--count", &count];
    run("source", "source", &first, Client::FranzGo);
    for (shape, made, client) in [
        ("one-to-one", "kept", Client::Java),
        ("rekey", "keyed", Client::Librdkafka),
    ] {
        let from = ["--topic", "raw", "--group", made, "--member", made];
        let into = ["--into", made, "--until", &count];
        run(made, shape, &[&from[..], &into].concat(), client);
    }
    let from = ["--topic", "kept", "--also", "keyed"];
    let who = ["--group", "joins", "--member", "joined"];
    let into = ["--into", "joined", "--until", &count];
    let join = [&from[..], &who, &into].concat();
    run("joined", "fan-in", &join, Client::FranzGo);

    let mut by_id: BTreeMap<String, (String, String)> = BTreeMap::new();
    for topic in ["kept", "keyed"] {
        let log = stage.log(topic);
        for span in stage.spans(topic, "create") {
            by_id.insert(truth(&log[&position(&span)]).id, own(&span));
        }
    }
    let log = stage.log("joined");
    for span in stage.spans("joined", "create") {
        let parents = truth(&log[&position(&span)]).parents;
        let wanted: BTreeSet<_> = parents.iter().map(|id| by_id[id].clone()).collect();
        let linked: BTreeSet<_> = span.links.iter().cloned().collect();
        assert_eq!(linked, wanted, "{span:?}");
        assert_eq!(span.links.len(), 2, "none twice: {span:?}");
    }
}

#[test]
fn every_record_of_a_transaction_is_linked_to_all_that_the_transaction_read() {
    let stage = Stage::start();
    stage.kafka.create_topic("raw", 6);
    let count = COUNT.to_string();
    let source = stage.sidecar("inject", "source");
    let first = ["--member", "raw", "--into", "raw", "--count", &count];
    pipe(&source, "source", &first, Client::FranzGo);
    let ids: BTreeMap<Position, (String, String)> = stage
        .spans("raw", "create")
        .iter()
        .map(|span| (position(span), own(span)))
        .collect();
    let raw = stage.log("raw");
    let by_id: BTreeMap<String, &(String, String)> =
        raw.iter().map(|(at, r)| (truth(r).id, &ids[at])).collect();
    for client in [Client::Java, Client::Librdkafka, Client::FranzGo] {
        let made = format!("made-by-{}", client.name());
        stage.kafka.create_topic(&made, 6);
        let sidecar = stage.sidecar("inject", "middle");
        let next = ["--topic", "raw", "--group", &made, "--member", &made];
        let until = ["--into", &made, "--until", &count];
        pipe(
            &sidecar,
            "transaction",
            &[&next[..], &until].concat(),
            client,
        );
        sidecar.terminate();

        let log = stage.log(&made);
        let mut inputs: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        for record in log.values().map(truth) {
            let of = inputs
                .entry(record.transaction.expect("in one"))
                .or_default();
            of.extend(record.parents.iter().map(|id| by_id[id].clone()));
        }
        let created = stage.spans(&made, "create");
        assert_eq!(created.len(), COUNT);
        for span in created {
            let record = truth(&log[&position(&span)]);
            let linked: BTreeSet<_> = span.links.iter().cloned().collect();
            assert_eq!(linked.len(), span.links.len(), "none twice");
            let wanted = &inputs[&record.transaction.expect("in one")];
            assert_eq!(&linked, wanted, "{client:?}: {span:?}");
        }
    }
    source.terminate();
}
