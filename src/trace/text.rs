//! The tree for people: box drawing, one record a line.
//!
//! Must not print a key or value, nor anything from a record that could steer a terminal.

use std::fmt::Write as _;

use super::{Node, Position, Reading, Tree, millis, utc};

/// The tree as text, with a line break at its end.
#[must_use]
pub fn text(tree: &Tree, reading: &Reading) -> String {
    let mut out = String::new();
    head(tree, &mut out);
    // From the end: a node is the last child where no later one has its parent.
    let mut has_later = vec![false; tree.nodes.len()];
    let mut is_last = vec![true; tree.nodes.len()];
    for (node, last) in tree.nodes.iter().zip(&mut is_last).rev() {
        if let Some(seen) = node.parent.and_then(|parent| has_later.get_mut(parent)) {
            *last = !*seen;
            *seen = true;
        }
    }
    // By depth, from 1 on: whether the line above goes on.
    let mut bars: Vec<bool> = Vec::new();
    for (node, is_last) in tree.nodes.iter().zip(is_last) {
        bars.truncate(node.depth.saturating_sub(1));
        for goes_on in &bars {
            out.push_str(if *goes_on { "│  " } else { "   " });
        }
        if node.depth > 0 {
            out.push_str(if is_last { "└─ " } else { "├─ " });
            bars.push(!is_last);
        }
        line(node, reading.asked.as_ref(), &mut out);
    }
    out
}

fn head(tree: &Tree, out: &mut String) {
    let mut topics: Vec<&str> = tree
        .nodes
        .iter()
        .map(|node| node.observed.position.topic.as_str())
        .collect();
    topics.sort_unstable();
    topics.dedup();
    let times = || tree.nodes.iter().map(|node| node.at_ms);
    let span = times()
        .max()
        .unwrap_or(0)
        .saturating_sub(times().min().unwrap_or(0));
    let none = || "none".to_owned();
    let trace_id = tree.trace_id.map_or_else(none, |id| id.to_string());
    let correlation = tree.correlation_id.as_deref().map_or_else(none, plain);
    let (records, topics) = (tree.nodes.len(), topics.len());
    put(out, format_args!("trace id        {trace_id}\n"));
    put(out, format_args!("correlation id  {correlation}\n"));
    put(
        out,
        format_args!(
            "{} in {}, {} from first to last\n\n",
            count(records, "record"),
            count(topics, "topic"),
            millis(span).trim_start_matches('+')
        ),
    );
}

/// `1 record`, `2 records`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn line(node: &Node, asked: Option<&Position>, out: &mut String) {
    let position = &node.observed.position;
    put(out, format_args!("{position}  {}", utc(node.at_ms)));
    if let Some(hop) = node.hop_ms {
        put(out, format_args!("  {}", millis(hop)));
    }
    put(out, format_args!("  {}", node.link.as_str()));
    for mark in marks(node) {
        put(out, format_args!("  [{mark}]"));
    }
    if asked == Some(position) {
        out.push_str("  [asked for]");
    }
    out.push('\n');
}

/// What is special about a record.
pub(super) fn marks(node: &Node) -> Vec<String> {
    let mut marks = Vec::new();
    if !node.parent_found {
        marks.push("parent not found".to_owned());
    }
    if node.observed.derived {
        marks.push("context derived".to_owned());
    }
    if let Some(letter) = &node.observed.dead_letter {
        marks.push(match &letter.exception_class {
            Some(class) => format!("dead letter: {class}"),
            None => "dead letter".to_owned(),
        });
    }
    if let Some(original) = &node.duplicate_of {
        marks.push(format!("duplicate of {original}"));
    }
    if node.observed.aborted {
        marks.push("aborted".to_owned());
    }
    marks
}

/// Text from a record, without what steers a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Writing to a string cannot fail.
pub(super) fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
