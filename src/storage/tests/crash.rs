//! A process that stores is killed at random instants, again and again: what it acknowledged is there and whole, and
//! nothing under a final name is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use support::*;
use tidegate_storage::{CommitStrategy, Durability, Instance, OpenError, Outcome, Store};

const ROUNDS: u32 = 20;
const THREADS: u32 = 4;
/// Stored again and again, each time with other bytes.
const REPLACED: &str = "1.2.9";

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().position(|argument| argument == "--store-until-killed") {
        Some(at) => store_until_killed(Path::new(&arguments[at + 1]), arguments[at + 2].parse().unwrap()),
        None => {
            for way in ["per-file", "log", "adaptive", "none"] {
                kill_again_and_again(way);
            }
        }
    }
}

/// The bytes stored under `uid` as its `version`, which they tell.
fn pixels_of(uid: &str, version: u32) -> Vec<u8> {
    let seed = uid.bytes().fold(version as u8, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte));
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend(pixels(seed, 1000 + usize::from(seed) * 500));
    bytes
}

/// Each line of its output names an instance that is stored, and the version of it.
fn store_until_killed(root: &Path, round: u32) {
    let mut settings = settings(root);
    match env::var("COMMIT").unwrap().as_str() {
        "none" => settings.durability = Durability::None,
        strategy => settings.commit = strategy.parse::<CommitStrategy>().unwrap(),
    }
    let (store, _) = Store::open(settings).unwrap();
    println!("open");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for count in 0.. {
                    let mut versions: Vec<_> =
                        (0..count % 4 + 1).map(|n| (format!("1.2.{round}.{thread}.{count}.{n}"), 0)).collect();
                    if thread == 0 {
                        versions.push((REPLACED.to_owned(), round * 1_000_000 + count));
                    }
                    let batch: Vec<Instance> = versions
                        .iter()
                        .map(|(uid, version)| match (count + thread) % 3 {
                            0 => spooled(store, uid, &pixels_of(uid, *version)),
                            1 => contiguous(uid, &pixels_of(uid, *version)),
                            _ => instance(uid, &pixels_of(uid, *version)),
                        })
                        .collect();
                    let results = store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
                    assert!(results.iter().all(Result::is_ok), "{results:?}");
                    store.checkpoint(&|| ()).unwrap();
                    let said: String = versions.iter().map(|(uid, version)| format!("{uid} {version}\n")).collect();
                    std::io::stdout().lock().write_all(said.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn start(root: &Path, round: u32, way: &str) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.arg("--store-until-killed").arg(root).arg(round.to_string()).stdout(Stdio::piped()).env("COMMIT", way);
    command.spawn().unwrap()
}

fn kill_again_and_again(way: &str) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let (mut acknowledged, mut replaced, mut recovered) = (0, 0, 0);
    for round in 1..=ROUNDS {
        let mut child = start(&root, round, way);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "open");
        match Store::open(settings(&root)) {
            Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(child.id())),
            other => panic!("{other:?}"),
        }
        let reader = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        thread::sleep(Duration::from_micros(RandomState::new().hash_one(round) % 150_000));
        child.kill().unwrap();
        child.wait().unwrap();

        let (_store, recovery) = Store::open(settings(&root)).unwrap();
        recovered += recovery.removed_files;
        assert!(temp_files(&root).is_empty());
        for line in reader.join().unwrap() {
            // A line may be cut by the kill; an instance whose name it does not give whole was not acknowledged.
            let Some((uid, version)) = line.split_once(' ') else {
                continue;
            };
            let Ok(version) = version.parse::<u32>() else {
                continue;
            };
            if uid == REPLACED {
                replaced = replaced.max(version);
            } else {
                assert!(root.join(path_of(uid)).exists(), "{uid} was acknowledged and is gone");
                acknowledged += 1;
            }
        }
        verify_all(&root, replaced);
    }
    println!("{way}: killed {ROUNDS} times, {acknowledged} acknowledged and whole, {recovered} temp files recovered");
    assert!(acknowledged > 0 && replaced > 0);

    // A sender repeats instances that were not acknowledged; identical bytes are accepted.
    let (store, _) = Store::open(settings(&root)).unwrap();
    let stored = files(&root).into_iter().find(|path| *path != path_of(REPLACED)).unwrap();
    let uid = stored.file_stem().unwrap().to_str().unwrap();
    assert_eq!(commit(&store, &instance(uid, &pixels_of(uid, 0))).unwrap().outcome, Outcome::Identical);
}

/// Every file is whole, and the one that is replaced no older than acknowledged.
fn verify_all(root: &Path, replaced: u32) {
    for path in files(root) {
        let uid = path.file_stem().unwrap().to_str().unwrap();
        let file = fs::read(root.join(&path)).unwrap();
        let version = match uid {
            REPLACED => {
                let empty = whole_file(uid, &[]).len();
                u32::from_le_bytes(file[empty..empty + 4].try_into().unwrap())
            }
            _ => 0,
        };
        assert!(file == whole_file(uid, &pixels_of(uid, version)), "{uid} is not whole");
        assert!(uid != REPLACED || version >= replaced, "version {replaced} was acknowledged, {version} is stored");
    }
}
