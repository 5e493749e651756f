//! File meta information (PS3.10 §7.1): what stands in front of a dataset in a stored file.

use std::borrow::Cow;

use crate::uid::{MAX_UID_LENGTH, Uid, trim_padding};

/// (0002,0012) Implementation Class UID: a UUID-derived UID (PS3.5 annex B.2) that names Tidegate,
/// in files and in associations alike.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.70292634656795476782220970862898428436";

/// (0002,0013) Implementation Version Name, at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "TIDEGATE_0_1";

const PREAMBLE_BYTES: usize = 128;
const PREFIX: &[u8; 4] = b"DICM";
const META_GROUP: u16 = 0x0002;
const GROUP_LENGTH: u16 = 0x0000;
const SOP_CLASS_UID: u16 = 0x0002;
const SOP_INSTANCE_UID: u16 = 0x0003;
const TRANSFER_SYNTAX_UID: u16 = 0x0010;
/// Element (0002,0000) as a whole.
const GROUP_LENGTH_BYTES: usize = 12;

/// An AE title has at most 16 characters (PS3.5 §6.2).
const MAX_AE_TITLE_LENGTH: usize = 16;

/// The file meta information of an instance (PS3.10 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMeta {
    /// (0002,0002) Media Storage SOP Class UID: the Affected SOP Class UID of the C-STORE request.
    pub sop_class_uid: Uid,
    /// (0002,0003) Media Storage SOP Instance UID: the Affected SOP Instance UID of the C-STORE
    /// request.
    pub sop_instance_uid: Uid,
    /// (0002,0010) Transfer Syntax UID: that of the presentation context the dataset came in.
    pub transfer_syntax_uid: String,
    /// (0002,0016) Source Application Entity Title. Left out of the file when empty, as are the
    /// other two titles.
    pub source_ae_title: String,
    /// (0002,0017) Sending Application Entity Title: the calling AE title.
    pub sending_ae_title: String,
    /// (0002,0018) Receiving Application Entity Title: the AE title that answered.
    pub receiving_ae_title: String,
}

impl FileMeta {
    /// No encoded file meta is longer than this, in bytes: enough of a stored file to find where
    /// its dataset starts.
    pub const MAX_ENCODED_BYTES: usize = 2048;

    /// Preamble, `DICM` and group 0002 in explicit VR little endian, with a true group length.
    ///
    /// Titles come from the wire: characters an AE title cannot hold become `_`, and what exceeds
    /// 16 is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut group = Vec::with_capacity(512);
        // (0002,0001) File Meta Information Version is OB: two reserved bytes and a 32-bit length.
        group.extend_from_slice(&[0x02, 0x00, 0x01, 0x00, b'O', b'B', 0, 0, 2, 0, 0, 0, 0x00, 0x01]);
        push_text(&mut group, SOP_CLASS_UID, b"UI", self.sop_class_uid.as_str());
        push_text(&mut group, SOP_INSTANCE_UID, b"UI", self.sop_instance_uid.as_str());
        push_text(&mut group, TRANSFER_SYNTAX_UID, b"UI", &clean(&self.transfer_syntax_uid, MAX_UID_LENGTH));
        push_text(&mut group, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID);
        push_text(&mut group, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME);
        for (element, title) in
            [(0x0016, &self.source_ae_title), (0x0017, &self.sending_ae_title), (0x0018, &self.receiving_ae_title)]
        {
            let title = clean(title, MAX_AE_TITLE_LENGTH);
            if !title.is_empty() {
                push_text(&mut group, element, b"AE", &title);
            }
        }

        let mut encoded = Vec::with_capacity(PREAMBLE_BYTES + 16 + group.len());
        encoded.resize(PREAMBLE_BYTES, 0);
        encoded.extend_from_slice(PREFIX);
        encoded.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, b'U', b'L', 4, 0]);
        encoded.extend_from_slice(&(group.len() as u32).to_le_bytes());
        encoded.extend_from_slice(&group);
        encoded
    }
}

