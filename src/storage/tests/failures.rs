//! A disk that is full, a permission lost, a root or directory gone: each is told apart, leaves nothing behind, and is
//! over as soon as its cause is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::*;
use tidegate_storage::{Durability, OpenError, Outcome, Store, StoreError};

/// A small filesystem in memory, where this user may mount one.
struct SmallFilesystem(PathBuf);

impl SmallFilesystem {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tidegate-test"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(at.to_owned())),
            _ => {
                eprintln!("skipped: this user may not mount a filesystem");
                None
            }
        }
    }

    fn unmount_lazily(&self) {
        assert!(Command::new("umount").arg("-l").arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallFilesystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

/// Runs `test` as a user who is bound by permissions, which root is not.
fn as_plain_user(root: &Path, test: impl FnOnce() + Send) {
    let nobody = rustix::process::Uid::from_raw(65534);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let status = Command::new("chown").args(["-R", "65534"]).arg(root).status();
        assert!(status.unwrap().success());
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

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_full_disk_is_said_to_be_full_and_is_used_again_when_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount(&root, "1m") else {
        return;
    };
    for durability in [Durability::Fsync, Durability::None] {
        let mut settings = settings(&root);
        settings.durability = durability;
        let (store, _) = Store::open(settings).unwrap();
        fs::write(root.join("ballast"), vec![0; 700 * 1024]).unwrap();

        let large = instance("1.2.3.4.5", &pixels(1, 600 * 1024));
        let small = instance("1.2.3.4.6", &pixels(2, 1000));
        let results = store.commit(&[&large, &small]);
        assert!(matches!(results[0], Err(StoreError::DiskFull)), "{:?}", results[0]);
        assert!(results[1].is_ok(), "what still fits is stored: {:?}", results[1]);
        assert!(temp_files(&root).is_empty());
        assert!(matches!(store.room(600 * 1024), Err(StoreError::DiskFull)));

        let mut spool = store.spool(&meta("1.2.3.4.7")).unwrap();
        let dataset = dataset("1.2.3.4.7", STUDY, SERIES, &pixels(3, 600 * 1024));
        let error = slices(&dataset).iter().find_map(|slice| spool.append(std::slice::from_ref(slice)).err());
        assert!(matches!(error, Some(StoreError::DiskFull)), "{error:?}");
        drop(spool);
        assert!(temp_files(&root).is_empty());

        fs::remove_file(root.join("ballast")).unwrap();
        assert_eq!(commit(&store, &large).unwrap().outcome, Outcome::New);
        assert!(store.room(100 * 1024).is_ok());
        fs::remove_dir_all(root.join(STUDY)).unwrap();
    }
}

#[test]
fn a_spooled_instance_that_lacks_a_part_is_never_stored() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount(&root, "256k") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    let dataset = dataset("1.2.3.4.5", STUDY, SERIES, &pixels(1, 1000));
    let mut spool = store.spool(&meta("1.2.3.4.5")).unwrap();
    spool.append(&slices(&dataset)).unwrap();
    spool.append(&slices(&pixels(1, 600 * 1024))).unwrap_err();
    // Space is back, but what did not fit is lost.
    assert!(matches!(spool.append(&slices(&dataset)), Err(StoreError::SpoolBroken)));
    let instance = instance_of(meta("1.2.3.4.5"), &dataset, tidegate_storage::Payload::Spooled(spool));
    assert!(matches!(commit(&store, &instance), Err(StoreError::SpoolBroken)));
    assert!(files(&root).is_empty());
}

#[test]
fn below_the_space_to_keep_nothing_is_written_but_what_is_stored_is_known() {
    // More than any disk has.
    let site = Site::with(|settings| settings.min_free_bytes = u64::MAX / 2);
    let pixels = pixels(1, 1000);
    match site.commit(&instance("1.2.3.4.5", &pixels)) {
        Err(StoreError::BelowMinFree { free_bytes, min_free_bytes }) => {
            assert_eq!(min_free_bytes, u64::MAX / 2);
            assert!(free_bytes > 0 && free_bytes < min_free_bytes);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(site.store.room(0), Err(StoreError::BelowMinFree { .. })));
    let mut spool = site.store.spool(&meta("1.2.3.4.5")).unwrap();
    let dataset = slices(&dataset("1.2.3.4.5", STUDY, SERIES, &pixels));
    assert!(matches!(spool.append(&dataset), Err(StoreError::BelowMinFree { .. })));
    drop(spool);
    assert!(site.temp_files().is_empty() && site.files().is_empty());

    let path = site.root().join(path_of("1.2.3.4.5"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, whole_file("1.2.3.4.5", &pixels)).unwrap();
    assert_eq!(site.outcome(&instance("1.2.3.4.5", &pixels)), Outcome::Identical);
}

#[test]
fn a_batch_leaves_the_space_to_keep_as_one_instance_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount(&root, "1m") else {
        return;
    };
    let mut settings = settings(&root);
    settings.min_free_bytes = 512 * 1024;
    let (store, _) = Store::open(settings).unwrap();
    let batch: Vec<_> = (0..4).map(|n| instance(&format!("1.2.3.{n}"), &pixels(n, 200 * 1024))).collect();
    let results = store.commit(&batch.iter().collect::<Vec<_>>());
    let stored: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, true, false, false], "{results:?}");
    assert!(matches!(results[2], Err(StoreError::BelowMinFree { .. })), "{results:?}");
    assert_eq!(files(&root).len(), 2);
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
            let results = site.store.commit(&batch.each_ref());
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
            assert!(site.store.commit(&batch.each_ref()).iter().all(Result::is_ok));
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
    assert!(unavailable(site.store.spool(&meta("1.2.3.4.6")).map(drop)));
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
fn a_root_on_another_filesystem_than_at_start_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    // Unmounted: what is left is the empty directory it was mounted on.
    let Some(mounted) = SmallFilesystem::mount(&root, "1m") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    commit(&store, &instance("1.2.3.4.5", &pixels(1, 100))).unwrap();
    mounted.unmount_lazily();
    let error = commit(&store, &instance("1.2.3.4.6", &pixels(1, 100))).unwrap_err();
    assert!(matches!(error, StoreError::RootUnavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("another filesystem"), "{error}");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing was made in it");
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
