//! The ways storing can fail, each precise enough to be answered with exactly one DIMSE status.

use std::fmt;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use thiserror::Error;

use crate::fs::{Errno, Handle, file_size_limit};
use crate::obstacle::Obstacle;
use crate::own::OWN;

/// Why an instance was not stored. The next instance may fare better: a store needs no reopening after any of these.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// Different bytes are stored under this SOP Instance UID, and the policy is to refuse.
    #[error("different bytes are already stored as {}", path.display())]
    DuplicateRefused {
        /// The stored file, relative to the root.
        path: PathBuf,
    },
    /// Other versions of this SOP Instance UID have every name that this version may have.
    #[error("other versions of this SOP Instance UID have all {tried} names that this one may have")]
    TooManyCopies {
        /// Names tried.
        tried: u32,
    },
    /// The filesystem is full.
    #[error("the disk is full")]
    DiskFull,
    /// The quota of the user, the group or the project on the filesystem is used up.
    #[error("the quota on the filesystem of {} is full (quota -u, xfs_quota): raise it, or take files away", path.display())]
    QuotaFull {
        /// The object of the operation.
        path: PathBuf,
    },
    /// The file would be longer than this process may write, or than the filesystem can hold.
    #[error("{}", too_large(path, *.limit_bytes))]
    FileTooLarge {
        /// The object of the operation.
        path: PathBuf,
        /// RLIMIT_FSIZE, in bytes; `None`: unlimited, so it is the filesystem's limit.
        limit_bytes: Option<u64>,
    },
    /// Storing this instance would use the reserved space.
    #[error(
        "{} are free on the disk,{} and storage.min_free keeps {} free: make room, or lower storage.min_free",
        iec(*.free_bytes),
        to_be_written(*.bytes),
        iec(*.min_free_bytes)
    )]
    BelowMinFree {
        /// Bytes to be written: an instance, a part of one that is spooled, or 0 for none yet.
        bytes: u64,
        /// Bytes free now.
        free_bytes: u64,
        /// Bytes reserved.
        min_free_bytes: u64,
    },
    /// Storing this instance would use the reserved inodes. Each file and directory takes one.
    #[error("{free} inodes free on the disk, {reserved} reserved")]
    BelowMinInodes {
        /// Inodes free now.
        free: u64,
        /// Inodes reserved.
        reserved: u64,
    },
    /// The storage root is gone, has become another filesystem, or is held by another node.
    #[error("the storage root is unavailable: {source}")]
    RootUnavailable {
        /// The defect of the root.
        #[source]
        source: Box<OpenError>,
    },
    /// The process may not write there.
    #[error("no permission to write {}{}", path.display(), held_by(*.owner))]
    PermissionDenied {
        /// The path to be written, or the directory that prevents it.
        path: PathBuf,
        /// The owner of that directory, if it was found.
        owner: Option<Owner>,
    },
    /// The filesystem is mounted read-only, or became read-only after an error of its own.
    #[error("the filesystem is read-only")]
    ReadOnly,
    /// A file stands where the layout needs a directory, or a directory where it needs a file; or another filesystem.
    #[error("{} at {}", obstacle(*.source), path.display())]
    Obstructed {
        /// The path asked for, relative to the root.
        path: PathBuf,
        /// The answer of the operating system.
        #[source]
        source: Errno,
    },
    /// The temp file was removed by someone else before it got its final name.
    #[error("the temp file was removed by another program")]
    TempRemoved,
    /// An earlier write to this spooled instance failed, so its file is not known to be whole.
    #[error("an earlier write of this spooled instance failed")]
    SpoolBroken,
    /// [`Instance::cancel`](crate::Instance::cancel) was called before the instance got its final name.
    #[error("the instance was cancelled")]
    Cancelled,
    /// Another thread has held what this instance needs (its lock, its path, the commit log) for [`LOCK_TIMEOUT`](crate::sync).
    #[error("another thread is still storing this instance")]
    Contended,
    /// The filesystem has no atomic rename that replaces nothing, and no hard links: no file can get its final name.
    #[error(
        "the filesystem of {} can neither rename without replacing (RENAME_NOREPLACE) nor hard link, which a commit needs: use ext4 or XFS",
        path.display()
    )]
    NoFinalNames {
        /// The object of the operation.
        path: PathBuf,
    },
    /// The filesystem cannot sync a directory, so no name in it is known to be durable.
    #[error("the filesystem of {} cannot sync (fsync: {source}), which durability needs: use ext4 or XFS", path.display())]
    NoSync {
        /// The object of the operation.
        path: PathBuf,
        /// The answer of the operating system.
        #[source]
        source: Errno,
    },
    /// There is no file descriptor left, of the process or of the machine.
    #[error("out of file descriptors")]
    OutOfDescriptors,
    /// Anything else the operating system answers.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The failed operation, as a verb.
        what: &'static str,
        /// The object of the operation.
        path: PathBuf,
        /// The answer.
        #[source]
        source: Errno,
    },
}

