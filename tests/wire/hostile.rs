//! Peers that break the protocol, lie about who they are, or are no DICOM peers at all: what each is told, what is counted and
//! logged, and that a good client is served as if they were not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::node::{Node, eventually, files_below};
use crate::wire::{CT, EXPLICIT, Wire, command, dataset, encoded, p_data, request, store_command, store_message};
use dicom_ul::pdu::{Pdu, PresentationContextProposed, UserVariableItem};

/// The node's last answer before the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// A-ABORT with this source and reason.
    Abort(u8, u8),
    /// A-ASSOCIATE-RJ with this result, source and reason.
    Reject(u8, u8, u8),
    /// Nothing: the connection is closed.
    Closed,
}

/// The last PDU before the end of the connection.
fn read_answer(wire: &mut Wire) -> Answer {
    let mut bytes = Vec::new();
    let _ = wire.0.read_to_end(&mut bytes);
    match bytes.last_chunk::<10>() {
        Some(&[7, 0, 0, 0, 0, 4, 0, 0, source, reason]) => Answer::Abort(source, reason),
        Some(&[3, 0, 0, 0, 0, 4, 0, result, source, reason]) => Answer::Reject(result, source, reason),
        _ => Answer::Closed,
    }
}

/// The association request with some of its bytes changed.
fn request_with(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = encoded(request());
    change(&mut bytes);
    bytes
}

/// A P-DATA-TF PDU with these bytes in it.
fn pdu(value: &[u8]) -> Vec<u8> {
    [&[4, 0][..], &(value.len() as u32).to_be_bytes(), value].concat()
}

fn echo(message_id: u8) -> Vec<u8> {
    command(&[(0x0002, b"1.2.840.10008.1.1"), (0x0100, &[0x30, 0]), (0x0110, &[message_id, 0]), (0x0800, &[1, 1])])
}

/// The bytes to send, whether an association is accepted before, the expected answer, and the kind of incident that is counted.
struct Case {
    name: &'static str,
    associated: bool,
    sent: Vec<u8>,
    answer: Answer,
    kind: &'static str,
}

