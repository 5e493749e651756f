use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_catalogue::{
    Catalogue, Change, ChangeProgress, Choice, DeliveryNote, Origin, Outcome, Reader, Record, SeriesValues, StudyValues,
};

use super::text;
use crate::admin::catalogue::look;
use crate::admin::catalogue::model::{
    CatalogueBatch, CatalogueCondition, CatalogueGap, CatalogueState, Studies, StudyDetail, WorkProgress,
};
use crate::admin::catalogue::search::StudySearch;
use crate::cli::table::COLUMNS;
use crate::cli::table_tests::{ADDRESS, titles, uid};
use crate::cli::text::columns;

fn record(study: u32, number: i64) -> Record {
    let uid = format!("1.2.{study}.{number}");
    Record {
        path: format!("1.2.{study}/{uid}.dcm").into(),
        sop_instance_uid: uid.parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        study: StudyValues {
            uid: format!("1.2.{study}"),
            patient_id: Some(format!("P{study:05}")),
            patient_name: Some(format!("Doe{study}^Jane")),
            patient_birth_date: Some("19700101".to_owned()),
            accession_number: Some(format!("A{study}")),
            study_date: Some("20261129".to_owned()),
            description: Some("Thorax".to_owned()),
        },
        series: SeriesValues {
            uid: format!("1.2.{study}.0"),
            modality: Some("CT".to_owned()),
            number: Some(1),
            description: Some("Axial".to_owned()),
        },
        instance_number: Some(number),
        told: tidegate_catalogue::ToldNumbers::default(),
        bytes: 1000,
        digest: Some(0xABC),
        received_ms: 1_790_000_000_000 + i64::from(study) * 1000,
        modified_ns: None,
        origin: Some(Arc::new(Origin {
            calling_ae_title: "CT1".to_owned(),
            address: "10.1.2.3".to_owned(),
            rule: "modalities".to_owned(),
            destinations: Vec::new(),
            association: 7,
        })),
    }
}

/// A reader of a catalogue with these.
fn reader(records: &[Record]) -> (TempDir, Catalogue, Reader) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    catalogue.enter(records).unwrap();
    let reader = Reader::open(&path).unwrap();
    (directory, catalogue, reader)
}

fn studies(records: &[Record], search: &StudySearch) -> Studies {
    look::studies(&mut reader(records).2, search).unwrap()
}

fn study(records: &[Record]) -> StudyDetail {
    look::study(&mut reader(records).2, "1.2.1").unwrap().unwrap()
}

#[test]
fn a_study_is_two_lines_of_a_table() {
    let mut of_japan = record(2, 1);
    of_japan.study.patient_name = Some("Yamada^Tarou=山田^太郎=やまだ^たろう".to_owned());
    let found = studies(&[record(1, 1), record(1, 2), of_japan], &StudySearch::default());
    let expected = "\
LAST RECEIVED     PATIENT ID  NAME                ACCESSION  MODAL.  FILES
2026-09-21 14:13  P00002      Yamada^Tarou=山田…  A2         CT          1
  1.2.2
2026-09-21 14:13  P00001      Doe1^Jane           A1         CT          2
  1.2.1
";
    assert_eq!(text::studies(&found, COLUMNS), expected);
}

#[test]
fn ten_thousand_studies_with_the_strangest_names_fit_80_columns_and_leave_the_terminal_alone() {
    let strange = [
        "\u{1b}]0;owned\u{7}",
        "\u{202e}evil\u{2066}",
        "山".repeat(1000).leak(),
        "e\u{301}\u{301}".repeat(300).leak(),
        "a\tb\r\nc",
        "",
    ];
    let records: Vec<_> = (0..10_000)
        .map(|at| {
            let mut record = record(at, 1);
            let text = Some(strange[at as usize % strange.len()].to_owned());
            let StudyValues { patient_id, patient_name, accession_number, description, .. } = &mut record.study;
            for value in [patient_id, patient_name, accession_number, description] {
                value.clone_from(&text);
            }
            record.series.modality.clone_from(&text);
            record.series.description = text;
            record
        })
        .collect();
    let (_directory, _catalogue, mut reader) = reader(&records);
    let (mut seen, mut search) = (0, StudySearch { limit: Some(500), ..StudySearch::default() });
    loop {
        let page = look::studies(&mut reader, &search).unwrap();
        seen += page.studies.len();
        let text = text::studies(&page, COLUMNS);
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        assert!(!text.contains(|c: char| c != '\n' && crate::unprintable::is_unprintable(c)), "{text:?}");
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 10_000);
    for uid in ["1.2.0", "1.2.1", "1.2.2", "1.2.3", "1.2.4"] {
        let text = text::study(&look::study(&mut reader, uid).unwrap().unwrap(), COLUMNS);
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        assert!(!text.contains(|c: char| c != '\n' && crate::unprintable::is_unprintable(c)), "{text:?}");
    }
}

