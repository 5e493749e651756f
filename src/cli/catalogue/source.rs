//! Who answers: the running node, or if there is none the file of its catalogue.

use std::io;
use std::path::{Path, PathBuf};

use tidegate_actors::CatalogueSettings;
use tidegate_catalogue::{DESIGN, Error, Reader};

use crate::admin::catalogue::look::LookError;
use crate::admin::catalogue::model::CatalogueState;
use crate::cli::Exit;
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::reach::Reach;

/// A reader of the catalogue of `root`.
///
/// # Errors
/// It cannot be read, or is that of another root: one that is not the node's own may be named by two configurations, or its root not be mounted.
pub(in crate::cli) fn reader(root: &Path, settings: &CatalogueSettings) -> Result<Reader, Error> {
    let mut reader = Reader::open(&settings.path)?;
    if !settings.is_own && reader.root()? != tidegate_storage::root_id(root) {
        return Err(Error::OtherRoot { design: &DESIGN, path: settings.path.clone(), root: None });
    }
    Ok(reader)
}

/// A node, and the file that is read when it does not run.
pub(super) struct Source {
    client: Client,
    /// Each with its storage root.
    catalogues: Vec<(PathBuf, CatalogueSettings)>,
    reader: Option<Reader>,
}

impl Source {
    /// Of the node that these options select; or the exit code, after the error is printed.
    pub(super) fn of(reach: Reach) -> Result<Self, Exit> {
        let catalogues = reach.catalogues()?;
        Ok(Self { client: reach.client()?, catalogues, reader: None })
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

    /// The state of the node's catalogue, if the node answers.
    pub(super) fn state(&self) -> Option<CatalogueState> {
        if self.reader.is_some() { None } else { self.client.catalogue().ok() }
    }

    /// The first catalogue that there is.
    fn open(&self, no_node: &AskError) -> Result<Reader, Exit> {
        let there = self.catalogues.iter().find(|(_, settings)| is_there(&settings.path));
        let Some((root, settings)) = there else { return Err(refuse(no_node)) };
        let shown = settings.path.display();
        match reader(root, settings) {
            Ok(reader) => {
                output::complain(&format!("no node is running: read from {shown}, as it was left"));
                Ok(reader)
            }
            Err(Error::ReadOnly { .. }) => {
                output::complain(&format!(
                    "no node is running, and permission is denied for its catalogue {shown}: run this as the user that the node runs as, or \
                     as root"
                ));
                Err(Exit::Unanswered)
            }
            Err(error) => {
                output::complain(&format!(
                    "no node is running, and its catalogue cannot be read: {error}: {}",
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
