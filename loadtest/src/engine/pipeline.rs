//! The messages that one association has under way: one that is being written, and those that wait for their answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::schedule::Slot;
use crate::association::{Association, AssociationError};
use crate::dataset::InstanceUids;
use crate::itinerary::Instance;
use crate::message::{Framed, Message};

/// A message that waits for its answer.
#[derive(Debug)]
pub(super) struct Outstanding {
    message_id: u16,
    pub(super) slot: Slot,
    /// When its first byte was handed to the wire.
    pub(super) begun: Instant,
    pub(super) instance: Instance,
    /// Its place in the ledger.
    pub(super) entry: usize,
}

/// The messages in progress on one association.
#[derive(Debug)]
pub(super) struct Pipeline {
    framed: Arc<Vec<Arc<Framed>>>,
    /// This association's own heads, by template.
    messages: BTreeMap<u32, Message>,
    outstanding: VecDeque<Outstanding>,
    window: usize,
    /// The template that is being written, and how far.
    writing: Option<(u32, u64)>,
    next_message_id: u16,
    last: Option<Instance>,
    /// When the peer last took or sent something.
    progress: Instant,
    timeout: Duration,
}

impl Pipeline {
    /// At most `window` messages at a time; a peer may be still for `timeout`.
    pub(super) fn new(framed: Arc<Vec<Arc<Framed>>>, window: u16, timeout: Duration) -> Self {
        Self {
            framed,
            messages: BTreeMap::new(),
            outstanding: VecDeque::new(),
            window: usize::from(window),
            writing: None,
            next_message_id: 1,
            last: None,
            progress: Instant::now(),
            timeout,
        }
    }

    /// Whether a message may be begun.
    pub(super) fn has_room(&self) -> bool {
        self.writing.is_none() && self.outstanding.len() < self.window
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Messages begun and not answered.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// The last instance that was begun.
    pub(super) fn last(&self) -> Option<Instance> {
        self.last
    }

    /// Begins the message of `instance`; there must be room.
    pub(super) fn begin(&mut self, instance: Instance, uids: &InstanceUids, slot: Slot, entry: usize) {
        let Some(framed) = self.framed.get(instance.template as usize) else {
            return;
        };
        let message_id = self.next_message_id;
        // Zero is as good an ID as any, and some peers trip over it.
        self.next_message_id = message_id.checked_add(1).unwrap_or(1);
        let message = self.messages.entry(instance.template).or_insert_with(|| Message::new(Arc::clone(framed)));
        message.patch(message_id, uids);
        let begun = Instant::now();
        if self.outstanding.is_empty() {
            self.progress = begun;
        }
        self.outstanding.push_back(Outstanding { message_id, slot, begun, instance, entry });
        self.writing = Some((instance.template, 0));
        self.last = Some(instance);
    }

    /// Writes what the wire takes; `true` when a message was written to its end by it.
    ///
    /// # Errors
    /// Those of the association.
    pub(super) fn write(&mut self, association: &mut Association) -> Result<bool, AssociationError> {
        let Some((template, position)) = &mut self.writing else {
            return Ok(false);
        };
        let Some(message) = self.messages.get(template) else {
            return Ok(false);
        };
        let before = *position;
        association.write(message, position)?;
        if *position > before {
            self.progress = Instant::now();
        }
        let done = *position == message.len();
        if done {
            self.writing = None;
        }
        Ok(done)
    }

    /// Until when the peer may be still.
    ///
    /// # Errors
    /// When that is over.
    pub(super) fn patience(&self, now: Instant) -> Result<Instant, AssociationError> {
        let until = self.progress + self.timeout;
        if now >= until && !self.is_idle() { Err(AssociationError::TimedOut(self.timeout)) } else { Ok(until) }
    }

    /// Takes the message that an answer is for.
    ///
    /// # Errors
    /// When none with this ID is outstanding.
    pub(super) fn take(&mut self, message_id: u16) -> Result<Outstanding, AssociationError> {
        self.progress = Instant::now();
        let found = self.outstanding.iter().position(|each| each.message_id == message_id);
        let done = found.and_then(|index| self.outstanding.remove(index));
        done.ok_or(AssociationError::WrongMessage(message_id))
    }
}
