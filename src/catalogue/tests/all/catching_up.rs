//! Catch-up, case by case. `model` has the histories.

use std::path::{Path, PathBuf};

use tidegate_catalogue::catch_up::{CatchUp, Depth, DifferenceKind, MAX_NAMED, Progress};
use tidegate_catalogue::{Catalogue, Record, State};

use super::support::{Fixture, Model, ModelFile, record};

const SECOND: i64 = 1_000_000_000;

pub(crate) fn run(catalogue: &mut Catalogue, model: &Model, depth: Depth) -> Progress {
    let mut catch_up = CatchUp::new(model.clone(), depth);
    while catch_up.step(catalogue, 99).unwrap() {}
    catch_up.progress()
}

pub(crate) fn differences(catalogue: &mut Catalogue, model: &Model) -> u64 {
    let mut check = CatchUp::check(model.clone(), i64::MAX);
    while check.step(catalogue, 99).unwrap() {}
    check.progress().differences()
}

fn disk_of(records: &[Record]) -> Model {
    let model = Model::default();
    model.pass_time(100 * SECOND);
    records.iter().for_each(|record| model.store(record));
    model.pass_time(100 * SECOND);
    model
}

#[test]
fn files_without_a_record_are_read_and_entered_once() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..3000).map(|number| record(number % 7, number % 3, number)).collect();
    let model = disk_of(&records);
    fixture.catalogue.enter(&records[..1000]).unwrap();
    assert_eq!(differences(&mut fixture.catalogue, &model), 2000);
    let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!((progress.files, progress.new, progress.changed, progress.gone), (3000, 2000, 0, 0));
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
    let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!((progress.files, progress.directories), (0, 0));
    assert!(progress.skipped >= 21);
    let progress = run(&mut fixture.catalogue, &model, Depth::All);
    assert_eq!((progress.files, progress.read), (3000, 0));
    let progress = run(&mut fixture.catalogue, &model, Depth::Read);
    assert_eq!((progress.read, progress.new), (3000, 0));
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_check_names_the_differences_of_each_kind_and_a_bounded_number() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (1..=5).map(|number| record(1, 1, number)).collect();
    let model = disk_of(&records);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    model.remove(&records[0].path);
    model.store(&Record { bytes: 7, ..records[1].clone() });
    model.store(&Record { digest: Some(77), ..records[2].clone() });
    model.0.borrow_mut().unreadable.insert(records[4].path.clone());
    model.store(&Record { digest: Some(78), ..records[4].clone() });
    // Of a clock that was wrong: nothing is on its way for it.
    model.store(&Record { received_ms: 4_102_444_800_000, ..record(2, 1, 1) });
    model.store(&Record { received_ms: 1_009_000, ..record(3, 1, 1) });
    let mut check = |since_ms| {
        let mut check = CatchUp::check(model.clone(), since_ms);
        while check.step(&mut fixture.catalogue, since_ms).unwrap() {}
        let named = check.named().iter().map(|found| (found.path.clone(), found.kind)).collect::<Vec<_>>();
        assert!(check.named().iter().all(|found| found.sop_instance_uid.is_some()));
        (check.progress(), named)
    };
    let (progress, named) = check(1_010_000);
    assert_eq!((progress.new, progress.changed, progress.gone, progress.unreadable), (1, 2, 1, 1));
    for expected in [
        (records[0].path.clone(), DifferenceKind::Gone),
        (records[1].path.clone(), DifferenceKind::Size { recorded_bytes: 1000, found_bytes: 7 }),
        (records[2].path.clone(), DifferenceKind::Digest),
        (records[4].path.clone(), DifferenceKind::Unreadable),
        (record(2, 1, 1).path, DifferenceKind::NotEntered),
    ] {
        assert!(named.contains(&expected), "{expected:?}: {named:?}");
    }
    assert_eq!(named.len(), 5, "one was received a moment ago");
    (1..300).for_each(|number| model.store(&record(4, 1, number)));
    let (progress, named) = check(i64::MAX);
    assert_eq!((progress.new, named.len()), (301, MAX_NAMED));
}

#[test]
fn deleted_and_moved_files_are_gone_and_the_moved_one_is_found() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (1..=4).map(|number| record(1, 1, number)).collect();
    let model = disk_of(&records);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    model.remove(&records[0].path);
    let moved = model.remove(&records[1].path).unwrap();
    model.put(Path::new("kept/by hand.dcm"), moved);
    let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!((progress.new, progress.changed, progress.gone), (0, 1, 2));
    let mut reader = fixture.reader();
    let files = reader.instances(&records[1].sop_instance_uid, 9).unwrap();
    let seen: Vec<_> = files.iter().map(|file| (file.state, file.path.clone())).collect();
    assert_eq!(seen, [(State::Present, PathBuf::from("kept/by hand.dcm"))]);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

