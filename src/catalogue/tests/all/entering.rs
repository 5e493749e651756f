//! What the writer makes of records.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate_catalogue::{Catalogue, Entered, Origin, Record, State, StudyValues};

use super::support::{Fixture, origin, record};

#[test]
fn a_record_that_comes_twice_changes_nothing() {
    let mut fixture = Fixture::new();
    let records = [record(1, 1, 1), record(1, 1, 2), record(1, 2, 1)];
    let entered = fixture.catalogue.enter(&records).unwrap();
    assert_eq!(entered, Entered { new: 3, ..Entered::default() });
    let before = fixture.reader().study("1.2.1").unwrap();
    let entered = fixture.catalogue.enter(&[&records[..], &records[..]].concat()).unwrap();
    assert_eq!(entered, Entered { unchanged: 6, ..Entered::default() });
    assert_eq!(fixture.reader().study("1.2.1").unwrap(), before);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn the_same_twice_in_one_batch_counts_once() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1), record(1, 1, 1)]).unwrap();
    assert_eq!(fixture.reader().totals().unwrap().instances, 1);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn what_a_file_does_not_say_is_kept_and_what_was_missing_is_added() {
    let mut fixture = Fixture::new();
    let full = record(1, 1, 1);
    let bare = Record { origin: None, digest: None, received_ms: 5, modified_ns: Some(77), ..full.clone() };
    // From the disk first, then the event.
    fixture.catalogue.enter(std::slice::from_ref(&bare)).unwrap();
    fixture.catalogue.enter(std::slice::from_ref(&full)).unwrap();
    // And the disk once more.
    fixture.catalogue.enter(&[bare]).unwrap();
    let files = fixture.reader().instances(&full.sop_instance_uid, 9).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].digest, files[0].received_ms), (full.digest, full.received_ms));
    assert_eq!(files[0].origin.as_ref().unwrap().calling_ae_title, "CT1");
}

#[test]
fn who_stored_a_file_knows_more_of_its_sender_than_the_file() {
    let event = record(1, 1, 1);
    let by_title = Origin { calling_ae_title: "CT1".to_owned(), ..Origin::default() };
    let (origin, modified_ns) = (Some(Arc::new(by_title)), Some(1_000_000_000));
    let file = Record { origin, modified_ns, received_ms: 1000, ..event.clone() };
    // In either order, however often.
    for records in [[&file, &event], [&event, &file], [&event, &event]] {
        let mut fixture = Fixture::new();
        for record in records {
            fixture.catalogue.enter(std::slice::from_ref(record)).unwrap();
        }
        let row = fixture.reader().instances(&event.sop_instance_uid, 9).unwrap().remove(0);
        assert_eq!(row.received_ms, event.received_ms);
        assert_eq!(row.origin.unwrap().address.as_deref(), Some("10.1.2.3"));
    }
}

#[test]
fn a_uid_that_is_none_by_the_standard_is_entered_and_found() {
    let mut fixture = Fixture::new();
    let uids = ["A-b_c 1", "1.2.x", "1.2~3", "1.2.3.4"];
    let records = uids.map(|uid| Record {
        path: format!("d/{uid}.dcm").into(),
        sop_instance_uid: uid.parse().unwrap(),
        ..record(1, 1, 1)
    });
    assert_eq!(fixture.catalogue.enter(&records).unwrap().new, 4);
    assert_eq!(fixture.catalogue.enter(&records).unwrap().unchanged, 4);
    for record in &records {
        let row = fixture.reader().instances(&record.sop_instance_uid, 9).unwrap().remove(0);
        assert_eq!((&row.sop_instance_uid, &row.path), (&record.sop_instance_uid, &record.path));
    }
    let sql = rusqlite::Connection::open(fixture.path()).unwrap();
    let mut shown = sql.prepare("SELECT sop_instance_uid, path FROM instances").unwrap();
    let rows = shown.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let mut shown: Vec<(String, String)> = rows.map(Result::unwrap).collect();
    shown.sort();
    let mut expected = uids.map(|uid| (uid.to_owned(), format!("d/{uid}.dcm")));
    expected.sort();
    assert_eq!(shown, expected);
    assert_eq!(fixture.catalogue.mark_gone(&records.map(|record| record.path), 1).unwrap(), 4);
}

