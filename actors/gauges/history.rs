//! The last ten minutes, a point a second, so that a view opened after an event still shows it.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;
use tidegate_memory::{Level, StageBytes};

/// Points kept: ten minutes.
pub const POINTS: usize = 600;

/// One second of the node.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The end of the second.
    pub at: SystemTime,
    /// Its length in milliseconds: longer when the machine was busy.
    pub length_ms: u64,
    /// The budget at the end of the second.
    pub budget_bytes: u64,
    /// Leased bytes by stage, at the moment of the second's peak.
    pub leased: StageBytes,
    /// Resident memory, as the host sees it.
    pub resident_bytes: u64,
    /// Bytes that the program had allocated.
    pub allocated_bytes: u64,
    /// The pressure level.
    pub pressure: Level,
    /// Associations open.
    pub associations: usize,
    /// The most datasets seen waiting for a writer.
    pub mailbox_depth: usize,
    /// Writers with jobs in flight.
    pub writers_busy: u64,
    /// Bytes read from connections.
    pub received_bytes: u64,
    /// Instances acknowledged.
    pub acknowledged: u64,
    /// Bytes of their datasets.
    pub acknowledged_bytes: u64,
    /// Instances refused.
    pub refused: u64,
    /// Median and 99th percentile, in microseconds, of the time from the last byte to the response. `None`: no instance was answered.
    pub response_us: Option<(u64, u64)>,
    /// The same of commits.
    pub commit_us: Option<(u64, u64)>,
}

/// The points, oldest first. Their memory is taken once.
#[derive(Debug)]
pub(crate) struct History(Mutex<VecDeque<Point>>);

impl History {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(POINTS)))
    }

    pub(crate) fn push(&self, point: Point) {
        let mut points = self.0.lock();
        if points.len() == POINTS {
            points.pop_front();
        }
        points.push_back(point);
    }

    /// The last `count` points.
    pub(crate) fn last(&self, count: usize) -> Vec<Point> {
        let points = self.0.lock();
        points.range(points.len().saturating_sub(count)..).copied().collect()
    }
}
