//! Schemas of values against a real registry: Avro, JSON Schema and Protobuf, evolving compatibly and not, and all that can be wrong.
//!
//! Why: a producer with the wrong schema breaks its consumers long before anybody looks. Records are written by librdkafka, framed as
//! Confluent's serializers do. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use support::deadline::try_poll_until;
use support::kafka::{Kafka, Listener, Version};
use support::registry::Registry;
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
const EVENTS: &str = "throughline_sli_events_total";
const GOOD: &str = "throughline_sli_good_events_total";
const UNKNOWN: &str = "throughline_sli_unknown_events_total";
const FRAMED: &str = "throughline_schema_records_total";
const FAILED: &str = "throughline_schema_failures_total";

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"}]}"#;
const ORDER_2: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"count","type":"int","default":1}]}"#;
/// What wrote the last version cannot be read any more.
const ORDER_X: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},{"name":"price","type":"long"}]}"#;
const EVENT: &str = r#"{"type":"object","required":["id"],"properties":{"id":{"type":"string"}}}"#;
const LINE: &str = "syntax = \"proto3\"; message Line { string id = 1; }";

struct Stage {
    _kafka: Kafka,
    registry: Registry,
    sidecar: Throughline,
    producer: BaseProducer,
}

impl Stage {
    fn start(topics: &[&str]) -> Self {
        let registry = Registry::start();
        let kafka = Kafka::single(Version::V4_4_0);
        for topic in topics {
            kafka.create_topic(topic, 1);
        }
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext));
        let sidecar = Throughline::start(spec.set("schema.registry_url", &registry.url()));
        let producer = ClientConfig::new()
            .set("bootstrap.servers", sidecar.bootstrap())
            .create()
            .expect("a producer");
        Self {
            _kafka: kafka,
            registry,
            sidecar,
            producer,
        }
    }

    /// Writes values; `None` is a tombstone.
    fn write(&self, topic: &str, values: impl IntoIterator<Item = Option<Vec<u8>>>) {
        for value in values {
            let record = BaseRecord::<str, [u8]>::to(topic).key("k");
            let record = match &value {
                Some(value) => record.payload(value),
                None => record,
            };
            self.producer.send(record).expect("room in the queue");
        }
        self.producer.flush(LIMIT).expect("all are acknowledged");
    }

    fn write_keyed(&self, topic: &str, count: usize, key: &[u8], value: Option<&[u8]>) {
        for _ in 0..count {
            let record = BaseRecord::<[u8], [u8]>::to(topic).key(key);
            let record = match value {
                Some(value) => record.payload(value),
                None => record,
            };
            self.producer.send(record).expect("room in the queue");
        }
        self.producer.flush(LIMIT).expect("all are acknowledged");
    }

    fn write_many(&self, topic: &str, count: usize, value: &[u8]) {
        self.write(topic, std::iter::repeat_n(Some(value.to_vec()), count));
    }
}

fn framed(id: i32, message: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), message].concat()
}

fn pair(topic: &str) -> [(&str, &str); 2] {
    [("sli", "schema"), ("topic", topic)]
}

fn framing<'a>(topic: &'a str, framing: &'a str) -> [(&'a str, &'a str); 2] {
    [("topic", topic), ("framing", framing)]
}

fn why<'a>(topic: &'a str, reason: &'a str) -> [(&'a str, &'a str); 2] {
    [("topic", topic), ("reason", reason)]
}

