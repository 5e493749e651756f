//! The power is cut again and again while a process stores: what it had acknowledged by then is there and whole.
//!
//! The process is stopped at whatever it is doing, and the image behind its filesystem is copied: that has what was sent to
//! the disk by then, and nothing of what is still in memory. Then the process goes on. `TIDEGATE_POWER_CUTS` says how often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "support/disk.rs"]
mod disk;
mod support;

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use disk::Disk;
use rustix::process::{Pid, Signal, kill_process};
use support::*;
use tidegate_storage::{CommitStrategy, Instance, Store};

/// Cuts before the filesystem is made anew, because it fills up.
const CUTS_A_DISK: u32 = 10;
const THREADS: u32 = 4;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--store-until-killed") {
        let [root, acknowledged, strategy] = &arguments[at + 1..at + 4] else { panic!("three arguments") };
        return store_until_killed(Path::new(root), Path::new(acknowledged), strategy.parse().unwrap());
    }
    let cuts: u32 = env::var("TIDEGATE_POWER_CUTS").map_or(4, |cuts| cuts.parse().unwrap());
    for strategy in [CommitStrategy::Log, CommitStrategy::Adaptive, CommitStrategy::PerFile] {
        // The log is what has most to recover.
        let cuts = if strategy == CommitStrategy::Log { cuts } else { cuts.div_ceil(4) };
        let mut tally = Tally::default();
        while tally.cuts < cuts {
            let Some(()) = cut(strategy, (cuts - tally.cuts).min(CUTS_A_DISK), &mut tally) else {
                return;
            };
        }
        let Tally { cuts, checked, restored } = tally;
        println!(
            "{strategy}: power cut {cuts} times, {checked} acknowledged and whole, {restored} of them restored from the log"
        );
        assert!(checked > 0 && (strategy != CommitStrategy::Log || restored > 0));
    }
}

#[derive(Default)]
struct Tally {
    cuts: u32,
    checked: usize,
    restored: u64,
}

/// `None` where no filesystem can be made.
fn cut(strategy: CommitStrategy, cuts: u32, tally: &mut Tally) -> Option<()> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::make(dir.path(), 512)?;
    let acknowledged = dir.path().join("acknowledged");
    let storing = Storing::start(&disk.mount.join("root"), &acknowledged, strategy);
    while fs::metadata(&acknowledged).unwrap().len() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..cuts {
        thread::sleep(Duration::from_micros(RandomState::new().hash_one(tally.cuts) % 60_000));
        storing.signal(Signal::STOP);
        let after = disk.after_power_cut(dir.path());
        let acknowledged = read(&acknowledged);
        let (store, recovery) = Store::open(settings(&after.mount.join("root"))).unwrap();
        check(&after.mount.join("root"), &acknowledged);
        drop((store, after));
        storing.signal(Signal::CONT);
        tally.cuts += 1;
        tally.checked += acknowledged.len();
        tally.restored += recovery.restored_files;
    }
    Some(())
}

/// The process that stores; killed when dropped.
struct Storing(Child);

impl Storing {
    fn start(root: &Path, acknowledged: &Path, strategy: CommitStrategy) -> Self {
        File::create(acknowledged).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .arg("--store-until-killed")
            .args([root, acknowledged])
            .arg(strategy.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "open\n");
        Self(child)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        if signal == Signal::STOP {
            // Each thread stops when its system call is over.
            let stopped = |task: &fs::DirEntry| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
            };
            let tasks = format!("/proc/{}/task", self.0.id());
            while !fs::read_dir(&tasks).unwrap().all(|task| stopped(&task.unwrap())) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pixels_of(uid: &str, version: u32) -> Vec<u8> {
    let seed = uid.bytes().fold(version as u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend(pixels(seed, 200 + usize::from(seed) * 60));
    bytes
}

/// Each line of `acknowledged` names an instance that is stored, and its version.
fn store_until_killed(root: &Path, acknowledged: &Path, strategy: CommitStrategy) {
    let mut settings = settings(root);
    settings.commit = strategy;
    let (store, _) = Store::open(settings).unwrap();
    let acknowledged = File::options().append(true).open(acknowledged).unwrap();
    println!("open");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, mut acknowledged) = (&store, &acknowledged);
            scope.spawn(move || {
                let mut store_all = |versions: &[(String, u32)]| {
                    let arrived = |at: usize, uid: &str, pixels: &[u8]| match at % 2 {
                        0 => instance(uid, pixels),
                        _ => contiguous(uid, pixels),
                    };
                    let batch: Vec<Instance> = versions
                        .iter()
                        .enumerate()
                        .map(|(at, (uid, version))| arrived(at, uid, &pixels_of(uid, *version)))
                        .collect();
                    let results = store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
                    assert!(results.iter().all(Result::is_ok), "{results:?}");
                    let said: String = versions.iter().map(|(uid, version)| format!("{uid} {version}\n")).collect();
                    acknowledged.write_all(said.as_bytes()).unwrap();
                };
                for count in 0.. {
                    let versions: Vec<_> =
                        (0..count % 4 + 1).map(|n| (format!("1.2.{thread}.{count}.{n}"), 0)).collect();
                    store_all(&versions);
                    // Replaces an instance that may still be in the log: a replay must not restore the replaced version.
                    if count % 16 == thread {
                        store_all(&[(versions[0].0.clone(), 1)]);
                    }
                    store.checkpoint(&|| ()).unwrap();
                    thread::sleep(Duration::from_micros(500));
                }
            });
        }
    });
}

/// The last version of each instance that was acknowledged.
fn read(acknowledged: &Path) -> HashMap<String, u32> {
    let lines = fs::read_to_string(acknowledged).unwrap();
    let mut versions = HashMap::new();
    for line in lines.lines() {
        let (uid, version) = line.split_once(' ').unwrap();
        versions.insert(uid.to_owned(), version.parse().unwrap());
    }
    versions
}

/// All of them are there in that version or the one that was sent after it, and every file is whole.
fn check(root: &Path, acknowledged: &HashMap<String, u32>) {
    for uid in acknowledged.keys() {
        assert!(root.join(path_of(uid)).exists(), "{uid} was acknowledged and is gone");
    }
    for path in files(root) {
        let uid = path.file_stem().unwrap().to_str().unwrap();
        let file = fs::read(root.join(&path)).unwrap();
        let least = acknowledged.get(uid).copied().unwrap_or(0);
        assert!(
            (least..=1).any(|version| file == whole_file(uid, &pixels_of(uid, version))),
            "{uid}: version {least} or a later one is not whole"
        );
    }
}
