//! A history: starts of a node on one machine, the events in between, and the checks at the end.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::oracle::Ledger;
use super::plan::{Era, Plan, Subject, root};
use super::workload::{self, Lane, Writer, is_undecided, quiet_down};
use super::{people, removing};
use crate::error::StoreError;
use crate::fs::sim::{End, Machine, Random, SimFile, Simulation, Snapshot, Volume, threads};
use crate::instance::{Instance, Payload, Stored};
use crate::recovery::Recovery;
use crate::store::Store;

/// A history.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) ledger: RefCell<Ledger>,
    /// A copy of the root, and the step of the ledger at which it was made.
    pub(super) copy: RefCell<Option<(u64, Snapshot)>>,
    complaint: RefCell<Option<String>>,
}

/// A store that is open, and what its threads share.
pub(super) struct Open {
    pub(super) store: Store<SimFile>,
    pub(super) lane: Lane,
}

/// The result of a history.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: Result<(), String>,
    pub(super) hash: u64,
    pub(super) calls: u64,
    pub(super) acknowledged: usize,
    pub(super) found_aside: u64,
}

/// Runs the history of a seed.
pub(super) fn history(seed: u64, is_told: bool) -> Outcome {
    let mut random = Random::new(seed);
    let plan = Plan::of(&mut random);
    let machine = Arc::new(parking_lot::Mutex::new(Volume::new(plan.nature.clone(), random.fork())));
    let simulation = Simulation::enter(Arc::clone(&machine), random.fork(), is_told);
    threads::note(|| format!("{plan:#?}"));
    let ledger = RefCell::new(Ledger::new(&plan));
    let (copy, complaint) = (RefCell::default(), RefCell::default());
    let world = Rc::new(World { plan, machine, ledger, copy, complaint });
    let result = world.run(&simulation, &mut random);
    let (calls, ledger) = (world.machine.lock().calls, world.ledger.borrow());
    let (acknowledged, found_aside) = (ledger.acknowledged().len(), ledger.found_aside);
    Outcome { result, hash: simulation.hash(), calls, acknowledged, found_aside }
}

impl World {
    fn run(self: &Rc<Self>, simulation: &Simulation, random: &mut Random) -> Result<(), String> {
        for number in 0..self.plan.eras.len() {
            self.era(simulation, &self.plan.eras[number], random.fork())?;
            self.end(self.plan.eras[number].end);
            if self.plan.has_people {
                people::between(self, random);
            }
            simulation.start_process();
        }
        // All is well again, once the filesystem is mounted again.
        self.machine.lock().heal();
        let end = match (self.plan.final_end, self.machine.lock().is_ailing()) {
            (End::Kill, true) => End::Unclean,
            (end, _) => end,
        };
        self.end(end);
        simulation.start_process();
        self.last_era(simulation)?;
        self.check()?;
        self.end(End::PowerCut);
        simulation.start_process();
        self.last_era(simulation)?;
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        self.ledger.borrow_mut().check(&mut self.machine.lock(), root())
    }

    fn end(&self, end: End) {
        threads::note(|| format!("=== {end:?}"));
        let mut volume = self.machine.lock();
        let before = volume.mount();
        volume.end(end);
        if volume.mount() != before {
            self.ledger.borrow_mut().mounted_again();
        }
    }

    /// One start, up to an end.
    fn era(self: &Rc<Self>, simulation: &Simulation, era: &Era, mut random: Random) -> Result<(), String> {
        let before = {
            let mut volume = self.machine.lock();
            let calls = volume.calls;
            volume.events = era.events.iter().map(|(at, event)| (calls + at, event.clone())).collect();
            volume.ends_at = era.ends_at.map(|at| (calls + at, era.end));
            volume.mount()
        };
        let (world, writers, rounds, is_slow) = (Rc::clone(self), era.writers, era.rounds, era.is_slow);
        simulation.spawn("main", move || {
            let Some(store) = world.open() else { return };
            let open = Rc::new(Open { store, lane: RefCell::default() });
            let left = Rc::new(Cell::new(writers));
            for number in 0..writers {
                let (world, open, left) = (Rc::clone(&world), Rc::clone(&open), Rc::clone(&left));
                let writer = Writer { world, open, random: random.fork(), rounds, is_slow };
                threads::spawn(format!("writer-{number}"), move || {
                    writer.run();
                    left.set(left.get() - 1);
                });
            }
            if world.plan.has_people {
                let (world, left, random) = (Rc::clone(&world), Rc::clone(&left), random.fork());
                threads::spawn("people", move || people::meanwhile(&world, &left, random));
            }
            if random.one_in(3) {
                let (world, open, left, random) =
                    (Rc::clone(&world), Rc::clone(&open), Rc::clone(&left), random.fork());
                threads::spawn("retention", move || removing::meanwhile(&world, &open, &left, random));
            }
            workload::checkpoint(&world, &open, &left);
        });
        let ended = simulation.run();
        let mut volume = self.machine.lock();
        volume.ends_at = None;
        if volume.mount() != before {
            self.ledger.borrow_mut().mounted_again();
        }
        drop(volume);
        ended.and_then(|()| self.complaint.take().map_or(Ok(()), Err))
    }

