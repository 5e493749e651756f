//! The instances that must be on the disk, and those that may be.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::instance::InstanceId;

/// The sender's knowledge of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// The last version that was acknowledged.
    pub(crate) acknowledged: Option<u32>,
    /// A later version that was sent, at least in part, and not answered.
    pub(crate) unanswered: Option<u32>,
}

/// The instances that the associations of one round have sent.
#[derive(Debug, Default)]
pub(crate) struct Sent(pub(crate) BTreeMap<InstanceId, Known>);

impl Sent {
    /// How many instances were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.0.values().filter(|known| known.acknowledged.is_some()).count()
    }
}

/// All instances that were sent to a storage root.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<InstanceId, Known>,
    /// Files that were found whole; they must stay.
    settled: BTreeSet<(u32, PathBuf)>,
}

impl Ledger {
    pub(crate) fn add(&mut self, sent: Sent) {
        self.sent.extend(sent.0);
    }

    /// The files of a round need not be read again.
    pub(crate) fn settle(&mut self, round: u32, root: &Path) {
        let of_round = |id: &&InstanceId| id.round == round;
        let files = self.sent.keys().filter(of_round).map(|id| root.join(id.path())).filter(|path| path.exists());
        self.settled.extend(files.map(|path| (round, path)));
        self.sent.retain(|id, _| id.round != round);
    }

    /// The files of a round are deleted.
    pub(crate) fn forget(&mut self, round: u32) {
        self.settled.retain(|(of, _)| *of != round);
    }

    /// Every acknowledged instance is there, in its last acknowledged version or the one sent after it; every file is whole
    /// and one that was sent.
    pub(crate) fn check(&self, root: &Path) {
        let mut unexplained: HashSet<PathBuf> = files_below(root).into_iter().collect();
        for (_, path) in &self.settled {
            assert!(unexplained.remove(path), "lost: {}", path.display());
        }
        for (id, known) in &self.sent {
            let path = root.join(id.path());
            if !unexplained.remove(&path) {
                assert!(known.acknowledged.is_none(), "lost: {id:?} {known:?}");
                continue;
            }
            let stored = dataset_of(&path);
            let versions = [known.acknowledged, known.unanswered];
            let is_whole = versions.into_iter().flatten().any(|version| stored == id.dataset(version));
            assert!(is_whole, "{} has {} bytes of neither version of {id:?} {known:?}", path.display(), stored.len());
        }
        assert!(unexplained.is_empty(), "never sent: {unexplained:?}");
    }
}

/// Every file under the root but what the node keeps for itself.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        // Before its first start the node has no root.
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_name() == ".tidegate" {
            } else if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files
}

/// The bytes behind a file's meta.
fn dataset_of(path: &Path) -> Vec<u8> {
    let mut content = fs::read(path).unwrap();
    let meta_end = content.get(140..144).and_then(|length| {
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        (content.get(128..140)? == b"DICM\x02\0\0\0UL\x04\0" && length < 4096).then_some(144 + length)
    });
    let meta_end = meta_end.filter(|end| *end <= content.len());
    let Some(meta_end) = meta_end else { panic!("{} has no whole file meta", path.display()) };
    content.split_off(meta_end)
}
