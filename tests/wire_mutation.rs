//! Damaged messages: no reader panics, hangs, or allocates beyond a small multiple of what it was given.
//!
//! Valid random messages are damaged by seeded mutation. `THROUGHLINE_FUZZ_CASES` asks for more than the default number;
//! a failure names the seed. Memory is measured by the allocator of this binary, so the tests take turns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a test fails by panicking, and what is read here is not looked at"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use peak_alloc::PeakAlloc;
use support::schemas::{self, Random, Schema};
use throughline::{
    event::Codec,
    kafka::wire::{
        api::ApiKey,
        compression::decompress,
        edit::{EditLimits, append_headers, produce::ProduceRequest},
        endpoints::{self, Endpoints, TrailerKind, neutralise_trailer, rewrite_trailer},
        messages::{
            api_versions::{ApiVersionsRequest, ApiVersionsResponse, cap_max},
            epochs::OffsetForLeaderEpochResponse,
            fetch::FetchRequest,
            group::{
                GroupHeartbeatRequest, GroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
                JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
                SyncGroupRequest, SyncGroupResponse, consumer_assignment,
            },
            offsets::{
                OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
                TxnOffsetCommitRequest,
            },
            outcome,
            sasl::{
                SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse, claimed_name,
            },
            shares::ShareRequest,
            transactions::{
                AddOffsetsToTxnRequest, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
                InitProducerIdResponse,
            },
        },
        record::{Records, control_type, crc_matches},
        splice,
    },
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;
static TURN: Mutex<()> = Mutex::new(());

/// Peak memory allowed per input byte: the leanest elements on the wire (two or three bytes) become structs of up to 48,
/// and a vector that grows holds old and new at once.
const BYTES_PER_BYTE: usize = 64;
/// And beside it: small vectors, the capacity they start with.
const BYTES_BESIDE: usize = 4_096;
/// What the decompressors hold for themselves: LZ4 blocks of 4 MiB in and out, and a growing output.
const DECOMPRESSOR_BYTES: usize = 14 << 20;
const CAP: usize = 1 << 20;

fn cases() -> u64 {
    std::env::var("THROUGHLINE_FUZZ_CASES").map_or(20_000, |n| n.parse().unwrap())
}

/// Peak of what `f` holds at once, bytes.
fn measured(f: impl FnOnce()) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    f();
    ALLOCATOR.peak_usage().saturating_sub(before)
}

fn damage(bytes: &mut Vec<u8>, rng: &mut Random) {
    if rng.chance(50) {
        // A long array of the leanest elements there are.
        let at = rng.below(bytes.len() + 1);
        let count: &[u8] = if rng.chance(2) {
            &[0x81, 0x80, 0x01]
        } else {
            &[0, 0, 0x40, 0]
        };
        let element = u8::try_from(rng.below(3)).unwrap();
        bytes.truncate(at);
        bytes.extend_from_slice(count);
        bytes.resize(at + 32_768, element);
        return;
    }
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(6)).min(bytes.len());
        match rng.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, rng.bytes(6)).for_each(drop),
            3 => bytes[at..end].fill(0xff),
            4 => bytes[at..end].fill(0),
            5 => {
                // A length or count of any size, in either form.
                let huge: &[u8] = match rng.below(3) {
                    0 => &[0x7f, 0xff, 0xff, 0xff],
                    1 => &[0xff, 0xff, 0xff, 0xff, 0x0f],
                    _ => &[0xfe, 0x7f],
                };
                bytes.splice(at..end, huge.iter().copied()).for_each(drop);
            }
            6 => bytes.extend_from_within(at..end),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
            }
        }
    }
}

fn edit(body: &[u8], endpoints: &Endpoints<'_>) {
    let splices = endpoints.splices(&mut |_, _, _| Some(("127.0.0.1".to_owned(), 9_193)));
    assert!(splice::apply(body, &splices).is_some());
}

fn edit_produce(read: &ProduceRequest<'_>, body: &[u8]) {
    let partitions = read.topics.iter().flat_map(|topic| &topic.partitions);
    let splices: Vec<_> = partitions
        .filter_map(|partition| read.with_records(partition, b"records".to_vec()))
        .flatten()
        .collect();
    assert!(splice::apply(body, &splices).is_some());
    if let Some(splices) = read.only(|_, partition| partition & 1 == 0) {
        assert!(splice::apply(body, &splices).is_some());
    }
}

