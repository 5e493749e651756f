//! The record of an instance: from the event of its commit, or from its file.

use std::path::PathBuf;
use std::sync::Arc;

use dicom_core::Tag;
use tidegate_catalogue::receipt::{OriginKey, Receipt};
use tidegate_catalogue::{Origin, PackedUid, Record, SeriesValues, StudyValues, ToldNumbers};
use tidegate_storage::Outcome;
use tidegate_storage::digest::Recorded;
use tidegate_storage::head::Head;
use tidegate_storage::survey::Surveyed;

use crate::committed::{Committed, clock_ms};
use crate::elements::{
    ACCESSION_NUMBER, IMAGES_IN_ACQUISITION, INSTANCE_NUMBER, MODALITY, NUMBER_OF_SERIES_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_INSTANCES, PATIENT_BIRTH_DATE, PATIENT_ID, PATIENT_NAME, SERIES_DESCRIPTION,
    SERIES_INSTANCE_UID, SERIES_NUMBER, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET, STUDY_DATE, STUDY_DESCRIPTION,
    STUDY_INSTANCE_UID, text,
};

/// What an event says of an instance. It is made on the thread of a writer, so nothing is decoded in it.
#[derive(Debug)]
pub(crate) struct Noted {
    path: PathBuf,
    sop_instance_uid: PackedUid,
    sop_class_uid: String,
    transfer_syntax_uid: String,
    head: Head,
    bytes: u64,
    digest: u128,
    received_ms: i64,
    origin: Arc<Origin>,
}

impl Noted {
    /// `None` for an instance that was stored before: its file has a digest and a receipt of its own, and must be read if it is not known.
    pub(crate) fn of(event: &Committed<'_>) -> Option<Self> {
        let Committed { origin, instance, stored } = event;
        if stored.outcome == Outcome::Identical {
            return None;
        }
        let meta = &instance.meta;
        let receipt = instance.receipt().and_then(|receipt| Receipt::decode(receipt).ok());
        Some(Self {
            path: stored.path.clone(),
            // No other UID is stored.
            sop_instance_uid: meta.sop_instance_uid.as_str().parse().ok()?,
            sop_class_uid: meta.sop_class_uid.as_str().to_owned(),
            transfer_syntax_uid: meta.transfer_syntax_uid.clone(),
            head: instance.head.clone(),
            bytes: instance.file_bytes(),
            digest: instance.digest().value(),
            received_ms: receipt.map_or_else(clock_ms, |receipt| receipt.received_ms as i64),
            origin: origin.catalogued(),
        })
    }

    /// Bytes of memory that it takes, without what it shares with others.
    pub(crate) fn memory_bytes(&self) -> usize {
        let texts = self.path.capacity() + self.sop_class_uid.capacity() + self.transfer_syntax_uid.capacity();
        size_of::<Self>() + texts + self.sop_instance_uid.memory_bytes() + self.head.memory_bytes()
    }

    /// The record.
    pub(crate) fn record(self, decoded: &mut Decoded) -> Record {
        let (instance_number, told) = (number(&self.head), told(&self.head));
        let (study, series) = decoded.values(&self.origin, self.head);
        Record {
            path: self.path,
            sop_instance_uid: self.sop_instance_uid,
            sop_class_uid: self.sop_class_uid,
            transfer_syntax_uid: self.transfer_syntax_uid,
            study,
            series,
            instance_number,
            told,
            bytes: self.bytes,
            digest: Some(self.digest),
            received_ms: self.received_ms,
            modified_ns: None,
            origin: Some(self.origin),
        }
    }
}

/// What an instance has for itself of the elements that the node reads.
const OF_ONE: [Tag; 5] = [
    SOP_INSTANCE_UID,
    INSTANCE_NUMBER,
    IMAGES_IN_ACQUISITION,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_SERIES_RELATED_INSTANCES,
];

/// Associations of which the last head is kept: as many as usually send at a time.
const MAX_HEADS: usize = 16;

/// The last head of each association of a batch, with its study and series: they are decoded once for all instances that have the same values.
#[derive(Default)]
pub(crate) struct Decoded(Vec<(Arc<Origin>, Head, StudyValues, SeriesValues)>);

impl Decoded {
    fn values(&mut self, origin: &Arc<Origin>, head: Head) -> (StudyValues, SeriesValues) {
        let last = self.0.iter().position(|(of, ..)| Arc::ptr_eq(of, origin));
        if let Some((_, last, study, series)) = last.and_then(|at| self.0.get(at))
            && head.agrees_but_for(&OF_ONE, last)
        {
            return (study.clone(), series.clone());
        }
        let (study, series) = values(&head);
        let values = (Arc::clone(origin), head, study.clone(), series.clone());
        match last {
            Some(at) => self.0[at] = values,
            None if self.0.len() < MAX_HEADS => self.0.push(values),
            None => self.0 = vec![values],
        }
        (study, series)
    }
}

