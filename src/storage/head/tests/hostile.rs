//! Datasets that are broken, or made to cost more than they should.

use super::*;

#[test]
fn no_bytes_are_no_dataset() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, "1.2.3"] {
        assert_eq!(scan_in(syntax, &[]), Err(HeadError::Empty));
        assert_eq!(scan_in(syntax, &[b"", b""]), Err(HeadError::Empty));
    }
}

#[test]
fn what_is_no_dataset_is_refused() {
    let jpeg = [0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x10, b'J', b'F', b'I', b'F', 0, 1, 1, 0, 0, 1];
    let texts: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"<html><body></body></html>",
        b"hello, world, hello",
        &jpeg,
        &[0xFF; 64],
        &[0; 64],
        &[0; 5000],
    ];
    for bytes in texts {
        for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE] {
            assert_eq!(scan_in(syntax, &[bytes]), Err(HeadError::NotADataset), "{bytes:?} as {syntax}");
        }
    }
}

#[test]
fn what_is_no_part_of_a_dataset_is_none_alone() {
    let mut command = Writer::new(IMPLICIT_LE);
    command.element(Tag(0x0000, 0x0002), "", b"1.2.840.10008.1.1\0");
    let part10 = [&[0; 128][..], b"DICM", &[2, 0, 0, 0, b'U', b'L', 4, 0, 0, 0, 0, 0]].concat();
    for bytes in [&part10, &command.bytes] {
        for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE] {
            assert_eq!(scan_in(syntax, &[bytes]), Err(HeadError::Empty), "{bytes:?} as {syntax}");
        }
    }
}

#[test]
fn a_dataset_that_ends_within_its_head_is_refused() {
    let dataset = Writer::typical(EXPLICIT_LE);
    let mut w = Writer::new(EXPLICIT_LE);
    w.header(Tag(0x0008, 0x0000), "UL", 4).u32(7);
    w.element(tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2\0");
    let class_end = w.bytes.len();
    assert!(scan_in(EXPLICIT_LE, &[&dataset[..class_end]]).is_ok(), "between two elements");
    let tag = tags::SOP_CLASS_UID;
    assert_eq!(scan_in(EXPLICIT_LE, &[&dataset[..class_end - 1]]), Err(HeadError::ValuePastEnd { tag }));
    assert_eq!(scan_in(EXPLICIT_LE, &[&dataset[..class_end + 3]]), Err(HeadError::Truncated));

    let mut open = Writer::new(EXPLICIT_LE);
    open.header(tags::REFERENCED_SERIES_SEQUENCE, "SQ", UNDEFINED).item(UNDEFINED);
    assert_eq!(scan_in(EXPLICIT_LE, &[&open.bytes]), Err(HeadError::Truncated));
}

#[test]
fn a_length_beyond_the_end_of_the_dataset_is_refused_only_within_the_head() {
    let mut w = Writer::new(IMPLICIT_LE);
    w.header(tags::STUDY_DATE, "", 0x7FFF_FFF0).u32(0);
    assert_eq!(scan_in(IMPLICIT_LE, &[&w.bytes]), Err(HeadError::ValuePastEnd { tag: tags::STUDY_DATE }));
    let mut w = Writer::new(IMPLICIT_LE);
    w.element(tags::PATIENT_ID, "", b"P1").header(tags::PIXEL_DATA, "", 0x7FFF_FFF0).u32(0);
    assert_eq!(scan_in(IMPLICIT_LE, &[&w.bytes]).unwrap().value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

#[test]
fn delimiters_out_of_place_are_refused() {
    let mut first = Writer::new(EXPLICIT_LE);
    first.element(tags::STUDY_DATE, "DA", b"20260101");
    let offset = first.bytes.len() as u64;

    for tag in [ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION] {
        let mut w = first.clone();
        w.header(tag, "", 0);
        assert_eq!(scan_in(EXPLICIT_LE, &[&w.bytes]), Err(HeadError::StrayDelimiter { tag, offset }));
    }
    let within = |write: fn(&mut Writer) -> &mut Writer| {
        let mut w = first.clone();
        w.header(tags::REFERENCED_SERIES_SEQUENCE, "SQ", UNDEFINED);
        write(&mut w);
        scan_in(EXPLICIT_LE, &[&w.bytes])
    };
    let (tag, at) = (ITEM_DELIMITATION, offset + 12);
    assert_eq!(within(|w| w.end_item()), Err(HeadError::StrayDelimiter { tag, offset: at }));
    let tag = SEQUENCE_DELIMITATION;
    assert_eq!(within(|w| w.item(UNDEFINED).end_sequence()), Err(HeadError::StrayDelimiter { tag, offset: at + 8 }));
    let tag = tags::PATIENT_ID;
    assert_eq!(within(|w| w.element(tags::PATIENT_ID, "LO", b"P1")), Err(HeadError::NotAnItem { tag, offset: at }));
}

#[test]
fn an_element_behind_the_first_needs_a_vr() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::STUDY_DATE, "DA", b"20260101");
    w.bytes.extend([0x08, 0x00, 0x30, 0x00, 6, 0, 0, 0, b'1', b'2', b'0', b'0', b'0', b'0']);
    let tag = tags::STUDY_TIME;
    assert_eq!(scan_in(EXPLICIT_LE, &[&w.bytes]), Err(HeadError::InvalidVr { tag }));
}

#[test]
fn only_vrs_that_may_have_undefined_length_do() {
    let mut w = Writer::new(EXPLICIT_LE);
    let tag = Tag(0x0009, 0x1001);
    w.header(tag, "UT", UNDEFINED);
    assert_eq!(scan_in(EXPLICIT_LE, &[&w.bytes]), Err(HeadError::UndefinedLength { tag }));
}

#[test]
fn a_million_tiny_elements_are_given_up_at_the_limit() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(Tag(0x0009, 0x1001), "LO", b"");
    let block = w.bytes.repeat(1000);
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), HeadLimits::default());
    let given_up = (0..1000).position(|_| scan.feed(&block) == Progress::Done).unwrap();
    assert_eq!(given_up, HeadLimits::default().max_elements as usize / 1000);
    assert_eq!(scan.finish(), Err(HeadError::Limit { which: Limit::Elements }));
}

