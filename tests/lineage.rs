//! A program between two topics, scripted: what was delivered to it becomes the parent of what it sends, or does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;

use std::sync::atomic::{AtomicI32, Ordering};

use bytes::{Bytes, BytesMut};
use fake::{encode, line::*, request, response};
use kafka_protocol::{
    messages::{
        FetchRequest, FetchResponse, MetadataRequest, MetadataResponse, ShareFetchRequest,
        ShareFetchResponse, fetch_request, fetch_response, metadata_response, share_fetch_request,
        share_fetch_response,
    },
    protocol::StrBytes,
    records::Record,
};
use throughline::{
    kafka::proxy::settings::InjectSettings,
    propagation::{Carried, CorrelationNames, Evidence, Sent, Traceparent, derive},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const FETCH_VERSION: i16 = 11;
/// With topic ids.
const METADATA_VERSION: i16 = 12;
const METADATA: i16 = 3;
const SHARE_FETCH_VERSION: i16 = 1;
const SHARE_FETCH: i16 = 78;

/// A program: one connection that sends, one that reads.
struct Program {
    sends: Line,
    client: TcpStream,
    broker: TcpStream,
}

/// The context on a record.
#[derive(Debug, PartialEq)]
struct Context {
    is: Traceparent,
    sent: Sent,
    correlation: String,
}

impl Context {
    fn of(record: &Record) -> Self {
        let names = CorrelationNames::default();
        let values: Vec<_> = record
            .headers
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.clone().unwrap()))
            .collect();
        let carried = Carried::read(values.iter().map(|(k, v)| (&k[..], Some(&v[..]))), &names);
        Self {
            is: carried.traceparent.expect("a traceparent").unwrap(),
            sent: carried.sent().expect("ours"),
            correlation: carried.correlation_id.expect("a correlation id").to_owned(),
        }
    }
}

impl Program {
    async fn new() -> Self {
        Self::with(InjectSettings::default()).await
    }

    async fn with(inject: InjectSettings) -> Self {
        let mut sends = Line::with(inject).await;
        for topic in ["orders", "payments", "shipments"] {
            sends.prove(topic, 20_000).await;
        }
        let (client, broker) = connect(&sends.rig, &sends.listener).await;
        Self {
            sends,
            client,
            broker,
        }
    }

    /// The broker gives the program a batch of `topic`-0 that begins at `offset`.
    async fn is_given(&mut self, topic: &str, offset: i64, batch: &[u8]) {
        let mut partition = fetch_request::FetchPartition::default();
        partition.partition_max_bytes = 1 << 20;
        partition.fetch_offset = offset;
        let mut wanted = fetch_request::FetchTopic::default();
        wanted.topic = name(topic);
        wanted.partitions.push(partition);
        let mut body = FetchRequest::default();
        body.topics.push(wanted);
        let asked = encode(&body, FETCH_VERSION);
        let mut batch = batch.to_vec();
        batch[..8].copy_from_slice(&offset.to_be_bytes());
        let mut part = fetch_response::PartitionData::default();
        part.high_watermark = 1_000;
        part.last_stable_offset = 1_000;
        part.records = Some(Bytes::from(batch));
        let mut given = fetch_response::FetchableTopicResponse::default();
        given.topic = name(topic);
        given.partitions.push(part);
        let mut body = FetchResponse::default();
        body.responses.push(given);
        let answer = encode(&body, FETCH_VERSION);
        let seen = self
            .exchange((1, FETCH_VERSION, false), &asked, &answer)
            .await;
        assert_eq!(seen, answer, "a delivery is not changed");
    }

    /// The broker gives a member of a share group a batch of `topic`-0, of which it is to have the records between two offsets.
    async fn acquires(&mut self, topic: &str, (first, last): (i64, i64), batch: &[u8]) {
        let id = uuid::Uuid::from_u128(7);
        let mut known = metadata_response::MetadataResponseTopic::default();
        known.name = Some(name(topic));
        known.topic_id = id;
        let mut metadata = MetadataResponse::default();
        metadata.topics.push(known);
        let asked = encode(&MetadataRequest::default(), METADATA_VERSION);
        let answer = encode(&metadata, METADATA_VERSION);
        self.exchange((METADATA, METADATA_VERSION, true), &asked, &answer)
            .await;
        let mut wanted = share_fetch_request::FetchTopic::default();
        wanted.topic_id = id;
        wanted.partitions.push(Default::default());
        let mut body = ShareFetchRequest::default();
        body.group_id = Some(StrBytes::from_static_str("billing").into());
        body.member_id = Some(StrBytes::from_static_str("one"));
        body.topics.push(wanted);
        let asked = encode(&body, SHARE_FETCH_VERSION);
        let mut acquired = share_fetch_response::AcquiredRecords::default();
        (acquired.first_offset, acquired.last_offset) = (first, last);
        acquired.delivery_count = 1;
        let mut part = share_fetch_response::PartitionData::default();
        part.records = Some(Bytes::copy_from_slice(batch));
        part.acquired_records.push(acquired);
        let mut given = share_fetch_response::ShareFetchableTopicResponse::default();
        given.topic_id = id;
        given.partitions.push(part);
        let mut body = ShareFetchResponse::default();
        body.responses.push(given);
        let answer = encode(&body, SHARE_FETCH_VERSION);
        let api = (SHARE_FETCH, SHARE_FETCH_VERSION, true);
        let seen = self.exchange(api, &asked, &answer).await;
        assert_eq!(seen, answer, "a delivery is not changed");
    }

