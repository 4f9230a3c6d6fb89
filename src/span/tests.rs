//! Events in, spans out.

use std::time::Duration;

use opentelemetry::{Value, trace::SpanKind};
use opentelemetry_sdk::trace::SpanData;

use super::*;
use crate::{
    event::{
        Acknowledged, AcknowledgedPart, Acknowledgement, Acquired, Candidates, Codec, Injection,
        Origin, ProducedPart, Side,
    },
    propagation::{DeadLetter, Evidence, Position, Sent, Traceparent},
};

#[derive(Debug, Default)]
struct Kept(Vec<SpanData>);

impl Sink for Kept {
    fn span(&mut self, span: SpanData) {
        self.0.push(span);
    }
}

fn context(number: u64) -> Traceparent {
    let (trace_id, span_id) = IdSource::of_producer("c", "t", 0, 1, 0, 0).pair(number);
    Traceparent {
        trace_id,
        span_id,
        sampled: true,
        random: true,
    }
}

fn traced(offset: i64, context: Traceparent) -> Traced {
    Traced {
        offset,
        context,
        sent: None,
        written: false,
        derived: false,
        published_ms: None,
        correlation: None,
        body_bytes: 9,
        tombstone: false,
        origin: None,
        candidates: Candidates::default(),
        dead_letter: None,
    }
}

fn sent(outcome: PublishOutcome, traced: Vec<Traced>) -> Facts {
    Facts::Produced(Produced {
        acks: -1,
        transactional: false,
        parts: vec![ProducedPart {
            topic: "payments".into(),
            partition: 2,
            batches: 1,
            records: 3,
            bytes: 300,
            codec: Codec::None,
            transaction: None,
            sequence: None,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            outcome,
            captured: None,
            injection: Injection::default(),
            traced,
            unrecorded: None,
            descent: Vec::new(),
        }],
    })
}

fn given(traced: Vec<Traced>) -> Facts {
    Facts::Delivered(Delivered {
        acknowledged: None,
        group: None,
        read_committed: false,
        data_was_there: true,
        parts: vec![DeliveredPart {
            topic: "orders".into(),
            partition: 0,
            asked: Some(0),
            error: None,
            high_watermark: 9,
            last_stable: 9,
            log_start: 0,
            acquired: Vec::new(),
            batches: Vec::new(),
            traced,
            unrecorded: None,
        }],
    })
}

fn committed(offset: i64) -> Facts {
    Facts::Settled(Settled {
        group: "billing".into(),
        member: "m".into(),
        transaction: None,
        parts: vec![crate::event::SettledPart {
            topic: "orders".into(),
            partition: 0,
            offset,
            error: None,
        }],
    })
}

fn said(runs: &[(i64, i64, Acknowledgement)]) -> Facts {
    Facts::Acknowledged(Acknowledged {
        group: "billing".into(),
        member: "m".into(),
        leaves: false,
        parts: vec![AcknowledgedPart {
            topic: "orders".into(),
            partition: 0,
            runs: runs.to_vec(),
            error: None,
        }],
    })
}

#[test]
fn a_record_of_a_share_group_is_processed_until_its_own_acknowledgement() {
    let Facts::Delivered(mut delivered) = given(vec![
        traced(4, context(4)),
        traced(5, context(5)),
        traced(6, context(6)),
    ]) else {
        unreachable!("records were delivered")
    };
    delivered.group = Some("billing".into());
    let all = spans(vec![
        Event::answered(1_000, Facts::Delivered(delivered)),
        Event::answered(1_050, said(&[(6, 6, Acknowledgement::Released)])),
        Event::answered(1_070, said(&[(4, 5, Acknowledgement::Accepted)])),
        // Said twice: once is enough.
        Event::answered(1_080, said(&[(4, 6, Acknowledgement::Accepted)])),
    ]);
    let told = |span: &SpanData| {
        let error = attribute(span, semconv::ERROR_TYPE).map(ToString::to_string);
        (span.name.to_string(), error)
    };
    let told: Vec<_> = all.iter().map(told).collect();
    let name = |of: &str, error: Option<&str>| (format!("{of} orders"), error.map(str::to_owned));
    let one = [name("process", None), name("commit", None)];
    let put_back = [name("process", Some("release")), name("commit", None)];
    let expected = [&[name("fetch", None)][..], &put_back, &one, &one].concat();
    assert_eq!(told, expected);
}

