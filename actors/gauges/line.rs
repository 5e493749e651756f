//! The statistics line: one log line an interval, from which a reader tells what the node waits for. docs/observe.md has each field
//! and the table of conditions; a test holds the table to recorded lines.

use std::time::{Duration, Instant};

use tidegate_memory::Stage;
use tidegate_memory::usage::{Usage, UsageWatch};
use tracing::{info, warn};

use super::counters::SpoolReason;
use super::latency::Distribution;
use super::observer::StatisticsSnapshot;
use crate::node::shared::Shared;

/// The interval that the next line is about.
#[derive(Debug)]
pub(super) struct Line {
    began: Instant,
    usage: UsageWatch,
    before: Counted,
    looks: Looks,
}

/// What only rises, as it was when the interval began.
#[derive(Clone, Copy, Debug)]
struct Counted {
    acknowledged: u64,
    acknowledged_bytes: u64,
    received_bytes: u64,
    refused: u64,
    spooled: [u64; SpoolReason::ALL.len()],
    /// In the order of [`STEPS`].
    steps: [Distribution; STEPS],
}

/// The steps of an instance: receive, hand-off, queue, commit, response.
const STEPS: usize = 5;

/// What was seen at the looks of the interval.
#[derive(Clone, Copy, Debug)]
struct Looks {
    count: u64,
    writers_busy: u64,
    unattributed_floor_bytes: u64,
}

impl Looks {
    const NONE: Self = Self { count: 0, writers_busy: 0, unattributed_floor_bytes: u64::MAX };

    /// Writers at work, on average.
    fn writers_busy_mean(&self) -> f64 {
        self.writers_busy as f64 / self.count.max(1) as f64
    }

    /// Time that writers were at work in the interval, together.
    fn busy_of(&self, interval: Duration) -> Duration {
        interval.mul_f64(self.writers_busy_mean())
    }
}

impl Counted {
    fn of(shared: &Shared) -> Self {
        let (counters, latencies) = (&shared.gauges.counters, &shared.gauges.latencies);
        let steps = [
            &latencies.receive,
            &latencies.handoff_wait,
            &latencies.queue_wait,
            &latencies.commit,
            &latencies.response,
        ];
        Self {
            acknowledged: counters.acknowledged_total(),
            acknowledged_bytes: counters.bytes_acknowledged.get(),
            received_bytes: counters.bytes_received.get(),
            refused: counters.refused_total(),
            spooled: SpoolReason::ALL.map(|reason| counters.spooled(reason).get()),
            steps: steps.map(|histogram| histogram.read()),
        }
    }
}

impl Line {
    /// Begins an interval. What was counted before, in the life of an actor that was restarted, is in no line.
    pub(super) fn begin(shared: &Shared) -> Self {
        Self { began: Instant::now(), usage: UsageWatch::new(), before: Counted::of(shared), looks: Looks::NONE }
    }

    /// The time since the last line.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// A look within the interval.
    pub(super) fn look(&mut self, shared: &Shared, unattributed_bytes: u64) {
        self.looks.count += 1;
        self.looks.writers_busy += shared.gauges.counters.writers_busy.get();
        self.looks.unattributed_floor_bytes = self.looks.unattributed_floor_bytes.min(unattributed_bytes);
    }

