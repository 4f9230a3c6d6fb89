//! Appended headers: everything else stays, by our decoder, by the `kafka-protocol` crate and by Kafka's own Java classes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Write;

use base64_of::base64;
use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Value, json};
use support::clients::Client;
use throughline::kafka::wire::{
    batch::BatchHeader,
    edit::{EditLimits, NewHeaders, Untouched, append_headers},
    record::{Record, Records, crc_matches},
};

const LIMITS: EditLimits = EditLimits {
    body_bytes: 8 << 20,
    batch_bytes: 8 << 20,
};

/// Standard base64, as the Java program prints bytes.
mod base64_of {
    pub(crate) fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let mut three = [0; 3];
            three[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for place in 0..4 {
                if place <= chunk.len() {
                    let index = (bits >> (18 - 6 * place)) & 0x3f;
                    out.push(char::from(ALPHABET[index as usize]));
                } else {
                    out.push('=');
                }
            }
        }
        out
    }
}

/// How the records of a batch are packed: the wire's codec number, and for snappy the framing.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Packing {
    None,
    Gzip,
    SnappyRaw,
    SnappyXerial,
    Lz4,
    Zstd,
}

const PACKINGS: [Packing; 6] = [
    Packing::None,
    Packing::Gzip,
    Packing::SnappyRaw,
    Packing::SnappyXerial,
    Packing::Lz4,
    Packing::Zstd,
];

impl Packing {
    fn codec(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::SnappyRaw | Self::SnappyXerial => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    fn pack(self, body: &[u8]) -> Vec<u8> {
        match self {
            Self::None => body.to_vec(),
            Self::Gzip => {
                let best = flate2::Compression::best();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), best);
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Self::SnappyRaw => snap::raw::Encoder::new().compress_vec(body).unwrap(),
            Self::SnappyXerial => {
                let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
                for block in body.chunks(1000) {
                    let packed = Self::SnappyRaw.pack(block);
                    out.extend(u32::try_from(packed.len()).unwrap().to_be_bytes());
                    out.extend(packed);
                }
                out
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(body).unwrap();
                encoder.finish().unwrap()
            }
            Self::Zstd => zstd::bulk::compress(body, 3).unwrap(),
        }
    }
}

type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Clone)]
struct Row {
    timestamp_delta: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

#[derive(Debug, Clone)]
struct Batch {
    packing: Packing,
    /// Attribute bits beside the codec: LogAppendTime, transactional, delete horizon.
    bits: i16,
    producer: (i64, i16, i32),
    base_offset: i64,
    rows: Vec<Row>,
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, bytes.len() as i64);
            out.extend(bytes);
        }
    }
}

impl Batch {
    fn body(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            let mut record = vec![0];
            varint(&mut record, row.timestamp_delta);
            varint(&mut record, at as i64);
            nullable(&mut record, row.key.as_deref());
            nullable(&mut record, row.value.as_deref());
            varint(&mut record, row.headers.len() as i64);
            for (key, value) in &row.headers {
                nullable(&mut record, Some(key));
                nullable(&mut record, value.as_deref());
            }
            varint(&mut body, record.len() as i64);
            body.extend(record);
        }
        body
    }

    fn bytes(&self) -> Vec<u8> {
        self.with_body(&self.body(), self.rows.len())
    }

    /// The batch around these uncompressed records.
    fn with_body(&self, body: &[u8], count: usize) -> Vec<u8> {
        const BASE_MS: i64 = 1_700_000_000_000;
        let latest = self.rows.iter().map(|r| r.timestamp_delta).max();
        let mut covered = (self.packing.codec() | self.bits).to_be_bytes().to_vec();
        covered.extend((count as i32 - 1).max(0).to_be_bytes());
        covered.extend(BASE_MS.to_be_bytes());
        covered.extend((BASE_MS + latest.unwrap_or(0)).to_be_bytes());
        covered.extend(self.producer.0.to_be_bytes());
        covered.extend(self.producer.1.to_be_bytes());
        covered.extend(self.producer.2.to_be_bytes());
        covered.extend((count as i32).to_be_bytes());
        covered.extend(self.packing.pack(body));
        let mut out = self.base_offset.to_be_bytes().to_vec();
        out.extend((covered.len() as i32 + 9).to_be_bytes());
        out.extend(7i32.to_be_bytes());
        out.push(2);
        out.extend(crc32c::crc32c(&covered).to_be_bytes());
        out.extend(covered);
        out
    }
}

