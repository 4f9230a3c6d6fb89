//! The binary under test as a child process, asked over its admin listener.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::deadline::try_poll_until;
use super::metrics::Metrics;
use super::ports;
use super::process::Process;

const READY_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(120);
const HTTP_LIMIT: Duration = Duration::from_secs(60);
const LOG_LIMIT: Duration = Duration::from_secs(120);
const FIGURES_LIMIT: Duration = Duration::from_secs(120);
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// What to start: `throughline run` or `observe` with these.
#[derive(Clone, Debug)]
pub(crate) struct ThroughlineSpec {
    role: &'static str,
    bootstrap: String,
    listen_port: u16,
    admin_port: u16,
    mode: Option<String>,
    settings: Vec<String>,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
}

impl ThroughlineSpec {
    pub(crate) fn new(bootstrap: &str) -> Self {
        Self {
            role: "run",
            bootstrap: bootstrap.to_owned(),
            listen_port: ports::free(),
            admin_port: ports::free(),
            mode: None,
            // Any port: several sidecars run at once in tests.
            settings: vec!["kafka.broker_listen=127.0.0.1:0".to_owned()],
            config: None,
            environment: Vec::new(),
        }
    }

    /// `throughline observe`, which looks every second.
    pub(crate) fn observer(bootstrap: &str) -> Self {
        let spec = Self {
            role: "observe",
            ..Self::new(bootstrap)
        };
        spec.set("observe.cycle_seconds", "1")
    }

    /// `inject`, `observe` or `off`.
    pub(crate) fn mode(mut self, mode: &str) -> Self {
        self.mode = Some(mode.to_owned());
        self
    }

