use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use crate::fault::{Step, arm};
use crate::support::*;
use crate::{Commit, CommitStrategy, Duplicates, Instance, Outcome, Store, StoreError, Stored};

fn site() -> Site {
    Site::with(|settings| settings.commit = CommitStrategy::Log)
}

fn finish(commit: Commit<&Instance>) -> Vec<Result<Stored, StoreError>> {
    let mut stored = Vec::new();
    commit.finish(&|| (), &mut |outcome| stored.push(outcome));
    stored
}

fn fail(step: Step) {
    arm(step, || Err(Errno::IO));
}

/// The root as a crash leaves it at this moment, opened: nothing that the open store does later is in it.
fn after_crash(site: &Site, change: impl FnOnce(&Path)) -> (tempfile::TempDir, Store, u64) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    copy(&site.root(), &root);
    change(&root);
    let mut settings = settings(&root);
    settings.commit = CommitStrategy::Log;
    let (store, recovery) = Store::open(settings).unwrap();
    (dir, store, recovery.restored_files)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn remove_all(root: &Path) {
    for path in files(root) {
        fs::remove_file(root.join(path)).unwrap();
    }
}

fn assert_stored(root: &Path, path: PathBuf, uid: &str, seed: u8, bytes: usize) {
    assert!(fs::read(root.join(path)).unwrap() == whole_file(uid, &pixels(seed, bytes)), "{uid} is not whole");
}

#[test]
fn what_is_acknowledged_is_whole_whatever_state_its_file_is_in() {
    let site = site();
    let batch: Vec<_> = (0..5).map(|n| instance(&format!("1.2.{n}"), &pixels(n, 3000))).collect();
    assert!(site.store.commit(&batch.iter().collect::<Vec<_>>(), &|| ()).iter().all(Result::is_ok));
    assert_eq!(site.outcome(&instance("1.2.9", &pixels(9, 3000))), Outcome::New);
    type Harm = fn(&Path);
    let harm: [(&str, Harm, u64); 5] = [
        ("none", |_| (), 0),
        ("missing", remove_all, 6),
        ("directories missing", |root| fs::remove_dir_all(root.join(STUDY)).unwrap(), 6),
        ("cut short", |root| fs::write(root.join(path_of("1.2.3")), b"DICM").unwrap(), 1),
        (
            "zeros",
            |root| {
                fs::write(root.join(path_of("1.2.9")), vec![0; whole_file("1.2.9", &pixels(9, 3000)).len()]).unwrap()
            },
            1,
        ),
    ];
    for (what, harm, expected) in harm {
        let (dir, store, restored) = after_crash(&site, harm);
        assert_eq!(restored, expected, "{what}");
        let root = dir.path().join("root");
        assert_eq!(files(&root).len(), 6, "{what}");
        for n in [0, 1, 2, 3, 4, 9] {
            let uid = format!("1.2.{n}");
            assert_stored(&root, path_of(&uid), &uid, n, 3000);
        }
        assert!(temp_files(&root).is_empty());
        // It has been written out: what is done to the files from now on is not undone.
        drop(store);
        remove_all(&root);
        let (_store, recovery) = Store::open(settings(&root)).unwrap();
        assert_eq!((recovery.restored_files, files(&root).len()), (0, 0), "{what}");
    }
}

#[test]
fn a_frame_that_is_torn_counts_for_nothing_and_those_before_it_count() {
    let site = site();
    for n in 0..3 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 3000))).unwrap();
    }
    let log = |root: &Path| root.join(".tidegate/log/segment-0");
    let frame = |n: usize| 4096 + 4096 * n;
    // In what it says of its files; and in a file, behind which others are whole.
    let torn = [(frame(2) + 3000, 2), (frame(2) + 5, 2), (frame(1) + 70, 1), (frame(1) + 3000, 2), (frame(0) + 20, 0)];
    for (at, intact) in torn {
        let (dir, _store, restored) = after_crash(&site, |root| {
            remove_all(root);
            let mut bytes = fs::read(log(root)).unwrap();
            bytes[at] ^= 1;
            fs::write(log(root), bytes).unwrap();
        });
        assert_eq!(restored, intact, "{at}");
        assert_eq!(files(&dir.path().join("root")).len() as u64, intact);
    }
    let (_dir, _store, restored) = after_crash(&site, |root| {
        remove_all(root);
        fs::File::options().write(true).open(log(root)).unwrap().set_len(frame(2) as u64 + 50).unwrap();
    });
    assert_eq!(restored, 2, "cut off");
}

#[test]
fn a_log_of_another_version_is_left_to_that_unless_there_is_nothing_in_it() {
    let open = |root: &Path| {
        let segment = root.join(".tidegate/log/segment-0");
        let mut bytes = fs::read(&segment).unwrap();
        bytes[6] = 1;
        fs::write(&segment, bytes).unwrap();
        Store::open(settings(root))
    };
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 3000))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(&site.root(), &dir.path().join("crashed"));
    assert!(open(&dir.path().join("crashed")).unwrap_err().to_string().contains("start that version once"));
    let root = site.root();
    let Site { store, dir: _dir } = site;
    drop(store);
    assert!(open(&root).is_ok());
}

