//! The decision about an A-ASSOCIATE-RQ: phase, access rules, limits, user identity; then the response.

use std::borrow::Cow;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_access::rules::Criterion;
use tidegate_access::{Granted, Users};
use tidegate_memory::Stage;
use tidegate_protocol::syntaxes::{STORAGE_COMMITMENT, VERIFICATION};
use tidegate_protocol::{AssociateRequest, ContextRefusal, Rejection, UserIdentity};
use tokio::time::sleep;
use tracing::{info, warn};

use super::connection::Connection;
use super::end::End;
use super::leases::LEASE_RETRY;
use super::passcodes::QueueFull;
use super::peer::User;
use crate::gauges::activity::EndCause;
use crate::gauges::audit::{AuditEvent, Denial};
use crate::gauges::incidents::{Class, Topic};
use crate::network::admission::Limit;
use crate::network::source::Source;
use crate::node::phase::Phase;
use crate::node::settings::{AccessSettings, AssociationSettings};
use crate::patience::within;

/// An association without a stored instance gives way after this time without a byte.
const MIN_QUIET: Duration = Duration::from_secs(5);
/// Time that an association may take to give way.
const TIME_TO_END: Duration = Duration::from_secs(2);
/// Pause between two attempts to take a place.
const PLACE_RETRY: Duration = Duration::from_millis(50);

/// The contexts of a request without one.
const NONE_PROPOSED: &str = "the request proposes none";

/// The reason why a passcode was found neither right nor wrong.
#[derive(Clone, Copy, Debug)]
enum Unverified {
    /// Too many requests of the peer's address, or of all, wait.
    QueueFull,
    /// The turn did not come within the request timeout.
    TimedOut,
    /// The budget has no room for the passcode.
    BudgetExhausted,
    /// The peer has closed the connection.
    PeerGone,
    /// The hash was not computed.
    Failed,
}

impl Unverified {
    fn text(self) -> &'static str {
        match self {
            Self::QueueFull => "user identity not verified: too many passcodes wait",
            Self::TimedOut => "user identity not verified within associations.association_request_timeout",
            Self::BudgetExhausted => "user identity not verified: memory.budget is exhausted",
            Self::PeerGone => "user identity not verified: the peer has closed the connection",
            Self::Failed => "user identity not verified: its hash could not be computed",
        }
    }
}

/// The rejection of an association.
#[derive(Debug)]
struct Refused {
    rejection: Rejection,
    /// The limit that was reached.
    limit: Option<Limit>,
    /// The access rule whose limit it is.
    rule: Option<String>,
    cause: Cow<'static, str>,
    /// The value that the request should have had.
    expected: Option<String>,
    /// Whether the log has a line about it, with more than the cause.
    is_logged: bool,
}

impl Refused {
    fn because(rejection: Rejection, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { rejection, limit: None, rule: None, cause: cause.into(), expected: None, is_logged: false }
    }

    /// A denial, about which the log has a line of its own.
    fn denied(rejection: Rejection, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { is_logged: true, ..Self::because(rejection, cause) }
    }

    fn at(limit: Limit, cause: impl Into<Cow<'static, str>>) -> Self {
        Self { limit: Some(limit), ..Self::because(Rejection::LocalLimitExceeded, cause) }
    }
}

/// The name of a criterion, as the configuration has it.
fn criterion_name(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Calling => "calling",
        Criterion::Called => "called",
        Criterion::From => "from",
        Criterion::Certificate => "certificate",
        Criterion::SopClass => "sop_class",
    }
}

impl Connection {
    pub(super) async fn on_request(&mut self, mut request: AssociateRequest) -> Option<End> {
        self.peer.calling_ae_title = std::mem::take(&mut request.calling_ae_title);
        self.peer.called_ae_title = std::mem::take(&mut request.called_ae_title);
        self.leases.requested();
        if request.titles_are_cut {
            self.note_cut_title();
        }
        let peer_left = self.leases.peer_left();
        let decided = tokio::select! {
            biased; // nothing is verified for a peer that has left
            () = peer_left => return Some(End::ConnectionLost),
            decided = self.decide(&mut request) => decided,
        };
        if let Err(refused) = decided {
            return Some(self.on_refused(&refused));
        }
        self.note_refused_contexts(&request);
        let rule = self.rule().map(str::to_owned);
        self.peer.accepted(rule, self.node.env.senders.as_ref());
        self.session.accept(request.async_operations);
        self.open_line();
        self.node.env.gauges.counters.associations_accepted.increment();
        self.node.env.gauges.record(|| AuditEvent::Associated { peer: self.peer.for_audit() });
        self.record.accepted(self.peer.address, &self.peer.calling_ae_title, &self.peer.called_ae_title);
        self.leases.set_label(format!("{:?} from {}", self.peer.calling_ae_title, self.peer.address));
        let unlogged = self.line_about(Topic::Association, "accepted", ())?;
        self.record.is_logged = true;
        info!(
            peer = %self.peer.address,
            calling = self.peer.calling(),
            called = self.peer.called(),
            association = self.peer.association(),
            rule = self.rule(),
            contexts_accepted = request.contexts_accepted,
            contexts_proposed = request.contexts_proposed,
            async_operations = request.async_operations,
            implementation = request.implementation.as_str(),
            unlogged,
            "association accepted"
        );
        None
    }

