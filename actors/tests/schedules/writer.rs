//! The life of a writer, step by step as `actors/writer.rs` and `WriterMailbox::take` have it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::job::Job;
use crate::mailbox::next_task::{Task, WriterState};
use crate::mailbox::queue::Lane;
use crate::mailbox::scheduler::{LanePermit, WalLeader};
use crate::model::{Model, Modelled, Phase, Writer};

/// Jobs of a batch, at most.
const BATCH: usize = 3;

/// The thread has died, with everything that it held.
#[derive(Debug)]
struct Died;

enum Next {
    Task(Task<Modelled>),
    Stop,
    Timer,
    Died,
}

pub(crate) fn live(model: &Model, writer: &Arc<Writer>) {
    let _ = run(model, writer);
    drop(writer.in_flight.drain());
    writer.change(|status| status.has_ended = true);
    model.notify();
}

fn run(model: &Model, writer: &Arc<Writer>) -> Result<(), Died> {
    let mut state = WriterState::default();
    while !writer.is_fenced() {
        let next = wait(model, writer, &mut state);
        if writer.is_fenced() {
            return Ok(());
        }
        match next {
            Next::Stop => return Ok(()),
            Next::Died => return Err(Died),
            Next::Timer => {}
            Next::Task(task) => {
                writer.change(|status| status.is_busy = true);
                work_at(model, writer, task, &mut state)?;
                writer.change(|status| status.is_busy = false);
                state.permit = writer.in_flight.take_permit();
            }
        }
        if model.is_checkpoint_due() && thread_rng().gen_bool(0.5) {
            state.permit = None;
            model.scheduler.wake_for_backlog();
            checkpoint(model, writer)?;
        }
    }
    Ok(())
}

/// Waits as `select!` does over a task, the wish to stop and the timer, which is set once.
fn wait(model: &Model, writer: &Arc<Writer>, state: &mut WriterState<Modelled>) -> Next {
    let waker = writer.waker();
    let mut task = pin!(model.scheduler.next_task(state));
    let mut timer = None;
    loop {
        writer.status.lock().is_woken = false;
        if let Poll::Ready(task) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Next::Task(task);
        }
        let has_timer = *timer.get_or_insert_with(|| model.is_checkpoint_due());
        let mut status = writer.status.lock();
        status.has_timer = has_timer;
        while !(status.is_woken || status.is_asked_to_stop || status.is_timer_fired) {
            status.is_asleep = true;
            drop(status);
            model.notify();
            status = writer.status.lock();
            if !(status.is_woken || status.is_asked_to_stop || status.is_timer_fired) {
                status = writer.changed.wait(status).unwrap();
            }
        }
        status.is_asleep = false;
        if !status.is_asked_to_stop && model.has_trouble(writer) {
            return Next::Died; // perhaps woken for something
        }
        let is_timer_fired = std::mem::take(&mut status.is_timer_fired);
        if status.is_woken {
            continue;
        }
        return if status.is_asked_to_stop {
            Next::Stop
        } else {
            assert!(is_timer_fired);
            Next::Timer
        };
    }
}

/// A step in the storage: each failure of a writer happens at one.
fn step(model: &Model, writer: &Writer) -> Result<(), Died> {
    thread::yield_now();
    model.check_promptness();
    if !model.has_trouble(writer) {
        return Ok(());
    }
    let is_late = match thread_rng().gen_range(0..3) {
        0 => return Err(Died),
        1 => true,
        _ => false,
    };
    writer.change(|status| status.is_hung = true);
    model.notify();
    model.wait_until(|phase| phase == Phase::Over || (is_late && writer.is_fenced()));
    writer.change(|status| status.is_hung = false);
    Ok(())
}

fn work_at(
    model: &Model,
    writer: &Writer,
    task: Task<Modelled>,
    state: &mut WriterState<Modelled>,
) -> Result<(), Died> {
    let scheduler = &model.scheduler;
    let (lane, first) = match task {
        Task::First(lane, first) => (lane, first),
        other => {
            state.permit = None;
            return match other {
                Task::Log(group, leader) => log(model, writer, group, Some(leader)),
                Task::Files(files) => {
                    let _files = files;
                    step(model, writer)
                }
                Task::Discard(spool) => {
                    thread::yield_now();
                    drop(spool);
                    Ok(())
                }
                Task::First(..) | Task::Nothing => Ok(()),
            };
        }
    };
    let share = match lane {
        Lane::Small => scheduler.small.depth(),
        Lane::Large => {
            state.permit = None;
            scheduler.large.depth() / model.scenario.writers
        }
    };
    let most = thread_rng().gen_range(1..=BATCH);
    let more = std::iter::from_fn(|| scheduler.lane(lane).take()).take(share.min(most - 1));
    let jobs = std::iter::once(first).chain(more).collect();
    begin(model, writer, lane, jobs, state.permit.take())
}

fn begin(
    model: &Model,
    writer: &Writer,
    lane: Lane,
    jobs: Vec<Job>,
    permit: Option<LanePermit<Modelled>>,
) -> Result<(), Died> {
    let count = jobs.len();
    if !writer.in_flight.begin(jobs, permit) {
        return Ok(());
    }
    step(model, writer)?;
    if lane == Lane::Small && thread_rng().gen_bool(0.8) {
        return join_group(model, writer);
    }
    drop(writer.in_flight.take_permit());
    finish(model, writer, count)
}

fn join_group(model: &Model, writer: &Writer) -> Result<(), Died> {
    let jobs = writer.in_flight.take_jobs();
    if jobs.is_empty() {
        return Ok(());
    }
    match model.scheduler.join_group(jobs) {
        Some((group, leader)) => {
            drop(writer.in_flight.take_permit());
            model.scheduler.offload_files(model.files());
            log(model, writer, group, leader)
        }
        None => step(model, writer),
    }
}

fn log(model: &Model, writer: &Writer, group: Vec<Vec<Job>>, leader: Option<WalLeader<Modelled>>) -> Result<(), Died> {
    let jobs: Vec<_> = group.into_iter().flatten().collect();
    let count = jobs.len();
    if !writer.in_flight.begin_group(jobs, leader) {
        return Ok(());
    }
    step(model, writer)?;
    model.log.lock().is_due = true;
    finish(model, writer, count)?;
    writer.in_flight.resign_leader();
    Ok(())
}

/// Answers for the jobs in flight, one after the other, unless they were taken away.
fn finish(model: &Model, writer: &Writer, count: usize) -> Result<(), Died> {
    for _ in 0..count {
        step(model, writer)?;
        if let Some(job) = writer.in_flight.pop() {
            job.reply.answer();
        }
    }
    Ok(())
}

fn checkpoint(model: &Model, writer: &Writer) -> Result<(), Died> {
    /// Held by the one that checkpoints.
    struct Checkpointing<'a>(&'a Model);
    impl Drop for Checkpointing<'_> {
        fn drop(&mut self) {
            self.0.log.lock().is_checkpointing = false;
        }
    }
    if std::mem::replace(&mut model.log.lock().is_checkpointing, true) {
        return Ok(());
    }
    let _alone = Checkpointing(model);
    writer.change(|status| status.is_busy = true);
    if model.is_without_trouble() && thread_rng().gen_bool(0.5) {
        model.wait_until(|phase| phase > Phase::Running); // what waits must not wait for this
    }
    step(model, writer)?;
    writer.change(|status| status.is_busy = false);
    model.log.lock().is_due = false;
    Ok(())
}
