//! Admission: the places of connections before, in and after an association, and the limits of associations: in all, by source, by
//! calling AE title, and by access rule. `docs/decisions/14-admission.md` has the design.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::source::{Penalties, Proved, Source};
use super::startup::{Room, Startup, startup_places};

/// Bytes of the floor lease, which each connection has from accept to its end: the floor segment (16 KiB, while bytes arrive), actor
/// and connection (6 KiB measured), a command set (at most 8 KiB), and a margin. Invariant: with its floor alone, every association makes
/// progress when the budget is exhausted.
pub const FLOOR_LEASE_BYTES: u64 = 32 * 1024;

/// Most connections of a node with `max` associations: those that hold a startup place included.
pub fn most_connections(max: usize) -> usize {
    max + startup_places(max)
}

/// Floor leases of a node with `max` associations, in bytes.
pub fn floors_of(max: usize) -> u64 {
    most_connections(max) as u64 * FLOOR_LEASE_BYTES
}

/// A limit that turns a connection or an association away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `associations.max`.
    Max,
    /// `associations.max_per_address`.
    MaxPerAddress,
    /// `associations.max_per_calling_ae`.
    MaxPerCallingAe,
    /// `max_associations` of an access rule.
    MaxAssociations,
    /// The startup places.
    Startup,
    /// `memory.budget`.
    MemoryBudget,
}

impl Limit {
    /// Name in the log, in metrics and among the recent refusals.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::MaxPerAddress => "max_per_address",
            Self::MaxPerCallingAe => "max_per_calling_ae",
            Self::MaxAssociations => "max_associations",
            Self::Startup => "startup_places",
            Self::MemoryBudget => "memory_budget",
        }
    }
}

/// The limits of open associations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max: usize,
    pub(crate) per_address: Option<usize>,
    pub(crate) per_calling_ae: Option<usize>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Admission(Mutex<State>);

#[derive(Debug)]
struct State {
    limits: Limits,
    startup: Startup,
    /// Open associations.
    open: usize,
    by_source: Tally<Source>,
    by_calling_ae: Tally<String>,
    /// By the name of the access rule; each rule has a limit of its own.
    by_rule: Tally<String>,
    penalties: Penalties,
    proved: Proved,
}

/// The answer to a connection that arrives.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// It has a startup place.
    Admitted(Place),
    /// All places are taken by connections in the middle of their negotiation.
    Wait,
    /// Its source has crowded the places.
    Refused(Limit),
}

/// The place of a connection. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    connection: u64,
    source: Source,
    give_way: Arc<Notify>,
    association: Option<Association>,
}

/// The keys that an open association is counted for, besides its source.
#[derive(Debug)]
struct Association {
    calling_ae: String,
    rule: Option<String>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Mutex::new(State {
            limits,
            startup: Startup::new(startup_places(limits.max)),
            open: 0,
            by_source: Tally::default(),
            by_calling_ae: Tally::default(),
            by_rule: Tally::default(),
            penalties: Penalties::default(),
            proved: Proved::default(),
        }))
    }

    /// Changes the limits. Open connections stay.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut state = self.0.lock();
        state.limits = limits;
        state.startup.set_size(startup_places(limits.max));
    }

    /// Connections that hold a place.
    pub(crate) fn open(&self) -> usize {
        let state = self.0.lock();
        state.open + state.startup.len()
    }

    /// Open associations: the places of `associations.max` that are taken.
    pub(crate) fn associations(&self) -> usize {
        self.0.lock().open
    }

    /// Gives a startup place to the connection with this number, which rises from one to the next. If none is free, another connection
    /// gives way, or this one waits (if it `may_wait`), or it is refused.
    pub(crate) fn arrive(self: &Arc<Self>, connection: u64, address: IpAddr, may_wait: bool) -> Arrived {
        let source = Source::of(address);
        match self.0.lock().start(connection, source, may_wait, false) {
            Ok(give_way) => {
                Arrived::Admitted(Place { admission: self.clone(), connection, source, give_way, association: None })
            }
            Err(Room::Wait) => Arrived::Wait,
            Err(Room::Refuse | Room::Free) => Arrived::Refused(Limit::Startup),
        }
    }
}

impl Place {
    /// Notified when the connection must give way to another.
    pub(crate) fn give_way(&self) -> Arc<Notify> {
        self.give_way.clone()
    }

    /// The connection counts for the address that its PROXY header names.
    pub(crate) fn come_from(&mut self, address: IpAddr) {
        self.source = Source::of(address);
        self.admission.0.lock().startup.come_from(self.connection, self.source);
    }