fn cases() -> Vec<Case> {
    use Answer::{Abort, Closed, Reject};
    let mut cases = Vec::new();
    let mut case = |name, associated, sent, answer, kind| cases.push(Case { name, associated, sent, answer, kind });
    // Before an association (Sta2).
    case("P-DATA before an association", false, p_data(1, 3, &echo(1)), Abort(0, 0), "unexpected_pdu");
    case("release before an association", false, vec![5, 0, 0, 0, 0, 4, 0, 0, 0, 0], Abort(0, 0), "unexpected_pdu");
    case("abort before an association", false, vec![7, 0, 0, 0, 0, 4, 0, 0, 0, 0], Closed, "");
    case("unknown PDU type", false, vec![0x42, 0, 0, 0, 0, 4, 0, 0, 0, 0], Abort(0, 0), "unrecognized_pdu");
    case("request of 4 GiB", false, vec![1, 0, 0xFF, 0xFF, 0xFF, 0xFF], Abort(0, 0), "pdu_length");
    case("item beyond its request", false, request_with(|rq| rq[77] = 0xFF), Abort(0, 0), "malformed_request");
    case("request of no length", false, vec![1, 0, 0, 0, 0, 0], Abort(0, 0), "malformed_request");
    case("protocol version 2", false, request_with(|rq| rq[7] = 2), Reject(1, 2, 2), "");
    case("foreign application context", false, request_with(|rq| rq[78] = b'2'), Reject(1, 1, 2), "");
    case("http", false, b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n".to_vec(), Closed, "http");
    case("tls", false, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Closed, "tls");
    // Within one (Sta6).
    case("second request", true, encoded(request()), Abort(2, 2), "unexpected_pdu");
    case("acceptance from a requestor", true, request_with(|rq| rq[0] = 2), Abort(2, 2), "unexpected_pdu");
    case("release reply nobody asked for", true, vec![6, 0, 0, 0, 0, 4, 0, 0, 0, 0], Abort(2, 2), "unexpected_pdu");
    case("unknown PDU type inside", true, vec![0, 0, 0, 0, 0, 0], Abort(2, 1), "unrecognized_pdu");
    case("PDU longer than offered", true, vec![4, 0, 0, 2, 0, 1], Abort(2, 6), "pdu_length");
    case("release of the wrong length", true, vec![5, 0, 0, 0, 0, 9], Abort(2, 6), "pdu_length");
    case("PDV of length 0", true, pdu(b"\0\0\0\0\x01\x03"), Abort(2, 6), "pdv_length");
    case("PDV of length 1", true, pdu(b"\0\0\0\x01\x01\x03"), Abort(2, 6), "pdv_length");
    case("PDV longer than its PDU", true, pdu(b"\0\0\0\x09\x01\x03xyz"), Abort(2, 6), "pdv_length");
    case("PDV of 4 GiB", true, pdu(b"\xFF\xFF\xFF\xFF\x01\x03xyz"), Abort(2, 6), "pdv_length");
    case("rest of a PDU too short for a PDV", true, pdu(b"\0\0\0\x02\x01\x01\0\0"), Abort(2, 6), "pdv_length");
    case("context that was not proposed", true, p_data(9, 3, &echo(1)), Abort(2, 6), "context_not_accepted");
    case("context with an even ID", true, p_data(2, 3, &echo(1)), Abort(2, 6), "context_not_accepted");
    case("dataset without command", true, p_data(1, 2, b"data"), Abort(2, 5), "unexpected_pdv");
    let two_commands = [p_data(1, 3, &store_command(1, "1.2.3.200")), p_data(1, 3, &store_command(2, "1.2.3.201"))];
    case("command without its dataset", true, two_commands.concat(), Abort(2, 5), "unexpected_pdv");
    let other_context = [p_data(1, 3, &store_command(1, "1.2.3.200")), p_data(3, 2, b"data")];
    case("dataset on another context", true, other_context.concat(), Abort(2, 5), "unexpected_pdv");
    let megabytes: Vec<u8> = std::iter::repeat_n(p_data(1, 1, &[0; 16_000]), 200).flatten().collect();
    case("command set of megabytes", true, megabytes, Abort(0, 0), "command_set_length");
    case("command set cut short", true, p_data(1, 3, &echo(1)[..60]), Abort(0, 0), "command_truncated");
    let endless =
        command(&[(0x0100, &[1, 0])]).into_iter().chain([0, 0, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF]).collect::<Vec<_>>();
    case("element of 4 GiB in a command set", true, p_data(1, 3, &endless), Abort(0, 0), "command_truncated");
    case("empty command set", true, p_data(1, 3, b""), Abort(0, 0), "command_missing_element");
    case("dataset as a command set", true, p_data(1, 3, &dataset("1.2.3.4", 0)), Abort(0, 0), "command_truncated");
    let response = command(&[(0x0100, &[1, 0x80]), (0x0120, &[1, 0]), (0x0800, &[1, 1]), (0x0900, &[0, 0])]);
    case("response to nothing", true, p_data(1, 3, &response), Abort(0, 0), "unexpected_response");
    cases
}

/// `tidegate_incidents_total` by kind.
fn incidents(node: &Node) -> BTreeMap<String, u64> {
    let page = crate::http::get(node.admin_address(), "/metrics").body;
    let samples = page.lines().filter(|line| line.starts_with("tidegate_incidents_total{"));
    samples
        .map(|line| {
            let kind = line.split("kind=\"").nth(1).unwrap().split('"').next().unwrap();
            (kind.to_owned(), line.rsplit(' ').next().unwrap().parse().unwrap())
        })
        .collect()
}

#[test]
fn the_line_of_a_malformed_request_names_its_titles_and_the_place() {
    let cut = |length: usize| {
        request_with(|rq| {
            rq.truncate(length);
            rq[2..6].copy_from_slice(&(length as u32 - 6).to_be_bytes());
        })
    };
    let node = Node::start(&[("TIDEGATE__LOG__REPEAT_INTERVAL", "0s")]);
    for (sent, called, calling, cause) in [
        (request_with(|rq| rq[76] = 0xFF), "TIDEGATE", "WIRE", "item 0x10 at byte 74 takes 65305 bytes"),
        (cut(101), "TIDEGATE", "WIRE", "item 0x20 at byte 99 takes 4 bytes, 2 are left"),
        (cut(60), "TIDEGATE", "WIRE", "its fixed fields end at byte 60 of 74"),
        (cut(28), "TIDEGATE", "WI", "its fixed fields end at byte 28 of 74"),
        (cut(14), "TIDE", "", "its fixed fields end at byte 14 of 74"),
    ] {
        let mut wire = Wire::connect(node.address());
        wire.send(&sent);
        wire.0.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_answer(&mut wire), Answer::Abort(0, 0), "{cause}");
        let (called, calling) = (format!("called=\"{called}\""), format!("calling=\"{calling}\""));
        node.logged(&["association aborted: protocol violation", &called, &calling, cause]);
    }
}

