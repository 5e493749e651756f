//! Misbehaviour of peers, counted by kind, and the bounds of the log lines about peers.
//!
//! Two bounds hold for each line about a peer. A *source* (an IPv4 address, or an IPv6 /64, which one host may own) gets a few lines of
//! each kind in an interval, and the first line of each further cause: an administrator who mends one fault after the other must see each. Each topic has a share of lines a minute for all sources together, so that no crowd fills the log and
//! no topic takes the lines of another: a flood of strangers leaves those about stored instances. Lines beyond are counted, and
//! summed up in a line of their own. A kind is a constant of the program, never a string of a peer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::network::source::Source;

/// The peer in rate-limited log lines that concern no single peer.
pub(crate) const NO_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Most pairs of source and kind whose last line is remembered; some 100 bytes each. Beyond, all other sources share one line for each
/// kind.
const MAX_REMEMBERED: usize = 1024;
/// Causes of one kind that get a line of their own in an interval when the lines of the kind are used up.
const MORE_CAUSES: u32 = 4;
/// Causes of one kind that are told apart in an interval; any more count as repetitions.
const MAX_CAUSES: usize = 16;
/// The time of a share.
const MINUTE: Duration = Duration::from_secs(60);

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
    /// The peer deviated from the standard, and was served all the same.
    Deviation,
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
            Self::Deviation => "deviation",
        }
    }
}

/// The subject of a log line about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Topic {
    /// Misbehaviour.
    Amiss(Class),
    /// An association on which nothing was stored (yet).
    Association,
    /// The presentation contexts of a request that were refused.
    Contexts,
    /// An association with stored instances.
    Stored,
    /// An instance whose UID was taken by other bytes.
    Duplicate,
}

impl Topic {
    /// The interval of a source's lines. What is in order is told once a minute at least.
    fn interval(self, repeat_interval: Duration) -> Duration {
        match self {
            Self::Amiss(_) | Self::Contexts => repeat_interval,
            Self::Association | Self::Stored | Self::Duplicate => repeat_interval.min(MINUTE),
        }
    }

    /// Lines of one kind that a source gets in an interval.
    fn lines_of_source(self) -> u32 {
        match self {
            // Several instances of a minute are named.
            Self::Amiss(Class::Refusal) => 8,
            Self::Amiss(_) => 1,
            // A modality may open an association for each SOP class.
            Self::Association | Self::Contexts => 4,
            Self::Stored => 120,
            Self::Duplicate => 150,
        }
    }

    /// Lines a minute of all sources. Invariant: all shares together stay below 1 MiB.
    fn lines_a_minute(self) -> u32 {
        match self {
            Self::Amiss(Class::Refusal) => 200,
            Self::Amiss(_) => 150,
            Self::Contexts => 100,
            Self::Association => 200, // and as many about their ends
            Self::Stored => 400,
            Self::Duplicate => 200,
        }
    }
}

/// Lines that were not logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suppressed {
    pub(crate) lines: u64,
    /// Their sources; [`MAX_REMEMBERED`] means that or more.
    pub(crate) sources: usize,
    /// The source, if it is one.
    pub(crate) source: Option<Source>,
    /// Their kinds, the most frequent first, as `below_min_free 7, accepted 3`.
    pub(crate) kinds: String,
}

