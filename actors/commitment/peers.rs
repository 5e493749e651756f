//! Peers that come, are back, or have got another address: what waits for them is due.

use std::sync::Arc;

use super::actor::CommitmentActor;
use crate::committed::clock_ms;
use crate::node::phase::Phase;
use crate::node::settings::PeerSettings;

impl CommitmentActor {
    /// Peers that have come: what waits for them is due. Whether there were any.
    pub(super) fn greet(&mut self) -> bool {
        let mut arrived = std::mem::take(&mut self.shared.waiting.lock().arrived);
        let are_there = !arrived.is_empty();
        arrived.sort_unstable();
        arrived.dedup();
        // One that has just failed to take its report may come again and again.
        arrived.retain(|peer| !self.has_failed_lately(peer));
        if self.shared.figures.seen.lock().pending > 0 {
            for peer in &arrived {
                self.hasten(&peer.calling, Some(&peer.address));
            }
        }
        are_there
    }

    /// Asks peers that could not be reached whether they are back: then their reports are due. Whether any is.
    pub(super) fn probe(&mut self) -> bool {
        let probed = std::mem::take(&mut self.shared.waiting.lock().probed);
        let mut are_back = false;
        for (ae_title, is_back) in probed {
            if self.probing.ended(&ae_title, is_back) {
                self.hasten(&ae_title, None);
                are_back = true;
            }
        }
        if self.may_call() {
            self.probing.start(&self.shared, &self.settings.borrow().commitment);
        }
        are_back
    }

    /// Peers are called while the node serves.
    pub(super) fn may_call(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Peers that have got another address, and all at the start: what waits for them is due. Whether there were any.
    pub(super) fn adopt_peers(&mut self) -> bool {
        let settings = self.settings.borrow_and_update().commitment.clone();
        if !self.record.is_open() || self.record.is_troubled() {
            return false;
        }
        if self.peers.as_ref().is_some_and(|peers| Arc::ptr_eq(peers, &settings)) {
            return false;
        }
        let former = self.peers.replace(settings.clone());
        // Other destinations may be waited for.
        for id in std::mem::take(&mut self.awaited).into_keys() {
            self.record.attempt(|requests| requests.retry_wait(id, clock_ms()));
        }
        // Certificates may have been replaced.
        let is_new = |peer: &&PeerSettings| {
            peer.is_tls || former.as_ref().and_then(|former| former.peer(&peer.ae_title)) != Some(*peer)
        };
        for peer in settings.peers.iter().filter(is_new) {
            self.hasten(&peer.ae_title, None);
        }
        true
    }

    /// What waits for the peer, from this address if one is named, is due.
    fn hasten(&mut self, ae_title: &str, address: Option<&str>) {
        self.away.remove(ae_title);
        self.record.attempt(|requests| requests.hasten(ae_title, address, clock_ms()));
    }
}
