//! Tables of records and the trees they give.

use super::*;
use crate::{
    propagation::{Sent, Traceparent},
    trace::DeadLetter,
};

fn span(number: u8) -> SpanId {
    SpanId::new([0, 0, 0, 0, 0, 0, 0, number]).unwrap()
}

fn trace(number: u8) -> TraceId {
    TraceId::new([number; 16]).unwrap()
}

/// A record of trace 1 at `topic:0:0`, whose record time is `at`.
fn record(topic: &str, own: u8, at: i64) -> Observed {
    Observed {
        position: Position::new(topic, 0, 0),
        record_ms: at,
        context: Some(Traceparent {
            trace_id: trace(1),
            span_id: span(own),
            sampled: false,
            random: false,
        }),
        derived: false,
        sent: None,
        correlation_id: Some("c".to_owned()),
        dead_letter: None,
        identity: 0,
        aborted: false,
    }
}

fn sent(topic: &str, own: u8, parent: u8, at: i64) -> Observed {
    let parent = (parent != 0).then(|| span(parent));
    Observed {
        sent: Some(Sent {
            at_ms: at,
            parent,
            evidence: if parent.is_some() {
                Evidence::Key
            } else {
                Evidence::Root
            },
        }),
        ..record(topic, own, at)
    }
}

fn letter(topic: &str, origin: Option<&str>) -> Option<DeadLetter> {
    assert_ne!(Some(topic), origin);
    Some(DeadLetter {
        retry: false,
        origin: origin.map(|topic| Position::new(topic, 0, 0)),
        exception_class: None,
        group: None,
    })
}

/// One line per node: depth as dots, topic, link, hop, what is not found, what it is a duplicate of.
fn drawn(records: &[Observed]) -> Vec<String> {
    let forward = Tree::build(records.to_vec()).unwrap();
    let mut backward = records.to_vec();
    backward.reverse();
    assert_eq!(Some(&forward), Tree::build(backward).as_ref(), "any order");
    assert_eq!(forward.nodes.len(), records.len());
    let line = |node: &Node| {
        let dots = ".".repeat(node.depth);
        let hop = node.hop_ms.map(|ms| format!(" {ms}")).unwrap_or_default();
        let missing = if node.parent_found { "" } else { " ?" };
        let twin = node.duplicate_of.as_ref();
        let twin = twin.map(|at| format!(" ={at}")).unwrap_or_default();
        let topic = &node.observed.position.topic;
        format!("{dots}{topic} {}{hop}{missing}{twin}", node.link.as_str())
    };
    forward.nodes.iter().map(line).collect()
}

#[test]
fn a_chain_and_a_fan_follow_the_parent_spans() {
    let records = [
        sent("shipments", 3, 2, 30),
        sent("orders", 1, 0, 10),
        sent("payments", 2, 1, 25),
        sent("audit", 4, 1, 20),
    ];
    assert_eq!(
        drawn(&records),
        [
            "orders root",
            ".audit key 10",
            ".payments key 15",
            "..shipments key 5"
        ]
    );
}

#[test]
fn what_copied_the_headers_hangs_under_the_earliest_that_has_them() {
    // Both copies say the send time of the original; children of the span belong to the original.
    let mut first = sent("enriched", 1, 0, 10);
    first.record_ms = 15;
    let mut second = sent("archived", 1, 0, 10);
    second.record_ms = 40;
    let records = [
        second,
        sent("orders", 1, 0, 10),
        first,
        sent("payments", 2, 1, 20),
    ];
    assert_eq!(
        drawn(&records),
        [
            "orders root",
            ".enriched copied 5",
            ".payments key 10",
            ".archived copied 30"
        ]
    );
}

#[test]
fn a_parent_that_is_not_there_is_said_and_never_made_the_root_before_others() {
    let records = [
        sent("shipments", 3, 9, 5),
        sent("orders", 1, 0, 10),
        sent("late", 4, 3, 12),
    ];
    assert_eq!(
        drawn(&records),
        ["orders root", ".shipments key ?", "..late key 7"]
    );
    assert_eq!(drawn(&records[..1]), ["shipments key ?"]);
}

#[test]
fn records_of_another_tracer_hang_under_the_earliest_by_time() {
    let records = [record("b", 2, 20), record("a", 1, 10), record("c", 3, 15)];
    assert_eq!(drawn(&records), ["a root", ".c trace", ".b trace"]);
}

#[test]
fn a_correlation_id_joins_traces_and_records_without_one() {
    let mut other = sent("b", 2, 0, 20);
    other.context.as_mut().unwrap().trace_id = trace(2);
    let mut child = sent("c", 3, 2, 25);
    child.context.as_mut().unwrap().trace_id = trace(2);
    let mut bare = record("d", 9, 22);
    bare.context = None;
    let records = [other, child, bare, sent("a", 1, 0, 10)];
    assert_eq!(
        drawn(&records),
        ["a root", ".b correlation", "..c key 5", ".d correlation"]
    );
    let tree = Tree::build(records.to_vec()).unwrap();
    assert_eq!(tree.trace_id, Some(trace(1)));
    assert_eq!(tree.correlation_id.as_deref(), Some("c"));
}

