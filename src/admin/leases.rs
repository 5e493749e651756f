//! The memory of the surface's clients, leased from the node's budget: connections, and responses until they are sent.
//!
//! Clients are served even if the budget is exhausted, because operators ask at that time. What they hold then is bounded: by the places and by
//! [`SMALL_ANSWER_BYTES`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::{self, Bytes};
use actix_web::{Error, HttpResponse};
use tidegate_actors::TLS_LEASE_BYTES;
use tidegate_memory::{Holder, MemoryLease, Stage};

use super::complaint::Complaint;

/// Longest head of a request, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 16 << 10;
/// Most of a request that is buffered, by the transport and by the library, and of an answer beside its body.
const CONNECTION_BYTES: u64 = (2 * MAX_HEAD_BYTES as u64) + (128 << 10);
/// An answer reaches the library in pieces of this size, since the library copies each into its buffer.
pub(super) const PIECE_BYTES: usize = 16 << 10;
/// A larger answer needs its lease.
const SMALL_ANSWER_BYTES: u64 = 64 << 10;

/// The account of the surface.
#[derive(Clone, Debug)]
pub(super) struct Leases(Arc<Holder>);

/// A lease that is returned when its connection closes.
#[derive(Default)]
pub(super) struct OfConnection(#[expect(dead_code, reason = "held, not read")] Option<MemoryLease>);

impl Leases {
    pub(super) fn new(account: Arc<Holder>) -> Self {
        Self(account)
    }

    /// Leases bytes, if the budget has them.
    pub(super) fn charge(&self, bytes: u64) -> Option<MemoryLease> {
        self.0.lease(Stage::Admin, bytes).ok()
    }

    /// Leases the memory of a connection, with or without TLS.
    pub(super) fn of_connection(&self, has_tls: bool) -> OfConnection {
        let tls = if has_tls { TLS_LEASE_BYTES } else { 0 };
        OfConnection(self.charge(CONNECTION_BYTES + tls))
    }
}

/// Leases each response of known length. The others are events, which have a lease of their own.
pub(super) async fn lease(
    leases: web::Data<Leases>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let response = next.call(request).await?.map_into_boxed_body();
    let bytes = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    let lease = if bytes == 0 { None } else { leases.charge(bytes) };
    if lease.is_none() && bytes > SMALL_ANSWER_BYTES {
        let complaint = Complaint::new("the memory budget has no room for this answer: try again");
        return Ok(response.into_response(HttpResponse::ServiceUnavailable().json(complaint)));
    }
    Ok(response.map_body(|_, body| Leased { body, rest: Bytes::new(), _lease: lease }.boxed()))
}

/// A body with its lease, in pieces.
struct Leased {
    body: BoxBody,
    rest: Bytes,
    _lease: Option<MemoryLease>,
}

impl MessageBody for Leased {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}
