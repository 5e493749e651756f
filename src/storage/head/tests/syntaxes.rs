//! The transfer syntaxes, and the liberties of their writers.

use super::*;

#[test]
fn private_and_referenced_syntaxes_are_read_in_their_own_encoding() {
    let implicit = Writer::typical(IMPLICIT_LE);
    for uid in ["1.2.840.113619.5.2", "1.2.840.10008.1.2\0"] {
        assert_typical(&scan_in(uid, &[&implicit]).unwrap());
    }
    let explicit = Writer::typical(EXPLICIT_LE);
    for uid in ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.8.1", "1.3.6.1.4.1.99.1"] {
        assert_typical(&scan_in(uid, &[&explicit]).unwrap());
    }
    let deflated = deflate(&explicit);
    for uid in ["1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"] {
        assert_typical(&scan_in(uid, &[&deflated]).unwrap());
    }
}

#[test]
fn un_of_undefined_length_holds_implicit_vr_little_endian() {
    for syntax in [EXPLICIT_LE, EXPLICIT_BE] {
        let mut w = Writer::new(syntax);
        w.header(Tag(0x0009, 0x1010), "UN", UNDEFINED);
        let mut inner = Writer::new(IMPLICIT_LE);
        inner.item(UNDEFINED).element(Tag(0x0009, 0x1011), "", b"abc");
        inner.header(Tag(0x0009, 0x1012), "", UNDEFINED);
        inner.item(UNDEFINED).element(tags::PATIENT_ID, "", b"nested").end_item().end_sequence();
        inner.end_item().end_sequence();
        w.bytes.extend(inner.bytes);
        w.element(tags::PATIENT_ID, "LO", b"outer");
        w.element(tags::SERIES_INSTANCE_UID, "UI", b"1.5");
        let head = scan_in(syntax, &[&w.bytes]).unwrap();
        assert_eq!(head.value(tags::PATIENT_ID), Some(&b"outer"[..]));
        assert_eq!(head.value(tags::SERIES_INSTANCE_UID), Some(&b"1.5"[..]));
    }
}

#[test]
fn encapsulated_pixels_of_an_icon_are_walked_over() {
    let wanted: Arc<[Tag]> = Arc::new([tags::ICON_IMAGE_SEQUENCE, Tag(0x0088, 0x0904)]);
    let mut w = Writer::new(EXPLICIT_LE);
    w.header(tags::ICON_IMAGE_SEQUENCE, "SQ", UNDEFINED).item(UNDEFINED);
    w.header(tags::PIXEL_DATA, "OB", UNDEFINED).item(0).item(8).u32(UNDEFINED).u32(0).end_sequence();
    w.end_item().end_sequence();
    w.element(Tag(0x0088, 0x0904), "LO", b"title ");
    let mut scan = HeadScan::new("1.2.840.10008.1.2.4.50", wanted, HeadLimits::default());
    assert_eq!(scan.feed(&w.bytes), Progress::More);
    let head = scan.finish().unwrap();
    assert_eq!(head.value(Tag(0x0088, 0x0904)), Some(&b"title"[..]));
    assert_eq!(head.value(tags::ICON_IMAGE_SEQUENCE), None);
}

#[test]
fn vrs_nobody_knows_have_the_long_form_and_question_marks_the_short_one() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(Tag(0x0009, 0x1001), "ZZ", b"new vr").element(Tag(0x0009, 0x1002), "??", b"sloppy");
    w.element(tags::PATIENT_ID, "LO", b"P1");
    let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

#[test]
fn group_lengths_may_lie() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.header(Tag(0x0008, 0x0000), "UL", 4).u32(0xFFFF_FFF0);
    w.element(tags::SOP_CLASS_UID, "UI", b"1.2\0");
    w.header(Tag(0x0010, 0x0000), "UL", 4).u32(0);
    w.element(tags::PATIENT_ID, "LO", b"P1");
    let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
    assert_eq!(head.value(tags::SOP_CLASS_UID), Some(&b"1.2"[..]));
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

/// A typical dataset with text behind it that deflate writes as matches, so that damage shows.
fn deflated_text() -> Vec<u8> {
    let text: String = (0..100_000).map(|number| format!("{number} ")).collect();
    let mut padding = Writer::new(EXPLICIT_LE);
    padding.element(tags::DATA_SET_TRAILING_PADDING, "OB", text.as_bytes());
    deflate(&[Writer::typical(EXPLICIT_LE), padding.bytes].concat())
}

