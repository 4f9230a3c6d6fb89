//! Which metrics and labels an expression of Prometheus or a template names.
//!
//! A scanner of words, not a parser: what is neither function, operator nor number is a name, and every name must be one that is known.

use std::collections::BTreeSet;

use throughline::metrics::catalogue::{Id, Kind};

/// Words of the language that the rules use. One that is not here is taken for a name, and the test says that it is unknown.
const LANGUAGE: &[&str] = &[
    "absent",
    "and",
    "avg",
    "bool",
    "by",
    "clamp_min",
    "count",
    "count_over_time",
    "deriv",
    "group",
    "group_left",
    "increase",
    "label_replace",
    "last_over_time",
    "max",
    "min",
    "offset",
    "on",
    "or",
    "rate",
    "round",
    "sum",
    "sum_over_time",
    "time",
    "topk",
    "unless",
    "vector",
    "without",
];
/// Labels that Prometheus itself gives to what it scrapes, or that stand for the name.
const SCRAPED: &[&str] = &["cluster", "job", "instance", "__name__"];
/// What Prometheus has without being given it.
const OWN: &[&str] = &["up", "ALERTS"];
/// Labels of alerts, by Prometheus and by every rule.
const OF_ALERTS: &[&str] = &["alertname", "alertstate", "severity", "mute"];

/// What an expression names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Identifiers outside of quotes: metrics and labels.
    pub(crate) words: BTreeSet<String>,
    /// What stands between quotes, in its order.
    pub(crate) quoted: Vec<String>,
    /// (metric, label that it is selected by).
    pub(crate) selected: BTreeSet<(String, String)>,
}

/// Reads an expression.
pub(crate) fn names(expr: &str) -> Names {
    let mut names = Names::default();
    let mut rest = expr;
    // The metric before a brace, and whether we are between braces.
    let (mut last, mut selector) = (String::new(), None);
    while let Some(c) = rest.chars().next() {
        let take = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let length = match c {
            '"' => {
                let text: String = rest[1..].chars().take_while(|c| *c != '"').collect();
                let length = text.len() + 2;
                names.quoted.push(text);
                length
            }
            '{' => {
                selector = Some(std::mem::take(&mut last));
                1
            }
            '}' => {
                selector = None;
                1
            }
            c if c.is_ascii_digit() => take(|c| c.is_ascii_alphanumeric() || c == '.'),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let length = take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
                last = rest[..length].to_owned();
                if let Some(metric) = selector.as_ref().filter(|metric| !metric.is_empty()) {
                    names.selected.insert((metric.clone(), last.clone()));
                }
                names.words.insert(last.clone());
                length
            }
            c => c.len_utf8(),
        };
        rest = &rest[length.min(rest.len())..];
    }
    names
}

/// Every name that stands in a template after `$labels.`.
pub(crate) fn template_labels(text: &str) -> BTreeSet<String> {
    let after = text.split("$labels.").skip(1);
    after
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

/// Every text that `a(b|c)?d` stands for: one group, of words.
fn spelled_out(pattern: &str) -> Vec<String> {
    let Some((before, rest)) = pattern.split_once('(') else {
        return vec![pattern.to_owned()];
    };
    let Some((inside, after)) = rest.split_once(')') else {
        return vec![pattern.to_owned()];
    };
    let optional = after.strip_prefix('?');
    let after = optional.unwrap_or(after);
    let mut words: Vec<&str> = inside.split('|').collect();
    if optional.is_some() {
        words.push("");
    }
    let each = words.into_iter();
    each.map(|word| format!("{before}{word}{after}")).collect()
}

/// What may be named: the catalogue, what is recorded, and what Prometheus has by itself.
pub(crate) struct Known {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Known {
    /// With these recorded names.
    pub(crate) fn with(recorded: impl IntoIterator<Item = String>) -> Self {
        let own = OWN.iter().map(|name| (*name).to_owned());
        let mut metrics: BTreeSet<_> = recorded.into_iter().chain(own).collect();
        let labels = SCRAPED.iter().chain(OF_ALERTS);
        let mut labels: BTreeSet<_> = labels.map(|label| (*label).to_owned()).collect();
        for family in Id::ALL.iter().map(|id| id.family()) {
            let endings: &[&str] = match family.kind {
                Kind::Histogram => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            metrics.extend(endings.iter().map(|end| format!("{}{end}", family.name)));
            labels.extend(family.labels.iter().map(|label| (*label).to_owned()));
        }
        Self { metrics, labels }
    }

    /// What an expression names that nobody has.
    pub(crate) fn unknown(&self, expr: &str) -> Vec<String> {
        let names = names(expr);
        // Labels that the expression makes itself: the second argument of label_replace.
        let made: BTreeSet<_> = match names.words.contains("label_replace") {
            true => names.quoted.iter().map(String::as_str).collect(),
            false => BTreeSet::new(),
        };
        let known = |word: &str| {
            LANGUAGE.contains(&word)
                || self.metrics.contains(word)
                || self.labels.contains(word)
                || made.contains(word)
        };
        let words = names.words.iter().filter(|word| !known(word)).cloned();
        let patterns = names
            .quoted
            .iter()
            .filter(|t| t.starts_with("throughline_"));
        let patterns = patterns.flat_map(|pattern| spelled_out(pattern));
        let patterns = patterns.filter(|name| !self.metrics.contains(name));
        let selected = names.selected.iter().filter(|(metric, label)| {
            let mut all = Id::ALL.iter().map(|id| id.family());
            all.find(|family| family.name == metric)
                .is_some_and(|family| {
                    !family.labels.contains(&label.as_str()) && !SCRAPED.contains(&label.as_str())
                })
        });
        let selected = selected.map(|(metric, label)| format!("{metric}{{{label}}}"));
        words.chain(patterns).chain(selected).collect()
    }

    /// Whether a label of this name is somewhere.
    pub(crate) fn has_label(&self, label: &str) -> bool {
        self.labels.contains(label)
    }
}
