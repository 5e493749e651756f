//! The ledger: the instances that a run began.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::catalogue::Catalogue;
use crate::dataset::Dataset;
use crate::itinerary::Instance;
use crate::part10::Part10File;
use crate::uid::{self, UidKind};

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
    /// Files that were last changed before belong to others.
    pub(super) begun: SystemTime,
    /// Number of the run that is added to.
    run: u64,
    pub(super) catalogue: Arc<Catalogue>,
    /// By run and association.
    pub(super) associations: Vec<Sent>,
}

/// The instances that one association of one run began.
#[derive(Debug)]
pub(super) struct Sent {
    run: u64,
    number: u32,
    /// In the order of the instances' numbers.
    pub(super) entries: Vec<Entry>,
}

impl Ledger {
    pub(crate) fn new(run: u64, catalogue: Arc<Catalogue>) -> Self {
        Self { begun: SystemTime::now(), run, catalogue, associations: Vec::new() }
    }

    /// Adds what association `number` began; the numbers rise.
    pub(crate) fn add(&mut self, number: u32, entries: Vec<Entry>) {
        self.associations.push(Sent { run: self.run, number, entries });
    }

    /// Adds what another run from the same catalogue began.
    pub(crate) fn merge(&mut self, other: Self) {
        self.begun = self.begun.min(other.begun);
        self.associations.extend(other.associations);
        self.associations.sort_by_key(|sent| (sent.run, sent.number));
    }

    /// The place of the instance with this UID.
    pub(super) fn find(&self, sop_instance: &str) -> Known {
        let Some(parsed) = uid::parse_instance(sop_instance) else {
            return Known::Foreign;
        };
        if parsed.association >= FIRST_BAD_PEER && self.associations.iter().any(|sent| sent.run == parsed.run) {
            return Known::BadPeers;
        }
        let key = (parsed.run, parsed.association);
        let found = self.associations.binary_search_by_key(&key, |sent| (sent.run, sent.number)).ok().and_then(|at| {
            let entries = &self.associations.get(at)?.entries;
            let entry = entries.binary_search_by_key(&parsed.index, |entry| u64::from(entry.instance.number)).ok()?;
            Some(Place { association: at, entry })
        });
        found.map_or(Known::Foreign, Known::Ours)
    }

    /// The parts of the dataset that was sent, in order: the first is its own, the rest its template's.
    pub(super) fn dataset(&self, place: Place) -> Option<(Vec<u8>, impl Iterator<Item = &[u8]>)> {
        let Sent { run, number, entries } = self.associations.get(place.association)?;
        let instance = entries.get(place.entry)?.instance;
        let dataset = &self.catalogue.templates.get(instance.template as usize)?.dataset;
        Some((dataset.patched_start(&instance.uids(*run, *number)), dataset.rest()))
    }

    /// The faults in the labels of a file that holds this instance: its file meta, and the UIDs in its path.
    pub(super) fn mislabelled(&self, place: Place, file: &Part10File, path: &Path) -> Option<String> {
        let Sent { run, number, entries } = self.associations.get(place.association)?;
        let instance = entries.get(place.entry)?.instance;
        let Dataset { sop_class, transfer_syntax, .. } =
            &self.catalogue.templates.get(instance.template as usize)?.dataset;
        let uids = instance.uids(*run, *number);
        let meta = [
            ("SOP Instance UID", file.sop_instance.as_bytes(), &uids.sop_instance[..]),
            ("SOP class", file.sop_class.as_bytes(), sop_class.as_bytes()),
            ("transfer syntax", file.transfer_syntax.as_bytes(), transfer_syntax.as_bytes()),
        ];
        for (what, found, sent) in meta {
            if found != sent {
                let text = String::from_utf8_lossy;
                return Some(format!("{what} {} in the file meta, {} was sent", text(found), text(sent)));
            }
        }
        let named = path.iter().map(|name| name.to_string_lossy()).find_map(|name| {
            let other = uid::named_in(&name).find(|(kind, uid)| {
                uid.as_bytes()
                    != match kind {
                        UidKind::Study => uids.study,
                        UidKind::Series => uids.series,
                        UidKind::Instance => uids.sop_instance,
                    }
            });
            other.map(|(_, uid)| uid.to_owned())
        });
        named.map(|uid| format!("is in a path of another UID, {uid}"))
    }

    /// All of them with their UIDs, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (Place, String, bool)> {
        self.associations.iter().enumerate().flat_map(|(association, Sent { run, number, entries })| {
            entries.iter().enumerate().map(move |(entry, known)| {
                let uid = known.instance.uids(*run, *number).sop_instance;
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