    /// One `--set`; the last of a key wins.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let prefix = format!("{key}=");
        self.settings
            .retain(|setting| !setting.starts_with(&prefix));
        self.settings.push(format!("{prefix}{value}"));
        self
    }

    pub(crate) fn config(mut self, file: &Path) -> Self {
        self.config = Some(file.to_owned());
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What other commands need to reach the same cluster in the same way.
    pub(crate) fn settings(&self) -> Vec<&str> {
        let all = self.settings.iter().flat_map(|one| ["--set", one.as_str()]);
        ["--bootstrap", &self.bootstrap]
            .into_iter()
            .chain(all)
            .collect()
    }

    fn command(&self) -> Command {
        let mut command = binary();
        command.args([self.role, "--bootstrap", &self.bootstrap]);
        if self.role == "run" {
            command.args(["--listen", &format!("127.0.0.1:{}", self.listen_port)]);
        }
        command.args(["--admin", &format!("127.0.0.1:{}", self.admin_port)]);
        if let Some(mode) = &self.mode {
            command.args(["--mode", mode]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

/// The program under test. Variables of the tests themselves (`THROUGHLINE_TEST_CACHE`, ...) are kept from it: to it they
/// would be keys it does not know.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("THROUGHLINE_") {
            command.env_remove(name);
        }
    }
    command
}

/// A running sidecar.
pub(crate) struct Throughline {
    spec: ThroughlineSpec,
    process: Process,
}

/// A figure: name, labels, value.
pub(crate) type Wanted<'a> = (&'a str, &'a [(&'a str, &'a str)], u64);

impl Throughline {
    /// Waits until these figures exist and have these values, all at once.
    #[track_caller]
    pub(crate) fn shows(&self, wanted: &[Wanted<'_>]) {
        let seen = || {
            let metrics = self.metrics();
            let each = wanted.iter();
            each.map(|(name, labels, _)| {
                let exists = metrics.select(name, labels).next().is_some();
                exists.then(|| metrics.sum(name, labels) as u64)
            })
            .collect::<Vec<_>>()
        };
        let values: Vec<_> = wanted.iter().map(|(_, _, value)| Some(*value)).collect();
        let reached = try_poll_until(FIGURES_LIMIT, || (seen() == values).then_some(()));
        let last = wanted.iter().zip(seen());
        let wrong = last.filter(|((.., value), seen)| *seen != Some(*value));
        let wrong = wrong.map(|(wanted, seen)| format!("{wanted:?}: {seen:?}\n"));
        let wrong: String = wrong.collect();
        assert!(reached.is_some(), "wanted, then seen:\n{wrong}");
    }

    /// What stands on the page, the series that carry these labels together; `None` where there is none.
    #[track_caller]
    pub(crate) fn figure(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metrics = self.metrics();
        let exists = metrics.select(name, labels).next().is_some();
        exists.then(|| metrics.sum(name, labels))
    }

    /// Waits until a figure has this value, and makes sure that it does not move on from there.
    #[track_caller]
    pub(crate) fn settles_at(&self, name: &str, labels: &[(&str, &str)], wanted: f64) {
        let same = |seen: Option<f64>| seen.is_some_and(|seen| seen.total_cmp(&wanted).is_eq());
        let figure = || self.figure(name, labels);
        let reached = try_poll_until(FIGURES_LIMIT, || same(figure()).then_some(()));
        let seen = figure();
        assert!(
            reached.is_some() && same(seen),
            "{name}{labels:?} is {seen:?}, wanted: {wanted}\n{}",
            self.metrics().page(labels.get(..1).unwrap_or_default())
        );
    }

    /// Starts it and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(spec: ThroughlineSpec) -> Self {
        let mut started = Self::start_unready(spec);
        let ready = try_poll_until(READY_LIMIT, || {
            if started.process.has_ended() {
                return Some(false);
            }
            let answer = started.try_get("/readyz").ok()?;
            (answer.status == 200).then_some(true)
        });
        match ready {
            Some(true) => started,
            Some(false) => panic!("throughline ended at start\n{}", started.process.tail()),
            None => panic!(
                "throughline is not ready after {READY_LIMIT:?}\n{}",
                started.process.tail()
            ),
        }
    }

    /// Starts it without waiting.
    #[track_caller]
    pub(crate) fn start_unready(spec: ThroughlineSpec) -> Self {
        let process = Process::spawn("throughline", &mut spec.command());
        Self { spec, process }
    }

    /// What a client puts into `bootstrap.servers`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.spec.listen_port)
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.spec.admin_port))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// `GET path` on the admin listener; fails the test when nothing answers.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        match self.try_get(path) {
            Ok(answer) => answer,
            Err(error) => panic!("GET {path}: {error}\n{}", self.process.tail()),
        }
    }

    /// The page as a scraper gets it that asks for OpenMetrics.
    #[track_caller]
    pub(crate) fn openmetrics(&self) -> String {
        let answer = self.ask("/metrics", "Accept: application/openmetrics-text\r\n");
        let answer = answer.unwrap_or_else(|error| panic!("GET /metrics: {error}"));
        assert_eq!(answer.status, 200, "/metrics: {}", answer.body);
        answer.body
    }

    pub(crate) fn try_get(&self, path: &str) -> std::io::Result<Answer> {
        self.ask(path, "")
    }

    fn ask(&self, path: &str, headers: &str) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(self.admin_address())?;
        stream.set_read_timeout(Some(HTTP_LIMIT))?;
        let address = self.admin_address();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Answer::parse(&bytes).ok_or_else(|| std::io::Error::other("not an HTTP answer"))
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "/metrics: {}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// SIGTERM, and expects a clean end.
    #[track_caller]
    pub(crate) fn terminate(mut self) {
        self.process.terminate();
        let status = self.process.wait(STOP_LIMIT);
        assert_eq!(
            status.code(),
            Some(0),
            "throughline did not end cleanly: {status}\n{}",
            self.process.tail()
        );
    }

    /// SIGKILL.
    pub(crate) fn kill9(mut self) {
        self.process.kill();
    }

    /// A named signal (`HUP`, `STOP`, `CONT`, ...).
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits until one of its last log lines contains `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        if try_poll_until(LOG_LIMIT, || self.tail().contains(text).then_some(())).is_none() {
            panic!("no log line says `{text}`\n{}", self.tail());
        }
    }

    /// All log lines so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// The last lines of its output.
    pub(crate) fn tail(&self) -> String {
        self.process.tail()
    }
}

/// What `throughline check` said.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) status: Option<i32>,
    /// Both outputs.
    pub(crate) said: String,
}

/// `throughline check` with these arguments.
#[track_caller]
pub(crate) fn check(arguments: &[&str]) -> Checked {
    let mut command = binary();
    command.arg("check").args(arguments);
    let mut process = Process::spawn("throughline check", &mut command);
    let status = process.wait(CHECK_LIMIT).code();
    Checked {
        status,
        said: process.tail(),
    }
}

/// An HTTP answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let body = &bytes[split + 4..];
        let chunked = |(name, value): &(String, String)| {
            name == "transfer-encoding" && value.eq_ignore_ascii_case("chunked")
        };
        let body = if headers.iter().any(chunked) {
            unchunked(body)?
        } else {
            body.to_vec()
        };
        Some(Self {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}
