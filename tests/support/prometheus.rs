//! A real Prometheus: scrapes, evaluates rules, tells an Alertmanager, and answers queries.
//!
//! Why: promtool shows what a rule says of invented series, this what it says of those that are exported.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command, time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{deadline::poll_until, http, ports, process::Process};

pub(crate) const INSTALL: &str = "apt-get install -y --no-install-recommends prometheus";
const START_LIMIT: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Debug, Default)]
pub(crate) struct PrometheusSpec {
    /// Scraped every second: (job, address).
    pub(crate) targets: Vec<(&'static str, SocketAddr)>,
    /// Texts of rule files.
    pub(crate) rules: Vec<String>,
    /// Port of an Alertmanager.
    pub(crate) alertmanager: Option<SocketAddr>,
    /// What was before, as OpenMetrics text.
    pub(crate) history: Option<String>,
}

/// A sample of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A running Prometheus; ends when dropped.
pub(crate) struct Prometheus {
    address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Prometheus {
    #[track_caller]
    pub(crate) fn start(spec: &PrometheusSpec) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (config, data) = (
            directory.path().join("prometheus.yml"),
            directory.path().join("data"),
        );
        fs::write(&config, configuration(spec, directory.path())).expect("its configuration");
        if let Some(history) = &spec.history {
            backfill(history, &data);
        }
        let address = http::local(ports::free());
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=35d")
            .arg("--enable-feature=exemplar-storage")
            .arg(format!("--web.listen-address={address}"));
        assert!(
            Command::new("prometheus").arg("--version").output().is_ok(),
            "no prometheus here: {INSTALL}"
        );
        let prometheus = Self {
            address,
            process: Process::spawn("prometheus", &mut command),
            _directory: directory,
        };
        poll_until("Prometheus is ready", START_LIMIT, || {
            let (status, _) = prometheus.get("/-/ready").ok()?;
            (status == 200).then_some(())
        });
        prometheus
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The answer to an instant query; what is wrong with it where Prometheus refuses it.
    #[track_caller]
    pub(crate) fn try_query(&self, expr: &str) -> Result<Vec<Sample>, String> {
        let path = format!("/api/v1/query?query={}", escaped(expr));
        let (_, body) = self
            .get(&path)
            .unwrap_or_else(|error| panic!("{expr}: {error}\n{}", self.process.tail()));
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        if answer["status"] != "success" {
            return Err(format!("{expr}: {body}"));
        }
        let result = answer["data"]["result"].as_array();
        let samples = result
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .map(|sample| Sample {
                labels: serde_json::from_value(sample["metric"].clone()).unwrap_or_default(),
                value: sample["value"][1]
                    .as_str()
                    .and_then(|v| v.parse().ok())
                    .unwrap_or(f64::NAN),
            });
        Ok(samples.collect())
    }

    #[track_caller]
    pub(crate) fn query(&self, expr: &str) -> Vec<Sample> {
        self.try_query(expr)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The exemplars of a query of the last hour.
    #[track_caller]
    pub(crate) fn exemplars(&self, expr: &str) -> usize {
        let path = format!("/api/v1/query_exemplars?query={}", escaped(expr));
        let (_, body) = self.get(&path).expect("an answer");
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let series = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
        let each = series.iter().filter_map(|one| one["exemplars"].as_array());
        each.map(Vec::len).sum()
    }

    fn get(&self, path: &str) -> std::io::Result<(u16, String)> {
        http::call(self.address, "GET", path, None)
    }
}

fn configuration(spec: &PrometheusSpec, directory: &Path) -> String {
    let mut text =
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 5s}\n".to_owned();
    if let Some(alertmanager) = spec.alertmanager {
        text.push_str(&format!(
            "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{alertmanager}']}}]}}]}}\n"
        ));
    }
    text.push_str("rule_files:\n");
    for (number, rules) in spec.rules.iter().enumerate() {
        let file = directory.join(format!("rules-{number}.yaml"));
        fs::write(&file, rules).expect("its rules");
        text.push_str(&format!("  - {}\n", file.display()));
    }
    let mut jobs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (job, address) in &spec.targets {
        jobs.entry(job).or_default().push(format!("'{address}'"));
    }
    text.push_str("scrape_configs:\n");
    for (job, targets) in jobs {
        let targets = targets.join(", ");
        text.push_str(&format!(
            "  - {{job_name: {job}, static_configs: [{{targets: [{targets}]}}]}}\n"
        ));
    }
    text
}

#[track_caller]
fn backfill(history: &str, data: &Path) {
    fs::create_dir_all(data).expect("its directory");
    let file = data.with_extension("om");
    fs::write(&file, history).expect("its history");
    let mut promtool = Command::new("promtool");
    promtool
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&file, data]);
    let output = promtool.output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}; {INSTALL}"));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
