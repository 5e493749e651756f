//! Bytes in front of a dataset, and datasets in another encoding than announced.

use super::*;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;

const NATIVE: [&str; 3] = [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE];
const JPEG: &str = "1.2.840.10008.1.2.4.50";

/// The bytes that are stored of a dataset that comes in pieces, its transfer syntax if not the announced one, and its head.
fn stored(announced: &str, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<String>, Result<Head, HeadError>) {
    let mut scan = HeadScan::new(announced, wanted(), HeadLimits::default());
    let mut stored = Vec::new();
    for fragment in bytes.chunks(piece) {
        let mut rest = fragment;
        if scan.is_opening() {
            let Some(opened) = scan.open(fragment) else { continue };
            let _ = scan.feed(&opened.first);
            stored.extend(opened.first);
            rest = &fragment[opened.taken..];
        }
        let _ = scan.feed(rest);
        stored.extend(rest);
    }
    if let Some(opened) = scan.open_at_end() {
        let _ = scan.feed(&opened.first);
        stored.extend(opened.first);
    }
    scan.settle_transfer_syntax();
    (stored, scan.other_transfer_syntax().map(str::to_owned), scan.finish())
}

#[test]
fn a_dataset_in_another_native_encoding_has_its_true_syntax() {
    for written in NATIVE {
        let dataset = Writer::typical(written);
        for announced in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED] {
            for piece in [1, 9, 4096] {
                let (bytes, other, head) = stored(announced, &dataset, piece);
                let head = head.unwrap();
                assert_typical(&head);
                assert!(bytes == dataset);
                let expected = NATIVE.into_iter().find(|uid| *uid == written && written != announced);
                assert_eq!(other.as_deref(), expected, "{written} as {announced}");
                assert_eq!(head.deviations().other_transfer_syntax, expected.map(|_| Evidence::Elements));
            }
        }
    }
}

#[test]
fn a_dataset_in_an_encoding_that_its_compressed_syntax_cannot_have_is_refused() {
    for (announced, written) in [(JPEG, IMPLICIT_LE), (JPEG, EXPLICIT_BE), ("1.2.840.10008.1.2.4.95", EXPLICIT_LE)] {
        let refused = scan_in(announced, &[&Writer::typical(written)]);
        assert!(matches!(refused, Err(HeadError::OtherEncoding { .. })), "{announced} {written} {refused:?}");
    }
    assert_typical(&scan_in(JPEG, &[&Writer::typical(EXPLICIT_LE)]).unwrap());
}

/// A dataset with its pixel data in fragments.
fn encapsulated(transfer_syntax_uid: &str) -> Vec<u8> {
    let mut w = Writer::new(transfer_syntax_uid);
    w.bytes = Writer::typical(transfer_syntax_uid);
    w.bytes.truncate(w.bytes.len() - 64 - if w.explicit { 12 } else { 8 });
    w.header(Tag(0x0088, 0x0200), "SQ", UNDEFINED).item(UNDEFINED);
    w.element(tags::PIXEL_DATA, "OW", &[1; 6]).end_item().end_sequence(); // of an icon: native everywhere
    w.header(tags::PIXEL_DATA, "OB", UNDEFINED).item(0).item(4).u32(7).end_sequence();
    w.bytes
}

