//! Records, against batches written by Kafka's own Java client and by the `kafka-protocol` crate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    protocol::StrBytes,
    records::{
        Compression, Record as TheirRecord, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
    },
};
use support::schemas::Random;
use throughline::{
    event::Codec,
    kafka::wire::{
        compression,
        error::DecodeErrorKind,
        record::{Header, Record, Records, crc_matches},
    },
};

fn headers<'r>(record: &Record<'r>) -> Vec<(&'r [u8], Option<&'r [u8]>)> {
    record
        .headers()
        .map(|h| h.map(|Header { key, value }| (key, value)).unwrap())
        .collect()
}

/// Written once by `MemoryRecordsBuilder` of kafka-clients 4.4.0: three records of a transactional producer; the first has
/// a doubled header key and an empty one, the second is a tombstone without key and earlier than the first, the third holds
/// 70,000 bytes, more than one snappy block.
const JAVA: [(Codec, &[u8]); 4] = [
    (Codec::Gzip, include_bytes!("fixtures/batch-gzip.bin")),
    (Codec::Snappy, include_bytes!("fixtures/batch-snappy.bin")),
    (Codec::Lz4, include_bytes!("fixtures/batch-lz4.bin")),
    (Codec::Zstd, include_bytes!("fixtures/batch-zstd.bin")),
];

#[test]
fn batches_of_the_java_client_open_with_every_codec() {
    for (codec, batch) in JAVA {
        assert_eq!(crc_matches(batch), Ok(true), "{codec:?}");
        let records = Records::open(batch, 1 << 20).unwrap();
        let header = records.header();
        assert_eq!(compression::codec(header.codec()), codec);
        assert_eq!((header.base_offset, header.producer_id), (42, 7));
        assert!(header.is_transactional());
        let all: Vec<_> = records.iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(
            (all[0].key, all[0].value),
            (Some(&b"k0"[..]), Some(&b"v0"[..]))
        );
        assert_eq!(
            headers(&all[0]),
            [(&b"a"[..], Some(&b"1"[..])), (b"a", None), (b"", Some(b""))]
        );
        assert_eq!((all[1].key, all[1].value), (None, None));
        assert_eq!((all[1].timestamp_delta, all[1].offset_delta), (-1, 1));
        assert_eq!(all[2].key, Some(&b""[..]));
        assert_eq!(all[2].value.map(<[u8]>::len), Some(70_000));
        assert_eq!(all[2].timestamp_delta, 500);
        assert_eq!(all[2].at.end, records.body().len());
    }
}

#[test]
fn a_cap_below_the_body_is_a_limit_fault() {
    for (codec, batch) in JAVA {
        let fault = Records::open(batch, 60_000).unwrap_err();
        assert_eq!(fault.kind, DecodeErrorKind::Limit, "{codec:?}");
    }
}

fn drawn(rng: &mut Random, offset: i64) -> TheirRecord {
    let maybe = |rng: &mut Random, max| (!rng.chance(4)).then(|| Bytes::from(rng.bytes(max)));
    let mut headers = IndexMap::new();
    for _ in 0..rng.below(4) {
        headers.insert(StrBytes::from_string(rng.text(20)), maybe(rng, 30));
    }
    TheirRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: 5,
        producer_epoch: 1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).unwrap(),
        timestamp: 1_000_000 + i64::try_from(rng.below(5_000)).unwrap(),
        key: maybe(rng, 200),
        value: maybe(rng, 2_000),
        headers,
    }
}

#[test]
fn random_records_read_as_the_crate_writes_them() {
    for seed in 0..200 {
        let rng = &mut Random::new(seed);
        let count = i64::try_from(1 + rng.below(20)).unwrap();
        let theirs: Vec<_> = (0..count).map(|offset| drawn(rng, offset)).collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        RecordBatchEncoder::encode(&mut batch, &theirs, &options).unwrap();
        assert_eq!(crc_matches(&batch), Ok(true));
        let records = Records::open(&batch, 0).unwrap();
        assert_eq!(records.iter().count(), theirs.len());
        let mut at = 0;
        for (ours, theirs) in records.iter().zip(&theirs) {
            let ours = ours.unwrap();
            let header = records.header();
            assert_eq!(
                header.base_offset + i64::from(ours.offset_delta),
                theirs.offset
            );
            assert_eq!(
                header.base_timestamp + ours.timestamp_delta,
                theirs.timestamp
            );
            assert_eq!(ours.key, theirs.key.as_deref());
            assert_eq!(ours.value, theirs.value.as_deref());
            let expected: Vec<_> = theirs
                .headers
                .iter()
                .map(|(k, v)| (k.as_bytes(), v.as_deref()))
                .collect();
            assert_eq!(headers(&ours), expected);
            assert_eq!(ours.at.start, at);
            at = ours.at.end;
        }
    }
}
