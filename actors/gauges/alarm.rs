//! Alarms: events that call for a flight record, because their evidence would be gone later. Any thread raises one without waiting, and one
//! thread writes the records.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Alarms that may wait. With as many waiting, a further one is dropped.
const CAPACITY: usize = 16;

/// The reason for a flight record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Memory pressure has reached the level at which associations are aborted.
    Pressure,
    /// A child has work and makes no progress.
    Hang {
        /// Its name: `writer-3`.
        child: String,
    },
    /// The node stops, because it cannot continue.
    GaveUp {
        /// The reason.
        failure: String,
    },
    /// An operator requested it.
    Asked,
}

impl Alarm {
    /// The kind, as one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pressure => "pressure",
            Self::Hang { .. } => "hang",
            Self::GaveUp { .. } => "gave_up",
            Self::Asked => "asked",
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pressure => write!(f, "memory pressure has reached abort"),
            Self::Hang { child } => write!(f, "{child} has work and makes no step"),
            Self::GaveUp { failure } => write!(f, "the node cannot go on: {failure}"),
            Self::Asked => write!(f, "an operator asked for it"),
        }
    }
}

/// The queue of alarms to the thread that writes records.
#[derive(Debug)]
pub(crate) struct Alarms {
    sender: Sender<Alarm>,
    receiver: Receiver<Alarm>,
    raised: AtomicU64,
    handled: AtomicU64,
}

impl Default for Alarms {
    fn default() -> Self {
        let (sender, receiver) = bounded(CAPACITY);
        Self { sender, receiver, raised: AtomicU64::new(0), handled: AtomicU64::new(0) }
    }
}

impl Alarms {
    /// Raises an alarm. With as many waiting as may, it is dropped.
    pub(crate) fn raise(&self, alarm: Alarm) {
        if self.sender.try_send(alarm).is_ok() {
            self.raised.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for the next alarm, for `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Option<Alarm> {
        self.receiver.recv_timeout(patience).ok()
    }

    /// Marks the alarm that [`Self::next`] returned as handled.
    pub(crate) fn handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether all alarms are handled.
    pub(crate) fn are_handled(&self) -> bool {
        self.handled.load(Ordering::Relaxed) >= self.raised.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_nobody_hears_keep_nobody_waiting_and_are_bounded() {
        let alarms = Alarms::default();
        for _ in 0..CAPACITY + 3 {
            alarms.raise(Alarm::Asked);
        }
        assert!(!alarms.are_handled());
        let mut heard = 0;
        while alarms.next(Duration::ZERO).is_some() {
            heard += 1;
            alarms.handled();
        }
        assert_eq!(heard, CAPACITY);
        assert!(alarms.are_handled());
    }
}
