//! The dataset of a report, as a stream: it is read from the record in chunks.

use tidegate_commitment::{Outcome, Referenced};
use tidegate_protocol::commitment::{Encoding, EventInformation, Reference, Terms};

use super::shared::{Begun, Ticket};

/// References that are read at a time.
pub(super) const CHUNK: u32 = 500;
/// Memory of a report that is being sent: a chunk, and its encoding.
pub(crate) const REPORT_BYTES: u64 = 512 << 10;

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
