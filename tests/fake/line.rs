//! Produce requests between a scripted client and a scripted broker, and what the proxy in between makes of their records.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    messages::{
        ProduceRequest, ProduceResponse, TopicName,
        produce_request::{PartitionProduceData, TopicProduceData},
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Decodable, StrBytes},
    records::{
        Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
        TimestampType,
    },
};
use throughline::{
    event::{EventKind, Facts, Injection, ProducedPart, PublishOutcome},
    kafka::proxy::settings::{InjectSettings, TopicMode},
    propagation::Evidence,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{DEADLINE, Rig, encode, request, response, rig_that, until};

pub const VERSION: i16 = 9;
pub const CONTEXT: [&str; 3] = ["traceparent", "tracestate", "correlation-id"];

/// A client, the broker's end of its connection, and the proxy between them.
pub struct Line {
    pub rig: Rig,
    pub listener: TcpListener,
    pub client: TcpStream,
    pub broker: TcpStream,
}

impl Line {
    pub async fn new() -> Self {
        Self::with(InjectSettings::default()).await
    }

    pub async fn with(inject: InjectSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rig = rig_that(listener.local_addr().unwrap(), TopicMode::Inject, inject);
        let (client, broker) = connect(&rig, &listener).await;
        Self {
            rig,
            listener,
            client,
            broker,
        }
    }

    /// Another connection of the same program.
    pub async fn reconnect(&mut self) {
        (self.client, self.broker) = connect(&self.rig, &self.listener).await;
    }

    pub async fn send(&mut self, id: i32, body: &ProduceRequest) {
        let frame = request(0, VERSION, id, "app", 2, &encode(body, VERSION));
        self.client.write_all(&frame).await.unwrap();
    }

    /// The next request at the broker: correlation id and body.
    pub async fn received(&mut self) -> (i32, ProduceRequest) {
        let frame = read_frame(&mut self.broker).await;
        let id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        // Behind client id "app" and an empty tagged section.
        let body = ProduceRequest::decode(&mut Bytes::copy_from_slice(&frame[14..]), VERSION);
        (id, body.unwrap())
    }

    pub async fn nothing_at_the_broker(&mut self) {
        let mut byte = [0];
        let waited = timeout(Duration::from_millis(50), self.broker.peek(&mut byte)).await;
        assert!(waited.is_err(), "something came: {waited:?}");
    }

    pub async fn answer(&mut self, id: i32, results: &[(&str, i32, i16)]) {
        let frame = response(id, true, &encode(&answer_of(results), VERSION));
        self.broker.write_all(&frame).await.unwrap();
    }

    /// What the client is told: correlation id and (topic, partition, error, base offset).
    pub async fn answered(&mut self) -> (i32, Vec<(String, i32, i16, i64)>) {
        let frame = read_frame(&mut self.client).await;
        let id = i32::from_be_bytes(frame[..4].try_into().unwrap());
        let body = ProduceResponse::decode(&mut Bytes::copy_from_slice(&frame[5..]), VERSION);
        let topics = body.unwrap().responses.into_iter();
        let all = topics.flat_map(|topic| {
            let name = topic.name.to_string();
            let parts = topic.partition_responses.into_iter();
            parts.map(move |p| (name.clone(), p.index, p.error_code, p.base_offset))
        });
        (id, all.collect())
    }

    /// Sends a batch for a topic and lets the broker take it: it is proven then.
    pub async fn prove(&mut self, topic: &str, value_bytes: usize) {
        let body = produce(&[(topic, 0, batch(&[record("k", value_bytes)]))]);
        self.send(900, &body).await;
        let (id, _) = self.received().await;
        self.answer(id, &[(topic, 0, 0)]).await;
        self.answered().await;
    }

    pub async fn produced(&self, count: usize) -> Vec<Seen> {
        let seen = || {
            let events = self.rig.events.0.lock().unwrap();
            let parts = events.iter().filter_map(|event| match &event.kind {
                EventKind::Answered(answer) => match &answer.facts {
                    Facts::Produced(produced) => Some(&produced.parts),
                    _ => None,
                },
                _ => None,
            });
            parts.flatten().map(Seen::of).collect::<Vec<_>>()
        };
        until("the events", || seen().len() >= count).await;
        seen()
    }
}

#[derive(Debug, PartialEq)]
pub struct Seen {
    pub topic: String,
    pub injection: Injection,
    pub acknowledged: bool,
    /// Where its records come from, and how many.
    pub from: Vec<(Option<String>, Evidence, u64)>,
    /// A record is named whose trace is not recorded.
    pub unrecorded: bool,
}

impl Seen {
    fn of(part: &ProducedPart) -> Self {
        Self {
            topic: part.topic.to_string(),
            injection: part.injection,
            acknowledged: matches!(part.outcome, PublishOutcome::Acknowledged { .. }),
            unrecorded: part.unrecorded.is_some(),
            from: part
                .descent
                .iter()
                .map(|d| {
                    (
                        d.from.as_ref().map(ToString::to_string),
                        d.evidence,
                        d.records,
                    )
                })
                .collect(),
        }
    }
}

pub fn injected(records: u64) -> Injection {
    Injection {
        records,
        ..Injection::default()
    }
}

pub fn skipped(reason: &'static str) -> Injection {
    Injection {
        skipped: Some(reason),
        ..Injection::default()
    }
}

pub async fn connect(rig: &Rig, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(rig.address).await.unwrap();
    let (broker, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    (client, broker)
}

pub async fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let read = async {
        let mut length = [0; 4];
        socket.read_exact(&mut length).await.expect("a frame");
        let mut content = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        socket.read_exact(&mut content).await.expect("its body");
        content
    };
    timeout(DEADLINE, read).await.expect("a frame in time")
}

pub fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

pub fn record(key: &str, value_bytes: usize) -> Record {
    Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_795_000_000_000,
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::from(vec![b'v'; value_bytes])),
        headers: IndexMap::new(),
    }
}

