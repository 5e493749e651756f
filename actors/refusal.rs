//! The refusal of an instance, and its DIMSE status. No other module maps an error to a status.

use std::sync::Arc;

use tidegate_protocol::syntaxes::is_uid;
use tidegate_protocol::{ErrorComment, Status};
use tidegate_storage::StoreError;
use tidegate_storage::head::{HeadError, Mismatch};
use tidegate_storage::uid::InvalidUid;

use crate::mailbox::HandoffTimeout;

/// Why an instance was not stored.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The Affected SOP Instance UID is not a UID.
    #[error(
        "affected sop instance uid: {0}; correct the root of the UIDs, or their counter, in the modality (PS3.5 §9.1: digits and periods)"
    )]
    InstanceUid(InvalidUid),
    /// The Affected SOP Class UID is not a UID.
    #[error("affected sop class uid: {0}; correct the sop class in the modality (PS3.5 §9.1: digits and periods)")]
    ClassUid(InvalidUid),
    /// The Affected SOP Class UID is not the abstract syntax of the presentation context.
    #[error("sop class is not that of the presentation context")]
    ClassOfAnotherContext {
        /// The abstract syntax of the context: a string of the peer.
        abstract_syntax: Arc<str>,
    },
    /// The presentation context is for Verification.
    #[error("nothing can be stored on this presentation context")]
    NotAStorageContext,
    /// The command says that no dataset follows.
    #[error("c-store request without a data set")]
    NoDataSet,
    /// The head of the dataset cannot be read.
    #[error("{0}")]
    Head(#[from] HeadError),
    /// The dataset is another instance than the command says.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// No writer had room in time.
    #[error("storage is busy, retry later")]
    Busy(#[from] HandoffTimeout),
    /// The instance lost its writer, and the retries are used up.
    #[error("storage failed, retry later")]
    WriterLost,
    /// No writer answered within `commit_timeout`.
    #[error("storage does not respond, retry later")]
    CommitTimeout,
    /// An error of the storage.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A refused instance.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Why it was refused.
    pub(crate) refusal: Refusal,
    /// Its Study Instance UID, if its head has told one.
    pub(crate) study: Option<String>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, study: None }
    }
}

/// The reason of a refusal, as it is counted. The set is small and fixed, so that reasons can be labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The Affected SOP Instance UID is not a UID.
    InvalidInstanceUid,
    /// The Affected SOP Class UID is not a UID.
    InvalidClassUid,
    /// The SOP class is not that of the presentation context.
    ClassOfAnotherContext,
    /// The presentation context is for Verification.
    NotAStorageContext,
    /// No dataset follows the command.
    NoDataSet,
    /// The head of the dataset cannot be read.
    UnreadableHead,
    /// Dataset and command name different classes or instances.
    DataSetMismatch,
    /// No mailbox slot came free in time.
    Busy,
    /// The instance lost its writer too often.
    WriterLost,
    /// No writer answered in time.
    CommitTimeout,
    /// Another instance is stored under this UID, or too many are.
    Duplicate,
    /// The disk is full.
    DiskFull,
    /// Free space is down to the reserve.
    BelowMinFree,
    /// Free inodes are down to the reserve.
    BelowMinInodes,
    /// The storage root is gone.
    StorageUnavailable,
    /// The node may not write to its storage.
    PermissionDenied,
    /// The filesystem is read-only.
    ReadOnly,
    /// The temp file was removed, or an earlier write of it failed.
    UnfinishedLost,
    /// The instance was cancelled while a writer had it.
    GivenUp,
    /// No file descriptor is left.
    OutOfDescriptors,
    /// The file would be longer than the process may write.
    FileTooLarge,
    /// Another kind of file is at the instance's path.
    Obstructed,
    /// The operating system reported another error.
    StorageFailure,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 23] = [
        Self::InvalidInstanceUid,
        Self::InvalidClassUid,
        Self::ClassOfAnotherContext,
        Self::NotAStorageContext,
        Self::NoDataSet,
        Self::UnreadableHead,
        Self::DataSetMismatch,
        Self::Busy,
        Self::WriterLost,
        Self::CommitTimeout,
        Self::Duplicate,
        Self::DiskFull,
        Self::BelowMinFree,
        Self::BelowMinInodes,
        Self::StorageUnavailable,
        Self::PermissionDenied,
        Self::ReadOnly,
        Self::UnfinishedLost,
        Self::GivenUp,
        Self::OutOfDescriptors,
        Self::FileTooLarge,
        Self::Obstructed,
        Self::StorageFailure,
    ];

    /// Name in metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidInstanceUid => "invalid_instance_uid",
            Self::InvalidClassUid => "invalid_class_uid",
            Self::ClassOfAnotherContext => "class_of_another_context",
            Self::NotAStorageContext => "not_a_storage_context",
            Self::NoDataSet => "no_data_set",
            Self::UnreadableHead => "unreadable_head",
            Self::DataSetMismatch => "data_set_mismatch",
            Self::Busy => "busy",
            Self::WriterLost => "writer_lost",
            Self::CommitTimeout => "commit_timeout",
            Self::Duplicate => "duplicate",
            Self::DiskFull => "disk_full",
            Self::BelowMinFree => "below_min_free",
            Self::BelowMinInodes => "below_min_inodes",
            Self::StorageUnavailable => "storage_unavailable",
            Self::PermissionDenied => "permission_denied",
            Self::ReadOnly => "read_only",
            Self::UnfinishedLost => "unfinished_lost",
            Self::GivenUp => "given_up",
            Self::OutOfDescriptors => "out_of_descriptors",
            Self::FileTooLarge => "file_too_large",
            Self::Obstructed => "obstructed",
            Self::StorageFailure => "storage_failure",
        }
    }

    /// The status for the sender (PS3.4 §B.2.3). A cause that can pass by itself is A700, which senders retry; one that cannot is 0110.
    pub fn status(self) -> Status {
        match self {
            Self::InvalidInstanceUid => Status::InvalidSopInstance,
            Self::InvalidClassUid | Self::ClassOfAnotherContext | Self::NotAStorageContext => {
                Status::SopClassNotSupported
            }
            Self::NoDataSet | Self::UnreadableHead => Status::CannotUnderstand,
            Self::DataSetMismatch => Status::DataSetMismatch,
            Self::Busy
            | Self::WriterLost
            | Self::CommitTimeout
            | Self::DiskFull
            | Self::BelowMinFree
            | Self::BelowMinInodes
            | Self::StorageUnavailable
            | Self::PermissionDenied
            | Self::ReadOnly
            | Self::UnfinishedLost
            | Self::GivenUp
            | Self::OutOfDescriptors
            | Self::FileTooLarge => Status::OutOfResources,
            Self::Duplicate => Status::DuplicateSopInstance,
            Self::Obstructed | Self::StorageFailure => Status::ProcessingFailure,
        }
    }
}

