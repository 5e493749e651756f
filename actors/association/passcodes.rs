//! The verification of passcodes: one at a time, with memory reserved at start, in turns between the sources of requests.
//!
//! Each verification costs tens of milliseconds and some MiB before anybody is authenticated. Sources take turns, so the guesses from one
//! address do not delay the users at another by more than one hash each. The queue is bounded, for each source and in all; a request
//! beyond it is rejected as transient, because its passcode was not found wrong. A peer that has closed its connection gets no
//! verification.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_memory::{MemoryBudget, MemoryLease, Stage};
use tokio::sync::oneshot;

use crate::network::source::Source;

/// Most requests of one source that wait.
const MAX_WAITING_PER_SOURCE: usize = 8;
/// Most requests that wait. Each holds a passcode of up to 64 KiB, which is leased.
const MAX_WAITING: usize = 256;

/// See the module.
pub(crate) struct PasscodeQueue {
    turns: Mutex<Turns>,
    budget: MemoryBudget,
    /// Pays for one hash.
    reserve: Mutex<Option<MemoryLease>>,
}

/// The requests that wait, and whether a hash is computed.
#[derive(Default)]
struct Turns {
    is_taken: bool,
    waiting: HashMap<Source, VecDeque<oneshot::Sender<Turn>>>,
    /// The sources with a request that waits, the next one first.
    order: VecDeque<Source>,
}

/// Too many requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

/// The right to compute one hash. Its drop passes it on.
pub(crate) struct Turn(Option<Arc<PasscodeQueue>>);

impl PasscodeQueue {
    /// An empty queue, without a reserve.
    pub(crate) fn new(budget: &MemoryBudget) -> Self {
        Self { turns: Mutex::default(), budget: budget.clone(), reserve: Mutex::default() }
    }

    /// Leases the memory of one hash, which is kept until [`Self::release`]; `false`: the budget does not have it now. Datasets cannot
    /// take what is reserved.
    pub(crate) fn reserve(&self, bytes: u64) -> bool {
        let mut reserve = self.reserve.lock();
        if reserve.as_ref().map_or(0, MemoryLease::bytes) == bytes {
            return true;
        }
        *reserve = None;
        if bytes > 0 {
            *reserve = self.budget.open_account("passcodes").lease(Stage::Negotiating, bytes).ok();
            self.note_use(reserve.as_ref(), false);
        }
        bytes == 0 || reserve.is_some()
    }

    /// Returns the reserve.
    pub(crate) fn release(&self) {
        *self.reserve.lock() = None;
    }

    /// States whether the memory is in use.
    pub(crate) fn set_in_use(&self, is_in_use: bool) {
        self.note_use(self.reserve.lock().as_ref(), is_in_use);
    }

    fn note_use(&self, reserve: Option<&MemoryLease>, is_in_use: bool) {
        if let Some(lease) = reserve {
            lease.set_unused(if is_in_use { 0 } else { lease.bytes() });
        }
    }

    /// Waits for the turn of a request from `source`.
    ///
    /// # Errors
    /// [`QueueFull`], at once.
    pub(crate) async fn turn(self: &Arc<Self>, source: Source) -> Result<Turn, QueueFull> {
        let (sender, turn) = oneshot::channel();
        {
            let mut turns = self.turns.lock();
            if !turns.is_taken {
                turns.is_taken = true;
                return Ok(Turn(Some(self.clone())));
            }
            turns.enter(source, sender)?;
        }
        turn.await.map_err(|_| QueueFull)
    }

    /// Passes the turn to the next request that still waits.
    fn pass_on(self: &Arc<Self>) {
        loop {
            let Some(next) = self.turns.lock().next() else { return };
            match next.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                Err(mut unsent) => unsent.0 = None, // it has stopped waiting
            }
        }
    }
}

impl Turns {
    fn enter(&mut self, source: Source, sender: oneshot::Sender<Turn>) -> Result<(), QueueFull> {
        // Those that have stopped waiting make room.
        if let Some(queue) = self.waiting.get_mut(&source) {
            queue.retain(|waiting| !waiting.is_closed());
        }
        let of_source = self.waiting.get(&source).map_or(0, VecDeque::len);
        if of_source >= MAX_WAITING_PER_SOURCE || self.waiting.values().map(VecDeque::len).sum::<usize>() >= MAX_WAITING
        {
            return Err(QueueFull);
        }
        if !self.waiting.contains_key(&source) {
            self.order.push_back(source);
        }
        self.waiting.entry(source).or_default().push_back(sender);
        Ok(())
    }

    /// The next request, of the source whose turn it is; `None`: nobody waits, and the turn is free.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        while let Some(source) = self.order.pop_front() {
            let Some(queue) = self.waiting.get_mut(&source) else { continue };
            let next = queue.pop_front();
            if queue.is_empty() {
                self.waiting.remove(&source);
            } else {
                self.order.push_back(source);
            }
            if next.is_some() {
                return next;
            }
        }
        self.is_taken = false;
        None
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[tokio::test]
    async fn sources_take_turns_and_each_has_a_bound() {
        let queue = Arc::new(PasscodeQueue::new(&MemoryBudget::new(1 << 20)));
        let turn = queue.turn(source("10.0.0.1")).await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..MAX_WAITING_PER_SOURCE {
            let mut guess = Box::pin(queue.turn(source("10.0.0.1")));
            assert!(guess.as_mut().now_or_never().is_none());
            waiting.push(guess);
        }
        assert!(queue.turn(source("10.0.0.1")).await.is_err_and(|error| error == QueueFull));
        let mut other = Box::pin(queue.turn(source("10.0.0.2")));
        assert!(other.as_mut().now_or_never().is_none());

        // The source that came later is served after one request of the other.
        drop(turn);
        let first = waiting.remove(0).await.unwrap();
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        drop(other.await.unwrap());

        // Requests that stop waiting leave their places, and keep no turn, even one that they have got already.
        let held = waiting.remove(0).await.unwrap();
        let last = waiting.pop().unwrap();
        drop(held);
        drop(waiting);
        drop(last.await.unwrap());
        assert!(queue.turn(source("10.0.0.3")).await.is_ok());
        let turns = queue.turns.lock();
        assert!(!turns.is_taken && turns.waiting.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn the_reserve_is_the_memory_of_one_hash() {
        let budget = MemoryBudget::new(1 << 20);
        let queue = PasscodeQueue::new(&budget);
        assert!(queue.reserve(1000) && queue.reserve(1000));
        assert_eq!((budget.held(), budget.unused()), (1000, 1000));
        queue.set_in_use(true);
        assert_eq!((budget.held(), budget.unused()), (1000, 0));
        assert!(queue.reserve(2000));
        assert_eq!(budget.held(), 2000);
        assert!(!queue.reserve(2 << 20));
        assert!(queue.reserve(2000));
        queue.release();
        assert_eq!(budget.held(), 0);
    }
}
