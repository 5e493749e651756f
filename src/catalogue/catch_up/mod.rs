//! Catch-up: makes the catalogue say what the disk has.
//!
//! 1. A directory is compared if its time of change is not the *stamp* that it had when it was last compared. No clock is trusted for it: neither a
//!    jump nor a gap nor a restored backup needs a rule of its own.
//! 2. A directory's stamp is taken before its files are listed, and noted in the transaction of the last of its records or after it. A change meanwhile gives
//!    the directory another stamp, so the next catch-up compares it again.
//! 3. Listing, reading and entering of a file happen within one [`CatchUp::step`], and a step and a batch of events never overlap, since both need the
//!    one writer. So nothing that was read is entered over a newer event.
//! 4. An event may be older than what was read: its file was removed, and a catch-up has seen that already. So an event takes the stamp from its
//!    directory.
//! 5. A file that cannot be looked at is not gone, and its directory gets no stamp.
//!
//! A catch-up may be dropped after any step: the next one skips the directories that have their stamp.

mod decide;
mod difference;
mod disk;
mod rows;

use std::collections::HashSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::batch::find;
use crate::catalogue::Catalogue;
use crate::open::DESIGN;
use crate::record::{Record, Reports, State};
pub use decide::Depth;
pub(crate) use decide::{lasting_stamp, must_read};
use difference::Named;
pub use difference::{Difference, DifferenceKind, MAX_NAMED};
pub use disk::{Directory, Disk, File, Found, Seen};
use rows::{GONE, Known, Stamp};
use tidegate_database::Error;

/// Files, records and directories of one step, together.
const STEP_ITEMS: usize = 1024;

/// An instance has its final name for so long before its event is queued: a writer syncs a batch between the two.
const IN_FLIGHT_MS: i64 = 2000;

/// What is read in a step was received that much after its begin at most.
const LONGEST_STEP_MS: i64 = 60_000;

/// The listed files of one directory that are remembered while its records are held against them; of more files, each record is looked up on the disk.
const MAX_LISTED: usize = 64 * 1024;

/// What a catch-up has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Directories compared.
    pub directories: u64,
    /// Directories passed over, since they have not changed.
    pub skipped: u64,
    /// Files listed.
    pub files: u64,
    /// Of them, read.
    pub read: u64,
    /// Of them, entered as new.
    pub new: u64,
    /// Of them, entered since something else was known of them.
    pub changed: u64,
    /// Of them, no instances.
    pub other: u64,
    /// Records whose files are gone.
    pub gone: u64,
    /// Files and directories that could not be looked at.
    pub unreadable: u64,
}

impl Progress {
    /// Differences between catalogue and disk that were found.
    pub fn differences(&self) -> u64 {
        self.new + self.changed + self.gone
    }
}

/// A catch-up under way.
pub struct CatchUp<D: Disk> {
    disk: D,
    depth: Depth,
    /// Whether it corrects the catalogue, or only counts.
    corrects: bool,
    /// Of an instance received since, the event may not be entered yet.
    on_its_way_ms: i64,
    phase: Phase<D>,
    /// The last gap when it began.
    gap: i64,
    progress: Progress,
    /// Of a check all differences; else the files that another program has changed.
    named: Named,
}

enum Phase<D: Disk> {
    Begin,
    /// Through the directories of the disk.
    Disk(D::Directories, Option<Comparison<D>>),
    /// Through the directories of the catalogue, for those that are not on the disk: the last id, and the one whose records are ended.
    Catalogue(i64, Option<(PathBuf, i64)>),
    Done,
}

/// A directory that is being compared.
struct Comparison<D: Disk> {
    path: PathBuf,
    /// In the catalogue, if it is there.
    id: Option<i64>,
    stamp_ns: i64,
    files: Option<D::Files>,
    /// The records whose files were listed; `None` if they were too many.
    listed: Option<HashSet<i64>>,
    /// The last record held against the disk.
    after: i64,
    is_whole: bool,
    /// It was begun in an earlier step.
    took_steps: bool,
}

/// The findings of one step.
#[derive(Default)]
struct Step {
    items: usize,
    unknown: Vec<PathBuf>,
    gone: Vec<PathBuf>,
    stamps: Vec<Stamp>,
}