#[test]
fn a_study_shows_what_is_missing_what_is_twice_and_what_is_gone() {
    let mut records: Vec<_> =
        (1..=24).filter(|number| ![14, 15, 16, 20].contains(number)).map(|number| record(1, number)).collect();
    let version = Record { path: PathBuf::from("1.2.1/again.dcm"), ..record(1, 1) };
    let repeated = Record { instance_number: Some(2), ..record(1, 99) };
    let without = Record { instance_number: None, origin: None, ..record(1, 98) };
    records.extend([version, repeated, without]);
    let (_directory, mut catalogue, mut reader) = reader(&records);
    catalogue.mark_gone(&["1.2.1/1.2.1.24.dcm".into()], 1_790_000_100_000).unwrap();
    let found = look::study(&mut reader, "1.2.1").unwrap().unwrap();
    let expected = "\
study         1.2.1
patient       P00001, Doe1^Jane, born 1970-01-01
accession     A1
study date    2026-11-29
description   Thorax
stored        1 series, 22 files, 21.5 KiB
gone          1 file that was stored and is not there any more
received      2026-09-21 14:13:21
state         open
directory     1.2.1

SERIES  MODALITY  FILES      SIZE  NUMBERS
     1        CT     22  21.5 KiB     1-23  Axial
  1.2.1.0
  missing 4 of the numbers: 14-16, 20
  gone 1 of the numbers: 24
  1 number is of more than one instance
  1 file is without a number
  1 further version is of an instance that is there already
  1 file is gone

FROM          FILES       FIRST RECEIVED        LAST RECEIVED
not recorded      1  2026-09-21 14:13:21  2026-09-21 14:13:21
CT1              22  2026-09-21 14:13:21  2026-09-21 14:13:21
  10.1.2.3, rule modalities, association 7
";
    assert_eq!(text::study(&found, COLUMNS), expected);
}

#[test]
fn an_association_for_each_instance_is_a_list_of_ranges() {
    let of = |number: i64, association| {
        let record = record(1, number);
        let origin = Origin { association, ..Origin::clone(record.origin.as_ref().unwrap()) };
        Record { origin: Some(Arc::new(origin)), ..record }
    };
    let text = text::study(&study(&[of(1, 7), of(2, 8), of(3, 9), of(4, 20)]), COLUMNS);
    assert!(text.contains("  10.1.2.3, rule modalities, associations 7-9, 20\n"), "{text}");
    let many: Vec<_> = (1..=1200).map(|number| of(number, number as u32 * 2)).collect();
    let found = study(&many);
    assert_eq!((found.arrivals.len(), found.arrivals_total), (1000, 1200));
    assert!(
        text::study(&found, COLUMNS).ends_with(" …\nand 200 more associations\n"),
        "{}",
        text::study(&found, COLUMNS)
    );
}

