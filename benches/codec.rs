//! What reading costs: a Fetch response of records through the scanner, a request header, a Metadata reply with new addresses.
//! And what appending three headers to every record of a batch costs, by codec; what giving each a context costs, and what
//! remembering it when it is delivered.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::io::Write;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::{
    messages::{
        BrokerId, FetchResponse, MetadataResponse, TopicName, fetch_response, metadata_response,
    },
    protocol::{Encodable, StrBytes},
};
use throughline::kafka::wire::{
    batch::BatchHeader,
    edit::{EditLimits, append_headers},
    endpoints,
    frame::request_header,
    reader::TopicRef,
    record::{ControlType, Records},
    scan::{Head, Message, PartitionHead, Scanner, Sink},
    splice,
};
use throughline::{
    lineage::{Delivered, Deliveries, Settings},
    propagation::{
        Carried, CorrelationNames, Evidence, HeaderChoice, IdSource, NewContext, SENT_MEMBER,
        Sampling, Sent, Traceparent,
    },
};
use tokio::time::Instant;

/// Counts records and nothing else.
#[derive(Default)]
struct Count(i64);

impl Sink for Count {
    fn head(&mut self, _: Head) {}
    fn topic(&mut self, _: TopicRef<'_>) {}
    fn partition(&mut self, _: PartitionHead) {}
    fn aborted(&mut self, _: i64, _: i64) {}
    fn batch(&mut self, header: &BatchHeader, _: Option<ControlType>) -> bool {
        self.0 += i64::from(header.record_count);
        false
    }
    fn batch_bytes(&mut self, _: &[u8]) {}
    fn batch_end(&mut self) {}
    fn old_format(&mut self, _: usize) {}
    fn cut_off(&mut self, _: bool) {}
    fn acquired(&mut self, _: i64, _: i64, _: i16) {}
    fn partition_end(&mut self) {}
}

fn batch(base_offset: i64, body: usize) -> Vec<u8> {
    let mut out = base_offset.to_be_bytes().to_vec();
    out.extend(i32::try_from(49 + body).unwrap().to_be_bytes());
    out.extend([0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    out.extend(9i32.to_be_bytes());
    out.extend([0; 16]);
    out.extend([0xff; 14]);
    out.extend(10i32.to_be_bytes());
    out.resize(out.len() + body, b'x');
    out
}

fn fetch(batches: usize, body: usize) -> Vec<u8> {
    let mut part = fetch_response::PartitionData::default();
    let records = (0..batches).flat_map(|i| batch(i64::try_from(i).unwrap() * 10, body));
    part.records = Some(records.collect::<Vec<u8>>().into());
    let mut topic = fetch_response::FetchableTopicResponse::default();
    topic.topic = TopicName(StrBytes::from_static_str("orders"));
    topic.partitions = vec![part];
    let mut response = FetchResponse::default();
    response.responses = vec![topic];
    let mut out = bytes::BytesMut::new();
    response.encode(&mut out, 12).unwrap();
    out.to_vec()
}

fn scanning(c: &mut Criterion) {
    for (name, batches, body) in [
        ("64 batches of 16 KiB", 64, 16_000),
        ("4096 batches of 256 B", 4_096, 195),
    ] {
        let body = fetch(batches, body);
        let mut group = c.benchmark_group("scan a Fetch response");
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut sink = Count::default();
                let mut scanner = Scanner::new(Message::FetchResponse, 12);
                for chunk in body.chunks(64 * 1024) {
                    scanner.feed(chunk, &mut sink).unwrap();
                }
                sink.0
            });
        });
        group.finish();
    }
}

fn headers(c: &mut Criterion) {
    let bytes = b"\x00\x01\x00\x0c\x00\x00\x00\x07\x00\x0bconsumer-1a\x00";
    c.bench_function("request header", |b| {
        b.iter(|| request_header(std::hint::black_box(bytes)).unwrap())
    });
}

fn addresses(c: &mut Criterion) {
    let mut metadata = MetadataResponse::default();
    for node in 0..3 {
        let mut broker = metadata_response::MetadataResponseBroker::default();
        (broker.node_id, broker.port) = (BrokerId(node), 9092);
        broker.host = StrBytes::from_static_str("kafka-0.kafka.svc.cluster.local");
        metadata.brokers.push(broker);
    }
    let mut topic = metadata_response::MetadataResponseTopic::default();
    topic.name = Some(TopicName(StrBytes::from_static_str("orders")));
    for index in 0..2_000 {
        let mut partition = metadata_response::MetadataResponsePartition::default();
        partition.partition_index = index;
        topic.partitions.push(partition);
    }
    metadata.topics = vec![topic];
    let mut body = bytes::BytesMut::new();
    metadata.encode(&mut body, 12).unwrap();
    c.bench_function(
        "new addresses in a Metadata reply of 2,000 partitions",
        |b| {
            b.iter(|| {
                let seen = endpoints::metadata(&body, 12).unwrap();
                let splices = seen.endpoints.splices(&mut |node, _, _| {
                    Some(("127.0.0.1".to_owned(), 9193 + u16::try_from(node).unwrap()))
                });
                splice::apply(&body, &splices).unwrap().len()
            });
        },
    );
}

