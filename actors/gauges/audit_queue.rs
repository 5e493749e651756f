//! The queues of the audit trail. Each is bounded: when one is full, a record is lost and counted, because an audit that is down must not stop
//! images.
//!
//! - Evidence about instances, the node and its operators has a queue of its own. When it is full, the oldest record of the source with the
//!   most records is lost.
//! - Accepted and denied associations are summed: a source gets one record at once, and one with the number of the others when the interval
//!   is over. So is a question that an operator repeats.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::audit::{AuditEvent, AuditPeer, AuditRecord, AuditSource};
use super::audit_queries::QuerySums;
use crate::network::source::Source;
use crate::patience::within;

/// The time in which records of one source and kind are summed.
const SUM_INTERVAL: Duration = Duration::from_secs(60);
/// Sums in an interval. When they are used up, the titles of the source with the most sums share one; when each source has one only, all other
/// sources share one sum for each kind.
const MAX_SUMS: usize = 128;
/// Sources whose losses are told apart until they are told.
const MAX_LOSERS: usize = 64;
/// The losses of all others.
const OTHERS: &str = "others";

/// The queues of audit records.
#[derive(Debug)]
pub struct AuditTrail {
    state: Mutex<State>,
    arrived: Notify,
    /// Number of records of evidence that are written.
    written: watch::Sender<u64>,
    /// Whether a wait for it was in vain since the last record that was written.
    is_late: AtomicBool,
}

/// The messages that are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Their bytes.
    pub bytes: u64,
    /// The time of the oldest one.
    pub oldest: Option<SystemTime>,
}

#[derive(Debug)]
struct State {
    capacity: usize,
    /// About instances, the node and its operators, each with its ticket.
    evidence: VecDeque<(u64, AuditRecord)>,
    /// About peers that come and go.
    contacts: VecDeque<AuditRecord>,
    sums: HashMap<Key, Sum>,
    queries: QuerySums,
    sums_since: Option<Instant>,
    /// Number of records of evidence so far: the last ticket.
    recorded: u64,
    /// The ticket up to which [`AuditTrail::take`] has taken them.
    taken: u64,
    /// Whether records taken are not sent yet.
    in_hand: bool,
    /// Records and messages that were lost.
    lost_total: u64,
    /// Those of them that are not told yet, by source.
    lost: HashMap<String, u64>,
    backlog: Backlog,
}

