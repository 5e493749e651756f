//! Which deliveries, as people ask for them, and what is to be done to them: parameters of a request, and flags of a command.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tidegate_actors::DeliveryOrder;
use tidegate_catalogue::{Change, Choice, DeliveryCursor, DeliverySearch, DeliveryState};

use super::model::state_name;
use crate::admin::catalogue::search::moment;

/// Deliveries of a page that is asked for without a number.
pub(crate) const DEFAULT_LIMIT: u32 = 50;
/// Deliveries of a page at most.
pub(crate) const MAX_LIMIT: u32 = 500;

/// A page of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OutboxSearch {
    pub(crate) destination: Option<String>,
    /// `waiting`, `retrying`, `sent` or `dead`, or several with commas; absent: all.
    pub(crate) state: Option<String>,
    /// Study Instance UID.
    pub(crate) study: Option<String>,
    pub(crate) limit: Option<u32>,
    /// The `next` of the page before.
    pub(crate) after: Option<String>,
}

/// What is to be done to the deliveries of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutboxOrder {
    /// `add`, `retry`, `drop`, `pause` or `resume`.
    pub(crate) action: String,
    /// Only those of this Study Instance UID.
    #[serde(default)]
    pub(crate) study: Option<String>,
    /// Only those of this SOP Instance UID.
    #[serde(default)]
    pub(crate) instance: Option<String>,
    /// Only those of instances received since: how long ago, a day or a time.
    #[serde(default)]
    pub(crate) since: Option<String>,
    /// Only those of instances received before.
    #[serde(default)]
    pub(crate) before: Option<String>,
    /// Only dead ones.
    #[serde(default)]
    pub(crate) dead: bool,
    /// All of them; required where nothing else chooses any.
    #[serde(default)]
    pub(crate) all: bool,
}

/// A page, as the catalogue is asked for it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) search: DeliverySearch,
    pub(super) after: Option<DeliveryCursor>,
    pub(super) limit: u32,
}

/// A condition that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    #[error("state must be waiting, retrying or dead, or several of them with commas")]
    State,
    #[error("limit must be 1 to {MAX_LIMIT}")]
    Limit,
    #[error("after must be the next of the page before")]
    After,
    #[error("action must be add, retry, drop, pause or resume")]
    Action,
    #[error("instance must be a SOP Instance UID")]
    Instance,
    #[error("{0} must be how long ago, such as 2h, a day or a time, such as 2026-11-29T10:00:00Z")]
    Moment(&'static str),
    #[error("nothing says which deliveries: give study, instance, since, before or dead, or all")]
    Nothing,
}

impl OutboxSearch {
    /// Its conditions for the audit, as a query string has them.
    pub(super) fn conditions(&self) -> String {
        let state = self.state.as_deref().filter(|state| of_names(state).is_some());
        state.map_or_else(String::new, |state| format!("state={state}"))
    }

    pub(crate) fn read(&self) -> Result<Asked, SearchError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let states = given(&self.state).map(|state| of_names(&state).ok_or(SearchError::State)).transpose()?;
        let states = states.unwrap_or_default();
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(SearchError::Limit);
        }
        let after = given(&self.after).map(|after| after.parse().map_err(|_| SearchError::After)).transpose()?;
        let (destination, study_uid) = (given(&self.destination), given(&self.study));
        Ok(Asked { search: DeliverySearch { destination, states, study_uid }, after, limit })
    }
}

/// The states of these names, with commas between them.
fn of_names(names: &str) -> Option<Vec<DeliveryState>> {
    let of_name = |name| DeliveryState::ALL.into_iter().find(|state| state_name(*state) == name);
    names.split(',').map(of_name).collect()
}

