//! The receipt: what a file alone must say to make its record whole again, as short as an extended attribute in an inode has to be.
//!
//! An ext4 inode of 256 bytes has room for 24 bytes beside the digest's attribute, in that attribute's own value and nowhere else: a second attribute needs
//! 16 bytes and its name. So the value becomes the digest, 32 hexadecimal digits, and the receipt, 24 characters of base64 (RFC 4648 §5): 18
//! bytes. `getfattr -n user.tidegate.xxh128` still shows the digest first.
//!
//! ```text
//! byte   0      1-6           7-9              10-13             14-17
//!        1      received      origin           check             association
//!        form   ms since      number in the    CRC-32 of that    number in the log,
//!               1970          list of origins  origin's entry    its low 32 bits
//! ```
//! Numbers are big-endian. The strings of an origin (AE title, address, rule, destinations) stand once in a list of their own, which is durable before the first
//! receipt names them. The check keeps a receipt from being read with another list, after a backup was restored.

/// Characters of a receipt.
pub const TEXT_BYTES: usize = 24;

const BYTES: usize = TEXT_BYTES / 4 * 3;

/// The only form so far.
const FORM: u8 = 1;

/// Origins that can be told apart.
pub const MAX_ORIGIN: u32 = (1 << 24) - 1;

/// When and from whom a file was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Milliseconds since 1970, below 2^48.
    pub received_ms: u64,
    /// Its origin.
    pub origin: OriginKey,
    /// The number of the association, its low 32 bits.
    pub association: u32,
}

/// An entry of the list of origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginKey {
    /// Its number, up to [`MAX_ORIGIN`].
    pub number: u32,
    /// The CRC-32 of its entry.
    pub check: u32,
}

/// The strings of an origin, as the list of origins holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OriginEntry {
    /// The calling AE title.
    pub calling_ae_title: String,
    /// The peer's address without its port.
    pub address: String,
    /// The access rule; empty for none.
    pub rule: String,
    /// The destinations, by name.
    pub destinations: Vec<String>,
}

/// The bytes are no receipt, or no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Too few or too many bytes, or some that never occur.
    #[error("it is malformed")]
    Malformed,
    /// A newer Tidegate wrote it.
    #[error("it has form {0}, which is unknown")]
    Form(u8),
    /// A number has no room.
    #[error("a number in it is too large")]
    TooLarge,
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The place in [`DIGITS`]. A writer waits for it, so it is no search.
fn digit(character: u8) -> Result<u8, Invalid> {
    match character {
        b'A'..=b'Z' => Ok(character - b'A'),
        b'a'..=b'z' => Ok(character - b'a' + 26),
        b'0'..=b'9' => Ok(character - b'0' + 52),
        b'-' => Ok(62),
        b'_' => Ok(63),
        _ => Err(Invalid::Malformed),
    }
}

impl Receipt {
    /// As it stands behind the digest.
    ///
    /// # Errors
    /// [`Invalid::TooLarge`].
    pub fn encode(&self) -> Result<[u8; TEXT_BYTES], Invalid> {
        if self.received_ms >= 1 << 48 || self.origin.number > MAX_ORIGIN {
            return Err(Invalid::TooLarge);
        }
        let mut bytes = [FORM; BYTES];
        bytes[1..7].copy_from_slice(&self.received_ms.to_be_bytes()[2..]);
        bytes[7..10].copy_from_slice(&self.origin.number.to_be_bytes()[1..]);
        bytes[10..14].copy_from_slice(&self.origin.check.to_be_bytes());
        bytes[14..].copy_from_slice(&self.association.to_be_bytes());
        let mut text = [0; TEXT_BYTES];
        for (four, three) in text.chunks_exact_mut(4).zip(bytes.chunks_exact(3)) {
            let group = three.iter().fold(0_usize, |group, byte| group << 8 | usize::from(*byte));
            (0..4).for_each(|at| four[at] = DIGITS[group >> (18 - 6 * at) & 0x3F]);
        }
        Ok(text)
    }

