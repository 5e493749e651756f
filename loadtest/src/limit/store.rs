//! Files of the limit: `study/series/instance` below its directory, each written under a temporary name first.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::buffer::{BUFFER_BYTES, Buffer};
use super::direct::write_part;
use super::log::{Log, Member};
use super::mode::Mode;
use super::spool::Spool;

/// Files in one series directory.
const FILES_PER_SERIES: u64 = 100;
/// The largest file that goes through the log: of larger ones the bytes cost more than the syncs.
const MAX_LOGGED_BYTES: usize = 64 * 1024;

/// The state that all associations share.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    mode: Mode,
    log: Option<Arc<Log>>,
    /// Buffers that nobody uses at the moment.
    spare: Mutex<Vec<Buffer>>,
    studies: AtomicU64,
}

impl Store {
    /// Prepares `root`; in the mode `log` its log is laid out here.
    ///
    /// # Errors
    /// Those of the filesystem.
    pub(super) fn new(root: &Path, mode: Mode) -> io::Result<Self> {
        fs::create_dir_all(root.join(".tmp"))?;
        let log = if mode == Mode::Log { Some(Log::create(root)?) } else { None };
        Ok(Self { root: root.to_owned(), mode, log, spare: Mutex::default(), studies: AtomicU64::new(0) })
    }

    /// The files of one association.
    pub(super) fn study(&self) -> Study<'_> {
        let name = format!("study{:07}", self.studies.fetch_add(1, Ordering::Relaxed));
        let (temporary, directory) = (self.root.join(".tmp").join(&name), self.root.join(name));
        let member = self.log.as_ref().map(|_| Member::new());
        Study { store: self, temporary, series: directory.clone(), directory, written: 0, member }
    }

    fn buffer(&self) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Buffer::with_capacity(BUFFER_BYTES))
    }

    fn give_back(&self, mut buffer: Buffer) {
        buffer.clear();
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// Whether the names of files must be synced.
    fn syncs(&self) -> bool {
        matches!(self.mode, Mode::PerFile | Mode::Direct | Mode::Log)
    }
}

/// The files of one association.
pub(super) struct Study<'a> {
    store: &'a Store,
    temporary: PathBuf,
    directory: PathBuf,
    series: PathBuf,
    written: u64,
    member: Option<Member>,
}

/// An instance that is being received.
pub(super) struct Incoming<'a> {
    store: &'a Store,
    buffer: Buffer,
    /// Takes what exceeds one buffer.
    spool: Option<Spool>,
    temporary: PathBuf,
}

impl<'a> Study<'a> {
    /// Begins the next instance, whose file begins with `start`.
    ///
    /// # Errors
    /// Those of the filesystem.
    pub(super) fn begin(&mut self, start: &[u8]) -> io::Result<Incoming<'a>> {
        if self.store.mode != Mode::Discard && self.written.is_multiple_of(FILES_PER_SERIES) {
            if self.written == 0 {
                self.make_directory(&self.directory)?;
            }
            self.series = self.directory.join(format!("series{:07}", self.written / FILES_PER_SERIES));
            self.make_directory(&self.series)?;
        }
        let mut buffer = self.store.buffer();
        buffer.extend(start);
        Ok(Incoming { store: self.store, buffer, spool: None, temporary: self.temporary.clone() })
    }

    /// Makes a whole instance durable, calls `answer` as soon as that is done, and finishes its file.
    ///
    /// # Errors
    /// Those of the filesystem and of `answer`.
    pub(super) fn store(&mut self, incoming: Incoming<'_>, answer: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let store = self.store;
        let Incoming { mut buffer, spool, .. } = incoming;
        if store.mode == Mode::Discard {
            store.give_back(buffer);
            return answer();
        }
        let name = self.series.join(format!("instance{:010}.dcm", self.written));
        self.written += 1;
        if let (Some(log), Some(member)) = (&store.log, &self.member)
            && spool.is_none()
            && buffer.filled().len() <= MAX_LOGGED_BYTES
        {
            let half;
            (buffer, half) = log.append(member, buffer)?;
            let answered = answer();
            self.write(&buffer, false)?;
            fs::rename(&self.temporary, name)?;
            log.written(half);
            store.give_back(buffer);
            return answered;
        }
        let file = match spool {
            Some(spool) => spool.end(buffer)?,
            None => {
                let file = self.write(&buffer, store.mode.is_direct())?;
                store.give_back(buffer);
                file
            }
        };
        // A rename before the sync shares the journal's commit with the data. A plain sink does as most receivers do.
        if store.mode == Mode::PerFile {
            file.sync_data()?;
        }
        fs::rename(&self.temporary, name)?;
        if store.mode.is_direct() {
            file.sync_data()?;
        }
        if store.syncs() {
            sync_directory(&self.series)?;
        }
        answer()
    }

    /// Writes the temporary file of an instance that is whole in `buffer`.
    fn write(&self, buffer: &Buffer, direct: bool) -> io::Result<File> {
        let file = File::create_new(&self.temporary)?;
        write_part(&file, buffer, 0, direct)?;
        Ok(file)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        match path.parent() {
            // A log names the files that it holds, so that their directories need no sync.
            Some(parent) if self.store.syncs() && self.store.mode != Mode::Log => sync_directory(parent),
            _ => Ok(()),
        }
    }
}

impl Incoming<'_> {
    /// Reads `count` bytes of the dataset to where they belong.
    ///
    /// # Errors
    /// Those of the connection, and of the filesystem for what exceeds a buffer.
    pub(super) fn read(&mut self, stream: &mut impl Read, count: u64) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            if self.buffer.room().is_empty() {
                self.pass_on()?;
            }
            let room = self.buffer.room();
            let part = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            stream.read_exact(room.get_mut(..part).unwrap_or_default())?;
            self.buffer.advance(part);
            left -= part as u64;
        }
        Ok(())
    }

    /// Gives a full buffer to the spool and takes an empty one.
    fn pass_on(&mut self) -> io::Result<()> {
        if self.store.mode == Mode::Discard {
            self.buffer.clear();
            return Ok(());
        }
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(Spool::create(&self.temporary, self.store.mode.is_direct())?),
        };
        spool.pass(&mut self.buffer)
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
