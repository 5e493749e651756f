//! A commit that fails, ends or is overtaken at each of its steps.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crate::fs::Errno;

use crate::fault::{Step, arm};
use crate::support::*;
use crate::temp::{TempFile, TempNames};
use crate::{Cancellation, Duplicates, Durability, Instance, Outcome, Payload, StoreError};

mod overtaken;

const UID: &str = "1.2.3.4.5";

fn fail(step: Step, error: Errno) {
    arm(step, move || Err(error));
}

/// Commits `instance` on a thread that ends at `step`.
fn die_at(step: Step, site: &Site, instance: &Instance) {
    arm(step, || panic!("the thread ends here, as the test wants it to"));
    catch_unwind(AssertUnwindSafe(|| site.commit(instance))).expect_err("the step is come to");
}

const MEMORY: usize = 0;

const SPOOLED: usize = 1;

const CONTIGUOUS: usize = 2;

fn one(site: &Site, kind: usize, seed: u8) -> Instance {
    let pixels = pixels(seed, 5000);
    match kind {
        MEMORY => instance(UID, &pixels),
        CONTIGUOUS => contiguous(UID, &pixels),
        _ => spooled(&site.store, UID, &pixels),
    }
}

fn assert_stored(site: &Site, seed: u8) {
    assert_eq!(site.files(), [path_of(UID)]);
    assert_eq!(fs::read(site.root().join(path_of(UID))).unwrap(), whole_file(UID, &pixels(seed, 5000)));
}

#[test]
fn what_the_system_answers_is_told_apart() {
    let site = Site::new();
    type Is = fn(&StoreError) -> bool;
    let is: [(Errno, Is); 8] = [
        (Errno::NOSPC, |error| matches!(error, StoreError::DiskFull)),
        (Errno::DQUOT, |error| {
            matches!(error, StoreError::QuotaFull { .. }) && error.to_string().contains("quota on the")
        }),
        (Errno::FBIG, |error| matches!(error, StoreError::FileTooLarge { .. }) && !error.is_storage_failure()),
        (Errno::ACCESS, |error| matches!(error, StoreError::PermissionDenied { .. })),
        (Errno::PERM, |error| matches!(error, StoreError::PermissionDenied { .. })),
        (Errno::ROFS, |error| matches!(error, StoreError::ReadOnly)),
        (Errno::STALE, |error| matches!(error, StoreError::RootUnavailable { .. })),
        (Errno::IO, |error| matches!(error, StoreError::Io { source: Errno::IO, .. })),
    ];
    for (error, is) in is {
        for step in [Step::Write, Step::SyncData, Step::SyncDirectory] {
            fail(step, error);
            let result = site.commit(&instance(UID, &pixels(1, 5000))).unwrap_err();
            assert!(is(&result), "{step:?}: {result:?}");
            assert!(site.temp_files().is_empty(), "{step:?}");
        }
        fs::remove_dir_all(site.root().join(STUDY)).unwrap();
    }
}

#[test]
fn a_trial_takes_the_steps_of_a_commit() {
    let site = Site::new();
    for step in [Step::Write, Step::SyncData, Step::Rename, Step::SyncDirectory, Step::ProveJournal] {
        fail(step, Errno::IO);
        assert!(matches!(site.store.try_write(), Err(StoreError::Io { source: Errno::IO, .. })), "{step:?}");
        assert!(site.store.try_write().is_ok(), "{step:?} was in the way once");
        assert!(site.temp_files().is_empty(), "{step:?}");
    }
    // A filesystem without a rename that replaces nothing has hard links, or it cannot store.
    fail(Step::Rename, Errno::INVAL);
    assert!(site.store.try_write().is_ok(), "by a hard link");
    fail(Step::Rename, Errno::OPNOTSUPP);
    assert!(site.store.try_write().is_ok(), "by a hard link");
    let error = StoreError::new("rename to", "x", Errno::OPNOTSUPP);
    assert!(matches!(error, StoreError::NoFinalNames { .. }), "{error:?}");
    let error = StoreError::new("sync a directory in", "x", Errno::INVAL);
    assert!(error.to_string().contains("use ext4 or XFS") && error.is_storage_failure(), "{error}");
    assert!(site.temp_files().is_empty());
}

