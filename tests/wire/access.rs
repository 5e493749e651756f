//! Admission by a whole process: access rules, balancers, users.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::node::{Node, eventually};
use crate::wire::{CT, Wire, dataset, request};
use dicom_ul::pdu::{
    AssociationRQ, Pdu, PresentationContextResultReason, UserIdentity, UserIdentityType, UserVariableItem,
};
use rustix::process::Signal;

/// Writes a file for its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A node with this configuration file, which goes with the directory.
pub(crate) struct Configured {
    pub(crate) node: Node,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Configured {
    pub(crate) fn start(text: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), text)
    }

    pub(crate) fn start_in(directory: tempfile::TempDir, text: &str) -> Self {
        let file = directory.path().join("tidegate.toml");
        fs::write(&file, text).unwrap();
        let node = Node::start_with(&["--config", file.to_str().unwrap()], &[]);
        Self { node, file, _directory: directory }
    }

    pub(crate) fn reload(&self, text: &str) {
        let before = self.node.log_text().matches("configuration reloaded").count();
        fs::write(&self.file, text).unwrap();
        self.node.signal(Signal::HUP);
        assert!(eventually(|| self.node.log_text().matches("configuration reloaded").count() > before));
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.node.stored().iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }
}

pub(crate) fn calling(title: &str) -> AssociationRQ {
    AssociationRQ { calling_ae_title: title.into(), ..request() }
}

/// Result, source and reason of the rejection that answers a request.
pub(crate) fn rejection(address: SocketAddr, request: AssociationRQ) -> (u8, u8, u8) {
    rejection_of(Wire::connect(address).ask(request))
}

/// The same of an answer that must be a rejection.
pub(crate) fn rejection_of(answer: Option<Pdu>) -> (u8, u8, u8) {
    match answer {
        Some(Pdu::AssociationRJ(rejection)) => {
            let mut bytes = Vec::new();
            dicom_ul::pdu::write_pdu(&mut bytes, &Pdu::AssociationRJ(rejection)).unwrap();
            (bytes[7], bytes[8], bytes[9])
        }
        other => panic!("not rejected: {other:?}"),
    }
}

const RULES: &str = r#"
[storage]
duplicates = "refuse"

[[access]]
name = "no lab"
action = "deny"
calling = ["LAB*"]

[[access]]
name = "one at a time"
action = "allow"
calling = ["SLOW"]
max_associations = 1

[[access]]
name = "ct"
action = "allow"
calling = ["CT*"]
called = ["TIDEGATE"]
sop_class = ["CTImageStorage"]
layout = "ct/{SOPInstanceUID}.dcm"
duplicates = "keep-both"
durability = "none"

[[access]]
name = "elsewhere"
action = "allow"
from = ["192.0.2.0/24"]
"#;

#[test]
fn the_first_rule_that_matches_decides_how_an_association_is_answered_and_stored() {
    let mut configured = Configured::start(RULES);
    let address = configured.node.address();
    assert_eq!(rejection(address, calling("LAB7")), (1, 1, 3), "calling AE title not recognised");
    assert_eq!(rejection(address, calling("ANOTHER")), (1, 1, 3), "nobody allows this one");
    let called = AssociationRQ { called_ae_title: "ELSEWHERE".into(), ..calling("CT1") };
    assert_eq!(rejection(address, called), (1, 1, 7), "called AE title not recognised");

    let mr = "1.2.840.10008.5.1.4.1.1.4";
    let mut both = calling("CT1");
    both.presentation_contexts[1].abstract_syntax = mr.into();
    let (mut wire, answer) = Wire::associate(address, both);
    let reasons: Vec<_> = answer.presentation_contexts.iter().map(|context| context.reason.clone()).collect();
    assert_eq!(reasons, [PresentationContextResultReason::Acceptance, PresentationContextResultReason::UserRejection]);
    let statuses: Vec<_> =
        [100, 100, 200].map(|pixels| wire.store(1, "1.2.3", &dataset("1.2.3", pixels)).status).into();
    assert_eq!(statuses, [0, 0, 0], "an identical resend, and another version that is kept beside");
    wire.release();
    assert_eq!(configured.files(), ["ct/1.2.3.dcm", "ct/1.2.3~2.dcm"]);
    configured.node.logged(&["association accepted", "rule=\"ct\""]);

    let (slow, _) = Wire::associate(address, calling("SLOW"));
    assert_eq!(rejection(address, calling("SLOW")), (2, 3, 2), "the rule's limit");
    let line = configured.node.logged(&["association rejected", "calling=\"SLOW\"", "limit=\"max_associations\""]);
    assert!(line.contains("rule=\"one at a time\"") && line.contains("max_associations = 1 is reached"), "{line}");
    slow.release();
    assert!(eventually(|| matches!(Wire::connect(address).ask(calling("SLOW")), Some(Pdu::AssociationAC(_)))));
    assert_eq!(configured.node.stop(), Some(0));
}

