//! The supervisor: starts the children in order, detects one that has ended or hangs, logs the evidence, replaces it, and stops the node if
//! that happens too often. It also ends associations over their memory limit.
//!
//! Invariant: the supervisor never blocks. It has a thread of its own, and reads atomics ten times a second, and at once when a child ends.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, ResponseFuture, WrapFuture};
use actix_rt::Arbiter;
use tidegate_memory::MemoryBudget;
use tidegate_storage::Store;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::exit::Exit;
use super::limits::REST;
use super::liveness::names_of;
use super::spec::{ChildSpec, Group, Restart};
use super::status::ChildStatus;
use super::tree::{Ended, Failure, Look, Next, Tree};
use crate::fault;
use crate::gauges::Gauges;
use crate::gauges::activity::EndCause;
use crate::gauges::alarm::Alarm;
use crate::gauges::counters::ActorCount;
use crate::mailbox::WriterMailbox;
use crate::node::live::Live;
use crate::patience::AwakeClock;

/// Interval of the looks.
const TICK: Duration = Duration::from_millis(100);
/// The longest gap between two looks that counts. A longer one means that the process was stopped or the machine suspended, and the children
/// with it.
const LONGEST_GAP: Duration = TICK.saturating_mul(2);
/// A pause of the process that is logged. A busy machine makes shorter ones.
const LOGGED_STALL: Duration = Duration::from_secs(2);
/// Looks between two walks over all leases: one second.
const LOOKS_A_WALK: u64 = 10;

/// Asks the children of a group to stop. Answered when all have ended or are given up.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct StopGroup(pub(crate) Group);

/// The signals of the supervisor.
#[derive(Debug)]
pub(crate) struct Signs {
    /// Every child was ready.
    pub(crate) up: watch::Receiver<bool>,
    /// The failure that ends the node.
    pub(crate) failure: watch::Receiver<Option<Failure>>,
    /// Number of looks: the heartbeat.
    pub(crate) heart: watch::Receiver<u64>,
}

/// The environment of the supervisor.
pub(crate) struct Env {
    pub(crate) live: Arc<Live>,
    pub(crate) gauges: Arc<Gauges>,
    pub(crate) mailbox: Arc<WriterMailbox>,
    pub(crate) budget: MemoryBudget,
    pub(crate) store: Store,
    pub(crate) destinations: Destinations,
}

/// The children that come and go with the settings.
pub(crate) struct Destinations {
    /// Their names at the moment.
    pub(crate) names: Box<dyn Fn() -> Vec<String> + Send>,
    pub(crate) spec: Box<dyn Fn(&str) -> ChildSpec + Send>,
}

/// The actor that watches and restarts the children.
pub(crate) struct Supervisor {
    tree: Tree,
    clock: AwakeClock,
    env: Env,
    changed: Arc<Notify>,
    stopping: Vec<(Group, oneshot::Sender<()>)>,
    looks: u64,
    /// Logged so far.
    wals_replaced: u64,
    /// Whether a child hung at the last look.
    is_alarmed: bool,
    /// Whether the list of children was published when all of them were up.
    is_known_to_be_up: bool,
    up: watch::Sender<bool>,
    failure: watch::Sender<Option<Failure>>,
    heart: watch::Sender<u64>,
    _actor_count: ActorCount,
}

impl Supervisor {
    /// Starts the supervisor, which starts the children.
    pub(crate) fn start(thread: &Arbiter, specs: Vec<ChildSpec>, env: Env) -> (Addr<Self>, Signs) {
        let changed = Arc::<Notify>::default();
        let supervisor = Self {
            tree: Tree::new(specs, changed.clone()),
            clock: AwakeClock::new(LONGEST_GAP, Instant::now()),
            _actor_count: ActorCount::new(&env.gauges.counters),
            env,
            changed,
            stopping: Vec::new(),
            looks: 0,
            is_alarmed: false,
            wals_replaced: 0,
            is_known_to_be_up: false,
            up: watch::Sender::new(false),
            failure: watch::Sender::new(None),
            heart: watch::Sender::new(0),
        };
        let signs = Signs {
            up: supervisor.up.subscribe(),
            failure: supervisor.failure.subscribe(),
            heart: supervisor.heart.subscribe(),
        };
        (Self::start_in_arbiter(&thread.handle(), move |_| supervisor), signs)
    }

    fn look(&mut self) {
        fault::point("supervisor");
        self.note_stall();
        let now = self.clock.look(Instant::now());
        let Destinations { names, spec } = &self.env.destinations;
        self.tree.keep(Group::Delivery, &names(), spec, now);
        let Look { ended, failure } = self.tree.look(now, &self.env.live.get().supervision);
        for ended in &ended {
            self.record(ended);
        }
        if let Some(failure) = failure {
            error!(%failure, "node failed, stopping in order");
            self.failure.send_replace(Some(failure));
        }
        self.env.gauges.counters.restarts.set(self.tree.restarts());
        self.env.gauges.counters.hung_threads.set(self.tree.hung_threads() as u64);
        if self.tree.is_up() {
            self.up.send_if_modified(|up| !std::mem::replace(up, true));
        }
        let tree = &self.tree;
        for (_, stopped) in self.stopping.extract_if(.., |(group, _)| tree.is_down(*group)) {
            let _ = stopped.send(());
        }
        let each_second = self.looks.is_multiple_of(LOOKS_A_WALK);
        if each_second || !ended.is_empty() || !self.is_known_to_be_up {
            let children: Arc<[ChildStatus]> = self.tree.children(now).into();
            self.look_for_hangs(&children);
            *self.env.gauges.children.write() = children;
            self.is_known_to_be_up = self.tree.is_up();
        }
        if each_second {
            self.look_for_greed();
            self.look_for_moved_wal();
        }
        self.looks += 1;
        self.heart.send_replace(self.looks);
    }

