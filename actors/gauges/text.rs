//! A short text that is kept in place: a ring of them takes all its memory at the start.

use std::fmt;

/// A text of at most `N` bytes, below 256.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Text<N> {
    /// `text`, cut at the last character that fits.
    pub(crate) fn new(text: &str) -> Self {
        const { assert!(N <= u8::MAX as usize) }
        let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let mut bytes = [0; N];
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        Self { bytes, length: end as u8 }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(Text::<8>::new("CT1").as_str(), "CT1");
        assert_eq!(Text::<8>::new("12345678").as_str(), "12345678");
        assert_eq!(Text::<8>::new("1234567ä").as_str(), "1234567");
        assert_eq!(Text::<8>::new("").as_str(), "");
    }
}
