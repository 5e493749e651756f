//! The limits of the scan for a head, and its outcome: the wanted values, or an error.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::syntax::Evidence;
use crate::meta::FileMeta;
use crate::uid::{Uid, before_nul, trim_padding};

/// Sequences of undefined length inside one another that are followed. Readers that recurse end before.
pub(super) const MAX_DEPTH: u32 = 512;

/// Limits of the scan for a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Headers walked: elements, items and delimiters. A value that is skipped, a sequence of
    /// defined length included, counts as one.
    pub max_elements: u32,
    /// Sequences of undefined length inside one another.
    pub max_depth: u32,
    /// Bytes processed: headers and kept values, and every inflated byte of a deflated dataset.
    /// A skipped value costs nothing and counts for nothing.
    pub max_bytes: u64,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_elements: 1 << 18, max_depth: MAX_DEPTH, max_bytes: 16 << 20 }
    }
}

/// Whether a scan wants more of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The head may continue in the next fragment.
    More,
    /// The head is known, or that there is none. Further fragments count for the pixel data and the structure of the dataset alone.
    Done,
}

/// The wanted values that a dataset has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub(super) values: Values,
    /// The last repetition of an element that is held against the command set.
    pub(super) repeated: Vec<(Tag, Vec<u8>)>,
    pub(super) deviations: Deviations,
}

/// Values by tag, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    /// Each with the end of its value in `bytes`.
    tags: Vec<(Tag, u32)>,
    bytes: Vec<u8>,
}

/// Most bytes kept of a value, far above any element that is used.
pub(super) const MAX_KEPT_BYTES: usize = 1024;

/// Bytes of most values.
const USUAL_BYTES: usize = 24;

impl Values {
    /// With room for so many values of usual length.
    pub(super) fn with_room(values: usize) -> Self {
        Self { tags: Vec::with_capacity(values), bytes: Vec::with_capacity(values * USUAL_BYTES) }
    }

    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    pub(super) fn has(&self, tag: Tag) -> bool {
        self.tags.iter().any(|(kept, _)| *kept == tag)
    }

    /// Begins a value behind the others.
    pub(super) fn begin(&mut self, tag: Tag) {
        self.tags.push((tag, self.bytes.len() as u32));
    }

    /// Adds to the last value, as far as it is kept, and returns how much of `bytes` that is.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> usize {
        let begin = self.tags.iter().rev().nth(1).map_or(0, |(_, end)| *end as usize);
        let Some((_, end)) = self.tags.last_mut() else { return 0 };
        let kept = bytes.len().min(MAX_KEPT_BYTES.saturating_sub(self.bytes.len() - begin));
        self.bytes.extend_from_slice(&bytes[..kept]);
        *end = self.bytes.len() as u32;
        kept
    }

    pub(super) fn drop_last(&mut self) {
        self.tags.pop();
        self.bytes.truncate(self.tags.last().map_or(0, |(_, end)| *end as usize));
    }

    pub(super) fn get(&self, tag: Tag) -> Option<&[u8]> {
        let at = self.tags.iter().position(|(kept, _)| *kept == tag)?;
        let begin = at.checked_sub(1).map_or(0, |before| self.tags[before].1);
        self.bytes.get(begin as usize..self.tags[at].1 as usize)
    }

    /// Each with its value.
    fn all(&self) -> impl Iterator<Item = (Tag, &[u8])> {
        let mut begin = 0;
        self.tags.iter().map(move |(tag, end)| {
            let value = self.bytes.get(begin..*end as usize).unwrap_or_default();
            begin = *end as usize;
            (*tag, value)
        })
    }

    fn memory_bytes(&self) -> usize {
        self.tags.capacity() * size_of::<(Tag, u32)>() + self.bytes.capacity()
    }
}

