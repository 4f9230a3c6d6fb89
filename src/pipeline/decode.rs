//! Opens captured batches within a CPU budget.
//!
//! A token bucket of bytes: a burst of one second is allowed, what exceeds it is counted and judged by its header alone. Must
//! not know a batch format.

use tokio::time::Instant;

use super::RecordOpener;
use crate::{
    event::{CapturedBatch, Codec},
    metrics::{Dropped, Metrics},
    sli::Examiner,
};

/// What a compressed byte costs against a plain one.
const COMPRESSED_COST: u64 = 4;

/// The budgeted examiner.
#[derive(Debug)]
pub(super) struct Decoder {
    opener: Box<dyn RecordOpener>,
    per_second: u64,
    left: u64,
    refilled: Instant,
    over_budget: Dropped,
    unreadable: Dropped,
}

impl Decoder {
    pub(super) fn new(
        opener: Box<dyn RecordOpener>,
        per_second: u64,
        metrics: &Metrics,
        now: Instant,
    ) -> Self {
        Self {
            opener,
            per_second,
            left: per_second,
            refilled: now,
            over_budget: metrics.dropped("records", "cpu_budget"),
            unreadable: metrics.dropped("records", "decode"),
        }
    }

    /// Adds what the time since the last call earned.
    pub(super) fn refill(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.refilled).as_micros();
        let earned = u128::from(self.per_second).saturating_mul(micros) / 1_000_000;
        if earned == 0 {
            return;
        }
        self.refilled = now;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(earned).min(self.per_second);
    }
}

impl Examiner for Decoder {
    fn examine(&mut self, batch: &CapturedBatch, codec: Codec) -> Option<Vec<(i64, i64)>> {
        let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        let cost = match codec {
            Codec::None => bytes,
            _ => bytes.saturating_mul(COMPRESSED_COST),
        };
        let Some(left) = self.left.checked_sub(cost) else {
            self.over_budget.add(1);
            return None;
        };
        self.left = left;
        match self.opener.open(&batch.bytes) {
            Ok(records) => Some(records),
            Err(super::Unreadable) => {
                self.unreadable.add(1);
                None
            }
        }
    }
}
