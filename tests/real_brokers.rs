//! The broker releases and listeners that tests use, each proved with clients that still speak to it.
//!
//! Why apart from the comparison in `real_clients`: here the brokers differ, not the routes. Direct
//! runs show that the infrastructure works, so that a failure of the proxied run is the sidecar's.
//! This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::clients::{Client, Output};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Mechanism, Version};
use support::throughline::{Throughline, ThroughlineSpec};

const COUNT: usize = 300;
const LIMIT: Duration = Duration::from_secs(120);

/// Direct, or through a sidecar that lives as long as this.
struct Way {
    bootstrap: String,
    sidecar: Option<Throughline>,
}

impl Way {
    fn direct(kafka: &Kafka) -> Self {
        Self {
            bootstrap: kafka.bootstrap(Listener::Plaintext),
            sidecar: None,
        }
    }

    fn proxied(kafka: &Kafka) -> Self {
        let spec = ThroughlineSpec::new(&kafka.bootstrap(Listener::Plaintext)).mode("inject");
        let sidecar = Throughline::start(spec);
        Self {
            bootstrap: sidecar.bootstrap(),
            sidecar: Some(sidecar),
        }
    }

    /// Ends the sidecar, if there is one, after a look at its own count of bytes.
    #[track_caller]
    fn end(self) {
        let Some(sidecar) = self.sidecar else { return };
        let bytes = sidecar.metrics().sum("throughline_proxy_bytes_total", &[]);
        assert!(bytes > 0.0, "nothing went through the sidecar");
        sidecar.terminate();
    }
}

type Choice = fn(&Kafka) -> Way;

/// Writes and reads records; returns what the consumer printed.
#[track_caller]
fn round_trip(client: Client, bootstrap: &str, topic: &str, more: &[&str]) -> Output {
    let count = COUNT.to_string();
    let common = [&["--bootstrap", bootstrap, "--topic", topic], more].concat();
    let produced = client.run(&[&["produce", "--count", &count], &common[..]].concat());
    assert_clean(client, &produced);
    assert_eq!(produced.done()["acked"], COUNT, "{}", client.name());
    let group = format!("group-{topic}");
    let reading = ["consume", "--group", &group, "--until", &count];
    let consumed = client.run(&[&reading, &common[..]].concat());
    assert_clean(client, &consumed);
    assert_eq!(consumed.records().len(), COUNT, "{}", client.name());
    consumed
}

#[track_caller]
fn assert_clean(client: Client, output: &Output) {
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{}: {errors:?}", client.name());
}

/// A broker of an older release, with two clients that still speak to it.
fn older(version: Version, clients: [(Client, &[&str]); 2], choose: Choice) {
    let kafka = Kafka::single(version);
    let way = choose(&kafka);
    for (client, more) in clients {
        kafka.create_topic(client.name(), 6);
        round_trip(client, &way.bootstrap, client.name(), more);
    }
    way.end();
}

fn kafka_3_9_1(choose: Choice) {
    let clients: [(Client, &[&str]); 2] = [(Client::Java, &[]), (Client::KafkaJs, &[])];
    older(Version::V3_9_1, clients, choose);
}

fn kafka_0_11(choose: Choice) {
    let clients: [(Client, &[&str]); 2] = [
        (Client::Java391, &[]),
        (Client::Sarama, &["--broker-version", "0.11.0.0"]),
    ];
    older(Version::V0_11_0_3, clients, choose);
}

fn kafka_0_10(choose: Choice) {
    let clients: [(Client, &[&str]); 2] = [
        (Client::Librdkafka, &["--no-headers"]),
        (Client::FranzGo, &["--no-headers"]),
    ];
    older(Version::V0_10_2_2, clients, choose);
}

