//! Accounts and leases: who holds how much, for what, where, since when.
//!
//! A [`MemoryLease`] pays for bytes before they are read, travels with them, and gives them back when it is dropped. Every
//! lease is on the account of a [`Holder`] (an association, most of the time) and has a record there. The record costs a lock
//! nobody else wants and two readings of the clock: about 120 ns for taking a lease and dropping it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::pool::{BudgetSpent, Pool};
use crate::stage::{Stage, StageBytes};

/// Where leased bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Location {
    /// With whoever opened the account.
    #[default]
    Association,
    /// In the writers' mailbox.
    Mailbox {
        /// Rises by one with each job: the job with the lowest is the next to be taken.
        ticket: u64,
    },
    /// With a writer.
    Writer {
        /// Its number in the pool, from 0.
        index: u32,
    },
}

/// An account leases are taken on. It is closed when this and the last lease taken on it are dropped.
#[derive(Debug)]
pub struct Holder(Arc<Account>);

impl Holder {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self(account)
    }

    /// Unique as long as the node runs, and rising: [`crate::snapshot::HolderUse::id`].
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Renames the account, once more is known of its owner.
    pub fn set_label(&self, label: impl Into<String>) {
        *self.0.label.lock() = label.into();
    }

    /// What the account's leases hold.
    pub fn by_stage(&self) -> StageBytes {
        self.0.by_stage()
    }

    /// Leases `bytes`, which are with the holder until [`MemoryLease::enter_at`] says otherwise.
    ///
    /// # Errors
    /// [`BudgetSpent`] if the budget does not hold them; nothing is leased then.
    pub fn lease(&self, stage: Stage, bytes: u64) -> Result<MemoryLease, BudgetSpent> {
        self.0.budget.take(stage, bytes)?;
        let number = self.0.next_lease.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        self.0
            .records
            .lock()
            .insert(number, Record { stage, bytes, born: now, entered: now, location: Location::default() });
        Ok(MemoryLease { account: self.0.clone(), number, bytes })
    }
}

/// Bytes of the budget that are someone's until this is dropped.
pub struct MemoryLease {
    account: Arc<Account>,
    number: u64,
    bytes: u64,
}

impl MemoryLease {
    /// Bytes leased.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is for at this moment.
    pub fn stage(&self) -> Option<Stage> {
        self.account.records.lock().get(&self.number).map(|record| record.stage)
    }

    /// Moves the lease on to another stage; the bytes stay where they are.
    pub fn enter(&self, stage: Stage) {
        self.update(stage, None);
    }

    /// Moves the lease on to a stage and a location. The time in the stage starts anew only if the stage is another one.
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

/// What is known of one lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    pub(crate) bytes: u64,
    pub(crate) born: Instant,
    pub(crate) entered: Instant,
    pub(crate) location: Location,
}

/// What is known of one holder.
#[derive(Debug)]
pub(crate) struct Account {
    id: u64,
    budget: Arc<Pool<Account>>,
    label: Mutex<String>,
    since: Instant,
    next_lease: AtomicU64,
    /// By number, which is by age. A tree, because its memory shrinks with it: an association that once held a thousand leases
    /// keeps nothing of them.
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

    /// What all leases hold.
    pub(crate) fn by_stage(&self) -> StageBytes {
        let mut bytes = StageBytes::default();
        self.each_record(|record| bytes.add(record.stage, record.bytes));
        bytes
    }

    /// Shows every lease, oldest first, while this account (and no other) stands still.
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
