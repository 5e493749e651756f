//! Each fault of the file or its disk is an error of one kind, which says what to do, and after that is done requests are accepted again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_commitment::{
    Attempt, DESIGN, Error, Filter, NotAccepted, Outcome, Page, Reader, Remedy, Requests, SCHEMA_VERSION,
};

use super::database::{
    LOSSES, Locker, Mount, copy_with_a_damaged_log, directory, flip_bits, foreign_files, set_schema_version, truncate,
};
use super::support::{Fixture, T0, asked, check, open, path_in, peer, references};

/// The error of the file for which a request was not accepted.
fn error_of(requests: &mut Requests, transaction: u32) -> Error {
    match requests.accept(&asked(1, transaction), references(20), T0) {
        Err(NotAccepted::File(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_told() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 10, T0);
    let locker = Locker::new(&fixture.path());
    let error = error_of(&mut fixture.requests, 2);
    assert!(matches!(error, Error::Locked { .. }) && error.remedy() == Remedy::Retry, "{error}");
    assert!(error.to_string().starts_with("the record of commitment requests /"), "{error}");
    // What only reads does not wait.
    assert_eq!(fixture.reader().request(id).unwrap().unwrap().instances, 10);
    assert_eq!(fixture.due(T0), [id]);
    locker.end();
    fixture.accept(1, 2, 20, T0);
    check(&fixture.path());
}

#[test]
fn a_file_that_is_deleted_or_replaced_takes_no_request() {
    for lose in LOSSES {
        let mut fixture = Fixture::new();
        fixture.accept(1, 1, 1, T0);
        let path = fixture.path();
        lose(&path);
        let error = error_of(&mut fixture.requests, 2);
        assert!(matches!(error, Error::Vanished { .. }) && error.remedy() == Remedy::Reopen, "{error}");
        let error = fixture.requests.due(T0, 9, |_| true).unwrap_err();
        assert!(matches!(error, Error::Vanished { .. }), "{error}");
        let Fixture { directory: _directory, requests } = fixture;
        drop(requests);
        let mut requests = open(&path).unwrap();
        let id = requests.accept(&asked(1, 3), references(1), T0).unwrap();
        assert!(requests.request(id).unwrap().is_some());
        drop(requests);
        check(&path);
    }
}

/// Uses a file that may be damaged in any way: whatever happens is an answer or an error. `true` if it was noticed.
fn use_damaged(path: &Path) -> bool {
    let mut errors = Vec::new();
    match open(path) {
        Ok(mut requests) => errors.extend(use_requests(&mut requests)),
        Err(error) => errors.push(error),
    }
    if let Ok(mut reader) = Reader::open(path) {
        for filter in [Filter::All, Filter::Pending, Filter::GivenUp] {
            match reader.list(Page { filter, limit: 100, ..Page::default() }) {
                Ok(found) => {
                    errors.extend(found.iter().filter_map(|request| reader.references(request.id, 0, 1000).err()))
                }
                Err(error) => errors.push(error),
            }
        }
        errors.extend(reader.counts().err());
    }
    for error in &errors {
        let is_damage = matches!(error, Error::Corrupt { .. } | Error::Foreign { .. } | Error::Newer { .. });
        assert!(is_damage || matches!(error, Error::Older { .. } | Error::TooSlow { .. }), "{error}");
    }
    !errors.is_empty()
}

fn use_requests(requests: &mut Requests) -> Vec<Error> {
    let mut errors = Vec::new();
    for transaction in 500..520 {
        if let Err(NotAccepted::File(error)) = requests.accept(&asked(3, transaction), references(20), T0) {
            errors.push(error);
        }
    }
    for _ in 0..50 {
        match requests.due(T0, 9, |_| true) {
            Ok(due) => {
                for due in due {
                    errors.extend(requests.record_outcomes(due.id, &[(0, Outcome::Committed)]).err());
                    errors.extend(requests.conclude(due.id, T0).err());
                    errors.extend(requests.record_attempt(due.id, Attempt::Reported, T0).err());
                }
            }
            Err(error) => errors.push(error),
        }
    }
    errors.extend(requests.hasten(&peer(1).calling, None, T0).err());
    errors.extend(requests.prune(i64::MAX).err());
    errors.extend(requests.counts().err());
    errors
}

/// A record that is closed, and of a hundred pages.
fn closed() -> (TempDir, PathBuf) {
    let directory = directory();
    let path = path_in(&directory);
    let mut requests = open(&path).unwrap();
    for transaction in 0..200 {
        requests.accept(&asked(transaction % 5, transaction), references(50), T0).unwrap();
    }
    (directory, path)
}

/// Sets a damaged file aside and starts anew.
fn recover(path: &Path, at_ms: i64) {
    let aside = DESIGN.set_aside(path, at_ms).unwrap();
    assert!(aside.exists() && !path.exists());
    let mut requests = open(path).unwrap();
    requests.accept(&asked(1, 1), references(50), T0).unwrap();
    drop(requests);
    check(path);
}

#[test]
fn a_truncated_file_is_damaged_and_set_aside() {
    let (_directory, path) = closed();
    truncate(&path, use_damaged, recover);
}

#[test]
fn a_file_that_is_truncated_while_it_is_open_is_damaged() {
    let (_directory, path) = closed();
    let mut requests = open(&path).unwrap();
    requests.release_memory();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let error = error_of(&mut requests, 1000);
    assert_eq!(error.remedy(), Remedy::SetAside, "{error}");
    drop(requests);
    recover(&path, 1);
}

#[test]
fn flipped_bits_are_an_error_or_an_answer_and_never_more() {
    let (_directory, path) = closed();
    flip_bits(&path, use_damaged);
    recover(&path, 1);
}

/// It would not be written, whatever an operator does about the rights to it.
#[test]
fn a_header_that_forbids_to_write_is_damage() {
    let (_directory, path) = closed();
    let mut damaged = fs::read(&path).unwrap();
    damaged[18] |= 0x40; // the file format's write version
    fs::write(&path, &damaged).unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.remedy() == Remedy::SetAside && error.to_string().contains("its header"), "{error}");
    recover(&path, 1);
}

#[test]
fn a_flipped_bit_in_the_log_costs_what_the_log_had_at_most() {
    let mut fixture = Fixture::new();
    for transaction in 0..50 {
        fixture.accept(1, transaction, 50, T0);
    }
    let copy = fixture.directory.path().join("copy.db");
    copy_with_a_damaged_log(&fixture.path(), &copy);
    let mut requests = open(&copy).unwrap();
    let left = requests.counts().unwrap().received;
    assert!((1..50).contains(&left), "{left}");
    assert!(requests.accept(&asked(2, 1), references(1), T0).unwrap() > 0);
    drop(requests);
    check(&copy);
}

#[test]
fn a_newer_schema_and_other_files_are_refused_by_name_and_left_alone() {
    let directory = directory();
    let path = path_in(&directory);
    drop(open(&path).unwrap());
    let newer = SCHEMA_VERSION + 1;
    set_schema_version(&path, newer);
    for error in [open(&path).map(drop).unwrap_err(), Reader::open(&path).map(drop).unwrap_err()] {
        assert!(matches!(error, Error::Newer { found, .. } if found == newer), "{error}");
        assert_eq!(error.remedy(), Remedy::Operator);
        let (text, advice) = (error.to_string(), error.advice());
        assert!(
            text.contains(&path.display().to_string()) && advice.contains("modalities have to ask again"),
            "{text}"
        );
    }
    // A catalogue is another file, too.
    let tables = "PRAGMA application_id = 1413956417; PRAGMA user_version = 1; CREATE TABLE study (a)";
    for path in foreign_files(directory.path(), tables) {
        let before = fs::read(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }) && error.remedy() == Remedy::Operator, "{error}");
        assert!(error.to_string().contains("is not a record of commitment requests of tidegate"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn the_record_has_one_writer() {
    let fixture = Fixture::new();
    let error = open(&fixture.path()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }) && error.remedy() == Remedy::Operator, "{error}");
    assert!(
        error.to_string().contains("record of commitment requests") && error.advice().contains("stop one"),
        "{error}"
    );
    assert_eq!(fs::metadata(fixture.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_full_disk_takes_no_request_and_keeps_those_that_were_accepted() {
    let Some(mount) = Mount::new("size=3m") else { return };
    let path = path_in(&mount.0);
    let mut requests = open(&path).unwrap();
    let mut accepted = Vec::new();
    let error = loop {
        match requests.accept(&asked(1, accepted.len() as u32), references(200), T0) {
            Ok(id) => accepted.push(id),
            Err(NotAccepted::File(error)) => break error,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(matches!(error, Error::Full { .. }) && error.remedy() == Remedy::Retry, "{error}");
    assert!(accepted.len() > 20, "{}", accepted.len());
    // One that is larger than all that is left, too.
    let large = requests.accept(&asked(2, 1), references(100_000), T0).unwrap_err();
    assert!(matches!(large, NotAccepted::File(Error::Full { .. })), "{large}");
    assert_eq!(requests.counts().unwrap().received, accepted.len() as u64);
    mount.remount("size=64m");
    accepted.push(requests.accept(&asked(1, 5000), references(200), T0).unwrap());
    drop(requests);
    let requests = open(&path).unwrap();
    for id in accepted {
        assert_eq!(requests.references(id, 0, 1000).unwrap().len(), 200);
    }
    drop(requests);
    check(&path);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told() {
    let Some(mount) = Mount::new("size=16k") else { return };
    let path = path_in(&mount.0);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    mount.remount("size=64m");
    open(&path).unwrap().accept(&asked(1, 1), references(1), T0).unwrap();
}

#[test]
fn a_mount_that_can_only_be_read_is_told() {
    let Some(mount) = Mount::new("size=64m") else { return };
    let path = path_in(&mount.0);
    let read_only = |path: &Path| {
        let error = open(path).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }) && error.remedy() == Remedy::Operator, "{error}");
    };
    mount.remount("ro");
    read_only(&path);
    mount.remount("rw");
    drop(open(&path).unwrap());
    mount.remount("ro");
    read_only(&path);
    mount.remount("rw");
    open(&path).unwrap().accept(&asked(1, 1), references(1), T0).unwrap();
}
