//! The queues of the audit trail. Each is bounded: an event that finds its queue full is lost and counted, because an audit that is down must
//! not stop images.
//!
//! - Evidence about instances, the node and its operators has a queue of its own, which no stranger can fill.
//! - Accepted and denied associations are summed: a source gets one record at once, and one with the number of the others when the interval
//!   is over.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::audit::{AuditEvent, AuditPeer, AuditRecord};
use super::counters::Counter;
use crate::network::source::Source;
use crate::patience::within;

/// The time in which records of one source and kind are summed.
const SUM_INTERVAL: Duration = Duration::from_secs(60);
/// Pairs of source and kind that are summed apart in an interval. Beyond, all other sources share one sum for each kind.
const MAX_SUMS: usize = 128;

/// The queues of audit records.
#[derive(Debug)]
pub struct AuditTrail {
    state: Mutex<State>,
    arrived: Notify,
    /// Number of records of evidence that are written.
    written: watch::Sender<u64>,
    /// Whether a wait for it was in vain since the last record that was written.
    is_late: AtomicBool,
    /// Records that found their queue full.
    pub dropped: Counter,
}

#[derive(Debug)]
struct State {
    capacity: usize,
    /// About instances, the node and its operators.
    evidence: VecDeque<AuditRecord>,
    /// About peers that come and go.
    contacts: VecDeque<AuditRecord>,
    sums: HashMap<(Source, &'static str, String), Sum>,
    sums_since: Option<Instant>,
    /// Number of records of evidence so far.
    recorded: u64,
    /// Number of those that [`AuditTrail::take`] has taken.
    taken: u64,
    /// Whether records taken are not sent yet.
    in_hand: bool,
}

/// Records of one source and kind since the last one that was put into the queue.
#[derive(Debug)]
struct Sum {
    last: AuditEvent,
    count: u64,
}

impl AuditTrail {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        let state = State {
            capacity,
            evidence: VecDeque::new(),
            contacts: VecDeque::new(),
            sums: HashMap::new(),
            sums_since: None,
            recorded: 0,
            taken: 0,
            in_hand: false,
        };
        let (state, written) = (Mutex::new(state), watch::Sender::new(0));
        Arc::new(Self { state, arrived: Notify::new(), written, is_late: false.into(), dropped: Counter::default() })
    }

    /// Queues an event with the present time, if there is room. Returns a ticket for [`Self::wait_until_written`].
    pub(crate) fn record(&self, event: AuditEvent) -> u64 {
        let mut state = self.state.lock();
        let has_room = match event.contact() {
            Some((peer, kind)) => {
                let key = key(peer, kind, &event);
                state.sum(key, event)
            }
            None => {
                if matches!(event, AuditEvent::Stopping) {
                    state.end_sums();
                }
                state.push_evidence(event)
            }
        };
        let ticket = state.recorded;
        drop(state);
        if has_room {
            self.arrived.notify_one();
        } else {
            self.dropped.increment();
        }
        ticket
    }

    /// Waits until the evidence up to this ticket is written, for at most `patience`. Once a wait was in vain, nobody waits until a
    /// record is written again: a disk that takes no evidence delays one answer and not each.
    pub(crate) async fn wait_until_written(&self, ticket: u64, patience: Duration) {
        if self.is_late.load(Ordering::Relaxed) {
            return;
        }
        let mut written = self.written.subscribe();
        // The sender lives as long as the trail.
        if within(patience, written.wait_for(|written| *written >= ticket)).await.is_err() {
            self.is_late.store(true, Ordering::Relaxed);
        }
    }

    /// The next records, at most `most`, for the service that writes them. Waits for the first.
    pub async fn take(&self, most: usize) -> Vec<AuditRecord> {
        loop {
            let arrived = self.arrived.notified();
            let records = self.state.lock().take(most, Instant::now());
            if !records.is_empty() {
                return records;
            }
            tokio::select! {
                () = arrived => {}
                () = sleep(SUM_INTERVAL / 4) => {}
            }
        }
    }

    /// Notes that all records taken are written.
    pub fn written(&self) {
        self.written.send_replace(self.state.lock().taken);
        self.is_late.store(false, Ordering::Relaxed);
    }

    /// Notes that all records taken are sent.
    pub fn passed_on(&self) {
        self.state.lock().in_hand = false;
    }

    /// Whether every record is sent.
    pub(crate) fn is_done(&self) -> bool {
        let state = self.state.lock();
        state.evidence.is_empty() && state.contacts.is_empty() && !state.in_hand
    }
}

