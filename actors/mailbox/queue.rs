//! The bounded queues in which jobs wait for a writer.

use crossbeam_channel::{Receiver, Sender};

use crate::sync::RwLock;

/// The lane of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small instances to be synced: one sync serves all that wait.
    Small,
    /// All other jobs: the disk processes several at once.
    Large,
}

/// The jobs of one lane.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    /// Replaced by a longer channel when the capacity grows. Locked while a job is put or taken.
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
                let _ = longer.sender.try_send(job); // cannot fail: the new channel is longer
            }
            *channel = longer;
        }
    }

    /// Adds a job. False: no room, which cannot happen to a caller with a slot.
    pub(crate) fn put(&self, waiting: T) -> bool {
        // The channel cannot be closed: `self` owns both ends.
        self.channel.read().sender.try_send(waiting).is_ok()
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.channel.read().receiver.try_recv().ok()
    }
}