#[test]
fn one_that_fails_does_not_fail_its_batch() {
    for step in [Step::Write, Step::SyncData, Step::Rename] {
        let site = Site::new();
        let batch = ["1.2.1", "1.2.2", "1.2.3"].map(|uid| instance(uid, &pixels(1, 100)));
        arm(step, || Ok(()));
        fail(step, Errno::IO);
        let ok: Vec<_> = site.store.commit(&batch.each_ref(), &|| ()).iter().map(Result::is_ok).collect();
        assert_eq!(ok, [true, false, true], "{step:?}");
        assert_eq!(site.files(), [path_of("1.2.1"), path_of("1.2.3")]);
        assert!(site.temp_files().is_empty());
        assert!(site.store.commit(&batch.each_ref(), &|| ()).iter().all(Result::is_ok));
        assert_eq!(site.files().len(), 3);
    }
}

#[test]
fn a_directory_that_cannot_be_synced_fails_all_that_went_into_it_and_nothing_else() {
    let site = Site::new();
    let first = [instance("1.2.1", &pixels(1, 100)), instance_in("1.7", "1.7.1", "1.7.1.1", &pixels(1, 100))];
    assert!(site.store.commit(&first.each_ref(), &|| ()).iter().all(Result::is_ok));
    let batch = [
        instance("1.2.2", &pixels(1, 100)),
        instance_in("1.7", "1.7.1", "1.7.1.2", &pixels(1, 100)),
        instance("1.2.3", &pixels(1, 100)),
    ];
    fail(Step::SyncDirectory, Errno::IO);
    let ok: Vec<_> = site.store.commit(&batch.each_ref(), &|| ()).iter().map(Result::is_ok).collect();
    assert_eq!(ok, [false, true, false]);
    // They are tried again.
    assert!(site.store.commit(&batch.each_ref(), &|| ()).iter().all(Result::is_ok));
    assert_eq!(site.files().len(), 5);
}

#[test]
fn a_directory_counts_as_durable_only_once_it_was_synced_up_to_the_root() {
    let site = Site::new();
    // Series, study, root: the third sync fails.
    for _ in 0..2 {
        arm(Step::SyncDirectory, || Ok(()));
    }
    fail(Step::SyncDirectory, Errno::IO);
    assert!(site.commit(&instance("1.2.1", &pixels(1, 100))).is_err());
    // The next instance cannot rely on any of them.
    for _ in 0..2 {
        arm(Step::SyncDirectory, || Ok(()));
    }
    fail(Step::SyncDirectory, Errno::IO);
    assert!(site.commit(&instance("1.2.2", &pixels(1, 100))).is_err());
    assert!(site.commit(&instance("1.2.2", &pixels(1, 100))).is_ok());
    if fs::metadata(site.root()).unwrap().created().is_err() {
        // A filesystem that cannot tell directories apart for good: none is ever relied on.
        return;
    }
    // From now on the series is the only one synced.
    arm(Step::SyncDirectory, || Ok(()));
    fail(Step::SyncDirectory, Errno::IO);
    assert!(site.commit(&instance("1.2.3", &pixels(1, 100))).is_ok());
    // Until it is another directory of the same name.
    fs::remove_dir_all(site.root().join(STUDY)).unwrap();
    assert!(site.commit(&instance("1.2.4", &pixels(1, 100))).is_err(), "the failure armed above");
    assert!(site.commit(&instance("1.2.4", &pixels(1, 100))).is_ok());
}

#[test]
fn with_no_durability_nothing_is_synced() {
    let site = Site::with(|settings| settings.durability = Durability::None);
    for step in [Step::SyncData, Step::SyncDirectory, Step::SyncStored] {
        fail(step, Errno::IO);
    }
    for instance in [MEMORY, CONTIGUOUS, SPOOLED].map(|kind| one(&site, kind, 1)) {
        site.commit(&instance).unwrap();
    }
    assert_stored(&site, 1);
}

#[test]
fn a_spooled_instance_whose_sync_failed_is_never_stored() {
    let site = Site::new();
    let spooled = spooled(&site.store, UID, &pixels(1, 5000));
    fail(Step::SyncData, Errno::IO);
    assert!(matches!(site.commit(&spooled), Err(StoreError::Io { source: Errno::IO, .. })));
    // A second sync would succeed: the kernel has told, and forgotten.
    assert!(matches!(site.commit(&spooled), Err(StoreError::SpoolBroken)));
    assert!(site.files().is_empty());
    drop(spooled);
    assert!(site.temp_files().is_empty());
}

