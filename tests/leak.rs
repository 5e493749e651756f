//! A node that leaks on purpose (feature `test-leak`) says so itself, once, with the evidence.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/node.rs"]
mod node;

use std::time::Duration;

use node::Node;

#[test]
fn a_leak_in_a_quiet_node_is_told_once_with_its_slope() {
    let node = Node::start(&[("TIDEGATE__LOG__FORMAT", "json")]);
    let told = || -> Vec<serde_json::Value> {
        let log = std::fs::read_to_string(node.log()).unwrap();
        let lines = log.lines().filter(|line| line.contains("still grows"));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    for _ in 0..1200 {
        if !told().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(5));
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    // 16 KiB are leaked four times a second.
    let slope = told[0]["slope_bytes_per_s"].as_f64().unwrap();
    assert!((30_000.0..130_000.0).contains(&slope), "{told:?}");
    assert_eq!(told[0]["unattributed"], true);
}
