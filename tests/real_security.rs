//! Listeners with TLS and passwords, reached by clients that speak plaintext to the sidecar.
//!
//! Why: real clusters have both, and a sidecar that breaks authentication, or says nothing useful where TLS and plaintext meet,
//! is switched off. Every run is compared with one that goes straight to the broker. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use support::certificates::Certificates;
use support::clients::{Client, Output, Record, Running};
use support::deadline::{poll_until, try_poll_until};
use support::kafka::{Kafka, KafkaSpec, Listener, Mechanism, Version};
use support::same::assert_same;
use support::throughline::{self, Throughline, ThroughlineSpec};

const COUNT: usize = 300;
const LIMIT: Duration = Duration::from_secs(120);
const CLIENTS: [Client; 4] = [
    Client::Java,
    Client::FranzGo,
    Client::Librdkafka,
    Client::KafkaJs,
];

/// One broker with every listener, for all tests of this file that run at the same time.
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
            .listener(Listener::SaslPlaintext)
            .listener(Listener::SaslTls);
        let stage = Arc::new(Self {
            kafka: Kafka::start(spec),
        });
        *held = Arc::downgrade(&stage);
        stage
    }

    fn certificates(&self) -> &Certificates {
        let certificates = self.kafka.certificates.as_ref();
        certificates.expect("a listener speaks TLS")
    }

    /// A sidecar in front of one listener, with the TLS settings that this listener wants.
    fn spec(&self, listener: Listener) -> ThroughlineSpec {
        let mut spec = ThroughlineSpec::new(&self.kafka.bootstrap(listener)).mode("inject");
        if listener.has_tls() {
            spec = spec.set("kafka.tls.ca_file", text(&self.certificates().ca));
        }
        if listener == Listener::Tls {
            let (cert, key) = self.identity();
            spec = spec.set("kafka.tls.cert_file", cert);
            spec = spec.set("kafka.tls.key_file", key);
        }
        spec
    }

    fn identity(&self) -> (&str, &str) {
        let certificates = self.certificates();
        (
            text(&certificates.client_cert),
            text(&certificates.client_key),
        )
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn login(mechanism: Mechanism, password: &str) -> Vec<&str> {
    vec![
        "--sasl-mechanism",
        mechanism.name(),
        "--username",
        "alice",
        "--password",
        password,
    ]
}

/// Every client produces and consumes in a group through the sidecar; a consumer that goes round it reads the same.
fn through(listener: Listener, mechanism: Option<Mechanism>) {
    let stage = Stage::shared();
    let sidecar = Throughline::start(stage.spec(listener));
    let login = mechanism.map_or(Vec::new(), |mechanism| login(mechanism, "alice-secret"));
    let bootstrap = sidecar.bootstrap();
    for client in CLIENTS {
        let how = mechanism.map_or("mtls", Mechanism::name);
        let topic = format!("{}-{}-{how}", client.name(), listener.name());
        stage.kafka.create_topic(&topic, 6);
        let count = COUNT.to_string();
        let base = [
            &["--bootstrap", &bootstrap, "--topic", &topic][..],
            &login[..],
        ]
        .concat();
        let produced = client.run(&[&["produce", "--count", &count], &base[..]].concat());
        assert_clean(&topic, &produced);
        assert_eq!(produced.done()["acked"], COUNT, "{topic}");
        let group = ["consume", "--until", &count, "--group", &topic];
        let consumed = client.run(&[&group[..], &base[..]].concat());
        assert_clean(&topic, &consumed);
        let direct = stage.kafka.bootstrap(Listener::Plaintext);
        let around = ["--bootstrap", &direct, "--topic", &topic];
        // The tests share a broker, and two libraries cannot share a group.
        let group = format!("witness-{topic}");
        let witness = ["consume", "--until", &count, "--group", &group];
        // The same library again: not every one hands out every header.
        let witness = client.run(&[&witness[..], &around[..]].concat());
        let seen = by_position(&consumed);
        assert_eq!(seen.len(), COUNT, "{topic}");
        assert_same(
            &topic,
            ("proxied", &seen),
            ("direct", &by_position(&witness)),
        );
        let delivered = [("topic", topic.as_str()), ("group", topic.as_str())];
        let counted = || {
            let metrics = sidecar.metrics();
            let produced = metrics.sum("throughline_produced_records_total", &delivered[..1]);
            let delivered = metrics.sum("throughline_delivered_records_total", &delivered);
            let all = COUNT as f64;
            (produced.total_cmp(&all).is_eq() && delivered.total_cmp(&all).is_eq()).then_some(())
        };
        poll_until(
            &format!("{topic}: metrics count every record once"),
            LIMIT,
            counted,
        );
    }
    let metrics = sidecar.metrics();
    let refused = metrics.sum("throughline_authentication_failures_total", &[]);
    assert_eq!(refused, 0.0, "authentication failures of good passwords");
    let broken = metrics.sum("throughline_proxy_bypassed_total", &[]);
    assert_eq!(broken, 0.0, "bypassed: {:?}", bypasses(&metrics));
    sidecar.terminate();
}

/// What else a Java client asks for, through the sidecar: every codec and acknowledgement, records of 10 MB, an exactly-once
/// transfer, a KIP-848 group, a share group, administration.
fn every_feature(listener: Listener, mechanism: Option<Mechanism>) {
    let stage = Stage::shared();
    let sidecar = Throughline::start(stage.spec(listener));
    let login = mechanism.map_or(Vec::new(), |mechanism| login(mechanism, "alice-secret"));
    let bootstrap = sidecar.bootstrap();
    let how = mechanism.map_or("mtls", Mechanism::name);
    let features = Features {
        name: format!("{}-{how}", listener.name()),
        at: [&["--bootstrap", &bootstrap][..], &login].concat(),
    };
    let mut admin = Client::Java.start(&[&["admin"], &features.at[..]].concat());
    features.administer(&mut admin);
    let written = features.write();
    features.large();
    features.transfer(written);
    features.share(written);
    features.ask(&mut admin, "list-groups");
    features.ask(
        &mut admin,
        &format!("delete-topic --topic into-{}", features.name),
    );
    admin.kill();
    let metrics = sidecar.metrics();
    let broken = metrics.sum("throughline_proxy_bypassed_total", &[]);
    assert_eq!(broken, 0.0, "bypassed: {:?}", bypasses(&metrics));
    sidecar.terminate();
}

struct Features<'a> {
    name: String,
    at: Vec<&'a str>,
}

