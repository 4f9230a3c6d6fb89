//! `throughline trace` gives back the trees that sidecars wrote, event by event, every edge.
//!
//! `THROUGHLINE_TREE_EVENTS` sets how many events (40; `make acceptance` asks for 1,000).
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
    time::Duration,
};

use serde_json::Value;
use support::{
    clients::{self, Client, Record},
    kafka::{Kafka, Listener, Version},
    throughline::{Throughline, ThroughlineSpec, binary},
};
use throughline::propagation::{Carried, CorrelationNames, SpanId, TraceId};

/// Records that each event becomes: itself, one made from it, two made from that.
const RECORDS: usize = 4;

/// Topic, partition, offset.
type Position = (String, i64, i64);

/// One record, as its headers have it.
struct Written {
    at: Position,
    trace: TraceId,
    span: SpanId,
    parent: Option<SpanId>,
}

impl Written {
    fn of(topic: &str, record: &Record) -> Self {
        let headers: Vec<(String, Option<Vec<u8>>)> = record
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_deref().map(clients::bytes)))
            .collect();
        let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_deref()));
        let carried = Carried::read(headers, &CorrelationNames::default());
        let context = carried.traceparent.expect("a context").expect("a good one");
        Self {
            at: (topic.to_owned(), record.partition, record.offset),
            trace: context.trace_id,
            span: context.span_id,
            parent: carried.sent().expect("ours").parent,
        }
    }
}

/// Child and parent; a root has none.
type Edges = BTreeSet<(Position, Option<Position>)>;

fn read(bootstrap: &str, topic: &str, count: usize) -> Vec<Written> {
    let count = count.to_string();
    let at = ["consume", "--bootstrap", bootstrap, "--topic", topic];
    let group = format!("{topic}-log");
    let how = ["--group", &group, "--until", &count];
    let output = Client::Librdkafka.run(&[&at[..], &how].concat());
    let records = output.records();
    records.iter().map(|r| Written::of(topic, r)).collect()
}

fn pipe(kafka: &Kafka, client: Client, shape: &[&str], rest: &[&str]) {
    // This build may not be optimized, and the machine is shared.
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext))
        .set("lineage.hold_us_max", "1000000")
        .set("limits.edit_cpu_ms_per_second", "1000");
    let sidecar = Throughline::start(spec);
    let bootstrap = sidecar.bootstrap();
    let at = ["pipe", "--bootstrap", &bootstrap, "--shape"];
    let output = client.run(&[&at[..], shape, rest].concat());
    assert_eq!(output.of_type("error").count(), 0);
    sidecar.terminate();
}

fn place(value: &Value) -> Option<Position> {
    let topic = value["topic"].as_str()?.to_owned();
    Some((
        topic,
        value["partition"].as_i64()?,
        value["offset"].as_i64()?,
    ))
}

/// What the command says of the event at this position.
fn asked(bootstrap: &str, (topic, partition, offset): &Position) -> Edges {
    let output = binary()
        .args(["trace", "--bootstrap", bootstrap, "--format", "json"])
        .args([
            &format!("{topic}:{partition}:{offset}"),
            "--topics",
            "^tree-",
        ])
        .output()
        .expect("the program");
    assert!(output.status.success(), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let records = json["records"].as_array().expect("records");
    records
        .iter()
        .map(|r| (place(r).expect("a position"), place(&r["parent"])))
        .collect()
}

#[test]
fn the_tree_of_every_event_has_all_edges_that_its_sidecars_wrote() {
    let events: usize = std::env::var("THROUGHLINE_TREE_EVENTS")
        .map_or(40, |count| count.parse().expect("a number"));
    let kafka = Kafka::single(Version::V4_4_0);
    let direct = kafka.bootstrap(Listener::Plaintext);
    for topic in ["tree-raw", "tree-made", "tree-sent"] {
        kafka.create_topic(topic, 6);
    }
    let count = events.to_string();
    let first = ["--member", "raw", "--into", "tree-raw", "--count", &count];
    pipe(&kafka, Client::FranzGo, &["source"], &first);
    let made = ["--member", "made", "--group", "made", "--topic", "tree-raw"];
    let into = ["--into", "tree-made", "--until", &count];
    pipe(
        &kafka,
        Client::Java,
        &["one-to-one"],
        &[&made[..], &into].concat(),
    );
    let sent = [
        "--member",
        "sent",
        "--group",
        "sent",
        "--topic",
        "tree-made",
    ];
    let into = ["--into", "tree-sent", "--until", &count];
    let twice = ["fan-out", "--fan", "2"];
    pipe(
        &kafka,
        Client::Librdkafka,
        &twice,
        &[&sent[..], &into].concat(),
    );

    let raw = read(&direct, "tree-raw", events);
    let mut all = read(&direct, "tree-made", events);
    all.extend(read(&direct, "tree-sent", 2 * events));
    let of_span: BTreeMap<SpanId, Position> = raw
        .iter()
        .chain(&all)
        .map(|w| (w.span, w.at.clone()))
        .collect();
    let mut trees: BTreeMap<TraceId, Edges> = BTreeMap::new();
    for written in raw.iter().chain(&all) {
        let parent = written.parent.map(|span| of_span[&span].clone());
        let tree = trees.entry(written.trace).or_default();
        tree.insert((written.at.clone(), parent));
    }
    let whole = raw.iter().filter(|w| trees[&w.trace].len() == RECORDS);
    let whole = whole.count();
    assert!(whole * 100 >= events * 95, "{whole} of {events} are whole");
    let began = tokio::time::Instant::now();
    for event in &raw {
        let found = asked(&direct, &event.at);
        assert_eq!(found, trees[&event.trace], "{:?}", event.at);
    }
    let each: Duration = began.elapsed() / u32::try_from(events).expect("a number");
    eprintln!("{events} events, {whole} of them whole; {each:?} each");
}
