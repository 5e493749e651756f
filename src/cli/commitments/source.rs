//! The record of requests, for a command that no node answers.

use std::path::{Path, PathBuf};

use tidegate_commitment::{Error, Reader};

use crate::cli::Exit;
use crate::cli::reach::Reach;
use crate::cli::source::NodeFile;

pub(super) type Source = crate::cli::source::Source<RecordFile>;

/// A record by its path.
pub(super) struct RecordFile(PathBuf);

impl NodeFile for RecordFile {
    const NAME: &'static str = "record of commitment requests";
    type Reader = Reader;

    fn path(&self) -> &Path {
        &self.0
    }

    fn reader(&self) -> Result<Reader, Error> {
        Reader::open(&self.0)
    }
}

/// The node that these options select; or the exit code, after the error is printed.
pub(super) fn of(reach: Reach) -> Result<Source, Exit> {
    let files = reach.commitments()?.into_iter().map(RecordFile).collect();
    Ok(Source::new(reach.client()?, files))
}
