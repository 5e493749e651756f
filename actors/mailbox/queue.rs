//! The bounded queues in which jobs wait for a writer.

use crossbeam_channel::{Receiver, Sender};

use crate::sync::RwLock;

/// Which jobs stand behind which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small instances to be made durable: one sync serves all that wait.
    Small,
    /// All else: the disk works at several at once.
    Large,
}

/// The jobs of one lane.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Replaced by a longer one when the capacity outgrows it; locked for as long as a job goes in or out.
    channel: RwLock<Channel<T>>,
}

#[derive(Debug)]
struct Channel<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

impl<T> Channel<T> {
    fn new(capacity: usize) -> Self {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        Self { sender, receiver }
    }
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { channel: RwLock::new(Channel::new(capacity)) }
    }

    pub(crate) fn depth(&self) -> usize {
        self.channel.read().receiver.len()
    }

    pub(crate) fn make_room(&self, capacity: usize) {
        let mut channel = self.channel.write();
        if channel.sender.capacity().is_some_and(|room| room < capacity) {
            let longer = Channel::new(capacity);
            for job in channel.receiver.try_iter() {
                let _ = longer.sender.try_send(job); // there is room for all of them
            }
            *channel = longer;
        }
    }

    /// Whether there was room: there is, for who has a slot.
    pub(crate) fn put(&self, waiting: T) -> bool {
        // It cannot be closed: both ends live in self.
        self.channel.read().sender.try_send(waiting).is_ok()
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.channel.read().receiver.try_recv().ok()
    }
}