/// Reads `body` with all there is for a request.
fn read_request(key: ApiKey, body: &[u8], version: i16) {
    let _ = match key {
        ApiKey::PRODUCE => {
            ProduceRequest::read(body, version).map(|read| edit_produce(&read, body))
        }
        ApiKey::FETCH => FetchRequest::read(body, version).map(drop),
        ApiKey::SHARE_FETCH | ApiKey::SHARE_ACKNOWLEDGE => {
            ShareRequest::read(key, body, version).map(drop)
        }
        ApiKey::OFFSET_COMMIT => OffsetCommitRequest::read(body, version).map(drop),
        ApiKey::TXN_OFFSET_COMMIT => TxnOffsetCommitRequest::read(body, version).map(drop),
        ApiKey::OFFSET_FETCH => OffsetFetchRequest::read(body, version).map(drop),
        ApiKey::JOIN_GROUP => JoinGroupRequest::read(body, version).map(drop),
        ApiKey::SYNC_GROUP => SyncGroupRequest::read(body, version).map(drop),
        ApiKey::HEARTBEAT => HeartbeatRequest::read(body, version).map(drop),
        ApiKey::LEAVE_GROUP => LeaveGroupRequest::read(body, version).map(drop),
        ApiKey::CONSUMER_GROUP_HEARTBEAT | ApiKey::SHARE_GROUP_HEARTBEAT => {
            GroupHeartbeatRequest::read(key, body, version).map(drop)
        }
        ApiKey::SASL_HANDSHAKE => SaslHandshakeRequest::read(body, version).map(drop),
        ApiKey::SASL_AUTHENTICATE => claimed_name(body, version, "PLAIN")
            .and_then(|_| claimed_name(body, version, "SCRAM-SHA-256"))
            .map(drop),
        ApiKey::API_VERSIONS => ApiVersionsRequest::read(body, version).map(drop),
        ApiKey::INIT_PRODUCER_ID => InitProducerIdRequest::read(body, version).map(drop),
        ApiKey::END_TXN => EndTxnRequest::read(body, version).map(drop),
        ApiKey::ADD_OFFSETS_TO_TXN => AddOffsetsToTxnRequest::read(body, version).map(drop),
        _ => panic!("{} has no reader", key.name()),
    };
}

/// Reads `body` with all there is for a response, and edits what was read.
fn read_response(key: ApiKey, body: &[u8], version: i16) {
    let _ = outcome::top_level(key, version, body);
    let _ = match key {
        ApiKey::METADATA => {
            endpoints::metadata(body, version).map(|seen| edit(body, &seen.endpoints))
        }
        ApiKey::FIND_COORDINATOR => {
            endpoints::find_coordinator(body, version).map(|seen| edit(body, &seen.endpoints))
        }
        ApiKey::DESCRIBE_CLUSTER => {
            endpoints::describe_cluster(body, version).map(|seen| edit(body, &seen.endpoints))
        }
        ApiKey::PRODUCE => {
            endpoints::produce_response(body, version).map(|seen| edit(body, &seen.endpoints))
        }
        ApiKey::SHARE_ACKNOWLEDGE => {
            endpoints::share_acknowledge(body, version).map(|seen| edit(body, &seen.endpoints))
        }
        ApiKey::OFFSET_COMMIT => OffsetCommitResponse::read(body, version).map(drop),
        ApiKey::TXN_OFFSET_COMMIT => OffsetCommitResponse::read_txn(body, version).map(drop),
        ApiKey::OFFSET_FETCH => OffsetFetchResponse::read(body, version).map(drop),
        ApiKey::JOIN_GROUP => JoinGroupResponse::read(body, version).map(drop),
        ApiKey::SYNC_GROUP => SyncGroupResponse::read(body, version).map(|r| {
            drop(r.partitions(None));
        }),
        ApiKey::HEARTBEAT => HeartbeatResponse::read(body, version).map(drop),
        ApiKey::LEAVE_GROUP => LeaveGroupResponse::read(body, version).map(drop),
        ApiKey::CONSUMER_GROUP_HEARTBEAT | ApiKey::SHARE_GROUP_HEARTBEAT => {
            GroupHeartbeatResponse::read(key, body, version).map(drop)
        }
        ApiKey::SASL_HANDSHAKE => SaslHandshakeResponse::read(body, version).map(drop),
        ApiKey::SASL_AUTHENTICATE => SaslAuthenticateResponse::read(body, version).map(drop),
        ApiKey::OFFSET_FOR_LEADER_EPOCH => {
            OffsetForLeaderEpochResponse::read(body, version).map(drop)
        }
        ApiKey::API_VERSIONS => ApiVersionsResponse::read(body, version).map(|_| {
            let capped = cap_max(body, version, |_| Some(3)).unwrap();
            assert!(capped.is_none_or(|capped| capped.len() == body.len()));
        }),
        ApiKey::INIT_PRODUCER_ID => InitProducerIdResponse::read(body, version).map(drop),
        ApiKey::END_TXN => EndTxnResponse::read(body, version).map(drop),
        // Only their outcome is read.
        _ => Ok(()),
    };
}

