//! The structure of a dataset behind its head: broken so that readers give it up, or odd in a way that they bear.

use super::super::HeadError;
use super::*;

const ITEM: [u8; 8] = [0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
const ITEM_END: [u8; 8] = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0];
const SEQUENCE_END: [u8; 8] = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
/// (0088,0200), a sequence of undefined length, in explicit VR.
const SEQUENCE: [u8; 12] = [0x88, 0, 0x00, 0x02, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
/// The same of 4 bytes, with its value.
const SEQUENCE_OF_4: [u8; 16] = [0x88, 0, 0x00, 0x02, b'S', b'Q', 0, 0, 4, 0, 0, 0, b'a', b'b', b'c', b'd'];
/// The same with 4 bytes more than a delimiter has.
const LONG_SEQUENCE: [u8; 12] = [0x88, 0, 0x00, 0x02, b'S', b'Q', 0, 0, 12, 0, 0, 0];
/// (7FE0,0010), encapsulated.
const PIXELS: [u8; 12] = [0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
/// (0008,1155) in explicit VR.
const INSIDE: [u8; 14] = [8, 0, 0x55, 0x11, b'U', b'I', 6, 0, b'1', b'.', b'2', b'.', b'3', 0];
/// (0088,0140), a value of 2 bytes, in explicit VR.
const VALUE: [u8; 10] = [0x88, 0, 0x40, 0x01, b'U', b'S', 2, 0, 0x80, 0];
/// (0088,0904), of undefined length.
const TEXT: [u8; 12] = [0x88, 0, 0x04, 0x09, b'U', b'T', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
/// A fragment of 4 bytes.
const FRAGMENT: [u8; 12] = [0xFE, 0xFF, 0x00, 0xE0, 4, 0, 0, 0, 0xFF, 0xD8, 0xFF, 0xD9];

/// The dataset with a whole head and such an end.
fn ending(tail: &[&[u8]]) -> Vec<u8> {
    let mut w = Writer::new(EXPLICIT_LE);
    for tag in [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID] {
        w.element(tag, "UI", b"1.2.3\0");
    }
    w.element(tags::INSTANCE_NUMBER, "IS", b"1 "); // ends the head
    [w.bytes, tail.concat()].concat()
}

fn structure_of(syntax: &str, dataset: &[u8], piece: usize) -> Result<(), HeadError> {
    scan_in(syntax, &dataset.chunks(piece).collect::<Vec<_>>()).map(drop)
}

#[test]
fn what_readers_give_up_is_broken() {
    let broken: [(&str, &[&[u8]]); 19] = [
        ("a sequence that is not closed", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END]),
        ("an item that is not closed", &[&SEQUENCE, &ITEM, &INSIDE, &SEQUENCE_END]),
        ("neither closed", &[&SEQUENCE, &ITEM, &INSIDE]),
        ("cut in the delimiter", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END, &SEQUENCE_END[..7]]),
        ("cut in a value", &[&SEQUENCE, &ITEM, &INSIDE[..12]]),
        ("cut in a length of 32 bits", &[&TEXT[..10]]),
        ("an element without an item", &[&SEQUENCE, &INSIDE, &SEQUENCE_END]),
        ("a second delimiter", &[&SEQUENCE, &SEQUENCE_END, &SEQUENCE_END]),
        ("an item of no sequence", &[&ITEM]),
        ("a sequence that ends within a header", &[&SEQUENCE_OF_4]),
        ("a sequence that ends within a header, with more behind it", &[&SEQUENCE_OF_4, &VALUE]),
        ("letters that are no VR, with the short form of a length", &[&VALUE[..4], b"QQ", &VALUE[6..], &VALUE]),
        ("bytes that are no VR, and an end that only pydicom bears", &[&VALUE[..4], b"B\0", &VALUE[6..], &VALUE[..4]]),
        ("a value that is cut", &[&INSIDE[..12]]),
        ("a break behind a sequence that both end elsewhere", &[&LONG_SEQUENCE, &SEQUENCE_END, b"QQQQ", &VALUE]),
        ("bytes that are nothing", &[&[0xFF; 40]]),
        ("text", &[b"-- end of image --"]),
        ("a text of undefined length", &[&TEXT, b"text"]),
        ("an item of a sequence that ends within a header", &[&SEQUENCE, &FRAGMENT, &SEQUENCE_END]),
    ];
    for (what, tail) in broken {
        for piece in [1, 7, 1 << 20] {
            let found = structure_of(EXPLICIT_LE, &ending(tail), piece);
            assert!(matches!(found, Err(HeadError::Broken { .. })), "{what}, by {piece}: {found:?}");
            let found = structure_of(DEFLATED, &deflate(&ending(tail)), piece);
            assert!(matches!(found, Err(HeadError::Broken { .. })), "{what}, deflated, by {piece}: {found:?}");
        }
    }
}

/// pydicom warns and gives back no element, dcmdump ends with an error.
#[test]
fn fragments_that_are_not_closed_are_broken() {
    const JPEG: &str = "1.2.840.10008.1.2.4.50";
    for tail in [
        &[&PIXELS[..]][..],
        &[&PIXELS, &FRAGMENT],
        &[&PIXELS, &FRAGMENT[..10]],
        &[&PIXELS, &FRAGMENT, &SEQUENCE_END[..3]],
    ] {
        let found = structure_of(JPEG, &ending(tail), 7);
        assert!(matches!(found, Err(HeadError::Broken { tag: tags::PIXEL_DATA, .. })), "{found:?}");
    }
    for end in [4, 7, 8] {
        assert_eq!(
            structure_of(JPEG, &ending(&[&PIXELS, &FRAGMENT, &SEQUENCE_END[..end]]), 7),
            Ok(()),
            "known by its tag"
        );
    }
}

#[test]
fn what_readers_bear_is_no_reason_to_refuse() {
    let borne: [(&str, &[&[u8]]); 11] = [
        ("nothing more", &[]),
        ("a whole sequence", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END, &SEQUENCE_END]),
        ("an item delimiter of no item", &[&ITEM_END]),
        ("pixel data that are cut", &[&PIXELS[..8], &[9, 0, 0, 0], &VALUE]),
        ("bytes that are no VR, though the first is of one", &[&VALUE[..4], b"B\0", &VALUE[6..], &VALUE]),
        ("bytes that are no characters", &[&VALUE[..4], b"\xFF\xFF", &VALUE[6..], &VALUE]),
        ("a sequence delimiter that the length includes", &[&LONG_SEQUENCE[..8], &[8, 0, 0, 0], &SEQUENCE_END, &VALUE]),
        ("a header with no value behind it", &[&INSIDE[..8]]),
        ("a header that is cut", &[&INSIDE[..5]]),
        ("elements out of order", &[&INSIDE, &INSIDE]),
        ("zeros", &[&[0; 16]]),
    ];
    for (what, tail) in borne {
        for piece in [1, 7, 1 << 20] {
            assert_eq!(structure_of("1.2.840.10008.1.2.4.94", &ending(tail), piece), Ok(()), "{what}, by {piece}");
        }
    }
    let broken = ending(&[&SEQUENCE]);
    assert_eq!(structure_of("1.3.6.1.4.1.99.1", &broken, 4096), Ok(()), "a private transfer syntax may be anything");
}

