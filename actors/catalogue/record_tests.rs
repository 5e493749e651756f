//! Records of events against those of the files that they tell of, and catch-up on a real root.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dicom_core::Tag;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, XattrFlags, getxattr, open, removexattr, rename, setxattr,
    unlink, utimensat,
};
use tempfile::TempDir;
use tidegate_catalogue::catch_up::{CatchUp, Depth, Disk, Found};
use tidegate_catalogue::receipt::{OriginEntry, OriginKey, Receipt, TEXT_BYTES};
use tidegate_catalogue::{Catalogue, Record};
use tidegate_storage::head::{HeadLimits, HeadScan, Wanted};
use tidegate_storage::layout::Layout;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::uid::Uid;
use tidegate_storage::{
    CommitStrategy, Duplicates, Durability, FileAccess, FileBuilder, Instance, Outcome, Payload, Settings, Store,
};

use super::disk::RootDisk;
use super::record::{Decoded, Noted};
use crate::committed::{Committed, Origin, now_ms};
use crate::elements::*;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
const ATTRIBUTE: &str = "user.tidegate.xxh128";

struct Site {
    store: Store,
    directory: TempDir,
    catalogued: Catalogued,
    origin: Arc<Origin>,
    /// As for one batch of all that it stores.
    decoded: RefCell<Decoded>,
}

