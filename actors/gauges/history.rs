//! The last ten minutes, a point a second, so that whoever opens a view after something has happened still sees it happen.

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
    /// The budget then.
    pub budget_bytes: u64,
    /// What leases held, by stage, when they held most.
    pub leased: StageBytes,
    /// What the host saw.
    pub resident_bytes: u64,
    /// What the program had.
    pub allocated_bytes: u64,
    /// How short memory was.
    pub pressure: Level,
    /// Associations open.
    pub associations: usize,
    /// The most datasets seen waiting for a writer.
    pub mailbox_depth: usize,
    /// Writers with work in hand.
    pub writers_busy: u64,
    /// Bytes read from connections.
    pub received_bytes: u64,
    /// Instances acknowledged.
    pub acknowledged: u64,
    /// Bytes of their datasets.
    pub acknowledged_bytes: u64,
    /// Instances answered with anything but success.
    pub refused: u64,
    /// What senders waited from the last byte to the answer, in microseconds: the median, and what 99 in 100 stayed below.
    /// `None` if nobody was answered.
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
