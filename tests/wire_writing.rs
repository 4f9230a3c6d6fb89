//! What this program writes itself and what it is told of that, against Kafka's schemas and the `kafka-protocol` crate.
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

use bytes::Bytes;
use kafka_protocol::{messages as theirs, records::RecordBatchDecoder};
use oracle::{SCHEMAS, every, known, n, num, partition_error, topics};
use serde_json::json;
use throughline::kafka::wire::{
    api::ApiKey,
    frame::request_header,
    messages::writing::{
        Appended, FIND_COORDINATOR_VERSIONS, NewRecord, OFFSET_COMMIT_VERSIONS, PRODUCE_VERSIONS,
        batch, find_coordinator_request, offset_commit_request, offset_commit_response,
        produce_request, produce_response,
    },
    record::crc_matches,
};

/// The frame's body, after its length and header were checked.
fn body(frame: &[u8], key: ApiKey, version: i16) -> Vec<u8> {
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), frame.len() - 4);
    let header = request_header(&frame[4..]).unwrap();
    assert_eq!((header.api, header.version), (key, version));
    frame[4 + header.length..].to_vec()
}

#[test]
fn a_batch_is_what_another_codec_reads() {
    let long = vec![b'x'; 70_000];
    let records = [
        NewRecord {
            value: b"first",
            headers: &[("mark", b"a/1"), ("mark", b"")],
        },
        NewRecord {
            value: &long,
            headers: &[],
        },
        NewRecord {
            value: b"",
            headers: &[],
        },
    ];
    let written = batch(&records, 1_700_000_000_123);
    assert_eq!(crc_matches(&written), Ok(true));
    let mut bytes = Bytes::from(written);
    let read = RecordBatchDecoder::decode(&mut bytes).unwrap().records;
    assert_eq!(read.len(), records.len());
    for (index, (read, written)) in read.iter().zip(&records).enumerate() {
        assert_eq!(read.offset, i64::try_from(index).unwrap());
        assert_eq!(read.timestamp, 1_700_000_000_123);
        assert_eq!((read.producer_id, read.transactional), (-1, false));
        assert_eq!(read.key, None);
        assert_eq!(read.value.as_deref(), Some(written.value));
    }
    // The crate keeps the last of headers with one name.
    assert_eq!(read[0].headers.len(), 1);
    assert!(read[1].headers.is_empty());
}

#[test]
fn produce_requests_are_what_the_schema_writes() {
    let record = [NewRecord {
        value: b"v",
        headers: &[],
    }];
    let batches = [(0, batch(&record, 5)), (7, batch(&record, 6))];
    let partitions: Vec<_> = batches
        .iter()
        .map(|(partition, records)| json!({"Index": partition, "Records": records}))
        .collect();
    let value = json!({
        "TransactionalId": null, "Acks": -1, "TimeoutMs": 3_000,
        "TopicData": [{"Name": "orders", "PartitionData": partitions}],
    });
    for version in PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1 {
        let frame = produce_request(9, version, 3_000, "orders", &batches).unwrap();
        let body = body(&frame, ApiKey::PRODUCE, version);
        let schema = &SCHEMAS["ProduceRequest"];
        assert_eq!(body, schema.encode(version, &value), "v{version}");
        let (first, last, again) = known::<theirs::ProduceRequest>().unwrap();
        assert!((first..=last).contains(&version));
        assert_eq!(again(&body, version), body, "v{version}");
    }
    for version in [2, 8] {
        assert_eq!(produce_request(9, version, 0, "orders", &batches), None);
    }
}

#[test]
fn find_coordinator_requests_are_what_the_schema_writes() {
    let value = json!({"Key": "g", "KeyType": 0});
    for version in FIND_COORDINATOR_VERSIONS.0..=FIND_COORDINATOR_VERSIONS.1 {
        let frame = find_coordinator_request(9, version, "g").unwrap();
        let body = body(&frame, ApiKey::FIND_COORDINATOR, version);
        let schema = &SCHEMAS["FindCoordinatorRequest"];
        assert_eq!(body, schema.encode(version, &value), "v{version}");
        let (first, last, again) = known::<theirs::FindCoordinatorRequest>().unwrap();
        assert!((first..=last).contains(&version));
        assert_eq!(again(&body, version), body, "v{version}");
    }
    for version in [0, 3] {
        assert_eq!(find_coordinator_request(9, version, "g"), None);
    }
}

#[test]
fn offset_commits_are_what_the_schema_writes() {
    let offsets = [(0, 12), (3, 1 << 40)];
    let partitions: Vec<_> = offsets
        .iter()
        .map(|(partition, offset)| {
            json!({
                "PartitionIndex": partition, "CommittedOffset": offset,
                "CommittedLeaderEpoch": -1, "CommittedMetadata": null,
            })
        })
        .collect();
    let value = json!({
        "GroupId": "g", "GenerationIdOrMemberEpoch": -1, "MemberId": "", "RetentionTimeMs": -1,
        "Topics": [{"Name": "orders", "Partitions": partitions}],
    });
    for version in OFFSET_COMMIT_VERSIONS.0..=OFFSET_COMMIT_VERSIONS.1 {
        let frame = offset_commit_request(9, version, "g", "orders", &offsets).unwrap();
        let body = body(&frame, ApiKey::OFFSET_COMMIT, version);
        let schema = &SCHEMAS["OffsetCommitRequest"];
        assert_eq!(body, schema.encode(version, &value), "v{version}");
        let (first, last, again) = known::<theirs::OffsetCommitRequest>().unwrap();
        assert!((first..=last).contains(&version));
        assert_eq!(again(&body, version), body, "v{version}");
    }
    for version in [1, 7] {
        assert_eq!(offset_commit_request(9, version, "g", "orders", &[]), None);
    }
}

#[test]
fn produce_answers_read_as_the_schema_writes_them() {
    every("ProduceResponse", None, |body, version, v| {
        let read = produce_response(body, version);
        if !(PRODUCE_VERSIONS.0..=PRODUCE_VERSIONS.1).contains(&version) {
            assert!(read.is_err(), "v{version}");
            return;
        }
        let expected = topics(v, "Responses", "PartitionResponses", |p| Appended {
            partition: n(p, "Index"),
            error_code: n(p, "ErrorCode"),
            base_offset: num(p, "BaseOffset").unwrap_or(-1),
        });
        assert_eq!(read, Ok(expected), "v{version} {v}");
    });
}

#[test]
fn commit_answers_read_as_the_schema_writes_them() {
    every(
        "OffsetCommitResponse",
        known::<theirs::OffsetCommitResponse>(),
        |body, version, v| {
            let read = offset_commit_response(body, version);
            if !(OFFSET_COMMIT_VERSIONS.0..=OFFSET_COMMIT_VERSIONS.1).contains(&version) {
                assert!(read.is_err(), "v{version}");
                return;
            }
            let expected = topics(v, "Topics", "Partitions", partition_error);
            assert_eq!(read, Ok(expected), "v{version} {v}");
        },
    );
}