#[test]
fn who_is_denied_is_counted_each_time_and_logged_once() {
    let text = format!("[log]\nrepeat_interval = \"1h\"\n{RULES}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    let node = Node::start_with(&["--config", file.to_str().unwrap(), "--admin", "127.0.0.1:0"], &[]);
    for _ in 0..5 {
        assert_eq!(rejection(node.address(), calling("LAB7")), (1, 1, 3));
    }
    let page = crate::http::get(node.admin_address(), "/metrics").body;
    assert!(page.contains("tidegate_incidents_total{class=\"denial\",kind=\"access\"} 5"), "{page}");
    node.logged_times("access denied", 1);
    let line = node.logged(&["WARN", "access denied", "calling=\"LAB7\"", "rule=\"no lab\"", "criterion=\"calling\""]);
    assert!(line.contains("reason=\"calling_ae_title\""), "{line}");
    // Another device behind the same address.
    assert_eq!(rejection(node.address(), calling("LAB8")), (1, 1, 3));
    node.logged(&["WARN", "access denied", "calling=\"LAB8\""]);
    assert!(!node.log_text().contains("association rejected"), "a denial has one line");
}

#[test]
fn rules_change_on_sighup_for_the_next_association() {
    let configured = Configured::start(RULES);
    let address = configured.node.address();
    let (mut open, _) = Wire::associate(address, calling("CT1"));
    configured.reload(&RULES.replace("LAB*", "XA*"));
    assert_eq!(rejection(address, calling("XA1")), (1, 1, 3));
    assert_eq!(open.store(1, "1.2.4", &dataset("1.2.4", 100)).status, 0, "the association has the same terms");
    assert_eq!(configured.files(), ["ct/1.2.4.dcm"]);
    fs::write(&configured.file, RULES.replace("\"deny\"", "\"maybe\"")).unwrap();
    configured.node.signal(Signal::HUP);
    configured.node.logged(&["configuration not reloaded", "[[access]] 1", "maybe"]);
    assert_eq!(rejection(address, calling("XA1")), (1, 1, 3));
}

#[test]
fn a_large_instance_is_stored_where_its_rule_has_it_too() {
    let configured = Configured::start(&format!("[memory]\nspool_threshold = \"64 KiB\"\n{RULES}"));
    let (mut wire, _) = Wire::associate(configured.node.address(), calling("CT1"));
    assert_eq!(wire.store(1, "1.2.5", &dataset("1.2.5", 3 << 20)).status, 0);
    assert_eq!(configured.files(), ["ct/1.2.5.dcm"]);
}

const BALANCED: &str = r#"
[node]
proxy_protocol_from = ["127.0.0.1"]

[log]
level = "debug"

[associations]
association_request_timeout = "5s"
max_per_address = 1

[[access]]
name = "behind"
action = "allow"
from = ["203.0.113.0/24", "2001:db8::/32"]
"#;

/// Associates behind a header; the header is sent in pieces of one byte.
pub(crate) fn behind(address: SocketAddr, header: &[u8]) -> (Wire, Option<Pdu>) {
    let mut wire = Wire::connect(address);
    for byte in header {
        wire.send(&[*byte]);
    }
    let answer = wire.ask(request());
    (wire, answer)
}

fn version_2(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([10, 0, 0, 1, 0x30, 0x39, 0x2B, 0x68]);
    header
}

#[test]
fn behind_a_balancer_rules_limits_and_the_log_see_the_peer() {
    let mut configured = Configured::start(BALANCED);
    let address = configured.node.address();
    let (one, answer) = behind(address, b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 11112\r\n");
    assert!(matches!(answer, Some(Pdu::AssociationAC(_))), "{answer:?}");
    configured.node.logged(&["association accepted", "peer=203.0.113.9:4711"]);
    let (_, answer) = behind(address, &version_2(1, [203, 0, 113, 9]));
    assert!(matches!(answer, Some(Pdu::AssociationRJ(_))), "the limit of the address: {answer:?}");
    let (two, answer) = behind(address, &version_2(1, [203, 0, 113, 10]));
    assert!(matches!(answer, Some(Pdu::AssociationAC(_))), "{answer:?}");
    let (three, answer) = behind(address, b"PROXY TCP6 2001:db8::1 ::1 4711 11112\r\n");
    assert!(matches!(answer, Some(Pdu::AssociationAC(_))), "{answer:?}");
    let (_, answer) = behind(address, &version_2(1, [198, 51, 100, 1]));
    assert!(matches!(answer, Some(Pdu::AssociationRJ(_))), "an address that no rule allows: {answer:?}");
    [one, two, three].into_iter().for_each(Wire::release);

    // Without a header, with half of one, with one that is none; and the balancer's own look whether the port is open.
    assert_eq!(reply_to(address, &[1, 0, 0, 0, 0, 10, 0, 0]), b"");
    configured.node.logged(&["connection closed", "no PROXY header"]);
    assert_eq!(reply_to(address, b"PROXY TCP4 203.0."), b"", "closed by the timer");
    assert_eq!(reply_to(address, b"PROXY TCP4 nonsense 10.0.0.1 1 2\r\n"), b"");
    let mut local = TcpStream::connect(address).unwrap();
    local.write_all(&version_2(0, [0; 4])).unwrap();
    drop(local);
    assert_eq!(configured.node.stop(), Some(0));
}

#[test]
fn a_header_from_who_is_not_trusted_with_it_is_not_dicom() {
    let mut node = Node::start(&[("TIDEGATE__LOG__LEVEL", "debug"), ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s")]);
    for header in [b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec(), version_2(1, [203, 0, 113, 9])] {
        assert_eq!(reply_to(node.address(), &header), b"");
    }
    node.logged_times("proxy header from an address that node.proxy_protocol_from does not name", 2);
    assert_eq!(node.stop(), Some(0));
}

/// The bytes that the node sends in answer, until it closes.
fn reply_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(180))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply); // a reset is an end as well
    reply
}

/// A line of the users' file, as the command makes it.
pub(crate) fn hashed(name: &str, passcode: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["hash-passcode", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{passcode}\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn as_user(name: &str, passcode: Option<&str>, respond: bool) -> AssociationRQ {
    let mut request = request();
    let kind = if passcode.is_some() { UserIdentityType::UsernamePassword } else { UserIdentityType::Username };
    let identity = UserIdentity::new(respond, kind, name.into(), passcode.unwrap_or_default().into());
    request.user_variables.push(UserVariableItem::UserIdentityItem(identity));
    request
}

#[test]
fn users_are_held_to_their_passcodes_and_none_of_them_is_logged() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    write_private(&users, &format!("# users\n{}", hashed("ct1", "open sesame")));
    let text = |required: bool| {
        format!(
            "[log]\nlevel = \"trace\"\n[user_identity]\nfile = {:?}\nrequired = {required}\n",
            users.to_str().unwrap()
        )
    };
    let mut configured = Configured::start_in(directory, &text(true));
    let address = configured.node.address();
    for _ in 0..2 {
        let (wire, answer) = Wire::associate(address, as_user("ct1", Some("open sesame"), true));
        assert!(answer.user_variables.iter().any(|item| matches!(item, UserVariableItem::Unknown(0x59, _))));
        wire.release();
    }
    for wrong in [
        as_user("ct1", Some("wrong-passcode"), true),
        as_user("ct2", Some("open sesame"), true),
        as_user("ct1", None, false),
        request(),
    ] {
        assert_eq!(rejection(address, wrong), (1, 1, 1));
    }
    configured.reload(&text(false));
    Wire::associate(address, request()).0.release();
    assert_eq!(rejection(address, as_user("ct1", Some("wrong-passcode"), false)), (1, 1, 1));
    assert_eq!(configured.node.stop(), Some(0)); // and the memory of the hashes is given back
    let log = configured.node.log_text();
    assert!(!log.contains("sesame") && !log.contains("wrong-passcode") && !log.contains("argon2"));
}

#[test]
fn a_user_is_confirmed_only_if_its_passcode_was_verified() {
    let confirms = |answer: &dicom_ul::pdu::AssociationAC| {
        answer.user_variables.iter().any(|item| matches!(item, UserVariableItem::Unknown(0x59, _)))
    };
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    write_private(&users, &hashed("ct1", "sesame"));
    let mut configured = Configured::start_in(directory, "");
    let address = configured.node.address();
    for passcode in [Some("anything"), None] {
        let (wire, answer) = Wire::associate(address, as_user("anybody", passcode, true));
        assert!(!confirms(&answer), "nothing is verified without a users' file");
        wire.release();
    }
    configured.reload(&format!("[user_identity]\nfile = {:?}\n", users.to_str().unwrap()));
    let (wire, answer) = Wire::associate(address, as_user("ct1", Some("sesame"), true));
    assert!(confirms(&answer));
    wire.release();
    let (wire, answer) = Wire::associate(address, as_user("ct1", Some("sesame"), false));
    assert!(!confirms(&answer), "the peer has not asked");
    wire.release();
    assert_eq!(configured.node.stop(), Some(0)); // and the reserve for a hash is given back
}

fn check_access(file: &std::path::Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check-access", "--config", file.to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn check_access_tells_the_rule_and_why_not_the_ones_before() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, RULES).unwrap();
    let printed = check_access(&file, &["--calling", "CT1", "--from", "10.0.0.1", "--sop-class", CT]);
    assert_eq!(
        printed,
        "deny \"no lab\": does not match, calling is \"CT1\", not [\"LAB*\"]\n\
         allow \"one at a time\": does not match, calling is \"CT1\", not [\"SLOW\"]\n\
         allow \"ct\": matches\n\
         allowed: instances of this SOP class, by rule \"ct\"\n\
         \x20 max_associations unlimited, layout ct/{SOPInstanceUID}.dcm, duplicates keep-both, durability none, commitment true\n"
    );
    let printed = check_access(&file, &["--calling", "LAB1", "--called", "X", "--from", "192.0.2.1", "--json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["allowed"], &printed["decided_by"]), (&false.into(), &"no lab".into()));
    let printed = check_access(&file, &["--calling", "X", "--from", "::1", "--subject", "CN=x"]);
    assert!(printed.ends_with("denied: the association, because no rule matches\n"), "{printed}");
    let misused = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check-access", "--calling", "X", "--from", "::1", "--subject", "nonsense"])
        .output()
        .unwrap();
    assert_eq!(misused.status.code(), Some(2), "{}", String::from_utf8_lossy(&misused.stderr));
}

#[test]
fn check_access_tells_of_storage_commitment_and_echo_what_the_node_decides() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    let verdict = |head: &str, commitment: &str, sop_class: &str| {
        let rule = "name = \"ct\"\naction = \"allow\"\nsop_class = [\"CTImageStorage\"]";
        fs::write(&file, format!("{head}\n[[access]]\n{rule}\n{commitment}\n")).unwrap();
        let printed = check_access(&file, &["--calling", "CT1", "--from", "10.0.0.1", "--sop-class", sop_class]);
        printed.lines().find(|line| line.starts_with("allowed:") || line.starts_with("denied:")).unwrap().to_owned()
    };
    let push_model = "StorageCommitmentPushModel";
    for sop_class in [push_model, "1.2.840.10008.1.20.1"] {
        assert_eq!(verdict("", "", sop_class), "allowed: storage commitment, by rule \"ct\"");
        let denied = "denied: storage commitment, because commitment = false in the rule; rule \"ct\" lets the peer in";
        assert_eq!(verdict("", "commitment = false", sop_class), denied);
    }
    assert!(verdict("[commitment]\nenabled = false", "", push_model).contains("because commitment.enabled = false"));
    assert!(verdict("[catalogue]\npath = \"off\"", "", push_model).contains("because catalogue.path = \"off\""));
    assert_eq!(verdict("", "", "Verification"), "allowed: C-ECHO, by rule \"ct\"");
    assert_eq!(verdict("", "", "CTImageStorage"), "allowed: instances of this SOP class, by rule \"ct\"");
    assert_eq!(verdict("", "", "MRImageStorage"), "denied: instances of this SOP class, because no rule matches");
    for nonsense in ["CTImage", "1.2.840.10008.5.1.4.31", "ModalityWorklistInformationModelFind"] {
        let misused = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check-access", "--calling", "X", "--from", "::1", "--sop-class", nonsense])
            .output()
            .unwrap();
        assert_eq!(misused.status.code(), Some(2), "{nonsense}: {}", String::from_utf8_lossy(&misused.stdout));
    }
}

#[test]
fn mistakes_in_rules_are_told_with_their_number() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    for (rule, complaint) in [
        ("name = \"a\"", "[[access]] 1 (\"a\"): action ("),
        ("name = \"a\"\naction = \"allow\"\ncaling = [\"X\"]", "did you mean calling?"),
        ("name = \"a\"\naction = \"allow\"\nfrom = [\"10.0.0.0/33\"]", "is not a network"),
        ("name = \"a\"\naction = \"deny\"\nfrom = [\"::10.0.0.0/104\"]", "can never match"),
        ("name = \"a\"\naction = \"deny\"\ncalling = [\"CT1 \"]", "can never match"),
        ("name = \"a\"\naction = \"deny\"\ncertificate = [\"*CN=ct*\"]", "is not the name of an attribute"),
        ("name = \"a\"\naction = \"deny\"\ncertificate = [\"O=Hospital, Inc.\"]", "a comma inside a value"),
        ("name = \"a\"\naction = \"deny\"\nlayout = \"x/{SOPInstanceUID}\"", "a deny rule cannot have"),
        ("name = \"a\"\naction = \"allow\"\nlayout = \"../{SOPInstanceUID}\"", "layout = "),
        (
            "name = \"a\"\naction = \"allow\"\n[[access]]\nname = \"a\"\naction = \"deny\"",
            "[[access]] 2 (\"a\"): name = \"a\" (",
        ),
    ] {
        fs::write(&file, format!("[[access]]\n{rule}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check-config", "--config", file.to_str().unwrap()])
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(printed.contains(complaint), "{rule}: {printed}");
    }
}
