//! `throughline observe`: watches a whole cluster from outside any pod.
//!
//! Wires the client of the cluster (`kafka::control`), what judges (`sli::cluster`), what writes (`pipeline::Observed`) and
//! the admin listener, all on one runtime: there is no traffic to keep waiting. Must not join a group, nor commit or write to
//! Kafka but for the canary, where the configuration asks for one.

mod canary;
mod cycle;
mod directory;
mod refusals;
mod scope;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle as Runtime,
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use self::{cycle::Cycle, directory::Own};
use super::{
    USAGE_ERROR,
    exporting::Exporting,
    logging::{self, Level},
    settings::{self, Signal},
    sidecar::{self, StartError},
    telemetry,
};
use crate::{
    admin::{Control, Readiness, Sources as Shown},
    cli::Streams,
    config::{CanaryConfig, Config, LogLevel, Sources, changes},
    event::DataplaneCounters,
    kafka::control::{Access, ClusterClient},
    lifecycle::{Signals, Told},
    metrics::{self, Metrics},
    pipeline::{self, Observed},
    sli::{
        Objectives,
        cluster::{self, Watched},
    },
};

/// Gates of `/readyz`.
const GATES: [&str; 3] = ["broker", "look", "rights"];
/// Time for one dial, one login and one answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the look under way to end when the observer stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// `throughline observe`.
pub(super) fn observer_role(
    config: &Config,
    sources: &Sources,
    streams: &mut Streams<'_>,
) -> io::Result<u8> {
    let log = logging::start(&config.log, streams.err_color, None).map_err(io::Error::other)?;
    let runtime = telemetry()?;
    let handle = runtime.handle().clone();
    let status = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let observer = match Observer::start(config, &handle, log.level()) {
            Ok(observer) => observer,
            Err(fault) => {
                writeln!(streams.err, "{fault}")?;
                return Ok(USAGE_ERROR);
            }
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            admin = %observer.admin,
            cycle_seconds = config.observe.cycle.as_secs_f64(),
            "throughline observes"
        );
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::Stop => break,
                    Told::Reload => reload(config, sources, &log.level()),
                },
                () = observer.asked_to_stop.notified() => break,
            }
        }
        tracing::info!("stopping");
        observer.stop().await;
        Ok(0)
    });
    runtime.shutdown_background();
    status
}

/// Reads the configuration again: the log level is taken over, all else waits for a restart.
fn reload(config: &Config, sources: &Sources, level: &Level) {
    match Config::load(sources) {
        Err(faults) => {
            for fault in &faults {
                tracing::error!(%fault, "configuration not reloaded");
            }
        }
        Ok(new) => {
            level.set(new.log.level);
            let found = changes(config, &new);
            let mut waits = found.needs_restart;
            waits.extend(
                found
                    .applied_live
                    .into_iter()
                    .filter(|key| key != "log.level"),
            );
            tracing::info!(needs_restart = ?waits, "configuration reloaded");
        }
    }
}

/// A running observer.
#[derive(Debug)]
struct Observer {
    admin: SocketAddr,
    asked_to_stop: Arc<Notify>,
    stop: watch::Sender<bool>,
    looking: JoinHandle<()>,
    exporting: Exporting,
}

