//! `tidegate mem` against a running node: what a peer has sent is found with its name, and is gone when the peer is.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, p_data, request, store_command};
use rustix::process::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Runs `tidegate mem` for the node of this storage root: exit code, stdout, stderr.
fn mem(storage: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("TIDEGATE__") {
            command.env_remove(name);
        }
    }
    let output =
        command.arg("mem").args(arguments).arg("--storage").arg(storage).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The stdout of a command that must succeed.
fn said(node: &Node, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = mem(&node.storage(), arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let text = said(node, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Looks until what is seen satisfies `wanted`.
fn until<T: std::fmt::Debug>(mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let mut seen = look();
    let has_come = eventually(|| {
        seen = look();
        wanted(&seen)
    });
    assert!(has_come, "it stays {seen:#?}");
    seen
}

/// Bytes of `stage` in a snapshot.
fn stage_bytes(snapshot: &Value, stage: &str) -> u64 {
    let stages = snapshot["stages"].as_array().unwrap();
    stages.iter().find(|found| found["stage"] == stage).unwrap()["bytes"].as_u64().unwrap()
}

fn holder<'a>(snapshot: &'a Value, calling_ae_title: &str) -> Option<&'a Value> {
    let holders = snapshot["holders"].as_array().unwrap();
    holders.iter().find(|holder| holder["label"].as_str().unwrap().contains(calling_ae_title))
}

/// An association that has sent a command and `bytes` of a dataset which goes on.
fn half_a_dataset(node: &Node, calling_ae_title: &str, bytes: usize) -> Wire {
    let mut asking = request();
    asking.calling_ae_title = calling_ae_title.into();
    let (mut wire, _) = Wire::associate(node.address(), asking);
    wire.send(&p_data(1, 3, &store_command(1, "1.2.3.4.5")));
    for fragment in dataset("1.2.3.4.5", 2 * bytes)[..bytes].chunks(64_000) {
        wire.send(&p_data(1, 0, fragment));
    }
    wire
}

/// Looks for two seconds, and again for longer while a busy machine did not get to what is to be seen within that.
fn for_long_enough<T>(look: impl Fn(u64) -> T, is_seen: impl Fn(&T) -> bool) -> T {
    let mut seen = look(2);
    for seconds in [6, 20, 60] {
        if is_seen(&seen) {
            break;
        }
        seen = look(seconds);
    }
    seen
}

/// A third of a look of so many seconds.
fn a_third(seconds: u64) -> Duration {
    Duration::from_millis(seconds * 333)
}

/// Runs `look`, which takes so many seconds, while an association begins to hold several MiB.
fn while_allocating<T>(node: &Node, seconds: u64, look: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::sync_channel::<()>(0);
        scope.spawn(move || {
            std::thread::sleep(a_third(seconds));
            let wire = half_a_dataset(node, "PROFILED", 7 * MIB as usize);
            let _ = wait.recv();
            drop(wire);
        });
        let seen = look();
        drop(done);
        seen
    })
}

#[test]
fn half_a_dataset_is_found_with_the_name_of_who_sent_it_and_gone_with_them() {
    let node = Node::start(&[("TIDEGATE__MEMORY__BUDGET", "512 MiB")]);
    let other = Wire::associate(node.address(), request()).0;
    let wire = half_a_dataset(&node, "MAMMO_7", 5 * MIB as usize);

    let top = until(|| json(&node, &["top"]), |top| stage_bytes(top, "receiving") >= 5 * MIB);
    let found = holder(&top, "MAMMO_7").unwrap();
    assert!(found["bytes"].as_u64().unwrap() >= 5 * MIB, "{found}");
    assert!(found["label"].as_str().unwrap().contains("from 127.0.0.1:"), "{found}");
    assert_eq!(top["budget_bytes"], 512 * MIB);
    assert!(top["allocator"]["resident"].as_u64().unwrap() > 5 * MIB);
    let text = said(&node, &["top"]);
    assert!(text.contains("\nreceiving ") && text.contains("\"MAMMO_7\" from 127.0.0.1:"), "{text}");

    // The catalogue holds memory for its caches until it has been at rest for a second.
    let who = until(|| json(&node, &["who", "--over", "1MiB"]), |who| holder(who, "catalogue").is_none());
    assert_eq!(who["holders"].as_array().unwrap().len(), 1, "{who}");
    assert!(holder(&who, "MAMMO_7").is_some());
    let text = said(&node, &["who", "--over", "1MiB"]);
    assert!(text.starts_with("\"MAMMO_7\" from 127.0.0.1:") && text.contains("\n  → receiving "), "{text}");
    assert!(!text.contains("WIRE"), "{text}");
    assert_eq!(said(&node, &["who", "--over", "1MiB", "--older", "1day"]), "no holder matches\n");

    wire.release();
    let top = until(|| json(&node, &["top"]), |top| holder(top, "MAMMO_7").is_none());
    assert_eq!(stage_bytes(&top, "receiving"), 0);
    assert!(holder(&top, "WIRE").is_some());
    other.release();
}

