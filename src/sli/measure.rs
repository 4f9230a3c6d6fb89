//! What the engine says, and to whom.
//!
//! The engine judges; it does not know metric families. Whoever wants its verdicts implements [`Sink`]. Must hold no state.

use std::{sync::Arc, time::Duration};

use super::{
    loss::Loss,
    objective::{DEFAULT_LATENCY_THRESHOLD, Goal},
    schema::SchemaFailure,
};
use crate::event::{Acknowledgement, Category, Example, Name};

/// A service-level indicator that a sidecar measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sli {
    /// Records the app tried to produce; good = acknowledged.
    Publish,
    /// Records delivered; good = within the threshold from publish to the stage.
    Latency,
    /// Requests and connects; good = answered in time without a fault of the broker.
    Availability,
    /// Records delivered and settled; good = nothing says that the program could not process them.
    Processing,
    /// Records delivered whose id is known; good = the event had not been delivered before.
    Duplicates,
    /// Records settled or dead-lettered; good = settled without.
    DeadLetter,
    /// Records produced to a topic with schemas; good = the schema is known, belongs to the topic, and the value decodes.
    Schema,
    /// Observer: offsets past their deadline; good = the group had committed past them by then.
    Delivery,
    /// Observer: looks at one partition of a group; good = its lag in seconds is under the threshold.
    Lag,
    /// Observer: probes of one broker; good = answered.
    Broker,
    /// Observer: looks at one partition; good = groups and disk have room before retention removes what is unread.
    Retention,
}

impl Sli {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Publish,
        Self::Latency,
        Self::Availability,
        Self::Processing,
        Self::Duplicates,
        Self::DeadLetter,
        Self::Schema,
        Self::Delivery,
        Self::Lag,
        Self::Broker,
        Self::Retention,
    ];

    /// The metric label and the word in `objectives:`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Latency => "latency",
            Self::Availability => "availability",
            Self::Processing => "processing",
            Self::Duplicates => "duplicates",
            Self::DeadLetter => "dead_letter",
            Self::Schema => "schema",
            Self::Delivery => "delivery",
            Self::Lag => "lag",
            Self::Broker => "broker",
            Self::Retention => "retention",
        }
    }

    /// What is asked where no objective says otherwise.
    #[must_use]
    pub const fn default_goal(self) -> Goal {
        let (threshold, target) = match self {
            Self::Publish | Self::Processing | Self::Delivery => (None, 0.999),
            Self::Latency => (Some(DEFAULT_LATENCY_THRESHOLD), 0.95),
            Self::Availability | Self::DeadLetter | Self::Broker => (None, 0.9995),
            Self::Duplicates | Self::Schema => (None, 0.9999),
            Self::Lag | Self::Retention => (None, 0.99),
        };
        Goal {
            stage: None,
            threshold,
            target,
        }
    }
}

/// How far a record got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// In an answer to the consumer.
    Fetched,
    /// Under the group's committed offset.
    Committed,
}

impl Stage {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Committed => "committed",
        }
    }
}

/// Why an event could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Nobody asked for an acknowledgement.
    Acks0,
    /// The connection ended after sending and no retry told how it went.
    ConnectionLost,
    /// The producer got a new epoch; the batch was renumbered and its retry cannot be recognised.
    EpochBump,
    /// More publishes waited for their retry than are remembered.
    PendingFull,
    /// A batch older than format v2, whose records are not counted.
    OldFormat,
    /// The publish time lies in the future: two clocks disagree.
    NegativeSkew,
    /// The record has no publish time.
    NoTimestamp,
    /// The batch's header leaves it open and it was not opened.
    NotExamined,
    /// The partition went away, or too much was waiting, before the group committed past the record.
    NotCommitted,
    /// An error that says nothing of the broker's availability.
    UnknownError,
    /// A leader or coordinator is being elected or loaded, and not for long yet.
    Settling,
    /// The client closed the connection while a request was open.
    ClientClosed,
    /// The sidecar closed the connection while a request was open.
    ProxyClosed,
    /// A member of a share group rejected the record; whether the cluster keeps it as a dead letter cannot be seen.
    Rejected,
    /// The record carries no id.
    NoIdentity,
    /// The consumer asked again for what it had not committed; whether the program had seen it cannot be told.
    Refetched,
    /// No schema registry is configured.
    NoRegistry,
    /// The schema registry did not answer.
    RegistryAway,
    /// Nothing is held against such a schema or framing.
    Unsupported,
    /// There was no time to decode the value.
    NotDecoded,
    /// Observer: the broker did not tell what is needed, this time.
    NotAnswered,
    /// Observer: it may not be asked for, for want of rights.
    NoRights,
    /// Observer: the brokers are too old to tell.
    NotOffered,
    /// Observer: the group's position lies behind the end of the partition.
    BeyondEnd,
}

