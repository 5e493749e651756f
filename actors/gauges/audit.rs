//! The events of the audit trail, which the [`AuditTrail`] takes to the one who writes them down.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use dicom_core::Tag;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use tidegate_storage::{Instance, Outcome};

use super::audit_queue::AuditTrail;

/// Specific Character Set.
const SPECIFIC_CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
/// Patient ID.
const PATIENT_ID: Tag = Tag(0x0010, 0x0020);
/// Study Instance UID.
pub(crate) const STUDY_INSTANCE_UID: Tag = Tag(0x0020, 0x000D);
/// Studies of one association that are counted side by side; one more, and the first is reported before its end.
const MOST_STUDIES: usize = 8;
/// SOP classes of a study that are counted apart.
const MOST_SOP_CLASSES: usize = 32;
/// What a code extension begins with (ISO 2022).
const ESCAPE: u8 = 0x1B;
/// Longest value of an element that is reported (PS3.5 §6.2: LO and UI have 64 characters).
const MAX_VALUE_CHARACTERS: usize = 64;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// When.
    pub at: SystemTime,
    /// What.
    pub event: AuditEvent,
    /// How often, by this source: the event is the last one.
    pub count: u64,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// The node serves.
    Started,
    /// The node stops.
    Stopping,
    /// An association was accepted.
    Associated {
        /// Who asked for it.
        peer: AuditPeer,
    },
    /// The first instance of a study was stored on an association.
    TransferBegan {
        /// Who sends.
        peer: AuditPeer,
        /// What it is of.
        study: AuditStudy,
    },
    /// Instances of a study were stored, to the end of the association.
    Transferred {
        /// Who has sent.
        peer: AuditPeer,
        /// What it is of, and how many.
        study: AuditStudy,
        /// Instances of the association, of this study or another, that were refused.
        refused: u64,
    },
    /// Stored instances were replaced by others with the same UIDs.
    Replaced {
        /// Who has sent the others.
        peer: AuditPeer,
        /// What they are of, and how many.
        study: AuditStudy,
    },
    /// An operator did something.
    Operated(Operation),
    /// A peer was not let in.
    Denied {
        /// Who it says it is.
        peer: AuditPeer,
        /// Why.
        denial: Denial,
    },
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Ended an association, by its id.
    Abort(u64),
    /// Stopped new associations.
    Drain,
    /// Admitted new associations again.
    EndDrain,
    /// Changed what is logged: the new level.
    LogLevel(String),
    /// Had the configuration read again; false: it was refused.
    Reload(bool),
}

impl AuditEvent {
    /// The peer of an event that any stranger can cause, and a word for its kind.
    pub(crate) fn contact(&self) -> Option<(&AuditPeer, &'static str)> {
        match self {
            Self::Associated { peer } => Some((peer, "associated")),
            Self::Denied { peer, denial } => Some((peer, denial.name())),
            Self::Started
            | Self::Stopping
            | Self::TransferBegan { .. }
            | Self::Transferred { .. }
            | Self::Replaced { .. }
            | Self::Operated(_) => None,
        }
    }
}

/// Who is at the other end. Strings of a peer.
#[derive(Clone, Debug)]
pub struct AuditPeer {
    /// Its address.
    pub address: SocketAddr,
    /// Calling AE title; empty if it did not get so far.
    pub calling_ae_title: String,
    /// Subject of the certificate it has shown; empty without one.
    pub certificate: String,
}

/// Instances of one study. Values as they stand in the datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStudy {
    /// Study Instance UID.
    pub uid: String,
    /// Patient ID.
    pub patient_id: String,
    /// SOP Class UIDs and how many instances were stored of each.
    pub sop_classes: Vec<(String, u64)>,
}

/// Why a peer was not let in.
#[derive(Clone, Debug)]
pub enum Denial {
    /// The handshake failed, and how.
    TlsHandshake(String),
    /// No access rule allows it; the one that denies it, by name.
    Access(Option<String>),
    /// Its user identity is missing or not right.
    UserIdentity,
    /// A balancer did not name the peer.
    NoProxyHeader,
    /// A client of the admin surface has shown no token, or a wrong one.
    Token,
}

