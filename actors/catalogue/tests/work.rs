//! Work that operators ask for, and the root that a catalogue is of.

use std::path::Path;

use tidegate_catalogue::{Catalogue, Record};

use super::{Child, TestDisk, record};
use crate::catalogue::state::{CatalogueRequest, CatalogueState, Condition, Work};
use crate::committed::clock_ms;

#[test]
fn what_an_operator_asks_for_is_done() {
    let child = Child::start(true);
    (0..5).for_each(|number| child.store(number));
    child.wait_until_current();
    child.wait_for_instances(5);
    let checked = child.work_of(CatalogueRequest::Check, Work::Check).last_check.unwrap();
    assert_eq!((checked.progress.differences(), checked.progress.files, checked.problems.len()), (0, 5, 0));
    // Unseen by any event.
    child.disk.store(record(9));
    child.disk.remove(0);
    let checked = child.work_of(CatalogueRequest::Check, Work::Check).last_check.unwrap();
    assert_eq!((checked.progress.new, checked.progress.gone), (1, 1));
    assert_eq!(child.instances(), Some(5), "a check changes nothing");
    child.work_of(CatalogueRequest::CatchUp, Work::CatchUp);
    let checked = child.work_of(CatalogueRequest::Check, Work::Check).last_check.unwrap();
    assert_eq!(checked.progress.differences(), 0);
    let rebuilt = child.work_of(CatalogueRequest::Rebuild, Work::Rebuild).work.unwrap();
    assert_eq!((rebuilt.progress.read, rebuilt.progress.new), (5, 0));
}

#[test]
fn a_work_has_the_number_that_was_given_to_who_asked_for_it() {
    let child = Child::start(true);
    child.wait_until_current();
    let asked = [CatalogueRequest::CatchUp, CatalogueRequest::Rebuild, CatalogueRequest::Check];
    let [catch_up, rebuild, check] = asked.map(|request| child.shared.ask(request));
    assert!(catch_up < rebuild && rebuild < check);
    let state =
        child.wait_for("the check ends", |state| state.last_check.as_ref().is_some_and(|last| last.number == check));
    assert_eq!(state.work.unwrap().number, check);
    let of_rebuild = child.work_of(CatalogueRequest::Rebuild, Work::Rebuild).work.unwrap();
    assert!(of_rebuild.number > check, "another work, another number");
}

#[test]
fn what_is_on_its_way_is_no_difference() {
    let child = Child::start(true);
    child.wait_until_current();
    // They are still gathered when the check is asked for.
    let count = 10;
    (0..count).for_each(|number| child.store(number));
    let checked = child.work_of(CatalogueRequest::Check, Work::Check).last_check.unwrap();
    assert_eq!((checked.progress.differences(), checked.progress.files), (0, count));
    // Received while the check runs: on the disk, and not queued yet.
    child.disk.store(Record { received_ms: clock_ms() + 10_000, ..record(count) });
    let checked = child.work_of(CatalogueRequest::Check, Work::Check).last_check.unwrap();
    assert_eq!((checked.progress.differences(), checked.progress.files), (0, count + 1));
}

#[test]
fn a_catalogue_of_another_root_is_left_alone_by_each_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = Catalogue::open(&directory.path().join("catalogue.sqlite"), true).unwrap();
    file.claim(Path::new("/srv/other"), 2, false).unwrap();
    file.enter(&[record(1)]).unwrap();
    drop(file);
    let mut child = Child::start_in(directory, TestDisk::default(), false);
    for _ in 0..2 {
        let is_unavailable = |state: &CatalogueState| matches!(state.condition, Condition::Unavailable { .. });
        let state = child.wait_for("it is unavailable", is_unavailable);
        let Condition::Unavailable { reason, remedy } = state.condition else { unreachable!() };
        assert!(
            reason.contains("another storage root, /srv/other") && remedy.contains("move the file away"),
            "{reason}; {remedy}"
        );
        assert!(!reason.contains("move the file away"), "{reason}: the remedy is said once");
        assert_eq!(child.instances(), Some(1), "none is gone");
        child.stop();
        let directory = std::mem::replace(&mut child.directory, tempfile::tempdir().unwrap());
        child = Child::start_in(directory, TestDisk::default(), false);
    }
}
