//! Any bytes as action information, in both encodings. The first byte says in how large pieces they come, and in which encoding; what they
//! mean must not depend on the pieces. What dicom-object reads, and would write so again, is read equally.
#![no_main]

use dicom_core::{Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};
use libfuzzer_sys::fuzz_target;
use tidegate_protocol::commitment::{Encoding, Form, Information, InformationFault};

const MOST: u32 = 20;

type Read = (Result<String, InformationFault>, Vec<(String, String)>);

fn read(bytes: &[u8], encoding: Encoding, piece: usize) -> Read {
    let mut reader = Information::new(Form::Action, encoding, MOST);
    let mut references = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        let _ = reader.push(piece, &mut |reference, reason| {
            assert_eq!(reason, None);
            assert!((1..=64).contains(&reference.sop_class.len()) && (1..=64).contains(&reference.sop_instance.len()));
            references.push((reference.sop_class.to_owned(), reference.sop_instance.to_owned()));
        });
    }
    assert!(references.len() <= MOST as usize);
    (reader.finish(), references)
}

/// The same dataset as dicom-object reads it; `None` if it would not write it so.
fn theirs(bytes: &[u8], encoding: Encoding) -> Option<(String, Vec<(String, String)>)> {
    // dicom-object sets aside as much memory as a length announces: no length of more than 64 KiB is in these bytes.
    let is_bounded = |at: usize| {
        bytes[at..].first_chunk().is_none_or(|length| {
            let length = u32::from_le_bytes(*length);
            length < 65_536 || length == u32::MAX
        })
    };
    if bytes.len() > 2000 || !(0..bytes.len()).filter(|at| at % 2 == 0).all(is_bounded) {
        return None;
    }
    let syntax = match encoding {
        Encoding::Implicit => IMPLICIT_VR_LITTLE_ENDIAN.erased(),
        Encoding::Explicit => EXPLICIT_VR_LITTLE_ENDIAN.erased(),
    };
    let object = InMemDicomObject::read_dataset_with_ts(bytes, &syntax).ok()?;
    let mut again = Vec::new();
    object.write_dataset_with_ts(&mut again, &syntax).ok()?;
    if again != bytes {
        return None;
    }
    let text = |object: &InMemDicomObject, tag| {
        // dicom-object writes values of other VRs as text in its own way.
        let element = object.element(tag).ok().filter(|element| element.vr() == VR::UI)?;
        let value = element.to_str().ok()?;
        Some(value.trim_matches(['\0', ' ']).to_owned())
    };
    let items = object.element(Tag(0x0008, 0x1199)).ok()?.items()?;
    let pair = |item| Some((text(item, Tag(0x0008, 0x1150))?, text(item, Tag(0x0008, 0x1155))?));
    Some((text(&object, Tag(0x0008, 0x1195))?, items.iter().map(pair).collect::<Option<_>>()?))
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, bytes)) = data.split_first() else { return };
    let encoding = if first & 1 == 1 { Encoding::Explicit } else { Encoding::Implicit };
    let whole = read(bytes, encoding, bytes.len());
    assert_eq!(read(bytes, encoding, usize::from(first >> 1)), whole);
    if let (Ok(transaction_uid), references) = whole
        && let Some(theirs) = theirs(bytes, encoding)
    {
        assert_eq!(theirs, (transaction_uid, references));
    }
});
