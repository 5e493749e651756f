//! Writes the event information of an N-EVENT-REPORT-RQ (PS3.4 table J.3-2).

use super::{Encoding, Reference, UNDEFINED, tag};

/// What a report says besides its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    /// Transaction UID (0008,1195) of the request.
    pub transaction_uid: &'a str,
    /// Retrieve AE Title (0008,0054), if there is one to name.
    pub retrieve_ae_title: Option<&'a str>,
}

/// A failed reference behind a committed one: the Failed SOP Sequence comes first, as elements ascend (PS3.5 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a failed reference cannot follow a committed one")]
pub struct OutOfOrder;

/// The sequence that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    Failed,
    Committed,
}

/// Event information that is being written: first the references that failed, then those that are committed. Sequences have undefined
/// length, which every reader must take (PS3.5 §7.5.1); it holds no references.
#[derive(Clone, Copy, Debug)]
pub struct EventInformation {
    encoding: Encoding,
    open: Open,
}

impl EventInformation {
    /// Writes what precedes the references.
    pub fn begin(out: &mut Vec<u8>, encoding: Encoding, terms: &Terms<'_>) -> Self {
        let writer = Self { encoding, open: Open::Nothing };
        if let Some(title) = terms.retrieve_ae_title {
            writer.text(out, tag::RETRIEVE_AE_TITLE, b"AE", title, b' ');
        }
        writer.text(out, tag::TRANSACTION_UID, b"UI", terms.transaction_uid, 0);
        writer
    }

    /// Writes a reference that is not committed, with its Failure Reason (0008,1197) (PS3.3 §C.14.1.1).
    ///
    /// # Errors
    /// A committed reference was written before.
    pub fn failed(&mut self, out: &mut Vec<u8>, reference: Reference<'_>, reason: u16) -> Result<(), OutOfOrder> {
        match self.open {
            Open::Committed => return Err(OutOfOrder),
            Open::Failed => {}
            Open::Nothing => self.begin_sequence(out, tag::FAILED_SOP_SEQUENCE),
        }
        self.open = Open::Failed;
        self.item(out, reference, Some(reason));
        Ok(())
    }

    /// Writes a reference that is committed.
    pub fn committed(&mut self, out: &mut Vec<u8>, reference: Reference<'_>) {
        if self.open != Open::Committed {
            self.end_sequence(out);
            self.begin_sequence(out, tag::REFERENCED_SOP_SEQUENCE);
            self.open = Open::Committed;
        }
        self.item(out, reference, None);
    }

    /// Writes the end.
    pub fn end(self, out: &mut Vec<u8>) {
        self.end_sequence(out);
    }

    fn begin_sequence(&self, out: &mut Vec<u8>, tag: u32) {
        self.header(out, tag, b"SQ", UNDEFINED);
    }

    fn end_sequence(&self, out: &mut Vec<u8>) {
        if self.open != Open::Nothing {
            delimiter(out, tag::SEQUENCE_END, 0);
        }
    }

    fn item(&self, out: &mut Vec<u8>, reference: Reference<'_>, reason: Option<u16>) {
        delimiter(out, tag::ITEM, 0);
        let begin = out.len();
        self.text(out, tag::REFERENCED_SOP_CLASS, b"UI", reference.sop_class, 0);
        self.text(out, tag::REFERENCED_SOP_INSTANCE, b"UI", reference.sop_instance, 0);
        if let Some(reason) = reason {
            self.header(out, tag::FAILURE_REASON, b"US", 2);
            out.extend_from_slice(&reason.to_le_bytes());
        }
        let length = ((out.len() - begin) as u32).to_le_bytes(); // three short elements
        if let Some(field) = out.get_mut(begin - length.len()..begin) {
            field.copy_from_slice(&length);
        }
    }

    /// PS3.5 §6.2: every value has an even length.
    fn text(&self, out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], value: &str, padding: u8) {
        let odd = value.len() % 2;
        self.header(out, tag, vr, (value.len() + odd) as u32);
        out.extend_from_slice(value.as_bytes());
        out.extend(std::iter::repeat_n(padding, odd));
    }

    fn header(&self, out: &mut Vec<u8>, tag: u32, vr: &[u8; 2], length: u32) {
        write_tag(out, tag);
        match self.encoding {
            Encoding::Implicit => out.extend_from_slice(&length.to_le_bytes()),
            Encoding::Explicit if vr == b"SQ" => {
                out.extend_from_slice(b"SQ\0\0");
                out.extend_from_slice(&length.to_le_bytes());
            }
            Encoding::Explicit => {
                out.extend_from_slice(vr);
                out.extend_from_slice(&(length as u16).to_le_bytes()); // UIDs and AE titles
            }
        }
    }
}

/// An item or a delimiter: it has no VR (PS3.5 §7.5).
fn delimiter(out: &mut Vec<u8>, tag: u32, length: u32) {
    write_tag(out, tag);
    out.extend_from_slice(&length.to_le_bytes());
}

fn write_tag(out: &mut Vec<u8>, tag: u32) {
    out.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    out.extend_from_slice(&(tag as u16).to_le_bytes());
}
