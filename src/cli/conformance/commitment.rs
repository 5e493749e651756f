//! The parts of the statement about storage commitment (PS3.2 §N.5, PS3.4 annex J).

use tidegate_actors::Verify;
use tidegate_commitment::{FIRST_WAIT, FailureReason, LONGEST_WAIT, MAX_REFERENCES};

use super::page::{Subject, code, head, row, time};

/// Storage Commitment Push Model SOP Class (PS3.6 annex A).
pub(super) const PUSH_MODEL: &str = "1.2.840.10008.1.20.1";

/// Whether the configuration offers it: without a catalogue nothing knows what is stored.
pub(super) fn is_offered(subject: &Subject<'_>) -> bool {
    subject.live.commitment.is_enabled && subject.settings.node.catalogue.is_some()
}

/// The section of the service.
pub(super) fn service(subject: &Subject<'_>) -> String {
    if !is_offered(subject) {
        return "### 5.3 Storage Commitment service as SCP\n\n\
                It is not offered: `commitment.enabled` is false, or there is no catalogue.\n"
            .to_owned();
    }
    let settings = &subject.live.commitment;
    let whole = match settings.verify {
        Verify::Size => "with the length that was stored",
        Verify::Digest => {
            "whole by its length and, read to its end, by the digest that was recorded when it was received"
        }
    };
    format!(
        "### 5.3 Storage Commitment service as SCP\n\n\
         Push Model SOP Class ({push_model}). A request (N-ACTION, Action Type ID 1) is durable before its response. It may name up to {references} instances; other \
         elements of the Action Information are ignored. Instances need not have arrived on the same association, nor from the same AE.\n\n\
         An instance is committed if a file with its SOP Instance UID is stored below the storage root, of the SOP class that the request names, {whole}, and is synced to the disk; of several such files, each. It \
         is looked at again for each attempt to report. An instance whose last C-STORE from the same AE title was refused with 0111, since other bytes are stored under its UID, is not committed to that title (0110). \
         The node keeps no instance from being deleted by its operator afterwards.\n\n\
         Status of the N-ACTION response, beside 0000:\n\n\
         {status_head}{statuses}\n\
         The report (N-EVENT-REPORT, Event Type ID 1 if all are committed, else 2) follows the response, and never overtakes it. It is sent on the association of the request if that is open and idle for a \
         second; else on an association that the node requests from the address of the `[[peer]]` with the calling AE title, with that title called, from the title that the request called, and with SCP role \
         selection (SCU role 0, SCP role 1). A peer without an address gets it on its next association with a presentation context for it, from the address of the request. Retrieve AE Title \
         (0008,0054) is the AE title of the node; no storage media is named.\n\n\
         A response with status 0000 ends the request, with or without Event Type ID. After any other status, a rejection, a refused context, a role that is refused or not answered, an abort, or no response within 60 s, the report is tried again: \
         after {first}, doubling up to {longest}, for {retry_for}. Requests and their reports survive a restart. A report may arrive twice if its response is lost.\n\n\
         Failure Reason (0008,1197):\n\n\
         {reason_head}{reasons}",
        push_model = code(PUSH_MODEL),
        references = MAX_REFERENCES,
        status_head = head(["Status", "When"]),
        statuses = STATUSES.map(|(status, when)| row([status, when])).concat(),
        reason_head = head(["Reason", "When"]),
        reasons = FailureReason::ALL.map(reason).concat(),
        first = time(FIRST_WAIT),
        longest = time(LONGEST_WAIT),
        retry_for = time(settings.retry_for),
    )
}

/// PS3.7 §10.1.4.1.10 and annex C.
const STATUSES: [(&str, &str); 9] = [
    ("0110", "the request could not be made durable"),
    ("0112", "the Requested SOP Instance is not the well-known one"),
    ("0115", "an element of the Action Information has a value that cannot be"),
    ("0118", "the Requested SOP Class is another one"),
    ("0120", "Transaction UID or references are missing"),
    ("0123", "the Action Type is another one"),
    ("0124", "an access rule denies it"),
    ("0131", "the Transaction UID is in use by the same AE title"),
    (
        "0213",
        "too many references, too many requests wait for their report, or `memory.budget` has no room for the references",
    ),
];

fn reason(reason: FailureReason) -> String {
    let when = match reason {
        FailureReason::ProcessingFailure => {
            "the file cannot be read or is not whole, it could not be looked up in time, or the peer has sent other bytes under this UID, which were refused with 0111"
        }
        FailureReason::NoSuchObjectInstance => "no such instance is stored",
        FailureReason::ClassInstanceConflict => "it is stored with another SOP class",
        FailureReason::ReferencedSopClassNotSupported => "not used: such an instance is not stored, which 0112 says",
        FailureReason::DuplicateTransactionUid => "not used: the response says it",
        FailureReason::ResourceLimitation => "not used: the response says it",
    };
    row([&format!("{:04X}", reason.code()), when])
}

/// What the node does as an initiator.
pub(super) fn initiator(subject: &Subject<'_>) -> String {
    match subject.live.commitment.peers.len() {
        _ if !is_offered(subject) => "none".to_owned(),
        0 => "none: no `[[peer]]` is configured".to_owned(),
        peers => format!("up to 4, one to an address, to report storage commitment to {peers} configured peers"),
    }
}
