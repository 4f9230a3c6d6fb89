//! Whose records are examined: all, or where that is too much, those of some partitions for a while.
//!
//! Whole partitions for a window, never single records, so that what belongs together is seen together. The dataplane asks, the
//! worker adjusts: too much halves the share at once, a window without doubles it. Must not wait.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use regex::Regex;
use tokio::time::Instant;

/// How long the same partitions are examined.
const WINDOW: Duration = Duration::from_secs(60);
/// All partitions.
const ALL: u32 = 1 << 16;
/// Fewest: 1 in 1,024.
const FEWEST: u32 = ALL >> 10;

/// Topics that are examined whatever that costs.
#[derive(Debug, Clone)]
pub struct Always {
    /// By their name alone. Asked per batch where there is too much for all: must be quick.
    pub named: fn(&str) -> bool,
    /// As configured (`dead_letter.topics`).
    pub configured: Option<Regex>,
}

impl Default for Always {
    fn default() -> Self {
        Self {
            named: |_| false,
            configured: None,
        }
    }
}

/// What both sides share.
#[derive(Debug)]
pub(super) struct Sampling {
    /// Of 65,536 partitions so many.
    share: AtomicU32,
    /// Number of the window; other partitions each time.
    window: AtomicU32,
    /// Bytes that may still be captured until the worker looks again.
    left: AtomicUsize,
    per_second: usize,
    /// There was too much since the worker looked.
    too_much: AtomicBool,
    /// Topics that are always examined: few records, each of which counts.
    always: Always,
    hasher: RandomState,
}

/// What the worker remembers between two looks.
#[derive(Debug)]
pub(super) struct Adjusting {
    since: Instant,
    calm: bool,
}

impl Adjusting {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            calm: true,
        }
    }
}

impl Sampling {
    /// Everything, until it is too much.
    pub(super) fn new(per_second: usize, always: Always) -> Self {
        Self {
            share: AtomicU32::new(ALL),
            window: AtomicU32::new(0),
            left: AtomicUsize::new(per_second),
            per_second,
            too_much: AtomicBool::new(false),
            always,
            hasher: RandomState::new(),
        }
    }

    /// Whether a batch of this partition, so many bytes, is examined now.
    pub(super) fn takes(&self, topic: &str, partition: i32, bytes: usize) -> bool {
        if !self.samples(topic, partition) {
            return self.has_priority(topic);
        }
        // One that is larger than all of a second is taken where nothing else was.
        let cost = bytes.min(self.per_second);
        let spend = |left: usize| left.checked_sub(cost);
        if self.left.fetch_update(Relaxed, Relaxed, spend).is_ok() {
            return true;
        }
        self.missed();
        self.has_priority(topic)
    }

    fn samples(&self, topic: &str, partition: i32) -> bool {
        let share = self.share.load(Relaxed);
        if share >= ALL {
            return true;
        }
        let window = self.window.load(Relaxed);
        let hash = self.hasher.hash_one((topic, partition, window));
        hash % u64::from(ALL) < u64::from(share)
    }

    /// Whether a topic's records are examined whatever there is besides.
    pub(super) fn has_priority(&self, topic: &str) -> bool {
        let configured = self.always.configured.as_ref();
        (self.always.named)(topic) || configured.is_some_and(|all| all.is_match(topic))
    }

    /// A batch could not be examined for want of memory or time.
    pub(super) fn missed(&self) {
        self.too_much.store(true, Relaxed);
    }

    /// Once a second.
    pub(super) fn adjust(&self, state: &mut Adjusting, now: Instant) {
        self.left.store(self.per_second, Relaxed);
        let share = self.share.load(Relaxed);
        if self.too_much.swap(false, Relaxed) {
            state.calm = false;
            self.share.store((share / 2).max(FEWEST), Relaxed);
        }
        if now.saturating_duration_since(state.since) < WINDOW {
            return;
        }
        if state.calm {
            self.share.store(share.saturating_mul(2).min(ALL), Relaxed);
        }
        self.window.fetch_add(1, Relaxed);
        *state = Adjusting::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always(topics: &str) -> Always {
        Always {
            configured: Regex::new(topics).ok(),
            ..Always::default()
        }
    }

    fn taken(sampling: &Sampling) -> Vec<i32> {
        (0..1_000).filter(|p| sampling.takes("t", *p, 0)).collect()
    }

    #[test]
    fn no_more_is_captured_in_a_second_than_can_be_examined() {
        let start = Instant::now();
        let sampling = Sampling::new(1_000, always("dlq"));
        let mut state = Adjusting::new(start);
        assert!(sampling.takes("t", 0, 600));
        assert!(!sampling.takes("t", 0, 600));
        assert!(sampling.takes("dlq", 0, 600), "whatever there is besides");
        sampling.share.store(ALL, Relaxed);
        sampling.adjust(&mut state, start + Duration::from_secs(1));
        sampling.share.store(ALL, Relaxed);
        assert!(sampling.takes("t", 0, 5_000), "alone");
        assert!(!sampling.takes("t", 0, 1));
    }

    #[test]
    fn too_much_halves_at_once_and_a_calm_window_doubles_with_other_partitions() {
        let start = Instant::now();
        let sampling = Sampling::new(1_000, always(r"\.dlq$"));
        let mut state = Adjusting::new(start);
        assert_eq!(taken(&sampling).len(), 1_000);
        sampling.missed();
        sampling.adjust(&mut state, start + Duration::from_secs(1));
        sampling.missed();
        sampling.adjust(&mut state, start + Duration::from_secs(2));
        let quarter = taken(&sampling);
        assert!((150..350).contains(&quarter.len()), "{}", quarter.len());
        sampling.adjust(&mut state, start + Duration::from_secs(3));
        assert_eq!(taken(&sampling), quarter, "for the whole window");
        assert!(sampling.takes("orders.dlq", 0, 10), "always");
        sampling.adjust(&mut state, start + WINDOW);
        let others = taken(&sampling);
        assert_ne!(others, quarter);
        assert!((150..350).contains(&others.len()), "not calm");
        sampling.adjust(&mut state, start + 2 * WINDOW);
        sampling.adjust(&mut state, start + 3 * WINDOW);
        assert_eq!(taken(&sampling).len(), 1_000);
        for _ in 0..100 {
            sampling.missed();
            sampling.adjust(&mut state, start + 3 * WINDOW);
        }
        assert_eq!(sampling.share.load(Relaxed), FEWEST);
    }
}
