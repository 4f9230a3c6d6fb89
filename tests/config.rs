//! What users write, and what they are told when it is wrong.
//!
//! Through the public interface only: files on disk, variables and flags as lists. Must not read the environment of the
//! machine the tests run on.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a failed helper is a failed test"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;
use throughline::config::{
    Config, ListenAddress, LogLevel, Mode, Override, Sli, Sources, changes, keys,
};

/// A directory with one file in it, and how to load it.
struct Case {
    dir: TempDir,
    sources: Sources,
}

impl Case {
    fn none() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
            sources: Sources::default(),
        }
    }

    fn file(text: impl AsRef<[u8]>) -> Self {
        let mut case = Self::none();
        case.sources.file = Some(case.write("t.yaml", text));
        case
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources
            .environment
            .push((name.to_owned(), value.to_owned()));
        self
    }

    fn set(self, key: &str, value: &str) -> Self {
        self.flag(&format!("--set {key}"), key, value)
    }

    fn flag(mut self, flag: &str, key: &str, value: &str) -> Self {
        self.sources.overrides.push(Override {
            flag: flag.to_owned(),
            key: key.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    fn load(&self) -> Config {
        match Config::load(&self.sources) {
            Ok(config) => config,
            Err(faults) => panic!("{faults}"),
        }
    }

    /// The faults, one per line, with the directory cut off.
    fn faults(&self) -> Vec<String> {
        let faults = match Config::load(&self.sources) {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(faults) => faults,
        };
        let dir = format!("{}/", self.dir.path().display());
        let text = faults.to_string().replace(&dir, "");
        text.lines().map(str::to_owned).collect()
    }
}

fn listen(text: &str) -> ListenAddress {
    text.parse().unwrap()
}

const REFERENCE: &str = include_str!("../config/reference.yaml");

#[test]
fn reference_is_the_defaults() {
    assert_eq!(Case::file(REFERENCE).load(), Config::default());
}

/// The reference with its commented-out keys in force.
fn uncommented() -> String {
    REFERENCE
        .lines()
        .map(|line| {
            let start = line.trim_start();
            let key = start
                .strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c == '-' || c.is_ascii_lowercase()));
            let indent = &line[..line.len() - start.len()];
            key.map_or_else(|| line.to_owned(), |key| format!("{indent}{key}")) + "\n"
        })
        .collect()
}

#[test]
fn reference_shows_every_key_and_no_other() {
    let mut shown = BTreeSet::new();
    let mut open: Vec<(usize, String)> = Vec::new();
    for line in uncommented().lines() {
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let mut indent = line.len() - content.len();
        let mut content = content;
        let mut item = "";
        if let Some(rest) = content.strip_prefix("- ") {
            (indent, content, item) = (indent + 2, rest, "[]");
        }
        open.retain(|(at, _)| *at < indent);
        if !item.is_empty() {
            let list = open.last_mut().unwrap();
            list.1.push_str(item);
        }
        let name = content.split(':').next().unwrap();
        let path = match open.last() {
            Some((_, parent)) => format!("{parent}.{name}"),
            None => name.to_owned(),
        };
        shown.insert(path.clone());
        open.push((indent, path));
    }
    let known: BTreeSet<String> = keys().into_iter().collect();
    assert_eq!(shown, known);
}

#[test]
fn uncommented_reference_is_accepted_but_for_its_files() {
    let faults = Case::file(uncommented()).faults();
    assert_eq!(faults.len(), 4, "{faults:#?}");
    let files = [
        "tls.ca_file",
        "tls.cert_file",
        "tls.key_file",
        "sasl.password_file",
    ];
    for (fault, key) in faults.iter().zip(files) {
        assert!(
            fault.contains(&format!("kafka.{key}: `/etc/throughline/"))
                && fault.contains("cannot be read: No such file"),
            "{fault}"
        );
    }
}

#[test]
fn effective_configuration_reads_back_as_itself() {
    let case = Case::file(
        "kafka: {bootstrap: 'a:1,[::1]:2', tls: {server_name: x.y}}\n\
         context: {mode: off, topics: [{match: ^a, mode: observe}]}\n\
         objectives: [{match: b, sli: latency}, {match: c, sli: latency, threshold_seconds: 0.25}]\n\
         names: [{match: c, as: d}]\nproxy: {connect_timeout_seconds: 1.5}\n",
    );
    let config = case.load();
    let again = Case::file(config.effective_json().to_string()).load();
    assert_eq!(again, config);
    let default = Case::file(Config::default().effective_json().to_string()).load();
    assert_eq!(default, Config::default());
}

