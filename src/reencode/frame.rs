//! The sequences and items that are open.

use dicom_core::Tag;

use crate::header::{ITEM_DELIMITATION, SEQUENCE_DELIMITATION};
use crate::syntax::Encoding;

/// Sequences and items inside one another that are followed. A frame has 48 bytes at most.
pub(crate) const MAX_FRAMES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The dataset, or an item: elements follow.
    Elements,
    /// A sequence: items follow.
    Items,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The sequence, or the item.
    pub(crate) tag: Tag,
    /// Where it ends in the input; `None`: at a delimiter, or with the dataset.
    pub(crate) end: Option<u64>,
    /// The end of the innermost frame that has one, this one included.
    pub(crate) limit: u64,
    /// The encoding of what is inside, delimiter included. Inside UN it is implicit on both sides (PS3.5 §6.2.2).
    pub(crate) from: Encoding,
    pub(crate) to: Encoding,
    /// Pixel Representation (0028,0103), this frame's or inherited.
    pub(crate) is_signed: Option<bool>,
    /// Bits Allocated (0028,0100), likewise.
    pub(crate) bits_allocated: Option<u16>,
}

impl Frame {
    /// The whole dataset.
    pub(crate) fn dataset(from: Encoding, to: Encoding) -> Self {
        let (is_signed, bits_allocated) = (None, None);
        Self { kind: Kind::Elements, tag: Tag(0, 0), end: None, limit: u64::MAX, from, to, is_signed, bits_allocated }
    }

    /// Whether the content is written as it was read. Lengths stay then.
    pub(crate) fn is_verbatim(&self) -> bool {
        self.from == self.to
    }

    /// The tag that ends it, where its length is undefined.
    pub(crate) fn delimiter(&self) -> Tag {
        match self.kind {
            Kind::Elements => ITEM_DELIMITATION,
            Kind::Items => SEQUENCE_DELIMITATION,
        }
    }
}
