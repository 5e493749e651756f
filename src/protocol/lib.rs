//! The DICOM upper layer (PS3.8) and DIMSE (PS3.7) of a storage SCP, and of an SCU, as state machines without sockets, clocks or files.
//!
//! The caller passes bytes to [`Association::poll`] and sends the bytes from [`Association::take_output`]; between them, [`Event`]s
//! report the progress. [`Requestor`] is used in the same way, for an association of this node's own. The caller reads the socket, stores datasets and keeps the time, so every transition can be tested with a byte
//! slice.
//!
//! | module | subject |
//! |---|---|
//! | [`state`] | the PS3.8 §9.2 state table |
//! | [`negotiation`] | the answer to each proposal: contexts, async window, roles, user identity |
//! | [`proxy`] | the header of the PROXY protocol: the address of the peer behind a balancer |
//! | [`syntaxes`] | the standard's storage SOP classes and transfer syntaxes |
//! | [`registry`] | the same as lists, for callers that enumerate them |
//! | [`command`] | DIMSE command sets, in and out (PS3.7 §6.3, Annex E) |
//! | [`status`] | status codes of C-STORE and N-ACTION |
//! | [`event`] | the events that an association reports to its caller |
//! | [`association`] | the acceptor: the state machine that combines them |
//! | [`requestor`] | the requestor: the proposal, the peer's answer to it, and the same state machine from the other side |
//! | [`commitment`] | the datasets of storage commitment, read and written as streams |
//! | [`query`] | the identifiers of a C-FIND |
//!
//! Five private modules lie between the bytes and the two sides: `framing` (headers, and PDUs out), `deframer` (cuts the byte stream
//! into PDUs and PDVs without copying), `message` (joins PDVs to messages), `sending` (cuts messages into PDVs) and `exchange` (what both
//! sides have in common).

pub mod association;
pub mod command;
pub mod commitment;
mod deframer;
pub mod event;
mod exchange;
mod framing;
mod message;
pub mod negotiation;
pub mod proxy;
pub mod query;
pub mod registry;
pub mod requestor;
mod sending;
pub mod state;
pub mod status;
pub mod syntaxes;

pub use association::Association;
pub use command::{Invocation, Operation, Priority, Response};
pub use event::{ActionRequest, Event, NotDicom, PeerAbort, ReportRequest, StoreRequest, Violation};
pub use negotiation::{
    AeTitles, AssociateRequest, ContextRefusal, Policy, RefusedContexts, Rejection, RequestFault, UserIdentity,
};
pub use requestor::Requestor;
pub use sending::CannotSend;
pub use state::State;
pub use status::{ActionStatus, ErrorComment, ReportStatus, Status};

/// Implementation Class UID of this node (PS3.7 §D.3.3.2), derived from a UUID (PS3.5 §B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.70292634656795476782220970862898428436";

/// Implementation Version Name (PS3.7 §D.3.3.2), at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "TIDEGATE_0_1";
