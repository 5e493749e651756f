//! Memory for direct writes, which must begin on a page.

/// A page of memory, and the unit of direct writes.
pub(super) const PAGE_BYTES: usize = 4096;
/// Bytes of an instance that a connection holds; larger instances are written in parts of this size.
pub(super) const BUFFER_BYTES: usize = 2 << 20;

/// Bytes that begin on a page of memory.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    filled: usize,
}

impl Buffer {
    /// An empty buffer for `capacity` bytes, a multiple of a page.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let bytes = vec![0; capacity + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { bytes, start, filled: 0 }
    }

    /// Forgets the content.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// The room behind the content; the last page of the allocation is spare.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let end = self.start + self.bytes.len() - PAGE_BYTES;
        self.bytes.get_mut(self.start + self.filled..end).unwrap_or_default()
    }

    /// So many bytes of the room are content now.
    pub(super) fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// Appends `content`, which must fit.
    pub(super) fn extend(&mut self, content: &[u8]) {
        if let Some(room) = self.room().get_mut(..content.len()) {
            room.copy_from_slice(content);
            self.filled += content.len();
        }
    }

    pub(super) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.start + self.filled).unwrap_or_default()
    }

    /// The content and what follows it up to the end of its last page.
    pub(super) fn pages(&self) -> &[u8] {
        let end = self.start + self.filled.next_multiple_of(PAGE_BYTES);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// The content's whole pages, and the rest.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        let filled = self.filled();
        filled.split_at(filled.len() - filled.len() % PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_begins_on_a_page_and_the_room_ends_with_the_capacity() {
        let mut buffer = Buffer::with_capacity(2 * PAGE_BYTES);
        assert_eq!(buffer.room().len(), 2 * PAGE_BYTES);
        buffer.extend(&[7; PAGE_BYTES + 3]);
        assert_eq!(buffer.filled().as_ptr().align_offset(PAGE_BYTES), 0);
        assert_eq!((buffer.room().len(), buffer.pages().len()), (PAGE_BYTES - 3, 2 * PAGE_BYTES));
        let (whole, rest) = buffer.split();
        assert_eq!((whole.len(), rest), (PAGE_BYTES, &[7; 3][..]));
        buffer.clear();
        assert!(buffer.filled().is_empty() && buffer.pages().is_empty());
    }
}
