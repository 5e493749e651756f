//! The walk over a dataset's elements: iterative, and indifferent to where fragments begin and end.

use dicom_core::dictionary::DataDictionary;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::element::{
    Decoded, Encoding, Gather, Header, ITEM, ITEM_DELIMITATION, ITEM_GROUP, SEQUENCE_DELIMITATION, UNDEFINED_LENGTH,
};
use super::outcome::{Deviations, Head, HeadError, HeadLimits, Limit, MAX_KEPT_BYTES, Progress, Values};
use super::wanted::Wanted;
use crate::uid::trim_padding;

const FILE_META_GROUP: u16 = 0x0002;

/// The elements that say what an instance is. Each has a value in every composite instance (PS3.3 §A.1.2), so a head without one of
/// them is looked for behind its proper end.
pub(super) const IDENTITY: [Tag; 4] =
    [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID];

/// The elements that are held against the command set. One that stands twice is held against it twice: readers do not agree which counts.
const CHECKED: [Tag; 2] = [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID];

pub(super) struct Scan {
    encoding: Encoding,
    wanted: Wanted,
    limits: HeadLimits,
    state: State,
    header: Gather,
    /// Sequences and items of undefined length that are open. One alternates with the other, so
    /// their number is all there is to know: even, the next header is an element's; odd, an item's.
    open: u32,
    /// The value of `open` within the outermost UN of undefined length, whose content is in
    /// implicit VR little endian whatever stands around it (PS3.5 §6.2.2, CP-246).
    implicit_from: Option<u32>,
    /// Bytes consumed.
    offset: u64,
    elements: u32,
    /// An element was met.
    begun: bool,
    /// The last element of the dataset itself.
    last: Tag,
    is_unordered: bool,
    /// An element behind the last needed one was met: from here on an error only ends the head.
    has_needed: bool,
    /// The head has ended without an identity: the rest of the dataset is searched for it, and may be whatever it is.
    is_searching: bool,
    worked_bytes: u64,
    values: Values,
    /// The last repetition of each element of [`CHECKED`].
    repeated: Vec<(Tag, Vec<u8>)>,
}

enum State {
    Header,
    Value { tag: Tag, left: u32, keep: Keep },
    Done,
    Failed(HeadError),
}

/// What becomes of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    No,
    Wanted,
    Repeated,
}

impl Scan {
    pub(super) fn new(encoding: Encoding, wanted: Wanted, limits: HeadLimits) -> Self {
        Self {
            encoding,
            values: Values::with_room(wanted.len()),
            wanted,
            limits,
            state: State::Header,
            header: Gather::default(),
            open: 0,
            implicit_from: None,
            offset: 0,
            elements: 0,
            begun: false,
            last: Tag(0, 0),
            is_unordered: false,
            has_needed: false,
            is_searching: false,
            worked_bytes: 0,
            repeated: Vec::new(),
        }
    }