/// Files that are wrong, and exactly what is said.
const WRONG: &[(&str, &[&str])] = &[
    (
        "sampling:\n  always: [slow, fast, duplicate]\n",
        &[
            "t.yaml:2: sampling.always: `fast` is unknown, allowed: slow, dead_letter, duplicate, error, none",
        ],
    ),
    (
        "event_log:\n  records: [slow, fast]\n  lines_per_second_per_topic: 0\n  headers: ['a b']\n  json_pointers: [order/id]\n\
         redaction:\n  headers: ['(']\n  json_pointers: x\n  patterns: ['[0-9]{13,19}', 'x*']\n",
        &[
            "t.yaml:2: event_log.records: `fast` is unknown, allowed: slow, dead_letter, retry, duplicate, schema, error, sampled",
            "t.yaml:3: event_log.lines_per_second_per_topic: `0` is out of range, allowed: 1 to 100000",
            "t.yaml:4: event_log.headers: `a b` is no header name, allowed: 1 to 249 visible ASCII characters",
            "t.yaml:5: event_log.json_pointers: `order/id` is no JSON pointer, allowed: a path that begins with /, for example /order/id",
            "t.yaml:7: redaction.headers: `(` is not a regular expression: unclosed group",
            "t.yaml:8: redaction.json_pointers: `x` is no JSON pointer, allowed: a path that begins with /, for example /order/id",
            "t.yaml:9: redaction.patterns: `x*` matches an empty text, allowed: what needs a character to match",
        ],
    ),
    (
        "sampling: {always: none, traces_per_second_per_topic: 0}\n",
        &[
            "t.yaml:1: sampling.traces_per_second_per_topic: `0` is out of range, allowed: 1 to 1000000",
        ],
    ),
    (
        "sampling: {always: [none, slow]}\n",
        &["t.yaml:1: sampling.always: has `none` beside others, allowed: one or the other"],
    ),
    (
        "kafka:\n  lisen: localhost:9092\n  bootstrap: [kafka, 'x:1']\nlimits:\n  connections: 0\n  frame_bytes: many\n\
         metrics:\n  partitions: \"true\"\nlog: {level: loud}\n",
        &[
            "t.yaml:2: kafka.lisen: unknown key, did you mean `listen`?",
            "t.yaml:3: kafka.bootstrap: `kafka` has no port, allowed: host:port, for example kafka:9092",
            "t.yaml:5: limits.connections: `0` is out of range, allowed: 1 to 100000",
            "t.yaml:6: limits.frame_bytes: `many` is not a whole number, allowed: 1024 to 2147483647",
            "t.yaml:8: metrics.partitions: `true` is not a boolean, allowed: true, false",
            "t.yaml:9: log.level: `loud` is not known, allowed: off, error, warn, info, debug, trace",
        ],
    ),
    (
        "context: {mode: injct}\notlp: {logs: maybe}\nowners: [{match: a}]\nmetrics: {compatibility: [x]}\n\
         kafka: {sasl: {username: a}}\n",
        &[
            "t.yaml:1: context.mode: `injct` is not known, allowed: inject, observe, off",
            "t.yaml:2: otlp.logs: `maybe` is not a boolean, allowed: true, false",
            "t.yaml:3: owners[0].team: is missing, allowed: a name",
            "t.yaml:4: metrics.compatibility: `x` is not known, allowed: kafka_exporter",
            "t.yaml:5: kafka.sasl.mechanism: is missing, allowed: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512",
            "t.yaml:5: kafka.sasl.password_file: is missing, allowed: the path of a file that holds the password and nothing else",
        ],
    ),
    (
        "log:\n  level: info\nproxy: 1\nlog:\n  level: loud\nworker_threads: 2\nzzz: 1\n",
        &[
            "t.yaml:3: proxy: is one value, allowed: a mapping of keys",
            "t.yaml:4: log: given twice, first at t.yaml:1",
            "t.yaml:6: worker_threads: unknown key, it stands at `proxy.worker_threads`",
            "t.yaml:7: zzz: unknown key, allowed: kafka, context, sampling, lineage, duplicates, dead_letter, schema, otlp, objectives, owners, expected_traffic, metrics, names, limits, proxy, observe, admin, audit, event_log, redaction, log, \
             drain_timeout_seconds",
        ],
    ),
    (
        "objectives:\n- {match: '(', sli: publish, threshold_seconds: 1, stage: fetched}\n- {sli: latncy, target: 95}\n- x\n\
         names: {match: a}\ncontext: {topics: [{match: a}]}\n",
        &[
            "t.yaml:2: objectives[0].match: `(` is not a regular expression: unclosed group",
            "t.yaml:2: objectives[0].stage: does not apply to sli publish, allowed with: latency",
            "t.yaml:2: objectives[0].threshold_seconds: does not apply to sli publish, allowed with: latency, lag",
            "t.yaml:3: objectives[1].match: is missing, allowed: a regular expression",
            "t.yaml:3: objectives[1].sli: `latncy` is not known, allowed: publish, availability, latency, processing, duplicates, dead_letter, schema, delivery, lag, broker, retention",
            "t.yaml:3: objectives[1].target: `95` is out of range, allowed: a share over 0 and under 1, for example 0.95 \
             for 95 %",
            "t.yaml:4: objectives[2]: is one value, allowed: a mapping with match, sli, threshold_seconds, target, stage",
            "t.yaml:5: names: is a mapping, allowed: a list of mappings with match, as",
            "t.yaml:6: context.topics[0].mode: is missing, allowed: inject, observe, off",
        ],
    ),
    (
        "kafka:\n  bootstrap_servers: a:1\n  tls:\n  listen: kafka:9092\n  advertise: a:1\ndrain_timeout: 3\n\
         proxy: {connect_timeout_seconds: 11, worker_threads: -1}\n",
        &[
            "t.yaml:2: kafka.bootstrap_servers: unknown key, did you mean `bootstrap`?",
            "t.yaml:3: kafka.tls: is empty, allowed: {} to switch it on, or no such key at all",
            "t.yaml:4: kafka.listen: `kafka:9092` is not an address to listen on, allowed: localhost:port or IP:port",
            "t.yaml:5: kafka.advertise: `a:1` carries a port or scheme, allowed: a host name or address alone",
            "t.yaml:6: drain_timeout: unknown key, did you mean `drain_timeout_seconds`?",
            "t.yaml:7: proxy.connect_timeout_seconds: `11` is out of range, allowed: 0.1 to 10 seconds",
            "t.yaml:7: proxy.worker_threads: `-1` is out of range, allowed: 1 to 256",
        ],
    ),
    (
        "log:\n  level: info\n  format: [text\n",
        &["t.yaml:4: not valid YAML: while parsing a flow sequence, expected ',' or ']'"],
    ),
    (
        "a: &a [x]\nb: *a\n",
        &["t.yaml:2: an alias (*name) is not allowed, repeat the value instead"],
    ),
    (
        "log: {level: !!str info}\n",
        &["t.yaml:1: tag tag:yaml.org,2002:!str is not allowed, remove it"],
    ),
    (
        "log: {}\n---\nlog: {}\n",
        &["t.yaml:2: a second document begins, allowed: one document per file"],
    ),
    (
        "? [a]\n: b\n",
        &["t.yaml:1: a key is a list or a mapping, allowed: plain text"],
    ),
    (
        "just text\n",
        &["t.yaml:1: is one value, allowed: a mapping of keys"],
    ),
    (
        "schema: {registry_url: 'http://me:secret@registry:8081', format: avro, decode_records_per_second: 0}\n",
        &[
            "t.yaml:1: schema.decode_records_per_second: `0` is out of range, allowed: 1 to 1000000",
            "t.yaml:1: schema.format: `avro` is not known, allowed: auto, off",
            "t.yaml:1: schema.registry_url: holds credentials, allowed: a URL without, and schema.headers_file with an authorization header",
        ],
    ),
    (
        "duplicates: {window_seconds: 0, memory_bytes: 1, ids: [{}]}\ndead_letter:\n  topics: '('\n  poison_deliveries: 1\n  categories: [{match: a, category: fatal}, {category: unknown}]\n",
        &[
            "t.yaml:1: duplicates.ids[0].header: is missing, allowed: one of header, json, regex",
            "t.yaml:1: duplicates.memory_bytes: `1` is out of range, allowed: 65536 to 4294967296",
            "t.yaml:1: duplicates.window_seconds: `0` is out of range, allowed: 1 to 604800 seconds",
            "t.yaml:3: dead_letter.topics: `(` is not a regular expression: unclosed group",
            "t.yaml:4: dead_letter.poison_deliveries: `1` is out of range, allowed: 2 to 1000000",
            "t.yaml:5: dead_letter.categories[0].category: `fatal` is not known, allowed: transient, persistent, unknown",
            "t.yaml:5: dead_letter.categories[1].match: is missing, allowed: a regular expression",
        ],
    ),
    (
        "observe:\n  canary:\n    topic: a/b\n    group: ''\n    interval_seconds: 0\n    late_seconds: 5\n    lost_seconds: 5\naudit: {topic: ..}\n",
        &[
            "t.yaml:3: observe.canary.topic: `a/b` is not a topic name, allowed: 1 to 249 of a-z, A-Z, 0-9, dot, underscore and hyphen",
            "t.yaml:4: observe.canary.group: `` is not a group name, allowed: 1 to 255 bytes without control characters",
            "t.yaml:5: observe.canary.interval_seconds: `0` is out of range, allowed: 0.1 to 300 seconds",
            "t.yaml:7: observe.canary.lost_seconds: is not more than late_seconds, allowed: more, so that late and lost can be told apart",
            "t.yaml:8: audit.topic: `..` is not a topic name, allowed: 1 to 249 of a-z, A-Z, 0-9, dot, underscore and hyphen",
        ],
    ),
    (
        "admin: {listen: '127.0.0.1:9092'}\n",
        &[
            "t.yaml:1: admin.listen: port 9092 is also that of kafka.listen (localhost:9092), allowed: another port",
        ],
    ),
];

