//! The places of clients. Strangers never hold all of them against others: when none is left, a connection is cut off for the new one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, AbortRegistration};

use super::operators::Role;

/// Enough for probes, scrapers and a person.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// No connection is cut off within this time.
const PROTECTED: Duration = Duration::from_millis(100);
/// The same for a connection whose source has fewer places than another: in a flood, a TLS handshake takes its time.
const PROTECTED_BESIDE_A_CROWD: Duration = Duration::from_secs(1);
/// The same for a connection whose request waits for its answer: a probe gets it.
const PROTECTED_IF_OWED: Duration = Duration::from_secs(1);
/// The same after the end of the answer. A client that reads has closed by then; a flood of clients that do not read must not wait for places,
/// since everybody behind them in the kernel's queue waits as well.
const PROTECTED_IF_ANSWERED: Duration = Duration::from_millis(20);

/// The client of a connection.
#[derive(Clone)]
pub(super) struct Client {
    /// The role of its certificate; `None`: it has none.
    pub(super) role: Option<Role>,
    /// Subject and serial number of its certificate; empty without one.
    pub(super) certificate: Rc<str>,
    pub(super) standing: Rc<Standing>,
}

/// The properties of a connection by which one is chosen to be cut off.
#[derive(Default)]
pub(super) struct Standing {
    /// Whether the client has authenticated itself.
    pub(super) is_trusted: Cell<bool>,
    /// Whether its request has arrived and no byte of the answer is written.
    pub(super) is_owed: Cell<bool>,
    /// When the end of the answer was sent.
    pub(super) answered: Cell<Option<Instant>>,
}

/// The places, by the order in which they were taken.
#[derive(Clone, Default)]
pub(super) struct Places(Rc<RefCell<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    held: BTreeMap<u64, Held>,
}

struct Held {
    from: IpAddr,
    since: Instant,
    standing: Rc<Standing>,
    handle: AbortHandle,
}

/// A place, until it is dropped.
pub(super) struct Place {
    number: u64,
    places: Places,
    pub(super) standing: Rc<Standing>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.0.borrow_mut().held.remove(&self.number);
    }
}

impl Places {
    /// A place for a client at `address`, if need be that of another connection, which ends; `None`: all of them are protected. The new
    /// connection ends when the registration is aborted.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Option<(Place, AbortRegistration)> {
        let mut table = self.0.borrow_mut();
        if table.held.len() >= MAX_CONNECTIONS {
            let number = table.to_be_cut_off(now)?;
            table.held.remove(&number)?.handle.abort();
        }
        let (handle, registration) = AbortHandle::new_pair();
        let standing = Rc::new(Standing::default());
        let number = table.next;
        table.next += 1;
        let held = Held { from: source(address), since: now, standing: standing.clone(), handle };
        table.held.insert(number, held);
        Some((Place { number, places: self.clone(), standing }, registration))
    }
}

impl Table {
    /// Strangers before trusted clients; the source with the most places; its oldest connection.
    fn to_be_cut_off(&self, now: Instant) -> Option<u64> {
        let mut crowds = HashMap::<IpAddr, usize>::new();
        self.held.values().for_each(|held| *crowds.entry(held.from).or_default() += 1);
        let places_of = |held: &Held| crowds.get(&held.from).copied().unwrap_or(0);
        let most = crowds.values().copied().max().unwrap_or(0);
        let unprotected = self.held.iter().filter(|(_, held)| !held.is_protected(places_of(held) == most, now));
        let first = unprotected.min_by_key(|(number, held)| {
            let Standing { is_trusted, is_owed, .. } = &*held.standing;
            (is_trusted.get(), is_owed.get(), std::cmp::Reverse(places_of(held)), **number)
        });
        first.map(|(number, _)| *number)
    }
}

impl Held {
    /// `is_crowd`: no source has more places.
    fn is_protected(&self, is_crowd: bool, now: Instant) -> bool {
        let Standing { is_owed, answered, .. } = &*self.standing;
        let (since, protected) = match answered.get() {
            Some(at) => (at, PROTECTED_IF_ANSWERED),
            None if is_owed.get() => (self.since, PROTECTED_IF_OWED),
            None if is_crowd => (self.since, PROTECTED),
            None => (self.since, PROTECTED_BESIDE_A_CROWD),
        };
        now.duration_since(since) < protected
    }
}

/// An address, or its network of 64 bits: a subscriber of IPv6 has all addresses of one.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_client_gets_the_place_of_the_oldest_stranger_of_the_largest_crowd() {
        let (crowd, one): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let places = Places::default();
        let came = Instant::now();
        let mut held = vec![places.take(one, came).unwrap()];
        held.extend((1..MAX_CONNECTIONS).map(|_| places.take(crowd, came).unwrap()));
        held[1].0.standing.is_trusted.set(true);
        held[2].0.standing.is_owed.set(true);
        assert!(places.take(one, came).is_none(), "all have just come");
        let later = came + PROTECTED;
        held.push(places.take(one, later).unwrap());
        let has = |number| places.0.borrow().held.contains_key(&number);
        assert_eq!(places.0.borrow().held.len(), MAX_CONNECTIONS);
        assert!(!has(3), "the first of the crowd that is not trusted, and waits for no answer");
        assert!((0..3).all(has));

        held.iter().for_each(|(place, _)| place.standing.is_owed.set(true));
        assert!(places.take(one, later).is_none(), "the node owes the answers");
        held[9].0.standing.answered.set(Some(later));
        assert!(places.take(one, later).is_none(), "the client has not had the time to read the answer");
        held.push(places.take(one, later + PROTECTED_IF_ANSWERED).unwrap());
        assert!(!has(9));
        drop(held);
        assert!(places.0.borrow().held.is_empty());
    }

    #[test]
    fn a_slow_handshake_is_not_cut_off_for_a_crowd_that_comes_faster() {
        let (probe, crowds): (IpAddr, [IpAddr; 2]) =
            ("192.0.2.1".parse().unwrap(), ["192.0.2.2", "192.0.2.3"].map(|address| address.parse().unwrap()));
        let (places, came) = (Places::default(), Instant::now());
        let _probe = places.take(probe, came).unwrap();
        let mut held = Vec::new();
        for turn in 1..1000_u32 {
            // Every millisecond, so that all of the crowd are young whenever the probe has become the oldest of all.
            if let Some(taken) = places.take(crowds[turn as usize % 2], came + turn * Duration::from_millis(1)) {
                held.push(taken);
            }
            assert!(places.0.borrow().held.contains_key(&0), "{turn}");
        }
        assert!(held.len() > 5 * MAX_CONNECTIONS, "the crowd is served as well");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_source() {
        let [a, b] = ["2001:db8::1", "2001:db8::ffff:2"].map(|address| source(address.parse().unwrap()));
        assert_eq!(a, b);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