impl Denial {
    /// What it is called where denials are counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TlsHandshake(_) => "tls_handshake",
            Self::Access(_) => "access",
            Self::UserIdentity => "user_identity",
            Self::NoProxyHeader => "no_proxy_header",
            Self::Token => "token",
        }
    }
}

/// The elements to be read of each dataset: these and what an audit message says.
pub(crate) fn widened(wanted: &[Tag]) -> Arc<[Tag]> {
    let mut wanted = wanted.to_vec();
    wanted.extend([SPECIFIC_CHARACTER_SET, PATIENT_ID, STUDY_INSTANCE_UID]);
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into()
}

/// What an association has stored, study by study, until it is reported.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Vec<Transfer>);

/// What an association has stored of a study.
#[derive(Debug)]
struct Transfer {
    study: AuditStudy,
    /// Of that, in the place of others.
    replaced: Vec<(String, u64)>,
}

impl Transfers {
    /// Counts a stored instance. Returns a ticket for [`AuditTrail::is_written`]: the instance is not acknowledged before.
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
            self.0.push(Transfer { study, replaced: Vec::new() });
            self.0.len() - 1
        });
        let Transfer { study, replaced } = &mut self.0[place];
        count(&mut study.sop_classes, sop_class);
        if matches!(outcome, Outcome::Replaced) {
            let is_first = replaced.is_empty();
            count(replaced, sop_class);
            if is_first {
                let study = AuditStudy { sop_classes: replaced.clone(), ..study.clone() };
                ticket = trail.record(AuditEvent::Replaced { peer: peer.clone(), study });
            }
        }
        ticket
    }

    /// Reports everything: the association is over. Returns a ticket.
    pub(crate) fn report(&mut self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) -> u64 {
        self.0.drain(..).map(|transfer| transfer.report(peer, refused, trail)).max().unwrap_or(0)
    }
}

impl Transfer {
    fn report(self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) -> u64 {
        let Self { study, replaced } = self;
        // The first was told at once.
        if replaced.iter().map(|(_, count)| count).sum::<u64>() > 1 {
            let study = AuditStudy { sop_classes: replaced, ..study.clone() };
            trail.record(AuditEvent::Replaced { peer: peer.clone(), study });
        }
        trail.record(AuditEvent::Transferred { peer: peer.clone(), study, refused })
    }
}

fn count(classes: &mut Vec<(String, u64)>, sop_class: &str) {
    match classes.iter().position(|(uid, _)| uid == sop_class) {
        Some(known) => classes[known].1 += 1,
        None if classes.len() < MOST_SOP_CLASSES => classes.push((sop_class.to_owned(), 1)),
        None => {}
    }
}

/// A value without padding, decoded by a Specific Character Set (PS3.3 §C.12.1.1.2); what that cannot decode, and a value under one that
/// is not known, as far as it is ASCII. Of several character sets (code extensions) the first that is not the default one decides.
fn written(value: &[u8], character_set: &[u8]) -> String {
    let codes = String::from_utf8_lossy(character_set);
    let mut known = codes.split('\\').filter_map(|code| SpecificCharacterSet::from_code(code.trim()));
    let extended = known.find(|set| *set != SpecificCharacterSet::ISO_IR_6);
    let decoded =
        extended.filter(|_| !value.is_ascii() || value.contains(&ESCAPE)).and_then(|set| set.decode(value).ok());
    let text = decoded.map_or_else(|| String::from_utf8_lossy(value), Cow::Owned);
    text.trim_matches(['\0', ' ']).chars().take(MAX_VALUE_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_id_is_read_in_the_character_set_of_its_dataset() {
        for (bytes, character_set, text) in [
            (&b"M\xFCller 1 "[..], &b"ISO_IR 100"[..], "Müller 1"),
            (b"M\xC3\xBCller", b"ISO_IR 192", "Müller"),
            (b"\xCF", b"ISO_IR 144", "Я"),
            (b"\xCD\xF5", b"GB18030", "王"),
            (b"P-1\0", b"", "P-1"),
            (b"P-1", b"ISO_IR 999", "P-1"),
            (b"M\xFCller", b"", "M\u{fffd}ller"),
            (b"M\xFCller", b"\\ISO 2022 IR 100", "Müller"),
        ] {
            assert_eq!(written(bytes, character_set), text, "{character_set:?}");
        }
        assert_eq!(written(&[b'a'; 200], b""), "a".repeat(64));
    }
}
