//! Reads the messages that carry records while they stream: Produce requests, Fetch and ShareFetch responses.
//!
//! A push parser. Chunks of a frame's body go in, cut anywhere; topics, partitions and batch headers come out at a [`Sink`].
//! It keeps at most one element (a name, a batch header) between two chunks and never the records. Must not decide what is
//! done with what it finds, nor change a byte.
//!
//! Reference: `ProduceRequest.json`, `FetchResponse.json`, `ShareFetchResponse.json`.

use super::{
    api::ApiKey,
    batch::{BATCH_HEADER_BYTES, BATCH_LENGTH_PREFIX_BYTES, BatchHeader, MAGIC_PEEK_BYTES},
    error::{DecodeError, DecodeErrorKind, Result},
    reader::{Reader, TopicRef},
    record::{ControlType, control_type},
};

/// Bytes of the first record of a control batch that are looked at: enough for its key.
const CONTROL_PEEK_BYTES: usize = 64;
/// An element longer than this is a fault: topic names end at 32 KiB, tagged fields are small.
const ELEMENT_BYTES_MAX: usize = 256 * 1024;
/// First step by which an incomplete element grows.
const ELEMENT_STEP_BYTES: usize = 256;

/// Which message is scanned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Produce request, version 3 and later.
    ProduceRequest,
    /// Fetch response, version 4 and later.
    FetchResponse,
    /// ShareFetch response.
    ShareFetchResponse,
}

impl Message {
    /// The API it belongs to.
    #[must_use]
    pub const fn api(self) -> ApiKey {
        match self {
            Self::ProduceRequest => ApiKey::PRODUCE,
            Self::FetchResponse => ApiKey::FETCH,
            Self::ShareFetchResponse => ApiKey::SHARE_FETCH,
        }
    }
}

/// The fields before the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// Responses: throttle time, ms.
    pub throttle_ms: i32,
    /// Responses: top-level error code.
    pub error_code: i16,
    /// Fetch: session id.
    pub session_id: i32,
    /// Produce: acknowledgements asked for.
    pub acks: i16,
    /// Produce: a transactional id is given.
    pub transactional: bool,
}

/// The fields of one partition before its records. Offsets are -1 where the message has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionHead {
    /// Partition number.
    pub partition: i32,
    /// Error code.
    pub error_code: i16,
    /// ShareFetch: what became of the acknowledgements in the request.
    pub acknowledge_error_code: i16,
    /// High watermark.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable_offset: i64,
    /// Log start offset.
    pub log_start_offset: i64,
}

/// Where what is found goes. Called in wire order.
pub trait Sink {
    /// The fields before the topics.
    fn head(&mut self, head: Head);
    /// A topic begins.
    fn topic(&mut self, topic: TopicRef<'_>);
    /// A partition of the current topic begins.
    fn partition(&mut self, head: PartitionHead);
    /// An aborted transaction that overlaps the current partition's records.
    fn aborted(&mut self, producer_id: i64, first_offset: i64);
    /// A complete v2 batch begins. True asks for its bytes.
    fn batch(&mut self, header: &BatchHeader, marker: Option<ControlType>) -> bool;
    /// Next bytes of the batch that was asked for, its header first.
    fn batch_bytes(&mut self, bytes: &[u8]);
    /// The current batch has passed whole.
    fn batch_end(&mut self);
    /// A message set of format 0 or 1, `bytes` long, which is not opened.
    fn old_format(&mut self, bytes: usize);
    /// The rest of the records is a batch cut off by the fetch size (normal), or does not look like one (`damaged`).
    fn cut_off(&mut self, damaged: bool);
    /// ShareFetch: records acquired for the member, offsets inclusive.
    fn acquired(&mut self, first: i64, last: i64, delivery_count: i16);
    /// The partition has ended.
    fn partition_end(&mut self);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Topic,
    Partition,
    Aborted,
    RecordsLength,
    Batch,
    Body { wanted: bool },
    Skip,
    Acquired,
    PartitionEnd,
    TopicEnd,
    Trailer,
}

/// The scanner of one frame.
#[derive(Debug)]
pub struct Scanner {
    message: Message,
    version: i16,
    flexible: bool,
    state: State,
    topics: usize,
    partitions: usize,
    /// Entries left of the array inside a partition that is being read.
    entries: usize,
    records: usize,
    body: usize,
    carry: Vec<u8>,
}

impl Scanner {
    /// A scanner for the body (behind the request or response header) of one frame.
    #[must_use]
    pub fn new(message: Message, version: i16) -> Self {
        Self {
            message,
            version,
            flexible: message.api().is_flexible(version),
            state: State::Head,
            topics: 0,
            partitions: 0,
            entries: 0,
            records: 0,
            body: 0,
            carry: Vec::new(),
        }
    }