#[test]
fn every_fault_is_reported_with_its_line() {
    for (text, expected) in WRONG {
        assert_eq!(Case::file(text).faults(), *expected, "{text}");
    }
}

#[test]
fn owners_and_expected_traffic_are_read_in_order_and_what_is_no_name_is_refused() {
    let config = Case::file(
        "owners: [{match: ^orders, team: checkout, tier: \"1\", tenant: shop}, {match: ., team: rest}]\n\
         expected_traffic: [{topic: orders}, {topic: ledger, within_seconds: 60}]\n",
    )
    .load();
    let owners: Vec<_> = config
        .owners
        .iter()
        .map(|o| (o.team.as_str(), o.tier.as_str()))
        .collect();
    assert_eq!(owners, [("checkout", "1"), ("rest", "")]);
    let silence = config
        .expected_traffic
        .iter()
        .map(|e| (e.topic.as_str(), e.within.as_secs()));
    assert_eq!(
        silence.collect::<Vec<_>>(),
        [("orders", 900), ("ledger", 60)]
    );
    let faults = Case::file(
        "owners: [{match: \"(\", team: \"\"}]\nexpected_traffic: [{topic: \"^a\"}, {topic: a, within_seconds: 5}]\n",
    )
    .faults();
    let wanted = [
        "owners[0].team: `` is not a name, allowed: 1 to 128 bytes",
        "owners[0].match: ",
        "expected_traffic[0].topic: `^a` is not the name of a topic",
        "expected_traffic[1].within_seconds: `5` is out of range",
    ];
    assert_eq!(faults.len(), wanted.len(), "{faults:?}");
    for fault in wanted {
        assert!(
            faults.iter().any(|told| told.contains(fault)),
            "{fault}: {faults:?}"
        );
    }
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let file = "kafka:\n  listen: localhost:1\nlog:\n  level: warn\n";
    let base = || Case::file(file);
    assert_eq!(base().load().kafka.listen, listen("localhost:1"));
    let env = || base().env("THROUGHLINE_KAFKA_LISTEN", "localhost:2");
    assert_eq!(env().load().kafka.listen, listen("localhost:2"));
    let set = env().set("kafka.listen", "localhost:3").load();
    assert_eq!(set.kafka.listen, listen("localhost:3"));
    assert_eq!(set.log.level, LogLevel::Warn);
    assert_eq!(set.admin, Config::default().admin);
}