#[test]
fn a_deflated_dataset_is_whole_to_its_end_or_refused() {
    let deflated = deflated_text();
    assert_typical(&scan_in(DEFLATED, &[&deflated]).unwrap());
    let mut damaged = deflated.clone();
    damaged[deflated.len() - 500..].fill(0); // the code of a frequent byte: the stream does not end
    for bytes in [&deflated[..deflated.len() - 1], &damaged] {
        for piece in [100, 1 << 20] {
            let fragments: Vec<&[u8]> = bytes.chunks(piece).collect();
            assert_eq!(scan_in(DEFLATED, &fragments), Err(HeadError::Deflate));
        }
    }
}

/// A typical dataset with so many MiB of zeros behind it, which deflate a thousandfold.
fn deflated_zeros(mebibytes: usize) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut block = |bytes: &[u8]| {
        let before = encoder.get_ref().len();
        encoder.write_all(bytes).unwrap();
        encoder.flush().unwrap();
        encoder.get_ref()[before..].to_vec()
    };
    let (head, mebibyte) = (block(&Writer::typical(EXPLICIT_LE)), block(&vec![0; 1 << 20]));
    [head, mebibyte.repeat(mebibytes), vec![3, 0]].concat() // and an empty last block
}

/// Its elements are looked at up to a bound (what stands there is none), and its stream to the end.
#[test]
fn a_deflated_dataset_that_is_very_long_is_whole_to_its_end_or_refused() {
    let deflated = deflated_zeros(20);
    assert_typical(&scan_in(DEFLATED, &[&deflated]).unwrap());
    let mut damaged = deflated.clone();
    damaged[deflated.len() - 100..].fill(0xFF);
    for bytes in [&deflated[..deflated.len() - 1], &deflated[..deflated.len() - 2000], &damaged] {
        for piece in [100, 1 << 20] {
            let fragments: Vec<&[u8]> = bytes.chunks(piece).collect();
            assert_eq!(scan_in(DEFLATED, &fragments), Err(HeadError::Deflate));
        }
    }
}

/// The end of a bomb is not awaited for ever.
#[test]
fn a_deflated_dataset_is_inflated_up_to_a_bound() {
    assert_typical(&scan_in(DEFLATED, &[&deflated_zeros(4000)]).unwrap());
    assert_eq!(scan_in(DEFLATED, &[&deflated_zeros(6000)]), Err(HeadError::Deflate));
}

#[test]
fn a_deflated_head_that_cannot_be_had_is_refused() {
    let deflated = deflate(&Writer::typical(EXPLICIT_LE));
    let mut broken = deflated.clone();
    broken[0] = 0x07; // final block of the reserved type
    let with_zlib_header = [&[0x78, 0x9C][..], &deflated].concat();
    for bytes in [&deflated[..20], &broken, &with_zlib_header, &deflate(b"no dataset at all"), &deflate(b"")] {
        let whole = scan_in(DEFLATED, &[bytes]);
        assert!(whole.is_err(), "{whole:?}");
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(scan_in(DEFLATED, &single), whole);
    }
    assert_eq!(scan_in(DEFLATED, &[]), Err(HeadError::Empty));
}

#[test]
fn padding_behind_a_deflated_stream_is_ignored() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::PATIENT_ID, "LO", b"P1");
    let deflated = deflate(&w.bytes);
    let head = scan_in(DEFLATED, &[&deflated, &[0], &[0xFF; 100]]).unwrap();
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P1"[..]));
}

#[test]
fn a_dataset_may_start_behind_the_last_wanted_element() {
    let mut private = Writer::new(EXPLICIT_LE);
    private.header(Tag(0x4453, 0x100C), "UN", UNDEFINED).end_sequence();
    let mut pixels = Writer::new(IMPLICIT_LE);
    pixels.element(tags::PIXEL_DATA, "", &[0; 4]);
    for (syntax, bytes) in [(EXPLICIT_LE, private.bytes), (IMPLICIT_LE, pixels.bytes)] {
        let head = scan_in(syntax, &[&bytes]).unwrap();
        assert!(head.values.is_empty() && head.deviations().lacks_identity);
    }
}

#[test]
fn a_dataset_in_a_private_syntax_is_read_as_it_is_written_or_has_an_empty_head() {
    for written in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE] {
        let head = scan_in("1.3.6.1.4.1.99.1", &[&Writer::typical(written)]).unwrap();
        assert_typical(&head);
        assert_eq!(head.deviations(), &Deviations::default(), "{written}");
    }
    assert_eq!(scan_in("1.3.6.1.4.1.99.1", &[&[0xFF; 200]]), Ok(Head::unread()));
}
