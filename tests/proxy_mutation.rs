//! Damaged traffic through a live proxy, both directions at once: no panic, no hang, bounded memory, and requests still
//! arrive as they were sent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use fake::{batch, encode, frame, limits, line, request, response, rig_in_mode};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, MetadataResponse,
        ProduceRequest, ProduceResponse, TopicName, api_versions_response, fetch_response,
        metadata_response, produce_request,
    },
    protocol::StrBytes,
};
use throughline::{
    event::{API_SLOTS, FrameMode},
    kafka::proxy::settings::{InjectSettings, TopicMode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// Cases in CI; `make fuzz` asks for a million.
const CASES: usize = 20_000;
/// Connections at a time.
const PARALLEL: usize = 64;
/// A connection that has not ended by then hangs.
const DEADLINE: Duration = Duration::from_secs(30);
/// The process may grow by this much over all cases.
const GROWTH_MB_MAX: u64 = 400;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// SplitMix64: seeded, so that a failing case can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n.max(1)).unwrap()).unwrap()
    }
}

/// A conversation as brokers and clients have it: requests, and the answers to them.
fn conversation(mode: TopicMode) -> (Vec<u8>, Vec<u8>) {
    let topic = || TopicName(StrBytes::from_static_str("orders"));
    let mut versions = ApiVersionsResponse::default();
    for key in 0..80 {
        let mut api = api_versions_response::ApiVersion::default();
        (api.api_key, api.max_version) = (key, 20);
        versions.api_keys.push(api);
    }
    let mut metadata = MetadataResponse::default();
    for node in 0..3 {
        let mut broker = metadata_response::MetadataResponseBroker::default();
        (broker.node_id, broker.port) = (BrokerId(node), 9092);
        broker.host = StrBytes::from_static_str("kafka.example");
        metadata.brokers.push(broker);
    }
    let mut data = produce_request::PartitionProduceData::default();
    let mut answered = ProduceResponse::default();
    data.records = Some(batch(0, 7, 150));
    if mode == TopicMode::Inject {
        // Records that can be edited, and a refusal of the edit.
        data.records = Some(line::batch(&[line::record("k", 100), line::record("l", 9)]));
        answered = line::answer_of(&[("orders", 0, 87)]);
    }
    let mut produced = produce_request::TopicProduceData::default();
    (produced.name, produced.partition_data) = (topic(), vec![data]);
    let mut produce = ProduceRequest::default();
    (produce.acks, produce.topic_data) = (-1, vec![produced]);
    let mut records = batch(0, 5, 90).to_vec();
    records.extend_from_slice(&batch(5, 2, 10));
    let mut part = fetch_response::PartitionData::default();
    part.records = Some(records.into());
    let mut fetched = fetch_response::FetchableTopicResponse::default();
    (fetched.topic, fetched.partitions) = (topic(), vec![part]);
    let mut fetch = FetchResponse::default();
    (fetch.session_id, fetch.responses) = (9, vec![fetched]);

    let requests = [
        request(18, 3, 0, "app", 2, b"\x04app\x024\x00"),
        request(3, 9, 1, "app", 2, &[0, 1, 0, 0, 0]),
        request(0, 9, 2, "app", 2, &encode(&produce, 9)),
        request(1, 12, 3, "app", 2, &encode(&FetchRequest::default(), 12)),
        request(17, 0, 4, "app", 1, b"\x00\x05PLAIN"),
        frame(b"\x00user\x00secret"),
        request(10_001, 1, 5, "app", 1, b"unknown"),
    ];
    let responses = [
        response(0, false, &encode(&versions, 3)),
        response(1, true, &encode(&metadata, 9)),
        response(2, true, &encode(&answered, 9)),
        response(3, true, &encode(&fetch, 12)),
        response(4, false, &[0, 0, 0, 0, 0, 0]),
        frame(b""),
        response(5, false, b"whatever"),
    ];
    (requests.concat(), responses.concat())
}

/// Damages a stream in one to eight places: bits, bytes, lengths, cuts, repeats.
fn damage(stream: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = stream.to_vec();
    for _ in 0..=random.below(8) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            2 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0xff),
            3 => bytes[at..].iter_mut().take(4).for_each(|b| *b = 0),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let length = random.below(40).min(bytes.len() - at);
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// Whether the stream holds the one request that is answered by the proxy itself and not passed on.
fn negotiates_from_the_future(stream: &[u8]) -> bool {
    stream
        .windows(4)
        .any(|w| w[..2] == [0, 18] && i16::from_be_bytes([w[2], w[3]]) > 5)
}