/// Kinds of duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DuplicateClass {
    /// A producer sent a batch again that the broker already had: absorbed there.
    ProducerRetry,
    /// One id at two offsets.
    AppendedTwice,
    /// One offset given again to the same group, without a change of members or a commit.
    Redelivered,
    /// One offset given again after a change of members; outside the SLI.
    RebalanceRedelivered,
    /// The consumer went back on purpose; outside the SLI.
    Replayed,
    /// Same key and value at two offsets, without an id; outside the SLI.
    SameContent,
}

impl DuplicateClass {
    /// Those that a consumer sees.
    pub const DELIVERED: [Self; 5] = [
        Self::AppendedTwice,
        Self::Redelivered,
        Self::RebalanceRedelivered,
        Self::Replayed,
        Self::SameContent,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProducerRetry => "producer_retry",
            Self::AppendedTwice => "appended_twice",
            Self::Redelivered => "redelivered",
            Self::RebalanceRedelivered => "rebalance_redelivered",
            Self::Replayed => "replayed",
            Self::SameContent => "same_content",
        }
    }
}

impl Reason {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acks0 => "acks_0",
            Self::ConnectionLost => "connection_lost",
            Self::EpochBump => "epoch_bump",
            Self::PendingFull => "pending_full",
            Self::OldFormat => "old_format",
            Self::NegativeSkew => "negative_skew",
            Self::NoTimestamp => "no_timestamp",
            Self::NotExamined => "not_examined",
            Self::NotCommitted => "not_committed",
            Self::UnknownError => "unknown_error",
            Self::Settling => "settling",
            Self::ClientClosed => "client_closed",
            Self::ProxyClosed => "proxy_closed",
            Self::NoIdentity => "no_identity",
            Self::Refetched => "refetched",
            Self::Rejected => "rejected",
            Self::NoRegistry => "no_registry",
            Self::RegistryAway => "registry_away",
            Self::Unsupported => "unsupported",
            Self::NotDecoded => "not_decoded",
            Self::NotAnswered => "not_answered",
            Self::NoRights => "no_rights",
            Self::NotOffered => "not_offered",
            Self::BeyondEnd => "beyond_end",
        }
    }
}

/// The series an SLI event belongs to. Topic and group are empty where the SLI has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Series {
    /// Which SLI.
    pub sli: Sli,
    /// Topic, or empty.
    pub topic: Name,
    /// Group, or empty.
    pub group: Name,
    /// Stage, for the latency SLI.
    pub stage: Option<Stage>,
}

impl Series {
    /// One without a stage.
    pub(super) fn of(sli: Sli, topic: &Name, group: &Name) -> Self {
        Self {
            sli,
            topic: Arc::clone(topic),
            group: Arc::clone(group),
            stage: None,
        }
    }
}

