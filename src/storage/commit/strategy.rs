//! The sync strategy of an instance: by which syncs it becomes durable.

use crate::instance::SMALL_MAX_BYTES;
use crate::settings::{CommitStrategy, Durability};
use crate::wal::SEGMENT_BYTES;

/// Largest instance that goes through the log if the settings leave the choice to the store. Measured: `docs/performance.md`.
const LOG_MAX_BYTES: u64 = SMALL_MAX_BYTES;

/// The same limit while no other instance is in commit. The disk then has bandwidth to write the instance twice, and one flush has a
/// lower latency than several.
const LOG_ALONE_MAX_BYTES: u64 = 1024 * 1024;

/// Largest instance that goes through the log at all.
const LOG_LIMIT_BYTES: u64 = SEGMENT_BYTES / 16;

/// The syncs of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Nothing is synced.
    Unsynced,
    /// Sync the data before the rename, the directory after it.
    PerFile,
    /// Sync the log before the rename.
    Log,
}

impl Strategy {
    /// The strategy for an instance of `bytes` in memory, while `in_commit` instances are in commit.
    pub(super) fn choose(
        durability: Durability,
        wish: CommitStrategy,
        has_log: bool,
        bytes: u64,
        in_commit: usize,
    ) -> Self {
        let worth_logging = if in_commit > 1 { LOG_MAX_BYTES } else { LOG_ALONE_MAX_BYTES };
        match (durability, wish) {
            (Durability::None, _) => Self::Unsynced,
            (Durability::Fsync, CommitStrategy::Adaptive) if has_log && bytes <= worth_logging => Self::Log,
            (Durability::Fsync, CommitStrategy::Log) if has_log && bytes <= LOG_LIMIT_BYTES => Self::Log,
            (Durability::Fsync, _) => Self::PerFile,
        }
    }

    /// Whether the name of a file must be synced to be durable.
    pub(super) fn syncs_names(self) -> bool {
        self == Self::PerFile
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn left_to_us_it_goes_by_size_and_by_what_else_is_being_stored() {
        let adaptive =
            |bytes, in_commit| Strategy::choose(Durability::Fsync, CommitStrategy::Adaptive, true, bytes, in_commit);
        assert_eq!(adaptive(LOG_MAX_BYTES, 8), Strategy::Log);
        assert_eq!(adaptive(LOG_MAX_BYTES + 1, 8), Strategy::PerFile);
        assert_eq!(adaptive(LOG_ALONE_MAX_BYTES, 1), Strategy::Log);
        assert_eq!(adaptive(LOG_ALONE_MAX_BYTES + 1, 1), Strategy::PerFile);
        assert_eq!(Strategy::choose(Durability::Fsync, CommitStrategy::Adaptive, false, 1, 1), Strategy::PerFile);
        assert_eq!(Strategy::choose(Durability::None, CommitStrategy::Log, true, 1, 1), Strategy::Unsynced);
    }
}
