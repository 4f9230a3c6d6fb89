//! What is known of the first uncommitted records: the truth behind every lag in seconds.
//!
//! One look per (partition, committed offset), shared by all groups that stand there, and again only where it changed. Must
//! not keep what nobody asked for in the last round.

use std::collections::HashMap;

use crate::event::Name;

/// Most records looked at in one round; the furthest behind come first, the others stay intervals.
pub const FIRST_RECORDS_MAX: usize = 2_000;
/// Rounds before a record is looked at again: compaction may have taken it.
const RECHECK_ROUNDS: u64 = 30;
/// Rounds before what could not be told is asked for again.
const RETRY_ROUNDS: u64 = 6;

/// A record that must be looked at: the first in `from..until` that a reader of committed records would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Topic.
    pub topic: Name,
    /// Partition.
    pub partition: i32,
    /// Where the group stands.
    pub committed: i64,
    /// First offset to look at.
    pub from: i64,
    /// Offset behind the last.
    pub until: i64,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// Its publish time, ms since the Unix epoch.
        published_ms: i64,
    },
    /// Nothing but markers, aborted records and holes.
    Nothing,
    /// It could not be told.
    Unknown,
    /// We may not look.
    NoRights,
}

/// What was wanted, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What was wanted.
    pub wanted: Wanted,
    /// What is there.
    pub seen: Seen,
}

/// What is known behind one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// The first record.
    Record { offset: i64, published_ms: i64 },
    /// Nothing before this offset.
    NothingUntil(i64),
    /// Not known.
    Unknown { no_rights: bool },
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    first: First,
    used: u64,
    asked: u64,
}

type Key = (Name, i32, i64);

/// The records.
#[derive(Debug, Default)]
pub(super) struct Firsts {
    known: HashMap<Key, Entry>,
    round: u64,
}

impl Firsts {
    /// Begins a round: what was not used in the last two goes.
    pub(super) fn begin(&mut self) {
        self.round = self.round.saturating_add(1);
        let round = self.round;
        self.known
            .retain(|_, entry| round.saturating_sub(entry.used) <= 1);
    }

    /// From where on `key` must be looked at; `None` where what is known is enough.
    pub(super) fn from(&mut self, key: &Key, effective: i64, until: i64) -> Option<i64> {
        let round = self.round;
        let Some(entry) = self.known.get_mut(key) else {
            return Some(effective);
        };
        entry.used = round;
        match entry.first {
            // Retention may have taken it meanwhile.
            First::Record { offset, .. } => {
                let old = round.saturating_sub(entry.asked) >= RECHECK_ROUNDS;
                (offset < effective || old).then_some(effective)
            }
            First::NothingUntil(behind) => (behind < until).then_some(behind.max(effective)),
            First::Unknown { .. } => {
                (round.saturating_sub(entry.asked) >= RETRY_ROUNDS).then_some(effective)
            }
        }
    }

    pub(super) fn learn(&mut self, found: &Found) {
        let wanted = &found.wanted;
        let first = match found.seen {
            Seen::Record {
                offset,
                published_ms,
            } => First::Record {
                offset,
                published_ms,
            },
            Seen::Nothing => First::NothingUntil(wanted.until),
            Seen::Unknown => First::Unknown { no_rights: false },
            Seen::NoRights => First::Unknown { no_rights: true },
        };
        let entry = Entry {
            first,
            used: self.round,
            asked: self.round,
        };
        let key = (wanted.topic.clone(), wanted.partition, wanted.committed);
        self.known.insert(key, entry);
    }

    /// What is known behind a position.
    pub(super) fn get(&mut self, key: &Key) -> Option<First> {
        let entry = self.known.get_mut(key)?;
        entry.used = self.round;
        Some(entry.first)
    }

    /// Forgets a topic: another one has its name now.
    pub(super) fn forget(&mut self, topic: &Name) {
        self.known.retain(|(name, ..), _| name != topic);
    }
}
