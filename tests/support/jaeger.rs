//! A real Jaeger: OTLP in, whole traces out through its query API.
//!
//! Why: a collector's file shows which spans were sent, a tracing backend whether they make one trace. Built once from its
//! modules, because nothing packages it; that takes up to ten minutes, so only acceptance asks for it.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    cache,
    collector::{Span, of_line},
    deadline::poll_until,
    http, ports,
    process::Process,
};

const MODULE: &str = "github.com/jaegertracing/jaeger";
const VERSION: &str = "v1.76.0";
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running Jaeger that keeps traces in memory; ends when dropped.
pub(crate) struct Jaeger {
    otlp: u16,
    query: u16,
    process: Process,
    _directory: TempDir,
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

    /// The spans of one trace so far; none where it does not know the trace.
    #[track_caller]
    pub(crate) fn trace(&self, id: &str) -> Vec<Span> {
        of_line(&self.answer(&format!("/api/v3/traces/{id}"))["result"])
    }

    /// Names and services of the spans that Jaeger's page shows of a trace, and what it has to complain of.
    #[track_caller]
    pub(crate) fn shown(&self, id: &str) -> (BTreeSet<(String, String)>, Vec<String>) {
        let answer = self.answer(&format!("/api/traces/{id}"));
        let [trace] = list(&answer["data"]) else {
            panic!("one id, one trace: {answer}");
        };
        let (mut names, mut warnings) = (BTreeSet::new(), Vec::new());
        for span in list(&trace["spans"]) {
            let process = &trace["processes"][text(&span["processID"])];
            names.insert((text(&span["operationName"]), text(&process["serviceName"])));
            warnings.extend(list(&span["warnings"]).iter().map(text));
        }
        (names, warnings)
    }

    #[track_caller]
    fn answer(&self, path: &str) -> Value {
        let answer = self.get(path);
        answer.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.process.tail()))
    }

    fn get(&self, path: &str) -> std::io::Result<Value> {
        let (_, body) = http::call(http::local(self.query), "GET", path, None)?;
        serde_json::from_str(&body).map_err(std::io::Error::other)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
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
