//! Single facts of the standard.

use dicom_core::Tag;
use tidegate_reencode::{Fault, NotNative, Reencoder};

use super::dataset::{Encoding, header};
use super::support::{BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, SYNTAXES, deflate, inflate, reencode};

const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);

fn element(encoding: Encoding, tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = header(tag, Some(vr), value.len() as u32, encoding);
    bytes.extend(value);
    bytes
}

fn implicit(tag: Tag, value: &[u8]) -> Vec<u8> {
    element(Encoding::ImplicitLe, tag, b"UN", value)
}

fn explicit(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    element(Encoding::ExplicitLe, tag, vr, value)
}

fn big(tag: Tag, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    element(Encoding::ExplicitBe, tag, vr, value)
}

#[test]
fn the_bytes_of_the_standard() {
    // PS3.5 §7.5.2, tables 7.5-1 to 7.5-3: a sequence of defined length in implicit VR, written out by hand.
    let given = b"\x08\x00\x40\x11\x18\0\0\0\xFE\xFF\x00\xE0\x10\0\0\0\x08\x00\x55\x11\x08\0\0\x001.2.3.4\0";
    let wanted =
        b"\x08\x00\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x08\x00\x55\x11UI\x08\x001.2.3.4\0\
        \xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0";
    assert_eq!(reencode(IMPLICIT, EXPLICIT, given).unwrap(), wanted);
    let wanted =
        b"\x00\x08\x11\x40SQ\0\0\xFF\xFF\xFF\xFF\xFF\xFE\xE0\x00\xFF\xFF\xFF\xFF\x00\x08\x11\x55UI\x00\x081.2.3.4\0\
        \xFF\xFE\xE0\x0D\0\0\0\0\xFF\xFE\xE0\xDD\0\0\0\0";
    assert_eq!(reencode(IMPLICIT, BIG_ENDIAN, given).unwrap(), wanted);
}

#[test]
fn compressed_and_private_syntaxes_are_not_native() {
    for uid in ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.3", ""] {
        for (from, to) in [(uid, EXPLICIT), (EXPLICIT, uid)] {
            assert_eq!(Reencoder::new(from, to).err(), Some(NotNative { uid: uid.to_owned() }));
        }
    }
    assert!(Reencoder::new("1.2.840.10008.1.2\0", "1.2.840.10008.1.2.1 ").is_ok());
}

#[test]
fn an_empty_dataset_stays_empty() {
    assert_eq!(reencode(IMPLICIT, EXPLICIT, b""), Ok(vec![]));
    assert_eq!(inflate(&reencode(IMPLICIT, DEFLATED, b"").unwrap()), b"");
}

#[test]
fn pixel_data_is_ow_whatever_its_bits() {
    let given = implicit(PIXEL_DATA, &[1, 2, 3, 4]);
    assert_eq!(reencode(IMPLICIT, EXPLICIT, &given).unwrap(), explicit(PIXEL_DATA, b"OW", &[1, 2, 3, 4]));
    assert_eq!(reencode(IMPLICIT, BIG_ENDIAN, &given).unwrap(), big(PIXEL_DATA, b"OW", &[2, 1, 4, 3]));
    // Bytes have no order.
    assert_eq!(
        reencode(EXPLICIT, BIG_ENDIAN, &explicit(PIXEL_DATA, b"OB", &[1, 2])).unwrap(),
        big(PIXEL_DATA, b"OB", &[1, 2])
    );
    assert_eq!(
        reencode(BIG_ENDIAN, IMPLICIT, &big(PIXEL_DATA, b"OW", &[2, 1])).unwrap(),
        implicit(PIXEL_DATA, &[1, 2])
    );
}

