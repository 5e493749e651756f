//! An association: one actor per connection. It owns the socket, speaks through `tidegate_protocol`, assembles datasets and
//! hands them to the writers; the answer goes out when the writer's outcome is there.

mod connection;
mod incoming;
mod receive_buffer;
mod storing;

use std::net::SocketAddr;
use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use tidegate_memory::{Holder, MemoryLease};

use crate::admission::Admitted;
use crate::node::Shared;
use connection::Connection;

/// What each association holds from admission to its end, in bytes: its first receive segment (16 KiB), its actor and
/// connection (12 KiB measured), a command set (4 KiB). It is what lets every association make progress when the budget is spent.
pub const FLOOR_LEASE_BYTES: u64 = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Association {
    connection: Option<Arrival>,
    shared: Arc<Shared>,
}

/// An admitted connection on its way to the thread that will serve it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) socket: std::net::TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) admitted: Admitted,
    pub(crate) holder: Holder,
    pub(crate) floor: MemoryLease,
}

impl Association {
    pub(crate) fn new(arrival: Arrival, shared: Arc<Shared>) -> Self {
        Self { connection: Some(arrival), shared }
    }
}

impl Actor for Association {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(arrival) = self.connection.take() else {
            return ctx.stop();
        };
        match Connection::open(arrival, self.shared.clone()) {
            Ok(connection) => {
                ctx.spawn(connection.serve().into_actor(self).map(|(), _, ctx| ctx.stop()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection could not be taken over");
                ctx.stop();
            }
        }
    }
}
