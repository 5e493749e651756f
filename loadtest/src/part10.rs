//! Enough of Part 10 to find a stored dataset behind its file meta and to tell a whole one from a cut one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use thiserror::Error;

use crate::pdu;

/// The most bytes of file meta that are read.
const MAX_META_BYTES: u32 = 64 * 1024;
/// Bytes compared at a time.
const COMPARED_BYTES: usize = 1 << 18;
const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";
const UNDEFINED_LENGTH: u32 = 0xFFFF_FFFF;

/// Why a file is no whole DICOM file.
#[derive(Debug, Error)]
pub(crate) enum Part10Error {
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    #[error("not DICOM: no preamble and DICM prefix")]
    NoPrefix,
    #[error("its file meta is not as PS3.10 §7.1 has it")]
    BadMeta,
    #[error("its dataset is cut off or malformed")]
    Cut,
    #[error("a media directory (DICOMDIR), which is not sent over the network")]
    MediaDirectory,
    #[error("its transfer syntax, big endian or deflated, has no place for other UIDs")]
    NotPatchable,
    #[error("no SOP Instance UID, Study Instance UID or Series Instance UID in the dataset")]
    NoUid,
}

impl Part10Error {
    /// Its kind in a count of files.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "unreadable",
            Self::NoPrefix => "not DICOM",
            Self::BadMeta => "with a broken file meta",
            Self::Cut => "cut off or malformed",
            Self::MediaDirectory => "media directories",
            Self::NotPatchable => "big endian or deflated",
            Self::NoUid => "without one of the three UIDs",
        }
    }
}

/// A DICOM file, opened, with what its file meta says.
#[derive(Debug)]
pub(crate) struct Part10File {
    reader: BufReader<File>,
    dataset_at: u64,
    length: u64,
    pub(crate) sop_class: String,
    pub(crate) sop_instance: String,
    pub(crate) transfer_syntax: String,
}

