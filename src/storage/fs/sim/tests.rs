//! The simulator is no better than Linux, and no worse.

use std::cell::RefCell;
use std::io::IoSlice;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::threads::Time;
use super::*;
use crate::fs::{Errno, Handle, Link, Lock, Open, Taken};
use crate::sync::{Condvar, Mutex, Patience};

struct World {
    simulation: Simulation,
    machine: Machine,
}

impl World {
    fn new(seed: u64, nature: Nature) -> Self {
        let mut random = Random::new(seed);
        let machine = Arc::new(parking_lot::Mutex::new(Volume::new(nature, random.fork())));
        let simulation = Simulation::enter(Arc::clone(&machine), random, false);
        Self { simulation, machine }
    }

    fn quiet(seed: u64) -> Self {
        Self::new(seed, Nature::default())
    }

    fn end(&self, end: End) {
        self.machine.lock().end(end);
        self.simulation.start_process();
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.machine.lock().content(Path::new(path))
    }
}

fn top() -> SimFile {
    SimFile::top().unwrap()
}

fn open(path: &str, how: Open) -> SimFile {
    top().open(Path::new(path), how).unwrap()
}

fn write(file: &SimFile, at: u64, bytes: &[u8]) -> Result<usize, Errno> {
    file.write_at(at, &[IoSlice::new(bytes)])
}

#[test]
fn what_was_synced_survives_a_power_cut_and_nothing_else_is_sure_to() {
    let (mut kept_unsynced, mut lost_unsynced) = (0, 0);
    for seed in 0..200 {
        let world = World::quiet(seed);
        let file = open("/a", Open::New);
        write(&file, 0, &[1; 10_000]).unwrap();
        file.sync().unwrap();
        top().sync().unwrap();
        write(&file, 0, &[2; 10_000]).unwrap();
        file.start_write_back(0, None);
        world.end(End::PowerCut);
        let content = world.content("/a").unwrap();
        assert_eq!(content.len(), 10_000);
        assert!(content.chunks(4096).all(|page| page.iter().all(|byte| *byte == page[0] && matches!(byte, 1 | 2))));
        kept_unsynced += u32::from(content.contains(&2));
        lost_unsynced += u32::from(content.contains(&1));
    }
    assert!(kept_unsynced > 10 && lost_unsynced > 10, "{kept_unsynced} {lost_unsynced}");
}

#[test]
fn a_file_renamed_before_it_was_written_back_can_come_out_empty_or_as_zeros() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let world = World::new(seed, Nature { background_one_in: 2, commit_one_in: 3, ..Nature::default() });
        let file = open("/a", Open::New);
        write(&file, 0, &[1; 5000]).unwrap();
        top().rename("a".as_ref(), &top(), Path::new("b"), Taken::Fail).unwrap();
        for _ in 0..4 {
            file.stat().unwrap();
        }
        world.end(End::PowerCut);
        seen.insert(match world.content("/b") {
            None => "missing",
            Some(content) if content.is_empty() => "empty",
            Some(content) if content.len() < 5000 => "short",
            Some(content) if content.contains(&0) => "zeros",
            Some(_) => "whole",
        });
    }
    assert!(seen.is_superset(&["missing", "empty", "zeros", "whole"].into()), "{seen:?}");
}

#[test]
fn a_failed_write_back_is_told_once_to_each_who_had_the_file_open() {
    let world = World::quiet(1);
    let (file, other, root) = (open("/a", Open::New), open("/a", Open::Read), top());
    write(&file, 0, &[1; 4096]).unwrap();
    world.machine.lock().device.ailment.writes = Some(Errno::IO);
    assert_eq!(root.sync_filesystem(&|| ()), Err(Errno::IO));
    world.machine.lock().heal();
    let late = open("/a", Open::Read);
    assert_eq!(file.sync_data(), Err(Errno::IO));
    assert_eq!(file.sync_data(), Ok(()), "and the page was never written");
    assert_eq!(other.sync_data(), Err(Errno::IO));
    assert_eq!(late.sync_data(), Err(Errno::IO), "nobody had been told when it was opened");
    assert_eq!(open("/a", Open::Read).sync_data(), Ok(()));
    assert_eq!(world.content("/a").unwrap(), [1; 4096], "memory has it");
    let mut read = [9; 4096];
    open("/a", Open::ReadDirect).read_at(0, &mut read).unwrap();
    assert_eq!(read, [0; 4096], "the disk has not");
}

