//! `throughline trace` on a real broker: what programs and sidecars wrote comes back as a tree.
//!
//! Records are written by librdkafka, through sidecars or past them with headers made by hand. `THROUGHLINE_TRACE_RECORDS`
//! sets the size of the long scan (200,000; the README's figure is for 1,000,000 in a release build).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryFuture, FutureProducer, FutureRecord, Producer},
};
use serde_json::Value;
use support::{
    collector::Collector,
    deadline::poll_until,
    kafka::{Kafka, KafkaSpec, Listener, Version},
    throughline::{Throughline, ThroughlineSpec, binary},
};

const LIMIT: Duration = Duration::from_secs(120);

/// One broker for all tests; topics keep them apart.
struct Stage {
    kafka: Kafka,
}

impl Stage {
    fn shared() -> Arc<Self> {
        static STAGE: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut held = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = held.upgrade() {
            return stage;
        }
        let spec = KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::Tls)
            .listener(Listener::SaslPlaintext);
        let kafka = Kafka::start(spec);
        let stage = Arc::new(Self { kafka });
        *held = Arc::downgrade(&stage);
        stage
    }

    fn direct(&self) -> String {
        self.kafka.bootstrap(Listener::Plaintext)
    }

    fn sidecar(&self) -> Throughline {
        Throughline::start(ThroughlineSpec::new(&self.direct()).mode("inject"))
    }

    fn trace(&self, arguments: &[&str]) -> Traced {
        trace(&[&["--bootstrap", &self.direct()], arguments].concat())
    }
}

#[derive(Debug)]
struct Traced {
    status: Option<i32>,
    out: String,
    err: String,
}

fn trace(arguments: &[&str]) -> Traced {
    let output = binary().arg("trace").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Traced {
        status: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

impl Traced {
    #[track_caller]
    fn found(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    fn refused(&self, status: i32, says: &str) {
        assert_eq!((self.status, self.out.as_str()), (Some(status), ""));
        assert!(self.err.contains(says), "{says}: {}", self.err);
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Positions and evidence of the tree's lines, without times.
    fn lines(&self) -> Vec<String> {
        let lines = self.out.lines().skip_while(|line| !line.is_empty()).skip(1);
        lines
            .map(|line| {
                let mut parts = line.split("  ").filter(|part| !part.trim().is_empty());
                let position = parts.next().unwrap();
                let rest: Vec<_> = parts
                    .filter(|part| !part.starts_with("20") && !part.starts_with(['+', '-']))
                    .collect();
                let indent = line.len() - line.trim_start_matches(['│', ' ']).len();
                let dots = ".".repeat(indent.min(9));
                format!(
                    "{dots}{} {}",
                    position.trim_start_matches(['│', ' ']),
                    rest.join(" ")
                )
            })
            .collect()
    }
}

/// A program: what it reads and writes goes by one address.
struct Program {
    bootstrap: String,
    writes: FutureProducer,
}

type Headers<'h> = &'h [(&'h str, &'h [u8])];

impl Program {
    fn at(bootstrap: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        // What is written at once is one batch.
        config.set("linger.ms", "50");
        Self {
            bootstrap: bootstrap.to_owned(),
            writes: config.create().unwrap(),
        }
    }

    /// Writes a record to partition 0 and gives its offset.
    fn write(&self, topic: &str, key: &str, value: &str, headers: Headers<'_>) -> i64 {
        self.write_to(topic, 0, (key, value), headers)
    }

    fn write_to(
        &self,
        topic: &str,
        partition: i32,
        (key, value): (&str, &str),
        headers: Headers<'_>,
    ) -> i64 {
        self.write_all(topic, partition, &[(key, value)], headers)[0]
    }

    /// Writes records at once, and gives their offsets.
    fn write_all(
        &self,
        topic: &str,
        partition: i32,
        records: &[(&str, &str)],
        headers: Headers<'_>,
    ) -> Vec<i64> {
        let empty = OwnedHeaders::new();
        let headers = headers.iter().fold(empty, |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(*value),
            })
        });
        let sent = records.iter().map(|(key, value)| {
            let record = FutureRecord::to(topic)
                .partition(partition)
                .key(*key)
                .payload(*value)
                .headers(headers.clone());
            self.writes.send_result(record).expect("a queue")
        });
        let sent: Vec<_> = sent.collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let offset = |sent: DeliveryFuture| {
            let answer = runtime.block_on(async { tokio::time::timeout(LIMIT, sent).await });
            let delivered = answer.expect("in time").expect("an answer");
            delivered.expect("acknowledged").offset
        };
        sent.into_iter().map(offset).collect()
    }

    /// Reads one record of partition 0 and gives its headers.
    fn read(&self, topic: &str, offset: i64) -> Vec<(String, Vec<u8>)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", topic)
            .set("enable.auto.commit", "false")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Offset(offset))
            .unwrap();
        consumer.assign(&from).unwrap();
        let message = consumer.poll(LIMIT).expect("in time").unwrap().detach();
        assert_eq!((message.topic(), message.offset()), (topic, offset));
        use rdkafka::message::Headers as _;
        let headers = message.headers().expect("headers").iter();
        headers
            .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
            .collect()
    }
}

