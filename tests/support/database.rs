//! Faults of a database and of its disk, for the tests of what is built on one. They include this file by its path: it is no part of the library.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;

/// The variable that names the database to the process that locks it.
const LOCKED: &str = "TIDEGATE_TEST_LOCKED_DATABASE";
const PAGE: usize = 4096;

/// A directory in memory where there is one: each transaction is synced.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Not a test of its own: the process of [`Locker`], which holds the lock until its input ends.
#[test]
fn the_process_that_locks() {
    let Some(path) = std::env::var_os(LOCKED) else { return };
    let connection = Connection::open(PathBuf::from(path)).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    println!("\nlocked");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Another process that has the database locked.
pub(crate) struct Locker(Child);

impl Locker {
    pub(crate) fn new(path: &Path) -> Self {
        let name = format!("{}::the_process_that_locks", module_path!().split_once("::").unwrap().1);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(LOCKED, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "locked"), "the process that locks has ended");
        Self(child)
    }

    pub(crate) fn end(mut self) {
        self.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.0.wait().unwrap();
    }
}

/// The ways in which a database is taken from under its open writer.
pub(crate) const LOSSES: [fn(&Path); 5] = [
    |path| fs::remove_file(path).unwrap(),
    |path| fs::remove_file(path.with_extension("db-wal")).unwrap(),
    |path| fs::remove_file(path.with_extension("db-shm")).unwrap(),
    |path| fs::rename(path, path.with_extension("moved")).unwrap(),
    |path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        fs::rename(copy, path).unwrap();
    },
];

/// Truncates the closed database at `path` to lengths within and between its pages. `examine` says whether it has noticed; then `recover` sets
/// it aside with that number and begins anew.
pub(crate) fn truncate(path: &Path, examine: impl Fn(&Path) -> bool, recover: impl Fn(&Path, i64)) {
    let whole = fs::read(path).unwrap();
    let kept = [16, 99, 100, 512, PAGE, PAGE + 1, 2 * PAGE, whole.len() / 2, whole.len() - PAGE];
    for (at, keep) in kept.into_iter().enumerate() {
        fs::write(path, &whole[..keep]).unwrap();
        assert!(examine(path), "{keep} of {} bytes", whole.len());
        recover(path, at as i64);
    }
}

/// Flips bits of the closed database at `path`: one, some or a page full, in its header, in those of its pages, or anywhere. `examine` says
/// whether it has noticed; it must do so of a third.
pub(crate) fn flip_bits(path: &Path, examine: impl Fn(&Path) -> bool) {
    let whole = fs::read(path).unwrap();
    let mut random = 1_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut noticed = 0;
    for round in 0..120 {
        let mut damaged = whole.clone();
        for _ in 0..[1, 20, 200][round % 3] {
            let at = match round % 4 {
                0 => next(100),
                1 => next(whole.len() / PAGE) * PAGE + next(12),
                _ => next(whole.len()),
            };
            damaged[at] ^= 1 << next(8);
        }
        fs::write(path, &damaged).unwrap();
        noticed += u32::from(examine(path));
        for ending in ["db-wal", "db-shm"] {
            let _ = fs::remove_file(path.with_extension(ending));
        }
    }
    assert!(noticed > 40, "{noticed}");
}

/// Copies an open database, as `kill -9` would leave it, and damages the middle of the copy's log.
pub(crate) fn copy_with_a_damaged_log(path: &Path, copy: &Path) {
    let with = |path: &Path, ending: &str| format!("{}{ending}", path.display());
    for ending in ["", "-wal"] {
        fs::copy(with(path, ending), with(copy, ending)).unwrap();
    }
    let log = OpenOptions::new().write(true).open(with(copy, "-wal")).unwrap();
    log.write_all_at(&[0xFF; 16], log.metadata().unwrap().len() / 2).unwrap();
}

/// As a newer program would leave it.
pub(crate) fn set_schema_version(path: &Path, version: i64) {
    Connection::open(path).unwrap().execute_batch(&format!("PRAGMA user_version = {version}")).unwrap();
}

/// Files in `directory` that are no database of tidegate: one of another program with these tables, and none at all.
pub(crate) fn foreign_files(directory: &Path, tables: &str) -> [PathBuf; 2] {
    let [other, text] = ["other.db", "passwd"].map(|name| directory.join(name));
    Connection::open(&other).unwrap().execute_batch(tables).unwrap();
    fs::write(&text, "root:x:0:0:root:/:/bin/sh\n").unwrap();
    [other, text]
}

/// A filesystem of its own, in memory. `None` where the test may not mount.
pub(crate) struct Mount(pub(crate) TempDir);

impl Mount {
    pub(crate) fn new(options: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(directory))
    }

    pub(crate) fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.0.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
