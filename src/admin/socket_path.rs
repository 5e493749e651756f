//! The path of the admin socket. It lies outside the storage root if a runtime directory can be used, because a client that walks a path on
//! a disk that hangs never returns.
//!
//! A node and its clients derive the same paths from the storage root: in each runtime directory a name that is the hash of the root's
//! absolute path, so nodes on one host do not collide. The node binds in the first directory that is its own, and creates a symbolic link
//! to the socket below the root, for clients that name the root by another path. Without such a directory it binds below the root.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, symlink};
use std::path::{Path, PathBuf};

use crate::own_directory::{in_shared_temp, is_own};

/// Below the storage root: the link, or the socket itself if there is no runtime directory.
const BELOW_ROOT: &str = ".tidegate/admin.sock";
/// Bytes of `sun_path` before its NUL (unix(7)).
pub(crate) const MAX_BYTES: usize = 107;
/// The variable with the runtime directories of systemd units, separated by colons (systemd.exec(5)).
const OF_UNIT: &str = "RUNTIME_DIRECTORY";
/// The runtime directory of the packaged unit, whose clients do not have the variable. Without a unit, root creates it.
const OF_SYSTEM: &str = "/run/tidegate";
/// The variable with the runtime directory of a login session (XDG Base Directory Specification).
const OF_SESSION: &str = "XDG_RUNTIME_DIR";

/// The value of `[admin] socket`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SocketPath {
    /// This path.
    At(PathBuf),
    /// "auto", for this storage root.
    Of(PathBuf),
}

impl SocketPath {
    /// The paths at which a client looks, in this order.
    pub(crate) fn candidates(&self) -> Vec<PathBuf> {
        match self {
            Self::At(path) => vec![path.clone()],
            Self::Of(root) => {
                let below_root = root.join(BELOW_ROOT);
                let shared = in_shared_temp();
                // In a directory that every user can write to, another user may have created ours.
                let is_safe = |directory: &PathBuf| *directory != shared || is_own(directory);
                let name = name_of(root);
                let inside = directories().into_iter().filter(is_safe).map(|directory| directory.join(&name));
                inside.filter(|path| fits(path)).chain([below_root]).collect()
            }
        }
    }

    /// The path at which a node binds: in the first runtime directory that is its own, which is created if it is missing.
    pub(super) fn prepare(&self) -> PathBuf {
        match self {
            Self::At(path) => path.clone(),
            Self::Of(root) => {
                let name = name_of(root);
                let own = directories().into_iter().filter(|directory| fits(&directory.join(&name)));
                own.into_iter()
                    .find(|directory| {
                        let _ = DirBuilder::new().mode(0o700).create(directory); // it is there, or it is none of ours
                        is_own(directory)
                    })
                    .map_or_else(|| root.join(BELOW_ROOT), |directory| directory.join(name))
            }
        }
    }

    /// Creates the link below the root to the socket `bound`. This waits for the disk of the root. The link is removed when the result is
    /// dropped; `None`: none is needed.
    pub(super) fn link(&self, bound: &Path) -> io::Result<Option<Link>> {
        let Self::Of(root) = self else { return Ok(None) };
        let link = root.join(BELOW_ROOT);
        if link == bound {
            return Ok(None);
        }
        match fs::symlink_metadata(&link) {
            Ok(found) if found.is_symlink() || found.file_type().is_socket() => fs::remove_file(&link)?,
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        symlink(bound, &link)?;
        Ok(Some(Link { path: link, target: bound.to_owned() }))
    }
}

/// A link to a socket, removed with this if it still leads there.
#[derive(Debug)]
pub(super) struct Link {
    path: PathBuf,
    target: PathBuf,
}

impl Drop for Link {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A path to a socket by which the kernel can be asked: a path that does not fit leads through an open directory, which is kept with it.
///
/// # Errors
/// If that directory cannot be opened.
pub(crate) fn addressable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let (Some(directory), Some(name), false) = (path.parent(), path.file_name(), fits(path)) else {
        return Ok((path.to_owned(), None));
    };
    let directory = File::open(directory)?;
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    Ok((path, Some(directory)))
}

/// Runtime directories, the most specific first.
fn directories() -> Vec<PathBuf> {
    let of_unit = std::env::var_os(OF_UNIT).unwrap_or_default();
    let of_unit = std::env::split_paths(&of_unit).filter(|path| path.is_absolute()).collect::<Vec<_>>();
    let of_session = std::env::var_os(OF_SESSION).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_session = of_session.map(|path| path.join("tidegate"));
    of_unit.into_iter().chain(of_session).chain([OF_SYSTEM.into(), in_shared_temp()]).collect()
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_BYTES
}

/// The name of a root's socket. It is computed without access to the root, whose disk may hang.
fn name_of(root: &Path) -> String {
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    // A slash at the end names the same directory, so it is removed.
    let absolute: PathBuf = absolute.components().collect();
    format!("{:016x}.sock", fnv(absolute.as_os_str().as_encoded_bytes()))
}

/// FNV-1a: the same in every version of the program, unlike the hash of the standard library.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_root_has_one_name_and_two_roots_have_two() {
        let of = |root: &str| name_of(Path::new(root));
        assert_eq!(of("/srv/images"), "cf37f5bf50c72e0e.sock");
        assert_eq!(of("/srv/images/"), of("/srv/./images"));
        assert_ne!(of("/srv/images"), of("/srv/images2"));
        assert_eq!(Path::new(&of("data")), Path::new(&name_of(&std::env::current_dir().unwrap().join("data"))));
    }

    #[test]
    fn clients_look_below_the_root_last_and_at_a_path_that_is_given_alone() {
        let found = SocketPath::Of("/srv/images".into()).candidates();
        assert_eq!(found.last().unwrap(), Path::new("/srv/images/.tidegate/admin.sock"));
        assert!(found.contains(&Path::new(OF_SYSTEM).join(name_of(Path::new("/srv/images")))), "{found:?}");
        assert_eq!(SocketPath::At("/x.sock".into()).candidates(), [Path::new("/x.sock")]);
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let set = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        set(0o750);
        assert!(is_own(directory.path()));
        set(0o770);
        assert!(!is_own(directory.path()));
        set(0o700);
        let link = directory.path().join("link");
        symlink(directory.path(), &link).unwrap();
        assert!(!is_own(&link), "another user may have put it there");
    }

    #[test]
    fn the_link_takes_the_place_of_a_socket_and_of_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = SocketPath::Of(directory.path().to_owned());
        let link = directory.path().join(BELOW_ROOT);
        fs::create_dir(link.parent().unwrap()).unwrap();
        let first = path.link(Path::new("/run/a.sock")).unwrap();
        let second = path.link(Path::new("/run/b.sock")).unwrap();
        drop(first);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("/run/b.sock"), "that of a later node stays");
        drop(second);
        assert!(!link.is_symlink());
        fs::write(&link, "a person's").unwrap();
        assert!(path.link(Path::new("/run/a.sock")).is_err());
        assert_eq!(fs::read(&link).unwrap(), b"a person's");
    }
}
