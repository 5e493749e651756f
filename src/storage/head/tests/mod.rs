//! Datasets as bytes, in every encoding, against the head they must give.

mod hostile;
mod opening;
mod optional;
mod order;
mod structure;
mod syntaxes;

use std::sync::Arc;

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use proptest::prelude::*;

use super::*;
use crate::meta::FileMeta;
use element::{ITEM, ITEM_DELIMITATION, SEQUENCE_DELIMITATION};

const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const UNDEFINED: u32 = u32::MAX;

/// The elements that the default layout and the check against the command set need.
fn wanted() -> Arc<[Tag]> {
    Arc::new([
        tags::SOP_CLASS_UID,
        tags::SOP_INSTANCE_UID,
        tags::PATIENT_ID,
        tags::STUDY_INSTANCE_UID,
        tags::SERIES_INSTANCE_UID,
    ])
}

/// Writes elements in one encoding, as a sender would.
#[derive(Clone)]
struct Writer {
    bytes: Vec<u8>,
    explicit: bool,
    big_endian: bool,
}

impl Writer {
    fn new(transfer_syntax_uid: &str) -> Self {
        Self {
            bytes: Vec::new(),
            explicit: transfer_syntax_uid != IMPLICIT_LE,
            big_endian: transfer_syntax_uid == EXPLICIT_BE,
        }
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn header(&mut self, tag: Tag, vr: &str, length: u32) -> &mut Self {
        self.u16(tag.group()).u16(tag.element());
        if !self.explicit || tag.group() == 0xFFFE {
            return self.u32(length);
        }
        self.bytes.extend(vr.bytes());
        if ["OB", "OW", "SQ", "UN", "UT", "ZZ"].contains(&vr) {
            self.u16(0).u32(length)
        } else {
            self.u16(length as u16)
        }
    }

    fn element(&mut self, tag: Tag, vr: &str, value: &[u8]) -> &mut Self {
        self.header(tag, vr, value.len() as u32);
        self.bytes.extend_from_slice(value);
        self
    }

    fn item(&mut self, length: u32) -> &mut Self {
        self.header(ITEM, "", length)
    }

    fn end_item(&mut self) -> &mut Self {
        self.header(ITEM_DELIMITATION, "", 0)
    }

    fn end_sequence(&mut self) -> &mut Self {
        self.header(SEQUENCE_DELIMITATION, "", 0)
    }

    /// A dataset with what makes heads hard, up to pixel data that is never read.
    fn typical(transfer_syntax_uid: &str) -> Vec<u8> {
        let mut w = Self::new(transfer_syntax_uid);
        w.header(Tag(0x0008, 0x0000), "UL", 4).u32(7);
        w.element(tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2\0");
        w.element(tags::SOP_INSTANCE_UID, "UI", b"1.2.3.4\0");
        w.header(tags::REFERENCED_SERIES_SEQUENCE, "SQ", UNDEFINED);
        w.item(UNDEFINED);
        // Wanted elements inside an item are another instance's.
        w.element(tags::SOP_INSTANCE_UID, "UI", b"9.9.9.9\0");
        w.header(tags::REFERENCED_SOP_SEQUENCE, "SQ", UNDEFINED).end_sequence();
        w.end_item().item(8).header(tags::INSTANCE_NUMBER, "IS", 0).item(0).end_sequence();
        w.element(Tag(0x0009, 0x1001), "UN", &[0xFE; 300]);
        w.element(tags::PATIENT_NAME, "PN", b"Doe^J");
        w.element(tags::PATIENT_ID, "LO", b" P 1 ");
        w.element(tags::STUDY_INSTANCE_UID, "UI", b"1.2.3\0");
        w.element(tags::SERIES_INSTANCE_UID, "UI", b"1.2.3.1\0");
        w.element(tags::INSTANCE_NUMBER, "IS", b"1 ");
        w.element(tags::PIXEL_DATA, "OW", &[0x55; 64]);
        w.bytes
    }
}

fn scan_in(transfer_syntax_uid: &str, fragments: &[&[u8]]) -> Result<Head, HeadError> {
    let mut scan = HeadScan::new(transfer_syntax_uid, wanted(), HeadLimits::default());
    for fragment in fragments {
        let _ = scan.feed(fragment);
    }
    scan.finish()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn assert_typical(head: &Head) {
    assert_eq!(head.value(tags::SOP_CLASS_UID), Some(&b"1.2.840.10008.5.1.4.1.1.2"[..]));
    assert_eq!(head.value(tags::SOP_INSTANCE_UID), Some(&b"1.2.3.4"[..]));
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P 1"[..]));
    assert_eq!(head.value(tags::STUDY_INSTANCE_UID), Some(&b"1.2.3"[..]));
    assert_eq!(head.value(tags::SERIES_INSTANCE_UID), Some(&b"1.2.3.1"[..]));
    assert_eq!(head.value(tags::PATIENT_NAME), None, "not wanted");
}

proptest! {
    #[test]
    fn any_fragmentation_gives_the_same_head(
        syntax in prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED]),
        mut cuts in prop::collection::vec(0usize..900, 0..40),
    ) {
        let mut dataset = Writer::typical(syntax);
        if syntax == DEFLATED {
            dataset = deflate(&dataset);
        }
        cuts.iter_mut().for_each(|cut| *cut %= dataset.len());
        cuts.extend([0, dataset.len()]);
        cuts.sort_unstable();
        let fragments: Vec<&[u8]> = cuts.windows(2).map(|cut| &dataset[cut[0]..cut[1]]).collect();
        assert_typical(&scan_in(syntax, &fragments).unwrap());
    }

    #[test]
    fn any_bytes_give_the_same_outcome_in_any_fragmentation(
        syntax in prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED, "1.2.3"]),
        edits in prop::collection::vec((0usize..600, any::<u8>()), 1..12),
        size in 1usize..50,
    ) {
        let mut dataset = Writer::typical(syntax);
        for (at, byte) in edits {
            let at = at % dataset.len();
            dataset[at] = byte;
        }
        if syntax == DEFLATED {
            dataset = deflate(&dataset);
        }
        let fragments: Vec<&[u8]> = dataset.chunks(size).collect();
        prop_assert_eq!(scan_in(syntax, &fragments), scan_in(syntax, &[&dataset]));
    }
}

