//! The walk over a whole dataset: every element, in every sequence. It is iterative and does not depend on the boundaries of fragments. It skips
//! values, and holds one header and a frame for each open sequence and item.

use dicom_core::{Tag, VR};

use super::damage::{Break, broken_end, is_fatal};
use super::element::{
    Decoded, Encoding, Gather, Header, ITEM, ITEM_DELIMITATION, ITEM_GROUP, MAX_HEADER_BYTES, SEQUENCE_DELIMITATION,
    UNDEFINED_LENGTH, looks_like_vr,
};
pub use super::fault::DatasetFault;
use super::frame::{Frame, Kind, MAX_FRAMES, State, content_of, value};
use super::outcome::MAX_KEPT_BYTES;
use super::scan::IDENTITY;
use super::syntax::PixelForm;

const FILE_META_GROUP: u16 = 0x0002;

pub(crate) struct Walk {
    state: State,
    /// The form of the pixel data of the dataset itself, and where they begin, once they were met.
    pixels: Option<(PixelForm, u64)>,
    /// An element was met whose VR is none.
    has_invalid_vr: bool,
    /// pydicom and dcmdump read on at different places: behind an element with no VR, pydicom takes the length for one of 32 bits.
    is_forked: bool,
    header: Gather,
    offset: u64,
    frames: Vec<Frame>,
    /// Sequences and items of undefined length that are open within [`Kind::Deep`]. One alternates with the other: odd, the next header is an
    /// item's; even, an element's.
    deep: u64,
    /// The first oddity that a reader passes over, as an element out of order. The walk goes on behind it.
    disorder: Option<DatasetFault>,
    /// The first other fault. The walk goes on behind the innermost sequence or item around it whose end is known.
    fault: Option<DatasetFault>,
    /// Where readers give up: the first fault that makes them.
    broken: Option<Break>,
    /// Elements of [`IDENTITY`] that stand out of order, with the last value of each: readers that keep the last one take the instance for it.
    again: Vec<(Tag, Vec<u8>)>,
    /// The value that is being read is the last one of `again`.
    is_kept: bool,
}

impl Walk {
    pub(crate) fn new(encoding: Encoding) -> Self {
        let dataset = Frame { kind: Kind::Elements, tag: Tag(0, 0), end: None, limit: u64::MAX, encoding, last: None };
        Self {
            state: State::Header,
            pixels: None,
            has_invalid_vr: false,
            is_forked: false,
            header: Gather::default(),
            offset: 0,
            frames: vec![dataset],
            deep: 0,
            disorder: None,
            fault: None,
            broken: None,
            again: Vec::new(),
            is_kept: false,
        }
    }

