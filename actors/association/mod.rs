//! An association: one actor for each connection.
//!
//! Invariant: a C-STORE is answered with success only after a writer's outcome. The association owns the socket, speaks through
//! `tidegate_protocol`, and is a source of datasets for [`crate::ingest`]. A `Connection` is composed of ten parts, each with its own
//! state: node, peer, io, session, inbound, handoffs, commitment, clock, record, leases.

mod arrival;
mod clock;
mod close;
mod commit;
mod commitment;
mod connection;
mod deviations;
mod end;
mod env;
mod file_meta;
mod io;
mod leases;
mod negotiate;
mod node;
mod pace;
mod passcodes;
mod peer;
mod preamble;
mod read;
mod receive_buffer;
mod record;
mod reported;
mod review;
mod session;
mod store;
mod wait;

use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use crate::gauges::counters::ActorCount;
use crate::ingest::sizing::BULK_SEGMENT;
use crate::ingest::{MAX_PARTS_UNDER_WAY, SPOOL_CHUNK};
use crate::network::admission::FLOOR_LEASE_BYTES;
use crate::network::transport::TLS_LEASE_BYTES;
use crate::node::settings::{AssociationSettings, LiveSettings};
pub(crate) use arrival::Arrival;
use connection::Connection;
pub(crate) use env::Env;
pub(crate) use passcodes::PasscodeQueue;

/// The actor of one association.
pub struct Association {
    connection: Option<Arrival>,
    env: Arc<Env>,
    _actor_count: ActorCount,
}

impl LiveSettings {
    /// The most that an association can need, in bytes: a full window of operations at the writers and one dataset that arrives, each up
    /// to the spool threshold and a segment on either side, and the spool parts in flight.
    pub(crate) fn association_limit_bytes(&self) -> u64 {
        let AssociationSettings { policy, spool_threshold_bytes, .. } = &self.associations;
        let dataset = spool_threshold_bytes + 2 * BULK_SEGMENT as u64;
        (u64::from(policy.async_operations) + 2) * dataset
            + (MAX_PARTS_UNDER_WAY as u64 + 1) * SPOOL_CHUNK
            + FLOOR_LEASE_BYTES
            + TLS_LEASE_BYTES
            + 2 * u64::from(policy.max_request_length) // the request, and the contexts that it proposes
    }
}

impl Association {
    pub(crate) fn new(arrival: Arrival, env: Arc<Env>) -> Self {
        let _actor_count = ActorCount::new(&env.gauges.counters);
        Self { connection: Some(arrival), env, _actor_count }
    }
}

impl Actor for Association {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(arrival) = self.connection.take() else {
            return ctx.stop();
        };
        match Connection::open(arrival, self.env.clone()) {
            Ok(connection) => {
                ctx.spawn(Box::new(connection).serve().into_actor(self).map(|(), _, ctx| ctx.stop()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot register the connection with its thread");
                ctx.stop();
            }
        }
    }
}
