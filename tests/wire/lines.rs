//! The log answers who, what and why: each fault is put on the wire, and its line is read.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use dicom_ul::pdu::{AssociationRQ, Pdu, PresentationContextProposed};
use serde_json::Value;

use crate::http::get;
use crate::node::{Node, eventually};
use crate::wire::{CT, EXPLICIT, VERIFICATION, Wire, command, dataset, dataset_of, p_data, request};

const ALL: (&str, &str) = ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s");

fn proposing(calling: &str, contexts: &[(&str, &str)]) -> AssociationRQ {
    let context = |(number, (abstract_syntax, transfer_syntax)): (usize, &(&str, &str))| PresentationContextProposed {
        id: 2 * number as u8 + 1,
        abstract_syntax: (*abstract_syntax).into(),
        transfer_syntaxes: vec![(*transfer_syntax).into()],
    };
    let presentation_contexts = contexts.iter().enumerate().map(context).collect();
    AssociationRQ { calling_ae_title: calling.into(), presentation_contexts, ..request() }
}

#[test]
fn a_request_that_the_policy_rejects_is_logged_with_both_titles_and_what_was_expected() {
    let strict = ("TIDEGATE__NODE__REQUIRE_CALLED_AE_TITLE", "true");
    let mut node = Node::start(&[ALL, strict]);
    let mut wrong = request();
    wrong.called_ae_title = "OTHER NODE".into();
    assert!(matches!(Wire::connect(node.address()).ask(wrong), Some(Pdu::AssociationRJ(_))));
    node.logged(&[
        "WARN",
        "association rejected",
        "peer=127.0.0.1:",
        "calling=\"WIRE\"",
        "called=\"OTHER NODE\"",
        "reason=\"called_ae_title\"",
        "expected=\"TIDEGATE\"",
    ]);
    let mut wrong = request();
    wrong.application_context_name = "1.2.3".into();
    assert!(matches!(Wire::connect(node.address()).ask(wrong), Some(Pdu::AssociationRJ(_))));
    node.logged(&[
        "association rejected",
        "calling=\"WIRE\"",
        "reason=\"application_context\"",
        "cause=\"the application",
    ]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_rejection_at_a_limit_names_the_limit_and_both_titles() {
    let mut node = Node::start(&[ALL, ("TIDEGATE__ASSOCIATIONS__MAX_PER_CALLING_AE", "1")]);
    let (open, _) = Wire::associate(node.address(), request());
    assert!(matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationRJ(_))));
    node.logged(&[
        "association rejected",
        "calling=\"WIRE\"",
        "called=\"TIDEGATE\"",
        "reason=\"local_limit_exceeded\"",
        "limit=\"max_per_calling_ae\"",
        "cause=\"associations.max_per_calling_ae = 1 is reached\"",
    ]);
    open.release();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn refused_contexts_are_named_with_the_reason_and_counted() {
    const MPPS: &str = "1.2.840.10008.3.1.2.3.3";
    let known = ("TIDEGATE__ASSOCIATIONS__ACCEPT_UNKNOWN_TRANSFER_SYNTAXES", "false");
    let mut node = Node::start_with_surface(&[known]);
    let associate = |contexts: &[(&str, &str)], calling: &str| {
        Wire::associate(node.address(), proposing(calling, contexts)).0.release();
    };
    // Verification alone is no use to a peer that wants to store.
    associate(&[(MPPS, EXPLICIT), (VERIFICATION, EXPLICIT)], "RIS");
    let line = node.logged(&["WARN", "no presentation context for storage accepted", "calling=\"RIS\"", "refused=1"]);
    assert!(line.contains(&format!("Modality Performed Procedure Step SOP Class ({MPPS}): not a sop class")), "{line}");
    associate(&[(CT, "1.2.840.113619.5.2")], "GE");
    let line = node.logged(&["WARN", "no presentation context for storage accepted", "calling=\"GE\""]);
    assert!(line.contains(&format!("CT Image Storage ({CT}): no transfer syntax that this node accepts")), "{line}");
    assert!(line.contains("(offered: 1.2.840.113619.5.2)"), "{line}");
    associate(&[], "NONE");
    let line = node.logged(&["WARN", "no presentation context for storage accepted", "calling=\"NONE\"", "refused=0"]);
    assert!(line.contains("contexts=\"the request proposes none\""), "{line}");
    associate(&[(VERIFICATION, EXPLICIT)], "ECHO");
    associate(&[(CT, EXPLICIT), (MPPS, EXPLICIT)], "CT1");
    node.logged(&["INFO", "presentation contexts refused", "calling=\"CT1\"", "refused=1", MPPS]);
    associate(&[(CT, EXPLICIT), (VERIFICATION, EXPLICIT)], "CT2");
    node.logged(&["association ended", "calling=\"CT2\""]);
    assert!(
        !node
            .log_text()
            .lines()
            .any(|line| line.contains("contexts=") && ["CT2", "ECHO"].iter().any(|calling| line.contains(calling)))
    );
    let metrics = get(node.admin_address(), "/metrics").body;
    for sample in ["{reason=\"abstract_syntax\"} 2", "{reason=\"transfer_syntaxes\"} 1", "{reason=\"access_rule\"} 0"] {
        assert!(metrics.contains(&format!("tidegate_contexts_refused_total{sample}")), "{sample}: {metrics}");
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn several_refused_instances_of_a_minute_are_named_and_the_end_counts_what_became_of_all() {
    let mut node = Node::start(&[]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    for _ in 0..2 {
        assert_eq!(wire.store(1, "1.2.3.70", &dataset("1.2.3.70", 1000)).status, 0);
    }
    assert_eq!(wire.store(2, "1.2.3.71", &dataset("1.2.3.71", 1000)).status, 0);
    for number in 0..10 {
        let answer = wire.store(3 + number, &format!("1.2.3.72.{number}"), &dataset("1.2.3.99", 1000));
        assert_eq!(answer.status, 0xA900);
        assert!(answer.comment.len() <= 64, "{}", answer.comment);
    }
    wire.release();
    for number in 0..8 {
        let uid = format!("sop_instance=\"1.2.3.72.{number}\"");
        let line = node.logged(&["instance refused", &uid, "reason=\"data_set_mismatch\"", "status=A900"]);
        assert!(
            line.contains("calling=\"WIRE\"") && line.contains("association=") && line.contains("study=\"1.2.3\""),
            "{line}"
        );
    }
    node.logged(&["sop_instance=\"1.2.3.72.0\"", &format!("sop_class=\"{CT}\""), "other_uid=\"1.2.3.99\""]);
    let status =
        Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["status", "--storage"]).arg(node.storage()).output();
    let status = String::from_utf8(status.unwrap().stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(status.contains("data_set_mismatch: ") && status.contains("; SOP Instance 1.2.3.72.9"), "{status}");
    let line = node.logged(&["association ended", "end=\"released\"", "acknowledged=3", "refused=10"]);
    assert!(line.contains("new=2 identical=1 replaced=0 kept_both=0"), "{line}");
    assert!(line.contains("studies=1 study=\"1.2.3\" "), "{line}");
    node.logged_times("instance refused", 8);
    // What is refused of another study is another matter.
    let (mut wire, _) = Wire::associate(node.address(), request());
    let other = dataset_of("1.2.3.99", ("1.2.4", "1.2.4.1"), 1000);
    assert_eq!(wire.store(1, "1.2.3.73", &other).status, 0xA900);
    node.logged(&["instance refused", "sop_instance=\"1.2.3.73\"", "study=\"1.2.4\"", "unlogged=2"]);
    assert_eq!(wire.store(2, "1.2.3.74", &other).status, 0xA900);
    wire.release();
    node.logged_times("instance refused", 9);
    assert_eq!(node.stop(), Some(0));
}

/// Whoever sets up a sender mends one fault after the other, and looks for the line of each.
#[test]
fn another_cause_of_the_same_peer_and_kind_has_its_own_first_line() {
    let strict = ("TIDEGATE__NODE__REQUIRE_CALLED_AE_TITLE", "true");
    let mut node = Node::start(&[("TIDEGATE__LOG__REPEAT_INTERVAL", "1h"), strict]);
    let rejected = |called: &str| {
        let asking = AssociationRQ { called_ae_title: called.into(), ..request() };
        assert!(matches!(Wire::connect(node.address()).ask(asking), Some(Pdu::AssociationRJ(_))));
    };
    for called in ["FIRST", "FIRST", "SECOND", "FIRST", "SECOND"] {
        rejected(called);
    }
    node.logged(&["association rejected", "called=\"FIRST\"", "unlogged=0"]);
    node.logged(&["association rejected", "called=\"SECOND\"", "unlogged=1"]);
    (0..20).for_each(|number| rejected(&format!("OTHER{number}")));
    node.logged_times("association rejected", 5); // and no more, however many titles a peer makes up
    const MPPS: &str = "1.2.840.10008.3.1.2.3.3";
    let with_mpps = [(CT, EXPLICIT), (MPPS, EXPLICIT)];
    for _ in 0..5 {
        Wire::associate(node.address(), proposing("CT1", &with_mpps)).0.release();
    }
    node.logged_times("presentation contexts refused", 4);
    let mpps_and_worklist = [(CT, EXPLICIT), (MPPS, EXPLICIT), ("1.2.840.10008.5.1.4.31", EXPLICIT)];
    Wire::associate(node.address(), proposing("CT1", &mpps_and_worklist)).0.release();
    node.logged(&["presentation contexts refused", "1.2.840.10008.5.1.4.31", "unlogged=1"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_ipv4_peer_is_an_ipv4_peer_on_every_socket() {
    let mut node = Node::start_with(&["--listen", "[::]:0"], &[ALL]);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.address().port()));
    Wire::associate(address, request()).0.release();
    node.logged(&["association accepted", "peer=127.0.0.1:"]);
    node.logged(&["association ended", "peer=127.0.0.1:"]);
    assert!(!node.log_text().contains("::ffff:"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn strangers_requests_and_aborts_are_told_in_the_words_of_the_standard() {
    let mut node = Node::start(&[ALL]);
    TcpStream::connect(node.address()).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    node.logged(&["http on the dicom port", "admin.listen", "peer=127.0.0.1:"]);
    TcpStream::connect(node.address()).unwrap().write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).unwrap();
    node.logged(&["WARN", "this node serves none", "peer=127.0.0.1:"]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let find = [(0x0002, CT.as_bytes()), (0x0100, &[0x20, 0][..]), (0x0110, &[1, 0]), (0x0800, &[1, 1])];
    wire.send(&p_data(1, 3, &command(&find)));
    assert_eq!(wire.response().status, 0x0211);
    node.logged(&["dimse request refused", "calling=\"WIRE\"", "request=\"C-FIND-RQ\"", "status=\"0211\""]);
    wire.send(&[7, 0, 0, 0, 0, 4, 0, 0, 2, 1]);
    node.logged(&["peer aborted", "calling=\"WIRE\"", "source=\"service-provider\"", "reason=\"unrecognized-PDU\""]);
    node.logged(&["association ended", "end=\"aborted_by_peer\""]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    wire.send(&[6, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    let line = node.logged(&["association aborted: protocol violation", "calling=\"WIRE\"", "called=\"TIDEGATE\""]);
    assert!(line.contains("reason=\"unexpected_pdu\" cause=\"A-RELEASE-RP PDU is out of place\""), "{line}");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn in_json_every_line_is_an_object_from_the_first_to_the_last_and_texts_are_not_quoted_twice() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let run = |listen: &str, log: &str| {
        Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["run", "--listen", listen, "--admin", "127.0.0.1:0", "--storage"])
            .arg(file(&format!("storage of {log}")))
            .env("TIDEGATE__LOG__FORMAT", "json")
            .env("TIDEGATE__LOG__FLIGHT_RECORDS", "off")
            .env("TIDEGATE__STORAGE__MIN_FREE", "0 B")
            .stdin(Stdio::null())
            .stdout(File::create(file("stdout")).unwrap())
            .stderr(File::create(file(log)).unwrap())
            .spawn()
            .unwrap()
    };
    let lines = |log: &str| -> Vec<Value> {
        let text = fs::read_to_string(file(log)).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    };
    let mut node = run("127.0.0.1:0", "log");
    let event = |name: &str| lines("log").into_iter().find(|line| line["message"] == name);
    assert!(eventually(|| event("node started").is_some()));
    let started = event("node started").unwrap();
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    let listen = started["listen"].as_str().unwrap().to_owned();
    Wire::associate(listen.parse().unwrap(), AssociationRQ { calling_ae_title: "CT \"1\"".into(), ..request() })
        .0
        .release();
    assert!(eventually(|| event("association ended").is_some()));
    let ended = event("association ended").unwrap();
    assert_eq!((ended["calling"].as_str(), ended["end"].as_str()), (Some("CT \"1\""), Some("released")));
    // A second one finds the port taken, and says so in a line of the log.
    assert_eq!(run(&listen, "other").wait().unwrap().code(), Some(1));
    let last = lines("other").pop().unwrap();
    assert_eq!((last["message"].as_str(), last["level"].as_str()), (Some("node not started"), Some("ERROR")));
    assert!(last["cause"].as_str().unwrap().contains(&listen), "{last}");
    let pid = rustix::process::Pid::from_child(&node);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0));
    assert_eq!(lines("log").pop().unwrap()["message"], "stopped");
    assert_eq!(fs::read_to_string(file("stdout")).unwrap(), "", "the start-up lines are for people");
}

#[test]
fn a_request_beyond_the_limit_names_the_key_and_who_sent_it() {
    let mut node = Node::start(&[ALL, ("TIDEGATE__ASSOCIATIONS__MAX_REQUEST_LENGTH", "16 KiB")]);
    let contexts: Vec<_> = (0..128).map(|_| (CT, EXPLICIT)).collect();
    let mut long = proposing("BIG CT", &contexts);
    for context in &mut long.presentation_contexts {
        context.transfer_syntaxes = vec![EXPLICIT.into(); 20];
    }
    assert!(matches!(Wire::connect(node.address()).ask(long), Some(Pdu::AbortRQ { .. })));
    node.logged(&[
        "association aborted: protocol violation",
        "calling=\"BIG CT\"",
        "called=\"TIDEGATE\"",
        "reason=\"pdu_length\"",
        "limit=\"max_request_length\"",
        "bytes is longer than 16384",
    ]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_uid_that_is_refused_is_told_with_the_place_the_kind_and_the_remedy() {
    let mut node = Node::start(&[ALL]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    for (uid, kind) in [("1.2\\1.3", "character 4 is a backslash"), ("1.2.\u{f6}", "character 5 is beyond ascii")] {
        let answer = wire.store(1, uid, &dataset("1.2.3.75", 1000));
        assert_eq!((answer.status, answer.comment), (0x0117, format!("affected sop instance uid: {kind}")));
        let line = node.logged(&["instance refused", "reason=\"invalid_instance_uid\"", kind]);
        assert!(line.contains("in the modality") && line.contains(&format!("sop_class=\"{CT}\"")), "{line}");
    }
    wire.release();
    assert_eq!(node.stop(), Some(0));
}