/// Aborted transactions stay invisible to a consumer that asks for committed records.
fn transactions(choose: Choice) {
    let kafka = Kafka::single(Version::V4_4_0);
    let way = choose(&kafka);
    for client in Client::ALL {
        let topic = client.name();
        kafka.create_topic(topic, 6);
        let base = ["--bootstrap", &way.bootstrap, "--topic", topic];
        let writing = [
            "--count",
            "600",
            "--transactional-id",
            topic,
            "--abort-every",
            "3",
        ];
        let output = client.run(&[&["produce"], &base[..], &writing[..]].concat());
        assert_clean(client, &output);
        let aborted = output.of_type("transaction");
        let aborted = aborted.filter(|line| line["outcome"] == "aborted").count();
        assert_eq!(aborted, 2, "{topic}");
        let reading = [
            "--isolation",
            "read_committed",
            "--group",
            topic,
            "--until",
            "400",
        ];
        let output = client.run(&[&["consume"], &base[..], &reading[..]].concat());
        assert_clean(client, &output);
        // Transactions 3 and 6, of 100 records each, were aborted.
        let aborted = |i: i64| (200..300).contains(&i) || (500..600).contains(&i);
        let numbers: BTreeSet<i64> = output
            .records()
            .iter()
            .map(|record| record.timestamp - 1_700_000_000_000)
            .collect();
        let wanted: BTreeSet<i64> = (0..600).filter(|&i| !aborted(i)).collect();
        assert_eq!(numbers, wanted, "{topic}");
    }
    way.end();
}

/// Exactly-once transfer, a share group, and the group protocol of KIP-848.
fn newest_groups(choose: Choice) {
    let kafka = Kafka::single(Version::V4_4_0);
    let way = choose(&kafka);
    kafka.create_topic("from", 6);
    kafka.create_topic("into", 6);
    let bootstrap = ["--bootstrap", &way.bootstrap];
    let from = [&bootstrap[..], &["--topic", "from"]].concat();
    let into = [&bootstrap[..], &["--topic", "into"]].concat();
    let run = |client: Client, arguments: &[&[&str]]| {
        let output = client.run(&arguments.concat());
        assert_clean(client, &output);
        output
    };
    run(Client::Java, &[&["produce", "--count", "2000"], &from]);

    let moving = [
        "--into",
        "into",
        "--group",
        "mover",
        "--transactional-id",
        "mover",
    ];
    let more = ["--abort-every", "2", "--until", "2000"];
    run(Client::Java, &[&["transfer"], &from, &moving, &more]);
    let all = [
        "--group",
        "check",
        "--isolation",
        "read_committed",
        "--until",
        "2000",
    ];
    let output = run(Client::Java, &[&["consume"], &into, &all]);
    let origins: BTreeSet<_> = output
        .records()
        .into_iter()
        .filter_map(|record| record.headers.into_iter().last())
        .collect();
    assert_eq!(origins.len(), 2000, "each record was transferred once");

    kafka.admin("alter-configs --group sharers --config share.auto.offset.reset=earliest");
    let sharing = ["--share", "--group", "sharers", "--until", "2000"];
    let output = run(Client::Java, &[&["consume"], &from, &sharing]);
    assert!(output.of_type("acknowledged").next().is_some());

    for client in [Client::Java, Client::Librdkafka, Client::FranzGo] {
        let group = format!("kip-848-{}", client.name());
        let joining = [
            "--group-protocol",
            "consumer",
            "--group",
            &group,
            "--until",
            "2000",
        ];
        let output = run(client, &[&["consume"], &from, &joining]);
        assert_eq!(output.records().len(), 2000, "{}", client.name());
    }
    way.end();
}

/// Three brokers, one of which is killed under a producer and comes back.
fn broker_loss(choose: Choice) {
    let spec = KafkaSpec::new(Version::V4_4_0).brokers(3);
    let mut kafka = Kafka::start(spec);
    kafka.create_topic("orders", 6);
    let way = choose(&kafka);
    let base = ["--bootstrap", &way.bootstrap, "--topic", "orders"];
    let slowly = ["--count", "3000", "--delay-ms", "2", "--idempotent"];
    let producer = Client::Java.start(&[&["produce"], &base[..], &slowly[..]].concat());
    producer.wait_for("the first records are written", LIMIT, |lines| {
        (lines.len() > 500).then_some(())
    });
    kafka.kill(2);
    let output = producer.finish(LIMIT);
    assert_eq!(output.done()["acked"], 3000);
    kafka.restart(2);
    let all = ["--group", "check", "--until", "3000"];
    let output = Client::Librdkafka.run(&[&["consume"], &base[..], &all[..]].concat());
    assert_eq!(output.records().len(), 3000);
    poll_until("the broker that came back is in sync", LIMIT, || {
        let partitions = kafka.admin("describe-topic --topic orders");
        let whole = |line: &serde_json::Value| line["in_sync"].as_array().map(Vec::len) == Some(3);
        partitions.iter().all(whole).then_some(())
    });
    way.end();
}

