//! What an evaluation looks at: the catalogue, and the storage root. Both are open while there is work.

use std::path::PathBuf;

use tidegate_catalogue::Reader;
use tidegate_memory::{MemoryBudget, MemoryLease, Stage};
use tidegate_storage::Store;
use tidegate_storage::survey::Survey;

use super::evaluation::BUFFER_BYTES;

/// Memory of work: the buffer of files, and the page caches of both files.
const WORK_BYTES: u64 = BUFFER_BYTES as u64 + (4 << 20);

/// Whether the node has measured what it holds beyond leases: see the catalogue's.
pub(crate) type IsMeasured = Box<dyn Fn() -> bool + Send + Sync>;

/// See the module.
pub(super) struct Files {
    pub(super) store: Store,
    catalogue: PathBuf,
    budget: MemoryBudget,
    is_measured: IsMeasured,
    open: Option<Open>,
}

/// Open files.
pub(super) struct Open {
    pub(super) catalogue: Reader,
    pub(super) survey: Survey,
    pub(super) buffer: Vec<u8>,
    _lease: Option<MemoryLease>,
}

impl Files {
    pub(super) fn new(store: Store, catalogue: PathBuf, budget: MemoryBudget, is_measured: IsMeasured) -> Self {
        Self { store, catalogue, budget, is_measured, open: None }
    }

    pub(super) fn are_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Looks at the root anew: another may be mounted there.
    pub(super) fn refresh(&mut self) {
        if let Some(open) = &mut self.open {
            match self.store.survey() {
                Ok(survey) => open.survey = survey,
                Err(_) => self.open = None, // the next to open it says why
            }
        }
    }

    /// The open files.
    ///
    /// # Errors
    /// Why they cannot be opened.
    pub(super) fn open(&mut self) -> Result<&mut Open, String> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let survey = self.store.survey().map_err(|error| error.to_string())?;
                let catalogue = Reader::open(&self.catalogue).map_err(|error| error.to_string())?;
                let lease = (self.is_measured)().then(|| self.budget.open_account("commitment"));
                let _lease = lease.and_then(|holder| holder.lease(Stage::Commitment, WORK_BYTES).ok());
                Open { catalogue, survey, buffer: vec![0; BUFFER_BYTES], _lease }
            }
        };
        Ok(self.open.insert(open))
    }
}
