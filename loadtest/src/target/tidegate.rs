//! The figures of a running Tidegate, by its admin socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::TargetError;
use super::process::ProcessSampler;
use crate::result::{Sampler, TargetKind, TargetSample, Usage};

/// Where the socket is below the storage root, unless the node is told otherwise.
const SOCKET: &str = ".tidegate/admin.sock";
const ASK: &[u8] = b"{\"version\":1,\"ask\":\"memory\"}\n";
/// A node that is too busy to answer in this time is not seen in this second.
const TIMEOUT: Duration = Duration::from_millis(500);
/// A snapshot lists every lease, some hundred bytes each.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Leases for the answer to our own question, and those of the catalogue, of storage commitment and of delivery, which come and go with their work.
const OURS: [&str; 4] = ["admin", "catalogue", "commitment", "delivery"];

/// The part of an answer that is used here.
#[derive(Debug, Deserialize)]
struct Response {
    tidegate: String,
    answer: Answer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Memory(Memory),
    Refused(String),
}

#[derive(Debug, Deserialize)]
struct Memory {
    allocator: Allocator,
    stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
struct Allocator {
    resident: u64,
}

#[derive(Debug, Deserialize)]
struct Stage {
    stage: String,
    bytes: u64,
    leases: u64,
}

/// Asks a node once a sample, and looks at its process beside.
#[derive(Debug)]
pub(crate) struct TidegateSampler {
    socket: PathBuf,
    version: String,
    /// `None` when the node runs in another process namespace; then its own figures have to do.
    process: Option<ProcessSampler>,
}

impl TidegateSampler {
    /// # Errors
    /// When nobody answers below `root`.
    pub(crate) fn new(root: &Path) -> Result<Self, TargetError> {
        let socket = root.join(SOCKET);
        let failed = |source| TargetError::NoSocket { socket: socket.clone(), source };
        let (pid, response) = ask(&socket).map_err(failed)?;
        Ok(Self { version: response.tidegate, process: pid.and_then(|pid| ProcessSampler::new(pid).ok()), socket })
    }
}

impl Sampler for TidegateSampler {
    fn sample(&mut self) -> Option<TargetSample> {
        let (pid, response) = ask(&self.socket).ok()?;
        let Answer::Memory(memory) = response.answer else {
            return None;
        };
        if pid != self.process.as_ref().map(ProcessSampler::pid) {
            self.process = pid.and_then(|pid| ProcessSampler::new(pid).ok());
        }
        let seen = self.process.as_mut().and_then(Sampler::sample);
        Some(memory.sample(seen))
    }

    fn usage(&self) -> Option<Usage> {
        self.process.as_ref()?.usage()
    }

    fn kind(&self) -> TargetKind {
        TargetKind::Tidegate
    }

    fn name(&self) -> Option<String> {
        Some(format!("Tidegate {}", self.version))
    }
}

impl Memory {
    fn sample(self, process: Option<TargetSample>) -> TargetSample {
        let mut sample =
            process.unwrap_or_else(|| TargetSample { rss_bytes: self.allocator.resident, ..Default::default() });
        // A dataset in the mailbox has exactly one lease.
        sample.mailbox_depth = self.stages.iter().find(|stage| stage.stage == "queued").map(|stage| stage.leases);
        sample.stages = self
            .stages
            .into_iter()
            .filter(|stage| !OURS.contains(&stage.stage.as_str()))
            .map(|stage| (stage.stage, stage.bytes))
            .collect();
        sample.leased_bytes = Some(sample.stages.values().sum());
        sample
    }
}

/// The node's process and its answer.
fn ask(socket: &Path) -> io::Result<(Option<u32>, Response)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let peer = rustix::net::sockopt::socket_peercred(&stream)?;
    stream.write_all(ASK)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let response: Response = serde_json::from_slice(&answer)?;
    if let Answer::Refused(why) = &response.answer {
        return Err(io::Error::other(why.clone()));
    }
    Ok((u32::try_from(peer.pid.as_raw_nonzero().get()).ok(), response))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const ANSWER: &str = r#"{"version":1,"tidegate":"9.9.9","answer":{"memory":{"taken_unix_ms":1,"budget_bytes":9,
        "allocator":{"allocated":1,"resident":4096},"unattributed_bytes":-5,"stages":[
        {"stage":"receiving","bytes":700,"leases":3,"oldest_ms":1},{"stage":"queued","bytes":300,"leases":2,"oldest_ms":1},
        {"stage":"admin","bytes":4096,"leases":1,"oldest_ms":0}],"holders":[]}}}"#;

    #[test]
    fn leases_by_stage_and_the_mailbox_are_read_and_our_own_question_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".tidegate")).unwrap();
        let listener = UnixListener::bind(root.path().join(SOCKET)).unwrap();
        let node = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = Vec::new();
                BufReader::new(&stream).read_until(b'\n', &mut line).unwrap();
                assert_eq!(line, ASK);
                stream.write_all(ANSWER.as_bytes()).unwrap();
            }
        });
        let mut sampler = TidegateSampler::new(root.path()).unwrap();
        let seen = sampler.sample().unwrap();
        node.join().unwrap();
        assert_eq!(sampler.name().as_deref(), Some("Tidegate 9.9.9"));
        assert_eq!((seen.leased_bytes, seen.mailbox_depth), (Some(1000), Some(2)));
        assert_eq!(seen.stages.get("receiving"), Some(&700));
        assert!(!seen.stages.contains_key("admin"));
        assert!(seen.rss_bytes > 100_000, "that of the process at the other end, this one: {seen:?}");
        // Nobody there any more: not seen, and not an end of the run.
        assert_eq!(sampler.sample(), None);
    }

    #[test]
    fn a_root_without_a_node_is_refused_with_the_path() {
        let root = tempfile::tempdir().unwrap();
        let error = TidegateSampler::new(root.path()).unwrap_err().to_string();
        assert!(error.contains("admin.sock"), "{error}");
    }
}