fn row() -> impl Strategy<Value = Row> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    // Few names, so that keys repeat; all are UTF-8, because Kafka's Java classes cannot say otherwise.
    let name = prop::sample::select(vec!["", "a", "seq", "größe", "traceparent", "b3"]);
    let header = (name, prop::option::of(bytes(200)));
    (
        -1_000..100_000i64,
        prop::option::of(bytes(70)),
        prop::option::of(prop_oneof![4 => bytes(100), 1 => bytes(20_000)]),
        prop::collection::vec(header, 0..6),
    )
        .prop_map(|(timestamp_delta, key, value, headers)| Row {
            timestamp_delta,
            key,
            value,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value))
                .collect(),
        })
}

fn batch() -> impl Strategy<Value = Batch> {
    let producers =
        prop::sample::select(vec![(-1, -1, -1), (0, 0, 0), (i64::MAX, 3, i32::MAX - 2)]);
    (
        prop::sample::select(PACKINGS.to_vec()),
        prop::sample::select(vec![0, 0x08, 0x10, 0x40, 0x18]),
        producers,
        prop::sample::select(vec![0, 1, 1 << 40]),
        prop::collection::vec(row(), 1..40),
    )
        .prop_map(|(packing, bits, producer, base_offset, rows)| Batch {
            packing,
            // A transactional batch has a producer.
            bits: if producer.0 < 0 { bits & !0x10 } else { bits },
            producer,
            base_offset,
            rows,
        })
}

/// What is added to record `i`: nothing to every seventh, two headers to the rest, one of them long now and then.
fn added(i: usize) -> Headers {
    if i % 7 == 6 {
        return Vec::new();
    }
    let id = format!("00-{i:032x}-{i:016x}-01");
    let state = "x".repeat(if i.is_multiple_of(5) { 300 } else { 20 });
    vec![
        (b"traceparent".to_vec(), Some(id.into_bytes())),
        (b"tracestate".to_vec(), Some(state.into_bytes())),
    ]
}

fn edit(bytes: &[u8], limits: EditLimits) -> Result<Vec<u8>, Untouched> {
    let mut i = 0;
    append_headers(bytes, limits, |_, _: &Record<'_>, new: &mut NewHeaders| {
        for (key, value) in added(i) {
            new.push(str::from_utf8(&key).unwrap(), &value.unwrap());
        }
        i += 1;
    })
}

/// The batch that the edit should make, written from nothing.
fn expected(batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    for (i, row) in batch.rows.iter_mut().enumerate() {
        row.headers.extend(added(i));
    }
    batch
}

fn rows(bytes: &[u8]) -> Vec<(i64, i32, Row)> {
    let records = Records::open(bytes, usize::MAX).unwrap();
    let one = |record: Record<'_>| {
        let headers = record.headers().map(Result::unwrap);
        let row = Row {
            timestamp_delta: record.timestamp_delta,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)))
                .collect(),
        };
        (record.timestamp_delta, record.offset_delta, row)
    };
    records.iter().map(Result::unwrap).map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn only_headers_are_added(batch in batch()) {
        let original = batch.bytes();
        let edited = match edit(&original, LIMITS) {
            Ok(edited) => edited,
            Err(reason) => panic!("{reason}"),
        };
        prop_assert_eq!(crc_matches(&edited), Ok(true));
        let wanted = expected(&batch);
        prop_assert_eq!(format!("{:?}", rows(&edited)), format!("{:?}", rows(&wanted.bytes())));
        if batch.packing == Packing::None {
            prop_assert_eq!(&edited, &wanted.bytes(), "an uncompressed batch is what its producer would have written");
        }
        let (before, after) = (BatchHeader::read(&original).unwrap(), BatchHeader::read(&edited).unwrap());
        prop_assert_eq!(after.total_bytes(), edited.len());
        let same = BatchHeader { batch_length: before.batch_length, crc: before.crc, ..after };
        prop_assert_eq!(same, before);
        if batch.packing == Packing::SnappyXerial {
            prop_assert!(edited[61..].starts_with(b"\x82SNAPPY\0"));
        }
        if batch.packing == Packing::None {
            agrees_with_the_crate(&original, &edited)?;
        }
    }

    /// Whatever is inside a valid CRC: an edit or a refusal, and what was edited still decodes.
    #[test]
    fn records_that_lie_are_refused_or_edited_whole(
        batch in batch(),
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        count in 0..60usize,
    ) {
        let mut body = batch.body();
        let at = at.index(body.len());
        body[at] = with;
        let original = batch.with_body(&body, count);
        if let Ok(edited) = edit(&original, LIMITS) {
            prop_assert_eq!(crc_matches(&edited), Ok(true));
            prop_assert_eq!(rows(&edited).len(), count);
        }
    }

    /// Any change of any byte of a batch is seen by its CRC, or leaves a batch of another shape alone.
    #[test]
    fn damaged_batches_are_never_edited(
        batch in batch(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut original = batch.bytes();
        // Base offset and leader epoch are outside the CRC: brokers write them.
        let at = at.index(original.len());
        original[at] ^= 1 << bit;
        let outside = at < 8 || (12..16).contains(&at);
        prop_assert_eq!(edit(&original, LIMITS).is_ok(), outside);
    }
}

