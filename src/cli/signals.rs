//! The signals that ask the process to stop.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use actix_rt::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, from the moment it is made; until then they keep their default action and end the process at once.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

/// A request to stop that arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopSignal {
    pub(super) name: &'static str,
    /// What a shell reports for a process ended by this signal: 128 + its number.
    pub(super) exit_code: i32,
}

impl StopSignals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> StopSignal {
        poll_fn(|cx| {
            if self.terminate.poll_recv(cx).is_ready() {
                Poll::Ready(StopSignal { name: "SIGTERM", exit_code: 143 })
            } else if self.interrupt.poll_recv(cx).is_ready() {
                Poll::Ready(StopSignal { name: "SIGINT", exit_code: 130 })
            } else {
                Poll::Pending
            }
        })
        .await
    }
}