/// The file meta information read from a stored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredMeta {
    pub(crate) meta: FileMeta,
    /// Where the dataset starts, in bytes from the start of the file.
    pub(crate) dataset_offset: u64,
    /// Whether this program has written it, by its Implementation Class UID (0002,0012).
    pub(crate) is_own: bool,
}

/// Why the front of a file is no file meta of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaFault {
    /// Shorter than a preamble, or without `DICM` behind it.
    #[error("not a Part 10 file: no DICM at byte 128")]
    NotPart10,
    /// (0002,0000) is missing, or the elements of the group do not end where it says.
    #[error("file meta group length (0002,0000) does not match the end of the group")]
    GroupLength,
    /// A UID that every file has is missing or is none.
    #[error("file meta has no valid (0002,{element:04X})")]
    Uid {
        /// The element.
        element: u16,
    },
}

impl StoredMeta {
    /// Reads the file meta that `prefix` begins with; [`FileMeta::MAX_ENCODED_BYTES`] of a file are enough.
    pub(crate) fn read(prefix: &[u8]) -> Result<Self, MetaFault> {
        let elements = prefix.get(PREAMBLE_BYTES..).and_then(|rest| rest.strip_prefix(PREFIX));
        let elements = elements.ok_or(MetaFault::NotPart10)?;
        let group = group_of(elements).ok_or(MetaFault::GroupLength)?;
        let (mut values, mut rest) = (Vec::new(), group);
        while !rest.is_empty() {
            let (found, after) = MetaElement::split(rest).ok_or(MetaFault::GroupLength)?;
            values.push(found);
            rest = after;
        }
        let value = |element| values.iter().find(|found| found.element == element).map(|found| found.value);
        let uid =
            |element| value(element).and_then(|raw| Uid::parse_loosely(raw).ok()).ok_or(MetaFault::Uid { element });
        let text = |element| String::from_utf8_lossy(trim_padding(value(element).unwrap_or_default())).into_owned();
        let meta = FileMeta {
            sop_class_uid: uid(SOP_CLASS_UID)?,
            sop_instance_uid: uid(SOP_INSTANCE_UID)?,
            transfer_syntax_uid: uid(TRANSFER_SYNTAX_UID)?.as_str().to_owned(),
            source_ae_title: text(0x0016),
            sending_ae_title: text(0x0017),
            receiving_ae_title: text(0x0018),
        };
        let dataset_offset = (PREAMBLE_BYTES + PREFIX.len() + GROUP_LENGTH_BYTES + group.len()) as u64;
        let is_own = text(0x0012) == IMPLEMENTATION_CLASS_UID;
        Ok(Self { meta, dataset_offset, is_own })
    }
}

/// The elements behind the group length of the group that `elements` begin with, as far as it says.
fn group_of(elements: &[u8]) -> Option<&[u8]> {
    let (group_length, rest) = MetaElement::split(elements)?;
    if group_length.element != GROUP_LENGTH {
        return None;
    }
    let group_length = u32::from_le_bytes(group_length.value.try_into().ok()?);
    rest.get(..usize::try_from(group_length).ok()?)
}

/// Where the dataset of a stored file starts, and how it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetStart {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// (0002,0010), without padding.
    pub transfer_syntax_uid: String,
}

impl DatasetStart {
    /// Finds the dataset behind the file meta that `prefix` begins with;
    /// [`FileMeta::MAX_ENCODED_BYTES`] of a file are enough for one of ours. `None` when it is no
    /// Part 10 file, is cut short, or its group length is not where its elements end.
    pub fn find(prefix: &[u8]) -> Option<Self> {
        let elements = prefix.get(PREAMBLE_BYTES..)?.strip_prefix(PREFIX)?;
        let mut rest = group_of(elements)?;
        let offset = PREAMBLE_BYTES + PREFIX.len() + GROUP_LENGTH_BYTES + rest.len();

        let mut transfer_syntax_uid = None;
        while !rest.is_empty() {
            let (found, after) = MetaElement::split(rest)?;
            if found.element == TRANSFER_SYNTAX_UID {
                transfer_syntax_uid = Some(Uid::parse(found.value).ok()?.as_str().to_owned());
            }
            rest = after;
        }
        Some(Self { offset: offset as u64, transfer_syntax_uid: transfer_syntax_uid? })
    }
}

