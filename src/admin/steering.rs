//! The process settings that operators can see and change: the configuration in effect, and the log level.

use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tidegate_actors::gauges::audit::Operator;
use tracing::field::display;

use crate::cli::{ALWAYS_LOGGED, LogLevel, LogQueue};

/// Shared by the surface and by the reload of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Steering {
    config: Arc<RwLock<Value>>,
    log_level: LogLevel,
}

impl Steering {
    /// `config` holds no secrets: they are in files that it names.
    pub(crate) fn new(config: Value, log_level: LogLevel) -> Self {
        Self { config: Arc::new(RwLock::new(config)), log_level }
    }

    /// Replaces the shown configuration.
    pub(crate) fn set_config(&self, config: Value) {
        *self.config.write() = config;
    }

    pub(super) fn config(&self) -> Value {
        self.config.read().clone()
    }

    pub(super) fn log_level(&self) -> String {
        self.log_level.get().to_string().to_lowercase()
    }

    /// The lines of the log that are not written yet.
    pub(super) fn log_queue(&self) -> &LogQueue {
        self.log_level.queue()
    }

    /// # Errors
    /// If there is no such level.
    pub(super) fn set_log_level(&self, level: &str, by: &Operator) -> Result<(), String> {
        let known = ["error", "warn", "info", "debug", "trace"].contains(&level);
        let parsed = known.then(|| level.parse().ok()).flatten();
        let level = parsed.ok_or_else(|| "level must be error, warn, info, debug or trace".to_owned())?;
        let before = self.log_level.get();
        self.log_level.set(level).map_err(|error| error.to_string())?;
        let address = by.address.map(display);
        tracing::warn!(target: ALWAYS_LOGGED, from = %before, to = %level, operator = by.identity.as_str(), address, "log level changed by an operator");
        Ok(())
    }
}
