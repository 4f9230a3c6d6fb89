//! Injection on a real broker where it is hardest: at the broker's limits, and when answers get lost.
//!
//! Six clients through an injecting sidecar are compared in `real_clients`, dying brokers in `real_cluster`.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use support::{
    clients::{Client, Record, Running},
    deadline::poll_until,
    kafka::{Kafka, KafkaSpec, Listener, Version},
    ports,
    relay::{Direction, Relay},
    throughline::{Throughline, ThroughlineSpec},
};

const LIMIT: Duration = Duration::from_secs(120);

fn read(kafka: &Kafka, topic: &str, count: usize) -> Vec<Record> {
    let direct = kafka.bootstrap(Listener::Plaintext);
    let group = format!("{topic}-witness");
    let count = count.to_string();
    let at = ["consume", "--bootstrap", &direct, "--topic", topic];
    let how = ["--group", &group, "--until", &count];
    Client::Java.run(&[&at[..], &how].concat()).records()
}

fn has_context(record: &Record) -> bool {
    record.headers.iter().any(|(key, _)| key == "traceparent")
}

#[test]
fn a_topic_whose_limit_only_the_edited_batch_exceeds_takes_every_record_and_no_client_notices() {
    const COUNT: usize = 40;
    let kafka = Kafka::single(Version::V4_4_0);
    let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode("inject");
    let sidecar = Throughline::start(spec);
    // Each record a batch of its own, about 1,950 bytes with its batch: 2,100 with the headers.
    let (bootstrap, count) = (sidecar.bootstrap(), COUNT.to_string());
    for (client, alone) in [
        (Client::Java, "batch.size=10"),
        (Client::Librdkafka, "batch.num.messages=1"),
    ] {
        let topic = format!("tight-{}", client.name());
        kafka.admin(&format!(
            "create-topic --topic {topic} --partitions 6 --replication 1 --config max.message.bytes=1960"
        ));
        let at = ["produce", "--bootstrap", &bootstrap, "--topic", &topic];
        let how = [
            "--count",
            &count,
            "--value-bytes",
            "1750",
            "--idempotent",
            "--property",
            alone,
        ];
        let output = client.run(&[&at[..], &how].concat());
        let errors: Vec<_> = output.of_type("error").collect();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(output.done()["acked"], COUNT);
        let records = read(&kafka, &topic, COUNT);
        let bare = records.iter().filter(|record| !has_context(record)).count();
        // Some records have no value, and are small enough.
        assert!(bare > COUNT / 2 && bare < COUNT, "{bare} without context");
        let of_topic = [("topic", topic.as_str())];
        poll_until("the refusals are counted", LIMIT, || {
            let metrics = sidecar.metrics();
            let refused = metrics.sum("throughline_injection_refused_total", &of_topic);
            let failed = metrics.sum("throughline_produce_failures_total", &of_topic);
            assert!(failed == 0.0, "the client was told of {failed}");
            (refused >= 1.0).then_some(())
        });
    }
    sidecar.terminate();
}

/// How many pieces a producer sends, with a hold after each.
const PIECES: usize = 8;

/// Every other piece is written by the broker and nobody hears of it; then the connections end.
fn lose_answers(behind: &Relay, producer: &mut Running, piece: usize) {
    for round in 1..=PIECES {
        poll_until("a piece is acknowledged", LIMIT, || {
            (producer.count("ack") >= piece * round).then_some(())
        });
        let lost = round % 2 == 1;
        behind.stall(Direction::BrokerToClient, lost);
        let before = behind.bytes(Direction::ClientToBroker);
        producer.write_line("on");
        if lost {
            poll_until("requests reach the broker", LIMIT, || {
                (behind.bytes(Direction::ClientToBroker) > before + 100).then_some(())
            });
            behind.cut_all();
            behind.stall(Direction::BrokerToClient, false);
        }
    }
}

#[test]
fn answers_that_get_lost_leave_each_record_once_with_its_headers_once() {
    const COUNT: usize = 4_000;
    let told = ports::free();
    let spec = KafkaSpec::new(Version::V4_4_0).advertise(Listener::Relayed, 1, told);
    let kafka = Kafka::start(spec);
    let broker = kafka.address(Listener::Relayed, 1).parse().unwrap();
    let behind = Relay::start(told, broker, false);
    let spec = ThroughlineSpec::new(&behind.address().to_string()).mode("inject");
    let sidecar = Throughline::start(spec);
    let (bootstrap, count) = (sidecar.bootstrap(), COUNT.to_string());
    for client in [Client::Java, Client::Librdkafka, Client::FranzGo] {
        let topic = format!("lossy-{}", client.name());
        kafka.create_topic(&topic, 6);
        let at = ["produce", "--bootstrap", &bootstrap, "--topic", &topic];
        let how = ["--count", &count, "--delay-ms", "1", "--idempotent"];
        // Whatever is held up, each cut finds records that are still to be sent.
        let piece = COUNT / PIECES;
        let hold = ["--hold-every", &piece.to_string()];
        let mut producer = client.start(&[&at[..], &how, &hold].concat());
        lose_answers(&behind, &mut producer, piece);
        let output = producer.finish(LIMIT);
        assert_eq!(output.done()["acked"], COUNT, "{topic}");
        let records = read(&kafka, &topic, COUNT);
        let spans: BTreeSet<Option<String>> = records
            .iter()
            .map(|record| {
                record
                    .headers
                    .iter()
                    .find(|(k, _)| k == "traceparent")
                    .unwrap()
                    .1
                    .clone()
            })
            .collect();
        assert_eq!(
            spans.len(),
            COUNT,
            "{topic}: every record has a span of its own"
        );
        let numbers: BTreeSet<i64> = records.iter().map(|record| record.timestamp).collect();
        assert_eq!(numbers.len(), COUNT, "{topic}: every record is there once");
        let log: i64 = kafka
            .offsets("nobody", &topic)
            .iter()
            .map(|(_, end)| end)
            .sum();
        assert_eq!(log, i64::try_from(COUNT).unwrap(), "{topic}");
        for record in records {
            record.without_context();
        }
    }
    sidecar.terminate();
}
