//! The views and commands of an operator, over HTTP and from the command line.

use super::*;

fn change(node: &Node, method: &str, path: &str, body: &str) -> Answer {
    let shown = bearer(node);
    ask(node.admin_address(), method, path, &[("Authorization", &shown), ("Content-Type", "application/json")], body)
}

pub(super) fn json(node: &Node, path: &str) -> serde_json::Value {
    let answer = ask(node.admin_address(), "GET", path, &[("Authorization", &bearer(node))], "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// An association that has sent half a dataset.
fn busy(node: &Node, calling_ae_title: &str) -> Wire {
    let mut asking = request();
    asking.calling_ae_title = calling_ae_title.into();
    let (mut wire, _) = Wire::associate(node.address(), asking);
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.90")));
    wire.send(&p_data(1, 0, &dataset("1.2.3.90", 200_000)[..120_000]));
    node.wait_until_received(100_000);
    wire
}

#[test]
fn an_association_is_listed_with_what_it_does_and_aborted_when_asked() {
    let mut node = Node::start(&[SURFACE]);
    let (mut other, _) = Wire::associate(node.address(), request());
    let mut wire = busy(&node, "CT_1");
    let found = json(&node, "/api/associations");
    let found = found.as_array().unwrap().iter().find(|found| found["calling_ae_title"] == "CT_1").unwrap();
    assert_eq!(found["called_ae_title"], "TIDEGATE");
    assert!(found["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(found["received_bytes"].as_u64().unwrap() > 120_000, "{found}");
    assert!(found["held_bytes"].as_u64().unwrap() > 100_000, "{found}");
    let path = format!("/api/associations/{}", found["id"]);
    assert_eq!(ask(node.admin_address(), "DELETE", &path, &[], "").status, 403, "a web page could send that");
    assert_eq!(change(&node, "DELETE", &path, "").status, 202);
    assert!(matches!(wire.pdu(), Some(Pdu::AbortRQ { .. })));
    assert!(eventually(|| json(&node, "/api/associations").as_array().unwrap().len() == 1));
    assert_eq!(change(&node, "DELETE", &path, "").status, 404);
    assert_eq!(change(&node, "DELETE", "/api/associations/x", "").status, 404);
    node.logged(&["WARN", "by an operator"]);
    node.logged(&["association ended", "calling=\"CT_1\"", "end=\"aborted_by_operator\""]);
    assert_eq!(other.store(1, "1.2.3.91", &dataset("1.2.3.91", 1000)).status, 0, "nobody else is touched");
    let found = &json(&node, "/api/associations")[0];
    assert_eq!((found["acknowledged"].as_u64(), found["refused"].as_u64()), (Some(1), Some(0)));
    other.release();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_node_that_drains_rejects_new_associations_and_lets_the_open_ones_go_on() {
    let mut node = Node::start(&[SURFACE]);
    let (mut open, _) = Wire::associate(node.address(), request());
    let answer = change(&node, "POST", "/api/drain", "");
    assert_eq!((answer.status, answer.json()["draining"].as_bool()), (202, Some(true)));
    let answer = get(node.admin_address(), "/ready");
    assert!(answer.status == 503 && !check(&answer, "serving"), "{answer:?}");
    assert!(matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationRJ(_))));
    assert_eq!(open.store(1, "1.2.3.92", &dataset("1.2.3.92", 1000)).status, 0);
    assert_eq!(json(&node, "/api/status")["phase"], "drained");
    assert_eq!(change(&node, "DELETE", "/api/drain", "").json()["draining"], false);
    assert_eq!(get(node.admin_address(), "/ready").status, 200);
    Wire::associate(node.address(), request()).0.release();
    open.release();
    change(&node, "POST", "/api/drain", "");
    assert_eq!(node.stop(), Some(0), "a drained node stops like any other");
}

#[test]
fn the_log_level_is_changed_while_the_node_runs_and_the_configuration_is_told_without_its_secrets() {
    let token_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&token_file, "0123456789abcdef").unwrap();
    let token_path = token_file.path().to_str().unwrap();
    let mut node = Node::start(&[SURFACE, ("TIDEGATE__ADMIN__TOKEN_FILE", token_path)]);
    let shown = ("Authorization", "Bearer 0123456789abcdef");
    let asked = |method: &str, path: &str, body: &str| {
        ask(node.admin_address(), method, path, &[shown, ("Content-Type", "application/json")], body)
    };
    assert_eq!(asked("GET", "/api/loglevel", "").json()["level"], "info");
    assert_eq!(asked("PUT", "/api/loglevel", r#"{"level":"debug"}"#).json()["level"], "debug");
    assert_eq!(asked("GET", "/api/loglevel", "").json()["level"], "debug");
    node.logged(&["WARN", "log level changed by an operator", "from=INFO", "to=DEBUG"]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.93", &dataset("1.2.3.93", 1000)).status, 0);
    node.logged(&["DEBUG", "instance stored"]);
    wire.release();
    for wrong in [r#"{"level":"loud"}"#, r#"{"level":"debug","more":1}"#, "debug", ""] {
        assert_eq!(asked("PUT", "/api/loglevel", wrong).status, 400, "{wrong}");
    }
    let config = asked("GET", "/api/config", "");
    assert_eq!(config.json()["admin"]["token_file"], token_path);
    assert_eq!(config.json()["storage"]["duplicates"], "keep-both");
    assert!(!config.body.contains("0123456789abcdef"));
    assert!(!node.log_text().contains("0123456789abcdef"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn an_event_comes_each_second_to_whoever_listens() {
    use std::io::{BufRead, BufReader, Write};
    let mut node = Node::start(&[SURFACE]);
    let _wire = busy(&node, "LISTED");
    let mut stream = std::net::TcpStream::connect(node.admin_address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\r\n", bearer(&node)).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let events: Vec<serde_json::Value> = lines
        .filter_map(|line| line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()))
        .take(3)
        .collect();
    let at = |event: &serde_json::Value| event["status"]["now_unix_ms"].as_u64().unwrap();
    assert!(at(&events[0]) < at(&events[1]) && at(&events[1]) < at(&events[2]));
    assert_eq!(events[2]["associations"][0]["calling_ae_title"], "LISTED");
    assert_eq!(events[2]["writers"]["writers"].as_array().unwrap().len(), 16);
    drop(_wire);
    assert_eq!(node.stop(), Some(0), "who listens keeps no node from stopping");
}

#[test]
fn what_was_refused_and_what_is_written_can_be_looked_at_afterwards() {
    let node = Node::start(&[SURFACE]);
    let mut asking = request();
    asking.calling_ae_title = "<b>CT</b>".into();
    let (mut wire, _) = Wire::associate(node.address(), asking);
    assert_eq!(wire.store(1, "1.2.3.94", &dataset("1.2.3.95", 1000)).status, 0xA900);
    assert_eq!(wire.store(2, "1.2.3.94", &dataset("1.2.3.94", 1000)).status, 0);
    wire.release();
    let status = json(&node, "/api/status");
    let refused = &status["refused"][0];
    assert_eq!((refused["reason"].as_str(), refused["status"].as_str()), (Some("data_set_mismatch"), Some("A900")));
    assert_eq!(refused["calling_ae_title"].as_str().unwrap().trim(), "<b>CT</b>");
    let writers = json(&node, "/api/writers");
    let stored: u64 =
        writers["writers"].as_array().unwrap().iter().map(|w| w["instances_total"].as_u64().unwrap()).sum();
    assert_eq!(stored, 1);
    let acknowledged = || -> u64 {
        let points = json(&node, "/api/history");
        points.as_array().unwrap().iter().map(|point| point["acknowledged"].as_u64().unwrap()).sum()
    };
    assert!(eventually(|| acknowledged() == 1));
    assert_eq!(json(&node, "/api/history?seconds=1").as_array().unwrap().len(), 1);
    assert_eq!(get(node.admin_address(), "/api/history?seconds=x").status, 400);
    let guest = get(node.admin_address(), "/api/status").json();
    assert_eq!(guest["refused"][0]["calling_ae_title"], "", "the loopback address is no identity");
    assert_eq!(json(&node, "/api/memory")["budget_bytes"], status["budget_bytes"]);
}

/// Exit code and stdout of a command that asks this node.
pub(super) fn said(node: &Node, arguments: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(arguments).arg("--storage").arg(node.storage()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_command_line_says_the_same_and_its_exit_code_is_a_health_check() {
    let mut node = Node::start(&[SURFACE]);
    let mut wire = busy(&node, "CT\u{7}1");
    let (code, text) = said(&node, &["status"]);
    assert!(code == 0 && text.starts_with("TIDEGATE: tidegate ") && text.contains("serving, ready"), "{code} {text}");
    let of = |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&said(&node, arguments).1).unwrap() };
    let names = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(of(&["status", "--json"])), names(json(&node, "/api/status")));
    assert_eq!(of(&["writers", "--json"])["writers"].as_array().unwrap().len(), 16);
    assert!(said(&node, &["writers"]).1.contains("\nwriter-7 "));
    let (_, text) = said(&node, &["associations"]);
    assert!(text.contains("CT\\u{7}1") && !text.contains('\u{7}'), "{text:?}");
    let lines = said(&node, &["top", "--json", "--frames", "2"]).1;
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].is_object()));
    assert_eq!(said(&node, &["top", "--frames", "1"]).1.matches("TIDEGATE: ").count(), 1, "no terminal, no view");

    let id = of(&["associations", "--json"])[0]["id"].to_string();
    assert_eq!(said(&node, &["associations", "--abort", &id]).1, format!("association {id} is being aborted\n"));
    assert!(matches!(wire.pdu(), Some(Pdu::AbortRQ { .. })));
    assert!(eventually(|| said(&node, &["associations"]).1 == "no open associations\n"));
    change(&node, "POST", "/api/drain", "");
    let (code, text) = said(&node, &["status"]);
    assert!(code == 1 && text.contains("NOT READY     serving: "), "{code} {text}");
    assert_eq!(said(&node, &["status", "--live"]).0, 0, "it answers: it is not to be restarted");
    assert_eq!(node.stop(), Some(0));
}

/// The flight records that the node has written, as they are told in its log.
fn records(node: &Node) -> Vec<serde_json::Value> {
    let mut paths: Vec<_> = fs::read_dir(node.flight_records()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths.iter().map(|path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()).collect()
}

#[test]
fn a_signal_has_the_node_write_down_what_it_is_about() {
    use std::os::unix::fs::PermissionsExt;
    let mut node = Node::start(&[SURFACE]);
    let (mut other, _) = Wire::associate(node.address(), request());
    assert_eq!(other.store(1, "1.2.3.96", &dataset("1.2.3.96", 1000)).status, 0);
    let _wire = busy(&node, "CT_1");
    assert!(eventually(|| !json(&node, "/api/history").as_array().unwrap().is_empty()));
    node.signal(Signal::USR1);
    let line = node.logged(&["WARN", "flight record written", "an operator asked for it"]);
    let path = line.split("path=").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(node.flight_records()).unwrap().permissions().mode() & 0o777, 0o700);
    let record = &records(&node)[0];
    assert_eq!((record["alarm"].as_str(), record["phase"].as_str()), (Some("asked"), Some("Serving")));
    assert_eq!(record["counters"]["acknowledged_total"], 1);
    // The accounts of the catalogue come and go with its batches.
    let holders = record["holders"].as_array().unwrap().iter().filter(|holder| holder["label"] != "catalogue");
    let holders: Vec<_> = holders.collect();
    assert!(holders[0]["label"].as_str().unwrap().contains("CT_1"), "who holds most comes first: {holders:?}");
    assert_eq!(record["writers"]["writers"].as_array().unwrap().len(), 16);
    assert!(!record["history"].as_array().unwrap().is_empty());
    assert!(record["allocator"]["resident"].as_u64().unwrap() > 0);
    let messages = record["messages"].as_array().unwrap();
    assert!(messages.iter().any(|line| line.as_str().unwrap().contains("admin socket open")), "{messages:?}");
    assert!(record["children"].as_array().unwrap().iter().any(|child| child["name"] == "listener"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn the_end_of_an_association_says_how_much_it_sent_and_where_the_time_went_and_titles_are_summed_up() {
    let mut node = Node::start(&[SURFACE]);
    let mut asking = request();
    asking.calling_ae_title = "CT_2".into();
    let open: Vec<_> = (0..3).map(|_| Wire::associate(node.address(), asking.clone()).0).collect();
    let (code, text) = said(&node, &["associations", "--by", "ae", "--json"]);
    let sums: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, sums.as_array().unwrap().len()), (0, 1), "{sums}");
    assert_eq!(
        (sums[0]["calling_ae_title"].as_str().map(str::trim), sums[0]["associations"].as_u64()),
        (Some("CT_2"), Some(3))
    );
    assert!(said(&node, &["associations", "--by", "ae"]).1.contains("CT_2"));
    drop(open);
    let (mut wire, _) = Wire::associate(node.address(), request());
    let mut bytes = 0;
    for (number, uid) in ["1.2.3.97", "1.2.3.98", "1.2.4.1"].into_iter().enumerate() {
        let content = dataset(uid, 20_000);
        bytes += content.len();
        assert_eq!(wire.store(number as u16, uid, &content).status, 0);
    }
    wire.release();
    let line = node.logged(&["association ended", "acknowledged=3"]);
    let field = |name: &str| -> u64 {
        let (_, rest) = line.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name}: {line}"));
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(field("bytes"), bytes as u64);
    assert!((1..=3).contains(&field("studies")), "{line}");
    assert!(field("duration_ms") >= field("commit_ms"), "one at a time: {line}");
    assert!(field("receive_ms") + field("handoff_ms") <= field("duration_ms"), "{line}");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn instances_set_aside_are_counted_and_a_commit_log_that_is_moved_away_is_told() {
    let mut node = Node::start(&[SURFACE]);
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.99", &dataset("1.2.3.99", 1000)).status, 0);
    let own = node.storage().join(".tidegate");
    fs::create_dir_all(own.join("lost")).unwrap();
    fs::write(own.join("lost/7-0-2-x.dcm"), "x").unwrap();
    let metric = || get(node.admin_address(), "/metrics").body.contains("\ntidegate_storage_set_aside 1\n");
    assert!(eventually(metric));
    assert!(said(&node, &["status"]).1.contains("1 INSTANCES SET ASIDE"));
    fs::rename(own.join("log"), node.storage().with_file_name("away")).unwrap();
    let mut number = 1;
    assert!(eventually(|| {
        number += 1;
        let uid = format!("1.2.3.100.{number}");
        assert_eq!(wire.store(number, &uid, &dataset(&uid, 1000)).status, 0, "nothing is refused for it");
        node.log_text().contains("the commit log was moved away or removed")
    }));
    wire.release();
    assert_eq!(node.stop(), Some(0));
    let mut recover = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = recover.arg("recover").arg(node.storage()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("set aside or lost"), "{output:?}");
}

/// The dashboard and a terminal show a title as it stands in these answers.
#[test]
fn a_title_that_acts_on_a_terminal_or_turns_text_round_is_escaped_in_every_answer() {
    let evil = "A\u{85}\u{9b}31m\u{ad}"; // a title is read as Latin-1
    let mut node = Node::start(&[SURFACE]);
    let mut bytes = crate::wire::encoded(request());
    let title: Vec<u8> = evil.chars().map(|c| c as u8).chain([b' '; 16]).take(16).collect();
    bytes[26..42].copy_from_slice(&title);
    let mut wire = Wire::connect(node.address());
    wire.send(&bytes);
    assert!(matches!(wire.pdu(), Some(Pdu::AssociationAC(_))));
    let is_harmful = |c: char| c.is_control() && c != '\n' || evil.contains(c) && !c.is_ascii();
    for path in ["/api/associations", "/api/status", "/api/memory"] {
        let answer = ask(node.admin_address(), "GET", path, &[("Authorization", &bearer(&node))], "");
        assert!(!answer.body.contains(is_harmful), "{path}: {:?}", answer.body);
    }
    let found = json(&node, "/api/associations");
    let shown = found[0]["calling_ae_title"].as_str().unwrap();
    assert_eq!(shown, evil, "the JSON stands for the same title");
    for arguments in [&["associations"][..], &["associations", "--json"], &["status"], &["status", "--json"]] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .arg("--storage")
            .arg(node.storage())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.is_empty() && !text.contains(is_harmful), "{arguments:?}: {text:?}");
    }
    wire.release();
    assert_eq!(node.stop(), Some(0));
}
