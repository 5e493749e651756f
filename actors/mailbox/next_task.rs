//! The next task of a writer, and its sleep while there is none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::idle::Number;
use super::queue::Lane;
use super::scheduler::{LanePermit, State, WalLeader, Workload, WriterScheduler};

/// The state of a writer between two batches.
#[derive(Debug)]
pub(crate) struct WriterState<W: Workload> {
    /// Its permit, if it has taken small instances.
    pub(crate) permit: Option<LanePermit<W>>,
    /// The permit of the lane that it has just changed from.
    old_permit: Option<LanePermit<W>>,
    /// Whether its last batch was of small instances. It then prefers the large lane, for whose jobs no other writer was free.
    took_small: bool,
}

/// A task that the scheduler gives to a writer.
#[derive(Debug)]
pub(crate) enum Task<W: Workload> {
    /// The first job of a batch.
    First(Lane, W::QueuedJob),
    Log(Vec<W::PendingWrite>, WalLeader<W>),
    Files(W::Files),
    Discard(W::Discard),
    /// No task: another writer has taken the work, or the writer was woken to look at its timer.
    Nothing,
}

/// The wait of a writer for a task. Cancel-safe: a dropped wait has taken nothing.
#[derive(Debug)]
pub(crate) struct NextTask<'a, W: Workload> {
    scheduler: &'a Arc<WriterScheduler<W>>,
    writer: &'a mut WriterState<W>,
    /// The writer's number among the idle writers, while it is one of them.
    number: Option<Number>,
}

impl<W: Workload> WriterScheduler<W> {
    /// Waits for a task.
    pub(crate) fn next_task<'a>(self: &'a Arc<Self>, writer: &'a mut WriterState<W>) -> NextTask<'a, W> {
        NextTask { scheduler: self, writer, number: None }
    }

    fn try_next(self: &Arc<Self>, state: &mut State<W>, writer: &mut WriterState<W>) -> Option<Task<W>> {
        if let Some(files) = state.files.pop() {
            return Some(Task::Files(files));
        }
        if let Some((pending, leader)) = self.try_lead(state) {
            return Some(Task::Log(pending, leader));
        }
        // Before jobs, which may never end: the disk gets the space back at once.
        if let Some(discard) = state.discards.pop() {
            return Some(Task::Discard(discard));
        }
        let lanes = match writer.took_small {
            true => [Lane::Large, Lane::Small],
            false => [Lane::Small, Lane::Large],
        };
        lanes.into_iter().find_map(|lane| {
            if writer.permit.as_ref().is_none_or(|permit| permit.lane() != lane) {
                if !self.permits_another(state, lane) {
                    return None;
                }
                writer.old_permit = writer.permit.replace(state.permit(self, lane));
            }
            let first = self.lane(lane).take()?;
            writer.took_small = lane == Lane::Small;
            Some(Task::First(lane, first))
        })
    }
}

impl<W: Workload> Default for WriterState<W> {
    fn default() -> Self {
        Self { permit: None, old_permit: None, took_small: false }
    }
}

impl<W: Workload> Future for NextTask<'_, W> {
    type Output = Task<W>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { scheduler, writer, number } = self.get_mut();
        let mut state = scheduler.state.lock();
        let woken = number.take().and_then(|number| state.idle.remove(number));
        let was_woken = woken.is_some();
        if let Some(permit) = woken {
            writer.took_small = permit.as_ref().is_some_and(|permit| permit.lane() == Lane::Large);
            writer.permit = permit;
        }
        if let Some(task) = scheduler.try_next(&mut state, writer) {
            drop(state);
            writer.old_permit = None; // another writer may come for what this one has left
            return Poll::Ready(task);
        }
        state.return_permit(writer.permit.take());
        if was_woken {
            return Poll::Ready(Task::Nothing);
        }
        *number = Some(state.idle.sleep(context.waker().clone()));
        Poll::Pending
    }
}

impl<W: Workload> Drop for NextTask<'_, W> {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let woken = {
            let mut state = self.scheduler.state.lock();
            state.idle.remove(number).map(|permit| state.return_permit(permit))
        };
        if woken.is_some() {
            self.scheduler.wake_for_backlog(); // another writer must take the work that this one was woken for
        }
    }
}
