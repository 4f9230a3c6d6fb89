//! The payloads of answers: what was published, delivered, settled, who is a member of what.
//!
//! Plain data; units are in the names. Must not compute anything that needs more than one event.

use std::{sync::Arc, time::Duration};

use super::{CapturedBatch, Failure, Name, SentTo};
use crate::propagation::{DeadLetter, Evidence, Sent, Traceparent};

/// What a request and its answer say, beside having been answered.
#[derive(Debug, Default)]
pub enum Facts {
    /// Nothing more.
    #[default]
    None,
    /// Records were sent to topics.
    Produced(Produced),
    /// Records were handed to a consumer.
    Delivered(Delivered),
    /// A group said how far it got.
    Settled(Settled),
    /// A member of a share group said what became of records.
    Acknowledged(Acknowledged),
    /// A group asked how far it had got.
    Positions(Positions),
    /// A consumer asked, after a change of leader, where the records end that it has read of: (topic, partition, offset behind
    /// them; negative where that is not known).
    EpochEnds(Vec<(Name, i32, i64)>),
    /// A transaction is over.
    TransactionEnded {
        /// Its producer.
        producer_id: i64,
        /// What it wrote counts.
        committed: bool,
    },
    /// A member joined, was given partitions, beat or left.
    Membership(Membership),
    /// Topics and partitions were described.
    Topics(Vec<TopicSeen>),
    /// Authentication ended.
    Authenticated {
        /// SASL mechanism, upper case, bounded by the protocol's list.
        mechanism: &'static str,
        /// Whether the broker accepted it.
        accepted: bool,
        /// The name that the client claimed, where the mechanism carries one in clear. What the broker calls it may differ.
        principal: Option<Name>,
    },
}

/// One publish request.
#[derive(Debug)]
pub struct Produced {
    /// Acknowledgements asked for: 0, 1, or -1 for all.
    pub acks: i16,
    /// Part of a transaction.
    pub transactional: bool,
    /// One entry per partition in the request.
    pub parts: Vec<ProducedPart>,
}

/// What one publish request holds for one partition.
#[derive(Debug)]
pub struct ProducedPart {
    /// Topic, or [`super::UNRESOLVED`].
    pub topic: Name,
    /// Partition number.
    pub partition: i32,
    /// Batches in the request (1 for every current client).
    pub batches: u32,
    /// Records, from the batch headers. 0 for formats older than v2, which are not opened.
    pub records: u64,
    /// Bytes of the batches on the wire, headers of the batches included.
    pub bytes: u64,
    /// Uncompressed-to-wire shape is unknown without opening it; only the codec is.
    pub codec: Codec,
    /// Producer id of the transaction it is part of.
    pub transaction: Option<i64>,
    /// Idempotent identity of the (first) batch, if it has one.
    pub sequence: Option<ProducerSequence>,
    /// Earliest (first record's) timestamp, ms since the epoch.
    pub base_timestamp_ms: i64,
    /// Latest timestamp, ms since the epoch.
    pub max_timestamp_ms: i64,
    /// How it ended.
    pub outcome: PublishOutcome,
    /// The batch as the program sent it, where the observer wants to look at its records.
    pub captured: Option<CapturedBatch>,
    /// What was added to its records.
    pub injection: Injection,
    /// Records whose trace is recorded; the first ones where there are many.
    pub traced: Vec<Traced>,
    /// The first record, where its trace is not recorded: in case that something goes wrong with it.
    pub unrecorded: Option<Box<Traced>>,
    /// Where the records that were given context come from.
    pub descent: Vec<Descent>,
}

impl ProducedPart {
    /// Where its records are, as far as the broker said.
    #[must_use]
    pub fn sent_to(&self) -> SentTo {
        let base_offset = match self.outcome {
            PublishOutcome::Acknowledged { base_offset, .. } => Some(base_offset),
            _ => None,
        };
        let edited = self.captured.as_ref().is_some_and(|batch| batch.edited);
        let stands = self.injection.records > 0 && self.injection.refused.is_none();
        SentTo {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            base_offset: base_offset.filter(|offset| *offset >= 0),
            as_captured: edited == stands,
        }
    }

    /// What was written to its records did not get into the log.
    pub fn forget_written(&mut self) {
        self.traced.retain(|record| !record.written);
        self.unrecorded = self.unrecorded.take().filter(|record| !record.written);
        self.descent.clear();
    }
}

