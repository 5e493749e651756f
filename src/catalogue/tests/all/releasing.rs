//! Files that may go: delivered, owing nothing, of the oldest study; and what a process leaves that ends in between.

use tidegate_catalogue::catch_up::{CatchUp, Depth, Seen};
use tidegate_catalogue::{Catalogue, Change, Choice, Outcome, Releasable, State, Sweep};

use std::time::{Duration, Instant};

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

/// Each page is found behind the one before it, whatever the study has left.
#[test]
fn a_study_of_many_files_costs_each_page_the_same() {
    let mut fixture = Fixture::new();
    // One large series, and many of one file each.
    let places = (0..10_000).map(|number| (1, number)).chain((2..10_000).map(|series| (series, 1)));
    let mut records: Vec<_> = places.map(|(series, number)| record_to(1, series, number, &["a"])).collect();
    records[0].series.uid = String::new();
    for records in records.chunks(2000) {
        fixture.catalogue.enter(records).unwrap();
    }
    while fixture.settle("a", &DELIVERED) > 0 {}
    let (mut sweep, mut pages, mut found) = (Sweep::default(), Vec::new(), Vec::new());
    loop {
        let began = Instant::now();
        let files = fixture.catalogue.releasable(&mut sweep, LATER, 64).unwrap();
        pages.push(began.elapsed());
        if files.is_empty() && sweep.is_done() {
            break;
        }
        assert_eq!(release(&mut fixture, &files), files.len());
        found.extend(names(&files));
    }
    pages.sort_unstable();
    let (a_page, all): (_, Duration) = (pages[pages.len() / 2], pages.iter().sum());
    println!("a page {a_page:?}, all {} of them {all:?}", pages.len());
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), records.len());
    assert!(a_page < Duration::from_millis(5), "{a_page:?}");
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

/// The walk is within a study when something of it comes to be owed.
#[test]
fn a_study_that_comes_to_owe_something_keeps_what_it_has_left() {
    let mut fixture = Fixture::new();
    let records: Vec<_> = (1..=6).map(|number| record_to(1, number, 1, &["a"])).collect();
    fixture.catalogue.enter(&[record_to(2, 1, 1, &["a"]), record_to(2, 1, 2, &["a"])]).unwrap();
    fixture.catalogue.enter(&records).unwrap();
    fixture.settle("a", &DELIVERED);
    let mut sweep = Sweep::default();
    let first = fixture.catalogue.releasable(&mut sweep, LATER, 2).unwrap();
    assert_eq!(release(&mut fixture, &first), 2);
    // Of a page that was found before, the one that owes something stays, whatever the study.
    let second = fixture.catalogue.releasable(&mut sweep, LATER, 2).unwrap();
    let again = &records[2];
    assert_eq!(second[0].path, again.path);
    fixture.catalogue.enter(&[record_to(1, 3, 1, &["c"])]).unwrap();
    assert_eq!(release(&mut fixture, &second), 1);
    assert_eq!(state_of(&fixture, &again.path), State::Present);
    // The others of the study stay, and the walk goes on with all of the next one.
    let third = fixture.catalogue.releasable(&mut sweep, LATER, 9).unwrap();
    assert_eq!(names(&third), ["1.2.2.1.1", "1.2.2.1.2"]);
    // More of study 1 is received: it is the last one now, and begins anew.
    fixture.settle("c", &DELIVERED);
    sweep.restart();
    let first = fixture.catalogue.releasable(&mut sweep, LATER, 2).unwrap();
    assert_eq!(first[0].path, again.path);
    let more = tidegate_catalogue::Record { received_ms: 9_000_000, ..record_to(1, 9, 1, &[]) };
    fixture.catalogue.enter(&[more]).unwrap();
    let rest = fixture.catalogue.releasable(&mut sweep, LATER, 9).unwrap();
    assert_eq!(names(&rest), ["1.2.2.1.1", "1.2.2.1.2"]);
    assert!(fixture.catalogue.releasable(&mut sweep, LATER, 9).unwrap().is_empty(), "one was delivered to nobody");
    assert!(sweep.is_done());
}
