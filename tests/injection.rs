//! Injection between a scripted client and a scripted broker: what is added, what is left, and how a refusal is undone before
//! the client sees it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;

use std::time::Duration;

use bytes::Bytes;
use fake::{DEADLINE, line::*, until};
use kafka_protocol::records::Record;
use throughline::{
    event::{EventKind, Facts, Injection, Stamp},
    kafka::proxy::settings::InjectSettings,
    propagation::{Carried, CorrelationNames, HeaderChoice, Traceparent},
};
use tokio::{io::AsyncReadExt, time::timeout};

const NOT_LEADER: i16 = 6;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_RECORD: i16 = 87;

#[tokio::test]
async fn records_are_given_what_they_lack_and_nothing_else_changes() {
    let mut line = Line::new().await;
    let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for pack in [batch, packed] {
        let sent = [
            record("plain", 100),
            with_header(record("traced", 5), "traceparent", theirs),
            with_header(record("zipkin", 5), "b3", "1-2-1"),
            with_header(record("correlated", 0), "correlationId", "order-7"),
        ];
        let body = produce(&[("orders", 3, pack(&sent))]);
        line.send(1, &body).await;
        let (id, got) = line.received().await;
        line.answer(id, &[("orders", 3, 0)]).await;
        assert_eq!(
            line.answered().await,
            (1, vec![("orders".into(), 3, 0, 70)])
        );
        let got = records_of(&got, "orders", 3);
        let expected: [&[&str]; 4] = [
            &CONTEXT,
            &["traceparent", "correlation-id"],
            &["b3", "correlation-id"],
            &["correlationId", "traceparent", "tracestate"],
        ];
        assert_eq!(got.len(), sent.len());
        for ((got, sent), keys) in got.iter().zip(&sent).zip(expected) {
            assert_eq!(header_keys(got), keys);
            assert_eq!((&got.key, &got.value), (&sent.key, &sent.value));
            assert_eq!(got.timestamp, sent.timestamp);
            for (key, value) in &sent.headers {
                assert_eq!(&got.headers[key.as_bytes()], value);
            }
        }
        assert_eq!(
            header(&got[1], "correlation-id"),
            "0af7651916cd43dd8448eb211c80319c"
        );
        let ours = Traceparent::parse(header(&got[0], "traceparent").as_bytes()).unwrap();
        assert_eq!(header(&got[0], "correlation-id"), ours.trace_id.to_string());
    }
    let seen = line.produced(2).await;
    assert!(seen.iter().all(|s| s.injection == injected(4)), "{seen:?}");
}

#[tokio::test]
async fn headers_choice_and_names_are_the_configured_ones() {
    for (headers, expected) in [
        (
            HeaderChoice::Full,
            &["traceparent", "tracestate", "x-id"][..],
        ),
        (HeaderChoice::Traceparent, &["traceparent"]),
        (HeaderChoice::Correlation, &["x-id"]),
    ] {
        let mut line = Line::with(InjectSettings {
            headers,
            names: CorrelationNames::new("x-id", &[]),
            ..InjectSettings::default()
        })
        .await;
        line.send(1, &produce(&[("orders", 0, batch(&[record("k", 1)]))]))
            .await;
        let (_, got) = line.received().await;
        assert_eq!(header_keys(&records_of(&got, "orders", 0)[0]), expected);
    }
}

#[tokio::test]
async fn nothing_is_sent_behind_a_batch_that_is_not_proven() {
    let mut line = Line::new().await;
    for id in [1, 2, 3] {
        let body = produce(&[("orders", 0, batch(&[record("k", 100)]))]);
        line.send(id, &body).await;
    }
    let (first, _) = line.received().await;
    line.nothing_at_the_broker().await;
    line.answer(first, &[("orders", 0, 0)]).await;
    // Proven now: what is no larger goes without waiting.
    assert_eq!(line.received().await.0, 2);
    assert_eq!(line.received().await.0, 3);
    // A larger one is waited for again, and what was pipelined before it does not open the way.
    line.send(4, &produce(&[("orders", 0, batch(&[record("k", 5_000)]))]))
        .await;
    line.send(5, &produce(&[("orders", 0, batch(&[record("k", 100)]))]))
        .await;
    assert_eq!(line.received().await.0, 4);
    for id in [2, 3] {
        line.answer(id, &[("orders", 0, 0)]).await;
        line.nothing_at_the_broker().await;
    }
    line.answer(4, &[("orders", 0, 0)]).await;
    assert_eq!(line.received().await.0, 5);
    for expected in 1..=4 {
        assert_eq!(line.answered().await.0, expected);
    }
}

