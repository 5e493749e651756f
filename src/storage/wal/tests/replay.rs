//! The replay of an earlier process's log at a start.

use std::fs;
use std::path::Path;

use super::*;
use crate::wal::count_entries;

fn entries(log: &Path) -> u64 {
    let top = fs::File::top().unwrap();
    count_entries(&top.open(log, Open::Directory).unwrap()).unwrap()
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
        ("cut short", |root| truncate(&root.join(path_of("1.2.3")), 200), 1),
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
        // The log is checkpointed: later changes to the files are not undone.
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
    let frame = |n: usize| 8192 + 4096 * n;
    // In what it says of its files, and in a file. Behind the last frame there is nothing that tells damage from what was cut off.
    let torn = [
        (frame(2) + 3000, 2, 0),
        (frame(2) + 5, 2, 0),
        (frame(1) + 70, 2, 1),
        (frame(1) + 3000, 2, 1),
        (frame(0) + 20, 2, 1),
    ];
    for (at, intact, damaged) in torn {
        let (dir, _store, recovery) = after(Since::Crash, &site, |root| {
            remove_all(root);
            let mut bytes = fs::read(log(root)).unwrap();
            bytes[at] ^= 1;
            fs::write(log(root), bytes).unwrap();
        });
        assert_eq!((recovery.restored_files, recovery.aside.len()), (intact, damaged), "{at}: {recovery:?}");
        assert!(recovery.aside.iter().all(|aside| aside.reason == Reason::DamagedLog), "{at}: {recovery:?}");
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
        bytes[6] = 9;
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
fn what_is_in_the_log_but_cannot_be_written_is_refused_now_and_at_the_next_start() {
    let site = site();
    fail(Step::Write);
    let refused = site.commit(&instance("1.2.1", &pixels(1, 500)));
    assert!(matches!(refused, Err(StoreError::Io { source: Errno::IO, .. })), "{refused:?}");
    let (dir, _, restored) = after_crash(&site, |_| ());
    assert_eq!((restored, files(&dir.path().join("root"))), (0, Vec::new()));
    assert_eq!(site.outcome(&instance("1.2.1", &pixels(1, 500))), Outcome::New);
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
fn what_people_did_on_the_same_mount_is_theirs() {
    let site = site();
    for n in 0..4 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 500))).unwrap();
    }
    let corrected = b"corrected".to_vec();
    let change = |root: &Path| {
        fs::write(root.join(path_of("1.2.0")), &corrected).unwrap();
        fs::remove_file(root.join(path_of("1.2.1"))).unwrap();
        truncate(&root.join(path_of("1.2.2")), 100);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3);
        fs::File::options().write(true).open(root.join(path_of("1.2.2"))).unwrap().set_modified(later).unwrap();
    };
    let (dir, _, recovery) = after(Since::SameMount, &site, change);
    let root = dir.path().join("root");
    assert_eq!((recovery.restored_files, recovery.left_files), (0, 3), "{recovery:?}");
    assert!(recovery.aside.is_empty(), "{recovery:?}");
    assert_eq!(files(&root), [path_of("1.2.0"), path_of("1.2.2"), path_of("1.2.3")]);
    assert_eq!(fs::read(root.join(path_of("1.2.0"))).unwrap(), corrected);
    // After a crash of the machine the cause is unknown: a missing file is restored, a changed one is left.
    let (dir, _, recovery) = after(Since::Crash, &site, change);
    let root = dir.path().join("root");
    assert_eq!(recovery.restored_files, 2, "{recovery:?}");
    assert_eq!(fs::read(root.join(path_of("1.2.0"))).unwrap(), corrected);
    let [aside] = &recovery.aside[..] else { panic!("{recovery:?}") };
    assert_eq!((&aside.path, &aside.reason), (&path_of("1.2.0"), &Reason::ChangedSince));
    assert!(fs::read(root.join(aside.kept_as.as_ref().unwrap())).unwrap() == whole_file("1.2.0", &pixels(0, 500)));
}

#[test]
fn a_root_that_was_copied_with_its_log_is_not_made_older() {
    let site = site();
    for n in 0..2 {
        site.commit(&instance(&format!("1.2.{n}"), &pixels(n, 500))).unwrap();
    }
    let newer = whole_file("1.2.0", &pixels(7, 500));
    let (dir, _, recovery) = after(Since::Copied, &site, |root| {
        fs::write(root.join(path_of("1.2.0")), &newer).unwrap();
        fs::remove_file(root.join(path_of("1.2.1"))).unwrap();
    });
    let root = dir.path().join("root");
    assert!(fs::read(root.join(path_of("1.2.0"))).unwrap() == newer);
    assert_eq!((recovery.restored_files, recovery.aside.len()), (1, 1), "{recovery:?}");
    assert_eq!(recovery.aside[0].reason, Reason::ForeignLog);
}

