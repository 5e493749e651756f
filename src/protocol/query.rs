//! The identifiers of a C-FIND in the Study Root model (PS3.4 §C.6.2), in implicit VR little endian, which every peer takes (PS3.5 §10.1).

use crate::syntaxes::{is_uid, unpadded};

const LEVEL: u32 = 0x0008_0052;
const SOP_INSTANCE: u32 = 0x0008_0018;
const STUDY_INSTANCE: u32 = 0x0020_000D;
const SERIES_INSTANCE: u32 = 0x0020_000E;
/// Number of Study Related Instances (PS3.4 §C.3.4): optional, so a peer may leave it out.
const STUDY_INSTANCES: u32 = 0x0020_1208;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;
/// A length that is given by a delimiter instead (PS3.5 §7.5).
const UNDEFINED: u32 = u32::MAX;

/// A question. Each level above its own has one UID, as a hierarchical search demands (PS3.4 §C.4.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// A study, and how many instances there are of it.
    Study {
        /// Study Instance UID.
        study: &'a str,
    },
    /// The series of a study.
    Series {
        /// Study Instance UID.
        study: &'a str,
    },
    /// The instances of a series.
    Images {
        /// Study Instance UID.
        study: &'a str,
        /// Series Instance UID.
        series: &'a str,
    },
}

impl Query<'_> {
    /// The identifier of the request.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match self {
            Self::Study { study } => {
                element(&mut out, LEVEL, "STUDY", b' ');
                element(&mut out, STUDY_INSTANCE, study, 0);
                element(&mut out, STUDY_INSTANCES, "", 0);
            }
            Self::Series { study } => {
                element(&mut out, LEVEL, "SERIES", b' ');
                element(&mut out, STUDY_INSTANCE, study, 0);
                element(&mut out, SERIES_INSTANCE, "", 0);
            }
            Self::Images { study, series } => {
                element(&mut out, SOP_INSTANCE, "", 0);
                element(&mut out, LEVEL, "IMAGE", b' ');
                element(&mut out, STUDY_INSTANCE, study, 0);
                element(&mut out, SERIES_INSTANCE, series, 0);
            }
        }
        out
    }
}

/// PS3.5 §6.2: every value has an even length.
fn element(out: &mut Vec<u8>, tag: u32, value: &str, padding: u8) {
    let odd = value.len() % 2;
    out.extend_from_slice(&((tag >> 16) as u16).to_le_bytes());
    out.extend_from_slice(&(tag as u16).to_le_bytes());
    out.extend_from_slice(&((value.len() + odd) as u32).to_le_bytes());
    out.extend_from_slice(value.as_bytes());
    out.extend(std::iter::repeat_n(padding, odd));
}

/// The UIDs of a match, and a number; `None`: it has no such element, or one that is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Study Instance UID (0020,000D).
    pub study: Option<String>,
    /// Series Instance UID (0020,000E).
    pub series: Option<String>,
    /// SOP Instance UID (0008,0018).
    pub instance: Option<String>,
    /// Number of Study Related Instances (0020,1208).
    pub study_instances: Option<u32>,
}

/// An identifier whose elements run past its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a match is no dataset in implicit VR little endian")]
pub struct NotADataset;

impl Match {
    /// Reads the identifier of a pending response. Elements within sequences are not looked at.
    ///
    /// # Errors
    /// See [`NotADataset`].
    pub fn read(mut identifier: &[u8]) -> Result<Self, NotADataset> {
        let (mut found, mut depth) = (Self::default(), 0_u32);
        while !identifier.is_empty() {
            let (header, rest) = identifier.split_first_chunk::<8>().ok_or(NotADataset)?;
            let [g0, g1, e0, e1, l0, l1, l2, l3] = *header;
            let tag = u32::from(u16::from_le_bytes([g0, g1])) << 16 | u32::from(u16::from_le_bytes([e0, e1]));
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            identifier = rest;
            match (tag, length) {
                (ITEM_END | SEQUENCE_END, _) => depth = depth.checked_sub(1).ok_or(NotADataset)?,
                (_, UNDEFINED) => depth += 1,
                _ => {
                    let length = usize::try_from(length).map_err(|_| NotADataset)?;
                    let (value, rest) = identifier.split_at_checked(length).ok_or(NotADataset)?;
                    identifier = rest;
                    if depth == 0 {
                        found.take(tag, value);
                    }
                }
            }
        }
        if depth == 0 { Ok(found) } else { Err(NotADataset) }
    }

    fn take(&mut self, tag: u32, value: &[u8]) {
        let text = std::str::from_utf8(value).ok();
        let field = match tag {
            STUDY_INSTANCES => {
                self.study_instances = text.and_then(|text| text.trim_matches([' ', '\0']).parse().ok());
                return;
            }
            SOP_INSTANCE => &mut self.instance,
            STUDY_INSTANCE => &mut self.study,
            SERIES_INSTANCE => &mut self.series,
            _ => return,
        };
        *field = text.map(unpadded).filter(|uid| is_uid(uid)).map(str::to_owned);
    }
}

#[cfg(test)]
mod tests {
    use dicom_object::InMemDicomObject;
    use dicom_transfer_syntax_registry::entries::IMPLICIT_VR_LITTLE_ENDIAN;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_reader_reads_the_identifiers() {
        let bytes = Query::Images { study: "1.2.3", series: "1.2.3.45" }.encode();
        let read = InMemDicomObject::read_dataset_with_ts(&*bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        let value = |tag: u32| {
            let tag = dicom_core::Tag((tag >> 16) as u16, tag as u16);
            read.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').trim_end().to_owned()
        };
        let values = [LEVEL, STUDY_INSTANCE, SERIES_INSTANCE, SOP_INSTANCE].map(value);
        assert_eq!(values, ["IMAGE", "1.2.3", "1.2.3.45", ""]);
        let bytes = Query::Series { study: "1.2.34" }.encode();
        assert_eq!(Match::read(&bytes).unwrap(), Match { study: Some("1.2.34".to_owned()), ..Match::default() });
        assert!(bytes.windows(6).any(|window| window == b"SERIES"));
        let bytes = Query::Study { study: "1.2.34" }.encode();
        let read = InMemDicomObject::read_dataset_with_ts(&*bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()).unwrap();
        assert!(read.element(dicom_core::Tag(0x0020, 0x1208)).unwrap().to_bytes().unwrap().is_empty());
    }

    #[test]
    fn the_uids_of_a_match_stand_outside_of_its_sequences() {
        let mut bytes = Vec::new();
        element(&mut bytes, SOP_INSTANCE, "1.2.3", 0);
        // A sequence and an item of undefined length, with another UID within.
        bytes.extend([0x08, 0, 0x40, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        element(&mut bytes, SOP_INSTANCE, "9.9", 0);
        bytes.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        element(&mut bytes, STUDY_INSTANCE, "1.2", 0);
        element(&mut bytes, SERIES_INSTANCE, "not one", 0);
        element(&mut bytes, STUDY_INSTANCES, "+412 ", b' ');
        let read = Match::read(&bytes).unwrap();
        assert_eq!((read.instance.as_deref(), read.study.as_deref(), read.series), (Some("1.2.3"), Some("1.2"), None));
        assert_eq!(read.study_instances, Some(412));
        for end in 1..bytes.len() {
            let _ = Match::read(&bytes[..end]);
        }
        assert_eq!(Match::read(&bytes[..20]), Err(NotADataset), "cut short");
        assert_eq!(Match::read(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]), Err(NotADataset), "ends what was not begun");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_match_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Match::read(&bytes);
        }
    }
}
