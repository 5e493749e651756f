//! Files that may go: delivered, owing nothing, of the oldest study; and what a process leaves that ends in between.

use tidegate_catalogue::catch_up::{CatchUp, Depth, Seen};
use tidegate_catalogue::{Catalogue, Change, Choice, Outcome, Releasable, State, Sweep};

use super::delivering::{DELIVERED, dead, record_to, retry};
use super::support::{Fixture, Model, record};

const LATER: i64 = i64::MAX;

fn names(files: &[Releasable]) -> Vec<String> {
    files.iter().map(|file| file.sop_instance_uid.to_string()).collect()
}

/// All that may go, in pages of that length.
fn all(catalogue: &Catalogue, before_ms: i64, page: usize) -> Vec<Releasable> {
    let (mut sweep, mut files) = (Sweep::default(), Vec::new());
    while !sweep.is_done() {
        let page_of = catalogue.releasable(&mut sweep, before_ms, page).unwrap();
        assert!(page_of.len() <= page);
        files.extend(page_of);
    }
    files
}

/// Removes these files as the node does.
fn release(fixture: &mut Fixture, files: &[Releasable]) -> usize {
    let may_go = fixture.catalogue.begin_release(files, 9_000_000).unwrap();
    let of = |wanted: bool| files.iter().zip(&may_go).filter(move |(_, may)| **may == wanted).map(|(file, _)| file);
    let (released, kept): (Vec<_>, Vec<_>) = (of(true).collect(), of(false).collect());
    fixture.catalogue.end_release(&released, &kept, 9_000_000).unwrap();
    released.len()
}

fn state_of(fixture: &Fixture, path: &std::path::Path) -> State {
    fixture.reader().file(path).unwrap().unwrap().state
}

#[test]
fn whole_studies_go_that_were_delivered_the_oldest_first() {
    let mut fixture = Fixture::new();
    // Study 3 is the oldest by its last instance.
    let mut records = vec![record_to(1, 1, 1, &["a", "b"]), record_to(1, 1, 2, &["a"]), record_to(2, 1, 1, &["a"])];
    records.extend([record_to(3, 1, 1, &["a"]), record_to(4, 1, 1, &[])]);
    for (record, received_ms) in records.iter_mut().zip([5000, 6000, 7000, 1000, 2000]) {
        record.received_ms = received_ms;
    }
    fixture.catalogue.enter(&records).unwrap();
    assert!(all(&fixture.catalogue, LATER, 10).is_empty());
    fixture.settle("a", &DELIVERED);
    // Study 1 owes something to b; study 4 was never delivered.
    assert_eq!(names(&all(&fixture.catalogue, LATER, 10)), ["1.2.3.1.1", "1.2.2.1.1"]);
    fixture.settle("b", &DELIVERED);
    assert_eq!(names(&all(&fixture.catalogue, LATER, 1)), ["1.2.3.1.1", "1.2.1.1.1", "1.2.1.1.2", "1.2.2.1.1"]);
    // By the last arrival of the study, not of the instance.
    assert_eq!(names(&all(&fixture.catalogue, 5999, 10)), ["1.2.3.1.1"]);
    let file = all(&fixture.catalogue, 5999, 10).remove(0);
    assert_eq!((&*file.study_uid, file.patient_id.as_deref(), file.bytes), ("1.2.3", Some("P00003"), 1000));
    let seen = Seen { bytes: 1000, modified_ns: 0, digest: Some(1) };
    assert!(file.is(&seen));
    for other in [
        Seen { bytes: 999, ..seen },
        Seen { digest: Some(2), ..seen },
        Seen { digest: None, modified_ns: LATER, ..seen },
    ] {
        assert!(!file.is(&other), "{other:?}");
    }
}

#[test]
fn what_is_owed_or_dead_or_was_dropped_stays() {
    for outcome in [retry(6_000_000, true), dead()] {
        let mut fixture = Fixture::new();
        fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "b"])]).unwrap();
        fixture.settle("b", &DELIVERED);
        fixture.settle("a", &outcome);
        assert!(all(&fixture.catalogue, LATER, 10).is_empty());
        // Given up by an operator for a, and delivered to b.
        fixture.change("a", Change::Drop, &Choice::default());
        assert_eq!(all(&fixture.catalogue, LATER, 10).len(), 1);
    }
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a"])]).unwrap();
    fixture.change("a", Change::Drop, &Choice::default());
    assert!(all(&fixture.catalogue, LATER, 10).is_empty(), "it was delivered to nobody");
}

