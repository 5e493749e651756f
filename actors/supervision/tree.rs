//! The states of all children. The tree has no clock and no thread: a look at a given instant detects the children that have ended or hang,
//! restarts those that are due, and returns what it found.

use std::sync::Arc;
use std::time::Duration;

use actix_rt::Arbiter;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::exit::Exit;
use super::limits::{Backoff, Intensity, REST, RestartLimit, SupervisionSettings};
use super::liveness::{HeldWork, LivenessView, MessageKind, liveness};
use super::spec::{ChildSpec, Escalation, Group, Restart};
use super::status::{ChildState, ChildStatus};

/// A child that is not ready this long after its start counts as hung.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The end of a child: the evidence, and the consequence.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) child: String,
    pub(crate) group: Group,
    pub(crate) restart: Restart,
    pub(crate) exit: Exit,
    pub(crate) lived: Duration,
    pub(crate) held: HeldWork,
    pub(crate) last_messages: Vec<MessageKind>,
    pub(crate) next: Next,
}

/// The consequence of a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is restarted after this delay.
    Restart(Duration),
    /// None.
    Nothing,
    /// Its group is given up.
    GroupGivenUp,
    /// It has died too often: it is started again after [`REST`].
    Rest,
    /// The node stops.
    NodeGoesDown,
}

/// The failure that ends the node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A group exceeded its restart limit.
    #[error("{child} {exit}: more than {max} restarts within {window:?}")]
    TooManyRestarts {
        /// The child that died last.
        child: String,
        /// Its end.
        exit: Exit,
        /// Restarts allowed.
        max: u32,
        /// The window.
        window: Duration,
    },
    /// More fenced threads hang than are allowed.
    #[error("{count} hung threads, {max} allowed; the last is that of {child}")]
    TooManyHungThreads {
        /// The child whose thread was the last.
        child: String,
        /// Threads that hang.
        count: usize,
        /// Threads that may hang.
        max: usize,
    },
    /// The supervisor itself has died or hangs.
    #[error("the supervisor {0}")]
    Supervisor(Exit),
}

/// The result of a look.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) ended: Vec<Ended>,
    /// Returned once.
    pub(crate) failure: Option<Failure>,
}

/// The states of all children.
#[derive(Debug)]
pub(crate) struct Tree {
    children: Vec<Child>,
    intensities: [Intensity; Group::ALL.len()],
    /// Groups started so far.
    begun: usize,
    /// Groups that were stopped for good.
    stopped: Vec<Group>,
    /// Fenced children that have not ended since.
    fenced: Vec<LivenessView>,
    restarts: u64,
    failed: bool,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Child {
    spec: ChildSpec,
    state: State,
    /// It goes when it is down.
    is_dismissed: bool,
    /// Its own restarts, where its group has no limit in common.
    intensity: Intensity,
    backoff: Backoff,
    was_ready: bool,
    restarts: u64,
    last_exit: Option<String>,
}

#[derive(Debug)]
enum State {
    Down,
    Running(Running),
    Waiting { until: Instant },
    Stopping { running: Running, until: Instant },
}

#[derive(Debug)]
struct Running {
    view: LivenessView,
    thread: Option<Arbiter>,
    started: Instant,
    progress: Option<u64>,
    quiet_since: Instant,
}

/// The end of a child that ran.
#[derive(Debug)]
struct End {
    exit: Exit,
    running: Running,
    /// Whether it had been asked to stop.
    was_asked: bool,
}

impl Tree {
    /// A tree of children, none of them started. `changed` is notified when a look is due.
    pub(crate) fn new(specs: Vec<ChildSpec>, changed: Arc<Notify>) -> Self {
        Self {
            children: specs.into_iter().map(Child::new).collect(),
            intensities: Default::default(),
            begun: 0,
            stopped: Vec::new(),
            fenced: Vec::new(),
            restarts: 0,
            failed: false,
            changed,
        }
    }

    /// Restarts since the start.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Fenced threads that still hang.
    pub(crate) fn hung_threads(&self) -> usize {
        self.fenced.len()
    }

    /// The status of every child, in start order.
    pub(crate) fn children(&self, now: Instant) -> Vec<ChildStatus> {
        self.children.iter().map(|child| child.status(now)).collect()
    }

    /// Whether every group is started and every child was ready.
    pub(crate) fn is_up(&self) -> bool {
        self.begun == Group::ALL.len() && self.children.iter().all(|child| child.was_ready)
    }

