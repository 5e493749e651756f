//! Syslog messages (RFC 5424), and their framing on a stream (RFC 5425 §4.3, RFC 6587 §3.4.1: octet counting).

use std::time::SystemTime;

use super::message::Origin;

/// Facility security/authorization (10), severity notice (5) (PS3.15 §A.6).
const PRIORITY: u8 = 10 * 8 + 5;
/// The MSGID of an audit message (PS3.15 §A.6).
const MESSAGE_ID: &str = "DICOM+RFC3881";

/// A syslog message around an audit message.
pub(crate) fn message(at: SystemTime, origin: &Origin, xml: &str) -> String {
    let at = humantime::format_rfc3339_millis(at);
    let host: String = origin.host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    // The BOM says that the rest is UTF-8.
    format!("<{PRIORITY}>1 {at} {host} tidegate {} {MESSAGE_ID} - \u{feff}{xml}", origin.process_id)
}

/// The time in a message.
pub(super) fn time(message: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(message.split(' ').nth(1)?).ok()
}

/// The message, framed for a stream.
pub(crate) fn framed(message: &str) -> String {
    format!("{} {message}", message.len())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_message_has_its_header_and_on_a_stream_its_length_in_bytes() {
        let origin = Origin { ae_title: "A".to_owned(), host: "gate way\n".to_owned(), process_id: 7 };
        let message = message(UNIX_EPOCH, &origin, "<x/>");
        assert_eq!(message, "<85>1 1970-01-01T00:00:00.000Z gateway tidegate 7 DICOM+RFC3881 - \u{feff}<x/>");
        assert_eq!(time(&message), Some(UNIX_EPOCH));
        assert_eq!(framed("\u{feff}<x/>"), "7 \u{feff}<x/>");
    }
}
