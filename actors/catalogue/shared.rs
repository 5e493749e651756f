//! What the child, the sink and the observers share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use tidegate_catalogue::{Completed, DestinationRow, SinkRow};
use tidegate_memory::MemoryBudget;
use tokio::sync::Notify;

use super::notes::Notes;
use super::orders::Orders;
use super::queue::{CAPACITY, Queue};
use super::state::{
    CatalogueRequest, CatalogueState, CompletedState, Condition, LastBatch, OpenGap, RetentionState, WorkState,
};
use super::work::Numbers;
use crate::gauges::counters::Counter;
use crate::gauges::latency::Histogram;
use crate::node::settings::CatalogueSettings;

/// A call that takes longer has no answer from its disk.
const ANSWER_PATIENCE_S: u64 = 30;

/// Files that may wait for a look at them.
const MAX_SUSPECTS: usize = 4096;

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) settings: CatalogueSettings,
    pub(super) queue: Arc<Queue>,
    pub(super) notes: Notes,
    pub(crate) orders: Orders,
    pub(super) figures: Figures,
    /// Each with the number that its work gets, or a higher one.
    asked: Mutex<Vec<(CatalogueRequest, u64)>>,
    /// Files that somebody has found not to be there.
    suspects: Mutex<Vec<PathBuf>>,
    pub(super) numbers: Numbers,
    was_asked: Notify,
}

/// The figures for operators. The child writes them.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) entered: Counter,
    pub(super) missed: Counter,
    pub(super) batches: Histogram,
    pub(super) deleted_files: Counter,
    pub(super) deleted_bytes: Counter,
    /// Files that retention could not delete.
    pub(super) not_deleted: Counter,
    pub(super) studies_completed: Counter,
    pub(super) series_completed: Counter,
    /// By how much the latest study or series was late, in milliseconds.
    pub(super) latest_ms: AtomicU64,
    pub(super) seen: Mutex<Seen>,
}

impl Figures {
    pub(super) fn note_completed(&self, done: &Completed) {
        self.studies_completed.add(done.studies);
        self.series_completed.add(done.series);
        self.latest_ms.fetch_max(u64::try_from(done.late_ms).unwrap_or(0), Ordering::Relaxed);
    }
}

/// The state as the child last saw it.
#[derive(Default)]
pub(super) struct Seen {
    /// What keeps the file from being used or written.
    pub(super) trouble: Option<Trouble>,
    /// The file knows a part of what is on the disk: it was made anew, and no catch-up has come to its end.
    pub(super) is_partial: bool,
    /// No catch-up has come to its end since the start.
    pub(super) is_uncertain: bool,
    pub(super) gap: Option<OpenGap>,
    pub(super) last_batch: Option<LastBatch>,
    pub(super) work: Option<WorkState>,
    pub(super) last_check: Option<WorkState>,
    pub(super) bytes: u64,
    /// There are more bytes than retention allows, and no file may go.
    pub(super) is_retention_blocked: bool,
    /// The destinations, as the last change of a delivery has left them.
    pub(super) destinations: Vec<DestinationRow>,
    /// The sinks of events, as the last change has left them.
    pub(super) sinks: Vec<SinkRow>,
    /// Since when the child has been in a call of the file.
    pub(super) calling: Option<Instant>,
}

/// What keeps the file from being used or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    /// What an operator can do; `None`: it passes, and the file can be read meanwhile.
    pub(super) remedy: Option<String>,
}

impl Seen {
    /// Whether the file has all that is on the disk.
    pub(super) fn is_current(&self) -> bool {
        self.trouble.is_none() && self.gap.is_none() && !self.is_partial && !self.is_uncertain
    }

    fn condition(&self) -> Condition {
        let is_rebuilding = self.work.as_ref().is_some_and(WorkState::is_a_rebuild_under_way);
        if let Some(Trouble { reason, remedy: Some(remedy) }) = &self.trouble {
            Condition::Unavailable { reason: reason.clone(), remedy: remedy.clone() }
        } else if let Some(waited) = self.calling.map(|since| since.elapsed().as_secs())
            && waited >= ANSWER_PATIENCE_S
        {
            let reason = format!("the disk of the catalogue has not answered for {waited} s");
            let remedy =
                "look after the disk or the mount of the file; the catalogue continues when it answers".to_owned();
            Condition::Unavailable { reason, remedy }
        } else if self.is_partial || is_rebuilding {
            Condition::Rebuilding
        } else if self.gap.is_some() || self.trouble.is_some() {
            Condition::Behind
        } else if self.is_uncertain {
            Condition::CatchingUp
        } else {
            Condition::Current
        }
    }
}

