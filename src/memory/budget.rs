//! The memory budget and its leases.
//!
//! A [`MemoryLease`] pays for bytes before they are read, travels with them, and gives them back when it is dropped. Every
//! lease belongs to a [`Holder`] (an association, most of the time) and stands in a [`Stage`], so "who holds what, since when"
//! is a question about numbers that are always there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What leased bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// The floor of an association: its first receive segment, its command sets, its answers.
    Floor,
    /// Negotiation of a request that is longer than the floor holds.
    Negotiating,
    /// A dataset that is still arriving.
    Receiving,
    /// A complete dataset on its way to a writer.
    Queued,
    /// A dataset in the hands of a writer.
    Writing,
    /// Part of a large dataset on its way into the spool.
    Spooling,
}

impl Stage {
    /// Every stage, in the order a byte passes them.
    pub const ALL: [Stage; 6] =
        [Self::Floor, Self::Negotiating, Self::Receiving, Self::Queued, Self::Writing, Self::Spooling];

    /// The name it has in logs and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Negotiating => "negotiating",
            Self::Receiving => "receiving",
            Self::Queued => "queued",
            Self::Writing => "writing",
            Self::Spooling => "spooling",
        }
    }

    fn from_index(index: u8) -> Self {
        Self::ALL[usize::from(index)]
    }
}

/// Bytes by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageBytes([u64; Stage::ALL.len()]);

impl StageBytes {
    /// Bytes leased for `stage`.
    pub fn get(&self, stage: Stage) -> u64 {
        self.0[stage as usize]
    }

    /// Bytes leased altogether.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[derive(Debug, Default)]
struct StageCounters([AtomicU64; Stage::ALL.len()]);

impl StageCounters {
    fn add(&self, stage: Stage, bytes: u64) {
        self.0[stage as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, stage: Stage, bytes: u64) {
        self.0[stage as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    fn read(&self) -> StageBytes {
        let mut bytes = StageBytes::default();
        for (to, from) in bytes.0.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::Relaxed);
        }
        bytes
    }
}

/// The budget is spent: the bytes were not leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory budget is spent: {asked} bytes asked for, {held} of {limit} held")]
pub struct BudgetSpent {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes held by all leases at that moment.
    pub held: u64,
    /// The budget.
    pub limit: u64,
}

/// How many bytes all leases together may hold. Clones share one budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: AtomicU64,
    held: AtomicU64,
    highest: AtomicU64,
    stages: StageCounters,
    holders: Mutex<BTreeMap<u64, Weak<Account>>>,
    next_holder: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Budget {
            limit: AtomicU64::new(limit_bytes),
            held: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            stages: StageCounters::default(),
            holders: Mutex::default(),
            next_holder: AtomicU64::new(1),
        }))
    }

    /// The budget, in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit.load(Ordering::Relaxed)
    }

    /// Bytes held by all leases.
    pub fn held(&self) -> u64 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// The most that [`Self::held`] has ever been.
    pub fn highest(&self) -> u64 {
        self.0.highest.load(Ordering::Relaxed)
    }

    /// Bytes held by stage. The stages are read one after the other, so under load their sum may differ from
    /// [`Self::held`] by what moved meanwhile.
    pub fn by_stage(&self) -> StageBytes {
        self.0.stages.read()
    }

    /// Opens an account for someone who will hold leases. `label` is what people will read: it must be safe to print.
    pub fn open_account(&self, label: impl Into<String>) -> Holder {
        let account = Arc::new(Account {
            id: self.0.next_holder.fetch_add(1, Ordering::Relaxed),
            budget: self.clone(),
            label: Mutex::new(label.into()),
            since: Instant::now(),
            stages: StageCounters::default(),
        });
        self.0.holders.lock().insert(account.id, Arc::downgrade(&account));
        Holder(account)
    }

    /// Everyone who holds an account, oldest first.
    pub fn holders(&self) -> Vec<HolderSnapshot> {
        // Collected first: the last reference to an account closes it, which takes the lock again.
        let accounts: Vec<Arc<Account>> = {
            let holders = self.0.holders.lock();
            holders.values().filter_map(Weak::upgrade).collect()
        };
        accounts
            .iter()
            .map(|account| HolderSnapshot {
                id: account.id,
                label: account.label.lock().clone(),
                age: account.since.elapsed(),
                bytes: account.stages.read(),
            })
            .collect()
    }

    fn take(&self, asked: u64) -> Result<(), BudgetSpent> {
        let limit = self.limit();
        let taken = self.0.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            held.checked_add(asked).filter(|sum| *sum <= limit)
        });
        match taken {
            Ok(held) => {
                self.0.highest.fetch_max(held + asked, Ordering::Relaxed);
                Ok(())
            }
            Err(held) => Err(BudgetSpent { asked, held, limit }),
        }
    }
}

