//! The open storage root: held by handle, locked against other nodes, cleared of temp files at start.

mod open;

use std::fs::File;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::error::{OpenError, StoreError};
use crate::fault::{self, Step};
use crate::fs::{Errno, Filesystem, Handle, Kind, Link, Lock, Open, is_at};
use crate::origins::Origins;
pub(crate) use crate::own::{LOST, OWN};
use crate::paths::Paths;
use crate::recovery::Recovery;
use crate::settings::FileAccess;
use crate::sync::{Mutex, now};
use crate::trust::{PROBE, Trust};
use crate::wal::Wal;

/// Interval between two checks that the node's own files are still in the root; a check is four system calls. An instance stored in
/// between is at no greater risk than one stored just before the removal.
const LOOK_INTERVAL: Duration = Duration::from_millis(if cfg!(test) { 0 } else { 10 });

/// The operation that sets `storage.file_mode`, `directory_mode` and `group`, in errors.
const SET_ACCESS: &str = "set the mode or group of (storage.file_mode, directory_mode, group)";

/// Length of the lock file's content: the holder's process id, padded, and a line feed.
const LOCK_TEXT_BYTES: usize = 20;

/// The root and the directories in it, by handle: if something is mounted or moved later, a write ends on the filesystem on which it
/// began.
#[derive(Debug)]
pub(crate) struct Root<H: Handle = File> {
    pub(crate) path: PathBuf,
    pub(crate) dir: H,
    /// The directory of temp files; another one if it was removed and made again.
    tmp: Mutex<Arc<H>>,
    top: H,
    lock: Arc<H>,
    /// The filesystem of the root.
    pub(crate) filesystem: Filesystem,
    pub(crate) trust: Arc<Trust<H>>,
    pub(crate) paths: Arc<Paths>,
    /// Mode and group of what the layout makes.
    access: FileAccess,
    /// `None` unless small instances go through the log.
    wal: OnceLock<Arc<Wal<H>>>,
    pub(crate) origins: Origins<H>,
    /// Whether files are written past the page cache. Cleared when the filesystem refuses it.
    writes_through: AtomicBool,
    /// A file may have been stored without a sync since the root was opened.
    has_unsynced: AtomicBool,
    /// What was stored before the root was opened is on the disk.
    is_synced: AtomicBool,
    /// When the node's own files were last seen in the root; `None` if one was missing since.
    seen: Mutex<Option<Instant>>,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    /// The node's own directory was lost while the root was open, and made anew.
    has_lost_mark: bool,
}

impl<H: Handle> Root<H> {
    /// The write-ahead log, if instances may go through it.
    pub(crate) fn wal(&self) -> Option<&Arc<Wal<H>>> {
        self.wal.get()
    }

    /// Whether files may be written past the page cache.
    pub(crate) fn writes_through(&self) -> bool {
        self.writes_through.load(Ordering::Relaxed)
    }

    /// Records that the filesystem does not support it.
    pub(crate) fn write_through_no_more(&self) {
        self.writes_through.store(false, Ordering::Relaxed);
    }

    /// Records that a file is about to be stored without a sync.
    pub(crate) fn note_unsynced(&self) {
        self.has_unsynced.store(true, Ordering::Release);
    }

    /// Whether every file that is stored is on the disk. The first call syncs what another process may have stored without a sync. `false`: nobody
    /// can tell, and a file must be synced by itself.
    pub(crate) fn is_all_synced(&self) -> Result<bool, Errno> {
        if self.has_unsynced.load(Ordering::Acquire) || !self.filesystem.kind.syncs_as_a_whole() {
            return Ok(false);
        }
        if !self.is_synced.load(Ordering::Acquire) {
            self.trust.note(self.dir.sync_filesystem(&|| ())).inspect_err(|_| self.note_unsynced())?;
            self.is_synced.store(true, Ordering::Release);
        }
        Ok(true)
    }

    /// Succeeds if this process may make directories in the root.
    pub(crate) fn may_make_directories(&self) -> Result<(), StoreError> {
        self.top.may_write(&self.path).map_err(|error| self.failed("write to", error))
    }

    /// Syncs the directory of temp files, as a commit syncs the directory of a final name.
    pub(crate) fn sync_tmp(&self) -> Result<(), StoreError> {
        let synced = fault::point(Step::SyncDirectory).and_then(|()| self.tmp().sync());
        self.trust.note(synced).map_err(|error| self.failed("sync a directory in", error))
    }

