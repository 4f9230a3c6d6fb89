//! The tree for documents: a Mermaid flowchart.
//!
//! Holds positions, times and marks only; none of them can end a quoted label. Must not hold the correlation id, which can
//! be any text.

use super::{
    Reading, Tree, millis,
    text::{marks, put},
    utc,
};

/// The tree as a flowchart, with a line break at its end.
#[must_use]
pub fn mermaid(tree: &Tree, reading: &Reading) -> String {
    let mut out = String::from("flowchart TD\n");
    if let Some(id) = tree.trace_id {
        put(&mut out, format_args!("  %% trace id {id}\n"));
    }
    for (at, node) in tree.nodes.iter().enumerate() {
        let position = &node.observed.position;
        put(
            &mut out,
            format_args!("  n{at}[\"{position}<br/>{}", utc(node.at_ms)),
        );
        for mark in marks(node) {
            put(&mut out, format_args!("<br/>{mark}"));
        }
        if reading.asked.as_ref() == Some(position) {
            out.push_str("<br/>asked for");
        }
        out.push_str("\"]\n");
    }
    for (at, node) in tree.nodes.iter().enumerate() {
        let Some(parent) = node.parent else { continue };
        let arrow = if node.parent_found { "-->" } else { "-.->" };
        let hop = node.hop_ms.map(|ms| format!(" {}", millis(ms)));
        let (evidence, hop) = (node.link.as_str(), hop.unwrap_or_default());
        put(
            &mut out,
            format_args!("  n{parent} {arrow}|\"{evidence}{hop}\"| n{at}\n"),
        );
    }
    let letters: Vec<String> = tree
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.observed.dead_letter.is_some())
        .map(|(at, _)| format!("n{at}"))
        .collect();
    if !letters.is_empty() {
        out.push_str("  classDef deadLetter stroke:#c00,stroke-width:2px\n");
        put(
            &mut out,
            format_args!("  class {} deadLetter\n", letters.join(",")),
        );
    }
    out
}
