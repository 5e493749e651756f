//! What to do about a file.

use super::disk::Seen;
use crate::batch::Known;
use crate::record::State;

/// How much is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Directories that have changed since they were last compared.
    Changed,
    /// All directories.
    All,
    /// All directories, and every file is read.
    Read,
}

/// Between the time of a file and that of its record, at most: they are taken by two clocks, of which the kernel's is coarse.
const CLOCK_MARGIN_NS: i64 = 2_000_000_000;

/// Whether the file has to be read: it is not known, or is not the one that is known.
pub(crate) fn must_read(seen: &Seen, known: Option<&Known>, depth: Depth) -> bool {
    let Some(known) = known.filter(|known| known.state == State::Present) else { return true };
    if depth == Depth::Read || known.bytes != seen.bytes {
        return true;
    }
    match (seen.digest, known.digest, known.modified_ns) {
        (Some(seen), known, _) => known != Some(seen),
        (_, _, Some(modified_ns)) => seen.modified_ns != modified_ns,
        // The record was made when the file was stored: the file is older.
        (_, _, None) => seen.modified_ns > known.received_ms.saturating_mul(1_000_000).saturating_add(CLOCK_MARGIN_NS),
    }
}

/// The stamp that a directory may keep: a later change must give it another. The kernel's clock is coarse, so a change that follows a listing
/// at once may not, and a stamp in the future is of a clock that was set back.
pub(crate) fn lasting_stamp(stamp_ns: i64, now_ns: i64) -> Option<i64> {
    (stamp_ns.saturating_add(CLOCK_MARGIN_NS) < now_ns).then_some(stamp_ns)
}