    /// Succeeds if the successful syncs so far took effect.
    pub(crate) fn prove_journal(&self) -> Result<(), StoreError> {
        let proved = self.trust.note(fault::point(Step::ProveJournal)).and_then(|()| self.trust.prove_journal());
        proved.map_err(|error| self.failed("change the journal of", error))
    }

    /// Whether the path still leads to this root, and the node's own files were seen in it within the last [`LOOK_INTERVAL`].
    pub(crate) fn was_current_lately(&self) -> bool {
        if self.seen.lock().is_some_and(|seen| now().saturating_duration_since(seen) < LOOK_INTERVAL) {
            return self.is_in_place();
        }
        let is_current = self.is_current();
        *self.seen.lock() = is_current.then(now);
        is_current
    }

    /// Whether the path still leads to this root and the node's own files are still in it, as far as one look shows.
    pub(crate) fn is_current(&self) -> bool {
        let own = Path::new(OWN);
        self.is_in_place()
            && is_at(&self.dir, &own.join("tmp"), &*self.tmp()) == Ok(true)
            && is_at(&self.dir, &own.join("lock"), &self.lock) == Ok(true)
            && self.wal.get().is_none_or(|wal| wal.is_in(&self.dir) == Ok(true))
    }

    /// Succeeds unless the node's own directory was lost while the root was open.
    pub(crate) fn has_its_mark(&self) -> Result<(), OpenError> {
        if self.has_lost_mark { Err(OpenError::MarkLost { root: self.path.clone() }) } else { Ok(()) }
    }

    /// Number of files quarantined below the root.
    pub(crate) fn set_aside(&self) -> Result<u64, OpenError> {
        count_lost(&self.top, &self.path)
    }

    /// Whether the node's own directory is still in this root, wherever that is now.
    fn has_own(&self) -> bool {
        self.dir.stat_at(Path::new(OWN), Link::NoFollow).is_ok()
    }

    fn is_in_place(&self) -> bool {
        let stat = self.top.stat_at(&self.path, Link::Follow);
        stat.is_ok_and(|stat| (stat.dev, stat.ino) == (self.dev, self.ino))
    }

    /// The meaning of `error` from the call `what`, for a file that must exist as long as the root does.
    pub(crate) fn failed(&self, what: &'static str, error: Errno) -> StoreError {
        match error {
            Errno::NOENT | Errno::STALE => {
                *self.seen.lock() = None;
                OpenError::Missing { root: self.path.clone() }.into()
            }
            error => StoreError::new(what, &self.path, error),
        }
    }

    /// The same for a call on a temp file, or on their directory.
    pub(crate) fn temp_failed(&self, what: &'static str, error: Errno) -> StoreError {
        match error {
            Errno::NOENT | Errno::STALE => self.failed(what, error),
            error => match self.explained(OpenError::io(what, self.tmp_path())(error)) {
                in_the_way @ OpenError::Own { .. } => in_the_way.into(),
                _ => StoreError::new(what, self.tmp_path(), error),
            },
        }
    }

    /// The error with what stands in the way, if something does; a refusal is one of permission, whatever stands there.
    fn explained(&self, error: OpenError) -> OpenError {
        match error {
            OpenError::Io { source: Errno::ACCESS | Errno::PERM, .. } => error,
            error => error.explained(&self.top, &self.path),
        }
    }

    fn tmp_path(&self) -> PathBuf {
        self.path.join(OWN).join("tmp")
    }

    /// The directory of temp files.
    pub(crate) fn tmp(&self) -> Arc<H> {
        Arc::clone(&self.tmp.lock())
    }

    /// Makes the directory of temp files again, which someone has removed: a job that cleans `tmp` directories, for example.
    pub(crate) fn remake_tmp(&self) -> Result<Arc<H>, Errno> {
        let name = Path::new(OWN).join("tmp");
        if !self.is_in_place() {
            return Err(Errno::NOENT);
        }
        make_directory(&self.dir, &name)?;
        let tmp = self.dir.open(&name, Open::Directory)?;
        if tmp.stat()?.dev != self.dev {
            return Err(Errno::NOENT);
        }
        let tmp = Arc::new(tmp);
        *self.tmp.lock() = Arc::clone(&tmp);
        Ok(tmp)
    }