#[test]
fn identical_bytes_need_no_write_but_are_synced() {
    let site = Site::with(|settings| settings.duplicates = Duplicates::Refuse);
    site.commit(&instance(UID, &pixels(1, 5000))).unwrap();
    fail(Step::Write, Errno::IO);
    assert_eq!(site.outcome(&instance(UID, &pixels(1, 5000))), Outcome::Identical);
    fail(Step::SyncDirectory, Errno::IO);
    assert!(matches!(site.commit(&instance(UID, &pixels(1, 5000))), Err(StoreError::Io { .. })));
    // Data that the disk may have lost is written again: the kernel has reported the error once, and would not report it to the next sync.
    assert!(site.commit(&instance("1.2.9", &pixels(1, 5000))).is_err(), "the failure of a write was still to come");
    let site = Site::with(|settings| settings.duplicates = Duplicates::Refuse);
    site.commit(&instance(UID, &pixels(1, 5000))).unwrap();
    let ino = |site: &Site| std::os::unix::fs::MetadataExt::ino(&fs::metadata(site.root().join(path_of(UID))).unwrap());
    let before = ino(&site);
    fail(Step::SyncStored, Errno::IO);
    assert_eq!(site.outcome(&instance(UID, &pixels(1, 5000))), Outcome::Identical);
    assert_ne!(ino(&site), before);
    assert_stored(&site, 1);
}

#[test]
fn a_filesystem_that_cannot_rename_without_replacing_links_instead() {
    for error in [Errno::INVAL, Errno::NOSYS] {
        let site = Site::with(|settings| settings.duplicates = Duplicates::KeepBoth);
        for (seed, outcome) in [(1, Outcome::New), (1, Outcome::Identical), (2, Outcome::KeptBoth { copy: 2 })] {
            fail(Step::Rename, error);
            assert_eq!(site.outcome(&instance(UID, &pixels(seed, 5000))), outcome);
            assert!(site.temp_files().is_empty());
        }
        // The link itself finds the name taken.
        let taken = Arc::new(Site::new());
        let other = Arc::clone(&taken);
        arm(Step::SyncData, move || {
            other.commit(&instance(UID, &pixels(1, 5000))).unwrap();
            Ok(())
        });
        assert_eq!(taken.outcome(&instance(UID, &pixels(1, 5000))), Outcome::Identical);
    }
}

#[test]
fn whole_pages_go_past_the_page_cache_where_the_filesystem_can() {
    let site = Site::new();
    let bytes = pixels(1, 20_000);
    let goes_past = |slices: &[&[u8]]| {
        let gone = Rc::new(Cell::new(false));
        let (root, told) = (site.store.root(), gone.clone());
        arm(Step::WriteThrough, move || {
            told.set(true);
            Ok(())
        });
        let temp = TempFile::create(&root, &TempNames::new()).unwrap();
        temp.write_through(0, slices.iter().copied()).unwrap();
        assert_eq!(fs::read(&site.temp_files()[0]).unwrap(), slices.concat());
        gone.get()
    };
    let (first, second) = (on_a_page(&bytes[..8192]), on_a_page(&bytes[8192..]));
    assert_eq!(goes_past(&[&first, &second]), site.store.root().writes_through());
    assert!(!goes_past(&[&bytes[1..]]), "nothing in it is a whole page of memory");
}

#[test]
fn a_write_past_the_page_cache_that_is_refused_takes_the_other_way_and_one_that_fails_does_not() {
    let site = Site::new();
    fail(Step::WriteThrough, Errno::INVAL);
    site.commit(&contiguous(UID, &pixels(1, 5000))).unwrap();
    assert_stored(&site, 1);
    assert!(!site.store.root().writes_through(), "once is enough");

    let site = Site::new();
    fail(Step::WriteThrough, Errno::NOSPC);
    assert!(matches!(site.commit(&contiguous(UID, &pixels(1, 5000))), Err(StoreError::DiskFull)));
    assert!(site.temp_files().is_empty());
    site.commit(&contiguous(UID, &pixels(1, 5000))).unwrap();
    assert_stored(&site, 1);
}
