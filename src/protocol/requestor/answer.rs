//! The peer's answer to a proposal: A-ASSOCIATE-AC (PS3.8 §9.3.3) and A-ASSOCIATE-RJ (PS3.8 §9.3.4).

use std::fmt;
use std::sync::Arc;

use dicom_ul::pdu::UserVariableItem;

use super::proposal::{Proposal, ProposedContext, Role};
use crate::negotiation::items::{Items, RequestFault, split, trimmed, user_variable};
use crate::negotiation::{Context, Contexts, item, peer_implementation};
use crate::syntaxes::unpadded;

/// An association that the peer has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// One answer for each proposed context, in the order proposed.
    pub contexts: Vec<ContextAnswer>,
    /// Largest P-DATA-TF PDU that the peer accepts; 0: no limit.
    pub peer_max_pdu_length: u32,
    /// Operations that may be outstanding; at least 1, and no more than proposed.
    pub async_operations: u16,
    /// The peer's implementation class UID and version name, as far as given. A peer's string, but of bounded length.
    pub implementation: String,
}

/// The peer's answer to one proposed context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextAnswer {
    /// Presentation context ID.
    pub id: u8,
    /// Abstract syntax, as proposed.
    pub abstract_syntax: Arc<str>,
    /// The terms, or why there are none.
    pub outcome: Result<AcceptedContext, ContextRefused>,
}

/// The terms of an accepted context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedContext {
    /// The transfer syntax that the peer has chosen of those proposed.
    pub transfer_syntax: Arc<str>,
    /// Whether this node may act as SCU of the SOP class.
    pub is_scu: bool,
    /// Whether this node may act as SCP of the SOP class.
    pub is_scp: bool,
}

/// Why a proposed context cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ContextRefused {
    /// Result 1.
    #[error("rejected by the user of the peer")]
    User,
    /// Result 3.
    #[error("abstract syntax not supported")]
    AbstractSyntax,
    /// Result 4.
    #[error("transfer syntaxes not supported")]
    TransferSyntaxes,
    /// Result 2, or one that the standard does not know.
    #[error("no reason given")]
    NoReason,
    /// The answer does not mention it.
    #[error("not answered")]
    NotAnswered,
    /// Accepted with a transfer syntax that was not proposed for it.
    #[error("accepted with a transfer syntax that was not proposed")]
    OtherTransferSyntax,
}

/// Result, source and reason of the peer's A-ASSOCIATE-RJ, as they came. Its `Display` has them in the words of the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerRejection {
    /// 1 permanent, 2 transient.
    pub result: u8,
    /// 1 service-user, 2 service-provider (ACSE), 3 service-provider (presentation).
    pub source: u8,
    /// Its meaning depends on the source.
    pub reason: u8,
}

impl PeerRejection {
    /// Whether the same request may be accepted later.
    pub fn is_transient(self) -> bool {
        self.result == 2
    }

    /// The reason in the words of the standard (PS3.8 table 9-21).
    pub fn reason_name(self) -> &'static str {
        match (self.source, self.reason) {
            (1 | 2, 1) => "no-reason-given",
            (1, 2) => "application-context-name-not-supported",
            (1, 3) => "calling-AE-title-not-recognized",
            (1, 7) => "called-AE-title-not-recognized",
            (2, 2) => "protocol-version-not-supported",
            (3, 1) => "temporary-congestion",
            (3, 2) => "local-limit-exceeded",
            _ => "reserved",
        }
    }
}

impl fmt::Display for PeerRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match self.result {
            1 => "permanent",
            2 => "transient",
            _ => "reserved",
        };
        let source = match self.source {
            1 => "service-user",
            2 => "service-provider (ACSE)",
            3 => "service-provider (presentation)",
            _ => "reserved",
        };
        write!(f, "{result}, {source}, {}", self.reason_name())
    }
}

