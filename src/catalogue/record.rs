//! What is known of one stored file.

use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Row;
use rusqlite::types::ValueRef;
use tidegate_database::PackedUid;

/// One stored file: an instance, or a version of one. Texts are UTF-8, as far as the dataset's character set could be decoded; of each, the
/// catalogue keeps the first [`MAX_TEXT_BYTES`]. An empty text counts as none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Below the root.
    pub path: PathBuf,
    /// (0008,0018), from the file meta.
    pub sop_instance_uid: PackedUid,
    /// (0008,0016), from the file meta.
    pub sop_class_uid: String,
    /// (0002,0010).
    pub transfer_syntax_uid: String,
    /// Its study.
    pub study: StudyValues,
    /// Its series.
    pub series: SeriesValues,
    /// Instance Number (0020,0013), if it is a number.
    pub instance_number: Option<i64>,
    /// How many instances there are, by this one.
    pub told: ToldNumbers,
    /// Of the file.
    pub bytes: u64,
    /// XXH3-128 of the file. `None` where the filesystem keeps no attributes, or a copy of the file has lost it.
    pub digest: Option<u128>,
    /// Milliseconds since 1970. Of a file without a receipt, when it was modified.
    pub received_ms: i64,
    /// When the file was modified, in nanoseconds since 1970, if the record was made from the file.
    pub modified_ns: Option<i64>,
    /// Who sent it. `None` if the file does not say so.
    pub origin: Option<Arc<Origin>>,
}

/// Bytes that are kept of a text.
pub const MAX_TEXT_BYTES: usize = 1024;

/// The elements that describe a study, and that people search it by. A later instance's values replace those of an earlier one; a value that
/// it does not have replaces nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct StudyValues {
    /// (0020,000D); empty if the dataset has none.
    pub uid: String,
    /// (0010,0020)
    pub patient_id: Option<String>,
    /// (0010,0010)
    pub patient_name: Option<String>,
    /// (0010,0030)
    pub patient_birth_date: Option<String>,
    /// (0008,0050)
    pub accession_number: Option<String>,
    /// (0008,0020)
    pub study_date: Option<String>,
    /// (0008,1030)
    pub description: Option<String>,
}

impl StudyValues {
    /// Of the columns uid, patient_id, patient_name, patient_birth_date, accession_number, study_date and description of a study, from that one on.
    pub(crate) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            uid: row.get(from)?,
            patient_id: row.get(from + 1)?,
            patient_name: row.get(from + 2)?,
            patient_birth_date: row.get(from + 3)?,
            accession_number: row.get(from + 4)?,
            study_date: row.get(from + 5)?,
            description: row.get(from + 6)?,
        })
    }
}

/// The elements that describe a series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeriesValues {
    /// (0020,000E); empty if the dataset has none.
    pub uid: String,
    /// (0008,0060)
    pub modality: Option<String>,
    /// (0020,0011)
    pub number: Option<i64>,
    /// (0008,103E)
    pub description: Option<String>,
}

/// How many instances there are, as a dataset tells. Modalities and archives write these numbers, and some write them wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ToldNumbers {
    /// Number of Study Related Instances (0020,1208).
    pub study: Option<i64>,
    /// Number of Series Related Instances (0020,1209).
    pub series: Option<i64>,
    /// Images in Acquisition (0020,1002). The images of an acquisition may be in several series, and several in one instance.
    pub acquisition: Option<i64>,
}

/// The sender of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The calling AE title.
    pub calling_ae_title: String,
    /// The peer's address without its port; empty if only the file meta is known.
    pub address: String,
    /// The access rule that let it in; empty if none did.
    pub rule: String,
    /// The destinations that the instance is to be delivered to, by name.
    pub destinations: Vec<String>,
    /// The number of the association, as in the log.
    pub association: u32,
}

impl Origin {
    /// Whether this is all that the file meta of a file without a receipt says: its destinations are those of the rules of today.
    pub fn is_assumed(&self) -> bool {
        self.address.is_empty()
    }
}

/// Whether a file is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It is.
    Present,
    /// It is not, and the node did not remove it.
    Gone,
    /// The node removed it, after all its duties.
    Released,
}

impl State {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Present => 0,
            Self::Gone => 1,
            Self::Released => 2,
        }
    }

    pub(crate) fn of(number: i64) -> Self {
        match number {
            0 => Self::Present,
            1 => Self::Gone,
            _ => Self::Released,
        }
    }
}

/// What the catalogue keeps of a text.
pub(crate) fn kept(text: Option<&str>) -> Option<&str> {
    let text = text?.trim_end_matches(['\0', ' ']);
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end))?;
    Some(&text[..end]).filter(|text| !text.is_empty())
}

/// Where records come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reports {
    /// From those who stored the files. They may be late: the file may be gone, and a catch-up may have seen that.
    Late,
    /// From the disk, just now.
    Current {
        /// When.
        at_ms: i64,
    },
}

/// The digest in a column.
pub(crate) fn digest(value: ValueRef<'_>) -> Option<u128> {
    let bytes = value.as_blob().ok()?;
    bytes.try_into().ok().map(u128::from_be_bytes)
}
