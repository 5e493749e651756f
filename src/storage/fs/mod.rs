//! The filesystem interface of storage: the calls that storage makes, and the guarantees of each.
//!
//! [`Handle`] is implemented for [`std::fs::File`] on Linux, and in tests for a simulated filesystem: a seed decides its disk, its page
//! cache and its errors. Storage is generic over it; nothing else in this crate names the operating system.
//!
//! A call guarantees no more than Linux does (`docs/durability.md`):
//! - A write is in the page cache. It is on the disk after a successful [`Handle::sync_data`] of that file, provided that no earlier sync
//!   of it failed. Linux reports a failed write-back once, and leaves pages marked clean that were never written.
//! - [`Handle::sync_filesystem`] covers every file, and reports an earlier error of any of them once.
//! - An aborted journal can let a sync succeed that wrote nothing. [`Handle::truncate`] to another length fails in that case.

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
pub(crate) use self::linux::{file_size_limit, send_file};
pub(crate) use self::pages::{PAGE_BYTES, Pages};

pub(crate) const NS_PER_MS: i64 = 1_000_000;

/// An open file or directory. Paths are relative to the directory that receives the call, or absolute. A relative path leads through no
/// symbolic link and not out of the directory; only the way to a storage root may have links.
///
/// Every error is the operating system's own. An interrupted call is repeated.
pub trait Handle: Debug + Send + Sync + Sized + 'static {
    /// An iterator over the entries of a directory.
    type Entries: Iterator<Item = Result<Entry, Errno>>;

    /// The root directory of absolute paths.
    fn top() -> Result<Self, Errno>;
    /// Opens the file or directory at `path`.
    fn open(&self, path: &Path, how: Open) -> Result<Self, Errno>;
    /// The metadata of this file or directory.
    fn stat(&self) -> Result<Stat, Errno>;
    /// The metadata of the object at `path`; `link` says whether a symbolic link is followed.
    fn stat_at(&self, path: &Path, link: Link) -> Result<Stat, Errno>;
    /// Distinguishes a directory from all others that ever existed on this machine, as far as the filesystem can.
    fn identity(&self) -> Result<Identity, Errno>;
    /// The entries of this directory, without `.` and `..`.
    fn list(&self) -> Result<Self::Entries, Errno>;
    /// Succeeds if this process may create and remove names in the directory at `path`.
    fn may_write(&self, path: &Path) -> Result<(), Errno>;

    /// Writes the beginning of `slices` from `offset_bytes` on, and returns the number of bytes written.
    fn write_at(&self, offset_bytes: u64, slices: &[IoSlice<'_>]) -> Result<usize, Errno>;
    /// Reads from `offset_bytes` on, and returns the number of bytes read; 0 at the end.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno>;
    /// Sets the length of the file. The call needs the filesystem's journal: an error means that the journal is aborted.
    fn truncate(&self, bytes: u64) -> Result<(), Errno>;
    /// Starts the kernel's write-back of `bytes` from `offset_bytes` on, or of everything behind it, and drops written pages. A hint.
    fn start_write_back(&self, offset_bytes: u64, bytes: Option<NonZeroU64>);
    /// Drops the cached pages of the file as far as possible, and announces that all of it is read. A hint.
    fn expect_reading(&self) {}
    /// Returns when the content of this file is on the disk, with the metadata needed to read it (`fdatasync`).
    fn sync_data(&self) -> Result<(), Errno>;
    /// As [`Self::sync_data`], with all other metadata of the file or directory: the names in a directory (`fsync`).
    fn sync(&self) -> Result<(), Errno>;
    /// Returns when everything on the filesystem of this directory is on its disk. `progress` is called while the disk makes progress.
    fn sync_filesystem(&self, progress: &dyn Fn()) -> Result<(), Errno>;

    /// Makes a directory.
    fn make_directory(&self, path: &Path) -> Result<(), Errno>;
    /// Renames `name` to `to_path` below another directory; [`Errno::EXIST`] if the name is taken and `taken` forbids replacing it.
    fn rename(&self, name: &OsStr, to: &Self, to_path: &Path, taken: Taken) -> Result<(), Errno>;
    /// Gives the file `name` a second name, which must be free.
    fn link(&self, name: &OsStr, to: &Self, to_path: &Path) -> Result<(), Errno>;
    /// Removes a name of a file.
    fn unlink(&self, name: &OsStr) -> Result<(), Errno>;
    /// Removes an empty directory; [`Errno::NOTEMPTY`] if it is none.
    fn remove_directory(&self, name: &OsStr) -> Result<(), Errno>;

    /// Sets group and mode of this file or directory, as far as `access` says. A directory keeps an inherited set-group-ID bit.
    fn set_access(&self, mode: Option<u32>, group: Option<u32>) -> Result<(), Errno>;
    /// Sets an extended attribute of the file.
    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<(), Errno>;
    /// Reads an extended attribute, and returns its length.
    fn attribute(&self, name: &str, value: &mut [u8]) -> Result<usize, Errno>;

    /// The size and the free space of the filesystem.
    fn space(&self) -> Result<Space, Errno>;
    /// The filesystem of this directory.
    fn filesystem(&self) -> Result<Filesystem, Errno>;
    /// Takes the advisory lock of this file, which the process holds until it ends; [`Errno::WOULDBLOCK`] if another process holds it.
    fn take_lock(&self, lock: Lock) -> Result<(), Errno>;
}

/// How a file is opened. No file is created through a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A directory.
    Directory,
    /// A directory that is not reached through a symbolic link.
    DirectoryNoFollow,
    /// For reading. Opening something that is not a file does not block.
    Read,
    /// For reading, without following a link.
    ReadNoFollow,
    /// For reading past the page cache; [`Errno::INVAL`] if the filesystem does not support it.
    ReadDirect,
    /// A new file, for reading and writing.
    New,
    /// For reading and writing; created if it is missing.
    ReadWrite,
    /// An existing file, for reading and writing past the page cache; [`Errno::INVAL`] if the filesystem does not support it.
    Direct,
}

