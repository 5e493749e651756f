//! The storage root while it is in use: held open, locked against other nodes, cleared of temp files at start.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::log::{CommitLog, replay};
use crate::shared_sync::SharedSync;
use crate::temp::FILE_MODE;

/// Mode of every directory made; the umask may take more away.
pub(crate) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// What of ours is in the root beside the instances. A layout never makes a name that begins with a dot.
pub(crate) const OWN: &str = ".tidegate";

/// Between two looks at whether what is ours is still in the root: four system calls. What is stored in between is no worse off
/// than what was stored just before somebody tidied up.
const LOOK_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 10 });

/// Length of what the lock file says: the holder's process id, padded, and a line feed.
const LOCK_TEXT_BYTES: u64 = 20;

/// What a store found when it opened, and did about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Temp files removed: instances that were being written when the last process ended, none of them acknowledged.
    pub removed_files: u64,
    /// Bytes they held.
    pub removed_bytes: u64,
    /// Acknowledged instances whose files had not reached the disk, written again from the commit log.
    pub restored_files: u64,
}

/// The root and what is needed of it, by descriptor: whatever is mounted or moved later, a write that has begun ends
/// on the filesystem it began on.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) dir: File,
    pub(crate) tmp: File,
    lock: Arc<File>,
    /// None unless small instances are to go through it.
    log: OnceLock<Arc<CommitLog>>,
    filesystem: SharedSync,
    /// Whether files are written past the page cache: until the filesystem has said that it cannot.
    writes_through: AtomicBool,
    /// When what is ours was last seen, unless something has been missing since.
    seen: Mutex<Option<Instant>>,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

impl Root {
    /// Opens the root for the first time, creating it if need be, and recovers what an earlier process left.
    pub(crate) fn open(path: &Path, uses_log: bool) -> Result<(Arc<Self>, Recovery), OpenError> {
        let path = std::path::absolute(path).map_err(|error| OpenError::Io {
            what: "resolve",
            path: path.to_owned(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::INVAL),
        })?;
        create_durably(&path)?;
        let root = Arc::new(Self::attach(&path, None)?);
        let mut recovery = root.recover()?;
        recovery.restored_files = root.open_log(uses_log)?;
        Ok((root, recovery))
    }

    /// Opens the root again after it, or what is ours in it, was removed or replaced.
    pub(crate) fn reopen(&self) -> Result<Arc<Self>, OpenError> {
        let root = Arc::new(Self::attach(&self.path, Some(self))?);
        if let Some(log) = self.log.get() {
            let there = open_directory(&root.log_path());
            match there.is_ok_and(|there| log.is_linked() && same_file(&there, &log.directory)) {
                true => drop(root.log.set(Arc::clone(log))),
                false => drop(root.open_log(true)?),
            }
        }
        Ok(root)
    }

    /// The commit log, if instances may go through it.
    pub(crate) fn log(&self) -> Option<&Arc<CommitLog>> {
        self.log.get()
    }

    /// Whether files may be written past the page cache.
    pub(crate) fn writes_through(&self) -> bool {
        self.writes_through.load(Ordering::Relaxed)
    }

    /// The filesystem cannot.
    pub(crate) fn write_through_no_more(&self) {
        self.writes_through.store(false, Ordering::Relaxed);
    }

    /// Returns once everything written before, to whatever file, is on the disk.
    pub(crate) fn sync_filesystem(&self) -> Result<(), StoreError> {
        self.filesystem.run(|| {
            fault::at(Step::SyncFilesystem)
                .and_then(|()| retry_on_intr(|| rustix::fs::syncfs(&self.dir)))
                .map_err(|error| self.failed("sync the filesystem of", error))
        })
    }

    /// Whether the path still leads to this root, and what is ours was in it within the last [`LOOK_INTERVAL`].
    pub(crate) fn was_current_lately(&self) -> bool {
        if self.seen.lock().is_some_and(|seen| seen.elapsed() < LOOK_INTERVAL) {
            return self.is_in_place();
        }
        let is_current = self.is_current();
        *self.seen.lock() = is_current.then(Instant::now);
        is_current
    }

