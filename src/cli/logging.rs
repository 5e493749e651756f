//! The log: text or JSON lines on stderr, so that stdout stays for the start-up lines.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

/// Installs the process's log. Ours are logged from `log.level` up; libraries from `warn` up, whatever the level.
pub(super) fn init(settings: &LogSettings) {
    let level = LevelFilter::from_level(settings.level);
    let targets = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It warns of what a peer may put into a request a thousand times over.
        .with_target("dicom_ul", level.min(LevelFilter::ERROR))
        // A prefix: it covers the member crates (`tidegate_actors`, …) too.
        .with_target("tidegate", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(targets);
    // The one way this fails is a log that is installed already.
    let _ = match settings.format {
        LogFormat::Text => registry.with(lines.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
}
