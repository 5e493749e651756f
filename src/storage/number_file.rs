//! A number of a root in a file of its own: 16 hexadecimal digits and a line feed.

use std::path::Path;

use crate::fs::{Errno, Handle, Open, read_full, write_all_at};
use crate::own::OWN;
use crate::trust::Trust;

/// The digits and the line feed.
const BYTES: usize = 17;

/// The open file.
pub(crate) struct NumberFile<H>(H);

impl<H: Handle> NumberFile<H> {
    /// The file at `path` below `root`. [`Open::ReadWrite`] makes one that is missing.
    pub(crate) fn open(root: &H, path: &Path, open: Open) -> Result<Self, Errno> {
        root.open(path, open).map(Self)
    }

    /// The number. `None`: the file is empty, cut off or illegible.
    pub(crate) fn read(&self) -> Result<Option<u64>, Errno> {
        let mut content = [0; BYTES];
        let read = read_full(&self.0, 0, &mut content)?;
        let digits = content[..read].strip_suffix(b"\n").filter(|digits| digits.len() == BYTES - 1);
        Ok(digits.and_then(|digits| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()))
    }

    /// Writes the number, and its name into the node's own directory of `root`: both are on the disk when this returns. It is written in place: a
    /// number has one length, and lies in one sector.
    pub(crate) fn write(&self, root: &H, trust: &Trust<H>, number: u64) -> Result<(), Errno> {
        write_all_at(&self.0, 0, [format!("{number:016x}\n").as_bytes()])?;
        trust.note(self.0.sync_data())?;
        trust.note(root.open(Path::new(OWN), Open::Directory)?.sync())?;
        trust.prove_journal()
    }
}
