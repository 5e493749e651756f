//! Each fault of the file or its disk is an error of one kind, which says what to do, and after that is done everything is as it was.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tidegate_catalogue::catch_up::Depth;
use tidegate_catalogue::{Catalogue, Error, Reader, Record, Remedy, SCHEMA_VERSION, Search, set_aside};

use super::catching_up::{differences, run};
use super::database::{
    LOSSES, Locker, Mount, copy_with_a_damaged_log, directory, flip_bits, foreign_files, set_schema_version, truncate,
};
use super::support::{Fixture, Model, path_in, record};

fn records(count: u32) -> Vec<Record> {
    (0..count).map(|at| record(at % 5, at % 2, at)).collect()
}

#[test]
fn a_lock_of_another_process_is_waited_for_and_then_told() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&records(10)).unwrap();
    let locker = Locker::new(&fixture.path());
    let error = fixture.catalogue.enter(&records(20)).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }) && error.remedy() == Remedy::Retry, "{error}");
    // Readers do not wait.
    assert_eq!(fixture.reader().totals().unwrap().instances, 10);
    locker.end();
    assert_eq!(fixture.catalogue.enter(&records(20)).unwrap().new, 10);
    assert_eq!(fixture.catalogue.check().unwrap(), []);
}

#[test]
fn a_file_that_is_deleted_or_replaced_is_noticed_before_the_next_entry() {
    for lose in LOSSES {
        let mut fixture = Fixture::new();
        let model = Model::default();
        let all = records(30);
        all.iter().for_each(|record| model.store(record));
        fixture.catalogue.enter(&all[..20]).unwrap();
        let path = fixture.path();
        lose(&path);
        let error = fixture.catalogue.enter(&all[20..]).unwrap_err();
        assert!(matches!(error, Error::Vanished { .. }) && error.remedy() == Remedy::Reopen, "{error}");
        drop(fixture.catalogue);
        let mut catalogue = Catalogue::open(&path, true).unwrap();
        run(&mut catalogue, &model, Depth::Changed);
        assert_eq!(differences(&mut catalogue, &model), 0);
        assert_eq!(catalogue.check().unwrap(), []);
    }
}

#[test]
fn a_reader_notices_that_its_file_was_deleted() {
    let fixture = Fixture::new();
    let mut reader = fixture.reader();
    fs::remove_file(fixture.path()).unwrap();
    assert!(matches!(reader.totals(), Err(Error::Vanished { .. })));
    assert!(matches!(Reader::open(&fixture.path()), Err(Error::Io { .. })));
}

/// Uses a file that may be damaged in any way: whatever happens is an answer or an error. `true` if it was noticed.
fn use_damaged(path: &Path) -> bool {
    let mut errors = Vec::new();
    match Catalogue::open(path, true) {
        Ok(mut catalogue) => {
            errors.extend(catalogue.enter(&records(300)).err());
            errors.extend(catalogue.mark_gone(&[record(0, 0, 0).path], 1).err());
            run_to_error(&mut catalogue, &mut errors);
            match catalogue.check() {
                Ok(problems) if !problems.is_empty() => return true,
                checked => errors.extend(checked.err()),
            }
        }
        Err(error) => errors.push(error),
    }
    if let Ok(mut reader) = Reader::open(path) {
        errors.extend(reader.totals().err());
        errors.extend(reader.studies(&Search::default(), None, 50).err());
        errors.extend(reader.study("1.2.1").err());
        errors.extend(reader.instances(&record(1, 1, 1).sop_instance_uid, 9).err());
        errors.extend(reader.file(&record(1, 1, 1).path).err());
    }
    for error in &errors {
        let is_damage = matches!(error, Error::Corrupt { .. } | Error::Foreign { .. } | Error::Newer { .. });
        assert!(is_damage || matches!(error, Error::Older { .. } | Error::TooSlow { .. }), "{error}");
    }
    !errors.is_empty()
}

fn run_to_error(catalogue: &mut Catalogue, errors: &mut Vec<Error>) {
    let model = Model::default();
    records(300).iter().for_each(|record| model.store(record));
    let mut catch_up = tidegate_catalogue::catch_up::CatchUp::new(model, Depth::All);
    loop {
        match catch_up.step(catalogue, 1) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return errors.push(error),
        }
    }
}

/// A catalogue that is closed, and of a hundred pages.
fn closed() -> (TempDir, PathBuf) {
    let directory = directory();
    let path = path_in(&directory);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    catalogue.enter(&records(2000)).unwrap();
    (directory, path)
}

