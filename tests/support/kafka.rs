//! Real Kafka brokers, one or several, as child processes on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::cache::{self, Jar};
use super::certificates::Certificates;
use super::clients::{Client, Output, RUN_LIMIT, Running};
use super::jvm::{self, Classes};
use super::process::Process;
use super::{ports, properties};

/// How long brokers may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long a broker may take to shut down when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(120);
/// How long one administrative command may take.
const ADMIN_LIMIT: Duration = Duration::from_secs(120);
/// 16 bytes in base64 without padding, as brokers want it.
pub(crate) const CLUSTER_ID: &str = "VGhyb3VnaGxpbmVUZXN0MQ";

/// The heap of a broker.
const HEAP_MIB: u32 = 400;

const LOG4J2: &str = "status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
rootLogger.level=info
rootLogger.appenderRef.out.ref=out
";
const LOG4J1: &str = "log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss,SSS} %p %m (%c{1})%n
";

/// The Kafka releases that tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// The newest; KRaft.
    V4_4_0,
    /// The last of the 3.x line; KRaft.
    V3_9_1,
    /// The first with record headers and transactions; ZooKeeper.
    V0_11_0_3,
    /// Message format 1, no headers: the oldest that starts on Java 17; ZooKeeper.
    V0_10_2_2,
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4_4_0 => "4.4.0",
            Self::V3_9_1 => "3.9.1",
            Self::V0_11_0_3 => "0.11.0.3",
            Self::V0_10_2_2 => "0.10.2.2",
        }
    }

    pub(crate) fn has_zookeeper(self) -> bool {
        matches!(self, Self::V0_11_0_3 | Self::V0_10_2_2)
    }

    /// The Java client that still administers this broker.
    pub(crate) fn admin_client(self) -> Client {
        if self.has_zookeeper() {
            Client::Java391
        } else {
            Client::Java
        }
    }

    /// A directory full of jars.
    #[track_caller]
    pub(crate) fn jars(self) -> PathBuf {
        let name = format!("kafka-{}", self.name());
        let artifact = cache::artifact(&name, |directory| match self {
            Self::V4_4_0 => cache::jars(
                directory,
                &[
                    // The registry has no kafka-tools-api of this release; the one before fits.
                    Jar {
                        coordinates: "org.apache.kafka:kafka_2.13:4.4.0",
                        without: Some("org.apache.kafka:kafka-tools-api"),
                    },
                    Jar::new("org.apache.kafka:kafka-tools-api:4.3.1"),
                    Jar::new("org.apache.logging.log4j:log4j-slf4j-impl:2.25.1"),
                ],
            ),
            Self::V3_9_1 => cache::jars(
                directory,
                &[
                    Jar::new("org.apache.kafka:kafka_2.13:3.9.1"),
                    Jar::new("org.apache.logging.log4j:log4j-slf4j-impl:2.25.1"),
                ],
            ),
            Self::V0_11_0_3 | Self::V0_10_2_2 => cache::jars(
                directory,
                &[
                    Jar::new(&format!("org.apache.kafka:kafka_2.12:{}", self.name())),
                    // These use a package that the JDK had until Java 10.
                    Jar::new("javax.xml.bind:jaxb-api:2.3.1"),
                ],
            ),
        });
        artifact.join("libs")
    }

    /// Where a broker's classes come from; ZooKeeper's time had other loggers, and few tests.
    #[track_caller]
    fn classes(self) -> Classes {
        if self.has_zookeeper() {
            return Classes::Loaded;
        }
        jvm::archived(&format!("kafka-{}", self.name()), |kept| {
            Kafka::with(KafkaSpec::new(self), kept).stop(1);
        })
    }
}

/// One way into a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Listener {
    /// Always there; brokers talk to each other over it.
    Plaintext,
    /// A second plaintext listener, for tests that advertise another address than the real one.
    Relayed,
    /// Mutual TLS.
    Tls,
    /// PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    SaslPlaintext,
    /// The same over TLS.
    SaslTls,
}

