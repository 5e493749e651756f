//! The allocator's figures for a whole process. The test has a process of its own, so no other test allocates beside it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread::sleep;
use std::time::Duration;

use tidegate_memory::allocator::{AllocatorProbe, purge};

const MIB: u64 = 1 << 20;

#[test]
fn statistics_follow_what_is_held_and_a_purge_gives_it_back() {
    let probe = AllocatorProbe::new().unwrap();
    let before = probe.read().unwrap();
    // Small enough to be kept for reuse after they are freed, many enough to be seen.
    let held: Vec<_> = (0..512).map(|_| vec![1_u8; 256 << 10]).collect();
    let full = probe.read().unwrap();
    assert!(full.allocated >= before.allocated + 120 * MIB, "{before:?} then {full:?}");
    assert!(full.resident >= full.active && full.active >= full.allocated);
    drop(held);
    // The background thread may hold the same pages in its hands at this moment.
    let mut purged = full;
    for _ in 0..100 {
        purge().unwrap();
        purged = probe.read().unwrap();
        if purged.resident + 100 * MIB < full.resident {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    assert!(purged.resident + 100 * MIB < full.resident, "{full:?} then {purged:?}");
}