fn attribute<'s>(span: &'s SpanData, key: &str) -> Option<&'s Value> {
    let found = span.attributes.iter().find(|a| a.key.as_str() == key);
    found.map(|a| &a.value)
}

fn spans(events: Vec<Event>) -> Vec<SpanData> {
    let mut spans = Spans::new(Keep::new(10)).unwrap();
    spans.set_cluster("cluster-1");
    let mut kept = Kept::default();
    for event in events {
        spans.take(&event, &mut kept);
    }
    kept.0
}

const ACKNOWLEDGED: PublishOutcome = PublishOutcome::Acknowledged {
    base_offset: 70,
    log_append_ms: None,
};

/// The second record of a batch, made from a record of `orders`.
fn written(own: Traceparent, parent: Traceparent) -> Traced {
    Traced {
        sent: Some(Sent {
            at_ms: 1_000,
            parent: Some(parent.span_id),
            evidence: Evidence::Key,
        }),
        written: true,
        derived: false,
        published_ms: None,
        correlation: Some("c-1".into()),
        origin: Some(Box::new(Origin {
            topic: "orders".into(),
            partition: 0,
            offset: 4,
            context: parent,
            confidence: 0.95,
        })),
        ..traced(1, own)
    }
}

#[tokio::test]
async fn a_record_we_gave_context_is_created_under_the_id_on_the_wire_and_sent() {
    let (own, parent) = (context(1), context(0));
    let record = written(own, parent);
    let all = spans(vec![Event::answered(
        1_007,
        sent(ACKNOWLEDGED, vec![record]),
    )]);
    let [create, send] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(
        (create.name.as_ref(), &create.span_kind),
        ("create payments", &SpanKind::Producer)
    );
    assert_eq!(
        create.span_context.span_id().to_bytes(),
        own.span_id.bytes()
    );
    assert_eq!(
        create.span_context.trace_id().to_bytes(),
        own.trace_id.bytes()
    );
    assert_eq!(create.parent_span_id.to_bytes(), parent.span_id.bytes());
    let ms = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis()
    };
    assert_eq!((ms(create.start_time), ms(create.end_time)), (1_000, 1_007));
    let expected: [(&str, Value); 10] = [
        (semconv::SYSTEM, "kafka".into()),
        (semconv::OPERATION_TYPE, "create".into()),
        (semconv::PARTITION, "2".into()),
        (semconv::OFFSET, 71.into()),
        (semconv::CONVERSATION_ID, "c-1".into()),
        (semconv::EVIDENCE, "key".into()),
        (semconv::CONFIDENCE, 0.95.into()),
        (semconv::SERVER_ADDRESS, "kafka-1".into()),
        (semconv::SERVER_PORT, 9092.into()),
        (semconv::CLUSTER, "cluster-1".into()),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(create, key), Some(&value), "{key}");
    }
    assert_eq!(
        create.links.links[0].span_context.span_id().to_bytes(),
        parent.span_id.bytes()
    );
    assert_eq!(
        (send.name.as_ref(), &send.span_kind),
        ("send payments", &SpanKind::Client)
    );
    assert_eq!(send.parent_span_id, create.span_context.span_id());
    assert_eq!((ms(send.start_time), ms(send.end_time)), (1_002, 1_007));
    assert_eq!(attribute(send, semconv::BATCH_COUNT), Some(&3.into()));
    assert_eq!(
        send.links.links[0].span_context.span_id(),
        create.span_context.span_id()
    );
}

