//! The common parts of the log's tests: a store whose log is used, and its root as a crash leaves it.

mod replay;
mod writing;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::fault::{Step, arm};
use crate::fs::{Errno, Handle, Open};
use crate::support::*;
use crate::wal::record::SegmentHeader;
use crate::wal::restore::Since;
use crate::wal::segment::{self, identity_of};
use crate::{Commit, CommitStrategy, Duplicates, Instance, Outcome, Reason, Recovery, Store, StoreError, Stored};

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
    let (dir, store, recovery) = after(Since::Crash, site, change);
    (dir, store, recovery.restored_files)
}

/// The root as it is at this moment, changed, and opened as if so much had happened.
fn after(since: Since, site: &Site, change: impl FnOnce(&Path)) -> (tempfile::TempDir, Store, Recovery) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    copy(&site.root(), &root);
    pass(since, &root);
    change(&root);
    let mut settings = settings(&root);
    settings.commit = CommitStrategy::Log;
    let (store, recovery) = Store::open(settings).unwrap();
    (dir, store, recovery)
}

/// Has the copied segments of `root` say that they were written for it, on this mount or on another.
fn pass(since: Since, root: &Path) {
    let top = fs::File::top().unwrap();
    let (dir, directory) =
        (top.open(root, Open::Directory).unwrap(), top.open(&root.join(".tidegate/log"), Open::Directory).unwrap());
    let mount = dir.filesystem().unwrap().mount.unwrap();
    for number in 0..2 {
        let path = root.join(".tidegate/log").join(segment::name(number));
        let mut bytes = fs::read(&path).unwrap();
        let mut header = SegmentHeader::decode(&bytes).unwrap();
        if since != Since::Copied {
            header.root = identity_of(&dir, &directory).unwrap();
        }
        header.mount = if since == Since::SameMount { mount } else { mount ^ 1 };
        bytes[..8192].copy_from_slice(&header.encode());
        fs::write(&path, bytes).unwrap();
    }
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

fn truncate(path: &Path, bytes: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn remove_all(root: &Path) {
    for path in files(root) {
        fs::remove_file(root.join(path)).unwrap();
    }
}

fn assert_stored(root: &Path, path: PathBuf, uid: &str, seed: u8, bytes: usize) {
    assert!(fs::read(root.join(path)).unwrap() == whole_file(uid, &pixels(seed, bytes)), "{uid} is not whole");
}
