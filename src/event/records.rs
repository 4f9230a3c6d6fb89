//! What single records say of themselves, once somebody has opened their batch.
//!
//! Never keys, values or headers: hashes, positions and class names. Must not compute anything.

use bytes::Bytes;

use super::{Name, Reservation};

/// The bytes of a batch on their way to whoever opens it, counted against a budget.
#[derive(Debug)]
pub struct CapturedBatch {
    /// The whole batch as it came.
    pub bytes: Bytes,
    /// Room taken from the budget; given back on drop.
    pub reservation: Reservation,
    /// Its partition is among those whose records are examined; else only the times are wanted.
    pub examined: bool,
}

/// Which event a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// Not looked for.
    Unasked,
    /// A hash of the id that it carries.
    Named(u64),
    /// It carries none; a hash of its key and value.
    Content(u64),
}

/// A record on its way to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveredRecord {
    /// Offset.
    pub offset: i64,
    /// Publish time, ms since the epoch.
    pub published_ms: i64,
    /// Which event it is.
    pub identity: Identity,
}

/// A record that a program set aside: gave up on, or wants to try again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetAside {
    /// It is to be tried again.
    pub retry: bool,
    /// Topic it was read from, where its headers or the name of the topic it goes to say so.
    pub topic: Option<Name>,
    /// (partition, offset) it was read from, where its headers say so.
    pub position: Option<(i32, i64)>,
    /// Consumer group that read it, where its headers say so.
    pub group: Option<Name>,
    /// What kind of failure it was.
    pub category: Category,
}

/// Kind of failure that a record was set aside for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Would not have happened at another time: timeouts, connections, throttling, locks.
    Transient,
    /// Happens again whenever it is tried: what does not decode, or is not valid.
    Persistent,
    /// Nothing says.
    #[default]
    Unknown,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Transient, Self::Persistent, Self::Unknown];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Persistent => "persistent",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found in a batch on its way to the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentRecords {
    /// Those that were set aside, in order.
    pub aside: Vec<SetAside>,
    /// What they say of their schemas; what is still to be asked comes later.
    pub schemas: Vec<SchemaCount>,
}

/// So many records of a topic with the same to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaCount {
    /// What they say.
    pub seen: SchemaSeen,
    /// How many.
    pub records: u64,
}

/// What a record says of the schemas of its value and, where it has one, of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaSeen {
    /// Its value says nothing.
    Bare,
    /// No verdict: the version of its key, where the registry knows it.
    Key(SchemaVersion),
    /// Which one wrote it; of key and value what is worse.
    Framed {
        /// In whose framing.
        framing: &'static str,
        /// Whether that holds.
        verdict: SchemaVerdict,
        /// The version, where the registry knows it.
        version: Option<SchemaVersion>,
    },
}

/// Whether what a value says of its schema holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaVerdict {
    /// The schema is known, belongs to the topic, and the value decodes.
    Good,
    /// The registry has no such schema.
    UnknownId,
    /// The schema belongs to something else.
    WrongSubject,
    /// The value does not decode.
    Undecodable,
    /// Cannot be told: no registry is configured.
    NoRegistry,
    /// Cannot be told: the registry did not answer.
    RegistryAway,
    /// Cannot be told: nothing is held against such a schema or framing.
    Unsupported,
    /// The schema is known and belongs to the topic; there was no time to decode.
    NotDecoded,
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaVersion {
    /// Its name.
    pub subject: Name,
    /// From 1 on.
    pub version: i32,
    /// `avro`, `json`, `protobuf`.
    pub language: &'static str,
}
