//! Reads parts of topics from all their leaders at once, and finds records that hold a string.
//!
//! Our own client and not a library's, because it must use `kafka.tls` as the proxy does, needs no group, and looks at
//! bytes before records. What moved to another broker is asked for again there, a few times. Must not commit, join a group
//! or keep keys and values.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    super::{
        dial::HostPort,
        wire::{
            api::ApiKey,
            error_code,
            frame::response_header_length,
            messages::{
                inventory::{LAYOUT_VERSIONS, Layout},
                reading::{
                    EARLIEST, LATEST, LIST_OFFSETS_VERSIONS, list_offsets_request,
                    list_offsets_response,
                },
                requests::{MetadataTopics, metadata_request},
            },
            reader::TopicRef,
            search::{Needles, Wanted},
        },
    },
    ProbeError,
    access::Access,
    connection::Connection,
    drain::{Job, Left, Progress, ReadRecord, Span, Unread, by_topic, drain},
};

/// How often work is handed out again because leaders moved or a connection broke.
const ROUNDS_MAX: u32 = 3;
/// Pause before asking who leads now: an election takes about this long.
const SETTLE: Duration = Duration::from_millis(400);
/// Time for a whole scan.
const SCAN_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Bytes of a whole scan.
const SCAN_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;

/// Why nothing can be read at all.
#[derive(Debug)]
pub enum ReadError {
    /// No broker answered; the last fault.
    Unreachable(HostPort, ProbeError),
    /// The broker answers nothing before authentication.
    Authentication(HostPort),
    /// The broker has no version of this API that we speak.
    Version(&'static str),
    /// What was asked for is not in the cluster.
    Missing(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(broker, fault) => write!(f, "broker {broker}: {fault}"),
            Self::Authentication(broker) => write!(
                f,
                "broker {broker}: it closed the connection when asked for its topics; if it wants SASL, set kafka.sasl"
            ),
            Self::Version(api) => write!(
                f,
                "the brokers offer no version of {api} that this program speaks; check their version"
            ),
            Self::Missing(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for ReadError {}

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPartitions {
    /// Name.
    pub name: Arc<str>,
    /// One of the brokers' own.
    pub internal: bool,
    /// (partition, node id of its leader), ascending.
    pub partitions: Vec<(i32, i32)>,
}

/// A stretch of time, both ends included, ms since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First millisecond.
    pub from: i64,
    /// Last millisecond; `None` = up to the end of each partition.
    pub to: Option<i64>,
}

/// Reads from a cluster.
#[derive(Debug)]
pub struct PartitionReader {
    bootstrap: Vec<HostPort>,
    access: Access,
    timeout: Duration,
    brokers: BTreeMap<i32, HostPort>,
    cluster_id: Option<String>,
    topics: Vec<TopicPartitions>,
    connections: HashMap<i32, Connection>,
}

impl PartitionReader {
    /// Asks one of `bootstrap` what there is. `timeout` is for one dial and for one answer.
    ///
    /// # Errors
    /// Where none of them answers.
    pub async fn connect(
        bootstrap: Vec<HostPort>,
        access: Access,
        timeout: Duration,
    ) -> Result<Self, ReadError> {
        let mut reader = Self {
            bootstrap,
            access,
            timeout,
            brokers: BTreeMap::new(),
            cluster_id: None,
            topics: Vec::new(),
            connections: HashMap::new(),
        };
        reader.refresh().await?;
        Ok(reader)
    }

    /// The cluster's id, where it has one.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The topics that may be described.
    #[must_use]
    pub fn topics(&self) -> &[TopicPartitions] {
        &self.topics
    }

    async fn refresh(&mut self) -> Result<(), ReadError> {
        let mut last = ReadError::Missing("no broker is named; set kafka.bootstrap".to_owned());
        let known = self.brokers.values();
        let candidates: Vec<HostPort> = known.chain(&self.bootstrap).cloned().collect();
        for broker in candidates {
            match describe(&broker, &self.access, self.timeout).await {
                Ok(described) => {
                    self.brokers = described.brokers;
                    self.cluster_id = described.cluster_id;
                    self.topics = described.topics;
                    return Ok(());
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    fn leader(&self, topic: &str, partition: i32) -> Option<i32> {
        let topic = self.topics.iter().find(|t| &*t.name == topic)?;
        let (_, leader) = topic.partitions.iter().find(|(p, _)| *p == partition)?;
        self.brokers.contains_key(leader).then_some(*leader)
    }

    /// Hands `work` to the leaders' connections, and what moved or broke to the new leaders, a few times. `each` does one
    /// broker's part.
    async fn hand_out<F>(&mut self, work: Vec<Span>, each: F) -> Vec<Unread>
    where
        F: AsyncPart,
    {
        let mut left: Vec<Left> = work
            .into_iter()
            .map(|span| Left::new(span, true, "not asked yet"))
            .collect();
        let mut given_up = Vec::new();
        for round in 0..ROUNDS_MAX {
            if left.is_empty() {
                break;
            }
            if round > 0 {
                tokio::time::sleep(SETTLE).await;
                // Where nobody answers, the addresses known so far are tried again.
                drop(self.refresh().await);
            }
            let spans = left.drain(..).map(|left| left.unread.span);
            let (parts, orphans) = self.parts(spans.collect());
            left = orphans;
            let mut running = JoinSet::new();
            for (node, address, spans) in parts {
                let connection = self.connections.remove(&node);
                let (access, timeout, part) = (self.access.clone(), self.timeout, each.clone());
                running.spawn(async move {
                    let open = match connection {
                        Some(open) => Ok(open),
                        None => Connection::open(&address, &access, timeout).await,
                    };
                    match open {
                        Ok(connection) => (node, part.run(connection, spans).await),
                        Err(fault) => {
                            let reason = format!("broker {address}: {fault}");
                            let left = spans.into_iter();
                            let left = left.map(|span| Left::new(span, true, reason.clone()));
                            (node, (None, left.collect()))
                        }
                    }
                });
            }
            while let Some(done) = running.join_next().await {
                let Ok((node, (connection, rest))) = done else {
                    continue;
                };
                if let Some(connection) = connection {
                    self.connections.insert(node, connection);
                }
                left.extend(rest);
            }
            given_up.extend(left.extract_if(.., |left| !left.retriable));
        }
        given_up.append(&mut left);
        given_up.into_iter().map(|left| left.unread).collect()
    }

    /// One part per leader, and what has none.
    fn parts(&self, spans: Vec<Span>) -> (Vec<Part>, Vec<Left>) {
        let mut parts: BTreeMap<i32, Vec<Span>> = BTreeMap::new();
        let mut orphans = Vec::new();
        for span in spans {
            match self.leader(&span.topic, span.partition) {
                Some(node) => parts.entry(node).or_default().push(span),
                None => {
                    let reason = "the partition has no leader now; is a broker down?";
                    orphans.push(Left::new(span, true, reason));
                }
            }
        }
        let parts = parts.into_iter().filter_map(|(node, spans)| {
            let address = self.brokers.get(&node)?.clone();
            Some((node, address, spans))
        });
        (parts.collect(), orphans)
    }

    /// Offsets by time; a span's `from` is the time in, and the offset out (-1 = nothing that late).
    async fn offsets(&mut self, asked: Vec<Span>) -> (Vec<Span>, Vec<Unread>) {
        let part = OffsetsPart {
            timeout: self.timeout,
            answers: Arc::default(),
        };
        let answers = Arc::clone(&part.answers);
        let unread = self.hand_out(asked, part).await;
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut *answers), unread)
    }

    /// Which offsets of which partitions lie in `windows`. Records that a producer dated behind a later one's time may be
    /// missed at the end of a window that has one.
    pub async fn plan(
        &mut self,
        partitions: &[(Arc<str>, i32)],
        windows: &[Window],
    ) -> (Vec<Span>, Vec<Unread>) {
        let ask = |topic: &Arc<str>, partition: i32, at: i64, to: i64| Span {
            topic: Arc::clone(topic),
            partition,
            from: at,
            to,
        };
        let ends = partitions
            .iter()
            .map(|(topic, partition)| ask(topic, *partition, LATEST, 0));
        let (ends, mut unread) = self.offsets(ends.collect()).await;
        let mut spans: Vec<Span> = Vec::new();
        for window in windows {
            // Not every broker (librdkafka's mock) finds offsets by time; the beginning all know.
            let from = if window.from <= 0 {
                EARLIEST
            } else {
                window.from
            };
            // The end travels along in `to`.
            let starts = ends
                .iter()
                .filter(|end| end.from > 0)
                .map(|end| ask(&end.topic, end.partition, from, end.from));
            let (mut starts, missing) = self.offsets(starts.collect()).await;
            unread.extend(missing);
            starts.retain(|start| (0..start.to).contains(&start.from));
            if let Some(to) = window.to {
                let behind = starts
                    .iter()
                    .map(|s| ask(&s.topic, s.partition, to.saturating_add(1), s.from));
                let (behind, missing) = self.offsets(behind.collect()).await;
                unread.extend(missing);
                for end in behind.iter().filter(|end| end.from >= 0) {
                    let of = starts
                        .iter_mut()
                        .find(|s| s.topic == end.topic && s.partition == end.partition);
                    if let Some(start) = of {
                        start.to = start.to.min(end.from);
                    }
                }
            }
            spans.extend(starts);
        }
        unread
            .dedup_by(|a, b| a.span.topic == b.span.topic && a.span.partition == b.span.partition);
        (merged(spans), unread)
    }

    /// Searches `spans` for records that hold one of `needles` and that `keep` wants; in no particular order.
    pub async fn scan(
        &mut self,
        spans: Vec<Span>,
        needles: Needles,
        keep: impl Fn(&ReadRecord) -> bool + Send + Sync + 'static,
        progress: Arc<Progress>,
    ) -> (Vec<ReadRecord>, Vec<Unread>) {
        let wanted = Wanted::Holding(needles);
        self.read(spans, wanted, Box::new(keep), progress).await
    }

    async fn read(
        &mut self,
        spans: Vec<Span>,
        wanted: Wanted,
        keep: Box<dyn Fn(&ReadRecord) -> bool + Send + Sync>,
        progress: Arc<Progress>,
    ) -> (Vec<ReadRecord>, Vec<Unread>) {
        let planned = spans.iter().map(|s| s.to.saturating_sub(s.from));
        let planned = planned.map(|n| u64::try_from(n).unwrap_or(0)).sum();
        progress.planned.store(planned, Relaxed);
        let job = Arc::new(Job {
            wanted,
            keep,
            progress,
            found: Mutex::default(),
            timeout: self.timeout,
            deadline: Instant::now() + SCAN_TIME_MAX,
            bytes_max: SCAN_BYTES_MAX,
        });
        let unread = self.hand_out(spans, DrainPart(Arc::clone(&job))).await;
        let mut found = job.found.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut *found), unread)
    }

    /// The record at one offset; `None` where there is none between two that are: compacted away, or a marker.
    ///
    /// # Errors
    /// Where the topic, partition or offset is not in the cluster, or cannot be read; says why.
    pub async fn record(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Option<ReadRecord>, ReadError> {
        let known = self.topics.iter().find(|known| &*known.name == topic);
        let Some(known) = known else {
            return Err(ReadError::Missing(format!(
                "topic {topic} is not there, or this program may not see it; check the name and its rights"
            )));
        };
        if !known.partitions.iter().any(|(p, _)| *p == partition) {
            let count = known.partitions.len();
            return Err(ReadError::Missing(format!(
                "{topic} has no partition {partition}; it has {count}, from 0 on"
            )));
        }
        let span = |from, to| Span {
            topic: Arc::clone(&known.name),
            partition,
            from,
            to,
        };
        let (earliest, latest) = (span(EARLIEST, 0), span(LATEST, 0));
        let wanted = span(offset, offset.saturating_add(1));
        let first = self.one_offset(earliest).await?;
        let end = self.one_offset(latest).await?;
        if !(first..end).contains(&offset) {
            return Err(ReadError::Missing(if first == end {
                format!("{topic}:{partition} is empty")
            } else {
                format!(
                    "{topic}:{partition} has no offset {offset}; it holds {first} to {}",
                    end.saturating_sub(1)
                )
            }));
        }
        let target = Wanted::At(offset);
        let read = self.read(vec![wanted], target, Box::new(|_| true), Arc::default());
        let (found, unread) = read.await;
        match (found.into_iter().next(), unread.into_iter().next()) {
            (Some(record), _) => Ok(Some(record)),
            (None, None) => Ok(None),
            (None, Some(unread)) => Err(unreadable(&unread)),
        }
    }

    async fn one_offset(&mut self, asked: Span) -> Result<i64, ReadError> {
        let (found, unread) = self.offsets(vec![asked]).await;
        match (found.first(), unread.first()) {
            (Some(span), _) => Ok(span.from),
            (None, Some(unread)) => Err(unreadable(unread)),
            (None, None) => Err(ReadError::Version("ListOffsets")),
        }
    }
}

fn unreadable(unread: &Unread) -> ReadError {
    let Unread { span, reason } = unread;
    ReadError::Missing(format!(
        "{}:{} cannot be read: {reason}",
        span.topic, span.partition
    ))
}

/// One span per stretch: windows may overlap.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by(|a, b| (&a.topic, a.partition, a.from).cmp(&(&b.topic, b.partition, b.from)));
    let mut out: Vec<Span> = Vec::new();
    for span in spans {
        match out.last_mut() {
            Some(last)
                if last.topic == span.topic
                    && last.partition == span.partition
                    && span.from <= last.to =>
            {
                last.to = last.to.max(span.to);
            }
            _ => out.push(span),
        }
    }
    out
}

/// (node, its address, what it leads).
type Part = (i32, HostPort, Vec<Span>);

/// What is done with one broker's part of the work. Gives the connection back unless it broke, and what is left.
trait AsyncPart: Clone + Send + 'static {
    fn run(
        self,
        connection: Connection,
        spans: Vec<Span>,
    ) -> impl Future<Output = (Option<Connection>, Vec<Left>)> + Send;
}

#[derive(Clone)]
struct DrainPart(Arc<Job>);

impl AsyncPart for DrainPart {
    async fn run(
        self,
        connection: Connection,
        spans: Vec<Span>,
    ) -> (Option<Connection>, Vec<Left>) {
        drain(connection, spans, self.0).await
    }
}

#[derive(Clone)]
struct OffsetsPart {
    timeout: Duration,
    /// `from` = the offset.
    answers: Arc<Mutex<Vec<Span>>>,
}

impl AsyncPart for OffsetsPart {
    async fn run(
        self,
        mut connection: Connection,
        spans: Vec<Span>,
    ) -> (Option<Connection>, Vec<Left>) {
        let asked = list_offsets(&mut connection, &spans);
        let asked = tokio::time::timeout(self.timeout, asked)
            .await
            .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())));
        let found = match asked {
            Ok(found) => found,
            Err(fault) => {
                let reason = fault.to_string();
                let left = spans.into_iter();
                let left = left.map(|span| Left::new(span, true, reason.clone()));
                return (None, left.collect());
            }
        };
        let mut left = Vec::new();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        for span in spans {
            match found.get(&(Arc::clone(&span.topic), span.partition)) {
                Some((0, offset)) => answers.push(Span {
                    from: *offset,
                    ..span
                }),
                Some((code, _)) => {
                    let failure = error_code::failure(*code);
                    let name = failure.map_or("an error", |failure| failure.name);
                    let retriable = failure.is_some_and(|failure| failure.retriable);
                    left.push(Left::new(
                        span,
                        retriable,
                        format!("the broker says {name}"),
                    ));
                }
                None => left.push(Left::new(span, true, "the broker did not answer for it")),
            }
        }
        (Some(connection), left)
    }
}

