//! TLS as a whole process serves it: who is let in, what is refused, how certificates change under way, what is left behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::node::{Node, eventually};
use crate::pki::{Authority, Tls};
use crate::wire::{Wire, dataset, encoded, request};
use base64::Engine;
use dicom_ul::pdu::{Pdu, write_pdu};
use rustix::process::Signal;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};

/// A node that listens for TLS with the certificate `node.pem`, and these settings besides.
fn start(authority: &Authority, settings: &[(&str, &str)]) -> Node {
    let paths = ["node.pem", "node.key", "ca.pem"].map(|file| authority.path(file).to_str().unwrap().to_owned());
    let mut environment = vec![
        ("TIDEGATE__TLS__LISTEN", "127.0.0.1:0"),
        ("TIDEGATE__TLS__CERTIFICATE", paths[0].as_str()),
        ("TIDEGATE__TLS__KEY", paths[1].as_str()),
        ("TIDEGATE__TLS__CLIENT_CA", paths[2].as_str()),
        ("TIDEGATE__LOG__LEVEL", "debug"),
    ];
    environment.extend(settings);
    Node::start(&environment)
}

fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign("node", "localhost", 1);
    authority.sign("client", "ct1.example", 2);
    authority
}

fn associate(mut stream: Tls) -> Wire<Tls> {
    stream.write_all(&encoded(request())).unwrap();
    let mut wire = Wire(stream);
    assert!(matches!(wire.pdu(), Some(Pdu::AssociationAC(_))));
    wire
}

/// Whether the peer gets no further than the handshake.
fn is_refused(mut stream: Tls) -> bool {
    let mut bytes = encoded(request());
    // In TLS 1.3 the client is done before the node has looked at its certificate.
    stream.write_all(&bytes).is_err() || !matches!(stream.read(&mut bytes), Ok(1..))
}