    /// Reads the dataset in another encoding, from its first byte on.
    pub(super) fn read_as(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Progress {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header => self.gather(bytes),
                State::Value { left, keep, .. } => {
                    let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    match keep {
                        Keep::No => {}
                        Keep::Wanted => self.worked_bytes += self.values.extend(&bytes[..taken]) as u64,
                        Keep::Repeated => {
                            let Some((_, value)) = self.repeated.last_mut() else { break };
                            let kept = taken.min(MAX_KEPT_BYTES - value.len());
                            value.extend_from_slice(&bytes[..kept]);
                            self.worked_bytes += kept as u64;
                        }
                    }
                    *left -= taken as u32;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    taken
                }
                State::Done | State::Failed(_) => break,
            };
            self.offset += taken as u64;
            bytes = &bytes[taken..];
        }
        self.progress()
    }

    pub(super) fn progress(&self) -> Progress {
        match self.state {
            State::Header | State::Value { .. } => Progress::More,
            State::Done | State::Failed(_) => Progress::Done,
        }
    }

    /// Ends the scan, if it is under way, with an error: the bytes that it needs are not available.
    pub(super) fn fail(&mut self, error: HeadError) {
        if !matches!(self.state, State::Done | State::Failed(_)) {
            self.state = if self.has_needed { State::Done } else { State::Failed(error) };
        }
    }

    /// The raw value of a wanted element, if it has been read to its end.
    pub(super) fn value(&self, tag: Tag) -> Option<&[u8]> {
        let is_partial = matches!(self.state, State::Value { tag: read, keep: Keep::Wanted, .. } if read == tag);
        if is_partial { None } else { self.values.get(tag) }
    }

    /// Ends the scan where the dataset ends.
    pub(super) fn finish(self) -> Result<Head, HeadError> {
        match self.state {
            _ if self.has_needed => Ok(self.head()),
            State::Failed(error) => Err(error),
            State::Value { tag, .. } => Err(HeadError::ValuePastEnd { tag }),
            State::Header if self.offset == 0 => Err(HeadError::Empty),
            State::Header if self.header.gathered() > 0 || self.open > 0 => Err(HeadError::Truncated),
            State::Header if !self.begun => Err(HeadError::NotADataset),
            State::Header | State::Done => Ok(self.head()),
        }
    }

    fn head(mut self) -> Head {
        // The dataset ends within it.
        if matches!(self.state, State::Value { keep: Keep::Wanted, .. }) {
            self.values.drop_last();
        }
        let deviations = Deviations {
            is_unordered: self.is_unordered,
            lacks_identity: !self.is_identified() || self.has_empty_identity(),
            ..Deviations::default()
        };
        Head { values: self.values, repeated: self.repeated, deviations }
    }

    /// Takes what `bytes` has of the current header, and acts on it once it is whole.
    fn gather(&mut self, bytes: &[u8]) -> usize {
        let before = self.header.gathered();
        let (taken, decoded) = self.header.take(bytes, self.encoding_here());
        let next = match decoded {
            Decoded::Needs(_) => return taken,
            Decoded::Header(header) => self.enter(header, self.offset - before as u64),
            Decoded::InvalidVr(_) if !self.begun => Err(HeadError::NotADataset),
            Decoded::InvalidVr(tag) => Err(HeadError::InvalidVr { tag }),
        };
        self.worked_bytes += (before + taken) as u64;
        match next {
            Ok(next) => self.state = next,
            Err(error) => self.fail(error),
        }
        taken
    }

    /// The encoding of the header gathered.
    fn encoding_here(&self) -> Encoding {
        if self.implicit_from.is_some_and(|from| self.open >= from) { Encoding::ImplicitLe } else { self.encoding }
    }

    /// Acts on a header that starts at `offset`: what comes next?
    fn enter(&mut self, header: Header, offset: u64) -> Result<State, HeadError> {
        if self.elements >= self.limits.max_elements {
            return Err(HeadError::Limit { which: Limit::Elements });
        }
        self.elements += 1;
        if self.worked_bytes > self.limits.max_bytes {
            return Err(HeadError::Limit { which: Limit::Bytes });
        }
        let Header { tag, length, .. } = header;
        if self.open % 2 == 1 {
            return self.enter_item(header, offset);
        }
        if tag == ITEM_DELIMITATION && self.open > 0 {
            self.close();
            return Ok(State::Header);
        }
        if tag.group() == ITEM_GROUP {
            return Err(HeadError::StrayDelimiter { tag, offset });
        }
        if self.open == 0 && self.is_at_end(&header)? {
            return Ok(State::Done);
        }
        self.begun = true;
        if length == UNDEFINED_LENGTH {
            return self.open_sequence(header);
        }
        let keep = if self.open == 0 { self.begin_value(tag, length) } else { Keep::No };
        Ok(if length == 0 { State::Header } else { State::Value { tag, left: length, keep } })
    }

    /// Whether the head ends in front of this element of the dataset itself.
    fn is_at_end(&mut self, header: &Header) -> Result<bool, HeadError> {
        let tag = header.tag;
        let is_behind = self.wanted.needed_ends_before(tag);
        // A dataset that begins behind its head must be one, and none begins with a command or file meta.
        if !self.begun && (tag.group() <= FILE_META_GROUP || (is_behind && !is_known(header))) {
            return Err(HeadError::NotADataset);
        }
        // Behind a head that is complete, the order is the sender's affair.
        self.is_unordered |= self.begun && tag <= self.last && (self.is_searching || !self.has_needed);
        self.last = tag;
        self.is_searching |= is_behind && !self.is_identified();
        self.has_needed |= is_behind;
        Ok(if self.is_searching { self.has(self.wanted.needed()) } else { self.wanted.ends_before(tag) })
    }

    fn has(&self, tags: &[Tag]) -> bool {
        tags.iter().all(|tag| self.values.has(*tag))
    }

    /// Whether the dataset has said what it is, as far as that is needed.
    fn is_identified(&self) -> bool {
        // Nearly every dataset has all that is wanted.
        self.values.len() == self.wanted.len()
            || IDENTITY.iter().all(|tag| self.wanted.needed().binary_search(tag).is_err() || self.values.has(*tag))
    }

    /// Whether an element that says what the dataset is, and that is needed, has no value.
    fn has_empty_identity(&self) -> bool {
        let is_empty = |tag: &Tag| self.values.get(*tag).is_some_and(|value| trim_padding(value).is_empty());
        IDENTITY.iter().any(|tag| is_empty(tag) && self.wanted.needed().binary_search(tag).is_ok())
    }

    /// Acts on a header inside a sequence of undefined length, or among the fragments of
    /// encapsulated pixel data, which are items too.
    fn enter_item(&mut self, header: Header, offset: u64) -> Result<State, HeadError> {
        match header.tag {
            ITEM if header.length == UNDEFINED_LENGTH => {
                self.open += 1;
                Ok(State::Header)
            }
            ITEM if header.length == 0 => Ok(State::Header),
            ITEM => Ok(State::Value { tag: ITEM, left: header.length, keep: Keep::No }),
            SEQUENCE_DELIMITATION => {
                self.close();
                Ok(State::Header)
            }
            tag @ ITEM_DELIMITATION => Err(HeadError::StrayDelimiter { tag, offset }),
            tag => Err(HeadError::NotAnItem { tag, offset }),
        }
    }

    fn open_sequence(&mut self, header: Header) -> Result<State, HeadError> {
        if self.open / 2 >= self.limits.max_depth {
            return Err(HeadError::Limit { which: Limit::Depth });
        }
        if matches!(header.vr.as_ref(), Some(b"UC" | b"UR" | b"UT")) {
            return Err(HeadError::UndefinedLength { tag: header.tag });
        }
        self.open += 1;
        if header.vr == Some(*b"UN") {
            self.implicit_from = self.implicit_from.or(Some(self.open));
        }
        Ok(State::Header)
    }

    fn close(&mut self) {
        self.open -= 1;
        if self.implicit_from.is_some_and(|from| self.open < from) {
            self.implicit_from = None;
        }
    }

    /// Makes room for a value that is kept. Of an element that stands twice, against the standard, the first counts.
    fn begin_value(&mut self, tag: Tag, length: u32) -> Keep {
        if !self.wanted.contains(tag) {
            return Keep::No;
        }
        if !self.values.has(tag) {
            self.values.begin(tag);
            return Keep::Wanted;
        }
        if !CHECKED.contains(&tag) {
            return Keep::No;
        }
        self.repeated.retain(|(kept, _)| *kept != tag);
        self.repeated.push((tag, Vec::with_capacity(MAX_KEPT_BYTES.min(length as usize))));
        Keep::Repeated
    }
}

/// Whether the element is one a dataset may start with: with a VR the standard knows, where one is
/// written, and a tag it knows, or leaves to private use, where a VR confirms it.
fn is_known(header: &Header) -> bool {
    // The dictionary knows a group length in every group there might be.
    let in_dictionary = header.tag.element() != 0 && StandardDataDictionary.by_tag(header.tag).is_some();
    match header.vr {
        Some(vr) => VR::from_binary(vr).is_some() && (in_dictionary || header.tag.group() % 2 == 1),
        None => in_dictionary,
    }
}
