//! DIMSE command sets: always implicit VR little endian, group 0000 only (PS3.7 §6.3.1, Annex E).

use crate::status::ErrorComment;
use crate::syntaxes::{is_uid, unpadded};

mod invocation;

pub use invocation::{Invocation, Priority};

/// (0000,0800): no dataset follows the command (PS3.7 §E.1).
const NO_DATA_SET: u16 = 0x0101;
/// Bit of (0000,0100) that tells a response from a request.
const RESPONSE: u16 = 0x8000;

/// Values of (0000,0100) this node knows (PS3.7 §E.1-1).
pub(crate) mod command_field {
    pub(crate) const C_STORE_RQ: u16 = 0x0001;
    pub(crate) const C_FIND_RQ: u16 = 0x0020;
    pub(crate) const C_ECHO_RQ: u16 = 0x0030;
    pub(crate) const N_EVENT_REPORT_RQ: u16 = 0x0100;
    pub(crate) const N_ACTION_RQ: u16 = 0x0130;
    pub(crate) const C_CANCEL_RQ: u16 = 0x0FFF;
}

/// The name of a request by its Command Field (PS3.7 §E.1-1).
pub fn request_name(command_field: u16) -> &'static str {
    match command_field {
        0x0001 => "C-STORE-RQ",
        0x0010 => "C-GET-RQ",
        0x0020 => "C-FIND-RQ",
        0x0021 => "C-MOVE-RQ",
        0x0030 => "C-ECHO-RQ",
        0x0100 => "N-EVENT-REPORT-RQ",
        0x0110 => "N-GET-RQ",
        0x0120 => "N-SET-RQ",
        0x0130 => "N-ACTION-RQ",
        0x0140 => "N-CREATE-RQ",
        0x0150 => "N-DELETE-RQ",
        0x0FFF => "C-CANCEL-RQ",
        _ => "unknown request",
    }
}

/// A request a response refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Presentation context the request came on, and the response goes out on.
    pub context_id: u8,
    /// Message ID, chosen by the requestor.
    pub message_id: u16,
    /// Command Field of the request.
    pub(crate) command_field: u16,
    /// Affected (or requested) SOP Class UID, as it came.
    pub(crate) sop_class_uid: Vec<u8>,
    /// Affected (or requested) SOP Instance UID, as it came.
    pub(crate) sop_instance_uid: Vec<u8>,
    /// Action Type ID of an N-ACTION-RQ.
    pub(crate) action_type: Option<u16>,
    /// Event Type ID of an N-EVENT-REPORT-RQ.
    pub(crate) event_type: Option<u16>,
}

impl Operation {
    /// Affected SOP Instance UID without padding, for the log. `None`: it is not a UID, and might hold the name of a patient.
    pub fn sop_instance(&self) -> Option<&str> {
        loggable(&self.sop_instance_uid)
    }

    /// Affected SOP Class UID, likewise.
    pub fn sop_class(&self) -> Option<&str> {
        loggable(&self.sop_class_uid)
    }
}

fn loggable(uid: &[u8]) -> Option<&str> {
    std::str::from_utf8(uid).ok().map(unpadded).filter(|uid| is_uid(uid))
}

/// Why bytes are not a command set this node can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CommandError {
    /// An element runs past the end of the command set.
    #[error("command set element runs past its end")]
    Truncated,
    /// No Command Field, no Message ID, no Data Set Type of two bytes, or no Status of a response.
    #[error("command set lacks a mandatory element")]
    MissingElement,
    /// A response that names none of the outstanding requests.
    #[error("response to a request never made")]
    UnexpectedResponse,
}

/// A command set as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Request(Request),
    Response(Response),
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) has_data_set: bool,
    /// There are elements of other groups than 0000, against PS3.7 §6.3.1.
    pub(crate) has_foreign_elements: bool,
}

/// The response to a request of this node (PS3.7 §9.3 and §10.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Presentation context of the request.
    pub context_id: u8,
    /// Message ID of the request.
    pub message_id: u16,
    /// Command Field of the request: [`request_name`] has its name.
    pub request: u16,
    /// Status (0000,0900).
    pub status: u16,
    /// Error Comment (0000,0902), cleaned: empty if there is none.
    pub comment: ErrorComment,
    /// Event Type ID (0000,1002) of an N-EVENT-REPORT-RSP; many peers leave it out (PS3.7 §10.3.1.2).
    pub event_type: Option<u16>,
    /// Whether a dataset follows. [`Requestor`](crate::Requestor) passes it on; [`Association`](crate::Association) drops it.
    pub has_data_set: bool,
}

impl Response {
    /// Whether further responses to the same request follow (status FF00 and FF01, PS3.7 annex C).
    pub fn is_pending(&self) -> bool {
        matches!(self.status, 0xFF00 | 0xFF01)
    }
}