#[tokio::test]
async fn a_batch_that_only_the_headers_made_too_large_is_sent_again_without_them() {
    let mut line = Line::new().await;
    let large = batch(&[record("k", 5_000)]);
    line.send(7, &produce(&[("orders", 0, large.clone())]))
        .await;
    line.send(8, &produce(&[("orders", 0, batch(&[record("k", 10)]))]))
        .await;
    let (id, got) = line.received().await;
    assert_eq!(id, 7);
    assert!(raw_records_of(&got, "orders", 0).len() > large.len());
    line.answer(7, &[("orders", 0, MESSAGE_TOO_LARGE)]).await;
    let (ours, again) = line.received().await;
    assert_ne!(ours, 7);
    assert_eq!(
        raw_records_of(&again, "orders", 0),
        large,
        "as the client wrote it"
    );
    line.nothing_at_the_broker().await;
    line.answer(ours, &[("orders", 0, 0)]).await;
    assert_eq!(
        line.answered().await,
        (7, vec![("orders".into(), 0, 0, 70)])
    );
    // The size was to blame, not the headers: a smaller one is edited again.
    let (id, got) = line.received().await;
    assert_eq!(id, 8);
    assert_eq!(header_keys(&records_of(&got, "orders", 0)[0]), CONTEXT);
    line.answer(8, &[("orders", 0, 0)]).await;
    assert_eq!(line.answered().await.0, 8);
    line.send(9, &produce(&[("orders", 0, large.clone())]))
        .await;
    let (_, got) = line.received().await;
    assert_eq!(
        raw_records_of(&got, "orders", 0),
        large,
        "known to be too large"
    );
    line.answer(9, &[("orders", 0, 0)]).await;
    let seen = line.produced(3).await;
    let refused = Injection {
        refused: Some("MESSAGE_TOO_LARGE"),
        ..injected(1)
    };
    let all: Vec<_> = seen.iter().map(|s| s.injection).collect();
    assert_eq!(all, [refused, injected(1), skipped("too_large")]);
    assert!(seen.iter().all(|s| s.acknowledged), "{seen:?}");
}

#[tokio::test]
async fn a_topic_that_refuses_headers_is_left_alone_from_then_on() {
    let mut line = Line::new().await;
    let plain = batch(&[record("k", 10)]);
    line.send(1, &produce(&[("strict", 0, plain.clone())]))
        .await;
    line.received().await;
    line.answer(1, &[("strict", 0, INVALID_RECORD)]).await;
    let (ours, _) = line.received().await;
    line.answer(ours, &[("strict", 0, 0)]).await;
    assert_eq!(
        line.answered().await,
        (1, vec![("strict".into(), 0, 0, 70)])
    );
    line.send(2, &produce(&[("strict", 0, plain.clone())]))
        .await;
    let (_, got) = line.received().await;
    assert_eq!(raw_records_of(&got, "strict", 0), plain);
    line.answer(2, &[("strict", 0, 0)]).await;
    let seen = line.produced(2).await;
    assert_eq!(seen[1].injection, skipped("refused"));
    // Until the operator has changed something.
    line.rig.handle.forget_refusals();
    line.send(3, &produce(&[("strict", 0, plain)])).await;
    let (_, got) = line.received().await;
    assert_eq!(header_keys(&records_of(&got, "strict", 0)[0]), CONTEXT);
}

#[tokio::test]
async fn what_the_broker_refuses_either_way_the_client_is_told_and_injection_goes_on() {
    let mut line = Line::new().await;
    let body = produce(&[("orders", 0, batch(&[record("k", 5_000)]))]);
    line.send(1, &body).await;
    line.received().await;
    line.answer(1, &[("orders", 0, MESSAGE_TOO_LARGE)]).await;
    let (ours, _) = line.received().await;
    line.answer(ours, &[("orders", 0, MESSAGE_TOO_LARGE)]).await;
    let told = (1, vec![("orders".into(), 0, MESSAGE_TOO_LARGE, -1)]);
    assert_eq!(line.answered().await, told);
    line.send(2, &produce(&[("orders", 0, batch(&[record("k", 10)]))]))
        .await;
    let (_, got) = line.received().await;
    assert_eq!(header_keys(&records_of(&got, "orders", 0)[0]), CONTEXT);
}

