use dicom_dictionary_std::tags;
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use super::*;
use crate::dataset::InstanceUids;
use crate::uid::{UidKind, uid};

fn part10(dataset: &Dataset, bytes: &[u8]) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(&dataset.transfer_syntax)
        .media_storage_sop_class_uid(&dataset.sop_class)
        .media_storage_sop_instance_uid("1.2.3")
        .build()
        .unwrap();
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    meta.write(&mut file).unwrap();
    file.extend_from_slice(bytes);
    file
}

fn read(dataset: &Dataset, bytes: &[u8]) -> InMemDicomObject {
    dicom_object::from_reader(&part10(dataset, bytes)[..]).unwrap().into_inner()
}

fn uids(index: u64) -> InstanceUids {
    let of = |kind| uid(7, 3, kind, index);
    InstanceUids { sop_instance: of(UidKind::Instance), study: of(UidKind::Study), series: of(UidKind::Series) }
}

fn small(modality: Modality) -> Option<Shape> {
    let frames = if modality.is_multi_frame() { 11 } else { 1 };
    modality.usual_shape().map(|shape| Shape { rows: 24, columns: 40, frames, ..shape })
}

fn encodings(modality: Modality) -> Vec<Encoding> {
    let mut encodings = vec![Encoding::Explicit, Encoding::Implicit];
    if let Some(shape) = modality.usual_shape() {
        encodings.extend([Encoding::Rle, Encoding::JpegLossless]);
        encodings.extend((shape.bits_allocated == 8).then_some(Encoding::JpegBaseline));
    }
    encodings
}

#[test]
fn every_modality_in_every_encoding_is_read_by_another_implementation() {
    let keep = std::env::var_os("TIDEGATE_KEEP_DATASETS");
    for modality in Modality::ALL {
        for encoding in encodings(modality) {
            let made = dataset(modality, small(modality).as_ref(), encoding, 7);
            let bytes = made.to_bytes();
            assert_eq!(made.len(), bytes.len() as u64);
            let object = read(&made, &bytes);
            let what = format!("{} {encoding:?}", modality.name());
            assert_eq!(object.element(tags::SOP_CLASS_UID).unwrap().to_str().unwrap(), modality.sop_class(), "{what}");
            assert!(object.element(tags::MODALITY).is_ok(), "{what}");
            if let Some(shape) = small(modality) {
                let pixels = object.element(tags::PIXEL_DATA).unwrap();
                if encoding.is_encapsulated() {
                    let fragments = pixels.fragments().unwrap();
                    assert_eq!(fragments.len(), shape.frames as usize, "{what}");
                    assert!(fragments.iter().all(|fragment| fragment.len() > 64), "{what}");
                } else {
                    assert_eq!(pixels.to_bytes().unwrap().len() as u64, shape.native_bytes(), "{what}");
                }
            }
            // For whoever wants to hold them against a validator.
            if let Some(directory) = &keep {
                let path = std::path::Path::new(directory).join(format!("{what}.dcm").replace(' ', "-"));
                let mut bytes = made.patched_start(&uids(1));
                made.rest().for_each(|part| bytes.extend_from_slice(part));
                std::fs::write(path, part10(&made, &bytes)).unwrap();
            }
        }
    }
}

#[test]
fn large_pixel_data_repeats_and_has_the_length_it_declares() {
    let bytes = (9 << 20) + 6;
    let made = ct_image(bytes, Encoding::Explicit, 1);
    assert!(made.repeats > 0 && !made.end.is_empty());
    assert!(made.start.len() < 4096 && made.period.len() + made.end.len() <= 9 << 20);
    let object = read(&made, &made.to_bytes());
    let expected = u64::from(dimensions(bytes).0) * u64::from(dimensions(bytes).1) * 2;
    assert_eq!(object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len() as u64, expected);
    // Exactly so many blocks, too.
    let made =
        dataset(Modality::Ct, Some(&Shape { rows: 4096, columns: 2048, ..Shape::grey(16, 12) }), Encoding::Explicit, 1);
    assert_eq!((made.repeats, made.end.len()), (3, 4 << 20));
}

