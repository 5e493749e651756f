//! The answer about associations that have ended.

use serde::{Deserialize, Serialize};
use tidegate_actors::Observer;
use tidegate_actors::gauges::ended::{EndedAssociation as Ended, Outcomes};

use super::time::{ms, unix_ms};

/// An association that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndedAssociation {
    /// The time of its end.
    pub(crate) at_unix_ms: u64,
    /// As in the log, and in the list of the open ones.
    pub(crate) id: u64,
    pub(crate) peer: String,
    /// As the peer wrote it: escape it before showing it.
    pub(crate) calling_ae_title: String,
    pub(crate) called_ae_title: String,
    /// The access rule that let it in; absent without rules.
    pub(crate) rule: Option<String>,
    /// Studies of the instances acknowledged; 256 means that or more, 0 that the layout does not read their UIDs.
    pub(crate) studies: u64,
    /// The Study Instance UID of the first one.
    pub(crate) first_study: Option<String>,
    /// Instances acknowledged that were new.
    pub(crate) new: u64,
    pub(crate) identical: u64,
    pub(crate) replaced: u64,
    pub(crate) kept_both: u64,
    pub(crate) refused: u64,
    /// Of its datasets.
    pub(crate) bytes: u64,
    pub(crate) duration_ms: u64,
    /// How it ended: a word, as in the log.
    pub(crate) end: String,
}

impl EndedAssociation {
    fn of(ended: &Ended) -> Self {
        let Outcomes { new, identical, replaced, kept_both } = ended.outcomes;
        Self {
            at_unix_ms: unix_ms(ended.at),
            id: ended.id,
            peer: ended.peer.to_string(),
            calling_ae_title: ended.calling_ae_title.as_str().to_owned(),
            called_ae_title: ended.called_ae_title.as_str().to_owned(),
            rule: ended.rule.map(|rule| rule.as_str().to_owned()),
            studies: ended.studies,
            first_study: ended.first_study.map(|uid| uid.as_str().to_owned()),
            new,
            identical,
            replaced,
            kept_both,
            refused: ended.refused,
            bytes: ended.bytes,
            duration_ms: ms(ended.duration),
            end: ended.end.to_owned(),
        }
    }

    /// Those of the last hour, the latest first, at most `most`.
    pub(crate) fn latest(observer: &Observer, most: usize) -> Vec<Self> {
        observer.ended_associations(most).iter().map(Self::of).collect()
    }
}
