//! Requests, and the instances that they name.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_database::PackedUid;

/// Who asked. A report goes to nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Its AE title, without padding.
    pub calling: String,
    /// Its address without port.
    pub address: String,
}

/// A request, as it comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Transaction UID (0008,1195), without padding.
    pub transaction_uid: String,
    /// Who asks.
    pub peer: Peer,
    /// The AE title by which it called this node.
    pub called: String,
    /// The number of the association in the log.
    pub association: u32,
}

/// An instance that is named in a request: Referenced SOP Class UID (0008,1150) and Referenced SOP Instance UID (0008,1155).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its class, as the peer says.
    pub sop_class: PackedUid,
    /// Its UID.
    pub sop_instance: PackedUid,
}

/// A reference of an accepted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// In the request, from 0.
    pub position: u32,
    /// What it names.
    pub reference: Reference,
    /// By the last evaluation; `None` before one has come to it.
    pub outcome: Option<Outcome>,
}

/// What this node answers for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is here, whole and durable.
    Committed,
    /// This node takes no responsibility for it.
    Failed(FailureReason),
}

/// Failure Reason (0008,1197), PS3.3 §C.14.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureReason {
    /// The file cannot be read, is damaged, or could not be looked for.
    ProcessingFailure,
    /// There is no such instance.
    NoSuchObjectInstance,
    /// It is of another SOP class.
    ClassInstanceConflict,
    /// This node does not store that class.
    ReferencedSopClassNotSupported,
    /// Its Transaction UID is in use.
    DuplicateTransactionUid,
    /// There are more references than this node takes.
    ResourceLimitation,
}

impl FailureReason {
    /// All of them, by code.
    pub const ALL: [Self; 6] = [
        Self::ProcessingFailure,
        Self::NoSuchObjectInstance,
        Self::ClassInstanceConflict,
        Self::ReferencedSopClassNotSupported,
        Self::DuplicateTransactionUid,
        Self::ResourceLimitation,
    ];

    /// The value of the element.
    pub const fn code(self) -> u16 {
        match self {
            Self::ProcessingFailure => 0x0110,
            Self::NoSuchObjectInstance => 0x0112,
            Self::ClassInstanceConflict => 0x0119,
            Self::ReferencedSopClassNotSupported => 0x0122,
            Self::DuplicateTransactionUid => 0x0131,
            Self::ResourceLimitation => 0x0213,
        }
    }

    /// The reason with that value.
    pub fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// For metrics, the API and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessingFailure => "processing failure",
            Self::NoSuchObjectInstance => "no such object instance",
            Self::ClassInstanceConflict => "class instance conflict",
            Self::ReferencedSopClassNotSupported => "referenced SOP class not supported",
            Self::DuplicateTransactionUid => "duplicate transaction UID",
            Self::ResourceLimitation => "resource limitation",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It is durable; its outcome is not known, since it is new or instances may be on their way.
    Received,
    /// Its outcome is known and is to be reported.
    Evaluated,
    /// The peer has taken the report.
    Reported,
    /// The report was given up, or could not be made.
    GivenUp,
}

impl State {
    /// For the API and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Evaluated => "evaluated",
            Self::Reported => "reported",
            Self::GivenUp => "given_up",
        }
    }

    /// Whether something is still to be done.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Received | Self::Evaluated)
    }

    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Received => 0,
            Self::Evaluated => 1,
            Self::Reported => 2,
            Self::GivenUp => 3,
        }
    }

    pub(crate) fn of(number: i64) -> Option<Self> {
        [Self::Received, Self::Evaluated, Self::Reported, Self::GivenUp]
            .into_iter()
            .find(|state| state.number() == number)
    }
}

/// A request in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number. No other request ever has it.
    pub id: i64,
    /// As it came in.
    pub asked: Asked,
    /// When it came in.
    pub received_ms: i64,
    /// How far it is.
    pub state: State,
    /// Instances that it names.
    pub instances: u32,
    /// Those of them that were committed by the last evaluation; 0 before the first has ended.
    pub committed: u32,
    /// Those of them that were not.
    pub refused: u32,
    /// When it is looked at next, if it is pending.
    pub next_ms: Option<i64>,
    /// Attempts to report it, since it was received or an operator retried it.
    pub attempts: u32,
    /// The peer's status in answer to the last attempt, if it gave one.
    pub last_status: Option<u16>,
    /// Why the last attempt failed or none could be made; empty if there is nothing to say.
    pub last_comment: String,
    /// For so long this node has tried to evaluate it, or since then to report it, in milliseconds. See [`LONGEST_STEP`](crate::LONGEST_STEP).
    pub tried_ms: i64,
    /// When the last evaluation ended.
    pub evaluated_ms: Option<i64>,
    /// When it was reported or failed.
    pub ended_ms: Option<i64>,
}

/// A request that is due: to be evaluated if it is [`State::Received`], and to be evaluated and reported if it is [`State::Evaluated`].
pub type Due = Request;

/// What an evaluation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Instances that are committed.
    pub committed: u32,
    /// Instances that are not, by reason.
    pub failed: BTreeMap<FailureReason, u32>,
}

/// What the record has in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests whose outcome is not known.
    pub received: u64,
    /// Requests whose outcome is to be reported.
    pub evaluated: u64,
    /// Requests whose report was given up, as far as they are kept.
    pub failed: u64,
    /// When the oldest pending request came in.
    pub oldest_ms: Option<i64>,
}
