//! Fetches the partitions of one broker up to given offsets and searches them while the next answer is on its way.
//!
//! Here apart from `read`, which divides the work among brokers and repeats what moved. The search runs on a blocking
//! thread, one answer at a time per broker, so memory stays at two answers per broker. Must not dial.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    super::wire::{
        api::ApiKey,
        error_code,
        frame::response_header_length,
        messages::reading::{FETCH_VERSIONS, FetchBytes, FetchResponse, Start, fetch_request},
        reader::TopicRef,
        search::{Hit, Wanted, next_offset, search},
    },
    ProbeError,
    connection::Connection,
};

/// Bytes asked for at once.
const FETCH_BYTES: FetchBytes = FetchBytes {
    answer: 16 * 1024 * 1024,
    partition: 4 * 1024 * 1024,
};
/// An answer beyond this is not taken: the first batch of a partition comes whole, however large.
const ANSWER_BYTES_MAX: usize = 160 * 1024 * 1024;
/// A batch that opens to more than this is counted as unreadable.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Partitions named in one request; the rest wait their turn.
const PARTITIONS_PER_FETCH: usize = 32;
/// How long the broker may wait for a first byte.
const MAX_WAIT_MS: i32 = 500;
/// Answers without a whole batch after which a partition counts as read: its last offsets hold nothing.
const EMPTY_ANSWERS_MAX: u32 = 3;
/// Records kept; more of one trace help nobody.
const FOUND_MAX: usize = 10_000;

const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Part of a partition to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Offset behind the last.
    pub to: i64,
}

/// A part of a partition that was not read, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What is left of it.
    pub span: Span,
    /// In words that say what to check.
    pub reason: String,
}

/// A record that was read. Its key and value are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The record's time as the topic keeps it, ms.
    pub timestamp: i64,
    /// Part of a transaction that was aborted: consumers may never have seen it.
    pub aborted: bool,
    /// Equal for equal keys and values.
    pub identity: u64,
    /// Headers in order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl ReadRecord {
    fn new(topic: &str, partition: i32, hit: &Hit<'_>) -> Self {
        let mut hasher = DefaultHasher::new();
        (hit.record.key, hit.record.value).hash(&mut hasher);
        let headers = hit.record.headers().map_while(Result::ok);
        Self {
            topic: topic.into(),
            partition,
            offset: hit.offset,
            timestamp: hit.timestamp,
            aborted: hit.aborted,
            identity: hasher.finish(),
            headers: headers
                .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// How far a scan is; read by others while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records looked at.
    pub records: AtomicU64,
    /// Bytes received.
    pub bytes: AtomicU64,
    /// Batches that could not be opened.
    pub unreadable: AtomicU64,
    /// Records that were found and not kept, because there are too many.
    pub not_kept: AtomicU64,
    /// Offsets passed.
    pub passed: AtomicU64,
    /// Offsets to pass.
    pub planned: AtomicU64,
}

/// What every broker's part of a scan shares.
pub(super) struct Job {
    pub(super) wanted: Wanted,
    pub(super) keep: Box<dyn Fn(&ReadRecord) -> bool + Send + Sync>,
    pub(super) progress: Arc<Progress>,
    pub(super) found: Mutex<Vec<ReadRecord>>,
    /// For one answer.
    pub(super) timeout: Duration,
    /// For all of it.
    pub(super) deadline: Instant,
    /// For all of it.
    pub(super) bytes_max: u64,
}

impl Job {
    fn limit(&self) -> Option<&'static str> {
        if Instant::now() >= self.deadline {
            Some("the scan took too long; take a smaller --within or fewer --topics")
        } else if self.progress.bytes.load(Relaxed) >= self.bytes_max {
            Some("the scan read too many bytes; take a smaller --within or fewer --topics")
        } else {
            None
        }
    }
}

/// What is left, and whether it is worth asking again elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Left {
    pub(super) unread: Unread,
    pub(super) retriable: bool,
}

impl Left {
    pub(super) fn new(span: Span, retriable: bool, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            unread: Unread { span, reason },
            retriable,
        }
    }
}

/// Reads all of `spans`, whose leader is at the other end. The connection comes back unless it broke.
pub(super) async fn drain(
    mut connection: Connection,
    spans: Vec<Span>,
    job: Arc<Job>,
) -> (Option<Connection>, Vec<Left>) {
    let Some(version) = connection.version(ApiKey::FETCH, FETCH_VERSIONS) else {
        let reason = "the broker offers no version of Fetch that this program speaks";
        let left = spans.into_iter().map(|s| Left::new(s, false, reason));
        return (Some(connection), left.collect());
    };
    let mut drain = Drain {
        version,
        reading: spans.into_iter().map(|span| (span, 0)).collect(),
        left: Vec::new(),
        searching: None,
        job,
    };
    let broken = drain.run(&mut connection).await.err();
    drain.searched().await;
    let keep = broken.is_none();
    if let Some(fault) = broken {
        let rest = drain.reading.drain(..);
        let reason = fault.to_string();
        drain
            .left
            .extend(rest.map(|(span, _)| Left::new(span, true, reason.clone())));
    }
    (keep.then_some(connection), drain.left)
}

struct Drain {
    version: i16,
    /// With the number of answers that brought nothing; in the order of asking.
    reading: Vec<(Span, u32)>,
    left: Vec<Left>,
    searching: Option<JoinHandle<Vec<u8>>>,
    job: Arc<Job>,
}