#[test]
fn diff_names_who_has_come_between_two_looks() {
    let node = Node::start(&[]);
    let look = |seconds: u64| {
        let (storage, for_seconds) = (node.storage(), seconds.to_string());
        let looking = std::thread::spawn(move || mem(&storage, &["diff", "--seconds", &for_seconds, "--json"]));
        // Between the two looks.
        std::thread::sleep(a_third(seconds));
        let wire = half_a_dataset(&node, "LATECOMER", 3 * MIB as usize);
        let (code, stdout, stderr) = looking.join().unwrap();
        assert_eq!((code, stderr.as_str()), (0, ""));
        wire.release();
        node.settled();
        serde_json::from_str::<Value>(&stdout).unwrap()
    };
    let diff = for_long_enough(look, |diff| {
        let first = &diff["associations"][0];
        first["presence"] == "new" && diff["stages"][0]["name"] == "receiving"
    });
    let first = &diff["associations"][0];
    assert!(first["name"].as_str().unwrap().contains("LATECOMER"), "{diff}");
    assert_eq!(first["presence"], "new");
    assert_eq!(diff["stages"][0]["name"], "receiving", "{diff}");
}

#[test]
fn a_hostile_name_does_nothing_to_the_terminal() {
    let node = Node::start(&[]);
    let wire = half_a_dataset(&node, "A\x1b[2J\x07", 100_000);
    until(|| json(&node, &["top"]), |top| holder(top, "2J").is_some());
    for arguments in [&["top"][..], &["who"], &["watch", "--frames", "1"]] {
        let text = said(&node, arguments);
        assert!(text.contains("[2J"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    wire.release();
}

#[test]
fn watch_without_a_terminal_prints_its_frames_and_ends() {
    let node = Node::start(&[]);
    let text = said(&node, &["watch", "--frames", "2"]);
    assert_eq!(text.matches("tidegate memory ").count(), 2, "{text}");
    assert!(text.contains("\nreceiving   [....") && !text.contains('\x1b'), "{text}");
    let lines = said(&node, &["watch", "--frames", "2", "--json"]);
    let taken: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["taken_unix_ms"].as_u64().unwrap())
        .collect();
    assert!(taken.len() == 2 && taken[0] < taken[1], "{taken:?}");
}

#[test]
fn a_purge_shows_the_figures_around_it() {
    let node = Node::start(&[]);
    let text = said(&node, &["purge"]);
    assert!(text.contains("BEFORE") && text.contains("\nresident "), "{text}");
    let figures = json(&node, &["purge"]);
    assert!(figures["before"]["allocated"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["after"]["resident"].as_u64().unwrap() > 0, "{figures}");
}

/// Thread caches, floors that nobody uses, what the writers keep: none of it is memory that nobody speaks for.
#[test]
fn at_rest_less_than_a_mebibyte_is_unattributed_also_beside_480_idle_associations() {
    let node = Node::start(&[
        ("TIDEGATE__ASSOCIATIONS__MAX", "500"),
        ("TIDEGATE__ASSOCIATIONS__MAX_PER_ADDRESS", "unlimited"),
        ("TIDEGATE__LOG__STATISTICS_INTERVAL", "1s"),
    ]);
    let unattributed = || json(&node, &["top"])["unattributed_bytes"].as_i64().unwrap();
    let is_little = |bytes: &i64| bytes.unsigned_abs() < MIB;
    until(unattributed, is_little);

    let idle: Vec<Wire> = (0..480).map(|_| Wire::associate(node.address(), request()).0).collect();
    until(unattributed, is_little);
    let leased = stage_bytes(&json(&node, &["top"]), "floor");
    assert_eq!(leased, 480 * 32 * 1024, "they are leased all the same");
    drop(idle);

    std::thread::scope(|scope| {
        for client in 0..16 {
            let address = node.address();
            scope.spawn(move || {
                let (mut wire, _) = Wire::associate(address, request());
                for i in 0..20 {
                    let uid = format!("1.2.3.{client}.{i}");
                    assert_eq!(wire.store(i, &uid, &dataset(&uid, 300_000)).status, 0);
                }
                wire.release();
            });
        }
    });
    node.settled();
    until(unattributed, is_little);
}

#[test]
fn the_allocator_is_told_in_detail_beside_the_system() {
    let node = Node::start(&[]);
    let text = said(&node, &["stats"]);
    for heading in ["JEMALLOC ", "\ndirty ", "\nprocess resident ", "\nARENA ", "\nSMALL ", "\nLARGE "] {
        assert!(text.contains(heading), "{heading}: {text}");
    }
    let stats = json(&node, &["stats"]);
    let (detail, resident) = (&stats["detail"], stats["process_resident_bytes"].as_u64().unwrap());
    assert!(resident > detail["statistics"]["resident"].as_u64().unwrap() / 2, "{stats}");
    let arenas = detail["arenas"].as_array().unwrap();
    let dirty: u64 = arenas.iter().map(|arena| arena["dirty_bytes"].as_u64().unwrap()).sum();
    assert_eq!(detail["all"]["dirty_bytes"].as_u64().unwrap(), dirty);
}

#[test]
fn a_profile_of_the_live_node_is_written_in_the_form_its_name_asks_for() {
    let node = Node::start(&[]);
    let (svg, pprof) = (node.storage().join("../heap.svg"), node.storage().join("../heap.pb.gz"));
    let text = while_allocating(&node, 2, || {
        let (code, stdout, stderr) = mem(&node.storage(), &["profile", "--seconds", "2", "-o", svg.to_str().unwrap()]);
        assert_eq!(code, 0, "{stderr}");
        stdout
    });
    assert!(text.starts_with(&format!("wrote {}: flame graph of 2 s, ", svg.display())), "{text}");
    assert!(fs::read_to_string(svg).unwrap().contains("<svg"));
    let taken =
        while_allocating(&node, 2, || json(&node, &["profile", "--seconds", "2", "-o", pprof.to_str().unwrap()]));
    assert_eq!(taken["format"], "pprof");
    let bytes = fs::read(pprof).unwrap();
    assert_eq!((&bytes[..2], bytes.len() as u64), (&[0x1f, 0x8b][..], taken["bytes"].as_u64().unwrap()));
    let (code, _, stderr) = mem(&node.storage(), &["profile", "-o", "heap.txt"]);
    assert_eq!(code, 2, "{stderr}");
    let grown = |seconds: u64| {
        let for_seconds = seconds.to_string();
        let arguments = ["diff", "--stacks", "--seconds", for_seconds.as_str()];
        while_allocating(&node, seconds, || json(&node, &arguments))["stacks"][0]["functions"][0].to_string()
    };
    let names_the_code = |function: &String| function.contains("(ingest/assembly.rs:");
    let function = for_long_enough(grown, names_the_code);
    assert!(names_the_code(&function), "{function}");
}

#[test]
fn the_socket_is_private_and_goes_with_the_node() {
    let mut node = Node::start(&[]);
    let link = node.storage().join(".tidegate/admin.sock");
    let socket = fs::read_link(&link).unwrap();
    assert!(!socket.starts_with(node.storage()), "a disk that hangs keeps those waiting who look for it: {socket:?}");
    let found = fs::symlink_metadata(&socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let directory = fs::metadata(socket.parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o022, 0, "others could put theirs there");

    let other = Node::start(&[]);
    assert_eq!(other.settled(), (1, 0), "two nodes on one host");
    let alias = node.storage().with_file_name("alias");
    std::os::unix::fs::symlink(node.storage(), &alias).unwrap();
    assert_eq!(mem(&alias, &["top"]).0, 0, "the root by another path");

    assert_eq!(node.stop(), Some(0));
    assert!(!socket.exists() && !link.is_symlink());
    let no_node = "tidegate: no node is running with the admin socket ";
    let (code, _, stderr) = mem(&node.storage(), &["top"]);
    assert!(
        code == 4 && stderr.starts_with(no_node) && stderr.contains(&socket.display().to_string()),
        "{code} {stderr}"
    );

    let mut killed = Node::start(&[]);
    killed.signal(Signal::KILL);
    killed.wait();
    let (code, _, stderr) = mem(&killed.storage(), &["top"]);
    assert!(code == 4 && stderr.contains("no node is running"), "{code} {stderr}");
}

#[test]
fn a_node_without_a_socket_serves_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let taken = directory.path().join("file");
    fs::write(&taken, "").unwrap();
    for socket in ["off", taken.to_str().unwrap()] {
        let node = Node::start(&[("TIDEGATE__ADMIN__SOCKET", socket)]);
        Wire::associate(node.address(), request()).0.release();
        assert!(!node.storage().join(".tidegate/admin.sock").exists());
        let (code, _, stderr) = mem(&node.storage(), &["top"]);
        assert!(code == 4 && stderr.contains("no node is running"), "{stderr}");
    }
    assert_eq!(fs::read(&taken).unwrap(), b"");
    let file = directory.path().join("off.toml");
    fs::write(&file, "[admin]\nsocket = 'off'\n").unwrap();
    let (code, _, stderr) = mem(directory.path(), &["top", "--config", file.to_str().unwrap()]);
    assert!(code == 4 && stderr.contains("admin socket of this node is off (admin.socket)"), "{stderr}");
    let (code, _, stderr) = mem(directory.path(), &["top", "--socket", "x"]);
    assert!(code == 2 && stderr.contains("cannot be used with"), "{stderr}");
}
