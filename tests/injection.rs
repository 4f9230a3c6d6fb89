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

use bytes::{Bytes, BytesMut};
use fake::{DEADLINE, Rig, encode, request, response, rig_that, until};
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
    propagation::{Carried, CorrelationNames, HeaderChoice, Sent, Traceparent},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

const VERSION: i16 = 9;
const NOT_LEADER: i16 = 6;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_RECORD: i16 = 87;
const CONTEXT: [&str; 3] = ["traceparent", "tracestate", "correlation-id"];

/// A client, the broker's end of its connection, and the proxy between them.
struct Line {
    rig: Rig,
    listener: TcpListener,
    client: TcpStream,
    broker: TcpStream,
}

impl Line {
    async fn new() -> Self {
        Self::with(InjectSettings::default()).await
    }

    async fn with(inject: InjectSettings) -> Self {
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
    async fn reconnect(&mut self) {
        (self.client, self.broker) = connect(&self.rig, &self.listener).await;
    }

    async fn send(&mut self, id: i32, body: &ProduceRequest) {
        let frame = request(0, VERSION, id, "app", 2, &encode(body, VERSION));
        self.client.write_all(&frame).await.unwrap();
    }

    /// The next request at the broker: correlation id and body.
    async fn received(&mut self) -> (i32, ProduceRequest) {
        let frame = read_frame(&mut self.broker).await;
        let id = i32::from_be_bytes(frame[4..8].try_into().unwrap());
        // Behind client id "app" and an empty tagged section.
        let body = ProduceRequest::decode(&mut Bytes::copy_from_slice(&frame[14..]), VERSION);
        (id, body.unwrap())
    }

    async fn nothing_at_the_broker(&mut self) {
        let mut byte = [0];
        let waited = timeout(Duration::from_millis(50), self.broker.peek(&mut byte)).await;
        assert!(waited.is_err(), "something came: {waited:?}");
    }

    async fn answer(&mut self, id: i32, results: &[(&str, i32, i16)]) {
        let frame = response(id, true, &encode(&answer_of(results), VERSION));
        self.broker.write_all(&frame).await.unwrap();
    }

    /// What the client is told: correlation id and (topic, partition, error, base offset).
    async fn answered(&mut self) -> (i32, Vec<(String, i32, i16, i64)>) {
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
    async fn prove(&mut self, topic: &str, value_bytes: usize) {
        let body = produce(&[(topic, 0, batch(&[record("k", value_bytes)]))]);
        self.send(900, &body).await;
        let (id, _) = self.received().await;
        self.answer(id, &[(topic, 0, 0)]).await;
        self.answered().await;
    }

    async fn produced(&self, count: usize) -> Vec<Seen> {
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
struct Seen {
    topic: String,
    injection: Injection,
    acknowledged: bool,
}

impl Seen {
    fn of(part: &ProducedPart) -> Self {
        Self {
            topic: part.topic.to_string(),
            injection: part.injection,
            acknowledged: matches!(part.outcome, PublishOutcome::Acknowledged { .. }),
        }
    }
}

fn injected(records: u64) -> Injection {
    Injection {
        records,
        ..Injection::default()
    }
}

fn skipped(reason: &'static str) -> Injection {
    Injection {
        skipped: Some(reason),
        ..Injection::default()
    }
}

async fn connect(rig: &Rig, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(rig.address).await.unwrap();
    let (broker, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    (client, broker)
}

async fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let read = async {
        let mut length = [0; 4];
        socket.read_exact(&mut length).await.expect("a frame");
        let mut content = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        socket.read_exact(&mut content).await.expect("its body");
        content
    };
    timeout(DEADLINE, read).await.expect("a frame in time")
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn record(key: &str, value_bytes: usize) -> Record {
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
fn sequenced(sequence: i32) -> Record {
    Record {
        producer_id: 4_000,
        producer_epoch: 0,
        sequence,
        ..record("k", 10)
    }
}

fn with_header(mut record: Record, key: &str, value: &str) -> Record {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let key = StrBytes::from_string(key.to_owned());
    record.headers.insert(key, Some(value));
    record
}

/// Codec number of the wire.
const ZSTD: u8 = 4;

fn batch(records: &[Record]) -> Bytes {
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
fn packed(records: &[Record]) -> Bytes {
    let plain = batch(records);
    let packed = zstd::bulk::compress(&plain[61..], 3).unwrap();
    with_body(&plain, ZSTD, &packed)
}

fn with_body(batch: &[u8], codec: u8, body: &[u8]) -> Bytes {
    let mut out = [&batch[..61], body].concat();
    let length = i32::try_from(out.len() - 12).unwrap();
    out[8..12].copy_from_slice(&length.to_be_bytes());
    out[22] = out[22] & !7 | codec;
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(out)
}

fn produce(parts: &[(&str, i32, Bytes)]) -> ProduceRequest {
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

fn answer_of(results: &[(&str, i32, i16)]) -> ProduceResponse {
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
fn records_of(body: &ProduceRequest, topic: &str, partition: i32) -> Vec<Record> {
    let mut records = raw_records_of(body, topic, partition);
    if records[22] & 7 == ZSTD {
        let plain = zstd::bulk::decompress(&records[61..], 1 << 20).unwrap();
        records = with_body(&records, 0, &plain);
    }
    RecordBatchDecoder::decode(&mut records).unwrap().records
}

fn raw_records_of(body: &ProduceRequest, topic: &str, partition: i32) -> Bytes {
    let found = body.topic_data.iter().find(|t| t.name == name(topic));
    let partitions = &found.expect("the topic").partition_data;
    let found = partitions.iter().find(|p| p.index == partition);
    found.expect("the partition").records.clone().unwrap()
}

fn header_keys(record: &Record) -> Vec<&str> {
    record.headers.keys().map(|key| key.as_str()).collect()
}

fn header(record: &Record, key: &str) -> String {
    let value = record.headers[key.as_bytes()].as_ref().expect("a value");
    String::from_utf8(value.to_vec()).unwrap()
}

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
    tokio::time::sleep(Duration::from_millis(20)).await; // the clock must have moved for the test to mean anything
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
        let sent = Sent::parse(carried.tracestate.member("tl").unwrap()).unwrap();
        assert!(sent.at_ms > 1_700_000_000_000 && sent.parent.is_none());
    }
    assert!(sampled <= 12, "{sampled} of 400 at one per second");
}
