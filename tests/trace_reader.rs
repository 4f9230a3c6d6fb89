//! The reader behind `throughline trace` on scripted brokers: leaders that move, connections that break, rights that lack.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;

use std::sync::{Arc, Mutex, atomic::Ordering::Relaxed};

use bytes::Bytes;
use fake::{DEADLINE, encode, line::*, response};
use kafka_protocol::{
    messages::{
        ApiVersionsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
        MetadataResponse, api_versions_response::ApiVersion, fetch_response, list_offsets_response,
        metadata_response,
    },
    protocol::Decodable,
};
use throughline::kafka::{
    control::{Access, PartitionReader, Progress, ReadRecord, Unread, Window},
    dial::HostPort,
    wire::{api::ApiKey, frame::request_header, search::Needles},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

const NOT_LEADER: i16 = 6;
const FORBIDDEN: i16 = 29;
/// Batches of one record each in `orders`-0.
const BATCHES: i64 = 5;

/// What becomes of the leader, node 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    /// Node 2 leads after so many fetches; node 1 says so, or breaks off.
    Moves {
        after: i64,
        breaks: bool,
    },
    /// It answers every fetch with this.
    Refuses(i16),
}

/// Two brokers that share what they know.
struct Cluster {
    ports: [u16; 2],
    fate: Fate,
    /// Fetches that node 1 has answered with records.
    served: Mutex<i64>,
}

impl Cluster {
    async fn start(fate: Fate) -> Arc<Self> {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let cluster = Arc::new(Self {
            ports: listeners.each_ref().map(|l| l.local_addr().unwrap().port()),
            fate,
            served: Mutex::new(0),
        });
        for (node, listener) in (1..).zip(listeners) {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&cluster).serve(node, stream));
                }
            });
        }
        cluster
    }

    fn leader(&self) -> i32 {
        match self.fate {
            Fate::Moves { after, .. } if *self.served.lock().unwrap() >= after => 2,
            _ => 1,
        }
    }

    async fn serve(self: Arc<Self>, node: i32, mut stream: TcpStream) {
        while stream.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0) {
            let frame = read_frame(&mut stream).await;
            let header = request_header(&frame).unwrap();
            let body = Bytes::copy_from_slice(&frame[header.length..]);
            let version = header.version;
            let body = match header.api {
                ApiKey::API_VERSIONS => encode(&offered(), version),
                ApiKey::METADATA => encode(&self.metadata(), version),
                ApiKey::LIST_OFFSETS => encode(&self.offsets(node, body, version), version),
                ApiKey::FETCH => match self.fetch(node, body, version) {
                    Some(answer) => encode(&answer, version),
                    None => return,
                },
                other => panic!("{other:?}"),
            };
            let answer = response(header.correlation_id, false, &body);
            stream.write_all(&answer).await.unwrap();
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let mut all = MetadataResponse::default();
        for (node, port) in (1..).zip(self.ports) {
            let mut broker = metadata_response::MetadataResponseBroker::default();
            broker.node_id = node.into();
            broker.host = "127.0.0.1".into();
            broker.port = port.into();
            all.brokers.push(broker);
        }
        let mut partition = metadata_response::MetadataResponsePartition::default();
        partition.leader_id = self.leader().into();
        let mut topic = metadata_response::MetadataResponseTopic::default();
        topic.name = Some(name("orders"));
        topic.partitions.push(partition);
        all.topics.push(topic);
        all
    }

    fn offsets(&self, node: i32, mut body: Bytes, version: i16) -> ListOffsetsResponse {
        let asked = ListOffsetsRequest::decode(&mut body, version).unwrap();
        let mut found = list_offsets_response::ListOffsetsPartitionResponse::default();
        found.error_code = if node == self.leader() { 0 } else { NOT_LEADER };
        found.offset = match asked.topics[0].partitions[0].timestamp {
            -1 => BATCHES,
            _ => 0,
        };
        let mut topic = list_offsets_response::ListOffsetsTopicResponse::default();
        topic.name = name("orders");
        topic.partitions.push(found);
        let mut all = ListOffsetsResponse::default();
        all.topics.push(topic);
        all
    }

    /// One batch; `None` breaks off.
    fn fetch(&self, node: i32, mut body: Bytes, version: i16) -> Option<FetchResponse> {
        let asked = FetchRequest::decode(&mut body, version).unwrap();
        let at = asked.topics[0].partitions[0].fetch_offset;
        let mut part = fetch_response::PartitionData::default();
        match (self.fate, node == self.leader()) {
            (Fate::Refuses(code), _) => part.error_code = code,
            (Fate::Moves { breaks: true, .. }, false) => return None,
            (_, false) => part.error_code = NOT_LEADER,
            (_, true) => {
                let one = with_header(record("k", 10), "correlation-id", "c-1");
                let mut bytes = batch(&[one]).to_vec();
                bytes[..8].copy_from_slice(&at.to_be_bytes());
                part.records = Some(Bytes::from(bytes));
                *self.served.lock().unwrap() += 1;
            }
        }
        let mut topic = fetch_response::FetchableTopicResponse::default();
        topic.topic = name("orders");
        topic.partitions.push(part);
        let mut all = FetchResponse::default();
        all.responses.push(topic);
        Some(all)
    }

    async fn scan(&self) -> (Vec<ReadRecord>, Vec<Unread>, Arc<Progress>) {
        let bootstrap = HostPort {
            host: "127.0.0.1".to_owned(),
            port: self.ports[0],
        };
        let connected =
            PartitionReader::connect(vec![bootstrap], Access::default(), DEADLINE).await;
        let mut reader = connected.unwrap();
        let partitions = [("orders".into(), 0)];
        let window = Window { from: 0, to: None };
        let (spans, unread) = reader.plan(&partitions, &[window]).await;
        assert_eq!(unread, []);
        let progress = Arc::<Progress>::default();
        let needles = Needles::new([&b"c-1"[..]]);
        let scan = reader.scan(spans, needles, |_| true, Arc::clone(&progress));
        let (mut found, unread) = scan.await;
        found.sort_by_key(|record| record.offset);
        (found, unread, progress)
    }
}

