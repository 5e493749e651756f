//! The modes of files with secrets: a key that every user of the machine can read is no secret, and a file that others can write is theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Permissions of a file that is read with trust in it.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OTHERS_READ: u32 = 0o004;

/// Complains of a key or token that other users can read or write. Its group may read it, as packages arrange it.
pub(super) fn secret(path: impl AsRef<Path>) -> Result<(), String> {
    let path = path.as_ref();
    trusted(path)?;
    match mode(path) {
        Some(mode) if mode & OTHERS_READ != 0 => {
            Err(complaint(path, mode, "every user of this machine can read the secret in it"))
        }
        _ => Ok(()),
    }
}

/// Complains of a file that others than its owner can write.
pub(super) fn trusted(path: impl AsRef<Path>) -> Result<(), String> {
    let path = path.as_ref();
    match mode(path) {
        Some(mode) if mode & GROUP_OR_OTHERS_WRITE != 0 => {
            Err(complaint(path, mode, "others than its owner can change it"))
        }
        _ => Ok(()),
    }
}

fn complaint(path: &Path, mode: u32, why: &str) -> String {
    let path = path.display();
    format!(
        "{path} has mode {mode:04o}: {why}; run `chmod 600 {path}`, or 640 if the node reads it as a member of its group"
    )
}

/// The mode of a regular file; none where reading will tell what is wrong.
fn mode(path: &Path) -> Option<u32> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(found.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_for_everybody_and_nobody_else_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path();
        for (mode, is_secret, is_trusted) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o640, true, true),
            (0o644, false, true),
            (0o604, false, true),
            (0o660, false, false),
            (0o602, false, false),
            (0o666, false, false),
        ] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!((secret(path).is_ok(), trusted(path).is_ok()), (is_secret, is_trusted), "{mode:o}");
        }
        let complaint = secret(path).unwrap_err();
        assert!(complaint.contains("has mode 0666") && complaint.contains("chmod 600"), "{complaint}");
        assert!(secret("/nowhere/token").is_ok() && secret("/dev/null").is_ok());
    }
}
