//! One connection to one broker for one purpose: writing records of our own, reading them back, committing how far.
//!
//! Our own client and not a library's: it logs in as every other question of this program does, sends a record once per
//! call, and tells exactly which broker did what when. A broker answers one connection in order, so whoever waits for records
//! needs another than whoever writes. A call that is given up leaves no half-read answer behind: its connection goes with it.
//! Must not repeat, route or join a group: whoever calls does.

use std::time::Duration;

use super::{
    super::{
        dial::HostPort,
        wire::{
            api::ApiKey,
            batch::BatchHeader,
            endpoints, error_code,
            frame::response_header_length,
            messages::{
                inventory::{LAYOUT_VERSIONS, Layout},
                reading::{FETCH_VERSIONS, FetchBytes, FetchResponse, Start, fetch_request},
                requests::topic_request,
                writing::{
                    FIND_COORDINATOR_VERSIONS, NewRecord, OFFSET_COMMIT_VERSIONS, PRODUCE_VERSIONS,
                    batch, find_coordinator_request, offset_commit_request, offset_commit_response,
                    produce_request, produce_response,
                },
            },
            record::Records,
        },
    },
    ProbeError, TopicLayout,
    access::Access,
    client::{addresses, laid},
    connection::Connection,
    question::{self, Edge, PartitionName},
};

/// Bytes of a fetch.
const FETCH_BYTES: FetchBytes = FetchBytes {
    answer: 1024 * 1024,
    partition: 64 * 1024,
};
/// An answer beyond this is not taken; the first batch of one comes whole, however large.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A batch that opens to more is passed over: none of ours is that large.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How much longer than a broker waits for its followers, or for records, we wait for its answer.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// A topic and the brokers of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTold {
    /// Cluster id, where it has one.
    pub cluster_id: Option<String>,
    /// (node id, where it is) of all brokers that are there now.
    pub brokers: Vec<(i32, HostPort)>,
    /// The topic, or the error code instead.
    pub topic: Result<TopicLayout, i16>,
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRecord {
    /// Value.
    pub value: Vec<u8>,
    /// One header.
    pub header: Option<(&'static str, String)>,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRead {
    /// (offset, value of the header asked for) of the records that have it.
    pub found: Vec<(i64, Vec<u8>)>,
    /// Offset to read next.
    pub next: i64,
    /// Offset behind the last record that all replicas in sync have.
    pub high_watermark: i64,
}

/// UNKNOWN_TOPIC_OR_PARTITION.
pub const UNKNOWN_TOPIC: i16 = 3;

/// What a Kafka error code is called.
#[must_use]
pub fn error_name(code: i16) -> &'static str {
    error_code::failure(code).map_or("UNKNOWN", |failure| failure.name)
}

/// Whether the same may be tried again.
#[must_use]
pub fn may_retry(code: i16) -> bool {
    error_code::failure(code).is_some_and(|failure| failure.retriable)
}

/// By partition: what was done, or the error code.
pub type ByPartition<T> = Vec<(i32, Result<T, i16>)>;

/// One connection, opened when first needed and anew after it broke.
#[derive(Debug)]
pub struct BrokerLane {
    address: HostPort,
    access: Access,
    timeout: Duration,
    open: Option<Connection>,
}

impl BrokerLane {
    /// Connects to nothing yet. `timeout` is for one dial, one login, and for what a broker may take to answer.
    #[must_use]
    pub fn new(address: HostPort, access: Access, timeout: Duration) -> Self {
        Self {
            address,
            access,
            timeout,
            open: None,
        }
    }

    /// Where the broker is.
    #[must_use]
    pub fn address(&self) -> &HostPort {
        &self.address
    }

    async fn take(&mut self) -> Result<Connection, ProbeError> {
        match self.open.take() {
            Some(open) => Ok(open),
            None => Connection::open(&self.address, &self.access, self.timeout).await,
        }
    }

