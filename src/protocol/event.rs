//! The events of an association: requests, data, and every way in which it can end.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::{CommandError, Operation, Response};
use crate::framing::pdu_type;
use crate::negotiation::{AssociateRequest, Rejection, RequestFault, is_for_storage};
use crate::state::Input;
use crate::status::{ActionStatus, ReportStatus};
use crate::syntaxes::{STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, unpadded};

/// An event from the bytes consumed so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A request awaits [`Association::accept`](crate::Association::accept) or [`reject`](crate::Association::reject).
    AssociateRequested(AssociateRequest),
    /// The policy rejected the request; the A-ASSOCIATE-RJ is in the output.
    Rejected(Rejection),
    /// The peer does not speak DICOM; no answer is sent.
    NotDicom(NotDicom),
    /// A C-STORE-RQ; its dataset follows unless [`StoreRequest::has_data_set`] is false. To be answered with
    /// [`Association::respond`](crate::Association::respond).
    StoreRequested(StoreRequest),
    /// An N-ACTION-RQ of the Storage Commitment Push Model; its dataset follows unless [`ActionRequest::has_data_set`] is false. To be answered
    /// with [`Association::respond_action`](crate::Association::respond_action).
    ActionRequested(ActionRequest),
    /// An N-EVENT-REPORT-RQ of the Storage Commitment Push Model, of whose SCP the peer has the role; its dataset follows unless
    /// [`ReportRequest::has_data_set`] is false. To be answered with [`Association::respond_report`](crate::Association::respond_report).
    ReportRequested(ReportRequest),
    /// The response to the N-EVENT-REPORT-RQ of [`Association::begin_event_report`](crate::Association::begin_event_report). A dataset of
    /// it was dropped.
    EventReported(Response),
    /// The next bytes of the dataset of a C-STORE-RQ, an N-ACTION-RQ or an N-EVENT-REPORT-RQ, without framing: a slice of the input, not a copy. Never empty, and cut as the peer and
    /// the network cut them, down to single bytes: each keeps the whole input buffer it came from alive.
    Fragment(Bytes),
    /// The dataset is complete.
    DatasetComplete,
    /// A C-ECHO was answered.
    Echoed,
    /// A request this node does not serve was answered with 0211; its Command Field.
    OperationRefused(u16),
    /// The peer asks for release: to be answered with [`Association::answer_release`](crate::Association::answer_release) once nothing is outstanding. A dataset
    /// that was under way is void.
    ReleaseRequested,
    /// The peer aborted, perhaps after this side did. An incomplete dataset is void.
    PeerAborted(PeerAbort),
    /// The peer broke the protocol; the A-ABORT is in the output. An incomplete dataset is void.
    Violated(Violation),
}

/// A C-STORE-RQ (PS3.7 §9.3.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// The fields that the response has to repeat.
    pub operation: Operation,
    /// Abstract syntax of the presentation context.
    pub abstract_syntax: Arc<str>,
    /// Transfer syntax of the presentation context: the encoding of the dataset.
    pub transfer_syntax: Arc<str>,
    /// False if the command says that no dataset follows.
    pub has_data_set: bool,
    /// The command set has elements of other groups than 0000, which are ignored.
    pub has_foreign_elements: bool,
}

impl StoreRequest {
    /// Affected SOP Class UID as it came: bytes of a peer, padding included.
    pub fn affected_sop_class_uid(&self) -> &[u8] {
        &self.operation.sop_class_uid
    }

    /// Affected SOP Instance UID as it came: bytes of a peer, padding included.
    pub fn affected_sop_instance_uid(&self) -> &[u8] {
        &self.operation.sop_instance_uid
    }

    /// Whether the context is one that instances can be stored on.
    pub fn is_storage_context(&self) -> bool {
        is_for_storage(&self.abstract_syntax)
    }
}

/// An N-ACTION-RQ (PS3.7 §10.3.4.1) on a presentation context of the Storage Commitment Push Model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRequest {
    /// The fields that the response has to repeat.
    pub operation: Operation,
    /// Transfer syntax of the presentation context: the encoding of the dataset.
    pub transfer_syntax: Arc<str>,
    /// False if the command says that no dataset follows.
    pub has_data_set: bool,
}

impl ActionRequest {
    /// Action Type ID (0000,1008); `None` if it is missing.
    pub fn action_type(&self) -> Option<u16> {
        self.operation.action_type
    }

