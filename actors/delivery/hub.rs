//! What the associations of a destination share with its child, all on one thread: the plan, the outcomes that wait to be noted, the breaker and the
//! bandwidth.

use std::sync::Arc;
use std::time::Duration;

use tidegate_catalogue::{DeliveryNote, OwedKey};
use tidegate_protocol::requestor::{MOST_CONTEXTS, ProposedContext};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::asking;
use super::bandwidth::Bandwidth;
use super::breaker::{Breaker, Gate};
use super::committing::Committing;
use super::contexts::{Accepted, Pairs, Way};
use super::figures::Figures;
use super::plan::{Plan, Task};
use super::shared::Shared;
use crate::gauges::Gauges;
use crate::node::settings::DestinationSettings;

/// A destination that has no room for another association is asked for one again after so long.
const FEWER_FOR: Duration = Duration::from_secs(60);
/// An answer is late after so long, and after four times as long as answers take; PS3.7 sets no time.
const LATE: Duration = Duration::from_millis(750);
/// A destination that has judged an instance within this time is taken to work.
const OF_LATE: Duration = Duration::from_secs(60);

/// The next instance for an association.
pub(super) enum Next {
    /// It is to be sent.
    Send(Box<Task>, Way),
    /// Another association is needed for it.
    OtherContexts,
    /// It waits until nothing is outstanding.
    Alone,
    /// There is none at the moment.
    Nothing,
}

/// See the module.
pub(super) struct Hub {
    pub(super) name: String,
    pub(super) settings: DestinationSettings,
    pub(super) plan: Plan,
    pub(super) breaker: Breaker,
    pub(super) committing: Committing,
    pub(super) bandwidth: Bandwidth,
    pub(super) figures: Arc<Figures>,
    pub(super) gauges: Arc<Gauges>,
    pairs: Pairs,
    /// Outcomes that are to be noted.
    pub(super) notes: Vec<DeliveryNote>,
    /// Nothing is begun: it is paused, outside of its hours, or on the way to its end.
    pub(super) is_halted: bool,
    /// Rises with each change of whom associations are with: older ones end.
    pub(super) epoch: u64,
    /// Associations that wait for something to send.
    pub(super) idle: usize,
    /// Associations that are being opened, and those that are open.
    pub(super) opening: usize,
    pub(super) established: usize,
    /// Associations of `established` that wait for a late answer, and begin nothing any more.
    pub(super) late: usize,
    /// How long answers take, smoothed.
    usual: Duration,
    /// When the destination judged an instance last.
    pub(super) served: Option<Instant>,
    /// Fewer associations than the settings allow, until then: the destination has a limit of its own.
    fewer: Option<(usize, Instant)>,
    /// For associations: there may be something to send, or to end for.
    changed: watch::Sender<u64>,
    /// For the child: there may be notes, or room in the plan.
    pub(super) child: Arc<Notify>,
}

impl Hub {
    pub(super) fn new(name: &str, settings: DestinationSettings, shared: &Shared, gauges: Arc<Gauges>) -> Self {
        Self {
            name: name.to_owned(),
            bandwidth: Bandwidth::new(settings.bandwidth_bytes_per_s, Instant::now()),
            settings,
            plan: Plan::default(),
            breaker: Breaker::default(),
            committing: Committing::new(shared.inbox(name)),
            figures: shared.figures(name),
            gauges,
            pairs: Pairs::default(),
            notes: Vec::new(),
            is_halted: false,
            epoch: 0,
            idle: 0,
            opening: 0,
            established: 0,
            late: 0,
            usual: Duration::ZERO,
            served: None,
            fewer: None,
            changed: watch::Sender::new(0),
            child: Arc::default(),
        }
    }

    /// Learns of changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells the associations.
    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The contexts of another association.
    pub(super) fn propose(&mut self) -> Vec<ProposedContext> {
        let mut contexts = self.pairs.propose(self.plan.planned_owed());
        if self.settings.commits {
            contexts.truncate(MOST_CONTEXTS - 1);
            contexts.push(asking::proposed());
        }
        contexts
    }

    /// Whether an association of that epoch may begin with another instance. `has_probed`: it is no probe, or has begun one.
    pub(super) fn may_begin(&self, epoch: u64, has_probed: bool) -> bool {
        !self.is_halted
            && epoch == self.epoch
            && (self.breaker.gate(Instant::now()) == Gate::Open || (!has_probed && self.breaker.down().is_some()))
    }

    /// Whether the destination has judged an instance of late, and is not down.
    pub(super) fn has_served_of_late(&self) -> bool {
        self.breaker.down().is_none() && self.served.is_some_and(|served| served.elapsed() < OF_LATE)
    }

    /// The next instance of a connection that has so many outstanding.
    pub(super) fn next(&mut self, connection: usize, accepted: &Accepted, outstanding: usize) -> Next {
        let Some(task) = self.plan.take(connection) else { return Next::Nothing };
        if self.plan.wants_page() {
            self.child.notify_one();
        }
        match accepted.way(&task.owed) {
            Way::NotProposed => {
                self.plan.put_back(task);
                Next::OtherContexts
            }
            _ if task.is_repetition && outstanding > 0 => {
                self.plan.put_back(task);
                Next::Alone
            }
            way => Next::Send(Box::new(task), way),
        }
    }

    /// An answer has come after so long.
    pub(super) fn note_answer(&mut self, took: Duration) {
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
    }

    /// After how long an answer is late; `None`: the destination is down.
    pub(super) fn late_after(&self) -> Option<Duration> {
        self.breaker.down().is_none().then(|| LATE.max(self.usual * 4))
    }

    /// Associations that may be open at a moment. One that waits for a late answer does not count, or an instance that is never answered would hold
    /// the queue of a destination with one connection for the whole answer timeout, at each attempt. There are never more than twice as many as
    /// configured, and no more than the destination has room for.
    pub(super) fn most_connections(&self, configured: usize, now: Instant) -> usize {
        match self.fewer {
            Some((most, until)) if now < until => configured.min(most),
            _ => configured + self.late.min(configured),
        }
    }

    /// When that changes.
    pub(super) fn more_connections_at(&self) -> Option<Instant> {
        self.fewer.map(|(_, until)| until).filter(|until| *until > Instant::now())
    }

    /// The destination has no room for more associations than these.
    pub(super) fn has_room_for(&mut self, connections: usize, now: Instant) {
        self.fewer = Some((connections.max(1), now + FEWER_FOR));
    }

    /// Adds an outcome, for the child to note.
    pub(super) fn push_note(&mut self, note: DeliveryNote) {
        self.notes.push(note);
        if self.notes.len() == 1 || self.plan.wants_page() {
            self.child.notify_one();
        }
    }

    /// Notes are durable.
    pub(super) fn forget(&mut self, keys: &[OwedKey]) {
        keys.iter().for_each(|key| self.plan.forget(key));
        self.tell();
    }
}