/// Reads a whole A-ASSOCIATE-AC PDU, the answer to `proposal`.
///
/// # Errors
/// Its fixed fields or its items run past its end. All else that cannot be read is as if it were not there, as in a request.
pub(super) fn read_acceptance(pdu: &[u8], proposal: &Proposal) -> Result<(Acceptance, Contexts), RequestFault> {
    // PS3.8 §9.3.3: the titles in it are reserved, and not tested.
    let (_, items) = split(pdu)?;
    let mut results: Vec<(u8, u8, String)> = Vec::new();
    let mut user = UserAnswers { async_operations: 1, ..UserAnswers::default() };
    for item in Items(items) {
        match item.map_err(|overrun| overrun.in_pdu(pdu))? {
            (item::PRESENTATION_CONTEXT_RESULT, value) => {
                results.extend(context_result(value).filter(|(id, ..)| results.iter().all(|(other, ..)| other != id)));
            }
            (item::USER_INFORMATION, value) => user.read(value, proposal),
            _ => {}
        }
    }
    let mut contexts = Contexts::default();
    let answers = proposal.numbered().map(|(id, proposed)| {
        let result = results.iter().find(|(answered, ..)| *answered == id);
        let outcome = context_outcome(proposed, result, user.roles_of(&proposed.abstract_syntax));
        if let Ok(AcceptedContext { transfer_syntax, is_scu, is_scp }) = outcome.clone() {
            let abstract_syntax = proposed.abstract_syntax.clone();
            contexts.insert(id, Context { abstract_syntax, transfer_syntax, is_scu, is_scp });
        }
        ContextAnswer { id, abstract_syntax: proposed.abstract_syntax.clone(), outcome }
    });
    let acceptance = Acceptance {
        contexts: answers.collect(),
        peer_max_pdu_length: user.max_pdu_length,
        async_operations: user.async_operations,
        implementation: peer_implementation(&user.class_uid, &user.version_name),
    };
    Ok((acceptance, contexts))
}

/// ID, result and transfer syntax (PS3.8 §9.3.3.2).
fn context_result(value: &[u8]) -> Option<(u8, u8, String)> {
    let (&[id, _, result, _], sub_items) = value.split_first_chunk()?;
    let mut sub_items = Items(sub_items).map_while(Result::ok);
    let transfer_syntax = sub_items.find(|(item_type, _)| *item_type == item::TRANSFER_SYNTAX);
    Some((id, result, transfer_syntax.map(|(_, value)| trimmed(value)).unwrap_or_default()))
}

fn context_outcome(
    proposed: &ProposedContext,
    result: Option<&(u8, u8, String)>,
    (is_scu, is_scp): (bool, bool),
) -> Result<AcceptedContext, ContextRefused> {
    let (_, result, chosen) = result.ok_or(ContextRefused::NotAnswered)?;
    match result {
        0 => {}
        1 => return Err(ContextRefused::User),
        3 => return Err(ContextRefused::AbstractSyntax),
        4 => return Err(ContextRefused::TransferSyntaxes),
        _ => return Err(ContextRefused::NoReason),
    }
    let chosen = proposed.transfer_syntaxes.iter().find(|uid| &***uid == unpadded(chosen));
    let transfer_syntax = chosen.ok_or(ContextRefused::OtherTransferSyntax)?.clone();
    Ok(AcceptedContext { transfer_syntax, is_scu, is_scp })
}

/// The user information of the answer (PS3.7 §D.3.3).
#[derive(Default)]
struct UserAnswers {
    max_pdu_length: u32,
    async_operations: u16,
    class_uid: String,
    version_name: String,
    /// SOP classes that this node proposed to be the SCP of, and whether it may.
    roles: Vec<(String, bool)>,
}

impl UserAnswers {
    fn read(&mut self, value: &[u8], proposal: &Proposal) {
        for item in Items(value).map_while(Result::ok).filter_map(user_variable) {
            match item {
                UserVariableItem::MaxLength(length) => self.max_pdu_length = length,
                UserVariableItem::ImplementationClassUID(uid) => self.class_uid = uid,
                UserVariableItem::ImplementationVersionName(name) => self.version_name = name,
                UserVariableItem::Unknown(item::ASYNC_OPERATIONS_WINDOW, fields) => {
                    let asked = proposal.async_operations.max(1);
                    self.async_operations = match fields[..] {
                        [0, 0, ..] => asked,
                        [i1, i0, ..] => u16::from_be_bytes([i1, i0]).min(asked),
                        _ => self.async_operations,
                    };
                }
                UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) => {
                    let uid = unpadded(&uid);
                    if proposal.role(uid) == Role::Scp && self.roles.iter().all(|(answered, _)| answered != uid) {
                        self.roles.push((uid.to_owned(), roles.scp));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether this node may be SCU and SCP of a SOP class. Without an answer the default stands: the requestor is the SCU (PS3.7
    /// §D.3.3.4). What was not proposed cannot be accepted: an SCU role in the answer is ignored.
    fn roles_of(&self, abstract_syntax: &str) -> (bool, bool) {
        let answered = self.roles.iter().find(|(uid, _)| uid == abstract_syntax);
        answered.map_or((true, false), |(_, scp)| (false, *scp))
    }
}