#[test]
fn lists_and_sections_come_from_variables_and_flags() {
    let config = Case::file("kafka: {tls: {server_name: a}}")
        .env("THROUGHLINE_KAFKA_BOOTSTRAP", "a:9092, [::1]:9093")
        .env("THROUGHLINE_KAFKA_TLS_INSECURE_SKIP_VERIFY", "true")
        .env("THROUGHLINE_KAFKA_CLUSTER_NAME", "")
        .env("HOME", "/root")
        .set(
            "objectives",
            "[{match: ^orders$, sli: latency, threshold_seconds: 30}]",
        )
        .set("kafka.tls", "{}")
        .load();
    let bootstrap: Vec<String> = config
        .kafka
        .bootstrap
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(bootstrap, ["a:9092", "[::1]:9093"]);
    let tls = config.kafka.tls.unwrap();
    assert!(tls.insecure_skip_verify && tls.server_name.is_some());
    assert_eq!(config.objectives[0].sli, Sli::Latency);
    let brackets = Case::none().set("kafka.bootstrap", "[::1]:9093").load();
    assert_eq!(brackets.kafka.bootstrap[0].host, "::1");
    let flow = Case::none().set("kafka.bootstrap", "[a:1, b:2]").load();
    assert_eq!(flow.kafka.bootstrap.len(), 2);
}