/// Sets a damaged file aside and starts anew.
fn recover(path: &Path, at_ms: i64) {
    let aside = set_aside(path, at_ms).unwrap();
    assert!(aside.exists() && !path.exists());
    let model = Model::default();
    records(50).iter().for_each(|record| model.store(record));
    let mut catalogue = Catalogue::open(path, true).unwrap();
    run(&mut catalogue, &model, Depth::Changed);
    assert_eq!(differences(&mut catalogue, &model), 0);
}

#[test]
fn a_truncated_file_is_damaged_and_rebuilt() {
    let (_directory, path) = closed();
    truncate(&path, use_damaged, recover);
    // Of those that were set aside, the last one is kept.
    let names = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().contains(".damaged-")).count();
    assert!((1..=3).contains(&aside), "{aside}");
}

#[test]
fn a_file_that_is_truncated_while_it_is_open_is_damaged() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&records(2000)).unwrap();
    let path = fixture.path();
    // All of it into the file, and nothing in the cache.
    drop(fixture.catalogue);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let error = catalogue.enter(&records(3000)).unwrap_err();
    assert_eq!(error.remedy(), Remedy::SetAside, "{error}");
    drop(catalogue);
    recover(&path, 1);
}

#[test]
fn flipped_bits_are_an_error_or_an_answer_and_never_more() {
    let (_directory, path) = closed();
    flip_bits(&path, use_damaged);
    recover(&path, 1);
}

#[test]
fn a_flipped_bit_in_the_log_costs_what_the_log_had_at_most() {
    let directory = directory();
    let path = path_in(&directory);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    catalogue.enter(&records(500)).unwrap();
    let copy = directory.path().join("copy.db");
    copy_with_a_damaged_log(&path, &copy);
    let model = Model::default();
    records(500).iter().for_each(|record| model.store(record));
    let mut catalogue = Catalogue::open(&copy, true).unwrap();
    run(&mut catalogue, &model, Depth::Changed);
    assert_eq!(differences(&mut catalogue, &model), 0);
    assert_eq!(catalogue.check().unwrap(), []);
}

#[test]
fn a_newer_schema_and_other_files_are_refused_by_name_and_left_alone() {
    let directory = directory();
    let path = path_in(&directory);
    drop(Catalogue::open(&path, true).unwrap());
    let newer = SCHEMA_VERSION + 1;
    set_schema_version(&path, newer);
    for error in [Catalogue::open(&path, true).map(drop).unwrap_err(), Reader::open(&path).map(drop).unwrap_err()] {
        assert!(matches!(error, Error::Newer { found, .. } if found == newer), "{error}");
        assert_eq!(error.remedy(), Remedy::Operator);
        assert!(error.to_string().contains(&path.display().to_string()));
    }
    for path in foreign_files(directory.path(), "CREATE TABLE t (a)") {
        let before = fs::read(&path).unwrap();
        let error = Catalogue::open(&path, true).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }) && error.remedy() == Remedy::Operator, "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    let empty = directory.path().join("empty.db");
    File::create(&empty).unwrap();
    assert!(matches!(Reader::open(&empty), Err(Error::Older { found: 0, .. })));
    assert!(matches!(Catalogue::open(&directory.path().join("no/such.db"), true), Err(Error::Io { .. })));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_of_what_was_entered() {
    let Some(mount) = Mount::new("size=3m") else { return };
    let path = path_in(&mount.0);
    let mut catalogue = Catalogue::open(&path, true).unwrap();
    let mut entered = 0;
    let error = loop {
        let batch: Vec<Record> = (entered..entered + 100).map(|at| record(at % 5, at % 2, at)).collect();
        match catalogue.enter(&batch) {
            Ok(_) => entered += 100,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full { .. }) && error.remedy() == Remedy::Retry, "{error}");
    assert_eq!(Reader::open(&path).unwrap().totals().unwrap().instances, u64::from(entered));
    mount.remount("size=64m");
    let model = Model::default();
    records(entered + 500).iter().for_each(|record| model.store(record));
    assert_eq!(run(&mut catalogue, &model, Depth::Changed).new, 500);
    assert_eq!(differences(&mut catalogue, &model), 0);
    assert_eq!(catalogue.check().unwrap(), []);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told() {
    let Some(mount) = Mount::new("size=16k") else { return };
    let path = path_in(&mount.0);
    let error = Catalogue::open(&path, true).unwrap_err();
    assert!(matches!(error, Error::Full { .. }), "{error}");
    mount.remount("size=64m");
    Catalogue::open(&path, true).unwrap().enter(&records(10)).unwrap();
}

#[test]
fn a_mount_that_can_only_be_read_is_told_at_the_start_and_later() {
    let Some(mount) = Mount::new("size=64m") else { return };
    let path = path_in(&mount.0);
    mount.remount("ro");
    let error = Catalogue::open(&path, true).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }) && error.remedy() == Remedy::Operator, "{error}");
    mount.remount("rw");
    drop(Catalogue::open(&path, true).unwrap());
    mount.remount("ro");
    let error = Catalogue::open(&path, true).unwrap_err();
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    mount.remount("rw");
    Catalogue::open(&path, true).unwrap().enter(&records(10)).unwrap();
}

