//! Definitions of commands and flags.
//!
//! Here because clap derives parsing, help and completions from them. Flags that have a key hand over text: `config` checks
//! it together with all else, so that one run shows everything that is wrong. Must not repeat a default of `config` as a
//! value.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser};

use super::{COLOR, RuleFormat, RulePart, TraceFormat, text};
use crate::config::{HostPort, ListenAddress, Override, Pattern, Sources, otlp_endpoint};

#[derive(Debug, Parser)]
#[command(
    name = "throughline",
    version,
    propagate_version = true,
    about = "Sidecar that passes Kafka traffic through and says what it saw",
    after_help = text::EXAMPLES,
    color = COLOR,
    max_term_width = 120
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Pass Kafka traffic through, observe it, and serve metrics
    #[command(after_help = text::RUN_EXAMPLES)]
    Run(RunArguments),
    /// Watch a whole cluster from outside: lag, delivery, retention and brokers
    #[command(after_help = text::OBSERVE_EXAMPLES)]
    Observe(ObserveArguments),
    /// Validate a configuration and the reachability of what it names
    #[command(after_help = text::CHECK_EXAMPLES)]
    Check(CheckArguments),
    /// Follow one event through topics, from Kafka alone
    #[command(after_help = text::TRACE_EXAMPLES)]
    Trace(TraceArguments),
    /// Rules for Prometheus from objectives, and whether error budgets burn
    #[command(subcommand, after_help = text::SLO_EXAMPLES)]
    Slo(SloCommand),
    /// Show an order pipeline with sidecars on this machine
    #[command(after_help = text::DEMO_EXAMPLES)]
    Demo(DemoArguments),
    /// Print a completion script for a shell
    #[command(after_help = text::COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(super) struct ObserveArguments {
    #[command(flatten)]
    pub(super) flags: ObserveFlags,
}

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) overrides: Overrides,
    /// Check the configuration alone, which then may lack kafka.bootstrap; dial nothing
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum SloCommand {
    /// Write recording rules and alerts for the configuration's objectives to stdout
    #[command(after_help = text::GENERATE_EXAMPLES)]
    Generate(GenerateArguments),
    /// Ask Prometheus how fast error budgets burn
    #[command(after_help = text::STATUS_EXAMPLES)]
    Status(StatusArguments),
}

#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// A rule file of Prometheus, or a PrometheusRule for its operator
    #[arg(long, value_enum, default_value_t = RuleFormat::Prometheus)]
    pub(super) format: RuleFormat,
    /// One part alone [default: both]
    #[arg(long, value_enum)]
    pub(super) only: Option<RulePart>,
    /// Where the runbooks are, before /<alert>.md
    #[arg(long, value_name = "URL", default_value = RUNBOOKS, value_parser = base_url)]
    pub(super) runbooks: String,
    /// Where Grafana is, before /d/<dashboard>
    #[arg(long, value_name = "URL", default_value = DASHBOARDS, value_parser = base_url)]
    pub(super) dashboards: String,
    #[command(flatten)]
    pub(super) file: FileFlags,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Base address of Prometheus, or of what answers like it
    #[arg(long, value_name = "URL", default_value = PROMETHEUS, value_parser = base_url)]
    pub(super) prometheus: String,
    /// File of headers to send with each request, one `name: value` a line
    #[arg(long, value_name = "FILE")]
    pub(super) headers_file: Option<PathBuf>,
    /// Exit with 1 where a budget burns over four times as fast as it may, last hour, ten bad events or more
    #[arg(long)]
    pub(super) fail_if_burning: bool,
    /// Clusters to look at, a regular expression [default: all]
    #[arg(long, value_name = "REGEX")]
    pub(super) cluster: Option<Pattern>,
    /// Topics to look at, a regular expression [default: all]
    #[arg(long, value_name = "REGEX")]
    pub(super) topic: Option<Pattern>,
}

/// Where the runbooks of a release are.
const RUNBOOKS: &str = "https://github.com/throughline/throughline/blob/main/alerts/runbooks";
/// Where Grafana listens by default.
const DASHBOARDS: &str = "http://localhost:3000";
/// Where Prometheus listens by default.
const PROMETHEUS: &str = "http://localhost:9090";