impl Shared {
    /// Ticks after each transaction that has added or changed deliveries, or a destination.
    pub(crate) fn deliveries_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.notes.changed.subscribe()
    }

    /// Ticks after each transaction that has added or changed events.
    pub(crate) fn events_changed(&self) -> tokio::sync::watch::Receiver<u64> {
        self.notes.events_changed.subscribe()
    }

    pub(crate) fn new(settings: CatalogueSettings, budget: &MemoryBudget) -> Arc<Self> {
        let figures = Figures::default();
        figures.seen.lock().is_uncertain = true;
        Arc::new(Self {
            settings,
            queue: Queue::new(budget.clone()),
            notes: Notes::new(),
            orders: Orders::default(),
            figures,
            asked: Mutex::default(),
            suspects: Mutex::default(),
            numbers: Numbers::default(),
            was_asked: Notify::new(),
        })
    }

    /// The state for operators.
    pub(crate) fn state(&self) -> CatalogueState {
        let (waiting, _) = self.queue.waiting();
        let seen = self.figures.seen.lock();
        let mut work = seen.work.clone();
        if let Some(work) = work.as_mut().filter(|work| work.is_running) {
            work.took = SystemTime::now().duration_since(work.began).unwrap_or(work.took);
        }
        CatalogueState {
            path: self.settings.path.clone(),
            condition: seen.condition(),
            waiting: waiting as u64,
            capacity: CAPACITY as u64,
            entered: self.figures.entered.get(),
            missed: self.figures.missed.get(),
            trouble: seen.trouble.as_ref().map(|trouble| trouble.reason.clone()),
            gap: seen.gap.clone(),
            last_batch: seen.last_batch,
            work,
            last_check: seen.last_check.clone(),
            bytes: seen.bytes,
            retention: RetentionState {
                deleted_files: self.figures.deleted_files.get(),
                deleted_bytes: self.figures.deleted_bytes.get(),
                not_deleted: self.figures.not_deleted.get(),
                is_blocked: seen.is_retention_blocked,
            },
        }
    }

    /// The destinations and what they are owed.
    pub(crate) fn destinations(&self) -> Vec<DestinationRow> {
        self.figures.seen.lock().destinations.clone()
    }

    /// The sinks of events and what they are owed.
    pub(crate) fn sinks(&self) -> Vec<SinkRow> {
        self.figures.seen.lock().sinks.clone()
    }

    /// What was completed since the start.
    pub(crate) fn completed(&self) -> CompletedState {
        CompletedState {
            studies: self.figures.studies_completed.get(),
            series: self.figures.series_completed.get(),
            latest_ms: self.figures.latest_ms.load(Ordering::Relaxed),
        }
    }

    /// The durations of the transactions of batches.
    pub(crate) fn batches(&self) -> &Histogram {
        &self.figures.batches
    }

    /// Asks the child for work, and returns the number of that: a work of this number or a higher one does it. Asking twice before it begins
    /// is asking once.
    pub(crate) fn ask(&self, request: CatalogueRequest) -> u64 {
        let mut asked = self.asked.lock();
        let number = match asked.iter().find(|(other, _)| *other == request) {
            Some((_, number)) => *number,
            None => {
                let number = self.numbers.next();
                asked.push((request, number));
                number
            }
        };
        drop(asked);
        self.was_asked.notify_one();
        number
    }

    /// Takes what was asked for.
    pub(super) fn take_asked(&self) -> Vec<(CatalogueRequest, u64)> {
        std::mem::take(&mut self.asked.lock())
    }

    /// Has the child look whether files are there that somebody has just missed. What is beyond [`MAX_SUSPECTS`], the next catch-up finds.
    pub(crate) fn suspect(&self, paths: Vec<PathBuf>) {
        let mut suspects = self.suspects.lock();
        let room = MAX_SUSPECTS - suspects.len();
        suspects.extend(paths.into_iter().take(room));
        drop(suspects);
        self.was_asked.notify_one();
    }

    /// Takes the files that somebody has missed.
    pub(super) fn take_suspects(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.suspects.lock())
    }

    /// Waits until something is asked for.
    pub(super) async fn asked(&self) {
        self.was_asked.notified().await;
    }

    /// Drops the records and notes that wait, at the end of the node.
    pub(crate) fn clear(&self) {
        self.notes.close();
        self.orders.clear();
        self.queue.clear();
    }
}
