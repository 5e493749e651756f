//! Reads the action information of an N-ACTION-RQ (PS3.4 table J.3-1), and the event information of an N-EVENT-REPORT-RQ (table J.3-2).

use super::fault::InformationFault;
use super::header::{Header, header_bytes};
use super::{Encoding, Reference, UNDEFINED, tag};

/// Sequences and items inside one another at most.
const MOST_OPEN: usize = 32;
/// Bytes of a value that is looked at, padding included. Without it there are 64 at most.
const MOST_VALUE_BYTES: u32 = 128;
const MOST_CHARS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The Referenced SOP Sequence, or the Failed SOP Sequence of a report.
    References,
    /// An item of it.
    Reference,
    /// A sequence of any other element.
    OtherSequence,
    /// An item of undefined length of such a sequence.
    OtherItem,
}

/// A sequence or item that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    kind: Kind,
    encoding: Encoding,
    /// The offset that nothing in it may pass: its own end, or that of what it is in.
    limit: u64,
    /// It ends at a delimiter, not at `limit`.
    is_undefined: bool,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    Header,
    /// The value of a tag that is looked at.
    Value {
        tag: u32,
        left: u32,
    },
    Skip {
        left: u32,
    },
    /// A fault was found; what follows is of no interest.
    Failed(InformationFault),
}

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The action information of an N-ACTION.
    Action,
    /// The event information of an N-EVENT-REPORT: it may have a Failed SOP Sequence (0008,1198), too.
    Event,
}

/// The reason of a failed reference that has none (PS3.3 §C.14.1.1): processing failure.
const NO_REASON: u16 = 0x0110;

/// The information of a request, read as a stream. It holds one reference at a time, whatever the lengths in the dataset are.
#[derive(Debug)]
pub struct Information {
    form: Form,
    encoding: Encoding,
    most_references: u32,
    reading: Reading,
    /// Bytes of a header that is incomplete.
    header: Vec<u8>,
    /// Bytes of a value that is incomplete.
    value: Vec<u8>,
    open: Vec<Open>,
    /// Bytes read.
    position: u64,
    references: u32,
    has_referenced: bool,
    has_failed: bool,
    /// The sequence that is open is the Failed SOP Sequence.
    is_failed: bool,
    /// Of the item that is open.
    reason: Option<u16>,
    // Empty: not read yet.
    transaction_uid: String,
    sop_class: String,
    sop_instance: String,
}

impl Information {
    /// A dataset of which nothing has been read. It may have `most_references` references.
    pub fn new(form: Form, encoding: Encoding, most_references: u32) -> Self {
        Self {
            form,
            encoding,
            most_references,
            reading: Reading::Header,
            header: Vec::new(),
            value: Vec::new(),
            open: Vec::new(),
            position: 0,
            references: 0,
            has_referenced: false,
            has_failed: false,
            is_failed: false,
            reason: None,
            transaction_uid: String::new(),
            sop_class: String::new(),
            sop_instance: String::new(),
        }
    }

