//! The records that wait to be entered. A writer adds one and goes on; one that does not fit is counted as missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tidegate_catalogue::{Again, Record};
use tidegate_memory::{Holder, MemoryBudget, MemoryLease, Stage};
use tokio::sync::Notify;

use super::record::{Decoded, Noted};

/// Records that may wait. A disk that stops for a second costs no record at 16,000 instances a second.
pub(crate) const CAPACITY: usize = 16 * 1024;
/// Records of one transaction.
pub(crate) const BATCH: usize = 4096;
/// Bytes that waiting records may take.
const MAX_BYTES: u64 = 12 << 20;
/// Bytes are leased in pieces: a lease for each record would cost as much as the record.
const LEASE_BYTES: u64 = 64 << 10;

/// Why records were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// [`CAPACITY`] records wait.
    QueueFull,
    /// The memory budget has no room.
    NoMemory,
    /// The thread ended that entered them, by a panic.
    Ended,
}

impl Cause {
    const ALL: [Self; 3] = [Self::QueueFull, Self::NoMemory, Self::Ended];

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::QueueFull => "the queue of the catalogue was full",
            Self::NoMemory => "the memory budget had no room for the queue of the catalogue",
            Self::Ended => "the thread of the catalogue ended",
        }
    }
}

/// What is known of a stored instance.
pub(crate) enum Entry {
    /// Its event.
    Noted(Noted),
    /// The path of one that was stored before. Its record is in its file, and is read if the catalogue does not know it: the event of its first
    /// commit is lost if its writer died. Who sent it now may have other destinations.
    Stored(Again),
    /// A record.
    #[cfg(test)]
    Record(Box<Record>),
}

impl Entry {
    /// What it takes in memory: itself, as often as a vector has room for one that grows, and its texts. A record decoded from it has about the
    /// same texts.
    fn memory_bytes(&self) -> u64 {
        let texts = match self {
            Self::Noted(noted) => noted.memory_bytes(),
            Self::Stored(again) => again.path.capacity(),
            #[cfg(test)]
            Self::Record(record) => record.path.capacity(),
        };
        (2 * size_of::<Self>() + size_of::<Record>() + texts) as u64
    }
}

/// The queue.
pub(crate) struct Queue {
    budget: MemoryBudget,
    waiting: Mutex<Waiting>,
    /// The first record came, or those of a batch have.
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    bytes: u64,
    leases: Leases,
    /// When the first one came since the queue was empty.
    since: Option<Instant>,
    missed: [u64; Cause::ALL.len()],
}

/// The account of the records, open while there are any.
#[derive(Default)]
struct Leases {
    holder: Option<Holder>,
    leases: Vec<MemoryLease>,
}

impl Leases {
    fn bytes(&self) -> u64 {
        self.leases.len() as u64 * LEASE_BYTES
    }

    /// Leases until `bytes` are leased. False: the budget is exhausted.
    fn reach(&mut self, bytes: u64, budget: &MemoryBudget) -> bool {
        while self.bytes() < bytes {
            let holder = self.holder.get_or_insert_with(|| budget.open_account("catalogue"));
            match holder.lease(Stage::Catalogue, LEASE_BYTES) {
                Ok(lease) => self.leases.push(lease),
                Err(_) => return false,
            }
        }
        true
    }

    /// The leases beyond `bytes`.
    fn beyond(&mut self, bytes: u64) -> Vec<MemoryLease> {
        let kept = usize::try_from(bytes.div_ceil(LEASE_BYTES)).unwrap_or(usize::MAX).min(self.leases.len());
        let beyond = self.leases.split_off(kept);
        if self.leases.is_empty() {
            self.holder = None; // its account stays open as long as a lease
        }
        beyond
    }
}

impl Queue {
    pub(crate) fn new(budget: MemoryBudget) -> Arc<Self> {
        Arc::new(Self { budget, waiting: Mutex::default(), arrived: Notify::new() })
    }