impl<D: Disk> CatchUp<D> {
    /// A catch-up with `disk`, to be stepped until its end.
    pub fn new(disk: D, depth: Depth) -> Self {
        let (phase, progress, named) = (Phase::Begin, Progress::default(), Named::default());
        Self { disk, depth, corrects: true, on_its_way_ms: i64::MAX, phase, gap: 0, progress, named }
    }

    /// The same without any change: it counts what differs, and names the first. What was queued before `since_ms` must be entered, or it counts. The event of an instance
    /// that was received later, or a moment before, may be on its way: it does not count.
    pub fn check(disk: D, since_ms: i64) -> Self {
        let on_its_way_ms = since_ms.saturating_sub(IN_FLIGHT_MS);
        Self { corrects: false, on_its_way_ms, ..Self::new(disk, Depth::All) }
    }

    /// What it has done so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The first differences that a check has found, at most [`MAX_NAMED`].
    pub fn named(&self) -> &[Difference] {
        self.named.all()
    }

    /// Does a bounded part of the work, in one transaction. `false` at the end. After an error the step may be repeated by a new catch-up;
    /// nothing is lost.
    pub fn step(&mut self, catalogue: &mut Catalogue, at_ms: i64) -> Result<bool, Error> {
        let mut step = Step::default();
        // One view for all questions of a step: the locks of each of them cost more than the answer.
        let view = catalogue.connection().unchecked_transaction().map_err(DESIGN.sqlite(catalogue.path()))?;
        while step.items < STEP_ITEMS && !matches!(self.phase, Phase::Done) {
            step.items += 1;
            self.advance(catalogue, &mut step)?;
        }
        drop(view);
        let records = self.read(&mut step);
        self.write(catalogue, step, &records, at_ms)?;
        if !matches!(self.phase, Phase::Done) {
            return Ok(true);
        }
        if self.corrects {
            catalogue.note_complete(at_ms)?;
        }
        if self.corrects && self.progress.unreadable == 0 {
            catalogue.close_gaps(self.gap, at_ms)?;
        }
        Ok(false)
    }

