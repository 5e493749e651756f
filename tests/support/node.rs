//! A node of its own for a test: a free port, a storage root that goes with it, its log in a file.

#![allow(dead_code, reason = "no test uses all of it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running node; it is killed, and what it stored removed, when this is dropped.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Node {
    /// Starts a node with these environment variables and waits until it listens.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE__") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["run", "--listen", "127.0.0.1:0", "--storage"])
            .arg(directory.path().join("storage"))
            .envs([("TIDEGATE__STORAGE__MIN_FREE", "0 B")])
            .envs(environment.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut address = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                address = Some(rest.trim().parse().unwrap());
            }
            if line.contains("storescu") {
                break; // the last start-up line
            }
        }
        let Some(address) = address else {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            panic!("the node did not start: {log}");
        };
        Self { child, address, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// The file it logs to.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What `tidegate mem` with these arguments says of this node.
    pub(crate) fn mem(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("mem")
            .args(arguments)
            .arg("--storage")
            .arg(self.storage())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// How many temp files there are.
    pub(crate) fn temp_files(&self) -> usize {
        fs::read_dir(self.storage().join(Path::new(".tidegate/tmp"))).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, if it was not killed.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Asks it to stop, and waits.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log"));
            eprintln!("the node's log:\n{}", log.unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