#[test]
fn faults_of_variables_and_flags_name_them() {
    let faults = Case::none()
        .env("THROUGHLINE_KAFKA_LISTN", "x")
        .env("THROUGHLINE_LOG_LEVEL", "loud")
        .env("THROUGHLINE_OWNERS", "[{match: x}]")
        .set("kafka.listen", "9092")
        .set("kafka", "{}")
        .set("objectives[0].target", "1")
        .set("kafka.tls", "{ca_fil: x}")
        .set("names", "[")
        .flag("--listen", "kafka.listen", "localhost:1")
        .flag("--otlp-endpoint", "otlp.endpoint", "x")
        .faults();
    assert_eq!(
        faults,
        [
            "THROUGHLINE_KAFKA_LISTN: unknown variable, did you mean `THROUGHLINE_KAFKA_LISTEN`?",
            "THROUGHLINE_LOG_LEVEL: log.level: `loud` is not known, allowed: off, error, warn, info, debug, trace",
            "THROUGHLINE_OWNERS: owners[0].team: is missing, allowed: a name",
            "--listen: kafka.listen: given twice, also by --set kafka.listen",
            "--otlp-endpoint: otlp.endpoint: `x` is no URL, allowed: http:// or https:// with host and port, for example http://localhost:4317",
            "--set kafka: kafka: is a section, allowed: kafka.bootstrap, kafka.listen, kafka.broker_listen, kafka.advertise, \
             kafka.cluster_name, kafka.tls, kafka.tls.ca_file, kafka.tls.cert_file, kafka.tls.key_file, \
             kafka.tls.server_name, kafka.tls.insecure_skip_verify, kafka.sasl, kafka.sasl.mechanism, kafka.sasl.username, kafka.sasl.password_file",
            "--set kafka.listen: kafka.listen: `9092` has no port, allowed: host:port, for example kafka:9092",
            "--set kafka.tls: kafka.tls.ca_fil: unknown key, did you mean `ca_file`?",
            "--set names: names: not valid YAML: while parsing a node, did not find expected node content",
            "--set objectives[0].target: objectives[0].target: is inside a list, allowed: `objectives` as a whole, for \
             example '[...]'",
        ]
    );
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_of_our_name_are_not_keys() {
    Case::none()
        .env("THROUGHLINE_SERVICE_HOST", "10.0.0.1")
        .env("THROUGHLINE_SERVICE_PORT", "9470")
        .env("THROUGHLINE_SERVICE_PORT_METRICS", "9470")
        .env("THROUGHLINE_PORT", "tcp://10.0.0.1:9470")
        .env("THROUGHLINE_PORT_9470_TCP", "tcp://10.0.0.1:9470")
        .env("THROUGHLINE_PORT_9470_TCP_PROTO", "tcp")
        .env("THROUGHLINE_PORT_9470_TCP_PORT", "9470")
        .env("THROUGHLINE_PORT_9470_TCP_ADDR", "10.0.0.1")
        .env("THROUGHLINE_CONFIG", "/etc/x.yaml")
        .load();
}

#[test]
fn bootstrap_that_is_our_own_address_prints_the_command_to_run_instead() {
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "LOCALHOST",
        "0.0.0.0",
        "laptop",
        "[::ffff:127.0.0.1]",
    ] {
        let mut case = Case::none().flag("--bootstrap", "kafka.bootstrap", &format!("{host}:9092"));
        case.sources.hostname = Some("laptop.lan".to_owned());
        let words = [
            "throughline",
            "run",
            "--bootstrap",
            "localhost:9092",
            "--set",
            "log.level=debug",
        ];
        case.sources.command = words.map(str::to_owned).to_vec();
        let shown = host.to_owned();
        assert_eq!(
            case.faults(),
            [format!(
                "--bootstrap: kafka.bootstrap: `{shown}:9092` is our own listen address (localhost:9092), listen \
                 elsewhere: throughline run --bootstrap localhost:9092 --set log.level=debug --listen localhost:19092"
            )]
        );
    }
    let other = |bootstrap: &str, listen: &str| {
        Case::none()
            .set("kafka.bootstrap", bootstrap)
            .set("kafka.listen", listen)
            .load()
    };
    other("localhost:9093", "localhost:9092");
    other("kafka:9092", "localhost:9092");
    other("127.0.0.1:9092", "10.0.0.5:9092");
    let mut given = Case::none()
        .flag("--listen", "kafka.listen", "[::]:9095")
        .set("kafka.bootstrap", "[::1]:9095");
    let words = [
        "throughline",
        "check",
        "--listen",
        "[::]:9095",
        "--set=kafka.listen=x",
        "--config",
        "a b.yaml",
    ];
    given.sources.command = words.map(str::to_owned).to_vec();
    assert!(
        given.faults()[0].ends_with("throughline check --config 'a b.yaml' --listen [::]:19095")
    );
}

