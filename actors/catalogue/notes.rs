//! Notes about deliveries and events that wait to be entered, and the news of both.

use std::time::Instant;

use parking_lot::Mutex;
use tidegate_catalogue::{DeliveryNote, EventNote, Told};
use tidegate_memory::MemoryLease;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

/// Calls that may wait for the catalogue. Others wait before they lease anything.
const MAX_CALLS: usize = 64;

/// Notes of one call.
pub(super) struct Call {
    pub(super) notes: Vec<DeliveryNote>,
    pub(super) event_notes: Vec<EventNote>,
    pub(super) told: Vec<Told>,
    pub(super) answer: oneshot::Sender<()>,
    pub(super) lease: MemoryLease,
}

impl Call {
    /// They are durable.
    pub(super) fn done(self) {
        let Self { answer, lease, .. } = self;
        drop(lease);
        let _ = answer.send(()); // nobody may wait any more
    }
}

/// The notes that wait, and the news.
pub(super) struct Notes {
    waiting: Mutex<Waiting>,
    pub(super) places: Semaphore,
    pub(super) arrived: Notify,
    pub(super) changed: watch::Sender<u64>,
    pub(super) events_changed: watch::Sender<u64>,
    pub(super) deliveries_ordered: watch::Sender<u64>,
    pub(super) events_ordered: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    calls: Vec<Call>,
    since: Option<Instant>,
    is_closed: bool,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            places: Semaphore::new(MAX_CALLS),
            arrived: Notify::new(),
            changed: watch::Sender::new(0),
            events_changed: watch::Sender::new(0),
            deliveries_ordered: watch::Sender::new(0),
            events_ordered: watch::Sender::new(0),
        }
    }

    /// Since when notes wait.
    pub(super) fn since(&self) -> Option<Instant> {
        self.waiting.lock().since
    }

    /// Adds a call. False: the node ends.
    pub(super) fn push(&self, call: Call) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed {
            return false;
        }
        waiting.since.get_or_insert_with(Instant::now);
        waiting.calls.push(call);
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Takes all that wait.
    pub(super) fn take(&self) -> Vec<Call> {
        let mut waiting = self.waiting.lock();
        waiting.since = None;
        std::mem::take(&mut waiting.calls)
    }

    /// A transaction has changed deliveries.
    pub(super) fn tick(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// A transaction has changed events that are owed.
    pub(super) fn tick_events(&self) {
        self.events_changed.send_modify(|count| *count += 1);
    }

    /// An operator's order has changed deliveries: what was read of them before does not count any more.
    pub(super) fn tick_delivery_orders(&self) {
        self.deliveries_ordered.send_modify(|count| *count += 1);
    }

    /// The same for events that are owed.
    pub(super) fn tick_event_orders(&self) {
        self.events_ordered.send_modify(|count| *count += 1);
    }

    /// Drops what waits, at the end of the node.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.places.close();
        drop(self.take());
    }
}