#[test]
fn the_byte_order_of_long_samples_is_not_changed() {
    let of = |bits: u8, encoding| {
        let swap =
            |value: &[u8]| if encoding == Encoding::ExplicitBe { [value[1], value[0]] } else { [value[0], value[1]] };
        let bits = element(encoding, Tag(0x0028, 0x0100), b"US", &swap(&[bits, 0]));
        [bits, element(encoding, PIXEL_DATA, b"OW", &[1, 2, 3, 4])].concat()
    };
    let fault = Fault::WordOrder { bits_allocated: 32 };
    assert_eq!(reencode(IMPLICIT, BIG_ENDIAN, &of(32, Encoding::ImplicitLe)), Err(fault));
    assert_eq!(reencode(BIG_ENDIAN, EXPLICIT, &of(32, Encoding::ExplicitBe)), Err(fault));
    assert!(reencode(EXPLICIT, IMPLICIT, &of(32, Encoding::ExplicitLe)).is_ok());
    assert!(reencode(BIG_ENDIAN, EXPLICIT, &of(16, Encoding::ExplicitBe)).is_ok());
}

#[test]
fn encapsulated_pixel_data_are_refused() {
    for (from, encoding) in
        [(IMPLICIT, Encoding::ImplicitLe), (EXPLICIT, Encoding::ExplicitLe), (BIG_ENDIAN, Encoding::ExplicitBe)]
    {
        let mut given = header(PIXEL_DATA, Some(b"OB"), u32::MAX, encoding);
        given.extend(header(Tag(0xFFFE, 0xE000), None, 0, encoding));
        for to in SYNTAXES {
            assert_eq!(reencode(from, to, &given), Err(Fault::Encapsulated { offset: 0 }));
        }
    }
}

#[test]
fn a_value_too_long_for_its_vr_is_unknown() {
    let tag = Tag(0x0070, 0x0022); // Graphic Data, FL
    for (bytes, vr) in [(65_532, b"FL"), (65_536, b"UN"), (1 << 20, b"UN")] {
        let value: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        let written = reencode(IMPLICIT, EXPLICIT, &implicit(tag, &value)).unwrap();
        assert_eq!(written, explicit(tag, vr, &value));
        // Back, it is what it was.
        assert_eq!(reencode(EXPLICIT, IMPLICIT, &written).unwrap(), implicit(tag, &value));
    }
    // UN is little endian in big endian, too.
    let value = vec![7; 65_536];
    assert_eq!(reencode(IMPLICIT, BIG_ENDIAN, &implicit(tag, &value)).unwrap(), big(tag, b"UN", &value));
}

#[test]
fn the_pixel_representation_says_what_is_signed() {
    let padding = Tag(0x0028, 0x0120);
    let early = Tag(0x0018, 0x9810);
    for (representation, vr) in [(Some([0, 0]), b"US"), (Some([1, 0]), b"SS"), (None, b"US")] {
        let own = representation
            .map(|value| (implicit(Tag(0x0028, 0x0103), &value), explicit(Tag(0x0028, 0x0103), b"US", &value)));
        let (given, wanted) = own.unwrap_or_default();
        let given = [implicit(early, &[1, 0]), given, implicit(padding, &[0, 0x80])].concat();
        let wanted = [explicit(early, b"UN", &[1, 0]), wanted, explicit(padding, vr, &[0, 0x80])].concat();
        assert_eq!(reencode(IMPLICIT, EXPLICIT, &given).unwrap(), wanted);
    }
}

#[test]
fn of_private_elements_only_the_creator_is_known() {
    let given = [implicit(Tag(0x0009, 0x0010), b"ACME"), implicit(Tag(0x0009, 0x1001), b"\x01\0")].concat();
    let wanted =
        [explicit(Tag(0x0009, 0x0010), b"LO", b"ACME"), explicit(Tag(0x0009, 0x1001), b"UN", b"\x01\0")].concat();
    assert_eq!(reencode(IMPLICIT, EXPLICIT, &given).unwrap(), wanted);
    // A private group within the range of a repeating one is no overlay.
    let given = implicit(Tag(0x6001, 0x3000), b"\x01\0");
    assert_eq!(reencode(IMPLICIT, EXPLICIT, &given).unwrap(), explicit(Tag(0x6001, 0x3000), b"UN", b"\x01\0"));
}