#[test]
fn a_missing_bootstrap_is_a_fault_where_a_role_needs_one() {
    let mut case = Case::none().set("kafka.listen", "localhost:1");
    case.sources.needs_bootstrap = true;
    assert_eq!(
        case.faults(),
        [
            "configuration: kafka.bootstrap: is missing, allowed: one or more host:port, for example --bootstrap kafka:9092"
        ]
    );
}

#[test]
fn files_too_large_too_deep_or_unreadable_are_refused() {
    let large = Case::file("# padding\n".repeat(1_100_000)).faults();
    assert_eq!(large, ["t.yaml: is too large, allowed: 1048576 bytes"]);
    let deep = Case::file(format!("a: {}", "[".repeat(100))).faults();
    assert_eq!(deep, ["t.yaml:1: nested deeper than 16 levels"]);
    let blocks = Case::file("- ".repeat(100_000)).faults();
    assert_eq!(blocks, ["t.yaml:1: nested deeper than 16 levels"]);
    assert_eq!(Case::file("[".repeat(1_000_000)).faults().len(), 1);
    let many = Case::file(format!("a: [{}]", "1,".repeat(100_000))).faults();
    assert_eq!(many, ["t.yaml:1: more than 20000 values in one file"]);
    let rules = format!("names: [{}]", "{match: a, as: b},".repeat(1_001));
    assert_eq!(
        Case::file(rules).faults(),
        ["t.yaml:1: names: has 1001 rules, allowed: 1000"]
    );
    let pattern = Case::none()
        .set("names", "[{match: '(\\w{100}){100}', as: b}]")
        .faults();
    assert!(
        pattern[0].ends_with("is not a regular expression: it is too large"),
        "{pattern:?}"
    );
    let bytes = Case::file(b"log: {}\n\xff").faults();
    assert_eq!(bytes, ["t.yaml:2: not valid UTF-8"]);
    let mut absent = Case::none();
    absent.sources.file = Some(absent.dir.path().join("no.yaml"));
    assert_eq!(
        absent.faults(),
        ["no.yaml: cannot be read: No such file or directory (os error 2)"]
    );
    let mut directory = Case::none();
    directory.sources.file = Some(directory.dir.path().to_owned());
    assert_eq!(directory.faults().len(), 1);
}