    /// Ends the interval, logs its line, and begins the next.
    #[rustfmt::skip] // the fields of a subject stand in one line
    pub(super) fn publish(&mut self, shared: &Shared) {
        let now = match StatisticsSnapshot::of(shared) {
            Ok(now) => now,
            Err(error) => return warn!(%error, "statistics not logged"),
        };
        let counted = Counted::of(shared);
        let before = std::mem::replace(&mut self.before, counted);
        let looks = std::mem::replace(&mut self.looks, Looks::NONE);
        let interval = now.at.duration_since(std::mem::replace(&mut self.began, now.at));
        let usage = self.usage.advance();
        let step = |index: usize| Quantiles::of(&counted.steps[index].since(&before.steps[index]));
        let [receive, handoff_wait, queue_wait, commit, response] = std::array::from_fn::<_, STEPS, _>(step);
        let spooled = |reason: SpoolReason| counted.spooled[reason as usize] - before.spooled[reason as usize];
        let leased = |stage: Stage| now.leased.get(stage);
        let instances = counted.acknowledged - before.acknowledged;
        let longest = shared.gauges.writers.longest_busy();
        let Usage { cpu, cpu_wait, cpu_throttled, host_busy, host_steal, pressure_cpu, pressure_io, pressure_memory } = usage;
        info!(
            interval_ms = interval.as_millis() as u64,
            associations = now.associations, received_bytes = counted.received_bytes - before.received_bytes,
            instances,
            instance_bytes = counted.acknowledged_bytes - before.acknowledged_bytes,
            refused = counted.refused - before.refused, refused_total = now.refused_total,
            receive_p50_ms = receive.p50_ms, receive_p99_ms = receive.p99_ms,
            handoff_wait_p50_ms = handoff_wait.p50_ms, handoff_wait_p99_ms = handoff_wait.p99_ms,
            queue_wait_p50_ms = queue_wait.p50_ms, queue_wait_p99_ms = queue_wait.p99_ms,
            commit_p50_ms = commit.p50_ms, commit_p99_ms = commit.p99_ms,
            response_p50_ms = response.p50_ms, response_p99_ms = response.p99_ms,
            writers = shared.mailbox.writers(), writers_allowed = now.writers_allowed, writers_busy = now.writers_busy,
            writers_busy_mean = tenths(looks.writers_busy_mean()),
            service_mean_ms = for_each(Some(looks.busy_of(interval)), instances), writers_longest_ms = longest.as_millis() as u64,
            mailbox_capacity = shared.mailbox.capacity(), mailbox_depth = now.mailbox_depth,
            mailbox_high_water = shared.mailbox.take_high_water(),
            spooled_threshold = spooled(SpoolReason::Threshold), spooled_budget = spooled(SpoolReason::Budget),
            spooled_pressure = spooled(SpoolReason::Pressure), spool_bytes = now.spool_bytes,
            storage_free_bytes = shared.store.free_bytes_last_seen(),
            cpus = std::thread::available_parallelism().map_or(1, usize::from),
            cpu_ms = ms(cpu), cpu_wait_ms = ms(cpu_wait), cpu_wait_mean_ms = for_each(cpu_wait, instances),
            cpu_throttled_ms = ms(cpu_throttled),
            host_busy_percent = percent(host_busy), host_steal_percent = percent(host_steal),
            psi_cpu_percent = percent(pressure_cpu), psi_io_percent = percent(pressure_io),
            psi_memory_percent = percent(pressure_memory),
            budget_bytes = now.budget_bytes,
            leased_bytes = now.leased.total(), leased_unused_bytes = now.leased_unused_bytes,
            leased_highest_bytes = now.leased_highest_bytes,
            leased_floor_bytes = leased(Stage::Floor), leased_tls_bytes = leased(Stage::Tls),
            leased_negotiating_bytes = leased(Stage::Negotiating), leased_receiving_bytes = leased(Stage::Receiving),
            leased_queued_bytes = leased(Stage::Queued), leased_writing_bytes = leased(Stage::Writing),
            leased_spooling_bytes = leased(Stage::Spooling), leased_admin_bytes = leased(Stage::Admin),
            baseline_bytes = now.baseline_bytes, unattributed_bytes = now.unattributed_bytes,
            unattributed_floor_bytes = looks.unattributed_floor_bytes.min(now.unattributed_bytes),
            unattributed_slope_bytes_per_s = shared.gauges.counters.unattributed_slope_bytes_per_s.get(),
            pressure = ?now.pressure,
            allocated_bytes = now.allocator.allocated, cached_bytes = now.allocator.cached, active_bytes = now.allocator.active,
            metadata_bytes = now.allocator.metadata, resident_bytes = now.allocator.resident,
            mapped_bytes = now.allocator.mapped, retained_bytes = now.allocator.retained,
            writers_replaced_total = now.writers_replaced_total, restarts_total = now.restarts_total,
            associations_panicked_total = now.associations_panicked_total,
            hung_threads = now.hung_threads, actors = now.actors, durability = %shared.placement.durability,
            "statistics"
        );
    }
}

/// The median, and what 99 in 100 stayed below; `None` if nothing was counted.
#[derive(Clone, Copy, Debug)]
struct Quantiles {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Quantiles {
    fn of(distribution: &Distribution) -> Self {
        let quantile_ms = |q| distribution.quantile_us(q).map(|us| tenths(us as f64 / 1e3));
        Self { p50_ms: quantile_ms(0.5), p99_ms: quantile_ms(0.99) }
    }
}

/// The share of an instance in a time; `None`: nothing was stored.
fn for_each(time: Option<Duration>, instances: u64) -> Option<f64> {
    let time_ms = time?.as_secs_f64() * 1e3;
    (instances > 0).then(|| tenths(time_ms / instances as f64))
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn percent(part: Option<f64>) -> Option<f64> {
    part.map(|part| tenths(part * 100.0))
}

fn ms(duration: Option<Duration>) -> Option<u64> {
    duration.map(|duration| duration.as_millis() as u64)
}