#[test]
fn an_unknown_sequence_keeps_its_implicit_items() {
    let tag = Tag(0x0009, 0x1002);
    let items = [
        header(Tag(0xFFFE, 0xE000), None, 10, Encoding::ImplicitLe),
        implicit(Tag(0x0028, 0x0010), &[1, 2]),
        header(Tag(0xFFFE, 0xE0DD), None, 0, Encoding::ImplicitLe),
    ]
    .concat();
    let of = |encoding| [header(tag, Some(b"UN"), u32::MAX, encoding), items.clone()].concat();
    let (little, big, implicit) = (of(Encoding::ExplicitLe), of(Encoding::ExplicitBe), of(Encoding::ImplicitLe));
    assert_eq!(reencode(EXPLICIT, BIG_ENDIAN, &little).unwrap(), big);
    assert_eq!(reencode(BIG_ENDIAN, EXPLICIT, &big).unwrap(), little);
    assert_eq!(reencode(EXPLICIT, IMPLICIT, &little).unwrap(), implicit);
    // Of one that is known to be a sequence, explicit VR says so.
    assert_eq!(&reencode(IMPLICIT, EXPLICIT, &implicit).unwrap()[4..6], b"SQ");
}

#[test]
fn deflated_and_explicit_have_the_same_bytes() {
    let group_length = explicit(Tag(0x0008, 0x0000), b"UL", &[1, 2, 3, 4]);
    let mut given = [group_length, explicit(Tag(0x0008, 0x0060), b"CS", b"CT")].concat();
    given.extend(header(Tag(0x0008, 0x1140), Some(b"SQ"), 8, Encoding::ExplicitLe));
    given.extend(header(Tag(0xFFFE, 0xE000), None, 0, Encoding::ExplicitLe));
    // The reserved bytes of a header are what they were.
    given.extend(b"\x42\x00\x11\x00OB\x01\x02\x02\0\0\0ab");
    let deflated = reencode(EXPLICIT, DEFLATED, &given).unwrap();
    assert_eq!(deflated.len() % 2, 0);
    assert_eq!(inflate(&deflated), given);
    assert_eq!(reencode(DEFLATED, EXPLICIT, &deflate(&given)).unwrap(), given);
}

#[test]
fn a_vr_that_implicit_cannot_tell_is_refused() {
    let rows = Tag(0x0028, 0x0010);
    let fault = Fault::OtherVr { tag: rows, vr: *b"UL", expected: *b"US" };
    assert_eq!(reencode(EXPLICIT, IMPLICIT, &explicit(rows, b"UL", &[1, 0, 0, 0])), Err(fault));
    assert_eq!(fault.to_string(), "element (0028,0010) has the vr UL, which readers of implicit vr take for US");
    assert!(reencode(EXPLICIT, BIG_ENDIAN, &explicit(rows, b"UL", &[1, 0, 0, 0])).is_ok());
    // Without a value there is nothing to misread.
    assert!(reencode(EXPLICIT, IMPLICIT, &explicit(rows, b"UL", &[])).is_ok());
    let sequence = Tag(0x0008, 0x1140);
    assert!(matches!(reencode(EXPLICIT, IMPLICIT, &explicit(sequence, b"OB", b"ab")), Err(Fault::OtherVr { .. })));
    // UN that is one: its items are in implicit VR, and stay as they are.
    let items = [header(Tag(0xFFFE, 0xE000), None, 10, Encoding::ImplicitLe), implicit(rows, &[1, 2])].concat();
    assert_eq!(reencode(EXPLICIT, IMPLICIT, &explicit(sequence, b"UN", &items)).unwrap(), implicit(sequence, &items));
    assert!(matches!(reencode(EXPLICIT, IMPLICIT, &explicit(sequence, b"UN", b"ab")), Err(Fault::HeaderCut { .. })));
}

#[test]
fn a_vr_of_a_later_edition_passes_where_its_bytes_stay() {
    let tag = Tag(0x0009, 0x1001);
    let given = b"\x09\x00\x01\x10ZZ\0\0\x02\0\0\0ab".as_slice();
    assert_eq!(reencode(EXPLICIT, IMPLICIT, given).unwrap(), implicit(tag, b"ab"));
    assert_eq!(reencode(EXPLICIT, BIG_ENDIAN, given).unwrap(), big(tag, b"UN", b"ab"));
    let given = b"\x00\x09\x10\x01ZZ\0\0\0\0\0\x02ab".as_slice();
    assert_eq!(reencode(BIG_ENDIAN, EXPLICIT, given), Err(Fault::UnknownVr { tag, vr: *b"ZZ" }));
}
