//! The log: text or JSON lines on stderr. stdout stays free for the start-up lines.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use super::log_queue::{Escapes, LogQueue, UnqueuedJson};
use super::log_text::TextFields;
use super::output;
use crate::config::{LogFormat, LogSettings};
use crate::flight::{Messages, MessagesLayer};

/// The log's level, which can change while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct LogLevel {
    handle: reload::Handle<Targets, Registry>,
    now: Arc<Mutex<Level>>,
    queue: LogQueue,
}

impl LogLevel {
    /// The level in force.
    pub(crate) fn get(&self) -> Level {
        *self.now.lock()
    }

    /// The queue of lines that are not written yet.
    pub(crate) fn queue(&self) -> &LogQueue {
        &self.queue
    }

    /// Sets the level.
    ///
    /// # Errors
    /// If no log is installed any more.
    pub(crate) fn set(&self, level: Level) -> Result<(), reload::Error> {
        let mut now = self.now.lock();
        self.handle.reload(targets(level))?;
        *now = level;
        Ok(())
    }
}

/// The target of lines up from `warn` that no level filters out.
pub(crate) const ALWAYS_LOGGED: &str = "tidegate::log_level";

/// The filter: our crates from `level` up, libraries from `warn` up at any level.
fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It reports a malformed request of a client as an error.
        .with_target("actix_http", LevelFilter::OFF)
        // What fails between it and a sink, the sink reports.
        .with_target("async_nats", LevelFilter::OFF)
        // It warns of a construct that a peer may repeat a thousand times in a request.
        .with_target("dicom_ul", level.min(LevelFilter::ERROR))
        // A change of the level is logged at any level.
        .with_target(ALWAYS_LOGGED, LevelFilter::WARN)
        // A prefix: it covers the member crates (`tidegate_actors`, …) too.
        .with_target("tidegate", level)
}

/// Tells why the node does not start, while there is no log: `tidegate: {cause}`, or a line as of the log if collectors read it.
pub(super) fn not_started(format: LogFormat, cause: &str) {
    if format == LogFormat::Text {
        return output::complain(cause);
    }
    let lines = tracing_subscriber::fmt::layer().with_writer(|| UnqueuedJson).json().flatten_event(true);
    let log = tracing_subscriber::registry().with(lines);
    tracing::subscriber::with_default(log, || tracing::error!(cause, "node not started"));
}

/// Installs the process's log, and sends panics to it. `messages` keeps the last lines.
///
/// # Errors
/// If the thread that writes it cannot be started.
pub(super) fn init(settings: &LogSettings, messages: Messages) -> io::Result<LogLevel> {
    let (targets, handle) = reload::Layer::new(targets(settings.level));
    let (is_terminal, format) = (io::stderr().is_terminal(), settings.format);
    let escapes = match format {
        LogFormat::Json => Escapes::Json,
        LogFormat::Text if is_terminal => Escapes::Terminal,
        LogFormat::Text => Escapes::Text,
    };
    let queue = LogQueue::start(io::stderr(), escapes)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let registry = tracing_subscriber::registry().with(targets).with(MessagesLayer(messages));
    // The only failure is a log that is installed already.
    let _ = match format {
        LogFormat::Text => registry.with(lines.with_ansi(is_terminal).fmt_fields(TextFields)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    tidegate_actors::record_panics();
    Ok(LogLevel { handle, now: Arc::new(Mutex::new(settings.level)), queue })
}
