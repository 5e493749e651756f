//! The walk over a whole dataset: every element, in every sequence. It is iterative and does not depend on the boundaries of fragments. It skips
//! values, and holds one header and a frame for each open sequence and item.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_dictionary_std::tags;

use super::element::{
    Decoded, Encoding, Gather, Header, ITEM, ITEM_DELIMITATION, ITEM_GROUP, MAX_HEADER_BYTES, MIN_HEADER_BYTES,
    SEQUENCE_DELIMITATION, UNDEFINED_LENGTH, looks_like_vr,
};
pub use super::fault::DatasetFault;
use super::outcome::MAX_DEPTH;
use super::syntax::PixelForm;

/// The dataset, and the sequences and items that are open. Real datasets stay below twenty, and a frame has 40 bytes.
const MAX_FRAMES: usize = 1 + 2 * MAX_DEPTH as usize;

const FILE_META_GROUP: u16 = 0x0002;

/// The tag of the delimiter of a sequence, in little endian.
const DELIMITER: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];

/// A sequence, an item or a set of fragments that is open.
struct Frame {
    kind: Kind,
    tag: Tag,
    /// Where it ends; `None` where a delimiter says so.
    end: Option<u64>,
    /// Where it, or the nearest of those around it whose end is known, ends.
    limit: u64,
    encoding: Encoding,
    /// The last element in it.
    last: Option<Tag>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Elements: an item of a sequence, or the dataset itself.
    Elements,
    /// Items of elements.
    Sequence,
    /// Items of bytes: encapsulated pixel data (PS3.5 §A.4).
    Fragments,
}

enum State {
    Header,
    Value {
        tag: Tag,
        left: u64,
    },
    /// Nothing says where the next element would be.
    Lost,
}

/// Where a dataset is broken so that readers give it up.
pub(super) struct Break {
    /// The tag found, or the innermost element that is open.
    pub(super) tag: Tag,
    /// Bytes from the start of the dataset.
    pub(super) offset: u64,
}

pub(crate) struct Walk {
    state: State,
    /// The form of the pixel data of the dataset itself, and where they begin, once they were met.
    pixels: Option<(PixelForm, u64)>,
    /// An element was met whose VR is none.
    has_invalid_vr: bool,
    header: Gather,
    offset: u64,
    frames: Vec<Frame>,
    /// The first element out of order. The walk goes on behind it.
    disorder: Option<DatasetFault>,
    /// The first other fault. The walk goes on behind the innermost sequence or item around it whose end is known.
    fault: Option<DatasetFault>,
    /// Where readers give up, if the first fault is one that makes them.
    broken: Option<Break>,
}

