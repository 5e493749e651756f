//! Directories that belong to the user of this process alone: for sockets and flight records, which must not depend on a disk that hangs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// Whether it is a directory of this user that no other user can write to.
pub(crate) fn is_own(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|found| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & OTHERS_WRITE == 0
    })
}

/// The fallback for such directories. It is in a directory that every user can write to, so another user may have created it.
pub(crate) fn in_shared_temp() -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-{}", rustix::process::geteuid().as_raw()))
}
