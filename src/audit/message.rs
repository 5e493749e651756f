//! Audit messages in the XML of PS3.15 §A.5. Each is one line.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::unprintable::is_unprintable;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tidegate_actors::gauges::audit::{
    AuditEvent, AuditPeer, AuditQuery, AuditRecord, AuditStudy, CommitmentStep, Denial, Operation, Operator,
};

/// The node, as messages name it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) ae_title: String,
    pub(crate) host: String,
    pub(crate) process_id: u32,
}

/// The outcome of an event (PS3.15 table A.5.2-1).
#[derive(Clone, Copy)]
enum Outcome {
    Success = 0,
    MinorFailure = 4,
    SeriousFailure = 8,
}

/// The subject of a message: code and meaning of the event and of its type (PS3.16 context groups 400 and 401), and the action.
struct Kind {
    id: (&'static str, &'static str),
    type_code: Option<(&'static str, &'static str)>,
    action: char,
}

const ACTIVITY: (&str, &str) = ("110100", "Application Activity");
const BEGIN: Kind = Kind { id: ("110102", "Begin Transferring DICOM Instances"), type_code: None, action: 'E' };
const TRANSFERRED: Kind = Kind { id: ("110104", "DICOM Instances Transferred"), type_code: None, action: 'C' };
const REPLACED: Kind = Kind { id: ("110103", "DICOM Instances Accessed"), type_code: None, action: 'U' };
const KEPT_BOTH: Kind = Kind { action: 'C', ..REPLACED };
/// The standard has no message for storage commitment: the node has looked at the instances.
const COMMITMENT: Kind = Kind { action: 'R', ..REPLACED };
const RESTRICTED: Kind =
    Kind { id: ("110113", "Security Alert"), type_code: Some(("110132", "Use of Restricted Function")), action: 'E' };
const CONFIGURED: Kind =
    Kind { id: ("110113", "Security Alert"), type_code: Some(("110129", "Security Configuration")), action: 'E' };
const NODE: Kind =
    Kind { id: ("110113", "Security Alert"), type_code: Some(("110126", "Node Authentication")), action: 'E' };
const DELETED: Kind = Kind { id: ("110105", "DICOM Study Deleted"), type_code: None, action: 'D' };
const QUERY: Kind = Kind { id: ("110112", "Query"), type_code: None, action: 'E' };
const LOGIN: Kind = Kind { id: ("110114", "User Authentication"), type_code: Some(("110122", "Login")), action: 'E' };

const APPLICATION: (&str, &str) = ("110150", "Application");
const SOURCE: (&str, &str) = ("110153", "Source Role ID");
const DESTINATION: (&str, &str) = ("110152", "Destination Role ID");

/// The message for a record.
pub(crate) fn xml(record: &AuditRecord, origin: &Origin) -> String {
    let mut out = Xml(String::with_capacity(1024));
    out.0.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?><AuditMessage>");
    let at = humantime::format_rfc3339_millis(record.at).to_string();
    match &record.event {
        AuditEvent::Started => {
            let kind = Kind { id: ACTIVITY, type_code: Some(("110120", "Application Start")), action: 'E' };
            out.event(&kind, &at, Outcome::Success, "");
            out.node(origin, APPLICATION);
            out.source(origin);
        }
        AuditEvent::Stopping => {
            let kind = Kind { id: ACTIVITY, type_code: Some(("110121", "Application Stop")), action: 'E' };
            out.event(&kind, &at, Outcome::Success, "");
            out.node(origin, APPLICATION);
            out.source(origin);
        }
        // The standard has no message for an association. The nearest one is a user's log-on: the peer's application entity logs on,
        // authenticated as far as the configuration requires (PS3.15 §A.5.3.12).
        AuditEvent::Associated { peer } => {
            out.event(&LOGIN, &at, Outcome::Success, &times("association accepted".to_owned(), record.count));
            out.peer(peer, SOURCE);
            out.node(origin, DESTINATION);
            out.source(origin);
        }
        AuditEvent::TransferBegan { peer, study } => {
            out.event(&BEGIN, &at, Outcome::Success, "");
            out.transfer(peer, study, origin);
        }
        AuditEvent::Transferred { peer, study, refused } => {
            let (outcome, described) = match refused {
                0 => (Outcome::Success, String::new()),
                _ => (Outcome::MinorFailure, format!("{refused} instances of the association were refused")),
            };
            out.event(&TRANSFERRED, &at, outcome, &described);
            out.transfer(peer, study, origin);
        }
        AuditEvent::DeliveryBegan { peer, study } => out.delivery(&BEGIN, &at, 0, peer, study, origin),
        AuditEvent::Delivered { peer, study, failed } => {
            out.delivery(&TRANSFERRED, &at, *failed, peer, study, origin);
        }
        AuditEvent::Replaced { peer, study } => {
            out.event(&REPLACED, &at, Outcome::Success, "stored instances replaced by others with the same UIDs");
            out.transfer(peer, study, origin);
        }
        AuditEvent::KeptBoth { peer, study } => {
            out.event(&KEPT_BOTH, &at, Outcome::Success, "instances stored beside others with the same UIDs");
            out.transfer(peer, study, origin);
        }
        // Some instances of a study go at a time: the description says so (PS3.15 §A.5.3.8).
        AuditEvent::Deleted { study } => {
            out.event(&DELETED, &at, Outcome::Success, "instances of the study deleted, which are delivered");
            out.node(origin, APPLICATION);
            out.source(origin);
            out.study(study);
        }
        AuditEvent::Commitment { peer, transaction_uid, step } => {
            let (outcome, described) = committed(*step, transaction_uid);
            out.event(&COMMITMENT, &at, outcome, &described);
            out.peer(peer, SOURCE);
            out.node(origin, DESTINATION);
            out.source(origin);
        }
        AuditEvent::Operated { operator, operation } => out.operated(operator, operation, &at, origin),
        AuditEvent::Queried { operator, query } => out.queried(operator, query, record.count, &at, origin),
        AuditEvent::Denied { peer, denial } => out.denied(peer, denial, record.count, &at, origin),
    }
    out.0.push_str("</AuditMessage>");
    out.0
}

