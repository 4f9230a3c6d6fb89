//! Metrics over OTLP: everything there is, every so often and once at the end.
//!
//! Cumulative, so a push that fails costs points in time and no counts: the next one carries them. Nothing waits for it. Must not
//! gather what nobody is sent.

use std::{future::Future, pin::pin, sync::Arc, time::Duration, time::SystemTime};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::InstrumentationScope,
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    NOTICE, OtlpError, Settings,
    data::{self, POINTS_MAX, Starts},
    environment, resource,
    transport::{self, Fault, Transport},
};
use crate::{
    metrics::{Dropped, Id, Metrics},
    span::semconv,
};

/// Who a series is of; two programs of one name would else write the same series.
const INSTANCE: &str = "service.instance.id";

/// Pushes what there is.
#[derive(Debug)]
pub struct Pusher {
    metrics: Arc<Metrics>,
    interval: Duration,
    starts: Starts,
    sender: Sender,
}

#[derive(Debug)]
struct Sender {
    transport: Transport,
    resource: Resource,
    lost: Dropped,
    failures: Dropped,
    warned: Option<Instant>,
}

/// Makes the pusher; `metrics` must have been made to be pushed. Must be called on the runtime that will run it.
///
/// # Errors
/// A setting, or a variable of the environment, is wrong.
pub fn metrics(settings: &Settings, metrics: Arc<Metrics>) -> Result<Pusher, OtlpError> {
    let variable = environment::variable;
    let url = environment::url(environment::METRICS, settings, &variable);
    let headers = environment::headers(environment::METRICS, settings, &variable)?;
    let mut resource = Resource::from(&resource(settings));
    if resource
        .attributes
        .iter()
        .all(|known| known.key != INSTANCE)
        && let Some(id) = instance()
    {
        resource.attributes.push(data::attribute(INSTANCE, &id));
    }
    let sender = Sender {
        transport: Transport::new(settings.protocol, &url, headers)?,
        resource,
        lost: metrics.dropped("metrics", "export"),
        failures: metrics.export_failures("metrics"),
        warned: None,
    };
    Ok(Pusher {
        interval: environment::interval(&variable),
        starts: Starts::new(beginning(&metrics)),
        metrics,
        sender,
    })
}

/// When this process began, as the page says it.
fn beginning(metrics: &Metrics) -> u64 {
    let gathered = metrics.gather_pushed();
    let mut families = gathered.families.iter();
    let process = families.find(|(id, _)| *id == Id::ProcessStart);
    let seconds = process.and_then(|(_, family)| family.get_metric().first());
    let said =
        seconds.and_then(|start| Duration::try_from_secs_f64(start.get_gauge().get_value()).ok());
    // The kernel's clock of processes is coarser than the one of the points.
    said.map_or_else(now, |start| nanos(start).min(now()))
}

/// A random UUID, version 4 (RFC 9562).
fn instance() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let bits = u128::from_be_bytes(bytes);
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
    Some(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    ))
}

fn now() -> u64 {
    nanos(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Pusher {
    /// Pushes until `stop`, and once more then. A push that is under way is left: the last one carries all of it.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        let mut tick = tokio::time::interval_at(Instant::now() + self.interval, self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let one = async {
                tick.tick().await;
                self.push().await;
            };
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = one => {}
            }
        }
        self.push().await;
    }

    async fn push(&mut self) {
        let (pushed, cluster, now) = (self.metrics.gather_pushed(), self.metrics.cluster(), now());
        let mut batch = Batch::default();
        // Once it is away nothing more is sent, but every series is looked at: `Starts` must see them all.
        let mut away = false;
        for metric in data::metrics(&pushed, &cluster, &mut self.starts, now) {
            let points = data::points(&metric);
            if batch.points.saturating_add(points) > POINTS_MAX {
                away = self.sender.send(std::mem::take(&mut batch), away).await;
            }
            batch.points = batch.points.saturating_add(points);
            batch.metrics.push(metric);
        }
        self.sender.send(batch, away).await;
        self.starts.collected(now);
    }
}

/// What goes in one request.
#[derive(Default)]
struct Batch {
    metrics: Vec<Metric>,
    points: usize,
}

impl Sender {
    /// Sends one request, unless the collector is known to be away. Whether it is.
    async fn send(&mut self, batch: Batch, away: bool) -> bool {
        let points = u64::try_from(batch.points).unwrap_or(u64::MAX);
        if points == 0 {
            return away;
        }
        if away {
            self.lost.add(points);
            return true;
        }
        let scope = ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: "throughline".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics: batch.metrics,
            schema_url: semconv::SCHEMA_URL.to_owned(),
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(self.resource.clone()),
                scope_metrics: vec![scope],
                ..ResourceMetrics::default()
            }],
        };
        match self.transport.send::<transport::Metrics>(request).await {
            Ok(answer) => {
                let rejected = answer.partial_success.map_or(0, |p| p.rejected_data_points);
                if let Ok(rejected @ 1..) = u64::try_from(rejected) {
                    self.missed(rejected, &"rejected by the collector");
                }
                false
            }
            Err(fault) => {
                self.failures.add(1);
                self.missed(points, &fault);
                matches!(fault, Fault::Away(_))
            }
        }
    }

    fn missed(&mut self, points: u64, fault: &dyn std::fmt::Display) {
        self.lost.add(points);
        if self.warned.is_none_or(|at| at.elapsed() >= NOTICE) {
            self.warned = Some(Instant::now());
            tracing::warn!(%fault, points, "the collector did not take metrics, the next push carries their totals; check otlp.endpoint (said once a minute)");
        }
    }
}

#[cfg(test)]
mod tests;
