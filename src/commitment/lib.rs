//! The record of storage commitment requests (PS3.4 annex J): which were accepted, what became of the instances that they name, and what is still to
//! be reported to whom.
//!
//! [`Requests`] is the one writer of the file, [`Reader`] any number of readers. The file is derived from nothing: a request that was accepted is in it
//! and nowhere else, so [`Requests::accept`] is durable before it returns. A request goes this way:
//!
//! ```text
//!            accept          conclude            record_attempt: reported
//!   (peer) ─────────▶ Received ─────────▶ Evaluated ─────────────────────▶ Reported ─┐
//!                      │    ▲              │     ▲                                   ├─ 30 days ─▶ pruned
//!                      └────┘ wait         └─────┘ record_attempt: failed  ┌▶ Failed ┘
//!                                          └──── failed for `retry_for` ───┘
//! ```
//!
//! [`Requests::due`] says which request is next, in turns between peers; its caller looks for the instances
//! ([`Requests::references`], [`Requests::record_outcomes`]), then says [`Requests::conclude`], or [`Requests::wait`] while some may be on their way.
//! The outcome is looked at again before each attempt to report it, in the same way. An operator's [`Requests::retry`] puts a request that has ended
//! back to its beginning.
//!
//! Times are the caller's, in milliseconds since 1970 of a clock that may be set at any time: see [`Requests::due`] and [`LONGEST_STEP`] for what that
//! does. This crate has no sockets, actors or memory leases, and knows neither the catalogue nor the protocol that asked. `views.sql` is what
//! other programs may rely on.

mod design;
mod named;
mod progress;
mod prune;
mod reader;
mod refusals;
mod reported;
mod request;
mod requests;
mod rows;
mod schedule;

pub use design::{DESIGN, SCHEMA_VERSION};
pub use progress::{Attempt, Retried, Stands};
pub use prune::{KEPT, MAX_KEPT};
pub use reader::{Filter, Page, Reader};
pub use refusals::{MAX_REFUSALS, Sent};
pub use request::{Asked, Counts, Due, FailureReason, Outcome, Peer, Reference, Referenced, Request, State, Summary};
pub use requests::{
    MAX_PENDING, MAX_PENDING_OF_ADDRESS, MAX_PENDING_OF_PEER, MAX_PENDING_REFERENCES, MAX_PENDING_REFERENCES_OF_PEER,
    MAX_REFERENCES, NotAccepted, Requests,
};
pub use schedule::{FIRST_WAIT, HINDERED_WAIT, LONGEST_STEP, LONGEST_WAIT};
pub use tidegate_database::{Error, NotAUid, PackedUid, Remedy};
