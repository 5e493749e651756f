//! Datasets that are none.

use dicom_core::Tag;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_reencode::{Fault, Reencoder};

use super::dataset::{Encoding, header};
use super::support::{DEFLATED, EXPLICIT, IMPLICIT, SYNTAXES, deflate, reencode, reencode_in};

const SEQUENCE: Tag = Tag(0x0008, 0x1140);
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);

fn head(tag: Tag, length: u32) -> Vec<u8> {
    header(tag, None, length, Encoding::ImplicitLe)
}

fn fault_of(parts: &[Vec<u8>]) -> Fault {
    reencode(IMPLICIT, EXPLICIT, &parts.concat()).unwrap_err()
}

#[test]
fn items_and_delimiters_stand_in_their_places() {
    let undefined = u32::MAX;
    let out_of_place = |tag, offset| Fault::OutOfPlace { tag, offset };
    for tag in [ITEM, ITEM_END, SEQUENCE_END, Tag(0xFFFE, 0x0000)] {
        assert_eq!(fault_of(&[head(tag, 0)]), out_of_place(tag, 0));
    }
    assert_eq!(fault_of(&[head(SEQUENCE, undefined), head(ITEM_END, 0)]), out_of_place(ITEM_END, 8));
    assert_eq!(fault_of(&[head(SEQUENCE, undefined), head(SEQUENCE, 0)]), out_of_place(SEQUENCE, 8));
    assert_eq!(
        fault_of(&[head(SEQUENCE, undefined), head(ITEM, undefined), head(SEQUENCE_END, 0)]),
        out_of_place(SEQUENCE_END, 16)
    );
    assert_eq!(fault_of(&[head(SEQUENCE, 8), head(SEQUENCE_END, 0)]), out_of_place(SEQUENCE_END, 8));
    assert_eq!(fault_of(&[head(SEQUENCE, undefined), head(SEQUENCE_END, 2)]), out_of_place(SEQUENCE_END, 8));
}

#[test]
fn nothing_is_longer_than_what_it_is_in() {
    let beyond = |tag, offset| Fault::BeyondParent { tag, offset };
    assert_eq!(fault_of(&[head(SEQUENCE, 8), head(ITEM, 8)]), beyond(ITEM, 8));
    assert_eq!(fault_of(&[head(SEQUENCE, 4), head(ITEM, 0)]), beyond(ITEM, 8));
    assert_eq!(
        fault_of(&[head(SEQUENCE, 16), head(ITEM, u32::MAX), head(Tag(0x0028, 0x0010), 2)]),
        beyond(Tag(0x0028, 0x0010), 16)
    );
    // An item of undefined length in a sequence whose length is over.
    let parts = [head(SEQUENCE, 8), head(ITEM, u32::MAX), head(ITEM_END, 0)];
    assert_eq!(fault_of(&parts), beyond(ITEM_END, 16));
    let parts = [head(SEQUENCE, 8), head(ITEM, u32::MAX), head(SEQUENCE, u32::MAX)];
    assert_eq!(fault_of(&parts), beyond(SEQUENCE, 16));
}

#[test]
fn a_dataset_is_whole() {
    assert_eq!(
        fault_of(&[head(Tag(0x0028, 0x0010), 2)]),
        Fault::ValueCut { tag: Tag(0x0028, 0x0010), missing_bytes: 2 }
    );
    assert_eq!(fault_of(&[vec![8, 0, 0]]), Fault::HeaderCut { offset: 0 });
    assert_eq!(fault_of(&[head(SEQUENCE, u32::MAX)]), Fault::NotClosed { tag: SEQUENCE });
    assert_eq!(fault_of(&[head(SEQUENCE, u32::MAX), head(ITEM, u32::MAX)]), Fault::NotClosed { tag: ITEM });
}

#[test]
fn sequences_are_not_followed_without_end() {
    let level = [head(SEQUENCE, u32::MAX), head(ITEM, u32::MAX)].concat();
    assert!(matches!(fault_of(&[level.repeat(100_000)]), Fault::TooDeep { .. }));
    let deep = [level.repeat(512), [head(ITEM_END, 0), head(SEQUENCE_END, 0)].concat().repeat(512)].concat();
    assert!(reencode(IMPLICIT, EXPLICIT, &deep).is_ok());
}

#[test]
fn an_explicit_element_has_a_vr() {
    let given = b"\x08\x00\x60\x00\0\0\0\0";
    assert_eq!(reencode(EXPLICIT, IMPLICIT, given), Err(Fault::InvalidVr { tag: Tag(0x0008, 0x0060), offset: 0 }));
}

