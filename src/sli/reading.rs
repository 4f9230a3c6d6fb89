//! How far one group has got in one partition, and what that means in records and seconds.
//!
//! Lag seconds are the age of the first record the group has not committed. Where its publish time is known the figure is
//! exact; where it is not, it is an interval, and never an interpolation. Must not know which member or client it was.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    failures::Failed,
    headroom::Headroom,
    progress::{Look, Progress},
    seen::{FirstAfter, Seen},
};
use crate::event::{DeliveredPart, Stamp};

/// Ends remembered per partition; when full every second one is dropped, which only lowers the lower bound.
pub const MAX_ENDS: usize = 64;
/// A partition not fetched this long is not shown: a consumer that stopped fetching freezes what is known of it.
pub const FRESH_FOR: Duration = Duration::from_secs(30);

/// Lag of one (group, topic, partition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Offsets after the committed one, without trailing ones that hold no record.
    pub records: u64,
    /// Age of the first uncommitted record is at least this, ms.
    pub lower_ms: i64,
    /// And at most this; `None` = not known.
    pub upper_ms: Option<i64>,
    /// Age of the end offset it is computed from.
    pub age: Duration,
    /// Offset the group committed.
    pub committed: i64,
    /// End of the partition as last seen.
    pub end: i64,
    /// Records delivered since the partition was first seen.
    pub delivered: u64,
}

/// State of one (group, topic, partition).
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) committed: Option<i64>,
    pub(super) seen: Seen,
    pub(super) headroom: Headroom,
    pub(super) progress: Progress,
    /// Records delivered.
    pub(super) delivered: u64,
    /// Connection that fetched it last.
    pub(super) connection: u64,
    /// Those of its records that failed and are not settled.
    pub(super) failed: Failed,
    end: Option<i64>,
    told: Option<Instant>,
    fetched: Option<Instant>,
    /// (first seen at, end), ascending.
    ends: VecDeque<(i64, i64)>,
}

impl Reading {
    /// An answer with this partition came; `read_committed` says which end counts.
    pub(super) fn answered(&mut self, part: &DeliveredPart, read_committed: bool, at: Stamp) {
        self.fetched = Some(at.mono);
        let end = if read_committed {
            part.last_stable
        } else {
            part.high_watermark
        };
        if part.error.is_some() || end < 0 {
            return;
        }
        if self.end.is_some_and(|old| end < old) {
            // Truncated or created anew: what was seen of the end does not hold.
            self.ends.clear();
        }
        self.end = Some(end);
        if self.ends.back().is_none_or(|(_, known)| end > *known) {
            if self.ends.len() >= MAX_ENDS {
                let mut keep = false;
                self.ends.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.ends.push_back((at.wall_ms, end));
        }
    }

    /// The group's position changed (or was told).
    pub(super) fn position(&mut self, offset: i64, now: Instant) {
        self.committed = Some(offset);
        self.told = Some(now);
    }

    /// The position, where it was told after `missed`: what was dropped up to then may have moved it.
    pub(super) fn position_since(&self, missed: Option<Instant>) -> Option<i64> {
        let fresh = |missed| self.told.is_some_and(|told| told > missed);
        self.committed.filter(|_| missed.is_none_or(fresh))
    }

    /// When the position was last told.
    pub(super) fn told(&self) -> Option<Instant> {
        self.told
    }

    /// Last fetch by its own account; `on_connection` is the last fetch answer of any kind on its connection: an answer that
    /// does not name the partition says that nothing changed.
    pub(super) fn fetched(&self, on_connection: Option<Instant>) -> Option<Instant> {
        self.fetched
            .map(|own| on_connection.map_or(own, |c| c.max(own)))
    }

    /// Lag now; `None` where position or end is not known or the partition is not fetched any more.
    pub(super) fn lag(&self, now: Stamp, on_connection: Option<Instant>) -> Option<Lag> {
        let committed = self.committed?;
        let end = self.end?;
        let age = now
            .mono
            .saturating_duration_since(self.fetched(on_connection)?);
        if age >= FRESH_FOR {
            return None;
        }
        let records = self.records(committed, end);
        let (lower_ms, upper_ms) = if records == 0 {
            (0, Some(0))
        } else {
            self.seconds(committed, now.wall_ms)
        };
        Some(Lag {
            records,
            lower_ms,
            upper_ms,
            age,
            committed,
            end,
            delivered: self.delivered,
        })
    }

    /// What is known of it now, however long ago it was fetched; `None` where position or end is not known.
    pub(super) fn look(&self, now: Instant, on_connection: Option<Instant>) -> Option<Look> {
        let (committed, end) = (self.committed?, self.end?);
        let fetched = self.fetched(on_connection)?;
        Some(Look {
            committed,
            lag: self.records(committed, end),
            fetched: now.saturating_duration_since(fetched),
        })
    }

    fn records(&self, committed: i64, end: i64) -> u64 {
        let (records_end, covered_to) = self.seen.ends();
        let tail_seen = covered_to.is_some_and(|to| to >= end);
        let end = match self.seen.first_after(committed) {
            FirstAfter::NoneBefore(to) if to >= end => committed,
            FirstAfter::Between(..) if tail_seen => records_end.unwrap_or(end).min(end),
            _ => end,
        };
        u64::try_from(end.saturating_sub(committed)).unwrap_or(0)
    }

    fn seconds(&self, committed: i64, now_ms: i64) -> (i64, Option<i64>) {
        let age = |ms: i64| now_ms.saturating_sub(ms).max(0);
        let before = match self.seen.first_after(committed) {
            FirstAfter::Between(low, high) if low >= 0 => return (age(high), Some(age(low))),
            FirstAfter::Between(..) => None,
            FirstAfter::NoneBefore(_) => self.seen.before(),
            FirstAfter::Unseen(before) => before,
        };
        let seen_at = self
            .ends
            .iter()
            .find(|(_, end)| *end > committed)
            .map_or(now_ms, |(at, _)| *at);
        let lower = age(seen_at);
        (lower, before.map(|ms| age(ms).max(lower)))
    }
}