impl Listener {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Relayed => "RELAYED",
            Self::Tls => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
        }
    }

    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Relayed => "PLAINTEXT",
            other => other.name(),
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }
}

/// How a SASL client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Mechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct KafkaSpec {
    pub(crate) version: Version,
    pub(crate) brokers: u32,
    pub(crate) listeners: Vec<Listener>,
    /// Further broker properties; they win.
    pub(crate) properties: Vec<(String, String)>,
    /// Name and password, for every SASL mechanism.
    pub(crate) users: Vec<(String, String)>,
    /// The ACL authorizer; what has no ACL stays open to everyone.
    pub(crate) acls: bool,
    /// Ports that brokers tell clients instead of their own: listener, node id, port.
    pub(crate) advertised: Vec<(Listener, u32, u16)>,
}

impl KafkaSpec {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            brokers: 1,
            listeners: vec![Listener::Plaintext],
            properties: Vec::new(),
            users: vec![("alice".to_owned(), "alice-secret".to_owned())],
            acls: false,
            advertised: Vec::new(),
        }
    }

    pub(crate) fn brokers(mut self, brokers: u32) -> Self {
        self.brokers = brokers;
        self
    }

    pub(crate) fn listener(mut self, listener: Listener) -> Self {
        if !self.listeners.contains(&listener) {
            self.listeners.push(listener);
        }
        self
    }

    pub(crate) fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn user(mut self, name: &str, password: &str) -> Self {
        self.users.push((name.to_owned(), password.to_owned()));
        self
    }

    pub(crate) fn acls(mut self) -> Self {
        self.acls = true;
        self
    }

    /// Makes node `id` tell clients of `listener` this port on 127.0.0.1.
    pub(crate) fn advertise(mut self, listener: Listener, id: u32, port: u16) -> Self {
        self.advertised.push((listener, id, port));
        self.listener(listener)
    }

    pub(super) fn advertised_port(&self, listener: &Listener, id: u32) -> Option<u16> {
        let mut all = self.advertised.iter();
        all.find(|told| told.0 == *listener && told.1 == id)
            .map(|told| told.2)
    }
}

/// One broker, running or not. Ids count from 1.
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) ports: Vec<(Listener, u16)>,
    pub(crate) controller_port: u16,
    pub(crate) directory: PathBuf,
    process: Option<Process>,
}

/// A cluster; everything ends when this is dropped.
pub(crate) struct Kafka {
    pub(crate) spec: KafkaSpec,
    /// Present when a listener speaks TLS.
    pub(crate) certificates: Option<Certificates>,
    nodes: Vec<Node>,
    libs: PathBuf,
    classes: Classes,
    admin: Mutex<Option<Running>>,
    _zookeeper: Option<Process>,
    // Last, so that the brokers are gone before their files.
    directory: TempDir,
}

/// A cluster for tests that run at the same time: there while one of them holds it.
pub(crate) struct Shared(Mutex<Weak<Kafka>>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    pub(crate) fn get(&self, start: impl FnOnce() -> Kafka) -> Arc<Kafka> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.upgrade().unwrap_or_else(|| {
            let kafka = Arc::new(start());
            *held = Arc::downgrade(&kafka);
            kafka
        })
    }
}

impl Kafka {
    /// Starts a cluster and waits until every broker serves.
    #[track_caller]
    pub(crate) fn start(spec: KafkaSpec) -> Self {
        let classes = spec.version.classes();
        Self::with(spec, classes)
    }

