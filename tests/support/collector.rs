//! A real OpenTelemetry Collector: OTLP in, a file out that is read back.
//!
//! Built once from its modules with the collector's own builder, because nothing packages it.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{cache, deadline::poll_until, ports, process::Process};

const VERSION: &str = "v0.162.0";
const START_LIMIT: Duration = Duration::from_secs(120);
const MODULES: [&str; 4] = [
    "go.opentelemetry.io/collector/receiver/otlpreceiver",
    "go.opentelemetry.io/collector/processor/batchprocessor",
    "go.opentelemetry.io/collector/exporter/debugexporter",
    "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter",
];

/// One span as the collector wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) scope: String,
    pub(crate) schema: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent: String,
    pub(crate) name: String,
    /// As in OTLP: 3 = client, 4 = producer, 5 = consumer.
    pub(crate) kind: i64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) attributes: Vec<(String, Value)>,
    /// (trace id, span id)
    pub(crate) links: Vec<(String, String)>,
}

impl Span {
    pub(crate) fn attribute(&self, key: &str) -> Option<&Value> {
        let found = self.attributes.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value)
    }

    /// An attribute as text, whatever its type.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.attribute(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}

/// A running collector; ends when dropped.
pub(crate) struct Collector {
    grpc: u16,
    http: u16,
    directory: TempDir,
    process: Option<Process>,
}

impl Collector {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut collector = Self {
            grpc: ports::free(),
            http: ports::free(),
            directory,
            process: None,
        };
        collector.restart();
        collector
    }

    /// Starts it again on the same ports, after [`Self::stop`].
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        let config = self.directory.path().join("config.yaml");
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: 127.0.0.1:{}}}\n      http: {{endpoint: 127.0.0.1:{}}}\n\
             exporters:\n  file: {{path: {}, append: true, flush_interval: 100ms}}\n  file/metrics: {{path: {}, append: true, flush_interval: 100ms}}\n  file/logs: {{path: {}, append: true, flush_interval: 100ms}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: [otlp], exporters: [file]}}\n    metrics: {{receivers: [otlp], exporters: [file/metrics]}}\n    logs: {{receivers: [otlp], exporters: [file/logs]}}\n",
            self.grpc,
            self.http,
            self.file("traces").display(),
            self.file("metrics").display(),
            self.file("logs").display(),
        );
        fs::write(&config, text).expect("its configuration");
        let mut command = Command::new(binary());
        command.arg("--config").arg(&config);
        let process = Process::spawn("collector", &mut command);
        for port in [self.grpc, self.http] {
            poll_until("the collector serves", START_LIMIT, || {
                TcpStream::connect(("127.0.0.1", port)).ok()
            });
        }
        self.process = Some(process);
    }

    /// Ends it; its ports refuse connections.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    pub(crate) fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    pub(crate) fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    fn file(&self, signal: &str) -> PathBuf {
        self.directory.path().join(format!("{signal}.json"))
    }

    /// Everything received so far; a last line that is not whole yet is left out.
    fn lines(&self, signal: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.file(signal)).unwrap_or_default();
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// All spans as they were written.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file("traces")).unwrap_or_default()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.lines("traces").iter().flat_map(of_line).collect()
    }

    /// All log records as they were written.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.file("logs")).unwrap_or_default()
    }

    pub(crate) fn logs(&self) -> Vec<Log> {
        self.lines("logs").iter().flat_map(logs_of_line).collect()
    }

    /// Every point of every metric received so far, in the order of their arrival.
    pub(crate) fn points(&self) -> Vec<Point> {
        let lines = self.lines("metrics");
        lines.iter().flat_map(points_of_line).collect()
    }
}

/// One log record as the collector wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) service: String,
    pub(crate) schema: String,
    pub(crate) event: String,
    pub(crate) severity: (i64, String),
    pub(crate) body: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) time_ns: u64,
    pub(crate) attributes: BTreeMap<String, Value>,
}

