//! The DICOM upper layer (PS3.8) and DIMSE (PS3.7) of a storage SCP, as a state machine without sockets, clocks or files.
//!
//! The caller passes bytes to [`Association::poll`] and sends the bytes from [`Association::take_output`]; between them, [`Event`]s
//! report the progress. The caller reads the socket, stores datasets and keeps the time, so every transition can be tested with a byte
//! slice.
//!
//! | module | subject |
//! |---|---|
//! | [`state`] | the acceptor's part of the PS3.8 §9.2 state table |
//! | [`negotiation`] | the answer to each proposal: contexts, async window, roles, user identity |
//! | [`proxy`] | the header of the PROXY protocol: the address of the peer behind a balancer |
//! | [`syntaxes`] | the standard's storage SOP classes and transfer syntaxes |
//! | [`registry`] | the same as lists, for callers that enumerate them |
//! | [`command`] | DIMSE command sets, in and out (PS3.7 §6.3, Annex E) |
//! | [`status`] | C-STORE status codes |
//! | [`event`] | the events that an association reports to its caller |
//! | [`association`] | the state machine that combines them |
//!
//! Three private modules lie between the bytes and [`association`]: `framing` (headers, and PDUs out), `deframer` (cuts the byte stream
//! into PDUs and PDVs without copying) and `message` (joins PDVs to messages).

pub mod association;
pub mod command;
mod deframer;
pub mod event;
mod framing;
mod message;
pub mod negotiation;
pub mod proxy;
pub mod registry;
pub mod state;
pub mod status;
pub mod syntaxes;

pub use association::Association;
pub use command::Operation;
pub use event::{Event, NotDicom, PeerAbort, StoreRequest, Violation};
pub use negotiation::{
    AeTitles, AssociateRequest, ContextRefusal, Policy, RefusedContexts, Rejection, RequestFault, UserIdentity,
};
pub use state::State;
pub use status::{ErrorComment, Status};

/// Implementation Class UID of this node (PS3.7 §D.3.3.2), derived from a UUID (PS3.5 §B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.70292634656795476782220970862898428436";

/// Implementation Version Name (PS3.7 §D.3.3.2), at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "TIDEGATE_0_1";