    /// Has the children of a group be those with these `names`: others are asked to stop, and go; new ones are made by `spec`, and start with the
    /// next look. Does nothing before the group has started, or once it is stopped.
    pub(crate) fn keep(&mut self, group: Group, names: &[String], spec: impl Fn(&str) -> ChildSpec, now: Instant) {
        if self.stopped.contains(&group) || !Group::ALL[..self.begun].contains(&group) {
            return;
        }
        for child in self.children.iter_mut().filter(|child| child.spec.group == group) {
            // One whose name returns before it is down is replaced when it is.
            if !child.is_dismissed && !names.contains(&child.spec.name) {
                child.is_dismissed = true;
                child.stop(now);
            }
        }
        self.children.retain(|child| !(child.is_dismissed && matches!(child.state, State::Down)));
        for name in names {
            if !self.children.iter().any(|child| child.spec.name == *name) {
                self.children.push(Child { state: State::Waiting { until: now }, ..Child::new(spec(name)) });
            }
        }
    }

    /// Whether no child of the group runs or will.
    pub(crate) fn is_down(&self, group: Group) -> bool {
        self.children.iter().all(|child| child.spec.group != group || matches!(child.state, State::Down))
    }

    /// Asks the children of a group to stop. Later looks find when they have ended or are given up. No group is started any more.
    pub(crate) fn stop(&mut self, group: Group, now: Instant) {
        self.begun = Group::ALL.len();
        self.stopped.push(group);
        self.stop_children(group, now);
    }

    fn stop_children(&mut self, group: Group, now: Instant) {
        self.children.iter_mut().filter(|child| child.spec.group == group).for_each(|child| child.stop(now));
    }

    /// Detects changes, and carries out everything that is due at `now`.
    pub(crate) fn look(&mut self, now: Instant, limits: &SupervisionSettings) -> Look {
        let mut look = Look::default();
        self.fenced.retain(|view| !view.has_ended());
        for index in 0..self.children.len() {
            if let Some(end) = self.children[index].end(now, limits) {
                self.ended(index, end, now, limits, &mut look);
            }
        }
        if !self.failed {
            self.begin_groups(now, limits, &mut look);
            for index in 0..self.children.len() {
                if matches!(self.children[index].state, State::Waiting { until } if until <= now) {
                    self.start(index, now, limits, &mut look);
                }
            }
        }
        look
    }

    /// Starts the next groups, each if the group before it is ready.
    fn begin_groups(&mut self, now: Instant, limits: &SupervisionSettings, look: &mut Look) {
        while let Some(group) = Group::ALL.get(self.begun).copied() {
            if !self.children.iter().all(|child| child.spec.group >= group || child.was_ready) {
                return;
            }
            self.begun += 1;
            for index in 0..self.children.len() {
                if self.children[index].spec.group == group {
                    self.start(index, now, limits, look);
                }
            }
        }
    }

    fn start(&mut self, index: usize, now: Instant, limits: &SupervisionSettings, look: &mut Look) {
        let child = &mut self.children[index];
        child.state = State::Down;
        let (child_side, view) = liveness(self.changed.clone());
        let started = (child.spec.start)(child_side);
        let why = started.as_ref().err().map(ToString::to_string);
        let thread = started.ok().flatten();
        let running = Running { view, thread, started: now, progress: None, quiet_since: now };
        match why {
            None => child.state = State::Running(running),
            Some(why) => {
                let end = End { exit: Exit::NotStarted { why }, running, was_asked: false };
                self.ended(index, end, now, limits, look);
            }
        }
    }

    fn ended(&mut self, index: usize, end: End, now: Instant, limits: &SupervisionSettings, look: &mut Look) {
        let End { exit, running: Running { view, thread, started, .. }, was_asked } = end;
        let leaves_a_thread = exit.leaves_a_thread();
        if leaves_a_thread {
            view.fence();
        }
        if let Some(thread) = &thread {
            thread.stop(); // a hung thread ends when it wakes up
        }
        let spec = &mut self.children[index].spec;
        let mut held = (spec.release)();
        if held == HeldWork::default() {
            held = view.held();
        }
        let (child, group, restart) = (spec.name.clone(), spec.group, spec.restart);
        let lived = now.saturating_duration_since(started);
        let last_messages = view.last_messages();
        self.children[index].last_exit = Some(exit.to_string());
        let next = if was_asked { Next::Nothing } else { self.next(index, &exit, lived, now, limits, look) };
        if leaves_a_thread && !view.has_ended() {
            self.fenced.push(view);
            let (count, max) = (self.fenced.len(), limits.max_hung_threads);
            if count > max && !self.failed {
                self.failed = true;
                look.failure = Some(Failure::TooManyHungThreads { child: child.clone(), count, max });
            }
        }
        if !was_asked || !exit.is_normal() {
            look.ended.push(Ended { child, group, restart, exit, lived, held, last_messages, next });
        }
    }