impl Walk {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let dataset = Frame { kind: Kind::Elements, tag: Tag(0, 0), end: None, limit: u64::MAX, encoding, last: None };
        Self {
            state: State::Header,
            pixels: None,
            has_invalid_vr: false,
            header: Gather::default(),
            offset: 0,
            frames: vec![dataset],
            disorder: None,
            fault: None,
            broken: None,
        }
    }

    /// Reads the dataset in another encoding, from its first byte on.
    pub(super) fn read_as(&mut self, encoding: Encoding) {
        self.frames.iter_mut().for_each(|dataset| dataset.encoding = encoding);
    }

    /// The form of the pixel data of the dataset itself, once they were met.
    pub(super) fn pixels(&self) -> Option<PixelForm> {
        self.pixels.map(|(form, _)| form)
    }

    /// Whether an element was met whose VR is none: its length has the short form.
    pub(super) fn has_invalid_vr(&self) -> bool {
        self.has_invalid_vr
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header => self.gather(bytes),
                State::Value { left, .. } => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    taken
                }
                State::Lost => return,
            };
            self.offset += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    /// Ends the walk where the dataset ends. `form`: the one that the pixel data must have; `None`: any.
    pub(crate) fn finish(mut self, form: Option<PixelForm>) -> Result<(), DatasetFault> {
        if let Some(fault) = self.disorder.or(self.fault) {
            return Err(fault);
        }
        match self.state {
            State::Value { tag, left } => return Err(DatasetFault::ValueCut { tag, missing_bytes: left }),
            State::Header if self.offset == 0 => return Err(DatasetFault::Empty),
            State::Header if self.header.gathered() > 0 => {
                return Err(DatasetFault::HeaderCut { offset: self.offset - self.header.gathered() as u64 });
            }
            State::Header | State::Lost => {}
        }
        self.leave_ended(self.offset);
        match self.frames.as_slice() {
            [_dataset] => {
                let other = self.pixels.filter(|(found, _)| form.is_some_and(|form| form != *found));
                other.map_or(Ok(()), |(found, offset)| Err(DatasetFault::PixelForm { found: found.name(), offset }))
            }
            open => Err(DatasetFault::NotClosed { tag: open.last().map_or(Tag(0, 0), |frame| frame.tag) }),
        }
    }

    /// Ends the walk where the dataset ends, and says where readers give it up: at the first fault if it [`Self::is_fatal`], or without a fault
    /// within a sequence, an item or fragments of undefined length that are not closed. Readers do not agree on what is behind a fault.
    pub(super) fn broken(mut self) -> Option<Break> {
        if self.fault.is_some() {
            return self.broken;
        }
        let gathered = self.header.gathered();
        self.leave_ended(self.offset - gathered as u64);
        // Readers know the end of fragments by the tag of its delimiter.
        if gathered >= DELIMITER.len() && self.header.bytes().starts_with(&DELIMITER) {
            self.frames.pop_if(|frame| frame.kind == Kind::Fragments);
        }
        // pydicom asks for the rest of a length. In front of it, the dataset counts as ended.
        if gathered >= MIN_HEADER_BYTES {
            return self.frames.last().map(|frame| Break { tag: frame.tag, offset: self.offset });
        }
        let (dataset, open) = self.frames.split_first()?;
        if open.last().is_some_and(|frame| frame.encoding != dataset.encoding) {
            return None; // as in is_fatal()
        }
        let not_closed = open.iter().rev().find(|frame| frame.end.is_none());
        not_closed.map(|frame| Break { tag: frame.tag, offset: self.offset })
    }

    /// Whether pydicom and dcmdump both end with an error at the fault: what pydicom takes for a VR and dcmdump for none, pixel data of
    /// undefined length that are no fragments, a delimiter out of place, a sequence that ends within a header. A length that is not that of
    /// an item, and what is in a sequence of VR UN, whose encoding is not sure, is no reason to refuse a dataset.
    fn is_fatal(&self, fault: &DatasetFault) -> bool {
        let Some((dataset, open)) = self.frames.split_first() else { return false };
        let frame = open.last().unwrap_or(dataset);
        frame.encoding == dataset.encoding
            && match fault {
                DatasetFault::InvalidVr { .. } => {
                    (*b"AA"..=*b"ZZ").contains(&[self.header.bytes()[4], self.header.bytes()[5]])
                }
                DatasetFault::UndefinedLength { tag, .. } => *tag == tags::PIXEL_DATA && open.is_empty(),
                DatasetFault::OutOfPlace { tag, .. } => match frame.kind {
                    Kind::Fragments => true,
                    Kind::Sequence => frame.end.is_none(),
                    Kind::Elements if open.is_empty() => matches!(*tag, ITEM | SEQUENCE_DELIMITATION),
                    Kind::Elements => frame.end.is_none() && tag.group() == ITEM_GROUP,
                },
                DatasetFault::BeyondParent { offset, .. } => {
                    frame.kind == Kind::Sequence && offset + MIN_HEADER_BYTES as u64 > frame.limit
                }
                _ => false,
            }
    }

    /// Notes a fault, with the bytes up to `offset` taken, and looks for the next place to go on at.
    fn fail(&mut self, fault: DatasetFault, place: Break, offset: u64) {
        if self.fault.is_none() && self.is_fatal(&fault) {
            self.broken = Some(place);
        }
        self.fault.get_or_insert(fault);
        while let Some(frame) = self.frames.pop() {
            if let Some(end) = frame.end {
                self.state = value(frame.tag, end.saturating_sub(offset));
                return;
            }
        }
        self.state = State::Lost;
    }

    /// Takes what `bytes` has of the current header, and acts on it once it is whole.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        if self.header.gathered() == 0 {
            self.leave_ended(self.offset);
        }
        let offset = self.offset - self.header.gathered() as u64;
        let Some(&Frame { encoding, limit, tag, .. }) = self.frames.last() else { return bytes.len() };
        if offset + self.header.needed() as u64 > limit {
            return self.end_within_header(tag, offset);
        }
        let (taken, decoded) = self.header.take(bytes, encoding);
        let value_at = self.offset + taken as u64;
        if value_at > limit {
            return self.end_within_header(tag, offset);
        }
        let (tag, next) = match decoded {
            Decoded::Header(header) => (header.tag, self.enter(header, offset, value_at)),
            Decoded::InvalidVr(tag) => (tag, Err(DatasetFault::InvalidVr { tag, offset })),
            Decoded::Needs(_) => return taken,
        };
        match next {
            Ok(next) => self.state = next,
            Err(fault) => self.fail(fault, Break { tag, offset }, value_at),
        }
        taken
    }

    /// The item or sequence ends within the header that begins at `offset`. Nothing more is taken.
    fn end_within_header(&mut self, tag: Tag, offset: u64) -> usize {
        self.header.clear();
        self.fail(DatasetFault::BeyondParent { tag, offset }, Break { tag, offset }, self.offset);
        0
    }

    /// Closes the frames of known length that end at `offset`. None can end before: no value reaches beyond its frame.
    fn leave_ended(&mut self, offset: u64) {
        while self.frames.last().is_some_and(|frame| frame.end == Some(offset)) {
            self.frames.pop();
        }
    }

    /// Acts on a header that starts at `offset` and ends at `value_at`: what comes next?
    fn enter(&mut self, header: Header, offset: u64, value_at: u64) -> Result<State, DatasetFault> {
        let Header { tag, length, .. } = header;
        let within_item = self.frames.len() > 1;
        let Some(frame) = self.frames.last_mut() else { return Err(DatasetFault::OutOfPlace { tag, offset }) };
        let end = (length != UNDEFINED_LENGTH).then(|| value_at + u64::from(length));
        if end.unwrap_or(value_at) > frame.limit {
            return Err(DatasetFault::BeyondParent { tag, offset });
        }
        if frame.kind != Kind::Elements {
            return self.enter_item(tag, end, offset, value_at);
        }
        if tag == ITEM_DELIMITATION && frame.end.is_none() && within_item {
            self.frames.pop();
            return Ok(State::Header);
        }
        if tag.group() == ITEM_GROUP || tag.group() <= FILE_META_GROUP {
            return Err(DatasetFault::OutOfPlace { tag, offset });
        }
        if let Some(before) = frame.last.replace(tag)
            && tag <= before
        {
            self.disorder.get_or_insert(DatasetFault::OutOfOrder { tag, before, offset });
        }
        // The long form has two bytes that are zero (PS3.5 §7.1.2). Behind letters that are no VR of the standard, others are a short length, and
        // readers do not agree on the element.
        if self.header.bytes()[6..8] != [0, 0]
            && header.vr.is_some_and(|vr| header.bytes() == MAX_HEADER_BYTES && VR::from_binary(vr).is_none())
        {
            return Err(DatasetFault::InvalidVr { tag, offset });
        }
        self.has_invalid_vr |= header.vr.is_some_and(|vr| !looks_like_vr(vr));
        if !within_item && self.pixels.is_none() {
            self.pixels = PixelForm::of(&header).map(|form| (form, offset));
        }
        let (outer_limit, outer_encoding) = (frame.limit, frame.encoding);
        let content = content_of(&header).map_err(|()| DatasetFault::UndefinedLength { tag, offset })?;
        let Some((kind, encoding)) = content else {
            return Ok(value(tag, u64::from(length)));
        };
        let encoding = encoding.unwrap_or(outer_encoding);
        self.open(Frame { kind, tag, end, limit: end.unwrap_or(outer_limit), encoding, last: None }, offset)
    }

    /// Acts on a header where items stand.
    fn enter_item(&mut self, tag: Tag, end: Option<u64>, offset: u64, value_at: u64) -> Result<State, DatasetFault> {
        let Some(frame) = self.frames.last() else { return Err(DatasetFault::OutOfPlace { tag, offset }) };
        match (tag, frame.kind, end) {
            (ITEM, Kind::Sequence, _) => {
                let (limit, encoding) = (end.unwrap_or(frame.limit), frame.encoding);
                self.open(Frame { kind: Kind::Elements, tag, end, limit, encoding, last: None }, offset)
            }
            (ITEM, Kind::Fragments, Some(end)) => Ok(value(tag, end - value_at)),
            (SEQUENCE_DELIMITATION, ..) if frame.end.is_none() => {
                self.frames.pop();
                Ok(State::Header)
            }
            _ => Err(DatasetFault::OutOfPlace { tag, offset }),
        }
    }

    fn open(&mut self, frame: Frame, offset: u64) -> Result<State, DatasetFault> {
        if self.frames.len() >= MAX_FRAMES {
            return Err(DatasetFault::TooDeep { offset });
        }
        self.frames.push(frame);
        Ok(State::Header)
    }
}

