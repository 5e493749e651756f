//! Who answers: the running node, or if there is none a file of its own, as it was left.

use std::fmt::Display;
use std::io;
use std::path::Path;

use tidegate_catalogue::Error;

use super::ask_error::AskError;
use super::client::Client;
use super::{Exit, output};

/// A database of a node, which is read where no node runs.
pub(super) trait NodeFile {
    /// What it is, behind "its".
    const NAME: &'static str;
    type Reader;

    fn path(&self) -> &Path;

    fn reader(&self) -> Result<Self::Reader, Error>;
}

/// A node, and the files that can be its own, the likeliest first.
pub(super) struct Source<F: NodeFile> {
    client: Client,
    files: Vec<F>,
    reader: Option<F::Reader>,
}

impl<F: NodeFile> Source<F> {
    pub(super) fn new(client: Client, files: Vec<F>) -> Self {
        Self { client, files, reader: None }
    }

    /// Asks the node, or looks into the file. An error is printed.
    pub(super) fn ask<T, E: Display>(
        &mut self,
        of_node: impl FnOnce(&Client) -> Result<T, AskError>,
        of_file: impl FnOnce(&mut F::Reader) -> Result<T, E>,
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

    /// The node, whether it runs or not.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The node, unless its file has answered.
    pub(super) fn node(&self) -> Option<&Client> {
        if self.reader.is_some() { None } else { Some(&self.client) }
    }

    /// The first file that there is.
    fn open(&self, no_node: &AskError) -> Result<F::Reader, Exit> {
        let Some(file) = self.files.iter().find(|file| is_there(file.path())) else { return Err(refuse(no_node)) };
        let (name, shown) = (F::NAME, file.path().display());
        match file.reader() {
            Ok(reader) => {
                output::complain(&format!("no node is running: read from {shown}, as it was left"));
                Ok(reader)
            }
            Err(Error::ReadOnly { .. }) => {
                output::complain(&format!(
                    "no node is running, and permission is denied for its {name} {shown}: run this as the user that the node runs as, or as root"
                ));
                Err(Exit::Unanswered)
            }
            Err(error) => {
                output::complain(&format!(
                    "no node is running, and its {name} cannot be read: {error}: {}",
                    error.advice()
                ));
                Err(Exit::Failed)
            }
        }
    }
}

/// Whether the file is there, or cannot be looked for.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
}

/// Prints why the node did not answer.
pub(super) fn refuse(error: &AskError) -> Exit {
    output::complain(&error.to_string());
    Exit::from(error)
}
