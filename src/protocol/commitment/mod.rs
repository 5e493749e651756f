//! The datasets of the Storage Commitment Push Model (PS3.4 annex J), as streams: the action information of an N-ACTION is read while it
//! arrives, the event information of an N-EVENT-REPORT is written reference by reference. As SCU of a peer that commits, the node writes the one
//! and reads the other.

use crate::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

mod event;
mod fault;
mod header;
mod information;

pub use event::{EventInformation, OutOfOrder, Terms};
pub use fault::InformationFault;
pub use information::{Form, Information};

/// The encoding of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Implicit VR little endian (PS3.5 §A.1).
    Implicit,
    /// Explicit VR little endian (PS3.5 §A.2).
    Explicit,
}

impl Encoding {
    /// The encoding of a transfer syntax; `None` for all but the two that this node accepts for storage commitment.
    pub fn of(transfer_syntax: &str) -> Option<Self> {
        match transfer_syntax {
            IMPLICIT_VR_LITTLE_ENDIAN => Some(Self::Implicit),
            EXPLICIT_VR_LITTLE_ENDIAN => Some(Self::Explicit),
            _ => None,
        }
    }
}

/// A referenced SOP instance. Values of a peer, without padding: 1 to 64 characters of printable ASCII without blanks, which need not be
/// UIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Referenced SOP Class UID (0008,1150).
    pub sop_class: &'a str,
    /// Referenced SOP Instance UID (0008,1155).
    pub sop_instance: &'a str,
}

/// Elements of both datasets: group and element.
mod tag {
    pub(super) const RETRIEVE_AE_TITLE: u32 = 0x0008_0054;
    pub(super) const REFERENCED_SOP_CLASS: u32 = 0x0008_1150;
    pub(super) const REFERENCED_SOP_INSTANCE: u32 = 0x0008_1155;
    pub(super) const TRANSACTION_UID: u32 = 0x0008_1195;
    pub(super) const FAILURE_REASON: u32 = 0x0008_1197;
    pub(super) const FAILED_SOP_SEQUENCE: u32 = 0x0008_1198;
    pub(super) const REFERENCED_SOP_SEQUENCE: u32 = 0x0008_1199;
    pub(super) const ITEM: u32 = 0xFFFE_E000;
    pub(super) const ITEM_END: u32 = 0xFFFE_E00D;
    pub(super) const SEQUENCE_END: u32 = 0xFFFE_E0DD;
}

/// A length that is given by a delimiter instead (PS3.5 §7.5).
const UNDEFINED: u32 = u32::MAX;

#[cfg(test)]
mod tests;
