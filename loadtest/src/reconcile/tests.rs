use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::ledger::Known;
use super::*;
use crate::catalogue::Catalogue;
use crate::generate::Encoding;
use crate::itinerary::Instance;
use crate::part10::tests::write_file;
use crate::scenario::Scenario;
use crate::uid::{UidKind, uid};

const SEED: u64 = 5;

/// A ledger of instances 0 to 7 of association 1, the last two unacknowledged; number 4 was never begun.
fn ledger() -> Ledger {
    let text = "name = \"t\"\n[load]\ninstances = 1\n[[mix]]\nmodality = \"CT\"\nrows = 64\ncolumns = 64\n";
    let scenario = Scenario::parse(text, "t", Path::new("")).unwrap();
    let mut ledger = Ledger::new(SEED, Arc::new(Catalogue::new(&scenario, SEED).unwrap()));
    let entry = |number| {
        let instance = Instance { template: 0, number, study: 0, series: 0 };
        Entry { instance, acknowledged: number < 6 }
    };
    ledger.add(0, Vec::new());
    ledger.add(1, [0, 1, 2, 3, 5, 6, 7].map(entry).to_vec());
    ledger
}

fn sop_instance(association: usize, number: u64) -> String {
    String::from_utf8(uid(SEED, association, UidKind::Instance, number).to_vec()).unwrap()
}

fn dataset(ledger: &Ledger, number: u64) -> Vec<u8> {
    let Known::Ours(place) = ledger.find(&sop_instance(1, number)) else { panic!("{number}") };
    let (mut bytes, rest) = ledger.dataset(place).unwrap();
    rest.for_each(|part| bytes.extend_from_slice(part));
    bytes
}

#[test]
fn whole_lost_corrupt_partial_and_extra_are_told_apart() {
    let (ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let series = root.path().join("study/series");
    fs::create_dir_all(&series).unwrap();
    fs::create_dir_all(root.path().join(".own")).unwrap();
    let put = |name: &str, uid: &str, bytes: &[u8]| write_file(&series.join(name), uid, Encoding::Explicit, bytes);
    let of = |number| dataset(&ledger, number);
    let mut changed = of(1);
    *changed.last_mut().unwrap() ^= 1;
    put("whole", &sop_instance(1, 0), &of(0));
    put("changed", &sop_instance(1, 1), &changed);
    put("cut", &sop_instance(1, 2), &of(2)[..500]);
    // Number 3 is lost. A copy that is not whole takes nothing from one that is.
    put("other-copy", &sop_instance(1, 5), &of(1));
    put("copy", &sop_instance(1, 5), &of(5));
    put("unacknowledged and cut", &sop_instance(1, 6), &of(6)[..500]);
    put("a bad peer's", &sop_instance(90_000, 1), &of(0)[..500]);
    put("somebody else's", "1.2.3", &of(0));
    put("of a run before", &sop_instance(2, 1), &of(0));
    fs::write(series.join("index.db"), b"sqlite").unwrap();
    fs::write(series.join("empty.dcm"), b"").unwrap();
    fs::write(root.path().join(".own/half"), b"half").unwrap();

    let found = check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap();
    assert_eq!((found.acknowledged, found.whole), (5, 2));
    assert_eq!(found.lost, [sop_instance(1, 3)]);
    assert_eq!(found.corrupt, [sop_instance(1, 1), sop_instance(1, 2)]);
    assert_eq!((found.unacknowledged_whole, found.unacknowledged_absent), (0, 1));
    let ends =
        |list: &[String]| list.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ends(&found.extra), ["index.db", "of a run before", "somebody else's"]);
    assert_eq!(found.partial.len(), 2, "{:?}", found.partial);
    assert!(found.partial[0].contains("empty.dcm") && found.partial[1] == sop_instance(1, 6), "{:?}", found.partial);
    assert_eq!(found.duplicated, [sop_instance(1, 5)]);
    assert!(!found.passed());
}