    /// One request and its answer on the connection that reads; what the program sees, without its header.
    async fn exchange(
        &mut self,
        (api, version, flexible): (i16, i16, bool),
        asked: &[u8],
        answer: &[u8],
    ) -> Vec<u8> {
        static NEXT: AtomicI32 = AtomicI32::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let header_version = 1 + i16::from(flexible);
        let frame = request(api, version, id, "app", header_version, asked);
        self.client.write_all(&frame).await.unwrap();
        read_frame(&mut self.broker).await;
        let frame = response(id, flexible, answer);
        self.broker.write_all(&frame).await.unwrap();
        let seen = read_frame(&mut self.client).await;
        seen[frame.len() - 4 - answer.len()..].to_vec()
    }

    /// The program sends a batch; what the broker gets of it.
    async fn sends(&mut self, topic: &str, batch: Bytes) -> Bytes {
        self.sends.send(50, &produce(&[(topic, 0, batch)])).await;
        let (id, got) = self.sends.received().await;
        self.sends.answer(id, &[(topic, 0, 0)]).await;
        self.sends.answered().await;
        raw_records_of(&got, topic, 0)
    }

    async fn sends_one(&mut self, topic: &str, record: Record) -> (Context, Bytes) {
        let raw = self.sends(topic, batch(&[record])).await;
        (Context::of(&decoded(&raw)[0]), raw)
    }
}

fn decoded(batch: &Bytes) -> Vec<Record> {
    let mut bytes = BytesMut::from(&batch[..]).freeze();
    kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes)
        .unwrap()
        .records
}

#[tokio::test]
async fn a_record_sent_with_the_key_of_a_delivered_one_is_its_child() {
    let mut program = Program::new().await;
    let (order, raw) = program.sends_one("orders", record("order-7", 10)).await;
    assert_eq!(
        (order.sent.parent, order.sent.evidence),
        (None, Evidence::Root)
    );
    program.is_given("orders", 7, &raw).await;
    let (payment, raw) = program.sends_one("payments", record("order-7", 10)).await;
    assert_eq!(payment.is.trace_id, order.is.trace_id);
    assert_eq!(payment.is.sampled, order.is.sampled);
    assert_eq!(payment.correlation, order.correlation);
    let expected = (Some(order.is.span_id), Evidence::Key);
    assert_eq!((payment.sent.parent, payment.sent.evidence), expected);
    assert_ne!(payment.is.span_id, order.is.span_id);
    // And so on, hop by hop.
    let mut next = Program::new().await;
    next.is_given("payments", 3, &raw).await;
    let (shipment, _) = next.sends_one("shipments", record("order-7", 10)).await;
    assert_eq!(shipment.is.trace_id, order.is.trace_id);
    assert_eq!(shipment.sent.parent, Some(payment.is.span_id));
    let (other, _) = program.sends_one("payments", record("order-8", 10)).await;
    assert_ne!(other.is.trace_id, order.is.trace_id);
    assert_eq!(other.sent.evidence, Evidence::Root);
}

#[tokio::test]
async fn a_correlation_id_of_the_program_finds_the_parent_and_stays() {
    let mut program = Program::new().await;
    let order = with_header(record("a", 10), "X-Correlation-ID", "c-1");
    let (order, raw) = program.sends_one("orders", order).await;
    program.is_given("orders", 0, &raw).await;
    let payment = with_header(record("b", 10), "correlationId", "c-1");
    let (payment, raw) = program.sends_one("payments", payment).await;
    assert_eq!(payment.is.trace_id, order.is.trace_id);
    assert_eq!(payment.sent.evidence, Evidence::Header);
    assert_eq!(
        header_keys(&decoded(&raw)[0]),
        ["correlationId", "traceparent", "tracestate"]
    );
    // Where the record has none it is inherited.
    let (shipment, _) = program.sends_one("shipments", record("a", 10)).await;
    assert_eq!(shipment.correlation, "c-1");
}

#[tokio::test]
async fn a_correlation_id_finds_no_parent_once_a_batch_was_delivered_unread() {
    let mut program = Program::new().await;
    let order = with_header(record("a", 10), "correlation-id", "c-1");
    let (_, raw) = program.sends_one("orders", order).await;
    program.is_given("orders", 0, &raw).await;
    let payment = with_header(record("b", 10), "correlation-id", "c-1");
    let (before, _) = program.sends_one("payments", payment.clone()).await;
    assert_eq!(before.sent.evidence, Evidence::Header);
    // It says gzip and is not: what is in it, another record of that correlation perhaps, is not known.
    let mut unread = raw.to_vec();
    unread[22] |= 1;
    program.is_given("orders", 1, &unread).await;
    let (after, _) = program.sends_one("payments", payment).await;
    assert_eq!(after.sent.evidence, Evidence::Root);
    let (keyed, _) = program.sends_one("shipments", record("a", 10)).await;
    assert_eq!(keyed.sent.evidence, Evidence::Key);
}

