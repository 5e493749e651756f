//! Writing the log, checkpoints, and refused instances.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn a_log_that_is_full_is_checkpointed_by_the_commit_that_needs_room_and_grows() {
    let site = site();
    let restored_of = |site: &Site| {
        let (dir, _store, restored) = after_crash(site, remove_all);
        assert_eq!(files(&dir.path().join("root")).len() as u64, restored);
        restored
    };
    for n in 0..60 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 12_000))).unwrap();
        if n == 3 {
            assert_eq!(restored_of(&site), 4, "two frames of 16 KiB in each segment of 64 KiB, and the reserve");
        }
    }
    let restored = restored_of(&site);
    assert!((5..60).contains(&restored), "in larger segments, and the others are on the disk: {restored}");
    for n in 0..60 {
        assert_stored(&site.root(), path_of(&format!("1.2.{n}")), &format!("1.2.{n}"), n, 12_000);
    }
}

#[test]
fn a_full_log_that_cannot_be_checkpointed_makes_nobody_wait() {
    let site = site();
    for n in 0..4 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 12_000))).unwrap();
    }
    fail(Step::Free);
    for n in 4..10 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 12_000))).unwrap();
    }
    let (dir, _store, restored) = after_crash(&site, |root| drop(fs::remove_file(root.join(path_of("1.2.9")))));
    assert_eq!(restored, 0, "the last went file by file, and people removed it");
    assert_eq!(files(&dir.path().join("root")).len(), 9);
}

#[test]
fn the_log_never_says_something_older_than_the_file() {
    // By whatever way the second comes: small enough for the log or not, in memory or spooled.
    for spools in [false, true] {
        let site = site();
        let uid = "1.2.1";
        site.commit(&instance(uid, &pixels(1, 3000))).unwrap();
        let newer = if spools { spooled(&site.store, uid, &pixels(2, 3000)) } else { instance(uid, &pixels(2, 3000)) };
        assert_eq!(site.outcome(&newer), Outcome::Replaced);
        drop(newer);
        let (dir, ..) = after_crash(&site, |_| ());
        assert_stored(&dir.path().join("root"), path_of(uid), uid, 2, 3000);
    }
    // Nor when someone has taken the file away in between.
    let site = site();
    for seed in [1, 2] {
        site.commit(&instance("1.2.1", &pixels(seed, 3000))).unwrap();
        fs::remove_file(site.root().join(path_of("1.2.1"))).unwrap();
    }
    let (dir, ..) = after_crash(&site, |_| ());
    assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 2, 3000);
}

#[test]
fn duplicates_are_what_they_are_without_a_log() {
    let cases = [
        (Duplicates::Replace, Some(Outcome::Replaced), 1),
        (Duplicates::KeepBoth, Some(Outcome::KeptBoth { copy: 2 }), 2),
        (Duplicates::Refuse, None, 1),
    ];
    for (duplicates, outcome, stored) in cases {
        let site = Site::with(|settings| (settings.commit, settings.duplicates) = (CommitStrategy::Log, duplicates));
        let batch = [1, 1, 2].map(|seed| instance("1.2.1", &pixels(seed, 500)));
        let outcomes: Vec<_> =
            site.store.commit(&batch.each_ref(), &|| ()).into_iter().map(|r| r.ok().map(|s| s.outcome)).collect();
        assert_eq!(outcomes, [Some(Outcome::New), Some(Outcome::Identical), outcome], "{duplicates}");
        let (dir, ..) = after_crash(&site, |_| ());
        let root = dir.path().join("root");
        assert_eq!(files(&root).len(), stored);
        let last = if duplicates == Duplicates::Replace { 2 } else { 1 };
        assert_stored(&root, path_of("1.2.1"), "1.2.1", last, 500);
        if duplicates == Duplicates::KeepBoth {
            assert_stored(&root, copy_path("1.2.1", 2), "1.2.1", 2, 500);
        }
    }
}