#[test]
fn an_aborted_journal_lets_the_syncs_succeed_that_have_nothing_to_do() {
    let world = World::quiet(1);
    let log = open("/log", Open::New);
    write(&log, 0, &[1; 8192]).unwrap();
    log.sync().unwrap();
    top().sync().unwrap();
    let direct = open("/log", Open::Direct);
    let (dirty, clean) = (open("/dirty", Open::New), open("/clean", Open::New));
    world.machine.lock().abort_journal();
    write(&dirty, 0, b"x").unwrap();
    assert_eq!(dirty.sync_data(), Err(Errno::ROFS));
    assert_eq!(dirty.sync_data(), Err(Errno::ROFS));
    assert_eq!((clean.sync(), top().sync(), top().sync_filesystem(&|| ())), (Ok(()), Ok(()), Ok(())));
    assert_eq!((log.truncate(8192), log.truncate(4096)), (Ok(()), Err(Errno::ROFS)));
    assert_eq!(top().make_directory(Path::new("d")), Err(Errno::ROFS));
    assert_eq!(write(&direct, 4096, &[2; 4096]), Ok(4096));
    assert_eq!(write(&direct, 8192, &[2; 4096]), Err(Errno::ROFS));
    assert_eq!(log.sync_data(), Ok(()));
    world.end(End::PowerCut);
    assert_eq!(world.content("/log").unwrap()[4000..4200], [[1; 96].as_slice(), &[2; 104]].concat());
    assert_eq!(world.content("/clean"), None);
    assert!(top().make_directory(Path::new("d")).is_ok());
}

#[test]
fn a_thin_pool_that_is_full_takes_what_has_its_place() {
    let world = World::quiet(1);
    let file = open("/a", Open::New);
    write(&file, 0, &[1; 4096]).unwrap();
    file.sync_data().unwrap();
    world.machine.lock().device.ailment.thin = Some(Errno::NOSPC);
    write(&file, 0, &[2; 4096]).unwrap();
    assert_eq!(file.sync_data(), Ok(()));
    write(&file, 4096, &[2; 4096]).unwrap();
    assert_eq!(file.sync_data(), Err(Errno::NOSPC));
}

#[test]
fn space_is_counted_and_given_back() {
    let world = World::new(1, Nature { capacity_blocks: 10, ..Nature::default() });
    let file = open("/a", Open::New);
    assert_eq!(write(&file, 0, &[1; 11 * 4096]), Ok(10 * 4096));
    assert_eq!(write(&file, 10 * 4096, &[1]), Err(Errno::NOSPC));
    assert_eq!(top().space().unwrap().free_bytes, 0);
    file.sync_data().unwrap();
    top().unlink("a".as_ref()).unwrap();
    assert_eq!(top().space().unwrap().free_bytes, 0, "it is open");
    drop(file);
    assert_eq!(top().space().unwrap().free_bytes, 10 * 4096);
    world.end(End::PowerCut);
}

#[test]
fn a_kill_keeps_names_and_pages_and_frees_the_lock() {
    let world = World::quiet(1);
    let file = open("/a", Open::New);
    write(&file, 0, b"text").unwrap();
    file.take_lock(Lock::Exclusive).unwrap();
    assert_eq!(open("/a", Open::Read).take_lock(Lock::Shared), Err(Errno::WOULDBLOCK));
    let mount = top().filesystem().unwrap().mount;
    world.end(End::Kill);
    assert_eq!((file.stat().map(drop), write(&file, 0, b"more")), (Err(Errno::IO), Err(Errno::IO)));
    assert_eq!(world.content("/a").unwrap(), b"text");
    assert_eq!(open("/a", Open::Read).take_lock(Lock::Exclusive), Ok(()));
    assert_eq!(top().filesystem().unwrap().mount, mount);
    world.end(End::Remount);
    assert_eq!(world.content("/a").unwrap(), b"text");
    assert_ne!(top().filesystem().unwrap().mount, mount);
}

