//! Data elements as they stand in encoded bytes: where each begins, what it is, where it ends.

use super::element::Tag;
use crate::part10::has_long_length;

/// The group of pixel data.
pub(super) const PIXELS: u16 = 0x7FE0;
/// Deepest nesting of sequences that is followed.
pub(super) const MAX_DEPTH: usize = 64;

/// A data element's header.
pub(super) struct Element {
    pub(super) tag: Tag,
    /// Only explicit VR has one.
    pub(super) vr: Option<[u8; 2]>,
    pub(super) value_at: usize,
    /// `None` is the undefined length.
    pub(super) length: Option<usize>,
    pub(super) items_explicit: bool,
}

impl Element {
    pub(super) fn read(bytes: &[u8], at: usize, explicit: bool) -> Option<Self> {
        let &[g0, g1, e0, e1, a, b, c, d] = bytes.get(at..)?.first_chunk::<8>()?;
        let tag = (u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
        let long = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
        let (value_at, length, items_explicit) = match (explicit && tag.0 != 0xFFFE, [a, b]) {
            (false, _) => (at + 8, u32::from_le_bytes([a, b, c, d]), explicit),
            // Unknown, of undefined length: a sequence in implicit VR (PS3.5 §6.2.2, note 4).
            (true, vr) if has_long_length(vr) => (at + 12, long(at + 8)?, vr != *b"UN"),
            (true, _) => (at + 8, u32::from(u16::from_le_bytes([c, d])), true),
        };
        let length = (length != u32::MAX).then_some(length as usize);
        let vr = (explicit && tag.0 != 0xFFFE).then_some([a, b]);
        Some(Self { tag, vr, value_at, length, items_explicit })
    }

    /// Whether its value is items with elements in them.
    pub(super) fn is_sequence(&self, bytes: &[u8]) -> bool {
        let begins_with_item =
            bytes.get(self.value_at..).is_some_and(|value| value.starts_with(&[0xFE, 0xFF, 0x00, 0xE0]));
        match self.vr.as_ref() {
            Some(b"SQ") => true,
            Some(b"UN") | None => begins_with_item && self.tag.0 < PIXELS,
            Some(_) => false,
        }
    }

    /// The same of `whole`, which begins with this element's header.
    pub(super) fn is_sequence_at(&self, whole: &[u8]) -> bool {
        let header = if self.vr.is_some_and(has_long_length) { 12 } else { 8 };
        Self { value_at: header, ..*self }.is_sequence(whole)
    }

    /// Where the element ends, delimiters included.
    pub(super) fn end(&self, bytes: &[u8], explicit: bool, depth: usize) -> Option<usize> {
        if let Some(length) = self.length {
            return self.value_at.checked_add(length).filter(|&end| end <= bytes.len());
        }
        let explicit = explicit && self.items_explicit;
        let mut at = self.value_at;
        loop {
            let inner = Element::read(bytes, at, explicit)?;
            if matches!(inner.tag, (0xFFFE, 0xE0DD | 0xE00D)) {
                return Some(inner.value_at);
            }
            at = if depth < MAX_DEPTH { inner.end(bytes, explicit, depth + 1)? } else { return None };
        }
    }
}
