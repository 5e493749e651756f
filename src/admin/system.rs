//! Metrics of the process, under Prometheus' own names where there is one, and of its control group. A figure that this machine does not provide has no
//! sample.

use std::fmt;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tidegate_memory::cgroup::{self, GroupMemory, Resource};
use tidegate_memory::process::{self, ProcessFigures};
use tidegate_memory::usage;

use super::page::{BYTES, Page, SECONDS};

/// The process: its metrics have no prefix.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) started: SystemTime,
    pub(super) figures: Option<ProcessFigures>,
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page(encoder);
        let figures = self.figures;
        let cpu = figures.map(|figures| ([], figures.cpu.as_secs_f64()));
        page.counters("process_cpu", "Time on processors, user and system", SECONDS, &[], cpu)?;
        let resident = figures.map(|figures| figures.resident_bytes);
        page.gauge_if("process_resident_memory", "Physical memory", BYTES, resident)?;
        let address_space = figures.map(|figures| figures.virtual_bytes);
        page.gauge_if("process_virtual_memory", "Address space", BYTES, address_space)?;
        page.gauge_if("process_open_fds", "Open descriptors", None, figures.map(|figures| figures.open_descriptors))?;
        let max = figures.and_then(|figures| figures.max_descriptors);
        page.gauge_if("process_max_fds", "Descriptors that may be open", None, max)?;
        page.gauge_if("process_threads", "Threads", None, figures.map(|figures| figures.threads))?;
        let since = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        page.gauge("process_start_time", "Start, since the Unix epoch", SECONDS, since.as_secs_f64())
    }
}

/// The process beyond Prometheus' own names, and its control group.
pub(super) fn control_group(page: &mut Page<'_>) -> fmt::Result {
    let wait = process::processor_wait().map(|wait| ([], wait.as_secs_f64()));
    let help = "Time that threads of the node were ready and waited for a processor";
    page.counters("cpu_wait", help, SECONDS, &[], wait)?;
    let memory = GroupMemory::read();
    let current = memory.map(|memory| memory.current_bytes);
    page.gauge_if("cgroup_memory_current", "Memory of the control group, pages of files included", BYTES, current)?;
    let max = memory.and_then(|memory| memory.max_bytes);
    page.gauge_if("cgroup_memory_max", "Memory that the control group may have", BYTES, max)?;
    let events = memory.map(|GroupMemory { high, max, oom, oom_kill, .. }| {
        [(["high"], high), (["max"], max), (["oom"], oom), (["oom_kill"], oom_kill)]
    });
    let events = events.into_iter().flatten();
    page.counters("cgroup_memory_events", "Times that the control group ran short", None, &["event"], events)?;
    let throttled = usage::throttled().map(|throttled| ([], throttled.as_secs_f64()));
    page.counters("cgroup_cpu_throttled", "Time without a processor for want of quota", SECONDS, &[], throttled)?;
    let stalled = Resource::ALL.into_iter().filter_map(|resource| {
        let stalled: Duration = cgroup::stalled(resource)?;
        Some(([resource.name()], stalled.as_secs_f64()))
    });
    let help = "Time in which some task waited for the resource (PSI)";
    page.counters("pressure_stalled", help, SECONDS, &["resource"], stalled)
}
