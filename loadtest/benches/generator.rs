//! How fast the generator is when the receiver costs nothing, and what it costs itself: eight associations of 512 × 512 CT slices into
//! a sink that accepts every C-STORE and keeps nothing, with DICOM and without. A slow generator would measure itself.
//!
//! `cargo bench -p tidegate-loadtest --bench generator`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

const ASSOCIATIONS: &str = "8";
const INSTANCES: &str = "24000";
const ROUNDS: usize = 3;

fn loadtest() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
}

/// A sink that ends after so many connections, and where it listens.
fn sink(connections: &str, flags: &[&str]) -> (Child, BufReader<ChildStdout>, String) {
    let mut sink = loadtest()
        .args(["limit", "--listen", "127.0.0.1:0", "--mode", "discard", "--json", "--connections", connections])
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sink.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once(' ').expect("the sink says where it listens").1.to_owned();
    (sink, lines, address)
}

/// The generator's own JSON.
fn measure(mut generator: Command, sink: (Child, BufReader<ChildStdout>, String)) -> Value {
    let (mut sink, _lines, address) = sink;
    let output = generator.args(["--target", &address, "--json"]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "the generator failed: {output:?}");
    assert!(sink.wait().unwrap().success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn report(what: &str, bytes: f64, elapsed_s: f64, cpu_s: f64) {
    let gigabytes = bytes / 1e9;
    println!(
        "{what}: {:.2} GB/s, {:.3} CPU-s per GB ({gigabytes:.1} GB in {elapsed_s:.2} s)",
        gigabytes / elapsed_s,
        cpu_s / gigabytes
    );
}

fn main() {
    let number = |value: &Value| value.as_f64().unwrap_or_default();
    for _ in 0..ROUNDS {
        let mut run = loadtest();
        run.args([
            "run",
            "--scenario",
            concat!(env!("CARGO_MANIFEST_DIR"), "/benches/ct.toml"),
            "--instances",
            INSTANCES,
        ]);
        // One connection more, with which the generator looks whether the target is there.
        let result = measure(run, sink("9", &["--dicom"]));
        let generator = &result["generator"];
        let cpu_s = number(&generator["user_s"]) + number(&generator["system_s"]);
        report("C-STORE", number(&result["totals"]["bytes"]), number(&result["elapsed_s"]), cpu_s);

        let mut store = loadtest();
        store.args(["store", "--raw", "--associations", ASSOCIATIONS, "--instances", INSTANCES]);
        let result = measure(store, sink(ASSOCIATIONS, &[]));
        let cpu_s = number(&result["cpu_user_s"]) + number(&result["cpu_system_s"]);
        report("raw frames", number(&result["stored_bytes"]), number(&result["elapsed_s"]), cpu_s);
    }
}