impl OutboxOrder {
    pub(super) fn read(&self, now: SystemTime) -> Result<DeliveryOrder, SearchError> {
        let change = match self.action.as_str() {
            "pause" => return Ok(DeliveryOrder::Pause),
            "resume" => return Ok(DeliveryOrder::Resume),
            "add" => Change::Add,
            "retry" => Change::Retry,
            "drop" => Change::Drop,
            _ => return Err(SearchError::Action),
        };
        let time = |name, text: &Option<String>| {
            text.as_deref().map(|text| moment(text, now).ok_or(SearchError::Moment(name))).transpose()
        };
        let instance = self.instance.as_deref().map(|uid| uid.parse().map_err(|_| SearchError::Instance));
        let choice = Choice {
            study_uid: self.study.clone(),
            sop_instance_uid: instance.transpose()?,
            since_ms: time("since", &self.since)?,
            before_ms: time("before", &self.before)?,
            is_dead: self.dead,
        };
        // A word too few must not send, or forget, everything.
        if choice == Choice::default() && !self.all && change != Change::Retry {
            return Err(SearchError::Nothing);
        }
        Ok(DeliveryOrder::Change(change, choice))
    }

    /// It in words, for log and audit.
    pub(super) fn text(&self) -> String {
        let conditions = [
            self.study.as_ref().map(|uid| format!(" study={uid}")),
            self.instance.as_ref().map(|uid| format!(" instance={uid}")),
            self.since.as_ref().map(|time| format!(" since={time}")),
            self.before.as_ref().map(|time| format!(" before={time}")),
            self.dead.then(|| " dead".to_owned()),
            self.all.then(|| " all".to_owned()),
        ];
        format!("{}{}", self.action, conditions.into_iter().flatten().collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(action: &str) -> OutboxOrder {
        let action = action.to_owned();
        OutboxOrder { action, study: None, instance: None, since: None, before: None, dead: false, all: false }
    }

    #[test]
    fn an_order_without_a_choice_is_refused_where_it_would_hit_everything() {
        let now = SystemTime::now();
        for action in ["add", "drop"] {
            assert_eq!(order(action).read(now), Err(SearchError::Nothing), "{action}");
            assert!(OutboxOrder { all: true, ..order(action) }.read(now).is_ok());
            assert!(OutboxOrder { since: Some("2h".to_owned()), ..order(action) }.read(now).is_ok());
        }
        for action in ["retry", "pause", "resume"] {
            assert!(order(action).read(now).is_ok(), "{action}");
        }
        assert_eq!(order("delete").read(now), Err(SearchError::Action));
        let with = OutboxOrder { since: Some("noon".to_owned()), ..order("add") };
        assert_eq!(with.read(now), Err(SearchError::Moment("since")));
        let with = OutboxOrder { instance: Some("1/2".to_owned()), ..order("add") };
        assert_eq!(with.read(now), Err(SearchError::Instance));
        let with = OutboxOrder { study: Some("1.2".to_owned()), dead: true, ..order("drop") };
        assert_eq!(with.text(), "drop study=1.2 dead");
    }

    #[test]
    fn a_search_that_cannot_be_read_is_told() {
        let with = |set: fn(&mut OutboxSearch)| {
            let mut search = OutboxSearch::default();
            set(&mut search);
            search.read().map(drop)
        };
        assert_eq!(with(|search| search.state = Some("gone".to_owned())), Err(SearchError::State));
        assert_eq!(with(|search| search.state = Some("dead,".to_owned())), Err(SearchError::State));
        assert_eq!(with(|search| search.limit = Some(501)), Err(SearchError::Limit));
        for after in ["1", "1.2.3.4.5.x", "1.2.3.4.5.6.7"] {
            let search = OutboxSearch { after: Some(after.to_owned()), ..OutboxSearch::default() };
            assert_eq!(search.read().map(drop), Err(SearchError::After), "{after}");
        }
        let search = OutboxSearch {
            state: Some("dead,retrying".to_owned()),
            after: Some("1.2.3.4.-5.6".to_owned()),
            ..OutboxSearch::default()
        };
        let Asked { search: read, after, limit } = search.read().unwrap();
        assert_eq!((&*read.states, limit), (&[DeliveryState::Dead, DeliveryState::Retrying][..], DEFAULT_LIMIT));
        assert_eq!(after.unwrap().to_string(), "1.2.3.4.-5.6");
    }
}
