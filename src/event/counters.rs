//! What the dataplane counts itself: plain atomics, read at scrape time.
//!
//! Bytes, frames, connections and the latency we add are counted where they happen, without an event and without a name
//! lookup. Must not know how they are exported; `metrics` reads them.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of [`AddedLatency`], microseconds.
pub const ADDED_LATENCY_BOUNDS_US: [u64; 12] = [
    5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 25_000, 100_000, 1_000_000,
];

/// Number of API keys counted apart; higher keys share the last slot.
pub const API_SLOTS: usize = 128;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Requests.
    ClientToBroker,
    /// Responses.
    BrokerToClient,
}

impl Direction {
    /// All of them, in the order of their slots.
    pub const ALL: [Self; 2] = [Self::ClientToBroker, Self::BrokerToClient];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientToBroker => "client_to_broker",
            Self::BrokerToClient => "broker_to_client",
        }
    }
}

/// What was done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameMode {
    /// Passed unread.
    Opaque,
    /// Read while passing.
    Observed,
    /// Changed (addresses, versions).
    Edited,
}

impl FrameMode {
    /// All of them, in the order of their slots.
    pub const ALL: [Self; 3] = [Self::Opaque, Self::Observed, Self::Edited];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Observed => "observed",
            Self::Edited => "edited",
        }
    }
}

/// Why something passed unread that would have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BypassReason {
    /// An answer that names brokers could not be rewritten: clients may go past the sidecar.
    Address,
    /// A version newer than this build knows.
    UnknownVersion,
    /// A version older than what is read.
    OldVersion,
    /// Bytes that do not decode.
    Decode,
    /// A frame over a limit.
    TooLarge,
    /// Framing fault: the connection became a plain tunnel.
    Tunnel,
    /// Endpoints behind records could not be rewritten in place and were taken out.
    EndpointNeutralised,
    /// An answer without its request.
    Unmatched,
}

impl BypassReason {
    /// All of them, in the order of their slots.
    pub const ALL: [Self; 8] = [
        Self::Address,
        Self::UnknownVersion,
        Self::OldVersion,
        Self::Decode,
        Self::TooLarge,
        Self::Tunnel,
        Self::EndpointNeutralised,
        Self::Unmatched,
    ];

    /// The metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::UnknownVersion => "unknown_version",
            Self::OldVersion => "old_version",
            Self::Decode => "decode",
            Self::TooLarge => "too_large",
            Self::Tunnel => "tunnel",
            Self::EndpointNeutralised => "endpoint_neutralised",
            Self::Unmatched => "unmatched",
        }
    }
}

/// A histogram of the time bytes spend inside the proxy.
#[derive(Debug, Default)]
pub struct AddedLatency {
    buckets: [AtomicU64; ADDED_LATENCY_BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl AddedLatency {
    /// Adds one observation.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some((bucket, _)) = self
            .buckets
            .iter()
            .zip(ADDED_LATENCY_BOUNDS_US)
            .find(|(_, bound)| us <= *bound)
        {
            bucket.fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }

    /// (non-cumulative counts per bound, total count, sum in microseconds).
    #[must_use]
    pub fn snapshot(&self) -> (Vec<u64>, u64, u64) {
        (
            self.buckets.iter().map(|b| b.load(Relaxed)).collect(),
            self.count.load(Relaxed),
            self.sum_us.load(Relaxed),
        )
    }
}

/// Counters the dataplane adds to directly.
#[derive(Debug)]
pub struct DataplaneCounters {
    bytes: [AtomicU64; 2],
    frames: [[AtomicU64; 3]; API_SLOTS],
    bypassed: [AtomicU64; BypassReason::ALL.len()],
    /// Connections open now.
    pub connections: AtomicI64,
    /// Connections accepted since start.
    pub connections_total: AtomicU64,
    /// Connections refused because of the limit.
    pub connections_refused: AtomicU64,
    /// Batches delivered whose records could not be indexed for lineage.
    unindexed: AtomicU64,
    /// Time from a chunk's arrival to its leaving, write included.
    pub added_latency: [AddedLatency; 2],
}

impl Default for DataplaneCounters {
    fn default() -> Self {
        Self {
            bytes: Default::default(),
            frames: std::array::from_fn(|_| Default::default()),
            bypassed: Default::default(),
            connections: AtomicI64::new(0),
            connections_total: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            unindexed: AtomicU64::new(0),
            added_latency: Default::default(),
        }
    }
}

impl DataplaneCounters {
    /// Bytes that were written on.
    pub fn add_bytes(&self, direction: Direction, bytes: u64) {
        let [requests, responses] = &self.bytes;
        match direction {
            Direction::ClientToBroker => requests,
            Direction::BrokerToClient => responses,
        }
        .fetch_add(bytes, Relaxed);
    }

    /// Bytes written on so far.
    #[must_use]
    pub fn bytes(&self, direction: Direction) -> u64 {
        let [requests, responses] = &self.bytes;
        match direction {
            Direction::ClientToBroker => requests,
            Direction::BrokerToClient => responses,
        }
        .load(Relaxed)
    }

    /// One request or response frame of an API.
    pub fn add_frame(&self, api_key: i16, mode: FrameMode) {
        let slot = usize::try_from(api_key)
            .unwrap_or(API_SLOTS)
            .min(API_SLOTS.saturating_sub(1));
        if let Some(counter) = self
            .frames
            .get(slot)
            .and_then(|modes| modes.get(mode as usize))
        {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Frames counted so far for one API slot and mode.
    #[must_use]
    pub fn frames(&self, slot: usize, mode: FrameMode) -> u64 {
        self.frames
            .get(slot)
            .and_then(|modes| modes.get(mode as usize))
            .map_or(0, |c| c.load(Relaxed))
    }

    /// One thing that passed unread, and why.
    pub fn add_bypass(&self, reason: BypassReason) {
        if let Some(counter) = self.bypassed.get(reason as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How often a reason applied.
    #[must_use]
    pub fn bypassed(&self, reason: BypassReason) -> u64 {
        self.bypassed
            .get(reason as usize)
            .map_or(0, |c| c.load(Relaxed))
    }

    /// Batches whose records could not be indexed for lineage.
    pub fn add_unindexed(&self, batches: u64) {
        self.unindexed.fetch_add(batches, Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn unindexed(&self) -> u64 {
        self.unindexed.load(Relaxed)
    }

    /// The histogram of one direction.
    #[must_use]
    pub fn latency(&self, direction: Direction) -> &AddedLatency {
        let [requests, responses] = &self.added_latency;
        match direction {
            Direction::ClientToBroker => requests,
            Direction::BrokerToClient => responses,
        }
    }
}
