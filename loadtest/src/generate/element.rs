//! Data elements, kept in the order of their tags and encoded little endian (PS3.5 §7.1).

use std::collections::BTreeMap;

use crate::dataset::Places;
use crate::uid::UID_LENGTH;

/// Group and element number.
pub(crate) type Tag = (u16, u16);

const SOP_INSTANCE: Tag = (0x0008, 0x0018);
const STUDY_INSTANCE: Tag = (0x0020, 0x000D);
const SERIES_INSTANCE: Tag = (0x0020, 0x000E);

/// One row of a table of elements: group, element, VR, value. Numbers of `US`, `UL`, `FD` and `AT` stand as text too.
pub(crate) type Row = (u16, u16, &'static str, &'static str);

/// The elements of a dataset or of a sequence's item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements(BTreeMap<Tag, (&'static str, Value)>);

#[derive(Clone, Debug)]
enum Value {
    Bytes(Vec<u8>),
    Items(Vec<Elements>),
}

impl Elements {
    /// Elements as a table has them.
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut elements = Self::default();
        elements.rows(rows);
        elements
    }

    /// Adds a table's elements; what stands already is replaced.
    pub(crate) fn rows(&mut self, rows: &[Row]) -> &mut Self {
        for &(group, element, vr, value) in rows {
            self.text((group, element), vr, value);
        }
        self
    }

    /// Adds one element whose value stands as text.
    pub(crate) fn text(&mut self, tag: Tag, vr: &'static str, value: &str) -> &mut Self {
        self.bytes(tag, vr, encode_value(vr, value))
    }

    /// Adds one element with its value's bytes, unpadded.
    pub(crate) fn bytes(&mut self, tag: Tag, vr: &'static str, mut value: Vec<u8>) -> &mut Self {
        if value.len() % 2 == 1 {
            value.push(if matches!(vr, "UI" | "OB") { 0 } else { b' ' });
        }
        self.0.insert(tag, (vr, Value::Bytes(value)));
        self
    }

    /// Adds a sequence.
    pub(crate) fn sequence(&mut self, tag: Tag, items: Vec<Elements>) -> &mut Self {
        self.0.insert(tag, ("SQ", Value::Items(items)));
        self
    }

    /// Room for the three UIDs that are patched in each instance.
    pub(crate) fn patchable_uids(&mut self) -> &mut Self {
        for tag in [SOP_INSTANCE, STUDY_INSTANCE, SERIES_INSTANCE] {
            self.bytes(tag, "UI", vec![b'0'; UID_LENGTH]);
        }
        self
    }

    /// Encodes everything, and says where the values of the patchable UIDs came to stand.
    pub(crate) fn encode(&self, explicit: bool) -> (Vec<u8>, Places) {
        let mut out = Vec::new();
        let mut places = Places::default();
        for (&tag, (vr, value)) in &self.0 {
            match value {
                Value::Bytes(value) => {
                    header(&mut out, explicit, tag, vr, value.len());
                    match tag {
                        SOP_INSTANCE => places.sop_instance = out.len(),
                        STUDY_INSTANCE => places.study = out.len(),
                        SERIES_INSTANCE => places.series = out.len(),
                        _ => {}
                    }
                    out.extend_from_slice(value);
                }
                Value::Items(items) => {
                    let items: Vec<_> = items.iter().map(|item| item.encode(explicit).0).collect();
                    header(&mut out, explicit, tag, vr, items.iter().map(|item| item.len() + 8).sum());
                    for item in items {
                        item_header(&mut out, item.len());
                        out.extend_from_slice(&item);
                    }
                }
            }
        }
        (out, places)
    }
}

/// Appends an element's header. A length beyond 32 bits is none that a caller has.
pub(crate) fn header(out: &mut Vec<u8>, explicit: bool, (group, element): Tag, vr: &str, length: usize) {
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(&element.to_le_bytes());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if !explicit {
        out.extend_from_slice(&length.to_le_bytes());
        return;
    }
    out.extend_from_slice(vr.as_bytes());
    if matches!(vr, "OB" | "OW" | "OF" | "OD" | "OL" | "OV" | "SQ" | "UC" | "UN" | "UR" | "UT") {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    }
}

/// Appends the header of a sequence's item, or of a fragment (PS3.5 §7.5).
pub(crate) fn item_header(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// The bytes of a value that stands as text; a number that is none is zero, which the tests of every table would see.
fn encode_value(vr: &str, text: &str) -> Vec<u8> {
    let each = |encode: fn(&str) -> Vec<u8>| text.split('\\').filter(|one| !one.is_empty()).flat_map(encode).collect();
    match vr {
        "US" => each(|one| one.parse::<u16>().unwrap_or_default().to_le_bytes().to_vec()),
        "UL" => each(|one| one.parse::<u32>().unwrap_or_default().to_le_bytes().to_vec()),
        "SL" => each(|one| one.parse::<i32>().unwrap_or_default().to_le_bytes().to_vec()),
        "FL" => each(|one| one.parse::<f32>().unwrap_or_default().to_le_bytes().to_vec()),
        "FD" => each(|one| one.parse::<f64>().unwrap_or_default().to_le_bytes().to_vec()),
        // Eight hexadecimal digits: group, then element.
        "AT" => each(|one| {
            let tag = u32::from_str_radix(one, 16).unwrap_or_default();
            let [a, b, c, d] = tag.to_be_bytes();
            vec![b, a, d, c]
        }),
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_encoded_in_the_order_of_their_tags_and_padded_to_even() {
        let mut elements = Elements::of(&[(0x0028, 0x0010, "US", "512"), (0x0008, 0x0060, "CS", "CT ")]);
        elements.sequence((0x0008, 0x1140), vec![Elements::of(&[(0x0008, 0x0005, "AT", "00100020")])]);
        let (bytes, _) = elements.encode(true);
        let expected: &[&[u8]] = &[
            b"\x08\0\x60\0CS\x04\0CT  ",
            b"\x08\0\x40\x11SQ\0\0\x14\0\0\0\xFE\xFF\x00\xE0\x0c\0\0\0\x08\0\x05\0AT\x04\0\x10\0\x20\0",
            b"\x28\0\x10\0US\x02\0\0\x02",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn the_patchable_uids_are_where_the_places_say_in_both_encodings() {
        let mut elements = Elements::of(&[(0x0008, 0x0016, "UI", "1.2.3")]);
        elements.patchable_uids();
        for explicit in [true, false] {
            let (bytes, places) = elements.encode(explicit);
            for at in [places.sop_instance, places.study, places.series] {
                assert_eq!(bytes[at..at + UID_LENGTH], [b'0'; UID_LENGTH]);
                assert_eq!(bytes[at - 1], 0, "the length ends before the value");
            }
        }
    }
}
