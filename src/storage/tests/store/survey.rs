//! The survey of a root in which people work, too.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::*;
use dicom_dictionary_std::tags;
use tidegate_storage::head::Wanted;
use tidegate_storage::meta::FileMeta;
use tidegate_storage::survey::{Directory, Found, Listed, Survey, Surveyed};
use tidegate_storage::{Duplicates, FileBuilder, StoreError};

const RECEIPT: &[u8; 24] = b"AQGh7lZeewAAA8r-8A0AAABN";

fn wanted() -> Wanted {
    Wanted::new(Arc::new([]), &[tags::STUDY_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::INSTANCE_NUMBER])
}

fn directories(survey: &Survey) -> Vec<PathBuf> {
    survey.directories().unwrap().map(|directory| directory.unwrap().path).collect()
}

/// All files, by way of all directories.
fn listed(survey: &Survey) -> Vec<(PathBuf, Listed)> {
    let in_directory = |directory: PathBuf| {
        let files = survey.files(&directory).unwrap().map(Result::unwrap);
        files.map(move |file| (directory.join(&file.name), file)).collect::<Vec<_>>()
    };
    let mut files: Vec<_> = directories(survey).into_iter().flat_map(in_directory).collect();
    files.sort_by(|(a, _), (b, _)| a.cmp(b));
    files
}

