//! The client programs of `tests/clients`: built once, run as children, their lines read as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::cache::{self, Jar};
use super::jvm::{self, Classes};
use super::kafka::{Kafka, Listener, Version};
use super::process::Process;

/// Everything a program does in one run ends within this.
pub(crate) const RUN_LIMIT: Duration = Duration::from_secs(120);

/// A client library that speaks Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// kafka-clients 4.4.0.
    Java,
    /// kafka-clients 3.9.1, which still speaks to brokers before 2.1.
    Java391,
    /// librdkafka 2.16.1, through confluent-kafka.
    Librdkafka,
    /// franz-go v1.22.2.
    FranzGo,
    /// sarama v1.61.1.
    Sarama,
    /// kafka-python 3.0.12.
    KafkaPython,
    /// kafkajs 2.2.4.
    KafkaJs,
}

impl Client {
    pub(crate) const ALL: [Self; 6] = [
        Self::Java,
        Self::Librdkafka,
        Self::FranzGo,
        Self::Sarama,
        Self::KafkaPython,
        Self::KafkaJs,
    ];

    /// Short, and fit for a topic name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Java391 => "java-3.9.1",
            Self::Librdkafka => "librdkafka",
            Self::FranzGo => "franz-go",
            Self::Sarama => "sarama",
            Self::KafkaPython => "kafka-python",
            Self::KafkaJs => "kafkajs",
        }
    }

    /// Starts the program; it runs until its work is done or it is told to leave.
    #[track_caller]
    pub(crate) fn start(self, arguments: &[&str]) -> Running {
        Running::start(self.name(), self.command(), arguments)
    }

    /// Runs the program to its end and fails the test when it does not end well.
    #[track_caller]
    pub(crate) fn run(self, arguments: &[&str]) -> Output {
        self.start(arguments).finish(RUN_LIMIT)
    }

    /// The program without arguments, built where that is needed.
    #[track_caller]
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Java => java("4.4.0", &[]),
            Self::Java391 => java("3.9.1", &["Share.java", "Decode.java"]),
            Self::Librdkafka | Self::KafkaPython => {
                let environment = python_environment(self.name(), &["requirements.txt"]);
                python(&environment, self.name())
            }
            Self::FranzGo | Self::Sarama => go(self.name()),
            Self::KafkaJs => node(),
        }
    }
}

/// What a client program printed so far, and how many lines of each type: there may be a million.
#[derive(Default)]
struct Parsed {
    lines: Vec<Value>,
    of_type: BTreeMap<String, usize>,
}

impl Parsed {
    fn take(&mut self, lines: &[String]) {
        for line in lines.iter().map(|line| parse(line)) {
            let kind = line["type"].as_str().unwrap_or_default();
            *self.of_type.entry(kind.to_owned()).or_default() += 1;
            self.lines.push(line);
        }
    }
}

/// A client program under way.
pub(crate) struct Running {
    process: Process,
    parsed: Mutex<Parsed>,
}

