//! The requests this node makes of a peer.

use super::{NO_DATA_SET, command_field, element, set_group_length};
use crate::syntaxes::{STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, VERIFICATION};

/// (0000,0800): a dataset follows; any value but [`NO_DATA_SET`] says so (PS3.7 §E.1).
const DATA_SET: u16 = 0x0001;
/// Priority (0000,0700), which a peer may take no notice of (PS3.7 §9.1.1.1.6, §E.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// As everything else.
    #[default]
    Medium,
    /// Before it.
    High,
    /// Behind it.
    Low,
}

impl Priority {
    /// High above 0, low below.
    pub fn of(number: i32) -> Self {
        match number {
            0 => Self::Medium,
            1.. => Self::High,
            _ => Self::Low,
        }
    }

    fn code(self) -> u16 {
        match self {
            Self::Medium => 0,
            Self::High => 1,
            Self::Low => 2,
        }
    }
}

/// A request of this node: what is asked, without the Message ID, which the association chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation<'a> {
    /// C-ECHO (PS3.7 §9.3.5.1). Without a dataset.
    Echo,
    /// C-STORE (PS3.7 §9.3.1.1). Its dataset is the instance.
    Store {
        /// Affected SOP Class UID.
        sop_class: &'a str,
        /// Affected SOP Instance UID.
        sop_instance: &'a str,
        /// How much the peer is asked to hurry.
        priority: Priority,
    },
    /// C-FIND (PS3.7 §9.3.2.1). Its dataset is the identifier.
    Find {
        /// Affected SOP Class UID.
        sop_class: &'a str,
    },
    /// N-ACTION of the Storage Commitment Push Model, action type 1: request storage commitment (PS3.7 §10.3.4.1, PS3.4 §J.3.2). Its
    /// dataset is the action information.
    RequestCommitment,
    /// N-EVENT-REPORT of the Storage Commitment Push Model (PS3.7 §10.3.1.1, PS3.4 §J.3.3). Its dataset is the event information.
    ReportCommitment {
        /// Event Type ID: 1, all instances are committed; 2, some are not.
        event_type: u16,
    },
}

impl Invocation<'_> {
    /// Whether a dataset follows the command.
    pub fn has_data_set(&self) -> bool {
        !matches!(self, Self::Echo)
    }

    /// Whether it is for the SCP of the SOP class to make.
    pub(crate) fn is_of_scp(&self) -> bool {
        matches!(self, Self::ReportCommitment { .. })
    }

    pub(crate) fn command_field(&self) -> u16 {
        match self {
            Self::Echo => command_field::C_ECHO_RQ,
            Self::Store { .. } => command_field::C_STORE_RQ,
            Self::Find { .. } => command_field::C_FIND_RQ,
            Self::RequestCommitment => command_field::N_ACTION_RQ,
            Self::ReportCommitment { .. } => command_field::N_EVENT_REPORT_RQ,
        }
    }

    /// The command set.
    pub(crate) fn encode(&self, message_id: u16) -> Vec<u8> {
        let data_set_type = if self.has_data_set() { DATA_SET } else { NO_DATA_SET };
        let mut out = Vec::with_capacity(256);
        element(&mut out, 0x0000, &[0; 4]);
        match self {
            Self::Echo => element(&mut out, 0x0002, VERIFICATION.as_bytes()),
            Self::Store { sop_class, .. } | Self::Find { sop_class } => element(&mut out, 0x0002, sop_class.as_bytes()),
            Self::ReportCommitment { .. } => element(&mut out, 0x0002, STORAGE_COMMITMENT.as_bytes()),
            Self::RequestCommitment => element(&mut out, 0x0003, STORAGE_COMMITMENT.as_bytes()),
        }
        element(&mut out, 0x0100, &self.command_field().to_le_bytes());
        element(&mut out, 0x0110, &message_id.to_le_bytes());
        match self {
            Self::Store { priority, .. } => element(&mut out, 0x0700, &priority.code().to_le_bytes()),
            Self::Find { .. } => element(&mut out, 0x0700, &Priority::Medium.code().to_le_bytes()),
            _ => {}
        }
        element(&mut out, 0x0800, &data_set_type.to_le_bytes());
        match self {
            Self::Echo | Self::Find { .. } => {}
            Self::Store { sop_instance, .. } => element(&mut out, 0x1000, sop_instance.as_bytes()),
            Self::ReportCommitment { event_type } => {
                element(&mut out, 0x1000, STORAGE_COMMITMENT_INSTANCE.as_bytes());
                element(&mut out, 0x1002, &event_type.to_le_bytes());
            }
            Self::RequestCommitment => {
                element(&mut out, 0x1001, STORAGE_COMMITMENT_INSTANCE.as_bytes());
                element(&mut out, 0x1008, &1_u16.to_le_bytes());
            }
        }
        set_group_length(&mut out);
        out
    }
}
