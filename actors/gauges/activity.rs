//! The activity of each open association and each writer, for operators. One thread writes a figure, and any thread may read it. An
//! operator ends an association here, too.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes from a peer that are more than a request and some echoes.
const LEAST_DATASET_BYTES: u64 = 64 << 10;

/// The open associations, by account.
#[derive(Debug, Default)]
pub(crate) struct OpenAssociations(Mutex<BTreeMap<u64, Arc<AssociationActivity>>>);

/// Keeps an association in the list; dropping it removes the entry.
#[derive(Debug)]
pub(crate) struct ActivityGuard {
    list: Arc<OpenAssociations>,
    account: u64,
    activity: Arc<AssociationActivity>,
}

/// The figures of an association.
#[derive(Debug)]
pub(crate) struct AssociationActivity {
    opened: Instant,
    peer: SocketAddr,
    titles: OnceLock<Titles>,
    received_bytes: AtomicU64,
    /// The time of the peer's last byte, in milliseconds since `opened`.
    last_activity_ms: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// What is wanted of the association: a [`Wish`], or 0.
    wish: AtomicU8,
    wished: Notify,
}

/// What is wanted of an association by the node or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To spool what it holds of a dataset that stalls.
    GiveBack,
    /// To abort. It outranks the other.
    End(EndCause),
}

/// The cause for which an association is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EndCause {
    /// It stalled while others waited for memory, and was asked for its memory in vain.
    Stalled = 2,
    /// It had stored nothing, and another needed its place.
    UnusedPlace,
    /// Memory pressure.
    MemoryPressure,
    /// It held more memory than any association can need.
    MemoryLimit,
    /// An operator.
    Operator,
}

impl EndCause {
    const ALL: [Self; 5] = [Self::Stalled, Self::UnusedPlace, Self::MemoryPressure, Self::MemoryLimit, Self::Operator];

    /// The name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::UnusedPlace => "unused_place",
            Self::MemoryPressure => "memory_pressure",
            Self::MemoryLimit => "memory_limit",
            Self::Operator => "aborted_by_operator",
        }
    }
}

impl Wish {
    /// As it is kept in an atomic: a greater one outranks the others, 0 is none.
    fn code(self) -> u8 {
        match self {
            Self::GiveBack => 1,
            Self::End(cause) => cause as u8,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        let cause = EndCause::ALL.into_iter().find(|cause| *cause as u8 == code);
        if code == Self::GiveBack.code() { Some(Self::GiveBack) } else { cause.map(Self::End) }
    }
}

/// The identity in the A-ASSOCIATE-RQ.
#[derive(Debug)]
struct Titles {
    /// The address of the peer. Behind a balancer it differs from that of the connection.
    peer: SocketAddr,
    calling: String,
    called: String,
}

/// An open association at one moment.
#[derive(Clone, Debug)]
pub struct AssociationUse {
    /// Its account: unique as long as the node runs.
    pub id: u64,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// A peer's string: escape it before showing it. Empty until the association is accepted.
    pub calling_ae_title: String,
    /// A peer's string.
    pub called_ae_title: String,
    /// Since it was opened.
    pub age: Duration,
    /// Since the peer last sent something.
    pub quiet: Duration,
    /// Bytes read from it.
    pub received_bytes: u64,
    /// Leased bytes.
    pub held_bytes: u64,
    /// Instances acknowledged.
    pub acknowledged: u64,
    /// Instances refused.
    pub refused: u64,
}

impl OpenAssociations {
    /// Registers the association with this account.
    pub(crate) fn register(self: &Arc<Self>, account: u64, peer: SocketAddr) -> ActivityGuard {
        let activity = Arc::new(AssociationActivity {
            opened: Instant::now(),
            peer,
            titles: OnceLock::new(),
            received_bytes: AtomicU64::new(0),
            last_activity_ms: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            wish: AtomicU8::new(0),
            wished: Notify::new(),
        });
        self.0.lock().insert(account, activity.clone());
        ActivityGuard { list: self.clone(), account, activity }
    }

    /// Requests the end of the association with this account; false if there is none. The association ends at its next wait.
    pub(crate) fn end(&self, account: u64, cause: EndCause) -> bool {
        self.wish(account, Wish::End(cause))
    }

    /// Passes a wish to the association with this account, which sees it at its next wait; false if there is none.
    pub(crate) fn wish(&self, account: u64, wish: Wish) -> bool {
        let activity = self.0.lock().get(&account).cloned();
        activity.is_some_and(|activity| {
            activity.wish.fetch_max(wish.code(), Ordering::Relaxed);
            activity.wished.notify_one();
            true
        })
    }

    /// Whether the account is that of an open association.
    pub(crate) fn has(&self, account: u64) -> bool {
        self.0.lock().contains_key(&account)
    }