#[test]
fn what_a_registry_does_not_confirm_is_a_failure_by_its_reason() {
    let topics = [
        "orders", "events", "lines", "plain", "glue", "keyed", "numbered",
    ];
    let stage = Stage::start(&topics);
    let registry = &stage.registry;
    let register = |subject: &str, language: &str, text: &str| {
        registry
            .register(subject, language, text)
            .expect("is taken")
    };
    let first = register("orders-value", "AVRO", ORDER);
    registry.demand_backward("orders-value");
    let second = register("orders-value", "AVRO", ORDER_2);
    let refused = registry.register("orders-value", "AVRO", ORDER_X);
    assert_eq!(refused, Err(409), "incompatible");
    let event = register("events-value", "JSON", EVENT);
    let line = register("lines-value", "PROTOBUF", LINE);

    write_orders(&stage, (first, second, event));
    stage.write_many("events", 20, &framed(event, b"{\"id\":\"a\"}"));
    stage.write_many("events", 1, &framed(event, b"{\"id\":1}"));
    stage.write_many("lines", 20, &framed(line, b"\x00\x0a\x01a"));
    stage.write_many("lines", 1, &framed(line, b"\x00\x0a\x09a"));
    // Times in milliseconds, as a serializer of numbers writes them: they begin with a zero, too.
    let numbers =
        (0..40_i64).map(|n| Some((1_700_000_000_000 + n * 1_000_000).to_be_bytes().to_vec()));
    stage.write("plain", numbers);
    stage.write_many("glue", 5, &[&[3, 0][..], &[7; 16], b"m"].concat());

    write_keys(&stage, register("keyed-key", "AVRO", ORDER), event);

    let orders = pair("orders");
    let version = |version| {
        [
            ("topic", "orders"),
            ("subject", "orders-value"),
            ("version", version),
        ]
    };
    let unsupported = [&pair("glue")[..], &[("reason", "unsupported")]].concat();
    stage.sidecar.shows(&[
        (EVENTS, &orders, 51),
        (GOOD, &orders, 41),
        (FAILED, &why("orders", "unknown_id"), 3),
        (FAILED, &why("orders", "wrong_subject"), 2),
        (FAILED, &why("orders", "undecodable"), 4),
        (FAILED, &why("orders", "missing_framing"), 1),
        ("throughline_schema_info", &version("1"), 1),
        ("throughline_schema_info", &version("2"), 1),
        ("throughline_schema_drift", &[("topic", "orders")], 1),
        (EVENTS, &pair("events"), 21),
        (GOOD, &pair("events"), 20),
        (FAILED, &why("events", "undecodable"), 1),
        (EVENTS, &pair("lines"), 21),
        (GOOD, &pair("lines"), 20),
        ("throughline_schema_drift", &[("topic", "lines")], 0),
        (UNKNOWN, &unsupported, 5),
        (EVENTS, &pair("keyed"), 10),
        (GOOD, &pair("keyed"), 4),
        (FAILED, &why("keyed", "unknown_id"), 5),
        (FAILED, &why("keyed", "wrong_subject"), 1),
        ("throughline_schema_info", &[("subject", "keyed-key")], 1),
        ("throughline_schema_drift", &[("topic", "keyed")], 0),
    ]);
    let metrics = stage.sidecar.metrics();
    let plain = metrics
        .select(EVENTS, &[("sli", "schema"), ("topic", "plain")])
        .count();
    assert_eq!(plain, 0, "no schema, no indicator");
    let numbered = metrics.select(EVENTS, &[("sli", "schema"), ("topic", "numbered")]);
    assert_eq!(numbered.count(), 0, "a number is no schema");

    what_is_known_stays_known(stage, first);
}

/// 51 values and a tombstone: good but for the ten in the middle.
fn write_orders(stage: &Stage, (first, second, event): (i32, i32, i32)) {
    stage.write_many("orders", 30, &framed(first, b"\x04ab"));
    stage.write_many("orders", 10, &framed(second, b"\x04ab\x06"));
    stage.write_many("orders", 3, &framed(99_999, b"\x04ab"));
    stage.write_many("orders", 2, &framed(event, b"{\"id\":\"a\"}"));
    stage.write_many("orders", 4, &framed(second, b"\x04ab"));
    stage.write_many("orders", 1, b"{\"id\":\"a\"}");
    stage.write("orders", [None]);
    let header = [&[0][..], &first.to_be_bytes()].concat();
    let header = OwnedHeaders::new().insert(Header {
        key: "__value_schema_id",
        value: Some(&header),
    });
    let record = BaseRecord::<str, [u8]>::to("orders").payload(b"\x04ab");
    let sent = stage.producer.send(record.headers(header));
    sent.expect("room in the queue");
    stage.producer.flush(LIMIT).expect("it is acknowledged");
}

/// Keys that hold and do not, of values without a schema and of tombstones.
fn write_keys(stage: &Stage, key: i32, event: i32) {
    let (key, unknown) = (framed(key, b"\x04ab"), framed(99_999, b"\x04ab"));
    stage.write_keyed("keyed", 20, &key, Some(b"{}"));
    stage.write_keyed("keyed", 4, &key, None);
    stage.write_keyed("keyed", 2, &unknown, None);
    stage.write_keyed("keyed", 3, &unknown, Some(b"{}"));
    stage.write_keyed("keyed", 1, &framed(event, b"{}"), Some(b"{}"));
    // They only look like it.
    let number = 1_700_000_000_000_i64.to_be_bytes();
    stage.write_keyed("numbered", 20, &number, Some(b"{}"));
}

/// And what is not known cannot be told once the registry is gone.
fn what_is_known_stays_known(stage: Stage, first: i32) {
    let orders = pair("orders");
    stage.sidecar.shows(&[
        (FRAMED, &framing("orders", "confluent"), 49),
        (FRAMED, &framing("orders", "confluent_header"), 1),
        (FRAMED, &framing("glue", "glue"), 5),
    ]);
    let Stage {
        _kafka,
        registry,
        sidecar,
        producer,
    } = stage;
    drop(registry);
    let write = |value: &[u8]| {
        let record = BaseRecord::<str, [u8]>::to("orders").payload(value);
        producer.send(record).expect("room in the queue");
        producer.flush(LIMIT).expect("it is acknowledged");
    };
    write(&framed(first, b"\x04ab"));
    write(&framed(77_777, b"\x04ab"));
    let away = [&orders[..], &[("reason", "registry_away")]].concat();
    let told = try_poll_until(LIMIT, || {
        let metrics = sidecar.metrics();
        let both = (metrics.sum(GOOD, &orders), metrics.sum(UNKNOWN, &away));
        (both == (42.0, 1.0)).then_some(())
    });
    assert!(
        told.is_some(),
        "{:?}",
        sidecar
            .metrics()
            .select(UNKNOWN, &orders)
            .collect::<Vec<_>>()
    );
    sidecar.terminate();
}