    /// Creates one directory of a layout, with its mode and group.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<(), Errno> {
        self.dir.make_directory(path)?;
        let FileAccess { directory_mode, group, .. } = self.access;
        if directory_mode.is_none() && group.is_none() {
            return Ok(());
        }
        self.dir.open(path, Open::Directory)?.set_access(directory_mode, group)
    }

    /// Sets mode and group of a new file of an instance.
    pub(crate) fn set_file_access(&self, file: &H) -> Result<(), Errno> {
        let FileAccess { file_mode, group, .. } = self.access;
        if file_mode.is_none() && group.is_none() { Ok(()) } else { file.set_access(file_mode, group) }
    }

    fn attach(path: &Path, access: FileAccess, before: Option<&Self>) -> Result<Self, OpenError> {
        let top = H::top().map_err(OpenError::io("open", "/"))?;
        let dir = top.open(path, Open::Directory).map_err(|source| match source {
            Errno::NOENT if before.is_some() => OpenError::Missing { root: path.to_owned() },
            source => OpenError::Io { what: "open", path: path.to_owned(), source },
        })?;
        let stat = dir.stat().map_err(OpenError::io("examine", path))?;
        // Before anything is created in it: a filesystem mounted there now may belong to another application.
        if before.is_some_and(|before| before.dev != stat.dev) {
            return Err(OpenError::OtherFilesystem { root: path.to_owned() });
        }
        // A root that was moved away can come back, and nobody would look for its instances in two places. One that was deleted cannot.
        if before.is_some_and(|before| before.ino != stat.ino && before.has_own()) {
            return Err(OpenError::OtherDirectory { root: path.to_owned() });
        }
        top.may_write(path).map_err(OpenError::io("write to", path))?;

        let own = path.join(OWN);
        let is_marked_anew = make_directory(&dir, Path::new(OWN)).map_err(OpenError::io("create", &own))?;
        let lock = lock(&dir, path, before)?;
        let (tmp_name, tmp_path) = (Path::new(OWN).join("tmp"), own.join("tmp"));
        make_directory(&dir, &tmp_name).map_err(OpenError::io("create", &tmp_path))?;
        let tmp = dir.open(&tmp_name, Open::Directory).map_err(OpenError::io("open", &tmp_path))?;
        let tmp_stat = tmp.stat().map_err(OpenError::io("examine", &tmp_path))?;
        if tmp_stat.dev != stat.dev {
            return Err(OpenError::TempElsewhere { path: tmp_path });
        }
        let trust = match before {
            // Facts about the filesystem are reset with it, not with the directory.
            Some(before) => Arc::clone(&before.trust),
            None => Arc::new(Trust::new(&dir).map_err(OpenError::io("open", own.join(PROBE)))?),
        };
        Ok(Self {
            filesystem: dir.filesystem().map_err(OpenError::io("examine", path))?,
            path: path.to_owned(),
            dir,
            tmp: Mutex::new(Arc::new(tmp)),
            top,
            lock,
            trust,
            paths: before.map(|before| Arc::clone(&before.paths)).unwrap_or_default(),
            access,
            wal: OnceLock::new(),
            origins: Origins::default(),
            writes_through: AtomicBool::new(true),
            has_unsynced: AtomicBool::new(before.is_some_and(|before| before.has_unsynced.load(Ordering::Acquire))),
            is_synced: AtomicBool::new(false),
            seen: Mutex::new(None),
            dev: stat.dev,
            ino: stat.ino,
            has_lost_mark: before.is_some_and(|before| is_marked_anew || before.has_lost_mark),
        })
    }

    /// Removes what earlier processes left among the temp files. Only the holder of the lock may.
    fn remove_temp_files(&self, recovery: &mut Recovery) -> Result<(), OpenError> {
        let (tmp, directory) = (self.tmp_path(), self.tmp());
        for entry in directory.list().map_err(OpenError::io("list", &tmp))? {
            let name = entry.map_err(OpenError::io("list", &tmp))?.name;
            let failed = |what| OpenError::io(what, tmp.join(&name));
            let stat = directory.stat_at(Path::new(&name), Link::NoFollow).map_err(failed("examine"))?;
            // The node never creates a directory here, so it leaves one alone.
            if stat.kind == Kind::Directory {
                continue;
            }
            directory.unlink(&name).map_err(failed("remove"))?;
            recovery.removed_files += 1;
            recovery.removed_bytes += stat.bytes;
        }
        Ok(())
    }
}

