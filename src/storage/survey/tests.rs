//! Answers for files that stand in odd places.

use std::fs::{create_dir, write};
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::Store;
use crate::digest::Digest;
use crate::support::settings;

#[test]
fn a_file_is_answered_for_where_it_is_and_never_through_a_link() {
    let root = tempfile::tempdir_in(".").unwrap();
    let (store, _) = Store::open(settings(root.path())).unwrap();
    let content = vec![7; 100_000];
    create_dir(root.path().join("study")).unwrap();
    write(root.path().join("study/1.dcm"), &content).unwrap();
    symlink("1.dcm", root.path().join("study/link.dcm")).unwrap();
    symlink("study", root.path().join("elsewhere")).unwrap();
    let survey = store.survey().unwrap();
    for path in [
        "study",
        "study/2.dcm",
        "study/link.dcm",
        "elsewhere/1.dcm",
        "../study/1.dcm",
        "/etc/passwd",
        "",
        "study/1.dcm/x",
    ] {
        assert!(survey.stored(Path::new(path)).unwrap().is_none(), "{path}");
    }
    let path = Path::new("study/1.dcm");
    let file = survey.stored(path).unwrap().unwrap();
    assert_eq!(file.bytes(), 100_000);
    file.sync().unwrap();
    survey.sync_names(path).unwrap();
    for step in [1, 4096, 100_000, 1 << 20] {
        let (mut reading, mut buffer) = (survey.stored(path).unwrap().unwrap().reading(), vec![0; step]);
        let end = loop {
            if let Some(end) = reading.step(&mut buffer).unwrap() {
                break end;
            }
        };
        assert_eq!(end, (100_000, Digest::of([content.as_slice()])), "{step}");
    }
}

#[test]
fn a_file_is_sent_as_it_was_when_it_was_opened() {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::NotSendable;
    use crate::meta::FileMeta;
    use crate::uid::Uid;

    let root = tempfile::tempdir_in(".").unwrap();
    let (store, _) = Store::open(settings(root.path())).unwrap();
    let meta = FileMeta {
        sop_class_uid: Uid::parse(b"1.2.840.10008.5.1.4.1.1.2").unwrap(),
        sop_instance_uid: Uid::parse(b"1.2.3.4").unwrap(),
        transfer_syntax_uid: "1.2.840.10008.1.2.1".to_owned(),
        source_ae_title: "CT1".to_owned(),
        sending_ae_title: "CT1".to_owned(),
        receiving_ae_title: "TIDEGATE".to_owned(),
    };
    let dataset: Vec<u8> = (0..300_000_u32).map(|n| (n / 3) as u8).collect();
    let content = [meta.encode(), dataset.clone()].concat();
    write(root.path().join("1.dcm"), &content).unwrap();
    write(root.path().join("short.dcm"), &content[..1000]).unwrap();
    write(root.path().join("other.dcm"), vec![0; 1000]).unwrap();
    symlink("1.dcm", root.path().join("link.dcm")).unwrap();
    let survey = store.survey().unwrap();
    let mut first = vec![0; 64 * 1024];
    for (path, fault) in
        [("2.dcm", NotSendable::Gone), ("link.dcm", NotSendable::Gone), ("other.dcm", NotSendable::NotAnInstance)]
    {
        assert_eq!(survey.outgoing(Path::new(path), &mut first).unwrap_err(), fault);
    }
    let (file, length) = survey.outgoing(Path::new("short.dcm"), &mut first).unwrap();
    assert_eq!((length, file.bytes(), &first[..length]), (1000, 1000, &content[..1000]));
    let (file, length) = survey.outgoing(Path::new("1.dcm"), &mut first).unwrap();
    assert_eq!((length, file.bytes(), file.meta()), (FileMeta::MAX_ENCODED_BYTES, content.len() as u64, &meta));
    assert_eq!(file.dataset_offset(), (content.len() - dataset.len()) as u64);
    assert_eq!(file.read(file.dataset_offset() + 7, &mut first).unwrap(), first.len());
    assert_eq!(first[..], dataset[7..][..first.len()]);

    let (socket, mut peer) = UnixStream::pair().unwrap();
    let receiving = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received
    });
    let mut offset = file.dataset_offset();
    loop {
        match file.send(&socket, offset, 100_001).unwrap() {
            0 => break,
            taken => offset += taken as u64,
        }
    }
    drop(socket);
    assert_eq!(receiving.join().unwrap(), dataset);
}

#[test]
fn where_something_was_stored_without_a_sync_nobody_vouches_for_all() {
    use std::sync::Arc;

    use crate::Durability;
    use crate::support::{Site, instance, pixels};

    let site = Site::new();
    site.commit(&instance("1.2.3", &pixels(1, 100))).unwrap();
    let survey = site.store.survey().unwrap();
    let is_whole = site.store.filesystem().kind.syncs_as_a_whole();
    assert_eq!(survey.is_all_synced(), Ok(is_whole));
    let mut placement = site.store.settings().placement();
    placement.durability = Durability::None;
    site.commit(&instance("1.2.4", &pixels(2, 100)).with_placement(Arc::new(placement))).unwrap();
    assert_eq!(survey.is_all_synced(), Ok(false));
    assert_eq!(site.store.survey().unwrap().is_all_synced(), Ok(false));
    // The next process syncs what this one has not.
    let settings = site.store.settings().clone();
    drop((survey, site.store));
    let (store, _) = Store::open(settings).unwrap();
    assert_eq!(store.survey().unwrap().is_all_synced(), Ok(is_whole));
}
