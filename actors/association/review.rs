//! A reload of the configuration reaches the associations that are open. Invariant: no dataset that was incomplete at a reload is stored on
//! terms that no longer hold.
//!
//! An association is reviewed as if its peer came again: the same address, certificate, titles, user and SOP classes. One that would be
//! refused, or have another access rule, placement or other destinations, ends in order: what is at the writers is answered, the dataset that is arriving is
//! dropped, and the peer gets an A-ABORT. Its sender comes again under the new rules. All others keep their settings, since they are the
//! same.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use tidegate_access::{Granted, Refused};
use tidegate_protocol::syntaxes::{STORAGE_COMMITMENT, VERIFICATION};
use tidegate_storage::Placement;
use tracing::warn;

use super::connection::Connection;
use super::end::End;
use super::peer::{User, destinations_under, placement_under};
use crate::gauges::audit::{AuditEvent, Denial};
use crate::gauges::incidents::Topic;
use crate::network::client_verifier::take_refused;
use crate::node::settings::{AccessSettings, LiveSettings};

/// The reason to end an association at a reload.
#[derive(Debug)]
enum Change {
    /// The connection would have to begin with a PROXY header, or must not.
    ProxyHeader,
    /// The node has another AE title, which it requires.
    CalledAeTitle,
    /// The certificate of the peer is revoked, expired or no longer trusted, or a peer without one is refused.
    Certificate(String),
    /// The user is gone or has another passcode, or a peer without a user is refused.
    User,
    /// The access rules deny the peer. The rule that denies it, by name.
    Denied(Option<String>),
    /// Another access rule decides: its name, if there is one.
    Rule(Option<String>),
    /// The access rules deny a SOP class that was accepted.
    SopClass,
    /// Instances have another layout, another durability, or other rules for duplicates.
    Placement,
    /// Instances have other destinations.
    Destinations,
}

impl Change {
    /// The name in the log.
    fn name(&self) -> &'static str {
        match self {
            Self::ProxyHeader => "proxy_protocol_from",
            Self::CalledAeTitle => "ae_title",
            Self::Certificate(_) => "certificate",
            Self::User => "user_identity",
            Self::Denied(_) => "access_denied",
            Self::Rule(_) => "access_rule",
            Self::SopClass => "sop_class",
            Self::Placement => "placement",
            Self::Destinations => "deliver_to",
        }
    }

    /// The access rule that would decide now, if that is another one.
    fn new_rule(&self) -> Option<&str> {
        match self {
            Self::Rule(rule) | Self::Denied(rule) => rule.as_deref(),
            _ => None,
        }
    }

    /// The denial of a peer that could not come again.
    fn denial(self) -> Option<Denial> {
        match self {
            Self::Certificate(error) => Some(Denial::TlsHandshake(error)),
            Self::User => Some(Denial::UserIdentity),
            Self::Denied(rule) => Some(Denial::Access(rule)),
            Self::ProxyHeader | Self::CalledAeTitle | Self::Rule(_) | Self::SopClass => None,
            Self::Placement | Self::Destinations => None,
        }
    }
}

impl Connection {
    /// Reviews the association if there was a reload. `Some`: it has ended.
    pub(super) async fn review_if_due(&mut self) -> Option<End> {
        if !self.node.is_superseded() { None } else { Box::pin(self.review()).await }
    }

    async fn review(&mut self) -> Option<End> {
        let in_force = self.node.take_in_force();
        let change = self.compare(&in_force).err()?;
        self.inbound.discard();
        while self.handoffs.has_lost() || !self.handoffs.is_empty() {
            if self.retry_lost().await.is_err() {
                return Some(End::ConnectionLost);
            }
            if let Some(returned) = self.handoffs.next().await {
                self.settle(returned);
            }
            if self.flush().await.is_err() {
                return Some(End::ConnectionLost);
            }
        }
        self.on_superseded(change);
        self.session.abort();
        Some(End::Superseded)
    }

