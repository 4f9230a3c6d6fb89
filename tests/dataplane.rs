//! What the dataplane does at its edges: versions, raw SASL, foreign protocols, limits, resets, drain.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;
mod support;

use std::{io, net::SocketAddr, time::Duration};

use fake::{DEADLINE, Rig, batch, encode, frame, limits, request, response, rig, until};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, FetchRequest, FetchResponse, ProduceRequest, TopicName,
        api_versions_response, fetch_request, fetch_response, produce_request,
    },
    protocol::{Decodable, StrBytes},
};
use support::ports;
use throughline::event::{
    BatchKind, BypassReason, Delivered, EventKind, Facts, PublishOutcome, Side,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

async fn before_a_broker() -> (Rig, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = rig(listener.local_addr().unwrap(), limits());
    (rig, listener)
}

/// A client and the broker's end of its connection.
async fn connected() -> (Rig, TcpStream, TcpStream) {
    let (rig, listener) = before_a_broker().await;
    let client = TcpStream::connect(rig.address).await.unwrap();
    let (broker, _) = timeout(DEADLINE, listener.accept()).await.unwrap().unwrap();
    (rig, client, broker)
}

async fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    timeout(DEADLINE, socket.read_exact(&mut length))
        .await
        .expect("a frame in time")
        .expect("a frame");
    let mut content = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    timeout(DEADLINE, socket.read_exact(&mut content))
        .await
        .expect("its body in time")
        .expect("its body");
    content
}

