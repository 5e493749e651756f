//! What people ask for.

use tidegate_catalogue::{Place, Record, Search, StudyValues};

use super::support::{Fixture, origin, record};

fn uids(fixture: &Fixture, search: &Search) -> Vec<String> {
    let page = fixture.reader().studies(search, None, 100).unwrap();
    assert_eq!(page.next, None);
    page.studies.into_iter().map(|study| study.values.uid).collect()
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn each_condition_finds_its_studies_newest_first() {
    let mut fixture = Fixture::new();
    let mut records: Vec<Record> = (1..=5).map(|study| record(study, 1, 1)).collect();
    records[2].origin = origin("MR_9", 3);
    records[3].study.patient_name = text("muster^max");
    records[4].study.study_date = text("20200101");
    fixture.catalogue.enter(&records).unwrap();
    let all = Search::default();
    let cases = [
        (Search { patient: text("p0000"), ..all.clone() }, vec!["1.2.5", "1.2.4", "1.2.3", "1.2.2", "1.2.1"]),
        (Search { patient: text("MUST"), ..all.clone() }, vec!["1.2.4"]),
        (Search { patient: text("nobody"), ..all.clone() }, vec![]),
        (Search { patient: text("%"), ..all.clone() }, vec![]),
        (Search { accession: text("a2"), ..all.clone() }, vec!["1.2.2"]),
        (Search { source: text("mr_9"), ..all.clone() }, vec!["1.2.3"]),
        (Search { source: text("MR"), ..all.clone() }, vec![]),
        (Search { text: text("MR_9"), ..all.clone() }, vec!["1.2.3"]),
        (Search { text: text("1.2.4"), ..all.clone() }, vec!["1.2.4"]),
        (Search { text: text("doe1"), ..all.clone() }, vec!["1.2.1"]),
        (Search { text: text("A5"), source: text("CT1"), ..all.clone() }, vec!["1.2.5"]),
        (Search { text: text("A5"), source: text("MR_9"), ..all.clone() }, vec![]),
        (Search { since_ms: Some(1_004_001), ..all.clone() }, vec!["1.2.5", "1.2.4"]),
        (Search { until_ms: Some(1_002_001), ..all.clone() }, vec!["1.2.1"]),
        (Search { study_date: Some(("20200101".into(), "20201231".into())), ..all.clone() }, vec!["1.2.5"]),
        (all, vec!["1.2.5", "1.2.4", "1.2.3", "1.2.2", "1.2.1"]),
    ];
    for (search, expected) in cases {
        assert_eq!(uids(&fixture, &search), expected, "{search:?}");
    }
}

#[test]
fn a_name_is_found_by_each_component_without_regard_to_case_and_as_long_as_it_is_the_name() {
    let mut fixture = Fixture::new();
    let named = |study, name: &str, received_ms| {
        let record = record(study, 1, 1);
        let study = StudyValues { patient_name: text(name), ..record.study.clone() };
        Record { study, received_ms, ..record }
    };
    let records = [named(1, "Müller^Jürgen", 10), named(2, "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", 20)];
    fixture.catalogue.enter(&records).unwrap();
    let find = |fixture: &Fixture, name: &str| {
        let of_text = uids(fixture, &Search { text: text(name), ..Search::default() });
        assert_eq!(of_text, uids(fixture, &Search { patient: text(name), ..Search::default() }));
        of_text
    };
    for name in ["MÜLLER", "müller^j", "jürgen", "JÜ"] {
        assert_eq!(find(&fixture, name), ["1.2.1"], "{name}");
    }
    for name in ["yamada^tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ", "TAROU", "山田", "太郎", "ヤマダ", "たろう"]
    {
        assert_eq!(find(&fixture, name), ["1.2.2"], "{name}");
    }
    assert!(find(&fixture, "ürgen").is_empty() && find(&fixture, "=").is_empty());
    // An instance received earlier changes nothing, a later one the name.
    fixture.catalogue.enter(&[Record { path: "a/1".into(), ..named(1, "Early^Name", 5) }]).unwrap();
    assert_eq!(find(&fixture, "jürgen"), ["1.2.1"]);
    fixture.catalogue.enter(&[Record { path: "a/2".into(), ..named(1, "Maier^Jürgen", 30) }]).unwrap();
    assert!(find(&fixture, "müller").is_empty());
    assert_eq!(
        (find(&fixture, "maier"), find(&fixture, "jürgen")),
        (vec!["1.2.1".to_owned()], vec!["1.2.1".to_owned()])
    );
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

/// A clock of 2100, set right since.
#[test]
fn studies_of_the_future_are_found_and_end_no_page() {
    let mut fixture = Fixture::new();
    let future_ms = 4_102_444_800_000;
    let mut records: Vec<Record> = (1..=5).map(|study| record(study, 1, 1)).collect();
    records[1].received_ms = future_ms;
    records[3].received_ms = i64::MAX;
    fixture.catalogue.enter(&records).unwrap();
    let all = Search::default();
    assert_eq!(uids(&fixture, &all), ["1.2.4", "1.2.2", "1.2.5", "1.2.3", "1.2.1"]);
    for (since_ms, until_ms, expected) in [
        (None, Some(future_ms), vec!["1.2.5", "1.2.3", "1.2.1"]),
        (Some(future_ms), None, vec!["1.2.4", "1.2.2"]),
        (Some(1_004_000), Some(future_ms + 1), vec!["1.2.2", "1.2.5"]),
    ] {
        for patient in [None, text("P0")] {
            let search = Search { since_ms, until_ms, patient, ..all.clone() };
            assert_eq!(uids(&fixture, &search), expected, "{search:?}");
        }
    }
    let mut reader = fixture.reader();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = reader.studies(&all, after, 1).unwrap();
        seen.extend(page.studies.into_iter().map(|study| study.values.uid));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1.2.4", "1.2.2", "1.2.5", "1.2.3", "1.2.1"]);
}

#[test]
fn pages_go_on_where_they_ended_while_studies_arrive() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (1..=25).map(|study| Record { received_ms: 7, ..record(study, 1, 1) }).collect();
    fixture.catalogue.enter(&records).unwrap();
    for search in [Search::default(), Search { patient: text("P"), ..Search::default() }] {
        let (mut reader, mut after, mut seen) = (fixture.reader(), None, Vec::new());
        loop {
            let page = reader.studies(&search, after, 10).unwrap();
            seen.extend(page.studies.into_iter().map(|study| study.values.uid));
            let Some(next) = page.next else { break };
            assert_eq!(next.to_string().parse(), Ok(next));
            after = Some(next);
            let newer = record(100 + seen.len() as u32, 1, 1);
            fixture.catalogue.enter(&[newer]).unwrap();
        }
        seen.retain(|uid| uid.len() < 7);
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((count, seen.len()), (25, 25));
    }
}

/// More studies than an index may yield: the walk finds the same.
#[test]
fn a_condition_that_most_studies_fit_is_answered_by_a_walk() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..10_050).map(|study| record(study, 1, 1)).collect();
    fixture.catalogue.enter(&records).unwrap();
    let search = Search { patient: text("P"), accession: text("A"), ..Search::default() };
    let page = fixture.reader().studies(&search, None, 3).unwrap();
    let found: Vec<_> = page.studies.iter().map(|study| study.values.uid.as_str()).collect();
    assert_eq!(found, ["1.2.10049", "1.2.10048", "1.2.10047"]);
    let search = Search { source: text("ct1"), accession: text("A"), text: text("P0999"), ..Search::default() };
    assert_eq!(fixture.reader().studies(&search, None, 50).unwrap().studies.len(), 10);
}