#[test]
fn a_name_taken_from_outside_is_kept_by_who_has_it() {
    for (duplicates, outcome) in [
        (Duplicates::Replace, Some(Outcome::Replaced)),
        (Duplicates::KeepBoth, Some(Outcome::KeptBoth { copy: 2 })),
        (Duplicates::Refuse, None),
    ] {
        let site = Site::with(|settings| (settings.commit, settings.duplicates) = (CommitStrategy::Log, duplicates));
        let path = site.root().join(path_of("1.2.1"));
        arm(Step::BeforeRename, move || {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"somebody's").unwrap();
            Ok(())
        });
        let stored = site.commit(&instance("1.2.1", &pixels(1, 500)));
        assert_eq!(stored.ok().map(|stored| stored.outcome), outcome, "{duplicates}");
        let (dir, _, restored) = after_crash(&site, |_| ());
        let root = dir.path().join("root");
        match outcome {
            Some(Outcome::Replaced) => assert_stored(&root, path_of("1.2.1"), "1.2.1", 1, 500),
            // Only an acknowledged instance may take what is somebody's.
            Some(_) => {
                assert_eq!((restored, fs::read(root.join(path_of("1.2.1"))).unwrap()), (0, b"somebody's".to_vec()));
                assert_stored(&root, copy_path("1.2.1", 2), "1.2.1", 1, 500);
            }
            None => assert_eq!(fs::read(site.root().join(path_of("1.2.1"))).unwrap(), b"somebody's"),
        }
    }
}

#[test]
fn a_commit_waits_for_the_log_alone_only_if_all_of_it_is_there() {
    let site = site();
    let (first, second, other) =
        (instance("1.2.1", &pixels(1, 500)), instance("1.2.1", &pixels(2, 500)), instance("1.2.2", &pixels(3, 500)));
    let begun = site.store.begin(vec![&first], &|| ()).unwrap();
    assert!(begun.is_wholly_to_log());
    // Its name is about to be given: the second goes another way, and has to wait for the first.
    let mixed = site.store.begin(vec![&second, &other], &|| ()).unwrap();
    assert!(!mixed.is_wholly_to_log());
    assert!(finish(begun).iter().all(Result::is_ok));
    let outcomes: Vec<_> = finish(mixed).into_iter().map(|result| result.unwrap().outcome).collect();
    assert_eq!(outcomes, [Outcome::Replaced, Outcome::New]);
    assert!(site.store.begin(Vec::<&Instance>::new(), &|| ()).is_ok_and(|nothing| !nothing.is_wholly_to_log()));
}

#[test]
fn the_files_of_what_is_in_the_log_may_be_written_by_anybody_meanwhile() {
    let site = site();
    let instances = [instance("1.2.1", &pixels(1, 500)), instance("1.2.2", &pixels(2, 500))];
    let mut commit = site.store.begin(instances.iter().collect(), &|| ()).unwrap();
    assert!(site.temp_files().is_empty(), "the log comes first");
    let files = commit.files().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| files.write(&|| ()));
        Commit::write_log([&mut commit], &|| ()).unwrap();
    });
    assert_eq!(site.temp_files().len(), 2);
    fail(Step::Write); // nothing is written twice
    assert!(finish(commit).iter().all(Result::is_ok));
    files.write(&|| ());
    assert_eq!(site.files(), [path_of("1.2.1"), path_of("1.2.2")]);
    assert!(site.commit(&instance("1.2.3", &pixels(3, 500))).is_err(), "the failure was still to come");
}

#[test]
fn several_commits_are_one_frame_whatever_becomes_of_each() {
    let site = site();
    let instances: Vec<_> = (0..4).map(|n| instance(&format!("1.2.{n}"), &pixels(n, 3000))).collect();
    let mut first = site.store.begin(instances[..3].iter().collect(), &|| ()).unwrap();
    let mut second = site.store.begin(instances[3..].iter().collect(), &|| ()).unwrap();
    let mut nothing = site.store.begin(Vec::new(), &|| ()).unwrap();
    let syncs = Rc::new(Cell::new(0));
    for _ in 0..2 {
        let syncs = Rc::clone(&syncs);
        arm(Step::SyncLog, move || {
            syncs.set(syncs.get() + 1);
            Ok(())
        });
    }
    Commit::write_log([&mut nothing, &mut first, &mut second], &|| ()).unwrap();
    assert!(finish(first).iter().chain(&finish(second)).all(Result::is_ok));
    assert_eq!(syncs.get(), 1);
    let (dir, _, restored) = after_crash(&site, remove_all);
    assert_eq!(restored, 4);
    for n in 0..4 {
        let uid = format!("1.2.{n}");
        assert_stored(&dir.path().join("root"), path_of(&uid), &uid, n, 3000);
    }
}

