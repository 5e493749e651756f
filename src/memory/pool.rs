//! The pool of bytes from which all leases are taken.

use std::collections::BTreeMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::stage::{Stage, StageCounters};

/// The budget is exhausted: the bytes were not leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory budget is exhausted: {asked} bytes requested, {held} of {limit} leased")]
pub struct BudgetExhausted {
    /// Bytes requested.
    pub asked: u64,
    /// Bytes held by all leases at that moment.
    pub held: u64,
    /// The budget.
    pub limit: u64,
}

/// The counters of a budget, and the accounts `A` that lease from it.
#[derive(Debug)]
pub(crate) struct Pool<A> {
    pub(crate) limit: AtomicU64,
    pub(crate) floor_reserve: AtomicU64,
    pub(crate) control_reserve: AtomicU64,
    /// Bytes held by leases of [`Stage::Floor`], and of all other stages. They are separate, so that the check of the reserve does not depend
    /// on two counts read at two instants.
    pub(crate) floors: AtomicU64,
    pub(crate) others: AtomicU64,
    /// Bytes of `others` that are held by stages which [take no part](Stage::is_data) of the control reserve.
    pub(crate) data: AtomicU64,
    /// Leases refused so far, and those of them that a newcomer asked for: floor, TLS and negotiation.
    pub(crate) refusals: AtomicU64,
    pub(crate) refusals_of_newcomers: AtomicU64,
    pub(crate) highest: AtomicU64,
    /// Of the bytes held, those that are leased and not allocated at the moment.
    pub(crate) unused: AtomicU64,
    pub(crate) stages: StageCounters,
    pub(crate) holders: Mutex<BTreeMap<u64, Weak<A>>>,
    pub(crate) next_holder: AtomicU64,
}

impl<A> Pool<A> {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit_bytes),
            floor_reserve: AtomicU64::new(0),
            control_reserve: AtomicU64::new(0),
            floors: AtomicU64::new(0),
            others: AtomicU64::new(0),
            data: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            refusals_of_newcomers: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            unused: AtomicU64::new(0),
            stages: StageCounters::default(),
            holders: Mutex::default(),
            next_holder: AtomicU64::new(1),
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn held(&self) -> u64 {
        self.floors.load(Ordering::Relaxed) + self.others.load(Ordering::Relaxed)
    }

    pub(crate) fn close(&self, account: u64) {
        self.holders.lock().remove(&account);
    }

    /// Invariants: other stages than the floor never hold more than the budget less the floor reserve, so a floor within the reserve is always
    /// available. Stages of data never hold more than that less the control reserve, so the other stages always have theirs.
    pub(crate) fn take(&self, stage: Stage, asked: u64) -> Result<(), BudgetExhausted> {
        let limit = self.limit();
        let reserve = self.floor_reserve.load(Ordering::Relaxed);
        let beside = match stage {
            Stage::Floor => self.others.load(Ordering::Relaxed),
            _ => self.floors.load(Ordering::Relaxed).max(reserve),
        };
        let is_data = stage.is_data();
        let reserved = beside.saturating_add(self.control_reserve.load(Ordering::Relaxed));
        if is_data && !add_within(&self.data, asked, reserved, limit) {
            return Err(self.refused(stage, asked));
        }
        if !add_within(self.pool(stage), asked, beside, limit) {
            if is_data {
                self.data.fetch_sub(asked, Ordering::Relaxed);
            }
            return Err(self.refused(stage, asked));
        }
        self.highest.fetch_max(self.held(), Ordering::Relaxed);
        self.stages.add(stage, asked);
        Ok(())
    }

    pub(crate) fn release(&self, stage: Stage, bytes: u64) {
        self.stages.subtract(stage, bytes);
        self.pool(stage).fetch_sub(bytes, Ordering::Relaxed);
        if stage.is_data() {
            self.data.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn move_on(&self, from: Stage, to: Stage, bytes: u64) {
        self.stages.add(to, bytes);
        self.stages.subtract(from, bytes);
        if from == Stage::Floor || to == Stage::Floor {
            self.pool(to).fetch_add(bytes, Ordering::Relaxed);
            self.pool(from).fetch_sub(bytes, Ordering::Relaxed);
        }
        if to.is_data() && !from.is_data() {
            self.data.fetch_add(bytes, Ordering::Relaxed);
        } else if from.is_data() && !to.is_data() {
            self.data.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    #[cold]
    fn refused(&self, stage: Stage, asked: u64) -> BudgetExhausted {
        self.refusals.fetch_add(1, Ordering::Relaxed);
        if !stage.is_data() {
            self.refusals_of_newcomers.fetch_add(1, Ordering::Relaxed);
        }
        BudgetExhausted { asked, held: self.held(), limit: self.limit() }
    }

    fn pool(&self, stage: Stage) -> &AtomicU64 {
        if stage == Stage::Floor { &self.floors } else { &self.others }
    }
}

/// Adds `asked` to `held`, if the sum and the bytes `beside` it are within the limit.
fn add_within(held: &AtomicU64, asked: u64, beside: u64, limit: u64) -> bool {
    let added = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
        held.checked_add(asked)?.checked_add(beside).filter(|sum| *sum <= limit)?;
        Some(held + asked)
    });
    added.is_ok()
}
