//! Records, a catalogue in a directory of its own, and the model of a disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate_catalogue::catch_up::{Directory, Disk, File, Found, Seen};
use tidegate_catalogue::{Catalogue, Origin, Reader, Record, SeriesValues, StudyValues};

pub(crate) use super::database::directory;

pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) catalogue: Catalogue,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let catalogue = Catalogue::open(&path_in(&directory), true).unwrap();
        Self { directory, catalogue }
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_in(&self.directory)
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&self.path()).unwrap()
    }
}

pub(crate) fn path_in(directory: &TempDir) -> PathBuf {
    directory.path().join("catalogue.db")
}

pub(crate) fn origin(calling_ae_title: &str, association: u32) -> Option<Arc<Origin>> {
    Some(Arc::new(Origin {
        calling_ae_title: calling_ae_title.to_owned(),
        address: "10.1.2.3".to_owned(),
        rule: "modalities".to_owned(),
        destinations: vec!["archive".to_owned(), "cloud".to_owned()],
        association,
    }))
}

/// Instance `number` of a series of a study, stored by the default layout.
pub(crate) fn record(study: u32, series: u32, number: u32) -> Record {
    let study_uid = format!("1.2.{study}");
    let series_uid = format!("{study_uid}.{series}");
    let uid = format!("{series_uid}.{number}");
    Record {
        path: format!("{study_uid}/{series_uid}/{uid}.dcm").into(),
        sop_instance_uid: uid.parse().unwrap(),
        sop_class_uid: "1.2.840.10008.5.1.4.1.1.2".to_owned(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        study: StudyValues {
            uid: study_uid,
            patient_id: Some(format!("P{study:05}")),
            patient_name: Some(format!("Doe{study}^Jane")),
            patient_birth_date: Some("19700101".to_owned()),
            accession_number: Some(format!("A{study}")),
            study_date: Some("20261129".to_owned()),
            description: Some("Thorax".to_owned()),
        },
        series: SeriesValues {
            uid: series_uid,
            modality: Some("CT".to_owned()),
            number: Some(i64::from(series)),
            description: Some("Axial".to_owned()),
        },
        instance_number: Some(i64::from(number)),
        told: tidegate_catalogue::ToldNumbers::default(),
        bytes: 1000,
        digest: Some(u128::from(number)),
        received_ms: 1_000_000 + i64::from(study) * 1000 + i64::from(number),
        modified_ns: None,
        origin: origin("CT1", 7),
    }
}

/// A file of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// `None`: no instance.
    pub(crate) record: Option<Record>,
    pub(crate) has_digest: bool,
    pub(crate) modified_ns: i64,
}

/// A storage root in memory, with a clock that a test moves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model(pub(crate) Rc<RefCell<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) files: BTreeMap<PathBuf, ModelFile>,
    /// With their stamps.
    pub(crate) directories: BTreeMap<PathBuf, i64>,
    pub(crate) now_ns: i64,
    pub(crate) unreadable: BTreeSet<PathBuf>,
    pub(crate) reads: usize,
    /// Directories that were looked for.
    pub(crate) looks: usize,
}

impl State {
    fn stamp(&mut self, path: &Path) {
        let now_ns = self.now_ns;
        for directory in path.ancestors().skip(1) {
            // Only the parent's time changes, but for directories that are made.
            let is_new = !self.directories.contains_key(directory);
            if is_new || Some(directory) == path.parent() {
                self.directories.insert(directory.to_owned(), now_ns);
            }
            if !is_new {
                break;
            }
        }
    }
}

impl Model {
    pub(crate) fn store(&self, record: &Record) {
        let mut state = self.0.borrow_mut();
        let modified_ns = state.now_ns;
        let file = ModelFile { record: Some(record.clone()), has_digest: true, modified_ns };
        state.files.insert(record.path.clone(), file);
        state.stamp(&record.path);
    }

    pub(crate) fn remove(&self, path: &Path) -> Option<ModelFile> {
        let mut state = self.0.borrow_mut();
        let file = state.files.remove(path)?;
        state.stamp(path);
        Some(file)
    }

    pub(crate) fn put(&self, path: &Path, mut file: ModelFile) {
        let mut state = self.0.borrow_mut();
        if let Some(record) = &mut file.record {
            record.path = path.to_owned();
        }
        state.files.insert(path.to_owned(), file);
        state.stamp(path);
    }

    pub(crate) fn remove_directory(&self, path: &Path) {
        let mut state = self.0.borrow_mut();
        state.files.retain(|file, _| !file.starts_with(path));
        state.directories.retain(|directory, _| !directory.starts_with(path));
        state.stamp(path);
    }

    pub(crate) fn pass_time(&self, ns: i64) {
        self.0.borrow_mut().now_ns += ns;
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        let is_readable = !self.0.borrow().unreadable.contains(path);
        is_readable.then_some(()).ok_or(io::ErrorKind::PermissionDenied.into())
    }
}

impl Disk for Model {
    type Directories = std::vec::IntoIter<io::Result<Directory>>;
    type Files = std::vec::IntoIter<io::Result<File>>;

    fn directories(&self) -> io::Result<Self::Directories> {
        let state = self.0.borrow();
        let directory = |(path, stamp_ns): (&PathBuf, &i64)| Ok(Directory { path: path.clone(), stamp_ns: *stamp_ns });
        Ok(state.directories.iter().map(directory).collect::<Vec<_>>().into_iter())
    }

    fn stamp_ns(&self, directory: &Path) -> io::Result<Option<i64>> {
        self.check(directory)?;
        let mut state = self.0.borrow_mut();
        state.looks += 1;
        Ok(state.directories.get(directory).copied())
    }

    fn files(&self, directory: &Path) -> io::Result<Self::Files> {
        self.check(directory)?;
        let state = self.0.borrow();
        if !state.directories.contains_key(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let listed = state.files.iter().filter(|(path, _)| path.parent() == Some(directory)).map(|(path, file)| {
            let record = file.record.as_ref();
            let seen = Seen {
                bytes: record.map_or(5, |record| record.bytes),
                modified_ns: file.modified_ns,
                digest: record.and_then(|record| record.digest).filter(|_| file.has_digest),
            };
            Ok(File { name: OsString::from(path.file_name().unwrap()), seen })
        });
        Ok(listed.collect::<Vec<_>>().into_iter())
    }

    fn is_there(&self, path: &Path) -> io::Result<bool> {
        self.check(path)?;
        Ok(self.0.borrow().files.contains_key(path))
    }

    fn read(&self, paths: &[PathBuf]) -> Vec<io::Result<Found>> {
        let read = |path: &PathBuf| {
            self.check(path)?;
            let mut state = self.0.borrow_mut();
            state.reads += 1;
            let Some(file) = state.files.get(path) else { return Ok(Found::Gone) };
            let Some(record) = &file.record else { return Ok(Found::Other) };
            let digest = record.digest.filter(|_| file.has_digest);
            let record = Record { digest, modified_ns: Some(file.modified_ns), ..record.clone() };
            Ok(Found::Instance(Box::new(record)))
        };
        paths.iter().map(read).collect()
    }

    fn now_ns(&self) -> i64 {
        self.0.borrow().now_ns
    }
}
