//! What an association has stored, by study, for the audit trail.

use tidegate_protocol::syntaxes::is_uid;
use tidegate_storage::{Instance, Outcome};

use super::audit::{AuditEvent, AuditPeer, AuditStudy};
use super::audit_queue::AuditTrail;
use crate::elements::{PATIENT_ID, SPECIFIC_CHARACTER_SET, STUDY_INSTANCE_UID, text};

/// Studies of one association that are counted at one time. When one more begins, the first is reported before the end of the association.
const MOST_STUDIES: usize = 8;
/// SOP classes of a study that are counted separately.
const MOST_SOP_CLASSES: usize = 32;
/// Longest value of an element that is reported (PS3.5 §6.2: LO and UI have 64 characters).
const MAX_VALUE_CHARACTERS: usize = 64;

/// The event of instances whose UIDs were taken by others.
type Event = fn(AuditPeer, AuditStudy) -> AuditEvent;
const REPLACED: Event = |peer, study| AuditEvent::Replaced { peer, study };
const KEPT_BOTH: Event = |peer, study| AuditEvent::KeptBoth { peer, study };

/// The instances that an association has stored, by study, until they are reported.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Vec<Transfer>);

/// The instances of a study that an association has stored.
#[derive(Debug)]
struct Transfer {
    study: AuditStudy,
    /// Those that replaced others, by SOP class.
    replaced: Vec<(String, u64)>,
    /// Those that were stored beside others with the same UIDs.
    kept_both: Vec<(String, u64)>,
}

impl Transfers {
    /// Counts a stored instance. Returns a ticket for [`AuditTrail::wait_until_written`]: the instance is not acknowledged before.
    pub(crate) fn add(&mut self, instance: &Instance, outcome: &Outcome, peer: &AuditPeer, trail: &AuditTrail) -> u64 {
        let value = |tag| instance.head.value(tag).unwrap_or_default();
        let character_set = value(SPECIFIC_CHARACTER_SET);
        let uid = written(value(STUDY_INSTANCE_UID), b"");
        let patient_id = written(value(PATIENT_ID), character_set);
        let sop_class = instance.meta.sop_class_uid.as_str();
        let mut ticket = 0;
        let is_known = |Transfer { study, .. }: &Transfer| study.uid == uid && study.patient_id == patient_id;
        let place = self.0.iter().position(is_known).unwrap_or_else(|| {
            if self.0.len() == MOST_STUDIES {
                self.0.remove(0).report(peer, 0, trail);
            }
            let study = AuditStudy { uid, patient_id, sop_classes: Vec::new() };
            ticket = trail.record(AuditEvent::TransferBegan { peer: peer.clone(), study: study.clone() });
            self.0.push(Transfer { study, replaced: Vec::new(), kept_both: Vec::new() });
            self.0.len() - 1
        });
        let transfer = &mut self.0[place];
        transfer.study.count(sop_class);
        let (others, event) = match outcome {
            Outcome::New | Outcome::Identical => return ticket,
            Outcome::Replaced => (&mut transfer.replaced, REPLACED),
            Outcome::KeptBoth { .. } => (&mut transfer.kept_both, KEPT_BOTH),
        };
        count(others, sop_class);
        match instances(others) {
            1 => trail.record(event(peer.clone(), transfer.study.with(others.clone()))),
            _ => ticket,
        }
    }

    /// Reports all studies, at the end of the association. Returns a ticket for [`AuditTrail::wait_until_written`].
    pub(crate) fn report(&mut self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) -> u64 {
        self.0.drain(..).map(|transfer| transfer.report(peer, refused, trail)).max().unwrap_or(0)
    }
}

impl Transfer {
    fn report(self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) -> u64 {
        let Self { study, replaced, kept_both } = self;
        for (others, event) in [(replaced, REPLACED), (kept_both, KEPT_BOTH)] {
            // The first one has a record already.
            if instances(&others) > 1 {
                trail.record(event(peer.clone(), study.with(others)));
            }
        }
        trail.record(AuditEvent::Transferred { peer: peer.clone(), study, refused })
    }
}

impl AuditStudy {
    /// Counts an instance.
    pub(crate) fn count(&mut self, sop_class: &str) {
        count(&mut self.sop_classes, sop_class);
    }

    /// The same study, with these instances.
    fn with(&self, sop_classes: Vec<(String, u64)>) -> Self {
        Self { sop_classes, ..self.clone() }
    }
}

/// The value of an element as a UID; `None`: it is absent or none, and might name a patient.
pub(crate) fn uid_of(value: Option<&[u8]>) -> Option<String> {
    let text = std::str::from_utf8(value?).ok()?.trim_matches(['\0', ' ']);
    is_uid(text).then(|| text.to_owned())
}

fn instances(classes: &[(String, u64)]) -> u64 {
    classes.iter().map(|(_, count)| count).sum()
}

fn count(classes: &mut Vec<(String, u64)>, sop_class: &str) {
    match classes.iter().position(|(uid, _)| uid == sop_class) {
        Some(known) => classes[known].1 += 1,
        None if classes.len() < MOST_SOP_CLASSES => classes.push((sop_class.to_owned(), 1)),
        None => {}
    }
}

/// A value as it is reported.
fn written(value: &[u8], character_set: &[u8]) -> String {
    text(value, character_set).chars().take(MAX_VALUE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(written(b"M\xFCller", b"ISO_IR 100"), "Müller");
        assert_eq!(written(&[b'a'; 200], b""), "a".repeat(64));
    }
}