    /// Of the associations that have stored nothing and whose peer `is_candidate`, the one that has been quiet for longest: its account, its
    /// peer, and for how long. Echoes are no use of an association: one that has sent little has been quiet from its begin.
    pub(crate) fn longest_unused(&self, is_candidate: impl Fn(IpAddr) -> bool) -> Option<(u64, SocketAddr, Duration)> {
        let quiet_since = |activity: &AssociationActivity| {
            let has_begun = activity.received_bytes.load(Ordering::Relaxed) >= LEAST_DATASET_BYTES;
            let last_ms = if has_begun { activity.last_activity_ms.load(Ordering::Relaxed) } else { 0 };
            activity.opened + Duration::from_millis(last_ms)
        };
        let open = self.0.lock();
        let unused = open.iter().filter_map(|(account, activity)| {
            let peer = activity.titles.get()?.peer;
            let is_unused = activity.acknowledged.load(Ordering::Relaxed) == 0 && is_candidate(peer.ip());
            is_unused.then(|| (*account, peer, quiet_since(activity)))
        });
        let (account, peer, since) = unused.min_by_key(|(_, _, since)| *since)?;
        Some((account, peer, since.elapsed()))
    }

    /// Accounts of all, and the bytes received from each.
    pub(crate) fn received(&self) -> Vec<(u64, u64)> {
        let read = |(account, activity): (&u64, &Arc<AssociationActivity>)| {
            (*account, activity.received_bytes.load(Ordering::Relaxed))
        };
        self.0.lock().iter().map(read).collect()
    }

