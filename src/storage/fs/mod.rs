//! The seam under storage: the calls it makes of a filesystem, and what each of them promises.
//!
//! [`Handle`] is implemented for [`std::fs::File`], which is Linux, and in tests for a simulated filesystem whose disk, page cache and
//! errors a seed decides. Storage is generic over it; nothing else in this crate names the operating system.
//!
//! What a call promises is what Linux promises, and no more (`docs/durability.md`):
//! - A write is in the page cache. It is on the disk after [`Handle::sync_data`] of that file has succeeded, if no earlier sync of it
//!   failed: a failed write-back is reported once, and leaves pages that are clean and were never written.
//! - [`Handle::sync_filesystem`] covers every file, and reports an earlier error of any of them once.
//! - A journal that has been aborted can let a sync succeed that did nothing. [`Handle::truncate`] to another length fails then.

mod linux;
mod pages;
#[cfg(test)]
pub(crate) mod sim;

use std::ffi::{OsStr, OsString};
use std::fmt::{Debug, Display, Formatter};
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::path::Path;

pub use rustix::io::Errno;

pub use self::linux::reports_failed_write_back;
pub(crate) use self::pages::{PAGE_BYTES, Pages};

/// An open file or directory. Paths are relative to the directory they are given to, or absolute.
///
/// Every error is the operating system's own; an interrupted call is repeated.
pub trait Handle: Debug + Send + Sync + Sized + 'static {
    /// The entries of a directory as they are read.
    type Entries: Iterator<Item = Result<Entry, Errno>>;

    /// The directory that absolute paths begin at.
    fn top() -> Result<Self, Errno>;
    /// Opens what stands at `path`.
    fn open(&self, path: &Path, how: Open) -> Result<Self, Errno>;
    /// Looks at this file or directory.
    fn stat(&self) -> Result<Stat, Errno>;
    /// Looks at what stands at `path`, a symbolic link itself unless it is to be followed.
    fn stat_at(&self, path: &Path, link: Link) -> Result<Stat, Errno>;
    /// Tells a directory from all there ever were on this machine, as far as the filesystem can.
    fn identity(&self) -> Result<Identity, Errno>;
    /// The entries of this directory, `.` and `..` left out.
    fn list(&self) -> Result<Self::Entries, Errno>;
    /// Whether this process may make and remove names in the directory at `path`.
    fn may_write(&self, path: &Path) -> Result<(), Errno>;

    /// Writes the beginning of `slices` from `offset_bytes` on, and tells how many bytes that was.
    fn write_at(&self, offset_bytes: u64, slices: &[IoSlice<'_>]) -> Result<usize, Errno>;
    /// Reads from `offset_bytes` on, and tells how many bytes there were; 0 at the end.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Makes the file as long as that. Needs the filesystem's journal: an error tells that it has been aborted.
    fn truncate(&self, bytes: u64) -> Result<(), Errno>;
    /// Has the kernel begin to write `bytes` from `offset_bytes` on, or all behind it, and forget those that are written. A hint.
    fn start_write_back(&self, offset_bytes: u64, bytes: Option<NonZeroU64>);
    /// Has the kernel forget what it has of the file, as far as it can, and expect that all of it is read. A hint.
    fn expect_reading(&self) {}
    /// Returns when the content of this file is on the disk, and what is needed to read it.
    fn sync_data(&self) -> Result<(), Errno>;
    /// The same, with all else that is known of the file or directory: the names in a directory.
    fn sync(&self) -> Result<(), Errno>;
    /// Returns when everything on the filesystem of this directory is on its disk. `progress` is called while the disk makes progress.
    fn sync_filesystem(&self, progress: &dyn Fn()) -> Result<(), Errno>;

    /// Makes a directory.
    fn make_directory(&self, path: &Path) -> Result<(), Errno>;
    /// Renames `name` to `to_path` below another directory; [`Errno::EXIST`] if that is taken and not to be replaced.
    fn rename(&self, name: &OsStr, to: &Self, to_path: &Path, taken: Taken) -> Result<(), Errno>;
    /// Gives the file `name` a second name, which must be free.
    fn link(&self, name: &OsStr, to: &Self, to_path: &Path) -> Result<(), Errno>;
    /// Removes a name of a file.
    fn unlink(&self, name: &OsStr) -> Result<(), Errno>;

    /// Sets an extended attribute of the file.
    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<(), Errno>;
    /// Reads one, and tells its length.
    fn attribute(&self, name: &str, value: &mut [u8]) -> Result<usize, Errno>;

    /// The space there is on the filesystem.
    fn space(&self) -> Result<Space, Errno>;
    /// What filesystem this directory is on.
    fn filesystem(&self) -> Result<Filesystem, Errno>;
    /// Takes the advisory lock of this file, which ends with the process; [`Errno::WOULDBLOCK`] if another process has it.
    fn take_lock(&self, lock: Lock) -> Result<(), Errno>;
}

/// How a file is opened. No file is created through a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A directory.
    Directory,
    /// A directory that no link leads to.
    DirectoryNoFollow,
    /// To read what stands there, a link followed, without waiting for what is no file.
    Read,
    /// The same, no link followed.
    ReadNoFollow,
    /// To read past the page cache; [`Errno::INVAL`] where the filesystem cannot.
    ReadDirect,
    /// A new file, to read and write.
    New,
    /// To read and write, created if it is not there.
    ReadWrite,
    /// To read and write past the page cache what is there; [`Errno::INVAL`] where the filesystem cannot.
    Direct,
}

