//! From the dataplane to the figures: a bounded queue, and one cold worker behind it.
//!
//! [`Hot`] is what the dataplane sees: `try_send` and a few comparisons, never a wait. [`Worker`] runs on the telemetry runtime
//! and owns everything that has state. What does not fit is dropped and counted. Must not know a protocol: batches are opened
//! by whoever implements [`RecordOpener`].

mod conventions;
mod decode;
mod exporter;
mod gauges;
mod hot;
mod names;
mod observed;
mod sink;
mod snapshot;
mod traffic;
mod worker;

use std::{num::NonZeroUsize, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use crate::{metrics::Metrics, sli::Engine};

pub use hot::Hot;
pub use names::{Fold, MAX_FOLDED};
pub use observed::{Observed, Shown};
pub use snapshot::{GroupTopic, GroupView, Snapshot, Snapshots, TopicView};
pub use worker::{BATCH_EVENTS, PAUSE, TICK, Tracing, Worker};

/// Opens a captured batch. Implemented where the protocol is known.
pub trait RecordOpener: Send + std::fmt::Debug {
    /// (offset, publish time in ms since the epoch) of every record, in offset order.
    ///
    /// # Errors
    /// Where the batch cannot be read: an unknown codec, a limit, bytes that do not decode.
    fn open(&self, batch: &[u8]) -> Result<Vec<(i64, i64)>, Unreadable>;
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
    /// Whether lag is also shown by partition (`metrics.partitions`).
    pub partitions: bool,
    /// How generated names are folded (`names:`), first match wins.
    pub names: Vec<Fold>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_events: NonZeroUsize::new(8_192).unwrap_or(NonZeroUsize::MIN),
            telemetry_bytes: 16 * 1024 * 1024,
            decode_bytes_per_second: 32 * 1024 * 1024,
            partitions: false,
            names: Vec::new(),
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
    let hot = Hot::new(
        sender,
        settings.telemetry_bytes,
        engine.bounds().clone(),
        metrics,
    );
    let worker = Worker::new(settings, engine, metrics, opener, receiver, now);
    (Arc::new(hot), worker)
}

#[cfg(test)]
mod tests;
