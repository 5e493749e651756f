//! The policy of the negotiation.

use crate::syntaxes::{AbstractSyntax, is_uid};

/// The terms that this node offers and accepts. The caller has validated them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Our AE title, 1 to 16 characters (PS3.5 §6.2, AE).
    pub ae_title: String,
    /// Whether a request for another called AE title is rejected.
    pub require_called_ae_title: bool,
    /// Largest P-DATA-TF PDU a peer may send, in bytes of its variable field; 0 for no limit (PS3.8 §D.1).
    pub max_pdu_length: u32,
    /// Longest A-ASSOCIATE-RQ that is accepted, in bytes of its variable field.
    pub max_request_length: u32,
    /// Longest command set that is accepted, in bytes. Those of a storage service are below 500.
    pub max_command_set: u32,
    /// Most operations that a peer may have outstanding if it asks for more than one; at least 1.
    pub async_operations: u16,
    /// Whether peers that deviate from the standard are refused where their instances could be stored: a SOP Instance UID with other
    /// characters than digits and periods, a SOP class that is not that of the presentation context, text behind a NUL in an AE title.
    pub strict: bool,
    /// Whether abstract syntaxes that are private or newer than this build are stored too.
    pub accept_unknown_sop_classes: bool,
    /// Whether transfer syntaxes outside the standard are stored too.
    pub accept_unknown_transfer_syntaxes: bool,
    /// Whether contexts of the Storage Commitment Push Model are accepted, and its N-ACTION is served (PS3.4 annex J).
    pub storage_commitment: bool,
    /// Transfer syntax UIDs to choose first, best first; where none of them is proposed, the requestor's order decides.
    pub transfer_syntax_preference: Vec<String>,
}

impl Policy {
    /// Whether instances of the SOP class are stored.
    pub fn stores(&self, sop_class_uid: &str) -> bool {
        match AbstractSyntax::of(sop_class_uid) {
            AbstractSyntax::Storage => true,
            AbstractSyntax::Unknown => self.accept_unknown_sop_classes && is_uid(sop_class_uid),
            AbstractSyntax::OtherService | AbstractSyntax::Verification => false,
        }
    }
}
