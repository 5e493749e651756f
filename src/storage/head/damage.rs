//! What readers make of a dataset that is damaged. pydicom and dcmdump stand for all of them: a dataset that neither reads is refused.

use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::element::{Decoded, Encoding, Gather, Header, ITEM, ITEM_GROUP, MIN_HEADER_BYTES};
use super::fault::DatasetFault;
use super::frame::{Frame, Kind, State};

/// The tag of the delimiter of a sequence, in little endian.
const DELIMITER: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];

/// Where a dataset is broken so that readers give it up.
pub(super) struct Break {
    /// The tag found, or the innermost element that is open.
    pub(super) tag: Tag,
    /// Bytes from the start of the dataset.
    pub(super) offset: u64,
}

/// Whether pydicom and dcmdump both lose what is behind a fault. dcmdump bears none of them. pydicom takes the bytes of a sequence of defined
/// length first, reads them as far as they go, and goes on behind the sequence. `has_one_reader`: it has failed already, or loses this one.
pub(super) fn is_fatal(fault: &DatasetFault, frames: &[Frame], header: &Gather, has_one_reader: bool) -> bool {
    let Some((dataset, open)) = frames.split_first() else { return true };
    let frame = open.last().unwrap_or(dataset);
    let is_bounded = open.first().is_some_and(|outermost| outermost.end.is_some());
    if !is_bounded || has_one_reader {
        return true;
    }
    // What pydicom takes for a VR. It has no value for one that it does not know.
    let [_, _, _, _, v0, v1, ..] = *header.bytes();
    let has_unknown_vr = (*b"AA"..=*b"ZZ").contains(&[v0, v1]) && VR::from_binary([v0, v1]).is_none();
    match fault {
        DatasetFault::InvalidVr { .. } => has_unknown_vr,
        DatasetFault::OutOfPlace { tag, .. } => match frame.kind {
            Kind::Fragments | Kind::Deep => true,
            Kind::Sequence => frame.end.is_none(),
            Kind::Elements => frame.end.is_none() && tag.group() == ITEM_GROUP,
        },
        DatasetFault::BeyondParent { tag, offset } => match frame.kind {
            Kind::Sequence => *tag != ITEM || open.len() > 1 || offset + MIN_HEADER_BYTES as u64 > frame.limit,
            _ => frame.encoding == Encoding::ImplicitLe || has_unknown_vr,
        },
        _ => false,
    }
}

/// What readers make of the end of a dataset: the innermost element that is not whole, if they give the dataset up for it.
/// `header`: what there is of a last one. `has_one_reader`: dcmdump has failed before, or pydicom has.
pub(super) fn broken_end(frames: &[Frame], state: &State, header: &Gather, has_one_reader: bool) -> Option<Tag> {
    let gathered = header.gathered();
    let (dataset, mut open) = frames.split_first()?;
    // Readers know the end of fragments by the tag of its delimiter.
    if let [before @ .., Frame { kind: Kind::Fragments, .. }] = open
        && gathered >= DELIMITER.len()
        && header.bytes().starts_with(&DELIMITER)
    {
        open = before;
    }
    if let Some(not_closed) = open.iter().rev().find(|frame| frame.end.is_none()) {
        return Some(not_closed.tag);
    }
    match state {
        // A length within others that agree with it is right. Alone, it may as well be wrong, and hide the elements behind it.
        State::Value { tag, left } => {
            let is_borne = !open.is_empty() || may_be_cut(*tag) || lacks_its_value(header, dataset.encoding, *left);
            (has_one_reader || !is_borne).then_some(*tag)
        }
        // pydicom asks for the rest of a length and of an item. In front of that, the dataset counts as ended.
        State::Header => {
            let is_of_element = open.last().is_none_or(|frame| frame.kind == Kind::Elements);
            let is_borne = gathered == 0 || (gathered < MIN_HEADER_BYTES && is_of_element && !has_one_reader);
            (!is_borne).then(|| open.last().map_or(Tag(0, 0), |frame| frame.tag))
        }
        State::Lost => None,
    }
}

/// Whether the dataset ends with the last header: no byte of a value of this length has arrived. Readers have all that is in front.
fn lacks_its_value(header: &Gather, encoding: Encoding, missing_bytes: u64) -> bool {
    let Decoded::Header(Header { length, .. }) = Header::decode(header.bytes(), encoding) else { return false };
    u64::from(length) == missing_bytes
}

/// Whether the dataset is worth having without the end of this value: nothing but padding is behind pixel data.
fn may_be_cut(tag: Tag) -> bool {
    tag.group() == tags::PIXEL_DATA.group() || tag == tags::DATA_SET_TRAILING_PADDING
}
