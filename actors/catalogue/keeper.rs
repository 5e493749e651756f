//! The open file, and what is done about each of its errors: [`tidegate_catalogue::Error::remedy`] says which.
//!
//! Each state is logged once. Nothing is given up: what cannot be done now is tried again, at most [`PAUSES`]`.longest` later.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_catalogue::catch_up::Disk;
use tidegate_catalogue::{Catalogue, DESIGN, Error, News, Remedy, set_aside};
use tidegate_memory::MemoryBudget;
use tidegate_storage::StoreError;
use tracing::{error, info, warn};

use super::memory::{IsMeasured, WorkMemory};
use super::notes::Call;
use super::queue::{BATCH, Batch, Cause};
use super::shared::{Shared, Trouble};
use super::state::{LastBatch, OpenGap, Work};
use super::work::{Ended, OpenDisk, Works, log_end};
use crate::committed::clock_ms;
use crate::reopening::{Pauses, Reopening, remedy_of};

const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
    between_set_aside: Duration::from_secs(60),
};

/// Asks for the id of the storage root, and for its path.
pub(crate) type RootId = Box<dyn Fn() -> Result<(u64, PathBuf), StoreError> + Send + Sync>;

/// The owner of the file.
pub(super) struct Keeper<D: Disk> {
    pub(super) shared: Arc<Shared>,
    file: Option<Catalogue>,
    memory: WorkMemory,
    /// The limit of its page cache.
    cache_bytes: u64,
    root_id: RootId,
    pub(super) works: Works<D>,
    /// Records that could not be entered yet.
    pending: Option<Batch>,
    /// Notes about deliveries that could not be entered yet.
    pending_notes: Vec<Call>,
    /// Missed instances that are not noted in the file yet.
    unnoted: Vec<(Cause, u64)>,
    /// Gaps noted so far.
    gaps: u64,
    /// Transactions of the open file so far that have changed deliveries.
    delivery_changes: Option<u64>,
    /// The same of events that are owed.
    event_changes: Option<u64>,
    /// How often the file was opened.
    openings: u64,
    /// Calls of the file.
    calls: u64,
    reopening: Reopening,
}

impl<D: Disk> Keeper<D> {
    pub(super) fn new(
        shared: Arc<Shared>,
        budget: MemoryBudget,
        is_measured: IsMeasured,
        root_id: RootId,
        open_disk: OpenDisk<D>,
    ) -> Self {
        let (memory, works) = (WorkMemory::new(budget, is_measured), Works::new(open_disk, shared.numbers.clone()));
        Self {
            shared,
            file: None,
            memory,
            cache_bytes: 0,
            root_id,
            works,
            pending: None,
            pending_notes: Vec::new(),
            unnoted: Vec::new(),
            gaps: 0,
            delivery_changes: None,
            event_changes: None,
            openings: 0,
            calls: 0,
            reopening: Reopening::new(PAUSES),
        }
    }

