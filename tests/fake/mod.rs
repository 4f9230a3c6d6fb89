//! A proxy in this process between a scripted client and a scripted broker: bytes in, bytes out, nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod line;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use kafka_protocol::{messages::RequestHeader, protocol::Encodable};
use throughline::{
    event::{DataplaneCounters, Event, Observer, Reservation},
    kafka::{
        dial::HostPort,
        proxy::{
            Handle, Proxy,
            settings::{
                InjectSettings, Limits, LineageSettings, Listen, Modes, Settings, TopicMode,
            },
        },
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Longest wait for anything in these tests.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// One request and what the broker answers; an empty response is none (acks=0).
#[derive(Debug, Clone)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub response: Vec<u8>,
}

/// Keeps every event.
#[derive(Debug, Default)]
pub struct Recorder(pub Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn observe(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
    fn wants_records(&self, _: &str, _: i64, _: i64, _: i64) -> bool {
        false
    }
    fn examines(&self, _: &str, _: i32, _: usize) -> bool {
        false
    }
    fn reserve(&self, _: usize) -> Option<Reservation> {
        None
    }
}

/// A proxy under test.
#[derive(Debug)]
pub struct Rig {
    pub address: SocketAddr,
    pub handle: Handle,
    pub counters: Arc<DataplaneCounters>,
    pub events: Arc<Recorder>,
    pub running: JoinHandle<()>,
}

/// Limits small enough to reach in a test.
pub fn limits() -> Limits {
    Limits {
        connections: 100,
        frame_bytes: 8 << 20,
        edit_bytes: 4 << 20,
        in_flight_requests: 64,
    }
}

/// Starts a proxy before `broker`.
pub fn rig(broker: SocketAddr, limits: Limits) -> Rig {
    rig_with_ports(broker, limits, 0)
}

/// The same, with broker listeners from `base` on.
pub fn rig_with_ports(broker: SocketAddr, limits: Limits, base: u16) -> Rig {
    rig_with(broker, limits, base, None)
}

/// The same, with another name given to clients.
pub fn rig_with(broker: SocketAddr, limits: Limits, base: u16, advertise: Option<String>) -> Rig {
    let how = (TopicMode::Observe, InjectSettings::default());
    rig_in_mode(broker, limits, base, advertise, how)
}

/// A proxy that injects into every topic, or that treats records in another way.
pub fn rig_that(broker: SocketAddr, mode: TopicMode, inject: InjectSettings) -> Rig {
    rig_in_mode(broker, limits(), 0, None, (mode, inject))
}

/// All of it chosen.
pub fn rig_in_mode(
    broker: SocketAddr,
    limits: Limits,
    base: u16,
    advertise: Option<String>,
    (mode, inject): (TopicMode, InjectSettings),
) -> Rig {
    let listen = Listen {
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        port: 0,
    };
    let settings = Settings {
        bootstrap: vec![HostPort {
            host: broker.ip().to_string(),
            port: broker.port(),
        }],
        listen: listen.clone(),
        broker_listen: Listen {
            port: base,
            ..listen
        },
        advertise,
        tls: None,
        inject,
        // Most is read where traces are wanted.
        lineage: LineageSettings {
            traces: true,
            ..LineageSettings::default()
        },
        limits,
        connect_timeout: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(5),
    };
    let modes = Arc::new(ArcSwap::from_pointee(Modes {
        default: mode,
        topics: Vec::new(),
    }));
    let counters = Arc::new(DataplaneCounters::default());
    let events = Arc::new(Recorder::default());
    let proxy = Proxy::bind(
        settings,
        modes,
        Arc::clone(&counters),
        Arc::clone(&events) as _,
    )
    .unwrap();
    let (address, handle) = (proxy.local_addresses()[0], proxy.handle());
    Rig {
        address,
        handle,
        counters,
        events,
        running: tokio::spawn(proxy.run()),
    }
}

/// A broker that plays one script to its first client: waits for each request whole, then answers. Returns what it read.
pub async fn play(listener: TcpListener, script: Vec<Exchange>, cuts: Vec<usize>) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut seen = Vec::new();
    for exchange in script {
        let mut request = vec![0; exchange.request.len()];
        socket
            .read_exact(&mut request)
            .await
            .expect("the whole request reaches the broker");
        seen.extend(request);
        send_in_pieces(&mut socket, &exchange.response, &cuts).await;
    }
    socket.read_to_end(&mut seen).await.unwrap();
    seen
}

/// Writes `bytes` with a pause of the scheduler at each cut.
pub async fn send_in_pieces(socket: &mut TcpStream, bytes: &[u8], cuts: &[usize]) {
    let mut at = 0;
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        let cut = cut.clamp(at, bytes.len());
        if cut > at {
            socket.write_all(&bytes[at..cut]).await.unwrap();
            tokio::task::yield_now().await;
        }
        at = cut;
    }
}

/// A whole request frame.
pub fn request(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    client: &str,
    header_version: i16,
    body: &[u8],
) -> Vec<u8> {
    let mut header = RequestHeader::default();
    header.request_api_key = api_key;
    header.request_api_version = version;
    header.correlation_id = correlation_id;
    header.client_id = Some(kafka_protocol::protocol::StrBytes::from_string(
        client.to_owned(),
    ));
    let mut out = BytesMut::new();
    header.encode(&mut out, header_version).unwrap();
    out.extend_from_slice(body);
    frame(&out)
}

/// A whole response frame.
pub fn response(correlation_id: i32, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut out = correlation_id.to_be_bytes().to_vec();
    if flexible {
        out.push(0);
    }
    out.extend_from_slice(body);
    frame(&out)
}

/// Puts the length before it.
pub fn frame(content: &[u8]) -> Vec<u8> {
    let mut out = i32::try_from(content.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(content);
    out
}

/// Encodes a message of `kafka-protocol`.
pub fn encode<M: Encodable>(message: &M, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out, version).unwrap();
    out.to_vec()
}

/// A v2 batch whose records nobody opens.
pub fn batch(base_offset: i64, count: i32, body: usize) -> Bytes {
    let mut out = Vec::new();
    out.extend(base_offset.to_be_bytes());
    out.extend(i32::try_from(49 + body).unwrap().to_be_bytes());
    out.extend(0i32.to_be_bytes());
    out.push(2);
    out.extend(0u32.to_be_bytes());
    out.extend(0i16.to_be_bytes());
    out.extend((count - 1).to_be_bytes());
    out.extend(1_700_000_000_000i64.to_be_bytes());
    out.extend(1_700_000_000_000i64.to_be_bytes());
    out.extend((-1i64).to_be_bytes());
    out.extend((-1i16).to_be_bytes());
    out.extend((-1i32).to_be_bytes());
    out.extend(count.to_be_bytes());
    // In pieces: byte by byte, a batch of 50 MB takes seconds in an unoptimised build.
    let pattern: Vec<u8> = (0..=250).collect();
    for _ in 0..body.div_ceil(pattern.len()) {
        out.extend_from_slice(&pattern);
    }
    out.truncate(61 + body);
    Bytes::from(out)
}

/// Waits until `ready` is true.
pub async fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let poll = async {
        while !ready() {
            tokio::time::sleep(Duration::from_millis(2)).await; // poll
        }
    };
    tokio::time::timeout(DEADLINE, poll)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"));
}
