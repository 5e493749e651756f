//! The settings of the actors. They are valid: `src/config` checks them before it builds these types.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::server::danger::ClientCertVerifier;
use tidegate_access::{Rules, Users};
use tidegate_protocol::Policy;
use tidegate_storage::Placement;

pub use super::delivery_settings::{DeliverySettings, DestinationKind, DestinationSettings, DicomDestination, Hours};
pub use super::event_settings::{
    AmqpSettings, BrokerLogin, EventSettings, NatsSettings, Secret, SinkKind, SinkSettings, WebhookSettings,
};
use crate::network::admission::floors_of;
use crate::network::transport::TLS_LEASE_BYTES;
pub use crate::supervision::limits::{RestartLimit, SupervisionSettings};

/// Everything that a node needs to start. Settings outside of `live` hold until the node stops.
#[derive(Debug)]
pub struct NodeSettings {
    /// Address for associations without TLS; port 0 takes a free port. At least one of the two addresses is set.
    pub listen: Option<SocketAddr>,
    /// Address for associations over TLS. If set, so is [`LiveSettings::tls`].
    pub tls_listen: Option<SocketAddr>,
    /// Threads that serve associations, at least 1.
    pub association_threads: usize,
    /// Writers, each on a thread of its own; at least 1.
    pub writers: usize,
    /// Storage.
    pub storage: tidegate_storage::Settings,
    /// Whether there is an audit trail.
    pub audits: bool,
    /// The catalogue; `None`: there is none.
    pub catalogue: Option<CatalogueSettings>,
    /// Settings that can change while the node runs.
    pub live: LiveSettings,
}

/// The catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueSettings {
    /// The file.
    pub path: PathBuf,
    /// Whether the node chose the path. It sets aside a damaged file there, and whatever else stands there.
    pub is_own: bool,
    /// Whether patients are kept in it.
    pub keeps_patients: bool,
}

/// Settings that can change while the node runs, all at once.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// Associations.
    pub associations: AssociationSettings,
    /// Certificate, versions and trusted authorities, for later handshakes.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The verifier of client certificates that is in `tls`; `None`: none is requested.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Access rules and users.
    pub access: Arc<AccessSettings>,
    /// Storage commitment.
    pub commitment: Arc<CommitmentSettings>,
    /// Delivery to destinations.
    pub delivery: Arc<DeliverySettings>,
    /// Which delivered files are deleted.
    pub retention: RetentionSettings,
    /// When studies are complete, and who is told.
    pub events: Arc<EventSettings>,
    /// Writers.
    pub writers: WriterSettings,
    /// Limit of the sum of all leases, in bytes.
    pub memory_budget_bytes: u64,
    /// How often the statistics line is logged; `None`: never.
    pub statistics_interval: Option<Duration>,
    /// Incidents of one kind by one peer are logged once in this time.
    pub log_repeat_interval: Duration,
    /// Supervision.
    pub supervision: SupervisionSettings,
    /// Ends of the node's own certificates, for the figures.
    pub certificate_ends: CertificateEnds,
}

/// Which delivered files are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetentionSettings {
    /// Those of a study that has received nothing for so long; `None`: none for their age.
    pub delete_after: Option<Duration>,
    /// Those of the oldest studies, while all files have more bytes; `None`: any number.
    pub max_bytes: Option<u64>,
    /// Down to this part of `max_bytes`, above 0 and at most 1.
    pub low_water: f64,
}

impl RetentionSettings {
    /// Whether anything is ever deleted.
    pub(crate) fn is_on(&self) -> bool {
        self.delete_after.is_some() || self.max_bytes.is_some()
    }

    /// Above so many bytes, files are deleted; less while they are. `None`: any number may stay.
    pub(crate) fn limit_bytes(&self, is_freeing: bool) -> Option<u64> {
        let max_bytes = self.max_bytes?;
        Some(if is_freeing { (max_bytes as f64 * self.low_water) as u64 } else { max_bytes })
    }
}

/// The ends of the node's own certificates, in seconds since the epoch; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateEnds {
    /// Of the TLS port of DICOM.
    pub dicom_s: Option<i64>,
    /// Of the admin surface.
    pub admin_s: Option<i64>,
}

/// Least part of the budget that datasets keep beside the reserves, in bytes.
const MIN_DATA_BYTES: u64 = 2 << 20;
/// Presentation contexts of all associations that are reserved, in bytes: 25 for each of 512, or 128 for each of 100.
const CONTEXTS_RESERVE_BYTES: u64 = 2 << 20;

impl LiveSettings {
    /// The destinations of a stored instance of the class, of whose sender nothing but the calling AE title is known, by name.
    pub fn assumed_destinations(&self, calling: &str, sop_class: &str) -> Arc<[String]> {
        let access = &self.access;
        match access.rules.may_have_allowed(calling, sop_class).and_then(|index| access.terms.get(index)) {
            Some(terms) => Arc::clone(&terms.deliver_to),
            None if access.rules.list().is_empty() => Arc::clone(&self.delivery.default_to),
            None => Arc::default(),
        }
    }