impl Features<'_> {
    fn run(&self, command: &str, topic: &str, how: &[&str]) -> Output {
        let topic = format!("{topic}-{}", self.name);
        let all = [&[command, "--topic", &topic], &self.at[..], how].concat();
        let output = Client::Java.run(&all);
        assert_clean(&format!("{topic} {command} {how:?}"), &output);
        output
    }

    fn ask(&self, admin: &mut Running, command: &str) {
        let answer = admin.ask(command, LIMIT);
        let refused = answer.iter().find(|line| line["type"] == "error");
        assert!(refused.is_none(), "{} {command}: {refused:?}", self.name);
    }

    fn administer(&self, admin: &mut Running) {
        let name = &self.name;
        for topic in ["from", "into", "large"] {
            self.ask(
                admin,
                &format!("create-topic --topic {topic}-{name} --partitions 3 --replication 1"),
            );
        }
        for command in [
            format!("describe-topic --topic from-{name}"),
            format!("alter-configs --topic large-{name} --config max.message.bytes=12000000"),
            format!("describe-configs --topic large-{name}"),
            format!("alter-configs --group share-{name} --config share.auto.offset.reset=earliest"),
            "describe-cluster".to_owned(),
        ] {
            self.ask(admin, &command);
        }
    }

    /// Every codec and acknowledgement; the number of records.
    fn write(&self) -> usize {
        const EACH: usize = 100;
        let codecs =
            ["none", "gzip", "snappy", "lz4", "zstd"].map(|codec| ["--compression", codec]);
        let acks = ["0", "1", "all"].map(|acks| ["--acks", acks]);
        let hows = [&codecs[..], &acks].concat();
        for (turn, how) in hows.iter().enumerate() {
            let (first, each) = ((turn * EACH).to_string(), EACH.to_string());
            let range = ["--partitions", "3", "--first", &first, "--count", &each];
            let output = self.run("produce", "from", &[&range[..], how].concat());
            assert_eq!(output.done()["acked"], EACH, "{} {how:?}", self.name);
        }
        EACH * hows.len()
    }

    fn large(&self) {
        let many = [
            "--partitions",
            "3",
            "--first",
            "1",
            "--count",
            "3",
            "--value-bytes",
            "10000000",
        ];
        let larger = ["--property", "max.request.size=12000000"];
        self.run("produce", "large", &[&many[..], &larger].concat());
        let read = self.run("consume", "large", &["--group", &self.name, "--until", "3"]);
        let values = read.records().into_iter();
        let bytes: usize = values
            .filter_map(|r| r.value)
            .map(|v| v.len() / 4 * 3)
            .sum();
        assert!(bytes >= 30_000_000, "{}: {bytes} bytes", self.name);
    }

    /// Consumes and produces in transactions, every second of which is aborted; then a KIP-848 group reads what was committed.
    fn transfer(&self, written: usize) {
        let (name, all) = (&self.name, written.to_string());
        let into = format!("into-{name}");
        let moving = [
            "--into",
            &into,
            "--group",
            &into,
            "--transactional-id",
            &into,
        ];
        let aborting = ["--abort-every", "2", "--until", &all];
        self.run("transfer", "from", &[&moving[..], &aborting].concat());
        let modern = [
            "--group-protocol",
            "consumer",
            "--group",
            name,
            "--until",
            &all,
        ];
        let committed = ["--isolation", "read_committed"];
        let read = self.run("consume", "into", &[&modern[..], &committed].concat());
        let origins = read.records().into_iter();
        let moved: BTreeSet<_> = origins
            .filter_map(|r| r.headers.into_iter().last())
            .collect();
        assert_eq!(moved.len(), written, "{name}: each was transferred once");
    }

    fn share(&self, written: usize) {
        let (group, all) = (format!("share-{}", self.name), written.to_string());
        let read = self.run(
            "consume",
            "from",
            &["--share", "--group", &group, "--until", &all],
        );
        assert!(read.of_type("acknowledged").next().is_some(), "{group}");
    }
}

