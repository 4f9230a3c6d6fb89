//! Keeps an eye on one sidecar from the telemetry side: is a broker there, which cluster is it, has a client come.
//!
//! Fills the gates of `/readyz` and the `cluster` label, and says in the log what a newcomer would get wrong. Must not touch
//! the dataplane.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::Instrument as _;

use super::{logging::Level, sidecar::until_true};
use crate::{
    admin::Readiness,
    event::{BypassReason, DataplaneCounters},
    kafka::{
        control::{self, Access, LOGIN_PAUSE, Probe},
        dial::HostPort,
        proxy::Handle,
    },
    metrics::Metrics,
};

/// Gates of `/readyz`.
pub(crate) const GATES: [&str; 3] = ["addresses", "broker", "listener"];
/// Longest answer time of one broker asked at start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two rounds of asking brokers that do not answer.
const PROBE_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at the counters.
const LOOK: Duration = Duration::from_secs(5);
/// After this long without a client the log says what to set.
const SILENCE: Duration = Duration::from_secs(60);

/// What is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) handle: Handle,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) counters: Arc<DataplaneCounters>,
    /// Our own log, where there is one.
    pub(crate) log: Option<Level>,
    pub(crate) bootstrap: Vec<HostPort>,
    pub(crate) access: Access,
    pub(crate) listen: Vec<SocketAddr>,
    /// Configured value of the `cluster` label.
    pub(crate) cluster_name: Option<String>,
}

/// Addresses as a reader would type them.
pub(crate) fn list(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Note of the gate `listener`.
pub(crate) fn serving(addresses: &[SocketAddr]) -> String {
    format!("serving on {}", list(addresses))
}

impl Watch {
    /// Watches until told to stop.
    pub(crate) async fn run(self, stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = until_true(stopped) => {}
            () = async { tokio::join!(self.ask(), self.cluster(), self.look()); } => {}
        }
    }

    /// Asks the bootstrap brokers until one answers.
    async fn ask(&self) {
        let mut said = None;
        loop {
            let mut pause = PROBE_PAUSE;
            for broker in &self.bootstrap {
                let span = tracing::debug_span!(
                    "probe",
                    server.address = broker.host,
                    server.port = broker.port
                );
                let probe = control::probe(broker, &self.access, PROBE_TIMEOUT);
                match probe.instrument(span).await {
                    Ok(probe) => return self.answered(broker, probe).await,
                    Err(fault) => {
                        let refused = fault.is_refused_login();
                        let reason = format!("{broker}: {fault}");
                        // Said once per reason, not once per try.
                        if said.as_deref() != Some(reason.as_str()) {
                            tracing::warn!(%broker, %fault, "no broker yet; trying on");
                            self.readiness.close("broker", reason.clone());
                            said = Some(reason);
                        }
                        if refused {
                            // Another broker of the list knows no other password.
                            pause = LOGIN_PAUSE;
                            break;
                        }
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn answered(&self, broker: &HostPort, probe: Probe) {
        let Some(cluster) = probe.cluster else {
            self.readiness.open("broker", format!("{broker} answered; it wants authentication, so the cluster id is learnt from the application's traffic"));
            tracing::info!(%broker, apis = probe.apis, "broker answered and wants authentication");
            return;
        };
        if let Some(id) = &cluster.id {
            self.handle.learn_cluster(id);
        }
        self.readiness.open("broker", format!("{broker} answered"));
        tracing::info!(%broker, cluster = cluster.id.as_deref().unwrap_or("unknown"), brokers = cluster.brokers.len(), "broker answered");
        for (node, address) in &cluster.brokers {
            let named = address.host.parse::<std::net::IpAddr>().is_err();
            if named
                && tokio::net::lookup_host((address.host.as_str(), address.port))
                    .await
                    .is_err()
            {
                tracing::warn!(node, %address, "the broker advertises a name that does not resolve here; clients will not reach it: check advertised.listeners and DNS");
            }
        }
    }

    /// Carries the cluster id over to the label.
    async fn cluster(&self) {
        if self.cluster_name.is_some() {
            return;
        }
        let mut id = self.handle.cluster_id();
        loop {
            if let Some(id) = id.borrow_and_update().as_deref() {
                self.metrics.set_cluster(id);
            }
            if id.changed().await.is_err() {
                return;
            }
        }
    }

    /// Looks at the counters now and then.
    async fn look(&self) {
        let start = Instant::now();
        let mut told = false;
        let lines_lost = self.metrics.dropped("log", "queue_full");
        loop {
            let lost = self.log.as_ref().map_or(0, Level::lost);
            lines_lost.add(lost.saturating_sub(lines_lost.count()));
            match self.counters.bypassed(BypassReason::Address) {
                0 => self.readiness.open("addresses", "every answer that names brokers was rewritten"),
                n => self.readiness.open("addresses", format!("{n} answers that name brokers passed unread: clients may go past the sidecar")),
            }
            if !told && !self.handle.has_served() && start.elapsed() >= SILENCE {
                told = true;
                let servers = self
                    .listen
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::warn!(
                    "no client in the first minute: set the application's bootstrap.servers to {servers}"
                );
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
