//! What leaves a sidecar over OTLP, wired: spans from the worker to their exporter, metrics from the registry to theirs.
//!
//! Must not read a configuration file.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle as Runtime, sync::oneshot, task::JoinHandle};

use super::{
    diagnostics::Diagnostics,
    settings::{self, Signal},
};
use crate::{
    config::Config,
    export::otlp::{self, OtlpError, Queue},
    kafka::proxy::Handle,
    metrics::Metrics,
    pipeline::{Tracing, Worker},
    span::Spans,
};

/// Time for what is queued, and for the last metrics, to leave when the sidecar stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The tasks that send.
#[derive(Debug)]
pub(super) struct Exporting {
    spans: Option<JoinHandle<()>>,
    metrics: Option<Push>,
    diagnostics: Option<Diagnostics>,
}

/// What pushes metrics.
#[derive(Debug)]
struct Push {
    task: JoinHandle<()>,
    /// Asks it for the last push.
    last: oneshot::Sender<()>,
}

impl Exporting {
    /// Starts what is asked for and has a collector.
    ///
    /// # Errors
    /// A setting, or a variable of the environment, is wrong.
    pub(super) fn start(
        config: &Config,
        metrics: &Arc<Metrics>,
        telemetry: &Runtime,
        proxy: &Handle,
        worker: &mut Worker,
        diagnostics: Option<Diagnostics>,
    ) -> Result<Self, OtlpError> {
        let _on = telemetry.enter();
        let spans = spans(config, metrics, telemetry, proxy, worker)?;
        match (&diagnostics, &spans) {
            (Some(diagnostics), Some((queue, _))) => diagnostics.open(queue.clone()),
            (Some(_), None) => tracing::warn!(
                "otlp.diagnostics is on and no traces are exported; set otlp.endpoint and leave otlp.traces on"
            ),
            (None, _) => {}
        }
        Ok(Self {
            spans: spans.map(|(_, task)| task),
            metrics: push(config, metrics, telemetry)?,
            diagnostics,
        })
    }

    /// Starts what pushes metrics, where it is asked for; there are no spans.
    ///
    /// # Errors
    /// A setting, or a variable of the environment, is wrong.
    pub(super) fn metrics_alone(
        config: &Config,
        metrics: &Arc<Metrics>,
        telemetry: &Runtime,
    ) -> Result<Self, OtlpError> {
        let _on = telemetry.enter();
        Ok(Self {
            spans: None,
            metrics: push(config, metrics, telemetry)?,
            diagnostics: None,
        })
    }

    /// Lets what is left leave. To be called once nothing is counted any more.
    pub(super) async fn finish(self) {
        if let Some(diagnostics) = self.diagnostics {
            diagnostics.close();
        }
        if let Some(spans) = self.spans
            && tokio::time::timeout(FLUSH_TIMEOUT, spans).await.is_err()
        {
            tracing::warn!("the collector did not take the last spans in time; they are lost");
        }
        if let Some(push) = self.metrics {
            // A task that ended before is found by the wait.
            push.last.send(()).ok();
            let pushed = tokio::time::timeout(FLUSH_TIMEOUT, push.task).await;
            if pushed.is_err() {
                tracing::warn!("the collector did not take the last metrics in time");
            }
        }
    }
}

/// Makes the worker make spans, and what sends them; `None` where nobody named a collector, or the system has no randomness
/// for ids.
fn spans(
    config: &Config,
    metrics: &Metrics,
    telemetry: &Runtime,
    proxy: &Handle,
    worker: &mut Worker,
) -> Result<Option<(Queue, JoinHandle<()>)>, OtlpError> {
    let Some(to) = settings::otlp(config, Signal::Traces) else {
        return Ok(None);
    };
    let (queue, exporter) = otlp::traces(&to, metrics)?;
    let Some(spans) = Spans::new(settings::keep(config)) else {
        tracing::error!("the operating system gives no randomness: no traces are exported");
        return Ok(None);
    };
    worker.trace(Tracing {
        spans,
        sink: Box::new(queue.clone()),
        cluster: proxy.cluster_id(),
        given_up: metrics.dropped("traces", "never_settled"),
    });
    Ok(Some((queue, telemetry.spawn(exporter.run()))))
}

/// Makes what pushes metrics; `None` where nobody asked for it or named a collector.
fn push(
    config: &Config,
    metrics: &Arc<Metrics>,
    telemetry: &Runtime,
) -> Result<Option<Push>, OtlpError> {
    let Some(to) = settings::otlp(config, Signal::Metrics) else {
        if config.otlp.metrics {
            tracing::warn!(
                "otlp.metrics is on and nobody named a collector: no metrics are pushed; set otlp.endpoint"
            );
        }
        return Ok(None);
    };
    let pusher = otlp::metrics(&to, Arc::clone(metrics))?;
    let (last, asked) = oneshot::channel::<()>();
    // Nobody left who could ask is as good as asked.
    let asked = async { asked.await.unwrap_or_default() };
    Ok(Some(Push {
        task: telemetry.spawn(pusher.run(asked)),
        last,
    }))
}
