//! The whole process on a real socket: what a peer sends, what it is told, what is on the disk.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::http::get;
use crate::node::{Node, eventually};
use crate::wire::{CT, Response, Wire, command, dataset, p_data, request, store_command, store_message};
use dicom_ul::pdu::{AbortRQSource, Pdu, PresentationContextProposed, UserVariableItem};
use rustix::process::Signal;

const STORE_RSP: u16 = 0x8001;

fn stored_path(sop_instance_uid: &str) -> PathBuf {
    format!("1.2.3/1.2.3.4/{sop_instance_uid}.dcm").into()
}

/// The dataset of a stored file, behind its file meta.
fn stored_dataset(node: &Node, sop_instance_uid: &str) -> Vec<u8> {
    let bytes = fs::read(node.storage().join(stored_path(sop_instance_uid))).unwrap();
    assert_eq!(&bytes[128..132], b"DICM");
    let length = u32::from_le_bytes(bytes[140..144].try_into().unwrap()) as usize;
    bytes[144 + length..].to_vec()
}

fn assert_stored(node: &Node, sop_instance_uid: &str, dataset: &[u8]) {
    assert!(stored_dataset(node, sop_instance_uid) == dataset, "{sop_instance_uid} is not stored as it was sent");
}

#[test]
fn an_instance_is_stored_as_it_was_sent_behind_a_correct_file_meta() {
    let mut node = Node::start(&[]);
    let (mut wire, answer) = Wire::associate(node.address(), request());
    assert!(answer.user_variables.contains(&UserVariableItem::MaxLength(131_072)));
    let sent = dataset("1.2.3.4.5", 100_000);
    let response = wire.store(7, "1.2.3.4.5", &sent);
    assert_eq!((response.command_field, response.message_id, response.status), (STORE_RSP, 7, 0));
    wire.release();
    assert_stored(&node, "1.2.3.4.5", &sent);
    let object = dicom_object::open_file(node.storage().join(stored_path("1.2.3.4.5"))).unwrap();
    let meta = object.meta();
    assert_eq!(meta.media_storage_sop_class_uid(), CT);
    assert_eq!(meta.media_storage_sop_instance_uid(), "1.2.3.4.5");
    assert_eq!(meta.transfer_syntax(), crate::wire::EXPLICIT);
    assert_eq!(meta.source_application_entity_title.as_deref().map(str::trim), Some("WIRE"));
    assert_eq!(meta.sending_application_entity_title.as_deref().map(str::trim), Some("WIRE"));
    assert_eq!(meta.receiving_application_entity_title.as_deref().map(str::trim), Some("TIDEGATE"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_message_may_come_one_byte_at_a_time_and_in_one_byte_pdvs() {
    let node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let sent = dataset("1.2.3.4.6", 64);
    for byte in store_message(1, "1.2.3.4.6", &sent, 1) {
        wire.send(&[byte]);
    }
    assert_eq!(wire.response().status, 0);
    assert_stored(&node, "1.2.3.4.6", &sent);
    let sent = dataset("1.2.3.4.7", 300_000);
    wire.send(&store_message(2, "1.2.3.4.7", &sent, 3));
    assert_eq!(wire.response().status, 0);
    assert_stored(&node, "1.2.3.4.7", &sent);
}

#[test]
fn a_negotiated_window_lets_several_operations_be_outstanding() {
    let node = Node::start(&[]);
    let mut asking = request();
    asking.user_variables.push(UserVariableItem::Unknown(0x53, vec![0, 5, 0, 1]));
    let (mut wire, answer) = Wire::associate(node.address(), asking);
    assert!(answer.user_variables.contains(&UserVariableItem::Unknown(0x53, vec![0, 5, 0, 1])));
    let mut all = Vec::new();
    for id in 1..=20_u16 {
        let uid = format!("1.2.3.5.{id}");
        all.extend(store_message(id, &uid, &dataset(&uid, 40_000), 16_000));
    }
    let mut writing = wire.0.try_clone().unwrap();
    let sender = std::thread::spawn(move || writing.write_all(&all).unwrap());
    let mut answered: Vec<_> = (0..20).map(|_| wire.response()).map(|r| (r.message_id, r.status)).collect();
    sender.join().unwrap();
    answered.sort_unstable();
    assert_eq!(answered, (1..=20).map(|id| (id, 0)).collect::<Vec<_>>());
    for id in 1..=20 {
        let uid = format!("1.2.3.5.{id}");
        assert_stored(&node, &uid, &dataset(&uid, 40_000));
    }
}

#[test]
fn who_did_not_negotiate_a_window_is_answered_in_order() {
    let node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let mut all = Vec::new();
    for id in 1..=10_u16 {
        let uid = format!("1.2.3.6.{id}");
        all.extend(store_message(id, &uid, &dataset(&uid, 5_000), 16_000));
    }
    wire.send(&all);
    let order: Vec<_> = (0..10).map(|_| wire.response().message_id).collect();
    assert_eq!(order, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_large_dataset_goes_through_the_spool() {
    let node = Node::start(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    for (uid, pixels) in [("1.2.3.7.1", 30_000_000), ("1.2.3.7.2", 1_048_576), ("1.2.3.7.3", 1_500_000)] {
        let sent = dataset(uid, pixels);
        assert_eq!(wire.store(1, uid, &sent).status, 0);
        assert_stored(&node, uid, &sent);
    }
    // A resend of it is recognised although it is compared from the spool.
    let inode = |uid| fs::metadata(node.storage().join(stored_path(uid))).unwrap().ino();
    let before = inode("1.2.3.7.1");
    assert_eq!(wire.store(2, "1.2.3.7.1", &dataset("1.2.3.7.1", 30_000_000)).status, 0);
    assert_eq!(inode("1.2.3.7.1"), before);
    wire.release();
    node.wait_for_temp_files(0);
}

/// Long fragments are read to their place in the file, short ones are parsed with what is around them, and both may be in one dataset.
#[test]
fn whatever_fragments_a_dataset_comes_in_it_is_stored_as_it_was_sent() {
    const KIB: usize = 1024;
    for environment in
        [&[][..], &[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB")], &[("TIDEGATE__STORAGE__COMMIT", "per-file")]]
    {
        let node = Node::start(environment);
        let (mut wire, _) = Wire::associate(node.address(), request());
        // Fragments of each P-DATA-TF PDU in turn.
        let shapes: [&[&[usize]]; 7] = [
            &[&[128 * KIB - 6]],
            &[&[40_000, 60_000, 10], &[1], &[100_000]],
            &[&[20_000], &[120_000], &[0], &[33_000, 500]],
            &[&[500], &[500], &[131_000]],
            &[&[16_000]],
            &[&[100_000], &[100], &[100], &[16_000, 2000]],
            &[&[65_536 - 6]],
        ];
        let sizes = [64 * KIB, 150_000, 512 * KIB, 513 * KIB - 2, 1100 * KIB, 3000 * KIB];
        for (number, (shape, pixels)) in shapes.iter().flat_map(|shape| sizes.map(|size| (shape, size))).enumerate() {
            let uid = format!("1.2.3.4.8.{number}");
            let sent = dataset(&uid, pixels);
            let mut message = p_data(1, 3, &store_command(number as u16, &uid));
            let mut rest = &sent[..];
            for pdu in shape.iter().cycle() {
                let mut body = Vec::new();
                for fragment in pdu.iter() {
                    let (now, after) = rest.split_at((*fragment).min(rest.len()));
                    body.extend((now.len() as u32 + 2).to_be_bytes());
                    body.extend([1, if after.is_empty() { 2 } else { 0 }]);
                    body.extend(now);
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
                message.extend([4, 0]);
                message.extend((body.len() as u32).to_be_bytes());
                message.extend(body);
                if rest.is_empty() {
                    break;
                }
            }
            let burst = [usize::MAX, 100_000, 70_001][number % 3].min(message.len());
            message.chunks(burst).for_each(|bytes| wire.send(bytes));
            assert_eq!(wire.response().status, 0, "{shape:?} {pixels}");
            assert_stored(&node, &uid, &sent);
        }
        wire.release();
    }
}

#[test]
fn when_the_budget_is_exhausted_every_dataset_arrives_all_the_same() {
    // 40 associations × 32 KiB of floor leave 6.75 MiB for 40 datasets of 3 MiB each.
    let mut node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "40"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__MEMORY__BUDGET", "8 MiB"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "2 MiB"),
    ]);
    let senders: Vec<_> = (0..40)
        .map(|i| {
            let address = node.address();
            std::thread::spawn(move || {
                let (mut wire, _) = Wire::associate(address, request());
                let uid = format!("1.2.3.8.{i}");
                let status = wire.store(1, &uid, &dataset(&uid, 3_000_000)).status;
                wire.release();
                status
            })
        })
        .collect();
    for sender in senders {
        assert_eq!(sender.join().unwrap(), 0);
    }
    for i in 0..40 {
        let uid = format!("1.2.3.8.{i}");
        assert_stored(&node, &uid, &dataset(&uid, 3_000_000));
    }
    assert_eq!(node.temp_files(), 0);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn contexts_are_not_paid_for_as_floors_which_are_kept_for_who_has_not_come_yet() {
    let node = Node::start(&[]);
    let mut asking = request();
    let ct = asking.presentation_contexts[0].clone();
    asking.presentation_contexts =
        (0..128).map(|number| PresentationContextProposed { id: 2 * number + 1, ..ct.clone() }).collect();
    let (wire, _) = Wire::associate(node.address(), asking);
    let snapshot: serde_json::Value = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
    let held = |stage| {
        let stages = snapshot["stages"].as_array().unwrap();
        stages.iter().find(|entry| entry["stage"] == stage).unwrap()["bytes"].as_u64().unwrap()
    };
    assert_eq!((held("floor"), held("negotiating")), (32 * 1024, 128 * 160));
    wire.release();
}

#[test]
fn what_cannot_be_stored_is_answered_with_the_status_that_says_why() {
    let node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let mut case = |command_set: &[u8], context_id: u8, dataset: &[u8]| -> Response {
        wire.send(&p_data(context_id, 3, command_set));
        if !dataset.is_empty() {
            wire.send(&p_data(context_id, 2, dataset));
        }
        wire.response()
    };
    let good = dataset("1.2.3.9", 100);
    let other_instance = case(&store_command(1, "1.2.3.9.1"), 1, &good);
    assert_eq!(other_instance.status, 0xA900, "{other_instance:?}");
    assert!(!other_instance.comment.is_empty());
    let garbage = case(&store_command(2, "1.2.3.9"), 1, b"this is no dataset at all.......");
    assert_eq!(garbage.status, 0xC000, "{garbage:?}");
    let traversal = case(&store_command(3, "../../../etc/passwd"), 1, &good);
    assert_eq!(traversal.status, 0x0117, "{traversal:?}");
    let on_verification = case(&store_command(4, "1.2.3.9"), 3, &good);
    assert_eq!(on_verification.status, 0x0122, "{on_verification:?}");
    let without_dataset = command(&[
        (0x0002, CT.as_bytes()),
        (0x0100, &[1, 0]),
        (0x0110, &[5, 0]),
        (0x0800, &[1, 1]),
        (0x1000, b"1.2.3.9"),
    ]);
    assert_eq!(case(&without_dataset, 1, &[]).status, 0xC000);
    let find = command(&[
        (0x0002, b"1.2.840.10008.5.1.4.1.2.2.1"),
        (0x0100, &[0x20, 0]),
        (0x0110, &[6, 0]),
        (0x0800, &[0, 0]),
    ]);
    let refused = case(&find, 1, &good);
    assert_eq!((refused.command_field, refused.message_id, refused.status), (0x8020, 6, 0x0211));
    let echo = command(&[(0x0002, b"1.2.840.10008.1.1"), (0x0100, &[0x30, 0]), (0x0110, &[7, 0]), (0x0800, &[1, 1])]);
    assert_eq!(case(&echo, 3, &[]).status, 0);
    // The association has survived all of it, and nothing of it was stored.
    assert!(!node.storage().join("1.2.3").exists());
    assert_eq!(case(&store_command(8, "1.2.3.9"), 1, &good).status, 0);
    wire.release();
    assert_eq!(node.temp_files(), 0);
}

#[test]
fn an_association_beyond_a_limit_is_rejected_as_transient_and_admitted_later() {
    for limit in ["MAX", "MAX_PER_CALLING_AE", "MAX_PER_ADDRESS"] {
        let node = Node::start(&[(&format!("TIDEGATE__ASSOCIATIONS__{limit}"), "2")]);
        let (first, _) = Wire::associate(node.address(), request());
        let (second, _) = Wire::associate(node.address(), request());
        let mut third = Wire::connect(node.address());
        let Some(Pdu::AssociationRJ(rejection)) = third.ask(request()) else { panic!("not rejected by {limit}") };
        let mut bytes = Vec::new();
        dicom_ul::pdu::write_pdu(&mut bytes, &Pdu::AssociationRJ(rejection)).unwrap();
        assert_eq!(bytes[7..], [2, 3, 2], "{limit}");
        drop(third);
        first.release();
        // The place is free when the connection is gone, a moment after the release.
        let admitted =
            eventually(|| matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationAC(_))));
        assert!(admitted, "{limit}");
        second.release();
    }
}

#[test]
fn another_called_ae_title_is_rejected_only_if_asked_for() {
    let mut asking = request();
    asking.called_ae_title = "OTHER".into();
    let node = Node::start(&[]);
    Wire::associate(node.address(), asking.clone()).0.release();
    let node = Node::start(&[("TIDEGATE__NODE__REQUIRE_CALLED_AE_TITLE", "true")]);
    let answer = Wire::connect(node.address()).ask(asking);
    assert!(matches!(answer, Some(Pdu::AssociationRJ(_))), "{answer:?}");
    Wire::associate(node.address(), request()).0.release();
}

#[test]
fn a_dataset_cut_off_in_the_middle_leaves_nothing() {
    let mut node = Node::start(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
    let message = store_message(1, "1.2.3.10", &dataset("1.2.3.10", 400_000), 16_000);
    // by release
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.10")));
    for fragment in dataset("1.2.3.10", 400_000)[..160_000].chunks(16_000) {
        wire.send(&p_data(1, 0, fragment));
    }
    wire.release();
    // by abort
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.10")));
    wire.send(&p_data(1, 0, &dataset("1.2.3.10", 100_000)[..16_000]));
    wire.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    assert_eq!(wire.pdu(), None);
    // by a lost connection
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&message[..300_000]);
    wire.0.shutdown(Shutdown::Both).unwrap();
    assert_eq!(node.stop(), Some(0));
    assert_eq!(node.temp_files(), 0);
    assert!(!node.storage().join("1.2.3").exists());
}

#[test]
fn a_protocol_violation_is_answered_by_the_standard() {
    let node = Node::start(&[]);
    let aborted = |wire: &mut Wire| match wire.pdu() {
        Some(Pdu::AbortRQ { source }) => source,
        other => panic!("not aborted: {other:?}"),
    };
    // P-DATA before the association: AA-1
    let mut wire = Wire::connect(node.address());
    wire.send(&p_data(1, 3, b"x"));
    assert_eq!(aborted(&mut wire), AbortRQSource::ServiceUser);
    // a PDU longer than offered, told by its header alone: AA-8
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&[4, 0, 0x40, 0, 0, 0]);
    assert!(matches!(aborted(&mut wire), AbortRQSource::ServiceProvider(_)));
    // a request in the middle of an association
    let (mut wire, _) = Wire::associate(node.address(), request());
    let answer = wire.ask(request());
    assert!(matches!(answer, Some(Pdu::AbortRQ { .. })), "{answer:?}");
}

#[test]
fn strangers_are_let_go_without_a_word() {
    let node = Node::start(&[]);
    for first in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", b""] {
        let mut wire = Wire::connect(node.address());
        wire.send(first);
        wire.0.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = wire.0.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    Wire::associate(node.address(), request()).0.release();
}

#[test]
fn storage_that_goes_away_is_answered_with_a700_until_it_is_back() {
    let node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let sent = dataset("1.2.3.11", 1000);
    let elsewhere = node.storage().with_extension("elsewhere");
    fs::rename(node.storage(), &elsewhere).unwrap();
    let response = wire.store(1, "1.2.3.11", &sent);
    assert_eq!(response.status, 0xA700, "{response:?}");
    assert!(!response.comment.is_empty() && response.comment.len() <= 64);
    assert!(!node.storage().exists(), "a vanished root is not made anew");
    fs::rename(&elsewhere, node.storage()).unwrap();
    assert_eq!(wire.store(2, "1.2.3.11", &sent).status, 0);
    assert_stored(&node, "1.2.3.11", &sent);
}

#[test]
fn a_disk_down_to_its_reserve_is_answered_with_a700() {
    let node = Node::start(&[("TIDEGATE__STORAGE__MIN_FREE", "1000 TiB")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let response = wire.store(1, "1.2.3.12", &dataset("1.2.3.12", 1000));
    assert_eq!(response.status, 0xA700, "{response:?}");
    assert!(response.comment.contains("min_free"), "{response:?}");
    assert_eq!(node.temp_files(), 0);
}

#[test]
fn duplicates_are_treated_as_configured() {
    let (one, two) = (dataset("1.2.3.13", 1000), dataset("1.2.3.13", 2000));
    let kept = [("", 0, 2), ("keep-both", 0, 2)];
    for (policy, second, files) in [("replace", 0, 1), ("refuse", 0x0111, 1)].into_iter().chain(kept) {
        let mut environment = vec![("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0")];
        if !policy.is_empty() {
            environment.push(("TIDEGATE__STORAGE__DUPLICATES", policy));
        }
        let node = Node::start(&environment);
        let (mut wire, _) = Wire::associate(node.address(), request());
        assert_eq!(wire.store(1, "1.2.3.13", &one).status, 0);
        assert_eq!(wire.store(2, "1.2.3.13", &one).status, 0, "{policy}: the same again");
        assert_eq!(wire.store(3, "1.2.3.13", &two).status, second, "{policy}");
        wire.release();
        assert_stored(&node, "1.2.3.13", if policy == "replace" { &two } else { &one });
        let series = fs::read_dir(node.storage().join("1.2.3/1.2.3.4")).unwrap();
        assert_eq!(series.count(), files, "{policy}");
        let (outcome, path) = match policy {
            "refuse" => continue,
            "replace" => ("replaced", "path=1.2.3/1.2.3.4/1.2.3.13.dcm"),
            _ => ("kept_both", "path=1.2.3/1.2.3.4/1.2.3.13~2.dcm"),
        };
        let line = node.logged(&["other bytes under a stored SOP Instance UID", "sop_instance=\"1.2.3.13\"", path]);
        assert!(line.contains(" INFO ") && line.contains(&format!("outcome=\"{outcome}\"")), "{line}");
        let figures = get(node.admin_address(), "/metrics").body;
        for name in ["new", "identical", outcome] {
            let sample = format!("tidegate_instances_acknowledged_total{{outcome=\"{name}\",durability=\"fsync\"}} 1");
            assert!(figures.contains(&sample), "{policy}: {sample}");
        }
    }
}

#[test]
fn sigterm_lets_an_association_finish_its_instance() {
    let mut node = Node::start(&[]);
    let (mut idle, _) = Wire::associate(node.address(), request());
    let (mut busy, _) = Wire::associate(node.address(), request());
    let sent = dataset("1.2.3.14", 200_000);
    let message = store_message(1, "1.2.3.14", &sent, 16_000);
    busy.send(&message[..100_000]);
    node.wait_until_received(80_000); // the node is in the middle of it
    node.signal(Signal::TERM);
    assert!(matches!(idle.pdu(), Some(Pdu::AbortRQ { .. })), "an idle association is ended");
    busy.send(&message[100_000..]);
    assert_eq!(busy.response().status, 0);
    assert!(matches!(busy.pdu(), Some(Pdu::AbortRQ { .. }) | None));
    drop((idle, busy));
    assert_eq!(node.wait(), Some(0));
    assert_stored(&node, "1.2.3.14", &sent);
}
