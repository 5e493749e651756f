//! The threads of a simulation: coroutines on one thread of the operating system. At each call of a handle and at each lock the seed chooses
//! which one runs. Time passes when it is spent, and when all of them wait.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use generator::{Generator, Gn};

use super::random::Random;
use super::volume::Machine;

/// Time since the simulation began.
pub(crate) type Time = std::time::Duration;

/// In words: 512 KiB, of which only what is used takes memory.
const STACK_WORDS: usize = 64 << 10;

/// More switches than any history needs: one that does not end has failed.
const MAX_SWITCHES: u64 = 200_000;

/// A simulation on this thread of the operating system, until it is dropped.
pub(crate) struct Simulation(Rc<State>);

struct State {
    machine: Machine,
    time: Cell<Time>,
    random: RefCell<Random>,
    /// A thread yields at one point in this many.
    switch_one_in: u64,
    threads: RefCell<Vec<Thread>>,
    /// The running thread.
    running: Cell<Option<usize>>,
    /// The process that a thread is of which is begun now, and the one that makes calls outside of any.
    process: Cell<u32>,
    /// Counts acts that other threads may wait for.
    step: Cell<u64>,
    hash: Cell<u64>,
    is_told: bool,
}

struct Thread {
    name: String,
    process: u32,
    /// Its body, until it first runs.
    job: Option<Job>,
    /// `None` while it runs, and once it has ended.
    fiber: Option<Fiber>,
    waits: Waits,
    /// The step at which it looked last whether it still has to wait.
    looked_at: u64,
}

/// The reason for which a thread does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    Nothing,
    /// For what another thread does, or this time.
    Others(Option<Time>),
    /// For this time.
    Time(Time),
}

enum Signal {
    Paused(Waits),
    Ended(Result<(), Box<dyn Any + Send>>),
}

type Fiber = Generator<'static, (), Signal>;
type Job = Box<dyn FnOnce()>;

thread_local! {
    static HERE: RefCell<Option<Rc<State>>> = const { RefCell::new(None) };
    /// Stacks to be used again.
    static IDLE: RefCell<Vec<Fiber>> = const { RefCell::new(Vec::new()) };
    static JOB: RefCell<Option<Job>> = const { RefCell::new(None) };
}

impl Simulation {
    /// Every handle opened at the top, every lock and the clock are this simulation's from now on.
    pub(crate) fn enter(machine: Machine, mut random: Random, is_told: bool) -> Self {
        let switch_one_in = *random.pick(&[2, 3, 5, 12]);
        let process = machine.lock().start_process();
        let state = Rc::new(State {
            machine,
            time: Cell::default(),
            random: RefCell::new(random),
            switch_one_in,
            threads: RefCell::default(),
            running: Cell::default(),
            process: Cell::new(process),
            step: Cell::new(1),
            hash: Cell::new(0xcbf2_9ce4_8422_2325),
            is_told,
        });
        HERE.set(Some(Rc::clone(&state)));
        Self(state)
    }

    /// The threads begun from now on are of a new process.
    pub(crate) fn start_process(&self) {
        self.0.process.set(self.0.machine.lock().start_process());
    }

    pub(crate) fn spawn(&self, name: impl Into<String>, job: impl FnOnce() + 'static) {
        self.0.spawn(name.into(), Box::new(job));
    }

    /// Runs the threads until all have ended. An error: one panicked, or none can go on.
    pub(crate) fn run(&self) -> Result<(), String> {
        let ended = self.0.run();
        if ended.is_err() {
            // They cannot be unwound while they wait for each other.
            for thread in self.0.threads.take() {
                std::mem::forget(thread.fiber);
            }
        }
        self.0.threads.borrow_mut().clear();
        ended
    }

    /// Tells this history from others: two with the same made the same calls.
    pub(crate) fn hash(&self) -> u64 {
        self.0.hash.get()
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        HERE.set(None);
    }
}

impl State {
    fn spawn(&self, name: String, job: Job) {
        let fiber = Some(IDLE.with_borrow_mut(Vec::pop).unwrap_or_else(fiber));
        let (process, job, waits) = (self.process(), Some(job), Waits::Nothing);
        self.threads.borrow_mut().push(Thread { name, process, job, fiber, waits, looked_at: 0 });
    }

    fn run(&self) -> Result<(), String> {
        let mut panicked = Ok(());
        for _ in 0..MAX_SWITCHES {
            let Some(next) = self.next() else {
                if self.threads.borrow().iter().all(|thread| thread.fiber.is_none()) {
                    return panicked;
                }
                if !self.pass_time() {
                    return panicked.and(Err(self.describe("a deadlock")));
                }
                continue;
            };
            let (fiber, job) = {
                let thread = &mut self.threads.borrow_mut()[next];
                (thread.fiber.take(), thread.job.take())
            };
            let Some(mut fiber) = fiber else { continue };
            if job.is_some() {
                JOB.set(job);
            }
            self.running.set(Some(next));
            let signal = fiber.resume();
            self.running.set(None);
            let mut threads = self.threads.borrow_mut();
            match signal {
                Some(Signal::Paused(waits)) => {
                    threads[next].waits = waits;
                    threads[next].looked_at = self.step.get();
                    threads[next].fiber = Some(fiber);
                }
                Some(Signal::Ended(ended)) => {
                    self.step();
                    if let Err(payload) = ended {
                        let described = || format!("thread {} panicked: {}", threads[next].name, text(&*payload));
                        panicked = panicked.and_then(|()| Err(described()));
                        // The others come to an end by errors.
                        self.machine.lock().end(super::volume::End::Kill);
                    }
                    IDLE.with_borrow_mut(|idle| idle.push(fiber));
                }
                None => return Err("a thread is gone".to_owned()),
            }
        }
        Err(self.describe("no end"))
    }

