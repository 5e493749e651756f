//! Why a dataset is refused, and with which status.

use crate::status::ActionStatus;

/// Why a dataset is not the information of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum InformationFault {
    /// It ends inside an element, an item or a sequence.
    #[error("the information is cut short")]
    Truncated,
    /// An element is longer than the item or sequence it is in.
    #[error("an element runs past the end of its item or sequence")]
    Overrun,
    /// An item or a delimiter where none can be, another element where one must be, or an undefined length that its element cannot have.
    #[error("items and delimiters do not fit together")]
    Structure,
    /// A VR that is not two capital letters, or is not the one of a sequence.
    #[error("an element has an impossible VR")]
    Vr,
    /// More sequences and items inside one another than are followed.
    #[error("sequences are nested too deep")]
    Depth,
    /// The value of an element (group and element) is not one UID.
    #[error("({:04X},{:04X}) is empty or not one UID", *.0 >> 16, *.0 & 0xFFFF)]
    Value(u32),
    /// An element (group and element) occurs twice.
    #[error("({:04X},{:04X}) occurs twice", *.0 >> 16, *.0 & 0xFFFF)]
    Repeated(u32),
    /// An element (group and element) is missing.
    #[error("({:04X},{:04X}) is missing", *.0 >> 16, *.0 & 0xFFFF)]
    Missing(u32),
    /// There is no reference.
    #[error("(0008,1199) has no item")]
    NoReferences,
    /// There are more references than are accepted.
    #[error("there are more than {most} references")]
    TooManyReferences {
        /// The limit.
        most: u32,
    },
}

impl InformationFault {
    /// The status to answer with (PS3.7 §10.1.4.1.10 and annex C).
    pub fn status(self) -> ActionStatus {
        match self {
            Self::Missing(_) => ActionStatus::MissingAttribute,
            Self::TooManyReferences { .. } => ActionStatus::ResourceLimitation,
            Self::Truncated
            | Self::Overrun
            | Self::Structure
            | Self::Vr
            | Self::Depth
            | Self::Value(_)
            | Self::Repeated(_)
            | Self::NoReferences => ActionStatus::InvalidArgument,
        }
    }
}