const REQUESTS: [&str; 19] = [
    "ProduceRequest",
    "FetchRequest",
    "ShareFetchRequest",
    "ShareAcknowledgeRequest",
    "OffsetCommitRequest",
    "TxnOffsetCommitRequest",
    "OffsetFetchRequest",
    "JoinGroupRequest",
    "SyncGroupRequest",
    "HeartbeatRequest",
    "LeaveGroupRequest",
    "ConsumerGroupHeartbeatRequest",
    "ShareGroupHeartbeatRequest",
    "SaslHandshakeRequest",
    "SaslAuthenticateRequest",
    "ApiVersionsRequest",
    "InitProducerIdRequest",
    "EndTxnRequest",
    "AddOffsetsToTxnRequest",
];

const RESPONSES: [&str; 27] = [
    "MetadataResponse",
    "FindCoordinatorResponse",
    "DescribeClusterResponse",
    "DescribeTopicPartitionsResponse",
    "ProduceResponse",
    "FetchResponse",
    "ShareFetchResponse",
    "ShareAcknowledgeResponse",
    "OffsetCommitResponse",
    "TxnOffsetCommitResponse",
    "OffsetFetchResponse",
    "ListOffsetsResponse",
    "OffsetForLeaderEpochResponse",
    "JoinGroupResponse",
    "SyncGroupResponse",
    "HeartbeatResponse",
    "LeaveGroupResponse",
    "ConsumerGroupHeartbeatResponse",
    "ShareGroupHeartbeatResponse",
    "StreamsGroupHeartbeatResponse",
    "SaslHandshakeResponse",
    "SaslAuthenticateResponse",
    "ApiVersionsResponse",
    "InitProducerIdResponse",
    "EndTxnResponse",
    "AddPartitionsToTxnResponse",
    "AddOffsetsToTxnResponse",
];

fn some_message(
    schemas: &BTreeMap<String, Schema>,
    names: &[&str],
    rng: &mut Random,
) -> (ApiKey, i16, Vec<u8>) {
    let schema = &schemas[names[rng.below(names.len())]];
    let span = usize::try_from(schema.valid.last - schema.valid.first).unwrap() + 1;
    let version = schema.valid.first + i16::try_from(rng.below(span)).unwrap();
    let body = schema.encode(version, &schema.random(version, rng));
    (ApiKey(schema.api_key.unwrap()), version, body)
}

fn check(what: &str, names: &[&str], read: fn(ApiKey, &[u8], i16)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let schemas = schemas::all();
    for seed in 0..cases() {
        let rng = &mut Random::new(seed);
        let (key, version, mut body) = some_message(&schemas, names, rng);
        damage(&mut body, rng);
        let peak = measured(|| read(key, &body, version));
        let allowed = BYTES_PER_BYTE * body.len() + BYTES_BESIDE;
        let name = key.name();
        assert!(
            peak <= allowed,
            "{what} {name} v{version} seed {seed}: {peak} for {} bytes",
            body.len()
        );
    }
}

#[test]
fn damaged_requests_are_read_or_refused() {
    check("request", &REQUESTS, read_request);
}

#[test]
fn damaged_responses_are_read_or_refused_and_edits_hold() {
    check("response", &RESPONSES, read_response);
}

