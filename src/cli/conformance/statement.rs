//! The sections of the statement, in the order of PS3.2 annex N.

use tidegate_actors::AccessSettings;
use tidegate_protocol::registry::{Registered, storage_sop_classes, transfer_syntaxes};
use tidegate_protocol::syntaxes::{APPLICATION_CONTEXT, VERIFICATION};
use tidegate_protocol::{ErrorComment, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, Rejection, Status};
use tidegate_storage::{Duplicates, Durability};

use super::page::{Subject, code, head, row, time};
use super::{commitment, delivery};
use crate::config::{ClientAuth, Settings, size_text};

pub(super) fn write(subject: &Subject<'_>) -> String {
    [
        overview(subject),
        introduction(),
        implementation_model(subject),
        services(subject),
        configuration(subject),
        network(subject),
        security(subject),
        annex(),
    ]
    .join("\n")
}

fn overview(subject: &Subject<'_>) -> String {
    let is_committing = commitment::is_offered(subject);
    let is_sending = !delivery::destinations(subject).is_empty();
    let yes = |is_so| if is_so { "yes" } else { "" };
    let rows = [
        row(["Verification", yes(is_sending), "yes"]),
        row(["Storage: every storage SOP class of the standard (annex A)", yes(is_sending), "yes"]),
        row(["Storage Commitment Push Model", yes(delivery::asks_for_commitment(subject)), yes(is_committing)]),
        row(["Study Root Query/Retrieve – FIND", yes(is_sending || delivery::queries_sources(subject)), ""]),
    ];
    format!(
        "# DICOM Conformance Statement: Tidegate {version}\n\n\
         Printed by `tidegate conformance` from the configuration in effect, in the structure of PS3.2 annex N. The copy in `docs/` is that of the \
         defaults.\n\n\
         ## 1 Overview\n\n\
         Tidegate receives SOP instances over the network, stores each as a DICOM file, and {commits}. {sends}\n\n\
         {head}{rows}\n\
         It supports no media storage application profile, no DICOMweb service and no real-time video.\n\n\
         ## 2 Table of contents\n\n\
         - [1 Overview](#1-overview)\n\
         - [3 Introduction](#3-introduction)\n\
         - [4 Implementation model](#4-implementation-model)\n\
         - [5 Service and interoperability description](#5-service-and-interoperability-description)\n\
         - [6 Configuration](#6-configuration)\n\
         - [7 Network and media communication details](#7-network-and-media-communication-details)\n\
         - [8 Security](#8-security)\n\
         - [Annex A: SOP classes and transfer syntaxes](#annex-a-sop-classes-and-transfer-syntaxes)\n",
        version = env!("CARGO_PKG_VERSION"),
        head = head(["Service", "SCU", "SCP"]),
        rows = rows.concat(),
        commits =
            if is_committing { "says by Storage Commitment which it has" } else { "offers no Storage Commitment" },
        sends = match is_sending {
            true => "It sends what it has stored to its destinations.",
            false => "It sends nothing by itself, since no destination is configured.",
        },
    )
}

fn introduction() -> String {
    format!(
        "## 3 Introduction\n\n\
         This statement is for modality and PACS administrators and integrators who connect a sender to this node and know the terms of the standard. \
         A comparison of two conformance statements is a first step and no proof: test the two systems with each other.\n\n\
         | | |\n|---|---|\n{}{}{}",
        row(["Product", &format!("Tidegate {}", env!("CARGO_PKG_VERSION"))]),
        row(["Implementation class UID", &code(IMPLEMENTATION_CLASS_UID)]),
        row(["Implementation version name", &code(IMPLEMENTATION_VERSION_NAME)]),
    )
}

