//! Independent relays on both sides of the sidecar record the same run, and are compared byte by byte.
//!
//! Why: "observe" promises that nothing changes but addresses and versions. The sidecar is told to advertise another address of
//! the loopback, where a relay listens on the same port, so every connection passes a relay on each side. What may differ is
//! decoded by a codec that is not ours. This file must not look into the sidecar.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, with a message that says what was seen"
)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Decodable as _;
use support::clients::{Client, Output};
use support::deadline::poll_until;
use support::kafka::{Kafka, KafkaSpec, Listener, Version};
use support::ports;
use support::relay::{Recording, Relay};
use support::throughline::{Throughline, ThroughlineSpec};

const LIMIT: Duration = Duration::from_secs(120);
const COUNT: usize = 2000;
/// What clients are told instead of 127.0.0.1; the whole of 127/8 is this machine.
const ADVERTISED: &str = "127.0.0.2";

/// Client, relay, sidecar, relay, broker. Fields end in this order.
struct Chain {
    before_bootstrap: Relay,
    before_node: Relay,
    sidecar: Throughline,
    behind: Relay,
    kafka: Kafka,
    /// What the sidecar tells clients, and what the broker told it.
    told: (String, u16),
    real: (String, u16),
}

impl Chain {
    fn start() -> Self {
        let behind_port = ports::free();
        let spec = KafkaSpec::new(Version::V4_4_0).advertise(Listener::Relayed, 1, behind_port);
        let kafka = Kafka::start(spec);
        let broker = address(&kafka.address(Listener::Relayed, 1));
        let behind = Relay::start(behind_port, broker, true);
        let node_port = ports::free();
        let spec = ThroughlineSpec::new(&behind.address().to_string())
            .mode("observe")
            .set("kafka.advertise", ADVERTISED)
            .set(
                "kafka.broker_listen",
                &format!("127.0.0.1:{}", node_port - 1),
            );
        let sidecar = Throughline::start(spec);
        let bootstrap = address(&sidecar.bootstrap());
        let node = SocketAddr::from(([127, 0, 0, 1], node_port));
        let advertised = address(&format!("{ADVERTISED}:{node_port}"));
        Self {
            before_bootstrap: Relay::recording(bootstrap),
            before_node: Relay::start_at(advertised, node, true),
            sidecar,
            behind,
            kafka,
            told: (ADVERTISED.to_owned(), node_port),
            real: ("127.0.0.1".to_owned(), behind_port),
        }
    }

