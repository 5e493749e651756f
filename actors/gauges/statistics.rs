//! The statistics actor reads the node's figures: it publishes the statistics line, moves the pressure level with the memory
//! the host sees, ends the association that holds most when nothing else helps, and says when memory leaks.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_memory::allocator::{AllocatorStatistics, purge};
use tidegate_memory::pressure::{self, Level, Watermarks};
use tidegate_memory::sentinel::{self, Sample, Sentinel};
use tidegate_memory::snapshot::unattributed;
use tidegate_memory::{Stage, StageBytes};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::alarm::Alarm;
use super::history::Point;
use super::latency::Distribution;
use super::observer::StatisticsSnapshot;
use crate::fault;
use crate::node::shared::Shared;
use crate::supervision::child::ChildActor;
use crate::supervision::liveness::{Liveness, MessageKind};

/// How often memory is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two evictions, two looks of the sentinel: one second.
const TICKS_A_SECOND: u64 = 10;

/// The child of the supervisor that does it.
pub(crate) fn child(shared: &Arc<Shared>, liveness: Liveness) -> ChildActor {
    let figures = Figures::new(shared.clone());
    ChildActor::new(&shared.gauges.counters, move || run(figures, liveness))
}

async fn run(mut figures: Figures, liveness: Liveness) {
    liveness.ready();
    let looks = async {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            fault::point("statistics");
            liveness.note(MessageKind::MemoryLook);
            figures.watch();
            if figures.line_is_due() {
                liveness.note(MessageKind::StatisticsLine);
                figures.publish();
            }
        }
    };
    liveness.during(looks).await;
}

/// What is known from one look to the next.
#[derive(Debug)]
struct Figures {
    shared: Arc<Shared>,
    sentinel: Sentinel,
    started: Instant,
    ticks: u64,
    last_line: LastLine,
    second: Second,
}

/// What is known of the second that is not over yet, and what had been counted when it began.
#[derive(Debug)]
struct Second {
    began: Instant,
    leased: StageBytes,
    mailbox_depth: usize,
    received_bytes: u64,
    acknowledged: u64,
    acknowledged_bytes: u64,
    refused: u64,
    response: Distribution,
    commit: Distribution,
}

impl Second {
    fn begin(shared: &Shared) -> Self {
        let counters = &shared.gauges.counters;
        Self {
            began: Instant::now(),
            leased: shared.budget.by_stage(),
            mailbox_depth: shared.mailbox.depth(),
            received_bytes: counters.bytes_received.get(),
            acknowledged: counters.acknowledged_total(),
            acknowledged_bytes: counters.bytes_acknowledged.get(),
            refused: counters.refused_total(),
            response: shared.gauges.latencies.response.read(),
            commit: shared.gauges.latencies.commit.read(),
        }
    }

    /// A look within the second: what is there for a moment only shall be seen.
    fn look(&mut self, shared: &Shared) {
        let leased = shared.budget.by_stage();
        if leased.total() > self.leased.total() {
            self.leased = leased;
        }
        self.mailbox_depth = self.mailbox_depth.max(shared.mailbox.depth());
    }

    /// The second as a point of the history.
    fn end(&self, shared: &Shared, allocator: &AllocatorStatistics) -> (Self, Point) {
        let now = Self::begin(shared);
        let middle_and_most =
            |distribution: Distribution| Some((distribution.quantile_us(0.5)?, distribution.quantile_us(0.99)?));
        let point = Point {
            at: SystemTime::now(),
            length_ms: now.began.duration_since(self.began).as_millis() as u64,
            budget_bytes: shared.budget.limit(),
            leased: self.leased,
            resident_bytes: allocator.resident,
            allocated_bytes: allocator.allocated,
            pressure: *shared.pressure.borrow(),
            associations: shared.admission.open(),
            mailbox_depth: self.mailbox_depth,
            writers_busy: shared.gauges.counters.writers_busy.get(),
            received_bytes: now.received_bytes - self.received_bytes,
            acknowledged: now.acknowledged - self.acknowledged,
            acknowledged_bytes: now.acknowledged_bytes - self.acknowledged_bytes,
            refused: now.refused - self.refused,
            response_us: middle_and_most(now.response.since(&self.response)),
            commit_us: middle_and_most(now.commit.since(&self.commit)),
        };
        (now, point)
    }
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

impl Figures {
    fn new(shared: Arc<Shared>) -> Self {
        let at = Instant::now();
        // Of a life before this one, if the actor was restarted, the first line tells nothing.
        let last_line = LastLine {
            at,
            acknowledged_total: shared.gauges.counters.acknowledged_total(),
            acknowledged_bytes_total: shared.gauges.counters.bytes_acknowledged.get(),
        };
        let second = Second::begin(&shared);
        Self { sentinel: Sentinel::new(sentinel_settings()), started: at, ticks: 0, shared, last_line, second }
    }

