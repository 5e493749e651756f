//! The child of a sink. It sleeps until an event is due, publishes a few at a time, each of another study, and has the outcomes noted.
//!
//! Reading the catalogue blocks this thread as long as its disk does, so the child has no heartbeat, as the children of destinations have none.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tidegate_catalogue::{Error, EventNote, EventOutcome, Generation, OwedEvent, Reader, SinkRow};
use tidegate_memory::{MemoryBudget, MemoryLease, Stage};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::event::{EventOut, PublishError};
use super::page::Page;
use super::publisher::Publisher;
use super::shared::{Figures, Shared, SinkPhase};
use crate::catalogue::deliveries::{Deliveries, NotNoted};
use crate::committed::{clock_ms, due_until, put_off};
use crate::fault;
use crate::gauges::Gauges;
use crate::node::live::Live;
use crate::node::phase::Phase;
use crate::node::settings::{EventSettings, SinkSettings};
use crate::supervision::liveness::Liveness;

/// Attempts under way at a time, each over a connection of its own.
pub(super) const MOST: usize = 4;
/// Memory of a page, with texts of each event, of the connections to the sink, and of the connection to the catalogue.
const WORK_BYTES: u64 = 4 << 20;
/// Between two looks at what is due, whatever changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The longest sleep: the clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// After so long without work, the connection to the catalogue is closed.
const REST: Duration = Duration::from_secs(5);
/// Before something is tried again that the catalogue could not do.
const RETRY: Duration = Duration::from_secs(1);
/// One that asks whether the sink is back, and has no answer for so long, does not ask alone: it may hang by itself.
const SILENCE: Duration = Duration::from_secs(1);
/// At the end, attempts and notes have so long each.
const END_GRACE: Duration = Duration::from_secs(3);
/// Nothing waits longer for its next attempt: a receiver may ask for an hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3700);

/// What the child uses of the node.
pub(crate) struct Env {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) catalogue: PathBuf,
    pub(crate) deliveries: Deliveries,
    pub(crate) budget: MemoryBudget,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// An event, and the catalogue that it was read from.
pub(super) type Read = (Generation, OwedEvent);
/// A publisher, and the settings that it is of.
pub(super) type OfSettings = (Publisher, Arc<EventSettings>);
type Attempt = LocalBoxFuture<'static, (OfSettings, Read, Result<(), PublishError>)>;
type Noting = LocalBoxFuture<'static, (Vec<EventNote>, Result<(), NotNoted>)>;

/// The child.
pub(crate) struct SinkActor {
    pub(super) name: String,
    pub(super) events: Arc<EventSettings>,
    pub(super) settings: SinkSettings,
    pub(super) env: Env,
    pub(super) figures: Arc<Figures>,
    reader: Option<(Reader, MemoryLease)>,
    pub(super) row: Option<(SinkRow, Generation)>,
    pub(super) page: Page,
    attempts: FuturesUnordered<Attempt>,
    /// Of the attempts, those by former settings.
    pub(super) former: usize,
    /// When one was begun last.
    begun_at: Option<Instant>,
    /// It wants no events any more, and that is not durable yet.
    pub(super) is_gone: bool,
    noting: FuturesUnordered<Noting>,
    pub(super) idle: Vec<Publisher>,
    pub(super) notes: Vec<EventNote>,
    /// Ticks when an operator has changed what is owed.
    ordered: watch::Receiver<u64>,
    /// Failures of the sink as a whole in a row, and when it is asked again.
    pub(super) down: Option<(u32, Instant)>,
    /// Attempts in a row after which it has taken nothing.
    pub(super) failed_in_row: u32,
    /// Whether the log says last that it takes none.
    pub(super) is_told_down: bool,
    pub(super) has_changed: bool,
    is_unreadable: bool,
    looked_at: Option<Instant>,
    worked_at: Instant,
    wake_at: Instant,
    /// Dropped last.
    liveness: Liveness,
}

impl SinkActor {
    /// The child of a sink; `None`: the settings do not have it any more.
    pub(crate) fn new(env: Env, liveness: Liveness) -> Option<Self> {
        let events = env.live.get().events.clone();
        let Some(settings) = events.sink(&env.name).cloned() else {
            liveness.ready();
            liveness.finish();
            return None;
        };
        Some(Self {
            name: env.name.clone(),
            events,
            settings,
            figures: env.shared.figures(&env.name),
            ordered: env.deliveries.events_ordered(),
            env,
            reader: None,
            row: None,
            page: Page::default(),
            attempts: FuturesUnordered::new(),
            former: 0,
            begun_at: None,
            is_gone: false,
            noting: FuturesUnordered::new(),
            idle: Vec::new(),
            notes: Vec::new(),
            down: None,
            failed_in_row: 0,
            is_told_down: false,
            has_changed: true,
            is_unreadable: false,
            looked_at: None,
            worked_at: Instant::now(),
            wake_at: Instant::now(),
            liveness,
        })
    }

