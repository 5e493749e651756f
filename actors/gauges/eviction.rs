//! The last remedy of memory pressure: an association is ended, and the next look reports whether it has.
//!
//! It acts on resident memory, at the level above all others. [`stalled`](super::stalled) acts earlier and on leases: it asks for memory that other
//! associations are refused, and ends none that gives it back. An association that got both requests ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::activity::{AssociationUse, EndCause, OpenAssociations};

/// A peer that has sent nothing for this time has stalled.
const STALLED: Duration = Duration::from_secs(5);
/// An association that holds less, such as its floor lease alone, is no remedy.
const WORTH_BYTES: u64 = 64 << 10;
/// Time between two messages that nothing can be ended.
const REPEAT: Duration = Duration::from_secs(60);

/// The requests so far.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    /// The associations that were asked to end and have not. They are not chosen again.
    asked: BTreeSet<u64>,
    last_asked: Option<(u64, Instant)>,
    said_none: Option<Instant>,
}

impl Eviction {
    /// Once a second under pressure. `held_bytes` tells what an account holds.
    pub(super) fn act(&mut self, open: &OpenAssociations, held_bytes: impl Fn(u64) -> u64, leased_bytes: u64) {
        let all = open.all(held_bytes);
        self.look(&all);
        let chosen = all
            .iter()
            .filter(|association| association.held_bytes >= WORTH_BYTES && !self.asked.contains(&association.id))
            .max_by_key(|association| (association.quiet >= STALLED, association.held_bytes));
        match chosen {
            Some(chosen) if open.end(chosen.id, EndCause::MemoryPressure) => {
                self.asked.insert(chosen.id);
                self.last_asked = Some((chosen.id, Instant::now()));
                warn!(
                    association = chosen.id,
                    peer = %chosen.peer,
                    calling = chosen.calling_ae_title.as_str(),
                    bytes = chosen.held_bytes,
                    quiet_ms = chosen.quiet.as_millis() as u64,
                    "association asked to end: memory pressure"
                );
            }
            Some(_) => {} // it has ended of its own accord
            None => self.say_none(all.len(), leased_bytes),
        }
    }

    /// Reports on the last association that was asked, and forgets those that have ended.
    fn look(&mut self, all: &[AssociationUse]) {
        let is_open = |id: &u64| all.iter().any(|association| association.id == *id);
        if let Some((id, at)) = self.last_asked.take() {
            let after_ms = at.elapsed().as_millis() as u64;
            match all.iter().find(|association| association.id == id) {
                Some(still) if still.held_bytes >= WORTH_BYTES => {
                    warn!(
                        association = id,
                        after_ms,
                        bytes = still.held_bytes,
                        "association has not ended yet: memory pressure"
                    );
                }
                // Its connection may last until the peer has closed, with its floor lease alone.
                _ => info!(association = id, after_ms, "association ended: memory pressure"),
            }
        }
        self.asked.retain(is_open);
    }

    fn say_none(&mut self, associations: usize, leased_bytes: u64) {
        if self.said_none.is_some_and(|at| at.elapsed() < REPEAT) {
            return;
        }
        self.said_none = Some(Instant::now());
        warn!(
            associations,
            being_ended = self.asked.len(),
            leased_bytes,
            next = "tidegate mem top",
            "memory pressure, and no association holds memory that ending it would free"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_can_be_ended_is_ended_once_and_the_largest_first() {
        let open = Arc::new(OpenAssociations::default());
        let peer = "192.0.2.1:1".parse().unwrap();
        let held = |account: u64| account * 100_000;
        let guards: Vec<_> = (1..=3).map(|account| open.register(account, peer)).collect();
        // Account 9, of the admin surface, holds more than all of them and is no association.
        let mut eviction = Eviction::default();
        for expected in [[3].as_slice(), &[2, 3], &[1, 2, 3], &[1, 2, 3]] {
            eviction.act(&open, held, held(9));
            assert_eq!(eviction.asked.iter().copied().collect::<Vec<_>>(), expected);
        }
        assert!(eviction.said_none.is_some());
        drop(guards);
        eviction.act(&open, held, held(9));
        assert!(eviction.asked.is_empty());
        let _idle = open.register(4, peer);
        eviction.act(&open, |_| 0, held(9));
        assert!(eviction.asked.is_empty(), "it holds nothing");
    }
}
