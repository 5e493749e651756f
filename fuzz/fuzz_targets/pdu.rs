//! Any bytes from the first one on: the whole upper layer, request and negotiation included. The first byte says how they are cut;
//! what they mean must not depend on it.
#![no_main]

mod peer;

use libfuzzer_sys::fuzz_target;
use peer::{drive, policy};
use tidegate_protocol::Association;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else { return };
    let whole = drive(&mut Association::new(policy()), bytes, bytes.len());
    let cut = drive(&mut Association::new(policy()), bytes, usize::from(piece));
    assert_eq!(whole.events, cut.events);
});
