//! When the end of a partition was first seen at which offset.
//!
//! From it follows which offsets are older than a deadline, and how old an offset is at least. Only changes are kept, so an
//! idle partition costs one entry. Must not interpolate.

use std::collections::VecDeque;

/// Most changes kept per partition.
pub const ENDS_MAX: usize = 64;

/// Ends of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    /// (when first seen, end), ascending in both. Times are ms since the observer began.
    changes: VecDeque<(u64, i64)>,
    last: i64,
}

impl Ends {
    /// Takes the end of now. What is older than `keep_ms` is not needed, except for the newest such entry.
    pub(super) fn push(&mut self, now: u64, end: i64, keep_ms: u64) {
        if end < self.last {
            // Truncated, or another topic of the same name: what was known is of another log.
            self.changes.clear();
        }
        self.last = end;
        // Spaced so that the window always fits; an entry left out makes offsets look younger, never older.
        let spacing = keep_ms / (ENDS_MAX as u64 - 4);
        let due = |&(at, _): &(u64, i64)| now.saturating_sub(at) >= spacing;
        let grown = self.changes.back().is_none_or(|(_, known)| end > *known);
        if grown && self.changes.back().is_none_or(due) {
            self.changes.push_back((now, end));
        }
        let horizon = now.saturating_sub(keep_ms);
        while self.changes.get(1).is_some_and(|(at, _)| *at <= horizon)
            || self.changes.len() > ENDS_MAX
        {
            self.changes.pop_front();
        }
    }

    /// When the oldest end that is kept was seen: the first of all, or one from before the window.
    pub(super) fn began(&self) -> Option<u64> {
        self.changes.front().map(|(at, _)| *at)
    }

    /// The end as it was at `at` or before; `None` where that was not seen.
    pub(super) fn at(&self, at: u64) -> Option<i64> {
        let mut known = self.changes.iter().rev();
        known.find(|(seen, _)| *seen <= at).map(|(_, end)| *end)
    }

    /// How long the record at `offset` has been there at least, ms; 0 where nothing is known.
    pub(super) fn age(&self, offset: i64, now: u64) -> u64 {
        let mut changes = self.changes.iter();
        let found = changes.find(|(_, end)| *end > offset);
        found.map_or(0, |(seen, _)| now.saturating_sub(*seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_kept_and_ages_are_lower_bounds() {
        let mut ends = Ends::default();
        for second in 0..100u64 {
            let end = if second < 50 { 10 } else { 30 };
            ends.push(second * 1_000, end, 60_000);
        }
        assert_eq!(ends.changes.len(), 2);
        assert_eq!(ends.at(49_999), Some(10));
        assert_eq!(ends.at(50_000), Some(30));
        assert_eq!(ends.age(9, 100_000), 100_000);
        assert_eq!(ends.age(10, 100_000), 50_000);
        assert_eq!(ends.age(30, 100_000), 0);
    }

    #[test]
    fn a_growing_partition_keeps_its_window_and_no_more() {
        let mut ends = Ends::default();
        for second in 0..10_000u64 {
            let end = i64::try_from(second).unwrap();
            ends.push(second * 1_000, end, 300_000);
        }
        assert!(ends.changes.len() <= ENDS_MAX, "{}", ends.changes.len());
        let then = ends.at(9_999_000 - 300_000).unwrap();
        assert!((9_690..=9_699).contains(&then), "{then}");
        ends.push(10_000_000, 5, 300_000);
        assert_eq!(ends.at(9_999_000), None);
        assert_eq!(ends.at(10_000_000), Some(5));
    }
}
