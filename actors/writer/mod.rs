//! A writer takes jobs from the mailbox, a batch at a time, commits them, and answers each.
//!
//! Invariant: a job is answered at most once, by the holder of the [`InFlight`] that has it. A job stays in there until its answer; a
//! follower's jobs pass through the mailbox to that of the leader. The supervisor drains an [`InFlight`] to fence its writer: a fenced
//! writer finds no job to answer, so its later results have no effect. A writer has a
//! thread of its own, because a commit blocks.

mod failures;
mod receipts;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_storage::{Commit, Files, Store, StoreError, Stored};
use tokio::sync::oneshot;

use self::failures::Failures;
use crate::committed::{Committed, Subscribers};
use crate::fault::{self, Injected};
use crate::gauges::Gauges;
use crate::gauges::activity::WriterActivity;
use crate::gauges::counters::Counters;
use crate::gauges::incidents::{Class, NO_PEER};
use crate::mailbox::job::{AppendJob, CommitJob, Job, Lane, PendingWrite, SpoolPart, StoreInstance, work_of};
use crate::mailbox::open_spool::OpenSpool;
use crate::mailbox::{InFlight, LanePermit, MeasuredBatch, WalLeader, WriterMailbox, WriterState, WriterTask};
use crate::node::live::Live;
use crate::supervision::exit::Exit;
use crate::supervision::liveness::{Liveness, MessageKind};

/// The longest time that a writer with work keeps other tasks off its thread.
const YIELD_INTERVAL: Duration = Duration::from_millis(20);

/// The environment of a writer.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) store: Store,
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) subscribers: Subscribers,
}

/// A writer: the consumer of the mailbox. Its end, a panic and the end of its thread all drop it.
pub(crate) struct Writer {
    index: u32,
    activity: Arc<WriterActivity>,
    name: String,
    /// Name of the fault point between commit and answer.
    reply_name: String,
    /// Name of the fault point in the test of the storage.
    trial_name: String,
    env: Env,
    in_flight: Arc<InFlight>,
    failures: RefCell<Failures>,
    /// Whether this writer has written every job of the batch so far, and waited for the disk.
    is_measured: Cell<bool>,
    /// Dropped last: the supervisor learns of the end when everything else is recorded.
    liveness: Liveness,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.liveness.held(work_of(&self.in_flight.drain()));
    }
}

/// The outcome of a job.
enum Outcome {
    Appended(Result<Arc<OpenSpool>, StoreError>),
    Committed(Result<Stored, StoreError>),
}

impl Outcome {
    /// Whether the job was written to the disk, which an error, or an instance that was stored before, does not need.
    fn is_written(&self) -> bool {
        match self {
            Self::Appended(appended) => appended.is_ok(),
            Self::Committed(committed) => {
                committed.as_ref().is_ok_and(|stored| stored.outcome != tidegate_storage::Outcome::Identical)
            }
        }
    }
}

impl Writer {
    pub(crate) fn new(index: u32, env: Env, in_flight: Arc<InFlight>, liveness: Liveness) -> Self {
        Self {
            index,
            activity: env.gauges.writers.start(index),
            name: format!("writer-{index}"),
            reply_name: format!("reply-{index}"),
            trial_name: format!("trial-{index}"),
            env,
            in_flight,
            failures: RefCell::default(),
            is_measured: Cell::default(),
            liveness,
        }
    }

    pub(crate) async fn run(self) {
        self.liveness.ready();
        let mut writer = WriterState::default();
        let mut yielded = Instant::now();
        while !self.liveness.is_fenced() {
            let batch = self.env.live.get().writers.batch;
            let task = tokio::select! {
                biased;
                task = self.env.mailbox.take(batch, &mut writer) => Some(task),
                // Waiting jobs are stored before a writer stops.
                () = self.liveness.stop_requested() => return self.liveness.finish(),
                // No other writer has made the checkpoint: the others sleep or commit.
                () = self.checkpoint_due() => None,
            };
            if self.liveness.is_fenced() {
                return; // dropped replies: the jobs are retried on another writer
            }
            if let Some(task) = task {
                self.work_at(task, writer.permit.take());
                writer.permit = self.in_flight.take_permit();
            }
            if self.failures.borrow().should_try_storage() {
                self.yield_backlog(&mut writer);
                if let Some(exit) = self.try_storage() {
                    return self.liveness.exit(exit);
                }
            }
            if self.is_checkpoint_due() {
                // The checkpoint waits until the log has answered the batches of other writers.
                self.yield_backlog(&mut writer);
                self.checkpoint();
            }
            // A mailbox that is never empty would starve control messages. Not after every batch: a yield costs three system calls.
            if yielded.elapsed() >= YIELD_INTERVAL {
                tokio::task::yield_now().await;
                yielded = Instant::now();
            }
        }
    }

