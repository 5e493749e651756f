//! The elements that identify a person in a user's own datasets, and their replacements when the datasets are sent as a load.
//!
//! At the top level identifying attributes are replaced, emptied or removed. Within sequences their values are overwritten in place, so
//! that no length changes. This is not de-identification by PS3.15: pixels, dates of the study and UIDs of other objects stay.

use super::element::Tag;
use super::encoded::{Element, MAX_DEPTH};

/// In place of the patient's name.
pub(super) const NAME: &[u8] = b"Load^Test ";

/// The treatment of an attribute at the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Keep,
    /// Another patient's name.
    Name,
    /// Another patient's ID.
    Id,
    /// Type 2 in most information objects: it stays, without a value.
    Empty,
    /// Its length stays, its bytes are overwritten: what is a whole document.
    Blank,
    Remove,
}

/// Type 2 attributes that identify.
const EMPTIED: [Tag; 4] = [(0x0008, 0x0050), (0x0008, 0x0090), (0x0010, 0x0030), (0x0020, 0x0010)];
const DOCUMENT: Tag = (0x0042, 0x0011);
/// Attributes of group 0010 that say what a patient is like, not who it is: sex, age, size, weight.
const NOT_A_NAME: [u16; 4] = [0x0040, 0x1010, 0x1020, 0x1030];
/// Groups that hold little but whom and where: clinical trials, visits, results of interpretation.
const GROUPS: [u16; 3] = [0x0012, 0x0038, 0x4008];

/// Single attributes, by group: institutions, people, places, numbers that lead to a patient, descriptions and free text.
const ATTRIBUTES: [(u16, &[u16]); 12] = [
    (
        0x0008,
        &[
            0x0050, 0x0080, 0x0081, 0x0082, 0x0090, 0x0092, 0x0094, 0x0096, 0x009C, 0x009D, 0x1010, 0x1030, 0x103E,
            0x1040, 0x1048, 0x1049, 0x1050, 0x1052, 0x1060, 0x1062, 0x1070, 0x1072, 0x1080, 0x1084,
        ],
    ),
    (0x0014, &[0x0104, 0x2006]),
    (0x0018, &[0x1000, 0x1004, 0x1007, 0x1008, 0x700A, 0x9424, 0x9516, 0x9517]),
    (0x0020, &[0x0010, 0x3401, 0x3404, 0x3406, 0x4000, 0x9158]),
    (0x0032, &[0x0012, 0x1032, 0x1033, 0x1060, 0x1070, 0x4000]),
    (
        0x0040,
        &[
            0x0006, 0x0007, 0x000B, 0x0010, 0x0011, 0x0241, 0x0242, 0x0243, 0x0253, 0x0254, 0x0280, 0x1001, 0x1004,
            0x1005, 0x1010, 0x1011, 0x1101, 0x1102, 0x1103, 0x1104, 0x1400, 0x2001, 0x2008, 0x2009, 0x2010, 0x2016,
            0x2017, 0x2400, 0x3001, 0x4023, 0x4025, 0x4027, 0x4030, 0x4034, 0x4035, 0x4036, 0x4037, 0xA027, 0xA067,
            0xA073, 0xA075, 0xA078, 0xA07A, 0xA07C, 0xA088, 0xA123, 0xA160, 0xA307, 0xA352, 0xA353, 0xA354, 0xA358,
        ],
    ),
    (0x0042, &[0x0010, 0x0011]),
    (0x0070, &[0x0006, 0x0084, 0x0086]),
    (0x0072, &[0x006A]),
    (0x0088, &[0x0904, 0x0906, 0x0910, 0x0912]),
    (0x3006, &[0x00A6]),
    (0x300E, &[0x0008]),
];

/// Whether an attribute names a person, or leads to one.
fn identifies((group, number): Tag, vr: Option<[u8; 2]>) -> bool {
    let listed = || ATTRIBUTES.iter().any(|(listed, numbers)| *listed == group && numbers.contains(&number));
    let of_the_patient = group == 0x0010 && !NOT_A_NAME.contains(&number);
    vr == Some(*b"PN") || group % 2 == 1 || of_the_patient || GROUPS.contains(&group) || listed()
}

