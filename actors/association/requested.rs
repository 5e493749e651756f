//! An association is asked for: whether there is room for it, and the answer.

use std::time::Duration;

use tidegate_memory::{MemoryLease, Stage};
use tidegate_protocol::{AssociateRequest, Rejection};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::Connection;
use super::ending::End;
use crate::shared::Phase;

/// Between two tries to lease what the presentation contexts take.
const LEASE_RETRY: Duration = Duration::from_millis(10);
/// What an accepted presentation context takes, in bytes, its two UIDs included.
const CONTEXT_BYTES: u64 = 160;

impl Connection {
    pub(super) async fn on_request(&mut self, request: AssociateRequest) -> Option<End> {
        self.peer.calling_ae_title = request.calling_ae_title;
        let rejection = if *self.phase.borrow() != Phase::Serving {
            Some(Rejection::TemporaryCongestion)
        } else if !self.admitted.call_as(&self.peer.calling_ae_title) {
            Some(Rejection::LocalLimitExceeded)
        } else {
            self.contexts = self.lease_contexts(request.contexts_accepted).await;
            self.contexts.is_none().then_some(Rejection::LocalLimitExceeded)
        };
        if let Some(rejection) = rejection {
            warn!(peer = %self.peer.address, calling_ae = ?self.peer.calling_ae_title, ?rejection, "association rejected");
            self.shared.count_rejected(rejection, self.peer.address, &self.peer.calling_ae_title);
            self.protocol.reject(rejection);
            return Some(End::Rejected);
        }
        self.protocol.accept();
        self.is_established = true;
        self.window = usize::from(request.async_operations);
        self.shared.counters.associations_accepted.increment();
        self.holder.set_label(format!("{:?} from {}", self.peer.calling_ae_title, self.peer.address));
        info!(
            peer = %self.peer.address,
            calling_ae = ?self.peer.calling_ae_title,
            called_ae = ?request.called_ae_title,
            contexts_accepted = request.contexts_accepted,
            contexts_proposed = request.contexts_proposed,
            async_operations = request.async_operations,
            implementation = ?request.implementation,
            "association accepted"
        );
        None
    }

    /// Leases what the presentation contexts take. When datasets hold the whole budget, that is for a moment: what they hold is on
    /// its way to the disk.
    async fn lease_contexts(&self, count: usize) -> Option<MemoryLease> {
        let patience = self.live.associations.request_timeout;
        let lease = async {
            loop {
                match self.holder.lease(Stage::Floor, count as u64 * CONTEXT_BYTES) {
                    Ok(lease) => return lease,
                    Err(_) => sleep(LEASE_RETRY).await,
                }
            }
        };
        timeout(patience, lease).await.ok()
    }
}
