//! Any bytes as a command set, in one PDV or in many: a request is answered with a well-formed response, anything else with an
//! A-ABORT.
#![no_main]

mod peer;

use libfuzzer_sys::fuzz_target;
use peer::{drive, established};
use tidegate_protocol::{ErrorComment, Event, Status};

fn p_data(control: u8, bytes: &[u8]) -> Vec<u8> {
    let mut pdu = vec![4, 0];
    pdu.extend((bytes.len() as u32 + 6).to_be_bytes());
    pdu.extend((bytes.len() as u32 + 2).to_be_bytes());
    pdu.extend([1, control]);
    pdu.extend(bytes);
    pdu
}

fuzz_target!(|data: &[u8]| {
    if data.len() > 2000 {
        return;
    }
    let mut association = established();
    let observed = drive(&mut association, &p_data(3, data), usize::MAX);
    let mut pieces: Vec<_> = data.chunks(7).map(|piece| p_data(1, piece)).collect();
    pieces.push(p_data(3, b""));
    let again = drive(&mut established(), &pieces.concat(), usize::MAX);
    assert_eq!(observed.events, again.events);
    if let [Event::StoreRequested(request)] = &observed.events[..] {
        association.respond(&request.operation, Status::CannotUnderstand, &ErrorComment::new("fuzz"));
        let sent = association.take_output();
        // PDUs of one PDV each; together a command set that begins with its own length.
        let mut response = Vec::new();
        let mut rest = &sent[..];
        while !rest.is_empty() {
            assert_eq!(rest[0], 4);
            let length = u32::from_be_bytes(rest[2..6].try_into().unwrap()) as usize;
            response.extend(&rest[12..6 + length]);
            rest = &rest[6 + length..];
        }
        let length = u32::from_le_bytes(response[8..12].try_into().unwrap()) as usize;
        assert_eq!(length, response.len() - 12);
    }
});
