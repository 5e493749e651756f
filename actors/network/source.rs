//! The source of a connection, and what is remembered of sources: failed identities, and stored instances.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Sources with a penalty that are remembered; some 100 bytes each. Beyond, further ones have none.
const MAX_PENALISED: usize = 4096;
/// The time after which half of the failures of a source are forgotten.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Failures without a penalty: a user who mistypes.
const FREE_FAILURES: u32 = 3;
/// The first delay; each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest delay between two identities of a source.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// The longest wait of one of many at a time: a right passcode of the same source is still verified within the patience of its sender.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Sources with stored instances that are remembered; some 50 bytes each. Beyond, the one that stored longest ago is forgotten.
const MAX_PROVED: usize = 4096;
/// The time for which a stored instance is remembered: a modality sends every day.
const REMEMBERED: Duration = Duration::from_secs(2 * 86_400);

/// The standing of a source when startup places are short. The least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Its identities were wrong of late, and it has stored nothing.
    Penalised,
    /// Nothing is known of it; or its identities were wrong, and it has stored instances all the same.
    Unknown,
    /// It has stored instances of late.
    Proved,
}

/// The origin of connections that share limits: an IPv4 address, or an IPv6 /64, which is the least that a site gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// Stands for all sources of which nothing is remembered.
    pub(crate) const ANYONE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// The failed identities of each source, of late.
#[derive(Debug, Default)]
pub(super) struct Penalties(HashMap<Source, Failures>);

#[derive(Debug)]
struct Failures {
    count: u32,
    /// When `count` was last halved, or its first failure was counted.
    since: Instant,
    /// When the next identity may be verified.
    next_at: Instant,
}

impl Penalties {
    /// Counts a failed identity.
    pub(super) fn add(&mut self, source: Source, now: Instant) {
        if self.0.len() >= MAX_PENALISED && !self.0.contains_key(&source) {
            self.0.retain(|_, failures| failures.left(now) > 0);
            if self.0.len() >= MAX_PENALISED {
                return;
            }
        }
        let failures = self.0.entry(source).or_insert(Failures { count: 0, since: now, next_at: now });
        let left = failures.left(now);
        if left < failures.count {
            (failures.count, failures.since) = (left, now);
        }
        failures.count = failures.count.saturating_add(1);
    }

    /// The wait of an identity before it is verified. Identities of one source wait for each other, if the source has a delay.
    pub(super) fn wait(&mut self, source: Source, now: Instant) -> Duration {
        let delay = self.delay(source, now);
        match self.0.get_mut(&source) {
            Some(failures) if !delay.is_zero() => {
                failures.next_at = (failures.next_at.max(now) + delay).min(now + LONGEST_WAIT);
                failures.next_at - now
            }
            _ => Duration::ZERO,
        }
    }

    /// The delay between two identities of the source.
    pub(super) fn delay(&self, source: Source, now: Instant) -> Duration {
        let left = self.0.get(&source).map_or(0, |failures| failures.left(now));
        match left.checked_sub(FREE_FAILURES) {
            Some(beyond) => FIRST_DELAY.saturating_mul(1 << beyond.min(16)).min(LONGEST_DELAY),
            None => Duration::ZERO,
        }
    }
}

/// The sources of associations with stored instances, and when the last one ended.
#[derive(Debug, Default)]
pub(super) struct Proved(HashMap<Source, Instant>);

impl Proved {
    /// An association of the source has stored something.
    pub(super) fn add(&mut self, source: Source, now: Instant) {
        if self.0.len() >= MAX_PROVED
            && !self.0.contains_key(&source)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, at)| **at).map(|(source, _)| *source)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(source, now);
    }

    /// The standing of a source with this delay between its identities.
    pub(super) fn standing(&self, source: Source, delay: Duration, now: Instant) -> Standing {
        let has_stored = self.0.get(&source).is_some_and(|at| now.saturating_duration_since(*at) < REMEMBERED);
        match (has_stored, delay.is_zero()) {
            (false, false) => Standing::Penalised,
            (false, true) | (true, false) => Standing::Unknown,
            (true, true) => Standing::Proved,
        }
    }
}

impl Failures {
    fn left(&self, now: Instant) -> u32 {
        let halvings = now.saturating_duration_since(self.since).as_secs() / HALF_LIFE.as_secs();
        self.count.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::from((0x0A00_0000 + number).to_be_bytes()))
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.2"), of("10.0.0.1"));
        assert_eq!(of("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(of("::ffff:10.0.0.1").to_string(), "10.0.0.1");
    }

    #[test]
    fn delays_begin_after_some_failures_grow_to_a_bound_and_are_forgotten() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        let delays: Vec<_> = (0..9)
            .map(|_| {
                let delay = penalties.delay(source(1), now).as_millis();
                penalties.add(source(1), now);
                delay
            })
            .collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 500, 500, 500, 500]);
        assert_eq!(penalties.delay(source(2), now), Duration::ZERO);
        assert_eq!(penalties.delay(source(1), now + HALF_LIFE).as_millis(), 500, "nine failures count as four");
        let waits = (0..9).map(|_| penalties.wait(source(1), now).as_millis());
        assert_eq!(waits.collect::<Vec<_>>(), [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4000]);
        assert_eq!(penalties.delay(source(1), now + HALF_LIFE * 40), Duration::ZERO);
        penalties.add(source(1), now + HALF_LIFE * 40);
        assert_eq!(penalties.0[&source(1)].count, 1);
    }

    #[test]
    fn stored_instances_are_remembered_for_a_time_and_in_bounded_room() {
        let (mut proved, now) = (Proved::default(), Instant::now());
        (0..MAX_PROVED as u32 + 1)
            .for_each(|number| proved.add(source(number), now + Duration::from_millis(number.into())));
        assert_eq!(proved.0.len(), MAX_PROVED);
        let standing = |number, delay, now| proved.standing(source(number), delay, now);
        assert_eq!(standing(0, Duration::ZERO, now), Standing::Unknown, "it stored longest ago");
        assert_eq!(standing(1, Duration::ZERO, now), Standing::Proved);
        assert_eq!(standing(1, FIRST_DELAY, now), Standing::Unknown);
        assert_eq!(standing(0, FIRST_DELAY, now), Standing::Penalised);
        assert_eq!(standing(1, Duration::ZERO, now + 2 * REMEMBERED), Standing::Unknown);
    }

    #[test]
    fn any_number_of_sources_takes_bounded_room() {
        let (mut penalties, now) = (Penalties::default(), Instant::now());
        (0..2 * MAX_PENALISED as u32).for_each(|number| penalties.add(source(number), now));
        assert_eq!(penalties.0.len(), MAX_PENALISED);
        penalties.add(source(u32::MAX >> 8), now + HALF_LIFE);
        assert_eq!(penalties.0.len(), 1, "what is forgotten makes room");
    }
}
