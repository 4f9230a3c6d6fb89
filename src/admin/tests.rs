//! The listener over a real socket.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use super::*;
use crate::{
    event::{
        Answer, Codec, Connection, DeliveredRecord, Event, EventKind, Facts, LateSchemas, Produced,
        ProducedPart, PublishOutcome, RecordView, SentRecords, SentTo, Stamp,
    },
    metrics::Settings,
    pipeline::{self, RecordOpener, Unreadable},
    sli::Engine,
};

#[derive(Debug, Default)]
struct Switches(Mutex<Vec<String>>);

impl Switches {
    fn turn(&self, what: String) -> Result<(), String> {
        if what.ends_with("nonsense") {
            return Err("allowed: observe, off".into());
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        Ok(())
    }
}

impl Control for Switches {
    fn mode(&self) -> String {
        "observe".into()
    }

    fn set_mode(&self, mode: &str) -> Result<(), String> {
        self.turn(format!("mode {mode}"))
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.turn(format!("level {level}"))
    }

    fn drain(&self) -> Result<(), String> {
        self.turn("drain".into())
    }
}

#[derive(Debug)]
struct Closed;

impl RecordOpener for Closed {
    fn delivered(&mut self, _: &[u8], _: bool) -> Result<Vec<DeliveredRecord>, Unreadable> {
        Err(Unreadable)
    }
    fn sent(&mut self, _: &SentTo, _: &[u8]) -> Result<SentRecords, Unreadable> {
        Err(Unreadable)
    }
    fn show(
        &mut self,
        _: &[u8],
        _: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Result<Vec<RecordView>, Unreadable> {
        Err(Unreadable)
    }
    fn late(&mut self) -> Vec<LateSchemas> {
        Vec::new()
    }
}

struct Fixture {
    address: SocketAddr,
    switches: Arc<Switches>,
    readiness: Arc<Readiness>,
}

/// A listener over one worker that has seen a client whose topic has a hostile name.
async fn fixture() -> Fixture {
    let engine = Engine::new(Vec::new()).unwrap();
    let metrics = Arc::new(
        Metrics::new(&Settings {
            max_series: 1000,
            latency_bounds: engine.bounds().seconds(),
            push: false,
        })
        .unwrap(),
    );
    metrics.set_cluster("prod");
    let (hot, worker) = pipeline::new(
        pipeline::Settings::default(),
        engine,
        &metrics,
        Box::new(Closed),
        Instant::now(),
    );
    let snapshots = worker.snapshots();
    crate::event::Observer::observe(&*hot, seen());
    worker.run(async {}).await;
    let switches = Arc::new(Switches::default());
    let readiness = Arc::new(Readiness::new(&["listener", "broker"]));
    let sources = Sources {
        metrics,
        snapshots,
        readiness: Arc::clone(&readiness),
        config: Box::new(|| "kafka: {}".into()),
        control: Arc::clone(&switches) as Arc<dyn Control>,
        token: None,
        version: "0.1.0".into(),
        counters: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(sources), std::future::pending()));
    Fixture {
        address,
        switches,
        readiness,
    }
}

fn seen() -> Event {
    let at = Stamp::now();
    let answer = Answer {
        operation: "Produce",
        time_limit: None,
        duration: std::time::Duration::ZERO,
        throttle: std::time::Duration::ZERO,
        error: None,
        facts: Facts::Produced(Produced {
            acks: -1,
            transactional: false,
            parts: vec![ProducedPart {
                topic: "<script>\"&".into(),
                partition: 0,
                batches: 1,
                records: 1,
                bytes: 1,
                codec: Codec::None,
                transaction: None,
                sequence: None,
                base_timestamp_ms: 0,
                max_timestamp_ms: 0,
                outcome: PublishOutcome::Lost,
                captured: None,
                injection: crate::event::Injection::default(),
                traced: Vec::new(),
                unrecorded: None,
                descent: Vec::new(),
            }],
        }),
    };
    Event {
        at,
        connection: Arc::new(Connection {
            id: 1,
            peer: SocketAddr::from(([127, 0, 0, 1], 5)),
            broker: "1".into(),
            broker_address: "b:9092".into(),
            opened: at,
        }),
        client: "app".into(),
        kind: EventKind::Answered(answer),
    }
}

#[tokio::test]
async fn requests_past_the_limit_are_refused_at_once() {
    let f = fixture().await;
    let mut held = Vec::new();
    for _ in 0..REQUESTS_MAX {
        let mut stream = TcpStream::connect(f.address).await.unwrap();
        let request =
            "POST /mode HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        // Asked for the body: the request is being worked on.
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        held.push(stream);
    }
    let (status, body) = text(f.address, "GET /livez", "").await;
    assert_eq!(
        (status, body),
        (503, "too many requests at once\n".to_owned())
    );
}

/// (status, headers in lower case, body) of one request on a connection of its own.
async fn ask(address: SocketAddr, request: &str, body: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let text = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec())
        .unwrap()
        .to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[end + 4..].to_vec())
}