/// What a look at a symbolic link sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// What it leads to.
    Follow,
    /// The link.
    NoFollow,
}

/// What a rename does with a name that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Fails.
    Fail,
    /// Replaces the file, at once.
    Replace,
}

/// Who else may have an advisory lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Nobody.
    Exclusive,
    /// Others that share it.
    Shared,
}

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket.
    Other,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: OsString,
    /// What it names, where the filesystem says so in passing.
    pub kind: Option<Kind>,
}

/// What is known of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The filesystem.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Names it has.
    pub links: u64,
    /// Its length.
    pub bytes: u64,
    /// When its content changed, in milliseconds since 1970.
    pub modified_ms: i64,
    /// When anything about it changed, in milliseconds since 1970: nobody can set this time.
    pub changed_ms: i64,
    /// The user who owns it.
    pub uid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// A directory among all there ever were. Filesystems use an inode number again, hence the time of birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The filesystem.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
    /// Seconds and nanoseconds since 1970; not every filesystem knows it.
    pub birth: Option<(i64, u32)>,
}

/// The space on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes an unprivileged process may still write.
    pub free_bytes: u64,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A filesystem, and the time it has been mounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filesystem {
    /// Which one.
    pub kind: FilesystemKind,
    /// This boot of the machine, and this mount of the filesystem in it: as long as it stays the same, what was written to the page
    /// cache is still there. `None` where that cannot be told.
    pub mount: Option<u128>,
}

/// A kind of filesystem, by what its syncs prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilesystemKind {
    /// ext4, and ext3 and ext2 by the same code.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// ZFS.
    Zfs,
    /// tmpfs or ramfs: memory.
    Memory,
    /// overlayfs, as containers have it.
    Overlay,
    /// A filesystem served by a process.
    Fuse,
    /// NFS, SMB and the like.
    Network,
    /// Another, by its magic number in `statfs(2)`.
    Other(u64),
}

impl FilesystemKind {
    /// Whether a sync of the whole filesystem is known to write and to report on every file of it: what the commit log and
    /// `commit = "shared"` need.
    pub fn syncs_as_a_whole(self) -> bool {
        matches!(self, Self::Ext4 | Self::Xfs | Self::Btrfs | Self::Zfs)
    }
}

impl Display for FilesystemKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ext4 => f.pad("ext4"),
            Self::Xfs => f.pad("xfs"),
            Self::Btrfs => f.pad("btrfs"),
            Self::Zfs => f.pad("zfs"),
            Self::Memory => f.pad("tmpfs"),
            Self::Overlay => f.pad("overlayfs"),
            Self::Fuse => f.pad("FUSE"),
            Self::Network => f.pad("a network filesystem"),
            Self::Other(magic) => write!(f, "a filesystem of type {magic:#x}"),
        }
    }
}

/// Reads into all of `buffer` from `offset_bytes` on, as far as the file goes.
pub(crate) fn read_full<H: Handle>(file: &H, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(offset_bytes + filled as u64, &mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Most slices one `writev` takes (`IOV_MAX` of Linux).
const MAX_SLICES: usize = 1024;

/// Writes all of `slices` to `file` from `offset_bytes` on, where they lie.
pub(crate) fn write_all_at<'a, H: Handle>(
    file: &H,
    mut offset_bytes: u64,
    slices: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(), Errno> {
    let mut slices = slices.into_iter().filter(|slice| !slice.is_empty()).map(IoSlice::new);
    let most = slices.size_hint().1.unwrap_or(MAX_SLICES);
    let mut group: Vec<IoSlice<'a>> = Vec::with_capacity(most.min(MAX_SLICES));
    loop {
        group.clear();
        group.extend(slices.by_ref().take(MAX_SLICES));
        if group.is_empty() {
            return Ok(());
        }
        let mut rest = group.as_mut_slice();
        while !rest.is_empty() {
            match file.write_at(offset_bytes, rest)? {
                0 => return Err(Errno::IO),
                written => {
                    offset_bytes += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
            }
        }
    }
}

/// Whether `path` below `dir` still leads to `handle`. An error says neither: it is not a reason to begin anew.
pub(crate) fn is_at<H: Handle>(dir: &H, path: &Path, handle: &H) -> Result<bool, Errno> {
    let there = match dir.stat_at(path, Link::NoFollow) {
        Ok(there) => there,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error),
    };
    let ours = handle.stat()?;
    Ok((there.dev, there.ino) == (ours.dev, ours.ino))
}
