//! The memory budget. Invariant: the leases together never exceed it, unless a lower limit was set while they were held.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use crate::lease::{Account, Holder};
pub use crate::pool::BudgetExhausted;
use crate::pool::Pool;
use crate::stage::StageBytes;

/// The limit of the sum of all leases. Clones share one budget.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Pool<Account>>);

impl MemoryBudget {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Self(Arc::new(Pool::new(limit_bytes)))
    }

    /// The budget, in bytes.
    pub fn limit(&self) -> u64 {
        self.0.limit()
    }

    /// Changes the budget. Existing leases are kept: if they exceed the new budget, no lease is granted until enough bytes have been
    /// returned.
    pub fn set_limit(&self, limit_bytes: u64) {
        self.0.limit.store(limit_bytes, Ordering::Relaxed);
    }

    /// Reserves bytes for [`Stage::Floor`](crate::Stage::Floor). No other stage can lease the part of the reserve that is not leased yet.
    pub fn set_floor_reserve(&self, bytes: u64) {
        self.0.floor_reserve.store(bytes, Ordering::Relaxed);
    }

    /// Reserves bytes for [`Stage::Tls`](crate::Stage::Tls) and [`Stage::Negotiating`](crate::Stage::Negotiating), beside the floor reserve.
    /// Datasets and the admin surface cannot lease the part of the reserve that is not leased yet.
    pub fn set_control_reserve(&self, bytes: u64) {
        self.0.control_reserve.store(bytes, Ordering::Relaxed);
    }

    /// Leases refused so far because the budget was exhausted.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// Those of them that a newcomer asked for: its floor, TLS, or its negotiation.
    pub fn refusals_of_newcomers(&self) -> u64 {
        self.0.refusals_of_newcomers.load(Ordering::Relaxed)
    }

    /// Bytes held by all leases.
    pub fn held(&self) -> u64 {
        self.0.held()
    }

    /// Bytes of [`Self::held`] that are leased for later and not allocated now: [`crate::MemoryLease::set_unused`].
    pub fn unused(&self) -> u64 {
        self.0.unused.load(Ordering::Relaxed)
    }

    /// Bytes that leases hold and the holders have allocated.
    pub fn in_use(&self) -> u64 {
        self.held().saturating_sub(self.unused())
    }

    /// The highest value of [`Self::held`] so far.
    pub fn highest(&self) -> u64 {
        self.0.highest.load(Ordering::Relaxed)
    }

    /// Bytes held by stage, for a frequent log line: a few loads, no walk over the holders. The stages are read one after the other, so
    /// under load their sum may differ from [`Self::held`].
    pub fn by_stage(&self) -> StageBytes {
        self.0.stages.read()
    }

    /// The accounts that are opened from now on have numbers from `first` on.
    pub fn number_accounts_from(&self, first: u64) {
        self.0.next_holder.store(first, Ordering::Relaxed);
    }

    /// Opens an account for a holder of leases. `label` is shown to people: it must be safe to print.
    pub fn open_account(&self, label: impl Into<String>) -> Holder {
        let account =
            Arc::new(Account::new(Arc::clone(&self.0), self.0.next_holder.fetch_add(1, Ordering::Relaxed), label));
        self.0.holders.lock().insert(account.id(), Arc::downgrade(&account));
        Holder::new(account)
    }

    /// Bytes leased on the account with this [`Holder::id`]; nothing if there is none.
    pub fn by_stage_of(&self, account: u64) -> StageBytes {
        let account = self.0.holders.lock().get(&account).and_then(Weak::upgrade);
        account.map(|account| account.by_stage()).unwrap_or_default()
    }

    /// All holders whose leases exceed `limit_bytes`: account, label and bytes. This walks over all leases.
    pub fn over(&self, limit_bytes: u64) -> Vec<(u64, String, StageBytes)> {
        let use_of = |account: &Arc<Account>| (account.id(), account.label(), account.by_stage());
        self.accounts().iter().map(use_of).filter(|(_, _, bytes)| bytes.total() > limit_bytes).collect()
    }

    /// All holders, oldest first. The lock on the list is held only to copy references. No thread may hold it while it drops the last
    /// reference to an account, because closing the account takes the lock again.
    pub(crate) fn accounts(&self) -> Vec<Arc<Account>> {
        self.0.holders.lock().values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::stage::Stage;

    #[test]
    fn the_budget_is_never_exceeded_and_comes_back() {
        let budget = MemoryBudget::new(100);
        let holder = budget.open_account("a");
        let first = holder.lease(Stage::Receiving, 60).unwrap();
        let refused = holder.lease(Stage::Receiving, 41).unwrap_err();
        assert_eq!(refused, BudgetExhausted { asked: 41, held: 60, limit: 100 });
        let second = holder.lease(Stage::Receiving, 40).unwrap();
        assert_eq!(budget.held(), 100);
        drop(first);
        drop(second);
        assert_eq!((budget.held(), budget.highest()), (0, 100));
        assert_eq!(budget.by_stage(), StageBytes::default());
        assert!(holder.lease(Stage::Receiving, u64::MAX).is_err());
    }

    #[test]
    fn floors_that_are_not_yet_taken_are_not_to_be_had_for_anything_else() {
        let budget = MemoryBudget::new(100);
        budget.set_floor_reserve(30);
        let holder = budget.open_account("a");
        let _first = holder.lease(Stage::Floor, 10).unwrap();
        let _rest = holder.lease(Stage::Receiving, 70).unwrap();
        assert!(holder.lease(Stage::Queued, 1).is_err());
        let floors = [(); 2].map(|()| holder.lease(Stage::Floor, 10).unwrap());
        assert!(holder.lease(Stage::Floor, 1).is_err(), "the budget is a bound for floors too");
        drop(floors);
        assert!(holder.lease(Stage::Queued, 1).is_err());
    }

    #[test]
    fn datasets_leave_the_control_reserve_and_what_is_returned_comes_back() {
        let budget = MemoryBudget::new(100);
        budget.set_floor_reserve(20);
        budget.set_control_reserve(30);
        let holder = budget.open_account("a");
        let data = holder.lease(Stage::Receiving, 50).unwrap();
        for stage in [Stage::Receiving, Stage::Queued, Stage::Writing, Stage::Spooling, Stage::Admin] {
            assert!(holder.lease(stage, 1).is_err(), "{stage}");
        }
        assert_eq!(budget.refusals(), 5);
        let control = [holder.lease(Stage::Tls, 20).unwrap(), holder.lease(Stage::Negotiating, 10).unwrap()];
        assert!(holder.lease(Stage::Tls, 1).is_err(), "the rest is the floors'");
        let floors = holder.lease(Stage::Floor, 20).unwrap();
        assert_eq!(budget.held(), 100);
        drop(data);
        let more = holder.lease(Stage::Tls, 30).unwrap();
        assert!(holder.lease(Stage::Receiving, 21).is_err(), "control beyond its reserve takes from datasets");
        let data = holder.lease(Stage::Receiving, 20).unwrap();
        data.enter(Stage::Tls);
        data.enter(Stage::Writing);
        drop((control, floors, more, data));
        assert_eq!(budget.held(), 0);
        assert_eq!(holder.lease(Stage::Receiving, 50).unwrap().bytes(), 50);
    }

    #[test]
    fn a_floor_is_to_be_had_whatever_others_take_and_release_meanwhile() {
        const FLOORS: u64 = 4;
        let budget = MemoryBudget::new(100);
        budget.set_floor_reserve(FLOORS * 10);
        let done = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let holder = budget.open_account("greedy");
                while done.load(Ordering::Relaxed) < FLOORS {
                    let mut leases = Vec::new();
                    while let Ok(lease) = holder.lease(Stage::Receiving, 1) {
                        leases.push(lease);
                    }
                }
            });
            for _ in 0..FLOORS {
                scope.spawn(|| {
                    let holder = budget.open_account("modest");
                    for _ in 0..5_000 {
                        assert!(holder.lease(Stage::Floor, 10).is_ok());
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn who_holds_more_than_his_share_is_found() {
        let budget = MemoryBudget::new(1000);
        let (modest, greedy) = (budget.open_account("modest"), budget.open_account("greedy"));
        let leases = [
            modest.lease(Stage::Receiving, 100).unwrap(),
            greedy.lease(Stage::Receiving, 100).unwrap(),
            greedy.lease(Stage::Queued, 1).unwrap(),
        ];
        let over = budget.over(100);
        assert_eq!(over, [(greedy.id(), "greedy".to_owned(), budget.by_stage_of(greedy.id()))]);
        assert_eq!((over[0].2.get(Stage::Queued), greedy.by_stage().total()), (1, 101));
        assert_eq!(leases[2].stage(), Some(Stage::Queued));
        drop((leases, greedy));
        assert!(budget.over(100).is_empty());
        assert_eq!(budget.by_stage_of(99), StageBytes::default());
    }

    #[test]
    fn a_budget_made_smaller_waits_for_what_is_held() {
        let budget = MemoryBudget::new(100);
        let holder = budget.open_account("a");
        let lease = holder.lease(Stage::Receiving, 80).unwrap();
        budget.set_limit(50);
        assert_eq!((budget.limit(), budget.held()), (50, 80));
        assert_eq!(holder.lease(Stage::Receiving, 1).unwrap_err(), BudgetExhausted { asked: 1, held: 80, limit: 50 });
        drop(lease);
        assert!(holder.lease(Stage::Receiving, 51).is_err());
        assert_eq!(holder.lease(Stage::Receiving, 50).unwrap().bytes(), 50);
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
                        if let Ok(lease) = &lease {
                            lease.enter(Stage::Queued);
                        }
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(budget.held(), 0);
        assert_eq!(budget.by_stage(), StageBytes::default());
        assert!(budget.highest() <= 1000);
    }
}
