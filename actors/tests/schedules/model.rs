//! The node around the scheduler: associations, the supervisor, a clock, and a storage that is nothing but its checkpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::Condvar;
use shuttle::thread;

use crate::in_flight::InFlight;
use crate::job::{Counted, Job, PendingReply};
use crate::mailbox::queue::Lane;
use crate::mailbox::scheduler::{Workload, WriterScheduler};
use crate::sync::Mutex;
use crate::writer;

/// Jobs that find room in a lane.
const CAPACITY: usize = 64;

/// The parameters of a test.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) writers: usize,
    /// Besides one that only gives up spool files.
    pub(crate) associations: usize,
    /// How often an association submits a window of jobs and waits for the answers.
    pub(crate) rounds: usize,
    pub(crate) window: usize,
    /// Writers that die, hang or are given up, at most.
    pub(crate) troubles: usize,
    /// Whether nothing happens to the first writer. No writer is replaced: a replacement would find what was lost.
    pub(crate) is_one_immortal: bool,
}

/// The node around the scheduler.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) scheduler: Arc<WriterScheduler<Modelled>>,
    pub(crate) writers: Vec<Arc<Writer>>,
    pub(crate) log: Mutex<Log>,
    pub(crate) scenario: Scenario,
    troubles_left: AtomicUsize,
    /// Associations between putting a job into its lane and calling a writer for it.
    calling: AtomicUsize,
    /// Payloads and spool files that were made and not dropped.
    payloads: Arc<AtomicUsize>,
    spools: Arc<AtomicUsize>,
    phase: Mutex<Phase>,
    /// Notified whenever a writer goes to sleep, hangs or ends, and of each phase.
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// All is answered.
    Resting,
    /// Writers that hang wake up.
    Over,
}

/// The commit log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Something is in it: a checkpoint is due some time.
    pub(crate) is_due: bool,
    pub(crate) is_checkpointing: bool,
}

#[derive(Debug)]
pub(crate) enum Modelled {}

impl Workload for Modelled {
    type QueuedJob = Job;
    type Job = Job;
    type PendingWrite = Vec<Job>;
    type Files = Counted;
    type Discard = Counted;
}

/// The state of a writer as other threads see and change it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) index: usize,
    pub(crate) in_flight: InFlight<Modelled>,
    pub(crate) status: Mutex<Status>,
    pub(crate) changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) is_woken: bool,
    pub(crate) is_asleep: bool,
    pub(crate) has_timer: bool,
    pub(crate) is_timer_fired: bool,
    pub(crate) is_busy: bool,
    pub(crate) is_hung: bool,
    pub(crate) is_asked_to_stop: bool,
    pub(crate) is_fenced: bool,
    /// Fenced, and what it held was taken from it.
    is_given_up: bool,
    pub(crate) has_ended: bool,
}

impl Wake for Writer {
    fn wake(self: Arc<Self>) {
        self.change(|status| status.is_woken = true);
    }
}

