//! How fast the generator is when the receiver costs nothing, and what it costs itself: eight associations of 512 × 512 CT slices into
//! a sink that accepts every C-STORE and keeps nothing. A slow generator would measure itself.
//!
//! `cargo bench -p tidegate-loadtest --bench generator`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

const INSTANCES: &str = "24000";
const ROUNDS: usize = 3;

fn loadtest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
}

/// A sink that keeps nothing, and where it listens.
fn sink() -> (Child, String) {
    let mut sink = loadtest()
        .args(["limit", "--listen", "127.0.0.1:0", "--mode", "discard"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(sink.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once(' ').expect("the sink says where it listens").1.to_owned();
    (sink, address)
}

fn main() {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ct.toml");
    let (mut sink, address) = sink();
    for _ in 0..ROUNDS {
        let output = loadtest()
            .args(["run", "--scenario", scenario, "--instances", INSTANCES, "--target", &address, "--json"])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the generator failed: {output:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        let generator = &result["generator"];
        let cpu_s = number(&generator["user_s"]) + number(&generator["system_s"]);
        let (gigabytes, elapsed_s) = (number(&result["totals"]["bytes"]) / 1e9, number(&result["elapsed_s"]));
        println!(
            "{:.2} GB/s, {:.3} CPU-s per GB ({gigabytes:.1} GB in {elapsed_s:.2} s)",
            gigabytes / elapsed_s,
            cpu_s / gigabytes
        );
    }
    sink.kill().unwrap();
    sink.wait().unwrap();
}
