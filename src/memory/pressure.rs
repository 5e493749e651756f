//! The pressure level: how near the process is to its ceiling, and the reaction to it.
//!
//! Leases count admitted bytes; `resident` is the memory that the host sees, with fragmented pages, caches and freed memory not yet
//! returned. The level is a pure function of `resident` and the previous level.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Allowance beyond the budget: code, stacks, the allocator's own structures and fragmentation, and the node's own allocations before the
/// first association.
pub const ALLOWANCE_BYTES: u64 = 48 << 20;

/// A pressure level. Each level includes the effects of the lower ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Level {
    /// No effect.
    #[default]
    Normal,
    /// Free pages that the allocator keeps for reuse are returned to the system at once.
    Purge,
    /// Receive buffers no longer grow beyond the floor of their association, and idle ones shrink to it.
    Shrink,
    /// Every dataset is spooled to disk as it arrives, whatever its size.
    Spool,
    /// No new association is accepted: A-ASSOCIATE-RJ, transient, local limit exceeded (PS3.8 §9.3.4).
    PauseAccept,
    /// The association that holds the most bytes is aborted (A-ABORT, PS3.8 §9.3.8), one at each observation.
    Abort,
}

impl Level {
    /// Every level, rising.
    pub const ALL: [Level; 6] = [Self::Normal, Self::Purge, Self::Shrink, Self::Spool, Self::PauseAccept, Self::Abort];

    /// The name of the level in logs, statistics and snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Purge => "purge",
            Self::Shrink => "shrink",
            Self::Spool => "spool",
            Self::PauseAccept => "pause_accept",
            Self::Abort => "abort",
        }
    }

    fn below(self) -> Option<Self> {
        (self as usize).checked_sub(1).map(|index| Self::ALL[index])
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where each level is entered and left, in bytes of `resident`.
///
/// In percent of the ceiling, which is the budget and [`ALLOWANCE_BYTES`]:
///
/// | level | entered at | left below |
/// |---|---|---|
/// | purge | 80 | 70 |
/// | shrink | 85 | 75 |
/// | spool | 90 | 80 |
/// | pause_accept | 95 | 85 |
/// | abort | 100 | 90 |
///
/// A tenth of the ceiling lies between entering and leaving: more than a purge gives back under steady load (dirty pages decay
/// within a second anyway), so that a level's own effect does not end it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    ceiling_bytes: u64,
}

impl Watermarks {
    /// The thresholds for a budget of `budget_bytes`.
    pub fn new(budget_bytes: u64) -> Self {
        Self { ceiling_bytes: budget_bytes.saturating_add(ALLOWANCE_BYTES) }
    }

    /// The ceiling: the upper bound that `resident` must not exceed.
    pub fn ceiling_bytes(&self) -> u64 {
        self.ceiling_bytes
    }

    /// `level` is entered when `resident` is at least this; 0 for [`Level::Normal`].
    pub fn enter_bytes(&self, level: Level) -> u64 {
        match level {
            Level::Normal => 0,
            Level::Purge => self.percent(80),
            Level::Shrink => self.percent(85),
            Level::Spool => self.percent(90),
            Level::PauseAccept => self.percent(95),
            Level::Abort => self.percent(100),
        }
    }

    /// `level` is left when `resident` is less than this; 0 for [`Level::Normal`], which is never left downwards.
    pub fn leave_bytes(&self, level: Level) -> u64 {
        match level {
            Level::Normal => 0,
            Level::Purge => self.percent(70),
            Level::Shrink => self.percent(75),
            Level::Spool => self.percent(80),
            Level::PauseAccept => self.percent(85),
            Level::Abort => self.percent(90),
        }
    }

    fn percent(&self, percent: u64) -> u64 {
        self.ceiling_bytes / 100 * percent + self.ceiling_bytes % 100 * percent / 100
    }
}

