//! The decision about an A-ASSOCIATE-RQ: phase, access rules, limits, user identity; then the response.

use std::sync::Arc;

use tidegate_access::rules::Criterion;
use tidegate_access::{Granted, Users};
use tidegate_memory::Stage;
use tidegate_protocol::syntaxes::VERIFICATION;
use tidegate_protocol::{AssociateRequest, Rejection, UserIdentity};
use tracing::{info, warn};

use super::connection::Connection;
use super::end::End;
use crate::gauges::audit::{AuditEvent, Denial};
use crate::gauges::incidents::{Class, Topic};
use crate::node::phase::Phase;
use crate::node::settings::AccessSettings;
use crate::patience::within;

impl Connection {
    pub(super) async fn on_request(&mut self, mut request: AssociateRequest) -> Option<End> {
        self.peer.calling_ae_title = std::mem::take(&mut request.calling_ae_title);
        let rejection = match self.decide(&mut request).await {
            Ok(()) => {
                let patience = self.node.live.associations.request_timeout;
                let is_leased = self.leases.lease_contexts(request.contexts_accepted, patience).await;
                (!is_leased).then_some(Rejection::LocalLimitExceeded)
            }
            Err(rejection) => Some(rejection),
        };
        if let Some(rejection) = rejection {
            self.node.env.gauges.count_rejected(rejection, self.peer.address, &self.peer.calling_ae_title);
            if let Some(unlogged) = self.worth_a_line(Class::Rejection, rejection.name()) {
                let calling_ae = &self.peer.calling_ae_title;
                warn!(peer = %self.peer.address, ?calling_ae, ?rejection, unlogged, "association rejected");
            }
            self.session.reject(rejection);
            return Some(End::Rejected);
        }
        let rule = self.rule().map(str::to_owned);
        self.peer.accepted(rule);
        self.session.accept(request.async_operations);
        self.node.env.gauges.counters.associations_accepted.increment();
        self.node.env.gauges.record(|| AuditEvent::Associated { peer: self.peer.for_audit() });
        self.record.accepted(self.peer.address, &self.peer.calling_ae_title, &request.called_ae_title);
        self.leases.set_label(format!("{:?} from {}", self.peer.calling_ae_title, self.peer.address));
        let Some(unlogged) = self.line_about(Topic::Association, "accepted") else { return None };
        self.record.is_logged = true;
        info!(
            peer = %self.peer.address,
            calling_ae = ?self.peer.calling_ae_title,
            called_ae = ?request.called_ae_title,
            rule = self.rule(),
            contexts_accepted = request.contexts_accepted,
            contexts_proposed = request.contexts_proposed,
            async_operations = request.async_operations,
            implementation = ?request.implementation,
            unlogged,
            "association accepted"
        );
        None
    }

    /// Decides whether the association is accepted, and rejects the contexts that the access rules deny.
    async fn decide(&mut self, request: &mut AssociateRequest) -> Result<(), Rejection> {
        if self.node.phase() != Phase::Serving {
            return Err(Rejection::TemporaryCongestion);
        }
        let access = self.node.live.access.clone();
        if let Err(refused) = self.peer.ask(&access, &request.called_ae_title) {
            self.node.env.gauges.counters.associations_denied.increment();
            let rule = refused.rule.map(|index| access.rules.list()[index].name.as_str());
            if let Some(unlogged) = self.deny(Denial::Access(rule.map(str::to_owned))) {
                let calling_ae = &self.peer.calling_ae_title;
                warn!(peer = %self.peer.address, ?calling_ae, rule, unlogged, "access denied");
            }
            return Err(match refused.because {
                Some(Criterion::Calling) => Rejection::CallingAeTitle,
                Some(Criterion::Called) => Rejection::CalledAeTitle,
                Some(Criterion::From | Criterion::Certificate | Criterion::SopClass) | None => Rejection::NoReasonGiven,
            });
        }
        let peer = &self.peer;
        let denied = |sop_class: &str| sop_class != VERIFICATION && peer.is_denied(sop_class);
        request.contexts_accepted -= self.session.reject_contexts(denied);
        if !self.leases.call_as(&self.peer.calling_ae_title) {
            return Err(Rejection::LocalLimitExceeded);
        }
        if let Some(index) = self.peer.granted.as_ref().and_then(Granted::association) {
            let (rule, limit) = (&access.rules.list()[index].name, access.terms[index].max_associations);
            if !self.leases.fall_under(rule, limit) {
                return Err(Rejection::LocalLimitExceeded);
            }
        }
        self.identify(&access, request.user_identity.take()).await
    }

    /// Verifies the user identity (PS3.7 §D.3.3.7).
    async fn identify(&self, access: &AccessSettings, identity: Option<UserIdentity>) -> Result<(), Rejection> {
        let Some(users) = &access.users else { return Ok(()) };
        let is_right = match identity {
            None => !access.require_user,
            Some(UserIdentity { passcode: None, .. }) => false,
            Some(UserIdentity { name, passcode: Some(passcode) }) => {
                users.remembers(&name, &passcode) || self.verify(users.clone(), name, passcode).await
            }
        };
        if is_right {
            return Ok(());
        }
        self.node.env.gauges.counters.users_rejected.increment();
        if let Some(unlogged) = self.deny(Denial::UserIdentity) {
            let calling_ae = &self.peer.calling_ae_title;
            warn!(peer = %self.peer.address, ?calling_ae, unlogged, "user identity is missing or wrong");
        }
        Err(Rejection::NoReasonGiven)
    }

    /// Computes the hash of a passcode on a blocking thread: this thread serves other associations too.
    async fn verify(&self, users: Arc<Users>, name: Vec<u8>, passcode: Vec<u8>) -> bool {
        let verifying = async {
            let _turn = self.node.env.verifying.acquire().await;
            let _lease = self.leases.lease_patiently(Stage::Negotiating, users.memory_bytes()).await;
            tokio::task::spawn_blocking(move || users.verify(&name, &passcode)).await.unwrap_or(false)
        };
        within(self.node.live.associations.request_timeout, verifying).await.unwrap_or(false)
    }

    /// Counts a denied peer and records it for the audit. `Some`: it is to be logged, with the number of its kind that were not logged since
    /// the last line.
    pub(super) fn deny(&self, denial: Denial) -> Option<u64> {
        let unlogged = self.incident(Class::Denial, denial.name());
        self.node.env.gauges.record(|| AuditEvent::Denied { peer: self.peer.for_audit(), denial });
        unlogged
    }

    /// Name of the access rule that admits the association.
    fn rule(&self) -> Option<&str> {
        let index = self.peer.granted.as_ref()?.association()?;
        Some(&self.node.live.access.rules.list()[index].name)
    }
}
