//! A broker over AMQP 0-9-1: each event is a persistent message to an exchange, with its type as the routing key, and published when the broker has
//! confirmed it.
//!
//! The client is one of our own. `lapin` 4.12 runs each connection on a thread of its own, outside supervision, with queues without bounds, and
//! brings 18 crates; a publisher of one message at a time sends seven methods.
//!
//! | module | is |
//! |---|---|
//! | [`connection`] | a connection with one channel |
//! | [`frames`] | frames and methods as bytes |

mod connection;
mod frames;

use tokio::time::{Instant, timeout_at};

use self::connection::{AmqpError, Connection};
use super::event::{EventOut, PublishError};
use crate::network::calling::{CallAddress, CallStream};
use crate::node::settings::AmqpSettings;

/// See the module.
pub(super) struct Amqp {
    settings: AmqpSettings,
    kept: Option<Connection>,
}

impl Amqp {
    pub(super) fn new(settings: AmqpSettings) -> Self {
        Self { settings, kept: None }
    }

    pub(super) async fn publish(&mut self, event: &EventOut) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.settings.timeout;
        // The broker may have closed a kept connection just now.
        if let Some(kept) = self.kept.take()
            && let Ok(published) = timeout_at(deadline, self.attempt(kept, event)).await
            && !matches!(published, Err(AmqpError::Lost(_) | AmqpError::Closed))
        {
            return published.map_err(|error| judge(&error));
        }
        let down = |why| PublishError::Retry { why, after: None, is_down: true };
        let AmqpSettings { host, port, tls, timeout, .. } = &self.settings;
        let address = CallAddress { host: host.clone(), port: *port };
        let late = format!("no confirmation within {}", humantime::format_duration(*timeout));
        let stream = CallStream::connect(&address, tls.clone(), deadline).await;
        let stream = stream.map_err(|error| down(error.to_string()))?;
        let attempt = async {
            let connection = Connection::open(stream, &self.settings).await?;
            self.attempt(connection, event).await
        };
        match timeout_at(deadline, attempt).await {
            Ok(published) => published.map_err(|error| judge(&error)),
            Err(_) => Err(down(late)),
        }
    }

    async fn attempt(&mut self, mut connection: Connection, event: &EventOut) -> Result<(), AmqpError> {
        let published = connection.publish(&self.settings.exchange, event).await;
        if published.as_ref().err().is_none_or(AmqpError::leaves_channel) {
            self.kept = Some(connection);
        }
        published
    }
}

fn judge(error: &AmqpError) -> PublishError {
    PublishError::Retry { why: error.to_string(), after: None, is_down: error.is_down() }
}