    /// The request of the connection has arrived.
    pub(crate) fn requested(&self) {
        self.admission.0.lock().startup.requested(self.connection);
    }

    /// An instance of the association was stored.
    pub(crate) fn prove(&self) {
        self.admission.0.lock().proved.add(self.source, Instant::now());
    }

    /// Exchanges the startup place for that of an association. `rule`: its access rule, and the limit of the rule.
    ///
    /// # Errors
    /// The limit that is reached; the startup place is kept.
    pub(crate) fn associate(&mut self, calling_ae: &str, rule: Option<(&str, Option<usize>)>) -> Result<(), Limit> {
        let association =
            Association { calling_ae: calling_ae.to_owned(), rule: rule.map(|(name, _)| name.to_owned()) };
        self.admission.0.lock().associate(
            self.connection,
            self.source,
            &association,
            rule.and_then(|(_, most)| most),
        )?;
        self.association = Some(association);
        Ok(())
    }

    /// The association is over, or there will be none: from here on the connection has an ending place. If there is none, it must give way.
    pub(crate) fn end(&mut self) {
        let mut state = self.admission.0.lock();
        let has_place = match self.association.take() {
            Some(association) => {
                state.dissociate(self.source, &association);
                state.start(self.connection, self.source, false, true).map(|give_way| self.give_way = give_way).is_ok()
            }
            None => state.startup.end(self.connection),
        };
        if !has_place {
            self.give_way.notify_one();
        }
    }

    /// The time to wait before an identity of the source is verified.
    pub(crate) fn identity_wait(&self) -> Duration {
        self.admission.0.lock().penalties.wait(self.source, Instant::now())
    }

    /// Counts a failed identity of the source.
    pub(crate) fn note_failed_identity(&self) {
        self.admission.0.lock().penalties.add(self.source, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.admission.0.lock();
        state.startup.leave(self.connection);
        if let Some(association) = &self.association {
            state.dissociate(self.source, association);
        }
    }
}

impl State {
    fn start(&mut self, connection: u64, source: Source, may_wait: bool, is_ending: bool) -> Result<Arc<Notify>, Room> {
        let (now, penalties, proved) = (Instant::now(), &self.penalties, &self.proved);
        let standing = |of| proved.standing(of, penalties.delay(of, now), now);
        match self.startup.make_room(source, now, may_wait, standing) {
            Room::Free => {
                let give_way = Arc::<Notify>::default();
                self.startup.enter(connection, source, is_ending, now, give_way.clone());
                Ok(give_way)
            }
            room => Err(room),
        }
    }

    fn associate(
        &mut self,
        connection: u64,
        source: Source,
        association: &Association,
        of_rule: Option<usize>,
    ) -> Result<(), Limit> {
        let Limits { max, per_address, per_calling_ae } = self.limits;
        let Association { calling_ae, rule } = association;
        if self.open >= max {
            return Err(Limit::Max);
        }
        if !self.by_source.has_room(&source, per_address) {
            return Err(Limit::MaxPerAddress);
        }
        if !self.by_calling_ae.has_room(calling_ae, per_calling_ae) {
            return Err(Limit::MaxPerCallingAe);
        }
        if rule.as_ref().is_some_and(|rule| !self.by_rule.has_room(rule, of_rule)) {
            return Err(Limit::MaxAssociations);
        }
        self.open += 1;
        self.by_source.enter(source);
        self.by_calling_ae.enter(calling_ae.clone());
        rule.iter().for_each(|rule| self.by_rule.enter(rule.clone()));
        self.startup.leave(connection);
        Ok(())
    }

