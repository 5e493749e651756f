//! A C-ECHO (PS3.4 annex A) at the beginning of an association, while instances were lost or are late. Its answer tells a destination that is dead from
//! one that dies of certain instances, or never answers them.

use tidegate_protocol::requestor::{Acceptance, ProposedContext, Role};
use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, VERIFICATION};
use tokio::time::Instant;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Echo {
    /// There is no doubt, or the destination offers no Verification.
    None,
    /// It is to be sent in this presentation context, before anything else.
    Due(u8),
    /// Its response is awaited.
    Awaited { message_id: u16, sent: Instant },
    /// The destination has answered it.
    Answered,
}

/// The context of it.
pub(super) fn proposed() -> ProposedContext {
    ProposedContext {
        abstract_syntax: VERIFICATION.into(),
        transfer_syntaxes: vec![IMPLICIT_VR_LITTLE_ENDIAN.into(), EXPLICIT_VR_LITTLE_ENDIAN.into()],
        role: Role::Scu,
    }
}

impl Echo {
    /// It is due if the destination has accepted its context.
    pub(super) fn new(acceptance: &Acceptance) -> Self {
        let answer = acceptance.contexts.iter().find(|answer| &*answer.abstract_syntax == VERIFICATION);
        let accepted = answer.filter(|answer| answer.outcome.as_ref().is_ok_and(|accepted| accepted.is_scu));
        accepted.map_or(Self::None, |answer| Self::Due(answer.id))
    }

    /// When it was sent, while its response is awaited.
    pub(super) fn awaited(self) -> Option<Instant> {
        match self {
            Self::Awaited { sent, .. } => Some(sent),
            Self::None | Self::Due(_) | Self::Answered => None,
        }
    }
}
