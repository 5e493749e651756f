//! UIDs, packed: a digit in four bits. They make up most of a row of an instance or of a reference, and of its index.

use std::fmt::{self, Write};
use std::str::FromStr;

/// The longest UID that the storage takes.
const MAX_CHARACTERS: usize = 255;

const PERIOD: u8 = 0xA;
const FILLER: u8 = 0xF;

/// In front of a UID that has other characters, which follow as they are. No packed one begins so.
const AS_IT_IS: u8 = 0xFF;

/// A SOP Instance UID as the storage takes it: 1 to 255 characters of printable ASCII, without slashes and backslashes. One of digits and periods,
/// as the standard has it, is packed; in SQL, `replace(rtrim(hex(uid), 'F'), 'A', '.')` is its text. The order is that of the texts, with the
/// period behind the digits, so UIDs that begin alike stand together in an index. Any other stands as it is behind a byte FF.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackedUid(Box<[u8]>);

/// The text is empty, has more than 255 characters, or others than a UID can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a uid of 1 to 255 printable ASCII characters without slashes")]
pub struct NotAUid;

impl PackedUid {
    /// As a file holds it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of memory behind it.
    pub fn memory_bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether that is its text.
    pub fn is(&self, text: &[u8]) -> bool {
        match &*self.0 {
            [AS_IT_IS, rest @ ..] => rest == text,
            _ => text.iter().copied().eq(self.characters()),
        }
    }

    /// The characters of a packed one.
    fn characters(&self) -> impl Iterator<Item = u8> {
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xF]).filter(|digit| *digit != FILLER);
        digits.map(|digit| if digit == PERIOD { b'.' } else { b'0' + digit })
    }

    /// From a file.
    ///
    /// # Errors
    /// It is none that was packed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotAUid> {
        if let [AS_IT_IS, text @ ..] = bytes {
            let uid = std::str::from_utf8(text).map_err(|_| NotAUid)?.parse::<Self>()?;
            return if uid.as_bytes() == bytes { Ok(uid) } else { Err(NotAUid) };
        }
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
        if let Some(packed) = packed(text.as_bytes()) {
            return Ok(Self(packed));
        }
        let can_have = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b'\\');
        let as_it_is = || Self([&[AS_IT_IS], text.as_bytes()].concat().into());
        text.bytes().all(can_have).then(as_it_is).ok_or(NotAUid)
    }
}

/// `None`: it has other characters than digits and periods. A writer waits for it, so it is one pass and one allocation.
fn packed(text: &[u8]) -> Option<Box<[u8]>> {
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'.' => Some(PERIOD),
        _ => None,
    };
    let mut packed = Vec::with_capacity(text.len().div_ceil(2));
    let (pairs, last) = text.as_chunks::<2>();
    for [first, second] in pairs {
        packed.push(digit(*first)? << 4 | digit(*second)?);
    }
    if let [last] = last {
        packed.push(digit(*last)? << 4 | FILLER);
    }
    Some(packed.into())
}

impl fmt::Display for PackedUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            [AS_IT_IS, text @ ..] => f.write_str(std::str::from_utf8(text).unwrap_or_default()),
            _ => self.characters().try_for_each(|character| f.write_char(char::from(character))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anything_else_is_no_uid() {
        for text in ["", "1.2\0", "../1", "1\\2", "1\n", "\u{0662}", &"1".repeat(256), &"x".repeat(256)] {
            assert_eq!(text.parse::<PackedUid>(), Err(NotAUid), "{text:?}");
        }
        let too_long = [&[0xFF][..], &[b'x'; 256]].concat();
        let bytes: [&[u8]; 10] = [
            &[],
            &[0xF1],
            &[0x1F, 0x1F],
            &[0xFF],
            &[0xB1],
            &[0x11; 129],
            b"\xFF1.2",
            b"\xFFa/b",
            b"\xFFa\xE9",
            &too_long,
        ];
        for bytes in bytes {
            assert_eq!(PackedUid::from_bytes(bytes), Err(NotAUid), "{bytes:?}");
        }
    }

    #[test]
    fn digits_take_half_a_byte_and_other_characters_one() {
        for (text, bytes) in
            [("1.2", &[0x1A, 0x2F][..]), ("1.23", &[0x1A, 0x23]), ("1.2x", b"\xFF1.2x"), ("A_-1 2", b"\xFFA_-1 2")]
        {
            assert_eq!(text.parse::<PackedUid>().unwrap().as_bytes(), bytes);
        }
    }

    proptest! {
        #[test]
        fn a_uid_is_unpacked_as_it_was(text in "[0-9.]{1,255}|[ -.0-\\[\\]-~]{1,255}") {
            let packed: PackedUid = text.parse().unwrap();
            prop_assert!(packed.is(text.as_bytes()) && !packed.is(&text.as_bytes()[1..]));
            prop_assert_eq!(packed.to_string(), text);
            prop_assert_eq!(PackedUid::from_bytes(packed.as_bytes()), Ok(packed));
        }
    }
}
