//! What our own reader asks and is told, against Kafka's schemas and the `kafka-protocol` crate.
//!
//! Requests must be the bytes the schema writes, and must decode in the crate; answers are drawn at random, as in `wire_oracle`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod oracle;
mod support;

use kafka_protocol::messages as theirs;
use oracle::{SCHEMAS, every, known, list, n, num, raw, topics};
use serde_json::{Value, json};
use throughline::kafka::wire::{
    api::ApiKey,
    frame::request_header,
    messages::{
        fetch::FetchRequest,
        reading::{
            FETCH_VERSIONS, FetchBytes, FetchResponse, FetchedPartition, FoundOffset,
            LIST_OFFSETS_VERSIONS, Start, fetch_request, list_offsets_request,
            list_offsets_response,
        },
    },
};

/// The frame's body, after its length and header were checked.
fn body(frame: &[u8], key: ApiKey, version: i16) -> Vec<u8> {
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), frame.len() - 4);
    let header = request_header(&frame[4..]).unwrap();
    assert_eq!(
        (header.api, header.version, header.correlation_id),
        (key, version, 9)
    );
    assert_eq!(header.client_id, Some(&b"throughline"[..]));
    frame[4 + header.length..].to_vec()
}

fn asked() -> Vec<(&'static str, Vec<Start>)> {
    let from = |partition, at| Start { partition, at };
    vec![
        ("orders", vec![from(0, 5), from(7, -2)]),
        ("a.b_c", vec![from(1, 1 << 40)]),
    ]
}

fn partitions(each: impl Fn(&Start) -> Value) -> Vec<(&'static str, Vec<Value>)> {
    let all = asked().into_iter();
    all.map(|(name, partitions)| (name, partitions.iter().map(&each).collect()))
        .collect()
}

#[test]
fn list_offsets_requests_are_what_the_schema_writes() {
    for version in LIST_OFFSETS_VERSIONS.0..=LIST_OFFSETS_VERSIONS.1 {
        let topics: Vec<Value> = partitions(
            |p| json!({"PartitionIndex": p.partition, "CurrentLeaderEpoch": -1, "Timestamp": p.at}),
        )
        .into_iter()
        .map(|(name, partitions)| json!({"Name": name, "Partitions": partitions}))
        .collect();
        let value = json!({"ReplicaId": -1, "IsolationLevel": 1, "Topics": topics});
        let frame = list_offsets_request(9, version, &asked()).unwrap();
        let body = body(&frame, ApiKey::LIST_OFFSETS, version);
        let schema = &SCHEMAS["ListOffsetsRequest"];
        assert_eq!(body, schema.encode(version, &value), "v{version}");
        let (first, last, again) = known::<theirs::ListOffsetsRequest>().unwrap();
        assert!((first..=last).contains(&version));
        assert_eq!(again(&body, version), body, "v{version}");
    }
    for version in [0, 6] {
        assert_eq!(list_offsets_request(9, version, &asked()), None);
    }
}

#[test]
fn fetch_requests_are_what_the_schema_writes() {
    let bytes = FetchBytes {
        answer: 1 << 24,
        partition: 1 << 20,
    };
    for version in FETCH_VERSIONS.0..=FETCH_VERSIONS.1 {
        let topics: Vec<Value> = partitions(|p| {
            json!({
                "Partition": p.partition, "CurrentLeaderEpoch": -1, "FetchOffset": p.at,
                "LastFetchedEpoch": -1, "LogStartOffset": -1, "PartitionMaxBytes": bytes.partition,
            })
        })
        .into_iter()
        .map(|(name, partitions)| json!({"Topic": name, "Partitions": partitions}))
        .collect();
        let value = json!({
            "ReplicaId": -1, "MaxWaitMs": 250, "MinBytes": 1, "MaxBytes": bytes.answer,
            "IsolationLevel": 1, "SessionId": 0, "SessionEpoch": -1, "Topics": topics,
            "ForgottenTopicsData": [], "RackId": "",
        });
        let frame = fetch_request(9, version, 250, bytes, &asked()).unwrap();
        let body = body(&frame, ApiKey::FETCH, version);
        assert_eq!(
            body,
            SCHEMAS["FetchRequest"].encode(version, &value),
            "v{version}"
        );
        let (first, last, again) = known::<theirs::FetchRequest>().unwrap();
        assert!((first..=last).contains(&version));
        assert_eq!(again(&body, version), body, "v{version}");
        let read = FetchRequest::read(&body, version).unwrap();
        assert_eq!((read.topics.len(), read.is_read_committed()), (2, true));
    }
    for version in [3, 12] {
        assert_eq!(fetch_request(9, version, 0, bytes, &asked()), None);
    }
}

#[test]
fn list_offsets_answers_read_as_the_schema_writes_them() {
    every(
        "ListOffsetsResponse",
        known::<theirs::ListOffsetsResponse>(),
        |body, version, v| {
            let read = list_offsets_response(body, version);
            if version > LIST_OFFSETS_VERSIONS.1 {
                assert!(read.is_err(), "v{version}");
                return;
            }
            let expected = topics(v, "Topics", "Partitions", |p| FoundOffset {
                partition: n(p, "PartitionIndex"),
                error_code: n(p, "ErrorCode"),
                timestamp: n(p, "Timestamp"),
                offset: n(p, "Offset"),
            });
            assert_eq!(read, Ok(expected), "v{version} {v}");
        },
    );
}

#[test]
fn fetch_answers_read_as_the_schema_writes_them() {
    every("FetchResponse", None, |body, version, v| {
        let read = FetchResponse::read(body, version);
        if version > FETCH_VERSIONS.1 {
            assert!(read.is_err(), "v{version}");
            return;
        }
        let read = read.unwrap();
        assert_eq!(read.error_code, num(v, "ErrorCode").unwrap_or(0));
        let written = list(v, "Responses");
        assert_eq!(read.topics.len(), written.len());
        for (topic, written) in read.topics.iter().zip(written) {
            assert_eq!(topic.topic, oracle::topic(written));
            let written = list(written, "Partitions");
            assert_eq!(topic.partitions.len(), written.len());
            for (read, p) in topic.partitions.iter().zip(written) {
                let records = raw(p, "Records");
                let aborted = list(p, "AbortedTransactions").iter();
                let expected = FetchedPartition {
                    partition: n(p, "PartitionIndex"),
                    error_code: n(p, "ErrorCode"),
                    high_watermark: n(p, "HighWatermark"),
                    log_start_offset: num(p, "LogStartOffset").unwrap_or(-1),
                    aborted: aborted
                        .map(|a| (n(a, "ProducerId"), n(a, "FirstOffset")))
                        .collect(),
                    records: &records,
                };
                assert_eq!(*read, expected, "v{version}");
            }
        }
    });
}
