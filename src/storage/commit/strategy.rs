//! By what syncs an instance is to become durable.

use crate::instance::SMALL_MAX_BYTES;
use crate::settings::{CommitStrategy, Durability};
use crate::wal::SEGMENT_BYTES;

/// Largest instance that goes through the log, where the strategy is left to us. Measured: `docs/performance.md`.
const LOG_MAX_BYTES: u64 = SMALL_MAX_BYTES;

/// The same while nothing else is being stored: there is bandwidth to write it twice, and what is felt is the one flush that
/// is waited for instead of several.
const LOG_ALONE_MAX_BYTES: u64 = 1024 * 1024;

/// Largest instance that goes through the log at all.
const LOG_LIMIT_BYTES: u64 = SEGMENT_BYTES / 16;

/// What is done for one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Nothing is synced.
    Unsynced,
    /// Its data before its rename, its directory after it.
    PerFile,
    /// The filesystem before the renames of all that wait, their directories after them.
    Shared,
    /// The log before its rename.
    Log,
}

impl Strategy {
    /// For an instance of `bytes` in memory, while `in_commit` instances are being stored.
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
            (Durability::Fsync, CommitStrategy::Shared) => Self::Shared,
            (Durability::Fsync, _) => Self::PerFile,
        }
    }

    /// Whether the name of a file must be synced for it to last.
    pub(super) fn syncs_names(self) -> bool {
        matches!(self, Self::PerFile | Self::Shared)
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
