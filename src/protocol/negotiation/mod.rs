//! Association negotiation: the answer to a request (PS3.8 §7.1, PS3.7 Annex D.3).

use dicom_ul::pdu::{
    AssociationAC, AssociationRQ, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason as Reason, UserVariableItem,
};

use crate::syntaxes::{
    APPLICATION_CONTEXT, AbstractSyntax, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT,
    VERIFICATION, is_standard_transfer_syntax, is_uid, unpadded,
};

mod contexts;
pub(crate) mod item;
pub(crate) mod items;
mod policy;
mod refused;
mod request;
mod user_information;

pub(crate) use contexts::{Context, Contexts};
pub use items::RequestFault;
pub use policy::Policy;
pub use refused::{ContextRefusal, RefusedContexts};
pub use request::AeTitles;
pub(crate) use request::read_request;
pub use user_information::UserIdentity;
pub(crate) use user_information::peer_implementation;
use user_information::{answer_user_information, positive};

/// A request as it arrived, for the caller's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRequest {
    /// Calling AE title without padding. A peer's string: escape it before printing.
    pub calling_ae_title: String,
    /// Called AE title without padding. A peer's string: escape it before printing.
    pub called_ae_title: String,
    /// Whether text behind a NUL was left out of a title.
    pub titles_are_cut: bool,
    /// How many presentation contexts were proposed.
    pub contexts_proposed: usize,
    /// How many of them will be accepted.
    pub contexts_accepted: usize,
    /// Those that were refused.
    pub contexts_refused: RefusedContexts,
    /// Operations that the peer may have outstanding; 1 if it did not negotiate.
    pub async_operations: u16,
    /// The user the peer names, if it names one by a name or a name and passcode (PS3.7 §D.3.3.7).
    pub user_identity: Option<UserIdentity>,
    /// The peer's implementation class UID and version name, as far as given. A peer's string, but of bounded length.
    pub implementation: String,
}

/// The reason of a rejection: result, source and reason of the A-ASSOCIATE-RJ PDU (PS3.8 §9.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Permanent, by the service user: the application context is not DICOM's.
    ApplicationContext,
    /// Permanent, by the service user: access is denied, or the user identity is not right.
    NoReasonGiven,
    /// Permanent, by the service user: the calling AE title is not one that is served.
    CallingAeTitle,
    /// Permanent, by the service user: the called AE title is not ours.
    CalledAeTitle,
    /// Permanent, by the ACSE: bit 0 of the protocol version is not set.
    ProtocolVersion,
    /// Transient, by the presentation service: a limit of this node is reached, try again later.
    LocalLimitExceeded,
    /// Transient, by the presentation service: the node is stopping or out of memory, try again later.
    TemporaryCongestion,
}

impl Rejection {
    /// Every rejection.
    pub const ALL: [Self; 7] = [
        Self::ApplicationContext,
        Self::NoReasonGiven,
        Self::CallingAeTitle,
        Self::CalledAeTitle,
        Self::ProtocolVersion,
        Self::LocalLimitExceeded,
        Self::TemporaryCongestion,
    ];

    /// Name in metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApplicationContext => "application_context",
            Self::NoReasonGiven => "no_reason_given",
            Self::CallingAeTitle => "calling_ae_title",
            Self::CalledAeTitle => "called_ae_title",
            Self::ProtocolVersion => "protocol_version",
            Self::LocalLimitExceeded => "local_limit_exceeded",
            Self::TemporaryCongestion => "temporary_congestion",
        }
    }

    /// (result, source, reason) as they stand in the PDU.
    pub fn fields(self) -> (u8, u8, u8) {
        match self {
            Self::ApplicationContext => (1, 1, 2),
            Self::NoReasonGiven => (1, 1, 1),
            Self::CallingAeTitle => (1, 1, 3),
            Self::CalledAeTitle => (1, 1, 7),
            Self::ProtocolVersion => (1, 2, 2),
            Self::TemporaryCongestion => (2, 3, 1),
            Self::LocalLimitExceeded => (2, 3, 2),
        }
    }
}

