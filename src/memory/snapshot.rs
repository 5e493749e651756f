//! A serialisable snapshot of the node's memory, for the admin surface, the command line and the load test.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::allocator::AllocatorStatistics;
use crate::budget::MemoryBudget;
use crate::lease::{Account, Location, Record};
use crate::pressure::Level;
use crate::stage::Stage;

/// The holders and their leases, and the allocator's statistics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemorySnapshot {
    /// Time of the snapshot, in milliseconds since the Unix epoch.
    pub taken_unix_ms: u64,
    /// The budget.
    pub budget_bytes: u64,
    /// The sum of all leases below. Holders are read one after the other, so that none waits for the others. Under load the sum may differ from
    /// the bytes held at any one instant, by the leases taken and returned during the walk.
    pub held_bytes: u64,
    /// Bytes of them that are leased for later and not allocated now.
    #[serde(default)]
    pub unused_bytes: u64,
    /// The most bytes held at any instant since the start, never above the budget of that instant.
    pub highest_bytes: u64,
    /// jemalloc's statistics, read just before the leases.
    pub allocator: AllocatorStatistics,
    /// Bytes that the node had in use beyond leases when it was ready and nobody had connected.
    pub baseline_bytes: u64,
    /// Memory that no lease covers: [`unattributed`].
    pub unattributed_bytes: u64,
    /// The pressure level in force.
    pub pressure: Level,
    /// Every stage, in the order a byte passes them.
    pub stages: Vec<StageUse>,
    /// Every holder, oldest first.
    pub holders: Vec<HolderUse>,
}

/// The leases of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageUse {
    /// The purpose.
    pub stage: Stage,
    /// Bytes leased for it.
    pub bytes: u64,
    /// Number of leases.
    pub leases: u64,
    /// Longest time of a lease in the stage; 0 if there is none.
    pub oldest_ms: u64,
}

/// The leases of one holder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HolderUse {
    /// Unique as long as the node runs, and rising.
    pub id: u64,
    /// Its label: usually the peer and calling AE title of an association.
    pub label: String,
    /// Time since it was opened.
    pub age_ms: u64,
    /// The sum of its leases.
    pub bytes: u64,
    /// Its leases, oldest first.
    pub leases: Vec<LeaseUse>,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseUse {
    /// Its stage.
    pub stage: Stage,
    /// Bytes that it pays for.
    pub bytes: u64,
    /// Time since it was taken.
    pub age_ms: u64,
    /// Time in its stage.
    pub in_stage_ms: u64,
    /// The location of its bytes.
    #[serde(rename = "place")]
    pub location: Location,
}

impl MemoryBudget {
    /// A snapshot of everything. Read `allocator` just before. The cost grows with the number of leases (about 50 bytes each), so this is for
    /// requests of operators; use [`Self::by_stage`] and [`Self::stages`] for periodic figures.
    pub fn snapshot(&self, allocator: AllocatorStatistics, baseline_bytes: u64, pressure: Level) -> MemorySnapshot {
        let mut stages = empty_stages();
        let holders: Vec<HolderUse> =
            self.accounts().iter().map(|account| HolderUse::of(account, &mut stages)).collect();
        let held_bytes: u64 = stages.iter().map(|stage| stage.bytes).sum();
        let unused_bytes = self.unused();
        MemorySnapshot {
            taken_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms),
            budget_bytes: self.limit(),
            held_bytes,
            unused_bytes,
            highest_bytes: self.highest(),
            allocator,
            baseline_bytes,
            unattributed_bytes: unattributed(&allocator, held_bytes.saturating_sub(unused_bytes), baseline_bytes),
            pressure,
            stages,
            holders,
        }
    }

    /// Every stage with its leases counted, without a list of them.
    pub fn stages(&self) -> Vec<StageUse> {
        let mut stages = empty_stages();
        for account in self.accounts() {
            let now = Instant::now();
            account.each_record(|record| stages[record.stage as usize].count(record, now));
        }
        stages
    }

    /// The label and the age of the oldest holder with a lease in `stage`.
    pub fn oldest_holder_in(&self, stage: Stage) -> Option<(String, Duration)> {
        self.accounts().iter().find_map(|account| {
            let mut holds = false;
            account.each_record(|record| holds |= record.stage == stage);
            holds.then(|| (account.label(), account.since().elapsed()))
        })
    }
}

/// Memory that no lease covers: what the program holds (allocated, and not in the caches of its threads) beyond the `leased_bytes` that
/// their holders have allocated and the `baseline_bytes`. 0 if that is more than it holds: a segment is leased before it is allocated.
pub fn unattributed(allocator: &AllocatorStatistics, leased_bytes: u64, baseline_bytes: u64) -> u64 {
    allocator.in_use().saturating_sub(leased_bytes).saturating_sub(baseline_bytes)
}

impl StageUse {
    fn count(&mut self, record: &Record, now: Instant) {
        self.bytes += record.bytes;
        self.leases += 1;
        self.oldest_ms = self.oldest_ms.max(ms(now.saturating_duration_since(record.entered)));
    }
}