/// A step of storage commitment.
fn committed(step: CommitmentStep, transaction_uid: &str) -> (Outcome, String) {
    match step {
        CommitmentStep::Requested { instances } => (
            Outcome::Success,
            format!("storage commitment of {instances} instances requested, transaction {transaction_uid}"),
        ),
        CommitmentStep::Reported { committed, failed } => {
            let outcome = if failed == 0 { Outcome::Success } else { Outcome::MinorFailure };
            let described = format!(
                "storage commitment of {committed} instances reported, and {failed} failed, transaction {transaction_uid}"
            );
            (outcome, described)
        }
        CommitmentStep::GivenUp => {
            (Outcome::SeriousFailure, format!("report of storage commitment given up, transaction {transaction_uid}"))
        }
    }
}

/// The description of a message that stands for several events.
fn times(described: String, count: u64) -> String {
    if count == 1 { described } else { format!("{described}; {count} times within a minute, the last by this peer") }
}

/// The description of a question that stands for its repetitions.
fn repeated(count: u64) -> String {
    if count == 1 { String::new() } else { format!("asked {count} times more within a minute") }
}

struct Xml(String);

impl Xml {
    fn operated(&mut self, operator: &Operator, operation: &Operation, at: &str, origin: &Origin) {
        let (kind, outcome, described) = match operation {
            Operation::Abort(id) => (RESTRICTED, Outcome::Success, format!("association {id} aborted")),
            Operation::Profile => (RESTRICTED, Outcome::Success, "heap profile taken".to_owned()),
            Operation::RetryCommitment(id) => {
                (RESTRICTED, Outcome::Success, format!("storage commitment request {id} put back to be reported"))
            }
            Operation::Deliveries(what) => (RESTRICTED, Outcome::Success, what.clone()),
            Operation::Drain => (RESTRICTED, Outcome::Success, "drained: new associations are rejected".to_owned()),
            Operation::EndDrain => (RESTRICTED, Outcome::Success, "drain ended".to_owned()),
            Operation::LogLevel(level) => (CONFIGURED, Outcome::Success, format!("log level set to {level}")),
            Operation::Reload(true) => (CONFIGURED, Outcome::Success, "configuration reloaded".to_owned()),
            Operation::Reload(false) => (CONFIGURED, Outcome::MinorFailure, "configuration not reloaded".to_owned()),
        };
        self.event(&kind, at, outcome, &described);
        self.operator(operator, origin);
        self.node(origin, DESTINATION);
        self.source(origin);
        self.alerted(origin);
    }

