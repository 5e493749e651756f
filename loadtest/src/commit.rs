//! What a receiver's durable commit costs at the least: a temporary file, a sync of some kind, a rename.

mod log;
mod shared;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use self::log::Log;
use self::shared::SharedSync;

/// Files in one series directory.
pub(crate) const FILES_PER_SERIES: u64 = 100;

/// What is synced before a file counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Nothing is written at all
    Discard,
    /// Nothing is synced
    None,
    /// The file's data before its rename, the directory after it, and every new directory's parent
    PerFile,
    /// The whole filesystem, once for all files that wait, before their renames; then their directories
    Shared,
    /// A log that the file is appended to, once for all files that wait; the files as the log fills up
    Log,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Workdir {
    root: PathBuf,
    directory: File,
    mode: Mode,
    files: SharedSync,
    log: Option<Log>,
}

impl Workdir {
    pub(crate) fn new(root: &Path, mode: Mode) -> io::Result<Self> {
        fs::create_dir_all(root.join(".tmp"))?;
        let log = if mode == Mode::Log { Some(Log::create(root)?) } else { None };
        Ok(Self { root: root.to_owned(), directory: File::open(root)?, mode, files: SharedSync::default(), log })
    }

    /// Whether a directory must be synced for the names in it to last.
    fn syncs_names(&self) -> bool {
        matches!(self.mode, Mode::PerFile | Mode::Shared)
    }
}

/// One connection's files: `study/series/instance` under the root, each written to `.tmp` first.
#[derive(Debug)]
pub(crate) struct StudyWriter<'a> {
    workdir: &'a Workdir,
    temporary: PathBuf,
    study: PathBuf,
    series: PathBuf,
    written: u64,
}

impl<'a> StudyWriter<'a> {
    /// Makes the directory of study number `study`.
    pub(crate) fn new(workdir: &'a Workdir, study: usize) -> io::Result<Self> {
        let name = format!("study{study:05}");
        let directory = workdir.root.join(&name);
        let temporary = workdir.root.join(".tmp").join(&name);
        let writer = Self { workdir, temporary, series: directory.clone(), study: directory, written: 0 };
        writer.make_directory(&writer.study)?;
        Ok(writer)
    }

    /// Opens the temporary file of the next instance, of which so much is here already.
    pub(crate) fn begin(&mut self) -> io::Result<OpenFile<'_, 'a>> {
        if self.written.is_multiple_of(FILES_PER_SERIES) {
            self.series = self.study.join(format!("series{:07}", self.written / FILES_PER_SERIES));
            self.make_directory(&self.series)?;
        }
        let file = File::create_new(&self.temporary)?;
        Ok(OpenFile { file, writer: self, half: None })
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)?;
        match path.parent() {
            Some(parent) if self.workdir.syncs_names() => sync_directory(parent),
            _ => Ok(()),
        }
    }
}

/// A temporary file that becomes an instance by [`OpenFile::commit`].
#[derive(Debug)]
pub(crate) struct OpenFile<'w, 'g> {
    file: File,
    writer: &'w mut StudyWriter<'g>,
    half: Option<usize>,
}

impl OpenFile<'_, '_> {
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Makes the whole content durable by the log, if there is one.
    pub(crate) fn log(&mut self, content: &[u8]) -> io::Result<()> {
        if let Some(log) = &self.writer.workdir.log {
            self.half = Some(log.append(content)?);
        }
        Ok(())
    }

    /// Gives the file its final name, durably when that was asked for.
    pub(crate) fn commit(self) -> io::Result<()> {
        let Self { file, writer, half } = self;
        let workdir = writer.workdir;
        match (workdir.mode, half) {
            (Mode::Discard | Mode::None, _) | (Mode::Log, Some(_)) => {}
            (Mode::PerFile, _) | (Mode::Log, None) => file.sync_data()?,
            (Mode::Shared, _) => workdir.files.run(|| Ok(rustix::fs::syncfs(&workdir.directory)?))?,
        }
        drop(file);
        let name = writer.series.join(format!("instance{:010}.dcm", writer.written));
        fs::rename(&writer.temporary, name)?;
        if workdir.syncs_names() || (workdir.mode == Mode::Log && half.is_none()) {
            sync_directory(&writer.series)?;
        }
        writer.written += 1;
        match (&workdir.log, half) {
            (Some(log), Some(half)) => log.written(half),
            _ => Ok(()),
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_spread_over_series_and_no_temporary_file_stays() {
        for mode in [Mode::None, Mode::PerFile, Mode::Shared, Mode::Log] {
            let root = tempfile::tempdir().unwrap();
            let workdir = Workdir::new(root.path(), mode).unwrap();
            let mut writer = StudyWriter::new(&workdir, 3).unwrap();
            for index in 0..=FILES_PER_SERIES {
                let mut file = writer.begin().unwrap();
                file.write_all(&index.to_le_bytes()).unwrap();
                file.log(&index.to_le_bytes()).unwrap();
                file.commit().unwrap();
            }
            let last = root.path().join("study00003/series0000001/instance0000000100.dcm");
            assert_eq!(fs::read(last).unwrap(), FILES_PER_SERIES.to_le_bytes());
            let first_series = root.path().join("study00003/series0000000");
            assert_eq!(fs::read_dir(first_series).unwrap().count() as u64, FILES_PER_SERIES);
            assert_eq!(fs::read_dir(root.path().join(".tmp")).unwrap().count(), 0);
        }
    }
}
