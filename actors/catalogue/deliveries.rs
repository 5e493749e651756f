//! Notes about deliveries on their way into the catalogue. Those who deliver wait until a note is durable, so their notes are few, and none is lost but
//! with the process: what was not noted is delivered again.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tidegate_catalogue::DeliveryNote;
use tidegate_memory::{MemoryBudget, MemoryLease, Stage};
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::shared::Shared;

/// Calls that may wait for the catalogue. Others wait before they lease anything.
const MAX_CALLS: usize = 64;
/// Notes of one call.
pub(crate) const MAX_NOTES: usize = 512;
/// What the texts of a note take, about.
const TEXT_BYTES: usize = 128;

/// Why notes were not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNoted {
    /// The memory budget has no room for them now.
    #[error("the memory budget has no room for notes about deliveries")]
    NoMemory,
    /// The node ends.
    #[error("the catalogue has ended")]
    Ended,
}

/// Notes of one call.
pub(super) struct Call {
    pub(super) notes: Vec<DeliveryNote>,
    answer: oneshot::Sender<()>,
    _lease: MemoryLease,
}

impl Call {
    /// They are durable.
    pub(super) fn done(self) {
        let _ = self.answer.send(()); // nobody may wait any more
    }
}

/// The notes that wait, and the news of deliveries.
pub(super) struct Notes {
    waiting: Mutex<Waiting>,
    places: Semaphore,
    pub(super) arrived: Notify,
    changed: watch::Sender<u64>,
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
        }
    }

    /// Since when notes wait.
    pub(super) fn since(&self) -> Option<Instant> {
        self.waiting.lock().since
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

    /// Drops what waits, at the end of the node.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.places.close();
        drop(self.take());
    }
}

/// For those who deliver.
#[derive(Clone)]
pub(crate) struct Deliveries {
    shared: Arc<Shared>,
    budget: MemoryBudget,
}

impl Deliveries {
    pub(crate) fn new(shared: Arc<Shared>, budget: MemoryBudget) -> Self {
        Self { shared, budget }
    }

    /// Notes outcomes, at most [`MAX_NOTES`] in a call. They are durable when it returns. Notes of another catalogue, or about deliveries that have
    /// changed since, mean nothing.
    ///
    /// # Errors
    /// See [`NotNoted`]: the notes may be given again.
    pub(crate) async fn note(&self, notes: Vec<DeliveryNote>) -> Result<(), NotNoted> {
        let of_deliveries = &self.shared.notes;
        // The place is free again when the answer is there.
        let _place = of_deliveries.places.acquire().await.map_err(|_| NotNoted::Ended)?;
        let bytes = notes.len() * (size_of::<DeliveryNote>() + TEXT_BYTES);
        let holder = self.budget.open_account("deliveries");
        let lease = holder.lease(Stage::Catalogue, bytes as u64).map_err(|_| NotNoted::NoMemory)?;
        let (answer, answered) = oneshot::channel();
        let call = Call { notes, answer, _lease: lease };
        {
            let mut waiting = of_deliveries.waiting.lock();
            if waiting.is_closed {
                return Err(NotNoted::Ended);
            }
            waiting.since.get_or_insert_with(Instant::now);
            waiting.calls.push(call);
        }
        of_deliveries.arrived.notify_one();
        answered.await.map_err(|_| NotNoted::Ended)
    }

    /// Ticks after each transaction that has added or changed deliveries, or a destination.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.shared.notes.changed.subscribe()
    }
}