    /// True once everything before the trailer has been read.
    #[must_use]
    pub fn at_trailer(&self) -> bool {
        self.state == State::Trailer
    }

    /// Reads the next chunk. Returns how many of its bytes stand before the trailer (what follows the topics).
    ///
    /// # Errors
    /// A fault means that this frame is not understood from here on; the scanner must not be fed again.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<usize> {
        let mut rest = chunk;
        loop {
            match self.state {
                State::Trailer => return Ok(chunk.len().saturating_sub(rest.len())),
                State::Body { wanted } => {
                    let (now, later) = rest.split_at(self.body.min(rest.len()));
                    if wanted && !now.is_empty() {
                        sink.batch_bytes(now);
                    }
                    self.passed(now.len());
                    rest = later;
                    if self.body > 0 {
                        return Ok(chunk.len());
                    }
                    sink.batch_end();
                    self.state = State::Batch;
                }
                State::Skip => {
                    let (now, later) = rest.split_at(self.body.min(rest.len()));
                    self.passed(now.len());
                    rest = later;
                    if self.body > 0 {
                        return Ok(chunk.len());
                    }
                    self.state = State::Batch;
                }
                _ => match self.element(&mut rest, sink)? {
                    Step::Taken => {}
                    Step::Starved => return Ok(chunk.len()),
                },
            }
        }
    }

    fn passed(&mut self, bytes: usize) {
        self.body = self.body.saturating_sub(bytes);
        self.records = self.records.saturating_sub(bytes);
    }

    /// Reads one element, from the chunk alone where it is whole there, else from what was kept plus the chunk.
    fn element(&mut self, rest: &mut &[u8], sink: &mut dyn Sink) -> Result<Step> {
        if self.carry.is_empty() {
            return match self.step(rest, sink) {
                Ok(used) => {
                    *rest = rest.get(used..).unwrap_or_default();
                    Ok(Step::Taken)
                }
                Err(fault) if fault.is_incomplete() => {
                    if rest.len() > ELEMENT_BYTES_MAX {
                        return Err(DecodeError {
                            kind: DecodeErrorKind::Limit,
                            ..fault
                        });
                    }
                    self.carry.extend_from_slice(rest);
                    *rest = &[];
                    Ok(Step::Starved)
                }
                Err(fault) => Err(fault),
            };
        }
        self.element_from_carry(rest, sink)
    }

    fn element_from_carry(&mut self, rest: &mut &[u8], sink: &mut dyn Sink) -> Result<Step> {
        let mut carry = std::mem::take(&mut self.carry);
        while !rest.is_empty() {
            let step = ELEMENT_STEP_BYTES.max(carry.len()).min(rest.len());
            let (now, later) = rest.split_at(step);
            carry.extend_from_slice(now);
            match self.step(&carry, sink) {
                Ok(used) => {
                    // What was kept alone was incomplete, so the element ends inside `now`.
                    let unused = carry.len().saturating_sub(used);
                    *rest = rest
                        .get(now.len().saturating_sub(unused)..)
                        .unwrap_or_default();
                    carry.clear();
                    self.carry = carry;
                    return Ok(Step::Taken);
                }
                Err(fault) if fault.is_incomplete() && carry.len() <= ELEMENT_BYTES_MAX => {
                    *rest = later
                }
                Err(fault) if fault.is_incomplete() => {
                    return Err(DecodeError {
                        kind: DecodeErrorKind::Limit,
                        ..fault
                    });
                }
                Err(fault) => return Err(fault),
            }
        }
        self.carry = carry;
        Ok(Step::Starved)
    }