    /// Whether the path still leads to this root and what is ours is still in it.
    pub(crate) fn is_current(&self) -> bool {
        let linked = |file: &File| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0);
        self.is_in_place()
            && linked(&self.tmp)
            && linked(&self.lock)
            && self.log.get().is_none_or(|log| log.is_linked())
    }

    fn is_in_place(&self) -> bool {
        rustix::fs::stat(&self.path).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.dev, self.ino))
    }

    /// What it means that `what` was answered with `error`, for what must be there as long as the root is.
    pub(crate) fn failed(&self, what: &'static str, error: Errno) -> StoreError {
        match error {
            Errno::NOENT | Errno::STALE => {
                *self.seen.lock() = None;
                OpenError::Missing { root: self.path.clone() }.into()
            }
            error => StoreError::new(what, &self.path, error),
        }
    }

    fn attach(path: &Path, before: Option<&Self>) -> Result<Self, OpenError> {
        let dir = open_directory(path).map_err(|source| match source {
            Errno::NOENT if before.is_some() => OpenError::Missing { root: path.to_owned() },
            source => OpenError::Io { what: "open", path: path.to_owned(), source },
        })?;
        let stat = rustix::fs::fstat(&dir).map_err(OpenError::io("examine", path))?;
        // Before anything is made in it: what is mounted there now may be somebody else's.
        if before.is_some_and(|before| before.dev != stat.st_dev) {
            return Err(OpenError::OtherFilesystem { root: path.to_owned() });
        }
        rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(OpenError::io("write to", path))?;

        let own = path.join(OWN);
        make_directory(&own).map_err(OpenError::io("create", &own))?;
        let lock = lock(path, &own.join("lock"), before)?;
        let tmp_path = own.join("tmp");
        make_directory(&tmp_path).map_err(OpenError::io("create", &tmp_path))?;
        let tmp = open_directory(&tmp_path).map_err(OpenError::io("open", &tmp_path))?;
        let tmp_stat = rustix::fs::fstat(&tmp).map_err(OpenError::io("examine", &tmp_path))?;
        if tmp_stat.st_dev != stat.st_dev {
            return Err(OpenError::TempElsewhere { path: tmp_path });
        }
        Ok(Self {
            path: path.to_owned(),
            dir,
            tmp,
            lock,
            log: OnceLock::new(),
            filesystem: SharedSync::default(),
            writes_through: AtomicBool::new(true),
            seen: Mutex::new(None),
            dev: stat.st_dev,
            ino: stat.st_ino,
        })
    }

    fn log_path(&self) -> PathBuf {
        self.path.join(OWN).join("log")
    }

    /// Writes out what the commit log of an earlier process holds, whatever is set now, and begins a new one if there is to be
    /// one and room for it. Gives how many files had to be written.
    fn open_log(self: &Arc<Self>, uses_log: bool) -> Result<u64, OpenError> {
        let path = self.log_path();
        if uses_log {
            make_directory(&path).map_err(OpenError::io("create", &path))?;
        }
        let directory = match open_directory(&path) {
            Ok(directory) => Arc::new(directory),
            Err(Errno::NOENT) => return Ok(0),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let stat = rustix::fs::fstat(&directory).map_err(OpenError::io("examine", &path))?;
        if stat.st_dev != self.dev {
            return Err(OpenError::TempElsewhere { path });
        }
        let replayed = replay(self, &directory)?;
        let log = match uses_log.then(|| CommitLog::create(&directory, &path, replayed.next_generation)) {
            Some(Ok(log)) => Some(log),
            // Without room for a log there is none; what needs less is tried all the same.
            None | Some(Err(OpenError::Io { source: Errno::NOSPC | Errno::DQUOT, .. })) => {
                CommitLog::remove(&directory).map_err(OpenError::io("remove the segments in", &path))?;
                None
            }
            Some(Err(error)) => return Err(error),
        };
        for made_in in [&path, &self.path.join(OWN), &self.path] {
            open_directory(made_in).and_then(rustix::fs::fsync).map_err(OpenError::io("sync", made_in))?;
        }
        if let Some(log) = log {
            let _ = self.log.set(log); // it was empty
        }
        Ok(replayed.restored_files)
    }

    /// Removes what earlier processes left among the temp files. Only the holder of the lock may.
    fn recover(&self) -> Result<Recovery, OpenError> {
        let tmp = self.path.join(OWN).join("tmp");
        let entries = rustix::fs::Dir::read_from(&self.tmp).map_err(OpenError::io("list", &tmp))?;
        let mut recovery = Recovery::default();
        for entry in entries {
            let entry = entry.map_err(OpenError::io("list", &tmp))?;
            let name = entry.file_name();
            let path = || tmp.join(name.to_string_lossy().as_ref());
            let stat = rustix::fs::statat(&self.tmp, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| OpenError::Io { what: "examine", path: path(), source })?;
            // A directory is none of ours: `.`, `..`, or somebody's who must have a reason.
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                continue;
            }
            rustix::fs::unlinkat(&self.tmp, name, AtFlags::empty()).map_err(|source| OpenError::Io {
                what: "remove",
                path: path(),
                source,
            })?;
            recovery.removed_files += 1;
            recovery.removed_bytes += u64::try_from(stat.st_size).unwrap_or(0);
        }
        Ok(recovery)
    }
}

pub(crate) fn open_directory(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map(File::from)
}

/// Makes one directory, or finds it made.
fn make_directory(path: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(path, DIRECTORY_MODE) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

/// Makes `path` and what is missing above it, and syncs each directory that one was made in.
fn create_durably(path: &Path) -> Result<(), OpenError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| matches!(path.try_exists(), Ok(false))).collect();
    for made in missing.into_iter().rev() {
        make_directory(made).map_err(OpenError::io("create", made))?;
        if let Some(parent) = made.parent() {
            open_directory(parent).and_then(rustix::fs::fsync).map_err(OpenError::io("sync", parent))?;
        }
    }
    Ok(())
}

/// Takes the lock at `path`, which is free again as soon as its holder has ended, however it ended. A lock that this
/// process holds already is kept: `flock` would take it for somebody else's.
fn lock(root: &Path, path: &Path, before: Option<&Root>) -> Result<Arc<File>, OpenError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file: File = rustix::fs::open(path, flags, FILE_MODE).map_err(OpenError::io("open", path))?.into();
    if let Some(before) = before
        && same_file(&before.lock, &file)
    {
        return Ok(Arc::clone(&before.lock));
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(OpenError::Locked { root: root.to_owned(), pid: holder_of(&file) });
        }
        Err(source) => {
            return Err(OpenError::Io { what: "lock", path: path.to_owned(), source });
        }
    }
    // The lock is the descriptor; the number is for whoever meets it. Padded, so that none longer shows behind it.
    let _ = file.write_all_at(format!("{:<19}\n", std::process::id()).as_bytes(), 0);
    Ok(Arc::new(file))
}

/// The process that the lock file names.
pub(crate) fn holder_of(lock: &File) -> Option<u32> {
    let mut holder = String::new();
    lock.take(LOCK_TEXT_BYTES).read_to_string(&mut holder).ok()?;
    holder.trim().parse().ok()
}

fn same_file(a: &File, b: &File) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
