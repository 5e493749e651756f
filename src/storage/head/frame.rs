//! What is open at a place of a dataset: the dataset itself, and the sequences and items around the place.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::element::{Encoding, Header, UNDEFINED_LENGTH};
use super::outcome::MAX_DEPTH;

/// The dataset, and the sequences and items that are open. Real datasets stay below twenty, and a frame has 40 bytes.
pub(super) const MAX_FRAMES: usize = 1 + 2 * MAX_DEPTH as usize;

/// A sequence, an item or a set of fragments that is open.
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) tag: Tag,
    /// Where it ends; `None` where a delimiter says so.
    pub(super) end: Option<u64>,
    /// Where it, or the nearest of those around it whose end is known, ends.
    pub(super) limit: u64,
    pub(super) encoding: Encoding,
    /// The last element in it.
    pub(super) last: Option<Tag>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Elements: an item of a sequence, or the dataset itself.
    Elements,
    /// Items of elements.
    Sequence,
    /// Items of bytes: encapsulated pixel data (PS3.5 §A.4).
    Fragments,
    /// More sequences and items than there are frames for.
    Deep,
}

pub(super) enum State {
    Header,
    Value {
        tag: Tag,
        left: u64,
    },
    /// Nothing says where the next element would be.
    Lost,
}

/// Behind a header: the value of such a length.
pub(super) fn value(tag: Tag, length: u64) -> State {
    if length == 0 { State::Header } else { State::Value { tag, left: length } }
}

/// The content of an element: `None` for a value; otherwise the kind of its content and, if it differs from the surroundings, its encoding. An
/// error if the VR does not allow undefined length.
pub(super) fn content_of(header: &Header) -> Result<Option<(Kind, Option<Encoding>)>, ()> {
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
