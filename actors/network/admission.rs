//! Admission: the limits of open associations, in all, by address, by calling AE title, and by access rule.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Bytes of the floor lease, which each association has from admission to its end: the floor segment (16 KiB, while bytes arrive), actor
/// and connection (6 KiB measured), a command set (at most 8 KiB), and a margin. Invariant: with its floor alone, every association makes
/// progress when the budget is exhausted.
pub const FLOOR_LEASE_BYTES: u64 = 32 * 1024;

/// The counts and their limits.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    max: AtomicUsize,
    by_address: Tally<IpAddr>,
    by_calling_ae: Tally<String>,
    /// By the name of the access rule; each rule has a limit of its own.
    by_rule: Tally<String>,
}

/// Keeps a connection counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
    calling_ae: Option<String>,
    rule: Option<String>,
}

impl Admission {
    pub(crate) fn new(max: usize, per_address: Option<usize>, per_calling_ae: Option<usize>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            by_address: Tally::new(per_address),
            by_calling_ae: Tally::new(per_calling_ae),
            by_rule: Tally::new(None),
        }
    }

    /// Changes the limits. Open connections stay.
    pub(crate) fn set_limits(&self, max: usize, per_address: Option<usize>, per_calling_ae: Option<usize>) {
        self.max.store(max, Ordering::Relaxed);
        self.by_address.set_limit(per_address);
        self.by_calling_ae.set_limit(per_calling_ae);
    }

    /// Open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Admits a connection, unless a limit is reached. `None`: the address is behind a balancer and not known yet.
    pub(crate) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Admitted> {
        let max = self.max.load(Ordering::Relaxed);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1)).ok()?;
        if address.is_some_and(|address| !self.by_address.enter(&address)) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Admitted { admission: self.clone(), address, calling_ae: None, rule: None })
    }
}

impl Admitted {
    /// Counts the connection for the address that the PROXY header names; false if the limit is reached.
    pub(crate) fn come_from(&mut self, address: IpAddr) -> bool {
        if self.address.is_some() || !self.admission.by_address.enter(&address) {
            return false;
        }
        self.address = Some(address);
        true
    }

    /// Counts the connection for its access rule; false if the rule's limit is reached.
    pub(crate) fn fall_under(&mut self, rule: &str, limit: Option<usize>) -> bool {
        let rule = rule.to_owned();
        if !self.admission.by_rule.enter_within(&rule, limit) {
            return false;
        }
        self.rule = Some(rule);
        true
    }

    /// Counts the connection for its calling AE title; false if the limit is reached.
    pub(crate) fn call_as(&mut self, calling_ae: &str) -> bool {
        let calling_ae = calling_ae.to_owned();
        if !self.admission.by_calling_ae.enter(&calling_ae) {
            return false;
        }
        self.calling_ae = Some(calling_ae);
        true
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = &self.address {
            self.admission.by_address.leave(address);
        }
        if let Some(rule) = &self.rule {
            self.admission.by_rule.leave(rule);
        }
        if let Some(calling_ae) = &self.calling_ae {
            self.admission.by_calling_ae.leave(calling_ae);
        }
    }
}

/// Counts by key. A key with count 0 takes no memory.
#[derive(Debug)]
struct Tally<K>(Mutex<Counts<K>>);

#[derive(Debug)]
struct Counts<K> {
    limit: Option<usize>,
    by_key: HashMap<K, usize>,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    fn new(limit: Option<usize>) -> Self {
        Self(Mutex::new(Counts { limit, by_key: HashMap::new() }))
    }

    fn set_limit(&self, limit: Option<usize>) {
        self.0.lock().limit = limit;
    }

    fn enter(&self, key: &K) -> bool {
        let limit = self.0.lock().limit;
        self.enter_within(key, limit)
    }

    fn enter_within(&self, key: &K, limit: Option<usize>) -> bool {
        let mut counts = self.0.lock();
        let limit = limit.unwrap_or(usize::MAX);
        let count = counts.by_key.entry(key.clone()).or_insert(0);
        let admitted = *count < limit;
        *count += usize::from(admitted);
        admitted
    }

    fn leave(&self, key: &K) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.by_key.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.by_key.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_are_given_back() {
        let admission = Arc::new(Admission::new(3, Some(2), Some(1)));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut first = admission.admit(Some(here)).unwrap();
        let mut second = admission.admit(Some(here)).unwrap();
        assert!(admission.admit(Some(here)).is_none(), "address limit");
        let third = admission.admit(Some(there)).unwrap();
        assert!(admission.admit(Some(there)).is_none(), "node limit");
        assert!(first.call_as("CT1"));
        assert!(!second.call_as("CT1"), "calling AE limit");
        assert!(second.call_as("CT2"));
        drop(first);
        let mut fourth = admission.admit(Some(here)).unwrap();
        assert!(fourth.call_as("CT1"));
        drop((second, third, fourth));
        assert_eq!(admission.open(), 0);
        assert!(admission.by_address.0.lock().by_key.is_empty());
        assert!(admission.by_calling_ae.0.lock().by_key.is_empty());
    }

    #[test]
    fn each_rule_has_a_limit_of_its_own_and_a_late_address_counts() {
        let admission = Arc::new(Admission::new(8, Some(1), None));
        let here = IpAddr::from([127, 0, 0, 1]);
        let mut inside: Vec<_> = (0..3).map(|_| admission.admit(None).unwrap()).collect();
        assert!(inside[0].fall_under("ct", Some(1)) && !inside[1].fall_under("ct", Some(1)));
        assert!(inside[1].fall_under("mr", None) && inside[2].fall_under("mr", None));
        assert!(inside[0].come_from(here) && !inside[1].come_from(here));
        assert!(admission.admit(Some(here)).is_none());
        drop(inside);
        assert!(admission.by_rule.0.lock().by_key.is_empty() && admission.by_address.0.lock().by_key.is_empty());
    }

    #[test]
    fn limits_that_change_hold_for_the_next_one_and_count_who_is_in() {
        let admission = Arc::new(Admission::new(8, None, None));
        let here = IpAddr::from([127, 0, 0, 1]);
        let mut inside: Vec<_> = (0..3).map(|_| admission.admit(Some(here)).unwrap()).collect();
        assert!(inside.iter_mut().all(|admitted| admitted.call_as("CT1")));
        admission.set_limits(4, Some(3), Some(3));
        assert!(admission.admit(Some(here)).is_none(), "three from this address were in before there was a limit");
        let there = admission.admit(Some(IpAddr::from([127, 0, 0, 2]))).unwrap();
        admission.set_limits(4, None, None);
        assert!(admission.admit(Some(here)).is_none(), "four are in");
        drop((inside, there));
        assert_eq!(admission.open(), 0);
    }
}
