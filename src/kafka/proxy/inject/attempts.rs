//! Batches of idempotent producers that were sent and not yet acknowledged: what a second attempt must repeat.
//!
//! The broker keeps the bytes of the first attempt that reached it, so a retry says what the first one said. Must not hold
//! records: the ids follow from the sequence, only what does not is kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    event::{Name, ProducerSequence},
    lineage::Parent,
};

/// Batches remembered; the oldest goes first.
const ATTEMPTS_MAX: usize = 65_536;
/// Parents remembered in all of them.
const PARENTS_MAX: usize = 131_072;
/// Longer than any client's `delivery.timeout.ms` by default (2 minutes in Java, 5 in librdkafka).
const ATTEMPT_AGE_MAX: Duration = Duration::from_secs(600);

type Key = (Name, i32, ProducerSequence);

/// The parents of the records of one batch, in their order.
pub(crate) type Parents = Vec<Option<Parent>>;

/// What a batch said that does not follow from its sequence.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// When it was first sent, ms since the Unix epoch.
    pub(crate) sent_ms: i64,
    /// Empty where no record has a parent.
    pub(crate) parents: Arc<[Option<Parent>]>,
}

#[derive(Debug, Default)]
struct Inner {
    attempts: HashMap<Key, Attempt>,
    /// Parents in all of them.
    parents: usize,
    order: VecDeque<(Instant, Key)>,
}

/// Remembers first attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Inner>);

impl Attempts {
    /// What the first attempt said, where there was one.
    pub(crate) fn recall(
        &self,
        topic: &Name,
        partition: i32,
        sequence: ProducerSequence,
    ) -> Option<Attempt> {
        let key = (Name::clone(topic), partition, sequence);
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.attempts.get(&key).cloned()
    }

    /// Remembers a first attempt.
    pub(crate) fn remember(
        &self,
        topic: &Name,
        partition: i32,
        sequence: ProducerSequence,
        attempt: Attempt,
        now: Instant,
    ) {
        let key = (Name::clone(topic), partition, sequence);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget_old(now);
        inner.order.push_back((now, key.clone()));
        inner.parents = inner.parents.saturating_add(attempt.parents.len());
        if let Some(before) = inner.attempts.insert(key, attempt) {
            inner.parents = inner.parents.saturating_sub(before.parents.len());
        }
    }

    /// The broker has it: no second attempt will be kept.
    pub(crate) fn acknowledged(&self, topic: &Name, partition: i32, sequence: ProducerSequence) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.remove(&(Name::clone(topic), partition, sequence));
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(gone) = self.attempts.remove(key) {
            self.parents = self.parents.saturating_sub(gone.parents.len());
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            let gone = !self.attempts.contains_key(key);
            let old = now.saturating_duration_since(*at) > ATTEMPT_AGE_MAX;
            let full = self.order.len() >= ATTEMPTS_MAX || self.parents >= PARENTS_MAX;
            if !gone && !old && !full {
                return;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(base_sequence: i32) -> ProducerSequence {
        ProducerSequence {
            producer_id: 1,
            epoch: 0,
            base_sequence,
        }
    }

    impl Attempts {
        /// The time a batch says that is sent now.
        fn sent(&self, n: i32, now_ms: i64) -> i64 {
            let topic: Name = "orders".into();
            if let Some(attempt) = self.recall(&topic, 0, sequence(n)) {
                return attempt.sent_ms;
            }
            let attempt = Attempt {
                sent_ms: now_ms,
                parents: Arc::new([None, None]),
            };
            self.remember(&topic, 0, sequence(n), attempt, Instant::now());
            now_ms
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_says_what_the_first_attempt_said_until_it_is_acknowledged() {
        let attempts = Attempts::default();
        assert_eq!((attempts.sent(0, 100), attempts.sent(0, 200)), (100, 100));
        attempts.acknowledged(&"orders".into(), 0, sequence(0));
        assert_eq!(attempts.sent(0, 300), 300);
        tokio::time::advance(ATTEMPT_AGE_MAX * 2).await;
        assert_eq!(attempts.sent(1, 1), 1);
        assert_eq!(attempts.sent(0, 400), 400, "one of long ago is forgotten");
    }

    #[tokio::test]
    async fn memory_is_bounded_whether_or_not_anything_is_acknowledged() {
        let attempts = Attempts::default();
        for n in 0..i32::try_from(ATTEMPTS_MAX).unwrap() * 2 {
            attempts.sent(n, 0);
            if n % 2 == 0 {
                attempts.acknowledged(&"orders".into(), 0, sequence(n));
            }
        }
        let inner = attempts.0.lock().unwrap();
        assert!(inner.order.len() <= ATTEMPTS_MAX, "{}", inner.order.len());
        assert!(inner.attempts.len() <= inner.order.len());
        assert_eq!(inner.parents, inner.attempts.len() * 2);
        assert!(inner.parents <= PARENTS_MAX);
    }
}