type OffsetsFound = HashMap<(Arc<str>, i32), (i16, i64)>;

async fn list_offsets(
    connection: &mut Connection,
    spans: &[Span],
) -> Result<OffsetsFound, ProbeError> {
    let unspoken = ProbeError::Protocol(
        "the broker offers no version of ListOffsets that this program speaks",
    );
    let Some(version) = connection.version(ApiKey::LIST_OFFSETS, LIST_OFFSETS_VERSIONS) else {
        return Err(unspoken);
    };
    let id = connection.next_id();
    let Some(request) = list_offsets_request(id, version, &by_topic(spans)) else {
        return Err(unspoken);
    };
    let answer = connection.exchange(&request).await?;
    let header = response_header_length(&answer, ApiKey::LIST_OFFSETS, version)?;
    let body = answer.get(header..).unwrap_or_default();
    let mut found = OffsetsFound::new();
    for topic in list_offsets_response(body, version)? {
        let TopicRef::Name(name) = topic.topic else {
            continue;
        };
        let name: Arc<str> = name.into();
        for p in topic.partitions {
            found.insert((Arc::clone(&name), p.partition), (p.error_code, p.offset));
        }
    }
    Ok(found)
}

/// What a broker said of its cluster.
struct Described {
    brokers: BTreeMap<i32, HostPort>,
    cluster_id: Option<String>,
    topics: Vec<TopicPartitions>,
}