    /// Reads the next bytes, and passes each reference they complete to `take`, in the order of the dataset, with the Failure Reason (0008,1197) of
    /// one that has failed. The references are those of a request only if [`Self::finish`] says so.
    ///
    /// # Errors
    /// [`InformationFault`]. Each later call gives it again, and reads nothing.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        while !bytes.is_empty() {
            let read = match self.reading {
                Reading::Header => self.read_header(&mut bytes, take),
                Reading::Value { tag, left } => self.read_value(&mut bytes, tag, left, take),
                Reading::Skip { left } => self.skip(&mut bytes, left, take),
                Reading::Failed(fault) => Err(fault),
            };
            if let Err(fault) = read {
                self.reading = Reading::Failed(fault);
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Ends the dataset. Returns its Transaction UID: 1 to 64 characters of printable ASCII without blanks, which need not be a UID.
    ///
    /// # Errors
    /// [`InformationFault`]: the first fault of [`Self::push`], or that the dataset is incomplete.
    pub fn finish(self) -> Result<String, InformationFault> {
        match self.reading {
            Reading::Failed(fault) => return Err(fault),
            // Padding behind the dataset is of no meaning.
            Reading::Header if self.open.is_empty() && self.header.iter().all(|byte| *byte == 0) => {}
            _ => return Err(InformationFault::Truncated),
        }
        if self.transaction_uid.is_empty() {
            return Err(InformationFault::Missing(tag::TRANSACTION_UID));
        }
        if !self.has_referenced && !self.has_failed {
            return Err(InformationFault::Missing(tag::REFERENCED_SOP_SEQUENCE));
        }
        if self.references == 0 { Err(InformationFault::NoReferences) } else { Ok(self.transaction_uid) }
    }

    /// References read so far.
    pub fn references(&self) -> u32 {
        self.references
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let texts = [&self.transaction_uid, &self.sop_class, &self.sop_instance].map(|text| text.capacity());
        let open = self.open.capacity() * size_of::<Open>();
        self.header.capacity() + self.value.capacity() + open + texts.iter().sum::<usize>()
    }

    fn encoding(&self) -> Encoding {
        self.open.last().map_or(self.encoding, |open| open.encoding)
    }

    fn limit(&self) -> u64 {
        self.open.last().map_or(u64::MAX, |open| open.limit)
    }

    fn read_header(
        &mut self,
        bytes: &mut &[u8],
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        let needed = header_bytes(&self.header, self.encoding());
        let now = take_bytes(bytes, needed - self.header.len());
        self.header.extend_from_slice(now);
        self.position += now.len() as u64;
        if self.position > self.limit() {
            return Err(InformationFault::Overrun);
        }
        let needed = header_bytes(&self.header, self.encoding());
        if self.header.len() < needed {
            return Ok(()); // the first eight bytes may say that there are four more
        }
        let header = Header::read(&self.header, self.encoding())?;
        self.header.clear();
        if header.length != UNDEFINED && u64::from(header.length) > self.limit() - self.position {
            return Err(InformationFault::Overrun);
        }
        self.begin(&header, take)?;
        match self.reading {
            Reading::Header => self.close(take),
            _ => Ok(()),
        }
    }

    /// Begins the element, item or delimiter of a header.
    fn begin(
        &mut self,
        header: &Header,
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        let top = self.open.last().map(|open| open.kind);
        match (top, header.tag) {
            (Some(Kind::References), tag::ITEM) => self.push_open(Kind::Reference, header, self.encoding()),
            (Some(Kind::OtherSequence), tag::ITEM) if header.length == UNDEFINED => {
                self.push_open(Kind::OtherItem, header, self.encoding())
            }
            (Some(Kind::OtherSequence), tag::ITEM) => self.begin_skip(header.length),
            (Some(Kind::References | Kind::OtherSequence), tag::SEQUENCE_END)
            | (Some(Kind::Reference | Kind::OtherItem), tag::ITEM_END) => self.delimit(header, take),
            (Some(Kind::References | Kind::OtherSequence), _) | (_, tag::ITEM | tag::ITEM_END | tag::SEQUENCE_END) => {
                Err(InformationFault::Structure)
            }
            (None, tag::TRANSACTION_UID)
            | (Some(Kind::Reference), tag::REFERENCED_SOP_CLASS | tag::REFERENCED_SOP_INSTANCE) => {
                self.begin_value(header)
            }
            (Some(Kind::Reference), tag::FAILURE_REASON) if self.is_failed => self.begin_value(header),
            (None, tag::REFERENCED_SOP_SEQUENCE) => self.begin_references(header),
            (None, tag::FAILED_SOP_SEQUENCE) if self.form == Form::Event => self.begin_references(header),
            (None | Some(Kind::Reference | Kind::OtherItem), _) if header.length != UNDEFINED => {
                self.begin_skip(header.length)
            }
            (None | Some(Kind::Reference | Kind::OtherItem), _) => {
                // PS3.5 §7.1.2 and §A.4: a sequence, one of unknown VR, or fragments, which are framed as items are.
                if header.vr.is_some_and(|vr| !matches!(&vr, b"SQ" | b"UN" | b"OB" | b"OW")) {
                    return Err(InformationFault::Structure);
                }
                self.push_open(Kind::OtherSequence, header, self.encoding_of(header))
            }
        }
    }

    /// PS3.5 §6.2.2: a sequence of VR UN is in implicit VR, whatever it is in.
    fn encoding_of(&self, header: &Header) -> Encoding {
        if header.vr.as_ref().is_some_and(|vr| vr == b"UN") { Encoding::Implicit } else { self.encoding() }
    }

    fn begin_references(&mut self, header: &Header) -> Result<(), InformationFault> {
        if header.vr.is_some_and(|vr| !matches!(&vr, b"SQ" | b"UN")) {
            return Err(InformationFault::Vr);
        }
        self.is_failed = header.tag == tag::FAILED_SOP_SEQUENCE;
        let has_sequence = if self.is_failed { &mut self.has_failed } else { &mut self.has_referenced };
        if std::mem::replace(has_sequence, true) {
            return Err(InformationFault::Repeated(header.tag));
        }
        self.push_open(Kind::References, header, self.encoding_of(header))
    }

    fn push_open(&mut self, kind: Kind, header: &Header, encoding: Encoding) -> Result<(), InformationFault> {
        if self.open.len() >= MOST_OPEN {
            return Err(InformationFault::Depth);
        }
        let is_undefined = header.length == UNDEFINED;
        let limit = if is_undefined { self.limit() } else { self.position + u64::from(header.length) };
        self.open.push(Open { kind, encoding, limit, is_undefined });
        Ok(())
    }

    fn delimit(
        &mut self,
        header: &Header,
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        match self.open.pop() {
            Some(open) if open.is_undefined && header.length == 0 => self.closed(open.kind, take),
            _ => Err(InformationFault::Structure),
        }
    }

    /// Closes what ends here by its length.
    fn close(&mut self, take: &mut dyn FnMut(Reference<'_>, Option<u16>)) -> Result<(), InformationFault> {
        while let Some(open) = self.open.pop_if(|open| !open.is_undefined && open.limit == self.position) {
            self.closed(open.kind, take)?;
        }
        Ok(())
    }

    fn closed(&mut self, kind: Kind, take: &mut dyn FnMut(Reference<'_>, Option<u16>)) -> Result<(), InformationFault> {
        if kind != Kind::Reference {
            return Ok(());
        }
        if self.sop_class.is_empty() {
            return Err(InformationFault::Missing(tag::REFERENCED_SOP_CLASS));
        }
        if self.sop_instance.is_empty() {
            return Err(InformationFault::Missing(tag::REFERENCED_SOP_INSTANCE));
        }
        if self.references >= self.most_references {
            return Err(InformationFault::TooManyReferences { most: self.most_references });
        }
        self.references += 1;
        let reason = self.reason.take().unwrap_or(NO_REASON);
        let reference = Reference { sop_class: &self.sop_class, sop_instance: &self.sop_instance };
        take(reference, self.is_failed.then_some(reason));
        self.sop_class.clear();
        self.sop_instance.clear();
        Ok(())
    }

    fn begin_value(&mut self, header: &Header) -> Result<(), InformationFault> {
        if header.length == 0 || header.length > MOST_VALUE_BYTES {
            return Err(InformationFault::Value(header.tag));
        }
        self.reading = Reading::Value { tag: header.tag, left: header.length };
        Ok(())
    }

    fn read_value(
        &mut self,
        bytes: &mut &[u8],
        tag: u32,
        left: u32,
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        let now = take_bytes(bytes, left as usize);
        self.value.extend_from_slice(now);
        self.position += now.len() as u64;
        let left = left - now.len() as u32;
        if left > 0 {
            self.reading = Reading::Value { tag, left };
            return Ok(());
        }
        self.reading = Reading::Header;
        if tag == tag::FAILURE_REASON {
            let reason =
                self.value.first_chunk().copied().map(u16::from_le_bytes).ok_or(InformationFault::Value(tag))?;
            self.value.clear();
            self.reason = Some(reason);
            return self.close(take);
        }
        let field = match tag {
            tag::TRANSACTION_UID => &mut self.transaction_uid,
            tag::REFERENCED_SOP_CLASS => &mut self.sop_class,
            _ => &mut self.sop_instance,
        };
        if !field.is_empty() {
            return Err(InformationFault::Repeated(tag));
        }
        field.push_str(identifier(&self.value).ok_or(InformationFault::Value(tag))?);
        self.value.clear();
        self.close(take)
    }

    fn begin_skip(&mut self, length: u32) -> Result<(), InformationFault> {
        if length > 0 {
            self.reading = Reading::Skip { left: length };
        }
        Ok(())
    }

    fn skip(
        &mut self,
        bytes: &mut &[u8],
        left: u32,
        take: &mut dyn FnMut(Reference<'_>, Option<u16>),
    ) -> Result<(), InformationFault> {
        let now = take_bytes(bytes, left as usize).len();
        self.position += now as u64;
        let left = left - now as u32;
        if left > 0 {
            self.reading = Reading::Skip { left };
            return Ok(());
        }
        self.reading = Reading::Header;
        self.close(take)
    }
}

/// Takes up to `most` bytes off the begin of `bytes`.
fn take_bytes<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (now, rest) = bytes.split_at(bytes.len().min(most));
    *bytes = rest;
    now
}

/// A value without its padding, if it is one that a report can repeat.
fn identifier(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?.trim_matches(['\0', ' ']);
    let is_kept = |byte: u8| byte.is_ascii_graphic() && byte != b'\\'; // a backslash divides values (PS3.5 §6.2)
    ((1..=MOST_CHARS).contains(&text.len()) && text.bytes().all(is_kept)).then_some(text)
}