/// The outcome of a negotiation: the answer, and the terms if the association is accepted.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) answer: AssociationAC,
    pub(crate) contexts: Contexts,
    pub(crate) peer_max_pdu_length: u32,
    pub(crate) request: AssociateRequest,
    /// Whether the peer asks for a positive answer to its user identity.
    asks_confirmation: bool,
    /// Whether the peer asks for the role of an SCP of storage commitment.
    asks_to_report: bool,
}

impl Negotiated {
    /// The user of the request is verified: answers so if the peer asks for it.
    pub(crate) fn confirm_user(&mut self) {
        if std::mem::take(&mut self.asks_confirmation) {
            self.answer.user_variables.push(positive());
        }
    }

    /// The requestor may be an SCP of storage commitment, if it asks for that.
    pub(crate) fn take_reports(&mut self) {
        if !self.asks_to_report {
            return;
        }
        for item in &mut self.answer.user_variables {
            if let UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) = item
                && uid == STORAGE_COMMITMENT
            {
                roles.scp = true;
            }
        }
        self.contexts.allow_scu(STORAGE_COMMITMENT);
    }

    /// Whether a context is accepted on which instances can be stored.
    pub(crate) fn can_store(&self) -> bool {
        self.contexts.iter().any(|context| is_for_storage(&context.abstract_syntax))
    }

    /// Turns accepted contexts down whose abstract syntax is `denied`: user-rejection (PS3.8 §9.3.3.2). They are added to `refused`.
    pub(crate) fn reject_contexts(&mut self, denied: impl Fn(&str) -> bool, refused: &mut RefusedContexts) {
        for result in &mut self.answer.presentation_contexts {
            let Some(context) = self.contexts.get(result.id).filter(|context| denied(&context.abstract_syntax)) else {
                continue;
            };
            refused.add(&context.abstract_syntax, &[], ContextRefusal::AccessRule);
            self.contexts.remove(result.id);
            result.reason = reason_of(ContextRefusal::AccessRule);
        }
    }
}

/// Whether instances can be stored on an accepted context of the abstract syntax.
pub(crate) fn is_for_storage(abstract_syntax: &str) -> bool {
    abstract_syntax != VERIFICATION && abstract_syntax != STORAGE_COMMITMENT
}

/// Applies `policy` to a request.
///
/// # Errors
/// The rejection that the standard or the policy asks for.
pub(crate) fn negotiate(policy: &Policy, rq: AssociationRQ) -> Result<Negotiated, Rejection> {
    if rq.protocol_version & 1 == 0 {
        return Err(Rejection::ProtocolVersion); // PS3.8 §9.3.2: only bit 0 is tested
    }
    if unpadded(&rq.application_context_name) != APPLICATION_CONTEXT {
        return Err(Rejection::ApplicationContext);
    }
    if policy.require_called_ae_title && unpadded(&rq.called_ae_title) != policy.ae_title {
        return Err(Rejection::CalledAeTitle);
    }
    let (mut contexts, results, contexts_refused) = answer_contexts(policy, &rq.presentation_contexts);
    let user = answer_user_information(policy, &contexts, &rq.user_variables);
    user.roles_denied().for_each(|sop_class| contexts.deny_scp(sop_class));
    Ok(Negotiated {
        request: AssociateRequest {
            calling_ae_title: unpadded(&rq.calling_ae_title).to_owned(),
            called_ae_title: unpadded(&rq.called_ae_title).to_owned(),
            titles_are_cut: false,
            contexts_proposed: rq.presentation_contexts.len(),
            contexts_accepted: contexts.count(),
            contexts_refused,
            async_operations: user.async_operations,
            user_identity: user.identity,
            implementation: user.peer_implementation,
        },
        answer: AssociationAC {
            protocol_version: 1,
            // Place holders: the titles go back byte by byte.
            calling_ae_title: String::from("-"),
            called_ae_title: String::from("-"),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: results,
            user_variables: user.answer,
        },
        asks_confirmation: user.asks_confirmation,
        asks_to_report: user.asks_to_report,
        contexts,
        peer_max_pdu_length: user.peer_max_pdu_length,
    })
}

