//! The answer about an instance: its files, and how far each has come. `openapi.json` describes each field; `tests/tidy/openapi.rs` compares the
//! two. Values of a dataset are as they were received: whoever shows them escapes them.

use serde::{Deserialize, Serialize};
use tidegate_catalogue::{InstanceDelivery as Way, InstanceProgress, InstanceRow, OriginRow, State};

use super::model::{CatalogueState, rule};
use crate::admin::outbox::model::state_name;
use crate::admin::time::rfc3339;

/// The files of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instances {
    /// Those that are there first, then the latest first; at most a thousand.
    pub(crate) instances: Vec<Instance>,
    /// The names of all destinations to which anything was ever owed.
    pub(crate) destinations: Vec<String>,
    /// Absent if the file was read without a node.
    pub(crate) catalogue: Option<CatalogueState>,
}

/// A file of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Instance {
    pub(crate) sop_instance_uid: String,
    pub(crate) sop_class_uid: String,
    pub(crate) transfer_syntax_uid: String,
    pub(crate) study_instance_uid: String,
    pub(crate) series_instance_uid: String,
    pub(crate) instance_number: Option<i64>,
    /// Below the storage root.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// XXH3-128 in 32 hexadecimal digits, as `xxh128sum` prints it. Absent if it is not known.
    pub(crate) digest: Option<String>,
    pub(crate) state: Presence,
    pub(crate) received: String,
    /// Since when it is not there; absent while it is.
    pub(crate) ended: Option<String>,
    /// Absent if the file does not say who sent it.
    pub(crate) origin: Option<Sender>,
    /// By destination. A destination that is not named is not owed the file, and has not had it.
    pub(crate) deliveries: Vec<InstanceDelivery>,
}

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    /// It is.
    Present,
    /// It is not, and the node did not remove it.
    Gone,
    /// The node removed it.
    Released,
}

/// A file on its way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceDelivery {
    pub(crate) destination: String,
    /// `waiting`, `retrying`, `dead`, `delivered` or `dropped`.
    pub(crate) state: String,
    /// Since when it is in the outbox, or when it left it.
    pub(crate) since: String,
    /// Failed attempts; 0 of one that left the outbox.
    pub(crate) attempts: u32,
    /// When it is tried again; absent if it is not retried.
    pub(crate) next_attempt: Option<String>,
    /// When it failed last; absent if it has not, or left the outbox.
    pub(crate) last_attempt: Option<String>,
    /// The status of the last answer in four hexadecimal digits; absent if there was none.
    pub(crate) last_status: Option<String>,
    /// Why it failed last, or what the destination said beside its success.
    pub(crate) reason: Option<String>,
}

/// The sender of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sender {
    pub(crate) calling_ae_title: String,
    /// Without port. Absent for a file without a receipt.
    pub(crate) address: Option<String>,
    /// Absent if no access rule let it in.
    pub(crate) rule: Option<String>,
    /// Its number in the log. Absent for a file without a receipt.
    pub(crate) association: Option<u32>,
}

impl From<OriginRow> for Sender {
    fn from(row: OriginRow) -> Self {
        let OriginRow { calling_ae_title, address, rule: name, association } = row;
        Self { calling_ae_title, address, rule: rule(name), association }
    }
}

impl From<InstanceRow> for Instance {
    fn from(row: InstanceRow) -> Self {
        Self {
            sop_instance_uid: row.sop_instance_uid.to_string(),
            sop_class_uid: row.sop_class_uid,
            transfer_syntax_uid: row.transfer_syntax_uid,
            study_instance_uid: row.study_instance_uid,
            series_instance_uid: row.series_instance_uid,
            instance_number: row.instance_number,
            path: row.path.to_string_lossy().into_owned(),
            bytes: row.bytes,
            digest: row.digest.map(|digest| format!("{digest:032x}")),
            state: match row.state {
                State::Present => Presence::Present,
                State::Gone => Presence::Gone,
                State::Released => Presence::Released,
            },
            received: rfc3339(row.received_ms),
            ended: row.ended_ms.map(rfc3339),
            origin: row.origin.map(Sender::from),
            deliveries: row.deliveries.into_iter().map(InstanceDelivery::from).collect(),
        }
    }
}

impl From<Way> for InstanceDelivery {
    fn from(way: Way) -> Self {
        let Way { destination, progress, status, why: reason } = way;
        let left = |state: &str, at_ms| (state.to_owned(), at_ms, 0, None, None);
        let (state, since_ms, attempts, due_ms, last_ms) = match progress {
            InstanceProgress::Owed { state, since_ms, attempts, due_ms, last_ms } => {
                (state_name(state).to_owned(), since_ms, attempts, due_ms, last_ms)
            }
            InstanceProgress::Delivered { at_ms } => left("delivered", at_ms),
            InstanceProgress::Dropped { at_ms } => left("dropped", at_ms),
        };
        Self {
            destination,
            state,
            since: rfc3339(since_ms),
            attempts,
            next_attempt: due_ms.map(rfc3339),
            last_attempt: last_ms.map(rfc3339),
            last_status: status.map(|status| format!("{status:04X}")),
            reason,
        }
    }
}
