//! From a reader of the catalogue to an answer.

use std::time::SystemTime;

use tidegate_catalogue::{Error, PackedUid, Reader};

use super::model::{Instance, Instances, Studies, StudyDetail};
use super::search::{SearchError, StudySearch};

/// Files of one instance that are listed.
const MAX_FILES: u32 = 1000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Catalogue(#[from] Error),
}

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
    Ok((!instances.is_empty()).then_some(Instances { instances, catalogue: None }))
}
