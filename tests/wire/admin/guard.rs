//! Access control of the admin surface, and the leases of its clients.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

/// Writes a file that only its owner may read, as the node demands it.
fn write_secret(path: impl AsRef<Path>, text: &str) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
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

    let token_file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&token_file, "0123456789abcdef").unwrap();
    let token = ("TIDEGATE__ADMIN__TOKEN_FILE", token_file.path().to_str().unwrap());
    let node = Node::start(&[SURFACE, token]);
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
fn a_heap_profile_is_for_whoever_has_the_token() {
    const PATH: &str = "/debug/pprof/heap?seconds=1";
    let node = Node::start(&[SURFACE]);
    let answer = get(node.admin_address(), PATH);
    assert_eq!(answer.status, 401, "the loopback is not enough");
    assert!(answer.body.contains("admin.token_file"), "{}", answer.body);
    let shown = bearer(&node);
    assert_eq!(ask(node.admin_address(), "GET", PATH, &[("Authorization", &shown)], "").status, 200);

    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    write_secret(&token, "0123456789abcdef");
    let node = Node::start(&[SURFACE, ("TIDEGATE__ADMIN__TOKEN_FILE", token.to_str().unwrap())]);
    let address = node.admin_address();
    assert_eq!(get(address, PATH).status, 401);
    let shown = [("Authorization", "Bearer 0123456789abcdef")];
    assert_eq!(ask(address, "GET", "/debug/pprof/heap?seconds=0", &shown, "").status, 400);
    let answer = ask(address, "GET", PATH, &shown, "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    let length: usize = answer.header("content-length").unwrap().parse().unwrap();
    assert!(length > 50, "{length} bytes");
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
    write_secret(path("token"), "0123456789abcdef");
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
        "tls_certificate = '{}'\ntls_key = '{}'\ntoken_file = '{}'\n",
        path("admin.pem"),
        path("admin.key"),
        path("token")
    );
    write_secret(path("token"), "0123456789abcdef");
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

/// Methods and paths of the surface, as its description has them.
fn operations() -> Vec<(String, String)> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/src/admin/openapi.json");
    let document: serde_json::Value = serde_json::from_str(&fs::read_to_string(document).unwrap()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        operations.extend(methods.map(|method| (method.to_uppercase(), path.replace("{id}", "1"))));
    }
    operations
}

#[test]
fn the_loopback_address_is_no_identity() {
    let mut node = Node::start(&[SURFACE]);
    let address = node.admin_address();
    let header = [("X-Tidegate", "1"), ("Content-Type", "application/json")];
    let changes: Vec<_> = operations().into_iter().filter(|(method, _)| method != "GET").collect();
    assert!(changes.len() >= 4, "{changes:?}");
    let unknown = ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "INVENTED"];
    let unknown = unknown.map(|method| (method.to_owned(), "/api/reload".to_owned()));
    for (method, path) in changes.into_iter().chain(unknown) {
        let body = r#"{"level":"debug"}"#;
        assert_eq!(ask(address, &method, &path, &header, body).status, 401, "{method} {path}");
        assert_eq!(ask(address, &method, &path, &header[1..], body).status, 403, "{method} {path}");
        let wrong = [header[0], header[1], ("Authorization", "Bearer 000000000000000000000000")];
        assert_eq!(ask(address, &method, &path, &wrong, body).status, 401, "{method} {path}");
    }
    let shown = bearer(&node);
    let mode = fs::metadata(node.storage().join(".tidegate/admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ask(address, "POST", "/api/drain", &[("Authorization", &shown)], "").status, 202);
    for path in ["/live", "/metrics", "/api/status"] {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_guest_of_the_loopback_address_reads_no_ae_title() {
    use std::io::{BufRead, BufReader, Write};
    let mut node = Node::start(&[SURFACE]);
    let address = node.admin_address();
    let mut asking = request();
    asking.calling_ae_title = "CT_SECRET".into();
    asking.called_ae_title = "ALSO_SECRET".into();
    let (mut wire, _) = Wire::associate(node.address(), asking);
    // A refusal is remembered with its peer.
    assert_eq!(wire.store(1, "1.2.3.94", &dataset("1.2.3.95", 1000)).status, 0xA900);
    let names = |text: &str| text.contains("SECRET");
    let read = |path: &str, token: &str| {
        if path == "/api/events" {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n").unwrap();
            let event = BufReader::new(stream).lines().map(Result::unwrap).find(|line| line.starts_with("data: "));
            return event.unwrap();
        }
        ask(address, "GET", path, &[("Authorization", token)], "").body
    };
    let shown = bearer(&node);
    let mut told = BTreeSet::new();
    for (method, path) in operations() {
        let is_endless = path == "/api/events/stream"; // it names no title of this test
        if method == "GET" && !path.starts_with("/debug/") && !is_endless {
            assert!(!names(&read(&path, "")), "{path}");
            if names(&read(&path, &shown)) {
                told.insert(path);
            }
        }
    }
    let expected = ["/api/associations", "/api/events", "/api/memory", "/api/status"].map(str::to_owned);
    assert_eq!(told, expected.into(), "an operator reads them");
    wire.release();
    assert_eq!(node.stop(), Some(0));
}
