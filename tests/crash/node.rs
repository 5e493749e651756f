//! The node as a process over a storage root that outlives it.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Larger instances are spooled: a minority of the load, but enough of them to test the spool.
const SPOOL_THRESHOLD: &str = "256 KiB";

/// Files that no instance is yet.
pub(crate) fn unfinished_files(root: &Path) -> u64 {
    // Before its first start the node has no root.
    fs::read_dir(root.join(".tidegate/tmp")).into_iter().flatten().count() as u64
}

/// A process that may not have got as far as listening; killed when dropped.
pub(crate) struct Spawned(Child);

/// A running node; killed when dropped.
pub(crate) struct Node {
    process: Spawned,
    address: SocketAddr,
    removed_files: u64,
}

impl Node {
    /// Starts a process; its log goes to `directory`.
    pub(crate) fn spawn(directory: &Path, root: &Path) -> Spawned {
        let log = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE__") {
                command.env_remove(name);
            }
        }
        let child = command
            .args(["run", "--listen", "127.0.0.1:0", "--storage"])
            .arg(root)
            .env("TIDEGATE__MEMORY__SPOOL_THRESHOLD", SPOOL_THRESHOLD)
            .env("TIDEGATE__STORAGE__MIN_FREE", "0 B")
            .env("TIDEGATE__ADMIN__LISTEN", "off")
            // A later version of an instance takes the place of the earlier one, so that a file is one of two.
            .env("TIDEGATE__STORAGE__DUPLICATES", "replace")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Spawned(child)
    }

    /// Starts a node and waits until it listens.
    pub(crate) fn start(directory: &Path, root: &Path) -> Self {
        let mut process = Self::spawn(directory, root);
        let (mut address, mut removed_files) = (None, None);
        for line in BufReader::new(process.0.stdout.take().unwrap()).lines().map(Result::unwrap) {
            if let Some((_, rest)) = line.split_once("listening on ") {
                address = rest.trim().parse().ok();
            }
            if let Some((_, rest)) = line.split_once("removed ") {
                removed_files = rest.split(' ').next().and_then(|count| count.parse().ok());
            }
            if address.is_some() && removed_files.is_some() {
                break;
            }
        }
        match (address, removed_files) {
            (Some(address), Some(removed_files)) => Self { process, address, removed_files },
            _ => {
                let log = fs::read_to_string(directory.join("log")).unwrap();
                panic!("the node did not start: {log}");
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many unfinished files the start-up line says that it removed.
    pub(crate) fn removed_files(&self) -> u64 {
        self.removed_files
    }

    /// SIGKILL, at once; returns when the process is gone.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// SIGTERM; the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).unwrap();
        self.process.0.wait().unwrap().code()
    }
}

impl Spawned {
    /// Lets it run for `delay` and kills it.
    pub(crate) fn kill_after(self, delay: Duration) {
        thread::sleep(delay);
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // SIGKILL on Unix.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