#[test]
fn damaged_trailers_and_assignments_are_read_or_refused() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let schemas = schemas::all();
    let mut outcomes = BTreeSet::new();
    for seed in 0..cases() {
        let rng = &mut Random::new(seed);
        let (kind, name) = if rng.chance(2) {
            (TrailerKind::Fetch, "FetchResponse")
        } else {
            (TrailerKind::ShareFetch, "ShareFetchResponse")
        };
        let schema = &schemas[name];
        let version = schema.valid.last;
        let value = schema.random(version, rng);
        let mut bytes = schema.encode(version, &value);
        bytes.drain(..schema.trailer_at(version, &value));
        damage(&mut bytes, rng);
        let mut outcome = None;
        let peak = measured(|| {
            let mut rewrite = |_: i32, _: &str, _: i32| Some(("127.0.0.1".to_owned(), 9_193));
            if let Ok(out) = rewrite_trailer(kind, &bytes, &mut rewrite) {
                assert_eq!(out.bytes.len(), bytes.len(), "seed {seed}");
                outcome = Some(out.outcome as u8);
            }
            if let Ok(out) = neutralise_trailer(kind, &bytes) {
                assert_eq!(out.bytes.len(), bytes.len(), "seed {seed}");
            }
            let _ = consumer_assignment(&bytes);
        });
        let allowed = BYTES_PER_BYTE * bytes.len() + BYTES_BESIDE;
        assert!(peak <= allowed, "seed {seed}: {peak} for {}", bytes.len());
        outcomes.insert(outcome);
    }
    assert_eq!(
        outcomes.len(),
        5,
        "damage leaves every outcome possible: {outcomes:?}"
    );
}

#[test]
fn damaged_batches_are_read_or_refused() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let java: [&[u8]; 4] = [
        include_bytes!("fixtures/batch-gzip.bin"),
        include_bytes!("fixtures/batch-snappy.bin"),
        include_bytes!("fixtures/batch-lz4.bin"),
        include_bytes!("fixtures/batch-zstd.bin"),
    ];
    for seed in 0..cases() / 4 {
        let rng = &mut Random::new(seed);
        let mut batch = java[rng.below(java.len())].to_vec();
        if rng.chance(3) {
            // The same records without compression.
            let body = Records::open(&batch, CAP).unwrap().body()[..400].to_vec();
            batch.truncate(61);
            batch.extend(body);
            batch[22] = 0;
        }
        let mut tail = batch.split_off(61 - 4);
        damage(&mut tail, rng);
        batch.extend(tail);
        let length = u32::try_from(batch.len().max(61) - 12).unwrap();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        // With the right CRC the damage reaches the edit.
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        let peak = measured(|| {
            let _ = crc_matches(&batch);
            edit_records(&batch);
            let _ = control_type(&batch[batch.len().min(61)..]);
            if let Ok(records) = Records::open(&batch, CAP) {
                for record in records.iter().map_while(Result::ok) {
                    assert!(record.headers().count() <= batch.len() + CAP);
                }
            }
        });
        let allowed = 3 * CAP + DECOMPRESSOR_BYTES;
        assert!(peak <= allowed, "seed {seed}: {peak}");
    }
}

/// A damaged batch is left alone, or edited into one that opens.
fn edit_records(batch: &[u8]) {
    let limits = EditLimits {
        body_bytes: CAP,
        batch_bytes: CAP,
    };
    let edited = append_headers(batch, limits, |_, _, new| {
        new.push("traceparent", &[b'0'; 55])
    });
    if let Ok(edited) = edited {
        assert_eq!(crc_matches(&edited), Ok(true));
        let records = Records::open(&edited, 2 * CAP).unwrap();
        let count = records.header().record_count;
        assert_eq!(
            records.iter().map_while(Result::ok).count(),
            usize::try_from(count).unwrap()
        );
    }
}

#[test]
fn noise_is_refused_by_every_decompressor() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for seed in 0..cases() / 4 {
        let rng = &mut Random::new(seed);
        let codec = codecs[rng.below(codecs.len())];
        let mut bytes: Vec<u8> = match codec {
            Codec::Gzip => vec![0x1f, 0x8b, 8, 0],
            Codec::Snappy if rng.chance(2) => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec(),
            Codec::Lz4 => vec![0x04, 0x22, 0x4d, 0x18],
            Codec::Zstd => vec![0x28, 0xb5, 0x2f, 0xfd],
            _ => vec![],
        };
        bytes.extend(rng.bytes(120));
        let peak = measured(|| {
            if let Ok(out) = decompress(codec, &bytes, CAP) {
                assert!(out.len() <= CAP);
            }
        });
        assert!(
            peak <= 3 * CAP + DECOMPRESSOR_BYTES,
            "{codec:?} seed {seed}: {peak}"
        );
    }
}
