//! One sidecar: proxy, pipeline, registry and admin listener, wired together.
//!
//! `run` starts one, the demo one per service, with the same code. The proxy lives on the runtime that calls
//! [`Sidecar::start`], everything else on the telemetry runtime. Must not read a configuration file.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle as Runtime,
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{
    auditing::Audit,
    control::Switches,
    diagnostics::Diagnostics,
    exporting::Exporting,
    logging::Level,
    schemas,
    settings::{self, Signal},
    showing::SharedRedaction,
    telling::EventLog,
    watch as watching,
};
use crate::{
    admin::{self, Readiness, Sources, Token},
    config::Config,
    event::DataplaneCounters,
    export::otlp::OtlpError,
    kafka::{
        control::Access,
        dial::tls::TlsError,
        proxy::{Handle, Proxy},
        wire::api::ApiKey,
    },
    metrics::{self, Build, CatalogueError, Metrics},
    pipeline::{self, Hot, Worker},
    registry::RegistryError,
    sli::{Engine, TooManyThresholds},
};

/// Time for telemetry to take what is queued when the sidecar stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a sidecar did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// An address could not be listened on.
    Listen {
        key: &'static str,
        address: String,
        source: io::Error,
    },
    /// TLS towards the brokers cannot be set up.
    Tls(TlsError),
    /// The objectives ask for more histogram bounds than there may be.
    Objectives(TooManyThresholds),
    /// Traces or metrics cannot be exported as asked.
    Otlp(OtlpError),
    /// The schema registry cannot be asked.
    Registry(RegistryError),
    /// The file of the audit trail cannot be opened.
    Audit(io::Error),
    /// The file of the event log cannot be opened.
    EventLog(io::Error),
    /// A fault of this build.
    Catalogue(CatalogueError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen {
                key,
                address,
                source,
            } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "{key}: {address} is in use by another process; choose another port or stop it"
                )
            }
            Self::Listen {
                key,
                address,
                source,
            } => write!(f, "{key}: cannot listen on {address}: {source}"),
            Self::Tls(fault) => fault.fmt(f),
            Self::Objectives(fault) => write!(f, "objectives: {fault}"),
            Self::Otlp(fault) => fault.fmt(f),
            Self::Registry(fault) => fault.fmt(f),
            Self::Audit(fault) => write!(f, "audit.file: cannot be opened: {fault}"),
            Self::EventLog(fault) => write!(f, "event_log.file: cannot be opened: {fault}"),
            Self::Catalogue(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    fn app_listener(config: &Config, source: io::Error) -> Self {
        Self::Listen {
            key: "kafka.listen",
            address: config.kafka.listen.to_string(),
            source,
        }
    }
}

/// A running sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    /// Where the application is served.
    pub(crate) listen: Vec<SocketAddr>,
    /// Where the pages are.
    pub(crate) admin: SocketAddr,
    /// Told when the admin API asks for a drain.
    pub(crate) asked_to_stop: Arc<Notify>,
    /// Changes what can be changed while running.
    pub(crate) switches: Arc<Switches>,
    handle: Handle,
    running: JoinHandle<()>,
    worker: JoinHandle<()>,
    exporting: Exporting,
    audit: Audit,
    event_log: EventLog,
    stop: watch::Sender<bool>,
}

impl Sidecar {
    /// Binds, wires and starts everything. Must be called on the dataplane's runtime.
    ///
    /// # Errors
    /// What could not be had, in words that say what to change.
    pub(crate) fn start(
        config: &Config,
        telemetry: &Runtime,
        level: Option<Level>,
        diagnostics: Option<Diagnostics>,
    ) -> Result<Self, StartError> {
        let counters = Arc::new(DataplaneCounters::default());
        let modes = Arc::new(ArcSwap::from_pointee(settings::modes(&config.context)));
        let engine = engine(config)?;
        let metrics = registry(config, &engine, &counters).map_err(StartError::Catalogue)?;
        let redaction = SharedRedaction::new(ArcSwap::from_pointee(settings::redaction(config)));
        let (hot, mut worker) = piped((config, &redaction), telemetry, engine, &metrics)?;
        let proxy_settings = settings::proxy(config).map_err(StartError::Tls)?;
        let access = settings::access(config).map_err(StartError::Tls)?;
        let proxy = Proxy::bind(proxy_settings, modes.clone(), counters.clone(), hot)
            .map_err(|source| StartError::app_listener(config, source))?;
        let (listen, handle) = (proxy.local_addresses(), proxy.handle());
        let (admin_listeners, admin) = admin_listeners(config)?;
        let readiness = Arc::new(Readiness::new(&watching::GATES));
        readiness.open("listener", watching::serving(&listen));
        let asked_to_stop = Arc::new(Notify::new());
        let log = level.clone();
        let switches = Arc::new(Switches::new(
            config,
            (modes, Arc::clone(&redaction)),
            handle.clone(),
            level,
            Arc::clone(&asked_to_stop),
        ));
        let (stop, stopped) = watch::channel(false);
        let sources = Arc::new(Sources {
            metrics: Arc::clone(&metrics),
            snapshots: worker.snapshots(),
            readiness: Arc::clone(&readiness),
            config: switches.effective(),
            control: Arc::clone(&switches) as Arc<dyn admin::Control>,
            token: token(config),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            counters: Arc::clone(&counters),
        });
        for listener in admin_listeners {
            telemetry.spawn(serve_admin(listener, Arc::clone(&sources), stopped.clone()));
        }
        let of = (&metrics, telemetry, &mut worker);
        let (exporting, audit, event_log) =
            outlets((config, &access), of, (&handle, &redaction), diagnostics)?;
        let worker = telemetry.spawn(worker.run(until_true(stopped.clone())));
        let eye = watching::Watch {
            handle: handle.clone(),
            readiness,
            metrics,
            counters,
            log,
            bootstrap: settings::bootstrap(config),
            access,
            listen: listen.clone(),
            cluster_name: config.kafka.cluster_name.clone(),
        };
        telemetry.spawn(eye.run(stopped));
        let running = tokio::spawn(proxy.run());
        Ok(Self {
            listen,
            admin,
            asked_to_stop,
            switches,
            handle,
            running,
            worker,
            exporting,
            audit,
            event_log,
            stop,
        })
    }