/// A batch of `count` records of 100 bytes that do not compress to nothing, uncompressed.
fn records(count: i32) -> Vec<u8> {
    let mut batch = batch(0, 0);
    for i in 0..count {
        let mut record = vec![0, 0];
        splice::put_varint(&mut record, i);
        record.push(1);
        splice::put_varint(&mut record, 100);
        record.extend((0..100).map(|j| (i * 31 + j * j) as u8));
        record.push(0);
        splice::put_varint(&mut batch, i32::try_from(record.len()).unwrap());
        batch.extend(record);
    }
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    sealed(batch)
}

fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn packed(batch: &[u8], codec: u8) -> Vec<u8> {
    let (header, body) = batch.split_at(61);
    let body = match codec {
        3 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(body).unwrap();
            encoder.finish().unwrap()
        }
        4 => zstd::bulk::compress(body, 3).unwrap(),
        _ => body.to_vec(),
    };
    let mut out = [header, &body].concat();
    out[22] = codec;
    sealed(out)
}

fn edits(c: &mut Criterion) {
    const COUNT: i32 = 1_000;
    let limits = EditLimits {
        body_bytes: 1 << 20,
        batch_bytes: 1 << 20,
    };
    let plain = records(COUNT);
    let mut group = c.benchmark_group("append three headers to 1000 records of 100 B");
    group.throughput(Throughput::Elements(u64::try_from(COUNT).unwrap()));
    for (name, codec) in [("none", 0), ("lz4", 3), ("zstd", 4)] {
        let batch = packed(&plain, codec);
        group.bench_function(name, |b| {
            b.iter(|| {
                append_headers(&batch, limits, |_, _, new| {
                    new.push("traceparent", &[b'0'; 55]);
                    new.push("tracestate", &[b'0'; 23]);
                    new.push("correlation-id", &[b'0'; 32]);
                })
                .unwrap()
            });
        });
    }
    group.finish();
}

/// As a sidecar that injects does it: the batch with a context on every record, as a producer's first attempt is given.
fn injected(plain: &[u8], limits: EditLimits, names: &CorrelationNames) -> Vec<u8> {
    let ids = IdSource::of_producer("cluster", "orders", 0, 1, 0, 0);
    let mut number = 0;
    append_headers(plain, limits, |_, record, new| {
        let (trace_id, span_id) = ids.pair(number);
        number += 1;
        let headers = record
            .headers()
            .map_while(|h| h.ok().map(|h| (h.key, h.value)));
        let carried = Carried::read(headers, names);
        let traceparent = Traceparent {
            trace_id,
            span_id,
            sampled: false,
            random: true,
        };
        let context = NewContext {
            traceparent,
            sent: Sent {
                at_ms: 1_700_000_000_000,
                parent: None,
                evidence: Evidence::Root,
            },
            sampling: Sampling::default(),
            inherited: None,
            correlation: None,
        };
        let push = |key: &str, value: &[u8]| new.push(key, value);
        HeaderChoice::Full.write(&carried, &context, Some(names), push);
    })
    .unwrap()
}

/// As a sidecar does it before a batch is delivered.
fn indexed(batch: &[u8], deliveries: &Deliveries, names: &CorrelationNames) {
    let records = Records::open(batch, 1 << 20).unwrap();
    let topic = "orders".into();
    let mut index = deliveries.batch(&topic, 0, Instant::now());
    for record in &records {
        let record = record.unwrap();
        let headers = record
            .headers()
            .map_while(|h| h.ok().map(|h| (h.key, h.value)));
        let carried = Carried::read(headers, names);
        let context = carried.traceparent.unwrap().unwrap();
        let sampling = carried.tracestate.member(Sampling::MEMBER);
        let inherited = carried.tracestate.without(&[SENT_MEMBER, Sampling::MEMBER]);
        index.add(&Delivered {
            offset: i64::from(record.offset_delta),
            key: record.key,
            context,
            threshold: sampling.map(Sampling::parse).and_then(|s| s.threshold),
            decided: true,
            correlation: carried.correlation_id,
            inherited: inherited.as_deref(),
            business: &[],
        });
    }
}

fn tracing(c: &mut Criterion) {
    const COUNT: i32 = 1_000;
    let limits = EditLimits {
        body_bytes: 1 << 20,
        batch_bytes: 1 << 20,
    };
    let plain = records(COUNT);
    let names = CorrelationNames::default();
    let mut group = c.benchmark_group("1000 records of 100 B");
    group.throughput(Throughput::Elements(u64::try_from(COUNT).unwrap()));
    group.bench_function("inject", |b| b.iter(|| injected(&plain, limits, &names)));
    let batch = injected(&plain, limits, &names);
    let deliveries = Deliveries::new(Settings::default());
    for _ in 0..140 {
        indexed(&batch, &deliveries, &names);
    }
    group.bench_function("index", |b| b.iter(|| indexed(&batch, &deliveries, &names)));
    group.finish();
}

criterion_group!(codec, scanning, headers, addresses, edits, tracing);
criterion_main!(codec);
