//! The list of origins, `.tidegate/origins`: who sent the instances, each sender once. A receipt has no room for its strings, so it has the number of
//! an entry. Storage does not read the entries.
//!
//! ```text
//! list  = entry*
//! entry = bytes (2) crc32 (4) content      little endian
//! ```
//!
//! Invariants: an entry is durable before its number is given away, and never changes its number. An entry that a crash has cut off was given to
//! nobody, and the next one takes its place. A damaged one keeps its number, so that the others keep theirs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::StoreError;
use crate::fs::{Errno, Handle, Open, is_at, read_full, write_all_at};
use crate::own::OWN;
use crate::sync::Mutex;
use crate::trust::Trust;

/// Most bytes of the list: some 30,000 origins. When it is full, instances of further ones have no receipt.
const MAX_BYTES: u64 = if cfg!(test) { 4096 } else { 2 << 20 };

const HEADER_BYTES: usize = 2 + 4;

/// The list of a root. It is read when it is first needed.
#[derive(Debug)]
pub(crate) struct Origins<H: Handle>(Mutex<Option<List<H>>>);

impl<H: Handle> Default for Origins<H> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

#[derive(Debug)]
struct List<H> {
    file: H,
    /// Where the next entry goes.
    end_bytes: u64,
    /// Whether something stands there that is no entry.
    has_remains: bool,
    /// Whether the name of the file is known to be on the disk.
    is_named: bool,
    /// Empty ones are damaged.
    entries: Vec<Arc<[u8]>>,
    numbers: HashMap<Arc<[u8]>, u32>,
}

pub(crate) fn path() -> PathBuf {
    Path::new(OWN).join("origins")
}

impl<H: Handle> Origins<H> {
    /// The number of an origin in the list. A new one is on the disk when this returns. `None`: the list has no room for it.
    pub(crate) fn number(&self, root: &H, trust: &Trust<H>, entry: &[u8]) -> Result<Option<u32>, StoreError> {
        self.with_list(root, "write", |list| {
            let number = list.numbers.get(entry).copied();
            number.map_or_else(|| list.add(root, trust, entry), |number| Ok(Some(number)))
        })
    }

    /// All entries of the list, by number; those that are damaged are empty.
    pub(crate) fn all(&self, root: &H) -> Result<Vec<Arc<[u8]>>, StoreError> {
        self.with_list(root, "read", |list| Ok(list.entries.clone()))
    }

    fn with_list<T>(
        &self,
        root: &H,
        what: &'static str,
        act: impl FnOnce(&mut List<H>) -> Result<T, Errno>,
    ) -> Result<T, StoreError> {
        let failed = |error| StoreError::new(what, path(), error);
        let mut origins = self.0.lock_in_time().ok_or(StoreError::Contended)?;
        // Somebody may have removed it.
        if let Some(list) = &*origins
            && !is_at(root, &path(), &list.file).map_err(failed)?
        {
            *origins = None;
        }
        let list = match &mut *origins {
            Some(list) => list,
            none => none.insert(List::open(root).map_err(failed)?),
        };
        act(list).map_err(failed)
    }
}

impl<H: Handle> List<H> {
    fn open(root: &H) -> Result<Self, Errno> {
        let file = root.open(&path(), Open::ReadWrite)?;
        let bytes = file.stat()?.bytes;
        let mut content = vec![0; bytes.min(MAX_BYTES) as usize];
        let read = read_full(&file, 0, &mut content)?;
        let (entries, end) = parse(&content[..read]);
        let numbered = entries.iter().cloned().zip(0..).filter(|(entry, _)| !entry.is_empty());
        let numbers = numbered.collect();
        let end_bytes = end as u64;
        Ok(Self { file, end_bytes, has_remains: bytes > end_bytes, is_named: false, entries, numbers })
    }

    fn add(&mut self, root: &H, trust: &Trust<H>, entry: &[u8]) -> Result<Option<u32>, Errno> {
        let end_bytes = self.end_bytes + (HEADER_BYTES + entry.len()) as u64;
        let (Ok(bytes), Ok(number)) = (u16::try_from(entry.len()), u32::try_from(self.entries.len())) else {
            return Ok(None);
        };
        if entry.is_empty() || end_bytes > MAX_BYTES {
            return Ok(None);
        }
        if self.has_remains {
            self.file.truncate(self.end_bytes)?;
        }
        self.has_remains = true; // until all of it is on the disk
        let header = [&bytes.to_le_bytes()[..], &crc32fast::hash(entry).to_le_bytes()].concat();
        write_all_at(&self.file, self.end_bytes, [&header[..], entry])?;
        trust.note(self.file.sync_data())?;
        if !self.is_named {
            let own = root.open(Path::new(OWN), Open::Directory)?;
            trust.note(own.sync())?;
        }
        trust.prove_journal()?;
        (self.end_bytes, self.has_remains, self.is_named) = (end_bytes, false, true);
        let entry: Arc<[u8]> = entry.into();
        self.entries.push(Arc::clone(&entry));
        self.numbers.insert(entry, number);
        Ok(Some(number))
    }
}

