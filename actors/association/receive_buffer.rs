//! The memory a connection reads into: a floor that is always there, and leased segments beyond it.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tidegate_memory::{BudgetSpent, Holder, MemoryLease, Stage};

use crate::ingest::sizing::{BULK_SEGMENT, FIRST_SEGMENT, FLOOR_SEGMENT};
use crate::network::transport::Transport;

/// A rest of a segment shorter than this is not read into.
const SMALLEST_READ: usize = 2 * 1024;

/// Bytes are read into the segment in use and split off it as slices; a segment lives as long as any slice of it.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// What is read but not parsed, and the room behind it.
    segment: BytesMut,
    /// What the segment in use was made with, in bytes.
    size: usize,
    /// Whether there is no segment. A capacity of 0 does not tell: what is read into a segment is split off it, to the last byte.
    parked: bool,
    /// Pays for the segment in use; the floor is paid for from admission on.
    lease: Option<Arc<MemoryLease>>,
    /// The floor, while a leased segment is in use.
    floor: BytesMut,
    next_size: usize,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self {
            segment: BytesMut::new(),
            size: FLOOR_SEGMENT,
            parked: true,
            lease: None,
            floor: BytesMut::new(),
            next_size: FIRST_SEGMENT,
        }
    }

    /// Reads what the peer has sent, `most` bytes at the most; waits for it without a segment if there is none. 0: the peer has
    /// closed.
    pub(crate) async fn read_from(&mut self, transport: &mut Transport, most: usize) -> std::io::Result<usize> {
        if self.parked {
            transport.readable().await?;
            self.segment = BytesMut::with_capacity(FLOOR_SEGMENT);
            self.parked = false;
        }
        transport.read_buf(&mut (&mut self.segment).limit(most)).await
    }

    /// Whether there is no segment at all: most associations of most nodes wait for their peer most of the time.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }

    /// Gives the floor back to the allocator until something arrives, if nothing is in it.
    pub(crate) fn park(&mut self) {
        // Whoever still holds a slice of it keeps it alive: a second floor beside it is not paid for.
        if self.lease.is_none() && self.segment.is_empty() && self.segment.try_reclaim(FLOOR_SEGMENT) {
            self.segment = BytesMut::new();
            self.parked = true;
        }
    }

    /// Bytes read but not parsed. Reading appends to it: never past its capacity, see [`Self::has_room`].
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.segment
    }

    /// The lease that a slice of the segment in use has to keep.
    pub(crate) fn lease(&self) -> Option<&Arc<MemoryLease>> {
        self.lease.as_ref()
    }

    /// Whether a read makes sense: the segment in use has room, if need be after moving the unparsed bytes to its front,
    /// for `needed` contiguous bytes in all.
    pub(crate) fn has_room(&mut self, needed: usize) -> bool {
        if self.parked {
            return needed <= FLOOR_SEGMENT;
        }
        if self.segment.is_empty() && self.segment.capacity() < self.size {
            let _ = self.segment.try_reclaim(self.size); // only if no slice is left; no harm if there is
        }
        let missing = needed.saturating_sub(self.segment.len()).max(SMALLEST_READ);
        self.segment.capacity() - self.segment.len() >= missing || self.segment.try_reclaim(missing)
    }

    /// Goes on in a new segment that holds at least `needed` bytes, and no more than `largest` beyond need.
    pub(crate) fn grow(&mut self, holder: &Holder, needed: usize, largest: usize) -> Result<(), BudgetSpent> {
        if self.parked {
            self.segment = BytesMut::with_capacity(FLOOR_SEGMENT);
            self.parked = false;
        }
        let usual = self.next_size.min(largest);
        let size = usual.max(needed.next_power_of_two());
        // Only an A-ASSOCIATE-RQ needs more contiguous bytes than a segment usually has.
        let stage = if size == usual { Stage::Receiving } else { Stage::Negotiating };
        let lease = holder.lease(stage, size as u64)?;
        let mut segment = BytesMut::with_capacity(size);
        segment.extend_from_slice(&self.segment);
        let before = std::mem::replace(&mut self.segment, segment);
        if self.lease.replace(Arc::new(lease)).is_none() {
            self.floor = before;
        }
        self.size = size;
        self.next_size = (usual * 2).min(BULK_SEGMENT);
        Ok(())
    }

    /// Goes back to the floor, if its slices are gone and it holds `needed` bytes.
    pub(crate) fn shrink(&mut self, needed: usize) -> bool {
        if self.lease.is_none() {
            return self.has_room(needed);
        }
        self.floor.clear();
        let unparsed = self.segment.len();
        if unparsed.max(needed) > FLOOR_SEGMENT - SMALLEST_READ || !self.floor.try_reclaim(FLOOR_SEGMENT) {
            return false;
        }
        self.floor.extend_from_slice(&self.segment);
        self.segment = std::mem::take(&mut self.floor);
        self.size = FLOOR_SEGMENT;
        self.lease = None;
        self.next_size = FIRST_SEGMENT;
        true
    }
}