fn bypasses(metrics: &support::metrics::Metrics) -> Vec<(String, f64)> {
    let all = metrics.select("throughline_proxy_bypassed_total", &[]);
    all.filter(|sample| sample.value > 0.0)
        .map(|sample| (format!("{:?}", sample.labels), sample.value))
        .collect()
}

fn by_position(output: &Output) -> BTreeMap<(i64, i64), Record> {
    let records = output.records().into_iter();
    records
        .map(|record| ((record.partition, record.offset), record))
        .collect()
}

#[track_caller]
fn assert_clean(what: &str, output: &Output) {
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{what}: {errors:?}");
}

#[test]
fn mutual_tls() {
    through(Listener::Tls, None);
}

#[test]
fn plain_over_tls() {
    through(Listener::SaslTls, Some(Mechanism::Plain));
}

#[test]
fn scram_over_tls() {
    through(Listener::SaslTls, Some(Mechanism::ScramSha256));
}

#[test]
fn every_feature_over_mutual_tls() {
    every_feature(Listener::Tls, None);
}

#[test]
fn every_feature_over_tls_and_plain() {
    every_feature(Listener::SaslTls, Some(Mechanism::Plain));
}

#[test]
fn every_feature_over_tls_and_scram() {
    every_feature(Listener::SaslTls, Some(Mechanism::ScramSha256));
}

#[test]
fn scram_in_plaintext() {
    through(Listener::SaslPlaintext, Some(Mechanism::ScramSha256));
}

#[test]
fn plain_in_plaintext() {
    through(Listener::SaslPlaintext, Some(Mechanism::Plain));
}

