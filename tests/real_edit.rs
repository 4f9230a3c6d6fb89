//! Edited batches on a real broker: it accepts them, and every client reads the same records with one header more.
//!
//! A relay of this test edits each Produce request on its way, with the wire codec alone; no sidecar is involved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use support::{
    clients::{Client, Record},
    kafka::{Kafka, KafkaSpec, Listener, Version},
    ports,
    same::assert_same,
};
use throughline::kafka::wire::{
    api::ApiKey,
    edit::{EditLimits, append_headers, produce::ProduceRequest},
    frame::request_header,
    splice,
};

const LIMITS: EditLimits = EditLimits {
    body_bytes: 8 << 20,
    batch_bytes: 1 << 20,
};
const ADDED: (&str, &str) = ("added", "YnkgdGhlIHRlc3Q=");
const ADDED_BYTES: &[u8] = b"by the test";

/// Passes everything, and appends a header to every record of every Produce request. Ends when dropped.
struct Editing {
    ended: Arc<AtomicBool>,
    edited: Arc<AtomicU64>,
    address: SocketAddr,
}

impl Editing {
    fn start(port: u16, broker: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let relay = Self {
            ended: Arc::default(),
            edited: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let (ended, edited) = (Arc::clone(&relay.ended), Arc::clone(&relay.edited));
        thread::spawn(move || {
            for client in listener.incoming() {
                if ended.load(Relaxed) {
                    return;
                }
                let (client, broker) = (client.unwrap(), TcpStream::connect(broker).unwrap());
                let (back, forth) = (client.try_clone().unwrap(), broker.try_clone().unwrap());
                let edited = Arc::clone(&edited);
                thread::spawn(move || {
                    // Ends with either side, which is no fault of the test.
                    requests(&client, &forth, &edited).ok();
                    forth.shutdown(Shutdown::Both).ok();
                    client.shutdown(Shutdown::Both).ok();
                });
                thread::spawn(move || {
                    io::copy(&mut &broker, &mut &back).ok();
                    back.shutdown(Shutdown::Both).ok();
                });
            }
        });
        relay
    }
}

impl Drop for Editing {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        TcpStream::connect(self.address).ok();
    }
}

fn requests(mut client: &TcpStream, mut broker: &TcpStream, edited: &AtomicU64) -> io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        client.read_exact(&mut frame)?;
        let header = request_header(&frame).expect("a request header");
        if header.api == ApiKey::PRODUCE {
            frame = edit(&frame, header.version, header.length, edited);
        }
        broker.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes())?;
        broker.write_all(&frame)?;
    }
}

fn edit(frame: &[u8], version: i16, header: usize, edited: &AtomicU64) -> Vec<u8> {
    let (header, body) = frame.split_at(header);
    let request = ProduceRequest::read(body, version).expect("a Produce request");
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    let splices: Vec<_> = partitions
        .flat_map(|partition| {
            let records = partition.records.expect("records");
            let records =
                append_headers(records, LIMITS, |_, _, new| new.push(ADDED.0, ADDED_BYTES))
                    .unwrap_or_else(|reason| panic!("{reason}"));
            edited.fetch_add(1, Relaxed);
            request.with_records(partition, records).unwrap()
        })
        .collect();
    [header, &splice::apply(body, &splices).unwrap()].concat()
}

struct Stage {
    relay: Editing,
    kafka: Kafka,
}

impl Stage {
    fn start() -> Self {
        let port = ports::free();
        let spec = KafkaSpec::new(Version::V4_4_0).advertise(Listener::Relayed, 1, port);
        let kafka = Kafka::start(spec);
        let broker = kafka.address(Listener::Relayed, 1).parse().unwrap();
        let relay = Editing::start(port, broker);
        Self { relay, kafka }
    }

