//! Who is told of what, and when.
//!
//! A page is for what hurts now; a ticket for what will; the channel is for whoever is on call and looks. Must not say who receives:
//! that is Alertmanager's configuration, by `severity` and `team`.
//!
//! Reference: signals.md section 11.

mod burn;
mod own;
mod symptoms;

use super::{
    Links,
    recording::owner,
    rule::{Group, Kind, Rule, indented},
};

/// Series of this name mark processes that ran on while nobody asked them: what they count was not born now.
const UNWATCHED: &str = "instance:throughline_unwatched:info";

/// How loud an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Page,
    Channel,
    Ticket,
    None,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Channel => "channel",
            Self::Ticket => "ticket",
            Self::None => "none",
        }
    }
}

/// What may mute an alert without spending less of a budget: the label `mute`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mute {
    /// What a planned restart of brokers or consumers brings about.
    Maintenance,
    /// What a change of schemas brings about.
    SchemaMigration,
    /// Whichever fits the indicator.
    ByIndicator,
    /// Nothing planned does this.
    Nothing,
}

impl Mute {
    fn template(self) -> &'static str {
        match self {
            Self::Maintenance => "maintenance",
            Self::SchemaMigration => "schema_migration",
            Self::ByIndicator => {
                "{{ if eq $labels.sli \"schema\" }}schema_migration{{ else }}maintenance{{ end }}"
            }
            Self::Nothing => "none",
        }
    }
}

/// Whose an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The owner of the topic in its labels.
    Topic,
    /// Those who run clusters and Throughline.
    Platform,
}

/// An alert as it is written down.
struct Alert {
    name: &'static str,
    severity: Severity,
    holds: &'static str,
    expr: String,
    of: Of,
    mute: Mute,
    summary: &'static str,
    description: &'static str,
    /// Which dashboard shows it.
    board: &'static str,
}

const ON_CALL: &str = "throughline-on-call";
const SIDECAR: &str = "throughline-sidecar";

impl Alert {
    fn rule(self, links: &Links) -> Rule {
        let expr = match self.of {
            Of::Platform => self.expr,
            Of::Topic => format!(
                "(\n{}\n)\n* on (cluster, topic) group_left (team, tier, tenant)\n{}",
                indented(&self.expr),
                owner()
            ),
        };
        let team = match self.of {
            Of::Platform => "platform",
            Of::Topic => "{{ or $labels.team \"unowned\" }}",
        };
        let runbook = format!("{}/{}.md", links.runbooks, self.name);
        let board = format!(
            "{}/d/{}?var-cluster={{{{ $labels.cluster | urlquery }}}}{}",
            links.dashboards,
            self.board,
            match self.of {
                Of::Platform => "",
                Of::Topic =>
                    "{{ with $labels.topic }}&var-topic={{ . | urlquery }}{{ end }}{{ with $labels.group }}&var-group={{ . | urlquery }}{{ end }}",
            }
        );
        Rule {
            kind: Kind::Alert {
                name: self.name,
                holds: self.holds,
                annotations: vec![
                    ("summary", self.summary.to_owned()),
                    ("description", self.description.to_owned()),
                    ("runbook_url", runbook),
                    ("dashboard_url", board),
                ],
            },
            expr,
            labels: vec![
                ("severity", self.severity.as_str().to_owned()),
                ("team", team.to_owned()),
                ("mute", self.mute.template().to_owned()),
            ],
        }
    }
}

pub(super) fn groups(links: &Links) -> Vec<Group> {
    let group = |name, alerts: Vec<Alert>| Group {
        name,
        interval: "30s",
        rules: alerts.into_iter().map(|alert| alert.rule(links)).collect(),
    };
    let mut counted = symptoms::alerts();
    counted.extend(own::alerts());
    let mut counted = group("throughline.alerts", counted);
    // In the group that reads it, before what reads it: groups are not evaluated in an order.
    counted.rules.insert(0, unwatched());
    vec![group("throughline.burn", burn::alerts()), counted]
}

fn unwatched() -> Rule {
    let expr = "(time() - process_start_time_seconds > 600)\nunless on (job, instance)\n(up offset 5m == 1)";
    Rule {
        labels: Vec::new(),
        ..Rule::record(UNWATCHED, expr)
    }
}

/// What a counter gained in a window, where it gained anything: also where it was born with a value, which `increase` does not see. After
/// a gap in what Prometheus has, counters of processes that ran on are not taken for born.
fn grew(family: &str, window: &str) -> String {
    format!(
        "(\n  increase({family}[{window}]) > 0\n  or\n  ({family} > 0 unless {family} offset 5m unless on (job, instance) {UNWATCHED})\n)"
    )
}

/// What all counters of a family gained, by some labels.
fn gained(by: &str, family: &str, window: &str) -> String {
    format!("sum by ({by}) {}", grew(family, window))
}
