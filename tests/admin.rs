//! The admin surface of a running node, over HTTP.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/http.rs"]
mod http;
#[path = "support/node.rs"]
mod node;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/wire.rs"]
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use dicom_ul::pdu::Pdu;
use http::{Answer, ask, get};
use node::{Node, eventually};
use pki::Authority;
use rustix::process::Signal;
use rustls::version::TLS13;
use wire::{Wire, dataset, p_data, request, store_command};

const SURFACE: (&str, &str) = ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0");

/// The samples of `/metrics`: by name and labels.
fn scrape(node: &Node) -> BTreeMap<String, f64> {
    let answer = get(node.admin_address(), "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    assert!(answer.body.ends_with("# EOF\n"));
    let samples = answer.body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn check(answer: &Answer, name: &str) -> bool {
    let readiness = answer.json();
    let checks = readiness["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()["ok"].as_bool().unwrap()
}

#[test]
fn a_node_that_serves_is_live_and_ready() {
    let mut node = Node::start(&[SURFACE]);
    assert_eq!(get(node.admin_address(), "/live").body, r#"{"status":"live"}"#);
    let answer = get(node.admin_address(), "/ready");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["ready"], true);
    for name in ["serving", "listener", "writers", "storage", "space", "memory"] {
        assert!(check(&answer, name), "{answer:?}");
    }
    assert_eq!(node.temp_files(), 0, "a look at the disk leaves nothing");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_node_down_to_its_reserve_is_not_ready_and_says_so() {
    let node = Node::start(&[SURFACE, ("TIDEGATE__STORAGE__MIN_FREE", "1000 TiB")]);
    let answer = get(node.admin_address(), "/ready");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!check(&answer, "space") && check(&answer, "storage") && check(&answer, "writers"), "{answer:?}");
    assert_eq!(scrape(&node)["tidegate_ready"], 0.0);
}

#[test]
fn a_node_whose_storage_is_gone_is_not_ready_until_it_is_back() {
    let node = Node::start(&[SURFACE]);
    let away = node.storage().with_file_name("away");
    fs::rename(node.storage(), &away).unwrap();
    assert!(eventually(|| get(node.admin_address(), "/ready").status == 503));
    let answer = get(node.admin_address(), "/ready");
    assert!(!check(&answer, "storage"), "{answer:?}");
    fs::rename(&away, node.storage()).unwrap();
    assert!(eventually(|| get(node.admin_address(), "/ready").status == 200));
}

#[test]
fn what_happens_is_counted_and_no_peer_makes_a_series() {
    let mut node = Node::start(&[SURFACE]);
    let before = scrape(&node);
    assert_eq!(before["tidegate_instances_acknowledged_total{outcome=\"durable\"}"], 0.0);
    for title in ["CT1", "{x=\"y\"}", "MR\\7\n"] {
        let mut asking = request();
        asking.calling_ae_title = title.into();
        let (mut wire, _) = Wire::associate(node.address(), asking);
        assert_eq!(wire.store(1, "1.2.3.80", &dataset("1.2.3.80", 50_000)).status, 0);
        assert_eq!(wire.store(2, "1.2.3.81", &dataset("1.2.3.82", 50_000)).status, 0xA900);
        wire.release();
    }
    let after = scrape(&node);
    let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after), "the series are those of the program");
    for (name, value) in [
        ("tidegate_instances_acknowledged_total{outcome=\"durable\"}", 1.0),
        ("tidegate_instances_acknowledged_total{outcome=\"identical\"}", 2.0),
        ("tidegate_instances_refused_total{reason=\"data_set_mismatch\",status=\"A900\"}", 3.0),
        ("tidegate_associations_accepted_total", 3.0),
        ("tidegate_receive_duration_seconds_count", 6.0),
        ("tidegate_receive_duration_seconds_bucket{le=\"+Inf\"}", 6.0),
        ("tidegate_handoff_wait_seconds_count", 3.0),
        ("tidegate_queue_wait_seconds_count", 3.0),
        ("tidegate_commit_duration_seconds_count", 3.0),
        ("tidegate_response_duration_seconds_count", 3.0),
        ("tidegate_restarts_total{group=\"writers\"}", 0.0),
        ("tidegate_writers_running", 16.0),
        ("tidegate_storage_writable", 1.0),
        ("tidegate_ready", 1.0),
    ] {
        assert_eq!(after[name], value, "{name}");
    }
    assert!(after["tidegate_received_bytes_total"] > 300_000.0);
    assert!(after["tidegate_acknowledged_bytes_total"] > 150_000.0);
    assert!(after["tidegate_allocator_resident_bytes"] >= after["tidegate_allocator_allocated_bytes"]);
    assert!(after.len() < 250, "{} series", after.len());
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let node = Node::start(&[SURFACE]);
    let text = get(node.admin_address(), "/metrics").body;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: BTreeSet<_> =
        types.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect();
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observe.md")).unwrap();
    let rows = document.lines().filter(|line| line.starts_with("| `tidegate_"));
    let names = rows.flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let documented: BTreeSet<_> = names.map(|name| name.split('{').next().unwrap().to_owned()).collect();
    assert_eq!(served, documented);
    let labels = |name: &str, label: &str| -> BTreeSet<String> {
        let values = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        values
            .map(|line| line.split(&format!("{label}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned())
            .collect()
    };
    for (name, label) in [
        ("tidegate_instances_refused_total", "reason"),
        ("tidegate_associations_rejected_total", "reason"),
        ("tidegate_memory_leased_bytes", "stage"),
        ("tidegate_restarts_total", "group"),
    ] {
        for value in labels(name, label) {
            assert!(document.contains(&format!("`{value}`")), "{label} {value} is not documented");
        }
    }
}

/// What a client sends with a request that changes something.
const OPERATOR: (&str, &str) = ("X-Tidegate", "1");

fn change(node: &Node, method: &str, path: &str, body: &str) -> Answer {
    ask(node.admin_address(), method, path, &[OPERATOR, ("Content-Type", "application/json")], body)
}

fn json(node: &Node, path: &str) -> serde_json::Value {
    let answer = get(node.admin_address(), path);
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
    node.logged(&["WARN", "an operator asked for it"]);
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
    let token = ("TIDEGATE__ADMIN__TOKEN", "0123456789abcdef");
    let mut node = Node::start(&[SURFACE, token]);
    let shown = ("Authorization", "Bearer 0123456789abcdef");
    let asked = |method: &str, path: &str, body: &str| {
        ask(node.admin_address(), method, path, &[shown, ("Content-Type", "application/json")], body)
    };
    assert_eq!(asked("GET", "/api/loglevel", "").json()["level"], "info");
    assert_eq!(asked("PUT", "/api/loglevel", r#"{"level":"debug"}"#).json()["level"], "debug");
    assert_eq!(asked("GET", "/api/loglevel", "").json()["level"], "debug");
    let (mut wire, _) = Wire::associate(node.address(), request());
    assert_eq!(wire.store(1, "1.2.3.93", &dataset("1.2.3.93", 1000)).status, 0);
    node.logged(&["DEBUG", "instance stored"]);
    wire.release();
    for wrong in [r#"{"level":"loud"}"#, r#"{"level":"debug","more":1}"#, "debug", ""] {
        assert_eq!(asked("PUT", "/api/loglevel", wrong).status, 400, "{wrong}");
    }
    let config = asked("GET", "/api/config", "");
    assert_eq!(config.json()["admin"]["token"], "(masked)");
    assert_eq!(config.json()["storage"]["duplicates"], "replace");
    assert!(!config.body.contains("0123456789abcdef"));
    assert!(!node.log_text().contains("0123456789abcdef"));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn nobody_gets_past_the_guard() {
    let node = Node::start(&[SURFACE]);
    let address = node.admin_address();
    assert_eq!(
        ask(address, "GET", "/api/status", &[("Host", "evil.example")], "").status,
        421,
        "a name that was rebound"
    );
    assert_eq!(ask(address, "POST", "/api/drain", &[("Origin", "http://evil.example")], "").status, 403);
    assert_eq!(get(address, "/ready").json()["checks"][0]["detail"], "associations are accepted");
    let page = get(address, "/");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));

    let node = Node::start(&[SURFACE, ("TIDEGATE__ADMIN__TOKEN", "0123456789abcdef")]);
    let address = node.admin_address();
    for path in ["/metrics", "/api/status", "/api/config", "/api/events", "/nothing"] {
        let answer = get(address, path);
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{path}");
    }
    assert_eq!(get(address, "/live").status, 200);
    let ready = get(address, "/ready");
    assert_eq!(
        (ready.status, ready.json()["checks"][0]["detail"].as_str()),
        (200, Some("")),
        "no details for strangers"
    );
    let shown = [("Authorization", "Bearer 0123456789abcdef"), ("Host", "gateway1.example")];
    assert_eq!(ask(address, "GET", "/metrics", &shown, "").status, 200, "whoever has the token may use any name");
}

#[test]
fn an_event_comes_each_second_to_whoever_listens() {
    use std::io::{BufRead, BufReader, Write};
    let mut node = Node::start(&[SURFACE]);
    let _wire = busy(&node, "LISTED");
    let mut stream = std::net::TcpStream::connect(node.admin_address()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    write!(stream, "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
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
    assert_eq!(json(&node, "/api/memory")["budget_bytes"], status["budget_bytes"]);
}

/// Exit code and stdout of a command that asks this node.
fn said(node: &Node, arguments: &[&str]) -> (i32, String) {
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
    assert!(eventually(|| said(&node, &["associations"]).1 == "nobody is connected\n"));
    change(&node, "POST", "/api/drain", "");
    let (code, text) = said(&node, &["status"]);
    assert!(code == 1 && text.contains("NOT READY     serving: "), "{code} {text}");
    assert_eq!(said(&node, &["status", "--live"]).0, 0, "it answers: it is not to be restarted");
    assert_eq!(node.stop(), Some(0));
}

/// The status of an answer over TLS, and the certificate that was shown; `None` if there is no answer.
fn status_over_tls(node: &Node, client: &std::sync::Arc<rustls::ClientConfig>, token: &str) -> Option<(u16, Vec<u8>)> {
    use std::io::{Read, Write};
    let mut stream = Authority::connect(client, node.admin_address());
    let head = "GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    write!(stream, "{head}Authorization: Bearer {token}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()?;
    Some((status, stream.conn.peer_certificates()?[0].to_vec()))
}

#[test]
fn token_and_certificates_of_the_surface_change_on_sighup_and_mistakes_change_nothing() {
    let authority = Authority::new();
    authority.sign("admin", "localhost", 1);
    let path = |name: &str| authority.path(name).to_str().unwrap().to_owned();
    fs::write(path("token"), "0123456789abcdef").unwrap();
    let (certificate, key, token) = (path("admin.pem"), path("admin.key"), path("token"));
    let mut node = Node::start(&[
        ("TIDEGATE__ADMIN__LISTEN", "0.0.0.0:0"),
        ("TIDEGATE__ADMIN__TLS_CERTIFICATE", &certificate),
        ("TIDEGATE__ADMIN__TLS_KEY", &key),
        ("TIDEGATE__ADMIN__TOKEN_FILE", &token),
    ]);
    let client = authority.client(None, &TLS13);
    let first = status_over_tls(&node, &client, "0123456789abcdef").unwrap();
    assert_eq!(first.0, 200);
    assert_eq!(status_over_tls(&node, &client, "another").unwrap().0, 401);

    authority.sign("other", "localhost", 2);
    fs::copy(path("other.pem"), path("admin.pem")).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration not reloaded", "admin.tls_key"]);
    assert_eq!(status_over_tls(&node, &client, "0123456789abcdef"), Some(first.clone()), "the old one goes on");

    fs::copy(path("other.key"), path("admin.key")).unwrap();
    fs::write(path("token"), "fedcba9876543210").unwrap();
    node.signal(Signal::HUP);
    let now = || status_over_tls(&node, &client, "fedcba9876543210");
    assert!(eventually(|| now().is_some_and(|(status, shown)| status == 200 && shown != first.1)));
    assert_eq!(status_over_tls(&node, &client, "0123456789abcdef").unwrap().0, 401);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_token_that_goes_with_the_address_stays_as_long_as_the_surface_listens_there() {
    let authority = Authority::new();
    authority.sign("admin", "localhost", 1);
    let path = |name: &str| authority.path(name).to_str().unwrap().to_owned();
    let text = |listen: &str, rest: &str| format!("[admin]\nlisten = '{listen}'\n{rest}");
    let keys = format!(
        "tls_certificate = '{}'\ntls_key = '{}'\ntoken = '0123456789abcdef'\n",
        path("admin.pem"),
        path("admin.key")
    );
    fs::write(path("t.toml"), text("0.0.0.0:0", &keys)).unwrap();
    let mut node = Node::start_with_own_admin(&["--config", &path("t.toml")]);
    fs::write(path("t.toml"), text("127.0.0.1:0", "")).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["admin.listen has changed", "until the next start"]);
    let client = authority.client(None, &TLS13);
    assert_eq!(status_over_tls(&node, &client, "another").unwrap().0, 401);
    assert_eq!(status_over_tls(&node, &client, "0123456789abcdef").unwrap().0, 200);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn what_clients_hold_is_leased_for_as_long_as_they_do() {
    use std::io::{Read, Write};
    let mut node = Node::start(&[SURFACE]);
    let held = || {
        let snapshot: serde_json::Value = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
        let holders = snapshot["holders"].as_array().unwrap().iter();
        let of_http = holders.filter(|holder| holder["label"] == "admin http");
        of_http.map(|holder| holder["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(held(), 0);
    let mut streams: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(node.admin_address()).unwrap()).collect();
    for stream in &mut streams {
        write!(stream, "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_ne!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    // Three connections, and an event.
    assert!(eventually(|| held() > 3 * 160 * 1024), "{}", held());
    drop(streams);
    assert!(eventually(|| held() == 0), "{}", held());
    assert_eq!(node.stop(), Some(0));
}