async fn describe(
    broker: &HostPort,
    access: &Access,
    timeout: Duration,
) -> Result<Described, ReadError> {
    let unreachable = |fault| ReadError::Unreachable(broker.clone(), fault);
    let mut connection = Connection::open(broker, access, timeout)
        .await
        .map_err(unreachable)?;
    let version = connection
        .version(ApiKey::METADATA, LAYOUT_VERSIONS)
        .ok_or(ReadError::Version("Metadata"))?;
    let id = connection.next_id();
    let request =
        metadata_request(id, version, MetadataTopics::All).ok_or(ReadError::Version("Metadata"))?;
    let answer = tokio::time::timeout(timeout, connection.exchange(&request))
        .await
        .unwrap_or_else(|_| Err(ProbeError::Io(io::ErrorKind::TimedOut.into())));
    let answer = match answer {
        Err(ProbeError::Io(fault))
            if matches!(
                fault.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Err(ReadError::Authentication(broker.clone()));
        }
        other => other.map_err(unreachable)?,
    };
    described(&answer, version).map_err(unreachable)
}

fn described(answer: &[u8], version: i16) -> Result<Described, ProbeError> {
    let header = response_header_length(answer, ApiKey::METADATA, version)?;
    let seen = Layout::read(answer.get(header..).unwrap_or_default(), version)?;
    let brokers = seen.brokers.iter().filter_map(|(node, host, port)| {
        let host = (*host).to_owned();
        let port = u16::try_from(*port).ok()?;
        Some((*node, HostPort { host, port }))
    });
    let topics = seen.topics.iter().filter_map(|topic| {
        let each = topic.partitions.iter();
        let mut partitions: Vec<_> = each.map(|p| (p.partition, p.leader)).collect();
        partitions.sort_unstable();
        Some(TopicPartitions {
            name: topic.name?.into(),
            internal: topic.internal,
            partitions,
        })
    });
    Ok(Described {
        brokers: brokers.collect(),
        cluster_id: seen.cluster_id.map(str::to_owned),
        topics: topics.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(topic: &str, partition: i32, from: i64, to: i64) -> Span {
        Span {
            topic: topic.into(),
            partition,
            from,
            to,
        }
    }

    #[test]
    fn overlapping_stretches_are_read_once() {
        let spans = vec![
            span("a", 1, 5, 9),
            span("a", 0, 0, 3),
            span("a", 0, 2, 7),
            span("b", 0, 2, 7),
            span("a", 0, 8, 9),
        ];
        assert_eq!(
            merged(spans),
            [
                span("a", 0, 0, 7),
                span("a", 0, 8, 9),
                span("a", 1, 5, 9),
                span("b", 0, 2, 7)
            ]
        );
    }
}
