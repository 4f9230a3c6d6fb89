//! What happened on the wire, in words no protocol owns.
//!
//! Typed events are the only way an observation leaves a dataplane. Everything to the right of this module (`sli`,
//! `metrics`, `pipeline`, `catalog`, `admin`) speaks of topics, positions, consumer groups and settlements and never sees a
//! Kafka request. Must not do IO, must not know a protocol, must not hold state.

mod counters;
mod facts;
mod records;
mod refusal;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use counters::{
    ADDED_LATENCY_BOUNDS_US, API_SLOTS, AddedLatency, BypassReason, DataplaneCounters, Direction,
    FrameMode,
};
pub use facts::{
    Acknowledged, AcknowledgedPart, Acknowledgement, Acquired, BatchFact, BatchKind, Candidate,
    Candidates, Codec, Delivered, DeliveredPart, Descent, Example, Facts, Injection, Membership,
    MembershipChange, Origin, PartitionSet, Positions, Produced, ProducedPart, ProducerSequence,
    PublishOutcome, Settled, SettledPart, SpanIds, TopicSeen, Traced,
};
pub use records::{
    CapturedBatch, Category, DeliveredRecord, Identity, LateSchemas, NAMED_MAX, RecordView,
    SchemaCount, SchemaSeen, SchemaVerdict, SchemaVersion, SentRecords, SentTo, SetAside,
};
pub use refusal::{MAX_REFUSALS, Refusal};

/// A name that came from outside (topic, group, client): shared, never copied per event.
pub type Name = Arc<str>;

/// The topic name used while an id could not be resolved to a name.
pub const UNRESOLVED: &str = "_unresolved";

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Monotonic, for durations; tokio's, so tests can pause it.
    pub mono: Instant,
    /// Wall clock, milliseconds since the Unix epoch, for comparison with record timestamps.
    pub wall_ms: i64,
}

impl Stamp {
    /// The moment at which it is called.
    #[must_use]
    pub fn now() -> Self {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            mono: Instant::now(),
            wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// What is known of one client connection; shared by all its events.
#[derive(Debug)]
pub struct Connection {
    /// Unique within the process.
    pub id: u64,
    /// Address of the client socket.
    pub peer: std::net::SocketAddr,
    /// The broker behind it, as it is labelled: the node id where known, else `bootstrap`.
    pub broker: Name,
    /// `host:port` that was dialled for it.
    pub broker_address: Name,
    /// When it was accepted.
    pub opened: Stamp,
}

/// One thing that happened.
#[derive(Debug)]
pub struct Event {
    /// When.
    pub at: Stamp,
    /// On which connection.
    pub connection: Arc<Connection>,
    /// The client id in the request that caused it; empty where none was given or none is known.
    pub client: Name,
    /// What.
    pub kind: EventKind,
}

#[cfg(test)]
impl Event {
    /// A request of `app` to `kafka-1:9092` that was answered after 5 ms, and what came of it.
    pub(crate) fn answered(wall_ms: i64, facts: Facts) -> Self {
        let at = Stamp {
            mono: Instant::now(),
            wall_ms,
        };
        let connection = Connection {
            id: 1,
            peer: ([127, 0, 0, 1], 1).into(),
            broker: "0".into(),
            broker_address: "kafka-1:9092".into(),
            opened: at,
        };
        Self {
            at,
            connection: Arc::new(connection),
            client: "app".into(),
            kind: EventKind::Answered(Answer {
                operation: "Produce",
                time_limit: None,
                duration: Duration::from_millis(5),
                throttle: Duration::ZERO,
                error: None,
                facts,
            }),
        }
    }
}

/// Why a broker cannot be reached, as labels have it.
pub const CONNECT_FAULTS: [&str; 5] = ["io", "refused", "resolve", "timeout", "tls"];
/// Why records of a topic are sent as they came once its brokers have refused added headers.
pub const EDITS_REFUSED: &str = "refused";

/// What happened.
#[derive(Debug)]
pub enum EventKind {
    /// A client connected and its broker connection stands.
    Opened,
    /// The client named its software (KIP-511).
    Identified {
        /// For instance `apache-kafka-java`.
        software: Name,
        /// For instance `4.4.0`.
        version: Name,
    },
    /// The broker could not be reached for a client, or the TLS handshake with it failed.
    ConnectFailed {
        /// One of [`CONNECT_FAULTS`].
        kind: &'static str,
    },
    /// The connection ended.
    Closed {
        /// Who ended it.
        side: Side,
        /// Bounded kind: `eof`, `reset`, `framing`, `drain`, `io`.
        kind: &'static str,
        /// Requests that were sent and will never be answered on this connection.
        unanswered: Vec<Unanswered>,
    },
    /// A request was answered (or, without acknowledgement, sent).
    Answered(Answer),
}

/// A request that got no answer because its connection ended.
#[derive(Debug)]
pub struct Unanswered {
    /// Protocol name of the request, bounded set.
    pub operation: &'static str,
    /// From sending to the end of the connection.
    pub waited: Duration,
    /// What was in it (a publish whose outcome nobody knows).
    pub facts: Facts,
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// Protocol name of the request, bounded set (`Produce`, `Fetch`, ...).
    pub operation: &'static str,
    /// Time allowed by the availability table; `None` where the operation waits by design.
    pub time_limit: Option<Duration>,
    /// From the last byte of the request sent to the first byte of the response received.
    pub duration: Duration,
    /// Throttle time the broker asked for.
    pub throttle: Duration,
    /// The worst error in the answer, if any.
    pub error: Option<Failure>,
    /// What else it says.
    pub facts: Facts,
}

/// An error the broker returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The protocol's constant, for instance `NOT_LEADER_OR_FOLLOWER`; bounded set, `UNKNOWN_<n>` is `OTHER`.
    pub name: &'static str,
    /// Who is to blame.
    pub class: FaultClass,
    /// True where the protocol lets the client try again.
    pub retriable: bool,
}

/// Who is to blame for an error, for the availability SLI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The request was wrong or not allowed; the broker was available.
    Client,
    /// The broker could not do what it should.
    Broker,
    /// Something is being elected or loaded and the client is to ask again: the normal beginning of a topic or group, and an
    /// outage where it lasts.
    Settling,
    /// Cannot be judged; counts neither way.
    Unknown,
}

