//! The answers for guests: clients of the loopback address without a token or a certificate. A guest reads figures, and no name or address of
//! a peer.

use super::commitment::health::CommitmentHealth;
use super::ended::EndedAssociation;
use super::model::{Association, Status};
use super::outgoing::NotTaking;

impl Status {
    /// The status without what peers wrote.
    pub(super) fn without_peers(mut self) -> Self {
        for refused in &mut self.refused {
            refused.peer.clear();
            refused.calling_ae_title.clear();
            refused.called_ae_title.clear();
            refused.detail.clear();
        }
        // They name files.
        if let Some(health) = &mut self.catalogue {
            (health.reason, health.remedy) = (None, None);
        }
        self.commitment.iter_mut().for_each(CommitmentHealth::remove_peers);
        let deliveries = self.delivery.iter_mut().flat_map(|health| &mut health.not_taking);
        let events = self.events.iter_mut().flat_map(|health| &mut health.not_taking);
        deliveries.chain(events).for_each(NotTaking::remove_peer);
        self
    }
}

impl EndedAssociation {
    /// Removes what names the peer or its patients' studies.
    pub(super) fn remove_peer(&mut self) {
        self.peer.clear();
        self.calling_ae_title.clear();
        self.called_ae_title.clear();
        self.first_study = None;
    }
}

impl Association {
    /// Removes what names the peer.
    pub(super) fn remove_peer(&mut self) {
        self.peer.clear();
        self.calling_ae_title.clear();
        self.called_ae_title.clear();
    }
}
