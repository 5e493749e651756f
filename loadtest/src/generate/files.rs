//! A directory of the user's own DICOM files, each with room for fresh UIDs in the place of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use thiserror::Error;

use super::element::{Tag, header};
use super::encoded::{Element, PIXELS};
use super::identity::{self, Deed};
use crate::dataset::{Dataset, Places};
use crate::part10::{Part10Error, Part10File};
use crate::uid::UID_LENGTH;

/// Big endian and deflated datasets would have to be taken apart and put together again.
const NOT_PATCHABLE: [&str; 2] = ["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];
const MEDIA_DIRECTORY: &str = "1.2.840.10008.1.3.10";
const IMPLICIT: &str = "1.2.840.10008.1.2";

/// Why a directory gives no studies.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the files under {directory} hold more than {limit}: point to fewer, or raise files_max")]
    TooMuch { directory: PathBuf, limit: ByteSize },
    #[error(
        "no usable DICOM file under {directory}{passed_over}: files need a preamble, a file meta, the three UIDs, and neither big endian nor deflate"
    )]
    None { directory: PathBuf, passed_over: String },
}

/// The instances of one study, each with the number of its series.
#[derive(Debug, Default)]
pub(crate) struct UserStudy {
    pub(crate) instances: Vec<(usize, Dataset)>,
}

/// By its own UID, a study and its series, by theirs, with their numbers.
type Studies = BTreeMap<Vec<u8>, (UserStudy, BTreeMap<Vec<u8>, usize>)>;

/// The datasets of a directory.
#[derive(Debug)]
pub(crate) struct UserFiles {
    pub(crate) studies: Vec<UserStudy>,
    /// The changes to them, in a sentence.
    pub(crate) note: String,
}

