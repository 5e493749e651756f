//! The memory that a connection reads into: the floor segment, which is always granted, and leased segments beyond it.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tidegate_memory::{BudgetExhausted, Holder, MemoryLease, Stage};

use crate::ingest::sizing::{BULK_SEGMENT, FIRST_SEGMENT, FLOOR_SEGMENT};
use crate::network::transport::Transport;

/// The rest of a segment is used for reads only from this length on.
const SMALLEST_READ: usize = 2 * 1024;

/// Bytes are read into the segment in use, and split off as slices. A segment lives as long as any of its slices.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// The unparsed bytes, and the room behind them.
    segment: BytesMut,
    /// Size of the segment in use, in bytes.
    size: usize,
    /// Whether there is no segment. A capacity of 0 does not imply that: a segment can be split off to its last byte.
    parked: bool,
    /// Pays for the segment in use. The floor lease, taken at admission, pays for the floor segment.
    lease: Option<Arc<MemoryLease>>,
    /// The floor segment, while a leased segment is in use.
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

    /// Reads at most `most` bytes; a parked buffer waits without a segment. 0: the peer has closed the connection.
    pub(crate) async fn read_from(&mut self, transport: &mut Transport, most: usize) -> std::io::Result<usize> {
        if self.parked {
            transport.readable().await?;
            self.segment = BytesMut::with_capacity(FLOOR_SEGMENT);
            self.parked = false;
        }
        transport.read_buf(&mut (&mut self.segment).limit(most)).await
    }

    /// Whether there is no segment. Most associations wait for their peer most of the time, and then need none.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }

    /// Returns an empty floor segment to the allocator until bytes arrive.
    pub(crate) fn park(&mut self) {
        // A slice elsewhere keeps the segment alive, and the floor lease does not pay for a second one.
        if self.lease.is_none() && self.segment.is_empty() && self.segment.try_reclaim(FLOOR_SEGMENT) {
            self.segment = BytesMut::new();
            self.parked = true;
        }
    }

    /// The unparsed bytes. A read appends to them, never past the capacity: see [`Self::has_room`].
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.segment
    }

    /// The lease that each slice of the segment in use must keep.
    pub(crate) fn lease(&self) -> Option<&Arc<MemoryLease>> {
        self.lease.as_ref()
    }

    /// Whether the segment in use has room for `needed` contiguous bytes in all, if necessary after the unparsed bytes are moved to its
    /// front.
    pub(crate) fn has_room(&mut self, needed: usize) -> bool {
        if self.parked {
            return needed <= FLOOR_SEGMENT;
        }
        if self.segment.is_empty() && self.segment.capacity() < self.size {
            let _ = self.segment.try_reclaim(self.size); // succeeds only if no slice is left; otherwise nothing changes
        }
        let missing = needed.saturating_sub(self.segment.len()).max(SMALLEST_READ);
        self.segment.capacity() - self.segment.len() >= missing || self.segment.try_reclaim(missing)
    }

    /// Continues in a new leased segment of at least `needed` bytes, and of at most `largest` unless more is needed.
    pub(crate) fn grow(&mut self, holder: &Holder, needed: usize, largest: usize) -> Result<(), BudgetExhausted> {
        if self.parked {
            self.segment = BytesMut::with_capacity(FLOOR_SEGMENT);
            self.parked = false;
        }
        let usual = self.next_size.min(largest);
        let size = usual.max(needed.next_power_of_two());
        let lease = holder.lease(Stage::Receiving, size as u64)?;
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

    /// Returns to the floor segment, if its slices are gone and it holds `needed` bytes.
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
    fn an_exhausted_budget_leaves_the_buffer_as_it_was() {
        let budget = MemoryBudget::new(10);
        let holder = budget.open_account("test");
        let mut buffer = in_use();
        read(&mut buffer, 10);
        assert!(buffer.grow(&holder, 1, LARGEST_SEGMENT).is_err());
        assert_eq!(&buffer.bytes()[..], [7; 10]);
        assert!(buffer.shrink(1));
    }
}
