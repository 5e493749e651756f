//! Recent failures for operators: the last refusals, and the last children that ended. The log has all of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::SystemTime;

use parking_lot::Mutex;
use tidegate_protocol::{Rejection, Status};

use crate::refusal::Reason;

/// Events kept of each kind.
pub const KEPT: usize = 64;
/// Bytes kept of an event's text, which may come from a peer or an error.
const TEXT_BYTES: usize = 240;

/// The sender of what was refused.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The address of the peer.
    pub peer: SocketAddr,
    /// The calling AE title, a peer's string: escape it before showing it. Empty before the A-ASSOCIATE-RQ.
    pub calling_ae_title: String,
    /// The called AE title, a peer's string, too.
    pub called_ae_title: String,
}

/// An instance that was not stored, or an association that was not accepted.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The time.
    pub at: SystemTime,
    /// The sender.
    pub sender: Sender,
    /// The refused operation, with the reason.
    pub what: RefusedWhat,
    /// The SOP Instance UID of an instance, as its command has it. `None`: an association, or no UID.
    pub sop_instance: Option<String>,
    /// The cause as text. May hold strings of the peer.
    pub detail: String,
}

/// A refused operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedWhat {
    /// An instance, for this reason.
    Instance(Reason),
    /// An association.
    Association(Rejection),
}

impl RefusedWhat {
    /// The name of the reason in labels and lists.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Instance(reason) => reason.name(),
            Self::Association(rejection) => rejection.name(),
        }
    }

    /// The status of the response, if an instance was refused.
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Instance(reason) => Some(reason.status()),
            Self::Association(_) => None,
        }
    }
}

/// A child of the supervisor that ended without being asked to.
#[derive(Clone, Debug)]
pub struct ChildEnded {
    /// The time.
    pub at: SystemTime,
    /// Its name: `writer-3`.
    pub child: String,
    /// The cause.
    pub cause: String,
    /// The action of the supervisor.
    pub next: &'static str,
}

/// The last events of each kind.
#[derive(Debug)]
pub(crate) struct Recent {
    refused: Ring<Refused>,
    ended: Ring<ChildEnded>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { refused: Ring::new(), ended: Ring::new() }
    }

    pub(crate) fn add_refused(
        &self,
        sender: Sender,
        what: RefusedWhat,
        sop_instance: Option<&str>,
        detail: impl ToString,
    ) {
        let Sender { peer, calling_ae_title, called_ae_title } = sender;
        let sender = Sender { peer, calling_ae_title: cut(calling_ae_title), called_ae_title: cut(called_ae_title) };
        let (sop_instance, detail) = (sop_instance.map(|uid| cut(uid.to_owned())), cut(detail.to_string()));
        self.refused.push(Refused { at: SystemTime::now(), sender, what, sop_instance, detail });
    }

    pub(crate) fn add_ended(&self, child: &str, cause: impl ToString, next: &'static str) {
        let (child, cause) = (child.to_owned(), cut(cause.to_string()));
        self.ended.push(ChildEnded { at: SystemTime::now(), child, cause, next });
    }

    pub(crate) fn refused(&self) -> Vec<Refused> {
        self.refused.list()
    }

    pub(crate) fn ended(&self) -> Vec<ChildEnded> {
        self.ended.list()
    }
}

/// Cuts at a character, so that the rest is valid text.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The last [`KEPT`] events of one kind.
#[derive(Debug)]
struct Ring<T>(Mutex<VecDeque<T>>);

impl<T: Clone> Ring<T> {
    fn new() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(KEPT)))
    }

    fn push(&self, event: T) {
        let mut events = self.0.lock();
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The latest first.
    fn list(&self) -> Vec<T> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_latest_first_and_no_more() {
        let recent = Recent::new();
        for child in 0..KEPT + 3 {
            recent.add_ended(&child.to_string(), "x", "restart");
        }
        let listed = recent.ended();
        assert_eq!((listed.len(), listed[0].child.as_str()), (KEPT, "66"));
        assert_eq!(listed[KEPT - 1].child, "3");
    }

    #[test]
    fn text_is_bounded_and_stays_text() {
        let recent = Recent::new();
        let (calling_ae_title, called_ae_title) = ("CT".to_owned(), "ä".repeat(200));
        let sender = Sender { peer: "127.0.0.1:1".parse().unwrap(), calling_ae_title, called_ae_title };
        recent.add_refused(sender, RefusedWhat::Association(Rejection::CalledAeTitle), None, "ä".repeat(200));
        let refused = &recent.refused()[0];
        assert_eq!(refused.detail, "ä".repeat(TEXT_BYTES / 2));
        assert_eq!(refused.sender.called_ae_title, refused.detail);
        assert_eq!((refused.what.reason(), refused.what.status()), ("called_ae_title", None));
    }
}
