//! An encoded dataset, with the places of the UIDs that differ between instances.
//!
//! A large dataset is a start, a period that is sent many times, and an end, so a dataset of gigabytes costs the generator megabytes.

use crate::uid::{UID_LENGTH, UidBytes};

/// An encoded dataset: `start`, `period` `repeats` times, `end`.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) sop_class: String,
    pub(crate) transfer_syntax: String,
    /// Holds the patchable UIDs, each [`UID_LENGTH`] bytes long.
    pub(crate) start: Vec<u8>,
    pub(crate) period: Vec<u8>,
    pub(crate) repeats: u64,
    /// Never empty when there are repeats: the message's last fragment is in it.
    pub(crate) end: Vec<u8>,
    pub(crate) places: Places,
}

/// Where in `start` the patchable UIDs stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) sop_instance: usize,
    pub(crate) study: usize,
    pub(crate) series: usize,
}

/// The identifiers of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceUids {
    pub(crate) sop_instance: UidBytes,
    pub(crate) study: UidBytes,
    pub(crate) series: UidBytes,
}

impl Dataset {
    /// Bytes of the whole.
    pub(crate) fn len(&self) -> u64 {
        (self.start.len() + self.end.len()) as u64 + self.period.len() as u64 * self.repeats
    }

    /// The start as it is in the instance of these UIDs; what follows is the same in every instance.
    pub(crate) fn patched_start(&self, uids: &InstanceUids) -> Vec<u8> {
        let mut start = self.start.clone();
        let Places { sop_instance, study, series } = self.places;
        for (at, uid) in [(sop_instance, uids.sop_instance), (study, uids.study), (series, uids.series)] {
            if let Some(place) = start.get_mut(at..at + UID_LENGTH) {
                place.copy_from_slice(&uid);
            }
        }
        start
    }

    /// The bytes after the start, in order.
    pub(crate) fn rest(&self) -> impl Iterator<Item = &[u8]> {
        let repeats = usize::try_from(self.repeats).unwrap_or(usize::MAX);
        std::iter::repeat_n(self.period.as_slice(), repeats).chain([self.end.as_slice()])
    }

    /// Everything in one piece, with the UIDs still to be filled in.
    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.start.clone();
        self.rest().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }
}
