//! The audit trail, wired: entries from the worker to the file and the topic that keep them.
//!
//! Must not read a configuration file, nor write to the topic through the sidecar's own listener: a trail that is in the trail
//! never ends.

use std::time::Duration;

use tokio::{runtime::Handle as Runtime, sync::mpsc, task::JoinHandle, time::Instant};

use super::{settings, sidecar::StartError};
use crate::{
    audit::Trail,
    config::Config,
    event::Stamp,
    export::lines::{self, Lines},
    kafka::control::{ASK_AGAIN, Access, AppendError, LOGIN_PAUSE, OwnRecord, TopicAppender},
    metrics::{Dropped, Metrics},
    pipeline::{Auditing, Worker},
};

/// Time for the last entries to be written when the sidecar stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Most entries in one batch; an entry is about 300 bytes, and a topic takes a mebibyte where nobody says otherwise.
const BATCH_ENTRIES: usize = 500;
/// Most bytes of one batch.
const BATCH_BYTES: usize = 256 * 1024;
/// Between two warnings about entries that are not taken.
const NOTICE: Duration = Duration::from_secs(60);
/// Header that says whose entry it is: several sidecars may share a topic.
const HEADER: &str = "throughline-host";

/// What writes; nothing where nobody asked for a trail.
#[derive(Debug, Default)]
pub(super) struct Audit {
    file: Option<JoinHandle<()>>,
    topic: Option<JoinHandle<()>>,
}

impl Audit {
    /// Starts it.
    ///
    /// # Errors
    /// Where the file cannot be opened.
    pub(super) fn start(
        config: &Config,
        access: &Access,
        metrics: &Metrics,
        telemetry: &Runtime,
        worker: &mut Worker,
    ) -> Result<Self, StartError> {
        let (target, topic) = (settings::audit(config), &config.audit.topic);
        if target.is_none() && topic.is_none() {
            return Ok(Self::default());
        }
        let mut lines = Lines::new(lines::AUDIT, metrics);
        let mut audit = Self::default();
        if let Some(target) = target {
            let writer = lines.file(&target, metrics).map_err(StartError::Audit)?;
            // A disk may block: it has a thread of its own.
            audit.file = Some(telemetry.spawn_blocking(move || writer.run()));
        }
        if let Some(topic) = topic {
            let bootstrap = settings::bootstrap(config);
            let turn = usize::try_from(Stamp::now().wall_ms).unwrap_or(0);
            let sending = Sending {
                appender: TopicAppender::new(bootstrap, access.clone(), topic.clone(), turn),
                topic: topic.clone(),
                host: host(),
                entries_max: BATCH_ENTRIES,
                dropped: metrics.dropped("audit", "export"),
                failures: metrics.export_failures("audit"),
                rests_until: None,
                warned: None,
            };
            audit.topic = Some(telemetry.spawn(sending.run(lines.queue())));
        }
        worker.audit(Auditing {
            trail: Trail::new(config.audit.interval),
            sink: Box::new(lines),
            too_many: metrics.dropped("audit", "too_many"),
        });
        Ok(audit)
    }

    /// Lets what is left be written. To be called once the worker has ended.
    pub(super) async fn finish(self) {
        for writer in [self.file, self.topic].into_iter().flatten() {
            if tokio::time::timeout(FLUSH_TIMEOUT, writer).await.is_err() {
                tracing::warn!("the last audit entries were not written in time; they are lost");
            }
        }
    }
}

/// Sends entries to the topic, one record each.
#[derive(Debug)]
struct Sending {
    appender: TopicAppender,
    topic: String,
    host: String,
    entries_max: usize,
    dropped: Dropped,
    failures: Dropped,
    rests_until: Option<Instant>,
    warned: Option<Instant>,
}

impl Sending {
    /// Goes on until the other end is gone.
    async fn run(mut self, mut queue: mpsc::Receiver<String>) {
        let mut next = queue.recv().await;
        while let Some(first) = next.take() {
            let mut bytes = first.len();
            let mut batch = vec![self.record(first)];
            while batch.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
                let Ok(line) = queue.try_recv() else { break };
                bytes = bytes.saturating_add(line.len());
                batch.push(self.record(line));
            }
            self.send(&batch).await;
            next = queue.recv().await;
        }
    }

    fn record(&self, line: String) -> OwnRecord {
        OwnRecord {
            value: line.into_bytes(),
            header: Some((HEADER, self.host.clone())),
        }
    }

    async fn send(&mut self, mut left: &[OwnRecord]) {
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| now < until) {
            self.dropped.add(count(left));
            return;
        }
        while !left.is_empty() {
            let (batch, behind) = left.split_at(self.entries_max.min(left.len()));
            let sent = self.appender.append(batch, Stamp::now().wall_ms).await;
            match sent {
                Ok(()) => left = behind,
                // The topic allows less than we took for granted.
                Err(AppendError::TooLarge) if batch.len() > 1 => {
                    self.entries_max = batch.len().div_ceil(2);
                }
                Err(fault) => {
                    let rest = match &fault {
                        AppendError::NoRights => Some(ASK_AGAIN),
                        AppendError::Login(_) => Some(LOGIN_PAUSE),
                        _ => None,
                    };
                    self.failures.add(1);
                    self.warn(&fault);
                    if let Some(rest) = rest {
                        self.rests_until = Some(Instant::now() + rest);
                        self.dropped.add(count(left));
                        return;
                    }
                    self.dropped.add(count(batch));
                    left = behind;
                }
            }
        }
    }

    fn warn(&mut self, fault: &AppendError) {
        let now = Instant::now();
        let recent = |at: Instant| now.saturating_duration_since(at) < NOTICE;
        if !self.warned.is_some_and(recent) {
            self.warned = Some(now);
            tracing::warn!(topic = self.topic, %fault, "audit entries are not written to their topic and lost; check audit.topic");
        }
    }
}

fn count(records: &[OwnRecord]) -> u64 {
    u64::try_from(records.len()).unwrap_or(u64::MAX)
}

/// The host's name; in Kubernetes that of the pod.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}