    /// Stops accepting, answers what is in flight, lets telemetry finish, ends.
    pub(crate) async fn stop(self) {
        self.handle.drain();
        if let Err(fault) = self.running.await {
            tracing::error!(%fault, "the proxy did not end in order");
        }
        self.stop.send_replace(true);
        if tokio::time::timeout(FLUSH_TIMEOUT, self.worker)
            .await
            .is_err()
        {
            tracing::warn!("telemetry did not finish in time; the last events are lost");
        }
        self.audit.finish().await;
        self.event_log.finish().await;
        self.exporting.finish().await;
    }
}

/// Everything by which what the worker makes leaves.
fn outlets(
    (config, access): (&Config, &Access),
    (metrics, telemetry, worker): (&Arc<Metrics>, &Runtime, &mut Worker),
    (handle, redaction): (&Handle, &SharedRedaction),
    diagnostics: Option<Diagnostics>,
) -> Result<(Exporting, Audit, EventLog), StartError> {
    let exporting = Exporting::start(config, metrics, telemetry, handle, worker, diagnostics)
        .map_err(StartError::Otlp)?;
    let audit = Audit::start(config, access, metrics, telemetry, worker)?;
    let event_log = EventLog::start(config, metrics, telemetry, (handle, redaction), worker)?;
    Ok((exporting, audit, event_log))
}

/// Resolves once the value is true, or nobody is left who could set it.
pub(crate) async fn until_true(mut value: watch::Receiver<bool>) {
    value.wait_for(|yes| *yes).await.map(drop).ok();
}

fn engine(config: &Config) -> Result<Engine, StartError> {
    let engine = Engine::new(settings::objectives(config)).map_err(StartError::Objectives)?;
    Ok(engine.with(settings::engine(config)))
}

fn piped(
    (config, redaction): (&Config, &SharedRedaction),
    telemetry: &Runtime,
    engine: Engine,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Hot>, Worker), StartError> {
    let link = schemas::link(config, telemetry).map_err(StartError::Registry)?;
    let opener = Box::new(settings::opener(config, link, redaction));
    let settings = settings::pipeline(config);
    Ok(pipeline::new(
        settings,
        engine,
        metrics,
        opener,
        Instant::now(),
    ))
}

fn registry(
    config: &Config,
    engine: &Engine,
    counters: &Arc<DataplaneCounters>,
) -> Result<Arc<Metrics>, CatalogueError> {
    let metrics = Metrics::new(&metrics::Settings {
        max_series: config.metrics.max_series.get(),
        latency_bounds: engine.bounds().seconds(),
        push: settings::otlp(config, Signal::Metrics).is_some(),
    })?;
    metrics.serve_dataplane(Arc::clone(counters), api_label)?;
    metrics.serve_process(&build())?;
    if let Some(name) = &config.kafka.cluster_name {
        metrics.set_cluster(name);
    }
    Ok(Arc::new(metrics))
}

/// What runs here.
pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("THROUGHLINE_COMMIT")
            .unwrap_or("unknown")
            .to_owned(),
    }
}

fn api_label(key: i16) -> &'static str {
    ApiKey(key).name()
}

pub(super) fn token(config: &Config) -> Option<Token> {
    config
        .admin
        .token
        .as_ref()
        .and_then(|t| Token::new(t.expose()))
}

/// The bound listeners, and the first one's address.
pub(super) fn admin_listeners(
    config: &Config,
) -> Result<(Vec<StdListener>, SocketAddr), StartError> {
    let fault = |address: SocketAddr, source| StartError::Listen {
        key: "admin.listen",
        address: address.to_string(),
        source,
    };
    let mut bound: Vec<StdListener> = Vec::new();
    let mut first: Option<SocketAddr> = None;
    for wanted in config.admin.listen.sockets() {
        // Both loopbacks share the port that the first one got.
        let wanted = SocketAddr::new(wanted.ip(), first.map_or(wanted.port(), |a| a.port()));
        let listening = StdListener::bind(wanted).and_then(|l| {
            l.set_nonblocking(true)?;
            Ok((l.local_addr()?, l))
        });
        match listening {
            Ok((address, listener)) => {
                first = first.or(Some(address));
                bound.push(listener);
            }
            // A machine without IPv6 serves on the other loopback alone.
            Err(source) if first.is_some() && source.kind() != io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(fault(wanted, source)),
        }
    }
    let none = SocketAddr::from(([0, 0, 0, 0], 0));
    let first = first.ok_or_else(|| fault(none, io::ErrorKind::AddrNotAvailable.into()))?;
    Ok((bound, first))
}

pub(super) async fn serve_admin(
    listener: StdListener,
    sources: Arc<Sources>,
    stopped: watch::Receiver<bool>,
) {
    match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => admin::serve(listener, sources, until_true(stopped)).await,
        Err(fault) => tracing::error!(%fault, "the admin listener cannot be served"),
    }
}