    fn line_is_due(&self) -> bool {
        let interval = self.shared.live().statistics_interval;
        // Half a tick early is nearer than half a tick late.
        interval.is_some_and(|interval| self.last_line.at.elapsed() + TICK / 2 >= interval)
    }

    /// Looks at the memory, and does what the pressure asks for.
    fn watch(&mut self) {
        #[cfg(feature = "test-faults")]
        leak_on_purpose();
        let mut allocator = match self.shared.probe.read() {
            Ok(allocator) => allocator,
            Err(error) => return warn!(%error, "cannot read the memory statistics"),
        };
        if self.ticks == TICKS_A_SECOND && !self.shared.baseline.is_set() {
            // By now every thread has made what it keeps.
            self.shared.baseline.set(&allocator, self.shared.budget.held());
        }
        let each_second = self.ticks.is_multiple_of(TICKS_A_SECOND);
        self.ticks += 1;
        let before = *self.shared.pressure.borrow();
        let watermarks = Watermarks::new(self.shared.budget.limit());
        let mut level = pressure::next(before, allocator.resident, &watermarks);
        if level >= Level::Purge {
            // Free pages are no reason for more than giving them back: what goes beyond is told by what is left.
            allocator = self.purged().unwrap_or(allocator);
            level = pressure::next(before, allocator.resident, &watermarks).max(Level::Purge);
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
        if level >= Level::Abort && before < Level::Abort {
            self.shared.gauges.alarms.raise(Alarm::Pressure);
        }
        if level >= Level::Abort && each_second {
            self.evict(allocator);
        }
        self.second.look(&self.shared);
        if each_second {
            let (next, point) = self.second.end(&self.shared, &allocator);
            self.second = next;
            self.shared.gauges.history.push(point);
            self.look_for_leaks(&allocator);
        }
    }

    /// Gives free pages back, and reads the figures after it.
    fn purged(&self) -> Option<AllocatorStatistics> {
        purge()
            .and_then(|()| self.shared.probe.read())
            .inspect_err(|error| warn!(%error, "cannot return free pages"))
            .ok()
    }

    /// Ends the association that holds most.
    fn evict(&self, allocator: AllocatorStatistics) {
        let snapshot = self.shared.budget.snapshot(allocator, self.shared.baseline.get(), Level::Abort);
        if let Some(most) = snapshot.holders.into_iter().max_by_key(|holder| holder.bytes) {
            warn!(association = most.label, bytes = most.bytes, "association aborted: the largest holder of memory");
            self.shared.gauges.open.end(most.id);
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
            shared.gauges.counters.leaks_suspected.increment();
            warn!(
                slope_bytes_per_s = leak.slope_bytes_per_s,
                slope_low_bytes_per_s = leak.slope_low_bytes_per_s,
                window_s = leak.window_s,
                unattributed = leak.unattributed,
                stage = leak.stage.map(Stage::name),
                oldest_holder = leak.oldest_holder.as_ref().map(|holder| holder.label.as_str()),
                oldest_holder_age_ms = leak.oldest_holder.as_ref().map(|holder| holder.age_ms),
                unattributed_bytes = unattributed(allocator.allocated, shared.budget.held(), shared.baseline.get()),
                "possible leak: memory grows while the node is quiet"
            );
        }
    }

    fn publish(&mut self) {
        let now = match StatisticsSnapshot::of(&self.shared) {
            Ok(now) => now,
            Err(error) => return warn!(%error, "statistics not logged"),
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
            leased_tls_bytes = leased.get(Stage::Tls),
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
            restarts_total = now.restarts_total,
            associations_panicked_total = now.associations_panicked_total,
            hung_threads = now.hung_threads,
            actors = now.actors,
            durability = %self.shared.durability,
            "statistics"
        );
        self.last_line = LastLine::of(&now);
    }
}

/// KiB to leak at each look, if a test wants that.
#[cfg(feature = "test-faults")]
fn leak_kib() -> Option<usize> {
    std::env::var("TIDEGATE_TEST_LEAK_KIB").ok()?.parse().ok()
}

#[cfg(feature = "test-faults")]
fn leak_on_purpose() {
    if let Some(kib) = leak_kib() {
        std::hint::black_box(Box::leak(vec![1_u8; kib * 1024].into_boxed_slice()));
    }
}

#[cfg(not(feature = "test-faults"))]
fn sentinel_settings() -> sentinel::Settings {
    sentinel::Settings::default()
}

/// With a leak on purpose, a window short enough for a test.
#[cfg(feature = "test-faults")]
fn sentinel_settings() -> sentinel::Settings {
    let short = sentinel::Settings {
        window: Duration::from_secs(24),
        minimum_rise_bytes: 256 * 1024,
        ..sentinel::Settings::default()
    };
    leak_kib().map_or_else(sentinel::Settings::default, |_| short)
}
