//! Whether a name is taken, and whether by the same bytes.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Result as IoResult};
use std::path::Path;

use super::run::Run;
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::fs::{Errno, Handle, Kind, Link, Open};
use crate::instance::{Instance, Payload};
use crate::meta::{DatasetStart, FileMeta};
use crate::trust::Trust;

/// Bytes read at a time when two datasets are compared.
const CHUNK_BYTES: usize = 128 * 1024;

/// The file at the name that an instance is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// This very instance, placed by an earlier commit.
    Ours,
    /// Another file with the same dataset in the same transfer syntax.
    Identical,
    /// The same, but the disk may not have all of it.
    Unwritten,
    /// Anything else, whether or not it can be read.
    Different,
}

/// The proof required of a file that is found identical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing.
    None,
    /// A sync of the file: the process that wrote it may not have synced it.
    Sync,
    /// The same with its name, where a sync of its directory does not see to that.
    SyncWithName,
    /// Write it again: a sync on this filesystem has failed, and the failure does not say which file or name it concerns.
    Rewrite,
}

impl<H: Handle> Run<H> {
    pub(super) fn proof(&self, instance: &Instance<H>) -> Proof {
        match self.fsync(instance) {
            false => Proof::None,
            true if self.root.trust.failures() > 0 => Proof::Rewrite,
            true if self.root.filesystem.kind.syncs_as_a_whole() => Proof::Sync,
            true => Proof::SyncWithName,
        }
    }
}

/// Examines the file `name` in `directory`, at `path` below the root.
pub(super) fn examine<H: Handle>(
    directory: &H,
    (path, name): (&Path, &OsStr),
    instance: &Instance<H>,
    proof: Proof,
    trust: &Trust<H>,
) -> Result<Found, StoreError> {
    let failed = |what| move |error| StoreError::new(what, path, error);
    let name = Path::new(name);
    match directory.stat_at(name, Link::NoFollow) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        other => other.map_err(failed("examine"))?,
    };
    let stored = match directory.open(name, Open::Read) {
        Ok(stored) => stored,
        // These say nothing about the file.
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            return Err(failed("open")(error));
        }
        Err(_) => return Ok(Found::Different),
    };
    let Ok(stat) = stored.stat() else {
        return Ok(Found::Different);
    };
    if stat.kind != Kind::File {
        return Ok(Found::Different);
    }
    if let Payload::Spooled(spool) = &instance.payload
        && let Ok(ours) = spool.dataset().0.stat()
        && (ours.dev, ours.ino) == (stat.dev, stat.ino)
    {
        return Ok(Found::Ours);
    }
    // A file that cannot be read cannot be relied on.
    if !is_identical(&stored, stat.bytes, instance).unwrap_or(false) {
        return Ok(Found::Different);
    }
    let is_proved = match proof {
        Proof::None => true,
        Proof::Sync | Proof::SyncWithName => {
            let sync = || if proof == Proof::Sync { stored.sync_data() } else { stored.sync() };
            let synced = trust.note(fault::point(Step::SyncStored).and_then(|()| sync()));
            synced.is_ok() && trust.failures() == 0
        }
        Proof::Rewrite => false,
    };
    Ok(if is_proved { Found::Identical } else { Found::Unwritten })
}

/// Whether a file of `stored_bytes` holds the dataset of `instance` in the same transfer syntax.
fn is_identical<H: Handle>(stored: &H, stored_bytes: u64, instance: &Instance<H>) -> IoResult<bool> {
    let mut prefix = Vec::with_capacity(FileMeta::MAX_ENCODED_BYTES);
    ReadAt { file: stored, offset: 0 }.take(FileMeta::MAX_ENCODED_BYTES as u64).read_to_end(&mut prefix)?;
    let (Some(theirs), Some(ours)) = (DatasetStart::find(&prefix), DatasetStart::find(instance.encoded_meta())) else {
        return Ok(false);
    };
    if theirs.transfer_syntax_uid != ours.transfer_syntax_uid
        || stored_bytes.checked_sub(theirs.offset) != Some(instance.dataset_bytes())
    {
        return Ok(false);
    }
    let mut stored = BufReader::with_capacity(CHUNK_BYTES, ReadAt { file: stored, offset: theirs.offset });
    each_piece(instance, |piece| begins_with(&mut stored, piece))
}

/// The digest of what makes two versions identical: transfer syntax and dataset.
pub(super) fn digest_of_dataset<H: Handle>(instance: &Instance<H>) -> IoResult<Digest> {
    let mut hasher = Hasher::default();
    hasher.update(instance.meta.transfer_syntax_uid.as_bytes());
    each_piece(instance, |piece| {
        hasher.update(piece);
        Ok(true)
    })?;
    Ok(hasher.digest())
}

/// Calls `met` with the bytes of the dataset, piece by piece, until it answers `false`. Whether it never did.
fn each_piece<H: Handle>(instance: &Instance<H>, mut met: impl FnMut(&[u8]) -> IoResult<bool>) -> IoResult<bool> {
    let Payload::Spooled(spool) = &instance.payload else {
        for piece in instance.dataset_pieces() {
            if !met(piece)? {
                return Ok(false);
            }
        }
        return Ok(true);
    };
    let (file, offset) = spool.dataset();
    let mut spooled = BufReader::with_capacity(CHUNK_BYTES, ReadAt { file, offset });
    loop {
        let chunk = spooled.fill_buf()?;
        let bytes = chunk.len();
        if bytes == 0 {
            return Ok(true);
        }
        if !met(chunk)? {
            return Ok(false);
        }
        spooled.consume(bytes);
    }
}

/// Whether the next bytes read are `expected`.
fn begins_with(read: &mut impl BufRead, mut expected: &[u8]) -> IoResult<bool> {
    while !expected.is_empty() {
        let chunk = read.fill_buf()?;
        let bytes = chunk.len().min(expected.len());
        if bytes == 0 || chunk[..bytes] != expected[..bytes] {
            return Ok(false);
        }
        read.consume(bytes);
        expected = &expected[bytes..];
    }
    Ok(true)
}

/// Reads on from an offset of its own: a file's own offset is shared by every thread that has the file.
struct ReadAt<'a, H> {
    file: &'a H,
    offset: u64,
}

impl<H: Handle> Read for ReadAt<'_, H> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        let read = self.file.read_at(self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}