    fn run(&self, client: Client, arguments: &[&str]) -> Output {
        let bootstrap = self.before_bootstrap.address().to_string();
        let output = client.run(&[arguments, &["--bootstrap", &bootstrap]].concat());
        let errors: Vec<_> = output.of_type("error").collect();
        assert!(
            errors.is_empty(),
            "{} {arguments:?}: {errors:?}",
            client.name()
        );
        output
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Everything on either side of the sidecar is the same but for addresses and versions, and it is what the sidecar counted.
#[test]
fn both_sides_of_the_sidecar_carry_the_same_bytes() {
    let chain = Chain::start();
    for client in Client::ALL {
        work(&chain, client);
    }
    newest_protocols(&chain);
    for relay in [&chain.before_bootstrap, &chain.before_node, &chain.behind] {
        relay.wait_until_closed(LIMIT);
    }
    let mut front = chain.before_bootstrap.recordings();
    let at_node = chain.before_node.recordings();
    assert!(
        !at_node.is_empty(),
        "no client came to the advertised address"
    );
    front.extend(at_node);
    let mut back = chain.behind.recordings();
    // The sidecar's own question at its start has no client.
    back.retain(|one| !is_own_question(one));
    let by_requests = |a: &Recording, b: &Recording| a.client_to_broker.cmp(&b.client_to_broker);
    front.sort_by(by_requests);
    back.sort_by(by_requests);
    assert_eq!(
        front.len(),
        back.len(),
        "connections before and behind the sidecar"
    );
    let mut tally = Tally::default();
    for (front, back) in front.iter().zip(&back) {
        assert!(
            front.client_to_broker == back.client_to_broker,
            "requests differ from byte {:?} on (lengths {} and {})",
            first_difference(&front.client_to_broker, &back.client_to_broker),
            front.client_to_broker.len(),
            back.client_to_broker.len()
        );
        compare(&chain, front, back, &mut tally);
    }
    for key in [
        ApiKey::Metadata,
        ApiKey::FindCoordinator,
        ApiKey::ApiVersions,
    ] {
        assert!(
            tally.edited.contains_key(&(key as i16)),
            "no {key:?} was seen: {tally:?}"
        );
    }
    assert!(tally.identical > 100, "too little was compared: {tally:?}");
    counters_agree(&chain.sidecar, &front);
    chain.sidecar.terminate();
}

fn work(chain: &Chain, client: Client) {
    let topic = client.name();
    chain.kafka.create_topic(topic, 6);
    let count = COUNT.to_string();
    chain.run(client, &["produce", "--topic", topic, "--count", &count]);
    let reading = ["--group", topic, "--until", &count];
    let output = chain.run(
        client,
        &[&["consume", "--topic", topic], &reading[..]].concat(),
    );
    assert_eq!(output.records().len(), COUNT, "{topic}");
}

/// Transactions, acks=0, compression, a KIP-848 group and a share group.
fn newest_protocols(chain: &Chain) {
    let common = ["produce", "--topic", "java", "--count", "200"];
    let ways: [&[&str]; 3] = [
        &["--transactional-id", "bytes", "--abort-every", "2"],
        &["--acks", "0"],
        &["--compression", "zstd", "--idempotent"],
    ];
    for how in ways {
        chain.run(Client::Java, &[&common[..], how].concat());
    }
    let reading = ["consume", "--topic", "java", "--until", "500"];
    let new = ["--group", "bytes-848", "--group-protocol", "consumer"];
    chain.run(Client::Java, &[&reading[..], &new].concat());
    chain
        .kafka
        .admin("alter-configs --group bytes-share --config share.auto.offset.reset=earliest");
    let share = ["--group", "bytes-share", "--share"];
    chain.run(Client::Java, &[&reading[..], &share].concat());
}

/// Names its software: no client library calls itself that.
fn is_own_question(recording: &Recording) -> bool {
    let head = recording
        .client_to_broker
        .get(..64.min(recording.client_to_broker.len()));
    let head = head.unwrap_or_default();
    head.windows(11).any(|window| window == b"throughline")
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    left.iter().zip(right).position(|(a, b)| a != b)
}

#[derive(Debug, Default)]
struct Tally {
    identical: usize,
    /// Answers that are held whole and rewritten, by API key.
    edited: BTreeMap<i16, usize>,
    /// Answers with records whose trailing addresses were replaced.
    trailers: usize,
}

/// Compares the answers of one connection, frame by frame.
#[track_caller]
fn compare(chain: &Chain, front: &Recording, back: &Recording, tally: &mut Tally) {
    let asked: HashMap<i32, (i16, i16)> = frames(&front.client_to_broker)
        .map(|frame| (number(frame, 4), (short(frame, 0), short(frame, 2))))
        .collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = (
        frames(&front.broker_to_client).collect(),
        frames(&back.broker_to_client).collect(),
    );
    assert_eq!(
        ours.len(),
        theirs.len(),
        "answers before and behind the sidecar"
    );
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let id = number(theirs, 0);
        assert_eq!(number(ours, 0), id, "order of answers");
        let (key, version) = asked[&id];
        let api = ApiKey::try_from(key).ok();
        let may_differ = [
            ApiKey::Metadata,
            ApiKey::FindCoordinator,
            ApiKey::DescribeCluster,
            ApiKey::ApiVersions,
        ];
        // These name brokers too, behind the records, but only after an error.
        let may_end_differently = [
            ApiKey::Produce,
            ApiKey::Fetch,
            ApiKey::ShareFetch,
            ApiKey::ShareAcknowledge,
        ];
        let named = api.is_some_and(|api| may_end_differently.contains(&api)) && ours != theirs;
        if !named && !api.is_some_and(|api| may_differ.contains(&api)) {
            assert!(
                ours == theirs,
                "the answer to API {key} version {version} differs from byte {:?} on (lengths {} and {})",
                first_difference(ours, theirs),
                ours.len(),
                theirs.len()
            );
            tally.identical += 1;
            continue;
        }
        if named {
            assert_eq!(
                ours.len(),
                theirs.len(),
                "the length went out before it was known"
            );
            tally.trailers += 1;
        } else {
            *tally.edited.entry(key).or_default() += 1;
        }
        let api = api.expect("it was found among them");
        same_but_for_addresses(chain, api, version, ours, theirs);
    }
}

#[track_caller]
fn same_but_for_addresses(chain: &Chain, api: ApiKey, version: i16, ours: &[u8], theirs: &[u8]) {
    let (ours, mut theirs) = (decode(api, version, ours), decode(api, version, theirs));
    let replace = |host: &mut kafka_protocol::protocol::StrBytes, port: &mut i32| {
        // A coordinator that is not known yet has no address.
        if host.as_str() == chain.real.0 && *port == i32::from(chain.real.1) {
            *host = kafka_protocol::protocol::StrBytes::from(chain.told.0.clone());
            *port = i32::from(chain.told.1);
        }
    };
    match (&ours, &mut theirs) {
        (_, ResponseKind::Metadata(all)) => {
            for broker in &mut all.brokers {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (_, ResponseKind::FindCoordinator(all)) => {
            replace(&mut all.host, &mut all.port);
            for one in &mut all.coordinators {
                replace(&mut one.host, &mut one.port);
            }
        }
        (_, ResponseKind::DescribeCluster(all)) => {
            for broker in &mut all.brokers {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (_, ResponseKind::Produce(all)) => {
            for broker in &mut all.node_endpoints {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (_, ResponseKind::Fetch(all)) => {
            for broker in &mut all.node_endpoints {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (_, ResponseKind::ShareFetch(all)) => {
            for broker in &mut all.node_endpoints {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (_, ResponseKind::ShareAcknowledge(all)) => {
            for broker in &mut all.node_endpoints {
                replace(&mut broker.host, &mut broker.port);
            }
        }
        (ResponseKind::ApiVersions(ours), ResponseKind::ApiVersions(theirs)) => {
            for (ours, theirs) in ours.api_keys.iter().zip(&mut theirs.api_keys) {
                // Only ever lowered, and never under what is still common to both.
                let lowered = ours.max_version < theirs.max_version;
                if lowered && ours.max_version >= theirs.min_version {
                    theirs.max_version = ours.max_version;
                }
            }
        }
        _ => panic!("{api:?} was decoded as something else"),
    }
    assert_eq!(ours, theirs, "{api:?} version {version}");
}

/// Decodes one answer; the whole of it must be used.
#[track_caller]
fn decode(api: ApiKey, version: i16, frame: &[u8]) -> ResponseKind {
    // The answer to ApiVersions 5 (Kafka 4.4) has the form of 4, the newest this codec knows.
    let version = version.min(api.valid_versions().max);
    let mut bytes = bytes::Bytes::copy_from_slice(frame);
    ResponseHeader::decode(&mut bytes, api.response_header_version(version))
        .unwrap_or_else(|error| panic!("{api:?} version {version}: header: {error}"));
    let decoded = ResponseKind::decode(api, &mut bytes, version)
        .unwrap_or_else(|error| panic!("{api:?} version {version}: {error}"));
    assert!(
        bytes.is_empty(),
        "{api:?} version {version}: {} bytes left",
        bytes.len()
    );
    decoded
}

/// Complete frames, without their lengths.
fn frames(mut stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::try_from(i32::from_be_bytes(*stream.first_chunk()?)).ok()?;
        let frame = stream.get(4..4 + length)?;
        stream = &stream[4 + length..];
        Some(frame)
    })
}

fn short(frame: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([frame[at], frame[at + 1]])
}

fn number(frame: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
}

/// Bytes, connections and frames as the sidecar counts them are those of the relays.
#[track_caller]
fn counters_agree(sidecar: &Throughline, front: &[Recording]) {
    let sum = |of: fn(&Recording) -> usize| front.iter().map(of).sum::<usize>() as f64;
    let metrics = sidecar.metrics();
    for (direction, wanted) in [
        ("client_to_broker", sum(|one| one.client_to_broker.len())),
        ("broker_to_client", sum(|one| one.broker_to_client.len())),
    ] {
        let counted = metrics.sum("throughline_proxy_bytes_total", &[("direction", direction)]);
        assert_eq!(counted, wanted, "proxy_bytes_total {direction}");
    }
    let connections = metrics.sum("throughline_proxy_connections_accepted_total", &[]);
    assert_eq!(
        connections,
        front.len() as f64,
        "connections_accepted_total"
    );
    let bypassed = metrics.sum("throughline_proxy_bypassed_total", &[]);
    assert_eq!(bypassed, 0.0, "proxy_bypassed_total");
    let passed = |one: &Recording| {
        frames(&one.client_to_broker).count() + frames(&one.broker_to_client).count()
    };
    let frames: usize = front.iter().map(passed).sum();
    let counted = metrics.sum("throughline_proxy_frames_total", &[]);
    assert_eq!(counted, frames as f64, "proxy_frames_total");
    poll_until("every connection is closed", LIMIT, || {
        let open = sidecar.metrics().sum("throughline_proxy_connections", &[]);
        (open.total_cmp(&0.0).is_eq()).then_some(())
    });
}
