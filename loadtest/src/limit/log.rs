//! The least that a write-ahead log costs: group commit of one direct write and one sync, files later, checkpoints behind.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::buffer::{BUFFER_BYTES, Buffer, PAGE_BYTES};
use super::direct::set_direct;

/// Bytes of each half: one is appended to while the files of the other are synced.
const HALF_BYTES: u64 = 64 << 20;
/// The most instances in one frame: a header of 16 bytes for each fits in the frame's first page.
const MAX_GROUP: usize = PAGE_BYTES / 16;

/// Two halves of one preallocated file, used in turn. Replay is left out, and so is a frame's checksum.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    /// The first page of the frame that is being written; the leader's.
    header: Mutex<Buffer>,
    state: Mutex<State>,
    /// A checkpoint is due, or done.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    half: usize,
    used: u64,
    /// Instances in each half whose files are not yet written.
    open: [u64; 2],
    /// The half that is not in use is not yet checkpointed.
    unsettled: bool,
    waiting: Vec<Pending>,
    /// Whether a thread writes a frame.
    led: bool,
}

#[derive(Debug)]
struct Pending {
    buffer: Buffer,
    reply: SyncSender<Reply>,
}

/// The outcome for a member of a group.
#[derive(Debug)]
enum Reply {
    /// The instance is durable, or why it is not, and in which half.
    Written(io::Result<usize>, Buffer),
    /// The leader is done: lead the next group.
    Lead,
}

/// An association's end of the log.
#[derive(Debug)]
pub(super) struct Member {
    reply: SyncSender<Reply>,
    replies: Receiver<Reply>,
}

impl Member {
    pub(super) fn new() -> Self {
        // The lead and the outcome: no send ever waits.
        let (reply, replies) = sync_channel(2);
        Self { reply, replies }
    }
}

impl Log {
    /// Lays the log out below `root`: a frame that overwrites written blocks needs no commit of the filesystem's journal.
    ///
    /// # Errors
    /// Those of the filesystem.
    pub(super) fn create(root: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(root.join(".log"))?;
        set_direct(&file, true)?;
        let mut zeros = Buffer::with_capacity(BUFFER_BYTES);
        zeros.advance(BUFFER_BYTES);
        for part in 0..2 * HALF_BYTES / BUFFER_BYTES as u64 {
            write_all(&file, &[zeros.filled()], part * BUFFER_BYTES as u64)?;
        }
        file.sync_all()?;
        let header = Mutex::new(Buffer::with_capacity(PAGE_BYTES));
        let log = Arc::new(Self { file, header, state: Mutex::default(), changed: Condvar::new() });
        let checkpoints = Arc::clone(&log);
        thread::Builder::new().name("checkpoint".to_owned()).spawn(move || checkpoints.checkpoint())?;
        Ok(log)
    }

    /// Returns when the content of `buffer` is durable, with the buffer and the half that [`Log::written`] is to be told.
    ///
    /// The first to come leads: it writes one frame for all that wait and syncs it. Who comes meanwhile waits, and the first of them
    /// leads the next frame.
    ///
    /// # Errors
    /// Those of the filesystem, to every member of the group.
    pub(super) fn append(&self, member: &Member, buffer: Buffer) -> io::Result<(Buffer, usize)> {
        let mut state = self.lock();
        state.waiting.push(Pending { buffer, reply: member.reply.clone() });
        let leads = !std::mem::replace(&mut state.led, true);
        drop(state);
        if leads {
            self.lead();
        }
        loop {
            match member.replies.recv() {
                Ok(Reply::Lead) => self.lead(),
                Ok(Reply::Written(half, buffer)) => return Ok((buffer, half?)),
                Err(_) => return Err(io::Error::other("the log's leader has ended")),
            }
        }
    }

    /// Writes and syncs one frame, passes the lead on, and tells the members of the group.
    fn lead(&self) {
        let (group, half, offset) = self.reserve();
        let written = self.write(&group, offset).and_then(|()| self.file.sync_data());
        let mut state = self.lock();
        match state.waiting.first() {
            // The thread that waits cannot have gone: it owns the other end.
            Some(next) => drop(next.reply.send(Reply::Lead)),
            None => state.led = false,
        }
        drop(state);
        for Pending { buffer, reply } in group {
            let half = match &written {
                Ok(()) => Ok(half),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let _ = reply.send(Reply::Written(half, buffer));
        }
    }

    /// Takes those that wait, as many as fit in a frame, and the place of their frame.
    fn reserve(&self) -> (Vec<Pending>, usize, u64) {
        let mut state = self.lock();
        let (mut count, mut bytes) = (0, PAGE_BYTES as u64);
        for pending in state.waiting.iter().take(MAX_GROUP) {
            let more = pending.buffer.pages().len() as u64;
            if bytes + more > HALF_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + more);
        }
        let group: Vec<Pending> = state.waiting.drain(..count).collect();
        if state.used + bytes > HALF_BYTES {
            while state.unsettled {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.half = 1 - state.half;
            (state.used, state.unsettled) = (0, true);
            self.changed.notify_all();
        }
        let (half, offset) = (state.half, state.half as u64 * HALF_BYTES + state.used);
        state.used += bytes;
        if let Some(open) = state.open.get_mut(half) {
            *open += group.len() as u64;
        }
        (group, half, offset)
    }

    fn write(&self, group: &[Pending], offset: u64) -> io::Result<()> {
        let mut header = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        header.clear();
        for pending in group {
            header.extend(&(pending.buffer.filled().len() as u128).to_le_bytes());
        }
        let parts: Vec<&[u8]> =
            std::iter::once(header.pages()).chain(group.iter().map(|pending| pending.buffer.pages())).collect();
        write_all(&self.file, &parts, offset)
    }

    /// The file of an instance in `half` is written, though not synced.
    pub(super) fn written(&self, half: usize) {
        let mut state = self.lock();
        let Some(open) = state.open.get_mut(half) else {
            return;
        };
        *open -= 1;
        // Only the checkpoint waits for this, and only for the half that is full.
        if *open == 0 && half != state.half {
            self.changed.notify_all();
        }
    }

    /// Syncs the files of each half that is full and whose files are written.
    fn checkpoint(&self) {
        let mut state = self.lock();
        loop {
            let left = state.open.get(1 - state.half).copied().unwrap_or_default();
            if !state.unsettled || left > 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            drop(state);
            if let Err(error) = rustix::fs::syncfs(&self.file) {
                eprintln!("the limit cannot sync its files, and its log stays full: {error}");
                return;
            }
            state = self.lock();
            state.unsettled = false;
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes `parts` one behind the other; each is whole pages.
fn write_all(file: &File, parts: &[&[u8]], offset: u64) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let wanted: usize = parts.iter().map(|part| part.len()).sum();
    match rustix::io::pwritev(file, &slices, offset)? {
        written if written == wanted => Ok(()),
        written => Err(io::Error::new(io::ErrorKind::WriteZero, format!("{written} of {wanted} bytes of a frame"))),
    }
}