#[test]
fn the_form_of_the_pixel_data_decides_about_a_compressed_syntax() {
    let native = Writer::typical(EXPLICIT_LE);
    for compressed in
        [JPEG, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.98"]
    {
        for piece in [1, 9, 4096] {
            let (bytes, other, head) = stored(compressed, &native, piece);
            assert_typical(head.as_ref().unwrap());
            assert!(bytes == native);
            assert_eq!(other.as_deref(), Some(EXPLICIT_LE), "{compressed}");
            assert_eq!(head.unwrap().deviations().other_transfer_syntax, Some(Evidence::PixelData));
            let (_, other, head) = stored(compressed, &encapsulated(EXPLICIT_LE), piece);
            assert_typical(head.as_ref().unwrap());
            assert_eq!((other, *head.unwrap().deviations()), (None, Deviations::default()), "{compressed}");
        }
    }
    // JPIP refers to pixel data, and nothing is known of private syntaxes.
    for other in ["1.2.840.10008.1.2.4.94", "1.3.6.1.4.1.99.1"] {
        assert_eq!(stored(other, &native, 4096).1, None);
        assert_eq!(stored(other, &encapsulated(EXPLICIT_LE), 4096).1, None);
    }
}

#[test]
fn encapsulated_pixel_data_in_a_native_syntax_are_refused() {
    for announced in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED] {
        for written in NATIVE {
            let behind = Writer::new(written).element(Tag(0xFFFC, 0xFFFC), "OB", &[0; 4]).bytes.clone();
            let dataset = [encapsulated(written), behind].concat();
            for piece in [1, 9, 4096] {
                let head = scan_in(announced, &dataset.chunks(piece).collect::<Vec<_>>());
                let refused = HeadError::OtherPixelForm { found: "encapsulated" };
                assert_eq!(head, Err(refused), "{announced} {written}");
            }
        }
    }
    let deflated = deflate(&encapsulated(EXPLICIT_LE));
    assert_eq!(scan_in(DEFLATED, &[&deflated]), Err(HeadError::OtherPixelForm { found: "encapsulated" }));
}

/// A transfer syntax that is settled before the pixel data are met is not changed by them.
#[test]
fn pixel_data_that_come_too_late_for_the_label_are_refused() {
    let native = Writer::typical(EXPLICIT_LE);
    let mut scan = HeadScan::new(JPEG, wanted(), HeadLimits::default());
    let (early, late) = native.split_at(native.len() - 70);
    let _ = scan.feed(early);
    assert!(scan.awaits_pixel_data());
    scan.settle_transfer_syntax();
    assert!(!scan.awaits_pixel_data());
    let _ = scan.feed(late);
    assert_eq!(scan.finish(), Err(HeadError::OtherPixelForm { found: "native" }));
}

/// The label that each file meta gets of a dataset, and whether it is refused.
#[test]
fn the_transfer_syntax_that_file_meta_names_counts_if_it_is_true() {
    let front = |named: &str| {
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::TRANSFER_SYNTAX_UID, "UI", &[named.as_bytes(), &[0][..named.len() % 2]].concat());
        w.bytes
    };
    let rle = "1.2.840.10008.1.2.5";
    for (announced, named, dataset, label) in [
        (EXPLICIT_LE, rle, encapsulated(EXPLICIT_LE), Some(rle)),
        (IMPLICIT_LE, rle, encapsulated(EXPLICIT_LE), Some(rle)),
        (JPEG, rle, encapsulated(EXPLICIT_LE), Some(rle)),
        (JPEG, JPEG, encapsulated(EXPLICIT_LE), None),
        (JPEG, IMPLICIT_LE, Writer::typical(IMPLICIT_LE), Some(IMPLICIT_LE)),
        (JPEG, EXPLICIT_BE, Writer::typical(EXPLICIT_BE), Some(EXPLICIT_BE)),
        (DEFLATED, rle, encapsulated(EXPLICIT_LE), Some(rle)),
        (EXPLICIT_LE, rle, Writer::typical(EXPLICIT_LE), None),
        (JPEG, EXPLICIT_LE, encapsulated(EXPLICIT_LE), None),
        (EXPLICIT_LE, "1.2.840.10008.5.1.4.1.1.2", Writer::typical(EXPLICIT_LE), None),
        (EXPLICIT_LE, "1.3.6.1.4.1.99.1", Writer::typical(EXPLICIT_LE), None),
    ] {
        let sent = [front(named), dataset].concat();
        for piece in [1, 9, 4096] {
            let (_, other, head) = stored(announced, &sent, piece);
            assert_typical(&head.unwrap_or_else(|error| panic!("{error}: {named} as {announced}")));
            assert_eq!(other.as_deref(), label, "{named} as {announced}");
        }
    }
    let refused = stored(JPEG, &[front(rle), Writer::typical(IMPLICIT_LE)].concat(), 4096).2;
    assert_eq!(refused, Err(HeadError::OtherEncoding { written: "implicit vr little endian" }));
}

