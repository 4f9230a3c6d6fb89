//! From the dataplane to the figures: a bounded queue, and one cold worker behind it.
//!
//! [`Hot`] is what the dataplane sees: `try_send` and a few comparisons, never a wait. [`Worker`] runs on the telemetry runtime
//! and owns everything that has state. What does not fit is dropped and counted. Must not know a protocol: batches are opened
//! by whoever implements [`RecordOpener`].

mod conventions;
mod decode;
mod doubled;
mod exporter;
mod gauges;
mod hot;
mod names;
mod notes;
mod observed;
mod ownership;
mod sampling;
mod sink;
mod snapshot;
mod telling;
mod traffic;
mod worker;

use std::{num::NonZeroUsize, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use self::{decode::Decoder, sampling::Sampling};
use crate::{
    event::{DeliveredRecord, LateSchemas, RecordView, SentRecords, SentTo},
    metrics::Metrics,
    sli::Engine,
};

pub use hot::Hot;
pub use names::{Fold, MAX_FOLDED};
pub use observed::{Observed, Shown};
pub use ownership::{Owner, Ownership};
pub use sampling::Always;
pub use snapshot::{GroupTopic, GroupView, Snapshot, Snapshots, TopicView};
pub use telling::Telling;
pub use worker::{Auditing, BATCH_EVENTS, PAUSE, TICK, Tracing, Worker};

/// Opens a captured batch. Implemented where the protocol is known.
pub trait RecordOpener: Send + std::fmt::Debug {
    /// Every record on its way to a consumer, in offset order; with its identity where `examined`.
    ///
    /// # Errors
    /// Where the batch cannot be read: an unknown codec, a limit, bytes that do not decode.
    fn delivered(
        &mut self,
        batch: &[u8],
        examined: bool,
    ) -> Result<Vec<DeliveredRecord>, Unreadable>;

    /// What is noteworthy about records sent to a topic.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    fn sent(&mut self, to: &SentTo, batch: &[u8]) -> Result<SentRecords, Unreadable>;

    /// What may be shown of those records for which `wanted`, told how far behind the first of the batch and when published (ms since the
    /// epoch), says so; asked in order, at most once each.
    ///
    /// # Errors
    /// As [`Self::delivered`].
    fn show(
        &mut self,
        batch: &[u8],
        wanted: &mut dyn FnMut(i32, i64) -> bool,
    ) -> Result<Vec<RecordView>, Unreadable>;

    /// What could be told only later of the values sent to topics. Asked about once a second.
    fn late(&mut self) -> Vec<LateSchemas>;
}

/// A batch that could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// Limits and labels of the pipeline.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Events that may wait for the worker.
    pub queue_events: NonZeroUsize,
    /// Bytes of captured batches that may wait for the worker (`limits.telemetry_bytes`).
    pub telemetry_bytes: usize,
    /// Bytes of captured batches opened per second; a compressed byte counts four times.
    pub decode_bytes_per_second: u64,
    /// Bytes of captured batches examined record by record per second (`limits.examine_bytes_per_second`); a compressed byte
    /// counts four times.
    pub examine_bytes_per_second: u64,
    /// Topics whose records are examined whatever that costs.
    pub always_examined: Always,
    /// Whether lag is also shown by partition (`metrics.partitions`).
    pub partitions: bool,
    /// How generated names are folded (`names:`), first match wins.
    pub names: Vec<Fold>,
    /// Whose topics are, and which are never silent.
    pub ownership: Ownership,
    /// (operation, resource) that may be refused for want of rights: their counters exist from the start.
    pub refusable: Vec<(&'static str, &'static str)>,
    /// Mechanisms with which authentication may fail: likewise.
    pub mechanisms: Vec<&'static str>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_events: NonZeroUsize::new(8_192).unwrap_or(NonZeroUsize::MIN),
            telemetry_bytes: 16 * 1024 * 1024,
            decode_bytes_per_second: 32 * 1024 * 1024,
            examine_bytes_per_second: 8 * 1024 * 1024,
            always_examined: Always::default(),
            partitions: false,
            names: Vec::new(),
            ownership: Ownership::default(),
            refusable: Vec::new(),
            mechanisms: Vec::new(),
        }
    }
}

/// Makes the two ends. `metrics` must have been made with the engine's bounds.
#[must_use]
pub fn new(
    settings: Settings,
    engine: Engine,
    metrics: &Arc<Metrics>,
    opener: Box<dyn RecordOpener>,
    now: Instant,
) -> (Arc<Hot>, Worker) {
    let (sender, receiver) = mpsc::channel(settings.queue_events.get());
    let per_second = usize::try_from(settings.examine_bytes_per_second).unwrap_or(usize::MAX);
    let sampling = Sampling::new(per_second, settings.always_examined.clone());
    let sampling = Arc::new(sampling);
    let hot = Hot::new(
        sender,
        settings.telemetry_bytes,
        engine.bounds().clone(),
        Arc::clone(&sampling),
        metrics,
    );
    let decoder = Decoder::new(
        opener,
        Arc::clone(&sampling),
        (
            settings.decode_bytes_per_second,
            settings.examine_bytes_per_second,
        ),
        metrics,
        now,
    );
    let worker = Worker::new(
        settings,
        engine,
        metrics,
        (decoder, sampling),
        receiver,
        now,
    );
    (Arc::new(hot), worker)
}

#[cfg(test)]
mod telling_tests;
#[cfg(test)]
mod tests;
