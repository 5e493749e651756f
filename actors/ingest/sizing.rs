//! How large the memory is that a dataset is received into.

use tidegate_memory::pressure::Level;

/// Bytes of the segment that a source can always count on.
pub(crate) const FLOOR_SEGMENT: usize = 16 * 1024;
/// Leased segments begin with this size and double up to [`LARGEST_SEGMENT`], or [`BULK_SEGMENT`].
pub(crate) const FIRST_SEGMENT: usize = 64 * 1024;
/// Big enough that a read costs little per byte, small enough that a dataset does not pin much more than itself.
pub(crate) const LARGEST_SEGMENT: usize = 256 * 1024;
/// The same for a dataset that goes to the spool as it comes and holds few of them: fewer and longer reads, a tenth less work.
pub(crate) const BULK_SEGMENT: usize = 1024 * 1024;

/// Bytes that come with those of a dataset, at most as a rule: its command set, and headers of PDUs.
const MESSAGE_SLACK: usize = 2 * 1024;

/// What a pressure level leaves of `bytes` that are wanted for receiving; `None`: nothing may be held that can go to the spool.
pub(super) fn under_pressure(level: Level, bytes: usize) -> Option<usize> {
    match level {
        Level::Normal | Level::Purge => Some(bytes),
        Level::Shrink => Some(FIRST_SEGMENT),
        Level::Spool | Level::PauseAccept | Level::Abort => None,
    }
}

/// The smallest segment that holds the rest of a dataset of `typical` bytes of which `received` have come: a larger one would be held in
/// vain until the dataset is stored.
pub(super) fn segment_for(typical: u64, received: u64) -> usize {
    match typical.checked_sub(received) {
        Some(rest) => (rest as usize + MESSAGE_SLACK).next_power_of_two().clamp(FIRST_SEGMENT, LARGEST_SEGMENT),
        None => LARGEST_SEGMENT,
    }
}

/// Bytes of a block that holds `rest`, or as much of it as leaves no more than a quarter of the block empty: a power of two, which is
/// what the allocator has without a loss.
pub(super) fn block_for(rest: u64) -> usize {
    let whole = rest.clamp(FIRST_SEGMENT as u64, BULK_SEGMENT as u64).next_power_of_two();
    let is_filled = rest >= whole - whole / 4;
    (if is_filled { whole } else { whole / 2 }).max(FIRST_SEGMENT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_filled_or_as_small_as_there_are() {
        const KIB: u64 = 1024;
        for (rest, block) in [
            (1, 64),
            (64, 64),
            (65, 64),
            (96, 128),
            (257, 256),
            (300, 256),
            (400, 512),
            (512, 512),
            (513, 512),
            (700, 512),
        ] {
            assert_eq!(block_for(rest * KIB), block * 1024, "{rest} KiB");
        }
        assert_eq!(block_for(u64::MAX), BULK_SEGMENT);
        assert_eq!(block_for(0), FIRST_SEGMENT);
    }

    #[test]
    fn a_segment_holds_the_rest_of_a_typical_dataset_and_the_largest_one_a_dataset_beyond_it() {
        const KIB: u64 = 1024;
        assert_eq!(segment_for(0, 0), FIRST_SEGMENT);
        assert_eq!(segment_for(100 * KIB, 0), 128 * 1024);
        assert_eq!(segment_for(100 * KIB, 60 * KIB), FIRST_SEGMENT);
        assert_eq!(segment_for(100 * KIB, 101 * KIB), LARGEST_SEGMENT);
        assert_eq!(segment_for(u64::from(u32::MAX), 0), LARGEST_SEGMENT);
    }

    #[test]
    fn pressure_makes_segments_small_and_then_leaves_none() {
        assert_eq!(under_pressure(Level::Purge, LARGEST_SEGMENT), Some(LARGEST_SEGMENT));
        assert_eq!(under_pressure(Level::Shrink, LARGEST_SEGMENT), Some(FIRST_SEGMENT));
        assert_eq!(under_pressure(Level::Spool, LARGEST_SEGMENT), None);
    }
}
