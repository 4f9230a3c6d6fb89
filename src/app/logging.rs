//! Our own log: text or JSON lines on stderr, through a bounded queue that drops rather than waits.
//!
//! Must never log a record, nor anything per record.

use std::io::IsTerminal;

use tracing::{level_filters::LevelFilter, subscriber::SetGlobalDefaultError};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{Layer, Registry, layer::SubscriberExt, reload};

use super::diagnostics::Diagnostics;

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Lines that may wait for a slow stderr.
const LINES_MAX: usize = 1_024;

/// Keeps the log alive; lines still queued are written when it is dropped.
#[derive(Debug)]
pub(crate) struct Log {
    _guard: WorkerGuard,
    level: Level,
}

/// Changes the level while the process runs, and knows what stderr was too slow for.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    handle: reload::Handle<LevelFilter, Registry>,
    lost: ErrorCounter,
}

impl Level {
    /// False where the log is gone.
    pub(crate) fn set(&self, level: LogLevel) -> bool {
        self.handle.reload(filter(level)).is_ok()
    }

    /// Lines that were dropped since the start.
    pub(crate) fn lost(&self) -> u64 {
        u64::try_from(self.lost.dropped_lines()).unwrap_or(u64::MAX)
    }
}

impl Log {
    pub(crate) fn level(&self) -> Level {
        self.level.clone()
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts the log of the process.
///
/// # Errors
/// When called twice.
pub(crate) fn start(
    config: &LogConfig,
    color: bool,
    diagnostics: Option<&Diagnostics>,
) -> Result<Log, SetGlobalDefaultError> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .finish(std::io::stderr());
    let lost = writer.error_counter();
    let (level, handle) = reload::Layer::new(filter(config.level));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match config.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => {
            let color = color && std::io::stderr().is_terminal();
            layer.with_ansi(color).with_target(false).boxed()
        }
    };
    // The level is the log's alone: what only a collector gets is not written.
    let registry = tracing_subscriber::registry().with(layer.with_filter(level));
    match diagnostics {
        Some(diagnostics) => {
            tracing::subscriber::set_global_default(registry.with(diagnostics.layer()))?;
        }
        None => tracing::subscriber::set_global_default(registry)?,
    }
    Ok(Log {
        _guard: guard,
        level: Level { handle, lost },
    })
}
