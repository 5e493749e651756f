//! Stored files, proved whole, and damaged in every way that is to be found out.

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;

use crate::support::*;
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rustix::fs::XattrFlags;
use tidegate_storage::digest::{ATTRIBUTE, Digest};
use tidegate_storage::leftovers::{self, Use};
use tidegate_storage::verify::{
    Condition, DatasetFault, Digested, Fault, Known, MetaFault, Totals, Verdict, Verification,
};
use tidegate_storage::{CommitStrategy, Duplicates, Payload, Recovery, Settings, Store};

fn verify(root: &Path) -> (Totals, Vec<Verdict>) {
    let layout = settings(root).layout;
    let verification = Verification::new(root, vec![layout], NonZeroUsize::new(3).unwrap());
    let verdicts = Mutex::new(Vec::new());
    let totals = verification.run(&|_| None, &|verdict| verdicts.lock().unwrap().push(verdict)).unwrap();
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.sort_by(|a, b| a.path.cmp(&b.path));
    let foreign = verdicts.iter().filter(|verdict| verdict.condition() == Condition::Foreign).count() as u64;
    assert_eq!(verification.count_files().unwrap(), totals.files + totals.gone + foreign);
    (totals, verdicts)
}

/// The verdict on the file at `path`, which is the only one to be damaged.
fn damage(site: &Site, path: &Path) -> Verdict {
    let (totals, verdicts) = verify(&site.root());
    assert_eq!(totals.damaged, 1, "{verdicts:?}");
    let verdict = verdicts.into_iter().find(|verdict| verdict.path == path).unwrap();
    assert_eq!(verdict.condition(), Condition::Damaged);
    verdict
}

/// Two instances, whose filesystem keeps digests.
fn site_of_two() -> Site {
    let site = Site::new();
    for uid in ["1.2.3.4.5", "1.2.3.4.6"] {
        site.outcome(&instance(uid, &pixels(1, 30_000)));
    }
    site
}

fn forget_digest(path: &Path) {
    rustix::fs::removexattr(path, ATTRIBUTE).unwrap();
}

#[test]
fn what_was_committed_is_whole_to_the_byte() {
    let site = Site::with(|settings| settings.duplicates = Duplicates::KeepBoth);
    for (seed, uid) in [(1, "1.2.3.4.5"), (2, "1.2.3.4.5"), (1, "1.2.3.4.6")] {
        site.outcome(&instance(uid, &pixels(seed, 700_000)));
    }
    site.outcome(&spooled(&site.store, "1.2.3.4.7", &pixels(3, 900_000)));

    let (totals, verdicts) = verify(&site.root());

    let files = site.files();
    assert!(files.contains(&copy_path("1.2.3.4.5", 2)));
    let bytes = files.iter().map(|path| fs::metadata(site.root().join(path)).unwrap().len()).sum();
    // The node's own files in the root are skipped.
    assert_eq!(totals, Totals { files: 4, bytes, ..Totals::default() });
    assert_eq!(verdicts.iter().map(|verdict| verdict.path.clone()).collect::<Vec<_>>(), files);
    assert!(verdicts.iter().all(|verdict| verdict.digested == Digested::Matches), "{verdicts:?}");
}

#[test]
fn a_part_of_a_spooled_dataset_that_is_written_again_counts_once() {
    let site = Site::new();
    let dataset = dataset("1.2.3.4.5", STUDY, SERIES, &pixels(1, 50_000));
    let spool = spool(&site.store, "1.2.3.4.5");
    let parts: Vec<bytes::Bytes> = dataset.chunks(20_000).map(bytes::Bytes::copy_from_slice).collect();
    let begin = spool.file_bytes();
    for at in [0, 0, 1, 0, 2, 2] {
        spool.write(begin + 20_000 * at as u64, &parts[at..=at]).unwrap();
    }
    site.outcome(&instance_of(meta("1.2.3.4.5"), &dataset, Payload::Spooled(spool.into())));
    let (totals, _) = verify(&site.root());
    assert_eq!((totals.files, totals.damaged, totals.without_digest), (1, 0, 0));
}