#[test]
fn derived_ids_are_kept_where_a_child_names_them() {
    let derived = |topic, own| Observed {
        derived: true,
        ..record(topic, own, 5)
    };
    let records = vec![derived("a", 1), derived("b", 2), sent("c", 3, 1, 9)];
    let tree = Tree::build(records).unwrap();
    let kept: Vec<_> = tree
        .nodes
        .iter()
        .map(|node| (&*node.observed.position.topic, node.observed.derived))
        .collect();
    assert_eq!(kept, [("a", true), ("b", false), ("c", false)]);
    assert_eq!(tree.nodes[1].observed.context, None);
    assert_eq!(tree.trace_id, Some(trace(1)));
}

#[test]
fn a_dead_letter_hangs_under_its_origin_even_where_its_time_is_earlier() {
    // Spring keeps the record's time; the span id is that of the record that failed.
    let mut dead = sent("payments.DLT", 2, 1, 20);
    dead.record_ms = 1;
    dead.dead_letter = letter("payments.DLT", Some("payments"));
    let mut by_name = sent("orders-dlt", 1, 0, 10);
    by_name.record_ms = 50;
    by_name.dead_letter = letter("orders-dlt", None);
    let mut lost = sent("x.dlq", 7, 0, 60);
    lost.dead_letter = letter("x.dlq", Some("gone"));
    let records = [
        dead,
        by_name,
        lost,
        sent("payments", 2, 1, 20),
        sent("orders", 1, 0, 10),
    ];
    assert_eq!(
        drawn(&records),
        [
            "orders root",
            ".payments key 10",
            "..payments.DLT dead_letter -19",
            ".orders-dlt copied 40",
            ".x.dlq trace"
        ]
    );
}

#[test]
fn the_same_content_from_the_same_parent_is_a_duplicate() {
    let again = |own, at| {
        let mut record = sent("payments", own, 1, at);
        record.position.offset = i64::from(own);
        record.identity = 5;
        record
    };
    let mut other_content = again(4, 26);
    other_content.identity = 6;
    let mut copy = sent("orders", 1, 0, 10);
    copy.position.offset = 1;
    copy.record_ms = 40;
    let records = [
        sent("orders", 1, 0, 10),
        again(2, 20),
        again(3, 25),
        other_content,
        copy,
    ];
    assert_eq!(
        drawn(&records),
        [
            "orders root",
            ".payments key 10",
            ".payments key 15 =payments:0:2",
            ".payments key 16",
            ".orders copied 30 =orders:0:0",
        ]
    );
    // A child that repeats its parent's content in its parent's topic is another event.
    let mut next = sent("orders", 2, 1, 20);
    next.position.offset = 1;
    let loops = [sent("orders", 1, 0, 10), next];
    assert_eq!(drawn(&loops), ["orders root", ".orders key 10"]);
    // Without a named parent nothing is a duplicate.
    let mut foreign = record("a", 2, 11);
    foreign.position.offset = 1;
    assert_eq!(
        drawn(&[record("a", 1, 10), foreign]),
        ["a root", ".a trace"]
    );
}

#[test]
fn cycles_and_self_parents_end() {
    assert_eq!(drawn(&[sent("a", 1, 1, 10)]), ["a root"]);
    let lines = drawn(&[
        sent("a", 1, 2, 10),
        sent("b", 2, 3, 20),
        sent("c", 3, 1, 30),
    ]);
    assert_eq!(lines.len(), 3);
    assert!(lines[0].ends_with(" root"), "{lines:?}");
    assert_eq!(Tree::build(Vec::new()), None);
}

#[test]
fn a_position_that_is_given_twice_counts_once() {
    let tree = Tree::build(vec![sent("a", 1, 0, 1), sent("a", 1, 0, 1)]).unwrap();
    assert_eq!(tree.nodes.len(), 1);
}

#[test]
fn a_long_chain_needs_no_stack() {
    let mut records = Vec::new();
    for number in 1..=20_000u64 {
        let mut record = sent("a", 1, 0, 1);
        let id = |n: u64| SpanId::new(n.to_be_bytes());
        record.position.offset = i64::try_from(number).unwrap();
        record.context.as_mut().unwrap().span_id = id(number).unwrap();
        record.sent.as_mut().unwrap().parent = id(number - 1);
        records.push(record);
    }
    let tree = Tree::build(records).unwrap();
    assert_eq!(tree.nodes.last().unwrap().depth, 19_999);
}
