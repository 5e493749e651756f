//! The stack of idle writers: wake-ups are LIFO.

use std::task::Waker;

use super::queue::Lane;
use crate::sync::current_core;

/// Writers that wait for work. `P` is the permit that a writer may be given with its wake-up.
#[derive(Debug)]
pub(super) struct IdleWriters<P> {
    /// In the order of their arrival.
    asleep: Vec<Asleep>,
    /// Woken, and not yet polled.
    woken: Vec<(Number, Option<P>)>,
    last_number: u64,
}

/// A waiting writer.
#[derive(Debug)]
pub(super) struct Asleep {
    pub(super) number: Number,
    pub(super) waker: Waker,
    /// The core it went to sleep on, and wakes up on unless another core is free.
    core: usize,
}

/// Identifies one wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(u64);

impl<P> Default for IdleWriters<P> {
    fn default() -> Self {
        Self { asleep: Vec::new(), woken: Vec::new(), last_number: 0 }
    }
}

impl<P> IdleWriters<P> {
    pub(super) fn is_empty(&self) -> bool {
        self.asleep.is_empty()
    }

    /// Removes the writer to be woken for a job of the lane: the last that came. A large job prefers the last one that
    /// went to sleep on this core: its caches hold the job's data, and no other core is interrupted. A small job is
    /// better served by a core that waits for the disk.
    pub(super) fn next(&mut self, lane: Lane) -> Option<Asleep> {
        let near = match lane {
            Lane::Large => self.asleep_on(current_core()),
            Lane::Small => None,
        };
        Some(self.asleep.remove(near.or(self.asleep.len().checked_sub(1))?))
    }

    fn asleep_on(&self, core: usize) -> Option<usize> {
        self.asleep.iter().rposition(|asleep| asleep.core == core)
    }

    /// Records that a writer was woken, perhaps with a permit.
    pub(super) fn set_woken(&mut self, number: Number, permit: Option<P>) {
        self.woken.push((number, permit));
    }

    pub(super) fn sleep(&mut self, waker: Waker) -> Number {
        self.last_number += 1;
        let number = Number(self.last_number);
        self.asleep.push(Asleep { number, waker, core: current_core() });
        number
    }

    /// Removes the writer. `Some`: it had been woken, perhaps with a permit.
    pub(super) fn remove(&mut self, number: Number) -> Option<Option<P>> {
        self.asleep.retain(|asleep| asleep.number != number);
        let woken = self.woken.iter().position(|(other, _)| *other == number)?;
        Some(self.woken.swap_remove(woken).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writer_is_woken_or_for_a_large_job_the_last_on_this_core() {
        let asleep = |number, core| Asleep { number: Number(number), waker: Waker::noop().clone(), core };
        let waiting = [(1, 0), (2, 1), (3, 1), (4, 0)].map(|(number, core)| asleep(number, core));
        let mut idle = IdleWriters::<()> { asleep: waiting.into(), ..IdleWriters::default() };
        assert_eq!([0, 1, 7].map(|core| idle.asleep_on(core)), [Some(3), Some(2), None]);
        let last = |idle: &mut IdleWriters<()>, lane| idle.next(lane).map(|asleep| asleep.number.0);
        assert_eq!(last(&mut idle, Lane::Small), Some(4));
        // No core has this number.
        idle.asleep.iter_mut().for_each(|asleep| asleep.core = usize::MAX);
        assert_eq!([(); 4].map(|()| last(&mut idle, Lane::Large)), [Some(3), Some(2), Some(1), None]);
    }
}
