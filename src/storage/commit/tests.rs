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
    let is: [(Errno, Is); 7] = [
        (Errno::NOSPC, |error| matches!(error, StoreError::DiskFull)),
        (Errno::DQUOT, |error| matches!(error, StoreError::DiskFull)),
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
    // What the disk may not have is written again: the kernel has told once, and would not tell the next who asks.
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
fn an_instance_whose_thread_died_is_stored_by_the_next_whatever_the_step() {
    for step in [Step::Write, Step::SyncData, Step::BeforeRename, Step::Rename, Step::AfterRename, Step::SyncDirectory]
    {
        for kind in [MEMORY, CONTIGUOUS, SPOOLED] {
            let site = Site::new();
            let instance = one(&site, kind, 1);
            if (step, kind) == (Step::Write, SPOOLED) {
                continue;
            }
            die_at(step, &site, &instance);
            let stored = site.commit(&instance).unwrap();
            let again = kind != SPOOLED && matches!(step, Step::AfterRename | Step::SyncDirectory);
            assert_eq!(stored.outcome, if again { Outcome::Identical } else { Outcome::New }, "{step:?}");
            assert_stored(&site, 1);
            drop(instance);
            assert!(site.temp_files().is_empty(), "{step:?}");
            assert_stored(&site, 1);
        }
    }
}

#[test]
fn a_retry_knows_its_own_file_under_every_policy() {
    for (duplicates, path) in [(Duplicates::Replace, path_of(UID)), (Duplicates::KeepBoth, copy_path(UID, 2))] {
        for kind in [MEMORY, CONTIGUOUS, SPOOLED] {
            let site = Site::with(|settings| settings.duplicates = duplicates);
            site.commit(&instance(UID, &pixels(9, 5000))).unwrap();
            let instance = &one(&site, kind, 1);
            die_at(Step::AfterRename, &site, instance);
            assert_eq!(site.commit(instance).unwrap().path, path);
            assert_eq!(fs::read(site.root().join(path.clone())).unwrap(), whole_file(UID, &pixels(1, 5000)));
            assert_eq!(site.files().len(), if duplicates == Duplicates::Replace { 1 } else { 2 });
        }
    }
}

#[test]
fn a_commit_of_what_is_stored_already_does_nothing_and_says_the_same() {
    let site = Site::new();
    for instance in [MEMORY, CONTIGUOUS, SPOOLED].map(|kind| one(&site, kind, 1)) {
        let first = site.commit(&instance).unwrap();
        fs::remove_file(site.root().join(path_of(UID))).unwrap();
        assert_eq!(site.commit(&instance).unwrap(), first);
        assert!(site.files().is_empty());
    }
}

/// A writer hangs before its rename and is given up. Its instance is stored by another, acknowledged, and replaced by a
/// newer one; then it wakes up.
#[test]
fn a_writer_that_wakes_up_late_does_not_undo_what_happened_since() {
    for (kind, hangs_at) in [(MEMORY, Step::Write), (MEMORY, Step::SyncData)] {
        let site = Arc::new(Site::new());
        // Everyone finds something stored, so that everyone replaces.
        site.commit(&instance(UID, &pixels(9, 5000))).unwrap();
        let old = Arc::new(one(&site, kind, 1));
        let (others, theirs) = (Arc::clone(&site), Arc::clone(&old));
        arm(hangs_at, move || {
            assert_eq!(others.outcome(&theirs), Outcome::Replaced);
            assert_eq!(others.outcome(&instance(UID, &pixels(2, 5000))), Outcome::Replaced);
            Ok(())
        });
        assert_eq!(site.commit(&old).unwrap().outcome, Outcome::Replaced, "what the other writer made of it");
        assert_stored(&site, 2);
        drop(old);
        assert!(site.temp_files().is_empty());
    }
}

/// Between the decision that a file may be replaced and its rename, nobody else gives that name: the last answer is the last rename.
#[test]
fn two_replacements_of_one_name_are_in_one_order() {
    let site = Arc::new(Site::new());
    site.commit(&instance(UID, &pixels(9, 5000))).unwrap();
    let others = Arc::clone(&site);
    arm(Step::BeforeRename, move || {
        let newer = others.commit(&instance(UID, &pixels(2, 5000)));
        assert!(matches!(newer, Err(StoreError::Contended)), "{newer:?}");
        Ok(())
    });
    assert_eq!(site.outcome(&instance(UID, &pixels(1, 5000))), Outcome::Replaced);
    assert_eq!(site.outcome(&instance(UID, &pixels(2, 5000))), Outcome::Replaced);
    assert_stored(&site, 2);
}

#[test]
fn a_cancelled_instance_is_not_stored() {
    let site = Site::new();
    for instance in [MEMORY, CONTIGUOUS, SPOOLED].map(|kind| one(&site, kind, 1)) {
        let instance = Arc::new(instance);
        let late = Arc::clone(&instance);
        arm(Step::SyncData, move || {
            assert_eq!(late.cancel(), Cancellation::Cancelled);
            Ok(())
        });
        assert!(matches!(site.commit(&instance), Err(StoreError::Cancelled)));
        assert!(matches!(site.commit(&instance), Err(StoreError::Cancelled)));
        assert_eq!(instance.cancel(), Cancellation::Cancelled);
    }
    assert!(site.files().is_empty() && site.temp_files().is_empty());
    let stored = instance(UID, &pixels(1, 5000));
    let outcome = site.commit(&stored).unwrap();
    assert_eq!(stored.cancel(), Cancellation::TooLate(outcome.clone()));
    assert_eq!(site.commit(&stored).unwrap(), outcome);
}

#[test]
fn a_name_taken_between_the_look_and_the_rename_is_a_duplicate() {
    let same = pixels(1, 5000);
    for (duplicates, seed, outcome) in [
        (Duplicates::Replace, 1, Some(Outcome::Identical)),
        (Duplicates::Replace, 2, Some(Outcome::Replaced)),
        (Duplicates::KeepBoth, 1, Some(Outcome::Identical)),
        (Duplicates::KeepBoth, 2, Some(Outcome::KeptBoth { copy: 2 })),
        (Duplicates::Refuse, 1, Some(Outcome::Identical)),
        (Duplicates::Refuse, 2, None),
    ] {
        for kind in [MEMORY, CONTIGUOUS, SPOOLED] {
            let site = Arc::new(Site::with(|settings| settings.duplicates = duplicates));
            let instance = one(&site, kind, 1);
            let other = Arc::clone(&site);
            let theirs = crate::support::instance(UID, &pixels(seed, 5000));
            arm(Step::SyncData, move || {
                other.commit(&theirs).unwrap();
                Ok(())
            });
            match (site.commit(&instance), outcome) {
                (Ok(stored), Some(outcome)) => {
                    assert_eq!(stored.outcome, outcome, "{duplicates:?} {seed}")
                }
                (Err(StoreError::DuplicateRefused { .. }), None) => {}
                other => panic!("{duplicates:?} {seed}: {other:?}"),
            }
            drop(instance);
            assert!(site.temp_files().is_empty());
            let holds_ours = site
                .files()
                .iter()
                .any(|path| stored_dataset(&site.root().join(path)) == dataset(UID, STUDY, SERIES, &same));
            assert_eq!(holds_ours, outcome.is_some());
        }
    }
}

#[test]
fn a_directory_removed_before_the_rename_is_made_again() {
    for gone in [STUDY.to_owned(), format!("{STUDY}/{SERIES}")] {
        for kind in [MEMORY, CONTIGUOUS, SPOOLED] {
            let site = Site::new();
            site.commit(&instance("1.2.1", &pixels(1, 100))).unwrap();
            let instance = &one(&site, kind, 1);
            let gone = site.root().join(&gone);
            arm(Step::BeforeRename, move || {
                fs::remove_dir_all(gone).unwrap();
                Ok(())
            });
            assert_eq!(site.outcome(instance), Outcome::New);
            assert_stored(&site, 1);
        }
    }
}

#[test]
fn a_temp_file_removed_before_the_rename_is_a_failure() {
    for kind in [MEMORY, CONTIGUOUS, SPOOLED] {
        let site = Site::new();
        let tmp = site.root().join(".tidegate/tmp");
        let instance = one(&site, kind, 1);
        arm(Step::BeforeRename, move || {
            for file in fs::read_dir(tmp).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
            Ok(())
        });
        assert!(matches!(site.commit(&instance), Err(StoreError::TempRemoved)));
        assert!(site.files().is_empty());
    }
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
fn a_thread_that_hangs_in_a_rename_or_a_sync_does_not_take_the_next_one_with_it() {
    for (kind, step) in [(MEMORY, Step::BeforeRename), (SPOOLED, Step::BeforeRename), (SPOOLED, Step::SyncData)] {
        let site = Site::new();
        let instance = one(&site, kind, 1);
        let (reached, hangs) = std::sync::mpsc::sync_channel(0);
        let (wake, woken) = std::sync::mpsc::sync_channel::<()>(0);
        std::thread::scope(|scope| {
            let (site, instance) = (&site, &instance);
            let hung = scope.spawn(move || {
                arm(step, move || {
                    reached.send(()).unwrap();
                    woken.recv().unwrap();
                    Ok(())
                });
                site.commit(instance)
            });
            hangs.recv().unwrap();
            assert!(matches!(site.commit(instance), Err(StoreError::Contended)), "{step:?}");
            if step == Step::BeforeRename {
                assert_eq!(instance.cancel(), Cancellation::Undecided);
            }
            wake.send(()).unwrap();
            let late = hung.join().unwrap().unwrap();
            assert_eq!(site.commit(instance).unwrap(), late, "stored once, whoever says so");
        });
        assert_eq!(site.files().len(), 1);
    }
}

#[test]
fn a_part_of_a_spooled_dataset_may_be_written_again_by_another_thread() {
    let site = Site::new();
    let (parts, whole) = {
        let instance = instance(UID, &pixels(1, 5000));
        let Payload::Memory(slices) = instance.payload else { panic!("in memory") };
        (slices.clone(), slices.concat())
    };
    let spool = Arc::new(spool(&site.store, UID));
    let (begin, first) = (spool.file_bytes(), parts[0].len() as u64);
    spool.write(begin, &parts[..1]).unwrap();
    spool.write(begin + first, &parts[1..]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| spool.write(begin, &parts[..1]).unwrap());
    });
    assert_eq!(spool.dataset_bytes(), whole.len() as u64);
    let path = site.commit(&instance_of(meta(UID), &whole, Payload::Spooled(spool))).unwrap().path;
    assert_eq!(stored_dataset(&site.root().join(path)), whole);
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
