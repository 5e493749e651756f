//! The spool of audit messages. Each message is appended to this file and synced before it is sent, so messages survive a kill and, as far
//! as the disk keeps a sync, a power failure. A message stays until it is sent. A start sends everything in the file again: a receiver
//! gets each message at least once.
//!
//! The file has one line a message. It is emptied when all of them are sent. Three quarters of it are for evidence about instances, the node
//! and its operators: peers that come and go cannot fill them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};

/// Longest file. A message has 1 to 2 KiB.
const MAX_BYTES: u64 = 64 << 20;
/// Only the node's user reads it: messages name patients.
const MODE: u32 = 0o600;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// A message for the spool, without an end of line.
pub(super) struct Message {
    pub(super) text: String,
    /// Whether it may take the room that is kept for evidence.
    pub(super) is_evidence: bool,
}

/// The open spool.
pub(super) struct Spool {
    file: File,
    max_bytes: u64,
    /// End of the last whole message.
    end: u64,
    /// End of the last message that is sent.
    sent: u64,
}

impl Spool {
    /// Opens the file with the messages of an earlier run. A message without its end is dropped: nothing was acknowledged for it.
    ///
    /// # Errors
    /// The error of the operating system; `WouldBlock` while a replaced thread that hung has the file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(MODE);
        let mut file = options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
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
            File::open(directory)?.sync_all()?; // the name
        }
        Ok(Self { file, max_bytes: MAX_BYTES, end, sent: 0 })
    }

    /// Appends messages and syncs them. Returns the number of messages that found no room.
    ///
    /// # Errors
    /// The error of the operating system. The file then has none of the messages.
    pub(super) fn append(&mut self, messages: &[Message]) -> io::Result<u64> {
        let (mut bytes, mut dropped) = (Vec::new(), 0);
        for Message { text, is_evidence } in messages {
            let room_bytes = if *is_evidence { self.max_bytes } else { self.max_bytes / 4 };
            if self.end + (bytes.len() + text.len()) as u64 >= room_bytes {
                dropped += 1;
                continue;
            }
            bytes.extend_from_slice(text.as_bytes());
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

    /// The oldest message that is not sent.
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

    /// Marks the message of [`Self::first`] as sent.
    pub(super) fn sent(&mut self, message: &str) {
        self.sent = (self.sent + message.len() as u64 + 1).min(self.end);
    }

    /// Whether every message is sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.end
    }

    /// Empties the file if every message is sent.
    ///
    /// # Errors
    /// The error of the operating system. The next start then sends the messages again.
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

    fn evidence(text: &str) -> Message {
        Message { text: text.to_owned(), is_evidence: true }
    }

    #[test]
    fn messages_outlive_the_process_in_order_until_they_are_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let mut spool = Spool::open(&path).unwrap();
        let long = "ä".repeat(10_000);
        assert_eq!(spool.append(&[evidence("one"), evidence(&long)]).unwrap(), 0);
        assert_eq!(spool.first().unwrap().as_deref(), Some("one"));
        spool.sent("one");
        drop(spool); // a kill: nobody knows which messages are sent
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"cut of").unwrap();
        let mut spool = Spool::open(&path).unwrap();
        spool.append(&[evidence("three")]).unwrap();
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
    fn a_full_spool_keeps_its_messages_and_strangers_leave_room_for_evidence() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(&directory.path().join("audit")).unwrap();
        spool.max_bytes = 400;
        let strangers = || (0..50).map(|_| Message { text: "stranger".to_owned(), is_evidence: false });
        assert_eq!(spool.append(&strangers().collect::<Vec<_>>()).unwrap(), 39);
        assert_eq!(spool.append(&[evidence(&"e".repeat(200)), evidence("e")]).unwrap(), 0);
        assert_eq!(spool.append(&[evidence(&"e".repeat(100))]).unwrap(), 1);
        assert_eq!(spool.append(&strangers().collect::<Vec<_>>()).unwrap(), 50);
        assert_eq!(spool.first().unwrap().as_deref(), Some("stranger"));
    }

    #[test]
    fn a_spool_has_one_writer_and_is_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let first = Spool::open(&path).unwrap();
        assert_eq!(Spool::open(&path).err().unwrap().kind(), ErrorKind::WouldBlock);
        drop(first);
        Spool::open(&path).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Spool::open(&link).err().unwrap();
    }
}
