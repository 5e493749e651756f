//! Who is at the other end, and what it may do.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_access::{Granted, Requestor};
use tidegate_storage::Placement;

use crate::committed::Origin;
use crate::gauges::audit::AuditPeer;
use crate::network::certificate::CertificateNames;
use crate::node::settings::AccessSettings;

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its own, also where a balancer stands between.
    pub(crate) address: SocketAddr,
    /// A peer's string: escape it before printing.
    pub(crate) calling_ae_title: String,
    /// Of a TLS peer that showed a certificate: one that was verified.
    pub(crate) certificate: Option<Box<CertificateNames>>,
    /// What the access rules came to, once there is an association.
    pub(crate) granted: Option<Granted>,
    /// As everything behind the storage knows it.
    pub(crate) origin: Arc<Origin>,
}

impl Peer {
    /// The peer of the association with this account.
    pub(crate) fn new(association: u64, address: SocketAddr) -> Self {
        let origin = Origin { association, peer: address, calling_ae_title: String::new(), rule: None };
        Self { address, calling_ae_title: String::new(), certificate: None, granted: None, origin: Arc::new(origin) }
    }

    /// Its association is accepted, by this access rule: what it sends comes from the peer as it is known now.
    pub(crate) fn accepted(&mut self, rule: Option<String>) {
        self.origin = Arc::new(Origin {
            association: self.origin.association,
            peer: self.address,
            calling_ae_title: self.calling_ae_title.clone(),
            rule,
        });
    }

    /// As the audit trail names it.
    pub(crate) fn for_audit(&self) -> AuditPeer {
        let certificate = self.certificate.as_ref().map(|names| names.subject.clone()).unwrap_or_default();
        AuditPeer { address: self.address, calling_ae_title: self.calling_ae_title.clone(), certificate }
    }

    /// Asks the access rules about it. What they grant is kept.
    pub(crate) fn ask(&mut self, access: &AccessSettings, called: &str) -> Result<(), tidegate_access::Refused> {
        let names: Vec<&str> = self.certificate.iter().flat_map(|names| names.all()).collect();
        let (calling, address) = (self.calling_ae_title.as_str(), self.address.ip());
        let granted = access.rules.admit(&Requestor { calling, called, address, certificate: &names })?;
        self.granted = Some(granted);
        Ok(())
    }

    /// Whether instances of the SOP class are denied to it.
    pub(crate) fn is_denied(&self, sop_class: &str) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.sop_class(sop_class).is_err())
    }

    /// Where and how instances of the SOP class are stored; `None`: as the store's settings have it.
    pub(crate) fn placement(&self, access: &AccessSettings, sop_class: &str) -> Option<Arc<Placement>> {
        let index = self.granted.as_ref()?.sop_class(sop_class).ok()??;
        access.terms.get(index)?.placement.clone()
    }
}
