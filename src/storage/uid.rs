//! Unique identifiers as they arrive on the wire (PS3.5 §9.1), held in a type that cannot be empty
//! or unprintable.

use std::fmt;

/// The longest UID taken. PS3.5 §9.1 allows 64 characters, but real peers send longer ones; a file
/// name component holds 255 bytes.
pub const MAX_UID_LENGTH: usize = 255;

/// A UID: 1..=255 characters, without padding. By [`parse`](Self::parse) they are `0`-`9` and `.`; by [`parse_loosely`](Self::parse_loosely)
/// any printable ASCII but slashes.
///
/// Whether its components follow PS3.5 §9.1 (no leading zero, no empty component) is deliberately
/// not judged: the instance is the sender's, and it is stored under the name it was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(Box<str>);

impl Uid {
    /// Reads a UID from the bytes of a UI value: NUL and space padding is trimmed, whichever side
    /// it stands on.
    pub fn parse(raw: &[u8]) -> Result<Self, InvalidUid> {
        let uid = trim_padding(raw);
        if uid.is_empty() {
            return Err(InvalidUid::Empty);
        }
        if uid.len() > MAX_UID_LENGTH {
            return Err(InvalidUid::TooLong { length: uid.len() });
        }
        match std::str::from_utf8(uid) {
            Ok(text) if !uid.iter().any(is_foreign) => Ok(Self(text.into())),
            _ => Err(InvalidUid::character(uid, is_foreign)),
        }
    }

    /// The same for a UID that names an instance to be kept, whatever made it: printable ASCII is taken, except for the backslash, which
    /// separates values, and the slash. Text behind a NUL is not part of it, nor is white space at its end.
    pub fn parse_loosely(raw: &[u8]) -> Result<Self, InvalidUid> {
        match Self::parse(raw) {
            Err(InvalidUid::Character { .. }) => {}
            parsed => return parsed,
        }
        let uid = before_nul(raw);
        if uid.is_empty() {
            return Err(InvalidUid::Empty);
        }
        let is_kept = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b'\\');
        match std::str::from_utf8(uid) {
            Ok(text) if uid.iter().all(is_kept) => Ok(Self(text.into())),
            _ => Err(InvalidUid::character(uid, |byte| !is_kept(byte))),
        }
    }

    /// Whether it is one by PS3.5 §9.1: at most 64 characters, numbers without leading zeros, separated by periods.
    pub fn is_standard(&self) -> bool {
        let is_component = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'))
        };
        self.0.len() <= 64 && self.0.split('.').all(is_component)
    }

    /// Whether `raw` has nothing but this UID and padding.
    pub fn is_all_of(&self, raw: &[u8]) -> bool {
        trim_padding(raw) == self.0.as_bytes()
    }

    /// The UID for a log. `None`: it has other characters than digits and periods, so it might hold the name of a patient.
    pub fn loggable(&self) -> Option<&str> {
        Some(self.as_str()).filter(|uid| uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
    }

    /// The UID without padding.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why some bytes are no UID. Its text repeats none of them and has at most 64 characters, so it may go
/// into a log or an Error Comment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUid {
    /// Nothing is left once padding is trimmed.
    #[error("uid is empty")]
    Empty,
    /// Longer than [`MAX_UID_LENGTH`].
    #[error("uid has {length} characters, at most {MAX_UID_LENGTH} are allowed")]
    TooLong {
        /// Length in bytes, without padding.
        length: usize,
    },
    /// Something other than digits and periods, or than what is kept loosely.
    #[error("character {at} is {found}")]
    Character {
        /// The first invalid character, counted from 1 in bytes. The character itself is not logged: it may be part of a patient's name.
        at: usize,
        /// Its kind.
        found: Foreign,
    },
}

/// The kind of a character that a UID may not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// Separates two values (PS3.5 §6.4).
    #[error("a backslash")]
    Backslash,
    /// Separates directories.
    #[error("a slash")]
    Slash,
    /// Latin-1, UTF-8 or another encoding of letters.
    #[error("beyond ascii")]
    BeyondAscii,
    /// A line feed, for example.
    #[error("a control character")]
    Control,
    /// Where only digits and periods are allowed.
    #[error("no digit or period")]
    Printable,
}

impl InvalidUid {
    fn character(uid: &[u8], is_foreign: impl Fn(&u8) -> bool) -> Self {
        let at = uid.iter().position(is_foreign).unwrap_or(0);
        let found = match uid.get(at) {
            Some(b'\\') => Foreign::Backslash,
            Some(b'/') => Foreign::Slash,
            Some(0x80..) => Foreign::BeyondAscii,
            Some(b' '..=b'~') => Foreign::Printable,
            _ => Foreign::Control,
        };
        Self::Character { at: at + 1, found }
    }
}