impl Observer {
    fn start(config: &Config, runtime: &Runtime, level: Level) -> Result<Self, StartError> {
        let access = settings::access(config).map_err(StartError::Tls)?;
        if access.login.is_some() && access.tls.is_none() {
            tracing::warn!(
                "kafka.sasl is set and kafka.tls is not: whoever listens on the network sees the login"
            );
        }
        let objectives = Objectives::new(settings::objectives(config));
        let metrics = registry(config, &objectives)?;
        let (listeners, admin) = sidecar::admin_listeners(config)?;
        let readiness = Arc::new(Readiness::new(&GATES));
        let asked_to_stop = Arc::new(Notify::new());
        let (stop, stopped) = watch::channel(false);
        let pipeline = settings::pipeline(config);
        let now = Instant::now();
        let beside = pipeline::Shown {
            partitions: pipeline.partitions,
            exporter: config.metrics.kafka_exporter,
        };
        let observed = Observed::new(&metrics, pipeline.names, pipeline.ownership, beside, now);
        let shown = Arc::new(Shown {
            metrics: Arc::clone(&metrics),
            snapshots: observed.snapshots(),
            readiness: Arc::clone(&readiness),
            config: effective(config),
            control: Arc::new(Switches {
                level,
                stop: Arc::clone(&asked_to_stop),
            }),
            token: sidecar::token(config),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            counters: Arc::new(DataplaneCounters::default()),
        });
        for listener in listeners {
            let serving = sidecar::serve_admin(listener, Arc::clone(&shown), stopped.clone());
            runtime.spawn(serving);
        }
        let exporting =
            Exporting::metrics_alone(config, &metrics, runtime).map_err(StartError::Otlp)?;
        let watched = cluster::Settings {
            delivery_deadline: config.observe.delivery_deadline,
            abandoned_after: config.observe.abandoned_after,
        };
        if let Some(canary) = &config.observe.canary {
            let canary = canary_settings(config, canary, access.clone());
            let running = canary::Running::new(canary, &metrics, Arc::clone(&readiness));
            runtime.spawn(running.run(stopped.clone()));
        }
        let cycle = Cycle {
            client: ClusterClient::new(settings::bootstrap(config), access, TIMEOUT),
            watched: Watched::new(watched, objectives, now),
            observed,
            readiness,
            metrics,
            cluster_name: config.kafka.cluster_name.clone(),
            every: config.observe.cycle,
            quota_bytes: config.observe.quota_bytes,
            known: cycle::Known::default(),
            own: config.observe.canary.as_ref().map(|canary| Own {
                topic: canary.topic.clone(),
                group: canary.group.clone(),
            }),
        };
        let looking = runtime.spawn(cycle.run(stopped));
        Ok(Self {
            admin,
            asked_to_stop,
            stop,
            looking,
            exporting,
        })
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(STOP_TIMEOUT, self.looking).await;
        if ended.is_err() {
            tracing::warn!("the look under way did not end in time");
        }
        self.exporting.finish().await;
    }
}

fn canary_settings(config: &Config, canary: &CanaryConfig, access: Access) -> canary::Settings {
    canary::Settings {
        topic: canary.topic.clone(),
        group: canary.group.clone(),
        times: cluster::canary::Settings {
            interval: canary.interval,
            late: canary.late,
            lost: canary.lost,
        },
        bootstrap: settings::bootstrap(config),
        access,
    }
}

fn registry(config: &Config, objectives: &Objectives) -> Result<Arc<Metrics>, StartError> {
    let bounds = objectives.bounds().map_err(StartError::Objectives)?;
    let metrics = Metrics::new(&metrics::Settings {
        max_series: config.metrics.max_series.get(),
        latency_bounds: bounds.seconds(),
        push: settings::otlp(config, Signal::Metrics).is_some(),
    });
    let metrics = metrics.map_err(StartError::Catalogue)?;
    metrics
        .serve_process(&sidecar::build())
        .map_err(StartError::Catalogue)?;
    if let Some(name) = &config.kafka.cluster_name {
        metrics.set_cluster(name);
    }
    Ok(Arc::new(metrics))
}

fn effective(config: &Config) -> Box<dyn Fn() -> String + Send + Sync> {
    let json = config.effective_json();
    let text = serde_json::to_string_pretty(&json).unwrap_or_default();
    Box::new(move || text.clone())
}

/// What can be switched while running.
#[derive(Debug)]
struct Switches {
    level: Level,
    stop: Arc<Notify>,
}

impl Control for Switches {
    fn serves_clients(&self) -> bool {
        false
    }

    fn mode(&self) -> String {
        "observer".to_owned()
    }

    fn set_mode(&self, _: &str) -> Result<(), String> {
        Err("an observer changes no records and has no mode".to_owned())
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        let level = LogLevel::named(level);
        self.level
            .set(level.ok_or("allowed: off, error, warn, info, debug, trace")?);
        Ok(())
    }

    fn drain(&self) -> Result<(), String> {
        self.stop.notify_one();
        Ok(())
    }
}