fn borrowed(headers: &[(String, Vec<u8>)]) -> Vec<(&str, &[u8])> {
    let all = headers.iter();
    all.map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect()
}

fn position(topic: &str, offset: i64) -> String {
    format!("{topic}:0:{offset}")
}

const ORDERS: &str = "chain-orders";
const PAYMENTS: &str = "chain-payments";
const SHIPMENTS: &str = "chain-shipments";
const DEAD: &str = "chain-payments.DLT";
const AUDIT: &str = "chain-audit";

/// Offsets of what one order became.
struct Chain {
    /// The correlation id, which is the trace id.
    id: String,
    order: i64,
    payment: i64,
    shipment: i64,
    again: i64,
    letter: i64,
    noted: i64,
    copied: i64,
}

impl Chain {
    fn run(stage: &Stage) -> Self {
        for topic in [ORDERS, PAYMENTS, SHIPMENTS, DEAD, AUDIT] {
            stage.kafka.create_topic(topic, 2);
        }
        // Each program has a sidecar of its own, and none of them knows of tracing.
        let sidecars = [stage.sidecar(), stage.sidecar(), stage.sidecar()];
        let [shop, till, store] = [0, 1, 2].map(|at: usize| Program::at(&sidecars[at].bootstrap()));
        let order = shop.write(ORDERS, "order-7", "secret-value", &[]);
        let context = till.read(ORDERS, order);
        let keys: Vec<_> = context.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["traceparent", "tracestate", "correlation-id"]);
        let payment = till.write(PAYMENTS, "order-7", "paid", &[]);
        let carried = store.read(PAYMENTS, payment);
        let twice = [("order-7", "packed"), ("order-7", "packed")];
        let packed = store.write_all(SHIPMENTS, 0, &twice, &[]);
        let (shipment, again) = (packed[0], packed[1]);
        // What another program does with a record it cannot use, as Spring does it.
        let direct = Program::at(&stage.direct());
        let mut failed = carried;
        for (key, value) in [
            ("kafka_dlt-original-topic", PAYMENTS.as_bytes()),
            ("kafka_dlt-original-partition", &0i32.to_be_bytes()),
            ("kafka_dlt-original-offset", &payment.to_be_bytes()),
            ("kafka_dlt-exception-fqcn", b"org.acme.CardDeclined"),
            ("kafka_dlt-exception-message", b"secret-value"),
        ] {
            failed.push((key.to_owned(), value.to_vec()));
        }
        let letter = direct.write(DEAD, "order-7", "paid", &borrowed(&failed));
        // A program that knows of correlation ids only, and a copy of all headers.
        let correlation = &context[2].1;
        let noted = direct.write(AUDIT, "n", "noted", &[("X-Correlation-ID", correlation)]);
        let copied = direct.write(AUDIT, "c", "copied", &borrowed(&context));
        Self {
            id: String::from_utf8(correlation.clone()).unwrap(),
            order,
            payment,
            shipment,
            again,
            letter,
            noted,
            copied,
        }
    }

    fn is_people_s_tree(&self, traced: &Traced) {
        assert!(
            traced
                .out
                .starts_with(&format!("trace id        {}\n", self.id))
        );
        let lines = traced.lines();
        let has = |start: &str, end: &str| {
            let found = lines
                .iter()
                .any(|line| line.contains(start) && line.ends_with(end));
            assert!(found, "{start} {end}: {lines:#?}");
        };
        assert_eq!(lines.len(), 7, "{lines:#?}");
        assert_eq!(lines[0], format!("{} root", position(ORDERS, self.order)));
        has(&position(PAYMENTS, self.payment), "key [asked for]");
        has(&position(SHIPMENTS, self.shipment), " key");
        has(
            &position(DEAD, self.letter),
            "dead_letter [dead letter: org.acme.CardDeclined]",
        );
        has(&position(AUDIT, self.noted), "correlation");
        has(&position(AUDIT, self.copied), "copied");
        assert!(!format!("{traced:?}").contains("secret-value"));
    }

    /// `send` asks for the chain with these arguments more.
    fn is_one_trace_in_a_collector(&self, send: &dyn Fn(&[&str]) -> Traced) {
        let nobody = format!("http://127.0.0.1:{}", support::ports::free());
        send(&["--otlp-endpoint", &nobody]).refused(1, "did not take the spans");
        let collector = Collector::start();
        for sent in 1..=2 {
            let out = send(&["--otlp-endpoint", &collector.grpc()]).found().out;
            assert_eq!(out, format!("7 spans sent; trace {}\n", self.id));
            let spans = poll_until("the spans", Duration::from_secs(30), || {
                Some(collector.spans()).filter(|spans| spans.len() >= 7 * sent)
            });
            let ids: BTreeSet<&str> = spans.iter().map(|s| s.span_id.as_str()).collect();
            assert_eq!(ids.len(), 7, "the same spans again: {spans:#?}");
        }
        let spans = collector.spans();
        let of = |topic: &str, offset: i64| {
            let found = spans.iter().find(|span| {
                span.text("messaging.destination.name") == topic
                    && span.text("messaging.kafka.offset") == offset.to_string()
            });
            found.unwrap_or_else(|| panic!("{topic} {offset} in {spans:#?}"))
        };
        let (order, payment) = (of(ORDERS, self.order), of(PAYMENTS, self.payment));
        for (topic, offset, name, parent, evidence) in [
            (ORDERS, self.order, "create", "", "root"),
            (PAYMENTS, self.payment, "create", &order.span_id, "key"),
            (SHIPMENTS, self.shipment, "create", &payment.span_id, "key"),
            (DEAD, self.letter, "send", &payment.span_id, "dead_letter"),
            (AUDIT, self.copied, "send", &order.span_id, "copied"),
            (AUDIT, self.noted, "send", &order.span_id, "correlation"),
        ] {
            let span = of(topic, offset);
            assert_eq!(span.name, format!("{name} {topic}"), "{span:?}");
            // A producer's span is one whose context went with the record.
            let kind = if topic == AUDIT { 3 } else { 4 };
            assert_eq!(
                (span.kind, span.parent.as_str()),
                (kind, parent),
                "{span:?}"
            );
            assert_eq!(span.trace_id, self.id, "{span:?}");
            assert_eq!(span.text("throughline.lineage.evidence"), evidence);
            assert_eq!(span.service, "throughline trace");
        }
        let letter = of(DEAD, self.letter);
        assert_eq!(letter.text("exception.type"), "org.acme.CardDeclined");
        let was = position(PAYMENTS, self.payment);
        assert_eq!(letter.text("throughline.dead_letter.origin"), was);
    }

    fn is_programs_list(&self, json: &Value) {
        assert_eq!(json["trace_id"], self.id.as_str());
        assert_eq!(json["complete"], true);
        let records = json["records"].as_array().unwrap();
        assert_eq!(records.len(), 7, "{json:#}");
        let of = |topic: &str, offset: i64| {
            let found = records
                .iter()
                .find(|r| r["topic"] == topic && r["offset"] == offset);
            found.unwrap_or_else(|| panic!("{topic} {offset} in {json:#}"))
        };
        for (topic, offset, parent, evidence) in [
            (PAYMENTS, self.payment, ORDERS, "key"),
            (SHIPMENTS, self.shipment, PAYMENTS, "key"),
            (DEAD, self.letter, PAYMENTS, "dead_letter"),
            (AUDIT, self.copied, ORDERS, "copied"),
        ] {
            let record = of(topic, offset);
            assert_eq!(record["parent"]["topic"], parent, "{record}");
            assert_eq!(record["evidence"], evidence, "{record}");
            let hop = record["hop_ms"].as_i64().unwrap();
            assert!((0..60_000).contains(&hop), "{record}");
        }
        // A second record of the same key to the same topic may be anybody's; whatever lineage made of it is shown.
        let twin = of(SHIPMENTS, self.again);
        assert_eq!(
            twin["duplicate_of"].is_null(),
            twin["parent"]["topic"] != PAYMENTS,
            "{twin}"
        );
    }
}

