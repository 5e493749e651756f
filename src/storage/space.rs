//! How much room the filesystem has.

use crate::error::StoreError;
use crate::fs::{Handle, Space};
use crate::root::Root;

pub(crate) fn of<H: Handle>(root: &Root<H>) -> Result<Space, StoreError> {
    root.dir.space().map_err(|error| root.failed("ask for the free space of", error))
}

/// Whether `bytes` more can be written with `free_bytes` free, of which `min_free_bytes` are reserved.
pub(crate) fn check(bytes: u64, free_bytes: u64, min_free_bytes: u64) -> Result<(), StoreError> {
    match free_bytes.checked_sub(bytes) {
        Some(left) if left >= min_free_bytes => Ok(()),
        None if min_free_bytes == 0 => Err(StoreError::DiskFull),
        _ => Err(StoreError::BelowMinFree { free_bytes, min_free_bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_above_the_minimum_fits_and_the_next_does_not() {
        assert!(check(10, 110, 100).is_ok());
        assert!(matches!(check(11, 110, 100), Err(StoreError::BelowMinFree { free_bytes: 110, min_free_bytes: 100 })));
        assert!(matches!(check(0, 99, 100), Err(StoreError::BelowMinFree { .. })));
        assert!(check(110, 110, 0).is_ok());
        assert!(matches!(check(111, 110, 0), Err(StoreError::DiskFull)));
        assert!(check(u64::MAX, u64::MAX - 1, u64::MAX).is_err());
    }
}
