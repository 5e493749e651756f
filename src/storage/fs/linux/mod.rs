//! Linux: the one place of this crate that names its system calls.

mod beneath;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{
    Access, Advice, AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, StatxFlags, XattrFlags,
};
use rustix::io::retry_on_intr;
use twox_hash::XxHash3_128;

use super::{
    Entry, Errno, Filesystem, FilesystemKind, Handle, Identity, Inodes, Kind, Link, Lock, Open, Space, Stat, Taken,
};

/// Mode of every file made; the umask may take more away.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);

/// Mode of every directory made; the umask may take more away.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// The bit of a directory's mode by which what is made in it has its group.
const SET_GROUP_ID: u32 = 0o2000;

/// Between two looks at whether a disk that is being synced makes progress.
const SYNC_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Bytes that the disk may begin to read of a file that is announced.
const FIRST_BYTES: u64 = 4 << 20;

impl Handle for File {
    type Entries = Entries;

    fn top() -> Result<Self, Errno> {
        rustix::fs::open("/", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map(Self::from)
    }

    fn open(&self, path: &Path, how: Open) -> Result<Self, Errno> {
        let to_read = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = match how {
            Open::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            Open::DirectoryNoFollow => OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
            Open::Read => to_read,
            Open::ReadNoFollow => to_read | OFlags::NOFOLLOW,
            Open::ReadDirect => to_read | OFlags::DIRECT,
            Open::New => OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW,
            Open::ReadWrite => OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW,
            Open::Direct => OFlags::RDWR | OFlags::DIRECT | OFlags::NOFOLLOW,
        };
        beneath::open(self, path, flags | OFlags::CLOEXEC, FILE_MODE).map(Self::from)
    }

    fn stat(&self) -> Result<Stat, Errno> {
        rustix::fs::fstat(self).map(|stat| Stat::from(&stat))
    }

    fn stat_at(&self, path: &Path, link: Link) -> Result<Stat, Errno> {
        match link {
            Link::Follow => rustix::fs::statat(self, path, AtFlags::empty()),
            Link::NoFollow => beneath::stat(self, path),
        }
        .map(|stat| Stat::from(&stat))
    }

    fn identity(&self) -> Result<Identity, Errno> {
        match rustix::fs::statx(self, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME) {
            Ok(stat) => {
                let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
                Ok(Identity {
                    dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                    ino: stat.stx_ino,
                    birth: has_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
                })
            }
            // A system call filter may not know it.
            Err(Errno::NOSYS | Errno::PERM) => {
                self.stat().map(|stat| Identity { dev: stat.dev, ino: stat.ino, birth: None })
            }
            Err(error) => Err(error),
        }
    }

    fn list(&self) -> Result<Entries, Errno> {
        Dir::read_from(self).map(Entries)
    }

    fn may_write(&self, path: &Path) -> Result<(), Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        rustix::fs::accessat(self, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
    }

    fn write_at(&self, offset_bytes: u64, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        retry_on_intr(|| rustix::io::pwritev(self, slices, offset_bytes))
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        retry_on_intr(|| rustix::io::pread(self, &mut *buffer, offset_bytes))
    }

    fn truncate(&self, bytes: u64) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::ftruncate(self, bytes))
    }

    fn start_write_back(&self, offset_bytes: u64, bytes: Option<NonZeroU64>) {
        // `POSIX_FADV_DONTNEED` makes Linux start the write-back of dirty pages. It is a hint: an error costs nothing but time.
        let _ = rustix::fs::fadvise(self, offset_bytes, bytes, Advice::DontNeed);
    }

    fn expect_reading(&self) {
        let _ = rustix::fs::fadvise(self, 0, None, Advice::DontNeed);
        let _ = rustix::fs::fadvise(self, 0, None, Advice::Sequential);
        let _ = rustix::fs::fadvise(self, 0, NonZeroU64::new(FIRST_BYTES), Advice::WillNeed);
    }

    fn sync_data(&self) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::fdatasync(self))
    }

    fn sync(&self) -> Result<(), Errno> {
        retry_on_intr(|| rustix::fs::fsync(self))
    }

    fn sync_filesystem(&self, progress: &dyn Fn()) -> Result<(), Errno> {
        let (ended, ends) = crossbeam_channel::bounded(1);
        std::thread::scope(|scope| {
            let sync = move || {
                let synced = retry_on_intr(|| rustix::fs::syncfs(self));
                let _ = ended.send(synced); // the receiver waits for nothing else
            };
            let syncing = std::thread::Builder::new().name("syncfs".to_owned()).spawn_scoped(scope, sync);
            if syncing.is_err() {
                return retry_on_intr(|| rustix::fs::syncfs(self)); // no thread to be had
            }
            let mut written = None;
            loop {
                match ends.recv_timeout(SYNC_LOOK_INTERVAL) {
                    Ok(synced) => return synced,
                    Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Err(Errno::IO),
                    Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                        let now = self.stat().ok().and_then(|stat| device_statistics(stat.dev));
                        if now.is_some() && now != written {
                            progress();
                        }
                        written = now;
                    }
                }
            }
        })
    }

    fn make_directory(&self, path: &Path) -> Result<(), Errno> {
        beneath::at(self, path, |parent, name| rustix::fs::mkdirat(parent, name, DIRECTORY_MODE))
    }

    fn rename(&self, name: &OsStr, to: &Self, to_path: &Path, taken: Taken) -> Result<(), Errno> {
        beneath::at(to, to_path, |to, to_name| match taken {
            Taken::Fail => rustix::fs::renameat_with(self, name, to, to_name, RenameFlags::NOREPLACE),
            Taken::Replace => rustix::fs::renameat(self, name, to, to_name),
        })
    }

    fn link(&self, name: &OsStr, to: &Self, to_path: &Path) -> Result<(), Errno> {
        beneath::at(to, to_path, |to, to_name| rustix::fs::linkat(self, name, to, to_name, AtFlags::empty()))
    }

    fn unlink(&self, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::unlinkat(self, name, AtFlags::empty())
    }

    fn remove_directory(&self, name: &OsStr) -> Result<(), Errno> {
        match rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR) {
            Err(Errno::EXIST) => Err(Errno::NOTEMPTY), // POSIX allows either
            removed => removed,
        }
    }

    fn set_access(&self, mode: Option<u32>, group: Option<u32>) -> Result<(), Errno> {
        // A change of the group may clear the bit, so it is read before.
        let before = self.stat()?;
        if let Some(group) = group {
            rustix::fs::fchown(self, None, Some(Gid::from_raw(group)))?;
        }
        let Some(mode) = mode else { return Ok(()) };
        let kept = if before.kind == Kind::Directory { before.mode & SET_GROUP_ID } else { 0 };
        match rustix::fs::fchmod(self, Mode::from_raw_mode(mode | kept)) {
            // A system call filter may refuse the bit (systemd's RestrictSUIDSGID=).
            Err(Errno::PERM) if kept != 0 => rustix::fs::fchmod(self, Mode::from_raw_mode(mode)),
            set => set,
        }
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        rustix::fs::fsetxattr(self, name, value, XattrFlags::empty())
    }

    fn attribute(&self, name: &str, value: &mut [u8]) -> Result<usize, Errno> {
        rustix::fs::fgetxattr(self, name, value)
    }

    fn space(&self) -> Result<Space, Errno> {
        let statistics = rustix::fs::fstatvfs(self)?;
        let bytes = |blocks: u64| blocks.saturating_mul(statistics.f_frsize);
        let inodes = Inodes { free: statistics.f_favail, total: statistics.f_files };
        Ok(Space {
            free_bytes: bytes(statistics.f_bavail),
            size_bytes: bytes(statistics.f_blocks),
            inodes: (inodes.total > 0).then_some(inodes),
        })
    }

    fn filesystem(&self) -> Result<Filesystem, Errno> {
        let magic = rustix::fs::fstatfs(self)?.f_type;
        let kind = kind_of(magic as u64 & 0xffff_ffff);
        Ok(Filesystem { kind, mount: mount_of(kind, self.stat()?.dev) })
    }

    fn take_lock(&self, lock: Lock) -> Result<(), Errno> {
        let operation = match lock {
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Lock::Shared => FlockOperation::NonBlockingLockShared,
        };
        rustix::fs::flock(self, operation)
    }
}

