//! Reconciles what the receiver has with what was sent, byte for byte.
//!
//! Nothing is hashed while the load runs. Every instance is remembered by a few numbers, from which its dataset is made again.

mod directory;
mod hook;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::catalogue::Catalogue;
use crate::itinerary::Instance;
use crate::result::Verification;
use crate::uid;

/// Association numbers from here on belong to bad peers, whose instances nobody was promised.
pub(crate) const FIRST_BAD_PEER: u32 = 90_000;
/// Files of others that are listed; how many more there are stands in the last line. A storage root may hold millions.
const MAX_EXTRA: usize = 1000;

/// How to look at what the receiver has.
#[derive(Clone, Debug)]
pub(crate) enum Verify {
    /// A tree of DICOM files.
    Directory(PathBuf),
    /// A command that is given a SOP Instance UID and prints the path of its file, or the SHA-256 of its dataset.
    Hook(String),
}

/// Why nothing could be checked.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    #[error("cannot list {directory}")]
    List { directory: PathBuf, source: io::Error },
    #[error("cannot run the command of --verify-hook")]
    Hook(#[source] io::Error),
}

/// An instance that was begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) instance: Instance,
    pub(crate) acknowledged: bool,
}

/// Everything that was begun in a run, or in several runs from one catalogue.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// Of the run that is added to.
    seed: u64,
    catalogue: Arc<Catalogue>,
    /// By seed and association.
    associations: Vec<Sent>,
}

/// What one association of one run began.
#[derive(Debug)]
struct Sent {
    seed: u64,
    number: u32,
    /// In the order of the instances' numbers.
    entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn new(seed: u64, catalogue: Arc<Catalogue>) -> Self {
        Self { seed, catalogue, associations: Vec::new() }
    }

    /// Adds what association `number` began; the numbers rise.
    pub(crate) fn add(&mut self, number: u32, entries: Vec<Entry>) {
        self.associations.push(Sent { seed: self.seed, number, entries });
    }

    /// Adds what another run from the same catalogue began.
    pub(crate) fn merge(&mut self, other: Self) {
        self.associations.extend(other.associations);
        self.associations.sort_by_key(|sent| (sent.seed, sent.number));
    }

    /// The place of the instance with this UID.
    fn find(&self, sop_instance: &str) -> Known {
        let Some(parsed) = uid::parse_instance(sop_instance) else {
            return Known::Foreign;
        };
        if parsed.association >= FIRST_BAD_PEER && self.associations.iter().any(|sent| sent.seed == parsed.seed) {
            return Known::BadPeers;
        }
        let key = (parsed.seed, parsed.association);
        let found = self.associations.binary_search_by_key(&key, |sent| (sent.seed, sent.number)).ok().and_then(|at| {
            let entries = &self.associations.get(at)?.entries;
            let entry = entries.binary_search_by_key(&parsed.index, |entry| u64::from(entry.instance.number)).ok()?;
            Some(Place { association: at, entry })
        });
        found.map_or(Known::Foreign, Known::Ours)
    }

    /// The parts of the dataset that was sent, in order: the first is its own, the rest its template's.
    fn dataset(&self, place: Place) -> Option<(Vec<u8>, impl Iterator<Item = &[u8]>)> {
        let Sent { seed, number, entries } = self.associations.get(place.association)?;
        let instance = entries.get(place.entry)?.instance;
        let dataset = &self.catalogue.templates.get(instance.template as usize)?.dataset;
        Some((dataset.patched_start(&instance.uids(*seed, *number)), dataset.rest()))
    }

    /// All of them with their UIDs, in order.
    fn all(&self) -> impl Iterator<Item = (Place, String, bool)> {
        self.associations.iter().enumerate().flat_map(|(association, Sent { seed, number, entries })| {
            entries.iter().enumerate().map(move |(entry, known)| {
                let uid = known.instance.uids(*seed, *number).sop_instance;
                (Place { association, entry }, String::from_utf8_lossy(&uid).into_owned(), known.acknowledged)
            })
        })
    }
}

/// Where in the ledger.
#[derive(Clone, Copy, Debug)]
struct Place {
    association: usize,
    entry: usize,
}

/// Whose an instance is.
enum Known {
    Ours(Place),
    BadPeers,
    Foreign,
}

/// What the receiver has of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    #[default]
    Absent,
    /// Other bytes than were sent.
    Other,
    /// Also when there are other files of the same UID.
    Whole,
}

/// Looks at what the receiver has and holds it to the ledger.
///
/// # Errors
/// When there is no looking.
pub(crate) fn check(ledger: &Ledger, verify: &Verify) -> Result<Verification, ReconcileError> {
    let mut findings = Findings::new(ledger);
    match verify {
        Verify::Directory(directory) => directory::look(directory, ledger, &mut findings)?,
        Verify::Hook(command) => hook::look(command, ledger, &mut findings)?,
    }
    Ok(findings.judge(ledger))
}

/// What was seen so far.
struct Findings {
    found: Vec<Vec<Found>>,
    extra: Vec<String>,
    more_extra: u64,
    partial: Vec<String>,
}

impl Findings {
    fn new(ledger: &Ledger) -> Self {
        let found = ledger.associations.iter().map(|sent| vec![Found::Absent; sent.entries.len()]).collect();
        Self { found, extra: Vec::new(), more_extra: 0, partial: Vec::new() }
    }

    fn saw(&mut self, place: Place, found: Found) {
        if let Some(seen) = self.found.get_mut(place.association).and_then(|entries| entries.get_mut(place.entry)) {
            *seen = found.max(*seen);
        }
    }

    fn saw_extra(&mut self, path: String) {
        if self.extra.len() < MAX_EXTRA { self.extra.push(path) } else { self.more_extra += 1 }
    }

    fn judge(self, ledger: &Ledger) -> Verification {
        let mut verification = Verification { extra: self.extra, partial: self.partial, ..Verification::default() };
        for (place, uid, acknowledged) in ledger.all() {
            let found = self.found.get(place.association).and_then(|entries| entries.get(place.entry));
            let found = found.copied().unwrap_or_default();
            verification.acknowledged += u64::from(acknowledged);
            match (acknowledged, found) {
                (true, Found::Whole) => verification.whole += 1,
                (true, Found::Other) => verification.corrupt.push(uid),
                (true, Found::Absent) => verification.lost.push(uid),
                (false, Found::Whole) => verification.unacknowledged_whole += 1,
                (false, Found::Other) => verification.partial.push(uid),
                (false, Found::Absent) => verification.unacknowledged_absent += 1,
            }
        }
        verification.lost.sort_unstable();
        verification.corrupt.sort_unstable();
        verification.partial.sort_unstable();
        verification.extra.sort_unstable();
        if self.more_extra > 0 {
            verification.extra.push(format!("and {} more", self.more_extra));
        }
        verification
    }
}