fn letter(topic: &str, offset: i64) -> Option<Box<DeadLetter>> {
    Some(Box::new(DeadLetter {
        retry: false,
        origin: Some(Position::new(topic, 0, offset)),
        exception_class: Some("org.acme.E".into()),
        group: None,
    }))
}

#[tokio::test]
async fn a_dead_letter_is_linked_to_what_it_was_where_that_has_a_context() {
    let (own, parent) = (context(1), context(0));
    let copied = Traced {
        dead_letter: letter("orders", 7),
        ..traced(0, parent)
    };
    let made = |offset| Traced {
        dead_letter: letter("orders", offset),
        ..written(own, parent)
    };
    let unsampled = Traced {
        context: Traceparent {
            sampled: false,
            ..own
        },
        ..made(4)
    };
    for (record, linked, partial) in [
        (copied, true, false),
        (made(4), true, false),
        (made(5), false, false),
        (unsampled, true, true),
    ] {
        let of = record.context;
        let all = spans(vec![Event::answered(
            1_007,
            sent(ACKNOWLEDGED, vec![record]),
        )]);
        let letter = all.last().unwrap();
        assert_eq!(
            (letter.name.as_ref(), &letter.span_kind),
            ("send payments", &SpanKind::Producer)
        );
        assert_eq!(letter.parent_span_id.to_bytes(), of.span_id.bytes());
        let links = letter.links.links.iter();
        let links: Vec<_> = links.map(|l| l.span_context.span_id().to_bytes()).collect();
        assert_eq!(links == [parent.span_id.bytes()], linked, "{letter:?}");
        assert_eq!(links.is_empty(), !linked);
        let expected: [(&str, Option<Value>); 3] = [
            (semconv::DEAD_LETTER, Some(true.into())),
            (semconv::EXCEPTION_TYPE, Some("org.acme.E".into())),
            (semconv::TRACE, partial.then(|| "partial".into())),
        ];
        for (key, value) in expected {
            assert_eq!(attribute(letter, key), value.as_ref(), "{key}");
        }
        let at = attribute(letter, semconv::ORIGIN).unwrap().to_string();
        assert!(at.starts_with("orders:0:"), "{at}");
    }
    let mut again = made(4);
    if let Some(letter) = &mut again.dead_letter {
        letter.retry = true;
    }
    let all = spans(vec![Event::answered(
        1_007,
        sent(ACKNOWLEDGED, vec![again]),
    )]);
    let aside = all.last().unwrap();
    assert_eq!(attribute(aside, semconv::RETRY), Some(&true.into()));
    assert_eq!(attribute(aside, semconv::DEAD_LETTER), None);
    let origin = attribute(aside, semconv::RETRY_ORIGIN).map(ToString::to_string);
    assert_eq!(origin.as_deref(), Some("orders:0:4"));
    let refused = PublishOutcome::Failed(crate::event::Failure {
        name: "NOT_LEADER_OR_FOLLOWER",
        class: crate::event::FaultClass::Broker,
        retriable: true,
    });
    let all = spans(vec![Event::answered(1, sent(refused, vec![made(4)]))]);
    assert_eq!(all.len(), 1, "the client will try again: {all:?}");
}

/// The same, of a record whose trace is not recorded.
fn unrecorded(facts: Facts) -> Facts {
    let not_sampled = |traced: &mut Vec<Traced>| {
        let mut record = traced.remove(0);
        record.context.sampled = false;
        Some(Box::new(record))
    };
    match facts {
        Facts::Produced(mut produced) => {
            let part = &mut produced.parts[0];
            part.unrecorded = not_sampled(&mut part.traced);
            Facts::Produced(produced)
        }
        Facts::Delivered(mut delivered) => {
            let part = &mut delivered.parts[0];
            part.unrecorded = not_sampled(&mut part.traced);
            Facts::Delivered(delivered)
        }
        other => other,
    }
}

