//! Whether a name is taken, and whether by the same bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Result as IoResult};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::StoreError;
use crate::fault::{self, Step};
use crate::instance::{Instance, Payload};
use crate::meta::{DatasetStart, FileMeta};

/// Bytes read at a time when two datasets are compared.
const CHUNK_BYTES: usize = 128 * 1024;

/// What has the name an instance is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// This very instance, placed by an earlier commit.
    Ours,
    /// Another file with the same dataset in the same transfer syntax.
    Identical,
    /// Anything else, whether or not it can be read.
    Different,
}

/// Looks at what is called `name` in `directory`, at `path` below the root. With `fsync`, data found identical is on the disk.
pub(super) fn examine(
    directory: &File,
    (path, name): (&Path, &OsStr),
    instance: &Instance,
    fsync: bool,
) -> Result<Found, StoreError> {
    let failed = |what| move |error| StoreError::new(what, path, error);
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        other => other.map_err(failed("examine"))?,
    };
    // Not blocking, as it may be a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let stored: File = match retry_on_intr(|| rustix::fs::openat(directory, name, flags, Mode::empty())) {
        Ok(stored) => stored.into(),
        // These say nothing about the file.
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            return Err(failed("open")(error));
        }
        Err(_) => return Ok(Found::Different),
    };
    let Ok(metadata) = stored.metadata() else {
        return Ok(Found::Different);
    };
    if !metadata.is_file() {
        return Ok(Found::Different);
    }
    if let Payload::Spooled(spool) = &instance.payload
        && let Ok(ours) = spool.dataset().0.metadata()
        && (ours.dev(), ours.ino()) == (metadata.dev(), metadata.ino())
    {
        return Ok(Found::Ours);
    }
    // Whatever cannot be read cannot be relied on.
    if !is_identical(&stored, metadata.len(), instance).unwrap_or(false) {
        return Ok(Found::Different);
    }
    // Who wrote it may not have synced it. If it cannot be, it is no better than different bytes.
    let synced =
        !fsync || fault::at(Step::SyncStored).and_then(|()| retry_on_intr(|| rustix::fs::fdatasync(&stored))).is_ok();
    Ok(if synced { Found::Identical } else { Found::Different })
}

/// Whether a file of `stored_bytes` holds the dataset of `instance` in the same transfer syntax.
fn is_identical(stored: &File, stored_bytes: u64, instance: &Instance) -> IoResult<bool> {
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
    match &instance.payload {
        Payload::Memory(_) | Payload::Placed(_) => {
            for piece in instance.dataset_pieces() {
                if !begins_with(&mut stored, piece)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Payload::Spooled(spool) => {
            let (file, offset) = spool.dataset();
            let mut spooled = BufReader::with_capacity(CHUNK_BYTES, ReadAt { file, offset });
            loop {
                let chunk = spooled.fill_buf()?;
                let bytes = chunk.len();
                if bytes == 0 {
                    return Ok(true);
                }
                if !begins_with(&mut stored, chunk)? {
                    return Ok(false);
                }
                spooled.consume(bytes);
            }
        }
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
struct ReadAt<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> IoResult<usize> {
        loop {
            match self.file.read_at(buffer, self.offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(read) => {
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
