//! People at a root, while a node uses it and between two starts.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use super::oracle::{Ledger, Standing};
use super::plan::{ROOT, root};
use super::workload::look;
use super::world::World;
use crate::fs::sim::{Random, Time, Volume, threads};
use crate::fs::{Errno, Kind};

/// Acts now and then, until the writers have ended.
pub(super) fn meanwhile(world: &World, writers: &Cell<u64>, mut random: Random) {
    while writers.get() > 0 && world.is_alive() {
        threads::sleep(Time::from_millis(random.below(4000)));
        if world.is_alive() {
            act(world, &mut random);
        }
    }
}

/// Acts while no node runs.
pub(super) fn between(world: &World, random: &mut Random) {
    for _ in 0..random.below(3) {
        threads::spend(Time::from_millis(random.below(4000)));
        act(world, random);
    }
    if random.one_in(2) {
        restore(world, random);
    }
}

fn act(world: &World, random: &mut Random) {
    let paths = world.ledger.borrow().acknowledged();
    if paths.is_empty() {
        return;
    }
    let path = random.pick(&paths).clone();
    let before = look(world);
    // A file that a store is about to write anew: it has looked at it, and cannot look and rename in one call.
    let is_looked_at = world.machine.lock().is_looked_at(&path);
    let done = do_one(world, &path, random);
    threads::note(|| format!("--- people at {}: {done:?}", path.display()));
    let looks_lost = matches!(done, Ok(Some(true)));
    let moves_directory = before.keys().any(|seen| seen != &path && seen.parent() == path.parent())
        && !world
            .machine
            .lock()
            .kind(root().join(&path).parent().unwrap_or(root()))
            .is_some_and(|kind| kind == Kind::Directory);
    let lasts = !random.one_in(3) && world.machine.lock().sync_path(&root().join(&path)).is_ok();
    for (seen, after) in look(world) {
        let is_changed = before.get(&seen) != Some(&after);
        let mut ledger = world.ledger.borrow_mut();
        let is_in_time = lasts && !(is_looked_at && seen == path);
        if (is_changed || seen == path) && !(is_in_time && world.machine.lock().is_on_device(&root().join(&seen))) {
            ledger.exempt(seen.clone());
        }
        // An instance that is being stored in a directory that was moved goes with it.
        let goes_with_it = moves_directory && seen.parent() == path.parent();
        if is_changed || goes_with_it {
            ledger.act(seen, after, looks_lost);
        } else if seen == path && matches!(done, Ok(Some(_))) && is_torn(&ledger, &after) {
            ledger.exempt(seen); // cut or copied, it is torn as it was, and theirs now
        }
    }
}

/// Whether what it left looks as a crash could have left it; `None`: it left everything as it was.
fn do_one(world: &World, path: &Path, random: &mut Random) -> Result<Option<bool>, Errno> {
    let at = root().join(path);
    let mut volume = world.machine.lock();
    let volume: &mut Volume = &mut volume;
    match random.below(15) {
        0 => volume.edit(&at, b"edited by hand").map(|()| Some(false)),
        1 => {
            let bytes = volume.content(&at).ok_or(Errno::NOENT)?.len() as u64;
            // One that is cut just after it was stored looks torn by the disk.
            if !volume.is_older_than(&at, 3000) {
                return Err(Errno::AGAIN);
            }
            volume.resize(&at, random.below(bytes + 1)).map(|()| Some(true))
        }
        2 | 3 => volume.remove_all(&at).map(|()| Some(true)),
        4 => volume.move_to(&at, &away(path)).map(|()| Some(true)),
        5 => volume.replace_by_copy(&at, true).map(|()| Some(false)),
        6 => volume.replace_by_copy(&at, false).map(|()| Some(false)),
        7 => volume.put(&at, b"another file, put here by hand").map(|()| Some(false)),
        8 => {
            volume.remove_all(&at)?;
            volume.put_directory(&at).map(|()| Some(false))
        }
        9 => {
            // A file where a directory was.
            let parent = at.parent().filter(|parent| *parent != root()).ok_or(Errno::INVAL)?.to_owned();
            volume.move_to(&parent, &away(path))?;
            volume.put(&parent, b"in the way").map(|()| Some(false))
        }
        10 => {
            let parent = at.parent().filter(|parent| *parent != root()).ok_or(Errno::INVAL)?.to_owned();
            volume.remove_all(&parent).map(|()| Some(true))
        }
        11 => {
            let parent = at.parent().filter(|parent| *parent != root()).ok_or(Errno::INVAL)?.to_owned();
            volume.set_writable(&parent, random.one_in(2)).map(|()| Some(false))
        }
        _ => {
            let copied = world.ledger.borrow().now();
            *world.copy.borrow_mut() = volume.snapshot(root()).map(|snapshot| (copied, snapshot));
            Ok(None)
        }
    }
}

fn is_torn(ledger: &Ledger, standing: &Standing) -> bool {
    matches!(standing, Standing::File(bytes) if !ledger.is_whole(bytes))
}

fn away(path: &Path) -> PathBuf {
    Path::new("/data/away").join(path)
}

/// Puts a copy of the root in its place; the log in it may be a later one than the files are.
fn restore(world: &World, random: &mut Random) {
    let Some((mut copied, snapshot)) = world.copy.take() else { return };
    let own = root().join(".tidegate");
    let later = world.machine.lock().snapshot(&own).filter(|_| random.one_in(2));
    if later.is_some() {
        copied = world.ledger.borrow().now();
    }
    threads::note(|| "--- people restore the root".to_owned());
    world.ledger.borrow_mut().begins_to_restore();
    let before = look(world);
    let lasts = {
        let mut volume = world.machine.lock();
        let mut put = || {
            volume.remove_all(root())?;
            volume.restore(root(), &snapshot)?;
            let Some(later) = &later else { return Ok(()) };
            volume.remove_all(&own)?;
            volume.restore(&own, later)
        };
        if put().is_err() {
            drop(volume);
            return exempt_all(world, before.into_keys());
        }
        let files = volume.files_below(root());
        files.iter().all(|path| volume.sync_path(&root().join(path)).is_ok())
            && volume.sync_path(Path::new(ROOT)).is_ok()
    };
    let after = look(world);
    if !lasts {
        return exempt_all(world, after.into_keys());
    }
    let mut ledger = world.ledger.borrow_mut();
    for (path, after) in &after {
        if before.get(path) != Some(after) {
            ledger.act(path.clone(), after.clone(), false);
        }
        // A copy of what a crash had torn.
        if is_torn(&ledger, after) {
            ledger.exempt(path.clone());
        }
    }
    ledger.restored(copied, |path| after.get(path).is_some_and(|after| *after != Standing::Nothing));
}

fn exempt_all(world: &World, paths: impl Iterator<Item = PathBuf>) {
    let mut ledger = world.ledger.borrow_mut();
    paths.for_each(|path| ledger.exempt(path));
}
