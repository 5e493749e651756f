//! Paths below a directory, which lead through no symbolic link: whoever can write to a storage root must not lead the node out of it.
//!
//! The kernel resolves such a path in one call, `openat2(2)` of Linux 5.6. Where that is missing or a system call filter forbids it, the
//! walk below opens one component after the other. Absolute paths, which an operator has chosen, are resolved as usual.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

/// A directory on the way: its permission to be read is not needed.
const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens `path`; an empty path is `dir` itself. A symbolic link in it is [`Errno::LOOP`].
pub(super) fn open(dir: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let dir = dir.as_fd();
    if is_absolute(path) {
        return retry_on_intr(|| rustix::fs::openat(dir, path, flags, mode));
    }
    // A name that is new, or a file that is opened for writing, is no link by these flags; `..` never is one.
    let is_no_link = flags.contains(OFlags::NOFOLLOW) || path == Path::new("..");
    if path.as_os_str().is_empty() {
        retry_on_intr(|| rustix::fs::openat(dir, ".", flags, mode))
    } else if is_no_link && is_name(path) {
        retry_on_intr(|| rustix::fs::openat(dir, path, flags, mode))
    } else if has_openat2() {
        let mode = if flags.contains(OFlags::CREATE) { mode } else { Mode::empty() };
        retry_on_intr(|| rustix::fs::openat2(dir, path, flags, mode, RESOLVE))
    } else {
        walk(dir, path, flags, mode)
    }
}

/// The metadata of what is at `path`, also of a link there.
pub(super) fn stat(dir: impl AsFd, path: &Path) -> Result<Stat, Errno> {
    if is_absolute(path) || is_name(path) {
        return rustix::fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW);
    }
    // Most often nothing is there, which one call tells.
    let there = open(dir, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fstat(there)
}

/// Calls `act` with the directory that `path` is in, and the name there. `act` must not follow a link at the name.
pub(super) fn at<T>(
    dir: impl AsFd,
    path: &Path,
    act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if is_absolute(path) || is_name(path) {
        return act(dir.as_fd(), path);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let parent = open(dir, parent, WAY, Mode::empty())?;
    act(parent.as_fd(), Path::new(name))
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn is_absolute(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&b'/')
}

/// Whether the path is one component.
fn is_name(path: &Path) -> bool {
    !path.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// Whether the kernel has the call and no filter forbids it, which older filters do with EPERM.
fn has_openat2() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| rustix::fs::openat2(CWD, ".", WAY, Mode::empty(), RESOLVE).is_ok())
}

/// Opens one component after the other, none of them through a link.
fn walk(dir: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let mut names = path.components().map(|component| match component {
        Component::Normal(name) => Ok(name),
        Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => Err(Errno::XDEV),
    });
    let mut name = names.next().ok_or(Errno::NOENT)??;
    let mut reached: Option<OwnedFd> = None;
    for next in names {
        let from = reached.as_ref().map_or(dir, OwnedFd::as_fd);
        let way = retry_on_intr(|| rustix::fs::openat(from, name, WAY | OFlags::NOFOLLOW, Mode::empty()));
        reached = Some(way.map_err(|error| of_link(from, name, error))?);
        name = next?;
    }
    let from = reached.as_ref().map_or(dir, OwnedFd::as_fd);
    retry_on_intr(|| rustix::fs::openat(from, name, flags | OFlags::NOFOLLOW, mode))
        .map_err(|error| of_link(from, name, error))
}

/// `openat` says of a link that is no directory what `openat2` says of every link.
fn of_link(dir: BorrowedFd<'_>, name: &OsStr, error: Errno) -> Errno {
    let is_link = || {
        let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode).is_symlink())
    };
    if error == Errno::NOTDIR && is_link() { Errno::LOOP } else { error }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    type Opener = fn(BorrowedFd<'_>, &Path, OFlags, Mode) -> Result<OwnedFd, Errno>;

    #[test]
    fn no_path_leads_through_a_link_or_out_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        fs::create_dir_all(at("root/study/series")).unwrap();
        fs::create_dir_all(at("outside/series")).unwrap();
        fs::write(at("root/study/series/a.dcm"), b"inside").unwrap();
        fs::write(at("outside/series/a.dcm"), b"outside").unwrap();
        symlink(at("outside"), at("root/link")).unwrap();
        symlink("study", at("root/near")).unwrap();
        symlink(at("outside/series/a.dcm"), at("root/study/series/link.dcm")).unwrap();
        let root = File::open(at("root")).unwrap();
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        for opener in [(|dir, path, flags, mode| open(dir, path, flags, mode)) as Opener, walk] {
            let result = |path: &str| opener(root.as_fd(), Path::new(path), read, Mode::empty());
            assert!(result("study/series/a.dcm").is_ok());
            assert_eq!(result("study/series/b.dcm").unwrap_err(), Errno::NOENT);
            for path in ["link", "link/series/a.dcm", "near/series/a.dcm", "near", "study/series/link.dcm"] {
                assert_eq!(result(path).unwrap_err(), Errno::LOOP, "{path}");
                let directory = opener(root.as_fd(), Path::new(path), WAY, Mode::empty());
                assert_eq!(directory.unwrap_err(), Errno::LOOP, "{path}");
            }
            for path in ["../outside", "study/../../outside"] {
                assert_eq!(result(path).unwrap_err(), Errno::XDEV, "{path}");
            }
        }
        let make = |path| at_of(&root, path, |dir, name| rustix::fs::mkdirat(dir, name, Mode::RWXU));
        assert_eq!(make("link/made"), Err(Errno::LOOP));
        assert_eq!(make("study/made"), Ok(()));
        assert_eq!(stat(&root, Path::new("link/series/a.dcm")).unwrap_err(), Errno::LOOP);
        assert!(stat(&root, Path::new("study/series/link.dcm")).is_ok(), "the link itself");
        assert!(!at("outside/made").exists() && at("root/study/made").exists());
    }

    fn at_of<T>(
        dir: &File,
        path: &str,
        act: impl FnOnce(BorrowedFd<'_>, &Path) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        at(dir, Path::new(path), act)
    }
}