fn implementation_model(subject: &Subject<'_>) -> String {
    let storage = &subject.settings.node.storage;
    let durable = match storage.durability {
        Durability::Fsync => {
            "its data, its name and every directory on the way to it are synced to the disk, or the whole instance is in a synced write-ahead log \
             from which a start restores it"
        }
        Durability::None => {
            "it is written; it is **not** synced, and a power failure may lose it (`storage.durability = \"none\"`)"
        }
    };
    format!(
        "## 4 Implementation model\n\n\
         One application entity, {ae}, waits for associations. Real-world activity: a remote AE sends instances; each is written to a \
         file below the storage root, and answered with success when {durable}. No part of an instance is in memory only after the response.\n\n\
         Instances are stored at **level 2 (full)** of PS3.4 §B.4.1: every attribute, standard and private, is kept. No dataset is \
         coerced or re-encoded. Of the values, only those of the elements that name its file are read: the file has \
         the received bytes, behind a file meta with the transfer syntax of their presentation context. Where the first elements prove \
         another native encoding, or Pixel Data in a compressed transfer syntax is native (PS3.5 §A.4), the file meta names the native \
         transfer syntax of the elements. Elements of groups 0000 and 0002 in front of the dataset are left out; the transfer syntax that \
         they name is taken if elements and Pixel Data agree with it. Each of these is counted and logged. Encapsulated Pixel Data that \
         nothing gives a transfer syntax, a deflated dataset that cannot be inflated to its end, and a dataset whose elements break so that \
         readers lose what is behind (a sequence that is not closed, a delimiter without a sequence, letters that are no VR, a length that \
         leads beyond the dataset) are refused with C000. A dataset that ends within its Pixel Data, or within a sequence of defined length \
         that says so, is stored as it is. Digital signatures stay valid.\n",
        ae = code(&subject.policy.ae_title),
    )
}

fn services(subject: &Subject<'_>) -> String {
    let duplicates = match subject.settings.node.storage.duplicates {
        Duplicates::Replace => "replaces the stored one",
        Duplicates::KeepBoth => "is stored beside the stored one",
        Duplicates::Refuse => "is refused with status 0111",
    };
    format!(
        "## 5 Service and interoperability description\n\n\
         ### 5.1 Verification service as SCP\n\n\
         Each C-ECHO is answered with 0000.\n\n\
         ### 5.2 Storage service as SCP\n\n\
         Storage is idempotent: an instance whose bytes are stored already under its SOP Instance UID is answered with 0000 and not written again. A different one under \
         the same UID {duplicates} (`storage.duplicates` is {word}). A SOP Instance UID may have up to 255 characters of {characters}.\n\n\
         Status of the C-STORE response:\n\n\
         {head}{rows}\n\
         Every status but 0000 comes with an Error Comment (0000,0902) of at most {comment} characters with the cause. The association continues after \
         any of them.\n\n\
         {commitment}\n\
         {delivery}\n\
         ### 5.5 Support of character sets\n\n\
         Every Specific Character Set (0008,0005): text is stored as received. Where a text element names a file, bytes other than \
         `A-Z a-z 0-9 . _ -` are written as `%` and two hexadecimal digits.\n",
        word = code(subject.settings.node.storage.duplicates),
        characters =
            if subject.policy.strict { "digits and periods" } else { "printable ASCII but slashes and backslashes" },
        head = head(["Status", "Meaning", "Further meaning", "Sender should"]),
        rows = Status::ALL.map(status).concat(),
        comment = ErrorComment::MAX_CHARS,
        commitment = commitment::service(subject),
        delivery = delivery::services(subject),
    )
}

fn status(status: Status) -> String {
    let (class, meaning, advice) = match status {
        Status::Success => ("Success", "stored as section 4 says, or the same bytes were stored before", "–"),
        Status::ProcessingFailure => ("Failure", "storage failed, and a retry will not help", "ask the operator"),
        Status::DuplicateSopInstance => {
            ("Failure", "a different instance is stored under this UID", "find out which is right")
        }
        Status::InvalidSopInstance => (
            "Failure",
            "the SOP Instance UID is empty, too long, or has a character that is not kept: a letter beyond ASCII (Latin-1, UTF-8), a backslash, which makes two values, a slash or a control character; the Error Comment has its place",
            "be corrected",
        ),
        Status::SopClassNotSupported => {
            ("Failure", "the SOP class is not stored by this node, or is denied", "be corrected")
        }
        Status::UnrecognizedOperation => {
            ("Failure", "neither C-STORE, C-ECHO nor a request for storage commitment", "not ask for it")
        }
        Status::OutOfResources => {
            ("Refused: out of resources", "disk full, storage gone, or no writer in time", "send again later")
        }
        Status::DataSetMismatch => {
            ("Error: data set does not match SOP class", "command and dataset name different instances", "be corrected")
        }
        Status::CannotUnderstand => {
            ("Error: cannot understand", "the dataset cannot be read, or is missing", "be corrected")
        }
    };
    row([&status.to_string(), class, meaning, advice])
}

