//! The elements of a dataset, read in one encoding and written in another. Iterative; holds one header, and a frame for each open sequence
//! and item.
//!
//! A sequence or item of defined length is written with undefined length and a delimiter (PS3.5 §7.5). The headers in it change their lengths,
//! so its new length is known only at its end, and its header has been sent by then. Both forms mean the same to every reader.

use dicom_core::Tag;
use dicom_dictionary_std::tags::{BITS_ALLOCATED, PIXEL_DATA, PIXEL_REPRESENTATION};

use crate::fault::Fault;
use crate::frame::{Frame, Kind, MAX_FRAMES};
use crate::header::{
    Header, ITEM, ITEM_DELIMITATION, ITEM_GROUP, MAX_HEADER_BYTES, MIN_HEADER_BYTES, SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH,
};
use crate::syntax::Encoding;
use crate::target::{self, Content, Signedness};
use crate::value::{Value, Way};
use crate::vr::UN;

#[derive(Debug)]
pub(crate) struct Elements {
    /// The dataset itself.
    dataset: Frame,
    /// The sequences and items that are open in it, the innermost last.
    open: Vec<Frame>,
    /// The value that is being read; `None`: a header is.
    value: Option<(Tag, Value)>,
    header: [u8; MAX_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the dataset that were read.
    offset: u64,
    /// The last element of the dataset itself.
    last: Tag,
    /// The number that is being read, so that what depends on it is written rightly.
    number: Option<Number>,
}

/// A number of two bytes that is being read.
#[derive(Clone, Copy, Debug)]
struct Number {
    tag: Tag,
    bytes: [u8; 2],
}

impl Elements {
    pub(crate) fn new(from: Encoding, to: Encoding) -> Self {
        Self {
            dataset: Frame::dataset(from, to),
            open: Vec::new(),
            value: None,
            header: [0; MAX_HEADER_BYTES],
            header_bytes: 0,
            offset: 0,
            last: Tag(0, 0),
            number: None,
        }
    }

    /// Takes at most one header, or what there is of one value, from the front of `bytes`, which is not empty: how many bytes. Of a value, as many
    /// bytes are written; of a header, at most [`MAX_HEADER_BYTES`], and the delimiters of what ends behind it.
    pub(crate) fn step(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> Result<usize, Fault> {
        if self.value.is_some() {
            return Ok(self.step_value(bytes, output));
        }
        let from = self.top().from;
        let begin = self.offset - self.header_bytes as u64;
        let mut taken = 0;
        loop {
            let needed = match self.header_bytes {
                ..MIN_HEADER_BYTES => MIN_HEADER_BYTES,
                _ => Header::bytes_of(&self.header, from).map_err(|tag| Fault::InvalidVr { tag, offset: begin })?,
            };
            if self.header_bytes == needed {
                break;
            }
            let now = (needed - self.header_bytes).min(bytes.len() - taken);
            if now == 0 {
                return Ok(taken);
            }
            self.header[self.header_bytes..self.header_bytes + now].copy_from_slice(&bytes[taken..taken + now]);
            self.header_bytes += now;
            self.offset += now as u64;
            taken += now;
        }
        let header = Header::read(&self.header, from);
        self.header_read(&header, begin, output)?;
        self.header_bytes = 0;
        self.close_ended(output);
        Ok(taken)
    }

    /// Ends the dataset.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if let Some((tag, value)) = &self.value {
            return Err(Fault::ValueCut { tag: *tag, missing_bytes: value.left });
        }
        if self.header_bytes > 0 {
            return Err(Fault::HeaderCut { offset: self.offset - self.header_bytes as u64 });
        }
        self.open.last().map_or(Ok(()), |frame| Err(Fault::NotClosed { tag: frame.tag }))
    }

