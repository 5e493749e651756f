//! A writer makes instances durable: it takes jobs from the mailbox, a batch at a time, commits them, and answers each.
//!
//! It runs on a thread of its own, because a commit blocks. What it works at is in its [`Hand`], which the supervisor can open:
//! the replies in it are dropped then, which tells the associations to hand their datasets to another writer, and whatever
//! this one still does has no effect.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};
use parking_lot::Mutex;
use tidegate_memory::{Place, Stage};
use tidegate_storage::{Instance, SpoolFile, Store, StoreError, Stored};
use tokio::sync::oneshot;

use crate::counters::Counter;
use crate::fault::{self, Told};
use crate::job::{AppendJob, CommitJob, Job, SpoolPart, SpoolTarget};
use crate::mailbox::{Seat, Turn};
use crate::shared::{Alive, Shared};
use crate::supervision::exit::Exit;
use crate::supervision::lifeline::{Held, Lifeline, MessageKind};
use crate::vitals::WriterVitals;

/// Errors in a row, of storage that fails and not of instances it may refuse, after which a writer starts afresh.
const MAX_STORAGE_FAILURES: u32 = 16;

/// What a writer works at. Shared with the supervisor.
#[derive(Debug, Default)]
pub(crate) struct Hand(Mutex<(Vec<Job>, Option<Seat>)>);

impl Hand {
    fn hold(&self, jobs: Vec<Job>, seat: Option<Seat>) {
        *self.0.lock() = (jobs, seat);
    }

    fn give_up_seat(&self) {
        drop(self.0.lock().1.take());
    }

    /// The jobs, unless they were let go of meanwhile.
    fn take(&self) -> Vec<Job> {
        let (jobs, _seat) = std::mem::take(&mut *self.0.lock());
        jobs
    }

    /// Lets go of the jobs and the seat, so that others get them; says what the jobs held.
    pub(crate) fn release(&self) -> Held {
        let jobs = self.take();
        let mut held = Held { count: jobs.len(), ..Held::default() };
        let mut seen = Vec::new();
        for job in &jobs {
            job.each_lease(&mut |lease| {
                // Small datasets that came together share a lease.
                if !seen.contains(&Arc::as_ptr(lease)) {
                    seen.push(Arc::as_ptr(lease));
                    if let Some(stage) = lease.stage() {
                        held.bytes.add(stage, lease.bytes());
                    }
                }
            });
        }
        held
    }
}

/// See the module.
#[derive(Debug)]
pub struct Writer {
    work: Option<Work>,
    _alive: Alive,
}

impl Writer {
    pub(crate) fn new(index: u32, store: Arc<Store>, shared: Arc<Shared>, hand: Arc<Hand>, lifeline: Lifeline) -> Self {
        let _alive = Alive::new(&shared);
        let (name, reply_name) = (format!("writer-{index}"), format!("reply-{index}"));
        let vitals = shared.writers.start(index);
        let work =
            Work { index, vitals, name, reply_name, store, shared, hand, failures_in_a_row: Cell::new(0), lifeline };
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
    store: Arc<Store>,
    shared: Arc<Shared>,
    hand: Arc<Hand>,
    failures_in_a_row: Cell<u32>,
    /// Dropped last: when the supervisor hears of the end, all else is known.
    lifeline: Lifeline,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.lifeline.held(self.hand.release());
    }
}

/// The storage does nothing but fail: errors in a row, the last of them.
struct StorageFailing {
    last: StoreError,
}

