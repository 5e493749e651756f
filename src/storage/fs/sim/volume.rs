//! A simulated machine with one filesystem: its memory, its disk, and its restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::cache::Cache;
use super::disk::{Ailment, Device};
use super::errors::{Call, Faults, WriteBackErrors};
use super::journal::{Aborted, Inode, Journal, Key};
use super::random::Random;
use super::threads::{self, Time};
use crate::fs::{Errno, Filesystem, FilesystemKind, Space};

/// The time of day when a simulation begins.
pub(super) const BEGIN_MS: i64 = 1_700_000_000_000;

/// The directory at the top.
pub(super) const TOP: Key = 0;

/// A simulated machine, shared by all handles.
pub(crate) type Machine = Arc<parking_lot::Mutex<Volume>>;

/// The properties of a machine, constant over a history.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub(crate) kind: FilesystemKind,
    /// Size of the filesystem.
    pub(crate) capacity_blocks: u64,
    /// Alignment in bytes of writes past the page cache; `None`: they are not supported.
    pub(crate) direct_bytes: Option<u64>,
    /// A rename can be told not to replace.
    pub(crate) renames_to_free: bool,
    pub(crate) has_attributes: bool,
    /// A list tells the kinds of what is in it.
    pub(crate) lists_kinds: bool,
    pub(crate) abort_shows: Aborted,
    /// The kernel does work of its own at one call in this many.
    pub(crate) background_one_in: u64,
    /// The journal commits by itself at one call in this many.
    pub(crate) commit_one_in: u64,
    /// Longest time of a call.
    pub(crate) call_us: u64,
    /// Longest time of a sync.
    pub(crate) sync_us: u64,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            kind: FilesystemKind::Ext4,
            capacity_blocks: 1 << 20,
            direct_bytes: Some(512),
            renames_to_free: true,
            has_attributes: true,
            lists_kinds: true,
            abort_shows: Aborted::Quiet,
            background_one_in: 0,
            commit_one_in: 0,
            call_us: 20,
            sync_us: 2000,
        }
    }
}

/// How a machine or a process on it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The power is cut: memory and what the device has not flushed are gone.
    PowerCut,
    /// The kernel ends, or the filesystem is torn off and mounted again: memory is gone.
    Unclean,
    /// The filesystem is unmounted in order and mounted again.
    Remount,
    /// The process is killed.
    Kill,
}

/// A simulated machine with one filesystem.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) nature: Nature,
    pub(super) abort_shows: Aborted,
    pub(crate) random: Random,
    pub(crate) device: Device,
    pub(super) inodes: Vec<Option<Inode>>,
    pub(super) numbers_in_use: BTreeSet<u64>,
    pub(super) journal: Journal,
    pub(super) errors: WriteBackErrors,
    pub(super) used_blocks: u64,
    /// Of dirty pages without a place on the disk yet.
    pub(super) reserved_blocks: u64,
    /// Handles with an advisory lock, and whether nobody else may have one.
    pub(super) locks: BTreeMap<Key, Vec<(u64, bool)>>,
    pub(super) next_handle: u64,
    mount: u128,
    /// The live process.
    pub(super) process: Option<u32>,
    last_process: u32,
    pub(crate) faults: Faults,
    /// Calls so far.
    pub(crate) calls: u64,
    /// How all ends, and at which call.
    pub(crate) ends_at: Option<(u64, End)>,
    /// The events to come, each at a call; the next one is last.
    pub(crate) events: Vec<(u64, Event)>,
    /// Errors that were made up.
    pub(crate) made_up: u64,
    /// Names that files were given, and what memory had of the file then.
    pub(super) given: Vec<(OsString, Cache)>,
    /// When a name was looked at last.
    looked_at: BTreeMap<OsString, u64>,
}

/// So many calls after a look at a name, a thread may still rely on what it has seen.
const LOOK_CALLS: u64 = 40;

/// A change of the machine's faults.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Ailment(Ailment),
    Faults(Faults),
    AbortJournal,
}

impl Volume {
    pub(crate) fn new(nature: Nature, mut random: Random) -> Self {
        let mut volume = Self {
            abort_shows: nature.abort_shows,
            nature,
            random: random.fork(),
            device: Device::default(),
            inodes: Vec::new(),
            numbers_in_use: BTreeSet::new(),
            journal: Journal::default(),
            errors: WriteBackErrors::default(),
            used_blocks: 0,
            reserved_blocks: 0,
            locks: BTreeMap::new(),
            next_handle: 0,
            mount: 1,
            process: None,
            last_process: 0,
            faults: Faults::default(),
            calls: 0,
            ends_at: None,
            events: Vec::new(),
            made_up: 0,
            given: Vec::new(),
            looked_at: BTreeMap::new(),
        };
        volume.make_top();
        let _ = volume.commit(); // there is nothing to fail
        volume
    }

    /// A new process, which is the one that lives.
    pub(crate) fn start_process(&mut self) -> u32 {
        self.last_process += 1;
        self.process = Some(self.last_process);
        self.last_process
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.process.is_some()
    }