    /// Writes records, one batch per partition, with `acks=all`; gives the first offset of each.
    ///
    /// # Errors
    /// Where the broker did not answer: what was sent may or may not be written.
    pub async fn produce(
        &mut self,
        topic: &str,
        records: &[(i32, Vec<OwnRecord>)],
        created_ms: i64,
    ) -> Result<ByPartition<i64>, ProbeError> {
        let mut connection = self.take().await?;
        let key = ApiKey::PRODUCE;
        let version = question::version(&connection, key, PRODUCE_VERSIONS)?;
        let batches: Vec<(i32, Vec<u8>)> = records
            .iter()
            .map(|(partition, records)| (*partition, one_batch(records, created_ms)))
            .collect();
        let patience = i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX);
        let request = produce_request(connection.next_id(), version, patience, topic, &batches);
        let timeout = self.timeout.saturating_add(ANSWER_MARGIN);
        let body = question::exchange(&mut connection, timeout, key, version, request).await?;
        let told = produce_response(&body, version)?;
        let partitions = told.iter().flat_map(|topic| &topic.partitions);
        let answers = partitions.map(|told| match told.error_code {
            0 => (told.partition, Ok(told.base_offset)),
            code => (told.partition, Err(code)),
        });
        let answers = answers.collect();
        self.open = Some(connection);
        Ok(answers)
    }

    /// Reads committed records from these offsets on, waiting up to `wait` for the first; tells those that have `header`.
    ///
    /// # Errors
    /// Where the broker did not answer.
    pub async fn fetch(
        &mut self,
        topic: &str,
        from: &[(i32, i64)],
        header: &str,
        wait: Duration,
    ) -> Result<ByPartition<OwnRead>, ProbeError> {
        let mut connection = self.take().await?;
        let key = ApiKey::FETCH;
        let version = question::version(&connection, key, FETCH_VERSIONS)?;
        let starts = from.iter().map(|(partition, at)| Start {
            partition: *partition,
            at: *at,
        });
        let asked = [(topic, starts.collect())];
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let id = connection.next_id();
        let request = fetch_request(id, version, wait_ms, FETCH_BYTES, &asked);
        let request = request.ok_or(ProbeError::Unspoken("Fetch"))?;
        let mut answer = Vec::new();
        let limits = (self.timeout.saturating_add(wait), ANSWER_BYTES_MAX);
        connection
            .exchange_into(&request, &mut answer, limits)
            .await?;
        let length = response_header_length(&answer, key, version)?;
        let told = FetchResponse::read(answer.get(length..).unwrap_or_default(), version)?;
        let partitions = told.topics.iter().flat_map(|topic| &topic.partitions);
        let reads = partitions.map(|told_of| {
            let code = match told.error_code {
                0 => told_of.error_code,
                code => code,
            };
            if code != 0 {
                return (told_of.partition, Err(code));
            }
            let start = from.iter().find(|(p, _)| *p == told_of.partition);
            let start = start.map_or(0, |(_, at)| *at);
            let (found, next) = found(told_of.records, header, start);
            let read = OwnRead {
                found,
                next,
                high_watermark: told_of.high_watermark,
            };
            (told_of.partition, Ok(read))
        });
        let reads = reads.collect();
        self.open = Some(connection);
        Ok(reads)
    }

    /// First offset and offset behind the last of each of these partitions.
    ///
    /// # Errors
    /// Where the broker did not answer.
    pub async fn ranges(
        &mut self,
        partitions: &[PartitionName],
    ) -> Result<ByPartition<(i64, i64)>, ProbeError> {
        let mut connection = self.take().await?;
        let timeout = self.timeout;
        let starts = question::edges(&mut connection, timeout, Edge::Start, partitions).await?;
        let ends = question::edges(&mut connection, timeout, Edge::End, partitions).await?;
        self.open = Some(connection);
        let both = starts.into_iter().filter_map(|(of, start)| {
            let (_, end) = ends.iter().find(|(other, _)| *other == of)?;
            Some((of.1, start.and_then(|start| Ok((start, (*end)?)))))
        });
        Ok(both.collect())
    }

    /// Commits the next offsets to read of a topic for a group without members.
    ///
    /// # Errors
    /// Where the broker did not answer.
    pub async fn commit(
        &mut self,
        group: &str,
        topic: &str,
        offsets: &[(i32, i64)],
    ) -> Result<ByPartition<()>, ProbeError> {
        let mut connection = self.take().await?;
        let key = ApiKey::OFFSET_COMMIT;
        let version = question::version(&connection, key, OFFSET_COMMIT_VERSIONS)?;
        let request = offset_commit_request(connection.next_id(), version, group, topic, offsets);
        let timeout = self.timeout;
        let body = question::exchange(&mut connection, timeout, key, version, request).await?;
        let told = offset_commit_response(&body, version)?;
        let partitions = told.iter().flat_map(|topic| &topic.partitions);
        let answers = partitions.map(|told| match told.error_code {
            0 => (told.partition, Ok(())),
            code => (told.partition, Err(code)),
        });
        let answers = answers.collect();
        self.open = Some(connection);
        Ok(answers)
    }

    /// Node id of the broker that keeps a group's offsets, or the error code.
    ///
    /// # Errors
    /// Where the broker did not answer.
    pub async fn coordinator(&mut self, group: &str) -> Result<Result<i32, i16>, ProbeError> {
        let mut connection = self.take().await?;
        let key = ApiKey::FIND_COORDINATOR;
        let version = question::version(&connection, key, FIND_COORDINATOR_VERSIONS)?;
        let request = find_coordinator_request(connection.next_id(), version, group);
        let timeout = self.timeout;
        let body = question::exchange(&mut connection, timeout, key, version, request).await?;
        let told = endpoints::find_coordinator(&body, version)?;
        let answer = told
            .coordinators
            .first()
            .map(|found| match found.error_code {
                0 => Ok(found.node_id),
                code => Err(code),
            });
        self.open = Some(connection);
        answer.ok_or(ProbeError::Protocol("no coordinator was told"))
    }

    /// One topic as it is laid out now, and what we may do with it.
    ///
    /// # Errors
    /// Where the broker did not answer.
    pub async fn topic(&mut self, topic: &str) -> Result<TopicTold, ProbeError> {
        let mut connection = self.take().await?;
        let key = ApiKey::METADATA;
        let version = question::version(&connection, key, LAYOUT_VERSIONS)?;
        let request = topic_request(connection.next_id(), version, topic);
        let timeout = self.timeout;
        let body = question::exchange(&mut connection, timeout, key, version, request).await?;
        let told = Layout::read(&body, version)?;
        let found = told.topics.first();
        let answer = TopicTold {
            cluster_id: told.cluster_id.map(str::to_owned),
            brokers: addresses(&told),
            topic: match found.and_then(laid) {
                Some(laid) => Ok(laid),
                None => Err(found.map_or(0, |found| found.error_code)),
            },
        };
        self.open = Some(connection);
        Ok(answer)
    }
}

