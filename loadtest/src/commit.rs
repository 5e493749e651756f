//! What a receiver's durable commit costs at the least: temporary file, data synced, rename, directory synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// Files in one series directory.
pub(crate) const FILES_PER_SERIES: u64 = 100;

/// What is synced before a file counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// The file's data before its rename, the directory after it, and every new directory's parent
    Fsync,
    /// Nothing
    None,
}

/// One thread's or connection's files: `study/series/instance` under the root, each written to `.tmp` first.
#[derive(Debug)]
pub(crate) struct StudyWriter {
    temporary: PathBuf,
    study: PathBuf,
    series: PathBuf,
    written: u64,
    durability: Durability,
}

impl StudyWriter {
    /// Makes the directory of study number `study` under `root`.
    pub(crate) fn new(root: &Path, study: usize, durability: Durability) -> io::Result<Self> {
        let temporary = root.join(".tmp");
        fs::create_dir_all(&temporary)?;
        let directory = root.join(format!("study{study:05}"));
        make_directory(&directory, durability)?;
        Ok(Self {
            temporary: temporary.join(format!("study{study:05}")),
            series: directory.clone(),
            study: directory,
            written: 0,
            durability,
        })
    }

    /// Opens the temporary file of the next instance.
    pub(crate) fn begin(&mut self) -> io::Result<OpenFile<'_>> {
        if self.written.is_multiple_of(FILES_PER_SERIES) {
            self.series = self.study.join(format!("series{:07}", self.written / FILES_PER_SERIES));
            make_directory(&self.series, self.durability)?;
        }
        let file = File::create_new(&self.temporary)?;
        Ok(OpenFile { file, writer: self })
    }
}

/// A temporary file that becomes an instance by [`OpenFile::commit`].
#[derive(Debug)]
pub(crate) struct OpenFile<'a> {
    file: File,
    writer: &'a mut StudyWriter,
}

impl OpenFile<'_> {
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives the file its final name, durably when that was asked for.
    pub(crate) fn commit(self) -> io::Result<()> {
        let Self { file, writer } = self;
        if writer.durability == Durability::Fsync {
            file.sync_data()?;
        }
        drop(file);
        let name = writer.series.join(format!("instance{:010}.dcm", writer.written));
        fs::rename(&writer.temporary, name)?;
        if writer.durability == Durability::Fsync {
            sync_directory(&writer.series)?;
        }
        writer.written += 1;
        Ok(())
    }
}

fn make_directory(path: &Path, durability: Durability) -> io::Result<()> {
    fs::create_dir(path)?;
    match (durability, path.parent()) {
        (Durability::Fsync, Some(parent)) => sync_directory(parent),
        _ => Ok(()),
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
        let root = tempfile::tempdir().unwrap();
        let mut writer = StudyWriter::new(root.path(), 3, Durability::Fsync).unwrap();
        for index in 0..=FILES_PER_SERIES {
            let mut file = writer.begin().unwrap();
            file.write_all(&index.to_le_bytes()).unwrap();
            file.commit().unwrap();
        }
        let last = root.path().join("study00003/series0000001/instance0000000100.dcm");
        assert_eq!(fs::read(last).unwrap(), FILES_PER_SERIES.to_le_bytes());
        let first_series = root.path().join("study00003/series0000000");
        assert_eq!(fs::read_dir(first_series).unwrap().count() as u64, FILES_PER_SERIES);
        assert_eq!(fs::read_dir(root.path().join(".tmp")).unwrap().count(), 0);
    }
}
