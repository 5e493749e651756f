//! The signals that ask the process for something.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use actix_rt::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1, from the moment it is made; until then they keep their default action and end the process at once.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGHUP: to read the configuration again.
    Reload,
    /// SIGUSR1: to write a flight record.
    Record,
    /// To stop.
    Stop(StopSignal),
}

/// A request to stop that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StopSignal {
    pub(super) name: &'static str,
    /// What a shell reports for a process ended by this signal: 128 + its number.
    pub(super) exit_code: i32,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next one.
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

    /// Waits for the next one that asks to stop.
    pub(super) async fn next_stop(&mut self) -> StopSignal {
        loop {
            if let Asked::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}
