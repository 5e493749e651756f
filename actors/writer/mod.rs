//! A writer makes instances durable: it takes jobs from the mailbox, a batch at a time, commits them, and answers each.
//!
//! It runs on a thread of its own, because a commit blocks. What it works at is in its [`InFlight`], which the supervisor can take away:
//! whatever the writer still does has no effect then.

mod failures;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_storage::{Commit, Files, Store, StoreError, Stored};
use tokio::sync::oneshot;

use self::failures::Failures;
use crate::committed::{Committed, Sinks};
use crate::fault::{self, Injected};
use crate::gauges::Gauges;
use crate::gauges::activity::WriterActivity;
use crate::gauges::counters::Counter;
use crate::gauges::incidents::Class;
use crate::mailbox::job::{AppendJob, CommitJob, Job, PendingWrite, SpoolPart, StoreInstance, work_of};
use crate::mailbox::open_spool::OpenSpool;
use crate::mailbox::{InFlight, SmallBatchPermit, WalLeader, WriterMailbox, WriterState, WriterTask};
use crate::node::live::Live;
use crate::supervision::exit::Exit;
use crate::supervision::liveness::{Liveness, MessageKind};

/// For so long a writer that always finds work lets nothing else onto its thread.
const YIELD_INTERVAL: Duration = Duration::from_millis(20);

/// Stands for all peers where log lines are limited to one per peer.
const NO_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What a writer gets of the node.
#[derive(Clone)]
pub(crate) struct Env {
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) sinks: Sinks,
}

/// See the module. A writer is dropped by its end, a panic, or the end of its thread.
pub(crate) struct Writer {
    index: u32,
    activity: Arc<WriterActivity>,
    name: String,
    /// As the fault port knows the moment between commit and answer.
    reply_name: String,
    /// As it knows the trial of a storage that has failed.
    trial_name: String,
    store: Store,
    env: Env,
    in_flight: Arc<InFlight>,
    failures: RefCell<Failures>,
    /// Dropped last: when the supervisor hears of the end, all else is known.
    liveness: Liveness,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.liveness.held(work_of(&self.in_flight.drain()));
    }
}

/// What came of a job.
enum Outcome {
    Appended(Result<Arc<OpenSpool>, StoreError>),
    Committed(Result<Stored, StoreError>),
}

