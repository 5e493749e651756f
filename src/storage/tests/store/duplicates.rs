//! A SOP Instance UID that is stored already.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Barrier;

use crate::support::*;
use tidegate_storage::digest::Digest;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::{Duplicates, Durability, Instance, Outcome, Payload, StoreError};

const UID: &str = "1.2.3.4.5";

fn site(duplicates: Duplicates) -> Site {
    Site::with(|settings| settings.duplicates = duplicates)
}

/// `pixels` in an instance of either kind.
fn both(site: &Site, pixels: &[u8]) -> [Instance; 2] {
    [instance(UID, pixels), spooled(&site.store, UID, pixels)]
}

fn identity(path: &Path) -> (u64, i64, i64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[test]
fn identical_bytes_are_not_written_again() {
    for duplicates in [Duplicates::Replace, Duplicates::KeepBoth, Duplicates::Refuse] {
        for durability in [Durability::Fsync, Durability::None] {
            let site = Site::with(|settings| (settings.duplicates, settings.durability) = (duplicates, durability));
            let pixels = pixels(1, 400_000);
            assert_eq!(site.outcome(&instance(UID, &pixels)), Outcome::New);
            let before = identity(&site.root().join(path_of(UID)));
            for again in both(&site, &pixels) {
                let stored = site.commit(&again).unwrap();
                assert_eq!((stored.outcome, stored.path), (Outcome::Identical, path_of(UID)));
            }
            assert_eq!(identity(&site.root().join(path_of(UID))), before);
            assert_eq!(site.files(), [path_of(UID)]);
            assert!(site.temp_files().is_empty());
        }
    }
}

#[test]
fn the_same_dataset_from_another_sender_is_identical() {
    let site = site(Duplicates::Refuse);
    site.commit(&instance(UID, &pixels(1, 1000))).unwrap();
    let dataset = dataset(UID, STUDY, SERIES, &pixels(1, 1000));
    let mut meta = meta(UID);
    meta.source_ae_title = "ANOTHER".into();
    let again = instance_of(meta, &dataset, Payload::Memory(slices(&dataset)));
    assert_eq!(site.outcome(&again), Outcome::Identical);
}

#[test]
fn the_same_bytes_in_another_transfer_syntax_are_different() {
    let site = site(Duplicates::KeepBoth);
    site.commit(&instance(UID, &pixels(1, 1000))).unwrap();
    let dataset = dataset(UID, STUDY, SERIES, &pixels(1, 1000));
    let mut meta = meta(UID);
    meta.transfer_syntax_uid = "1.2.840.10008.1.2.4.50".into();
    let again = instance_of(meta, &dataset, Payload::Memory(slices(&dataset)));
    assert_eq!(site.outcome(&again), Outcome::KeptBoth { copy: 2 });
}

#[test]
fn replace_puts_the_new_bytes_in_place_of_the_old() {
    let site = site(Duplicates::Replace);
    for (seed, new) in both(&site, &pixels(1, 5000)).into_iter().enumerate() {
        // Same length, last byte different.
        let mut old = pixels(1, 5000);
        *old.last_mut().unwrap() ^= seed as u8 + 1;
        site.commit(&instance(UID, &old)).unwrap();
        let stored = site.commit(&new).unwrap();
        assert_eq!((stored.outcome, stored.path), (Outcome::Replaced, path_of(UID)));
        assert_eq!(fs::read(site.root().join(path_of(UID))).unwrap(), whole_file(UID, &pixels(1, 5000)));
    }
    assert_eq!(site.files(), [path_of(UID)]);
    assert!(site.temp_files().is_empty());
}

#[test]
fn refuse_leaves_the_old_bytes() {
    let site = site(Duplicates::Refuse);
    site.commit(&instance(UID, &pixels(1, 5000))).unwrap();
    for new in both(&site, &pixels(2, 5000)) {
        match site.commit(&new) {
            Err(StoreError::DuplicateRefused { path }) => assert_eq!(path, path_of(UID)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read(site.root().join(path_of(UID))).unwrap(), whole_file(UID, &pixels(1, 5000)));
    assert!(site.temp_files().is_empty());
}

#[test]
fn keep_both_numbers_the_versions_and_knows_each_again() {
    let site = site(Duplicates::KeepBoth);
    assert_eq!(site.outcome(&instance(UID, &pixels(1, 500))), Outcome::New);
    assert_eq!(site.outcome(&instance(UID, &pixels(2, 500))), Outcome::KeptBoth { copy: 2 });
    assert_eq!(site.outcome(&spooled(&site.store, UID, &pixels(3, 500))), Outcome::KeptBoth { copy: 3 });
    for (seed, path) in [(1, path_of(UID)), (2, copy_path(UID, 2)), (3, copy_path(UID, 3))] {
        for again in both(&site, &pixels(seed, 500)) {
            let stored = site.commit(&again).unwrap();
            assert_eq!((stored.outcome, &stored.path), (Outcome::Identical, &path));
        }
        assert_eq!(fs::read(site.root().join(path)).unwrap(), whole_file(UID, &pixels(seed, 500)));
    }
    assert_eq!(site.files().len(), 3);
}

#[test]
fn any_number_of_versions_leaves_a_name_for_the_next() {
    let site = Site::with(|settings| {
        (settings.duplicates, settings.durability) = (Duplicates::KeepBoth, Durability::None);
    });
    for seed in 0..300_u16 {
        let pixels: Vec<u8> = seed.to_le_bytes().repeat(100);
        let stored = site.commit(&instance(UID, &pixels)).unwrap();
        let Outcome::KeptBoth { copy } = stored.outcome else {
            assert_eq!((seed, stored.outcome), (0, Outcome::New));
            continue;
        };
        assert_eq!((copy == u32::from(seed) + 1, stored.path), (seed < 64, copy_path(UID, copy)), "{seed}");
        let again = site.commit(&instance(UID, &pixels)).unwrap();
        assert_eq!((again.outcome, again.path), (Outcome::Identical, copy_path(UID, copy)), "{seed}");
    }
    assert_eq!(site.files().len(), 300);
}

/// The file meta names the sender, and the bytes of a version are its dataset's.
#[test]
fn a_version_is_known_again_whichever_title_sends_it() {
    let site = Site::with(|settings| {
        (settings.duplicates, settings.durability) = (Duplicates::KeepBoth, Durability::None);
    });
    let from = |title: &str, pixels: &[u8]| {
        let dataset = dataset(UID, STUDY, SERIES, pixels);
        let meta = FileMeta { source_ae_title: title.into(), sending_ae_title: title.into(), ..meta(UID) };
        instance_of(meta, &dataset, Payload::Memory(slices(&dataset)))
    };
    for seed in 0..70_u16 {
        let pixels: Vec<u8> = seed.to_le_bytes().repeat(100);
        let stored = site.commit(&from("CT1", &pixels)).unwrap();
        assert_ne!(stored.outcome, Outcome::Identical, "{seed}");
        for again in [from("CT2", &pixels), from("CT1", &pixels), spooled(&site.store, UID, &pixels)] {
            let again = site.commit(&again).unwrap();
            assert_eq!((again.outcome, &again.path), (Outcome::Identical, &stored.path), "{seed}");
        }
    }
    assert_eq!(site.files().len(), 70);
}

/// Earlier builds numbered the versions beyond the counted ones by the digest of the whole file.
#[test]
fn a_version_under_the_name_of_an_earlier_build_is_known_again() {
    let site = Site::with(|settings| {
        (settings.duplicates, settings.durability) = (Duplicates::KeepBoth, Durability::None);
    });
    let pixels = |seed: u16| seed.to_le_bytes().repeat(100);
    for seed in 0..64 {
        site.commit(&instance(UID, &pixels(seed))).unwrap();
    }
    let late = instance(UID, &pixels(64));
    let number = Digest::of([&whole_file(UID, &pixels(64))[..]]).to_string();
    let mut bytes: [u8; 16] = u128::from_str_radix(&number, 16).unwrap().to_le_bytes();
    bytes =
        u128::from_str_radix(&Digest::of([&bytes[..], &0_u32.to_le_bytes()]).to_string(), 16).unwrap().to_le_bytes();
    let copy = 65 + u32::from_le_bytes(bytes[..4].try_into().unwrap()) % (u32::MAX - 64);
    fs::write(site.root().join(copy_path(UID, copy)), whole_file(UID, &pixels(64))).unwrap();
    let stored = site.commit(&late).unwrap();
    assert_eq!((stored.outcome, stored.path), (Outcome::Identical, copy_path(UID, copy)));
}

#[test]
fn two_of_one_uid_in_a_batch_are_duplicates() {
    let batch =
        |_: &Site| [instance(UID, &pixels(1, 500)), instance(UID, &pixels(1, 500)), instance(UID, &pixels(2, 500))];
    let expected = [
        (Duplicates::Replace, Some(Outcome::Replaced)),
        (Duplicates::KeepBoth, Some(Outcome::KeptBoth { copy: 2 })),
        (Duplicates::Refuse, None),
    ];
    for (duplicates, third) in expected {
        let site = site(duplicates);
        let batch = batch(&site);
        let outcomes: Vec<_> = site
            .store
            .commit(&batch.each_ref(), &|| ())
            .into_iter()
            .map(|result| result.ok().map(|stored| stored.outcome))
            .collect();
        assert_eq!(outcomes, [Some(Outcome::New), Some(Outcome::Identical), third]);
        let last = if duplicates == Duplicates::Replace { 2 } else { 1 };
        assert_eq!(fs::read(site.root().join(path_of(UID))).unwrap(), whole_file(UID, &pixels(last, 500)));
        assert!(site.temp_files().is_empty());
    }
}

/// Has 8 threads commit under one UID at once, the bytes of thread `n` being those of seed `n % seeds`.
fn race(site: &Site, seeds: u8) -> Vec<Result<Outcome, StoreError>> {
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u8)
            .map(|thread| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let pixels = pixels(thread % seeds, 20_000);
                    let instance = if thread < 4 { instance(UID, &pixels) } else { spooled(&site.store, UID, &pixels) };
                    barrier.wait();
                    site.commit(&instance).map(|stored| stored.outcome)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn count(results: &[Result<Outcome, StoreError>], wanted: impl Fn(&Outcome) -> bool) -> usize {
    results.iter().flatten().filter(|outcome| wanted(outcome)).count()
}

#[test]
fn threads_with_the_same_bytes_store_them_once() {
    for duplicates in [Duplicates::Replace, Duplicates::KeepBoth, Duplicates::Refuse] {
        for _ in 0..15 {
            let site = site(duplicates);
            let results = race(&site, 1);
            assert_eq!(count(&results, |outcome| *outcome == Outcome::New), 1, "{results:?}");
            assert_eq!(count(&results, |outcome| *outcome == Outcome::Identical), 7, "{results:?}");
            assert_eq!(site.files(), [path_of(UID)]);
            assert!(site.temp_files().is_empty());
        }
    }
}

#[test]
fn threads_with_different_bytes_replace_each_other_and_the_last_is_whole() {
    for _ in 0..15 {
        let site = site(Duplicates::Replace);
        let results = race(&site, 8);
        assert_eq!(count(&results, |outcome| *outcome == Outcome::New), 1, "{results:?}");
        assert_eq!(count(&results, |outcome| *outcome == Outcome::Replaced), 7, "{results:?}");
        let file = fs::read(site.root().join(path_of(UID))).unwrap();
        assert!((0..8).any(|seed| file == whole_file(UID, &pixels(seed, 20_000))));
        assert_eq!(site.files(), [path_of(UID)]);
        assert!(site.temp_files().is_empty());
    }
}

#[test]
fn threads_with_different_bytes_are_all_kept() {
    for _ in 0..15 {
        let site = site(Duplicates::KeepBoth);
        let results = race(&site, 4);
        assert_eq!(count(&results, |outcome| *outcome == Outcome::New), 1, "{results:?}");
        assert_eq!(count(&results, |outcome| *outcome == Outcome::Identical), 4, "{results:?}");
        for copy in 2..=4 {
            assert_eq!(count(&results, |outcome| *outcome == Outcome::KeptBoth { copy }), 1, "{results:?}");
        }
        let mut stored: Vec<_> = site.files().iter().map(|path| fs::read(site.root().join(path)).unwrap()).collect();
        let mut sent: Vec<_> = (0..4).map(|seed| whole_file(UID, &pixels(seed, 20_000))).collect();
        stored.sort();
        sent.sort();
        assert!(stored == sent);
    }
}

#[test]
fn of_threads_with_different_bytes_all_but_one_are_refused() {
    for _ in 0..15 {
        let site = site(Duplicates::Refuse);
        let results = race(&site, 8);
        assert_eq!(count(&results, |outcome| *outcome == Outcome::New), 1, "{results:?}");
        let refused = results.iter().filter(|result| matches!(result, Err(StoreError::DuplicateRefused { .. })));
        assert_eq!(refused.count(), 7, "{results:?}");
        assert_eq!(site.files(), [path_of(UID)]);
        assert!(site.temp_files().is_empty());
    }
}

#[test]
fn a_file_that_is_no_whole_instance_is_different_bytes() {
    let whole = whole_file(UID, &pixels(1, 500));
    let mut longer = whole.clone();
    longer.push(0);
    for foreign in [&b""[..], b"not DICOM", &whole[..whole.len() - 1], &longer, &whole[..140], &whole[132..]] {
        for duplicates in [Duplicates::Replace, Duplicates::KeepBoth, Duplicates::Refuse] {
            let site = site(duplicates);
            let path = site.root().join(path_of(UID));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, foreign).unwrap();
            let result = site.commit(&instance(UID, &pixels(1, 500)));
            match duplicates {
                Duplicates::Replace => {
                    assert_eq!(result.unwrap().outcome, Outcome::Replaced);
                    assert_eq!(fs::read(&path).unwrap(), whole);
                }
                Duplicates::KeepBoth => {
                    assert_eq!(result.unwrap().outcome, Outcome::KeptBoth { copy: 2 });
                    assert_eq!(fs::read(&path).unwrap(), foreign);
                    assert_eq!(fs::read(site.root().join(copy_path(UID, 2))).unwrap(), whole);
                }
                Duplicates::Refuse => {
                    assert!(matches!(result, Err(StoreError::DuplicateRefused { .. })));
                    assert_eq!(fs::read(&path).unwrap(), foreign);
                }
            }
        }
    }
}

#[test]
fn what_is_not_a_file_under_the_name_is_never_read_or_followed_into_a_hang() {
    let make: [fn(&Path); 3] = [
        |path| fs::create_dir(path).unwrap(),
        |path| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success()),
        |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
    ];
    for make in make {
        let site = site(Duplicates::KeepBoth);
        let path = site.root().join(path_of(UID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        make(&path);
        assert_eq!(site.outcome(&instance(UID, &pixels(1, 500))), Outcome::KeptBoth { copy: 2 });
    }
    // A directory is the one thing that cannot be replaced.
    let site = site(Duplicates::Replace);
    fs::create_dir_all(site.root().join(path_of(UID))).unwrap();
    let result = site.commit(&instance(UID, &pixels(1, 500)));
    assert!(matches!(result, Err(StoreError::Obstructed { .. })), "{result:?}");
    assert!(site.temp_files().is_empty());
}