    fn step_value(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> usize {
        let Some((_, value)) = &mut self.value else { return 0 };
        let taken = bytes.len().min(usize::try_from(value.left).unwrap_or(usize::MAX));
        value.take(&bytes[..taken], output);
        let is_ended = value.left == 0;
        self.offset += taken as u64;
        if let Some(number) = &mut self.number {
            number.bytes.rotate_left(taken);
            let kept = number.bytes.len() - taken;
            number.bytes[kept..].copy_from_slice(&bytes[..taken]);
        }
        if is_ended {
            self.value = None;
            if let Some(number) = self.number.take() {
                let top = self.open.last_mut().unwrap_or(&mut self.dataset);
                let value = top.from.u16_of(number.bytes);
                match number.tag {
                    BITS_ALLOCATED => top.bits_allocated = Some(value),
                    _ => top.is_signed = Some(value == 1),
                }
            }
            self.close_ended(output);
        }
        taken
    }

    fn top(&self) -> &Frame {
        self.open.last().unwrap_or(&self.dataset)
    }

    fn header_read(&mut self, header: &Header, begin: u64, output: &mut Vec<u8>) -> Result<(), Fault> {
        let frame = *self.top();
        let tag = header.tag;
        let length = if header.is_undefined() { 0 } else { header.length };
        if self.offset + u64::from(length) > frame.limit {
            return Err(Fault::BeyondParent { tag, offset: begin });
        }
        match (frame.kind, tag) {
            (Kind::Items, ITEM) => {
                self.write_open(header, None, &frame, frame.is_verbatim(), output);
                self.open(Kind::Elements, header, (frame.from, frame.to), begin)
            }
            (_, ITEM_DELIMITATION | SEQUENCE_DELIMITATION)
                if self.open.last().is_some_and(|open| open.end.is_none() && open.delimiter() == tag)
                    && header.length == 0 =>
            {
                header.write(frame.to, output);
                self.open.pop();
                Ok(())
            }
            (Kind::Elements, tag) if tag.group() != ITEM_GROUP => self.element(header, &frame, begin, output),
            _ => Err(Fault::OutOfPlace { tag, offset: begin }),
        }
    }

    fn element(&mut self, header: &Header, frame: &Frame, begin: u64, output: &mut Vec<u8>) -> Result<(), Fault> {
        let tag = header.tag;
        if self.open.is_empty() {
            self.last = tag;
        }
        match Content::of(header, frame.from, frame.to) {
            Content::Fragments if tag == PIXEL_DATA => Err(Fault::Encapsulated { offset: begin }),
            Content::Fragments => Err(Fault::UndefinedLength { tag, offset: begin }),
            Content::Items(from) => {
                let vr = target::sequence(header, frame.to)?;
                // The items of UN are in implicit VR on both sides.
                let to = if header.vr == Some(UN) { from } else { frame.to };
                self.write_open(header, vr, frame, from == to, output);
                self.open(Kind::Items, header, (from, to), begin)
            }
            Content::Value if frame.is_verbatim() => {
                output.extend_from_slice(&self.header[..self.header_bytes]);
                self.value_begins(header, Way::Copied);
                Ok(())
            }
            // A group length is retired, and would be another one (PS3.5 §7.2).
            Content::Value if tag.element() == 0 => {
                self.value_begins(header, Way::Dropped);
                Ok(())
            }
            Content::Value => {
                let signedness = Signedness::new(frame.is_signed, self.last);
                let (vr, way) = target::value(header, frame.from, frame.to, signedness)?;
                if let (PIXEL_DATA, Way::Swapped(2), Some(bits_allocated @ 17..)) = (tag, way, frame.bits_allocated) {
                    return Err(Fault::WordOrder { bits_allocated });
                }
                Header { vr, ..*header }.write(frame.to, output);
                self.value_begins(header, way);
                Ok(())
            }
        }
    }

    /// Writes the header of a sequence or item that stands in `frame`. `is_verbatim`: what is inside is written as it was read.
    fn write_open(&self, header: &Header, vr: Option<[u8; 2]>, frame: &Frame, is_verbatim: bool, output: &mut Vec<u8>) {
        if frame.is_verbatim() {
            return output.extend_from_slice(&self.header[..self.header_bytes]);
        }
        // In implicit VR, only an undefined length makes a sequence of an element that the dictionary does not have.
        let is_unlisted = frame.to.is_implicit() && frame.kind == Kind::Elements && !target::is_sequence(header);
        let length = if is_verbatim || header.length == 0 && !is_unlisted { header.length } else { UNDEFINED_LENGTH };
        Header { vr, length, ..*header }.write(frame.to, output);
        if header.length == 0 && length == UNDEFINED_LENGTH {
            Header { tag: SEQUENCE_DELIMITATION, vr: None, length: 0 }.write(frame.to, output);
        }
    }

    fn open(&mut self, kind: Kind, header: &Header, (from, to): (Encoding, Encoding), begin: u64) -> Result<(), Fault> {
        if header.length == 0 {
            return Ok(());
        }
        if self.open.len() == MAX_FRAMES {
            return Err(Fault::TooDeep { offset: begin });
        }
        let Frame { limit, is_signed, bits_allocated, .. } = *self.top();
        let end = (!header.is_undefined()).then(|| self.offset + u64::from(header.length));
        let (tag, limit) = (header.tag, end.unwrap_or(limit));
        self.open.push(Frame { kind, tag, end, limit, from, to, is_signed, bits_allocated });
        Ok(())
    }

    fn value_begins(&mut self, header: &Header, way: Way) {
        if header.length > 0 {
            self.value = Some((header.tag, Value::new(way, header.length)));
            let is_number = matches!(header.tag, BITS_ALLOCATED | PIXEL_REPRESENTATION) && header.length == 2;
            self.number = is_number.then_some(Number { tag: header.tag, bytes: [0; 2] });
        }
    }

    /// Closes the sequences and items whose length ends here.
    fn close_ended(&mut self, output: &mut Vec<u8>) {
        while self.value.is_none()
            && let Some(frame) = self.open.pop_if(|frame| frame.end == Some(self.offset))
        {
            if !frame.is_verbatim() {
                Header { tag: frame.delimiter(), vr: None, length: 0 }.write(frame.to, output);
            }
        }
    }
}
