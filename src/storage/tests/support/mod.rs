//! The common parts of the tests of storing: instances, a store in a directory of its own, and looks at the disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![allow(dead_code, reason = "no test uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use tidegate_storage::digest::{ATTRIBUTE, Digest, Receipt};
use tidegate_storage::head::{HeadLimits, HeadScan};
use tidegate_storage::layout::Layout;
use tidegate_storage::meta::{DatasetStart, FileMeta};
use tidegate_storage::uid::Uid;
use tidegate_storage::{
    CommitStrategy, Duplicates, Durability, FileAccess, FileBuilder, Instance, Outcome, Payload, Settings, Store,
    StoreError, Stored,
};

pub(crate) const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
pub(crate) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(crate) const STUDY: &str = "1.2.3";
pub(crate) const SERIES: &str = "1.2.3.4";

/// A store in a directory that goes with it.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir.path().join("root"));
        change(&mut settings);
        let (store, _) = Store::open(settings).unwrap();
        Self { store, dir }
    }

    /// The same root as the next process finds it.
    pub(crate) fn reopened(self) -> Self {
        let Self { store, dir } = self;
        drop(store);
        let (store, _) = Store::open(settings(&dir.path().join("root"))).unwrap();
        Self { store, dir }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Commits one instance.
    pub(crate) fn commit(&self, instance: &Instance) -> Result<Stored, StoreError> {
        commit(&self.store, instance)
    }

    /// Commits one instance that must be stored.
    pub(crate) fn outcome(&self, instance: &Instance) -> Outcome {
        self.commit(instance).unwrap().outcome
    }

    /// The datasets stored, by path.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files(&self.root())
    }

    pub(crate) fn temp_files(&self) -> Vec<PathBuf> {
        temp_files(&self.root())
    }
}

pub(crate) fn settings(root: &Path) -> Settings {
    Settings {
        root: root.to_owned(),
        layout: Layout::parse("{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm").unwrap(),
        durability: Durability::Fsync,
        commit: CommitStrategy::PerFile,
        duplicates: Duplicates::Replace,
        min_free_bytes: 0,
        access: FileAccess::default(),
        requires_mark: false,
    }
}

pub(crate) fn commit(store: &Store, instance: &Instance) -> Result<Stored, StoreError> {
    let mut results = store.commit(&[instance], &|| ());
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// The path of `uid` in the default series.
pub(crate) fn path_of(uid: &str) -> PathBuf {
    PathBuf::from(format!("{STUDY}/{SERIES}/{uid}.dcm"))
}

/// The path of the `copy`th version of `uid` in the default series.
pub(crate) fn copy_path(uid: &str, copy: u32) -> PathBuf {
    PathBuf::from(format!("{STUDY}/{SERIES}/{uid}~{copy}.dcm"))
}

pub(crate) fn meta(uid: &str) -> FileMeta {
    FileMeta {
        sop_class_uid: Uid::parse(CT.as_bytes()).unwrap(),
        sop_instance_uid: Uid::parse(uid.as_bytes()).unwrap(),
        transfer_syntax_uid: EXPLICIT_LE.into(),
        source_ae_title: "SENDER".into(),
        sending_ae_title: "SENDER".into(),
        receiving_ae_title: "TIDEGATE".into(),
    }
}

/// A dataset in explicit VR little endian.
pub(crate) fn dataset(uid: &str, study: &str, series: &str, pixels: &[u8]) -> Vec<u8> {
    let mut dataset = Vec::new();
    for (group, element, value) in [(8u16, 0x16u16, CT), (8, 0x18, uid), (0x20, 0x0d, study), (0x20, 0x0e, series)] {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        dataset.extend(group.to_le_bytes());
        dataset.extend(element.to_le_bytes());
        dataset.extend(b"UI");
        dataset.extend((value.len() as u16).to_le_bytes());
        dataset.extend(value);
    }
    dataset.extend([0xe0, 0x7f, 0x10, 0x00]);
    dataset.extend(b"OW\0\0");
    dataset.extend((pixels.len() as u32).to_le_bytes());
    dataset.extend(pixels);
    dataset
}

/// Bytes that differ from place to place and from seed to seed.
pub(crate) fn pixels(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed)).collect()
}

/// `dataset` as it would have come: in slices of all sizes, an empty one among them.
pub(crate) fn slices(dataset: &[u8]) -> Vec<Bytes> {
    let whole = Bytes::copy_from_slice(dataset);
    let mut slices = vec![Bytes::new()];
    let mut at = 0;
    for size in (1..).map(|n: usize| n * 37 % 5000 + 1) {
        let end = (at + size).min(whole.len());
        slices.push(whole.slice(at..end));
        at = end;
        if at == whole.len() {
            return slices;
        }
    }
    unreachable!()
}

