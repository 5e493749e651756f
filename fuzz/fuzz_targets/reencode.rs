//! Any bytes as a dataset, from each native transfer syntax to each: whole and in pieces the same, within the bound of a call. What is accepted
//! and comes back goes the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_reencode::{Fault, MAX_AHEAD_BYTES, Reencoder};

const SYNTAXES: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];

/// Deflated bytes may be a thousand times as many.
const MAX_RESULT_BYTES: usize = 4 << 20;

/// `None`: the result is too long to look at.
fn reencode(from: &str, to: &str, bytes: &[u8], piece: usize) -> Option<Result<Vec<u8>, Fault>> {
    let mut reencoder = Reencoder::new(from, to).ok()?;
    let mut result = Vec::new();
    for mut piece in bytes.chunks(piece.max(1)) {
        while !piece.is_empty() {
            let before = result.len();
            let taken = match reencoder.push(piece, &mut result) {
                Ok(taken) => taken,
                Err(fault) => return Some(Err(fault)),
            };
            let given = result.len() - before;
            assert!(given <= piece.len() + MAX_AHEAD_BYTES);
            assert!(taken + given > 0);
            piece = &piece[taken..];
            if result.len() > MAX_RESULT_BYTES {
                return None;
            }
        }
    }
    Some(reencoder.finish(&mut result).map(|()| result))
}

fuzz_target!(|data: &[u8]| {
    let [syntaxes, piece, bytes @ ..] = data else { return };
    let from = SYNTAXES[usize::from(*syntaxes % 4)];
    let to = SYNTAXES[usize::from(*syntaxes / 4 % 4)];
    let whole = reencode(from, to, bytes, bytes.len());
    let cut = reencode(from, to, bytes, usize::from(*piece));
    // How far a broken stream is inflated depends on its pieces, and so does the first fault.
    match from {
        "1.2.840.10008.1.2.1.99" => assert_eq!(whole.clone().and_then(Result::ok), cut.and_then(Result::ok)),
        _ => assert_eq!(whole, cut),
    }
    let Some(Ok(there)) = whole else { return };
    let Some(Ok(back)) = reencode(to, from, &there, there.len()) else { return };
    let Some(again) = reencode(from, to, &back, back.len()) else { return };
    let again = again.unwrap();
    let Some(back) = reencode(to, from, &again, again.len()) else { return };
    let back = back.unwrap();
    assert_eq!(reencode(from, to, &back, back.len()), Some(Ok(again)));
});