    pub(crate) async fn run(mut self) {
        self.liveness.ready();
        let (mut live, mut changed) = (self.env.live.watch(), self.env.deliveries.events_changed());
        loop {
            self.turn();
            tokio::select! {
                biased;
                () = self.liveness.stop_requested() => break,
                _ = live.changed() => {}
                _ = self.env.phase.changed() => {}
                Some(done) = self.attempts.next() => self.attempted(done),
                Some(noted) = self.noting.next() => self.noted(noted),
                _ = changed.changed() => self.has_changed = true,
                _ = self.ordered.changed() => self.forget_page(),
                () = sleep_until(self.wake_at) => {}
            }
            fault::point("sink");
            tokio::task::yield_now().await;
        }
        let _ = timeout(END_GRACE, async {
            while let Some(done) = self.attempts.next().await {
                self.attempted(done);
            }
        })
        .await;
        let _ = timeout(END_GRACE, async {
            self.note();
            while let Some(noted) = self.noting.next().await {
                self.noted(noted);
                self.note();
            }
        })
        .await;
        self.liveness.finish();
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.wake_at = now + LONGEST_SLEEP;
        self.take_settings();
        // While associations end, receivers are told of it.
        let is_stopping = *self.env.phase.borrow() == Phase::Aborting;
        self.note();
        let is_closed = self.down.is_some_and(|(_, at)| at > now);
        if let Some((_, at)) = self.down.filter(|_| is_closed) {
            self.wake_at = self.wake_at.min(at);
        }
        if !is_stopping {
            self.look(now, !is_closed);
            let is_gone = self.is_gone || self.row.as_ref().is_some_and(|(row, _)| row.gone_ms.is_some());
            if !is_closed && !is_gone {
                self.begin(now);
            }
        }
        self.rest_if_idle(now);
        self.publish_phase(is_closed, now);
    }

    /// What was read is not what is owed any more.
    fn forget_page(&mut self) {
        self.page.clear();
        (self.has_changed, self.looked_at) = (true, None);
    }

    fn take_settings(&mut self) {
        let events = self.env.live.get().events.clone();
        if Arc::ptr_eq(&events, &self.events) {
            return;
        }
        if let Some(settings) = events.sink(&self.name) {
            self.settings = settings.clone();
        }
        self.events = events;
        // The next attempts are by the new settings, and at once.
        self.former = self.attempts.len();
        self.idle.clear();
        self.down = None;
    }

    /// Reads what is due, as far as that may have changed.
    fn look(&mut self, now: Instant, wants_page: bool) {
        let due_at = |ms: i64| now + put_off(ms, clock_ms(), LONGEST_WAIT);
        let next = self.row.as_ref().filter(|(row, _)| row.gone_ms.is_none()).and_then(|(row, _)| row.due_ms);
        let wants_page = wants_page && self.page.wants_more(self.row.as_ref().map(|(_, generation)| *generation));
        // What is under way is due in the file, so another study that has become due is not seen from here.
        let not_before = self.looked_at.filter(|_| !self.page.is_empty()).map_or(now, |at| at + RETRY);
        let is_due = wants_page && not_before <= now && next.is_some_and(|ms| due_at(ms) <= now);
        if !self.has_changed && !is_due {
            if let Some(ms) = next.filter(|_| wants_page) {
                self.wake_at = self.wake_at.min(due_at(ms).max(not_before));
            }
            return;
        }
        if let Some(at) = self.looked_at.map(|at| at + LOOK_INTERVAL).filter(|at| *at > now) {
            self.wake_at = self.wake_at.min(at);
            return;
        }
        self.looked_at = Some(now);
        match self.read(wants_page) {
            // Without room in the budget, the sink waits.
            Ok(false) => {
                self.looked_at = Some(now + RETRY);
                self.wake_at = self.wake_at.min(now + RETRY + LOOK_INTERVAL);
            }
            Ok(true) => {
                (self.has_changed, self.is_unreadable) = (false, false);
                // With the first of what is due still to be noted, the rest is looked at when it was.
                self.wake_at = self.wake_at.min(now + RETRY);
            }
            Err(_) => {
                (self.reader, self.has_changed, self.is_unreadable) = (None, true, true);
                self.looked_at = Some(now + RETRY);
                self.wake_at = self.wake_at.min(now + RETRY);
            }
        }
    }

