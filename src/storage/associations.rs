//! The numbers of associations: the next one is in the [`NumberFile`] `.tidegate/associations`. The receipt of an instance has the number of its
//! association, so no two associations of a root have one number, however often the node is started.
//!
//! Invariant: a number that a receipt names is less than the one in the file, and the file is durable before. A start goes on at the number in the
//! file. Numbers are reserved in blocks: a sync for each block, and a start passes over the rest of one.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{OpenError, StoreError};
use crate::fs::{Errno, Handle, Link, Open};
use crate::number_file::NumberFile;
use crate::origins;
use crate::own::OWN;
use crate::sync::Mutex;
use crate::trust::Trust;

/// Numbers of a block.
const BLOCK: u64 = 1024;

/// The first number of a root that has receipts and no file of numbers: earlier versions began anew with each start, and few reached this.
const BEHIND_FORMER: u64 = 1 << 20;

/// The numbers of this run: from its first up to those that are reserved. `None`: they are not known, and no receipt may name one.
#[derive(Debug, Default)]
pub(crate) struct Associations(Mutex<Option<Range<u64>>>);

fn path() -> PathBuf {
    Path::new(OWN).join("associations")
}

fn file<H: Handle>(root: &H) -> Result<NumberFile<H>, Errno> {
    NumberFile::open(root, &path(), Open::ReadWrite)
}

impl Associations {
    /// Reserves the first numbers of this run.
    pub(crate) fn begin<H: Handle>(&self, root: &H, trust: &Trust<H>) -> Result<(), OpenError> {
        let read = file(root).and_then(|file| file.read());
        let failed = |error| OpenError::io("read", path())(error).explained(root, Path::new(""));
        let first = read.map_err(failed)?;
        // Without a list of origins, no receipt was ever written.
        let has_no_receipts = || matches!(root.stat_at(&origins::path(), Link::NoFollow), Err(Errno::NOENT));
        let first = first.unwrap_or_else(|| if has_no_receipts() { 1 } else { BEHIND_FORMER });
        *self.0.lock() = Some(first..first);
        // On a full disk the node starts all the same. The first receipt comes back to it.
        let _ = self.reserve(root, trust, first);
        Ok(())
    }

    /// The first number of this run.
    pub(crate) fn first(&self) -> u64 {
        self.0.lock().as_ref().map_or(BEHIND_FORMER, |reserved| reserved.start)
    }

    /// Makes sure that no later run uses `number`.
    pub(crate) fn reserve<H: Handle>(&self, root: &H, trust: &Trust<H>, number: u64) -> Result<(), StoreError> {
        let failed = |error| StoreError::new("write", path(), error);
        let mut reserved = self.0.lock_in_time().ok_or(StoreError::Contended)?;
        let Some(reserved) = reserved.as_mut().filter(|reserved| reserved.start <= number) else {
            return Err(failed(Errno::RANGE));
        };
        if number >= reserved.end {
            let end = number.saturating_add(BLOCK);
            file(root).and_then(|file| file.write(root, trust, end)).map_err(failed)?;
            reserved.end = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::support::Site;

    fn file(site: &Site) -> PathBuf {
        site.root().join(path())
    }

    /// The root as the next process finds it.
    fn started_again(site: Site) -> Site {
        let site = site.reopened();
        site.store.begin_associations().unwrap();
        site
    }

    #[test]
    fn no_start_begins_at_a_number_that_a_receipt_may_name() {
        let site = Site::new();
        assert!(site.store.reserve_association(1).is_err(), "they have not begun");
        let mut site = started_again(site);
        assert_eq!(site.store.first_association(), 1);
        for highest in [1, 1024, 1025, 5000, 5000] {
            let first = site.store.first_association();
            for number in [first, first + highest] {
                site.store.reserve_association(number).unwrap();
            }
            let before = fs::read(file(&site)).unwrap();
            site.store.reserve_association(first + highest).unwrap();
            assert_eq!(fs::read(file(&site)).unwrap(), before, "one write a block");
            site = started_again(site);
            assert!(site.store.first_association() > first + highest);
            assert!(site.store.reserve_association(first).is_err(), "a number of an earlier run");
        }
    }

    #[test]
    fn a_root_of_an_earlier_version_begins_behind_its_numbers() {
        let site = Site::new();
        site.store.origin(b"CT1").unwrap();
        let mut site = started_again(site);
        assert_eq!(site.store.first_association(), BEHIND_FORMER);
        for damaged in ["", "0123", "0123456789abcdeg\n"] {
            fs::write(file(&site), damaged).unwrap();
            site = started_again(site);
            assert_eq!(site.store.first_association(), BEHIND_FORMER, "{damaged:?}");
            site.store.reserve_association(BEHIND_FORMER).unwrap();
        }
    }

    fn run(command: &mut Command) {
        assert!(command.status().unwrap().success());
    }

    #[test]
    fn what_stands_in_the_place_of_the_file_is_named_and_no_receipt_names_a_number() {
        type Place = fn(&Path);
        let obstacles: [(&str, Place); 3] = [
            ("a directory stands where a file is needed", |at| fs::create_dir(at).unwrap()),
            ("a symbolic link stands there, and none is followed", |at| {
                run(Command::new("ln").args(["-s", "origins"]).arg(at))
            }),
            ("a pipe, a socket or a device stands where", |at| run(Command::new("mkfifo").arg(at))),
        ];
        for (told, place) in obstacles {
            let site = Site::new();
            place(&file(&site));
            let error = site.store.begin_associations().unwrap_err().to_string();
            let names_all = error.contains(".tidegate/associations") && error.contains(told);
            assert!(names_all && error.contains("move this away, and start the node again"), "{error}");
            assert!(site.store.reserve_association(site.store.first_association()).is_err());
        }
    }
}