/// A wrong password looks the same with and without the sidecar, which counts it.
#[test]
fn a_wrong_password_is_an_authentication_error() {
    let stage = Stage::shared();
    let sidecar = Throughline::start(stage.spec(Listener::SaslTls));
    stage.kafka.create_topic("locked", 6);
    let direct = stage.kafka.bootstrap(Listener::SaslTls);
    for client in CLIENTS {
        for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
            let what = format!("{} {}", client.name(), mechanism.name());
            let login = login(mechanism, "wrong");
            let first_error = |bootstrap: &str, more: &[&str]| {
                let base = ["produce", "--count", "1", "--topic", "locked"];
                let at = ["--bootstrap", bootstrap];
                let running = client.start(&[&base[..], &at, &login, more].concat());
                let error = poll_until(&format!("{what}: an error"), LIMIT, || refusal(&running));
                running.kill();
                without_details(&error)
            };
            let ca = ["--tls-ca", text(&stage.certificates().ca)];
            let wanted = first_error(&direct, &ca);
            let failures = || {
                let labels = [("mechanism", mechanism.name())];
                let name = "throughline_authentication_failures_total";
                sidecar.metrics().sum(name, &labels)
            };
            let before = failures();
            let seen = first_error(&sidecar.bootstrap(), &[]);
            assert_eq!(seen, wanted, "{what}: proxied and direct");
            let says = wanted.to_lowercase();
            assert!(
                says.contains("auth"),
                "{what}: not an authentication error: {says}"
            );
            poll_until(&format!("{what}: the failure is counted"), LIMIT, || {
                (failures() > before).then_some(())
            });
        }
    }
    sidecar.terminate();
}

/// The first error of a client that is running, wherever it says it: franz-go tries on and only logs.
fn refusal(running: &Running) -> Option<String> {
    let lines = running.lines();
    let printed = lines.iter().find(|line| line["type"] == "error");
    if let Some(error) = printed {
        return Some(format!("{} {}", error["code"], error["message"]));
    }
    let tail = running.tail();
    let logged = tail.lines().find(|line| line.starts_with("[ERROR]"));
    logged.map(str::to_owned)
}

/// Addresses, security protocols and times are what the two routes may differ in.
fn without_details(message: &str) -> String {
    let words = message.split([' ', '/', ',', '(', ')', '[', ']']);
    let varies = |word: &&str| {
        let word = word.to_lowercase();
        word.contains("127.0.0.1") || word.contains("sasl_") || word.ends_with("ms")
    };
    let kept: Vec<&str> = words.filter(|word| !varies(word)).collect();
    kept.join(" ")
}

/// A sidecar without `kafka.tls` before a TLS port says which key is missing, and is not ready.
#[test]
fn plaintext_towards_a_tls_port_names_the_key_to_set() {
    let stage = Stage::shared();
    let bootstrap = stage.kafka.bootstrap(Listener::Tls);
    let sidecar = Throughline::start_unready(ThroughlineSpec::new(&bootstrap).mode("observe"));
    sidecar.wait_for_log("set kafka.tls");
    let answer = sidecar.get("/readyz?verbose");
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("[-] broker"), "{}", answer.body);
    assert!(answer.body.contains("kafka.tls"), "{}", answer.body);
    // A client's own connection: the log says the same, and the client is not left hanging.
    let client = Client::Java.start(&[
        "admin",
        "--bootstrap",
        &sidecar.bootstrap(),
        "--property",
        "default.api.timeout.ms=3000",
        "--property",
        "request.timeout.ms=2000",
    ]);
    let mut client = client;
    client.write_line("describe-cluster");
    client.wait_for("an error", LIMIT, |lines| {
        lines
            .iter()
            .any(|line| line["type"] == "error")
            .then_some(())
    });
    client.kill();
    sidecar.wait_for_log("the broker's port speaks TLS and the sidecar plaintext: set kafka.tls");
    sidecar.terminate();
}

/// A client that speaks TLS to the sidecar is named in the log with the setting to change.
#[test]
fn a_client_that_speaks_tls_to_the_sidecar_is_named() {
    let stage = Stage::shared();
    let sidecar = Throughline::start(stage.spec(Listener::Tls));
    let ca = text(&stage.certificates().ca);
    let client = Client::FranzGo.start(&[
        "produce",
        "--count",
        "1",
        "--topic",
        "tls-twice",
        "--bootstrap",
        &sidecar.bootstrap(),
        "--tls-ca",
        ca,
    ]);
    sidecar.wait_for_log("the client speaks TLS to the sidecar");
    sidecar.wait_for_log("security.protocol");
    client.kill();
    // Nobody else is harmed.
    stage.kafka.create_topic("tls-once", 6);
    let output = Client::FranzGo.run(&[
        "produce",
        "--count",
        "10",
        "--topic",
        "tls-once",
        "--bootstrap",
        &sidecar.bootstrap(),
    ]);
    assert_eq!(output.done()["acked"], 10);
    sidecar.terminate();
}