#[test]
fn the_patchable_places_are_the_values_of_the_uids() {
    let made = ct_image(64, Encoding::Explicit, 7);
    let uids = uids(5);
    let object = read(&made, &made.patched_start(&uids));
    for (tag, uid) in [
        (tags::SOP_INSTANCE_UID, uids.sop_instance),
        (tags::STUDY_INSTANCE_UID, uids.study),
        (tags::SERIES_INSTANCE_UID, uids.series),
    ] {
        assert_eq!(object.element(tag).unwrap().to_str().unwrap().as_bytes(), uid);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    for encoding in [Encoding::Explicit, Encoding::JpegLossless] {
        let make = |seed| dataset(Modality::Mr, Modality::Mr.usual_shape().as_ref(), encoding, seed).to_bytes();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}

#[test]
fn sizes_scale_rows_then_columns_and_never_exceed_what_was_asked() {
    assert_eq!(dimensions(512 * 1024), (512, 512));
    assert_eq!(dimensions(10 * 1024), (10, 512));
    assert_eq!(dimensions(1), (1, 1));
    assert_eq!(dimensions(100), (1, 50));
    for size in [1 << 30, MAX_NATIVE_BYTES] {
        let (rows, columns) = dimensions(size);
        let bytes = u64::from(rows) * u64::from(columns) * 2;
        assert!(bytes <= size && bytes > size - size / 1000, "{size}: {rows} × {columns}");
    }
}

#[test]
fn a_users_files_come_in_their_studies_and_keep_all_but_their_uids() {
    let directory = tempfile::tempdir().unwrap();
    // Two files of one study in two series, one of another; a directory below; something that is no DICOM file.
    let below = directory.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(directory.path().join("notes.txt"), b"not one").unwrap();
    for (path, study, series, encoding) in [
        (directory.path().join("1"), 1, 1, Encoding::Explicit),
        (directory.path().join("2"), 1, 2, Encoding::Implicit),
        (below.join("3"), 2, 3, Encoding::Rle),
    ] {
        let made = dataset(Modality::Dbt, small(Modality::Dbt).as_ref(), encoding, 7);
        let uids = InstanceUids {
            sop_instance: uid(7, 0, UidKind::Instance, series),
            study: uid(7, 0, UidKind::Study, study),
            series: uid(7, 0, UidKind::Series, series),
        };
        let mut bytes = made.patched_start(&uids);
        made.rest().for_each(|part| bytes.extend_from_slice(part));
        std::fs::write(path, part10(&made, &bytes)).unwrap();
    }
    let limit = bytesize::ByteSize::mib(1);
    let studies = files::load(directory.path(), limit, true).unwrap().studies;
    let shape: Vec<Vec<usize>> =
        studies.iter().map(|study| study.instances.iter().map(|(series, _)| *series).collect()).collect();
    assert_eq!(shape, [vec![0, 1], vec![0]]);
    let read_back = &studies[1].instances[0].1;
    let made = dataset(Modality::Dbt, small(Modality::Dbt).as_ref(), Encoding::Rle, 7);
    assert_eq!((&read_back.start, read_back.places), (&made.to_bytes(), made.places));

    let error = files::load(directory.path(), bytesize::ByteSize::kib(1), true).unwrap_err().to_string();
    assert!(error.contains("more than 1.0 KiB") && error.contains("files_max"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(files::load(empty.path(), limit, true), Err(files::FilesError::None { .. })));
}

#[test]
fn sequences_of_undefined_length_are_stepped_over() {
    let directory = tempfile::tempdir().unwrap();
    let made = dataset(Modality::Sr, None, Encoding::Explicit, 7);
    // Code sequences of undefined length, nested, before the study's UID, and one SOP Instance UID inside that is not the dataset's.
    let sequence: &[&[u8]] = &[
        b"\x08\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF",
        b"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF",
        b"\x08\0\x40\x11SQ\0\0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\0\0\0\0",
        b"\x08\0\x18\0UI\x04\x001.2\0",
        b"\xFE\xFF\x0D\xE0\0\0\0\0\xFE\xFF\xDD\xE0\0\0\0\0",
    ];
    let bytes = made.to_bytes();
    let at = bytes.windows(4).position(|tag| tag == [0x10, 0, 0x10, 0]).unwrap();
    let whole = [&bytes[..at], &sequence.concat(), &bytes[at..]].concat();
    std::fs::write(directory.path().join("1"), part10(&made, &whole)).unwrap();
    let studies = files::load(directory.path(), bytesize::ByteSize::mib(1), true).unwrap().studies;
    let found = &studies[0].instances[0].1;
    assert_eq!(found.places.sop_instance, made.places.sop_instance);
    assert_eq!(found.places.study, made.places.study + sequence.concat().len());
    assert_eq!(found.start, whole);
}