#[test]
fn beside_idle_associations_over_tls_less_than_a_mebibyte_is_unattributed() {
    let authority = authority();
    let mut node = start(&authority, &[]);
    let unattributed = || -> i64 {
        let snapshot: serde_json::Value = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
        snapshot["unattributed_bytes"].as_i64().unwrap()
    };
    let config = authority.client(Some("client"), &TLS13);
    let idle: Vec<_> = (0..64).map(|_| associate(Authority::connect(&config, node.tls_address()))).collect();
    let mut found = 0;
    let is_little = eventually(|| {
        found = unattributed();
        found.unsigned_abs() < 1 << 20
    });
    assert!(is_little, "{found} bytes");
    drop(idle);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn instances_arrive_over_tls_and_what_tls_holds_is_leased() {
    let authority = authority();
    let mut node = start(&authority, &[]);
    for (turn, version) in [&TLS12, &TLS13].into_iter().enumerate() {
        let mut wire = associate(Authority::connect(&authority.client(None, version), node.tls_address()));
        let (uid, length) = (format!("1.2.{turn}"), 20 << 20);
        let data = dataset(&uid, length);
        assert_eq!(wire.store(1, &uid, &data).status, 0);
        let top: serde_json::Value = serde_json::from_str(&node.mem(&["top", "--json"])).unwrap();
        let tls = top["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "tls").unwrap();
        assert_eq!(tls["bytes"], 96 * 1024);
        wire.release();
        let stored = node.stored().into_iter().find(|path| path.ends_with(format!("{uid}.dcm"))).unwrap();
        assert!(fs::read(node.storage().join(stored)).unwrap().ends_with(&data), "not stored as sent");
    }
    assert_eq!(node.stop(), Some(0)); // and nothing is leased any more
}

#[test]
fn peers_without_a_certificate_that_counts_are_refused_and_the_others_served() {
    let authority = authority();
    authority.sign("revoked", "stolen.example", 3);
    authority.revoke(&[3]);
    let stranger = Authority::new();
    stranger.sign("client", "ct1.example", 2);
    let crl = authority.path("crl.pem");
    let mut node = start(
        &authority,
        &[
            ("TIDEGATE__TLS__CLIENT_AUTH", "required"),
            ("TIDEGATE__TLS__CLIENT_CRLS", crl.to_str().unwrap()),
            ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s"),
        ],
    );
    node.logged(&["tls revocation list in force", "CN=Test authority"]);
    for version in [&TLS12, &TLS13] {
        let foreign = {
            // Trusts our authority, and shows a certificate of another.
            for file in ["client.pem", "client.key"] {
                fs::copy(stranger.path(file), authority.path(&format!("foreign{}", &file[6..]))).unwrap();
            }
            authority.client(Some("foreign"), version)
        };
        for client in [authority.client(None, version), authority.client(Some("revoked"), version), foreign] {
            assert!(is_refused(Authority::connect(&client, node.tls_address())));
        }
        associate(Authority::connect(&authority.client(Some("client"), version), node.tls_address())).release();
    }
    node.logged(&["tls handshake completed", "CN=ct1.example"]);
    node.logged_times("tls handshake failed", 6);
    node.logged(&["WARN", "tls handshake failed", "the peer shows no certificate", "remedy="]);
    node.logged(&["tls handshake failed", "CN=stolen.example", "serial=\"03\"", "tls.client_crls revokes it"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn handshakes_that_fail_are_counted_and_logged_once_for_a_peer_and_cause() {
    let authority = authority();
    authority.sign("revoked", "stolen.example", 3);
    authority.revoke(&[3]);
    let crl = authority.path("crl.pem");
    let node = start(
        &authority,
        &[
            ("TIDEGATE__TLS__CLIENT_AUTH", "required"),
            ("TIDEGATE__TLS__CLIENT_CRLS", crl.to_str().unwrap()),
            ("TIDEGATE__LOG__REPEAT_INTERVAL", "1h"),
            ("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0"),
        ],
    );
    for client in [authority.client(None, &TLS13), authority.client(Some("revoked"), &TLS13)] {
        for _ in 0..5 {
            assert!(is_refused(Authority::connect(&client, node.tls_address())));
        }
    }
    let counted = "tidegate_incidents_total{class=\"denial\",kind=\"tls_handshake\"} 10";
    assert!(eventually(|| crate::http::get(node.admin_address(), "/metrics").body.contains(counted)));
    node.logged_times("tls handshake failed", 2);
    node.logged(&["the peer shows no certificate"]);
    node.logged(&["tls.client_crls revokes it"]);
}

#[test]
fn each_cause_of_one_kind_has_its_first_line_for_one_address() {
    let authority = authority();
    let node =
        start(&authority, &[("TIDEGATE__TLS__CLIENT_AUTH", "required"), ("TIDEGATE__LOG__REPEAT_INTERVAL", "1h")]);
    let alone = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        showing(&authority, certificate.der(), &key, &TLS13)
    };
    let clients = ["first.example", "second.example"].map(alone);
    for client in clients.iter().chain(&clients).chain(&clients) {
        assert!(is_refused(Authority::connect(client, node.tls_address())));
    }
    for subject in ["CN=first.example", "CN=second.example"] {
        node.logged(&["tls handshake failed", "self-signed and not listed", subject]);
    }
    node.logged_times("tls handshake failed", 2);
}

#[test]
fn a_revocation_list_past_its_next_update_still_counts_and_is_warned_of() {
    let authority = authority();
    authority.sign("revoked", "stolen.example", 3);
    authority.revoke_until(&[3], 2021);
    let crl = authority.path("crl.pem");
    let node = start(
        &authority,
        &[("TIDEGATE__TLS__CLIENT_AUTH", "required"), ("TIDEGATE__TLS__CLIENT_CRLS", crl.to_str().unwrap())],
    );
    let warning = ["tls revocation list is past its next update", "CN=Test authority"];
    node.logged(&warning);
    assert!(is_refused(Authority::connect(&authority.client(Some("revoked"), &TLS13), node.tls_address())));
    associate(Authority::connect(&authority.client(Some("client"), &TLS13), node.tls_address())).release();
    node.signal(Signal::HUP);
    assert!(eventually(|| node.log_text().matches(warning[0]).count() == 2), "again at each reload");
    authority.revoke(&[3]);
    node.signal(Signal::HUP);
    node.logged(&["tls revocation list in force"]);
}

#[test]
fn a_peer_over_the_limits_is_told_so_within_tls() {
    let authority = authority();
    let mut node = start(&authority, &[("TIDEGATE__ASSOCIATIONS__MAX", "1")]);
    let client = authority.client(None, &TLS13);
    let mut first = associate(Authority::connect(&client, node.tls_address()));
    let mut second = Wire(Authority::connect(&client, node.tls_address()));
    let Some(Pdu::AssociationRJ(rejection)) = second.ask(request()) else { panic!("not rejected") };
    let mut bytes = Vec::new();
    write_pdu(&mut bytes, &Pdu::AssociationRJ(rejection)).unwrap();
    assert_eq!(bytes[7..], [2, 3, 2], "transient, local limit exceeded");
    drop(second);
    assert_eq!(say(node.tls_address(), b"GET / HTTP/1.1\r\n\r\n"), b"", "no word to who speaks no TLS");
    assert_eq!(first.store(1, "1.2.3", &dataset("1.2.3", 1000)).status, 0);
    first.release();
    node.settled();
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_certificate_is_optional_but_a_wrong_one_is_not() {
    let authority = authority();
    let stranger = Authority::new();
    stranger.sign("client", "ct1.example", 2);
    let node = start(&authority, &[("TIDEGATE__TLS__CLIENT_AUTH", "optional")]);
    associate(Authority::connect(&authority.client(None, &TLS13), node.tls_address())).release();
    associate(Authority::connect(&authority.client(Some("client"), &TLS13), node.tls_address())).release();
    fs::copy(stranger.path("client.pem"), authority.path("foreign.pem")).unwrap();
    fs::copy(stranger.path("client.key"), authority.path("foreign.key")).unwrap();
    assert!(is_refused(Authority::connect(&authority.client(Some("foreign"), &TLS13), node.tls_address())));
}

#[test]
fn certificates_change_on_sighup_and_a_bad_one_changes_nothing() {
    let authority = authority();
    let node = start(&authority, &[]);
    let client = authority.client(None, &TLS13);
    let shown = |node: &Node| {
        let wire = associate(Authority::connect(&client, node.tls_address()));
        let leaf = wire.0.conn.peer_certificates().unwrap()[0].to_vec();
        wire.release();
        leaf
    };
    let first = shown(&node);
    let mut open = associate(Authority::connect(&client, node.tls_address()));

    fs::write(authority.path("node.pem"), "-----BEGIN CERTIFICATE-----\nnot one").unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration not reloaded", "tls.certificate"]);
    assert_eq!(shown(&node), first, "the old certificate goes on");

    authority.sign("other", "localhost", 9);
    fs::copy(authority.path("other.pem"), authority.path("node.pem")).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["configuration not reloaded", "tls.key"]);
    assert_eq!(shown(&node), first, "a certificate without its key");

    fs::copy(authority.path("other.key"), authority.path("node.key")).unwrap();
    node.signal(Signal::HUP);
    assert!(eventually(|| node.log_text().contains("configuration reloaded")));
    let second = shown(&node);
    assert_ne!(second, first);
    assert_eq!(open.store(1, "1.2.3", &dataset("1.2.3", 1000)).status, 0, "an association from before goes on");
    open.release();
}

/// Renewals come while peers connect: a handshake gets one certificate with its key, the earlier or the later.
#[test]
fn of_a_thousand_handshakes_none_fails_while_the_certificate_changes_a_hundred_times() {
    const RELOADS: usize = 100;
    const HANDSHAKES: usize = 1000;
    let authority = authority();
    for (name, serial) in [("odd", 8), ("even", 9)] {
        authority.sign(name, "localhost", serial);
    }
    let mut node = start(&authority, &[]);
    let leaf = |client: &Arc<ClientConfig>| {
        let wire = associate(Authority::connect(client, node.tls_address()));
        let leaf = wire.0.conn.peer_certificates().unwrap()[0].to_vec();
        wire.release();
        leaf
    };
    let clients = [&TLS12, &TLS13].map(|version| authority.client(None, version));
    let made = AtomicUsize::new(0);
    let reloaded = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let connect = |client| {
            let mut seen = BTreeSet::new();
            while made.fetch_add(1, Ordering::SeqCst) < HANDSHAKES || !reloaded.load(Ordering::SeqCst) {
                seen.insert(leaf(client));
            }
            seen
        };
        let connecting: Vec<_> =
            clients.iter().cycle().take(4).map(|client| scope.spawn(move || connect(client))).collect();
        for number in 0..RELOADS {
            let name = if number % 2 == 0 { "odd" } else { "even" };
            for ending in ["pem", "key"] {
                fs::copy(authority.path(&format!("{name}.{ending}")), authority.path(&format!("node.{ending}")))
                    .unwrap();
            }
            node.signal(Signal::HUP);
            node.logged_times("configuration reloaded", number + 1);
        }
        reloaded.store(true, Ordering::SeqCst);
        connecting.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
    });
    assert!(seen.len() >= 2, "{} certificates were shown", seen.len());
    let last = |client| leaf(client) == leaf_of(&authority, "even");
    assert!(clients.iter().all(last), "the certificate of the last reload is in force");
    assert!(!node.log_text().contains("tls handshake failed"));
    node.settled();
    assert_eq!(node.stop(), Some(0));
}

/// The certificate in a PEM file, as DER.
fn leaf_of(authority: &Authority, name: &str) -> Vec<u8> {
    let text = fs::read_to_string(authority.path(&format!("{name}.pem"))).unwrap();
    let lines =
        text.lines().skip_while(|line| !line.contains("BEGIN")).skip(1).take_while(|line| !line.contains("END"));
    base64::engine::general_purpose::STANDARD.decode(lines.collect::<String>()).unwrap()
}

/// Sends `bytes`, and reads what comes until the node closes.
fn say(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply); // a reset is an end as well
    reply
}

#[test]
fn the_wrong_language_on_either_port_is_recognised_and_closed_without_a_word() {
    let authority = authority();
    let mut node = start(&authority, &[("TIDEGATE__LOG__REPEAT_INTERVAL", "0s"), ("TIDEGATE__LOG__LEVEL", "info")]);
    let plain = encoded(request());
    for bytes in [&plain[..], b"GET / HTTP/1.1\r\n\r\n"] {
        assert_eq!(say(node.tls_address(), bytes), b"");
    }
    node.logged(&["WARN", "dicom without tls on the tls port", "node.listen", "peer=127.0.0.1:"]);
    node.logged(&["INFO", "http on the tls port", "peer=127.0.0.1:"]);
    assert_eq!(say(node.tls_address(), &[0x80, 0x2E, 1, 0, 2]), b"", "SSL 2.0");
    node.logged(&["no tls on the tls port, connection closed", "first_byte=128"]);
    let mut hello = Authority::connect(&authority.client(None, &TLS13), node.address());
    assert!(hello.write_all(b"x").is_err());
    node.logged(&["WARN", "tls on the plain port", "tls.listen", "peer=127.0.0.1:"]);
    // A record that says handshake and is none.
    assert!(say(node.tls_address(), &[0x16, 3, 3, 0, 4, 99, 99, 99, 99]).len() <= 7, "more than an alert");
    node.logged(&["tls handshake failed"]);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_handshake_that_does_not_get_on_is_closed_by_the_artim_timer() {
    let authority = authority();
    let mut node = start(&authority, &[("TIDEGATE__ASSOCIATIONS__ASSOCIATION_REQUEST_TIMEOUT", "300ms")]);
    // Nothing at all, the beginning of a record, and a handshake with no request after it.
    for said in [&b""[..], &[0x16, 3, 1, 2, 0, 1]] {
        assert_eq!(say(node.tls_address(), said), b"");
    }
    let mut silent = Authority::connect(&authority.client(None, &TLS13), node.tls_address());
    let _ = silent.flush(); // the timer may be faster than the handshake
    assert!(!matches!(silent.read(&mut [0; 1]), Ok(1..)), "closed");
    assert_eq!(node.stop(), Some(0));
}

/// The fields of a DER value: each with its tag and length.
fn fields(der: &[u8]) -> Vec<&[u8]> {
    let content = |der: &[u8]| match der[1] {
        short @ 0..=0x7F => (2, usize::from(short)),
        long => {
            let end = 2 + usize::from(long & 0x7F);
            (end, der[2..end].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        }
    };
    let (begin, length) = content(der);
    let (mut rest, mut fields) = (&der[begin..begin + length], Vec::new());
    while !rest.is_empty() {
        let (begin, length) = content(rest);
        let (field, after) = rest.split_at(begin + length);
        fields.push(field);
        rest = after;
    }
    fields
}

fn sequence(fields: &[&[u8]]) -> Vec<u8> {
    let content = fields.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let header = match content.len() {
        short @ 0..=0x7F => vec![0x30, short as u8],
        0x80..=0xFF => vec![0x30, 0x81, length[1]],
        _ => vec![0x30, 0x82, length[0], length[1]],
    };
    [header, content].concat()
}

/// A self-signed certificate without version and extensions, as X.509 version 1 has none. What it lists is not verified by its signature.
fn version_1(key: &rcgen::KeyPair) -> Vec<u8> {
    let certificate = rcgen::CertificateParams::new(vec!["ct1".to_owned()]).unwrap().self_signed(key).unwrap();
    let parts = fields(certificate.der());
    let to_be_signed: Vec<_> = fields(parts[0]).into_iter().filter(|field| !matches!(field[0], 0xA0 | 0xA3)).collect();
    sequence(&[&sequence(&to_be_signed), parts[1], parts[2]])
}

/// A client that shows this certificate and signs with this key, whether or not they belong together.
fn showing(
    authority: &Authority,
    certificate: &[u8],
    key: &rcgen::KeyPair,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let shown = CertifiedKey::new(vec![certificate.to_vec().into()], key);
    let mut config = Arc::unwrap_or_clone(authority.client(None, version));
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown));
    Arc::new(config)
}

#[test]
fn a_listed_certificate_of_version_1_counts_with_its_own_key_and_no_other() {
    let authority = authority();
    let (key, other) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let certificate = version_1(&key);
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::prelude::BASE64_STANDARD.encode(&certificate)
    );
    fs::write(authority.path("ca.pem"), fs::read_to_string(authority.path("ca.pem")).unwrap() + &pem).unwrap();
    let node =
        start(&authority, &[("TIDEGATE__TLS__CLIENT_AUTH", "required"), ("TIDEGATE__LOG__REPEAT_INTERVAL", "0s")]);
    for version in [&TLS12, &TLS13] {
        let connect = |key| Authority::connect(&showing(&authority, &certificate, key, version), node.tls_address());
        associate(connect(&key)).release();
        assert!(is_refused(connect(&other)));
    }
    node.logged_times("cannot prove that the key of its certificate is its own", 2);
}
