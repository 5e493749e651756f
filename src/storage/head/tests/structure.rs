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
/// (7FE0,0010), encapsulated.
const PIXELS: [u8; 12] = [0xE0, 0x7F, 0x10, 0, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
/// (0008,1155) in explicit VR.
const INSIDE: [u8; 14] = [8, 0, 0x55, 0x11, b'U', b'I', 6, 0, b'1', b'.', b'2', b'.', b'3', 0];

fn structure_of(tail: &[&[u8]], piece: usize) -> Result<(), HeadError> {
    let mut w = Writer::new(EXPLICIT_LE);
    for tag in [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID] {
        w.element(tag, "UI", b"1.2.3\0");
    }
    let dataset = [w.bytes, tail.concat()].concat();
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), HeadLimits::default());
    let _ = scan.feed(&dataset);
    let mut structure = scan.structure().unwrap();
    dataset.chunks(piece).for_each(|piece| structure.feed(piece));
    structure.finish()
}

#[test]
fn what_readers_give_up_is_broken() {
    let broken: [(&str, &[&[u8]]); 10] = [
        ("a sequence that is not closed", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END]),
        ("an item that is not closed", &[&SEQUENCE, &ITEM, &INSIDE, &SEQUENCE_END]),
        ("neither closed", &[&SEQUENCE, &ITEM, &INSIDE]),
        ("cut in the delimiter", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END, &SEQUENCE_END[..7]]),
        ("cut in a value", &[&SEQUENCE, &ITEM, &INSIDE[..12]]),
        ("an element without an item", &[&SEQUENCE, &INSIDE, &SEQUENCE_END]),
        ("a second delimiter", &[&SEQUENCE, &SEQUENCE_END, &SEQUENCE_END]),
        ("an item of no sequence", &[&ITEM]),
        ("a sequence that ends within a header", &[&SEQUENCE_OF_4]),
        ("an item delimiter among fragments", &[&PIXELS, &ITEM_END, &SEQUENCE_END]),
    ];
    for (what, tail) in broken {
        for piece in [1, 7, 1 << 20] {
            assert!(matches!(structure_of(tail, piece), Err(HeadError::Broken { .. })), "{what}, by {piece}");
        }
    }
}

#[test]
fn what_readers_bear_is_no_reason_to_refuse() {
    let borne: [(&str, &[&[u8]]); 8] = [
        ("nothing more", &[]),
        ("a whole sequence", &[&SEQUENCE, &ITEM, &INSIDE, &ITEM_END, &SEQUENCE_END]),
        ("an item delimiter of no item", &[&ITEM_END]),
        ("a value that is cut", &[&INSIDE[..12]]),
        ("a header that is cut", &[&INSIDE[..5]]),
        ("elements out of order", &[&INSIDE, &INSIDE]),
        ("fragments that are not closed", &[&PIXELS]),
        ("zeros", &[&[0; 16]]),
    ];
    for (what, tail) in borne {
        for piece in [1, 7, 1 << 20] {
            assert_eq!(structure_of(tail, piece), Ok(()), "{what}, by {piece}");
        }
    }
    let mut deflated = HeadScan::new(DEFLATED, wanted(), HeadLimits::default());
    let _ = deflated.feed(&deflate(&Writer::typical(EXPLICIT_LE)));
    assert!(deflated.structure().is_none());
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
    }
}