    pub(super) fn note_look(&mut self, path: &Path) {
        if let Some(name) = path.file_name() {
            self.looked_at.insert(name.to_owned(), self.calls);
        }
    }

    /// Whether a thread may be about to act on what it saw under that name.
    pub(crate) fn is_looked_at(&self, path: &Path) -> bool {
        let at = path.file_name().and_then(|name| self.looked_at.get(name));
        at.is_some_and(|at| self.calls - at < LOOK_CALLS)
    }

    /// Begins a call of `process`: counts it, lets time pass and due events happen. An error ends the call.
    pub(super) fn begin(&mut self, process: u32, call: Call) -> Result<(), Errno> {
        if self.process != Some(process) {
            return Err(Errno::IO);
        }
        self.calls += 1;
        threads::spend(Time::from_micros(self.random.below(self.nature.call_us + 1)));
        while let Some((_, event)) = self.events.pop_if(|(at, _)| *at <= self.calls) {
            self.happen(event);
        }
        if let Some((_, end)) = self.ends_at.take_if(|(at, _)| *at <= self.calls) {
            threads::note(|| format!("=== {end:?}"));
            self.end(end);
            return Err(Errno::IO);
        }
        if self.random.one_in(self.nature.background_one_in) {
            self.background();
        }
        if self.random.one_in(self.nature.commit_one_in) && self.journal.aborted.is_none() {
            let _ = self.commit(); // nobody waits for it
        }
        // A sync fails in the middle of its work.
        if !call.is_sync() {
            self.fail(call)?;
        }
        Ok(())
    }

    /// The error that the seed has for this call.
    pub(super) fn fail(&mut self, call: Call) -> Result<(), Errno> {
        match self.faults.at(call, &mut self.random) {
            Some(error) => {
                self.made_up += 1;
                Err(error)
            }
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) {
        threads::note(|| format!("=== {event:?}"));
        match event {
            Event::Ailment(ailment) => self.device.ailment = ailment,
            Event::Faults(faults) => self.faults = faults,
            Event::AbortJournal => self.abort_journal(),
        }
    }

    /// Errors there were so far, of any kind.
    pub(crate) fn troubles(&self) -> u64 {
        self.made_up + self.device.errors
    }

    /// Whether something is wrong at this moment, so that a call may fail.
    pub(crate) fn is_ailing(&self) -> bool {
        self.journal.aborted.is_some()
    }

    /// Ends all faults, except those that only a restart repairs.
    pub(crate) fn heal(&mut self) {
        self.device.ailment = Ailment::default();
        self.faults = Faults::default();
        self.events.clear();
        self.nature.capacity_blocks = self.nature.capacity_blocks.max(1 << 20);
    }

    /// Ends the live process, and more.
    pub(crate) fn end(&mut self, end: End) {
        self.process = None;
        self.ends_at = None;
        self.close_all();
        match end {
            End::Kill => {}
            // tmpfs has no disk to come back from.
            End::PowerCut | End::Unclean | End::Remount if self.nature.kind == FilesystemKind::Memory => {}
            End::PowerCut => {
                self.device.power_cut(&mut self.random);
                self.mount_again();
            }
            End::Unclean => self.mount_again(),
            End::Remount => {
                let live: Vec<Key> = self.live().collect();
                for key in live {
                    let _ = self.write_back_file(key); // no handle reports it
                }
                let _ = self.commit();
                self.mount_again();
            }
        }
    }

    fn mount_again(&mut self) {
        self.recover();
        self.mount += 1;
        self.errors = WriteBackErrors::default();
    }

    pub(super) fn live(&self) -> impl Iterator<Item = Key> + '_ {
        (0..self.inodes.len() as Key).filter(|key| self.inodes[*key as usize].is_some())
    }

    /// The kernel closes what a process leaves open.
    fn close_all(&mut self) {
        self.locks.clear();
        let live: Vec<Key> = self.live().collect();
        for key in live {
            if let Ok(inode) = self.inode_mut(key) {
                inode.handles = 0;
            }
            self.forget_if_unused(key);
        }
    }

    pub(super) fn free_blocks(&self) -> u64 {
        self.nature.capacity_blocks.saturating_sub(self.used_blocks + self.reserved_blocks)
    }

    pub(super) fn space(&self) -> Space {
        let bytes = |blocks: u64| blocks * super::disk::PAGE_BYTES as u64;
        let size_bytes = bytes(self.nature.capacity_blocks);
        Space { free_bytes: bytes(self.free_blocks()), size_bytes, inodes: None }
    }

    pub(super) fn filesystem(&self) -> Filesystem {
        let kind = self.nature.kind;
        let mount = matches!(kind, FilesystemKind::Ext4 | FilesystemKind::Xfs).then_some(self.mount);
        Filesystem { kind, mount }
    }

    /// The identity of this mount, whether or not the filesystem tells it.
    pub(crate) fn mount(&self) -> u128 {
        self.mount
    }

    pub(super) fn time_of_day_ms(&self) -> i64 {
        BEGIN_MS + threads::time().as_millis() as i64
    }
}