#[tokio::test]
async fn a_delivered_record_without_context_is_known_by_its_position() {
    let mut program = Program::new().await;
    program.sends.rig.handle.learn_cluster("cluster-1");
    program
        .is_given("orders", 7, &batch(&[record("a", 10), record("b", 10)]))
        .await;
    let (payment, _) = program.sends_one("payments", record("b", 10)).await;
    let (trace_id, span_id) = derive("cluster-1", "orders", 0, 8).unwrap();
    assert_eq!(payment.is.trace_id, trace_id);
    assert_eq!(payment.sent.parent, Some(span_id));
}

#[tokio::test]
async fn where_records_that_cannot_be_edited_come_from_is_known_all_the_same() {
    const TOO_LARGE: i16 = 10;
    const NOT_ENOUGH_REPLICAS: i16 = 19;
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    let mut program = Program::new().await;
    let (_, raw) = program.sends_one("orders", record("k", 10)).await;
    let large = produce(&[("payments", 0, batch(&[record("k", 50_000)]))]);
    let line = &mut program.sends;
    line.send(60, &large).await;
    line.received().await;
    line.answer(60, &[("payments", 0, TOO_LARGE)]).await;
    let (ours, _) = line.received().await;
    line.answer(ours, &[("payments", 0, 0)]).await;
    line.answered().await;
    program.is_given("orders", 0, &raw).await;
    let line = &mut program.sends;
    let before = line.produced(5).await.len();
    line.send(61, &large).await;
    let (id, _) = line.received().await;
    line.answer(id, &[("payments", 0, 0)]).await;
    line.answered().await;
    let seen = line.produced(before + 1).await;
    let last = seen.last().unwrap();
    assert_eq!(last.injection, skipped("too_large"));
    assert_eq!(last.from, [(Some("orders".into()), Evidence::Key, 1)]);
    // Refused for good it has no position, and an id all the same; what is tried again may get a position yet.
    for (error, named) in [
        (NOT_ENOUGH_REPLICAS, false),
        (TOPIC_AUTHORIZATION_FAILED, true),
    ] {
        let before = line.produced(0).await.len();
        line.send(62, &large).await;
        let (id, _) = line.received().await;
        line.answer(id, &[("payments", 0, error)]).await;
        line.answered().await;
        let seen = line.produced(before + 1).await;
        assert_eq!(seen.last().unwrap().unrecorded, named, "{error}");
    }
}

#[tokio::test]
async fn a_retry_names_the_parent_of_the_first_attempt() {
    let mut program = Program::new().await;
    let (_, raw) = program.sends_one("orders", record("k", 10)).await;
    program.is_given("orders", 0, &raw).await;
    let body = produce(&[("payments", 0, batch(&[sequenced(5)]))]);
    program.sends.send(60, &body).await;
    let (_, first) = program.sends.received().await;
    assert_eq!(
        Context::of(&records_of(&first, "payments", 0)[0])
            .sent
            .evidence,
        Evidence::Key
    );
    // Another record of that key arrives, which would make the key ambiguous; then the program tries again.
    let (_, raw) = program.sends_one("orders", record("k", 10)).await;
    program.is_given("orders", 1, &raw).await;
    program.is_given("orders", 2, &raw).await;
    program.sends.reconnect().await;
    program.sends.send(61, &body).await;
    let (_, second) = program.sends.received().await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn a_traced_program_keeps_its_context_and_gains_the_correlation_id() {
    let mut program = Program::new().await;
    let (order, raw) = program.sends_one("orders", record("k", 10)).await;
    program.is_given("orders", 0, &raw).await;
    let theirs = format!("00-{}-b7ad6b7169203331-01", order.is.trace_id);
    let traced = with_header(record("k", 10), "traceparent", &theirs);
    let raw = program.sends("payments", batch(&[traced])).await;
    let seen = &decoded(&raw)[0];
    assert_eq!(header_keys(seen), ["traceparent", "correlation-id"]);
    assert_eq!(header(seen, "traceparent"), theirs);
    assert_eq!(
        header(seen, "correlation-id"),
        order.is.trace_id.to_string()
    );
}

#[tokio::test]
async fn a_record_of_a_batch_that_another_member_of_the_share_group_got_is_no_parent() {
    let mut program = Program::new().await;
    let keys = ["order-1", "order-2", "order-3"];
    let raw = program
        .sends("orders", batch(&keys.map(|key| record(key, 10))))
        .await;
    let orders: Vec<_> = decoded(&raw).iter().map(Context::of).collect();
    program.acquires("orders", (1, 1), &raw).await;
    for (number, key) in keys.into_iter().enumerate() {
        let (payment, _) = program.sends_one("payments", record(key, 10)).await;
        let parent = (number == 1).then(|| orders[1].is.span_id);
        assert_eq!(payment.sent.parent, parent, "{key}");
    }
}