impl Site {
    fn new(catalogued: Catalogued) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            root: directory.path().join("root"),
            layout: Layout::parse("{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm").unwrap(),
            durability: Durability::None,
            commit: CommitStrategy::Adaptive,
            duplicates: Duplicates::KeepBoth,
            min_free_bytes: 0,
            access: FileAccess::default(),
            requires_mark: false,
        };
        let peer: SocketAddr = "10.1.2.3:104".parse().unwrap();
        let origin = Arc::new(Origin::new((1 << 40) + 7, peer, "CT1".to_owned(), Some("modalities".to_owned())));
        let decoded = RefCell::default();
        Self { store: Store::open(settings).unwrap().0, directory, catalogued, origin, decoded }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn disk(&self) -> RootDisk {
        let assumed = Arc::new(|calling: &str, class: &str| Arc::from([format!("of {calling} {class}")]));
        RootDisk::new(&self.store, self.catalogued == Catalogued::Patients, assumed).unwrap()
    }

    /// Stores an instance as a writer does. The record of the event, unless it was stored before, and the path.
    fn store(&self, uid: &str, elements: &[(Tag, &[u8])]) -> (Option<Record>, PathBuf) {
        let origin = Arc::clone(&self.origin);
        let entry = origin.entry().encode().unwrap();
        let number = self.store.origin(&entry).unwrap().unwrap();
        let key = OriginKey { number, check: OriginEntry::check(&entry) };
        let receipt = Receipt { received_ms: 1_795_000_000_123, origin: key, association: 7 };

        let dataset = dataset(uid, elements);
        let wanted = Wanted::new(self.store.wanted(), &optional(false, self.catalogued));
        let mut scan = HeadScan::new(EXPLICIT_LE, wanted, HeadLimits::default());
        let _ = scan.feed(&dataset);
        let mut builder = FileBuilder::new(meta(uid));
        builder.update(&dataset);
        let instance = Instance::new(builder, scan.finish().unwrap(), Payload::Memory(vec![dataset.into()]));
        instance.set_receipt(receipt.encode().unwrap());
        let stored = self.store.commit(&[&instance], &|| ()).remove(0).unwrap();
        let event = Committed { origin: &origin, instance: &instance, stored: &stored };
        let noted = Noted::of(&event);
        assert_eq!(noted.is_none(), stored.outcome == Outcome::Identical);
        (noted.map(|noted| noted.record(&mut self.decoded.borrow_mut())), stored.path)
    }

    /// The record that the file makes.
    fn read(&self, path: &Path) -> Record {
        match self.disk().read(&[path.to_owned()]).remove(0).unwrap() {
            Found::Instance(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    /// Catches up, and returns what was found: new, changed, gone, other.
    fn catch_up(&self, catalogue: &mut Catalogue, depth: Depth) -> [u64; 4] {
        let mut catch_up = CatchUp::new(self.disk(), depth);
        while catch_up.step(catalogue, 1_795_000_001_000).unwrap() {}
        let progress = catch_up.progress();
        assert_eq!(progress.unreadable, 0);
        [progress.new, progress.changed, progress.gone, progress.other]
    }

    fn differences(&self, catalogue: &mut Catalogue) -> u64 {
        let mut check = CatchUp::check(self.disk(), i64::MAX);
        while check.step(catalogue, 0).unwrap() {}
        check.progress().differences()
    }

    fn catalogue(&self, name: &str) -> Catalogue {
        Catalogue::open(&self.directory.path().join(name), true).unwrap()
    }
}

fn meta(uid: &str) -> FileMeta {
    FileMeta {
        sop_class_uid: Uid::parse(CT.as_bytes()).unwrap(),
        sop_instance_uid: Uid::parse_loosely(uid.as_bytes()).unwrap(),
        transfer_syntax_uid: EXPLICIT_LE.to_owned(),
        source_ae_title: "CT1".to_owned(),
        sending_ae_title: "CT1".to_owned(),
        receiving_ae_title: "TIDEGATE".to_owned(),
    }
}

/// Explicit VR little endian, of the elements in the order of their tags, the identity among them.
fn dataset(uid: &str, elements: &[(Tag, &[u8])]) -> Vec<u8> {
    let identity: [(Tag, &[u8]); 4] = [
        (Tag(0x0008, 0x0016), CT.as_bytes()),
        (Tag(0x0008, 0x0018), uid.as_bytes()),
        (STUDY_INSTANCE_UID, b"1.2.3"),
        (SERIES_INSTANCE_UID, b"1.2.3.4"),
    ];
    let mut all: Vec<_> = identity.iter().chain(elements).collect();
    all.sort_by_key(|(tag, _)| *tag);
    let mut dataset = Vec::new();
    for (tag, value) in all {
        let padding = value.len() % 2;
        dataset.extend([tag.group().to_le_bytes(), tag.element().to_le_bytes()].concat());
        dataset.extend(b"LO");
        dataset.extend(((value.len() + padding) as u16).to_le_bytes());
        dataset.extend(*value);
        dataset.extend(&b" "[..padding]);
    }
    dataset
}

fn full(name: &'static [u8], character_set: &'static [u8]) -> Vec<(Tag, &'static [u8])> {
    vec![
        (SPECIFIC_CHARACTER_SET, character_set),
        (STUDY_DATE, b"20260131"),
        (ACCESSION_NUMBER, b"A1"),
        (MODALITY, b"CT"),
        (STUDY_DESCRIPTION, b"Head"),
        (SERIES_DESCRIPTION, b"axial"),
        (PATIENT_NAME, name),
        (PATIENT_ID, b"P1"),
        (PATIENT_BIRTH_DATE, b"19700101"),
        (SERIES_NUMBER, b"2"),
        (INSTANCE_NUMBER, b" +17"),
    ]
}

#[test]
fn an_event_and_its_file_make_one_record() {
    let site = Site::new(Catalogued::Patients);
    let names: [(&[u8], &[u8], &str); 6] = [
        (b"M\xFCller", b"ISO_IR 100", "Müller"),
        (b"\xCF", b"ISO_IR 144", "Я"),
        (b"\xE7\x8E\x8B", b"ISO_IR 192", "王"),
        (b"Yamada=\x1B$B;3ED\x1B(B", b"\\ISO 2022 IR 87", "Yamada=山田"),
        (b"\xCD\xF5", b"GB18030", "王"),
        (b"M\xFCller", b"nonsense", "M\u{fffd}ller"),
    ];
    // Each twice: values of study and series that are those of the instance before are not decoded again.
    let twice = names.into_iter().flat_map(|name| [(name, 17, &b" +17"[..]), (name, 18, b"18")]);
    for (at, ((name, character_set, text), number, own)) in twice.enumerate() {
        let mut elements = full(name, character_set);
        elements.iter_mut().filter(|(tag, _)| *tag == INSTANCE_NUMBER).for_each(|(_, value)| *value = own);
        let (event, path) = site.store(&format!("1.2.9.{at}"), &elements);
        let (event, file) = (event.unwrap(), site.read(&path));
        assert_eq!(Record { modified_ns: file.modified_ns, ..event }, file);
        assert_eq!(file.study.patient_name.as_deref(), Some(text));
        assert_eq!((file.instance_number, file.series.number), (Some(number), Some(2)));
        assert_eq!((file.received_ms, file.digest.is_some()), (1_795_000_000_123, true));
        let origin = file.origin.unwrap();
        assert_eq!((&*origin.calling_ae_title, &*origin.address, origin.association), ("CT1", "10.1.2.3", 7));
    }
}

#[test]
fn what_a_dataset_lacks_its_record_lacks() {
    let site = Site::new(Catalogued::Patients);
    let (event, path) = site.store("1.2.9", &[(INSTANCE_NUMBER, b"seven")]);
    let (event, file) = (event.unwrap(), site.read(&path));
    assert_eq!(Record { modified_ns: file.modified_ns, ..event }, file);
    assert_eq!((file.instance_number, file.study.patient_id), (None, None));
}

#[test]
fn numbers_of_instances_are_told_by_each_dataset_for_itself() {
    let site = Site::new(Catalogued::of(false));
    for (at, (number, told)) in
        [(&b"12"[..], Some(12)), (b" 13\\4", Some(13)), (b"0", None), (b"-1", None), (b"1E9", None)]
            .into_iter()
            .enumerate()
    {
        let elements = [
            (IMAGES_IN_ACQUISITION, number),
            (NUMBER_OF_STUDY_RELATED_INSTANCES, b"400"),
            (NUMBER_OF_SERIES_RELATED_INSTANCES, number),
        ];
        let (event, path) = site.store(&format!("1.2.9.{at}"), &elements);
        for record in [event.unwrap(), site.read(&path)] {
            assert_eq!((record.told.study, record.told.series, record.told.acquisition), (Some(400), told, told));
        }
    }
}

#[test]
fn without_patients_none_of_their_elements_is_read() {
    let site = Site::new(Catalogued::of(false));
    let (event, path) = site.store("1.2.9", &full(b"Doe", b""));
    for record in [event.unwrap(), site.read(&path)] {
        assert_eq!(record.study, tidegate_catalogue::StudyValues { uid: "1.2.3".to_owned(), ..Default::default() });
        assert_eq!(record.series.modality.as_deref(), Some("CT"));
    }
}

#[test]
fn an_identical_one_says_nothing_of_the_file_that_is_there() {
    let site = Site::new(Catalogued::Patients);
    let first = site.store("1.2.9", &[]);
    assert_eq!(site.store("1.2.9", &[]), (None, first.1));
}

#[test]
fn a_file_that_lost_its_receipt_or_the_list_of_it_says_what_its_meta_says() {
    let site = Site::new(Catalogued::Patients);
    let (event, path) = site.store("1.2.9", &[]);
    let by_title = |record: &Record| {
        let origin = record.origin.as_ref().unwrap();
        assert_eq!((&*origin.calling_ae_title, &*origin.address, origin.association), ("CT1", "", 0));
    };
    // Another list, after a backup was restored: the same number is another origin.
    unlink(site.root().join(".tidegate/origins")).unwrap();
    site.store.origin(b"another").unwrap();
    let file = site.read(&path);
    by_title(&file);
    assert_eq!((file.received_ms, file.digest), (event.as_ref().unwrap().received_ms, event.unwrap().digest));

    removexattr(site.root().join(&path), ATTRIBUTE).unwrap();
    let file = site.read(&path);
    by_title(&file);
    assert_eq!((file.received_ms, file.digest), (file.modified_ns.unwrap() / 1_000_000, None));
}

/// Set by a program, or written by a node whose clock was wrong.
#[test]
fn nothing_was_received_in_the_future() {
    let site = Site::new(Catalogued::Patients);
    let (_, path) = site.store("1.2.9", &[]);
    let file = site.root().join(&path);
    let future = Timespec { tv_sec: 4_102_444_800, tv_nsec: 0 };
    let before_ms = now_ms() as i64;
    let times = Timestamps { last_access: future, last_modification: future };
    utimensat(CWD, &file, &times, AtFlags::empty()).unwrap();
    assert_eq!(site.read(&path).received_ms, 1_795_000_000_123, "the receipt knows it");

    let mut value = [0; 256];
    let length = getxattr(&file, ATTRIBUTE, &mut value).unwrap();
    let receipt =
        Receipt { received_ms: 4_102_444_800_000, ..Receipt::decode(&value[length - TEXT_BYTES..length]).unwrap() };
    let of_future = [&value[..length - TEXT_BYTES], &receipt.encode().unwrap()].concat();
    setxattr(&file, ATTRIBUTE, &of_future, XattrFlags::REPLACE).unwrap();
    let is_sane = |record: Record| {
        let received_ms = before_ms - 1000..=now_ms() as i64;
        assert!(received_ms.contains(&record.received_ms), "{received_ms:?}: {}", record.received_ms);
    };
    is_sane(site.read(&path));
    removexattr(&file, ATTRIBUTE).unwrap();
    is_sane(site.read(&path));
}

#[test]
fn events_and_catch_up_agree_and_a_rebuild_is_the_same_again() {
    let site = Site::new(Catalogued::Patients);
    let mut catalogue = site.catalogue("catalogue");
    let mut records = Vec::new();
    for number in 0..100 {
        records.extend(site.store(&format!("1.2.9.{number}"), &full(b"Doe", b"")).0);
    }
    // Versions, and UIDs that are none by the standard.
    for (uid, name) in [("1.2.9.1", &b"v2"[..]), ("1.2.9.1", b"v3"), ("A-b_c 1", b"Doe"), ("1.2.9.1~2", b"Doe")] {
        records.extend(site.store(uid, &[(PATIENT_NAME, name)]).0);
    }
    assert_eq!(catalogue.enter(&records).unwrap().new, 104);
    assert_eq!(site.differences(&mut catalogue), 0);
    assert_eq!(site.catch_up(&mut catalogue, Depth::All), [0; 4]);
    // Read, each file adds when it was modified, and nothing else.
    site.catch_up(&mut catalogue, Depth::Read);
    assert_eq!(site.differences(&mut catalogue), 0);

    let mut rebuilt = site.catalogue("rebuilt");
    assert_eq!(site.catch_up(&mut rebuilt, Depth::Changed), [104, 0, 0, 0]);
    for record in &records {
        let rows = |name: &str| {
            let mut reader = tidegate_catalogue::Reader::open(&site.directory.path().join(name)).unwrap();
            reader.instances(&record.sop_instance_uid, 9).unwrap()
        };
        let (events, files) = (rows("catalogue"), rows("rebuilt"));
        assert_eq!(format!("{events:?}"), format!("{files:?}"));
    }

    // What people do.
    unlink(site.root().join("1.2.3/1.2.3.4/1.2.9.5.dcm")).unwrap();
    rename(site.root().join("1.2.3/1.2.3.4/1.2.9.6.dcm"), site.root().join("moved.dcm")).unwrap();
    let file = open(site.root().join("readme.txt"), OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::io::write(file, b"no instance").unwrap();
    assert_eq!(site.differences(&mut rebuilt), 3);
    assert_eq!(site.catch_up(&mut rebuilt, Depth::Changed), [0, 1, 2, 1], "what was moved keeps its row");
    assert_eq!(site.differences(&mut rebuilt), 0);
}

#[test]
fn files_are_answered_in_their_order_whoever_reads_them() {
    let site = Site::new(Catalogued::Patients);
    let paths: Vec<PathBuf> = (0..300).map(|number| site.store(&format!("1.2.9.{number}"), &[]).1).collect();
    unlink(site.root().join(&paths[200])).unwrap();
    for (at, found) in site.disk().read(&paths).into_iter().enumerate() {
        match found.unwrap() {
            Found::Instance(record) => assert_eq!(record.path, paths[at]),
            other => assert_eq!((other, at), (Found::Gone, 200)),
        }
    }
}