    /// Why the command cannot be served, whatever its dataset is: another SOP class or SOP instance than the well-known one, or another
    /// action type than 1 (PS3.4 §J.3.2).
    pub fn fault(&self) -> Option<ActionStatus> {
        if !is(&self.operation.sop_class_uid, STORAGE_COMMITMENT) {
            return Some(ActionStatus::NoSuchSopClass);
        }
        if !is(&self.operation.sop_instance_uid, STORAGE_COMMITMENT_INSTANCE) {
            return Some(ActionStatus::NoSuchSopInstance);
        }
        (self.operation.action_type != Some(1)).then_some(ActionStatus::NoSuchAction)
    }
}

fn is(value: &[u8], uid: &str) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| unpadded(text) == uid)
}

/// An N-EVENT-REPORT-RQ (PS3.7 §10.3.1.1) on a presentation context of the Storage Commitment Push Model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// The fields that the response has to repeat.
    pub operation: Operation,
    /// Transfer syntax of the presentation context: the encoding of the dataset.
    pub transfer_syntax: Arc<str>,
    /// False if the command says that no dataset follows.
    pub has_data_set: bool,
}

impl ReportRequest {
    /// Why the command cannot be served, whatever its dataset is: another SOP class or SOP instance than the well-known one, or another event
    /// type than 1 and 2 (PS3.4 §J.3.3).
    pub fn fault(&self) -> Option<ReportStatus> {
        if !is(&self.operation.sop_class_uid, STORAGE_COMMITMENT) {
            return Some(ReportStatus::NoSuchSopClass);
        }
        if !is(&self.operation.sop_instance_uid, STORAGE_COMMITMENT_INSTANCE) {
            return Some(ReportStatus::NoSuchSopInstance);
        }
        (!matches!(self.operation.event_type, Some(1 | 2))).then_some(ReportStatus::NoSuchEventType)
    }
}

/// The protocol of a peer that does not speak DICOM, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotDicom {
    /// An HTTP request.
    Http,
    /// A TLS ClientHello.
    Tls,
    /// A PROXY header from an address that is not trusted to send one.
    Proxy,
}

/// Source and reason of the peer's A-ABORT (PS3.8 §9.3.8), as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAbort {
    /// 0 service-user, 2 service-provider.
    pub source: u8,
    /// Significant if the source is the service-provider.
    pub reason: u8,
}

impl PeerAbort {
    /// The source in the words of the standard.
    pub fn source_name(self) -> &'static str {
        match self.source {
            0 => "service-user",
            2 => "service-provider",
            _ => "reserved",
        }
    }

    /// The reason in the words of the standard; a service-user gives none.
    pub fn reason_name(self) -> Option<&'static str> {
        (self.source == 2).then_some(match self.reason {
            0 => "reason-not-specified",
            1 => "unrecognized-PDU",
            2 => "unexpected-PDU",
            4 => "unrecognized-PDU parameter",
            5 => "unexpected-PDU parameter",
            6 => "invalid-PDU-parameter value",
            _ => "reserved",
        })
    }
}