#[test]
fn one_path_that_cannot_be_written_does_not_stop_a_start() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    site.commit(&instance_in("1.9", "1.9.1", "1.9.1.1", &pixels(2, 500))).unwrap();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let obstacles: [&dyn Fn(&Path); 3] = [
        &|study| fs::write(study, b"a file").unwrap(),
        &|study| std::os::unix::fs::symlink(elsewhere.path(), study).unwrap(),
        &|study| {
            std::os::unix::fs::symlink("round", study.with_file_name("round"))
                .and_then(|()| std::os::unix::fs::symlink("round", study))
                .unwrap()
        },
    ];
    for since in [Since::Crash, Since::Copied] {
        for obstruct in obstacles {
            let (dir, store, recovery) = after(since, &site, |root| {
                fs::remove_dir_all(root.join(STUDY)).unwrap();
                obstruct(&root.join(STUDY));
            });
            let root = dir.path().join("root");
            let [aside] = &recovery.aside[..] else { panic!("{recovery:?}") };
            assert_eq!(aside.path, path_of("1.2.1"));
            assert!(matches!(aside.reason, Reason::Obstructed { .. }), "{aside:?}");
            assert!(
                fs::read(root.join(aside.kept_as.as_ref().unwrap())).unwrap() == whole_file("1.2.1", &pixels(1, 500))
            );
            // The next start has nothing to say but that it is still there.
            drop(store);
            let (_, recovery) = Store::open(settings(&root)).unwrap();
            assert_eq!(recovery, Recovery { lost_files: 1, ..Recovery::default() });
        }
    }
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

#[test]
fn a_segment_that_is_gone_at_a_start_is_told_and_one_that_was_never_there_is_not() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    let segment = |root: &Path, number: usize| root.join(".tidegate/log").join(segment::name(number));
    let blank = |path: PathBuf| fs::write(&path, vec![0; fs::metadata(&path).unwrap().len() as usize]).unwrap();
    type Harm<'a> = &'a dyn Fn(&Path);
    let harm: [(Harm<'_>, &[usize]); 5] = [
        (&|_| (), &[]),
        (&|root| fs::remove_file(segment(root, 1)).unwrap(), &[1]),
        (&|root| blank(segment(root, 0)), &[0]),
        (&|root| truncate(&segment(root, 0), 0), &[0]),
        (&|root| fs::remove_dir_all(root.join(".tidegate/log")).unwrap(), &[0, 1]),
    ];
    for (harm, expected) in harm {
        let (dir, store, recovery) = after(Since::Crash, &site, harm);
        let told: Vec<_> = recovery.aside.iter().map(|aside| (aside.path.clone(), aside.reason.clone())).collect();
        let path = |number: &usize| (Path::new(".tidegate/log").join(segment::name(*number)), Reason::MissingLog);
        assert_eq!(told, expected.iter().map(path).collect::<Vec<_>>());
        // The log is whole again.
        drop(store);
        let settings = settings(&dir.path().join("root"));
        assert!(Store::open(settings.clone()).unwrap().1.aside.is_empty());
        // Without a log there is none to be missed.
        let per_file = crate::Settings { commit: CommitStrategy::PerFile, ..settings.clone() };
        assert!(Store::open(per_file).unwrap().1.aside.is_empty());
        assert!(Store::open(settings).unwrap().1.aside.is_empty());
    }
}

#[test]
fn a_commit_that_began_before_the_log_was_moved_away_does_not_go_through_it() {
    let site = site();
    let begun = instance("1.2.1", &pixels(1, 500));
    let commit = site.store.begin(vec![&begun], &|| ()).unwrap();
    assert!(commit.is_wholly_to_log());
    let (log, away) = (site.root().join(".tidegate/log"), site.root().join("away"));
    fs::rename(&log, &away).unwrap();
    site.commit(&instance("1.2.2", &pixels(2, 500))).unwrap();
    commit.finish(&|| (), &mut |answer| drop(answer.unwrap()));
    assert_eq!(entries(&away), 0);
    assert_eq!(entries(&log), 1);
    assert!(site.root().join(path_of("1.2.1")).exists());
}

#[test]
fn a_path_that_the_log_knows_is_given_another_way_only_once_it_knows_it_no_more() {
    for is_written in [false, true] {
        let site = site();
        site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
        fs::remove_file(site.root().join(path_of("1.2.1"))).unwrap();
        if is_written {
            fail(Step::Log);
        } else {
            site.store.root().wal().unwrap().retire(); // there is no room in it
        }
        site.commit(&instance("1.2.1", &pixels(2, 500))).unwrap();
        assert_eq!(entries(&site.root().join(".tidegate/log")), 0, "{is_written}");
    }
}

#[test]
fn whatever_refuses_an_instance_that_is_in_the_log_the_next_start_does_not_store_it() {
    for step in [Step::Write, Step::Rename, Step::SyncLog] {
        let site = site();
        site.commit(&instance("1.2.9", &pixels(9, 500))).unwrap();
        fail(step);
        assert!(site.commit(&instance("1.2.1", &pixels(1, 500))).is_err(), "{step:?}");
        let (dir, ..) = after_crash(&site, |_| ());
        assert_eq!(files(&dir.path().join("root")), [path_of("1.2.9")], "{step:?}");
        assert_eq!(site.store.not_voided(), 0);
        // It may be sent again.
        assert_eq!(site.outcome(&instance("1.2.1", &pixels(1, 500))), Outcome::New, "{step:?}");
        let (dir, ..) = after_crash(&site, remove_all);
        assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
    }
}

#[test]
fn a_refusal_takes_back_its_own_entry_and_not_what_was_acknowledged_before() {
    let site = site();
    site.commit(&instance("1.2.1", &pixels(1, 500))).unwrap();
    // Somebody has moved it away, and a resend is refused after it went into the log.
    fs::remove_file(site.root().join(path_of("1.2.1"))).unwrap();
    fail(Step::Rename);
    assert!(site.commit(&instance("1.2.1", &pixels(1, 500))).is_err());
    let (dir, _, restored) = after_crash(&site, |_| ());
    assert_eq!(restored, 1);
    assert_stored(&dir.path().join("root"), path_of("1.2.1"), "1.2.1", 1, 500);
}
