//! The admin listener: probes, metrics, JSON, one page for people, and the few switches that may be turned while running.
//!
//! Reads snapshots and gathers the registry; holds no state of its own but the readiness gates. Runs on the telemetry runtime.
//! Must never wait for the worker or the dataplane.

mod access;
mod api;
mod page;
mod readiness;
mod routes;
mod server;

use std::{fmt, sync::Arc};

use crate::{event::DataplaneCounters, metrics::Metrics, pipeline::Snapshots};

pub use access::Token;
pub use readiness::{Gate, Readiness};
pub use server::{
    BODY_BYTES_MAX, CONNECTIONS_MAX, HEADER_TIMEOUT, REQUEST_TIMEOUT, REQUESTS_MAX, serve,
};

/// What may be switched while running. Implemented by the composition of a role.
pub trait Control: Send + Sync + fmt::Debug {
    /// Whether clients connect here; an observer has none to show.
    fn serves_clients(&self) -> bool {
        true
    }

    /// The mode now: `observe`, `off`, ...
    fn mode(&self) -> String;

    /// Changes the mode.
    ///
    /// # Errors
    /// What is wrong with it and what is allowed.
    fn set_mode(&self, mode: &str) -> Result<(), String>;

    /// Changes the log level or filter.
    ///
    /// # Errors
    /// What is wrong with it and what is allowed.
    fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// Starts draining: no new connections, in-flight requests end, then the process does.
    ///
    /// # Errors
    /// Why it cannot.
    fn drain(&self) -> Result<(), String>;
}

/// Everything the admin listener shows or calls.
pub struct Sources {
    /// The registry.
    pub metrics: Arc<Metrics>,
    /// The worker's snapshots.
    pub snapshots: Snapshots,
    /// Gates of `/readyz`.
    pub readiness: Arc<Readiness>,
    /// The effective configuration, secrets already redacted; shown as it is.
    pub config: Box<dyn Fn() -> String + Send + Sync>,
    /// The switches.
    pub control: Arc<dyn Control>,
    /// Who else than loopback may turn the switches.
    pub token: Option<Token>,
    /// Version shown on the page.
    pub version: String,
    /// Counters of the dataplane, for the page's header.
    pub counters: Arc<DataplaneCounters>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("version", &self.version)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