#[test]
fn stops_behind_the_last_wanted_element() {
    let dataset = Writer::typical(EXPLICIT_LE);
    let mut scan = HeadScan::new(EXPLICIT_LE, wanted(), HeadLimits::default());
    let header_end = dataset.len() - (12 + 64) - 2;
    assert_eq!(scan.feed(&dataset[..header_end - 1]), Progress::More);
    assert_eq!(scan.feed(&dataset[header_end - 1..header_end]), Progress::Done);
    assert_eq!(scan.feed(&[0; 1000]), Progress::Done);
    assert_typical(&scan.finish().unwrap());
}

#[test]
fn a_head_may_end_with_the_dataset() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::SOP_INSTANCE_UID, "UI", b"1.2.3.4\0");
    let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
    assert_eq!(head.value(tags::SOP_INSTANCE_UID), Some(&b"1.2.3.4"[..]));
    assert_eq!(head.value(tags::STUDY_INSTANCE_UID), None);
}

#[test]
fn an_element_without_value_is_empty_and_one_that_stands_twice_is_the_first() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::PATIENT_ID, "LO", b"").element(tags::STUDY_INSTANCE_UID, "UI", b"1.1");
    w.element(tags::STUDY_INSTANCE_UID, "UI", b"2.2");
    let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
    assert_eq!(head.value(tags::PATIENT_ID), Some(&b""[..]));
    assert_eq!(head.value(tags::STUDY_INSTANCE_UID), Some(&b"1.1"[..]));
}

