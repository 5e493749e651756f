//! The contents of a flight record. Every part is bounded.

use std::cmp::Reverse;

use serde::Serialize;
use tidegate_actors::gauges::alarm::Alarm;
use tidegate_actors::gauges::history::POINTS;
use tidegate_actors::{ChildStatus, Observer};
use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::snapshot::{HolderUse, LeaseUse, StageUse};
use tidegate_memory::{AllocatorStatistics, Location};

use crate::admin::model::{Association, EndedEntry, Second};
use crate::admin::writers::{Writer, Writers};

/// Most holders in a record: the largest ones.
const MAX_HOLDERS: usize = 64;
/// Most leases of a holder or a writer in a record: the oldest ones.
const MAX_LEASES: usize = 16;
/// Most associations in a record: the oldest ones.
const MAX_ASSOCIATIONS: usize = 64;

/// A flight record.
#[derive(Debug, Serialize)]
pub(super) struct Record {
    /// Version of the program.
    tidegate: &'static str,
    process: u32,
    /// The kind of alarm, and the alarm in words.
    alarm: &'static str,
    reason: String,
    at_unix_ms: u64,
    started_unix_ms: u64,
    phase: String,
    pressure: String,
    budget_bytes: u64,
    held_bytes: u64,
    highest_bytes: u64,
    unattributed_bytes: u64,
    allocator: AllocatorStatistics,
    stages: Vec<StageUse>,
    counters: Counts,
    writers: WritersHold,
    /// The number of holders, and the largest ones.
    holders_total: usize,
    holders: Vec<HolderUse>,
    associations_total: usize,
    associations: Vec<Association>,
    children: Vec<Child>,
    /// Children that ended lately, the latest first.
    ended: Vec<EndedEntry>,
    /// The last ten minutes, a second each, the oldest first.
    history: Vec<Second>,
    /// The last lines of the log, the oldest first.
    messages: Vec<String>,
}

/// Totals since the start, and work in flight.
#[derive(Debug, Serialize)]
struct Counts {
    acknowledged_total: u64,
    refused_total: u64,
    restarts_total: u64,
    commits_timed_out_total: u64,
    handovers_total: u64,
    hung_threads: u64,
    spool_bytes: u64,
}

#[derive(Debug, Serialize)]
struct WritersHold {
    mailbox_depth: u64,
    mailbox_capacity: u64,
    writers: Vec<WriterHolds>,
}

/// A writer, and the leases that are at it.
#[derive(Debug, Serialize)]
struct WriterHolds {
    #[serde(flatten)]
    writer: Writer,
    holds: Vec<LeaseUse>,
}

#[derive(Debug, Serialize)]
struct Child {
    name: String,
    state: &'static str,
    uptime_ms: u64,
    /// Time with work and without progress.
    quiet_ms: u64,
    restarts: u64,
    last_exit: Option<String>,
}

impl Record {
    /// The present state of the node.
    ///
    /// # Errors
    /// If jemalloc's figures cannot be read.
    pub(super) fn of(alarm: &Alarm, observer: &Observer, messages: Vec<String>) -> Result<Self, AllocatorError> {
        let memory = observer.memory()?;
        let statistics = observer.statistics()?;
        let counters = observer.counters();
        let writers = WritersHold::of(Writers::of(observer), &memory.holders);
        let associations = Association::all(observer);
        Ok(Self {
            tidegate: env!("CARGO_PKG_VERSION"),
            process: std::process::id(),
            alarm: alarm.name(),
            reason: alarm.to_string(),
            at_unix_ms: memory.taken_unix_ms,
            started_unix_ms: observer
                .started()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |at| at.as_millis() as u64),
            phase: format!("{:?}", observer.phase()),
            pressure: memory.pressure.to_string(),
            budget_bytes: memory.budget_bytes,
            held_bytes: memory.held_bytes,
            highest_bytes: memory.highest_bytes,
            unattributed_bytes: memory.unattributed_bytes,
            allocator: memory.allocator,
            stages: memory.stages,
            counters: Counts {
                acknowledged_total: statistics.acknowledged_total,
                refused_total: statistics.refused_total,
                restarts_total: statistics.restarts_total,
                commits_timed_out_total: counters.commits_timed_out.get(),
                handovers_total: counters.handed_over_again.get(),
                hung_threads: statistics.hung_threads,
                spool_bytes: statistics.spool_bytes,
            },
            writers,
            holders_total: memory.holders.len(),
            holders: largest(memory.holders),
            associations_total: associations.len(),
            associations: associations.into_iter().take(MAX_ASSOCIATIONS).collect(),
            children: observer.children().iter().map(Child::of).collect(),
            ended: observer.recently_ended().iter().map(EndedEntry::of).collect(),
            history: observer.history(POINTS).iter().map(Second::of).collect(),
            messages,
        })
    }
}

/// The largest holders, the largest first, each with its oldest leases.
fn largest(mut holders: Vec<HolderUse>) -> Vec<HolderUse> {
    holders.sort_by_key(|holder| Reverse(holder.bytes));
    holders.truncate(MAX_HOLDERS);
    holders.iter_mut().for_each(|holder| holder.leases.truncate(MAX_LEASES));
    holders
}

impl WritersHold {
    fn of(writers: Writers, holders: &[HolderUse]) -> Self {
        let leases = || holders.iter().flat_map(|holder| &holder.leases);
        let holds = |index: usize| {
            let is_there =
                |lease: &&LeaseUse| matches!(lease.location, Location::Writer { index: at } if at as usize == index);
            leases().filter(is_there).take(MAX_LEASES).cloned().collect()
        };
        let all = writers.writers.into_iter().enumerate();
        Self {
            mailbox_depth: writers.mailbox_depth,
            mailbox_capacity: writers.mailbox_capacity,
            writers: all.map(|(index, writer)| WriterHolds { writer, holds: holds(index) }).collect(),
        }
    }
}

impl Child {
    fn of(child: &ChildStatus) -> Self {
        Self {
            name: child.name.clone(),
            state: child.state.name(),
            uptime_ms: child.uptime_ms,
            quiet_ms: child.quiet_ms,
            restarts: child.restarts,
            last_exit: child.last_exit.clone(),
        }
    }
}