impl Refusal {
    /// The reason as which it is counted.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InstanceUid(_) => Reason::InvalidInstanceUid,
            Self::ClassUid(_) => Reason::InvalidClassUid,
            Self::ClassOfAnotherContext { .. } => Reason::ClassOfAnotherContext,
            Self::NotAStorageContext => Reason::NotAStorageContext,
            Self::NoDataSet => Reason::NoDataSet,
            Self::Head(_) => Reason::UnreadableHead,
            Self::Mismatch(_) => Reason::DataSetMismatch,
            Self::Busy(HandoffTimeout) => Reason::Busy,
            Self::WriterLost => Reason::WriterLost,
            Self::CommitTimeout => Reason::CommitTimeout,
            Self::Store(error) => of_store_error(error).0,
        }
    }

    /// The status for the sender.
    pub fn status(&self) -> Status {
        self.reason().status()
    }

    /// The UID that stands against that of the command: of the dataset (A900), or of the presentation context (0122).
    pub(crate) fn other_uid(&self) -> Option<&str> {
        match self {
            Self::Mismatch(mismatch) => mismatch.found(),
            Self::ClassOfAnotherContext { abstract_syntax } => Some(&**abstract_syntax).filter(|uid| is_uid(uid)),
            _ => None,
        }
    }

    /// The Error Comment for the sender.
    pub fn comment(&self) -> ErrorComment {
        match self {
            Self::Store(error) => ErrorComment::new(of_store_error(error).1),
            // Without the remedy: it has at most 64 characters (PS3.7 §C.4.2).
            Self::InstanceUid(invalid) => ErrorComment::new(format_args!("affected sop instance uid: {invalid}")),
            Self::ClassUid(invalid) => ErrorComment::new(format_args!("affected sop class uid: {invalid}")),
            _ => ErrorComment::new(self),
        }
    }
}

/// The reason of each storage error, and its text for the operator of the modality: without paths, at most 64 characters.
fn of_store_error(error: &StoreError) -> (Reason, &'static str) {
    match error {
        StoreError::DuplicateRefused { .. } => {
            (Reason::Duplicate, "another instance is stored under this sop instance uid")
        }
        StoreError::TooManyCopies { .. } => {
            (Reason::Duplicate, "too many versions are stored under this sop instance uid")
        }
        StoreError::DiskFull => (Reason::DiskFull, "receiver's disk is full"),
        StoreError::QuotaFull { .. } => (Reason::DiskFull, "receiver's disk quota is full"),
        StoreError::FileTooLarge { .. } => {
            (Reason::FileTooLarge, "instance is longer than the receiver may write, see its log")
        }
        StoreError::BelowMinFree { .. } => (Reason::BelowMinFree, "receiver's disk is down to its reserve (min_free)"),
        StoreError::BelowMinInodes { .. } => {
            (Reason::BelowMinInodes, "receiver's disk has no inodes left above its reserve")
        }
        StoreError::RootUnavailable { .. } => {
            (Reason::StorageUnavailable, "receiver's storage is unavailable, see its log")
        }
        StoreError::PermissionDenied { .. } => {
            (Reason::PermissionDenied, "receiver may not write to its storage, see its log")
        }
        StoreError::ReadOnly => (Reason::ReadOnly, "receiver's storage is read-only, see its log"),
        StoreError::TempRemoved | StoreError::SpoolBroken => {
            (Reason::UnfinishedLost, "receiver lost the unfinished instance, send it again")
        }
        StoreError::Cancelled | StoreError::Contended => {
            (Reason::GivenUp, "receiver gave the instance up, send it again")
        }
        StoreError::OutOfDescriptors => {
            (Reason::OutOfDescriptors, "receiver is out of file descriptors, send again later")
        }
        StoreError::Obstructed { .. } => {
            (Reason::Obstructed, "something else stands at the instance's path, see the log")
        }
        StoreError::NoFinalNames { .. } | StoreError::NoSync { .. } => {
            (Reason::StorageFailure, "receiver's filesystem cannot store instances, see its log")
        }
        StoreError::Io { .. } => (Reason::StorageFailure, "receiver could not write the instance, see its log"),
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
    fn reasons_have_their_own_place_in_the_tables_and_a_name_of_their_own() {
        let mut names: Vec<_> = Reason::ALL.map(Reason::name).to_vec();
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_comment_tells_no_path() {
        let refused = Refusal::from(StoreError::DuplicateRefused { path: "1.2/3.4.dcm".into() });
        assert_eq!(refused.status(), Status::DuplicateSopInstance);
        assert!(!refused.comment().as_str().contains("1.2"));
    }
}
