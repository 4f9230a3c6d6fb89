//! The audit trail, wired: entries from the worker to the file that keeps them.
//!
//! Must not read a configuration file.

use std::time::Duration;

use tokio::{runtime::Handle as Runtime, task::JoinHandle};

use super::{settings, sidecar::StartError};
use crate::{
    audit::Trail,
    config::Config,
    export::lines,
    metrics::Metrics,
    pipeline::{Auditing, Worker},
};

/// Time for the last lines to be written when the sidecar stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What writes; nothing where nobody asked for a trail.
#[derive(Debug)]
pub(super) struct Audit(Option<JoinHandle<()>>);

impl Audit {
    /// Starts it.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub(super) fn start(
        config: &Config,
        metrics: &Metrics,
        telemetry: &Runtime,
        worker: &mut Worker,
    ) -> Result<Self, StartError> {
        let Some(target) = settings::audit(config) else {
            return Ok(Self(None));
        };
        let (lines, writer) =
            lines::open(&target, lines::AUDIT, metrics).map_err(StartError::Audit)?;
        worker.audit(Auditing {
            trail: Trail::new(config.audit.interval),
            sink: Box::new(lines),
            too_many: metrics.dropped("audit", "too_many"),
        });
        // A disk may block: it has a thread of its own.
        Ok(Self(Some(telemetry.spawn_blocking(move || writer.run()))))
    }

    /// Lets what is left be written. To be called once the worker has ended.
    pub(super) async fn finish(self) {
        if let Some(writer) = self.0
            && tokio::time::timeout(FLUSH_TIMEOUT, writer).await.is_err()
        {
            tracing::warn!("the last audit lines were not written in time; they are lost");
        }
    }
}