impl Writer {
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        let changed = change(&mut self.status.lock());
        self.changed.notify_all();
        changed
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.status.lock().is_fenced
    }

    pub(crate) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Model {
    pub(crate) fn run(scenario: Scenario) {
        let scheduler = Arc::new(WriterScheduler::new(CAPACITY));
        let writer = |index| {
            let in_flight = InFlight::new(scheduler.clone());
            Arc::new(Writer { index, in_flight, status: Mutex::default(), changed: Condvar::new() })
        };
        let model = Arc::new(Self {
            writers: (0..scenario.writers).map(writer).collect(),
            scheduler,
            log: Mutex::default(),
            scenario,
            troubles_left: scenario.troubles.into(),
            calling: AtomicUsize::new(0),
            payloads: Arc::default(),
            spools: Arc::default(),
            phase: Mutex::new(Phase::Running),
            changed: Condvar::new(),
        });
        let spawn = |body: fn(&Model)| {
            let model = model.clone();
            thread::spawn(move || body(&model))
        };
        let writers: Vec<_> = (0..scenario.writers)
            .map(|index| {
                let model = model.clone();
                thread::spawn(move || writer::live(&model, &model.writers[index]))
            })
            .collect();
        let supervisor = spawn(Self::supervise);
        let mut others: Vec<_> = (0..scenario.associations).map(|_| spawn(Self::associate)).collect();
        others.extend([spawn(Self::give_up_spools), spawn(Self::fence_at_random), spawn(Self::fire_timers)]);
        others.into_iter().for_each(|other| other.join().unwrap());

        model.enter(Phase::Resting);
        model.wait_for_rest();
        model.check_at_rest();
        model.enter(Phase::Over);
        model.writers.iter().for_each(|writer| writer.change(|status| status.is_asked_to_stop = true));
        writers.into_iter().chain([supervisor]).for_each(|thread| thread.join().unwrap());
        model.check_at_the_end();
    }

    /// Decides whether the writer fails at this point.
    pub(crate) fn has_trouble(&self, writer: &Writer) -> bool {
        let is_spared = writer.index == 0 && self.scenario.is_one_immortal;
        if is_spared || self.troubles_left.load(Ordering::Relaxed) == 0 || !thread_rng().gen_bool(0.2) {
            return false;
        }
        self.troubles_left.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Whether no writer fails. Then no thread has to wait until a failure is detected.
    pub(crate) fn is_without_trouble(&self) -> bool {
        self.scenario.troubles == 0
    }

    pub(crate) fn check_promptness(&self) {
        if self.is_without_trouble() && self.calling.load(Ordering::Relaxed) == 0 {
            let is_forgotten = self.scheduler.is_small_forgotten();
            assert!(
                !is_forgotten || self.calling.load(Ordering::Relaxed) > 0,
                "small instances wait, and a writer sleeps"
            );
        }
    }

    pub(crate) fn files(&self) -> Counted {
        Counted::new(&self.payloads)
    }

    /// Whether a checkpoint is due and no writer makes it.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let log = self.log.lock();
        log.is_due && !log.is_checkpointing
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock() = phase;
        self.changed.notify_all();
    }

    /// Records that a writer sleeps, hangs or has ended.
    pub(crate) fn notify(&self) {
        drop(self.phase.lock());
        self.changed.notify_all();
    }

    pub(crate) fn wait_until(&self, mut done: impl FnMut(Phase) -> bool) {
        let mut phase = self.phase.lock();
        while !done(*phase) {
            phase = self.changed.wait(phase).unwrap();
        }
    }

    /// Hands over windows of jobs until each is answered.
    fn associate(&self) {
        for _ in 0..self.scenario.rounds {
            let submitted: Vec<_> = (0..self.scenario.window).map(|_| self.submit(self.any_lane())).collect();
            for (mut lane, mut reply) in submitted {
                while !reply.is_answered() {
                    (lane, reply) = self.submit(lane);
                }
            }
        }
    }

    fn any_lane(&self) -> Lane {
        // Mostly small ones: theirs is the longer way.
        if thread_rng().gen_bool(0.7) { Lane::Small } else { Lane::Large }
    }

    fn submit(&self, lane: Lane) -> (Lane, PendingReply) {
        let (job, reply) = Job::new(lane, Counted::new(&self.payloads));
        self.calling.fetch_add(1, Ordering::Relaxed);
        assert!(self.scheduler.lane(lane).put(job));
        self.scheduler.wake_for(lane);
        self.calling.fetch_sub(1, Ordering::Relaxed);
        (lane, reply)
    }

    fn give_up_spools(&self) {
        for _ in 0..self.scenario.rounds {
            self.scheduler.discard(Counted::new(&self.spools));
        }
    }

    /// Gives up writers that hang.
    fn supervise(&self) {
        loop {
            let mut hung = None;
            self.wait_until(|phase| {
                let is_new = |writer: &&Arc<Writer>| {
                    let status = writer.status.lock();
                    status.is_hung && !status.is_fenced
                };
                hung = self.writers.iter().find(is_new).cloned();
                hung.is_some() || phase == Phase::Over
            });
            match hung {
                Some(writer) => self.give_up(&writer),
                None => return,
            }
        }
    }

    fn give_up(&self, writer: &Writer) {
        writer.change(|status| (status.is_fenced, status.is_asked_to_stop) = (true, true));
        drop(writer.in_flight.drain());
        writer.change(|status| status.is_given_up = true);
        self.notify();
    }

    /// Gives up writers that have only been slow.
    fn fence_at_random(&self) {
        for _ in 0..self.scenario.troubles {
            (0..thread_rng().gen_range(0..20)).for_each(|_| thread::yield_now());
            let writer = &self.writers[thread_rng().gen_range(0..self.writers.len())];
            if self.has_trouble(writer) && writer.status.lock().is_busy {
                self.give_up(writer);
            }
        }
    }

    fn fire_timers(&self) {
        let firings = if self.is_without_trouble() { 0 } else { 3 };
        for _ in 0..firings {
            (0..thread_rng().gen_range(0..10)).for_each(|_| thread::yield_now());
            let writer = &self.writers[thread_rng().gen_range(0..self.writers.len())];
            writer.change(|status| status.is_timer_fired = status.is_asleep && status.has_timer);
        }
    }

    /// Waits until no thread has work.
    fn wait_for_rest(&self) {
        self.wait_until(|_| {
            // All locked at once: otherwise one that has been looked at could be woken by one that has not.
            let statuses: Vec<_> = self.writers.iter().map(|writer| writer.status.lock()).collect();
            statuses.iter().all(|status| {
                let is_told = status.is_woken || status.is_timer_fired || status.is_asked_to_stop;
                status.has_ended || (status.is_hung && status.is_given_up) || (status.is_asleep && !is_told)
            })
        });
    }

    /// Checks the invariants that hold once every submitted job is answered and every writer sleeps, hangs or has ended.
    pub(crate) fn check_at_rest(&self) {
        let [waiting @ .., _attached] = self.scheduler.open_counts();
        assert_eq!(waiting, [0; 7], "left: jobs, permits of either lane, leaders, batches, files, discards");
        assert_eq!(self.spools.load(Ordering::Relaxed), 0, "spool files that nobody closed");
        let sleeps = |has_timer: bool| {
            self.writers.iter().any(|writer| {
                let status = writer.status.lock();
                status.is_asleep && !status.is_fenced && (status.has_timer || !has_timer)
            })
        };
        let has_timer = !self.is_checkpoint_due() || !sleeps(false) || sleeps(true);
        assert!(has_timer, "a checkpoint is due, and nobody has a timer: {:#?}", self.statuses());
    }

    fn statuses(&self) -> Vec<String> {
        self.writers.iter().map(|writer| format!("{:?}", writer.status.lock())).collect()
    }

    fn check_at_the_end(&self) {
        assert_eq!(self.scheduler.open_counts(), [0; 8]);
        let left = [&self.payloads, &self.spools].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(left, [0, 0], "payloads and spool files that were never dropped");
    }
}
