//! A real Prometheus over recorded series that are written for it, and `promtool`.

use std::{fmt::Write as _, path::Path, process::Command, time::SystemTime};

use super::support::prometheus::{INSTALL, Prometheus, PrometheusSpec};

/// How far around now the series reach, seconds: a test that is slow still finds them fresh.
const AROUND: u64 = 3600;
/// Between two samples, seconds.
const STEP: u64 = 60;

/// Runs `promtool` in a directory: whether it ended well, and what it said.
#[track_caller]
pub(crate) fn promtool(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}; {INSTALL}"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A Prometheus with these series, each of one value: (`name{labels}`, value).
#[track_caller]
pub(crate) fn prometheus_with(series: &[(String, f64)]) -> Prometheus {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a clock").as_secs();
    let mut text = String::new();
    for (name, value) in series {
        for back in (0..=2 * AROUND / STEP).rev() {
            let at = now + AROUND - back * STEP;
            writeln!(text, "{name} {value} {at}").expect("a string");
        }
    }
    text.push_str("# EOF\n");
    Prometheus::start(&PrometheusSpec {
        history: (!series.is_empty()).then_some(text),
        ..PrometheusSpec::default()
    })
}
