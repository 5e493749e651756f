//! Work on the whole catalogue, in steps: catch-up, check and rebuild. One runs at a time, between the batches of events.
//!
//! Writers come first. Each step is bounded, and while instances wait for a writer, or records for a batch, the pause after it is four times as
//! long as it took: catch-up has a fifth of one thread then, and all of it on a node at rest.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tidegate_catalogue::catch_up::{CatchUp, Depth, DifferenceKind, Disk, Found};
use tidegate_catalogue::{Catalogue, Error, Record};
use tidegate_storage::StoreError;
use tracing::{info, warn};

use super::state::{CatalogueRequest, Work, WorkState};

/// The pause after a step on a busy node, as a multiple of the step, and its bounds.
const PAUSE_FACTOR: u32 = 4;
const LEAST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// When a catch-up is repeated that could not look at all files, the first time and at most.
const FIRST_REPEAT: Duration = Duration::from_secs(30);
const LONGEST_REPEAT: Duration = Duration::from_secs(600);

/// Between two catch-ups of changed directories while nothing asks for one: people delete and move files. It costs a `stat` for each directory.
const INTERVAL: Duration = Duration::from_secs(600);

/// Makes the view of the disk for each work.
pub(crate) type OpenDisk<D> = Box<dyn Fn() -> Result<D, StoreError> + Send + Sync>;

/// The numbers of works, which rise with each that is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(Arc<AtomicU64>);

impl Numbers {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Work that is wanted, and work that is under way.
pub(super) struct Works<D: Disk> {
    open_disk: OpenDisk<D>,
    numbers: Numbers,
    /// Each with the number of the last who wants it.
    wanted: Vec<(Work, u64)>,
    running: Option<Running<D>>,
    /// No step before.
    paused_until: Option<Instant>,
    repeat_at: Option<Instant>,
    repeat_after: Duration,
    /// The storage root could not be looked at, and the log has it.
    is_put_off: bool,
}

struct Running<D: Disk> {
    catch_up: CatchUp<D>,
    began: Instant,
    /// Gaps that were noted before it began.
    gaps: u64,
    state: WorkState,
}

/// A work that has come to its end.
pub(super) struct Ended {
    pub(super) state: WorkState,
    /// Gaps that were noted before it began: it has closed them, if it could look at everything.
    pub(super) gaps: u64,
}

impl<D: Disk> Works<D> {
    pub(super) fn new(open_disk: OpenDisk<D>, numbers: Numbers) -> Self {
        let (wanted, repeat_after) = (Vec::new(), FIRST_REPEAT);
        Self {
            open_disk,
            numbers,
            wanted,
            running: None,
            paused_until: None,
            repeat_at: None,
            repeat_after,
            is_put_off: false,
        }
    }

    /// Wants a work under a number of its own.
    pub(super) fn want(&mut self, work: Work) {
        if !self.wants(work) {
            self.want_as(work, self.numbers.next());
        }
    }

    pub(super) fn ask(&mut self, request: CatalogueRequest, number: u64) {
        self.want_as(request.work(), number);
    }

    fn want_as(&mut self, work: Work, number: u64) {
        match self.wanted.iter_mut().find(|(wanted, _)| *wanted == work) {
            Some((_, last)) => *last = number.max(*last),
            None => self.wanted.push((work, number)),
        }
    }

    fn wants(&self, work: Work) -> bool {
        self.wanted.iter().any(|(wanted, _)| *wanted == work)
    }

    /// What is under way, for operators.
    pub(super) fn running(&self) -> Option<&WorkState> {
        self.running.as_ref().map(|running| &running.state)
    }

    /// Whether nothing is under way or wanted.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.wanted.is_empty()
    }

    pub(super) fn is_checking(&self) -> bool {
        self.running().is_some_and(|state| state.work == Work::Check)
    }

    /// Whether the next step may be the first of a check.
    pub(super) fn may_begin_check(&self) -> bool {
        self.running.is_none() && self.wants(Work::Check)
    }

