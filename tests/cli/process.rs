//! Runs the built binary: to its end, or as a node that serves until the test is over.

use std::io::{BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// The command with an environment in which nothing of ours is set, in a directory of its own.
pub(crate) fn tidegate(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().to_uppercase().starts_with("TIDEGATE__") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn output(arguments: &[&str]) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    run_to_end(&mut tidegate(directory.path(), arguments))
}

/// Runs a command that ends by itself: exit code, stdout, stderr. One that runs on (a node that should not have started)
/// is ended after a minute and fails the test.
pub(crate) fn run_to_end(command: &mut Command) -> (i32, String, String) {
    // Files, since a pipe holds 64 KiB, and nobody reads it before the end.
    let files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
    let [stdout, stderr] = files.each_ref().map(|file| file.try_clone().unwrap());
    let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
    let written = || {
        files.each_ref().map(|mut file| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        })
    };
    for _ in 0..6000 {
        if let Some(status) = child.try_wait().unwrap() {
            let [stdout, stderr] = written();
            return (status.code().unwrap(), stdout, stderr);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("did not end by itself: {:?}", written());
}

/// A node that was started, ended with the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// The start-up lines up to the last one.
    pub(crate) lines: Vec<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        // The default port is one, and tests run side by side. A flag wins over this.
        command.env("TIDEGATE__ADMIN__LISTEN", "off");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("storescu")) {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let mut rest = String::new();
                stderr.read_to_string(&mut rest).unwrap();
                panic!("ended while starting: {lines:?} {rest}");
            }
            lines.push(line.trim_end().to_owned());
        }
        Self { child, stdout, stderr, lines }
    }

    pub(crate) fn address_after(&self, text: &str) -> SocketAddr {
        let (_, rest) = self.lines.iter().find_map(|line| line.split_once(text)).unwrap();
        rest.split(['/', ' ']).next().unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads the log up to a line that says `text`.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "ended without {text:?}");
        }
    }

    /// Waits for the end; the exit code, the rest of stdout, all of stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stderr.read_to_string(&mut stderr).unwrap();
        self.stdout.read_to_string(&mut stdout).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
