//! Bounds and timers that no configuration key sets, with the reason for each. Tests that reach such a bound in a build with the feature
//! `test-faults` change it by the variable `TIDEGATE_TEST_<NAME>`; no other build reads one.

use std::time::Duration;

/// Longest DIMSE command set, in bytes. A C-STORE-RQ of the longest UIDs and AE titles has below 500 (PS3.7 §9.3.1).
pub const MAX_COMMAND_SET_BYTES: u32 = 4 << 10;

/// Audit records that wait for the spool: of transfers and operators, and as many of peers that come and go. Further ones are counted and
/// dropped: a disk that stays down would fill any queue.
pub const AUDIT_QUEUE: usize = 1024;

/// Time for the evidence of a transfer to reach the disk. After it, the transfer is acknowledged without: the instances are stored.
pub const AUDIT_PATIENCE: Duration = Duration::from_secs(2);

/// Time for a peer to accept what the node sends. A response has about 150 bytes: a peer that lets its receive buffer fill up
/// with them does not read.
pub fn send_timeout() -> Duration {
    Duration::from_millis(number("SEND_TIMEOUT_MS", 30_000))
}

/// Time for a peer to answer an association request of this node, or a request on the association. An archive that is busy may take most of a minute.
pub fn answer_timeout() -> Duration {
    Duration::from_millis(number("ANSWER_TIMEOUT_MS", 60_000))
}

/// Time after the first attempt to deliver an instance that a destination refused. It quadruples with each further attempt: five of them take most of
/// an hour, in which an archive that refuses everything by mistake is mended.
pub fn delivery_retry() -> Duration {
    Duration::from_millis(number("DELIVERY_RETRY_MS", 30_000))
}

/// Time for a destination to report its commitment. Then it is asked again for it, by another transaction; a report that comes later counts all the
/// same.
pub fn commit_within() -> Duration {
    Duration::from_millis(number("COMMIT_WITHIN_MS", 600_000))
}

/// Time before a destination is asked again for commitment, after it has not taken the request. It doubles up to ten minutes.
pub fn commit_retry() -> Duration {
    Duration::from_millis(number("COMMIT_RETRY_MS", 60_000))
}

/// Window over which a minimum rate is averaged. A TCP connection recovers from a lost packet within it, and `min_rate` says how
/// slow a peer may be.
pub fn min_rate_window() -> Duration {
    Duration::from_millis(number("MIN_RATE_WINDOW_MS", 60_000))
}

/// Hung threads at one time above which the node stops. Half of the default writers: a disk that hangs under all of them is not
/// mended by further threads.
pub fn max_hung_threads() -> usize {
    usize::try_from(number("MAX_HUNG_THREADS", 8)).unwrap_or(usize::MAX)
}

#[cfg(not(feature = "test-faults"))]
fn number(_name: &str, number: u64) -> u64 {
    number
}

#[cfg(feature = "test-faults")]
fn number(name: &str, number: u64) -> u64 {
    std::env::var(format!("TIDEGATE_TEST_{name}")).ok().and_then(|text| text.parse().ok()).unwrap_or(number)
}
