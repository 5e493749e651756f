//! The child of a destination: it reads the queue, opens associations, has their outcomes noted, and sleeps until there is something for it.
//!
//! A call of the catalogue blocks this thread, as long as its disk does, and so does reading a stored file. So the child has no heartbeat, as the
//! catalogue has none.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tidegate_catalogue::{DeliveryNote, OwedKey};
use tidegate_memory::MemoryBudget;
use tidegate_storage::Store;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::breaker::Gate;
use super::figures::wall_clock;
use super::hours;
use super::hub::Hub;
use super::opening::{self, Env as AssociationEnv};
use super::queue::{IsMeasured, Queue};
use super::shared::Shared;
use super::state::DestinationPhase;
use crate::catalogue::deliveries::{Deliveries, MAX_NOTES, NotNoted};
use crate::fault;
use crate::gauges::Gauges;
use crate::node::live::Live;
use crate::node::phase::Phase;
use crate::node::settings::{DeliverySettings, DestinationKind};
use crate::supervision::liveness::Liveness;

/// Calls that note outcomes at a time.
const MAX_NOTING: usize = 4;
/// Before notes are given again that were not taken.
const NOTE_RETRY: Duration = Duration::from_millis(500);
/// After so long without work, memory is given back.
const REST: Duration = Duration::from_secs(1);
/// The longest sleep: the clock may be set, and hours are by the wall clock.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// Time for associations to end when the destination is no longer configured, and for the last notes. Both fit into the time that a child has to end.
const END_GRACE: Duration = Duration::from_secs(6);
const ABORT_GRACE: Duration = Duration::from_secs(1);
const NOTE_GRACE: Duration = Duration::from_secs(2);

/// What the child uses of the node.
pub(crate) struct Env {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) store: Store,
    pub(crate) catalogue: std::path::PathBuf,
    pub(crate) deliveries: Deliveries,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) budget: MemoryBudget,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) is_measured: IsMeasured,
}

/// Notes that were given to the catalogue, and whether it has them.
type Noted = (Vec<DeliveryNote>, Result<(), NotNoted>);

/// The child.
pub(crate) struct DeliveryActor {
    pub(super) hub: Rc<RefCell<Hub>>,
    delivery: Arc<DeliverySettings>,
    live: Arc<Live>,
    store: Store,
    budget: MemoryBudget,
    deliveries: Deliveries,
    phase: watch::Receiver<Phase>,
    pub(super) queue: Queue,
    associations: FuturesUnordered<LocalBoxFuture<'static, usize>>,
    noting: FuturesUnordered<LocalBoxFuture<'static, Noted>>,
    next_connection: usize,
    aborting: watch::Sender<bool>,
    worked_at: Instant,
    /// When there is something to do that nothing tells.
    pub(super) wake_at: Instant,
    /// Dropped last.
    liveness: Liveness,
}

impl DeliveryActor {
    /// The child of a destination; `None`: the settings do not have it any more.
    pub(crate) fn new(env: Env, liveness: Liveness) -> Option<Self> {
        let Env { name, shared, live, store, catalogue, deliveries, gauges, budget, phase, is_measured } = env;
        let delivery = live.get().delivery.clone();
        let Some(settings) = delivery.destination(&name).cloned() else {
            liveness.ready();
            liveness.finish();
            return None;
        };
        let hub = Hub::new(&name, settings, &shared, gauges);
        Some(Self {
            hub: Rc::new(RefCell::new(hub)),
            delivery,
            live,
            store,
            queue: Queue::new(name, catalogue, budget.clone(), is_measured),
            budget,
            deliveries,
            phase,
            associations: FuturesUnordered::new(),
            noting: FuturesUnordered::new(),
            next_connection: 0,
            aborting: watch::Sender::new(false),
            worked_at: Instant::now(),
            wake_at: Instant::now(),
            liveness,
        })
    }

    pub(crate) async fn run(mut self) {
        self.liveness.ready();
        let (mut live, mut changed) = (self.live.watch(), self.deliveries.changed());
        let mut ordered = self.deliveries.ordered();
        let child = self.hub.borrow().child.clone();
        let inbox = self.hub.borrow().committing.inbox.clone();
        loop {
            self.turn();
            tokio::select! {
                biased;
                () = self.liveness.stop_requested() => break,
                _ = live.changed() => {}
                _ = self.phase.changed() => {}
                Some(_) = self.associations.next() => self.note_associations(),
                Some(noted) = self.noting.next() => self.noted(noted),
                _ = ordered.changed() => self.ordered(),
                _ = changed.changed() => self.queue_changed(),
                () = child.notified() => {}
                () = inbox.given() => {}
                () = sleep_until(self.wake_at) => {}
            }
            fault::point("delivery");
            tokio::task::yield_now().await;
        }
        self.end().await;
        inbox.close();
        self.liveness.finish();
    }

