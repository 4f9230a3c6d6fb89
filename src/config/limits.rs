//! `limits:`, `metrics:` and `proxy:` - the named limits of queues, buffers, series and threads.
//!
//! Here because invariant 7 wants a limit on everything and a reader wants them in one place. Must not hold a limit that
//! nothing enforces.

use std::{num::NonZeroUsize, time::Duration};

use serde_json::{Value, json};

use super::{
    effective::seconds_json,
    section::{Section, boolean, count, integer, seconds},
};

const fn nonzero(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

/// The `limits` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Client connections at a time.
    pub connections: NonZeroUsize,
    /// Largest frame from either side, in bytes.
    pub frame_bytes: u32,
    /// Largest Produce request whose records are edited, in bytes; also the records of one batch, decompressed.
    pub edit_frame_bytes: NonZeroUsize,
    /// Memory for frames that are rewritten, all connections together, in bytes.
    pub edit_bytes_total: NonZeroUsize,
    /// Processor time per second and topic for opening and packing compressed batches, in milliseconds.
    pub edit_cpu_ms_per_second: NonZeroUsize,
    /// Memory for what waits for the telemetry runtime, in bytes.
    pub telemetry_bytes: NonZeroUsize,
    /// Bytes per second of records that are examined one by one; a compressed byte counts four times.
    pub examine_bytes_per_second: NonZeroUsize,
    /// Events that may wait for the telemetry runtime.
    pub queue_events: NonZeroUsize,
    /// Requests without an answer, per connection.
    pub in_flight_requests: NonZeroUsize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: nonzero(1_000),
            frame_bytes: 104_857_600,
            edit_frame_bytes: nonzero(4_194_304),
            edit_bytes_total: nonzero(33_554_432),
            edit_cpu_ms_per_second: nonzero(250),
            telemetry_bytes: nonzero(16_777_216),
            examine_bytes_per_second: nonzero(8_388_608),
            queue_events: nonzero(16_384),
            in_flight_requests: nonzero(4_096),
        }
    }
}

impl LimitsConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let limit = |key, default, range| section.or(key, default, count(range));
        Self {
            connections: limit("connections", default.connections, 1..=100_000),
            frame_bytes: section.or(
                "frame_bytes",
                default.frame_bytes,
                integer(1_024..=2_147_483_647),
            ),
            edit_frame_bytes: limit(
                "edit_frame_bytes",
                default.edit_frame_bytes,
                1_024..=104_857_600,
            ),
            edit_cpu_ms_per_second: limit(
                "edit_cpu_ms_per_second",
                default.edit_cpu_ms_per_second,
                1..=1_000,
            ),
            edit_bytes_total: limit(
                "edit_bytes_total",
                default.edit_bytes_total,
                65_536..=4_294_967_296,
            ),
            telemetry_bytes: limit(
                "telemetry_bytes",
                default.telemetry_bytes,
                65_536..=4_294_967_296,
            ),
            examine_bytes_per_second: limit(
                "examine_bytes_per_second",
                default.examine_bytes_per_second,
                1_024..=4_294_967_296,
            ),
            queue_events: limit("queue_events", default.queue_events, 16..=16_777_216),
            in_flight_requests: limit(
                "in_flight_requests",
                default.in_flight_requests,
                1..=1_048_576,
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "connections": self.connections,
            "frame_bytes": self.frame_bytes,
            "edit_frame_bytes": self.edit_frame_bytes,
            "edit_bytes_total": self.edit_bytes_total,
            "edit_cpu_ms_per_second": self.edit_cpu_ms_per_second,
            "telemetry_bytes": self.telemetry_bytes,
            "examine_bytes_per_second": self.examine_bytes_per_second,
            "queue_events": self.queue_events,
            "in_flight_requests": self.in_flight_requests,
        })
    }
}

/// The `metrics` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Whether families of a topic are also kept per partition.
    pub partitions: bool,
    /// Series at a time; names past it become `_other`.
    pub max_series: NonZeroUsize,
    /// Whether the observer also shows its figures under the names of kafka_exporter.
    pub kafka_exporter: bool,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            partitions: false,
            max_series: nonzero(20_000),
            kafka_exporter: false,
        }
    }
}

impl MetricsConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            partitions: section.or("partitions", default.partitions, boolean),
            max_series: section.or("max_series", default.max_series, count(1_000..=10_000_000)),
            kafka_exporter: !section.many("compatibility", compatibility).is_empty(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let compatibility: &[&str] = if self.kafka_exporter {
            &["kafka_exporter"]
        } else {
            &[]
        };
        json!({
            "partitions": self.partitions,
            "max_series": self.max_series,
            "compatibility": compatibility,
        })
    }
}

fn compatibility(name: &str) -> Result<(), String> {
    match name {
        "kafka_exporter" => Ok(()),
        _ => Err("is not known, allowed: kafka_exporter".to_owned()),
    }
}

/// The `proxy` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Threads of the dataplane runtime.
    pub worker_threads: NonZeroUsize,
    /// How long dialling a broker may take, TLS included.
    pub connect_timeout: Duration,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            worker_threads: NonZeroUsize::MIN,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl ProxyConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            worker_threads: section.or("worker_threads", default.worker_threads, count(1..=256)),
            connect_timeout: section.or(
                "connect_timeout_seconds",
                default.connect_timeout,
                seconds(0.1..=10.0),
            ),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "worker_threads": self.worker_threads,
            "connect_timeout_seconds": seconds_json(self.connect_timeout),
        })
    }
}
