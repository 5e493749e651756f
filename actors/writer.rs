//! A writer makes instances durable: it takes jobs from the mailbox, a batch at a time, commits them, and answers each.
//!
//! It runs on an Arbiter thread of its own, because a commit blocks. If it panics, the replies it owed are dropped, which
//! tells the associations to hand their datasets to another, and the supervisor hears of its [`Exit`].

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, WrapFuture};
use tidegate_memory::{MemoryLease, Place, Stage};
use tidegate_storage::Store;
use tracing::error;

use crate::mailbox::{AppendJob, CommitJob, Job, SpoolTarget};
use crate::node::Shared;
use crate::statistics::Counter;
use crate::supervisor::WriterExited;

/// See the module.
#[derive(Debug)]
pub struct Writer {
    index: usize,
    store: Arc<Store>,
    shared: Arc<Shared>,
    batch: usize,
    supervisor: Recipient<WriterExited>,
}

impl Writer {
    /// Writer number `index`, committing at most `batch` instances together.
    pub fn new(
        index: usize,
        store: Arc<Store>,
        shared: Arc<Shared>,
        batch: usize,
        supervisor: Recipient<WriterExited>,
    ) -> Self {
        Self { index, store, shared, batch, supervisor }
    }
}

impl Actor for Writer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let notice = ExitNotice { index: self.index, supervisor: self.supervisor.clone() };
        let work = work(self.store.clone(), self.shared.clone(), self.batch, notice);
        ctx.spawn(work.into_actor(self).map(|(), _, ctx| actix::ActorContext::stop(ctx)));
    }
}

/// Tells the supervisor when it is dropped: on every way a writer can end, a panic included.
struct ExitNotice {
    index: usize,
    supervisor: Recipient<WriterExited>,
}

impl Drop for ExitNotice {
    fn drop(&mut self) {
        let exited = WriterExited { index: self.index, panicked: std::thread::panicking() };
        if self.supervisor.try_send(exited).is_err() && std::thread::panicking() {
            error!(writer = self.index, "writer died and the supervisor did not take the notice");
        }
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

async fn work(store: Arc<Store>, shared: Arc<Shared>, batch: usize, notice: ExitNotice) {
    let writer = notice.index as u32;
    let mut jobs = Vec::with_capacity(batch);
    loop {
        shared.mailbox.take(batch, &mut jobs).await;
        let busy = Busy::new(&shared.statistics.writers_busy);
        let mut commits = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Commit(job) => commits.push(job),
                Job::Append(job) => append(&store, job, writer),
            }
        }
        commit(&store, commits, writer);
        drop(busy);
        // A mailbox that is never empty would otherwise keep control messages out.
        tokio::task::yield_now().await;
    }
}

fn commit(store: &Store, jobs: Vec<CommitJob>, writer: u32) {
    if jobs.is_empty() {
        return;
    }
    for job in &jobs {
        enter(&job.store.leases, Stage::Writing, writer);
    }
    let instances: Vec<_> = jobs.iter().map(|job| &job.store.instance).collect();
    let outcomes = store.commit(&instances);
    for (job, outcome) in jobs.into_iter().zip(outcomes) {
        // Our share of the dataset goes first, so that its memory is free when the association gets the answer.
        let CommitJob { store, reply } = job;
        drop(store);
        let _ = reply.send(outcome); // the association may be gone: the instance is stored all the same
    }
}

fn append(store: &Store, job: AppendJob, writer: u32) {
    let AppendJob { spool, slices, leases, reply } = job;
    enter(&leases, Stage::Spooling, writer);
    let spool = match spool {
        SpoolTarget::New(meta) => store.spool(&meta),
        SpoolTarget::Open(spool) => Ok(spool),
    };
    let appended = spool.and_then(|mut spool| spool.append(&slices).map(|()| spool));
    drop((slices, leases));
    let _ = reply.send(appended); // the association may be gone: the spool file goes with it
}

fn enter(leases: &[Arc<MemoryLease>], stage: Stage, writer: u32) {
    for lease in leases {
        lease.enter_at(stage, Place::Writer { index: writer });
    }
}
