//! Who answers: the running node, or if there is none the file of its requests.

use std::io;
use std::path::PathBuf;

use tidegate_commitment::Reader;

use crate::admin::commitment::look::LookError;
use crate::cli::Exit;
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::reach::Reach;

/// A node, and the file that is read when it does not run.
pub(super) struct Source {
    client: Client,
    files: Vec<PathBuf>,
    reader: Option<Reader>,
}

impl Source {
    /// Of the node that these options select; or the exit code, after the error is printed.
    pub(super) fn of(reach: Reach) -> Result<Self, Exit> {
        let files = reach.commitments()?;
        Ok(Self { client: reach.client()?, files, reader: None })
    }

    /// Asks the node, or looks into the file. An error is printed.
    pub(super) fn ask<T>(
        &mut self,
        of_node: impl FnOnce(&Client) -> Result<T, AskError>,
        of_file: impl FnOnce(&mut Reader) -> Result<T, LookError>,
    ) -> Result<T, Exit> {
        if self.reader.is_none() {
            match of_node(&self.client) {
                Err(error @ AskError::NoNode(_)) => self.reader = Some(self.open(&error)?),
                answer => return answer.map_err(|error| refuse(&error)),
            }
        }
        let Some(reader) = &mut self.reader else { return Err(Exit::Unanswered) };
        of_file(reader).map_err(|error| {
            output::complain(&error.to_string());
            Exit::Failed
        })
    }

    fn open(&self, no_node: &AskError) -> Result<Reader, Exit> {
        let is_there = |path: &&PathBuf| {
            path.symlink_metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
        };
        let Some(path) = self.files.iter().find(is_there) else { return Err(refuse(no_node)) };
        match Reader::open(path) {
            Ok(reader) => {
                output::complain(&format!("no node is running: read from {}, as it was left", path.display()));
                Ok(reader)
            }
            Err(error) => {
                output::complain(&format!("no node is running, and its requests cannot be read: {error}"));
                Err(Exit::Failed)
            }
        }
    }
}

/// Prints why the node did not answer.
pub(super) fn refuse(error: &AskError) -> Exit {
    output::complain(&error.to_string());
    Exit::from(error)
}
