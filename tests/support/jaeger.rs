//! A real Jaeger: OTLP in, whole traces out through its query API.
//!
//! Why: a collector's file shows which spans were sent, a tracing backend whether they make one trace. Built once from its
//! modules, because nothing packages it; that takes up to ten minutes, so only acceptance asks for it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{cache, deadline::poll_until, ports, process::Process};

const MODULE: &str = "github.com/jaegertracing/jaeger";
const VERSION: &str = "v1.76.0";
const START_LIMIT: Duration = Duration::from_secs(60);
const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// A running Jaeger that keeps traces in memory; ends when dropped.
pub(crate) struct Jaeger {
    otlp: u16,
    query: u16,
    process: Process,
    _directory: TempDir,
}

/// One span as the query API tells it.
#[derive(Clone, Debug)]
pub(crate) struct JaegerSpan {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    /// The first reference in its own trace, as Jaeger's page nests spans. A parent that is linked to as well is told as
    /// `FOLLOWS_FROM`.
    pub(crate) parent: Option<String>,
    pub(crate) start_us: u64,
    pub(crate) tags: Vec<(String, String)>,
    /// What the API has to complain of.
    pub(crate) warnings: Vec<String>,
}

impl JaegerSpan {
    pub(crate) fn tag(&self, key: &str) -> &str {
        let found = self.tags.iter().find(|(known, _)| known == key);
        found.map_or("", |(_, value)| value)
    }
}

impl Jaeger {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (otlp, query, query_grpc) = (ports::free(), ports::free(), ports::free());
        let config = directory.path().join("config.yaml");
        let text = format!(
            "service:\n  extensions: [jaeger_storage, jaeger_query]\n  telemetry: {{metrics: {{level: none}}}}\n  \
             pipelines:\n    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}\n\
             extensions:\n  jaeger_storage:\n    backends:\n      kept: {{memory: {{max_traces: 10000}}}}\n  \
             jaeger_query:\n    storage: {{traces: kept}}\n    http: {{endpoint: 127.0.0.1:{query}}}\n    \
             grpc: {{endpoint: 127.0.0.1:{query_grpc}}}\n\
             receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: 127.0.0.1:{otlp}}}\n\
             exporters:\n  jaeger_storage_exporter: {{trace_storage: kept}}\n"
        );
        fs::write(&config, text).expect("its configuration");
        let mut command = Command::new(binary());
        command.arg("--config").arg(&config);
        let jaeger = Self {
            otlp,
            query,
            process: Process::spawn("jaeger", &mut command),
            _directory: directory,
        };
        poll_until("jaeger takes spans", START_LIMIT, || {
            TcpStream::connect(("127.0.0.1", otlp)).ok()
        });
        poll_until("jaeger answers", START_LIMIT, || {
            jaeger.get("/api/services").ok()
        });
        jaeger
    }

    /// Where spans go, OTLP over gRPC.
    pub(crate) fn grpc(&self) -> String {
        format!("http://127.0.0.1:{}", self.otlp)
    }

    /// The spans of one trace so far, as `/api/traces/ID` tells them; none where it does not know the trace.
    #[track_caller]
    pub(crate) fn trace(&self, id: &str) -> Vec<JaegerSpan> {
        let answer = self.get(&format!("/api/traces/{id}"));
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{}", self.process.tail()));
        let traces = list(&answer["data"]);
        assert!(traces.len() <= 1, "one id, one trace: {answer}");
        let spans = traces.iter().flat_map(|trace| {
            let spans = list(&trace["spans"]).iter();
            spans.map(|span| read(span, &trace["processes"]))
        });
        spans.collect()
    }

    fn get(&self, path: &str) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.query))?;
        stream.set_read_timeout(Some(HTTP_LIMIT))?;
        // 1.0: the answer ends with the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let body = body.ok_or_else(|| std::io::Error::other("no answer"))?;
        serde_json::from_str(body).map_err(std::io::Error::other)
    }
}

fn read(span: &Value, processes: &Value) -> JaegerSpan {
    let process = &processes[text(&span["processID"])];
    let in_trace = |reference: &&Value| reference["traceID"] == span["traceID"];
    let parent = list(&span["references"]).iter().find(in_trace);
    JaegerSpan {
        id: text(&span["spanID"]),
        name: text(&span["operationName"]),
        service: text(&process["serviceName"]),
        parent: parent.map(|reference| text(&reference["spanID"])),
        start_us: span["startTime"].as_u64().unwrap_or(0),
        tags: list(&span["tags"])
            .iter()
            .map(|tag| (text(&tag["key"]), text(&tag["value"])))
            .collect(),
        warnings: list(&span["warnings"]).iter().map(text).collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[track_caller]
fn binary() -> PathBuf {
    cache::artifact(&format!("jaeger-{VERSION}"), build).join("jaeger")
}

/// Its own module file pins every dependency and replaces one, which only a build inside its own tree respects.
fn build(directory: &Path) {
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json"]);
    let output = download.arg(format!("{MODULE}@{VERSION}")).output();
    let output = output.expect("go is there");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(tree) = said["Dir"].as_str() else {
        panic!("{MODULE} {VERSION} is not to be had: {said} {output:?}");
    };
    let sources = directory.join("sources");
    cache::step(
        Command::new("cp")
            .args(["-r", "--no-preserve=mode", tree])
            .arg(&sources),
    );
    let mut go = Command::new("go");
    go.current_dir(&sources)
        .env("GOWORK", "off")
        .args(["build", "-trimpath", "-ldflags", "-s -w"])
        .args(["-o", "../jaeger", "./cmd/jaeger"]);
    cache::step(&mut go);
    fs::remove_dir_all(&sources).expect("the sources are not needed any more");
}
