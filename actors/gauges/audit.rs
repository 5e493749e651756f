//! The events of the audit trail: what security is accountable for. An [`AuditTrail`](super::audit_queue::AuditTrail) carries them to the
//! service that writes them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::network::source::Source;

/// An event with its time.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// The time.
    pub at: SystemTime,
    /// The event.
    pub event: AuditEvent,
    /// How often, by this source: the event is the last one.
    pub count: u64,
}

impl AuditRecord {
    /// The source that the record counts for, as one word: an address, a network, `node` or `operators`.
    pub fn source(&self) -> String {
        self.event.source().to_string()
    }
}

/// The source of an event. Sources share the room for evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuditSource {
    /// This node.
    Node,
    /// Its operators. They are authenticated, so their evidence does not share with strangers at the same address.
    Operators,
    /// A peer.
    Peer(Source),
}

impl fmt::Display for AuditSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("node"),
            Self::Operators => f.write_str("operators"),
            Self::Peer(source) => source.fmt(f),
        }
    }
}

/// An auditable event.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// The node has started to serve.
    Started,
    /// The node stops.
    Stopping,
    /// An association was accepted.
    Associated {
        /// The requestor.
        peer: AuditPeer,
    },
    /// The first instance of a study was stored on an association.
    TransferBegan {
        /// The sender.
        peer: AuditPeer,
        /// The study.
        study: AuditStudy,
    },
    /// Instances of a study were stored, up to the end of the association.
    Transferred {
        /// The sender.
        peer: AuditPeer,
        /// The study, with its instances by SOP class.
        study: AuditStudy,
        /// Instances that the association was refused, of any study.
        refused: u64,
    },
    /// The first instance of a study is sent to a destination on an association.
    DeliveryBegan {
        /// The destination.
        peer: AuditPeer,
        /// The study.
        study: AuditStudy,
    },
    /// Instances of a study were sent to a destination, up to the end of the association.
    Delivered {
        /// The destination.
        peer: AuditPeer,
        /// The study, with the instances that it has taken by SOP class.
        study: AuditStudy,
        /// Attempts of the study that have failed.
        failed: u64,
    },
    /// Stored instances were replaced by others with the same UIDs.
    Replaced {
        /// The sender of the new instances.
        peer: AuditPeer,
        /// The study, with its replaced instances by SOP class.
        study: AuditStudy,
    },
    /// Instances were stored beside others with the same UIDs.
    KeptBoth {
        /// The sender of the new instances.
        peer: AuditPeer,
        /// The study, with these instances by SOP class.
        study: AuditStudy,
    },
    /// Stored instances were deleted, since they are delivered.
    Deleted {
        /// The study, with its deleted instances by SOP class.
        study: AuditStudy,
    },
    /// An operator changed something.
    Operated {
        /// Who did it.
        operator: Operator,
        /// The change.
        operation: Operation,
    },
    /// An operator asked what is stored.
    Queried {
        /// Who asked.
        operator: Operator,
        /// What for.
        query: AuditQuery,
    },
    /// A peer asked for storage commitment, or was answered.
    Commitment {
        /// The peer. A report has no port of it.
        peer: AuditPeer,
        /// Transaction UID of the request.
        transaction_uid: String,
        /// What happened.
        step: CommitmentStep,
    },
    /// A peer was denied access.
    Denied {
        /// The identity that the peer claims.
        peer: AuditPeer,
        /// The reason.
        denial: Denial,
    },
}

/// A question of what is stored. It may name a patient.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuditQuery {
    /// The route that answers it, also where it came by another way.
    pub uri: String,
    /// The Study Instance UID, if it is about one study.
    pub study: Option<String>,
    /// The conditions of a search, as in the query string of its request.
    pub conditions: String,
}

/// An operator, as far as the node can tell.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// The proof of its right: a token, a certificate, a user of this machine, or a signal. Strings of a certificate are its issuer's.
    pub identity: String,
    /// The address; `None`: this machine.
    pub address: Option<IpAddr>,
}