#[test]
fn paths_lead_over_links_and_not_over_what_is_in_the_way() {
    let world = World::quiet(1);
    top().make_directory(Path::new("/d")).unwrap();
    drop(open("/d/f", Open::New));
    world.machine.lock().put_link(Path::new("/l"), Path::new("d")).unwrap();
    let stat = |path: &str, link| top().stat_at(Path::new(path), link).map(|stat| stat.kind);
    assert_eq!(stat("l/f", Link::NoFollow), Ok(crate::fs::Kind::File));
    assert_eq!(stat("/l", Link::NoFollow), Ok(crate::fs::Kind::Link));
    assert_eq!(stat("d/../l", Link::Follow), Ok(crate::fs::Kind::Directory));
    assert_eq!(stat("d/f/x", Link::Follow), Err(Errno::NOTDIR));
    assert_eq!(top().open(Path::new("l/g"), Open::Read).map(drop), Err(Errno::NOENT));
    assert_eq!(top().open(Path::new("d/f"), Open::New).map(drop), Err(Errno::EXIST));
    world.machine.lock().set_writable(Path::new("/d"), false).unwrap();
    assert_eq!(top().open(Path::new("d/g"), Open::New).map(drop), Err(Errno::ACCESS));
}

/// Threads that count under a lock, wait for each other and write.
fn busy(seed: u64) -> (u64, u32) {
    let world = World::new(seed, Nature { background_one_in: 5, commit_one_in: 9, sync_us: 50, ..Nature::default() });
    let shared = Arc::new((Mutex::new(0_u32), Condvar::default()));
    for thread in 0..4_u8 {
        let shared = Arc::clone(&shared);
        world.simulation.spawn(format!("t{thread}"), move || {
            let file = top().open(Path::new(&format!("f{thread}")), Open::New).unwrap();
            for round in 0..5 {
                let mut count = shared.0.lock();
                write(&file, round * 100, &[thread; 100]).unwrap();
                *count += 1;
                drop(count);
                shared.1.notify_all();
                file.sync_data().unwrap();
            }
            let mut patience = Patience::new();
            let mut count = shared.0.lock();
            while *count < 20 && shared.1.wait(&mut count, &mut patience) {}
            assert_eq!(*count, 20);
        });
    }
    world.simulation.run().unwrap();
    let count = *shared.0.lock();
    (world.simulation.hash(), count)
}

#[test]
fn a_seed_gives_the_same_history_again() {
    let hashes: Vec<_> = (0..20).map(busy).collect();
    assert_eq!(hashes, (0..20).map(busy).collect::<Vec<_>>());
    assert!(hashes.iter().all(|(hash, _)| hashes.iter().filter(|(other, _)| hash == other).count() == 1));
}

#[test]
fn who_waits_in_vain_is_told_after_its_time_and_a_deadlock_is_found() {
    let world = World::quiet(3);
    let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    let waited = Rc::new(RefCell::new(None));
    let (held, told) = (Arc::clone(&a), Rc::clone(&waited));
    world.simulation.spawn("holder", move || {
        let _held = held.lock();
        threads::sleep(Time::from_secs(1));
    });
    let wanted = Arc::clone(&a);
    world.simulation.spawn("other", move || {
        threads::sleep(Time::from_millis(1));
        *told.borrow_mut() = Some((wanted.lock_in_time().is_none(), threads::time().as_millis()));
    });
    world.simulation.run().unwrap();
    assert_eq!(*waited.borrow(), Some((true, 101)));
    for (first, second) in [(Arc::clone(&a), Arc::clone(&b)), (b, a)] {
        world.simulation.spawn("crosswise", move || {
            let _first = first.lock();
            threads::sleep(Time::from_millis(1));
            let _second = second.lock();
        });
    }
    let ended = world.simulation.run();
    assert!(ended.as_ref().is_err_and(|error| error.contains("deadlock")), "{ended:?}");
}

#[test]
fn a_panic_ends_the_others_and_is_told() {
    let world = World::quiet(3);
    world.simulation.spawn("one", || panic!("as it should"));
    world.simulation.spawn("two", || while SimFile::top().is_ok() {});
    assert!(world.simulation.run().unwrap_err().contains("as it should"));
}
