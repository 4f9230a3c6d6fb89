//! The audit trail and the event log as JSON lines: in a file, on standard output or for whoever else keeps them.
//!
//! A bounded queue stands between who makes entries and who writes them; what does not fit, and what cannot be written, is
//! dropped and counted. Must not make whoever hands over an entry wait for a disk.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    audit, eventlog,
    metrics::{Dropped, Metrics},
};

/// Lines that may wait for a slow disk; a line is about 300 bytes.
pub const QUEUE_LINES: usize = 4_096;
/// Between two warnings about lines that cannot be written.
const NOTICE: Duration = Duration::from_secs(60);
/// Who may read a file that is made: names of users and topics are in it.
const MODE: u32 = 0o640;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is made where it is missing.
    File(PathBuf),
}

/// Whose lines they are.
#[derive(Debug, Clone, Copy)]
pub struct Whose {
    /// The label `signal` of what is lost of them.
    pub signal: &'static str,
    /// The key that names the file.
    pub key: &'static str,
}

/// Those of the audit trail.
pub const AUDIT: Whose = Whose {
    signal: "audit",
    key: "audit.file",
};
/// Those of the event log.
pub const EVENT_LOG: Whose = Whose {
    signal: "event_log",
    key: "event_log.file",
};

/// The end that takes entries.
#[derive(Debug)]
pub struct Lines {
    queues: Vec<mpsc::Sender<String>>,
    full: Dropped,
    whose: Whose,
}

impl audit::Sink for Lines {
    fn entry(&mut self, entry: audit::Entry) {
        self.line(&entry);
    }
}

impl eventlog::Sink for Lines {
    fn entry(&mut self, entry: &eventlog::Entry) {
        self.line(entry);
    }
}

impl Lines {
    /// Nobody keeps them yet.
    #[must_use]
    pub fn new(whose: Whose, metrics: &Metrics) -> Self {
        Self {
            queues: Vec::new(),
            full: metrics.dropped(whose.signal, "queue_full"),
            whose,
        }
    }

    /// One more that keeps them: each line from now on, as far as there is room.
    pub fn queue(&mut self) -> mpsc::Receiver<String> {
        self.bounded(QUEUE_LINES)
    }

    fn bounded(&mut self, lines: usize) -> mpsc::Receiver<String> {
        let (sender, queue) = mpsc::channel(lines);
        self.queues.push(sender);
        queue
    }

    /// What writes them to a target.
    ///
    /// # Errors
    /// Where the file cannot be opened for appending.
    pub fn file(&mut self, target: &Target, metrics: &Metrics) -> io::Result<Writer> {
        let to: Box<dyn Write + Send> = match target {
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => {
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(MODE).open(path)?;
                Box::new(file)
            }
        };
        Ok(Writer::new(self.queue(), to, self.whose, metrics))
    }

    fn line(&mut self, entry: &impl Serialize) {
        let line = serde_json::to_string(entry).unwrap_or_default();
        for queue in &self.queues {
            if queue.try_send(line.clone()).is_err() {
                self.full.add(1);
            }
        }
    }
}

/// The end that writes.
pub struct Writer {
    queue: mpsc::Receiver<String>,
    to: Box<dyn Write + Send>,
    failed: Dropped,
    warned: Option<Instant>,
    key: &'static str,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    fn new(
        queue: mpsc::Receiver<String>,
        to: Box<dyn Write + Send>,
        whose: Whose,
        metrics: &Metrics,
    ) -> Self {
        Self {
            queue,
            to,
            failed: metrics.dropped(whose.signal, "write"),
            warned: None,
            key: whose.key,
        }
    }

    /// Writes until the other end is gone. Blocks: to be run on a thread that nobody waits for.
    pub fn run(mut self) {
        while let Some(mut line) = self.queue.blocking_recv() {
            line.push('\n');
            // One write per line, so that lines of several writers to one file do not mix.
            let written = self.to.write_all(line.as_bytes());
            if let Err(fault) = written.and_then(|()| self.to.flush()) {
                self.failed.add(1);
                self.warn(&fault);
            }
        }
    }

    fn warn(&mut self, fault: &io::Error) {
        let now = Instant::now();
        let recent = |at: Instant| now.saturating_duration_since(at) < NOTICE;
        if !self.warned.is_some_and(recent) {
            self.warned = Some(now);
            tracing::warn!(%fault, key = self.key, "lines are not written and lost; check the file that this key names");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{
        audit::Trail,
        event::{Event, Facts},
        metrics::Settings,
    };

    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<Vec<u8>>>, bool);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn metrics() -> Metrics {
        let settings = Settings {
            max_series: 1_000,
            latency_bounds: vec![1.0],
            push: false,
        };
        Metrics::new(&settings).unwrap()
    }

    fn ends(to: Box<dyn Write + Send>, room: usize, metrics: &Metrics) -> (Lines, Writer) {
        let mut lines = Lines::new(AUDIT, metrics);
        let writer = Writer::new(lines.bounded(room), to, AUDIT, metrics);
        (lines, writer)
    }

    fn fill(lines: &mut Lines, count: usize) {
        for _ in 0..count {
            let mut trail = Trail::new(Duration::from_secs(1));
            trail.take(&Event::answered(5, Facts::Topics(Vec::new())), lines);
        }
    }

    #[test]
    fn each_entry_is_a_line_and_what_does_not_fit_is_counted() {
        let (metrics, disk) = (metrics(), Disk::default());
        let (mut lines, writer) = ends(Box::new(disk.clone()), 3, &metrics);
        fill(&mut lines, 5);
        drop(lines);
        writer.run();
        let text = String::from_utf8(disk.0.lock().unwrap().clone()).unwrap();
        let values: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(values.len(), 3);
        assert_eq!(values[0]["action"], "connected");
        assert_eq!(metrics.dropped("audit", "queue_full").count(), 2);
    }

    #[test]
    fn a_full_disk_costs_lines_and_is_counted() {
        let (metrics, disk) = (metrics(), Disk(Arc::default(), true));
        let (mut lines, writer) = ends(Box::new(disk), 3, &metrics);
        fill(&mut lines, 3);
        drop(lines);
        writer.run();
        assert_eq!(metrics.dropped("audit", "write").count(), 3);
    }
}
