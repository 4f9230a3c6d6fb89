//! Three hops of programs that know nothing of tracing, each behind a sidecar of its own, and what truly came of each record.
//!
//! Why: both the collector and Jaeger are to show one trace per record from the first produce to the last commit, and the values
//! say which records those are. Must not look at a span.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use super::clients::{Client, Record, Running, decoded};
use super::kafka::{Kafka, Listener};
use super::throughline::Throughline;

const PARTITIONS: u32 = 3;
const RUN_LIMIT: Duration = Duration::from_secs(120);
/// The programs between and behind the topics, as the sidecars name them.
pub(crate) const SERVICES: [&str; 4] = ["orders", "payments", "shipments", "reader"];

/// A record as it lies in a topic.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) topic: String,
    pub(crate) partition: i64,
    pub(crate) offset: i64,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
}

/// Runs the chain until each of `count` records is committed behind the last topic, and gives the three records that each
/// became. The sidecars have ended by then.
#[track_caller]
pub(crate) fn run(
    kafka: &Kafka,
    count: usize,
    sidecar: impl Fn(&str) -> Throughline,
) -> Vec<[Hop; 3]> {
    let topics = ["chain-orders", "chain-payments", "chain-shipments"];
    for topic in topics {
        kafka.create_topic(topic, PARTITIONS);
    }
    let sidecars = SERVICES.map(sidecar);
    let [first, second, third, last] = sidecars.each_ref().map(Throughline::bootstrap);
    let until = count.to_string();
    let pipe = |client: Client, bootstrap: &str, from: &str, into: &str| {
        let at = ["pipe", "--bootstrap", bootstrap, "--shape", "one-to-one"];
        let who = ["--member", into, "--group", into, "--into", into];
        client.start(&[&at[..], &who, &["--topic", from, "--until", &until]].concat())
    };
    let at = ["consume", "--bootstrap", &last, "--topic", topics[2]];
    let how = ["--group", "chain-readers", "--until", &until];
    let reader = Client::FranzGo.start(&[&at[..], &how].concat());
    let between = [
        pipe(Client::Java, &second, topics[0], topics[1]),
        pipe(Client::Librdkafka, &third, topics[1], topics[2]),
    ];
    let at = ["pipe", "--bootstrap", &first, "--shape", "source"];
    let how = ["--member", topics[0], "--into", topics[0], "--count"];
    let source = Client::FranzGo.start(&[&at[..], &how, &[&until]].concat());
    finish(source);
    between.into_iter().for_each(finish);
    finish(reader);
    // What was queued last leaves at the end.
    sidecars.into_iter().for_each(Throughline::terminate);
    truth(kafka, topics, count)
}

#[track_caller]
fn finish(running: Running) {
    let output = running.finish(RUN_LIMIT);
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[track_caller]
fn truth(kafka: &Kafka, topics: [&str; 3], count: usize) -> Vec<[Hop; 3]> {
    let read = |topic| of_topic(kafka, topic, count);
    let [orders, payments, shipments] = topics.map(read);
    let child = |of: &[(Hop, Value)]| -> HashMap<String, (Hop, String)> {
        let all = of.iter().map(|(hop, value)| {
            let parent = value["parents"][0].as_str().expect("one parent");
            (parent.to_owned(), (hop.clone(), id(value)))
        });
        all.collect()
    };
    let (payments, shipments) = (child(&payments), child(&shipments));
    assert_eq!((payments.len(), shipments.len()), (count, count));
    let chain = orders.iter().map(|(order, value)| {
        let (payment, id) = &payments[&id(value)];
        let (shipment, _) = &shipments[id];
        [order.clone(), payment.clone(), shipment.clone()]
    });
    chain.collect()
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

/// Read past the sidecars.
#[track_caller]
fn of_topic(kafka: &Kafka, topic: &str, count: usize) -> Vec<(Hop, Value)> {
    let direct = kafka.bootstrap(Listener::Plaintext);
    let (group, until) = (format!("{topic}-witness"), count.to_string());
    let at = ["consume", "--bootstrap", &direct, "--topic", topic];
    let how = ["--group", &group, "--until", &until];
    let records = Client::Java.run(&[&at[..], &how].concat()).records();
    assert_eq!(records.len(), count, "{topic}");
    let read = |record: &Record| {
        let of_key = |(key, _): &&(String, Option<String>)| key == "traceparent";
        let header = record.headers.iter().find(of_key);
        let text = decoded(header.and_then(|(_, v)| v.as_deref()).expect("a context"));
        let mut parts = text.split('-').skip(1).map(str::to_owned);
        let value = decoded(record.value.as_deref().expect("a value"));
        let hop = Hop {
            topic: topic.to_owned(),
            partition: record.partition,
            offset: record.offset,
            trace_id: parts.next().expect("a trace id"),
            span_id: parts.next().expect("a span id"),
        };
        (hop, serde_json::from_str(&value).expect("its truth"))
    };
    records.iter().map(read).collect()
}
