//! The audit trail across kills, floods and a receiver that is down. The receiver is a file whose directory is there or not.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use dicom_ul::pdu::{AssociationRQ, Pdu};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::http::ask;
use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, request};

/// A receiver of audit messages.
struct Receiver {
    directory: tempfile::TempDir,
}

impl Receiver {
    fn down() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn up() -> Self {
        let receiver = Self::down();
        receiver.start();
        receiver
    }

    fn start(&self) {
        fs::create_dir(self.file().parent().unwrap()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("there/audit")
    }

    fn sink(&self) -> String {
        format!("file:{}", self.file().display())
    }

    fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a message with all of `words`.
    fn has(&self, words: &[&str]) {
        let is_it = |message: &String| words.iter().all(|word| message.contains(word));
        assert!(eventually(|| self.messages().iter().any(is_it)), "{words:?} are in none of {:#?}", self.messages());
    }
}

fn calling(title: &str) -> AssociationRQ {
    AssociationRQ { calling_ae_title: title.into(), ..request() }
}

/// A dataset of a study of its own.
fn of_study(uid: &str, study: &str, pixels: usize) -> Vec<u8> {
    assert_eq!(study.len(), 5);
    let content = dataset(uid, pixels);
    let at = content.windows(6).position(|bytes| bytes == b"1.2.3\0").unwrap();
    [&content[..at], study.as_bytes(), &content[at + 5..]].concat()
}

/// Bytes of the messages in the spool.
fn spool(storage: &Path) -> u64 {
    let files = fs::read_dir(storage.join(".tidegate/audit")).unwrap();
    // A file that is removed meanwhile has none.
    files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// Fills the part of a spool that is for evidence with messages of this source, in front of one of another.
fn fill(root: &Path, source: &str) {
    let spool = root.join(".tidegate/audit");
    fs::create_dir_all(&spool).unwrap();
    let line =
        |source: &str, text: &str| format!("{source} evidence <85>1 2026-01-01T00:00:00.000Z h t 1 m - {text}\n");
    let mut text = line("198.51.100.7", "the evidence of a small source");
    for segment in 1..=24 {
        while text.len() < 2 << 20 {
            text.push_str(&line(source, &"f".repeat(1000)));
        }
        fs::write(spool.join(segment.to_string()), std::mem::take(&mut text)).unwrap();
    }
}

const BEGIN: &str = "Begin Transferring DICOM Instances";
const TRANSFERRED: &str = "DICOM Instances Transferred";

#[test]
fn the_audit_of_what_was_acknowledged_survives_a_kill_with_the_receiver_down() {
    let receiver = Receiver::down();
    let sink = receiver.sink();
    let environment = [("TIDEGATE__AUDIT__SINK", sink.as_str())];
    let mut node = Node::start(&environment);
    // Released, and killed at once.
    let (mut released, _) = Wire::associate(node.address(), calling("RELEASED"));
    assert_eq!(released.store(1, "1.2.3.1", &of_study("1.2.3.1", "1.2.4", 1000)).status, 0);
    released.release();
    // Acknowledged, and killed at once.
    let (mut open, _) = Wire::associate(node.address(), calling("OPEN"));
    assert_eq!(open.store(1, "1.2.3.2", &of_study("1.2.3.2", "1.2.5", 1000)).status, 0);
    node.signal(Signal::KILL);
    node.wait();
    let storage = node.storage();
    assert!(spool(&storage) > 0);

    receiver.start();
    let mut next = Node::start_prepared(&environment, |root| fs::rename(&storage, root).unwrap());
    receiver.has(&[BEGIN, "RELEASED", "1.2.4"]);
    receiver.has(&[TRANSFERRED, "RELEASED", "1.2.4"]);
    receiver.has(&[BEGIN, "OPEN", "1.2.5"]);
    receiver.has(&["Application Start"]);
    assert!(eventually(|| spool(&next.storage()) == 0), "what is sent is in the spool no longer");
    assert_eq!(next.stop(), Some(0));
    assert_eq!(receiver.messages().iter().filter(|message| message.contains("Application Stop")).count(), 1);
    let verified =
        std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("verify").arg(next.storage()).output();
    let verified = verified.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn denials_are_summed_and_push_out_no_transfer() {
    let (receiver, directory) = (Receiver::down(), tempfile::tempdir().unwrap());
    let file = directory.path().join("tidegate.toml");
    let sink = receiver.sink();
    fs::write(&file, "[[access]]\nname = 'yes'\naction = 'allow'\ncalling = ['CT*']\n").unwrap();
    let mut node = Node::start_with(&["--config", file.to_str().unwrap()], &[("TIDEGATE__AUDIT__SINK", &sink)]);
    let deny = |title: &str, source: [u8; 4]| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&std::net::SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&node.address().into()).unwrap();
        assert!(matches!(Wire(std::net::TcpStream::from(socket)).ask(calling(title)), Some(Pdu::AssociationRJ(_))));
    };
    // More than the queues hold: of one stranger with many names, and of many strangers.
    (0..1500).for_each(|number| deny(&format!("X{number}"), [127, 0, 0, 2]));
    (0..1500).for_each(|number| deny("Y", [127, 1, (number / 250) as u8, (number % 250) as u8 + 1]));
    let (mut wire, _) = Wire::associate(node.address(), calling("CT1"));
    assert_eq!(wire.store(1, "1.2.3.3", &dataset("1.2.3.3", 1000)).status, 0);
    wire.release();
    receiver.start();
    receiver.has(&[TRANSFERRED, "CT1"]);
    assert_eq!(node.stop(), Some(0), "the sums are written at the end");
    let denials: Vec<_> =
        receiver.messages().into_iter().filter(|message| message.contains("Security Alert")).collect();
    // An interval has at most a message for each of 128 sources at its begin and at its end, and one for all others.
    assert!(denials.len() <= 600, "{} messages of denials", denials.len());
    let times = |message: &String| {
        let (before, _) = message.split_once(" times within").unwrap_or(("1", ""));
        before.rsplit(' ').next().unwrap().parse::<usize>().unwrap_or(1)
    };
    assert_eq!(denials.iter().map(times).sum::<usize>(), 3000, "each is counted");
    assert!(!node.log_text().contains("audit messages dropped"));
}

#[test]
fn of_a_full_spool_the_messages_of_the_source_with_the_most_give_way_and_no_others_across_kills() {
    let receiver = Receiver::down();
    let sink = receiver.sink();
    let environment = [("TIDEGATE__AUDIT__SINK", sink.as_str()), ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0")];
    let mut node = Node::start_prepared(&environment, |root| fill(root, "203.0.113.9"));
    let (mut wire, _) = Wire::associate(node.address(), calling("CT1"));
    assert_eq!(wire.store(1, "1.2.3.1", &of_study("1.2.3.1", "1.2.4", 1000)).status, 0);
    wire.release();
    let line = node.logged(&["audit messages dropped", "by_source"]);
    assert!(line.contains("203.0.113.9: ") && line.contains("sources=1"), "{line}");
    let metric = |name: &str| {
        let text = ask(node.admin_address(), "GET", "/metrics", &[], "").body;
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let lost = metric("tidegate_audit_messages_lost_total");
    assert!(lost >= 1000.0 && metric("tidegate_audit_backlog_bytes") > 40e6, "{lost}");
    assert!(metric("tidegate_audit_oldest_unsent_seconds") > 3600.0, "of an earlier run");
    node.signal(Signal::KILL);
    node.wait();

    let storage = node.storage();
    receiver.start();
    let mut next = Node::start_prepared(&environment[..1], |root| fs::rename(&storage, root).unwrap());
    assert!(eventually(|| spool(&next.storage()) == 0));
    assert_eq!(next.stop(), Some(0));
    receiver.has(&["the evidence of a small source"]);
    receiver.has(&[BEGIN, "CT1", "1.2.4"]);
    receiver.has(&[TRANSFERRED, "CT1", "1.2.4"]);
    let kept = receiver.messages().iter().filter(|message| message.contains("ffff")).count();
    assert!(kept > 40_000, "{kept}");
}

#[test]
fn a_sink_that_cannot_be_reached_is_told_and_so_is_its_return() {
    let receiver = Receiver::down();
    let sink = receiver.sink();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check-config"])
        .env("TIDEGATE__AUDIT__SINK", &sink)
        .current_dir(receiver.directory.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && told.contains("warning: audit.sink file:"), "{told}");
    let mut node = Node::start(&[("TIDEGATE__AUDIT__SINK", &sink)]);
    node.logged(&["audit sink not reached", &sink, "No such file"]);
    node.logged(&["audit message not written", &sink, "backlog_bytes="]);
    receiver.start();
    node.logged(&["audit messages are written again", &sink, "backlog_bytes="]);
    assert_eq!(node.stop(), Some(0));
    assert!(!node.log_text().contains("audit sink reached"));
}

#[test]
fn a_datagram_that_nobody_takes_is_told_and_sent_again() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let mut node = Node::start(&[("TIDEGATE__AUDIT__SINK", &format!("udp://{address}"))]);
    node.logged(&["audit message not written", "udp://127.0.0.1"]);
    let socket = std::net::UdpSocket::bind(address).unwrap();
    let mut message = [0; 4096];
    socket.set_read_timeout(Some(crate::node::PATIENCE)).unwrap();
    let length = socket.recv(&mut message).unwrap();
    assert!(String::from_utf8_lossy(&message[..length]).contains("Application Start"));
    node.logged(&["audit messages are written again"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn instances_stored_beside_others_leave_messages() {
    let receiver = Receiver::up();
    let sink = receiver.sink();
    let node = Node::start(&[("TIDEGATE__AUDIT__SINK", &sink)]);
    let (mut wire, _) = Wire::associate(node.address(), calling("CT1"));
    for bytes in [1000, 2000] {
        assert_eq!(wire.store(1, "1.2.3.4", &dataset("1.2.3.4", bytes)).status, 0);
    }
    let kept = ["DICOM Instances Accessed", "EventActionCode=\"C\"", "beside others", "ParticipantObjectID=\"1.2.3\""];
    receiver.has(&[&kept[..], &["NumberOfInstances=\"1\""]].concat());
    assert_eq!(wire.store(3, "1.2.3.4", &dataset("1.2.3.4", 3000)).status, 0);
    wire.release();
    receiver.has(&[&kept[..], &["NumberOfInstances=\"2\""]].concat());
}

#[test]
fn a_replaced_instance_and_what_an_operator_does_leave_messages() {
    let receiver = Receiver::up();
    let sink = receiver.sink();
    let environment = [
        ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__AUDIT__SINK", sink.as_str()),
        ("TIDEGATE__STORAGE__DUPLICATES", "replace"),
    ];
    let mut node = Node::start(&environment);
    let (mut wire, _) = Wire::associate(node.address(), calling("CT1"));
    assert_eq!(wire.store(1, "1.2.3.4", &dataset("1.2.3.4", 1000)).status, 0);
    assert_eq!(wire.store(2, "1.2.3.4", &dataset("1.2.3.4", 2000)).status, 0);
    receiver.has(&["DICOM Instances Accessed", "EventActionCode=\"U\"", "CT1", "ParticipantObjectID=\"1.2.3\""]);

    let token = fs::read_to_string(node.storage().join(".tidegate/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let change = |method: &str, path: &str, body: &str, authorization: &str| {
        let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
        ask(node.admin_address(), method, path, &headers, body).status
    };
    let listed = ask(node.admin_address(), "GET", "/api/associations", &[("Authorization", &bearer)], "").json();
    let association = format!("/api/associations/{}", listed[0]["id"]);
    for _ in 0..50 {
        assert_eq!(change("POST", "/api/drain", "", "Bearer wrong"), 401, "a wrong token is one, header or not");
    }
    let wrong = [("Authorization", "Bearer wrong"), ("X-Tidegate", "1")];
    for _ in 0..50 {
        assert_eq!(ask(node.admin_address(), "POST", "/api/drain", &wrong, "").status, 401);
    }
    receiver.has(&["User Authentication", "EventOutcomeIndicator=\"8\"", "admin surface", "127.0.0.1"]);
    assert_eq!(change("DELETE", &association, "", &bearer), 202);
    let own = "UserID=\"the node&apos;s own token\" UserIsRequestor=\"true\" NetworkAccessPointID=\"127.0.0.1\"";
    receiver.has(&["Use of Restricted Function", "association", "aborted", own]);
    node.logged(&["association aborted by an operator", "the node's own token", "address=127.0.0.1"]);
    assert_eq!(change("POST", "/api/drain", "", &bearer), 202);
    receiver.has(&["Use of Restricted Function", "drained", own]);
    node.logged(&["drained by an operator", "the node's own token", "address=127.0.0.1"]);
    assert!(change("DELETE", "/api/drain", "", &bearer) < 300);
    receiver.has(&["Use of Restricted Function", "drain ended", own]);
    node.logged(&["drain ended by an operator", "the node's own token", "address=127.0.0.1"]);
    assert_eq!(change("GET", "/debug/pprof/heap?seconds=1", "", &bearer), 200);
    receiver.has(&["Use of Restricted Function", "heap profile taken", own]);
    // The socket knows the user.
    let (_other, _) = Wire::associate(node.address(), calling("CT2"));
    let listed = ask(node.admin_address(), "GET", "/api/associations", &[("Authorization", &bearer)], "").json();
    let id = listed.as_array().unwrap().iter().find(|one| one["calling_ae_title"] == "CT2").unwrap()["id"].clone();
    let mut socket = UnixStream::connect(node.storage().join(".tidegate/admin.sock")).unwrap();
    writeln!(socket, "{{\"version\":1,\"ask\":{{\"abort\":{{\"id\":{id}}}}}}}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"abort\""), "{answer}");
    let user = format!("(uid {})", rustix::process::getuid().as_raw());
    receiver.has(&["aborted", "UserID=\"user ", &user]);
    node.logged(&["association aborted by an operator", "operator=\"user ", &user]);
    assert_eq!(change("PUT", "/api/loglevel", "{\"level\":\"warn\"}", &bearer), 200);
    receiver.has(&["Security Configuration", "log level set to warn", own]);
    node.logged(&["log level changed by an operator", "the node's own token", "address=127.0.0.1"]);
    node.signal(Signal::HUP);
    receiver.has(&["Security Configuration", "configuration reloaded", "UserID=\"signal SIGHUP\""]);
    drop(wire);
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
    let logins: Vec<_> = receiver.messages().into_iter().filter(|message| message.contains("admin surface")).collect();
    assert!(logins.len() <= 4 && logins.iter().any(|message| message.contains(" times within")), "{logins:#?}");
}

#[test]
fn a_receiver_that_was_down_gets_everything_in_order_and_a_stop_waits_for_none() {
    let receiver = Receiver::up();
    let sink = receiver.sink();
    let environment = [("TIDEGATE__AUDIT__SINK", sink.as_str())];
    let mut node = Node::start(&environment);
    let store = |number: usize| {
        let (uid, study) = (format!("1.2.3.5.{number}"), format!("1.2.{number}"));
        let (mut wire, _) = Wire::associate(node.address(), calling("CT1"));
        assert_eq!(wire.store(1, &uid, &of_study(&uid, &study, 1000)).status, 0);
        wire.release();
    };
    store(4);
    receiver.has(&[TRANSFERRED, "\"1.2.4\""]);
    let (there, away) = (receiver.directory.path().join("there"), receiver.directory.path().join("away"));
    fs::rename(&there, &away).unwrap();
    (5..8).for_each(store);
    node.logged(&["audit message not written"]);
    fs::rename(&away, &there).unwrap();
    (8..10).for_each(store);
    receiver.has(&[TRANSFERRED, "\"1.2.9\""]);
    node.logged(&["audit messages are written again"]);
    let studies: Vec<_> = receiver
        .messages()
        .iter()
        .filter(|message| message.contains(TRANSFERRED))
        .map(|message| message.split("ParticipantObjectID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(studies, ["1.2.4", "1.2.5", "1.2.6", "1.2.7", "1.2.8", "1.2.9"]);

    fs::rename(&there, &away).unwrap();
    store(3);
    assert_eq!(node.stop(), Some(0));
    fs::rename(&away, &there).unwrap();
    let storage = node.storage();
    let mut next = Node::start_prepared(&environment, |root| fs::rename(&storage, root).unwrap());
    receiver.has(&[TRANSFERRED, "\"1.2.3\""]);
    receiver.has(&["Application Stop"]);
    assert_eq!(next.stop(), Some(0));
}

/// By HTTP and by the socket, each once; a dashboard that asks the same again and again fills nothing.
#[test]
fn who_asks_what_is_stored_leaves_a_message() {
    let receiver = Receiver::up();
    let sink = receiver.sink();
    let mut node = Node::start(&[("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"), ("TIDEGATE__AUDIT__SINK", sink.as_str())]);
    let token = fs::read_to_string(node.storage().join(".tidegate/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let look = |path: &str| ask(node.admin_address(), "GET", path, &[("Authorization", &bearer)], "").status;
    let query = "originalText=\"Query\"";
    let own = "UserID=\"the node&apos;s own token\" UserIsRequestor=\"true\" NetworkAccessPointID=\"127.0.0.1\"";
    let is_open = || ask(node.admin_address(), "GET", "/api/catalogue", &[], "").json()["condition"] == "current";
    assert!(eventually(is_open));
    for _ in 0..20 {
        assert_eq!(look("/api/studies?text=doe&since=1day"), 200);
    }
    // `text=doe&since=1day`
    let asked = "<ParticipantObjectQuery>dGV4dD1kb2Umc2luY2U9MWRheQ==</ParticipantObjectQuery>";
    receiver.has(&[query, own, "ParticipantObjectID=\"/api/studies\"", asked]);
    assert_eq!(look("/api/studies/1.2.3"), 404, "a question without an answer is one");
    receiver.has(&[query, own, "ParticipantObjectID=\"/api/studies/1.2.3\"", "ParticipantObjectID=\"1.2.3\""]);
    assert_eq!(look("/api/instances/1.2.3.4"), 404);
    receiver.has(&[query, own, "ParticipantObjectID=\"/api/instances/1.2.3.4\""]);
    let studies = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["studies", "--patient", "P1", "--storage"])
        .arg(node.storage())
        .output()
        .unwrap();
    assert_eq!(studies.status.code(), Some(1), "nothing fits");
    receiver.has(&[query, "UserID=\"user ", "cGF0aWVudD1QMQ=="]); // `patient=P1`
    // Neither a stranger's question nor one that names nobody is one.
    assert_eq!(ask(node.admin_address(), "GET", "/api/studies", &[], "").status, 401);
    assert_eq!(look("/api/catalogue"), 200);
    assert_eq!(node.stop(), Some(0));
    let queries = receiver.messages().into_iter().filter(|message| message.contains(query)).collect::<Vec<_>>();
    assert_eq!(queries.len(), 5, "{queries:#?}");
    assert_eq!(queries.iter().filter(|message| message.contains("asked 19 times more within a minute")).count(), 1);
}
