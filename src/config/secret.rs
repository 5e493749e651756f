//! The modes of files with secrets: a key that every user of the machine can read is no secret, and a file that others can write is theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// The `f_type` of tmpfs, `statfs(2)`.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Permissions of a file that is read with trust in it.
const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const OTHERS_READ: u32 = 0o004;

/// Complains of a key or token that other users can read or write. Its group may read it, as packages and Kubernetes (`fsGroup`) arrange
/// it. Everybody may on a mount that an orchestrator has made for the container: Kubernetes and Docker Swarm give secrets modes 0644 and
/// 0444 by default, which no user of the host reaches.
pub(super) fn secret(path: impl AsRef<Path>) -> Result<(), String> {
    let path = path.as_ref();
    trusted(path)?;
    readable_by_all(path)
        .map_or(Ok(()), |mode| Err(complaint(path, mode, "every user of this machine can read the secret in it")))
}

/// The text of a file with a secret of which [`secret`] has nothing to say.
pub(super) fn secret_text(path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path:?} cannot be read: {error}"))?;
    secret(path)?;
    Ok(text)
}

/// The warning about hashes that every user of the machine can read. They are no secrets, but somebody who has them can guess in peace.
pub(super) fn exposed_hashes(path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    let mode = readable_by_all(path)?;
    Some(complaint(
        path,
        mode,
        "every user of this machine can read the hashes in it, and guess passcodes without the node",
    ))
}

/// The mode of a file that every user of the machine can read.
fn readable_by_all(path: &Path) -> Option<u32> {
    mode(path).filter(|mode| mode & OTHERS_READ != 0 && !is_orchestrators(path))
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
        "{path} has mode {mode:04o}: {why}; run `chmod 600 {path}`, or 640 if the node reads it as a member of its group; for a secret of \
         an orchestrator, set its mode to 0400"
    )
}

/// Whether the file is on a read-only filesystem in memory, as an orchestrator mounts secrets. Nobody can change their modes there.
fn is_orchestrators(path: &Path) -> bool {
    let is_read_only = || rustix::fs::statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == TMPFS_MAGIC) && is_read_only()
}

/// The mode of a regular file; none where reading will tell what is wrong.
fn mode(path: &Path) -> Option<u32> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(found.permissions().mode() & 0o7777)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

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
            assert_eq!(exposed_hashes(path).is_some(), mode & 0o004 != 0, "{mode:o}");
        }
        let complaint = secret(path).unwrap_err();
        assert!(complaint.contains("has mode 0666") && complaint.contains("chmod 600"), "{complaint}");
        assert!(secret("/nowhere/token").is_ok() && secret("/dev/null").is_ok());
    }

    /// A volume as the kubelet makes it: in memory, read-only, the file behind two links, mode 0644 unless `defaultMode` says less.
    #[test]
    fn a_secret_that_an_orchestrator_has_mounted_may_have_its_default_mode() {
        let directory = tempfile::tempdir().unwrap();
        let run = |command: &str, arguments: &[&str]| {
            Command::new(command)
                .args(arguments)
                .arg(directory.path())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        };
        if !run("mount", &["-t", "tmpfs", "-o", "mode=1777", "tidegate-test"]) {
            eprintln!("skipped: this user may not mount a filesystem");
            return;
        }
        let at = |path: &str| directory.path().join(path);
        fs::create_dir(at("..2026_11_29")).unwrap();
        fs::write(at("..2026_11_29/token"), "0123456789abcdef").unwrap();
        symlink("..2026_11_29", at("..data")).unwrap();
        symlink("..data/token", at("token")).unwrap();
        let verdict = |mode| {
            fs::set_permissions(at("token"), fs::Permissions::from_mode(mode)).unwrap();
            let writable = secret(at("token"));
            assert!(run("mount", &["-o", "remount,ro"]));
            let read_only = secret(at("token"));
            assert!(run("mount", &["-o", "remount,rw"]));
            (writable.is_ok(), read_only.is_ok())
        };
        let verdicts = [0o644, 0o444, 0o440, 0o400, 0o666].map(verdict);
        assert!(run("umount", &["-l"]));
        assert_eq!(verdicts, [(false, true), (false, true), (true, true), (true, true), (false, false)]);
    }
}
