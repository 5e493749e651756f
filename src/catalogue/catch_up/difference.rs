//! What a check finds, by name.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::batch::{Known, uid_of};
use crate::catalogue::Catalogue;
use crate::open::DESIGN;
use crate::place::Place;
use crate::record::{Record, State};
use tidegate_database::Error;
use tidegate_database::PackedUid;

/// Differences that are named. All of them are counted.
pub const MAX_NAMED: usize = 100;

/// A difference between catalogue and disk. Its path may hold values of a dataset, as the layout makes it of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Below the root.
    pub path: PathBuf,
    /// Of the instance, if it is known.
    pub sop_instance_uid: Option<PackedUid>,
    /// What differs.
    pub kind: DifferenceKind,
}

/// What differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The file is there, and the catalogue does not have it, or has it as one that is not there.
    NotEntered,
    /// The catalogue has the file, and it is not there, or is no instance any more.
    Gone,
    /// The file has another length.
    Size {
        /// By the catalogue.
        recorded_bytes: u64,
        /// On the disk.
        found_bytes: u64,
    },
    /// The file says of itself that it has another digest.
    Digest,
    /// The file or the directory could not be looked at: whether it differs is not known.
    Unreadable,
}

impl DifferenceKind {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotEntered => "not_entered",
            Self::Gone => "gone",
            Self::Size { .. } => "size",
            Self::Digest => "digest",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEntered => f.write_str("not in the catalogue"),
            Self::Gone => f.write_str("gone"),
            Self::Size { recorded_bytes, found_bytes } => {
                write!(f, "{found_bytes} bytes, and {recorded_bytes} in the catalogue")
            }
            Self::Digest => f.write_str("another digest than in the catalogue"),
            Self::Unreadable => f.write_str("cannot be looked at"),
        }
    }
}

/// What differs between a file and what is known of it, if anything.
pub(super) fn of_file(record: &Record, known: Option<&Known>) -> Option<DifferenceKind> {
    let Some(known) = known.filter(|known| known.state == State::Present) else {
        return Some(DifferenceKind::NotEntered);
    };
    if known.bytes != record.bytes {
        return Some(DifferenceKind::Size { recorded_bytes: known.bytes, found_bytes: record.bytes });
    }
    (known.digest != record.digest.or(known.digest)).then_some(DifferenceKind::Digest)
}

/// The first differences of a check.
#[derive(Default)]
pub(super) struct Named(Vec<Difference>);

impl Named {
    pub(super) fn all(&self) -> &[Difference] {
        &self.0
    }

    pub(super) fn note(&mut self, path: &Path, uid: Option<PackedUid>, kind: DifferenceKind) {
        if self.0.len() < MAX_NAMED {
            self.0.push(Difference { path: path.to_owned(), sop_instance_uid: uid, kind });
        }
    }

    /// A file that is gone: the catalogue alone knows its UID.
    pub(super) fn note_gone(&mut self, catalogue: &Catalogue, path: &Path, known: &Known) -> Result<(), Error> {
        if self.0.len() < MAX_NAMED {
            let uid = uid_of(catalogue.connection(), known.id).map_err(DESIGN.sqlite(catalogue.path()))?;
            self.note(path, uid, DifferenceKind::Gone);
        }
        Ok(())
    }

    pub(super) fn note_unreadable(&mut self, path: &Path) {
        self.note(path, Place::of(path).and_then(|place| place.uid()), DifferenceKind::Unreadable);
    }
}