#[test]
fn a_directory_that_is_removed_takes_its_files_along() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..1500).map(|number| record(1, 1, number)).collect();
    let model = disk_of(&records);
    model.store(&record(2, 1, 1));
    run(&mut fixture.catalogue, &model, Depth::Changed);
    model.remove_directory(Path::new("1.2.1"));
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).gone, 1500);
    assert_eq!(fixture.reader().totals().unwrap().instances, 1);
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).gone, 0);
    // A backup brings it back.
    records.iter().for_each(|record| model.store(record));
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).changed, 1500);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

#[test]
fn directories_that_are_gone_are_looked_for_no_more() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..40).map(|number| record(number, 1, number)).collect();
    let model = disk_of(&records);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    let looks = |catalogue: &mut Catalogue, depth| {
        model.pass_time(100 * SECOND);
        let before = model.0.borrow().looks;
        let gone = run(catalogue, &model, depth).gone;
        (model.0.borrow().looks - before, gone)
    };
    let study = |record: &Record| record.path.parent().unwrap().parent().unwrap().to_owned();
    records[1..].iter().for_each(|record| model.remove_directory(&study(record)));
    assert_eq!(looks(&mut fixture.catalogue, Depth::Changed).1, 39);
    looks(&mut fixture.catalogue, Depth::Changed);
    let (looks_at_rest, gone) = looks(&mut fixture.catalogue, Depth::Changed);
    assert!(looks_at_rest < 10 && gone == 0, "{looks_at_rest} looks for the directories of one study");
    // An operator's catch-up looks for each of them.
    assert!(looks(&mut fixture.catalogue, Depth::All).0 > 39);

    // Stored again, with and without its event.
    model.store(&records[5]);
    fixture.catalogue.enter(&records[5..6]).unwrap();
    model.store(&records[6]);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
    // Entered late: the file was gone before.
    fixture.catalogue.enter(&records[7..8]).unwrap();
    assert_eq!(looks(&mut fixture.catalogue, Depth::Changed).1, 1);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
    [5, 6].iter().for_each(|number: &usize| model.remove_directory(&study(&records[*number])));
    assert_eq!(looks(&mut fixture.catalogue, Depth::Changed).1, 2);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

#[test]
fn a_change_in_the_moment_of_the_listing_is_seen_by_the_next() {
    let mut fixture = Fixture::new();
    let model = Model::default();
    model.pass_time(100 * SECOND);
    model.store(&record(1, 1, 1));
    run(&mut fixture.catalogue, &model, Depth::Changed);
    // By the same tick of the clock.
    model.store(&record(1, 1, 2));
    model.pass_time(100 * SECOND);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

#[test]
fn no_clock_is_trusted() {
    let mut fixture = Fixture::new();
    let model = disk_of(&[record(1, 1, 1)]);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    // A day back: what is stored now is older than all that the catalogue knows.
    model.pass_time(-86_400 * SECOND);
    model.store(&record(1, 1, 2));
    model.store(&record(2, 1, 1));
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).new, 2);
    model.remove(&record(1, 1, 1).path);
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).gone, 1);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

#[test]
fn a_file_that_was_replaced_is_read_again_with_and_without_digests() {
    for has_digest in [true, false] {
        let mut fixture = Fixture::new();
        let (first, other) = (record(1, 1, 1), Record { digest: Some(77), ..record(1, 1, 1) });
        let model = disk_of(std::slice::from_ref(&first));
        let file = |record: &Record| ModelFile {
            record: Some(record.clone()),
            has_digest,
            modified_ns: model.0.borrow().now_ns,
        };
        model.put(&first.path, file(&first));
        model.pass_time(100 * SECOND);
        run(&mut fixture.catalogue, &model, Depth::Changed);
        let reads = model.0.borrow().reads;
        model.put(&first.path, file(&other));
        model.pass_time(100 * SECOND);
        run(&mut fixture.catalogue, &model, Depth::Changed);
        assert_eq!(model.0.borrow().reads, reads + 1);
        let digest = fixture.reader().file(&first.path).unwrap().unwrap().digest;
        assert_eq!(digest, has_digest.then_some(77));
        run(&mut fixture.catalogue, &model, Depth::All);
        assert_eq!(model.0.borrow().reads, reads + 1, "read once");
    }
}