/// The digest is made as the bytes come: what happens to them on their way to the file is found like what happens to the file.
#[test]
fn what_is_stored_is_held_against_what_arrived() {
    let site = Site::new();
    let arrived = dataset("1.2.3.4.5", STUDY, SERIES, &pixels(1, 5000));
    let mut harmed = arrived.clone();
    *harmed.last_mut().unwrap() ^= 1;
    site.outcome(&instance_of(meta("1.2.3.4.5"), &arrived, Payload::Memory(slices(&harmed))));
    assert_eq!(damage(&site, &path_of("1.2.3.4.5")).faults, [Fault::Digest]);
}

#[test]
fn a_flipped_bit_anywhere_is_found_by_the_digest() {
    let site = site_of_two();
    let path = path_of("1.2.3.4.5");
    let file = site.root().join(&path);
    let whole = fs::read(&file).unwrap();
    for at in [0, 130, 141, 200, 400, 520, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&file, flipped).unwrap();
        let verdict = damage(&site, &path);
        assert!(verdict.faults.contains(&Fault::Digest), "{at}: {verdict:?}");
    }
}

/// Not even the names of the files have come to the disk, when the power went: only the log.
#[test]
fn files_by_way_of_the_commit_log_have_digests_and_so_has_what_a_recovery_writes_from_it() {
    let site = Site::with(|settings| settings.commit = CommitStrategy::Log);
    let uids = ["1.2.3.4.5", "1.2.3.4.6", "1.2.3.4.7"];
    for (seed, uid) in (1..).zip(uids) {
        site.outcome(&instance(uid, &pixels(seed, 10_000)));
    }
    let after = site.dir.path().join("after");
    fs::create_dir_all(after.join(".tidegate/log")).unwrap();
    for segment in fs::read_dir(site.root().join(".tidegate/log")).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(segment.path(), after.join(".tidegate/log").join(segment.file_name())).unwrap();
    }
    let restored = Store::open(Settings { commit: CommitStrategy::Log, ..settings(&after) }).unwrap();
    assert_eq!(restored.1.restored_files, 3, "all of them went through the log, and it was not checkpointed");
    for root in [site.root(), after] {
        let (totals, verdicts) = verify(&root);
        assert_eq!((totals.files, totals.damaged, totals.without_digest), (3, 0, 0), "{verdicts:?}");
        assert!(verdicts.iter().all(|verdict| verdict.digested == Digested::Matches), "{verdicts:?}");
        let file = root.join(path_of(uids[1]));
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
        let (totals, verdicts) = verify(&root);
        assert_eq!(totals.damaged, 1, "{verdicts:?}");
        assert!(verdicts[1].faults.contains(&Fault::Digest), "{verdicts:?}");
    }
}

#[test]
fn a_cut_file_is_found_without_a_digest() {
    let site = site_of_two();
    let path = path_of("1.2.3.4.5");
    let file = site.root().join(&path);
    forget_digest(&file);
    let whole = fs::read(&file).unwrap();
    for length in [whole.len() - 1, whole.len() / 2, 300, 140, 10, 0] {
        fs::write(&file, &whole[..length]).unwrap();
        let verdict = damage(&site, &path);
        assert_eq!(verdict.digested, Digested::NotRecorded);
        let found = match length {
            0 | 10 => matches!(verdict.faults[0], Fault::Meta(MetaFault::NotPart10)),
            140 | 300 => matches!(verdict.faults[0], Fault::Meta(MetaFault::GroupLength)),
            _ => matches!(verdict.faults[0], Fault::Dataset(DatasetFault::ValueCut { .. })),
        };
        assert!(found, "{length}: {verdict:?}");
    }
    fs::write(&file, [&whole[..], &[0; 100]].concat()).unwrap();
    assert!(matches!(damage(&site, &path).faults[..], [Fault::Dataset(_)]));
}