    /// A question of what is stored (PS3.15 §A.5.3.10). It is none of DICOM, so its object is the route, and the query its query string.
    fn queried(&mut self, operator: &Operator, query: &AuditQuery, count: u64, at: &str, origin: &Origin) {
        self.event(&QUERY, at, Outcome::Success, &repeated(count));
        self.operator(operator, origin);
        self.node(origin, DESTINATION);
        self.source(origin);
        let attributes = [
            ("ParticipantObjectID", query.uri.as_str()),
            ("ParticipantObjectTypeCode", "2"),
            ("ParticipantObjectTypeCodeRole", "24"),
        ];
        self.open("ParticipantObjectIdentification", &attributes);
        self.code("ParticipantObjectIDTypeCode", ("12", "URI"), "RFC-3881");
        self.open("ParticipantObjectQuery", &[]);
        self.0.push_str(&BASE64_STANDARD.encode(&query.conditions));
        self.0.push_str("</ParticipantObjectQuery></ParticipantObjectIdentification>");
        if let Some(study) = &query.study {
            self.object(study, "2", "3", ("110180", "Study Instance UID"), &[]);
        }
    }

    fn denied(&mut self, peer: &AuditPeer, denial: &Denial, count: u64, at: &str, origin: &Origin) {
        let (kind, described) = match denial {
            Denial::TlsHandshake(error) => (NODE, format!("TLS handshake failed: {error}")),
            Denial::Access(Some(rule)) => (NODE, format!("association rejected: denied by access rule {rule:?}")),
            Denial::Access(None) => (NODE, "association rejected: no access rule allows it".to_owned()),
            Denial::NoProxyHeader => (NODE, "connection refused: no PROXY header".to_owned()),
            Denial::UserIdentity => (LOGIN, "association rejected: user identity is missing or wrong".to_owned()),
            Denial::Operator => (LOGIN, "admin surface: no valid token, or no certificate of an operator".to_owned()),
        };
        self.event(&kind, at, Outcome::SeriousFailure, &times(described, count));
        self.peer(peer, SOURCE);
        self.node(origin, DESTINATION);
        self.source(origin);
        if kind.id == NODE.id {
            self.alerted(origin);
        }
    }

    /// The subject of a security alert, here this node (PS3.15 §A.5.3.11).
    fn alerted(&mut self, origin: &Origin) {
        self.object(&origin.host, "2", "13", ("110182", "Node ID"), &[]);
    }

    fn event(&mut self, kind: &Kind, at: &str, outcome: Outcome, described: &str) {
        let (action, outcome) = (kind.action.to_string(), (outcome as u8).to_string());
        self.open(
            "EventIdentification",
            &[("EventActionCode", &action), ("EventDateTime", at), ("EventOutcomeIndicator", &outcome)],
        );
        self.code("EventID", kind.id, "DCM");
        if let Some(type_code) = kind.type_code {
            self.code("EventTypeCode", type_code, "DCM");
        }
        if !described.is_empty() {
            self.0.push_str("<EventOutcomeDescription>");
            self.text(described);
            self.0.push_str("</EventOutcomeDescription>");
        }
        self.0.push_str("</EventIdentification>");
    }

    fn transfer(&mut self, peer: &AuditPeer, study: &AuditStudy, origin: &Origin) {
        self.peer(peer, SOURCE);
        self.node(origin, DESTINATION);
        self.source(origin);
        self.study(study);
    }

    /// A transfer to a peer that this node has called, which has not taken so many instances.
    fn delivery(&mut self, kind: &Kind, at: &str, failed: u64, peer: &AuditPeer, study: &AuditStudy, origin: &Origin) {
        let outcome = match failed {
            0 => Outcome::Success,
            _ if study.sop_classes.is_empty() => Outcome::SeriousFailure,
            _ => Outcome::MinorFailure,
        };
        let described = match failed {
            0 => String::new(),
            1 => "1 instance was not taken; it is tried again, or given up".to_owned(),
            _ => format!("{failed} instances were not taken; each is tried again, or given up"),
        };
        self.event(kind, at, outcome, &described);
        self.node_in(origin, SOURCE, true);
        self.peer_in(peer, DESTINATION, false);
        self.source(origin);
        self.study(study);
    }

    fn study(&mut self, study: &AuditStudy) {
        self.object(&study.uid, "2", "3", ("110180", "Study Instance UID"), &study.sop_classes);
        self.object(&study.patient_id, "1", "1", ("2", "Patient Number"), &[]);
    }

    /// A peer that has called.
    fn peer(&mut self, peer: &AuditPeer, role: (&str, &str)) {
        self.peer_in(peer, role, true);
    }

