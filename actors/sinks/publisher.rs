//! The kinds of sinks: each is a file of its own, with one function that publishes one event.

use super::event::{EventOut, PublishError};
use super::webhook::Webhook;
use crate::node::settings::SinkKind;

/// A way to publish, with its connection. One event at a time.
pub(super) enum Publisher {
    Webhook(Webhook),
}

impl Publisher {
    pub(super) fn new(kind: &SinkKind) -> Self {
        match kind {
            SinkKind::Webhook(settings) => Self::Webhook(Webhook::new(settings.clone())),
        }
    }

    /// Publishes an event; the sink has it when this returns.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub(super) async fn publish(&mut self, event: &EventOut) -> Result<(), PublishError> {
        match self {
            Self::Webhook(webhook) => webhook.publish(event).await,
        }
    }
}
