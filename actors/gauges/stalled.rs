//! Stalled holders of memory: associations that hold part of a dataset whose bytes do not arrive, while others are refused a lease.
//!
//! They are asked to give their memory back to the budget. The end of an association for the sake of resident memory is [`eviction`](super::eviction).

use std::collections::HashMap;

use tidegate_memory::Stage;

use super::activity::Wish;
use crate::node::shared::Shared;

/// Bytes of an arriving dataset that an association may hold unasked: a block of small fragments.
const UNASKED_BYTES: u64 = 16 * 1024;
/// A holder that receives less than this part of its bytes within a second stalls.
const STALLED_SHARE: u64 = 64;

/// What was known a second ago.
#[derive(Debug)]
pub(super) struct StalledHolders {
    refusals: u64,
    newcomers: u64,
    /// Bytes received, by account, while leases are refused.
    received: HashMap<u64, u64>,
}

impl StalledHolders {
    pub(super) fn new(shared: &Shared) -> Self {
        let budget = &shared.budget;
        let (refusals, newcomers) = (budget.refusals(), budget.refusals_of_newcomers());
        Self { refusals, newcomers, received: HashMap::new() }
    }

    /// The look of each second: while leases are refused, every stalled holder is asked for its memory. Leases decide, not resident pages: a
    /// block that was leased and not written counts.
    pub(super) fn look(&mut self, shared: &Shared) {
        let (budget, gauges) = (&shared.budget, &shared.gauges);
        let before = std::mem::replace(self, Self::new(shared));
        let short = &gauges.counters.memory_short_seconds;
        let is_short = self.newcomers > before.newcomers;
        short.set(if is_short { short.get() + 1 } else { 0 });
        if self.refusals == before.refusals {
            return;
        }
        self.received = gauges.open.received().into_iter().collect();
        for (account, received) in &self.received {
            let Some(earlier) = before.received.get(account) else { continue };
            let held = budget.by_stage_of(*account).get(Stage::Receiving);
            if held > UNASKED_BYTES && received.saturating_sub(*earlier) < held / STALLED_SHARE {
                gauges.open.wish(*account, Wish::GiveBack);
            }
        }
    }
}