#[test]
fn a_log_that_is_full_goes_on_in_the_other_segment_and_then_file_by_file_until_it_is_tended() {
    let site = site();
    let count = 60;
    for n in 0..count {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 12_000))).unwrap();
        // Two segments of 64 KiB: full long before that.
    }
    assert!(site.store.tend_at().unwrap() <= std::time::Instant::now());
    let restored_of = |site: &Site| {
        let (dir, _store, restored) = after_crash(site, remove_all);
        assert_eq!(files(&dir.path().join("root")).len() as u64, restored);
        restored
    };
    let held = restored_of(&site);
    assert_eq!(held, 6, "three frames of 16 KiB in each segment");
    site.store.tend().unwrap();
    assert!(restored_of(&site) < held, "its files are on the disk, and no longer in the log");
    for n in 0..20 {
        site.commit(&instance(&format!("1.3.{n}"), &pixels(n, 12_000))).unwrap();
    }
    let again = restored_of(&site);
    assert!(again >= 10, "{again}");
    for n in 0..20 {
        assert_stored(&site.root(), path_of(&format!("1.3.{n}")), &format!("1.3.{n}"), n, 12_000);
    }
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
        arm(Step::Place, move || {
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
        site.store.tend().unwrap(); // until a segment has room for it
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
    let (dir, _store, restored) = after_crash(&site, |root| fs::write(root.join(path_of("1.3.1")), b"DICM").unwrap());
    assert_eq!(restored, 1);
    assert_stored(&dir.path().join("root"), path_of("1.3.1"), "1.3.1", 1, 70_000);
}

#[test]
fn what_is_in_the_log_but_cannot_be_written_is_refused_now_and_at_the_next_start() {
    let site = site();
    fail(Step::Write);
    let refused = site.commit(&instance("1.2.1", &pixels(1, 500)));
    assert!(matches!(refused, Err(StoreError::Io { source: Errno::IO, .. })), "{refused:?}");
    assert!(site.store.tend_at().unwrap() <= std::time::Instant::now(), "that is due at once");
    site.store.tend().unwrap();
    let (dir, _, restored) = after_crash(&site, |_| ());
    assert_eq!((restored, files(&dir.path().join("root"))), (0, Vec::new()));
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(1, 500))), Outcome::New);
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
        if site.store.tend_at().is_some_and(|at| at <= std::time::Instant::now()) {
            site.store.tend().unwrap(); // one that is full is laid out for more before it is used again
        }
        steps.push(kib(&site.root()));
    }
    steps.dedup();
    assert_eq!(steps, [[64, 64], [64, 128], [128, 256], [256, 256]]);
    // One that is left for its age stays as it is.
    let aged = self::site();
    aged.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    std::thread::sleep(super::CHECKPOINT_AFTER);
    aged.store.tend().unwrap();
    assert!(aged.store.tend_at().is_none());
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
    let told = Commit::write_log([&mut commit], &|| ());
    assert!(matches!(told, Err(StoreError::Io { source: Errno::IO, .. })), "{told:?}");
    assert!(matches!(finish(commit)[..], [Ok(Stored { outcome: Outcome::New, .. })]));
    assert!(site.store.tend_at().is_none(), "nothing is in it");
    assert_eq!(site.files(), [path_of("1.2.1")]);
}

#[test]
fn behind_a_frame_that_was_never_written_there_is_no_other() {
    let site = site();
    arm(Step::Log, || panic!("in the middle of it"));
    let committed =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.commit(&instance("1.2.1", &pixels(1, 500)))));
    assert!(committed.is_err());
    site.commit(&instance("1.2.2", &pixels(2, 500))).unwrap();
    let (_dir, _, restored) = after_crash(&site, remove_all);
    assert_eq!(restored, 1);
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
fn a_checkpoint_that_fails_frees_nothing_and_what_it_left_is_written_out_whatever_it_looks_like() {
    for step in [Step::Checkpoint, Step::Free] {
        let site = site();
        site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
        fail(step);
        // The name is in the log, so its replacement needs a checkpoint.
        assert!(matches!(site.commit(&instance("1.2.1", &pixels(2, 500))), Err(StoreError::Io { .. })), "{step:?}");
        let (dir, _, restored) = after_crash(&site, |_| ());
        assert_eq!(restored, u64::from(step == Step::Checkpoint), "after a failed sync nothing is believed");
        assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
        // Others go on.
        assert_eq!(site.outcome(&instance("1.2.3", &pixels(3, 500))), Outcome::New);
    }
}

#[test]
fn a_segment_is_not_freed_before_all_its_files_have_their_names() {
    let site = std::sync::Arc::new(site());
    let others = std::sync::Arc::clone(&site);
    arm(Step::Place, move || {
        // It is durable by now, and nowhere but in the log. Whoever needs the name has to wait, and waits in vain.
        let second = others.commit(&instance("1.2.1", &pixels(2, 500)));
        assert!(matches!(second, Err(StoreError::InOtherHands)), "{second:?}");
        assert!(matches!(others.store.tend(), Ok(())));
        let (dir, _, restored) = after_crash(&others, |_| ());
        assert_eq!(restored, 1);
        assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
        Ok(())
    });
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(1, 500))), Outcome::New);
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(2, 500))), Outcome::Replaced);
}

#[test]
fn a_store_that_is_closed_in_order_leaves_nothing_in_the_log() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    let root = site.root();
    let Site { store, dir: _dir } = site;
    drop(store);
    fs::remove_file(root.join(path_of("1.2.1"))).unwrap();
    let (_store, recovery) = Store::open(settings(&root)).unwrap();
    assert_eq!((recovery.restored_files, files(&root).len()), (0, 0));
}

#[test]
fn a_log_that_was_removed_is_not_relied_on() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    fs::remove_dir_all(site.root().join(".tidegate/log")).unwrap();
    site.commit(&instance("1.2.2", &pixels(2, 500))).unwrap();
    let (dir, _, restored) = after_crash(&site, remove_all);
    assert_eq!((restored, files(&dir.path().join("root"))), (1, vec![path_of("1.2.2")]));
}
