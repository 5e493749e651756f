//! Verification: proves that every file of a root is whole, by reading it to its end.
//!
//! `scanned` lists the files, `file` checks one. It reads and changes nothing, so it may run
//! beside a node: a file under a final name is whole at any moment.

mod file;
mod scanned;
#[cfg(test)]
mod tests;
mod verdict;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::OpenError;
use crate::fs::{Errno, Open};
pub use crate::head::walk::DatasetFault;
use crate::layout::Layout;
pub use crate::meta::MetaFault;
use crate::root;
use file::Checker;
pub use file::{Known, Lookup};
use scanned::{Entry, ScannedFile, list, named};
pub use verdict::{Condition, Digested, Fault, Verdict};

/// Files listed ahead of those that are checked.
const LISTED_AHEAD: usize = 256;

/// The result of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Files checked.
    pub files: u64,
    /// Bytes read of them.
    pub bytes: u64,
    /// Of them, damaged.
    pub damaged: u64,
    /// Of them, malformed as received.
    pub malformed_as_received: u64,
    /// Of them, elsewhere than a layout puts them.
    pub misplaced: u64,
    /// Of them, without a recorded digest: their structure was verified, not every byte.
    pub without_digest: u64,
    /// Files that are neither DICOM nor of a store, links, devices, and names with a leading period but the node's own directory.
    pub foreign: u64,
    /// Removed while it went on.
    pub gone: u64,
    /// Files of a list that are not there.
    pub missing: u64,
}

/// A root to be verified.
#[derive(Debug)]
pub struct Verification {
    root: PathBuf,
    layouts: Vec<Layout>,
    threads: NonZeroUsize,
}

impl Verification {
    /// Of the files below `root`, by so many threads. A file is misplaced where none of `layouts` puts it.
    pub fn new(root: &Path, layouts: Vec<Layout>, threads: NonZeroUsize) -> Self {
        Self { root: root.to_owned(), layouts, threads }
    }

    /// How many files there are to check, as far as directories can be read.
    pub fn count_files(&self) -> Result<u64, OpenError> {
        let root = root::open(&self.root, Open::Directory).map_err(OpenError::io("open", &self.root))?;
        let mut files = 0;
        let counted = list(&root, &mut |entry| {
            files += u64::from(matches!(entry, Entry::File(_)));
            true
        });
        counted.map_err(OpenError::io("list", &self.root)).map(|()| files)
    }

    /// Checks every file and tells each verdict, from whichever thread has it, in no order. Holds a few hundred KiB for each
    /// thread, however many files there are.
    pub fn run(&self, lookup: &Lookup<'_>, report: &(dyn Fn(Verdict) + Sync)) -> Result<Totals, OpenError> {
        self.check_all(list, lookup, report)
    }

    /// The same of the files at `paths` below the root. One that is not there is [`Fault::Missing`].
    pub fn run_of(
        &self,
        paths: impl Iterator<Item = PathBuf>,
        lookup: &Lookup<'_>,
        report: &(dyn Fn(Verdict) + Sync),
    ) -> Result<Totals, OpenError> {
        self.check_all(|root, met| named(root, paths, met), lookup, report)
    }

    /// Those of the files at `paths` below the root that are not there: each is told as [`Fault::Missing`]. Their number.
    pub fn missing_of(&self, paths: impl Iterator<Item = PathBuf>, report: &dyn Fn(Verdict)) -> Result<u64, OpenError> {
        let root = root::open(&self.root, Open::Directory).map_err(OpenError::io("open", &self.root))?;
        let mut missing = 0;
        let looked = named(&root, paths, &mut |entry| {
            // What cannot be looked at is not known to be missing.
            if let Entry::File(scanned) = entry
                && matches!(scanned.is_there(), Ok(false))
            {
                missing += 1;
                report(with_fault(scanned.path, Fault::Missing));
            }
            true
        });
        looked.map_err(OpenError::io("list", &self.root)).map(|()| missing)
    }

