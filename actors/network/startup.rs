//! The places of connections without an association: before one, and after it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::source::{Source, Standing};

/// A younger connection is in the middle of its negotiation.
const SETTLED: Duration = Duration::from_millis(250);

/// Places of a source that has proved itself which count as one of another.
const CROWD_OF_PROVED: usize = 4;

/// Startup places of a node with `max` associations.
pub(super) fn startup_places(max: usize) -> usize {
    max.div_ceil(4).clamp(8, 64)
}

/// The connections that hold a startup place. Invariant: at most `size`, unless it was set lower meanwhile.
#[derive(Debug)]
pub(super) struct Startup {
    size: usize,
    /// By connection, and so by age.
    places: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    source: Source,
    since: Instant,
    is_ending: bool,
    /// Whether its request has arrived.
    is_requested: bool,
    give_way: Arc<Notify>,
}

/// Whether there is a place for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// Every connection that would give way is in the middle of its negotiation.
    Wait,
    /// The newcomer's own source has crowded the places.
    Refuse,
}

impl Startup {
    pub(super) fn new(size: usize) -> Self {
        Self { size, places: BTreeMap::new() }
    }

    pub(super) fn set_size(&mut self, size: usize) {
        self.size = size;
    }

    /// Connections that hold a place.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Makes room for a connection of `source`: if all places are taken, the most crowded source gives up a connection. One with a penalty
    /// counts as more crowded than any without, and one that has proved itself as a quarter as crowded. Of equally crowded ones, those go
    /// first that have not proved themselves; then an ending connection, one without a request, and the oldest.
    pub(super) fn make_room(
        &mut self,
        source: Source,
        now: Instant,
        may_wait: bool,
        standing: impl Fn(Source) -> Standing,
    ) -> Room {
        if self.places.len() < self.size {
            return Room::Free;
        }
        let mut crowds = HashMap::from([(source, 1_usize)]);
        self.places.values().for_each(|holder| *crowds.entry(holder.source).or_default() += 1);
        let rank = |(of, count): (Source, usize)| match standing(of) {
            Standing::Penalised => (of, (true, count, Standing::Penalised)),
            Standing::Unknown => (of, (false, count, Standing::Unknown)),
            Standing::Proved => (of, (false, count.div_ceil(CROWD_OF_PROVED), Standing::Proved)),
        };
        let ranks: HashMap<_, _> = crowds.into_iter().map(rank).collect();
        let crowd = |of| ranks.get(&of).map(|(is_penalised, count, _)| (*is_penalised, *count));
        let has_proved = |of| ranks.get(&of).is_some_and(|(_, _, standing)| *standing == Standing::Proved);
        let in_order = self.places.iter().max_by_key(|(connection, holder)| {
            let of = holder.source;
            (crowd(of), !has_proved(of), of != source, holder.is_ending, !holder.is_requested, Reverse(**connection))
        });
        let Some((connection, holder)) = in_order.map(|(connection, holder)| (*connection, holder)) else {
            return Room::Refuse;
        };
        let is_own = holder.source == source;
        if crowd(holder.source) < crowd(source) {
            return Room::Refuse;
        }
        let is_settled = holder.is_ending || now.saturating_duration_since(holder.since) >= SETTLED;
        match (is_settled, may_wait) {
            (false, true) => return Room::Wait,
            (false, false) if is_own => return Room::Refuse,
            (true, _) | (false, false) => {}
        }
        if let Some(holder) = self.places.remove(&connection) {
            holder.give_way.notify_one();
        }
        Room::Free
    }

    /// Gives the connection a place. The caller has made room.
    pub(super) fn enter(
        &mut self,
        connection: u64,
        source: Source,
        is_ending: bool,
        now: Instant,
        give_way: Arc<Notify>,
    ) {
        self.places.insert(connection, Holder { source, since: now, is_ending, is_requested: false, give_way });
    }

    /// The connection's source is known now.
    pub(super) fn come_from(&mut self, connection: u64, source: Source) {
        if let Some(holder) = self.places.get_mut(&connection) {
            holder.source = source;
        }
    }

    /// The request of the connection has arrived.
    pub(super) fn requested(&mut self, connection: u64) {
        if let Some(holder) = self.places.get_mut(&connection) {
            holder.is_requested = true;
        }
    }

    /// The connection will not have an association. False: it has no place.
    pub(super) fn end(&mut self, connection: u64) -> bool {
        self.places.get_mut(&connection).map(|holder| holder.is_ending = true).is_some()
    }