#[test]
fn what_cannot_be_looked_at_is_not_gone_and_is_looked_at_again() {
    let mut fixture = Fixture::new();
    let records = [record(1, 1, 1), record(1, 1, 2), record(2, 1, 1)];
    let model = disk_of(&records);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    fixture.catalogue.note_gap("queue full", 1, 5).unwrap();
    model.store(&record(1, 1, 3));
    model.pass_time(100 * SECOND);
    for path in [records[0].path.parent().unwrap().to_owned(), record(1, 1, 3).path] {
        model.0.borrow_mut().unreadable.insert(path.clone());
        let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
        assert!(progress.unreadable > 0 && progress.gone == 0 && progress.new == 0, "{progress:?}");
        assert_eq!(fixture.reader().gaps(1).unwrap()[0].closed_ms, None);
        model.0.borrow_mut().unreadable.clear();
    }
    assert_eq!(run(&mut fixture.catalogue, &model, Depth::Changed).new, 1);
    assert_eq!(fixture.reader().gaps(1).unwrap()[0].closed_ms, Some(99));
}

#[test]
fn files_that_are_no_instances_are_passed_over() {
    let mut fixture = Fixture::new();
    let model = disk_of(&[record(1, 1, 1)]);
    model.put(Path::new("README"), ModelFile { record: None, has_digest: false, modified_ns: 1 });
    let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!((progress.new, progress.other), (1, 1));
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

/// An event of a new version is entered between two steps: the file that was read before does not come back.
#[test]
fn events_between_two_steps_are_newer_than_what_was_read() {
    let mut fixture = Fixture::new();
    let records: Vec<Record> = (0..5000).map(|number| record(1, 1, number)).collect();
    let model = disk_of(&records);
    let mut catch_up = CatchUp::new(model.clone(), Depth::Changed);
    let mut step = 0;
    while catch_up.step(&mut fixture.catalogue, 99).unwrap() {
        let at = step * 37 % records.len();
        let replaced = Record { digest: Some(1 << 64), bytes: 7, ..records[at].clone() };
        model.store(&replaced);
        fixture.catalogue.enter(&[replaced]).unwrap();
        let gone = (step * 41 + 3) % records.len();
        model.remove(&records[gone].path);
        step += 1;
    }
    assert!(step >= 3, "{step}");
    model.pass_time(100 * SECOND);
    run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

/// A directory with more files than are remembered.
#[test]
fn a_flat_directory_of_any_size_is_compared_in_pages() {
    let mut fixture = Fixture::new();
    let flat = |number| Record { path: format!("1.2.1.1.{number}.dcm").into(), ..record(1, 1, number) };
    let records: Vec<Record> = (0..70_000).map(flat).collect();
    let model = disk_of(&records);
    fixture.catalogue.enter(&records).unwrap();
    (0..100).for_each(|at| drop(model.remove(&records[at * 700].path)));
    let progress = run(&mut fixture.catalogue, &model, Depth::Changed);
    assert_eq!((progress.gone, progress.read), (100, 0));
    assert_eq!(differences(&mut fixture.catalogue, &model), 0);
}

/// Root and catalogue are of two moments, whichever is the older, and whether the backup kept the times of directories (a block device) or not (files).
#[test]
fn a_root_and_a_catalogue_of_different_backups_come_together() {
    for keeps_times in [true, false] {
        let mut fixture = Fixture::new();
        let model = disk_of(&(0..40).map(|number| record(number % 3, 1, number)).collect::<Vec<_>>());
        run(&mut fixture.catalogue, &model, Depth::Changed);
        let snapshot = |model: &Model| {
            let state = model.0.borrow();
            (state.files.clone(), state.directories.clone())
        };
        let restore = |model: &Model, (files, directories): &(_, std::collections::BTreeMap<PathBuf, i64>)| {
            let mut state = model.0.borrow_mut();
            (state.files, state.directories) = (Clone::clone(files), directories.clone());
            let now_ns = state.now_ns;
            state.directories.values_mut().filter(|_| !keeps_times).for_each(|stamp_ns| *stamp_ns = now_ns);
            state.now_ns += 100 * SECOND;
        };
        let old_root = snapshot(&model);
        // Closed, so that the file has all.
        let path = fixture.path();
        drop(fixture.catalogue);
        let old_catalogue = std::fs::read(&path).unwrap();

        let mut catalogue = Catalogue::open(&path, true).unwrap();
        model.store(&record(1, 1, 100));
        model.store(&record(9, 1, 1));
        model.remove(&record(2, 1, 2).path);
        model.store(&Record { digest: Some(77), ..record(0, 1, 0) });
        model.pass_time(100 * SECOND);
        run(&mut catalogue, &model, Depth::Changed);
        let new_root = snapshot(&model);

        restore(&model, &old_root);
        assert!(differences(&mut catalogue, &model) > 0);
        run(&mut catalogue, &model, Depth::Changed);
        assert_eq!(differences(&mut catalogue, &model), 0, "an older root");

        drop(catalogue);
        std::fs::write(&path, &old_catalogue).unwrap();
        restore(&model, &new_root);
        let mut catalogue = Catalogue::open(&path, true).unwrap();
        run(&mut catalogue, &model, Depth::Changed);
        assert_eq!(differences(&mut catalogue, &model), 0, "an older catalogue");
    }
}