impl Command {
    /// Reads a command set that arrived whole on `context_id`. The group length is not trusted, nor needed.
    pub(crate) fn parse(context_id: u8, bytes: &[u8]) -> Result<Self, CommandError> {
        let fields = Fields::read(bytes)?;
        let command_field = fields.command_field.ok_or(CommandError::MissingElement)?;
        let has_data_set = |fields: &Fields<'_>| match fields.data_set_type {
            Some(data_set_type) => Ok(data_set_type != NO_DATA_SET),
            None => Err(CommandError::MissingElement),
        };
        if command_field & RESPONSE != 0 {
            let comment = String::from_utf8_lossy(fields.comment);
            return Ok(Self::Response(Response {
                context_id,
                message_id: fields.responded_to.ok_or(CommandError::UnexpectedResponse)?,
                request: command_field & !RESPONSE,
                status: fields.status.ok_or(CommandError::MissingElement)?,
                comment: ErrorComment::new(unpadded(&comment)),
                event_type: fields.event_type,
                has_data_set: has_data_set(&fields)?,
            }));
        }
        // A C-CANCEL names the message it cancels instead of having an ID of its own (PS3.7 §9.3.2.3).
        let message_id = match command_field {
            command_field::C_CANCEL_RQ => fields.message_id.unwrap_or(0),
            _ => fields.message_id.ok_or(CommandError::MissingElement)?,
        };
        Ok(Self::Request(Request {
            has_data_set: has_data_set(&fields)?,
            has_foreign_elements: fields.has_foreign_elements,
            operation: Operation {
                context_id,
                message_id,
                command_field,
                sop_class_uid: fields.sop_class_uid.to_vec(),
                sop_instance_uid: fields.sop_instance_uid.to_vec(),
                action_type: fields.action_type,
                event_type: fields.event_type,
            },
        }))
    }

    pub(crate) fn context_id(&self) -> u8 {
        match self {
            Self::Request(request) => request.operation.context_id,
            Self::Response(response) => response.context_id,
        }
    }

    pub(crate) fn has_data_set(&self) -> bool {
        match self {
            Self::Request(request) => request.has_data_set,
            Self::Response(response) => response.has_data_set,
        }
    }
}

/// The elements of a command set that this node looks at.
#[derive(Default)]
struct Fields<'a> {
    command_field: Option<u16>,
    message_id: Option<u16>,
    responded_to: Option<u16>,
    data_set_type: Option<u16>,
    status: Option<u16>,
    event_type: Option<u16>,
    action_type: Option<u16>,
    comment: &'a [u8],
    sop_class_uid: &'a [u8],
    sop_instance_uid: &'a [u8],
    has_foreign_elements: bool,
}

impl<'a> Fields<'a> {
    fn read(mut rest: &'a [u8]) -> Result<Self, CommandError> {
        let mut fields = Self::default();
        while !rest.is_empty() {
            let (header, tail) = rest.split_at_checked(8).ok_or(CommandError::Truncated)?;
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            let length = usize::try_from(length).map_err(|_| CommandError::Truncated)?;
            let (value, tail) = tail.split_at_checked(length).ok_or(CommandError::Truncated)?;
            rest = tail;
            if header[0] != 0 || header[1] != 0 {
                fields.has_foreign_elements = true; // they say nothing about the command
                continue;
            }
            match u16::from_le_bytes([header[2], header[3]]) {
                0x0002 | 0x0003 => fields.sop_class_uid = value,
                0x0100 => fields.command_field = us(value),
                0x0110 => fields.message_id = us(value),
                0x0120 => fields.responded_to = us(value),
                0x0800 => fields.data_set_type = us(value),
                0x0900 => fields.status = us(value),
                0x0902 => fields.comment = value,
                0x1000 | 0x1001 => fields.sop_instance_uid = value,
                0x1002 => fields.event_type = us(value),
                0x1008 => fields.action_type = us(value),
                _ => {}
            }
        }
        Ok(fields)
    }
}

/// The command set of the response to `operation` (PS3.7 §9.3.1.2, §10.3.4.2 and their likes).
pub(crate) fn response(operation: &Operation, status: u16, comment: &ErrorComment) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    element(&mut out, 0x0000, &[0; 4]);
    if !operation.sop_class_uid.is_empty() {
        element(&mut out, 0x0002, &operation.sop_class_uid);
    }
    element(&mut out, 0x0100, &(operation.command_field | RESPONSE).to_le_bytes());
    element(&mut out, 0x0120, &operation.message_id.to_le_bytes());
    element(&mut out, 0x0800, &NO_DATA_SET.to_le_bytes());
    element(&mut out, 0x0900, &status.to_le_bytes());
    if status != 0 && !comment.as_str().is_empty() {
        padded_element(&mut out, 0x0902, comment.as_str().as_bytes(), b' ');
    }
    if !operation.sop_instance_uid.is_empty() {
        element(&mut out, 0x1000, &operation.sop_instance_uid);
    }
    if let Some(event_type) = operation.event_type {
        element(&mut out, 0x1002, &event_type.to_le_bytes());
    }
    if let Some(action_type) = operation.action_type {
        element(&mut out, 0x1008, &action_type.to_le_bytes());
    }
    set_group_length(&mut out);
    out
}