#[test]
fn files_that_were_there_before_the_load_are_of_others_whatever_they_hold() {
    let (ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let others: [(&str, &[u8]); 5] = [
        ("readme.txt", b"for people"),
        ("empty.txt", b""),
        ("notes.dcm", b"no image"),
        ("2.25.1.part", b""),
        ("state.tidegate", &[0; 200]),
    ];
    for (name, bytes) in others {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    write_file(&root.path().join("cut.dcm"), "1.2.3", Encoding::Explicit, &dataset(&ledger, 0)[..500]);
    let before = ledger.begun - std::time::Duration::from_secs(60);
    for entry in fs::read_dir(root.path()).unwrap() {
        fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(before).unwrap();
    }
    let found = check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap();
    assert_eq!((found.extra.len(), found.partial.len()), (6, 0), "{found:?}");
    // One that began to be written since then is not.
    fs::write(root.path().join("new.dcm"), b"").unwrap();
    fs::write(root.path().join("new.txt"), b"for people").unwrap();
    let found = check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap();
    assert_eq!((found.extra.len(), found.partial.len()), (7, 1), "{found:?}");
}

/// A tree in which one thing is wrong: what `change` does to four whole files, which it is given with their UIDs.
fn verified(change: impl Fn(&Path, &[std::path::PathBuf])) -> crate::result::Verification {
    let (ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let paths: Vec<_> =
        [0, 1, 2, 3, 5].map(|number| root.path().join(format!("{}.dcm", sop_instance(1, number)))).into();
    for (path, number) in paths.iter().zip([0, 1, 2, 3, 5]) {
        write_file(path, &sop_instance(1, number), Encoding::Explicit, &dataset(&ledger, number));
    }
    change(root.path(), &paths);
    check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap()
}

/// Replaces the first occurrence of one UID in a file by another of the same length.
fn replace(path: &Path, old: &str, new: &str) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(old.len()).position(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_tree_passes() {
    let found = verified(|_, _| {});
    assert!(found.passed() && found.whole == 5, "{found:?}");
}

#[test]
fn another_transfer_syntax_or_sop_class_in_the_file_meta_is_noticed() {
    let found = verified(|_, paths| {
        replace(&paths[0], "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2");
        replace(&paths[1], "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4");
    });
    assert_eq!((found.whole, found.mislabelled.len()), (3, 2), "{found:?}");
    assert!(found.mislabelled[0].contains("transfer syntax 1.2.840.10008.1.2.2 in the file meta"), "{found:?}");
    assert!(found.mislabelled[1].contains("SOP class 1.2.840.10008.5.1.4.1.1.4 in the file meta"), "{found:?}");
    assert!(!found.passed());
}

#[test]
fn two_files_of_one_uid_are_noticed_though_both_are_whole() {
    let found = verified(|root, paths| {
        fs::copy(&paths[2], root.join("copy.dcm")).unwrap();
    });
    assert_eq!((found.whole, &found.duplicated), (5, &vec![sop_instance(1, 2)]), "{found:?}");
    assert!(!found.passed());
}

#[test]
fn swapped_contents_are_noticed_with_the_file_meta_and_without() {
    let found = verified(|root, paths| {
        fs::rename(&paths[0], root.join("between")).unwrap();
        fs::rename(&paths[1], &paths[0]).unwrap();
        fs::rename(root.join("between"), &paths[1]).unwrap();
    });
    assert_eq!((found.whole, found.mislabelled.len()), (3, 2), "{found:?}");
    assert!(found.mislabelled[0].contains("is in a path of another UID"), "{found:?}");
    let found = verified(|_, paths| {
        let [one, other] = [0, 1].map(|number| (sop_instance(1, number), dataset(&ledger(), number)));
        write_file(&paths[0], &one.0, Encoding::Explicit, &other.1);
        write_file(&paths[1], &other.0, Encoding::Explicit, &one.1);
    });
    assert_eq!(found.corrupt, [sop_instance(1, 0), sop_instance(1, 1)], "{found:?}");
}

#[test]
fn a_hook_tells_by_path_or_digest_and_its_silence_is_absence() {
    let (ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let root = root.path();
    let path = |number: u64| root.join(format!("file {number}"));
    for number in [0, 1, 2] {
        // Number 2 has the bytes of another.
        let bytes = dataset(&ledger, if number == 2 { 0 } else { number });
        write_file(&path(number), &sop_instance(1, number), Encoding::Explicit, &bytes);
        fs::write(root.join(sop_instance(1, number)), path(number).display().to_string()).unwrap();
    }
    let digest = |number| hook::digest(std::iter::once(&dataset(&ledger, number)[..])).to_uppercase();
    fs::write(root.join(sop_instance(1, 3)), digest(3)).unwrap();
    fs::write(root.join(sop_instance(1, 5)), digest(3)).unwrap();
    fs::write(root.join(sop_instance(1, 6)), digest(6)).unwrap();
    let hook = format!("cd '{}' && cat 2>&-", root.display());
    let found = check(&ledger, &Verify::Hook(hook)).unwrap();
    assert_eq!((found.acknowledged, found.whole), (5, 3));
    assert_eq!((found.lost.len(), found.corrupt), (0, vec![sop_instance(1, 2), sop_instance(1, 5)]));
    assert_eq!((found.unacknowledged_whole, found.unacknowledged_absent), (1, 1));
}

#[test]
fn a_directory_that_is_not_there_cannot_be_checked() {
    let error = check(&ledger(), &Verify::Directory("/nonexistent/root".into())).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/root"), "{error}");
}

#[test]
fn all_that_is_lost_is_listed_and_of_others_files_a_thousand() {
    let (mut ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let entry = |number| Entry { instance: Instance { template: 0, number, study: 0, series: 0 }, acknowledged: true };
    ledger.add(2, (0..1500).map(entry).collect());
    for number in 0..1003 {
        fs::write(root.path().join(format!("{number}.json")), b"{}").unwrap();
    }
    let found = check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap();
    assert_eq!(found.lost.len(), 1505);
    assert_eq!((found.extra.len(), found.extra.last().unwrap().as_str()), (1001, "and 3 more"));
}

#[test]
fn what_several_runs_sent_is_looked_for_at_once() {
    let (mut ledger, root) = (ledger(), tempfile::tempdir().unwrap());
    let mut later = Ledger::new(SEED + 1, Arc::clone(&ledger.catalogue));
    let entry = |number| Entry { instance: Instance { template: 0, number, study: 0, series: 0 }, acknowledged: true };
    later.add(0, vec![entry(0), entry(1)]);
    ledger.merge(later);
    let of_later = |number| String::from_utf8(uid(SEED + 1, 0, UidKind::Instance, number).to_vec()).unwrap();
    let Known::Ours(place) = ledger.find(&of_later(0)) else { panic!("not known") };
    let (mut bytes, rest) = ledger.dataset(place).unwrap();
    rest.for_each(|part| bytes.extend_from_slice(part));
    write_file(&root.path().join("later"), &of_later(0), Encoding::Explicit, &bytes);
    write_file(&root.path().join("earlier"), &sop_instance(1, 0), Encoding::Explicit, &dataset(&ledger, 0));
    let found = check(&ledger, &Verify::Directory(root.path().to_owned())).unwrap();
    assert_eq!((found.acknowledged, found.whole, found.lost.len()), (7, 2, 5));
    assert!(found.lost.contains(&of_later(1)));
}
