//! The reasons that a dataset is refused for.

use dicom_core::Tag;

/// A transfer syntax whose datasets are not written anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "transfer syntax {uid} is none of implicit vr little endian, explicit vr little endian, deflated and explicit vr big endian"
)]
pub struct NotNative {
    /// Its UID, as it was given.
    pub uid: String,
}

/// The reason that a dataset cannot be written anew with the same content. Offsets are in bytes from its start, after inflation if it is deflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its pixel data are compressed (PS3.5 §A.4).
    #[error("pixel data at byte {offset} are encapsulated, and their transfer syntax is native")]
    Encapsulated {
        /// Where the element begins.
        offset: u64,
    },
    /// An implicit element has its VR from the dictionary, and readers would take this value for another one (PS3.5 §A.1).
    #[error("element {tag} has the vr {vr}, which readers of implicit vr take for {expected}", vr = Letters(*vr), expected = Letters(*expected))]
    OtherVr {
        /// The element.
        tag: Tag,
        /// Its VR.
        vr: [u8; 2],
        /// The VR of the dictionary.
        expected: [u8; 2],
    },
    /// The VR is one that the standard does not have yet: the unit of its byte order is not known.
    #[error("element {tag} has the unknown vr {vr}, whose byte order cannot be changed", vr = Letters(*vr))]
    UnknownVr {
        /// The element.
        tag: Tag,
        /// Its VR.
        vr: [u8; 2],
    },
    /// The length of a value is no multiple of the unit of its byte order.
    #[error("element {tag} has {length} bytes, no multiple of the {unit} bytes of its vr")]
    Uneven {
        /// The element.
        tag: Tag,
        /// Its length.
        length: u32,
        /// The unit in bytes.
        unit: u8,
    },
    /// Samples of more than 16 bits in OW: some programs swap their words in big endian, as the VR says, and some the whole sample.
    #[error("pixel data have {bits_allocated} bits allocated in ow, whose byte order programs do not agree on")]
    WordOrder {
        /// Bits Allocated (0028,0100).
        bits_allocated: u16,
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
    /// An item or delimiter where an element should be, or the reverse (PS3.5 §7.5).
    #[error("{tag} at byte {offset} is out of place")]
    OutOfPlace {
        /// The tag found.
        tag: Tag,
        /// Where.
        offset: u64,
    },
    /// More sequences inside one another than are followed.
    #[error("sequences are nested too deeply at byte {offset}")]
    TooDeep {
        /// Where.
        offset: u64,
    },
    /// The dataset ends inside a header.
    #[error("dataset ends within the header of an element at byte {offset}")]
    HeaderCut {
        /// Where the header begins.
        offset: u64,
    },
    /// The dataset ends inside a value.
    #[error("dataset ends within the value of {tag}: {missing_bytes} bytes are missing")]
    ValueCut {
        /// The element.
        tag: Tag,
        /// Bytes that are missing.
        missing_bytes: u64,
    },
    /// The dataset ends inside a sequence or an item.
    #[error("dataset ends within {tag}, which is not closed")]
    NotClosed {
        /// The innermost one that is open.
        tag: Tag,
    },
    /// The deflated stream is broken or ends early.
    #[error("deflated dataset is corrupt at its byte {offset}")]
    Deflated {
        /// How far it could be read.
        offset: u64,
    },
    /// The compressor does not accept the dataset; not known to happen.
    #[error("dataset cannot be deflated from its byte {offset}")]
    NotDeflated {
        /// Where.
        offset: u64,
    },
}

/// A VR in an error text.
struct Letters([u8; 2]);

impl std::fmt::Display for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", letter.escape_ascii()))
    }
}
