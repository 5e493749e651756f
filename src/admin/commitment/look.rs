//! From a reader of the requests to an answer.

use tidegate_commitment::{Error, Page, Reader};

use super::model::{CommitmentDetail, Commitments, NotCommitted};
use super::search::{CommitmentSearch, SearchError};

/// Instances of one request that are named.
const MAX_NAMED: usize = 1000;
/// References of a request that are read at a time.
const READ: u32 = 5000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Record(#[from] Error),
}

/// A page of requests.
pub(crate) fn page(reader: &mut Reader, search: &CommitmentSearch) -> Result<Commitments, LookError> {
    let page = search.read()?;
    let limit = page.limit as usize;
    let mut found = reader.list(Page { limit: page.limit + 1, ..page })?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().map(|last| last.id).filter(|_| has_more);
    Ok(Commitments { commitments: found.into_iter().map(Into::into).collect(), next })
}

/// The request of that number.
pub(crate) fn one(reader: &mut Reader, id: i64) -> Result<Option<CommitmentDetail>, LookError> {
    let Some(request) = reader.request(id)? else { return Ok(None) };
    let wanted = (request.refused as usize).min(MAX_NAMED);
    let mut not_committed = Vec::new();
    let mut from = 0;
    while not_committed.len() < wanted {
        let read = reader.references(id, from, READ)?;
        let Some(last) = read.last() else { break };
        from = last.position + 1;
        not_committed.extend(read.iter().filter_map(NotCommitted::of));
    }
    not_committed.truncate(wanted);
    Ok(Some(CommitmentDetail { commitment: request.into(), not_committed }))
}
