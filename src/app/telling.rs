//! The event log, wired: entries from the worker to the file that keeps them and to a collector.
//!
//! Must not read a configuration file.

use std::time::Duration;

use tokio::{runtime::Handle as Runtime, task::JoinHandle};

use super::{
    settings::{self, Signal},
    showing::SharedRedaction,
    sidecar::StartError,
};
use crate::{
    config::Config,
    eventlog::{Log, Sink},
    export::{
        lines::{self, Lines},
        otlp,
    },
    kafka::proxy::Handle,
    metrics::Metrics,
    pipeline::{Telling, Worker},
};

/// Time for the last entries to be written and sent when the sidecar stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What writes and sends; nothing where nobody asked for a log.
#[derive(Debug)]
pub(super) struct EventLog {
    writer: Option<JoinHandle<()>>,
    exporter: Option<JoinHandle<()>>,
}

impl EventLog {
    /// Starts what is asked for.
    ///
    /// # Errors
    /// Where the file cannot be opened, or a setting or a variable of the environment is wrong.
    pub(super) fn start(
        config: &Config,
        metrics: &Metrics,
        telemetry: &Runtime,
        (proxy, redaction): (&Handle, &SharedRedaction),
        worker: &mut Worker,
    ) -> Result<Self, StartError> {
        let mut sinks: Vec<Box<dyn Sink + Send>> = Vec::new();
        let (mut writer, mut exporter) = (None, None);
        if let Some(target) = settings::event_log_file(config) {
            let mut lines = Lines::new(lines::EVENT_LOG, metrics);
            let end = lines.file(&target, metrics);
            let end = end.map_err(StartError::EventLog)?;
            sinks.push(Box::new(lines));
            // A disk may block: it has a thread of its own.
            writer = Some(telemetry.spawn_blocking(move || end.run()));
        }
        if let Some(to) = settings::otlp(config, Signal::Logs) {
            let _on = telemetry.enter();
            let (queue, end) = otlp::logs(&to, metrics).map_err(StartError::Otlp)?;
            sinks.push(Box::new(queue));
            exporter = Some(telemetry.spawn(end.run()));
        } else if config.otlp.logs {
            tracing::warn!(
                "otlp.logs is on and nobody named a collector: no logs are exported; set otlp.endpoint"
            );
        }
        if !sinks.is_empty() {
            worker.tell(Telling {
                log: Log::new(settings::event_log(config, redaction)),
                sinks,
                cluster: proxy.cluster_id(),
                left_out: metrics.dropped("event_log", "rate"),
            });
        }
        Ok(Self { writer, exporter })
    }

    /// Lets what is left be written and sent. To be called once the worker has ended.
    pub(super) async fn finish(self) {
        let ends = [("written", self.writer), ("exported", self.exporter)];
        for (how, end) in ends {
            if let Some(end) = end
                && tokio::time::timeout(FLUSH_TIMEOUT, end).await.is_err()
            {
                tracing::warn!(
                    "the last entries of the event log were not {how} in time; they are lost"
                );
            }
        }
    }
}
