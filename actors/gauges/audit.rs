//! The audit trail: events that security is accountable for, in a queue to the service that writes them. The queue is bounded and no thread
//! waits for it: an event that finds it full is lost and counted, because a log that is down must not stop images.

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
/// Studies of one association that are counted at one time. When one more begins, the first is reported before the end of the association.
const MOST_STUDIES: usize = 8;
/// SOP classes of a study that are counted separately.
const MOST_SOP_CLASSES: usize = 32;
/// The first byte of a code extension (ISO 2022).
const ESCAPE: u8 = 0x1B;
/// Longest value of an element that is reported (PS3.5 §6.2: LO and UI have 64 characters).
const MAX_VALUE_CHARACTERS: usize = 64;

/// An event with its time.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// The time.
    pub at: SystemTime,
    /// The event.
    pub event: AuditEvent,
}

/// An auditable event.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// The node has started to serve.
    Started,
    /// The node stops.
    Stopping,
    /// An association was accepted.
    Associated {
        /// The requestor.
        peer: AuditPeer,
    },
    /// The first instance of a study was stored on an association.
    TransferBegan {
        /// The sender.
        peer: AuditPeer,
        /// The study.
        study: AuditStudy,
    },
    /// Instances of a study were stored, up to the end of the association.
    Transferred {
        /// The sender.
        peer: AuditPeer,
        /// The study, with its instances by SOP class.
        study: AuditStudy,
        /// Instances that the association was refused, of any study.
        refused: u64,
    },
    /// A peer was denied access.
    Denied {
        /// The identity that the peer claims.
        peer: AuditPeer,
        /// The reason.
        denial: Denial,
    },
}

/// The peer of an association. Its strings are not trusted.
#[derive(Clone, Debug)]
pub struct AuditPeer {
    /// The address.
    pub address: SocketAddr,
    /// The calling AE title; empty before the A-ASSOCIATE-RQ.
    pub calling_ae_title: String,
    /// The subject of the peer's certificate; empty without one.
    pub certificate: String,
}

/// Instances of one study. The values are those of the datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStudy {
    /// Study Instance UID.
    pub uid: String,
    /// Patient ID.
    pub patient_id: String,
    /// SOP Class UIDs, each with its number of stored instances.
    pub sop_classes: Vec<(String, u64)>,
}

/// The reason to deny a peer access.
#[derive(Clone, Debug)]
pub enum Denial {
    /// The TLS handshake failed, with this error.
    TlsHandshake(String),
    /// No access rule allows the peer. The rule that denies it, by name.
    Access(Option<String>),
    /// Its user identity is missing or wrong.
    UserIdentity,
    /// The balancer sent no PROXY header.
    NoProxyHeader,
}

impl Denial {
    /// The name in logs and in the metric of denials.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TlsHandshake(_) => "tls_handshake",
            Self::Access(_) => "access",
            Self::UserIdentity => "user_identity",
            Self::NoProxyHeader => "no_proxy_header",
        }
    }
}

/// The queue of audit records.
#[derive(Debug)]
pub struct AuditTrail {
    sender: Sender<AuditRecord>,
    receiver: Receiver<AuditRecord>,
    arrived: Notify,
    in_hand: AtomicBool,
    /// Records lost because the queue was full.
    pub dropped: Counter,
}

impl AuditTrail {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let (sender, receiver) = bounded(capacity);
        Arc::new(Self { sender, receiver, arrived: Notify::new(), in_hand: false.into(), dropped: Counter::default() })
    }

    /// Queues an event with the present time, if there is room.
    pub(crate) fn record(&self, event: AuditEvent) {
        match self.sender.try_send(AuditRecord { at: SystemTime::now(), event }) {
            Ok(()) => self.arrived.notify_one(),
            Err(_) => self.dropped.increment(),
        }
    }

    /// The next record, for the service that writes it. The call says that the record before is written.
    pub async fn next(&self) -> AuditRecord {
        self.in_hand.store(false, Ordering::Release);
        loop {
            // Set before the look: otherwise `is_done` could see an empty queue while a record passes between both.
            self.in_hand.store(true, Ordering::Release);
            if let Ok(record) = self.receiver.try_recv() {
                return record;
            }
            self.in_hand.store(false, Ordering::Release);
            self.arrived.notified().await;
        }
    }

    /// Whether every record is written.
    pub(crate) fn is_done(&self) -> bool {
        self.receiver.is_empty() && !self.in_hand.load(Ordering::Acquire)
    }
}

/// The elements to be read of each dataset: `wanted`, and those that audit messages name.
pub(crate) fn widened(wanted: &[Tag]) -> Arc<[Tag]> {
    let mut wanted = wanted.to_vec();
    wanted.extend([SPECIFIC_CHARACTER_SET, PATIENT_ID, STUDY_INSTANCE_UID]);
    wanted.sort_unstable();
    wanted.dedup();
    wanted.into()
}

/// The instances that an association has stored, by study, until they are reported.
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

    /// Reports all studies, at the end of the association.
    pub(crate) fn report(&mut self, peer: &AuditPeer, refused: u64, trail: &AuditTrail) {
        for study in self.0.drain(..) {
            trail.record(AuditEvent::Transferred { peer: peer.clone(), study, refused });
        }
    }
}

/// A value without padding, decoded by a Specific Character Set (PS3.3 §C.12.1.1.2). Where that is unknown or cannot decode the value, the
/// ASCII part of it. Of several character sets (code extensions) the first that is not the default one decides.
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
