//! The spool of audit messages. Each message is appended to a file of this directory and synced before it is sent, so messages survive a kill
//! and, as far as the disk keeps a sync, a power failure. A message stays until it is sent or gives way. A start sends everything in the
//! directory again: a receiver gets each message at least once.
//!
//! - The files are *segments*, named by rising numbers. A line has the source of a message, its class, and the message. A segment is removed
//!   when all of its messages are sent.
//! - Each [`Class`] has its share of the room. In a class that is full, the oldest messages of the sources that hold the most give way
//!   ([`Shed`]).
//! - A segment that loses messages is written anew beside itself and renamed: a kill at any time leaves one or the other.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::shed::Shed;

/// Most bytes of messages. A message has 1 to 2 KiB.
const MAX_BYTES: u64 = 64 << 20;
/// A segment with this part of them is full.
const SEGMENTS: u64 = 32;
/// Most files open at a time: two neighbours have more than a full segment together.
pub(crate) const MAX_OPEN_FILES: u64 = 2 * SEGMENTS + 4;
/// The part that gives way at a time.
const SHEDS: u64 = 32;
/// Only the node's user reads it: messages name patients.
const MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Locked by the thread that uses the spool.
const LOCK: &str = "lock";
/// A segment that is being written anew.
const DRAFT: &str = "draft";

/// The classes of messages. None takes the room of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// About instances, the node and its operators.
    Evidence,
    /// About peers that come and go.
    Contact,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Contact => "contact",
        }
    }

    /// Its share of the room.
    fn share(self, max_bytes: u64) -> u64 {
        match self {
            Self::Evidence => max_bytes / 4 * 3,
            Self::Contact => max_bytes / 4,
        }
    }
}

/// A message for the spool. It has no end of line, and its source has no space.
pub(super) struct Message {
    pub(super) source: String,
    pub(super) class: Class,
    pub(super) text: String,
}

/// The numbers of messages that gave way, by source.
pub(super) type GaveWay = BTreeMap<String, u64>;

/// The open spool.
pub(super) struct Spool {
    directory: PathBuf,
    _lock: File,
    max_bytes: u64,
    /// The oldest first; never empty. Messages are appended to the last one.
    segments: VecDeque<Segment>,
    /// End of the last message of the first segment that is sent.
    sent: u64,
    /// Bytes of the message of [`Self::first`].
    sending: u64,
}

/// A file of messages. It is open: nobody takes it away.
struct Segment {
    number: u64,
    file: File,
    /// End of the last whole message.
    end: u64,
    /// Bytes of evidence. The others are of contacts.
    evidence: u64,
}

impl Segment {
    fn bytes(&self, class: Class) -> u64 {
        match class {
            Class::Evidence => self.evidence,
            Class::Contact => self.end - self.evidence,
        }
    }
}

/// A line of a segment.
struct Line<'a> {
    source: &'a str,
    class: Class,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    /// A line that is damaged counts as evidence: it is sent rather than lost.
    fn new(line: &'a [u8]) -> Self {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let source = parts.next().and_then(|source| str::from_utf8(source).ok());
        match (source, parts.next(), parts.next()) {
            (Some(source), Some(b"evidence"), Some(text)) => Self { source, class: Class::Evidence, text },
            (Some(source), Some(b"contact"), Some(text)) => Self { source, class: Class::Contact, text },
            _ => Self { source: "unknown", class: Class::Evidence, text: line },
        }
    }
}

/// The lines of a segment, with their ends.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    content.split_inclusive(|byte| *byte == b'\n')
}

fn evidence_of(content: &[u8]) -> u64 {
    lines(content).filter(|line| Line::new(line).class == Class::Evidence).map(|line| line.len() as u64).sum()
}

/// Opens a file of the spool, which is no link.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(MODE);
    options.custom_flags(OFlags::NOFOLLOW.bits() as i32).open(path)
}