#[test]
fn fragments_have_the_vr_of_pixel_data_and_no_item_delimiters() {
    let dataset = ending(&[&PIXELS, &FRAGMENT, &ITEM_END, &SEQUENCE_END]);
    let found = structure_of("1.2.840.10008.1.2.4.50", &dataset, 4096);
    assert!(matches!(found, Err(HeadError::Broken { tag: ITEM_DELIMITATION, .. })), "{found:?}");
    for (vr, expected) in [(b"OB", true), (b"OW", true), (b"UN", false)] {
        let dataset = ending(&[&PIXELS[..4], vr, &PIXELS[6..], &FRAGMENT, &SEQUENCE_END]);
        for piece in [1, 7, 1 << 20] {
            let found = structure_of("1.2.840.10008.1.2.4.50", &dataset, piece);
            let is_broken = matches!(found, Err(HeadError::Broken { tag: tags::PIXEL_DATA, .. }));
            assert!(if expected { found.is_ok() } else { is_broken }, "{vr:?} by {piece}: {found:?}");
        }
    }
}

/// What is broken within an item whose end is known does not hide the form of the pixel data.
#[test]
fn the_walk_goes_on_behind_what_is_broken() {
    let item_of_4 = [&SEQUENCE[..], &FRAGMENT, &SEQUENCE_END].concat();
    let begin = [&SEQUENCE[..], &[0xFE, 0xFF, 0x00, 0xE0, 16, 0, 0, 0]].concat();
    let item_that_ends_within_a_header = [&begin[..], &INSIDE, &[8, 0], &SEQUENCE_END].concat();
    for odd in [item_of_4, item_that_ends_within_a_header] {
        let dataset = ending(&[&odd, &PIXELS, &FRAGMENT, &SEQUENCE_END]);
        for piece in [1, 7, 1 << 20] {
            let found = structure_of(EXPLICIT_LE, &dataset, piece);
            assert_eq!(found, Err(HeadError::OtherPixelForm { found: "encapsulated" }), "by {piece}");
        }
    }
}

#[test]
fn sequences_may_be_as_deep_as_they_are_followed() {
    let nested = |depth: usize| {
        let (begin, end) = ([&SEQUENCE[..], &ITEM].concat(), [ITEM_END, SEQUENCE_END].concat());
        ending(&[&begin.repeat(depth), &end.repeat(depth)])
    };
    for depth in [300, 512, 600] {
        assert_eq!(structure_of(EXPLICIT_LE, &nested(depth), 1 << 20), Ok(()));
    }
    for depth in [512, 600] {
        let whole = nested(depth);
        for missing in [4, 8, 8 * depth] {
            let found = structure_of(EXPLICIT_LE, &whole[..whole.len() - missing], 1 << 20);
            assert!(matches!(found, Err(HeadError::Broken { .. })), "{depth} deep, {missing} bytes missing: {found:?}");
        }
    }
}

/// What stands in the place of a VR without being one is kept, and the length behind it is short.
#[test]
fn a_vr_that_is_none_has_the_short_form() {
    for vr in [*b"\0\0", *b"  ", *b"pn", *b"--", *b"??"] {
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2\0");
        w.bytes.extend([&[8, 0, 0x90, 0][..], &vr, &[4, 0], b"A^B "].concat());
        w.element(tags::PATIENT_ID, "LO", b"P1");
        let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
        assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P1"[..]), "{vr:?}");
        assert!(head.deviations().has_invalid_vr);
    }
}