    /// Records a request that the policy has rejected.
    pub(super) fn on_rejected(&mut self, rejection: Rejection) -> End {
        self.learn_refused_titles();
        let policy = &self.node.live.associations.policy;
        let (cause, expected) = match rejection {
            Rejection::CalledAeTitle => {
                ("this node has another AE title (node.require_called_ae_title)", Some(policy.ae_title.clone()))
            }
            Rejection::ApplicationContext => ("the application context is not that of DICOM", None),
            Rejection::ProtocolVersion => ("the protocol version lacks bit 0", None),
            Rejection::NoReasonGiven
            | Rejection::CallingAeTitle
            | Rejection::LocalLimitExceeded
            | Rejection::TemporaryCongestion => ("the policy of the node", None),
        };
        self.on_refused(&Refused { expected, ..Refused::because(rejection, cause) })
    }

    /// Rejects the association, unless the policy has rejected it.
    fn on_refused(&mut self, refused: &Refused) -> End {
        let Refused { rejection, limit, rule, cause, expected, is_logged } = refused;
        let (rejection, limit, cause) = (*rejection, limit.map(Limit::name), &**cause);
        let (rule, expected) = (rule.as_deref(), expected.as_deref());
        let detail = expected.map_or_else(|| cause.into(), |expected| format!("{cause}: {expected:?}"));
        self.node.env.gauges.count_rejected(rejection, limit, self.peer.sender(), detail);
        if !is_logged
            && let Some(unlogged) = self.worth_a_line(Class::Rejection, limit.unwrap_or(rejection.name()), cause)
        {
            let (calling, called, reason) = (self.peer.calling(), self.peer.called(), rejection.name());
            warn!(peer = %self.peer.address, calling, called, reason, limit, rule, cause, expected, unlogged, "association rejected");
        }
        self.session.reject(rejection);
        End::Rejected
    }

    /// Counts the refused presentation contexts, and names them in the log: a sender whose contexts are refused sends nothing, and leaves.
    fn note_refused_contexts(&self, request: &AssociateRequest) {
        let refused = &request.contexts_refused;
        let first = match refused.first() {
            None if request.contexts_proposed > 0 => return,
            first => first.map_or("", ContextRefusal::name),
        };
        for reason in ContextRefusal::ALL {
            self.node.env.gauges.counters.contexts_refused(reason).add(refused.count(reason) as u64);
        }
        let can_store = self.session.can_store();
        let kind = if can_store { first } else { "none_accepted" };
        let contexts = if request.contexts_proposed == 0 { NONE_PROPOSED.to_owned() } else { refused.to_string() };
        let refused = refused.total();
        let Some(unlogged) = self.line_about(Topic::Contexts, kind, &contexts) else { return };
        let (calling, called) = (self.peer.calling(), self.peer.called());
        if can_store {
            info!(peer = %self.peer.address, calling, called, refused, contexts, unlogged, "presentation contexts refused");
        } else {
            warn!(peer = %self.peer.address, calling, called, refused, contexts, unlogged, "no presentation context for storage accepted: the peer can send nothing");
        }
    }