/// Source, kind, and calling AE title. Without a title, the sum is of all titles.
type Key = (Source, &'static str, String);

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
            queries: QuerySums::default(),
            sums_since: None,
            recorded: 0,
            taken: 0,
            in_hand: false,
            lost_total: 0,
            lost: HashMap::new(),
            backlog: Backlog::default(),
        };
        let (state, written) = (Mutex::new(state), watch::Sender::new(0));
        Arc::new(Self { state, arrived: Notify::new(), written, is_late: false.into() })
    }

    /// Queues an event with the present time. Returns a ticket for [`Self::wait_until_written`].
    pub(crate) fn record(&self, event: AuditEvent) -> u64 {
        let mut state = self.state.lock();
        match event.contact() {
            Some((peer, kind)) => {
                let key = key(peer, kind, &event);
                state.sum(key, event);
            }
            None => {
                if matches!(event, AuditEvent::Stopping) {
                    state.end_sums();
                }
                if state.is_worth_a_record(&event) {
                    state.push_evidence(event, 1);
                }
            }
        }
        let ticket = state.recorded;
        drop(state);
        self.arrived.notify_one();
        ticket
    }

    /// Counts lost messages of a source.
    pub fn lose(&self, source: String, count: u64) {
        self.state.lock().lose(source, count);
    }

    /// Records and messages lost so far.
    pub fn lost_total(&self) -> u64 {
        self.state.lock().lost_total
    }

    /// The losses by source since the last call, the greatest first.
    pub fn take_lost(&self) -> Vec<(String, u64)> {
        let mut lost: Vec<_> = std::mem::take(&mut self.state.lock().lost).into_iter().collect();
        lost.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        lost
    }

    /// Notes the messages that are not sent.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.state.lock().backlog = backlog;
    }

    /// The messages that are not sent.
    pub fn backlog(&self) -> Backlog {
        self.state.lock().backlog
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
fn key(peer: &AuditPeer, kind: &'static str, event: &AuditEvent) -> Key {
    let title = match event {
        AuditEvent::Associated { .. } => peer.ae_title.clone(),
        _ => String::new(),
    };
    (Source::of(peer.address.ip()), kind, title)
}

impl State {
    fn lose(&mut self, source: String, count: u64) {
        self.lost_total += count;
        let is_apart = self.lost.len() < MAX_LOSERS || self.lost.contains_key(&source);
        *self.lost.entry(if is_apart { source } else { OTHERS.to_owned() }).or_default() += count;
    }

    /// A question that is repeated is summed.
    fn is_worth_a_record(&mut self, event: &AuditEvent) -> bool {
        let AuditEvent::Queried { operator, query } = event else { return true };
        self.sums_since.get_or_insert_with(Instant::now);
        self.queries.note(operator, query)
    }

    fn push_evidence(&mut self, event: AuditEvent, count: u64) {
        self.recorded += 1;
        self.evidence.push_back((self.recorded, AuditRecord { at: SystemTime::now(), event, count }));
        if self.evidence.len() <= self.capacity {
            return;
        }
        let mut records: HashMap<AuditSource, usize> = HashMap::new();
        self.evidence.iter().for_each(|(_, record)| *records.entry(record.event.source()).or_default() += 1);
        // Of sources with as many, the one with the oldest record.
        let most = records.values().copied().max().unwrap_or(0);
        let oldest = self.evidence.iter().position(|(_, record)| records[&record.event.source()] == most);
        if let Some((_, record)) = oldest.and_then(|at| self.evidence.remove(at)) {
            self.lose(record.source(), record.count);
        }
    }

    fn push_contact(&mut self, event: AuditEvent, count: u64) {
        let record = AuditRecord { at: SystemTime::now(), event, count };
        if self.contacts.len() < self.capacity {
            self.contacts.push_back(record);
        } else {
            self.lose(record.source(), 1);
        }
    }

    fn sum(&mut self, key: Key, event: AuditEvent) {
        self.sums_since.get_or_insert_with(Instant::now);
        let key = self.key_of_sum(key);
        match self.sums.get_mut(&key) {
            Some(sum) => *sum = Sum { last: event, count: sum.count + 1 },
            None => {
                self.sums.insert(key, Sum { last: event.clone(), count: 0 });
                self.push_contact(event, 1);
            }
        }
    }

    /// The key of the sum that counts `key`.
    fn key_of_sum(&mut self, key: Key) -> Key {
        let of_source = (key.0, key.1, String::new());
        if self.sums.contains_key(&key) {
            return key;
        }
        if self.sums.contains_key(&of_source) {
            return of_source;
        }
        if self.sums.len() >= MAX_SUMS
            && let Some(folded) = self.fold()
            && folded == of_source
        {
            return folded;
        }
        if self.sums.len() < MAX_SUMS { key } else { (Source::ANYONE, key.1, String::new()) }
    }

    /// Joins the sums of one kind of the source that has the most of them. `None`: each has one only.
    fn fold(&mut self) -> Option<Key> {
        let mut titles: HashMap<(Source, &'static str), usize> = HashMap::new();
        self.sums.keys().for_each(|(source, kind, _)| *titles.entry((*source, *kind)).or_default() += 1);
        let ((source, kind), _) = titles.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, count)| *count)?;
        let joined = self.sums.extract_if(|key, _| (key.0, key.1) == (source, kind)).map(|(_, sum)| sum);
        let joined = joined.reduce(|a, b| Sum { count: a.count + b.count, ..b })?;
        let key = (source, kind, String::new());
        self.sums.insert(key.clone(), joined);
        Some(key)
    }

    fn end_sums(&mut self) {
        self.sums_since = None;
        for (_, sum) in std::mem::take(&mut self.sums) {
            if sum.count > 0 {
                self.push_contact(sum.last, sum.count);
            }
        }
        let queries: Vec<_> = self.queries.end().collect();
        queries.into_iter().for_each(|(event, count)| self.push_evidence(event, count));
    }

    fn take(&mut self, most: usize, now: Instant) -> Vec<AuditRecord> {
        if self.sums_since.is_some_and(|since| now.duration_since(since) >= SUM_INTERVAL) {
            self.end_sums();
        }
        let evidence = self.evidence.len().min(most);
        let contacts = self.contacts.len().min(most - evidence);
        self.in_hand |= evidence + contacts > 0;
        let taken = self.evidence.drain(..evidence).map(|(ticket, record)| {
            self.taken = ticket;
            record
        });
        let mut records: Vec<_> = taken.chain(self.contacts.drain(..contacts)).collect();
        // Evidence first when not all are taken; of those that are, the log-on of a peer before its transfers.
        records.sort_by_key(|record| record.at);
        records
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::gauges::audit::Denial;

    fn denied(address: &str, title: u32) -> AuditEvent {
        let address = format!("{address}:104").parse().unwrap();
        let peer = AuditPeer { address, ae_title: format!("X{title}"), certificate: String::new() };
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
        assert_eq!((trail.lost_total(), ticket), (0, 1));
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
        assert_eq!((trail.lost_total(), trail.take_lost()), (3, vec![("node".to_owned(), 3)]));
        assert_eq!(trail.take(9).await.len(), 2);
        assert!(!trail.is_done(), "they are in hand");
        trail.passed_on();
        assert!(trail.is_done());
        let mut next = Box::pin(trail.take(9));
        assert!(next.as_mut().now_or_never().is_none());
        trail.record(AuditEvent::Stopping);
        assert!(matches!(next.await[..], [AuditRecord { event: AuditEvent::Stopping, .. }]));
    }

    fn transferred(address: &str) -> AuditEvent {
        let AuditEvent::Denied { peer, .. } = denied(address, 0) else { unreachable!() };
        AuditEvent::TransferBegan { peer, study: Default::default() }
    }

    #[tokio::test]
    async fn a_full_queue_loses_the_oldest_of_the_source_with_the_most_and_tickets_stay_right() {
        let trail = AuditTrail::new(4);
        let first = trail.record(transferred("192.0.2.1"));
        for _ in 0..5 {
            trail.record(transferred("[2001:db8::1]"));
        }
        let last = trail.record(transferred("192.0.2.2"));
        let sources: Vec<_> = trail.take(1).await.iter().map(AuditRecord::source).collect();
        assert_eq!(sources, ["192.0.2.1"]);
        trail.written();
        let patience = Duration::from_secs(3600);
        assert!(trail.wait_until_written(first, patience).now_or_never().is_some());
        assert!(trail.wait_until_written(last, patience).now_or_never().is_none());
        let sources: Vec<_> = trail.take(9).await.iter().map(AuditRecord::source).collect();
        assert_eq!(sources, ["2001:db8::/64", "2001:db8::/64", "192.0.2.2"]);
        trail.written();
        assert!(trail.wait_until_written(last, patience).now_or_never().is_some());
        assert_eq!(trail.take_lost(), [("2001:db8::/64".to_owned(), 3)]);
        assert_eq!((trail.take_lost(), trail.lost_total()), (vec![], 3));
    }

    #[tokio::test]
    async fn false_titles_hide_no_good_one() {
        let trail = AuditTrail::new(1024);
        let associated = |address: &str, title: &str| {
            let peer = AuditPeer {
                address: format!("{address}:104").parse().unwrap(),
                ae_title: title.to_owned(),
                certificate: String::new(),
            };
            trail.record(AuditEvent::Associated { peer });
        };
        for title in 0..1000 {
            associated(&format!("192.0.2.{}", title % 4), &format!("X{title}"));
        }
        for _ in 0..10 {
            associated("198.51.100.1", "GOOD");
            associated("198.51.100.1", "FINE");
        }
        trail.record(AuditEvent::Stopping);
        let records = trail.take(1024).await;
        let of = |wanted: &str| {
            let is_it = |record: &&AuditRecord| match &record.event {
                AuditEvent::Associated { peer } => peer.ae_title == wanted,
                _ => false,
            };
            records.iter().filter(is_it).map(|record| record.count).collect::<Vec<_>>()
        };
        assert!(records.is_sorted_by_key(|record| record.at), "in the order of the events");
        assert_eq!((of("GOOD"), of("FINE")), (vec![1, 9], vec![1, 9]));
        assert_eq!(records.iter().map(|record| record.count).sum::<u64>(), 1021);
        assert!(records.len() < 300, "{} records", records.len());
    }
}
