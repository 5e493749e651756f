//! Each fault of the file or its disk is an error of one kind, which says what to do, and after that is done requests are accepted again.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;
use tidegate_commitment::{
    Attempt, DESIGN, Error, Filter, NotAccepted, Outcome, Page, Reader, Remedy, Requests, SCHEMA_VERSION,
};

use super::support::{Fixture, T0, asked, check, directory, open, path_in, peer, references};

const LOCKED: &str = "TIDEGATE_TEST_LOCKED_COMMITMENTS";

/// The error of the file for which a request was not accepted.
fn error_of(requests: &mut Requests, transaction: u32) -> Error {
    match requests.accept(&asked(1, transaction), references(20), T0) {
        Err(NotAccepted::File(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Not a test of its own: the process that holds the lock until its input ends.
#[test]
fn the_process_that_locks() {
    let Some(path) = std::env::var_os(LOCKED) else { return };
    let connection = Connection::open(PathBuf::from(path)).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    println!("\nlocked");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_told() {
    let mut fixture = Fixture::new();
    let id = fixture.accept(1, 1, 10, T0);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::the_process_that_locks", "--nocapture"])
        .env(LOCKED, fixture.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "locked"));
    let error = error_of(&mut fixture.requests, 2);
    assert!(matches!(error, Error::Locked { .. }) && error.remedy() == Remedy::Retry, "{error}");
    assert!(error.to_string().starts_with("the record of commitment requests /"), "{error}");
    // What only reads does not wait.
    assert_eq!(fixture.reader().request(id).unwrap().unwrap().instances, 10);
    assert_eq!(fixture.due(T0), [id]);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.wait().unwrap();
    fixture.accept(1, 2, 20, T0);
    check(&fixture.path());
}

#[test]
fn a_file_that_is_deleted_or_replaced_takes_no_request() {
    let acts: [fn(&Path); 5] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::remove_file(path.with_extension("db-wal")).unwrap(),
        |path| fs::remove_file(path.with_extension("db-shm")).unwrap(),
        |path| fs::rename(path, path.with_extension("moved")).unwrap(),
        |path| {
            let copy = path.with_extension("copy");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        },
    ];
    for act in acts {
        let mut fixture = Fixture::new();
        fixture.accept(1, 1, 1, T0);
        let path = fixture.path();
        act(&path);
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
    errors.extend(requests.hasten(&peer(1), T0).err());
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
    let whole = fs::read(&path).unwrap();
    for (at, keep) in [16, 99, 100, 512, 4096, 4097, 8192, whole.len() / 2, whole.len() - 4096].into_iter().enumerate()
    {
        fs::write(&path, &whole[..keep]).unwrap();
        assert!(use_damaged(&path), "{keep} of {} bytes", whole.len());
        recover(&path, at as i64);
    }
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
    let whole = fs::read(&path).unwrap();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut noticed = 0;
    for round in 0..150 {
        let mut damaged = whole.clone();
        for _ in 0..=round % 4 {
            // Headers of the file and of its pages are hit most.
            let at = match next(4) {
                0 => next(100),
                1 => next(whole.len() / 4096) * 4096 + next(12),
                _ => next(whole.len()),
            };
            damaged[at] ^= 1 << next(8);
        }
        fs::write(&path, &damaged).unwrap();
        noticed += u32::from(use_damaged(&path));
        for ending in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(ending));
        }
    }
    assert!(noticed > 40, "{noticed}");
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
    // As after kill -9: a copy of both.
    let copy = fixture.directory.path().join("copy.db");
    for ending in ["", "-wal"] {
        let name = |path: &Path| format!("{}{ending}", path.display());
        fs::copy(name(&fixture.path()), name(&copy)).unwrap();
    }
    let log = OpenOptions::new().write(true).open(format!("{}-wal", copy.display())).unwrap();
    log.write_all_at(&[0xFF; 16], log.metadata().unwrap().len() / 2).unwrap();
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
    Connection::open(&path).unwrap().execute_batch(&format!("PRAGMA user_version = {newer}")).unwrap();
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
    let other = directory.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("PRAGMA application_id = 1413956417; PRAGMA user_version = 1; CREATE TABLE study (a)")
        .unwrap();
    let text = directory.path().join("passwd");
    fs::write(&text, "root:x:0:0:root:/:/bin/sh\n").unwrap();
    for path in [other, text] {
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

/// A filesystem of its own, in memory. `None` where the test may not mount.
struct Mount(TempDir);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(directory))
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
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
