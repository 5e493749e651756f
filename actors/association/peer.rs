//! The peer: its identity, and its permissions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tidegate_access::{Certificate, Credential, Granted, Refused, Requestor};
use tidegate_storage::Placement;

use crate::committed::Origin;
use crate::gauges::audit::AuditPeer;
use crate::gauges::recent::Sender;
use crate::network::certificate::CertificateNames;
use crate::node::settings::{AccessSettings, LiveSettings};
use crate::senders::Senders;

/// The peer of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The address of the peer itself, also behind a balancer.
    pub(crate) address: SocketAddr,
    /// The address of the other end of the connection: of the balancer, if there is one.
    pub(crate) connected_from: IpAddr,
    /// Whether the connection began with a PROXY header.
    pub(crate) is_proxied: bool,
    /// Chosen by the peer: escape it before printing.
    pub(crate) calling_ae_title: String,
    /// Chosen by the peer, too.
    pub(crate) called_ae_title: String,
    /// The verified certificate of a TLS peer, if it presented one.
    pub(crate) certificate: Option<Box<CertificateNames>>,
    /// The user of the association.
    pub(crate) user: User,
    /// The decision of the access rules, once the association is requested.
    pub(crate) granted: Option<Granted>,
    /// The origin of its instances, for everything behind the storage.
    pub(crate) origin: Arc<Origin>,
    /// The same for SOP classes whose access rules name other destinations.
    other_origins: Vec<Arc<Origin>>,
}

/// The user that a peer has named in its request.
#[derive(Debug, Default)]
pub(crate) enum User {
    /// None.
    #[default]
    Unnamed,
    /// One whose passcode nobody has verified, because the node had no users.
    Unverified,
    /// One whose passcode was right.
    Verified(Credential),
}

impl Peer {
    /// The peer of the association with this account.
    pub(crate) fn new(association: u64, address: SocketAddr) -> Self {
        let origin = Origin::new(association, address, String::new(), None);
        Self {
            address,
            connected_from: address.ip(),
            is_proxied: false,
            calling_ae_title: String::new(),
            called_ae_title: String::new(),
            certificate: None,
            user: User::default(),
            granted: None,
            origin: Arc::new(origin),
            other_origins: Vec::new(),
        }
    }

    /// The account of its association: the ID by which operators name it.
    pub(crate) fn association(&self) -> u64 {
        self.origin.association
    }

    /// Calling AE title, for the log. `None`: there was no request.
    pub(crate) fn calling(&self) -> Option<&str> {
        self.is_named().then_some(self.calling_ae_title.as_str())
    }

    /// Called AE title, for the log. `None`: there was no request.
    pub(crate) fn called(&self) -> Option<&str> {
        self.is_named().then_some(self.called_ae_title.as_str())
    }

    fn is_named(&self) -> bool {
        !(self.calling_ae_title.is_empty() && self.called_ae_title.is_empty())
    }

    /// Records that its association is accepted, under this access rule. The origin of its instances is fixed from here on.
    pub(crate) fn accepted(&mut self, rule: Option<String>, senders: Option<&Arc<Senders>>) {
        let (association, title) = (self.origin.association, self.calling_ae_title.clone());
        self.origin = Arc::new(Origin::new(association, self.address, title, rule).joining(senders));
    }

    /// The origin of instances under that access rule, with their destinations.
    pub(crate) fn origin_of(&mut self, live: &LiveSettings, rule: Option<usize>) -> Arc<Origin> {
        let destinations = destinations_under(live, rule);
        let has_them = |origin: &&Arc<Origin>| origin.destinations == destinations;
        if let Some(origin) = [&self.origin].into_iter().chain(&self.other_origins).find(has_them) {
            return Arc::clone(origin);
        }
        let origin = Arc::new(self.origin.with_destinations(destinations));
        self.other_origins.push(Arc::clone(&origin));
        origin
    }

    /// The access rule of instances of the SOP class, by its index; `None`: there is none.
    pub(crate) fn rule_of(&self, sop_class: &str) -> Option<usize> {
        self.granted.as_ref().and_then(|granted| granted.sop_class(sop_class).ok()).flatten()
    }

    /// The peer as the list of refusals names it.
    pub(crate) fn sender(&self) -> Sender {
        Sender {
            peer: self.address,
            calling_ae_title: self.calling_ae_title.clone(),
            called_ae_title: self.called_ae_title.clone(),
        }
    }

    /// The peer as audit messages name it.
    pub(crate) fn for_audit(&self) -> AuditPeer {
        let certificate = self.certificate.as_ref().map(|names| names.subject.clone()).unwrap_or_default();
        AuditPeer { address: self.address, ae_title: self.calling_ae_title.clone(), certificate }
    }

    /// Applies the access rules to the peer, and keeps what they grant.
    pub(crate) fn ask(&mut self, access: &AccessSettings) -> Result<(), Refused> {
        let certificate = self.certificate.as_ref().map(|names| &names.certificate);
        self.granted = Some(self.judge(access, certificate)?);
        Ok(())
    }

    /// What access rules would grant the peer with this certificate.
    pub(crate) fn judge(&self, access: &AccessSettings, certificate: Option<&Certificate>) -> Result<Granted, Refused> {
        let (calling, called) = (self.calling_ae_title.as_str(), self.called_ae_title.as_str());
        access.rules.admit(&Requestor { calling, called, address: self.address.ip(), certificate })
    }

    /// Whether the rules deny the peer instances of the SOP class.
    pub(crate) fn is_denied(&self, sop_class: &str) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.sop_class(sop_class).is_err())
    }

    /// Whether the access rule of the association allows it to ask for storage commitment.
    pub(crate) fn may_ask_commitment(&self, access: &AccessSettings) -> bool {
        let rule = self.granted.as_ref().and_then(Granted::association);
        rule.and_then(|index| access.terms.get(index)).is_none_or(|terms| terms.commitment)
    }
}

/// The placement of instances under that access rule; `None`: that of the store's settings.
pub(super) fn placement_under(access: &AccessSettings, rule: Option<usize>) -> Option<Arc<Placement>> {
    access.terms.get(rule?)?.placement.clone()
}

/// The destinations of instances under that access rule, by name.
pub(super) fn destinations_under(live: &LiveSettings, rule: Option<usize>) -> Arc<[String]> {
    let terms = rule.and_then(|index| live.access.terms.get(index));
    Arc::clone(terms.map_or(&live.delivery.default_to, |terms| &terms.deliver_to))
}