    fn dissociate(&mut self, source: Source, association: &Association) {
        self.open -= 1;
        self.by_source.leave(&source);
        self.by_calling_ae.leave(&association.calling_ae);
        association.rule.iter().for_each(|rule| self.by_rule.leave(rule));
    }
}

/// Counts by key. A key with count 0 takes no memory.
#[derive(Debug)]
struct Tally<K>(HashMap<K, usize>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Tally<K> {
    fn has_room(&self, key: &K, limit: Option<usize>) -> bool {
        limit.is_none_or(|limit| self.0.get(key).copied().unwrap_or(0) < limit)
    }

    fn enter(&mut self, key: K) {
        *self.0.entry(key).or_insert(0) += 1;
    }

    fn leave(&mut self, key: &K) {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max: usize, per_address: Option<usize>, per_calling_ae: Option<usize>) -> Arc<Admission> {
        Arc::new(Admission::new(Limits { max, per_address, per_calling_ae }))
    }

    /// A connection with a startup place.
    fn arrive(admission: &Arc<Admission>, connection: u64, last: u8) -> Place {
        match admission.arrive(connection, [127, 0, 0, last].into(), false) {
            Arrived::Admitted(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn limits_hold_are_named_and_are_given_back() {
        let admission = admission(3, Some(2), Some(1));
        let mut places: Vec<_> =
            (0..6).map(|number| arrive(&admission, number, if number < 3 { 1 } else { 2 })).collect();
        assert_eq!((admission.open(), admission.associations()), (6, 0), "a startup place is no association");
        assert_eq!(places[0].associate("CT1", None), Ok(()));
        assert_eq!(places[1].associate("CT1", None), Err(Limit::MaxPerCallingAe));
        assert_eq!(places[1].associate("CT2", None), Ok(()));
        assert_eq!(places[2].associate("CT3", None), Err(Limit::MaxPerAddress));
        assert_eq!(places[3].associate("CT3", None), Ok(()));
        assert_eq!(places[4].associate("CT4", None), Err(Limit::Max));
        assert_eq!((admission.open(), admission.associations()), (6, 3));
        drop(places.remove(0));
        assert_eq!(places[3].associate("CT1", None), Ok(()));
        drop(places);
        let state = admission.0.lock();
        assert_eq!((state.open, state.startup.len()), (0, 0));
        assert!(state.by_source.0.is_empty() && state.by_calling_ae.0.is_empty());
    }

    #[test]
    fn a_place_is_free_when_the_association_ends_and_not_when_the_connection_does() {
        let admission = admission(1, None, Some(1));
        let (mut first, mut second) = (arrive(&admission, 1, 1), arrive(&admission, 2, 1));
        assert_eq!(first.associate("US1", None), Ok(()));
        first.end();
        assert_eq!(second.associate("US1", None), Ok(()));
        assert_eq!((admission.open(), admission.associations()), (2, 1), "one of them is ending");
        drop((first, second));
        assert_eq!(admission.open(), 0);
    }

    #[tokio::test]
    async fn an_ending_connection_without_a_place_gives_way_at_once() {
        let admission = admission(1, None, None);
        let mut association = arrive(&admission, 0, 1);
        association.associate("CT1", None).unwrap();
        let crowd: Vec<_> = (1..=8).map(|number| arrive(&admission, number, 1)).collect();
        association.end();
        association.give_way().notified().await;
        assert_eq!(admission.open(), crowd.len());
    }

    #[test]
    fn each_rule_has_a_limit_of_its_own_and_a_late_address_counts() {
        let admission = admission(8, Some(2), None);
        let mut places: Vec<_> = (0..4).map(|number| arrive(&admission, number, 1)).collect();
        assert_eq!(places[0].associate("A", Some(("ct", Some(1)))), Ok(()));
        assert_eq!(places[1].associate("A", Some(("ct", Some(1)))), Err(Limit::MaxAssociations));
        assert_eq!(places[1].associate("A", Some(("mr", None))), Ok(()));
        assert_eq!(places[2].associate("A", Some(("mr", None))), Err(Limit::MaxPerAddress));
        places[2].come_from([10, 0, 0, 1].into());
        assert_eq!(places[2].associate("A", Some(("mr", None))), Ok(()));
        drop(places);
        assert!(admission.0.lock().by_rule.0.is_empty());
    }

    #[test]
    fn limits_that_change_hold_for_the_next_one_and_count_who_is_in() {
        let admission = admission(8, None, None);
        let mut places: Vec<_> = (0..5).map(|number| arrive(&admission, number, 1)).collect();
        places[..3].iter_mut().for_each(|place| place.associate("CT1", None).unwrap());
        admission.set_limits(Limits { max: 4, per_address: Some(3), per_calling_ae: None });
        assert_eq!(places[3].associate("CT1", None), Err(Limit::MaxPerAddress), "they were in before the limit");
        admission.set_limits(Limits { max: 3, per_address: None, per_calling_ae: None });
        assert_eq!(places[3].associate("CT1", None), Err(Limit::Max));
    }

    #[test]
    fn failed_identities_delay_those_of_their_source_only() {
        let admission = admission(8, None, None);
        let (one, other) = (arrive(&admission, 0, 1), arrive(&admission, 1, 2));
        (0..5).for_each(|_| one.note_failed_identity());
        assert!(!one.identity_wait().is_zero() && other.identity_wait().is_zero());
    }
}