/// Each way of TLS that cannot work closes the readiness gate with the reason.
#[test]
fn readiness_says_why_tls_fails() {
    let stage = Stage::shared();
    let strangers = tempfile::tempdir().expect("a temporary directory");
    let strangers = Certificates::create(strangers.path());
    let bootstrap = stage.kafka.bootstrap(Listener::Tls);
    let untrusted = ThroughlineSpec::new(&bootstrap).set("kafka.tls.ca_file", text(&strangers.ca));
    let wrong_name = stage
        .spec(Listener::Tls)
        .set("kafka.tls.server_name", "somebody-else");
    let plain = ThroughlineSpec::new(&stage.kafka.bootstrap(Listener::Plaintext))
        .set("kafka.tls.ca_file", text(&stage.certificates().ca));
    let anonymous =
        ThroughlineSpec::new(&bootstrap).set("kafka.tls.ca_file", text(&stage.certificates().ca));
    for (what, spec, reason) in [
        (
            "a CA that did not sign",
            untrusted,
            "invalid peer certificate",
        ),
        ("another name", wrong_name, "somebody-else"),
        ("a plaintext port", plain, "check kafka.tls"),
        ("no client certificate", anonymous, "ertificate"),
    ] {
        let sidecar = Throughline::start_unready(spec.mode("observe"));
        sidecar.wait_for_log("no broker yet");
        // A broker that is slow to answer a first time is another fault.
        let answer = try_poll_until(LIMIT, || {
            let answer = sidecar.get("/readyz?verbose");
            answer.body.contains(reason).then_some(answer)
        });
        let answer = answer.unwrap_or_else(|| sidecar.get("/readyz?verbose"));
        assert_eq!(answer.status, 503, "{what}: {}", answer.body);
        assert!(
            answer.body.contains("[-] broker"),
            "{what}: {}",
            answer.body
        );
        assert!(answer.body.contains(reason), "{what}: {}", answer.body);
        assert!(answer.body.contains("kafka.tls"), "{what}: {}", answer.body);
        sidecar.terminate();
    }
}

/// 0: all answered; 1: one did not; 2: the configuration is wrong, without asking anybody.
#[test]
fn check_says_by_its_status_what_is_wrong() {
    let stage = Stage::shared();
    let ca = format!("kafka.tls.ca_file={}", text(&stage.certificates().ca));
    let (cert, key) = stage.identity();
    let cert = format!("kafka.tls.cert_file={cert}");
    let key = format!("kafka.tls.key_file={key}");
    let at = |listener| stage.kafka.bootstrap(listener);
    let (plain, tls, sasl) = (
        at(Listener::Plaintext),
        at(Listener::Tls),
        at(Listener::SaslTls),
    );
    let both = format!("{tls},{plain}");
    let missing = "kafka.tls.ca_file=/nowhere/ca.pem";
    let mutual = ["--set", &ca, "--set", &cert, "--set", &key];
    let cases: [(&str, Vec<&str>, i32, &str); 8] = [
        ("plaintext", vec![], 0, "cluster VGhyb3VnaGxpbmVUZXN0MQ"),
        (
            "mutual TLS",
            mutual.to_vec(),
            0,
            "cluster VGhyb3VnaGxpbmVUZXN0MQ",
        ),
        ("SASL_SSL", vec!["--set", &ca], 0, "wants authentication"),
        ("TLS unset", vec![], 1, "set kafka.tls"),
        ("one of two", mutual.to_vec(), 1, "TLS handshake failed"),
        ("nobody there", vec![], 1, "refused"),
        (
            "no such file",
            vec!["--set", missing],
            2,
            "kafka.tls.ca_file",
        ),
        (
            "offline",
            vec!["--offline", "--set", &ca],
            0,
            "configuration: ok",
        ),
    ];
    let nobody = format!("127.0.0.1:{}", support::ports::free());
    let targets = [&plain, &tls, &sasl, &tls, &both, &nobody, &tls, &nobody];
    for ((what, more, status, says), target) in cases.into_iter().zip(targets) {
        let bootstrap = format!("kafka.bootstrap={target}");
        let arguments = [&["--set", &bootstrap][..], &more].concat();
        let checked = throughline::check(&arguments);
        assert_eq!(checked.status, Some(status), "{what}: {}", checked.said);
        assert!(checked.said.contains(says), "{what}: {}", checked.said);
    }
}