/// The level that follows `current` at `resident_bytes`: up at once, to the highest level reached; down only past the levels whose lower
/// threshold is passed.
pub fn next(current: Level, resident_bytes: u64, marks: &Watermarks) -> Level {
    let entered =
        Level::ALL.into_iter().rfind(|level| resident_bytes >= marks.enter_bytes(*level)).unwrap_or(Level::Normal);
    let mut level = current.max(entered);
    while let Some(below) = level.below()
        && resident_bytes < marks.leave_bytes(level)
    {
        level = below;
    }
    level
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ceiling of 200 MiB, so that percents are easy to read.
    fn marks() -> Watermarks {
        Watermarks::new((200 << 20) - ALLOWANCE_BYTES)
    }

    fn percent(percent: u64) -> u64 {
        (200 << 20) / 100 * percent + percent
    }

    #[test]
    fn the_marks_are_where_the_table_says_at_any_budget() {
        for budget in [0, 1, 64 << 20, 128 << 20, 2 << 30, u64::MAX] {
            let marks = Watermarks::new(budget);
            assert_eq!(marks.enter_bytes(Level::Abort), marks.ceiling_bytes());
            for pair in Level::ALL.windows(2) {
                assert!(marks.enter_bytes(pair[0]) < marks.enter_bytes(pair[1]));
                assert!(marks.leave_bytes(pair[0]) < marks.leave_bytes(pair[1]));
                let band = marks.enter_bytes(pair[1]) - marks.leave_bytes(pair[1]);
                assert!(band >= marks.ceiling_bytes() / 10);
            }
        }
        assert_eq!(Watermarks::new(128 << 20).ceiling_bytes(), 176 << 20);
    }

    #[test]
    fn every_level_from_every_level() {
        use Level::{Abort, Normal, PauseAccept, Purge, Shrink, Spool};
        // A column for each level one may come from, in order.
        let table = [
            (0, [Normal, Normal, Normal, Normal, Normal, Normal]),
            (69, [Normal, Normal, Normal, Normal, Normal, Normal]),
            (70, [Normal, Purge, Purge, Purge, Purge, Purge]),
            (75, [Normal, Purge, Shrink, Shrink, Shrink, Shrink]),
            (80, [Purge, Purge, Shrink, Spool, Spool, Spool]),
            (85, [Shrink, Shrink, Shrink, Spool, PauseAccept, PauseAccept]),
            (90, [Spool, Spool, Spool, Spool, PauseAccept, Abort]),
            (95, [PauseAccept, PauseAccept, PauseAccept, PauseAccept, PauseAccept, Abort]),
            (100, [Abort; 6]),
            (300, [Abort; 6]),
        ];
        for (resident, expected) in table {
            let reached = Level::ALL.map(|current| next(current, percent(resident), &marks()));
            assert_eq!(reached, expected, "at {resident} %");
        }
    }

    #[test]
    fn a_level_serialises_as_its_name() {
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
    }

    proptest! {
        #[test]
        fn more_resident_never_means_less_pressure(
            current in 0..Level::ALL.len(), a in 0..300_u64 << 20, b in 0..300_u64 << 20, budget in 0..4_u64 << 30,
        ) {
            let marks = Watermarks::new(budget);
            let (low, high) = (a.min(b), a.max(b));
            let current = Level::ALL[current];
            prop_assert!(next(current, low, &marks) <= next(current, high, &marks));
        }

        #[test]
        fn a_figure_that_stands_still_moves_the_level_once(current in 0..Level::ALL.len(), resident in 0..300_u64 << 20) {
            let level = next(Level::ALL[current], resident, &marks());
            prop_assert_eq!(next(level, resident, &marks()), level);
        }

        /// While `resident` stays between the threshold to leave a level and the one to enter the next, the level stays.
        #[test]
        fn it_never_flaps_within_a_band(level in 1..Level::ALL.len(), steps in prop::collection::vec(0.0..1.0_f64, 1..50)) {
            let (level, marks) = (Level::ALL[level], marks());
            let above = Level::ALL.get(level as usize + 1).map_or(marks.ceiling_bytes() * 2, |l| marks.enter_bytes(*l));
            let (from, room) = (marks.leave_bytes(level), above - marks.leave_bytes(level));
            for step in steps {
                let resident = from + (step * (room - 1) as f64) as u64;
                prop_assert_eq!(next(level, resident, &marks), level);
            }
        }

        /// A level that was left is entered again only after `resident` has crossed a tenth of the ceiling.
        #[test]
        fn coming_back_takes_a_tenth_of_the_ceiling(walk in prop::collection::vec(0..250_u64 << 20, 2..100)) {
            let marks = marks();
            let (mut level, mut left_at) = (Level::Normal, [None; Level::ALL.len()]);
            for resident in walk {
                let new = next(level, resident, &marks);
                for passed in Level::ALL {
                    if level >= passed && new < passed {
                        left_at[passed as usize] = Some(resident);
                    }
                    if level < passed && new >= passed && let Some(left) = left_at[passed as usize] {
                        prop_assert!(resident - left > marks.ceiling_bytes() / 10 - 2);
                    }
                }
                level = new;
            }
        }
    }
}