#[test]
fn keeps_no_more_than_a_kibibyte_of_a_value() {
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::PATIENT_ID, "LO", &[b'x'; 5000]).element(tags::STUDY_INSTANCE_UID, "UI", b"1.1");
    let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
    assert_eq!(head.value(tags::PATIENT_ID), Some(&[b'x'; 1024][..]));
    assert_eq!(head.value(tags::STUDY_INSTANCE_UID), Some(&b"1.1"[..]));
}

#[test]
fn holds_the_dataset_against_the_command_set() {
    let uid = |text: &str| crate::uid::Uid::parse(text.as_bytes()).unwrap();
    let meta = |class: &str, instance: &str| FileMeta {
        sop_class_uid: uid(class),
        sop_instance_uid: uid(instance),
        transfer_syntax_uid: EXPLICIT_LE.into(),
        source_ae_title: String::new(),
        sending_ae_title: String::new(),
        receiving_ae_title: String::new(),
    };
    let head = scan_in(EXPLICIT_LE, &[&Writer::typical(EXPLICIT_LE)]).unwrap();
    let ct = "1.2.840.10008.5.1.4.1.1.2";
    assert_eq!(head.check(&meta(ct, "1.2.3.4")), Ok(()));
    assert_eq!(
        head.check(&meta("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4")),
        Err(Mismatch::SopClass { found: Some(uid(ct)) })
    );
    assert_eq!(head.check(&meta(ct, "1.2.3.40")), Err(Mismatch::SopInstance { found: Some(uid("1.2.3.4")) }));
    for repeated in [&[b"1.2.3.9\0"][..], &[b"1.2.3.9\0", b"1.2.3.4\0"], &[b"1.2.3.4\0", b"1.2.3.9\0"]] {
        let mut w = Writer::new(EXPLICIT_LE);
        w.element(tags::SOP_CLASS_UID, "UI", b"1.2.840.10008.5.1.4.1.1.2\0");
        w.element(tags::SOP_INSTANCE_UID, "UI", b"1.2.3.4\0");
        for uid in repeated {
            w.element(tags::SOP_INSTANCE_UID, "UI", *uid);
        }
        w.element(tags::STUDY_INSTANCE_UID, "UI", b"1.2.3\0");
        let expected = if repeated.last() == Some(&b"1.2.3.4\0") {
            Ok(())
        } else {
            Err(Mismatch::SopInstance { found: Some(uid("1.2.3.9")) })
        };
        let head = scan_in(EXPLICIT_LE, &[&w.bytes]).unwrap();
        assert_eq!(head.check(&meta(ct, "1.2.3.4")), expected, "the first and the last count");
    }
    assert_eq!(Head::default().check(&meta(ct, "1.2.3.4")), Ok(()));
    assert_eq!(Head::with(&[(tags::SOP_CLASS_UID, b" \0")]).check(&meta(ct, "1")), Ok(()));
}

#[test]
fn every_error_text_fits_an_error_comment() {
    let (tag, offset) = (tags::PIXEL_DATA, u64::from(u32::MAX));
    for error in [
        HeadError::Empty,
        HeadError::NotADataset,
        HeadError::LongFileMeta,
        HeadError::OtherPixelForm { found: syntax::PixelForm::Encapsulated.name() },
        HeadError::OtherEncoding { written: element::Encoding::ImplicitLe.name() },
        HeadError::InvalidVr { tag },
        HeadError::UndefinedLength { tag },
        HeadError::StrayDelimiter { tag, offset },
        HeadError::Broken { tag, offset },
        HeadError::NotAnItem { tag, offset },
        HeadError::ValuePastEnd { tag },
        HeadError::Truncated,
        HeadError::Deflate,
        HeadError::Limit { which: Limit::Elements },
    ] {
        assert!(error.to_string().len() <= 64, "{error}");
    }
    for mismatch in [Mismatch::SopClass { found: None }, Mismatch::SopInstance { found: None }] {
        assert!(mismatch.to_string().len() <= 64, "{mismatch}");
    }
}
