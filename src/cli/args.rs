//! Definitions of commands and flags.
//!
//! Here because clap derives parsing, help and completions from them. Flags that have a key hand over text: `config` checks
//! it together with all else, so that one run shows everything that is wrong. Must not repeat a default of `config` as a
//! value.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser};

use super::{COLOR, text};
use crate::config::{HostPort, ListenAddress, Override, Sources, otlp_endpoint};

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
    /// Validate a configuration and the reachability of what it names
    #[command(after_help = text::CHECK_EXAMPLES)]
    Check(CheckArguments),
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
pub(super) struct CheckArguments {
    #[command(flatten)]
    pub(super) overrides: Overrides,
    /// Check the configuration alone, which then may lack kafka.bootstrap; dial nothing
    #[arg(long)]
    pub(super) offline: bool,
}

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Use this cluster instead of the embedded one
    #[arg(long, value_name = "HOST:PORT,..", value_delimiter = ',')]
    pub(super) bootstrap: Vec<HostPort>,
    /// Stop after this time and print a summary, for example 60s or 5m [default: until Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Where to serve the console and metrics [default: a free port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<ListenAddress>,
    /// Collector to send the traces of all services to, over gRPC
    #[arg(long, value_name = "URL", value_parser = otlp_endpoint)]
    pub(super) otlp_endpoint: Option<String>,
    /// Write without colour
    #[arg(long)]
    pub(super) no_color: bool,
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
    fn definitions_are_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