impl Running {
    /// Starts a program that speaks as tests/clients/README.md says.
    #[track_caller]
    pub(super) fn start(name: &str, mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments);
        let name = format!("{name} {}", arguments.first().unwrap_or(&""));
        Self {
            process: Process::spawn(&name, &mut command),
            parsed: Mutex::default(),
        }
    }

    /// Waits until `find` yields something from the lines so far, parsed.
    #[track_caller]
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&[Value]) -> Option<T>,
    ) -> T {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.wait_for(what, limit, |lines| {
            let done = parsed.lines.len();
            parsed.take(&lines[done..]);
            find(&parsed.lines)
        })
    }

    /// The lines so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines_from(0)
    }

    /// The lines so far, from number `from` on.
    pub(crate) fn lines_from(&self, from: usize) -> Vec<Value> {
        let parsed = self.up_to_now();
        parsed.lines.get(from..).unwrap_or_default().to_vec()
    }

    /// How many lines were printed so far.
    pub(crate) fn seen(&self) -> usize {
        self.up_to_now().lines.len()
    }

    fn up_to_now(&self) -> MutexGuard<'_, Parsed> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = self.process.lines_from(parsed.lines.len());
        parsed.take(&lines);
        parsed
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many records were handed out so far.
    pub(crate) fn read(&self) -> usize {
        self.count("record")
    }

    /// How many lines of one type were printed so far.
    pub(crate) fn count(&self, kind: &str) -> usize {
        self.up_to_now().of_type.get(kind).copied().unwrap_or(0)
    }

    /// A named signal (`STOP`, `CONT`, ...).
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Sends one command to a program that was started with `admin`, and gives its answer, errors included.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, limit: Duration) -> Vec<Value> {
        let before = self.seen();
        self.write_line(command);
        self.wait_for(&format!("answer to {command}"), limit, |lines| {
            let answer = lines.get(before..).unwrap_or_default();
            let end = answer.iter().position(|line| line["type"] == "end")?;
            Some(answer[..end].to_vec())
        })
    }

    /// The last lines of both outputs.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }

    #[track_caller]
    pub(crate) fn write_line(&mut self, line: &str) {
        self.process.write_line(line);
    }

    /// Asks a consumer to leave its group, and waits for its end.
    #[track_caller]
    pub(crate) fn leave(mut self, limit: Duration) -> Output {
        self.process.write_line("leave");
        self.finish(limit)
    }

    /// SIGKILL: nothing is said to the broker.
    pub(crate) fn kill(mut self) -> Output {
        self.process.kill();
        Output {
            lines: self.lines(),
        }
    }

    /// Waits for the end and fails the test when the program says that it failed.
    #[track_caller]
    pub(crate) fn finish(mut self, limit: Duration) -> Output {
        let status = self.process.wait(limit);
        assert!(
            status.success(),
            "the client failed with {status}\n{}",
            self.process.tail()
        );
        Output {
            lines: self.lines(),
        }
    }
}

/// Everything a client program printed.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) lines: Vec<Value>,
}

impl Output {
    /// The lines of one type.
    pub(crate) fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    /// The last line.
    #[track_caller]
    pub(crate) fn done(&self) -> &Value {
        let done = self.of_type("done").last();
        done.expect("the client printed no line of type done")
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.of_type("record").map(Record::from_json).collect()
    }
}

/// A record as a consumer saw it; bytes are base64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) phase: i64,
    pub(crate) partition: i64,
    pub(crate) offset: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) timestamp: i64,
}

