//! Sinks: other systems that are told of events. One child a sink reads what is owed to it, publishes it, and has the outcomes noted.
//!
//! | module | is |
//! |---|---|
//! | [`actor`] | the child: what is due is begun, and outcomes are noted |
//! | [`page`] | the events that are in memory, and their order |
//! | [`settling`] | the outcome of each attempt |
//! | [`event`] | an event as it is published, and how an attempt may fail |
//! | [`publisher`] | the kinds of sinks, a file each |
//! | [`amqp`] | a broker over AMQP 0-9-1 |
//! | [`nats`] | NATS JetStream |
//! | [`webhook`] | a receiver of HTTP requests |
//! | [`signature`] | the signature of a request |
//! | [`http`] | one HTTP/1.1 request at a time over a connection |
//! | [`shared`] | the figures, for operators |
//!
//! Invariant: an event is published at least once, and behind the earlier ones of its study. What is owed is rows of the catalogue: nothing is lost with
//! this process, and an event whose outcome was not noted is published again under the same id.

pub(crate) mod actor;
mod amqp;
pub(crate) mod event;
mod http;
mod nats;
mod page;
mod publisher;
mod settling;
pub(crate) mod shared;
mod signature;
mod webhook;

pub use event::{CloudEvent, event_id};
pub(crate) use shared::Shared;
pub use shared::{SinkPhase, SinkState};
