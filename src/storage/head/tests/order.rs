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
