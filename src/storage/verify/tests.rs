//! The walk, over datasets made and broken by hand, in pieces of every size.

use dicom_core::Tag;

use crate::head::element::Encoding;
use crate::head::walk::{DatasetFault, Walk};

const PIXEL_DATA: Tag = Tag(0x7FE0, 0x0010);
const ITEM: Tag = Tag(0xFFFE, 0xE000);

/// An element in explicit VR little endian, short form.
fn short(group: u16, element: u16, vr: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), element.to_le_bytes(), *vr, (value.len() as u16).to_le_bytes()].concat();
    bytes.extend(value);
    bytes
}

/// The header of an element in explicit VR little endian, long form.
fn long(group: u16, element: u16, vr: &[u8; 2], length: u32) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), element.to_le_bytes(), *vr, [0, 0]].concat();
    bytes.extend(length.to_le_bytes());
    bytes
}

/// An item or delimiter.
fn item(element: u16, length: u32) -> Vec<u8> {
    [&0xFFFE_u16.to_le_bytes()[..], &element.to_le_bytes(), &length.to_le_bytes()].concat()
}

fn name() -> Vec<u8> {
    short(0x10, 0x10, b"PN", b"AB")
}

fn walk_as(encoding: Encoding, bytes: &[u8], piece: usize) -> Result<(), DatasetFault> {
    let mut walk = Walk::new(encoding);
    bytes.chunks(piece).for_each(|piece| walk.feed(piece));
    walk.finish(None)
}

/// The same whatever the pieces.
fn walk(bytes: &[u8]) -> Result<(), DatasetFault> {
    let whole = walk_as(Encoding::ExplicitLe, bytes, bytes.len().max(1));
    for piece in 1..20 {
        assert_eq!(walk_as(Encoding::ExplicitLe, bytes, piece), whole, "in pieces of {piece}");
    }
    whole
}

/// Something of everything: sequences and items of known and unknown length, inside one another, and fragments.
fn rich() -> Vec<u8> {
    let inner = [item(0xE000, u32::MAX), name(), item(0xE00D, 0)].concat();
    let sequence = [long(0x40, 0x275, b"SQ", inner.len() as u32), inner].concat();
    let known_item = [item(0xE000, sequence.len() as u32), sequence.clone()].concat();
    [
        short(0x08, 0x16, b"UI", b"1.2\0"),
        long(0x08, 0x1115, b"SQ", u32::MAX),
        known_item,
        item(0xE000, 0),
        item(0xE000, u32::MAX),
        sequence,
        item(0xE00D, 0),
        item(0xE0DD, 0),
        long(0x08, 0x1140, b"SQ", 0),
        short(0x10, 0x10, b"PN", b""),
        long(0x7FE0, 0x10, b"OB", u32::MAX),
        item(0xE000, 0),
        item(0xE000, 4),
        vec![1, 2, 3, 4],
        item(0xE0DD, 0),
    ]
    .concat()
}

#[test]
fn pixel_data_must_have_the_form_that_the_transfer_syntax_has() {
    use crate::head::syntax::PixelForm::{Encapsulated, Native};
    let encapsulated = rich();
    let native = [name(), long(0x7FE0, 0x10, b"OW", 2), vec![1, 2]].concat();
    // An icon is native wherever it stands.
    let icon = [item(0xE000, 14), long(0x7FE0, 0x10, b"OW", 2), vec![1, 2]].concat();
    let with_icon = [long(0x08, 0x1140, b"SQ", icon.len() as u32), icon, native.clone()].concat();
    for (bytes, form) in [(&encapsulated, Encapsulated), (&native, Native), (&with_icon, Native)] {
        for expected in [None, Some(Native), Some(Encapsulated)] {
            let mut walk = Walk::new(Encoding::ExplicitLe);
            walk.feed(bytes);
            let found = walk.finish(expected);
            if expected.is_none_or(|expected| expected == form) {
                assert_eq!(found, Ok(()));
            } else {
                assert!(
                    matches!(found, Err(DatasetFault::PixelForm { found, .. }) if found == form.name()),
                    "{found:?}"
                );
            }
        }
    }
    let mut walk = Walk::new(Encoding::ExplicitLe);
    walk.feed(&with_icon[..with_icon.len() - native.len()]);
    assert_eq!(walk.finish(Some(Encapsulated)), Ok(()));
}

#[test]
fn a_whole_dataset_is_whole() {
    assert_eq!(walk(&rich()), Ok(()));
    assert_eq!(walk(&name()), Ok(()));
    assert_eq!(walk(&[]), Err(DatasetFault::Empty));
}

/// Wherever it is cut, it is found out, except between two elements of the dataset itself.
#[test]
fn a_cut_is_found() {
    let dataset = rich();
    let between = [0, 12, dataset.len()];
    let passed: Vec<usize> =
        (0..=dataset.len()).filter(|cut| walk_as(Encoding::ExplicitLe, &dataset[..*cut], 4096).is_ok()).collect();
    assert_eq!(passed.len(), 5, "{passed:?}: behind each element at the top");
    assert!(between[1..].iter().all(|cut| passed.contains(cut)));

    let cut = &dataset[..dataset.len() - 10];
    assert_eq!(walk(cut), Err(DatasetFault::ValueCut { tag: ITEM, missing_bytes: 2 }));
    assert_eq!(walk(&dataset[..dataset.len() - 8]), Err(DatasetFault::NotClosed { tag: PIXEL_DATA }));
    let offset = dataset.len() as u64 - 8;
    assert_eq!(walk(&dataset[..dataset.len() - 1]), Err(DatasetFault::HeaderCut { offset }));
}

