//! How many associations may be open: altogether, from one address, with one calling AE title.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The counts, and what they may come to.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    max: AtomicUsize,
    by_address: Tally<IpAddr>,
    by_calling_ae: Tally<String>,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
    calling_ae: Option<String>,
}

impl Admission {
    pub(crate) fn new(max: usize, per_address: Option<usize>, per_calling_ae: Option<usize>) -> Self {
        Self {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            by_address: Tally::new(per_address),
            by_calling_ae: Tally::new(per_calling_ae),
        }
    }

    /// Changes the limits. Who is in stays in.
    pub(crate) fn set_limits(&self, max: usize, per_address: Option<usize>, per_calling_ae: Option<usize>) {
        self.max.store(max, Ordering::Relaxed);
        self.by_address.set_limit(per_address);
        self.by_calling_ae.set_limit(per_calling_ae);
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Admits a connection, or does not because a limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let max = self.max.load(Ordering::Relaxed);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1)).ok()?;
        if !self.by_address.enter(&address) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Admitted { admission: self.clone(), address, calling_ae: None })
    }
}

impl Admitted {
    /// Counts the connection for a calling AE title too; false if its limit is reached.
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
        self.admission.by_address.leave(&self.address);
        if let Some(calling_ae) = &self.calling_ae {
            self.admission.by_calling_ae.leave(calling_ae);
        }
    }
}

/// Counts by key; a key nobody stands under takes no room.
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
        let mut counts = self.0.lock();
        let limit = counts.limit.unwrap_or(usize::MAX);
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
        let mut first = admission.admit(here).unwrap();
        let mut second = admission.admit(here).unwrap();
        assert!(admission.admit(here).is_none(), "address limit");
        let third = admission.admit(there).unwrap();
        assert!(admission.admit(there).is_none(), "node limit");
        assert!(first.call_as("CT1"));
        assert!(!second.call_as("CT1"), "calling AE limit");
        assert!(second.call_as("CT2"));
        drop(first);
        let mut fourth = admission.admit(here).unwrap();
        assert!(fourth.call_as("CT1"));
        drop((second, third, fourth));
        assert_eq!(admission.open(), 0);
        assert!(admission.by_address.0.lock().by_key.is_empty());
        assert!(admission.by_calling_ae.0.lock().by_key.is_empty());
    }

    #[test]
    fn limits_that_change_hold_for_the_next_one_and_count_who_is_in() {
        let admission = Arc::new(Admission::new(8, None, None));
        let here = IpAddr::from([127, 0, 0, 1]);
        let mut inside: Vec<_> = (0..3).map(|_| admission.admit(here).unwrap()).collect();
        assert!(inside.iter_mut().all(|admitted| admitted.call_as("CT1")));
        admission.set_limits(4, Some(3), Some(3));
        assert!(admission.admit(here).is_none(), "three from this address were in before there was a limit");
        let there = admission.admit(IpAddr::from([127, 0, 0, 2])).unwrap();
        admission.set_limits(4, None, None);
        assert!(admission.admit(here).is_none(), "four are in");
        drop((inside, there));
        assert_eq!(admission.open(), 0);
    }
}
