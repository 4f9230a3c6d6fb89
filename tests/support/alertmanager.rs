//! A real Alertmanager with the configuration that is shipped, and `amtool`.
//!
//! What is changed in the text of the configuration, and nothing else: the URL of the receivers, and every `group_wait`, which is
//! a second here. A test that changes more says so where it does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{deadline::poll_until, hook::Hook, http, ports, process::Process};

const INSTALL: &str = "apt-get install -y --no-install-recommends prometheus-alertmanager";
/// Receivers of the shipped configuration.
const SHIPPED_URL: &str = "http://127.0.0.1:9095";
const GROUP_WAIT: &str = "group_wait: 1s";
const START_LIMIT: Duration = Duration::from_secs(120);

/// Times that are over; how the windows for planned work are shipped.
pub(crate) const NEVER: &str = "[{years: [\"2000\"]}]";
pub(crate) const ALWAYS: &str = "[{years: [\"2000:2999\"]}]";

/// Where the shipped files are.
pub(crate) fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("alerts").join("alertmanager")
}

/// The configuration as it is shipped.
#[track_caller]
pub(crate) fn shipped() -> String {
    let file = folder().join("alertmanager.yaml");
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The shipped configuration with the URL of the receivers and the waits changed.
#[track_caller]
pub(crate) fn shortened(hook: &Hook) -> String {
    let shipped = shipped();
    assert!(
        shipped.contains(SHIPPED_URL),
        "no receiver at {SHIPPED_URL}"
    );
    let waits = shipped.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().starts_with("group_wait:") {
            true => format!("{}{GROUP_WAIT}\n", &line[..indent]),
            false => format!("{line}\n"),
        }
    });
    let text: String = waits.collect();
    text.replace(SHIPPED_URL, &hook.url())
}

/// The shipped text with other times for the interval of this name, for example [`NEVER`].
#[track_caller]
pub(crate) fn with_interval(text: &str, name: &str, times: &str) -> String {
    let begin = format!("  - name: {name}\n    time_intervals:");
    let (before, rest) = text.split_once(&begin).expect("the interval");
    // It goes on to the next interval, or to the end of the list.
    let ends = ["\n\n", "\n  - name"].into_iter();
    let end = ends
        .filter_map(|end| rest.find(end))
        .min()
        .expect("its end");
    format!("{before}{begin} {times}{}", &rest[end..])
}

/// Runs `amtool`: whether it ended well, and what it said.
#[track_caller]
pub(crate) fn amtool(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("amtool").args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("amtool: {error}; {INSTALL}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A running Alertmanager; ends when dropped.
pub(crate) struct Alertmanager {
    port: u16,
    process: Process,
    pub(crate) hook: Hook,
    _directory: TempDir,
}

impl Alertmanager {
    /// With the shipped configuration, shortened.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(|text| text)
    }

    /// With the shipped configuration, shortened, and what `change` does to it.
    #[track_caller]
    pub(crate) fn with(change: impl FnOnce(String) -> String) -> Self {
        let hook = Hook::start();
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("alertmanager.yaml");
        fs::write(&config, change(shortened(&hook))).expect("its configuration");
        std::os::unix::fs::symlink(
            folder().join("templates"),
            directory.path().join("templates"),
        )
        .expect("its templates");
        let port = ports::free();
        let mut command = Command::new(binary());
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let alertmanager = Self {
            port,
            process: Process::spawn("alertmanager", &mut command),
            hook,
            _directory: directory,
        };
        poll_until("Alertmanager is ready", START_LIMIT, || {
            let (status, _) = alertmanager.call("GET", "/-/ready", None).ok()?;
            (status == 200).then_some(())
        });
        alertmanager
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends alerts as Prometheus does.
    #[track_caller]
    pub(crate) fn post(&self, alerts: &[Value]) {
        let (status, answer) = self
            .call("POST", "/api/v2/alerts", Some(&json!(alerts)))
            .unwrap_or_else(|error| panic!("alerts: {error}\n{}", self.process.tail()));
        assert_eq!(status, 200, "{answer}\n{}", self.process.tail());
    }

    /// All alerts it knows, with their state.
    #[track_caller]
    pub(crate) fn alerts(&self) -> Vec<Value> {
        let (status, answer) = self.call("GET", "/api/v2/alerts", None).expect("an answer");
        assert_eq!(status, 200, "{answer}");
        answer.as_array().cloned().unwrap_or_default()
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> std::io::Result<(u16, Value)> {
        http::json(
            http::local(self.port),
            method,
            path,
            ("application/json", body),
        )
    }
}

/// Debian calls it `prometheus-alertmanager`, its makers `alertmanager`.
#[track_caller]
fn binary() -> &'static str {
    let names = ["prometheus-alertmanager", "alertmanager"];
    let mut there = names
        .into_iter()
        .filter(|name| Command::new(name).arg("--version").output().is_ok());
    there
        .next()
        .unwrap_or_else(|| panic!("no {} here: {INSTALL}", names[0]))
}
