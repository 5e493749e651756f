//! The state that all requests share.

use tidegate_actors::Observer;

use super::catalogue::readers::Readers;
use super::commitment::readers::Requests;
use super::events::{Events, Listeners};
use super::leases::Leases;
use super::outbox::readers::Deliveries;
use super::sinks::readers::EventSinks;
use super::steering::Steering;
use super::storage::StorageWatch;

/// The state that all requests share.
pub(super) struct Surface {
    pub(super) observer: Observer,
    pub(super) storage: StorageWatch,
    pub(super) events: Events,
    /// Of the events of `/api/events/stream`.
    pub(super) streams: Listeners,
    pub(super) steering: Steering,
    pub(super) leases: Leases,
    pub(super) readers: Readers,
    pub(super) requests: Requests,
    pub(super) deliveries: Deliveries,
    pub(super) sinks: EventSinks,
}
