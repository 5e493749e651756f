//! The file of an instance, looked at in order to answer for it: whether it is there, how long it is, what its bytes are, and that it is on the
//! disk.

use std::path::{Component, Path};

use super::{Survey, existing};
use crate::digest::{Digest, Hasher, Recorded};
use crate::fs::{Errno, Handle, Kind, Open, Stat, read_full};

/// An open regular file below the root.
#[derive(Debug)]
pub struct StoredFile<H: Handle = std::fs::File> {
    pub(super) file: H,
    pub(super) stat: Stat,
}

impl<H: Handle> Survey<H> {
    /// Opens the regular file at `path`, which leads through no symbolic link. `None`: there is none.
    ///
    /// # Errors
    /// If nobody can tell: the disk fails, or the file may not be read.
    pub fn stored(&self, path: &Path) -> Result<Option<StoredFile<H>>, Errno> {
        let is_below = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || path.as_os_str().is_empty() {
            return Ok(None);
        }
        let Some(file) = existing(self.0.dir.open(path, Open::ReadNoFollow))? else { return Ok(None) };
        let stat = file.stat()?;
        Ok((stat.kind == Kind::File).then_some(StoredFile { file, stat }))
    }

    /// Whether every file that the store has answered for is on the disk, whatever was asked of the store when it came. The first call may take as long
    /// as the disk needs for all that is not written yet. `false`: [`StoredFile::sync`] and [`Self::sync_names`] have it on the disk.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn is_all_synced(&self) -> Result<bool, Errno> {
        self.0.is_all_synced()
    }

    /// Returns when the names in the directory of `path` are on the disk, and those of each directory above it.
    ///
    /// # Errors
    /// If a directory cannot be synced.
    pub fn sync_names(&self, path: &Path) -> Result<(), Errno> {
        let mut directory = path.parent();
        while let Some(above) = directory {
            match above.as_os_str().is_empty() {
                true => self.0.dir.sync()?,
                false => self.0.dir.open(above, Open::DirectoryNoFollow)?.sync()?,
            }
            directory = above.parent();
        }
        Ok(())
    }
}

impl<H: Handle> StoredFile<H> {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.stat.bytes
    }

    /// When its content, its metadata or its name last changed, in milliseconds since 1970. No process can set this time.
    pub fn changed_ms(&self) -> i64 {
        self.stat.changed_ms()
    }

    /// What it says of itself.
    pub fn recorded(&self) -> Option<Recorded> {
        Recorded::read(&self.file)
    }

    /// Returns when content and metadata are on the disk. Its names are not: [`Survey::sync_names`].
    ///
    /// # Errors
    /// If the disk fails.
    pub fn sync(&self) -> Result<(), Errno> {
        self.file.sync()
    }

    /// Begins to read it to its end, from the disk as far as the kernel gives up what it has cached.
    pub fn reading(self) -> Reading<H> {
        self.file.expect_reading();
        Reading { file: self.file, offset_bytes: 0, hasher: Hasher::default() }
    }
}

/// A file that is being read.
pub struct Reading<H: Handle = std::fs::File> {
    file: H,
    offset_bytes: u64,
    hasher: Hasher,
}

impl<H: Handle> Reading<H> {
    /// Reads into `buffer`. `Some`: the file has ended, with this length and digest.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn step(&mut self, buffer: &mut [u8]) -> Result<Option<(u64, Digest)>, Errno> {
        let length = read_full(&self.file, self.offset_bytes, buffer)?;
        self.hasher.update(&buffer[..length]);
        self.offset_bytes += length as u64;
        if length == buffer.len() && !buffer.is_empty() {
            return Ok(None);
        }
        self.file.start_write_back(0, None); // it is not read again
        Ok(Some((self.offset_bytes, self.hasher.digest())))
    }
}

impl<H: Handle> std::fmt::Debug for Reading<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("file", &self.file).field("offset_bytes", &self.offset_bytes).finish()
    }
}
