//! The hot side: called by the dataplane, never waits.
//!
//! An event costs one `try_send`; a full queue costs one atomic addition. Must not allocate, lock or format.

use std::sync::{Arc, atomic::AtomicUsize};

use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::sampling::Sampling;
use crate::{
    event::{Event, Observer, Reservation},
    metrics::{Dropped, Metrics},
    sli::Bounds,
};

/// Takes events from the dataplane.
#[derive(Debug)]
pub struct Hot {
    queue: Sender<Event>,
    bytes_left: Arc<AtomicUsize>,
    bounds: Bounds,
    sampling: Arc<Sampling>,
    queue_full: Dropped,
    stopped: Dropped,
    byte_budget: Dropped,
}

impl Hot {
    pub(super) fn new(
        queue: Sender<Event>,
        telemetry_bytes: usize,
        bounds: Bounds,
        sampling: Arc<Sampling>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            queue,
            bytes_left: Arc::new(AtomicUsize::new(telemetry_bytes)),
            bounds,
            sampling,
            queue_full: metrics.dropped("events", "queue_full"),
            stopped: metrics.dropped("events", "stopped"),
            byte_budget: metrics.dropped("records", "byte_budget"),
        }
    }
}

impl Observer for Hot {
    fn observe(&self, event: Event) {
        match self.queue.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.queue_full.add(1),
            Err(TrySendError::Closed(_)) => self.stopped.add(1),
        }
    }

    fn wants_records(&self, _topic: &str, now_ms: i64, base_ms: i64, max_ms: i64) -> bool {
        self.bounds.needs_records(
            now_ms.saturating_sub(max_ms),
            now_ms.saturating_sub(base_ms),
        )
    }

    fn examines(&self, topic: &str, partition: i32, bytes: usize) -> bool {
        self.sampling.takes(topic, partition, bytes)
    }

    fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let reservation = Reservation::take(&self.bytes_left, bytes);
        if reservation.is_none() {
            self.byte_budget.add(1);
            self.sampling.missed();
        }
        reservation
    }
}