fn offered() -> ApiVersionsResponse {
    let mut all = ApiVersionsResponse::default();
    for (key, min, max) in [(1, 4, 16), (2, 1, 9), (3, 0, 8), (18, 0, 3)] {
        let mut api = ApiVersion::default();
        (api.api_key, api.min_version, api.max_version) = (key, min, max);
        all.api_keys.push(api);
    }
    all
}

#[tokio::test]
async fn what_moves_in_the_middle_is_read_on_where_it_went() {
    for fate in [
        Fate::Stays,
        Fate::Moves {
            after: 2,
            breaks: false,
        },
        Fate::Moves {
            after: 2,
            breaks: true,
        },
    ] {
        let cluster = Cluster::start(fate).await;
        let (found, unread, progress) = cluster.scan().await;
        let offsets: Vec<i64> = found.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, [0, 1, 2, 3, 4], "{fate:?}");
        assert_eq!(unread, [], "{fate:?}");
        assert_eq!(progress.records.load(Relaxed), 5, "{fate:?}");
        assert_eq!(progress.passed.load(Relaxed), 5, "{fate:?}");
        assert_eq!(
            found[0].headers,
            [(b"correlation-id".to_vec(), Some(b"c-1".to_vec()))]
        );
        assert_eq!(found[0].identity, found[1].identity);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_with_the_brokers_word() {
    for (code, word) in [
        (FORBIDDEN, "TOPIC_AUTHORIZATION_FAILED"),
        (NOT_LEADER, "NOT_LEADER_OR_FOLLOWER"),
    ] {
        let cluster = Cluster::start(Fate::Refuses(code)).await;
        let (found, unread, _) = cluster.scan().await;
        assert_eq!(found, []);
        assert_eq!(unread.len(), 1);
        assert_eq!(unread[0].reason, format!("the broker says {word}"));
        assert_eq!((unread[0].span.from, unread[0].span.to), (0, BATCHES));
    }
}
