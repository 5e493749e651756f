//! How much room the filesystem has.

use crate::error::StoreError;
use crate::fs::{Handle, Inodes, Space};
use crate::root::Root;

/// Most inodes kept free: the directories of the batches in progress, the node's own files, and what an operator needs to make room.
const MAX_RESERVED_INODES: u64 = 1024;

/// On a filesystem with few inodes, this part of them is kept free instead.
const RESERVED_INODES_DIVISOR: u64 = 8;

pub(crate) fn of<H: Handle>(root: &Root<H>) -> Result<Space, StoreError> {
    root.dir.space().map_err(|error| root.failed("ask for the free space of", error))
}

/// Whether `bytes` more can be written with `free_bytes` free, of which `min_free_bytes` are reserved.
pub(crate) fn check(bytes: u64, free_bytes: u64, min_free_bytes: u64) -> Result<(), StoreError> {
    match free_bytes.checked_sub(bytes) {
        Some(left) if left >= min_free_bytes => Ok(()),
        None if min_free_bytes == 0 => Err(StoreError::DiskFull),
        _ => Err(StoreError::BelowMinFree { bytes, free_bytes, min_free_bytes }),
    }
}

impl Inodes {
    /// How many are kept free.
    pub fn reserved(&self) -> u64 {
        MAX_RESERVED_INODES.min(self.total / RESERVED_INODES_DIVISOR)
    }
}

impl Space {
    /// Whether one more file can be made.
    pub(crate) fn check_inodes(&self) -> Result<(), StoreError> {
        match self.inodes {
            Some(inodes) if inodes.free <= inodes.reserved() => {
                Err(StoreError::BelowMinInodes { free: inodes.free, reserved: inodes.reserved() })
            }
            _ => Ok(()),
        }
    }

    /// What is left after one more file of `bytes`.
    pub(crate) fn less(mut self, bytes: u64) -> Self {
        self.free_bytes = self.free_bytes.saturating_sub(bytes);
        if let Some(inodes) = &mut self.inodes {
            inodes.free = inodes.free.saturating_sub(1);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_above_the_minimum_fits_and_the_next_does_not() {
        assert!(check(10, 110, 100).is_ok());
        assert!(matches!(
            check(11, 110, 100),
            Err(StoreError::BelowMinFree { bytes: 11, free_bytes: 110, min_free_bytes: 100 })
        ));
        assert!(matches!(check(0, 99, 100), Err(StoreError::BelowMinFree { .. })));
        assert!(check(110, 110, 0).is_ok());
        assert!(matches!(check(111, 110, 0), Err(StoreError::DiskFull)));
        assert!(check(u64::MAX, u64::MAX - 1, u64::MAX).is_err());
    }

    #[test]
    fn the_last_inode_above_the_reserve_is_given_and_a_filesystem_that_counts_none_is_not_full() {
        let space = |inodes| Space { free_bytes: 1 << 30, size_bytes: 1 << 30, inodes };
        let of = |free, total| space(Some(Inodes { free, total }));
        for (total, reserved) in [(1 << 30, 1024), (800, 100), (8, 1), (1, 0)] {
            assert!(of(reserved + 1, total).check_inodes().is_ok(), "{total}");
            let refused = of(reserved + 1, total).less(5).check_inodes();
            assert!(
                matches!(refused, Err(StoreError::BelowMinInodes { free, reserved: kept }) if free == kept),
                "{total}"
            );
            assert!(of(0, total).less(5).check_inodes().is_err(), "{total}");
        }
        assert!(space(None).less(5).check_inodes().is_ok());
        assert_eq!(space(None).less(5).free_bytes, (1 << 30) - 5);
    }
}
