//! The digest of a stored file: XXH3-128 over all of its bytes, kept in an extended attribute of the file itself, so that it
//! goes where the file goes and says years later whether a byte has changed. It finds damage, not forgery.

use twox_hash::xxhash3_128;

use crate::fs::{Errno, Handle};

/// `getfattr -n user.tidegate.xxh128 FILE` shows what `xxh128sum FILE` has to say. Short enough to lie in the inode.
pub const ATTRIBUTE: &str = "user.tidegate.xxh128";

/// The digest as it is written: hexadecimal, most significant digit first.
const TEXT_BYTES: usize = 32;

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

    /// Notes the digest at the file. Without sync of its own: it is one change of the inode among those the commit makes.
    pub(crate) fn record<H: Handle>(self, file: &H) -> Result<(), Errno> {
        file.set_attribute(ATTRIBUTE, &self.text())
    }

    fn text(self) -> [u8; TEXT_BYTES] {
        let digit = |at: usize| b"0123456789abcdef"[(self.0 >> (4 * (TEXT_BYTES - 1 - at))) as usize & 0xf];
        std::array::from_fn(digit)
    }

    /// The digest noted at the file. `None` where there is none: the filesystem cannot, or a copy left it behind.
    pub(crate) fn recorded<H: Handle>(file: &H) -> Option<Self> {
        let mut text = [0_u8; TEXT_BYTES];
        let length = file.attribute(ATTRIBUTE, &mut text).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        (length == TEXT_BYTES).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self)
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
        assert_eq!(Digest::recorded(&file), None);
        let digest = Digest(0xAB);
        match digest.record(&file) {
            Ok(()) => assert_eq!(Digest::recorded(&file), Some(digest)),
            Err(error) => assert_eq!(error, Errno::OPNOTSUPP),
        }
    }
}