/// (0000,0000): the bytes behind it. A command set that is written here is far below 4 GiB.
fn set_group_length(out: &mut [u8]) {
    let length = out.len().saturating_sub(12) as u32;
    if let Some(value) = out.get_mut(8..12) {
        value.copy_from_slice(&length.to_le_bytes());
    }
}

fn us(value: &[u8]) -> Option<u16> {
    value.try_into().ok().map(|bytes: [u8; 2]| u16::from_le_bytes(bytes))
}

fn element(out: &mut Vec<u8>, element: u16, value: &[u8]) {
    padded_element(out, element, value, 0);
}

/// PS3.5 §7.1.1: every value has an even length; UIDs are padded with NUL, text with a space.
fn padded_element(out: &mut Vec<u8>, element: u16, value: &[u8], padding: u8) {
    let odd = value.len() % 2;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&element.to_le_bytes());
    out.extend_from_slice(&((value.len() + odd) as u32).to_le_bytes());
    out.extend_from_slice(value);
    out.extend(std::iter::repeat_n(padding, odd));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    fn echo_rq(extra: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        element(&mut out, 0x0000, &[0xFF, 0xFF, 0, 0]); // a group length that lies
        element(&mut out, 0x0002, b"1.2.840.10008.1.1");
        element(&mut out, 0x0100, &[0x30, 0]);
        element(&mut out, 0x0110, &[7, 0]);
        element(&mut out, 0x0800, &[1, 1]);
        for (tag, value) in extra {
            element(&mut out, *tag, value);
        }
        out
    }

    fn request(context_id: u8, bytes: &[u8]) -> Result<Request, CommandError> {
        Command::parse(context_id, bytes).map(|command| match command {
            Command::Request(request) => request,
            Command::Response(response) => panic!("{response:?}"),
        })
    }

    #[test]
    fn a_request_is_read_whatever_its_group_length_says() {
        let request = request(3, &echo_rq(&[(0x5110, b"??")])).unwrap();
        assert_eq!(request.operation.command_field, command_field::C_ECHO_RQ);
        assert_eq!((request.operation.context_id, request.operation.message_id), (3, 7));
        assert!(!request.has_data_set);
    }

    #[test]
    fn elements_of_other_groups_are_noted_and_ignored() {
        let expected = Request { has_foreign_elements: true, ..request(1, &echo_rq(&[])).unwrap() };
        let private = [&[9, 0, 0, 1, 2, 0, 0, 0][..], &[1, 0]].concat(); // numbered as a Command Field is
        for command in [[echo_rq(&[]), private.clone()].concat(), [private, echo_rq(&[])].concat()] {
            assert_eq!(request(1, &command).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        let whole = echo_rq(&[]);
        assert_eq!(request(1, &whole[..whole.len() - 1]), Err(CommandError::Truncated));
        assert_eq!(request(1, &whole[..12]), Err(CommandError::MissingElement));
        assert_eq!(request(1, &echo_rq(&[(0x0100, &[0x30, 0x80])])), Err(CommandError::UnexpectedResponse));
        let without_status = echo_rq(&[(0x0100, &[0x30, 0x80]), (0x0120, &[1, 0])]);
        assert_eq!(request(1, &without_status), Err(CommandError::MissingElement));
        let mut endless = whole;
        endless[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(request(1, &endless), Err(CommandError::Truncated));
    }

    #[test]
    fn a_response_is_a_well_formed_command_set() {
        let operation = Operation {
            context_id: 5,
            message_id: 258,
            command_field: command_field::C_STORE_RQ,
            sop_class_uid: b"1.2.3".to_vec(),
            sop_instance_uid: b"1.2.3.4\0".to_vec(),
            action_type: None,
            event_type: None,
        };
        let bytes = response(&operation, Status::OutOfResources.code(), &ErrorComment::new("full"));
        let length = u32::from_le_bytes(bytes[8..12].try_into().unwrap());
        assert_eq!(length as usize, bytes.len() - 12);
        let find = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
        assert!(find(b"\0\0\x02\0\x06\0\0\x001.2.3\0"));
        assert!(find(b"\0\0\0\x01\x02\0\0\0\x01\x80"));
        assert!(find(b"\0\0\x20\x01\x02\0\0\0\x02\x01"));
        assert!(find(b"\0\0\0\x09\x02\0\0\0\x00\xA7"));
        assert!(find(b"\0\0\x02\x09\x04\0\0\0full"));
        assert!(find(b"\0\0\0\x10\x08\0\0\x001.2.3.4\0"));
    }
}