#[test]
fn an_instance_is_its_files() {
    let (_directory, mut catalogue, mut reader) = reader(&[record(1, 1)]);
    catalogue.mark_gone(&["1.2.1/1.2.1.1.dcm".into()], 1_790_000_100_000).unwrap();
    let found = look::instances(&mut reader, "1.2.1.1").unwrap().unwrap();
    let text = text::instances(&found, COLUMNS);
    for line in [
        "file          1.2.1/1.2.1.1.dcm",
        "state         gone, found so at 2026-09-21 14:15:00",
        "from          CT1 at 10.1.2.3, association 7, rule modalities",
        "size          1000 B (1000 bytes)",
        "xxh128        00000000000000000000000000000abc",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    assert_eq!(look::instances(&mut reader, "1.2.1.2").unwrap(), None);
    assert_eq!(look::instances(&mut reader, "../etc").unwrap(), None);
}

#[test]
fn an_instance_says_how_far_it_has_come_to_each_destination() {
    let names = ["archive", "cardio", "dose", "museum", "research"].map(str::to_owned);
    let origin = Origin { destinations: names.to_vec(), ..Origin::clone(record(1, 1).origin.as_ref().unwrap()) };
    let to_all = Record { origin: Some(Arc::new(origin)), ..record(1, 1) };
    let (_directory, mut catalogue, mut reader) = reader(&[to_all, record(1, 2)]);
    let at_ms = 1_790_000_100_000;
    let why = || "status C000: cannot \u{1b} understand".to_owned();
    for (name, outcome) in [
        ("archive", Outcome::Delivered { status: 0xB000, why: Some("status B000".to_owned()) }),
        ("cardio", Outcome::Retry { due_ms: at_ms + 60_000, counts: true, status: Some(0xC000), why: why() }),
        ("dose", Outcome::Dead { status: Some(0xC000), why: why() }),
    ] {
        let (generation, id) = (reader.generation().unwrap(), reader.destination(name).unwrap().unwrap().id);
        let key = reader.waiting(id, None, 1).unwrap()[0].key;
        catalogue.note_deliveries(&[DeliveryNote { generation, key, outcome, at_ms }]).unwrap();
    }
    let mut progress = ChangeProgress::default();
    catalogue.change_deliveries("museum", Change::Drop, &Choice::default(), &mut progress, at_ms).unwrap();
    let found = look::instances(&mut reader, "1.2.1.1").unwrap().unwrap();
    let text = text::instances(&found, 120);
    for line in [
        "to            archive: delivered at 2026-09-21 14:15:00: status B000",
        "to            cardio: failed 1 time, tried again at 2026-09-21 14:16:00: status C000: cannot \\u{1b} understand",
        "to            dose: DEAD, given up at 2026-09-21 14:15:00 after 1 attempt: status C000: cannot \\u{1b} understand",
        "to            museum: dropped by an operator at 2026-09-21 14:15:00",
        "to            research: waiting since 2026-09-21 14:13:21",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let text = text::instances(&look::instances(&mut reader, "1.2.1.2").unwrap().unwrap(), 120);
    assert_eq!(text.matches(": not owed\n").count(), 5, "{text}");
    let listed = text::studies(&look::studies(&mut reader, &StudySearch::default()).unwrap(), 120);
    assert!(listed.contains("not delivered: 1 waiting, 1 retrying, 1 DEAD\n"), "{listed}");
    let text = text::study(&look::study(&mut reader, "1.2.1").unwrap().unwrap(), 120);
    for line in [
        "to            archive: 1 delivered",
        "to            dose: 0 of 1 delivered, 1 DEAD",
        "to            museum: 0 delivered",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
}

/// All texts with the longest values that they can have. The path of a file is not cut, and is a short one here.
pub(in crate::cli) fn widest() -> String {
    let records: Vec<_> = (0..1200)
        .map(|number: u64| {
            let mut record = record(1, i64::MAX - 3 * number as i64);
            record.path = format!("directory-{number}/{number}.dcm").into();
            record.sop_instance_uid = uid(number).parse().unwrap();
            record.bytes = 1023 << 20;
            (record.study.uid, record.series.uid) = (uid(7), uid(number % 3));
            record.series.number = Some(i64::MIN);
            let text = "山".repeat(64);
            for value in [&mut record.study.patient_id, &mut record.study.patient_name, &mut record.series.description]
            {
                *value = Some(text.clone());
            }
            let origin = Origin {
                calling_ae_title: titles()[number as usize % 3].clone(),
                address: ADDRESS.to_owned(),
                rule: "the modalities of the north wing, by certificate".to_owned(),
                association: u32::MAX - 2 * number as u32,
                destinations: vec!["destination".repeat(3); usize::from(number == 0)],
            };
            Record { origin: Some(Arc::new(origin)), ..record }
        })
        .collect();
    let (_directory, mut catalogue, mut reader) = reader(&records);
    catalogue.mark_gone(&["directory-0/0.dcm".into()], 1_790_000_100_000).unwrap();
    let search = StudySearch::default();
    let found = look::instances(&mut reader, &uid(0)).unwrap().unwrap();
    let texts = [
        text::studies(&look::studies(&mut reader, &search).unwrap(), COLUMNS),
        text::study(&look::study(&mut reader, &uid(7)).unwrap().unwrap(), COLUMNS),
        text::instances(&found, COLUMNS),
        text::state(&state(), COLUMNS),
        text::done(&work(), COLUMNS),
    ];
    texts.concat()
}

#[test]
fn only_a_check_has_differences_that_are_left() {
    let caught_up = WorkProgress { problems: Vec::new(), gone: 1, ..work() };
    assert!(!text::done(&caught_up, COLUMNS).contains("more differences"));
    let checked = WorkProgress { work: "check".to_owned(), ..caught_up };
    assert!(text::done(&checked, COLUMNS).contains("more differences"));
}

#[test]
fn a_damage_that_was_mended_is_not_shown_as_one() {
    let mut state = CatalogueState { condition: CatalogueCondition::Current, ..state() };
    let text = text::state(&state, COLUMNS);
    assert!(!text.contains("Tree 5") && text.contains("which was made anew since"), "{text}");
    state.condition = CatalogueCondition::Unavailable;
    assert!(text::state(&state, COLUMNS).contains("Tree 5"));
}

fn work() -> WorkProgress {
    let many = 9_999_999_999;
    WorkProgress {
        number: many,
        work: "catch_up".to_owned(),
        is_running: false,
        began: String::new(),
        took_ms: 90_000_000,
        directories: many,
        skipped: many,
        files: many,
        files_per_s: many,
        read: many,
        new: many,
        changed: many,
        other: many,
        gone: many,
        unreadable: many,
        named: Vec::new(),
        problems: vec!["the file is damaged: ".to_owned() + &"Tree 5 page 17 cell 3: invalid page number ".repeat(4)],
    }
}

fn state() -> CatalogueState {
    let long = "the file cannot be written, since another program holds it ".repeat(3);
    let at = "2026-09-21T14:13:20.123Z".to_owned();
    CatalogueState {
        path: "/data/.tidegate/catalogue.sqlite".to_owned(),
        condition: CatalogueCondition::CatchingUp,
        reason: Some(long.clone()),
        remedy: Some(long.clone()),
        waiting: 65_536,
        capacity: 65_536,
        entered_total: u64::MAX,
        missed_total: u64::MAX,
        gap: Some(CatalogueGap { since: at.clone(), reason: long, missed: u64::MAX }),
        last_batch: Some(CatalogueBatch { at, records: 4096, took_ms: 9_999_999 }),
        work: Some(work()),
        last_check: Some(work()),
        bytes: 1023 << 30,
    }
}