    /// Leaves the backlog to other writers, before long work that no reply waits for.
    fn yield_backlog(&self, writer: &mut WriterState) {
        writer.permit = None;
        self.env.mailbox.wake_for_backlog();
    }

    /// Waits until the commit log is due for a checkpoint.
    async fn checkpoint_due(&self) {
        match self.env.store.checkpoint_due() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            // A writer that appends to the log asks again after its batch.
            None => std::future::pending().await,
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        self.env.store.checkpoint_due().is_some_and(|at| at <= Instant::now())
    }

    /// Checkpoints the commit log. No reply waits for it.
    fn checkpoint(&self) {
        let _has_work = self.liveness.busy();
        match self.env.store.checkpoint(&|| self.liveness.progress()) {
            Ok(recovery) => {
                if recovery.restored_files > 0 {
                    let files = recovery.restored_files;
                    tracing::warn!(files, "files that the disk had lost were rewritten from the commit log");
                }
                for aside in recovery.aside {
                    let (path, reason) = (self.env.store.settings().layout.loggable(&aside.path), aside.reason);
                    tracing::error!(path = %path.display(), %reason, "acknowledged instance set aside below .tidegate/lost");
                }
            }
            Err(StoreError::Contended) => {
                tracing::debug!("checkpoint of the commit log postponed: an instance is in use")
            }
            Err(error) => tracing::error!(%error, "checkpoint of the commit log failed, its instances stay in the log"),
        }
    }

    /// Carries out a task. The supervisor may take the jobs and the permit away at any time before the answers.
    fn work_at(&self, task: WriterTask, permit: Option<LanePermit>) {
        let _busy = Busy::new(&self.env.gauges.counters);
        let _has_work = self.liveness.busy();
        match task {
            WriterTask::Jobs(jobs) => self.work_at_jobs(jobs, permit),
            WriterTask::Log(group, leader) => self.log(group, Some(leader)),
            WriterTask::Write(files) => files.write(&|| self.liveness.progress()),
            WriterTask::Discard(spool) => drop(spool),
            WriterTask::Nothing => {}
        }
        self.activity.set_jobs(0);
    }

    /// Works at a batch. The time that the disk takes for large jobs decides how many writers may take them.
    fn work_at_jobs(&self, jobs: Vec<Job>, permit: Option<LanePermit>) {
        let is_large = permit.as_ref().is_some_and(|permit| permit.lane() == Lane::Large);
        let (began, count, bytes) = (Instant::now(), jobs.len(), jobs.iter().map(Job::bytes).sum::<Option<u64>>());
        self.is_measured.set(true);
        self.begin(jobs, permit);
        // A fenced writer is late, and no longer one of the writers that the limit is about.
        if is_large && !self.liveness.is_fenced() {
            let bytes = bytes.filter(|_| self.is_measured.get());
            let took = began.elapsed();
            self.env.mailbox.note_large_batch(bytes.map(|bytes| MeasuredBatch { jobs: count, bytes, took }));
        }
    }

    fn begin(&self, mut jobs: Vec<Job>, permit: Option<LanePermit>) {
        self.activity.set_jobs(jobs.len());
        jobs.sort_by_key(|job| matches!(job, Job::Commit(_))); // the order of the answers
        let (mut parts, mut instances) = (Vec::new(), Vec::new());
        for job in &jobs {
            job.enter_at(self.index);
            match job {
                Job::Append(job) => parts.push(job.part.clone()),
                Job::Commit(job) => instances.push(job.store.clone()),
            }
        }
        if !self.in_flight.begin(jobs, permit) {
            return;
        }
        let fail = match fault::point(&self.name) {
            Some(Injected::Fail) => Some(StoreError::ReadOnly),
            Some(Injected::Hold(_)) | None => None,
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
        self.liveness.note(MessageKind::Commit);
        receipts::give(&instances, &self.env.store, &self.env.gauges.incidents);
        let begun = match fail {
            Some(error) => Err(error),
            None => self.env.store.begin(instances, &|| self.liveness.progress()),
        };
        match begun {
            // A leader must not wait for a member of its group, for example for a path that two instances share. So it leads only
            // batches that need nothing but the frame.
            Ok(commit) if commit.is_wholly_to_log() => self.join_group(commit, began),
            Ok(mut commit) => {
                self.in_flight.drop_permit_for(Lane::Small);
                self.write_log([&mut commit]);
                self.finish(commit, began);
            }
            Err(error) => (0..count).for_each(|_| self.answer(Outcome::Committed(Err(error.clone())))),
        }
    }

    /// Joins the group of the next frame. A follower leaves its jobs to the leader and writes its temp files meanwhile; a leader writes
    /// the frame.
    fn join_group(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        let jobs = self.in_flight.take_jobs();
        if jobs.is_empty() {
            return; // fenced: the jobs are retried elsewhere
        }
        let files = commit.files();
        match self.env.mailbox.join_group(PendingWrite { commit, jobs, writer: self.index, began }) {
            Some((group, leader)) => {
                drop(self.in_flight.take_permit()); // others write meanwhile
                files.into_iter().filter(Files::are_small).for_each(|files| self.env.mailbox.offload_files(files));
                self.log(group, leader);
            }
            None => {
                self.is_measured.set(false); // the leader waits for the disk
                files.into_iter().for_each(|files| files.write(&|| self.liveness.progress()));
            }
        }
    }

    /// Writes one frame for the group, gives the files their names, and answers every job.
    fn log(&self, group: Vec<PendingWrite>, leader: Option<WalLeader>) {
        let (mut jobs, mut commits) = (Vec::new(), Vec::new());
        for PendingWrite { commit, jobs: waiting, writer, began } in group {
            if writer != self.index {
                waiting.iter().for_each(|job| job.enter_at(self.index));
            }
            commits.push((commit, began));
            jobs.extend(waiting);
        }
        self.activity.set_jobs(jobs.len());
        if !self.in_flight.begin_group(jobs, leader) {
            return;
        }
        self.write_log(commits.iter_mut().map(|(commit, _)| commit));
        commits.into_iter().for_each(|(commit, began)| self.finish(commit, began));
        // Not earlier: batches that arrive meanwhile share the next frame.
        self.in_flight.resign_leader();
    }

    fn write_log<'c>(&self, commits: impl IntoIterator<Item = &'c mut Commit<Arc<StoreInstance>>>) {
        if let Err(error) = Commit::write_log(commits, &|| self.liveness.progress()) {
            tracing::error!(%error, "commit log failed, its instances are synced one by one or refused");
        }
    }

