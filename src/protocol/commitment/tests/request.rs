//! Action information: what is read of it, and what is not.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Encoding, InformationFault, tag};
use super::raw::Raw;
use super::{BOTH, CT, References, read, read_cut, read_most, reference, sequence, uid, written};
use crate::ActionStatus;

fn one() -> Result<(String, References), InformationFault> {
    Ok(("2.25.1".into(), vec![("1.2.84".into(), "1.2.3".into())]))
}

#[test]
fn what_dicom_object_writes_is_read() {
    for encoding in BOTH {
        let mut first = reference(CT, "1.2.3");
        first.put(sequence(Tag(0x0008, 0x1199), vec![reference(CT, "9.9.9")])); // nested, and not ours
        first.put(DataElement::new(Tag(0x0009, 0x1001), VR::OB, PrimitiveValue::from(vec![1_u8; 999])));
        let object = InMemDicomObject::from_element_iter([
            uid(Tag(0x0008, 0x1195), "2.25.1"),
            uid(Tag(0x0008, 0x1155), "8.8.8"), // not in an item
            sequence(Tag(0x0008, 0x1111), vec![reference("1.2.840.10008.3.1.2.3.3", "7.7.7")]),
            sequence(Tag(0x0008, 0x1199), vec![first, reference("1.2.840.10008.5.1.4.1.1.4", "1.2.34")]),
            DataElement::new(Tag(0x0088, 0x0130), VR::SH, PrimitiveValue::from("MEDIA")),
        ]);
        let references = vec![(CT.into(), "1.2.3".into()), ("1.2.840.10008.5.1.4.1.1.4".into(), "1.2.34".into())];
        assert_eq!(read(&written(&object, encoding), encoding), Ok(("2.25.1".into(), references)), "{encoding:?}");
    }
}

#[test]
fn lengths_may_be_defined_or_not() {
    for encoding in BOTH {
        let raw = Raw(encoding);
        for (sequence, item) in [(true, true), (true, false), (false, true), (false, false)] {
            let items = raw.item(&raw.item_body(), item);
            let references = raw.sequence(tag::REFERENCED_SOP_SEQUENCE, b"SQ", &items, sequence);
            assert_eq!(read(&[raw.transaction(), references.clone()].concat(), encoding), one());
            assert_eq!(read(&[references, raw.transaction()].concat(), encoding), one(), "in any order");
        }
    }
}

#[test]
fn what_is_not_asked_for_is_skipped_whatever_it_holds() {
    for encoding in BOTH {
        let raw = Raw(encoding);
        let inner = raw.references(&raw.item(&raw.item_body(), false));
        let unknown =
            raw.sequence(0x0009_1001, b"SQ", &raw.item(&[inner.clone(), raw.transaction()].concat(), false), false);
        let fragments = [raw.item(b"", true), raw.item(b"\xFE\xFF\x0D\xE0 no end", true)].concat();
        let pixels = raw.sequence(0x7FE0_0010, b"OB", &fragments, false);
        let group_length = raw.element(0x0008_0000, b"UL", &[1, 2, 3, 4]);
        let long = raw.element(0x0040_0555, b"UT", &[b'x'; 70_000]);
        // A sequence of unknown VR is in implicit VR (PS3.5 §6.2.2).
        let implicit = Raw(Encoding::Implicit);
        let items = implicit.item(&implicit.item_body(), false);
        let of_unknown_vr = raw.sequence(0x0009_1002, b"UN", &items, false);
        let references = raw.sequence(tag::REFERENCED_SOP_SEQUENCE, b"UN", &items, true);
        let around = [group_length, unknown, of_unknown_vr, pixels, long];
        let body = [around.concat(), raw.item_body(), around.concat()].concat();
        assert_eq!(read(&raw.with_item(&body), encoding), one());
        let whole = [around.concat(), raw.transaction(), around.concat(), references, around.concat()].concat();
        assert_eq!(read(&whole, encoding), one());
        assert_eq!(
            read(&[raw.with_item(&raw.item_body()), vec![0; 7]].concat(), encoding),
            one(),
            "padding at the end"
        );
    }
}

#[test]
fn values_lose_their_padding_and_nothing_else() {
    let raw = Raw(Encoding::Implicit);
    let of = |value: &[u8]| {
        let body = [
            raw.element(tag::REFERENCED_SOP_CLASS, b"UI", b" 1.2.84\0"),
            raw.element(tag::REFERENCED_SOP_INSTANCE, b"UI", value),
        ];
        read(&raw.with_item(&body.concat()), raw.0).map(|(_, mut references)| references.remove(0).1)
    };
    let (long, too_long) = (vec![b'1'; 64], vec![b'1'; 65]);
    assert_eq!(of(b"1.2.3"), Ok("1.2.3".into()), "of odd length");
    assert_eq!(of(b" 1.2.3 \0\0 "), Ok("1.2.3".into()));
    assert_eq!(of(b"1.2.a/(3)"), Ok("1.2.a/(3)".into()), "no UID, but one that could be stored");
    assert_eq!(of(&long).unwrap().len(), 64);
    let bad: [&[u8]; 9] =
        [b"", b"\0\0", b"  ", b"1.2\\1.3", b"1.2\x001.3", b"1.2 3", b"1.\xFC", &too_long, &[b' '; 129]];
    for value in bad {
        assert_eq!(of(value), Err(InformationFault::Value(tag::REFERENCED_SOP_INSTANCE)), "{value:?}");
    }
    let transaction = raw.element(tag::TRANSACTION_UID, b"UI", b"");
    let whole = [transaction, raw.references(&raw.item(&raw.item_body(), true))].concat();
    assert_eq!(read(&whole, raw.0), Err(InformationFault::Value(tag::TRANSACTION_UID)));
}

