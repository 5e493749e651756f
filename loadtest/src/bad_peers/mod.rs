//! Peers that behave badly beside the load. They have UIDs of their own and counts of their own, so that the load's stay what they are.

mod kinds;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::reconcile::FIRST_BAD_PEER;
use crate::scenario::BadPeerKind;

use kinds::Visit;

/// All of them in one run.
#[derive(Debug, Default)]
pub(crate) struct BadPeers {
    stop: AtomicBool,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl BadPeers {
    /// Lets them loose on the plan's target, each on a thread of its own, until [`BadPeers::stop`].
    pub(crate) fn start<'scope, 'env>(&'env self, scope: &'scope Scope<'scope, 'env>, plan: &'env Plan) {
        let mut number = FIRST_BAD_PEER;
        for bad_peer in &plan.scenario.bad_peers {
            for _ in 0..bad_peer.count {
                let visit = Visit::new(plan, bad_peer, number, &self.stop);
                scope.spawn(move || self.live(&visit, bad_peer.kind, bad_peer.every_s));
                number += 1;
            }
        }
    }

    fn live(&self, visit: &Visit<'_>, kind: BadPeerKind, every_s: f64) {
        for round in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            for outcome in visit.once(round) {
                self.count(kind, &outcome);
            }
            pause(Duration::from_secs_f64(every_s), &self.stop);
        }
    }

    fn count(&self, kind: BadPeerKind, outcome: &str) {
        let name = clap::ValueEnum::to_possible_value(&kind).map(|value| value.get_name().to_owned());
        let key = format!("{}.{outcome}", name.unwrap_or_default());
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    /// Lets none begin anew, and those go that only wait.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Their actions and outcomes, by `kind.outcome`.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A pause that ends early when `stop` is set.
fn pause(length: Duration, stop: &AtomicBool) {
    let until = Instant::now() + length;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
