//! Datasets that never end, announce what never comes, or cost more than their bytes.

use super::*;

/// Resident memory, in bytes.
pub(super) fn resident(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The most bytes that one association may hold with the settings of [`bombed`], allocator slack included: its window of one dataset, two
/// more on their way, each up to the spool threshold and two segments, the spool's two chunks, and the request.
const SHARE: u64 = 16 * MIB;

/// A node for the bombs: datasets go to the spool from 1 MiB on, none may be longer than 2 GiB, and a test need not wait for syncs.
fn bombed(more: &[(&str, &str)]) -> Node {
    let environment =
        [&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB"), ("TIDEGATE__STORAGE__DURABILITY", "none")][..], more];
    Node::start(&environment.concat())
}

/// Streams a dataset in PDVs of 64 KiB: `head`, then `piece` over and over until `bytes` are sent or the peer has enough. Returns
/// the most the node has held meanwhile beyond `before`.
fn stream(node: &Node, wire: &mut Wire, head: &[u8], piece: &[u8], bytes: u64, before: u64) -> u64 {
    let mut highest = 0;
    let first = p_data(1, 0, head);
    let next = p_data(1, 0, piece);
    let mut sent = head.len() as u64;
    if wire.0.write_all(&first).is_err() {
        return highest;
    }
    for turn in 0_u64.. {
        if sent >= bytes || wire.0.write_all(&next).is_err() {
            break;
        }
        sent += piece.len() as u64;
        if turn % 64 == 0 {
            highest = highest.max(resident(node).saturating_sub(before));
        }
    }
    highest
}

/// How long the dataset of a bomb is: 128 MiB, or the whole GiB with `TIDEGATE_FLOODS=full`.
fn bomb_bytes() -> u64 {
    if std::env::var("TIDEGATE_FLOODS").is_ok_and(|value| value == "full") { 1 << 30 } else { 128 * MIB }
}

#[test]
fn a_dataset_of_any_length_takes_one_associations_share() {
    let node = bombed(&[]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.503")));
    let (end, piece) = (b"the end.", [7; 65_000]);
    let mut head = dataset("1.2.3.503", 0);
    let pieces = (bomb_bytes() - head.len() as u64).div_ceil(piece.len() as u64);
    let pixel_bytes = pieces * piece.len() as u64 + end.len() as u64;
    let at = head.len() - 4;
    head[at..].copy_from_slice(&u32::try_from(pixel_bytes).unwrap().to_le_bytes());
    let held = stream(&node, &mut wire, &head, &piece, bomb_bytes(), before);
    wire.send(&p_data(1, 2, end));
    assert_eq!(wire.response().status, 0);
    assert!(held <= SHARE, "{held} bytes");
    assert!(node.storage().join("1.2.3/1.2.3.4/1.2.3.503.dcm").metadata().unwrap().len() > bomb_bytes());
}

#[test]
fn a_header_alone_takes_no_memory_for_what_it_announces() {
    const PEERS: u64 = 32;
    let node = Node::start(&[]);
    let wires: Vec<_> = (0..PEERS)
        .map(|peer| {
            let uid = format!("1.2.3.504.{peer}");
            let (mut wire, _) = Wire::associate(node.address(), request());
            let sent = [&p_data(1, 3, &store_command(1, &uid))[..], &p_data(1, 0, &dataset(&uid, 120_000))[..2000]];
            wire.send(&sent.concat());
            wire
        })
        .collect();
    let least = p_data(1, 3, &store_command(1, "1.2.3.504.0")).len() + 2000;
    node.wait_until_each_received(PEERS as usize, least as u64);
    let (_, leased) = node.held();
    assert!(leased <= PEERS * 112 * 1024, "{} bytes for each", leased / PEERS);
    drop(wires);
    node.settled();
}

#[test]
fn a_dataset_without_end_is_aborted_at_its_limit_and_leaves_nothing() {
    let node = bombed(&[("TIDEGATE__ASSOCIATIONS__MAX_DATASET", "8 MiB")]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.504")));
    let held = stream(&node, &mut wire, &dataset("1.2.3.504", 0), &[7; 65_000], u64::MAX, before);
    assert!(held <= SHARE, "{held} bytes");
    node.logged(&["association over a limit, aborted", "max_dataset"]);
    node.wait_for_temp_files(0);
    assert!(!node.storage().join("1.2.3/1.2.3.4/1.2.3.504.dcm").exists());
    // A dataset of just the limit is taken.
    let sent = dataset("1.2.3.505", 8 * MIB as usize - dataset("1.2.3.505", 0).len());
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.505", &sent).status, 0);
    wire.release();
}

#[test]
fn an_association_ends_at_its_number_of_instances_or_bytes() {
    for (key, value, limit) in [("MAX_INSTANCES", "3", "max_instances"), ("MAX_BYTES", "1 MiB", "max_bytes")] {
        let node = Node::start(&[(&format!("TIDEGATE__ASSOCIATIONS__{key}"), value)]);
        let (mut wire, _) = Wire::associate(node.address(), request());
        for number in 0..3 {
            let uid = format!("1.2.3.506.{number}");
            assert_eq!(wire.store(1, &uid, &dataset(&uid, 400_000)).status, 0, "{limit}");
        }
        wire.send(&p_data(1, 3, &store_command(1, "1.2.3.506.3")));
        assert!(matches!(wire.pdu(), Some(Pdu::AbortRQ { .. })), "{limit}");
        node.logged(&["association over a limit, aborted", limit]);
        let (mut wire, _) = Wire::associate(node.address(), request());
        assert_eq!(wire.store(1, "1.2.3.506.3", &dataset("1.2.3.506.3", 4000)).status, 0, "it comes back: {limit}");
        wire.release();
    }
}

/// `head` up to the study UID, then `middle`, then the rest: what stands in the way of the scan.
fn with_middle(sop_instance_uid: &str, middle: &[u8]) -> Vec<u8> {
    let whole = dataset(sop_instance_uid, 0);
    let at = whole.windows(4).position(|four| four == [0x10, 0x00, 0x10, 0x00]).unwrap();
    [&whole[..at], middle, &whole[at..]].concat()
}

/// Sequences within sequences, in explicit VR little endian.
fn nested(levels: usize) -> Vec<u8> {
    let open = [
        0x08, 0x00, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF,
        0xFF,
    ];
    let close = [0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
    [open.repeat(levels), close.repeat(levels)].concat()
}

/// A million elements without a value.
fn tiny_elements() -> Vec<u8> {
    (0..1_000_000_u32).flat_map(|n| [0x09, 0x00, n as u8, 0x10 + (n >> 16) as u8, b'L', b'O', 0, 0]).collect()
}

/// A deflated dataset whose head is behind a gigabyte of zeros: 1 MB on the wire.
fn deflate_bomb() -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&[0x09, 0x00, 0x10, 0x10, b'O', b'B', 0, 0, 0x00, 0x00, 0x00, 0x40]).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.write_all(&dataset("1.2.3.510", 0)).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn cheap_bombs_cost_no_more_than_their_bytes() {
    let node = bombed(&[("TIDEGATE__LOG__REPEAT_INTERVAL", "0s")]);
    serve_a_good_client(&node, 0);
    let before = resident(&node);
    let mut deflated = request();
    deflated.presentation_contexts[0].transfer_syntaxes = vec!["1.2.840.10008.1.2.1.99".into()];
    let bombs = [
        ("60,000 sequences deep", request(), with_middle("1.2.3.507", &nested(60_000))),
        ("a million tiny elements", request(), with_middle("1.2.3.508", &tiny_elements())),
        ("all of it in sequences that never end", request(), with_middle("1.2.3.509", &nested(60_000)[..1_200_000])),
        ("a gigabyte in a megabyte", deflated, deflate_bomb()),
    ];
    for (name, request, bomb) in bombs {
        let ticks = cpu_ticks(&node);
        let (mut wire, _) = Wire::associate(node.address(), request);
        let response = wire.store(1, "1.2.3.510", &bomb);
        // Refused for its head, or stored as it came: answered, in any case.
        assert!(matches!(response.status, 0 | 0xA900 | 0xC000), "{name}: {response:?}");
        wire.release();
        let (held, ticks) = (resident(&node).saturating_sub(before), cpu_ticks(&node) - ticks);
        assert!(held <= SHARE, "{name}: {held} bytes");
        // 8 MB take some hundredths, as does a gigabyte that is inflated; one whose elements are looked at takes seconds.
        assert!(ticks < 200, "{name}: {ticks} hundredths of a second");
        serve_a_good_client(&node, 1);
    }
}

#[test]
fn one_pdu_may_hold_several_messages() {
    let node = bombed(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let count = 40;
    let mut pdvs = Vec::new();
    for number in 0..count {
        let uid = format!("1.2.3.511.{number}");
        for (control, bytes) in [(3, store_command(number, &uid)), (2, dataset(&uid, 1000))] {
            pdvs.extend((bytes.len() as u32 + 2).to_be_bytes());
            pdvs.extend([1, control]);
            pdvs.extend(bytes);
        }
    }
    wire.send(&[&[4, 0][..], &(pdvs.len() as u32).to_be_bytes(), &pdvs].concat());
    for number in 0..count {
        let response = wire.response();
        assert_eq!((response.message_id, response.status), (number, 0));
    }
    wire.release();
}