    fn advance(&mut self, catalogue: &Catalogue, step: &mut Step) -> Result<(), Error> {
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Begin => {
                self.gap = catalogue.last_gap()?;
                // Without the root there is nothing to say about the files below it.
                let directories = self.disk.directories().map_err(DESIGN.system(catalogue.path()))?;
                self.phase = Phase::Disk(directories, None);
            }
            Phase::Disk(directories, Some(comparison)) => {
                let comparison = self.compare(catalogue, comparison, step)?;
                self.phase = Phase::Disk(directories, comparison);
            }
            Phase::Disk(mut directories, None) => match directories.next() {
                Some(Ok(directory)) => {
                    let comparison = self.begin(catalogue, directory)?;
                    self.phase = Phase::Disk(directories, comparison);
                }
                Some(Err(_)) => {
                    self.progress.unreadable += 1;
                    self.phase = Phase::Disk(directories, None);
                }
                None => self.phase = Phase::Catalogue(0, None),
            },
            Phase::Catalogue(directory, Some((path, after))) => {
                let left = self.end_all(catalogue, directory, (&path, after), step)?;
                self.phase = Phase::Catalogue(directory, left.map(|after| (path, after)));
            }
            Phase::Catalogue(after, None) => self.next_known(catalogue, after)?,
            Phase::Done => {}
        }
        Ok(())
    }

    /// Begins with a directory of the disk, unless it is as it was.
    fn begin(&mut self, catalogue: &Catalogue, directory: Directory) -> Result<Option<Comparison<D>>, Error> {
        let Directory { path, stamp_ns } = directory;
        let known = rows::directory(catalogue, &path)?;
        if self.depth == Depth::Changed && known.is_some_and(|known| known.stamp_ns == Some(stamp_ns)) {
            self.progress.skipped += 1;
            return Ok(None);
        }
        match self.disk.files(&path) {
            Ok(files) => {
                self.progress.directories += 1;
                let (id, listed) = (known.map(|known| known.id), Some(HashSet::new()));
                let (files, after, is_whole, took_steps) = (Some(files), 0, true, false);
                Ok(Some(Comparison { path, id, stamp_ns, files, listed, after, is_whole, took_steps }))
            }
            // If it was removed just now, the catalogue's directories tell.
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    self.note_unreadable(&path);
                }
                Ok(None)
            }
        }
    }

    /// Compares one file of a directory, or a page of its records when all its files are. `None` at its end.
    fn compare(
        &mut self,
        catalogue: &Catalogue,
        mut comparison: Comparison<D>,
        step: &mut Step,
    ) -> Result<Option<Comparison<D>>, Error> {
        if let Some(files) = &mut comparison.files {
            match files.next() {
                Some(Ok(file)) => self.compare_file(catalogue, &mut comparison, file, step)?,
                Some(Err(_)) => {
                    self.progress.unreadable += 1;
                    comparison.is_whole = false;
                }
                None => comparison.files = None,
            }
            return Ok(Some(comparison));
        }
        let Comparison { path, id, stamp_ns, ref listed, after, mut is_whole, took_steps, .. } = comparison;
        let records = match id {
            // After an incomplete listing nothing is gone.
            Some(id) if is_whole => rows::present(catalogue, (id, &path), after)?,
            _ => Vec::new(),
        };
        let Some((last, _)) = records.last() else {
            let stamp_ns = lasting_stamp(stamp_ns, self.disk.now_ns()).filter(|_| is_whole);
            step.stamps.push(Stamp { path, stamp_ns, took_steps });
            return Ok(None);
        };
        let after = *last;
        for (id, path) in records {
            step.items += 1;
            if listed.as_ref().is_none_or(|listed| !listed.contains(&id)) {
                is_whole &= self.look(path, step);
            }
        }
        Ok(Some(Comparison { path, id, after, is_whole, ..comparison }))
    }

    fn compare_file(
        &mut self,
        catalogue: &Catalogue,
        comparison: &mut Comparison<D>,
        file: File,
        step: &mut Step,
    ) -> Result<(), Error> {
        self.progress.files += 1;
        let path = comparison.path.join(&file.name);
        let known = find(catalogue.connection(), &path).map_err(DESIGN.sqlite(catalogue.path()))?;
        let must_read = must_read(&file.seen, known.as_ref(), self.depth);
        if let (Some(listed), Some(known)) = (&mut comparison.listed, &known) {
            listed.insert(known.id);
            if listed.len() > MAX_LISTED {
                comparison.listed = None;
            }
        }
        if must_read {
            if self.corrects
                && let Some(kind) = known.as_ref().and_then(|known| difference::of_seen(&file.seen, known))
            {
                self.named.note(&path, None, kind);
            }
            step.unknown.push(path);
        }
        Ok(())
    }

    /// Notes whether the file of a record is gone. `false` if nothing can be said.
    fn look(&mut self, path: PathBuf, step: &mut Step) -> bool {
        match self.disk.is_there(&path) {
            Ok(true) => true,
            Ok(false) => {
                step.gone.push(path);
                true
            }
            Err(_) => {
                self.note_unreadable(&path);
                false
            }
        }
    }

    fn note_unreadable(&mut self, path: &Path) {
        self.progress.unreadable += 1;
        self.named.note_unreadable(path);
    }

    /// Goes to the next directory of the catalogue.
    fn next_known(&mut self, catalogue: &Catalogue, after: i64) -> Result<(), Error> {
        let Some((Known { id, stamp_ns }, path)) = rows::next_directory(catalogue, after)? else { return Ok(()) };
        if self.depth == Depth::Changed && stamp_ns == Some(GONE) {
            self.phase = Phase::Catalogue(id, None);
            return Ok(());
        }
        let is_gone = match self.disk.stamp_ns(&path) {
            Ok(stamp_ns) => stamp_ns.is_none(),
            Err(_) => {
                self.note_unreadable(&path);
                false
            }
        };
        self.phase = Phase::Catalogue(id, is_gone.then_some((path, 0)));
        Ok(())
    }

    /// Ends a page of the records of a directory that is gone. The last of them, or `None` when it has no more.
    fn end_all(
        &mut self,
        catalogue: &Catalogue,
        directory: i64,
        (path, after): (&Path, i64),
        step: &mut Step,
    ) -> Result<Option<i64>, Error> {
        let records = rows::present(catalogue, (directory, path), after)?;
        let Some(last) = records.last().map(|(last, _)| *last) else {
            // Behind records that were just ended, the next catch-up has to say so: one of them may not have been looked at.
            let stamp_ns = (after == 0).then_some(GONE);
            step.stamps.push(Stamp { path: path.to_owned(), stamp_ns, took_steps: false });
            return Ok(None);
        };
        for (_, path) in records {
            step.items += 1;
            self.look(path, step);
        }
        Ok(Some(last))
    }

    /// Reads the files of a step that have to be read.
    fn read(&mut self, step: &mut Step) -> Vec<Record> {
        if step.unknown.is_empty() {
            return Vec::new();
        }
        let unknown = std::mem::take(&mut step.unknown);
        let mut records = Vec::with_capacity(unknown.len());
        for (path, found) in unknown.iter().zip(self.disk.read(&unknown)) {
            self.progress.read += 1;
            match found {
                Ok(Found::Instance(record)) => records.push(*record),
                Ok(Found::Other) => {
                    self.progress.other += 1;
                    // It may stand where an instance was.
                    step.gone.push(path.clone());
                }
                Ok(Found::Gone) => {}
                Err(_) => {
                    self.note_unreadable(path);
                    self.taint(path.parent().unwrap_or(Path::new("")), &mut step.stamps);
                }
            }
        }
        records
    }

    /// A file of the directory could not be read: it is compared again next time.
    fn taint(&mut self, directory: &Path, stamps: &mut [Stamp]) {
        if let Phase::Disk(_, Some(comparison)) = &mut self.phase
            && comparison.path == directory
        {
            comparison.is_whole = false;
        }
        stamps.iter_mut().filter(|stamp| stamp.path == directory).for_each(|stamp| stamp.stamp_ns = None);
    }

    fn write(&mut self, catalogue: &mut Catalogue, step: Step, records: &[Record], at_ms: i64) -> Result<(), Error> {
        if !self.corrects {
            return self.count(catalogue, &step, records, at_ms);
        }
        let begun = match &mut self.phase {
            Phase::Disk(_, Some(comparison)) if !comparison.took_steps => {
                comparison.took_steps = true;
                Some(comparison.path.as_os_str().as_bytes())
            }
            _ => None,
        };
        if records.is_empty() && step.gone.is_empty() && step.stamps.is_empty() && begun.is_none() {
            return Ok(());
        }
        let (gone, entered) = catalogue.transact_reports(Reports::Current { at_ms }, |batch| {
            let ended = step.gone.iter().map(|path| batch.end_path(path, State::Gone, at_ms).map(u64::from));
            let gone = ended.sum::<rusqlite::Result<u64>>()? + rows::end_moved(batch, &self.disk, records, at_ms)?;
            records.iter().try_for_each(|record| batch.enter(record))?;
            step.stamps.iter().try_for_each(|stamp| rows::set_stamp(batch, stamp))?;
            begun.map_or(Ok(()), |path| rows::begin_comparison(batch, path))?;
            Ok(gone)
        })?;
        self.progress.new += entered.new;
        self.progress.changed += entered.changed;
        self.progress.gone += gone;
        Ok(())
    }

    /// Counts what a correction would have changed.
    fn count(&mut self, catalogue: &Catalogue, step: &Step, records: &[Record], at_ms: i64) -> Result<(), Error> {
        // A time in the future is that of a wrong clock, and nothing is on its way for it.
        let until_ms = at_ms.saturating_add(LONGEST_STEP_MS);
        let is_on_its_way = |record: &Record| (self.on_its_way_ms..until_ms).contains(&record.received_ms);
        for record in records.iter().filter(|record| !is_on_its_way(record)) {
            let known = find(catalogue.connection(), &record.path).map_err(DESIGN.sqlite(catalogue.path()))?;
            let Some(kind) = difference::of_file(record, known.as_ref()) else { continue };
            let is_new = kind == DifferenceKind::NotEntered;
            self.progress.new += u64::from(is_new);
            self.progress.changed += u64::from(!is_new);
            self.named.note(&record.path, Some(record.sop_instance_uid.clone()), kind);
        }
        for path in &step.gone {
            let known = find(catalogue.connection(), path).map_err(DESIGN.sqlite(catalogue.path()))?;
            if let Some(known) = known.filter(|known| known.state == State::Present) {
                self.progress.gone += 1;
                self.named.note_gone(catalogue, path, &known)?;
            }
        }
        Ok(())
    }
}
