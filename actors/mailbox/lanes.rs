//! What waits for writers, and the writers that wait for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, MutexGuard, RwLock};
use rustix::thread::sched_getcpu;
use tidegate_storage::Files;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::hand::ToLog;
use crate::job::{Job, Lane, StoreInstance};

/// Small instances that wait before one more writer is called to them.
pub(super) const BACKLOG: usize = 16;

/// Batches that wait for the next write of the commit log. Beyond, a writer does not leave its own there.
pub(crate) const MAX_TO_LOG: usize = 4;

/// All that waits.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) small: Queue,
    pub(super) large: Queue,
    /// Locked by whoever takes something, and by whoever has put it there.
    line: Mutex<Line>,
}

/// The jobs of one lane.
#[derive(Debug)]
pub(super) struct Queue {
    /// Replaced by a longer one when the capacity outgrows it; locked for as long as a job goes in or out.
    channel: RwLock<Channel>,
}

#[derive(Debug)]
struct Channel {
    sender: Sender<Waiting>,
    receiver: Receiver<Waiting>,
}

/// A job in a queue.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) job: Job,
    pub(super) place: OwnedSemaphorePermit,
    pub(super) since: Instant,
}

/// The writers without work, and what is not for more than so many at a time.
#[derive(Debug, Default)]
struct Line {
    /// In the order they came.
    asleep: Vec<Asleep>,
    /// Woken, but not there yet, perhaps with a seat.
    woken: Vec<(Number, Option<Seat>)>,
    last_number: u64,
    seats_taken: usize,
    to_log: Vec<ToLog>,
    is_logging: bool,
    /// To be written by writers that were woken for it.
    files: Vec<Files<Arc<StoreInstance>>>,
}

/// A writer that waits.
#[derive(Debug)]
struct Asleep {
    number: Number,
    waker: Waker,
    /// The processor it went to sleep on, and which it wakes on unless another is free.
    core: usize,
}

/// Tells one wait from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number(u64);

/// The right to take small instances, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Option<Arc<Lanes>>);

/// The right to write the commit log, until it is dropped.
#[derive(Debug)]
pub(crate) struct Logging(Arc<Lanes>);

/// Where a writer stands between one batch and the next.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// What it has if it took small ones.
    pub(crate) seat: Option<Seat>,
    /// Its last batch was of small ones. A large one that waits now is one that nobody else is free for.
    took_small: bool,
}

/// What a writer has claimed.
#[derive(Debug)]
pub(super) enum Claimed {
    First(Lane, Waiting),
    ToLog(Vec<ToLog>, Logging),
    Files(Files<Arc<StoreInstance>>),
}

/// A writer that waits for something to do, and has taken nothing when it stops waiting.
pub(super) struct Claim<'a> {
    lanes: &'a Arc<Lanes>,
    turn: &'a mut Turn,
    /// While it stands in the line.
    number: Option<Number>,
}

impl Channel {
    fn new(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }
}

impl Queue {
    fn new(capacity: usize) -> Self {
        Self { channel: RwLock::new(Channel::new(capacity)) }
    }

    pub(super) fn depth(&self) -> usize {
        self.channel.read().receiver.len()
    }

    pub(super) fn make_room(&self, capacity: usize) {
        let mut channel = self.channel.write();
        if channel.sender.capacity().is_some_and(|room| room < capacity) {
            let longer = Channel::new(capacity);
            for job in channel.receiver.try_iter() {
                let _ = longer.sender.try_send(job); // there is room for all of them
            }
            *channel = longer;
        }
    }

    /// Whether there was room: there is, for who has a place.
    pub(super) fn put(&self, waiting: Waiting) -> bool {
        // It cannot be closed: both ends live in self.
        self.channel.read().sender.try_send(waiting).is_ok()
    }

    pub(super) fn take(&self) -> Option<Waiting> {
        self.channel.read().receiver.try_recv().ok()
    }
}

impl Lanes {
    pub(super) fn new(capacity: usize) -> Self {
        Self { small: Queue::new(capacity), large: Queue::new(capacity), line: Mutex::default() }
    }