/// `sendfile(2)`.
pub(crate) fn send_file(file: &File, socket: BorrowedFd<'_>, offset_bytes: u64, bytes: usize) -> Result<usize, Errno> {
    retry_on_intr(|| {
        let mut offset_bytes = offset_bytes;
        rustix::fs::sendfile(socket, file, Some(&mut offset_bytes), bytes)
    })
}

/// The entries of a directory.
#[derive(Debug)]
pub struct Entries(Dir);

impl Iterator for Entries {
    type Item = Result<Entry, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let kind = (entry.file_type() != FileType::Unknown).then(|| kind_of_file(entry.file_type()));
                return Some(Ok(Entry { name: OsString::from_vec(name.to_vec()), kind }));
            }
        }
    }
}

impl From<&rustix::fs::Stat> for Stat {
    fn from(stat: &rustix::fs::Stat) -> Self {
        let time = |s: i64, ns: u64| s.saturating_mul(1_000_000_000).saturating_add(ns as i64);
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            kind: kind_of_file(FileType::from_raw_mode(stat.st_mode)),
            links: u64::from(stat.st_nlink as u32),
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: time(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: time(stat.st_ctime, stat.st_ctime_nsec),
            uid: stat.st_uid,
            mode: stat.st_mode & 0o7777,
        }
    }
}

