//! Runs that must not count as good: instances that were sent before, refusals, labels that differ from those sent, a few losses among many
//! instances. The bad receivers are the fake; the good ones are the limit and DCMTK.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// The fake receiver with a fault, on a port and in a directory of its own; killed when it is dropped.
struct Fake {
    process: Child,
    address: String,
    directory: PathBuf,
}

impl Fake {
    fn start(directory: &Path, fault: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let stored = directory.join("stored");
        fs::create_dir_all(&stored).unwrap();
        let process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "orchestration::serve_as_fake_receiver", "--ignored", "--nocapture"])
            .envs([("FAKE_LISTEN", address.as_str()), ("FAKE_FAULT", fault)])
            .env("FAKE_DIR", &stored)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { process, address, directory: stored }
    }

    /// Runs small instances against it and verifies.
    fn run(&self, load: &str, flags: &[&str]) -> (Output, Value) {
        let scenario = self.directory.with_extension("toml");
        let text = format!(
            "name = \"test\"\n[load]\n{load}\n[associations]\ncount = 1\nlifetime = \"run\"\n[[mix]]\nmodality = \"SR\"\n"
        );
        fs::write(&scenario, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
            .args(["run", "--json", "--target", &self.address, "--scenario"])
            .arg(&scenario)
            .arg("--verify")
            .arg(&self.directory)
            .args(flags)
            .output()
            .unwrap();
        let result = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output, result)
    }

    fn stored(&self) -> usize {
        let entries = fs::read_dir(&self.directory).unwrap();
        entries.filter(|entry| !entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".")).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn two_runs_of_one_seed_never_send_the_same_instance_unless_they_are_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Fake::start(directory.path(), "");
    for (flags, stored) in [
        (&["--seed", "5"][..], 40),
        (&["--seed", "5"], 80),
        (&["--seed", "5", "--resend"], 120),
        (&["--seed", "5", "--resend"], 120),
        (&["--seed", "6", "--resend"], 160),
    ] {
        let (output, result) = receiver.run("instances = 40", flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(result["verification"]["whole"], 40);
        assert_eq!(receiver.stored(), stored, "{flags:?}");
    }
}

#[test]
fn a_receiver_that_refuses_everything_ends_the_run_at_once_and_fails_it() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Fake::start(directory.path(), "refuse");
    let (output, result) = receiver.run("duration_s = 300", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(result["elapsed_s"].as_f64().unwrap() < 100.0, "{result}");
    let stopped = result["stopped"].as_str().unwrap();
    assert!(stopped.contains("none of the first") && stopped.contains(" answered A700 out of resources"), "{stopped}");
    // Nothing acknowledged is no pass, whatever may fail; and an objective keeps the load going.
    let (output, result) = receiver.run("instances = 50", &["--objective", "failures=100%"]);
    assert_eq!((output.status.code(), &result["totals"]["refused"]["A700"]), (Some(1), &50.into()), "{output:?}");
    assert_eq!(result["stopped"], Value::Null);
}

#[test]
fn another_transfer_syntax_in_the_file_meta_fails_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Fake::start(directory.path(), "syntax");
    let (output, result) = receiver.run("instances = 50", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(result["verification"]["mislabelled"].as_array().unwrap().len(), 10, "{result}");
}

#[test]
fn one_in_a_thousand_dropped_is_missed_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Fake::start(directory.path(), "drop-1000");
    let (output, result) = receiver.run("instances = 2000", &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(result["verification"]["lost"].as_array().unwrap().len(), 2, "{result}");
}

/// Another implementation's receiver, as people have it: its files are found whole, though their names are its own.
#[test]
fn what_dcmtk_stores_is_verified_in_a_soak() {
    let version = Command::new("storescp").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("dcmtk")) {
        eprintln!("no storescp of DCMTK in PATH: nothing is tested here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/targets/dcmtk-storescp.toml");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"))
        .args(["soak", "--receiver", target, "--scenario", "sr-tiny", "--duration", "2s", "--load", "300ms"])
        .args(["--pause", "100ms", "--tolerance", "900 GiB", "--workdir"])
        .arg(directory.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && text.contains("All acknowledged instances were found whole"), "{output:?}");
}