impl HolderUse {
    fn of(account: &Account, stages: &mut [StageUse]) -> Self {
        let mut leases = Vec::new();
        let now = Instant::now();
        account.each_record(|record| {
            stages[record.stage as usize].count(record, now);
            leases.push(LeaseUse {
                stage: record.stage,
                bytes: record.bytes,
                age_ms: ms(now.saturating_duration_since(record.born)),
                in_stage_ms: ms(now.saturating_duration_since(record.entered)),
                location: record.location,
            });
        });
        Self {
            id: account.id(),
            label: account.label(),
            age_ms: ms(now.saturating_duration_since(account.since())),
            bytes: leases.iter().map(|lease| lease.bytes).sum(),
            leases,
        }
    }
}

fn empty_stages() -> Vec<StageUse> {
    Stage::ALL.map(|stage| StageUse { stage, bytes: 0, leases: 0, oldest_ms: 0 }).to_vec()
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_adds_up_and_survives_the_journey() {
        let budget = MemoryBudget::new(1000);
        let first = budget.open_account("CT1");
        let second = budget.open_account("MR7");
        let leases = [
            first.lease(Stage::Floor, 16).unwrap(),
            second.lease(Stage::Floor, 16).unwrap(),
            first.lease(Stage::Receiving, 200).unwrap(),
            first.lease(Stage::Receiving, 300).unwrap(),
        ];
        leases[2].enter_at(Stage::Writing, Location::Writer { index: 1 });
        let allocator = AllocatorStatistics { allocated: 2000, ..Default::default() };
        let taken = budget.snapshot(allocator, 1400, Level::Purge);

        assert_eq!((taken.budget_bytes, taken.held_bytes, taken.highest_bytes), (1000, 532, 532));
        assert_eq!(taken.unattributed_bytes, 2000 - 532 - 1400);
        let by_stage: Vec<_> = taken.stages.iter().map(|s| (s.stage.name(), s.bytes, s.leases)).collect();
        assert_eq!(
            by_stage,
            [
                ("floor", 32, 2),
                ("tls", 0, 0),
                ("negotiating", 0, 0),
                ("receiving", 300, 1),
                ("queued", 0, 0),
                ("writing", 200, 1),
                ("spooling", 0, 0),
                ("catalogue", 0, 0),
                ("commitment", 0, 0),
                ("delivery", 0, 0),
                ("admin", 0, 0)
            ]
        );
        let by_holder: Vec<_> = taken.holders.iter().map(|h| (h.label.as_str(), h.bytes, h.leases.len())).collect();
        assert_eq!(by_holder, [("CT1", 516, 3), ("MR7", 16, 1)]);
        assert_eq!(taken.holders[0].leases[1].location, Location::Writer { index: 1 });
        assert!(taken.taken_unix_ms > 1_700_000_000_000);

        let text = serde_json::to_string(&taken).unwrap();
        assert!(text.contains(r#""stage":"writing","bytes":200"#), "{text}");
        assert!(text.contains(r#""place":{"writer":{"index":1}}"#), "{text}");
        assert_eq!(serde_json::from_str::<MemorySnapshot>(&text).unwrap(), taken);
    }

    #[test]
    fn what_is_leased_and_not_yet_allocated_is_no_unattributed_memory() {
        let allocator = |allocated, cached| AllocatorStatistics { allocated, cached, ..Default::default() };
        assert_eq!(unattributed(&allocator(100, 0), 250, 30), 0);
        assert_eq!(unattributed(&allocator(100, 60), 20, 20), 0, "what threads have cached is not in use");
        assert_eq!(unattributed(&allocator(250, 60), 20, 20), 150);
    }

    #[test]
    fn the_short_form_agrees_with_the_long_one() {
        let budget = MemoryBudget::new(1000);
        let idle = budget.open_account("idle");
        let busy = budget.open_account("busy");
        assert_eq!(budget.oldest_holder_in(Stage::Queued), None);
        let lease = busy.lease(Stage::Queued, 7).unwrap();
        let counted = |stages: Vec<StageUse>| stages.iter().map(|s| (s.bytes, s.leases)).collect::<Vec<_>>();
        let taken = budget.snapshot(AllocatorStatistics::default(), 0, Level::Normal);
        assert_eq!(counted(budget.stages()), counted(taken.stages));
        assert_eq!(budget.oldest_holder_in(Stage::Queued).unwrap().0, "busy", "the older one holds nothing");
        assert_eq!(budget.oldest_holder_in(Stage::Floor), None);
        drop((lease, idle));
        assert_eq!(budget.oldest_holder_in(Stage::Queued), None);
    }

    #[test]
    fn it_can_be_taken_while_leases_come_and_go() {
        let budget = MemoryBudget::new(1 << 20);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let holder = budget.open_account("passing");
                        let lease = holder.lease(Stage::Receiving, 10).unwrap();
                        drop(holder);
                        lease.enter(Stage::Queued);
                    }
                });
            }
            for _ in 0..200 {
                let taken = budget.snapshot(AllocatorStatistics::default(), 0, Level::Normal);
                assert_eq!(taken.held_bytes, taken.holders.iter().map(|h| h.bytes).sum::<u64>());
                assert_eq!(taken.held_bytes, taken.stages.iter().map(|s| s.bytes).sum::<u64>());
            }
        });
        assert!(budget.snapshot(AllocatorStatistics::default(), 0, Level::Normal).holders.is_empty());
    }
}