/// One holder at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderSnapshot {
    /// Unique as long as the node runs, and rising.
    pub id: u64,
    /// Who it is.
    pub label: String,
    /// How long the account has been open.
    pub age: Duration,
    /// What it holds.
    pub bytes: StageBytes,
}

#[derive(Debug)]
struct Account {
    id: u64,
    budget: MemoryBudget,
    label: Mutex<String>,
    since: Instant,
    stages: StageCounters,
}

/// An account leases are taken on. It is closed when this and the last lease taken on it are dropped.
#[derive(Debug)]
pub struct Holder(Arc<Account>);

impl Holder {
    /// Renames the account, once more is known of its owner.
    pub fn set_label(&self, label: impl Into<String>) {
        *self.0.label.lock() = label.into();
    }

    /// Leases `bytes`.
    ///
    /// # Errors
    /// [`BudgetSpent`] if the budget does not hold them; nothing is leased then.
    pub fn lease(&self, stage: Stage, bytes: u64) -> Result<MemoryLease, BudgetSpent> {
        self.0.budget.take(bytes)?;
        self.0.budget.0.stages.add(stage, bytes);
        self.0.stages.add(stage, bytes);
        Ok(MemoryLease { account: self.0.clone(), stage: AtomicU8::new(stage as u8), bytes })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.0.holders.lock().remove(&self.id);
    }
}

/// Bytes of the budget that are someone's until this is dropped.
pub struct MemoryLease {
    account: Arc<Account>,
    stage: AtomicU8,
    bytes: u64,
}

impl MemoryLease {
    /// Bytes leased.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What they are for.
    pub fn stage(&self) -> Stage {
        Stage::from_index(self.stage.load(Ordering::Relaxed))
    }

    /// Moves the lease on to another stage.
    pub fn enter(&self, stage: Stage) {
        let before = Stage::from_index(self.stage.swap(stage as u8, Ordering::Relaxed));
        for counters in [&self.account.budget.0.stages, &self.account.stages] {
            counters.add(stage, self.bytes);
            counters.subtract(before, self.bytes);
        }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        let stage = self.stage();
        self.account.stages.subtract(stage, self.bytes);
        let budget = &self.account.budget.0;
        budget.stages.subtract(stage, self.bytes);
        budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLease({} bytes {})", self.bytes, self.stage().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_comes_back() {
        let budget = MemoryBudget::new(100);
        let holder = budget.open_account("a");
        let first = holder.lease(Stage::Receiving, 60).unwrap();
        let refused = holder.lease(Stage::Receiving, 41).unwrap_err();
        assert_eq!(refused, BudgetSpent { asked: 41, held: 60, limit: 100 });
        let second = holder.lease(Stage::Receiving, 40).unwrap();
        assert_eq!(budget.held(), 100);
        drop(first);
        drop(second);
        assert_eq!((budget.held(), budget.highest()), (0, 100));
        assert_eq!(budget.by_stage(), StageBytes::default());
        assert!(holder.lease(Stage::Receiving, u64::MAX).is_err());
    }

    #[test]
    fn a_lease_is_found_in_its_stage_and_with_its_holder() {
        let budget = MemoryBudget::new(1000);
        let holder = budget.open_account("CT1 from 10.0.0.7");
        let other = budget.open_account("CT2");
        let lease = holder.lease(Stage::Receiving, 300).unwrap();
        lease.enter(Stage::Queued);
        assert_eq!(budget.by_stage().get(Stage::Receiving), 0);
        assert_eq!(budget.by_stage().get(Stage::Queued), 300);
        holder.set_label("CT1");
        let seen: Vec<_> = budget.holders().into_iter().map(|h| (h.label, h.bytes.total())).collect();
        assert_eq!(seen, [("CT1".to_owned(), 300), ("CT2".to_owned(), 0)]);
        drop((holder, other));
        let left: Vec<_> = budget.holders().into_iter().map(|h| h.label).collect();
        assert_eq!(left, ["CT1"], "its bytes are still held");
        drop(lease);
        assert_eq!(budget.held(), 0);
        assert!(budget.holders().is_empty());
    }

    #[test]
    fn threads_that_race_for_the_last_bytes_never_get_more_than_there_are() {
        let budget = MemoryBudget::new(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let holder = budget.open_account("racer");
                    for bytes in 0..2000_u64 {
                        let lease = holder.lease(Stage::Receiving, bytes % 700);
                        assert!(budget.held() <= 1000);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(budget.held(), 0);
        assert!(budget.highest() <= 1000);
    }
}
