//! A filesystem that is small, or not there any more. It needs a user who may mount.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::support::*;
use tidegate_storage::digest::ATTRIBUTE;
use tidegate_storage::survey::Found;
use tidegate_storage::{CommitStrategy, Durability, Outcome, Store, StoreError};

/// A small filesystem in memory, where this user may mount one.
struct SmallFilesystem(PathBuf, #[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

/// A process just started holds, for a moment, whatever was open: a removed file takes up space for as long.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl SmallFilesystem {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        Self::mount_kind("tmpfs", at, &format!("size={size}"))
    }

    fn mount_kind(kind: &str, at: &Path, size: &str) -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(at).unwrap();
        let options = format!("{size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", kind, "-o", &options, "tidegate-test"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self(at.to_owned(), alone)),
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

#[test]
fn a_full_disk_is_said_to_be_full_and_is_used_again_when_it_is_not() {
    for durability in [Durability::Fsync, Durability::None] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let Some(_mounted) = SmallFilesystem::mount(&root, "1m") else {
            return;
        };
        let mut settings = settings(&root);
        settings.durability = durability;
        let (store, _) = Store::open(settings).unwrap();
        fs::write(root.join("ballast"), vec![0; 700 * 1024]).unwrap();

        let large = instance("1.2.3.4.5", &pixels(1, 600 * 1024));
        let small = instance("1.2.3.4.6", &pixels(2, 1000));
        let results = store.commit(&[&large, &small], &|| ());
        assert!(matches!(results[0], Err(StoreError::DiskFull)), "{:?}", results[0]);
        assert!(results[1].is_ok(), "what still fits is stored: {:?}", results[1]);
        assert!(temp_files(&root).is_empty());
        assert!(matches!(store.room(600 * 1024), Err(StoreError::DiskFull)));

        let spool = spool(&store, "1.2.3.4.7");
        let dataset = dataset("1.2.3.4.7", STUDY, SERIES, &pixels(3, 600 * 1024));
        let error = slices(&dataset)
            .iter()
            .find_map(|slice| spool.write(spool.file_bytes(), std::slice::from_ref(slice)).err());
        assert!(matches!(error, Some(StoreError::DiskFull)), "{error:?}");
        drop(spool);
        assert!(temp_files(&root).is_empty());

        fs::remove_file(root.join("ballast")).unwrap();
        assert_eq!(commit(&store, &large).unwrap().outcome, Outcome::New);
        assert!(store.room(100 * 1024).is_ok());
    }
}

#[test]
fn a_filesystem_that_cannot_be_written_past_the_page_cache_stores_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount_kind("ramfs", &root, "size=4m") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    for uid in ["1.2.3.4.5", "1.2.3.4.6"] {
        let pixels = pixels(1, 100_000);
        commit(&store, &contiguous(uid, &pixels)).unwrap();
        assert_eq!(fs::read(root.join(path_of(uid))).unwrap(), whole_file(uid, &pixels));
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
    let spool = spool(&store, "1.2.3.4.5");
    spool.write(spool.file_bytes(), &slices(&dataset)).unwrap();
    spool.write(spool.file_bytes(), &slices(&pixels(1, 600 * 1024))).unwrap_err();
    // Space is back, but what did not fit is lost.
    assert!(matches!(spool.write(spool.file_bytes(), &slices(&dataset)), Err(StoreError::SpoolBroken)));
    let instance = instance_of(meta("1.2.3.4.5"), &dataset, tidegate_storage::Payload::Spooled(spool.into()));
    assert!(matches!(commit(&store, &instance), Err(StoreError::SpoolBroken)));
    assert!(files(&root).is_empty());
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
    let results = store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
    let stored: Vec<_> = results.iter().map(Result::is_ok).collect();
    assert_eq!(stored, [true, true, false, false], "{results:?}");
    assert!(matches!(results[2], Err(StoreError::BelowMinFree { .. })), "{results:?}");
    assert_eq!(files(&root).len(), 2);
}

