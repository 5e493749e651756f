//! When a study is complete, and the sinks that are told of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidegate_catalogue::Following;

/// See the module.
#[derive(Debug, Default)]
pub struct EventSettings {
    /// What the catalogue follows.
    pub following: Following,
    /// Whether the sources of studies are asked how many instances they have: those that are peers.
    pub asks_sources: bool,
    /// The `source` of every event: this node.
    pub source: String,
    /// Each has a name of its own.
    pub sinks: Vec<SinkSettings>,
}

/// A sink of events.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name.
    pub name: String,
    /// How events get there.
    pub kind: SinkKind,
    /// Whether events name the patient.
    pub patient: bool,
    /// An event is dead that could not be published for so long.
    pub retry_for: Duration,
}

/// How events get to a sink.
#[derive(Clone, Debug)]
pub enum SinkKind {
    /// HTTP POST.
    Webhook(WebhookSettings),
    /// NATS JetStream.
    Nats(NatsSettings),
    /// AMQP 0-9-1.
    Amqp(AmqpSettings),
}

/// A receiver of HTTP requests.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Its host: a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query, from the slash on.
    pub target: String,
    /// How it is called over TLS; `None`: without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The key of the signature.
    pub secret: Secret,
    /// Time for a request and its answer.
    pub timeout: Duration,
}

/// A server of NATS with JetStream.
#[derive(Clone, Debug)]
pub struct NatsSettings {
    /// Its host: a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is called over TLS; `None`: without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The subject of a message, with `{event}` for the type of the event.
    pub subject: String,
    /// Who the node is there; `None`: nobody.
    pub login: Option<BrokerLogin>,
    /// Time to connect, and for a message until it is acknowledged.
    pub timeout: Duration,
}

/// How the node shows a broker who it is.
#[derive(Clone, Debug)]
pub enum BrokerLogin {
    /// A token.
    Token(Secret),
    /// A user and its password.
    Password {
        /// The user.
        user: String,
        /// Its password, in UTF-8.
        password: Secret,
    },
}

/// A broker over AMQP 0-9-1.
#[derive(Clone, Debug)]
pub struct AmqpSettings {
    /// Its host: a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is called over TLS; `None`: without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The virtual host: at most 255 bytes.
    pub vhost: String,
    /// The exchange: at most 127 bytes.
    pub exchange: String,
    /// The user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// Time to connect, and for a message until it is confirmed.
    pub timeout: Duration,
}

/// A key that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Arc<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl EventSettings {
    /// The sink with this name.
    pub fn sink(&self, name: &str) -> Option<&SinkSettings> {
        self.sinks.iter().find(|sink| sink.name == name)
    }
}

impl SinkSettings {
    /// Its address, for people: without path and query, which may hold a secret.
    pub fn peer(&self) -> String {
        let (host, port, scheme) = match &self.kind {
            SinkKind::Webhook(WebhookSettings { host, port, tls, .. }) => {
                (host, port, if tls.is_some() { "https" } else { "http" })
            }
            SinkKind::Nats(NatsSettings { host, port, tls, .. }) => {
                (host, port, if tls.is_some() { "tls" } else { "nats" })
            }
            SinkKind::Amqp(AmqpSettings { host, port, tls, .. }) => {
                (host, port, if tls.is_some() { "amqps" } else { "amqp" })
            }
        };
        format!("{scheme}://{}", crate::network::calling::CallAddress { host: host.clone(), port: *port })
    }
}
