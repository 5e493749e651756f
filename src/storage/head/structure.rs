//! Whether a dataset can be read to its end: the walk over all of its elements while it arrives.

use super::element::Encoding;
use super::outcome::HeadError;
use super::walk::{Break, Walk};

/// Watches the elements of a dataset behind its head too. Values are skipped, so it costs a few instructions for each element.
pub struct Structure(Walk);

impl Structure {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self(Walk::new(encoding, None))
    }

    /// Takes the next bytes of the dataset.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.0.feed(bytes);
    }

    /// Ends at the end of the dataset.
    ///
    /// # Errors
    /// [`HeadError::Broken`]: readers give the dataset up.
    pub fn finish(self) -> Result<(), HeadError> {
        self.0.broken().map_or(Ok(()), |Break { tag, offset }| Err(HeadError::Broken { tag, offset }))
    }
}