/// Reads every usable file under `directory` into memory, at most `limit` of them all, and sorts them into their studies. Patients are
/// replaced unless `keep_patient`.
/// Files that cannot be sent are passed over and counted by kind in the note; those that are DICOM are named on stderr.
///
/// # Errors
/// When the directory cannot be read, holds too much, or nothing usable.
pub(crate) fn load(directory: &Path, limit: ByteSize, keep_patient: bool) -> Result<UserFiles, FilesError> {
    let mut paths = Vec::new();
    list(directory, &mut paths)?;
    paths.sort();
    let mut studies = Studies::new();
    let mut treatment = Treatment { keep_patient, ..Treatment::default() };
    let (mut bytes, mut files) = (0, 0);
    for path in paths {
        let usable = match treatment.read(&path) {
            Ok(usable) => usable,
            Err(error) => {
                if !matches!(error, Part10Error::NoPrefix) {
                    eprintln!("passed over: {}: {error}", path.display());
                }
                *treatment.passed_over.entry(error.kind()).or_insert(0) += 1;
                continue;
            }
        };
        bytes += usable.dataset.len();
        files += 1;
        if bytes > limit.as_u64() {
            return Err(FilesError::TooMuch { directory: directory.to_owned(), limit });
        }
        let (study, series) = studies.entry(usable.study).or_default();
        let next = series.len();
        let number = *series.entry(usable.series).or_insert(next);
        study.instances.push((number, usable.dataset));
    }
    if studies.is_empty() {
        let passed_over = treatment.passed_over().map(|said| format!(" ({said})")).unwrap_or_default();
        return Err(FilesError::None { directory: directory.to_owned(), passed_over });
    }
    let studies = studies.into_values().map(|(study, _)| study).collect();
    Ok(UserFiles { studies, note: treatment.note(directory, files) })
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

/// A dataset with room for other UIDs.
struct Patched {
    start: Vec<u8>,
    /// The places of the three UIDs in it.
    found: [Option<usize>; 3],
    /// The values that they had.
    originals: [Vec<u8>; 3],
    has_pixels: bool,
}

/// The changes to the files on their way.
#[derive(Debug, Default)]
struct Treatment {
    keep_patient: bool,
    /// The ID, or else the name, of each patient that was met, with its number.
    patients: BTreeMap<Vec<u8>, usize>,
    /// The elements that were replaced, emptied or removed in any of them.
    touched: BTreeSet<Tag>,
    /// Files that are not sent, by kind.
    passed_over: BTreeMap<&'static str, usize>,
    /// Files that are sent and have no pixel data.
    without_pixels: usize,
}

impl Treatment {
    fn read(&mut self, path: &Path) -> Result<Usable, Part10Error> {
        let mut file = Part10File::open(path)?;
        if file.sop_class == MEDIA_DIRECTORY {
            return Err(Part10Error::MediaDirectory);
        }
        if NOT_PATCHABLE.contains(&file.transfer_syntax.as_str()) {
            return Err(Part10Error::NotPatchable);
        }
        let explicit = file.transfer_syntax != IMPLICIT;
        let bytes = file.dataset()?;
        let Patched { start, found, originals, has_pixels } =
            self.patchable(&bytes, explicit).ok_or(Part10Error::Cut)?;
        let [Some(sop_instance), Some(study), Some(series)] = found else {
            return Err(Part10Error::NoUid);
        };
        self.without_pixels += usize::from(!has_pixels);
        let places = Places { sop_instance, study, series };
        let [_, study, series] = originals;
        let (sop_class, transfer_syntax) = (file.sop_class, file.transfer_syntax);
        let (period, end) = (Vec::new(), Vec::new());
        let dataset = Dataset { sop_class, transfer_syntax, start, period, repeats: 0, end, places };
        Ok(Usable { dataset, study, series })
    }

    /// The dataset with each of the three UIDs replaced by one of the patchable length, and with another patient; `None` of one that
    /// cannot be followed to its end.
    fn patchable(&mut self, bytes: &[u8], explicit: bool) -> Option<Patched> {
        let id = self.patient(bytes, explicit)?;
        let mut start = Vec::with_capacity(bytes.len() + 3 * UID_LENGTH);
        let mut found = [None, None, None];
        let mut originals = [Vec::new(), Vec::new(), Vec::new()];
        let mut at = 0;
        let mut has_pixels = false;
        while at < bytes.len() {
            let element = Element::read(bytes, at, explicit)?;
            let end = element.end(bytes, explicit, 0)?;
            has_pixels |= element.tag.0 == PIXELS;
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
                None if self.keep_patient => start.extend_from_slice(bytes.get(at..end)?),
                None => self.put(&mut start, &element, bytes.get(at..end)?, explicit, &id)?,
            }
            at = end;
        }
        Some(Patched { start, found, originals, has_pixels })
    }

    /// The ID that stands for the patient of this dataset.
    fn patient(&mut self, bytes: &[u8], explicit: bool) -> Option<Vec<u8>> {
        let mut original = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let element = Element::read(bytes, at, explicit)?;
            if element.tag > (0x0010, 0x0020) {
                break;
            }
            let end = element.end(bytes, explicit, 0)?;
            if matches!(element.tag, (0x0010, 0x0010 | 0x0020)) && end > element.value_at {
                original = bytes.get(element.value_at..end)?.to_vec();
            }
            at = end;
        }
        let next = self.patients.len();
        Some(identity::patient_id(*self.patients.entry(original).or_insert(next)))
    }

    /// Appends one element, `whole` with its header, without what identifies.
    fn put(&mut self, start: &mut Vec<u8>, element: &Element, whole: &[u8], explicit: bool, id: &[u8]) -> Option<()> {
        let deed = identity::deed(element.tag, element.vr);
        if deed != Deed::Keep {
            self.touched.insert(element.tag);
        }
        let mut replace = |vr, value: &[u8]| {
            header(start, explicit, element.tag, vr, value.len());
            start.extend_from_slice(value);
        };
        match deed {
            Deed::Name => replace("PN", identity::NAME),
            Deed::Id => replace("LO", id),
            Deed::Empty => {
                let vr = element.vr.unwrap_or(*b"LO");
                replace(std::str::from_utf8(&vr).ok()?, b"");
            }
            Deed::Remove => {}
            Deed::Keep | Deed::Blank => {
                let from = start.len();
                start.extend_from_slice(whole);
                let is_nested = element.tag.0 < PIXELS && element.length != Some(0);
                if deed == Deed::Blank || is_nested && element.is_sequence_at(whole) {
                    let end = start.len();
                    identity::overwrite(start, from, end, explicit, deed == Deed::Blank)?;
                }
            }
        }
        Some(())
    }

    /// In a sentence, with the number of files.
    fn note(&self, directory: &Path, files: usize) -> String {
        let patients = self.patients.len();
        let mut rest = String::new();
        if self.without_pixels > 0 {
            rest = format!("; {} of them have no pixel data", self.without_pixels);
        }
        if let Some(said) = self.passed_over() {
            rest = format!("{rest}; {said}");
        }
        if self.keep_patient {
            return format!(
                "{}: {files} files of {patients} patients, sent with the patients' own names and IDs{rest}",
                directory.display()
            );
        }
        let touched: Vec<String> =
            self.touched.iter().map(|(group, number)| format!("({group:04X},{number:04X})")).collect();
        format!(
            "{}: {files} files of {patients} patients, sent as Load^Test with IDs from LTF0000001; replaced, emptied or removed: {}; \
             pixels are not looked into{rest}",
            directory.display(),
            touched.join(" ")
        )
    }

    /// How many files are not sent, and why.
    fn passed_over(&self) -> Option<String> {
        let all: usize = self.passed_over.values().sum();
        let kinds: Vec<String> = self.passed_over.iter().map(|(kind, number)| format!("{number} {kind}")).collect();
        (all > 0).then(|| format!("{all} others are passed over: {}", kinds.join(", ")))
    }
}
