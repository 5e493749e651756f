//! File descriptors. Invariant: an open association always finds the descriptors that it needs. A connection that would take one of them is
//! closed.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::mailbox::MAX_PENDING_WRITES;
use rustix::process::{Resource, getrlimit};

/// Descriptors of a node besides associations and writers: listeners, surfaces, the log, connections being rejected.
const OTHERS: u64 = 32;
/// Descriptors of an association: two of its socket (see `threads`), and two for spooling.
pub const DESCRIPTORS_OF_ASSOCIATION: u64 = 4;

/// Most descriptors of the writers: a temp file and a directory for each instance of a batch, and a few in passing.
pub fn descriptors_of_writers(writers: usize, batch: usize) -> u64 {
    (writers + MAX_PENDING_WRITES) as u64 * (2 * batch as u64 + 4) + OTHERS
}

/// Whether the descriptors do not suffice for one more association, whose `socket` is the newest. Each of the `open` associations may
/// still need one for a spool file. `reserve` are kept for everything else, at most a quarter of the limit.
pub(crate) fn are_short(socket: BorrowedFd<'_>, open: usize, reserve: u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    // The kernel assigns the lowest free number, so all lower ones are in use.
    let used = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
    used + open as u64 + DESCRIPTORS_OF_ASSOCIATION + reserve.min(limit / 4) > limit
}
