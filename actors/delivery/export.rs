//! What an association has delivered, by study, for the audit trail: a delivery is an export (PS3.15 §A.5.3.3 and §A.5.3.7).

use std::sync::Arc;

use tidegate_catalogue::Owed;

use crate::gauges::audit::{AuditEvent, AuditPeer, AuditStudy};
use crate::gauges::audit_queue::AuditTrail;

/// Studies of one association that are counted at one time. When one more begins, the first is reported before the end of the association.
const MOST_STUDIES: usize = 8;
/// Longest Patient ID that is reported (PS3.5 §6.2: LO has 64 characters).
const MAX_VALUE_CHARACTERS: usize = 64;

/// The studies that an association has begun to deliver, until they are reported.
pub(super) struct Exports {
    /// `None`: there is no audit trail, and nothing is counted.
    trail: Option<Arc<AuditTrail>>,
    /// The destination.
    peer: AuditPeer,
    studies: Vec<Export>,
}

struct Export {
    study: AuditStudy,
    /// Instances that the destination has not taken.
    failed: u64,
}

impl Exports {
    pub(super) fn new(trail: Option<Arc<AuditTrail>>, peer: AuditPeer) -> Self {
        Self { trail, peer, studies: Vec::new() }
    }

    /// An instance is to be sent. `Some`: it is the first of its study, and its message is written before the instance is sent; the trail and the ticket
    /// for [`AuditTrail::wait_until_written`].
    pub(super) fn begin(&mut self, owed: &Owed) -> Option<(Arc<AuditTrail>, u64)> {
        let trail = self.trail.clone()?;
        let (_, ticket) = self.place(owed, &trail);
        ticket.map(|ticket| (trail, ticket))
    }

    /// Counts an attempt that has come to its end.
    pub(super) fn count(&mut self, owed: &Owed, is_delivered: bool) {
        let Some(trail) = self.trail.clone() else { return };
        let (at, _) = self.place(owed, &trail);
        let Export { study, failed } = &mut self.studies[at];
        if is_delivered { study.count(&owed.sop_class_uid) } else { *failed += 1 }
    }

    /// The place of the study of an instance. `Some`: it begins with this one.
    fn place(&mut self, owed: &Owed, trail: &AuditTrail) -> (usize, Option<u64>) {
        if let Some(known) = self.studies.iter().position(|export| export.study.uid == *owed.study_uid) {
            return (known, None);
        }
        if self.studies.len() == MOST_STUDIES {
            let first = self.studies.remove(0);
            self.finish(first, trail);
        }
        let patient_id = owed.patient_id.as_deref().unwrap_or_default().chars().take(MAX_VALUE_CHARACTERS).collect();
        let study = AuditStudy { uid: owed.study_uid.to_string(), patient_id, sop_classes: Vec::new() };
        let ticket = trail.record(AuditEvent::DeliveryBegan { peer: self.peer.clone(), study: study.clone() });
        self.studies.push(Export { study, failed: 0 });
        (self.studies.len() - 1, Some(ticket))
    }

    fn finish(&self, Export { study, failed }: Export, trail: &AuditTrail) {
        trail.record(AuditEvent::Delivered { peer: self.peer.clone(), study, failed });
    }

    /// Reports all studies, at the end of the association.
    pub(super) fn report(&mut self) {
        let Some(trail) = self.trail.clone() else { return };
        for export in std::mem::take(&mut self.studies) {
            self.finish(export, &trail);
        }
    }
}