    pub(super) fn of(&self, lane: Lane) -> &Queue {
        match lane {
            Lane::Small => &self.small,
            Lane::Large => &self.large,
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.small.depth() + self.large.depth()
    }

    /// Has a writer come for a job that was put into the lane, unless one that is awake will take it.
    pub(super) fn call(self: &Arc<Self>, lane: Lane) {
        self.call_from(self.line.lock(), lane);
    }

    /// Has writers come for whatever waits: some that were to see to it will not.
    pub(super) fn call_again(self: &Arc<Self>) {
        if self.small.depth() > 0 {
            self.call(Lane::Small);
        }
        let line = self.line.lock();
        if self.large.depth() > 0 || (!line.is_logging && !line.to_log.is_empty()) {
            self.call_from(line, Lane::Large);
        }
    }

    fn call_from(self: &Arc<Self>, mut line: MutexGuard<'_, Line>, lane: Lane) {
        if lane == Lane::Small && !self.has_seat(&line) {
            return;
        }
        if let Some(Asleep { number, waker, .. }) = line.next(lane) {
            let seat = (lane == Lane::Small).then(|| line.seat(self));
            line.woken.push((number, seat));
            drop(line);
            waker.wake();
        }
    }

    /// Whether so many small instances wait that one more writer should see to them.
    fn has_seat(&self, line: &Line) -> bool {
        self.small.depth() > line.seats_taken * BACKLOG
    }

    /// Waits for something to do.
    pub(super) fn claim<'a>(self: &'a Arc<Self>, turn: &'a mut Turn) -> Claim<'a> {
        Claim { lanes: self, turn, number: None }
    }

    fn try_claim(self: &Arc<Self>, line: &mut Line, turn: &mut Turn) -> Option<Claimed> {
        if let Some(files) = line.files.pop() {
            return Some(Claimed::Files(files));
        }
        if let Some((to_log, logging)) = self.try_log(line) {
            return Some(Claimed::ToLog(to_log, logging));
        }
        let lanes = match turn.took_small {
            true => [Lane::Large, Lane::Small],
            false => [Lane::Small, Lane::Large],
        };
        lanes.into_iter().find_map(|lane| {
            if lane == Lane::Small && turn.seat.is_none() {
                if !self.has_seat(line) {
                    return None;
                }
                turn.seat = Some(line.seat(self));
            }
            let first = self.of(lane).take()?;
            turn.took_small = lane == Lane::Small;
            Some(Claimed::First(lane, first))
        })
    }

    /// What is to be written to the commit log, if nobody is at it.
    fn try_log(self: &Arc<Self>, line: &mut Line) -> Option<(Vec<ToLog>, Logging)> {
        if line.is_logging || line.to_log.is_empty() {
            return None;
        }
        line.is_logging = true;
        Some((std::mem::take(&mut line.to_log), Logging(Arc::clone(self))))
    }

    /// Leaves a batch to the next write of the log. `Some`: it is for the one who asks to do that, for all that was left; or, without
    /// [`Logging`], to see to its own, because there is no more room.
    pub(super) fn leave(self: &Arc<Self>, to_log: ToLog) -> Option<(Vec<ToLog>, Option<Logging>)> {
        let mut line = self.line.lock();
        if line.is_logging && line.to_log.len() >= MAX_TO_LOG {
            return Some((vec![to_log], None));
        }
        line.to_log.push(to_log);
        self.try_log(&mut line).map(|(to_log, logging)| (to_log, Some(logging)))
    }

    /// Has a writer that would sleep write `files`, if there is one.
    pub(super) fn offer(self: &Arc<Self>, files: Files<Arc<StoreInstance>>) {
        let mut line = self.line.lock();
        if !line.asleep.is_empty() {
            line.files.push(files);
            self.call_from(line, Lane::Large);
        }
    }
}

impl Line {
    fn seat(&mut self, lanes: &Arc<Lanes>) -> Seat {
        self.seats_taken += 1;
        Seat(Some(Arc::clone(lanes)))
    }

    fn take_back(&mut self, seat: Option<Seat>) {
        if let Some(mut seat) = seat {
            self.seats_taken -= 1;
            seat.0 = None;
        }
    }

    /// The writer to be woken for a job of the lane: the last that came. For a large one rather the last that went to sleep on this
    /// core, whose caches have the job, and which need not interrupt another. A small one is better off on a core that waits for the
    /// disk.
    fn next(&mut self, lane: Lane) -> Option<Asleep> {
        let near = match lane {
            Lane::Large => self.asleep_on(sched_getcpu()),
            Lane::Small => None,
        };
        Some(self.asleep.remove(near.or(self.asleep.len().checked_sub(1))?))
    }

    fn asleep_on(&self, core: usize) -> Option<usize> {
        self.asleep.iter().rposition(|asleep| asleep.core == core)
    }

    fn sleep(&mut self, waker: Waker) -> Number {
        self.last_number += 1;
        let number = Number(self.last_number);
        self.asleep.push(Asleep { number, waker, core: sched_getcpu() });
        number
    }

    /// Takes the writer out of the line. `Some`: it was woken, perhaps with a seat.
    fn leave(&mut self, number: Number) -> Option<Option<Seat>> {
        self.asleep.retain(|asleep| asleep.number != number);
        let woken = self.woken.iter().position(|(other, _)| *other == number)?;
        Some(self.woken.swap_remove(woken).1)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(lanes) = self.0.take() {
            let mut line = lanes.line.lock();
            line.seats_taken -= 1;
            lanes.call_from(line, Lane::Small);
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        // Nobody is called: whoever had it comes back at once, or has died, which calls all.
        self.0.line.lock().is_logging = false;
    }
}

impl Future for Claim<'_> {
    type Output = Claimed;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { lanes, turn, number } = self.get_mut();
        let mut line = lanes.line.lock();
        if let Some(number) = number.take()
            && let Some(seat) = line.leave(number)
        {
            turn.seat = seat;
        }
        if let Some(claimed) = lanes.try_claim(&mut line, turn) {
            return Poll::Ready(claimed);
        }
        line.take_back(turn.seat.take());
        *number = Some(line.sleep(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let woken = {
            let mut line = self.lanes.line.lock();
            line.leave(number).map(|seat| line.take_back(seat))
        };
        if woken.is_some() {
            self.lanes.call_again(); // another has to come for what this one was woken for
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writer_is_woken_or_for_a_large_job_the_last_on_this_core() {
        let asleep = |number, core| Asleep { number: Number(number), waker: Waker::noop().clone(), core };
        let waiting = [(1, 0), (2, 1), (3, 1), (4, 0)].map(|(number, core)| asleep(number, core));
        let mut line = Line { asleep: waiting.into(), ..Line::default() };
        assert_eq!([0, 1, 7].map(|core| line.asleep_on(core)), [Some(3), Some(2), None]);
        let last = |line: &mut Line, lane| line.next(lane).map(|asleep| asleep.number.0);
        assert_eq!(last(&mut line, Lane::Small), Some(4));
        // None of these can be this core.
        line.asleep.iter_mut().for_each(|asleep| asleep.core = usize::MAX);
        assert_eq!([(); 4].map(|()| last(&mut line, Lane::Large)), [Some(3), Some(2), Some(1), None]);
    }
}
