//! Any bytes as a dataset, in every transfer syntax the scan tells apart, whole and in pieces: the same head, within its limits. And
//! any bytes as a stored file whose file meta is looked for.
#![no_main]

use std::sync::Arc;

use dicom_core::Tag;
use libfuzzer_sys::fuzz_target;
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::meta::DatasetStart;

const SYNTAXES: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];

fuzz_target!(|data: &[u8]| {
    let [syntax, piece, bytes @ ..] = data else { return };
    let syntax = SYNTAXES[usize::from(*syntax) % SYNTAXES.len()];
    let wanted: Arc<[Tag]> = [
        Tag(0x0008, 0x0016),
        Tag(0x0008, 0x0018),
        Tag(0x0010, 0x0020),
        Tag(0x0020, 0x000D),
        Tag(0x0020, 0x000E),
    ]
    .into();
    let scan = |piece: usize| {
        let mut scan = HeadScan::new(syntax, wanted.clone(), HeadLimits::default());
        for piece in bytes.chunks(piece.max(1)) {
            let _ = scan.feed(piece);
        }
        scan.finish()
    };
    let whole = scan(bytes.len());
    assert_eq!(whole, scan(usize::from(*piece)));
    if let Ok(head) = whole {
        assert!(wanted.iter().all(|tag| head.value(*tag).is_none_or(|value| value.len() <= 1024)));
    }
    if let Some(start) = DatasetStart::find(bytes) {
        assert!(start.offset <= bytes.len() as u64);
    }
});