/// The treatment of an attribute at the top level.
pub(super) fn deed(tag: Tag, vr: Option<[u8; 2]>) -> Deed {
    match tag {
        (0x0010, 0x0010) => Deed::Name,
        (0x0010, 0x0020) => Deed::Id,
        DOCUMENT => Deed::Blank,
        _ if EMPTIED.contains(&tag) => Deed::Empty,
        _ if identifies(tag, vr) => Deed::Remove,
        _ => Deed::Keep,
    }
}

/// The ID of the patient number `number` among the files.
pub(super) fn patient_id(number: usize) -> Vec<u8> {
    format!("LTF{:07}", number + 1).into_bytes()
}

/// Overwrites what identifies in the elements of `bytes` from `at` to `end`, sequences and all; `all` is for what is within an attribute
/// that identifies as a whole. `None` when they cannot be followed.
pub(super) fn overwrite(bytes: &mut [u8], at: usize, end: usize, explicit: bool, all: bool) -> Option<()> {
    overwrite_nested(bytes, (at, end), explicit, all, 0)
}

fn overwrite_nested(
    bytes: &mut [u8],
    (mut at, end): (usize, usize),
    explicit: bool,
    all: bool,
    depth: usize,
) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    while at < end {
        let element = Element::read(bytes, at, explicit)?;
        let next = element.end(bytes, explicit, 0).filter(|&next| next <= end)?;
        let all = all || identifies(element.tag, element.vr);
        let is_item = element.tag == (0xFFFE, 0xE000);
        if is_item || element.is_sequence(bytes) {
            let value = (element.value_at, next);
            overwrite_nested(bytes, value, explicit && element.items_explicit, all, depth + 1)?;
        } else if all && element.tag.0 != 0xFFFE {
            let is_text = element.vr.map_or(element.tag.0 % 2 == 0, |vr| TEXT.contains(&&vr));
            bytes.get_mut(element.value_at..next)?.fill(if is_text { b' ' } else { 0 });
        }
        at = next;
    }
    Some(())
}

/// Value representations of text, which are padded with spaces (PS3.5 §6.2).
const TEXT: [&[u8; 2]; 16] =
    [b"AE", b"AS", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UC", b"UR", b"UT"];

#[cfg(test)]
mod tests {
    use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry, VirtualVr};
    use dicom_core::{Tag, VR};
    use dicom_dictionary_std::StandardDataDictionary;

    use super::*;

    /// In implicit VR nothing but the tag says that an attribute is a person's name.
    #[test]
    fn every_person_name_of_the_standard_identifies_by_its_tag_alone() {
        let mut missing = Vec::new();
        // The standard's groups: those below 0100, radiotherapy, results, and what is retired.
        for group in (0x0008..0x0100_u16).chain(0x3002..=0x3010).chain(0x4000..=0x4010).filter(|group| group % 2 == 0) {
            for number in 0..=u16::MAX {
                let entry = StandardDataDictionary.by_tag(Tag(group, number));
                if entry.is_some_and(|entry| entry.vr() == VirtualVr::Exact(VR::PN))
                    && !identifies((group, number), None)
                {
                    missing.push(format!("({group:04X},{number:04X})"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn sequences_nested_without_end_are_not_followed() {
        // An item with a sequence with an item …, each of a length that is given.
        let mut bytes = Vec::new();
        for _ in 0..200 {
            let length = (bytes.len() as u32 + 8).to_le_bytes();
            let item = (bytes.len() as u32).to_le_bytes();
            bytes = [&[8, 0, 0x40, 0x11][..], &length, &[0xFE, 0xFF, 0, 0xE0], &item, &bytes].concat();
        }
        let end = bytes.len();
        assert_eq!(overwrite(&mut bytes, 0, end, false, false), None);
    }

    #[test]
    fn what_the_patient_is_like_stays_and_who_it_is_does_not() {
        for (tag, expected) in [
            ((0x0010, 0x0010), Deed::Name),
            ((0x0010, 0x0020), Deed::Id),
            ((0x0010, 0x0030), Deed::Empty),
            ((0x0010, 0x0040), Deed::Keep),
            ((0x0010, 0x1040), Deed::Remove),
            ((0x0008, 0x0060), Deed::Keep),
            ((0x0009, 0x1001), Deed::Remove),
            ((0x0042, 0x0011), Deed::Blank),
            ((0x7FE0, 0x0010), Deed::Keep),
        ] {
            assert_eq!(deed(tag, None), expected, "{tag:04X?}");
        }
        assert_eq!(deed((0x0008, 0x0060), Some(*b"PN")), Deed::Remove);
    }
}
