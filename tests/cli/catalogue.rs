//! `tidegate studies`, `study`, `instance` and `catalogue`, beside a node and without one.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Running, output, run_to_end, tidegate};
use crate::verify::{node, send};

#[test]
fn what_a_node_stored_is_found_beside_it_and_after_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| run_to_end(&mut tidegate(directory.path(), arguments));
    let (code, stdout, stderr) = run(&["studies"]);
    assert_eq!((code, stdout.as_str()), (4, ""), "{stderr}");
    assert!(stderr.contains("no node is running"), "{stderr}");

    let running: Running = node(directory.path());
    let wait = |arguments: &[&str], text: &str| {
        while !run(arguments).1.contains(text) {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait(&["catalogue", "status"], "current: ");
    let (code, _, stderr) = run(&["studies"]);
    assert!(code == 1 && stderr.starts_with("tidegate: no study matches"), "{stderr}");
    send(&running, "1.2.3.1", true);
    send(&running, "1.2.3.2", true);
    // They are entered a moment after they were acknowledged.
    wait(&["study", "1.2"], ", 2 files, ");
    let (code, stdout, stderr) = run(&["catalogue", "check", "--timeout", "3m"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.starts_with("catalogue and stored files agree\n"), "{stdout}");
    let (code, beside, _) = run(&["studies", "1.2", "--source", "ct1", "--since", "1h"]);
    assert_eq!(code, 0);
    assert!(beside.contains("\n  1.2\n"), "{beside}");
    let (code, study, _) = run(&["study", "1.2"]);
    assert!(code == 0 && study.contains("stored        1 series, 2 files") && study.contains("\nCT1 "), "{study}");
    let (code, stdout, stderr) = run(&["instance", "1.2.3.9"]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (1, "", "tidegate: no instance with that UID is known\n"));
    let (code, json, _) = run(&["instance", "1.2.3.1", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let file = directory.path().join("data").join(json["instances"][0]["path"].as_str().unwrap());
    assert_eq!((code, fs::metadata(&file).unwrap().len()), (0, json["instances"][0]["bytes"].as_u64().unwrap()));
    let (code, stdout, _) = run(&["catalogue", "status"]);
    assert!(code == 0 && stdout.contains("\nlast check    check, took "), "{stdout}");

    // People remove a file: a check tells it, and changes nothing; a rebuild corrects it.
    fs::remove_file(&file).unwrap();
    for _ in 0..2 {
        let (code, stdout, _) = run(&["catalogue", "check"]);
        assert!(code == 1 && stdout.starts_with("1 difference between catalogue and stored files\n"), "{stdout}");
    }
    let (code, stdout, _) = run(&["catalogue", "rebuild", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&stdout).unwrap()["gone"].as_u64()), (0, Some(1)));
    assert_eq!(run(&["catalogue", "check"]).0, 0);

    running.signal(Signal::KILL);
    drop(running);
    let (code, after, stderr) = run(&["studies", "--json"]);
    let studies: Value = serde_json::from_str(&after).unwrap();
    assert_eq!((code, &studies["studies"][0]["gone"], &studies["catalogue"]), (0, &1.into(), &Value::Null));
    assert!(
        stderr.contains("no node is running: read from ") && stderr.contains("catalogue.sqlite, as it was left"),
        "{stderr}"
    );
    let (code, stdout, _) = run(&["instance", "1.2.3.1"]);
    assert!(code == 0 && stdout.contains("state         gone, found so at "), "{stdout}");
    let (code, stdout, stderr) = run(&["catalogue", "check"]);
    assert_eq!(code, 0, "{stdout} {stderr}");
    assert_eq!(run(&["catalogue", "status"]).0, 4);
    fs::remove_file(directory.path().join("data/.tidegate/catalogue.sqlite")).unwrap();
    let (code, _, stderr) = run(&["catalogue", "check"]);
    assert!(code == 1 && stderr.contains("`tidegate catalogue rebuild` makes it"), "{stderr}");
    let (code, stdout, stderr) = run(&["catalogue", "rebuild"]);
    assert!(code == 0 && stdout.contains("1 file (") && stdout.contains(", 1 new, "), "{stdout} {stderr}");
    assert!(run(&["study", "1.2"]).1.contains("stored        1 series, 1 file,"));
}

/// Two configurations that name one file: the second node does not start with it, and its commands do not answer from it.
#[test]
fn the_catalogue_of_another_root_answers_no_question() {
    let directory = tempfile::tempdir().unwrap();
    for root in ["data", "other"] {
        let configuration = format!(
            "[node]\nlisten = \"127.0.0.1:0\"\n[storage]\nroot = \"{root}\"\n[catalogue]\npath = \"catalogue.sqlite\"\n"
        );
        fs::write(directory.path().join(format!("{root}.toml")), configuration).unwrap();
    }
    let run = |arguments: &[&str]| run_to_end(&mut tidegate(directory.path(), arguments));
    let running = Running::start(tidegate(directory.path(), &["--config", "data.toml"]));
    send(&running, "1.2.3.1", true);
    while !run(&["studies", "--config", "data.toml"]).1.contains("\n  1.2\n") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    running.signal(Signal::KILL);
    drop(running);
    let asked: [&[&str]; 3] = [&["studies"], &["study", "1.2"], &["instance", "1.2.3.1"]];
    for ask in asked {
        assert_eq!(run(&[ask, &["--config", "data.toml"][..]].concat()).0, 0, "{ask:?}");
        let (code, stdout, stderr) = run(&[ask, &["--config", "other.toml"][..]].concat());
        assert_eq!((code, stdout.as_str()), (1, ""), "{ask:?}");
        let is_told = stderr.contains("catalogue.sqlite has the instances of another storage root: ");
        assert!(is_told && stderr.contains("set catalogue.path to another file"), "{stderr}");
    }
}

#[test]
fn a_time_that_cannot_be_read_is_a_usage_error_that_teaches() {
    let (code, _, stderr) = output(&["studies", "--since", "last week"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("how long ago, such as 2h"), "{stderr}");
}