#[test]
fn a_study_shows_what_is_missing_and_who_sent_what() {
    let mut fixture = Fixture::new();
    let mut records: Vec<Record> = [1, 2, 5, 6, 10].map(|number| record(1, 1, number)).to_vec();
    records.push(Record { instance_number: Some(6), ..record(1, 1, 60) });
    records.push(Record { instance_number: None, origin: origin("CT1", 8), ..record(1, 2, 1) });
    records.push(Record { origin: None, ..record(1, 2, 2) });
    fixture.catalogue.enter(&records).unwrap();
    fixture.catalogue.mark_gone(&[record(1, 1, 2).path], 9).unwrap();
    let study = fixture.reader().study("1.2.1").unwrap().unwrap();
    let numbers = &study.series[0].numbers;
    assert_eq!(numbers.range, Some((1, 10)));
    assert_eq!((numbers.missing, &*numbers.missing_ranges), (5, &[(3, 4), (7, 9)][..]));
    assert_eq!((numbers.gone, &*numbers.gone_ranges), (1, &[(2, 2)][..]));
    assert_eq!((numbers.repeated, numbers.without), (1, 0));
    assert_eq!(study.series[1].numbers.without, 1);
    assert_eq!((study.summary.series, study.summary.instances, study.summary.gone), (2, 7, 1));
    let arrivals: Vec<_> = study
        .arrivals
        .iter()
        .map(|arrival| (arrival.origin.as_ref().and_then(|origin| origin.association), arrival.instances))
        .collect();
    assert_eq!(arrivals.len(), 3);
    for expected in [(Some(7), 6), (Some(8), 1), (None, 1)] {
        assert!(arrivals.contains(&expected), "{arrivals:?}");
    }
    assert_eq!(fixture.reader().study("1.2.9").unwrap(), None);
}