    fn check_all(
        &self,
        list: impl FnOnce(&File, &mut dyn FnMut(Entry) -> bool) -> Result<(), Errno>,
        lookup: &Lookup<'_>,
        report: &(dyn Fn(Verdict) + Sync),
    ) -> Result<Totals, OpenError> {
        let root = root::open(&self.root, Open::Directory).map_err(OpenError::io("open", &self.root))?;
        let tally = Tally::default();
        let (sender, receiver) = crossbeam_channel::bounded::<ScannedFile>(LISTED_AHEAD);
        let listed = std::thread::scope(|scope| {
            for _ in 0..self.threads.get() {
                let (receiver, tally) = (receiver.clone(), &tally);
                scope.spawn(move || {
                    let mut checker = Checker::new(&self.layouts, lookup);
                    for scanned in receiver {
                        match check(&mut checker, &scanned) {
                            Some(verdict) => tally.report(verdict, report),
                            None => Tally::add(&tally.gone, 1),
                        }
                    }
                });
            }
            drop(receiver);
            let listed = list(&root, &mut |entry| match entry {
                Entry::File(scanned) => sender.send(scanned).is_ok(),
                Entry::Foreign => {
                    Tally::add(&tally.foreign, 1);
                    true
                }
                Entry::Unreadable { path, error } => {
                    tally.report(unreadable(path, error), report);
                    true
                }
            });
            drop(sender);
            listed
        });
        listed.map_err(OpenError::io("list", &self.root))?;
        Ok(tally.totals())
    }
}

fn check(checker: &mut Checker<'_>, scanned: &ScannedFile) -> Option<Verdict> {
    match scanned.open() {
        Ok(None) if scanned.is_named => Some(with_fault(scanned.path.clone(), Fault::Missing)),
        Ok(file) => file.map(|file| checker.check(&file, &scanned.path)),
        Err(error) => Some(unreadable(scanned.path.clone(), error)),
    }
}

fn unreadable(path: PathBuf, error: Errno) -> Verdict {
    with_fault(path, Fault::Unreadable { after_bytes: 0, error })
}

fn with_fault(path: PathBuf, fault: Fault) -> Verdict {
    Verdict { path, bytes: 0, digested: Digested::NotRecorded, faults: vec![fault] }
}

/// [`Totals`], counted by several threads.
#[derive(Default)]
struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    damaged: AtomicU64,
    malformed_as_received: AtomicU64,
    misplaced: AtomicU64,
    without_digest: AtomicU64,
    foreign: AtomicU64,
    gone: AtomicU64,
    missing: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn report(&self, verdict: Verdict, report: &(dyn Fn(Verdict) + Sync)) {
        let condition = verdict.condition();
        match condition {
            Condition::Whole => {}
            Condition::MalformedAsReceived => Self::add(&self.malformed_as_received, 1),
            Condition::Misplaced => Self::add(&self.misplaced, 1),
            Condition::Damaged => Self::add(&self.damaged, 1),
            Condition::Foreign => Self::add(&self.foreign, 1),
            Condition::Missing => Self::add(&self.missing, 1),
        }
        if !matches!(condition, Condition::Foreign | Condition::Missing) {
            Self::add(&self.files, 1);
            Self::add(&self.bytes, verdict.bytes);
            Self::add(&self.without_digest, u64::from(verdict.digested == Digested::NotRecorded));
        }
        report(verdict);
    }

    fn totals(self) -> Totals {
        Totals {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            damaged: self.damaged.into_inner(),
            malformed_as_received: self.malformed_as_received.into_inner(),
            misplaced: self.misplaced.into_inner(),
            without_digest: self.without_digest.into_inner(),
            foreign: self.foreign.into_inner(),
            gone: self.gone.into_inner(),
            missing: self.missing.into_inner(),
        }
    }
}
