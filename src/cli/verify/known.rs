//! What the catalogue knows of the files of a root, whether its node runs or not.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tidegate_actors::CatalogueSettings;
use tidegate_catalogue::{Error, InstanceRow, Place, Reader, State};
use tidegate_storage::verify::Known;

use crate::cli::catalogue::reader;

/// Paths that are asked for at a time.
const PAGE: u32 = 1000;

/// A reader of the catalogue, for all threads of a verification.
pub(super) struct Catalogued {
    reader: Mutex<Reader>,
    /// The first failure: from then on, nothing is known.
    failure: Mutex<Option<Error>>,
}

impl Catalogued {
    /// The catalogue of `root`. `None`: there is none, or its node has not begun it.
    ///
    /// # Errors
    /// If it cannot be read, or is that of another root.
    pub(super) fn open(root: &Path, settings: Option<&CatalogueSettings>) -> Result<Option<Self>, String> {
        let Some(settings) = settings.filter(|settings| settings.path.try_exists().unwrap_or(true)) else {
            return Ok(None);
        };
        let failed = |error: Error| format!("the catalogue is not used: {error}: {}", error.advice());
        match reader(root, settings) {
            Ok(reader) => Ok(Some(Self { reader: Mutex::new(reader), failure: Mutex::default() })),
            Err(Error::Older { found: 0, .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// What is known of the file at `path`.
    pub(super) fn find(&self, path: &Path) -> Option<Known> {
        let row = self.ask(|reader| reader.file(path)).flatten().filter(|row| row.state == State::Present)?;
        Some(Known { bytes: row.bytes, digest: row.digest })
    }

    /// The paths of the files that were received since, and are there by the catalogue.
    pub(super) fn received_since(&self, since_ms: i64) -> impl Iterator<Item = PathBuf> {
        let mut place = Some(Place::default());
        std::iter::from_fn(move || {
            let from = place?;
            let (rows, next) = self.ask(|reader| reader.received_since(since_ms, from, PAGE))?;
            place = next;
            Some(rows)
        })
        .flatten()
        .map(|row: InstanceRow| row.path)
    }

    /// Why it could not be read to the end, if so.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().as_ref().map(|error| format!("the catalogue could not be read to its end: {error}"))
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Reader) -> Result<T, Error>) -> Option<T> {
        if self.failure.lock().is_some() {
            return None;
        }
        let answer = question(&mut self.reader.lock());
        answer.map_err(|error| self.failure.lock().get_or_insert(error).to_string()).ok()
    }
}
