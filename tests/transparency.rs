//! What a client sends arrives at the broker byte for byte, and the answers arrive byte for byte but for the addresses and
//! versions that must be replaced, however the bytes are cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod fake;

use bytes::Bytes;
use fake::{
    DEADLINE, Exchange, batch, encode, limits, play, request, response, rig, send_in_pieces,
};
use kafka_protocol::{
    messages::{
        BrokerId, FetchResponse, MetadataResponse, OffsetCommitRequest, OffsetCommitResponse,
        ProduceRequest, ProduceResponse, TopicName, fetch_response, metadata_response,
        produce_request,
    },
    protocol::{Decodable, StrBytes},
};
use proptest::prelude::*;
use throughline::event::{BypassReason, Direction};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What kind of exchange a script has at one place.
#[derive(Debug, Clone)]
enum Kind {
    Opaque {
        key: i16,
        version: i16,
        request: Vec<u8>,
        response: Vec<u8>,
    },
    Produce {
        version: i16,
        acks: i16,
        body: usize,
    },
    Fetch {
        version: i16,
        batches: usize,
        body: usize,
    },
    Commit {
        version: i16,
    },
    Metadata {
        version: i16,
        brokers: usize,
    },
    /// A known API whose bodies are noise.
    Noise {
        key: i16,
        version: i16,
        request: Vec<u8>,
        response: Vec<u8>,
    },
}

fn kinds() -> impl Strategy<Value = Kind> {
    let noise = || prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (
            prop_oneof![Just(20i16), Just(10_001), Just(-3), 37i16..45],
            0i16..30,
            noise(),
            noise()
        )
            .prop_map(|(key, version, request, response)| Kind::Opaque {
                key,
                version,
                request,
                response
            }),
        (3i16..=12, -1i16..=1, 0usize..200_000).prop_map(|(version, acks, body)| Kind::Produce {
            version,
            acks,
            body
        }),
        (4i16..=17, 0usize..4, 0usize..90_000).prop_map(|(version, batches, body)| Kind::Fetch {
            version,
            batches,
            body
        }),
        (2i16..=9).prop_map(|version| Kind::Commit { version }),
        (0i16..=13, 0usize..5).prop_map(|(version, brokers)| Kind::Metadata { version, brokers }),
        // APIs with facts to read, versions included that are too old or too new.
        (
            prop_oneof![
                Just(1i16),
                Just(8),
                Just(9),
                Just(11),
                Just(12),
                Just(14),
                Just(68),
                Just(78)
            ],
            0i16..25,
            noise(),
            noise()
        )
            .prop_map(|(key, version, request, response)| Kind::Noise {
                key,
                version,
                request,
                response
            }),
    ]
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// One request and its answer, in the header forms of the version.
fn framed(
    key: i16,
    version: i16,
    first_flexible: i16,
    id: i32,
    asked: &[u8],
    answered: &[u8],
) -> Exchange {
    let flexible = version >= first_flexible;
    Exchange {
        request: request(key, version, id, "app", if flexible { 2 } else { 1 }, asked),
        response: response(id, flexible, answered),
    }
}

fn exchange(kind: &Kind, id: i32) -> Exchange {
    match kind {
        Kind::Opaque {
            key,
            version,
            request,
            response,
        }
        | Kind::Noise {
            key,
            version,
            request,
            response,
        } => framed(*key, *version, i16::MAX, id, request, response),
        Kind::Produce {
            version,
            acks,
            body,
        } => produce(*version, *acks, *body, id),
        Kind::Fetch {
            version,
            batches,
            body,
        } => fetch(*version, *batches, *body, id),
        Kind::Commit { version } => {
            let mut commit = OffsetCommitRequest::default();
            commit.group_id = kafka_protocol::messages::GroupId(StrBytes::from_static_str("g"));
            let answer = encode(&OffsetCommitResponse::default(), *version);
            framed(8, *version, 8, id, &encode(&commit, *version), &answer)
        }
        Kind::Metadata { version, brokers } => {
            let answer = encode(&metadata(*version, *brokers), *version);
            framed(3, *version, 9, id, &[0; 9], &answer)
        }
    }
}

fn produce(version: i16, acks: i16, body: usize, id: i32) -> Exchange {
    let mut partition = produce_request::PartitionProduceData::default();
    partition.records = Some(batch(0, 3, body));
    let mut topic = produce_request::TopicProduceData::default();
    topic.name = name("orders");
    topic.partition_data = vec![partition];
    let mut produce = ProduceRequest::default();
    produce.acks = acks;
    produce.topic_data = vec![topic];
    let answer = encode(&ProduceResponse::default(), version);
    let mut exchange = framed(0, version, 9, id, &encode(&produce, version), &answer);
    if acks == 0 {
        exchange.response.clear();
    }
    exchange
}

