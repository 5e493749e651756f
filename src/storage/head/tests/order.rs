//! Datasets whose elements do not ascend, and datasets that do not say what they are.

use super::*;

/// A dataset in pieces, which may be put together in any order.
fn pieces() -> [Vec<u8>; 4] {
    let write = |fill: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new(EXPLICIT_LE);
        fill(&mut w);
        w.bytes
    };
    [
        write(&|w| {
            w.element(tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2\0").element(
                tags::SOP_INSTANCE_UID,
                "UI",
                b"1.2.3.4\0",
            );
        }),
        write(&|w| {
            w.element(tags::PATIENT_ID, "LO", b"P 1 ");
        }),
        write(&|w| {
            w.element(tags::STUDY_INSTANCE_UID, "UI", b"1.2.3\0").element(
                tags::SERIES_INSTANCE_UID,
                "UI",
                b"1.2.3.1\0",
            );
        }),
        write(&|w| {
            w.element(tags::ROWS, "US", &[1, 0]);
        }),
    ]
}

#[test]
fn the_identity_is_found_wherever_it_stands() {
    for order in [[3, 0, 1, 2], [0, 3, 1, 2], [2, 3, 1, 0], [1, 2, 3, 0]] {
        let dataset = order.map(|at| pieces()[at].clone()).concat();
        for piece in [1, 7, 1000] {
            let head = scan_in(EXPLICIT_LE, &dataset.chunks(piece).collect::<Vec<_>>()).unwrap();
            assert_typical(&head);
            assert!(head.deviations().is_unordered && !head.deviations().lacks_identity, "{order:?}");
        }
    }
    let head = scan_in(EXPLICIT_LE, &[&pieces().concat()]).unwrap();
    assert_typical(&head);
    assert_eq!(head.deviations(), &Deviations::default());
}

#[test]
fn behind_a_head_without_identity_anything_may_follow() {
    let [.., rows] = pieces();
    let mut open = Writer::new(EXPLICIT_LE);
    open.header(tags::PIXEL_DATA, "OW", 1000);
    let tails: [&[u8]; 3] = [b"", b"\xE0\x7F", &open.bytes];
    for tail in tails {
        let head = scan_in(EXPLICIT_LE, &[&rows, tail]).unwrap();
        assert_eq!(head.deviations(), &Deviations { lacks_identity: true, ..Deviations::default() }, "{tail:?}");
    }
}

#[test]
fn a_missing_element_that_no_instance_must_have_is_not_searched_for() {
    let [identity, _, study, rows] = pieces();
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), HeadLimits::default());
    assert_eq!(scan.feed(&[identity, study, rows].concat()), Progress::Done);
    assert_eq!(scan.finish().unwrap().deviations(), &Deviations::default());
}

#[test]
fn an_identity_that_stands_again_behind_the_head_is_held_against_the_command() {
    let meta = FileMeta {
        sop_class_uid: crate::uid::Uid::parse(b"1.2.840.10008.5.1.4.1.1.2").unwrap(),
        sop_instance_uid: crate::uid::Uid::parse(b"1.2.3.4").unwrap(),
        transfer_syntax_uid: EXPLICIT_LE.to_owned(),
        source_ae_title: String::new(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    };
    let again = |tag, value: &[u8]| {
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::ROWS, "US", &[1, 0]).element(tag, "UI", value);
        [pieces()[..3].concat(), w.bytes].concat()
    };
    for piece in [1, 7, 1000] {
        let head = |dataset: Vec<u8>| scan_in(EXPLICIT_LE, &dataset.chunks(piece).collect::<Vec<_>>()).unwrap();
        let other = head(again(tags::SOP_INSTANCE_UID, b"1.2.3.9\0"));
        assert_eq!(other.check(&meta), Err(Mismatch::SopInstance { found: crate::uid::Uid::parse(b"1.2.3.9").ok() }));
        let class = head(again(tags::SOP_CLASS_UID, b"1.2.3\0")).check(&meta).unwrap_err();
        assert_eq!((class.found(), matches!(class, Mismatch::SopClass { .. })), (Some("1.2.3"), true));
        let same = head(again(tags::SOP_INSTANCE_UID, b"1.2.3.4\0"));
        assert!(same.check(&meta).is_ok() && !same.deviations().is_unordered);
        // Readers do not agree on the study: the file is kept, and told.
        let study = head(again(tags::STUDY_INSTANCE_UID, b"9.9\0"));
        assert!(study.check(&meta).is_ok() && study.deviations().is_unordered);
    }
}

#[test]
fn an_empty_identity_is_none() {
    for value in [&b""[..], b"  ", b"\0\0"] {
        let [identity, patient, _, rows] = pieces();
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::STUDY_INSTANCE_UID, "UI", value).element(tags::SERIES_INSTANCE_UID, "UI", b"1.2.3.1\0");
        let head = scan_in(EXPLICIT_LE, &[&[identity, patient, w.bytes, rows].concat()]).unwrap();
        assert!(head.deviations().lacks_identity, "{value:?}");
    }
}
