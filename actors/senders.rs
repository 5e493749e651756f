//! Who is sending of which study: a study is not complete while an association is open that has sent of it, or an instance of it is on its way.
//!
//! Each association holds the studies that it has sent of. They are let go with the last share of its [`Origin`](crate::committed::Origin), which its
//! instances keep, too: also one that a writer still has when the association is gone. Then the catalogue is told, and until it has taken note, the study
//! still counts as being sent: its last instances may wait to be entered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Studies that an association holds. Of one that sends more, such as an archive that moves, the last ones count.
const MAX_HELD: usize = 64;
/// Studies that may wait for the catalogue to take note that nobody sends of them any more. With more, it looks at all that it holds.
const MAX_ENDED: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    known: Mutex<Known>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// How many associations hold a study.
    sending: HashMap<Arc<str>, u32>,
    ended: HashSet<Arc<str>>,
    /// More than [`MAX_ENDED`] have.
    is_full: bool,
}

/// Studies of which nobody sends any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// These.
    Studies(Vec<String>),
    /// These and others.
    Many,
}

impl Senders {
    /// The part of a new association.
    pub(crate) fn join(self: &Arc<Self>) -> Sending {
        Sending { senders: self.clone(), held: Mutex::default() }
    }

    /// Whether somebody is sending of the study, or was until just now.
    pub(crate) fn are_sending(&self, study_uid: &str) -> bool {
        let known = self.known.lock();
        known.is_full || known.sending.contains_key(study_uid) || known.ended.contains(study_uid)
    }

    /// Whether [`take_ended`](Self::take_ended) has something.
    pub(crate) fn have_ended(&self) -> bool {
        let known = self.known.lock();
        known.is_full || !known.ended.is_empty()
    }

    /// Takes the studies of which nobody sends any more. Their instances are in the queue of the catalogue by now.
    pub(crate) fn take_ended(&self) -> Ended {
        let mut known = self.known.lock();
        let ended = std::mem::take(&mut known.ended);
        if std::mem::take(&mut known.is_full) {
            return Ended::Many;
        }
        Ended::Studies(ended.into_iter().map(|uid| uid.as_ref().to_owned()).collect())
    }

    /// Waits until a study has ended since the last call.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    fn begin(&self, study_uid: &Arc<str>) {
        *self.known.lock().sending.entry(study_uid.clone()).or_default() += 1;
    }

    fn end(&self, study_uid: &Arc<str>) {
        let mut known = self.known.lock();
        let Some(count) = known.sending.get_mut(study_uid) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        known.sending.remove(study_uid);
        if known.ended.len() < MAX_ENDED {
            known.ended.insert(study_uid.clone());
        } else {
            known.is_full = true;
        }
        drop(known);
        self.ended.notify_one();
    }
}

/// The studies of one association, the last one last.
#[derive(Debug)]
pub(crate) struct Sending {
    senders: Arc<Senders>,
    held: Mutex<Vec<Arc<str>>>,
}

impl Sending {
    /// An instance of the study is on its way.
    pub(crate) fn note(&self, study_uid: &str) {
        let mut held = self.held.lock();
        if held.last().is_some_and(|last| **last == *study_uid) {
            return;
        }
        if let Some(at) = held.iter().position(|uid| **uid == *study_uid) {
            let uid = held.remove(at);
            held.push(uid);
            return;
        }
        let uid: Arc<str> = study_uid.into();
        self.senders.begin(&uid);
        held.push(uid);
        if held.len() > MAX_HELD {
            let oldest = held.remove(0);
            self.senders.end(&oldest);
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.held.get_mut().iter().for_each(|uid| self.senders.end(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_being_sent_until_its_last_sender_has_ended_and_that_was_noted() {
        let senders = Arc::new(Senders::default());
        let (one, other) = (senders.join(), senders.join());
        one.note("1.2");
        one.note("1.2");
        other.note("1.2");
        other.note("1.3");
        drop(other);
        assert!(senders.are_sending("1.2") && senders.are_sending("1.3"));
        assert_eq!(senders.take_ended(), Ended::Studies(vec!["1.3".to_owned()]));
        assert!(!senders.are_sending("1.3") && !senders.have_ended());
        drop(one);
        assert!(senders.are_sending("1.2") && senders.have_ended());
        assert_eq!(senders.take_ended(), Ended::Studies(vec!["1.2".to_owned()]));
        assert!(!senders.are_sending("1.2"));
    }

    #[test]
    fn an_association_holds_its_last_studies() {
        let senders = Arc::new(Senders::default());
        let sending = senders.join();
        (0..=MAX_HELD).for_each(|number| sending.note(&format!("1.{number}")));
        assert_eq!(senders.take_ended(), Ended::Studies(vec!["1.0".to_owned()]));
        sending.note("1.1");
        sending.note("1.999");
        assert_eq!(senders.take_ended(), Ended::Studies(vec!["1.2".to_owned()]));
    }

    #[test]
    fn with_very_many_all_are_looked_at() {
        let senders = Arc::new(Senders::default());
        for number in 0..=MAX_ENDED {
            senders.join().note(&number.to_string());
        }
        assert!(senders.are_sending("9999999"));
        assert_eq!(senders.take_ended(), Ended::Many);
        assert!(!senders.are_sending("9999999"));
    }
}
