//! How a destination behaves: which contexts it accepts, and how it answers each message.

use std::net::SocketAddr;
use std::time::Duration;

use dicom_ul::pdu::PresentationContextProposed;

/// What the destination does with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Status(u16),
    /// Only after so long.
    Late(Duration, u16),
    /// Never.
    Silence,
    Abort,
    Close,
    /// The connection is reset when the first bytes of the dataset are there.
    CloseInTheMiddle,
}

/// What the destination does with a request for commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// It reports on the same association.
    Here,
    /// It reports on an association that it opens to that address.
    There(SocketAddr),
    /// It takes the request, and does not report.
    Silence,
    /// It does not even answer.
    Hang,
    /// It reports this request and all before it, on the same association and at once.
    All,
    /// It refuses the request.
    Status(u16),
    /// It closes the connection.
    #[cfg_attr(not(feature = "test-faults"), allow(dead_code, reason = "a test of a build for tests alone"))]
    Close,
}

type Accept = dyn Fn(&PresentationContextProposed) -> Option<String> + Send + Sync;
type Committing = dyn Fn(usize, &[String]) -> Commit + Send + Sync;
type Judge = dyn Fn(&str, usize) -> Option<u16> + Send + Sync;
type Answer = dyn Fn(&str, usize) -> Reply + Send + Sync;

/// How a destination behaves.
pub(crate) struct Behaviour {
    /// The transfer syntax that is accepted for a context.
    pub(crate) accept: Box<Accept>,
    /// The reply to an instance, by its UID and the number of instances before it.
    pub(crate) answer: Box<Answer>,
    /// What is done with a request for commitment, by the number of requests before it and its instances.
    pub(crate) commit: Box<Committing>,
    /// The reason why an instance is not committed, by its UID and the number of requests before.
    pub(crate) judge: Box<Judge>,
    pub(crate) max_pdu_length: u32,
    /// Operations that may be outstanding; 1: it does not answer that item.
    pub(crate) window: u16,
    /// Associations at a time; others are rejected.
    pub(crate) most_associations: usize,
    /// Every association is rejected: called AE title not recognized.
    pub(crate) rejects: bool,
    /// C-ECHO is answered.
    pub(crate) echoes: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            accept: Box::new(|context| context.transfer_syntaxes.first().cloned()),
            answer: Box::new(|_, _| Reply::Status(0)),
            commit: Box::new(|_, _| Commit::Here),
            judge: Box::new(|_, _| None),
            max_pdu_length: 16_384,
            window: 1,
            most_associations: usize::MAX,
            rejects: false,
            echoes: true,
        }
    }
}