fn value(tag: Tag, length: u64) -> State {
    if length == 0 { State::Header } else { State::Value { tag, left: length } }
}

/// The content of an element: `None` for a value; otherwise the kind of its content and, if it differs from the surroundings, its encoding. An
/// error if the VR does not allow undefined length.
fn content_of(header: &Header) -> Result<Option<(Kind, Option<Encoding>)>, ()> {
    let undefined = header.length == UNDEFINED_LENGTH;
    Ok(match header.vr.as_ref() {
        Some(b"SQ") => Some((Kind::Sequence, None)),
        // PS3.5 §6.2.2, CP-246: a sequence whose VR was not known, in implicit VR little endian.
        Some(b"UN") if undefined && header.tag != tags::PIXEL_DATA => {
            Some((Kind::Sequence, Some(Encoding::ImplicitLe)))
        }
        Some(b"OB" | b"OW" | b"OF" | b"OD" | b"OL" | b"OV") if undefined => Some((Kind::Fragments, None)),
        Some(_) if undefined => return Err(()),
        Some(_) => None,
        None if undefined && header.tag == tags::PIXEL_DATA => Some((Kind::Fragments, None)),
        None if undefined || is_sequence(header.tag) => Some((Kind::Sequence, None)),
        None => None,
    })
}

fn is_sequence(tag: Tag) -> bool {
    StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr() == VirtualVr::Exact(VR::SQ))
}
