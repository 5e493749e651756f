//! Opening a store, and storing what nothing is in the way of.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use crate::support::*;
use bytes::Bytes;
use tidegate_storage::layout::Layout;
use tidegate_storage::{Duplicates, Durability, OpenError, Outcome, Payload, Placement, Recovery, Store, StoreError};

#[test]
fn an_instance_becomes_a_whole_file_bit_for_bit() {
    for durability in [Durability::Fsync, Durability::None] {
        let site = Site::with(|settings| settings.durability = durability);
        let pixels = pixels(1, 300_001);
        let stored = site.commit(&instance("1.2.3.4.5", &pixels)).unwrap();
        assert_eq!(stored.outcome, Outcome::New);
        assert_eq!(stored.path, path_of("1.2.3.4.5"));
        assert_eq!(fs::read(site.root().join(&stored.path)).unwrap(), whole_file("1.2.3.4.5", &pixels));
        assert_eq!(site.files(), [path_of("1.2.3.4.5")]);
        assert!(site.temp_files().is_empty());
    }
}

#[test]
fn a_spooled_instance_becomes_the_same_file() {
    let site = Site::new();
    let pixels = pixels(2, 100_000);
    let spooled = spooled(&site.store, "1.2.3.4.5", &pixels);
    assert_eq!(site.temp_files().len(), 1);
    assert_eq!(site.outcome(&spooled), Outcome::New);
    drop(spooled);
    assert_eq!(fs::read(site.root().join(path_of("1.2.3.4.5"))).unwrap(), whole_file("1.2.3.4.5", &pixels));
    assert!(site.temp_files().is_empty());
}

#[test]
fn a_dataset_that_was_read_to_its_place_becomes_the_same_file_wherever_it_ends() {
    let front = whole_file("1.2.3.4.5", &[]).len();
    for durability in [Durability::Fsync, Durability::None] {
        for file_bytes in [front, 4094, 4096, 4098, 8192, 8194, 12_288, 20_000, 300_000] {
            let site = Site::with(|settings| settings.durability = durability);
            let pixels = pixels(3, file_bytes.max(front) - front);
            assert_eq!(site.outcome(&contiguous("1.2.3.4.5", &pixels)), Outcome::New);
            assert_eq!(fs::read(site.root().join(path_of("1.2.3.4.5"))).unwrap(), whole_file("1.2.3.4.5", &pixels));
            for again in [contiguous("1.2.3.4.5", &pixels), instance("1.2.3.4.5", &pixels)] {
                assert_eq!(
                    again.dataset_bytes(),
                    (pixels.len() + dataset("1.2.3.4.5", STUDY, SERIES, &[]).len()) as u64
                );
                assert_eq!(site.outcome(&again), Outcome::Identical, "{file_bytes}");
            }
            assert!(site.temp_files().is_empty());
        }
    }
}

#[test]
fn a_contiguous_dataset_that_lies_anyhow_in_memory_becomes_the_same_file() {
    let site = Site::new();
    let pixels = pixels(4, 100_000);
    let (file, dataset) = (whole_file("1.2.3.4.5", &pixels), dataset("1.2.3.4.5", STUDY, SERIES, &pixels));
    let begin = on_a_page(&file[..8192]);
    let anyhow = std::iter::once(begin).chain(file[8192..].chunks(5000).map(Bytes::copy_from_slice)).collect();
    site.commit(&instance_of(meta("1.2.3.4.5"), &dataset, Payload::Contiguous(anyhow))).unwrap();
    assert_eq!(fs::read(site.root().join(path_of("1.2.3.4.5"))).unwrap(), file);
}

#[test]
fn parts_of_a_spooled_dataset_may_lie_anyhow_in_memory() {
    let pixels = pixels(5, 60_000);
    let (file, dataset) = (whole_file("1.2.3.4.5", &pixels), dataset("1.2.3.4.5", STUDY, SERIES, &pixels));
    for parts in [&[0, 8192, 16_384, 20_480, 60_000][..], &[0, 4096, 5000, 9096, 13_192], &[0, 100, 4096, 8192]] {
        let site = Site::new();
        let spool = site.store.spool((file.len() - dataset.len()) as u64).unwrap();
        let ends = parts[1..].iter().copied().chain([file.len()]);
        for (&begin, end) in parts.iter().zip(ends) {
            spool.write(begin as u64, &[on_a_page(&file[begin..end])]).unwrap();
        }
        assert_eq!((spool.file_bytes(), spool.dataset_bytes()), (file.len() as u64, dataset.len() as u64));
        site.commit(&instance_of(meta("1.2.3.4.5"), &dataset, Payload::Spooled(spool.into()))).unwrap();
        assert_eq!(fs::read(site.root().join(path_of("1.2.3.4.5"))).unwrap(), file, "{parts:?}");
    }
}