/// File meta as senders put it in front: as in a file, or written by the writer of the dataset.
fn fronts(syntax: &str) -> Vec<Vec<u8>> {
    let meta = |writer: Writer| {
        let mut meta = writer;
        meta.header(Tag(0x0002, 0x0000), "UL", 4).u32(60);
        meta.element(Tag(0x0002, 0x0001), "OB", &[0, 1]);
        meta.element(Tag(0x0002, 0x0010), "UI", b"1.2.840.10008.1.2.4.90\0\0");
        meta.bytes
    };
    let in_file = meta(Writer::new(EXPLICIT_LE));
    let mut command = Writer::new(IMPLICIT_LE);
    command.header(Tag(0x0000, 0x0000), "", 4).u32(26).element(Tag(0x0000, 0x0002), "", b"1.2.840.10008.1.1\0");
    let mut tiff = [0x55; 128];
    tiff[..8].copy_from_slice(b"II*\0\x08\0\0\0");
    let mut fronts = vec![
        in_file.clone(),
        [&[0; 128][..], b"DICM", &in_file].concat(),
        [&tiff[..], b"DICM", &in_file].concat(),
        [&command.bytes[..], &in_file].concat(),
        command.bytes,
    ];
    if syntax != DEFLATED {
        fronts.push(meta(Writer::new(syntax)));
    }
    fronts
}

#[test]
fn what_is_no_part_of_the_dataset_is_left_out() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, JPEG] {
        let dataset = if syntax == DEFLATED { deflate(&Writer::typical(EXPLICIT_LE)) } else { Writer::typical(syntax) };
        for front in fronts(syntax) {
            let sent = [&front[..], &dataset].concat();
            for piece in [1, 3, 130, 1 << 20] {
                let (bytes, _, head) = stored(syntax, &sent, piece);
                let head = head.unwrap_or_else(|error| panic!("{error}: {syntax} {piece} {front:?}"));
                assert_typical(&head);
                assert!(bytes == dataset, "{syntax} {piece} {front:?}");
                assert_eq!(head.deviations().left_out_bytes, front.len() as u64);
                // The pixel data are native.
                let expected = (syntax == JPEG).then_some(Evidence::PixelData);
                assert_eq!(head.deviations().other_transfer_syntax, expected, "{syntax} {front:?}");
            }
        }
    }
}

/// Readers pass over elements of zeros.
#[test]
fn zeros_in_front_are_left_out_by_eights() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE] {
        let dataset = Writer::typical(syntax);
        for zeros in [8, 16, 64, 128] {
            for piece in [1, 3, 1 << 20] {
                let (bytes, _, head) = stored(syntax, &[&vec![0; zeros], &dataset[..]].concat(), piece);
                assert_eq!(head.unwrap().deviations().left_out_bytes, zeros as u64, "{syntax} {zeros} {piece}");
                assert!(bytes == dataset);
            }
        }
        let (_, _, found) = stored(syntax, &[&[0; 7], &dataset[..]].concat(), 100);
        assert_eq!(found, Err(HeadError::NotADataset));
    }
}

#[test]
fn a_front_that_never_ends_is_refused() {
    let mut meta = Writer::new(EXPLICIT_LE);
    for _ in 0..100 {
        meta.element(Tag(0x0002, 0x0102), "OB", &[0; 1024]);
    }
    meta.bytes.extend(Writer::typical(EXPLICIT_LE));
    for piece in [1, 4096] {
        assert_eq!(stored(EXPLICIT_LE, &meta.bytes, piece).2, Err(HeadError::LongFileMeta));
    }
}

