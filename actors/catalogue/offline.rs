//! Work on the catalogue of a root that no node serves, under the lock of the root.

use std::sync::Arc;

use tidegate_catalogue::catch_up::{CatchUp, Depth, Difference, Progress};
use tidegate_catalogue::{Catalogue, Error, Problem, Remedy, set_aside};
use tidegate_storage::{OpenError, Settings, Store, StoreError};

use super::disk::RootDisk;
use super::state::CatalogueRequest;
use crate::committed::clock_ms;
use crate::node::settings::{CatalogueSettings, LiveSettings};

/// What was found.
#[derive(Debug)]
pub struct Outcome {
    /// The differences between files and catalogue.
    pub progress: Progress,
    /// The first of them, if it was a check.
    pub named: Vec<Difference>,
    /// What a check found wrong within the file of the catalogue.
    pub problems: Vec<Problem>,
}

/// Why the work was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The root cannot be used: a node serves it, or it is not in place.
    #[error(transparent)]
    Root(#[from] OpenError),
    /// Its files cannot be read.
    #[error(transparent)]
    Storage(#[from] StoreError),
    /// The catalogue cannot be used.
    #[error("{source}: {}", source.advice())]
    Catalogue {
        /// The failure.
        #[from]
        source: Error,
    },
}

/// Does the work to its end, and tells its progress after each step. Like a start of the node, it restores what is only in the commit log.
///
/// # Errors
/// See [`OfflineError`]. What was done until then stays.
pub fn work(
    storage: Settings,
    settings: &CatalogueSettings,
    live: &Arc<LiveSettings>,
    request: CatalogueRequest,
    mut tell: impl FnMut(&Progress),
) -> Result<Outcome, OfflineError> {
    let (store, _) = Store::open(storage)?;
    let mut catalogue = open(settings, request)?;
    catalogue.claim(&store.settings().root, store.root_id()?, settings.is_own)?;
    let live = Arc::clone(live);
    let assumed = Arc::new(move |calling: &str, class: &str| live.assumed_destinations(calling, class));
    let disk = RootDisk::new(&store, settings.keeps_patients, assumed)?;
    let (mut catch_up, problems) = match request {
        // Of a damaged file, nothing else can be told.
        CatalogueRequest::Check => (
            CatchUp::check(disk, i64::MAX), // no event is on its way
            catalogue.check()?,
        ),
        CatalogueRequest::Rebuild => (CatchUp::new(disk, Depth::Read), Vec::new()),
        CatalogueRequest::CatchUp => (CatchUp::new(disk, Depth::All), Vec::new()),
    };
    if problems.is_empty() {
        while catch_up.step(&mut catalogue, clock_ms())? {
            tell(&catch_up.progress());
        }
    }
    Ok(Outcome { progress: catch_up.progress(), named: catch_up.named().to_vec(), problems })
}

/// A rebuild sets a damaged file aside, if the node chose its path.
fn open(settings: &CatalogueSettings, request: CatalogueRequest) -> Result<Catalogue, OfflineError> {
    match Catalogue::open(&settings.path, settings.keeps_patients) {
        Err(error) if request == CatalogueRequest::Rebuild && settings.is_own && error.remedy() == Remedy::SetAside => {
            set_aside(&settings.path, clock_ms())?;
            Ok(Catalogue::open(&settings.path, settings.keeps_patients)?)
        }
        opened => Ok(opened?),
    }
}
