//! Replays bytes into an association, for comparison with other implementations: reads requests from standard input, each a length (four
//! bytes, big endian) and the bytes from the A-ASSOCIATE-RQ on, and writes a line of its events for each:
//!
//! ```text
//! store 1 312e322e33 616263 | echo | released
//! ```
//!
//! A C-STORE is its Message ID, SOP Instance UID and dataset, in hexadecimal; the part behind the last bar is the ending: `open`,
//! `released`, `aborted` (by the peer), `violated`.

use std::fmt::Write as _;
use std::io::{Read, Write, stdin, stdout};
use std::sync::Arc;

use bytes::BytesMut;
use tidegate_protocol::{Association, Event, Policy};

fn main() -> std::io::Result<()> {
    let mut input = Vec::new();
    stdin().read_to_end(&mut input)?;
    let mut rest = &input[..];
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((bytes, tail)) = tail.split_at_checked(length) else { break };
        writeln!(stdout(), "{}", understood(bytes))?;
        rest = tail;
    }
    Ok(())
}

fn understood(bytes: &[u8]) -> String {
    let mut association = Association::new(Arc::new(Policy {
        ae_title: "TIDEGATE".to_owned(),
        require_called_ae_title: false,
        max_pdu_length: 4096,
        max_request_length: 64 * 1024,
        max_command_set: 1024,
        async_operations: 1,
        strict: false,
        accept_unknown_sop_classes: true,
        accept_unknown_transfer_syntaxes: true,
        storage_commitment: false,
        transfer_syntax_preference: Vec::new(),
    }));
    let mut out = String::new();
    let mut dataset = None;
    let mut input = BytesMut::from(bytes);
    while let Some(event) = association.poll(&mut input) {
        match event {
            Event::AssociateRequested(_) => association.accept(),
            Event::StoreRequested(request) => {
                let _ = write!(out, "store {} ", request.operation.message_id);
                hexadecimal(&mut out, request.affected_sop_instance_uid());
                match request.has_data_set {
                    true => dataset = Some(Vec::new()),
                    false => out.push_str(" | "),
                }
            }
            Event::Fragment(bytes) => dataset.iter_mut().for_each(|dataset| dataset.extend_from_slice(&bytes)),
            Event::DatasetComplete => {
                out.push(' ');
                hexadecimal(&mut out, &dataset.take().unwrap_or_default());
                out.push_str(" | ");
            }
            Event::Echoed => out.push_str("echo | "),
            Event::OperationRefused(field) => {
                let _ = write!(out, "refused {field} | ");
            }
            ended => {
                if dataset.is_some() {
                    out.push_str(" | "); // a dataset that was under way is void
                }
                return out + ending(&ended);
            }
        }
        let _ = association.take_output();
    }
    if dataset.is_some() {
        out.push_str(" | ");
    }
    out + "open"
}

fn ending(event: &Event) -> &'static str {
    match event {
        Event::ReleaseRequested => "released",
        Event::PeerAborted(_) => "aborted",
        Event::Rejected(_) => "rejected",
        Event::NotDicom(_) => "stranger",
        _ => "violated",
    }
}

fn hexadecimal(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}
