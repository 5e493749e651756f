//! The questions to the record of a running node, and the retry of a report.

use std::path::PathBuf;

use tidegate_actors::gauges::audit::{AuditQuery, Operation, Operator};
use tidegate_actors::{CommitmentCondition, Observer};
use tidegate_commitment::{Reader, Remedy, Retried};

use super::look::{self, LookError};
use super::model::{CommitmentDetail, Commitments};
use super::search::CommitmentSearch;
use crate::admin::queries::{Queries, QueryError};

/// The questions of a surface. A reader is opened for a question, and closed after it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Requests {
    observer: Observer,
    queries: Queries,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::admin) enum RequestError {
    #[error(
        "there is no storage commitment without the catalogue: set [catalogue] path = \"auto\" and start the node again"
    )]
    Off,
    #[error("the record of commitment requests is unavailable: {reason}; {remedy}")]
    Unavailable { reason: String, remedy: String },
    #[error("the request is not retried: {0}")]
    NotRetried(String),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("{source}{}", advice(.source))]
    Look {
        #[from]
        source: LookError,
    },
}

/// What the reader of an error can do, where its text does not say it.
fn advice(error: &LookError) -> &'static str {
    match error {
        LookError::Record(error) if error.remedy() == Remedy::Retry => ": try again",
        LookError::Record(_) | LookError::Search(_) => "",
    }
}

impl Requests {
    pub(in crate::admin) fn new(observer: Observer, queries: Queries) -> Self {
        Self { observer, queries }
    }

    /// A page of requests.
    pub(in crate::admin) async fn page(
        &self,
        search: CommitmentSearch,
        by: &Operator,
    ) -> Result<Commitments, RequestError> {
        let path = self.readable()?;
        self.audit("/api/commitments".to_owned(), search.conditions(), by);
        self.ask(path, move |reader| look::page(reader, &search)).await
    }

    /// The request of that number, if there is one.
    pub(in crate::admin) async fn one(&self, id: i64, by: &Operator) -> Result<Option<CommitmentDetail>, RequestError> {
        let path = self.readable()?;
        self.audit(format!("/api/commitments/{id}"), String::new(), by);
        self.ask(path, move |reader| look::one(reader, id)).await
    }

    /// Has it reported now, and returns it as it is then.
    pub(in crate::admin) async fn retry(
        &self,
        id: i64,
        by: &Operator,
    ) -> Result<Option<CommitmentDetail>, RequestError> {
        let path = self.readable()?;
        let retried = self.observer.retry_commitment(id).await.ok_or(RequestError::Off)?;
        if retried.map_err(RequestError::NotRetried)? == Retried::Unknown {
            return Ok(None);
        }
        self.observer.record_operation(Operation::RetryCommitment(id), by);
        self.ask(path, move |reader| look::one(reader, id)).await
    }

    /// Each question is audited, whatever its answer is.
    fn audit(&self, uri: String, conditions: String, by: &Operator) {
        self.observer.record_query(AuditQuery { uri, study: None, conditions }, by);
    }

    async fn ask<T: Send + 'static>(
        &self,
        path: PathBuf,
        question: impl FnOnce(&mut Reader) -> Result<T, LookError> + Send + 'static,
    ) -> Result<T, RequestError> {
        Ok(self.queries.run(move || question(&mut Reader::open(&path).map_err(LookError::from)?)).await??)
    }

    /// The file, if it can be read now.
    fn readable(&self) -> Result<PathBuf, RequestError> {
        let path = self.observer.commitment_record();
        match self.observer.commitment().map(|state| state.condition) {
            Some(CommitmentCondition::Serving | CommitmentCondition::Off) => Ok(path),
            Some(CommitmentCondition::Unavailable { reason, remedy }) => {
                Err(RequestError::Unavailable { reason, remedy })
            }
            // Requests may have been accepted before the catalogue was switched off.
            None if path.is_file() => Ok(path),
            None => Err(RequestError::Off),
        }
    }
}
