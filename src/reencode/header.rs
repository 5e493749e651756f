//! The header of a data element, read and written in each encoding (PS3.5 §7.1).

use dicom_core::Tag;

use crate::syntax::Encoding;
use crate::vr;

/// The longest header: explicit VR with a 32-bit length.
pub(crate) const MAX_HEADER_BYTES: usize = 12;

/// The shortest header. It suffices to know the full length.
pub(crate) const MIN_HEADER_BYTES: usize = 8;

/// A length that says the end is marked by a delimiter (PS3.5 §7.1.1).
pub(crate) const UNDEFINED_LENGTH: u32 = u32::MAX;

/// The group of items and their delimiters, which have no VR in any encoding (PS3.5 §7.5).
pub(crate) const ITEM_GROUP: u16 = 0xFFFE;
pub(crate) const ITEM: Tag = Tag(ITEM_GROUP, 0xE000);
pub(crate) const ITEM_DELIMITATION: Tag = Tag(ITEM_GROUP, 0xE00D);
pub(crate) const SEQUENCE_DELIMITATION: Tag = Tag(ITEM_GROUP, 0xE0DD);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: Tag,
    /// `None` in implicit VR, and for items and delimiters.
    pub(crate) vr: Option<[u8; 2]>,
    pub(crate) length: u32,
}

impl Header {
    pub(crate) fn is_undefined(&self) -> bool {
        self.length == UNDEFINED_LENGTH
    }

    /// Bytes of the header that begins with `bytes`; at least [`MIN_HEADER_BYTES`] must be given. An error: it has no valid VR.
    pub(crate) fn bytes_of(bytes: &[u8; MAX_HEADER_BYTES], encoding: Encoding) -> Result<usize, Tag> {
        let tag = tag_of(bytes, encoding);
        if encoding.is_implicit() || tag.group() == ITEM_GROUP {
            return Ok(MIN_HEADER_BYTES);
        }
        let vr = [bytes[4], bytes[5]];
        match vr::is_valid(vr) {
            true if vr::is_short(vr) => Ok(MIN_HEADER_BYTES),
            true => Ok(MAX_HEADER_BYTES),
            false => Err(tag),
        }
    }

    /// Reads a header whose length in bytes is known from [`Self::bytes_of`].
    pub(crate) fn read(bytes: &[u8; MAX_HEADER_BYTES], encoding: Encoding) -> Self {
        let [_, _, _, _, b4, b5, b6, b7, b8, b9, b10, b11] = *bytes;
        let tag = tag_of(bytes, encoding);
        if encoding.is_implicit() || tag.group() == ITEM_GROUP {
            return Self { tag, vr: None, length: encoding.u32_of([b4, b5, b6, b7]) };
        }
        let vr = [b4, b5];
        let length = match vr::is_short(vr) {
            true => u32::from(encoding.u16_of([b6, b7])),
            false => encoding.u32_of([b8, b9, b10, b11]),
        };
        Self { tag, vr: Some(vr), length }
    }

    /// Appends the header. The caller gives a VR where the encoding has one, and a length that fits its form.
    pub(crate) fn write(&self, encoding: Encoding, output: &mut Vec<u8>) {
        output.extend_from_slice(&encoding.bytes_of_u16(self.tag.group()));
        output.extend_from_slice(&encoding.bytes_of_u16(self.tag.element()));
        if let Some(vr) = self.vr {
            output.extend_from_slice(&vr);
            if vr::is_short(vr) {
                output.extend_from_slice(&encoding.bytes_of_u16(self.length as u16));
                return;
            }
            output.extend_from_slice(&[0, 0]);
        }
        output.extend_from_slice(&encoding.bytes_of_u32(self.length));
    }
}

fn tag_of(bytes: &[u8; MAX_HEADER_BYTES], encoding: Encoding) -> Tag {
    let [g0, g1, e0, e1, ..] = *bytes;
    Tag(encoding.u16_of([g0, g1]), encoding.u16_of([e0, e1]))
}