/// Names of spans, and what each was kept for.
fn kept(keep: Keep, events: Vec<Event>) -> Vec<(String, Option<String>)> {
    let mut spans = Spans::new(keep).unwrap();
    let mut sink = Kept::default();
    for event in events {
        spans.take(&event, &mut sink);
    }
    let all = sink.0.iter();
    all.map(|span| {
        let why = attribute(span, semconv::KEPT).map(ToString::to_string);
        let partial = attribute(span, semconv::TRACE).is_some();
        assert!(partial || span.name.starts_with("commit"), "{span:?}");
        (span.name.to_string(), why)
    })
    .collect()
}

fn slow_after(delivered_ms: u64, committed_ms: Option<u64>) -> Keep {
    let mut keep = Keep::new(10);
    keep.slow_after = Some(Box::new(move |_| SlowAfter {
        delivered: Duration::from_millis(delivered_ms),
        committed: committed_ms.map(Duration::from_millis),
    }));
    keep
}

fn all(names: &[&str], why: &str) -> Vec<(String, Option<String>)> {
    let why = |name: &str| (!name.starts_with("commit")).then(|| why.to_owned());
    names
        .iter()
        .map(|name| ((*name).to_owned(), why(name)))
        .collect()
}

#[tokio::test]
async fn a_publish_that_fails_or_is_slow_has_spans_though_its_trace_is_not_recorded() {
    let publish = |outcome| {
        let record = written(context(1), context(0));
        vec![Event::answered(
            1_007,
            unrecorded(sent(outcome, vec![record])),
        )]
    };
    let refused = |retriable| {
        PublishOutcome::Failed(crate::event::Failure {
            name: "NOT_ENOUGH_REPLICAS",
            class: crate::event::FaultClass::Broker,
            retriable,
        })
    };
    let errors = || {
        let mut keep = Keep::new(10);
        keep.error = true;
        keep
    };
    let both = ["create payments", "send payments"];
    assert_eq!(kept(errors(), publish(refused(false))), all(&both, "error"));
    assert_eq!(
        kept(errors(), publish(refused(true))),
        all(&both[1..], "error")
    );
    assert_eq!(kept(errors(), publish(ACKNOWLEDGED)), []);
    assert_eq!(kept(Keep::new(10), publish(refused(false))), []);
    // The publishes of these tests take 5 ms.
    assert_eq!(
        kept(slow_after(4, None), publish(ACKNOWLEDGED)),
        all(&both, "slow")
    );
    assert_eq!(kept(slow_after(5, None), publish(ACKNOWLEDGED)), []);
}

#[tokio::test]
async fn a_record_that_comes_or_is_committed_late_has_spans_though_its_trace_is_not_recorded() {
    let events = || {
        let record = Traced {
            published_ms: Some(1_000),
            ..traced(4, context(1))
        };
        vec![
            Event::answered(1_100, unrecorded(given(vec![record]))),
            Event::answered(1_300, committed(5)),
        ]
    };
    let names = ["fetch orders", "process orders", "commit orders"];
    assert_eq!(kept(slow_after(99, None), events()), all(&names, "slow"));
    assert_eq!(kept(slow_after(100, None), events()), []);
    assert_eq!(
        kept(slow_after(100, Some(299)), events()),
        all(&names[1..], "slow")
    );
    assert_eq!(kept(slow_after(100, Some(300)), events()), []);
}

#[tokio::test]
async fn what_another_tracer_created_is_only_linked() {
    let theirs = context(3);
    let all = spans(vec![Event::answered(
        10,
        sent(ACKNOWLEDGED, vec![traced(0, theirs)]),
    )]);
    let [send] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        send.links.links[0].span_context.span_id().to_bytes(),
        theirs.span_id.bytes()
    );
}

