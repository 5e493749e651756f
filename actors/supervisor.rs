//! The supervisor starts the writers, replaces one that died, and publishes the statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use actix_rt::Arbiter;
use tidegate_memory::Stage;
use tidegate_memory::allocator::AllocatorProbe;
use tidegate_storage::Store;
use tracing::{error, info, warn};

use crate::node::Shared;
use crate::settings::WriterSettings;
use crate::writer::Writer;

/// A writer has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WriterExited {
    /// Which one.
    pub index: usize,
    /// Whether a panic ended it.
    pub panicked: bool,
}

/// The associations are gone: stop the writers.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    store: Arc<Store>,
    settings: WriterSettings,
    statistics_interval: Option<Duration>,
    arbiters: Vec<Arbiter>,
    last_line: LastLine,
}

/// What the last statistics line was about.
#[derive(Debug)]
struct LastLine {
    at: Instant,
    instances: u64,
    bytes: u64,
}

impl Supervisor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<Store>,
        settings: WriterSettings,
        statistics_interval: Option<Duration>,
    ) -> Self {
        Self {
            shared,
            store,
            settings,
            statistics_interval,
            arbiters: Vec::new(),
            last_line: LastLine { at: Instant::now(), instances: 0, bytes: 0 },
        }
    }

    /// Starts writer `index` on its arbiter, or on a new one if that is gone.
    fn start_writer(&mut self, index: usize, ctx: &mut Context<Self>) {
        let (store, mailbox) = (self.store.clone(), self.shared.mailbox.clone());
        let (batch, supervisor) = (self.settings.batch, ctx.address().recipient());
        let writer = move |_: &mut Context<Writer>| Writer::new(index, store, mailbox, batch, supervisor);
        if index == self.arbiters.len() {
            self.arbiters.push(Arbiter::new());
        } else if !self.arbiters[index].spawn(async {}) {
            self.arbiters[index] = Arbiter::new();
        }
        Writer::start_in_arbiter(&self.arbiters[index].handle(), writer);
    }

    fn publish(&mut self, probe: &AllocatorProbe) {
        let allocator = match probe.read() {
            Ok(allocator) => allocator,
            Err(error) => return warn!(%error, "no statistics this time"),
        };
        let shared = &self.shared;
        let statistics = &shared.statistics;
        let leased = shared.budget.by_stage();
        let now = LastLine {
            at: Instant::now(),
            instances: statistics.acknowledged_total(),
            bytes: statistics.bytes_acknowledged.get(),
        };
        info!(
            allocated_bytes = allocator.allocated,
            active_bytes = allocator.active,
            metadata_bytes = allocator.metadata,
            resident_bytes = allocator.resident,
            mapped_bytes = allocator.mapped,
            retained_bytes = allocator.retained,
            budget_bytes = shared.budget.limit(),
            leased_bytes = leased.total(),
            leased_highest_bytes = shared.budget.highest(),
            leased_floor_bytes = leased.get(Stage::Floor),
            leased_receiving_bytes = leased.get(Stage::Receiving) + leased.get(Stage::Negotiating),
            leased_queued_bytes = leased.get(Stage::Queued),
            leased_writing_bytes = leased.get(Stage::Writing),
            leased_spooling_bytes = leased.get(Stage::Spooling),
            associations = shared.admission.open(),
            mailbox_depth = shared.mailbox.depth(),
            mailbox_high_water = shared.mailbox.take_high_water(),
            spool_bytes = statistics.spool_bytes.get(),
            instances = now.instances - self.last_line.instances,
            instance_bytes = now.bytes - self.last_line.bytes,
            interval_ms = now.at.duration_since(self.last_line.at).as_millis() as u64,
            refused_total = statistics.refused_total(),
            writers_replaced_total = statistics.writers_replaced.get(),
            durability = %shared.durability,
            "statistics"
        );
        self.last_line = now;
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for index in 0..self.settings.count {
            self.start_writer(index, ctx);
        }
        match (self.statistics_interval, AllocatorProbe::new()) {
            (Some(interval), Ok(probe)) => {
                ctx.run_interval(interval, move |this, _| this.publish(&probe));
            }
            (Some(_), Err(error)) => warn!(%error, "no statistics will be published"),
            (None, _) => {}
        }
    }
}

impl Handler<WriterExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, exited: WriterExited, ctx: &mut Context<Self>) {
        error!(
            writer = exited.index,
            panicked = exited.panicked,
            mailbox_depth = self.shared.mailbox.depth(),
            "writer ended; it is replaced, and the datasets it had go to others"
        );
        self.shared.statistics.writers_replaced.increment();
        self.start_writer(exited.index, ctx);
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        for arbiter in self.arbiters.drain(..) {
            arbiter.stop();
        }
        ctx.stop();
    }
}