#[test]
fn each_violation_gets_the_standards_answer_and_is_counted_and_logged_once() {
    let mut node = Node::start(&[("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"), ("TIDEGATE__LOG__REPEAT_INTERVAL", "1h")]);
    let (mut good, _) = Wire::associate(node.address(), request());
    let mut counted = BTreeMap::new();
    for Case { name, associated, sent, answer, kind } in cases() {
        let mut wire = Wire::connect(node.address());
        if associated {
            assert!(matches!(wire.ask(request()), Some(Pdu::AssociationAC(_))), "{name}");
        }
        // The answer may come, and the connection end, before all of it is sent.
        let _ = wire.0.write_all(&sent);
        let _ = wire.0.shutdown(Shutdown::Write);
        assert_eq!(read_answer(&mut wire), answer, "{name}");
        if !kind.is_empty() {
            *counted.entry(kind.to_owned()).or_insert(0) += 1;
        }
        let echoed = good.echo();
        assert_eq!(echoed.status, 0, "the good client after: {name}");
    }
    assert_eq!(incidents(&node), counted);
    let violations: BTreeSet<_> = counted.keys().filter(|kind| !["http", "tls"].contains(&kind.as_str())).collect();
    // One line for each kind of one peer and title: some have ended before they named themselves.
    let field = |line: &str, name: &str| {
        line.split_once(&format!("{name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap().to_owned())
    };
    let log = node.log_text();
    let aborted = log.lines().filter(|line| line.contains("association aborted"));
    let logged: Vec<_> = aborted.map(|line| (field(line, "reason").unwrap(), field(line, "calling"))).collect();
    assert_eq!(logged.iter().collect::<BTreeSet<_>>().len(), logged.len(), "{logged:?}");
    let kinds: BTreeSet<_> = logged.iter().map(|(reason, _)| reason).collect();
    assert_eq!(kinds, violations);
    node.logged_times("association rejected", 2);
    good.release();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_storage_root_that_others_can_enter_or_change_is_warned_of() {
    for (mode, warnings) in [(0o750, 0), (0o770, 1), (0o755, 1), (0o777, 2)] {
        let mut node = Node::start_prepared(&[], |root| {
            fs::create_dir(root).unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_eq!(node.stop(), Some(0));
        let log = node.log_text();
        let answer =
            ["every user of this machine can enter the storage root", "the group of the storage root can change"];
        let warned: usize = answer.iter().map(|answer| log.matches(answer).count()).sum();
        assert_eq!(warned, warnings, "{mode:o}: {log}");
    }
}

#[test]
fn what_the_standard_allows_is_served() {
    let node = Node::start(&[]);
    // Reserved bytes of every PDU are not looked at (PS3.8 §9.3.1).
    let mut wire = Wire::connect(node.address());
    wire.send(&request_with(|rq| [rq[1], rq[8], rq[42], rq[73]] = [0xFF; 4]));
    assert!(matches!(wire.pdu(), Some(Pdu::AssociationAC(_))));
    let mut echoing = p_data(3, 3, &echo(9));
    echoing[1] = 0xFF;
    wire.send(&echoing);
    assert_eq!(wire.response().status, 0);
    // A group length that lies.
    let mut lying = echo(10);
    lying[8..12].copy_from_slice(&[0xFF; 4]);
    wire.send(&p_data(3, 3, &lying));
    assert_eq!(wire.response().message_id, 10);
    wire.release();

    // 128 contexts of 20 transfer syntaxes each, and user information of 60 KiB.
    let mut large = request();
    large.presentation_contexts = (0..128_u16)
        .map(|n| PresentationContextProposed {
            id: (2 * n + 1) as u8,
            abstract_syntax: CT.into(),
            transfer_syntaxes: (0..20)
                .map(|m| format!("1.2.840.10008.1.2.4.{n}.{m}"))
                .chain([EXPLICIT.into()])
                .collect(),
        })
        .collect();
    large.user_variables.push(UserVariableItem::Unknown(0x5F, vec![0x5F; 60_000]));
    let (wire, answer) = Wire::associate(node.address(), large);
    assert_eq!(answer.presentation_contexts.len(), 128);
    wire.release();
}

#[test]
fn strangers_leave_nothing_behind() {
    let mut node = Node::start(&[("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "300ms")]);
    Wire::associate(node.address(), request()).0.release();
    let quiet = node.settled();
    for round in 0..40 {
        for first in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", b"\x01", b""] {
            let mut wire = Wire::connect(node.address());
            wire.send(first);
            if round % 4 > 0 {
                drop(wire);
            } else {
                assert_eq!(wire.pdu(), None, "closed without a word, at once or when the request is late");
                let _ = wire.0.shutdown(Shutdown::Both);
            }
        }
    }
    assert_eq!(node.settled(), quiet, "associations, leased bytes, descriptors");
    let (http, tls) = ("http on the dicom port", "tls, and this node serves none");
    assert!([http, tls].iter().all(|stranger| node.log_text().matches(stranger).count() <= 1));
    assert_eq!(node.stop(), Some(0));
}

/// Strings that try to get out of a directory, a log line or a label.
const NASTY: [&[u8]; 12] = [
    b"../../../../etc/passwd",
    b"/etc/passwd",
    b"..",
    b".",
    b"a\0b",
    b"1.2.3\n2026-01-01T00:00:00Z  INFO forged",
    b"\x1b[31mred\x1b[0m",
    b"\xff\xfe\xe9\x00",
    b"\"} 1\ntidegate_up{x=\"",
    "１.２.３\u{202e}".as_bytes(),
    &[b'9'; 300],
    b"",
];

/// A CT dataset with this Patient ID.
fn dataset_of(sop_instance_uid: &str, patient_id: &[u8]) -> Vec<u8> {
    let whole = dataset(sop_instance_uid, 16);
    let at = whole.windows(4).position(|four| four == [0x20, 0x00, 0x0D, 0x00]).unwrap();
    let mut element = vec![0x10, 0x00, 0x20, 0x00, b'L', b'O'];
    element.extend((patient_id.len() as u16).to_le_bytes());
    element.extend(patient_id);
    [&whole[..at], &element, &whole[at..]].concat()
}

#[test]
fn no_name_leaves_the_root_collides_or_forges_a_line() {
    let environment = [
        ("TIDEGATE__STORAGE__LAYOUT", "{PatientID}/{SOPInstanceUID}.dcm"),
        ("TIDEGATE__LOG__LEVEL", "trace"),
        ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s"),
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    let mut node = Node::start(&environment);
    let outside = files_below(node.storage().parent().unwrap());
    let (mut wire, _) = Wire::associate(node.address(), request());
    // In the command set: refused, unless it can be kept as a UID.
    for uid in NASTY {
        let command =
            command(&[(0x0002, CT.as_bytes()), (0x0100, &[1, 0]), (0x0110, &[1, 0]), (0x0800, &[0, 0]), (0x1000, uid)]);
        wire.send(&[p_data(1, 3, &command), p_data(1, 2, &dataset("1.2.3.4.5", 16))].concat());
        let response = wire.response();
        // What stands behind a NUL is no part of it.
        let expected = if matches!(uid, b"." | b".." | b"a\0b") { 0xA900 } else { 0x0117 };
        assert_eq!(response.status, expected, "{uid:?}: {response:?}");
        assert!(response.comment.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{response:?}");
    }
    // In the path: stored, each in a place of its own.
    for (number, patient_id) in NASTY.into_iter().enumerate() {
        for patient_id in [patient_id, &patient_id.to_ascii_uppercase()] {
            let uid = format!("1.2.3.300.{number}.{}", patient_id.len());
            assert_eq!(wire.store(1, &uid, &dataset_of(&uid, patient_id)).status, 0, "{patient_id:?}");
        }
    }
    wire.release();
    // As the title of a peer: 16 bytes, whatever they are.
    for title in NASTY {
        let padded: Vec<u8> = title.iter().copied().chain([b' '; 16]).take(16).collect();
        let mut wire = Wire::connect(node.address());
        wire.send(&request_with(|rq| {
            rq[10..26].copy_from_slice(&padded);
            rq[26..42].copy_from_slice(&padded);
        }));
        if let Some(Pdu::AssociationAC(_)) = wire.pdu() {
            wire.send(&p_data(9, 3, b"x")); // a violation, for its line
            while wire.pdu().is_some() {}
        }
    }
    let stored = files_below(&node.storage());
    assert!(stored.iter().filter(|path| path.extension().is_some_and(|end| end == "dcm")).count() >= NASTY.len());
    let after: BTreeSet<_> = files_below(node.storage().parent().unwrap());
    let strays: Vec<_> = after.difference(&outside).filter(|path| !path.starts_with("storage")).collect();
    assert!(strays.is_empty(), "outside of the root: {strays:?}");
    for line in node.log_text().lines() {
        assert!(line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00Z"), "not a line of ours: {line:?}");
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    }
    let labels = crate::http::get(node.admin_address(), "/metrics").body;
    let is_ours = |line: &str| ["tidegate_", "process_", "#"].iter().any(|begin| line.starts_with(begin));
    assert!(labels.lines().all(is_ours), "{labels}");
    assert!(!labels.contains("passwd") && !labels.contains("tidegate_up"), "a peer's string became a label");
    assert_eq!(node.stop(), Some(0));
}

/// A string that no log may contain.
const MARK: &str = "ZZMARKZZ";

fn send_marked(address: SocketAddr, client: usize) {
    let (mut wire, _) = Wire::associate(address, request());
    for i in 0..20 {
        let uid = format!("1.2.3.400.{client}.{i}");
        let patient = format!("{MARK}{}", i % 3);
        let first = wire.store(1, &uid, &dataset_of(&uid, patient.as_bytes()));
        let expected = if i % 3 == 2 { 0x0110 } else { 0 }; // a file stands where that patient's directory would
        assert_eq!(first.status, expected, "{first:?}");
        // Another dataset under the same UID: a duplicate, whose path is the patient's.
        let again = wire.store(2, &uid, &[&dataset_of(&uid, patient.as_bytes())[..], &[0; 8]].concat());
        assert_eq!(again.status, if expected == 0 { 0x0111 } else { expected }, "{again:?}");
        // A UID that is none, a dataset that is none, and one cut off.
        let marked = [p_data(1, 3, &store_command(3, &format!("{MARK}/"))), p_data(1, 2, &dataset(MARK, 16))].concat();
        wire.send(&marked);
        assert_eq!(wire.response().status, 0x0117);
        // A UID of text is kept, and may be a name all the same.
        let named = format!("{MARK}-{client}-{i}");
        assert_eq!(wire.store(5, &named, &dataset_of(&named, b"anyone")).status, 0);
        wire.send(&store_message(4, &uid, MARK.repeat(50).as_bytes(), 16_000));
        assert_eq!(wire.response().status, 0xC000);
    }
    wire.send(&p_data(1, 3, MARK.as_bytes())); // a command set that is none
    while wire.pdu().is_some() {}
}

#[test]
fn no_patient_data_is_logged_at_any_level() {
    for format in ["text", "json"] {
        let mut node = Node::start(&[
            ("TIDEGATE__STORAGE__LAYOUT", "{PatientID}/{PatientName}/{SOPInstanceUID}.dcm"),
            ("TIDEGATE__STORAGE__DUPLICATES", "refuse"),
            ("TIDEGATE__LOG__LEVEL", "trace"),
            ("TIDEGATE__LOG__FORMAT", format),
            ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s"),
            ("TIDEGATE__LOG__STATISTICS_INTERVAL", "1s"),
        ]);
        fs::write(node.storage().join(format!("{MARK}2")), b"in the way").unwrap();
        let address = node.address();
        let clients: Vec<_> = (0..6).map(|client| std::thread::spawn(move || send_marked(address, client))).collect();
        for client in clients {
            client.join().unwrap();
        }
        assert!(eventually(|| node.log_text().contains("statistics")));
        assert_eq!(node.stop(), Some(0));
        let log = node.log_text();
        assert!(log.matches("instance refused").count() >= 6 * 20 * 3, "the refusals were logged");
        assert!(log.contains("instance stored"), "at every level");
        for word in [MARK, &MARK.to_lowercase(), "Wire^Test"] {
            let line = log.lines().find(|line| line.contains(word));
            assert!(line.is_none(), "patient data in the log: {line:?}");
        }
    }
}

#[test]
fn what_is_stored_is_nobody_elses() {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut node = Node::start(&[("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "64 KiB")]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    for (uid, pixels) in [("1.2.3.700", 100), ("1.2.3.701", 500_000)] {
        assert_eq!(wire.store(1, uid, &dataset(uid, pixels)).status, 0);
    }
    wire.release();
    assert_eq!(node.stop(), Some(0));
    assert!(!node.log_text().contains("every user of this machine"), "we made the root");
    let mut stored = 0;
    for file in files_below(&node.storage()) {
        let path = node.storage().join(&file);
        assert_eq!(mode(&path) & 0o137, 0, "{}", file.display());
        assert_eq!(mode(path.parent().unwrap()) & 0o027, 0, "{}", file.display());
        stored += usize::from(file.starts_with("1.2.3"));
    }
    assert_eq!(stored, 2);
}
