//! From a reader of the catalogue to an answer.

use serde::{Deserialize, Serialize};
use tidegate_catalogue::{Error, Reader};

use super::model::{DEFAULT_LIMIT, MAX_LIMIT, OwedEvents, PastEvents, Sinks};

/// A page of events that are owed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OwedSearch {
    /// Only to this sink.
    pub(crate) sink: Option<String>,
    /// Only dead ones.
    pub(crate) dead: bool,
    /// The `next` of the page before.
    pub(crate) after: i64,
    pub(crate) limit: Option<u32>,
}

/// A page of events, owed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PastSearch {
    /// From behind this one; negative: so many of the last ones.
    pub(crate) after: i64,
    pub(crate) limit: Option<u32>,
}

fn limit(limit: Option<u32>) -> u32 {
    limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT)
}

/// The sinks that the catalogue knows.
pub(crate) fn sinks(reader: &mut Reader) -> Result<Sinks, Error> {
    Ok(Sinks { sinks: reader.sinks()?.into_iter().map(Into::into).collect() })
}

/// Events that are owed.
pub(crate) fn owed(reader: &mut Reader, search: &OwedSearch) -> Result<OwedEvents, Error> {
    let limit = limit(search.limit);
    let rows = reader.owed_events(search.sink.as_deref(), search.dead, search.after, limit)?;
    let next = rows.last().filter(|_| rows.len() >= limit as usize).map(|row| row.event.event);
    Ok(OwedEvents { events: rows.into_iter().map(Into::into).collect(), next })
}

/// Events, owed or not.
pub(crate) fn past(reader: &mut Reader, search: PastSearch) -> Result<PastEvents, Error> {
    let last = reader.last_event()?;
    let after = if search.after < 0 { (last + search.after).max(0) } else { search.after };
    let events = reader.events(after, limit(search.limit))?;
    let last = events.last().map_or(after, |event| event.event);
    Ok(PastEvents { events: events.into_iter().map(Into::into).collect(), last })
}