/// Records of one publish that come from the same topic, by the same evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Descent {
    /// Topic of their parents; `None` where none was found.
    pub from: Option<Name>,
    /// How those were found.
    pub evidence: Evidence,
    /// How many records.
    pub records: u64,
    /// Sum of the times from a parent's delivery to the sending.
    pub waited: Duration,
}

/// A record whose trace is recorded.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Its position: behind the first of its batch where it is sent, in its partition where it is delivered.
    pub offset: i64,
    /// The context it carries.
    pub context: Traceparent,
    /// What our member says, where the context is ours.
    pub sent: Option<Sent>,
    /// This sidecar gave it the context, or the context follows from where this sidecar saw it go.
    pub written: bool,
    /// The record carries no context: it follows from the record's position.
    pub derived: bool,
    /// When it was published, ms since the Unix epoch, where it is delivered.
    pub published_ms: Option<i64>,
    /// Its correlation id; `None` where the trace id stands for it.
    pub correlation: Option<Arc<str>>,
    /// Bytes of its value.
    pub body_bytes: usize,
    /// It has no value.
    pub tombstone: bool,
    /// The delivered record it comes from, as far as this sidecar found out.
    pub origin: Option<Box<Origin>>,
    /// Others that it may come from as well, or instead.
    pub candidates: Candidates,
    /// What it was before a program gave up on it, where it is sent as a dead letter.
    pub dead_letter: Option<Box<DeadLetter>>,
}

impl Traced {
    /// Its trace and the span that created it.
    #[must_use]
    pub fn ids(&self) -> SpanIds {
        span_ids(self.context)
    }

    /// A record of the trace that is numbered as its position, behind a thousand.
    #[cfg(test)]
    pub(crate) fn numbered(offset: i64, published_ms: i64) -> Self {
        let number = u64::try_from(offset.saturating_add(1_000)).unwrap_or(1);
        let text = format!("00-{number:032x}-{number:016x}-01");
        let context = Traceparent::parse(text.as_bytes());
        Self {
            offset,
            context: context.unwrap_or_else(|fault| unreachable!("{text}: {fault}")),
            sent: None,
            written: false,
            derived: false,
            published_ms: Some(published_ms),
            correlation: None,
            body_bytes: 0,
            tombstone: false,
            origin: None,
            candidates: Candidates::default(),
            dead_letter: None,
        }
    }

    /// As one of many of its latency; `None` where it is not known when it was published.
    #[must_use]
    pub fn example(&self) -> Option<Example> {
        Some(Example {
            context: self.context,
            offset: self.offset,
            published_ms: self.published_ms?,
        })
    }
}

/// A delivered record whose trace is recorded, as one of many of its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The context it carries, or the one that follows from its position.
    pub context: Traceparent,
    /// Its position.
    pub offset: i64,
    /// When it was published, ms since the Unix epoch.
    pub published_ms: i64,
}

impl Example {
    /// Its trace and the span that created it.
    #[must_use]
    pub fn ids(&self) -> SpanIds {
        span_ids(self.context)
    }
}

/// A trace id and a span id, as W3C has them.
pub type SpanIds = ([u8; 16], [u8; 8]);

fn span_ids(context: Traceparent) -> SpanIds {
    (context.trace_id.bytes(), context.span_id.bytes())
}

/// A delivered record that another one comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Topic.
    pub topic: Name,
    /// Partition.
    pub partition: i32,
    /// Position.
    pub offset: i64,
    /// The context it carries, or the one that follows from its position.
    pub context: Traceparent,
    /// How sure the evidence is, 0 to 1.
    pub confidence: f64,
}

/// A delivered record that another one may come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What speaks for it.
    pub evidence: Evidence,
    /// The record.
    pub origin: Origin,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Candidates {
    /// The newest of each kind of evidence first.
    pub linked: Vec<Candidate>,
    /// How many more there are.
    pub more: u32,
}

/// What was added to the records of one partition in a publish request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Injection {
    /// Records of a batch that was edited; a record that lacked nothing is among them.
    pub records: u64,
    /// Why nothing was added, in a topic whose mode asks for it. Bounded set, the metric label.
    pub skipped: Option<&'static str>,
    /// The error with which the broker refused the edited batch.
    pub refused: Option<&'static str>,
}

/// Identity of an idempotent batch (KIP-98): the same triple for one partition is a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProducerSequence {
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
}