    /// Adds a record, or counts it as missed. Never waits for anything but other writers that do the same. Whether it was added.
    pub(crate) fn push(&self, entry: Entry) -> bool {
        let bytes = entry.memory_bytes();
        let mut waiting = self.waiting.lock();
        let whole = waiting.bytes + bytes;
        if waiting.entries.len() >= CAPACITY || whole > MAX_BYTES {
            self.miss_one(&mut waiting, Cause::QueueFull);
            return false;
        }
        if !waiting.leases.reach(whole, &self.budget) {
            self.miss_one(&mut waiting, Cause::NoMemory);
            return false;
        }
        waiting.bytes = whole;
        waiting.entries.push_back(entry);
        waiting.since.get_or_insert_with(Instant::now);
        let count = waiting.entries.len();
        drop(waiting);
        // The child sleeps until there is something to gather, and then until a batch is full or has waited long enough.
        if count == 1 || count == BATCH {
            self.arrived.notify_one();
        }
        true
    }

    fn miss_one(&self, waiting: &mut Waiting, cause: Cause) {
        if waiting.missed.iter().all(|count| *count == 0) {
            self.arrived.notify_one();
        }
        waiting.missed[cause as usize] += 1;
    }

    /// Whether records were missed that nobody has taken note of.
    pub(crate) fn has_missed(&self) -> bool {
        self.waiting.lock().missed.iter().any(|count| *count > 0)
    }

    /// Counts records as missed that came this far.
    fn miss(&self, cause: Cause, count: u64) {
        self.waiting.lock().missed[cause as usize] += count;
        self.arrived.notify_one();
    }

    /// Takes the records of one transaction.
    pub(crate) fn take(self: &Arc<Self>) -> Batch {
        let mut waiting = self.waiting.lock();
        let entries: VecDeque<Entry> = if waiting.entries.len() <= BATCH {
            std::mem::take(&mut waiting.entries)
        } else {
            waiting.entries.drain(..BATCH).collect()
        };
        let bytes: u64 = entries.iter().map(Entry::memory_bytes).sum();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        if waiting.entries.is_empty() {
            waiting.since = None;
        }
        let left = waiting.bytes;
        let leases = waiting.leases.beyond(left);
        drop(waiting);
        let mut batch = Batch { queue: self.clone(), records: Vec::new(), stored: Vec::new(), _leases: leases };
        let mut decoded = Decoded::default();
        for entry in entries {
            match entry {
                Entry::Noted(noted) => batch.records.push(noted.record(&mut decoded)),
                Entry::Stored(again) => batch.stored.push(again),
                #[cfg(test)]
                Entry::Record(record) => batch.records.push(*record),
            }
        }
        batch
    }

    /// How many wait, and since when the first of them.
    pub(crate) fn waiting(&self) -> (usize, Option<Instant>) {
        let waiting = self.waiting.lock();
        (waiting.entries.len(), waiting.since)
    }

    /// Waits until the first record has come, or enough for a batch, since the last call.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes the numbers of missed records, by cause.
    pub(crate) fn take_missed(&self) -> Vec<(Cause, u64)> {
        let missed = std::mem::take(&mut self.waiting.lock().missed);
        Cause::ALL.into_iter().zip(missed).filter(|(_, count)| *count > 0).collect()
    }

    /// Drops what waits: the node ends, and the next start finds it.
    pub(crate) fn clear(&self) {
        let mut waiting = self.waiting.lock();
        let missed = waiting.missed;
        *waiting = Waiting { missed, ..Waiting::default() };
    }
}

/// The records of one transaction, with the leases that pay for them.
pub(crate) struct Batch {
    queue: Arc<Queue>,
    /// Records of events.
    pub(crate) records: Vec<Record>,
    /// Instances that were stored before.
    pub(crate) stored: Vec<Again>,
    _leases: Vec<MemoryLease>,
}

impl Batch {
    /// Instances that it is about.
    pub(crate) fn len(&self) -> u64 {
        (self.records.len() + self.stored.len()) as u64
    }

    /// They are entered.
    pub(crate) fn done(mut self) {
        self.records.clear();
        self.stored.clear();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if self.len() > 0 {
            self.queue.miss(Cause::Ended, self.len());
        }
    }
}