#[test]
fn a_million_elements_within_the_limits_are_walked() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(Tag(0x0009, 0x1001), "LO", b"");
    let block = w.bytes.repeat(1000);
    let limits = HeadLimits { max_elements: u32::MAX, max_bytes: u64::MAX, ..HeadLimits::default() };
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), limits);
    assert!((0..1000).all(|_| scan.feed(&block) == Progress::More));
    let mut end = Writer::new(EXPLICIT_LE);
    end.element(tags::PATIENT_ID, "LO", b"P1");
    assert_eq!(scan.feed(&end.bytes), Progress::More);
    assert_eq!(scan.finish().unwrap().value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

#[test]
fn sequences_sixty_thousand_deep_are_given_up_at_the_limit_or_walked_within_it() {
    const DEPTH: usize = 60_000;
    let mut w = Writer::new(EXPLICIT_LE);
    w.header(tags::CONTENT_SEQUENCE, "SQ", UNDEFINED).item(UNDEFINED);
    let mut dataset = w.bytes.repeat(DEPTH);
    let mut end = Writer::new(EXPLICIT_LE);
    end.end_item().end_sequence();
    dataset.extend(end.bytes.repeat(DEPTH));
    let mut last = Writer::new(EXPLICIT_LE);
    last.element(Tag(0x0040, 0xDB00), "CS", b"TID1");
    dataset.extend(last.bytes);

    let wanted: Arc<[Tag]> = Arc::new([Tag(0x0040, 0xDB00)]);
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted.clone(), HeadLimits::default());
    assert_eq!(scan.feed(&dataset), Progress::Done);
    assert_eq!(scan.finish(), Err(HeadError::Limit { which: Limit::Depth }));

    let limits = HeadLimits { max_depth: DEPTH as u32, ..HeadLimits::default() };
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted, limits);
    assert_eq!(scan.feed(&dataset), Progress::More);
    assert_eq!(scan.finish().unwrap().value(Tag(0x0040, 0xDB00)), Some(&b"TID1"[..]));
}

#[test]
fn a_deflate_bomb_costs_no_more_than_its_limit() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(Tag(0x0009, 0x1001), "UN", &vec![0; 8 << 20]);
    w.element(tags::PATIENT_ID, "LO", b"P1");
    let bomb = deflate(&w.bytes);
    let scan_up_to = |max_bytes, new: fn(&str, Arc<[Tag]>, HeadLimits) -> HeadScan| {
        let mut scan = new(DEFLATED, wanted(), HeadLimits { max_bytes, ..HeadLimits::default() });
        let progress = scan.feed(&bomb);
        (progress, scan.finish().unwrap())
    };
    // Behind the head, the stream is inflated for its end alone.
    assert_eq!(scan_up_to(1 << 20, HeadScan::of_head), (Progress::Done, Head::unread()));
    assert_eq!(scan_up_to(1 << 20, HeadScan::new).1, Head::unread());
    let (_, head) = scan_up_to(16 << 20, HeadScan::new);
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

#[test]
fn headers_and_kept_values_are_bounded_in_bytes_and_skipped_values_are_not() {
    let limits = HeadLimits { max_bytes: 100, ..HeadLimits::default() };
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(Tag(0x0009, 0x1001), "UN", &vec![0; 1 << 20]).element(tags::PATIENT_ID, "LO", b"P1");
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), limits);
    assert_eq!(scan.feed(&w.bytes), Progress::More);
    assert!(scan.finish().is_ok());

    w.element(tags::PATIENT_ID, "LO", b"").bytes.extend(Writer::typical(EXPLICIT_LE));
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), limits);
    assert_eq!(scan.feed(&w.bytes), Progress::Done);
    assert_eq!(scan.finish(), Err(HeadError::Limit { which: Limit::Bytes }));
}

/// Found by fuzzing: what stood before the broken place counted in pieces, and not in one piece, so that the same bytes could be
/// filed under two names.
#[test]
fn a_broken_deflated_dataset_means_the_same_however_it_is_cut() {
    let whole = deflate(&Writer::typical(DEFLATED));
    for at in 0..whole.len() {
        for value in [0x00, 0xFF, whole[at] ^ 0x10] {
            let mut broken = whole.clone();
            broken[at] = value;
            let in_one = scan_in(DEFLATED, &[&broken]);
            for piece in [1, 4, 7] {
                let pieces: Vec<_> = broken.chunks(piece).collect();
                assert_eq!(scan_in(DEFLATED, &pieces), in_one, "byte {at} = {value:#x} in pieces of {piece}");
            }
        }
    }
    // Found later: the inflater itself makes less of a stream in one piece.
    let found =
        [&[0xE3, 0x60, 0x10, 0x63, 0x08, 0x85, 0xF5, 0x94][..], &[0x8E; 95], &[0x2F, 0x8C, 0x34, 0x00, 0x07, 0x33]]
            .concat();
    for piece in [1, 4, 50] {
        assert_eq!(scan_in(DEFLATED, &found.chunks(piece).collect::<Vec<_>>()), scan_in(DEFLATED, &[&found]));
    }
}
