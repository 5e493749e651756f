//! What operators are told of deliveries and events that do not leave the node.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::catalogue::status;
use crate::pki::Authority;

/// A server at `localhost` with a certificate of that authority. It ends with the test.
fn server(authority: &Authority) -> SocketAddr {
    authority.sign("server", "localhost", 7);
    let certificate = CertificateDer::from_pem_file(authority.path("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut connection = ServerConnection::new(config.clone()).unwrap();
            let _ = connection.complete_io(&mut socket.unwrap()); // the client refuses the certificate
        }
    });
    address
}

#[test]
fn what_does_not_leave_the_node_is_told_with_who_does_not_take_it_and_why() {
    let (of_server, trusted) = (Authority::new(), Authority::named("Another authority"));
    let port = server(&of_server).port();
    let key = trusted.path("key");
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let tables = |more: &str| {
        let sink = "[[sink]]\nname = 'ris'\nevents = ['study.complete']\n";
        let destination = "[delivery]\nto = ['archive']\n[[destination]]\nname = 'archive'\naddress = '127.0.0.1:1'\ncalled = 'ARCHIVE'\n";
        let ca = trusted.path("ca.pem");
        format!(
            "{QUIET}{destination}{sink}url = 'https://localhost:{port}/'\nsecret_file = {key:?}\nca = {ca:?}\n{more}"
        )
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    fs::write(&path, tables("")).unwrap();
    let node = Node::start_configured(&path, |_| {});
    let well = status(&node);
    assert_eq!((&well["delivery"]["destinations"], &well["events"]["sinks"]), (&1.into(), &1.into()), "{well}");
    assert_eq!((&well["delivery"]["dead"], &well["events"]["waiting"]), (&0.into(), &0.into()), "{well}");
    store(&node, "1.2.3", 0..2);
    let is_told = || {
        let status = status(&node);
        [&status["delivery"], &status["events"]].iter().all(|health| health["not_taking"][0]["reason"] == "down")
    };
    assert!(eventually(is_told), "{}", status(&node));
    let status = status(&node);
    let (delivery, events) = (&status["delivery"], &status["events"]);
    assert_eq!(delivery["waiting"].as_u64().unwrap() + delivery["retrying"].as_u64().unwrap(), 2, "{delivery}");
    assert_eq!((&events["waiting"], &events["not_taking"][0]["name"]), (&1.into(), &"ris".into()), "{events}");
    assert!(delivery["oldest_waiting_ms"].is_u64() && events["oldest_waiting_ms"].is_u64(), "{delivery} {events}");
    let why = events["not_taking"][0]["error"].as_str().unwrap();
    assert!(why.contains("is of an authority that this node does not trust"), "{why}");
    // A reload says which sink, and what of it.
    fs::write(&path, tables("patient = true\n")).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["setting changed", "sink[ris].patient", "from=false", "to=true"]);
    let log = node.log_text();
    assert!(!log.contains("UnknownIssuer"), "{log}");
}