#[test]
fn a_chain_of_programs_comes_back_as_a_tree() {
    let stage = Stage::shared();
    let chain = Chain::run(&stage);
    let at = position(PAYMENTS, chain.payment);
    let topics = ["--topics", "^chain-"];
    let asked = |arguments: &[&str]| stage.trace(&[arguments, &topics].concat()).found();
    let by_position = asked(&[&at]);
    eprintln!("{}{}", by_position.out, by_position.err);
    chain.is_people_s_tree(&by_position);
    chain.is_programs_list(&asked(&["--trace-id", &chain.id, "--format", "json"]).json());
    let flow = asked(&["--correlation-id", &chain.id, "--format", "mermaid"]);
    assert!(flow.out.starts_with("flowchart TD\n"));
    assert_eq!(flow.out.matches("[\"chain-").count(), 7);

    chain.is_one_trace_in_a_collector(&|arguments| {
        stage.trace(&[&[at.as_str(), "--format", "otlp"], arguments, &topics].concat())
    });

    // The same over mutual TLS.
    let certificates = stage.kafka.certificates.as_ref().unwrap();
    let tls = [
        format!("kafka.tls.ca_file={}", certificates.ca.display()),
        format!("kafka.tls.cert_file={}", certificates.client_cert.display()),
        format!("kafka.tls.key_file={}", certificates.client_key.display()),
    ];
    let bootstrap = stage.kafka.bootstrap(Listener::Tls);
    let mut arguments = vec!["--bootstrap", &bootstrap, &at, "--topics", "^chain-"];
    for setting in &tls {
        arguments.extend(["--set", setting]);
    }
    let over_tls = trace(&arguments).found();
    assert_eq!(over_tls.out, by_position.out);
    trace(&arguments[..5]).refused(1, "set kafka.tls");
}

