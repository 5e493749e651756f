//! The writers as operators see them.

use serde::{Deserialize, Serialize};
use tidegate_actors::{ChildStatus, Group, Observer, WriterUse};

use super::time::ms;

/// A writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writer {
    /// Name in the log, such as `writer-3`.
    pub(crate) name: String,
    /// `starting`, `running`, `restarting`, `stopping` or `down`.
    pub(crate) state: String,
    /// Jobs in flight.
    pub(crate) jobs: u64,
    /// Time since it took them; 0 without any.
    pub(crate) busy_ms: u64,
    /// Time with work and without progress.
    pub(crate) quiet_ms: u64,
    /// Since its last start.
    pub(crate) instances_total: u64,
    pub(crate) bytes_total: u64,
    pub(crate) uptime_ms: u64,
    pub(crate) restarts: u64,
    pub(crate) last_exit: Option<String>,
}

/// Every writer, and the mailbox they share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writers {
    pub(crate) mailbox_depth: u64,
    pub(crate) mailbox_capacity: u64,
    pub(crate) writers: Vec<Writer>,
}

impl Writer {
    fn of(child: &ChildStatus, found: &WriterUse) -> Self {
        Self {
            name: child.name.clone(),
            state: child.state.name().to_owned(),
            jobs: found.jobs,
            busy_ms: ms(found.busy),
            quiet_ms: if found.jobs > 0 { child.quiet_ms } else { 0 },
            instances_total: found.instances_total,
            bytes_total: found.bytes_total,
            uptime_ms: child.uptime_ms,
            restarts: child.restarts,
            last_exit: child.last_exit.clone(),
        }
    }
}

impl Writers {
    pub(crate) fn of(observer: &Observer) -> Self {
        let children = observer.children();
        let writers = children.iter().filter(|child| child.group == Group::Writers);
        Self {
            mailbox_depth: observer.mailbox_depth() as u64,
            mailbox_capacity: observer.limits().mailbox_capacity as u64,
            writers: writers.zip(observer.writers()).map(|(child, found)| Writer::of(child, &found)).collect(),
        }
    }
}