/// The crate opens no compressed batch here and folds headers of one name into the last; apart from that it must read the edited batch as ours reads it.
fn agrees_with_the_crate(original: &[u8], edited: &[u8]) -> Result<(), TestCaseError> {
    let decode = |bytes: &[u8]| {
        let mut bytes = Bytes::copy_from_slice(bytes);
        RecordBatchDecoder::decode(&mut bytes).unwrap().records
    };
    let (before, after) = (decode(original), decode(edited));
    prop_assert_eq!(before.len(), after.len());
    for (i, (mut before, mut after)) in before.into_iter().zip(after).enumerate() {
        for (key, value) in added(i) {
            let key = str::from_utf8(&key).unwrap().to_owned();
            before.headers.insert(key.into(), value.map(Bytes::from));
        }
        // Its map compares in any order of keys.
        let (ours, theirs) = (
            std::mem::take(&mut before.headers),
            std::mem::take(&mut after.headers),
        );
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }
    Ok(())
}

/// 600 batches, before and after, through `MemoryRecords` and `ProduceRequest.validateRecords` of kafka-clients 4.4.0.
#[test]
fn the_java_classes_read_the_same_records_and_the_new_headers() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = batch();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut batches = Vec::new();
    for _ in 0..600 {
        let batch = strategy.new_tree(&mut runner).unwrap().current();
        let original = batch.bytes();
        file.write_all(&original).unwrap();
        file.write_all(&edit(&original, LIMITS).unwrap()).unwrap();
        batches.push(batch);
    }
    file.flush().unwrap();
    let path = file.path().to_str().unwrap();
    let output = Client::Java.run(&["decode", "--file", path]);
    let lines: Vec<&Value> = output.of_type("batch").collect();
    assert_eq!(lines.len(), 2 * batches.len());
    for (batch, pair) in batches.iter().zip(lines.chunks(2)) {
        let (before, after) = (pair[0], pair[1]);
        assert_eq!(before["count"], json!(batch.rows.len()));
        let mut wanted = before.clone();
        let records = wanted["records"].as_array_mut().unwrap();
        assert_eq!(records.len(), batch.rows.len());
        for (i, record) in records.iter_mut().enumerate() {
            let headers = record[5].as_array_mut().unwrap();
            assert_eq!(headers.len(), batch.rows[i].headers.len());
            for (key, value) in added(i) {
                headers.push(json!([
                    str::from_utf8(&key).unwrap(),
                    base64(&value.unwrap())
                ]));
            }
        }
        assert_eq!(&wanted, after, "{batch:?}");
    }
}

fn plain(rows: Vec<Row>) -> Batch {
    Batch {
        packing: Packing::None,
        bits: 0,
        producer: (-1, -1, -1),
        base_offset: 0,
        rows,
    }
}

fn simple() -> Row {
    Row {
        timestamp_delta: 0,
        key: None,
        value: Some(vec![b'v'; 100]),
        headers: Vec::new(),
    }
}