/// The two ends of a connection, and us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The application.
    Client,
    /// The Kafka broker.
    Broker,
    /// Throughline itself (drain, limit).
    Proxy,
}

impl Side {
    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Broker => "broker",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Receives events from a dataplane. Called on the hot path: must neither block nor await.
pub trait Observer: Send + Sync + fmt::Debug {
    /// Takes one event, or drops and counts it.
    fn observe(&self, event: Event);

    /// Whether the records of a batch are needed to judge it: its header alone says that publish times lie between
    /// `base_ms` and `max_ms`. Answered per batch; must be a few comparisons.
    fn wants_records(&self, topic: &str, now_ms: i64, base_ms: i64, max_ms: i64) -> bool;

    /// Whether the records of this batch, so many bytes of this partition, are to be examined, and it is therefore captured. Called on the dataplane,
    /// once per batch.
    fn examines(&self, topic: &str, partition: i32, bytes: usize) -> bool;

    /// Room for `bytes` of captured records, or `None` when the telemetry budget is used up (counted by the observer).
    fn reserve(&self, bytes: usize) -> Option<Reservation>;
}

/// A share of the telemetry byte budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: usize,
    pool: Arc<std::sync::atomic::AtomicUsize>,
}

impl Reservation {
    /// Takes `bytes` from `pool` (bytes left), or `None` where it holds less.
    #[must_use]
    pub fn take(pool: &Arc<std::sync::atomic::AtomicUsize>, bytes: usize) -> Option<Self> {
        use std::sync::atomic::Ordering::Relaxed;
        pool.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes))
            .ok()?;
        Some(Self {
            bytes,
            pool: Arc::clone(pool),
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool
            .fetch_add(self.bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

/// An observer that sees nothing, for `mode: off` and for tests.
#[derive(Debug, Default, Clone, Copy)]
pub struct Blind;

impl Observer for Blind {
    fn observe(&self, _event: Event) {}

    fn wants_records(&self, _topic: &str, _now_ms: i64, _base_ms: i64, _max_ms: i64) -> bool {
        false
    }

    fn examines(&self, _topic: &str, _partition: i32, _bytes: usize) -> bool {
        false
    }

    fn reserve(&self, _bytes: usize) -> Option<Reservation> {
        None
    }
}
