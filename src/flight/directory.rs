//! The directory of the flight records. It is never below the storage root, because a disk that hangs would block their writer too; "auto"
//! prefers a directory on another filesystem.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::own_directory::{in_shared_temp, is_own};

/// Records kept; the oldest is removed for one more.
const KEPT: usize = 16;
/// Most entries of the directory that are examined.
const MAX_ENTRIES: usize = 1024;
/// The prefix of a record's name.
const PREFIX: &str = "flight-";
/// Its extension.
const SUFFIX: &str = ".json";
/// The extension of a record that is being written.
const PART: &str = ".part";

/// The value of `[log] flight_records`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordPath {
    /// This directory.
    At(PathBuf),
    /// "auto".
    Auto,
}

/// A directory of records that can be written to.
#[derive(Debug)]
pub(super) struct RecordDirectory(PathBuf);

impl RecordPath {
    /// The directory for a node with this storage root, created if it is missing.
    pub(super) fn open(&self, root: &Path) -> io::Result<RecordDirectory> {
        match self {
            Self::At(directory) => RecordDirectory::make(directory),
            Self::Auto => {
                let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
                let disk = fs::metadata(&root).map(|found| found.dev()).ok();
                let candidates: Vec<_> = candidates().into_iter().filter(|path| !path.starts_with(&root)).collect();
                let made = || candidates.iter().filter_map(|path| RecordDirectory::make(path).ok());
                let is_elsewhere = |made: &RecordDirectory| fs::metadata(&made.0).map(|found| found.dev()).ok() != disk;
                made().find(is_elsewhere).or_else(|| made().next()).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
        }
    }
}

/// Directories for files that survive the process, the most suitable first: systemd.exec(5), the XDG Base Directory Specification.
fn candidates() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
    let of_unit = std::env::split_paths(&variable("LOGS_DIRECTORY")).collect::<Vec<_>>();
    let of_user = Path::new(&variable("XDG_STATE_HOME")).join("tidegate");
    let of_home = Path::new(&variable("HOME")).join(".local/state/tidegate");
    let all = of_unit.into_iter().chain(["/var/log/tidegate".into(), of_user, of_home, in_shared_temp()]);
    all.filter(|path| path.is_absolute()).map(|path| path.join("flight")).collect()
}

impl RecordDirectory {
    /// Creates the directory, readable by its owner only.
    fn make(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        if !is_own(path) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it must be a directory of the node's user that nobody else can write to",
            ));
        }
        // Tests whether a file can be written.
        let trial = path.join(format!("{PREFIX}trial{PART}"));
        create(&trial).and_then(|_| fs::remove_file(&trial))?;
        Ok(Self(path.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a record called `name` by `fill`, and removes the oldest ones beyond the limit. Returns its path and its size in bytes.
    pub(super) fn write(
        &self,
        name: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<(PathBuf, u64)> {
        let path = self.0.join(format!("{PREFIX}{name}{SUFFIX}"));
        let part = path.with_extension("json.part");
        let mut file = BufWriter::new(create(&part)?);
        fill(&mut file)?;
        file.flush()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        self.prune();
        Ok((path, file.metadata()?.len()))
    }

    fn prune(&self) {
        let names = fs::read_dir(&self.0).into_iter().flatten().take(MAX_ENTRIES);
        let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)).collect();
        names.sort_unstable(); // by time
        let surplus = names.len().saturating_sub(KEPT);
        for name in &names[..surplus] {
            let _ = fs::remove_file(self.0.join(name));
        }
    }
}

/// A new file with mode 0600. A file that a crash left under the name is removed.
fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn records_are_closed_to_others_and_the_oldest_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let records = RecordPath::At(directory.path().join("a/b")).open(Path::new("/nowhere")).unwrap();
        for number in 0..KEPT + 4 {
            let written = records.write(&format!("{number:04}"), |file| file.write_all(b"{}\n"));
            assert_eq!(written.unwrap().1, 3);
        }
        let mut names: Vec<_> = fs::read_dir(records.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert_eq!(names.len(), KEPT);
        assert!(names[0].ends_with("flight-0004.json"), "{names:?}");
        assert!(names.iter().all(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777 == 0o600));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = RecordPath::At(directory.path().to_owned()).open(Path::new("/nowhere")).unwrap_err();
        assert!(error.to_string().contains("nobody else can write to"), "{error}");
    }

    #[test]
    fn records_are_never_below_the_storage_root() {
        let root = Path::new("/");
        assert!(RecordPath::Auto.open(root).is_err(), "everything is below it");
    }
}
