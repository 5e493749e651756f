//! Bytes of elements, for what dicom-object does not write.

use super::super::{Encoding, tag};

/// A writer of elements in an encoding.
#[derive(Clone, Copy)]
pub(super) struct Raw(pub(super) Encoding);

impl Raw {
    pub(super) fn header(self, tag: u32, vr: &[u8; 2], length: u32) -> Vec<u8> {
        let mut out = [(tag >> 16) as u16, tag as u16].map(u16::to_le_bytes).concat();
        match self.0 {
            Encoding::Implicit => out.extend(length.to_le_bytes()),
            Encoding::Explicit if [*b"SQ", *b"UN", *b"OB", *b"UT"].contains(vr) => {
                out.extend([vr[0], vr[1], 0, 0]);
                out.extend(length.to_le_bytes());
            }
            Encoding::Explicit => {
                out.extend(vr);
                out.extend((length as u16).to_le_bytes());
            }
        }
        out
    }

    pub(super) fn element(self, tag: u32, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
        [self.header(tag, vr, value.len() as u32), value.to_vec()].concat()
    }

    pub(super) fn transaction(self) -> Vec<u8> {
        self.element(tag::TRANSACTION_UID, b"UI", b"2.25.1")
    }

    pub(super) fn item_body(self) -> Vec<u8> {
        let class = self.element(tag::REFERENCED_SOP_CLASS, b"UI", b"1.2.84");
        [class, self.element(tag::REFERENCED_SOP_INSTANCE, b"UI", b"1.2.3\0")].concat()
    }

    /// With defined or undefined length.
    pub(super) fn item(self, body: &[u8], is_defined: bool) -> Vec<u8> {
        let implicit = Raw(Encoding::Implicit);
        match is_defined {
            true => implicit.element(tag::ITEM, b"--", body),
            false => {
                [implicit.header(tag::ITEM, b"--", u32::MAX), body.to_vec(), implicit.header(tag::ITEM_END, b"--", 0)]
                    .concat()
            }
        }
    }

    pub(super) fn sequence(self, tag: u32, vr: &[u8; 2], items: &[u8], is_defined: bool) -> Vec<u8> {
        match is_defined {
            true => self.element(tag, vr, items),
            false => {
                let end = Raw(Encoding::Implicit).header(tag::SEQUENCE_END, b"--", 0);
                [self.header(tag, vr, u32::MAX), items.to_vec(), end].concat()
            }
        }
    }

    pub(super) fn references(self, items: &[u8]) -> Vec<u8> {
        self.sequence(tag::REFERENCED_SOP_SEQUENCE, b"SQ", items, false)
    }

    /// A whole dataset with that in the item of its one reference.
    pub(super) fn with_item(self, body: &[u8]) -> Vec<u8> {
        [self.transaction(), self.references(&self.item(body, true))].concat()
    }
}
