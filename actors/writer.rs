//! A writer makes instances durable: it takes jobs from the mailbox, a batch at a time, commits them, and answers each.
//!
//! It runs on a thread of its own, because a commit blocks. What it works at is in its [`Hand`], which the supervisor can open:
//! whatever the writer still does has no effect then.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use tidegate_memory::{Place, Stage};
use tidegate_storage::{Commit, Files, SpoolFile, Store, StoreError, Stored};
use tokio::sync::oneshot;

use crate::counters::Counter;
use crate::fault::{self, Told};
use crate::hand::{Hand, ToLog};
use crate::job::{AppendJob, CommitJob, Job, SpoolPart, SpoolTarget, StoreInstance};
use crate::mailbox::{Logging, Seat, Task, Turn};
use crate::shared::{Alive, Shared};
use crate::supervision::exit::Exit;
use crate::supervision::lifeline::{Lifeline, MessageKind};
use crate::vitals::WriterVitals;

/// Errors in a row, of storage that fails and not of instances it may refuse, after which a writer starts afresh.
const MAX_STORAGE_FAILURES: u32 = 16;

/// For so long a writer that always finds work lets nothing else onto its thread.
const YIELD_INTERVAL: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Writer {
    work: Option<Work>,
    _alive: Alive,
}

impl Writer {
    pub(crate) fn new(index: u32, store: Store, shared: Arc<Shared>, hand: Arc<Hand>, lifeline: Lifeline) -> Self {
        let _alive = Alive::new(&shared);
        let (name, reply_name) = (format!("writer-{index}"), format!("reply-{index}"));
        let vitals = shared.writers.start(index);
        let work =
            Work { index, vitals, name, reply_name, store, shared, hand, failures: RefCell::default(), lifeline };
        Self { work: Some(work), _alive }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(work) = self.work.take() {
            ctx.spawn(work.run().into_actor(self).map(|(), _, ctx| ctx.stop()));
        }
    }
}

/// What a writer does, until it is dropped: by its end, a panic, or the end of its thread.
#[derive(Debug)]
struct Work {
    index: u32,
    vitals: Arc<WriterVitals>,
    name: String,
    /// As the fault port knows the moment between commit and answer.
    reply_name: String,
    store: Store,
    shared: Arc<Shared>,
    hand: Arc<Hand>,
    failures: RefCell<Failures>,
    /// Dropped last: when the supervisor hears of the end, all else is known.
    lifeline: Lifeline,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.lifeline.held(self.hand.release());
    }
}

/// Errors of the storage in a row, the last of them.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
    last: Option<StoreError>,
}

/// What came of a job.
enum Outcome {
    Appended(Result<Arc<SpoolFile>, StoreError>),
    Committed(Result<Stored, StoreError>),
}

impl Work {
    async fn run(self) {
        self.lifeline.ready();
        let mut turn = Turn::default();
        let mut yielded = Instant::now();
        while !self.lifeline.is_fenced() {
            let batch = self.shared.live().writers.batch;
            let task = tokio::select! {
                biased;
                task = self.shared.mailbox.take(batch, &mut turn) => Some(task),
                // What waits is stored before a writer stops.
                () = self.lifeline.stop_requested() => return self.lifeline.finish(),
                // Nobody else has: the others are asleep, or at a commit.
                () = self.tend_due() => None,
            };
            if self.lifeline.is_fenced() {
                return; // the jobs go to another, as if this one had died over them
            }
            if let Some(task) = task {
                self.work_at(task, turn.seat.take());
                if let Some(exit) = self.storage_failing() {
                    return self.lifeline.exit(exit);
                }
                turn.seat = self.hand.take_seat();
            }
            if self.is_tending_due() {
                // A checkpoint takes a while, and waits for what others have left for the log.
                turn.seat = None;
                self.shared.mailbox.call_again();
                self.tend();
            }
            // A mailbox that is never empty would otherwise keep control messages out. Not after every batch: it is three system calls.
            if yielded.elapsed() >= YIELD_INTERVAL {
                tokio::task::yield_now().await;
                yielded = Instant::now();
            }
        }
    }

