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
use super::echo;
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

/// Associations that wait for a late answer, and do not count, since the destination has answered others meanwhile. With one more, the oldest ends.
const MOST_OVERTAKEN: usize = 8;

/// An association that waits for a late answer, and begins nothing any more.
pub(super) struct Late {
    pub(super) connection: usize,
    /// When that was sent whose answer is late.
    pub(super) sent: Instant,
    /// It is an instance.
    pub(super) is_instance: bool,
}

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
    /// Those of `established` that wait for a late answer, the oldest first.
    pub(super) late: Vec<Late>,
    /// When the destination answered anything last.
    pub(super) answered: Option<Instant>,
    /// It ends associations over a C-ECHO: there are no more of these.
    pub(super) has_no_echo: bool,
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
            late: Vec::new(),
            answered: None,
            has_no_echo: false,
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
        let mut contexts = self.pairs.propose(self.plan.planned_owed(self.is_in_doubt()));
        let echoes = (self.is_in_doubt() || !self.late.is_empty()) && !self.has_no_echo;
        let others = [echoes.then(echo::proposed), self.settings.commits.then(asking::proposed)];
        contexts.truncate(MOST_CONTEXTS - others.iter().flatten().count());
        contexts.extend(others.into_iter().flatten());
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
        let task = if self.is_in_doubt() { self.plan.take_last(connection) } else { self.plan.take(connection) };
        let Some(task) = task else { return Next::Nothing };
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

    /// After how long an answer is late.
    pub(super) fn late_after(&self) -> Duration {
        LATE.max(self.usual * 4)
    }

    /// Whether an instance has failed by no fault that is known, or is late: the next is taken from elsewhere in the queue.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.breaker.is_in_doubt() || self.late.iter().any(|late| late.is_instance)
    }

    /// Whether the destination has answered anything since then.
    pub(super) fn has_answered_since(&self, sent: Instant) -> bool {
        self.answered.is_some_and(|answered| answered > sent)
    }

    /// The late associations whose answer others have overtaken, the oldest first.
    fn overtaken(&self) -> impl Iterator<Item = &Late> {
        self.late.iter().filter(|late| self.has_answered_since(late.sent))
    }

    /// Associations that may be open at a moment. One that waits for a late answer does not count, or an instance that is never answered would hold
    /// the queue of a destination with one connection for the whole answer timeout, at each attempt. Of a destination that answers nothing, there are
    /// never more than twice as many as configured; and never more than it has room for.
    pub(super) fn most_connections(&self, configured: usize, now: Instant) -> usize {
        match self.fewer {
            Some((most, until)) if now < until => configured.min(most),
            _ => {
                let overtaken = self.overtaken().count();
                configured + (self.late.len() - overtaken).min(configured) + overtaken.min(MOST_OVERTAKEN)
            }
        }
    }

    /// Whether a late association ends without its answer: others are late after it, and the destination answers what it answers.
    pub(super) fn gives_up(&self, connection: usize) -> bool {
        let mut overtaken = self.overtaken();
        let is_oldest = overtaken.next().is_some_and(|late| late.connection == connection);
        is_oldest && overtaken.count() >= MOST_OVERTAKEN
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
