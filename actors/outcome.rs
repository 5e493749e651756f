//! What became of an instance, as the DIMSE status its sender gets: the one place where the two meet.

use tidegate_protocol::{ErrorComment, Status};
use tidegate_storage::StoreError;
use tidegate_storage::head::{HeadError, Mismatch};
use tidegate_storage::uid::InvalidUid;

use crate::mailbox::HandoffTimeout;

/// Why an instance was not stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The Affected SOP Instance UID is not a UID.
    #[error("affected sop instance uid: {0}")]
    InstanceUid(InvalidUid),
    /// The Affected SOP Class UID is not a UID.
    #[error("affected sop class uid: {0}")]
    ClassUid(InvalidUid),
    /// The Affected SOP Class UID is not the abstract syntax of the presentation context.
    #[error("sop class is not that of the presentation context")]
    ClassOfAnotherContext,
    /// The presentation context is for Verification.
    #[error("nothing can be stored on a verification context")]
    NotAStorageContext,
    /// The command says that no dataset follows.
    #[error("c-store without a data set")]
    NoDataSet,
    /// The head of the dataset cannot be read.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The dataset is another instance than the command says.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// No writer had room in time.
    #[error("storage is busy, send again later")]
    Busy(#[from] HandoffTimeout),
    /// The instance lost its writer more often than is tried again.
    #[error("storage failed, send again later")]
    WriterLost,
    /// No writer answered for it in time.
    #[error("storage does not answer, send again later")]
    CommitTimeout,
    /// The storage refused it or failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Refusal {
    /// The status for the sender (PS3.4 §B.2.3).
    pub fn status(&self) -> Status {
        match self {
            Self::InstanceUid(_) => Status::InvalidSopInstance,
            Self::ClassUid(_) | Self::ClassOfAnotherContext | Self::NotAStorageContext => Status::SopClassNotSupported,
            Self::NoDataSet | Self::Head(_) => Status::CannotUnderstand,
            Self::Mismatch(_) => Status::DataSetMismatch,
            Self::Busy(HandoffTimeout) | Self::WriterLost | Self::CommitTimeout => Status::OutOfResources,
            Self::Store(error) => of_store_error(error).0,
        }
    }

    /// The Error Comment for the sender.
    pub fn comment(&self) -> ErrorComment {
        match self {
            Self::Store(error) => ErrorComment::new(of_store_error(error).1),
            _ => ErrorComment::new(self),
        }
    }
}

/// The status of each storage error, and what the person at the modality should read: no paths, no more than 64 characters.
/// What can pass by itself is A700, which senders send again; what cannot is 0110.
fn of_store_error(error: &StoreError) -> (Status, &'static str) {
    match error {
        StoreError::DuplicateRefused { .. } => {
            (Status::DuplicateSopInstance, "another instance is stored under this sop instance uid")
        }
        StoreError::TooManyCopies { .. } => {
            (Status::DuplicateSopInstance, "too many versions are stored under this sop instance uid")
        }
        StoreError::DiskFull => (Status::OutOfResources, "receiver's disk is full"),
        StoreError::BelowMinFree { .. } => {
            (Status::OutOfResources, "receiver's disk is down to its reserve (min_free)")
        }
        StoreError::RootUnavailable { .. } => {
            (Status::OutOfResources, "receiver's storage is unavailable, see its log")
        }
        StoreError::PermissionDenied { .. } => {
            (Status::OutOfResources, "receiver may not write to its storage, see its log")
        }
        StoreError::ReadOnly => (Status::OutOfResources, "receiver's storage is read-only, see its log"),
        StoreError::TempRemoved | StoreError::SpoolBroken => {
            (Status::OutOfResources, "receiver lost the unfinished instance, send it again")
        }
        StoreError::Withdrawn | StoreError::InOtherHands => {
            (Status::OutOfResources, "receiver gave the instance up, send it again")
        }
        StoreError::Obstructed { .. } => {
            (Status::ProcessingFailure, "something else stands at the instance's path, see the log")
        }
        StoreError::Io { .. } => (Status::ProcessingFailure, "receiver could not write the instance, see its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_answered_so_that_senders_try_again() {
        let full = Refusal::from(StoreError::DiskFull);
        assert_eq!(full.status(), Status::OutOfResources);
        assert_eq!(full.comment().as_str(), "receiver's disk is full");
        assert_eq!(Refusal::from(HandoffTimeout).status(), Status::OutOfResources);
    }

    #[test]
    fn a_comment_tells_no_path() {
        let refused = Refusal::from(StoreError::DuplicateRefused { path: "1.2/3.4.dcm".into() });
        assert_eq!(refused.status(), Status::DuplicateSopInstance);
        assert!(!refused.comment().as_str().contains("1.2"));
    }
}
