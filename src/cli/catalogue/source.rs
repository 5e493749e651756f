//! The catalogue, for a command that no node answers.

use std::path::{Path, PathBuf};

use tidegate_actors::CatalogueSettings;
use tidegate_catalogue::{DESIGN, Error, Reader};

use crate::cli::Exit;
use crate::cli::reach::Reach;
use crate::cli::source::NodeFile;

pub(in crate::cli) type Source = crate::cli::source::Source<CatalogueFile>;

/// A catalogue, and its storage root.
pub(in crate::cli) struct CatalogueFile {
    root: PathBuf,
    settings: CatalogueSettings,
}

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

impl NodeFile for CatalogueFile {
    const NAME: &'static str = "catalogue";
    type Reader = Reader;

    fn path(&self) -> &Path {
        &self.settings.path
    }

    fn reader(&self) -> Result<Reader, Error> {
        reader(&self.root, &self.settings)
    }
}

/// The node that these options select; or the exit code, after the error is printed.
pub(in crate::cli) fn of(reach: Reach) -> Result<Source, Exit> {
    let files = reach.catalogues()?.into_iter().map(|(root, settings)| CatalogueFile { root, settings }).collect();
    Ok(Source::new(reach.client()?, files))
}
