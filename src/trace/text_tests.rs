//! The three texts of one tree that has everything in it.

use crate::{
    propagation::{Evidence, Sent, SpanId, TraceId, Traceparent},
    trace::{DeadLetter, Observed, Position, Reading, Tree, json, mermaid, text},
};

const START: i64 = 1_700_000_000_000;

fn record(topic: &str, offset: i64, own: u8, parent: u8, at: i64) -> Observed {
    let span = |number| SpanId::new([0, 0, 0, 0, 0, 0, 0, number]);
    Observed {
        position: Position::new(topic, 0, offset),
        record_ms: START + at,
        context: Some(Traceparent {
            trace_id: TraceId::new([0xab; 16]).unwrap(),
            span_id: span(own).unwrap(),
            sampled: false,
            random: false,
        }),
        derived: false,
        sent: Some(Sent {
            at_ms: START + at,
            parent: span(parent),
            evidence: if parent == 0 {
                Evidence::Root
            } else {
                Evidence::Key
            },
        }),
        correlation_id: Some("order-7\u{1b}[2J".to_owned()),
        dead_letter: None,
        identity: 0,
        aborted: false,
    }
}

fn tree() -> (Tree, Reading) {
    let mut dead = record("payments.DLT", 4, 2, 1, 12);
    dead.record_ms = START + 100;
    dead.dead_letter = Some(DeadLetter {
        retry: false,
        origin: Some(Position::new("payments", 0, 1)),
        exception_class: Some("org.acme.CardDeclined".to_owned()),
        group: None,
    });
    let mut aborted = record("audit", 3, 6, 1, 70_000);
    aborted.aborted = true;
    let records = vec![
        record("orders", 42, 1, 0, 0),
        record("payments", 1, 2, 1, 12),
        record("shipments", 9, 3, 2, 1_262),
        record("shipments", 10, 4, 2, 1_263),
        dead,
        record("late", 0, 5, 77, 500),
        aborted,
    ];
    let reading = Reading {
        asked: Some(Position::new("payments", 0, 1)),
        unread: vec!["audit:1: the broker says TOPIC_AUTHORIZATION_FAILED".to_owned()],
    };
    (Tree::build(records).unwrap(), reading)
}

#[test]
fn people_get_a_tree() {
    let (tree, reading) = tree();
    let expected = "\
trace id        abababababababababababababababab
correlation id  order-7\u{fffd}[2J
7 records in 6 topics, 1 min 10 s from first to last

orders:0:42  2023-11-14T22:13:20.000Z  root
├─ payments:0:1  2023-11-14T22:13:20.012Z  +12 ms  key  [asked for]
│  ├─ payments.DLT:0:4  2023-11-14T22:13:20.100Z  +88 ms  dead_letter  [dead letter: org.acme.CardDeclined]
│  ├─ shipments:0:9  2023-11-14T22:13:21.262Z  +1.250 s  key
│  └─ shipments:0:10  2023-11-14T22:13:21.263Z  +1.251 s  key  [duplicate of shipments:0:9]
├─ late:0:0  2023-11-14T22:13:20.500Z  key  [parent not found]
└─ audit:0:3  2023-11-14T22:14:30.000Z  +1 min 10 s  key  [aborted]
";
    assert_eq!(text(&tree, &reading), expected);
}

#[test]
fn lines_above_end_where_a_branch_does() {
    let records = vec![
        record("a", 0, 1, 0, 0),
        record("b", 0, 2, 1, 1),
        record("c", 0, 3, 2, 2),
        record("d", 0, 4, 3, 3),
    ];
    let tree = Tree::build(records).unwrap();
    let lines: Vec<String> = text(&tree, &Reading::default())
        .lines()
        .skip(4)
        .map(|line| line.split("  2023").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        ["a:0:0", "└─ b:0:0", "   └─ c:0:0", "      └─ d:0:0"]
    );
}

#[test]
fn programs_get_a_list_with_stable_names() {
    let (tree, reading) = tree();
    let read: serde_json::Value = serde_json::from_str(&json(&tree, &reading)).unwrap();
    assert_eq!(read["trace_id"], "abababababababababababababababab");
    assert_eq!(read["correlation_id"], "order-7\u{1b}[2J");
    assert_eq!(read["complete"], false);
    assert_eq!(
        read["unread"][0],
        "audit:1: the broker says TOPIC_AUTHORIZATION_FAILED"
    );
    let at = |topic: &str, offset: i64| serde_json::json!({"topic": topic, "partition": 0, "offset": offset});
    assert_eq!(read["asked"], at("payments", 1));
    let records = read["records"].as_array().unwrap();
    assert_eq!(records.len(), 7);
    assert_eq!(
        records[2],
        serde_json::json!({
            "topic": "payments.DLT",
            "partition": 0,
            "offset": 4,
            "depth": 2,
            "parent": at("payments", 1),
            "parent_found": true,
            "evidence": "dead_letter",
            "at_ms": START + 100,
            "time": "2023-11-14T22:13:20.100Z",
            "sent_ms": START + 12,
            "record_ms": START + 100,
            "hop_ms": 88,
            "trace_id": "abababababababababababababababab",
            "span_id": "0000000000000002",
            "derived": false,
            "parent_span_id": "0000000000000001",
            "correlation_id": "order-7\u{1b}[2J",
            "dead_letter": {"origin": at("payments", 1), "exception_class": "org.acme.CardDeclined"},
            "duplicate_of": null,
            "aborted": false,
        })
    );
    assert_eq!(records[0]["parent"], serde_json::Value::Null);
    assert_eq!(records[4]["duplicate_of"], at("shipments", 9));
    assert_eq!(records[5]["parent_found"], false);
    assert_eq!(records[6]["aborted"], true);
}

#[test]
fn documents_get_a_flowchart() {
    let (tree, reading) = tree();
    let expected = "\
flowchart TD
  %% trace id abababababababababababababababab
  n0[\"orders:0:42<br/>2023-11-14T22:13:20.000Z\"]
  n1[\"payments:0:1<br/>2023-11-14T22:13:20.012Z<br/>asked for\"]
  n2[\"payments.DLT:0:4<br/>2023-11-14T22:13:20.100Z<br/>dead letter: org.acme.CardDeclined\"]
  n3[\"shipments:0:9<br/>2023-11-14T22:13:21.262Z\"]
  n4[\"shipments:0:10<br/>2023-11-14T22:13:21.263Z<br/>duplicate of shipments:0:9\"]
  n5[\"late:0:0<br/>2023-11-14T22:13:20.500Z<br/>parent not found\"]
  n6[\"audit:0:3<br/>2023-11-14T22:14:30.000Z<br/>aborted\"]
  n0 -->|\"key +12 ms\"| n1
  n1 -->|\"dead_letter +88 ms\"| n2
  n1 -->|\"key +1.250 s\"| n3
  n1 -->|\"key +1.251 s\"| n4
  n0 -.->|\"key\"| n5
  n0 -->|\"key +1 min 10 s\"| n6
  classDef deadLetter stroke:#c00,stroke-width:2px
  class n2 deadLetter
";
    assert_eq!(mermaid(&tree, &reading), expected);
}
