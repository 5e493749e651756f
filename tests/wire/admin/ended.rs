//! The associations that have ended, and a node that is drained from the command line.

use super::operators::{json, said};
use super::*;
use crate::access::{Configured, behind, rejection_of};
use crate::http::get;

/// Exit code, stdout and stderr of a command that asks this node.
fn output(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(arguments).arg("--storage").arg(node.storage()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_association_that_has_ended_is_told_with_its_instances_and_how_it_ended() {
    let mut node = Node::start(&[SURFACE]);
    assert_eq!(said(&node, &["associations", "--ended"]).1, "no association has ended in the last hour\n");
    let mut asking = request();
    asking.calling_ae_title = "CT\u{7}1".into();
    let (mut wire, _) = Wire::associate(node.address(), asking);
    let mut bytes = 0;
    for (uid, pixels, named, status) in [
        ("1.2.3.10", 1000, "1.2.3.10", 0),
        ("1.2.3.11", 1000, "1.2.3.11", 0),
        ("1.2.3.11", 1000, "1.2.3.11", 0),
        ("1.2.3.11", 2000, "1.2.3.11", 0),
        ("1.2.3.12", 1000, "1.2.3.13", 0xA900),
    ] {
        let content = dataset(named, pixels);
        bytes += content.len() as u64;
        assert_eq!(wire.store(1, uid, &content).status, status);
    }
    wire.release();
    // A probe that asks nothing, and a peer that leaves without a word.
    drop(std::net::TcpStream::connect(node.address()).unwrap());
    drop(Wire::associate(node.address(), request()));
    node.logged(&["association ended", "end=\"connection_lost\""]);
    let ended = json(&node, "/api/associations/ended");
    let ends: Vec<_> = ended.as_array().unwrap().iter().map(|one| one["end"].as_str().unwrap()).collect();
    assert_eq!(ends, ["connection_lost", "released"], "the latest first");
    let stored = &ended[1];
    for (name, expected) in [
        ("new", 2),
        ("identical", 1),
        ("replaced", 0),
        ("kept_both", 1),
        ("refused", 1),
        ("studies", 1),
        ("bytes", bytes),
    ] {
        assert_eq!(stored[name].as_u64(), Some(expected), "{name}: {stored}");
    }
    assert_eq!(stored["first_study"], "1.2.3");
    assert_eq!(stored["calling_ae_title"].as_str().map(str::trim), Some("CT\u{7}1"));
    assert_eq!(stored["called_ae_title"].as_str().map(str::trim), Some("TIDEGATE"));
    assert!(stored["rule"].is_null() && stored["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{stored}");
    assert_eq!(json(&node, "/api/associations/ended?limit=1").as_array().unwrap().len(), 1);
    assert_eq!(get(node.admin_address(), "/api/associations/ended?limit=x").status, 400);
    let guest = get(node.admin_address(), "/api/associations/ended").json();
    for name in ["peer", "calling_ae_title", "called_ae_title"] {
        assert_eq!(guest[1][name], "", "the loopback address is no identity");
    }
    assert!(guest[1]["first_study"].is_null() && guest[1]["new"] == 2, "{guest}");

    let (code, text) = said(&node, &["associations", "--ended"]);
    assert!(code == 0 && text.contains("CT\\u{7}1") && text.contains("\n  study 1.2.3\n"), "{text}");
    assert!(text.lines().any(|line| line.split_whitespace().nth(1) == Some(&stored["id"].to_string())), "{text}");
    let of_socket: serde_json::Value =
        serde_json::from_str(&said(&node, &["associations", "--ended", "--json"]).1).unwrap();
    assert_eq!(of_socket, ended);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn the_command_line_drains_a_node_waits_for_its_associations_and_ends_the_drain() {
    let mut node = Node::start(&[SURFACE]);
    let (mut open, _) = Wire::associate(node.address(), request());
    let (code, text) = said(&node, &["drain"]);
    assert_eq!((code, text.as_str()), (0, "draining: new associations are rejected, 1 association is still open\n"));
    node.logged(&["WARN", "drained by an operator", "operator=\"user "]);
    assert!(matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationRJ(_))));
    let ready = get(node.admin_address(), "/ready");
    assert!(ready.status == 503 && !check(&ready, "serving"), "{ready:?}");
    let (code, text, _) = output(&node, &["drain", "--wait", "--timeout", "1s"]);
    assert_eq!((code, text.contains("1 association is still open")), (1, true), "{text}");
    // Open associations are served to their end.
    assert_eq!(open.store(1, "1.2.3.92", &dataset("1.2.3.92", 1000)).status, 0);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| said(&node, &["drain", "--wait", "--json"]));
        open.release();
        let (code, text) = waiting.join().unwrap();
        let drain: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, drain), (0, serde_json::json!({ "draining": true, "associations": 0 })));
    });
    node.logged_times("drained by an operator", 1);
    assert_eq!(said(&node, &["resume"]), (0, "new associations are accepted\n".to_owned()));
    node.logged(&["WARN", "drain ended by an operator", "operator=\"user "]);
    Wire::associate(node.address(), request()).0.release();
    assert_eq!(get(node.admin_address(), "/ready").status, 200);
    assert_eq!(said(&node, &["drain", "--wait"]).1, "drained: no association is open, the node can be stopped\n");
    assert_eq!(node.stop(), Some(0));
}

/// Transient, of the presentation provider, temporary congestion (PS3.8 §9.3.4).
const TEMPORARY_CONGESTION: (u8, u8, u8) = (2, 3, 1);

#[test]
fn a_drained_node_rejects_over_tls_as_on_the_plain_port() {
    let authority = Authority::new();
    authority.sign("node", "localhost", 1);
    let (certificate, key) = (authority.path("node.pem"), authority.path("node.key"));
    let mut node = Node::start(&[
        SURFACE,
        ("TIDEGATE__TLS__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__TLS__CERTIFICATE", certificate.to_str().unwrap()),
        ("TIDEGATE__TLS__KEY", key.to_str().unwrap()),
    ]);
    let connect = || Wire(Authority::connect(&authority.client(None, &TLS13), node.tls_address()));
    // A peer that has its connection already, and begins the handshake later.
    let mut early = connect();
    assert!(eventually(|| node.held().0 > 1));
    assert_eq!(node.told(&["drain"]).0, Some(0));
    for wire in [&mut early, &mut connect()] {
        assert_eq!(rejection_of(wire.ask(request())), TEMPORARY_CONGESTION);
    }
    let counted = "tidegate_associations_rejected_total{reason=\"temporary_congestion\"} 2";
    assert!(get(node.admin_address(), "/metrics").body.contains(counted));
    node.logged(&["WARN", "association rejected", "calling=\"WIRE\"", "cause=\"the node is drained or stopping\""]);
    drop(early);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_drained_node_rejects_behind_a_balancer_as_on_the_plain_port() {
    let mut configured = Configured::start("[node]\nproxy_protocol_from = [\"127.0.0.1\"]\n");
    let address = configured.node.address();
    assert_eq!(configured.node.told(&["drain"]).0, Some(0));
    let (_, answer) = behind(address, b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 11112\r\n");
    assert_eq!(rejection_of(answer), TEMPORARY_CONGESTION);
    configured.node.logged(&["WARN", "association rejected", "peer=203.0.113.9:4711", "drained or stopping"]);
    assert_eq!(configured.node.stop(), Some(0));
}