    /// Reads what stands behind the digest.
    ///
    /// # Errors
    /// [`Invalid::Malformed`] and [`Invalid::Form`]: the file counts as one without a receipt.
    pub fn decode(text: &[u8]) -> Result<Self, Invalid> {
        if text.len() != TEXT_BYTES {
            return Err(Invalid::Malformed);
        }
        let mut bytes = [0; BYTES];
        for (three, four) in bytes.chunks_exact_mut(3).zip(text.chunks_exact(4)) {
            let mut group = 0;
            for character in four {
                group = group << 6 | u32::from(digit(*character)?);
            }
            three.copy_from_slice(&group.to_be_bytes()[1..]);
        }
        if bytes[0] != FORM {
            return Err(Invalid::Form(bytes[0]));
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Ok(Self {
            received_ms: number(1..7),
            origin: OriginKey { number: number(7..10) as u32, check: number(10..14) as u32 },
            association: number(14..18) as u32,
        })
    }
}

impl OriginEntry {
    /// As the list holds it: each string with its length, in two bytes, in front.
    ///
    /// # Errors
    /// [`Invalid::TooLarge`] for a string of more than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Invalid> {
        let mut bytes = vec![FORM];
        let texts = [&self.calling_ae_title, &self.address, &self.rule].into_iter().chain(&self.destinations);
        for text in texts {
            let length = u16::try_from(text.len()).map_err(|_| Invalid::TooLarge)?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        Ok(bytes)
    }

    /// The reverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// [`Invalid::Malformed`] and [`Invalid::Form`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let (form, mut rest) = bytes.split_first().ok_or(Invalid::Malformed)?;
        if *form != FORM {
            return Err(Invalid::Form(*form));
        }
        let mut texts = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (text, after) = after.split_at_checked(length).ok_or(Invalid::Malformed)?;
            texts.push(String::from_utf8(text.to_owned()).map_err(|_| Invalid::Malformed)?);
            rest = after;
        }
        let mut texts = texts.into_iter();
        match (rest, texts.next(), texts.next(), texts.next()) {
            ([], Some(calling_ae_title), Some(address), Some(rule)) => {
                Ok(Self { calling_ae_title, address, rule, destinations: texts.collect() })
            }
            _ => Err(Invalid::Malformed),
        }
    }

    /// The check of its encoded form.
    pub fn check(encoded: &[u8]) -> u32 {
        crc32fast::hash(encoded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_as_long_as_an_inode_has_room_for() {
        let receipt = Receipt {
            received_ms: 1_795_000_000_123,
            origin: OriginKey { number: 3, check: 0xCAFE_F00D },
            association: 77,
        };
        let text = receipt.encode().unwrap();
        assert_eq!(std::str::from_utf8(&text).unwrap(), "AQGh7lZeewAAA8r-8A0AAABN");
        assert_eq!(Receipt::decode(&text), Ok(receipt));
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let origin = OriginKey { number: 0, check: 0 };
        let late = Receipt { received_ms: 1 << 48, origin, association: 0 };
        assert_eq!(late.encode(), Err(Invalid::TooLarge));
        let many = Receipt { received_ms: 0, origin: OriginKey { number: MAX_ORIGIN + 1, check: 0 }, association: 0 };
        assert_eq!(many.encode(), Err(Invalid::TooLarge));
        let long = OriginEntry { rule: "r".repeat(65_536), ..OriginEntry::default() };
        assert_eq!(long.encode(), Err(Invalid::TooLarge));
    }

    #[test]
    fn another_form_is_told_from_damage() {
        assert_eq!(Receipt::decode(b"AgAAAAAAAAAAAAAAAAAAAAAA"), Err(Invalid::Form(2)));
        for text in [&b""[..], b"AQ", b"AQAAAAAAAAAAAAAAAAAAAAA=", &[b'A'; 25], &[0xFF; 24]] {
            assert_eq!(Receipt::decode(text), Err(Invalid::Malformed));
        }
        assert_eq!(OriginEntry::decode(&[7]), Err(Invalid::Form(7)));
    }

    proptest! {
        #[test]
        fn any_receipt_is_read_as_it_was_written(
            received_ms in 0_u64..1 << 48, number in 0..=MAX_ORIGIN, check: u32, association: u32,
        ) {
            let receipt = Receipt { received_ms, origin: OriginKey { number, check }, association };
            prop_assert_eq!(Receipt::decode(&receipt.encode().unwrap()), Ok(receipt));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Receipt::decode(&bytes);
            if let Ok(entry) = OriginEntry::decode(&bytes) {
                prop_assert_eq!(entry.encode().unwrap(), bytes);
            }
        }

        #[test]
        fn any_origin_is_read_as_it_was_written(texts in proptest::collection::vec(".{0,20}", 3..6)) {
            let [calling_ae_title, address, rule] = [0, 1, 2].map(|at| texts[at].clone());
            let entry = OriginEntry { calling_ae_title, address, rule, destinations: texts[3..].to_vec() };
            let encoded = entry.encode().unwrap();
            prop_assert_eq!(OriginEntry::decode(&encoded), Ok(entry));
            prop_assert!(OriginEntry::decode(&encoded[..encoded.len() - 1]).is_err());
        }
    }
}
