//! When studies and series are complete: at their due times in the file, while the catalogue is current. Nothing of it is kept in memory but when the next
//! one is due.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_catalogue::catch_up::Disk;
use tidegate_catalogue::{Catalogue, Circumstances, Completed};
use tokio::sync::watch;
use tracing::debug;

use super::keeper::Keeper;
use crate::committed::clock_ms;
use crate::node::event_settings::EventSettings;
use crate::node::live::Live;
use crate::node::settings::LiveSettings;
use crate::senders::{Ended, Senders};
use crate::sources::Sources;

/// Studies and series that one transaction completes.
const MOST: u32 = 256;
/// The clock may be set: the next due time is looked at anew after so long.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What it uses of the node.
pub(crate) struct Env {
    pub(crate) live: Arc<Live>,
    pub(crate) senders: Arc<Senders>,
    pub(crate) sources: Arc<Sources>,
}

/// See the module.
pub(super) struct Completeness {
    live: Arc<Live>,
    senders: Arc<Senders>,
    sources: Arc<Sources>,
    changed: RefCell<watch::Receiver<Arc<LiveSettings>>>,
    /// The settings that the open file follows.
    followed: Option<Arc<EventSettings>>,
    /// Which opening of the file that was.
    opening: u64,
    /// The next due time, as of that many calls of the file.
    next: Cell<Option<(u64, Option<i64>)>>,
}

impl Completeness {
    pub(super) fn new(Env { live, senders, sources }: Env) -> Self {
        let changed = RefCell::new(live.watch());
        Self { live, senders, sources, changed, followed: None, opening: 0, next: Cell::new(None) }
    }

    /// Waits until settings change, a sender has ended or a source has answered.
    pub(super) async fn stirred(&self) {
        let mut changed = self.changed.borrow().clone();
        tokio::select! {
            _ = changed.changed() => {}
            () = self.senders.ended() => {}
            () = self.sources.answered() => {}
        }
    }

    fn follows<D: Disk>(&self, keeper: &Keeper<D>) -> bool {
        let events = self.live.get().events.clone();
        self.opening == keeper.openings() && self.followed.as_ref().is_some_and(|it| Arc::ptr_eq(it, &events))
    }

    /// When there is something to do, with the file open.
    pub(super) fn due<D: Disk>(&self, keeper: &Keeper<D>, now: Instant) -> Option<Instant> {
        self.changed.borrow_mut().borrow_and_update();
        if !self.follows(keeper) || self.senders.have_ended() || self.sources.have_answered() {
            return Some(now);
        }
        // Until the disk and the catalogue agree, what seems quiet may have received what is not entered.
        if !keeper.is_current() {
            return None;
        }
        let next = match self.next.get() {
            Some((calls, next)) if calls == keeper.calls() => next,
            _ => {
                let next = next_due_ms(keeper);
                self.next.set(Some((keeper.calls(), next)));
                next
            }
        };
        let next_ms = next?;
        if self.is_due(next_ms) {
            return Some(now);
        }
        let left = u64::try_from(next_ms.saturating_sub(clock_ms())).unwrap_or(0);
        Some(now + Duration::from_millis(left).min(LONGEST_SLEEP))
    }

    /// Whether something is due, or later than anything may be: then the clock was set back.
    fn is_due(&self, next_ms: i64) -> bool {
        let now_ms = clock_ms();
        let latest_ms = self.followed.as_ref().map_or(i64::MAX, |events| events.following.latest_ms());
        next_ms <= now_ms || next_ms > now_ms.saturating_add(latest_ms)
    }

    /// Has the open file follow the settings of this moment. It must before anything is entered: the settings say when that is due, and who hears of it.
    pub(super) fn follow<D: Disk>(&mut self, keeper: &mut Keeper<D>) {
        if self.follows(keeper) {
            return;
        }
        let (events, opening) = (self.live.get().events.clone(), keeper.openings());
        let followed = keeper.attempt(|file, _| {
            file.follow(events.following.clone())?;
            file.release_all(clock_ms(), self.sources.since_ms())
        });
        if followed.is_some() && keeper.openings() == opening {
            (self.followed, self.opening) = (Some(events), opening);
        }
    }

    /// What is due: nothing of it, or a bounded part.
    pub(super) fn step<D: Disk>(&mut self, keeper: &mut Keeper<D>) {
        if self.senders.have_ended() {
            let ended = self.senders.take_ended();
            let released = keeper.attempt(|file, _| match &ended {
                Ended::Studies(uids) => file.release(uids, clock_ms()),
                Ended::Many => file.release_all(clock_ms(), self.sources.since_ms()),
            });
            if released.is_none() {
                self.opening = 0; // all are released when the file works again
                return;
            }
        }
        let answers = self.sources.take_answers();
        // Without the file they are lost, and the studies go by what is known without them.
        if !answers.is_empty() && keeper.attempt(|file, _| file.answer(&answers, clock_ms())).is_none() {
            return;
        }
        let is_due = keeper.is_current() && next_due_ms(keeper).is_some_and(|next_ms| self.is_due(next_ms));
        // What was stored before a sender ended is entered now; of one who ends after this, `are_sending` tells.
        if !is_due || !keeper.enter_all() || !keeper.is_current() {
            return;
        }
        let (live, asked) = (self.live.get(), Cell::new(0));
        let may_ask = |ae_title: &str| {
            let may_ask = self.sources.may_ask(&live, ae_title, asked.get());
            asked.set(asked.get() + usize::from(may_ask));
            may_ask
        };
        let circumstances = Circumstances { is_busy: &|uid| self.senders.are_sending(uid), may_ask: &may_ask };
        if let Some(done) = keeper.attempt(|file, _| file.complete(clock_ms(), MOST, &circumstances)) {
            if done != Completed::default() {
                debug!(
                    studies = done.studies,
                    series = done.series,
                    held = done.held,
                    waiting = done.waiting,
                    lacking = done.lacking,
                    asked = done.questions.len(),
                    late_ms = done.late_ms,
                    "studies and series complete"
                );
            }
            keeper.shared.figures.note_completed(&done);
            self.sources.ask(done.questions);
        }
    }
}

/// When the next study or series is due; `None` also while that cannot be read.
fn next_due_ms<D: Disk>(keeper: &Keeper<D>) -> Option<i64> {
    keeper.file().map(Catalogue::next_due_ms)?.ok().flatten()
}