/// One element of group 0002, always in explicit VR little endian.
struct MetaElement<'a> {
    element: u16,
    value: &'a [u8],
}

impl<'a> MetaElement<'a> {
    /// The element `bytes` begin with, and what follows it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = bytes.split_first_chunk::<8>()?;
        let [g0, g1, e0, e1, v0, v1, l0, l1] = *header;
        if u16::from_le_bytes([g0, g1]) != META_GROUP {
            return None;
        }
        let (length, rest) = match &[v0, v1] {
            b"OB" | b"UN" => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                (u32::from_le_bytes(*length) as usize, rest)
            }
            _ => (usize::from(u16::from_le_bytes([l0, l1])), rest),
        };
        let (value, rest) = rest.split_at_checked(length)?;
        Some((Self { element: u16::from_le_bytes([e0, e1]), value }, rest))
    }
}

/// Appends a text element of group 0002. `value` is at most 255 bytes of ASCII; it is padded to
/// even length as its VR asks.
fn push_text(group: &mut Vec<u8>, element: u16, vr: &[u8; 2], value: &str) {
    let padding = if vr == b"UI" { 0 } else { b' ' };
    let odd = value.len() % 2;
    group.extend_from_slice(&META_GROUP.to_le_bytes());
    group.extend_from_slice(&element.to_le_bytes());
    group.extend_from_slice(vr);
    group.extend_from_slice(&((value.len() + odd) as u16).to_le_bytes());
    group.extend_from_slice(value.as_bytes());
    group.extend(std::iter::repeat_n(padding, odd));
}

