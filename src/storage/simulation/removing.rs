//! Retention beside the writers: acknowledged files are removed, each if it is the one that was stored.

use std::cell::Cell;

use super::oracle::Standing;
use super::world::{Open, World};
use crate::digest::Digest;
use crate::fs::sim::{Random, Time, threads};
use crate::removal::Removed;

/// Removes files until the writers have ended.
pub(super) fn meanwhile(world: &World, open: &Open, writers: &Cell<u64>, mut random: Random) {
    while writers.get() > 0 && world.is_alive() {
        threads::sleep(Time::from_micros(random.below(40_000)));
        remove_one(world, open, &mut random);
    }
}

fn remove_one(world: &World, open: &Open, random: &mut Random) {
    let paths = world.ledger.borrow().acknowledged();
    if paths.is_empty() {
        return;
    }
    let path = random.pick(&paths).clone();
    let Ok(Some(removal)) = open.store.begin_removal(&path) else { return };
    let known = world.ledger.borrow().versions(&path).map(|bytes| Digest::of([bytes])).collect::<Vec<_>>();
    let removed = removal.remove(|looked| looked.recorded.is_some_and(|recorded| known.contains(&recorded.digest)));
    threads::note(|| format!("--- {} is removed: {removed:?}", path.display()));
    let mut ledger = world.ledger.borrow_mut();
    match removed {
        // Not synced: a power cut may undo it.
        Ok(Removed::Removed) if world.is_alive() => ledger.act(path, Standing::Nothing, true),
        Ok(Removed::Gone | Removed::Other) => {}
        Ok(Removed::Removed) | Err(_) => ledger.exempt(path),
    }
}