/// TLS and SASL straight to the broker: proves listeners, certificates and users.
#[test]
fn every_client_logs_in_over_tls_and_sasl() {
    let kafka = Kafka::start(
        KafkaSpec::new(Version::V4_4_0)
            .listener(Listener::Tls)
            .listener(Listener::SaslPlaintext)
            .listener(Listener::SaslTls),
    );
    let certificates = kafka.certificates.as_ref().expect("a listener speaks TLS");
    let ca = certificates.ca.to_string_lossy();
    let cert = certificates.client_cert.to_string_lossy();
    let key = certificates.client_key.to_string_lossy();
    let authority = ["--tls-ca", &*ca];
    let mutual = [&authority[..], &["--tls-cert", &*cert, "--tls-key", &*key]].concat();
    let login = |mechanism: Mechanism| {
        let user = ["--username", "alice", "--password", "alice-secret"];
        [&["--sasl-mechanism", mechanism.name()], &user[..]].concat()
    };
    for client in Client::ALL {
        let ways = [
            (Listener::Tls, mutual.clone()),
            (Listener::SaslPlaintext, login(Mechanism::ScramSha256)),
            (
                Listener::SaslTls,
                [&authority[..], &login(Mechanism::Plain)].concat(),
            ),
        ];
        for (listener, arguments) in ways {
            let topic = format!("{}-{}", client.name(), listener.name());
            kafka.create_topic(&topic, 6);
            // These two verify the host by name, and localhost is what the certificate says too.
            let bootstrap = kafka.bootstrap(listener);
            round_trip(client, &bootstrap, &topic, &arguments);
        }
    }
}

/// An ACL for one user shuts out the others.
#[test]
fn acls_refuse_the_user_they_do_not_name() {
    let spec = KafkaSpec::new(Version::V4_4_0).listener(Listener::SaslPlaintext);
    let kafka = Kafka::start(spec.user("mallory", "mallory-secret").acls());
    kafka.create_topic("orders", 6);
    for operation in ["READ", "WRITE", "DESCRIBE"] {
        kafka.admin(&format!(
            "add-acl --principal User:alice --operation {operation} --resource topic --name orders"
        ));
    }
    let bootstrap = kafka.bootstrap(Listener::SaslPlaintext);
    let login = |name| {
        [
            "--sasl-mechanism",
            "PLAIN",
            "--username",
            name,
            "--password",
        ]
    };
    let alice = [&login("alice")[..], &["alice-secret"]].concat();
    round_trip(Client::Java, &bootstrap, "orders", &alice);
    let mallory = [&login("mallory")[..], &["mallory-secret"]].concat();
    let base = [
        "produce",
        "--bootstrap",
        &bootstrap,
        "--topic",
        "orders",
        "--count",
        "1",
    ];
    let output = Client::Java.run(&[&base[..], &mallory].concat());
    let codes: Vec<_> = output.of_type("error").map(|line| &line["code"]).collect();
    assert_eq!(codes, ["TOPIC_AUTHORIZATION_FAILED"]);
}

macro_rules! both_ways {
    ($($name:ident,)*) => {
        mod direct {
            $(
                #[test]
                fn $name() {
                    super::$name(super::Way::direct);
                }
            )*
        }

        mod proxied {
            $(
                #[test]
                fn $name() {
                    super::$name(super::Way::proxied);
                }
            )*
        }
    };
}

both_ways! {
    kafka_3_9_1,
    kafka_0_11,
    kafka_0_10,
    transactions,
    newest_groups,
    broker_loss,
}
