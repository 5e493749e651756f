//! The child that owns the catalogue. It sleeps until records, a request or a repetition is due, and does at most a batch and a step between two
//! looks at its orders.
//!
//! A call of the file blocks this thread, as long as its disk does. So the child has no heartbeat: another thread would hang in the same call. What
//! operators see of a disk without an answer is in [`Shared`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalogue::catch_up::Disk;
use tidegate_memory::MemoryBudget;
use tokio::time::sleep_until;

use super::completeness::{self, Completeness};
use super::keeper::{Keeper, RootId};
use super::memory::IsMeasured;
use super::queue::BATCH;
use super::retention::{self, Retention};
use super::shared::Shared;
use super::work::OpenDisk;
use crate::fault;
use crate::mailbox::WriterMailbox;
use crate::supervision::liveness::Liveness;

/// Records are gathered for so long.
const GATHERING: Duration = Duration::from_millis(100);
/// After so long without work, the caches are given back.
const REST: Duration = Duration::from_secs(1);
/// After so long with work, too: a page that is held hides its damage on the disk from the writer, and readers meet it.
const LONGEST_HOLD: Duration = Duration::from_secs(10);
/// At the end, records are entered for so long.
const GRACE: Duration = Duration::from_secs(3);

/// What the child uses of the node.
pub(crate) struct Env<D: Disk> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) budget: MemoryBudget,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) is_measured: IsMeasured,
    pub(crate) root_id: RootId,
    pub(crate) open_disk: OpenDisk<D>,
    /// `None`: nothing is ever deleted.
    pub(crate) retention: Option<retention::Env>,
    /// `None`: nothing is ever complete.
    pub(crate) completeness: Option<completeness::Env>,
}

/// The child.
pub(crate) struct CatalogueActor<D: Disk> {
    shared: Arc<Shared>,
    mailbox: Arc<WriterMailbox>,
    keeper: Keeper<D>,
    retention: Option<Retention>,
    completeness: Option<Completeness>,
    worked_at: Instant,
    rested_at: Instant,
    /// Dropped last: the supervisor learns of the end when the missed records are counted.
    liveness: Liveness,
}

impl<D: Disk> CatalogueActor<D> {
    pub(crate) fn new(env: Env<D>, liveness: Liveness) -> Self {
        let Env { shared, budget, mailbox, is_measured, root_id, open_disk, retention, completeness } = env;
        let keeper = Keeper::new(shared.clone(), budget, is_measured, root_id, open_disk);
        let (worked_at, rested_at) = (Instant::now(), Instant::now());
        let (retention, completeness) = (retention.map(Retention::new), completeness.map(Completeness::new));
        Self { shared, mailbox, keeper, retention, completeness, worked_at, rested_at, liveness }
    }

    pub(crate) async fn run(mut self) {
        self.liveness.ready();
        loop {
            tokio::select! {
                biased;
                () = self.liveness.stop_requested() => break,
                () = self.until_due() => {}
            }
            fault::point("catalogue");
            self.turn();
            // A work of many steps must not keep the request to stop from this thread.
            tokio::task::yield_now().await;
        }
        self.enter_the_rest();
        self.liveness.finish();
    }

