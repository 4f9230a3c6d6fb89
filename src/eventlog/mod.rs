//! The event log: one entry per record of interest, with its ids, its position and what happened to it.
//!
//! Here because the same entry leaves as a JSON line and as an OTLP log record. Pure over what is told and when; bounded by a rate per
//! topic and kind, and every text from outside goes through the redaction. Must not look at a record's bytes, and must not write
//! anywhere: whoever keeps the log implements [`Sink`].

mod entry;
mod log;
#[cfg(test)]
mod tests;

pub use entry::{Entry, Field};
pub use log::{Log, Place, Said, Settings, TOPICS_MAX, What};

/// Keeps the log. Must not block.
pub trait Sink {
    /// Takes one entry, or drops and counts it.
    fn entry(&mut self, entry: &Entry);
}

/// What there is an entry for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A publish or a delivery took longer than the latency objective of its topic.
    Slow,
    /// A program gave up on a record.
    DeadLetter,
    /// A program set a record aside, to try it again.
    Retry,
    /// A record was there before.
    Duplicate,
    /// What a value says of its schema does not hold.
    Schema,
    /// A publish failed.
    Error,
    /// A record whose trace is recorded was sent or delivered.
    Sampled,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Slow,
        Self::DeadLetter,
        Self::Retry,
        Self::Duplicate,
        Self::Schema,
        Self::Error,
        Self::Sampled,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::DeadLetter => "dead_letter",
            Self::Retry => "retry",
            Self::Duplicate => "duplicate",
            Self::Schema => "schema",
            Self::Error => "error",
            Self::Sampled => "sampled",
        }
    }

    /// Something failed.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::DeadLetter | Self::Retry | Self::Schema | Self::Error => true,
            Self::Slow | Self::Duplicate | Self::Sampled => false,
        }
    }
}
