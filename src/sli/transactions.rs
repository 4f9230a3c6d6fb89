//! Offsets that a transaction will commit: they count when it does.
//!
//! Reference: KIP-98, KIP-447 (TxnOffsetCommit, EndTxn). Must not apply them itself.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::engine::ReadingKey;

/// Most positions that wait.
const MAX_WAITING: usize = 10_000;
/// Brokers roll a transaction back after 15 minutes at most (`transaction.max.timeout.ms`), by default.
const GIVEN_UP: Duration = Duration::from_secs(900);

/// Positions by producer id.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: HashMap<i64, (Vec<(ReadingKey, i64)>, Instant)>,
    waiting: usize,
}

impl Transactions {
    /// Keeps a position until the transaction of this producer ends; gives it back where there is no room.
    pub(super) fn wait(
        &mut self,
        producer_id: i64,
        key: ReadingKey,
        offset: i64,
        now: Instant,
    ) -> Result<(), (ReadingKey, i64)> {
        if self.waiting >= MAX_WAITING {
            return Err((key, offset));
        }
        self.waiting = self.waiting.saturating_add(1);
        let (positions, _) = self.open.entry(producer_id).or_insert((Vec::new(), now));
        positions.push((key, offset));
        Ok(())
    }

    /// The positions of a transaction that ended, in the order they came.
    pub(super) fn end(&mut self, producer_id: i64) -> Vec<(ReadingKey, i64)> {
        let ended = self.open.remove(&producer_id);
        let positions = ended.map(|(positions, _)| positions).unwrap_or_default();
        self.waiting = self.waiting.saturating_sub(positions.len());
        positions
    }

    /// Whose end was not seen will not end.
    pub(super) fn expire(&mut self, now: Instant) {
        let old = |since: Instant| now.saturating_duration_since(since) >= GIVEN_UP;
        self.open.retain(|_, (_, since)| !old(*since));
        self.waiting = self
            .open
            .values()
            .map(|(positions, _)| positions.len())
            .sum();
    }
}