    #[track_caller]
    fn with(spec: KafkaSpec, classes: Classes) -> Self {
        let libs = spec.version.jars();
        let directory = TempDir::with_prefix("throughline-kafka-").expect("a temporary directory");
        let root = directory.path();
        cache::write(&root.join("log4j2.properties"), LOG4J2);
        cache::write(&root.join("log4j.properties"), LOG4J1);
        let has_tls = spec.listeners.iter().any(|listener| listener.has_tls());
        let certificates = has_tls.then(|| Certificates::create(root));
        let nodes: Vec<Node> = (1..=spec.brokers).map(|id| plan(&spec, root, id)).collect();
        let zookeeper = spec
            .version
            .has_zookeeper()
            .then(|| start_zookeeper(&libs, root));
        for node in &nodes {
            let port = zookeeper.as_ref().map(|(_, port)| *port);
            let text = properties::render(&spec, &nodes, node, certificates.as_ref(), port);
            cache::write(&node.directory.join("node.properties"), &text);
        }
        let mut kafka = Self {
            spec,
            certificates,
            nodes,
            libs,
            classes,
            admin: Mutex::new(None),
            _zookeeper: zookeeper.map(|(process, _)| process),
            directory,
        };
        if !kafka.spec.version.has_zookeeper() {
            kafka.format();
        }
        let ids: Vec<u32> = kafka.nodes.iter().map(|node| node.id).collect();
        ids.iter().for_each(|&id| kafka.launch(id));
        ids.iter().for_each(|&id| kafka.wait_until_serving(id));
        kafka
    }

    /// One broker of this version with a plaintext listener.
    #[track_caller]
    pub(crate) fn single(version: Version) -> Self {
        Self::start(KafkaSpec::new(version))
    }

    /// One broker of the newest version for all tests of a file that run at the same time.
    #[track_caller]
    pub(crate) fn shared() -> Arc<Self> {
        static BROKER: Shared = Shared::new();
        BROKER.get(|| Self::single(Version::V4_4_0))
    }

    /// A topic with one replica and these further arguments of `create-topic`.
    #[track_caller]
    pub(crate) fn topic(&self, topic: &str, partitions: u32, more: &str) {
        self.admin(&format!(
            "create-topic --topic {topic} --partitions {partitions} --replication 1 {more}"
        ));
    }

    /// Starts the Java client against the plaintext listener.
    #[track_caller]
    pub(crate) fn begin(&self, command: &str, topic: &str, more: &str) -> Running {
        begin(&self.bootstrap(Listener::Plaintext), command, topic, more)
    }

    /// As [`Kafka::begin`], to the program's end, which must be without an error.
    #[track_caller]
    pub(crate) fn run(&self, command: &str, topic: &str, more: &str) -> Output {
        run(&self.bootstrap(Listener::Plaintext), command, topic, more)
    }

    /// All brokers of a listener as a bootstrap list.
    #[track_caller]
    pub(crate) fn bootstrap(&self, listener: Listener) -> String {
        let all: Vec<String> = self
            .nodes
            .iter()
            .map(|node| self.address(listener, node.id))
            .collect();
        all.join(",")
    }

    /// Where node `id` listens (not what it advertises).
    #[track_caller]
    pub(crate) fn address(&self, listener: Listener, id: u32) -> String {
        let node = &self.nodes[self.index(id)];
        match node.ports.iter().find(|(one, _)| *one == listener) {
            Some((_, port)) => format!("127.0.0.1:{port}"),
            None => panic!("no listener {} was asked for", listener.name()),
        }
    }

