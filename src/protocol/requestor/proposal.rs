//! The A-ASSOCIATE-RQ of this node (PS3.8 §9.3.2).

use std::sync::Arc;

use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed, RequestorRoles, UserVariableItem, write_pdu};

use crate::negotiation::item;
use crate::syntaxes::{APPLICATION_CONTEXT, is_uid};
use crate::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

/// Presentation contexts of a request at most: their IDs are the odd numbers of a byte (PS3.8 §9.3.2.2).
pub const MOST_CONTEXTS: usize = 128;

/// Transfer syntaxes of a context at most: the lengths of items have 16 bits (PS3.8 §9.3.2.2), far more than this.
pub const MOST_TRANSFER_SYNTAXES: usize = 256;

/// The terms of an association that this node requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Our AE title, 1 to 16 characters.
    pub calling_ae_title: String,
    /// The peer's AE title, 1 to 16 characters.
    pub called_ae_title: String,
    /// 1 to [`MOST_CONTEXTS`] contexts. They get the IDs 1, 3, 5 and so on, in this order.
    pub contexts: Vec<ProposedContext>,
    /// Largest P-DATA-TF PDU that the peer may send, in bytes of its variable field; 0 for no limit (PS3.8 §D.1).
    pub max_pdu_length: u32,
    /// Longest command set that is accepted, in bytes.
    pub max_command_set: u32,
    /// Most operations to have outstanding, if the peer allows so many (PS3.7 §D.3.3.3); at least 1.
    pub async_operations: u16,
}

/// A presentation context of a [`Proposal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedContext {
    /// Abstract syntax UID.
    pub abstract_syntax: Arc<str>,
    /// 1 to [`MOST_TRANSFER_SYNTAXES`] transfer syntax UIDs, of which the peer chooses one.
    pub transfer_syntaxes: Vec<Arc<str>>,
    /// The role of this node. Roles are those of a SOP class (PS3.7 §D.3.3.4): the first context of an abstract syntax decides.
    pub role: Role,
}

impl ProposedContext {
    fn has_valid_syntaxes(&self) -> bool {
        (1..=MOST_TRANSFER_SYNTAXES).contains(&self.transfer_syntaxes.len())
            && is_uid(&self.abstract_syntax)
            && self.transfer_syntaxes.iter().all(|uid| is_uid(uid))
    }
}

/// The role that this node takes for a SOP class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// SCU, the default of a requestor: nothing is negotiated.
    Scu,
    /// SCP, and not SCU: the peer must agree.
    Scp,
}

/// Why a [`Proposal`] cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProposalFault {
    /// An AE title that is not 1 to 16 printable characters of ASCII without backslash (PS3.5 §6.2, AE).
    #[error("AE title is not 1 to 16 printable characters without backslash")]
    AeTitle,
    /// No presentation context, or more than [`MOST_CONTEXTS`].
    #[error("a request has 1 to {MOST_CONTEXTS} presentation contexts")]
    Contexts,
    /// An abstract or transfer syntax that is not a UID, or a context with no transfer syntax or more than [`MOST_TRANSFER_SYNTAXES`].
    #[error("a presentation context has UIDs, and 1 to {MOST_TRANSFER_SYNTAXES} transfer syntaxes")]
    Syntaxes,
}

impl Proposal {
    /// The contexts with their IDs.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (u8, &ProposedContext)> {
        (1..=u8::MAX).step_by(2).zip(&self.contexts)
    }

    /// The role for a SOP class that is proposed.
    pub(super) fn role(&self, abstract_syntax: &str) -> Role {
        let mut of_class = self.contexts.iter().filter(|context| &*context.abstract_syntax == abstract_syntax);
        of_class.next().map_or(Role::Scu, |context| context.role)
    }

    /// The A-ASSOCIATE-RQ PDU.
    pub(super) fn encode(&self) -> Result<Vec<u8>, ProposalFault> {
        if ![&self.calling_ae_title, &self.called_ae_title].into_iter().all(|title| is_ae_title(title)) {
            return Err(ProposalFault::AeTitle);
        }
        if !(1..=MOST_CONTEXTS).contains(&self.contexts.len()) {
            return Err(ProposalFault::Contexts);
        }
        if !self.contexts.iter().all(ProposedContext::has_valid_syntaxes) {
            return Err(ProposalFault::Syntaxes);
        }
        let presentation_contexts = self.numbered().map(|(id, context)| PresentationContextProposed {
            id,
            abstract_syntax: context.abstract_syntax.as_ref().to_owned(),
            transfer_syntaxes: context.transfer_syntaxes.iter().map(|uid| uid.as_ref().to_owned()).collect(),
        });
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: self.calling_ae_title.clone(),
            called_ae_title: self.called_ae_title.clone(),
            application_context_name: APPLICATION_CONTEXT.to_owned(),
            presentation_contexts: presentation_contexts.collect(),
            user_variables: self.user_information(),
        };
        let mut pdu = Vec::with_capacity(1024);
        write_pdu(&mut pdu, &Pdu::AssociationRQ(request)).map_err(|_| ProposalFault::Syntaxes)?;
        Ok(pdu)
    }

    fn user_information(&self) -> Vec<UserVariableItem> {
        let mut items = vec![
            UserVariableItem::MaxLength(self.max_pdu_length),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
        ];
        if self.async_operations > 1 {
            // Operations invoked by us, and performed by us, which serve none.
            let window = [self.async_operations.to_be_bytes(), 1_u16.to_be_bytes()].concat();
            items.push(UserVariableItem::Unknown(item::ASYNC_OPERATIONS_WINDOW, window));
        }
        let mut answered: Vec<&str> = Vec::new();
        for context in self.contexts.iter().filter(|context| context.role == Role::Scp) {
            let is_new = !answered.contains(&&*context.abstract_syntax);
            if is_new && self.role(&context.abstract_syntax) == Role::Scp {
                let roles = RequestorRoles { scu: false, scp: true };
                items.push(UserVariableItem::ScuScpRoleSelectionSubItem(context.abstract_syntax.to_string(), roles));
                answered.push(&context.abstract_syntax);
            }
        }
        items
    }
}

fn is_ae_title(title: &str) -> bool {
    let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'\\';
    (1..=16).contains(&title.len()) && title.bytes().all(is_allowed) && title.bytes().any(|byte| byte != b' ')
}
