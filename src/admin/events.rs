//! `GET /api/events`: the state of the node once a second, as server-sent events. One look serves all subscribers; without a subscriber there
//! is none.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::web::Bytes;
use futures_util::stream::{Stream, unfold};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tidegate_actors::Observer;
use tidegate_memory::MemoryLease;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::leases::Leases;
use super::model::{Association, Status, Writers};
use super::storage::StorageWatch;

/// Time from event to event.
const PERIOD: Duration = Duration::from_secs(1);
/// Most subscribers at one time.
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
}

/// The task that looks, while there are subscribers.
#[derive(Debug)]
pub(super) struct Events {
    looks: Mutex<Weak<watch::Sender<Event>>>,
    leases: Leases,
}

/// An event as it is sent, with the lease of its bytes, which all subscribers share.
type Event = (Bytes, Option<Arc<MemoryLease>>);

impl Events {
    pub(super) fn new(leases: Leases) -> Self {
        Self { looks: Mutex::default(), leases }
    }

    /// A stream of events; `None` if there are too many subscribers.
    pub(super) fn listen(
        &self,
        observer: &Observer,
        storage: &StorageWatch,
    ) -> Option<impl Stream<Item = Result<Bytes, actix_web::Error>> + use<>> {
        let mut current = self.looks.lock();
        let looks = current.upgrade().unwrap_or_else(|| {
            let looks = Arc::new(watch::Sender::new(Event::default()));
            actix_web::rt::spawn(look(Arc::downgrade(&looks), observer.clone(), storage.clone(), self.leases.clone()));
            looks
        });
        *current = Arc::downgrade(&looks);
        if looks.receiver_count() >= MAX_LISTENERS {
            return None;
        }
        let listener = looks.subscribe();
        Some(unfold((listener, looks), |(mut listener, looks)| async {
            listener.changed().await.ok()?;
            let (event, _) = listener.borrow_and_update().clone();
            Some((Ok(event), (listener, looks)))
        }))
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
        let Ok(text) = serde_json::to_string(&tick) else { continue };
        let Some(looks) = looks.upgrade() else { return };
        let event = Bytes::from(format!("event: tick\ndata: {text}\n\n"));
        let lease = leases.charge(event.len() as u64).map(Arc::new);
        looks.send_replace((event, lease));
    }
}
