//! The signals that the process handles.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use actix_rt::signal::unix::{Signal, SignalKind, signal};
use nix::sys::signal::{SigSet, Signal as Blocked};
use rustix::process::Signal as Number;

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1, from its construction on. Those that arrive while nobody waits are kept.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// The request that a signal stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: write a flight record.
    Record,
    /// SIGTERM or SIGINT: stop.
    Stop(StopSignal),
}

/// A request to stop that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StopSignal {
    pub(super) name: &'static str,
    /// The exit code that a shell reports for a process ended by this signal: 128 + its number.
    pub(super) exit_code: i32,
}

/// Lets the signals that end or steer a process reach this one. A launcher may have blocked them, and the mask of a thread is inherited by a
/// program that it executes and by each thread that it starts (sigprocmask(2)), so this comes before any other thread.
pub(super) fn unblock() -> io::Result<()> {
    let handled = [Blocked::SIGTERM, Blocked::SIGINT, Blocked::SIGHUP, Blocked::SIGUSR1];
    Ok(SigSet::from_iter(handled).thread_unblock()?)
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        // A write beyond RLIMIT_FSIZE ends a process that does not handle this; it fails with EFBIG in one that does. Tokio keeps the handler.
        drop(signal(SignalKind::from_raw(Number::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next request.
    pub(super) async fn next(&mut self) -> Asked {
        poll_fn(|cx| {
            if self.terminate.poll_recv(cx).is_ready() {
                Poll::Ready(Asked::Stop(StopSignal { name: "SIGTERM", exit_code: 143 }))
            } else if self.interrupt.poll_recv(cx).is_ready() {
                Poll::Ready(Asked::Stop(StopSignal { name: "SIGINT", exit_code: 130 }))
            } else if self.hang_up.poll_recv(cx).is_ready() {
                Poll::Ready(Asked::Reload)
            } else if self.user.poll_recv(cx).is_ready() {
                Poll::Ready(Asked::Record)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Waits for the next request to stop.
    pub(super) async fn next_stop(&mut self) -> StopSignal {
        loop {
            if let Asked::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