    /// Decides whether the association is accepted, and rejects the contexts that the access rules deny. Invariant: an association has no
    /// place before its peer is identified.
    async fn decide(&mut self, request: &mut AssociateRequest) -> Result<(), Refused> {
        if self.node.phase() != Phase::Serving {
            return Err(Refused::because(Rejection::TemporaryCongestion, "the node is drained or stopping"));
        }
        let access = self.node.live.access.clone();
        if let Err(refused) = self.peer.ask(&access) {
            self.node.env.gauges.counters.associations_denied.increment();
            let rule = refused.rule.map(|index| access.rules.list()[index].name.as_str());
            let rejection = match refused.because {
                Some(Criterion::Calling) => Rejection::CallingAeTitle,
                Some(Criterion::Called) => Rejection::CalledAeTitle,
                Some(Criterion::From | Criterion::Certificate | Criterion::SopClass) | None => Rejection::NoReasonGiven,
            };
            let criterion = refused.because.map(criterion_name);
            if let Some(unlogged) = self.deny(Denial::Access(rule.map(str::to_owned)), (rule, criterion)) {
                let (calling, called, reason) = (self.peer.calling(), self.peer.called(), rejection.name());
                let doubt = self.peer.certificate.as_ref().and_then(|names| names.certificate.incomplete);
                warn!(peer = %self.peer.address, calling, called, reason, rule, criterion, doubt, unlogged, "access denied");
            }
            let by_rule = |rule| format!("denied by access rule {rule:?}");
            return Err(Refused::denied(rejection, rule.map_or("no access rule allows it".to_owned(), by_rule)));
        }
        let peer = &self.peer;
        let live = &self.node.live;
        let reports = live.delivery.committing(&peer.calling_ae_title).next().is_some();
        let may_ask_commitment = reports || (live.commitment.is_enabled && peer.may_ask_commitment(&access));
        let denied = |sop_class: &str| match sop_class {
            VERIFICATION => false,
            STORAGE_COMMITMENT => !may_ask_commitment,
            sop_class => peer.is_denied(sop_class),
        };
        if reports {
            self.session.take_reports();
        }
        self.session.reject_contexts(denied, &mut request.contexts_refused);
        request.contexts_accepted -= request.contexts_refused.count(ContextRefusal::AccessRule);
        self.identify(&access, request.user_identity.take()).await?;
        let rule = self.peer.granted.as_ref().and_then(Granted::association);
        let rule = rule.map(|index| (access.rules.list()[index].name.as_str(), access.terms[index].max_associations));
        self.take_place(rule).await.map_err(|limit| self.at_limit(limit, rule))?;
        let patience = self.node.live.associations.request_timeout;
        match self.leases.lease_contexts(request.contexts_accepted, patience).await {
            true => Ok(()),
            false => Err(self.at_limit(Limit::MemoryBudget, None)),
        }
    }

    /// The rejection at a limit, with the key that sets it. `rule`: the access rule of the association, and its limit.
    fn at_limit(&self, limit: Limit, rule: Option<(&str, Option<usize>)>) -> Refused {
        let AssociationSettings { max, max_per_address, max_per_calling_ae, .. } = self.node.live.associations;
        let reached = |key: &str, most: Option<usize>| match most {
            Some(most) => Refused::at(limit, format!("{key} = {most} is reached")),
            None => Refused::at(limit, format!("{key} is reached")), // a reload has lifted it since
        };
        match limit {
            Limit::Max => reached("associations.max", Some(max)),
            Limit::MaxPerAddress => reached("associations.max_per_address", max_per_address),
            Limit::MaxPerCallingAe => reached("associations.max_per_calling_ae", max_per_calling_ae),
            Limit::MaxAssociations => Refused {
                rule: rule.map(|(name, _)| name.to_owned()),
                ..reached("max_associations", rule.and_then(|(_, most)| most))
            },
            Limit::Startup => Refused::at(limit, "too many connections without an association"),
            Limit::MemoryBudget => Refused::at(limit, "memory.budget has no room for its presentation contexts"),
        }
    }

    /// Takes the place of an association. At `max` and `max_per_address`, an association that has stored nothing and sends nothing gives
    /// way. Under `max_per_address = "auto"`, a newcomer waits until one has been quiet for long enough; at a limit that the configuration
    /// states, it is rejected at once.
    async fn take_place(&mut self, rule: Option<(&str, Option<usize>)>) -> Result<(), Limit> {
        let deadline = Instant::now() + MIN_QUIET + TIME_TO_END;
        let mut told = None;
        loop {
            let Err(limit) = self.leases.associate(&self.peer.calling_ae_title, rule) else { return Ok(()) };
            let of = match limit {
                Limit::Max => None,
                Limit::MaxPerAddress => Some(Source::of(self.peer.address.ip())),
                _ => return Err(limit),
            };
            let gauges = &self.node.env.gauges;
            let is_candidate = |peer: IpAddr| of.is_none_or(|of| of == Source::of(peer));
            let (unused, peer, quiet) = gauges.open.longest_unused(is_candidate).ok_or(limit)?;
            let may_wait = limit == Limit::MaxPerAddress && self.node.live.associations.max_per_address_is_auto;
            if Instant::now() >= deadline || (quiet < MIN_QUIET && told.is_none() && !may_wait) {
                return Err(limit);
            }
            if quiet >= MIN_QUIET
                && told.replace(unused) != Some(unused)
                && gauges.open.end(unused, EndCause::UnusedPlace)
                && let Some(unlogged) = gauges.incidents.note(Class::Limit, "unused", peer.ip(), ())
            {
                let (limit, quiet_ms) = (limit.name(), quiet.as_millis() as u64);
                warn!(%peer, association = unused, limit, quiet_ms, unlogged, "association aborted: it has stored nothing, and another needs its place");
            }
            sleep(PLACE_RETRY).await;
        }
    }

