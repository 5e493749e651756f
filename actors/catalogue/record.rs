//! What an event says of an instance.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_catalogue::{Origin, Record, SeriesValues, StudyValues};

use crate::committed::Committed;

/// The record of a committed instance.
pub(crate) fn of_event(event: &Committed<'_>) -> Option<Record> {
    let Committed { origin, instance, stored } = event;
    let text = |tag| {
        let value = std::str::from_utf8(instance.head.value(tag)?).ok()?;
        Some(value.trim_matches(['\0', ' ']).to_owned())
    };
    let study = StudyValues {
        uid: text(dicom_core::Tag(0x0020, 0x000D)).unwrap_or_default(),
        patient_id: text(dicom_core::Tag(0x0010, 0x0020)),
        ..StudyValues::default()
    };
    let series = SeriesValues {
        uid: text(dicom_core::Tag(0x0020, 0x000E)).unwrap_or_default(),
        modality: text(dicom_core::Tag(0x0008, 0x0060)),
        ..SeriesValues::default()
    };
    Some(Record {
        path: stored.path.clone(),
        sop_instance_uid: instance.meta.sop_instance_uid.as_str().parse().ok()?,
        sop_class_uid: instance.meta.sop_class_uid.as_str().to_owned(),
        transfer_syntax_uid: instance.meta.transfer_syntax_uid.clone(),
        study,
        series,
        instance_number: None,
        bytes: instance.dataset_bytes() + instance.meta.encode().len() as u64,
        digest: u128::from_str_radix(&instance.digest().to_string(), 16).ok(),
        received_ms: now_ms(),
        modified_ns: None,
        origin: Some(Arc::new(Origin {
            calling_ae_title: origin.calling_ae_title.clone(),
            address: origin.peer.ip().to_string(),
            rule: origin.rule.clone().unwrap_or_default(),
            destinations: Vec::new(),
            association: origin.association as u32,
        })),
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
