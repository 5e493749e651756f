//! Client certificates of the surface: roles, revocation, and the names of its own certificate.

use std::io::{Read, Write};

use super::*;

/// A surface with TLS that demands client certificates; `CN=ops` operates.
fn start(authority: &Authority) -> Node {
    authority.sign("admin", "gateway1.example", 1);
    for (name, serial) in [("ops", 2), ("prometheus", 3), ("revoked", 4)] {
        authority.sign(name, name, serial);
    }
    authority.revoke(&[4]);
    let path = |name: &str| authority.path(name).to_str().unwrap().to_owned();
    Node::start(&[
        SURFACE,
        ("TIDEGATE__ADMIN__TLS_CERTIFICATE", &path("admin.pem")),
        ("TIDEGATE__ADMIN__TLS_KEY", &path("admin.key")),
        ("TIDEGATE__ADMIN__TLS_CLIENT_CA", &path("ca.pem")),
        ("TIDEGATE__ADMIN__TLS_CLIENT_CRLS", &path("crl.pem")),
        ("TIDEGATE__ADMIN__TLS_CLIENT_OPERATORS", "CN=ops"),
    ])
}

/// The status of the answer to a client with this certificate; `None`: the node ends the connection without an answer.
fn status(node: &Node, authority: &Authority, certificate: Option<&str>, request: &str) -> Option<u16> {
    let client = authority.client(certificate, &TLS13);
    let mut stream = Authority::connect_as(&client, node.admin_address(), "gateway1.example");
    write!(stream, "{request}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_certificate_reads_or_operates_and_a_revoked_one_does_neither() {
    let authority = Authority::new();
    let mut node = start(&authority);
    let ask = |certificate, request: &str| status(&node, &authority, certificate, request);
    let host = "Host: gateway1.example:9112\r\nContent-Length: 0";
    let (metrics, titles) = (format!("GET /metrics HTTP/1.1\r\n{host}"), format!("GET /api/memory HTTP/1.1\r\n{host}"));
    let (drain, profile) = (
        format!("POST /api/drain HTTP/1.1\r\nX-Tidegate: 1\r\n{host}"),
        format!("GET /debug/pprof/heap?seconds=1 HTTP/1.1\r\n{host}"),
    );
    for request in [&metrics, &titles] {
        assert_eq!(ask(Some("prometheus"), request), Some(200), "{request}");
        assert_eq!(ask(Some("ops"), request), Some(200), "{request}");
        assert_eq!(ask(Some("revoked"), request), None, "{request}");
        assert_eq!(ask(None, request), None, "{request}");
    }
    node.logged(&["tls handshake failed", "port=\"admin\"", "CN=revoked", "admin.tls_client_crls revokes it"]);
    assert_eq!(ask(Some("prometheus"), &drain), Some(403));
    assert_eq!(ask(Some("prometheus"), &profile), Some(403));
    let without_header = drain.replace("X-Tidegate: 1\r\n", "");
    assert_eq!(ask(Some("ops"), &without_header), Some(403), "a browser shows the certificate to any page");
    assert_eq!(ask(Some("ops"), &drain), Some(202));
    node.logged(&["drained by an operator", "operator=\"certificate CN=ops, serial ", "address=127.0.0.1"]);
    assert_eq!(ask(Some("prometheus"), &format!("GET /ready HTTP/1.1\r\n{host}")), Some(503), "it drains");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn the_names_of_the_certificate_are_answered_and_rebound_ones_are_not() {
    let authority = Authority::new();
    let mut node = start(&authority);
    for (host, expected) in [
        ("gateway1.example", 200),
        ("Gateway1.Example:9112", 200),
        ("localhost", 200),
        ("127.0.0.1:9112", 200),
        ("evil.example", 421),
        ("gateway1.example.evil.example", 421),
        ("x.gateway1.example", 421),
    ] {
        for path in ["/metrics", "/live"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}");
            assert_eq!(status(&node, &authority, Some("ops"), &request), Some(expected), "{host} {path}");
        }
    }
    assert_eq!(node.stop(), Some(0));
}