/// How a publish ended for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The broker has it.
    Acknowledged {
        /// Offset of the first record, -1 where the broker did not say (duplicate of an old batch).
        base_offset: i64,
        /// Set where the topic uses LogAppendTime, ms.
        log_append_ms: Option<i64>,
    },
    /// The broker refused it.
    Failed(Failure),
    /// Nobody asked for an answer (acks=0).
    NotAsked,
    /// Sent, and the connection ended before an answer; or the answer could not be read.
    Lost,
}

/// One answer with records.
#[derive(Debug)]
pub struct Delivered {
    /// The share group, where the request names one; `None` for ordinary fetches.
    pub group: Option<Name>,
    /// What the same request acknowledged, of share groups.
    pub acknowledged: Option<Box<Acknowledged>>,
    /// The consumer reads committed records only.
    pub read_committed: bool,
    /// Data was there when asked (asked offset before the known end, not throttled): only then the duration is the
    /// broker's and not the wait for new records.
    pub data_was_there: bool,
    /// One entry per partition in the answer.
    pub parts: Vec<DeliveredPart>,
}

/// What one answer holds for one partition.
#[derive(Debug)]
pub struct DeliveredPart {
    /// Topic, or [`super::UNRESOLVED`].
    pub topic: Name,
    /// Partition number.
    pub partition: i32,
    /// Offset asked for; `None` where the request was not seen (an old fetch session).
    pub asked: Option<i64>,
    /// Error for this partition.
    pub error: Option<Failure>,
    /// End of the replicated log; -1 unknown.
    pub high_watermark: i64,
    /// End of what a read-committed consumer may see; -1 unknown.
    pub last_stable: i64,
    /// First offset that retention left; -1 unknown.
    pub log_start: i64,
    /// The complete batches, in offset order.
    pub batches: Vec<BatchFact>,
    /// What the member of a share group was given of them, in offset order; empty for ordinary groups, which are given all.
    pub acquired: Vec<Acquired>,
    /// Records whose trace is recorded; the first ones where there are many.
    pub traced: Vec<Traced>,
    /// The first record, where its trace is not recorded: in case that something goes wrong with it.
    pub unrecorded: Option<Box<Traced>>,
}

impl DeliveredPart {
    /// Whether the application is given the record at an offset of its batches: of a share group only what was acquired.
    #[must_use]
    pub fn gives(&self, offset: i64) -> bool {
        self.acquired.is_empty() || Acquired::cover(&self.acquired, offset)
    }
}

/// Offsets that a member of a share group was given (KIP-932).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquired {
    /// First offset.
    pub first: i64,
    /// Last offset, inclusive.
    pub last: i64,
    /// How often the group was given them, this time included.
    pub deliveries: u32,
}

impl Acquired {
    /// Whether one of the runs, in order of their first offsets, holds an offset.
    #[must_use]
    pub fn cover(runs: &[Self], offset: i64) -> bool {
        let behind = runs.partition_point(|run| run.first <= offset);
        let run = behind.checked_sub(1).and_then(|at| runs.get(at));
        run.is_some_and(|run| offset <= run.last)
    }
}

/// What a member of a share group says of records it was given.
#[derive(Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Share group.
    pub group: Name,
    /// Member id.
    pub member: Name,
    /// It gives up its session: the cluster takes back what it does not acknowledge.
    pub leaves: bool,
    /// One entry per partition.
    pub parts: Vec<AcknowledgedPart>,
}

/// What is said of one partition.
#[derive(Debug, PartialEq, Eq)]
pub struct AcknowledgedPart {
    /// Topic, or [`super::UNRESOLVED`].
    pub topic: Name,
    /// Partition number.
    pub partition: i32,
    /// (first offset, last offset, what became of them).
    pub runs: Vec<(i64, i64, Acknowledgement)>,
    /// Why the broker refused it, if it did: all of it stays as it was.
    pub error: Option<Failure>,
}

/// What became of records given to a share group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Acknowledgement {
    /// There is no record at those offsets.
    Gap,
    /// Processed.
    Accepted,
    /// Not now: they are given to a member again.
    Released,
    /// Never: nobody is given them again.
    Rejected,
}

impl Acknowledgement {
    /// What a record can become.
    pub const OF_RECORDS: [Self; 3] = [Self::Accepted, Self::Released, Self::Rejected];