#[test]
fn garbage_behind_is_found() {
    let dataset = rich();
    for garbage in [&[0][..], &[0; 8], &[0; 512], b"garbage garbage", &[0xFF; 64], &name()] {
        assert!(walk(&[&dataset, garbage].concat()).is_err(), "{garbage:?}");
    }
    // Data Set Trailing Padding belongs to it (PS3.10 §7.2).
    assert_eq!(walk(&[dataset, long(0xFFFC, 0xFFFC, b"OB", 2), vec![0, 0]].concat()), Ok(()));
}

#[test]
fn lengths_that_disagree_are_found() {
    let inside = [item(0xE000, name().len() as u32), name()].concat();
    let sequence =
        |length: u32| [long(0x08, 0x1115, b"SQ", length), inside.clone(), short(0x10, 0x20, b"LO", b"")].concat();
    let right = inside.len() as u32;
    assert_eq!(walk(&sequence(right)), Ok(()));
    for wrong in [right - 2, right - 8, right + 2, right + 8] {
        assert!(walk(&sequence(wrong)).is_err(), "{wrong}");
    }
    let item_too_long = [long(0x08, 0x1115, b"SQ", right), item(0xE000, right), name()].concat();
    assert_eq!(walk(&item_too_long), Err(DatasetFault::BeyondParent { tag: ITEM, offset: 12 }));
}

#[test]
fn what_is_out_of_place_is_found() {
    for (what, bytes) in [
        ("a delimiter of nothing", [name(), item(0xE00D, 0)].concat()),
        ("an item of nothing", [name(), item(0xE000, 0)].concat()),
        ("an element among items", [long(0x08, 0x1115, b"SQ", u32::MAX), name()].concat()),
        ("an item without end among fragments", [long(0x7FE0, 0x10, b"OB", u32::MAX), item(0xE000, u32::MAX)].concat()),
        ("a command element in the middle", [name(), short(0, 0x02, b"UI", b"")].concat()),
    ] {
        assert!(matches!(walk(&bytes), Err(DatasetFault::OutOfPlace { .. })), "{what}: {:?}", walk(&bytes));
    }
    let twice = [name(), name()].concat();
    let tag = Tag(0x10, 0x10);
    assert_eq!(walk(&twice), Err(DatasetFault::OutOfOrder { tag, before: tag, offset: 10 }));
    let text = long(0x08, 0x0119, b"UC", u32::MAX);
    assert_eq!(walk(&text), Err(DatasetFault::UndefinedLength { tag: Tag(0x08, 0x0119), offset: 0 }));
}

#[test]
fn depth_has_a_bound_and_costs_no_stack() {
    let nested = |depth: usize| {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes.extend(long(0x08, 0x1115, b"SQ", u32::MAX));
            bytes.extend(item(0xE000, u32::MAX));
        }
        for _ in 0..depth {
            bytes.extend(item(0xE00D, 0));
            bytes.extend(item(0xE0DD, 0));
        }
        bytes
    };
    assert_eq!(walk(&nested(512)), Ok(()));
    assert!(matches!(walk(&nested(513)), Err(DatasetFault::TooDeep { .. })));
    assert!(matches!(walk_as(Encoding::ExplicitLe, &nested(100_000), 1 << 20), Err(DatasetFault::TooDeep { .. })));
}

#[test]
fn implicit_vr_knows_its_sequences_by_the_dictionary() {
    let element = |group: u16, element: u16, value: &[u8]| {
        let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(value);
        bytes
    };
    let inside = [item(0xE000, 10), element(0x10, 0x10, b"AB")].concat();
    let dataset = [element(0x08, 0x16, b"1.2\0"), element(0x08, 0x1115, &inside), element(0x10, 0x20, b"")].concat();
    assert_eq!(walk_as(Encoding::ImplicitLe, &dataset, 7), Ok(()));
    // Readers go by the transfer syntax of the file meta.
    assert!(matches!(walk_as(Encoding::ExplicitLe, &dataset, 7), Err(DatasetFault::InvalidVr { offset: 0, .. })));
    let broken = [element(0x08, 0x1115, &inside[..16])].concat();
    assert!(matches!(walk_as(Encoding::ImplicitLe, &broken, 7), Err(DatasetFault::BeyondParent { .. })));
}

proptest::proptest! {
    /// Neither garbage nor damage anywhere makes it panic, and the verdict never depends on how the bytes came.
    #[test]
    fn whatever_the_bytes_the_verdict_does_not_depend_on_the_pieces(
        garbage in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        at in 0_usize..200, flip in proptest::prelude::any::<u8>(), piece in 1_usize..40,
    ) {
        let mut damaged = rich();
        let at = at % damaged.len();
        damaged[at] ^= flip;
        for bytes in [garbage, damaged] {
            for encoding in [Encoding::ExplicitLe, Encoding::ImplicitLe, Encoding::ExplicitBe] {
                proptest::prop_assert_eq!(walk_as(encoding, &bytes, piece), walk_as(encoding, &bytes, 4096));
            }
        }
    }
}

#[test]
fn a_sequence_of_unknown_vr_is_in_implicit_vr() {
    let inside = [item(0xE000, u32::MAX), vec![0x10, 0, 0x10, 0, 2, 0, 0, 0, b'A', b'B'], item(0xE00D, 0)].concat();
    let unknown = [long(0x09, 0x1001, b"UN", u32::MAX), inside, item(0xE0DD, 0), name()].concat();
    assert_eq!(walk(&unknown), Ok(()));
}