#[test]
fn an_instance_can_have_a_placement_of_its_own() {
    let site = Site::with(|settings| settings.duplicates = Duplicates::Refuse);
    let placement = Arc::new(Placement {
        layout: Layout::parse("apart/{SOPInstanceUID}").unwrap(),
        durability: Durability::None,
        duplicates: Duplicates::KeepBoth,
    });
    let with_placement = |pixels: &[u8]| instance("1.2.3.4.5", pixels).with_placement(placement.clone());
    site.commit(&instance("1.2.3.4.5", b"one.")).unwrap();
    let batch = [with_placement(b"one."), with_placement(b"two."), instance("1.2.3.4.5", b"two.")];
    let results = site.store.commit(&batch.iter().collect::<Vec<_>>(), &|| ());
    assert_eq!(results[0].as_ref().unwrap().outcome, Outcome::New);
    assert_eq!(results[1].as_ref().unwrap().outcome, Outcome::KeptBoth { copy: 2 });
    assert!(matches!(results[2], Err(StoreError::DuplicateRefused { .. })));
    let apart = ["apart/1.2.3.4.5", "apart/1.2.3.4.5~2"].map(std::path::PathBuf::from);
    assert_eq!(site.files(), [vec![path_of("1.2.3.4.5")], apart.to_vec()].concat());
    let large = spooled(&site.store, "1.2.3.4.6", &pixels(3, 100_000)).with_placement(placement);
    assert_eq!(site.commit(&large).unwrap().path, std::path::Path::new("apart/1.2.3.4.6"));
}

#[test]
fn a_dataset_of_more_slices_than_one_write_takes_is_whole() {
    let site = Site::new();
    let pixels = pixels(3, 5000);
    let dataset = dataset("1.2.3.4.5", STUDY, SERIES, &pixels);
    let bytes = dataset.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
    site.commit(&instance_of(meta("1.2.3.4.5"), &dataset, Payload::Memory(bytes))).unwrap();
    assert_eq!(fs::read(site.root().join(path_of("1.2.3.4.5"))).unwrap(), whole_file("1.2.3.4.5", &pixels));
}

#[test]
fn an_uncommitted_spool_file_goes_when_dropped() {
    let site = Site::new();
    let spooled = spooled(&site.store, "1.2.3.4.5", &pixels(2, 100_000));
    drop(spooled);
    assert!(site.temp_files().is_empty());
    assert!(site.files().is_empty());
}

#[test]
fn a_batch_answers_for_each_instance_in_order() {
    let site = Site::new();
    // A file where the second one's study is to be.
    fs::write(site.root().join("1.9"), "in the way").unwrap();
    let batch = [
        instance("1.2.3.4.5", &pixels(1, 1000)),
        instance_in("1.9", "1.9.1", "1.9.1.1", &pixels(2, 1000)),
        spooled(&site.store, "1.2.3.4.6", &pixels(3, 1000)),
        instance_in("1.8", "1.8.1", "1.8.1.1", &pixels(4, 1000)),
    ];
    let results = site.store.commit(&batch.each_ref(), &|| ());
    assert_eq!(results[0].as_ref().unwrap().path, path_of("1.2.3.4.5"));
    assert!(matches!(results[1], Err(StoreError::Obstructed { .. })), "{:?}", results[1]);
    assert_eq!(results[2].as_ref().unwrap().path, path_of("1.2.3.4.6"));
    assert_eq!(results[3].as_ref().unwrap().path.to_str(), Some("1.8/1.8.1/1.8.1.1.dcm"));
    drop(batch);
    assert_eq!(site.files().len(), 4);
    assert!(site.temp_files().is_empty());
    assert_eq!(fs::read(site.root().join("1.9")).unwrap(), b"in the way");
    assert!(site.store.commit(&[], &|| ()).is_empty());
}

#[test]
fn others_may_not_read_what_is_stored() {
    let site = Site::new();
    let path = site.commit(&instance("1.2.3.4.5", &pixels(1, 10))).unwrap().path;
    let mode = |path| fs::metadata(site.root().join(path)).unwrap().permissions().mode() & 0o7777;
    // The umask of the user who runs this may take more away.
    let file = mode(path.as_path());
    assert_eq!((file & !0o640, file & 0o600), (0, 0o600), "{file:o}");
    let directory = mode(path.parent().unwrap());
    assert_eq!((directory & !0o750, directory & 0o700), (0, 0o700), "{directory:o}");
}

