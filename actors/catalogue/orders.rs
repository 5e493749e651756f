//! What operators order about deliveries and events. The child does it in steps between its batches, since it is the only writer of the file.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_catalogue::{Catalogue, Change, ChangeProgress, Choice, Error, EventChange};
use tokio::sync::{Notify, oneshot};

use super::notes::Notes;
use crate::committed::clock_ms;
use crate::patience::within;

/// Orders that may wait.
const MAX_WAITING: usize = 16;
/// An operator waits so long for the end of an order. The node carries it out whether somebody waits or not.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is to be done to the deliveries to a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// A change of those of a choice.
    Change(Change, Choice),
    /// Nothing new is sent until it is resumed, also after a start.
    Pause,
    /// The end of a pause.
    Resume,
    /// A change of the events that are owed to a sink.
    Events {
        /// What is done to them.
        change: EventChange,
        /// Only to dead ones.
        is_dead: bool,
        /// Only to this one.
        event: Option<i64>,
    },
}

/// How far an order has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Deliveries changed so far.
    pub changed: u64,
    /// False: the node continues.
    pub is_done: bool,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOrdered {
    /// Too many wait.
    #[error("{MAX_WAITING} orders are waiting: try again")]
    Busy,
    /// The node ends.
    #[error("the node is stopping")]
    Ended,
}

/// An order that is not done.
pub(super) struct Order {
    destination: String,
    order: DeliveryOrder,
    progress: ChangeProgress,
    /// The last event that was changed.
    last_event: i64,
    changed: Arc<AtomicU64>,
    answer: oneshot::Sender<()>,
}

impl Order {
    /// A bounded part of it. Whether it is done.
    pub(super) fn step(&mut self, file: &mut Catalogue) -> Result<bool, Error> {
        match &self.order {
            DeliveryOrder::Change(change, choice) => {
                file.change_deliveries(&self.destination, *change, choice, &mut self.progress, clock_ms())?;
                self.changed.store(self.progress.changed, Ordering::Relaxed);
                return Ok(self.progress.is_done);
            }
            DeliveryOrder::Pause => file.pause(&self.destination, true)?,
            DeliveryOrder::Resume => file.pause(&self.destination, false)?,
            DeliveryOrder::Events { change, is_dead, event } => {
                let which = (*is_dead, *event);
                let (changed, next) = file.change_events(&self.destination, *change, which, self.last_event)?;
                self.changed.fetch_add(changed, Ordering::Relaxed);
                self.last_event = next.unwrap_or(self.last_event);
                return Ok(next.is_none());
            }
        }
        Ok(true)
    }

    /// Tells those who deliver or publish that what they have read may not be owed any more.
    pub(super) fn tell(&self, notes: &Notes) {
        match self.order {
            DeliveryOrder::Change(..) => notes.tick_delivery_orders(),
            DeliveryOrder::Events { .. } => notes.tick_event_orders(),
            DeliveryOrder::Pause | DeliveryOrder::Resume => {}
        }
    }

    /// It is done.
    pub(super) fn done(self) {
        let _ = self.answer.send(()); // nobody may wait any more
    }
}

/// The orders that wait, the first of them under way.
#[derive(Default)]
pub(crate) struct Orders {
    waiting: Mutex<VecDeque<Order>>,
    pub(super) arrived: Notify,
}

impl Orders {
    pub(super) fn wait(&self) -> bool {
        !self.waiting.lock().is_empty()
    }

    /// Takes the first.
    pub(super) fn take(&self) -> Option<Order> {
        self.waiting.lock().pop_front()
    }

    /// Puts back one that is not done.
    pub(super) fn put_back(&self, order: Order) {
        self.waiting.lock().push_front(order);
    }

    pub(super) fn clear(&self) {
        self.waiting.lock().clear();
    }

    /// Has the child carry out an order. It returns when it is done, or soon with how far it has come.
    ///
    /// # Errors
    /// See [`NotOrdered`].
    pub(crate) async fn give(&self, destination: &str, order: DeliveryOrder) -> Result<Ordered, NotOrdered> {
        let (changed, (answer, answered)) = (Arc::new(AtomicU64::new(0)), oneshot::channel());
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= MAX_WAITING {
                return Err(NotOrdered::Busy);
            }
            let (destination, progress) = (destination.to_owned(), ChangeProgress::default());
            waiting.push_back(Order { destination, order, progress, last_event: 0, changed: changed.clone(), answer });
        }
        self.arrived.notify_one();
        let is_done = match within(PATIENCE, answered).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => return Err(NotOrdered::Ended),
            Err(_) => false,
        };
        Ok(Ordered { changed: changed.load(Ordering::Relaxed), is_done })
    }
}