    /// Finishes what is being sent, and has its outcomes noted, for a bounded time.
    async fn end(&mut self) {
        self.hub.borrow_mut().is_halted = true;
        self.hub.borrow().tell();
        let is_aborting = *self.phase.borrow() == Phase::Aborting;
        if !is_aborting {
            let _ = timeout(END_GRACE, self.end_associations()).await;
        }
        self.aborting.send_replace(true);
        let _ = timeout(ABORT_GRACE, self.end_associations()).await;
        self.associations.clear();
        self.note_associations();
        let _ = timeout(NOTE_GRACE, async {
            loop {
                self.note_outcomes();
                match self.noting.next().await {
                    Some(noted) => self.noted(noted),
                    None => return,
                }
            }
        })
        .await;
    }

    async fn end_associations(&mut self) {
        loop {
            tokio::select! {
                ended = self.associations.next() => if ended.is_none() { return },
                Some(noted) = self.noting.next() => self.noted(noted),
            }
            self.note_outcomes();
        }
    }

    fn queue_changed(&mut self) {
        self.queue.changed();
        self.hub.borrow_mut().plan.queue_changed();
    }

    /// An operator has changed what is owed: what was planned may not be owed any more, and what was sent may have to be asked for at once.
    fn ordered(&mut self) {
        {
            let hub = &mut *self.hub.borrow_mut();
            hub.plan.clear();
            hub.committing.ask_at = Instant::now();
        }
        self.queue.ordered();
    }

    fn note_associations(&self) {
        self.hub.borrow().figures.set_connections(self.associations.len());
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.wake_at = now + LONGEST_SLEEP;
        self.take_settings();
        let phase = *self.phase.borrow();
        if phase == Phase::Aborting {
            self.aborting.send_replace(true);
        }
        let is_stopping = matches!(phase, Phase::Draining | Phase::Aborting);
        let is_outside = self.is_outside_hours();
        let is_configured = self.delivery.destination(&self.hub.borrow().name).is_some();
        let may_read = !is_stopping && is_configured;
        if may_read {
            let hub = &mut *self.hub.borrow_mut();
            let gate = hub.breaker.gate(now);
            if let Gate::Closed(at) = gate {
                self.wake_at = self.wake_at.min(at);
            }
            let wants_page = !is_outside && !matches!(gate, Gate::Closed(_) | Gate::Probing);
            let look = self.queue.look(&mut hub.plan, wants_page, now);
            self.wake_at = self.wake_at.min(look.again_at.unwrap_or(self.wake_at));
            if look.has_more {
                hub.tell();
            }
        }
        let is_paused = self.queue.is_paused();
        {
            let hub = &mut *self.hub.borrow_mut();
            let is_halted = is_stopping || !is_configured || is_outside || is_paused || self.queue.trouble().is_some();
            if std::mem::replace(&mut hub.is_halted, is_halted) != is_halted {
                hub.tell();
            }
        }
        let is_halted = self.hub.borrow().is_halted;
        self.commit(now, !is_halted);
        self.note_outcomes();
        self.start_associations(now);
        self.rest_if_idle(now);
        self.publish(is_stopping, is_paused, is_outside);
    }

    /// Takes the settings of the moment.
    fn take_settings(&mut self) {
        let delivery = self.live.get().delivery.clone();
        if Arc::ptr_eq(&delivery, &self.delivery) {
            return;
        }
        let hub = &mut *self.hub.borrow_mut();
        let before = std::mem::replace(&mut self.delivery, delivery);
        let Some(settings) = self.delivery.destination(&hub.name) else { return };
        let now = Instant::now();
        hub.bandwidth.set(settings.bandwidth_bytes_per_s, now);
        let is_same_tls = match (&before.tls, &self.delivery.tls) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if hub.settings.kind != settings.kind || hub.settings.commits != settings.commits || !is_same_tls {
            hub.epoch += 1;
            hub.committing.begin_again();
            hub.has_no_echo = false;
            hub.breaker.hasten(now);
        }
        hub.settings = settings.clone();
        hub.tell();
    }

    fn is_outside_hours(&mut self) -> bool {
        let Some(hours) = self.hub.borrow().settings.hours else { return false };
        // While the time is not to be had, nothing can be read either.
        let Some(second) = self.queue.second_of_day() else { return true };
        let (is_within, holds_for) = hours::at(hours, second);
        self.wake_at = self.wake_at.min(Instant::now() + holds_for.max(Duration::from_secs(1)));
        !is_within
    }

