//! Recording rules and alerts as values, and how Prometheus reads them.
//!
//! Here so that what a rule says stands apart from YAML. Must not know an indicator.
//!
//! Formats: Prometheus rule files; `monitoring.coreos.com/v1` PrometheusRule of the Prometheus Operator, whose `spec` is one.

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it makes.
    pub kind: Kind,
    /// PromQL, one or more lines.
    pub expr: String,
    /// Labels it adds, in this order; of alerts the values are templates.
    pub labels: Vec<(&'static str, String)>,
}

/// What a rule makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A series of this name.
    Record(String),
    /// An alert.
    Alert {
        /// Its name.
        name: &'static str,
        /// How long the expression must hold, as Prometheus writes it; empty = not at all.
        holds: &'static str,
        /// In this order; templates.
        annotations: Vec<(&'static str, String)>,
    },
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, unique in a file.
    pub name: &'static str,
    /// How often, as Prometheus writes it.
    pub interval: &'static str,
    /// In the order of evaluation: a rule may use what one before it recorded.
    pub rules: Vec<Rule>,
}

impl Rule {
    /// A recording rule. What is recorded is of no target, but dashboards select by target everywhere, and a selector that takes all targets takes
    /// none without one: all have the same.
    pub(super) fn record(name: impl Into<String>, expr: impl Into<String>) -> Self {
        let target = || "throughline".to_owned();
        Self {
            kind: Kind::Record(name.into()),
            expr: expr.into(),
            labels: vec![("job", target()), ("instance", target())],
        }
    }
}

/// What a rule file says in its head.
const HEAD: &str = "\
# Written by `throughline slo generate`: change the objectives and write it anew, not this file.
";

/// As a rule file.
#[must_use]
pub fn file(groups: &[Group]) -> String {
    let mut out = HEAD.to_owned();
    write_groups(&mut out, groups, "");
    out
}

/// As an object of the Prometheus Operator.
#[must_use]
pub fn custom_resource(groups: &[Group]) -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: throughline
  labels:
    app.kubernetes.io/name: throughline
spec:
",
    );
    write_groups(&mut out, groups, "  ");
    out
}

fn write_groups(out: &mut String, groups: &[Group], indent: &str) {
    line(out, indent, 0, "groups:");
    for group in groups {
        line(out, indent, 1, &format!("- name: {}", group.name));
        line(out, indent, 2, &format!("interval: {}", group.interval));
        line(out, indent, 2, "rules:");
        for rule in &group.rules {
            write_rule(out, rule, indent);
        }
    }
}

fn write_rule(out: &mut String, rule: &Rule, indent: &str) {
    let mut annotations: &[_] = &[];
    match &rule.kind {
        Kind::Record(name) => line(out, indent, 3, &format!("- record: {name}")),
        Kind::Alert {
            name,
            holds,
            annotations: all,
        } => {
            line(out, indent, 3, &format!("- alert: {name}"));
            if !holds.is_empty() {
                line(out, indent, 4, &format!("for: {holds}"));
            }
            annotations = all;
        }
    }
    line(out, indent, 4, "expr: |");
    for text in rule.expr.trim().lines() {
        line(out, indent, 5, text);
    }
    for (title, pairs) in [("labels:", &rule.labels[..]), ("annotations:", annotations)] {
        if !pairs.is_empty() {
            line(out, indent, 4, title);
        }
        for (name, value) in pairs {
            line(out, indent, 5, &format!("{name}: {}", quoted(value)));
        }
    }
}

fn line(out: &mut String, indent: &str, depth: usize, text: &str) {
    out.push_str(indent);
    for _ in 0..depth {
        out.push_str("  ");
    }
    out.push_str(text);
    out.push('\n');
}

/// A text in YAML's single quotes, which know no escape but their own doubling. Line ends become spaces: no rule needs them.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('\'');
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// The lines of an expression that stands within another.
pub(super) fn indented(expr: &str) -> String {
    let lines = expr.trim().lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// A text between PromQL's double quotes.
pub(super) fn promql_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_their_quotes() {
        assert_eq!(quoted("it's 5 %: {{ $x }}"), "'it''s 5 %: {{ $x }}'");
        assert_eq!(promql_string("a\\d\"b\n"), "\"a\\\\d\\\"b\\u000a\"");
    }
}
