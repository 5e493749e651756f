//! The readers of a surface. Each is opened for a question and closed after it, on a thread that may block: a node that nobody asks holds
//! nothing.

use std::path::PathBuf;

use tidegate_actors::gauges::audit::{AuditQuery, Operator};
use tidegate_actors::{CatalogueRequest, Observer};
use tidegate_catalogue::{Reader, Remedy};

use super::instance::Instances;
use super::look;
use super::model::{CatalogueCondition, CatalogueState, Studies, StudyDetail, WorkAsked};
use super::search::{MAX_AUDITED, StudySearch};
use super::state::{self, CatalogueWork};
use crate::admin::look_error::{LookError, ReadError};
use crate::admin::queries::{Queries, opened};

/// The readers of a surface.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Readers {
    observer: Observer,
    queries: Queries,
}

const OFF: ReadError = ReadError::Off { what: "the catalogue is off" };

impl Readers {
    pub(in crate::admin) fn new(observer: Observer, queries: Queries) -> Self {
        Self { observer, queries }
    }

    /// The state of the catalogue.
    pub(in crate::admin) fn state(&self) -> Result<CatalogueState, ReadError> {
        state::of(&self.observer).ok_or(OFF)
    }

    /// Starts work on the whole catalogue.
    pub(in crate::admin) fn start(&self, work: CatalogueWork, by: &Operator) -> Result<WorkAsked, ReadError> {
        state::start(&self.observer, work, by).ok_or(OFF)
    }

    /// A page of the studies that fit.
    pub(in crate::admin) async fn studies(&self, search: StudySearch, by: &Operator) -> Result<Studies, ReadError> {
        let state = self.state()?.without_names();
        self.audit("/api/studies", None, search.conditions(), by);
        let studies = self.ask(&state, move |reader| look::studies(reader, &search)).await?;
        Ok(Studies { catalogue: Some(state), ..studies })
    }

    /// The study with that UID.
    pub(in crate::admin) async fn study(&self, uid: String, by: &Operator) -> Result<Option<StudyDetail>, ReadError> {
        let state = self.state()?.without_names();
        let asked = uid.chars().take(MAX_AUDITED).collect::<String>();
        self.audit(&format!("/api/studies/{asked}"), Some(asked), String::new(), by);
        let study = self.ask(&state, move |reader| look::study(reader, &uid)).await?;
        Ok(study.map(|study| StudyDetail { catalogue: Some(state), ..study }))
    }

    /// The files of the instance with that UID.
    pub(in crate::admin) async fn instances(&self, uid: String, by: &Operator) -> Result<Option<Instances>, ReadError> {
        let state = self.state()?.without_names();
        let asked = uid.chars().take(MAX_AUDITED).collect::<String>();
        self.audit(&format!("/api/instances/{asked}"), None, String::new(), by);
        let instances = self.ask(&state, move |reader| look::instances(reader, &uid)).await?;
        Ok(instances.map(|instances| Instances { catalogue: Some(state), ..instances }))
    }

    /// Each question is audited, whatever its answer is.
    fn audit(&self, uri: &str, study: Option<String>, conditions: String, by: &Operator) {
        self.observer.record_query(AuditQuery { uri: uri.to_owned(), study, conditions }, by);
    }

    /// Asks the file, as far as it can be read in that state.
    pub(in crate::admin) async fn ask<T: Send + 'static>(
        &self,
        state: &CatalogueState,
        question: impl FnOnce(&mut Reader) -> Result<T, LookError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let path = readable(state)?;
        let is_starting = state.condition == CatalogueCondition::CatchingUp;
        let open = move || Reader::open(&path);
        let asked = self.queries.run(move || question(&mut opened(is_starting, open)?));
        let answer = asked.await?;
        if let Err(LookError::File(error)) = &answer
            && matches!(error.remedy(), Remedy::SetAside | Remedy::Reopen)
        {
            // The writer of a node at rest holds pages, and would not meet it.
            self.observer.ask_catalogue(CatalogueRequest::Check);
        }
        Ok(answer?)
    }
}

/// The file, if it can be read now.
fn readable(state: &CatalogueState) -> Result<PathBuf, ReadError> {
    match state.condition {
        // One that is behind or rebuilt has a part of the truth, and the answer says so.
        CatalogueCondition::Current
        | CatalogueCondition::CatchingUp
        | CatalogueCondition::Behind
        | CatalogueCondition::Rebuilding => Ok(PathBuf::from(&state.path)),
        CatalogueCondition::Unavailable => Err(ReadError::Unavailable {
            name: "catalogue",
            reason: state.reason.clone().unwrap_or_default(),
            remedy: state.remedy.clone().unwrap_or_default(),
        }),
    }
}