/// One result for each proposed context, in the order proposed (PS3.8 §9.3.3.2). An ID proposed twice is answered once.
fn answer_contexts(
    policy: &Policy,
    proposed: &[PresentationContextProposed],
) -> (Contexts, Vec<PresentationContextResult>, RefusedContexts) {
    let (mut contexts, mut refused) = (Contexts::default(), RefusedContexts::default());
    let mut seen = [false; 256];
    let mut results = Vec::with_capacity(proposed.len().min(seen.len()));
    for context in proposed {
        if std::mem::replace(&mut seen[usize::from(context.id)], true) {
            continue;
        }
        let choice = choose(policy, context);
        results.push(PresentationContextResult {
            id: context.id,
            reason: match &choice {
                Ok(_) => Reason::Acceptance,
                Err(reason) => reason_of(*reason),
            },
            // PS3.8 §9.3.3.2: not significant unless accepted, but it has to be there.
            transfer_syntax: match &choice {
                Ok(uid) => uid.clone(),
                Err(_) => "1.2.840.10008.1.2".to_owned(),
            },
        });
        match choice {
            Ok(uid) => {
                let accepted = Context {
                    abstract_syntax: unpadded(&context.abstract_syntax).into(),
                    transfer_syntax: unpadded(&uid).into(),
                    is_scu: false,
                    is_scp: true,
                };
                contexts.insert(context.id, accepted);
            }
            Err(reason) => refused.add(&context.abstract_syntax, &context.transfer_syntaxes, reason),
        }
    }
    (contexts, results, refused)
}

/// The result of a refused context (PS3.8 §9.3.3.2).
fn reason_of(refusal: ContextRefusal) -> Reason {
    match refusal {
        ContextRefusal::AbstractSyntax => Reason::AbstractSyntaxNotSupported,
        ContextRefusal::TransferSyntaxes => Reason::TransferSyntaxesNotSupported,
        ContextRefusal::AccessRule => Reason::UserRejection,
        ContextRefusal::InvalidId => Reason::NoReason,
    }
}

/// The transfer syntax for one context, or why it is refused.
fn choose(policy: &Policy, context: &PresentationContextProposed) -> Result<String, ContextRefusal> {
    if context.id.is_multiple_of(2) {
        return Err(ContextRefusal::InvalidId); // PS3.8 §9.3.2.2: odd integers only
    }
    let abstract_syntax = unpadded(&context.abstract_syntax);
    if abstract_syntax == STORAGE_COMMITMENT {
        return if policy.storage_commitment { choose_readable(context) } else { Err(ContextRefusal::AbstractSyntax) };
    }
    if AbstractSyntax::of(abstract_syntax) != AbstractSyntax::Verification && !policy.stores(abstract_syntax) {
        return Err(ContextRefusal::AbstractSyntax);
    }
    let acceptable = || {
        context.transfer_syntaxes.iter().filter(|uid| {
            let uid = unpadded(uid);
            let known = policy.accept_unknown_transfer_syntaxes || is_standard_transfer_syntax(uid);
            known && is_uid(uid)
        })
    };
    let preferred = |wish: &String| acceptable().find(|uid| unpadded(uid) == wish);
    policy
        .transfer_syntax_preference
        .iter()
        .find_map(preferred)
        .or_else(|| acceptable().next())
        .cloned()
        .ok_or(ContextRefusal::TransferSyntaxes)
}

/// The transfer syntax of a context whose datasets this node reads and writes itself.
fn choose_readable(context: &PresentationContextProposed) -> Result<String, ContextRefusal> {
    let readable = |uid: &&String| matches!(unpadded(uid), IMPLICIT_VR_LITTLE_ENDIAN | EXPLICIT_VR_LITTLE_ENDIAN);
    context.transfer_syntaxes.iter().find(readable).cloned().ok_or(ContextRefusal::TransferSyntaxes)
}

#[cfg(test)]
mod tests;
