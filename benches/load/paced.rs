//! Small requests over many connections, by a raw client that adds nothing of its own: one produce request at a time per
//! connection, acknowledged by the leader.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{ProduceRequest, RequestHeader, TopicName, produce_request},
    protocol::{Encodable, StrBytes},
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::{cpu, volume};

/// Round-trip times.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let at = (self.0.len() as f64 * share) as usize;
        self.0
            .get(at.min(self.0.len().saturating_sub(1)))
            .map_or(0.0, |d| d.as_secs_f64() * 1e6)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn records() -> Bytes {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(&[b'v'; 100])),
        headers: Default::default(),
    };
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut out, [&record], &options).expect("a batch");
    out.freeze()
}

/// A Produce request of version 9 for one record.
fn request(topic: &str) -> Vec<u8> {
    let mut partition = produce_request::PartitionProduceData::default();
    partition.records = Some(records());
    let mut data = produce_request::TopicProduceData::default();
    data.name = TopicName(StrBytes::from_string(topic.to_owned()));
    data.partition_data = vec![partition];
    let mut produce = ProduceRequest::default();
    produce.acks = 1;
    produce.timeout_ms = 10_000;
    produce.topic_data = vec![data];
    let mut header = RequestHeader::default();
    header.request_api_key = 0;
    header.request_api_version = 9;
    header.client_id = Some(StrBytes::from_static_str("bench"));
    let mut body = BytesMut::new();
    header.encode(&mut body, 2).expect("a header");
    produce.encode(&mut body, 9).expect("a request");
    let mut frame = i32::try_from(body.len())
        .expect("a length")
        .to_be_bytes()
        .to_vec();
    frame.extend_from_slice(&body);
    frame
}

async fn round_trip(socket: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Duration {
    let start = Instant::now();
    socket.write_all(request).await.expect("a request sent");
    let mut length = [0; 4];
    socket.read_exact(&mut length).await.expect("an answer");
    answer.resize(
        usize::try_from(i32::from_be_bytes(length)).expect("a length"),
        0,
    );
    socket.read_exact(answer).await.expect("the whole answer");
    start.elapsed()
}

async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).await.expect("a connection");
    socket.set_nodelay(true).expect("a live socket");
    socket
}

/// One connection, one request after the other.
pub(crate) fn ping_pong(address: SocketAddr, requests: usize) -> Latencies {
    topic_once(address, "ping");
    let request = request("ping");
    runtime().block_on(async {
        let mut socket = connect(address).await;
        let mut answer = Vec::new();
        for _ in 0..200 {
            round_trip(&mut socket, &request, &mut answer).await;
        }
        let mut all = Vec::with_capacity(requests);
        for _ in 0..requests {
            all.push(round_trip(&mut socket, &request, &mut answer).await);
        }
        Latencies::of(all)
    })
}

fn topic_once(address: SocketAddr, topic: &str) {
    static KNOWN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    let mut known = KNOWN.lock().expect("not poisoned");
    if !known.iter().any(|k| k == topic) {
        volume::create(&address.to_string(), topic, 1);
        known.push(topic.to_owned());
    }
}

/// `connections` over `topics`, each topic at `per_second` records in all, for a while.
pub(crate) fn many(
    address: SocketAddr,
    topics: usize,
    connections: usize,
    per_second: usize,
    length: Duration,
) -> Latencies {
    for i in 0..topics {
        topic_once(address, &format!("paced-{i}"));
    }
    let interval = Duration::from_secs_f64((connections / topics) as f64 / per_second as f64);
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let start = Instant::now() + Duration::from_millis(200);
        for i in 0..connections {
            let request = request(&format!("paced-{}", i % topics));
            tasks.spawn(async move {
                let mut socket = connect(address).await;
                let mut answer = Vec::new();
                let mut all = Vec::new();
                // Spread evenly, so that the load has no bursts of its own.
                let mut due = start + interval.mul_f64(i as f64 / connections as f64);
                while due < start + length {
                    tokio::time::sleep_until(due).await; // paced load, not a wait for a result
                    all.push(round_trip(&mut socket, &request, &mut answer).await);
                    due += interval;
                }
                all
            });
        }
        let mut all = Vec::new();
        while let Some(done) = tasks.join_next().await {
            all.extend(done.expect("a connection that lasted"));
        }
        Latencies::of(all)
    })
}

/// Connections that said something once and are quiet now; closed on drop.
pub(crate) fn idle(
    address: SocketAddr,
    connections: usize,
) -> (tokio::runtime::Runtime, Vec<TcpStream>) {
    topic_once(address, "ping");
    let runtime = runtime();
    let sockets = runtime.block_on(async {
        let request = request("ping");
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let mut socket = connect(address).await;
            round_trip(&mut socket, &request, &mut Vec::new()).await;
            sockets.push(socket);
        }
        sockets
    });
    (runtime, sockets)
}

/// Runs `load` and gives the highest resident memory of a process meanwhile, MB.
pub(crate) fn watching(pid: u32, load: impl FnOnce()) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || {
        let mut peak = 0.0f64;
        while !stopped.load(Ordering::Relaxed) {
            peak = peak.max(cpu::resident_mb(pid));
            std::thread::park_timeout(Duration::from_millis(50));
        }
        peak
    });
    load();
    stop.store(true, Ordering::Relaxed);
    watcher.join().expect("a watcher")
}
