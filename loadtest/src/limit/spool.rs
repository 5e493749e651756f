//! The file of an instance that exceeds a buffer: a thread writes parts of it while the next part arrives.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::buffer::{BUFFER_BYTES, Buffer};
use super::direct::write_part;

/// Parts under way: one that is written, and one that waits.
const PARTS: usize = 2;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Spool {
    parts: SyncSender<Buffer>,
    written: Receiver<Buffer>,
    writer: JoinHandle<io::Result<File>>,
    given: usize,
}

impl Spool {
    /// Creates the file `path`, and the thread that writes it.
    ///
    /// # Errors
    /// Those of the filesystem.
    pub(super) fn create(path: &Path, direct: bool) -> io::Result<Self> {
        let file = File::create_new(path)?;
        let (parts, incoming) = sync_channel::<Buffer>(PARTS - 1);
        // Room for every buffer there is: the writer never waits here.
        let (back, written) = sync_channel(PARTS + 1);
        let writer = thread::Builder::new().spawn(move || {
            let mut offset = 0;
            for part in incoming {
                write_part(&file, &part, offset, direct)?;
                offset += part.filled().len() as u64;
                // The receiver is gone when the instance was given up.
                let _ = back.send(part);
            }
            Ok(file)
        })?;
        Ok(Self { parts, written, writer, given: 0 })
    }

    /// Gives the content of `buffer` to the thread and leaves an empty buffer in its place.
    ///
    /// # Errors
    /// When the thread has ended; [`Spool::end`] says why.
    pub(super) fn pass(&mut self, buffer: &mut Buffer) -> io::Result<()> {
        let mut empty = if self.given < PARTS {
            Buffer::with_capacity(BUFFER_BYTES)
        } else {
            self.written.recv().map_err(|_| io::Error::other("the writer of a large instance has ended"))?
        };
        self.given += 1;
        empty.clear();
        let full = std::mem::replace(buffer, empty);
        self.parts.send(full).map_err(|_| io::Error::other("the writer of a large instance has ended"))
    }

    /// Writes the last part and waits until the file is written, though not synced.
    ///
    /// # Errors
    /// The first error of any part.
    pub(super) fn end(self, last: Buffer) -> io::Result<File> {
        // A send that fails means that the thread has ended by an error, which is returned below.
        let _ = self.parts.send(last);
        drop(self.parts);
        self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer of a large instance panicked")))
    }
}
