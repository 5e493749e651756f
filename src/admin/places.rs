//! The places of clients. Strangers never hold all of them against others: when none is left, one who holds a place is cut off.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, AbortRegistration};

use super::operators::Role;

/// Enough for probes, scrapers and a person.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Nobody is cut off within this time.
const PROTECTED: Duration = Duration::from_millis(100);
/// Nor within this one if the node owes an answer: a probe gets it.
const PROTECTED_IF_OWED: Duration = Duration::from_secs(1);

/// What is known of the client of a connection.
#[derive(Clone)]
pub(super) struct Client {
    /// What its certificate permits; `None`: it has shown none.
    pub(super) role: Option<Role>,
    pub(super) standing: Rc<Standing>,
}

/// What decides who is cut off first.
#[derive(Default)]
pub(super) struct Standing {
    /// Whether the client has authenticated itself.
    pub(super) is_trusted: Cell<bool>,
    /// Whether its request has arrived and no byte of the answer is written.
    pub(super) is_owed: Cell<bool>,
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
    /// A place for a client at `address`, if need be that of another; `None`: whoever has one has just come. The connection ends with the
    /// registration.
    pub(super) fn take(&self, address: IpAddr) -> Option<(Place, AbortRegistration)> {
        let mut table = self.0.borrow_mut();
        if table.held.len() >= MAX_CONNECTIONS {
            let number = table.to_be_cut_off()?;
            table.held.remove(&number)?.handle.abort();
        }
        let (handle, registration) = AbortHandle::new_pair();
        let standing = Rc::new(Standing::default());
        let number = table.next;
        table.next += 1;
        let held = Held { from: source(address), since: Instant::now(), standing: standing.clone(), handle };
        table.held.insert(number, held);
        Some((Place { number, places: self.clone(), standing }, registration))
    }
}

impl Table {
    /// Strangers before those who are trusted, of the source with the most places, the longest there.
    fn to_be_cut_off(&self) -> Option<u64> {
        let places_of = |from: IpAddr| self.held.values().filter(|held| held.from == from).count();
        let old = self.held.iter().filter(|(_, held)| held.since.elapsed() >= held.protected());
        let first = old.min_by_key(|(number, held)| {
            let Standing { is_trusted, is_owed } = &*held.standing;
            (is_trusted.get(), is_owed.get(), std::cmp::Reverse(places_of(held.from)), **number)
        });
        first.map(|(number, _)| *number)
    }
}

impl Held {
    fn protected(&self) -> Duration {
        if self.standing.is_owed.get() { PROTECTED_IF_OWED } else { PROTECTED }
    }
}

/// An address, or the /64 of one: that is what one subscriber has of IPv6.
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
    fn who_comes_takes_the_place_of_the_oldest_stranger_of_the_largest_crowd() {
        let (crowd, one): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let places = Places::default();
        let mut held = vec![places.take(one).unwrap()];
        held.extend((1..MAX_CONNECTIONS).map(|_| places.take(crowd).unwrap()));
        held[1].0.standing.is_trusted.set(true);
        held[2].0.standing.is_owed.set(true);
        assert!(places.take(one).is_none(), "everybody has just come");
        std::thread::sleep(PROTECTED);
        let another = places.take(one).unwrap();
        let table = places.0.borrow();
        assert_eq!(table.held.len(), MAX_CONNECTIONS);
        assert!(!table.held.contains_key(&3), "the first of the crowd that is not trusted, and waits for no answer");
        assert!((0..3).all(|number| table.held.contains_key(&number)));
        drop(table);
        drop(another);
        drop(held);
        assert!(places.0.borrow().held.is_empty());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_source() {
        let [a, b] = ["2001:db8::1", "2001:db8::ffff:2"].map(|address| source(address.parse().unwrap()));
        assert_eq!(a, b);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
