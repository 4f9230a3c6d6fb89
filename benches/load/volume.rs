//! Throughput by a real client: librdkafka, acknowledged by the leader.

use std::time::Duration;

use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use tokio::time::Instant;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) megabytes: usize,
    pub(crate) record_bytes: usize,
    pub(crate) codec: &'static str,
}

impl Load {
    /// Records of 1 KB, uncompressed.
    pub(crate) fn plain(megabytes: usize) -> Self {
        Self {
            megabytes,
            record_bytes: 1_000,
            codec: "none",
        }
    }

    fn records(self) -> usize {
        self.megabytes * 1_000_000 / self.record_bytes
    }

    /// Values that look like small JSON documents: they compress about as those do.
    fn payloads(self) -> Vec<Vec<u8>> {
        let mut state = 1u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let one = |_| {
            let mut text = String::new();
            while text.len() < self.record_bytes {
                text += &format!("{{\"id\":{},\"state\":\"open\"}},", next() % 1_000_000_000);
            }
            text.truncate(self.record_bytes);
            text.into_bytes()
        };
        (0..256).map(one).collect()
    }
}

const LIMIT: Duration = Duration::from_secs(180);

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4");
    config
}

/// Creates a topic.
pub(crate) fn create(bootstrap: &str, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        config(bootstrap).create().expect("an admin client");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let done = runtime
        .block_on(admin.create_topics([&new], &AdminOptions::new()))
        .expect("an answer");
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// Sends megabytes of 10^6 and waits for all acknowledgements.
pub(crate) fn produce(bootstrap: &str, topic: &str, load: Load) -> Duration {
    let producer: BaseProducer = config(bootstrap)
        .set("acks", "1")
        .set("compression.codec", load.codec)
        .set("linger.ms", "5")
        .set("batch.size", "200000")
        .set("queue.buffering.max.kbytes", "65536")
        .create()
        .expect("a producer");
    let payloads = load.payloads();
    let start = Instant::now();
    for (i, payload) in (0..load.records()).zip(payloads.iter().cycle()) {
        let partition = i32::try_from(i / 200 % 6).unwrap_or(0);
        let mut record = BaseRecord::<(), [u8]>::to(topic)
            .payload(payload.as_slice())
            .partition(partition);
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(5));
            record = back;
        }
        if i % 1_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LIMIT).expect("everything acknowledged");
    start.elapsed()
}

/// Reads all of it from the beginning of all partitions.
pub(crate) fn consume(bootstrap: &str, topic: &str, load: Load) -> Duration {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", format!("{topic}-readers"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.message.max.bytes", "4194304")
        .set("queued.max.messages.kbytes", "131072")
        .set("check.crcs", "false")
        .create()
        .expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..6 {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an offset");
    }
    let records = load.records();
    let start = Instant::now();
    consumer.assign(&all).expect("an assignment");
    let mut seen = 0;
    while seen < records {
        assert!(
            start.elapsed() < LIMIT,
            "{seen} of {records} records in time"
        );
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            seen += usize::from(message.expect("a record").payload().is_some());
        }
    }
    start.elapsed()
}