    /// Verifies the user identity (PS3.7 §D.3.3.7).
    async fn identify(&mut self, access: &AccessSettings, identity: Option<UserIdentity>) -> Result<(), Refused> {
        let Some(users) = &access.users else {
            self.peer.user = if identity.is_some() { User::Unverified } else { User::Unnamed };
            return Ok(());
        };
        let credential = identity.as_ref().and_then(|identity| users.credential(&identity.name));
        let is_missing = identity.is_none();
        let is_right = match identity {
            None if !access.require_user => return Ok(()),
            None => false,
            Some(UserIdentity { name, passcode: Some(passcode) }) if users.remembers(&name, &passcode) => true,
            Some(identity) => {
                self.leases.wait_for_identity().await;
                self.verify(users.clone(), identity).await.map_err(|unverified| {
                    if let Some(unlogged) = self.incident(Class::Limit, "passcode_queue", unverified.text()) {
                        let (calling, called, cause) = (self.peer.calling(), self.peer.called(), unverified.text());
                        warn!(peer = %self.peer.address, calling, called, cause, unlogged, "user identity not verified");
                    }
                    Refused::denied(Rejection::TemporaryCongestion, unverified.text())
                })?
            }
        };
        if let (true, Some(credential)) = (is_right, credential) {
            self.peer.user = User::Verified(credential);
            self.session.confirm_user();
            return Ok(());
        }
        self.leases.note_failed_identity();
        self.node.env.gauges.counters.users_rejected.increment();
        if let Some(unlogged) = self.deny(Denial::UserIdentity, is_missing) {
            let (calling, called) = (self.peer.calling(), self.peer.called());
            let cause = match is_missing {
                true => "the peer sent none: set user and passcode there, or user_identity.required = false",
                false => "this user is unknown, or the passcode is another",
            };
            warn!(peer = %self.peer.address, calling, called, cause, unlogged, "user identity is missing or wrong");
        }
        Err(Refused::denied(Rejection::NoReasonGiven, "user identity is missing or wrong"))
    }

    /// Computes the hash of a passcode on a blocking thread: this thread serves other associations too. An error says nothing about the
    /// passcode.
    async fn verify(&self, users: Arc<Users>, identity: UserIdentity) -> Result<bool, Unverified> {
        let passcode_bytes = identity.passcode.as_ref().map_or(0, Vec::len) as u64;
        let lease =
            self.leases.holder().lease(Stage::Negotiating, passcode_bytes).map_err(|_| Unverified::BudgetExhausted)?;
        let queue = self.node.env.passcodes.clone();
        let verifying = async {
            let turn =
                queue.turn(Source::of(self.peer.address.ip())).await.map_err(|QueueFull| Unverified::QueueFull)?;
            if self.leases.has_peer_left() {
                return Err(Unverified::PeerGone);
            }
            while !queue.reserve(users.memory_bytes()) {
                sleep(LEASE_RETRY).await;
            }
            // The hash keeps its turn and its memory if this association ends meanwhile.
            let queue = queue.clone();
            let hash = tokio::task::spawn_blocking(move || {
                let _kept = (turn, lease);
                queue.set_in_use(true);
                let is_right = users.verify(&identity.name, identity.passcode.as_deref());
                queue.set_in_use(false);
                is_right
            });
            hash.await.map_err(|_| Unverified::Failed)
        };
        within(self.node.live.associations.request_timeout, verifying).await.unwrap_or(Err(Unverified::TimedOut))
    }

    /// Counts a denied peer and records it for the audit. `Some`: it is to be logged, with the number of its kind that were not logged since
    /// the last line.
    pub(super) fn deny(&self, denial: Denial, cause: impl Hash) -> Option<u64> {
        let kind = denial.name();
        self.count_denial(denial);
        self.worth_a_line(Class::Denial, kind, cause)
    }

    /// Counts a denial, and records it for the audit.
    pub(super) fn count_denial(&self, denial: Denial) {
        self.node.env.gauges.incidents.count(Class::Denial, denial.name());
        self.node.env.gauges.record(|| AuditEvent::Denied { peer: self.peer.for_audit(), denial });
    }

    /// Name of the access rule that admits the association.
    pub(super) fn rule(&self) -> Option<&str> {
        let index = self.peer.granted.as_ref()?.association()?;
        Some(&self.node.live.access.rules.list()[index].name)
    }
}