fn logs_of_line(line: &Value) -> Vec<Log> {
    let mut logs = Vec::new();
    for resource in list(&line["resourceLogs"]) {
        let of = texts(&resource["resource"]["attributes"]);
        let service = of.get("service.name").cloned().unwrap_or_default();
        for scope in list(&resource["scopeLogs"]) {
            for record in list(&scope["logRecords"]) {
                logs.push(Log {
                    service: service.clone(),
                    schema: text(&scope["schemaUrl"]),
                    event: text(&record["eventName"]),
                    severity: (
                        record["severityNumber"].as_i64().unwrap_or(0),
                        text(&record["severityText"]),
                    ),
                    body: text(&record["body"]["stringValue"]),
                    trace_id: text(&record["traceId"]),
                    span_id: text(&record["spanId"]),
                    time_ns: whole(&record["timeUnixNano"]),
                    attributes: attributes(&record["attributes"]).into_iter().collect(),
                });
            }
        }
    }
    logs
}

/// One point of a metric as the collector wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Attributes of who sent it.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) scope: String,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) start_ns: u64,
    pub(crate) time_ns: u64,
    pub(crate) data: Data,
}

/// What a point says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Gauge(f64),
    /// Only of monotonic cumulative sums; another fails the test.
    Sum(f64),
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
        counts: Vec<u64>,
    },
    Exponential {
        count: u64,
        sum: f64,
        scale: i64,
        zero: u64,
        offset: i64,
        counts: Vec<u64>,
    },
}

fn points_of_line(line: &Value) -> Vec<Point> {
    let mut points = Vec::new();
    for resource in list(&line["resourceMetrics"]) {
        let of = texts(&resource["resource"]["attributes"]);
        for scope in list(&resource["scopeMetrics"]) {
            for metric in list(&scope["metrics"]) {
                let kinds = ["gauge", "sum", "histogram", "exponentialHistogram"];
                let kind = kinds.into_iter().find(|kind| metric[kind].is_object());
                let kind = kind.unwrap_or_else(|| panic!("no data: {metric}"));
                for point in list(&metric[kind]["dataPoints"]) {
                    points.push(Point {
                        resource: of.clone(),
                        scope: text(&scope["scope"]["name"]),
                        schema: text(&scope["schemaUrl"]),
                        name: text(&metric["name"]),
                        unit: text(&metric["unit"]),
                        attributes: texts(&point["attributes"]),
                        start_ns: whole(&point["startTimeUnixNano"]),
                        time_ns: whole(&point["timeUnixNano"]),
                        data: data(kind, &metric[kind], point),
                    });
                }
            }
        }
    }
    points
}

fn data(kind: &str, metric: &Value, point: &Value) -> Data {
    if kind != "gauge" {
        let cumulative = metric["aggregationTemporality"] == 2;
        assert!(cumulative, "not cumulative: {metric}");
    }
    let counts = |value: &Value| list(value).iter().map(whole).collect();
    match kind {
        "gauge" => Data::Gauge(number(point)),
        "sum" => {
            assert_eq!(metric["isMonotonic"], true, "not monotonic: {metric}");
            Data::Sum(number(point))
        }
        "histogram" => Data::Histogram {
            count: whole(&point["count"]),
            sum: real(&point["sum"]),
            bounds: list(&point["explicitBounds"]).iter().map(real).collect(),
            counts: counts(&point["bucketCounts"]),
        },
        _ => Data::Exponential {
            count: whole(&point["count"]),
            sum: real(&point["sum"]),
            scale: point["scale"].as_i64().unwrap_or(0),
            zero: whole(&point["zeroCount"]),
            offset: point["positive"]["offset"].as_i64().unwrap_or(0),
            counts: counts(&point["positive"]["bucketCounts"]),
        },
    }
}

/// The value of a number's point, of either type.
fn number(point: &Value) -> f64 {
    let value = point.get("asInt").or_else(|| point.get("asDouble"));
    real(value.unwrap_or_else(|| panic!("no value: {point}")))
}

/// OTLP's JSON writes 64-bit integers, and what is no JSON number, as text; zero may be left out.
fn real(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::String(text) => text.parse().expect("a number"),
        other => other.as_f64().expect("a number"),
    }
}

fn whole(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(text) => text.parse().expect("a count"),
        other => other.as_u64().expect("a count"),
    }
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let all = attributes(value).into_iter();
    all.map(|(key, value)| (key, text(&value))).collect()
}