/// The record of a file. `origin_of` knows the list of origins, and `assumed` the destinations of a file without a
/// receipt that a node has stored. `None`: its UID is none that the storage takes.
pub(crate) fn of_file(
    path: PathBuf,
    file: Surveyed,
    origin_of: impl FnOnce(OriginKey, u32) -> Option<Arc<Origin>>,
    assumed: &dyn Fn(&str, &str) -> Arc<[String]>,
) -> Option<Record> {
    let Surveyed { meta, is_own, head, bytes, modified_ns, changed_ns, recorded } = file;
    let receipt = recorded.and_then(|recorded| recorded.receipt);
    let receipt = receipt.and_then(|receipt| Receipt::decode(&receipt).ok());
    let origin = receipt.and_then(|receipt| origin_of(receipt.origin, receipt.association));
    let by_title = || {
        let calling_ae_title = Some(meta.sending_ae_title).filter(|title| !title.is_empty())?;
        // A file that somebody has put there was not received.
        let destinations =
            if is_own { assumed(&calling_ae_title, meta.sop_class_uid.as_str()).to_vec() } else { Vec::new() };
        Some(Arc::new(Origin { calling_ae_title, destinations, ..Origin::default() }))
    };
    let (study, series) = values(&head);
    Some(Record {
        path,
        sop_instance_uid: meta.sop_instance_uid.as_str().parse().ok()?,
        sop_class_uid: meta.sop_class_uid.as_str().to_owned(),
        transfer_syntax_uid: meta.transfer_syntax_uid,
        study,
        series,
        instance_number: number(&head),
        told: told(&head),
        bytes,
        digest: recorded.map(|Recorded { digest, .. }| digest.value()),
        received_ms: received_ms(receipt.as_ref(), modified_ns, changed_ns),
        modified_ns: Some(modified_ns),
        // A file without a receipt says no more of its sender than its file meta does.
        origin: origin.or_else(by_title),
    })
}

/// When a file was received. Its receipt or its own time may be of a clock that was wrong: nothing is received in the future, and the inode's time of
/// change can be set by no program.
fn received_ms(receipt: Option<&Receipt>, modified_ns: i64, changed_ns: i64) -> i64 {
    let [modified_ms, changed_ms] = [modified_ns, changed_ns].map(|ns| ns.div_euclid(1_000_000));
    let received_ms = receipt.map_or(modified_ms, |receipt| receipt.received_ms as i64);
    let now_ms = clock_ms();
    if received_ms <= now_ms { received_ms } else { changed_ms.min(now_ms) }
}

/// The Instance Number.
fn number(head: &Head) -> Option<i64> {
    head.value(INSTANCE_NUMBER).and_then(integer)
}

/// Most instances of a study that a told number may say: more is a mistake.
const MOST_TOLD: i64 = 10_000_000;

/// How many instances there are, by this one. 0 tells nothing.
fn told(head: &Head) -> ToldNumbers {
    let number = |tag: Tag| head.value(tag).and_then(integer).filter(|number| (1..=MOST_TOLD).contains(number));
    ToldNumbers {
        study: number(NUMBER_OF_STUDY_RELATED_INSTANCES),
        series: number(NUMBER_OF_SERIES_RELATED_INSTANCES),
        acquisition: number(IMAGES_IN_ACQUISITION),
    }
}

/// What a head says of study and series.
fn values(head: &Head) -> (StudyValues, SeriesValues) {
    let character_set = head.value(SPECIFIC_CHARACTER_SET).unwrap_or_default();
    let plain = |tag: Tag| head.value(tag).map(|value| text(value, b""));
    let decoded = |tag: Tag| head.value(tag).map(|value| text(value, character_set));
    let study = StudyValues {
        uid: plain(STUDY_INSTANCE_UID).unwrap_or_default(),
        patient_id: decoded(PATIENT_ID),
        patient_name: decoded(PATIENT_NAME),
        patient_birth_date: plain(PATIENT_BIRTH_DATE),
        accession_number: decoded(ACCESSION_NUMBER),
        study_date: plain(STUDY_DATE),
        description: decoded(STUDY_DESCRIPTION),
    };
    let series = SeriesValues {
        uid: plain(SERIES_INSTANCE_UID).unwrap_or_default(),
        modality: plain(MODALITY),
        number: head.value(SERIES_NUMBER).and_then(integer),
        description: decoded(SERIES_DESCRIPTION),
    };
    (study, series)
}

/// An Integer String (PS3.5 §6.2). Of several values the first counts.
fn integer(value: &[u8]) -> Option<i64> {
    let first = value.split(|byte| *byte == b'\\').next()?;
    std::str::from_utf8(first).ok()?.trim().parse().ok()
}
