//! The memory of the surface's clients, leased from the node's budget: connections, and responses until they are sent.
//!
//! Clients are served even if the budget is exhausted, because operators ask at that time. They are few.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Bytes};
use tidegate_actors::TLS_LEASE_BYTES;
use tidegate_memory::{Holder, MemoryLease, Stage};

/// Most of a request that is buffered before it is refused (actix-http's `MAX_BUFFER_SIZE`), and of an answer beside its body.
const CONNECTION_BYTES: u64 = (128 + 32) << 10;

/// The account of the surface.
#[derive(Clone, Debug)]
pub(super) struct Leases(Arc<Holder>);

/// A lease that is returned when its connection closes.
struct OfConnection(#[expect(dead_code, reason = "held, not read")] Option<MemoryLease>);

impl Leases {
    pub(super) fn new(account: Holder) -> Self {
        Self(Arc::new(account))
    }

    /// Leases bytes, if the budget has them.
    pub(super) fn charge(&self, bytes: u64) -> Option<MemoryLease> {
        self.0.lease(Stage::Admin, bytes).ok()
    }

    /// Leases the memory of a connection, with or without TLS.
    pub(super) fn on_connect(&self, connection: &dyn Any, extensions: &mut Extensions) {
        let tls = if connection.is::<TcpStream>() { 0 } else { TLS_LEASE_BYTES };
        extensions.insert(OfConnection(self.charge(CONNECTION_BYTES + tls)));
    }
}

/// Leases each response of known length. The others are events, which have a lease of their own.
pub(super) async fn lease(
    leases: web::Data<Leases>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| {
        let lease = match body.size() {
            BodySize::Sized(bytes @ 1..) => leases.charge(bytes),
            BodySize::None | BodySize::Sized(0) | BodySize::Stream => None,
        };
        Leased { body: body.boxed(), _lease: lease }.boxed()
    }))
}

/// A body with its lease.
struct Leased {
    body: BoxBody,
    _lease: Option<MemoryLease>,
}

impl MessageBody for Leased {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
