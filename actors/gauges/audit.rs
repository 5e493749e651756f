//! The audit trail: what happened that someone may have to answer for, on its way to whoever writes it down. The queue is bounded
//! and nobody waits for it: what finds it full is counted and lost, because a log that is down must not stop images.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, bounded};
use dicom_core::Tag;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use tidegate_storage::Instance;
use tokio::sync::Notify;

use super::counters::Counter;

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
    /// A peer was not let in.
    Denied {
        /// Who it says it is.
        peer: AuditPeer,
        /// Why.
        denial: Denial,
    },
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
}

impl Denial {
    /// What it is called where denials are counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TlsHandshake(_) => "tls_handshake",
            Self::Access(_) => "access",
            Self::UserIdentity => "user_identity",
            Self::NoProxyHeader => "no_proxy_header",
        }
    }
}

/// The queue.
#[derive(Debug)]
pub struct AuditTrail {
    sender: Sender<AuditRecord>,
    receiver: Receiver<AuditRecord>,
    arrived: Notify,
    in_hand: AtomicBool,
    /// Records that found the queue full.
    pub dropped: Counter,
}

impl AuditTrail {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (sender, receiver) = bounded(capacity);
        Arc::new(Self { sender, receiver, arrived: Notify::new(), in_hand: false.into(), dropped: Counter::default() })
    }

    /// Puts down what has just happened, if there is room.
    pub(crate) fn record(&self, event: AuditEvent) {
        match self.sender.try_send(AuditRecord { at: SystemTime::now(), event }) {
            Ok(()) => self.arrived.notify_one(),
            Err(_) => self.dropped.increment(),
        }
    }

    /// The next record, for the one who writes them down; the one before is done with.
    pub async fn next(&self) -> AuditRecord {
        self.in_hand.store(false, Ordering::Release);
        loop {
            // Before the look, so that nobody sees an empty queue and an empty hand while a record passes between them.
            self.in_hand.store(true, Ordering::Release);
            if let Ok(record) = self.receiver.try_recv() {
                return record;
            }
            self.in_hand.store(false, Ordering::Release);
            self.arrived.notified().await;
        }
    }

    /// Whether everything has been written down.
    pub(crate) fn is_done(&self) -> bool {
        self.receiver.is_empty() && !self.in_hand.load(Ordering::Acquire)
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
pub(crate) struct Transfers(Vec<AuditStudy>);

impl Transfers {
    /// Counts a stored instance.
    pub(crate) fn add(&mut self, instance: &Instance, peer: &AuditPeer, trail: &AuditTrail) {
        let value = |tag| instance.head.value(tag).unwrap_or_default();
        let character_set = value(SPECIFIC_CHARACTER_SET);
        let uid = written(value(STUDY_INSTANCE_UID), b"");
        let patient_id = written(value(PATIENT_ID), character_set);
        let known = self.0.iter().position(|study| study.uid == uid && study.patient_id == patient_id);
        let place = known.unwrap_or_else(|| {
            if self.0.len() == MOST_STUDIES {
                let study = self.0.remove(0);
                trail.record(AuditEvent::Transferred { peer: peer.clone(), study, refused: 0 });
            }
            let study = AuditStudy { uid, patient_id, sop_classes: Vec::new() };
            trail.record(AuditEvent::TransferBegan { peer: peer.clone(), study: study.clone() });
            self.0.push(study);
            self.0.len() - 1
        });
        let classes = &mut self.0[place].sop_classes;
        let sop_class = instance.meta.sop_class_uid.as_str();
        match classes.iter().position(|(uid, _)| uid == sop_class) {
            Some(known) => classes[known].1 += 1,
            None if classes.len() < MOST_SOP_CLASSES => classes.push((sop_class.to_owned(), 1)),
            None => {}
        }
    }

    /// Reports everything: the association is over.
    pub(crate) fn report(&mut self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) {
        for study in self.0.drain(..) {
            trail.record(AuditEvent::Transferred { peer: peer.clone(), study, refused });
        }
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
    use futures_util::FutureExt;

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

    #[tokio::test]
    async fn a_full_queue_loses_and_counts_and_nobody_waits() {
        let trail = AuditTrail::new(2);
        (0..5).for_each(|_| trail.record(AuditEvent::Started));
        assert_eq!(trail.dropped.get(), 3);
        assert!(!trail.is_done());
        trail.next().await;
        trail.next().await;
        assert!(!trail.is_done(), "one is in hand");
        let mut next = Box::pin(trail.next());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(trail.is_done());
        trail.record(AuditEvent::Stopping);
        assert!(matches!(next.await.event, AuditEvent::Stopping));
    }
}
