//! What the catalogue of a running node answers: beside another node, over several starts, while it is rebuilt, and of its differences.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::catalogue::{file, start, start_on, store, wait_for, wait_for_condition};
use crate::http::{Answer, ask, get};
use crate::node::{Node, eventually};

/// A route that only operators may read.
fn as_operator(node: &Node, method: &str, path: &str) -> Answer {
    let token = fs::read_to_string(node.storage().join(".tidegate/admin.token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    ask(node.admin_address(), method, path, &[("Authorization", &bearer)], "")
}

fn tidegate(storage: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).arg("--storage").arg(storage).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn of_two_nodes_with_one_catalogue_the_second_does_without_and_names_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalogue.sqlite");
    let named = ("TIDEGATE__CATALOGUE__PATH", path.to_str().unwrap());
    let mut first = Node::start_with_surface(&[named]);
    store(&first, 0..3);
    wait_for(&path, 3, 0);
    let second = Node::start_with_surface(&[named]);
    let seen = wait_for_condition(&second, "unavailable");
    let reason = seen["reason"].as_str().unwrap();
    assert!(
        reason.contains("in use by another process") && reason.contains(first.storage().to_str().unwrap()),
        "{seen}"
    );
    assert_eq!(seen["remedy"], "set catalogue.path of one of the two nodes to another file");
    store(&second, 10..14);
    store(&first, 3..5);
    wait_for(&path, 5, 0);
    wait_for_condition(&first, "current");
    // Its end makes no heir: the catalogue is of its root.
    assert_eq!(first.stop(), Some(0));
    let is_of_another = || {
        let seen = get(second.admin_address(), "/api/catalogue").json();
        let reason = seen["reason"].as_str().unwrap_or_default();
        reason.contains("another storage root") && reason.contains(first.storage().to_str().unwrap())
    };
    assert!(eventually(is_of_another));
    assert_eq!(second.stored().len(), 4);
}

fn associations(node: &Node) -> Vec<(u64, u64)> {
    let study = as_operator(node, "GET", "/api/studies/1.2.3").json();
    let arrivals = study["arrivals"].as_array().unwrap();
    arrivals.iter().map(|of| (of["association"].as_u64().unwrap(), of["files"].as_u64().unwrap())).collect()
}

#[test]
fn associations_of_different_runs_are_told_apart_also_after_a_rebuild() {
    let mut node = start();
    store(&node, 0..2);
    wait_for(&file(&node), 2, 0);
    // In order, and not.
    assert_eq!(node.stop(), Some(0));
    let mut node = start_on(&node.storage());
    store(&node, 2..5);
    wait_for(&file(&node), 5, 0);
    node.signal(Signal::KILL);
    node.wait();
    let mut node = start_on(&node.storage());
    store(&node, 5..6);
    wait_for(&file(&node), 6, 0);
    wait_for_condition(&node, "current");
    let before = associations(&node);
    assert_eq!(before.iter().map(|(_, instances)| *instances).collect::<Vec<_>>(), [2, 3, 1], "{before:?}");
    assert!(before.is_sorted() && before[0].0 < before[1].0 && before[1].0 < before[2].0, "{before:?}");
    let text = String::from_utf8(tidegate(&node.storage(), &["study", "1.2.3"]).stdout).unwrap();
    assert!(before.iter().all(|(number, _)| text.contains(&number.to_string())), "{text}");
    let log = node.log_text();
    assert!(
        log.contains(&format!("association={}", before[2].0))
            || log.contains(&format!("\"association\":{}", before[2].0)),
        "{log}"
    );

    assert_eq!(node.stop(), Some(0));
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", file(&node).display()));
    }
    let node = start_on(&node.storage());
    wait_for(&file(&node), 6, 0);
    wait_for_condition(&node, "current");
    assert_eq!(associations(&node), before, "the receipts say the same");
}

