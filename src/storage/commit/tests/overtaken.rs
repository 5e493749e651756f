//! A commit whose thread ends or hangs at a step, and one that another thread, a newer instance or a person overtakes.

use super::*;

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