impl Record {
    /// Takes off what injection adds by default, which must be there once, whole, and behind everything else.
    #[track_caller]
    pub(crate) fn without_context(mut self) -> Self {
        const ADDED: [&str; 3] = ["traceparent", "tracestate", "correlation-id"];
        let of_client = self.headers.len().saturating_sub(ADDED.len());
        let added = self.headers.split_off(of_client);
        let keys: Vec<&str> = added.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ADDED, "at the end of {self:?}");
        for key in ADDED {
            let again = self.headers.iter().any(|(known, _)| known == key);
            assert!(!again, "{key} is there twice: {self:?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn from_json(line: &Value) -> Self {
        let number = |name: &str| {
            let value = line[name].as_i64();
            value.unwrap_or_else(|| panic!("no number {name} in {line}"))
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let headers = line["headers"].as_array().map(Vec::as_slice);
        Self {
            phase: number("phase"),
            partition: number("partition"),
            offset: number("offset"),
            key: text(&line["key"]),
            value: text(&line["value"]),
            headers: headers
                .unwrap_or_default()
                .iter()
                .map(|pair| (text(&pair[0]).unwrap_or_default(), text(&pair[1])))
                .collect(),
            timestamp: number("timestamp"),
        }
    }
}

/// The text behind base64, as the programs print bytes.
#[track_caller]
pub(crate) fn decoded(base64: &str) -> String {
    String::from_utf8(bytes_of(base64)).expect("text")
}

/// The bytes behind base64.
pub(crate) fn bytes_of(base64: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = base64.bytes().filter_map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four
            .iter()
            .fold(0, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

#[track_caller]
fn parse(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("not a line of JSON ({error}): {line}"))
}

fn sources(client: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join("clients")
        .join(client)
}

#[track_caller]
fn java(version: &str, without: &[&str]) -> Command {
    let libs = cache::artifact(&format!("kafka-clients-{version}"), |directory| {
        let client = format!("org.apache.kafka:kafka-clients:{version}");
        let log = "org.slf4j:slf4j-simple:1.7.36";
        cache::jars(directory, &[Jar::new(&client), Jar::new(log)]);
    })
    .join("libs")
    .join("*");
    let mut files = cache::files(&sources("java").join("src"), &["java"]);
    files.retain(|file| !without.iter().any(|name| file.ends_with(name)));
    let name = format!("client-java-{version}-jar-{}", cache::digest(&files));
    let program = cache::artifact(&name, |directory| {
        let classes = directory.join("classes");
        let mut command = Command::new("javac");
        command.args(["-nowarn", "-d"]).arg(&classes);
        cache::step(command.arg("-cp").arg(&libs).args(&files));
        let mut command = Command::new("jar");
        command.arg("cf").arg(directory.join("client.jar"));
        cache::step(command.arg("-C").arg(&classes).arg("."));
    });
    let path = format!(
        "{}:{}",
        program.join("client.jar").display(),
        libs.display()
    );
    let run = |classes: &Classes| {
        // Several of these run at once on small machines.
        let mut command = jvm::java(256, classes);
        command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        command.args(["-cp", &path, "Main"]);
        command
    };
    let classes = jvm::archived(&name, |kept| produce_once(version, &run, &kept));
    run(&classes)
}

/// Produces, which is what loads the most classes, and keeps those.
#[track_caller]
fn produce_once(version: &str, run: &dyn Fn(&Classes) -> Command, kept: &Classes) {
    let kafka = Kafka::single(Version::V4_4_0);
    let bootstrap = kafka.bootstrap(Listener::Plaintext);
    let to = ["--bootstrap", &bootstrap];
    // Not over the cluster's own client: it waits for these classes.
    let mut command = run(&Classes::Loaded);
    let mut admin = Process::spawn("admin", command.arg("admin").args(to));
    admin.write_line("create-topic --topic kept --partitions 1 --replication 1");
    admin.close_stdin();
    ended_well(version, admin);
    let mut command = run(kept);
    command.arg("produce").args(to);
    command.args(["--topic", "kept", "--partitions", "1", "--count", "100"]);
    ended_well(version, Process::spawn("produce", &mut command));
}

#[track_caller]
fn ended_well(version: &str, mut process: Process) {
    let status = process.wait(RUN_LIMIT);
    let tail = process.tail();
    assert!(
        status.success(),
        "kafka-clients {version}: {status}\n{tail}"
    );
}

/// What the last of these files of a client's folder asks for; it may name the others.
#[track_caller]
pub(super) fn python_environment(client: &str, requirements: &[&str]) -> PathBuf {
    let files: Vec<PathBuf> = requirements
        .iter()
        .map(|file| sources(client).join(file))
        .collect();
    let name = format!("venv-{client}-{}", cache::digest(&files));
    cache::artifact(&name, |directory| {
        cache::step(Command::new("python3").args(["-m", "venv"]).arg(directory));
        let mut command = Command::new(directory.join("bin/python"));
        command.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"]);
        command.arg("-r").args(files.last());
        cache::step(&mut command);
    })
}

/// The program of a client's folder in such an environment.
pub(super) fn python(environment: &Path, client: &str) -> Command {
    let mut command = Command::new(environment.join("bin/python"));
    command.arg(sources(client).join("client.py"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[track_caller]
fn go(client: &str) -> Command {
    let module = sources(client);
    let mut files = cache::files(&module, &["go", "mod", "sum"]);
    files.extend(cache::files(&sources("shared").join("go"), &["go", "mod"]));
    let name = format!("client-{client}-{}", cache::digest(&files));
    let built = cache::artifact(&name, |directory| {
        let mut command = Command::new("go");
        command.args(["build", "-o"]).arg(directory.join("client"));
        cache::step(command.arg(".").current_dir(&module));
    });
    Command::new(built.join("client"))
}

#[track_caller]
fn node() -> Command {
    let sources = sources("kafkajs");
    let manifest = sources.join("package.json");
    let digest = cache::digest(std::slice::from_ref(&manifest));
    let modules = cache::artifact(&format!("node-kafkajs-{digest}"), |directory| {
        std::fs::copy(&manifest, directory.join("package.json")).expect("package.json");
        let mut command = Command::new("npm");
        command.args(["install", "--no-package-lock", "--no-audit", "--no-fund"]);
        cache::step(command.current_dir(directory));
    });
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules.join("node_modules"));
    command.arg(sources.join("client.js"));
    command
}

/// The bytes that standard base64 stands for.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| DIGITS.iter().position(|d| *d == byte);
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0usize, 0);
    for digit in text.bytes().filter_map(digit) {
        (bits, count) = (bits << 6 | digit, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}
