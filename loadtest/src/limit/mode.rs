//! How an instance becomes durable.

use clap::ValueEnum;

/// The state of an instance when the limit answers success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Nothing is written
    Discard,
    /// The file is written to the page cache and renamed, nothing is synced
    None,
    /// The file is written to the page cache; its data is synced before its rename, its directory after it
    PerFile,
    /// The file is written past the page cache (O_DIRECT) and renamed; one sync of file and directory each
    Direct,
    /// The instance is in a log: one direct write and one sync for all that wait; its file is written after the answer. What exceeds
    /// 64 KiB is written as in `direct`
    Log,
}

impl Mode {
    /// The meaning of success, for a table.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Discard => "nothing written",
            Self::None => "written to the page cache, nothing synced",
            Self::PerFile => "file and directory synced",
            Self::Direct => "file written past the page cache, file and directory synced",
            Self::Log => "synced in a log by group commit, or file and directory",
        }
    }

    pub(super) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::Log)
    }
}