/// The entries, and where the last of them ends.
fn parse(content: &[u8]) -> (Vec<Arc<[u8]>>, usize) {
    let (mut entries, mut rest) = (Vec::new(), content);
    let (mut whole, mut end) = (0, 0);
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let [l0, l1, c0, c1, c2, c3] = *header;
        let bytes = usize::from(u16::from_le_bytes([l0, l1]));
        let Some((entry, behind)) = behind.split_at_checked(bytes).filter(|_| bytes > 0) else { break };
        rest = behind;
        if crc32fast::hash(entry) == u32::from_le_bytes([c0, c1, c2, c3]) {
            entries.push(entry.into());
            (whole, end) = (entries.len(), content.len() - rest.len());
        } else {
            entries.push(Arc::default());
        }
    }
    entries.truncate(whole);
    (entries, end)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::support::Site;

    fn file(site: &Site) -> PathBuf {
        site.root().join(path())
    }

    fn entries(site: &Site) -> Vec<Vec<u8>> {
        site.store.origins().unwrap().iter().map(|entry| entry.to_vec()).collect()
    }

    #[test]
    fn an_origin_has_one_number_for_ever() {
        let mut site = Site::new();
        assert!(entries(&site).is_empty());
        for _ in 0..2 {
            for (number, entry) in [(0, &b"CT1"[..]), (1, b"MR1"), (0, b"CT1"), (2, &[0xFF; 300])] {
                assert_eq!(site.store.origin(entry).unwrap(), Some(number));
            }
            assert_eq!(entries(&site), [&b"CT1"[..], b"MR1", &[0xFF; 300]]);
            site = site.reopened();
        }
    }

    #[test]
    fn a_cut_off_entry_gives_way_and_a_damaged_one_keeps_its_number() {
        let site = Site::new();
        for entry in [&b"CT1"[..], b"MR1", b"US1"] {
            site.store.origin(entry).unwrap();
        }
        let whole = fs::read(file(&site)).unwrap();
        let mut site = site;
        // What a crash may leave of an entry that nobody has a number of.
        for rest in [&b"\x03"[..], b"\x03\0\x12\x34\x56\x78CR", b"\x03\0\x12\x34\x56\x78CR1", &[0; 40]] {
            fs::write(file(&site), [&whole, rest].concat()).unwrap();
            site = site.reopened();
            assert_eq!(entries(&site), [b"CT1", b"MR1", b"US1"], "{rest:?}");
            assert_eq!(site.store.origin(b"CR1").unwrap(), Some(3), "{rest:?}");
            site = site.reopened();
            assert_eq!(entries(&site), [b"CT1", b"MR1", b"US1", b"CR1"], "{rest:?}");
        }
        let mut damaged = whole.clone();
        damaged[9 + HEADER_BYTES] ^= 1;
        fs::write(file(&site), damaged).unwrap();
        let site = site.reopened();
        assert_eq!(entries(&site), [&b"CT1"[..], b"", b"US1"]);
        assert_eq!(site.store.origin(b"US1").unwrap(), Some(2));
        assert_eq!(site.store.origin(b"MR1").unwrap(), Some(3));
    }

    #[test]
    fn a_full_list_takes_no_more_and_has_what_it_had() {
        let site = Site::new();
        let entry = |number: u32| [&[b'x'; 500][..], &number.to_le_bytes()].concat();
        let taken = (0..20).take_while(|number| site.store.origin(&entry(*number)).unwrap().is_some()).count();
        assert_eq!(taken as u64, MAX_BYTES / (HEADER_BYTES as u64 + 504));
        assert_eq!(site.store.origin(&entry(3)).unwrap(), Some(3));
        assert_eq!(site.store.origin(&[b'x'; 70_000]).unwrap(), None);
        assert_eq!(site.store.origin(b"").unwrap(), None);
        assert!(fs::metadata(file(&site)).unwrap().len() <= MAX_BYTES);
    }

    #[test]
    fn a_list_that_was_removed_begins_anew_and_one_that_cannot_be_kept_is_an_error() {
        let site = Site::new();
        site.store.origin(b"CT1").unwrap();
        fs::remove_file(file(&site)).unwrap();
        assert_eq!(site.store.origin(b"MR1").unwrap(), Some(0));
        fs::remove_file(file(&site)).unwrap();
        fs::create_dir(file(&site)).unwrap();
        assert!(site.store.origin(b"CT1").is_err() && site.store.origins().is_err());
    }
}
