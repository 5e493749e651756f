//! What the running node says of itself: who holds what, since when, and what the allocator makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::{AllocatorStatistics, Holder, MemorySnapshot, Place};

use crate::node::Shared;

/// A look into the running node, from any thread.
#[derive(Clone, Debug)]
pub struct Observer(Arc<Shared>);

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// An account for someone outside the actors who will hold leases of the node's budget.
    pub fn open_account(&self, label: &str) -> Holder {
        self.0.budget.open_account(label)
    }

    /// The memory of this moment. A lease that waits in the mailbox says how many jobs stand before it.
    ///
    /// # Errors
    /// If jemalloc does not tell its figures.
    pub fn memory(&self) -> Result<MemorySnapshot, AllocatorError> {
        let shared = &self.0;
        let pressure = *shared.pressure.borrow();
        let mut snapshot = shared.budget.snapshot(shared.probe.read()?, shared.baseline.get(), pressure);
        let taken = shared.mailbox.taken();
        let places = snapshot.holders.iter_mut().flat_map(|holder| &mut holder.leases).map(|lease| &mut lease.place);
        for place in places {
            if let Place::Mailbox { ticket } = place {
                *ticket = ticket.saturating_sub(taken);
            }
        }
        Ok(snapshot)
    }
}

/// What jemalloc had allocated beyond all leases when the node had started: code's own tables, threads, the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Baseline(AtomicU64);

impl Baseline {
    /// Takes the measure.
    pub(crate) fn set(&self, allocator: &AllocatorStatistics, held_bytes: u64) {
        self.0.store(allocator.allocated.saturating_sub(held_bytes), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
