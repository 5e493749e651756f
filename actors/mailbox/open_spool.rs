//! A spool file that is being written, or waits to be committed, shared by an association and writers.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use tidegate_storage::SpoolFile;

/// Has a spool file closed by a writer: the scheduler of the writers does.
pub(crate) trait CloseSpool: std::fmt::Debug + Send + Sync {
    /// Has a writer close `file`, which nobody else uses.
    fn close_spool(self: Arc<Self>, file: Arc<SpoolFile>);
}

/// A spool file that a writer closes, whichever thread gives it up last. To remove and close a large file that has no name yet takes the
/// filesystem a quarter of a second for each GiB or so, and an association thread serves other associations meanwhile.
#[derive(Debug)]
pub struct OpenSpool {
    // Dropped in this order: the file that `closer` has is the last.
    file: Arc<SpoolFile>,
    _closer: Closer,
}

#[derive(Debug)]
struct Closer {
    file: Option<Arc<SpoolFile>>,
    /// Weak, because the mailbox holds jobs that hold this.
    scheduler: Weak<dyn CloseSpool>,
}

impl OpenSpool {
    pub(crate) fn new(file: SpoolFile, scheduler: Weak<dyn CloseSpool>) -> Self {
        let file = Arc::new(file);
        let _closer = Closer { file: Some(file.clone()), scheduler };
        Self { file, _closer }
    }

    /// For the payload of an instance. Whoever takes it keeps the [`OpenSpool`] for longer.
    pub(crate) fn file(&self) -> &Arc<SpoolFile> {
        &self.file
    }
}

impl Deref for OpenSpool {
    type Target = SpoolFile;

    fn deref(&self) -> &SpoolFile {
        &self.file
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        // Without a mailbox there are no writers, and it is closed here.
        if let (Some(file), Some(scheduler)) = (self.file.take(), self.scheduler.upgrade()) {
            scheduler.close_spool(file);
        }
    }
}
