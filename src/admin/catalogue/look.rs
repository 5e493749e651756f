//! From a reader of the catalogue to an answer.

use std::time::SystemTime;

use tidegate_catalogue::{PackedUid, Reader, StudyRow};

use super::instance::{Instance, Instances};
use super::model::{Studies, Study, StudyDetail};
use super::search::StudySearch;
use crate::admin::look_error::LookError;
use crate::admin::time::rfc3339;

/// Files of one instance that are listed.
const MAX_FILES: u32 = 1000;

/// A page of the studies that fit.
pub(crate) fn studies(reader: &mut Reader, search: &StudySearch) -> Result<Studies, LookError> {
    let (search, after, limit) = search.read(SystemTime::now())?;
    let page = reader.studies(&search, after, limit)?;
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Studies { studies: page.studies.into_iter().map(Into::into).collect(), next, catalogue: None })
}

/// The study with that UID.
pub(crate) fn study(reader: &mut Reader, uid: &str) -> Result<Option<StudyDetail>, LookError> {
    let Some(found) = reader.study(uid)? else { return Ok(None) };
    let deliveries = reader.study_deliveries(uid)?.into_iter().map(Into::into).collect();
    Ok(Some(StudyDetail { deliveries, ..found.into() }))
}

/// The files of the instance with that UID, if there are any.
pub(crate) fn instances(reader: &mut Reader, uid: &str) -> Result<Option<Instances>, LookError> {
    // What is no UID is stored nowhere.
    let Ok(uid) = uid.parse::<PackedUid>() else { return Ok(None) };
    let instances: Vec<_> = reader.instances(&uid, MAX_FILES)?.into_iter().map(Instance::from).collect();
    if instances.is_empty() {
        return Ok(None);
    }
    let destinations = reader.destinations()?.into_iter().map(|row| row.name).collect();
    Ok(Some(Instances { instances, destinations, catalogue: None }))
}

impl From<StudyRow> for Study {
    fn from(row: StudyRow) -> Self {
        Self {
            study_instance_uid: row.values.uid,
            patient_id: row.values.patient_id,
            patient_name: row.values.patient_name,
            patient_birth_date: row.values.patient_birth_date,
            accession_number: row.values.accession_number,
            study_date: row.values.study_date,
            description: row.values.description,
            modalities: row.modalities,
            calling_ae_titles: row.calling_ae_titles,
            series: row.series,
            files: row.instances,
            bytes: row.bytes,
            gone: row.gone,
            released: row.released,
            first_received: rfc3339(row.first_ms),
            last_received: rfc3339(row.last_ms),
            deliveries: row.deliveries.map(Into::into),
            completeness: row.wholeness.name().to_owned(),
            completed: row.completed_ms.map(rfc3339),
        }
    }
}
