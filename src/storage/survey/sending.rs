//! The file of an instance, opened in order to send its dataset to a peer.

use std::os::fd::AsFd;
use std::path::Path;

use super::{StoredFile, Survey};
use crate::digest::{Digest, Recorded};
use crate::fs::{Errno, Handle, read_full, send_file};
use crate::meta::{FileMeta, StoredMeta};

/// A stored file whose dataset is to be sent. Nothing behind the length that it had when it was opened belongs to it.
#[derive(Debug)]
pub struct Outgoing<H: Handle = std::fs::File> {
    file: H,
    meta: FileMeta,
    dataset_offset: u64,
    bytes: u64,
    recorded: Option<Digest>,
}

/// Why the file at a path cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSendable {
    /// No regular file is there that is reached through no link.
    #[error("the file is gone")]
    Gone,
    /// It has no file meta information of an instance.
    #[error("the file is not one of an instance")]
    NotAnInstance,
    /// Nobody can tell: the disk fails, or the file may not be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(Errno),
}

impl<H: Handle> Survey<H> {
    /// Opens the file at `path`, and reads its beginning into `first`, which has [`FileMeta::MAX_ENCODED_BYTES`] at least. Returns the file, and
    /// how many bytes were read: all of a file that is no longer than `first`.
    ///
    /// # Errors
    /// [`NotSendable`].
    pub fn outgoing(&self, path: &Path, first: &mut [u8]) -> Result<(Outgoing<H>, usize), NotSendable> {
        let stored = self.stored(path).map_err(NotSendable::Unreadable)?;
        let StoredFile { file, stat } = stored.ok_or(NotSendable::Gone)?;
        // Of a long file, its dataset follows from the page cache.
        let wanted = match usize::try_from(stat.bytes) {
            Ok(bytes) if bytes <= first.len() => bytes,
            _ => FileMeta::MAX_ENCODED_BYTES.min(first.len()),
        };
        let length = read_full(&file, 0, &mut first[..wanted]).map_err(NotSendable::Unreadable)?;
        let read = StoredMeta::read(&first[..length]).map_err(|_| NotSendable::NotAnInstance)?;
        let StoredMeta { meta, dataset_offset, .. } = read;
        let recorded = Recorded::read(&file).map(|recorded| recorded.digest);
        Ok((Outgoing { file, meta, dataset_offset, bytes: stat.bytes, recorded }, length))
    }
}

impl<H: Handle> Outgoing<H> {
    /// Its file meta information.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// Where its dataset begins, in bytes.
    pub fn dataset_offset(&self) -> u64 {
        self.dataset_offset
    }

    /// Its length, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest that it carries.
    pub fn recorded(&self) -> Option<Digest> {
        self.recorded
    }

    /// Fills `buffer` from an offset on, and returns how many bytes were read; fewer at the end of the file only.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        read_full(&self.file, offset_bytes, buffer)
    }
}

impl Outgoing {
    /// Has the kernel send at most `bytes` of the file, from an offset on, over a socket (`sendfile(2)`). Returns how many it took; 0 at the end of
    /// the file.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if the socket takes none without waiting, and any other of the socket or the disk.
    pub fn send(&self, socket: impl AsFd, offset_bytes: u64, bytes: usize) -> Result<usize, Errno> {
        send_file(&self.file, socket.as_fd(), offset_bytes, bytes)
    }
}