#[test]
fn no_instance_takes_a_reserved_inode_and_a_filesystem_that_counts_none_is_not_full() {
    for durability in [Durability::Fsync, Durability::None] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let Some(_mounted) = SmallFilesystem::mount_kind("tmpfs", &root, "size=16m,nr_inodes=160") else {
            return;
        };
        let mut settings = settings(&root);
        settings.durability = durability;
        let (store, _) = Store::open(settings).unwrap();
        let batch: Vec<_> = (0..200).map(|n| instance(&format!("1.2.3.{n}"), &pixels(n as u8, 100))).collect();
        let results = store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
        let stored = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(files(&root).len(), stored);
        let inodes = store.space().unwrap().inodes.unwrap();
        assert_eq!(inodes.reserved(), 20);
        // The directories, and the files of the commit log as it grows, are not counted beforehand: the reserve is for them.
        assert!(stored > 100 && (1..=20).contains(&inodes.free), "{stored} stored, {inodes:?}");
        for refused in results.into_iter().filter(Result::is_err) {
            assert!(matches!(refused, Err(StoreError::BelowMinInodes { reserved: 20, .. })), "{refused:?}");
        }
        assert!(matches!(store.room(1), Err(StoreError::BelowMinInodes { .. })));
        assert!(matches!(store.spool(0), Err(StoreError::BelowMinInodes { .. })));
        store.try_write().unwrap(); // the reserve is there
        for path in files(&root).iter().take(20) {
            fs::remove_file(root.join(path)).unwrap();
        }
        commit(&store, &instance("1.2.3.1000", &pixels(1, 100))).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount_kind("tmpfs", &root, "size=1m,nr_inodes=0") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    commit(&store, &instance("1.2.3.4", &pixels(1, 100))).unwrap();
    assert!(store.room(1).is_ok() && store.space().unwrap().inodes.is_none());
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
fn without_room_for_a_commit_log_there_is_none_and_it_takes_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = crate::disk::Disk::make(dir.path(), 24) else {
        return;
    };
    let root = disk.mount.join("root");
    // One segment would fit.
    let free = rustix::fs::statvfs(&disk.mount).unwrap();
    fs::write(disk.mount.join("ballast"), vec![1; (free.f_bavail * free.f_frsize - (6 << 20)) as usize]).unwrap();
    let mut settings = settings(&root);
    settings.commit = CommitStrategy::Log;
    let (store, _) = Store::open(settings).unwrap();
    assert_eq!(fs::read_dir(root.join(".tidegate/log")).unwrap().count(), 0);
    assert!(store.room(5 << 20).is_ok());
    assert_eq!(commit(&store, &instance("1.2.3.4.5", &pixels(1, 100))).unwrap().outcome, Outcome::New);
    assert!(store.checkpoint_due().is_none());
}

/// An ext4 inode of 256 bytes has room for the digest and a receipt. A byte more, and each instance would take a block more.
#[test]
fn a_receipt_takes_no_block() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = crate::disk::Disk::make(dir.path(), 64) else {
        return;
    };
    let root = disk.mount.join("root");
    let (store, _) = Store::open(settings(&root)).unwrap();
    let receipt = *b"AQGh7lZeewAAA8r-8A0AAABN";
    commit(&store, &instance("1.2.3", &pixels(1, 3000))).unwrap();
    commit(&store, &with_receipt(instance("1.2.4", &pixels(1, 3000)), &receipt)).unwrap();
    let blocks = |uid: &str| fs::metadata(root.join(path_of(uid))).unwrap().blocks();
    assert_eq!(blocks("1.2.4"), blocks("1.2.3"));
    let file = root.join(path_of("1.2.4"));
    let value = attribute(&file).unwrap();
    assert_eq!(Some(&value), recorded(&file, std::str::from_utf8(&receipt).unwrap()).as_ref());
    rustix::fs::setxattr(&file, ATTRIBUTE, format!("{value}x").as_bytes(), rustix::fs::XattrFlags::empty()).unwrap();
    assert!(blocks("1.2.4") > blocks("1.2.3"), "this filesystem has inodes in which anything fits");
}

#[test]
fn a_filesystem_without_attributes_stores_without_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(_mounted) = SmallFilesystem::mount_kind("ramfs", &root, "size=4m") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    assert_eq!(store.origin(b"CT1").unwrap(), Some(0));
    commit(&store, &with_receipt(instance("1.2.3", &pixels(1, 3000)), b"AQGh7lZeewAAA8r-8A0AAABN")).unwrap();
    assert_eq!(attribute(&root.join(path_of("1.2.3"))), None);
    let survey = store.survey().unwrap();
    let wanted = store.wanted().into();
    let Found::Instance(found) = survey.read(&path_of("1.2.3"), &wanted).unwrap() else { panic!("it is not found") };
    assert_eq!(found.recorded, None);
}

/// The empty directory that a volume was mounted on is not a root whose files are gone.
#[test]
fn there_is_no_survey_of_a_mount_point_without_its_volume() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Some(mounted) = SmallFilesystem::mount(&root, "1m") else {
        return;
    };
    let (store, _) = Store::open(settings(&root)).unwrap();
    commit(&store, &instance("1.2.3", &pixels(1, 100))).unwrap();
    let survey = store.survey().unwrap();
    mounted.unmount_lazily();
    assert!(matches!(store.survey(), Err(StoreError::RootUnavailable { .. })));
    assert!(survey.is_file(&path_of("1.2.3")).unwrap(), "it stays with the volume");
}