/// The counts since the start, and the last lines.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The interval in which a source gets a few lines of each kind; zero: every line is logged.
    repeat_interval: Duration,
    counts: BTreeMap<(Class, &'static str), u64>,
    lines: HashMap<(Source, Topic, &'static str), Lines>,
    shares: HashMap<Topic, Lines>,
    /// By kind.
    suppressed: BTreeMap<&'static str, u64>,
    suppressed_sources: HashSet<Source>,
    told: Option<Instant>,
}

/// The lines of an interval.
#[derive(Clone, Debug)]
struct Lines {
    since: Instant,
    logged: u32,
    unlogged: u64,
    /// The causes logged, by their hashes.
    causes: Vec<u64>,
}

impl Lines {
    fn begin(now: Instant) -> Self {
        Self { since: now, logged: 0, unlogged: 0, causes: Vec::new() }
    }

    /// Begins a new interval if this one is over. Returns the lines that were not logged before it.
    fn advance(&mut self, interval: Duration, now: Instant) -> u64 {
        if now.duration_since(self.since) < interval {
            return 0;
        }
        std::mem::replace(self, Self::begin(now)).unlogged
    }

    /// Counts a line about `cause` as logged if it is one of the first `most`, or the first about this cause.
    fn take(&mut self, most: u32, cause: u64) -> bool {
        let is_new = self.causes.len() < MAX_CAUSES && !self.causes.contains(&cause);
        if self.logged >= most + if is_new { MORE_CAUSES } else { 0 } {
            return false;
        }
        self.logged += 1;
        if is_new {
            self.causes.push(cause);
        }
        true
    }
}

impl Incidents {
    /// Counts an incident. `Some`: it is to be logged, with the number of incidents of its kind and peer that were not logged since the
    /// last line. `cause` tells it from others of its kind; `()` if they are all alike.
    pub(crate) fn note(&self, class: Class, kind: &'static str, peer: IpAddr, cause: impl Hash) -> Option<u64> {
        self.count(class, kind);
        self.worth_a_line(class, kind, peer, cause)
    }

    /// Whether an incident that is counted elsewhere is to be logged.
    pub(crate) fn worth_a_line(&self, class: Class, kind: &'static str, peer: IpAddr, cause: impl Hash) -> Option<u64> {
        self.worth_a_line_about(Topic::Amiss(class), kind, peer, cause)
    }

    /// Whether a line about a topic is to be logged, with the number of lines of its kind and source that were not.
    pub(crate) fn worth_a_line_about(
        &self,
        topic: Topic,
        kind: &'static str,
        peer: IpAddr,
        cause: impl Hash,
    ) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        cause.hash(&mut hasher);
        self.0.lock().worth_a_line(topic, kind, Source::of(peer), hasher.finish(), Instant::now())
    }

    /// The lines that were not logged since the last call, at most once a minute.
    pub(crate) fn take_suppressed(&self) -> Option<Suppressed> {
        self.0.lock().take_suppressed(Instant::now())
    }

    /// Sets the interval in which a source gets a few lines of each kind.
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
    fn worth_a_line(
        &mut self,
        topic: Topic,
        kind: &'static str,
        source: Source,
        cause: u64,
        now: Instant,
    ) -> Option<u64> {
        let repeat_interval = self.repeat_interval;
        if repeat_interval.is_zero() {
            return Some(0);
        }
        let share = self.shares.entry(topic).or_insert_with(|| Lines::begin(now));
        share.advance(MINUTE, now);
        let has_share = share.logged < topic.lines_a_minute();
        let mut key = (source, topic, kind);
        if self.lines.len() >= MAX_REMEMBERED && !self.lines.contains_key(&key) {
            self.lines.retain(|(_, topic, _), lines| now.duration_since(lines.since) < topic.interval(repeat_interval));
            if self.lines.len() >= MAX_REMEMBERED {
                key.0 = Source::ANYONE;
            }
        }
        let lines = self.lines.entry(key).or_insert_with(|| Lines::begin(now));
        let unlogged = lines.advance(topic.interval(repeat_interval), now);
        if has_share && lines.take(topic.lines_of_source(), cause) {
            share.logged += 1;
            return Some(unlogged + std::mem::take(&mut lines.unlogged));
        }
        lines.unlogged += 1 + unlogged;
        *self.suppressed.entry(kind).or_default() += 1;
        if self.suppressed_sources.len() < MAX_REMEMBERED {
            self.suppressed_sources.insert(source);
        }
        None
    }

    fn take_suppressed(&mut self, now: Instant) -> Option<Suppressed> {
        let told = *self.told.get_or_insert(now);
        if self.suppressed.is_empty() || now.duration_since(told) < MINUTE {
            return None;
        }
        self.told = Some(now);
        let sources = std::mem::take(&mut self.suppressed_sources);
        let mut kinds: Vec<_> = std::mem::take(&mut self.suppressed).into_iter().collect();
        kinds.sort_by_key(|(_, lines)| std::cmp::Reverse(*lines));
        Some(Suppressed {
            lines: kinds.iter().map(|(_, lines)| lines).sum(),
            sources: sources.len(),
            source: sources.iter().next().filter(|_| sources.len() == 1).copied(),
            kinds: kinds.iter().map(|(kind, lines)| format!("{kind} {lines}")).collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number))
    }

    fn state() -> State {
        State { repeat_interval: MINUTE, ..State::default() }
    }

    #[test]
    fn one_line_for_each_peer_kind_and_interval() {
        let mut state = state();
        let start = Instant::now();
        let mut note = |kind, number, second| {
            let source = Source::of(peer(number));
            state.worth_a_line(Topic::Amiss(Class::Violation), kind, source, 0, start + Duration::from_secs(second))
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
    fn the_first_line_of_each_cause_is_logged_within_a_bound() {
        for class in [Class::Denial, Class::Refusal] {
            let topic = Topic::Amiss(class);
            let (mut state, start, source) = (state(), Instant::now(), Source::of(peer(1)));
            let mut line = |cause| state.worth_a_line(topic, "kind", source, cause, start);
            for _ in 0..topic.lines_of_source() {
                assert!(line(0).is_some());
            }
            assert_eq!(line(0), None, "a repetition");
            assert_eq!(line(1), Some(1), "another cause, with the lines that came between");
            assert_eq!((line(1), line(0)), (None, None));
            let further = (2..100).filter(|cause| line(*cause).is_some()).count();
            assert_eq!(further as u32, MORE_CAUSES - 1, "no peer fills the log with causes that it makes up");
        }
    }

    #[test]
    fn every_one_is_logged_if_there_is_no_interval() {
        let incidents = Incidents::default();
        for _ in 0..3 {
            assert_eq!(incidents.note(Class::Limit, "min_rate", peer(1), ()), Some(0));
        }
        incidents.set_repeat_interval(MINUTE);
        assert_eq!(incidents.note(Class::Limit, "max_dataset", peer(1), ()), Some(0));
        assert_eq!(incidents.note(Class::Limit, "max_dataset", peer(1), ()), None);
        assert_eq!((incidents.total(Class::Limit), incidents.total(Class::Violation)), (5, 0), "all are counted");
        assert_eq!(incidents.counts()[&(Class::Limit, "min_rate")], 3);
    }

    #[test]
    fn any_number_of_peers_takes_bounded_room() {
        let mut state = state();
        let start = Instant::now();
        let http = Topic::Amiss(Class::Stranger);
        let mut logged = 0;
        for number in 0..3 * MAX_REMEMBERED as u32 {
            logged += u32::from(state.worth_a_line(http, "http", Source::of(peer(number)), 0, start).is_some());
        }
        assert_eq!(logged, http.lines_a_minute());
        assert_eq!(state.lines.len(), MAX_REMEMBERED + 1, "the others share a line");
        let later = start + MINUTE;
        assert_eq!(state.take_suppressed(start), None, "a minute begins");
        let lines = u64::from(3 * MAX_REMEMBERED as u32 - logged);
        let kinds = format!("http {lines}");
        let suppressed = Suppressed { lines, sources: MAX_REMEMBERED, source: None, kinds };
        assert_eq!(state.take_suppressed(later), Some(suppressed));
        assert_eq!(state.take_suppressed(later + MINUTE), None);
        assert_eq!(state.worth_a_line(http, "http", Source::of(peer(u32::MAX >> 8)), 0, later), Some(0));
        assert_eq!(state.lines.len(), 1, "what is old is forgotten");
    }

    #[test]
    fn what_was_suppressed_is_told_by_kind_and_by_its_one_source() {
        let mut state = state();
        let (start, source) = (Instant::now(), Source::of(peer(1)));
        assert_eq!(state.take_suppressed(start), None);
        for (class, kind, times) in [(Class::Stranger, "http", 3), (Class::Refusal, "below_min_free", 30)] {
            (0..times).for_each(|_| {
                state.worth_a_line(Topic::Amiss(class), kind, source, 0, start);
            });
        }
        let told = state.take_suppressed(start + MINUTE).unwrap();
        // The first line of each, seven further refusals, and none of a further cause.
        assert_eq!(told.kinds, "below_min_free 22, http 2");
        assert_eq!((told.lines, told.sources, told.source), (24, 1, Some(source)));
    }

    #[test]
    fn a_network_of_one_host_is_one_source() {
        let mut state = state();
        let start = Instant::now();
        for host in 0..3 * MAX_REMEMBERED as u128 {
            let peer = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + host).into();
            let logged = state.worth_a_line(Topic::Amiss(Class::Denial), "access", Source::of(peer), 0, start);
            assert_eq!(logged, (host == 0).then_some(0));
        }
        assert_eq!(state.lines.len(), 1);
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(Source::of(mapped), Source::of(peer(1)));
    }

    #[test]
    fn a_long_interval_hides_misbehaviour_and_no_stored_instance() {
        let mut state = State { repeat_interval: 60 * MINUTE, ..State::default() };
        let (start, source) = (Instant::now(), Source::of(peer(1)));
        for minute in 0..10 {
            for _ in 0..Topic::Stored.lines_of_source() {
                assert!(state.worth_a_line(Topic::Stored, "ended", source, 0, start + minute * MINUTE).is_some());
            }
            assert!(state.worth_a_line(Topic::Stored, "ended", source, 0, start + minute * MINUTE).is_none());
            let denial = state.worth_a_line(Topic::Amiss(Class::Denial), "access", source, 0, start + minute * MINUTE);
            assert_eq!(denial, (minute == 0).then_some(0));
        }
    }

    #[test]
    fn no_flood_takes_the_lines_of_another_topic_and_all_together_are_bounded() {
        let mut state = state();
        let start = Instant::now();
        let classes =
            [Class::Violation, Class::Rejection, Class::Refusal, Class::Denial, Class::Stranger, Class::Limit];
        // Long lines of each topic.
        let bytes_of = |topic| match topic {
            Topic::Contexts => 850,
            Topic::Stored | Topic::Duplicate | Topic::Amiss(Class::Refusal) => 550,
            Topic::Amiss(_) | Topic::Association => 450,
        };
        let mut logged_bytes = 200 * bytes_of(Topic::Association); // the ends of those accepted
        for number in 0..20_000 {
            let source = Source::of(peer(number));
            for topic in classes.map(Topic::Amiss).into_iter().chain([Topic::Association, Topic::Contexts]) {
                let is_logged = state.worth_a_line(topic, "flood", source, u64::from(number), start).is_some();
                logged_bytes += u32::from(is_logged) * bytes_of(topic);
            }
        }
        let honest = Source::of(peer(1 << 20));
        for _ in 0..Topic::Stored.lines_of_source() {
            assert!(state.worth_a_line(Topic::Stored, "ended", honest, 0, start).is_some());
        }
        for (topic, number) in [Topic::Stored, Topic::Duplicate]
            .into_iter()
            .flat_map(|topic| (0..20_000).map(move |number| (topic, number)))
        {
            let is_logged =
                state.worth_a_line(topic, "flood", Source::of(peer(number)), u64::from(number), start).is_some();
            logged_bytes += u32::from(is_logged) * bytes_of(topic);
        }
        logged_bytes += Topic::Stored.lines_of_source() * bytes_of(Topic::Stored);
        assert!(logged_bytes <= 1 << 20, "{logged_bytes} bytes");
    }
}