#[tokio::test]
async fn only_the_refused_partitions_are_sent_again_and_the_answers_are_merged() {
    let mut line = Line::new().await;
    let plain = batch(&[record("k", 10)]);
    let body = produce(&[
        ("orders", 0, plain.clone()),
        ("strict", 0, plain.clone()),
        ("orders", 1, plain.clone()),
        ("strict", 4, plain.clone()),
    ]);
    line.send(1, &body).await;
    line.received().await;
    let first = [
        ("orders", 0, 0),
        ("orders", 1, NOT_LEADER),
        ("strict", 0, 0),
        ("strict", 4, INVALID_RECORD),
    ];
    line.answer(1, &first).await;
    let (ours, again) = line.received().await;
    assert_eq!(again.topic_data.len(), 1);
    assert_eq!(again.topic_data[0].partition_data.len(), 1);
    assert_eq!(raw_records_of(&again, "strict", 4), plain);
    line.answer(ours, &[("strict", 4, 0)]).await;
    let (id, mut told) = line.answered().await;
    told.sort();
    let expected = [
        ("orders".to_owned(), 0, 0, 70),
        ("orders".to_owned(), 1, NOT_LEADER, -1),
        ("strict".to_owned(), 0, 0, 70),
        ("strict".to_owned(), 4, 0, 70),
    ];
    assert_eq!((id, told), (1, expected.to_vec()));
}

#[tokio::test]
async fn a_late_refusal_makes_the_client_send_again_itself() {
    let mut line = Line::new().await;
    line.prove("orders", 100).await;
    for id in [1, 2] {
        line.send(id, &produce(&[("orders", 0, batch(&[record("k", 50)]))]))
            .await;
        line.received().await;
    }
    line.answer(1, &[("orders", 0, INVALID_RECORD)]).await;
    let told = (1, vec![("orders".into(), 0, NOT_LEADER, -1)]);
    assert_eq!(line.answered().await, told);
    line.answer(2, &[("orders", 0, 0)]).await;
    assert_eq!(line.answered().await.0, 2);
}

#[tokio::test]
async fn without_acknowledgement_only_what_is_proven_is_edited() {
    let mut line = Line::new().await;
    let plain = batch(&[record("k", 10)]);
    let mut body = produce(&[("orders", 0, plain.clone())]);
    body.acks = 0;
    line.send(1, &body).await;
    let (_, got) = line.received().await;
    assert_eq!(raw_records_of(&got, "orders", 0), plain);
    line.prove("orders", 1_000).await;
    line.send(2, &body).await;
    line.send(3, &body).await;
    for _ in 0..2 {
        let (_, got) = line.received().await;
        assert_eq!(header_keys(&records_of(&got, "orders", 0)[0]), CONTEXT);
    }
    let mut large = produce(&[(
        "orders",
        0,
        batch(&[record("k", 1_000), record("k", 1_000)]),
    )]);
    large.acks = 0;
    line.send(4, &large).await;
    let (_, got) = line.received().await;
    assert_eq!(got, large);
}

#[tokio::test]
async fn a_retry_of_an_idempotent_batch_carries_identical_bytes_over_another_connection() {
    let mut line = Line::new().await;
    line.prove("orders", 1_000).await;
    let body = produce(&[("orders", 0, batch(&[sequenced(10), sequenced(11)]))]);
    line.send(1, &body).await;
    let (_, first) = line.received().await;
    // The connection breaks before the answer; time goes by.
    line.reconnect().await;
    let broken = Stamp::now().wall_ms;
    until("the clock has moved", || Stamp::now().wall_ms > broken).await;
    line.send(2, &body).await;
    let (_, second) = line.received().await;
    assert_eq!(first, second);
    let records = records_of(&first, "orders", 0);
    assert_ne!(
        header(&records[0], "traceparent"),
        header(&records[1], "traceparent")
    );
    let next = produce(&[("orders", 0, batch(&[sequenced(12)]))]);
    line.send(3, &next).await;
    let (_, third) = line.received().await;
    let third = records_of(&third, "orders", 0);
    assert!(
        records
            .iter()
            .all(|r| header(r, "traceparent") != header(&third[0], "traceparent"))
    );
}

