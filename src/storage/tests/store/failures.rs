//! Space, a permission, the root or a directory lost: each is told apart, leaves nothing behind, and is over as soon as its
//! cause is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::*;
use tidegate_storage::{OpenError, Outcome, Store, StoreError};

/// Runs `test` as a user who is bound by permissions, which root is not.
fn as_plain_user(root: &Path, test: impl FnOnce() + Send) {
    let nobody = rustix::process::Uid::from_raw(65534);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        give_to(root, nobody.as_raw());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if is_root {
                // Of this thread only.
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            }
            test();
        });
    });
}

fn give_to(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), None).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| give_to(&entry.unwrap().path(), user));
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn below_the_space_to_keep_nothing_is_written_but_what_is_stored_is_known() {
    // More than any disk has.
    let site = Site::with(|settings| settings.min_free_bytes = u64::MAX / 2);
    let pixels = pixels(1, 1000);
    match site.commit(&instance("1.2.3.4.5", &pixels)) {
        Err(error @ StoreError::BelowMinFree { bytes, free_bytes, min_free_bytes }) => {
            assert!(
                bytes > 1000 && error.to_string().contains(" KiB are to be written, and storage.min_free"),
                "{error}"
            );
            assert_eq!(min_free_bytes, u64::MAX / 2);
            assert!(free_bytes > 0 && free_bytes < min_free_bytes);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(site.store.room(0), Err(StoreError::BelowMinFree { .. })));
    let spool = site.store.spool(300).unwrap();
    let dataset = slices(&dataset("1.2.3.4.5", STUDY, SERIES, &pixels));
    assert!(matches!(spool.write(spool.file_bytes(), &dataset), Err(StoreError::BelowMinFree { .. })));
    drop(spool);
    assert!(site.temp_files().is_empty() && site.files().is_empty());

    let path = site.root().join(path_of("1.2.3.4.5"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, whole_file("1.2.3.4.5", &pixels)).unwrap();
    assert_eq!(site.outcome(&instance("1.2.3.4.5", &pixels)), Outcome::Identical);
}

#[test]
fn a_lost_permission_is_said_to_be_one_and_comes_back() {
    let site = Site::new();
    site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
    // The way to the root is not what is tested.
    set_mode(site.dir.path(), 0o755);
    as_plain_user(&site.root(), || {
        for lost in [STUDY.to_owned(), format!("{STUDY}/{SERIES}"), ".tidegate/tmp".to_owned(), ".".to_owned()] {
            let directory = site.root().join(&lost);
            set_mode(&directory, 0o500);
            // A new series, a new instance and a new study: each needs one of them.
            let batch = [
                instance_in(STUDY, "1.2.3.9", "1.2.3.9.1", &pixels(1, 100)),
                instance("1.2.3.4.6", &pixels(1, 100)),
                instance_in("1.7", "1.7.1", "1.7.1.1", &pixels(1, 100)),
            ];
            let results = site.store.commit(&batch.each_ref(), &|| ());
            let denied: Vec<_> =
                results.iter().map(|result| matches!(result, Err(StoreError::PermissionDenied { .. }))).collect();
            let expected = match lost.as_str() {
                STUDY => [true, false, false],
                "." => [false, false, true],
                ".tidegate/tmp" => [true; 3],
                _ => [false, true, false],
            };
            assert_eq!(denied, expected, "{lost}: {results:?}");
            assert_eq!(results.iter().filter(|result| result.is_err()).count(), denied.iter().filter(|d| **d).count());
            set_mode(&directory, 0o750);
            assert!(site.temp_files().is_empty(), "{lost}");
            assert!(site.store.commit(&batch.each_ref(), &|| ()).iter().all(Result::is_ok));
            for study in ["1.7", "1.2.3/1.2.3.9"] {
                fs::remove_dir_all(site.root().join(study)).unwrap();
            }
            fs::remove_file(site.root().join(path_of("1.2.3.4.6"))).unwrap();
        }
    });
}

#[test]
fn a_root_one_may_not_write_to_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    set_mode(&root, 0o555);
    as_plain_user(&root, || {
        let error = Store::open(settings(&root)).unwrap_err();
        assert!(matches!(error, OpenError::Io { source: rustix::io::Errno::ACCESS, .. }), "{error:?}");
        assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
    });
}

#[test]
fn a_root_that_is_gone_is_not_made_again_and_is_used_when_it_is_back() {
    let site = Site::new();
    site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
    let elsewhere = site.dir.path().join("elsewhere");
    let unavailable = |result| matches!(result, Err(StoreError::RootUnavailable { .. }));

    // Moved away and back.
    fs::rename(site.root(), &elsewhere).unwrap();
    assert!(unavailable(site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).map(drop)));
    assert!(unavailable(site.store.spool(300).map(drop)));
    assert!(unavailable(site.store.room(0)));
    assert!(!site.root().exists());
    assert_eq!(files(&elsewhere).len(), 1, "nothing is written where the path does not lead");
    fs::rename(&elsewhere, site.root()).unwrap();
    assert_eq!(site.outcome(&instance("1.2.3.4.6", &pixels(1, 100))), Outcome::New);

    // Deleted, and made again by someone.
    let spooled = spooled(&site.store, "1.2.3.4.7", &pixels(1, 100));
    fs::remove_dir_all(site.root()).unwrap();
    assert!(unavailable(site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).map(drop)));
    assert!(!site.root().exists());
    fs::create_dir(site.root()).unwrap();
    assert_eq!(site.outcome(&instance("1.2.3.4.6", &pixels(1, 100))), Outcome::New);
    assert_eq!(site.files(), [path_of("1.2.3.4.6")]);
    // Its temp file went with the old root.
    assert!(site.commit(&spooled).is_err());
    // The lock went with it, too, and was taken again.
    assert!(matches!(Store::open(settings(&site.root())), Err(OpenError::Locked { .. })));
}

