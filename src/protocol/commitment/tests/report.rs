//! Event information: what is written is read by others, and by our own reader.

use dicom_core::Tag;
use dicom_object::InMemDicomObject;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Encoding, EventInformation, Form, Information, InformationFault, OutOfOrder, Reference, Terms};
use super::{BOTH, CT, References, parsed, read};

fn report(
    encoding: Encoding,
    failed: &[(&str, &str, u16)],
    committed: &[(&str, &str)],
    title: Option<&str>,
) -> Vec<u8> {
    let mut out = vec![];
    let terms = Terms { transaction_uid: "2.25.12", retrieve_ae_title: title };
    let mut writer = EventInformation::begin(&mut out, encoding, &terms);
    for (sop_class, sop_instance, reason) in failed {
        writer.failed(&mut out, Reference { sop_class, sop_instance }, *reason).unwrap();
    }
    for (sop_class, sop_instance) in committed {
        writer.committed(&mut out, Reference { sop_class, sop_instance });
    }
    writer.end(&mut out);
    out
}

#[test]
fn a_report_is_read_by_dicom_object() {
    let failed = [(CT, "1.2.3", 0x0112), (CT, "1.2.34", 0x0119)];
    let committed = [(CT, "1.2.5"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.66"), (CT, "1")];
    for encoding in BOTH {
        for (failed, committed) in [
            (&failed[..], &committed[..]),
            (&[][..], &committed[..]),
            (&failed[..], &[][..]),
            (&failed[..1], &committed[..1]),
        ] {
            let bytes = report(encoding, failed, committed, Some("STORE"));
            assert_eq!(bytes.len() % 2, 0);
            let object = parsed(&bytes, encoding);
            let text = |object: &InMemDicomObject, tag| {
                object.element(tag).unwrap().to_str().unwrap().trim_end_matches('\0').trim().to_owned()
            };
            assert_eq!(text(&object, Tag(0x0008, 0x0054)), "STORE");
            assert_eq!(text(&object, Tag(0x0008, 0x1195)), "2.25.12");
            let items = |tag| object.element_opt(tag).unwrap().map(|element| element.items().unwrap().to_vec());
            let pair = |item: &InMemDicomObject| (text(item, Tag(0x0008, 0x1150)), text(item, Tag(0x0008, 0x1155)));
            let read: Vec<_> = items(Tag(0x0008, 0x1199)).unwrap_or_default().iter().map(pair).collect();
            assert_eq!(read, committed.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>());
            let reason = |item: &InMemDicomObject| item.element(Tag(0x0008, 0x1197)).unwrap().to_int::<u16>().unwrap();
            let read: Vec<_> =
                items(Tag(0x0008, 0x1198)).unwrap_or_default().iter().map(|item| (pair(item), reason(item))).collect();
            let expected = failed.iter().map(|(a, b, reason)| (((*a).to_owned(), (*b).to_owned()), *reason));
            assert_eq!(read, expected.collect::<Vec<_>>());
            assert_eq!(items(Tag(0x0008, 0x1199)).is_some(), !committed.is_empty(), "no empty sequence");
            assert_eq!(items(Tag(0x0008, 0x1198)).is_some(), !failed.is_empty());
        }
        assert!(
            parsed(&report(encoding, &[], &committed, None), encoding)
                .element_opt(Tag(0x0008, 0x0054))
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn a_report_is_read_with_its_reasons_however_it_is_cut() {
    let failed = [(CT, "1.2.3", 0x0112), (CT, "1.2.34", 0x0119)];
    let committed = [(CT, "1.2.5"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.66")];
    for encoding in BOTH {
        for (failed, committed) in [(&failed[..], &committed[..]), (&[][..], &committed[..]), (&failed[..], &[][..])] {
            let bytes = report(encoding, failed, committed, Some("STORE"));
            for piece in [1, 3, bytes.len()] {
                let mut reader = Information::new(Form::Event, encoding, 4);
                let mut found = vec![];
                for piece in bytes.chunks(piece) {
                    let mut take = |reference: Reference<'_>, reason: Option<u16>| {
                        found.push((reference.sop_instance.to_owned(), reason));
                    };
                    reader.push(piece, &mut take).unwrap();
                }
                assert_eq!(reader.finish().as_deref(), Ok("2.25.12"));
                let expected = failed.iter().map(|(_, uid, reason)| ((*uid).to_owned(), Some(*reason)));
                let expected: Vec<_> =
                    expected.chain(committed.iter().map(|(_, uid)| ((*uid).to_owned(), None))).collect();
                assert_eq!(found, expected);
            }
            let mut reader = Information::new(Form::Event, encoding, 1);
            let read = reader.push(&bytes, &mut |_, _| {});
            let too_many = failed.len() + committed.len() > 1;
            assert_eq!(read.is_err(), too_many);
            assert!(!too_many || read == Err(InformationFault::TooManyReferences { most: 1 }));
        }
    }
}

#[test]
fn a_failed_reference_does_not_follow_a_committed_one() {
    let mut out = vec![];
    let terms = Terms { transaction_uid: "2.25.1", retrieve_ae_title: None };
    let mut writer = EventInformation::begin(&mut out, Encoding::Implicit, &terms);
    let reference = Reference { sop_class: CT, sop_instance: "1.2.3" };
    writer.committed(&mut out, reference);
    let length = out.len();
    assert_eq!(writer.failed(&mut out, reference, 0x0110), Err(OutOfOrder));
    assert_eq!(out.len(), length);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The committed half of a report is read by the reader of requests.
    #[test]
    fn a_report_is_read_back(instances in vec("[0-9.]{1,64}", 1..20), is_explicit in any::<bool>()) {
        let encoding = if is_explicit { Encoding::Explicit } else { Encoding::Implicit };
        let pairs: Vec<_> = instances.iter().map(|instance| (CT, instance.as_str())).collect();
        let bytes = report(encoding, &[(CT, "1.2", 0x0110)], &pairs, Some("A"));
        let expected: References = pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        prop_assert_eq!(read(&bytes, encoding), Ok(("2.25.12".into(), expected)));
    }
}
