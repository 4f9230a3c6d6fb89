//! Tables of what is told: fields, ids, rates, redaction.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use regex::Regex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    event::{Category, Name, RecordView, SetAside, Stamp, Traced},
    propagation::Traceparent,
    redaction::Redaction,
    span::SlowAfter,
};

const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn log(kinds: &[Kind], patterns: &[&str]) -> Log {
    let patterns = patterns.iter().map(|p| Regex::new(p).unwrap()).collect();
    let redaction = Redaction::new(Vec::new(), Vec::new(), patterns);
    let mut log = Log::new(Settings {
        kinds: kinds.to_vec(),
        per_second: 2,
        slow_after: Box::new(|_| SlowAfter {
            delivered: Duration::from_millis(500),
            committed: None,
        }),
        cluster_name: Some("shop".to_owned()),
        redaction: Arc::new(ArcSwap::from_pointee(redaction)),
    });
    log.set_cluster("MkU3OEVBNTcwNTJENDM2Qk");
    log
}

fn place<'e>(topic: &'e Name, group: Option<&'e Name>, sent: bool) -> Place<'e> {
    Place {
        at: Stamp {
            mono: Instant::now(),
            wall_ms: 1_700_000_000_123,
        },
        client: "checkout-1",
        topic,
        partition: 0,
        offset: Some(0),
        sent,
        group,
    }
}

fn line(entry: &Entry) -> Value {
    serde_json::to_value(entry).unwrap()
}

fn view() -> RecordView {
    RecordView {
        published_ms: 1_700_000_000_000,
        context: Traceparent::parse(OWN.as_bytes()).ok(),
        correlation: Some("order-7".into()),
        body_bytes: 12,
        ..RecordView::default()
    }
}

#[test]
fn a_dead_letter_says_where_it_came_from_and_why() {
    let (topic, group): (Name, Name) = ("orders.dlq".into(), "billing".into());
    let letter = SetAside {
        topic: Some("orders".into()),
        position: Some((3, 42)),
        group: Some(Name::clone(&group)),
        category: Category::Transient,
        exception_class: Some("java.net.SocketTimeoutException".into()),
        ..SetAside::default()
    };
    let record = RecordView {
        exception_message: Some("timed out".to_owned()),
        headers: vec![("x-tenant".into(), "eu".to_owned())],
        fields: vec![("/id".into(), "7".to_owned())],
        ..view()
    };
    let said = Said {
        traced: None,
        shown: Some(&record),
    };
    let entry = log(&[Kind::DeadLetter], &[]).entry(
        What::SetAside(&letter),
        place(&topic, Some(&group), true),
        said,
    );
    assert_eq!(
        line(&entry),
        json!({
            "time": "2023-11-14T22:13:20.123Z",
            "severity": "WARN",
            "event": "dead_letter",
            "message": "a program gave up on a record",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "span_id": "00f067aa0ba902b7",
            "messaging.system": "kafka",
            "messaging.kafka.cluster.id": "MkU3OEVBNTcwNTJENDM2Qk",
            "throughline.cluster": "shop",
            "messaging.operation.name": "send",
            "messaging.destination.name": "orders.dlq",
            "messaging.destination.partition.id": "0",
            "messaging.kafka.offset": 0,
            "messaging.consumer.group.name": "billing",
            "messaging.client.id": "checkout-1",
            "throughline.dead_letter.origin": "orders:3:42",
            "throughline.failure.category": "transient",
            "exception.type": "java.net.SocketTimeoutException",
            "exception.message": "timed out",
            "messaging.message.conversation_id": "order-7",
            "messaging.message.body.size": 12,
            "throughline.header.x-tenant": "eu",
            "throughline.value./id": "7",
        })
    );
}

#[test]
fn ids_are_those_carried_else_those_of_the_position_and_none_where_it_cannot_be_told() {
    let topic: Name = "orders".into();
    let log = log(&[Kind::Duplicate], &[]);
    let of = |traced: Option<&Traced>, shown: Option<&RecordView>| {
        let what = What::Duplicate("appended_twice");
        let entry = log.entry(what, place(&topic, None, false), Said { traced, shown });
        let line = line(&entry);
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        (text("trace_id"), text("messaging.message.conversation_id"))
    };
    let carried = "4bf92f3577b34da6a3ce929d0e0e4736".to_owned();
    let (bare, foreign) = (
        RecordView::default(),
        RecordView {
            traced_otherwise: true,
            ..RecordView::default()
        },
    );
    assert_eq!(
        of(None, Some(&view())),
        (Some(carried), Some("order-7".to_owned()))
    );
    let derived = "63965ca46c36a86143d61300da4b854f".to_owned();
    assert_eq!(of(None, Some(&bare)), (Some(derived), None));
    assert_eq!(of(None, Some(&foreign)), (None, None));
    assert_eq!(of(None, None), (None, None), "nobody looked");
    let told = Traced::numbered(0, 0);
    let trace = Some(told.context.trace_id.to_string());
    assert_eq!(
        of(Some(&told), Some(&view())),
        (trace.clone(), Some("order-7".to_owned()))
    );
    assert_eq!(of(Some(&told), None), (trace.clone(), trace));
}

