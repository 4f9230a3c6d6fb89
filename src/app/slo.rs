//! `throughline slo`: rules out of a configuration, and what Prometheus says of them.
//!
//! Must not decide what a rule says or when a budget burns.

use std::{io, time::Duration};

use crate::{
    cli::{Generate, RuleFormat, RulePart, Status, Streams, USAGE_ERROR},
    config::{Config, Sli, read_headers},
    http::{Http, HttpError, escaped},
    slo::{self, Links, Objective, Part, status},
};

use super::FAILED;

/// Time for one answer of Prometheus.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Writes the rules to stdout.
///
/// # Errors
/// Only those of writing.
pub(super) fn generate(
    config: &Config,
    wanted: &Generate,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    let links = Links {
        runbooks: wanted.runbooks.clone(),
        dashboards: wanted.dashboards.clone(),
    };
    let parts: &[Part] = match wanted.only {
        None => &[Part::Recording, Part::Alerts],
        Some(RulePart::Rules) => &[Part::Recording],
        Some(RulePart::Alerts) => &[Part::Alerts],
    };
    match slo::groups(&objectives(config), &links, parts) {
        Err(fault) => {
            writeln!(streams.err, "objectives: {fault}")?;
            Ok(USAGE_ERROR)
        }
        Ok(groups) => {
            let text = match wanted.format {
                RuleFormat::Prometheus => slo::file(&groups),
                RuleFormat::Crd => slo::custom_resource(&groups),
            };
            streams.out.write_all(text.as_bytes())?;
            Ok(0)
        }
    }
}

/// Those of the file, then what holds where none of them matches.
fn objectives(config: &Config) -> Vec<Objective> {
    let given = config.objectives.iter().map(|objective| Objective {
        sli: objective.sli.as_str(),
        pattern: Some(objective.pattern.as_str().to_owned()),
        target: objective.target,
    });
    let defaults = Sli::all().map(|sli| Objective {
        sli: sli.as_str(),
        pattern: None,
        target: sli.default_target(),
    });
    given.chain(defaults).collect()
}

/// Prints the budgets.
///
/// # Errors
/// Only those of writing.
pub(super) async fn status(wanted: &Status, streams: &mut Streams<'_>) -> io::Result<u8> {
    let headers = match &wanted.headers_file {
        None => Vec::new(),
        Some(path) => match read_headers(path) {
            Ok(headers) => headers.expose().to_vec(),
            Err(fault) => {
                writeln!(streams.err, "--headers-file {}: {fault}", path.display())?;
                return Ok(USAGE_ERROR);
            }
        },
    };
    let url = &wanted.prometheus;
    let http = match Http::new(url, "application/json", &headers, ANSWER_BYTES_MAX) {
        Ok(http) => http,
        Err(fault) => {
            let what = match fault {
                HttpError::Url(what) => format!("--prometheus {url}: {what}"),
                HttpError::Header(name) => format!("--headers-file: {name} cannot be sent"),
                HttpError::Certificates(what) => format!("the system's certificates: {what}"),
            };
            writeln!(streams.err, "{what}")?;
            return Ok(USAGE_ERROR);
        }
    };
    let mut answers = [const { Vec::new() }; 4];
    for (answer, question) in answers.iter_mut().zip(status::questions()) {
        match ask(&http, &question).await {
            Ok(body) => *answer = body,
            Err(fault) => {
                writeln!(streams.err, "prometheus {url}: {fault}")?;
                return Ok(FAILED);
            }
        }
    }
    match status::budgets(&answers) {
        Err(fault) => {
            writeln!(streams.err, "prometheus {url}: {fault}")?;
            Ok(FAILED)
        }
        Ok(budgets) => show(budgets, wanted, streams),
    }
}

fn show(
    mut budgets: Vec<status::Budget>,
    wanted: &Status,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    budgets.retain(|budget| {
        let series = &budget.series;
        let fits = |pattern: &Option<crate::config::Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|p| p.regex().is_match(text))
        };
        fits(&wanted.cluster, &series.cluster) && fits(&wanted.topic, &series.topic)
    });
    if budgets.is_empty() {
        writeln!(
            streams.err,
            "prometheus {}: no indicator that is asked for; does it scrape sidecars or an observer, and has it the rules of `throughline slo generate`?",
            wanted.prometheus
        )?;
        return Ok(FAILED);
    }
    streams.out.write_all(status::table(&budgets).as_bytes())?;
    let burning = budgets.iter().filter(|budget| budget.is_burning()).count();
    if burning > 0 && wanted.fail_if_burning {
        writeln!(
            streams.err,
            "{burning} of {} error budgets burn over {}x",
            budgets.len(),
            status::BURNING
        )?;
        return Ok(FAILED);
    }
    Ok(0)
}

async fn ask(http: &Http, question: &str) -> Result<Vec<u8>, String> {
    let path = format!("/api/v1/query?query={}", escaped(question));
    let asked = tokio::time::timeout(TIMEOUT, http.get(&path)).await;
    let (code, body) = asked.map_err(|_| format!("no answer within {TIMEOUT:?}"))??;
    // Prometheus explains itself in the body of a 4xx; what stands before it does not.
    if code.is_success() || body.starts_with(b"{\"status\"") {
        Ok(body.to_vec())
    } else {
        Err(format!(
            "HTTP {code}; is it the base of its address, without /graph?"
        ))
    }
}
