//! What an association has to do with commitment: its context, the request whose response is awaited, and the report that arrives.

use tidegate_protocol::commitment::Encoding;
use tidegate_protocol::requestor::{Acceptance, ProposedContext, Role};
use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT};
use tidegate_protocol::{Operation, ReportStatus};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::report::Arriving;

/// What an association has to do with commitment.
#[derive(Default)]
pub(super) struct Asking {
    /// The context, or why there is none.
    pub(super) context: Option<Result<(u8, Encoding), String>>,
    /// The request whose response is awaited.
    pub(super) awaited: Option<Awaited>,
    /// Until when the association is kept open for a report.
    pub(super) reports_until: Option<Instant>,
    pub(super) arriving: Option<Arriving>,
    /// A report that waits until what it says is durable.
    pub(super) replying: Option<(Operation, oneshot::Receiver<ReportStatus>)>,
}

/// A request whose response is awaited.
pub(super) struct Awaited {
    pub(super) message_id: u16,
    pub(super) sent: Instant,
}

/// The context in which a destination is asked for commitment.
pub(super) fn proposed() -> ProposedContext {
    ProposedContext {
        abstract_syntax: STORAGE_COMMITMENT.into(),
        transfer_syntaxes: vec![EXPLICIT_VR_LITTLE_ENDIAN.into(), IMPLICIT_VR_LITTLE_ENDIAN.into()],
        role: Role::Scu,
    }
}

impl Asking {
    pub(super) fn new(acceptance: &Acceptance) -> Self {
        let answer = acceptance.contexts.iter().find(|answer| &*answer.abstract_syntax == STORAGE_COMMITMENT);
        let context = answer.map(|answer| match &answer.outcome {
            Ok(accepted) => match Encoding::of(&accepted.transfer_syntax) {
                Some(encoding) if accepted.is_scu => Ok((answer.id, encoding)),
                _ => Err("the destination does not accept this node as scu of storage commitment".to_owned()),
            },
            Err(why) => Err(format!("the destination does not offer storage commitment: {why}")),
        });
        Self { context, ..Self::default() }
    }

    /// Whether a report arrives, or is to be answered.
    pub(super) fn is_reporting(&self) -> bool {
        self.arriving.is_some() || self.replying.is_some()
    }

    /// Whether a report is to be answered.
    pub(super) fn is_replying(&self) -> bool {
        self.replying.is_some()
    }

    /// Waits until what a report says is durable, if there is one.
    pub(super) async fn replied(&mut self) -> ReportStatus {
        match &mut self.replying {
            Some((_, receiver)) => receiver.await.unwrap_or(ReportStatus::ProcessingFailure),
            None => std::future::pending().await,
        }
    }
}
