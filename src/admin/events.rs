//! `GET /api/events`: the state of the node once a second, as server-sent events. One look serves all subscribers; without a subscriber there
//! is none.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::stream::{AbortHandle, Abortable, Stream, StreamExt, unfold};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidegate_actors::Observer;
use tidegate_memory::MemoryLease;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::guard::Trust;
use super::leases::Leases;
use super::model::{Association, Status};
use super::storage::StorageWatch;
use super::writers::Writers;
use crate::unprintable::harmless;

/// Time from event to event.
const PERIOD: Duration = Duration::from_secs(1);
/// Most subscribers of a stream at one time, of each level of trust.
const MAX_LISTENERS: usize = 16;
/// Most associations in an event: the largest holders of memory.
const MAX_ASSOCIATIONS: usize = 100;

/// The data of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tick {
    pub(super) status: Status,
    /// The largest holders of memory first.
    pub(super) associations: Vec<Association>,
    pub(super) writers: Writers,
}

impl Tick {
    pub(super) async fn of(observer: &Observer, storage: &StorageWatch) -> Option<Self> {
        let status = Status::of(observer, storage).await.ok()?;
        let mut associations = Association::all(observer);
        associations.sort_by_key(|association| (std::cmp::Reverse(association.held_bytes), association.id));
        associations.truncate(MAX_ASSOCIATIONS);
        Some(Self { status, associations, writers: Writers::of(observer) })
    }

    fn without_peers(mut self) -> Self {
        self.associations.iter_mut().for_each(Association::remove_peer);
        Self { status: self.status.without_peers(), ..self }
    }

    fn event(&self) -> Option<Bytes> {
        let text = serde_json::to_string(self).ok()?;
        Some(Bytes::from(format!("event: tick\ndata: {}\n\n", harmless(&text))))
    }
}

/// The subscribers of a stream, so many at a time: one more ends the oldest, who may not be reading.
#[derive(Debug, Default)]
pub(super) struct Listeners(
    /// The oldest first, each with what its stream holds.
    Mutex<VecDeque<(Weak<()>, AbortHandle)>>,
);

impl Listeners {
    /// `events`, until it has to end for another one.
    pub(super) fn add<S: Stream>(&self, events: S) -> impl Stream<Item = S::Item> + use<S> {
        let (handle, registration) = AbortHandle::new_pair();
        let alive = Arc::new(());
        let mut listeners = self.0.lock();
        listeners.retain(|(alive, _)| alive.strong_count() > 0);
        if listeners.len() >= MAX_LISTENERS
            && let Some((_, oldest)) = listeners.pop_front()
        {
            oldest.abort();
        }
        listeners.push_back((Arc::downgrade(&alive), handle));
        let events = events.inspect(move |_| {
            let _ = &alive; // held by the stream
        });
        Abortable::new(events, registration)
    }
}

/// The task that looks, while there are subscribers.
#[derive(Debug)]
pub(super) struct Events {
    looks: Mutex<Weak<watch::Sender<Event>>>,
    readers: Listeners,
    guests: Listeners,
    leases: Leases,
}

/// An event as it is sent, with the lease of its bytes, which all subscribers share.
#[derive(Clone, Debug, Default)]
struct Event {
    text: Bytes,
    /// Without the names of peers.
    for_guests: Bytes,
    _lease: Option<Arc<MemoryLease>>,
}

impl Events {
    pub(super) fn new(leases: Leases) -> Self {
        Self { looks: Mutex::default(), readers: Listeners::default(), guests: Listeners::default(), leases }
    }

    /// A stream of events.
    pub(super) fn listen(
        &self,
        observer: &Observer,
        storage: &StorageWatch,
        trust: Trust,
    ) -> impl Stream<Item = Result<Bytes, actix_web::Error>> + use<> {
        let mut current = self.looks.lock();
        let looks = current.upgrade().unwrap_or_else(|| {
            let looks = Arc::new(watch::Sender::new(Event::default()));
            actix_web::rt::spawn(look(Arc::downgrade(&looks), observer.clone(), storage.clone(), self.leases.clone()));
            looks
        });
        *current = Arc::downgrade(&looks);
        let is_guest = trust < Trust::Reader;
        let listener = looks.subscribe();
        let events = unfold((listener, looks), move |(mut listener, looks)| async move {
            listener.changed().await.ok()?;
            let event = listener.borrow_and_update().clone();
            let text = if is_guest { event.for_guests } else { event.text };
            Some((Ok(text), (listener, looks)))
        });
        if is_guest { self.guests.add(events) } else { self.readers.add(events) }
    }
}

/// Looks once a second until the last subscriber has gone.
async fn look(looks: Weak<watch::Sender<Event>>, observer: Observer, storage: StorageWatch, leases: Leases) {
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if looks.strong_count() == 0 {
            return;
        }
        let Some(tick) = Tick::of(&observer, &storage).await else { continue };
        let Some(looks) = looks.upgrade() else { return };
        let (Some(text), Some(for_guests)) = (tick.event(), tick.without_peers().event()) else { continue };
        let lease = leases.charge((text.len() + for_guests.len()) as u64).map(Arc::new);
        looks.send_replace(Event { text, for_guests, _lease: lease });
    }
}