#[test]
fn what_is_missing_or_too_much_is_told_apart() {
    for encoding in BOTH {
        let raw = Raw(encoding);
        let item = raw.item(&raw.item_body(), false);
        let class = raw.element(tag::REFERENCED_SOP_CLASS, b"UI", b"1.2.84");
        let instance = raw.element(tag::REFERENCED_SOP_INSTANCE, b"UI", b"1.2.3\0");
        let cases = [
            (vec![], InformationFault::Missing(tag::TRANSACTION_UID)),
            (raw.references(&item), InformationFault::Missing(tag::TRANSACTION_UID)),
            (raw.transaction(), InformationFault::Missing(tag::REFERENCED_SOP_SEQUENCE)),
            ([raw.transaction(), raw.references(b"")].concat(), InformationFault::NoReferences),
            (raw.with_item(b""), InformationFault::Missing(tag::REFERENCED_SOP_CLASS)),
            (raw.with_item(&instance), InformationFault::Missing(tag::REFERENCED_SOP_CLASS)),
            (raw.with_item(&class), InformationFault::Missing(tag::REFERENCED_SOP_INSTANCE)),
            (
                raw.with_item(&[class.clone(), instance.clone(), class].concat()),
                InformationFault::Repeated(tag::REFERENCED_SOP_CLASS),
            ),
            ([raw.transaction(), raw.transaction()].concat(), InformationFault::Repeated(tag::TRANSACTION_UID)),
            (
                [raw.references(&item), raw.references(&item)].concat(),
                InformationFault::Repeated(tag::REFERENCED_SOP_SEQUENCE),
            ),
        ];
        for (bytes, fault) in cases {
            assert_eq!(read(&bytes, encoding), Err(fault), "{encoding:?}");
        }
        // Nothing of an item is left over for the next one.
        let items = [raw.item(&raw.item_body(), true), raw.item(&instance, true)].concat();
        let whole = [raw.transaction(), raw.references(&items)].concat();
        assert_eq!(read(&whole, encoding), Err(InformationFault::Missing(tag::REFERENCED_SOP_CLASS)));
    }
}

#[test]
fn the_bound_on_references_has_an_error_of_its_own() {
    let raw = Raw(Encoding::Explicit);
    let item = raw.item(&raw.item_body(), true);
    let of = |count: usize| [raw.transaction(), raw.references(&item.repeat(count))].concat();
    let (at_bound, references) = read_most(&of(5), raw.0, 5);
    assert_eq!((at_bound, references.len()), (Ok("2.25.1".into()), 5));
    let (beyond, references) = read_most(&of(6), raw.0, 5);
    assert_eq!((beyond, references.len()), (Err(InformationFault::TooManyReferences { most: 5 }), 5));
    assert_eq!(InformationFault::TooManyReferences { most: 5 }.status(), ActionStatus::ResourceLimitation);
    assert_eq!(InformationFault::Missing(1).status(), ActionStatus::MissingAttribute);
    assert_eq!(InformationFault::NoReferences.status(), ActionStatus::InvalidArgument);
    assert_eq!(InformationFault::Missing(tag::TRANSACTION_UID).to_string(), "(0008,1195) is missing");
}

#[test]
fn every_cut_of_a_dataset_is_truncated_or_incomplete() {
    for encoding in BOTH {
        let raw = Raw(encoding);
        for is_defined in [true, false] {
            let items = raw.item(&raw.item_body(), is_defined);
            let references = raw.sequence(tag::REFERENCED_SOP_SEQUENCE, b"SQ", &items, is_defined);
            let whole = [raw.transaction(), references].concat();
            let incomplete = [0, raw.transaction().len()];
            for end in 0..whole.len() {
                let fault = read(&whole[..end], encoding).unwrap_err();
                assert_eq!(fault == InformationFault::Truncated, !incomplete.contains(&end), "{end}: {fault}");
            }
        }
    }
}