/// The elements that a dataset can begin with: those up to the SOP Instance UID, in any of the forms they are given.
fn first_elements() -> Vec<(Tag, String)> {
    let known = (0..=0x0018_u16).filter_map(|element| {
        let tag = Tag(0x0008, element);
        let vr = if element == 0 {
            "UL".to_owned()
        } else {
            StandardDataDictionary.by_tag(tag)?.vr().relaxed().to_string().to_owned()
        };
        Some((tag, vr))
    });
    known.collect()
}

#[test]
fn a_dataset_that_begins_as_announced_is_never_called_another() {
    let first = first_elements();
    assert!(first.len() > 10, "{first:?}");
    for syntax in NATIVE {
        for (tag, vr) in &first {
            // Every even length of 16 bits, those among them that read as a VR.
            for length in (0..=0xFFFE_u32).step_by(2) {
                if vr == "SQ" && length > 0 {
                    continue;
                }
                let mut w = Writer::new(syntax);
                w.header(*tag, vr, length);
                w.bytes.resize(w.bytes.len() + length.min(3000) as usize, b'1');
                if length <= 3000 {
                    w.element(tags::STUDY_DATE, "DA", b"20260101");
                }
                let mut scan = HeadScan::new(syntax, wanted(), HeadLimits::default());
                let _ = scan.feed(&w.bytes);
                assert_eq!(scan.other_transfer_syntax(), None, "{tag} {vr} {length} {syntax}");
            }
        }
    }
}

proptest! {
    /// Elements of any group in front, private and unknown ones too: what is written as announced keeps its label.
    #[test]
    fn whatever_a_dataset_begins_with_its_label_stays(
        syntax in prop::sample::select(NATIVE.to_vec()),
        elements in prop::collection::vec((4_u16..0x7FE0, any::<u16>(), 0_usize..3, prop::collection::vec(any::<u8>(), 0..40)), 1..6),
    ) {
        let mut w = Writer::new(syntax);
        for (group, element, vr, mut value) in elements {
            value.truncate(value.len() / 2 * 2);
            w.element(Tag(group, element), ["LO", "UN", "US"][vr], &value);
        }
        let (bytes, other, _) = stored(syntax, &w.bytes, 4096);
        prop_assert!(bytes == w.bytes);
        prop_assert_eq!(other, None);
    }

    /// A deflated stream never passes for a dataset that is not deflated.
    #[test]
    fn a_deflated_stream_is_never_called_native(value in prop::collection::vec(any::<u8>(), 0..300), level in 0_u32..10) {
        use std::io::Write;
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::SOP_CLASS_UID, "UI", &value[..value.len() / 2 * 2]);
        w.bytes.extend(Writer::typical(EXPLICIT_LE));
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(level));
        encoder.write_all(&w.bytes).unwrap();
        let (bytes, other, head) = stored(DEFLATED, &encoder.finish().unwrap(), 4096);
        prop_assert!(!bytes.is_empty());
        prop_assert!(head.is_ok() && other.is_none());
    }

    /// What is stored and how it is called does not depend on how the bytes came.
    #[test]
    fn any_opening_means_the_same_in_any_pieces(
        syntax in prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, JPEG, "1.2.3"]),
        written in prop::sample::select(NATIVE.to_vec()),
        front in 0_usize..6,
        edits in prop::collection::vec((0_usize..300, any::<u8>()), 0..4),
        size in 1_usize..300,
    ) {
        let mut sent = fronts(written).get(front).cloned().unwrap_or_default();
        sent.extend(Writer::typical(written));
        for (at, byte) in edits {
            let at = at % sent.len();
            sent[at] = byte;
        }
        prop_assert_eq!(stored(syntax, &sent, size), stored(syntax, &sent, 1 << 20));
    }
}
