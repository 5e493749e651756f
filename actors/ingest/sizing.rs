//! Sizes of receive segments and blocks.

use tidegate_memory::pressure::Level;

/// Bytes of the floor segment, which a source always has.
pub(crate) const FLOOR_SEGMENT: usize = 16 * 1024;
/// First size of a leased segment. Later ones double, up to [`LARGEST_SEGMENT`] or [`BULK_SEGMENT`].
pub(crate) const FIRST_SEGMENT: usize = 64 * 1024;
/// Large enough for a low cost per byte, small enough that a dataset pins little more than itself.
pub(crate) const LARGEST_SEGMENT: usize = 256 * 1024;
/// Largest segment of a dataset that is being spooled and holds few segments: fewer and longer reads, a tenth less CPU time.
pub(crate) const BULK_SEGMENT: usize = 1024 * 1024;

/// Usual maximum of the bytes around a dataset: its command set, and PDU headers.
const MESSAGE_SLACK: usize = 2 * 1024;

/// The share of the held bytes that goes to the spool file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpoolExtent {
    /// Every byte, to free the memory.
    Everything,
    /// Of a contiguous dataset its complete blocks; every byte of another. The block in use stays for the next direct reads.
    WholeParts,
}

/// The share of `bytes` that a pressure level permits for receiving; `None`: everything that can be spooled must be.
pub(super) fn under_pressure(level: Level, bytes: usize) -> Option<usize> {
    match level {
        Level::Normal | Level::Purge => Some(bytes),
        Level::Shrink => Some(FIRST_SEGMENT),
        Level::Spool | Level::PauseAccept | Level::Abort => None,
    }
}

/// The smallest segment that holds the rest of a dataset of `typical` bytes after `received`. A larger one would pin unused memory until the
/// dataset is stored.
pub(super) fn segment_for(typical: u64, received: u64) -> usize {
    match typical.checked_sub(received) {
        Some(rest) => (rest as usize + MESSAGE_SLACK).next_power_of_two().clamp(FIRST_SEGMENT, LARGEST_SEGMENT),
        None => LARGEST_SEGMENT,
    }
}

/// Size of a block for `rest`, or for as much of it as leaves at most a quarter of the block empty. A power of two, which the allocator serves
/// without waste.
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