#[test]
fn versions_are_of_one_instance_and_a_replaced_file_is_another() {
    let mut fixture = Fixture::new();
    let first = record(1, 1, 1);
    let second = Record { path: PathBuf::from("1.2.1/1.2.1.1/1.2.1.1.1~2.dcm"), digest: Some(99), ..first.clone() };
    fixture.catalogue.enter(&[first.clone(), second.clone()]).unwrap();
    let mut reader = fixture.reader();
    let series = &reader.study("1.2.1").unwrap().unwrap().series[0];
    assert_eq!((series.instances, series.versions, series.numbers.repeated), (2, 1, 0));
    assert_eq!(reader.instances(&first.sop_instance_uid, 9).unwrap().len(), 2);
    assert_eq!(reader.file(&second.path).unwrap().unwrap().digest, Some(99));

    let replaced = Record { bytes: 5, digest: Some(100), ..first.clone() };
    let entered = fixture.catalogue.enter(&[replaced]).unwrap();
    assert_eq!(entered, Entered { changed: 1, ..Entered::default() });
    let file = reader.file(&first.path).unwrap().unwrap();
    assert_eq!((file.bytes, file.digest), (5, Some(100)));
    assert_eq!(reader.totals().unwrap().bytes, 1005);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_value_that_was_not_known_is_no_change() {
    let whole = Record { modified_ns: Some(7), ..record(1, 1, 1) };
    assert!(whole.origin.is_some() && whole.digest.is_some());
    let lacking: [(&str, Record); 3] = [
        ("time of the file", Record { modified_ns: None, ..whole.clone() }),
        ("sender", Record { origin: None, ..whole.clone() }),
        ("digest", Record { digest: None, ..whole.clone() }),
    ];
    for (what, lacking) in lacking {
        let mut fixture = Fixture::new();
        fixture.catalogue.enter(&[lacking]).unwrap();
        let entered = fixture.catalogue.enter(std::slice::from_ref(&whole)).unwrap();
        assert_eq!(entered, Entered { unchanged: 1, ..Entered::default() }, "{what}");
        let row = &fixture.reader().instances(&whole.sop_instance_uid, 9).unwrap()[0];
        assert!(row.origin.is_some() && row.digest == whole.digest, "{what} is kept: {row:?}");
        let other = Record { instance_number: Some(77), digest: None, ..whole.clone() };
        assert_eq!(fixture.catalogue.enter(&[other]).unwrap().changed, 1, "{what}");
    }
}

#[test]
fn a_file_without_a_receipt_says_its_title_alone() {
    let mut fixture = Fixture::new();
    let by_title = Origin { calling_ae_title: "CT1".to_owned(), ..Origin::default() };
    let record = Record { origin: Some(by_title.into()), ..record(1, 1, 1) };
    fixture.catalogue.enter(std::slice::from_ref(&record)).unwrap();
    let mut reader = fixture.reader();
    let origin = reader.instances(&record.sop_instance_uid, 9).unwrap().remove(0).origin.unwrap();
    assert_eq!((&*origin.calling_ae_title, &origin.address, origin.association), ("CT1", &None, None));
    assert_eq!(reader.study("1.2.1").unwrap().unwrap().arrivals[0].origin, Some(origin));
}

#[test]
fn a_study_has_the_directories_of_its_files_that_are_there() {
    let mut fixture = Fixture::new();
    let of = |number: u32| Record { path: format!("d{number:03}/{number}.dcm").into(), ..record(1, 1, number) };
    let records: Vec<_> = (1..=120).map(of).collect();
    fixture.catalogue.enter(&records).unwrap();
    fixture.catalogue.mark_gone(&[records[0].path.clone()], 1).unwrap();
    let study = fixture.reader().study("1.2.1").unwrap().unwrap();
    assert_eq!((study.directories.len(), study.directories_total), (100, 119));
    assert_eq!(study.directories[..2], ["d002", "d003"].map(PathBuf::from));
    let at_the_top = Record { path: "1.dcm".into(), ..record(2, 1, 1) };
    fixture.catalogue.enter(&[at_the_top]).unwrap();
    assert_eq!(fixture.reader().study("1.2.2").unwrap().unwrap().directories, [PathBuf::new()]);
}

#[test]
fn a_file_has_one_instance_in_it() {
    let mut fixture = Fixture::new();
    let first = record(1, 1, 1);
    // Somebody puts another instance under the first one's name, and a third one over that.
    let second = Record { path: first.path.clone(), ..record(2, 1, 1) };
    let third = Record { path: first.path.clone(), ..record(3, 1, 1) };
    for record in [&first, &second, &third, &first] {
        fixture.catalogue.enter(std::slice::from_ref(record)).unwrap();
        assert_eq!(fixture.reader().totals().unwrap().instances, 1);
        let mut reader = fixture.reader();
        assert_eq!(reader.instances(&record.sop_instance_uid, 9).unwrap()[0].state, State::Present);
        assert_eq!(reader.file(&first.path).unwrap().unwrap().digest, record.digest);
    }
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn gone_and_released_files_stay_known_and_may_come_back() {
    let mut fixture = Fixture::new();
    let (first, second) = (record(1, 1, 1), record(1, 1, 2));
    fixture.catalogue.enter(&[first.clone(), second.clone()]).unwrap();
    assert_eq!(fixture.catalogue.mark_gone(std::slice::from_ref(&first.path), 50).unwrap(), 1);
    assert_eq!(fixture.catalogue.mark_gone(std::slice::from_ref(&first.path), 60).unwrap(), 0);
    assert_eq!(fixture.catalogue.mark_gone(&["elsewhere".into(), "/etc/passwd".into()], 60).unwrap(), 0);
    assert_eq!(fixture.catalogue.mark_released(std::slice::from_ref(&second.path), 70).unwrap(), 1);
    let mut reader = fixture.reader();
    let states = [&first, &second].map(|record| {
        let file = reader.instances(&record.sop_instance_uid, 9).unwrap().remove(0);
        (file.state, file.ended_ms)
    });
    assert_eq!(states, [(State::Gone, Some(50)), (State::Released, Some(70))]);
    let study = reader.study("1.2.1").unwrap().unwrap();
    let (summary, series) = (&study.summary, &study.series[0]);
    assert_eq!((summary.instances, summary.bytes, summary.gone, summary.released), (0, 0, 1, 1));
    assert_eq!((series.gone, series.released), (1, 1));
    // What was delivered and removed is neither missing nor gone.
    assert_eq!((series.numbers.gone_ranges.as_slice(), series.numbers.missing), (&[(1, 1)][..], 0));
    fixture.catalogue.enter(&[first]).unwrap();
    let summary = reader.study("1.2.1").unwrap().unwrap().summary;
    assert_eq!((summary.instances, summary.bytes, summary.gone, summary.released), (1, 1000, 0, 1));
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn datasets_that_lack_everything_are_entered_all_the_same() {
    let mut fixture = Fixture::new();
    let bare = Record {
        study: Default::default(),
        series: Default::default(),
        instance_number: None,
        digest: None,
        origin: None,
        ..record(1, 1, 1)
    };
    fixture.catalogue.enter(&[bare]).unwrap();
    let study = fixture.reader().study("").unwrap().unwrap();
    assert_eq!((study.summary.instances, study.series[0].numbers.without), (1, 1));
    assert_eq!(study.arrivals[0].origin, None);
}

#[test]
fn a_path_outside_of_the_root_refuses_its_record_alone() {
    let mut fixture = Fixture::new();
    let outside =
        ["/etc/passwd", "../a.dcm", "a/../../b.dcm", ""].map(|path| Record { path: path.into(), ..record(1, 1, 1) });
    let entered = fixture.catalogue.enter(&[&outside[..], &[record(1, 1, 2)]].concat()).unwrap();
    assert_eq!(entered, Entered { new: 1, refused: 4, ..Entered::default() });
}

#[test]
fn the_values_of_the_instance_received_last_describe_the_study() {
    let at = |received_ms: i64, name: Option<&str>| {
        let mut record = record(1, 1, u32::try_from(received_ms).unwrap());
        record.received_ms = received_ms;
        record.study.patient_name = name.map(str::to_owned);
        record
    };
    let records = [at(1, Some("first")), at(5, Some("last")), at(3, Some("middle")), at(9, None), at(4, Some("late"))];
    for split in 0..records.len() {
        let mut fixture = Fixture::new();
        fixture.catalogue.enter(&records[..split]).unwrap();
        fixture.catalogue.enter(&records[split..]).unwrap();
        let summary = fixture.reader().study("1.2.1").unwrap().unwrap().summary;
        assert_eq!((summary.values.patient_name.as_deref(), summary.first_ms, summary.last_ms), (Some("last"), 1, 9));
    }
}

/// Two associations send one study at the same time, with other names of its patient.
#[test]
fn the_last_received_of_two_associations_describes_the_study() {
    let mut fixture = Fixture::new();
    let origins = [origin("CT1", 7), origin("CT2", 8)];
    let of = |number: u32, from: usize, name: &str| {
        let record = Record { received_ms: i64::from(number), origin: origins[from].clone(), ..record(1, 1, number) };
        let study = StudyValues { patient_name: Some(name.to_owned()), ..record.study.clone() };
        Record { study, ..record }
    };
    let sent =
        [of(1, 0, "A"), of(2, 1, "B"), of(3, 0, "A"), of(4, 1, "B"), of(5, 1, "B"), of(6, 0, "A"), of(7, 0, "A")];
    for batch in sent.chunks(3) {
        fixture.catalogue.enter(batch).unwrap();
        let last = batch.last().unwrap();
        let study = fixture.reader().study("1.2.1").unwrap().unwrap();
        assert_eq!(study.summary.values.patient_name, last.study.patient_name);
    }
    // One that comes late.
    fixture.catalogue.enter(&[Record { received_ms: 5, ..of(8, 1, "B") }]).unwrap();
    let study = fixture.reader().study("1.2.1").unwrap().unwrap();
    assert_eq!((study.summary.values.patient_name.as_deref(), study.summary.last_ms), (Some("A"), 7));
    assert_eq!((study.arrivals.len(), study.summary.instances), (2, 8));
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn without_patients_none_is_kept_and_those_of_before_are_erased() {
    let mut fixture = Fixture::new();
    let secret = Record { origin: origin("CT1", 1), ..record(1, 1, 1) };
    fixture.catalogue.enter(&[secret]).unwrap();
    let path = fixture.path();
    drop(fixture.catalogue);
    let mut catalogue = Catalogue::open(&path, false).unwrap();
    catalogue.enter(&[record(2, 1, 1)]).unwrap();
    let mut reader = fixture_reader(&path);
    for uid in ["1.2.1", "1.2.2"] {
        let study = reader.study(uid).unwrap().unwrap();
        let summary = study.summary;
        let values = [
            summary.values.patient_id,
            summary.values.patient_name,
            summary.values.patient_birth_date,
            summary.values.accession_number,
            summary.values.study_date,
            summary.values.description,
            study.series[0].values.description.clone(),
        ];
        assert!(values.iter().all(Option::is_none), "{values:?}");
        assert_eq!(summary.modalities, ["CT"]);
    }
    drop((reader, catalogue));
    // Not a byte of them, in any file.
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for text in ["Doe1", "P00001", "19700101", "Thorax", "Axial"] {
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
        }
    }
}

fn fixture_reader(path: &Path) -> tidegate_catalogue::Reader {
    tidegate_catalogue::Reader::open(path).unwrap()
}

#[test]
fn gaps_are_noted_once_for_a_reason_and_closed_by_number() {
    let mut fixture = Fixture::new();
    for (reason, missed) in [("queue full", 3), ("queue full", 4), ("locked", 1)] {
        fixture.catalogue.note_gap(reason, missed, 10).unwrap();
    }
    let gaps = fixture.reader().gaps(9).unwrap();
    let seen: Vec<_> = gaps.iter().map(|gap| (gap.id, gap.reason.as_str(), gap.missed, gap.closed_ms)).collect();
    assert_eq!(seen, [(2, "locked", 1, None), (1, "queue full", 7, None)]);
    assert_eq!(fixture.catalogue.close_gaps(1, 20).unwrap(), 1);
    fixture.catalogue.note_gap("queue full", 5, 30).unwrap();
    let gaps = fixture.reader().gaps(9).unwrap();
    let seen: Vec<_> = gaps.iter().map(|gap| (gap.id, gap.missed, gap.closed_ms)).collect();
    assert_eq!(seen, [(3, 5, None), (2, 1, None), (1, 7, Some(20))]);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut fixture = Fixture::new();
    let mut long = record(1, 1, 1);
    long.study.patient_name = Some("\u{fc}".repeat(4000));
    fixture.catalogue.enter(&[long]).unwrap();
    let name = fixture.reader().study("1.2.1").unwrap().unwrap().summary.values.patient_name.unwrap();
    assert_eq!(name, "\u{fc}".repeat(512));
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_kept_as_they_are() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut fixture = Fixture::new();
    let path = Path::new(OsStr::from_bytes(b"d\xFF")).join(OsStr::from_bytes(b"n\xFE"));
    let odd = Record { path: path.clone(), ..record(1, 1, 1) };
    fixture.catalogue.enter(std::slice::from_ref(&odd)).unwrap();
    assert_eq!(fixture.reader().instances(&odd.sop_instance_uid, 9).unwrap()[0].path, path);
    assert_eq!(fixture.catalogue.mark_gone(&[path], 1).unwrap(), 1);
}

#[test]
fn the_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(fixture.directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 4);
}
