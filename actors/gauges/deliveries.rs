//! What observers see of deliveries, and have done to them.

use std::sync::Arc;

use tidegate_catalogue::DestinationRow;

use super::observer::Observer;
use crate::catalogue::orders::{DeliveryOrder, NotOrdered, Ordered};
use crate::node::settings::DeliverySettings;

impl Observer {
    /// The destinations that the catalogue knows, and what they are owed. None without a catalogue.
    pub fn queues(&self) -> Vec<DestinationRow> {
        self.0.catalogue.as_ref().map_or_else(Vec::new, |catalogue| catalogue.destinations())
    }

    /// The destinations of the configuration.
    pub fn delivery_settings(&self) -> Arc<DeliverySettings> {
        Arc::clone(&self.0.live().delivery)
    }

    /// Has something done to the deliveries to a destination. `None`: there is no catalogue.
    ///
    /// # Errors
    /// See [`NotOrdered`].
    pub async fn order_deliveries(
        &self,
        destination: &str,
        order: DeliveryOrder,
    ) -> Option<Result<Ordered, NotOrdered>> {
        let catalogue = self.0.catalogue.clone()?;
        Some(catalogue.orders.give(destination, order).await)
    }
}