    /// Has outcomes noted.
    fn note_outcomes(&mut self) {
        while self.noting.len() < MAX_NOTING {
            let notes: Vec<DeliveryNote> = {
                let hub = &mut *self.hub.borrow_mut();
                let most = hub.notes.len().min(MAX_NOTES);
                hub.notes.drain(..most).collect()
            };
            // The rest waits for more: a call is answered when its transaction is durable.
            if notes.is_empty() {
                return;
            }
            let deliveries = self.deliveries.clone();
            self.noting.push(Box::pin(async move {
                let noted = deliveries.note(notes.clone()).await;
                if noted.is_err() {
                    sleep(NOTE_RETRY).await;
                }
                (notes, noted)
            }));
        }
    }

    fn noted(&mut self, (notes, noted): Noted) {
        let mut hub = self.hub.borrow_mut();
        match noted {
            Ok(()) => {
                let keys: Vec<OwedKey> = notes.iter().map(|note| note.key).collect();
                hub.committing.noted(&notes);
                hub.forget(&keys);
                drop(hub);
                // What was changed under an attempt is owed as it was: its note means nothing, and nobody tells of it.
                self.queue_changed();
            }
            Err(NotNoted::NoMemory | NotNoted::Lost) => hub.notes.splice(..0, notes).for_each(drop),
            // The next process sends them again.
            Err(NotNoted::Ended) => {}
        }
    }

    fn start_associations(&mut self, now: Instant) {
        loop {
            let open = self.associations.len();
            let mut hub = self.hub.borrow_mut();
            let DestinationKind::Dicom(peer) = hub.settings.kind.clone();
            let available = hub.plan.available();
            let asks = hub.committing.is_ready();
            if hub.is_halted || (available == 0 && !asks) {
                break;
            }
            let is_probe = match hub.breaker.gate(now) {
                Gate::Open
                    if open < hub.most_connections(peer.connections, now)
                        && (available > hub.idle + hub.opening || (asks && open == 0)) =>
                {
                    false
                }
                // Those that wait for late answers begin nothing.
                Gate::Probe if open == hub.late.len() && open < hub.most_connections(peer.connections, now) => true,
                Gate::Open | Gate::Probe | Gate::Closed(_) | Gate::Probing => break,
            };
            if is_probe {
                hub.breaker.begin_probe();
            }
            hub.opening += 1;
            let env = AssociationEnv {
                hub: self.hub.clone(),
                store: self.store.clone(),
                budget: self.budget.clone(),
                peer,
                tls: self.delivery.tls.clone(),
                connection: self.next_connection,
                epoch: hub.epoch,
                is_probe,
                aborting: self.aborting.subscribe(),
            };
            self.next_connection += 1;
            self.associations.push(Box::pin(opening::run(env)));
        }
        let more_at = self.hub.borrow().more_connections_at();
        self.wake_at = self.wake_at.min(more_at.unwrap_or(self.wake_at));
        self.note_associations();
    }

    fn rest_if_idle(&mut self, now: Instant) {
        let hub = self.hub.borrow();
        let is_idle = self.associations.is_empty() && self.noting.is_empty() && hub.notes.is_empty();
        if !is_idle {
            self.worked_at = now;
        } else if self.queue.is_open() {
            // A node that receives changes the queue ten times a second: it is not opened for each.
            let rest_at = self.worked_at.max(self.queue.looked_at().unwrap_or(now)) + REST;
            if now >= rest_at {
                self.queue.close();
            } else {
                self.wake_at = self.wake_at.min(rest_at);
            }
        }
    }

    /// Lets operators see what is done.
    fn publish(&self, is_stopping: bool, is_paused: bool, is_outside: bool) {
        let hub = self.hub.borrow();
        let phase = if is_stopping {
            DestinationPhase::Stopping
        } else if let Some(why) = self.queue.trouble() {
            DestinationPhase::Unavailable { why: why.to_owned() }
        } else if is_paused {
            DestinationPhase::Paused
        } else if let Some((since, why, probe_at)) = hub.breaker.down() {
            let (since, next_probe) = (wall_clock(since), wall_clock(probe_at));
            DestinationPhase::Down { since, why: why.to_owned(), next_probe }
        } else if is_outside {
            DestinationPhase::OutsideHours
        } else if self.associations.is_empty() {
            DestinationPhase::Idle
        } else {
            DestinationPhase::Sending
        };
        hub.figures.note_phase(&hub.settings.peer(), phase, hub.plan.studies_at());
    }
}
