//! Receipts: what a file says of its sender behind its digest, by whatever way it became one.

use std::fs;

use crate::support::*;
use tidegate_storage::digest::Receipt;
use tidegate_storage::{CommitStrategy, Duplicates, Durability, Instance, Outcome};

const FIRST: &Receipt = b"AQGh7lZeewAAA8r-8A0AAABN";
const SECOND: &Receipt = b"AQGh7lZeewAAA8r-8A0AAABO";

fn text(receipt: &Receipt) -> &str {
    std::str::from_utf8(receipt).unwrap()
}

#[test]
fn every_way_to_a_file_keeps_the_receipt() {
    for commit in [CommitStrategy::PerFile, CommitStrategy::Log, CommitStrategy::Adaptive] {
        for durability in [Durability::Fsync, Durability::None] {
            let site = Site::with(|settings| (settings.commit, settings.durability) = (commit, durability));
            let instances: [(&str, Instance); 4] = [
                ("1.2.1", instance("1.2.1", &pixels(1, 3000))),
                ("1.2.2", instance("1.2.2", &pixels(2, 300_000))),
                ("1.2.3", contiguous("1.2.3", &pixels(3, 300_000))),
                ("1.2.4", spooled(&site.store, "1.2.4", &pixels(4, 300_000))),
            ];
            for (uid, instance) in instances {
                assert_eq!(site.outcome(&with_receipt(instance, FIRST)), Outcome::New);
                let path = site.root().join(path_of(uid));
                assert_eq!(attribute(&path), recorded(&path, text(FIRST)), "{uid} by {commit}, {durability}");
            }
            site.outcome(&instance("1.2.5", &pixels(5, 3000)));
            let path = site.root().join(path_of("1.2.5"));
            assert_eq!(attribute(&path), recorded(&path, ""), "without a receipt");
        }
    }
}

#[test]
fn each_version_has_its_own_and_an_identical_one_changes_nothing() {
    for (duplicates, path) in [(Duplicates::Replace, path_of("1.2.1")), (Duplicates::KeepBoth, copy_path("1.2.1", 2))] {
        let site = Site::with(|settings| settings.duplicates = duplicates);
        let store =
            |seed: u8, receipt: &Receipt| site.outcome(&with_receipt(instance("1.2.1", &pixels(seed, 3000)), receipt));
        assert_eq!(store(1, FIRST), Outcome::New);
        assert_eq!(store(1, SECOND), Outcome::Identical);
        let first = site.root().join(path_of("1.2.1"));
        assert_eq!(attribute(&first), recorded(&first, text(FIRST)));
        store(2, SECOND);
        let second = site.root().join(path);
        assert_eq!(attribute(&second), recorded(&second, text(SECOND)));
    }
}

#[test]
fn a_retry_has_the_receipt_of_the_first_attempt() {
    let site = Site::new();
    let instance = with_receipt(instance("1.2.1", &pixels(1, 3000)), FIRST);
    instance.set_receipt(*SECOND);
    site.outcome(&instance);
    let path = site.root().join(path_of("1.2.1"));
    assert_eq!(attribute(&path), recorded(&path, text(FIRST)));
    assert_eq!(fs::metadata(&path).unwrap().len(), instance.file_bytes());
}
