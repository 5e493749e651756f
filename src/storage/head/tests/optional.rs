//! Elements that are read where they stand, and that no dataset must have.

use super::*;

const OPTIONAL: [Tag; 6] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::STUDY_DATE,
    tags::PATIENT_NAME,
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::INSTANCE_NUMBER,
];

fn scan_for(transfer_syntax_uid: &str, wanted: impl Into<Wanted>, dataset: &[u8]) -> Result<Head, HeadError> {
    let mut scan = HeadScan::new(transfer_syntax_uid, wanted, HeadLimits::default());
    let _ = scan.feed(dataset);
    scan.finish()
}

/// The needed values, and what is unusual.
type Filed = (Vec<Option<Vec<u8>>>, Deviations);

/// What filing an instance makes of the outcome.
fn filed(outcome: &Result<Head, HeadError>, needed: &[Tag]) -> Result<Filed, HeadError> {
    let of = |head: &Head| {
        let values = needed.iter().map(|tag| head.value(*tag).map(<[u8]>::to_vec)).collect();
        (values, *head.deviations())
    };
    outcome.as_ref().map(of).map_err(|error| *error)
}

#[test]
fn they_are_read_up_to_the_last() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE] {
        let dataset = Writer::typical(syntax);
        let mut scan = HeadScan::new(syntax, Wanted::new(wanted(), &OPTIONAL), HeadLimits::default());
        assert_eq!(scan.feed(&dataset), Progress::Done, "the pixel data is not looked at");
        let head = scan.finish().unwrap();
        assert_eq!(head.value(tags::PATIENT_ID), Some(&b"P 1"[..]));
        assert_eq!(head.value(tags::INSTANCE_NUMBER), Some(&b"1"[..]));
        assert_eq!(head.value(tags::PATIENT_NAME), Some(&b"Doe^J"[..]));
        assert_eq!(head.value(tags::SERIES_NUMBER), None);
    }
}

#[test]
fn an_instance_is_identified_by_what_its_layout_needs() {
    let needed: Arc<[Tag]> = Arc::new([tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID]);
    let mut w = Writer::new(EXPLICIT_LE);
    w.element(tags::SOP_CLASS_UID, "UI", b"1.2").element(tags::SOP_INSTANCE_UID, "UI", b"1.3").element(
        tags::PATIENT_ID,
        "LO",
        b"P1",
    );
    let head = scan_for(EXPLICIT_LE, Wanted::new(needed, &OPTIONAL), &w.bytes).unwrap();
    assert_eq!(head.deviations(), &Deviations::default());
}

proptest! {
    /// Whatever is wrong about them or near them: the instance is filed, or refused, as if nobody had asked for them.
    #[test]
    fn they_change_nothing_for_the_others(
        syntax in prop::sample::select(vec![IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]),
        changes in prop::collection::vec((0..900_usize, any::<u8>()), 0..4),
        cut in 0..900_usize,
        is_cut: bool,
        few: bool,
    ) {
        let mut dataset = Writer::typical(syntax);
        let length = dataset.len();
        // Most changes fall behind the last needed element.
        for (at, byte) in changes {
            dataset[length - 1 - at % length] = byte;
        }
        if is_cut {
            dataset.truncate(length - cut % length);
        }
        let needed: Arc<[Tag]> = if few { Arc::new([tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID]) } else { wanted() };
        let without = scan_for(syntax, needed.clone(), &dataset);
        let with = scan_for(syntax, Wanted::new(needed.clone(), &OPTIONAL), &dataset);
        prop_assert_eq!(filed(&with, &needed), filed(&without, &needed));
    }
}