/// A record of an idempotent producer.
pub fn sequenced(sequence: i32) -> Record {
    Record {
        producer_id: 4_000,
        producer_epoch: 0,
        sequence,
        ..record("k", 10)
    }
}

pub fn with_header(mut record: Record, key: &str, value: &str) -> Record {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let key = StrBytes::from_string(key.to_owned());
    record.headers.insert(key, Some(value));
    record
}

/// Codec number of the wire.
pub const ZSTD: u8 = 4;
pub const LZ4: u8 = 3;

pub fn batch(records: &[Record]) -> Bytes {
    let mut out = BytesMut::new();
    let records: Vec<Record> = (0i64..)
        .zip(records)
        .map(|(offset, r)| {
            let mut record = r.clone();
            record.offset = offset;
            if record.producer_id < 0 {
                // What the encoder takes for one batch: the base is -1, the others follow.
                record.sequence = i32::try_from(offset).unwrap() - 1;
            }
            record
        })
        .collect();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, &records, &options).unwrap();
    out.freeze()
}

/// The same batch with its records compressed.
pub fn packed(records: &[Record]) -> Bytes {
    let plain = batch(records);
    let packed = zstd::bulk::compress(&plain[61..], 3).unwrap();
    with_body(&plain, ZSTD, &packed)
}

/// The same with lz4.
pub fn lz4(records: &[Record]) -> Bytes {
    let plain = batch(records);
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, &plain[61..]).unwrap();
    with_body(&plain, LZ4, &encoder.finish().unwrap())
}

pub fn with_body(batch: &[u8], codec: u8, body: &[u8]) -> Bytes {
    let mut out = [&batch[..61], body].concat();
    let length = i32::try_from(out.len() - 12).unwrap();
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[22] = out[22] & !7 | codec;
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(out)
}

pub fn produce(parts: &[(&str, i32, Bytes)]) -> ProduceRequest {
    let mut body = ProduceRequest::default();
    body.acks = -1;
    body.timeout_ms = 30_000;
    for (topic, partition, records) in parts {
        let mut data = PartitionProduceData::default();
        data.index = *partition;
        data.records = Some(records.clone());
        let mut of_topic = TopicProduceData::default();
        of_topic.name = name(topic);
        of_topic.partition_data.push(data);
        match body.topic_data.iter_mut().find(|t| t.name == of_topic.name) {
            Some(known) => known.partition_data.append(&mut of_topic.partition_data),
            None => body.topic_data.push(of_topic),
        }
    }
    body
}

pub fn answer_of(results: &[(&str, i32, i16)]) -> ProduceResponse {
    let mut body = ProduceResponse::default();
    for (topic, partition, error) in results {
        let mut part = PartitionProduceResponse::default();
        part.index = *partition;
        part.error_code = *error;
        part.base_offset = if *error == 0 { 70 } else { -1 };
        part.log_append_time_ms = -1;
        let mut of_topic = TopicProduceResponse::default();
        of_topic.name = name(topic);
        of_topic.partition_responses.push(part);
        body.responses.push(of_topic);
    }
    body
}

/// The records of one partition of a request.
pub fn records_of(body: &ProduceRequest, topic: &str, partition: i32) -> Vec<Record> {
    let mut records = raw_records_of(body, topic, partition);
    if records[22] & 7 == ZSTD {
        let plain = zstd::bulk::decompress(&records[61..], 1 << 20).unwrap();
        records = with_body(&records, 0, &plain);
    }
    RecordBatchDecoder::decode(&mut records).unwrap().records
}

pub fn raw_records_of(body: &ProduceRequest, topic: &str, partition: i32) -> Bytes {
    let found = body.topic_data.iter().find(|t| t.name == name(topic));
    let partitions = &found.expect("the topic").partition_data;
    let found = partitions.iter().find(|p| p.index == partition);
    found.expect("the partition").records.clone().unwrap()
}

pub fn header_keys(record: &Record) -> Vec<&str> {
    record.headers.keys().map(|key| key.as_str()).collect()
}

pub fn header(record: &Record, key: &str) -> String {
    let value = record.headers[key.as_bytes()].as_ref().expect("a value");
    String::from_utf8(value.to_vec()).unwrap()
}
