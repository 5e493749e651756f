//! The conditions of a search, as people write them: parameters of a request, and flags of a command.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidegate_catalogue::{Cursor, Search};

use crate::admin::look_error::SearchError;

/// Seconds of a day.
const DAY_S: u64 = 86_400;
/// Studies of a page that is asked for without a number.
pub(crate) const DEFAULT_LIMIT: u32 = 50;
/// Studies of a page at most: an answer stays below a few hundred KiB.
pub(crate) const MAX_LIMIT: u32 = 500;

/// Characters of a condition that the audit has.
pub(crate) const MAX_AUDITED: usize = 128;

/// A search. What is absent or empty is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StudySearch {
    pub(crate) text: Option<String>,
    pub(crate) patient: Option<String>,
    pub(crate) accession: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) date_from: Option<String>,
    pub(crate) date_to: Option<String>,
    pub(crate) undelivered: Option<bool>,
    /// `open` or `complete`.
    pub(crate) completeness: Option<String>,
    pub(crate) limit: Option<u32>,
    pub(crate) after: Option<String>,
}

impl StudySearch {
    /// Its conditions for the audit, as a query string has them, and as they were given.
    pub(crate) fn conditions(&self) -> String {
        let undelivered = self.undelivered.filter(|is_asked| *is_asked).map(|_| "true".to_owned());
        let conditions = [
            ("text", &self.text),
            ("patient", &self.patient),
            ("accession", &self.accession),
            ("source", &self.source),
            ("since", &self.since),
            ("until", &self.until),
            ("date_from", &self.date_from),
            ("date_to", &self.date_to),
            ("undelivered", &undelivered),
            ("completeness", &self.completeness),
            ("after", &self.after),
        ];
        let given = conditions.into_iter().filter_map(|(name, value)| Some((name, given(value)?)));
        let shown =
            given.map(|(name, value)| format!("{name}={}", value.chars().take(MAX_AUDITED).collect::<String>()));
        shown.collect::<Vec<_>>().join("&")
    }

    /// The search, the place where its page begins, and the size of the page.
    pub(crate) fn read(&self, now: SystemTime) -> Result<(Search, Option<Cursor>, usize), SearchError> {
        let date_from =
            given(&self.date_from).map(|text| day(text).ok_or(SearchError::Day("date_from"))).transpose()?;
        let date_to = given(&self.date_to).map(|text| day(text).ok_or(SearchError::Day("date_to"))).transpose()?;
        let study_date = match (date_from, date_to) {
            (None, None) => None,
            (from, to) => Some((from.unwrap_or_default(), to.unwrap_or_else(|| "99991231".to_owned()))),
        };
        let moment_of =
            |text, name| given(text).map(|text| moment(text, now).ok_or(SearchError::Moment(name))).transpose();
        let completeness = given(&self.completeness);
        if completeness.is_some_and(|state| !["open", "complete"].contains(&state)) {
            return Err(SearchError::Completeness);
        }
        let text = |of: &Option<String>| given(of).map(str::to_owned);
        let search = Search {
            text: text(&self.text),
            patient: text(&self.patient),
            accession: text(&self.accession),
            source: text(&self.source),
            since_ms: moment_of(&self.since, "since")?,
            until_ms: moment_of(&self.until, "until")?,
            study_date,
            is_undelivered: self.undelivered.unwrap_or(false),
            is_open: completeness == Some("open"),
            is_complete: completeness == Some("complete"),
        };
        let after = given(&self.after).map(|text| text.parse().map_err(|_| SearchError::Cursor)).transpose()?;
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(SearchError::Limit(MAX_LIMIT));
        }
        Ok((search, after, limit as usize))
    }
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty())
}

/// A time in UTC, the begin of a day, also of `today` and `yesterday`, or how long before `now`; in milliseconds since 1970.
pub(crate) fn moment(text: &str, now: SystemTime) -> Option<i64> {
    let midnight_before = |days: u64| {
        let today_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY_S;
        UNIX_EPOCH + Duration::from_secs(today_s.saturating_sub(days) * DAY_S)
    };
    let time = match humantime::parse_duration(text) {
        Ok(ago) => now.checked_sub(ago)?,
        Err(_) if text == "today" => midnight_before(0),
        Err(_) if text == "yesterday" => midnight_before(1),
        Err(_) => {
            let midnight = if text.len() == "2026-11-29".len() { "T00:00:00Z" } else { "" };
            humantime::parse_rfc3339_weak(&format!("{text}{midnight}")).ok()?
        }
    };
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since_1970.as_millis()).ok()
}

/// A day as DICOM writes it.
fn day(text: &str) -> Option<String> {
    let digits: String = match text.as_bytes() {
        [_, _, _, _, b'-', _, _, b'-', _, _] => text.split('-').collect(),
        _ => text.to_owned(),
    };
    (digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: impl FnOnce(&mut StudySearch)) -> Result<(Search, Option<Cursor>, usize), SearchError> {
        let mut search = StudySearch::default();
        set(&mut search);
        search.read(UNIX_EPOCH + Duration::from_secs(86_400 * 2))
    }

    #[test]
    fn times_are_points_or_distances() {
        let now = UNIX_EPOCH + Duration::from_secs(86_400 * 2);
        for (text, ms) in [
            ("2h", Some(1000 * (86_400 * 2 - 7200))),
            ("1day 12h", Some(1000 * 43_200)),
            ("1970-01-02", Some(86_400_000)),
            ("1970-01-02T01:00:00Z", Some(90_000_000)),
            ("1970-01-02 01:00:00.5", Some(90_000_500)),
            ("3days", Some(0)),
            ("9000years", Some(0)),
            ("today", Some(86_400_000 * 2)),
            ("yesterday", Some(86_400_000)),
            ("tomorrow", None),
            ("2026-13-40", None),
            ("ä26-11-2ä", None),
            ("-2h", None),
        ] {
            assert_eq!(moment(text, now), ms, "{text}");
        }
    }

    #[test]
    fn what_is_empty_is_no_condition_and_what_cannot_be_read_is_named() {
        let (search, after, limit) = with(|search| {
            search.text = Some("  ".to_owned());
            search.since = Some(String::new());
            search.patient = Some(" P1 ".to_owned());
            search.date_to = Some("1970-01-31".to_owned());
        })
        .unwrap();
        let expected = Search {
            patient: Some("P1".to_owned()),
            study_date: Some((String::new(), "19700131".to_owned())),
            ..Search::default()
        };
        assert_eq!((search, after, limit), (expected, None, 50));
        let text = || Some("x".to_owned());
        assert_eq!(with(|search| search.since = text()), Err(SearchError::Moment("since")));
        assert_eq!(with(|search| search.until = text()), Err(SearchError::Moment("until")));
        assert_eq!(with(|search| search.date_from = text()), Err(SearchError::Day("date_from")));
        assert_eq!(with(|search| search.date_to = Some("197001011".to_owned())), Err(SearchError::Day("date_to")));
        assert_eq!(with(|search| search.after = text()), Err(SearchError::Cursor));
        assert_eq!(with(|search| search.limit = Some(0)), Err(SearchError::Limit(MAX_LIMIT)));
        assert_eq!(with(|search| search.limit = Some(501)), Err(SearchError::Limit(MAX_LIMIT)));
    }
}
