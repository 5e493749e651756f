//! A search finds the same by rows and by indices, and reads nothing else.

use std::sync::Arc;

use tempfile::TempDir;

use super::super::condition::{ACCESSION, DATE, NAME, PATIENT_ID, SOURCE, UID};
use super::*;
use crate::{Catalogue, Origin, Record, SeriesValues, StudyValues};

/// A number that looks random (splitmix64).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number ^ number >> 27
}

const NAMES: [&str; 6] =
    ["Müller^Jürgen", "DOE^JANE^^Dr", "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", "Иванов^Иван", "", "O'Neil Smith^Mary"];

fn record(study: u64) -> Record {
    let random = mixed(study);
    let origin = Origin { calling_ae_title: format!("MODALITY{}", random % 50), ..Origin::default() };
    Record {
        path: format!("{study}/1.dcm").into(),
        sop_instance_uid: format!("1.2.{study}.1").parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        study: StudyValues {
            uid: format!("1.2.{study}"),
            patient_id: Some(format!("p{:05}", random % 100_000)),
            patient_name: Some(NAMES[(random / 7) as usize % NAMES.len()].to_owned()),
            accession_number: Some(format!("ACC{:06}", mixed(random) % 1_000_000)),
            study_date: Some(format!("20{:02}{:02}{:02}", study / 4000, random % 12 + 1, random % 28 + 1)),
            ..StudyValues::default()
        },
        series: SeriesValues { uid: "1".to_owned(), ..SeriesValues::default() },
        instance_number: Some(1),
        told: crate::ToldNumbers::default(),
        bytes: 1,
        digest: None,
        received_ms: 1_000_000 + study as i64 / 3,
        modified_ns: None,
        origin: Some(Arc::new(origin)),
    }
}

fn made(studies: u64) -> (TempDir, Reader) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = directory.path().join("catalogue.db");
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    for first in (0..studies).step_by(5000) {
        let records: Vec<_> = (first..studies.min(first + 5000)).map(record).collect();
        catalogue.enter(&records).unwrap();
    }
    (directory, Reader::open(&path).unwrap())
}

/// Each search that people make, alone and with another.
fn searches() -> Vec<Search> {
    let text = |text: &str| Some(text.to_owned());
    let date = |from: &str, to: &str| Some((from.to_owned(), to.to_owned()));
    let mut searches = Vec::new();
    for beginning in [
        "ACC",
        "acc12",
        "ACC123456",
        "P0",
        "p01234",
        "1.2.77",
        "müll",
        "JÜRGEN",
        "jane",
        "ヤマ",
        "山田^太",
        "иван",
        "modality7",
        "=",
        "x",
    ] {
        searches.push(Search { text: text(beginning), ..Search::default() });
        searches.push(Search { patient: text(beginning), ..Search::default() });
        searches.push(Search { accession: text(beginning), source: text("Modality3"), ..Search::default() });
        let study_date = date("20100101", "20101231");
        searches.push(Search { text: text(beginning), study_date, since_ms: Some(1_002_000), ..Search::default() });
    }
    for (from, to) in [("20000101", "20000131"), ("", "20001231"), ("20230101", "99991231"), ("20990101", "99991231")] {
        searches.push(Search { study_date: date(from, to), ..Search::default() });
        searches.push(Search { study_date: date(from, to), until_ms: Some(1_020_000), ..Search::default() });
    }
    searches.extend([Search { source: text("MODALITY1"), ..Search::default() }, Search::default()]);
    searches
}

fn all_find_the_same(studies: u64, ways: [usize; 2]) {
    let (_directory, mut reader) = made(studies);
    let mut found = 0;
    for search in searches() {
        let mut by =
            |after, limit, looked_at| reader.file.ask(|db| find(db, &search, after, limit, looked_at)).unwrap();
        let [first, other] = ways.map(|looked_at| by(None, 1200, looked_at));
        assert_eq!(first, other, "{search:?}");
        if let Some(rest) = first.get(50..) {
            let next = &rest[..rest.len().min(50)];
            assert_eq!(by(Some(first[49]), next.len(), 0), next, "{search:?}");
        }
        found += usize::from(!first.is_empty());
    }
    assert!(found > 20, "{found}");
}

#[test]
fn rows_and_indices_find_the_same() {
    all_find_the_same(5000, [usize::MAX, 0]);
}

#[test]
fn indices_find_the_same_behind_a_look_at_rows_in_a_hundred_thousand_studies() {
    all_find_the_same(100_000, [LOOKED_AT, 0]);
}

#[test]
fn a_search_reads_indices_and_no_table() {
    let (_directory, mut reader) = made(50);
    for query in [ACCESSION, PATIENT_ID, NAME, UID, DATE, SOURCE, WALK] {
        let plan = |db: &Connection| {
            let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
            let bound = vec!["1"; plan.parameter_count()];
            let steps = plan.query_map(rusqlite::params_from_iter(bound), |row| row.get::<_, String>(3))?;
            steps.collect::<Result<Vec<_>>>()
        };
        for step in reader.file.ask(plan).unwrap() {
            let is_index = step.starts_with("SEARCH")
                && (step.contains("COVERING INDEX") || step.contains("study_name USING PRIMARY KEY"));
            // The senders are few.
            let is_of_senders = step.contains("SUBQUERY") || step.starts_with("SCAN source");
            assert!(is_index || is_of_senders, "{step}: {query}");
        }
    }
}
