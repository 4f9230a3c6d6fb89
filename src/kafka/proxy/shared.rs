//! What all connections of one proxy share.
//!
//! Must not do IO beyond handing a new listener to whoever serves it.

use std::sync::{Arc, PoisonError, RwLock, atomic::AtomicU64};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use super::{
    brokers::{Bound, Brokers},
    inject::Injector,
    notice::Notices,
    pool::{Pool, Spares},
    recent::Recent,
    sessions::Sessions,
    settings::{Modes, Settings, TopicMode},
    topics::Topics,
};
use crate::event::{BypassReason, DataplaneCounters, Observer};

/// Shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) inject: Injector,
    pub(crate) recent: Recent,
    pub(crate) modes: Arc<ArcSwap<Modes>>,
    pub(crate) counters: Arc<DataplaneCounters>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) topics: Topics,
    pub(crate) sessions: Sessions,
    pub(crate) brokers: Brokers,
    pub(crate) notices: Notices,
    pub(crate) next_connection: AtomicU64,
    pub(crate) next_bootstrap: AtomicU64,
    /// Cluster id, once some answer named it.
    pub(crate) cluster_id: watch::Sender<Option<String>>,
    /// Listeners that wait to be served; bounded by the number of brokers.
    pub(crate) new_listeners: mpsc::Sender<Bound>,
    pub(crate) draining: watch::Receiver<bool>,
    /// Address the application was last reached on, for addresses given to clients.
    pub(crate) first_client: RwLock<bool>,
}

impl Shared {
    /// Whether the records of a topic are looked at.
    pub(crate) fn observes(&self, topic: &str) -> bool {
        self.modes.load().of(topic) != TopicMode::Off
    }

    /// The address that stands for a broker, or `None` where it must stay as it is.
    pub(crate) fn local_address(
        &self,
        ours: &str,
        node: i32,
        host: &str,
        port: i32,
    ) -> Option<(String, u16)> {
        let port = u16::try_from(port).ok().filter(|p| *p != 0)?;
        if node < 0 || host.is_empty() {
            return None;
        }
        match self.brokers.port_for(node, host, port) {
            Ok((local, bound)) => {
                if let Some(bound) = bound
                    && self.new_listeners.try_send(bound).is_err()
                {
                    self.counters.add_bypass(BypassReason::Address);
                    return None;
                }
                let host = self
                    .settings
                    .advertise
                    .clone()
                    .unwrap_or_else(|| ours.to_owned());
                Some((host, local))
            }
            Err(fault) => {
                self.counters.add_bypass(BypassReason::Address);
                if self.notices.due("broker listener") {
                    tracing::error!(node, %fault, "no port for a broker: clients will dial it directly; free ports above kafka.broker_listen");
                }
                None
            }
        }
    }

    /// Learns the cluster id.
    pub(crate) fn learn_cluster(&self, id: &str) {
        if id.is_empty() {
            return;
        }
        self.cluster_id.send_if_modified(|known| {
            let new = known.as_deref() != Some(id);
            if new {
                *known = Some(id.to_owned());
            }
            new
        });
    }

    /// True for the first caller only.
    pub(crate) fn is_first_client(&self) -> bool {
        let mut seen = self
            .first_client
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        !std::mem::replace(&mut *seen, true)
    }
}
