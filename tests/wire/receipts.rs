//! Receipts: what the files of a node say of their senders.

use std::fs;

use crate::node::Node;
use crate::wire::{Wire, dataset, request};

/// What a stored file says of itself: the digest, and behind it the receipt.
fn attribute(node: &Node, sop_instance_uid: &str) -> String {
    let mut value = [0_u8; 256];
    let path = node.storage().join(format!("1.2.3/1.2.3.4/{sop_instance_uid}.dcm"));
    let length = rustix::fs::getxattr(path, "user.tidegate.xxh128", &mut value).unwrap();
    String::from_utf8(value[..length].to_vec()).unwrap()
}

#[test]
fn a_file_says_when_and_from_whom_it_was_received() {
    let node = Node::start(&[]);
    let mut of_origin = Vec::new();
    for (round, sizes) in [[1000, 300_000], [2000, 5_000_000]].into_iter().enumerate() {
        // One association, and so one origin, by every way to the disk.
        let (mut wire, _) = Wire::associate(node.address(), request());
        for (at, bytes) in sizes.into_iter().enumerate() {
            let uid = format!("1.2.3.4.{round}.{at}");
            assert_eq!(wire.store(1, &uid, &dataset(&uid, bytes)).status, 0);
            let receipt = attribute(&node, &uid)[32..].to_owned();
            assert_eq!(receipt.len(), 24, "{uid}");
            // The characters that depend on nothing but the origin.
            of_origin.push(receipt[10..18].to_owned());
        }
        wire.release();
    }
    let origins = fs::read(node.storage().join(".tidegate/origins")).unwrap();
    assert!(of_origin.iter().all(|own| *own == of_origin[0]), "{of_origin:?}");
    let names = |text: &[u8]| origins.windows(text.len()).filter(|window| *window == text).count();
    assert_eq!((names(b"WIRE"), names(b"127.0.0.1")), (1, 1));
}

#[test]
fn without_the_list_of_origins_instances_are_stored_without_receipts_and_it_is_said() {
    let node = Node::start(&[]);
    fs::create_dir(node.storage().join(".tidegate/origins")).unwrap();
    for uid in ["1.2.3.4.5", "1.2.3.4.6"] {
        let (mut wire, _) = Wire::associate(node.address(), request());
        assert_eq!(wire.store(1, uid, &dataset(uid, 1000)).status, 0);
        assert_eq!(attribute(&node, uid).len(), 32);
    }
    node.logged(&["instances are stored without a receipt"]);
    fs::remove_dir(node.storage().join(".tidegate/origins")).unwrap();
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.4.7", &dataset("1.2.3.4.7", 1000)).status, 0);
    assert_eq!(attribute(&node, "1.2.3.4.7").len(), 56);
}