    /// Processor time that the running brokers have used so far, in seconds (`/proc/PID/stat`: utime and stime, in hundredths).
    #[track_caller]
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let running = self.nodes.iter().filter_map(|node| node.process.as_ref());
        let ticks = running.map(|process| {
            let path = format!("/proc/{}/stat", process.id());
            let text = std::fs::read_to_string(path).expect("a running broker");
            let (_, behind) = text.rsplit_once(')').expect("the name of the program");
            let fields = behind.split_whitespace().skip(11).take(2);
            let ticks = fields.map(|field| field.parse::<u32>().expect("a number"));
            ticks.map(f64::from).sum::<f64>()
        });
        ticks.sum::<f64>() / 100.0
    }

    pub(crate) fn node_ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    /// SIGKILL to one broker.
    #[track_caller]
    pub(crate) fn kill(&mut self, id: u32) {
        let index = self.index(id);
        self.nodes[index].process = None;
    }

    /// Starts a broker that was killed or stopped, on the same ports and files.
    #[track_caller]
    pub(crate) fn restart(&mut self, id: u32) {
        self.launch(id);
        self.wait_until_serving(id);
    }

    /// Clean shutdown of one broker.
    #[track_caller]
    pub(crate) fn stop(&mut self, id: u32) {
        let index = self.index(id);
        if let Some(mut process) = self.nodes[index].process.take() {
            process.terminate();
            process.wait(STOP_LIMIT);
        }
    }

    /// Stops and continues a broker's process without ending it.
    #[track_caller]
    pub(crate) fn freeze(&self, id: u32, frozen: bool) {
        let process = self.nodes[self.index(id)].process.as_ref();
        let process = process.expect("the broker is not running");
        process.signal(if frozen { "STOP" } else { "CONT" });
    }

    /// Lines of a running broker's log that contain `text`.
    pub(crate) fn log_lines(&self, id: u32, text: &str) -> Vec<String> {
        let process = self.nodes[self.index(id)].process.as_ref();
        let lines = process.map(|process| process.lines_from(0));
        let mut lines = lines.unwrap_or_default();
        lines.retain(|line| line.contains(text));
        lines
    }

    /// Runs one administrative command (see tests/clients/README.md) and returns its answer.
    ///
    /// Fails the test when the answer holds an error.
    #[track_caller]
    pub(crate) fn admin(&self, command: &str) -> Vec<Value> {
        let answer = self.try_admin(command);
        let refused = answer.iter().find(|line| line["type"] == "error");
        if let Some(error) = refused {
            panic!("admin {command}: {error}");
        }
        answer
    }

    /// As [`Kafka::admin`], errors included in the answer.
    #[track_caller]
    pub(crate) fn try_admin(&self, command: &str) -> Vec<Value> {
        // One Java process serves all commands of a cluster: its start costs a second.
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        let running = admin.get_or_insert_with(|| {
            let bootstrap = self.bootstrap(Listener::Plaintext);
            let client = self.spec.version.admin_client();
            client.start(&["admin", "--bootstrap", &bootstrap])
        });
        running.ask(command, ADMIN_LIMIT)
    }

    /// Creates a topic and waits until every partition has a leader.
    #[track_caller]
    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        let copies = self.spec.brokers.min(3);
        self.admin(&format!(
            "create-topic --topic {topic} --partitions {partitions} --replication {copies}"
        ));
    }

    /// Committed offset (-1 for none) and log end of each partition of a topic, for one group.
    #[track_caller]
    pub(crate) fn offsets(&self, group: &str, topic: &str) -> Vec<(i64, i64)> {
        let answer = self.admin(&format!("offsets --group {group} --topic {topic}"));
        let number = |value: &Value| value.as_i64().unwrap_or(-1);
        answer
            .iter()
            .map(|line| (number(&line["committed"]), number(&line["log_end"])))
            .collect()
    }

    /// The temporary directory of the cluster: logs, data, certificates.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    #[track_caller]
    fn index(&self, id: u32) -> usize {
        let found = self.nodes.iter().position(|node| node.id == id);
        found.unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// Writes the metadata that a KRaft node wants to find, in all nodes at once.
    #[track_caller]
    fn format(&self) {
        let mut formatting: Vec<Process> = self
            .nodes
            .iter()
            .map(|node| {
                let classes = match &self.classes {
                    Classes::Kept(_) => &Classes::Loaded,
                    classes => classes,
                };
                let mut command = java(&self.libs, self.directory.path(), classes);
                command.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]);
                command.arg(node.directory.join("node.properties"));
                if self
                    .spec
                    .listeners
                    .iter()
                    .any(|listener| listener.has_sasl())
                {
                    for (name, password) in &self.spec.users {
                        command.arg("--add-scram");
                        command.arg(format!("SCRAM-SHA-256=[name={name},password={password}]"));
                        command.arg("--add-scram");
                        command.arg(format!("SCRAM-SHA-512=[name={name},password={password}]"));
                    }
                }
                Process::spawn("kafka format", &mut command)
            })
            .collect();
        for process in &mut formatting {
            let status = process.wait(START_LIMIT);
            assert!(status.success(), "format: {status}\n{}", process.tail());
        }
    }

    #[track_caller]
    fn launch(&mut self, id: u32) {
        let index = self.index(id);
        let mut command = java(&self.libs, self.directory.path(), &self.classes);
        let node = &mut self.nodes[index];
        command
            .arg("kafka.Kafka")
            .arg(node.directory.join("node.properties"));
        let log = node.directory.join("broker.log");
        let name = format!("kafka node {id}");
        node.process = Some(Process::spawn_logged(&name, &mut command, &log));
    }

    #[track_caller]
    fn wait_until_serving(&self, id: u32) {
        let process = self.nodes[self.index(id)].process.as_ref();
        let process = process.expect("the broker was launched");
        process.wait_for("the broker serves", START_LIMIT, |lines| {
            let said = |line: &String| {
                line.contains("Kafka Server started") || line.contains("], started (KafkaServer)")
            };
            lines.iter().any(said).then_some(())
        });
    }
}

