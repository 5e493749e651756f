//! The kinds of sinks: each is a file of its own, with one function that publishes one event.

use super::amqp::Amqp;
use super::event::{EventOut, PublishError};
use super::nats::Nats;
use super::webhook::Webhook;
use crate::node::settings::SinkKind;

/// A way to publish, with its connection. One event at a time.
pub(super) enum Publisher {
    Webhook(Webhook),
    Nats(Nats),
    Amqp(Amqp),
}

impl Publisher {
    pub(super) fn new(kind: &SinkKind) -> Self {
        match kind {
            SinkKind::Webhook(settings) => Self::Webhook(Webhook::new(settings.clone())),
            SinkKind::Nats(settings) => Self::Nats(Nats::new(settings.clone())),
            SinkKind::Amqp(settings) => Self::Amqp(Amqp::new(settings.clone())),
        }
    }

    /// Publishes an event; the sink has it when this returns.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub(super) async fn publish(&mut self, event: &EventOut) -> Result<(), PublishError> {
        match self {
            Self::Webhook(webhook) => webhook.publish(event).await,
            Self::Nats(nats) => nats.publish(event).await,
            Self::Amqp(amqp) => amqp.publish(event).await,
        }
    }
}
