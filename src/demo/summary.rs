//! What the demo ends with: the sidecars' figures against the cluster's own.
//!
//! Here because a demo that cannot be wrong shows nothing. Every line is a comparison of what a sidecar measured with what
//! the cluster answered past it, and says "ok" or "NOT CONSISTENT". Must not use a figure of the plan, and must not call a
//! missing figure good.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use super::{
    figures::Scrape,
    ledger::Ledger,
    page::{Key, Reported},
    topology::{DEAD_LETTERS, GROUPS, ORDERS, TOPICS},
    view::{Screen, count, share},
};

/// The end of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Whether every line says ok.
    pub consistent: bool,
}

/// All that is compared.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// Past the sidecars, before the first client started.
    pub(super) before: &'a Ledger,
    /// Past the sidecars, at rest.
    pub(super) after: &'a Ledger,
    /// What the sidecars say of groups, at rest.
    pub(super) groups: &'a BTreeMap<Key, Reported>,
    /// What the sidecars count, at rest.
    pub(super) metrics: &'a Scrape,
}

/// Writes the summary.
pub(super) fn write(
    out: &mut dyn Write,
    screen: Screen,
    evidence: &Evidence<'_>,
) -> io::Result<Summary> {
    let rows = rows(evidence);
    let checks = checks(evidence, &rows);
    writeln!(out)?;
    writeln!(
        out,
        "{}",
        screen.bold("Summary: lag, delivered, acknowledged by the sidecars; log end, committed read past them")
    )?;
    writeln!(
        out,
        "{:<12}{:<12}{:>10}{:>11}{:>8}{:>11}",
        "GROUP", "PARTITION", "LOG END", "COMMITTED", "LAG", "DELIVERED"
    )?;
    for row in &rows {
        writeln!(
            out,
            "{:<12}{:<12}{:>10}{:>11}{:>8}{:>11}  {}",
            row.group,
            format!("{}:{}", ORDERS.name, row.partition),
            integer(row.end),
            integer(row.committed),
            integer(row.reported.lag),
            integer(row.reported.delivered),
            verdict(screen, row.faults())
        )?;
    }
    writeln!(out)?;
    for check in &checks {
        writeln!(
            out,
            "{}  {}",
            check.text,
            verdict(screen, check.fault.clone())
        )?;
    }
    slis(out, evidence.metrics)?;
    let consistent = rows.iter().all(|row| row.faults().is_none())
        && checks.iter().all(|check| check.fault.is_none());
    let last = if consistent {
        screen.good("consistent")
    } else {
        screen.bad("NOT CONSISTENT")
    };
    writeln!(out, "{last}")?;
    out.flush()?;
    Ok(Summary { consistent })
}

fn verdict(screen: Screen, fault: Option<String>) -> String {
    fault.map_or_else(
        || screen.good("ok"),
        |fault| screen.bad(&format!("NOT CONSISTENT: {fault}")),
    )
}

/// One group on one partition.
#[derive(Debug)]
struct Row {
    group: &'static str,
    partition: i32,
    /// Log end by the cluster.
    end: Option<i64>,
    /// Committed by the cluster.
    committed: Option<i64>,
    /// Where the group stands, which is not the same where it committed nothing yet.
    position: Option<i64>,
    /// How far it came since the demo began.
    advanced: Option<i64>,
    reported: Reported,
}

impl Row {
    /// What does not fit, if anything.
    fn faults(&self) -> Option<String> {
        let (Some(end), Some(position), Some(advanced)) = (self.end, self.position, self.advanced)
        else {
            return Some("the cluster gave no offsets".to_owned());
        };
        let mut faults = Vec::new();
        match self.reported.lag {
            // Neither side knows of a position: a group that never committed there has no lag.
            None if self.committed.is_none() => {}
            None => faults.push("the sidecar gives no lag".to_owned()),
            Some(lag) if position.saturating_add(lag) != end => {
                faults.push(format!(
                    "log end {end} is not committed {position} + lag {lag}"
                ));
            }
            Some(_) => {}
        }
        match self.reported.delivered.unwrap_or(0) {
            delivered if delivered < advanced => {
                faults.push(format!("delivered {delivered} of {advanced} committed"));
            }
            _ => {}
        }
        match self.reported.committed {
            Some(seen) if Some(seen) != self.committed && self.committed.is_some() => {
                faults.push(format!("the sidecar saw {seen} committed"));
            }
            _ => {}
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }
}

fn rows(evidence: &Evidence<'_>) -> Vec<Row> {
    let row = |group: &'static str, partition| {
        let key = (group.to_owned(), ORDERS.name.to_owned(), partition);
        let position = evidence.after.position(group, partition);
        let began = evidence.before.position(group, partition);
        Row {
            group,
            partition,
            end: evidence.after.log(partition).map(|log| log.end),
            committed: evidence
                .after
                .committed
                .get(group)
                .and_then(|all| *all.get(&partition)?),
            position,
            advanced: position
                .zip(began)
                .map(|(now, then)| now.saturating_sub(then)),
            reported: evidence.groups.get(&key).copied().unwrap_or_default(),
        }
    };
    let group = |group| (0..ORDERS.partitions).map(move |partition| row(group, partition));
    GROUPS.into_iter().flat_map(group).collect()
}

/// One statement about a whole topic.
#[derive(Debug)]
struct Check {
    text: String,
    fault: Option<String>,
}

fn checks(evidence: &Evidence<'_>, rows: &[Row]) -> Vec<Check> {
    let mut checks: Vec<_> = TOPICS
        .iter()
        .map(|topic| acknowledged(evidence, topic.name))
        .collect();
    let advanced = rows.iter().filter_map(|row| row.advanced);
    let committed = advanced.fold(0_i64, i64::saturating_add);
    checks.push(Check {
        text: format!(
            "{committed} records processed and committed by {} groups",
            GROUPS.len()
        ),
        fault: (committed <= 0).then(|| "nothing passed; see the warnings above".to_owned()),
    });
    checks
}

/// Records acknowledged on a topic, by two counters of the sidecars, against what its logs grew.
fn acknowledged(evidence: &Evidence<'_>, topic: &str) -> Check {
    let grown = evidence
        .after
        .ends(topic)
        .saturating_sub(evidence.before.ends(topic));
    let (good, produced) = (
        evidence.metrics.acknowledged(topic),
        evidence.metrics.produced(topic),
    );
    let what = if topic == DEAD_LETTERS.name {
        "dead letters"
    } else {
        "records"
    };
    let fits = |counted: Option<f64>| whole(counted.unwrap_or(0.0)) == Some(grown);
    Check {
        text: format!(
            "{topic}: {} {what} acknowledged ({} produced) = {grown} in the log",
            count(good.or(Some(0.0))),
            count(produced.or(Some(0.0))),
        ),
        fault: (!fits(good) || !fits(produced)).then(|| "the counts differ".to_owned()),
    }
}

/// A counter's value as an integer; `None` where it is none.
fn whole(value: f64) -> Option<i64> {
    format!("{value}").parse().ok()
}

/// What was measured beside the checks.
fn slis(out: &mut dyn Write, metrics: &Scrape) -> io::Result<()> {
    for sli in ["publish", "latency", "availability"] {
        writeln!(
            out,
            "{sli} SLI  {} good",
            share(metrics.ratio(&[("sli", sli)]))
        )?;
    }
    Ok(())
}

fn integer(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
