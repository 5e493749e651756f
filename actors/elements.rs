//! The elements that the node reads of a dataset beside those that its layout needs, and their texts.
//!
//! There is one list for all that use them, so that a dataset is read once, and no further than the last of them.

use std::borrow::Cow;

use dicom_core::Tag;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

pub(crate) const SPECIFIC_CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
pub(crate) const SOP_INSTANCE_UID: Tag = Tag(0x0008, 0x0018);
pub(crate) const STUDY_DATE: Tag = Tag(0x0008, 0x0020);
pub(crate) const ACCESSION_NUMBER: Tag = Tag(0x0008, 0x0050);
pub(crate) const MODALITY: Tag = Tag(0x0008, 0x0060);
pub(crate) const STUDY_DESCRIPTION: Tag = Tag(0x0008, 0x1030);
pub(crate) const SERIES_DESCRIPTION: Tag = Tag(0x0008, 0x103E);
pub(crate) const PATIENT_NAME: Tag = Tag(0x0010, 0x0010);
pub(crate) const PATIENT_ID: Tag = Tag(0x0010, 0x0020);
pub(crate) const PATIENT_BIRTH_DATE: Tag = Tag(0x0010, 0x0030);
pub(crate) const STUDY_INSTANCE_UID: Tag = Tag(0x0020, 0x000D);
pub(crate) const SERIES_INSTANCE_UID: Tag = Tag(0x0020, 0x000E);
pub(crate) const SERIES_NUMBER: Tag = Tag(0x0020, 0x0011);
pub(crate) const INSTANCE_NUMBER: Tag = Tag(0x0020, 0x0013);
pub(crate) const IMAGES_IN_ACQUISITION: Tag = Tag(0x0020, 0x1002);
pub(crate) const NUMBER_OF_STUDY_RELATED_INSTANCES: Tag = Tag(0x0020, 0x1208);
pub(crate) const NUMBER_OF_SERIES_RELATED_INSTANCES: Tag = Tag(0x0020, 0x1209);

/// Those that audit messages name.
const OF_AUDIT: [Tag; 3] = [SPECIFIC_CHARACTER_SET, PATIENT_ID, STUDY_INSTANCE_UID];

/// Those that the catalogue keeps.
const OF_CATALOGUE: [Tag; 10] = [
    SPECIFIC_CHARACTER_SET,
    MODALITY,
    SERIES_DESCRIPTION,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    SERIES_NUMBER,
    INSTANCE_NUMBER,
    IMAGES_IN_ACQUISITION,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_SERIES_RELATED_INSTANCES,
];

/// Those that it keeps of a patient and of what a patient came for, with `catalogue.patient`.
const OF_PATIENTS: [Tag; 6] =
    [STUDY_DATE, ACCESSION_NUMBER, STUDY_DESCRIPTION, PATIENT_NAME, PATIENT_ID, PATIENT_BIRTH_DATE];

/// What the catalogue keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Catalogued {
    /// There is no catalogue.
    Nothing,
    /// No patients.
    Instances,
    /// Patients too.
    Patients,
}

impl Catalogued {
    /// With a catalogue that keeps patients, or not.
    pub(crate) fn of(keeps_patients: bool) -> Self {
        if keeps_patients { Self::Patients } else { Self::Instances }
    }
}

/// The elements to be read for an audit trail, if there is one, and for the catalogue. A dataset need not have them.
pub(crate) fn optional(audits: bool, catalogued: Catalogued) -> Vec<Tag> {
    let mut tags = Vec::new();
    if audits {
        tags.extend(OF_AUDIT);
    }
    match catalogued {
        Catalogued::Nothing => {}
        Catalogued::Instances => tags.extend(OF_CATALOGUE),
        Catalogued::Patients => tags.extend(OF_CATALOGUE.into_iter().chain(OF_PATIENTS)),
    }
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// The first byte of a code extension (ISO 2022).
const ESCAPE: u8 = 0x1B;

/// A value without padding, decoded by a Specific Character Set (PS3.3 §C.12.1.1.2). Where that is unknown or cannot decode the value, the
/// ASCII part of it. Of several character sets (code extensions) the first that is not the default one decides.
pub(crate) fn text(value: &[u8], character_set: &[u8]) -> String {
    if value.is_ascii() && !value.contains(&ESCAPE) {
        return trimmed(&String::from_utf8_lossy(value)).to_owned();
    }
    let codes = String::from_utf8_lossy(character_set);
    let mut known = codes.split('\\').filter_map(|code| SpecificCharacterSet::from_code(code.trim()));
    let extended = known.find(|set| *set != SpecificCharacterSet::ISO_IR_6);
    let decoded = extended.and_then(|set| set.decode(value).ok());
    let text = decoded.map_or_else(|| String::from_utf8_lossy(value), Cow::Owned);
    trimmed(&without_escapes(&text)).to_owned()
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(['\0', ' '])
}

/// The text without the escape sequences that a decoder has left: intermediate bytes and a final one (ISO 2022 §7.1).
fn without_escapes(text: &str) -> Cow<'_, str> {
    let mut parts = text.split(char::from(ESCAPE));
    let first = parts.next().unwrap_or_default();
    let mut plain = Cow::Borrowed(first);
    for part in parts {
        let behind = part.trim_start_matches(|c| matches!(c, ' '..='/'));
        let mut characters = behind.chars();
        if characters.next().is_some_and(|last| matches!(last, '0'..='~')) {
            plain.to_mut().push_str(characters.as_str());
        } else {
            plain.to_mut().push_str(behind);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_in_the_character_set_of_its_dataset() {
        for (bytes, character_set, expected) in [
            (&b"M\xFCller 1 "[..], &b"ISO_IR 100"[..], "Müller 1"),
            (b"M\xC3\xBCller", b"ISO_IR 192", "Müller"),
            (b"\xCF", b"ISO_IR 144", "Я"),
            (b"\xCD\xF5^\xD0\xA1\xB6\xAB", b"GB18030", "王^小东"),
            (b"P-1\0", b"", "P-1"),
            (b"P-1", b"ISO_IR 999", "P-1"),
            (b"M\xFCller", b"", "M\u{fffd}ller"),
            (b"M\xFCller", b"\\ISO 2022 IR 100", "Müller"),
            // PS3.5 §H.3.1 and §I.2
            (b"Yamada^Tarou=\x1B$B;3ED\x1B(B^\x1B$BB@O:\x1B(B", b"\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎"),
            (b"Hong^Gildong=\x1B$)C\xFB\xF3^\x1B$)C\xD1\xCE\xD4\xD7", b"\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞"),
            (b"a\x1B", b"", "a"),
        ] {
            assert_eq!(text(bytes, character_set), expected, "{character_set:?}");
        }
    }

    #[test]
    fn nothing_is_read_that_nobody_uses() {
        assert_eq!(optional(false, Catalogued::Nothing), []);
        assert_eq!(optional(true, Catalogued::Nothing), OF_AUDIT);
        assert_eq!(optional(true, Catalogued::Patients).len(), 16);
        let without_patients = optional(false, Catalogued::of(false));
        assert!(OF_PATIENTS.iter().all(|tag| !without_patients.contains(tag)));
    }
}
