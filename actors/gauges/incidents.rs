//! Misbehaviour of peers: counted by kind, and logged once for each peer, kind and interval, so that a peer can fill neither the log nor
//! the memory. A kind is a constant of the program, never a string of a peer.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Most pairs of peer and kind whose last line is remembered; some 100 bytes each. Beyond, all other peers share one line for each kind.
const MAX_REMEMBERED: usize = 1024;
/// The address under which all peers beyond that limit are kept.
const ANYONE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A class of misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The protocol was broken; answered with A-ABORT.
    Violation,
    /// An association was rejected; answered with A-ASSOCIATE-RJ. Counted in [`Counters`](crate::gauges::counters::Counters).
    Rejection,
    /// A request was answered with a failure status. Counted there too.
    Refusal,
    /// The peer was denied access: by TLS, a rule, its user identity, or for a missing PROXY header.
    Denial,
    /// The connection was not DICOM.
    Stranger,
    /// The peer reached a limit of the node.
    Limit,
}

impl Class {
    /// The name in figures and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Violation => "violation",
            Self::Rejection => "rejection",
            Self::Refusal => "refusal",
            Self::Denial => "denial",
            Self::Stranger => "stranger",
            Self::Limit => "limit",
        }
    }
}

/// The counts since the start, and the last lines.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Interval in which a peer gets one line of each kind.
    repeat_interval: Duration,
    counts: BTreeMap<(Class, &'static str), u64>,
    lines: HashMap<(IpAddr, Class, &'static str), Line>,
}

/// The last line of a peer and a kind.
#[derive(Debug)]
struct Line {
    at: Instant,
    unlogged: u64,
}

impl Incidents {
    /// Counts an incident. `Some`: it is to be logged, with the number of incidents of its kind and peer that were not logged since the
    /// last line.
    pub(crate) fn note(&self, class: Class, kind: &'static str, peer: IpAddr) -> Option<u64> {
        self.count(class, kind);
        self.worth_a_line(class, kind, peer)
    }

    /// Whether an incident that is counted elsewhere is to be logged.
    pub(crate) fn worth_a_line(&self, class: Class, kind: &'static str, peer: IpAddr) -> Option<u64> {
        self.0.lock().worth_a_line(class, kind, peer, Instant::now())
    }

    /// Sets the interval in which a peer gets one line of each kind.
    pub(crate) fn set_repeat_interval(&self, interval: Duration) {
        self.0.lock().repeat_interval = interval;
    }

    /// Counts an incident without a line of its own.
    pub(crate) fn count(&self, class: Class, kind: &'static str) {
        *self.0.lock().counts.entry((class, kind)).or_default() += 1;
    }

    /// The count of each kind.
    pub fn counts(&self) -> BTreeMap<(Class, &'static str), u64> {
        self.0.lock().counts.clone()
    }

    /// The count of each class.
    pub fn total(&self, class: Class) -> u64 {
        let state = self.0.lock();
        state.counts.iter().filter(|((of, _), _)| *of == class).map(|(_, count)| count).sum()
    }
}

impl State {
    fn worth_a_line(&mut self, class: Class, kind: &'static str, peer: IpAddr, now: Instant) -> Option<u64> {
        let interval = self.repeat_interval;
        let mut key = (peer, class, kind);
        if self.lines.len() >= MAX_REMEMBERED && !self.lines.contains_key(&key) {
            self.lines.retain(|_, line| now.duration_since(line.at) < interval);
            if self.lines.len() >= MAX_REMEMBERED {
                key.0 = ANYONE;
            }
        }
        match self.lines.get_mut(&key) {
            Some(line) if now.duration_since(line.at) < interval => {
                line.unlogged += 1;
                None
            }
            Some(line) => Some(std::mem::replace(line, Line { at: now, unlogged: 0 }).unlogged),
            None => {
                self.lines.insert(key, Line { at: now, unlogged: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number))
    }

    #[test]
    fn one_line_for_each_peer_kind_and_interval() {
        let mut state = State { repeat_interval: MINUTE, ..State::default() };
        let start = Instant::now();
        let mut note = |kind, number, second| {
            state.worth_a_line(Class::Violation, kind, peer(number), start + Duration::from_secs(second))
        };
        assert_eq!(note("pdv-length", 1, 0), Some(0));
        assert_eq!(note("pdv-length", 1, 1), None);
        assert_eq!(note("pdv-length", 1, 59), None);
        assert_eq!(note("pdu-length", 1, 59), Some(0), "another kind");
        assert_eq!(note("pdv-length", 2, 59), Some(0), "another peer");
        assert_eq!(note("pdv-length", 1, 60), Some(2));
        assert_eq!(note("pdv-length", 1, 61), None);
    }

    #[test]
    fn every_one_is_logged_if_there_is_no_interval() {
        let incidents = Incidents::default();
        for _ in 0..3 {
            assert_eq!(incidents.note(Class::Limit, "min_rate", peer(1)), Some(0));
        }
        incidents.set_repeat_interval(MINUTE);
        assert_eq!(incidents.note(Class::Limit, "max_dataset", peer(1)), Some(0));
        assert_eq!(incidents.note(Class::Limit, "max_dataset", peer(1)), None);
        assert_eq!((incidents.total(Class::Limit), incidents.total(Class::Violation)), (5, 0), "all are counted");
        assert_eq!(incidents.counts()[&(Class::Limit, "min_rate")], 3);
    }

    #[test]
    fn any_number_of_peers_takes_bounded_room() {
        let mut state = State { repeat_interval: MINUTE, ..State::default() };
        let start = Instant::now();
        let mut logged = 0;
        for number in 0..3 * MAX_REMEMBERED as u32 {
            logged += usize::from(state.worth_a_line(Class::Stranger, "http", peer(number), start).is_some());
        }
        assert_eq!(logged, MAX_REMEMBERED + 1, "the others share a line");
        assert_eq!(state.lines.len(), MAX_REMEMBERED + 1);
        let later = start + MINUTE;
        assert_eq!(state.worth_a_line(Class::Stranger, "http", peer(u32::MAX >> 8), later), Some(0));
        assert_eq!(state.lines.len(), 1, "what is old is forgotten");
    }
}