#[test]
fn times_of_a_clock_that_was_set_back_are_entered_as_they_are() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let earlier = Record { received_ms: -86_400_000, ..record(1, 1, 2) };
    fixture.catalogue.enter(&[earlier]).unwrap();
    let summary = fixture.reader().study("1.2.1").unwrap().unwrap().summary;
    assert_eq!((summary.instances, summary.first_ms, summary.last_ms), (2, -86_400_000, 1_001_001));
}

/// Whether this process has a lock on a file, as the kernel lists them. A list that changes while it is read may lack a line.
fn is_locked(path: &Path) -> bool {
    let inode = format!(":{}", fs::metadata(path).unwrap().ino());
    let process = std::process::id().to_string();
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.contains(&process.as_str()) && fields.iter().any(|field| field.ends_with(&inode))
    };
    (0..100).any(|_| fs::read_to_string("/proc/locks").unwrap().lines().any(|line| is_ours(&line)))
}

/// Without its lock, another process that closes the file takes itself for the last one and deletes the log.
#[test]
fn the_writer_keeps_its_lock_while_others_of_its_process_open_and_close() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    assert!(is_locked(&fixture.path()), "the lock of a connection in WAL mode");
    drop(fixture.reader());
    assert!(is_locked(&fixture.path()), "a reader has come and gone");
    assert!(matches!(Catalogue::open(&fixture.path(), true), Err(Error::InUse { .. })));
    assert!(is_locked(&fixture.path()), "a second writer has come and gone");
    assert!(fixture.catalogue.bytes() > 0);
    assert!(is_locked(&fixture.path()));
}

#[test]
fn other_users_lose_the_access_that_a_copy_gave_them() {
    let fixture = Fixture::new();
    let path = fixture.path();
    let _reader = fixture.reader(); // with it, the other two stay
    drop(fixture.catalogue);
    let files = ["", "-wal", "-shm"].map(|ending| PathBuf::from(format!("{}{ending}", path.display())));
    for file in &files {
        fs::set_permissions(file, Permissions::from_mode(0o664)).unwrap();
    }
    drop(Catalogue::open(&path, true).unwrap());
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn without_patients_nothing_that_was_set_aside_names_them() {
    let mut fixture = Fixture::new();
    fixture.catalogue.enter(&[record(1, 1, 1)]).unwrap();
    let path = fixture.path();
    let Fixture { directory, catalogue } = fixture;
    drop(catalogue);
    let aside = set_aside(&path, 1).unwrap();
    drop(Catalogue::open(&path, true).unwrap());
    assert!(aside.exists());
    drop(Catalogue::open(&path, false).unwrap());
    let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains("damaged")));
}

/// As root, by `tidegate catalogue rebuild` without a node; the node runs as another user.
#[test]
fn a_new_file_belongs_to_the_owner_of_its_directory() {
    let directory = directory();
    let owner = match fs::metadata(directory.path()).unwrap().uid() {
        0 => 65_534,
        user => user,
    };
    std::os::unix::fs::chown(directory.path(), Some(owner), None).unwrap();
    let mut catalogue = Catalogue::open(&path_in(&directory), true).unwrap();
    catalogue.enter(&[record(1, 1, 1)]).unwrap();
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().uid(), owner, "{}", entry.path().display());
    }
}

#[test]
fn what_is_no_file_is_refused_without_a_wait() {
    let directory = directory();
    let path = path_in(&directory);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for error in [Catalogue::open(&path, true).map(drop).unwrap_err(), Reader::open(&path).map(drop).unwrap_err()] {
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }
}