impl Part10File {
    /// Opens `path` and reads its file meta.
    ///
    /// # Errors
    /// When there is no readable file meta of a right group length.
    pub(crate) fn open(path: &Path) -> Result<Self, Part10Error> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 18, file);
        // Preamble, prefix, and (0002,0000), whose value is the length of what follows it.
        let mut start = [0; 144];
        reader.read_exact(&mut start).map_err(|_| Part10Error::NoPrefix)?;
        let (Some(b"DICM"), Some(group_length)) = (start.get(128..132), start.last_chunk::<4>()) else {
            return Err(Part10Error::NoPrefix);
        };
        let group_length = u32::from_le_bytes(*group_length);
        if start.get(132..140) != Some(b"\x02\0\0\0UL\x04\0") || group_length > MAX_META_BYTES {
            return Err(Part10Error::BadMeta);
        }
        let mut meta = vec![0; group_length as usize];
        reader.read_exact(&mut meta).map_err(|_| Part10Error::BadMeta)?;
        Ok(Self {
            dataset_at: 144 + u64::from(group_length),
            length,
            reader,
            sop_class: meta_uid(&meta, 0x0002).ok_or(Part10Error::BadMeta)?,
            sop_instance: meta_uid(&meta, 0x0003).ok_or(Part10Error::BadMeta)?,
            transfer_syntax: meta_uid(&meta, 0x0010).ok_or(Part10Error::BadMeta)?,
        })
    }

    /// Every byte behind the file meta.
    pub(crate) fn dataset(&mut self) -> Result<Vec<u8>, Part10Error> {
        self.reader.seek(SeekFrom::Start(self.dataset_at))?;
        let mut bytes = Vec::new();
        self.reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the bytes behind the file meta are `parts`, one after the other, and nothing more.
    pub(crate) fn dataset_is<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Result<bool, Part10Error> {
        self.reader.seek(SeekFrom::Start(self.dataset_at))?;
        let mut buffer = vec![0; COMPARED_BYTES];
        for part in parts {
            for expected in part.chunks(COMPARED_BYTES) {
                let Some(found) = buffer.get_mut(..expected.len()) else {
                    return Ok(false);
                };
                match self.reader.read_exact(found) {
                    Ok(()) if found == expected => {}
                    Ok(()) => return Ok(false),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(self.reader.fill_buf()?.is_empty())
    }

    /// Follows the top-level elements and errs when the last does not end where the file does.
    ///
    /// Only for uncompressed little endian; an element of undefined length ends the check, since nothing says its end.
    pub(crate) fn check_whole(&mut self) -> Result<(), Part10Error> {
        let explicit = match self.transfer_syntax.as_str() {
            EXPLICIT_LITTLE_ENDIAN => true,
            IMPLICIT_LITTLE_ENDIAN => false,
            _ => return Ok(()),
        };
        let mut at = self.dataset_at;
        self.reader.seek(SeekFrom::Start(at))?;
        while at < self.length {
            let (header, value) = read_header(&mut self.reader, explicit).map_err(|_| Part10Error::Cut)?;
            if value == UNDEFINED_LENGTH {
                return Ok(());
            }
            at += header + u64::from(value);
            self.reader.seek_relative(i64::from(value))?;
        }
        if at == self.length && at > self.dataset_at { Ok(()) } else { Err(Part10Error::Cut) }
    }
}

/// The part of a file before its dataset: preamble, prefix and file meta (PS3.10 §7.1). UIDs may be padded or not.
pub(crate) fn file_start(sop_class: &[u8], sop_instance: &[u8], transfer_syntax: &[u8]) -> Vec<u8> {
    let mut meta = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01".to_vec();
    let class = pdu::IMPLEMENTATION_CLASS.as_bytes();
    for (number, uid) in [(0x0002_u16, sop_class), (0x0003, sop_instance), (0x0010, transfer_syntax), (0x0012, class)] {
        let length = u16::try_from(uid.len().next_multiple_of(2)).unwrap_or(u16::MAX);
        meta.extend_from_slice(&[2, 0]);
        meta.extend_from_slice(&number.to_le_bytes());
        meta.extend_from_slice(b"UI");
        meta.extend_from_slice(&length.to_le_bytes());
        meta.extend_from_slice(uid);
        meta.resize(meta.len() + uid.len() % 2, 0);
    }
    let mut start = vec![0; 128];
    start.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
    start.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    start.extend_from_slice(&meta);
    start
}

/// The length of an element's header and of its value (PS3.5 §7.1).
fn read_header(reader: &mut impl Read, explicit: bool) -> io::Result<(u64, u32)> {
    let mut header = [0; 8];
    reader.read_exact(&mut header)?;
    let [_, _, _, _, a, b, c, d] = header;
    if !explicit {
        return Ok((8, u32::from_le_bytes([a, b, c, d])));
    }
    if !has_long_length([a, b]) {
        return Ok((8, u32::from(u16::from_le_bytes([c, d]))));
    }
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    Ok((12, u32::from_le_bytes(length)))
}

/// Whether a VR has a 32-bit length behind two reserved bytes (PS3.5 table 7.1-1).
pub(crate) fn has_long_length(vr: [u8; 2]) -> bool {
    matches!(&vr, b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV")
}

/// The UID in the element `number` of group 0002.
fn meta_uid(meta: &[u8], number: u16) -> Option<String> {
    let mut rest = meta;
    loop {
        let (&[group_low, group_high, low, high, ..], _) = rest.split_first_chunk::<8>()?;
        let (header, length) = read_header(&mut &*rest, true).ok()?;
        let value = rest.get(header as usize..)?;
        let (value, after) = value.split_at_checked(length as usize)?;
        if [group_low, group_high] == [2, 0] && u16::from_le_bytes([low, high]) == number {
            let text = std::str::from_utf8(value).ok()?;
            return Some(text.trim_end_matches(['\0', ' ']).to_owned());
        }
        rest = after;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use dicom_object::FileMetaTableBuilder;

    use super::*;
    use crate::generate::{Encoding, ct_image};

    /// A file with `dataset` in it, its file meta written by another implementation.
    pub(crate) fn write_file(path: &Path, sop_instance: &str, syntax: Encoding, dataset: &[u8]) {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(syntax.transfer_syntax())
            .media_storage_sop_class_uid("1.2.840.10008.5.1.4.1.1.2")
            .media_storage_sop_instance_uid(sop_instance)
            .build()
            .unwrap();
        let mut file = vec![0; 128];
        file.extend_from_slice(b"DICM");
        meta.write(&mut file).unwrap();
        file.extend_from_slice(dataset);
        fs::write(path, file).unwrap();
    }

    #[test]
    fn a_file_of_another_implementation_is_read_and_found_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for syntax in [Encoding::Explicit, Encoding::Implicit] {
            let dataset = ct_image(4096, syntax, 1).to_bytes();
            write_file(&path, "1.2.3", syntax, &dataset);
            let mut file = Part10File::open(&path).unwrap();
            assert_eq!(
                (file.sop_instance.as_str(), file.transfer_syntax.as_str()),
                ("1.2.3", syntax.transfer_syntax())
            );
            file.check_whole().unwrap();
            assert!(file.dataset_is([&dataset[..]].into_iter()).unwrap());
        }
    }

    #[test]
    fn another_implementation_reads_the_start_of_a_file() {
        let dataset = ct_image(64, Encoding::Explicit, 1).to_bytes();
        let syntax = Encoding::Explicit.transfer_syntax();
        let mut file = file_start(b"1.2.840.10008.5.1.4.1.1.2\0", b"1.2.3", syntax.as_bytes());
        file.extend_from_slice(&dataset);
        let read = dicom_object::from_reader(&file[..]).unwrap();
        let meta = read.meta();
        assert_eq!(meta.media_storage_sop_instance_uid.trim_end_matches('\0'), "1.2.3");
        assert_eq!(meta.media_storage_sop_class_uid.trim_end_matches('\0'), "1.2.840.10008.5.1.4.1.1.2");
        assert_eq!(meta.transfer_syntax.trim_end_matches('\0'), syntax);
    }

    #[test]
    fn a_cut_file_is_told_from_a_whole_one_wherever_it_is_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let dataset = ct_image(64, Encoding::Explicit, 1).to_bytes();
        write_file(&path, "1.2.3", Encoding::Explicit, &dataset);
        let whole = fs::read(&path).unwrap();
        let meta_length = whole.len() - dataset.len();
        // A cut between two elements cannot be seen; every other can.
        let cuts = [0, 100, 140, meta_length - 1, meta_length, meta_length + 3, whole.len() - 70, whole.len() - 1];
        for cut in cuts {
            fs::write(&path, &whole[..cut]).unwrap();
            let result = Part10File::open(&path).and_then(|mut file| file.check_whole());
            assert!(result.is_err(), "cut at {cut} of {}", whole.len());
        }
    }
}
