//! The pusher against a collector that is not there, and one that answers what it is told.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{super::Protocol, *};
use crate::metrics::Settings as MetricsSettings;

fn registry() -> Arc<Metrics> {
    let settings = MetricsSettings {
        max_series: 20_000,
        latency_bounds: vec![1.0],
        push: true,
    };
    Arc::new(Metrics::new(&settings).unwrap())
}

fn pusher(metrics: &Arc<Metrics>, endpoint: String, protocol: Protocol) -> Pusher {
    let settings = Settings {
        endpoint: Some(endpoint),
        protocol,
        headers: Vec::new(),
        service_name: None,
        attributes: Vec::new(),
    };
    super::metrics(&settings, Arc::clone(metrics)).unwrap()
}

/// Answers each request on a connection of its own with this status, and counts them.
async fn answering(listener: TcpListener, status: &'static str, asked: Arc<std::sync::Mutex<u64>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut seen = Vec::new();
        let mut whole = None;
        while whole.is_none_or(|length| seen.len() < length) {
            if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&seen).to_lowercase();
            whole = text.split_once("\r\n\r\n").map(|(head, _)| {
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                head.len() + 4 + length
            });
        }
        *asked.lock().unwrap() += 1;
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_away_costs_points_that_are_counted_once() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let metrics = registry();
        let mut recorder = metrics.recorder(Instant::now());
        recorder.add(Id::ProducedRecords, &["t"], 1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let mut pusher = pusher(&metrics, format!("http://{nobody}"), protocol);
        let points = || {
            let pushed = metrics.gather_pushed();
            let mut starts = Starts::new(0);
            let all = data::metrics(&pushed, "", &mut starts, 1);
            all.map(|metric| data::points(&metric)).sum::<usize>()
        };
        let sent = points();
        pusher.push().await;
        assert_eq!(metrics.export_failures("metrics").count(), 1);
        let lost = metrics.dropped("metrics", "export").count();
        assert_eq!(usize::try_from(lost).unwrap(), sent);
    }
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_does_not_keep_the_rest_back() {
    let metrics = registry();
    let mut recorder = metrics.recorder(Instant::now());
    for number in 0..POINTS_MAX {
        let topic = number.to_string();
        recorder.add(Id::ProducedRecords, &[&topic], 1);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::default();
    let server = tokio::spawn(answering(listener, "400 Bad Request", Arc::clone(&asked)));
    let endpoint = format!("http://{address}");
    let mut pusher = pusher(&metrics, endpoint, Protocol::HttpProtobuf);
    pusher.push().await;
    server.abort();
    // What comes before the full family, that family, and what comes after it.
    assert_eq!(*asked.lock().unwrap(), 3);
    assert_eq!(metrics.export_failures("metrics").count(), 3);
}

#[tokio::test]
async fn the_last_push_is_made_when_it_is_asked_for_however_long_the_interval() {
    let metrics = registry();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::default();
    let server = tokio::spawn(answering(listener, "200 OK", Arc::clone(&asked)));
    let endpoint = format!("http://{address}");
    let pusher = pusher(&metrics, endpoint, Protocol::HttpProtobuf);
    pusher.run(std::future::ready(())).await;
    server.abort();
    assert_eq!(*asked.lock().unwrap(), 1);
    assert_eq!(metrics.export_failures("metrics").count(), 0);
}

#[test]
fn an_instance_is_a_random_uuid() {
    let one = instance().unwrap();
    let parsed = uuid::Uuid::parse_str(&one).unwrap();
    assert_eq!(parsed.get_version_num(), 4);
    assert_eq!(parsed.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(parsed.to_string(), one);
    assert_ne!(instance(), Some(one));
}