    /// Counts the time in which the process did not run, and logs a long pause.
    fn note_stall(&self) {
        let stalled = self.clock.asleep(Instant::now());
        let stalled_ms = stalled.as_millis() as u64;
        self.env.gauges.counters.stalled_ms.add(stalled_ms);
        if stalled >= LOGGED_STALL {
            warn!(stalled_ms, "the node did not run: stopped, suspended, or without CPU");
        }
    }

    /// Logs that the directory of the commit log was moved away.
    fn look_for_moved_wal(&mut self) {
        let replaced = self.env.store.wals_replaced();
        if replaced > self.wals_replaced {
            warn!(
                path = %self.env.store.settings().root.join(".tidegate/log").display(),
                times = replaced - self.wals_replaced,
                "the commit log was moved away or removed while the node was storing: its instances were synced, and a new log was begun in \
                 .tidegate/log; find out what changes .tidegate"
            );
            self.wals_replaced = replaced;
        }
    }

    /// Raises the alarm before a hung child is given up, while it still holds its work. Once for each hang.
    fn look_for_hangs(&mut self, children: &[ChildStatus]) {
        let alarming_ms = self.env.live.get().supervision.hang_timeout.as_millis() as u64 * 2 / 3;
        let hanging = children.iter().find(|child| child.quiet_ms >= alarming_ms);
        if let Some(child) = hanging.filter(|_| !self.is_alarmed) {
            self.env.gauges.alarms.raise(Alarm::Hang { child: child.name.clone() });
        }
        self.is_alarmed = hanging.is_some();
    }

    /// Logs the record of a child's end.
    fn record(&self, ended: &Ended) {
        let Ended { child, group, restart, exit, lived, held, last_messages, next } = ended;
        let (what_next, restart_in_ms) = match next {
            Next::Restart(delay) => ("restart", Some(delay.as_millis() as u64)),
            Next::Nothing => ("nothing", None),
            Next::GroupGivenUp => ("its group is given up", None),
            Next::Rest => ("restart after a rest", Some(REST.as_millis() as u64)),
            Next::NodeGoesDown => ("the node goes down", None),
        };
        let panic = match exit {
            Exit::Panicked(panic) => Some(panic),
            Exit::Stopped
            | Exit::Finished
            | Exit::Hung { .. }
            | Exit::ThreadDied
            | Exit::NotStarted { .. }
            | Exit::StorageFailing { .. }
            | Exit::OverLimit { .. } => None,
        };
        error!(
            child,
            restart_policy = restart.name(),
            cause = %exit,
            panic_message = panic.map(|panic| panic.message.as_str()),
            panic_location = panic.map(|panic| panic.location.as_str()),
            lived_ms = lived.as_millis() as u64,
            held_count = held.count,
            held_bytes = held.bytes.total(),
            held = held.bytes.text(),
            mailbox_depth = self.env.mailbox.depth(),
            last_messages = names_of(last_messages),
            next = what_next,
            restart_in_ms,
            "child ended"
        );
        self.env.gauges.recent.add_ended(child, exit, what_next);
        if *group == Group::Writers && matches!(next, Next::Restart(_)) {
            self.env.gauges.counters.writers_replaced.increment();
        }
    }

    /// Ends an association that holds more than any can need: at most one a second, the largest first.
    fn look_for_greed(&self) {
        let limit_bytes = self.env.live.get().association_limit_bytes();
        // Other accounts, such as the reserve for passcodes, have limits of their own.
        let over =
            self.env.budget.over(limit_bytes).into_iter().filter(|(account, ..)| self.env.gauges.open.has(*account));
        let greediest = over.max_by_key(|(_, _, bytes)| bytes.total());
        if let Some((account, label, bytes)) = greediest {
            let exit = Exit::OverLimit { held_bytes: bytes.total(), limit_bytes };
            error!(
                child = "association",
                restart_policy = Restart::Temporary.name(),
                association = label,
                cause = %exit,
                held_bytes = bytes.total(),
                held = bytes.text(),
                mailbox_depth = self.env.mailbox.depth(),
                "child ended"
            );
            self.env.gauges.recent.add_ended(&format!("association {label}"), exit, "nothing");
            self.env.gauges.open.end(account, EndCause::MemoryLimit);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.look();
        next_look(self, ctx);
    }
}

/// Schedules the next look: after a notification, or after the interval.
fn next_look(supervisor: &Supervisor, ctx: &mut Context<Supervisor>) {
    let changed = supervisor.changed.clone();
    let wait = async move {
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(TICK) => {}
        }
    };
    ctx.spawn(wait.into_actor(supervisor).map(|(), this, ctx| {
        this.look();
        next_look(this, ctx);
    }));
}

impl Handler<StopGroup> for Supervisor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, StopGroup(group): StopGroup, _: &mut Context<Self>) -> Self::Result {
        self.tree.stop(group, self.clock.look(Instant::now()));
        let (stopped, has_stopped) = oneshot::channel();
        self.stopping.push((group, stopped));
        self.changed.notify_one();
        Box::pin(async move {
            let _ = has_stopped.await;
        })
    }
}
