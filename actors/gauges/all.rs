//! All gauges of a node, and the events that touch more than one of them.

use std::sync::Arc;

use dicom_core::Tag;
use parking_lot::RwLock;
use tidegate_protocol::Rejection;
use tidegate_storage::head::Wanted;
use tidegate_storage::{Durability, Stored};

use super::activity::{OpenAssociations, WriterList};
use super::alarm::Alarms;
use super::audit::AuditEvent;
use super::audit_queue::AuditTrail;
use super::counters::Counters;
use super::ended::EndedAssociations;
use super::history::History;
use super::incidents::{Class, Incidents};
use super::latency::Latencies;
use super::recent::{Recent, RefusedWhat, Sender};
use crate::elements::{Catalogued, optional};
use crate::fixed::AUDIT_QUEUE;
use crate::refusal::Refusal;
use crate::supervision::status::ChildStatus;

/// All gauges of a node.
pub(crate) struct Gauges {
    pub(crate) counters: Arc<Counters>,
    pub(crate) latencies: Arc<Latencies>,
    pub(crate) recent: Recent,
    pub(crate) ended: EndedAssociations,
    pub(crate) history: History,
    pub(crate) incidents: Incidents,
    pub(crate) alarms: Alarms,
    pub(crate) open: Arc<OpenAssociations>,
    pub(crate) writers: WriterList,
    pub(crate) audit: Option<Arc<AuditTrail>>,
    /// The elements that are read of a dataset beside those of its layout.
    optional: Box<[Tag]>,
    /// The supervisor's children, as it last saw them.
    pub(crate) children: RwLock<Arc<[ChildStatus]>>,
}

impl Gauges {
    /// The gauges of a node with so many writers; `audits`: with an audit trail.
    pub(crate) fn new(writers: usize, audits: bool, catalogued: Catalogued) -> Self {
        Self {
            counters: Arc::default(),
            latencies: Arc::default(),
            recent: Recent::new(),
            ended: EndedAssociations::default(),
            history: History::new(),
            incidents: Incidents::default(),
            alarms: Alarms::default(),
            open: Arc::default(),
            writers: WriterList::new(writers),
            audit: audits.then(|| AuditTrail::new(AUDIT_QUEUE)),
            optional: optional(audits, catalogued).into(),
            children: RwLock::new(Arc::new([])),
        }
    }

    /// Records an event in the audit trail, if there is one.
    pub(crate) fn record(&self, event: impl FnOnce() -> AuditEvent) {
        if let Some(trail) = &self.audit {
            trail.record(event());
        }
    }

    /// The elements to be read of a dataset whose layout needs these.
    pub(crate) fn wanted_beside(&self, of_layout: Arc<[Tag]>) -> Wanted {
        Wanted::new(of_layout, &self.optional)
    }

    /// Counts a refused instance, and keeps it among the recent ones.
    pub(crate) fn count_refused(&self, refusal: &Refusal, sop_instance: Option<&str>, sender: Sender) {
        let reason = refusal.reason();
        self.counters.refused(reason).increment();
        self.recent.add_refused(sender, RefusedWhat::Instance(reason), sop_instance, refusal);
    }

    /// Counts a rejected association, and keeps it among the recent ones. `limit`: the name of the limit that was reached; `cause`: the
    /// words for the cause.
    pub(crate) fn count_rejected(
        &self,
        rejection: Rejection,
        limit: Option<&'static str>,
        sender: Sender,
        cause: impl ToString,
    ) {
        self.counters.rejected(rejection).increment();
        if let Some(limit) = limit {
            self.incidents.count(Class::Limit, limit);
        }
        self.recent.add_refused(sender, RefusedWhat::Association(rejection), None, cause);
    }

    /// Counts an acknowledged instance.
    pub(crate) fn count_acknowledged(&self, stored: &Stored, durability: Durability, dataset_bytes: u64) {
        let counters = &self.counters;
        counters.acknowledged(durability)[stored.outcome.position()].increment();
        counters.bytes_acknowledged.add(dataset_bytes);
    }
}