/// A filesystem that lost a file's data and kept its length leaves zeros.
#[test]
fn a_file_of_zeros_is_found_without_a_digest() {
    let site = site_of_two();
    let path = path_of("1.2.3.4.5");
    let file = site.root().join(&path);
    forget_digest(&file);
    fs::write(&file, vec![0; 30_000]).unwrap();
    assert_eq!(damage(&site, &path).faults, [Fault::Meta(MetaFault::NotPart10)]);
}

#[test]
fn a_file_of_another_instance_is_found() {
    let site = site_of_two();
    let (five, six) = (path_of("1.2.3.4.5"), path_of("1.2.3.4.6"));
    let (a, b) = (site.root().join(&five), site.root().join(&six));
    // Swapped, digests and all.
    fs::rename(&a, site.root().join("x")).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(site.root().join("x"), &b).unwrap();
    let (totals, verdicts) = verify(&site.root());
    assert_eq!((totals.damaged, totals.misplaced), (0, 2));
    for (verdict, belongs_at) in verdicts.iter().zip([&six, &five]) {
        assert_eq!(verdict.faults, [Fault::Misplaced { belongs_at: belongs_at.clone() }]);
        assert_eq!(verdict.digested, Digested::Matches);
    }
}

/// With its digest and without: its bytes, or at least its structure, are whole.
#[test]
fn a_renamed_file_is_misplaced_and_damaged_only_if_its_content_is() {
    let site = site_of_two();
    let path = path_of("1.2.3.4.5");
    let whole = fs::read(site.root().join(&path)).unwrap();
    for name in ["1.2.3.4.50.dcm", "1.2.3.4.5.DCM", "1.2.3.4.5~1.dcm", "elsewhere/1.2.3.4.5.dcm"] {
        let to = path.with_file_name(name);
        let moved = site.root().join(&to);
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::rename(site.root().join(&path), &moved).unwrap();
        let misplaced = Fault::Misplaced { belongs_at: path.clone() };
        let digest = rustix::fs::getxattr(&moved, ATTRIBUTE, &mut [0; 0][..]).is_ok();
        let (totals, verdicts) = verify(&site.root());
        assert_eq!((totals.misplaced, totals.damaged, totals.files), (1, 0, 2), "{verdicts:?}");
        let verdict = verdicts.into_iter().find(|verdict| verdict.path == to).unwrap();
        assert_eq!((verdict.condition(), verdict.faults), (Condition::Misplaced, vec![misplaced.clone()]));
        if digest {
            assert_eq!(verdict.digested, Digested::Matches);
            forget_digest(&moved);
        }
        fs::write(&moved, &whole[..whole.len() - 1]).unwrap();
        let faults = damage(&site, &to).faults;
        assert!(matches!(faults[..], [Fault::Dataset(_), ..]) && faults.contains(&misplaced), "{faults:?}");
        fs::write(&moved, &whole).unwrap();
        fs::rename(&moved, site.root().join(&path)).unwrap();
    }
}

#[test]
fn a_dataset_behind_the_meta_of_another_is_found() {
    let site = site_of_two();
    let path = path_of("1.2.3.4.5");
    let mut file = meta("1.2.3.4.5").encode();
    file.extend(dataset("1.2.3.4.6", STUDY, SERIES, &pixels(1, 10)));
    forget_digest(&site.root().join(&path));
    fs::write(site.root().join(&path), file).unwrap();
    assert!(matches!(damage(&site, &path).faults[..], [Fault::Mismatch(_)]));
}

#[test]
fn what_a_sender_got_wrong_is_told_from_damage() {
    let site = Site::new();
    let whole = dataset("1.2.3.4.5", STUDY, SERIES, &pixels(1, 5000));
    let cut = &whole[..whole.len() - 100];
    site.outcome(&instance_of(meta("1.2.3.4.5"), cut, Payload::Memory(slices(cut))));
    let (totals, verdicts) = verify(&site.root());
    assert_eq!((totals.damaged, totals.malformed_as_received), (0, 1));
    assert_eq!(verdicts[0].condition(), Condition::MalformedAsReceived);
    // Without the digest there is no telling.
    forget_digest(&site.root().join(path_of("1.2.3.4.5")));
    damage(&site, &path_of("1.2.3.4.5"));
}