/// A change that an operator made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Aborted the association with this id.
    Abort(u64),
    /// Stopped the admission of associations.
    Drain,
    /// Admitted associations again.
    EndDrain,
    /// Set this log level.
    LogLevel(String),
    /// Had the configuration read again. False: it was refused.
    Reload(bool),
    /// Took a heap profile.
    Profile,
    /// Had this request for storage commitment reported now.
    RetryCommitment(i64),
    /// Changed deliveries: what was done, in words.
    Deliveries(String),
}

impl AuditEvent {
    /// Whether it is about instances, the node or its operators, and not about peers that come and go.
    pub fn is_evidence(&self) -> bool {
        self.contact().is_none()
    }

    /// The source that the event counts for.
    pub(crate) fn source(&self) -> AuditSource {
        match self {
            Self::Started | Self::Stopping | Self::Deleted { .. } => AuditSource::Node,
            Self::Operated { .. } | Self::Queried { .. } => AuditSource::Operators,
            Self::Associated { peer }
            | Self::TransferBegan { peer, .. }
            | Self::Transferred { peer, .. }
            | Self::DeliveryBegan { peer, .. }
            | Self::Delivered { peer, .. }
            | Self::Replaced { peer, .. }
            | Self::KeptBoth { peer, .. }
            | Self::Commitment { peer, .. }
            | Self::Denied { peer, .. } => AuditSource::Peer(Source::of(peer.address.ip())),
        }
    }

    /// The peer of an event that any stranger can cause, and a word for its kind.
    pub(crate) fn contact(&self) -> Option<(&AuditPeer, &'static str)> {
        match self {
            Self::Associated { peer } => Some((peer, "associated")),
            Self::Denied { peer, denial } => Some((peer, denial.name())),
            Self::Started
            | Self::Stopping
            | Self::Deleted { .. }
            | Self::TransferBegan { .. }
            | Self::Transferred { .. }
            | Self::DeliveryBegan { .. }
            | Self::Delivered { .. }
            | Self::Replaced { .. }
            | Self::KeptBoth { .. }
            | Self::Commitment { .. }
            | Self::Operated { .. }
            | Self::Queried { .. } => None,
        }
    }
}

/// The peer of an association. The strings of one that has called are not trusted.
#[derive(Clone, Debug)]
pub struct AuditPeer {
    /// The address.
    pub address: SocketAddr,
    /// The calling AE title, empty before the A-ASSOCIATE-RQ; of a destination, the called one.
    pub ae_title: String,
    /// The subject of the peer's certificate; empty without one.
    pub certificate: String,
}

/// Instances of one study. The values are those of the datasets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStudy {
    /// Study Instance UID.
    pub uid: String,
    /// Patient ID.
    pub patient_id: String,
    /// SOP Class UIDs, each with its number of instances.
    pub sop_classes: Vec<(String, u64)>,
}

/// A step of storage commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitmentStep {
    /// The request was recorded.
    Requested {
        /// Instances that it names.
        instances: u64,
    },
    /// The peer has taken the report.
    Reported {
        /// Instances that the node has taken responsibility for.
        committed: u32,
        /// Those that it has not.
        failed: u32,
    },
    /// The report was given up.
    GivenUp,
}

/// The reason to deny a peer access.
#[derive(Clone, Debug)]
pub enum Denial {
    /// The TLS handshake failed, with this error.
    TlsHandshake(String),
    /// No access rule allows the peer. The rule that denies it, by name.
    Access(Option<String>),
    /// Its user identity is missing or wrong.
    UserIdentity,
    /// The balancer sent no PROXY header.
    NoProxyHeader,
    /// A client of the admin surface has shown no token, a wrong one, or a certificate that may only read.
    Operator,
}

impl Denial {
    /// The name in logs and in the metric of denials.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::TlsHandshake(_) => "tls_handshake",
            Self::Access(_) => "access",
            Self::UserIdentity => "user_identity",
            Self::NoProxyHeader => "no_proxy_header",
            Self::Operator => "operator",
        }
    }
}