/// What is unusual about a dataset that can be stored all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deviations {
    /// Bytes in front of the dataset that are no part of it: command or file meta elements, or the begin of a Part 10 file.
    pub left_out_bytes: u64,
    /// The evidence for another transfer syntax than the announced one, which the file is labelled with.
    pub other_transfer_syntax: Option<Evidence>,
    /// Elements of the head do not ascend (PS3.5 §7.1).
    pub is_unordered: bool,
    /// An element that says what the instance is, and that was needed, is missing.
    pub lacks_identity: bool,
    /// An element has two bytes in the place of its VR that are none (PS3.5 §7.1.2).
    pub has_invalid_vr: bool,
}

impl Head {
    /// The raw value of a wanted element: without padding, at most 1 KiB of it, in the dataset's
    /// character set. `None` when the dataset does not have it, or has it as a sequence of
    /// undefined length; an element with no value gives an empty slice.
    pub fn value(&self, tag: Tag) -> Option<&[u8]> {
        self.values.get(tag).map(trim_padding)
    }

    /// Whether both have the same elements with the same values, but for those of `tags`, whose values may differ.
    pub fn agrees_but_for(&self, tags: &[Tag], other: &Self) -> bool {
        let mut pairs = self.values.all().zip(other.values.all());
        self.values.len() == other.values.len()
            && pairs.all(|((tag, value), (to, other))| tag == to && (value == other || tags.contains(&tag)))
    }

    /// Bytes of memory that its values take.
    pub fn memory_bytes(&self) -> usize {
        self.values.memory_bytes()
    }

    /// Holds the dataset's SOP Class and SOP Instance UIDs against those of the command set
    /// (PS3.4 §B.2.3, status A900). One that is absent or empty is no mismatch; of one that stands twice, both count.
    pub fn check(&self, meta: &FileMeta) -> Result<(), Mismatch> {
        let other = |tag, uid: &str| {
            let repeated = self.repeated.iter().filter(|(kept, _)| *kept == tag).map(|(_, raw)| raw.as_slice());
            let agrees =
                |raw: &[u8]| [b"", uid.as_bytes()].contains(&trim_padding(raw)) || before_nul(raw) == uid.as_bytes();
            let other = self.values.get(tag).into_iter().chain(repeated).find(|raw| !agrees(raw))?;
            Some(Uid::parse(other).ok())
        };
        if let Some(found) = other(tags::SOP_CLASS_UID, meta.sop_class_uid.as_str()) {
            return Err(Mismatch::SopClass { found });
        }
        match other(tags::SOP_INSTANCE_UID, meta.sop_instance_uid.as_str()) {
            Some(found) => Err(Mismatch::SopInstance { found }),
            None => Ok(()),
        }
    }

    /// Adds the values of identifying elements that were met once more behind the head.
    pub(super) fn add_repeated(&mut self, again: Vec<(Tag, Vec<u8>)>) {
        for (tag, raw) in again {
            self.deviations.is_unordered |= self.value(tag).is_some_and(|value| value != trim_padding(&raw));
            self.repeated.push((tag, raw));
        }
    }

    /// The head of a dataset that cannot be read.
    pub(super) fn unread() -> Self {
        let deviations = Deviations { lacks_identity: true, ..Deviations::default() };
        Self { deviations, ..Self::default() }
    }

    /// What is unusual about the dataset.
    pub fn deviations(&self) -> &Deviations {
        &self.deviations
    }

    /// A head with the given values, for tests of what is built on one.
    #[cfg(test)]
    pub(crate) fn with(values: &[(Tag, &[u8])]) -> Self {
        let mut kept = Values::default();
        for (tag, value) in values {
            kept.begin(*tag);
            kept.extend(value);
        }
        Self { values: kept, ..Self::default() }
    }
}

/// Dataset and command set disagree on what the instance is. The texts fit an Error Comment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// (0008,0016) is not the Affected SOP Class UID.
    #[error("sop class uid differs between dataset and command")]
    SopClass {
        /// That of the dataset. `None`: it has other characters than digits and periods, and might hold the name of a patient.
        found: Option<Uid>,
    },
    /// (0008,0018) is not the Affected SOP Instance UID.
    #[error("sop instance uid differs between dataset and command")]
    SopInstance {
        /// That of the dataset, likewise.
        found: Option<Uid>,
    },
}

