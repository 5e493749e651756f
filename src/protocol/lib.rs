//! The DICOM upper layer (PS3.8) and DIMSE (PS3.7) of a storage SCP, as a state machine without sockets, clocks or files.
//!
//! Bytes go in through [`Association::poll`], what has to be sent comes out of [`Association::take_output`]; in between there
//! are [`Event`]s. Who reads the socket, who stores a dataset and what time it is are questions for the caller, so every
//! transition can be tested with a byte slice.
//!
//! | module | what it knows |
//! |---|---|
//! | [`state`] | the acceptor's part of the PS3.8 §9.2 state table |
//! | [`negotiation`] | which proposal gets which answer: contexts, async window, roles, user identity |
//! | [`proxy`] | the PROXY protocol's header: who the peer behind a balancer is |
//! | [`syntaxes`] | the standard's storage SOP classes and transfer syntaxes |
//! | [`registry`] | the same as lists, for whoever has to name them all |
//! | [`command`] | DIMSE command sets, in and out (PS3.7 §6.3, Annex E) |
//! | [`status`] | C-STORE status codes |
//! | [`event`] | what an association tells its caller |
//! | [`association`] | all of it together |
//!
//! Between the bytes and [`association`] stand three private ones: `framing` (headers, and PDUs out), `deframer` (the byte
//! stream cut into PDUs and PDVs, uncopied) and `message` (PDVs joined to messages).

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
pub use negotiation::{AssociateRequest, Policy, Rejection, UserIdentity};
pub use state::State;
pub use status::{ErrorComment, Status};

/// Implementation Class UID of this node (PS3.7 §D.3.3.2), derived from a UUID (PS3.5 §B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.70292634656795476782220970862898428436";

/// Implementation Version Name (PS3.7 §D.3.3.2), at most 16 characters.
pub const IMPLEMENTATION_VERSION_NAME: &str = "TIDEGATE_0_1";