impl StoreError {
    /// Whether it speaks of the storage and not of the instance, and of nothing that its operator has set or that passes by
    /// itself: a disk that is full, held to its reserve or not mounted is none.
    pub fn is_storage_failure(&self) -> bool {
        match self {
            Self::PermissionDenied { .. }
            | Self::ReadOnly
            | Self::NoFinalNames { .. }
            | Self::NoSync { .. }
            | Self::Io { .. } => true,
            Self::DuplicateRefused { .. }
            | Self::TooManyCopies { .. }
            | Self::DiskFull
            | Self::QuotaFull { .. }
            | Self::FileTooLarge { .. }
            | Self::BelowMinFree { .. }
            | Self::BelowMinInodes { .. }
            | Self::RootUnavailable { .. }
            | Self::Obstructed { .. }
            | Self::OutOfDescriptors
            | Self::TempRemoved
            | Self::SpoolBroken
            | Self::Cancelled
            | Self::Contended => false,
        }
    }

    /// With another path, if there is one in it.
    pub(crate) fn map_path(mut self, map: impl FnOnce(&Path) -> PathBuf) -> Self {
        if let Self::DuplicateRefused { path }
        | Self::PermissionDenied { path, .. }
        | Self::Obstructed { path, .. }
        | Self::NoFinalNames { path }
        | Self::NoSync { path, .. }
        | Self::QuotaFull { path }
        | Self::FileTooLarge { path, .. }
        | Self::Io { path, .. } = &mut self
        {
            *path = map(path);
        }
        self
    }

    /// The error for the operation `what` on `path`, which failed with `source`.
    pub(crate) fn new(what: &'static str, path: impl AsRef<Path>, source: Errno) -> Self {
        let path = path.as_ref().to_owned();
        match source {
            Errno::NOSPC => Self::DiskFull,
            Errno::DQUOT => Self::QuotaFull { path },
            Errno::FBIG => Self::FileTooLarge { path, limit_bytes: file_size_limit() },
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied { path, owner: None },
            Errno::ROFS => Self::ReadOnly,
            Errno::OPNOTSUPP if what.starts_with("rename to") => Self::NoFinalNames { path },
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS if what.starts_with("sync") => Self::NoSync { path, source },
            Errno::MFILE | Errno::NFILE => Self::OutOfDescriptors,
            Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::XDEV | Errno::LOOP | Errno::NAMETOOLONG => {
                Self::Obstructed { path, source }
            }
            _ => Self::Io { what, path, source },
        }
    }
}