impl Mismatch {
    /// The UID in the dataset, for the log.
    pub fn found(&self) -> Option<&str> {
        let (Self::SopClass { found } | Self::SopInstance { found }) = self;
        found.as_ref().map(Uid::as_str)
    }
}

/// Why a dataset has no readable head. The texts name tags and offsets only, never a value, and
/// fit an Error Comment of 64 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not one byte of dataset.
    #[error("dataset is empty")]
    Empty,
    /// The first bytes are no data element in this transfer syntax.
    #[error("not a dataset of this transfer syntax: bad first element")]
    NotADataset,
    /// The first elements prove an encoding that the transfer syntax does not have, and no transfer syntax says what the dataset is.
    #[error("dataset is {written}, its transfer syntax is not")]
    OtherEncoding {
        /// The encoding of the first elements.
        written: &'static str,
    },
    /// The pixel data have a form that the transfer syntax does not allow (PS3.5 §A.4), and no transfer syntax says what the dataset is.
    #[error("pixel data is {found}, its transfer syntax is not")]
    OtherPixelForm {
        /// The form of the pixel data.
        found: &'static str,
    },
    /// Elements of groups 0000 and 0002 in front of the dataset that do not come to an end.
    #[error("file meta in front of the dataset exceeds 64 KiB")]
    LongFileMeta,
    /// The two bytes in the position of a VR are not one (PS3.5 §7.1.2).
    #[error("element {tag} has no valid vr")]
    InvalidVr {
        /// The element.
        tag: Tag,
    },
    /// The element's VR cannot have undefined length (PS3.5 §7.1.2).
    #[error("element {tag} cannot have undefined length")]
    UndefinedLength {
        /// The element.
        tag: Tag,
    },
    /// An item or a delimiter that no sequence is open for (PS3.5 §7.5).
    #[error("item or delimiter {tag} out of place at byte {offset}")]
    StrayDelimiter {
        /// The tag found.
        tag: Tag,
        /// Bytes from the start of the dataset, inflated when it is deflated.
        offset: u64,
    },
    /// A sequence holds something other than items (PS3.5 §7.5).
    #[error("{tag} instead of an item at byte {offset}")]
    NotAnItem {
        /// The tag found.
        tag: Tag,
        /// Bytes from the start of the dataset, inflated when it is deflated.
        offset: u64,
    },
    /// Behind the head, a sequence or an item is not closed, or a delimiter closes none: readers give the dataset up there.
    #[error("sequences of the dataset break at byte {offset}, {tag}")]
    Broken {
        /// The tag found, or the innermost element that is open.
        tag: Tag,
        /// Bytes from the start of the dataset.
        offset: u64,
    },
    /// The dataset ends before a value of its head does.
    #[error("dataset ends within the value of {tag}")]
    ValuePastEnd {
        /// The element.
        tag: Tag,
    },
    /// The dataset ends inside an element header or an open sequence of its head.
    #[error("dataset ends within an element or sequence of its head")]
    Truncated,
    /// The deflated stream is broken or ends early, or does not end within its bound.
    #[error("dataset is not deflated as its transfer syntax says")]
    Deflate,
    /// The head is beyond one of the [`HeadLimits`].
    #[error("head of the dataset exceeds its limit of {which}")]
    Limit {
        /// The limit.
        which: Limit,
    },
}

/// One of the [`HeadLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`HeadLimits::max_elements`]
    Elements,
    /// [`HeadLimits::max_depth`]
    Depth,
    /// [`HeadLimits::max_bytes`]
    Bytes,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Elements => "elements",
            Self::Depth => "depth",
            Self::Bytes => "bytes",
        })
    }
}
