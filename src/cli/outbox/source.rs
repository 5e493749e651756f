//! Who answers: the running node, or if there is none its catalogue.

use std::io;
use std::path::PathBuf;

use tidegate_actors::CatalogueSettings;
use tidegate_catalogue::Reader;

use crate::admin::outbox::look::LookError;
use crate::cli::Exit;
use crate::cli::ask_error::AskError;
use crate::cli::catalogue::reader;
use crate::cli::client::Client;
use crate::cli::output;
use crate::cli::reach::Reach;

/// A node, and the catalogue that is read when it does not run.
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

    /// Asks the node, or looks into the catalogue. An error is printed.
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
        let is_there = |path: &PathBuf| {
            path.symlink_metadata().map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_| true)
        };
        let there = self.catalogues.iter().find(|(_, settings)| is_there(&settings.path));
        let Some((root, settings)) = there else { return Err(refuse(no_node)) };
        let shown = settings.path.display();
        match reader(root, settings) {
            Ok(reader) => {
                output::complain(&format!("no node is running: read from {shown}, as it was left"));
                Ok(reader)
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

/// Prints why the node did not answer.
pub(super) fn refuse(error: &AskError) -> Exit {
    output::complain(&error.to_string());
    Exit::from(error)
}