    /// Reads the element the state calls for from the first byte of `bytes` and returns its length. Must not change
    /// anything when it returns `Incomplete`.
    fn step(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<usize> {
        let mut r = Reader::new(bytes, self.flexible);
        match self.state {
            State::Head => {
                let head = self.read_head(&mut r)?;
                self.topics = r.count("topics")?;
                sink.head(head);
                self.next_topic();
            }
            State::Topic => {
                let by_id = match self.message {
                    Message::ShareFetchResponse => true,
                    Message::FetchResponse | Message::ProduceRequest => self.version >= 13,
                };
                let topic = r.topic_ref(by_id, "topic")?;
                self.partitions = r.count("partitions")?;
                sink.topic(topic);
                self.next_partition();
            }
            State::Partition => self.read_partition(&mut r, sink)?,
            State::Aborted => {
                let (producer_id, first_offset) = (r.i64("producer id")?, r.i64("first offset")?);
                r.skip_tagged()?;
                sink.aborted(producer_id, first_offset);
                self.next_entry(State::RecordsLength);
            }
            State::RecordsLength => {
                if self.message == Message::FetchResponse && self.version >= 11 {
                    r.i32("preferred read replica")?;
                }
                self.records = r.bytes_length("records")?.unwrap_or(0);
                self.state = State::Batch;
            }
            State::Batch => return self.read_batch(bytes, sink),
            State::Acquired => {
                let (first, last) = (r.i64("first offset")?, r.i64("last offset")?);
                let count = r.i16("delivery count")?;
                r.skip_tagged()?;
                sink.acquired(first, last, count);
                self.next_entry(State::PartitionEnd);
            }
            State::PartitionEnd => {
                r.skip_tagged()?;
                sink.partition_end();
                self.partitions = self.partitions.saturating_sub(1);
                self.next_partition();
            }
            State::TopicEnd => {
                r.skip_tagged()?;
                self.topics = self.topics.saturating_sub(1);
                self.next_topic();
            }
            State::Body { .. } | State::Skip | State::Trailer => {}
        }
        Ok(r.position())
    }

    fn next_topic(&mut self) {
        self.state = if self.topics == 0 {
            State::Trailer
        } else {
            State::Topic
        };
    }

    fn next_partition(&mut self) {
        self.state = if self.partitions == 0 {
            State::TopicEnd
        } else {
            State::Partition
        };
    }

    fn next_entry(&mut self, after: State) {
        self.entries = self.entries.saturating_sub(1);
        if self.entries == 0 {
            self.state = after;
        }
    }

    fn read_head(&self, r: &mut Reader<'_>) -> Result<Head> {
        let mut head = Head::default();
        match self.message {
            Message::ProduceRequest => {
                head.transactional = r.nullable_string_bytes("transactional id")?.is_some();
                head.acks = r.i16("acks")?;
                r.i32("timeout ms")?;
            }
            Message::FetchResponse => {
                head.throttle_ms = r.i32("throttle time ms")?;
                if self.version >= 7 {
                    head.error_code = r.i16("error code")?;
                    head.session_id = r.i32("session id")?;
                }
            }
            Message::ShareFetchResponse => {
                head.throttle_ms = r.i32("throttle time ms")?;
                head.error_code = r.i16("error code")?;
                r.nullable_string_bytes("error message")?;
                if self.version >= 1 {
                    r.i32("acquisition lock timeout ms")?;
                }
            }
        }
        Ok(head)
    }

    fn read_partition(&mut self, r: &mut Reader<'_>, sink: &mut dyn Sink) -> Result<()> {
        let mut head = PartitionHead {
            partition: r.i32("partition")?,
            error_code: 0,
            acknowledge_error_code: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
        };
        match self.message {
            Message::ProduceRequest => self.state = State::RecordsLength,
            Message::FetchResponse => {
                head.error_code = r.i16("error code")?;
                head.high_watermark = r.i64("high watermark")?;
                head.last_stable_offset = r.i64("last stable offset")?;
                if self.version >= 5 {
                    head.log_start_offset = r.i64("log start offset")?;
                }
                self.entries = r.count("aborted transactions")?;
                self.state = if self.entries == 0 {
                    State::RecordsLength
                } else {
                    State::Aborted
                };
            }
            Message::ShareFetchResponse => {
                head.error_code = r.i16("error code")?;
                r.nullable_string_bytes("error message")?;
                head.acknowledge_error_code = r.i16("acknowledge error code")?;
                r.nullable_string_bytes("acknowledge error message")?;
                r.i32("leader id")?;
                r.i32("leader epoch")?;
                r.skip_tagged()?;
                self.state = State::RecordsLength;
            }
        }
        sink.partition(head);
        Ok(())
    }

    fn read_batch(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<usize> {
        if self.records == 0 {
            return self.after_records(bytes);
        }
        if self.records < MAGIC_PEEK_BYTES {
            return Ok(self.skip_rest(bytes, sink, false));
        }
        let mut r = Reader::new(bytes, false);
        r.i64("base offset")?;
        let size = r.i32("batch length")?;
        r.i32("partition leader epoch")?;
        let magic = r.i8("magic")?;
        let Ok(size) = usize::try_from(size) else {
            return Ok(self.skip_rest(bytes, sink, true));
        };
        let total = size.saturating_add(BATCH_LENGTH_PREFIX_BYTES);
        if total > self.records {
            return Ok(self.skip_rest(bytes, sink, false));
        }
        if magic != 2 {
            if total < MAGIC_PEEK_BYTES {
                return Ok(self.skip_rest(bytes, sink, true));
            }
            sink.old_format(total);
            self.body = total;
            return Ok(self.skip(bytes));
        }
        if total < BATCH_HEADER_BYTES {
            return Ok(self.skip_rest(bytes, sink, true));
        }
        self.read_v2(bytes, total, sink)
    }

    fn read_v2(&mut self, bytes: &[u8], total: usize, sink: &mut dyn Sink) -> Result<usize> {
        let header = match BatchHeader::read(bytes) {
            Ok(header) => header,
            Err(fault) if fault.is_incomplete() => return Err(fault),
            Err(_) => return Ok(self.skip_rest(bytes, sink, true)),
        };
        let needed = if header.is_control() {
            total.min(BATCH_HEADER_BYTES.saturating_add(CONTROL_PEEK_BYTES))
        } else {
            BATCH_HEADER_BYTES
        };
        let Some(taken) = bytes.get(..needed) else {
            return Err(
                Reader::new(bytes, false).fault(DecodeErrorKind::Incomplete, "control record")
            );
        };
        let marker = header.is_control().then(|| {
            let record = taken.get(BATCH_HEADER_BYTES..).unwrap_or_default();
            control_type(record).unwrap_or(ControlType::Other)
        });
        let wanted = sink.batch(&header, marker);
        if wanted {
            sink.batch_bytes(taken);
        }
        self.body = total.saturating_sub(needed);
        self.records = self.records.saturating_sub(needed);
        self.state = State::Body { wanted };
        Ok(needed)
    }

    fn skip_rest(&mut self, bytes: &[u8], sink: &mut dyn Sink, damaged: bool) -> usize {
        sink.cut_off(damaged);
        self.body = self.records;
        self.skip(bytes)
    }

    /// Skips `body` bytes, those at hand at once: a step must end behind everything that was kept for it.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        let now = self.body.min(bytes.len());
        self.passed(now);
        self.state = State::Skip;
        now
    }

    fn after_records(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.message != Message::ShareFetchResponse {
            self.state = State::PartitionEnd;
            return Ok(0);
        }
        let mut r = Reader::new(bytes, self.flexible);
        self.entries = r.count("acquired records")?;
        self.state = if self.entries == 0 {
            State::PartitionEnd
        } else {
            State::Acquired
        };
        Ok(r.position())
    }
}

enum Step {
    Taken,
    Starved,
}

#[cfg(test)]
mod tests;
