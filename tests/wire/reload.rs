//! A reload reaches the associations that are open: those whose terms are the same go on, all others end.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::access::{Configured, as_user, behind, calling, hashed, rejection};
use crate::http::get;
use crate::node::Node;
use crate::pki::{Authority, Tls};
use crate::wire::{Wire, dataset_of, encoded, request, store_message};
use dicom_ul::pdu::{AssociationRQ, Pdu};
use rustix::process::Signal;
use rustls::version::TLS13;

const OTHERS: &str = "[[access]]\nname = \"others\"\naction = \"allow\"\n";

fn with(rule: &str) -> String {
    format!("[[access]]\nname = \"ct\"\naction = \"allow\"\ncalling = [\"CT*\"]\n{rule}\n{OTHERS}")
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Whether the node has aborted the association: nothing else came before.
fn is_aborted<S: std::io::Read + std::io::Write>(wire: &mut Wire<S>) -> bool {
    matches!(wire.pdu(), Some(Pdu::AbortRQ { .. }))
}

/// An association on which an instance was stored.
fn open(address: SocketAddr, request: AssociationRQ, uid: &str) -> Wire {
    let (mut wire, _) = Wire::associate(address, request);
    assert_eq!(wire.store(1, uid, &dataset_of(uid, ("1.2.1", "1.2.1.1"), 100)).status, 0);
    wire
}

#[test]
fn an_association_ends_if_a_reload_changes_its_rule_or_its_placement() {
    let allow = "action = \"allow\"";
    for (changed, before, after) in [
        ("access_rule", OTHERS.to_owned(), with("")),
        ("placement", with("layout = \"ct/{SOPInstanceUID}.dcm\""), with("layout = \"ct2/{SOPInstanceUID}.dcm\"")),
        ("placement", with("duplicates = \"replace\""), with("duplicates = \"refuse\"")),
        ("placement", with("durability = \"none\""), with("durability = \"fsync\"")),
        ("access_denied", with(""), with("").replacen(allow, "action = \"deny\"", 1)),
        ("sop_class", with(""), with("sop_class = [\"MRImageStorage\"]").replacen(OTHERS, "", 1)),
        ("ae_title", with(""), format!("[node]\nae_title = \"OTHER\"\nrequire_called_ae_title = true\n{}", with(""))),
        ("proxy_protocol_from", with(""), format!("[node]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n{}", with(""))),
    ] {
        let mut configured = Configured::start(&before);
        let mut wire = open(configured.node.address(), calling("CT1"), "1.2.3.1");
        configured.reload(&after);
        assert!(is_aborted(&mut wire), "{changed}");
        configured.node.logged(&[
            "association aborted: the configuration changed what it may do",
            "calling=\"CT1\"",
            &format!("changed=\"{changed}\""),
            "acknowledged=1",
        ]);
        if changed == "access_rule" {
            configured.node.logged(&["rule=\"others\" new_rule=\"ct\""]);
        }
        drop(wire);
        configured.node.settled();
        assert_eq!(configured.node.stop(), Some(0));
    }
}

#[test]
fn an_association_goes_on_if_its_terms_are_the_same() {
    let usual = "duplicates = \"replace\"\ndurability = \"fsync\"";
    let mut configured = Configured::start(&format!("[storage]\n{usual}\n{}", with("")));
    let mut wire = open(configured.node.address(), calling("CT1"), "1.2.3.1");
    for (message_id, after) in [
        (2, with("")),
        (3, with(usual)),
        (4, with("max_associations = 1")),
        (5, with("calling = [\"CT1\"]").replacen("calling = [\"CT*\"]\n", "", 1)),
        (6, format!("[associations]\nmax = 1\nmax_dataset = \"1 MiB\"\n[node]\nae_title = \"OTHER\"\n{}", with(""))),
    ] {
        configured.reload(&format!("[storage]\n{usual}\n{after}"));
        let uid = format!("1.2.3.{message_id}");
        assert_eq!(wire.store(message_id, &uid, &dataset_of(&uid, ("1.2.1", "1.2.1.1"), 100)).status, 0, "{after}");
    }
    wire.release();
    assert_eq!(configured.node.stop(), Some(0));
}

/// Neither a dataset of before nor the storage settings of the next start lead into a directory that a new rule has for itself.
#[test]
fn no_association_of_before_plants_or_replaces_a_file_of_a_rule_that_came() {
    let mut configured = Configured::start(OTHERS);
    let address = configured.node.address();
    let evil = store_message(1, "1.2.9", &dataset_of("1.2.9", ("ct", "1.2.1"), 70_000), 8000);
    let (mut early, _) = Wire::associate(address, calling("EARLY"));
    early.send(&evil[..40_000]);
    // A connection that is open, and has not sent all of its request.
    let mut late = Wire::connect(address);
    let late_request = encoded(calling("LATE"));
    late.send(&late_request[..50]);
    configured.node.wait_until_each_received(1, 40_000);
    configured.node.wait_until_each_received(2, 50);
    let rules = format!(
        "[storage]\nlayout = \"new/{{StudyInstanceUID}}/{{SeriesInstanceUID}}/{{SOPInstanceUID}}.dcm\"\n{}",
        with("layout = \"ct/{StudyInstanceUID}/{SOPInstanceUID}.dcm\"\nduplicates = \"refuse\"")
    );
    configured.reload(&rules);
    configured.node.logged(&["setting takes effect at the next start", "storage.layout"]);
    let (mut good, _) = Wire::associate(address, calling("CT1"));
    assert_eq!(good.store(1, "1.2.9", &dataset_of("1.2.9", ("1.2.1", "1.2.2"), 100)).status, 0);
    good.release();
    let file = configured.node.storage().join("ct/1.2.1/1.2.9.dcm");
    let stored = fs::read(&file).unwrap();

    assert!(is_aborted(&mut early), "its dataset was not complete");
    late.send(&late_request[50..]);
    assert!(matches!(late.pdu(), Some(Pdu::AssociationAC(_))));
    assert!(is_aborted(&mut late), "accepted by the rules of before");
    let (mut next, _) = Wire::associate(address, calling("NEXT"));
    assert_eq!(next.store(1, "1.2.9", &dataset_of("1.2.9", ("ct", "1.2.1"), 100)).status, 0);
    next.release();
    assert_eq!(fs::read(&file).unwrap(), stored);
    let files = configured.files();
    assert_eq!(files.iter().filter(|path| path.starts_with("ct/")).count(), 1, "{files:?}");
    assert_eq!(files.len(), 2, "{files:?}");
    assert_eq!(configured.node.stop(), Some(0));
}

#[test]
fn what_is_at_the_writers_is_answered_before_the_end() {
    let mut configured = Configured::start(OTHERS);
    let (mut wire, _) = Wire::associate(configured.node.address(), request());
    let mut sent = Vec::new();
    for message_id in 1..=3 {
        let uid = format!("1.2.3.{message_id}");
        sent.extend(store_message(message_id, &uid, &dataset_of(&uid, ("1.2.1", "1.2.1.1"), 100), 8000));
    }
    wire.send(&sent);
    configured.reload(&with("").replace("CT*", "*"));
    let mut answered = 0;
    while let Some(pdu) = wire.pdu() {
        match pdu {
            Pdu::PData { .. } => answered += 1,
            Pdu::AbortRQ { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(configured.files().len(), answered, "an instance is stored if and only if it is answered");
    assert_eq!(configured.node.stop(), Some(0));
}

#[test]
fn an_association_ends_if_its_user_is_gone_or_has_another_passcode() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    let [ct, mr, renewed] =
        [("ct1", "sesame"), ("mr1", "other"), ("mr1", "new")].map(|(name, word)| hashed(name, word));
    write_secret(&users, &format!("{ct}{mr}"));
    let text = |required| format!("[user_identity]\nfile = {:?}\nrequired = {required}\n", users.to_str().unwrap());
    let mut configured = Configured::start_in(directory, &text(false));
    let address = configured.node.address();
    let [mut kept, mut changed, mut unnamed] = [
        (as_user("ct1", Some("sesame"), true), "1.2.3.1"),
        (as_user("mr1", Some("other"), true), "1.2.3.2"),
        (request(), "1.2.3.3"),
    ]
    .map(|(request, uid)| open(address, request, uid));
    write_secret(&users, &format!("{renewed}# another order\n{ct}"));
    configured.reload(&text(false));
    assert!(is_aborted(&mut changed));
    assert_eq!(unnamed.store(2, "1.2.3.4", &dataset_of("1.2.3.4", ("1.2.1", "1.2.1.1"), 100)).status, 0);
    configured.reload(&text(true));
    assert!(is_aborted(&mut unnamed));
    assert_eq!(kept.store(2, "1.2.3.5", &dataset_of("1.2.3.5", ("1.2.1", "1.2.1.1"), 100)).status, 0);
    write_secret(&users, &renewed);
    configured.reload(&text(true));
    assert!(is_aborted(&mut kept));
    configured.node.logged(&["configuration changed what it may do", "changed=\"user_identity\""]);
    assert_eq!(rejection(address, as_user("ct1", Some("sesame"), true)), (1, 1, 1));
    drop((kept, changed, unnamed));
    assert_eq!(configured.node.stop(), Some(0));
}

/// A name that was taken from a peer without a look at its passcode is none once the node has users.
#[test]
fn an_unverified_user_ends_when_users_come() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    write_secret(&users, &hashed("ct1", "sesame"));
    let mut configured = Configured::start_in(directory, "");
    let address = configured.node.address();
    let mut named = open(address, as_user("ct1", Some("guess"), false), "1.2.3.1");
    let mut unnamed = open(address, request(), "1.2.3.2");
    configured.reload(&format!("[user_identity]\nfile = {:?}\n", users.to_str().unwrap()));
    assert!(is_aborted(&mut named));
    assert_eq!(unnamed.store(2, "1.2.3.3", &dataset_of("1.2.3.3", ("1.2.1", "1.2.1.1"), 100)).status, 0);
    unnamed.release();
    assert_eq!(configured.node.stop(), Some(0));
}

#[test]
fn a_balancer_that_is_none_any_more_vouches_for_nobody() {
    let balanced = format!("[node]\nproxy_protocol_from = [\"127.0.0.1\"]\n{OTHERS}");
    let mut configured = Configured::start(&balanced);
    let (mut wire, answer) = behind(configured.node.address(), b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 11112\r\n");
    assert!(matches!(answer, Some(Pdu::AssociationAC(_))), "{answer:?}");
    configured.reload(&format!("{balanced}# nothing changed\n"));
    assert_eq!(wire.echo().status, 0);
    configured.reload(OTHERS);
    assert!(is_aborted(&mut wire));
    configured.node.logged(&["peer=203.0.113.9:4711", "changed=\"proxy_protocol_from\""]);
    assert_eq!(configured.node.stop(), Some(0));
}

fn over_tls(authority: &Authority, certificate: Option<&str>, node: &Node) -> Wire<Tls> {
    let stream = Authority::connect(&authority.client(certificate, &TLS13), node.tls_address());
    let mut wire = Wire(stream);
    assert!(matches!(wire.ask(request()), Some(Pdu::AssociationAC(_))));
    wire
}

#[test]
fn an_association_ends_if_its_certificate_is_revoked_or_one_is_required() {
    let authority = Authority::new();
    for (serial, name) in [(1, "node"), (2, "good"), (3, "stolen")] {
        authority.sign(name, "localhost", serial);
    }
    authority.revoke(&[]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    let path = |name: &str| authority.path(name).to_str().unwrap().to_owned();
    let text = |client_auth: &str| {
        format!(
            "[tls]\nlisten = \"127.0.0.1:0\"\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\nclient_crls = [{:?}]\nclient_auth = {client_auth:?}\n",
            path("node.pem"),
            path("node.key"),
            path("ca.pem"),
            path("crl.pem")
        )
    };
    let reload = |node: &Node, file: &Path, text: &str| {
        let before = node.log_text().matches("configuration reloaded").count();
        fs::write(file, text).unwrap();
        node.signal(Signal::HUP);
        node.logged_times("configuration reloaded", before + 1);
    };
    fs::write(&file, text("optional")).unwrap();
    let mut node = Node::start_with(&["--config", file.to_str().unwrap(), "--admin", "127.0.0.1:0"], &[]);
    let [mut good, mut stolen, mut unknown] =
        [Some("good"), Some("stolen"), None].map(|certificate| over_tls(&authority, certificate, &node));
    authority.revoke(&[3]);
    reload(&node, &file, &text("optional"));
    assert!(is_aborted(&mut stolen));
    node.logged(&["configuration changed what it may do", "changed=\"certificate\"", "revokes it"]);
    assert_eq!((good.echo().status, unknown.echo().status), (0, 0));
    reload(&node, &file, &text("required"));
    assert!(is_aborted(&mut unknown));
    assert_eq!(good.echo().status, 0);
    let superseded = "tidegate_associations_superseded_total 2";
    assert!(get(node.admin_address(), "/metrics").body.contains(superseded));
    // A new authority signs nobody of before.
    fs::write(authority.path("ca.pem"), fs::read_to_string(Authority::new().path("ca.pem")).unwrap()).unwrap();
    fs::write(&file, text("required").replace(&format!("client_crls = [{:?}]\n", path("crl.pem")), "")).unwrap();
    node.signal(Signal::HUP);
    assert!(is_aborted(&mut good));
    drop((good, stolen, unknown));
    assert_eq!(node.stop(), Some(0));
}