/// The oldest broker with headers offers the oldest versions of what is asked.
#[test]
fn the_oldest_broker_with_headers_is_read_too() {
    let kafka = Kafka::single(Version::V0_11_0_3);
    kafka.create_topic("orders", 3);
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let program = Program::at(&bootstrap);
    program.write("orders", "k", "v", &[("correlation-id", b"order-7")]);
    let traced = trace(&["--bootstrap", &bootstrap, "--correlation-id", "order-7"]).found();
    assert_eq!(traced.lines(), ["orders:0:0 root"]);
    let traced = trace(&["--bootstrap", &bootstrap, "orders:0:0"]).found();
    assert_eq!(traced.lines(), ["orders:0:0 root [asked for]"]);
}

#[test]
fn the_leaders_of_a_cluster_are_read_at_once_and_a_dead_one_is_replaced() {
    const PARTITIONS: i32 = 6;
    let mut kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
    kafka.create_topic("spread", 6);
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let program = Program::at(&bootstrap);
    for partition in 0..PARTITIONS {
        let headers: Headers<'_> = &[("correlation-id", b"order-7")];
        program.write_to("spread", partition, ("k", "v"), headers);
    }
    let asked = ["--correlation-id", "order-7", "--format", "json"];
    let asked = [&["--bootstrap", &bootstrap], &asked[..]].concat();
    let count = |json: &Value| json["records"].as_array().unwrap().len();
    let all = trace(&asked).found().json();
    assert_eq!((count(&all), &all["complete"]), (6, &Value::Bool(true)));
    kafka.kill(1);
    // The controller takes a while to see that it is gone.
    poll_until("every partition has another leader", LIMIT, || {
        let traced = trace(&asked).found().json();
        let complete = traced["complete"] == true;
        assert!(complete || !traced["unread"].as_array().unwrap().is_empty());
        (complete && count(&traced) == 6).then_some(())
    });
}