    /// Decides the consequence of a child's end, and applies it.
    fn next(
        &mut self,
        index: usize,
        exit: &Exit,
        lived: Duration,
        now: Instant,
        limits: &SupervisionSettings,
        look: &mut Look,
    ) -> Next {
        let child = &mut self.children[index];
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_normal(),
            Restart::Temporary => false,
        };
        if !again || self.failed {
            return Next::Nothing;
        }
        let group = child.spec.group;
        let intensity = match group.escalation() {
            Escalation::Child => &mut child.intensity,
            Escalation::Node | Escalation::Group => &mut self.intensities[group as usize],
        };
        if intensity.exceeds(now, limits.restarts) {
            match group.escalation() {
                Escalation::Child => {
                    child.state = State::Waiting { until: now + REST };
                    return Next::Rest;
                }
                Escalation::Group => {
                    self.stop_children(group, now);
                    return Next::GroupGivenUp;
                }
                Escalation::Node => {
                    self.failed = true;
                    let RestartLimit { max, window } = limits.restarts;
                    let child = self.children[index].spec.name.clone();
                    look.failure = Some(Failure::TooManyRestarts { child, exit: exit.clone(), max, window });
                    return Next::NodeGoesDown;
                }
            }
        }
        self.restarts += 1;
        child.restarts += 1;
        let delay = child.backoff.delay(lived);
        child.state = State::Waiting { until: now + delay };
        Next::Restart(delay)
    }
}

impl Child {
    fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            state: State::Down,
            is_dismissed: false,
            intensity: Intensity::default(),
            backoff: Backoff::default(),
            was_ready: false,
            restarts: 0,
            last_exit: None,
        }
    }

    fn status(&self, now: Instant) -> ChildStatus {
        let (state, running) = match &self.state {
            State::Down => (ChildState::Down, None),
            State::Waiting { .. } => (ChildState::Restarting, None),
            State::Stopping { running, .. } => (ChildState::Stopping, Some(running)),
            State::Running(running) if running.view.is_ready() => (ChildState::Running, Some(running)),
            State::Running(running) => (ChildState::Starting, Some(running)),
        };
        let ms = |since: Instant| now.saturating_duration_since(since).as_millis() as u64;
        ChildStatus {
            name: self.spec.name.clone(),
            group: self.spec.group,
            state,
            uptime_ms: running.map_or(0, |running| ms(running.started)),
            quiet_ms: running.map_or(0, |running| ms(running.quiet_since)),
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
        }
    }

    fn stop(&mut self, now: Instant) {
        self.state = match std::mem::replace(&mut self.state, State::Down) {
            State::Running(running) => {
                running.view.stop();
                State::Stopping { running, until: now + self.spec.shutdown_grace }
            }
            State::Down | State::Waiting { .. } => State::Down,
            stopping @ State::Stopping { .. } => stopping,
        };
    }

    /// How the child has ended since the last look, if it has. It is down then.
    fn end(&mut self, now: Instant, limits: &SupervisionSettings) -> Option<End> {
        let (running, stop_by) = match &mut self.state {
            State::Running(running) => (running, None),
            State::Stopping { running, until } => (running, Some(*until)),
            State::Down | State::Waiting { .. } => return None,
        };
        self.was_ready |= running.view.is_ready();
        let overdue = stop_by.is_some_and(|until| now >= until);
        let exit = running.view.exit().or_else(|| running.hangs(now, limits, overdue))?;
        match std::mem::replace(&mut self.state, State::Down) {
            State::Running(running) => Some(End { exit, running, was_asked: false }),
            State::Stopping { running, .. } => Some(End { exit, running, was_asked: true }),
            State::Down | State::Waiting { .. } => None, // handled above
        }
    }
}

impl Running {
    fn hangs(&mut self, now: Instant, limits: &SupervisionSettings, overdue: bool) -> Option<Exit> {
        let progress = self.view.progress();
        if progress.is_none() || progress != self.progress {
            self.progress = progress;
            self.quiet_since = now;
        }
        let quiet_for = now.saturating_duration_since(self.quiet_since);
        let unready_for = now.saturating_duration_since(self.started);
        if overdue || quiet_for >= limits.hang_timeout {
            return Some(Exit::Hung { quiet_for });
        }
        (!self.view.is_ready() && unready_for >= START_PATIENCE).then_some(Exit::Hung { quiet_for: unready_for })
    }
}
