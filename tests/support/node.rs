//! A node of its own for a test: a free port, a storage root that goes with it, its log in a file.

#![allow(dead_code, reason = "no test uses all of it")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A running node; it is killed, and what it stored removed, when this is dropped.
pub(crate) struct Node {
    child: Child,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    directory: TempDir,
}

impl Node {
    /// Starts a node with these environment variables and waits until it listens.
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        Self::start_with(&[], environment)
    }

    /// The same with further arguments.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let admin = [("TIDEGATE__ADMIN__LISTEN", "off")];
        Self::run(arguments, &[&admin, environment].concat(), |_| {})
    }

    /// A node with an admin surface on the loopback.
    #[allow(dead_code, reason = "not every test binary asks the surface")]
    pub(crate) fn start_with_surface(environment: &[(&str, &str)]) -> Self {
        Self::run(&["--admin", "127.0.0.1:0"], environment, |_| {})
    }

    /// A node whose admin surface is what these arguments say.
    pub(crate) fn start_with_own_admin(arguments: &[&str]) -> Self {
        Self::run(arguments, &[], |_| {})
    }

    /// A node with something done first to where its storage root will be.
    pub(crate) fn start_prepared(environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        Self::run(&[], &[&[("TIDEGATE__ADMIN__LISTEN", "off")], environment].concat(), prepare)
    }

    /// The same with this configuration file.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn start_configured(file: &Path, prepare: impl FnOnce(&Path)) -> Self {
        Self::start_configured_in(&[], file, prepare)
    }

    /// The same in this environment.
    #[allow(dead_code, reason = "not every test binary needs it")]
    pub(crate) fn start_configured_in(environment: &[(&str, &str)], file: &Path, prepare: impl FnOnce(&Path)) -> Self {
        let arguments = ["--config", file.to_str().unwrap()];
        Self::run(&arguments, &[&[("TIDEGATE__ADMIN__LISTEN", "off")], environment].concat(), prepare)
    }

    fn run(arguments: &[&str], environment: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(&directory.path().join("storage"));
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE__") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .arg("run")
            .args(if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .arg("--storage")
            .arg(directory.path().join("storage"))
            .args(arguments)
            .env("TIDEGATE__STORAGE__MIN_FREE", "0 B")
            .env("TIDEGATE__LOG__FLIGHT_RECORDS", directory.path().join("flight"))
            .envs(environment.iter().copied())
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        if environment.contains(&("TIDEGATE__LOG__FORMAT", "json")) {
            return Self::started_with_json(child, directory);
        }
        let (mut address, mut admin, mut tls) = (None, None, None);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                address = Some(rest.trim().parse().unwrap());
            }
            if let Some((_, rest)) = line.split_once("admin: http").and_then(|(_, rest)| rest.split_once("://")) {
                admin = rest.split('/').next().and_then(|address| address.parse().ok());
            }
            if let Some(rest) = line.strip_prefix("tls: ") {
                tls = rest.split(',').next().and_then(|address| address.parse().ok());
            }
            if line.contains("storescu") {
                break; // the last start-up line
            }
        }
        let Some(address) = address else {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            panic!("the node did not start: {log}");
        };
        Self { child, address, admin, tls, directory }
    }

    /// A node that logs JSON prints no start-up lines: its log has the addresses.
    fn started_with_json(child: Child, directory: TempDir) -> Self {
        let mut started = serde_json::Value::Null;
        let is_started = eventually(|| {
            let log = fs::read_to_string(directory.path().join("log")).unwrap();
            let line = log.lines().find(|line| line.contains("\"node started\"") && line.ends_with('}'));
            started = line.map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default();
            line.is_some()
        });
        assert!(is_started, "the node did not start");
        let address = |name: &str| {
            let text = started[name].as_str()?;
            text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/').parse().ok()
        };
        let (admin, tls) = (address("admin"), address("tls_listen"));
        Self { child, address: address("listen").unwrap(), admin, tls, directory }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin surface listens, when it does.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.unwrap()
    }

    /// Where it listens for TLS, when it does.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.tls.unwrap()
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.directory.path().join("storage")
    }

    /// The stored files, by their paths below the storage root.
    pub(crate) fn stored(&self) -> BTreeSet<PathBuf> {
        let mut files = files_below(&self.storage());
        files.retain(|path| !path.starts_with(".tidegate"));
        files
    }

    /// The file it logs to.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Where it keeps its flight records.
    pub(crate) fn flight_records(&self) -> PathBuf {
        self.directory.path().join("flight")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The output of `tidegate mem` with these arguments for this node.
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

    /// The answer of a command for this node, which prints JSON, and its exit code.
    pub(crate) fn told(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .args(["--json", "--storage"])
            .arg(self.storage())
            .output()
            .unwrap();
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output.status.code(), value)
    }

    /// Waits until associations hold so many bytes of datasets: they have come this far.
    pub(crate) fn wait_until_received(&self, bytes: u64) {
        let received = || {
            let snapshot: serde_json::Value = serde_json::from_str(&self.mem(&["top", "--json"])).unwrap();
            let stages = snapshot["stages"].as_array().unwrap();
            let received = stages.iter().find(|stage| stage["stage"] == "receiving").unwrap();
            received["bytes"].as_u64().unwrap()
        };
        assert!(eventually(|| received() >= bytes), "{bytes} bytes have not arrived");
    }

    /// Waits until each of `count` associations has received so many bytes: all that its peer has sent.
    pub(crate) fn wait_until_each_received(&self, count: usize, bytes: u64) {
        let received = || {
            let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
                .args(["associations", "--json", "--storage"])
                .arg(self.storage())
                .output()
                .unwrap();
            let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let found = found.as_array().unwrap();
            found.iter().filter(|association| association["received_bytes"].as_u64().unwrap() >= bytes).count()
        };
        assert!(eventually(|| received() == count), "{} of {count} have received {bytes} bytes", received());
    }

    /// How many temp files there are.
    pub(crate) fn temp_files(&self) -> usize {
        fs::read_dir(self.storage().join(Path::new(".tidegate/tmp"))).unwrap().count()
    }

    /// Waits until there are that many.
    pub(crate) fn wait_for_temp_files(&self, count: usize) {
        assert!(eventually(|| self.temp_files() == count), "{} temp files", self.temp_files());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; the exit code, if it was not killed.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Asks it to stop, and waits. A node that leaves an actor or a lease behind fails the test.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let code = self.wait();
        if code == Some(0) {
            let log = fs::read_to_string(self.log()).unwrap();
            let last = log.lines().rev().find(|line| line.contains("actors_left"));
            let said = |name: &str| {
                let line = last.unwrap_or_default();
                line.contains(&format!("{name}=0")) || line.contains(&format!("\"{name}\":0"))
            };
            assert!(said("actors_left") && said("leased_bytes_left"), "something is left at the end: {last:?}");
        }
        code
    }

    /// The log so far.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// Waits until the log has a line with all of `words`, and returns it.
    pub(crate) fn logged(&self, words: &[&str]) -> String {
        let mut found = None;
        let is_there = eventually(|| {
            let log = self.log_text();
            found = log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
            found.is_some()
        });
        assert!(is_there, "no line with {words:?} in the log");
        found.unwrap()
    }

    /// Waits until the log has `text` so many times. More often is wrong, too.
    pub(crate) fn logged_times(&self, text: &str, times: usize) {
        let count = || self.log_text().matches(text).count();
        assert!(eventually(|| count() >= times) && count() == times, "{text:?} is {} times in the log", count());
    }

    /// Has a child suffer a fault (a build with the feature `test-faults`).
    pub(crate) fn arm(&self, faults: &[&str]) {
        let line = self.logged(&["fault port open"]);
        let address = line.split("address").nth(1).unwrap().trim_start_matches(['=', '"', ':']);
        let address: String = address.chars().take_while(|c| !matches!(c, ' ' | '"')).collect();
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        for fault in faults {
            stream.write_all(format!("{fault}\n").as_bytes()).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers, "armed\n".repeat(faults.len()));
    }

    /// Ends every hang without a time of its own (`<child> hang`).
    pub(crate) fn wake(&self) {
        self.arm(&["wake"]);
    }

    /// Waits until no thread hangs any more, as the statistics line has it: at an interval of a second.
    pub(crate) fn wait_for_hung_threads(&self) {
        let from = self.log_text().len();
        assert!(eventually(|| self.log_text()[from..].contains(" hung_threads=0")), "a thread hangs on");
    }

    /// Waits until there are no more threads and open descriptors than these; threads that were lent live on for ten seconds.
    pub(crate) fn wait_for_no_more_than(&self, before: (usize, usize)) {
        let mut now = (0, 0);
        let are_gone = eventually(|| {
            now = self.threads_and_descriptors();
            now.0 <= before.0 && now.1 <= before.1
        });
        assert!(are_gone, "{now:?} threads and descriptors after {before:?}");
    }

    /// Accounts and leased bytes of associations and connections. One account belongs to the request itself, and those of the catalogue come
    /// and go with its batches.
    pub(crate) fn held(&self) -> (u64, u64) {
        let snapshot: serde_json::Value = serde_json::from_str(&self.mem(&["top", "--json"])).unwrap();
        let is_theirs = |stage: &&serde_json::Value| stage["stage"] != "admin" && stage["stage"] != "catalogue";
        let leased = snapshot["stages"].as_array().unwrap().iter().filter(is_theirs);
        let leased = leased.map(|stage| stage["bytes"].as_u64().unwrap()).sum();
        let holders = snapshot["holders"].as_array().unwrap().iter();
        (holders.filter(|holder| holder["label"] != "catalogue").count() as u64, leased)
    }

    /// The same, once all are gone.
    pub(crate) fn settled(&self) -> (u64, u64) {
        let mut now = (0, 0);
        let is_quiet = eventually(|| {
            now = self.held();
            // An account is closed a moment after its last lease.
            now == (1, 0)
        });
        assert!(is_quiet, "{now:?} holders and bytes");
        now
    }

    /// Threads, and open descriptors.
    pub(crate) fn threads_and_descriptors(&self) -> (usize, usize) {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", self.pid())).unwrap().count();
        (count("task"), count("fd"))
    }
}

/// Far beyond what anything takes on a machine that is busy with other work: only a test that fails waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Looks a hundred times a second whether something has come about, until patience is over.
pub(crate) fn eventually(mut has_come: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if has_come() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    has_come()
}

/// Every file below a directory, by its path from there.
pub(crate) fn files_below(directory: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(directory).unwrap().to_owned());
            }
        }
    }
    found
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