#[test]
fn records_of_another_tracer_and_of_connect_are_followed_too() {
    let stage = Stage::shared();
    for topic in ["other-a", "other-b", "other-c.dlq"] {
        stage.kafka.create_topic(topic, 1);
    }
    let program = Program::at(&stage.direct());
    let traceparent = |span: u8| format!("00-{}-00000000000000{span:02x}-01", "5a".repeat(16));
    let first = program.write(
        "other-a",
        "k",
        "1",
        &[("traceparent", traceparent(1).as_bytes())],
    );
    program.write(
        "other-b",
        "k",
        "2",
        &[("traceparent", traceparent(2).as_bytes())],
    );
    let offset = first.to_string();
    program.write(
        "other-c.dlq",
        "k",
        "1",
        &[
            ("traceparent", traceparent(3).as_bytes()),
            ("__connect.errors.topic", b"other-a"),
            ("__connect.errors.partition", b"0"),
            ("__connect.errors.offset", offset.as_bytes()),
            ("__connect.errors.exception.class.name", b"org.acme.E"),
        ],
    );
    // The id in a value is not the id in a header.
    program.write("other-b", "k", &"5a".repeat(16), &[]);
    let traced = stage
        .trace(&["--trace-id", &"5A".repeat(16), "--topics", "^other-"])
        .found();
    let lines = traced.lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(lines[0], "other-a:0:0 root");
    assert!(
        lines[2].ends_with("other-c.dlq:0:0 dead_letter [dead letter: org.acme.E]"),
        "{lines:#?}"
    );
    assert!(lines[1].ends_with("other-b:0:0 trace"), "{lines:#?}");
}

#[test]
fn a_record_without_context_is_followed_where_a_sidecar_saw_it_consumed() {
    let stage = Stage::shared();
    for topic in ["plain-orders", "plain-payments"] {
        stage.kafka.create_topic(topic, 1);
    }
    let order = Program::at(&stage.direct()).write("plain-orders", "k", "v", &[("seq", b"1")]);
    let sidecar = stage.sidecar();
    let till = Program::at(&sidecar.bootstrap());
    till.read("plain-orders", order);
    till.write("plain-payments", "k", "v", &[]);
    let traced = stage
        .trace(&["plain-orders:0:0", "--topics", "^plain-"])
        .found();
    let lines = traced.lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(
        lines[0],
        "plain-orders:0:0 root [context derived] [asked for]"
    );
    assert!(lines[1].ends_with("plain-payments:0:0 key"), "{lines:#?}");
    // The other way round the parent has nothing to be found by.
    let traced = stage
        .trace(&["plain-payments:0:0", "--topics", "^plain-"])
        .found();
    assert_eq!(
        traced.lines(),
        ["plain-payments:0:0 key [parent not found] [asked for]"]
    );
}

