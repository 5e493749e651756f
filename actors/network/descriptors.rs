//! File descriptors: who is in gets those he needs. A connection that would take one of them is turned away.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::mailbox::MAX_PENDING_WRITES;
use rustix::process::{Resource, getrlimit};

/// What a node needs beside its associations and writers: listeners, surfaces, its log, connections being turned away.
const OTHERS: u64 = 32;
/// An association has its socket twice (see `threads`), and may have a spool file, for which another is kept beside it.
pub const DESCRIPTORS_OF_ASSOCIATION: u64 = 4;

/// What the writers need at most: a temp file and a directory for each instance of a batch, and some on the way.
pub fn descriptors_of_writers(writers: usize, batch: usize) -> u64 {
    (writers + MAX_PENDING_WRITES) as u64 * (2 * batch as u64 + 4) + OTHERS
}

/// Whether there are too few descriptors for one more association, of which `socket` is the newest descriptor there is. `open`
/// associations may yet want a spool file each, and `reserve` descriptors are kept for all else, but a quarter at most.
pub(crate) fn are_short(socket: BorrowedFd<'_>, open: usize, reserve: u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return false };
    // The kernel gives the lowest number that is free: all below are in use.
    let used = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
    used + open as u64 + DESCRIPTORS_OF_ASSOCIATION + reserve.min(limit / 4) > limit
}
