//! Directories and files that belong to the user of this process alone. Those for sockets and flight records must not depend on a disk that
//! hangs.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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

/// Replaces a file by a new one that only this user (and root) can read. The old file may have had another mode.
///
/// # Errors
/// The error of the operating system.
pub(crate) fn replace_secret(file: &Path, secret: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    writeln!(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?, "{secret}")?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_replaces_what_others_could_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "old").unwrap();
        fs::write(file.with_extension("new"), "left by a process that was killed").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        replace_secret(&file, "secret").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "secret\n");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_place_is_replaced_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let [file, new, other] = ["token", "token.new", "other"].map(|name| directory.path().join(name));
        fs::write(&other, "of another program").unwrap();
        for link in [&file, &new] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        replace_secret(&file, "secret").unwrap();
        assert!(fs::symlink_metadata(&file).unwrap().is_file());
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another program");
    }
}