#[test]
fn what_is_more_than_small_has_its_file_by_the_time_the_log_is_synced() {
    let site = Site::with(|settings| settings.commit = CommitStrategy::Adaptive);
    for n in 0..60 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 5000))).unwrap();
        site.store.checkpoint(&|| ()).unwrap(); // until a segment has room for it
    }
    let slice = instance("1.3.1", &pixels(1, 70_000));
    let commit = site.store.begin(vec![&slice], &|| ()).unwrap();
    assert!(commit.is_wholly_to_log());
    assert!(!commit.files().unwrap().are_small(), "nobody is called to write it");
    let (root, files) = (site.root(), Rc::new(Cell::new(0)));
    let there = Rc::clone(&files);
    arm(Step::SyncLog, move || {
        there.set(temp_files(&root).len());
        Ok(())
    });
    assert!(finish(commit).iter().all(Result::is_ok));
    assert_eq!(files.get(), 1);
    let (dir, _store, restored) = after_crash(&site, |root| truncate(&root.join(path_of("1.3.1")), 5000));
    assert_eq!(restored, 1);
    assert_stored(&dir.path().join("root"), path_of("1.3.1"), "1.3.1", 1, 70_000);
}

#[test]
fn a_log_takes_up_what_it_needs_and_is_taken_away_when_it_is_not_wanted() {
    let site = site();
    let segments = |root: &Path| -> Vec<u64> {
        let entries = fs::read_dir(root.join(".tidegate/log")).unwrap();
        let mut lengths: Vec<_> = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        lengths.sort_unstable();
        lengths
    };
    let kib = |root: &Path| segments(root).iter().map(|bytes| bytes >> 10).collect::<Vec<_>>();
    assert_eq!(kib(&site.root()), [64, 64]);
    let mut steps = Vec::new();
    for n in 0..255 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 500))).unwrap();
        // Not a segment that is due for its age: that depends on the speed of this machine.
        if site.store.root().wal().unwrap().state.lock().is_oldest_full() {
            site.store.checkpoint(&|| ()).unwrap(); // one that is full is laid out for more before it is used again
        }
        steps.push(kib(&site.root()));
    }
    steps.dedup();
    assert_eq!(steps, [[64, 64], [64, 128], [128, 256], [256, 256]]);
    // One that is left for its age stays as it is.
    let aged = self::site();
    aged.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    std::thread::sleep(crate::wal::state::CHECKPOINT_AFTER);
    aged.store.checkpoint(&|| ()).unwrap();
    assert!(aged.store.checkpoint_due().is_none());
    assert_eq!(kib(&aged.root()), [64, 64]);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    copy(&site.root(), &root);
    remove_all(&root);
    let (_store, recovery) = Store::open(settings(&root)).unwrap();
    assert!(recovery.restored_files > 0);
    assert_eq!(segments(&root), [0; 0]);
    assert_stored(&root, path_of("1.2.254"), "1.2.254", 254, 500);
}

#[test]
fn a_log_that_cannot_be_written_leaves_the_other_ways() {
    let site = site();
    let slice = instance("1.2.1", &pixels(1, 500));
    let mut commit = site.store.begin(vec![&slice], &|| ()).unwrap();
    fail(Step::Log);
    let written = Commit::write_log([&mut commit], &|| ());
    assert!(matches!(written, Err(StoreError::Io { source: Errno::IO, .. })), "{written:?}");
    assert!(matches!(finish(commit)[..], [Ok(Stored { outcome: Outcome::New, .. })]));
    let (_dir, _, restored) = after_crash(&site, remove_all);
    assert_eq!(restored, 0, "nothing is in it");
    assert_eq!(site.files(), [path_of("1.2.1")]);
}

#[test]
fn a_log_that_cannot_be_synced_fails_who_relied_on_it_and_nobody_else() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    fail(Step::SyncLog);
    let failed = site.commit(&instance("1.2.2", &pixels(2, 500)));
    assert!(matches!(failed, Err(StoreError::Io { source: Errno::IO, .. })), "{failed:?}");
    assert_eq!(site.files(), [path_of("1.2.1")]);
    // By the other segment, or file by file.
    for n in 2..6 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 500))).unwrap();
    }
    let (dir, ..) = after_crash(&site, |_| ());
    for n in 1..6 {
        let uid = format!("1.2.{n}");
        assert_stored(&dir.path().join("root"), path_of(&uid), &uid, n, 500);
    }
}