    fn peer_in(&mut self, peer: &AuditPeer, role: (&str, &str), is_requestor: bool) {
        let ip = SocketAddr::ip(&peer.address).to_canonical().to_string();
        let titles = format!("AETITLES={}", peer.ae_title);
        let user = if peer.ae_title.is_empty() { &ip } else { &peer.ae_title };
        let mut attributes = vec![("UserID", user.as_str())];
        if !peer.ae_title.is_empty() {
            attributes.push(("AlternativeUserID", &titles));
        }
        if !peer.certificate.is_empty() {
            attributes.push(("UserName", &peer.certificate));
        }
        // 2: an IP address (PS3.15 table A.5.2-1).
        attributes.extend([
            ("UserIsRequestor", if is_requestor { "true" } else { "false" }),
            ("NetworkAccessPointID", &ip),
            ("NetworkAccessPointTypeCode", "2"),
        ]);
        self.participant(&attributes, role);
    }

    /// The operator, by the proof of its right. Without an address it is a user of this machine.
    fn operator(&mut self, operator: &Operator, origin: &Origin) {
        let address = operator.address.map(|address| address.to_string());
        let (access_point, kind) = address.as_deref().map_or((origin.host.as_str(), "1"), |address| (address, "2"));
        let attributes = [
            ("UserID", operator.identity.as_str()),
            ("UserIsRequestor", "true"),
            ("NetworkAccessPointID", access_point),
            ("NetworkAccessPointTypeCode", kind),
        ];
        self.participant(&attributes, SOURCE);
    }

    /// This node, which was called.
    fn node(&mut self, origin: &Origin, role: (&str, &str)) {
        self.node_in(origin, role, false);
    }

    fn node_in(&mut self, origin: &Origin, role: (&str, &str), is_requestor: bool) {
        let titles = format!("AETITLES={}", origin.ae_title);
        // 1: a machine name.
        let attributes = [
            ("UserID", origin.ae_title.as_str()),
            ("AlternativeUserID", &titles),
            ("UserIsRequestor", if is_requestor { "true" } else { "false" }),
            ("NetworkAccessPointID", &origin.host),
            ("NetworkAccessPointTypeCode", "1"),
        ];
        self.participant(&attributes, role);
    }

    fn participant(&mut self, attributes: &[(&str, &str)], role: (&str, &str)) {
        self.open("ActiveParticipant", attributes);
        self.code("RoleIDCode", role, "DCM");
        self.0.push_str("</ActiveParticipant>");
    }

    /// The audit source: a process of an application server (PS3.15 table A.5.2-1, type 4).
    fn source(&mut self, origin: &Origin) {
        let id = format!("{}@{}", origin.ae_title, origin.host);
        self.open("AuditSourceIdentification", &[("AuditSourceID", &id)]);
        self.0.push_str("<AuditSourceTypeCode csd-code=\"4\"/></AuditSourceIdentification>");
    }

    fn object(&mut self, id: &str, kind: &str, role: &str, id_type: (&str, &str), sop_classes: &[(String, u64)]) {
        let attributes =
            [("ParticipantObjectID", id), ("ParticipantObjectTypeCode", kind), ("ParticipantObjectTypeCodeRole", role)];
        self.open("ParticipantObjectIdentification", &attributes);
        let scheme = if id_type.0.len() == 1 { "RFC-3881" } else { "DCM" };
        self.code("ParticipantObjectIDTypeCode", id_type, scheme);
        // The schema requires a name. The node reads no patient's name for it.
        self.open_empty("ParticipantObjectName", &[]);
        if !sop_classes.is_empty() {
            self.open("ParticipantObjectDescription", &[]);
            for (uid, count) in sop_classes {
                self.open_empty("SOPClass", &[("UID", uid), ("NumberOfInstances", &count.to_string())]);
            }
            self.0.push_str("</ParticipantObjectDescription>");
        }
        self.0.push_str("</ParticipantObjectIdentification>");
    }

    fn code(&mut self, name: &str, (code, meaning): (&str, &str), scheme: &str) {
        self.open_empty(name, &[("csd-code", code), ("codeSystemName", scheme), ("originalText", meaning)]);
    }

    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.0.push('>');
    }

    fn open_empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes);
        self.0.push_str("/>");
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.0.push('<');
        self.0.push_str(name);
        for (name, value) in attributes {
            let _ = write!(self.0, " {name}=\"");
            self.text(value);
            self.0.push('"');
        }
    }

    /// Text of a peer: characters that XML 1.0 excludes are replaced, and none ends the line or the element.
    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&apos;"),
                c if is_unprintable(c) => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
