//! Receipts: what the file of an instance says of when and from whom it was received. Who sent it stands in the root's list of origins, which is
//! looked at once an association.

use std::sync::Arc;

use tidegate_catalogue::receipt::{OriginEntry, OriginKey, Receipt};
use tidegate_storage::{Store, StoreError};

use crate::committed::{Origin, now_ms};
use crate::gauges::incidents::{Class, Incidents, NO_PEER};
use crate::mailbox::job::StoreInstance;

/// Gives each instance its receipt, unless the list of origins is full or cannot be written: such an instance is stored without.
pub(super) fn give(instances: &[Arc<StoreInstance>], store: &Store, incidents: &Incidents) {
    let received_ms = now_ms();
    for StoreInstance { instance, origin, .. } in instances.iter().map(AsRef::as_ref) {
        let association = origin.association as u32;
        let receipt = key_of(origin, store, incidents).map(|origin| Receipt { received_ms, origin, association });
        if let Some(Ok(receipt)) = receipt.map(|receipt| receipt.encode()) {
            instance.set_receipt(receipt);
        }
    }
}

/// The origin in the list. The first writer that needs it looks it up, for the whole association.
fn key_of(origin: &Origin, store: &Store, incidents: &Incidents) -> Option<OriginKey> {
    if let Some(key) = origin.key.get() {
        return *key;
    }
    // Two writers may be here at once: they find the same entry.
    let key = look_up(origin, store);
    if let Err(error) = &key
        && let Some(unlogged) = incidents.worth_a_line(Class::Refusal, "receipt", NO_PEER, ())
    {
        tracing::warn!(%error, unlogged, "instances are stored without a receipt");
    }
    *origin.key.get_or_init(|| key.ok())
}

/// Why an origin has no number.
#[derive(Debug, thiserror::Error)]
enum NoKey {
    #[error("the list of origins, .tidegate/origins, is full: it has so many peers and titles that it takes no more")]
    Full,
    #[error("the list of origins, or the numbers of associations, cannot be kept: {0}")]
    Storage(#[from] StoreError),
    #[error("the origin has a text that is too long for the list of origins")]
    TooLong,
}

fn look_up(origin: &Origin, store: &Store) -> Result<OriginKey, NoKey> {
    store.reserve_association(origin.association)?;
    let entry = origin.entry().encode().map_err(|_| NoKey::TooLong)?;
    let number = store.origin(&entry)?.ok_or(NoKey::Full)?;
    Ok(OriginKey { number, check: OriginEntry::check(&entry) })
}
