//! The tree for programs: one JSON object, its records in a flat list, each behind its parent.
//!
//! Field names are an interface: renaming one is a breaking change. A flat list, because `jq` filters it in one step and a
//! long chain would nest past what parsers allow. Must not hold a key or value.

use serde::Serialize;

use super::{Node, Position, Reading, Tree, utc};

#[derive(Serialize)]
struct Document<'a> {
    trace_id: Option<String>,
    correlation_id: Option<&'a str>,
    /// The record that was asked for by position.
    asked: Option<At<'a>>,
    /// False where `unread` is not empty: records may be missing.
    complete: bool,
    unread: &'a [String],
    records: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct At<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl<'a> From<&'a Position> for At<'a> {
    fn from(position: &'a Position) -> Self {
        Self {
            topic: &position.topic,
            partition: position.partition,
            offset: position.offset,
        }
    }
}

#[derive(Serialize)]
struct Letter<'a> {
    origin: Option<At<'a>>,
    exception_class: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    at: At<'a>,
    depth: usize,
    parent: Option<At<'a>>,
    parent_found: bool,
    evidence: &'static str,
    at_ms: i64,
    /// `at_ms` as RFC 3339.
    time: String,
    /// As our member says; null without one.
    sent_ms: Option<i64>,
    record_ms: i64,
    hop_ms: Option<i64>,
    trace_id: Option<String>,
    span_id: Option<String>,
    /// The two ids are not on the record: they follow from its position.
    derived: bool,
    parent_span_id: Option<String>,
    correlation_id: Option<&'a str>,
    dead_letter: Option<Letter<'a>>,
    duplicate_of: Option<At<'a>>,
    aborted: bool,
}

/// The tree as JSON, indented, with a line break at its end.
#[must_use]
pub fn json(tree: &Tree, reading: &Reading) -> String {
    let parent = |node: &Node| {
        let parent = tree.nodes.get(node.parent?)?;
        Some(parent.observed.position.clone())
    };
    let parents: Vec<Option<Position>> = tree.nodes.iter().map(parent).collect();
    let lines = tree.nodes.iter().zip(&parents);
    let document = Document {
        trace_id: tree.trace_id.map(|id| id.to_string()),
        correlation_id: tree.correlation_id.as_deref(),
        asked: reading.asked.as_ref().map(At::from),
        complete: reading.unread.is_empty(),
        unread: &reading.unread,
        records: lines
            .map(|(node, parent)| line(node, parent.as_ref()))
            .collect(),
    };
    // Neither maps with keys that are no text nor numbers that are none: this cannot fail.
    let mut out = serde_json::to_string_pretty(&document).unwrap_or_default();
    out.push('\n');
    out
}

fn line<'a>(node: &'a Node, parent: Option<&'a Position>) -> Line<'a> {
    let observed = &node.observed;
    let sent = observed.sent;
    Line {
        at: At::from(&observed.position),
        depth: node.depth,
        parent: parent.map(At::from),
        parent_found: node.parent_found,
        evidence: node.link.as_str(),
        at_ms: node.at_ms,
        time: utc(node.at_ms),
        sent_ms: sent.map(|sent| sent.at_ms),
        record_ms: observed.record_ms,
        hop_ms: node.hop_ms,
        trace_id: observed.context.map(|context| context.trace_id.to_string()),
        span_id: observed.context.map(|context| context.span_id.to_string()),
        derived: observed.derived,
        parent_span_id: sent
            .and_then(|sent| sent.parent)
            .map(|parent| parent.to_string()),
        correlation_id: observed.correlation_id.as_deref(),
        dead_letter: observed.dead_letter.as_ref().map(|letter| Letter {
            origin: letter.origin.as_ref().map(At::from),
            exception_class: letter.exception_class.as_deref(),
        }),
        duplicate_of: node.duplicate_of.as_ref().map(At::from),
        aborted: observed.aborted,
    }
}