impl Drain {
    async fn run(&mut self, connection: &mut Connection) -> Result<(), ProbeError> {
        let mut spare = Vec::new();
        while !self.reading.is_empty() {
            if let Some(reason) = self.job.limit() {
                let rest = self.reading.drain(..);
                self.left
                    .extend(rest.map(|(span, _)| Left::new(span, false, reason)));
                return Ok(());
            }
            let asked = self.next();
            let id = connection.next_id();
            let topics = by_topic(&asked);
            let Some(request) = fetch_request(id, self.version, MAX_WAIT_MS, FETCH_BYTES, &topics)
            else {
                return Ok(());
            };
            let limits = (self.job.timeout, ANSWER_BYTES_MAX);
            connection
                .exchange_into(&request, &mut spare, limits)
                .await?;
            let bytes = u64::try_from(spare.len()).unwrap_or(0);
            self.job.progress.bytes.fetch_add(bytes, Relaxed);
            self.advance(&spare)?;
            // The broker gets the next request before this answer is searched.
            let answer = std::mem::take(&mut spare);
            if let Some(done) = self.searched().await {
                spare = done;
            }
            let (job, version) = (Arc::clone(&self.job), self.version);
            self.searching = Some(tokio::task::spawn_blocking(move || {
                search_answer(&answer, version, &asked, &job);
                answer
            }));
        }
        Ok(())
    }

    /// What to ask for next: the first stretch of each partition, because a request names a partition once.
    fn next(&self) -> Vec<Span> {
        let mut asked: Vec<Span> = Vec::new();
        for (span, _) in &self.reading {
            let is_there =
                |known: &Span| known.partition == span.partition && known.topic == span.topic;
            if asked.len() < PARTITIONS_PER_FETCH && !asked.iter().any(is_there) {
                asked.push(span.clone());
            }
        }
        asked
    }

    /// Waits for the search of the answer before; its buffer comes back.
    async fn searched(&mut self) -> Option<Vec<u8>> {
        self.searching.take()?.await.ok()
    }

    /// Moves each partition on by what the answer holds of it.
    fn advance(&mut self, answer: &[u8]) -> Result<(), ProbeError> {
        let response = open(answer, self.version)?;
        if response.error_code != 0 {
            return Err(ProbeError::Protocol("the broker refused to be read from"));
        }
        // One that waits for its turn behind others brings nothing either, and that says nothing.
        let mut all = response.topics.iter().flat_map(|topic| &topic.partitions);
        let none = all.all(|p| p.error_code == 0 && next_offset(p.records).is_none());
        for topic in &response.topics {
            let TopicRef::Name(name) = topic.topic else {
                continue;
            };
            for fetched in &topic.partitions {
                let at = self.reading.iter().position(|(span, _)| {
                    &*span.topic == name && span.partition == fetched.partition
                });
                let Some(at) = at else { continue };
                let (mut span, mut empty) = self.reading.remove(at);
                let before = span.from;
                if fetched.error_code == OFFSET_OUT_OF_RANGE && fetched.log_start_offset > span.from
                {
                    // Retention was faster: what is gone is no longer in Kafka.
                    span.from = fetched.log_start_offset;
                } else if let Some(failure) = error_code::failure(fetched.error_code) {
                    let reason = format!("the broker says {}", failure.name);
                    self.left.push(Left::new(span, failure.retriable, reason));
                    continue;
                } else if let Some(next) =
                    next_offset(fetched.records).filter(|next| *next > before)
                {
                    span.from = next;
                    empty = 0;
                } else if none || !fetched.records.is_empty() {
                    empty = empty.saturating_add(1);
                }
                if empty >= EMPTY_ANSWERS_MAX {
                    span.from = span.to;
                }
                let passed = span.from.min(span.to).saturating_sub(before);
                let passed = u64::try_from(passed).unwrap_or(0);
                self.job.progress.passed.fetch_add(passed, Relaxed);
                if span.from < span.to {
                    self.reading.push((span, empty));
                }
            }
        }
        Ok(())
    }
}

/// The form of a request.
pub(super) fn by_topic(spans: &[Span]) -> Vec<(&str, Vec<Start>)> {
    let mut topics: BTreeMap<&str, Vec<Start>> = BTreeMap::new();
    for span in spans {
        topics.entry(&span.topic).or_default().push(Start {
            partition: span.partition,
            at: span.from,
        });
    }
    topics.into_iter().collect()
}

fn open(answer: &[u8], version: i16) -> Result<FetchResponse<'_>, ProbeError> {
    let header = response_header_length(answer, ApiKey::FETCH, version)?;
    let body = answer.get(header..).unwrap_or_default();
    Ok(FetchResponse::read(body, version)?)
}

/// Searches one answer and keeps what is wanted.
fn search_answer(answer: &[u8], version: i16, asked: &[Span], job: &Job) {
    let Ok(response) = open(answer, version) else {
        return;
    };
    for topic in &response.topics {
        let TopicRef::Name(name) = topic.topic else {
            continue;
        };
        for fetched in &topic.partitions {
            let span = asked
                .iter()
                .find(|span| &*span.topic == name && span.partition == fetched.partition);
            let Some(span) = span else { continue };
            let (records, aborted) = (fetched.records, &fetched.aborted);
            let done = search(records, aborted, &job.wanted, BATCH_BYTES_MAX, |hit| {
                // A batch is fetched whole: its first records may stand before what was asked for.
                if (span.from..span.to).contains(&hit.offset) {
                    keep(ReadRecord::new(name, span.partition, &hit), job);
                }
            });
            job.progress.records.fetch_add(done.records, Relaxed);
            job.progress.unreadable.fetch_add(done.unreadable, Relaxed);
        }
    }
}

fn keep(record: ReadRecord, job: &Job) {
    if !(job.keep)(&record) {
        return;
    }
    let mut found = job.found.lock().unwrap_or_else(PoisonError::into_inner);
    if found.len() < FOUND_MAX {
        found.push(record);
    } else {
        job.progress.not_kept.fetch_add(1, Relaxed);
    }
}
