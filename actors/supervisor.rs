//! The supervisor starts the writers, replaces one that died, watches the memory, and publishes the statistics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use actix_rt::Arbiter;
use tidegate_memory::Stage;
use tidegate_memory::allocator::{AllocatorStatistics, purge};
use tidegate_memory::pressure::{self, Level, Watermarks};
use tidegate_memory::sentinel::{self, Sample, Sentinel};
use tidegate_memory::snapshot::unattributed;
use tidegate_storage::Store;
use tracing::{error, info, warn};

use crate::node::Shared;
use crate::observer::StatisticsSnapshot;
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

/// How often memory is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two evictions, two looks of the sentinel: one second.
const TICKS_A_SECOND: u64 = 10;

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    store: Arc<Store>,
    settings: WriterSettings,
    statistics_interval: Option<Duration>,
    arbiters: Vec<Arbiter>,
    watermarks: Watermarks,
    sentinel: Sentinel,
    started: Instant,
    ticks: u64,
    last_line: LastLine,
}

/// What the last statistics line told of what only rises.
#[derive(Debug)]
struct LastLine {
    at: Instant,
    acknowledged_total: u64,
    acknowledged_bytes_total: u64,
}

impl LastLine {
    fn of(snapshot: &StatisticsSnapshot) -> Self {
        let StatisticsSnapshot { at, acknowledged_total, acknowledged_bytes_total, .. } = *snapshot;
        Self { at, acknowledged_total, acknowledged_bytes_total }
    }
}

