//! The node as a service: what the service manager is told, and what SIGHUP changes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::http::get;
use crate::node::{Node, PATIENCE, eventually};
use crate::wire::{Wire, dataset, p_data, request, store_command};
use dicom_ul::pdu::Pdu;
use rustix::process::Signal;

/// A service manager that writes down what it is told.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), _directory: directory }
    }

    fn next_message(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8(bytes[..length].to_vec()).unwrap()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message that is none of the watchdog's.
    fn next_state(&self) -> String {
        loop {
            let Some(message) = self.next_message() else { panic!("the service manager is not told") };
            if !message.starts_with("WATCHDOG") {
                return message;
            }
        }
    }
}

/// A node with this configuration file, beside its storage.
fn start(directory: &Path, configuration: &str, more: &[(&str, &str)]) -> Node {
    let file = directory.join("tidegate.toml");
    fs::write(&file, configuration).unwrap();
    Node::start_with(&["--config", file.to_str().unwrap()], more)
}

fn reconfigure(node: &Node, directory: &Path, configuration: &str, answer: &[&str]) {
    fs::write(directory.join("tidegate.toml"), configuration).unwrap();
    node.signal(Signal::HUP);
    node.logged(answer);
}

#[test]
fn the_service_manager_hears_of_the_start_the_reload_the_stop_and_of_every_beat() {
    let (manager, directory) = (Manager::new(), tempfile::tempdir().unwrap());
    let more = [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "200000")];
    let mut node = start(directory.path(), "", &more);
    let ready = manager.next_state();
    assert!(ready.starts_with("READY=1\nSTATUS=serving on 127.0.0.1:"), "{ready}");
    for _ in 0..5 {
        assert_eq!(manager.next_message().unwrap().trim_end(), "WATCHDOG=1");
    }
    node.signal(Signal::HUP);
    let reloading = manager.next_state();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(manager.next_state().starts_with("READY=1\n"));
    assert_eq!(node.stop(), Some(0));
    assert_eq!(manager.next_state().trim_end(), "STOPPING=1\nSTATUS=asked to stop");
}

#[cfg(feature = "test-faults")]
#[test]
fn a_supervisor_that_hangs_takes_the_watchdogs_beat_with_it() {
    let (manager, directory) = (Manager::new(), tempfile::tempdir().unwrap());
    let more = [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "200000")];
    let node = start(directory.path(), "", &more);
    manager.next_state();
    node.arm(&["supervisor hang 60000"]);
    manager.socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let beats = (0..100).take_while(|_| manager.next_message().is_some()).count();
    assert!(beats < 100, "still beating");
}

#[test]
fn what_can_change_changes_at_once_and_what_cannot_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path(), "[log]\nstatistics_interval = 'off'\n", &[]);
    let (mut open, _) = Wire::associate(node.address(), request());
    let changed = "[associations]\nmax = 1\narbiters = 7\n[log]\nlevel = 'debug'\nstatistics_interval = '1s'\n\
                   [memory]\nbudget = '100 MiB'\n[writers]\nmailbox_capacity = 3\n[node]\nae_title = 'OTHER'\n";
    reconfigure(&node, directory.path(), changed, &["configuration reloaded", "changed=6", "at_next_start=1"]);
    node.logged(&["setting changed", "associations.max", "from=512", "to=1"]);
    node.logged(&["WARN", "at the next start", "associations.arbiters", "from=2", "to=7"]);

    // The limit holds for the next one, and who is in stays in.
    assert!(matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationRJ(_))));
    assert_eq!(open.store(1, "1.2.3.70", &dataset("1.2.3.70", 5000)).status, 0);
    node.logged(&["DEBUG", "instance stored"]);
    node.logged(&[" statistics ", "budget_bytes=104857600"]);
    open.release();
    // The place is free once the node has seen the end of the connection.
    let served = eventually(|| matches!(Wire::connect(node.address()).ask(request()), Some(Pdu::AssociationAC(_))));
    assert!(served, "the one who was in has left");
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn a_mistake_in_the_new_configuration_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let surface = [("TIDEGATE__ADMIN__LISTEN", "127.0.0.1:0")];
    let mut node = start(directory.path(), "[associations]\nmax = 2\n", &surface);
    let says = |succeeded: u8| {
        let sample = format!("\ntidegate_config_last_reload_successful {succeeded}\n");
        eventually(|| get(node.admin_address(), "/metrics").body.contains(&sample))
    };
    assert!(says(1));
    let wrong = "[associations]\nmax = 1\nidle_timout = '1s'\n";
    reconfigure(&node, directory.path(), wrong, &["ERROR", "configuration not reloaded", "did you mean"]);
    assert!(says(0));
    let wires: Vec<_> = (0..2).map(|_| Wire::associate(node.address(), request())).collect();
    drop(wires);
    fs::remove_file(directory.path().join("tidegate.toml")).unwrap();
    node.signal(Signal::HUP);
    node.logged(&["ERROR", "configuration not reloaded", "cannot read the configuration file"]);
    fs::write(directory.path().join("tidegate.toml"), "[associations]\nmax = 2\n").unwrap();
    node.signal(Signal::HUP);
    assert!(says(1));
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn while_it_stops_the_instance_in_flight_is_finished_and_nobody_new_is_served() {
    let mut node = Node::start(&[]);
    let (mut busy, _) = Wire::associate(node.address(), request());
    let (mut idle, _) = Wire::associate(node.address(), request());
    let content = dataset("1.2.3.71", 60_000);
    busy.send(&p_data(1, 3, &store_command(1, "1.2.3.71")));
    busy.send(&p_data(1, 0, &content[..30_000]));
    node.wait_until_received(30_000);
    node.signal(Signal::TERM);
    assert!(matches!(idle.pdu(), Some(Pdu::AbortRQ { .. })));
    busy.send(&p_data(1, 2, &content[30_000..]));
    assert_eq!(busy.response().status, 0);
    assert!(matches!(busy.pdu(), Some(Pdu::AbortRQ { .. })), "it had its instance finished");
    assert_eq!(node.wait(), Some(0));
    node.logged(&["stopped", "associations_aborted=0", "actors_left=0", "leased_bytes_left=0"]);
}

#[test]
fn after_the_grace_associations_are_aborted_and_a_second_signal_does_not_wait_for_it() {
    for (grace, signals, code) in [("200ms", 1, 0), ("1h", 2, 143)] {
        let mut node = Node::start(&[("TIDEGATE__NODE__SHUTDOWN_GRACE", grace)]);
        let (mut busy, _) = Wire::associate(node.address(), request());
        busy.send(&p_data(1, 3, &store_command(1, "1.2.3.72")));
        busy.send(&p_data(1, 0, &dataset("1.2.3.72", 60_000)[..30_000]));
        node.wait_until_received(30_000);
        node.signal(Signal::TERM);
        node.logged(&["stopping; a second signal exits at once"]);
        if signals == 2 {
            node.signal(Signal::TERM);
        }
        assert_eq!(node.wait(), Some(code));
        if code == 0 {
            assert!(matches!(busy.pdu(), Some(Pdu::AbortRQ { .. })));
            node.logged(&["stopped", "associations_aborted=1"]);
        }
    }
}
