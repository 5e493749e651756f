//! Both datasets against dicom-object as a writer and reader that is not ours, and byte by byte where it cannot write what peers do.

use dicom_core::value::{DataSetSequence, PrimitiveValue};
use dicom_core::{DataElement, Tag, VR};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::{EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN};

use super::{Encoding, Form, Information, InformationFault, Reference};

mod raw;
mod report;
mod request;

const BOTH: [Encoding; 2] = [Encoding::Implicit, Encoding::Explicit];
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

type References = Vec<(String, String)>;

/// The Transaction UID and the references of a dataset that comes in pieces of `piece` bytes.
fn read_cut(
    bytes: &[u8],
    encoding: Encoding,
    most: u32,
    piece: usize,
) -> (Result<String, InformationFault>, References) {
    let mut reader = Information::new(Form::Action, encoding, most);
    let mut references = vec![];
    let mut first_fault = None;
    for piece in bytes.chunks(piece.max(1)) {
        let mut take = |reference: Reference<'_>, _: Option<u16>| {
            references.push((reference.sop_class.into(), reference.sop_instance.into()))
        };
        let read = reader.push(piece, &mut take);
        assert!(first_fault.is_none() || read.err() == first_fault, "a fault stays");
        first_fault = first_fault.or(read.err());
        assert!(reader.held_bytes() <= 4096);
    }
    assert_eq!(reader.references() as usize, references.len());
    let ended = reader.finish();
    assert!(first_fault.is_none() || ended.as_ref().err() == first_fault.as_ref());
    (ended, references)
}

/// As [`read_cut`], in one piece, which must be the same as byte by byte.
fn read_most(bytes: &[u8], encoding: Encoding, most: u32) -> (Result<String, InformationFault>, References) {
    let whole = read_cut(bytes, encoding, most, bytes.len());
    assert_eq!(read_cut(bytes, encoding, most, 1), whole);
    whole
}

fn read(bytes: &[u8], encoding: Encoding) -> Result<(String, References), InformationFault> {
    let (ended, references) = read_most(bytes, encoding, 1000);
    ended.map(|transaction_uid| (transaction_uid, references))
}

fn uid(tag: Tag, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::UI, PrimitiveValue::from(value))
}

fn reference(sop_class: &str, sop_instance: &str) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([uid(Tag(0x0008, 0x1150), sop_class), uid(Tag(0x0008, 0x1155), sop_instance)])
}

fn sequence(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

fn written(object: &InMemDicomObject, encoding: Encoding) -> Vec<u8> {
    let mut bytes = vec![];
    let written = match encoding {
        Encoding::Implicit => object.write_dataset_with_ts(&mut bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()),
        Encoding::Explicit => object.write_dataset_with_ts(&mut bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased()),
    };
    written.unwrap();
    bytes
}

fn parsed(bytes: &[u8], encoding: Encoding) -> InMemDicomObject {
    match encoding {
        Encoding::Implicit => InMemDicomObject::read_dataset_with_ts(bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()),
        Encoding::Explicit => InMemDicomObject::read_dataset_with_ts(bytes, &EXPLICIT_VR_LITTLE_ENDIAN.erased()),
    }
    .unwrap()
}
