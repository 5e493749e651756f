//! The disk as it would be found after a power cut: what was acknowledged is there and whole.
//!
//! A copy of the image behind a loop device has what the filesystem has sent to its disk and nothing of what is still
//! in memory. It needs a user who may mount.

use std::fs;
use std::path::PathBuf;

use crate::disk::Disk;
use crate::support::*;
use tidegate_storage::{CommitStrategy, Duplicates, Durability, Outcome, Store};

/// Stores instances of all kinds, cuts the power, and gives what is then found below the root.
fn store_and_cut(durability: Durability, commit_by: CommitStrategy) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::make(dir.path(), 256)?;
    let mut settings = settings(&disk.mount.join("a/root"));
    (settings.durability, settings.commit, settings.duplicates) = (durability, commit_by, Duplicates::Replace);
    let (store, _) = Store::open(settings).unwrap();

    // In a new series of a new study, replaced, spooled, in a batch, and in a directory just made by another thread.
    let old = instance("1.2.1", &pixels(9, 60_000));
    assert_eq!(commit(&store, &old).unwrap().outcome, Outcome::New);
    assert_eq!(commit(&store, &instance("1.2.1", &pixels(1, 60_000))).unwrap().outcome, Outcome::Replaced);
    commit(&store, &spooled(&store, "1.2.2", &pixels(2, 60_000))).unwrap();
    let batch: Vec<_> = (3..8).map(|n| instance(&format!("1.2.{n}"), &pixels(n, 60_000))).collect();
    assert!(store.commit(&batch.iter().collect::<Vec<_>>(), &|| ()).iter().all(Result::is_ok));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let instance = instance_in("1.7", "1.7.1", &format!("1.7.1.{thread}"), &pixels(thread, 60_000));
                commit(store, &instance).unwrap();
            });
        }
    });

    let after = disk.after_power_cut(dir.path());
    let root = after.mount.join("a/root");
    if root.exists() {
        drop(Store::open(crate::support::settings(&root)).unwrap());
    }
    let found = match root.exists() {
        true => files(&root).into_iter().map(|path| (path.clone(), fs::read(root.join(path)).unwrap())).collect(),
        false => Vec::new(),
    };
    drop(store);
    Some(found)
}

#[test]
fn what_is_acknowledged_survives_a_power_cut() {
    for commit_by in [CommitStrategy::PerFile, CommitStrategy::Log, CommitStrategy::Adaptive] {
        let Some(found) = store_and_cut(Durability::Fsync, commit_by) else {
            return;
        };
        check(&found, commit_by);
    }
}

fn check(found: &[(PathBuf, Vec<u8>)], commit_by: CommitStrategy) {
    let mut expected: Vec<_> =
        (1..8).map(|n| (path_of(&format!("1.2.{n}")), whole_file(&format!("1.2.{n}"), &pixels(n, 60_000)))).collect();
    expected.extend((0..8).map(|n| {
        let uid = format!("1.7.1.{n}");
        let mut file = meta(&uid).encode();
        file.extend(dataset(&uid, "1.7", "1.7.1", &pixels(n, 60_000)));
        (PathBuf::from(format!("1.7/1.7.1/{uid}.dcm")), file)
    }));
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(&expected), "{commit_by}");
    assert!(found == expected, "{commit_by}: a file is not whole");

    // And the test can tell: without syncs the same instances are not there.
    let unsynced = store_and_cut(Durability::None, commit_by).unwrap();
    assert!(unsynced.iter().filter(|file| expected.contains(file)).count() < expected.len());
}
