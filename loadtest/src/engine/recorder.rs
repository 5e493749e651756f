//! Records what happened: every association enters its answers, the monitor closes each second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::association::AssociationError;
use crate::codes;
use crate::result::{Latency, Modality, Second, Totals, us_to_ms};

/// Records what the associations of a run see.
#[derive(Debug)]
pub(crate) struct Recorder {
    open_associations: AtomicU64,
    records: Mutex<Records>,
}

#[derive(Debug)]
struct Records {
    totals: Totals,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    kinds: Vec<(u64, u64, Histogram<u64>)>,
    senders: Vec<(u64, u64, Histogram<u64>)>,
    steps: Vec<StepRecord>,
    second: Second,
    second_latency: Histogram<u64>,
    last_answer: Option<Instant>,
}

/// The answers to the instances due in one step.
#[derive(Clone, Debug)]
pub(crate) struct StepRecord {
    pub(crate) latency: Histogram<u64>,
    /// Before the step's time was up, and the latency that is granted.
    pub(crate) in_time: u64,
}

/// One answered instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) kind: usize,
    pub(crate) sender: usize,
    /// It was due before figures begin.
    pub(crate) warms_up: bool,
    pub(crate) step: usize,
    pub(crate) in_time: bool,
    pub(crate) intended: Instant,
    /// When its first byte was handed to the wire.
    pub(crate) begun: Instant,
    pub(crate) answered: Instant,
}

impl Recorder {
    pub(crate) fn new(kinds: usize, senders: usize, steps: usize) -> Self {
        let step = StepRecord { latency: Latency::empty_histogram(), in_time: 0 };
        let records = Records {
            totals: Totals::default(),
            latency: Latency::empty_histogram(),
            service: Latency::empty_histogram(),
            kinds: (0..kinds).map(|_| (0, 0, Latency::empty_histogram())).collect(),
            senders: (0..senders).map(|_| (0, 0, Latency::empty_histogram())).collect(),
            steps: vec![step; steps],
            second: Second::default(),
            second_latency: Latency::empty_histogram(),
            last_answer: None,
        };
        Self { open_associations: AtomicU64::new(0), records: Mutex::new(records) }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn opened(&self) {
        self.open_associations.fetch_add(1, Ordering::Relaxed);
        self.records().totals.associations_opened += 1;
    }

    /// An association that stood has ended.
    pub(crate) fn closed(&self) {
        self.open_associations.fetch_sub(1, Ordering::Relaxed);
    }

    /// An association never stood, or ended by `error`.
    pub(crate) fn failed(&self, error: &AssociationError) {
        let totals = &mut self.records().totals;
        match error {
            AssociationError::Rejected { .. } | AssociationError::ContextsRefused(_) => {
                totals.associations_rejected += 1
            }
            _ => totals.associations_failed += 1,
        }
    }

    pub(crate) fn answered(&self, answered: &Answered) {
        let us = |since: Instant| us(answered.answered.saturating_duration_since(since));
        let (latency, service) = (us(answered.intended), us(answered.begun));
        let mut records = self.records();
        records.last_answer = records.last_answer.max(Some(answered.answered));
        if answered.status != 0 {
            *records.totals.refused.entry(format!("{:04X}", answered.status)).or_default() += 1;
            records.second.failed += 1;
            return;
        }
        records.second.acknowledged += 1;
        records.second.bytes += answered.bytes;
        if answered.warms_up {
            records.totals.warm_up += 1;
            records.second_latency.saturating_record(latency);
            return;
        }
        records.totals.acknowledged += 1;
        records.totals.bytes += answered.bytes;
        records.latency.saturating_record(latency);
        records.service.saturating_record(service);
        records.second_latency.saturating_record(latency);
        let Records { kinds, senders, .. } = &mut *records;
        let shares = [kinds.get_mut(answered.kind), senders.get_mut(answered.sender)];
        for (acknowledged, bytes, histogram) in shares.into_iter().flatten() {
            *acknowledged += 1;
            *bytes += answered.bytes;
            histogram.saturating_record(latency);
        }
        if let Some(step) = records.steps.get_mut(answered.step) {
            step.latency.saturating_record(latency);
            step.in_time += u64::from(answered.in_time);
        }
    }

    /// So many instances were begun and will not be answered.
    pub(crate) fn unanswered(&self, count: u64) {
        let mut records = self.records();
        records.totals.unanswered += count;
        records.second.failed += count;
    }

    /// So many instances were due and will not be begun.
    pub(crate) fn unsent(&self, count: u64) {
        self.records().totals.unsent += count;
    }

    /// The entries since the last second was closed.
    pub(crate) fn close_second(&self, t_s: f64, backlog: u64) -> Second {
        let mut records = self.records();
        let mut second = std::mem::take(&mut records.second);
        let latency = &mut records.second_latency;
        second.p50_ms = us_to_ms(latency.value_at_quantile(0.5));
        second.p99_ms = us_to_ms(latency.value_at_quantile(0.99));
        second.max_ms = us_to_ms(latency.max());
        latency.reset();
        Second { t_s, backlog, associations: self.open_associations.load(Ordering::Relaxed), ..second }
    }

    pub(crate) fn step(&self, step: usize) -> Option<StepRecord> {
        self.records().steps.get(step).cloned()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.records().totals.clone()
    }

    /// How many were answered or given up, and by what, while none was acknowledged; `None` once one was.
    pub(crate) fn nothing_but_failures(&self) -> Option<(u64, String)> {
        let totals = &self.records().totals;
        let refused =
            totals.refused.iter().map(|(status, count)| format!("{count} answered {status} {}", codes::status(status)));
        let unanswered = (totals.unanswered > 0).then(|| format!("{} without an answer", totals.unanswered));
        let failed = totals.refused.values().sum::<u64>() + totals.unanswered;
        (totals.acknowledged + totals.warm_up == 0)
            .then(|| (failed, refused.chain(unanswered).collect::<Vec<_>>().join(", ")))
    }

    pub(crate) fn last_answer(&self) -> Option<Instant> {
        self.records().last_answer
    }

    /// From the intended start, and from the first byte.
    pub(crate) fn latencies(&self) -> [Latency; 2] {
        let records = self.records();
        [&records.latency, &records.service].map(Latency::of)
    }

    /// Per kind of study, under these names.
    pub(crate) fn modalities<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Modality> {
        shares(names, &self.records().kinds)
    }

    /// Per sender, under these names.
    pub(crate) fn senders<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Modality> {
        shares(names, &self.records().senders)
    }
}

fn shares<'a>(names: impl Iterator<Item = &'a str>, shares: &[(u64, u64, Histogram<u64>)]) -> Vec<Modality> {
    let modality = |(name, (acknowledged, bytes, latency)): (&str, &(u64, u64, Histogram<u64>))| Modality {
        name: name.to_owned(),
        acknowledged: *acknowledged,
        bytes: *bytes,
        latency: Latency::of(latency),
    };
    names.zip(shares).map(modality).collect()
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}