    /// Gives the files their names, and answers the next jobs in flight.
    fn finish(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        commit.finish(&|| self.liveness.progress(), &mut |outcome| {
            self.env.gauges.latencies.commit.record(began.elapsed());
            fault::point(&self.reply_name);
            self.answer(Outcome::Committed(outcome));
        });
    }

    fn append(&self, part: &SpoolPart) -> Result<Arc<OpenSpool>, StoreError> {
        self.liveness.note(MessageKind::Append);
        let spool = part.write(&self.env.store, self.env.mailbox.spool_closer())?;
        self.liveness.progress();
        Ok(spool)
    }

    /// Answers the next job in flight, unless the writer was fenced.
    fn answer(&self, outcome: Outcome) {
        self.is_measured.set(self.is_measured.get() && outcome.is_written());
        let error = match (self.in_flight.pop(), outcome) {
            (Some(Job::Append(AppendJob { part, reply })), Outcome::Appended(appended)) => {
                if let Ok(spool) = &appended {
                    part.set_written(spool);
                }
                send(reply, appended)
            }
            (Some(Job::Commit(CommitJob { store, reply, .. })), Outcome::Committed(stored)) => {
                if let Ok(stored) = &stored {
                    self.activity.stored(store.instance.dataset_bytes());
                    self.env.subscribers.tell(&Committed { origin: &store.origin, instance: &store.instance, stored });
                }
                drop(store); // the memory is free before the association has the answer
                send(reply, stored)
            }
            _ => return,
        };
        self.failures.borrow_mut().note(error);
    }

    /// Tests the storage with a write of its own. `Some`: the storage fails, and the writer ends.
    fn try_storage(&self) -> Option<Exit> {
        let _has_work = self.liveness.busy();
        let trial = match fault::point(&self.trial_name) {
            Some(Injected::Fail) => Err(StoreError::ReadOnly),
            Some(Injected::Hold(_)) | None => self.env.store.try_write(),
        };
        if trial.is_ok()
            && let Some(unlogged) = self.env.gauges.incidents.worth_a_line(Class::Refusal, "storage_trial", NO_PEER, ())
        {
            tracing::warn!(
                unlogged,
                "consecutive instances could not be stored, but the test of the storage succeeded"
            );
        }
        self.failures.borrow_mut().verdict(&trial)
    }
}

/// Sends the outcome, and returns its error. If the association has ended, the outcome is dropped: an instance stays stored, a spool
/// file is removed.
fn send<T>(reply: oneshot::Sender<Result<T, StoreError>>, outcome: Result<T, StoreError>) -> Option<StoreError> {
    let error = outcome.as_ref().err().cloned();
    let _ = reply.send(outcome);
    error
}

/// Counts a writer as busy until the guard is dropped, by a panic too.
struct Busy<'a> {
    counters: &'a Counters,
    began: Instant,
}

impl<'a> Busy<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.writers_busy.increment();
        Self { counters, began: Instant::now() }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.counters.writers_busy.subtract(1);
        self.counters.writers_busy_us.add(self.began.elapsed().as_micros() as u64);
    }
}