fn base_url(text: &str) -> Result<String, String> {
    let base = text.trim_end_matches('/');
    let rest = base
        .strip_prefix("http://")
        .or_else(|| base.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
        return Err("is no address, allowed: http:// or https:// and a host".to_owned());
    }
    Ok(base.to_owned())
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Use this cluster instead of the embedded one
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub(super) bootstrap: Vec<HostPort>,
    /// Stop after this time and print a summary, for example 60s or 5m [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Where to serve the console and metrics; the services after the first have the ports after it [default: free ports]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<ListenAddress>,
    /// Collector to send traces and logs of all services to, over gRPC
    #[arg(long, value_name = "URL", value_parser = otlp_endpoint)]
    pub(super) otlp_endpoint: Option<String>,
    /// Write without colour
    #[arg(long)]
    pub(super) no_color: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("event").required(true).args(["position", "correlation_id", "trace_id"]))]
pub(super) struct TraceArguments {
    /// A record of the event
    #[arg(value_name = "TOPIC:PARTITION:OFFSET", value_parser = position)]
    pub(super) position: Option<(String, i32, i64)>,
    /// Records with this correlation id
    #[arg(long, value_name = "ID", value_parser = correlation_id)]
    pub(super) correlation_id: Option<String>,
    /// Records of this trace, 32 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = trace_id)]
    pub(super) trace_id: Option<String>,
    /// How far around the record to search, or back from now, for example 30m or 12h
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
    pub(super) within: Duration,
    /// Topics to search, a regular expression [default: all but the brokers' own]
    #[arg(long, value_name = "REGEX")]
    pub(super) topics: Option<Pattern>,
    /// How to print it; otlp sends it to a collector
    #[arg(long, value_enum, default_value_t = TraceFormat::Tree)]
    pub(super) format: TraceFormat,
    #[command(flatten)]
    pub(super) cluster: ClusterFlags,
}

/// Flags over the configuration, for commands that only read from a cluster.
#[derive(Debug, Args)]
pub(super) struct ClusterFlags {
    /// Configuration file, YAML [env: THROUGHLINE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers to dial first (kafka.bootstrap)
    #[arg(long, value_name = "HOST:PORT,..")]
    bootstrap: Option<String>,
    /// Collector for --format otlp (otlp.endpoint)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Any key of the file; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl ClusterFlags {
    /// As [`Overrides::sources`]. Nothing is bound, so Kafka itself may be where a sidecar would listen.
    pub(super) fn sources(self, process: Sources, config_variable: Option<OsString>) -> Sources {
        let flags = Overrides {
            config: self.config,
            bootstrap: self.bootstrap,
            listen: Some("localhost:0".to_owned()),
            admin: None,
            mode: None,
            otlp_endpoint: self.otlp_endpoint,
            set: self.set,
        };
        flags.sources(process, config_variable)
    }
}

/// Flags over the configuration, for commands that only read it.
#[derive(Debug, Args)]
pub(super) struct FileFlags {
    /// Configuration file, YAML [env: THROUGHLINE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of the file; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl FileFlags {
    /// As [`Overrides::sources`]. No cluster is needed.
    pub(super) fn sources(self, process: Sources, config_variable: Option<OsString>) -> Sources {
        let flags = Overrides {
            config: self.config,
            bootstrap: None,
            listen: None,
            admin: None,
            mode: None,
            otlp_endpoint: None,
            set: self.set,
        };
        Sources {
            needs_bootstrap: false,
            ..flags.sources(process, config_variable)
        }
    }
}

/// Flags over the configuration, for the observer.
#[derive(Debug, Args)]
pub(super) struct ObserveFlags {
    /// Configuration file, YAML [env: THROUGHLINE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers to dial first (kafka.bootstrap)
    #[arg(long, value_name = "HOST:PORT,..")]
    bootstrap: Option<String>,
    /// Where to serve metrics, health and JSON (admin.listen) [default: 127.0.0.1:9470]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// Collector to push metrics to (otlp.endpoint, and switches otlp.metrics on)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Any key of the file; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl ObserveFlags {
    /// As [`Overrides::sources`]. No application is served, so Kafka itself may be where a sidecar would listen.
    pub(super) fn sources(self, process: Sources, config_variable: Option<OsString>) -> Sources {
        let said = self.set.iter().any(|(key, _)| key == "otlp.metrics");
        let pushes = self.otlp_endpoint.is_some() && !said;
        let flags = Overrides {
            config: self.config,
            bootstrap: self.bootstrap,
            listen: Some("localhost:0".to_owned()),
            admin: self.admin,
            mode: None,
            otlp_endpoint: self.otlp_endpoint,
            set: self.set,
        };
        let mut sources = flags.sources(process, config_variable);
        if pushes {
            sources.overrides.insert(
                0,
                Override {
                    flag: "--otlp-endpoint".to_owned(),
                    key: "otlp.metrics".to_owned(),
                    value: "true".to_owned(),
                },
            );
        }
        sources
    }
}