fn one_batch(records: &[OwnRecord], created_ms: i64) -> Vec<u8> {
    let headers: Vec<Vec<(&str, &[u8])>> = records
        .iter()
        .map(|record| {
            let header = record.header.as_ref();
            let header = header.map(|(key, value)| (*key, value.as_bytes()));
            header.into_iter().collect()
        })
        .collect();
    let records = records.iter().zip(&headers);
    let records = records.map(|(record, headers)| NewRecord {
        value: &record.value,
        headers,
    });
    batch(&records.collect::<Vec<_>>(), created_ms)
}

/// The records from `start` on that have a header, and the offset behind the last whole batch.
fn found(mut bytes: &[u8], header: &str, start: i64) -> (Vec<(i64, Vec<u8>)>, i64) {
    let mut found = Vec::new();
    let mut next = start;
    while let Ok(batch) = BatchHeader::read(bytes) {
        let Some((whole, behind)) = bytes.split_at_checked(batch.total_bytes()) else {
            break;
        };
        bytes = behind;
        next = next.max(batch.last_offset().saturating_add(1));
        if batch.is_control() {
            continue;
        }
        let Ok(records) = Records::open(whole, BATCH_BYTES_MAX) else {
            continue;
        };
        for record in records.iter().map_while(Result::ok) {
            let offset = batch.base_offset.saturating_add(record.offset_delta.into());
            let mut headers = record.headers().map_while(Result::ok);
            let of = headers.find(|one| one.key == header.as_bytes());
            if let Some(value) = of.and_then(|one| one.value)
                && offset >= start
            {
                found.push((offset, value.to_vec()));
            }
        }
    }
    (found, next)
}
