//! Completeness: when all of a study or series seems to have come.
//!
//! A study is open from its first instance on. It is complete when nothing new has come of it for its quiet time and nobody is sending of it. New content
//! reopens it. The due times are rows with an index, written in the transaction that enters an instance, so a restart changes nothing about them.
//! A series is the same with a quiet time of its own.
//!
//! Hints change the wait. One that seems to lack something when it is due waits longer, to a bound. One that has as many instances as its datasets tell is
//! due early. The source of a study can be asked how many it has.

pub(crate) mod asking;
pub(crate) mod due;
pub(crate) mod hints;
pub(crate) mod news;
pub(crate) mod set;
mod table;

use std::collections::HashMap;

use crate::events::EventKind;

/// How long a study and a series have to be quiet, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// A study.
    pub study_ms: i64,
    /// A series: not longer than a study.
    pub series_ms: i64,
}

impl Default for Quiet {
    fn default() -> Self {
        Self { study_ms: 60_000, series_ms: 30_000 }
    }
}

/// What is followed, and who is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// Of instances whose access rule says nothing else.
    pub quiet: Quiet,
    /// Of instances of an access rule, by its name.
    pub by_rule: HashMap<String, Quiet>,
    /// How much longer a study or series waits that seems to lack something, in milliseconds; 0: no longer.
    pub missing_ms: i64,
    /// The sinks of events.
    pub sinks: Vec<Subscription>,
}

/// A sink of events, and what it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its name: that of its row.
    pub sink: String,
    /// The kinds of the events that it wants.
    pub kinds: Vec<EventKind>,
}

impl Following {
    fn quiet(&self, rule: &str) -> Quiet {
        if self.by_rule.is_empty() { self.quiet } else { *self.by_rule.get(rule).unwrap_or(&self.quiet) }
    }

    /// Nothing is due later than so long from now, in milliseconds, unless the clock was set.
    pub fn latest_ms(&self) -> i64 {
        let Quiet { study_ms, series_ms } = self.longest();
        study_ms.max(series_ms).max(self.missing_ms).max(asking::ANSWER_MS)
    }

    /// The longest quiet times.
    fn longest(&self) -> Quiet {
        self.by_rule.values().fold(self.quiet, |longest, quiet| Quiet {
            study_ms: longest.study_ms.max(quiet.study_ms),
            series_ms: longest.series_ms.max(quiet.series_ms),
        })
    }
}

/// Whether all of a study or series has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wholeness {
    /// It was stored by an earlier version, or is not followed: nobody knows.
    #[default]
    Unknown,
    /// Instances are coming.
    Open,
    /// It was announced as complete, and nothing new has come since.
    Complete,
    /// Something new came after it was announced.
    Reopened,
}

impl Wholeness {
    /// Every state, by its number in a row.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Open, Self::Complete, Self::Reopened];

    /// The name in lists and the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Reopened => "reopened",
        }
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of(number: i64) -> Self {
        Self::ALL.into_iter().find(|state| state.number() == number).unwrap_or_default()
    }
}