    /// The part of the budget that datasets cannot take, beside the floors, in bytes: TLS of all associations, and presentation
    /// contexts.
    pub(crate) fn control_reserve_bytes(&self) -> u64 {
        let max = self.associations.max;
        let tls = if self.tls.is_some() { max as u64 * TLS_LEASE_BYTES } else { 0 };
        let most = self.memory_budget_bytes.saturating_sub(floors_of(max) + MIN_DATA_BYTES);
        (tls + CONTEXTS_RESERVE_BYTES).min(most)
    }
}

/// Access rules and users. An association keeps those in force at its start, and ends if later ones would give it other terms.
#[derive(Debug)]
pub struct AccessSettings {
    /// Access rules.
    pub rules: Rules,
    /// The terms of each rule, by its index.
    pub terms: Vec<Terms>,
    /// Addresses of balancers, whose connections begin with a PROXY header.
    pub proxies: Vec<IpNet>,
    /// Users and their passcodes; `None`: any name is accepted.
    pub users: Option<Arc<Users>>,
    /// Whether a peer without a user identity is rejected.
    pub require_user: bool,
}

/// The terms that an access rule grants.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Limit of open associations under the rule; `None`: no limit of its own.
    pub max_associations: Option<usize>,
    /// Placement of the instances; `None`: that of the store's settings.
    pub placement: Option<Arc<Placement>>,
    /// Whether peers under the rule may ask for storage commitment.
    pub commitment: bool,
    /// The destinations of the instances, by name.
    pub deliver_to: Arc<[String]>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { max_associations: None, placement: None, commitment: true, deliver_to: Arc::default() }
    }
}

/// Storage commitment, and the peers that this node calls.
#[derive(Debug, Default)]
pub struct CommitmentSettings {
    /// Whether it is served.
    pub is_enabled: bool,
    /// What is verified of a file.
    pub verify: Verify,
    /// Destinations that must have an instance before it is committed, by name: each that it has a duty to.
    pub commit_when: Arc<[String]>,
    /// How long a report is retried, from the request on.
    pub retry_for: Duration,
    /// The peers that may be called.
    pub peers: Vec<PeerSettings>,
    /// How peers over TLS are called; `None`: there are none.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What is verified of the file of an instance before it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Its length.
    #[default]
    Size,
    /// Its content, by the digest that was recorded when it was stored.
    Digest,
}

/// A peer that this node may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// Its AE title.
    pub ae_title: String,
    /// Its host: a name or an IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is called over TLS.
    pub is_tls: bool,
}

impl CommitmentSettings {
    /// The peer with this AE title.
    pub(crate) fn peer(&self, ae_title: &str) -> Option<&PeerSettings> {
        self.peers.iter().find(|peer| peer.ae_title == ae_title)
    }
}

impl AccessSettings {
    /// Whether `address` is that of a balancer.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|net| tidegate_access::address::contains(net, address))
    }
}

/// Limits and timers of associations. An association keeps those in force at its start.
#[derive(Clone, Debug)]
pub struct AssociationSettings {
    /// Limit of open associations, at least 1.
    pub max: usize,
    /// Limit of open associations for each calling AE title; `None`: no limit of its own.
    pub max_per_calling_ae: Option<usize>,
    /// Limit of open associations for each address; `None`: no limit of its own.
    pub max_per_address: Option<usize>,
    /// Whether that limit is a share of `max` which nobody chose for this site. A newcomer beyond it waits for an unused association.
    pub max_per_address_is_auto: bool,
    /// The policy of the negotiation.
    pub policy: Arc<Policy>,
    /// Bytes of a dataset that are kept in memory; a longer one is spooled.
    pub spool_threshold_bytes: u64,
    /// Time from accept to the end of the A-ASSOCIATE-RQ (ARTIM, PS3.8 §9.1.4).
    pub request_timeout: Duration,
    /// Time spent waiting for the peer since the last answered operation, or the last byte of a dataset.
    pub idle_timeout: Duration,
    /// Longest life of an association: it ends at the next message, or `idle_timeout` later.
    pub max_lifetime: Duration,
    /// Time for the peer to read a response.
    pub send_timeout: Duration,
    /// Minimum rate of a peer within a message.
    pub minimum_rate: MinimumRate,
    /// Longest dataset that is accepted, in bytes.
    pub max_dataset_bytes: u64,
    /// Limit of C-STORE requests of an association; `None`: no limit.
    pub max_instances: Option<u64>,
    /// Limit of dataset bytes of an association; `None`: no limit.
    pub max_bytes: Option<u64>,
}

/// The rate that a peer must reach on average over each window of time spent waiting for it.
#[derive(Clone, Copy, Debug)]
pub struct MinimumRate {
    /// 0: no minimum.
    pub bytes_per_s: u64,
    /// Shorter stalls are permitted, if the average over the window suffices.
    pub window: Duration,
}

/// The writer pool.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Slots of the mailbox, at least 1.
    pub mailbox_capacity: usize,
    /// Largest batch of one writer, at least 1.
    pub batch: usize,
    /// How long an association waits for a mailbox slot before it answers A700.
    pub handoff_timeout: Duration,
    /// How long an association waits in all, over any number of retries, for a complete dataset to be stored before it answers A700.
    pub commit_timeout: Duration,
}