#[cfg(test)]
mod tests {
    use tidegate_memory::MemoryBudget;

    use super::*;
    use crate::ingest::sizing::LARGEST_SEGMENT;

    /// A buffer that has been read into.
    fn in_use() -> ReceiveBuffer {
        ReceiveBuffer { segment: BytesMut::with_capacity(FLOOR_SEGMENT), parked: false, ..ReceiveBuffer::new() }
    }

    #[test]
    fn a_quiet_association_has_no_segment_unless_a_slice_of_it_is_held() {
        let mut buffer = ReceiveBuffer::new();
        assert!(buffer.is_parked() && buffer.has_room(FLOOR_SEGMENT));
        let mut buffer = in_use();
        read(&mut buffer, 100);
        buffer.park();
        assert!(!buffer.is_parked(), "something is in it");
        let slice = buffer.bytes().split_to(100).freeze();
        buffer.park();
        assert!(!buffer.is_parked(), "the slice holds on to it");
        let room = buffer.segment.capacity() - buffer.segment.len();
        read(&mut buffer, room);
        let rest = buffer.bytes().split().freeze();
        assert!(!buffer.is_parked() && !buffer.has_room(1), "all of it is in slices");
        drop((slice, rest));
        assert!(buffer.has_room(1));
        buffer.park();
        assert!(buffer.is_parked());
    }

    fn read(buffer: &mut ReceiveBuffer, bytes: usize) {
        let capacity = buffer.bytes().capacity();
        buffer.bytes().extend_from_slice(&vec![7; bytes]);
        assert_eq!(buffer.bytes().capacity(), capacity, "read past the room");
    }

    #[test]
    fn slices_pin_their_segment_and_its_lease() {
        let budget = MemoryBudget::new(1 << 20);
        let holder = budget.open_account("test");
        let mut buffer = in_use();
        assert!(buffer.has_room(1));
        read(&mut buffer, FLOOR_SEGMENT);
        let slice = buffer.bytes().split_to(FLOOR_SEGMENT).freeze();
        assert!(!buffer.has_room(1), "the slice pins the floor");
        buffer.grow(&holder, 1, LARGEST_SEGMENT).unwrap();
        assert_eq!(budget.held(), FIRST_SEGMENT as u64);
        assert!(!buffer.shrink(1), "the floor is still pinned");
        drop(slice);
        read(&mut buffer, 100);
        let lease = buffer.lease().cloned();
        let slice = buffer.bytes().split_to(60).freeze();
        assert!(buffer.shrink(1));
        assert_eq!(buffer.bytes().len(), 40, "unparsed bytes move along");
        assert_eq!(budget.held(), FIRST_SEGMENT as u64, "the slice holds on");
        drop((slice, lease));
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_segment_is_used_again_when_its_slices_are_gone() {
        let mut buffer = in_use();
        for _ in 0..100 {
            assert!(buffer.has_room(1));
            let room = buffer.bytes().capacity();
            assert_eq!(room, FLOOR_SEGMENT);
            read(&mut buffer, room);
            drop(buffer.bytes().split_to(room).freeze());
        }
    }

    #[test]
    fn a_spent_budget_leaves_the_buffer_as_it_was() {
        let budget = MemoryBudget::new(10);
        let holder = budget.open_account("test");
        let mut buffer = in_use();
        read(&mut buffer, 10);
        assert!(buffer.grow(&holder, 1, LARGEST_SEGMENT).is_err());
        assert_eq!(&buffer.bytes()[..], [7; 10]);
        assert!(buffer.shrink(1));
    }
}