    fn open(&self) -> Option<Store<SimFile>> {
        match Store::<SimFile>::open_on(self.plan.settings.clone()) {
            Ok((store, recovery)) if self.is_alive() => {
                threads::note(|| format!("--- opened: {recovery:?}"));
                self.recovered(&recovery);
                self.ledger.borrow_mut().opened(&recovery);
                // Without space for what is missing, that waits.
                if recovery.waiting_files == 0
                    && let Err(complaint) = self.ledger.borrow().check_wholeness(&mut self.machine.lock(), root())
                {
                    self.complain(format!("after a start, {complaint}"));
                }
                Some(store)
            }
            Ok(_) => None,
            Err(error) => {
                threads::note(|| format!("--- not opened: {error}"));
                None
            }
        }
    }

    /// A start when all is well: the node stores, and has nothing left to do in the end.
    fn last_era(self: &Rc<Self>, simulation: &Simulation) -> Result<(), String> {
        let world = Rc::clone(self);
        simulation.spawn("last", move || {
            // The first syncs may still report an error of an earlier era.
            let Some(store) = (0..4).find_map(|_| world.open()) else {
                return world.complain("the store does not open though all is well".to_owned());
            };
            let stores = || world.store_one(&store);
            if let Err(complaint) = stores().or_else(|_| stores()).and_then(|()| quiet_down(&world, &store)) {
                world.complain(complaint);
            }
        });
        simulation.run()?;
        self.complaint.take().map_or(Ok(()), Err)
    }

    fn store_one(&self, store: &Store<SimFile>) -> Result<(), String> {
        let (attempt, subject) = {
            let mut ledger = self.ledger.borrow_mut();
            let number = ledger.subjects.len();
            let mut subject = Subject::new(1000 + number, &self.plan.settings);
            subject.add_version(&mut Random::new(number as u64));
            ledger.add_subject(subject.clone());
            (ledger.begin(number, 0), subject)
        };
        let (arrived, head) = subject.arrived(0, &self.plan.settings);
        let instance = Instance::new(arrived, head, Payload::Memory(vec![subject.datasets[0].clone()]));
        instance.set_receipt(subject.receipt());
        let answer = store.commit(&[&instance], &|| ()).pop().unwrap();
        let stored = answer.as_ref().map(drop).map_err(|error| format!("it does not store again: {error}"));
        self.answered(attempt, answer, false);
        if self.plan.has_people { Ok(()) } else { stored } // they may be in the way
    }

    pub(super) fn is_alive(&self) -> bool {
        self.machine.lock().is_alive()
    }

    fn complain(&self, complaint: String) {
        self.complaint.borrow_mut().get_or_insert(complaint);
    }

    /// Takes note of an answer, if the node lived to give it.
    pub(super) fn answered(&self, attempt: usize, answer: Result<Stored, StoreError>, not_voided: bool) {
        let volume = self.machine.lock();
        if !volume.is_alive() {
            return;
        }
        let mut ledger = self.ledger.borrow_mut();
        match answer {
            Ok(stored) => {
                threads::note(|| format!("--- {attempt} stored as {} ({:?})", stored.path.display(), stored.outcome));
                ledger.stored(attempt, stored.path);
            }
            Err(error) => {
                let (bytes, paths) = ledger.bytes_and_paths(attempt);
                let has_stood = |path: &PathBuf| volume.has_held(path.file_name().unwrap(), bytes);
                let is_undecided = not_voided || is_undecided(&error) || paths.iter().any(has_stood);
                threads::note(|| {
                    format!("--- {attempt} refused: {error}{}", if is_undecided { " (undecided)" } else { "" })
                });
                ledger.refused(attempt, is_undecided);
            }
        }
    }

    pub(super) fn recovered(&self, recovery: &Recovery) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.reported.extend(recovery.aside.iter().map(|aside| aside.path.clone()));
    }
}