    /// Chooses one of the runnable threads.
    fn next(&self) -> Option<usize> {
        let threads = self.threads.borrow();
        let now = self.time.get();
        let can_go_on = |thread: &Thread| {
            thread.fiber.is_some()
                && match thread.waits {
                    Waits::Nothing => true,
                    Waits::Others(until) => {
                        thread.looked_at < self.step.get() || until.is_some_and(|until| until <= now)
                    }
                    Waits::Time(until) => until <= now,
                }
        };
        let ready = threads.iter().filter(|thread| can_go_on(thread)).count();
        if ready == 0 {
            return None;
        }
        let chosen = self.random.borrow_mut().index(ready);
        (0..threads.len()).filter(|thread| can_go_on(&threads[*thread])).nth(chosen)
    }

    /// No thread is runnable: advances the clock to the next deadline. `false`: there is none.
    fn pass_time(&self) -> bool {
        let threads = self.threads.borrow();
        let deadline = |thread: &Thread| match thread.waits {
            Waits::Others(until) => until,
            Waits::Time(until) => Some(until),
            Waits::Nothing => None,
        };
        let waiting = threads.iter().filter(|thread| thread.fiber.is_some());
        let Some(next) = waiting.filter_map(deadline).min() else {
            return false;
        };
        self.time.set(self.time.get().max(next));
        true
    }

    fn describe(&self, what: &str) -> String {
        let threads = self.threads.borrow();
        let alive = threads.iter().filter(|thread| thread.fiber.is_some());
        let waits: Vec<_> = alive.map(|thread| format!("{} waits for {:?}", thread.name, thread.waits)).collect();
        format!("{what}: {}", waits.join(", "))
    }

    fn step(&self) {
        self.step.set(self.step.get() + 1);
    }

    fn process(&self) -> u32 {
        match self.running.get() {
            Some(running) => self.threads.borrow()[running].process,
            None => self.process.get(),
        }
    }
}

fn fiber() -> Fiber {
    let run = || loop {
        let ended = JOB.take().map_or(Ok(()), |job| catch_unwind(AssertUnwindSafe(job)));
        suspend(Signal::Ended(ended));
    };
    Gn::<()>::new_opt(STACK_WORDS, run)
}

#[allow(deprecated, reason = "the other way to suspend a fiber is by a reference that only its first function has")]
fn suspend(signal: Signal) {
    generator::yield_with(signal);
}

fn give_way(waits: Waits) {
    suspend(Signal::Paused(waits));
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".to_owned())
}

fn here() -> Option<Rc<State>> {
    HERE.with_borrow(Clone::clone)
}

/// The simulation, if this is one of its threads and may be suspended.
fn on_a_thread() -> Option<Rc<State>> {
    here().filter(|state| state.running.get().is_some() && !std::thread::panicking())
}

/// Whether a lock is to be waited for as a simulation does.
pub(super) fn is_simulated() -> bool {
    HERE.with_borrow(|here| here.as_ref().is_some_and(|state| state.running.get().is_some()))
}

/// Whether the clock is a simulation's.
pub(super) fn is_in_simulation() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// Lets another thread run, if the seed says so.
pub(crate) fn pause() {
    if let Some(state) = on_a_thread() {
        let gives_way = state.random.borrow_mut().one_in(state.switch_one_in);
        if gives_way {
            give_way(Waits::Nothing);
        }
        state.step();
    }
}

/// Counts an act that other threads may wait for.
pub(super) fn step() {
    HERE.with_borrow(|here| here.iter().for_each(|state| state.step()));
}

/// Lets others go on until one of them has, or until that time.
pub(super) fn wait_for_others(until: Option<Time>) {
    assert!(on_a_thread().is_some(), "a thread that unwinds has to wait for another");
    give_way(Waits::Others(until));
}

pub(crate) fn sleep(time: Time) {
    if let Some(until) = on_a_thread().map(|state| state.time.get() + time) {
        give_way(Waits::Time(until));
        step();
    }
}

/// Begins a thread of the same process.
pub(crate) fn spawn(name: impl Into<String>, job: impl FnOnce() + 'static) {
    if let Some(state) = here() {
        state.spawn(name.into(), Box::new(job));
    }
}

/// The machine, and the process of the thread that asks.
pub(super) fn machine() -> Option<(Machine, u32)> {
    here().map(|state| (Arc::clone(&state.machine), state.process()))
}

pub(crate) fn time() -> Time {
    HERE.with_borrow(|here| here.as_ref().map_or(Time::ZERO, |state| state.time.get()))
}

pub(crate) fn spend(time: Time) {
    HERE.with_borrow(|here| {
        if let Some(state) = here {
            state.time.set(state.time.get() + time);
        }
    });
}

/// Puts what happened into the hash of the history.
pub(crate) fn mark(words: [u64; 3]) {
    HERE.with_borrow(|here| {
        if let Some(state) = here {
            let thread = state.running.get().map_or(u64::MAX, |running| running as u64);
            let words = words.into_iter().chain([thread, state.time.get().as_nanos() as u64]);
            let hash =
                words.fold(state.hash.get(), |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23));
            state.hash.set(hash);
        }
    });
}

/// Prints a line of the history if it is to be told.
pub(crate) fn note(line: impl FnOnce() -> String) {
    let Some(state) = here().filter(|state| state.is_told) else { return };
    let ms = state.time.get().as_secs_f64() * 1000.0;
    let name = state.running.get().map(|running| state.threads.borrow()[running].name.clone());
    println!("{ms:10.3} {:<10} {}", name.unwrap_or_default(), line());
}
