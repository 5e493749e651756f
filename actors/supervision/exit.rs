//! The ways a child can end, and what is known of a panic.

use std::cell::RefCell;
use std::fmt;
use std::panic::PanicHookInfo;
use std::time::Duration;

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to.
    Stopped,
    /// It returned although nobody had asked it to.
    Finished,
    /// A panic unwound through it. Its thread lives, and is given up with it.
    Panicked(Panic),
    /// It had work, and for this long it has not come a step further. Its thread may be blocked for ever: it is fenced, so
    /// that what it still does has no effect.
    Hung {
        /// Time without a sign of life.
        quiet_for: Duration,
    },
    /// Its thread ended under it.
    ThreadDied,
    /// It could not be started, for want of a thread or of what it needs.
    NotStarted {
        /// What the operating system says.
        why: String,
    },
    /// Of what it asked the storage to do, nothing was done: errors only, one after the other, and one more from a trial of the storage.
    StorageFailing {
        /// How many.
        failures: u32,
        /// The last of them.
        last: String,
    },
    /// It held more bytes than a child of its kind can have use for.
    OverLimit {
        /// Bytes held.
        held_bytes: u64,
        /// Bytes allowed.
        limit_bytes: u64,
    },
}

impl Exit {
    /// Whether this is how a child should end.
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

    /// Whether the thread it ran on may still be at it.
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

/// What a panic said, and where.
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

/// From now on every panic of this process is logged as a line of its own, and remembered for who looks after the thread.
/// In place of what panics did before: the process calls it once.
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

    /// The panic that unwinds through this thread, as far as it was recorded.
    pub(crate) fn of_this_thread() -> Self {
        let recorded = LAST.with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()));
        recorded.unwrap_or_else(|| Self { message: "not recorded".to_owned(), location: String::new() })
    }
}
