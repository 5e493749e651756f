//! The event that an instance is stored. Every consumer behind the storage learns of it here.
//!
//! The writer sends it after the commit, also if the source is gone, and usually once. It may be repeated: by a retry after the death of a
//! writer, an identical resend, a commit that ends after its timeout. It may be missing: after a crash, or if the writer was fenced and the
//! source is gone. So a subscriber is idempotent, and one that must be complete compares with the storage.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_catalogue::receipt::{OriginEntry, OriginKey};
use tidegate_storage::{Instance, Stored};

use crate::senders::{Senders, Sending};

/// The sender of an instance.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The account of the association, as in its log lines and in `tidegate associations`.
    pub association: u64,
    /// The address of the peer.
    pub peer: SocketAddr,
    /// A peer's string: escape it before printing.
    pub calling_ae_title: String,
    /// The access rule that let the association in.
    pub rule: Option<String>,
    /// The destinations of its instances, by name.
    pub destinations: Arc<[String]>,
    /// The studies that it sends, for those who wait for its end.
    sending: Option<Arc<Sending>>,
    /// Its entry in the root's list of origins, once a writer has looked; `None`: it has none.
    pub(crate) key: OnceLock<Option<OriginKey>>,
    /// The same for the catalogue, once that needs it.
    catalogued: OnceLock<Arc<tidegate_catalogue::Origin>>,
}

/// What was looked up of an origin makes no other one of it.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.association, self.peer) == (other.association, other.peer)
            && (&self.calling_ae_title, &self.rule) == (&other.calling_ae_title, &other.rule)
            && self.destinations == other.destinations
    }
}

impl Eq for Origin {}

impl Origin {
    /// A sender whose instances have no destination.
    pub fn new(association: u64, peer: SocketAddr, calling_ae_title: String, rule: Option<String>) -> Self {
        let (key, catalogued) = (OnceLock::new(), OnceLock::new());
        Self { association, peer, calling_ae_title, rule, destinations: Arc::default(), sending: None, key, catalogued }
    }

    /// The same sender, with these destinations of its instances.
    #[must_use]
    pub fn with_destinations(&self, destinations: Arc<[String]>) -> Self {
        let Self { association, peer, calling_ae_title, rule, sending, .. } = self;
        let sending = sending.clone();
        Self { destinations, sending, ..Self::new(*association, *peer, calling_ae_title.clone(), rule.clone()) }
    }

    /// The same sender, whose studies are known while it or one of its instances is there.
    pub(crate) fn joining(self, senders: Option<&Arc<Senders>>) -> Self {
        Self { sending: senders.map(|senders| Arc::new(senders.join())), ..self }
    }

    /// An instance of the study is on its way.
    pub(crate) fn note_study(&self, study_uid: &str) {
        if let Some(sending) = &self.sending {
            sending.note(study_uid);
        }
    }

    /// As the list of origins has it.
    pub(crate) fn entry(&self) -> OriginEntry {
        OriginEntry {
            calling_ae_title: self.calling_ae_title.clone(),
            address: self.peer.ip().to_string(),
            rule: self.rule.clone().unwrap_or_default(),
            destinations: self.destinations.to_vec(),
        }
    }

    /// As the catalogue has it: one and the same for all instances of the association.
    pub(crate) fn catalogued(&self) -> Arc<tidegate_catalogue::Origin> {
        let make = || {
            let OriginEntry { calling_ae_title, address, rule, destinations } = self.entry();
            let association = self.association as u32;
            Arc::new(tidegate_catalogue::Origin { calling_ae_title, address, rule, destinations, association })
        };
        Arc::clone(self.catalogued.get_or_init(make))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same as the databases of the node keep times.
pub(crate) fn clock_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// A time of the clock so much ahead.
pub(crate) fn ms_ahead(now_ms: i64, ahead: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX))
}

/// How long until a time to which something was put off. Nothing is put off for longer than `longest`: a later time is from before the clock was set back, and
/// is due.
pub(crate) fn put_off(due_ms: i64, now_ms: i64, longest: Duration) -> Duration {
    let wait = Duration::from_millis(u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0));
    if wait <= longest { wait } else { Duration::ZERO }
}

/// The time up to which all is due, if the first is due at `due_ms`: now, or any time if the clock was set back.
pub(crate) fn due_until(due_ms: i64, now_ms: i64, longest: Duration) -> i64 {
    if due_ms > now_ms && put_off(due_ms, now_ms, longest).is_zero() { i64::MAX } else { now_ms }
}

/// An instance is stored. The event borrows: a subscriber that hands it on copies what it needs, and pays for that.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// The sender.
    pub origin: &'a Arc<Origin>,
    /// Its file meta, digest, and the elements that its layout, the audit and the catalogue need.
    pub instance: &'a Instance,
    /// The outcome, and the path of the file.
    pub stored: &'a Stored,
}

/// A consumer of committed instances.
pub trait Subscriber: Send + Sync {
    /// Takes note of an instance, on the thread of a writer or an association: it must not block or panic. A subscriber whose queue is full
    /// records that it has missed instances.
    fn committed(&self, event: &Committed<'_>);
}

/// All subscribers of a node.
#[derive(Clone, Default)]
pub(crate) struct Subscribers(Arc<[Arc<dyn Subscriber>]>);

impl Subscribers {
    pub(crate) fn new(subscribers: Vec<Arc<dyn Subscriber>>) -> Self {
        Self(subscribers.into())
    }

    /// Tells every subscriber.
    pub(crate) fn tell(&self, event: &Committed<'_>) {
        self.0.iter().for_each(|subscriber| subscriber.committed(event));
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscribers({})", self.0.len())
    }
}
