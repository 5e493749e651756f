//! Accounts and leases: the holder of each lease, its bytes, stage, location and age.
//!
//! A [`MemoryLease`] pays for bytes before they are read, travels with them, and returns them to the budget on drop. Every lease belongs
//! to the account of a [`Holder`] (usually an association) and has a record there. The record costs an uncontended lock and two readings
//! of the clock: about 120 ns for taking a lease and dropping it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::pool::{BudgetExhausted, Pool};
use crate::stage::{Stage, StageBytes};

/// The location of leased bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// With the holder of the account.
    #[default]
    Association,
    /// In the writers' mailbox.
    Mailbox {
        /// Rises by one with each job: the writers take the job with the lowest number next.
        ticket: u64,
    },
    /// With a writer.
    Writer {
        /// The writer's number in the pool, from 0.
        index: u32,
    },
}

/// An account of leases. It is closed when the holder and the last lease on it are dropped.
#[derive(Debug)]
pub struct Holder(Arc<Account>);

impl Holder {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self(account)
    }

    /// Unique and rising during the life of the node: [`crate::snapshot::HolderUse::id`].
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Renames the account, for example when the calling AE title is known.
    pub fn set_label(&self, label: impl Into<String>) {
        *self.0.label.lock() = label.into();
    }

    /// Bytes held by the leases of the account.
    pub fn by_stage(&self) -> StageBytes {
        self.0.by_stage()
    }

    /// Leases `bytes`. Their location is the holder until [`MemoryLease::enter_at`] changes it.
    ///
    /// # Errors
    /// [`BudgetExhausted`] if the budget does not have room for them; nothing is leased then.
    pub fn lease(&self, stage: Stage, bytes: u64) -> Result<MemoryLease, BudgetExhausted> {
        self.0.budget.take(stage, bytes)?;
        let number = self.0.next_lease.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.0
            .records
            .lock()
            .insert(number, Record { stage, bytes, born: now, entered: now, location: Location::default() });
        Ok(MemoryLease { account: self.0.clone(), number, bytes, unused: AtomicU64::new(0) })
    }
}

/// Bytes of the budget that belong to a holder until this is dropped.
pub struct MemoryLease {
    account: Arc<Account>,
    number: u64,
    bytes: u64,
    unused: AtomicU64,
}

impl MemoryLease {
    /// Bytes leased.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// States how many of the bytes are not allocated now, because the lease is for the most that its holder may need. They stay
    /// leased. Without this all of them count as allocated. One thread at a time calls it.
    pub fn set_unused(&self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        let before = self.unused.swap(bytes, Ordering::Relaxed);
        let unused = &self.account.budget.unused;
        if bytes >= before {
            unused.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            unused.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }

    /// The present purpose of the bytes.
    pub fn stage(&self) -> Option<Stage> {
        self.account.records.lock().get(&self.number).map(|record| record.stage)
    }

    /// Moves the lease to another stage; its location is unchanged.
    pub fn enter(&self, stage: Stage) {
        self.update(stage, None);
    }

    /// Moves the lease to a stage and a location. The time in the stage restarts only if the stage changes.
    pub fn enter_at(&self, stage: Stage, location: Location) {
        self.update(stage, Some(location));
    }

    fn update(&self, stage: Stage, location: Option<Location>) {
        let mut records = self.account.records.lock();
        let Some(record) = records.get_mut(&self.number) else { return };
        record.location = location.unwrap_or(record.location);
        if record.stage == stage {
            return;
        }
        self.account.budget.move_on(record.stage, stage, self.bytes);
        record.stage = stage;
        record.entered = Instant::now();
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        if *self.unused.get_mut() > 0 {
            self.set_unused(0);
        }
        let record = self.account.records.lock().remove(&self.number);
        if let Some(record) = record {
            self.account.budget.release(record.stage, record.bytes);
        }
    }
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLease({} bytes of holder {})", self.bytes, self.account.id)
    }
}

/// The record of one lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    pub(crate) bytes: u64,
    pub(crate) born: Instant,
    pub(crate) entered: Instant,
    pub(crate) location: Location,
}