    /// False: there is no memory for it.
    fn read(&mut self, wants_page: bool) -> Result<bool, Error> {
        if self.reader.is_none() {
            let holder = self.env.budget.open_account(format!("sink {:?}", self.name));
            let Ok(lease) = holder.lease(Stage::Delivery, WORK_BYTES) else { return Ok(false) };
            self.reader = Some((Reader::open(&self.env.catalogue)?, lease));
        }
        let Some((reader, _)) = &mut self.reader else { return Ok(false) };
        let generation = reader.generation()?;
        let Some(row) = reader.sink(&self.name)? else { return Ok(true) };
        // Another catalogue owes other events, under the same numbers.
        let is_another = self.row.as_ref().is_some_and(|(_, before)| *before != generation);
        if is_another {
            self.page.clear();
        }
        let wants_page = wants_page || (is_another && self.down.is_none());
        if self.row.as_ref().is_some_and(|(before, _)| before.asked_ms != row.asked_ms) {
            self.down = None; // an operator wants it tried now
        }
        let now_ms = clock_ms();
        let due_ms = row.due_ms.filter(|due_ms| put_off(*due_ms, now_ms, LONGEST_WAIT).is_zero());
        if let Some(due_ms) = due_ms.filter(|_| wants_page && row.gone_ms.is_none()) {
            self.page.read(reader, generation, (row.id, due_until(due_ms, now_ms, LONGEST_WAIT)))?;
        }
        self.row = Some((row, generation));
        Ok(true)
    }

    fn begin(&mut self, now: Instant) {
        let Some((_, generation)) = self.row.as_ref() else { return };
        let generation = *generation;
        loop {
            let under_way = self.attempts.len() - self.former;
            // One asks whether a sink that was down is back.
            let asks_at = self.begun_at.filter(|_| self.down.is_some() && under_way > 0).map(|at| at + SILENCE);
            if let Some(at) = asks_at.filter(|at| *at > now) {
                self.wake_at = self.wake_at.min(at);
                return;
            }
            if under_way >= MOST {
                return;
            }
            let Some(owed) = self.page.begin(generation) else { return };
            self.begun_at = Some(now);
            let event = EventOut::of(&owed, generation, &self.events.source, self.settings.patient);
            let mut publisher = self.idle.pop().unwrap_or_else(|| Publisher::new(&self.settings.kind));
            let settings = self.events.clone();
            self.attempts.push(Box::pin(async move {
                let published = publisher.publish(&event).await;
                ((publisher, settings), (generation, owed), published)
            }));
        }
    }

    /// Has outcomes noted: one call at a time, with all that have come meanwhile.
    fn note(&mut self) {
        if self.notes.is_empty() || !self.noting.is_empty() {
            return;
        }
        let (notes, deliveries) = (std::mem::take(&mut self.notes), self.env.deliveries.clone());
        self.noting.push(Box::pin(async move {
            let noted = deliveries.note_events(notes.clone()).await;
            if noted.is_err() {
                sleep(RETRY).await;
            }
            (notes, noted)
        }));
    }

    fn noted(&mut self, (notes, noted): (Vec<EventNote>, Result<(), NotNoted>)) {
        match noted {
            Ok(()) => {
                notes.iter().for_each(|note| self.page.noted(note));
                if notes.iter().any(|note| matches!(note.outcome, EventOutcome::Gone { .. })) {
                    // The row says so from now on, until an operator wants otherwise.
                    self.is_gone = false;
                    self.forget_page();
                }
                self.has_changed = true;
            }
            Err(NotNoted::NoMemory | NotNoted::Lost) => self.notes.splice(..0, notes).for_each(drop),
            // The next process publishes them again.
            Err(NotNoted::Ended) => {}
        }
    }

    fn rest_if_idle(&mut self, now: Instant) {
        if !self.attempts.is_empty() || !self.noting.is_empty() || !self.notes.is_empty() {
            self.worked_at = now;
        } else if self.reader.is_some() {
            let rest_at = self.worked_at.max(self.looked_at.unwrap_or(now)) + REST;
            if now >= rest_at {
                (self.reader, self.idle) = (None, Vec::new());
            } else {
                self.wake_at = self.wake_at.min(rest_at);
            }
        }
    }

    fn publish_phase(&self, is_closed: bool, now: Instant) {
        let is_gone = self.row.as_ref().is_some_and(|(row, _)| row.gone_ms.is_some());
        let phase = if self.is_unreadable {
            SinkPhase::Unavailable
        } else if is_gone {
            SinkPhase::Gone
        } else if is_closed || self.down.is_some() || self.is_failing() {
            SinkPhase::Down
        } else if self.attempts.is_empty() {
            SinkPhase::Idle
        } else {
            SinkPhase::Publishing
        };
        let at = self.down.filter(|_| phase == SinkPhase::Down).map(|(_, at)| at.saturating_duration_since(now));
        let next_attempt = at.map(|wait| SystemTime::now() + wait);
        let mut seen = self.figures.seen.lock();
        (seen.phase, seen.next_attempt) = (phase, next_attempt);
    }
}