#[tokio::test]
async fn what_must_not_be_edited_goes_as_it_came_and_says_why() {
    let mut line = Line::new().await;
    line.prove("orders", 1_000).await;
    let good = batch(&[record("k", 10), record("k", 20)]);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        Bytes::from(bytes)
    };
    let resealed = |change: &dyn Fn(&mut Vec<u8>)| {
        changed(&|bytes| {
            change(bytes);
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        })
    };
    let cases: [(&str, Bytes); 6] = [
        ("crc", changed(&|b| *b.last_mut().unwrap() ^= 1)),
        ("old_format", changed(&|b| b[16] = 1)),
        ("control", resealed(&|b| b[22] |= 0x20)),
        ("unknown_codec", resealed(&|b| b[22] |= 0x07)),
        // The header counts one record more than there is.
        ("malformed", resealed(&|b| b[60] += 1)),
        // The first record says that it is longer than the batch.
        ("malformed", resealed(&|b| b[61] = 0x7e)),
    ];
    for (reason, records) in cases {
        let body = produce(&[("orders", 0, records.clone())]);
        line.send(5, &body).await;
        let (id, got) = line.received().await;
        assert_eq!(raw_records_of(&got, "orders", 0), records, "{reason}");
        line.answer(id, &[("orders", 0, 0)]).await;
        line.answered().await;
        let seen = line.produced(1).await;
        assert_eq!(seen.last().unwrap().injection, skipped(reason));
    }
}

#[tokio::test]
async fn a_request_that_finds_no_room_streams_by() {
    let mut line = Line::with(InjectSettings {
        bytes_total: 250_000,
        frame_bytes: 120_000,
        ..InjectSettings::default()
    })
    .await;
    line.prove("orders", 110_000).await;
    let large = produce(&[("orders", 0, batch(&[record("k", 130_000)]))]);
    line.send(1, &large).await;
    let (_, got) = line.received().await;
    assert_eq!(got, large);
    line.answer(1, &[("orders", 0, 0)]).await;
    line.answered().await;
    let seen = line.produced(2).await;
    assert_eq!(seen[1].injection, skipped("memory"));
    // Room comes back.
    line.send(
        2,
        &produce(&[("orders", 0, batch(&[record("k", 100_000)]))]),
    )
    .await;
    let (_, got) = line.received().await;
    assert_eq!(header_keys(&records_of(&got, "orders", 0)[0]), CONTEXT);
}

#[tokio::test]
async fn compressed_batches_past_the_time_budget_go_as_they_came() {
    let mut line = Line::with(InjectSettings {
        compressed_budget: Duration::ZERO,
        ..InjectSettings::default()
    })
    .await;
    let records = packed(&[record("k", 100)]);
    line.send(1, &produce(&[("orders", 0, records.clone())]))
        .await;
    let (_, got) = line.received().await;
    assert_eq!(raw_records_of(&got, "orders", 0), records);
    line.answer(1, &[("orders", 0, 0)]).await;
    line.answered().await;
    assert_eq!(line.produced(1).await[0].injection, skipped("cpu_budget"));
}

#[tokio::test]
async fn a_broker_that_ends_while_a_batch_is_guarded_ends_the_client_too() {
    let mut line = Line::new().await;
    line.send(1, &produce(&[("orders", 0, batch(&[record("k", 10)]))]))
        .await;
    line.received().await;
    line.send(2, &produce(&[("orders", 0, batch(&[record("k", 10)]))]))
        .await;
    drop(line.broker);
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, line.client.read_to_end(&mut rest)).await;
    // A reset is as good as an end.
    assert!(ended.expect("an end in time").map_or(true, |n| n == 0));
    drop(line.client);
    let lost = || {
        let events = line.rig.events.0.lock().unwrap();
        events.iter().any(|event| match &event.kind {
            EventKind::Closed { unanswered, .. } => {
                matches!(&unanswered.first().unwrap().facts, Facts::Produced(p) if p.parts[0].injection.records == 1)
            }
            _ => false,
        })
    };
    until("the lost publish is reported", lost).await;
}

