//! What can be wrong with a dataset.

use dicom_core::Tag;

/// A fault of a dataset. Offsets are in bytes from its start, after inflation if it is deflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatasetFault {
    /// Not one byte.
    #[error("dataset is empty")]
    Empty,
    /// It ends inside a value.
    #[error("dataset ends within the value of {tag}: {missing_bytes} bytes are missing")]
    ValueCut {
        /// The element or item.
        tag: Tag,
        /// Bytes that are missing.
        missing_bytes: u64,
    },
    /// It ends inside a header.
    #[error("dataset ends within the header of an element at byte {offset}")]
    HeaderCut {
        /// Where the header begins.
        offset: u64,
    },
    /// It ends inside a sequence, an item, or the fragments of encapsulated pixel data.
    #[error("dataset ends within {tag}, which is not closed")]
    NotClosed {
        /// The innermost element that is open.
        tag: Tag,
    },
    /// No valid VR (PS3.5 §7.1.2).
    #[error("element {tag} at byte {offset} has no valid vr")]
    InvalidVr {
        /// The element.
        tag: Tag,
        /// Where.
        offset: u64,
    },
    /// The element's VR cannot have undefined length (PS3.5 §7.1.2).
    #[error("element {tag} at byte {offset} cannot have undefined length")]
    UndefinedLength {
        /// The element.
        tag: Tag,
        /// Where.
        offset: u64,
    },
    /// A value is longer than the item or sequence it is in.
    #[error("{tag} at byte {offset} extends beyond the end of its item or sequence")]
    BeyondParent {
        /// The element or item.
        tag: Tag,
        /// Where.
        offset: u64,
    },
    /// An item or delimiter where an element should be, or the reverse (PS3.5 §7.5), or a group that no dataset has.
    #[error("{tag} at byte {offset} is out of place")]
    OutOfPlace {
        /// The tag found.
        tag: Tag,
        /// Where.
        offset: u64,
    },
    /// Elements ascend in every dataset (PS3.5 §7.1).
    #[error("{tag} at byte {offset} follows {before}, out of order")]
    OutOfOrder {
        /// The element.
        tag: Tag,
        /// The one in front of it.
        before: Tag,
        /// Where.
        offset: u64,
    },
    /// The pixel data have a form that the transfer syntax does not allow (PS3.5 §A.4).
    #[error("pixel data at byte {offset} is {found}, its transfer syntax is not")]
    PixelForm {
        /// The form of the pixel data.
        found: &'static str,
        /// Where.
        offset: u64,
    },
    /// More sequences inside one another than are followed.
    #[error("sequences are nested too deeply at byte {offset}")]
    TooDeep {
        /// Where.
        offset: u64,
    },
    /// The deflated stream is broken or ends early.
    #[error("deflated dataset is corrupt at its byte {offset}")]
    Deflate {
        /// How far it could be read.
        offset: u64,
    },
    /// The deflated stream exceeds the bound.
    #[error("deflated dataset is longer than {max_bytes} bytes, the rest was not verified")]
    TooLong {
        /// The bound.
        max_bytes: u64,
    },
    /// Bytes behind the end of a deflated stream, beyond one that pads it to even length (PS3.5 §A.5).
    #[error("{bytes} bytes follow the end of the deflated dataset")]
    Trailing {
        /// How many.
        bytes: u64,
    },
}