#[test]
fn headers_of_any_bytes_in_any_number_stay() {
    let row = Row {
        headers: vec![
            (vec![0xff, 0xfe], None),
            (vec![0xff, 0xfe], Some(vec![0])),
            (Vec::new(), Some(Vec::new())),
        ],
        ..simple()
    };
    // 10,000 headers on one record; 63 and 64 are where the count grows by a byte.
    for count in [0, 1, 63, 64, 8191, 8192, 10_000] {
        let many = Row {
            headers: vec![(b"n".to_vec(), Some(vec![1])); count],
            ..simple()
        };
        for packing in PACKINGS {
            let batch = Batch {
                packing,
                ..plain(vec![row.clone(), many.clone()])
            };
            let edited = edit(&batch.bytes(), LIMITS).unwrap();
            let wanted = expected(&batch);
            assert_eq!(
                format!("{:?}", rows(&edited)),
                format!("{:?}", rows(&wanted.bytes()))
            );
        }
    }
}

#[test]
fn what_must_stay_as_it_is_stays_and_says_why() {
    let good = plain(vec![simple(); 3]);
    let control = Batch {
        bits: 0x30,
        producer: (1, 0, -1),
        ..good.clone()
    };
    assert_eq!(edit(&control.bytes(), LIMITS), Err(Untouched::Control));
    let empty = good.with_body(&[], 0);
    assert_eq!(edit(&empty, LIMITS), Err(Untouched::Empty));
    let mut old = good.bytes();
    old[16] = 1;
    assert_eq!(edit(&old, LIMITS), Err(Untouched::OldFormat));
    let mut damaged = good.bytes();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(edit(&damaged, LIMITS), Err(Untouched::Crc));
    let unknown = Batch {
        bits: 0x05,
        ..good.clone()
    };
    assert_eq!(edit(&unknown.bytes(), LIMITS), Err(Untouched::UnknownCodec));
    let two = [good.bytes(), good.bytes()].concat();
    assert!(matches!(edit(&two, LIMITS), Err(Untouched::Malformed(_))));
    assert!(matches!(
        edit(&good.bytes()[..200], LIMITS),
        Err(Untouched::Malformed(_))
    ));
    for count in [2, 4] {
        let lies = good.with_body(&good.body(), count);
        assert!(
            matches!(edit(&lies, LIMITS), Err(Untouched::Malformed(_))),
            "{count}"
        );
    }
    let untouched = append_headers(&good.bytes(), LIMITS, |_, _, _| {});
    assert_eq!(untouched, Err(Untouched::NothingToAdd));
}

#[test]
fn limits_are_met_to_the_byte() {
    for packing in PACKINGS {
        let batch = Batch {
            packing,
            ..plain(vec![simple(); 50])
        };
        let original = batch.bytes();
        let edited = edit(&original, LIMITS).unwrap();
        let body = expected(&batch).body().len();
        let exact = EditLimits {
            body_bytes: body,
            batch_bytes: edited.len(),
        };
        assert_eq!(
            edit(&original, exact).as_deref(),
            Ok(&*edited),
            "{packing:?}"
        );
        for tight in [
            EditLimits {
                body_bytes: body - 1,
                ..exact
            },
            EditLimits {
                batch_bytes: edited.len() - 1,
                ..exact
            },
        ] {
            assert_eq!(
                edit(&original, tight),
                Err(Untouched::TooLarge),
                "{packing:?}"
            );
        }
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let zeros = Row {
        value: Some(vec![0; 64 << 20]),
        ..simple()
    };
    for packing in [Packing::Gzip, Packing::Lz4, Packing::Zstd] {
        let bomb = Batch {
            packing,
            ..plain(vec![zeros.clone()])
        }
        .bytes();
        assert!(bomb.len() < 1 << 20, "{packing:?}");
        assert_eq!(edit(&bomb, LIMITS), Err(Untouched::TooLarge), "{packing:?}");
    }
}

/// A retry that is edited again must carry the same bytes, or the broker would keep one and the sidecar speak of the other.
#[test]
fn the_same_edit_gives_the_same_bytes() {
    for packing in PACKINGS {
        let original = Batch {
            packing,
            ..plain(vec![simple(); 200])
        }
        .bytes();
        assert_eq!(edit(&original, LIMITS), edit(&original, LIMITS));
    }
}
