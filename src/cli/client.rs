//! Asks a node over its admin socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tidegate_memory::MemorySnapshot;
use tidegate_memory::profile::HeapStacks;

use crate::admin::model::{Association, Second, Status, Writers};
use crate::admin::wire::{
    Allocator, Answer, Ask, MAX_PROFILE_SECONDS, Purged, Request, Response, Spoken, VERSION, line,
};

/// How long a node may take for an answer, beyond the time a profile is asked to take. A node cuts idle clients off after
/// five seconds, so even the one behind them in the backlog has its turn in this time.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that an answer line or a profile may have: far beyond 65,536 associations, far below what would harm us.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing is there, or what is there belonged to a node that has ended.
    #[error("no node is running with the admin socket {}; name the right one by --socket, --config or --storage", .0.display())]
    NoNode(PathBuf),
    /// The socket is another user's.
    #[error("permission denied for the admin socket {}: run this as the user that the node runs as, or as root", .0.display())]
    Denied(PathBuf),
    /// `sun_path` holds 108 bytes.
    #[error("the path {} is too long for a unix socket: set [admin] socket of the node to a shorter one", .0.display())]
    PathTooLong(PathBuf),
    /// The other side is a tidegate that speaks otherwise.
    #[error(
        "the node is tidegate {node} and speaks version {version} of the admin protocol, this is {} and speaks \
         {VERSION}: use the program the node runs", env!("CARGO_PKG_VERSION")
    )]
    OtherVersion { node: String, version: u32 },
    /// The node says why not.
    #[error("the node refuses: {0}")]
    Refused(String),
    /// The node is too busy, or stuck.
    #[error("the node has not answered in time")]
    TooLate,
    /// The answer is none of ours.
    #[error("the node's answer is not understood: {0}")]
    NotUnderstood(String),
    /// The connection broke.
    #[error("the connection to the node broke: {0}")]
    Broken(#[from] io::Error),
}

/// A node that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Who holds what now.
    pub(super) fn memory(&self) -> Result<MemorySnapshot, AskError> {
        self.request(Ask::Memory, |answer| if let Answer::Memory(found) = answer { Ok(*found) } else { Err(answer) })
    }

    /// The node in one look.
    pub(super) fn status(&self) -> Result<Status, AskError> {
        self.request(Ask::Status, |answer| if let Answer::Status(found) = answer { Ok(*found) } else { Err(answer) })
    }

    /// Every open association, the oldest first.
    pub(super) fn associations(&self) -> Result<Vec<Association>, AskError> {
        self.request(
            Ask::Associations,
            |answer| if let Answer::Associations(found) = answer { Ok(found) } else { Err(answer) },
        )
    }

    /// Every writer.
    pub(super) fn writers(&self) -> Result<Writers, AskError> {
        self.request(Ask::Writers, |answer| if let Answer::Writers(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// The last seconds, the oldest first.
    pub(super) fn history(&self, seconds: u64) -> Result<Vec<Second>, AskError> {
        let ask = Ask::History { seconds };
        self.request(ask, |answer| if let Answer::History(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Has an association aborted.
    pub(super) fn abort(&self, id: u64) -> Result<(), AskError> {
        self.request(Ask::Abort { id }, |answer| if let Answer::Abort { .. } = answer { Ok(()) } else { Err(answer) })
    }

    /// The allocator in detail.
    pub(super) fn allocator(&self) -> Result<Allocator, AskError> {
        self.request(
            Ask::Allocator,
            |answer| {
                if let Answer::Allocator(found) = answer { Ok(*found) } else { Err(answer) }
            },
        )
    }

    /// Has freed pages given back.
    pub(super) fn purge(&self) -> Result<Purged, AskError> {
        self.request(Ask::Purge, |answer| if let Answer::Purge(found) = answer { Ok(found) } else { Err(answer) })
    }

    /// Has a profile taken, and waits for it.
    pub(super) fn profile(&self, seconds: u64) -> Result<HeapStacks, AskError> {
        let patience = PATIENCE + Duration::from_secs(seconds.min(MAX_PROFILE_SECONDS));
        let (answer, mut rest) = self.ask(Ask::Profile { seconds }, patience)?;
        let Answer::Profile { bytes } = answer else {
            return Err(misplaced(answer));
        };
        if bytes > MAX_ANSWER_BYTES {
            return Err(AskError::NotUnderstood(format!("a profile of {bytes} bytes")));
        }
        let mut profile = Vec::new();
        rest.by_ref().take(bytes).read_to_end(&mut profile).map_err(too_late)?;
        if profile.len() as u64 != bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&profile).map_err(|error| AskError::NotUnderstood(error.to_string()))
    }

    fn request<T>(&self, ask: Ask, of: impl FnOnce(Answer) -> Result<T, Answer>) -> Result<T, AskError> {
        of(self.ask(ask, PATIENCE)?.0).map_err(misplaced)
    }

    fn ask(&self, ask: Ask, patience: Duration) -> Result<(Answer, BufReader<UnixStream>), AskError> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(patience))?;
        let request = line(&Request { version: VERSION, ask }).map_err(io::Error::from)?;
        stream.write_all(&request).map_err(too_late)?;
        let mut reader = BufReader::new(stream);
        let mut answer = Vec::new();
        reader.by_ref().take(MAX_ANSWER_BYTES).read_until(b'\n', &mut answer).map_err(too_late)?;
        if answer.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok((parse(&answer)?, reader))
    }

    fn connect(&self) -> Result<UnixStream, AskError> {
        let path = || self.socket.clone();
        let address = SockAddr::unix(&self.socket).map_err(|_| AskError::PathTooLong(path()))?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // It bounds the wait for a place in the backlog too.
        socket.set_write_timeout(Some(PATIENCE))?;
        match socket.connect(&address) {
            Ok(()) => Ok(UnixStream::from(OwnedFd::from(socket))),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                    AskError::NoNode(path())
                }
                io::ErrorKind::PermissionDenied => AskError::Denied(path()),
                _ => too_late(error),
            }),
        }
    }
}