    /// Waits until the store wants to be tended.
    async fn tend_due(&self) {
        match self.store.checkpoint_due() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            // Whoever changes that comes here afterwards.
            None => std::future::pending().await,
        }
    }

    fn is_tending_due(&self) -> bool {
        self.store.checkpoint_due().is_some_and(|at| at <= Instant::now())
    }

    /// Does for the store what no answer waits for.
    fn tend(&self) {
        let _has_work = self.lifeline.busy();
        if let Err(error) = self.store.checkpoint(&|| self.lifeline.pulse()) {
            tracing::error!(%error, "checkpoint of the commit log failed, its instances stay in it");
        }
    }

    /// Does the task. Between the moment it has the jobs and the moment it answers, they and the seat may be taken away from it.
    fn work_at(&self, task: Task, seat: Option<Seat>) {
        let _busy = Busy::new(&self.shared.counters.writers_busy);
        let _has_work = self.lifeline.busy();
        match task {
            Task::Jobs(jobs) => self.begin(jobs, seat),
            Task::Log(to_log, logging) => self.log(to_log, Some(logging)),
            Task::Write(files) => files.write(&|| self.lifeline.pulse()),
        }
        self.vitals.took(0);
    }

    fn begin(&self, mut jobs: Vec<Job>, seat: Option<Seat>) {
        self.vitals.took(jobs.len());
        jobs.sort_by_key(|job| matches!(job, Job::Commit(_))); // as they will be answered
        let (mut parts, mut instances) = (Vec::new(), Vec::new());
        for job in &jobs {
            self.enter(job);
            match job {
                Job::Append(job) => parts.push(job.part.clone()),
                Job::Commit(job) => instances.push(job.store.clone()),
            }
        }
        self.hand.hold(jobs, seat);
        let fail = match fault::at(&self.name) {
            Some(Told::Fail) => Some(StoreError::ReadOnly),
            Some(Told::Hold(_)) | None => None,
        };

        for part in parts {
            let appended = self.append(&part);
            drop(part);
            self.answer(Outcome::Appended(appended));
        }
        if instances.is_empty() {
            return;
        }
        let (began, count) = (Instant::now(), instances.len());
        self.lifeline.note(MessageKind::Commit);
        let begun = match fail {
            Some(error) => Err(error),
            None => self.store.begin(instances, &|| self.lifeline.pulse()),
        };
        match begun {
            // Whoever writes the log for others must not wait for one of them: for a name that two instances claim, say.
            Ok(commit) if commit.is_wholly_to_log() => self.leave(commit, began),
            Ok(mut commit) => {
                drop(self.hand.take_seat());
                self.write_log([&mut commit]);
                self.finish(commit, began);
            }
            Err(error) => (0..count).for_each(|_| self.answer(Outcome::Committed(Err(error.clone())))),
        }
    }

    /// Leaves what goes through the log to the next write of that, and writes its files meanwhile; or does that write.
    fn leave(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        let jobs = self.hand.take_jobs();
        if jobs.is_empty() {
            return; // taken away: others have them
        }
        let files = commit.files();
        match self.shared.mailbox.leave(ToLog { commit, jobs, writer: self.index, began }) {
            Some((to_log, logging)) => {
                drop(self.hand.take_seat()); // others write meanwhile
                files.into_iter().filter(Files::are_small).for_each(|files| self.shared.mailbox.offer(files));
                self.log(to_log, logging);
            }
            None => files.into_iter().for_each(|files| files.write(&|| self.lifeline.pulse())),
        }
    }

    /// Writes the commit log, gives the instances their names and answers for them.
    fn log(&self, to_log: Vec<ToLog>, logging: Option<Logging>) {
        let (mut jobs, mut commits) = (Vec::new(), Vec::new());
        for ToLog { commit, jobs: waiting, writer, began } in to_log {
            if writer != self.index {
                waiting.iter().for_each(|job| self.enter(job));
            }
            commits.push((commit, began));
            jobs.extend(waiting);
        }
        self.vitals.took(jobs.len());
        self.hand.hold_for_log(jobs, logging);
        self.write_log(commits.iter_mut().map(|(commit, _)| commit));
        commits.into_iter().for_each(|(commit, began)| self.finish(commit, began));
        // Not before: the more instances come meanwhile, the more the next write serves.
        self.hand.has_logged();
    }

    fn write_log<'c>(&self, commits: impl IntoIterator<Item = &'c mut Commit<Arc<StoreInstance>>>) {
        if let Err(error) = Commit::write_log(commits, &|| self.lifeline.pulse()) {
            tracing::error!(%error, "commit log failed, its instances are synced by themselves or refused");
        }
    }

    /// Gives the instances their names, and answers for the next jobs in hand.
    fn finish(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        commit.finish(&|| self.lifeline.pulse(), &mut |outcome| {
            self.shared.latencies.commit.record(began.elapsed());
            fault::at(&self.reply_name);
            self.answer(Outcome::Committed(outcome));
        });
    }

    fn append(&self, part: &SpoolPart) -> Result<Arc<SpoolFile>, StoreError> {
        self.lifeline.note(MessageKind::Append);
        let spool = match &part.spool {
            SpoolTarget::New { meta_bytes } => Arc::new(self.store.spool(*meta_bytes)?),
            SpoolTarget::Open(spool) => spool.clone(),
        };
        // A copy of the references: whoever has to do it again after us finds it.
        let content = part.content.lock().clone();
        if let Some(content) = content {
            spool.write(part.offset_bytes, &content.slices)?;
        }
        self.lifeline.pulse();
        Ok(spool)
    }

    /// The job is at this writer now.
    fn enter(&self, job: &Job) {
        job.each_lease(&mut |lease| lease.enter_at(stage_of(job), Place::Writer { index: self.index }));
    }

    /// Answers for the next job in hand, unless it was taken away.
    fn answer(&self, outcome: Outcome) {
        let error = match (self.hand.take_job(), outcome) {
            (Some(Job::Append(AppendJob { part, reply })), Outcome::Appended(appended)) => {
                drop(part.content.lock().take());
                send(reply, appended)
            }
            (Some(Job::Commit(CommitJob { store, reply, .. })), Outcome::Committed(stored)) => {
                if stored.is_ok() {
                    self.vitals.stored(store.instance.dataset_bytes());
                }
                drop(store); // its memory is free when the association gets the answer
                send(reply, stored)
            }
            _ => return,
        };
        let last = error.filter(StoreError::is_storage_failure);
        let in_a_row = if last.is_some() { self.failures.borrow().in_a_row + 1 } else { 0 };
        self.failures.replace(Failures { in_a_row, last });
    }

    /// `Some`: the storage has done nothing but fail for long enough.
    fn storage_failing(&self) -> Option<Exit> {
        let Failures { in_a_row: failures, last } = &*self.failures.borrow();
        let last = last.as_ref().filter(|_| *failures >= MAX_STORAGE_FAILURES)?;
        Some(Exit::StorageFailing { failures: *failures, last: last.to_string() })
    }
}

/// Answers, and tells of an error. An association that is gone does not hear it: an instance is stored all the same, a spool
/// file goes.
fn send<T>(reply: oneshot::Sender<Result<T, StoreError>>, outcome: Result<T, StoreError>) -> Option<StoreError> {
    let error = outcome.as_ref().err().cloned();
    let _ = reply.send(outcome);
    error
}

fn stage_of(job: &Job) -> Stage {
    match job {
        Job::Commit(_) => Stage::Writing,
        Job::Append(_) => Stage::Spooling,
    }
}

/// Counts a writer as busy until it is dropped, a panic included.
struct Busy<'a>(&'a Counter);

impl<'a> Busy<'a> {
    fn new(gauge: &'a Counter) -> Self {
        gauge.increment();
        Self(gauge)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}