/// Flags over the configuration.
#[derive(Debug, Args)]
pub(super) struct Overrides {
    /// Configuration file, YAML [env: THROUGHLINE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers to dial first (kafka.bootstrap)
    #[arg(long, value_name = "HOST:PORT,..")]
    bootstrap: Option<String>,
    /// What the application dials (kafka.listen) [default: localhost:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where to serve metrics, health and the console (admin.listen) [default: 127.0.0.1:9470]
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// What to do with records: inject, observe or off (context.mode) [default: inject]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Collector to send traces to (otlp.endpoint)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Any key of the file; can be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Overrides {
    /// Adds the flags to what the process is given. An empty variable counts as not set.
    pub(super) fn sources(self, process: Sources, config_variable: Option<OsString>) -> Sources {
        let set = self.set.into_iter().map(|(key, value)| Override {
            flag: format!("--set {key}"),
            key,
            value,
        });
        let flags = [
            ("--bootstrap", "kafka.bootstrap", self.bootstrap),
            ("--listen", "kafka.listen", self.listen),
            ("--admin", "admin.listen", self.admin),
            ("--mode", "context.mode", self.mode),
            ("--otlp-endpoint", "otlp.endpoint", self.otlp_endpoint),
        ];
        let flags = flags.into_iter().filter_map(|(flag, key, value)| {
            value.map(|value| Override {
                flag: flag.to_owned(),
                key: key.to_owned(),
                value,
            })
        });
        let variable = config_variable
            .filter(|path| !path.is_empty())
            .map(PathBuf::from);
        Sources {
            file: self.config.or(variable),
            overrides: flags.chain(set).collect(),
            needs_bootstrap: true,
            ..process
        }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("allowed: KEY=VALUE, for example kafka.listen=localhost:9092")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// From the end, because the form is what people copy from a log and topics come first there.
fn position(text: &str) -> Result<(String, i32, i64), String> {
    let parse = || {
        let mut parts = text.rsplitn(3, ':');
        let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        let partition = parts.next()?.parse().ok().filter(|p| *p >= 0)?;
        let topic = parts.next().filter(|topic| !topic.is_empty())?;
        Some((topic.to_owned(), partition, offset))
    };
    parse().ok_or_else(|| "allowed: TOPIC:PARTITION:OFFSET, for example orders:0:42".to_owned())
}

fn correlation_id(text: &str) -> Result<String, String> {
    if (1..=256).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("allowed: 1 to 256 bytes".to_owned())
    }
}

fn trace_id(text: &str) -> Result<String, String> {
    let is_id = text.len() == 32
        && text.bytes().all(|b| b.is_ascii_hexdigit())
        && text.bytes().any(|b| b != b'0');
    is_id.then(|| text.to_ascii_lowercase()).ok_or_else(|| {
        "allowed: 32 hexadecimal digits, not all zero; for another id use --correlation-id"
            .to_owned()
    })
}

/// A whole number and a unit: 500ms, 60s, 5m, 1h.
fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "allowed: a whole number with ms, s, m or h, for example 60s";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u64 = digits.parse().map_err(|_| allowed.to_owned())?;
    let unit_ms = match text.strip_prefix(digits) {
        Some("ms") => 1,
        Some("s") => 1_000,
        Some("m") => 60_000,
        Some("h") => 3_600_000,
        _ => return Err(allowed.to_owned()),
    };
    let millis = number.checked_mul(unit_ms).filter(|ms| *ms > 0);
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| allowed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        for wrong in [
            "",
            "60",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "99999999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn positions_are_read_from_their_end() {
        assert_eq!(position("a.b:0:42"), Ok(("a.b".to_owned(), 0, 42)));
        for wrong in ["", "a", "a:1", ":0:1", "a:-1:0", "a:0:-1", "a:x:0", "a:0:"] {
            assert!(position(wrong).is_err(), "{wrong}");
        }
        let id = "4BF92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace_id(id), Ok(id.to_ascii_lowercase()));
        for wrong in ["", "4bf9", &"0".repeat(32), &"g".repeat(32)] {
            assert!(trace_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn definitions_are_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