#[tokio::test]
async fn a_connection_lost_between_the_attempts_loses_one_publish() {
    let mut line = Line::new().await;
    line.send(1, &produce(&[("strict", 0, batch(&[record("k", 10)]))]))
        .await;
    line.received().await;
    line.answer(1, &[("strict", 0, INVALID_RECORD)]).await;
    line.received().await;
    drop((line.broker, line.client));
    let lost = || {
        let events = line.rig.events.0.lock().unwrap();
        events.iter().any(|event| match &event.kind {
            EventKind::Closed { unanswered, .. } => {
                unanswered.len() == 1 && matches!(unanswered[0].facts, Facts::Produced(_))
            }
            _ => false,
        })
    };
    until("the lost publish is reported once", lost).await;
}

#[tokio::test]
async fn sampled_records_say_so_and_carry_when_they_were_sent() {
    let mut line = Line::with(InjectSettings {
        traces_per_second_per_topic: 1,
        ..InjectSettings::default()
    })
    .await;
    let many: Vec<Record> = (0..400).map(|_| record("k", 10)).collect();
    line.send(1, &produce(&[("orders", 0, batch(&many))])).await;
    let (_, got) = line.received().await;
    let mut sampled = 0;
    for record in records_of(&got, "orders", 0) {
        let names = CorrelationNames::default();
        let values: Vec<_> = record
            .headers
            .iter()
            .map(|(k, v)| (k.as_bytes().to_vec(), v.clone().unwrap_or_default()))
            .collect();
        let headers = values.iter().map(|(k, v)| (&k[..], Some(&v[..])));
        let carried = Carried::read(headers, &names);
        let context = carried.traceparent.unwrap().unwrap();
        assert!(context.random);
        sampled += u32::from(context.sampled);
        assert_eq!(carried.tracestate.member("ot").is_some(), context.sampled);
        let sent = carried.sent().unwrap();
        assert!(sent.at_ms > 1_700_000_000_000 && sent.parent.is_none());
    }
    assert!(sampled <= 12, "{sampled} of 400 at one per second");
}

/// What a record gains in a batch of 500, by choice of headers: (uncompressed, lz4, zstd), bytes. README says the same.
const BYTES_PER_RECORD: [(HeaderChoice, [usize; 3]); 3] = [
    (HeaderChoice::Full, [158, 68, 36]),
    (HeaderChoice::Traceparent, [68, 53, 28]),
    (HeaderChoice::Correlation, [48, 36, 19]),
];

#[tokio::test]
async fn a_record_gains_as_many_bytes_as_readme_says() {
    const RECORDS: usize = 500;
    let records: Vec<Record> = (0..RECORDS)
        .map(|n| Record {
            value: Some(Bytes::from(format!(
                r#"{{"order":{},"customer":{},"amount":{},"currency":"EUR","state":"open"}}"#,
                n * 7_919 % 100_003,
                n * 104_729 % 9_973,
                n * 31 % 977
            ))),
            ..record(&format!("order-{n}"), 0)
        })
        .collect();
    let readme = include_str!("../README.md");
    for (headers, expected) in BYTES_PER_RECORD {
        let mut line = Line::with(InjectSettings {
            headers,
            compressed_budget: Duration::from_secs(60),
            ..InjectSettings::default()
        })
        .await;
        let mut seen = [0; 3];
        for (seen, pack) in seen.iter_mut().zip([batch, lz4, packed]) {
            let sent = pack(&records);
            line.send(1, &produce(&[("orders", 0, sent.clone())])).await;
            let (_, got) = line.received().await;
            line.answer(1, &[("orders", 0, 0)]).await;
            line.answered().await;
            let gained = raw_records_of(&got, "orders", 0).len() - sent.len();
            *seen = gained.div_ceil(RECORDS);
        }
        for (seen, expected) in seen.into_iter().zip(expected) {
            assert!(
                seen.abs_diff(expected) <= 2,
                "{headers:?}: {seen} and not {expected}"
            );
        }
        let [none, lz4, zstd] = expected;
        let row = format!("| `{}` | {none} | {lz4} | {zstd} |", headers.as_str());
        assert!(readme.contains(&row), "README lacks {row}");
    }
}
