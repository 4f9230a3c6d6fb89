//! Opens captured batches within CPU budgets.
//!
//! Token buckets of bytes: a burst of one second is allowed, what exceeds it is counted. Times that a verdict needs come before
//! what is examined for its own sake. Must not know a batch format.

use std::sync::Arc;

use tokio::time::Instant;

use super::{RecordOpener, sampling::Sampling};
use crate::{
    event::{CapturedBatch, Codec, DeliveredRecord, Name, SchemaCount, SentRecords},
    metrics::{Dropped, Metrics},
    sli::Examiner,
};

/// What a compressed byte costs against a plain one.
const COMPRESSED_COST: u64 = 4;

/// Bytes that may be read, by and by.
#[derive(Debug)]
struct Budget {
    per_second: u64,
    left: u64,
    refilled: Instant,
}

impl Budget {
    fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second,
            left: per_second,
            refilled: now,
        }
    }

    /// Adds what the time since the last call earned.
    fn refill(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.refilled).as_micros();
        let earned = u128::from(self.per_second).saturating_mul(micros) / 1_000_000;
        if earned == 0 {
            return;
        }
        self.refilled = now;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(earned).min(self.per_second);
    }

    fn take(&mut self, batch: &CapturedBatch, codec: Codec) -> bool {
        let bytes = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        let cost = match codec {
            Codec::None => bytes,
            _ => bytes.saturating_mul(COMPRESSED_COST),
        };
        // What is larger than a second's worth is read where nothing else was.
        let left = self.left.checked_sub(cost.min(self.per_second));
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

/// The budgeted examiner.
#[derive(Debug)]
pub(super) struct Decoder {
    opener: Box<dyn RecordOpener>,
    sampling: Arc<Sampling>,
    times: Budget,
    records: Budget,
    over_budget: Dropped,
    unexamined: Dropped,
    unreadable: Dropped,
}

impl Decoder {
    /// `times` and `records`: bytes per second to be opened for publish times, and to be examined.
    pub(super) fn new(
        opener: Box<dyn RecordOpener>,
        sampling: Arc<Sampling>,
        (times, records): (u64, u64),
        metrics: &Metrics,
        now: Instant,
    ) -> Self {
        Self {
            opener,
            sampling,
            times: Budget::new(times, now),
            records: Budget::new(records, now),
            over_budget: metrics.dropped("records", "cpu_budget"),
            unexamined: metrics.dropped("records", "examine_budget"),
            unreadable: metrics.dropped("records", "decode"),
        }
    }

    /// Adds what the time since the last call earned.
    pub(super) fn refill(&mut self, now: Instant) {
        self.times.refill(now);
        self.records.refill(now);
    }

    /// Whether there is time to examine this batch.
    fn examines(&mut self, batch: &CapturedBatch, codec: Codec) -> bool {
        let enough = self.records.take(batch, codec);
        if !enough {
            self.unexamined.add(1);
            self.sampling.missed();
        }
        enough
    }

    fn read<T>(&self, read: Result<T, super::Unreadable>) -> Option<T> {
        if read.is_err() {
            self.unreadable.add(1);
        }
        read.ok()
    }
}

impl Examiner for Decoder {
    fn delivered(&mut self, batch: &CapturedBatch, codec: Codec) -> Option<Vec<DeliveredRecord>> {
        let examined = batch.examined && self.examines(batch, codec);
        if !examined && !self.times.take(batch, codec) {
            self.over_budget.add(1);
            return None;
        }
        let read = self.opener.delivered(&batch.bytes, examined);
        self.read(read)
    }

    fn sent(&mut self, topic: &Name, batch: &CapturedBatch, codec: Codec) -> Option<SentRecords> {
        // What has priority may use what is left of both.
        let first = self.sampling.has_priority(topic) && self.times.take(batch, codec);
        if !first && !self.examines(batch, codec) {
            return None;
        }
        let read = self.opener.sent(topic, &batch.bytes);
        self.read(read)
    }

    fn late(&mut self) -> Vec<(Name, Vec<SchemaCount>)> {
        self.opener.late()
    }
}
