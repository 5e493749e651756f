//! The associations that ended in the last hour, for operators. Their number is bounded, and so is their memory; the log has all of them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tidegate_storage::Outcome;

use super::text::Text;

/// Associations kept. Their memory, less than half a KiB each, is taken at the start.
pub const KEPT: usize = 512;
/// The time for which one is kept.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// Instances acknowledged, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Stored under a path that nothing had.
    pub new: u64,
    /// Stored already, with the same bytes.
    pub identical: u64,
    /// Stored in place of another dataset of the same UID.
    pub replaced: u64,
    /// Stored beside another dataset of the same UID.
    pub kept_both: u64,
}

impl Outcomes {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::New => self.new += 1,
            Outcome::Identical => self.identical += 1,
            Outcome::Replaced => self.replaced += 1,
            Outcome::KeptBoth { .. } => self.kept_both += 1,
        }
    }
}

/// An association that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedAssociation {
    /// The time of its end.
    pub at: SystemTime,
    /// Its account, as in the log and in the list of the open ones.
    pub id: u64,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// A peer's string: escape it before showing it.
    pub calling_ae_title: Text<64>,
    /// A peer's string.
    pub called_ae_title: Text<64>,
    /// The access rule that let it in; `None`: no rule was asked.
    pub rule: Option<Text<128>>,
    /// Studies of the instances acknowledged; 256 means that or more.
    pub studies: u64,
    /// The Study Instance UID of the first one.
    pub first_study: Option<Text<64>>,
    /// Instances acknowledged.
    pub outcomes: Outcomes,
    /// Instances refused.
    pub refused: u64,
    /// Bytes of its datasets.
    pub bytes: u64,
    /// From the connection to the end.
    pub duration: Duration,
    /// How it ended: a word, as in the log.
    pub end: &'static str,
}

/// The last [`KEPT`] of them.
#[derive(Debug)]
pub(crate) struct EndedAssociations(Mutex<VecDeque<EndedAssociation>>);

impl Default for EndedAssociations {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(KEPT)))
    }
}

impl EndedAssociations {
    pub(crate) fn push(&self, ended: EndedAssociation) {
        let mut all = self.0.lock();
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(ended);
    }

    /// Those of the hour before `now`, the latest first, at most `most`.
    pub(crate) fn list(&self, now: SystemTime, most: usize) -> Vec<EndedAssociation> {
        // One that seems to have ended after `now` did so before the clock was set back.
        let is_recent = |ended: &&EndedAssociation| now.duration_since(ended.at).map_or(true, |age| age < KEPT_FOR);
        self.0.lock().iter().rev().filter(is_recent).take(most).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(id: u64, at: SystemTime) -> EndedAssociation {
        EndedAssociation {
            at,
            id,
            peer: "127.0.0.1:104".parse().unwrap(),
            calling_ae_title: Text::new("CT1"),
            called_ae_title: Text::new("TIDEGATE"),
            rule: None,
            studies: 0,
            first_study: None,
            outcomes: Outcomes::default(),
            refused: 0,
            bytes: 0,
            duration: Duration::ZERO,
            end: "released",
        }
    }

    #[test]
    fn those_of_the_last_hour_are_kept_and_no_more_than_there_is_room_for() {
        assert!(size_of::<EndedAssociation>() <= 512, "{}", size_of::<EndedAssociation>());
        let (all, start) = (EndedAssociations::default(), SystemTime::UNIX_EPOCH);
        for id in 0..KEPT as u64 + 3 {
            all.push(ended(id, start + Duration::from_secs(id)));
        }
        let last = start + Duration::from_secs(KEPT as u64 + 2);
        let listed = all.list(last, usize::MAX);
        assert_eq!((listed.len(), listed[0].id, listed[KEPT - 1].id), (KEPT, 514, 3));
        assert_eq!(all.list(last, 2).len(), 2);
        let later = all.list(last + KEPT_FOR - Duration::from_secs(2), usize::MAX);
        assert_eq!(later.iter().map(|ended| ended.id).collect::<Vec<_>>(), [514, 513]);
    }
}