#[test]
fn a_fault_stays() {
    let mut reencoder = Reencoder::new(IMPLICIT, EXPLICIT).unwrap();
    let mut output = Vec::new();
    let fault = reencoder.push(&head(ITEM, 0), &mut output).unwrap_err();
    assert_eq!(reencoder.push(&head(Tag(0x0028, 0x0010), 0), &mut output), Err(fault));
    assert_eq!(reencoder.finish(&mut output), Err(fault));
}

#[test]
fn a_deflated_stream_is_whole() {
    let plain = header(Tag(0x0028, 0x0010), Some(b"US"), 0, Encoding::ExplicitLe);
    let deflated = deflate(&plain);
    assert_eq!(reencode(DEFLATED, EXPLICIT, &deflated), Ok(plain));
    assert!(matches!(reencode(DEFLATED, EXPLICIT, &deflated[..3]), Err(Fault::Deflated { .. })));
    assert!(matches!(reencode(DEFLATED, EXPLICIT, &[0xFF; 100]), Err(Fault::Deflated { .. })));
    assert!(reencode(DEFLATED, EXPLICIT, &[deflated.as_slice(), b"trailer"].concat()).is_ok());
}

/// The bound of a call is asserted by `reencode`.
#[test]
fn a_deflated_flood_comes_in_pieces() {
    let mut plain = header(Tag(0x0042, 0x0011), Some(b"OB"), 64 << 20, Encoding::ExplicitLe);
    plain.resize(plain.len() + (64 << 20), 0);
    let deflated = deflate(&plain);
    assert!(deflated.len() < 1 << 20);
    assert!(reencode(DEFLATED, EXPLICIT, &deflated).unwrap() == plain);
    // Headers grow most.
    let empty = header(Tag(0x0008, 0x1140), Some(b"SQ"), 0, Encoding::ExplicitLe);
    let deflated = deflate(&empty.repeat(1 << 20));
    assert_eq!(reencode(DEFLATED, IMPLICIT, &deflated).unwrap().len(), 8 << 20);
    let item = [header(SEQUENCE, Some(b"SQ"), 8, Encoding::ExplicitLe), head(ITEM, 0)].concat();
    assert_eq!(reencode(DEFLATED, IMPLICIT, &deflate(&item.repeat(1 << 20))).unwrap().len(), 24 << 20);
    let long: Vec<u8> = (0..4u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let plain = [header(Tag(0x0042, 0x0011), Some(b"OB"), long.len() as u32, Encoding::ExplicitLe), long].concat();
    assert!(super::support::inflate(&reencode(EXPLICIT, DEFLATED, &plain).unwrap()) == plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    /// Bytes that look like elements often enough. What is accepted comes back as it was, and goes again.
    #[test]
    fn no_bytes_do_harm(
        parts in vec(prop_oneof![
            prop::sample::select(vec![head(SEQUENCE, u32::MAX), head(SEQUENCE, 8), head(ITEM, u32::MAX), head(ITEM, 0), head(ITEM, 16),
                head(ITEM_END, 0), head(SEQUENCE_END, 0), head(Tag(0x0009, 0x1001), u32::MAX), head(Tag(0x0028, 0x0010), 2),
                header(SEQUENCE, Some(b"SQ"), u32::MAX, Encoding::ExplicitLe), header(SEQUENCE, Some(b"UN"), u32::MAX, Encoding::ExplicitLe),
                header(Tag(0x0028, 0x0010), Some(b"US"), 4, Encoding::ExplicitLe), header(Tag(0x0028, 0x0010), Some(b"US"), 4, Encoding::ExplicitBe),
                header(ITEM, None, u32::MAX, Encoding::ExplicitBe), header(ITEM_END, None, 0, Encoding::ExplicitBe)]),
            vec(any::<u8>(), 0..12),
        ], 0..20),
        from in 0..SYNTAXES.len(),
        to in 0..SYNTAXES.len(),
        pieces in vec(1usize..20, 0..5),
    ) {
        let (from, to) = (SYNTAXES[from], SYNTAXES[to]);
        let bytes = parts.concat();
        let whole = reencode(from, to, &bytes);
        let cut = reencode_in(&pieces, from, to, &bytes);
        match from {
            // How far a broken stream is inflated depends on its pieces.
            DEFLATED => prop_assert_eq!(whole.clone().ok(), cut.ok()),
            _ => prop_assert_eq!(&whole, &cut),
        }
        if let Ok(there) = whole
            && let Ok(back) = reencode(to, from, &there)
        {
            let again = reencode(from, to, &back).unwrap();
            prop_assert_eq!(reencode(from, to, &reencode(to, from, &again).unwrap()).unwrap(), again);
        }
    }
}