#[test]
fn hostile_instance_numbers_overflow_nothing() {
    let mut fixture = Fixture::new();
    let numbers = [i64::MIN, -1, 0, i64::MAX];
    let records = numbers.map(|number| Record {
        instance_number: Some(number),
        ..record(1, 1, 1 + u32::try_from(number.rem_euclid(1000)).unwrap())
    });
    fixture.catalogue.enter(&records).unwrap();
    let study = fixture.reader().study("1.2.1").unwrap().unwrap();
    assert_eq!(study.series[0].numbers.range, Some((i64::MIN, i64::MAX)));
    assert_eq!(study.series[0].numbers.missing, u64::MAX - 3);
}

#[test]
fn files_since_a_time_come_in_pages() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..40).map(|at| record(at % 3, at % 2, at)).collect();
    fixture.catalogue.enter(&records).unwrap();
    let since_ms = 1_001_000;
    let expected = records.iter().filter(|record| record.received_ms >= since_ms).count();
    assert!(expected > 20 && expected < 40);
    for limit in [1, 7, 100] {
        let (mut reader, mut place, mut seen) = (fixture.reader(), Place::default(), Vec::new());
        loop {
            let (files, next) = reader.received_since(since_ms, place, limit).unwrap();
            assert!(files.len() <= limit as usize);
            seen.extend(files.into_iter().map(|file| file.path));
            let Some(next) = next else { break };
            place = next;
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), expected);
    }
}

#[test]
fn a_series_is_listed_in_pages() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&(1..=10).map(|number| record(1, 1, number)).collect::<Vec<_>>()).unwrap();
    let mut reader = fixture.reader();
    let first = reader.instances_of_series("1.2.1", "1.2.1.1", 0, 6).unwrap();
    let rest = reader.instances_of_series("1.2.1", "1.2.1.1", first[5].0, 6).unwrap();
    assert_eq!((first.len(), rest.len()), (6, 4));
    assert_eq!(rest[3].1.path, record(1, 1, 10).path);
}

/// The node is stopped, and no file stands beside the catalogue.
#[test]
fn a_catalogue_that_no_writer_has_open_is_read() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let path = fixture.path();
    drop(fixture.catalogue);
    assert_eq!(std::fs::read_dir(fixture.directory.path()).unwrap().count(), 2, "the file, and that of its lock");
    let mut reader = tidegate_catalogue::Reader::open(&path).unwrap();
    assert_eq!(reader.totals().unwrap().instances, 1);
    // And a writer comes.
    let mut catalogue = tidegate_catalogue::Catalogue::open(&path, true).unwrap();
    catalogue.enter(&[record(1, 1, 2)]).unwrap();
    assert_eq!(reader.totals().unwrap().instances, 2);
    catalogue.enter(&[record(1, 1, 3)]).unwrap();
}
