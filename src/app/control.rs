//! What can be switched while running: by the admin API, and by reading the configuration again on SIGHUP.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{logging::Level, settings, showing::SharedRedaction};
use crate::{
    admin::Control,
    config::{Changes, Config, LogLevel, Mode, changes},
    kafka::proxy::{Handle, settings::Modes},
};

/// The switches of one sidecar.
#[derive(Debug)]
pub(crate) struct Switches {
    config: Arc<Mutex<Config>>,
    modes: Arc<ArcSwap<Modes>>,
    redaction: SharedRedaction,
    proxy: Handle,
    level: Option<Level>,
    stop: Arc<Notify>,
}

impl Switches {
    pub(crate) fn new(
        config: &Config,
        (modes, redaction): (Arc<ArcSwap<Modes>>, SharedRedaction),
        proxy: Handle,
        level: Option<Level>,
        stop: Arc<Notify>,
    ) -> Self {
        Self {
            config: Arc::new(Mutex::new(config.clone())),
            modes,
            redaction,
            proxy,
            level,
            stop,
        }
    }

    /// The effective configuration as JSON, for `/config`.
    pub(crate) fn effective(&self) -> Box<dyn Fn() -> String + Send + Sync> {
        let config = Arc::clone(&self.config);
        Box::new(move || {
            let json = config
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .effective_json();
            serde_json::to_string_pretty(&json).unwrap_or_default()
        })
    }

    fn change(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut config);
        self.modes.store(Arc::new(settings::modes(&config.context)));
        self.redaction.store(Arc::new(settings::redaction(&config)));
        // What a topic refused may be allowed now.
        self.proxy.forget_refusals();
        if let Some(level) = &self.level {
            level.set(config.log.level);
        }
    }

    /// Takes over what may change while running and says what may not.
    pub(crate) fn reload(&self, new: &Config) -> Changes {
        let found = changes(
            &self.config.lock().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        self.change(|config| {
            config.context.mode = new.context.mode;
            config.context.topics.clone_from(&new.context.topics);
            config.redaction.clone_from(&new.redaction);
            config.log.level = new.log.level;
        });
        found
    }
}

impl Control for Switches {
    fn mode(&self) -> String {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .context
            .mode
            .as_str()
            .to_owned()
    }

    fn set_mode(&self, mode: &str) -> Result<(), String> {
        let known = Mode::ALL.into_iter().find(|known| known.as_str() == mode);
        let mode = known.ok_or("allowed: inject, observe, off")?;
        self.change(|config| config.context.mode = mode);
        tracing::info!(mode = mode.as_str(), "mode changed by the admin API");
        Ok(())
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        let level = match level {
            "off" => LogLevel::Off,
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            "trace" => LogLevel::Trace,
            _ => return Err("allowed: off, error, warn, info, debug, trace".to_owned()),
        };
        self.change(|config| config.log.level = level);
        Ok(())
    }

    fn drain(&self) -> Result<(), String> {
        self.stop.notify_one();
        Ok(())
    }
}