/// A socket whose timeout is over says that it would block.
fn too_late(error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::TooLate,
        _ => AskError::Broken(error),
    }
}

fn parse(line: &[u8]) -> Result<Answer, AskError> {
    let not_understood = |error: serde_json::Error| AskError::NotUnderstood(error.to_string());
    let spoken: Spoken = serde_json::from_slice(line).map_err(not_understood)?;
    if spoken.version != VERSION {
        return Err(AskError::OtherVersion { node: spoken.tidegate, version: spoken.version });
    }
    let response: Response = serde_json::from_slice(line).map_err(not_understood)?;
    match response.answer {
        Answer::Refused(why) => Err(AskError::Refused(why)),
        answer => Ok(answer),
    }
}

fn misplaced(answer: Answer) -> AskError {
    AskError::NotUnderstood(match answer {
        Answer::Refused(why) => why,
        Answer::Memory(_)
        | Answer::Status(_)
        | Answer::Associations(_)
        | Answer::Writers(_)
        | Answer::History(_)
        | Answer::Abort { .. }
        | Answer::Allocator(_)
        | Answer::Purge(_)
        | Answer::Profile { .. } => "another thing was asked for".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What the client makes of a node that answers every request with `answer`.
    fn error_of(answer: &'static [u8]) -> AskError {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let node = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            request
        });
        let error = Client::new(path).profile(1).unwrap_err();
        assert_eq!(node.join().unwrap(), "{\"version\":1,\"ask\":{\"profile\":{\"seconds\":1}}}\n");
        error
    }

    #[test]
    fn what_a_node_answers_is_told_in_words() {
        for (answer, expected) in [
            (
                &b"{\"version\":99,\"tidegate\":\"9.1.0\",\"answer\":\"new\"}\n"[..],
                "the node is tidegate 9.1.0 and speaks version 99 of the admin protocol, this is",
            ),
            (b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"refused\":\"busy\"}}\n", "the node refuses: busy"),
            (b"hello\n", "the node's answer is not understood: "),
            (
                b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"profile\":{\"bytes\":999999999999}}}\n",
                "the node's answer is not understood: a profile of 999999999999 bytes",
            ),
            (
                b"{\"version\":1,\"tidegate\":\"0.1.0\",\"answer\":{\"profile\":{\"bytes\":4}}}\nabc",
                "the connection to the node broke: ",
            ),
            (b"", "the connection to the node broke: "),
        ] {
            let error = error_of(answer).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn where_no_node_is_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let dead = directory.path().join("admin.sock");
        drop(UnixListener::bind(&dead).unwrap());
        for path in [dead, directory.path().join("missing"), "/dev/null/admin.sock".into()] {
            let error = Client::new(path.clone()).memory().unwrap_err();
            assert!(matches!(error, AskError::NoNode(ref found) if *found == path), "{error}");
        }
        let long = Client::new(directory.path().join("x".repeat(108)));
        assert!(matches!(long.memory(), Err(AskError::PathTooLong(_))));
    }
}
