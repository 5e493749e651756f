//! From a reader of the catalogue to an answer.

use serde::{Deserialize, Serialize};
use tidegate_actors::event_id;
use tidegate_catalogue::{Error, EventKind, Reader};

use super::model::{DEFAULT_LIMIT, MAX_LIMIT, OwedEvents, PastEventLine, PastEvents, Sinks};
use crate::admin::look_error::{LookError, SearchError};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PastSearch {
    /// From behind this one, by its `id` or its number; negative: so many of the last ones, of the type if there is one.
    pub(crate) after: Option<String>,
    /// Only of this type.
    pub(crate) r#type: Option<String>,
    pub(crate) limit: Option<u32>,
}

/// The `after` of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Last(u32),
    /// The catalogue is named in the `id` of an event.
    Behind(Option<String>, i64),
}

impl Place {
    fn parse(text: &str) -> Result<Self, SearchError> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| SearchError::Event);
        match text.rsplit_once('-') {
            None => Ok(Self::Behind(None, number(text)?.into())),
            Some(("", last)) => Ok(Self::Last(number(last)?)),
            Some((catalogue, event)) => Ok(Self::Behind(Some(catalogue.to_owned()), number(event)?.into())),
        }
    }
}

impl PastSearch {
    /// What the search wants, if it can be read.
    fn wants(&self) -> Result<(Option<Place>, Option<EventKind>), SearchError> {
        let place = self.after.as_deref().map(Place::parse).transpose()?;
        let kind = self.r#type.as_deref().map(|name| EventKind::named(name).ok_or(SearchError::EventType));
        Ok((place, kind.transpose()?))
    }

    /// # Errors
    /// It cannot be read.
    pub(crate) fn check(&self) -> Result<(), SearchError> {
        self.wants().map(drop)
    }
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
pub(crate) fn past(reader: &mut Reader, search: &PastSearch) -> Result<PastEvents, LookError> {
    let (place, kind) = search.wants()?;
    let (generation, last) = (reader.generation()?, reader.last_event()?);
    let (mut is_anew, mut is_beyond) = (false, false);
    let (after, is_behind) = match place {
        None => (0, false),
        Some(Place::Last(count)) => (reader.before_last_events(count, kind)?, false),
        Some(Place::Behind(catalogue, event)) => {
            is_anew = catalogue.is_some_and(|named| named != generation.to_string());
            // A mistake, or a catalogue that was put back from a copy: events that the client lacks may have any number.
            is_beyond = !is_anew && event > last;
            (if is_anew || is_beyond { 0 } else { event }, true)
        }
    };
    let limit = limit(search.limit);
    let page = reader.events(after, kind, limit)?;
    // The numbers have no holes but those of events that are not kept.
    let missed = if is_behind { (page.last - after).unsigned_abs() - page.looked_at } else { 0 };
    Ok(PastEvents {
        events: page.events.into_iter().map(|event| PastEventLine::of(generation, event)).collect(),
        last: event_id(generation, page.last),
        missed,
        is_anew,
        beyond: is_beyond.then_some(last),
        has_more: page.has_more,
        source: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_id_or_a_number_or_a_count() {
        for (text, place) in [
            ("17", Ok(Place::Behind(None, 17))),
            ("7a1c0f3e5b2d9846-17", Ok(Place::Behind(Some("7a1c0f3e5b2d9846".to_owned()), 17))),
            ("-0", Ok(Place::Last(0))),
            ("-10", Ok(Place::Last(10))),
            ("", Err(SearchError::Event)),
            ("-", Err(SearchError::Event)),
            ("x", Err(SearchError::Event)),
            ("1-", Err(SearchError::Event)),
            ("99999999999999999999", Err(SearchError::Event)),
        ] {
            assert_eq!(Place::parse(text), place, "{text}");
        }
    }
}
