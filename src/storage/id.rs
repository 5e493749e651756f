//! The id of a root, in the [`NumberFile`] `.tidegate/id`. What is kept elsewhere about a root, such as a catalogue that an operator
//! put on another disk, names it, so that an empty mount point is not taken for a root whose files are gone.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use crate::fs::{Errno, Handle, Open};
use crate::number_file::NumberFile;
use crate::own::OWN;
use crate::root;
use crate::trust::Trust;

pub(crate) fn path() -> PathBuf {
    Path::new(OWN).join("id")
}

/// The id. One that is missing, cut off or illegible is made anew.
pub(crate) fn of_root<H: Handle>(root: &H, trust: &Trust<H>) -> Result<u64, Errno> {
    let file = NumberFile::open(root, &path(), Open::ReadWrite)?;
    if let Some(id) = file.read()? {
        return Ok(id);
    }
    // The keys of its hashes are random.
    let id = RandomState::new().hash_one(std::process::id());
    file.write(root, trust, id)?;
    Ok(id)
}

/// The id of the root at `path`, which other processes may have open. `None`: it has none, or it cannot be read.
pub fn root_id(path: &Path) -> Option<u64> {
    let root = root::open(path, Open::Directory).ok()?;
    NumberFile::open(&root, &self::path(), Open::Read).ok()?.read().ok()?
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::support::Site;

    #[test]
    fn a_root_keeps_its_id_and_no_other_has_it() {
        let site = Site::new();
        let id = site.store.root_id().unwrap();
        assert_eq!(site.store.root_id().unwrap(), id);
        assert_ne!(Site::new().store.root_id().unwrap(), id);
        let site = site.reopened();
        assert_eq!((site.store.root_id().unwrap(), root_id(&site.root())), (id, Some(id)));
        for cut_off in ["", "0123", "0123456789abcdeg\n"] {
            fs::write(site.root().join(path()), cut_off).unwrap();
            let made = site.store.root_id().unwrap();
            assert_eq!(site.store.root_id().unwrap(), made, "{cut_off}");
        }
    }
}