/// The spans of one OTLP message as JSON.
pub(super) fn of_line(line: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in list(&line["resourceSpans"]) {
        let service = attributes(&resource["resource"]["attributes"])
            .into_iter()
            .find(|(key, _)| key == "service.name")
            .map_or_else(String::new, |(_, value)| text(&value));
        for scope in list(&resource["scopeSpans"]) {
            for span in list(&scope["spans"]) {
                let time = |key: &str| text(&span[key]).parse().unwrap_or(0);
                spans.push(Span {
                    service: service.clone(),
                    scope: text(&scope["scope"]["name"]),
                    schema: text(&scope["schemaUrl"]),
                    trace_id: text(&span["traceId"]),
                    span_id: text(&span["spanId"]),
                    parent: text(&span["parentSpanId"]),
                    name: text(&span["name"]),
                    kind: span["kind"].as_i64().unwrap_or(0),
                    start_ns: time("startTimeUnixNano"),
                    end_ns: time("endTimeUnixNano"),
                    attributes: attributes(&span["attributes"]),
                    links: list(&span["links"])
                        .iter()
                        .map(|link| (text(&link["traceId"]), text(&link["spanId"])))
                        .collect(),
                });
            }
        }
    }
    spans
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// OTLP's JSON wraps each value in its type; integers are text.
fn attributes(value: &Value) -> Vec<(String, Value)> {
    let all = list(value).iter().map(|attribute| {
        let wrapped = &attribute["value"];
        let inner = wrapped.as_object().and_then(|o| o.values().next());
        (text(&attribute["key"]), inner.cloned().unwrap_or_default())
    });
    all.collect()
}

fn binary() -> PathBuf {
    let name = format!("collector-{VERSION}");
    cache::artifact(&name, build).join("otelcol")
}

fn build(directory: &Path) {
    let go = |folder: &Path| {
        let mut command = Command::new("go");
        command.current_dir(folder).env("GOFLAGS", "-mod=mod");
        command
    };
    let component = |module: &&str| format!("[{{gomod: {module} {VERSION}}}]");
    let exporters: String = MODULES
        .get(2..)
        .unwrap_or_default()
        .iter()
        .map(|module| format!("  - gomod: {module} {VERSION}\n"))
        .collect();
    let yaml = format!(
        "dist: {{name: otelcol, output_path: ./out, version: {}}}\nreceivers: {}\nprocessors: {}\nexporters:\n{exporters}",
        VERSION.trim_start_matches('v'),
        MODULES.first().map(component).unwrap_or_default(),
        MODULES.get(1).map(component).unwrap_or_default(),
    );
    fs::write(directory.join("builder.yaml"), yaml).expect("the builder's file");
    let tool = directory.join("tool");
    module(&tool, "tool");
    let builder = format!("go.opentelemetry.io/collector/cmd/builder@{VERSION}");
    cache::step(go(&tool).args(["get", &builder]));
    cache::step(go(&tool).args([
        "build",
        "-o",
        "../builder",
        "go.opentelemetry.io/collector/cmd/builder",
    ]));
    let mut generate = Command::new(directory.join("builder"));
    generate.current_dir(directory).args([
        "--config",
        "builder.yaml",
        "--skip-compilation",
        "--skip-get-modules",
    ]);
    cache::step(&mut generate);
    let out = directory.join("out");
    module(&out, "otelcol");
    let mut get = go(&out);
    get.arg("get");
    get.arg(format!("go.opentelemetry.io/collector/otelcol@{VERSION}"));
    get.args(MODULES.map(|module| format!("{module}@{VERSION}")));
    cache::step(&mut get);
    cache::step(go(&out).args([
        "build",
        "-trimpath",
        "-ldflags",
        "-s -w",
        "-o",
        "../otelcol",
        ".",
    ]));
}

fn module(folder: &Path, name: &str) {
    fs::create_dir_all(folder).expect("a folder");
    let text = format!("module {name}\n\ngo 1.25\n");
    fs::write(folder.join("go.mod"), text).expect("a module file");
}