#[test]
fn a_store_makes_its_root_with_all_that_is_missing_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b/c");
    let (store, recovery) = Store::open(settings(&root)).unwrap();
    assert_eq!(recovery, Recovery { is_new: true, ..Recovery::default() });
    commit(&store, &instance("1.2.3.4.5", &pixels(1, 10))).unwrap();
    assert_eq!(files(&root), [path_of("1.2.3.4.5")]);
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::write(&root, "").unwrap();
    let error = Store::open(settings(&root)).unwrap_err();
    assert!(error.to_string().contains(root.to_str().unwrap()), "{error}");
}

#[test]
fn recovery_removes_temp_files_and_counts_them() {
    let site = Site::new();
    site.commit(&instance("1.2.3.4.5", &pixels(1, 1000))).unwrap();
    let Site { store, dir } = site;
    drop(store);
    let root = dir.path().join("root");
    fs::write(root.join(".tidegate/tmp/left"), [7; 1234]).unwrap();
    fs::write(root.join(".tidegate/tmp/behind"), [7; 4321]).unwrap();
    let (_store, recovery) = Store::open(settings(&root)).unwrap();
    assert_eq!(recovery, Recovery { removed_files: 2, removed_bytes: 5555, ..Recovery::default() });
    assert!(temp_files(&root).is_empty());
    assert_eq!(fs::read(root.join(path_of("1.2.3.4.5"))).unwrap(), whole_file("1.2.3.4.5", &pixels(1, 1000)));
}

#[test]
fn a_root_can_be_open_once_only_and_its_holder_is_named() {
    let site = Site::new();
    let spooled = spooled(&site.store, "1.2.3.4.5", &pixels(1, 10));
    match Store::open(settings(&site.root())) {
        Err(OpenError::Locked { root, pid }) => {
            assert_eq!((root, pid), (site.root(), Some(std::process::id())))
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(site.temp_files().len(), 1, "the one turned away removed nothing");
    drop(spooled);
    let Site { store, dir } = site;
    drop(store);
    Store::open(settings(&dir.path().join("root"))).unwrap();
}

#[test]
fn threads_share_a_store() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let site = &site;
            scope.spawn(move || {
                for round in 0..10 {
                    let uids: Vec<_> = (0..4).map(|n| format!("1.2.{thread}.{round}.{n}")).collect();
                    let batch: Vec<_> = uids
                        .iter()
                        .map(|uid| instance_in(&format!("1.{round}"), "1.5", uid, &pixels(thread, 2000)))
                        .collect();
                    for (result, uid) in
                        site.store.commit(&batch.iter().collect::<Vec<_>>(), &|| ()).into_iter().zip(&uids)
                    {
                        let stored = result.unwrap();
                        assert_eq!(stored.outcome, Outcome::New);
                        let expected = dataset(uid, &format!("1.{round}"), "1.5", &pixels(thread, 2000));
                        assert_eq!(stored_dataset(&site.root().join(stored.path)), expected);
                    }
                }
            });
        }
    });
    assert_eq!(site.files().len(), 8 * 10 * 4);
    assert!(site.temp_files().is_empty());
}

#[test]
fn an_instance_committed_by_two_threads_at_once_is_stored_once() {
    for spool in [false, true] {
        let site = Site::new();
        for round in 0..30 {
            let uid = format!("1.2.3.{round}");
            let pixels = pixels(round, 3000);
            let instance = Arc::new(if spool { spooled(&site.store, &uid, &pixels) } else { instance(&uid, &pixels) });
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| site.outcome(&instance));
                }
            });
            assert_eq!(fs::read(site.root().join(path_of(&uid))).unwrap(), whole_file(&uid, &pixels));
        }
        assert_eq!(site.files().len(), 30);
        assert!(site.temp_files().is_empty());
    }
}

#[test]
fn a_stored_file_is_the_temp_file_itself() {
    let site = Site::new();
    let spooled = spooled(&site.store, "1.2.3.4.5", &pixels(1, 1000));
    let temp = fs::metadata(&site.temp_files()[0]).unwrap().ino();
    let path = site.commit(&spooled).unwrap().path;
    assert_eq!(fs::metadata(site.root().join(path)).unwrap().ino(), temp);
}
