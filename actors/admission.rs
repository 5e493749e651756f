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
    max: usize,
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
            max,
            by_address: Tally::new(per_address),
            by_calling_ae: Tally::new(per_calling_ae),
        }
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Admits a connection, or does not because a limit is reached.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < self.max).then_some(open + 1))
            .ok()?;
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

/// Counts by key; a key nobody stands under takes no room. Without a limit nothing is counted.
#[derive(Debug)]
struct Tally<K> {
    limit: Option<usize>,
    counts: Mutex<HashMap<K, usize>>,
}

impl<K: Hash + Eq + Clone> Tally<K> {
    fn new(limit: Option<usize>) -> Self {
        Self { limit, counts: Mutex::default() }
    }

    fn enter(&self, key: &K) -> bool {
        let Some(limit) = self.limit else {
            return true;
        };
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_insert(0);
        let admitted = *count < limit;
        *count += usize::from(admitted);
        admitted
    }

    fn leave(&self, key: &K) {
        if self.limit.is_none() {
            return;
        }
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
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
        assert!(admission.by_address.counts.lock().is_empty());
        assert!(admission.by_calling_ae.counts.lock().is_empty());
    }
}
