//! A report on its way: the right to send it, and its dataset as a stream. Whoever sends it asks the child, which holds it against the files at
//! that moment, and reads it from the file in chunks.

use std::sync::Arc;

use tidegate_commitment::{Outcome, Referenced};
use tidegate_protocol::commitment::{Encoding, EventInformation, Reference, Terms};
use tokio::sync::oneshot;

use super::shared::Shared;

/// References that are read at a time.
pub(super) const CHUNK: u32 = 500;
/// Memory of a report that is being sent: a chunk, and its encoding.
pub(crate) const REPORT_BYTES: u64 = 512 << 10;

/// How a report ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer has taken it.
    Reported,
    /// It has not.
    Failed {
        /// The status that it answered with.
        status: Option<u16>,
        /// Why.
        why: String,
    },
    /// The association on which it was to be sent has ended.
    Lost,
    /// The node stops.
    Stopped,
}

impl Ended {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self::Failed { status: None, why: why.into() }
    }
}

/// What the child is asked for by the sender of a report.
pub(super) enum Question {
    /// The outcome at this moment.
    Begin(oneshot::Sender<Result<Begun, String>>),
    /// References from a position on.
    Chunk(u32, oneshot::Sender<Vec<Referenced>>),
}

/// The outcome of a request when its report begins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    pub(crate) committed: u32,
    pub(crate) refused: u32,
}

impl Begun {
    /// Event Type ID (PS3.4 §J.3.3.1): 1 all committed, 2 some failed.
    pub(crate) fn event_type(self) -> u16 {
        if self.refused == 0 { 1 } else { 2 }
    }
}

/// The right to report a request. If it is dropped, the report is lost.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    pub(crate) request: i64,
    pub(crate) transaction_uid: String,
    has_ended: bool,
}

impl Ticket {
    pub(super) fn new(shared: Arc<Shared>, request: i64, transaction_uid: String) -> Self {
        Self { shared, request, transaction_uid, has_ended: false }
    }

    pub(crate) fn end(mut self, ended: Ended) {
        self.has_ended = true;
        self.shared.report_ended(self.request, ended);
    }

    /// Has the child look at the files, and returns the outcome.
    ///
    /// # Errors
    /// Why there is none at the moment.
    pub(crate) async fn begin(&self) -> Result<Begun, String> {
        let (reply, begun) = oneshot::channel();
        self.shared.ask_of_report(self.request, Question::Begin(reply));
        begun.await.unwrap_or_else(|_| Err("the outcome could not be looked at".to_owned()))
    }

    async fn chunk(&self, from: u32) -> Option<Vec<Referenced>> {
        let (reply, chunk) = oneshot::channel();
        self.shared.ask_of_report(self.request, Question::Chunk(from, reply));
        chunk.await.ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.report_ended(self.request, Ended::Lost);
        }
    }
}

/// The references that are written: the Failed SOP Sequence comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Failed,
    Committed,
    Over,
}

/// The dataset of a report.
pub(crate) struct Dataset {
    writer: EventInformation,
    begun: Begun,
    pass: Pass,
    position: u32,
    /// Written of this pass.
    written: u32,
    /// Before the first reference.
    head: Vec<u8>,
}

/// The record could not be read, or changed while the report was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Dataset {
    pub(crate) fn new(ticket: &Ticket, begun: Begun, encoding: Encoding, retrieve_ae_title: &str) -> Self {
        let mut head = Vec::new();
        let terms = Terms { transaction_uid: &ticket.transaction_uid, retrieve_ae_title: Some(retrieve_ae_title) };
        let writer = EventInformation::begin(&mut head, encoding, &terms);
        let pass = if begun.refused > 0 { Pass::Failed } else { Pass::Committed };
        Self { writer, begun, pass, position: 0, written: 0, head }
    }

    /// The next bytes; `None`: it has ended.
    pub(crate) async fn next(&mut self, ticket: &Ticket) -> Result<Option<Vec<u8>>, Unreadable> {
        if self.pass == Pass::Over {
            return Ok(None);
        }
        let mut out = std::mem::take(&mut self.head);
        let expected = if self.pass == Pass::Failed { self.begun.refused } else { self.begun.committed };
        if self.written < expected {
            let chunk = ticket.chunk(self.position).await.ok_or(Unreadable)?;
            if chunk.is_empty() {
                return Err(Unreadable);
            }
            for referenced in &chunk {
                self.write(&mut out, referenced)?;
                self.position = referenced.position + 1;
            }
        }
        if self.written >= expected {
            (self.position, self.written) = (0, 0);
            self.pass = match self.pass {
                Pass::Failed if self.begun.committed > 0 => Pass::Committed,
                _ => Pass::Over,
            };
            if self.pass == Pass::Over {
                self.writer.end(&mut out);
            }
        }
        Ok(Some(out))
    }

    fn write(&mut self, out: &mut Vec<u8>, referenced: &Referenced) -> Result<(), Unreadable> {
        let (class, instance) =
            (referenced.reference.sop_class.to_string(), referenced.reference.sop_instance.to_string());
        let reference = Reference { sop_class: &class, sop_instance: &instance };
        match (self.pass, referenced.outcome) {
            (Pass::Failed, Some(Outcome::Failed(reason))) => {
                self.writer.failed(out, reference, reason.code()).map_err(|_| Unreadable)?;
            }
            (Pass::Committed, Some(Outcome::Committed)) => self.writer.committed(out, reference),
            _ => return Ok(()),
        }
        self.written += 1;
        Ok(())
    }
}
