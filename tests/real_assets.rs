//! Rules, routing and dashboards against what a real sidecar and a real observer export.
//!
//! Why: an alert that names what nobody exports, or a panel that stays empty, is found at 3 a.m. Rule files are used as they are shipped; so
//! that CI need not wait half an hour, minutes of `interval` and `for` are seconds here (and 30 s are 5), unless `THROUGHLINE_ASSETS_SECONDS` (how long
//! all is well, and then is not) is over 600, as in `make acceptance`. Windows are never shortened.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use regex::Regex;
use serde_json::Value;
use support::alertmanager::{ALWAYS, Alertmanager, with_interval};
use support::clients::{Client, Running};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::prometheus::{Prometheus, PrometheusSpec, Sample};
use support::registry::Registry;
use support::throughline::{Throughline, ThroughlineSpec};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(120);
const CLUSTER: &str = "assets";
const DAY: u64 = 86_400;
/// Two versions of what is written to `articles`.
const SCHEMAS: [&str; 2] = [
    r#"{"type":"record","name":"Article","fields":[{"name":"id","type":"string"}]}"#,
    r#"{"type":"record","name":"Article","fields":[{"name":"id","type":"string"},{"name":"price","type":"long","default":0}]}"#,
];

/// How long all is well, and how long what is not may take to be told.
fn duration() -> Duration {
    let wanted = std::env::var("THROUGHLINE_ASSETS_SECONDS");
    let seconds = wanted.map_or(30, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

fn is_whole() -> bool {
    duration() > Duration::from_secs(600)
}

/// The shipped rules.
fn rules() -> Vec<String> {
    let times = Regex::new(r"(?m)^( +(for|interval): )(\d+)([smh])$").expect("a regex");
    let files = ["throughline.rules.yaml", "throughline.alerts.yaml"].into_iter();
    let texts = files.map(|file| {
        let path = root().join("alerts").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        if is_whole() {
            return text;
        }
        let seconds = |found: &regex::Captures<'_>| {
            let count: u64 = found[3].parse().expect("a number");
            let seconds = match &found[4] {
                "h" => count * 60,
                "m" => count,
                _ => count / 6,
            };
            // Three evaluations: one scrape or look that this machine holds up is no alert.
            let seconds = seconds.max(if &found[2] == "for" { 15 } else { 0 });
            format!("{}{seconds}s", &found[1])
        };
        times.replace_all(&text, seconds).into_owned()
    });
    texts.collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A cluster, what watches it, and the programs.
struct Stage {
    kafka: Kafka,
    checkout: Throughline,
    reports: Option<Throughline>,
    _observer: Throughline,
    alertmanager: Alertmanager,
    prometheus: Prometheus,
    registry: Registry,
    running: Vec<Running>,
}

impl Stage {
    fn start() -> Self {
        let registry = Registry::start();
        let kafka = Kafka::start(KafkaSpec::new(Version::V4_4_0).brokers(3));
        let at = kafka.bootstrap(Listener::Plaintext);
        let owners = "[{match: '^(orders|invoices|ledger|archive|articles)', team: checkout, tier: '1', tenant: shop}, \
             {match: '^payments$', team: payments}]";
        let declared = |spec: ThroughlineSpec| {
            spec.set("kafka.cluster_name", CLUSTER)
                .set("owners", owners)
                .set("metrics.partitions", "true")
                // What else this machine has to do is no fault of the cluster.
                .set(
                    "objectives",
                    "[{match: ., sli: latency, threshold_seconds: 5}]",
                )
        };
        let sidecar = || declared(ThroughlineSpec::new(&at));
        let checkout = sidecar().set("expected_traffic", "[{topic: ledger, within_seconds: 60}]");
        let checkout = checkout.set("schema.registry_url", &registry.url());
        let checkout = Throughline::start(checkout);
        let reports = Throughline::start(sidecar());
        let observer = declared(ThroughlineSpec::observer(&at))
            .set("observe.delivery_deadline_seconds", "20")
            .set("observe.quota_bytes", "100000000000")
            .set("observe.canary", "{topic: throughline-canary}")
            .set("metrics.compatibility", "[kafka_exporter]");
        let observer = Throughline::start(observer);
        let alertmanager = Alertmanager::with(|text| {
            let text = with_interval(&text, "office-hours", ALWAYS);
            let repeats = Regex::new(r"group_interval: \w+").expect("a regex");
            repeats
                .replace_all(&text, "group_interval: 5s")
                .into_owned()
        });
        let address = alertmanager.url();
        let address = address.strip_prefix("http://").expect("an address");
        let prometheus = Prometheus::start(&PrometheusSpec {
            targets: vec![
                ("throughline-sidecar", checkout.admin_address()),
                ("throughline-sidecar", reports.admin_address()),
                ("throughline-observer", observer.admin_address()),
            ],
            rules: rules(),
            alertmanager: Some(address.parse().expect("an address")),
            history: Some(history()),
        });
        Self {
            kafka,
            checkout,
            reports: Some(reports),
            _observer: observer,
            alertmanager,
            prometheus,
            registry,
            running: Vec::new(),
        }
    }

    fn begin(&mut self, client: Client, sidecar: fn(&Self) -> &Throughline, line: &str) {
        let line = format!("{line} --bootstrap {}", sidecar(self).bootstrap());
        let words: Vec<&str> = line.split_whitespace().collect();
        self.running.push(client.start(&words));
    }

    /// What goes on all the time: orders are made, billed, and read for a report.
    fn go_about(&mut self) {
        for (topic, partitions) in [
            ("orders", 6),
            ("payments", 6),
            ("ledger", 1),
            ("archive", 1),
            ("articles", 1),
            ("throughline-canary", 3),
        ] {
            let replication = if topic == "payments" { 1 } else { 3 };
            self.kafka.admin(&format!(
                "create-topic --topic {topic} --partitions {partitions} --replication {replication}"
            ));
        }
        self.begin(
            Client::Java,
            |stage| &stage.checkout,
            "pipe --shape one-to-one --topic orders --group billing --member billing --into payments --commit sync",
        );
        self.begin(
            Client::Librdkafka,
            |stage| stage.reports.as_ref().expect("still there"),
            "consume --topic orders --group reports --member reports",
        );
        // Who reads is there before there is anything to read: what waits for its first reader is late.
        for program in &self.running {
            let given = |line: &Value| {
                let partitions = line["partitions"].as_array();
                line["type"] == "assigned" && partitions.is_some_and(|given| !given.is_empty())
            };
            program.wait_for("an assignment", LIMIT, |lines| {
                lines.iter().any(given).then_some(())
            });
        }
        self.begin(
            Client::Librdkafka,
            |stage| &stage.checkout,
            "pipe --shape source --topic none --into orders --count 1000000 --delay-ms 100",
        );
        self.begin(
            Client::Librdkafka,
            |stage| &stage.checkout,
            "produce --topic ledger --partitions 1 --count 1000000 --delay-ms 1000 --now",
        );
        let first = self.register(SCHEMAS[0]);
        self.write(first, b"\x02a");
    }

    /// Writes values as Confluent's serializers frame them.
    fn write(&self, id: i32, message: &[u8]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.checkout.bootstrap())
            .create()
            .expect("a producer");
        let value = [&[0][..], &id.to_be_bytes(), message].concat();
        for _ in 0..20 {
            let record = BaseRecord::<str, [u8]>::to("articles").payload(&value);
            producer.send(record).expect("room in the queue");
        }
        producer.flush(LIMIT).expect("all are acknowledged");
    }

    fn register(&self, schema: &str) -> i32 {
        let id = self.registry.register("articles-value", "AVRO", schema);
        id.expect("is taken")
    }

    /// Waits until all has been well for the whole time; nothing but the watchdog may have fired.
    fn is_well(&self) {
        let ends = Instant::now() + duration();
        poll_until("the healthy time is over", duration() + LIMIT, || {
            let told = !self.alertmanager.hook.to("/dead-mans-switch").is_empty();
            (Instant::now() > ends && told).then_some(())
        });
        let fired = self.fired();
        let names: BTreeSet<&str> = fired.iter().map(|alert| alert.label("alertname")).collect();
        assert_eq!(names, BTreeSet::from(["Watchdog"]), "{fired:?}");
        for path in ["/pager", "/ticket", "/chat"] {
            let told = self.alertmanager.hook.to(path);
            assert!(told.is_empty(), "{path}: {told:?}");
        }
    }

    /// What has fired since the start.
    fn fired(&self) -> Vec<Sample> {
        self.prometheus
            .query("last_over_time(ALERTS{alertstate=\"firing\"}[1h])")
    }

    /// Everything that goes wrong without a broker's fault.
    fn go_wrong(&mut self) {
        // Some write articles in a newer version, and some in one that nobody registered.
        let newer = self.register(SCHEMAS[1]);
        self.write(newer, b"\x02a\x02");
        self.write(999_999, b"\x02a");
        // The report's only member leaves, and orders go on.
        let reports = self.running.remove(1);
        reports.leave(LIMIT);
        // Nothing more for the ledger.
        let ledger = self.running.remove(2);
        ledger.kill();
        // Of what auditors have not read, retention takes the most.
        let produce = "--partitions 1 --count 100";
        support::kafka::run(&self.checkout.bootstrap(), "produce", "archive", produce);
        self.kafka
            .admin("commit --topic archive --group auditors --offset 10");
        self.sees("throughline_group_lag_records{topic=\"archive\", group=\"auditors\"} == 90");
        self.kafka
            .admin("delete-records --topic archive --partition 0 --before 80");
        // A program whose every invoice is too large.
        self.begin(
            Client::Java,
            |stage| &stage.checkout,
            "produce --topic invoices --partitions 1 --count 40 --value-bytes 2000000 --property max.request.size=8000000",
        );
        // And one that gives up on every twentieth order.
        self.begin(
            Client::Java,
            |stage| &stage.checkout,
            "pipe --shape dead-letter --topic orders --group risk --member risk --into scores --retry orders-retry --dead orders-dlt --commit sync",
        );
    }

    fn sees(&self, expr: &str) {
        poll_until(expr, LIMIT, || {
            let seen = self.prometheus.query(expr);
            (!seen.is_empty()).then_some(())
        });
    }

    /// Waits until a receiver was told of an alert with these labels.
    fn is_told(&self, path: &str, name: &str, labels: &[(&str, &str)]) -> Value {
        let fits = |alert: &Value| {
            let labels = labels
                .iter()
                .all(|(label, value)| alert["labels"][label] == *value);
            labels && alert["labels"]["alertname"] == name && alert["status"] == "firing"
        };
        let told = || {
            let all = self.alertmanager.hook.to(path).into_iter();
            let alerts = all.filter_map(|told| told.body["alerts"].as_array().cloned());
            alerts.flatten().find(|alert| fits(alert))
        };
        let limit = LIMIT * 2 + duration() * 2;
        let found = support::deadline::try_poll_until(limit, told);
        found.unwrap_or_else(|| {
            panic!(
                "{name} {labels:?} did not reach {path}; fired: {:?}",
                self.fired()
            )
        })
    }
}

/// A month of a healthy topic, as the rules would have recorded it, and its traffic of the last three weeks at this hour.
fn history() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let now = now / 300 * 300;
    let mut text = String::new();
    for (window, minutes) in [("5m", 5), ("30m", 30), ("1h", 60), ("2h", 120)] {
        for (what, per_minute) in [("events", 1000), ("good_events", 999)] {
            let name = format!("cluster_sli_topic_group:throughline_sli_{what}:increase{window}");
            text.push_str(&format!("# TYPE {name} gauge\n"));
            let labels = [
                "sli=\"publish\",topic=\"orders\"",
                "sli=\"delivery\",topic=\"orders\",group=\"billing\"",
            ];
            for (labels, step) in labels
                .into_iter()
                .flat_map(|labels| (0..30 * DAY / 300).rev().map(move |step| (labels, step)))
            {
                let at = now - 7_200 - step * 300;
                let value = per_minute * minutes;
                text.push_str(&format!(
                    "{name}{{cluster=\"{CLUSTER}\",job=\"throughline\",instance=\"throughline\",{labels}}} {value} {at}\n"
                ));
            }
        }
    }
    for family in ["produced", "dead_letter"] {
        let name = format!("cluster_topic:throughline_{family}_records:rate1h");
        text.push_str(&format!("# TYPE {name} gauge\n"));
        for week in [3, 2, 1] {
            for minute in 0..120 {
                let at = now - week * 7 * DAY - 600 + minute * 60;
                text.push_str(&format!(
                    "{name}{{cluster=\"{CLUSTER}\",job=\"throughline\",instance=\"throughline\",topic=\"orders\"}} 0.5 {at}\n"
                ));
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// (dashboard, panel, query) of everything that asks Prometheus, with all of every variable.
fn queries() -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for name in ["executive", "on-call", "debug", "sidecar"] {
        let path = root().join("dashboards").join(format!("{name}.json"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let board: Value = serde_json::from_str(&text).expect("JSON");
        let variables = board["templating"]["list"].as_array().expect("variables");
        let mut values: BTreeMap<String, String> = variables
            .iter()
            .map(|variable| {
                let all = variable["allValue"].as_str().unwrap_or(".*");
                (
                    variable["name"].as_str().unwrap_or_default().to_owned(),
                    all.to_owned(),
                )
            })
            .collect();
        for (builtin, value) in [
            ("__rate_interval", "1m"),
            ("__range", "30m"),
            ("__interval", "15s"),
        ] {
            values.insert(builtin.to_owned(), value.to_owned());
        }
        let mut panels = board["panels"].as_array().expect("panels").clone();
        while let Some(panel) = panels.pop() {
            panels.extend(panel["panels"].as_array().into_iter().flatten().cloned());
            for target in panel["targets"].as_array().into_iter().flatten() {
                let source = target["datasource"]["type"].as_str();
                let source = source.or(panel["datasource"]["type"].as_str());
                if source == Some("prometheus") {
                    let expr = target["expr"].as_str().unwrap_or_default();
                    let title = panel["title"].as_str().unwrap_or_default();
                    all.push((name.to_owned(), title.to_owned(), filled(expr, &values)));
                }
            }
        }
    }
    assert!(all.len() > 50, "{} queries", all.len());
    all
}

/// A query with values for its variables.
fn filled(expr: &str, values: &BTreeMap<String, String>) -> String {
    let variable = Regex::new(r"\$\{?([a-z_]+)(?::[a-z]+)?\}?").expect("a regex");
    let value = |found: &regex::Captures<'_>| {
        let value = values.get(&found[1]);
        value
            .unwrap_or_else(|| panic!("{expr}: no variable {}", &found[1]))
            .clone()
    };
    variable.replace_all(expr, value).into_owned()
}

/// What of the dashboards stays empty for good.
fn empty(prometheus: &Prometheus) -> Vec<String> {
    let mut open = queries();
    let emptied = support::deadline::try_poll_until(LIMIT, || {
        open.retain(|(_, _, expr)| prometheus.query(expr).is_empty());
        open.is_empty().then_some(())
    });
    if emptied.is_some() {
        return Vec::new();
    }
    let left = open.into_iter();
    left.map(|(board, panel, expr)| format!("{board}: {panel}: {expr}"))
        .collect()
}

#[test]
fn a_healthy_cluster_fires_nothing_a_failing_one_pages_with_annotations_and_no_panel_is_empty() {
    let mut stage = Stage::start();
    stage.go_about();
    stage.sees("throughline_delivered_records_total{group=\"billing\"} > 10");
    stage.is_well();
    stage.go_wrong();
    let own = "/pager/checkout";
    let told = [
        stage.is_told(
            own,
            "RecordsLost",
            &[("topic", "archive"), ("group", "auditors")],
        ),
        stage.is_told(
            own,
            "GroupDeadWithBacklog",
            &[("topic", "orders"), ("group", "reports")],
        ),
        stage.is_told(
            own,
            "ErrorBudgetBurnFast",
            &[("sli", "publish"), ("topic", "invoices")],
        ),
        stage.is_told(
            own,
            "DeadLetterGrowth",
            &[("topic", "orders-retry"), ("group", "risk")],
        ),
        stage.is_told("/ticket", "SchemaFailures", &[("topic", "articles")]),
        stage.is_told("/ticket", "SchemaDrift", &[("topic", "articles")]),
        stage.is_told(own, "TrafficAbsent", &[("topic", "ledger")]),
        stage.is_told(
            "/ticket",
            "ErrorRateHigh",
            &[("sli", "publish"), ("topic", "invoices")],
        ),
        stage.is_told(
            "/chat",
            "ErrorBudgetBurnFast",
            &[("sli", "dead_letter"), ("group", "risk")],
        ),
    ];
    let empty = empty(&stage.prometheus);
    assert!(
        empty.is_empty(),
        "{} queries have no data:\n{}",
        empty.len(),
        empty.join("\n")
    );
    let exemplars = "throughline_end_to_end_latency_seconds_bucket";
    assert!(
        stage.prometheus.exemplars(exemplars) > 0,
        "nothing leads to a trace"
    );
    let down = stage.down();
    for alert in told.iter().chain(&down) {
        for annotation in ["summary", "description", "runbook_url", "dashboard_url"] {
            let text = alert["annotations"][annotation]
                .as_str()
                .unwrap_or_default();
            assert!(!text.is_empty() && !text.contains("<no value>"), "{alert}");
        }
    }
    let summary = &told[1]["annotations"]["summary"];
    let summary = summary.as_str().expect("a text");
    assert!(
        summary.contains("reports") && summary.contains(CLUSTER),
        "{summary}"
    );
}

impl Stage {
    /// A broker goes, and a sidecar.
    fn down(mut self) -> Vec<Value> {
        let last = self.kafka.node_ids().pop().expect("three brokers");
        self.kafka.kill(last);
        let last = last.to_string();
        let broker = self.is_told("/pager", "BrokerUnavailable", &[("broker", &last)]);
        let offline = self.is_told("/pager", "OfflinePartitions", &[("cluster", CLUSTER)]);
        for program in std::mem::take(&mut self.running) {
            program.kill();
        }
        let reports = self.reports.take().expect("still there");
        let address = reports.admin_address().to_string();
        reports.kill9();
        let scrape = self.is_told("/ticket", "SidecarScrapeDown", &[("instance", &address)]);
        vec![broker, offline, scrape]
    }
}