#[tokio::test]
async fn a_publish_the_client_repeats_creates_the_record_once() {
    let written = || Traced {
        written: true,
        derived: false,
        published_ms: None,
        ..traced(0, context(1))
    };
    let again = PublishOutcome::Failed(crate::event::Failure {
        name: "NOT_LEADER_OR_FOLLOWER",
        class: crate::event::FaultClass::Broker,
        retriable: true,
    });
    let all = spans(vec![
        Event::answered(1, sent(again, vec![written()])),
        Event::answered(2, sent(ACKNOWLEDGED, vec![written()])),
    ]);
    let names: Vec<&str> = all.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["send payments", "create payments", "send payments"]);
    let error = attribute(&all[0], semconv::ERROR_TYPE);
    assert_eq!(error, Some(&"NOT_LEADER_OR_FOLLOWER".into()));
}

#[tokio::test]
async fn a_delivered_record_is_processed_until_its_offset_is_committed() {
    let records = vec![traced(4, context(1)), traced(6, context(2))];
    let all = spans(vec![
        Event::answered(100, given(records)),
        Event::answered(150, committed(6)),
        Event::answered(180, committed(7)),
        Event::answered(190, committed(7)),
    ]);
    let names: Vec<&str> = all.iter().map(|span| span.name.as_ref()).collect();
    let pair = ["process orders", "commit orders"];
    assert_eq!(names, [&["fetch orders"][..], &pair, &pair].concat());
    let [_, process, commit, later, _] = &all[..] else {
        panic!("{names:?}");
    };
    assert_eq!(process.span_kind, SpanKind::Consumer);
    assert_eq!(
        process.parent_span_id.to_bytes(),
        context(1).span_id.bytes()
    );
    assert_eq!(attribute(process, semconv::OFFSET), Some(&4.into()));
    assert_eq!(attribute(process, semconv::GROUP), Some(&"billing".into()));
    assert_eq!(attribute(process, semconv::INFERRED), Some(&true.into()));
    assert_eq!(commit.parent_span_id, process.span_context.span_id());
    assert_eq!(
        commit.span_context.trace_id(),
        process.span_context.trace_id()
    );
    let took = later.end_time.duration_since(later.start_time).unwrap();
    assert_eq!(took, Duration::from_millis(80));
}

#[tokio::test(start_paused = true)]
async fn what_is_delivered_again_or_never_settled_does_not_pile_up() {
    let mut spans = Spans::new(Keep::new(10)).unwrap();
    let mut kept = Kept::default();
    for _ in 0..3 {
        let records = (0..64).map(|n| traced(n, context(1))).collect();
        spans.take(&Event::answered(1, given(records)), &mut kept);
    }
    assert_eq!(spans.waiting_records, 64);
    for first in 1..400 {
        let records = (0..64)
            .map(|n| traced(first * 64 + n, context(1)))
            .collect();
        spans.take(&Event::answered(1, given(records)), &mut kept);
    }
    assert_eq!(spans.waiting_records, WAITING_MAX);
    let missed = 400 * 64 - u64::try_from(WAITING_MAX).unwrap();
    assert_eq!(spans.given_up(), missed);
    tokio::time::advance(WAITING_AGE_MAX).await;
    spans.tick(Instant::now(), &mut Kept::default());
    assert_eq!((spans.waiting_records, spans.waiting.len()), (0, 0));
    let closed = EventKind::Closed {
        side: Side::Client,
        kind: "eof",
        unanswered: Vec::new(),
    };
    spans.take(
        &Event {
            kind: closed,
            ..Event::answered(1, Facts::None)
        },
        &mut kept,
    );
}