async fn text(address: SocketAddr, request: &str, body: &str) -> (u16, String) {
    let (status, _, body) = ask(address, request, body).await;
    (status, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn liveness_holds_while_readiness_names_the_closed_gate() {
    let f = fixture().await;
    assert_eq!(
        text(f.address, "GET /livez", "").await,
        (200, "ok\n".into())
    );
    f.readiness.open("listener", "");
    f.readiness.close("broker", "connection refused");
    let expected = "not ready\n[-] broker: connection refused\n".to_owned();
    assert_eq!(text(f.address, "GET /readyz", "").await, (503, expected));
    f.readiness.open("broker", "no rights to describe configs");
    let (status, body) = text(f.address, "GET /readyz?verbose", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        "ready\n[+] broker: no rights to describe configs\n[+] listener\n"
    );
}

#[tokio::test]
async fn metrics_come_in_the_format_and_encoding_asked_for() {
    let f = fixture().await;
    let (status, head, body) = ask(f.address, "GET /metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"));
    let plain = String::from_utf8(body).unwrap();
    assert!(plain.contains("throughline_sli_events_total{cluster=\"prod\""));
    let request = "GET /metrics\naccept: application/openmetrics-text\r\naccept-encoding: gzip\r\n";
    let (_, head, body) = ask(f.address, request, "").await;
    assert!(head.contains("content-encoding: gzip"));
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
    let mut page = String::new();
    let mut gzip = flate2::read::GzDecoder::new(&*body);
    std::io::Read::read_to_string(&mut gzip, &mut page).unwrap();
    assert!(page.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_api_answers_json_and_its_document_names_every_path() {
    let f = fixture().await;
    for path in ["slis", "groups", "topics", "clients", "connections"] {
        let (status, body) = text(f.address, &format!("GET /api/v1/{path}"), "").await;
        assert_eq!(status, 200);
        let value: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert!(value.is_array(), "{path}");
    }
    let (_, body) = text(f.address, "GET /api/v1/clients", "").await;
    assert!(body.contains("\"client\":\"app\""));
    let (_, body) = text(f.address, "GET /api/v1/openapi.json", "").await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    for (path, methods) in routes::ROUTES {
        for method in methods {
            assert!(document["paths"][path][method.to_lowercase()].is_object());
        }
    }
    // The schemas list exactly the fields that are sent.
    let schema = &document["components"]["schemas"]["Sli"]["properties"];
    let (_, body) = text(f.address, "GET /api/v1/slis", "").await;
    let slis: serde_json::Value = serde_json::from_str(&body).unwrap();
    let sent: Vec<_> = slis[0].as_object().unwrap().keys().collect();
    let described: Vec<_> = schema.as_object().unwrap().keys().collect();
    assert_eq!(sent.len(), described.len());
    assert!(sent.iter().all(|k| described.contains(k)));
}

#[tokio::test]
async fn the_page_escapes_what_came_from_outside_and_runs_no_script() {
    let f = fixture().await;
    let (status, head, body) = ask(f.address, "GET /", "").await;
    let page = String::from_utf8(body).unwrap();
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'"));
    assert!(page.contains("&lt;script&gt;&quot;&amp;"));
    assert!(!page.contains("<script"));
    assert!(page.contains("mode observe") && page.contains("cluster prod"));
    assert!(page.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn unknown_paths_and_methods_say_what_there_is() {
    let f = fixture().await;
    let (status, body) = text(f.address, "GET /nothing", "").await;
    assert_eq!(status, 404);
    assert!(body.contains("/metrics") && body.contains("/nothing"));
    let (status, head, body) = ask(f.address, "POST /metrics", "").await;
    assert_eq!((status, body), (405, b"/metrics takes GET\n".to_vec()));
    assert!(head.contains("allow: get"));
    let (status, _) = text(f.address, "GET /config", "").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn switches_are_turned_from_loopback_and_say_what_is_wrong() {
    let f = fixture().await;
    assert_eq!(text(f.address, "PUT /log-level", "debug\n").await.0, 200);
    assert_eq!(text(f.address, "POST /mode", "off").await.0, 200);
    assert_eq!(text(f.address, "POST /drain", "").await.0, 200);
    let (status, body) = text(f.address, "POST /mode", "nonsense").await;
    assert_eq!((status, body), (400, "allowed: observe, off\n".to_owned()));
    let foreign = "POST /drain\norigin: http://evil.example\r\n";
    assert_eq!(text(f.address, foreign, "").await.0, 403);
    let long = "x".repeat(BODY_BYTES_MAX + 1);
    assert_eq!(text(f.address, "PUT /log-level", &long).await.0, 413);
    let turned = f.switches.0.lock().unwrap().clone();
    assert_eq!(turned, ["level debug", "mode off", "drain"]);
}