fn configuration(subject: &Subject<'_>) -> String {
    let Subject { settings, live, policy } = *subject;
    let associations = &live.associations;
    let called = if policy.require_called_ae_title { "is rejected" } else { "is accepted too" };
    format!(
        "## 6 Configuration\n\n\
         | | |\n|---|---|\n{}{}{}{}{}{}{}{}\n\
         An association that calls another AE title {called}. Every key is in the configuration reference.\n",
        row(["AE title", &code(&policy.ae_title)]),
        row(["Listens on", &listens(settings)]),
        row(["ARTIM timer: connection to A-ASSOCIATE-RQ", &time(associations.request_timeout)]),
        row([
            "Silence of the peer between messages, until A-ABORT (within a message a minimum rate applies)",
            &time(associations.idle_timeout)
        ]),
        row(["Peer does not read a response, until the connection is closed", &time(associations.send_timeout)]),
        row(["Longest wait for a slot of the writers' queue, until A700", &time(live.writers.handoff_timeout)]),
        row(["Longest wait for the disk, until A700", &time(live.writers.commit_timeout)]),
        row(["Layout of the storage root", &code(settings.node.storage.layout.template())]),
    )
}

fn listens(settings: &Settings) -> String {
    let plain = settings.node.listen.map(code);
    let tls = settings.node.tls_listen.map(|address| format!("{} for TLS", code(address)));
    [plain, tls].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}

fn network(subject: &Subject<'_>) -> String {
    let policy = subject.policy;
    let associations = &subject.live.associations;
    let mut most = associations.max.to_string();
    for (limit, of) in
        [(associations.max_per_calling_ae, "one calling AE title"), (associations.max_per_address, "one address")]
    {
        if let Some(limit) = limit {
            most.push_str(&format!("; {limit} from {of}"));
        }
    }
    let contexts = [
        row(["Verification", &code(VERIFICATION), "SCP", "any of annex A", "none"]),
        row(["each storage SOP class of annex A", "", "SCP", "any of annex A", "none"]),
        row(["Storage Commitment Push Model", &code(commitment::PUSH_MODEL), "SCP", COMMITMENT_SYNTAXES, "none"]),
    ];
    let offered = if commitment::is_offered(subject) { &contexts[..] } else { &contexts[..2] };
    format!(
        "## 7 Network and media communication details\n\n\
         ### 7.1 Associations\n\n\
         | | |\n|---|---|\n{general}\n\
         ### 7.2 Presentation contexts\n\n\
         {head}{contexts}\n\
         Up to 128 presentation contexts are negotiated. An abstract syntax that is private, or newer than this release, is {unknown_classes}; a transfer \
         syntax that is, is {unknown_syntaxes}; other services of the standard are not accepted. Of the transfer syntaxes that a context offers, {preference}.\n\n\
         Role selection: the requestor may be SCU, and not SCP{roles}. User identity: {identity}. SOP class extended negotiation is not answered.\n\n\
         ### 7.3 Rejections\n\n\
         {rejection_head}{rejections}\n\
         ### 7.4 Physical network and addresses\n\n\
         TCP over IPv4 and IPv6. Of names, the node resolves those of `[[peer]]` addresses. `TCP_NODELAY` is set, and a response is sent at once.\n\n\
         ### 7.5 Media\n\n\
         None. Stored files are DICOM files (PS3.10 §7) without a DICOMDIR.\n",
        general = [
            row(["Application context", &code(APPLICATION_CONTEXT)]),
            row(["Associations as acceptor at one time", &most]),
            row(["Associations as initiator", &initiator(subject)]),
            row(["Longest PDU received", &size_text(policy.max_pdu_length.into())]),
            row([
                "Longest PDU sent",
                "a response and its command set, below 4 KiB; a storage commitment report, in PDUs of the peer's length"
            ]),
            row([
                "Operations outstanding, when the requestor negotiates a window",
                &policy.async_operations.to_string()
            ]),
            row(["Implementation class UID", &code(IMPLEMENTATION_CLASS_UID)]),
            row(["Implementation version name", &code(IMPLEMENTATION_VERSION_NAME)]),
        ]
        .concat(),
        head = head(["Abstract syntax", "UID", "Role", "Transfer syntaxes", "Extended negotiation"]),
        contexts = offered.concat(),
        roles = if commitment::is_offered(subject) {
            "; of Storage Commitment, the node is SCP in either role that the requestor proposes for itself"
        } else {
            ""
        },
        unknown_classes = if policy.accept_unknown_sop_classes { "stored like the others" } else { "not accepted" },
        unknown_syntaxes = if policy.accept_unknown_transfer_syntaxes { "accepted" } else { "not accepted" },
        identity = identity(&subject.live.access),
        preference = preference(&policy.transfer_syntax_preference),
        rejection_head = head(["Result", "Source", "Reason", "When"]),
        rejections = REJECTIONS.map(rejection).concat(),
    )
}