    async fn until_due(&self) {
        loop {
            let due = self.due(Instant::now());
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            let sleep = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.shared.queue.arrived() => {}
                () = self.shared.notes.arrived.notified() => {}
                () = self.shared.orders.arrived.notified() => {}
                () = stirred(self.completeness.as_ref()) => {}
                () = self.shared.asked() => return,
            }
        }
    }

    /// When there is something to do.
    fn due(&self, now: Instant) -> Option<Instant> {
        let rest = self.keeper.has_memory().then(|| self.worked_at + REST);
        let retry_at = self.keeper.retry_at().unwrap_or(now);
        let work = if self.keeper.is_open() {
            let ordered = self.shared.orders.wait().then_some(now);
            let complete = self.completeness.as_ref().and_then(|it| it.due(&self.keeper, now));
            let due = [self.batch_due(now), self.keeper.works.due(now), self.retention_due(), ordered, complete];
            let work = due.into_iter().flatten().min();
            work.map(|work| work.max(retry_at))
        } else {
            Some(retry_at)
        };
        [work, rest].into_iter().flatten().min()
    }

    /// When a batch is due: its first record has waited long enough, or it is full.
    fn batch_due(&self, now: Instant) -> Option<Instant> {
        if self.keeper.has_pending() {
            return Some(now);
        }
        let of_notes = self.shared.notes.since().map(|since| since + GATHERING);
        let of_records = match self.shared.queue.waiting() {
            (_, None) => self.shared.queue.has_missed().then_some(now),
            (BATCH.., Some(_)) => Some(now),
            // A check holds the disk against what is entered.
            (_, Some(_)) if self.keeper.works.is_checking() => Some(now),
            (_, Some(since)) => Some(since + GATHERING),
        };
        [of_notes, of_records].into_iter().flatten().min()
    }

    /// When files may be deleted. It waits for every work on the whole catalogue.
    fn retention_due(&self) -> Option<Instant> {
        self.retention.as_ref().filter(|_| self.keeper.works.is_idle()).map(Retention::due_at)
    }

    /// A batch and a step, as far as they are due.
    fn turn(&mut self) {
        self.shared.take_asked().into_iter().for_each(|(request, number)| self.keeper.works.ask(request, number));
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.keeper.retry_at().is_some_and(|at| at > now) {
            self.rest_if_due(now);
            return;
        }
        if !self.keeper.is_open() {
            self.keeper.open();
            self.worked_at = Instant::now();
            return;
        }
        if let Some(completeness) = &mut self.completeness {
            completeness.follow(&mut self.keeper);
            if self.keeper.retry_at().is_some_and(|at| at > now) || !self.keeper.is_open() {
                return;
            }
        }
        let suspects = self.shared.take_suspects();
        if !suspects.is_empty() {
            self.keeper.look_for(&suspects);
            self.worked_at = Instant::now();
        }
        let (is_batch_due, is_step_due) = (is_due(self.batch_due(now)), is_due(self.keeper.works.due(now)));
        if is_batch_due {
            self.keeper.enter();
            if let Some(retention) = self.retention.as_mut().filter(|_| self.keeper.is_open()) {
                retention.note_entered(&mut self.keeper);
            }
        }
        // After a failure, everything waits.
        if self.shared.orders.wait() && self.keeper.retry_at().is_none() && self.keeper.is_open() {
            self.keeper.obey();
            self.worked_at = Instant::now();
        }
        if let Some(completeness) = &mut self.completeness
            && self.keeper.retry_at().is_none()
            && self.keeper.is_open()
            && is_due(completeness.due(&self.keeper, now))
        {
            completeness.step(&mut self.keeper);
            self.worked_at = Instant::now();
        }
        if is_step_due && self.keeper.retry_at().is_none() && self.keeper.is_open() {
            let others_wait = self.mailbox.depth() > 0 || self.shared.queue.waiting().0 >= BATCH;
            self.keeper.step(others_wait);
        }
        let is_retention_due =
            is_due(self.retention_due()) && self.keeper.retry_at().is_none() && self.keeper.is_open();
        if is_retention_due && let Some(retention) = &mut self.retention {
            let others_wait = self.mailbox.depth() > 0 || self.shared.queue.waiting().0 >= BATCH;
            retention.step(&mut self.keeper, others_wait);
        }
        if is_batch_due || is_step_due || is_retention_due {
            self.worked_at = Instant::now();
        }
        self.rest_if_due(now);
    }

    fn rest_if_due(&mut self, now: Instant) {
        if now >= self.worked_at + REST || now >= self.rested_at + LONGEST_HOLD {
            self.keeper.rest();
            self.rested_at = now;
        }
    }

    /// Enters what waits, for a bounded time. The next start finds the rest.
    fn enter_the_rest(&mut self) {
        let began = Instant::now();
        if let Some(completeness) = &mut self.completeness {
            completeness.follow(&mut self.keeper);
        }
        while self.keeper.is_open() && began.elapsed() < GRACE {
            let waits = self.shared.queue.waiting().0 > 0 || self.shared.notes.since().is_some();
            if !waits && !self.keeper.has_pending() {
                return;
            }
            self.keeper.enter();
            if self.keeper.retry_at().is_some() {
                return;
            }
        }
    }
}

/// Waits for what completeness hears of.
async fn stirred(completeness: Option<&Completeness>) {
    match completeness {
        Some(completeness) => completeness.stirred().await,
        None => std::future::pending().await,
    }
}
