//! `GET /metrics`: the node's figures in the OpenMetrics text format. They are read at each request: the node counts in relaxed atomics and
//! does not know Prometheus. Invariant: no label has a value that a peer or an operator could choose.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidegate_actors::{ChildState, Group, Observer, Phase, Reason, SpoolReason, StatisticsSnapshot};
use tidegate_memory::Stage;
use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::process::ProcessFigures;
use tidegate_protocol::{ContextRefusal, Rejection};
use tidegate_storage::{Durability, Outcome};

use super::catalogue_figures as catalogue;
use super::commitment::figures as commitment;
use super::outbox::figures as outbox;
use super::page::{BYTES, Page, SECONDS};
use super::sinks::figures as sinks;
use super::storage::Sight;
use super::system;
use crate::cli::LogQueue;

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures of this moment as text.
pub(super) fn text(observer: Observer, storage: Sight, log: LogQueue, ready: bool) -> Result<String, MetricsError> {
    let statistics = observer.statistics()?;
    let process = system::Process { started: observer.started(), figures: ProcessFigures::read() };
    let mut registry = Registry::default();
    let node = registry.sub_registry_with_prefix("tidegate");
    node.register_collector(Box::new(Figures { observer, statistics, storage, log, ready }));
    registry.register_collector(Box::new(process));
    let mut text = String::with_capacity(32 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The error of a scrape.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetricsError {
    #[error(transparent)]
    Allocator(#[from] AllocatorError),
    #[error("metrics cannot be written: {0}")]
    Text(#[from] fmt::Error),
}

#[derive(Debug)]
struct Figures {
    observer: Observer,
    statistics: StatisticsSnapshot,
    storage: Sight,
    log: LogQueue,
    ready: bool,
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(encoder);
        self.node(page)?;
        self.associations(page)?;
        self.instances(page)?;
        self.writers(page)?;
        self.memory(page)?;
        system::control_group(page)?;
        self.storage(page)?;
        catalogue::figures(&self.observer, page)?;
        commitment::figures(&self.observer, page)?;
        outbox::figures(&self.observer, page)?;
        sinks::figures(&self.observer, page)
    }
}

impl Figures {
    fn node(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauges(
            "build_info",
            "Always 1; the label is the version",
            None,
            &["version"],
            [([env!("CARGO_PKG_VERSION")], 1_u64)],
        )?;
        page.gauge("ready", "1 if GET /ready is answered with 200", None, u64::from(self.ready))?;
        let draining = self.observer.phase() != Phase::Serving;
        page.gauge("draining", "1 if no new associations are accepted", None, u64::from(draining))?;
        let reloaded = 1 - self.observer.counters().reload_failed.get().min(1);
        let help = "1 unless the last reload of the configuration failed, so that former settings are in force";
        page.gauge("config_last_reload_successful", help, None, reloaded)?;
        let children = self.observer.children();
        let restarts = Group::ALL.map(|group| {
            let of_group = children.iter().filter(|child| child.group == group);
            ([group.name()], of_group.map(|child| child.restarts).sum::<u64>())
        });
        page.counters("restarts", "Children restarted by the supervisor", None, &["group"], restarts)?;
        page.gauge("hung_threads", "Fenced threads that still hang", None, self.statistics.hung_threads)?;
        let stalled_s = self.observer.counters().stalled_ms.get() as f64 / 1000.0;
        let help = "Time in which the process did not run although it should have: stopped, suspended, or without CPU";
        page.counter("stalled", help, SECONDS, stalled_s)?;
        let help = "Log lines dropped because the reader of the log was too slow or gone";
        page.counter("log_lines_dropped", help, None, self.log.dropped())?;
        page.gauge("log_queue", "Bytes of log lines that wait for the reader of the log", BYTES, self.log.bytes())?;
        page.gauge("actors", "Actors alive", None, self.statistics.actors)
    }

    fn associations(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.observer.counters();
        let max = self.observer.limits().associations;
        page.gauge("associations", "Open associations", None, self.statistics.associations as u64)?;
        page.gauge("associations_max", "Limit of open associations", None, max as u64)?;
        let accepted = counters.associations_accepted.get();
        page.counter("associations_accepted", "Associations accepted", None, accepted)?;
        let rejected = Rejection::ALL.map(|rejection| ([rejection.name()], counters.rejected(rejection).get()));
        page.counters("associations_rejected", "Associations rejected", None, &["reason"], rejected)?;
        let refused = ContextRefusal::ALL.map(|reason| ([reason.name()], counters.contexts_refused(reason).get()));
        page.counters("contexts_refused", "Presentation contexts refused", None, &["reason"], refused)?;
        let lost = counters.associations_lost.get();
        page.counter("associations_lost", "Associations aborted by the peer, or whose connection broke", None, lost)?;
        let aborted = counters.associations_aborted.get();
        page.counter("associations_aborted", "Associations aborted by this node", None, aborted)?;
        let superseded = counters.associations_superseded.get();
        let help = "Associations aborted because a reload of the configuration changed what they may do";
        page.counter("associations_superseded", help, None, superseded)?;
        let panicked = counters.associations_panicked.get();
        page.counter("associations_panicked", "Associations ended by a panic", None, panicked)?;
        let not_dicom = counters.connections_not_dicom.get();
        page.counter("connections_not_dicom", "Connections that did not speak DICOM", None, not_dicom)?;
        let counts = [
            (
                "connections_not_tls",
                "Connections to the TLS port that did not speak TLS",
                &counters.connections_not_tls,
            ),
            (
                "proxy_headers_missing",
                "Connections of balancers without a PROXY header",
                &counters.proxy_headers_missing,
            ),
            ("tls_handshakes", "TLS handshakes that completed", &counters.tls_handshakes),
            ("tls_handshakes_failed", "TLS handshakes that failed", &counters.tls_handshakes_failed),
            ("associations_denied", "Associations denied by the access rules", &counters.associations_denied),
            ("users_rejected", "Associations whose user identity was missing or wrong", &counters.users_rejected),
        ];
        for (name, help, counter) in counts {
            page.counter(name, help, None, counter.get())?;
        }
        let ends = self.observer.limits().certificate_ends;
        let ends = [("dicom", ends.dicom_s), ("admin", ends.admin_s)];
        let ends = ends.into_iter().filter_map(|(port, end_s)| Some(([port], u64::try_from(end_s?).unwrap_or(0))));
        let help = "End of the node's own certificate, in seconds since the epoch";
        page.gauges_of("tls_certificate_expiry_timestamp", help, SECONDS, &["port"], ends)?;
        let trail = self.observer.audit();
        let lost = trail.as_ref().map_or(0, |trail| trail.lost_total());
        let help = "Audit messages dropped because their queue or spool was full, or the disk did not take them";
        page.counter("audit_messages_lost", help, None, lost)?;
        let backlog = trail.map(|trail| trail.backlog()).unwrap_or_default();
        page.gauge("audit_backlog", "Bytes of audit messages that are not sent", BYTES, backlog.bytes)?;
        let age_s = backlog.oldest.and_then(|at| at.elapsed().ok()).map_or(0.0, |age| age.as_secs_f64());
        page.gauge("audit_oldest_unsent", "Age of the oldest audit message that is not sent", SECONDS, age_s)?;
        let incidents = self.observer.incidents();
        let incidents = incidents.iter().map(|((class, kind), count)| ([class.name(), *kind], *count));
        page.counters("incidents", "Misbehaviour of peers", None, &["class", "kind"], incidents)?;
        page.counter("received", "Bytes read from connections", BYTES, counters.bytes_received.get())
    }

    fn instances(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.observer.counters();
        let durabilities =
            Durability::ALL.map(|durability| (durability.to_string(), counters.acknowledged(durability)));
        let acknowledged = durabilities.iter().flat_map(|(durability, counts)| {
            Outcome::NAMES.into_iter().zip(*counts).map(|(name, count)| ([name, durability.as_str()], count.get()))
        });
        let help = "Instances acknowledged: new, stored already, or other bytes under a stored SOP Instance UID";
        page.counters("instances_acknowledged", help, None, &["outcome", "durability"], acknowledged)?;
        let bytes = counters.bytes_acknowledged.get();
        page.counter("acknowledged", "Bytes of the datasets of acknowledged instances", BYTES, bytes)?;
        let refused = Reason::ALL.map(|reason| (reason, counters.refused(reason).get()));
        let refused = refused.map(|(reason, count)| ([reason.name().to_owned(), reason.status().to_string()], count));
        let refused = refused.each_ref().map(|([reason, status], count)| ([reason.as_str(), status.as_str()], *count));
        let help = "Instances answered with a failure";
        page.counters("instances_refused", help, None, &["reason", "status"], refused)?;
        let spooled = SpoolReason::ALL.map(|reason| ([reason.name()], counters.spooled(reason).get()));
        page.counters("datasets_spooled", "Datasets spooled to disk while they arrived", None, &["reason"], spooled)?;
        let in_spool = counters.spool_bytes.get();
        page.gauge("spool", "Bytes in spool files of datasets that are still arriving", BYTES, in_spool)?;
        let latencies = self.observer.latencies();
        let help = "From the command set to the last byte of the dataset: sender and network";
        page.histogram("receive_duration", help, &latencies.receive)?;
        let help = "Wait for a slot in the writers' mailbox";
        page.histogram("handoff_wait", help, &latencies.handoff_wait)?;
        let help = "Time in the writers' mailbox until a writer takes the job";
        page.histogram("queue_wait", help, &latencies.queue_wait)?;
        let help = "From the start of a writer's batch until the instance is stored";
        page.histogram("commit_duration", help, &latencies.commit)?;
        let help = "From the last byte of the dataset to its acknowledgement";
        page.histogram("response_duration", help, &latencies.response)
    }

    fn writers(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = self.observer.counters();
        let depth = self.statistics.mailbox_depth as u64;
        page.gauge("mailbox_depth", "Jobs that wait for a writer", None, depth)?;
        let capacity = self.observer.limits().mailbox_capacity as u64;
        page.gauge("mailbox_capacity", "Jobs that may wait for a writer", None, capacity)?;
        let children = self.observer.children();
        let writers = || children.iter().filter(|child| child.group == Group::Writers);
        let running = writers().filter(|child| child.state == ChildState::Running).count() as u64;
        page.gauge("writers", "Writers configured", None, writers().count() as u64)?;
        page.gauge("writers_running", "Writers running", None, running)?;
        page.gauge("writers_busy", "Writers with jobs in flight", None, self.statistics.writers_busy)?;
        let allowed = self.statistics.writers_allowed as u64;
        page.gauge("writers_allowed", "Writers that may commit large instances at a time", None, allowed)?;
        let busy_s = counters.writers_busy_us.get() as f64 / 1e6;
        page.counter("writers_busy", "Time that writers were at work; a batch counts when it ends", SECONDS, busy_s)?;
        let longest = self.observer.longest_busy();
        let help = "Age of the oldest batch at a writer";
        page.gauge("writers_longest", help, SECONDS, longest.as_secs_f64())?;
        let again = counters.handed_over_again.get();
        page.counter("handovers", "Jobs retried on another writer because theirs died or hung", None, again)?;
        let timed_out = counters.commits_timed_out.get();
        page.counter("commits_timed_out", "Instances given up because no writer answered in time", None, timed_out)
    }

    fn memory(&self, page: &mut Page<'_>) -> fmt::Result {
        let StatisticsSnapshot { budget_bytes, leased, leased_highest_bytes, baseline_bytes, .. } = self.statistics;
        page.gauge("memory_budget", "Limit of the sum of all leases", BYTES, budget_bytes)?;
        let by_stage = Stage::ALL.map(|stage| ([stage.name()], leased.get(stage)));
        page.gauges("memory_leased", "Leased bytes", BYTES, &["stage"], by_stage)?;
        page.gauge("memory_leased_highest", "Highest sum of all leases so far", BYTES, leased_highest_bytes)?;
        page.gauge("memory_baseline", "In use beyond leases when the node had started", BYTES, baseline_bytes)?;
        let unused = self.statistics.leased_unused_bytes;
        page.gauge("memory_leased_unused", "Leased for later and not allocated now", BYTES, unused)?;
        let help = "In use, and neither leased nor in the baseline";
        page.gauge("memory_unattributed", help, BYTES, self.statistics.unattributed_bytes)?;
        let slope = self.observer.counters().unattributed_slope_bytes_per_s.get();
        let help = "Bytes a second by which the lowest level of it rises; 0 if it does not rise";
        page.gauge("memory_unattributed_slope_bytes_per_second", help, None, slope)?;
        let help = "0 normal, 1 purge, 2 shrink, 3 spool, 4 pause_accept, 5 abort";
        page.gauge("memory_pressure_level", help, None, self.statistics.pressure as u64)?;
        let suspected = self.observer.counters().leaks_suspected.get();
        page.counter("memory_leaks_suspected", "Times the sentinel suspected a leak", None, suspected)?;
        let allocator = self.statistics.allocator;
        page.gauge("allocator_allocated", "jemalloc: allocated by the program", BYTES, allocator.allocated)?;
        page.gauge("allocator_cached", "jemalloc: freed, in the caches of threads", BYTES, allocator.cached)?;
        page.gauge("allocator_active", "jemalloc: pages with at least one allocation", BYTES, allocator.active)?;
        page.gauge("allocator_metadata", "jemalloc: its own metadata", BYTES, allocator.metadata)?;
        page.gauge("allocator_resident", "jemalloc: physical memory", BYTES, allocator.resident)?;
        page.gauge("allocator_mapped", "jemalloc: address space in use", BYTES, allocator.mapped)?;
        page.gauge("allocator_retained", "jemalloc: address space kept without memory", BYTES, allocator.retained)
    }

    fn storage(&self, page: &mut Page<'_>) -> fmt::Result {
        let Sight { last, unanswered } = &self.storage;
        let written = last.as_ref().is_none_or(|(_, look)| look.written.is_ok()) && unanswered.is_none();
        let help = "1 if a test file could be written; 0 if not, or if the disk does not respond";
        page.gauge("storage_writable", help, None, u64::from(written))?;
        let unanswered_s = unanswered.map_or(0.0, |time| time.as_secs_f64());
        page.gauge("storage_unanswered", "How long the disk has not answered; 0 if it does", SECONDS, unanswered_s)?;
        let age_s = last.as_ref().map_or(0.0, |(age, _)| age.as_secs_f64());
        page.gauge("storage_look_age", "Age of the figures of the storage", SECONDS, age_s)?;
        let min_free_bytes = self.observer.limits().min_free_bytes;
        page.gauge("storage_min_free", "Space reserved by storage.min_free", BYTES, min_free_bytes)?;
        let Some((_, look)) = last else { return Ok(()) };
        if let Ok(set_aside) = look.set_aside {
            let help = "Files below .tidegate/lost: acknowledged instances that an operator has to look at";
            page.gauge("storage_set_aside", help, None, set_aside)?;
        }
        if let Ok(space) = &look.space {
            page.gauge("storage_free", "Free space of the filesystem", BYTES, space.free_bytes)?;
            page.gauge("storage_size", "Size of the filesystem", BYTES, space.size_bytes)?;
            if let Some(inodes) = space.inodes {
                page.gauge("storage_inodes_free", "Free inodes of the filesystem", None, inodes.free)?;
                let help = "Inodes that the node keeps free: 1024, or an eighth of all if that is less";
                page.gauge("storage_inodes_reserved", help, None, inodes.reserved())?;
            }
        }
        Ok(())
    }
}
