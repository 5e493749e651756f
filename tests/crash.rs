//! The node killed by SIGKILL at random instants under load, and started again on what that left: nothing acknowledged is
//! lost, nothing partial has a final name, nothing unfinished stays, and the catalogue is what the disk is.
//!
//! `TIDEGATE_CRASH_ROUNDS` sets how often (default 3), `TIDEGATE_CRASH_SEED` repeats the instants of a run.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "crash/catalogue.rs"]
mod catalogue;
#[path = "crash/instance.rs"]
mod instance;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/load.rs"]
mod load;
#[path = "crash/node.rs"]
mod node;

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use instance::Random;
use ledger::Ledger;
use load::Load;
use node::Node;

/// Associations that send at the same time.
const ASSOCIATIONS: u32 = 6;
/// The most acknowledgements that a round waits for before the kill.
const MAX_ACKNOWLEDGED_BEFORE_KILL: u64 = 120;
/// The files of so many rounds are kept: enough for a catch-up to be met by a kill.
const KEPT_ROUNDS: u32 = 20;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn what_was_acknowledged_outlives_every_kill() {
    let rounds = setting("TIDEGATE_CRASH_ROUNDS").unwrap_or(3);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = setting("TIDEGATE_CRASH_SEED").unwrap_or(now.as_micros() as u64);
    println!("TIDEGATE_CRASH_SEED={seed}");
    let mut random = Random::new(seed);

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("storage");
    let mut ledger = Ledger::default();
    let (mut kills, mut acknowledged, mut unfinished) = (0, 0, 0);
    for round in 0..rounds as u32 {
        if round % 5 == 4 {
            kills += kill_while_it_starts(directory.path(), &root, &mut random);
        }
        let left = node::unfinished_files(&root);
        let node = Node::start(directory.path(), &root);
        assert_eq!(node.removed_files(), left, "the start-up line says how many unfinished files it removed");
        assert_eq!(node::unfinished_files(&root), 0, "recovery leaves nothing unfinished");
        ledger.check(&root);
        if round % 10 == 9 {
            catalogue::wait_until_it_agrees(&root);
        }

        let load = Load::start(node.address(), round, ASSOCIATIONS);
        load.wait_for_acknowledged(random.below(MAX_ACKNOWLEDGED_BEFORE_KILL));
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        load.expect_the_end();
        node.kill();
        kills += 1;
        let sent = load.join();
        acknowledged += sent.acknowledged();
        ledger.add(sent);
        ledger.check(&root);
        unfinished += node::unfinished_files(&root);
        // The previous round's files were checked after a restart.
        if let Some(last) = round.checked_sub(1) {
            ledger.settle(last, &root);
        }
        if let Some(old) = round.checked_sub(KEPT_ROUNDS) {
            ledger.forget(old);
            let _ = fs::remove_dir_all(root.join(instance::study(old)));
        }
    }
    println!("{kills} kills, {acknowledged} instances acknowledged, {unfinished} files left unfinished");
    assert!(acknowledged > 0, "a run without an acknowledgement shows nothing");

    let node = Node::start(directory.path(), &root);
    ledger.check(&root);
    // Each kill has interrupted a catch-up, or the batches of a catalogue, or both.
    catalogue::wait_until_it_agrees(&root);
    assert_eq!(node.stop(), Some(0));
    catalogue::check(&root);
    ledger.check(&root);
    assert_eq!(node::unfinished_files(&root), 0);
}

/// Whatever a start has recovered and a catch-up has entered by the kill, the next start does the rest. Every second time the catch-up begins with
/// nothing. Returns how often the node was killed.
fn kill_while_it_starts(directory: &Path, root: &Path, random: &mut Random) -> u64 {
    if random.below(2) == 0 {
        catalogue::remove(root);
    }
    let kills = 1 + random.below(3);
    for _ in 0..kills {
        Node::spawn(directory, root).kill_after(Duration::from_millis(random.below(300)));
    }
    kills
}
