//! What injection knows of one topic: what the broker has accepted, what is switched off, what it may still cost.
//!
//! The broker's `max.message.bytes` is nobody's to ask without rights, so it is learnt from what passes: a size that was
//! accepted once will be again. Must not look into a request.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::propagation::Sampling;

/// Kafka's default of `max.message.bytes`: what an edited batch may have where nothing larger was accepted.
const MESSAGE_BYTES_DEFAULT: usize = 1_048_588;
/// Over which spent time and seen records are summed.
const WINDOW: Duration = Duration::from_secs(1);

/// One topic; shared by all connections.
#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// An edited batch has been accepted.
    proven: AtomicBool,
    /// A refusal that the edit may have caused ended injection.
    off: AtomicBool,
    /// Largest batch that was accepted, edited or not, bytes.
    accepted_bytes: AtomicUsize,
    /// Smallest edited batch that was refused for its size, bytes; 0 = none.
    refused_bytes: AtomicUsize,
    window: Mutex<Window>,
    /// Records without a context, as they are delivered.
    delivered: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    spent: Duration,
    records: u64,
    last_records: u64,
}

impl Window {
    /// The sampling threshold for so many more records, at `per_second` traces.
    fn threshold(&mut self, now: Instant, records: u64, per_second: u32) -> u64 {
        self.turn(now);
        self.records = self.records.saturating_add(records);
        let rate = self.records.max(self.last_records).max(1);
        #[allow(clippy::cast_precision_loss, reason = "records of one second")]
        let share = f64::from(per_second) / rate as f64;
        Sampling::threshold_of(share)
    }

    fn turn(&mut self, now: Instant) {
        let age = self.began.map(|began| now.saturating_duration_since(began));
        if age.is_none_or(|age| age >= WINDOW) {
            let just_before = age.is_some_and(|age| age < WINDOW.saturating_mul(2));
            self.last_records = if just_before { self.records } else { 0 };
            (self.began, self.records, self.spent) = (Some(now), 0, Duration::ZERO);
        }
    }
}

impl TopicState {
    /// Whether a batch of this size is sure to be accepted, edited as it is.
    pub(crate) fn covers(&self, bytes: usize) -> bool {
        self.proven.load(Relaxed) && bytes <= self.accepted_bytes.load(Relaxed)
    }

    /// The largest batch that is worth sending.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        let most = self.accepted_bytes.load(Relaxed).max(MESSAGE_BYTES_DEFAULT);
        match self.refused_bytes.load(Relaxed) {
            0 => most,
            refused => most.min(refused.saturating_sub(1)),
        }
    }

    /// The broker refused an edited batch of this size for its size, and took the smaller original.
    pub(crate) fn refused(&self, bytes: usize) {
        let known = self.refused_bytes.load(Relaxed);
        if known == 0 || bytes < known {
            self.refused_bytes.store(bytes, Relaxed);
        }
    }

    /// The broker took a batch of this size.
    pub(crate) fn accepted(&self, bytes: usize, edited: bool) {
        self.accepted_bytes.fetch_max(bytes, Relaxed);
        if edited && !self.proven.load(Relaxed) {
            self.proven.store(true, Relaxed);
        }
    }

    pub(crate) fn is_off(&self) -> bool {
        self.off.load(Relaxed)
    }

    /// No more edits. True where there were some until now.
    pub(crate) fn switch_off(&self) -> bool {
        !self.off.swap(true, Relaxed)
    }

    /// The edit was not to blame after all.
    pub(crate) fn switch_on(&self) {
        self.off.store(false, Relaxed);
    }

    /// Whether more time may be spent on packing batches again.
    pub(crate) fn may_spend(&self, now: Instant, budget: Duration) -> bool {
        let mut window = self.lock();
        window.turn(now);
        window.spent < budget
    }

    pub(crate) fn spend(&self, took: Duration) {
        let mut window = self.lock();
        window.spent = window.spent.saturating_add(took);
    }

    /// The sampling threshold for so many more sent records, at `per_second` traces.
    pub(crate) fn threshold(&self, now: Instant, records: u64, per_second: u32) -> u64 {
        self.lock().threshold(now, records, per_second)
    }

    /// As [`Self::threshold`], for delivered records that carry no context.
    pub(crate) fn delivered_threshold(&self, now: Instant, records: u64, per_second: u32) -> u64 {
        let window = self.delivered.lock();
        let mut window = window.unwrap_or_else(PoisonError::into_inner);
        window.threshold(now, records, per_second)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagation::RANDOMNESS_MAX;

    #[test]
    fn only_sizes_that_were_accepted_are_sure() {
        let topic = TopicState::default();
        topic.accepted(5_000, false);
        assert!(!topic.covers(1), "no edited batch has been accepted");
        topic.accepted(100, true);
        assert!(topic.covers(5_000) && !topic.covers(5_001));
        assert_eq!(topic.batch_bytes_max(), MESSAGE_BYTES_DEFAULT);
        topic.accepted(10_000_000, false);
        assert_eq!(topic.batch_bytes_max(), 10_000_000);
        topic.refused(2_000);
        topic.refused(3_000);
        assert_eq!(topic.batch_bytes_max(), 1_999);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_budget_comes_back_with_the_next_second() {
        let topic = TopicState::default();
        let budget = Duration::from_millis(100);
        assert!(topic.may_spend(Instant::now(), budget));
        topic.spend(Duration::from_millis(150));
        assert!(!topic.may_spend(Instant::now(), budget));
        tokio::time::advance(WINDOW).await;
        assert!(topic.may_spend(Instant::now(), budget));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_topic_is_sampled_whole_and_a_loud_one_at_its_rate() {
        let topic = TopicState::default();
        assert_eq!(topic.threshold(Instant::now(), 5, 10), 0);
        let share = |threshold: u64| 1.0 - threshold as f64 / RANDOMNESS_MAX as f64;
        assert!((share(topic.threshold(Instant::now(), 995, 10)) - 0.01).abs() < 1e-9);
        tokio::time::advance(WINDOW).await;
        // What the last second held is expected of this one.
        assert!((share(topic.threshold(Instant::now(), 1, 10)) - 0.01).abs() < 1e-9);
        tokio::time::advance(WINDOW * 3).await;
        assert_eq!(topic.threshold(Instant::now(), 1, 10), 0);
    }
}
