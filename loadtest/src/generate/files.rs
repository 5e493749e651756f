//! A directory of the user's own DICOM files, each with room for fresh UIDs in the place of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use thiserror::Error;

use super::element::header;
use crate::dataset::{Dataset, Places};
use crate::part10::{Part10Error, Part10File};
use crate::uid::UID_LENGTH;

/// Big endian and deflated datasets would have to be taken apart and put together again.
const NOT_PATCHABLE: [&str; 2] = ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";
const IMPLICIT: &str = "1.2.840.10008.1.2";
/// Deepest nesting of sequences that is followed.
const MAX_DEPTH: usize = 16;

/// Why a directory gives no studies.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the files under {directory} hold more than {limit}: point to fewer, or raise files_max")]
    TooMuch { directory: PathBuf, limit: ByteSize },
    #[error(
        "no usable DICOM file under {directory}{reason}: files need a preamble, a file meta, the three UIDs, and neither big endian nor deflate"
    )]
    None { directory: PathBuf, reason: String },
}

/// The instances of one study, each with the number of its series.
#[derive(Debug, Default)]
pub(crate) struct UserStudy {
    pub(crate) instances: Vec<(usize, Dataset)>,
}

/// By its own UID, a study and its series, by theirs, with their numbers.
type Studies = BTreeMap<Vec<u8>, (UserStudy, BTreeMap<Vec<u8>, usize>)>;

/// Reads every usable file under `directory` into memory, at most `limit` of them all, and sorts them into their studies.
/// What is no DICOM file is passed over, and said on stderr if it looks like one.
///
/// # Errors
/// When the directory cannot be read, holds too much, or nothing usable.
pub(crate) fn load(directory: &Path, limit: ByteSize) -> Result<Vec<UserStudy>, FilesError> {
    let mut paths = Vec::new();
    list(directory, &mut paths)?;
    paths.sort();
    let mut studies = Studies::new();
    let (mut bytes, mut reason) = (0, String::new());
    for path in paths {
        let usable = match read(&path) {
            Ok(usable) => usable,
            Err(Part10Error::NoPrefix) => continue,
            Err(error) => {
                reason = format!(" ({}: {error})", path.display());
                eprintln!("passed over: {}: {error}", path.display());
                continue;
            }
        };
        bytes += usable.dataset.len();
        if bytes > limit.as_u64() {
            return Err(FilesError::TooMuch { directory: directory.to_owned(), limit });
        }
        let (study, series) = studies.entry(usable.study).or_default();
        let next = series.len();
        let number = *series.entry(usable.series).or_insert(next);
        study.instances.push((number, usable.dataset));
    }
    if studies.is_empty() {
        return Err(FilesError::None { directory: directory.to_owned(), reason });
    }
    Ok(studies.into_values().map(|(study, _)| study).collect())
}

fn list(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), FilesError> {
    let failed = |source| FilesError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            list(&entry.path(), paths)?;
        } else {
            paths.push(entry.path());
        }
    }
    Ok(())
}

struct Usable {
    dataset: Dataset,
    study: Vec<u8>,
    series: Vec<u8>,
}

fn read(path: &Path) -> Result<Usable, Part10Error> {
    let mut file = Part10File::open(path)?;
    if file.sop_class == MEDIA_DIRECTORY || NOT_PATCHABLE.contains(&file.transfer_syntax.as_str()) {
        return Err(Part10Error::NotPatchable);
    }
    let explicit = file.transfer_syntax != IMPLICIT;
    let bytes = file.dataset()?;
    patchable(&bytes, explicit, file.sop_class, file.transfer_syntax).ok_or(Part10Error::NotPatchable)
}

/// The dataset with each of the three UIDs replaced by one of the patchable length.
fn patchable(bytes: &[u8], explicit: bool, sop_class: String, transfer_syntax: String) -> Option<Usable> {
    let mut start = Vec::with_capacity(bytes.len() + 3 * UID_LENGTH);
    let mut found = [None, None, None];
    let mut originals = [Vec::new(), Vec::new(), Vec::new()];
    let mut at = 0;
    while found.contains(&None) {
        let element = Element::read(bytes, at, explicit)?;
        let end = element.end(bytes, explicit, 0)?;
        let which = match element.tag {
            (0x0008, 0x0018) => Some(0),
            (0x0020, 0x000D) => Some(1),
            (0x0020, 0x000E) => Some(2),
            _ => None,
        };
        match which {
            Some(which) => {
                header(&mut start, explicit, element.tag, "UI", UID_LENGTH);
                *found.get_mut(which)? = Some(start.len());
                *originals.get_mut(which)? = bytes.get(element.value_at..end)?.to_vec();
                start.extend_from_slice(&[b'0'; UID_LENGTH]);
            }
            // A retired group length (PS3.5 §7.2) would no longer be right.
            None if element.tag.1 == 0 => {}
            None => start.extend_from_slice(bytes.get(at..end)?),
        }
        at = end;
    }
    start.extend_from_slice(bytes.get(at..)?);
    let [sop_instance, study, series] = found;
    let places = Places { sop_instance: sop_instance?, study: study?, series: series? };
    let dataset =
        Dataset { sop_class, transfer_syntax, start, period: Vec::new(), repeats: 0, end: Vec::new(), places };
    let [_, study, series] = originals;
    Some(Usable { dataset, study, series })
}

struct Element {
    tag: (u16, u16),
    value_at: usize,
    /// `None` is the undefined length.
    length: Option<usize>,
    items_explicit: bool,
}

impl Element {
    fn read(bytes: &[u8], at: usize, explicit: bool) -> Option<Self> {
        let &[g0, g1, e0, e1, a, b, c, d] = bytes.get(at..)?.first_chunk::<8>()?;
        let tag = (u16::from_le_bytes([g0, g1]), u16::from_le_bytes([e0, e1]));
        let long = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
        let (value_at, length, items_explicit) = match (explicit && tag.0 != 0xFFFE, [a, b]) {
            (false, _) => (at + 8, u32::from_le_bytes([a, b, c, d]), explicit),
            // Unknown, of undefined length: a sequence in implicit VR (PS3.5 §6.2.2, note 4).
            (true, vr) if crate::part10::has_long_length(vr) => (at + 12, long(at + 8)?, vr != *b"UN"),
            (true, _) => (at + 8, u32::from(u16::from_le_bytes([c, d])), true),
        };
        let length = (length != u32::MAX).then_some(length as usize);
        Some(Self { tag, value_at, length, items_explicit })
    }

    /// Where the element ends, delimiters included.
    fn end(&self, bytes: &[u8], explicit: bool, depth: usize) -> Option<usize> {
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