#[test]
fn a_root_moved_away_is_not_replaced_by_another_directory_at_its_path() {
    let site = Site::new();
    site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
    let elsewhere = site.dir.path().join("elsewhere");
    fs::rename(site.root(), &elsewhere).unwrap();
    fs::create_dir(site.root()).unwrap();
    for _ in 0..2 {
        let refused = site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).unwrap_err();
        assert!(refused.to_string().contains("is another directory than at start"), "{refused}");
        let probed = site.store.try_write().unwrap_err();
        assert!(matches!(probed, StoreError::RootUnavailable { .. }), "{probed}");
    }
    assert_eq!(fs::read_dir(site.root()).unwrap().count(), 0, "nothing is made in the other directory");
    assert_eq!(files(&elsewhere).len(), 1);
    fs::remove_dir(site.root()).unwrap();
    fs::rename(&elsewhere, site.root()).unwrap();
    site.store.try_write().unwrap();
    assert_eq!(site.outcome(&instance("1.2.3.4.6", &pixels(1, 100))), Outcome::New);
}

#[test]
fn a_root_that_another_node_took_meanwhile_is_left_to_it() {
    let site = Site::new();
    fs::remove_dir_all(site.root()).unwrap();
    let (other, _) = Store::open(settings(&site.root())).unwrap();
    let error = site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).unwrap_err();
    assert!(matches!(error, StoreError::RootUnavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("in use"), "{error}");
    drop(other);
    site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).unwrap();
}

#[test]
fn what_is_ours_in_the_root_is_made_again_when_someone_tidies_up() {
    let site = Site::new();
    for gone in [".tidegate/tmp", ".tidegate/lock", ".tidegate"] {
        let path = site.root().join(gone);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        site.commit(&instance(&format!("1.2.{}", gone.len()), &pixels(1, 100))).unwrap();
        assert!(matches!(Store::open(settings(&site.root())), Err(OpenError::Locked { .. })), "{gone}");
        assert!(site.temp_files().is_empty());
    }
}

#[test]
fn what_stands_in_the_way_of_our_own_files_is_named_with_its_path() {
    let site = Site::new();
    let (path, original) = (site.root().join(".tidegate/tmp"), site.root().join("original"));
    fs::rename(&path, &original).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let error = site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap_err();
    assert!(matches!(error, StoreError::RootUnavailable { .. }), "{error:?}");
    for part in [path.to_str().unwrap(), "a pipe, a socket or a device stands", "move this away"] {
        assert!(error.to_string().contains(part), "{part} is not in {error}");
    }
    fs::remove_file(&path).unwrap();
    fs::rename(&original, &path).unwrap();
    site.commit(&instance("1.2.3.4.6", &pixels(1, 100))).unwrap();
}

#[test]
fn a_directory_removed_between_two_instances_is_made_again() {
    let site = Site::new();
    for (round, gone) in [STUDY.to_owned(), format!("{STUDY}/{SERIES}")].iter().enumerate() {
        site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
        fs::remove_dir_all(site.root().join(gone)).unwrap();
        let uid = format!("1.2.3.4.{}", round + 6);
        assert_eq!(site.outcome(&instance(&uid, &pixels(1, 100))), Outcome::New);
        assert_eq!(site.files(), [path_of(&uid)]);
        fs::remove_dir_all(site.root().join(STUDY)).unwrap();
    }
}

#[test]
fn a_link_in_the_place_of_a_study_is_named_itself() {
    let site = Site::new();
    std::os::unix::fs::symlink(site.dir.path(), site.root().join(STUDY)).unwrap();
    let refused = site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap_err();
    assert_eq!(refused.to_string(), format!("a symbolic link stands in the way at {STUDY}"));
}

#[test]
fn a_file_where_a_directory_is_needed_is_named_and_left_alone() {
    let site = Site::new();
    for in_the_way in [STUDY.to_owned(), format!("{STUDY}/{SERIES}")] {
        let path = site.root().join(&in_the_way);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "mine").unwrap();
        match site.commit(&instance("1.2.3.4.5", &pixels(1, 100))) {
            Err(error @ StoreError::Obstructed { .. }) => {
                assert!(error.to_string().contains(&in_the_way), "{error}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        assert!(site.temp_files().is_empty());
        fs::remove_file(path).unwrap();
        site.commit(&instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
        fs::remove_dir_all(site.root().join(STUDY)).unwrap();
    }
}

#[test]
fn a_trial_finds_out_what_an_instance_would() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let (store, _) = Store::open(settings(&root)).unwrap();
    let space = store.space().unwrap();
    assert!(0 < space.free_bytes && space.free_bytes <= space.size_bytes, "{space:?}");
    store.try_write().unwrap();
    assert_eq!(fs::read_dir(root.join(".tidegate/tmp")).unwrap().count(), 0, "it leaves nothing");
    fs::rename(&root, directory.path().join("elsewhere")).unwrap();
    assert!(matches!(store.try_write(), Err(StoreError::RootUnavailable { .. })));
    assert!(matches!(store.space(), Err(StoreError::RootUnavailable { .. })));
}
