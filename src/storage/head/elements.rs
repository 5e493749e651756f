//! The elements of a dataset as the head and the whole of it need them: both are fed the same bytes.

use super::element::Encoding;
use super::outcome::Progress;
use super::scan::Scan;
use super::syntax::PixelForm;
use super::walk::Walk;

pub(super) struct Elements {
    /// Ends behind the last wanted element.
    pub(super) head: Scan,
    /// Passes over every element, in every sequence, and skips the values. `None`: only the head is of interest.
    pub(super) whole: Option<Walk>,
}

impl Elements {
    /// Reads both in another encoding, from the first byte of the dataset on.
    pub(super) fn read_as(&mut self, encoding: Encoding) {
        self.head.read_as(encoding);
        self.whole.iter_mut().for_each(|whole| whole.read_as(encoding));
    }

    /// The form of the pixel data of the dataset itself, once they were met.
    pub(super) fn pixels(&self) -> Option<PixelForm> {
        self.whole.as_ref()?.pixels()
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Progress {
        self.whole.iter_mut().for_each(|whole| whole.feed(bytes));
        self.head.feed(bytes)
    }
}
