//! The queue as the child reads it: pages of the catalogue, through a connection that is open while there is work.

use std::path::PathBuf;
use std::time::Duration;

use tidegate_catalogue::{DestinationRow, Error, Generation, Owed, Reader};
use tidegate_memory::{MemoryBudget, MemoryLease, Stage};
use tokio::time::Instant;

use super::plan::{PAGE, Plan};
use super::report::{Referenced, Report};
use crate::committed::{clock_ms, due_until, put_off};

/// Repetitions that are read at a time.
const REPETITIONS: u32 = 64;
/// Pages that are read in a turn.
const PAGES_A_TURN: usize = 16;
/// Memory of pages, statements and the page cache.
const WORK_BYTES: u64 = 4 << 20;
/// Between two looks at what the destination is owed, whatever changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Nothing waits longer for its next attempt: see the waits of `settling`.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(3 * 3600);
/// Before a catalogue that cannot be read is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Whether the node has measured what it holds beyond leases: see the catalogue's.
pub(crate) type IsMeasured = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
pub(super) struct Queue {
    name: String,
    catalogue: PathBuf,
    budget: MemoryBudget,
    is_measured: IsMeasured,
    open: Option<Open>,
    /// As of the last look.
    row: Option<DestinationRow>,
    generation: Option<Generation>,
    has_changed: bool,
    looked_at: Option<Instant>,
    repetitions_at: Option<Instant>,
    /// Why it cannot be read, and when that is tried again.
    trouble: Option<(String, Instant)>,
}

struct Open {
    reader: Reader,
    _lease: Option<MemoryLease>,
}

/// What a look has found.
#[derive(Default)]
pub(super) struct Look {
    /// The plan has more than before.
    pub(super) has_more: bool,
    /// When the next look is due, if nothing changes before.
    pub(super) again_at: Option<Instant>,
}

/// What a report is about.
#[derive(Default)]
pub(super) struct Meant {
    /// Each with its reason, if it is not committed.
    pub(super) owed: Vec<(Owed, Option<u16>)>,
    /// It names an instance with another SOP class than was asked for.
    pub(super) has_others: bool,
}

impl Queue {
    pub(super) fn new(name: String, catalogue: PathBuf, budget: MemoryBudget, is_measured: IsMeasured) -> Self {
        Self {
            name,
            catalogue,
            budget,
            is_measured,
            open: None,
            row: None,
            generation: None,
            has_changed: true,
            looked_at: None,
            repetitions_at: None,
            trouble: None,
        }
    }

    /// An operator has changed them: that is looked at without delay.
    pub(super) fn ordered(&mut self) {
        (self.has_changed, self.looked_at, self.repetitions_at) = (true, None, None);
    }

    /// Deliveries have changed.
    pub(super) fn changed(&mut self) {
        self.has_changed = true;
    }