#[test]
fn what_is_not_there_is_said() {
    let stage = Stage::shared();
    stage.kafka.create_topic("bare", 2);
    let program = Program::at(&stage.direct());
    program.write("bare", "k", "v", &[("seq", b"1")]);
    program.write("bare", "k", "v", &[("b3", b"1-2-3-4")]);
    let trace = |arguments: &[&str]| stage.trace(arguments);
    trace(&["bare:0:0"]).refused(1, "context.mode: inject");
    trace(&["bare:0:1"]).refused(1, "b3");
    trace(&["bare:0:99"]).refused(1, "it holds 0 to 1");
    trace(&["bare:1:0"]).refused(1, "bare:1 is empty");
    trace(&["bare:7:0"]).refused(1, "no partition 7; it has 2");
    trace(&["nowhere:0:0"]).refused(1, "topic nowhere is not there");
    let id = "ab".repeat(16);
    trace(&["--trace-id", &id, "--topics", "^bare$"]).refused(1, "nothing found in the last 1 h");
    trace(&["--trace-id", &id, "--topics", "^none$"]).refused(1, "no topic matches");
    trace(&["--trace-id", "x"]).refused(2, "32 hexadecimal digits");
    let otlp = ["bare:0:0", "--format", "otlp"];
    trace(&otlp).refused(2, "--otlp-endpoint URL");
    let nobody = support::ports::free();
    let nobody = format!("127.0.0.1:{nobody}");
    self::trace(&["--bootstrap", &nobody, "bare:0:0"]).refused(1, "connection refused");
    self::trace(&["bare:0:0"]).refused(2, "bootstrap");
    let sasl = stage.kafka.bootstrap(Listener::SaslPlaintext);
    self::trace(&["--bootstrap", &sasl, "bare:0:0"]).refused(1, "if it wants SASL");
}

#[test]
fn a_long_topic_is_scanned_quickly() {
    let count: usize = std::env::var("THROUGHLINE_TRACE_RECORDS")
        .map_or(200_000, |count| count.parse().expect("a number"));
    for codec in ["none", "lz4"] {
        scan(count, codec);
    }
}

fn scan(count: usize, codec: &str) {
    let stage = Stage::shared();
    let topic = format!("long-{codec}");
    stage.kafka.create_topic(&topic, 1);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", stage.direct())
        .set("queue.buffering.max.messages", "200000")
        .set("linger.ms", "20")
        .set("batch.size", "131072")
        .set("compression.codec", codec)
        .create()
        .unwrap();
    let wanted = count / 2;
    let value = "x".repeat(100);
    let mut root = String::new();
    for i in 0..count {
        // Records as injection leaves them, one trace each; one of them has a child at the end.
        let spread = (i as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let id = format!("{spread:032x}");
        let id = if i == count - 1 { root.clone() } else { id };
        if i == wanted {
            root.clone_from(&id);
        }
        let parent = format!("00-{id}-{:016x}-00", i + 1);
        let state = format!("tl=IAGMyP8AAAAAAAAAAAAA{:06x}", i + 1);
        let headers = OwnedHeaders::new()
            .insert(Header {
                key: "traceparent",
                value: Some(&parent),
            })
            .insert(Header {
                key: "tracestate",
                value: Some(&state),
            })
            .insert(Header {
                key: "correlation-id",
                value: Some(&id),
            });
        let mut record = BaseRecord::<str, str>::to(&topic)
            .payload(&value)
            .headers(headers);
        while let Err((full, back)) = producer.send(record) {
            assert!(full.to_string().contains("Queue full"), "{full}");
            producer.poll(Duration::from_millis(10));
            record = back;
        }
    }
    producer.flush(LIMIT).unwrap();
    let at = format!("{topic}:0:{wanted}");
    let began = tokio::time::Instant::now();
    let traced = stage
        .trace(&[&at, "--topics", &format!("^{topic}$")])
        .found();
    let took = began.elapsed();
    let said = traced.err.lines().last().unwrap();
    eprintln!("{codec}: {said}; the command took {took:?}");
    assert!(
        said.starts_with(&format!("{count} records scanned in ")),
        "{said}"
    );
    assert_eq!(traced.lines().len(), 2, "{}", traced.out);
    let missing = stage.trace(&[
        "--trace-id",
        &"cd".repeat(16),
        "--topics",
        &format!("^{topic}$"),
    ]);
    eprintln!("{codec}: {}", missing.err.lines().next().unwrap());
    missing.refused(1, "nothing found");
}