    /// Every open association, the oldest first. `held_bytes` returns the leased bytes of an account.
    pub(crate) fn all(&self, held_bytes: impl Fn(u64) -> u64) -> Vec<AssociationUse> {
        let open: Vec<_> = self.0.lock().iter().map(|(account, activity)| (*account, activity.clone())).collect();
        open.into_iter().map(|(account, activity)| activity.read(account, held_bytes(account))).collect()
    }
}

impl AssociationActivity {
    fn read(&self, id: u64, held_bytes: u64) -> AssociationUse {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let age = self.opened.elapsed();
        let titles = self.titles.get();
        AssociationUse {
            id,
            peer: titles.map_or(self.peer, |titles| titles.peer),
            calling_ae_title: titles.map(|titles| titles.calling.clone()).unwrap_or_default(),
            called_ae_title: titles.map(|titles| titles.called.clone()).unwrap_or_default(),
            age,
            quiet: age.saturating_sub(Duration::from_millis(load(&self.last_activity_ms))),
            received_bytes: load(&self.received_bytes),
            held_bytes,
            acknowledged: load(&self.acknowledged),
            refused: load(&self.refused),
        }
    }
}

/// Adds to a figure that only one thread writes, so the addition need not be atomic.
fn add(figure: &AtomicU64, n: u64) {
    figure.store(figure.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl ActivityGuard {
    /// Counts received bytes.
    pub(crate) fn received(&self, bytes: u64) {
        add(&self.activity.received_bytes, bytes);
        self.activity.last_activity_ms.store(self.activity.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Sets the identity in the A-ASSOCIATE-RQ.
    pub(crate) fn requested(&self, peer: SocketAddr, calling: &str, called: &str) {
        let _ = self.activity.titles.set(Titles { peer, calling: calling.to_owned(), called: called.to_owned() });
    }

    /// An instance was acknowledged.
    pub(crate) fn acknowledged(&self) {
        add(&self.activity.acknowledged, 1);
    }

    /// An instance was refused.
    pub(crate) fn refused(&self) {
        add(&self.activity.refused, 1);
    }

    /// Instances acknowledged and refused so far.
    pub(crate) fn answered(&self) -> (u64, u64) {
        (self.activity.acknowledged.load(Ordering::Relaxed), self.activity.refused.load(Ordering::Relaxed))
    }

    /// Waits until something is wanted of the association. No wish is lost, whenever it comes.
    pub(crate) async fn wish(&self) -> Wish {
        loop {
            self.activity.wished.notified().await;
            // None: it was answered already, the notification came between.
            if let Some(wish) = Wish::of_code(self.activity.wish.swap(0, Ordering::Relaxed)) {
                return wish;
            }
        }
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        self.list.0.lock().remove(&self.account);
    }
}

/// The writers, by their number in the pool. A restarted writer has an entry of its own, so its hung predecessor does not write to it.
#[derive(Debug)]
pub(crate) struct WriterList(Mutex<Vec<Arc<WriterActivity>>>);

/// The figures of a writer since it was last started.
#[derive(Debug)]
pub(crate) struct WriterActivity {
    started: Instant,
    jobs: AtomicU64,
    /// The time at which it took its jobs, in milliseconds since `started`.
    jobs_since_ms: AtomicU64,
    instances_total: AtomicU64,
    bytes_total: AtomicU64,
}

impl Default for WriterActivity {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            started: Instant::now(),
            jobs: zero(),
            jobs_since_ms: zero(),
            instances_total: zero(),
            bytes_total: zero(),
        }
    }
}

/// A writer at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WriterUse {
    /// Jobs in flight.
    pub jobs: u64,
    /// The time since it took them.
    pub busy: Duration,
    /// Instances stored since its last start.
    pub instances_total: u64,
    /// Bytes of their datasets.
    pub bytes_total: u64,
}

impl WriterList {
    pub(crate) fn new(count: usize) -> Self {
        Self(Mutex::new((0..count).map(|_| Arc::default()).collect()))
    }

    /// Activity of a writer that starts.
    pub(crate) fn start(&self, index: u32) -> Arc<WriterActivity> {
        let activity = Arc::<WriterActivity>::default();
        if let Some(entry) = self.0.lock().get_mut(index as usize) {
            *entry = activity.clone();
        }
        activity
    }

    /// The longest time that a writer has had its jobs.
    pub(crate) fn longest_busy(&self) -> Duration {
        self.all().iter().map(|writer| writer.busy).max().unwrap_or_default()
    }

    /// Every writer, in the order of numbers.
    pub(crate) fn all(&self) -> Vec<WriterUse> {
        self.0.lock().iter().map(|activity| activity.read()).collect()
    }
}

impl WriterActivity {
    fn read(&self) -> WriterUse {
        let load = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let jobs = load(&self.jobs);
        let busy = self.started.elapsed().saturating_sub(Duration::from_millis(load(&self.jobs_since_ms)));
        WriterUse {
            jobs,
            busy: if jobs > 0 { busy } else { Duration::ZERO },
            instances_total: load(&self.instances_total),
            bytes_total: load(&self.bytes_total),
        }
    }

    /// Sets the number of jobs in flight; 0: it has answered all.
    pub(crate) fn set_jobs(&self, jobs: usize) {
        self.jobs_since_ms.store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.jobs.store(jobs as u64, Ordering::Relaxed);
    }

    /// Counts a stored instance.
    pub(crate) fn stored(&self, bytes: u64) {
        add(&self.instances_total, 1);
        add(&self.bytes_total, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_association_hears_that_it_is_to_end_even_if_it_was_not_listening() {
        let list = Arc::<OpenAssociations>::default();
        let peer = "127.0.0.1:4242".parse().unwrap();
        let activity = list.register(7, peer);
        let other = list.register(8, peer);
        let operator = EndCause::Operator;
        assert!(list.end(7, operator) && list.end(8, operator) && !list.end(9, operator));
        assert!(list.wish(7, Wish::GiveBack));
        assert_eq!((activity.wish().await, other.wish().await), (Wish::End(operator), Wish::End(operator)));
        assert!(list.wish(8, Wish::GiveBack));
        assert_eq!(other.wish().await, Wish::GiveBack);
        drop((activity, other));
        assert!(!list.end(7, operator));
        assert!(list.all(|_| 0).is_empty());
    }

    #[test]
    fn what_an_association_does_is_listed() {
        let list = Arc::<OpenAssociations>::default();
        let activity = list.register(3, "127.0.0.1:4242".parse().unwrap());
        assert_eq!(list.all(|_| 0)[0].calling_ae_title, "");
        activity.requested("10.0.0.7:104".parse().unwrap(), "CT1", "TIDEGATE");
        activity.received(100);
        activity.received(20);
        activity.acknowledged();
        activity.refused();
        let found = &list.all(|account| account * 10)[0];
        assert_eq!((found.id, found.calling_ae_title.as_str(), found.called_ae_title.as_str()), (3, "CT1", "TIDEGATE"));
        assert_eq!(found.peer.port(), 104, "who is behind the balancer");
        assert_eq!((found.received_bytes, found.held_bytes, found.acknowledged, found.refused), (120, 30, 1, 1));
        assert!(found.quiet <= found.age);
    }

    #[test]
    fn a_writer_started_anew_begins_from_nothing() {
        let list = WriterList::new(2);
        let first = list.start(1);
        first.set_jobs(3);
        first.stored(500);
        assert_eq!((list.all()[1].jobs, list.all()[1].bytes_total, list.all()[0].jobs), (3, 500, 0));
        let _second = list.start(1);
        first.stored(500);
        assert_eq!((list.all()[1].jobs, list.all()[1].instances_total), (0, 0), "the one before writes to nobody's");
    }
}
