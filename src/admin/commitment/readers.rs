//! The questions to the record of a running node, and the retry of a report.

use std::path::PathBuf;

use tidegate_actors::gauges::audit::{AuditQuery, Operation, Operator};
use tidegate_actors::{CommitmentCondition, Observer};
use tidegate_commitment::{Reader, Retried};

use super::look;
use super::model::{CommitmentDetail, Commitments};
use super::search::CommitmentSearch;
use crate::admin::look_error::{LookError, ReadError};
use crate::admin::queries::{Queries, opened};

/// The questions of a surface. A reader is opened for a question, and closed after it.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Requests {
    observer: Observer,
    queries: Queries,
}

const OFF: ReadError = ReadError::Off { what: "there is no storage commitment without the catalogue" };

impl Requests {
    pub(in crate::admin) fn new(observer: Observer, queries: Queries) -> Self {
        Self { observer, queries }
    }

    /// A page of requests.
    pub(in crate::admin) async fn page(
        &self,
        search: CommitmentSearch,
        by: &Operator,
    ) -> Result<Commitments, ReadError> {
        let path = self.path()?;
        self.audit("/api/commitments".to_owned(), search.conditions(), by);
        self.ask(path, move |reader| look::page(reader, &search)).await
    }

    /// The request of that number, if there is one.
    pub(in crate::admin) async fn one(&self, id: i64, by: &Operator) -> Result<Option<CommitmentDetail>, ReadError> {
        let path = self.path()?;
        self.audit(format!("/api/commitments/{id}"), String::new(), by);
        self.ask(path, move |reader| look::one(reader, id)).await
    }

    /// Has it reported now, and returns it as it is then.
    pub(in crate::admin) async fn retry(&self, id: i64, by: &Operator) -> Result<Option<CommitmentDetail>, ReadError> {
        let path = self.path()?;
        let retried = self.observer.retry_commitment(id).await.ok_or(OFF)?;
        if retried.map_err(ReadError::NotRetried)? == Retried::Unknown {
            return Ok(None);
        }
        self.observer.record_operation(Operation::RetryCommitment(id), by);
        self.ask(path, move |reader| look::one(reader, id)).await
    }

    /// Each question is audited, whatever its answer is.
    fn audit(&self, uri: String, conditions: String, by: &Operator) {
        self.observer.record_query(AuditQuery { uri, study: None, conditions }, by);
    }

    /// A file that cannot be written may well be read.
    async fn ask<T: Send + 'static>(
        &self,
        path: PathBuf,
        question: impl FnOnce(&mut Reader) -> Result<T, LookError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let condition = || self.observer.commitment().map(|state| state.condition);
        let is_serving = condition() == Some(CommitmentCondition::Serving);
        let open = move || Reader::open(&path);
        let answer = self.queries.run(move || question(&mut opened(is_serving, open)?)).await?;
        match (answer, condition()) {
            (Err(LookError::File(_)), Some(CommitmentCondition::Unavailable { reason, remedy })) => {
                Err(ReadError::Unavailable { name: "record of commitment requests", reason, remedy })
            }
            (answer, _) => Ok(answer?),
        }
    }

    fn path(&self) -> Result<PathBuf, ReadError> {
        let path = self.observer.commitment_record();
        // Requests may have been accepted before the catalogue was switched off.
        if self.observer.commitment().is_some() || path.is_file() { Ok(path) } else { Err(OFF) }
    }
}