    /// The values of identifying elements that stand out of order, at most 1 KiB of each.
    pub(super) fn take_again(&mut self) -> Vec<(Tag, Vec<u8>)> {
        std::mem::take(&mut self.again)
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
                    if self.is_kept
                        && let Some((_, value)) = self.again.last_mut()
                    {
                        value.extend(bytes[..taken].iter().take(MAX_KEPT_BYTES - value.len()));
                    }
                    if *left == 0 {
                        self.is_kept = false;
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

    /// Ends the walk where the dataset ends, and says where readers give it up: at the first fault that is fatal, or at an end within an element.
    pub(super) fn broken(mut self) -> Option<Break> {
        if self.broken.is_some() {
            return self.broken;
        }
        self.leave_ended(self.offset - self.header.gathered() as u64);
        let has_one_reader = self.is_forked || self.fault.is_some();
        let tag = broken_end(&self.frames, &self.state, &self.header, has_one_reader)?;
        Some(Break { tag, offset: self.offset })
    }

    /// Notes a fault, with the bytes up to `offset` taken, and looks for the next place to go on at.
    #[cold]
    fn fail(&mut self, fault: DatasetFault, place: Break, offset: u64) {
        if self.broken.is_none() && is_fatal(&fault, &self.frames, &self.header, self.is_forked) {
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
            Decoded::InvalidVr(tag) => (tag, self.pass_invalid_vr(tag, encoding, offset)),
            Decoded::Needs(_) => return taken,
        };
        match next {
            Ok(next) => self.state = next,
            Err(fault) => self.fail(fault, Break { tag, offset }, value_at),
        }
        taken
    }

    /// The item or sequence ends within the header that begins at `offset`. Nothing more is taken.
    #[cold]
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
            return self.enter_item(header, end, offset, value_at);
        }
        if tag.group() == ITEM_GROUP {
            return self.enter_delimiter(tag, end, offset, value_at);
        }
        if tag.group() <= FILE_META_GROUP {
            note(&mut self.disorder, DatasetFault::OutOfPlace { tag, offset }); // readers take it for one like another
        }
        if let Some(before) = frame.last.replace(tag)
            && tag <= before
        {
            note(&mut self.disorder, DatasetFault::OutOfOrder { tag, before, offset });
            self.is_kept = !within_item && length > 0 && keep_again(&mut self.again, tag);
        }
        // The long form has two bytes that are zero (PS3.5 §7.1.2). Behind letters that are no VR of the standard, others are a short length, and
        // readers do not agree on the element.
        if self.header.bytes()[6..8] != [0, 0]
            && value_at - offset == MAX_HEADER_BYTES as u64
            && header.vr.is_some_and(|vr| VR::from_binary(vr).is_none())
        {
            return Err(DatasetFault::InvalidVr { tag, offset });
        }
        // Zeros mean the same to all readers.
        if header.vr.is_some_and(|vr| !looks_like_vr(vr)) && self.header.bytes()[4..8] != [0; 4] {
            (self.has_invalid_vr, self.is_forked) = (true, true);
            if self.fault.is_some() {
                return Err(DatasetFault::InvalidVr { tag, offset });
            }
        }
        if !within_item && self.pixels.is_none() {
            self.pixels = PixelForm::of(&header).map(|form| (form, offset));
        }
        let (outer_limit, outer_encoding) = (frame.limit, frame.encoding);
        let content = content_of(&header).map_err(|()| DatasetFault::UndefinedLength { tag, offset })?;
        let Some((kind, encoding)) = content else {
            return Ok(value(tag, u64::from(length)));
        };
        let encoding = encoding.unwrap_or(outer_encoding);
        let frame = Frame { kind, tag, end, limit: end.unwrap_or(outer_limit), encoding, last: None };
        Ok(self.open(frame, offset, value_at))
    }

    /// Acts on an item or a delimiter where elements stand.
    fn enter_delimiter(
        &mut self,
        tag: Tag,
        end: Option<u64>,
        offset: u64,
        value_at: u64,
    ) -> Result<State, DatasetFault> {
        let within_item = self.frames.len() > 1;
        if tag != ITEM_DELIMITATION || !(within_item || end == Some(value_at)) {
            return Err(DatasetFault::OutOfPlace { tag, offset });
        }
        match self.frames.last() {
            Some(frame) if frame.end.is_none() && within_item => {
                self.frames.pop();
                Ok(State::Header)
            }
            _ => Ok(self.end_before_its_length(tag, offset, value_at)),
        }
    }

    /// Acts on a header where items stand.
    fn enter_item(
        &mut self,
        header: Header,
        end: Option<u64>,
        offset: u64,
        value_at: u64,
    ) -> Result<State, DatasetFault> {
        let tag = header.tag;
        let Some(frame) = self.frames.last() else { return Err(DatasetFault::OutOfPlace { tag, offset }) };
        match (tag, frame.kind, end) {
            (ITEM, Kind::Sequence, _) => {
                let (limit, encoding) = (end.unwrap_or(frame.limit), frame.encoding);
                let item = Frame { kind: Kind::Elements, tag, end, limit, encoding, last: None };
                Ok(self.open(item, offset, value_at))
            }
            (_, Kind::Deep, _) => self.enter_deep(header, offset),
            (ITEM, Kind::Fragments, Some(end)) => Ok(value(tag, end - value_at)),
            (SEQUENCE_DELIMITATION, ..) if frame.end.is_none() => {
                self.frames.pop();
                Ok(State::Header)
            }
            (SEQUENCE_DELIMITATION, ..) => Ok(self.end_before_its_length(tag, offset, value_at)),
            _ => Err(DatasetFault::OutOfPlace { tag, offset }),
        }
    }