fn fetch(version: i16, batches: usize, body: usize, id: i32) -> Exchange {
    let mut records = Vec::new();
    for i in 0..batches {
        records.extend_from_slice(&batch(i64::try_from(i).unwrap() * 5, 5, body));
    }
    // As a broker does it, the last batch may be cut off.
    records.truncate(records.len().saturating_sub(body % 97));
    let mut partition = fetch_response::PartitionData::default();
    partition.records = Some(Bytes::from(records));
    let mut topic = fetch_response::FetchableTopicResponse::default();
    if version < 13 {
        topic.topic = name("orders");
    }
    topic.partitions = vec![partition];
    let mut answer = FetchResponse::default();
    answer.responses = vec![topic];
    let flexible = version >= 12;
    let asked = encode(&kafka_protocol::messages::FetchRequest::default(), version);
    Exchange {
        request: request(1, version, id, "app", if flexible { 2 } else { 1 }, &asked),
        response: response(id, flexible, &encode(&answer, version)),
    }
}

fn metadata(version: i16, brokers: usize) -> MetadataResponse {
    let mut answer = MetadataResponse::default();
    for i in 0..brokers {
        let mut broker = metadata_response::MetadataResponseBroker::default();
        broker.node_id = BrokerId(i32::try_from(i).unwrap());
        broker.host = StrBytes::from_string(format!("kafka-{}.example", "x".repeat(i * 7)));
        broker.port = 9092;
        answer.brokers.push(broker);
    }
    if version >= 2 {
        answer.cluster_id = Some(StrBytes::from_static_str("cluster-1"));
    }
    answer
}

/// What the client must see, by an independent codec: the same message with our addresses.
fn expected(kind: &Kind, sent: &[u8], rig: &fake::Rig) -> Vec<u8> {
    let Kind::Metadata { version, .. } = kind else {
        return sent.to_vec();
    };
    let flexible = *version >= 9;
    let header = if flexible { 9 } else { 8 };
    let mut body = Bytes::copy_from_slice(&sent[header..]);
    let mut message = MetadataResponse::decode(&mut body, *version).unwrap();
    let ports = rig.handle.brokers();
    for broker in &mut message.brokers {
        let (_, advertised, local) = ports
            .iter()
            .find(|(id, ..)| *id == broker.node_id.0)
            .expect("a listener per broker");
        assert_eq!(advertised.host.as_str(), broker.host.as_str());
        broker.host = StrBytes::from_static_str("127.0.0.1");
        broker.port = i32::from(*local);
    }
    let id = i32::from_be_bytes(sent[4..8].try_into().unwrap());
    response(id, flexible, &encode(&message, *version))
}

async fn run(kinds: Vec<Kind>, request_cuts: Vec<usize>, response_cuts: Vec<usize>) {
    let script: Vec<Exchange> = kinds
        .iter()
        .enumerate()
        .map(|(i, k)| exchange(k, i32::try_from(i).unwrap()))
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = rig(listener.local_addr().unwrap(), limits());
    let broker = tokio::spawn(play(listener, script.clone(), response_cuts));
    let mut client = TcpStream::connect(rig.address).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (mut sent, mut received) = (Vec::new(), 0u64);
    for (kind, exchange) in kinds.iter().zip(&script) {
        send_in_pieces(&mut client, &exchange.request, &request_cuts).await;
        sent.extend_from_slice(&exchange.request);
        if exchange.response.is_empty() {
            continue;
        }
        let mut length = [0; 4];
        client.read_exact(&mut length).await.expect("an answer");
        let mut answer = length.to_vec();
        answer.resize(4 + usize::try_from(i32::from_be_bytes(length)).unwrap(), 0);
        client
            .read_exact(&mut answer[4..])
            .await
            .expect("the whole answer");
        received += answer.len() as u64;
        let want = expected(kind, &exchange.response, &rig);
        assert!(
            answer == want,
            "{kind:?}: the answer differs: {} bytes, wanted {}",
            answer.len(),
            want.len()
        );
    }
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "bytes nobody sent: {rest:?}");
    let seen = broker.await.unwrap();
    assert!(
        seen == sent,
        "the broker saw other bytes than the client sent"
    );
    assert_eq!(
        rig.counters.bytes(Direction::ClientToBroker),
        sent.len() as u64
    );
    assert_eq!(rig.counters.bytes(Direction::BrokerToClient), received);
    assert_eq!(rig.counters.bypassed(BypassReason::Tunnel), 0);
    rig.running.abort();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn traffic_cut_anywhere_arrives_byte_identical_but_for_the_addresses(
        kinds in prop::collection::vec(kinds(), 1..8),
        mut request_cuts in prop::collection::vec(0usize..600, 0..6),
        mut response_cuts in prop::collection::vec(0usize..100_000, 0..6),
    ) {
        request_cuts.sort_unstable();
        response_cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(DEADLINE, run(kinds, request_cuts, response_cuts)).await.expect("within the deadline");
        });
    }
}