/// `value` without padding and with anything but printable ASCII, and the backslash that separates
/// values, as `_`.
fn clean(value: &str, max_length: usize) -> Cow<'_, str> {
    let is_allowed = |c: char| matches!(c, ' '..='~') && c != '\\';
    let trimmed = value.trim_matches(['\0', ' ']);
    if trimmed.len() <= max_length && trimmed.chars().all(is_allowed) {
        return trimmed.into();
    }
    trimmed.chars().take(max_length).map(|c| if is_allowed(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_object::FileMetaTable;

    fn meta() -> FileMeta {
        FileMeta {
            sop_class_uid: Uid::parse(b"1.2.840.10008.5.1.4.1.1.2").unwrap(),
            sop_instance_uid: Uid::parse(b"1.2.3.4").unwrap(),
            transfer_syntax_uid: "1.2.840.10008.1.2.4.90".into(),
            source_ae_title: "CT1".into(),
            sending_ae_title: "GATEWAY".into(),
            receiving_ae_title: "TIDEGATE".into(),
        }
    }

    /// Reads `meta` as another implementation does, behind the preamble.
    fn read_back(meta: &FileMeta) -> FileMetaTable {
        let encoded = meta.encode();
        assert_eq!(encoded[..128], [0; 128]);
        FileMetaTable::from_reader(&encoded[128..]).unwrap()
    }

    #[test]
    fn another_implementation_reads_every_element() {
        let table = read_back(&meta());
        assert_eq!(table.information_version, [0, 1]);
        assert_eq!(table.media_storage_sop_class_uid(), "1.2.840.10008.5.1.4.1.1.2");
        assert_eq!(table.media_storage_sop_instance_uid(), "1.2.3.4");
        assert_eq!(table.transfer_syntax(), "1.2.840.10008.1.2.4.90");
        assert_eq!(table.implementation_class_uid(), IMPLEMENTATION_CLASS_UID);
        assert_eq!(table.implementation_version_name(), Some("TIDEGATE_0_1"));
        assert_eq!(table.source_application_entity_title(), Some("CT1"));
        assert_eq!(table.sending_application_entity_title(), Some("GATEWAY"));
        assert_eq!(table.receiving_application_entity_title(), Some("TIDEGATE"));
    }

    #[test]
    fn group_length_reaches_the_dataset_and_every_length_is_even() {
        let encoded = meta().encode();
        let group_length = u32::from_le_bytes(encoded[140..144].try_into().unwrap());
        assert_eq!(encoded.len(), 144 + group_length as usize);
        let mut rest = &encoded[144..];
        while let Some((element, after)) = MetaElement::split(rest) {
            assert_eq!(element.value.len() % 2, 0);
            rest = after;
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn titles_from_the_wire_cannot_break_the_file() {
        let meta = FileMeta {
            source_ae_title: "A\\B\0C\u{e9}\n".into(),
            sending_ae_title: "  MORE THAN SIXTEEN CHARACTERS".into(),
            receiving_ae_title: " \0 ".into(),
            ..meta()
        };
        let table = read_back(&meta);
        assert_eq!(table.source_application_entity_title(), Some("A_B_C__"));
        assert_eq!(table.sending_application_entity_title(), Some("MORE THAN SIXTEE"));
        assert_eq!(table.receiving_application_entity_title(), None);
    }

    #[test]
    fn finds_the_dataset_and_its_transfer_syntax() {
        let mut file = meta().encode();
        let offset = file.len() as u64;
        file.extend_from_slice(&[8, 0, 5, 0, b'C', b'S', 0, 0]);
        let found = DatasetStart::find(&file).unwrap();
        assert_eq!(found, DatasetStart { offset, transfer_syntax_uid: "1.2.840.10008.1.2.4.90".into() });
    }

    #[test]
    fn the_longest_file_meta_is_found_in_the_promised_prefix() {
        let longest = FileMeta {
            sop_class_uid: Uid::parse(&[b'1'; 255]).unwrap(),
            sop_instance_uid: Uid::parse(&[b'2'; 255]).unwrap(),
            transfer_syntax_uid: "3".repeat(70_000),
            source_ae_title: "A".repeat(70_000),
            sending_ae_title: "B".repeat(70_000),
            receiving_ae_title: "C".repeat(70_000),
        };
        let encoded = longest.encode();
        assert!(encoded.len() <= FileMeta::MAX_ENCODED_BYTES);
        assert_eq!(DatasetStart::find(&encoded).unwrap().offset, encoded.len() as u64);
        assert_eq!(read_back(&longest).media_storage_sop_instance_uid(), "2".repeat(255));
    }

    #[test]
    fn a_foreign_or_cut_file_has_no_dataset_start() {
        let file = meta().encode();
        for length in 0..file.len() {
            assert_eq!(DatasetStart::find(&file[..length]), None, "{length}");
        }
        let mut lying = file.clone();
        lying[140] -= 2;
        assert_eq!(DatasetStart::find(&lying), None);
        let mut no_magic = file;
        no_magic[128] = b'X';
        assert_eq!(DatasetStart::find(&no_magic), None);
    }

    #[test]
    fn what_was_encoded_is_read_back() {
        let mut file = meta().encode();
        let dataset_offset = file.len() as u64;
        file.extend_from_slice(&[8, 0, 5, 0, b'C', b'S', 0, 0]);
        assert_eq!(StoredMeta::read(&file), Ok(StoredMeta { meta: meta(), dataset_offset, is_own: true }));
    }

    #[test]
    fn every_lie_about_the_meta_has_its_name() {
        let file = meta().encode();
        assert_eq!(StoredMeta::read(&file[..131]), Err(MetaFault::NotPart10));
        for change in [2_i16, -2, -12, 100] {
            let mut lying = file.clone();
            lying[140] = (i16::from(lying[140]) + change) as u8;
            assert_eq!(StoredMeta::read(&lying), Err(MetaFault::GroupLength), "{change}");
        }
        let mut no_instance = file;
        let at = no_instance.windows(7).position(|text| text == b"1.2.3.4").unwrap();
        no_instance[at] = b'/';
        assert_eq!(StoredMeta::read(&no_instance), Err(MetaFault::Uid { element: 0x0003 }));
    }

    #[test]
    fn version_name_fits() {
        assert!(IMPLEMENTATION_VERSION_NAME.len() <= 16);
        assert!(Uid::parse(IMPLEMENTATION_CLASS_UID.as_bytes()).unwrap().as_str().len() <= 64);
    }
}
