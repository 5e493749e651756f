//! What was begun in a run.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::itinerary::Instance;
use crate::uid;

/// Association numbers from here on belong to bad peers, whose instances nobody was promised.
pub(crate) const FIRST_BAD_PEER: u32 = 90_000;

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
    pub(super) catalogue: Arc<Catalogue>,
    /// By seed and association.
    pub(super) associations: Vec<Sent>,
}

/// What one association of one run began.
#[derive(Debug)]
pub(super) struct Sent {
    seed: u64,
    number: u32,
    /// In the order of the instances' numbers.
    pub(super) entries: Vec<Entry>,
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
    pub(super) fn find(&self, sop_instance: &str) -> Known {
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
    pub(super) fn dataset(&self, place: Place) -> Option<(Vec<u8>, impl Iterator<Item = &[u8]>)> {
        let Sent { seed, number, entries } = self.associations.get(place.association)?;
        let instance = entries.get(place.entry)?.instance;
        let dataset = &self.catalogue.templates.get(instance.template as usize)?.dataset;
        Some((dataset.patched_start(&instance.uids(*seed, *number)), dataset.rest()))
    }

    /// All of them with their UIDs, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, String, bool)> {
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
pub(super) struct Place {
    pub(super) association: usize,
    pub(super) entry: usize,
}

/// Whose an instance is.
pub(super) enum Known {
    Ours(Place),
    BadPeers,
    Foreign,
}