impl Writer {
    pub(crate) fn new(index: u32, store: Store, env: Env, in_flight: Arc<InFlight>, liveness: Liveness) -> Self {
        Self {
            index,
            activity: env.gauges.writers.start(index),
            name: format!("writer-{index}"),
            reply_name: format!("reply-{index}"),
            trial_name: format!("trial-{index}"),
            store,
            env,
            in_flight,
            failures: RefCell::default(),
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
                // What waits is stored before a writer stops.
                () = self.liveness.stop_requested() => return self.liveness.finish(),
                // Nobody else has: the others are asleep, or at a commit.
                () = self.checkpoint_due() => None,
            };
            if self.liveness.is_fenced() {
                return; // the jobs go to another, as if this one had died over them
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
                // A checkpoint waits for what others have left for the log.
                self.yield_backlog(&mut writer);
                self.checkpoint();
            }
            // A mailbox that is never empty would otherwise keep control messages out. Not after every batch: it is three system calls.
            if yielded.elapsed() >= YIELD_INTERVAL {
                tokio::task::yield_now().await;
                yielded = Instant::now();
            }
        }
    }

    /// Leaves what waits to other writers, before something that takes a while and that no answer waits for.
    fn yield_backlog(&self, writer: &mut WriterState) {
        writer.permit = None;
        self.env.mailbox.wake_for_backlog();
    }

    /// Waits until the commit log is due for a checkpoint.
    async fn checkpoint_due(&self) {
        match self.store.checkpoint_due() {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            // Whoever changes that comes here afterwards.
            None => std::future::pending().await,
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        self.store.checkpoint_due().is_some_and(|at| at <= Instant::now())
    }

    /// Checkpoints the commit log, which no answer waits for.
    fn checkpoint(&self) {
        let _has_work = self.liveness.busy();
        match self.store.checkpoint(&|| self.liveness.progress()) {
            Ok(recovery) => {
                if recovery.restored_files > 0 {
                    let files = recovery.restored_files;
                    tracing::warn!(files, "files that the disk had lost were rewritten from the commit log");
                }
                for aside in recovery.aside {
                    let (path, reason) = (self.store.settings().layout.loggable(&aside.path), aside.reason);
                    tracing::error!(path = %path.display(), %reason, "acknowledged instance set aside below .tidegate/lost");
                }
            }
            Err(StoreError::Contended) => {
                tracing::debug!("checkpoint of the commit log postponed: an instance is in use")
            }
            Err(error) => tracing::error!(%error, "checkpoint of the commit log failed, its instances stay in the log"),
        }
    }

    /// Does the task. Between the moment it has the jobs and the moment it answers, they and the permit may be taken away from it.
    fn work_at(&self, task: WriterTask, permit: Option<SmallBatchPermit>) {
        let _busy = Busy::new(&self.env.gauges.counters.writers_busy);
        let _has_work = self.liveness.busy();
        match task {
            WriterTask::Jobs(jobs) => self.begin(jobs, permit),
            WriterTask::Log(group, leader) => self.log(group, Some(leader)),
            WriterTask::Write(files) => files.write(&|| self.liveness.progress()),
            WriterTask::Discard(spool) => drop(spool),
            WriterTask::Nothing => {}
        }
        self.activity.set_jobs(0);
    }

    fn begin(&self, mut jobs: Vec<Job>, permit: Option<SmallBatchPermit>) {
        self.activity.set_jobs(jobs.len());
        jobs.sort_by_key(|job| matches!(job, Job::Commit(_))); // as they will be answered
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
        let begun = match fail {
            Some(error) => Err(error),
            None => self.store.begin(instances, &|| self.liveness.progress()),
        };
        match begun {
            // Whoever writes the log for others must not wait for one of them: for a name that two instances have, say.
            Ok(commit) if commit.is_wholly_to_log() => self.join_group(commit, began),
            Ok(mut commit) => {
                drop(self.in_flight.take_permit());
                self.write_log([&mut commit]);
                self.finish(commit, began);
            }
            Err(error) => (0..count).for_each(|_| self.answer(Outcome::Committed(Err(error.clone())))),
        }
    }

    /// Leaves what goes through the log to the next write of that, and writes its files meanwhile; or does that write.
    fn join_group(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        let jobs = self.in_flight.take_jobs();
        if jobs.is_empty() {
            return; // taken away: others have them
        }
        let files = commit.files();
        match self.env.mailbox.join_group(PendingWrite { commit, jobs, writer: self.index, began }) {
            Some((group, leader)) => {
                drop(self.in_flight.take_permit()); // others write meanwhile
                files.into_iter().filter(Files::are_small).for_each(|files| self.env.mailbox.offload_files(files));
                self.log(group, leader);
            }
            None => files.into_iter().for_each(|files| files.write(&|| self.liveness.progress())),
        }
    }

    /// Writes the commit log, gives the instances their names and answers for them.
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
        // Not before: the more instances come meanwhile, the more the next write serves.
        self.in_flight.resign_leader();
    }

    fn write_log<'c>(&self, commits: impl IntoIterator<Item = &'c mut Commit<Arc<StoreInstance>>>) {
        if let Err(error) = Commit::write_log(commits, &|| self.liveness.progress()) {
            tracing::error!(%error, "commit log failed, its instances are synced one by one or refused");
        }
    }

    /// Gives the instances their names, and answers for the next jobs in flight.
    fn finish(&self, commit: Commit<Arc<StoreInstance>>, began: Instant) {
        commit.finish(&|| self.liveness.progress(), &mut |outcome| {
            self.env.gauges.latencies.commit.record(began.elapsed());
            fault::point(&self.reply_name);
            self.answer(Outcome::Committed(outcome));
        });
    }

    fn append(&self, part: &SpoolPart) -> Result<Arc<OpenSpool>, StoreError> {
        self.liveness.note(MessageKind::Append);
        let spool = part.write(&self.store, self.env.mailbox.spool_closer())?;
        self.liveness.progress();
        Ok(spool)
    }

    /// Answers for the next job in flight, unless it was taken away.
    fn answer(&self, outcome: Outcome) {
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
                    self.env.sinks.tell(&Committed { origin: &store.origin, instance: &store.instance, stored });
                }
                drop(store); // its memory is free when the association gets the answer
                send(reply, stored)
            }
            _ => return,
        };
        self.failures.borrow_mut().note(error);
    }

    /// Writes to the storage on no instance's behalf. `Some`: it fails.
    fn try_storage(&self) -> Option<Exit> {
        let _has_work = self.liveness.busy();
        let trial = match fault::point(&self.trial_name) {
            Some(Injected::Fail) => Err(StoreError::ReadOnly),
            Some(Injected::Hold(_)) | None => self.store.try_write(),
        };
        if trial.is_ok()
            && let Some(unlogged) = self.env.gauges.incidents.worth_a_line(Class::Refusal, "storage_trial", NO_PEER)
        {
            tracing::warn!(
                unlogged,
                "consecutive instances could not be stored, but the test of the storage succeeded"
            );
        }
        self.failures.borrow_mut().verdict(&trial)
    }
}

/// Answers, and tells of an error. An association that is gone does not hear it: an instance is stored all the same, a spool
/// file goes.
fn send<T>(reply: oneshot::Sender<Result<T, StoreError>>, outcome: Result<T, StoreError>) -> Option<StoreError> {
    let error = outcome.as_ref().err().cloned();
    let _ = reply.send(outcome);
    error
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
