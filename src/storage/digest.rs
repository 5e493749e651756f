//! What a stored file says of itself in an extended attribute, so that it goes where the file goes: the digest, XXH3-128 over all of its bytes,
//! and behind it the receipt, which tells when and from whom it was received. The digest says years later whether a byte has changed. It finds
//! damage, not forgery.

use twox_hash::xxhash3_128;

use crate::fs::{Errno, Handle};

/// `getfattr -n user.tidegate.xxh128 FILE` shows what `xxh128sum FILE` has to say, and the receipt behind it. Short enough to lie in the inode.
pub const ATTRIBUTE: &str = "user.tidegate.xxh128";

/// The digest as it is written: hexadecimal, most significant digit first.
const TEXT_BYTES: usize = 32;

/// Bytes of a receipt: with the digest as much as an ext4 inode of 256 bytes has room for (`docs/decisions/17-catalogue.md`).
pub const RECEIPT_BYTES: usize = 24;

/// A receipt: printable ASCII, which storage keeps and does not read.
pub type Receipt = [u8; RECEIPT_BYTES];

/// Most bytes of an attribute that are read. A later version may write more behind what this one knows.
const MAX_READ_BYTES: usize = 256;

/// The value of the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Of the file's bytes.
    pub digest: Digest,
    /// `None`: the file was stored without one.
    pub receipt: Option<Receipt>,
}

/// XXH3-128 of a file's bytes. Shown as `xxh128sum` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest(u128);

/// A digest in the making.
pub(crate) struct Hasher(xxhash3_128::Hasher);

impl Default for Hasher {
    fn default() -> Self {
        Self(xxhash3_128::Hasher::new())
    }
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(self.0.finish_128())
    }
}

impl Digest {
    /// Of all `pieces`, one behind the other.
    pub fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Hasher::default();
        pieces.into_iter().for_each(|piece| hasher.update(piece));
        hasher.digest()
    }

    /// As the commit log has it.
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// The number that it is.
    pub fn value(self) -> u128 {
        self.0
    }

    fn text(self) -> [u8; TEXT_BYTES] {
        let digit = |at: usize| b"0123456789abcdef"[(self.0 >> (4 * (TEXT_BYTES - 1 - at))) as usize & 0xf];
        std::array::from_fn(digit)
    }
}

impl Recorded {
    /// Writes it to the file. Without sync of its own: it is one change of the inode among those the commit makes.
    pub(crate) fn write<H: Handle>(&self, file: &H) -> Result<(), Errno> {
        let mut value = [0; TEXT_BYTES + RECEIPT_BYTES];
        value[..TEXT_BYTES].copy_from_slice(&self.digest.text());
        let Some(receipt) = &self.receipt else { return file.set_attribute(ATTRIBUTE, &value[..TEXT_BYTES]) };
        value[TEXT_BYTES..].copy_from_slice(receipt);
        file.set_attribute(ATTRIBUTE, &value)
    }

    /// Reads it from the file. `None` where there is none: the filesystem cannot, or a copy left it behind.
    pub(crate) fn read<H: Handle>(file: &H) -> Option<Self> {
        let mut value = [0_u8; MAX_READ_BYTES];
        let length = file.attribute(ATTRIBUTE, &mut value).ok()?;
        Self::decode(value.get(..length)?)
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (digest, rest) = value.split_first_chunk::<TEXT_BYTES>()?;
        let digest =
            std::str::from_utf8(digest).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let digest = Digest(u128::from_str_radix(digest, 16).ok()?);
        let receipt = rest.first_chunk::<RECEIPT_BYTES>().copied();
        Some(Self { digest, receipt: receipt.filter(|receipt| receipt.iter().all(u8::is_ascii_graphic)) })
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn pieces_do_not_matter_and_the_text_is_that_of_xxh128sum() {
        assert_eq!(Digest::of([]).to_string(), "99aa06d3014798d86001c324468d497f"); // xxh128sum < /dev/null
        assert_eq!(Digest::of([&b"ti"[..], b"", b"degate"]), Digest::of([&b"tidegate"[..]]));
    }

    #[test]
    fn what_was_recorded_is_read_back() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let file = File::create(directory.path().join("f")).unwrap();
        assert_eq!(Recorded::read(&file), None);
        for receipt in [None, Some(*b"AQGh7lZeewAAA8r-8A0AAABN")] {
            let recorded = Recorded { digest: Digest(0xAB), receipt };
            match recorded.write(&file) {
                Ok(()) => assert_eq!(Recorded::read(&file), Some(recorded)),
                Err(error) => assert_eq!(error, Errno::OPNOTSUPP),
            }
        }
    }

    #[test]
    fn a_value_of_another_version_has_what_it_shares_with_this_one() {
        let digest = Digest(0xAB).text();
        let value = |behind: &[u8]| [&digest[..], behind].concat();
        let receipt = *b"AQGh7lZeewAAA8r-8A0AAABN";
        for (behind, expected) in [
            (&b""[..], None),
            (b"AQGh7lZeewAAA8r", None),
            (&receipt, Some(receipt)),
            (b"AQGh7lZeewAAA8r-8A0AAABNand more", Some(receipt)),
            (b"\xFF\xFFGh7lZeewAAA8r-8A0AAABN", None),
        ] {
            let recorded = Recorded { digest: Digest(0xAB), receipt: expected };
            assert_eq!(Recorded::decode(&value(behind)), Some(recorded), "{behind:?}");
        }
        for value in [&b""[..], &digest[1..], &[b'z'; 56], b"+0000000000000000000000000000000"] {
            assert_eq!(Recorded::decode(value), None, "{value:?}");
        }
    }
}
