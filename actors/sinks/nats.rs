//! NATS JetStream: each event is a message that a stream has acknowledged. Its id is the event's, by which streams drop what they already have.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{ConnectOptions, connection::State};
use tokio::time::{Instant, timeout_at};

use super::event::{CONTENT_TYPE, EventOut, PublishError};
use crate::network::calling::CallAddress;
use crate::network::calling_tls::of_cause;
use crate::node::settings::{BrokerLogin, NatsSettings};

/// Where the subject has the type of the event.
const EVENT: &str = "{event}";
/// Messages that the client holds for the connection: one is published at a time.
const QUEUED: usize = 2;
/// The client asks a lost server once whether it is back, and ends; the next attempt connects anew.
const RECONNECTS: usize = 1;

/// See the module.
pub(super) struct Nats {
    settings: NatsSettings,
    kept: Option<Context>,
}

impl Nats {
    pub(super) fn new(settings: NatsSettings) -> Self {
        Self { settings, kept: None }
    }

    pub(super) async fn publish(&mut self, event: &EventOut) -> Result<(), PublishError> {
        let deadline = Instant::now() + self.settings.timeout;
        // A server may have closed a kept connection just now.
        if let Some(context) = self.kept.take()
            && context.client().connection_state() == State::Connected
            && let Ok(published) = timeout_at(deadline, self.attempt(context, event)).await
            && self.kept.is_some()
        {
            return published.map_err(|error| judge(&error));
        }
        let NatsSettings { host, port, timeout, .. } = &self.settings;
        let down = |why| PublishError::Retry { why, after: None, is_down: true };
        let address = CallAddress { host: host.clone(), port: *port };
        let late = format!("no acknowledgement within {}", humantime::format_duration(*timeout));
        match timeout_at(deadline, self.connect(&address)).await {
            Ok(Ok(context)) => match timeout_at(deadline, self.attempt(context, event)).await {
                Ok(published) => published.map_err(|error| judge(&error)),
                Err(_) => Err(down(late)),
            },
            Ok(Err(error)) => Err(down(match of_cause(&error) {
                Some(words) => format!("tls with {address}: {words}"),
                None => format!("cannot connect to {address}: {error}"),
            })),
            Err(_) => Err(down(format!("cannot connect to {address}: no answer in time"))),
        }
    }

    async fn connect(&self, address: &CallAddress) -> Result<Context, async_nats::ConnectError> {
        let NatsSettings { tls, login, timeout, .. } = &self.settings;
        let text = |secret: &[u8]| String::from_utf8_lossy(secret).into_owned();
        let mut options = ConnectOptions::new()
            .name("Tidegate")
            .client_capacity(QUEUED)
            .subscription_capacity(QUEUED)
            .max_reconnects(RECONNECTS)
            .connection_timeout(*timeout)
            // A server may name others, which no operator has said.
            .ignore_discovered_servers();
        match login {
            Some(BrokerLogin::Token(token)) => options = options.token(text(&token.0)),
            Some(BrokerLogin::Password { user, password }) => {
                options = options.user_and_password(user.clone(), text(&password.0));
            }
            None => {}
        }
        let scheme = if tls.is_some() { "tls" } else { "nats" };
        if let Some(tls) = tls {
            options = options.require_tls(true).tls_client_config((**tls).clone());
        }
        let client = options.connect(format!("{scheme}://{address}")).await?;
        Ok(context(client, *timeout))
    }

    /// The connection is kept if the server has answered.
    async fn attempt(&mut self, context: Context, event: &EventOut) -> Result<(), NatsError> {
        let subject = self.settings.subject.replace(EVENT, event.kind.name());
        let message = PublishMessage::build()
            .message_id(&event.id)
            .header("Content-Type", CONTENT_TYPE)
            .payload(event.body.clone().into());
        let published = match context.send_publish(subject, message).await {
            Ok(acknowledgement) => acknowledgement.await.map(drop),
            Err(error) => Err(error),
        };
        if published.as_ref().err().is_none_or(is_answer) {
            self.kept = Some(context);
        }
        published
    }
}

fn context(client: async_nats::Client, timeout: Duration) -> Context {
    ContextBuilder::new().timeout(timeout).ack_timeout(timeout).max_ack_inflight(QUEUED).build(client)
}

/// Whether the server has said so, over a connection that works.
fn is_answer(error: &NatsError) -> bool {
    use PublishErrorKind::{MaxPayloadExceeded, StreamNotFound, WrongLastMessageId, WrongLastSequence};
    matches!(error.kind(), StreamNotFound | MaxPayloadExceeded | WrongLastMessageId | WrongLastSequence)
}

fn judge(error: &NatsError) -> PublishError {
    let retry = |why, is_down| PublishError::Retry { why, after: None, is_down };
    match error.kind() {
        // Another event has another subject.
        PublishErrorKind::StreamNotFound => {
            retry("no stream takes this subject: add one to JetStream whose subjects match".to_owned(), false)
        }
        // It is too long, and will be.
        PublishErrorKind::MaxPayloadExceeded => PublishError::Refused { why: error.to_string() },
        _ => retry(error.to_string(), true),
    }
}