    fn on_superseded(&mut self, change: Change) {
        self.node.env.gauges.counters.associations_superseded.increment();
        // The share of lines about stored instances is the one that strangers cannot use up.
        if let Some(unlogged) = self.line_about(Topic::Stored, "superseded", change.name()) {
            let (peer, calling, called) = (self.peer.address, self.peer.calling(), self.peer.called());
            let association = self.peer.association();
            let (rule, new_rule) = (self.rule(), change.new_rule());
            let (changed, acknowledged) = (change.name(), self.record.answered().0);
            let cause = if let Change::Certificate(error) = &change { Some(error.as_str()) } else { None };
            warn!(%peer, calling, called, association, rule, new_rule, changed, cause, acknowledged, unlogged, "association aborted: the configuration changed what it may do");
            self.record.is_logged = true;
        }
        if let Some(denial) = change.denial() {
            self.node.env.gauges.record(|| AuditEvent::Denied { peer: self.peer.for_audit(), denial });
        }
    }

    /// Whether the peer would have the same association again.
    fn compare(&self, new: &LiveSettings) -> Result<(), Change> {
        let peer = &self.peer;
        if new.access.is_proxy(peer.connected_from) != peer.is_proxied {
            return Err(Change::ProxyHeader);
        }
        let policy = &new.associations.policy;
        if policy.require_called_ae_title && peer.called_ae_title != policy.ae_title {
            return Err(Change::CalledAeTitle);
        }
        let shows_certificate = self.compare_certificate(new)?;
        self.compare_user(&new.access)?;
        let certificate = peer.certificate.as_ref().map(|names| &names.certificate).filter(|_| shows_certificate);
        let granted = peer.judge(&new.access, certificate).map_err(|Refused { rule, .. }| {
            Change::Denied(rule.map(|index| new.access.rules.list()[index].name.clone()))
        })?;
        let rule = granted.association().map(|index| new.access.rules.list()[index].name.as_str());
        if rule != self.rule() {
            return Err(Change::Rule(rule.map(str::to_owned)));
        }
        self.compare_placements(&granted, new)
    }

    /// Whether the peer's certificate is still good; `false`: a peer that came now would not be asked for one.
    fn compare_certificate(&self, new: &LiveSettings) -> Result<bool, Change> {
        let Some(session) = self.io.tls() else { return Ok(false) };
        let Some(verifier) = &new.client_verifier else { return Ok(false) };
        match session.peer_certificates() {
            Some([leaf, intermediates @ ..]) => {
                verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).map(|_| true).map_err(|error| {
                    let cause = take_refused().map_or_else(|| error.to_string(), |refused| refused.cause);
                    Change::Certificate(format!("the certificate is no longer accepted: {cause}"))
                })
            }
            _ if verifier.client_auth_mandatory() => {
                Err(Change::Certificate("a certificate is required now".to_owned()))
            }
            _ => Ok(true),
        }
    }

    fn compare_user(&self, new: &AccessSettings) -> Result<(), Change> {
        let Some(users) = &new.users else { return Ok(()) };
        let is_right = match &self.peer.user {
            User::Unnamed => !new.require_user,
            User::Unverified => false, // its passcode is not kept
            User::Verified(credential) => users.holds(credential),
        };
        is_right.then_some(()).ok_or(Change::User)
    }

    fn compare_placements(&self, granted: &Granted, new: &LiveSettings) -> Result<(), Change> {
        let is_stored = |sop_class: &&str| ![VERIFICATION, STORAGE_COMMITMENT].contains(sop_class);
        for sop_class in self.session.abstract_syntaxes().filter(is_stored) {
            let index = granted.sop_class(sop_class).map_err(|_| Change::SopClass)?;
            let (live, rule) = (&self.node.live, self.peer.rule_of(sop_class));
            let [before, after] =
                [(&live.access, rule), (&new.access, index)].map(|(access, rule)| placement_under(access, rule));
            if self.placement_of(before.as_ref()) != self.placement_of(after.as_ref()) {
                return Err(Change::Placement);
            }
            if destinations_under(live, rule) != destinations_under(new, index) {
                return Err(Change::Destinations);
            }
        }
        Ok(())
    }

    fn placement_of<'a>(&'a self, of_rule: Option<&'a Arc<Placement>>) -> &'a Placement {
        of_rule.map_or(&self.node.env.placement, |placement| placement)
    }
}