impl Work {
    async fn run(self) {
        self.lifeline.ready();
        let (mut jobs, mut turn) = (Vec::new(), Turn::default());
        while !self.lifeline.is_fenced() {
            let batch = self.shared.live().writers.batch;
            tokio::select! {
                biased;
                () = self.shared.mailbox.take(batch, &mut turn, &mut jobs) => {}
                // What waits is stored before a writer stops.
                () = self.lifeline.stop_requested() => return self.lifeline.finish(),
                // Nobody else has: the others are asleep, or at a commit.
                () = self.tend_due() => {}
            }
            if self.lifeline.is_fenced() {
                return; // the jobs go to another, as if this one had died over them
            }
            if !jobs.is_empty()
                && let Err(StorageFailing { last }) = self.work_at(std::mem::take(&mut jobs), turn.seat.take())
            {
                let failures = self.failures_in_a_row.get();
                return self.lifeline.exit(Exit::StorageFailing { failures, last: last.to_string() });
            }
            if self.is_tending_due() {
                turn.seat = None; // a checkpoint takes a while
                self.tend();
            }
            // A mailbox that is never empty would otherwise keep control messages out.
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the store wants to be tended.
    async fn tend_due(&self) {
        match self.store.tend_at() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            // Whoever changes that comes here afterwards.
            None => std::future::pending().await,
        }
    }

    fn is_tending_due(&self) -> bool {
        self.store.tend_at().is_some_and(|at| at <= Instant::now())
    }

    /// Does for the store what no answer waits for.
    fn tend(&self) {
        let _has_work = self.lifeline.busy();
        if let Err(error) = self.store.tend() {
            tracing::error!(%error, "checkpoint of the commit log failed, its instances stay in it");
        }
    }

    /// Does the jobs. Between the moment it has them and the moment it answers, they and the seat may be taken away from it.
    fn work_at(&self, jobs: Vec<Job>, seat: Option<Seat>) -> Result<(), StorageFailing> {
        let _busy = Busy::new(&self.shared.counters.writers_busy);
        self.vitals.took(jobs.len());
        let _has_work = self.lifeline.busy();
        let (mut appends, mut commits) = (Vec::new(), Vec::new());
        for job in &jobs {
            job.each_lease(&mut |lease| lease.enter_at(stage_of(job), Place::Writer { index: self.index }));
            match job {
                Job::Append(job) => appends.push(job.part.clone()),
                Job::Commit(job) => commits.push(job.store.clone()),
            }
        }
        self.hand.hold(jobs, seat);
        let fail = match fault::at(&self.name) {
            Some(Told::Fail) => Some(StoreError::ReadOnly),
            Some(Told::Hold(_)) | None => None,
        };

        let appended: Vec<_> = appends.iter().map(|part| self.append(part)).collect();
        let instances: Vec<_> = commits.iter().map(|store| &store.instance).collect();
        let committed = match fail {
            Some(error) => Err(error),
            None if instances.is_empty() => Ok(Vec::new()),
            None => {
                self.lifeline.note(MessageKind::Commit);
                let began = Instant::now();
                let committed = self.commit(&instances);
                self.shared.latencies.commit.record_many(began.elapsed(), instances.len() as u64);
                committed
            }
        };
        let committed = committed.unwrap_or_else(|error| instances.iter().map(|_| Err(error.clone())).collect());
        fault::at(&self.reply_name);
        // Our share of the datasets goes first, so that their memory is free when the associations get the answer.
        for (store, _) in commits.iter().zip(&committed).filter(|(_, outcome)| outcome.is_ok()) {
            self.vitals.stored(store.instance.dataset_bytes());
        }
        drop((appends, commits));
        let answered = self.answer(appended, committed);
        self.vitals.took(0);
        answered
    }

    fn commit(&self, instances: &[&Instance]) -> Result<Vec<Result<Stored, StoreError>>, StoreError> {
        let pulse = || self.lifeline.pulse();
        let commit = self.store.begin(instances, &pulse)?;
        if commit.is_logged() {
            // Others write while it syncs, and share the sync after.
            self.hand.give_up_seat();
        }
        Ok(commit.finish(&pulse))
    }

    fn append(&self, part: &SpoolPart) -> Result<Arc<SpoolFile>, StoreError> {
        self.lifeline.note(MessageKind::Append);
        let spool = match &part.spool {
            SpoolTarget::New(meta) => Arc::new(self.store.spool(meta)?),
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

    /// Answers for the jobs that are still in hand: all, or none because they were taken away.
    fn answer(
        &self,
        appended: Vec<Result<Arc<SpoolFile>, StoreError>>,
        committed: Vec<Result<Stored, StoreError>>,
    ) -> Result<(), StorageFailing> {
        let (mut appended, mut committed) = (appended.into_iter(), committed.into_iter());
        let mut last_failure = None;
        for job in self.hand.take() {
            let error = match job {
                Job::Append(AppendJob { part, reply }) => {
                    drop(part.content.lock().take());
                    appended.next().and_then(|outcome| send(reply, outcome))
                }
                Job::Commit(CommitJob { store, reply, .. }) => {
                    drop(store);
                    committed.next().and_then(|outcome| send(reply, outcome))
                }
            };
            match error.filter(StoreError::is_storage_failure) {
                Some(error) => {
                    self.failures_in_a_row.update(|failures| failures + 1);
                    last_failure = Some(error);
                }
                None => self.failures_in_a_row.set(0),
            }
        }
        match last_failure {
            Some(last) if self.failures_in_a_row.get() >= MAX_STORAGE_FAILURES => Err(StorageFailing { last }),
            _ => Ok(()),
        }
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