fn identity(access: &AccessSettings) -> &'static str {
    match (&access.users, access.require_user) {
        (None, _) => "a user name, with or without a passcode, is accepted and not verified",
        (Some(_), false) => "a user name must come with its passcode, which is verified; a peer may name none",
        (Some(_), true) => "a user name with its passcode is required and verified",
    }
}

fn preference(preferred: &[String]) -> String {
    if preferred.is_empty() {
        return "the first is accepted".to_owned();
    }
    let preferred: Vec<String> = preferred.iter().map(code).collect();
    format!("the first of these is accepted, best first: {}; otherwise the first that is offered", preferred.join(", "))
}

const REJECTIONS: [Rejection; 7] = [
    Rejection::ApplicationContext,
    Rejection::NoReasonGiven,
    Rejection::CallingAeTitle,
    Rejection::CalledAeTitle,
    Rejection::ProtocolVersion,
    Rejection::TemporaryCongestion,
    Rejection::LocalLimitExceeded,
];

fn rejection(rejection: Rejection) -> String {
    let when = match rejection {
        Rejection::ApplicationContext => "the application context is not DICOM's",
        Rejection::NoReasonGiven => "no access rule allows the association, or its user identity is missing or wrong",
        Rejection::CallingAeTitle => "no access rule allows the calling AE title",
        Rejection::CalledAeTitle => {
            "another AE title is called, and `node.require_called_ae_title` is set; or no access rule allows the called one"
        }
        Rejection::ProtocolVersion => "the protocol version is not 1",
        Rejection::LocalLimitExceeded => "a limit on associations or the memory budget is reached; try again later",
        Rejection::TemporaryCongestion => {
            "the node is drained or stopping, or could not verify the user identity in time; try again later"
        }
    };
    let (result, source, reason) = rejection.fields();
    let result = match result {
        1 => "1 permanent",
        _ => "2 transient",
    };
    row([result, &source.to_string(), &reason.to_string(), when])
}

fn security(subject: &Subject<'_>) -> String {
    let Settings { certificate, audit, .. } = subject.settings;
    let transport = match certificate {
        None => {
            "No secure transport connection profile of PS3.15 is in force: the DICOM port speaks plain TCP. Run it on a separate network, or \
             configure a certificate (`[tls]`)."
        }
        Some(_) => {
            "Secure transport connection: the modified BCP 195 profile of PS3.15 §B.12, TLS 1.3 and 1.2 with ephemeral keys and authenticated \
             encryption. Certificates and revocation lists are reloaded on SIGHUP."
        }
    };
    let clients = match certificate.as_ref().map(|own| own.client_auth) {
        None | Some(ClientAuth::None) => "Peers are not asked for a certificate.",
        Some(ClientAuth::Optional) => "A certificate that a peer presents is verified.",
        Some(ClientAuth::Required) => "Peers must present a certificate, which is verified.",
    };
    let rules = match subject.live.access.rules.list().len() {
        0 => "Every peer is allowed.".to_owned(),
        count => format!("Access is decided by {count} rules over AE titles, addresses, certificates and SOP classes."),
    };
    let audit = match audit {
        None => "No audit trail message of PS3.15 §A.5 is sent.",
        Some(_) => {
            "Audit trail messages of PS3.15 §A.5 are sent: Application Activity, Begin Transferring DICOM Instances, DICOM Instances Transferred, \
             Security Alert (node authentication), User Authentication (login)."
        }
    };
    format!("## 8 Security\n\n{transport} {clients} {rules} {audit} No attribute is de-identified.\n")
}

fn annex() -> String {
    let list = |registered: Registered| row([registered.name, &code(registered.uid)]);
    format!(
        "## Annex A: SOP classes and transfer syntaxes\n\n\
         ### A.1 Storage SOP classes\n\n{head}{classes}\n\
         ### A.2 Transfer syntaxes\n\n\
         Every transfer syntax of the standard, future ones included, is accepted for every SOP class: every UID below \
         `1.2.840.10008.1.2`. These are known by name:\n\n{head}{syntaxes}",
        head = head(["Name", "UID"]),
        classes = storage_sop_classes().map(list).collect::<String>(),
        syntaxes = transfer_syntaxes().map(list).collect::<String>(),
    )
}

/// Of the Push Model.
const COMMITMENT_SYNTAXES: &str = "Implicit VR Little Endian, Explicit VR Little Endian";

fn initiator(subject: &Subject<'_>) -> String {
    let reports = commitment::initiator(subject);
    match delivery::initiator(subject) {
        Some(deliveries) => format!("{deliveries}; for reports of commitment {reports}"),
        None => reports,
    }
}