    /// Whether an operator has paused the destination.
    pub(super) fn is_paused(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.is_paused)
    }

    /// The number of the destination, its catalogue, its last transaction, and when the first of what it was sent is due, as of the last look.
    pub(super) fn sent_due(&self) -> Option<(i64, Generation, i64, Option<i64>)> {
        let (row, generation) = (self.row.as_ref()?, self.generation?);
        Some((row.id, generation, row.asked, row.sent_due_ms))
    }

    /// What was sent and is due by then. `None`: it cannot be read.
    pub(super) fn sent(&mut self, destination: i64, now_ms: i64, limit: u32) -> Option<Vec<Owed>> {
        let read = self.reader().and_then(|reader| reader.sent(destination, now_ms, limit));
        self.noted(read)
    }

    /// What a report is about. `None`: it cannot be read.
    pub(super) fn asked(&mut self, destination: i64, transaction: i64, report: &Report) -> Option<Meant> {
        let read = self.reader().and_then(|reader| {
            let mut meant = Meant::default();
            for Referenced { sop_class, sop_instance, reason } in &report.referenced {
                for owed in reader.asked(destination, transaction, sop_instance)? {
                    match owed.sop_class_uid == *sop_class {
                        true => meant.owed.push((owed, *reason)),
                        false => meant.has_others = true,
                    }
                }
            }
            Ok(meant)
        });
        self.noted(read)
    }

    /// A failure to read is trouble.
    fn noted<T>(&mut self, read: Result<T, Error>) -> Option<T> {
        read.inspect_err(|error| {
            self.failed(error, Instant::now());
        })
        .ok()
    }

    /// It cannot be read: when it is tried again.
    fn failed(&mut self, error: &Error, now: Instant) -> Instant {
        let (destination, cause, again_at) = (&self.name, error.to_string(), now + RETRY);
        if self.trouble.is_none() {
            tracing::warn!(destination, cause, "what a destination is owed cannot be read; nothing is sent to it");
        }
        (self.open, self.has_changed) = (None, true);
        self.trouble = Some((cause, again_at));
        again_at
    }

    /// Why the queue cannot be read.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_ref().map(|(why, _)| why.as_str())
    }

    /// When it was looked at last.
    pub(super) fn looked_at(&self) -> Option<Instant> {
        self.looked_at
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn reader(&mut self) -> Result<&mut Reader, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let reader = Reader::open(&self.catalogue)?;
                let holder =
                    (self.is_measured)().then(|| self.budget.open_account(format!("delivery {:?}", self.name)));
                Open { reader, _lease: holder.and_then(|holder| holder.lease(Stage::Delivery, WORK_BYTES).ok()) }
            }
        };
        Ok(&mut self.open.insert(open).reader)
    }

    /// The second of the day by local time; `None`: nobody can tell at the moment.
    pub(super) fn second_of_day(&mut self) -> Option<u32> {
        let asked = self.reader().and_then(Reader::local_second_of_day);
        asked.inspect_err(|_| self.open = None).ok()
    }

    /// Looks at what is owed, as far as that may have changed, and plans more of it if `wants_page`.
    pub(super) fn look(&mut self, plan: &mut Plan, wants_page: bool, now: Instant) -> Look {
        if let Some((_, at)) = &self.trouble
            && *at > now
        {
            return Look { again_at: Some(*at), ..Look::default() };
        }
        let looked = self.try_to_look(plan, wants_page, now);
        match looked {
            Ok(look) => {
                if self.trouble.take().is_some() {
                    tracing::info!(destination = self.name, "what a destination is owed is read again");
                }
                look
            }
            Err(error) => Look { again_at: Some(self.failed(&error, now)), ..Look::default() },
        }
    }

    fn try_to_look(&mut self, plan: &mut Plan, wants_page: bool, now: Instant) -> Result<Look, Error> {
        let mut look = Look::default();
        let is_due = wants_page && self.repetitions_at.is_some_and(|at| at <= now);
        let reads = wants_page && plan.wants_page();
        if !self.has_changed && !is_due && !reads {
            look.again_at = self.repetitions_at.filter(|at| *at > now);
            return Ok(look);
        }
        let next_look = self.looked_at.map(|at| at + LOOK_INTERVAL).filter(|at| *at > now);
        match next_look {
            Some(at) if self.has_changed || is_due => look.again_at = Some(at),
            Some(_) => {}
            None => self.look_at_row(plan, now)?,
        }
        let Some((id, due_ms)) = self.row.as_ref().map(|row| (row.id, row.due_ms)) else { return Ok(look) };
        if reads {
            for _ in 0..PAGES_A_TURN {
                let page = self.reader()?.waiting(id, plan.cursor(), PAGE)?;
                look.has_more |= plan.add_page(page);
                if !plan.wants_page() {
                    break;
                }
            }
        }
        if let Some(due_ms) = due_ms.filter(|_| next_look.is_none()) {
            let now_ms = clock_ms();
            let mut wait = put_off(due_ms, now_ms, LONGEST_WAIT);
            // Those that are due while nothing can be begun remain so, and are read with the first look at which it can.
            if wait.is_zero() && wants_page {
                if plan.repetitions() == 0 {
                    let until_ms = due_until(due_ms, now_ms, LONGEST_WAIT);
                    look.has_more |= plan.add_repetitions(self.reader()?.due(id, until_ms, REPETITIONS)?);
                }
                wait = Duration::from_secs(1);
            }
            self.repetitions_at = Some(now + wait);
        }
        look.again_at = [look.again_at, self.repetitions_at.filter(|at| *at > now)].into_iter().flatten().min();
        Ok(look)
    }

    fn look_at_row(&mut self, plan: &mut Plan, now: Instant) -> Result<(), Error> {
        let name = self.name.clone();
        let reader = self.reader()?;
        let generation = reader.generation()?;
        plan.begin_generation(generation);
        (self.row, self.generation) = (reader.destination(&name)?, Some(generation));
        (self.looked_at, self.has_changed) = (Some(now), false);
        if self.row.as_ref().and_then(|row| row.due_ms).is_none() {
            self.repetitions_at = None;
        }
        Ok(())
    }
}