fn deflated(uid: &str, pixels: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&dataset(uid, STUDY, SERIES, pixels)).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn deflated_datasets_are_inflated() {
    let site = Site::new();
    let mut meta = meta("1.2.3.4.5");
    meta.transfer_syntax_uid = "1.2.840.10008.1.2.1.99".into();
    let stream = deflated("1.2.3.4.5", &pixels(1, 400_000));
    site.outcome(&instance_of(meta.clone(), &stream, Payload::Memory(slices(&stream))));
    let (totals, _) = verify(&site.root());
    assert_eq!((totals.files, totals.damaged), (1, 0));

    let path = site.files().remove(0);
    forget_digest(&site.root().join(&path));
    let mut broken = stream.clone();
    broken[stream.len() / 2] ^= 0xFF;
    for (what, stream) in [
        ("cut", &stream[..stream.len() - 9]),
        ("more", &[&stream[..], &[0; 9]].concat()),
        ("broken", &broken),
        ("empty", &[]),
    ] {
        fs::write(site.root().join(&path), [&meta.encode()[..], stream].concat()).unwrap();
        let faults = damage(&site, &path).faults;
        assert!(matches!(faults[0], Fault::Dataset(_)), "{what}: {faults:?}");
    }
}

#[test]
fn files_of_others_are_counted_and_are_no_damage() {
    let site = site_of_two();
    let series = site.files()[0].parent().unwrap().to_owned();
    for name in [Path::new("notes.txt"), Path::new("x.dcm"), &series.join("thumbs.db")] {
        fs::write(site.root().join(name), b"not ours").unwrap();
    }
    fs::write(site.root().join(".hidden"), b"").unwrap();
    let (totals, verdicts) = verify(&site.root());
    assert_eq!((totals.files, totals.damaged, totals.foreign), (2, 0, 4));
    let foreign = verdicts.iter().filter(|verdict| verdict.condition() == Condition::Foreign);
    assert_eq!(foreign.count(), 3, "{verdicts:?}");
    // At a path that a layout could make, it may be what is left of an instance.
    let path = series.join("1.2.99.dcm");
    fs::write(site.root().join(&path), b"").unwrap();
    assert_eq!(damage(&site, &path).faults, [Fault::Meta(MetaFault::NotPart10)]);
    // So is what has a digest, wherever it is.
    let moved = Path::new("moved.bin");
    fs::rename(
        site.root().join(site.files().iter().find(|path| path.ends_with("1.2.3.4.5.dcm")).unwrap()),
        site.root().join(moved),
    )
    .unwrap();
    let _ = fs::remove_file(site.root().join(&path));
    fs::write(site.root().join(moved), b"torn").unwrap();
    assert_eq!(damage(&site, moved).condition(), Condition::Damaged);
}

#[test]
fn links_are_not_followed_and_what_cannot_be_read_is_told() {
    let site = site_of_two();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.dcm"), b"not ours").unwrap();
    std::os::unix::fs::symlink(outside.path(), site.root().join("linked")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("x.dcm"), site.root().join("x.dcm")).unwrap();
    std::os::unix::fs::symlink(site.root(), site.root().join(STUDY).join("loop")).unwrap();
    let (totals, _) = verify(&site.root());
    assert_eq!((totals.files, totals.damaged, totals.foreign), (2, 0, 3));
    let nowhere = Verification::new(&site.root().join("no"), vec![settings(Path::new("")).layout], NonZeroUsize::MIN);
    assert!(nowhere.run(&|_| None, &|_| ()).is_err());
}

