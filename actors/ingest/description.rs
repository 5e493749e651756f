//! What is known of a dataset before its first byte.

use std::sync::Arc;

use dicom_core::Tag;
use tidegate_storage::Placement;
use tidegate_storage::meta::FileMeta;

use crate::committed::Origin;

/// See the module.
pub(crate) struct Description {
    /// Who sends it.
    pub(crate) origin: Arc<Origin>,
    /// The file meta information, transfer syntax included.
    pub(crate) meta: FileMeta,
    /// Where and how it is stored; `None`: as the store's settings have it.
    pub(crate) placement: Option<Arc<Placement>>,
    /// The elements to be read of it.
    pub(crate) wanted: Arc<[Tag]>,
}