    /// Writes through the editing relay and, to another topic, past it.
    fn write(&self, client: Client, topic: &str, how: &[&str]) {
        let relay = self.relay.address.to_string();
        let direct = self.kafka.bootstrap(Listener::Plaintext);
        for (bootstrap, topic) in [(relay, topic.to_owned()), (direct, plain(topic))] {
            self.kafka.create_topic(&topic, 6);
            let at = ["produce", "--bootstrap", &bootstrap, "--topic", &topic];
            let output = client.run(&[&at[..], how].concat());
            let errors: Vec<_> = output.of_type("error").collect();
            assert!(errors.is_empty(), "{topic} {how:?}: {errors:?}");
        }
    }

    /// What a client reads from the broker, by position.
    fn read(
        &self,
        client: Client,
        topic: &str,
        count: usize,
        how: &[&str],
    ) -> BTreeMap<(i64, i64), Record> {
        let direct = self.kafka.bootstrap(Listener::Plaintext);
        let group = format!("{topic}-{}", client.name());
        let count = count.to_string();
        let at = [
            "consume",
            "--bootstrap",
            &direct,
            "--topic",
            topic,
            "--group",
            &group,
        ];
        let output = client.run(&[&at[..], &["--until", &count], how].concat());
        let records = output.records().into_iter();
        records
            .map(|record| ((record.partition, record.offset), record))
            .collect()
    }

    #[track_caller]
    fn assert_same_but_for_the_header(
        &self,
        client: Client,
        topic: &str,
        count: usize,
        how: &[&str],
    ) {
        let mut expected = self.read(client, &plain(topic), count, how);
        assert_eq!(expected.len(), count, "{topic}");
        for record in expected.values_mut() {
            record
                .headers
                .push((ADDED.0.to_owned(), Some(ADDED.1.to_owned())));
        }
        let edited = self.read(client, topic, count, how);
        let what = format!("{topic} read by {}", client.name());
        assert_same(&what, ("expected", &expected), ("edited", &edited));
    }
}

fn plain(topic: &str) -> String {
    format!("{topic}-plain")
}

#[test]
fn every_client_reads_what_the_edit_packed_again() {
    const COUNT: usize = 300;
    let stage = Stage::start();
    let count = COUNT.to_string();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        // Java writes snappy in xerial framing, the others raw; each in its own lz4 and zstd.
        for writer in [Client::Java, Client::Librdkafka, Client::FranzGo] {
            let topic = format!("{codec}-by-{}", writer.name());
            let before = stage.relay.edited.load(Relaxed);
            let how = ["--count", &count, "--compression", codec, "--idempotent"];
            stage.write(writer, &topic, &how);
            assert!(stage.relay.edited.load(Relaxed) > before, "{topic}");
            let readers = match (writer, codec) {
                (Client::Java, "none" | "gzip") => Client::ALL.to_vec(),
                // kafkajs and kafka-python need more than themselves for these.
                (Client::Java, _) => {
                    vec![
                        Client::Java,
                        Client::Librdkafka,
                        Client::FranzGo,
                        Client::Sarama,
                    ]
                }
                _ => vec![writer],
            };
            for reader in readers {
                stage.assert_same_but_for_the_header(reader, &topic, COUNT, &[]);
            }
        }
    }
}

#[test]
fn edited_transactions_commit_and_abort_as_before() {
    let stage = Stage::start();
    for writer in [Client::Java, Client::Librdkafka, Client::FranzGo] {
        let topic = format!("transactions-by-{}", writer.name());
        let how = [
            "--count",
            "600",
            "--abort-every",
            "3",
            "--compression",
            "lz4",
        ];
        let how = [&how[..], &["--transactional-id", &topic]].concat();
        stage.write(writer, &topic, &how);
        // Transactions 3 and 6, of 100 records each, were aborted.
        let committed = ["--isolation", "read_committed"];
        for reader in [Client::Java, Client::Librdkafka] {
            stage.assert_same_but_for_the_header(reader, &topic, 400, &committed);
        }
    }
}
