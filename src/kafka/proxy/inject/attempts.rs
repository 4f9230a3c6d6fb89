//! Batches of idempotent producers that were sent and not yet acknowledged: what a second attempt must repeat.
//!
//! The broker keeps the bytes of the first attempt that reached it, so a retry says what the first one said. Must not hold
//! records: the ids follow from the sequence, only what does not is kept.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::event::{Name, ProducerSequence};

/// Batches remembered; the oldest goes first.
const ATTEMPTS_MAX: usize = 65_536;
/// Longer than any client's `delivery.timeout.ms` by default (2 minutes in Java, 5 in librdkafka).
const ATTEMPT_AGE_MAX: Duration = Duration::from_secs(600);

type Key = (Name, i32, ProducerSequence);

#[derive(Debug, Default)]
struct Inner {
    sent_ms: HashMap<Key, i64>,
    order: VecDeque<(Instant, Key)>,
}

/// Remembers first attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<Inner>);

impl Attempts {
    /// When the batch was first sent, ms since the Unix epoch: now, unless it is known.
    pub(crate) fn first_sent(
        &self,
        topic: &Name,
        partition: i32,
        sequence: ProducerSequence,
        now: Instant,
        now_ms: i64,
    ) -> i64 {
        let key = (Name::clone(topic), partition, sequence);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = inner.sent_ms.get(&key) {
            return *first;
        }
        inner.forget_old(now);
        inner.order.push_back((now, key.clone()));
        inner.sent_ms.insert(key, now_ms);
        now_ms
    }

    /// The broker has it: no second attempt will be kept.
    pub(crate) fn acknowledged(&self, topic: &Name, partition: i32, sequence: ProducerSequence) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .sent_ms
            .remove(&(Name::clone(topic), partition, sequence));
    }
}

impl Inner {
    fn forget_old(&mut self, now: Instant) {
        while let Some((at, key)) = self.order.front() {
            let gone = !self.sent_ms.contains_key(key);
            let old = now.saturating_duration_since(*at) > ATTEMPT_AGE_MAX;
            if !gone && !old && self.order.len() < ATTEMPTS_MAX {
                return;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.sent_ms.remove(&key);
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

    #[tokio::test(start_paused = true)]
    async fn a_retry_says_the_time_of_the_first_attempt_until_it_is_acknowledged() {
        let attempts = Attempts::default();
        let topic: Name = "orders".into();
        let at = |now_ms| attempts.first_sent(&topic, 0, sequence(0), Instant::now(), now_ms);
        assert_eq!((at(100), at(200)), (100, 100));
        attempts.acknowledged(&topic, 0, sequence(0));
        assert_eq!(at(300), 300);
        tokio::time::advance(ATTEMPT_AGE_MAX * 2).await;
        assert_eq!(
            attempts.first_sent(&topic, 0, sequence(1), Instant::now(), 1),
            1
        );
        assert_eq!(at(400), 400, "an attempt of long ago is forgotten");
    }

    #[tokio::test]
    async fn memory_is_bounded_whether_or_not_anything_is_acknowledged() {
        let attempts = Attempts::default();
        let topic: Name = "orders".into();
        for n in 0..i32::try_from(ATTEMPTS_MAX).unwrap() * 2 {
            attempts.first_sent(&topic, 0, sequence(n), Instant::now(), 0);
            if n % 2 == 0 {
                attempts.acknowledged(&topic, 0, sequence(n));
            }
        }
        let inner = attempts.0.lock().unwrap();
        assert!(inner.order.len() <= ATTEMPTS_MAX, "{}", inner.order.len());
        assert!(inner.sent_ms.len() <= inner.order.len());
    }
}
