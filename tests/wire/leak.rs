//! A node that leaks on purpose (feature `test-faults`): it says so itself, and does what it can to stay below its ceiling.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::node::{Node, eventually};
use crate::wire::{Wire, dataset, encoded, p_data, request, store_command};
use dicom_ul::pdu::Pdu;

#[test]
fn a_leak_beside_open_associations_is_told_once_with_its_slope_and_the_next_command() {
    let node = Node::start(&[
        ("TIDEGATE__LOG__FORMAT", "json"),
        ("TIDEGATE_TEST_LEAK_KIB", "8"),
        ("TIDEGATE_TEST_SENTINEL_WINDOW_S", "24"),
    ]);
    let _open = [(); 2].map(|()| Wire::associate(node.address(), request()).0);
    let reports = || -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(node.log()).unwrap();
        let lines = log.lines().filter(|line| line.contains("memory leak suspected"));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert!(eventually(|| !reports().is_empty()));
    std::thread::sleep(Duration::from_secs(5));
    let reports = reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    // 8 KiB are leaked ten times a second, or as often as the machine gets round to it.
    let slope = reports[0]["slope_bytes_per_s"].as_f64().unwrap();
    assert!((1.0..160_000.0).contains(&slope), "{reports:?}");
    assert_eq!((&reports[0]["unattributed"], reports[0]["associations"].as_u64()), (&true.into(), Some(2)));
    assert_eq!(reports[0]["next"], "tidegate mem diff --stacks --seconds 60");
    assert!(reports[0]["oldest_holder"].is_null(), "no lease speaks for it: {reports:?}");
}

#[test]
fn the_function_that_leaks_is_the_first_of_its_stack() {
    let node = Node::start(&[("TIDEGATE_TEST_LEAK_KIB", "256")]);
    let mut seen = serde_json::Value::Null;
    for seconds in ["5", "20", "60"] {
        let text = node.mem(&["diff", "--stacks", "--seconds", seconds, "--json"]);
        seen = serde_json::from_str(&text).unwrap();
        if seen["stacks"][0]["functions"][0].as_str().is_some_and(|name| name.contains("leak_on_purpose")) {
            assert!(seen["unattributed"]["after_bytes"].is_i64(), "the growth is told as well: {seen}");
            return;
        }
    }
    panic!("{seen:#}");
}

#[test]
fn memory_that_runs_short_is_met_level_by_level_up_to_the_abort_of_who_holds_most() {
    // The ceiling is budget + 48 MiB: 1 MiB ten times a second reach it in a few seconds.
    let node = Node::start(&[
        ("TIDEGATE__LOG__FORMAT", "json"),
        ("TIDEGATE__ASSOCIATIONS__MAX", "64"),
        ("TIDEGATE__MEMORY__BUDGET", "8 MiB"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "2 MiB"),
        ("TIDEGATE_TEST_LEAK_KIB", "1024"),
    ]);
    let _small = Wire::associate(node.address(), request()).0;
    let mut asking = request();
    asking.calling_ae_title = "HOLDS_MOST".into();
    let mut large = Wire::associate(node.address(), asking).0;
    large.send(&p_data(1, 3, &store_command(1, "1.2.3.300")));
    for fragment in dataset("1.2.3.300", 1_500_000)[..1_000_000].chunks(64_000) {
        large.send(&p_data(1, 0, fragment));
    }
    let answer = large.pdu();
    assert!(matches!(answer, Some(Pdu::AbortRQ { .. })), "{answer:?}");

    node.logged(&["association ended: memory pressure"]);
    let log = node.log_text();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let levels: Vec<_> =
        lines.iter().filter(|line| line["message"] == "memory pressure").map(|line| &line["to"]).collect();
    assert_eq!(levels, ["purge", "shrink", "spool", "pause_accept", "abort"]);
    let evicted = lines.iter().find(|line| line["message"] == "association asked to end: memory pressure").unwrap();
    assert!(evicted["bytes"].as_u64().unwrap() > 500_000, "the largest holder: {evicted}");

    // No new association is taken: the request waits.
    let mut waiting = Wire::connect(node.address());
    waiting.send(&encoded(request()));
    waiting.0.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let error = waiting.0.read(&mut [0; 10]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

#[test]
fn memory_pressure_that_aborts_leaves_a_flight_record() {
    let node = Node::start(&[
        ("TIDEGATE_TEST_LEAK_KIB", "2048"),
        ("TIDEGATE__MEMORY__BUDGET", "16 MiB"),
        ("TIDEGATE__MEMORY__SPOOL_THRESHOLD", "1 MiB"),
        ("TIDEGATE__ASSOCIATIONS__MAX", "16"),
    ]);
    let line = node.logged(&["flight record written", "memory pressure has reached abort"]);
    let path = line.split("path=").nth(1).unwrap().split(' ').next().unwrap();
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!((record["alarm"].as_str(), record["pressure"].as_str()), (Some("pressure"), Some("abort")));
    assert!(record["unattributed_bytes"].as_i64().unwrap() > 16 << 20, "{}", record["unattributed_bytes"]);
}
