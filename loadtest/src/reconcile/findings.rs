//! The receiver's instances, compared with the ledger.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::ledger::{Ledger, Place};
use crate::result::Verification;

/// Files of others that are listed; how many more there are stands in the last line. A storage root may hold millions.
const MAX_EXTRA: usize = 1000;

/// Why nothing could be checked.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    #[error("cannot list {directory}")]
    List { directory: PathBuf, source: io::Error },
    #[error("cannot run the command of --verify-hook")]
    Hook(#[source] io::Error),
}

/// The state of one instance at the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Found {
    #[default]
    Absent,
    /// Other bytes than were sent.
    Other,
    /// The bytes that were sent, under other labels.
    Mislabelled,
    Whole,
}

/// The findings so far.
pub(super) struct Findings {
    /// With the number of files.
    found: Vec<Vec<(Found, u32)>>,
    /// The faults in the labels, by index.
    labels: BTreeMap<(usize, usize), String>,
    extra: Vec<String>,
    more_extra: u64,
    pub(super) partial: Vec<String>,
}

impl Findings {
    pub(super) fn new(ledger: &Ledger) -> Self {
        let found = ledger.associations.iter().map(|sent| vec![(Found::Absent, 0); sent.entries.len()]).collect();
        Self { found, labels: BTreeMap::new(), extra: Vec::new(), more_extra: 0, partial: Vec::new() }
    }

    pub(super) fn saw(&mut self, place: Place, found: Found) {
        if let Some(seen) = self.found.get_mut(place.association).and_then(|entries| entries.get_mut(place.entry)) {
            *seen = (found.max(seen.0), seen.1 + 1);
        }
    }

    pub(super) fn saw_mislabelled(&mut self, place: Place, problem: String) {
        self.labels.insert((place.association, place.entry), problem);
        self.saw(place, Found::Mislabelled);
    }

    pub(super) fn saw_extra(&mut self, path: String) {
        if self.extra.len() < MAX_EXTRA { self.extra.push(path) } else { self.more_extra += 1 }
    }

    pub(super) fn judge(self, ledger: &Ledger) -> Verification {
        let mut verification = Verification { extra: self.extra, partial: self.partial, ..Verification::default() };
        for (place, uid, acknowledged) in ledger.all() {
            let found = self.found.get(place.association).and_then(|entries| entries.get(place.entry));
            let (found, files) = found.copied().unwrap_or_default();
            if files > 1 {
                verification.duplicated.push(uid.clone());
            }
            verification.acknowledged += u64::from(acknowledged);
            match (acknowledged, found) {
                (true, Found::Whole) => verification.whole += 1,
                (true, Found::Mislabelled) => {
                    let problem = self.labels.get(&(place.association, place.entry)).cloned().unwrap_or_default();
                    verification.mislabelled.push(format!("{uid}: {problem}"));
                }
                (true, Found::Other) => verification.corrupt.push(uid),
                (true, Found::Absent) => verification.lost.push(uid),
                (false, Found::Whole) => verification.unacknowledged_whole += 1,
                (false, Found::Other | Found::Mislabelled) => verification.partial.push(uid),
                (false, Found::Absent) => verification.unacknowledged_absent += 1,
            }
        }
        verification.lost.sort_unstable();
        verification.corrupt.sort_unstable();
        verification.mislabelled.sort_unstable();
        verification.duplicated.sort_unstable();
        verification.partial.sort_unstable();
        verification.extra.sort_unstable();
        if self.more_extra > 0 {
            verification.extra.push(format!("and {} more", self.more_extra));
        }
        verification
    }
}
