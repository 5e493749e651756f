//! What an association has to do with commitment: its context, the request whose response is awaited, and the report that arrives.

use std::collections::VecDeque;

use tidegate_protocol::Operation;
use tidegate_protocol::commitment::Encoding;
use tidegate_protocol::requestor::{Acceptance, ProposedContext, Role};
use tidegate_protocol::syntaxes::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::report::{Arriving, MOST_WAITING, NotTaken, Taken};

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
    /// Requests that the destination has taken on it and not reported.
    pub(super) unreported: usize,
    /// Reports that wait until what they say is durable. A destination that reports several requests does not wait in between.
    pub(super) replying: VecDeque<(Operation, oneshot::Receiver<Taken>)>,
}

/// A request whose response is awaited.
pub(super) struct Awaited {
    pub(super) message_id: u16,
    /// The number of its transaction.
    pub(super) transaction: i64,
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
        self.arriving.is_some() || self.is_replying()
    }

    /// Whether a report is to be answered.
    pub(super) fn is_replying(&self) -> bool {
        !self.replying.is_empty()
    }

    /// Whether another report can wait for its answer.
    pub(super) fn has_room(&self) -> bool {
        self.replying.len() < MOST_WAITING
    }

    /// Waits until what the first report says is durable, if there is one.
    pub(super) async fn replied(&mut self) -> Taken {
        match self.replying.front_mut() {
            Some((_, receiver)) => receiver.await.unwrap_or_else(|_| Err(NotTaken::failed())),
            None => std::future::pending().await,
        }
    }
}