    /// When the next step is due; `None`: there is nothing to do.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.running.is_some() || !self.wanted.is_empty() {
            Some(self.paused_until.unwrap_or(now))
        } else {
            self.repeat_at
        }
    }

    /// The work under way failed, or its catalogue is to be opened again: it begins anew.
    pub(super) fn begin_again(&mut self) {
        if let Some(running) = self.running.take() {
            self.want_as(running.state.work, running.state.number);
        }
    }

    /// Does a step, and begins with a work before if none is under way. `gaps`: those noted so far. `at_ms`: by
    /// then, what had been queued was entered. Returns the work that has come to its end.
    pub(super) fn step(&mut self, catalogue: &mut Catalogue, gaps: u64, at_ms: i64) -> Result<Option<Ended>, Error> {
        if self.repeat_at.is_some_and(|at| at <= Instant::now()) {
            self.repeat_at = None;
            self.want(Work::Changes);
        }
        if self.running.is_none() {
            self.running = self.next_work(catalogue, gaps, at_ms)?;
        }
        let Some(running) = &mut self.running else { return Ok(None) };
        let is_damaged = !running.state.problems.is_empty();
        let goes_on = !is_damaged && running.catch_up.step(catalogue, at_ms)?;
        running.state.progress = running.catch_up.progress();
        if running.state.named.len() < running.catch_up.named().len() {
            running.state.named = running.catch_up.named().to_vec();
        }
        running.state.took = running.began.elapsed();
        if goes_on {
            return Ok(None);
        }
        Ok(self.running.take().map(|running| self.end(running)))
    }

    fn end(&mut self, running: Running<D>) -> Ended {
        let Running { mut state, gaps, .. } = running;
        state.is_running = false;
        if state.work != Work::Check {
            if state.progress.unreadable > 0 {
                self.repeat_at = Some(Instant::now() + self.repeat_after);
                self.repeat_after = (self.repeat_after * 2).min(LONGEST_REPEAT);
            } else {
                self.repeat_at = Some(Instant::now() + INTERVAL);
                self.repeat_after = FIRST_REPEAT;
            }
        }
        Ended { state, gaps }
    }

    /// Begins with the most thorough of the works that are wanted, which does the others' as well. A check is for itself.
    fn next_work(&mut self, catalogue: &Catalogue, gaps: u64, at_ms: i64) -> Result<Option<Running<D>>, Error> {
        let by_depth = [Work::Rebuild, Work::CatchUp, Work::Changes, Work::Check];
        let Some(work) = by_depth.into_iter().find(|work| self.wants(*work)) else { return Ok(None) };
        // Within the file first: of a damaged one, nothing else can be told.
        let Some(disk) = self.look_at_disk() else { return Ok(None) };
        // As it is on the disk, not as it is held.
        catalogue.release_memory();
        let problems = if work == Work::Check { catalogue.check()? } else { Vec::new() };
        let catch_up = match work {
            Work::Changes => CatchUp::new(disk, Depth::Changed),
            Work::CatchUp => CatchUp::new(disk, Depth::All),
            Work::Rebuild => CatchUp::new(disk, Depth::Read),
            Work::Check => CatchUp::check(disk, at_ms),
        };
        let is_done_by_it = |other: Work| other == work || work != Work::Check && other != Work::Check;
        let numbers = self.wanted.iter().filter(|(other, _)| is_done_by_it(*other)).map(|(_, number)| *number);
        let number = numbers.max().unwrap_or(0);
        self.wanted.retain(|(other, _)| !is_done_by_it(*other));
        let (began, progress) = (Instant::now(), catch_up.progress());
        let problems = problems.iter().map(ToString::to_string).collect();
        let (is_running, took) = (true, Duration::ZERO);
        let (began_at, named) = (SystemTime::now(), Vec::new());
        let state = WorkState { number, work, is_running, began: began_at, took, progress, named, problems };
        Ok(Some(Running { catch_up, began, gaps, state }))
    }

    /// The storage root. `None`: it is not in place, and nothing is concluded from what is.
    fn look_at_disk(&mut self) -> Option<D> {
        match (self.open_disk)() {
            Ok(disk) => {
                self.is_put_off = false;
                Some(disk)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_put_off, true) {
                    warn!(%error, "the storage root cannot be looked at; the catalogue is compared with it later");
                }
                None
            }
        }
    }

    /// Those of these files that are not there.
    pub(super) fn not_there(&mut self, paths: &[PathBuf]) -> Vec<PathBuf> {
        let Some(disk) = self.look_at_disk() else { return Vec::new() };
        paths.iter().filter(|path| matches!(disk.is_there(path), Ok(false))).cloned().collect()
    }

    /// The records of files that were stored before, without those that are no instances any more or cannot be read: a later catch-up sees them.
    pub(super) fn read(&mut self, paths: &[PathBuf]) -> Vec<Record> {
        let Some(disk) = self.look_at_disk() else { return Vec::new() };
        let of_instance = |found| match found {
            Ok(Found::Instance(record)) => Some(*record),
            Ok(Found::Other | Found::Gone) | Err(_) => None,
        };
        disk.read(paths).into_iter().filter_map(of_instance).collect()
    }

    /// Notes that a step took so long, on a node where others wait.
    pub(super) fn pause(&mut self, step_took: Duration, others_wait: bool) {
        let pause = (step_took * PAUSE_FACTOR).clamp(LEAST_PAUSE, LONGEST_PAUSE);
        let pause = if self.is_put_off { Some(FIRST_REPEAT) } else { others_wait.then_some(pause) };
        self.paused_until = pause.map(|pause| Instant::now() + pause);
    }
}

/// Logs the end of a work.
pub(super) fn log_end(state: &WorkState) {
    let WorkState { work, took, progress, problems, .. } = state;
    let took_ms = took.as_millis() as u64;
    // Every few minutes: only what it has found is worth a line.
    if state.number > 1 && *work == Work::Changes && progress.differences() == 0 && progress.unreadable == 0 {
        return;
    }
    if *work == Work::Check {
        info!(
            files = progress.files,
            new = progress.new,
            changed = progress.changed,
            gone = progress.gone,
            unreadable = progress.unreadable,
            problems = problems.len(),
            took_ms,
            "catalogue checked"
        );
    } else {
        info!(
            work = work.name(),
            directories = progress.directories,
            skipped = progress.skipped,
            files = progress.files,
            new = progress.new,
            changed = progress.changed,
            gone = progress.gone,
            unreadable = progress.unreadable,
            took_ms,
            "catalogue caught up"
        );
        // A catch-up reads each file as it is now, so later ones find nothing.
        let altered = state.named.iter().filter(|difference| difference.kind != DifferenceKind::Unreadable).count();
        if altered > 0 {
            warn!(
                files = altered,
                "stored files are not as the catalogue had them: tidegate verify names those that are damaged"
            );
        }
    }
}
