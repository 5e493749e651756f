//! The settings the actors own. Whoever builds them has validated them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_access::{Rules, Users};
use tidegate_protocol::Policy;
use tidegate_storage::Placement;

pub use crate::supervision::limits::{RestartLimit, SupervisionSettings};

/// Everything a node needs to start. What stands here outside of `live` holds until the node stops.
#[derive(Debug)]
pub struct NodeSettings {
    /// Where to listen for associations without TLS; port 0 takes a free one. Here or for TLS, or both.
    pub listen: Option<SocketAddr>,
    /// Where to listen for associations over TLS. Then [`LiveSettings::tls`] is there.
    pub tls_listen: Option<SocketAddr>,
    /// Threads that serve associations, at least 1.
    pub association_threads: usize,
    /// Writers, each on a thread of its own; at least 1.
    pub writers: usize,
    /// Storage.
    pub storage: tidegate_storage::Settings,
    /// Whether audit records are written down.
    pub audits: bool,
    /// What can be changed while the node runs.
    pub live: LiveSettings,
}

/// What can be changed while the node runs, all of it at once.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// Associations.
    pub associations: AssociationSettings,
    /// Certificate, versions and whom to trust, for handshakes from now on.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who is let in, and on what terms.
    pub access: Arc<AccessSettings>,
    /// Writers.
    pub writers: WriterSettings,
    /// What all leases together may hold, in bytes.
    pub memory_budget_bytes: u64,
    /// How often the statistics line is logged; `None`: never.
    pub statistics_interval: Option<Duration>,
    /// What one peer does amiss, of one kind, is logged once in this time.
    pub log_repeat_interval: Duration,
    /// Supervision.
    pub supervision: SupervisionSettings,
}

/// Who is let in, and on what terms. An association keeps what it began with.
#[derive(Debug)]
pub struct AccessSettings {
    /// Access rules.
    pub rules: Rules,
    /// What each of them grants, by its place.
    pub terms: Vec<Terms>,
    /// Balancers: connections from here begin with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// Who is known by name and passcode; `None`: any name is taken.
    pub users: Option<Arc<Users>>,
    /// Whether a peer that names no user is turned away.
    pub require_user: bool,
}

/// What an access rule grants.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Associations open at one time that the rule has let in; `None`: no limit of its own.
    pub max_associations: Option<usize>,
    /// Where and how what it lets in is stored; `None`: as the store's settings have it.
    pub placement: Option<Arc<Placement>>,
}

impl AccessSettings {
    /// Whether `address` is that of a balancer.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies.iter().any(|net| net.contains(&address))
    }
}

/// Limits and timers of associations. An association keeps those it began with.
#[derive(Clone, Debug)]
pub struct AssociationSettings {
    /// Associations open at one time, at least 1.
    pub max: usize,
    /// Associations open at one time with one calling AE title; `None`: no limit of its own.
    pub max_per_calling_ae: Option<usize>,
    /// Associations open at one time from one address; `None`: no limit of its own.
    pub max_per_address: Option<usize>,
    /// What is offered and accepted.
    pub policy: Arc<Policy>,
    /// Bytes of a dataset kept in memory; what is longer goes to the spool.
    pub spool_threshold_bytes: u64,
    /// From the opening of the connection to the end of the A-ASSOCIATE-RQ (ARTIM, PS3.8 §9.1.4).
    pub request_timeout: Duration,
    /// Without a byte from the peer while one is awaited.
    pub idle_timeout: Duration,
    /// For the peer to take an answer.
    pub send_timeout: Duration,
    /// What a peer has to send once it has begun a message.
    pub minimum_rate: MinimumRate,
    /// Longest dataset taken, in bytes.
    pub max_dataset_bytes: u64,
    /// C-STORE requests served in one association; `None`: no limit.
    pub max_instances: Option<u64>,
    /// Dataset bytes taken in one association; `None`: no limit.
    pub max_bytes: Option<u64>,
}

/// Within each window in which it is waited for, a peer has to send its rate on average.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// 0: any rate will do.
    pub bytes_per_s: u64,
    /// Stalls shorter than this do no harm, if there is enough before or after them.
    pub window: Duration,
}

/// The writer pool.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Datasets that may wait for a writer, at least 1.
    pub mailbox_capacity: usize,
    /// Instances one writer commits together, at least 1.
    pub batch: usize,
    /// How long an association waits for a place in the mailbox before it answers A700.
    pub handoff_timeout: Duration,
    /// How long an association waits in all for a complete dataset to be stored, however many writers die or hang over it,
    /// before it gives it up and answers A700.
    pub commit_timeout: Duration,
}
