//! Files that are not needed any more are removed beside those that arrive.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::*;
use tidegate_storage::{CommitStrategy, Looked, Outcome, Removed, StoreError};

const UID: &str = "1.2.1";

fn is_of(bytes: &[u8]) -> impl FnOnce(&Looked) -> bool {
    let expected = tidegate_storage::digest::Digest::of([bytes]);
    move |looked| looked.recorded.is_some_and(|recorded| recorded.digest == expected)
}

#[test]
fn a_file_and_the_directories_that_it_leaves_empty_are_removed() {
    let site = Site::new();
    for uid in [UID, "1.2.2"] {
        site.outcome(&instance(uid, &pixels(1, 5000)));
    }
    let file = whole_file(UID, &pixels(1, 5000));
    let removal = site.store.begin_removal(&path_of(UID)).unwrap().unwrap();
    assert_eq!(removal.remove(is_of(&file)).unwrap(), Removed::Removed);
    assert_eq!(removal.remove(|_| true).unwrap(), Removed::Gone);
    drop(removal);
    assert_eq!(site.files(), [path_of("1.2.2")]);
    let removal = site.store.begin_removal(&path_of("1.2.2")).unwrap().unwrap();
    assert_eq!(removal.remove(|_| true).unwrap(), Removed::Removed);
    drop(removal);
    assert!(!site.root().join(STUDY).exists());
    assert!(site.root().join(".tidegate").exists());
    // And it comes again.
    assert_eq!(site.outcome(&instance(UID, &pixels(1, 5000))), Outcome::New);
}

#[test]
fn nothing_but_the_known_file_is_removed() {
    let site = Site::new();
    site.outcome(&instance(UID, &pixels(1, 5000)));
    let removal = site.store.begin_removal(&path_of(UID)).unwrap().unwrap();
    assert_eq!(removal.remove(is_of(b"another")).unwrap(), Removed::Other);
    assert_eq!(removal.remove(|looked| looked.bytes == 1).unwrap(), Removed::Other);
    drop(removal);
    assert_eq!(site.files(), [path_of(UID)]);
    // Links, to the file and on the way, and a directory at its place.
    let root = site.root();
    fs::rename(root.join(path_of(UID)), root.join("outside.dcm")).unwrap();
    symlink(root.join("outside.dcm"), root.join(path_of(UID))).unwrap();
    symlink(root.join(STUDY), root.join("link")).unwrap();
    fs::create_dir(root.join("directory.dcm")).unwrap();
    let through = Path::new("link").join(path_of(UID).strip_prefix(STUDY).unwrap());
    for path in [path_of(UID), through, PathBuf::from("directory.dcm")] {
        let removal = site.store.begin_removal(&path).unwrap().unwrap();
        assert_eq!(removal.remove(|_| true).unwrap(), Removed::Other, "{path:?}");
    }
    assert!(root.join("outside.dcm").exists() && root.join(path_of(UID)).symlink_metadata().is_ok());
    let gone = site.store.begin_removal(Path::new("1.2/3.dcm")).unwrap().unwrap();
    assert_eq!(gone.remove(|_| true).unwrap(), Removed::Gone);
    for path in ["", "../outside", "/etc/passwd", ".tidegate/lock", "a/../b", "a/.b"] {
        assert!(matches!(site.store.begin_removal(Path::new(path)), Err(StoreError::Io { .. })), "{path}");
    }
}

#[test]
fn a_file_that_the_log_has_is_not_removed() {
    let site = Site::with(|settings| settings.commit = CommitStrategy::Log);
    site.outcome(&instance(UID, &pixels(1, 500)));
    let is_logged = site.store.checkpoint_due().is_some();
    assert_eq!(site.store.begin_removal(&path_of(UID)).unwrap().is_none(), is_logged);
    let site = site.reopened(); // which checkpoints
    let removal = site.store.begin_removal(&path_of(UID)).unwrap().unwrap();
    assert_eq!(removal.remove(|_| true).unwrap(), Removed::Removed);
    drop(removal);
    assert!(site.reopened().files().is_empty());
}

/// Whoever resends while the file is removed either finds it, and then it stays until the answer, or stores it anew.
#[test]
fn an_acknowledged_resend_is_never_removed_without_the_answer() {
    let site = Site::new();
    let file = whole_file(UID, &pixels(1, 5000));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let mut removed = 0;
            while !is_over.load(Ordering::Relaxed) {
                if let Some(removal) = site.store.begin_removal(&path_of(UID)).unwrap() {
                    match removal.remove(is_of(&file)).unwrap() {
                        Removed::Removed => removed += 1,
                        Removed::Gone => {}
                        Removed::Other => panic!("not its file"),
                    }
                }
            }
            removed
        });
        let mut outcomes = [0; 2];
        for _ in 0..500 {
            match site.outcome(&instance(UID, &pixels(1, 5000))) {
                Outcome::New => outcomes[0] += 1,
                Outcome::Identical => outcomes[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        let removed = removing.join().unwrap();
        assert!(removed > 0 && outcomes[0] > 1, "{removed} {outcomes:?}");
        assert!(outcomes[0] - removed <= 1, "{removed} {outcomes:?}");
    });
}

/// The directories of a series are made and removed at the same time.
#[test]
fn instances_arrive_in_directories_that_are_being_removed() {
    let site = Site::new();
    let uids: Vec<String> = (0..400).map(|number| format!("1.2.{number}")).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let mut removed = 0;
            while !is_over.load(Ordering::Relaxed) {
                for path in site.files() {
                    let Some(removal) = site.store.begin_removal(&path).unwrap() else { continue };
                    removed += usize::from(removal.remove(|_| true).unwrap() == Removed::Removed);
                }
            }
            removed
        });
        for uid in &uids {
            assert_eq!(site.outcome(&instance(uid, &pixels(1, 500))), Outcome::New);
        }
        is_over.store(true, Ordering::Relaxed);
        let removed = removing.join().unwrap();
        assert_eq!(removed + site.files().len(), uids.len());
    });
}
