//! What is stored of the instances that a storage commitment request names.

use std::path::PathBuf;

use tidegate_catalogue::catch_up::Depth;
use tidegate_catalogue::{MAX_VERSIONS, PackedUid, Record, StoredFile};

use super::catching_up::run;
use super::support::{Fixture, Model, record};

fn file_of(record: &Record, is_from_disk: bool) -> StoredFile {
    StoredFile {
        path: record.path.clone(),
        sop_class_uid: record.sop_class_uid.clone(),
        bytes: record.bytes,
        digest: record.digest,
        is_from_disk,
    }
}

/// The same instance in another place, received later.
fn version(of: &Record, number: u32) -> Record {
    Record {
        path: format!("elsewhere/{}~{number}.dcm", of.sop_instance_uid).into(),
        bytes: of.bytes + u64::from(number),
        received_ms: of.received_ms + i64::from(number),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.4".to_owned(),
        ..of.clone()
    }
}

#[test]
fn each_version_that_is_there_is_told_and_nothing_else() {
    let mut fixture = Fixture::new();
    let [first, second, gone, released] = [1, 2, 3, 4].map(|number| record(1, 1, number));
    let later = version(&first, 1);
    let all = [&first, &second, &gone, &released, &later].map(Record::clone);
    fixture.catalogue.enter(&all).unwrap();
    fixture.catalogue.mark_gone(std::slice::from_ref(&gone.path), 1).unwrap();
    fixture.catalogue.mark_released(std::slice::from_ref(&released.path), 1).unwrap();
    // In any order, one of them twice, and some that were never stored.
    let unknown: [PackedUid; 2] = ["1.2.1.1.99", "not-digits"].map(|uid| uid.parse().unwrap());
    let uids: Vec<PackedUid> = [&second, &first, &gone, &released, &first]
        .map(|record| record.sop_instance_uid.clone())
        .into_iter()
        .chain(unknown)
        .collect();
    let mut found = fixture.reader().instances_of(&uids).unwrap();
    found.sort_by_key(|(at, _)| *at);
    let of_first = [file_of(&later, false), file_of(&first, false)];
    let mut expected = vec![(0, file_of(&second, false))];
    expected.extend([1, 4].iter().flat_map(|at| of_first.clone().map(|file| (*at, file))));
    assert_eq!(found, expected);
    assert_eq!(fixture.reader().instances_of(&[]).unwrap(), []);
}

#[test]
fn a_row_that_was_seen_on_the_disk_says_so() {
    let mut fixture = Fixture::new();
    let model = Model::default();
    let [reported, found] = [1, 2].map(|number| record(1, 1, number));
    fixture.catalogue.enter(std::slice::from_ref(&reported)).unwrap();
    model.store(&found);
    model.store(&reported);
    let uids = [&reported, &found].map(|record| record.sop_instance_uid.clone());
    run(&mut fixture.catalogue, &model, Depth::Changed);
    let mut files = fixture.reader().instances_of(&uids).unwrap();
    files.sort_by_key(|(at, _)| *at);
    let is_from_disk: Vec<_> = files.iter().map(|(at, file)| (*at, file.is_from_disk)).collect();
    assert_eq!(is_from_disk.last(), Some(&(1, true)));
    assert!(!fixture.reader().instances_of(&uids[..1]).unwrap().is_empty());
    // A report of the writer afterwards takes nothing back.
    fixture.catalogue.enter(&[found]).unwrap();
    assert!(fixture.reader().instances_of(&uids[1..]).unwrap()[0].1.is_from_disk);
}

#[test]
fn of_very_many_versions_the_newest_are_told() {
    let mut fixture = Fixture::new();
    let first = record(1, 1, 1);
    let versions: Vec<Record> = (0..MAX_VERSIONS + 20).map(|number| version(&first, number)).collect();
    fixture.catalogue.enter(&versions).unwrap();
    let found = fixture.reader().instances_of(&[first.sop_instance_uid]).unwrap();
    assert_eq!(found.len(), MAX_VERSIONS as usize);
    let newest: &PathBuf = &versions.last().unwrap().path;
    assert_eq!(&found[0].1.path, newest);
}
