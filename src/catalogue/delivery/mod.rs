//! Deliveries: what is owed to destinations. A destination's queue is the rows of one table, in the order in which they are sent.
//!
//! A row is made in the transaction that enters its instance, and leaves it when the delivery was made or dropped. An instance owes a delivery to
//! each destination of its origin. Entering it again adds only destinations that it neither owes nor has had, and a file with other content owes
//! all anew. A file that is gone while it owes is dead; one that was released owes nothing.
//!
//! What a destination was sent that commits is owed until it has committed it (PS3.4 annex J): [`DeliveryState::Sent`]. A report counts for an
//! instance if its transaction asked for it after it was sent.

pub(crate) mod changes;
pub(crate) mod destinations;
pub(crate) mod duties;
mod entering;
pub(crate) mod notes;
pub(crate) mod transaction;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Row;
use tidegate_database::PackedUid;

/// Why a delivery is dead whose file is not there any more.
pub const FILE_IS_GONE: &str = "the file is gone";

/// Which catalogue a row is of: a file that was made anew has other rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub(crate) i64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One delivery, as it was when it was read. Keys are equal if they are of one instance and one destination, whatever has become of the delivery
/// since.
#[derive(Clone, Copy, Debug)]
pub struct OwedKey {
    pub(crate) destination: i64,
    pub(crate) state: DeliveryState,
    pub(crate) slot: Slot,
    pub(crate) attempts: u32,
    /// Of the file: a note about former content is void.
    pub(crate) content: u64,
}

impl PartialEq for OwedKey {
    fn eq(&self, other: &Self) -> bool {
        (self.destination, self.slot.instance) == (other.destination, other.slot.instance)
    }
}

impl Eq for OwedKey {}

impl Hash for OwedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.destination, self.slot.instance).hash(state);
    }
}

impl OwedKey {
    /// Which study it is of: a number that is the same for all deliveries of a study, in the order of the queue.
    pub fn study(&self) -> i64 {
        self.slot.study
    }
}

/// The place of an instance in the order of every queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) study: i64,
    pub(crate) series: i64,
    pub(crate) number: i64,
    pub(crate) instance: i64,
}

/// What is known of the content of a file, in short.
pub(crate) fn content(bytes: u64, digest: Option<u128>) -> u64 {
    let digest = digest.unwrap_or_default();
    bytes.rotate_left(32) ^ (digest >> 64) as u64 ^ digest as u64
}

/// The state of a delivery that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryState {
    /// It was not tried yet, or an operator wants it tried again.
    Waiting,
    /// It has failed, and is tried again.
    Retrying,
    /// It has failed, and is not tried again unless an operator wants it.
    Dead,
    /// The destination has taken it, and has yet to commit it.
    Sent,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Retrying, Self::Dead, Self::Sent];

    /// Whether it is to be sent.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Self::Waiting | Self::Retrying)
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of(number: i64) -> Self {
        match number {
            0 => Self::Waiting,
            1 => Self::Retrying,
            3 => Self::Sent,
            _ => Self::Dead,
        }
    }
}

/// One delivery that is owed.
#[derive(Clone, Debug)]
pub struct Owed {
    /// For notes, and to read on from.
    pub key: OwedKey,
    /// Below the root.
    pub path: PathBuf,
    /// (0008,0018)
    pub sop_instance_uid: PackedUid,
    /// (0008,0016)
    pub sop_class_uid: Arc<str>,
    /// (0002,0010)
    pub transfer_syntax_uid: Arc<str>,
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub digest: Option<u128>,
    /// (0020,000D); empty if there is none.
    pub study_uid: Arc<str>,
    /// (0010,0020), if the catalogue keeps it.
    pub patient_id: Option<Arc<str>>,
    /// Since when it is owed, in milliseconds since 1970.
    pub owed_ms: i64,
    /// Failed attempts so far.
    pub attempts: u32,
    /// Of the sender, if that is known.
    pub calling_ae_title: Option<Arc<str>>,
    /// Whether its commitment was asked for since it was sent.
    pub is_asked: bool,
}

/// A destination, as far as the catalogue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRow {
    /// Its number.
    pub id: i64,
    /// Its name in the configuration.
    pub name: String,
    /// Whether an operator has paused it.
    pub is_paused: bool,
    /// What it is owed and has had.
    pub sums: Sums,
    /// Since when the study waits that has waited longest; `None`: nothing waits or is retried.
    pub since_ms: Option<i64>,
    /// When the first delivery is due that is tried again.
    pub due_ms: Option<i64>,
    /// The last transaction by which it was asked for commitment; 0: none.
    pub asked: i64,
    /// When the first delivery is due of which the commitment is to be asked for.
    pub sent_due_ms: Option<i64>,
}

/// Numbers of deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Waiting ones.
    pub waiting: i64,
    /// Bytes of waiting and of retried ones.
    pub waiting_bytes: i64,
    /// Ones that are tried again.
    pub retrying: i64,
    /// Ones that were sent, and are not committed.
    pub sent: i64,
    /// Dead ones.
    pub dead: i64,
    /// Ones that were made.
    pub delivered: i64,
}

impl Sums {
    /// Of the columns waiting, waiting_bytes, retrying, dead, delivered and sent, from that one on.
    pub(crate) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            waiting: row.get(from)?,
            waiting_bytes: row.get(from + 1)?,
            retrying: row.get(from + 2)?,
            dead: row.get(from + 3)?,
            delivered: row.get(from + 4)?,
            sent: row.get(from + 5)?,
        })
    }
}

/// What an attempt has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has it.
    Delivered {
        /// Of its answer.
        status: u16,
        /// What is to be noted beside it, such as a warning.
        why: Option<String>,
    },
    /// The destination has taken it, and has yet to commit it.
    Sent {
        /// When its commitment is to be asked for.
        due_ms: i64,
        /// Of its answer.
        status: u16,
        /// What is to be noted beside it, such as a warning.
        why: Option<String>,
    },
    /// The commitment of what was sent is asked for.
    Asked {
        /// By this transaction: they ascend at a destination.
        transaction: i64,
        /// When it is asked for again, unless there is a report before.
        due_ms: i64,
    },
    /// The destination has committed what it was sent. Its answer stands.
    Committed,
    /// It is tried again.
    Retry {
        /// When.
        due_ms: i64,
        /// Whether this was an attempt at this instance.
        counts: bool,
        /// Of its answer.
        status: Option<u16>,
        /// What failed.
        why: String,
    },
    /// Its file was not there, or not what was stored. It is not tried again, unless the file is at another place by now: then the note means nothing.
    NoFile {
        /// Where the file was looked for, below the root.
        path: PathBuf,
        /// What failed.
        why: String,
    },
    /// It is not tried again.
    Dead {
        /// Of its answer.
        status: Option<u16>,
        /// What failed.
        why: String,
    },
}

/// The outcome of one delivery.
#[derive(Clone, Debug)]
pub struct DeliveryNote {
    /// The catalogue that the key was read from.
    pub generation: Generation,
    /// The delivery, as it was read.
    pub key: OwedKey,
    /// Its outcome.
    pub outcome: Outcome,
    /// When.
    pub at_ms: i64,
}
