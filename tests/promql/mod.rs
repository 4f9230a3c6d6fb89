//! What an expression of Prometheus selects and which labels it names, judged by what there is: the catalogue, what the rules record, and
//! Prometheus' own.
//!
//! Why: a rule or panel that names what nobody exports is silent for ever, and no parser minds. Grafana's variables for times may stand
//! where Prometheus wants a duration.

#![allow(
    dead_code,
    reason = "each program that reads rules or PromQL uses a part of it"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use throughline::metrics::catalogue::{Id, Kind};

/// `name{matchers}[range]`, and the function or aggregation it is the argument of.
#[derive(Debug)]
pub(crate) struct Selector {
    /// Empty where only matchers select.
    pub(crate) name: String,
    pub(crate) matchers: Vec<Matcher>,
    /// Grafana's variable, or the duration in seconds (`300s`).
    pub(crate) range: Option<String>,
    pub(crate) function: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

impl Selector {
    /// The names it may mean: its own, or the alternatives of its `__name__`.
    pub(crate) fn names(&self) -> Vec<String> {
        if !self.name.is_empty() {
            return vec![self.name.clone()];
        }
        let named = self.matchers.iter();
        let named = named.filter(|matcher| matcher.label == "__name__");
        named
            .flat_map(|matcher| alternatives(&matcher.value))
            .collect()
    }
}

/// What an expression names.
#[derive(Debug, Default)]
pub(crate) struct Expression {
    pub(crate) selectors: Vec<Selector>,
    /// Labels after `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(crate) grouping: Vec<String>,
    /// Labels that `label_replace` makes.
    pub(crate) introduced: Vec<String>,
}

/// Durations that stand for Grafana's variables while the expression is parsed; nobody writes them.
const VARIABLES: &[(&str, u64)] = &[("$__rate_interval", 86_399), ("$__range", 86_401)];

/// Reads an expression.
///
/// # Errors
///
/// What is wrong with it, in the parser's words.
pub(crate) fn read(text: &str) -> Result<Expression, String> {
    let mut plain = text.to_owned();
    for (variable, seconds) in VARIABLES {
        plain = plain.replace(&format!("[{variable}"), &format!("[{seconds}s"));
    }
    let mut found = Expression::default();
    found.take(&parser::parse(&plain)?, None);
    Ok(found)
}

impl Expression {
    fn take(&mut self, expr: &Expr, function: Option<&str>) {
        match expr {
            Expr::Aggregate(aggregate) => {
                self.group(aggregate.modifier.as_ref());
                let name = aggregate.op.to_string();
                let parts = aggregate.param.iter().chain([&aggregate.expr]);
                parts.for_each(|part| self.take(part, Some(&name)));
            }
            Expr::Binary(binary) => {
                if let Some(modifier) = &binary.modifier {
                    self.group(modifier.matching.as_ref());
                    let kept = modifier.card.labels().into_iter();
                    self.grouping
                        .extend(kept.flat_map(|kept| kept.labels.iter().cloned()));
                }
                self.take(&binary.lhs, function);
                self.take(&binary.rhs, function);
            }
            Expr::Call(call) => {
                if let ("label_replace", Some(Expr::StringLiteral(made))) = (
                    call.func.name,
                    call.args.args.get(1).map(|argument| &**argument),
                ) {
                    self.introduced.push(made.val.clone());
                }
                let arguments = call.args.args.iter();
                arguments.for_each(|argument| self.take(argument, Some(call.func.name)));
            }
            Expr::Paren(inner) => self.take(&inner.expr, function),
            Expr::Unary(inner) => self.take(&inner.expr, function),
            Expr::Subquery(inner) => self.take(&inner.expr, function),
            Expr::VectorSelector(selector) => self.select(selector, None, function),
            Expr::MatrixSelector(selector) => {
                let seconds = selector.range.as_secs();
                let variable = VARIABLES.iter().find(|(_, marks)| *marks == seconds);
                let range = variable.map_or(format!("{seconds}s"), |(name, _)| (*name).to_owned());
                self.select(&selector.vs, Some(range), function);
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }

    fn group(&mut self, modifier: Option<&LabelModifier>) {
        let labels = modifier.into_iter().flat_map(|m| &m.labels().labels);
        self.grouping.extend(labels.cloned());
    }

    fn select(&mut self, selector: &VectorSelector, range: Option<String>, function: Option<&str>) {
        let alternatives = selector.matchers.or_matchers.iter().flatten();
        let matchers = selector.matchers.matchers.iter().chain(alternatives);
        let matchers = matchers.map(|matcher| Matcher {
            label: matcher.name.clone(),
            operator: matcher.op.to_string(),
            value: matcher.value.clone(),
        });
        self.selectors.push(Selector {
            name: selector.name.clone().unwrap_or_default(),
            matchers: matchers.collect(),
            range,
            function: function.map(str::to_owned),
        });
    }
}

/// Every text that `a|b` or `a(b|c)?d` stands for: one group, of words.
fn alternatives(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('(') else {
        return pattern.split('|').map(str::to_owned).collect();
    };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    let optional = after.strip_prefix('?');
    let after = optional.unwrap_or(after);
    let mut words: Vec<&str> = inside.split('|').collect();
    if optional.is_some() {
        words.push("");
    }
    let each = words.into_iter();
    each.map(|word| format!("{before}{word}{after}")).collect()
}

/// Labels that Prometheus, or the exporter, puts on every series.
const EVERYWHERE: &[&str] = &["cluster", "job", "instance"];
/// Labels of alerts: Prometheus' own, and what the rules give them.
const OF_ALERTS: &[&str] = &[
    "alertname",
    "alertstate",
    "severity",
    "mute",
    "team",
    "tier",
    "tenant",
    "topic",
    "group",
    "sli",
    "broker",
];

/// Names that the shipped rules record.
pub(crate) fn recorded() -> BTreeSet<String> {
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
    let files = ["rules", "alerts"].map(|kind| {
        let path = alerts.join(format!("throughline.{kind}.yaml"));
        fs::read_to_string(path).expect("rules")
    });
    let lines = files.iter().flat_map(|text| text.lines());
    lines
        .filter_map(|line| line.trim().strip_prefix("- record: "))
        .map(|name| name.trim_matches('\'').to_owned())
        .collect()
}

/// Series by name, with the labels that they may have.
#[derive(Debug)]
pub(crate) struct Series(BTreeMap<String, BTreeSet<String>>);

impl Series {
    /// The catalogue, Prometheus' own, and what is recorded: `labels:of_what:how`.
    pub(crate) fn with(recorded: impl IntoIterator<Item = String>) -> Self {
        let mut known = BTreeMap::new();
        let mut add = |name: String, labels: Vec<&str>| {
            let labels = labels.into_iter().chain(EVERYWHERE.iter().copied());
            known.insert(name, labels.map(str::to_owned).collect());
        };
        for family in Id::ALL.iter().map(|id| id.family()) {
            let mut labels = family.labels.to_vec();
            if family.kind == Kind::Histogram {
                add(format!("{}_sum", family.name), labels.clone());
                add(format!("{}_count", family.name), labels.clone());
                labels.push("le");
                add(format!("{}_bucket", family.name), labels);
            } else {
                add(family.name.to_owned(), labels);
            }
        }
        for name in recorded {
            let mut parts = name.split(':');
            let mut labels: Vec<&str> = parts.next().unwrap_or("").split('_').collect();
            match parts.next() {
                Some("throughline_topic_owner") => labels.extend(["team", "tier", "tenant"]),
                Some("throughline_alerts") => labels.extend(OF_ALERTS),
                _ => {}
            }
            add(name.clone(), labels);
        }
        add("ALERTS".to_owned(), OF_ALERTS.to_vec());
        add("up".to_owned(), Vec::new());
        Self(known)
    }

    /// Whether a label of this name is somewhere.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        self.0.values().any(|labels| labels.contains(label))
    }

    /// What `expr` names that is not there: series, and labels that no series in it has.
    pub(crate) fn strangers(&self, expr: &str) -> Vec<String> {
        let read = match read(expr) {
            Ok(read) => read,
            Err(error) => return vec![error],
        };
        let mut found = Vec::new();
        let mut there: BTreeSet<&str> = read.introduced.iter().map(String::as_str).collect();
        for selector in &read.selectors {
            let names = selector.names();
            if names.is_empty() {
                found.push(format!("a selector without a name in {expr}"));
            }
            let mut labels: BTreeSet<&str> = BTreeSet::from(["__name__"]);
            for name in &names {
                match self.0.get(name) {
                    None => found.push(format!("{name} is not there")),
                    Some(has) => labels.extend(has.iter().map(String::as_str)),
                }
            }
            let known = labels.len() > 1;
            for matcher in &selector.matchers {
                if known && !labels.contains(matcher.label.as_str()) {
                    found.push(format!("{names:?} has no label {}", matcher.label));
                }
            }
            there.extend(labels);
        }
        if !found.is_empty() {
            return found;
        }
        for label in &read.grouping {
            if !there.contains(label.as_str()) {
                found.push(format!("nothing in it has the label {label}: {expr}"));
            }
        }
        found
    }
}
