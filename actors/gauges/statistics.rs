//! The statistics actor reads the node's figures. It publishes the statistics line, sets the pressure level by the resident memory, aborts
//! an association when nothing else helps, and reports a suspected leak.

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
use super::eviction::Eviction;
use super::history::Point;
use super::incidents::Suppressed;
use super::latency::Distribution;
use super::line::Line;
use super::stalled::StalledHolders;
use crate::fault;
use crate::node::shared::Shared;
use crate::supervision::child::ChildActor;
use crate::supervision::liveness::{Liveness, MessageKind};

/// Interval of the looks at memory.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two evictions, two looks of the sentinel: one second.
const TICKS_A_SECOND: u64 = 10;
/// The slope of unattributed memory is shown from this rise on.
const MINIMUM_SHOWN_RISE_BYTES: u64 = 1 << 20;

/// The child of the supervisor that runs it.
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

/// The state between two looks.
#[derive(Debug)]
struct Figures {
    shared: Arc<Shared>,
    sentinel: Sentinel,
    started: Instant,
    ticks: u64,
    line: Line,
    second: Second,
    stalled: StalledHolders,
    eviction: Eviction,
}

/// The figures of the second in progress, and the counts at its begin.
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

    /// A look within the second, so that a short peak is seen.
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

impl Figures {
    fn new(shared: Arc<Shared>) -> Self {
        let (line, second, stalled) = (Line::begin(&shared), Second::begin(&shared), StalledHolders::new(&shared));
        let eviction = Eviction::default();
        let sentinel = Sentinel::new(sentinel_settings());
        Self { sentinel, started: Instant::now(), ticks: 0, shared, line, second, stalled, eviction }
    }

    fn line_is_due(&self) -> bool {
        let interval = self.shared.live().statistics_interval;
        // Half a tick early is nearer than half a tick late.
        interval.is_some_and(|interval| self.line.age() + TICK / 2 >= interval)
    }

    fn publish(&mut self) {
        self.line.publish(&self.shared);
    }

    /// Looks at the memory, and applies the measures of the pressure level.
    fn watch(&mut self) {
        #[cfg(feature = "test-faults")]
        leak_on_purpose();
        let mut allocator = match self.shared.probe.read() {
            Ok(allocator) => allocator,
            Err(error) => return warn!(%error, "cannot read the memory statistics"),
        };
        if self.ticks == TICKS_A_SECOND && !self.shared.baseline.is_set() {
            // By now every thread has allocated its caches.
            self.shared.baseline.set(&allocator, &self.shared.budget);
        }
        let each_second = self.ticks.is_multiple_of(TICKS_A_SECOND);
        self.ticks += 1;
        if each_second
            && let Some(Suppressed { lines, sources, source, kinds }) = self.shared.gauges.incidents.take_suppressed()
        {
            let source = source.map(|source| source.to_string());
            info!(suppressed = lines, sources, source, kinds, "log lines about peers suppressed");
        }
        let before = *self.shared.pressure.borrow();
        let watermarks = Watermarks::new(self.shared.budget.limit());
        let mut level = pressure::next(before, allocator.resident, &watermarks);
        if level >= Level::Purge {
            // Free pages alone justify only a purge. The level above it follows from the memory that is left after the purge.
            allocator = self.purged().unwrap_or(allocator);
            level = pressure::next(before, allocator.resident, &watermarks).max(Level::Purge);
        }
        if level != before {
            self.shared.pressure.send_replace(level);
            warn!(
                from = before.name(),
                to = level.name(),
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
            let budget = &self.shared.budget;
            self.eviction.act(&self.shared.gauges.open, |account| budget.by_stage_of(account).total(), budget.held());
        }
        let unattributed = unattributed(&allocator, self.shared.budget.in_use(), self.shared.baseline.get());
        self.second.look(&self.shared);
        self.line.look(&self.shared, unattributed);
        if each_second {
            let (next, point) = self.second.end(&self.shared, &allocator);
            self.second = next;
            self.stalled.look(&self.shared);
            self.shared.gauges.history.push(point);
            self.look_for_leaks(unattributed);
        }
    }

    /// Purges free pages, and reads the figures afterwards.
    fn purged(&self) -> Option<AllocatorStatistics> {
        purge()
            .and_then(|()| self.shared.probe.read())
            .inspect_err(|error| warn!(%error, "cannot return free pages"))
            .ok()
    }

    fn look_for_leaks(&mut self, unattributed_bytes: u64) {
        let shared = &self.shared;
        let quiet = shared.admission.open() == 0 && shared.mailbox.depth() == 0;
        let stages = if quiet { shared.budget.stages() } else { Vec::new() };
        let sample = Sample { at: self.started.elapsed(), quiet, unattributed_bytes, stages };
        let leak = self.sentinel.observe(sample);
        let slope_bytes_per_s = self.sentinel.slope_bytes_per_s(MINIMUM_SHOWN_RISE_BYTES).unwrap_or(0.0);
        shared.gauges.counters.unattributed_slope_bytes_per_s.set(slope_bytes_per_s.round() as u64);
        let Some(leak) = leak else { return };
        shared.gauges.counters.leaks_suspected.increment();
        // Memory without a lease has no holder that could be aborted.
        let holder = leak.stage.and_then(|stage| shared.budget.oldest_holder_in(stage));
        let next =
            if leak.unattributed { "tidegate mem diff --stacks --seconds 60" } else { "tidegate mem who --older 60s" };
        warn!(
            slope_bytes_per_s = leak.slope_bytes_per_s,
            slope_low_bytes_per_s = leak.slope_low_bytes_per_s,
            window_s = leak.window_s,
            unattributed = leak.unattributed,
            stage = leak.stage.map(Stage::name),
            oldest_holder = holder.as_ref().map(|(label, _)| label.as_str()),
            oldest_holder_age_ms = holder.as_ref().map(|(_, age)| age.as_millis() as u64),
            unattributed_bytes,
            associations = shared.admission.open(),
            next,
            "memory leak suspected: the lowest level keeps rising"
        );
    }
}

/// KiB to leak at each look, for a test.
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

/// The window of the sentinel: as long as a test has time for.
#[cfg(feature = "test-faults")]
fn sentinel_settings() -> sentinel::Settings {
    let window_s = std::env::var("TIDEGATE_TEST_SENTINEL_WINDOW_S").ok().and_then(|text| text.parse().ok());
    let short = |window_s| sentinel::Settings {
        window: Duration::from_secs(window_s),
        minimum_rise_bytes: 256 * 1024,
        ..sentinel::Settings::default()
    };
    window_s.map_or_else(sentinel::Settings::default, short)
}
