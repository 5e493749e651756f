//! Notes about deliveries and events on their way into the catalogue. Those who deliver wait until a note is durable, so their notes are few, and none is lost but
//! with the process: what was not noted is delivered again.

use std::sync::Arc;

use tidegate_catalogue::{DeliveryNote, EventNote, Told};
use tidegate_memory::{MemoryBudget, Stage};
use tokio::sync::{oneshot, watch};

use super::notes::Call;
use super::shared::Shared;

/// Notes of one call.
pub(crate) const MAX_NOTES: usize = 512;
/// What the texts of a note take, about.
const TEXT_BYTES: usize = 128;
/// What the texts of an event take, about.
const TOLD_BYTES: usize = 512;

/// Why notes were not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotNoted {
    /// The memory budget has no room for them now.
    #[error("the memory budget has no room for notes about deliveries")]
    NoMemory,
    /// The child of the catalogue has failed over them, or the node ends.
    #[error("the catalogue has lost them")]
    Lost,
    /// The node ends.
    #[error("the catalogue has ended")]
    Ended,
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
        self.enter(notes, Vec::new(), Vec::new()).await
    }

    /// The same for outcomes of events.
    ///
    /// # Errors
    /// See [`NotNoted`].
    pub(crate) async fn note_events(&self, notes: Vec<EventNote>) -> Result<(), NotNoted> {
        self.enter(Vec::new(), notes, Vec::new()).await
    }

    /// The same for what another part of the node tells.
    ///
    /// # Errors
    /// See [`NotNoted`].
    pub(crate) async fn tell(&self, told: Vec<Told>) -> Result<(), NotNoted> {
        self.enter(Vec::new(), Vec::new(), told).await
    }

    /// Tells something, and does not wait until it is durable.
    ///
    /// # Errors
    /// See [`NotNoted`].
    pub(crate) fn tell_at_once(&self, told: Told) -> Result<(), NotNoted> {
        self.push(Vec::new(), Vec::new(), vec![told]).map(drop)
    }

    async fn enter(
        &self,
        notes: Vec<DeliveryNote>,
        event_notes: Vec<EventNote>,
        told: Vec<Told>,
    ) -> Result<(), NotNoted> {
        // The place is free again when the answer is there.
        let _place = self.shared.notes.places.acquire().await.map_err(|_| NotNoted::Ended)?;
        let answered = self.push(notes, event_notes, told)?;
        answered.await.map_err(|_| NotNoted::Lost)
    }

    fn push(
        &self,
        notes: Vec<DeliveryNote>,
        event_notes: Vec<EventNote>,
        told: Vec<Told>,
    ) -> Result<oneshot::Receiver<()>, NotNoted> {
        let bytes = notes.len() * (size_of::<DeliveryNote>() + TEXT_BYTES)
            + event_notes.len() * (size_of::<EventNote>() + TEXT_BYTES)
            + told.len() * (size_of::<Told>() + TOLD_BYTES);
        let holder = self.budget.open_account("deliveries");
        let lease = holder.lease(Stage::Catalogue, bytes as u64).map_err(|_| NotNoted::NoMemory)?;
        let (answer, answered) = oneshot::channel();
        let call = Call { notes, event_notes, told, answer, lease };
        if self.shared.notes.push(call) { Ok(answered) } else { Err(NotNoted::Ended) }
    }

    /// Ticks after each transaction that has added or changed deliveries, or a destination.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.shared.deliveries_changed()
    }

    /// The same for events that are owed, and sinks.
    pub(crate) fn events_changed(&self) -> watch::Receiver<u64> {
        self.shared.events_changed()
    }

    /// Ticks after each part of an operator's order about deliveries.
    pub(crate) fn ordered(&self) -> watch::Receiver<u64> {
        self.shared.notes.deliveries_ordered.subscribe()
    }

    /// The same about events.
    pub(crate) fn events_ordered(&self) -> watch::Receiver<u64> {
        self.shared.notes.events_ordered.subscribe()
    }
}