/// Starts the Java client of the newest version; `more` is split at blanks.
#[track_caller]
pub(crate) fn begin(bootstrap: &str, command: &str, topic: &str, more: &str) -> Running {
    let line = format!("{command} --bootstrap {bootstrap} --topic {topic} {more}");
    let words: Vec<&str> = line.split_whitespace().collect();
    Client::Java.start(&words)
}

/// As [`begin`], to the program's end, which must be without an error.
#[track_caller]
pub(crate) fn run(bootstrap: &str, command: &str, topic: &str, more: &str) -> Output {
    let output = begin(bootstrap, command, topic, more).finish(RUN_LIMIT);
    let errors: Vec<_> = output.of_type("error").collect();
    assert!(errors.is_empty(), "{command} {topic} {more}: {errors:?}");
    output
}

fn java(libs: &Path, root: &Path, classes: &Classes) -> Command {
    let mut command = jvm::java(HEAP_MIB, classes);
    for (property, file) in [
        ("log4j2.configurationFile", "log4j2.properties"),
        ("log4j.configuration", "log4j.properties"),
    ] {
        command.arg(format!("-D{property}=file:{}", root.join(file).display()));
    }
    command.arg("-cp").arg(libs.join("*")).current_dir(root);
    command
}

#[track_caller]
fn plan(spec: &KafkaSpec, root: &Path, id: u32) -> Node {
    let directory = root.join(format!("node-{id}"));
    cache::create(&directory);
    Node {
        id,
        ports: spec
            .listeners
            .iter()
            .map(|listener| (*listener, ports::free()))
            .collect(),
        controller_port: ports::free(),
        directory,
        process: None,
    }
}

#[track_caller]
fn start_zookeeper(libs: &Path, root: &Path) -> (Process, u16) {
    let port = ports::free();
    let data = root.join("zookeeper");
    cache::create(&data);
    let config = root.join("zookeeper.properties");
    cache::write(
        &config,
        &format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n",
            data.display()
        ),
    );
    let mut command = java(libs, root, &Classes::Loaded);
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain");
    command.arg(config);
    let process = Process::spawn_logged("zookeeper", &mut command, &root.join("zookeeper.log"));
    process.wait_for("zookeeper binds its port", START_LIMIT, |lines| {
        let said = |line: &String| line.contains("binding to port");
        lines.iter().any(said).then_some(())
    });
    (process, port)
}