/// A violation of the protocol by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// A PDU of a type the standard does not know.
    #[error("unrecognized PDU of type {0:#04x}")]
    UnrecognizedPdu(u8),
    /// A PDU that is not allowed in the present state.
    #[error("{} PDU is out of place", pdu_name(*.0))]
    UnexpectedPdu(u8),
    /// A PDU longer than the limit, or of a length that its type cannot have.
    #[error("{} PDU of {length} bytes, which its type or a limit does not allow", pdu_name(*pdu_type))]
    PduLength {
        /// The type in the header.
        pdu_type: u8,
        /// The length in the header.
        length: u32,
    },
    /// An A-ASSOCIATE-RQ longer than [`Policy::max_request_length`](crate::Policy::max_request_length).
    #[error("A-ASSOCIATE-RQ of {length} bytes is longer than {allowed}")]
    RequestLength {
        /// The length in the header.
        length: u32,
        /// The limit.
        allowed: u32,
    },
    /// An A-ASSOCIATE-RQ that cannot be decoded.
    #[error("malformed A-ASSOCIATE-RQ: {0}")]
    MalformedRequest(RequestFault),
    /// An A-ASSOCIATE-AC that cannot be decoded.
    #[error("malformed A-ASSOCIATE-AC: {0}")]
    MalformedAcceptance(RequestFault),
    /// A PDV whose length does not fit its PDU.
    #[error("PDV of {0} bytes does not fit its PDU")]
    PdvLength(u32),
    /// A PDV on a presentation context that was not accepted.
    #[error("presentation context {0} was not accepted")]
    ContextNotAccepted(u8),
    /// A PDV that is not allowed in the present message: a dataset without a command, a command inside a dataset, a change of
    /// presentation context.
    #[error("PDV is out of place in the message under way")]
    UnexpectedPdv,
    /// A command set longer than [`Policy::max_command_set`](crate::Policy::max_command_set).
    #[error("command set is longer than {allowed} bytes")]
    CommandSetLength {
        /// The limit.
        allowed: u32,
    },
    /// A command set that cannot be executed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Violation {
    /// The name under which violations are counted: one of a dozen words of ours, never a string of the peer.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnrecognizedPdu(_) => "unrecognized_pdu",
            Self::UnexpectedPdu(_) => "unexpected_pdu",
            Self::PduLength { .. } | Self::RequestLength { .. } => "pdu_length",
            Self::MalformedRequest(_) => "malformed_request",
            Self::MalformedAcceptance(_) => "malformed_acceptance",
            Self::PdvLength(_) => "pdv_length",
            Self::ContextNotAccepted(_) => "context_not_accepted",
            Self::UnexpectedPdv => "unexpected_pdv",
            Self::CommandSetLength { .. } => "command_set_length",
            Self::Command(CommandError::Truncated) => "command_truncated",
            Self::Command(CommandError::MissingElement) => "command_missing_element",
            Self::Command(CommandError::UnexpectedResponse) => "unexpected_response",
        }
    }

    /// Reason of a service-provider A-ABORT (PS3.8 table 9-26).
    pub(crate) fn reason(self) -> u8 {
        match self {
            Self::UnrecognizedPdu(_) => 1,
            Self::UnexpectedPdu(_) => 2,
            Self::UnexpectedPdv => 5,
            Self::PduLength { .. }
            | Self::RequestLength { .. }
            | Self::MalformedRequest(_)
            | Self::MalformedAcceptance(_)
            | Self::PdvLength(_)
            | Self::ContextNotAccepted(_) => 6,
            Self::CommandSetLength { .. } | Self::Command(_) => 0,
        }
    }

    /// The row of the state table it falls under.
    pub(crate) fn input(self) -> Input {
        match self {
            Self::UnexpectedPdu(pdu_type) => input_of(pdu_type).unwrap_or(Input::Invalid),
            // The upper layer has nothing against these: it is DIMSE, its user, that does not go on.
            Self::CommandSetLength { .. } | Self::Command(_) => Input::RequestAbort,
            Self::UnrecognizedPdu(_)
            | Self::PduLength { .. }
            | Self::RequestLength { .. }
            | Self::MalformedRequest(_)
            | Self::MalformedAcceptance(_)
            | Self::PdvLength(_)
            | Self::ContextNotAccepted(_)
            | Self::UnexpectedPdv => Input::Invalid,
        }
    }
}

/// The name of a PDU type (PS3.8 §9.3.1).
fn pdu_name(pdu_type: u8) -> &'static str {
    match pdu_type {
        pdu_type::A_ASSOCIATE_RQ => "A-ASSOCIATE-RQ",
        pdu_type::A_ASSOCIATE_AC => "A-ASSOCIATE-AC",
        pdu_type::A_ASSOCIATE_RJ => "A-ASSOCIATE-RJ",
        pdu_type::P_DATA_TF => "P-DATA-TF",
        pdu_type::A_RELEASE_RQ => "A-RELEASE-RQ",
        pdu_type::A_RELEASE_RP => "A-RELEASE-RP",
        pdu_type::A_ABORT => "A-ABORT",
        _ => "unrecognized",
    }
}

/// The row of the state table a PDU type stands for.
pub(crate) fn input_of(pdu_type: u8) -> Option<Input> {
    Some(match pdu_type {
        pdu_type::A_ASSOCIATE_RQ => Input::AssociateRequest,
        pdu_type::A_ASSOCIATE_AC => Input::AssociateAccept,
        pdu_type::A_ASSOCIATE_RJ => Input::AssociateReject,
        pdu_type::P_DATA_TF => Input::Data,
        pdu_type::A_RELEASE_RQ => Input::ReleaseRequest,
        pdu_type::A_RELEASE_RP => Input::ReleaseReply,
        pdu_type::A_ABORT => Input::Abort,
        _ => return None,
    })
}

impl NotDicom {
    /// The name under which strangers are counted.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
        }
    }

    /// Tells a stranger by what a connection begins with. A PDU begins with a type from 1 to 7.
    pub(crate) fn recognize(first: &[u8]) -> Option<Self> {
        const METHODS: [&[u8]; 10] =
            [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE", b"CONNEC", b"OPTION", b"TRACE ", b"PATCH ", b"PRI * "];
        if first.starts_with(&[0x16, 3]) {
            return Some(Self::Tls); // a handshake record of any version (RFC 8446 §5.1)
        }
        if crate::proxy::begins(first) {
            return Some(Self::Proxy);
        }
        METHODS.iter().any(|method| first.starts_with(method)).then_some(Self::Http)
    }
}
