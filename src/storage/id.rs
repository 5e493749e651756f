//! The id of a root, `.tidegate/id`: 16 hexadecimal digits and a line feed. What is kept elsewhere about a root, such as a catalogue that an operator
//! put on another disk, names it, so that an empty mount point is not taken for a root whose files are gone.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::fs::{Errno, Handle, Open, read_full, write_all_at};
use crate::own::OWN;
use crate::root;
use crate::trust::Trust;

/// The digits and the line feed.
const BYTES: usize = 17;

pub(crate) fn path() -> PathBuf {
    Path::new(OWN).join("id")
}

/// The id. One that is missing, cut off or illegible is made anew.
pub(crate) fn of_root<H: Handle>(root: &H, trust: &Trust<H>) -> Result<u64, Errno> {
    let file = root.open(&path(), Open::ReadWrite)?;
    let mut content = [0; BYTES];
    let read = read_full(&file, 0, &mut content)?;
    if let Some(id) = parse(&content[..read]) {
        return Ok(id);
    }
    // The keys of its hashes are random.
    let id = RandomState::new().hash_one(std::process::id());
    file.truncate(0)?;
    write_all_at(&file, 0, [format!("{id:016x}\n").as_bytes()])?;
    trust.note(file.sync_data())?;
    trust.note(root.open(Path::new(OWN), Open::Directory)?.sync())?;
    trust.prove_journal()?;
    Ok(id)
}

/// The id of the root at `path`, which other processes may have open. `None`: it has none, or it cannot be read.
pub fn root_id(path: &Path) -> Option<u64> {
    let root = root::open(path, Open::Directory).ok()?;
    let file = root.open(&self::path(), Open::Read).ok()?;
    let mut content = [0; BYTES];
    let read = read_full(&file, 0, &mut content).ok()?;
    parse(&content[..read])
}

fn parse(content: &[u8]) -> Option<u64> {
    let digits = content.strip_suffix(b"\n").filter(|digits| digits.len() == BYTES - 1)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Store;
    use crate::support::{Site, settings};

    #[test]
    fn a_root_keeps_its_id_and_no_other_has_it() {
        let site = Site::new();
        let id = site.store.root_id().unwrap();
        assert_eq!(site.store.root_id().unwrap(), id);
        assert_ne!(Site::new().store.root_id().unwrap(), id);
        let Site { store, dir } = site;
        drop(store);
        let (store, _) = Store::open(settings(&dir.path().join("root"))).unwrap();
        assert_eq!((store.root_id().unwrap(), root_id(&dir.path().join("root"))), (id, Some(id)));
        for cut_off in ["", "0123", "0123456789abcdeg\n"] {
            fs::write(dir.path().join("root").join(path()), cut_off).unwrap();
            let made = store.root_id().unwrap();
            assert_eq!(store.root_id().unwrap(), made, "{cut_off}");
        }
    }
}