/// Why a storage root cannot be used.
#[derive(Debug, Clone, Error)]
pub enum OpenError {
    /// Another process has this root open.
    #[error(
        "storage root {} is in use by {}: stop that node first, or set storage.root of this one to another directory",
        root.display(),
        holder(root, *.pid)
    )]
    Locked {
        /// The root.
        root: PathBuf,
        /// The process that holds it, when it says.
        pid: Option<u32>,
    },
    /// The root is not there. Only said of a root that was: an open store never recreates it.
    #[error("storage root {} is gone", root.display())]
    Missing {
        /// The root.
        root: PathBuf,
    },
    /// No store has used the root, and the settings ask for one that was used.
    #[error(
        "storage root {} was not used by a node before (it has no .tidegate), and storage.require_mark is true: mount its volume, or set \
         storage.require_mark = false for the first start",
        root.display()
    )]
    NoMark {
        /// The root.
        root: PathBuf,
    },
    /// The root has lost the node's own directory while it was open, and has another one.
    #[error(
        "storage root {} lost its .tidegate while the node ran: it may be another directory than at start. If it is the right one, start the \
         node again",
        root.display()
    )]
    MarkLost {
        /// The root.
        root: PathBuf,
    },
    /// Another directory of the same filesystem is at the path of the root: the root was moved away, or restored from a copy.
    #[error(
        "the storage root {} is another directory than at start: put the old one back; if it is the right one, start the node again",
        root.display()
    )]
    OtherDirectory {
        /// The root.
        root: PathBuf,
    },
    /// The root is on another filesystem than it was when the store opened: something was unmounted, or mounted over it.
    #[error("storage root {} is on another filesystem than at start", root.display())]
    OtherFilesystem {
        /// The root.
        root: PathBuf,
    },
    /// The directory for temp files is on another filesystem than the root, so nothing could be renamed out of it.
    #[error("{} is on another filesystem than the storage root", path.display())]
    TempElsewhere {
        /// The directory for temp files.
        path: PathBuf,
    },
    /// Instances that were acknowledged are in a commit log of a format that this version cannot read.
    #[error(
        "{} holds instances in the format of another version: start that version once and stop it in order, so that it writes them out",
        path.display()
    )]
    LogOfAnotherVersion {
        /// The directory of the log.
        path: PathBuf,
    },
    /// Something else stands at a path of the node's own, or the process may not use what does.
    #[error("cannot {what} {}: {obstacle}", path.display())]
    Own {
        /// The failed operation, as a verb.
        what: &'static str,
        /// The path at which it stands.
        path: PathBuf,
        /// What stands there, and the remedy.
        obstacle: Obstacle,
    },
    /// Anything else the operating system answers.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The failed operation, as a verb.
        what: &'static str,
        /// The object of the operation.
        path: PathBuf,
        /// The answer.
        #[source]
        source: Errno,
    },
}

impl OpenError {
    /// For `map_err`: `what` is the failed operation on `path`.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(Errno) -> Self {
        move |source| Self::Io { what, path: path.as_ref().to_owned(), source }
    }

    /// The same with what is in the way, if this is about a path of the node's own in `root`, and something is: there or above it.
    pub(crate) fn explained<H: Handle>(self, top: &H, root: &Path) -> Self {
        let Self::Io { what, path, source } = &self else { return self };
        let own = root.join(OWN);
        let mut ways: Vec<&Path> = path.ancestors().take_while(|way| way.starts_with(&own)).collect();
        ways.reverse();
        let in_the_way = ways.iter().find_map(|way| Some((way, Obstacle::at(top, &own, way, *source)?)));
        match in_the_way {
            Some((way, obstacle)) => Self::Own { what, path: way.to_path_buf(), obstacle },
            None => self,
        }
    }
}

impl From<OpenError> for StoreError {
    /// For a root that was in use and is found changed.
    fn from(source: OpenError) -> Self {
        match source {
            OpenError::Io { what, ref path, source: errno } => match Self::new(what, path, errno) {
                Self::Io { .. } | Self::Obstructed { .. } => Self::RootUnavailable { source: Box::new(source) },
                known => known,
            },
            _ => Self::RootUnavailable { source: Box::new(source) },
        }
    }
}

/// The users that may write a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The permission bits.
    pub mode: u32,
}

fn held_by(owner: Option<Owner>) -> String {
    match owner {
        Some(Owner { uid, mode }) => format!(
            ", which is owned by user {uid} with mode {mode:04o}: give it to the user of the node (chown), or let that user write there (chmod)"
        ),
        None => ": look at the owner and the mode of the directories above it, at attributes (lsattr) and at the rules of SELinux or AppArmor".to_owned(),
    }
}

fn iec(bytes: u64) -> impl fmt::Display {
    ByteSize(bytes).display().iec()
}

fn to_be_written(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!(" {} are to be written,", iec(bytes)) }
}

fn too_large(path: &Path, limit_bytes: Option<u64>) -> String {
    let path = path.display();
    match limit_bytes {
        Some(limit) => format!(
            "the file {path} would be larger than the limit of this process (RLIMIT_FSIZE {}): raise it (ulimit -f, LimitFSIZE=)",
            iec(limit)
        ),
        None => format!("the file {path} would be larger than its filesystem can hold: use ext4 or XFS"),
    }
}

fn obstacle(source: Errno) -> &'static str {
    match source {
        Errno::XDEV => "another filesystem, mounted or linked, stands in the way",
        Errno::LOOP => "a symbolic link stands in the way",
        Errno::NAMETOOLONG => "a name too long for the filesystem is needed",
        _ => "something else stands in the way",
    }
}

fn holder(root: &Path, pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("process {pid}"),
        None => format!("another process (as root, `fuser -v {}/.tidegate/lock` names it)", root.display()),
    }
}