#[test]
fn tls_files_are_read_and_must_fit_together() {
    let case = Case::none();
    let signed = rcgen::generate_simple_self_signed(["kafka".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["kafka".to_owned()]).unwrap();
    let certificate = case.write("cert.pem", signed.cert.pem());
    let key = case.write("key.pem", signed.signing_key.serialize_pem());
    let wrong_key = case.write("other.pem", other.signing_key.serialize_pem());
    let tls = |cert: &PathBuf, key: &PathBuf| {
        let value = format!(
            "{{ca_file: {0}, cert_file: {0}, key_file: {1}}}",
            cert.display(),
            key.display()
        );
        Case::none().set("kafka.tls", &value)
    };
    let config = tls(&certificate, &key).load();
    let shown = format!("{config:?}{}", config.effective_json());
    let secret: Vec<String> = signed
        .signing_key
        .serialize_der()
        .iter()
        .map(|b| b.to_string())
        .collect();
    assert!(!shown.contains(&secret[..20].join(", ")) && !shown.contains("PRIVATE"));
    let read = config.kafka.tls.unwrap();
    assert_eq!(
        (
            read.roots.unwrap().len(),
            read.identity.unwrap().chain.len()
        ),
        (1, 1)
    );

    let mismatch = tls(&certificate, &wrong_key).faults();
    assert!(
        mismatch[0]
            .ends_with("is not the key of the first certificate in cert_file, allowed: a pair"),
        "{mismatch:?}"
    );
    let swapped = tls(&key, &certificate).faults();
    assert_eq!(swapped.len(), 3, "{swapped:?}");
    let alone = Case::none()
        .set("kafka.tls.cert_file", &certificate.display().to_string())
        .faults();
    assert_eq!(
        alone,
        [
            "--set kafka.tls.cert_file: kafka.tls.cert_file: stands without key_file, allowed: both or neither"
        ]
    );
}

#[test]
fn the_token_is_never_shown() {
    let case = Case::none();
    let path = case.write("token", "correct-horse-battery-staple\n");
    let case = case.set("admin.token_file", &path.display().to_string());
    let config = case.load();
    let token = config.admin.token.clone().unwrap();
    assert_eq!(token.expose(), "correct-horse-battery-staple");
    let shown = format!("{config:?} {config:#?} {}", config.effective_json());
    assert!(!shown.contains("correct-horse"), "{shown}");
    fs::write(&path, "short").unwrap();
    let faults = case.faults();
    assert!(
        !faults[0].contains("short") && faults[0].contains("holds no token"),
        "{faults:?}"
    );
}

#[test]
fn a_password_is_read_from_its_file_and_never_shown() {
    let case = Case::none();
    let path = case.write("password", "correct horse, battery=staple\r\n");
    let case = case
        .set("kafka.sasl.mechanism", "SCRAM-SHA-512")
        .set("kafka.sasl.username", "throughline")
        .set("kafka.sasl.password_file", &path.display().to_string());
    let config = case.load();
    let sasl = config.kafka.sasl.clone().unwrap();
    assert_eq!(sasl.password.expose(), "correct horse, battery=staple");
    let shown = format!("{config:?} {config:#?} {}", config.effective_json());
    assert!(!shown.contains("correct"), "{shown}");
    assert!(shown.contains("SCRAM-SHA-512"), "{shown}");
    // Another password behind the same path.
    fs::write(&path, "other").unwrap();
    assert_eq!(changes(&config, &case.load()).needs_restart, ["kafka.sasl"]);
    for wrong in ["", "\n", "two\nlines"] {
        fs::write(&path, wrong).unwrap();
        let faults = case.faults();
        assert!(faults[0].contains("holds no password"), "{faults:?}");
    }
    let case =
        Case::file("kafka: {sasl: {mechanism: GSSAPI, username: a, password_file: /nowhere}}\n");
    let faults = case.faults();
    assert!(
        faults[0].contains("`GSSAPI` is not known, allowed: PLAIN"),
        "{faults:?}"
    );
}

#[test]
fn a_canary_is_there_once_it_is_named_and_only_then() {
    assert_eq!(
        Case::file("observe: {cycle_seconds: 5}\n")
            .load()
            .observe
            .canary,
        None
    );
    let given = Case::file("observe: {canary: {}}\n").load().observe.canary;
    let default = throughline::config::CanaryConfig::default();
    assert_eq!(given, Some(default.clone()));
    let set = Case::none()
        .set("observe.canary.late_seconds", "0.5")
        .load();
    let canary = set.observe.canary.clone().expect("a canary");
    assert_eq!(canary.late.as_millis(), 500);
    assert_eq!(canary.topic, default.topic);
    assert_eq!(
        set.effective_json()["observe"]["canary"]["late_seconds"],
        0.5
    );
}

#[test]
fn a_reload_says_what_applies_and_what_needs_a_restart() {
    let old = Case::file("kafka: {bootstrap: a:1}").load();
    let new = Case::file(
        "kafka: {bootstrap: b:1, tls: {}}\ncontext: {mode: off}\nobjectives: [{match: a, sli: latency}]\nlog: {level: debug, format: json}\n",
    )
    .load();
    assert_eq!(new.context.mode, Mode::Off);
    let found = changes(&old, &new);
    assert_eq!(found.applied_live, ["context.mode", "log.level"]);
    let tls = [
        "ca_file",
        "cert_file",
        "insecure_skip_verify",
        "key_file",
        "server_name",
    ]
    .map(|k| format!("kafka.tls.{k}"));
    let mut restart = vec!["kafka.bootstrap".to_owned()];
    restart.extend(tls);
    restart.extend(["log.format".to_owned(), "objectives".to_owned()]);
    assert_eq!(found.needs_restart, restart);
    assert_eq!(changes(&new, &new), throughline::config::Changes::default());
}

#[test]
fn a_token_changed_behind_its_path_needs_a_restart() {
    let case = Case::none();
    let path = case.write("token", "a".repeat(20));
    let case = case.set("admin.token_file", &path.display().to_string());
    let old = case.load();
    fs::write(&path, "b".repeat(20)).unwrap();
    assert_eq!(
        changes(&old, &case.load()).needs_restart,
        ["admin.token_file"]
    );
}

/// Text that often gets past the parser: our keys among YAML's own characters.
fn yaml_like() -> impl Strategy<Value = String> {
    let mut words: Vec<String> = keys()
        .iter()
        .flat_map(|key| key.split('.').map(|part| part.replace("[]", "")))
        .collect();
    let marks = [
        ": ",
        ":\n",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "? ",
        "& ",
        "&a ",
        "*a ",
        "!t ",
        "|\n",
        ">-\n",
        "'",
        "\"",
        "#",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "~",
        "null",
        "<<",
        "1e999",
        "-1",
        "0",
        "true",
        "localhost:9092",
        "\t",
        "\u{feff}",
    ];
    words.extend(marks.map(str::to_owned));
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let case = Case::file(bytes);
        drop(Config::load(&case.sources));
    }

    #[test]
    fn arbitrary_yaml_never_panics_and_faults_are_single_lines(text in yaml_like()) {
        let case = Case::file(text);
        if let Err(faults) = Config::load(&case.sources) {
            for fault in &faults {
                prop_assert_eq!(fault.to_string().lines().count(), 1);
            }
        }
    }

    #[test]
    fn arbitrary_flags_and_variables_never_panic(key in "[a-z_.]{0,20}", index in 0..100_usize, value in "\\PC{0,40}") {
        let keys = keys();
        let known = keys[index % keys.len()].clone();
        let variable = format!("THROUGHLINE_{}", known.replace('.', "_").to_uppercase());
        let case = Case::none().set(&key, &value).set(&known, &value).env(&variable, &value);
        drop(Config::load(&case.sources));
    }
}

#[test]
fn patterns_may_hold_commas_and_an_empty_list_takes_the_default_away() {
    let redaction = |case: Case| case.load().redaction;
    let given = |case: Case| {
        let patterns = redaction(case).patterns;
        let texts = patterns.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>()
    };
    let file = Case::file("redaction: {patterns: ['[0-9]{13,19}', 'a,b']}\n");
    assert_eq!(given(file), ["[0-9]{13,19}", "a,b"]);
    let variable = Case::none().env("THROUGHLINE_REDACTION_PATTERNS", "[0-9]{13,19}");
    assert_eq!(given(variable), ["[0-9]{13,19}"]);
    let flag = Case::none().set("redaction.patterns", "['x{1,2}', y]");
    assert_eq!(given(flag), ["x{1,2}", "y"]);
    assert_eq!(redaction(Case::none()).headers.len(), 1);
    assert!(
        redaction(Case::file("redaction: {headers: []}"))
            .headers
            .is_empty()
    );
}
