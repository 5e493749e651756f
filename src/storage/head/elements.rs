//! The elements of a dataset as the head and the whole of it need them: both are fed the same bytes.

use super::element::Encoding;
use super::outcome::Progress;
use super::scan::Scan;
use super::walk::Walk;

pub(super) struct Elements {
    /// Ends behind the last wanted element.
    pub(super) head: Scan,
    /// Passes over every element, in every sequence, and skips the values.
    pub(super) whole: Walk,
}

impl Elements {
    /// Reads both in another encoding, from the first byte of the dataset on.
    pub(super) fn read_as(&mut self, encoding: Encoding) {
        self.head.read_as(encoding);
        self.whole.read_as(encoding);
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Progress {
        self.whole.feed(bytes);
        self.head.feed(bytes)
    }
}