/// The record of one holder.
#[derive(Debug)]
pub(crate) struct Account {
    id: u64,
    budget: Arc<Pool<Account>>,
    label: Mutex<String>,
    since: Instant,
    next_lease: AtomicU64,
    /// By number, and so by age. A tree shrinks with its content: an association that once held a thousand leases does not keep memory
    /// for them.
    records: Mutex<BTreeMap<u64, Record>>,
}

impl Account {
    pub(crate) fn new(budget: Arc<Pool<Self>>, id: u64, label: impl Into<String>) -> Self {
        Self {
            id,
            budget,
            label: Mutex::new(label.into()),
            since: Instant::now(),
            next_lease: AtomicU64::new(0),
            records: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn label(&self) -> String {
        self.label.lock().clone()
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Bytes held by all leases.
    pub(crate) fn by_stage(&self) -> StageBytes {
        let mut bytes = StageBytes::default();
        self.each_record(|record| bytes.add(record.stage, record.bytes));
        bytes
    }

    /// Visits every lease, oldest first, while this account (and no other) is locked.
    pub(crate) fn each_record(&self, mut see: impl FnMut(&Record)) {
        self.records.lock().values().for_each(&mut see);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.close(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::MemoryBudget;

    fn records(holder: &Holder) -> Vec<Record> {
        let mut seen = Vec::new();
        holder.0.each_record(|record| seen.push(*record));
        seen
    }

    #[test]
    fn a_lease_is_found_where_it_went_and_its_stage_time_starts_with_the_stage() {
        let budget = MemoryBudget::new(1000);
        let holder = budget.open_account("CT1");
        let lease = holder.lease(Stage::Receiving, 300).unwrap();
        let at_birth = records(&holder)[0];
        assert_eq!((at_birth.stage, at_birth.location), (Stage::Receiving, Location::Association));
        assert_eq!(at_birth.born, at_birth.entered);

        lease.enter_at(Stage::Queued, Location::Mailbox { ticket: 7 });
        let queued = records(&holder)[0];
        assert_eq!(
            (queued.stage, queued.location, queued.born),
            (Stage::Queued, Location::Mailbox { ticket: 7 }, at_birth.born)
        );
        assert!(queued.entered > at_birth.entered);

        lease.enter(Stage::Writing);
        let writing = records(&holder)[0];
        assert_eq!((writing.stage, writing.location), (Stage::Writing, Location::Mailbox { ticket: 7 }));
        lease.enter_at(Stage::Writing, Location::Writer { index: 2 });
        let with_writer = records(&holder)[0];
        assert_eq!((with_writer.location, with_writer.entered), (Location::Writer { index: 2 }, writing.entered));

        assert_eq!(budget.by_stage().get(Stage::Writing), 300);
        assert_eq!(budget.by_stage().total(), 300);
        drop(lease);
        assert!(records(&holder).is_empty());
        assert_eq!((budget.held(), budget.by_stage().total()), (0, 0));
    }

    #[test]
    fn what_is_leased_and_not_allocated_is_known_until_the_lease_ends() {
        let budget = MemoryBudget::new(1000);
        let holder = budget.open_account("CT1");
        let floor = holder.lease(Stage::Floor, 300).unwrap();
        let other = holder.lease(Stage::Receiving, 100).unwrap();
        assert_eq!((budget.unused(), budget.in_use()), (0, 400));
        floor.set_unused(250);
        floor.set_unused(200);
        assert_eq!((budget.unused(), budget.in_use(), budget.held()), (200, 200, 400));
        floor.set_unused(u64::MAX);
        assert_eq!(budget.unused(), 300, "no more than it has");
        drop((floor, other));
        assert_eq!((budget.unused(), budget.held()), (0, 0));
    }

    #[test]
    fn an_account_lives_as_long_as_a_lease_on_it() {
        let budget = MemoryBudget::new(1000);
        let holder = budget.open_account("CT1 from 10.0.0.7");
        let other = budget.open_account("CT2");
        assert!(holder.id() < other.id());
        let lease = holder.lease(Stage::Receiving, 300).unwrap();
        holder.set_label("CT1");
        let labels = || budget.accounts().iter().map(|account| account.label()).collect::<Vec<_>>();
        assert_eq!(labels(), ["CT1", "CT2"]);
        drop((holder, other));
        assert_eq!(labels(), ["CT1"], "its bytes are still held");
        drop(lease);
        assert!(labels().is_empty());
    }
}