#[test]
fn a_duty_that_comes_in_between_keeps_the_file() {
    let mut fixture = Fixture::new();
    fixture
        .catalogue
        .enter(&[record_to(1, 1, 1, &["a"]), record_to(1, 1, 2, &["a"]), record_to(2, 1, 1, &["a"])])
        .unwrap();
    fixture.settle("a", &DELIVERED);
    let files = all(&fixture.catalogue, LATER, 10);
    assert_eq!(files.len(), 3);
    // One came again for another destination, and one was replaced.
    let changed = tidegate_catalogue::Record { digest: Some(7), ..record_to(2, 1, 1, &["a"]) };
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a", "c"]), changed]).unwrap();
    assert_eq!(fixture.catalogue.begin_release(&files, 9_000_000).unwrap(), [false, true, false]);
    fixture.catalogue.end_release(&[&files[1]], &[&files[0], &files[2]], 9_000_000).unwrap();
    assert_eq!(fixture.catalogue.releasing(10).unwrap().len(), 0);
    assert_eq!(state_of(&fixture, &files[0].path), State::Present);
    assert_eq!(state_of(&fixture, &files[1].path), State::Released);
    assert_eq!(fixture.settle("a", &Outcome::Delivered { status: 0, why: None }), 1);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_process_that_ended_in_between_leaves_word() {
    let mut fixture = Fixture::new();
    let records = [1, 2, 3].map(|number| record_to(1, 1, number, &["a"]));
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &DELIVERED);
    let files = all(&fixture.catalogue, LATER, 10);
    assert_eq!(fixture.catalogue.begin_release(&files, 9_000_000).unwrap(), [true; 3]);
    // The first was removed, and the process ended.
    let path = fixture.path();
    drop(std::mem::replace(&mut fixture.catalogue, Catalogue::open(&path.with_extension("other"), true).unwrap()));
    fixture.catalogue = Catalogue::open(&path, true).unwrap();
    let disk = Model::default();
    records[1..].iter().for_each(|record| disk.store(record));
    let mut catch_up = CatchUp::new(disk, Depth::All);
    while catch_up.step(&mut fixture.catalogue, 9_500_000).unwrap() {}
    assert_eq!(state_of(&fixture, &files[0].path), State::Released);
    let left = fixture.catalogue.releasing(10).unwrap();
    assert_eq!(names(&left), ["1.2.1.1.2", "1.2.1.1.3"]);
    // They go as all do: another sender may have come meanwhile.
    fixture.catalogue.enter(&[record_to(1, 1, 2, &["c"])]).unwrap();
    assert_eq!(release(&mut fixture, &left), 1);
    assert_eq!(fixture.catalogue.releasing(10).unwrap().len(), 0);
    assert_eq!(state_of(&fixture, &files[1].path), State::Present);
}

#[test]
fn a_released_file_that_is_there_again_owes_nothing_and_goes_again() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a"])]).unwrap();
    fixture.settle("a", &DELIVERED);
    assert_eq!(fixture.catalogue.stored_bytes().unwrap(), 1000);
    let files = all(&fixture.catalogue, LATER, 10);
    assert_eq!(release(&mut fixture, &files), 1);
    assert_eq!(fixture.catalogue.stored_bytes().unwrap(), 0);
    assert!(all(&fixture.catalogue, LATER, 10).is_empty());
    // A power cut has undone the removal, and not the note.
    fixture.catalogue.enter(&[record_to(1, 1, 1, &["a"])]).unwrap();
    assert_eq!(fixture.catalogue.stored_bytes().unwrap(), 1000);
    assert_eq!(fixture.settle("a", &DELIVERED), 0);
    let files = all(&fixture.catalogue, LATER, 10);
    assert_eq!(release(&mut fixture, &files), 1);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_sweep_begins_again_behind_the_studies_that_have_nothing_any_more() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..200).map(|study| record_to(study, 1, 1, &["a"])).collect();
    fixture.catalogue.enter(&records).unwrap();
    fixture.catalogue.enter(&[record(500, 1, 1)]).unwrap();
    fixture.settle("a", &DELIVERED);
    let files = all(&fixture.catalogue, LATER, 10);
    assert_eq!(release(&mut fixture, &files), 199);
    let (mut sweep, mut calls) = (Sweep::default(), 0);
    while !sweep.is_done() {
        assert!(fixture.catalogue.releasable(&mut sweep, LATER, 10).unwrap().is_empty());
        calls += 1;
    }
    assert!(calls > 3, "{calls}");
    sweep.restart();
    assert!(fixture.catalogue.releasable(&mut sweep, LATER, 10).unwrap().is_empty());
    assert!(sweep.is_done(), "one call sees that nothing is left");
}