async fn read_bytes(socket: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    timeout(DEADLINE, socket.read_exact(&mut bytes))
        .await
        .expect("bytes in time")
        .expect("bytes");
    bytes
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

#[tokio::test]
async fn versions_are_lowered_only_where_answers_are_rewritten() {
    let (_rig, mut client, mut broker) = connected().await;
    client
        .write_all(&request(18, 0, 7, "app", 1, &[]))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    let mut offered = ApiVersionsResponse::default();
    for (key, min, max) in [
        (0, 0, 99),
        (1, 4, 99),
        (3, 0, 99),
        (8, 2, 99),
        (18, 0, 99),
        (26, 0, 99),
        (12_345, 3, 99),
    ] {
        let mut api = api_versions_response::ApiVersion::default();
        (api.api_key, api.min_version, api.max_version) = (key, min, max);
        offered.api_keys.push(api);
    }
    broker
        .write_all(&response(7, false, &encode(&offered, 0)))
        .await
        .unwrap();
    let answer = read_frame(&mut client).await;
    let seen =
        ApiVersionsResponse::decode(&mut bytes::Bytes::copy_from_slice(&answer[4..]), 0).unwrap();
    let max: Vec<(i16, i16, i16)> = seen
        .api_keys
        .iter()
        .map(|a| (a.api_key, a.min_version, a.max_version))
        .collect();
    assert_eq!(
        max,
        [
            (0, 0, 13),
            (1, 4, 18),
            (3, 0, 13),
            (8, 2, 99),
            (18, 0, 5),
            (26, 0, 99),
            (12_345, 3, 99)
        ]
    );
}

#[tokio::test]
async fn a_version_negotiation_from_the_future_is_answered_as_a_broker_of_our_age_would() {
    let (rig, mut client, mut broker) = connected().await;
    // Behind a request that the broker has still to answer, so that the order matters.
    client
        .write_all(&request(20, 1, 1, "app", 1, b"x"))
        .await
        .unwrap();
    client
        .write_all(&request(18, 77, 2, "app", 2, &[9; 40]))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    broker
        .write_all(&response(1, false, b"first"))
        .await
        .unwrap();
    assert_eq!(
        read_frame(&mut client).await,
        [&1i32.to_be_bytes()[..], b"first"].concat()
    );
    let answer = read_frame(&mut client).await;
    assert_eq!(answer, [0, 0, 0, 2, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5]);
    // The broker never saw it.
    client
        .write_all(&request(20, 1, 3, "app", 1, b"y"))
        .await
        .unwrap();
    assert_eq!(read_frame(&mut broker).await[4..8], 3i32.to_be_bytes());
    assert_eq!(rig.counters.bypassed(BypassReason::Tunnel), 0);
}

#[tokio::test]
async fn an_unacknowledged_produce_is_not_waited_for() {
    let (rig, mut client, mut broker) = connected().await;
    let mut partition = produce_request::PartitionProduceData::default();
    partition.records = Some(batch(0, 5, 10));
    let mut topic = produce_request::TopicProduceData::default();
    topic.name = name("orders");
    topic.partition_data = vec![partition];
    let mut produce = ProduceRequest::default();
    produce.acks = 0;
    produce.transactional_id = None;
    produce.topic_data = vec![topic];
    client
        .write_all(&request(0, 9, 1, "app", 2, &encode(&produce, 9)))
        .await
        .unwrap();
    client
        .write_all(&request(20, 0, 2, "app", 1, b""))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    read_frame(&mut broker).await;
    broker.write_all(&response(2, false, b"ok")).await.unwrap();
    assert_eq!(read_frame(&mut client).await[..4], 2i32.to_be_bytes());
    let events = rig.events.0.lock().unwrap();
    let parts: Vec<_> = events
        .iter()
        .filter_map(|e| match &e.kind {
            EventKind::Answered(a) => match &a.facts {
                Facts::Produced(p) => Some((p.acks, p.parts[0].records, p.parts[0].outcome)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(parts, [(0, 5, PublishOutcome::NotAsked)]);
    assert_eq!(rig.counters.bypassed(BypassReason::Unmatched), 0);
}

#[tokio::test]
async fn raw_sasl_tokens_pass_and_requests_are_read_again_behind_them() {
    for (mechanism, rounds) in [("PLAIN", 1), ("SCRAM-SHA-256", 2), ("GSSAPI", 3)] {
        let (rig, mut client, mut broker) = connected().await;
        let mut body = i16::try_from(mechanism.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        body.extend_from_slice(mechanism.as_bytes());
        client
            .write_all(&request(17, 0, 1, "app", 1, &body))
            .await
            .unwrap();
        read_frame(&mut broker).await;
        broker
            .write_all(&response(1, false, &[0, 0, 0, 0, 0, 0]))
            .await
            .unwrap();
        read_frame(&mut client).await;
        for round in 0..rounds {
            let token = [b"n,,n=user", &[round][..]].concat();
            client.write_all(&frame(&token)).await.unwrap();
            assert_eq!(read_frame(&mut broker).await, token, "{mechanism}");
            // The last answer of PLAIN is empty.
            let answer: &[u8] = if mechanism == "PLAIN" {
                b""
            } else {
                b"r=nonce"
            };
            broker.write_all(&frame(answer)).await.unwrap();
            assert_eq!(read_frame(&mut client).await, answer, "{mechanism}");
        }
        client
            .write_all(&request(20, 0, 2, "app", 1, b"body"))
            .await
            .unwrap();
        read_frame(&mut broker).await;
        broker.write_all(&response(2, false, b"ok")).await.unwrap();
        read_frame(&mut client).await;
        assert_eq!(
            rig.counters.bypassed(BypassReason::Tunnel),
            0,
            "{mechanism}"
        );
    }
}

#[tokio::test]
async fn another_protocol_passes_through_as_a_tunnel() {
    for first in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 64],
        &[0, 0, 0, 3, 1, 2, 3],
    ] {
        let (rig, mut client, mut broker) = connected().await;
        client.write_all(first).await.unwrap();
        assert_eq!(read_bytes(&mut broker, first.len()).await, first);
        broker
            .write_all(b"\x15\x03\x03\x00\x02\x02\x28")
            .await
            .unwrap();
        assert_eq!(
            read_bytes(&mut client, 7).await,
            b"\x15\x03\x03\x00\x02\x02\x28"
        );
        assert!(rig.counters.bypassed(BypassReason::Tunnel) > 0);
    }
}

#[tokio::test]
async fn an_answer_nobody_asked_for_makes_a_tunnel_and_nothing_is_lost() {
    let (rig, mut client, mut broker) = connected().await;
    client
        .write_all(&request(20, 0, 5, "app", 1, b""))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    let odd = response(6, false, b"another one's answer");
    broker.write_all(&odd).await.unwrap();
    assert_eq!(read_bytes(&mut client, odd.len()).await, odd);
    // Both directions still pass.
    client.write_all(b"anything").await.unwrap();
    assert_eq!(read_bytes(&mut broker, 8).await, b"anything");
    assert_eq!(rig.counters.bypassed(BypassReason::Unmatched), 1);
}

#[tokio::test]
async fn a_dead_broker_looks_dead_to_the_client() {
    let (rig, listener) = before_a_broker().await;
    drop(listener);
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let ended = timeout(DEADLINE, client.read(&mut [0; 1]))
        .await
        .expect("an end in time");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    until("the failure is reported", || {
        let events = rig.events.0.lock().unwrap();
        events
            .iter()
            .any(|e| matches!(e.kind, EventKind::ConnectFailed { kind: "refused" }))
    })
    .await;
}

#[tokio::test]
async fn a_reset_by_the_broker_resets_the_client_and_says_what_was_lost() {
    let (rig, mut client, mut broker) = connected().await;
    let mut produce = ProduceRequest::default();
    produce.acks = -1;
    let mut topic = produce_request::TopicProduceData::default();
    topic.name = name("orders");
    let mut partition = produce_request::PartitionProduceData::default();
    partition.records = Some(batch(0, 2, 0));
    topic.partition_data = vec![partition];
    produce.topic_data = vec![topic];
    client
        .write_all(&request(0, 9, 1, "app", 2, &encode(&produce, 9)))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    broker.set_zero_linger().unwrap();
    drop(broker);
    let ended = timeout(DEADLINE, client.read(&mut [0; 1]))
        .await
        .expect("an end in time");
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    until("the loss is reported", || {
        let events = rig.events.0.lock().unwrap();
        events.iter().any(|e| match &e.kind {
            EventKind::Closed { side: Side::Broker, kind: "reset", unanswered } => {
                matches!(&unanswered[0].facts, Facts::Produced(p) if p.parts[0].outcome == PublishOutcome::Lost)
            }
            _ => false,
        })
    })
    .await;
}

#[tokio::test]
async fn a_half_close_leaves_the_other_direction_open() {
    let (_rig, mut client, mut broker) = connected().await;
    client
        .write_all(&request(20, 0, 1, "app", 1, b"last words"))
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    let mut seen = Vec::new();
    timeout(DEADLINE, broker.read_to_end(&mut seen))
        .await
        .unwrap()
        .unwrap();
    assert!(seen.ends_with(b"last words"));
    broker
        .write_all(&response(1, false, b"heard"))
        .await
        .unwrap();
    drop(broker);
    let mut answer = Vec::new();
    timeout(DEADLINE, client.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.ends_with(b"heard"));
}

#[tokio::test]
async fn a_frame_cut_short_by_the_end_of_the_connection_is_passed_as_far_as_it_came() {
    let (_rig, mut client, mut broker) = connected().await;
    let whole = request(8, 2, 1, "app", 1, &[0; 200]);
    client.write_all(&whole[..150]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut seen = Vec::new();
    timeout(DEADLINE, broker.read_to_end(&mut seen))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seen, &whole[..150]);
}

#[tokio::test]
async fn past_the_connection_limit_a_client_is_reset_and_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut few = limits();
    few.connections = 1;
    let rig = rig(listener.local_addr().unwrap(), few);
    let _first = TcpStream::connect(rig.address).await.unwrap();
    until("the first is served", || {
        rig.counters
            .connections
            .load(std::sync::atomic::Ordering::Relaxed)
            == 1
    })
    .await;
    let mut second = TcpStream::connect(rig.address).await.unwrap();
    let ended = timeout(DEADLINE, second.read(&mut [0; 1]))
        .await
        .expect("an end in time");
    assert!(ended.is_err() || ended.unwrap() == 0);
    assert_eq!(
        rig.counters
            .connections_refused
            .load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[tokio::test]
async fn drain_answers_what_is_in_flight_and_then_ends() {
    let (rig, mut client, mut broker) = connected().await;
    client
        .write_all(&request(20, 0, 1, "app", 1, b""))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    rig.handle.drain();
    until("no new connection is accepted", || {
        std::net::TcpStream::connect(rig.address).is_err()
    })
    .await;
    broker
        .write_all(&response(1, false, b"in time"))
        .await
        .unwrap();
    assert_eq!(&read_frame(&mut client).await[4..], b"in time");
    let mut rest = Vec::new();
    timeout(DEADLINE, client.read_to_end(&mut rest))
        .await
        .expect("closed after the answer")
        .unwrap();
    timeout(DEADLINE, rig.running)
        .await
        .expect("the proxy ends")
        .unwrap();
}

#[tokio::test]
async fn a_stalled_reader_stalls_its_own_connection_only() {
    let (rig, listener) = before_a_broker().await;
    let mut stalled = TcpStream::connect(rig.address).await.unwrap();
    let (mut stalled_broker, _) = listener.accept().await.unwrap();
    stalled
        .write_all(&request(20, 0, 1, "stalled", 1, b""))
        .await
        .unwrap();
    read_frame(&mut stalled_broker).await;
    let writer = tokio::spawn(async move {
        // More than all buffers on the way hold; ends when the socket does.
        let body = vec![7; 4 << 20];
        stalled_broker
            .write_all(&frame(&[&1i32.to_be_bytes()[..], &body].concat()))
            .await
            .is_ok()
    });
    let mut lively = TcpStream::connect(rig.address).await.unwrap();
    let (mut lively_broker, _) = listener.accept().await.unwrap();
    for id in 0..50 {
        lively
            .write_all(&request(20, 0, id, "lively", 1, b"ping"))
            .await
            .unwrap();
        read_frame(&mut lively_broker).await;
        lively_broker
            .write_all(&response(id, false, b"pong"))
            .await
            .unwrap();
        assert_eq!(&read_frame(&mut lively).await[4..], b"pong");
    }
    let mut all = vec![0; (4 << 20) + 8];
    timeout(DEADLINE, stalled.read_exact(&mut all))
        .await
        .expect("the stalled one goes on")
        .unwrap();
    assert!(writer.await.unwrap());
}

fn fetch_request(
    session: (i32, i32),
    partitions: &[(i32, i64)],
    read_committed: bool,
) -> FetchRequest {
    let mut topic = fetch_request::FetchTopic::default();
    topic.topic = name("orders");
    for (index, offset) in partitions {
        let mut p = fetch_request::FetchPartition::default();
        (p.partition, p.fetch_offset) = (*index, *offset);
        topic.partitions.push(p);
    }
    let mut asked = FetchRequest::default();
    (asked.session_id, asked.session_epoch) = session;
    asked.isolation_level = i8::from(read_committed);
    if !partitions.is_empty() {
        asked.topics = vec![topic];
    }
    asked
}

fn fetch_response(
    session: i32,
    partition: i32,
    records: Vec<u8>,
    aborted: &[(i64, i64)],
) -> FetchResponse {
    let mut p = fetch_response::PartitionData::default();
    p.partition_index = partition;
    (p.high_watermark, p.last_stable_offset, p.log_start_offset) = (100, 90, 0);
    p.aborted_transactions = Some(
        aborted
            .iter()
            .map(|(producer, first)| {
                let mut a = fetch_response::AbortedTransaction::default();
                (a.producer_id, a.first_offset) = ((*producer).into(), *first);
                a
            })
            .collect(),
    );
    p.records = Some(records.into());
    let mut topic = fetch_response::FetchableTopicResponse::default();
    topic.topic = name("orders");
    topic.partitions = vec![p];
    let mut answer = FetchResponse::default();
    answer.session_id = session;
    answer.responses = vec![topic];
    answer
}

async fn fetch(
    client: &mut TcpStream,
    broker: &mut TcpStream,
    id: i32,
    asked: &FetchRequest,
    answer: &FetchResponse,
) {
    client
        .write_all(&request(1, 12, id, "consumer", 2, &encode(asked, 12)))
        .await
        .unwrap();
    read_frame(broker).await;
    broker
        .write_all(&response(id, true, &encode(answer, 12)))
        .await
        .unwrap();
    read_frame(client).await;
}

fn deliveries<T>(rig: &Rig, of: impl Fn(&Delivered) -> T) -> Vec<T> {
    let events = rig.events.0.lock().unwrap();
    events
        .iter()
        .filter_map(|e| match &e.kind {
            EventKind::Answered(a) => match &a.facts {
                Facts::Delivered(d) => Some(of(d)),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn records_before_the_offset_asked_for_are_not_delivered_and_sessions_remember_it() {
    let (rig, mut client, mut broker) = connected().await;
    let records = |base| batch(base, 10, 30).to_vec();
    // A new session asks from the middle of a batch.
    let first = fetch_request((0, 0), &[(0, 4)], false);
    fetch(
        &mut client,
        &mut broker,
        1,
        &first,
        &fetch_response(77, 0, records(0), &[]),
    )
    .await;
    // The session goes on and names only what changed.
    let second = fetch_request((77, 1), &[(0, 10)], false);
    fetch(
        &mut client,
        &mut broker,
        2,
        &second,
        &fetch_response(77, 0, records(10), &[]),
    )
    .await;
    // Nothing named: still at 10, which is asked for again.
    let third = fetch_request((77, 2), &[], false);
    fetch(
        &mut client,
        &mut broker,
        3,
        &third,
        &fetch_response(77, 0, records(10), &[]),
    )
    .await;
    let seen = deliveries(&rig, |d| {
        (
            d.parts[0].asked,
            d.parts[0].batches[0].delivered,
            d.data_was_there,
        )
    });
    assert_eq!(
        seen,
        [
            (Some(4), 6, false),
            (Some(10), 10, true),
            (Some(10), 10, true)
        ]
    );
}

#[tokio::test]
async fn a_session_whose_beginning_was_not_seen_yields_no_guess() {
    let (rig, mut client, mut broker) = connected().await;
    let asked = fetch_request((55, 9), &[(0, 4)], false);
    fetch(
        &mut client,
        &mut broker,
        1,
        &asked,
        &fetch_response(55, 0, batch(0, 10, 3).to_vec(), &[]),
    )
    .await;
    assert_eq!(deliveries(&rig, |d| d.parts[0].asked), [None]);
}

/// A batch of a transaction (attributes 0x10), or its marker (0x30).
fn transactional(base: i64, count: i32, producer: i64, control: Option<u8>) -> Vec<u8> {
    let mut bytes = batch(base, count, 0).to_vec();
    if let Some(kind) = control {
        // length 16, attributes, deltas, key length 4, version 0, type, value length 6, version, epoch, no headers.
        bytes.extend_from_slice(&[32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0]);
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
    }
    bytes[21..23].copy_from_slice(&(if control.is_some() { 0x30i16 } else { 0x10 }).to_be_bytes());
    bytes[43..51].copy_from_slice(&producer.to_be_bytes());
    bytes
}

#[tokio::test]
async fn aborted_and_control_batches_are_told_apart_as_kafkas_consumer_does() {
    let records = [
        transactional(0, 3, 1, None),
        transactional(3, 2, 2, None),
        transactional(5, 1, 1, Some(0)), // abort of producer 1
        transactional(6, 1, 2, Some(1)), // commit of producer 2
        transactional(7, 4, 1, None),    // the next transaction of producer 1, committed
        transactional(11, 1, 1, Some(1)),
    ]
    .concat();
    let expected = [
        (
            true,
            vec![
                (BatchKind::Aborted, 0),
                (BatchKind::Data, 2),
                (BatchKind::Control, 0),
                (BatchKind::Control, 0),
                (BatchKind::Data, 4),
                (BatchKind::Control, 0),
            ],
        ),
        (
            false,
            vec![
                (BatchKind::Data, 3),
                (BatchKind::Data, 2),
                (BatchKind::Control, 0),
                (BatchKind::Control, 0),
                (BatchKind::Data, 4),
                (BatchKind::Control, 0),
            ],
        ),
    ];
    for (read_committed, want) in expected {
        let (rig, mut client, mut broker) = connected().await;
        let asked = fetch_request((0, -1), &[(0, 0)], read_committed);
        fetch(
            &mut client,
            &mut broker,
            1,
            &asked,
            &fetch_response(0, 0, records.clone(), &[(1, 0)]),
        )
        .await;
        let seen = deliveries(&rig, |d| {
            d.parts[0]
                .batches
                .iter()
                .map(|b| (b.kind, b.delivered))
                .collect::<Vec<_>>()
        });
        assert_eq!(seen, [want], "read_committed {read_committed}");
    }
}

#[tokio::test]
async fn the_port_of_a_broker_is_the_same_after_a_restart() {
    let base = ports::in_a_row(8);
    let mut learnt = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker_address = listener.local_addr().unwrap();
        let rig = fake::rig_with_ports(broker_address, limits(), base);
        learnt.push(learn_ports(&rig, listener, &[3, 7]).await);
        rig.handle.drain();
        timeout(DEADLINE, rig.running).await.unwrap().unwrap();
    }
    assert_eq!(learnt[0], learnt[1]);
    assert_eq!(learnt[0], [base + 3, base + 7]);
}

async fn learn_ports(rig: &Rig, listener: TcpListener, nodes: &[i32]) -> Vec<u16> {
    use kafka_protocol::messages::{BrokerId, MetadataResponse, metadata_response};
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    let (mut broker, _) = listener.accept().await.unwrap();
    client
        .write_all(&request(3, 1, 1, "app", 1, &[0, 0, 0, 0]))
        .await
        .unwrap();
    read_frame(&mut broker).await;
    let mut answer = MetadataResponse::default();
    for node in nodes {
        let mut b = metadata_response::MetadataResponseBroker::default();
        b.node_id = BrokerId(*node);
        b.host = StrBytes::from_static_str("127.0.0.1");
        b.port = 1;
        answer.brokers.push(b);
    }
    broker
        .write_all(&response(1, false, &encode(&answer, 1)))
        .await
        .unwrap();
    let seen = read_frame(&mut client).await;
    let seen = MetadataResponse::decode(&mut bytes::Bytes::copy_from_slice(&seen[4..]), 1).unwrap();
    for b in &seen.brokers {
        let address: SocketAddr = format!("{}:{}", b.host, b.port).parse().unwrap();
        let connected = timeout(Duration::from_secs(5), TcpStream::connect(address))
            .await
            .unwrap();
        connected.expect("the listener is bound before the answer names it");
    }
    seen.brokers
        .iter()
        .map(|b| u16::try_from(b.port).unwrap())
        .collect()
}

/// A Fetch response of version 16 as a broker sends it after a leader moved: records, then where the new leader is.
fn moved(host: &str, records: usize) -> FetchResponse {
    let mut answer = fetch_response(9, 0, batch(0, 3, records).to_vec(), &[]);
    let mut endpoint = fetch_response::NodeEndpoint::default();
    endpoint.node_id = 5.into();
    endpoint.host = StrBytes::from_string(host.to_owned());
    endpoint.port = 9092;
    endpoint.rack = Some(StrBytes::from_static_str("rack-1"));
    answer.node_endpoints = vec![endpoint];
    answer.responses[0].topic = TopicName::default();
    answer
}

#[tokio::test]
async fn endpoints_behind_records_are_replaced_within_the_length_already_announced() {
    const RECORDS: usize = 50 << 20;
    let long = format!("{}.example", "x".repeat(201));
    // (what the broker says, what we say, what the client must see; `None` = no endpoint at all)
    let cases = [
        ("127.0.0.1", None, Some("127.0.0.1")),
        ("10.200.0.1", None, Some("127.0.0.1")),
        ("10.0.0.1", None, Some("127.0.0.1")),
        ("kafka-5.kafka.svc.cluster.local", None, Some("127.0.0.1")),
        ("10.0.0.10", Some(long), None),
    ];
    for (host, advertise, want) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut room = limits();
        room.frame_bytes = 100 << 20;
        let rig = fake::rig_with(listener.local_addr().unwrap(), room, 0, advertise);
        let mut client = TcpStream::connect(rig.address).await.unwrap();
        let (mut broker, _) = listener.accept().await.unwrap();
        let asked = encode(&fetch_request((0, 0), &[], false), 16);
        client
            .write_all(&request(1, 16, 1, "c", 2, &asked))
            .await
            .unwrap();
        read_frame(&mut broker).await;
        let sent = response(1, true, &encode(&moved(host, RECORDS), 16));
        let length = sent.len();
        let writer = tokio::spawn(async move { broker.write_all(&sent).await.map(|()| broker) });
        let seen = read_frame(&mut client).await;
        assert_eq!(
            seen.len() + 4,
            length,
            "{host}: the length was announced before"
        );
        let mut body = bytes::Bytes::from(seen).split_off(5);
        let decoded = FetchResponse::decode(&mut body, 16).unwrap();
        assert!(body.is_empty(), "{host}: bytes behind the message");
        let records = decoded.responses[0].partitions[0].records.as_ref().unwrap();
        assert_eq!(*records, batch(0, 3, RECORDS), "{host}: records changed");
        let told = decoded.node_endpoints.first().map(|e| e.host.to_string());
        assert_eq!(told.as_deref(), want, "{host}");
        let neutralised = rig.counters.bypassed(BypassReason::EndpointNeutralised);
        assert_eq!(neutralised, u64::from(want.is_none()), "{host}");
        writer.await.unwrap().unwrap();
    }
}
