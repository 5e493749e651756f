//! The specification of a child: how it is started, restarted and released.

use std::fmt;
use std::io;
use std::time::Duration;

use actix::{Actor, Context};
use actix_rt::Arbiter;

use super::liveness::{HeldWork, Liveness};

/// Time for a child to end after it is asked to stop.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Restart policy of a child (OTP terms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Restarted after every end, unless it was asked to stop.
    Permanent,
    /// Restarted after an abnormal end: the catalogue, storage commitment, destinations, and surfaces for operators.
    Transient,
    /// Never restarted: associations.
    Temporary,
}

impl Restart {
    /// The name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        }
    }
}

/// Children of one kind, which share a restart limit. Groups start in this order, and stop in the opposite order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Statistics and memory pressure.
    Statistics,
    /// The catalogue. It stops after the writers, whose last instances it enters.
    Catalogue,
    /// Storage commitment. It stops after the associations and the writers, as what they hand to it has to be recorded.
    Commitment,
    /// The writers.
    Writers,
    /// The threads that serve associations.
    AssociationThreads,
    /// The destinations and the sinks of events, a child each. They stop before the catalogue, which enters their last outcomes.
    Delivery,
    /// The listener.
    Listener,
    /// Surfaces for operators.
    Admin,
}

/// The escalation of a group that exceeds its restart limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escalation {
    /// The node stops in order, for the service manager to start it again.
    Node,
    /// The group is given up; the node continues without it.
    Group,
    /// The child rests for a while; the others of its group have a limit of their own each.
    Child,
}

impl Group {
    /// Every group, in start order.
    pub const ALL: [Self; 8] = [
        Self::Statistics,
        Self::Catalogue,
        Self::Commitment,
        Self::Writers,
        Self::AssociationThreads,
        Self::Delivery,
        Self::Listener,
        Self::Admin,
    ];

    /// Name in metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statistics => "statistics",
            Self::Catalogue => "catalogue",
            Self::Commitment => "commitment",
            Self::Writers => "writers",
            Self::AssociationThreads => "association_threads",
            Self::Delivery => "delivery",
            Self::Listener => "listener",
            Self::Admin => "admin",
        }
    }

    /// The escalation of this group.
    pub(crate) fn escalation(self) -> Escalation {
        match self {
            Self::Statistics | Self::Writers | Self::AssociationThreads | Self::Listener => Escalation::Node,
            Self::Catalogue | Self::Commitment | Self::Admin => Escalation::Group,
            Self::Delivery => Escalation::Child,
        }
    }
}

/// The specification of a child.
pub(crate) struct ChildSpec {
    /// Name in the log, such as `writer-3`.
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) restart: Restart,
    /// Time for it to end after it is asked to stop.
    pub(crate) shutdown_grace: Duration,
    /// Starts the child with the [`Liveness`] that it drops at its end; `None`: it has no thread of its own.
    pub(crate) start: Box<dyn FnMut(Liveness) -> io::Result<Option<Arbiter>> + Send>,
    /// Takes the work of a child that has ended or hangs, so that other children get it, and returns its record.
    pub(crate) release: Box<dyn FnMut() -> HeldWork + Send>,
}

impl ChildSpec {
    /// A permanent child that is an actor on a thread of its own.
    pub(crate) fn permanent<A>(
        name: String,
        group: Group,
        mut make: impl FnMut(Liveness) -> io::Result<A> + Send + 'static,
        release: impl FnMut() -> HeldWork + Send + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>> + Send,
    {
        Self {
            name,
            group,
            restart: Restart::Permanent,
            shutdown_grace: SHUTDOWN_GRACE,
            start: Box::new(move |liveness| {
                let actor = make(liveness)?;
                let thread = Arbiter::try_new()?;
                A::start_in_arbiter(&thread.handle(), move |_| actor);
                Ok(Some(thread))
            }),
            release: Box::new(release),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec").field("name", &self.name).field("restart", &self.restart).finish_non_exhaustive()
    }
}