/// Number of files that starts have quarantined in the root at `path`, seen from `top`.
pub(crate) fn count_lost<H: Handle>(top: &H, path: &Path) -> Result<u64, OpenError> {
    let lost = path.join(OWN).join(LOST);
    let directory = match top.open(&lost, Open::Directory) {
        Ok(directory) => directory,
        // Somebody's file there is in the way only if something has to be set aside.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(0),
        Err(error) => return Err(OpenError::io("open", &lost)(error)),
    };
    Ok(directory.list().map_err(OpenError::io("list", &lost))?.count() as u64)
}

/// Opens the file or directory at `path`, relative to the working directory.
pub(crate) fn open(path: &Path, how: Open) -> Result<File, Errno> {
    let path = std::path::absolute(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
    File::top()?.open(&path, how)
}

/// Creates one directory, unless it exists. Whether it did not.
fn make_directory<H: Handle>(dir: &H, path: &Path) -> Result<bool, Errno> {
    match dir.make_directory(path) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes `path` and what is missing above it, and syncs each directory that one was made in; that of `path` in any case, since whoever
/// made or moved it may not have. A root that is made has mode and group of the layout's directories.
fn create_durably<H: Handle>(top: &H, path: &Path, access: FileAccess) -> Result<(), OpenError> {
    let is_missing = |path: &&Path| matches!(top.stat_at(path, Link::Follow), Err(Errno::NOENT | Errno::NOTDIR));
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    for made in missing.iter().rev() {
        make_directory(top, made).map_err(OpenError::io("create", made))?;
    }
    let FileAccess { directory_mode, group, .. } = access;
    if !missing.is_empty() && (directory_mode.is_some() || group.is_some()) {
        let made = top.open(path, Open::Directory).and_then(|made| made.set_access(directory_mode, group));
        made.map_err(OpenError::io(SET_ACCESS, path))?;
    }
    let made_in = missing.iter().chain([&path]).rev().filter_map(|made| made.parent());
    for parent in made_in {
        match top.open(parent, Open::Directory).and_then(|parent| parent.sync()) {
            Ok(()) => {}
            // A directory that this process may not read, and that was there.
            Err(Errno::ACCESS) if !missing.contains(&path) => {}
            Err(error) => return Err(OpenError::io("sync", parent)(error)),
        }
    }
    Ok(())
}

/// Takes the lock in the root `dir`. The kernel releases it when its holder ends, however it ends. A lock that this process already holds is
/// kept: `flock` would treat it as another holder's.
fn lock<H: Handle>(dir: &H, root: &Path, before: Option<&Root<H>>) -> Result<Arc<H>, OpenError> {
    let name = Path::new(OWN).join("lock");
    let path = &root.join(&name);
    let file = dir.open(&name, Open::ReadWrite).map_err(OpenError::io("open", path))?;
    if let Some(before) = before
        && is_same_file(&*before.lock, &file).map_err(OpenError::io("examine", path))?
    {
        return Ok(Arc::clone(&before.lock));
    }
    match file.take_lock(Lock::Exclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(OpenError::Locked { root: root.to_owned(), pid: holder_of(&file) });
        }
        Err(source) => {
            return Err(OpenError::Io { what: "lock", path: path.to_owned(), source });
        }
    }
    // The handle is the lock; the number is for an operator. It is padded to overwrite a longer one.
    let text = format!("{:<1$}\n", std::process::id(), LOCK_TEXT_BYTES - 1);
    let _ = file.write_at(0, &[IoSlice::new(text.as_bytes())]);
    Ok(Arc::new(file))
}

/// The process that the lock file names.
pub(crate) fn holder_of<H: Handle>(lock: &H) -> Option<u32> {
    let mut holder = [0; LOCK_TEXT_BYTES];
    let read = lock.read_at(0, &mut holder).ok()?;
    std::str::from_utf8(holder.get(..read)?).ok()?.trim().parse().ok()
}

fn is_same_file<H: Handle>(a: &H, b: &H) -> Result<bool, Errno> {
    let (a, b) = (a.stat()?, b.stat()?);
    Ok((a.dev, a.ino) == (b.dev, b.ino))
}