/// Accepted associations are told apart by the AE title, too. A stranger can choose another title for each denied one.
fn key(peer: &AuditPeer, kind: &'static str, event: &AuditEvent) -> (Source, &'static str, String) {
    let title = match event {
        AuditEvent::Associated { .. } => peer.calling_ae_title.clone(),
        _ => String::new(),
    };
    (Source::of(peer.address.ip()), kind, title)
}

impl State {
    fn push_evidence(&mut self, event: AuditEvent) -> bool {
        let has_room = self.evidence.len() < self.capacity;
        if has_room {
            self.evidence.push_back(AuditRecord { at: SystemTime::now(), event, count: 1 });
            self.recorded += 1;
        }
        has_room
    }

    fn push_contact(&mut self, event: AuditEvent, count: u64) -> bool {
        let has_room = self.contacts.len() < self.capacity;
        if has_room {
            self.contacts.push_back(AuditRecord { at: SystemTime::now(), event, count });
        }
        has_room
    }

    fn sum(&mut self, mut key: (Source, &'static str, String), event: AuditEvent) -> bool {
        self.sums_since.get_or_insert_with(Instant::now);
        if self.sums.len() >= MAX_SUMS && !self.sums.contains_key(&key) {
            key = (Source::ANYONE, key.1, String::new());
        }
        match self.sums.get_mut(&key) {
            Some(sum) => {
                *sum = Sum { last: event, count: sum.count + 1 };
                true
            }
            None => {
                self.sums.insert(key, Sum { last: event.clone(), count: 0 });
                self.push_contact(event, 1)
            }
        }
    }

    fn end_sums(&mut self) {
        self.sums_since = None;
        for (_, sum) in std::mem::take(&mut self.sums) {
            if sum.count > 0 {
                self.push_contact(sum.last, sum.count);
            }
        }
    }

    fn take(&mut self, most: usize, now: Instant) -> Vec<AuditRecord> {
        if self.sums_since.is_some_and(|since| now.duration_since(since) >= SUM_INTERVAL) {
            self.end_sums();
        }
        let evidence = self.evidence.len().min(most);
        let contacts = self.contacts.len().min(most - evidence);
        self.taken += evidence as u64;
        self.in_hand |= evidence + contacts > 0;
        self.evidence.drain(..evidence).chain(self.contacts.drain(..contacts)).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::gauges::audit::Denial;

    fn denied(address: &str, title: u32) -> AuditEvent {
        let address = format!("{address}:104").parse().unwrap();
        let peer = AuditPeer { address, calling_ae_title: format!("X{title}"), certificate: String::new() };
        AuditEvent::Denied { peer, denial: Denial::Access(None) }
    }

    #[tokio::test]
    async fn strangers_push_out_nothing_and_their_number_is_told() {
        let trail = AuditTrail::new(1024);
        for title in 0..5000 {
            trail.record(denied("192.0.2.1", title));
        }
        for network in 1..=5000_u32 {
            trail.record(denied(&std::net::Ipv4Addr::from(network << 8).to_string(), 0));
        }
        let ticket = trail.record(AuditEvent::Started);
        assert_eq!((trail.dropped.get(), ticket), (0, 1));
        let records = trail.take(1).await;
        assert!(matches!(records[0].event, AuditEvent::Started), "evidence comes first");
        let patience = Duration::from_secs(3600);
        let mut written = Box::pin(trail.wait_until_written(ticket, patience));
        assert!(written.as_mut().now_or_never().is_none(), "taken is not written");
        trail.written();
        assert!(written.now_or_never().is_some());
        trail.wait_until_written(ticket + 1, Duration::ZERO).await;
        assert!(
            trail.wait_until_written(ticket + 1, patience).now_or_never().is_some(),
            "nobody waits behind a wait in vain"
        );
        trail.written();
        assert!(trail.wait_until_written(ticket + 1, patience).now_or_never().is_none());
        trail.record(AuditEvent::Stopping);
        let mut total = 0;
        while !trail.is_done() {
            let records = trail.take(64).await;
            total += records.iter().map(|record| record.count).sum::<u64>();
            trail.passed_on();
        }
        assert_eq!(total, 10_001, "each is counted once");
    }

    #[tokio::test]
    async fn a_full_queue_loses_and_counts_and_nobody_waits() {
        let trail = AuditTrail::new(2);
        for _ in 0..5 {
            trail.record(AuditEvent::Started);
        }
        assert_eq!(trail.dropped.get(), 3);
        assert_eq!(trail.take(9).await.len(), 2);
        assert!(!trail.is_done(), "they are in hand");
        trail.passed_on();
        assert!(trail.is_done());
        let mut next = Box::pin(trail.take(9));
        assert!(next.as_mut().now_or_never().is_none());
        trail.record(AuditEvent::Stopping);
        assert!(matches!(next.await[..], [AuditRecord { event: AuditEvent::Stopping, .. }]));
    }
}