impl Spool {
    /// Opens the directory with the messages of an earlier run. A message without its end is dropped: nothing was acknowledged for it.
    ///
    /// # Errors
    /// The error of the operating system; `WouldBlock` while a replaced thread that hung has the spool.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ if !fs::symlink_metadata(directory)?.is_dir() => return Err(ErrorKind::NotADirectory.into()),
            _ => {}
        }
        let lock = open(&directory.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let entries = fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut numbers: Vec<u64> = entries.collect();
        numbers.sort_unstable();
        if numbers.is_empty() {
            numbers.push(1);
        }
        let mut segments = VecDeque::new();
        for number in numbers {
            let mut file = open(&path(directory, number))?;
            let mut content = Vec::new();
            file.read_to_end(&mut content)?;
            content.truncate(content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
            file.set_len(content.len() as u64)?;
            segments.push_back(Segment { number, file, end: content.len() as u64, evidence: evidence_of(&content) });
        }
        File::open(directory)?.sync_all()?; // the names
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        let directory = directory.to_owned();
        Ok(Self { directory, _lock: lock, max_bytes: MAX_BYTES, segments, sent: 0, sending: 0 })
    }

    /// Appends messages and syncs them. Returns what gave way for them.
    ///
    /// # Errors
    /// The error of the operating system. The spool then has none of the messages.
    pub(super) fn append(&mut self, messages: &[Message]) -> io::Result<GaveWay> {
        let mut content = Vec::new();
        for Message { source, class, text } in messages {
            content.extend_from_slice(format!("{source} {} {text}\n", class.name()).as_bytes());
        }
        let evidence = evidence_of(&content);
        let mut gave_way = GaveWay::new();
        for (class, bytes) in [(Class::Evidence, evidence), (Class::Contact, content.len() as u64 - evidence)] {
            let held: u64 = self.segments.iter().map(|segment| segment.bytes(class)).sum();
            if bytes > 0
                && let Some(over) = (held + bytes).checked_sub(class.share(self.max_bytes))
            {
                self.shed(class, over + self.max_bytes / SHEDS, &mut gave_way)?;
            }
        }
        self.write(&content, evidence)?;
        Ok(gave_way)
    }

    fn write(&mut self, content: &[u8], evidence: u64) -> io::Result<()> {
        let last = &self.segments[self.segments.len() - 1];
        if last.end >= self.max_bytes / SEGMENTS {
            let number = last.number + 1;
            let file = open(&path(&self.directory, number))?;
            self.segments.push_back(Segment { number, file, end: 0, evidence: 0 });
            File::open(&self.directory)?.sync_all()?;
        }
        let last = self.segments.len() - 1;
        let Segment { file, end, evidence: before, .. } = &mut self.segments[last];
        let written = file.write_all_at(content, *end).and_then(|()| file.sync_data());
        if let Err(error) = written {
            let _ = file.set_len(*end); // the next append writes over it
            return Err(error);
        }
        *end += content.len() as u64;
        *before += evidence;
        Ok(())
    }

    /// Makes room for so many bytes of the class, as far as it has them. The message of [`Self::first`] stays: it is being sent.
    fn shed(&mut self, class: Class, bytes: u64, gave_way: &mut GaveWay) -> io::Result<()> {
        let mut shed = Shed::default();
        for index in 0..self.segments.len() {
            let content = self.unsent(index)?;
            let parsed = lines(&content).skip(usize::from(index == 0)).map(|line| (Line::new(line), line.len() as u64));
            parsed.filter(|(line, _)| line.class == class).for_each(|(line, bytes)| shed.add(line.source, bytes));
        }
        shed.settle(bytes);
        for index in 0..self.segments.len() {
            let (content, mut kept, mut gone) = (self.unsent(index)?, Vec::new(), GaveWay::new());
            for (at, line) in lines(&content).enumerate() {
                let Line { source, class: of_line, .. } = Line::new(line);
                let may_go = of_line == class && !(index == 0 && at == 0);
                if may_go && shed.takes(source, line.len() as u64) {
                    *gone.entry(source.to_owned()).or_default() += 1;
                } else {
                    kept.extend_from_slice(line);
                }
            }
            if !gone.is_empty() {
                self.replace(index, &kept)?;
            }
            gone.into_iter().for_each(|(source, count)| *gave_way.entry(source).or_default() += count);
            if shed.is_done() {
                break;
            }
        }
        self.join()
    }

    /// Joins neighbours that fit into one segment, so that the files stay few.
    fn join(&mut self) -> io::Result<()> {
        let mut index = 1;
        while index + 1 < self.segments.len() {
            let (before, bytes) = (self.unsent(index - 1)?, self.segments[index].end);
            if bytes > 0 && before.len() as u64 + bytes > self.max_bytes / SEGMENTS {
                index += 1;
                continue;
            }
            if bytes > 0 {
                self.replace(index - 1, &[before, self.unsent(index)?].concat())?;
            }
            // A kill before this line sends the messages twice.
            fs::remove_file(path(&self.directory, self.segments[index].number))?;
            self.segments.remove(index);
        }
        Ok(())
    }

    /// The messages of a segment that are not sent.
    fn unsent(&self, index: usize) -> io::Result<Vec<u8>> {
        let Segment { file, end, .. } = &self.segments[index];
        let from = if index == 0 { self.sent } else { 0 };
        let mut content = vec![0; (end - from) as usize];
        file.read_exact_at(&mut content, from)?;
        Ok(content)
    }

    /// Gives a segment another content, without what of it is sent.
    fn replace(&mut self, index: usize, content: &[u8]) -> io::Result<()> {
        let draft = self.directory.join(DRAFT);
        let file = open(&draft)?;
        file.set_len(0)?;
        file.write_all_at(content, 0)?;
        file.sync_data()?;
        let number = self.segments[index].number;
        fs::rename(&draft, path(&self.directory, number))?;
        self.segments[index] = Segment { number, file, end: content.len() as u64, evidence: evidence_of(content) };
        if index == 0 {
            self.sent = 0;
        }
        Ok(())
    }

    /// The oldest message of the first segment that is not sent. `None`: there is none, and [`Self::clear`] removes the segment.
    ///
    /// # Errors
    /// The error of the operating system.
    pub(super) fn first(&mut self) -> io::Result<Option<String>> {
        let Segment { file, end, .. } = &self.segments[0];
        if self.sent == *end {
            return Ok(None);
        }
        let (mut line, mut at, mut chunk) = (Vec::new(), self.sent, [0; 4096]);
        while !line.ends_with(b"\n") {
            let read = file.read_at(&mut chunk, at)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let until = chunk[..read].iter().position(|byte| *byte == b'\n').map_or(read, |at| at + 1);
            line.extend_from_slice(&chunk[..until]);
            at += read as u64;
        }
        self.sending = line.len() as u64;
        Ok(Some(String::from_utf8_lossy(Line::new(&line).text).into_owned()))
    }

    /// Marks the message of [`Self::first`] as sent.
    pub(super) fn sent(&mut self) {
        self.sent = (self.sent + std::mem::take(&mut self.sending)).min(self.segments[0].end);
    }

    /// Bytes of messages that are not sent.
    pub(super) fn unsent_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum::<u64>() - self.sent
    }

    /// Removes the first segment if every message in it is sent.
    ///
    /// # Errors
    /// The error of the operating system. The next start then sends the messages again.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        let is_last = self.segments.len() == 1;
        let first = &mut self.segments[0];
        if self.sent < first.end || self.sent == 0 && is_last {
            return Ok(());
        }
        if is_last {
            first.file.set_len(0)?;
            (first.end, first.evidence) = (0, 0);
        } else {
            fs::remove_file(path(&self.directory, first.number))?;
            self.segments.pop_front();
        }
        self.sent = 0;
        Ok(())
    }
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(number.to_string())
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
