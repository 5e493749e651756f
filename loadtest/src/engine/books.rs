//! What happened, entered by every association and closed once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::association::AssociationError;
use crate::result::{Latency, Modality, Second, Totals, us_to_ms};

/// The accounts of a run.
#[derive(Debug)]
pub(crate) struct Books {
    open_associations: AtomicU64,
    accounts: Mutex<Accounts>,
}

#[derive(Debug)]
struct Accounts {
    totals: Totals,
    latency: Histogram<u64>,
    service: Histogram<u64>,
    kinds: Vec<(u64, u64, Histogram<u64>)>,
    steps: Vec<StepAccount>,
    second: Second,
    second_latency: Histogram<u64>,
    last_answer: Option<Instant>,
}

/// What was answered of the instances due in one step.
#[derive(Clone, Debug)]
pub(crate) struct StepAccount {
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
    pub(crate) step: usize,
    pub(crate) in_time: bool,
    pub(crate) intended: Instant,
    /// When its first byte was handed to the wire.
    pub(crate) begun: Instant,
    pub(crate) answered: Instant,
}

impl Books {
    pub(crate) fn new(kinds: usize, steps: usize) -> Self {
        let step = StepAccount { latency: Latency::recorder(), in_time: 0 };
        let accounts = Accounts {
            totals: Totals::default(),
            latency: Latency::recorder(),
            service: Latency::recorder(),
            kinds: (0..kinds).map(|_| (0, 0, Latency::recorder())).collect(),
            steps: vec![step; steps],
            second: Second::default(),
            second_latency: Latency::recorder(),
            last_answer: None,
        };
        Self { open_associations: AtomicU64::new(0), accounts: Mutex::new(accounts) }
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn opened(&self) {
        self.open_associations.fetch_add(1, Ordering::Relaxed);
        self.accounts().totals.associations_opened += 1;
    }

    /// An association that stood has ended.
    pub(crate) fn closed(&self) {
        self.open_associations.fetch_sub(1, Ordering::Relaxed);
    }

    /// An association never stood, or ended by `error`.
    pub(crate) fn failed(&self, error: &AssociationError) {
        let totals = &mut self.accounts().totals;
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
        let mut accounts = self.accounts();
        accounts.last_answer = accounts.last_answer.max(Some(answered.answered));
        if answered.status != 0 {
            *accounts.totals.refused.entry(format!("{:04X}", answered.status)).or_default() += 1;
            accounts.second.failed += 1;
            return;
        }
        accounts.totals.acknowledged += 1;
        accounts.totals.bytes += answered.bytes;
        accounts.second.acknowledged += 1;
        accounts.second.bytes += answered.bytes;
        accounts.latency.saturating_record(latency);
        accounts.service.saturating_record(service);
        accounts.second_latency.saturating_record(latency);
        if let Some((acknowledged, bytes, histogram)) = accounts.kinds.get_mut(answered.kind) {
            *acknowledged += 1;
            *bytes += answered.bytes;
            histogram.saturating_record(latency);
        }
        if let Some(step) = accounts.steps.get_mut(answered.step) {
            step.latency.saturating_record(latency);
            step.in_time += u64::from(answered.in_time);
        }
    }

    /// So many instances were begun and will not be answered.
    pub(crate) fn unanswered(&self, count: u64) {
        let mut accounts = self.accounts();
        accounts.totals.unanswered += count;
        accounts.second.failed += count;
    }

    /// So many instances were due and will not be begun.
    pub(crate) fn unsent(&self, count: u64) {
        self.accounts().totals.unsent += count;
    }

    /// What was entered since the last second was closed.
    pub(crate) fn close_second(&self, t_s: f64, backlog: u64) -> Second {
        let mut accounts = self.accounts();
        let mut second = std::mem::take(&mut accounts.second);
        let latency = &mut accounts.second_latency;
        second.p50_ms = us_to_ms(latency.value_at_quantile(0.5));
        second.p99_ms = us_to_ms(latency.value_at_quantile(0.99));
        second.max_ms = us_to_ms(latency.max());
        latency.reset();
        Second { t_s, backlog, associations: self.open_associations.load(Ordering::Relaxed), ..second }
    }

    pub(crate) fn step(&self, step: usize) -> Option<StepAccount> {
        self.accounts().steps.get(step).cloned()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.accounts().totals.clone()
    }

    pub(crate) fn last_answer(&self) -> Option<Instant> {
        self.accounts().last_answer
    }

    /// From the intended start, and from the first byte.
    pub(crate) fn latencies(&self) -> [Latency; 2] {
        let accounts = self.accounts();
        [&accounts.latency, &accounts.service].map(Latency::of)
    }

    /// Per kind of study, under these names.
    pub(crate) fn modalities<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Modality> {
        let accounts = self.accounts();
        let modality = |(name, (acknowledged, bytes, latency)): (&str, &(u64, u64, Histogram<u64>))| Modality {
            name: name.to_owned(),
            acknowledged: *acknowledged,
            bytes: *bytes,
            latency: Latency::of(latency),
        };
        names.zip(&accounts.kinds).map(modality).collect()
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1)
}