/// One verdict or observation.
#[derive(Debug)]
pub enum Measure<'a> {
    /// Events of one pair, judged now; zero and zero makes the pair exist.
    Judged {
        /// Pair.
        series: &'a Series,
        /// Good ones.
        good: u64,
        /// Bad ones.
        bad: u64,
    },
    /// Events that cannot be judged.
    Unknown {
        /// Pair they would belong to.
        series: &'a Series,
        /// Why.
        reason: Reason,
        /// How many.
        count: u64,
    },
    /// Records that the broker has (or was sent, with acks=0), retries counted once.
    Published {
        /// Topic.
        topic: &'a Name,
        /// Records.
        records: u64,
        /// Bytes on the wire.
        bytes: u64,
    },
    /// Records handed to a consumer.
    Delivered {
        /// Topic.
        topic: &'a Name,
        /// Group, `_none` or `_ambiguous`.
        group: &'a Name,
        /// Records.
        records: u64,
        /// Bytes of their batches.
        bytes: u64,
    },
    /// Latency of records from publish to a stage.
    EndToEnd {
        /// Topic.
        topic: &'a Name,
        /// Group.
        group: &'a Name,
        /// How far they got.
        stage: Stage,
        /// Milliseconds; never negative.
        latency_ms: i64,
        /// How many records.
        count: u64,
    },
    /// A record whose trace is recorded, as one of many of its latency.
    Example {
        /// Topic.
        topic: &'a Name,
        /// Group.
        group: &'a Name,
        /// How far it got.
        stage: Stage,
        /// Milliseconds from its publish; never negative.
        latency_ms: i64,
        /// The record.
        record: &'a Example,
        /// When it got there, ms since the Unix epoch.
        at_ms: i64,
    },
    /// Time from fetched to committed.
    Processed {
        /// Topic.
        topic: &'a Name,
        /// Group.
        group: &'a Name,
        /// How long.
        took: Duration,
        /// How many records.
        count: u64,
        /// One of them whose trace is recorded.
        example: Option<&'a Example>,
        /// When they were committed, ms since the Unix epoch.
        at_ms: i64,
    },
    /// A rebalance round of members behind this sidecar; zero makes the series exist.
    Rebalanced {
        /// Group.
        group: &'a Name,
        /// Bounded reason.
        reason: &'static str,
        /// 0 or 1.
        count: u64,
    },
    /// Records that were there before.
    Duplicates {
        /// Topic.
        topic: &'a Name,
        /// Group; empty for what a producer sent again.
        group: &'a Name,
        /// Kind.
        class: DuplicateClass,
        /// How many.
        count: u64,
    },
    /// Records that a member of a share group said something of; zero makes the series exist.
    Acknowledged {
        /// Topic.
        topic: &'a Name,
        /// Share group.
        group: &'a Name,
        /// What became of them; never a gap.
        became: Acknowledgement,
        /// How many.
        records: u64,
    },
    /// A record that a program set aside, acknowledged by the broker.
    SetAside {
        /// Topic it was read from.
        topic: &'a Name,
        /// Group that read it.
        group: &'a Name,
        /// Topic it went to.
        into: &'a Name,
        /// Kind of failure.
        category: Category,
        /// To be tried again; else a dead letter.
        retry: bool,
    },
    /// Values that say which schema wrote them.
    Framed {
        /// Topic.
        topic: &'a Name,
        /// Whose framing.
        framing: &'static str,
        /// How many.
        records: u64,
    },
    /// Values whose schema does not hold; zero makes the series exist.
    SchemaFailed {
        /// Topic.
        topic: &'a Name,
        /// Why.
        failure: SchemaFailure,
        /// How many.
        records: u64,
    },
    /// Something is in no log, or will reach nobody.
    Lost(Loss<'a>),
    /// A topic that was named by a client's question or answer: its counters shall exist.
    TopicKnown {
        /// Topic.
        topic: &'a Name,
    },
    /// A group reads a topic: their counters shall exist.
    ReaderKnown {
        /// Topic.
        topic: &'a Name,
        /// Group.
        group: &'a Name,
    },
}

/// Receives what the engine measured, in order.
pub trait Sink {
    /// Takes one measure.
    fn record(&mut self, measure: Measure<'_>);
}