    /// Takes a delimiter for the end of an item or a sequence of defined length, as dcmdump does. pydicom goes by the length, and ends the dataset
    /// at one in no item.
    #[cold]
    fn end_before_its_length(&mut self, tag: Tag, offset: u64, value_at: u64) -> State {
        self.disorder.get_or_insert(DatasetFault::OutOfPlace { tag, offset });
        let ended = self.frames.pop_if(|frame| frame.end.is_some());
        self.is_forked |= ended.is_none_or(|frame| frame.end != Some(value_at));
        State::Header
    }

    /// Passes over an element of the dataset itself whose VR has not even characters, as dcmdump does: its length has the short form.
    #[cold]
    fn pass_invalid_vr(&mut self, tag: Tag, encoding: Encoding, offset: u64) -> Result<State, DatasetFault> {
        let fault = DatasetFault::InvalidVr { tag, offset };
        if self.fault.is_some() || self.frames.iter().any(|frame| frame.end.is_some()) {
            return Err(fault);
        }
        self.disorder.get_or_insert(fault);
        (self.has_invalid_vr, self.is_forked) = (true, true);
        let [.., l0, l1, _, _, _, _] = *self.header.bytes();
        let length =
            if encoding == Encoding::ExplicitBe { u16::from_be_bytes([l0, l1]) } else { u16::from_le_bytes([l0, l1]) };
        Ok(value(tag, u64::from(length)))
    }

    fn open(&mut self, frame: Frame, offset: u64, value_at: u64) -> State {
        if self.frames.len() < MAX_FRAMES {
            self.frames.push(frame);
            return State::Header;
        }
        // Not followed, and no reason to refuse: it is known where they end. The innermost frame is that of an item.
        self.disorder.get_or_insert(DatasetFault::TooDeep { offset });
        if let Some(end) = frame.end {
            return value(frame.tag, end - value_at);
        }
        self.deep = 1;
        self.frames.push(Frame { kind: Kind::Deep, ..frame });
        State::Header
    }

    /// Acts on a header within more sequences and items than there are frames for.
    #[cold]
    fn enter_deep(&mut self, header: Header, offset: u64) -> Result<State, DatasetFault> {
        let Header { tag, length, .. } = header;
        let is_in_item = self.deep.is_multiple_of(2);
        let closes = tag == if is_in_item { ITEM_DELIMITATION } else { SEQUENCE_DELIMITATION };
        if closes {
            self.deep -= 1;
            self.frames.pop_if(|_| self.deep == 0);
            return Ok(State::Header);
        }
        if is_in_item == (tag.group() == ITEM_GROUP) || (!is_in_item && tag != ITEM) {
            return Err(DatasetFault::OutOfPlace { tag, offset });
        }
        if length != UNDEFINED_LENGTH {
            return Ok(value(tag, u64::from(length)));
        }
        if is_in_item && header.vr.is_some_and(|vr| !matches!(&vr, b"SQ" | b"UN" | b"OB" | b"OW")) {
            return Err(DatasetFault::UndefinedLength { tag, offset });
        }
        self.deep += 1;
        Ok(State::Header)
    }
}

/// Begins the value of an element out of order, if that identifies the instance.
#[cold]
fn keep_again(again: &mut Vec<(Tag, Vec<u8>)>, tag: Tag) -> bool {
    let identifies = IDENTITY.contains(&tag);
    if identifies {
        again.retain(|(kept, _)| *kept != tag);
        again.push((tag, Vec::new()));
    }
    identifies
}

/// Notes the first fault of its kind.
#[cold]
fn note(first: &mut Option<DatasetFault>, fault: DatasetFault) {
    first.get_or_insert(fault);
}