#[test]
fn lengths_and_delimiters_that_lie_are_faults() {
    let raw = Raw(Encoding::Implicit);
    let body = raw.item_body();
    let references = |items: &[u8]| [raw.transaction(), raw.references(items)].concat();
    let long_item = [raw.header(tag::ITEM, b"--", body.len() as u32 + 1), body.clone()].concat();
    let short_item = [raw.header(tag::ITEM, b"--", body.len() as u32 - 1), body.clone()].concat();
    let in_defined =
        |items: &[u8]| [raw.transaction(), raw.sequence(tag::REFERENCED_SOP_SEQUENCE, b"SQ", items, true)].concat();
    let open_item = [raw.header(tag::ITEM, b"--", u32::MAX), body.clone()].concat();
    let end = raw.header(tag::SEQUENCE_END, b"--", 0);
    let cases = [
        (in_defined(&long_item), InformationFault::Overrun),
        (in_defined(&short_item), InformationFault::Overrun),
        (in_defined(&[raw.item(&body, true), vec![0xFE]].concat()), InformationFault::Truncated),
        (in_defined(&open_item), InformationFault::Truncated),
        ([in_defined(&open_item), raw.transaction()].concat(), InformationFault::Overrun),
        (references(&open_item), InformationFault::Structure),
        (references(&body), InformationFault::Structure),
        (references(&raw.item(&raw.item(&body, true), true)), InformationFault::Structure),
        ([in_defined(&raw.item(&body, true)), end].concat(), InformationFault::Structure),
        (raw.header(tag::ITEM_END, b"--", 0), InformationFault::Structure),
        (references(&[open_item, raw.header(tag::ITEM_END, b"--", 4)].concat()), InformationFault::Structure),
        (raw.header(tag::TRANSACTION_UID, b"UI", u32::MAX), InformationFault::Value(tag::TRANSACTION_UID)),
        (raw.header(tag::TRANSACTION_UID, b"UI", u32::MAX - 1), InformationFault::Value(tag::TRANSACTION_UID)),
        (raw.element(0x0009_0001, b"UI", b"1")[..8].iter().map(|b| b | 0x80).collect(), InformationFault::Truncated),
    ];
    for (number, (bytes, fault)) in cases.into_iter().enumerate() {
        assert_eq!(read(&bytes, raw.0), Err(fault), "{number}");
    }
    let explicit = Raw(Encoding::Explicit);
    for (bytes, fault) in [
        (explicit.element(0x0009_0001, b"\0\0", b"1"), InformationFault::Vr),
        (explicit.header(tag::REFERENCED_SOP_SEQUENCE, b"OB", u32::MAX), InformationFault::Vr),
        (explicit.header(0x0009_0001, b"UT", u32::MAX), InformationFault::Structure),
    ] {
        assert_eq!(read(&bytes, explicit.0), Err(fault));
    }
}

#[test]
fn nesting_is_followed_to_a_bound() {
    for encoding in BOTH {
        let raw = Raw(encoding);
        let nested = |depth: usize| {
            let inner =
                (0..depth).fold(vec![], |inner, _| raw.sequence(0x0009_1001, b"SQ", &raw.item(&inner, false), false));
            [inner, raw.with_item(&raw.item_body())].concat()
        };
        assert_eq!(read(&nested(16), encoding), one());
        assert_eq!(read(&nested(17), encoding), Err(InformationFault::Depth));
        assert_eq!(read(&nested(5000), encoding), Err(InformationFault::Depth));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_a_dataset_means_the_same(
        instances in vec("[0-9.]{1,64}", 1..20),
        is_explicit in any::<bool>(),
        piece in 1..200_usize,
    ) {
        let encoding = if is_explicit { Encoding::Explicit } else { Encoding::Implicit };
        let items = instances.iter().map(|instance| reference(CT, instance)).collect();
        let object = InMemDicomObject::from_element_iter([
            uid(Tag(0x0008, 0x1195), "2.25.1"),
            sequence(Tag(0x0008, 0x1199), items),
        ]);
        let expected: References = instances.into_iter().map(|instance| (CT.into(), instance)).collect();
        let bytes = written(&object, encoding);
        prop_assert_eq!(read_cut(&bytes, encoding, 1000, piece), (Ok("2.25.1".into()), expected));
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..300), piece in 1..50_usize) {
        for encoding in BOTH {
            let whole = read_cut(&bytes, encoding, 3, bytes.len());
            prop_assert_eq!(read_cut(&bytes, encoding, 3, piece), whole);
        }
    }

    #[test]
    fn no_damage_does_harm(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        is_defined in any::<bool>(),
        is_explicit in any::<bool>(),
        piece in 1..50_usize,
    ) {
        let encoding = if is_explicit { Encoding::Explicit } else { Encoding::Implicit };
        let raw = Raw(encoding);
        let unknown = raw.sequence(0x0009_1001, b"SQ", &raw.item(&raw.item_body(), false), false);
        let items = raw.item(&[unknown.clone(), raw.item_body()].concat(), is_defined).repeat(2);
        let mut bytes = [unknown, raw.transaction(), raw.references(&items)].concat();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = read_cut(&bytes, encoding, 3, bytes.len());
        prop_assert_eq!(read_cut(&bytes, encoding, 3, piece), whole);
    }
}
