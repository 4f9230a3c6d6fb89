//! The dataplane: listeners, connections, the two directions of each, and the edits of answers.
//!
//! A byte enters in `lane`, is judged in `requests` or `responses`, and leaves in `lane` again. Nothing here waits for
//! telemetry: what is seen goes to [`crate::event::Observer`], which never blocks. Must not close a connection that its
//! peers keep open, nor hold an unedited frame.

mod answers;
pub mod availability;
mod bare;
mod brokers;
mod by_partition;
mod connection;
mod delivered;
mod edits;
mod facts;
mod inflight;
mod inject;
mod lane;
mod notice;
mod pool;
mod produced;
mod recent;
mod requests;
mod responses;
mod sessions;
pub mod settings;
mod shared;
mod topics;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{
    brokers::{Bound, Brokers, Target},
    settings::{Modes, Settings},
    shared::Shared,
};
use crate::{
    event::{DataplaneCounters, Observer},
    kafka::dial::HostPort,
};

/// New broker listeners waiting to be served.
const NEW_LISTENERS: usize = 4_096;
/// Pause after `accept` failed for want of descriptors, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A proxy that is bound and can be run.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    bootstrap: Vec<TcpListener>,
    new_listeners: mpsc::Receiver<Bound>,
    drain: watch::Sender<bool>,
}

/// Asks a running proxy things and tells it to stop.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    drain: watch::Sender<bool>,
}

impl Proxy {
    /// Binds the listener that the application dials. Must be called on the runtime that will run it.
    ///
    /// # Errors
    /// The address is taken or does not exist.
    pub fn bind(
        settings: Settings,
        modes: Arc<ArcSwap<Modes>>,
        counters: Arc<DataplaneCounters>,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Self> {
        let inject_settings = settings.inject.clone();
        let lineage_settings = settings.lineage.clone();
        let bootstrap = brokers::bind(&settings.listen.addresses, settings.listen.port)?;
        let (new_listeners, receiver) = mpsc::channel(NEW_LISTENERS);
        let (drain, draining) = watch::channel(false);
        let shared = Arc::new(Shared {
            brokers: Brokers::new(settings.broker_listen.clone()),
            settings,
            recent: recent::Recent::new(
                lineage_settings,
                inject_settings.names.clone(),
                inject_settings.frame_bytes,
            ),
            inject: inject::Injector::new(inject_settings),
            modes,
            counters,
            observer,
            pool: Arc::default(),
            spares: Arc::default(),
            topics: topics::Topics::default(),
            sessions: sessions::Sessions::default(),
            notices: notice::Notices::default(),
            next_connection: AtomicU64::new(1),
            next_bootstrap: AtomicU64::new(0),
            cluster_id: watch::Sender::new(None),
            new_listeners,
            draining,
            first_client: RwLock::new(false),
        });
        Ok(Self {
            shared,
            bootstrap,
            new_listeners: receiver,
            drain,
        })
    }

    /// A handle, for use while the proxy runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            shared: Arc::clone(&self.shared),
            drain: self.drain.clone(),
        }
    }

    /// The addresses on which the application is served.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.bootstrap
            .iter()
            .filter_map(|l| l.local_addr().ok())
            .collect()
    }

    /// Serves until [`Handle::drain`], then until what is in flight is answered or the drain timeout has passed.
    pub async fn run(mut self) {
        let mut listeners = JoinSet::new();
        for listener in std::mem::take(&mut self.bootstrap) {
            listeners.spawn(accept(
                Arc::clone(&self.shared),
                listener,
                Target::Bootstrap,
            ));
        }
        let mut draining = self.shared.draining.clone();
        loop {
            tokio::select! {
                Some(bound) = self.new_listeners.recv() => {
                    for listener in bound.listeners {
                        listeners.spawn(accept(Arc::clone(&self.shared), listener, bound.target.clone()));
                    }
                }
                () = until_true(&mut draining) => break,
            }
        }
        let drained = async { while listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(self.shared.settings.drain_timeout, drained)
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.shared.counters.connections.load(Ordering::Relaxed),
                "drain timeout: connections with unanswered requests are closed"
            );
        }
    }
}

impl Handle {
    /// Stops accepting and lets what is in flight finish.
    pub fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// The cluster id, as soon as an answer names it.
    #[must_use]
    pub fn cluster_id(&self) -> watch::Receiver<Option<String>> {
        self.shared.cluster_id.subscribe()
    }

    /// Tells the cluster id, learnt by a question of our own.
    pub fn learn_cluster(&self, id: &str) {
        self.shared.learn_cluster(id);
    }

    /// Topics whose injection a refusal ended begin anew: for when the operator changed something.
    pub fn forget_refusals(&self) {
        self.shared.inject.forget_refusals();
    }

    /// (node id, advertised address, local port) of every broker named so far.
    #[must_use]
    pub fn brokers(&self) -> Vec<(i32, HostPort, u16)> {
        self.shared.brokers.list()
    }

    /// Whether any client has been served.
    #[must_use]
    pub fn has_served(&self) -> bool {
        self.shared
            .counters
            .connections_total
            .load(Ordering::Relaxed)
            > 0
    }
}

/// Accepts on one listener until the proxy drains, then waits for its connections.
async fn accept(shared: Arc<Shared>, listener: TcpListener, target: Target) {
    let mut draining = shared.draining.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => begin(&shared, &mut connections, socket, target.clone()),
                Err(fault) => {
                    if shared.notices.due("accept") {
                        tracing::warn!(%fault, "cannot accept; check the limit of open files");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = until_true(&mut draining) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Resolves once the value is true, or nobody is left who could set it.
async fn until_true(value: &mut watch::Receiver<bool>) {
    value.wait_for(|yes| *yes).await.map(drop).ok();
}

fn begin(shared: &Arc<Shared>, connections: &mut JoinSet<()>, socket: TcpStream, target: Target) {
    let counters = Arc::clone(&shared.counters);
    let open = usize::try_from(counters.connections.load(Ordering::Relaxed)).unwrap_or(0);
    if open >= shared.settings.limits.connections {
        counters.connections_refused.fetch_add(1, Ordering::Relaxed);
        if shared.notices.due("limit") {
            tracing::warn!(
                limit = shared.settings.limits.connections,
                "connection refused: limits.connections is reached"
            );
        }
        connection::reset(&socket);
        return;
    }
    counters.connections.fetch_add(1, Ordering::Relaxed);
    counters.connections_total.fetch_add(1, Ordering::Relaxed);
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        // Counts down also where the task is dropped at the drain timeout.
        let _open = Open(Arc::clone(&shared.counters));
        connection::serve(shared, socket, target).await;
    });
}

struct Open(Arc<DataplaneCounters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
