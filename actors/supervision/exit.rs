//! The ways in which a child can end, and the record of a panic.

use std::cell::RefCell;
use std::fmt;
use std::panic::PanicHookInfo;
use std::time::Duration;

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop.
    Stopped,
    /// It returned without being asked to stop.
    Finished,
    /// A panic unwound through it. Its thread is alive, and is given up with it.
    Panicked(Panic),
    /// It had work and made no progress. Its thread may be blocked for ever. The child is fenced: its later results have no effect.
    Hung {
        /// Time without progress.
        quiet_for: Duration,
    },
    /// Its thread ended.
    ThreadDied,
    /// It could not be started, for lack of a thread or of a resource.
    NotStarted {
        /// The error of the operating system.
        why: String,
    },
    /// A writer's storage fails: consecutive errors, and the test of the storage failed too.
    StorageFailing {
        /// Number of consecutive errors.
        failures: u32,
        /// The last error.
        last: String,
    },
    /// It held more bytes than a child of its kind can need.
    OverLimit {
        /// Bytes held.
        held_bytes: u64,
        /// Bytes allowed.
        limit_bytes: u64,
    },
}

impl Exit {
    /// Whether this end needs no action.
    pub fn is_normal(&self) -> bool {
        match self {
            Self::Stopped | Self::Finished => true,
            Self::Panicked(_)
            | Self::Hung { .. }
            | Self::ThreadDied
            | Self::NotStarted { .. }
            | Self::StorageFailing { .. }
            | Self::OverLimit { .. } => false,
        }
    }

    /// Whether its thread may still be running.
    pub(crate) fn leaves_a_thread(&self) -> bool {
        match self {
            Self::Hung { .. } => true,
            Self::Stopped
            | Self::Finished
            | Self::Panicked(_)
            | Self::ThreadDied
            | Self::NotStarted { .. }
            | Self::StorageFailing { .. }
            | Self::OverLimit { .. } => false,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped"),
            Self::Finished => write!(f, "finished unexpectedly"),
            Self::Panicked(panic) => write!(f, "panicked: {panic}"),
            Self::Hung { quiet_for } => write!(f, "hung: no progress for {} ms", quiet_for.as_millis()),
            Self::ThreadDied => write!(f, "its thread died"),
            Self::NotStarted { why } => write!(f, "could not be started: {why}"),
            Self::StorageFailing { failures, last } => {
                write!(f, "storage failing: {failures} errors in a row, the last: {last}")
            }
            Self::OverLimit { held_bytes, limit_bytes } => {
                write!(f, "held {held_bytes} bytes of {limit_bytes} allowed")
            }
        }
    }
}

/// The record of a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// File, line and column; empty if unknown.
    pub location: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {}",
            self.message,
            if self.location.is_empty() { "an unknown location" } else { &self.location }
        )
    }
}

thread_local! {
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Installs a panic hook that logs each panic and records it for the supervisor of the thread. It replaces the previous hook; the process
/// calls it once.
pub fn record_panics() {
    std::panic::set_hook(Box::new(|info| {
        let panic = Panic::of(info);
        let thread = std::thread::current();
        tracing::error!(message_text = panic.message, location = panic.location, thread = thread.name(), "panic");
        LAST.with(|last| last.try_borrow_mut().map(|mut last| *last = Some(panic)).ok());
    }));
}

impl Panic {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let text = info.payload().downcast_ref::<&str>().copied();
        let message = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
        Self {
            message: message.unwrap_or("no message").to_owned(),
            location: info.location().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The recorded panic that unwinds through this thread.
    pub(crate) fn of_this_thread() -> Self {
        let recorded = LAST.with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()));
        recorded.unwrap_or_else(|| Self { message: "not recorded".to_owned(), location: String::new() })
    }
}