async fn one(proxy: SocketAddr, seed: u64, requests: Vec<u8>) {
    let mut client = TcpStream::connect(proxy).await.expect("a connection");
    // A sound exchange first: it tells the broker the case, and proves that frames are read as such.
    client
        .write_all(&request(10_002, 0, 77, "seed", 1, &seed.to_be_bytes()))
        .await
        .ok();
    // The broker may have ended already; what it did not take is not owed.
    let sent = client.write_all(&requests).await.is_ok() && client.shutdown().await.is_ok();
    let mut answers = Vec::new();
    let ended = timeout(DEADLINE, client.read_to_end(&mut answers)).await;
    assert!(
        ended.is_ok(),
        "case {seed}: the connection hangs (sent {sent})"
    );
}

/// A broker for any number of clients: answers with damaged bytes, and says what it was sent.
async fn broker(listener: TcpListener, responses: Vec<u8>, requests: Vec<u8>, mode: TopicMode) {
    let mut served = JoinSet::new();
    loop {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let (responses, requests) = (responses.clone(), requests.clone());
        served.spawn(async move {
            let mut first = vec![0; request(10_002, 0, 77, "seed", 1, &[0; 8]).len()];
            if socket.read_exact(&mut first).await.is_err() {
                return;
            }
            let seed = *first.last_chunk::<8>().unwrap();
            let mut random = Random(u64::from_be_bytes(seed));
            let sent = damage(&requests, &mut random);
            let answers = damage(&responses, &mut random);
            let (mut read, mut write) = socket.split();
            let mut seen = Vec::new();
            let reading = async {
                timeout(DEADLINE, read.read_to_end(&mut seen))
                    .await
                    .is_ok_and(|r| r.is_ok())
            };
            let writing = async {
                write.write_all(&response(77, false, b"")).await.ok();
                write.write_all(&answers).await.ok();
                write.shutdown().await.ok();
            };
            let (whole, ()) = tokio::join!(reading, writing);
            let unedited = mode == TopicMode::Observe;
            if unedited && whole && !negotiates_from_the_future(&sent) {
                assert!(
                    sent.starts_with(&seen),
                    "case {seed:?}: the broker saw bytes nobody sent"
                );
            }
        });
        while served.try_join_next().is_some_and(|r| {
            r.expect("the broker's own checks hold");
            true
        }) {}
    }
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[test]
fn damaged_traffic_in_both_directions_harms_nothing_else() {
    all_cases(1, TopicMode::Observe);
}

#[test]
fn damaged_traffic_harms_nothing_where_records_are_edited() {
    all_cases(4, TopicMode::Inject);
}

/// One in `share` of the cases asked for.
fn all_cases(share: usize, mode: TopicMode) {
    let cases = std::env::var("THROUGHLINE_FUZZ_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(CASES)
        / share;
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(info);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(cases, mode));
    assert_eq!(
        PANICS.load(Ordering::Relaxed),
        0,
        "panics during {cases} cases"
    );
}

async fn run(cases: usize, mode: TopicMode) {
    let (requests, responses) = conversation(mode);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut room = limits();
    room.connections = 10_000;
    let how = (mode, InjectSettings::default());
    let rig = rig_in_mode(listener.local_addr().unwrap(), room, 0, None, how);
    let broker = tokio::spawn(broker(listener, responses, requests.clone(), mode));
    let mut running = JoinSet::new();
    let mut before = 0;
    for case in 0..cases {
        if case == 1_000.min(cases - 1) {
            before = resident_mb();
        }
        let seed = u64::try_from(case).unwrap();
        let sent = damage(&requests, &mut Random(seed));
        running.spawn(one(rig.address, seed, sent));
        while running.len() >= PARALLEL {
            running.join_next().await.unwrap().unwrap();
        }
        rig.events.0.lock().unwrap().clear();
        // Else the first refusal would end the edits.
        rig.handle.forget_refusals();
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    let frames = |mode| -> u64 {
        let slots = 0..API_SLOTS;
        slots.map(|slot| rig.counters.frames(slot, mode)).sum()
    };
    let observed = frames(FrameMode::Observed);
    if mode == TopicMode::Inject {
        let edited = rig.counters.frames(0, FrameMode::Edited);
        let cases = u64::try_from(cases).unwrap();
        assert!(
            edited > cases / 10,
            "only {edited} Produce frames were edited"
        );
    }
    assert!(
        observed > u64::try_from(cases).unwrap(),
        "only {observed} frames were read at all"
    );
    let grown = resident_mb().saturating_sub(before);
    assert!(
        grown < GROWTH_MB_MAX,
        "grew by {grown} MB over {cases} cases"
    );
    assert!(
        !broker.is_finished(),
        "the broker's checks failed: {:?}",
        broker.await
    );
    // A healthy client is served as if nothing had happened.
    rig.handle.drain();
    timeout(DEADLINE, rig.running)
        .await
        .expect("the proxy ends")
        .unwrap();
}
