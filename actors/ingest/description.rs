//! The description of a dataset, known before its first byte.

use std::sync::Arc;

use tidegate_storage::Placement;
use tidegate_storage::head::Wanted;
use tidegate_storage::meta::FileMeta;

use crate::committed::Origin;

/// The description of a dataset that will arrive.
pub(crate) struct Description {
    /// The sender.
    pub(crate) origin: Arc<Origin>,
    /// The file meta information, transfer syntax included.
    pub(crate) meta: FileMeta,
    /// The placement; `None`: that of the store's settings.
    pub(crate) placement: Option<Arc<Placement>>,
    /// The elements to be read from the dataset.
    pub(crate) wanted: Wanted,
}