fn kind_of_file(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// By the numbers of `statfs(2)`.
fn kind_of(magic: u64) -> FilesystemKind {
    match magic {
        0xef53 => FilesystemKind::Ext4,
        0x5846_5342 => FilesystemKind::Xfs,
        0x9123_683e => FilesystemKind::Btrfs,
        0x2fc1_2fc1 => FilesystemKind::Zfs,
        0x0102_1994 | 0x8584_58f6 => FilesystemKind::Memory,
        0x794c_7630 => FilesystemKind::Overlay,
        0x6573_5546 => FilesystemKind::Fuse,
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x517b => FilesystemKind::Network,
        other => FilesystemKind::Other(other),
    }
}

/// This boot and this mount of the filesystem on device `dev`. The kernel makes a directory of its own in sysfs for each mount of ext4
/// and XFS, whose inode number it never uses again in one boot; a bind mount, as a container has it, is the same one.
fn mount_of(kind: FilesystemKind, dev: u64) -> Option<u128> {
    let filesystem = match kind {
        FilesystemKind::Ext4 => "ext4",
        FilesystemKind::Xfs => "xfs",
        _ => return None,
    };
    let device = std::fs::read_link(sysfs_device(dev)).ok()?;
    let mount = Path::new("/sys/fs").join(filesystem).join(device.file_name()?);
    let ino = rustix::fs::stat(&mount).ok()?.st_ino;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(XxHash3_128::oneshot(format!("{} {dev} {ino}", boot.trim()).as_bytes()))
}

fn sysfs_device(dev: u64) -> String {
    format!("/sys/dev/block/{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev))
}

/// The kernel's counters of the block device: they change while the disk works.
fn device_statistics(dev: u64) -> Option<String> {
    std::fs::read_to_string(sysfs_device(dev) + "/stat").ok()
}

/// The longest file that this process may write (RLIMIT_FSIZE), in bytes; `None`: any.
pub(crate) fn file_size_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Fsize).current
}

/// Whether `syncfs` reports a failed write-back of any file: Linux 5.8 and later.
pub fn reports_failed_write_back() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_at_one_mount_agree_and_two_filesystems_do_not() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let open = |path: &Path| File::top().unwrap().open(path, Open::Directory).unwrap();
        let here = std::path::absolute(directory.path()).unwrap();
        let first = open(&here).filesystem().unwrap();
        assert_eq!(open(&here).filesystem().unwrap(), first);
        assert_ne!(open(Path::new("/proc")).filesystem().unwrap(), first);
    }
}