impl Supervisor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<Store>,
        settings: WriterSettings,
        statistics_interval: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        Self {
            watermarks: Watermarks::new(shared.budget.limit()),
            sentinel: Sentinel::new(sentinel_settings()),
            started: now,
            ticks: 0,
            shared,
            store,
            settings,
            statistics_interval,
            arbiters: Vec::new(),
            last_line: LastLine { at: now, acknowledged_total: 0, acknowledged_bytes_total: 0 },
        }
    }

    /// Starts writer `index` on its arbiter, or on a new one if that is gone.
    fn start_writer(&mut self, index: usize, ctx: &mut Context<Self>) {
        let (store, shared) = (self.store.clone(), self.shared.clone());
        let (batch, supervisor) = (self.settings.batch, ctx.address().recipient());
        let writer = move |_: &mut Context<Writer>| Writer::new(index, store, shared, batch, supervisor);
        if index == self.arbiters.len() {
            self.arbiters.push(Arbiter::new());
        } else if !self.arbiters[index].spawn(async {}) {
            self.arbiters[index] = Arbiter::new();
        }
        Writer::start_in_arbiter(&self.arbiters[index].handle(), writer);
    }

    /// Looks at the memory, and does what the pressure asks for.
    fn watch(&mut self) {
        #[cfg(feature = "test-leak")]
        leak_on_purpose();
        let mut allocator = match self.shared.probe.read() {
            Ok(allocator) => allocator,
            Err(error) => return warn!(%error, "memory cannot be watched"),
        };
        if self.ticks == TICKS_A_SECOND {
            // By now every thread has made what it keeps.
            self.shared.baseline.set(&allocator, self.shared.budget.held());
        }
        let each_second = self.ticks.is_multiple_of(TICKS_A_SECOND);
        self.ticks += 1;
        let before = *self.shared.pressure.borrow();
        let mut level = pressure::next(before, allocator.resident, &self.watermarks);
        if level >= Level::Purge {
            // Free pages are no reason for more than giving them back: what goes beyond is told by what is left.
            allocator = self.purged().unwrap_or(allocator);
            level = pressure::next(before, allocator.resident, &self.watermarks).max(Level::Purge);
        }
        if level != before {
            self.shared.pressure.send_replace(level);
            warn!(
                ?before,
                ?level,
                resident_bytes = allocator.resident,
                allocated_bytes = allocator.allocated,
                leased_bytes = self.shared.budget.held(),
                budget_bytes = self.shared.budget.limit(),
                associations = self.shared.admission.open(),
                "memory pressure"
            );
        }
        if level >= Level::Abort && each_second {
            self.evict(allocator);
        }
        if each_second {
            self.look_for_leaks(&allocator);
        }
    }

    /// Gives free pages back, and reads the figures after it.
    fn purged(&self) -> Option<AllocatorStatistics> {
        purge()
            .and_then(|()| self.shared.probe.read())
            .inspect_err(|error| warn!(%error, "free pages could not be given back"))
            .ok()
    }

    /// Ends the association that holds most.
    fn evict(&self, allocator: AllocatorStatistics) {
        let snapshot = self.shared.budget.snapshot(allocator, self.shared.baseline.get(), Level::Abort);
        if let Some(most) = snapshot.holders.into_iter().max_by_key(|holder| holder.bytes) {
            warn!(association = most.label, bytes = most.bytes, "association aborted: it held most");
            self.shared.eviction.send_replace(Some(most.id));
        }
    }

    fn look_for_leaks(&mut self, allocator: &AllocatorStatistics) {
        let shared = &self.shared;
        let sample = Sample {
            at: self.started.elapsed(),
            quiet: self.ticks > 2 * TICKS_A_SECOND && shared.admission.open() == 0 && shared.mailbox.depth() == 0,
            unattributed_bytes: unattributed(allocator.allocated, shared.budget.held(), shared.baseline.get()),
            stages: shared.budget.stages(),
            oldest_holder: shared.budget.oldest_holder(),
        };
        if let Some(leak) = self.sentinel.observe(sample) {
            warn!(
                slope_bytes_per_s = leak.slope_bytes_per_s,
                slope_low_bytes_per_s = leak.slope_low_bytes_per_s,
                window_s = leak.window_s,
                unattributed = leak.unattributed,
                stage = leak.stage.map(Stage::name),
                oldest_holder = leak.oldest_holder.as_ref().map(|holder| holder.label.as_str()),
                oldest_holder_age_ms = leak.oldest_holder.as_ref().map(|holder| holder.age_ms),
                unattributed_bytes = unattributed(allocator.allocated, shared.budget.held(), shared.baseline.get()),
                "memory that nobody should hold still grows while the node is quiet"
            );
        }
    }

    fn publish(&mut self) {
        let now = match StatisticsSnapshot::of(&self.shared) {
            Ok(now) => now,
            Err(error) => return warn!(%error, "no statistics this time"),
        };
        let leased = &now.leased;
        info!(
            allocated_bytes = now.allocator.allocated,
            active_bytes = now.allocator.active,
            metadata_bytes = now.allocator.metadata,
            resident_bytes = now.allocator.resident,
            mapped_bytes = now.allocator.mapped,
            retained_bytes = now.allocator.retained,
            budget_bytes = now.budget_bytes,
            leased_bytes = leased.total(),
            leased_highest_bytes = now.leased_highest_bytes,
            leased_floor_bytes = leased.get(Stage::Floor),
            leased_negotiating_bytes = leased.get(Stage::Negotiating),
            leased_receiving_bytes = leased.get(Stage::Receiving),
            leased_queued_bytes = leased.get(Stage::Queued),
            leased_writing_bytes = leased.get(Stage::Writing),
            leased_spooling_bytes = leased.get(Stage::Spooling),
            leased_admin_bytes = leased.get(Stage::Admin),
            unattributed_bytes = now.unattributed_bytes,
            baseline_bytes = now.baseline_bytes,
            pressure = ?now.pressure,
            associations = now.associations,
            mailbox_depth = now.mailbox_depth,
            mailbox_high_water = self.shared.mailbox.take_high_water(),
            writers_busy = now.writers_busy,
            spool_bytes = now.spool_bytes,
            instances = now.acknowledged_total - self.last_line.acknowledged_total,
            instance_bytes = now.acknowledged_bytes_total - self.last_line.acknowledged_bytes_total,
            interval_ms = now.at.duration_since(self.last_line.at).as_millis() as u64,
            refused_total = now.refused_total,
            writers_replaced_total = now.writers_replaced_total,
            durability = %self.shared.durability,
            "statistics"
        );
        self.last_line = LastLine::of(&now);
    }
}

/// Leaks 8 KiB, or as many as the test says.
#[cfg(feature = "test-leak")]
fn leak_on_purpose() {
    let kib = std::env::var("TIDEGATE_TEST_LEAK_KIB").ok().and_then(|text| text.parse().ok()).unwrap_or(8_usize);
    std::hint::black_box(Box::leak(vec![1_u8; kib * 1024].into_boxed_slice()));
}

#[cfg(not(feature = "test-leak"))]
fn sentinel_settings() -> sentinel::Settings {
    sentinel::Settings::default()
}

/// A window short enough for a test.
#[cfg(feature = "test-leak")]
fn sentinel_settings() -> sentinel::Settings {
    sentinel::Settings { window: Duration::from_secs(24), minimum_rise_bytes: 256 * 1024, ..Default::default() }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        for index in 0..self.settings.count {
            self.start_writer(index, ctx);
        }
        ctx.run_interval(TICK, |this, _| this.watch());
        if let Some(interval) = self.statistics_interval {
            ctx.run_interval(interval, |this, _| this.publish());
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