#[test]
fn a_segment_that_cannot_be_freed_stays_and_others_go_on() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    fail(Step::Free);
    let before = std::time::Instant::now();
    // The name is in the log, so its replacement needs a checkpoint.
    assert!(matches!(site.commit(&instance("1.2.1", &pixels(2, 500))), Err(StoreError::Io { .. })));
    let (dir, ..) = after_crash(&site, remove_all);
    assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
    assert_eq!(site.outcome(&instance("1.2.3", &pixels(3, 500))), Outcome::New);
    let due = site.store.checkpoint_due().unwrap();
    assert!(due > before, "not at once, which would fail at once");
}

#[test]
fn after_a_sync_that_failed_each_file_is_held_against_the_disk_before_its_segment_is_freed() {
    for step in [Step::Checkpoint, Step::ProveJournal] {
        let site = site();
        for n in 0..3 {
            site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 12_000))).unwrap(); // two in the first segment, one in the second
        }
        fs::write(site.root().join(path_of("1.2.1")), b"corrected").unwrap();
        fail(step);
        let checkpoint = site.store.checkpoint(&|| ());
        // A journal that has failed once is asked again later; a sync is not asked again.
        assert_eq!(checkpoint.is_err(), step == Step::ProveJournal, "{checkpoint:?}");
        if let Ok(recovery) = checkpoint {
            assert_eq!(recovery.left_files, 1, "what people did is theirs");
        }
        assert_eq!(fs::read(site.root().join(path_of("1.2.1"))).unwrap(), b"corrected");
        // Both segments were tainted, whichever was asked about.
        let wal = site.store.root().wal().unwrap().clone();
        assert!(wal.trust.failures() > 0);
    }
}

#[test]
fn a_segment_is_not_freed_before_all_its_files_have_their_names() {
    let site = std::sync::Arc::new(site());
    let others = std::sync::Arc::clone(&site);
    arm(Step::BeforeRename, move || {
        // The instance is durable by now, and only in the log. A writer that needs the name has to wait, and waits in vain.
        let second = others.commit(&instance("1.2.1", &pixels(2, 500)));
        assert!(matches!(second, Err(StoreError::Contended)), "{second:?}");
        assert!(others.store.checkpoint(&|| ()).is_ok());
        let (dir, _, restored) = after_crash(&others, |_| ());
        assert_eq!(restored, 1);
        assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
        Ok(())
    });
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(1, 500))), Outcome::New);
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(2, 500))), Outcome::Replaced);
}

#[test]
fn a_name_taken_from_outside_makes_nobody_wait_for_itself() {
    let site = site();
    let instances: Vec<_> = (0..2).map(|n| instance(&format!("1.2.{n}"), &pixels(n, 500))).collect();
    let mut first = site.store.begin(instances[..1].iter().collect(), &|| ()).unwrap();
    let mut second = site.store.begin(instances[1..].iter().collect(), &|| ()).unwrap();
    Commit::write_log([&mut first, &mut second], &|| ()).unwrap();
    let path = site.root().join(path_of("1.2.0"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"somebody's").unwrap();
    // The frame that both are in stays open until the second is finished, by this thread.
    let outcomes = finish(first);
    assert!(matches!(outcomes[..], [Ok(Stored { outcome: Outcome::Replaced, .. })]), "{outcomes:?}");
    assert!(finish(second).iter().all(Result::is_ok));
}

#[test]
fn a_checkpoint_that_waits_in_vain_is_not_due_again_at_once() {
    let site = std::sync::Arc::new(site());
    let others = std::sync::Arc::clone(&site);
    arm(Step::BeforeRename, move || {
        std::thread::sleep(crate::wal::state::CHECKPOINT_AFTER);
        let before = std::time::Instant::now();
        assert!(matches!(others.store.checkpoint(&|| ()), Err(StoreError::Contended)));
        assert!(others.store.checkpoint_due().unwrap() > before);
        Ok(())
    });
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    assert!(site.store.checkpoint_due().is_some(), "somebody has to come back");
}