pub(crate) fn instance_of(meta: FileMeta, dataset: &[u8], payload: Payload) -> Instance {
    let wanted = settings(Path::new("")).layout.wanted();
    let mut scan = HeadScan::new(&meta.transfer_syntax_uid, wanted, HeadLimits::default());
    let _ = scan.feed(dataset);
    let mut builder = FileBuilder::new(meta);
    builder.update(dataset);
    Instance::new(builder, scan.finish().unwrap(), payload)
}

/// An instance of the default series, in memory.
pub(crate) fn instance(uid: &str, pixels: &[u8]) -> Instance {
    instance_in(STUDY, SERIES, uid, pixels)
}

pub(crate) fn instance_in(study: &str, series: &str, uid: &str, pixels: &[u8]) -> Instance {
    let dataset = dataset(uid, study, series, pixels);
    instance_of(meta(uid), &dataset, Payload::Memory(slices(&dataset)))
}

/// The same as it comes in long fragments: read directly, in blocks of memory that begin on a page.
pub(crate) fn contiguous(uid: &str, pixels: &[u8]) -> Instance {
    let blocks = whole_file(uid, pixels).chunks(8192).map(on_a_page).collect();
    instance_of(meta(uid), &dataset(uid, STUDY, SERIES, pixels), Payload::Contiguous(blocks))
}

/// A copy of `bytes` that begins on a page of memory.
pub(crate) fn on_a_page(bytes: &[u8]) -> Bytes {
    let mut memory: Vec<u8> = Vec::with_capacity(bytes.len() + 4096);
    memory.resize(memory.as_ptr().align_offset(4096), 0);
    let begin = memory.len();
    memory.extend_from_slice(bytes);
    Bytes::from(memory).slice(begin..)
}

/// A spool file that has its file meta.
pub(crate) fn spool(store: &Store, uid: &str) -> tidegate_storage::SpoolFile {
    let encoded = FileBuilder::new(meta(uid)).encoded_meta().clone();
    let spool = store.spool(encoded.len() as u64).unwrap();
    spool.write(0, &[encoded]).unwrap();
    spool
}

/// An instance of the default series, spooled to `store`.
pub(crate) fn spooled(store: &Store, uid: &str, pixels: &[u8]) -> Instance {
    let dataset = dataset(uid, STUDY, SERIES, pixels);
    let spool = spool(store, uid);
    for part in slices(&dataset).chunks(3) {
        spool.write(spool.file_bytes(), part).unwrap();
    }
    assert_eq!(spool.dataset_bytes(), dataset.len() as u64);
    instance_of(meta(uid), &dataset, Payload::Spooled(spool.into()))
}

/// The whole file that an instance of the default series is to become.
pub(crate) fn whole_file(uid: &str, pixels: &[u8]) -> Vec<u8> {
    let mut file = meta(uid).encode();
    file.extend(dataset(uid, STUDY, SERIES, pixels));
    file
}

/// The dataset of the file at `path`.
pub(crate) fn stored_dataset(path: &Path) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    let start = DatasetStart::find(&file).expect("a file meta");
    file[start.offset as usize..].to_vec()
}

/// Every file below `root` that is not the store's own, relative to it, sorted.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true if entry.file_name() == ".tidegate" => {}
                true => walk(&entry.path(), found),
                false => found.push(entry.path()),
            }
        }
    }
    let mut found = Vec::new();
    walk(root, &mut found);
    found.iter_mut().for_each(|path| *path = path.strip_prefix(root).unwrap().to_owned());
    found.sort();
    found
}

/// The same instance, with a receipt.
pub(crate) fn with_receipt(instance: Instance, receipt: &Receipt) -> Instance {
    instance.set_receipt(*receipt);
    instance
}

/// What the file at `path` says of itself, as text.
pub(crate) fn attribute(path: &Path) -> Option<String> {
    let mut value = [0_u8; 256];
    let length = rustix::fs::getxattr(path, ATTRIBUTE, &mut value).ok()?;
    Some(String::from_utf8(value[..length].to_vec()).unwrap())
}

/// What it must say.
pub(crate) fn recorded(path: &Path, receipt: &str) -> Option<String> {
    Some(format!("{}{receipt}", Digest::of([&*fs::read(path).unwrap()])))
}

pub(crate) fn temp_files(root: &Path) -> Vec<PathBuf> {
    fs::read_dir(root.join(".tidegate/tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
}
