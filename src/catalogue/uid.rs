//! SOP Instance UIDs, packed: a digit in four bits. They make up most of an instance's row and of its index.

use std::fmt::{self, Write};
use std::str::FromStr;

/// The longest UID that the storage takes.
const MAX_CHARACTERS: usize = 255;

const PERIOD: u8 = 0xA;
const FILLER: u8 = 0xF;

/// A SOP Instance UID of 1 to 255 digits and periods. In SQL, `replace(rtrim(hex(uid), 'F'), 'A', '.')` is its text. The order is that of the
/// texts, with the period behind the digits, so UIDs that begin alike stand together in an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedUid(Box<[u8]>);

/// The text is empty, has more than 255 characters, or others than digits and periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a uid of 1 to 255 digits and periods")]
pub struct NotAUid;

impl PackedUid {
    /// As the catalogue holds it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether that is its text.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        text.iter().copied().eq(self.characters())
    }

    fn characters(&self) -> impl Iterator<Item = u8> {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xF]).filter(|digit| *digit != FILLER);
        digits.map(|digit| if digit == PERIOD { b'.' } else { b'0' + digit })
    }

    /// From the catalogue.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, NotAUid> {
        let mut digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
        let last = bytes.len() * 2;
        let is_valid = digits.by_ref().take(last.saturating_sub(1)).all(|digit| digit <= PERIOD)
            && digits.next().is_some_and(|digit| digit <= PERIOD || digit == FILLER);
        if is_valid && last <= MAX_CHARACTERS + 1 { Ok(Self(bytes.into())) } else { Err(NotAUid) }
    }
}

impl FromStr for PackedUid {
    type Err = NotAUid;

    fn from_str(text: &str) -> Result<Self, NotAUid> {
        if text.is_empty() || text.len() > MAX_CHARACTERS {
            return Err(NotAUid);
        }
        let digit = |character: u8| match character {
            b'0'..=b'9' => Ok(character - b'0'),
            b'.' => Ok(PERIOD),
            _ => Err(NotAUid),
        };
        let pair = |pair: &[u8]| match *pair {
            [first, second] => Ok(digit(first)? << 4 | digit(second)?),
            [last] => Ok(digit(last)? << 4 | FILLER),
            _ => Err(NotAUid),
        };
        text.as_bytes().chunks(2).map(pair).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for PackedUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.characters().try_for_each(|character| f.write_char(char::from(character)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anything_else_is_no_uid() {
        for text in ["", "1.2.x", "1.2 ", "1.2\0", "../1", "F", "\u{0662}", &"1".repeat(256)] {
            assert_eq!(text.parse::<PackedUid>(), Err(NotAUid), "{text:?}");
        }
        for bytes in [&[][..], &[0xF1], &[0x1F, 0x1F], &[0xFF], &[0xB1], &[0x11; 129]] {
            assert_eq!(PackedUid::from_bytes(bytes), Err(NotAUid), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_uid_is_unpacked_as_it_was(text in "[0-9.]{1,255}") {
            let packed: PackedUid = text.parse().unwrap();
            prop_assert!(packed.is(text.as_bytes()) && !packed.is(&text.as_bytes()[1..]));
            prop_assert_eq!(packed.to_string(), text);
            prop_assert_eq!(PackedUid::from_bytes(packed.as_bytes()), Ok(packed));
        }
    }
}