/// A catalogue knows length and digest of a file that has lost its own.
#[test]
fn a_file_without_a_digest_is_held_against_what_is_known_of_it() {
    let site = site_of_two();
    let (path, other) = (path_of("1.2.3.4.5"), path_of("1.2.3.4.6"));
    let file = site.root().join(&path);
    let content = fs::read(&file).unwrap();
    let digest = Digest::of([&content[..]]).value();
    let verification = Verification::new(&site.root(), vec![settings(&site.root()).layout], NonZeroUsize::MIN);
    let verified = |bytes: usize| {
        let verdicts = Mutex::new(Vec::new());
        // Of the other, which has its own digest, nothing is asked.
        let known = Known { bytes: bytes as u64, digest: Some(digest) };
        let lookup = |asked: &Path| Some(known).filter(|_| asked == path);
        let paths = [&path, &other, Path::new("1.2/gone.dcm"), Path::new("../out.dcm")].map(Path::to_owned);
        let totals = verification.run_of(paths.into_iter(), &lookup, &|verdict| verdicts.lock().unwrap().push(verdict));
        let totals = totals.unwrap();
        assert_eq!((totals.files, totals.missing, totals.without_digest), (2, 1, 0));
        let verdict = verdicts.into_inner().unwrap().into_iter().find(|verdict| verdict.path == path).unwrap();
        (totals.damaged, verdict.faults)
    };
    fs::remove_file(&file).unwrap();
    fs::write(&file, &content).unwrap(); // without attributes
    assert_eq!(verified(content.len()), (0, vec![]));
    let bytes = content.len() as u64;
    assert_eq!(verified(content.len() + 1), (1, vec![Fault::Length { bytes, committed: bytes + 1 }]));
    let mut flipped = content.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&file, &flipped).unwrap();
    assert_eq!(verified(content.len()), (1, vec![Fault::Digest]));
}

/// A digest that is no digest counts as none.
#[test]
fn a_foreign_attribute_is_no_digest() {
    let site = site_of_two();
    let file = site.root().join(path_of("1.2.3.4.5"));
    for text in [&b"short"[..], &[b'z'; 32], &[b'0'; 31], &[b'z'; 56]] {
        rustix::fs::setxattr(&file, ATTRIBUTE, text, XattrFlags::empty()).unwrap();
        let (totals, _) = verify(&site.root());
        assert_eq!((totals.damaged, totals.without_digest), (0, 1));
    }
}

#[test]
fn leftovers_are_told_and_opening_the_store_cleans_them() {
    let site = Site::new();
    let root = site.root();
    let mut found = Vec::new();
    let pid = Some(std::process::id());
    let unfinished = spooled(&site.store, "1.2.3.4.5", &pixels(1, 5000));
    assert_eq!(leftovers::scan(&root, |leftover| found.push(leftover)).unwrap(), Use::Held { pid });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].meta, Some(meta("1.2.3.4.5")));
    assert_eq!(found[0].bytes, whole_file("1.2.3.4.5", &pixels(1, 5000)).len() as u64);

    // As a crash leaves it.
    let kept = fs::read(&found[0].path).unwrap();
    let Site { store, dir } = site;
    drop((unfinished, store));
    fs::write(&found[0].path, kept).unwrap();
    fs::write(found[0].path.with_file_name("other"), b"DICM").unwrap();
    let mut found = Vec::new();
    assert_eq!(leftovers::scan(&root, |leftover| found.push(leftover)).unwrap(), Use::Free);
    assert_eq!((found.len(), found.iter().filter(|leftover| leftover.meta.is_none()).count()), (2, 1));
    let (_, recovery) = Store::open(settings(&root)).unwrap();
    let removed_bytes = found.iter().map(|leftover| leftover.bytes).sum();
    assert_eq!(recovery, Recovery { removed_files: 2, removed_bytes, ..Recovery::default() });
    assert_eq!(leftovers::scan(dir.path(), |_| panic!("nothing is there")).unwrap(), Use::Never);
}