/// Whether a symbolic link is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The target of the link.
    Follow,
    /// The link itself.
    NoFollow,
}

/// The action of a rename whose target name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The rename fails.
    Fail,
    /// The rename replaces the file atomically.
    Replace,
}

/// How far an advisory lock excludes others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// No other holder.
    Exclusive,
    /// Other holders that share it.
    Shared,
}

/// The kind of an object in a directory.
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
    /// Its kind, if the filesystem reports it with the entry.
    pub kind: Option<Kind>,
}

impl Entry {
    /// Its kind in `directory`. Not every filesystem says it in the listing.
    pub fn kind_in<H: Handle>(&self, directory: &H) -> Result<Kind, Errno> {
        match self.kind {
            Some(kind) => Ok(kind),
            None => Ok(directory.stat_at(Path::new(&self.name), Link::NoFollow)?.kind),
        }
    }
}

/// The metadata of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The filesystem.
    pub dev: u64,
    /// The inode on it.
    pub ino: u64,
    /// The kind of the object.
    pub kind: Kind,
    /// Number of its names.
    pub links: u64,
    /// Its length.
    pub bytes: u64,
    /// When its content changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When its metadata or content last changed, in nanoseconds since 1970. No process can set this time.
    pub changed_ns: i64,
    /// The user who owns it.
    pub uid: u32,
    /// Its permission bits.
    pub mode: u32,
}

impl Stat {
    /// When its content changed, in milliseconds since 1970.
    pub fn modified_ms(&self) -> i64 {
        self.modified_ns.div_euclid(NS_PER_MS)
    }

    /// When its metadata or content last changed, in milliseconds since 1970.
    pub fn changed_ms(&self) -> i64 {
        self.changed_ns.div_euclid(NS_PER_MS)
    }
}

/// The identity of a directory among all that ever existed. Filesystems reuse inode numbers, hence the time of birth.
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
    /// `None`: the filesystem makes inodes as it needs them and reports no number (btrfs, FAT, some network filesystems).
    pub inodes: Option<Inodes>,
}

/// The inodes of a filesystem: each file and directory takes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inodes {
    /// How many are free.
    pub free: u64,
    /// How many there are.
    pub total: u64,
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
    /// Whether a sync of the whole filesystem is known to write and to report on every file of it: what the commit log
    /// needs.
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

/// Whether `path` below `dir` still leads to `handle`; a link on the way deceives nobody, since the identity is compared. An error says neither: it is not a reason to begin anew.
pub(crate) fn is_at<H: Handle>(dir: &H, path: &Path, handle: &H) -> Result<bool, Errno> {
    let there = match dir.stat_at(path, Link::Follow) {
        Ok(there) => there,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
        Err(error) => return Err(error),
    };
    let ours = handle.stat()?;
    Ok((there.dev, there.ino) == (ours.dev, ours.ino))
}