#[tokio::test]
async fn a_duplicate_has_spans_though_its_trace_is_not_recorded_and_disturbs_none_that_wait() {
    let mut spans = Spans::new(Keep {
        duplicate: true,
        ..Keep::new(2)
    })
    .unwrap();
    let mut sink = Kept::default();
    let recorded = vec![traced(1, context(1)), traced(5, context(5))];
    let event = Event::answered(1, given(recorded));
    spans.take(&event, &mut sink);
    let EventKind::Answered(answer) = &event.kind else {
        unreachable!("made so");
    };
    let Facts::Delivered(Delivered { parts, .. }) = &answer.facts else {
        unreachable!("made so");
    };
    let quiet = |offset: u64| Traceparent {
        sampled: false,
        ..context(offset)
    };
    let (topic, now) = (&parts[0].topic, event.at.mono);
    let admitted = (0..4).filter(|_| spans.keeps_duplicate(topic, now)).count();
    assert_eq!(admitted, 2, "so many a second");
    let doubled = [traced(2, quiet(2)), traced(3, quiet(3))];
    let group: Name = "billing".into();
    spans.duplicated(
        (&event, answer),
        (&parts[0], Some(&group)),
        &doubled,
        &mut sink,
    );
    spans.take(&Event::answered(9, committed(6)), &mut sink);
    let of = |span: &SpanData| {
        let kept = attribute(span, semconv::KEPT).map(ToString::to_string);
        let offset = attribute(span, semconv::OFFSET).map(ToString::to_string);
        (span.name.to_string(), offset, kept)
    };
    let mut processed: Vec<_> = sink.0.iter().map(of).collect();
    assert_eq!(
        processed.iter().filter(|s| s.0 == "fetch orders").count(),
        2
    );
    processed.retain(|span| span.0 == "process orders");
    let process = |offset: &str, kept: Option<&str>| {
        let kept = kept.map(str::to_owned);
        ("process orders".to_owned(), Some(offset.to_owned()), kept)
    };
    let duplicate = Some("duplicate");
    let expected = [
        process("1", None),
        process("2", duplicate),
        process("3", duplicate),
        process("5", None),
    ];
    assert_eq!(processed, expected);
    assert_eq!(spans.given_up(), 0);
}

#[test]
fn a_duplicate_of_a_share_group_waits_for_its_own_acknowledgement() {
    let mut spans = Spans::new(Keep {
        duplicate: true,
        ..Keep::new(9)
    })
    .unwrap();
    let mut sink = Kept::default();
    let Facts::Delivered(mut delivered) = given(Vec::new()) else {
        unreachable!("made so");
    };
    let group: Name = "billing".into();
    delivered.group = Some(Name::clone(&group));
    delivered.parts[0].acquired = vec![Acquired {
        first: 2,
        last: 3,
        deliveries: 2,
    }];
    let event = Event::answered(1, Facts::Delivered(delivered));
    let EventKind::Answered(answer) = &event.kind else {
        unreachable!("made so");
    };
    let Facts::Delivered(Delivered { parts, .. }) = &answer.facts else {
        unreachable!("made so");
    };
    let doubled = [traced(2, context(2)), traced(3, context(3))];
    let of = (&parts[0], Some(&group));
    spans.duplicated((&event, answer), of, &doubled, &mut sink);
    // The later one first, and nothing of an ordinary commit.
    spans.take(&Event::answered(5, committed(9)), &mut sink);
    spans.take(
        &Event::answered(6, said(&[(3, 3, Acknowledgement::Accepted)])),
        &mut sink,
    );
    spans.take(
        &Event::answered(7, said(&[(2, 2, Acknowledgement::Rejected)])),
        &mut sink,
    );
    let told = sink.0.iter().filter(|span| span.name == "process orders");
    let told: Vec<_> = told
        .map(|span| {
            [semconv::OFFSET, semconv::KEPT, semconv::ERROR_TYPE]
                .map(|key| attribute(span, key).map(ToString::to_string))
        })
        .collect();
    let process = |offset: &str, error: Option<&str>| {
        [Some(offset), Some("duplicate"), error].map(|value| value.map(str::to_owned))
    };
    assert_eq!(told, [process("3", None), process("2", Some("reject"))]);
}
