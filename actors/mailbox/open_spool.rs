//! An open spool file, shared by an association and writers until its commit.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use tidegate_storage::SpoolFile;

/// Has a writer close a spool file. The scheduler of the writers implements it.
pub(crate) trait CloseSpool: std::fmt::Debug + Send + Sync {
    /// Has a writer close `file`, which has no other user.
    fn close_spool(self: Arc<Self>, file: Arc<SpoolFile>);
}

/// A spool file that a writer closes, whichever thread drops it last: removing a large file without a final name takes the filesystem about a
/// quarter of a second for each GiB, and an association thread serves other associations. Without a writer, or if too many files wait to be
/// closed, the dropping thread closes it.
#[derive(Debug)]
pub struct OpenSpool {
    // Fields drop in this order: `closer` gets the last reference to the file.
    file: Arc<SpoolFile>,
    _closer: Closer,
}

#[derive(Debug)]
struct Closer {
    file: Option<Arc<SpoolFile>>,
    /// Weak: the mailbox holds jobs, which hold this.
    scheduler: Weak<dyn CloseSpool>,
}

impl OpenSpool {
    pub(crate) fn new(file: SpoolFile, scheduler: Weak<dyn CloseSpool>) -> Self {
        let file = Arc::new(file);
        let _closer = Closer { file: Some(file.clone()), scheduler };
        Self { file, _closer }
    }

    /// The file, for the payload of an instance. The caller must keep the [`OpenSpool`] for longer.
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
        // Without a mailbox there are no writers: the file is closed here.
        if let (Some(file), Some(scheduler)) = (self.file.take(), self.scheduler.upgrade()) {
            scheduler.close_spool(file);
        }
    }
}
