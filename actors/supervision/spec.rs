//! What is to be known of a child to start it, and to start it again.

use std::fmt;
use std::io;
use std::time::Duration;

use actix::{Actor, Context};
use actix_rt::Arbiter;

use super::liveness::{HeldWork, Liveness};

/// How long a child has to end when it is asked to stop.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// When a child that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Always, but when it was asked to stop.
    Permanent,
    /// When it ended as it should not have: surfaces for operators.
    Transient,
    /// Never: associations.
    Temporary,
}

/// Children of one kind. They start in this order, group after group, and stop in the opposite one; they share a restart
/// limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The statistics and the memory's watch.
    Statistics,
    /// The writers.
    Writers,
    /// The threads that serve associations.
    AssociationThreads,
    /// The listener.
    Listener,
    /// Surfaces for operators.
    Admin,
}

/// What follows when the children of a group are restarted too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escalation {
    /// The node goes down in order, and whoever started the process starts it again.
    Node,
    /// The group is given up; the node goes on without it.
    Group,
}

impl Group {
    /// Every group, in the order of their start.
    pub const ALL: [Self; 5] = [Self::Statistics, Self::Writers, Self::AssociationThreads, Self::Listener, Self::Admin];

    /// The name it has in metrics and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statistics => "statistics",
            Self::Writers => "writers",
            Self::AssociationThreads => "association_threads",
            Self::Listener => "listener",
            Self::Admin => "admin",
        }
    }

    /// What follows when this group's children are restarted too often.
    pub(crate) fn escalation(self) -> Escalation {
        match self {
            Self::Statistics | Self::Writers | Self::AssociationThreads | Self::Listener => Escalation::Node,
            Self::Admin => Escalation::Group,
        }
    }
}

/// A child: its name, how it is started, and what its end means.
pub(crate) struct ChildSpec {
    /// As it stands in the log: `writer-3`.
    pub(crate) name: String,
    pub(crate) group: Group,
    pub(crate) restart: Restart,
    /// How long it has to end when it is asked to stop.
    pub(crate) shutdown_grace: Duration,
    /// Starts the child with the [`Liveness`] that it drops when it ends; `None`: on no thread of its own.
    pub(crate) start: Box<dyn FnMut(Liveness) -> io::Result<Option<Arbiter>> + Send>,
    /// Takes from a child that has ended or hangs what it had in hand, so that others get it; says what that was.
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