    /// Gives the connection's place back, if it has one.
    pub(super) fn leave(&mut self, connection: u64) {
        self.places.remove(&connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> Source {
        Source::of([10, 0, 0, number].into())
    }

    /// Source 9 guesses passcodes, and source 8 has stored something.
    fn standing(of: Source) -> Standing {
        match of {
            of if of == source(9) => Standing::Penalised,
            of if of == source(8) => Standing::Proved,
            _ => Standing::Unknown,
        }
    }

    struct Places {
        startup: Startup,
        start: Instant,
        next: u64,
    }

    impl Places {
        fn new(size: usize) -> Self {
            Self { startup: Startup::new(size), start: Instant::now(), next: 0 }
        }

        fn arrive(&mut self, number: u8, at_ms: u64, may_wait: bool) -> Room {
            let now = self.start + Duration::from_millis(at_ms);
            let room = self.startup.make_room(source(number), now, may_wait, standing);
            if room == Room::Free {
                self.startup.enter(self.next, source(number), false, now, Arc::default());
                self.next += 1;
            }
            room
        }

        fn held(&self) -> Vec<u64> {
            self.startup.places.keys().copied().collect()
        }
    }

    #[test]
    fn the_oldest_of_the_most_crowded_source_gives_way() {
        let mut places = Places::new(4);
        for number in [1, 2, 2, 2] {
            assert_eq!(places.arrive(number, 0, false), Room::Free);
        }
        assert_eq!(places.arrive(3, 1000, false), Room::Free);
        assert_eq!(places.held(), [0, 2, 3, 4]);
        assert_eq!(places.arrive(2, 2000, false), Room::Free, "its own oldest gives way");
        assert_eq!(places.held(), [0, 3, 4, 5]);
    }

    #[test]
    fn a_young_one_is_waited_for_and_a_flood_gets_no_further_place() {
        let mut places = Places::new(4);
        (0..4).for_each(|_| assert_eq!(places.arrive(1, 0, true), Room::Free));
        assert_eq!(places.arrive(1, 100, true), Room::Wait);
        assert_eq!(places.arrive(2, 100, true), Room::Wait);
        assert_eq!(places.arrive(1, 100, false), Room::Refuse);
        assert_eq!(places.arrive(2, 100, false), Room::Free, "another source never waits longer");
        assert_eq!(places.held(), [1, 2, 3, 4]);
    }

    #[test]
    fn an_ending_connection_and_a_penalised_source_go_first() {
        let mut places = Places::new(4);
        for number in [1, 1, 1, 9] {
            places.arrive(number, 0, false);
        }
        assert_eq!(places.arrive(2, 1000, false), Room::Free);
        assert_eq!(places.held(), [0, 1, 2, 4], "the source with a penalty has one place, and gives it up");
        assert!(places.startup.end(2) && !places.startup.end(3));
        assert_eq!(places.arrive(1, 1000, true), Room::Free);
        assert_eq!(places.held(), [0, 1, 4, 5]);
    }

    /// Each source has one place: a crowd that no count tells from a good newcomer.
    #[test]
    fn among_equals_the_silent_go_first_and_a_source_that_has_proved_itself_stays() {
        let mut places = Places::new(4);
        for number in [8, 1, 2, 3] {
            places.arrive(number, 0, false);
        }
        places.startup.requested(1);
        for (number, held) in [(4, [0, 1, 3, 4]), (5, [0, 1, 4, 5]), (6, [0, 1, 5, 6])] {
            assert_eq!(places.arrive(number, 1000, false), Room::Free);
            assert_eq!(places.held(), held, "neither the proved one nor that with a request");
        }
        assert_eq!(places.arrive(8, 1000, false), Room::Free, "two places of it count as one");
        assert_eq!(places.held(), [0, 1, 6, 7]);
        assert_eq!(places.arrive(9, 2000, true), Room::Refuse, "a penalty outweighs all");
        (0..2).for_each(|_| assert_eq!(places.arrive(8, 2000, false), Room::Free));
        assert_eq!(places.held(), [0, 7, 8, 9]);
        assert_eq!(places.arrive(8, 2000, false), Room::Free, "the oldest of its own");
        assert_eq!(places.arrive(1, 3000, false), Room::Free, "a stranger is never shut out");
    }

    #[test]
    fn whatever_comes_there_are_never_more_than_the_places_and_every_other_source_comes_in() {
        let mut places = Places::new(8);
        for turn in 0..10_000_u64 {
            places.arrive(1, turn, turn % 3 == 0);
            if turn % 100 == 0 {
                assert_eq!(places.arrive(2 + (turn / 100 % 5) as u8, turn, false), Room::Free);
            }
            assert!(places.startup.len() <= 8);
        }
    }

    #[tokio::test]
    async fn who_gives_way_is_told() {
        let mut startup = Startup::new(1);
        let give_way = Arc::new(Notify::new());
        startup.enter(1, source(1), true, Instant::now(), give_way.clone());
        assert_eq!(startup.make_room(source(1), Instant::now(), false, standing), Room::Free);
        give_way.notified().await;
        assert_eq!(startup.len(), 0);
    }
}