#[test]
fn seconds_are_told_where_clocks_allow() {
    let topic: Name = "orders".into();
    let log = log(&[Kind::Slow], &[]);
    let of = |what, sent, published_ms| {
        let view = RecordView {
            published_ms,
            ..view()
        };
        let said = Said {
            traced: None,
            shown: Some(&view),
        };
        line(&log.entry(what, place(&topic, None, sent), said))
    };
    let late = of(What::SlowDelivery, false, 1_699_999_998_873);
    assert_eq!(late["throughline.end_to_end_seconds"], 1.25);
    assert_eq!(
        (&late["severity"], &late["event"]),
        (&json!("INFO"), &json!("slow"))
    );
    let ahead = of(What::SlowDelivery, false, 1_700_000_000_124);
    assert_eq!(ahead["throughline.end_to_end_seconds"], Value::Null);
    let took = Duration::from_millis(750);
    let publish = of(What::SlowPublish(took, 5), true, 0);
    assert_eq!(publish["throughline.publish_seconds"], 0.75);
    assert_eq!(publish["messaging.batch.message_count"], 5);
    assert_eq!(publish["throughline.end_to_end_seconds"], Value::Null);
}

#[test]
fn every_text_from_outside_is_redacted_and_ids_are_not() {
    let (topic, group): (Name, Name) = ("orders-4111".into(), "readers-4111".into());
    let log = log(&[Kind::Sampled], &["4111", "[0-9a-f]{16}"]);
    let view = RecordView {
        correlation: Some("card-4111".into()),
        headers: vec![("note".into(), "4111".to_owned())],
        ..view()
    };
    let said = |shown| Said {
        traced: None,
        shown: Some(shown),
    };
    let of = |view| {
        line(&log.entry(
            What::Sampled,
            place(&topic, Some(&group), false),
            said(view),
        ))
    };
    let entry = of(&view);
    let text = entry.to_string();
    assert!(!text.contains("4111"), "{text}");
    assert_eq!(entry["messaging.destination.name"], "orders-[redacted]");
    assert_eq!(entry["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let ours = RecordView {
        correlation: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ..view.clone()
    };
    let id = &of(&ours)["messaging.message.conversation_id"];
    assert_eq!(id, "4bf92f3577b34da6a3ce929d0e0e4736", "the trace id again");
}

#[test]
fn a_topic_has_so_many_a_second_of_each_kind_and_the_rest_is_counted() {
    let (orders, payments): (Name, Name) = ("orders".into(), "payments".into());
    let mut log = log(&[Kind::Slow, Kind::Error], &[]);
    let start = Instant::now();
    let mut admits = |kind, topic: &Name, ms| {
        let now = start + Duration::from_millis(ms);
        let room = log.has_room(kind, topic, now);
        let admitted = log.admits(kind, topic, now);
        assert!(admitted == room || !log.wants(kind));
        (admitted, log.left_out())
    };
    assert_eq!(admits(Kind::Slow, &orders, 0), (true, 0));
    assert_eq!(admits(Kind::Slow, &orders, 1), (true, 0));
    assert_eq!(admits(Kind::Slow, &orders, 2), (false, 1));
    assert_eq!(admits(Kind::Error, &orders, 3), (true, 1));
    assert_eq!(admits(Kind::Slow, &payments, 4), (true, 1));
    assert_eq!(
        admits(Kind::Sampled, &orders, 5),
        (false, 1),
        "not asked for"
    );
    assert_eq!(admits(Kind::Slow, &orders, 999), (false, 2));
    assert_eq!(admits(Kind::Slow, &orders, 1_000), (true, 2));
    for number in 0..TOPICS_MAX + 5 {
        log.admits(Kind::Slow, &format!("t{number}").into(), start);
    }
    assert_eq!(log.left_out(), 9, "topics past the limit");
    log.tick(start + Duration::from_secs(5));
    assert!(log.admits(Kind::Slow, &"later".into(), start));
}
