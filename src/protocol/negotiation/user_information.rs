//! The user information items of an association request, and the answers to them (PS3.7 Annex D.3.3).

use std::collections::HashSet;

use dicom_ul::pdu::{self, RequestorRoles, UserIdentityType, UserVariableItem};

use super::contexts::Contexts;
use super::item;
use super::policy::Policy;
use crate::syntaxes::{STORAGE_COMMITMENT, unpadded};
use crate::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

/// A user name, and the passcode if one is given. Bytes of a peer; neither is shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct UserIdentity {
    /// The user name, UTF-8 by the standard.
    pub name: Vec<u8>,
    /// The passcode; `None` where the name alone was given.
    pub passcode: Option<Vec<u8>>,
}

impl std::fmt::Debug for UserIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserIdentity").field("has_passcode", &self.passcode.is_some()).finish_non_exhaustive()
    }
}

/// The outcome of the user information.
pub(super) struct UserInformation {
    /// The items of the answer.
    pub(super) answer: Vec<UserVariableItem>,
    /// Largest P-DATA-TF PDU that the peer accepts; 0: no limit.
    pub(super) peer_max_pdu_length: u32,
    pub(super) peer_implementation: String,
    /// Operations the peer may have outstanding.
    pub(super) async_operations: u16,
    pub(super) identity: Option<UserIdentity>,
    /// Whether the peer asks for a positive answer to its user identity.
    pub(super) asks_confirmation: bool,
    /// Whether the peer asks for the role of an SCP of storage commitment.
    pub(super) asks_to_report: bool,
}

impl UserInformation {
    /// The SOP classes of which the requestor does not take the role of an SCU.
    pub(super) fn roles_denied(&self) -> impl Iterator<Item = &str> {
        self.answer.iter().filter_map(|item| match item {
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) if !roles.scu => Some(uid.as_str()),
            _ => None,
        })
    }
}

/// Answers the user information of a request (PS3.7 Annex D.3.3). Every item is answered once, however often it is asked, so the
/// answer has room in its 16-bit length.
pub(super) fn answer_user_information(
    policy: &Policy,
    contexts: &Contexts,
    asked: &[UserVariableItem],
) -> UserInformation {
    let mut answer = vec![
        UserVariableItem::MaxLength(policy.max_pdu_length),
        UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS_UID.to_owned()),
        UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION_NAME.to_owned()),
    ];
    let mut peer_max_pdu_length = 0;
    let (mut class_uid, mut version_name) = ("", "");
    let (mut window, mut identity, mut asks_confirmation) = (None, None, false);
    let mut asks_to_report = false;
    let mut roles_unanswered: HashSet<&str> = contexts.iter().map(|c| &*c.abstract_syntax).collect();
    for item in asked {
        match item {
            UserVariableItem::MaxLength(length) => peer_max_pdu_length = *length,
            UserVariableItem::ImplementationClassUID(uid) => class_uid = uid,
            UserVariableItem::ImplementationVersionName(name) => version_name = name,
            UserVariableItem::Unknown(item::ASYNC_OPERATIONS_WINDOW, fields) => {
                window = answer_async_operations(policy, fields).or(window);
            }
            UserVariableItem::ScuScpRoleSelectionSubItem(uid, roles) if roles_unanswered.remove(unpadded(uid)) => {
                asks_to_report |= roles.scp && unpadded(uid) == STORAGE_COMMITMENT;
                answer.push(answer_roles(uid, roles));
            }
            UserVariableItem::UserIdentityItem(asked) => {
                identity = user_identity(asked);
                asks_confirmation = identity.is_some() && asked.positive_response_requested();
            }
            // PS3.7 §D.3.3.5: no answer means the defaults of the SOP class. PS3.8 §D.2: what is unknown is ignored.
            UserVariableItem::ScuScpRoleSelectionSubItem(..)
            | UserVariableItem::SopClassExtendedNegotiationSubItem(..)
            | UserVariableItem::Unknown(..) => {}
        }
    }
    let async_operations = window.as_ref().map_or(1, |(invoked, _)| *invoked);
    answer.extend(window.map(|(_, item)| item));
    UserInformation {
        answer,
        peer_max_pdu_length,
        peer_implementation: peer_implementation(class_uid, version_name),
        async_operations,
        identity,
        asks_confirmation,
        asks_to_report,
    }
}

/// Both names, cut to the lengths they may have (PS3.7 §D.3.3.2).
pub(crate) fn peer_implementation(class_uid: &str, version_name: &str) -> String {
    let class_uid = unpadded(class_uid).chars().take(64);
    let version_name = unpadded(version_name).chars().take(16);
    let both: String = class_uid.chain([' ']).chain(version_name).collect();
    both.trim_matches(' ').to_owned()
}

/// PS3.7 §D.3.3.4: we are an SCP and nothing else, so the requestor may be the SCU and not the SCP. That holds for storage commitment too: its
/// SCP, who sends the N-EVENT-REPORT, is this node, unless the peer is one that it has asked for commitment: that is decided later.
fn answer_roles(uid: &str, asked: &RequestorRoles) -> UserVariableItem {
    let roles = RequestorRoles { scu: asked.scu, scp: false };
    UserVariableItem::ScuScpRoleSelectionSubItem(unpadded(uid).to_owned(), roles)
}

/// PS3.7 §D.3.3.3: operations invoked and performed, two bytes each; 0 asks for no limit. We invoke one
/// operation at a time, so "performed" is never more than 1.
fn answer_async_operations(policy: &Policy, fields: &[u8]) -> Option<(u16, UserVariableItem)> {
    let &[i1, i0, p1, p0] = fields else {
        return None;
    };
    let within = |asked: u16, most: u16| if asked == 0 { most } else { asked.min(most) };
    let invoked = within(u16::from_be_bytes([i1, i0]), policy.async_operations.max(1));
    let performed = within(u16::from_be_bytes([p1, p0]), 1);
    let answer = [invoked.to_be_bytes(), performed.to_be_bytes()].concat();
    Some((invoked, UserVariableItem::Unknown(item::ASYNC_OPERATIONS_WINDOW, answer)))
}

/// PS3.7 §D.3.3.7: the user is named by a user name, with or without a passcode. A ticket or assertion would need an answer we
/// cannot make, so it counts as none and gets none: the requestor decides.
fn user_identity(asked: &pdu::UserIdentity) -> Option<UserIdentity> {
    let passcode = match asked.identity_type() {
        UserIdentityType::Username => None,
        UserIdentityType::UsernamePassword => Some(asked.secondary_field()),
        _ => return None,
    };
    Some(UserIdentity { name: asked.primary_field(), passcode })
}

/// PS3.7 §D.3.3.7.2: the user was verified. An association whose user is not right is rejected.
pub(super) fn positive() -> UserVariableItem {
    UserVariableItem::Unknown(item::USER_IDENTITY_RESPONSE, vec![0, 0])
}