/// `raw` without the NULs and spaces that pad a value to even length (PS3.5 §6.2), on either side.
pub(crate) fn trim_padding(raw: &[u8]) -> &[u8] {
    let is_padding = |b: &u8| *b == 0 || *b == b' ';
    let start = raw.iter().position(|b| !is_padding(b)).unwrap_or(raw.len());
    let end = raw.iter().rposition(|b| !is_padding(b)).map_or(start, |last| last + 1);
    &raw[start..end]
}

/// What most receivers take of a value: they end it at a NUL, and pass over white space.
pub(crate) fn before_nul(raw: &[u8]) -> &[u8] {
    let value = trim_padding(raw);
    value.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii()
}

fn is_foreign(byte: &u8) -> bool {
    !(byte.is_ascii_digit() || *byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_padding_on_both_sides() {
        for raw in [&b"1.2.840.1"[..], b"1.2.840.1\0", b"1.2.840.1 ", b"  1.2.840.1 \0\0"] {
            assert_eq!(Uid::parse(raw).unwrap().as_str(), "1.2.840.1");
        }
    }

    #[test]
    fn takes_up_to_255_characters() {
        assert_eq!(Uid::parse(&[b'1'; 255]).unwrap().as_str().len(), 255);
        assert_eq!(Uid::parse(&[b'1'; 256]), Err(InvalidUid::TooLong { length: 256 }));
    }

    #[test]
    fn refuses_nothing_and_padding_alone() {
        for raw in [&b""[..], b"\0", b"   ", b" \0"] {
            assert_eq!(Uid::parse(raw), Err(InvalidUid::Empty));
        }
    }

    #[test]
    fn refuses_anything_but_digits_and_periods() {
        for raw in [&b"1.2.x"[..], b"1.2\x003", b"../1.2", b"1,2", b"\xff\xfe", "1.\u{0662}".as_bytes(), b"1.2\n"] {
            assert!(matches!(Uid::parse(raw), Err(InvalidUid::Character { .. })), "{raw:?}");
        }
    }

    #[test]
    fn loosely_anything_printable_is_kept_but_slashes() {
        for raw in [&b"1.2.x-3_4"[..], b"1.2 3\0", b"A", b"1.2.840.01", b"1+2:3"] {
            let uid = Uid::parse_loosely(raw).unwrap();
            assert_eq!(uid.as_str().as_bytes(), trim_padding(raw));
            assert_eq!(before_nul(raw), trim_padding(raw));
            assert!(!uid.is_standard(), "{uid}");
        }
        for raw in [&b"1.2\x003"[..], b"1.2\n", b" 1.2\t", b"1.2\0junk of \xe9"] {
            let uid = Uid::parse_loosely(raw).unwrap();
            assert!(uid.as_str() == "1.2" && !uid.is_all_of(raw) && uid.is_all_of(b"1.2\0"), "{uid}");
        }
        for raw in [&b"1.2/3"[..], b"1.2\\3", b"1.2\n3", b"\xe9", "1.\u{0662}".as_bytes(), b"", b" ", b"\t\0junk"] {
            assert!(Uid::parse_loosely(raw).is_err(), "{raw:?}");
        }
        assert!(Uid::parse(b"1.2.840.0.10").unwrap().is_standard());
        for raw in [&b"1..2"[..], b"1.", b"1.02", &[b'1'; 65]] {
            assert!(!Uid::parse(raw).unwrap().is_standard(), "{raw:?}");
        }
    }

    #[test]
    fn what_is_refused_is_told_by_its_place_and_kind() {
        for (raw, text) in [
            (&b"1.2\\1.3"[..], "character 4 is a backslash"),
            (b"1.2/3", "character 4 is a slash"),
            (b"1.2.K\xf6ln", "character 6 is beyond ascii"),
            ("1.\u{0662}".as_bytes(), "character 3 is beyond ascii"),
            (b"1.2\n3", "character 4 is a control character"),
        ] {
            assert_eq!(Uid::parse_loosely(raw).unwrap_err().to_string(), text);
        }
        assert_eq!(Uid::parse(b"1.2.x").unwrap_err().to_string(), "character 5 is no digit or period");
    }

    #[test]
    fn error_texts_are_printable_and_fit_an_error_comment() {
        for raw in
            [&[0xff; 200][..], &[b'9'; 70_000], &[b'\n'; 20], b"", b"\"quoted\\value\" and much more of it still"]
        {
            let text = Uid::parse(raw).unwrap_err().to_string();
            assert!(text.len() <= 64, "{text}");
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)), "{text}");
        }
    }
}