    /// When something may be tried again after a failure; `None`: nothing has failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.reopening.at()
    }

    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether records or notes wait for the file.
    pub(super) fn has_pending(&self) -> bool {
        self.pending.is_some() || !self.pending_notes.is_empty() || !self.unnoted.is_empty()
    }

    /// How often the file was opened.
    pub(super) fn openings(&self) -> u64 {
        self.openings
    }

    /// Calls of the file so far: what was read of it before the last one may have changed.
    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    /// The open file, to be read in turns with writing.
    pub(super) fn file(&self) -> Option<&Catalogue> {
        self.file.as_ref()
    }

    /// Whether the catalogue has all that is on the disk and was told of, as far as it knows.
    pub(super) fn is_current(&self) -> bool {
        let is_current = self.shared.figures.seen.lock().is_current();
        is_current && self.unnoted.is_empty() && !self.shared.queue.has_missed()
    }

    /// Whether memory is leased for work.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_leased()
    }

    /// Gives the caches back.
    pub(super) fn rest(&mut self) {
        if let Some(file) = &self.file {
            file.release_memory();
        }
        self.memory.release();
    }

    /// Opens the file, and wants a catch-up: what happened while it was closed is not known.
    pub(super) fn open(&mut self) {
        let (path, keeps_patients) = (self.shared.settings.path.clone(), self.shared.settings.keeps_patients);
        let began = Instant::now();
        let (root_id, root) = match self.calling(|keeper| (keeper.root_id)()) {
            Ok(root) => root,
            Err(error) => return self.failed_to_know_root(&error),
        };
        let is_own = self.shared.settings.is_own;
        let opened = self.calling(|_| {
            let mut file = Catalogue::open(&path, keeps_patients)?;
            file.claim(&root, root_id, is_own)?;
            let is_complete = file.is_complete()?;
            Ok((file, is_complete))
        });
        match opened {
            Ok((file, is_complete)) => {
                let (bytes, took_ms) = (file.bytes(), began.elapsed().as_millis() as u64);
                info!(path = %path.display(), bytes, is_complete, took_ms, "catalogue opened");
                let mut seen = self.shared.figures.seen.lock();
                (seen.is_partial, seen.is_uncertain, seen.bytes) = (!is_complete, true, bytes);
                drop(seen);
                (self.file, self.cache_bytes, self.delivery_changes, self.event_changes) = (Some(file), 0, None, None);
                self.openings += 1;
                self.tell_changes();
                self.works.want(Work::Changes);
                self.succeeded();
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Without the id of the root, a catalogue of another root cannot be told.
    fn failed_to_know_root(&mut self, error: &StoreError) {
        self.reopening.failed(Remedy::Retry);
        let reason = format!("the id of the storage root cannot be read or written: {error}");
        let remedy = "put back the file .tidegate/id that was there, or move away what stands there now";
        self.tell(Trouble { reason, remedy: Some(remedy.to_owned()) });
    }

    /// Enters the records of a batch and the notes about deliveries, and notes what was missed.
    pub(super) fn enter(&mut self) {
        self.notice_missed();
        let batch = self.pending.take().unwrap_or_else(|| self.shared.queue.take());
        let mut calls = std::mem::take(&mut self.pending_notes);
        calls.extend(self.shared.notes.take());
        let records = batch.len();
        if records == 0 && calls.is_empty() {
            batch.done();
            return self.note_missed();
        }
        let began = Instant::now();
        let entered = self.attempt(|file, works| {
            let unknown = file.not_present(batch.stored.iter().map(|again| &*again.path))?;
            if !unknown.is_empty() {
                file.enter(&works.read(&unknown))?;
            }
            let notes: Vec<_> = calls.iter().flat_map(|call| &call.notes).collect();
            let event_notes: Vec<_> = calls.iter().flat_map(|call| &call.event_notes).collect();
            let told: Vec<_> = calls.iter().flat_map(|call| &call.told).collect();
            let (records, again) = (&*batch.records, &*batch.stored);
            let news = News { records, again, notes: &notes, event_notes: &event_notes, told: &told };
            file.enter_news(&news).map(drop)
        });
        if entered.is_none() {
            (self.pending, self.pending_notes) = (Some(batch), calls);
            return;
        }
        batch.done();
        calls.into_iter().for_each(Call::done);
        if records > 0 {
            let took = began.elapsed();
            self.shared.figures.entered.add(records);
            self.shared.figures.batches.record(took);
            let last_batch = Some(LastBatch { at: SystemTime::now(), records, took });
            let bytes = self.file.as_ref().map_or(0, Catalogue::bytes);
            let mut seen = self.shared.figures.seen.lock();
            (seen.last_batch, seen.bytes) = (last_batch, bytes);
        }
        self.note_missed();
    }

    /// Opens a gap for what was missed since the last look.
    fn notice_missed(&mut self) {
        let missed = self.shared.queue.take_missed();
        if missed.is_empty() {
            return;
        }
        let mut seen = self.shared.figures.seen.lock();
        for (cause, count) in missed {
            if cause == Cause::Ended {
                self.shared.figures.missed.add(count);
            }
            let reason =
                seen.trouble.as_ref().map_or_else(|| cause.text().to_owned(), |trouble| trouble.reason.clone());
            let gap = seen.gap.get_or_insert_with(|| {
                warn!(reason, "instances are missed by the catalogue; catch-up will find them");
                OpenGap { since: SystemTime::now(), reason, missed: 0 }
            });
            gap.missed += count;
            match self.unnoted.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, unnoted)) => *unnoted += count,
                None => self.unnoted.push((cause, count)),
            }
        }
    }

    /// Notes in the file what was missed. The catch-up that follows closes the gap.
    fn note_missed(&mut self) {
        while let Some((cause, count)) = self.unnoted.last().copied() {
            if self.attempt(|file, _| file.note_gap(cause.text(), count, clock_ms())).is_none() {
                return;
            }
            self.unnoted.pop();
            self.gaps += 1;
            self.works.want(Work::Changes);
        }
    }

    /// Enters all that is queued now: a check would count it as differences. False after a failure.
    fn enter_what_waits(&mut self) -> bool {
        let batches = usize::from(self.has_pending()) + self.shared.queue.waiting().0.div_ceil(BATCH);
        (0..batches).all(|_| {
            self.enter();
            self.reopening.at().is_none()
        })
    }

    /// Looks for files that somebody has missed, and notes those that are not there.
    pub(super) fn look_for(&mut self, paths: &[PathBuf]) {
        let gone = self.works.not_there(paths);
        if !gone.is_empty() {
            self.attempt(|file, _| file.mark_gone(&gone, clock_ms()));
        }
    }

    /// Enters all that is queued now, and notes what was missed. False after a failure.
    pub(super) fn enter_all(&mut self) -> bool {
        self.enter_what_waits().then(|| self.enter()).is_some() && self.reopening.at().is_none()
    }

    /// Whether the catalogue has all that is on the disk, as far as it knows.
    pub(super) fn has_everything(&self) -> bool {
        self.is_current() && self.works.is_idle()
    }

    /// Does a step of the work on the whole catalogue. `others_wait`: so do instances or records.
    pub(super) fn step(&mut self, others_wait: bool) {
        let at_ms = clock_ms();
        if self.works.may_begin_check() && !self.enter_what_waits() {
            return;
        }
        let (began, gaps) = (Instant::now(), self.gaps);
        match self.attempt(|file, works| works.step(file, gaps, at_ms)) {
            Some(ended) => {
                if let Some(running) = self.works.running().cloned() {
                    self.shared.figures.seen.lock().work = Some(running);
                }
                ended.into_iter().for_each(|ended| self.end(ended));
            }
            None => self.works.begin_again(),
        }
        self.works.pause(began.elapsed(), others_wait);
    }

    fn end(&mut self, Ended { state, gaps }: Ended) {
        log_end(&state);
        let has_no_later_gap = gaps == self.gaps && self.unnoted.is_empty();
        let is_damaged = !state.problems.is_empty();
        let bytes = self.file.as_ref().map_or(0, Catalogue::bytes);
        let mut seen = self.shared.figures.seen.lock();
        if state.work == Work::Check {
            seen.last_check = Some(state.clone());
        } else {
            (seen.is_partial, seen.is_uncertain) = (false, false);
            if has_no_later_gap && state.progress.unreadable == 0 {
                seen.gap = None;
            }
        }
        (seen.work, seen.bytes) = (Some(state.clone()), bytes);
        drop(seen);
        if is_damaged {
            let cause = state.problems.first().cloned().unwrap_or_default();
            let error = DESIGN.corrupt(&self.shared.settings.path, cause);
            self.failed(&error);
        }
    }

    /// Calls the open file, and acts on an error.
    pub(super) fn attempt<T>(
        &mut self,
        call: impl FnOnce(&mut Catalogue, &mut Works<D>) -> Result<T, Error>,
    ) -> Option<T> {
        let mut file = self.file.take()?;
        let cache_bytes = self.memory.acquire(file.bytes());
        let is_limited = std::mem::replace(&mut self.cache_bytes, cache_bytes) == cache_bytes;
        let result = self.calling(|keeper| {
            if !is_limited {
                file.limit_cache(cache_bytes)?;
            }
            call(&mut file, &mut keeper.works)
        });
        self.file = Some(file);
        self.calls += 1;
        self.tell_changes();
        match result {
            Ok(value) => {
                self.succeeded();
                Some(value)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Does a part of the first order of an operator.
    pub(super) fn obey(&mut self) {
        let Some(mut order) = self.shared.orders.take() else { return };
        let done = self.attempt(|file, _| order.step(file));
        order.tell(&self.shared.notes);
        if done == Some(true) { order.done() } else { self.shared.orders.put_back(order) }
    }

    /// Tells those who deliver or publish, and observers, if deliveries or events have changed.
    fn tell_changes(&mut self) {
        let Some(file) = &self.file else { return };
        let changes = Some(file.event_changes());
        if std::mem::replace(&mut self.event_changes, changes) != changes {
            if let Ok(sinks) = file.sinks() {
                self.shared.figures.seen.lock().sinks = sinks;
            }
            self.shared.notes.tick_events();
        }
        let changes = Some(file.delivery_changes());
        if std::mem::replace(&mut self.delivery_changes, changes) != changes {
            // Without the rows, the former ones are told; the next change tells more.
            if let Ok(destinations) = file.destinations() {
                self.shared.figures.seen.lock().destinations = destinations;
            }
            self.shared.notes.tick();
        }
    }

    /// Lets observers see that a call is under way: the thread cannot tell while it waits for a disk.
    fn calling<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        self.shared.figures.seen.lock().calling = Some(Instant::now());
        let result = call(self);
        self.shared.figures.seen.lock().calling = None;
        result
    }

    fn succeeded(&mut self) {
        self.reopening.succeeded();
        let former = self.shared.figures.seen.lock().trouble.take();
        if let Some(Trouble { reason, .. }) = former {
            info!(path = %self.shared.settings.path.display(), former_reason = reason, "catalogue works again");
        }
    }

    fn failed(&mut self, error: &Error) {
        let is_own = self.shared.settings.is_own;
        let remedy = remedy_of(error, is_own);
        if remedy != Remedy::Retry {
            self.file = None;
            self.works.begin_again();
        }
        let trouble = match remedy {
            Remedy::Retry => Trouble { reason: error.to_string(), remedy: None },
            Remedy::SetAside if is_own && self.reopening.may_set_aside() => match self.set_aside(error) {
                Ok(()) => return,
                Err(error) => unavailable(&error),
            },
            Remedy::Reopen | Remedy::SetAside | Remedy::Operator => unavailable(error),
        };
        self.reopening.failed(remedy);
        self.tell(trouble);
    }

    fn set_aside(&mut self, error: &Error) -> Result<(), Error> {
        let path = self.shared.settings.path.clone();
        let aside = self.calling(|_| set_aside(&path, clock_ms()))?;
        warn!(
            path = %path.display(), aside = %aside.display(), %error,
            "damaged catalogue set aside; it is rebuilt from the stored files"
        );
        self.reopening.was_set_aside();
        Ok(())
    }

    /// Logs a trouble, once for each reason.
    fn tell(&mut self, trouble: Trouble) {
        let mut seen = self.shared.figures.seen.lock();
        if seen.trouble.as_ref() == Some(&trouble) {
            return;
        }
        seen.trouble = Some(trouble.clone());
        drop(seen);
        let (path, reason) = (self.shared.settings.path.display(), trouble.reason);
        match trouble.remedy {
            Some(remedy) => error!(%path, reason, remedy, "catalogue unavailable; instances are stored as before"),
            None => {
                warn!(%path, reason, "catalogue cannot be written; trying again, and instances are stored as before")
            }
        }
    }
}

fn unavailable(error: &Error) -> Trouble {
    Trouble { reason: error.to_string(), remedy: Some(error.advice().to_owned()) }
}