fn read(survey: &Survey, path: &Path) -> Surveyed {
    match survey.read(path, &wanted()).unwrap() {
        Found::Instance(found) => *found,
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn what_was_stored_is_found_as_it_was_stored() {
    let site = Site::with(|settings| settings.duplicates = Duplicates::KeepBoth);
    for (seed, uid) in [(1, "1.2.1"), (2, "1.2.1"), (3, "1.2.1"), (1, "1.2.2")] {
        site.outcome(&with_receipt(instance(uid, &pixels(seed, 30_000)), RECEIPT));
    }
    let survey = site.store.survey().unwrap();
    assert_eq!(directories(&survey), ["".into(), PathBuf::from(STUDY), Path::new(STUDY).join(SERIES)]);
    let listed = listed(&survey);
    let paths: Vec<_> = listed.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, [path_of("1.2.1"), copy_path("1.2.1", 2), copy_path("1.2.1", 3), path_of("1.2.2")]);
    for (path, Listed { bytes, modified_ns, recorded, .. }) in listed {
        assert!(survey.is_file(&path).unwrap());
        let found = read(&survey, &path);
        assert_eq!((found.bytes, found.modified_ns, found.recorded), (bytes, modified_ns, recorded));
        assert_eq!(found.recorded.unwrap().receipt.as_ref(), Some(RECEIPT));
        assert_eq!(bytes, fs::metadata(site.root().join(&path)).unwrap().len());
        assert_eq!(found.head.value(tags::STUDY_INSTANCE_UID), Some(STUDY.as_bytes()));
        assert_eq!(found.head.value(tags::INSTANCE_NUMBER), None);
    }
}

#[test]
fn a_copy_without_attributes_is_an_instance_all_the_same() {
    let site = Site::new();
    site.outcome(&with_receipt(instance("1.2.1", &pixels(1, 3000)), RECEIPT));
    let copy = Path::new("copy.dcm");
    fs::write(site.root().join(copy), fs::read(site.root().join(path_of("1.2.1"))).unwrap()).unwrap();
    let found = read(&site.store.survey().unwrap(), copy);
    assert_eq!((found.meta, found.recorded), (meta("1.2.1"), None));
}

#[test]
fn links_and_what_no_store_makes_are_passed_over() {
    let site = Site::new();
    site.outcome(&instance("1.2.1", &pixels(1, 3000)));
    let (root, outside) = (site.root(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("x.dcm"), whole_file("1.2.9", &pixels(9, 100))).unwrap();
    symlink(outside.path(), root.join("linked")).unwrap();
    symlink(outside.path().join("x.dcm"), root.join("x.dcm")).unwrap();
    symlink(&root, root.join(STUDY).join("loop")).unwrap();
    for hidden in [".hidden", "lost+found"] {
        fs::create_dir(root.join(hidden)).unwrap();
        fs::write(root.join(hidden).join("y.dcm"), whole_file("1.2.9", &pixels(9, 100))).unwrap();
    }
    fs::write(root.join(STUDY).join(".nfs1"), b"").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    fs::write(root.join("readme.txt"), b"not an instance").unwrap();
    fs::write(root.join("empty"), b"").unwrap();

    let survey = site.store.survey().unwrap();
    let paths: Vec<_> = listed(&survey).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, [path_of("1.2.1"), "empty".into(), "readme.txt".into()]);
    for other in ["readme.txt", "empty", "x.dcm", "pipe", STUDY] {
        assert_eq!(survey.read(Path::new(other), &wanted()), Ok(Found::Other), "{other}");
    }
    for gone in ["no", "linked/x.dcm", "readme.txt/x.dcm"] {
        let path = Path::new(gone);
        assert!(!survey.is_file(path).unwrap(), "{gone}");
        assert_eq!(survey.changed_ns(path), Ok(None), "{gone}");
    }
    assert_eq!(survey.read(Path::new("no/1.dcm"), &wanted()), Ok(Found::Gone));
    assert!(!survey.is_file(Path::new("x.dcm")).unwrap());
}

#[test]
fn a_damaged_dataset_is_found_with_what_can_be_read_of_it() {
    let site = Site::new();
    let whole = whole_file("1.2.1", &pixels(1, 3000));
    let in_dataset = meta("1.2.1").encode().len();
    for (name, bytes) in [
        ("cut-in-meta", &whole[..200]),
        ("cut-behind-meta", &whole[..in_dataset]),
        ("cut-in-head", &whole[..in_dataset + 60]),
        ("whole", &whole),
    ] {
        fs::write(site.root().join(name), bytes).unwrap();
    }
    let survey = site.store.survey().unwrap();
    assert_eq!(survey.read(Path::new("cut-in-meta"), &wanted()), Ok(Found::Other));
    for name in ["cut-behind-meta", "cut-in-head", "whole"] {
        let found = read(&survey, Path::new(name));
        assert_eq!(found.meta.sop_instance_uid.as_str(), "1.2.1");
        assert_eq!(found.head.value(tags::STUDY_INSTANCE_UID).is_some(), name == "whole");
    }
}

#[test]
fn a_head_that_is_far_behind_is_found_too() {
    let site = Site::new();
    let mut far = meta("1.2.1").encode();
    // A private element of 300 KB in front of the study.
    far.extend([0x09, 0x00, 0x01, 0x10, b'O', b'B', 0, 0]);
    far.extend(300_000_u32.to_le_bytes());
    far.extend(vec![0; 300_000]);
    let dataset = dataset("1.2.1", STUDY, SERIES, &pixels(1, 100));
    let study = dataset.windows(4).position(|tag| tag == [0x20, 0, 0x0D, 0]).unwrap();
    far.extend(&dataset[study..]);
    fs::write(site.root().join("far"), far).unwrap();
    let found = read(&site.store.survey().unwrap(), Path::new("far"));
    assert_eq!(found.head.value(tags::SERIES_INSTANCE_UID), Some(SERIES.as_bytes()));
}

#[test]
fn names_need_not_be_utf8_and_files_may_vanish_meanwhile() {
    let site = Site::new();
    let odd = Path::new(OsStr::from_bytes(b"\xFFodd")).join(OsStr::from_bytes(b"\xE9.dcm"));
    fs::create_dir(site.root().join(odd.parent().unwrap())).unwrap();
    fs::write(site.root().join(&odd), whole_file("1.2.1", &pixels(1, 100))).unwrap();
    fs::write(site.root().join("a"), b"").unwrap();
    fs::write(site.root().join("b"), b"").unwrap();
    let survey = site.store.survey().unwrap();
    assert_eq!(read(&survey, &odd).meta, meta("1.2.1"));
    let mut all = survey.directories().unwrap();
    assert_eq!(all.next().unwrap().unwrap().path, Path::new(""));
    let mut files = survey.files(Path::new("")).unwrap();
    let first = files.next().unwrap().unwrap().name;
    // The listing was read before, as far as it fits a buffer.
    for path in ["a", "b"] {
        fs::remove_file(site.root().join(path)).unwrap();
    }
    fs::remove_dir_all(site.root().join(odd.parent().unwrap())).unwrap();
    assert!(files.all(|file| file.is_ok()) && all.all(|directory| directory.is_ok()));
    assert_eq!(survey.read(Path::new(&first), &wanted()), Ok(Found::Gone));
    assert_eq!(survey.read(&odd, &wanted()), Ok(Found::Gone));
}

#[test]
fn a_change_of_a_directory_changes_its_stamp() {
    let site = Site::new();
    site.outcome(&instance("1.2.1", &pixels(1, 3000)));
    let survey = site.store.survey().unwrap();
    let series = Path::new(STUDY).join(SERIES);
    let stamp = |path: &Path| survey.changed_ns(path).unwrap().unwrap();
    let of_listing: Vec<Directory> = survey.directories().unwrap().map(Result::unwrap).collect();
    of_listing.iter().for_each(|directory| assert_eq!(stamp(&directory.path), directory.changed_ns));
    let before = stamp(&series);
    // The kernel's clock ticks.
    while stamp(&series) == before {
        fs::write(site.root().join(&series).join("new"), b"").unwrap();
        fs::remove_file(site.root().join(&series).join("new")).unwrap();
    }
    assert!(stamp(&series) > before);
}

#[test]
fn without_the_mark_of_the_root_there_is_no_survey() {
    let site = Site::new();
    site.outcome(&instance("1.2.1", &pixels(1, 3000)));
    // Somebody has deleted it, and made an empty directory.
    fs::remove_dir_all(site.root()).unwrap();
    fs::create_dir(site.root()).unwrap();
    for _ in 0..2 {
        let error = site.store.survey().unwrap_err();
        assert!(error.to_string().contains("lost its .tidegate"), "{error}");
        site.outcome(&instance("1.2.2", &pixels(1, 3000)));
    }
    // A survey that was begun before stays with the directory that it began with.
    let site = Site::new();
    let survey = site.store.survey().unwrap();
    fs::remove_dir_all(site.root()).unwrap();
    assert!(matches!(site.store.survey(), Err(StoreError::RootUnavailable { .. })));
    assert_eq!(survey.files(Path::new("")).unwrap().count(), 0);
}

/// Of a file no more is read than its head needs: what the first bytes cut through is no fault of the dataset.
#[test]
fn the_head_of_a_long_file_is_read_whatever_follows_it() {
    let site = Site::new();
    let plain = dataset("1.2.1", STUDY, SERIES, &[]);
    let elements = &plain[..plain.len() - 12];
    let encapsulated = || {
        let item = |bytes: &[u8]| [&[0xFE, 0xFF, 0x00, 0xE0][..], &(bytes.len() as u32).to_le_bytes(), bytes].concat();
        let end = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
        let header = [0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        [elements, &header, &item(&[]), &item(&pixels(1, 40_000)), &end].concat()
    };
    let in_a_sequence = || {
        let header = [0x88, 0x00, 0x00, 0x02, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        let item = [0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
        let ends = [[0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0], [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]].concat();
        let icon = dataset("1.2.1", STUDY, SERIES, &pixels(2, 40_000));
        [elements, &header, &item, &icon[elements.len()..], &ends].concat()
    };
    let deflated = || {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        let random = (0..40_000_u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect::<Vec<_>>();
        encoder.write_all(&dataset("1.2.1", STUDY, SERIES, &random)).unwrap();
        encoder.finish().unwrap()
    };
    for (syntax, dataset) in [
        ("1.2.840.10008.1.2.4.50", encapsulated()),
        (EXPLICIT_LE, in_a_sequence()),
        ("1.2.840.10008.1.2.1.99", deflated()),
    ] {
        let meta = FileMeta { transfer_syntax_uid: syntax.into(), ..meta("1.2.1") };
        let file = [&FileBuilder::new(meta).encoded_meta()[..], &dataset].concat();
        fs::write(site.root().join("a.dcm"), &file).unwrap();
        let found = read(&site.store.survey().unwrap(), Path::new("a.dcm"));
        assert_eq!(found.head.value(tags::STUDY_INSTANCE_UID), Some(STUDY.as_bytes()), "{syntax}");
        assert_eq!(found.head.value(tags::SERIES_INSTANCE_UID), Some(SERIES.as_bytes()), "{syntax}");
    }
}