#[test]
fn while_it_is_rebuilt_the_catalogue_answers_and_says_so() {
    // Enough files for a rebuild that lasts longer than a look.
    const FILES: u64 = 20_000;
    let node = start();
    store(&node, 0..1);
    wait_for(&file(&node), 1, 0);
    wait_for_condition(&node, "current");
    let directory = node.storage().join("1.2.3/1.2.3.4");
    for number in 1..FILES {
        fs::hard_link(directory.join("1.2.3.4.0.dcm"), directory.join(format!("1.2.3.4.0~{number}.dcm"))).unwrap();
    }
    let started = as_operator(&node, "POST", "/api/catalogue/rebuild");
    assert_eq!(started.status, 202, "{started:?}");
    let (mut by_api, mut by_command, mut caveats) = (0, 0, 0);
    loop {
        let answer = as_operator(&node, "GET", "/api/studies/1.2.3");
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = answer.json();
        assert!(answer["study"]["files"].as_u64().unwrap() >= 1);
        by_api += u32::from(answer["catalogue"]["condition"] == "rebuilding");
        let output = tidegate(&node.storage(), &["studies", "--json"]);
        let found = json(&output);
        assert!(found["studies"][0]["files"].as_u64().unwrap() >= 1);
        if found["catalogue"]["condition"] == "rebuilding" {
            by_command += 1;
            let said = String::from_utf8(output.stderr).unwrap();
            caveats += u32::from(said.contains("is being compared with the disk"));
        }
        let work = &get(node.admin_address(), "/api/catalogue").json()["work"];
        if work["work"] == "rebuild" && work["is_running"] == false {
            break;
        }
    }
    assert!(by_api > 0 && by_command > 0 && by_command == caveats, "{by_api} {by_command} {caveats}");
    wait_for(&file(&node), FILES, 0);
}

#[test]
fn a_check_names_the_files_over_the_node_and_without_it() {
    let mut node = start();
    store(&node, 0..5);
    wait_for(&file(&node), 5, 0);
    wait_for_condition(&node, "current");
    let directory = node.storage().join("1.2.3/1.2.3.4");
    fs::remove_file(directory.join("1.2.3.4.1.dcm")).unwrap();
    fs::rename(directory.join("1.2.3.4.2.dcm"), directory.join("moved.dcm")).unwrap();
    let changed = fs::OpenOptions::new().append(true).open(directory.join("1.2.3.4.3.dcm")).unwrap();
    std::io::Write::write_all(&mut &changed, b"tail").unwrap();
    let expected = [
        ("gone", "1.2.3.4.1", "1.2.3.4.1.dcm"),
        ("gone", "1.2.3.4.2", "1.2.3.4.2.dcm"),
        ("not_entered", "1.2.3.4.2", "moved.dcm"),
        ("size", "1.2.3.4.3", "1.2.3.4.3.dcm"),
    ];
    let is_as_expected = |work: &Value| {
        let named = work["named"].as_array().unwrap();
        let has = |(kind, uid, name): &(&str, &str, &str)| {
            let path = format!("1.2.3/1.2.3.4/{name}");
            named.iter().any(|of| of["kind"] == *kind && of["sop_instance_uid"] == *uid && of["path"] == path)
        };
        assert!(expected.iter().all(has) && named.len() == expected.len(), "{work}");
    };
    // What was received a moment ago is on its way.
    let mut output = tidegate(&node.storage(), &["catalogue", "check", "--json"]);
    let all_count = eventually(|| {
        output = tidegate(&node.storage(), &["catalogue", "check", "--json"]);
        json(&output)["named"].as_array().unwrap().len() == expected.len()
    });
    assert!(all_count, "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    is_as_expected(&json(&output));
    is_as_expected(&as_operator(&node, "GET", "/api/catalogue").json()["last_check"]);
    // A path may name a patient.
    assert_eq!(get(node.admin_address(), "/api/catalogue").json()["last_check"]["named"], Value::Array(Vec::new()));
    assert_eq!(
        as_operator(&node, "GET", "/api/studies").json()["catalogue"]["last_check"]["named"],
        Value::Array(Vec::new())
    );

    // A whole verification names what is missing.
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("verify").arg(node.storage()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for missing in ["missing 1.2.3/1.2.3.4/1.2.3.4.1.dcm", "missing 1.2.3/1.2.3.4/1.2.3.4.2.dcm", "2 are missing"] {
        assert!(text.contains(missing), "{missing}: {text}");
    }

    assert_eq!(node.stop(), Some(0));
    let output = tidegate(&node.storage(), &["catalogue", "check", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    is_as_expected(&json(&output));
    let text = String::from_utf8(tidegate(&node.storage(), &["catalogue", "check"]).stdout).unwrap();
    assert!(text.contains("1.2.3/1.2.3.4/moved.dcm: not in the catalogue\n  instance 1.2.3.4.2\n"), "{text}");
    assert!(text.contains("1.2.3/1.2.3.4/1.2.3.4.1.dcm: gone\n"), "{text}");
}
