//! Opening a root, its write-ahead log among it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Root, SET_ACCESS, count_lost, create_durably, make_directory};
use crate::error::OpenError;
use crate::fs::{Errno, Handle, Link, Open};
use crate::own::OWN;
use crate::recovery::Recovery;
use crate::settings::{FileAccess, Settings};
use crate::wal::{Wal, replay};

/// An empty file beside the log that is there as long as both segments must be.
const WAL_MARK: &str = "log-in-use";

impl<H: Handle> Root<H> {
    /// Opens the root for the first time, creating it if need be, and recovers what an earlier process left.
    pub(crate) fn open(settings: &Settings, uses_wal: bool) -> Result<(Arc<Self>, Recovery), OpenError> {
        let Settings { root: path, access, requires_mark, .. } = settings;
        let path = std::path::absolute(path).map_err(|error| OpenError::Io {
            what: "resolve",
            path: path.clone(),
            source: Errno::from_io_error(&error).unwrap_or(Errno::INVAL),
        })?;
        let top = H::top().map_err(OpenError::io("open", "/"))?;
        let is_new = matches!(top.stat_at(&path.join(OWN), Link::Follow), Err(Errno::NOENT | Errno::NOTDIR));
        if is_new && *requires_mark {
            return Err(OpenError::NoMark { root: path });
        }
        create_durably(&top, &path, *access)?;
        let recovery = Recovery { is_new, ..Recovery::default() };
        Self::recover(&path, *access, uses_wal, recovery).map_err(|error| error.explained(&top, &path))
    }

    fn recover(
        path: &Path,
        access: FileAccess,
        uses_wal: bool,
        mut recovery: Recovery,
    ) -> Result<(Arc<Self>, Recovery), OpenError> {
        let root = Arc::new(Self::attach(path, access, None)?);
        root.remove_temp_files(&mut recovery)?;
        root.try_access()?;
        root.open_wal(uses_wal, &mut recovery)?;
        recovery.lost_files = count_lost(&root.top, &root.path)?;
        Ok((root, recovery))
    }

    /// Opens the root again after it, or what is ours in it, was removed or replaced.
    pub(crate) fn reopen(self: &Arc<Self>) -> Result<Arc<Self>, OpenError> {
        self.attach_again().map_err(|error| self.explained(error))
    }

    fn attach_again(self: &Arc<Self>) -> Result<Arc<Self>, OpenError> {
        let root = Arc::new(Self::attach(&self.path, self.access, Some(self))?);
        if let Some(wal) = self.wal.get() {
            if wal.is_in(&root.dir).map_err(OpenError::io("examine", root.wal_path()))? {
                drop(root.wal.set(Arc::clone(wal)));
            } else {
                // Where it is now, no start looks for it: what is in it must be on the disk before another is begun, and nothing may
                // be appended to it any more.
                wal.retire();
                wal.checkpoint(self, &|| ()).map_err(|_| OpenError::io("sync", &self.path)(Errno::IO))?;
                root.open_wal(true, &mut Recovery::default())?;
            }
        }
        Ok(root)
    }

    /// Sets mode and group of a file once. A process that may not is told so at the start, and not by each instance.
    fn try_access(&self) -> Result<(), OpenError> {
        if self.access == FileAccess::default() {
            return Ok(());
        }
        let (tmp, name) = (self.tmp(), Path::new("access"));
        let failed = |what| OpenError::io(what, self.tmp_path().join(name));
        let file = tmp.open(name, Open::New).map_err(failed("create"))?;
        let set = self.set_file_access(&file);
        tmp.unlink(name.as_os_str()).map_err(failed("remove"))?;
        set.map_err(OpenError::io(SET_ACCESS, self.tmp_path().join(name)))
    }

    fn wal_path(&self) -> PathBuf {
        self.path.join(OWN).join("log")
    }

    /// Replays the log of an earlier process, whatever is set now, and begins a new one if there is to be one and room for it.
    fn open_wal(self: &Arc<Self>, uses_wal: bool, recovery: &mut Recovery) -> Result<(), OpenError> {
        let (name, path) = (Path::new(OWN).join("log"), self.wal_path());
        let uses_wal = uses_wal && self.filesystem.kind.syncs_as_a_whole();
        let is_in_use = self.dir.stat_at(&wal_mark(), Link::NoFollow).is_ok();
        if uses_wal || is_in_use {
            make_directory(&self.dir, &name).map_err(OpenError::io("create", &path))?;
        }
        let directory = match self.dir.open(&name, Open::Directory) {
            Ok(directory) => Arc::new(directory),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(OpenError::io("open", &path)(error)),
        };
        let stat = directory.stat().map_err(OpenError::io("examine", &path))?;
        if stat.dev != self.dev {
            return Err(OpenError::TempElsewhere { path });
        }
        let replayed = replay(self, &directory, is_in_use, recovery)?;
        let wal = match uses_wal
            .then(|| Wal::create(&self.dir, &self.filesystem, &self.trust, &directory, &path, replayed))
        {
            Some(Ok(wal)) => Some(wal),
            // Without room for a log, or under a limit of the file size below its segments, there is none; what needs less is tried all the same.
            None | Some(Err(OpenError::Io { source: Errno::NOSPC | Errno::DQUOT | Errno::FBIG, .. })) => {
                if is_in_use {
                    self.unmark_wal()?;
                }
                Wal::<H>::remove(&directory).map_err(OpenError::io("remove the segments in", &path))?;
                None
            }
            Some(Err(error)) => return Err(error),
        };
        for made_in in [&path, &self.path.join(OWN), &self.path] {
            self.sync_directory(made_in)?;
        }
        if wal.is_some() && !is_in_use {
            self.mark_wal()?;
        }
        self.trust.prove_journal().map_err(OpenError::io("write to", &self.path))?;
        if let Some(wal) = wal {
            let _ = self.wal.set(wal); // it was empty
        }
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> Result<(), OpenError> {
        let synced = self.top.open(path, Open::Directory).and_then(|directory| directory.sync());
        self.trust.note(synced).map_err(OpenError::io("sync", path))
    }

    /// Notes that the log is in use, once its segments are on the disk: a later start that does not find them knows that they were removed.
    fn mark_wal(&self) -> Result<(), OpenError> {
        match self.dir.open(&wal_mark(), Open::New) {
            Ok(_) | Err(Errno::EXIST) => self.sync_directory(&self.path.join(OWN)),
            Err(Errno::NOSPC | Errno::DQUOT) => Ok(()), // the log serves without it
            Err(error) => Err(OpenError::io("create", self.path.join(wal_mark()))(error)),
        }
    }

    /// Notes that there is no log any more, before its segments are removed.
    fn unmark_wal(&self) -> Result<(), OpenError> {
        let own = self.dir.open(Path::new(OWN), Open::Directory);
        match own.and_then(|own| own.unlink(WAL_MARK.as_ref())) {
            Ok(()) | Err(Errno::NOENT) => self.sync_directory(&self.path.join(OWN)),
            Err(error) => Err(OpenError::io("remove", self.path.join(wal_mark()))(error)),
        }
    }
}

fn wal_mark() -> PathBuf {
    Path::new(OWN).join(WAL_MARK)
}
