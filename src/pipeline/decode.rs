//! Opens captured batches within CPU budgets.
//!
//! Token buckets of bytes: a burst of one second is allowed, what exceeds it is counted. Times that a verdict needs come before
//! what is examined for its own sake. Must not know a batch format.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{RecordOpener, sampling::Sampling};
use crate::{
    event::{CapturedBatch, Codec, DeliveredRecord, LateSchemas, RecordView, SentRecords, SentTo},
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

    fn take(&mut self, bytes: usize, codec: Codec) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
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
    /// Somebody asks for [`Self::late_batch`].
    keeps_late: bool,
    /// What was told late at the last tick.
    late: Vec<LateSchemas>,
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
            keeps_late: false,
            late: Vec::new(),
        }
    }

    /// Adds what the time since the last call earned.
    pub(super) fn refill(&mut self, now: Instant) {
        self.times.refill(now);
        self.records.refill(now);
    }

    /// From now on [`Self::late_batch`] knows what was told late.
    pub(super) fn keep_late(&mut self) {
        self.keeps_late = true;
    }

    /// The batch of which something was told late at the last tick.
    pub(super) fn late_batch(&self, to: &SentTo) -> Option<Bytes> {
        let late = self.late.iter().find(|late| late.to == *to);
        late.map(|late| late.batch.clone())
    }

    /// Nothing that was told late is asked for any more.
    pub(super) fn forget_late(&mut self) {
        self.late.clear();
    }

    /// What may be shown of these records; nothing where there is no time for it, which is counted.
    pub(super) fn show(
        &mut self,
        batch: &[u8],
        codec: Codec,
        wanted: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Vec<RecordView> {
        if !self.times.take(batch.len(), codec) {
            self.over_budget.add(1);
            return Vec::new();
        }
        let read = self.opener.show(batch, wanted);
        self.read(read).unwrap_or_default()
    }

    /// Whether there is time to examine this batch.
    fn examines(&mut self, batch: &CapturedBatch, codec: Codec) -> bool {
        let enough = self.records.take(batch.bytes.len(), codec);
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
        if !examined && !self.times.take(batch.bytes.len(), codec) {
            self.over_budget.add(1);
            return None;
        }
        let read = self.opener.delivered(&batch.bytes, examined);
        self.read(read)
    }

    fn sent(&mut self, to: &SentTo, batch: &CapturedBatch, codec: Codec) -> Option<SentRecords> {
        // What has priority may use what is left of both.
        let first =
            self.sampling.has_priority(&to.topic) && self.times.take(batch.bytes.len(), codec);
        if !first && !self.examines(batch, codec) {
            return None;
        }
        let read = self.opener.sent(to, &batch.bytes);
        self.read(read)
    }

    fn late(&mut self) -> Vec<LateSchemas> {
        let late = self.opener.late();
        if self.keeps_late {
            self.late.clone_from(&late);
        }
        late
    }
}