    /// The metric label: Kafka's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Accepted => "accept",
            Self::Released => "release",
            Self::Rejected => "reject",
        }
    }
}

/// One complete batch inside an answer.
#[derive(Debug)]
pub struct BatchFact {
    /// First offset.
    pub base_offset: i64,
    /// Last offset (of the batch as written, holes included).
    pub last_offset: i64,
    /// Records in it, from the header.
    pub records: u32,
    /// Records that the application will see: none of a control or aborted batch, none before the offset asked for.
    /// Exact, but where compaction left holes in the one batch that straddles the asked offset: then an upper bound.
    pub delivered: u32,
    /// Bytes on the wire, header included.
    pub bytes: u32,
    /// First record's timestamp, ms; equals `max_timestamp_ms` where it is not known apart.
    pub base_timestamp_ms: i64,
    /// Latest timestamp, ms.
    pub max_timestamp_ms: i64,
    /// Every record's time is `max_timestamp_ms` (LogAppendTime).
    pub log_append_time: bool,
    /// Codec on the wire.
    pub codec: Codec,
    /// Data, control or aborted.
    pub kind: BatchKind,
    /// The batch itself, where [`super::Observer::wants_records`] asked for it and the budget allowed.
    pub captured: Option<CapturedBatch>,
}

/// What a batch is to the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchKind {
    /// Records.
    Data,
    /// Transaction marker or other control record; never seen by the application.
    Control,
    /// Records of an aborted transaction, hidden from a read-committed consumer.
    Aborted,
}

/// Compression codec of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
    /// A codec this version does not know.
    Other,
}

impl Codec {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Other => "other",
        }
    }
}

/// One commit of positions.
#[derive(Debug)]
pub struct Settled {
    /// Consumer group.
    pub group: Name,
    /// Member id; empty for commits outside the membership protocol.
    pub member: Name,
    /// Producer id of the transaction it is part of: it counts only once that commits.
    pub transaction: Option<i64>,
    /// One entry per partition.
    pub parts: Vec<SettledPart>,
}

/// How far a group got in one partition.
#[derive(Debug)]
pub struct SettledPart {
    /// Topic, or [`super::UNRESOLVED`].
    pub topic: Name,
    /// Partition number.
    pub partition: i32,
    /// Next offset the group will read.
    pub offset: i64,
    /// Why the broker refused it, if it did.
    pub error: Option<Failure>,
}

/// Where a group stood when it asked.
#[derive(Debug)]
pub struct Positions {
    /// Consumer group.
    pub group: Name,
    /// (topic, partition, committed offset); `None` = the group has no position there.
    pub parts: Vec<(Name, i32, Option<i64>)>,
}

/// Partitions per topic.
pub type PartitionSet = Vec<(Name, Vec<i32>)>;

/// Something about one member of one group.
#[derive(Debug)]
pub struct Membership {
    /// Group.
    pub group: Name,
    /// Member id; empty before the coordinator gave one.
    pub member: Name,
    /// What changed.
    pub change: MembershipChange,
}

/// What changed for a member.
#[derive(Debug)]
pub enum MembershipChange {
    /// A rebalance round of the classic protocol ended for this member, which now has this generation.
    Joined {
        /// Generation or member epoch.
        generation: i32,
        /// Bounded reason: `join`, `rejoin`, `expired`, `unknown`.
        reason: &'static str,
    },
    /// The member was given exactly these partitions.
    Assigned {
        /// Generation or member epoch.
        generation: i32,
        /// The whole assignment, by topic.
        partitions: PartitionSet,
        /// Share group: records are acquired, not partitions owned.
        share: bool,
    },
    /// The member is alive and nothing changed.
    Beat {
        /// The coordinator asks for a rebalance (`REBALANCE_IN_PROGRESS`).
        rebalancing: bool,
        /// Interval the coordinator asks for, where the answer names it.
        interval: Option<Duration>,
    },
    /// The member left on its own.
    Left,
    /// The coordinator does not know the member any more (fenced, expired).
    Lost {
        /// The protocol's constant.
        reason: &'static str,
    },
}

/// A topic as described by the cluster.
#[derive(Debug)]
pub struct TopicSeen {
    /// Name.
    pub name: Name,
    /// Number of partitions described.
    pub partitions: u32,
    /// True where the cluster says that the topic does not exist (any more).
    pub gone: bool,
}
