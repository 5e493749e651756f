//! The spool of audit messages: a file that each message reaches, synced, before the sink, so that messages outlive a kill and, as
//! far as the disk keeps a sync, a power failure. A message is in it until the sink has it; after a start all messages are sent again
//! that may not have been, so a receiver gets each at least once.
//!
//! The file has a line for each message. It is emptied when the sink has all of them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Longest file. A message has 1 to 2 KiB.
const MAX_BYTES: u64 = 64 << 20;
/// Readable for the node's user alone: messages name patients.
const MODE: u32 = 0o600;
/// Read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// See the module.
pub(super) struct Spool {
    file: File,
    max_bytes: u64,
    /// End of the last whole message.
    end: u64,
    /// End of the last message that the sink has.
    sent: u64,
}

impl Spool {
    /// Opens the file, with the messages of a run before. A message that was cut off is forgotten: it was not promised.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)?;
        let (mut end, mut at, mut chunk) = (0, 0, vec![0; CHUNK_BYTES]);
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            if let Some(last) = chunk[..read].iter().rposition(|byte| *byte == b'\n') {
                end = at + last as u64 + 1;
            }
            at += read as u64;
        }
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        if let Some(directory) = path.parent() {
            File::open(directory)?.sync_all()?; // the name, too
        }
        Ok(Self { file, max_bytes: MAX_BYTES, end, sent: 0 })
    }

    /// Appends messages, none of which has an end of line, and syncs them. Returns how many found no room.
    ///
    /// # Errors
    /// The error of the operating system; none is in the file then.
    pub(super) fn append(&mut self, messages: &[String]) -> io::Result<u64> {
        let (mut bytes, mut dropped) = (Vec::new(), 0);
        for message in messages {
            if self.end + (bytes.len() + message.len()) as u64 >= self.max_bytes {
                dropped += 1;
                continue;
            }
            bytes.extend_from_slice(message.as_bytes());
            bytes.push(b'\n');
        }
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let _ = self.file.set_len(self.end); // the next append writes over it
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(dropped)
    }

    /// The oldest message that the sink does not have.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(super) fn first(&self) -> io::Result<Option<String>> {
        let (mut message, mut at, mut chunk) = (Vec::new(), self.sent, [0; 4096]);
        while at < self.end {
            let read = self.file.read_at(&mut chunk, at)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = chunk[..read].iter().position(|byte| *byte == b'\n') {
                message.extend_from_slice(&chunk[..end]);
                return Ok(Some(String::from_utf8_lossy(&message).into_owned()));
            }
            message.extend_from_slice(&chunk[..read]);
            at += read as u64;
        }
        Ok(None)
    }

    /// The sink has the message of [`Self::first`].
    pub(super) fn sent(&mut self, message: &str) {
        self.sent = (self.sent + message.len() as u64 + 1).min(self.end);
    }

    /// Whether the sink has every message.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.end
    }

    /// Empties the file, once the sink has every message for good.
    ///
    /// # Errors
    /// The error of the operating system; the messages are sent again after a start.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.end > 0 && self.is_sent() {
            self.file.set_len(0)?;
            (self.end, self.sent) = (0, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn messages_outlive_the_process_in_order_until_they_are_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let mut spool = Spool::open(&path).unwrap();
        let long = "ä".repeat(10_000);
        assert_eq!(spool.append(&["one".to_owned(), long.clone()]).unwrap(), 0);
        assert_eq!(spool.first().unwrap().as_deref(), Some("one"));
        spool.sent("one");
        drop(spool); // killed: it is not known what the sink has
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"cut of").unwrap();
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&["three".to_owned()]).unwrap();
        for message in ["one", &long, "three"] {
            assert_eq!(spool.first().unwrap().as_deref(), Some(message));
            spool.clear().unwrap();
            spool.sent(message);
        }
        assert_eq!(spool.first().unwrap(), None);
        spool.clear().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn a_full_spool_keeps_what_it_has() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&directory.path().join("audit")).unwrap();
        spool.max_bytes = 12;
        assert_eq!(spool.append(&["first".to_owned(), "second".to_owned(), "third".to_owned()]).unwrap(), 1);
        assert_eq!(spool.append(&["x".to_owned()]).unwrap(), 1);
        assert_eq!(spool.first().unwrap().as_deref(), Some("first"));
    }
}
